// SPDX-License-Identifier: GPL-2.0

//! Entries of translation tables, for stage 2 and for HYP mode.
//!
//! Table walks read an entry at any time, and must not see half of one. A core with the Large
//! Physical Address Extension reads and writes an aligned doubleword at once by LDRD and STRD, and
//! by no two smaller accesses (A3.5.3). A compiler may choose those, so the instructions are here.

use core::arch::asm;

/// Reads an entry.
///
/// # Safety
///
/// `entry` must be an entry of a table, in the kernel's memory.
#[inline]
pub(crate) unsafe fn read(entry: *const u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: By the function's requirement `entry` can be read, and is aligned.
    unsafe {
        asm!(
            "ldrd r2, r3, [{}]",
            in(reg) entry,
            out("r2") low,
            out("r3") high,
            options(readonly, nostack, preserves_flags)
        )
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an entry.
///
/// # Safety
///
/// `entry` must be an entry of a table, in the kernel's memory, and nobody else may write it
/// meanwhile. Its value must be right for the walks that find it.
#[inline]
pub(crate) unsafe fn write(entry: *mut u64, value: u64) {
    // SAFETY: By the function's requirement `entry` can be written, and is aligned.
    unsafe {
        asm!(
            "strd r2, r3, [{}]",
            in(reg) entry,
            in("r2") value as u32,
            in("r3") (value >> 32) as u32,
            options(nostack, preserves_flags)
        )
    };
}
