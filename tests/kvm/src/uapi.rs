// SPDX-License-Identifier: GPL-2.0

//! Structures and numbers of `<linux/kvm.h>` and of `include/uapi/asm/kvm.h`.
//!
//! The layouts are those of the 32-bit Arm procedure call standard: 64-bit fields are aligned to
//! eight bytes. The assertions at the end compare them with the results of the kernel's headers.
//! Those headers also explain the names without documentation here.

#![allow(missing_docs)]

use vmm_sys_util::{ioctl_io_nr, ioctl_ioc_nr, ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

/// The `type` of all ioctls of KVM.
pub const KVMIO: u32 = 0xae;
/// The answer of KVM_GET_API_VERSION, for ever.
pub const API_VERSION: i32 = 12;

// Capabilities.
pub const CAP_IRQCHIP: u32 = 0;
pub const CAP_USER_MEMORY: u32 = 3;
pub const CAP_NR_VCPUS: u32 = 9;
pub const CAP_NR_MEMSLOTS: u32 = 10;
pub const CAP_SYNC_MMU: u32 = 16;
pub const CAP_MAX_VCPUS: u32 = 66;
pub const CAP_ONE_REG: u32 = 70;
pub const CAP_READONLY_MEM: u32 = 81;
pub const CAP_ARM_PSCI: u32 = 87;
pub const CAP_ARM_SET_DEVICE_ADDR: u32 = 88;
pub const CAP_DEVICE_CTRL: u32 = 89;
pub const CAP_ARM_PSCI_0_2: u32 = 102;
pub const CAP_ENABLE_CAP_VM: u32 = 98;
pub const CAP_ARM_PMU_V3: u32 = 126;
pub const CAP_VCPU_ATTRIBUTES: u32 = 127;
pub const CAP_IMMEDIATE_EXIT: u32 = 136;
pub const CAP_HALT_POLL: u32 = 182;
pub const CAP_COALESCED_MMIO: u32 = 15;
pub const CAP_IRQ_ROUTING: u32 = 25;
pub const CAP_IRQFD: u32 = 32;
pub const CAP_IOEVENTFD: u32 = 36;
pub const CAP_IRQFD_RESAMPLE: u32 = 82;
pub const CAP_IOEVENTFD_ANY_LENGTH: u32 = 122;
pub const CAP_ARM_NISV_TO_USER: u32 = 177;
pub const CAP_PTP_KVM: u32 = 198;
pub const CAP_SYSTEM_EVENT_DATA: u32 = 215;
pub const CAP_ARM_SYSTEM_SUSPEND: u32 = 216;
pub const CAP_MANUAL_DIRTY_LOG_PROTECT2: u32 = 168;
pub const CAP_USER_MEMORY2: u32 = 231;
pub const CAP_MEMORY_FAULT_INFO: u32 = 232;
pub const CAP_BINARY_STATS_FD: u32 = 203;
pub const CAP_SET_GUEST_DEBUG: u32 = 23;
pub const CAP_GUEST_DEBUG_HW_BPS: u32 = 119;
pub const CAP_GUEST_DEBUG_HW_WPS: u32 = 120;

// Reasons for a return of KVM_RUN.
pub const EXIT_UNKNOWN: u32 = 0;
pub const EXIT_EXCEPTION: u32 = 1;
pub const EXIT_DEBUG: u32 = 4;
pub const EXIT_MMIO: u32 = 6;
pub const EXIT_SHUTDOWN: u32 = 8;
pub const EXIT_FAIL_ENTRY: u32 = 9;
/// Its reason if the CPU is of another core than the vCPU.
pub const FAIL_ENTRY_CPU_UNSUPPORTED: u64 = 1;
pub const EXIT_INTR: u32 = 10;
pub const EXIT_INTERNAL_ERROR: u32 = 17;
pub const EXIT_SYSTEM_EVENT: u32 = 24;
pub const EXIT_ARM_NISV: u32 = 28;
pub const EXIT_MEMORY_FAULT: u32 = 39;

pub const SYSTEM_EVENT_SHUTDOWN: u32 = 1;
pub const SYSTEM_EVENT_RESET: u32 = 2;
pub const SYSTEM_EVENT_CRASH: u32 = 3;
pub const SYSTEM_EVENT_WAKEUP: u32 = 4;
pub const SYSTEM_EVENT_SUSPEND: u32 = 5;

// Flags of a memory slot.
pub const MEM_LOG_DIRTY_PAGES: u32 = 1;
pub const MEM_READONLY: u32 = 2;
pub const MEM_GUEST_MEMFD: u32 = 4;

// Options of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.
pub const DIRTY_LOG_MANUAL_PROTECT_ENABLE: u64 = 1;
pub const DIRTY_LOG_INITIALLY_SET: u64 = 2;

// KVM_ARM_VCPU_INIT.
pub const TARGET_CORTEX_A15: u32 = 0;
pub const TARGET_CORTEX_A7: u32 = 1;
pub const TARGET_GENERIC_V7: u32 = 2;
pub const VCPU_POWER_OFF: u32 = 0;
pub const VCPU_PSCI_0_2: u32 = 1;
pub const VCPU_PMU_V3: u32 = 3;

// Devices.
pub const DEV_TYPE_VFIO: u32 = 4;
pub const DEV_VFIO_FILE: u32 = 1;
pub const DEV_VFIO_FILE_ADD: u64 = 1;
pub const DEV_VFIO_FILE_DEL: u64 = 2;
pub const DEV_TYPE_ARM_VGIC_V2: u32 = 5;
pub const CREATE_DEVICE_TEST: u32 = 1;
pub const VGIC_GRP_ADDR: u32 = 0;
pub const VGIC_GRP_DIST_REGS: u32 = 1;
pub const VGIC_GRP_CPU_REGS: u32 = 2;
pub const VGIC_GRP_NR_IRQS: u32 = 3;
pub const VGIC_GRP_CTRL: u32 = 4;
/// The CPU in an attribute that names a register.
pub const VGIC_CPUID_SHIFT: u32 = 32;
pub const VGIC_CTRL_INIT: u64 = 0;
pub const VGIC_V2_ADDR_TYPE_DIST: u64 = 0;
pub const VGIC_V2_ADDR_TYPE_CPU: u64 = 1;
/// The id of KVM_ARM_SET_DEVICE_ADDR: which device, above which of its addresses.
pub const ARM_DEVICE_ID_SHIFT: u32 = 16;

// Attributes of a vCPU.
pub const VCPU_PMU_V3_CTRL: u32 = 0;
pub const VCPU_PMU_V3_IRQ: u64 = 0;
pub const VCPU_PMU_V3_INIT: u64 = 1;
pub const VCPU_TIMER_CTRL: u32 = 1;
pub const VCPU_TIMER_IRQ_VTIMER: u64 = 0;
pub const VCPU_TIMER_IRQ_PTIMER: u64 = 1;

// The bits of device_irq_level.
pub const DEV_EL1_VTIMER: u64 = 1 << 0;
pub const DEV_EL1_PTIMER: u64 = 1 << 1;
pub const DEV_PMU: u64 = 1 << 2;

// KVM_IRQ_LINE.
pub const IRQ_TYPE_SHIFT: u32 = 24;
pub const IRQ_VCPU_SHIFT: u32 = 16;
pub const IRQ_TYPE_CPU: u32 = 0;
pub const IRQ_TYPE_SPI: u32 = 1;
pub const IRQ_TYPE_PPI: u32 = 2;

// Register ids.
pub const REG_ARM: u64 = 0x4000_0000_0000_0000;
pub const REG_SIZE_U32: u64 = 0x0020_0000_0000_0000;
pub const REG_SIZE_U64: u64 = 0x0030_0000_0000_0000;
pub const REG_SIZE_MASK: u64 = 0x00f0_0000_0000_0000;
pub const REG_ARM_CORE: u64 = 0x10 << 16;

/// The id of a core register: its place in [`kvm_regs`](Regs), in words.
pub const fn core_reg(word: u64) -> u64 {
    REG_ARM | REG_SIZE_U32 | REG_ARM_CORE | word
}

/// The id of a 32-bit CP15 register.
pub const fn cp15_reg(opc1: u64, crn: u64, crm: u64, opc2: u64) -> u64 {
    REG_ARM | REG_SIZE_U32 | (15 << 16) | (opc1 << 3) | (crn << 11) | (crm << 7) | opc2
}

/// The id of a debug register (CP14).
pub const fn cp14_reg(crn: u64, crm: u64, opc2: u64) -> u64 {
    REG_ARM | REG_SIZE_U32 | (14 << 16) | (crn << 11) | (crm << 7) | opc2
}

/// The id of a 64-bit CP15 register.
pub const fn cp15_reg64(opc1: u64, crm: u64) -> u64 {
    REG_ARM | REG_SIZE_U64 | (15 << 16) | (opc1 << 3) | (crm << 7)
}

/// The id of CCSIDR for a value of CSSELR.
pub const fn ccsidr_reg(csselr: u64) -> u64 {
    REG_ARM | REG_SIZE_U32 | (0x11 << 16) | csselr
}

/// The id of D0 to D31.
pub const fn vfp_double(n: u64) -> u64 {
    REG_ARM | REG_SIZE_U64 | (0x12 << 16) | n
}

/// The id of a system register of the VFP.
pub const fn vfp_system(number: u64) -> u64 {
    REG_ARM | REG_SIZE_U32 | (0x12 << 16) | number
}

pub const VFP_FPSID: u64 = 0x1000;
pub const VFP_FPSCR: u64 = 0x1001;
pub const VFP_MVFR1: u64 = 0x1006;
pub const VFP_MVFR0: u64 = 0x1007;
pub const VFP_FPEXC: u64 = 0x1008;
pub const VFP_FPINST: u64 = 0x1009;
pub const VFP_FPINST2: u64 = 0x100a;

pub const TIMER_CTL: u64 = cp15_reg(0, 14, 3, 1);
pub const TIMER_CNT: u64 = cp15_reg64(1, 14);
pub const TIMER_CVAL: u64 = cp15_reg64(3, 14);
pub const PTIMER_CTL: u64 = cp15_reg(0, 14, 2, 1);
pub const PTIMER_CNT: u64 = cp15_reg64(0, 14);
pub const PTIMER_CVAL: u64 = cp15_reg64(2, 14);

pub const MP_STATE_RUNNABLE: u32 = 0;
pub const MP_STATE_STOPPED: u32 = 5;
pub const MP_STATE_SUSPENDED: u32 = 10;

/// The program counter among the core registers.
pub const CORE_PC: u64 = 15;
/// The program status register among the core registers.
pub const CORE_CPSR: u64 = 16;

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UserspaceMemoryRegion {
    pub slot: u32,
    pub flags: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub userspace_addr: u64,
}

/// `struct kvm_userspace_memory_region2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UserspaceMemoryRegion2 {
    pub region: UserspaceMemoryRegion,
    pub guest_memfd_offset: u64,
    pub guest_memfd: u32,
    pub padding1: u32,
    pub padding2: [u64; 14],
}

