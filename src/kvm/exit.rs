// SPDX-License-Identifier: GPL-2.0

//! The answer to each kind of trap (Arm ARM B3.13.6).

use armv7::{
    addr::PAGE_SIZE,
    cond,
    exception::{
        self,
        DataFault, //
    },
    hsr::{
        Cp32Access,
        Cp64Access,
        FaultStatus,
        Wfx, //
    },
    psr::{
        Mode,
        Psr, //
    },
    regs::Hcr,
    trap::{
        Abort,
        Trap, //
    }, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    cp14::{
        self,
        Cp14Outcome, //
    },
    cp15::{
        self,
        Cp15Outcome, //
    },
    pmu,
    timer::TimerReg, //
};

use super::{
    firmware,
    guest_debug,
    guest_memory,
    halt,
    mmio,
    next::Next,
    running::Running,
    vcpu_state::VcpuState, //
};
use crate::{
    glue::log::debug,
    mem::fault::{
        Access,
        Faulted, //
    },
    trace::trace, //
};

/// Deals with the trap for which the guest was left.
#[inline]
pub(crate) fn handle(running: &mut Running<'_>) -> Result<Next> {
    // No slot can be where a device of the kernel is, so memory need not be asked. Nor if it was
    // asked before, as for most accesses that the monitor answers.
    if let Some(abort) = running.state.context.unmapped_access() {
        let ipa = abort.ipa();
        let register = running.vm.gic.register(ipa.0);
        if register.is_some() || running.vm.memory.is_known_gap(ipa, &running.state.faults) {
            trace_abort(running, &abort);
            return mmio::emulate_at(running, &abort, register);
        }
    }
    handle_any(running)
}

fn trace_abort(running: &Running<'_>, abort: &Abort) {
    trace!(kvm_guest_fault(
        running.state.context.core.pc,
        running.state.context.fault.hsr,
        abort.address,
        abort.ipa().0
    ));
}

/// Deals with a trap of any kind.
#[inline(never)]
fn handle_any(running: &mut Running<'_>) -> Result<Next> {
    match running.state.context.trap() {
        Trap::Abort(abort) => return handle_abort(running, abort),
        Trap::NotExecuted => running.state.skip_instruction(),
        Trap::Wfx(wfx) => wait(running, wfx),
        Trap::Cp15(access) => cp15_32(running, access),
        Trap::Cp15Double(access) => cp15_64(running, access),
        Trap::Cp14(access) => cp14_32(running.state, access),
        Trap::Debug(exception) => return guest_debug::handle(running, exception),
        Trap::Cp14Double(access) => {
            let outcome = cp14::access64(access);
            finish_cp14(running.state, outcome, CpAccess::of64(&access));
        }
        Trap::Hvc(immediate) => return firmware::call(running, immediate),
        Trap::Smc => {
            // Only HVC's preferred return address is behind the instruction. The immediate of SMC
            // is not in the syndrome: it counts as zero, the one of the calling convention.
            running.state.skip_instruction();
            return firmware::call(running, 0);
        }
        Trap::Undefined => inject_undefined(running.state),
        Trap::Unexpected => {
            let hsr = running.state.context.fault.hsr;
            crate::glue::log::ratelimited(|| {
                pr_warn!("a guest caused a trap that cannot be: HSR {hsr:#010x}\n");
            });
            running.vcpu.run_page.set_internal_error(
                uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                &[u64::from(hsr), u64::from(running.state.context.core.pc)],
            );
            return Ok(Next::ToUser);
        }
    }
    Ok(Next::Resume)
}

