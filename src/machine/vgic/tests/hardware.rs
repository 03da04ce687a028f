// SPDX-License-Identifier: GPL-2.0

//! The hardware's virtual CPU interface, GICH and GICV, as IHI 0048B sections
//! 5.2 to 5.5 describe it.

use crate::vgic::CpuInterface;
use crate::vgic::GichHcr;
use crate::vgic::ListRegister;
use crate::vgic::Vmcr;

/// Shifted left by the binary point, which bits of a priority say whether an
/// interrupt preempts another (IHI 0048B section 3.3.3, table 5-7 for the
/// minimum of GICV_BPR with 32 priorities).
pub(super) fn group_priority(vmcr: u32, group1: bool, priority: u8) -> u8 {
    let own = group1 && vmcr & (1 << 4) == 0;
    let lowest_bit = if own {
        ((vmcr >> 18) & 7).max(3)
    } else {
        ((vmcr >> 21) & 7).max(2) + 1
    };
    priority & (0xff_u32 << lowest_bit) as u8
}

/// Priority of the most urgent interrupt that was acknowledged and has not
/// dropped its priority.
pub(super) fn running_priority(apr: u32) -> u32 {
    if apr == 0 {
        0x100
    } else {
        apr.trailing_zeros() << 3
    }
}

/// Whether a pending interrupt is signalled by a CPU interface.
pub(super) fn signalled(vmcr: u32, apr: u32, group1: bool, priority: u8) -> bool {
    Vmcr(vmcr).group_enabled(group1)
        && priority < Vmcr(vmcr).priority_mask()
        && u32::from(group_priority(vmcr, group1, priority)) < running_priority(apr)
}

/// The result of an acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) intid: u32,
    pub(super) source: u32,
    pub(super) group1: bool,
    pub(super) priority: u8,
}

/// The registers while the guest runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Hardware {
    pub(super) ci: CpuInterface,
    /// Physical interrupts that the guest has deactivated.
    pub(super) deactivated: Option<u32>,
    /// A list register that HYP mode has put something into since the flush.
    pub(super) given: Option<usize>,
}

impl Hardware {
    fn state(lr: u32) -> u32 {
        lr & (ListRegister::PENDING | ListRegister::ACTIVE)
    }

    fn used(&self) -> u32 {
        self.ci.used | self.given.map_or(0, |n| 1 << n)
    }

    fn valid(&mut self) -> impl Iterator<Item = &mut u32> {
        let used = self.used();
        self.ci
            .lr
            .iter_mut()
            .enumerate()
            .filter(move |(n, lr)| used & (1 << n) != 0 && Self::state(**lr) != 0)
            .map(|(_, lr)| lr)
    }

    /// A read of GICV_IAR, with AckCtl.
    pub(super) fn acknowledge(&mut self) -> Option<Taken> {
        let (vmcr, apr) = (self.ci.vmcr, self.ci.apr);
        let lr = self
            .valid()
            .filter(|lr| Self::state(**lr) == ListRegister::PENDING)
            .filter(|lr| Vmcr(vmcr).group_enabled(**lr & ListRegister::GROUP1 != 0))
            .min_by_key(|lr| (ListRegister(**lr).priority(), ListRegister(**lr).intid()))?;
        let view = ListRegister(*lr);
        let taken = Taken {
            intid: view.intid(),
            source: if view.has(ListRegister::HW) {
                0
            } else {
                view.physical_id() & 7
            },
            group1: view.has(ListRegister::GROUP1),
            priority: view.priority(),
        };
        if !signalled(vmcr, apr, taken.group1, taken.priority) {
            return None;
        }
        *lr = (*lr & !ListRegister::PENDING) | ListRegister::ACTIVE;
        self.ci.apr |= 1 << (group_priority(vmcr, taken.group1, taken.priority) >> 3);
        Some(taken)
    }

    /// A write of GICV_EOIR.
    pub(super) fn end(&mut self, intid: u32) {
        let dropped = self.ci.apr != 0;
        self.ci.apr &= self.ci.apr.wrapping_sub(1);
        if self.ci.vmcr().eoi_mode() {
            return;
        }
        let lr = self
            .valid()
            .find(|lr| **lr & ListRegister::ACTIVE != 0 && ListRegister(**lr).intid() == intid);
        match lr {
            Some(lr) => {
                *lr &= !ListRegister::ACTIVE;
                let view = ListRegister(*lr);
                if view.has(ListRegister::HW) {
                    self.deactivated = Some(view.physical_id());
                }
            }
            None if dropped => {
                let count = (self.ci.hcr >> 27).saturating_add(1).min(31);
                self.ci.hcr = (self.ci.hcr & !GichHcr::EOI_COUNT.bits()) | (count << 27);
            }
            None => {}
        }
    }

    /// Whether the maintenance interrupt is asserted: GICH_MISR is not zero.
    pub(super) fn maintenance(&mut self) -> bool {
        let hcr = GichHcr::from_bits_retain(self.ci.hcr);
        let used = self.used();
        let (mut pending, mut valid, mut ended) = (0, 0, false);
        for (n, &lr) in self.ci.lr.iter().enumerate() {
            if used & (1 << n) == 0 {
                continue;
            }
            let state = Self::state(lr);
            valid += u32::from(state != 0);
            pending += u32::from(state == ListRegister::PENDING);
            ended |= state == 0 && lr & (ListRegister::HW | ListRegister::EOI) == ListRegister::EOI;
        }
        let enabled0 = self.ci.vmcr().group_enabled(false);
        let enabled1 = self.ci.vmcr().group_enabled(true);
        ended
            || (hcr.contains(GichHcr::UIE) && valid <= 1)
            || (hcr.contains(GichHcr::LRENPIE) && hcr.bits() >> 27 != 0)
            || (hcr.contains(GichHcr::NPIE) && pending == 0)
            || (hcr.contains(GichHcr::VGRP0EIE) && enabled0)
            || (hcr.contains(GichHcr::VGRP0DIE) && !enabled0)
            || (hcr.contains(GichHcr::VGRP1EIE) && enabled1)
            || (hcr.contains(GichHcr::VGRP1DIE) && !enabled1)
    }
}
