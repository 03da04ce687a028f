// SPDX-License-Identifier: GPL-2.0

//! Cleaning RAM to the point of coherency, in HYP mode.
//!
//! Most RAM of a large host has no kernel address, and giving each page one costs more than
//! cleaning it. So each CPU has two windows in HYP mode's addresses, one for a page and one for a
//! block of 2 MiB: a guest is given RAM in these two sizes.

use core::{
    ops::Range,
    sync::atomic::Ordering, //
};

use armv7::{
    addr::{
        Pa,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    descriptor::{
        HypAccess,
        HypDesc,
        HypMemory, //
    },
};

use kernel::prelude::*;

use super::{
    page_table::BLOCK_SIZE,
    takeover::Lowvisor, //
};
use crate::glue::{
    cpu::IrqsOff,
    user_page::flush_ram_by_kmap, //
};

/// How many bytes are cleaned with interrupts off. A thousand lines take some tens of microseconds.
const CHUNK: u32 = 64 << 10;

impl Lowvisor {
    /// Cleans and invalidates RAM, a page or a block of 2 MiB, to the point of coherency on all
    /// CPUs.
    ///
    /// The window's mapping has the kernel's attributes for RAM. One of them is Inner Shareable, so
    /// the maintenance reaches the caches of all CPUs (B2.2, multiprocessor effects of
    /// maintenance); and the window is no mismatched alias (A3.5.7). A single page is mapped as a
    /// page, because its neighbours may be no RAM, or have other attributes.
    ///
    /// # Safety
    ///
    /// `size` must be that of a page or a block, and `pa` a multiple of it. The RAM there must be
    /// the host's, and stay in use during the call.
    pub(crate) unsafe fn flush_ram_to_poc(&self, pa: Pa, size: u64) {
        // Maintenance needs no permission to write.
        let (memory, access) = (HypMemory::Normal, HypAccess::ReadOnly);
        let desc = if size == BLOCK_SIZE {
            HypDesc::block(pa, memory, access)
        } else {
            HypDesc::page(pa, memory, access)
        };
        let pages = (size >> PAGE_SHIFT) as u32;
        for first in (0..pages).step_by((CHUNK >> PAGE_SHIFT) as usize) {
            let part = first..pages.min(first + (CHUNK >> PAGE_SHIFT));
            // SAFETY: The caller promises that there is RAM that stays in use, and `part` is a
            // part of it that is not empty.
            if !unsafe { self.flush_in_hyp(desc, part.clone()) } {
                let pa = Pa(pa.0 + (u64::from(part.start) << PAGE_SHIFT));
                // SAFETY: The caller promises that there is RAM that stays in use.
                unsafe { flush_ram_by_kmap(pa, part.len() as u64 * PAGE_SIZE) };
            }
        }
    }

    /// Cleans some pages of the page or block that `desc` maps, by this CPU's window. Returns false
    /// if that was not possible: HYP mode is not ours during a reboot, and a fault leaves a window
    /// in an unknown state, so that no window is used any more.
    ///
    /// # Safety
    ///
    /// The requirement of [`super::call::HypCpuRef::flush_ram`].
    unsafe fn flush_in_hyp(&self, desc: HypDesc, pages: Range<u32>) -> bool {
        IrqsOff::with(|irqs| {
            let Some(hyp) = self.this_cpu(&irqs) else {
                return false;
            };
            if self.no_windows.load(Ordering::Relaxed) {
                return false;
            }
            // SAFETY: The caller promises what `HypCpuRef::flush_ram` requires.
            let done = unsafe { hyp.flush_ram(desc, pages) };
            done.inspect_err(|&vector| self.lose_windows(&irqs, vector))
                .is_ok()
        })
    }

    #[cold]
    fn lose_windows(&self, irqs: &IrqsOff, vector: u8) {
        self.no_windows.store(true, Ordering::Relaxed);
        self.report_fault(
            irqs,
            fmt!("fault inside HYP mode while cleaning RAM (vector {vector})"),
            vector,
            None,
        );
    }
}
