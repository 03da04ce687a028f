// SPDX-License-Identifier: GPL-2.0

//! Making and initialising vCPUs.

use kvm::{ioctl, uapi, Vcpu};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{init, new_vcpu, new_vm, Guest, BASE};

pub(crate) const TESTS: &[Test] = &[
    ("CREATE_VCPU: ids", ids),
    ("CREATE_VCPU: twice", twice),
    ("CREATE_VCPU: up to the limit", limit),
    ("CREATE_VCPU: no descriptor is free", no_descriptor),
    ("ARM_PREFERRED_TARGET", preferred_target),
    ("ARM_VCPU_INIT: bad target", bad_target),
    ("ARM_VCPU_INIT: unknown feature", unknown_feature),
    ("ARM_VCPU_INIT: again", again),
    ("ARM_VCPU_INIT: resets", resets),
    ("before ARM_VCPU_INIT", before_init),
];

fn ids() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let most = kvm
        .check_extension(uapi::CAP_MAX_VCPUS)
        .works("KVM_CAP_MAX_VCPUS")?;
    for id in [most as u32, 255, 256, u32::MAX] {
        let result = ioctl(&vm, uapi::CREATE_VCPU(), id as libc::c_ulong);
        fails(format!("id {id}"), result, &[libc::EINVAL])?;
    }
    new_vcpu(&kvm, &vm, most as u32 - 1).map(drop)
}

fn twice() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let again = ioctl(&vm, uapi::CREATE_VCPU(), 0);
    fails("while open", again, &[libc::EEXIST])?;
    // A vCPU lives as long as its VM.
    drop(vcpu);
    let again = ioctl(&vm, uapi::CREATE_VCPU(), 0);
    fails("when closed", again, &[libc::EEXIST])
}

fn limit() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let most = kvm
        .check_extension(uapi::CAP_MAX_VCPUS)
        .works("KVM_CAP_MAX_VCPUS")?;
    let vcpus: Result<Vec<Vcpu>, String> =
        (0..most as u32).map(|id| new_vcpu(&kvm, &vm, id)).collect();
    for vcpu in &vcpus? {
        init(&vm, vcpu)?;
    }
    Ok(())
}

/// A vCPU for which there was no descriptor was not made: it can be made later.
fn no_descriptor() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let set_limit = |limit: &libc::rlimit| {
        // SAFETY: It points to a limit.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) };
        ensure(result == 0, "setrlimit")
    };
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: It points to room for a limit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut old) };
    ensure(result == 0, "getrlimit")?;
    set_limit(&libc::rlimit { rlim_cur: 0, ..old })?;
    let results = (
        ioctl(&vm, uapi::CREATE_VCPU(), 0),
        vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2),
    );
    set_limit(&old)?;
    fails("KVM_CREATE_VCPU", results.0, &[libc::EMFILE])?;
    fails("KVM_CREATE_DEVICE", results.1.map(drop), &[libc::EMFILE])?;
    new_vcpu(&kvm, &vm, 0)?;
    vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
        .works("KVM_CREATE_DEVICE")
        .map(drop)
}

fn preferred_target() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let init = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    let known = [uapi::TARGET_CORTEX_A15, uapi::TARGET_CORTEX_A7];
    ensure(
        known.contains(&init.target),
        format!("target {}", init.target),
    )?;
    equal("features", init.features, [0; 7])
}

fn bad_target() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let good = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    for target in [2, 77, u32::MAX, good.target ^ 1] {
        let mut bad = good;
        bad.target = target;
        fails(format!("target {target}"), vcpu.init(&bad), &[libc::EINVAL])?;
    }
    vcpu.init(&good).works("the good target")
}

fn unknown_feature() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let good = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    for (word, bit) in [(0, 2), (0, 31), (6, 0)] {
        let mut bad = good;
        bad.features[word] |= 1 << bit;
        fails(
            format!("feature {bit} of {word}"),
            vcpu.init(&bad),
            &[libc::ENOENT],
        )?;
    }
    vcpu.init(&good).works("no feature")
}

fn again() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    init(&vm, &vcpu)?;
    init(&vm, &vcpu)?;
    let mut other = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    other.features[0] |= (1 << uapi::VCPU_POWER_OFF) | (1 << uapi::VCPU_PSCI_0_2);
    fails("other features", vcpu.init(&other), &[libc::EINVAL])
}

fn resets() -> Outcome {
    let guest = Guest::new(&[])?;
    guest.set(3, 99)?;
    equal("pc", guest.get(uapi::CORE_PC)?, BASE)?;
    init(&guest.vm, &guest.vcpu)?;
    equal("pc after reset", guest.get(uapi::CORE_PC)?, 0)?;
    equal("cpsr after reset", guest.get(uapi::CORE_CPSR)?, 0x1d3)
}

fn before_init() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let errnos = [libc::ENOEXEC];
    fails("KVM_RUN", vcpu.run(), &errnos)?;
    let pc = uapi::core_reg(uapi::CORE_PC);
    fails("KVM_GET_ONE_REG", vcpu.reg(pc), &errnos)?;
    fails("KVM_SET_ONE_REG", vcpu.set_reg(pc, 0), &errnos)?;
    init(&vm, &vcpu)?;
    vcpu.reg(pc).works("KVM_GET_ONE_REG after init").map(drop)
}
