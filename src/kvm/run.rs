// SPDX-License-Identifier: GPL-2.0

//! KVM_RUN: enters the guest, and handles its exits until user space is needed.

use armv7::{
    psr::Psr,
    regs,
    trap::Trap, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    exit,
    firmware,
    guest_debug,
    halt,
    host::HostGic,
    mmio,
    next::Next,
    reset,
    running::Running,
    timer::VcpuTimers,
    vcpu::{
        request,
        Alarm,
        Start,
        Vcpu, //
    },
    vm::Vm,
    vm_halt::wfe_trap, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            give_way,
            need_resched,
            IrqsOff,
            ThisCpu, //
        },
        guest_time::{
            self,
            GuestTime, //
        },
        log,
        signal::with_mask,
        task::{
            has_work,
            must_do_task_work,
            must_return_to_user, //
        },
    },
    hyp::{
        call::{
            Entry,
            Exit,
            HypCpuRef, //
        },
        takeover::{
            Lowvisor,
            NoEntry, //
        }, //
    },
    trace::trace, //
};

/// Carries out KVM_RUN, for a thread of the process that made the VM.
pub(crate) fn run(vm: &Vm, vcpu: &Vcpu) -> Result<isize> {
    let mut state = vcpu.lock()?;
    let running = &mut Running {
        vm,
        vcpu,
        state: &mut state,
    };
    let result = run_locked(running);
    if !vm.gic.exists() {
        // The monitor looks at the lines after each return (api.rst 8.9).
        report_lines(running);
    }
    result
}

#[inline]
fn run_locked(running: &mut Running<'_>) -> Result<isize> {
    if !running.state.has_run {
        prepare(running)?;
    }
    if running.state.mmio.is_some() && mmio::finish(running)? == Next::ToUser {
        return Ok(0);
    }
    if running.vcpu.run_page.immediate_exit() {
        return Err(EINTR);
    }
    let mask = running.state.signal_mask;
    with_mask(mask, || enter_until_exit(running))
}

/// The vCPU runs for the first time.
#[cold]
#[inline(never)]
fn prepare(running: &mut Running<'_>) -> Result {
    if running.state.features.is_none() {
        return Err(ENOEXEC);
    }
    reset::count_cpus(running);
    running.vm.prepare_to_run(running.vcpu, running.state)
}

/// Enters the guest again and again, until user space is needed.
#[inline(never)]
fn enter_until_exit(running: &mut Running<'_>) -> Result<isize> {
    firmware::follow(running);
    // Only aborts one after the other are no coincidence.
    running.state.refetched_at = None;
    running.state.pmu.attach();
    running.state.timers.check_alarm();
    let mut alarm = None;
    let result = running.vcpu.with_task(|| loop {
        // Most often there is nothing to look at, and all that is seldom is out of line.
        if (running.vcpu.doorbell.is_rung() || running.state.off || running.state.suspended)
            && handle_requests(running)? == Next::ToUser
        {
            return Ok(0);
        }
        if running.state.pmu.is_alarm_due() || running.state.timers.is_alarm_due() {
            set_alarm(running, &mut alarm);
        }
        if !running.vm.gic.exists() && report_lines(running) {
            running.vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
            return Err(EINTR);
        }
        let stay = enter(running);
        if running.has_ended() {
            running.tell_ended();
        }
        let outcome = if matches!(stay, Stay::Trapped) {
            exit::handle(running)?
        } else {
            deal_with(running, stay)?
        };
        if outcome == Next::ToUser {
            return Ok(0);
        }
        cond_resched();
    });
    running
        .vcpu
        .note_user_exit(&mut running.state.context, &result);
    result
}

