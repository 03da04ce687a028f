// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a guest's virtual timer, which HYP mode can give to the guest without an exit.
//!
//! Before an entry the distributor says which list register gets which value if the timer fires
//! while the guest runs ([`TimerIrq::flushed`]). If HYP mode has filled it so, the host hears of
//! that after the exit ([`TimerIrq::relayed`]), and the distributor when it takes the list
//! registers back ([`TimerIrq::fold`]). The physical interrupt is active as long as the guest has
//! the virtual one, or as the line is high: otherwise it would interrupt the host over and over.
//!
//! `tests/models` goes through all states of this.

use core::ops::DerefMut;

use crate::vgic::{
    Cpu,
    CpuInterface,
    CpuMask,
    Irq,
    ListRegister,
    VcpuIdx,
    Vgic, //
};

/// The interrupt of one vCPU's virtual timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerIrq {
    /// Its INTID, a PPI that is linked to the physical interrupt.
    intid: u32,
    /// The physical interrupt is to be active while the guest runs.
    active: bool,
    /// The list register that HYP mode fills if it may.
    register: usize,
    /// HYP mode has filled it, and the distributor does not know yet.
    rose: bool,
}

impl TimerIrq {
    /// Its INTID.
    #[inline(always)]
    pub const fn intid(&self) -> u32 {
        self.intid
    }

    /// Chooses the INTID.
    pub fn set_intid(&mut self, intid: u32) {
        self.intid = intid;
    }

    /// The physical interrupt is to be active while the guest runs.
    #[inline(always)]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// After a flush: a list register and its value for the timer's interrupt, in case its line
    /// rises while the vCPU is in the guest. The value is zero if HYP mode must not fill any.
    #[inline]
    pub fn flushed<S, C>(
        &mut self,
        gic: &mut Vgic<S, C>,
        cpu: VcpuIdx,
        ci: &CpuInterface,
    ) -> (usize, ListRegister)
    where
        S: DerefMut<Target = [Irq]>,
        C: DerefMut<Target = [Cpu]>,
    {
        self.active = gic.hw_needs_phys_active(cpu, self.intid);
        gic.reserve(cpu, ci, self.intid).unwrap_or_default()
    }

    /// HYP mode is to fill list register `n`, with a value of which `is_known` says whether HYP
    /// mode has it already. Says whether HYP mode needs new orders.
    #[inline]
    pub fn takes(&mut self, n: usize, is_known: impl FnOnce() -> bool) -> bool {
        if self.register == n && is_known() {
            return false;
        }
        self.register = n;
        true
    }

    /// HYP mode has filled the list register, which is one of `ci` from now on. The physical
    /// interrupt is active.
    #[inline]
    pub fn relayed(&mut self, ci: &mut CpuInterface) {
        ci.use_register(self.register);
        self.rose = true;
    }

    /// Takes the list registers back. Gives the CPUs that have to be kicked, and whether the guest
    /// has deactivated the physical interrupt.
    #[inline]
    pub fn fold<S, C>(
        &mut self,
        gic: &mut Vgic<S, C>,
        cpu: VcpuIdx,
        ci: &mut CpuInterface,
    ) -> (CpuMask, bool)
    where
        S: DerefMut<Target = [Irq]>,
        C: DerefMut<Target = [Cpu]>,
    {
        if core::mem::take(&mut self.rose) {
            gic.rose(cpu, self.intid);
        }
        let kick = gic.fold(cpu, ci);
        (kick, gic.take_hw_deactivated(cpu, self.intid))
    }
}
