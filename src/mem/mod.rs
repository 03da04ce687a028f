// SPDX-License-Identifier: GPL-2.0

//! Guest memory: slots, stage-2 translation, faults, and what the host does
//! to the pages meanwhile.
//!
//! The host's page tables are the source of truth. A stage-2 entry is a copy
//! of one that the fault path looked up without holding on to the page; an MMU
//! notifier takes it away before the host changes anything. A fault that races
//! with an invalidation sees it in the sequence count and starts again.
//!
//! Locking order: the mutex of slot changes, then the mmap lock, then the
//! spinlock of the stage-2 table (which MMU notifiers take).

pub(crate) mod address_space;
pub(crate) mod slots;
pub(crate) mod stats;
pub(crate) mod table_pages;
pub(crate) mod vmid;
