// SPDX-License-Identifier: GPL-2.0

//! KVM_RUN: into the guest and out of it until user space is needed.

use armv7::{
    psr::Psr,
    regs, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    exit,
    timer::{
        PHYSICAL_INTID,
        VIRTUAL_INTID, //
    },
    vcpu::{
        request,
        Start,
        Vcpu,
        VcpuState, //
    },
    vm::Vm, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            need_resched,
            IrqsOff, //
        },
        guest_time::in_guest,
        signal::with_mask, //
    },
    hyp::call::Exit,
    trace::trace, //
};

/// What follows an exit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Back into the guest.
    Resume,
    /// To the monitor, for the reason that is in the run page.
    ToUser,
}

/// Carries out KVM_RUN.
pub(crate) fn run(vm: &Vm, vcpu: &Vcpu) -> Result<isize> {
    let mut state = vcpu.state.lock();
    let state = &mut *state;
    if state.features.is_none() {
        return Err(ENOEXEC);
    }
    if !vm.is_current_process() {
        return Err(EIO);
    }
    vm.prepare_to_run(state)?;
    if let Some(mmio) = state.mmio.take() {
        mmio.finish(vcpu, state);
    }
    let mask = state.signal_mask;
    with_mask(mask, || enter_until_exit(vm, vcpu, state))
}

