// SPDX-License-Identifier: GPL-2.0

//! The files of KVM_GET_STATS_FD (api.rst 4.133).

use kernel::{
    prelude::*,
    str::CString,
    sync::{
        Arc,
        ArcBorrow, //
    },
    uaccess::UserSliceWriter, //
};

use super::{
    stats::{
        VCPU_STATISTICS,
        VM_STATISTICS, //
    },
    vcpu::Vcpu,
    vm::Vm, //
};
use crate::glue::file::{
    new_readable_descriptor,
    FileObject, //
};

/// The file of KVM_GET_STATS_FD of a VM. It holds a reference to the VM.
pub(crate) struct VmStatsFile {
    vm: Arc<Vm>,
    id: CString,
}

impl VmStatsFile {
    /// Makes the file and a descriptor for it.
    pub(crate) fn open(vm: Arc<Vm>) -> Result<isize> {
        let id = CString::try_from_fmt(fmt!("kvm-{}", vm.pid))?;
        let file = Arc::new(Self { vm, id }, GFP_KERNEL_ACCOUNT)?;
        new_readable_descriptor(c"kvm-vm-stats", file)
    }
}

impl FileObject for VmStatsFile {
    fn ioctl(_this: ArcBorrow<'_, Self>, _cmd: u32, _arg: usize) -> Result<isize> {
        Err(ENOTTY)
    }

    const READABLE: bool = true;

    fn read(this: ArcBorrow<'_, Self>, position: u64, to: &mut UserSliceWriter) -> Result<usize> {
        let id = this.id.to_str().map_err(|_| EINVAL)?;
        VM_STATISTICS.read(id, &this.vm.memory.stats, position, to)
    }

    fn size(_this: ArcBorrow<'_, Self>) -> u64 {
        VM_STATISTICS.size()
    }
}

/// The file of KVM_GET_STATS_FD of a vCPU. It holds a reference to the VM, too.
pub(crate) struct VcpuStatsFile {
    _vm: Arc<Vm>,
    vcpu: Arc<Vcpu>,
    id: CString,
}

impl VcpuStatsFile {
    /// Makes the file and a descriptor for it.
    pub(crate) fn open(vm: Arc<Vm>, vcpu: Arc<Vcpu>) -> Result<isize> {
        let id = CString::try_from_fmt(fmt!("kvm-{}/vcpu-{}", vm.pid, vcpu.id))?;
        let name = CString::try_from_fmt(fmt!("kvm-vcpu-stats:{}", vcpu.id))?;
        let file = Self { _vm: vm, vcpu, id };
        new_readable_descriptor(&name, Arc::new(file, GFP_KERNEL_ACCOUNT)?)
    }
}

impl FileObject for VcpuStatsFile {
    fn ioctl(_this: ArcBorrow<'_, Self>, _cmd: u32, _arg: usize) -> Result<isize> {
        Err(ENOTTY)
    }

    const READABLE: bool = true;

    fn read(this: ArcBorrow<'_, Self>, position: u64, to: &mut UserSliceWriter) -> Result<usize> {
        let id = this.id.to_str().map_err(|_| EINVAL)?;
        VCPU_STATISTICS.read(id, &this.vcpu.stats, position, to)
    }

    fn size(_this: ArcBorrow<'_, Self>) -> u64 {
        VCPU_STATISTICS.size()
    }
}
