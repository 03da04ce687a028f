// SPDX-License-Identifier: GPL-2.0

//! The firmware that a guest calls by HVC and SMC.

use armv7::psr::Psr;
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    psci::{
        self,
        Power, //
    },
    smccc, //
};

use super::{
    run::Outcome,
    vcpu::{
        Start,
        Vcpu,
        VcpuState, //
    },
    vm::Vm, //
};

/// A call of the guest's firmware.
pub(super) fn call(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState) -> Result<Outcome> {
    let has_psci_0_2 = state
        .features
        .is_some_and(|features| features & 1 << uapi::KVM_ARM_VCPU_PSCI_0_2 != 0);
    let version = if has_psci_0_2 {
        psci::Version::LATEST
    } else {
        psci::Version::V0_1
    };
    let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|n| state.context.reg(n));
    let power = PowerStates(vm);
    let call = smccc::Call {
        function: r0,
        args: [r1, r2, r3],
    };
    match smccc::call(&call, vcpu.id, version, &power) {
        psci::Outcome::Return(value) => state.context.set_reg(0, value),
        psci::Outcome::Suspend => {
            state.context.set_reg(0, psci::SUCCESS);
            super::run::wait_for_interrupt(vm, vcpu, state);
        }
        psci::Outcome::CpuOff => {
            vcpu.power.lock().off = true;
            state.off = true;
        }
        psci::Outcome::CpuOn {
            cpu,
            entry,
            thumb,
            context_id,
        } => {
            let result = match vm.vcpu(cpu) {
                Some(target) => target.turn_on(Start {
                    entry,
                    thumb,
                    context_id,
                    big_endian: Psr(state.context.core.cpsr).is_big_endian(),
                }),
                None => psci::INVALID_PARAMETERS,
            };
            state.context.set_reg(0, result);
        }
        psci::Outcome::SystemOff => return Ok(system_event(vm, vcpu, state, false)),
        psci::Outcome::SystemReset | psci::Outcome::SystemReset2 { .. } => {
            return Ok(system_event(vm, vcpu, state, true))
        }
    }
    Ok(Outcome::Resume)
}

/// SYSTEM_OFF and SYSTEM_RESET: no vCPU runs on, and the monitor decides.
fn system_event(vm: &Vm, vcpu: &Vcpu, state: &mut VcpuState, reset: bool) -> Outcome {
    for other in vm.vcpus() {
        other.power.lock().off = true;
        if other.id != vcpu.id {
            other.request(super::vcpu::request::POWER);
        }
    }
    // Should the monitor run this vCPU again, the guest sees that the call failed (DEN 0022
    // 5.10).
    state.context.set_reg(0, psci::INTERNAL_FAILURE);
    state.off = true;
    vcpu.run_page.set_system_event(if reset {
        uapi::KVM_SYSTEM_EVENT_RESET
    } else {
        uapi::KVM_SYSTEM_EVENT_SHUTDOWN
    });
    Outcome::ToUser
}

/// The power states of a VM's vCPUs.
struct PowerStates<'a>(&'a Vm);

impl psci::Topology for PowerStates<'_> {
    fn cpus(&self) -> usize {
        super::vm::MAX_VCPUS
    }

    fn mpidr(&self, cpu: usize) -> u32 {
        match self.0.vcpu(cpu) {
            Some(vcpu) => vcpu.mpidr(),
            // Ids may be left out; no call can name the affinity of such a hole.
            None => u32::MAX,
        }
    }

    fn power(&self, cpu: usize) -> Power {
        match self.0.vcpu(cpu).map(|vcpu| *vcpu.power.lock()) {
            Some(power) if power.start.is_some() => Power::OnPending,
            Some(power) if !power.off => Power::On,
            _ => Power::Off,
        }
    }
}
