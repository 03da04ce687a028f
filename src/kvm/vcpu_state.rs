// SPDX-License-Identifier: GPL-2.0

//! The state of a vCPU that its mutex protects.

use core::cell::Cell;

use armv7::{
    cond,
    cp15::Cp15Reg,
    exception::{
        self,
        DataFault, //
    },
    hsr::Hsr,
    policy,
    regs,
    trap::Abort, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    cp15::Cp15State,
    halt,
    relay::TimerIrq, //
};

use super::{
    ended::Ended,
    host::Host,
    lines::{
        Intids,
        Lines, //
    },
    pending_mmio::PendingMmio,
    pmu::VcpuPmu,
    timer::VcpuTimers,
    vcpu_debug::VcpuDebug,
    vm_firmware::Choice, //
};
use crate::{
    glue::log::debug,
    hyp::{
        context::VcpuContext,
        identity::Identity,
        shared::HypBox, //
    },
    mem::fault::Faults, //
};

/// The state that a thread may touch only with the vCPU's mutex held.
pub(crate) struct VcpuState {
    pub(crate) context: HypBox<VcpuContext>,
    /// The core that the vCPU is. KVM_ARM_VCPU_INIT chooses it, once.
    pub(crate) identity: Identity,
    /// The features of KVM_ARM_VCPU_INIT, once that was called.
    pub(crate) features: Option<u32>,
    pub(crate) has_run: bool,
    /// User space has set L2CTLR, and with it the number of CPUs that the guest finds there.
    pub(crate) l2ctlr_is_set: bool,
    pub(crate) faults: Faults,
    pub(crate) timers: VcpuTimers,
    /// The signals that KVM_RUN masks in place of those that the thread masks.
    pub(crate) signal_mask: Option<u64>,
    /// FPINST and FPINST2. These cores do not have them; user space finds the values that it wrote.
    pub(crate) fpinst: [u32; 2],
    /// The PC of the last abort whose instruction was no longer there.
    pub(crate) refetched_at: Option<u32>,
    /// An access that the monitor is to complete.
    pub(crate) mmio: Option<PendingMmio>,
    /// The vCPU is powered off.
    pub(crate) off: bool,
    /// The monitor has suspended it.
    pub(crate) suspended: bool,
    /// The time for which it looks out for an interrupt before it sleeps.
    pub(crate) halt_window: halt::PollWindow,
    /// The vGIC may have something for the list registers.
    pub(crate) look_at_interrupts: bool,
    pub(crate) pmu: VcpuPmu,
    pub(crate) debug: VcpuDebug,
    /// The interrupts of the vCPU's own devices.
    pub(crate) intids: Intids,
    /// Their levels as the vGIC knows them.
    pub(crate) told_lines: Cell<Lines>,
    /// The monitor's choice of the firmware by which HYP mode answers.
    pub(crate) told_firmware: Choice,
    /// The virtual timer's interrupt on its way through HYP mode.
    pub(crate) timer_irq: TimerIrq,
    /// A store to the distributor has woken another vCPU, and the host did not want the CPU before.
    pub(crate) has_woken: bool,
    /// The interrupts that the guest has ended, as long as their irqfds have not heard of that.
    pub(crate) ended: Ended,
}

impl VcpuState {
    /// The state of a vCPU that waits for KVM_ARM_VCPU_INIT.
    pub(super) fn new<'a>(
        host: &'a Host,
        context: HypBox<VcpuContext>,
    ) -> Result<impl Init<Self> + 'a> {
        let identity = host.lowvisor.any_core().ok_or(ENODEV)?;
        // In its place: to build the state elsewhere and to copy it is dear.
        Ok(init!(Self {
            context,
            features: None,
            has_run: false,
            l2ctlr_is_set: false,
            faults: Faults::new(),
            timers: VcpuTimers::new(),
            signal_mask: None,
            fpinst: [0; 2],
            refetched_at: None,
            mmio: None,
            off: false,
            suspended: false,
            halt_window: halt::PollWindow::new(),
            look_at_interrupts: false,
            pmu <- VcpuPmu::new(identity.core, host.timer.frequency),
            identity: identity.clone(),
            debug: VcpuDebug::NONE,
            intids: Intids::default(),
            told_lines: Cell::new(Lines::LOW),
            told_firmware: Choice::NONE,
            timer_irq: TimerIrq::default(),
            has_woken: false,
            ended: Ended::NONE,
        }))
    }

    /// KVM_ARM_VCPU_INIT for the first time: the vCPU is of that core from now on.
    pub(super) fn become_core(&mut self, host: &Host, identity: &Identity) {
        self.identity.clone_from(identity);
        let monitors = host.pmus.of(identity.core, &host.lowvisor);
        self.pmu.become_core(identity.core, monitors);
    }

    /// The levels of the lines of the vCPU's own devices now.
    #[inline]
    pub(crate) fn lines(&self) -> Lines {
        // Most guests have at most one timer enabled, and the counter costs an isb.
        if !self.timers.are_armed() && !self.pmu.is_watched() {
            return Lines::LOW;
        }
        self.lines_of_devices()
    }

    #[inline(never)]
    fn lines_of_devices(&self) -> Lines {
        let (virt, phys) = self.timers.levels();
        Lines::new(virt, phys, self.pmu.level())
    }

    /// Goes on behind the trapped instruction.
    pub(crate) fn skip_instruction(&mut self) {
        let hsr = Hsr(self.context.fault.hsr);
        let core = &mut self.context.core;
        (core.pc, core.cpsr) = cond::next_pc(core.pc, core.cpsr, hsr.il());
    }

    /// Has the guest take an abort for the access or fetch that was aborted.
    pub(crate) fn inject_abort(&mut self, abort: &Abort, fault: DataFault) {
        debug!(
            "a guest gets an abort for {:#010x}: HSR {:#010x}, pc {:#010x}\n",
            abort.address, self.context.fault.hsr, self.context.core.pc
        );
        let regs = &mut *self.context;
        if abort.is_fetch {
            exception::inject_prefetch_abort(regs, fault, abort.address);
        } else {
            exception::inject_data_abort(regs, fault, abort.address, abort.iss.direction());
        }
    }

    /// Whether user space asked for performance monitors with an interrupt.
    pub(crate) fn has_pmu(&self) -> bool {
        self.features
            .is_some_and(|features| features & 1 << uapi::KVM_ARM_VCPU_PMU_V3 != 0)
    }

    /// Sets how far the guest's counter is behind the physical one.
    pub(crate) fn set_counter_offset(&mut self, offset: u64) {
        self.timers.set_offset(offset);
        self.context.control.cntvoff = [offset as u32, (offset >> 32) as u32];
    }

    /// Has the guest's writes to SCTLR trapped if its caches are off, and not if they are on.
    pub(crate) fn watch_caches(&mut self) {
        let watch = policy::HCR_CACHES_OFF.bits();
        if self.caches_on() {
            self.context.control.hcr &= !watch;
        } else {
            self.context.control.hcr |= watch;
        }
    }

    /// Whether the guest's data accesses go through the caches.
    pub(crate) fn caches_on(&self) -> bool {
        regs::Sctlr::from_bits_retain(self.context.cp15[Cp15Reg::Sctlr as usize]).caches_on()
    }
}

/// The registers that the tables of CP15 use.
impl Cp15State for VcpuState {
    fn get(&self, reg: Cp15Reg) -> u32 {
        self.context.cp15[reg as usize]
    }

    fn set(&mut self, reg: Cp15Reg, value: u32) {
        self.context.cp15[reg as usize] = value;
    }
}
