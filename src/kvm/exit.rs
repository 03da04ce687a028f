// SPDX-License-Identifier: GPL-2.0

//! What a trapped guest wanted, by exception class (Arm ARM B3.13.6).

use armv7::{
    addr::{
        Ipa,
        PAGE_SHIFT, //
    },
    cond,
    exception::{
        self,
        DataFault, //
    },
    hsr::{
        AbortIss,
        Cp32Access,
        Cp64Access,
        ExceptionClass,
        FaultStatus,
        Hsr,
        Wfx, //
    },
    psr::{
        Mode,
        Psr, //
    },
    regs::Hcr, //
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

/// Deals with a trap.
pub(crate) fn handle(running: &mut Running<'_>) -> Result<Next> {
    let hsr = Hsr(running.state.context.fault.hsr);
    let class = hsr.ec();
    // An instruction whose condition fails may trap all the same on some cores (B1.14.1): it does
    // nothing then.
    if !cond::condition_holds(hsr, running.state.context.core.cpsr) {
        running.state.skip_instruction(hsr);
        return Ok(Next::Resume);
    }
    match class {
        ExceptionClass::DataAbort => abort(running, hsr, false),
        ExceptionClass::PrefetchAbort => abort(running, hsr, true),
        ExceptionClass::Wfx => wfx(running, hsr),
        ExceptionClass::Cp15 => cp15_32(running, hsr),
        ExceptionClass::Cp15Double => cp15_64(running, hsr),
        ExceptionClass::Cp14 | ExceptionClass::Cp14Double | ExceptionClass::Cp14LoadStore => {
            cp14(running.state, hsr)
        }
        // The preferred return address of HVC is behind it.
        ExceptionClass::Hvc => firmware::call(running),
        ExceptionClass::Smc => {
            running.state.skip_instruction(hsr);
            firmware::call(running)
        }
        ExceptionClass::Coprocessor | ExceptionClass::Bxj | ExceptionClass::VfpId => {
            debug_undefined(running.state, hsr);
            exception::inject_undefined(&mut *running.state.context);
            Ok(Next::Resume)
        }
        _ => {
            crate::glue::log::ratelimited(|| {
                pr_warn!(
                    "a guest caused a trap that cannot be: HSR {:#010x}\n",
                    hsr.0
                );
            });
            running.vcpu.run_page.set_internal_error(
                uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                &[u64::from(hsr.0), u64::from(running.state.context.core.pc)],
            );
            Ok(Next::ToUser)
        }
    }
}

/// An abort at stage 2.
fn abort(running: &mut Running<'_>, hsr: Hsr, is_fetch: bool) -> Result<Next> {
    let fault = running.state.context.fault;
    let address = if is_fetch { fault.hifar } else { fault.hdfar };
    let ipa = Ipa(u64::from(fault.ipa_page) << PAGE_SHIFT | u64::from(address & 0xfff));
    trace!(kvm_guest_fault(
        running.state.context.core.pc,
        hsr.0,
        address,
        ipa.0
    ));
    let abort = hsr.abort();
    // No slot can be where a device of the kernel is, so memory need not be asked.
    if abort.isv
        && running.vm.gic.register(ipa.0).is_some()
        && matches!(abort.fsc, FaultStatus::Translation(_))
    {
        return mmio::emulate(running, hsr, &abort, ipa);
    }
    match abort.fsc {
        FaultStatus::AccessFlag(_) if running.vm.memory.access_flag_fault(ipa) => {
            return Ok(Next::Resume);
        }
        FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_) => (),
        fault if fault.is_asynchronous() => {
            // It belongs to no instruction and has no address. It came here for HCR.AMO, and the
            // guest takes its own when it does not mask it.
            debug!("a guest gets an asynchronous abort: HSR {:#010x}\n", hsr.0);
            running.state.context.control.hcr |= Hcr::VA.bits();
            return Ok(Next::Resume);
        }
        _ => {
            // Broken memory, or a device that refused: the guest hears of it as it would on the
            // bare machine.
            let fault = DataFault::of_hardware(&abort);
            inject_abort(running.state, is_fetch, &abort, fault, address);
            return Ok(Next::Resume);
        }
    }
    let was_mapped = !matches!(abort.fsc, FaultStatus::Translation(_));
    // Cache maintenance is told as a write, and needs but a page to be there (B3.13.6), unless it was
    // there already.
    let is_missing = !matches!(abort.fsc, FaultStatus::Permission(_));
    // The walk for a fetch only reads, and what is read is tables.
    let access = if is_fetch && !abort.s1ptw {
        Access::Execute
    } else if abort.write && !abort.s1ptw && !(abort.cm && is_missing) {
        Access::Write
    } else {
        Access::Read
    };
    let faulted = running
        .vm
        .memory
        .fault(ipa, access, was_mapped, &mut running.state.faults)
        .inspect_err(|_| {
            let page = u64::from(fault.ipa_page) << PAGE_SHIFT;
            running
                .vcpu
                .run_page
                .set_memory_fault(page, 1 << PAGE_SHIFT);
        })?;
    match faulted {
        Faulted::Mapped | Faulted::Interrupted => Ok(Next::Resume),
        Faulted::NoMemory if abort.s1ptw => {
            // Tables in a device.
            let fault = mmio::walk_fault(running, address)?;
            inject_abort(running.state, is_fetch, &abort, fault, address);
            Ok(Next::Resume)
        }
        Faulted::NoMemory if is_fetch => {
            // Code in a device.
            inject_abort(
                running.state,
                is_fetch,
                &abort,
                DataFault::DECODE_ERROR,
                address,
            );
            Ok(Next::Resume)
        }
        Faulted::NoMemory if abort.cm => {
            // A device has no cache lines. HSR.IL says nothing here, but all instructions of CP15 are
            // of four bytes.
            let core = &mut running.state.context.core;
            (core.pc, core.cpsr) = cond::next_pc(core.pc, core.cpsr, true);
            Ok(Next::Resume)
        }
        Faulted::NoMemory => mmio::emulate(running, hsr, &abort, ipa),
    }
}