/// Deals with a stay that did not begin, or did not end with a trap.
#[inline(never)]
fn deal_with(running: &mut Running<'_>, stay: Stay) -> Result<Next> {
    let host = &running.vm.host;
    let run_page = &running.vcpu.run_page;
    let interrupted = |error| {
        run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
        Err(error)
    };
    match stay {
        Stay::Trapped => exit::handle(running),
        Stay::Over => Ok(Next::Resume),
        Stay::Unplanned => guest_debug::step(running),
        Stay::HasWork => {
            // The kernel has work for this task on its way to user space. That work must not wait
            // for as long as the guest runs.
            if must_return_to_user() {
                return interrupted(EINTR);
            }
            // Task work may wait for the next period of the cgroup's CPU time. A signal that is
            // handled meanwhile has to end KVM_RUN. Without such a signal, KVM_RUN begins anew.
            if must_do_task_work() {
                return interrupted(ERESTARTNOHAND);
            }
            // Or the scheduler wants the CPU, and gets it before the next entry.
            give_way();
            Ok(Next::Resume)
        }
        Stay::OldVmid => {
            host.vmids.ensure(&running.vm.memory.vmid, &host.lowvisor);
            Ok(Next::Resume)
        }
        Stay::Elsewhere => {
            if let Some(gic) = running.vm.gic.hardware() {
                gic.fetch(&running.vcpu.home);
            }
            Ok(Next::Resume)
        }
        Stay::Never => {
            // Until the monitor is killed, as it is soon. Nothing is wrong that it should hear of.
            let waited = running.vcpu.wait(None, || false);
            running.vcpu.doorbell.take_requests();
            if waited.is_err() {
                return interrupted(EINTR);
            }
            Ok(Next::Resume)
        }
        Stay::Refused { cpu } => {
            run_page.set_fail_entry(uapi::KVM_EXIT_FAIL_ENTRY_CPU_UNSUPPORTED.into(), cpu.into());
            Ok(Next::ToUser)
        }
        Stay::Faulted { vector } => {
            run_page.set_internal_error(
                uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                &[vector.into()],
            );
            Ok(Next::ToUser)
        }
    }
}

/// How a stay in the guest came to its end, or did not begin. It fits into a register.
enum Stay {
    /// The guest's trap needs more work.
    Trapped,
    /// An exit needs no more work, or a request came before the entry.
    Over,
    /// The monitor steps the guest, and the end of the step is not known yet.
    Unplanned,
    /// The kernel has something to do before the entry.
    HasWork,
    /// The VM's VMID is of an old generation.
    OldVmid,
    /// Another CPU has registers of the vCPU, which has to come first.
    Elsewhere,
    /// The vCPU cannot run on this CPU, which is of another core.
    Refused {
        /// The number of this CPU.
        cpu: u8,
    },
    /// The machine goes down, and no guest runs any more.
    Never,
    /// A fault inside HYP mode, or HYP mode is not ours.
    Faulted {
        /// The number of the fault's vector.
        vector: u8,
    },
}

/// Enters the guest until an exit needs more work, or something comes before the entry.
#[inline(never)]
fn enter(running: &mut Running<'_>) -> Stay {
    // An entry that does not come about counts as the guest's time, too: it is short.
    IrqsOff::with(|irqs| {
        guest_time::account(irqs, |guest| {
            if running.state.debug.is_switched() {
                enter_debugged(running, guest)
            } else {
                enter_with_irqs_off::<false>(running, guest)
            }
        })
    })
}

