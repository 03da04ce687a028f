// SPDX-License-Identifier: GPL-2.0

//! CP15: the registers that each guest CPU has of its own.

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
