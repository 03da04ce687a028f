// SPDX-License-Identifier: GPL-2.0

//! The MMIO bus: which device is behind an address.

use std::sync::{Arc, Mutex, PoisonError};

/// A device with registers. Offsets are from the start of its range.
pub(crate) trait MmioDevice: Send {
    fn read(&mut self, offset: u64, data: &mut [u8]);
    fn write(&mut self, offset: u64, data: &[u8]);
}

struct Slot {
    base: u64,
    size: u64,
    device: Arc<Mutex<dyn MmioDevice>>,
}

/// All devices of a machine.
#[derive(Default)]
pub(crate) struct Bus {
    slots: Vec<Slot>,
}

impl Bus {
    pub(crate) fn insert(&mut self, base: u64, size: u64, device: Arc<Mutex<dyn MmioDevice>>) {
        self.slots.push(Slot { base, size, device });
    }

    fn with(&self, address: u64, len: usize, f: impl FnOnce(&mut dyn MmioDevice, u64)) {
        for slot in &self.slots {
            let offset = address.wrapping_sub(slot.base);
            if offset < slot.size && slot.size - offset >= len as u64 {
                // A device that panicked in another thread is still a device.
                let mut device = slot.device.lock().unwrap_or_else(PoisonError::into_inner);
                return f(&mut *device, offset);
            }
        }
    }

    /// Reads; where nothing is, reads give zero and writes are lost, as with kvmtool.
    pub(crate) fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0);
        self.with(address, data.len(), |device, offset| {
            device.read(offset, data)
        });
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) {
        self.with(address, data.len(), |device, offset| {
            device.write(offset, data)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(u8);

    impl MmioDevice for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }
        fn write(&mut self, _: u64, data: &[u8]) {
            self.0 = data[0];
        }
    }

    #[test]
    fn finds_devices_and_survives_holes() {
        let mut bus = Bus::default();
        bus.insert(0x1000, 8, Arc::new(Mutex::new(Echo(1))));
        bus.insert(0x2000, 8, Arc::new(Mutex::new(Echo(2))));
        let mut data = [0xff; 4];
        bus.read(0x2004, &mut data);
        assert_eq!(data, [6; 4]);
        bus.write(0x1000, &[9]);
        bus.read(0x1000, &mut data[..1]);
        assert_eq!(data[0], 9);
        // A hole, and an access that sticks out of its device.
        for address in [0x1008, 0xfff, 0x1006] {
            bus.read(address, &mut data);
            assert_eq!(data, [0; 4]);
        }
    }
}
