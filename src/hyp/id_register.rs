// SPDX-License-Identifier: GPL-2.0

//! The registers that identify the core, read from this CPU.

use core::arch::asm;

use machine::cp15::IdReg;

use super::register::isb;
use crate::glue::cpu::IrqsOff;

/// Reads a register without side effects.
macro_rules! mrc {
    ($register:literal) => {{
        let value: u32;
        // SAFETY: Reads an identification register of this CPU; nothing changes.
        unsafe {
            asm!(
                concat!("mrc ", $register),
                out(reg) value,
                options(nomem, nostack, preserves_flags)
            )
        };
        value
    }};
}

/// Reads an identification register of CP15.
pub(super) fn id(reg: IdReg) -> u32 {
    match reg {
        IdReg::Midr => mrc!("p15, 0, {}, c0, c0, 0"),
        IdReg::Ctr => mrc!("p15, 0, {}, c0, c0, 1"),
        IdReg::Tcmtr => mrc!("p15, 0, {}, c0, c0, 2"),
        IdReg::Tlbtr => mrc!("p15, 0, {}, c0, c0, 3"),
        IdReg::Revidr => mrc!("p15, 0, {}, c0, c0, 6"),
        IdReg::Pfr0 => mrc!("p15, 0, {}, c0, c1, 0"),
        IdReg::Pfr1 => mrc!("p15, 0, {}, c0, c1, 1"),
        IdReg::Dfr0 => mrc!("p15, 0, {}, c0, c1, 2"),
        IdReg::Afr0 => mrc!("p15, 0, {}, c0, c1, 3"),
        IdReg::Mmfr0 => mrc!("p15, 0, {}, c0, c1, 4"),
        IdReg::Mmfr1 => mrc!("p15, 0, {}, c0, c1, 5"),
        IdReg::Mmfr2 => mrc!("p15, 0, {}, c0, c1, 6"),
        IdReg::Mmfr3 => mrc!("p15, 0, {}, c0, c1, 7"),
        IdReg::Isar0 => mrc!("p15, 0, {}, c0, c2, 0"),
        IdReg::Isar1 => mrc!("p15, 0, {}, c0, c2, 1"),
        IdReg::Isar2 => mrc!("p15, 0, {}, c0, c2, 2"),
        IdReg::Isar3 => mrc!("p15, 0, {}, c0, c2, 3"),
        IdReg::Isar4 => mrc!("p15, 0, {}, c0, c2, 4"),
        IdReg::Isar5 => mrc!("p15, 0, {}, c0, c2, 5"),
        IdReg::Clidr => mrc!("p15, 1, {}, c0, c0, 1"),
        IdReg::Aidr => mrc!("p15, 1, {}, c0, c0, 7"),
    }
}

/// CCSIDR for a value of CSSELR that selects a cache.
pub(super) fn ccsidr(_irqs: &IrqsOff, csselr: u32) -> u32 {
    // SAFETY: Selects what CCSIDR shows; nothing else changes.
    unsafe { asm!("mcr p15, 2, {}, c0, c0, 0", in(reg) csselr, options(nostack, preserves_flags)) };
    isb();
    mrc!("p15, 1, {}, c0, c0, 0")
}

/// FPSID. The CPU must have a VFP.
pub(super) fn fpsid() -> u32 {
    mrc!("p10, 7, {}, c0, c0, 0")
}

/// MVFR0. The CPU must have a VFP.
pub(super) fn mvfr0() -> u32 {
    mrc!("p10, 7, {}, c7, c0, 0")
}

/// MVFR1. The CPU must have a VFP.
pub(super) fn mvfr1() -> u32 {
    mrc!("p10, 7, {}, c6, c0, 0")
}