/// The guest gets an abort for what trapped.
fn inject_abort(
    state: &mut VcpuState,
    is_fetch: bool,
    abort: &AbortIss,
    fault: DataFault,
    address: u32,
) {
    debug!(
        "a guest gets an abort for {address:#010x}: HSR {:#010x}, pc {:#010x}\n",
        state.context.fault.hsr, state.context.core.pc
    );
    let regs = &mut *state.context;
    if is_fetch {
        exception::inject_prefetch_abort(regs, fault, address);
    } else {
        exception::inject_data_abort(regs, fault, address, abort.direction());
    }
}

/// The guest gets an undefined instruction exception for what trapped.
fn debug_undefined(state: &VcpuState, hsr: Hsr) {
    debug!(
        "a guest's instruction is undefined: HSR {:#010x}, pc {:#010x}\n",
        hsr.0, state.context.core.pc
    );
}

/// WFI sleeps until there is something to take; WFE lets others run.
fn wfx(running: &mut Running<'_>, hsr: Hsr) -> Result<Next> {
    trace!(kvm_wfx(
        running.state.context.core.pc,
        matches!(hsr.wfx(), Wfx::Wfe)
    ));
    running.state.skip_instruction(hsr);
    running.vcpu.stats.count_wfx(hsr.wfx());
    match hsr.wfx() {
        Wfx::Wfi => halt::wait_for_interrupt(running),
        Wfx::Wfe => halt::wait_for_event(running),
    }
    Ok(Next::Resume)
}

/// Whether the guest was in a mode of PL1.
fn is_privileged(state: &VcpuState) -> bool {
    Psr(state.context.core.cpsr).mode() != Some(Mode::Usr)
}

/// Finishes an access to a coprocessor register.
fn finish_cp(running: &mut Running<'_>, hsr: Hsr, outcome: Cp15Outcome, access: CpAccess) -> Next {
    trace!(kvm_coprocessor(running.state.context.core.pc, hsr.0));
    match outcome {
        Cp15Outcome::Read(value) => access.load(running.state, value),
        Cp15Outcome::Written => (),
        Cp15Outcome::CachesTurned { on } => {
            // What the guest wrote, or the host for it, on one side of the caches has to be
            // there on the other. While they are on, the guest need not trap (HCR.TVM).
            running.vm.memory.flush_to_poc();
            if on {
                running.state.context.control.hcr &= !Hcr::TVM.bits();
            }
        }
        Cp15Outcome::SetWay => {
            // If SCTLR is not watched, the guest can be about to turn its caches off: watch from
            // now on, so that this happens but once.
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
                pmu::Outcome::Read(value) => access.load(running.state, value.into()),
                pmu::Outcome::Written => (),
                pmu::Outcome::Undefined => {
                    exception::inject_undefined(&mut *running.state.context);
                    return Next::Resume;
                }
            }
        }
        Cp15Outcome::Undefined => {
            debug_undefined(running.state, hsr);
            exception::inject_undefined(&mut *running.state.context);
            return Next::Resume;
        }
    }
    running.state.skip_instruction(hsr);
    Next::Resume
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

fn cp15_32(running: &mut Running<'_>, hsr: Hsr) -> Result<Next> {
    let trapped = hsr.cp_access();
    let access = CpAccess::of32(&trapped);
    let value = access.stored(running.state) as u32;
    let privileged = is_privileged(running.state);
    let core = running.vm.host.lowvisor.core();
    let outcome = cp15::access32(core, trapped, privileged, value, running.state);
    Ok(finish_cp(running, hsr, outcome, access))
}

fn cp15_64(running: &mut Running<'_>, hsr: Hsr) -> Result<Next> {
    let trapped = hsr.cp64_access();
    let access = CpAccess::of64(&trapped);
    let value = access.stored(running.state);
    let privileged = is_privileged(running.state);
    let core = running.vm.host.lowvisor.core();
    let outcome = cp15::access64(core, trapped, privileged, value, running.state);
    Ok(finish_cp(running, hsr, outcome, access))
}

/// The debug and trace registers.
fn cp14(state: &mut VcpuState, hsr: Hsr) -> Result<Next> {
    trace!(kvm_coprocessor(state.context.core.pc, hsr.0));
    let (access, outcome) = match hsr.ec() {
        ExceptionClass::Cp14 => {
            let trapped = hsr.cp_access();
            let outcome = cp14::access32(trapped, is_privileged(state));
            (CpAccess::of32(&trapped), outcome)
        }
        ExceptionClass::Cp14Double => {
            let trapped = hsr.cp64_access();
            (CpAccess::of64(&trapped), cp14::access64(trapped))
        }
        _ => {
            exception::inject_undefined(&mut *state.context);
            return Ok(Next::Resume);
        }
    };
    match outcome {
        Cp14Outcome::Read(value) => access.load(state, value.into()),
        Cp14Outcome::Written => (),
        Cp14Outcome::Undefined => {
            debug_undefined(state, hsr);
            exception::inject_undefined(&mut *state.context);
            return Ok(Next::Resume);
        }
    }
    state.skip_instruction(hsr);
    Ok(Next::Resume)
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
