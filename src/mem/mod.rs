// SPDX-License-Identifier: GPL-2.0

//! Guest memory: slots, stage-2 translation, faults, and the changes that the
//! host makes to the pages meanwhile.
//!
//! The host's page tables are the source of truth. A stage-2 entry is a copy
//! of one that the fault path looked up without holding on to the page; an MMU
//! notifier takes it away before the host changes anything. A fault that races
//! with an invalidation sees it in the sequence count and starts again.
//!
//! The locking order stands at the head of the module, in `kvm_arm.rs`. MMU notifiers take the
//! spinlocks with the mmap lock, locks of page tables or those of reclaim held: nothing is
//! allocated under them, and no last reference to a slot's log is dropped.
//!
//! Faults in different regions of 2 MiB take different stripes (one of 16 regions has the same).
//! Each looks its slot up under a lock for a moment. A notifier holds that lock while it goes
//! through some of the process's memory. Beyond that, faults wait for each other only at the host's
//! page tables.

mod access;
pub(crate) mod address_space;
pub(crate) mod dirty_log;
pub(crate) mod fault;
mod invalidations;
mod notifier;
pub(crate) mod slots;
pub(crate) mod stats;
pub(crate) mod table_pages;
pub(crate) mod vmid;
