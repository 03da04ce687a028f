// SPDX-License-Identifier: GPL-2.0

//! The firmware that a guest calls by HVC and SMC, and the registers that show it to a monitor
//! (fw-pseudo-registers.rst).
//!
//! The crate `machine` decides the effect of calls and registers; this file carries it out.

use armv7::psr::Psr;
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    firmware::{
        self,
        Change,
        Register, //
    },
    psci::{
        self,
        Power,
        Version, //
    },
    smccc::{
        self,
        Firmware, //
        PtpCounter,
    },
    trng, //
};

use super::{
    next::Next,
    running::Running,
    vcpu::{request, Start},
    vcpu_state::VcpuState,
    vcpus::MAX_VCPUS,
    vm::Vm, //
};
use crate::{
    glue::{
        clock,
        log::debug,
        random, //
    },
    hyp::{
        answer::Answers,
        register, //
    },
    trace::trace, //
};

/// The firmware that a vCPU finds.
fn of_vcpu(running: &Running<'_>) -> Firmware {
    let has_psci_0_2 = running
        .state
        .features
        .is_some_and(|features| features & 1 << uapi::KVM_ARM_VCPU_PSCI_0_2 != 0);
    let psci = if has_psci_0_2 {
        running.vm.firmware.psci()
    } else {
        Version::V0_1
    };
    Firmware {
        psci,
        services: running.vm.firmware.services(),
        core: running.state.identity.core,
    }
}

/// Tells HYP mode what it needs to answer calls of a vCPU by itself, if the monitor has chosen
/// anew. All else is fixed when the vCPU runs for the first time.
#[inline]
pub(super) fn follow(running: &mut Running<'_>) {
    let choice = running.vm.firmware.choice();
    if running.state.told_firmware != choice {
        running.state.told_firmware = choice;
        running.state.context.answers = Answers::new(running.vcpu.id, &of_vcpu(running));
    }
}

// --- Registers ------------------------------------------------------------------

/// The id of a register.
const fn id(register: Register) -> u64 {
    let number = match register {
        Register::PsciVersion => uapi::KVM_REG_ARM_FW,
        Register::Workaround1 => uapi::KVM_REG_ARM_FW | 1,
        Register::Workaround2 => uapi::KVM_REG_ARM_FW | 2,
        Register::Workaround3 => uapi::KVM_REG_ARM_FW | 3,
        Register::Standard => uapi::KVM_REG_ARM_FW_FEAT_BMAP,
        Register::StandardHypervisor => uapi::KVM_REG_ARM_FW_FEAT_BMAP | 1,
        Register::VendorHypervisor => uapi::KVM_REG_ARM_FW_FEAT_BMAP | 2,
    };
    uapi::KVM_REG_ARM | uapi::KVM_REG_SIZE_U64 | number as u64
}

/// The ids of all registers, which have 64 bits each.
pub(super) fn ids() -> impl Iterator<Item = u64> {
    Register::ALL.into_iter().map(id)
}

fn find(wanted: u64) -> Result<Register> {
    let mut all = Register::ALL.into_iter();
    all.find(|register| id(*register) == wanted).ok_or(ENOENT)
}

/// Reads a register. `ENOENT` if there is none with this id.
pub(super) fn get(running: &Running<'_>, id: u64) -> Result<u64> {
    Ok(firmware::get(find(id)?, &of_vcpu(running)))
}

/// Writes a register. A register that can change belongs to the VM, not to the vCPU alone.
pub(super) fn set(running: &Running<'_>, id: u64, value: u64) -> Result {
    match firmware::set(find(id)?, value, &of_vcpu(running)).map_err(|_| EINVAL)? {
        // A vCPU without KVM_ARM_VCPU_PSCI_0_2 has version 0.1; no register chooses it.
        Change::Nothing | Change::Psci(Version::V0_1) => Ok(()),
        Change::Psci(version) => {
            running.vm.firmware.set_psci(version);
            Ok(())
        }
        Change::Services { mask, on } => running.vm.firmware.set_services(mask, on),
    }
}

// --- Calls ----------------------------------------------------------------------

fn set_results(state: &mut VcpuState, results: [u32; 4]) {
    for (n, value) in results.into_iter().enumerate() {
        state.context.set_reg(n, value);
    }
}

