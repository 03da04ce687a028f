// SPDX-License-Identifier: GPL-2.0

//! Statistics about a VM's memory.

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// A count to which any CPU adds, at any time: faults in different regions have different locks.
#[derive(Default)]
pub(crate) struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Counts one.
    #[inline]
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// Counts so many.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of an address space.
#[derive(Default)]
pub(crate) struct MemoryStats {
    /// Invalidations of the VM's entries in the TLBs of all CPUs.
    pub(crate) tlb_flushes: SharedCounter,
    /// CPUs that were interrupted to finish accesses by entries that had been invalidated
    /// ([`machine::errata::TlbRepair`]).
    pub(crate) tlb_flush_interrupts: SharedCounter,
    /// Pages of 4 KiB that were mapped, some of them again and again.
    pub(crate) pages: SharedCounter,
    /// Blocks of 2 MiB, likewise.
    pub(crate) blocks: SharedCounter,
    /// Pages of 4 KiB that were cleaned to the point of coherency.
    pub(crate) cleaned: SharedCounter,
    /// Invalidations by the host: it took memory away or write-protected it.
    pub(crate) invalidations: SharedCounter,
    /// Pages and blocks that the host made old, to see whether the guest still uses them.
    pub(crate) aged: SharedCounter,
    /// Pages and blocks that the guest used after that.
    pub(crate) access_flag_faults: SharedCounter,
    /// Invalidations of the instruction caches of all CPUs.
    pub(crate) icache_invalidations: SharedCounter,
}