/// The part of [`enter`] that no interrupt may come into.
#[inline(always)]
fn enter_with_irqs_off<const IS_DEBUGGED: bool>(
    running: &mut Running<'_>,
    guest: &GuestTime<'_>,
) -> Stay {
    let (vm, vcpu) = (running.vm, running.vcpu);
    let host = &vm.host;
    let cpu = guest.irqs().this_cpu();
    // The scheduler, a signal and a roll-over of the VMIDs make this CPU look up by an interrupt,
    // which ends the guest's run if it comes from now on. So these are looked at in any order.
    if has_work() {
        return Stay::HasWork;
    }
    if !host.vmids.is_current(&vm.memory.vmid) {
        return Stay::OldVmid;
    }
    let core = running.state.identity.core;
    let Some(hyp) = host.lowvisor.for_guest(cpu, core) else {
        return refuse(&host.lowvisor, cpu);
    };
    // No vCPU has registers in a CPU that is no longer ours, so this comes behind the check above.
    let gic = vm.gic.hardware();
    if gic.is_some_and(|gic| !gic.settle(cpu, &vcpu.home)) {
        return Stay::Elsewhere;
    }
    let interface = gic.map_or(0, |gic| gic.interface_of(cpu));
    if !vcpu.doorbell.try_enter(interface) {
        return Stay::Over;
    }

    let lines = running.state.lines();
    let keep_quiet = running.flush(&cpu, lines);
    let context = &mut *running.state.context;
    let decided_now = regs::Hcr::VI | regs::Hcr::VF | regs::Hcr::TWE;
    context.control.hcr =
        (context.control.hcr & !decided_now.bits()) | vcpu.irq_lines() | wfe_trap();
    let memory = &vm.memory;
    // The table is always the same, and the number most often.
    if context.control.vmid() != memory.vmid.number() {
        context.control.set_vttbr(memory.vttbr());
    }
    if memory.last_ran.comes_after_another(cpu, vcpu.id) {
        hyp.flush_tlb_local(memory.vttbr());
    }
    running
        .state
        .timers
        .load(cpu, host, &mut running.state.context, keep_quiet);
    if let Some(gic) = gic {
        gic.load(cpu, &running.state.context.interface);
    }
    running.state.pmu.enter(&cpu);
    if IS_DEBUGGED {
        run_debugged(running, guest, cpu, &hyp, gic)
    } else {
        run_guest(running, guest, cpu, &hyp, gic, Entry::Plain)
    }
}

/// [`enter_with_irqs_off`] of a vCPU with breakpoints and the like. It is a copy of its own, so
/// that the others pay nothing for it.
#[cold]
#[inline(never)]
fn enter_debugged(running: &mut Running<'_>, guest: &GuestTime<'_>) -> Stay {
    if running.state.debug.wants_plan() {
        return Stay::Unplanned;
    }
    enter_with_irqs_off::<true>(running, guest)
}

/// Runs the guest with the host's debug registers at rest.
#[inline]
fn run_debugged(
    running: &mut Running<'_>,
    guest: &GuestTime<'_>,
    cpu: ThisCpu<'_>,
    hyp: &HypCpuRef<'_>,
    gic: Option<&HostGic>,
) -> Stay {
    let (entry, host_debug) = guest_debug::enter(running, cpu);
    let stay = run_guest(running, guest, cpu, hyp, gic, entry);
    guest_debug::leave(running.state, entry);
    drop(host_debug);
    stay
}

/// The vCPU cannot run on this CPU now.
#[cold]
fn refuse(lowvisor: &Lowvisor, cpu: ThisCpu<'_>) -> Stay {
    let number = cpu.number();
    match lowvisor.why_not(&cpu) {
        // The monitor may let its thread run on CPUs of another kind. It has to say where instead.
        NoEntry::OtherCore => Stay::Refused { cpu: number as u8 },
        NoEntry::GoesDown => Stay::Never,
        NoEntry::NotOurs => {
            // HYP mode was lost when the CPU was resumed. User space may repeat KVM_RUN without
            // end, so the message is limited in rate.
            log::ratelimited(|| pr_err!("CPU {number}: HYP mode is not available\n"));
            Stay::Faulted { vector: u8::MAX }
        }
    }
}

