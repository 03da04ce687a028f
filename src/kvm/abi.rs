// SPDX-License-Identifier: GPL-2.0

//! The ABI: the numbers of all ioctls, their structures, and the copying of these structures from
//! user space and back.

use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
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
    pub(crate) const SET_GUEST_DEBUG: u32 = _IOW::<uapi::kvm_guest_debug>(KVMIO, 0x9b);
    /// The same with an empty `struct kvm_guest_debug_arch`.
    pub(crate) const SET_GUEST_DEBUG_WITHOUT_ARCH: u32 = _IOW::<u64>(KVMIO, 0x9b);
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

/// A structure of the ABI, or a number.
///
/// # Safety
///
/// All bytes are valid: the type consists of integers and of pointers of user space, which the
/// kernel takes for numbers. No byte is padding without a name: such a byte could leak other
/// memory.
pub(crate) unsafe trait UserStruct: Copy {}

macro_rules! user_structs {
    ($($type:ty),* $(,)?) => {
        $(
            // SAFETY: The structures of the ABI consist of integers, and name all their padding.
            unsafe impl UserStruct for $type {}
        )*
    };
}

user_structs!(
    u32,
    u64,
    uapi::kvm_userspace_memory_region,
    uapi::kvm_userspace_memory_region2,
    uapi::kvm_irq_level,
    uapi::kvm_irqfd,
    uapi::kvm_ioeventfd,
    uapi::kvm_irq_routing_entry,
    uapi::kvm_irq_routing_irqchip,
    uapi::kvm_coalesced_mmio_zone,
    uapi::kvm_arm_device_addr,
    uapi::kvm_enable_cap,
    uapi::kvm_one_reg,
    uapi::kvm_guest_debug,
    uapi::kvm_vcpu_events,
    uapi::kvm_vcpu_init,
    uapi::kvm_create_device,
    uapi::kvm_device_attr,
    uapi::kvm_dirty_log,
    uapi::kvm_clear_dirty_log,
);

/// The type of [`member!`].
pub(crate) fn is_user_struct<T: UserStruct>(value: T) -> T {
    value
}

/// Reads a member of a union in a structure of the ABI.
macro_rules! member {
    ($union:expr, $name:ident) => {
        // SAFETY: By the requirement of `UserStruct`, all bytes are valid for the member.
        $crate::kvm::abi::is_user_struct(unsafe { $union.$name })
    };
}

pub(crate) use member;

/// A structure in the form that the kernel crate copies.
#[repr(transparent)]
struct Bytes<T>(T);

// SAFETY: By the requirement of `UserStruct`, all bytes are valid.
unsafe impl<T: UserStruct> FromBytes for Bytes<T> {}
// SAFETY: By the requirement of `UserStruct`, there is no padding.
unsafe impl<T: UserStruct> AsBytes for Bytes<T> {}

/// Reads a structure from user memory.
pub(crate) fn read_user<T: UserStruct>(address: usize) -> Result<T> {
    let Bytes(value) = user_slice(address, size_of::<T>()).reader().read()?;
    Ok(value)
}

/// Writes a structure to user memory.
pub(crate) fn write_user<T: UserStruct>(address: usize, value: &T) -> Result {
    user_slice(address, size_of::<T>())
        .writer()
        .write(&Bytes(*value))
}

/// A pointer that user space gave.
fn user_slice(address: usize, len: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(address), len)
}
