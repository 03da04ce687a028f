// SPDX-License-Identifier: GPL-2.0

//! `/dev/kvm` itself.

use std::os::fd::AsRawFd;

use kvm::{ioctl, uapi, Kvm};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{new_vcpu, new_vm, PAGE};
use crate::has_vgic;

pub(crate) const TESTS: &[Test] = &[
    ("GET_API_VERSION", api_version),
    ("GET_VCPU_MMAP_SIZE", mmap_size),
    ("CHECK_EXTENSION", extensions),
    ("CHECK_EXTENSION of the unknown", unknown_extension),
    ("CREATE_VM", create_vm),
    ("unknown ioctls", unknown_ioctls),
    ("file descriptors close on exec", close_on_exec),
];

fn kvm() -> Result<Kvm, String> {
    Kvm::open().works("/dev/kvm")
}

fn api_version() -> Outcome {
    let kvm = kvm()?;
    equal("version", kvm.api_version().works("GET_API_VERSION")?, 12)?;
    let wrong = ioctl(&kvm, uapi::GET_API_VERSION(), 1);
    fails("an argument", wrong, &[libc::EINVAL])
}

fn mmap_size() -> Outcome {
    let kvm = kvm()?;
    let size = kvm.vcpu_mmap_size().works("GET_VCPU_MMAP_SIZE")?;
    ensure(
        size >= size_of::<uapi::Run>(),
        format!("{size} is too little"),
    )?;
    equal("part of a page", size % PAGE, 0)?;
    let wrong = ioctl(&kvm, uapi::GET_VCPU_MMAP_SIZE(), 1);
    fails("an argument", wrong, &[libc::EINVAL])
}

fn extensions() -> Outcome {
    const DESTROY_MEMORY_REGION_WORKS: u32 = 21;
    const JOIN_MEMORY_REGIONS_WORKS: u32 = 30;
    let kvm = kvm()?;
    let irqchip = kvm.check_extension(uapi::CAP_IRQCHIP);
    equal(
        "IRQCHIP",
        irqchip.works("CHECK_EXTENSION")?,
        has_vgic().into(),
    )?;
    for capability in [
        uapi::CAP_USER_MEMORY,
        uapi::CAP_SYNC_MMU,
        DESTROY_MEMORY_REGION_WORKS,
        JOIN_MEMORY_REGIONS_WORKS,
        uapi::CAP_ONE_REG,
        uapi::CAP_READONLY_MEM,
        uapi::CAP_ARM_PSCI,
        uapi::CAP_ARM_SET_DEVICE_ADDR,
        uapi::CAP_DEVICE_CTRL,
        uapi::CAP_ARM_PSCI_0_2,
        uapi::CAP_IMMEDIATE_EXIT,
    ] {
        let value = kvm.check_extension(capability).works("CHECK_EXTENSION")?;
        equal(format!("capability {capability}"), value, 1)?;
    }
    for (capability, least) in [
        (uapi::CAP_NR_VCPUS, 1),
        (uapi::CAP_MAX_VCPUS, 4),
        (uapi::CAP_NR_MEMSLOTS, 32),
    ] {
        let value = kvm.check_extension(capability).works("CHECK_EXTENSION")?;
        ensure(
            value >= least,
            format!("capability {capability} is {value}"),
        )?;
    }
    Ok(())
}

fn unknown_extension() -> Outcome {
    let value = kvm()?.check_extension(99_999).works("CHECK_EXTENSION")?;
    equal("value", value, 0)
}

fn create_vm() -> Outcome {
    let kvm = kvm()?;
    drop(kvm.create_vm().works("type 0")?);
    let wrong = ioctl(&kvm, uapi::CREATE_VM(), 1);
    fails("type 1", wrong, &[libc::EINVAL])
}

/// Linux 5.6 returned EINVAL for unknown ioctls of these, and ENOTTY for devices.
fn unknown_ioctls() -> Outcome {
    const UNKNOWN: libc::c_ulong = 0xae3f;
    let errnos = [libc::EINVAL];
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let gic = vm
        .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
        .works("KVM_CREATE_DEVICE")?;
    fails("of a device", ioctl(&gic, UNKNOWN, 0), &[libc::ENOTTY])?;
    fails("of the system", ioctl(&kvm, UNKNOWN, 0), &errnos)?;
    fails("of a VM", ioctl(&vm, UNKNOWN, 0), &errnos)?;
    fails("of a vCPU", ioctl(&vcpu, UNKNOWN, 0), &errnos)?;
    // And ioctls of another file.
    fails("KVM_RUN of a VM", ioctl(&vm, uapi::RUN(), 0), &errnos)?;
    fails(
        "KVM_CREATE_VM of a vCPU",
        ioctl(&vcpu, uapi::CREATE_VM(), 0),
        &errnos,
    )
}

fn close_on_exec() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let gic = vm
        .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
        .works("KVM_CREATE_DEVICE")?;
    for (name, fd) in [
        ("VM", vm.as_raw_fd()),
        ("vCPU", vcpu.as_raw_fd()),
        ("device", gic.as_raw_fd()),
    ] {
        // SAFETY: Asks for flags of a file descriptor of ours.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        equal(name, flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC)?;
    }
    Ok(())
}
