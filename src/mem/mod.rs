// SPDX-License-Identifier: GPL-2.0

//! Guest memory: slots, stage-2 translation, faults, and what the host does
//! to the pages meanwhile.
//!
//! The host's page tables are the source of truth. A stage-2 entry is a copy
//! of one that the fault path looked up without holding on to the page; an MMU
//! notifier takes it away before the host changes anything. A fault that races
//! with an invalidation sees it in the sequence count and starts again.
//!
//! Locking order: the mutex of slot changes, the mmap lock, the spinlock of the present set of
//! slots, the spinlock of one stripe of the stage-2 table, that of the invalidated addresses. The
//! mutex of the root of the table is for a moment taken inside of that of slot changes, nothing in
//! it. MMU notifiers take the spinlocks with the mmap lock, locks of page tables or those of
//! reclaim held: nothing is allocated under them, and no last reference to a set of slots is
//! dropped. Under the vCPU's mutex all of them may be taken.
//!
//! Faults in different regions of 2 MiB take different stripes: they wait for each other at the
//! host's page tables at most.

pub(crate) mod address_space;
pub(crate) mod dirty_log;
pub(crate) mod slots;
pub(crate) mod stats;
pub(crate) mod table_pages;
pub(crate) mod vmid;
