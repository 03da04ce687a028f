// SPDX-License-Identifier: GPL-2.0

//! KVM_RUN: into the guest and out of it until user space is needed.

use core::pin::Pin;

use armv7::{
    psr::Psr,
    regs, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    exit,
    firmware,
    halt,
    mmio::{
        self,
        DistributorAccess, //
    },
    next::Next,
    reset,
    timer::VcpuTimers,
    vcpu::{
        request,
        Alarm,
        Start,
        Vcpu, //
    },
    vcpu_state::VcpuState,
    vm::Vm, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            need_resched,
            IrqsOff, //
        },
        guest_time::{
            self,
            GuestTime, //
        },
        log,
        signal::with_mask,
        task::{
            is_over_memory_high,
            must_do_task_work, //
        },
    },
    hyp::call::Exit,
    trace::trace, //
};

/// Carries out KVM_RUN.
pub(crate) fn run(vm: &Vm, vcpu: &Vcpu) -> Result<isize> {
    let mut state = vcpu.lock()?;
    let result = run_locked(vm, vcpu, &mut state);
    if !vm.has_gic() {
        // The monitor looks at the lines after each return (api.rst 8.9).
        report_lines(vcpu, &state);
    }
    result
}

fn run_locked(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<isize> {
    if state.features.is_none() {
        return Err(ENOEXEC);
    }
    if !vm.is_current_process() {
        return Err(EIO);
    }
    vm.prepare_to_run(vcpu, state)?;
    if let Some(pending) = state.mmio.take() {
        if mmio::finish(pending, vm, vcpu, state)? == Next::ToUser {
            return Ok(0);
        }
    }
    let mask = state.signal_mask;
    with_mask(mask, || enter_until_exit(vm, vcpu, state))
}

/// Enters the guest again and again, until user space is needed.
fn enter_until_exit(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<isize> {
    if vcpu.run_page.immediate_exit() {
        return Err(EINTR);
    }
    state.context.answers = firmware::answers(vm, vcpu, state);
    // Only aborts one after the other are no coincidence.
    state.refetched_at = None;
    state.pmu.attach();
    state.timers.check_alarm();
    let mut alarm = None;
    let result = vcpu.with_task(|| loop {
        cond_resched();
        if handle_requests(vm, vcpu, state)? == Next::ToUser {
            return Ok(0);
        }
        if state.pmu.take_alarm_due() | state.timers.take_alarm_due() {
            set_alarm(vm, vcpu, state, &mut alarm);
        }
        // What the kernel does to this task on its way to user space must not be put off for as
        // long as the guest runs.
        if kernel::current!().signal_pending() || is_over_memory_high() {
            vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            return Err(EINTR);
        }
        // That may be to wait for the next period of its cgroup's CPU time. A signal that comes
        // meanwhile, and is handled, has to end KVM_RUN; without one it is begun anew.
        if must_do_task_work() {
            vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            return Err(ERESTARTNOHAND);
        }
        if !vm.has_gic() && report_lines(vcpu, state) {
            vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            return Err(EINTR);
        }
        let outcome = match enter(vm, vcpu, state) {
            None => Next::Resume,
            Some(Exit::Interrupt) => {
                halt::watch_events(state);
                Next::Resume
            }
            Some(Exit::Retry) => Next::Resume,
            Some(Exit::Trap) => exit::handle(vm, vcpu, state)?,
            Some(Exit::HypFault(vector)) => {
                vcpu.run_page.set_internal_error(
                    uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                    &[vector.into()],
                );
                Next::ToUser
            }
        };
        if outcome == Next::ToUser {
            return Ok(0);
        }
    });
    vcpu.note_user_exit(&mut state.context, &result);
    result
}

/// Enters the guest until it leaves for something that takes longer. `None` if there is nothing to
/// be done about that any more, or if something came up before.
fn enter(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Option<Exit> {
    let host = &vm.host;
    host.vmids.ensure(&vm.memory.vmid, &host.lowvisor);

    IrqsOff::with(|irqs| enter_with_irqs_off(vm, vcpu, state, irqs))
}

/// [`enter`], from where nothing may come in between.
#[inline]
fn enter_with_irqs_off(
    vm: &Vm,
    vcpu: &Vcpu,
    state: &mut VcpuState,
    irqs: Pin<&mut IrqsOff>,
) -> Option<Exit> {
    let host = &vm.host;
    let Some(hyp) = host.lowvisor.for_guests(&irqs) else {
        // Given back for a reboot, or lost when the CPU was resumed. User space may go on with
        // KVM_RUN for as long as it likes.
        log::ratelimited(|| pr_err!("CPU {}: HYP mode is not available\n", irqs.cpu()));
        return Some(Exit::HypFault(u8::MAX));
    };
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

    let lines = state.lines();
    let keep_active = vm.flush_gic(&irqs, vcpu, state, lines);
    let context = &mut *state.context;
    context.control.hcr =
        (context.control.hcr & !(regs::Hcr::VI | regs::Hcr::VF).bits()) | vcpu.irq_lines();
    let vttbr = vm.memory.vttbr();
    context.control.vttbr = [vttbr as u32, (vttbr >> 32) as u32];
    if vm.comes_after_another(&irqs, vcpu.id) {
        hyp.flush_tlb_local(vttbr);
    }
    state
        .timers
        .load(&irqs, &host.timer, &mut state.context, keep_active);
    if vm.has_gic() {
        host.gic.load(&irqs, &state.interface);
    }
    state.pmu.enter(&irqs);
    guest_time::account(irqs, |guest| run_guest(vm, vcpu, state, guest))
}

/// Runs the guest with its GIC, timer and performance monitors in the hardware, and takes them back.
#[inline]
fn run_guest(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, guest: &GuestTime<'_>) -> Option<Exit> {
    let host = &vm.host;
    let exit = loop {
        trace!(kvm_entry(vcpu.id as u32, state.context.core.pc));
        let context = state.context.as_mut_ptr();
        let exit = match host.lowvisor.for_guests(guest.irqs()) {
            // SAFETY: The context is this vCPU's, whose mutex is held, and is mapped in HYP mode
            // as long as it lives; VTTBR is that of the VM's table. What another vCPU has left in
            // the TLBs was flushed before. The closure does nothing but enter the guest.
            Some(hyp) => unsafe { guest.in_guest(|| hyp.run(context)) },
            None => Exit::Retry,
        };
        if let Exit::HypFault(vector) = exit {
            report_fault(vm, vector, guest.irqs());
        }
        vcpu.note_exit(exit, state);
        let may_reenter = exit == Exit::Trap && vm.is_distributor(state.context.fault.ipa_page);
        if !may_reenter || !reenters(vm, vcpu, state, guest.irqs()) {
            break Some(exit);
        }
        // What others want of the vCPU, and the host's interrupts, have it come out again. The guest
        // itself may have made the timer's interrupt pending, whose physical side has to be, too.
        if need_resched() || state.timer_active {
            break None;
        }
    };

    state.pmu.leave(guest.irqs());
    note_relayed(vm, vcpu, state, guest.irqs());
    if vm.has_gic() {
        host.gic.save(guest.irqs(), &mut state.interface);
    }
    let still_active = vm.fold_gic(guest.irqs(), vcpu, state);
    state
        .timers
        .save(guest.irqs(), &host.timer, &state.context, still_active);
    vcpu.leave();
    exit
}

/// Takes note of what HYP mode did with the virtual timer's interrupt while the guest ran: before
/// the list registers are saved.
#[inline]
fn note_relayed(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, irqs: &IrqsOff) {
    let relayed = core::mem::take(&mut state.context.relayed);
    if relayed != 0 {
        vcpu.stats.relayed.add(relayed.into());
        vm.host.timer.note_active(irqs, true);
        state.interface.use_register(state.timer_register);
        state.told_lines.get_mut().virt = true;
        state.timer_rose = true;
    }
}

/// Deals with a trap without leaving the guest for good, if that is possible: its timer stays in
/// the hardware. List registers are taken back and filled anew as the distributor has it.
#[inline(never)]
fn reenters(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, irqs: &IrqsOff) -> bool {
    let Some(access) = DistributorAccess::of(vm, state) else {
        return false;
    };
    // What the guest counts is in the hardware.
    if state.pmu.is_watched() {
        return false;
    }
    note_relayed(vm, vcpu, state, irqs);
    let mut lines = state.told_lines.get();
    let timer_was_due = lines.virt || state.timer_active;
    let mut still_active = true;
    let gic = &vm.host.gic;
    if state.interface.used != 0 {
        gic.save(irqs, &mut state.interface);
        still_active = vm.fold_gic(irqs, vcpu, state);
    }
    if timer_was_due {
        if !still_active {
            vm.host.timer.note_active(irqs, false);
        }
        // The guest may not be done with it; or its timer has fired once more.
        if still_active || VcpuTimers::hardware_level(&state.context) {
            return false;
        }
        lines.virt = false;
    }
    if !access.emulate(vm, vcpu, state) {
        return false;
    }
    if state.look_at_interrupts {
        gic.save(irqs, &mut state.interface);
        vm.flush_gic(irqs, vcpu, state, lines);
        gic.load(irqs, &state.interface);
    }
    true
}

/// Does what others asked of the vCPU, and waits while it is off or suspended.
fn handle_requests(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<Next> {
    loop {
        let requests = vcpu.take_requests();
        if requests & request::INTERRUPT != 0 {
            state.look_at_interrupts = true;
            state.pmu.alarm_rang();
            state.timers.check_alarm();
        }
        if requests & request::COUNTER != 0 {
            state.set_counter_offset(vm.counter_offset());
        }
        if requests & request::POWER != 0 || state.off {
            settle_power(vm, vcpu, state)?;
        }
        if !state.off && !state.suspended {
            return Ok(Next::Resume);
        }
        if !state.off {
            match halt::suspended(vm, vcpu, state)? {
                Some(outcome) => return Ok(outcome),
                None => continue,
            }
        }
        vcpu.wait(None, || false)
            .inspect_err(|_| vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR))
            .map_err(|_| EINTR)?;
    }
}

/// Carries out what was asked of a vCPU's power. Until then, its registers are those from before.
pub(super) fn settle_power(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result {
    let power = {
        let mut power = vcpu.power.lock();
        let now = *power;
        power.start = None;
        now
    };
    state.off = power.off;
    state.suspended = power.suspended;
    match power.start {
        Some(start) => start_at(vm, vcpu, state, start),
        None => Ok(()),
    }
}

/// PSCI CPU_ON: resets the vCPU to run as the caller asked.
fn start_at(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, start: Start) -> Result {
    reset::restart(vm, vcpu, state)?;
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

/// Sets the alarm to when a line rises by itself that no hardware of the vCPU's drives: that of the
/// performance monitors, or of the physical timer.
fn set_alarm(vm: &Vm, vcpu: &Vcpu, state: &VcpuState, alarm: &mut Option<Alarm>) {
    // The old one has to be gone before: there is but one timer.
    *alarm = None;
    let frequency = &vm.host.timer.frequency;
    let phys = state.timers.ticks_to_phys();
    let phys = phys.map(|ticks| frequency.ticks_to_ns(ticks));
    let pmu = state.pmu.ns_to_level();
    let first = [phys, pmu].into_iter().flatten().min();
    *alarm = first
        .zip(vm.vcpu(vcpu.id))
        .map(|(ns, vcpu)| Vcpu::set_alarm(vcpu, ns));
}

/// For a monitor with its own interrupt controller: whether a line of the vCPU's devices changed.
fn report_lines(vcpu: &Vcpu, state: &VcpuState) -> bool {
    let level = state.lines().device_irq_level();
    if vcpu.run_page.device_irq_level() == level {
        return false;
    }
    vcpu.run_page.set_device_irq_level(level);
    true
}

/// A fault inside HYP mode, which has just returned: a bug of ours. The registers go to the log, and
/// the VM stops.
#[cold]
fn report_fault(vm: &Vm, vector: u8, irqs: &IrqsOff) {
    log::ratelimited_fault(|| {
        if let Some(fault) = vm.host.lowvisor.fault(irqs) {
            pr_err!(
                "fault inside HYP mode (vector {vector}) on CPU {}: please report this with the \
                 registers: {fault}\n",
                irqs.cpu()
            );
        }
    });
}
