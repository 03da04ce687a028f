// SPDX-License-Identifier: GPL-2.0

//! `/dev/kvm` itself, the numbers of all ioctls, and what this KVM can do.

use kernel::{
    ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use kvm_bindings as uapi;
use machine::cp15::Core;

use super::{
    host::Host,
    irqfd,
    vm::{
        user_slice,
        Vm, //
    },
};
use crate::glue::{
    file::{
        new_descriptor,
        FileObject,
        OpenableDevice, //
    },
    page::PAGE_SIZE,
};

/// The ioctls (`<linux/kvm.h>`).
pub(crate) mod ioctl {
    use super::*;

    const KVMIO: u32 = uapi::KVMIO;

    pub(crate) const GET_API_VERSION: u32 = _IO(KVMIO, 0x00);
    pub(crate) const CREATE_VM: u32 = _IO(KVMIO, 0x01);
    pub(crate) const CHECK_EXTENSION: u32 = _IO(KVMIO, 0x03);
    pub(crate) const GET_VCPU_MMAP_SIZE: u32 = _IO(KVMIO, 0x04);
    pub(crate) const CREATE_VCPU: u32 = _IO(KVMIO, 0x41);
    pub(crate) const GET_DIRTY_LOG: u32 = _IOW::<uapi::kvm_dirty_log>(KVMIO, 0x42);
    pub(crate) const SET_USER_MEMORY_REGION: u32 =
        _IOW::<uapi::kvm_userspace_memory_region>(KVMIO, 0x46);
    pub(crate) const SET_USER_MEMORY_REGION2: u32 =
        _IOW::<uapi::kvm_userspace_memory_region2>(KVMIO, 0x49);
    pub(crate) const CREATE_IRQCHIP: u32 = _IO(KVMIO, 0x60);
    pub(crate) const IRQ_LINE: u32 = _IOW::<uapi::kvm_irq_level>(KVMIO, 0x61);
    pub(crate) const IRQ_LINE_STATUS: u32 = _IOWR::<uapi::kvm_irq_level>(KVMIO, 0x67);
    pub(crate) const REGISTER_COALESCED_MMIO: u32 =
        _IOW::<uapi::kvm_coalesced_mmio_zone>(KVMIO, 0x67);
    pub(crate) const UNREGISTER_COALESCED_MMIO: u32 =
        _IOW::<uapi::kvm_coalesced_mmio_zone>(KVMIO, 0x68);
    pub(crate) const SET_GSI_ROUTING: u32 = _IOW::<uapi::kvm_irq_routing>(KVMIO, 0x6a);
    pub(crate) const IRQFD: u32 = _IOW::<uapi::kvm_irqfd>(KVMIO, 0x76);
    pub(crate) const IOEVENTFD: u32 = _IOW::<uapi::kvm_ioeventfd>(KVMIO, 0x79);
    pub(crate) const RUN: u32 = _IO(KVMIO, 0x80);
    pub(crate) const SET_SIGNAL_MASK: u32 = _IOW::<uapi::kvm_signal_mask>(KVMIO, 0x8b);
    pub(crate) const GET_MP_STATE: u32 = _IOR::<uapi::kvm_mp_state>(KVMIO, 0x98);
    pub(crate) const SET_MP_STATE: u32 = _IOW::<uapi::kvm_mp_state>(KVMIO, 0x99);
    pub(crate) const GET_VCPU_EVENTS: u32 = _IOR::<uapi::kvm_vcpu_events>(KVMIO, 0x9f);
    pub(crate) const SET_VCPU_EVENTS: u32 = _IOW::<uapi::kvm_vcpu_events>(KVMIO, 0xa0);
    pub(crate) const ENABLE_CAP: u32 = _IOW::<uapi::kvm_enable_cap>(KVMIO, 0xa3);
    pub(crate) const ARM_SET_DEVICE_ADDR: u32 = _IOW::<uapi::kvm_arm_device_addr>(KVMIO, 0xab);
    pub(crate) const GET_ONE_REG: u32 = _IOW::<uapi::kvm_one_reg>(KVMIO, 0xab);
    pub(crate) const SET_ONE_REG: u32 = _IOW::<uapi::kvm_one_reg>(KVMIO, 0xac);
    pub(crate) const ARM_VCPU_INIT: u32 = _IOW::<uapi::kvm_vcpu_init>(KVMIO, 0xae);
    pub(crate) const ARM_PREFERRED_TARGET: u32 = _IOR::<uapi::kvm_vcpu_init>(KVMIO, 0xaf);
    pub(crate) const GET_REG_LIST: u32 = _IOWR::<uapi::kvm_reg_list>(KVMIO, 0xb0);
    pub(crate) const CLEAR_DIRTY_LOG: u32 = _IOWR::<uapi::kvm_clear_dirty_log>(KVMIO, 0xc0);
    pub(crate) const GET_STATS_FD: u32 = _IO(KVMIO, 0xce);
    pub(crate) const CREATE_DEVICE: u32 = _IOWR::<uapi::kvm_create_device>(KVMIO, 0xe0);
    pub(crate) const SET_DEVICE_ATTR: u32 = _IOW::<uapi::kvm_device_attr>(KVMIO, 0xe1);
    pub(crate) const GET_DEVICE_ATTR: u32 = _IOW::<uapi::kvm_device_attr>(KVMIO, 0xe2);
    pub(crate) const HAS_DEVICE_ATTR: u32 = _IOW::<uapi::kvm_device_attr>(KVMIO, 0xe3);
}

/// A structure of the ABI: plain numbers, of which any bytes are a valid value.
///
/// # Safety
///
/// As it says, and without padding that could leak what was in it: all padding is named.
pub(crate) unsafe trait UserStruct: Copy {}

macro_rules! user_structs {
    ($($name:ident),* $(,)?) => {
        $(
            // SAFETY: Integers only, with their padding named, as all structures of the ABI.
            unsafe impl UserStruct for uapi::$name {}
        )*
    };
}

user_structs!(
    kvm_userspace_memory_region,
    kvm_userspace_memory_region2,
    kvm_irq_level,
    kvm_irqfd,
    kvm_ioeventfd,
    kvm_irq_routing_entry,
    kvm_coalesced_mmio_zone,
    kvm_arm_device_addr,
    kvm_enable_cap,
    kvm_one_reg,
    kvm_vcpu_events,
    kvm_vcpu_init,
    kvm_create_device,
    kvm_device_attr,
);
// SAFETY: Integers, and a pointer for user space, which the kernel only takes for a number.
unsafe impl UserStruct for uapi::kvm_dirty_log {}
// SAFETY: As above.
unsafe impl UserStruct for uapi::kvm_clear_dirty_log {}
// SAFETY: Integers.
unsafe impl UserStruct for u32 {}
// SAFETY: Integers.
unsafe impl UserStruct for u64 {}

/// Reads a structure from user memory.
pub(crate) fn read_user<T: UserStruct>(address: usize) -> Result<T> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    let len = core::mem::size_of::<T>();
    // SAFETY: The bytes of `value`, which are initialised.
    let bytes = unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), len) };
    user_slice(address, len).reader().read_slice(bytes)?;
    // SAFETY: Any bytes are a valid `T`.
    Ok(unsafe { value.assume_init() })
}

