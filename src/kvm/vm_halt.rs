// SPDX-License-Identifier: GPL-2.0

//! What a VM has of its own for vCPUs that wait.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};

use machine::halt::Limits;

use crate::glue::parameter;

/// What a VM has of its own for waiting.
pub(crate) struct VmHalt {
    /// The largest window that the monitor set; `u64::MAX` for the module's.
    max: AtomicU64,
    /// The vCPU that was last given a spinning one's CPU.
    boosted: AtomicU32,
}

impl VmHalt {
    const UNSET: u64 = u64::MAX;

    pub(crate) const fn new() -> Self {
        Self {
            max: AtomicU64::new(Self::UNSET),
            boosted: AtomicU32::new(0),
        }
    }

    /// Sets the largest window, in nanoseconds (KVM_CAP_HALT_POLL).
    pub(crate) fn set_max(&self, max: u32) {
        self.max.store(max.into(), Ordering::Relaxed);
    }

    /// The vCPU that was last given a spinning one's CPU.
    pub(super) fn boosted(&self) -> usize {
        self.boosted.load(Ordering::Relaxed) as usize
    }

    /// Takes note of it.
    pub(super) fn set_boosted(&self, id: usize) {
        self.boosted.store(id as u32, Ordering::Relaxed);
    }

    /// How long a vCPU may look out for an interrupt before it sleeps.
    pub(super) fn limits(&self) -> Limits {
        let own = u32::try_from(self.max.load(Ordering::Relaxed));
        Limits {
            max: own.unwrap_or_else(|_| parameter::halt_poll_ns()),
            grow: parameter::halt_poll_ns_grow(),
            grow_start: parameter::halt_poll_ns_grow_start(),
            shrink: parameter::halt_poll_ns_shrink(),
        }
    }
}
