// SPDX-License-Identifier: GPL-2.0

//! The interrupt lines of a vCPU's own devices: its timers and its performance monitors.

use kvm_bindings as uapi;

/// The levels of the lines.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The virtual timer's.
    pub(crate) virt: bool,
    /// The physical timer's.
    pub(crate) phys: bool,
    /// The performance monitors'.
    pub(crate) pmu: bool,
}

/// The INTIDs of the lines. They are fixed when a vCPU runs for the first time. Each vCPU has a copy,
/// so an entry need not look them up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Intids {
    pub(crate) virt: u32,
    pub(crate) phys: u32,
    /// A PPI, or an SPI of this vCPU's own.
    pub(crate) pmu: Option<u32>,
}

impl Lines {
    /// Whether one is high.
    pub(crate) fn any(self) -> bool {
        self.virt || self.phys || self.pmu
    }

    /// As `device_irq_level` of struct kvm_run has them.
    pub(crate) fn device_irq_level(self) -> u64 {
        [
            (self.virt, uapi::KVM_ARM_DEV_EL1_VTIMER),
            (self.phys, uapi::KVM_ARM_DEV_EL1_PTIMER),
            (self.pmu, uapi::KVM_ARM_DEV_PMU),
        ]
        .into_iter()
        .map(|(level, bit)| if level { u64::from(bit) } else { 0 })
        .sum()
    }
}
