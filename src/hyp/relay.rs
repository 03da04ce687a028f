// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a guest's virtual timer on its way to the guest without an exit.
//!
//! When the timer fires while the guest runs, its physical interrupt is taken to HYP mode. The
//! highvisor has laid down beforehand which list register the guest gets for it. So `guest_timer`
//! in `asm/interrupts.S` makes the physical interrupt active, fills the list register, and goes
//! back into the guest, some 30 instructions later. At the next exit the highvisor sees in
//! `VcpuContext::relayed` that this happened, and tells the vGIC.

use armv7::regs::TimerCtl;
use kvm_bindings as layout;
use machine::vgic::ListRegister;
use static_assertions::const_assert_eq;

use super::{
    context::assert_layout,
    shared::HypRegisters, //
};

/// The steps to take when the timer fires.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Relay {
    /// The value for the list register, or zero if the host takes the interrupt.
    lr: u32,
    /// The address of the list register.
    lr_address: u32,
    /// The address at which the physical interrupt is made active: GICD_ISACTIVER0 (IHI 0048B
    /// 4.3.9).
    set_active_address: u32,
    /// The interrupt's bit there.
    set_active_bit: u32,
}

assert_layout!(Relay at layout::CTX_RELAY, ends at layout::CTX_RELAYED;
    lr: layout::CTX_RELAY,
    lr_address: layout::CTX_RELAY + 4,
    set_active_address: layout::CTX_RELAY + 8,
    set_active_bit: layout::CTX_RELAY + 12,
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
    /// Puts `value` into the list register at `offset` in `gich`, or takes the interrupt to the
    /// host if `value` is zero. The physical interrupt is `intid`, a PPI.
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
            // Both windows are as large as their registers, so this does not happen.
            _ => Self {
                lr: 0,
                lr_address: 0,
                set_active_address: 0,
                set_active_bit: 0,
            },
        }
    }

    /// The number of the list register. `first` is the address of the first one.
    #[inline(always)]
    pub(super) fn register(&self, first: u32) -> usize {
        self.lr_address.wrapping_sub(first) as usize / 4
    }

    /// Whether `value` is the one that goes into the list register.
    #[inline]
    pub(crate) fn gives(&self, value: ListRegister) -> bool {
        self.lr == value.0
    }
}