/// A call of the guest's firmware, by HVC or SMC with an immediate.
///
/// The calling convention uses an immediate of zero, and reserves all others (DEN 0028). A call
/// with another immediate is not supported.
pub(super) fn call(running: &mut Running<'_>, immediate: u16) -> Result<Next> {
    let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|n| running.state.context.reg(n));
    trace!(kvm_hvc(
        running.state.context.core.pc,
        r0,
        immediate.into(),
        running.state.context.fault.hsr
    ));
    if immediate != 0 {
        running.state.context.set_reg(0, smccc::NOT_SUPPORTED);
        return Ok(Next::Resume);
    }
    let call = smccc::Call {
        function: r0,
        args: [r1, r2, r3],
    };
    let results = match smccc::call(
        &call,
        running.vcpu.id,
        &of_vcpu(running),
        &PowerStates(running.vm),
    ) {
        smccc::SmcccOutcome::Return(results) => results,
        smccc::SmcccOutcome::Power(outcome) => return Ok(power(running, outcome)),
        smccc::SmcccOutcome::Random(bits) => match random::words() {
            Some(words) => trng::result(bits, words),
            None => [trng::NO_ENTROPY, 0, 0, 0],
        },
        smccc::SmcccOutcome::Clock(counter) => clock_and_counter(running.state, counter),
        smccc::SmcccOutcome::HardenPredictor => {
            // All CPUs flush, as the vCPU may go on from any CPU of its core. The guest gains no
            // power by this: its own maintenance reaches all CPUs, too (HCR.FB).
            register::flush_predictors(running.state.identity.core.description().predictor);
            [0; 4]
        }
    };
    set_results(running.state, results);
    Ok(Next::Resume)
}

/// The wall clock of the host with the guest's counter of that moment.
fn clock_and_counter(state: &VcpuState, counter: PtpCounter) -> [u32; 4] {
    // There is no answer if the host's clock source is not the counter that the guest reads.
    let Some(now) = clock::real_time_and_counter() else {
        return [smccc::NOT_SUPPORTED, 0, 0, 0];
    };
    let offset = match counter {
        PtpCounter::Virtual => state.timers.virt.offset,
        PtpCounter::Physical => 0,
    };
    smccc::clock_result(now.time, now.counter.wrapping_sub(offset))
}

/// Changes power states.
#[inline(always)]
fn power(running: &mut Running<'_>, outcome: psci::PsciOutcome) -> Next {
    match outcome {
        psci::PsciOutcome::Return(value) => running.state.context.set_reg(0, value),
        psci::PsciOutcome::Suspend => {
            running.state.context.set_reg(0, psci::SUCCESS);
            super::halt::wait_for_interrupt(running);
        }
        psci::PsciOutcome::CpuOff => {
            running.vcpu.power.lock().off = true;
            running.state.off = true;
        }
        psci::PsciOutcome::CpuOn {
            cpu,
            entry,
            thumb,
            context_id,
        } => {
            let result = match running.vm.vcpu(cpu) {
                Some(target) => target.turn_on(Start {
                    entry,
                    thumb,
                    context_id,
                    big_endian: Psr(running.state.context.core.cpsr).is_big_endian(),
                }),
                None => psci::INVALID_PARAMETERS,
            };
            running.state.context.set_reg(0, result);
        }
        psci::PsciOutcome::SystemOff => {
            return system_event(running, uapi::KVM_SYSTEM_EVENT_SHUTDOWN, 0)
        }
        psci::PsciOutcome::SystemReset => {
            return system_event(running, uapi::KVM_SYSTEM_EVENT_RESET, 0)
        }
        psci::PsciOutcome::SystemReset2 { .. } => {
            let flags = uapi::KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2;
            return system_event(running, uapi::KVM_SYSTEM_EVENT_RESET, flags.into());
        }
        psci::PsciOutcome::SystemSuspend => {
            // The monitor finds the call's arguments in the registers, and sets the registers with
            // which the guest goes on (api.rst, KVM_SYSTEM_EVENT_SUSPEND).
            running
                .vcpu
                .run_page
                .set_system_event(uapi::KVM_SYSTEM_EVENT_SUSPEND, None);
            return Next::ToUser;
        }
    }
    Next::Resume
}

/// Reports that the guest turns the machine off or resets it: all vCPUs stop, and the monitor
/// decides.
fn system_event(running: &mut Running<'_>, kind: u32, flags: u64) -> Next {
    debug!("vCPU {}: system event {kind}\n", running.vcpu.id);
    for other in running.vm.vcpus().iter() {
        other.power.lock().off = true;
        if other.id != running.vcpu.id {
            other.request(request::POWER);
        }
    }
    // Should the monitor run this vCPU again, the guest sees that the call failed (DEN 0022
    // 5.10).
    running.state.context.set_reg(0, psci::INTERNAL_FAILURE);
    running.state.off = true;
    running.vcpu.run_page.set_system_event(kind, Some(flags));
    Next::ToUser
}

/// The power states of a VM's vCPUs.
struct PowerStates<'a>(&'a Vm);

impl psci::Topology for PowerStates<'_> {
    fn cpus(&self) -> usize {
        MAX_VCPUS
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
            Some(power) if !power.off => Power::On,
            _ => Power::Off,
        }
    }
}
