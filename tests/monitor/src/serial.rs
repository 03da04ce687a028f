// SPDX-License-Identifier: GPL-2.0

//! The serial console: a 16550A whose output is our standard output.

use std::io;
use std::sync::Arc;

use vm_superio::serial::SerialEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::MmioDevice;
use crate::layout;
use crate::output::Sink;
use crate::vm::Lines;

/// The serial port's interrupt: vm-superio says when there is a new reason for one, not when the
/// last is gone, so the line is edge-triggered, and gets a pulse.
pub(crate) struct Pulse {
    lines: Arc<Lines>,
    intid: u32,
}

impl Trigger for Pulse {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.lines.set(self.intid, true)?;
        self.lines.set(self.intid, false)
    }
}

/// Tells the console when the guest has read all input.
pub(crate) struct Events {
    drained: Arc<EventFd>,
}

impl SerialEvents for Events {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        // The counter of an event does not overflow by ones.
        let _ = self.drained.write(1);
    }
}

/// The serial port.
pub(crate) struct SerialPort {
    uart: Serial<Pulse, Events, Sink>,
}

impl SerialPort {
    /// Makes the port. `drained` is signalled when the guest has read all input.
    pub(crate) fn new(lines: Arc<Lines>, drained: Arc<EventFd>, output: Sink) -> Self {
        let pulse = Pulse {
            lines,
            intid: layout::FIRST_SPI + layout::SERIAL_SPI,
        };
        let events = Events { drained };
        Self {
            uart: Serial::with_events(pulse, events, output),
        }
    }

    /// Gives the guest as much of `input` as its FIFO takes. Returns the number of bytes.
    pub(crate) fn receive(&mut self, input: &[u8]) -> usize {
        let room = self.uart.fifo_capacity().min(input.len());
        if room == 0 {
            return 0;
        }
        self.uart.enqueue_raw_bytes(&input[..room]).unwrap_or(0)
    }
}

impl MmioDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let [byte, ..] = data {
            *byte = self.uart.read(offset as u8);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let [byte, ..] = data {
            // Only the interrupt can fail, if the VM is about to end.
            let _ = self.uart.write(offset as u8, *byte);
        }
    }
}