/// Enters the guest again and again, until user space is needed.
fn enter_until_exit(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<isize> {
    if vcpu.run_page.immediate_exit() {
        return Err(EINTR);
    }
    vcpu.with_task(|| loop {
        cond_resched();
        handle_requests(vm, vcpu, state)?;
        if kernel::current!().signal_pending() {
            vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            vcpu.note_user_exit(EINTR.to_errno());
            return Err(EINTR);
        }
        let outcome = match enter(vm, vcpu, state) {
            None => Outcome::Resume,
            Some(Exit::Interrupt | Exit::Retry) => Outcome::Resume,
            Some(Exit::Trap) => exit::handle(vm, vcpu, state)?,
            Some(Exit::HypFault(vector)) => {
                hyp_fault(vm, vcpu, vector);
                Outcome::ToUser
            }
        };
        if outcome == Outcome::ToUser {
            vcpu.note_user_exit(0);
            return Ok(0);
        }
        if !vm.has_gic() && report_timer_lines(vcpu, state) {
            vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            vcpu.note_user_exit(EINTR.to_errno());
            return Err(EINTR);
        }
    })
}

/// Enters the guest once. `None` if something came up before.
fn enter(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Option<Exit> {
    let host = &vm.host;
    host.vmids.ensure(&vm.memory.vmid, &host.lowvisor);

    let irqs = IrqsOff::new();
    if host.lowvisor.this_cpu(&irqs).is_none() {
        // Given back for a reboot, or lost when the CPU was resumed.
        return Some(Exit::HypFault(u8::MAX));
    }
    if !vcpu.try_enter() {
        return None;
    }
    if need_resched()
        || kernel::current!().signal_pending()
        || !host.vmids.is_current(&vm.memory.vmid)
    {
        vcpu.leave();
        return None;
    }

    let (virt, phys) = state.timers.levels();
    let keep_active = vm.flush_gic(vcpu, state, virt, phys);
    let context = &mut *state.context;
    context.control.hcr =
        (context.control.hcr & !(regs::Hcr::VI | regs::Hcr::VF).bits()) | vcpu.irq_lines();
    let vttbr = vm.memory.vttbr();
    context.control.vttbr = [vttbr as u32, (vttbr >> 32) as u32];
    state.timers.load(&irqs, &host.timer, keep_active);
    if vm.has_gic() {
        host.gic.load(&irqs, &state.interface);
    }
    trace!(kvm_entry(vcpu.id as u32, state.context.core.pc));
    let context = state.context.as_mut_ptr();

    let exit = in_guest(
        irqs,
        |irqs| match host.lowvisor.this_cpu(irqs) {
            // SAFETY: The context is this vCPU's, whose mutex is held, and is mapped in HYP mode
            // as long as it lives; VTTBR is that of the VM's table.
            Some(hyp) => unsafe { hyp.run(context) },
            None => Exit::Retry,
        },
        |irqs, _| {
            if vm.has_gic() {
                host.gic.save(irqs, &mut state.interface);
            }
            let still_active = vm.fold_gic(vcpu, state);
            state.timers.save(irqs, &host.timer, still_active);
            vcpu.leave();
        },
    );
    vcpu.note_exit(exit, state);
    Some(exit)
}

/// Does what others asked of the vCPU, and waits while it is off.
fn handle_requests(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result {
    loop {
        let requests = vcpu.take_requests();
        if requests & request::INTERRUPT != 0 {
            state.look_at_interrupts = true;
        }
        if requests & request::COUNTER != 0 {
            state.set_counter_offset(vm.counter_offset());
        }
        if requests & request::POWER != 0 || state.off {
            let power = {
                let mut power = vcpu.power.lock();
                let now = *power;
                power.start = None;
                now
            };
            state.off = power.off;
            if let Some(start) = power.start {
                start_at(vm, vcpu, state, start)?;
            }
        }
        if !state.off {
            return Ok(());
        }
        vcpu.wait(None, || false)
            .inspect_err(|_| vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR))
            .map_err(|_| EINTR)?;
    }
}

/// PSCI CPU_ON: resets the vCPU to run as the caller asked.
fn start_at(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, start: Start) -> Result {
    super::vcpu_file::reset(vm, vcpu, state)?;
    let context = &mut *state.context;
    if start.thumb {
        context.core.cpsr |= Psr::T;
    }
    if start.big_endian {
        context.core.cpsr |= Psr::E;
    }
    context.core.pc = start.entry;
    context.core.r[0] = start.context_id;
    Ok(())
}

/// Sleeps until the vCPU has something to do. A signal ends it, too; KVM_RUN finds that.
pub(crate) fn wait_for_interrupt(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) {
    let ready = || {
        let (virt, phys) = state.timers.levels();
        vcpu.irq_lines() != 0 || vm.interrupt_for(vcpu, state, virt, phys)
    };
    // The host's clock is not quite the counter: it can wake us a tick before the guest's timer
    // has expired. Then there is a little left to sleep.
    while !vcpu.has_requests() && !ready() {
        let _sleep = vcpu.stats.sleep();
        let timeout = state
            .timers
            .ticks_to_next()
            .map(|ticks| vm.host.timer.frequency.ticks_to_ns(ticks));
        if vcpu.wait(timeout, ready).is_err() {
            break;
        }
    }
    // The distributor was told of the timers' lines above.
    state.look_at_interrupts = true;
}

/// For a monitor with its own interrupt controller: whether a timer's line changed.
fn report_timer_lines(vcpu: &Vcpu, state: &VcpuState) -> bool {
    let (virt, phys) = state.timers.levels();
    let level = if virt {
        uapi::KVM_ARM_DEV_EL1_VTIMER
    } else {
        0
    } | if phys {
        uapi::KVM_ARM_DEV_EL1_PTIMER
    } else {
        0
    };
    let known = vcpu.run_page.device_irq_level();
    if known == u64::from(level) {
        return false;
    }
    vcpu.run_page.set_device_irq_level(level.into());
    true
}

/// A fault inside HYP mode: a bug of ours. The registers go to the log, the VM stops.
fn hyp_fault(vm: &Vm, vcpu: &Vcpu, vector: u8) {
    let irqs = IrqsOff::new();
    if vector == u8::MAX {
        pr_err!("CPU {}: HYP mode is not available\n", irqs.cpu());
    } else if let Some(fault) = vm.host.lowvisor.fault(&irqs) {
        pr_err!(
            "fault inside HYP mode (vector {vector}) on CPU {}: please report this with the \
             registers: {fault}\n",
            irqs.cpu()
        );
    }
    vcpu.run_page.set_internal_error(
        uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
        &[vector.into()],
    );
}

/// INTIDs of the timers, for the vGIC.
pub(super) const TIMER_INTIDS: (u32, u32) = (VIRTUAL_INTID, PHYSICAL_INTID);