/// `struct kvm_dirty_log`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DirtyLog {
    pub slot: u32,
    pub padding: u32,
    pub bitmap: u64,
}

/// `struct kvm_clear_dirty_log`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ClearDirtyLog {
    pub slot: u32,
    pub num_pages: u32,
    pub first_page: u64,
    pub bitmap: u64,
}

/// `struct kvm_enable_cap`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EnableCap {
    pub cap: u32,
    pub flags: u32,
    pub args: [u64; 4],
    pub padding: [u8; 64],
}

/// `struct kvm_vcpu_init`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VcpuInit {
    pub target: u32,
    pub features: [u32; 7],
}

/// `struct kvm_one_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OneReg {
    pub id: u64,
    pub addr: u64,
}

/// `struct kvm_irq_level`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IrqLevel {
    pub irq: u32,
    pub level: u32,
}

/// `struct kvm_irqfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Irqfd {
    pub fd: u32,
    pub gsi: u32,
    pub flags: u32,
    pub resamplefd: u32,
    pub pad: [u8; 16],
}

pub const IRQFD_DEASSIGN: u32 = 1;
pub const IRQFD_RESAMPLE: u32 = 2;

/// `struct kvm_ioeventfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IoEventFd {
    pub datamatch: u64,
    pub addr: u64,
    pub len: u32,
    pub fd: i32,
    pub flags: u32,
    pub pad: [u32; 9],
}

