// SPDX-License-Identifier: GPL-2.0

//! The timers, virtual and physical.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::cpu;

/// Ticks of the counter in a second, as the boards have it; waits are made of these.
pub(crate) const SECOND: u64 = 62_500_000;
pub(crate) const MILLISECOND: u64 = SECOND / 1000;

/// Bits of CNTV_CTL and CNTP_CTL.
pub(crate) const ENABLE: u32 = 1;
pub(crate) const MASK: u32 = 2;
pub(crate) const STATUS: u32 = 4;

/// How often a timer's interrupt came while its condition was not met, by CPU.
static SPURIOUS: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

#[inline(always)]
pub(crate) fn set_control(value: u32) {
    // SAFETY: Writes CNTV_CTL.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 1", "isb", in(reg) value, options(nostack)) };
}

#[inline(always)]
pub(crate) fn control() -> u32 {
    let value;
    // SAFETY: Reads CNTV_CTL.
    unsafe { asm!("isb", "mrc p15, 0, {}, c14, c3, 1", out(reg) value, options(nostack)) };
    value
}

#[inline(always)]
pub(crate) fn set_value(ticks: u32) {
    // SAFETY: Writes CNTV_TVAL.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 0", in(reg) ticks, options(nostack)) };
}

pub(crate) fn value() -> u32 {
    let value;
    // SAFETY: Reads CNTV_TVAL.
    unsafe { asm!("isb", "mrc p15, 0, {}, c14, c3, 0", out(reg) value, options(nostack)) };
    value
}

/// Lets the timer interrupt in some ticks.
#[inline(always)]
pub(crate) fn start(ticks: u32) {
    set_value(ticks);
    set_control(ENABLE);
}

/// Sets the compare value of the timer.
#[inline(always)]
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

/// The physical timer, CNTP.
pub(crate) mod physical {
    use core::arch::asm;

    pub(crate) fn set_control(value: u32) {
        // SAFETY: Writes CNTP_CTL.
        unsafe { asm!("mcr p15, 0, {}, c14, c2, 1", "isb", in(reg) value, options(nostack)) };
    }

    pub(crate) fn control() -> u32 {
        let value;
        // SAFETY: Reads CNTP_CTL.
        unsafe { asm!("isb", "mrc p15, 0, {}, c14, c2, 1", out(reg) value, options(nostack)) };
        value
    }

    pub(crate) fn set_value(ticks: u32) {
        // SAFETY: Writes CNTP_TVAL.
        unsafe { asm!("mcr p15, 0, {}, c14, c2, 0", in(reg) ticks, options(nostack)) };
    }

    pub(crate) fn value() -> u32 {
        let value;
        // SAFETY: Reads CNTP_TVAL.
        unsafe { asm!("isb", "mrc p15, 0, {}, c14, c2, 0", out(reg) value, options(nostack)) };
        value
    }

    pub(crate) fn set_compare(value: u64) {
        let (low, high) = (value as u32, (value >> 32) as u32);
        // SAFETY: Writes CNTP_CVAL.
        unsafe { asm!("mcrr p15, 2, {}, {}, c14", in(reg) low, in(reg) high, options(nostack)) };
    }

    pub(crate) fn compare() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: Reads CNTP_CVAL.
        unsafe { asm!("mrrc p15, 2, {}, {}, c14", out(reg) low, out(reg) high, options(nostack)) };
        (u64::from(high) << 32) | u64::from(low)
    }
}

/// The virtual timer's interrupt came.
#[inline(always)]
pub(crate) fn expired(this_cpu: usize) {
    if control() != ENABLE | STATUS {
        count_spurious(this_cpu);
    }
    if !crate::timers::start_again(this_cpu) {
        stop();
    }
}

/// The physical timer's interrupt came.
pub(crate) fn physical_expired(this_cpu: usize) {
    if physical::control() != ENABLE | STATUS {
        count_spurious(this_cpu);
    }
    physical::set_control(0);
}

fn count_spurious(this_cpu: usize) {
    if let Some(count) = SPURIOUS.get(this_cpu) {
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// How often a timer interrupted a CPU without a reason.
pub(crate) fn spurious(cpu: usize) -> u32 {
    SPURIOUS
        .get(cpu)
        .map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Waits for something, but not for ever.
pub(crate) fn wait_until(condition: impl FnMut() -> bool) -> bool {
    wait(5 * SECOND, condition)
}

/// Waits for a condition that takes long.
pub(crate) fn wait_long(condition: impl FnMut() -> bool) -> bool {
    wait(60 * SECOND, condition)
}

fn wait(ticks: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = cpu::counter();
    while !condition() {
        if cpu::counter().wrapping_sub(start) > ticks {
            return false;
        }
    }
    true
}

/// A time to come.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn after(ticks: u64) -> Self {
        Self(cpu::counter() + ticks)
    }

    pub(crate) fn is_over(self) -> bool {
        cpu::counter() >= self.0
    }

    /// Waits for it.
    pub(crate) fn wait(self) {
        while !self.is_over() {}
    }
}
