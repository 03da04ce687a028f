// SPDX-License-Identifier: GPL-2.0

//! The settings and the state of a VM for its vCPUs that wait.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};

use armv7::regs::Hcr;
use machine::halt::Limits;

use crate::glue::{
    cpu::single_task_running,
    parameter, //
};

/// The settings and the state of a VM for its vCPUs that wait.
pub(crate) struct VmHalt {
    /// The largest window that the monitor set; `u64::MAX` for the module's.
    max: AtomicU64,
    /// The vCPU that was the last to get the CPU of one that spins.
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

    /// The vCPU that was the last to get the CPU of one that spins.
    pub(super) fn boosted(&self) -> usize {
        self.boosted.load(Ordering::Relaxed) as usize
    }

    /// Takes note of a vCPU that gets the CPU of one that spins.
    pub(super) fn set_boosted(&self, id: usize) {
        self.boosted.store(id as u32, Ordering::Relaxed);
    }

    /// The limits of the time for which a vCPU looks out for an interrupt before it sleeps.
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

/// HCR.TWE for an entry now: WFE traps if other tasks want this CPU.
#[inline]
pub(crate) fn wfe_trap() -> u32 {
    if single_task_running() {
        0
    } else {
        Hcr::TWE.bits()
    }
}
