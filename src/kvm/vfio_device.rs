// SPDX-License-Identifier: GPL-2.0

//! The VFIO device of KVM (Documentation/virt/kvm/devices/vfio.rst): it is told which groups and
//! devices of VFIO the VM uses.
//!
//! On other architectures KVM learns from them whether it may ignore the guest's cache maintenance,
//! and makes itself known to drivers of mediated devices. Here cache maintenance is never ignored,
//! and there are no such drivers. So the device only keeps the files open.

use core::sync::atomic::Ordering;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
};
use kvm_bindings as uapi;

use super::{
    abi::{
        self,
        ioctl, //
    },
    vm::Vm, //
};
use crate::glue::{
    file::FileObject,
    vfio::OpenFile, //
};

/// An open VFIO device.
///
/// # Invariants
///
/// It is the only one of its VM, whose `has_vfio` is set. No file is in `files` twice.
#[pin_data(PinnedDrop)]
pub(crate) struct VfioDevice {
    vm: Arc<Vm>,
    #[pin]
    files: Mutex<KVec<OpenFile>>,
}

impl VfioDevice {
    /// Makes the object for the device of `vm`: `EBUSY` if it has one.
    pub(crate) fn new(vm: Arc<Vm>) -> Result<Arc<Self>> {
        if vm.has_vfio.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        let owner = vm.clone();
        Arc::pin_init(
            // INVARIANT: It was not set before.
            pin_init!(Self {
                vm: owner,
                files <- new_mutex!(KVec::new(), "kvm_arm_vfio"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
        .inspect_err(|_| vm.has_vfio.store(false, Ordering::Release))
    }

    fn set(&self, attr: &uapi::kvm_device_attr) -> Result {
        let is_added = is_addition(attr)?;
        let address = usize::try_from(attr.addr).map_err(|_| EFAULT)?;
        let file = OpenFile::get(abi::read_user(address)?)?;
        if is_added && !file.is_of_vfio() {
            return Err(EINVAL);
        }
        let mut files = self.files.lock();
        let place = files.iter().position(|known| *known == file);
        match (place, is_added) {
            (None, true) => Ok(files.push(file, GFP_KERNEL_ACCOUNT)?),
            (Some(_), true) => Err(EEXIST),
            (Some(place), false) => files.remove(place).map(drop).map_err(|_| ENOENT),
            (None, false) => Err(ENOENT),
        }
    }
}

#[pinned_drop]
impl PinnedDrop for VfioDevice {
    fn drop(self: Pin<&mut Self>) {
        self.vm.has_vfio.store(false, Ordering::Release);
    }
}

/// Whether an attribute adds a file, or removes one: `ENXIO` for others.
fn is_addition(attr: &uapi::kvm_device_attr) -> Result<bool> {
    match (attr.group, attr.attr as u32) {
        _ if attr.attr > u64::from(u32::MAX) => Err(ENXIO),
        (uapi::KVM_DEV_VFIO_FILE, uapi::KVM_DEV_VFIO_FILE_ADD) => Ok(true),
        (uapi::KVM_DEV_VFIO_FILE, uapi::KVM_DEV_VFIO_FILE_DEL) => Ok(false),
        _ => Err(ENXIO),
    }
}

impl FileObject for VfioDevice {
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        if !this.vm.is_current_process() {
            return Err(EIO);
        }
        match cmd {
            ioctl::SET_DEVICE_ATTR => this.set(&abi::read_user(arg)?),
            ioctl::HAS_DEVICE_ATTR => is_addition(&abi::read_user(arg)?).map(drop),
            // There is nothing to be read.
            ioctl::GET_DEVICE_ATTR => Err(EPERM),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }
}
