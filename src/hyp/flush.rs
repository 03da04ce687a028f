// SPDX-License-Identifier: GPL-2.0

//! Cleaning RAM to the point of coherency, in HYP mode.
//!
//! Most RAM of a large host has no address of the kernel's, and to give each page one costs more
//! than to clean it. In HYP mode, each CPU has a window for that, as wide as what a guest is given
//! at once: a page or a block of 2 MiB.

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

/// How much is cleaned with interrupts off. A thousand lines take some tens of microseconds.
const CHUNK: u32 = 64 << 10;

impl Lowvisor {
    /// Cleans and invalidates RAM, a page or a block of 2 MiB, to the point of coherency on all
    /// CPUs.
    ///
    /// The mapping that this is done by has the kernel's attributes for RAM, Inner Shareable among
    /// them, so it reaches the caches of all CPUs (B2.2, multiprocessor effects of maintenance), and
    /// is no mismatched alias (A3.5.7).
    /// A page is mapped by the page: what else is around it may be no RAM, or be mapped otherwise.
    ///
    /// # Safety
    ///
    /// `size` is that of a page or a block, and `pa` a multiple of it. There must be RAM of the host
    /// that stays in use during the call.
    pub(crate) unsafe fn flush_ram_to_poc(&self, pa: Pa, size: u64) {
        // It does not write.
        let (memory, access) = (HypMemory::Normal, HypAccess::ReadOnly);
        let desc = if size == BLOCK_SIZE {
            HypDesc::block(pa, memory, access)
        } else {
            HypDesc::page(pa, memory, access)
        };
        let pages = (size >> PAGE_SHIFT) as u32;
        for first in (0..pages).step_by((CHUNK >> PAGE_SHIFT) as usize) {
            let part = first..pages.min(first + (CHUNK >> PAGE_SHIFT));
            // SAFETY: The caller's promise.
            if !unsafe { self.flush_in_hyp(desc, part.clone()) } {
                let pa = Pa(pa.0 + (u64::from(part.start) << PAGE_SHIFT));
                // SAFETY: Likewise.
                unsafe { flush_ram_by_kmap(pa, part.len() as u64 * PAGE_SIZE) };
            }
        }
    }

    /// The same for some pages of what `desc` maps, if HYP mode is ours: it is not in a reboot.
    /// After a fault, which leaves a window as it was then, none is used any more.
    ///
    /// # Safety
    ///
    /// That of [`super::call::HypCpuRef::flush_ram`].
    unsafe fn flush_in_hyp(&self, desc: HypDesc, pages: Range<u32>) -> bool {
        IrqsOff::with(|irqs| {
            let Some(hyp) = self.this_cpu(&irqs) else {
                return false;
            };
            if self.no_windows.load(Ordering::Relaxed) {
                return false;
            }
            // SAFETY: The caller's promise.
            let done = unsafe { hyp.flush_ram(desc, pages) };
            if !done {
                self.lose_windows(&irqs);
            }
            done
        })
    }

    #[cold]
    fn lose_windows(&self, irqs: &IrqsOff) {
        self.no_windows.store(true, Ordering::Relaxed);
        if let Some(fault) = self.fault(irqs) {
            pr_err!(
                "fault inside HYP mode while cleaning RAM on CPU {}: please report this with the \
                 registers: {fault}\n",
                irqs.cpu()
            );
        }
    }
}