/// An abort at stage 2.
fn handle_abort(running: &mut Running<'_>, abort: Abort) -> Result<Next> {
    let ipa = abort.ipa();
    trace_abort(running, &abort);
    let (iss, status) = (abort.iss, abort.iss.status());
    match status {
        FaultStatus::AccessFlag(_) if running.vm.memory.access_flag_fault(ipa) => {
            return Ok(Next::Resume);
        }
        FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_) => (),
        status if status.is_asynchronous() => {
            // The abort belongs to no instruction and has no address. HCR.AMO brought it here. The
            // guest takes a virtual one as soon as it does not mask it.
            debug!("a guest gets an asynchronous abort: {status:?}\n");
            running.state.context.control.hcr |= Hcr::VA.bits();
            return Ok(Next::Resume);
        }
        _ => {
            // Broken memory, or a device that refused: the guest gets the abort that it would get
            // on the bare machine.
            running
                .state
                .inject_abort(&abort, DataFault::of_hardware(iss));
            return Ok(Next::Resume);
        }
    }
    let was_mapped = !matches!(status, FaultStatus::Translation(_));
    // The syndrome calls cache maintenance a write. It needs a page that is there, and no right to
    // write unless the page was there already (B3.13.6).
    let is_missing = !matches!(status, FaultStatus::Permission(_));
    // A walk only reads, and reads tables, also for a fetch or a store.
    let access = if abort.is_fetch && !iss.is_of_walk() {
        Access::Execute
    } else if iss.is_write() && !iss.is_of_walk() && !(iss.is_maintenance() && is_missing) {
        Access::Write
    } else {
        Access::Read
    };
    let faulted = running
        .vm
        .memory
        .fault(ipa, access, was_mapped, &mut running.state.faults)
        .inspect_err(|_| {
            let run_page = &running.vcpu.run_page;
            run_page.set_memory_fault(abort.page().0, PAGE_SIZE);
        })?;
    match faulted {
        Faulted::Mapped | Faulted::Interrupted => (),
        Faulted::NoMemory if iss.is_of_walk() => {
            // Tables in a device.
            let fault = guest_memory::walk_fault(running, abort.address)?;
            running.state.inject_abort(&abort, fault);
        }
        Faulted::NoMemory if abort.is_fetch => {
            // Code in a device.
            running.state.inject_abort(&abort, DataFault::DECODE_ERROR);
        }
        Faulted::NoMemory if iss.is_maintenance() => {
            // A device has no cache lines. HSR.IL says nothing here, but all instructions of CP15
            // are of four bytes.
            let core = &mut running.state.context.core;
            (core.pc, core.cpsr) = cond::next_pc(core.pc, core.cpsr, true);
        }
        Faulted::NoMemory => return mmio::emulate(running, &abort),
    }
    Ok(Next::Resume)
}

/// The guest gets an undefined instruction exception for the instruction that trapped.
fn inject_undefined(state: &mut VcpuState) {
    debug!(
        "a guest's instruction is undefined: HSR {:#010x}, pc {:#010x}\n",
        state.context.fault.hsr, state.context.core.pc
    );
    exception::inject_undefined(&mut *state.context);
}

/// WFI sleeps until there is something to take; WFE lets others run.
fn wait(running: &mut Running<'_>, wfx: Wfx) {
    trace!(kvm_wfx(
        running.state.context.core.pc,
        matches!(wfx, Wfx::Wfe)
    ));
    running.state.skip_instruction();
    running.vcpu.stats.count_wfx(wfx);
    match wfx {
        Wfx::Wfi => halt::wait_for_interrupt(running),
        Wfx::Wfe => halt::wait_for_event(running),
    }
}

/// Whether the guest was in a mode of PL1.
fn is_privileged(state: &VcpuState) -> bool {
    Psr(state.context.core.cpsr).mode() != Some(Mode::Usr)
}

/// Finishes an access to a coprocessor register.
fn finish_cp(running: &mut Running<'_>, outcome: Cp15Outcome, access: CpAccess) {
    trace_coprocessor(running.state);
    match outcome {
        Cp15Outcome::Read(value) => access.load(running.state, value),
        Cp15Outcome::Written => (),
        Cp15Outcome::CachesTurned { on } => {
            trace!(kvm_toggle_cache(running.state.context.core.pc, !on, on));
            // Data that the guest wrote, or the host for it, on one side of the caches has to be
            // on the other side, too. While the caches are on, the guest need not trap (HCR.TVM).
            running.vm.memory.flush_to_poc();
            if on {
                running.state.context.control.hcr &= !Hcr::TVM.bits();
            }
        }
        Cp15Outcome::SetWay => {
            trace!(kvm_set_way_flush(
                running.state.context.core.pc,
                running.state.caches_on()
            ));
            // If nobody watches SCTLR, the guest can be about to turn its caches off. SCTLR is
            // watched from now on, so that this happens once only.
            if running.state.context.control.hcr & Hcr::TVM.bits() == 0 {
                running.vm.memory.flush_to_poc();
                running.state.context.control.hcr |= Hcr::TVM.bits();
            }
        }
        Cp15Outcome::PhysTimer(reg) => phys_timer(running.state, reg, access),
        Cp15Outcome::Pmu(reg) => {
            let value = (!access.is_read).then(|| access.stored(running.state) as u32);
            match running
                .state
                .pmu
                .access(reg, value, is_privileged(running.state))
            {
                pmu::PmuOutcome::Read(value) => access.load(running.state, value.into()),
                pmu::PmuOutcome::Written => (),
                pmu::PmuOutcome::Undefined => {
                    exception::inject_undefined(&mut *running.state.context);
                    return;
                }
            }
        }
        Cp15Outcome::Undefined => {
            inject_undefined(running.state);
            return;
        }
    }
    running.state.skip_instruction();
}

