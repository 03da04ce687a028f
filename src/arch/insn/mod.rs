// SPDX-License-Identifier: GPL-2.0

//! Loads and stores, decoded from the guest's instructions.
//!
//! Most accesses to a device come with a syndrome that describes them (B3.13.6). The others, with
//! write-back, of several registers, or exclusive, are known by their instruction: [`decode`] takes
//! it apart, and [`Transfer`] carries it out, one access at a time.
//!
//! [`NotEmulated`] are the instructions that the manual calls UNPREDICTABLE, the loads and stores
//! of VFP and Advanced SIMD, and those that return from exceptions or transfer the registers of
//! another mode.

mod arm;
mod load_store;
mod successor;
mod thumb;
mod transfer;

pub use load_store::{
    Address,
    LoadStore,
    LoadStoreKind,
    Offset,
    Shift, //
};
pub use successor::successor;
pub use transfer::{
    is_executed,
    BusAccess,
    ModeRegisters,
    Transfer,
    Unaligned, //
};

/// An instruction as it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Of the Arm instruction set.
    Arm(u32),
    /// Of the Thumb instruction set, with 16 bits.
    Thumb16(u16),
    /// Of the Thumb instruction set, with 32 bits: the first halfword is the upper half.
    Thumb32(u32),
}

impl Instruction {
    /// Whether a Thumb instruction has a second halfword (A6.1).
    #[inline]
    pub const fn is_wide(first: u16) -> bool {
        first >> 11 >= 0b11101
    }

    /// Its size in bytes.
    #[inline]
    pub const fn size(self) -> u32 {
        match self {
            Self::Thumb16(_) => 2,
            Self::Arm(_) | Self::Thumb32(_) => 4,
        }
    }

    /// The immediate of BKPT (A8.8.24).
    #[inline]
    pub const fn breakpoint(self) -> Option<u16> {
        match self {
            Self::Arm(word) if word & 0x0ff0_00f0 == 0x0120_0070 => {
                Some((word >> 4 & 0xfff0 | word & 0xf) as u16)
            }
            Self::Thumb16(half) if half >> 8 == 0xbe => Some(half & 0xff),
            _ => None,
        }
    }

    /// Whether it is B, with a condition or not, or CBZ or CBNZ: it changes nothing but the PC.
    #[inline]
    pub const fn is_branch(self) -> bool {
        match self {
            Self::Arm(word) => word >> 28 != 0b1111 && word >> 24 & 0xf == 0b1010,
            Self::Thumb16(half) => {
                // 0b1101 has UDF and SVC, too.
                half >> 12 == 0b1101 && half >> 9 != 0b110_1111
                    || half >> 11 == 0b1_1100
                    || half & 0xf500 == 0xb100
            }
            // Where BL has bit 14 and a condition is of the first form, AL and 0b1111 are none.
            Self::Thumb32(word) => match word & 0xf800_d000 {
                0xf000_8000 => word >> 23 & 7 != 7,
                0xf000_9000 => true,
                _ => false,
            },
        }
    }

    /// Its bits, as a number.
    #[inline]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Thumb16(half) => half as u32,
            Self::Arm(word) | Self::Thumb32(word) => word,
        }
    }
}

/// The instruction is no load or store, or none that is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEmulated;

/// Says what load or store an instruction is.
pub fn decode(instruction: Instruction) -> Result<LoadStore, NotEmulated> {
    match instruction {
        Instruction::Arm(word) => arm::decode(word),
        Instruction::Thumb16(half) => thumb::decode16(half),
        Instruction::Thumb32(word) => thumb::decode32(word),
    }
    .ok_or(NotEmulated)
}

#[cfg(test)]
mod tests;
