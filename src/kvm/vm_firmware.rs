// SPDX-License-Identifier: GPL-2.0

//! The firmware that a VM has: the monitor's choice.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};

use kernel::prelude::*;
use machine::{
    psci::Version,
    smccc::Services, //
};

/// The firmware of a VM, as its monitor chose it.
pub(crate) struct VmFirmware {
    /// The version of PSCI for vCPUs that have the standard one.
    psci: AtomicU32,
    /// [`Services`].
    services: AtomicU32,
    /// A vCPU has run: the services are fixed.
    fixed: AtomicBool,
}

/// Everything that the monitor can change, to see whether it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    psci: u32,
    services: u32,
}

impl Choice {
    /// No choice of a monitor: there is no such version.
    pub(super) const NONE: Self = Self {
        psci: 0,
        services: 0,
    };
}

impl VmFirmware {
    /// All that there is.
    pub(crate) const fn new() -> Self {
        Self {
            psci: AtomicU32::new(Version::LATEST.bits()),
            services: AtomicU32::new(Services::DEFAULT.bits()),
            fixed: AtomicBool::new(false),
        }
    }

    /// The choice of the monitor.
    #[inline]
    pub(super) fn choice(&self) -> Choice {
        Choice {
            psci: self.psci.load(Ordering::Relaxed),
            services: self.services.load(Ordering::Relaxed),
        }
    }

    /// Fixes the services, as a vCPU begins to run.
    pub(crate) fn fix(&self) {
        self.fixed.store(true, Ordering::Relaxed);
    }

    /// Lets the guest suspend the system (KVM_CAP_ARM_SYSTEM_SUSPEND).
    pub(crate) fn allow_suspend(&self) {
        self.services
            .fetch_or(Services::SYSTEM_SUSPEND.bits(), Ordering::Relaxed);
    }

    /// The version of PSCI for vCPUs that have the standard one.
    pub(super) fn psci(&self) -> Version {
        Version::from_bits(self.psci.load(Ordering::Relaxed)).unwrap_or(Version::LATEST)
    }

    /// Chooses the version of PSCI.
    pub(super) fn set_psci(&self, version: Version) {
        self.psci.store(version.bits(), Ordering::Relaxed);
    }

    /// The services of the firmware beside PSCI.
    pub(super) fn services(&self) -> Services {
        Services::from_bits_truncate(self.services.load(Ordering::Relaxed))
    }

    /// Replaces those of the services that are in `mask`.
    pub(super) fn set_services(&self, mask: Services, on: Services) -> Result {
        let change = |old| {
            let new = Services::from_bits_truncate(old) & !mask | on;
            let is_same = new.bits() == old;
            (is_same || !self.fixed.load(Ordering::Relaxed)).then_some(new.bits())
        };
        self.services
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .map_err(|_| EBUSY)?;
        Ok(())
    }
}