/// The general-purpose registers of an MCR, MRC, MCRR or MRRC.
#[derive(Clone, Copy)]
struct CpAccess {
    is_read: bool,
    rt: usize,
    rt2: Option<usize>,
}

impl CpAccess {
    const fn of32(trapped: &Cp32Access) -> Self {
        Self {
            is_read: trapped.is_read,
            rt: trapped.rt,
            rt2: None,
        }
    }

    const fn of64(trapped: &Cp64Access) -> Self {
        Self {
            is_read: trapped.is_read,
            rt: trapped.rt,
            rt2: Some(trapped.rt2),
        }
    }

    /// The value of a store.
    fn stored(self, state: &VcpuState) -> u64 {
        let high = self.rt2.map_or(0, |rt2| state.context.reg(rt2));
        u64::from(high) << 32 | u64::from(state.context.reg(self.rt))
    }

    /// Sets the registers of a load. R15 of an MRC stands for the flags.
    fn load(self, state: &mut VcpuState, value: u64) {
        if let Some(rt2) = self.rt2 {
            state.context.set_reg(self.rt, value as u32);
            state.context.set_reg(rt2, (value >> 32) as u32);
        } else if self.rt == 15 {
            let core = &mut state.context.core;
            core.cpsr = Psr(core.cpsr).with_flags(value as u32).0;
        } else {
            state.context.set_reg(self.rt, value as u32);
        }
    }
}

fn cp15_32(running: &mut Running<'_>, trapped: Cp32Access) {
    let access = CpAccess::of32(&trapped);
    let value = access.stored(running.state) as u32;
    let privileged = is_privileged(running.state);
    let core = running.state.identity.core;
    let outcome = cp15::access32(core, trapped, privileged, value, running.state);
    finish_cp(running, outcome, access);
}

fn cp15_64(running: &mut Running<'_>, trapped: Cp64Access) {
    let access = CpAccess::of64(&trapped);
    let value = access.stored(running.state);
    let privileged = is_privileged(running.state);
    let core = running.state.identity.core;
    let outcome = cp15::access64(core, trapped, privileged, value, running.state);
    finish_cp(running, outcome, access);
}

fn cp14_32(state: &mut VcpuState, trapped: Cp32Access) {
    let access = CpAccess::of32(&trapped);
    let value = access.stored(state) as u32;
    let privileged = is_privileged(state);
    let unit = state.identity.debug;
    let outcome = (state.debug.regs).access32(unit, trapped, privileged, value);
    if outcome == Cp14Outcome::Written {
        guest_debug::settle(state);
    }
    finish_cp14(state, outcome, access);
}

/// The debug registers.
fn finish_cp14(state: &mut VcpuState, outcome: Cp14Outcome, access: CpAccess) {
    trace_coprocessor(state);
    match outcome {
        Cp14Outcome::Read(value) => access.load(state, value.into()),
        Cp14Outcome::Written => (),
        Cp14Outcome::Undefined => return inject_undefined(state),
    }
    state.skip_instruction();
}

fn trace_coprocessor(state: &VcpuState) {
    trace!(kvm_coprocessor(
        state.context.core.pc,
        state.context.fault.hsr
    ));
}

/// An access to the emulated physical timer.
fn phys_timer(state: &mut VcpuState, reg: TimerReg, access: CpAccess) {
    let now = crate::hyp::register::cntpct();
    if access.is_read {
        let value = state.timers.phys.read(reg, now);
        access.load(state, value);
    } else {
        let value = access.stored(state);
        state.timers.phys.write(reg, value, now);
        state.timers.check_alarm();
    }
}
