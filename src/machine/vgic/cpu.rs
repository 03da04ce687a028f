// SPDX-License-Identifier: GPL-2.0

//! The state that the distributor keeps for each CPU: the banked interrupts and the sets
//! of interrupts that wait to be put into its list registers.

use super::irq::after_reset;
use super::irq::Irq;
use super::irq::NR_PRIVATE;
use super::irq_set::IrqSet;

/// The distributor's state of one CPU: about 530 bytes.
///
/// # Invariants
///
/// - `pending` has exactly the interrupts that are pending, enabled, forwarded
///   by GICD_CTLR, routed to this CPU, not active and not in a list register.
/// - `active` has exactly the interrupts that are active on this CPU and not in
///   a list register.
#[derive(Clone, Debug)]
pub struct Cpu {
    pub(crate) private: [Irq; NR_PRIVATE as usize],
    pub(crate) pending: IrqSet,
    pub(crate) active: IrqSet,
    /// A flush has put interrupts into list registers and no fold came yet.
    pub(crate) loaded: bool,
    /// An interrupt may get into a list register while the CPU is in the guest
    /// ([`Vgic::reserve`](super::Vgic::reserve)).
    pub(crate) reserved: bool,
    /// How often the list registers were taken back. It wraps around: see
    /// [`Vgic::folds`](super::Vgic::folds).
    pub(crate) folds: u32,
}

impl Cpu {
    /// A CPU after reset.
    pub fn new() -> Self {
        let mut private = [Irq::default(); NR_PRIVATE as usize];
        for (intid, irq) in (0..).zip(private.iter_mut()) {
            *irq = after_reset(intid);
        }
        Self {
            private,
            pending: IrqSet::EMPTY,
            active: IrqSet::EMPTY,
            loaded: false,
            reserved: false,
            folds: 0,
        }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}
