// SPDX-License-Identifier: GPL-2.0

//! The doorbell: how a bare-metal payload hears what to do, and tells what it found.
//! `tests/payload/src/doorbell.rs` is its other side.

use std::sync::Arc;

use kvm::Vm;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::bus::MmioDevice;
use crate::layout;

// Registers.
/// Where in memory the name of what is told stands, and how long it is.
const NAME: u64 = 0x00;
const NAME_LEN: u64 = 0x04;
const VALUE: u64 = 0x08;
/// Tells it.
const COMMAND: u64 = 0x0c;
const MODE: u64 = 0x10;
const CPUS: u64 = 0x14;
/// Always gives the same.
pub(crate) const ECHO: u64 = 0x18;
/// Eight bytes of memory.
const SCRATCH: u64 = 0x20;
/// The level of the doorbell's interrupt.
const SPI_LEVEL: u64 = 0x28;

pub(crate) const ECHO_VALUE: u32 = 0x8182_8384;
const COMMAND_MEASURED: u32 = 1;
const COMMAND_PASSED: u32 = 2;
const COMMAND_FAILED: u32 = 3;
/// No name is longer than this.
const NAME_MAX: u32 = 200;

/// What a payload shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Check the machine.
    Checks = 0,
    /// Measure the machine.
    Bench = 1,
    /// Leave the guest by reads of [`ECHO`] for ever.
    Exits = 2,
}

/// What a payload tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Measured(String, u32),
    Passed(String),
    Failed(String, u32),
}

/// The doorbell of a machine.
pub(crate) struct Doorbell {
    vm: Arc<Vm>,
    memory: GuestMemoryMmap,
    mode: Mode,
    cpus: u32,
    listener: Box<dyn FnMut(Report) + Send>,
    name: u32,
    name_len: u32,
    value: u32,
    scratch: [u8; 8],
}

impl Doorbell {
    /// Makes a doorbell, whose reports go to `listener`.
    pub(crate) fn new(
        vm: Arc<Vm>,
        memory: GuestMemoryMmap,
        mode: Mode,
        cpus: u32,
        listener: impl FnMut(Report) + Send + 'static,
    ) -> Self {
        Self {
            vm,
            memory,
            mode,
            cpus,
            listener: Box::new(listener),
            name: 0,
            name_len: 0,
            value: 0,
            scratch: [0; 8],
        }
    }

    fn command(&mut self, command: u32) {
        let mut name = vec![0; self.name_len.min(NAME_MAX) as usize];
        let read = self
            .memory
            .read_slice(&mut name, GuestAddress(self.name.into()));
        let name = match read {
            Ok(()) => String::from_utf8_lossy(&name).into_owned(),
            Err(_) => format!("(name at {:#x})", self.name),
        };
        (self.listener)(match command {
            COMMAND_MEASURED => Report::Measured(name, self.value),
            COMMAND_PASSED => Report::Passed(name),
            COMMAND_FAILED => Report::Failed(name, self.value),
            _ => Report::Failed(format!("doorbell command {command}"), self.value),
        });
    }
}

impl MmioDevice for Doorbell {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            MODE => self.mode as u32,
            CPUS => self.cpus,
            ECHO => ECHO_VALUE,
            _ => {
                let at = offset.wrapping_sub(SCRATCH) as usize;
                let bytes = at
                    .checked_add(data.len())
                    .and_then(|end| self.scratch.get(at..end));
                if let Some(bytes) = bytes {
                    data.copy_from_slice(bytes);
                }
                return;
            }
        };
        if data.len() == 4 {
            data.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = offset.wrapping_sub(SCRATCH) as usize;
        let end = at.saturating_add(data.len());
        if let Some(bytes) = self.scratch.get_mut(at..end) {
            bytes.copy_from_slice(data);
            return;
        }
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            NAME => self.name = value,
            NAME_LEN => self.name_len = value,
            VALUE => self.value = value,
            COMMAND => self.command(value),
            SPI_LEVEL => {
                let intid = layout::FIRST_SPI + layout::DOORBELL_SPI;
                if let Err(e) = self.vm.spi_line(intid, value != 0) {
                    let name = format!("KVM_IRQ_LINE of the doorbell: {e}");
                    (self.listener)(Report::Failed(name, value));
                }
            }
            _ => {}
        }
    }
}