pub const IOEVENTFD_DATAMATCH: u32 = 1;
pub const IOEVENTFD_PIO: u32 = 2;
pub const IOEVENTFD_DEASSIGN: u32 = 4;

/// `struct kvm_irq_routing_entry` for a pin of an interrupt controller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IrqRoutingEntry {
    pub gsi: u32,
    pub kind: u32,
    pub flags: u32,
    pub pad: u32,
    pub irqchip: u32,
    pub pin: u32,
    pub rest: [u32; 6],
}

pub const IRQ_ROUTING_IRQCHIP: u32 = 1;
pub const IRQ_ROUTING_MSI: u32 = 2;

/// `struct kvm_irq_routing` with some entries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IrqRouting {
    pub nr: u32,
    pub flags: u32,
    pub entries: [IrqRoutingEntry; 4],
}

/// `struct kvm_coalesced_mmio_zone`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CoalescedZone {
    pub addr: u64,
    pub size: u32,
    pub pio: u32,
}

/// `struct kvm_create_device`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateDevice {
    pub device_type: u32,
    pub fd: u32,
    pub flags: u32,
}

/// `struct kvm_device_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceAttr {
    pub flags: u32,
    pub group: u32,
    pub attr: u64,
    pub addr: u64,
}

/// `struct kvm_arm_device_addr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ArmDeviceAddr {
    pub id: u64,
    pub addr: u64,
}

