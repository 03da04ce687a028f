// SPDX-License-Identifier: GPL-2.0

//! The architected timers of a vCPU (Arm ARM B8).
//!
//! The virtual timer is the hardware's own while the guest runs. The world switch
//! turns it on and off, and switches the counter's offset. While the guest does not
//! run, the timer is off, its state is here, and the counter tells its output. The
//! output reaches the guest as a PPI. The list register links it to the physical
//! interrupt, so that the guest's deactivation deactivates both. While the output is
//! high the physical interrupt stays active, or it would interrupt the host over and
//! over. When the output rises while the guest runs, HYP mode does all that by itself
//! (`hyp::relay`).
//!
//! Without a vGIC the monitor gets to know the output. While that is high, the physical
//! interrupt is active, too, or masked if the host's interrupt controller knows no active
//! interrupts ([`HostTimer::set_quiet`]).
//!
//! The physical timer (CNTP) is the host's. The guest's accesses trap and are
//! emulated. An alarm makes a vCPU that runs look at its timer in time.

use armv7::regs::TimerCtl;
use machine::timer::Timer;

use super::host::{
    Host,
    HostTimer, //
};
use crate::{
    glue::cpu::ThisCpu,
    hyp::{
        context::VcpuContext,
        register, //
    },
};

/// The interrupts of the timers, by their INTIDs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerIntids {
    /// The virtual timer's.
    pub(crate) virt: u32,
    /// The non-secure physical timer's.
    pub(crate) phys: u32,
}

impl Default for TimerIntids {
    /// As on Cortex-A15 and A7.
    fn default() -> Self {
        Self { virt: 27, phys: 30 }
    }
}

/// The timers of a vCPU.
pub(crate) struct VcpuTimers {
    pub(crate) virt: Timer,
    pub(crate) phys: Timer,
    /// The alarm has to be set, or set again.
    alarm_due: bool,
}

impl VcpuTimers {
    /// Timers after reset: off.
    pub(crate) fn new() -> Self {
        Self {
            virt: Timer::new(0),
            phys: Timer::new(0),
            alarm_due: false,
        }
    }

    /// Sets the difference between the physical and the virtual counter.
    pub(crate) fn set_offset(&mut self, offset: u64) {
        self.virt.offset = offset;
    }

    /// Whether the output of the virtual or of the physical timer may be high.
    #[inline]
    pub(crate) fn are_armed(&self) -> bool {
        self.virt.is_armed() || self.phys.is_armed()
    }

    /// The outputs of the virtual and the physical timer now.
    pub(crate) fn levels(&self) -> (bool, bool) {
        if !self.are_armed() {
            return (false, false);
        }
        let now = register::cntpct();
        (self.virt.level(now), self.phys.level(now))
    }

    /// The output of the virtual timer that is in the hardware, when the guest was left.
    #[inline]
    pub(crate) fn hardware_level(context: &VcpuContext) -> bool {
        let ctl = TimerCtl::from_bits_truncate(context.cntv_ctl);
        ctl == TimerCtl::ENABLE | TimerCtl::ISTATUS
    }

    /// Looks whether the physical timer needs an alarm: the timer has changed, another thread runs
    /// the vCPU, or the alarm has rung, maybe a tick too early.
    #[inline]
    pub(crate) fn check_alarm(&mut self) {
        self.alarm_due = self.phys.is_armed();
    }

    /// Whether the alarm has to be set.
    #[inline]
    pub(crate) fn is_alarm_due(&self) -> bool {
        self.alarm_due
    }

    /// The alarm is set.
    pub(crate) fn alarm_is_set(&mut self) {
        self.alarm_due = false;
    }

    /// Ticks until the output of the physical timer, which is low now, goes high by itself.
    pub(crate) fn ticks_to_phys(&self) -> Option<u64> {
        let ticks = self.phys.deadline(register::cntpct());
        ticks.filter(|&ticks| ticks != 0)
    }

    /// Ticks until the next output that is low now goes high by itself.
    pub(crate) fn ticks_to_next(&self) -> Option<u64> {
        let now = register::cntpct();
        // An output that is high already changes nothing by itself.
        let virt = self.virt.deadline(now).filter(|&ticks| ticks != 0);
        let phys = self.phys.deadline(now).filter(|&ticks| ticks != 0);
        match (virt, phys) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Puts the virtual timer into the hardware, where it is off until the guest is entered.
    /// `keep_quiet` says whether the guest has yet to end the interrupt.
    #[inline]
    pub(crate) fn load(
        &mut self,
        cpu: ThisCpu<'_>,
        host: &Host,
        context: &mut VcpuContext,
        keep_quiet: bool,
    ) {
        host.timer.set_quiet(cpu, host.gic.as_ref(), keep_quiet);
        register::set_cntv_cval(&cpu, self.virt.cval);
        context.cntv_ctl = self.virt.ctl.bits();
    }

    /// Takes the state of the virtual timer out of the hardware.
    ///
    /// `still_active` says whether the guest has yet to deactivate the interrupt. If it has done
    /// so, the physical one is inactive, too.
    #[inline]
    pub(crate) fn save(
        &mut self,
        cpu: ThisCpu<'_>,
        host: &HostTimer,
        context: &VcpuContext,
        still_active: bool,
    ) {
        let ctl = TimerCtl::from_bits_truncate(context.cntv_ctl);
        self.virt.ctl = ctl & (TimerCtl::ENABLE | TimerCtl::IMASK);
        self.virt.cval = register::cntv_cval();
        if !still_active {
            host.note_active(cpu, false);
        }
    }
}
