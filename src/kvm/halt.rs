// SPDX-License-Identifier: GPL-2.0

//! A vCPU that waits: for an interrupt (WFI), for an event (WFE), or suspended.
//!
//! WFI sleeps, after it has looked out for a while. `machine::halt` says for how
//! long. Its limits are parameters of the module, and the monitor can set the largest
//! window of a VM (KVM_CAP_HALT_POLL).
//!
//! WFE is how guests spin. It does not trap as long as the vCPU's thread has its CPU for
//! itself. If other tasks want that CPU, each WFE offers it to them, and first to the VM's
//! other vCPUs: one of them may hold the lock that this one spins for. Each entry from the
//! kernel looks whether there are other tasks, and so does each store to the distributor that
//! woke another vCPU.
//!
//! A guest that has just woken one of its other CPUs often holds a lock that the other one
//! needs at once: Linux wakes tasks with locks held. The host would give the CPU to the vCPU
//! that woke up, which would spin. So if the guest has its interrupts masked, the host lets it
//! go on first ([`may_go_on`]), until its next exit, and for [`GRACE_NS`] at most.

use armv7::{
    psr::Psr,
    regs::Hcr, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::halt::PollWindow;

use super::{
    lines::Lines,
    next::Next,
    running::Running,
    vcpu::WakerHandle,
    vcpus::MAX_VCPUS, //
};
use crate::{
    glue::{
        cpu::{
            need_resched,
            single_task_running,
            yield_now, //
        },
        task::yield_to, //
    },
    hyp::register,
    trace::{
        kvm_halt_poll_ns,
        kvm_vcpu_wakeup,
        trace, //
    },
};

/// Whether something ends a wait for an interrupt now. `lines` are the levels of the vCPU's own
/// devices. An asynchronous abort ends the wait, masked or not (B1.8.13).
fn is_ready(running: &Running<'_>, lines: Lines) -> bool {
    running.vcpu.irq_lines() != 0
        || running.state.context.control.hcr & Hcr::VA.bits() != 0
        || running.has_interrupt(lines)
}

/// Waits until the vCPU has something to do. A signal ends the wait, too, and KVM_RUN finds it.
pub(super) fn wait_for_interrupt(running: &mut Running<'_>) {
    // The look-out and the sleep see each change from now on.
    let lines = running.state.lines();
    if !running.vcpu.has_requests() && !is_ready(running, lines) {
        let limits = running.vm.halt.limits();
        let start = register::cntpct();
        let since_start = || {
            let ticks = register::cntpct().wrapping_sub(start);
            running.vm.host.timer.frequency.ticks_to_ns(ticks)
        };
        let found = look_out(running, lines, start, limits.max);
        let mut waited = since_start();
        if running.state.halt_window.duration(limits.max) != 0 {
            running.vcpu.stats.count_poll(found, waited);
        }
        if !found {
            sleep(running, lines);
            waited = since_start();
        }
        let old = running.state.halt_window;
        running.state.halt_window.learn(waited, &limits);
        if kvm_vcpu_wakeup::is_on() || kvm_halt_poll_ns::is_on() {
            trace_wait(running, old, waited, found);
        }
    }
    // `is_ready` has told the distributor of the lines, so the next entry sees no change of them.
    running.state.look_at_interrupts = true;
}

/// Traces a wait, and the change of the vCPU's window that came of it.
#[cold]
fn trace_wait(running: &Running<'_>, old: PollWindow, waited: u64, found: bool) {
    let new = running.state.halt_window.duration(u32::MAX);
    let old = old.duration(u32::MAX);
    if new != old {
        trace!(kvm_halt_poll_ns(running.vcpu.id as u32, new, old));
    }
    trace!(kvm_vcpu_wakeup(waited, !found));
}

/// Stays awake for the time of the vCPU's window. Says whether there is something to do by then.
/// There was nothing when the levels of its devices' lines were `lines`.
fn look_out(running: &Running<'_>, lines: Lines, start: u64, max: u32) -> bool {
    let window = running.state.halt_window.duration(max);
    if window == 0 {
        return false;
    }
    let ticks = running.vm.host.timer.frequency.ns_to_ticks(window.into());
    while register::cntpct().wrapping_sub(start) < ticks {
        // The vGIC's lock is not taken again and again. Whoever changes the vGIC's signal to the
        // vCPU makes a request, and the vCPU's own devices are looked at here.
        if running.vcpu.has_requests() {
            return true;
        }
        let now = running.state.lines();
        if now != lines && is_ready(running, now) {
            return true;
        }
        // KVM_RUN finds the signal.
        if kernel::current!().signal_pending() {
            return true;
        }
        if need_resched() || !single_task_running() {
            return false;
        }
        core::hint::spin_loop();
    }
    false
}

/// Sleeps until there is something to do. There was nothing when the levels of the devices' lines
/// were `lines`.
fn sleep(running: &Running<'_>, lines: Lines) {
    // The vGIC's lock is not taken for each look, for the same reason as in `look_out`.
    let ready = || {
        let now = running.state.lines();
        now != lines && is_ready(running, now)
    };
    if let Some(gic) = running.vm.gic.hardware() {
        gic.leave(&running.vcpu.home);
    }
    // The host's clock is not quite the counter: it can wake us a tick before the guest's timer
    // has expired. Then there is a little left to sleep.
    while !running.vcpu.has_requests() && !ready() {
        let _sleep = running.vcpu.stats.sleep();
        let timeout = running
            .state
            .timers
            .ticks_to_next()
            .map(|ticks| running.vm.host.timer.frequency.ticks_to_ns(ticks));
        if running.vcpu.wait(timeout, ready).is_err() {
            break;
        }
    }
}

/// A vCPU that its monitor has suspended (KVM_MP_STATE_SUSPENDED) waits for an interrupt, and tells
/// the monitor when it comes. The vCPU stays suspended until the monitor changes that. `None` if
/// there is something else to look at first.
pub(super) fn suspended(running: &mut Running<'_>) -> Result<Option<Next>> {
    wait_for_interrupt(running);
    if running.vcpu.has_requests() {
        return Ok(None);
    }
    if kernel::current!().signal_pending() {
        running.vcpu.run_page.set_exit_reason(uapi::KVM_EXIT_INTR);
        return Err(EINTR);
    }
    if !is_ready(running, running.state.lines()) {
        return Ok(None);
    }
    running
        .vcpu
        .run_page
        .set_system_event(uapi::KVM_SYSTEM_EVENT_WAKEUP, None);
    Ok(Some(Next::ToUser))
}

/// For how long a guest may go on at most although the host wants its CPU for another vCPU.
const GRACE_NS: u64 = 20_000;

/// Time that a guest has been given to go on. An interrupt ends the guest's run at its end.
pub(super) type Grace = Option<WakerHandle>;

/// The host wants the CPU of a guest that has just stored to the distributor. Says whether the
/// guest may go on first: if it has woken another vCPU, which is why the host wants the CPU, and
/// has its interrupts masked, which tells that it holds locks.
#[cold]
pub(super) fn may_go_on(running: &mut Running<'_>, grace: &mut Grace) -> bool {
    let has_woken = core::mem::take(&mut running.state.has_woken);
    if !has_woken && grace.is_none() || running.state.context.core.cpsr & Psr::I == 0 {
        return false;
    }
    if grace.is_none() {
        *grace = Some(running.vcpu.wake_in(GRACE_NS));
    }
    true
}

/// A trapped WFE: gives the CPU away.
pub(super) fn wait_for_event(running: &mut Running<'_>) {
    if !yield_to_other(running) {
        // Those behind in the queue get it. In this way vCPUs with a real-time policy take turns.
        yield_now();
    }
}

/// Gives the CPU to another vCPU of the VM that could run and does not. The vCPU that got a CPU
/// last in this way is asked last.
fn yield_to_other(running: &Running<'_>) -> bool {
    let last = running.vm.halt.boosted();
    for step in 1..=MAX_VCPUS {
        let id = last.wrapping_add(step) % MAX_VCPUS;
        if id == running.vcpu.id {
            continue;
        }
        let Some(task) = running.vm.vcpu(id).and_then(|other| other.task()) else {
            continue;
        };
        if yield_to(&task) {
            running.vm.halt.set_boosted(id);
            return true;
        }
    }
    false
}
