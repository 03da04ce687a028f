// SPDX-License-Identifier: GPL-2.0

//! The interrupt lines of a vCPU's own devices: its timers and its performance monitors.

use kvm_bindings as uapi;

/// The levels of the lines. All in one word, since each entry compares them with those that the
/// vGIC knows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lines(u32);

/// The INTIDs of the lines, but for the virtual timer's, which `TimerIrq` has. They are fixed when
/// a vCPU runs for the first time. Each vCPU has a copy, so an entry need not look them up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Intids {
    pub(crate) phys: u32,
    /// A PPI, or an SPI of this vCPU's own.
    pub(crate) pmu: Option<u32>,
}

impl Lines {
    const VIRT: u32 = 1 << 0;
    const PHYS: u32 = 1 << 1;
    const PMU: u32 = 1 << 2;

    /// All lines are low.
    pub(crate) const LOW: Self = Self(0);

    /// The lines of the virtual timer, of the physical timer, and of the performance monitors.
    #[inline]
    pub(crate) fn new(virt: bool, phys: bool, pmu: bool) -> Self {
        Self(u32::from(virt) | u32::from(phys) << 1 | u32::from(pmu) << 2)
    }

    /// The virtual timer's.
    #[inline]
    pub(crate) fn virt(self) -> bool {
        self.0 & Self::VIRT != 0
    }

    /// The physical timer's.
    #[inline]
    pub(crate) fn phys(self) -> bool {
        self.0 & Self::PHYS != 0
    }

    /// The performance monitors'.
    #[inline]
    pub(crate) fn pmu(self) -> bool {
        self.0 & Self::PMU != 0
    }

    /// The same with that of the virtual timer high, or low.
    #[inline]
    pub(crate) fn with_virt(self, level: bool) -> Self {
        Self(self.0 & !Self::VIRT | u32::from(level))
    }

    /// Whether one is high.
    pub(crate) fn any(self) -> bool {
        self != Self::LOW
    }

    /// As `device_irq_level` of struct kvm_run has them.
    pub(crate) fn device_irq_level(self) -> u64 {
        [
            (self.virt(), uapi::KVM_ARM_DEV_EL1_VTIMER),
            (self.phys(), uapi::KVM_ARM_DEV_EL1_PTIMER),
            (self.pmu(), uapi::KVM_ARM_DEV_PMU),
        ]
        .into_iter()
        .map(|(level, bit)| if level { u64::from(bit) } else { 0 })
        .sum()
    }
}
