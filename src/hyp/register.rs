// SPDX-License-Identifier: GPL-2.0

//! CP15 registers of the CPU that SVC code may use, by their names in the Arm ARM.

use core::arch::asm;

use crate::glue::cpu::IrqsOff;

macro_rules! read32 {
    ($(#[$doc:meta])* $name:ident, $opc1:literal, $crn:literal, $crm:literal, $opc2:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> u32 {
            let value: u32;
            // SAFETY: Reads a register of this CPU; nothing else changes.
            unsafe {
                asm!(
                    concat!("mrc p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                    out(reg) value,
                    options(nomem, nostack, preserves_flags)
                )
            };
            value
        }
    };
}

macro_rules! read64 {
    ($(#[$doc:meta])* $name:ident, $opc1:literal, $crm:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> u64 {
            let (low, high): (u32, u32);
            // SAFETY: Reads a register of this CPU; nothing else changes.
            unsafe {
                asm!(
                    concat!("mrrc p15, ", $opc1, ", {}, {}, c", $crm),
                    out(reg) low,
                    out(reg) high,
                    options(nomem, nostack, preserves_flags)
                )
            };
            u64::from(high) << 32 | u64::from(low)
        }
    };
}

read32!(
    /// Main ID Register.
    midr, "0", "0", "0", "0"
);
read32!(
    /// Multiprocessor Affinity Register.
    mpidr, "0", "0", "0", "5"
);
read32!(
    /// Processor Feature Register 1.
    id_pfr1, "0", "0", "1", "1"
);
read32!(
    /// Counter Frequency register.
    cntfrq, "0", "14", "0", "0"
);
read32!(
    /// Auxiliary Control Register.
    actlr, "0", "1", "0", "1"
);
read32!(
    /// L2 Control Register (Cortex-A15 and A7).
    l2ctlr, "1", "9", "0", "2"
);
read32!(
    /// Performance Monitors User Enable Register.
    pmuserenr, "0", "9", "14", "0"
);
read64!(
    /// Virtual Timer CompareValue register.
    cntv_cval, "3", "14"
);

/// The physical counter. It does not run ahead of the program order (B8.1.2).
#[inline]
pub(crate) fn cntpct() -> u64 {
    let (low, high): (u32, u32);
    isb();
    // SAFETY: Reads the counter, which a host that was booted in HYP mode may.
    unsafe {
        asm!(
            "mrrc p15, 0, {}, {}, c14",
            out(reg) low,
            out(reg) high,
            options(nomem, nostack, preserves_flags)
        )
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Sets the Performance Monitors User Enable Register. Whoever does so sets it back before
/// interrupts are on again.
#[inline]
pub(crate) fn set_pmuserenr(_irqs: &IrqsOff, value: u32) {
    // SAFETY: Only says what user mode may do, and none of the host's runs with interrupts off.
    unsafe { asm!("mcr p15, 0, {}, c9, c14, 0", in(reg) value, options(nostack, preserves_flags)) };
}

/// Sets the virtual timer's control register.
///
/// # Safety
///
/// The host must not use the virtual timer, and interrupts must be off.
#[inline]
pub(crate) unsafe fn set_cntv_ctl(value: u32) {
    // SAFETY: By the function's requirement nobody else depends on the timer.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 1", in(reg) value, options(nostack, preserves_flags)) };
}

/// Sets the virtual timer's compare value.
///
/// # Safety
///
/// As for [`set_cntv_ctl`].
#[inline]
pub(crate) unsafe fn set_cntv_cval(value: u64) {
    // SAFETY: By the function's requirement nobody else depends on the timer.
    unsafe {
        asm!(
            "mcrr p15, 3, {}, {}, c14",
            in(reg) value as u32,
            in(reg) (value >> 32) as u32,
            options(nostack, preserves_flags)
        )
    };
}

/// Instruction synchronisation barrier, by its CP15 name: rustc's target is ARMv6.
#[inline]
pub(crate) fn isb() {
    // SAFETY: A barrier.
    unsafe { asm!("mcr p15, 0, {}, c7, c5, 4", in(reg) 0, options(nostack, preserves_flags)) };
}

/// Data memory barrier, by its CP15 name.
#[inline]
pub(crate) fn dmb() {
    // SAFETY: A barrier.
    unsafe { asm!("mcr p15, 0, {}, c7, c10, 5", in(reg) 0, options(nostack, preserves_flags)) };
}

/// Data synchronisation barrier, full system, by its CP15 name.
#[inline]
pub(crate) fn dsb() {
    // SAFETY: A barrier.
    unsafe { asm!("mcr p15, 0, {}, c7, c10, 4", in(reg) 0, options(nostack, preserves_flags)) };
}

/// Invalidates all instruction caches of the inner-shareable domain (ICIALLUIS), and waits.
#[inline]
pub(crate) fn invalidate_icache() {
    // SAFETY: Invalidating an instruction cache has no effect on contents.
    unsafe { asm!("mcr p15, 0, {}, c7, c1, 0", in(reg) 0, options(nostack, preserves_flags)) };
    dsb();
    isb();
}
