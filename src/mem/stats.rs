// SPDX-License-Identifier: GPL-2.0

//! What is counted about a VM's memory.

use machine::stats::Counter;

/// Counters of an address space. Those who count hold the lock of its table, so that nothing is
/// lost; anyone may read.
#[derive(Default)]
pub(crate) struct MemoryStats {
    /// Invalidations of the VM's entries in the TLBs of all CPUs.
    pub(crate) tlb_flushes: Counter,
    /// Pages of 4 KiB that were mapped, some of them again and again.
    pub(crate) pages: Counter,
    /// Blocks of 2 MiB, likewise.
    pub(crate) blocks: Counter,
    /// Invalidations by the host: it took memory away or write-protected it.
    pub(crate) invalidations: Counter,
}
