// SPDX-License-Identifier: GPL-2.0

//! CP15: how its registers are named by instructions, and which of them belong to
//! a guest.

/// The register of an MCR or MRC. The order is that of the manual's summary (B3.17.1): CRn, opc1,
/// CRm, opc2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cp15Encoding {
    /// CRn, the primary register.
    pub crn: u8,
    /// Opc1.
    pub opc1: u8,
    /// CRm.
    pub crm: u8,
    /// Opc2.
    pub opc2: u8,
}

impl Cp15Encoding {
    /// Names a register in the order that an assembler has it: opc1, CRn, CRm, opc2.
    #[inline]
    pub const fn new(opc1: u8, crn: u8, crm: u8, opc2: u8) -> Self {
        Self {
            crn,
            opc1,
            crm,
            opc2,
        }
    }

    /// One number, of which 14 bits count, that sorts as the encoding does.
    #[inline]
    pub const fn key(self) -> u16 {
        (self.crn as u16 & 0xf) << 10
            | (self.opc1 as u16 & 7) << 7
            | (self.crm as u16 & 0xf) << 3
            | (self.opc2 as u16 & 7)
    }
}

/// The register of an MCRR or MRRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cp15Encoding64 {
    /// CRm, the primary register.
    pub crm: u8,
    /// Opc1.
    pub opc1: u8,
}

impl Cp15Encoding64 {
    /// Names a register in the order that an assembler has it: opc1, CRm.
    #[inline]
    pub const fn new(opc1: u8, crm: u8) -> Self {
        Self { crm, opc1 }
    }

    /// One number, of which 8 bits count, that sorts as the encoding does.
    #[inline]
    pub const fn key(self) -> u16 {
        (self.crm as u16 & 0xf) << 4 | (self.opc1 as u16 & 0xf)
    }
}

/// Declares [`Cp15Reg`] and what belongs to it from one list.
macro_rules! cp15_registers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A word of the registers that each guest CPU has of its own: an index into the array
        /// that the world switch saves and restores (`include/world_switch.h`).
        ///
        /// A 64-bit register is two words, the low one first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Cp15Reg {
            $($(#[$doc])* $name,)*
        }

        impl Cp15Reg {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
        }
    };
}

cp15_registers! {
    /// Multiprocessor affinity, by VMPIDR.
    Mpidr,
    /// Cache size selection.
    Csselr,
    /// System control.
    Sctlr,
    /// Auxiliary control, emulated.
    Actlr,
    /// Coprocessor access control.
    Cpacr,
    /// Translation table base control.
    Ttbcr,
    /// Domain access control.
    Dacr,
    /// Translation table base 0, low word.
    Ttbr0Lo,
    /// Translation table base 0, high word.
    Ttbr0Hi,
    /// Translation table base 1, low word.
    Ttbr1Lo,
    /// Translation table base 1, high word.
    Ttbr1Hi,
    /// Data fault status.
    Dfsr,
    /// Instruction fault status.
    Ifsr,
    /// Auxiliary data fault status.
    Adfsr,
    /// Auxiliary instruction fault status.
    Aifsr,
    /// Data fault address.
    Dfar,
    /// Instruction fault address.
    Ifar,
    /// Physical address, low word.
    ParLo,
    /// Physical address, high word.
    ParHi,
    /// Primary region remap, or MAIR0.
    Prrr,
    /// Normal memory remap, or MAIR1.
    Nmrr,
    /// Vector base address.
    Vbar,
    /// Context ID.
    Contextidr,
    /// Thread ID that user mode can write.
    Tpidrurw,
    /// Thread ID that user mode can read.
    Tpidruro,
    /// Thread ID that user mode cannot see.
    Tpidrprw,
    /// Timer access for user mode.
    Cntkctl,
    /// Auxiliary memory attributes 0.
    Amair0,
    /// Auxiliary memory attributes 1.
    Amair1,
    /// L2 control, emulated.
    L2ctlr,
    /// Main ID, by VPIDR.
    Midr,
}

impl Cp15Reg {
    /// The register at an index.
    #[inline]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn registers_are_their_index() {
        assert_eq!(Cp15Reg::COUNT, 31);
        assert_eq!(Cp15Reg::Midr as usize, 30);
        for (index, &reg) in Cp15Reg::ALL.iter().enumerate() {
            assert_eq!(reg as usize, index);
            assert_eq!(Cp15Reg::from_index(index), Some(reg));
        }
        assert_eq!(Cp15Reg::from_index(Cp15Reg::COUNT), None);
    }

    fn encoding() -> impl Strategy<Value = Cp15Encoding> {
        (0u8..8, 0u8..16, 0u8..16, 0u8..8)
            .prop_map(|(opc1, crn, crm, opc2)| Cp15Encoding::new(opc1, crn, crm, opc2))
    }

    proptest! {
        #[test]
        fn keys_sort_as_encodings_do(a in encoding(), b in encoding()) {
            prop_assert_eq!(a.key().cmp(&b.key()), a.cmp(&b));
        }

        #[test]
        fn double_keys_sort_as_encodings_do(a in (0u8..16, 0u8..16), b in (0u8..16, 0u8..16)) {
            let (a, b) = (Cp15Encoding64::new(a.0, a.1), Cp15Encoding64::new(b.0, b.1));
            prop_assert_eq!(a.key().cmp(&b.key()), a.cmp(&b));
        }
    }
}
