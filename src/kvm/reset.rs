// SPDX-License-Identifier: GPL-2.0

//! The reset of a vCPU.

use armv7::{
    cp15::Cp15Reg,
    policy,
    psr::Psr, //
};
use machine::{
    core::CLUSTER,
    cp15::{
        self,
        IdReg, //
    },
    timer::Timer, //
};

use super::{
    guest_debug,
    running::Running, //
};

/// KVM_ARM_VCPU_INIT: puts the registers of a vCPU into the state after reset (Arm ARM B1.9.1), and
/// lowers the lines that user space has raised.
pub(super) fn reset(running: &mut Running<'_>) {
    let id = running.vcpu.id as u32;
    let mpidr = cp15::mpidr(id);
    let words = &mut running.state.context.cp15;
    words[Cp15Reg::Mpidr as usize] = mpidr;
    // The guest finds the host's settings, such as workarounds of errata, and its own coherency.
    words[Cp15Reg::Actlr as usize] =
        cp15::reset_value(Cp15Reg::Actlr, id) | running.state.identity.actlr;
    running.vcpu.set_mpidr(mpidr);
    running.vcpu.lower_irq_lines();
    running.state.l2ctlr_is_set = false;
    count_cpus(running);
    restart(running);
}

/// Has L2CTLR tell how many CPUs the vCPU's cluster has now, unless user space has said so: at a
/// reset, and again before the vCPU first runs, as monitors make others after the first reset.
pub(super) fn count_cpus(running: &mut Running<'_>) {
    if running.state.l2ctlr_is_set {
        return;
    }
    let cpus = running
        .vm
        .vcpus()
        .iter()
        .filter(|other| other.id / CLUSTER == running.vcpu.id / CLUSTER)
        .count();
    running.state.context.cp15[Cp15Reg::L2ctlr as usize] =
        cp15::l2ctlr(running.state.identity.l2ctlr, cpus as u32);
}

/// PSCI CPU_ON: the same, but for the registers that tell vCPUs apart, as user space may have set
/// them, and the lines.
///
/// The vCPU's interface to the vGIC stays as it is in both cases. The vGIC is a device of its own,
/// which a monitor resets and restores by its registers, before the vCPUs or after them.
pub(super) fn restart(running: &mut Running<'_>) {
    let context = &mut *running.state.context;
    context.core = Default::default();
    context.core.cpsr = Psr::RESET.0;
    for (slot, reg) in context.cp15.iter_mut().zip(Cp15Reg::ALL) {
        if !matches!(reg, Cp15Reg::Mpidr | Cp15Reg::Actlr | Cp15Reg::L2ctlr) {
            *slot = cp15::reset_value(*reg, running.vcpu.id as u32);
        }
    }
    context.cp15[Cp15Reg::Midr as usize] = running.state.identity.id(IdReg::Midr);
    context.thumbee = [0; 2];
    context.vfp.fpexc = 0;
    context.vfp.fpscr = 0;
    context.vfp.d = [0; 32];
    context.control.hcr = (policy::HCR_GUEST | policy::HCR_CACHES_OFF).bits();
    context.control.hstr = policy::HSTR_GUEST.bits();
    context.control.hcptr = policy::HCPTR_GUEST.bits();
    let offset = running.vm.counter_offset();
    running.state.timers.virt = Timer::new(offset);
    running.state.timers.phys = Timer::new(0);
    running.state.set_counter_offset(offset);
    running.state.fpinst = [0; 2];
    running.state.pmu.reset();
    running.state.mmio = None;
    running.state.refetched_at = None;
    guest_debug::reset(running.state);
}
