// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a guest's virtual timer on its way to the guest without an exit.
//!
//! When the timer fires while the guest runs, its physical interrupt is taken to HYP mode. The
//! highvisor has said beforehand what the guest would get for that: then `guest_timer` in
//! `asm/interrupts.S` makes the physical interrupt active, fills the list register, and goes back
//! into the guest, some 30 instructions later. At the next exit the highvisor sees from
//! `VcpuContext::relayed` that it happened, and tells the vGIC.

use memoffset::offset_of;

use armv7::regs::TimerCtl;
use kvm_bindings as layout;
use machine::vgic::ListRegister;
use static_assertions::const_assert_eq;

use super::shared::HypRegisters;

/// What is to be done when the timer fires.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Relay {
    /// What the list register gets; zero to take the interrupt to the host.
    lr: u32,
    /// Where the list register is.
    lr_address: u32,
    /// Where the physical interrupt is made active: GICD_ISACTIVER0 (IHI 0048B 4.3.9).
    set_active_address: u32,
    /// By which bit.
    set_active_bit: u32,
}

const_assert_eq!(offset_of!(Relay, lr), 0);
const_assert_eq!(
    core::mem::size_of::<Relay>(),
    (layout::CTX_RELAYED - layout::CTX_RELAY) as usize
);
const_assert_eq!(TimerCtl::all().bits(), layout::CNTV_CTL_MASK);
const_assert_eq!(
    TimerCtl::ENABLE.union(TimerCtl::ISTATUS).bits(),
    layout::CNTV_CTL_FIRES
);
const_assert_eq!(
    ListRegister::PENDING | ListRegister::ACTIVE,
    layout::GICH_LR_STATE
);

const GICD_ISACTIVER0: usize = 0x300;

impl Relay {
    /// Puts `value` into the list register that is at `offset` in `gich`, or takes the interrupt to
    /// the host if that is zero. The physical interrupt is `intid`, a PPI.
    #[inline]
    pub(crate) fn new(
        value: ListRegister,
        gich: &HypRegisters,
        offset: usize,
        gicd: &HypRegisters,
        intid: u32,
    ) -> Self {
        match (gich.address(offset), gicd.address(GICD_ISACTIVER0)) {
            (Some(lr_address), Some(set_active_address)) => Self {
                lr: value.0,
                lr_address,
                set_active_address,
                set_active_bit: 1u32.checked_shl(intid).unwrap_or(0),
            },
            // There always are.
            _ => Self {
                lr: 0,
                lr_address: 0,
                set_active_address: 0,
                set_active_bit: 0,
            },
        }
    }

    /// Whether that is what it puts there.
    #[inline]
    pub(crate) fn gives(&self, value: ListRegister) -> bool {
        self.lr == value.0
    }
}
