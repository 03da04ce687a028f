// SPDX-License-Identifier: GPL-2.0

//! Registers and instructions of the CPU.

use core::arch::asm;

/// The virtual counter.
#[inline(always)]
pub(crate) fn counter() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads CNTVCT; the barrier keeps it from being read early.
    unsafe {
        asm!("isb", "mrrc p15, 1, {}, {}, c14", out(reg) low, out(reg) high,
             options(nostack, preserves_flags));
    }
    (u64::from(high) << 32) | u64::from(low)
}

/// ACTLR, which a hypervisor does not let a guest read for itself.
#[inline(always)]
pub(crate) fn actlr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p15, 0, {}, c1, c0, 1", out(reg) value, options(nomem, nostack)) };
    value
}

pub(crate) fn midr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p15, 0, {}, c0, c0, 0", out(reg) value, options(nomem, nostack)) };
    value
}

pub(crate) fn mpidr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p15, 0, {}, c0, c0, 5", out(reg) value, options(nomem, nostack)) };
    value
}

/// L2CTLR, of these cores.
pub(crate) fn l2ctlr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p15, 1, {}, c9, c0, 2", out(reg) value, options(nomem, nostack)) };
    value
}

#[inline(always)]
pub(crate) fn wait_for_interrupt() {
    // SAFETY: Changes nothing; the barrier makes earlier writes effective.
    unsafe { asm!("dsb", "wfi", options(nostack, preserves_flags)) };
}

#[inline(always)]
pub(crate) fn wait_for_event() {
    // SAFETY: Changes nothing.
    unsafe { asm!("wfe", options(nostack, preserves_flags)) };
}

#[inline(always)]
pub(crate) fn enable_interrupts() {
    // SAFETY: The vectors are in place.
    unsafe { asm!("cpsie i", options(nostack)) };
}

#[inline(always)]
pub(crate) fn disable_interrupts() {
    // SAFETY: Masks interrupts, which is harmless.
    unsafe { asm!("cpsid i", options(nostack)) };
}

/// Declares functions that read a register of CP15 (opc1, CRn, CRm, opc2).
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident: $encoding:literal;)*) => {
        $($(#[$doc])* #[allow(dead_code)] #[inline(always)] pub(crate) fn $name() -> u32 {
            let value;
            // SAFETY: Reads a register.
            unsafe {
                asm!(concat!("mrc p15, ", $encoding), out(reg) value,
                     options(nomem, nostack, preserves_flags));
            }
            value
        })*
    };
}

/// DBGDIDR.
pub(crate) fn dbgdidr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p14, 0, {}, c0, c0, 0", out(reg) value, options(nomem, nostack)) };
    value
}

readers! {
    /// SCTLR.
    sctlr: "0, {}, c1, c0, 0";
    /// The level of interrupts that are pending, whether masked or not.
    isr: "0, {}, c12, c1, 0";
    /// CTR.
    cache_type: "0, {}, c0, c0, 1";
    /// CLIDR.
    clidr: "1, {}, c0, c0, 1";
    /// CCSIDR, of the cache that CSSELR says.
    ccsidr: "1, {}, c0, c0, 0";
    /// CSSELR.
    csselr: "2, {}, c0, c0, 0";
    /// CNTFRQ.
    cntfrq: "0, {}, c14, c0, 0";
    /// CNTKCTL.
    cntkctl: "0, {}, c14, c1, 0";
}

/// Declares functions that write a register of CP15.
macro_rules! writers {
    ($($(#[$doc:meta])* $name:ident: $encoding:literal;)*) => {
        $($(#[$doc])* #[allow(dead_code)] #[inline(always)] pub(crate) fn $name(value: u32) {
            // SAFETY: The caller knows the effect on the code that runs; the barriers make the
            // write effective.
            unsafe {
                asm!("dsb", concat!("mcr p15, ", $encoding), "isb", in(reg) value,
                     options(nostack, preserves_flags));
            }
        })*
    };
}

writers! {
    /// SCTLR.
    set_sctlr: "0, {}, c1, c0, 0";
    /// ACTLR.
    set_actlr: "0, {}, c1, c0, 1";
    /// CSSELR.
    set_csselr: "2, {}, c0, c0, 0";
    /// CNTKCTL.
    set_cntkctl: "0, {}, c14, c1, 0";
    /// DCCISW.
    clean_and_invalidate_set_way: "0, {}, c7, c14, 2";
    /// DCCSW.
    clean_set_way: "0, {}, c7, c10, 2";
    /// DCCIMVAC.
    clean_and_invalidate: "0, {}, c7, c14, 1";
    /// DCCMVAU.
    clean_to_unification: "0, {}, c7, c11, 1";
    /// ICIMVAU.
    invalidate_instructions: "0, {}, c7, c5, 1";
    /// BPIALL.
    invalidate_branches: "0, {}, c7, c5, 6";
}

/// The physical counter.
#[inline(always)]
pub(crate) fn physical_counter() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads CNTPCT; the barrier keeps it from being read early.
    unsafe {
        asm!("isb", "mrrc p15, 0, {}, {}, c14", out(reg) low, out(reg) high,
             options(nostack, preserves_flags));
    }
    (u64::from(high) << 32) | u64::from(low)
}

/// CPSR.
#[inline(always)]
pub(crate) fn cpsr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrs {}, cpsr", out(reg) value, options(nostack, preserves_flags)) };
    value
}

/// Masks asynchronous aborts, interrupts and fast interrupts. Returns the old masks.
#[inline(always)]
pub(crate) fn mask_all() -> u32 {
    let old = cpsr();
    // SAFETY: Masks are harmless.
    unsafe { asm!("cpsid aif", options(nostack, preserves_flags)) };
    old
}

/// Puts back what [`mask_all`] gave.
#[inline(always)]
pub(crate) fn restore_mask(old: u32) {
    // SAFETY: Writes the mask bits, and the other bits of `cpsr`, which hold our mode.
    unsafe { asm!("msr cpsr_cx, {}", in(reg) old, options(nostack, preserves_flags)) };
}

/// Does something with interrupts masked.
#[inline(always)]
pub(crate) fn masked<T>(f: impl FnOnce() -> T) -> T {
    let old = mask_all();
    let result = f();
    restore_mask(old);
    result
}

/// A data memory barrier.
#[inline(always)]
pub(crate) fn dmb() {
    // SAFETY: Changes nothing.
    unsafe { asm!("dmb", options(nostack, preserves_flags)) };
}

/// A data synchronisation barrier.
#[inline(always)]
pub(crate) fn dsb() {
    // SAFETY: Changes nothing.
    unsafe { asm!("dsb", options(nostack, preserves_flags)) };
}

/// Wakes those that wait for an event.
#[inline(always)]
pub(crate) fn send_event() {
    // SAFETY: Changes nothing.
    unsafe { asm!("dsb", "sev", options(nostack, preserves_flags)) };
}

/// The number of this CPU.
#[inline(always)]
pub(crate) fn this_cpu() -> usize {
    let mpidr = mpidr();
    // Clusters of four.
    ((mpidr & 3) | (mpidr >> 8 & 1) << 2) as usize
}
