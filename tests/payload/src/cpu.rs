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

/// Reads CP15 registers that no ARMv7 core has: one of c15's space, which is trapped, and one of
/// c11's. Both are undefined.
pub(crate) fn read_nonexistent() {
    // SAFETY: The handler for undefined instructions goes on behind each.
    unsafe {
        asm!("mrc p15, 7, {0}, c15, c15, 7", "mrc p15, 7, {0}, c11, c13, 7", out(reg) _,
             options(nostack));
    }
}

/// How many undefined instructions there have been.
pub(crate) fn undefined_count() -> u32 {
    extern "C" {
        static undefined_count: u32;
    }
    // SAFETY: A word of `start.S` that the handler for undefined instructions counts in.
    unsafe { (&raw const undefined_count).read_volatile() }
}

#[inline(always)]
pub(crate) fn wait_for_interrupt() {
    // SAFETY: Changes nothing; the barrier lets what was written before take effect.
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