/// `struct kvm_regs`: the core registers in the order of their ids.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Regs {
    /// r0 to r15, CPSR and the unused ORIG_r0 of `struct pt_regs`.
    pub usr: [u32; 18],
    pub svc: [u32; 3],
    pub abt: [u32; 3],
    pub und: [u32; 3],
    pub irq: [u32; 3],
    pub fiq: [u32; 8],
}

/// `struct kvm_signal_mask` with its set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalMask {
    pub len: u32,
    /// The two words of the kernel's set.
    pub set: [u32; 2],
}

/// Flags of [`GuestDebug`].
pub const GUESTDBG_ENABLE: u32 = 1;
pub const GUESTDBG_SINGLESTEP: u32 = 2;
pub const GUESTDBG_USE_SW_BP: u32 = 1 << 16;
pub const GUESTDBG_USE_HW: u32 = 1 << 17;

/// `struct kvm_guest_debug`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestDebug {
    pub control: u32,
    pub pad: u32,
    pub bcr: [u64; 16],
    pub bvr: [u64; 16],
    pub wcr: [u64; 16],
    pub wvr: [u64; 16],
}

/// The `debug` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DebugExit {
    pub hsr: u32,
    pub hsr_high: u32,
    pub far: u64,
}

/// `struct kvm_vcpu_events`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VcpuEvents {
    pub serror_pending: u8,
    pub serror_has_esr: u8,
    pub ext_dabt_pending: u8,
    pub pad: [u8; 5],
    pub serror_esr: u64,
    pub reserved: [u32; 12],
}

/// The `mmio` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    pub phys_addr: u64,
    pub data: [u8; 8],
    pub len: u32,
    pub is_write: u8,
}

/// The `fail_entry` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FailEntry {
    pub reason: u64,
    pub cpu: u32,
}

/// The `internal` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Internal {
    pub suberror: u32,
    pub ndata: u32,
    pub data: [u64; 16],
}

/// The `system_event` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SystemEvent {
    pub event: u32,
    pub ndata: u32,
    pub data: [u64; 16],
}

/// The `arm_nisv` part of [`Run`]: an access that gave no syndrome.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArmNisv {
    pub esr_iss: u64,
    pub fault_ipa: u64,
}

/// The `memory_fault` part of [`Run`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemoryFault {
    pub flags: u64,
    pub gpa: u64,
    pub size: u64,
}

