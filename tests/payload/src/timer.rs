// SPDX-License-Identifier: GPL-2.0

//! The virtual timer.

use core::arch::asm;

use crate::cpu;

/// Ticks of the counter in a second, as the boards have it; waits are made of these.
pub(crate) const SECOND: u64 = 62_500_000;

#[inline(always)]
fn set_control(value: u32) {
    // SAFETY: Writes CNTV_CTL.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 1", "isb", in(reg) value, options(nostack)) };
}

/// Lets the timer interrupt in some ticks.
#[inline(always)]
pub(crate) fn start(ticks: u32) {
    // SAFETY: Writes CNTV_TVAL.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 0", in(reg) ticks, options(nostack)) };
    set_control(1);
}

/// Sets the compare value of the timer.
pub(crate) fn set_compare(value: u64) {
    // SAFETY: Writes CNTV_CVAL.
    unsafe {
        asm!(
            "mcrr p15, 3, {}, {}, c14",
            in(reg) value as u32,
            in(reg) (value >> 32) as u32,
            options(nostack)
        )
    };
}

/// The compare value of the timer.
pub(crate) fn compare() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads CNTV_CVAL.
    unsafe { asm!("mrrc p15, 3, {}, {}, c14", out(reg) low, out(reg) high, options(nostack)) };
    (u64::from(high) << 32) | u64::from(low)
}

#[inline(always)]
pub(crate) fn stop() {
    set_control(0);
}

/// Waits for something, but not for ever.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let start = cpu::counter();
    while !condition() {
        if cpu::counter().wrapping_sub(start) > 5 * SECOND {
            return false;
        }
    }
    true
}