/// Runs the guest with its GIC, timer and performance monitors in the hardware, then saves these.
#[inline(always)]
fn run_guest(
    running: &mut Running<'_>,
    guest: &GuestTime<'_>,
    cpu: ThisCpu<'_>,
    hyp: &HypCpuRef<'_>,
    gic: Option<&HostGic>,
    entry: Entry,
) -> Stay {
    let host = &running.vm.host;
    let mut grace = halt::Grace::None;
    running.state.has_woken = false;
    let stay = loop {
        trace!(kvm_entry(
            running.state.context.core.pc,
            running.vcpu.id as u32
        ));
        let context = running.state.context.as_mut_ptr();
        // SAFETY: The context is this vCPU's, whose mutex is held, and is mapped in HYP mode as
        // long as it lives; VTTBR is that of the VM's table. Entries that another vCPU left in the
        // TLBs were flushed before. The closure does nothing but enter the guest.
        let exit = unsafe { guest.in_guest(|| hyp.run(entry, context)) };
        if exit != Exit::Trap {
            break no_trap(running, exit, cpu, gic);
        }
        running.vcpu.note_exit(exit, running.state);
        let page = running.state.context.fault.ipa_page;
        if !running.vm.gic.is_distributor(page) || !reenters(running, cpu) {
            break Stay::Trapped;
        }
        // Requests and the host's interrupts end the guest's next run by themselves. The guest may
        // have made its timer's interrupt pending; the physical interrupt follows outside the loop.
        if running.state.timer_irq.is_active()
            || running.has_ended()
            || need_resched() && !halt::may_go_on(running, &mut grace)
        {
            break Stay::Over;
        }
    };

    running.state.pmu.leave(&cpu);
    note_relayed(running, cpu);
    let mut still_active = true;
    if running.state.context.interface.used != 0 {
        if let Some(gic) = gic {
            gic.save(cpu, &mut running.state.context.interface);
        }
        still_active = running.fold(&cpu);
    }
    running
        .state
        .timers
        .save(cpu, &host.timer, &running.state.context, still_active);
    running.vcpu.doorbell.leave();
    let missed = running.state.context.missed;
    if missed != 0 {
        running.state.context.missed = 0;
        // They have left the guest meanwhile, and may sleep.
        running.vm.vcpus().request(missed, request::INTERRUPT);
    }
    drop(grace);
    stay
}

/// The guest was left for another reason than a trap.
#[inline(never)]
fn no_trap(running: &mut Running<'_>, exit: Exit, cpu: ThisCpu<'_>, gic: Option<&HostGic>) -> Stay {
    running.vcpu.note_exit(exit, running.state);
    let Exit::HypFault(vector) = exit else {
        return Stay::Over;
    };
    report_fault(running, vector, &cpu);
    if let Some(gic) = gic {
        // HYP mode may have filled a list register that nobody knows of.
        gic.evict(&cpu);
        gic.reset(&cpu);
    }
    Stay::Faulted { vector }
}

/// Takes note of the virtual timer's interrupts that HYP mode gave to the guest while it ran. The
/// caller saves the list registers afterwards.
#[inline]
fn note_relayed(running: &mut Running<'_>, cpu: ThisCpu<'_>) {
    let relayed = running.state.context.relayed;
    if relayed != 0 {
        running.state.context.relayed = 0;
        running.vcpu.stats.relayed.add(relayed.into());
        running.vm.host.timer.note_active(cpu, true);
        let state = &mut *running.state;
        state.timer_irq.relayed(&mut state.context.interface);
        let told = running.state.told_lines.get_mut();
        *told = told.with_virt(true);
    }
}

/// Deals with a trap while the guest's timer stays in the hardware, if that is possible. The list
/// registers are folded into the distributor, and filled anew if it has changed.
#[inline(never)]
fn reenters(running: &mut Running<'_>, cpu: ThisCpu<'_>) -> bool {
    let Trap::Abort(abort) = running.state.context.trap() else {
        return false;
    };
    // The guest's counters are in the hardware.
    if !mmio::is_plain(&abort) || running.state.pmu.is_watched() {
        return false;
    }
    // A distributor traps only if there is a vGIC.
    let Some(gic) = running.vm.gic.hardware() else {
        return false;
    };
    note_relayed(running, cpu);
    let mut lines = running.state.told_lines.get();
    let timer_was_due = lines.virt() || running.state.timer_irq.is_active();
    let mut still_active = true;
    if running.state.context.interface.used != 0 {
        gic.save(cpu, &mut running.state.context.interface);
        still_active = running.fold(&cpu);
    }
    if timer_was_due {
        if !still_active {
            running.vm.host.timer.note_active(cpu, false);
        }
        // The guest has not ended the interrupt yet, or its timer has fired once more.
        if still_active || VcpuTimers::hardware_level(&running.state.context) {
            return false;
        }
        lines = lines.with_virt(false);
    }
    if !mmio::emulate_plain(running, &abort) {
        return false;
    }
    if running.state.look_at_interrupts {
        gic.save(cpu, &mut running.state.context.interface);
        running.flush(&cpu, lines);
        gic.load(cpu, &running.state.context.interface);
    }
    true
}

