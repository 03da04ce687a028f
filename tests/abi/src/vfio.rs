// SPDX-License-Identifier: GPL-2.0

//! The VFIO device (Documentation/virt/kvm/devices/vfio.rst), as far as it goes without a group: for
//! one the host needs an IOMMU.

use std::fs::File;
use std::os::fd::AsRawFd;

use kvm::uapi::{self, CreateDevice};
use kvm::{ioctl_mut, ioctl_ref};

use crate::check::{fails, Outcome, Test, Works};
use crate::guest::new_vm;

pub(crate) const TESTS: &[Test] = &[
    ("VFIO: one device for a VM", one_device),
    ("VFIO: attributes", attributes),
    ("VFIO: what is not a file of VFIO", other_files),
];

fn one_device() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let mut request = CreateDevice {
        device_type: uapi::DEV_TYPE_VFIO,
        flags: uapi::CREATE_DEVICE_TEST,
        ..Default::default()
    };
    ioctl_mut(&vm, uapi::CREATE_DEVICE(), &mut request).works("a test of the type")?;
    let device = vm.create_device(uapi::DEV_TYPE_VFIO).works("the first")?;
    let second = || vm.create_device(uapi::DEV_TYPE_VFIO);
    fails("a second", second().map(drop), &[libc::EBUSY])?;
    let (_kvm, other) = new_vm()?;
    other
        .create_device(uapi::DEV_TYPE_VFIO)
        .works("that of another VM")?;
    drop(device);
    second().works("a second after the first").map(drop)
}

fn attributes() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let device = vm.create_device(uapi::DEV_TYPE_VFIO).works("the device")?;
    for attr in [uapi::DEV_VFIO_FILE_ADD, uapi::DEV_VFIO_FILE_DEL] {
        device
            .has_attr(uapi::DEV_VFIO_FILE, attr)
            .works(format!("attribute {attr}"))?;
        fails(
            format!("the value of {attr}"),
            device.get_attr::<i32>(uapi::DEV_VFIO_FILE, attr),
            &[libc::EPERM],
        )?;
        let unreadable = uapi::DeviceAttr {
            flags: 0,
            group: uapi::DEV_VFIO_FILE,
            attr,
            addr: 8,
        };
        fails(
            format!("{attr} from address 8"),
            ioctl_ref(&device, uapi::SET_DEVICE_ATTR(), &unreadable),
            &[libc::EFAULT],
        )?;
    }
    let unknown = [
        (uapi::DEV_VFIO_FILE, 0),
        // The attribute of POWER's tables.
        (uapi::DEV_VFIO_FILE, 3),
        (uapi::DEV_VFIO_FILE, (1 << 32) | uapi::DEV_VFIO_FILE_ADD),
        (0, uapi::DEV_VFIO_FILE_ADD),
        (2, uapi::DEV_VFIO_FILE_ADD),
    ];
    for (group, attr) in unknown {
        let what = format!("group {group}, attribute {attr:#x}");
        fails(&what, device.has_attr(group, attr), &[libc::ENXIO])?;
        fails(&what, device.set_attr(group, attr, &0i32), &[libc::ENXIO])?;
    }
    Ok(())
}

fn other_files() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let device = vm.create_device(uapi::DEV_TYPE_VFIO).works("the device")?;
    let add = |fd: i32| device.set_attr(uapi::DEV_VFIO_FILE, uapi::DEV_VFIO_FILE_ADD, &fd);
    let remove = |fd: i32| device.set_attr(uapi::DEV_VFIO_FILE, uapi::DEV_VFIO_FILE_DEL, &fd);
    let file = File::open("/proc/self/exe").works("/proc/self/exe")?;
    for fd in [file.as_raw_fd(), vm.as_raw_fd(), device.as_raw_fd()] {
        fails(format!("adding {fd}"), add(fd), &[libc::EINVAL])?;
        fails(format!("removing {fd}"), remove(fd), &[libc::ENOENT])?;
    }
    for fd in [-1, 9999] {
        fails(format!("adding {fd}"), add(fd), &[libc::EBADF])?;
        fails(format!("removing {fd}"), remove(fd), &[libc::EBADF])?;
    }
    Ok(())
}
