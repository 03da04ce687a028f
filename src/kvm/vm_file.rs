// SPDX-License-Identifier: GPL-2.0

//! The file descriptor of a VM and its ioctls.

use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    sync::ArcBorrow, //
};
use kvm_bindings as uapi;

use super::{
    abi::{
        self,
        ioctl, //
    },
    capabilities,
    irq_line,
    irqfd::Irqfds,
    stats_file::VmStatsFile,
    vcpu_file::VcpuFile,
    vfio_device::VfioDevice,
    vgic_device::VgicDevice,
    vm::Vm, //
};
use crate::glue::file::{
    FileObject,
    NewFile, //
};

fn create_vcpu(vm: ArcBorrow<'_, Vm>, id: usize) -> Result<isize> {
    let file = vm.add_vcpu(id, |vcpu| {
        NewFile::new(c"kvm-vcpu", VcpuFile::new(vm.into(), vcpu)?)
    })?;
    Ok(file.install())
}

fn set_memory_region2(vm: &Vm, arg: usize) -> Result {
    let region: uapi::kvm_userspace_memory_region2 = abi::read_user(arg)?;
    // The other members belong to KVM_MEM_GUEST_MEMFD, a flag that is refused.
    vm.set_memory_region(&uapi::kvm_userspace_memory_region {
        slot: region.slot,
        flags: region.flags,
        guest_phys_addr: region.guest_phys_addr,
        memory_size: region.memory_size,
        userspace_addr: region.userspace_addr,
    })
}

fn get_dirty_log(vm: &Vm, arg: usize) -> Result {
    let log: uapi::kvm_dirty_log = abi::read_user(arg)?;
    let bitmap = abi::member!(log.__bindgen_anon_1, padding2);
    vm.memory.get_dirty_log(log.slot, bitmap as usize)
}

fn clear_dirty_log(vm: &Vm, arg: usize) -> Result {
    let log: uapi::kvm_clear_dirty_log = abi::read_user(arg)?;
    let bitmap = abi::member!(log.__bindgen_anon_1, padding2);
    vm.memory
        .clear_dirty_log(log.slot, log.first_page, log.num_pages, bitmap as usize)
}

fn create_device(vm: ArcBorrow<'_, Vm>, arg: usize) -> Result<isize> {
    let mut request: uapi::kvm_create_device = abi::read_user(arg)?;
    let is_vfio = match request.type_ {
        uapi::kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V2 if vm.host.gic.is_some() => false,
        uapi::kvm_device_type_KVM_DEV_TYPE_VFIO => true,
        _ => return Err(ENODEV),
    };
    if request.flags & uapi::KVM_CREATE_DEVICE_TEST != 0 {
        return Ok(0);
    }
    let file = if is_vfio {
        NewFile::new(c"kvm-vfio", VfioDevice::new(vm.into())?)?
    } else {
        NewFile::new(c"kvm-arm-vgic-v2", VgicDevice::new(vm.into())?)?
    };
    request.fd = file.number() as u32;
    // The write can fail, so it comes before anything that would stay.
    abi::write_user(arg, &request)?;
    if !is_vfio {
        vm.gic.create(vm.vcpus())?;
    }
    file.install();
    Ok(0)
}

fn set_device_address(vm: &Vm, arg: usize) -> Result {
    let address: uapi::kvm_arm_device_addr = abi::read_user(arg)?;
    let device = (address.id >> uapi::KVM_ARM_DEVICE_ID_SHIFT) & 0xffff;
    let kind = (address.id >> uapi::KVM_ARM_DEVICE_TYPE_SHIFT) & 0xffff;
    if device != u64::from(uapi::KVM_ARM_DEVICE_VGIC_V2) {
        return Err(ENODEV);
    }
    // This ioctl says ENODEV for an unknown address; the device attribute says ENXIO.
    vm.gic
        .with_config(|config| config.set_address(kind, address.addr))
        .map_err(|e| if e == ENXIO { ENODEV } else { e })
}

/// KVM_IRQ_LINE, and KVM_IRQ_LINE_STATUS, which gives the structure back. On Arm the structure
/// comes back unchanged.
fn irq_line(vm: &Vm, arg: usize, gives_status: bool) -> Result {
    let level: uapi::kvm_irq_level = abi::read_user(arg)?;
    let irq = abi::member!(level.__bindgen_anon_1, irq);
    irq_line::set(vm, irq, level.level != 0)?;
    if gives_status {
        abi::write_user(arg, &level)?;
    }
    Ok(())
}

fn preferred_target(arg: usize) -> Result {
    let init = uapi::kvm_vcpu_init {
        target: capabilities::preferred_target()?,
        features: [0; 7],
    };
    abi::write_user(arg, &init)
}

impl FileObject for Vm {
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        if !this.is_current_process() {
            return Err(EIO);
        }
        match cmd {
            ioctl::CREATE_VCPU => create_vcpu(this, arg),
            ioctl::SET_USER_MEMORY_REGION => {
                this.set_memory_region(&abi::read_user(arg)?).map(|()| 0)
            }
            ioctl::SET_USER_MEMORY_REGION2 => set_memory_region2(&this, arg).map(|()| 0),
            ioctl::GET_DIRTY_LOG => get_dirty_log(&this, arg).map(|()| 0),
            ioctl::CLEAR_DIRTY_LOG => clear_dirty_log(&this, arg).map(|()| 0),
            ioctl::ENABLE_CAP => capabilities::enable(&this, arg).map(|()| 0),
            ioctl::CREATE_IRQCHIP => this.gic.create(this.vcpus()).map(|()| 0),
            ioctl::CREATE_DEVICE => create_device(this, arg),
            ioctl::ARM_SET_DEVICE_ADDR => set_device_address(&this, arg).map(|()| 0),
            ioctl::IRQ_LINE => irq_line(&this, arg, false).map(|()| 0),
            ioctl::IRQ_LINE_STATUS => irq_line(&this, arg, true).map(|()| 0),
            ioctl::IRQFD => Irqfds::ioctl(&this.into(), arg).map(|()| 0),
            ioctl::IOEVENTFD => this.bus.ioeventfd(arg).map(|()| 0),
            ioctl::SET_GSI_ROUTING => this.irqfds.set_routing(arg).map(|()| 0),
            ioctl::REGISTER_COALESCED_MMIO => this.bus.register_zone(arg).map(|()| 0),
            ioctl::UNREGISTER_COALESCED_MMIO => this.bus.unregister_zone(arg).map(|()| 0),
            ioctl::ARM_PREFERRED_TARGET => preferred_target(arg).map(|()| 0),
            ioctl::GET_STATS_FD => VmStatsFile::open(this.into()),
            ioctl::CHECK_EXTENSION => Ok(capabilities::check_extension(arg, &this.host)),
            _ => Err(EINVAL),
        }
    }

    fn mmap(_this: ArcBorrow<'_, Self>, _vma: &VmaNew) -> Result {
        Err(ENODEV)
    }

    fn release(this: ArcBorrow<'_, Self>) {
        // The irqfds hold references to the VM.
        this.irqfds.clear();
    }
}
