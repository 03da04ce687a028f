// SPDX-License-Identifier: GPL-2.0

//! The attributes of a vCPU: KVM_HAS_DEVICE_ATTR, KVM_GET_DEVICE_ATTR and KVM_SET_DEVICE_ATTR on
//! its file (Documentation/virt/kvm/devices/vcpu.rst).
//!
//! Each group has a function for its attributes. An unknown attribute is ENXIO.

use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::vgic::is_ppi;

use super::{
    abi,
    timer::TimerIntids,
    vcpu::Vcpu,
    vm::Vm, //
};

/// How an attribute is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Has,
    Get,
    Set,
}

/// Carries out one of the three ioctls.
pub(crate) fn access(vm: &Vm, vcpu: &Vcpu, arg: usize, how: Use) -> Result {
    let attr: uapi::kvm_device_attr = abi::read_user(arg)?;
    match attr.group {
        uapi::KVM_ARM_VCPU_PMU_V3_CTRL => pmu(vm, vcpu, &attr, how),
        uapi::KVM_ARM_VCPU_TIMER_CTRL => timer(vm, &attr, how),
        _ => Err(ENXIO),
    }
}

/// The user address of an attribute's value.
fn address(attr: &uapi::kvm_device_attr) -> Result<usize> {
    usize::try_from(attr.addr).map_err(|_| EFAULT)
}

/// KVM_ARM_VCPU_TIMER_CTRL: the interrupts of the timers, the same for all vCPUs.
fn timer(vm: &Vm, attr: &uapi::kvm_device_attr, how: Use) -> Result {
    const VIRTUAL: u64 = uapi::KVM_ARM_VCPU_TIMER_IRQ_VTIMER as u64;
    const PHYSICAL: u64 = uapi::KVM_ARM_VCPU_TIMER_IRQ_PTIMER as u64;

    if how == Use::Set {
        if !vm.gic.exists() {
            return Err(EINVAL);
        }
        let intid: u32 = abi::read_user(address(attr)?)?;
        if !is_ppi(intid) {
            return Err(EINVAL);
        }
        return vm.gic.set_timer_intids(vm.vcpus(), |old| match attr.attr {
            VIRTUAL => Ok(TimerIntids { virt: intid, ..old }),
            PHYSICAL => Ok(TimerIntids { phys: intid, ..old }),
            _ => Err(ENXIO),
        });
    }
    let intids = vm.gic.timer_intids()?;
    let intid = match attr.attr {
        VIRTUAL => intids.virt,
        PHYSICAL => intids.phys,
        _ => return Err(ENXIO),
    };
    match how {
        Use::Get => abi::write_user(address(attr)?, &intid),
        _ => Ok(()),
    }
}

/// KVM_ARM_VCPU_PMU_V3_CTRL: the interrupt of the performance monitors.
fn pmu(vm: &Vm, vcpu: &Vcpu, attr: &uapi::kvm_device_attr, how: Use) -> Result {
    const IRQ: u64 = uapi::KVM_ARM_VCPU_PMU_V3_IRQ as u64;
    const INIT: u64 = uapi::KVM_ARM_VCPU_PMU_V3_INIT as u64;

    let mut state = vcpu.lock()?;
    match (how, attr.attr) {
        (Use::Has, IRQ | INIT) if state.has_pmu() => Ok(()),
        (Use::Has, _) => Err(ENXIO),
        (Use::Get, IRQ) if !vm.gic.exists() => Err(EINVAL),
        (Use::Get, IRQ) if !state.has_pmu() => Err(ENODEV),
        (Use::Get, IRQ) => {
            let intid = vcpu.pmu_intid().ok_or(ENXIO)?;
            abi::write_user(address(attr)?, &intid)
        }
        (Use::Get, _) => Err(ENXIO),
        (Use::Set, _) if !state.has_pmu() => Err(ENODEV),
        (Use::Set, _) if state.pmu.initialized => Err(EBUSY),
        (Use::Set, IRQ) => {
            if !vm.gic.exists() {
                return Err(EINVAL);
            }
            let intid: u32 = abi::read_user(address(attr)?)?;
            if !(16..1020).contains(&intid) {
                return Err(EINVAL);
            }
            vm.gic.set_pmu_intid(vm.vcpus(), vcpu, intid)
        }
        (Use::Set, INIT) => {
            vm.gic.check_pmu(vcpu)?;
            state.pmu.initialized = true;
            Ok(())
        }
        (Use::Set, _) => Err(ENXIO),
    }
}
