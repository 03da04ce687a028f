// SPDX-License-Identifier: GPL-2.0

//! Virtio: devices that share queues in memory with the guest's drivers.
//!
//! Queues and descriptor chains are `virtio-queue`'s; rust-vmm has published no crate for the MMIO
//! transport or the block device, so these are here.

pub(crate) mod block;
pub(crate) mod mmio;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

/// A kind of device, behind any transport.
pub(crate) trait VirtioDevice: Send {
    /// The device's type (virtio 1.2, section 5).
    fn id(&self) -> u32;
    /// The features that it offers, beside those of the transport.
    fn features(&self) -> u64;
    /// The size of each of its queues.
    fn queues(&self) -> &'static [u16];
    /// Reads its configuration.
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// Serves the requests of a queue, and returns whether the driver wants to know.
    fn process(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> bool;
}