/// Writes a structure to user memory.
pub(crate) fn write_user<T: UserStruct>(address: usize, value: &T) -> Result {
    let len = core::mem::size_of::<T>();
    // SAFETY: The bytes of `value`, all of which are initialised, as padding is named.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *value).cast::<u8>(), len) };
    user_slice(address, len).writer().write_slice(bytes)
}

/// The target of KVM_ARM_VCPU_INIT that is this machine's core.
pub(crate) fn target(host: &Host) -> u32 {
    match host.lowvisor.core() {
        Core::CortexA15 => uapi::KVM_ARM_TARGET_CORTEX_A15,
        Core::CortexA7 => uapi::KVM_ARM_TARGET_CORTEX_A7,
    }
}

/// KVM_CHECK_EXTENSION.
pub(crate) fn check_extension(capability: usize, host: &Host) -> isize {
    match capability as u32 {
        uapi::KVM_CAP_USER_MEMORY
        | uapi::KVM_CAP_DESTROY_MEMORY_REGION_WORKS
        | uapi::KVM_CAP_JOIN_MEMORY_REGIONS_WORKS
        | uapi::KVM_CAP_SYNC_MMU
        | uapi::KVM_CAP_IRQCHIP
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
        uapi::KVM_CAP_ARM_USER_IRQ => 1,
        uapi::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 => {
            crate::mem::address_space::MANUAL_PROTECT_OPTIONS as isize
        }
        uapi::KVM_CAP_IRQ_ROUTING => irqfd::MAX_ROUTES as isize,
        // Where the ring is in a vCPU's mapping, in pages.
        uapi::KVM_CAP_COALESCED_MMIO => uapi::KVM_COALESCED_MMIO_PAGE_OFFSET as isize,
        uapi::KVM_CAP_NR_VCPUS => {
            (crate::glue::cpu::possible_cpus().count()).min(host.max_vcpus) as isize
        }
        uapi::KVM_CAP_MAX_VCPUS | uapi::KVM_CAP_MAX_VCPU_ID => host.max_vcpus as isize,
        uapi::KVM_CAP_NR_MEMSLOTS => crate::mem::slots::MAX_SLOTS as isize,
        _ => 0,
    }
}

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

impl FileObject for System {
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            ioctl::GET_API_VERSION if arg == 0 => Ok(uapi::KVM_API_VERSION as isize),
            // The type is the IPA size on arm64; here it must be zero.
            ioctl::CREATE_VM if arg == 0 => new_descriptor(c"kvm-vm", Vm::new(&this.host)?),
            ioctl::GET_VCPU_MMAP_SIZE if arg == 0 => Ok(2 * PAGE_SIZE as isize),
            ioctl::GET_API_VERSION | ioctl::CREATE_VM | ioctl::GET_VCPU_MMAP_SIZE => Err(EINVAL),
            ioctl::CHECK_EXTENSION => Ok(check_extension(arg, &this.host)),
            _ => Err(EINVAL),
        }
    }
}
