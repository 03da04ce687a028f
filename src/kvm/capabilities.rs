// SPDX-License-Identifier: GPL-2.0

//! The capabilities of this KVM: `KVM_CHECK_EXTENSION`, the target of its vCPUs, and the
//! capabilities that have to be turned on (`KVM_ENABLE_CAP` of a VM).

use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    core::{
        Core,
        Target, //
    },
    cp14::DebugUnit, //
};

use super::{
    abi,
    host::Host,
    irqfd,
    vm::Vm, //
};
use crate::{
    glue::cpu::IrqsOff,
    hyp::identity::{
        core_of_this_cpu,
        Identity, //
    }, //
};

/// The number by which KVM_ARM_VCPU_INIT asks for a core.
const fn number(target: Target) -> u32 {
    match target {
        Target::CortexA15 => uapi::KVM_ARM_TARGET_CORTEX_A15,
        Target::CortexA7 => uapi::KVM_ARM_TARGET_CORTEX_A7,
        Target::GenericV7 => uapi::KVM_ARM_TARGET_GENERIC_V7,
    }
}

/// Whether a number asks for a core.
pub(crate) const fn is_of(core: Core, asked: u32) -> bool {
    number(core.description().target) == asked
}

/// KVM_ARM_PREFERRED_TARGET: the core of this CPU, as KVM_ARM_VCPU_INIT asks for it.
pub(crate) fn preferred_target() -> Result<u32> {
    let core = IrqsOff::with(|irqs| core_of_this_cpu(&irqs)).ok_or(ENODEV)?;
    Ok(number(core.description().target))
}

/// The core for a vCPU whose monitor asks for it by a number.
pub(crate) fn identity_for(host: &Host, asked: u32) -> Result<&Identity> {
    let targets = [Target::CortexA15, Target::CortexA7, Target::GenericV7];
    let target = targets.into_iter().find(|&target| number(target) == asked);
    let here = IrqsOff::with(|irqs| core_of_this_cpu(&irqs));
    Core::for_target(target.ok_or(EINVAL)?, here, host.lowvisor.cores())
        .and_then(|core| host.lowvisor.identity(core))
        .ok_or(EINVAL)
}

/// KVM_CHECK_EXTENSION.
pub(crate) fn check_extension(capability: usize, host: &Host) -> isize {
    match capability as u32 {
        uapi::KVM_CAP_USER_MEMORY
        | uapi::KVM_CAP_DESTROY_MEMORY_REGION_WORKS
        | uapi::KVM_CAP_JOIN_MEMORY_REGIONS_WORKS
        | uapi::KVM_CAP_SYNC_MMU
        | uapi::KVM_CAP_ONE_REG
        | uapi::KVM_CAP_DEVICE_CTRL
        | uapi::KVM_CAP_ARM_PSCI
        | uapi::KVM_CAP_ARM_PSCI_0_2
        | uapi::KVM_CAP_ARM_SET_DEVICE_ADDR
        | uapi::KVM_CAP_READONLY_MEM
        | uapi::KVM_CAP_USER_MEMORY2
        | uapi::KVM_CAP_MEMORY_FAULT_INFO
        | uapi::KVM_CAP_IMMEDIATE_EXIT
        | uapi::KVM_CAP_ARM_IRQ_LINE_LAYOUT_2
        | uapi::KVM_CAP_MP_STATE
        | uapi::KVM_CAP_ARM_PMU_V3
        | uapi::KVM_CAP_VCPU_ATTRIBUTES
        | uapi::KVM_CAP_VCPU_EVENTS
        | uapi::KVM_CAP_ARM_INJECT_EXT_DABT
        | uapi::KVM_CAP_ARM_NISV_TO_USER
        | uapi::KVM_CAP_IRQFD
        | uapi::KVM_CAP_IRQFD_RESAMPLE
        | uapi::KVM_CAP_IOEVENTFD
        | uapi::KVM_CAP_IOEVENTFD_ANY_LENGTH
        | uapi::KVM_CAP_COALESCED_PIO
        | uapi::KVM_CAP_INTERNAL_ERROR_DATA
        | uapi::KVM_CAP_ENABLE_CAP_VM
        | uapi::KVM_CAP_SYSTEM_EVENT_DATA
        | uapi::KVM_CAP_ARM_SYSTEM_SUSPEND
        | uapi::KVM_CAP_PTP_KVM
        | uapi::KVM_CAP_HALT_POLL
        | uapi::KVM_CAP_BINARY_STATS_FD
        | uapi::KVM_CAP_CHECK_EXTENSION_VM => 1,
        // Without breakpoints there are no steps, and no debugger gets along.
        uapi::KVM_CAP_SET_GUEST_DEBUG => (debug_points(host, DebugUnit::breakpoints) != 0).into(),
        uapi::KVM_CAP_GUEST_DEBUG_HW_BPS => debug_points(host, DebugUnit::breakpoints),
        uapi::KVM_CAP_GUEST_DEBUG_HW_WPS => debug_points(host, DebugUnit::watchpoints),
        uapi::KVM_CAP_ARM_USER_IRQ => 1,
        uapi::KVM_CAP_IRQCHIP => host.gic.is_some().into(),
        uapi::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 => {
            crate::mem::dirty_log::MANUAL_PROTECT_OPTIONS as isize
        }
        uapi::KVM_CAP_IRQ_ROUTING => irqfd::MAX_ROUTES as isize,
        // The place of the ring in a vCPU's mapping, in pages.
        uapi::KVM_CAP_COALESCED_MMIO => uapi::KVM_COALESCED_MMIO_PAGE_OFFSET as isize,
        uapi::KVM_CAP_NR_VCPUS => {
            (crate::glue::cpu::possible_cpus().count()).min(host.max_vcpus) as isize
        }
        uapi::KVM_CAP_MAX_VCPUS | uapi::KVM_CAP_MAX_VCPU_ID => host.max_vcpus as isize,
        uapi::KVM_CAP_NR_MEMSLOTS => crate::mem::slots::MAX_SLOTS as isize,
        _ => 0,
    }
}

/// The number of points of a kind that a monitor can set in guests of this host.
fn debug_points(host: &Host, count: fn(DebugUnit) -> usize) -> isize {
    let units = Core::ALL
        .into_iter()
        .filter_map(|core| host.lowvisor.identity(core))
        .map(|identity| identity.debug);
    units
        .map(|unit| if unit.is_usable() { count(unit) } else { 0 })
        .min()
        .unwrap_or(0) as isize
}

/// Carries out `KVM_ENABLE_CAP` on a VM.
///
/// Unknown flags, arguments and capabilities are `EINVAL`.
pub(crate) fn enable(vm: &Vm, arg: usize) -> Result {
    let request: uapi::kvm_enable_cap = abi::read_user(arg)?;
    if request.flags != 0 {
        return Err(EINVAL);
    }
    let [options, ..] = request.args;
    match request.cap {
        uapi::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 => vm.memory.set_manual_protect(options),
        uapi::KVM_CAP_ARM_SYSTEM_SUSPEND => {
            vm.firmware.allow_suspend();
            Ok(())
        }
        uapi::KVM_CAP_ARM_NISV_TO_USER => {
            vm.set_nisv_to_user();
            Ok(())
        }
        uapi::KVM_CAP_HALT_POLL => {
            vm.halt.set_max(u32::try_from(options).map_err(|_| EINVAL)?);
            Ok(())
        }
        _ => Err(EINVAL),
    }
}
