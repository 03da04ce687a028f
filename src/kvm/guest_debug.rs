// SPDX-License-Identifier: GPL-2.0

//! Debugging of a guest: its own debug registers, and the monitor's breakpoints, watchpoints and
//! steps (`KVM_SET_GUEST_DEBUG`, api.rst 4.87, with arm64's structures and meaning).
//!
//! | debug exceptions in the guest | go to | the hardware has |
//! |---|---|---|
//! | nobody debugs | HYP mode: BKPT is given to the guest | the host's points |
//! | the guest debugs itself | the guest | the guest's points |
//! | the monitor debugs the guest | HYP mode, and `KVM_EXIT_DEBUG` | the monitor's points |
//!
//! If a point of the host matches in a guest, the vCPU goes on with the host's points at rest, and
//! has them rest at each entry from then on.

use armv7::{
    cp15::Cp15Reg,
    exception::{
        self,
        DataFault, //
    },
    insn::{
        self,
        Instruction, //
    },
    policy,
    trap::DebugException, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::cp14::{
    dscr,
    DebugUnit,
    Point,
    Points, //
};

use super::{
    guest_memory,
    next::Next,
    running::Running,
    vcpu_debug::Monitor,
    vcpu_state::VcpuState, //
};
use crate::{
    glue::cpu::ThisCpu,
    hyp::{
        call::Entry,
        debug_registers::HostDebug, //
    }, //
};

/// The flags of `KVM_SET_GUEST_DEBUG`.
const CONTROL: u32 = uapi::KVM_GUESTDBG_ENABLE
    | uapi::KVM_GUESTDBG_SINGLESTEP
    | uapi::KVM_GUESTDBG_USE_SW_BP
    | uapi::KVM_GUESTDBG_USE_HW;

/// `KVM_EXIT_DEBUG` has arm64's exception classes (ESR_ELx.EC), on all cores.
mod class {
    pub(super) const BREAKPOINT: u32 = 0x30;
    pub(super) const STEP: u32 = 0x32;
    pub(super) const WATCHPOINT: u32 = 0x34;
    pub(super) const BKPT: u32 = 0x38;
    pub(super) const SHIFT: u32 = 26;
    /// IL: an instruction of 32 bits, or one whose length does not matter.
    pub(super) const IL: u32 = 1 << 25;
    /// WnR of a watchpoint: the access is a store.
    pub(super) const WNR: u32 = 1 << 6;
}

/// Has a change of the vCPU's debugging take effect with the next entry.
pub(crate) fn settle(state: &mut VcpuState) {
    state.debug.settle();
    state.context.control.hdcr = policy::HDCR_GUEST.bits();
}

/// The debug registers after a reset of the vCPU. The monitor's debugging goes on.
pub(crate) fn reset(state: &mut VcpuState) {
    state.debug.regs.reset();
    state.debug.forget_step();
    settle(state);
}

/// Carries out `KVM_SET_GUEST_DEBUG`. `arch` has the breakpoints and watchpoints, unless the
/// monitor was built for Linux 5.6, which had no place for them.
pub(crate) fn set(
    state: &mut VcpuState,
    control: u32,
    arch: Option<&uapi::kvm_guest_debug_arch>,
) -> Result {
    if control & !CONTROL != 0 {
        return Err(EINVAL);
    }
    if control & uapi::KVM_GUESTDBG_ENABLE == 0 {
        state.debug.monitor = None;
        settle(state);
        return Ok(());
    }
    let unit = state.identity.debug;
    let steps = control & uapi::KVM_GUESTDBG_SINGLESTEP != 0;
    let uses_points = control & uapi::KVM_GUESTDBG_USE_HW != 0;
    if (steps || uses_points) && !unit.is_usable() {
        return Err(EINVAL);
    }
    let points = match arch {
        Some(arch) if uses_points => points(arch, unit)?,
        None if uses_points => return Err(EINVAL),
        _ => Points::NONE,
    };
    let monitor = Monitor {
        points,
        steps,
        stepped: None,
        ends: Points::NONE.breakpoints,
        is_planned: false,
    };
    match &mut state.debug.monitor {
        Some(old) => **old = monitor,
        none => *none = Some(KBox::new(monitor, GFP_KERNEL_ACCOUNT)?),
    }
    settle(state);
    Ok(())
}

/// The monitor's breakpoints and watchpoints. One that is enabled has to be one that there is.
fn points(arch: &uapi::kvm_guest_debug_arch, unit: DebugUnit) -> Result<Points> {
    let mut points = Points::NONE;
    fill(
        points.breakpoints.get_mut(..unit.breakpoints()),
        &arch.dbg_bvr,
        &arch.dbg_bcr,
    )?;
    fill(
        points.watchpoints.get_mut(..unit.watchpoints()),
        &arch.dbg_wvr,
        &arch.dbg_wcr,
    )?;
    Ok(points)
}

fn fill(points: Option<&mut [Point]>, values: &[u64], controls: &[u64]) -> Result {
    let points = points.unwrap_or_default();
    for (n, (&value, &control)) in values.iter().zip(controls).enumerate() {
        let point = Point {
            value: value as u32,
            control: u32::try_from(control).map_err(|_| EINVAL)?,
        };
        match points.get_mut(n) {
            Some(slot) => *slot = point,
            None if point.is_enabled() => return Err(EINVAL),
            None => (),
        }
        if point.is_enabled() && value >> 32 != 0 {
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// Puts points into the hardware before an entry, and has the host's rest. The guest is entered
/// that way, and then [`leave`] is called before the host's points come back, when the other value
/// is dropped.
#[cold]
pub(crate) fn enter<'a>(
    running: &mut Running<'_>,
    cpu: ThisCpu<'a>,
) -> (Entry, Option<HostDebug<'a>>) {
    let state = &mut *running.state;
    let lowvisor = &running.vm.host.lowvisor;
    let guest = state.debug.for_hardware();
    let points = guest.as_ref().map(|(points, _)| points);
    let host = HostDebug::put_away(lowvisor, cpu, state.identity.debug, points);
    let is_guests = state.debug.monitor.is_none() && host.is_some() && guest.is_some();
    state.context.control.hdcr = if is_guests {
        policy::HDCR_GUEST_DEBUGS.bits()
    } else {
        policy::HDCR_GUEST.bits()
    };
    match guest {
        Some((_, dscr)) if host.is_some() => {
            state.context.dscr = dscr;
            (Entry::WithDebug, host)
        }
        _ => (Entry::Plain, host),
    }
}

/// Takes note of what the hardware has told the guest while it ran.
#[cold]
pub(crate) fn leave(state: &mut VcpuState, entry: Entry) {
    match &mut state.debug.monitor {
        Some(monitor) => monitor.is_planned = false,
        None if entry == Entry::WithDebug => state.debug.regs.set_moe(state.context.dscr),
        None => (),
    }
}

/// Deals with a debug exception that came to HYP mode.
pub(crate) fn handle(running: &mut Running<'_>, exception: DebugException) -> Result<Next> {
    let instruction = match exception {
        DebugException::Instruction => guest_memory::fetch(running)?,
        DebugException::Watchpoint { .. } => None,
    };
    let bkpt = instruction.and_then(Instruction::breakpoint);
    if let Some(monitor) = &mut running.state.debug.monitor {
        let pc = running.state.context.core.pc;
        if monitor.has_stepped_to(pc) {
            return Ok(report(running, class::STEP, class::IL, 0));
        }
        return Ok(match (exception, bkpt) {
            (DebugException::Watchpoint { address, is_write }, _) => {
                let wnr = if is_write { class::WNR } else { 0 };
                report(running, class::WATCHPOINT, class::IL | wnr, address)
            }
            (_, Some(immediate)) => {
                let is_wide = instruction.is_some_and(|instruction| instruction.size() == 4);
                let il = if is_wide { class::IL } else { 0 };
                report(running, class::BKPT, il | u32::from(immediate), 0)
            }
            (_, None) => report(running, class::BREAKPOINT, class::IL, 0),
        });
    }
    if bkpt.is_some() {
        let state = &mut *running.state;
        state.debug.regs.set_moe(dscr::MOE_BKPT);
        // IFAR is unknown for a debug exception (B3.13.3): it stays as it is.
        let address = exception::CoreRegs::cp15(&*state.context, Cp15Reg::Ifar);
        exception::inject_prefetch_abort(&mut *state.context, DataFault::DEBUG, address);
    } else {
        // A point of the host. Or the guest's code is another one by now, and is executed.
        running.state.debug.host_rests = true;
        settle(running.state);
    }
    Ok(Next::Resume)
}

/// Ends a step whose instruction is over, or prepares the next one.
#[cold]
pub(crate) fn step(running: &mut Running<'_>) -> Result<Next> {
    let pc = running.state.context.core.pc;
    let Some(monitor) = &running.state.debug.monitor else {
        return Ok(Next::Resume);
    };
    // The host may have carried the instruction out.
    if monitor.has_stepped_to(pc) {
        return Ok(report(running, class::STEP, class::IL, 0));
    }
    let instruction = guest_memory::fetch(running)?;
    let next = match instruction {
        Some(instruction) => insn::successor(instruction, &*running.state.context, |at, bytes| {
            guest_memory::load(running, at, bytes)
        })?,
        None => None,
    };
    if next == Some(pc) && instruction.is_some_and(Instruction::is_branch) {
        // It has no other effect, and its end cannot be told from its beginning.
        return Ok(report(running, class::STEP, class::IL, 0));
    }
    let (vectors, svc) = exception::vectors(&*running.state.context);
    let [undefined, prefetch, data, irq, fiq] = vectors;
    let last = next.filter(|&next| next != pc).unwrap_or(svc);
    // A breakpoint where the step begins would end it there. So an exception that leads to its own
    // instruction, at the vector, goes without notice.
    let ends = [undefined, prefetch, data, irq, fiq, last].map(|end| {
        if end == pc {
            Point::OFF
        } else {
            Point::at(end)
        }
    });
    if let Some(monitor) = &mut running.state.debug.monitor {
        monitor.stepped = Some(pc);
        monitor.ends = ends;
        monitor.is_planned = true;
    }
    Ok(Next::Resume)
}

/// Tells the monitor why the guest has stopped.
fn report(running: &mut Running<'_>, class: u32, iss: u32, far: u32) -> Next {
    running.state.debug.forget_step();
    let hsr = class << class::SHIFT | iss;
    running.vcpu.run_page.set_debug(hsr, far.into());
    Next::ToUser
}
