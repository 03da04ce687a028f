// SPDX-License-Identifier: GPL-2.0

//! Where things are in the guest's physical address space, and their interrupts.
//!
//! The places are those of kvmtool's mach-virt for 32-bit Arm: devices below 1 GiB with the
//! interrupt controller at the very end of that, memory from 2 GiB on.

/// The 16550A serial console.
pub(crate) const SERIAL_BASE: u64 = 0x0100_0000;
pub(crate) const SERIAL_SIZE: u64 = 0x8;
pub(crate) const SERIAL_SPI: u32 = 0;

/// The doorbell through which a payload reports (see `doorbell.rs`).
pub(crate) const DOORBELL_BASE: u64 = 0x0102_0000;
pub(crate) const DOORBELL_SIZE: u64 = 0x1000;
pub(crate) const DOORBELL_SPI: u32 = 8;

/// A device for payloads that is like memory.
pub(crate) const WINDOW_BASE: u64 = 0x0103_0000;
pub(crate) const WINDOW_SIZE: u64 = 0x2000;

/// Where eventfds are for stores of payloads that are measured.
pub(crate) const KICK_BASE: u64 = 0x0104_0000;
/// The interrupt by which the monitor wakes such a payload.
pub(crate) const WAKE_SPI: u32 = 32;

/// The virtio-mmio devices, one after the other.
pub(crate) const VIRTIO_BASE: u64 = 0x0200_0000;
pub(crate) const VIRTIO_SIZE: u64 = 0x200;
pub(crate) const VIRTIO_SPI: u32 = 4;

/// The GICv2: the CPU interface has its second page where a guest in HYP mode would look for it.
pub(crate) const GIC_CPU_BASE: u64 = 0x3ffd_0000;
pub(crate) const GIC_CPU_SIZE: u64 = 0x2000;
pub(crate) const GIC_DIST_BASE: u64 = 0x3fff_0000;
pub(crate) const GIC_DIST_SIZE: u64 = 0x1000;
/// Interrupt numbers at the distributor: 32 private ones and 96 shared ones.
pub(crate) const GIC_INTIDS: u32 = 128;
/// The first shared peripheral interrupt.
pub(crate) const FIRST_SPI: u32 = 32;
/// The interrupt of the performance monitors, a private one, as on QEMU's virt.
pub(crate) const PMU_INTID: u32 = 23;

pub(crate) const RAM_BASE: u64 = 0x8000_0000;
/// A second, small slot of payloads: neither its ends nor its size are aligned to more than a page.
pub(crate) const SMALL_BASE: u64 = 0x9810_1000;
pub(crate) const SMALL_SIZE: u64 = 0x3000;
/// A 32-bit process has no more address space than this to give away, nor the guest more room
/// above its memory's start.
pub(crate) const RAM_MAX_MIB: u64 = 2048 - 256;
/// Where a zImage wants to be (Documentation/arch/arm/booting.rst: 32 KiB into memory).
pub(crate) const KERNEL_OFFSET: u64 = 0x8000;
/// Initial RAM disk and device tree lie at the end of the memory's first part, which every kernel
/// has in its linear map, and which the decompressor does not reach.
pub(crate) const BOOT_DATA_LIMIT: u64 = 256 << 20;
pub(crate) const FDT_MAX_SIZE: u64 = 64 << 10;
