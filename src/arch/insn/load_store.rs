// SPDX-License-Identifier: GPL-2.0

//! The meaning of a load or store, whatever its encoding.

use crate::cond::Cond;

/// The program counter as a register number.
pub(super) const PC: u8 = 15;

/// A load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadStore {
    /// The condition of an Arm instruction. Thumb has it in ITSTATE.
    pub cond: Option<Cond>,
    /// The size of the instruction in bytes.
    pub size: u8,
    /// Where it loads from or stores to.
    pub address: Address,
    /// The data that it transfers.
    pub kind: LoadStoreKind,
}

/// An address: a base register with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The base register. The PC is aligned to a word as such, but in table branches.
    pub rn: u8,
    /// The number that is added to it, or subtracted.
    pub offset: Offset,
    /// Whether the offset is added.
    pub add: bool,
    /// Whether the access is at the sum (offset and pre-indexed addressing), or at the base
    /// (post-indexed).
    pub index: bool,
    /// Whether the base register becomes the sum.
    pub writeback: bool,
}

/// An offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// A number.
    Immediate(u32),
    /// A register, shifted.
    Register {
        /// The register.
        rm: u8,
        /// How it is shifted.
        shift: Shift,
    },
}

/// A shift by a constant (A8.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Left, by 0 to 31.
    Lsl(u8),
    /// Right, zeroes follow; by 1 to 32.
    Lsr(u8),
    /// Right, the sign follows; by 1 to 32.
    Asr(u8),
    /// Right, what falls out follows; by 1 to 31.
    Ror(u8),
    /// Right by one, the carry flag follows.
    Rrx,
}

impl Shift {
    /// Decodes an immediate shift (A8.4.3, DecodeImmShift).
    pub(super) const fn decode(kind: u32, amount: u32) -> Self {
        let amount = (amount & 31) as u8;
        let or_32 = if amount == 0 { 32 } else { amount };
        match (kind & 3, amount) {
            (0, _) => Self::Lsl(amount),
            (1, _) => Self::Lsr(or_32),
            (2, _) => Self::Asr(or_32),
            (_, 0) => Self::Rrx,
            _ => Self::Ror(amount),
        }
    }

    /// Shifts a value.
    pub(super) const fn apply(self, value: u32, carry: bool) -> u32 {
        match self {
            Self::Lsl(n) => value << (n & 31),
            Self::Lsr(n) if n >= 32 => 0,
            Self::Lsr(n) => value >> (n & 31),
            Self::Asr(n) => {
                let n = if n >= 32 { 31 } else { n & 31 };
                (value as i32 >> n) as u32
            }
            Self::Ror(n) => value.rotate_right(n as u32),
            Self::Rrx => (carry as u32) << 31 | value >> 1,
        }
    }
}

/// The registers and bytes that are transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStoreKind {
    /// One register.
    Single {
        /// The register.
        rt: u8,
        /// 1, 2 or 4 bytes.
        bytes: u8,
        /// A load extends the sign.
        signed: bool,
        /// From memory to the register.
        load: bool,
        /// As user mode would (LDRT and the like).
        unprivileged: bool,
    },
    /// Two registers, in two words.
    Dual {
        /// The register of the first word.
        rt: u8,
        /// The register of the second word.
        rt2: u8,
        /// From memory to the registers.
        load: bool,
    },
    /// Any of the registers, a word for each, the lowest register at the lowest address.
    Multiple {
        /// A bit for each register.
        list: u16,
        /// From memory to the registers.
        load: bool,
    },
    /// A load that a store is to follow.
    LoadExclusive {
        /// The register, or the first of two.
        rt: u8,
        /// The second, of a doubleword.
        rt2: Option<u8>,
        /// 1, 2, 4 or 8 bytes.
        bytes: u8,
    },
    /// The store after it. A device has no exclusive monitor, so it always succeeds.
    StoreExclusive {
        /// Becomes zero: it was stored.
        rd: u8,
        /// The register, or the first of two.
        rt: u8,
        /// The second, of a doubleword.
        rt2: Option<u8>,
        /// 1, 2, 4 or 8 bytes.
        bytes: u8,
    },
    /// A load of a number of halfwords, by which the PC goes on (TBB, TBH).
    TableBranch {
        /// 1 or 2 bytes.
        bytes: u8,
    },
    /// A load, and a store to the same address.
    Swap {
        /// Is loaded.
        rt: u8,
        /// Is stored.
        rt2: u8,
        /// 1 or 4 bytes.
        bytes: u8,
    },
}

impl LoadStoreKind {
    /// Whether it loads to the PC.
    pub(super) const fn loads_pc(self) -> bool {
        match self {
            Self::Single { rt, load, .. } => load && rt == PC,
            Self::Multiple { list, load } => load && list >> PC != 0,
            Self::TableBranch { .. } => true,
            _ => false,
        }
    }

    /// Whether it stores anything.
    pub const fn stores(self) -> bool {
        match self {
            Self::Single { load, .. } | Self::Dual { load, .. } | Self::Multiple { load, .. } => {
                !load
            }
            Self::LoadExclusive { .. } | Self::TableBranch { .. } => false,
            Self::StoreExclusive { .. } | Self::Swap { .. } => true,
        }
    }
}
