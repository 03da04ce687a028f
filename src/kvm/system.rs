// SPDX-License-Identifier: GPL-2.0

//! `/dev/kvm` itself.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use kvm_bindings as uapi;

use super::{
    abi::ioctl,
    capabilities::check_extension,
    host::Host,
    vm::Vm, //
};
use crate::glue::{
    file::{
        FileObject,
        NewFile,
        OpenableDevice, //
    },
    page::PAGE_SIZE, //
};

/// An open `/dev/kvm`.
pub(crate) struct System {
    host: Arc<Host>,
}

impl OpenableDevice for System {
    fn open() -> Result<Arc<Self>> {
        let host = Host::current().ok_or(ENODEV)?;
        Ok(Arc::new(Self { host }, GFP_KERNEL_ACCOUNT)?)
    }
}

fn create_vm(host: &Arc<Host>) -> Result<isize> {
    let vm = Vm::new(host)?;
    let file = NewFile::new(c"kvm-vm", vm.clone())?;
    vm.name.set_descriptor(file.number());
    Ok(file.install())
}

impl FileObject for System {
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            ioctl::GET_API_VERSION if arg == 0 => Ok(uapi::KVM_API_VERSION as isize),
            // The type is the IPA size on arm64; here it must be zero.
            ioctl::CREATE_VM if arg == 0 => create_vm(&this.host),
            ioctl::GET_VCPU_MMAP_SIZE if arg == 0 => Ok(2 * PAGE_SIZE as isize),
            ioctl::GET_API_VERSION | ioctl::CREATE_VM | ioctl::GET_VCPU_MMAP_SIZE => Err(EINVAL),
            ioctl::CHECK_EXTENSION => Ok(check_extension(arg, &this.host)),
            _ => Err(EINVAL),
        }
    }
}