/// The part of the page that belongs to the reason for an exit.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ExitData {
    pub mmio: Mmio,
    pub fail_entry: FailEntry,
    pub internal: Internal,
    pub system_event: SystemEvent,
    pub arm_nisv: ArmNisv,
    pub memory_fault: MemoryFault,
    pub debug: DebugExit,
    padding: [u8; 256],
}

/// `struct kvm_run`, the page that a program shares with the vCPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Run {
    pub request_interrupt_window: u8,
    pub immediate_exit: u8,
    padding: [u8; 6],
    pub exit_reason: u32,
    pub ready_for_interrupt_injection: u8,
    pub if_flag: u8,
    pub flags: u16,
    pub cr8: u64,
    pub apic_base: u64,
    pub exit: ExitData,
    pub kvm_valid_regs: u64,
    pub kvm_dirty_regs: u64,
    pub sync_regs: [u8; 2048],
}

ioctl_io_nr!(GET_API_VERSION, KVMIO, 0x00);
ioctl_io_nr!(CREATE_VM, KVMIO, 0x01);
ioctl_io_nr!(CHECK_EXTENSION, KVMIO, 0x03);
ioctl_io_nr!(GET_VCPU_MMAP_SIZE, KVMIO, 0x04);
ioctl_io_nr!(CREATE_VCPU, KVMIO, 0x41);
ioctl_iow_nr!(GET_DIRTY_LOG, KVMIO, 0x42, DirtyLog);
ioctl_iow_nr!(SET_USER_MEMORY_REGION, KVMIO, 0x46, UserspaceMemoryRegion);
ioctl_iow_nr!(SET_USER_MEMORY_REGION2, KVMIO, 0x49, UserspaceMemoryRegion2);
ioctl_io_nr!(CREATE_IRQCHIP, KVMIO, 0x60);
ioctl_iow_nr!(IRQ_LINE, KVMIO, 0x61, IrqLevel);
ioctl_iowr_nr!(IRQ_LINE_STATUS, KVMIO, 0x67, IrqLevel);
ioctl_iow_nr!(REGISTER_COALESCED_MMIO, KVMIO, 0x67, CoalescedZone);
ioctl_iow_nr!(UNREGISTER_COALESCED_MMIO, KVMIO, 0x68, CoalescedZone);
// The structure's head: the entries follow it.
ioctl_iow_nr!(SET_GSI_ROUTING, KVMIO, 0x6a, u64);
ioctl_iow_nr!(IRQFD, KVMIO, 0x76, Irqfd);
ioctl_iow_nr!(IOEVENTFD, KVMIO, 0x79, IoEventFd);
ioctl_io_nr!(RUN, KVMIO, 0x80);
// The structure's head: the set follows it.
ioctl_iow_nr!(SET_SIGNAL_MASK, KVMIO, 0x8b, u32);
ioctl_ior_nr!(GET_MP_STATE, KVMIO, 0x98, u32);
ioctl_iow_nr!(SET_MP_STATE, KVMIO, 0x99, u32);
ioctl_iow_nr!(SET_GUEST_DEBUG, KVMIO, 0x9b, GuestDebug);
ioctl_iow_nr!(SET_GUEST_DEBUG_WITHOUT_ARCH, KVMIO, 0x9b, u64);
ioctl_ior_nr!(GET_VCPU_EVENTS, KVMIO, 0x9f, VcpuEvents);
ioctl_iow_nr!(SET_VCPU_EVENTS, KVMIO, 0xa0, VcpuEvents);
ioctl_iow_nr!(ENABLE_CAP, KVMIO, 0xa3, EnableCap);
ioctl_iow_nr!(ARM_SET_DEVICE_ADDR, KVMIO, 0xab, ArmDeviceAddr);
ioctl_iow_nr!(GET_ONE_REG, KVMIO, 0xab, OneReg);
ioctl_iow_nr!(SET_ONE_REG, KVMIO, 0xac, OneReg);
ioctl_iow_nr!(ARM_VCPU_INIT, KVMIO, 0xae, VcpuInit);
ioctl_ior_nr!(ARM_PREFERRED_TARGET, KVMIO, 0xaf, VcpuInit);
// The structure's head: the list of ids follows it.
ioctl_iowr_nr!(GET_REG_LIST, KVMIO, 0xb0, u64);
ioctl_iowr_nr!(CLEAR_DIRTY_LOG, KVMIO, 0xc0, ClearDirtyLog);
ioctl_io_nr!(GET_STATS_FD, KVMIO, 0xce);
ioctl_iowr_nr!(CREATE_DEVICE, KVMIO, 0xe0, CreateDevice);
ioctl_iow_nr!(SET_DEVICE_ATTR, KVMIO, 0xe1, DeviceAttr);
ioctl_iow_nr!(GET_DEVICE_ATTR, KVMIO, 0xe2, DeviceAttr);
ioctl_iow_nr!(HAS_DEVICE_ATTR, KVMIO, 0xe3, DeviceAttr);

