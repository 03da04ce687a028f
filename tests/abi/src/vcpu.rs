// SPDX-License-Identifier: GPL-2.0

//! Making and initialising vCPUs.

use kvm::{ioctl, uapi, Vcpu};
use machine::core::Core;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, core_of, init, new_vcpu, new_vm, Guest, BASE, HOLE};

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
    ("L2CTLR: the number of CPUs", number_of_cpus),
    ("L2CTLR: as user space has set it", number_of_cpus_set),
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
    let (kvm, vm) = new_vm()?;
    let init = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    vcpu.init(&init).works("KVM_ARM_VCPU_INIT")?;
    let expected = match core_of(&vcpu)? {
        Core::CortexA15 => uapi::TARGET_CORTEX_A15,
        Core::CortexA7 => uapi::TARGET_CORTEX_A7,
        Core::CortexA12 | Core::CortexA17 => uapi::TARGET_GENERIC_V7,
    };
    equal("target", init.target, expected)?;
    equal("features", init.features, [0; 7])
}

fn bad_target() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let good = vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    for target in [
        3,
        77,
        u32::MAX,
        (good.target + 1) % 3,
        (good.target + 2) % 3,
    ] {
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

/// L2CTLR, and the place of the number of CPUs in it, less one.
const L2CTLR: u64 = uapi::cp15_reg(1, 9, 0, 2);
const CPUS_SHIFT: u32 = 24;

/// A guest that says what L2CTLR has.
fn teller() -> Result<Guest, String> {
    let mut program = code::load(1, HOLE).to_vec();
    program.extend([code::mrc(0, 1, 9, 0, 2), code::str(0, 1), code::LOOP]);
    Guest::new(&program)
}

/// Runs it and gives the number of CPUs.
fn told(guest: &Guest) -> Result<u32, String> {
    guest.run_to(uapi::EXIT_MMIO)?;
    let [a, b, c, d, ..] = guest.vcpu.run.mmio().data;
    Ok(((u32::from_le_bytes([a, b, c, d]) >> CPUS_SHIFT) & 3) + 1)
}

/// Monitors initialise each vCPU before they make the next. All count when the first one runs.
fn number_of_cpus() -> Outcome {
    let guest = teller()?;
    let others: Result<Vec<Vcpu>, String> = (1..4)
        .map(|id| {
            let vcpu = new_vcpu(&guest.kvm, &guest.vm, id)?;
            init(&guest.vm, &vcpu).map(|()| vcpu)
        })
        .collect();
    let others = others?;
    for vcpu in [&guest.vcpu].into_iter().chain(&others) {
        let l2ctlr = vcpu.reg(L2CTLR).works("L2CTLR")?;
        equal("CPUs for user space", ((l2ctlr >> CPUS_SHIFT) & 3) + 1, 4)?;
    }
    equal("CPUs", told(&guest)?, 4)?;
    // A vCPU that runs again after a reset finds the same.
    init(&guest.vm, &guest.vcpu)?;
    guest.set(uapi::CORE_PC, BASE)?;
    equal("CPUs after a reset", told(&guest)?, 4)
}

/// A machine that came from elsewhere finds what it had there.
fn number_of_cpus_set() -> Outcome {
    let guest = teller()?;
    let l2ctlr = guest.vcpu.reg(L2CTLR).works("L2CTLR")?;
    let two = l2ctlr & !(3 << CPUS_SHIFT) | (1 << CPUS_SHIFT);
    guest
        .vcpu
        .set_reg(L2CTLR, two)
        .works("L2CTLR for two CPUs")?;
    let _third = new_vcpu(&guest.kvm, &guest.vm, 2)?;
    equal("L2CTLR", guest.vcpu.reg(L2CTLR).works("L2CTLR")?, two)?;
    equal("CPUs", told(&guest)?, 2)
}
