// SPDX-License-Identifier: GPL-2.0

//! A vCPU that waits: for an interrupt (WFI), for an event (WFE), or suspended.
//!
//! WFI sleeps, after it has looked out for a while; how long says
//! `machine::halt`. Its limits are parameters of the module, and the largest window
//! can be set for each VM (KVM_CAP_HALT_POLL).
//!
//! WFE is how guests spin. It does not trap as long as the vCPU's thread has its CPU for
//! itself; if others want it, each WFE offers it to them, the VM's other vCPUs first:
//! what is spun for may be theirs to give. Whether others are there is looked at when
//! an interrupt has ended the guest's run, as it takes one to bring them, so that
//! other exits do not pay for it.

use armv7::regs::Hcr;
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    lines::Lines,
    next::Next,
    running::Running,
    vcpu_state::VcpuState,
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
    hyp::register, //
};

/// Whether there is something that ends a wait for an interrupt, given the lines of the vCPU's own
/// devices. An asynchronous abort does, masked or not (B1.8.13).
fn is_ready(running: &Running<'_>, lines: Lines) -> bool {
    running.vcpu.irq_lines() != 0
        || running.state.context.control.hcr & Hcr::VA.bits() != 0
        || running.has_interrupt(lines)
}

/// Waits until the vCPU has something to do. A signal ends it, too; KVM_RUN finds that.
pub(super) fn wait_for_interrupt(running: &mut Running<'_>) {
    // What changes from now on is looked for.
    let lines = running.state.lines();
    if !running.vcpu.has_requests() && !is_ready(running, lines) {
        let limits = running.vm.halt.limits();
        let start = register::cntpct();
        let found = look_out(running, lines, start, limits.max);
        if running.state.halt_window.duration(limits.max) != 0 {
            let ticks = register::cntpct().wrapping_sub(start);
            let ns = running.vm.host.timer.frequency.ticks_to_ns(ticks);
            running.vcpu.stats.count_poll(found, ns);
        }
        if !found {
            sleep(running);
        }
        let waited = register::cntpct().wrapping_sub(start);
        let waited = running.vm.host.timer.frequency.ticks_to_ns(waited);
        running.state.halt_window.learn(waited, &limits);
    }
    // The distributor was told of the lines above.
    running.state.look_at_interrupts = true;
}

/// Stays awake for the time of the vCPU's window. Says whether there is something to do by then.
/// Its devices' lines were `lines` before it was found that there is nothing.
fn look_out(running: &Running<'_>, lines: Lines, start: u64, max: u32) -> bool {
    let window = running.state.halt_window.duration(max);
    if window == 0 {
        return false;
    }
    let ticks = running.vm.host.timer.frequency.ns_to_ticks(window.into());
    while register::cntpct().wrapping_sub(start) < ticks {
        // The vGIC's lock is not taken again and again: who changes what it would signal makes
        // a request, but for the vCPU's own devices.
        if running.vcpu.has_requests() {
            return true;
        }
        let now = running.state.lines();
        if now != lines && is_ready(running, now) {
            return true;
        }
        // A signal, which KVM_RUN finds.
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

fn sleep(running: &Running<'_>) {
    let ready = || is_ready(running, running.state.lines());
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

/// A vCPU that its monitor has suspended (KVM_MP_STATE_SUSPENDED) waits for an interrupt, and lets
/// the monitor know of it. The vCPU stays suspended until the monitor changes that. `None` if
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

/// Has WFE trapped if other tasks want this CPU, and not if none does.
#[inline]
pub(super) fn watch_events(state: &mut VcpuState) {
    if single_task_running() {
        state.context.control.hcr &= !Hcr::TWE.bits();
    } else {
        state.context.control.hcr |= Hcr::TWE.bits();
    }
}

/// A trapped WFE: gives the CPU away.
pub(super) fn wait_for_event(running: &mut Running<'_>) {
    if !yield_to_other(running) {
        // To those behind in the queue: this is how vCPUs with a real-time policy take turns.
        yield_now();
    }
    watch_events(running.state);
}

/// Gives the CPU to another vCPU of the VM that could run and does not. The one that had it last
/// comes last.
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