/// Carries out the pending requests, and waits while the vCPU is off or suspended.
#[inline(never)]
fn handle_requests(running: &mut Running<'_>) -> Result<Next> {
    loop {
        let requests = running.vcpu.doorbell.take_requests();
        if requests & request::INTERRUPT != 0 {
            running.state.look_at_interrupts = true;
            running.state.pmu.alarm_rang();
            running.state.timers.check_alarm();
        }
        if requests & request::COUNTER != 0 {
            running
                .state
                .set_counter_offset(running.vm.counter_offset());
        }
        if requests & request::POWER != 0 || running.state.off {
            settle_power(running);
        }
        if !running.state.off && !running.state.suspended {
            return Ok(Next::Resume);
        }
        if !running.state.off {
            match halt::suspended(running)? {
                Some(outcome) => return Ok(outcome),
                None => continue,
            }
        }
        running
            .vcpu
            .wait(None, || false)
            .inspect_err(|_| running.vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR))
            .map_err(|_| EINTR)?;
    }
}

/// Takes over a vCPU's power state. Only then does a start (CPU_ON) change the registers.
pub(super) fn settle_power(running: &mut Running<'_>) {
    let power = {
        let mut power = running.vcpu.power.lock();
        let now = *power;
        power.start = None;
        now
    };
    running.state.off = power.off;
    running.state.suspended = power.suspended;
    if let Some(start) = power.start {
        start_at(running, start);
    }
}

/// PSCI CPU_ON: resets the vCPU to run as the caller asked.
fn start_at(running: &mut Running<'_>, start: Start) {
    reset::restart(running);
    let context = &mut *running.state.context;
    if start.thumb {
        context.core.cpsr |= Psr::T;
    }
    if start.big_endian {
        context.core.cpsr |= Psr::E;
    }
    context.core.pc = start.entry;
    context.core.r[0] = start.context_id;
}

/// Sets the alarm to the time at which the line of the performance monitors or of the physical
/// timer rises. No hardware of the vCPU drives these two.
#[inline(never)]
fn set_alarm(running: &mut Running<'_>, alarm: &mut Option<Alarm>) {
    running.state.pmu.alarm_is_set();
    running.state.timers.alarm_is_set();
    // The old alarm has to be gone first: both use the same timer.
    *alarm = None;
    let frequency = &running.vm.host.timer.frequency;
    let phys = running.state.timers.ticks_to_phys();
    let phys = phys.map(|ticks| frequency.ticks_to_ns(ticks));
    let pmu = running.state.pmu.ns_to_level();
    let first = [phys, pmu].into_iter().flatten().min();
    *alarm = first
        .zip(running.vm.vcpu(running.vcpu.id))
        .map(|(ns, vcpu)| Vcpu::set_alarm(vcpu, ns));
}

/// Tells a monitor with its own interrupt controller the lines of the vCPU's devices. True if a
/// line has changed.
fn report_lines(running: &Running<'_>) -> bool {
    let level = running.state.lines().device_irq_level();
    if running.vcpu.run_page.device_irq_level() == level {
        return false;
    }
    running.vcpu.run_page.set_device_irq_level(level);
    true
}

/// Logs the registers of a fault inside HYP mode, which has just returned. Such a fault is a bug of
/// this module; the VM stops.
// Not cold, so that the backtrace goes through it (`Lowvisor::report_fault`).
#[inline(never)]
fn report_fault(running: &Running<'_>, vector: u8, irqs: &IrqsOff) {
    let context = &running.state.context;
    context.free_distributor();
    log::ratelimited_fault(|| {
        let lowvisor = &running.vm.host.lowvisor;
        lowvisor.report_fault(
            irqs,
            fmt!("fault inside HYP mode (vector {vector})"),
            vector,
            Some(context),
        );
    });
}