const _: () = {
    use std::mem::{offset_of, size_of};

    assert!(size_of::<UserspaceMemoryRegion>() == 32);
    assert!(size_of::<UserspaceMemoryRegion2>() == 160);
    assert!(size_of::<DirtyLog>() == 16);
    assert!(size_of::<ClearDirtyLog>() == 24);
    assert!(size_of::<EnableCap>() == 104);
    assert!(size_of::<Irqfd>() == 32);
    assert!(size_of::<IoEventFd>() == 64);
    assert!(size_of::<IrqRoutingEntry>() == 48);
    assert!(size_of::<CoalescedZone>() == 16);
    assert!(size_of::<VcpuInit>() == 32);
    assert!(size_of::<OneReg>() == 16);
    assert!(size_of::<VcpuEvents>() == 64);
    assert!(size_of::<SignalMask>() == 12);
    assert!(size_of::<GuestDebug>() == 520);
    assert!(size_of::<DebugExit>() == 16);
    assert!(size_of::<IrqLevel>() == 8);
    assert!(size_of::<CreateDevice>() == 12);
    assert!(size_of::<DeviceAttr>() == 24);
    assert!(size_of::<ArmDeviceAddr>() == 16);
    assert!(size_of::<Regs>() == 38 * 4);
    assert!(size_of::<ExitData>() == 256);
    assert!(offset_of!(Run, immediate_exit) == 1);
    assert!(offset_of!(Run, exit_reason) == 8);
    assert!(offset_of!(Run, cr8) == 16);
    assert!(offset_of!(Run, exit) == 32);
    assert!(offset_of!(Run, kvm_valid_regs) == 288);
    assert!(offset_of!(Run, sync_regs) == 304);
    assert!(size_of::<Run>() == 2352);
    assert!(offset_of!(Mmio, data) == 8);
    assert!(offset_of!(Mmio, len) == 16);
    assert!(offset_of!(Mmio, is_write) == 20);
    assert!(offset_of!(SystemEvent, data) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as a C program that includes `<linux/kvm.h>` prints them.
    #[test]
    fn ioctl_numbers() {
        assert_eq!(GET_API_VERSION() as u32, 0xae00);
        assert_eq!(SET_USER_MEMORY_REGION() as u32, 0x4020_ae46);
        assert_eq!(RUN() as u32, 0xae80);
        assert_eq!(SET_GUEST_DEBUG() as u32, 0x4208_ae9b);
        assert_eq!(SET_GUEST_DEBUG_WITHOUT_ARCH() as u32, 0x4008_ae9b);
        assert_eq!(GET_ONE_REG() as u32, 0x4010_aeab);
        assert_eq!(ARM_VCPU_INIT() as u32, 0x4020_aeae);
        assert_eq!(ARM_PREFERRED_TARGET() as u32, 0x8020_aeaf);
        assert_eq!(GET_REG_LIST() as u32, 0xc008_aeb0);
        assert_eq!(CREATE_DEVICE() as u32, 0xc00c_aee0);
        assert_eq!(SET_DEVICE_ATTR() as u32, 0x4018_aee1);
    }

    #[test]
    fn register_ids() {
        assert_eq!(core_reg(CORE_PC), 0x4020_0000_0010_000f);
        // MIDR and TTBR0.
        assert_eq!(cp15_reg(0, 0, 0, 0), 0x4020_0000_000f_0000);
        assert_eq!(cp15_reg(0, 2, 0, 0), 0x4020_0000_000f_1000);
    }
}
