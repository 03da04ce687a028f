// SPDX-License-Identifier: GPL-2.0

//! The ABI: the numbers of all ioctls, and the structures that they take, on their way from user
//! space and back.

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use kvm_bindings as uapi;

/// The ioctls (`<linux/kvm.h>`).
pub(crate) mod ioctl {
    use kernel::ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    };
    use kvm_bindings as uapi;

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

/// A pointer that user space gave.
fn user_slice(address: usize, len: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(address), len)
}
