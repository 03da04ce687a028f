// SPDX-License-Identifier: GPL-2.0

//! The MMIO transport (virtio 1.2, section 4.2), with a level-triggered interrupt.

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_FAILED, VIRTIO_F_VERSION_1};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::VirtioDevice;
use crate::bus::MmioDevice;
use crate::vm::Lines;

// Registers.
const MAGIC_VALUE: u64 = 0x000;
const VERSION: u64 = 0x004;
const DEVICE_ID: u64 = 0x008;
const VENDOR_ID: u64 = 0x00c;
const DEVICE_FEATURES: u64 = 0x010;
const DEVICE_FEATURES_SEL: u64 = 0x014;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const QUEUE_SEL: u64 = 0x030;
const QUEUE_NUM_MAX: u64 = 0x034;
const QUEUE_NUM: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACK: u64 = 0x064;
const STATUS: u64 = 0x070;
const QUEUE_DESC_LOW: u64 = 0x080;
const QUEUE_DESC_HIGH: u64 = 0x084;
const QUEUE_DRIVER_LOW: u64 = 0x090;
const QUEUE_DRIVER_HIGH: u64 = 0x094;
const QUEUE_DEVICE_LOW: u64 = 0x0a0;
const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
const CONFIG_GENERATION: u64 = 0x0fc;
const CONFIG: u64 = 0x100;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// Bit of the interrupt status: a queue has used buffers.
const USED_BUFFER: u32 = 1;

/// The interrupt line of a device.
pub(crate) struct Line {
    pub lines: Arc<Lines>,
    pub intid: u32,
}

/// A device behind the MMIO transport.
pub(crate) struct MmioTransport<D> {
    device: D,
    memory: GuestMemoryMmap,
    queues: Vec<Queue>,
    /// Wakes the thread that serves the queues.
    notify: Arc<EventFd>,
    line: Line,
    features_select: u32,
    driver_features: u64,
    driver_features_select: u32,
    queue_select: u32,
    interrupt_status: u32,
    status: u32,
}

impl<D: VirtioDevice> MmioTransport<D> {
    pub(crate) fn new(
        device: D,
        memory: GuestMemoryMmap,
        notify: Arc<EventFd>,
        line: Line,
    ) -> Result<Self, virtio_queue::Error> {
        let queues = device
            .queues()
            .iter()
            .map(|&size| Queue::new(size))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            device,
            memory,
            queues,
            notify,
            line,
            features_select: 0,
            driver_features: 0,
            driver_features_select: 0,
            queue_select: 0,
            interrupt_status: 0,
            status: 0,
        })
    }

    fn features(&self) -> u64 {
        self.device.features() | (1 << VIRTIO_F_VERSION_1)
    }

    /// Serves all queues. This is the task of the thread behind `notify`.
    pub(crate) fn process(&mut self) -> io::Result<()> {
        let mut tell = false;
        for queue in self.queues.iter_mut().filter(|queue| queue.ready()) {
            tell |= self.device.process(queue, &self.memory);
        }
        if tell {
            self.set_interrupt_status(self.interrupt_status | USED_BUFFER)?;
        }
        Ok(())
    }

    fn set_interrupt_status(&mut self, status: u32) -> io::Result<()> {
        let was = std::mem::replace(&mut self.interrupt_status, status);
        if (was != 0) != (status != 0) {
            self.line.lines.set(self.line.intid, status != 0)?;
        }
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        for queue in &mut self.queues {
            queue.reset();
        }
        self.driver_features = 0;
        self.queue_select = 0;
        self.status = 0;
        self.set_interrupt_status(0)
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.queue_select as usize)
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        match offset {
            MAGIC_VALUE => MAGIC,
            VERSION => 2,
            DEVICE_ID => self.device.id(),
            VENDOR_ID => 0,
            DEVICE_FEATURES => match self.features_select {
                0 => self.features() as u32,
                1 => (self.features() >> 32) as u32,
                _ => 0,
            },
            QUEUE_NUM_MAX => self.queue().map_or(0, |queue| queue.max_size().into()),
            QUEUE_READY => self.queue().is_some_and(|queue| queue.ready()).into(),
            INTERRUPT_STATUS => self.interrupt_status,
            STATUS => self.status,
            CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) -> io::Result<()> {
        match offset {
            DEVICE_FEATURES_SEL => self.features_select = value,
            DRIVER_FEATURES_SEL => self.driver_features_select = value,
            DRIVER_FEATURES => {
                let (shift, offered) = match self.driver_features_select {
                    0 => (0, self.features() as u32),
                    1 => (32, (self.features() >> 32) as u32),
                    _ => return Ok(()),
                };
                let kept = self.driver_features & !(u64::from(u32::MAX) << shift);
                self.driver_features = kept | (u64::from(value & offered) << shift);
            }
            QUEUE_SEL => self.queue_select = value,
            QUEUE_NOTIFY => self.notify.write(1)?,
            INTERRUPT_ACK => self.set_interrupt_status(self.interrupt_status & !value)?,
            STATUS if value == 0 => self.reset()?,
            STATUS => self.status = value,
            _ => self.write_queue_register(offset, value),
        }
        Ok(())
    }

    fn write_queue_register(&mut self, offset: u64, value: u32) {
        let memory = self.memory.clone();
        let mut failed = false;
        if let Some(queue) = self.queue() {
            match offset {
                QUEUE_NUM => match u16::try_from(value) {
                    Ok(size) => queue.set_size(size),
                    Err(_) => failed = true,
                },
                QUEUE_READY => {
                    queue.set_ready(value == 1);
                    failed = value == 1 && !queue.is_valid(&memory);
                }
                QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
                QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
                QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
                QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
                QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
                QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
                _ => {}
            }
            if failed {
                queue.set_ready(false);
            }
        }
        if failed {
            self.status |= VIRTIO_CONFIG_S_FAILED;
        }
    }
}

impl<D: VirtioDevice> MmioDevice for MmioTransport<D> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if offset >= CONFIG {
            self.device.read_config(offset - CONFIG, data);
        } else if data.len() == 4 {
            data.copy_from_slice(&self.read_register(offset).to_le_bytes());
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Ok(bytes) = data.try_into() {
            if offset < CONFIG
                && self
                    .write_register(offset, u32::from_le_bytes(bytes))
                    .is_err()
            {
                self.status |= VIRTIO_CONFIG_S_FAILED;
            }
        }
    }
}
