// SPDX-License-Identifier: GPL-2.0

//! What a trapped guest wanted, by exception class (Arm ARM B3.13.6).

use armv7::{
    addr::{
        Ipa,
        PAGE_SHIFT, //
    },
    cond,
    cp15::Cp15Reg,
    exception,
    hsr::{
        ExceptionClass,
        FaultStatus,
        Hsr,
        Wfx, //
    },
    regs::Hcr, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    cp15::{
        self,
        Cp15Outcome,
        Cp15State, //
    },
    psci, //
};

use super::{
    mmio,
    run::Outcome,
    vcpu::{
        Vcpu,
        VcpuState, //
    },
    vm::Vm, //
};
use crate::mem::address_space::{
    Access,
    Faulted, //
};

/// Goes on behind the trapped instruction.
pub(crate) fn skip_instruction(state: &mut VcpuState, hsr: Hsr) {
    let core = &mut state.context.core;
    (core.pc, core.cpsr) = cond::next_pc(core.pc, core.cpsr, hsr.il());
}

/// Deals with a trap.
pub(crate) fn handle(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<Outcome> {
    let hsr = Hsr(state.context.fault.hsr);
    let class = hsr.ec();
    // An instruction whose condition fails may trap all the same on some cores (B1.14.1): it does
    // nothing then.
    if class.is_conditional() && !cond::condition_holds(hsr, state.context.core.cpsr) {
        skip_instruction(state, hsr);
        return Ok(Outcome::Resume);
    }
    match class {
        ExceptionClass::DataAbort => abort(vm, vcpu, state, hsr, false),
        ExceptionClass::PrefetchAbort => abort(vm, vcpu, state, hsr, true),
        ExceptionClass::Wfx => wfx(vm, vcpu, state, hsr),
        ExceptionClass::Cp15_32 => cp15_32(vm, vcpu, state, hsr),
        ExceptionClass::Cp15_64 => cp15_64(vm, vcpu, state, hsr),
        ExceptionClass::Cp14_32 | ExceptionClass::Cp14_64 | ExceptionClass::Cp14LoadStore => {
            cp14(state, hsr)
        }
        // The preferred return address of HVC is behind it.
        ExceptionClass::Hvc => psci_call(vm, vcpu, state),
        ExceptionClass::Smc => {
            skip_instruction(state, hsr);
            psci_call(vm, vcpu, state)
        }
        ExceptionClass::Cp0To13 | ExceptionClass::Bxj | ExceptionClass::Cp10Id => {
            exception::inject_undefined(&mut *state.context);
            Ok(Outcome::Resume)
        }
        _ => {
            crate::glue::log::ratelimited(|| {
                pr_warn!("a guest caused a trap that cannot be: HSR {:#010x}\n", hsr.0);
            });
            vcpu.run_page.set_internal_error(
                uapi::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                &[u64::from(hsr.0), u64::from(state.context.core.pc)],
            );
            Ok(Outcome::ToUser)
        }
    }
}

/// An abort at stage 2.
fn abort(
    vm: &Vm,
    vcpu: &Vcpu,
    state: &mut VcpuState,
    hsr: Hsr,
    is_fetch: bool,
) -> Result<Outcome> {
    let fault = state.context.fault;
    let address = if is_fetch { fault.hifar } else { fault.hdfar };
    let ipa = Ipa(u64::from(fault.ipa_page) << PAGE_SHIFT | u64::from(address & 0xfff));
    let abort = hsr.abort();
    match abort.fsc {
        FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_) => (),
        _ => {
            // Broken memory, or a device that refused: the guest hears of it as it would on the
            // bare machine.
            inject_abort(state, is_fetch, address);
            return Ok(Outcome::Resume);
        }
    }
    let access = if is_fetch {
        Access::Execute
    } else if abort.write && !abort.s1ptw {
        Access::Write
    } else {
        Access::Read
    };
    let caches_on = state.caches_on();
    match vm.memory.fault(ipa, access, caches_on, &mut state.stock)? {
        Faulted::Mapped => Ok(Outcome::Resume),
        Faulted::NoMemory if is_fetch || abort.s1ptw => {
            // Code or tables in a device.
            inject_abort(state, is_fetch, address);
            Ok(Outcome::Resume)
        }
        Faulted::NoMemory if abort.cache_maintenance => {
            // A device has no cache lines.
            skip_instruction(state, hsr);
            Ok(Outcome::Resume)
        }
        Faulted::NoMemory => mmio::emulate(vm, vcpu, state, hsr, ipa),
    }
}

fn inject_abort(state: &mut VcpuState, is_fetch: bool, address: u32) {
    if is_fetch {
        exception::inject_prefetch_abort(&mut *state.context, address);
    } else {
        exception::inject_data_abort(&mut *state.context, address);
    }
}

/// WFI sleeps until there is something to take; WFE lets others run.
fn wfx(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, hsr: Hsr) -> Result<Outcome> {
    skip_instruction(state, hsr);
    match hsr.wfx() {
        Wfx::Wfi => super::run::wait_for_interrupt(vm, vcpu, state)?,
        Wfx::Wfe => crate::glue::cpu::cond_resched(),
    }
    Ok(Outcome::Resume)
}

/// The registers of a vCPU, as the CP15 tables use them.
struct Registers<'a> {
    state: &'a mut VcpuState,
    id: u32,
}

impl Cp15State for Registers<'_> {
    fn get(&self, reg: Cp15Reg) -> u32 {
        self.state.context.cp15[reg as usize]
    }

    fn set(&mut self, reg: Cp15Reg, value: u32) {
        self.state.context.cp15[reg as usize] = value;
    }

    fn vcpu_id(&self) -> u32 {
        self.id
    }
}
