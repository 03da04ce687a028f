// SPDX-License-Identifier: GPL-2.0

//! The doorbell: a bare-metal payload gets its task and reports its results by this device.
//! `tests/payload/src/doorbell.rs` is the other side.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use kvm::Vm;
use meter::{Cost, Counts, EVENTS as KINDS};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::bus::MmioDevice;
use crate::layout;

// Registers.
/// The address in memory of a report's name, and the length of the name.
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
/// The address in memory of the text of a failure, the length of the text, and more numbers.
const WHAT: u64 = 0x30;
const WHAT_LEN: u64 = 0x34;
const VALUE_2: u64 = 0x38;
const VALUE_3: u64 = 0x3c;
/// Whether the check of that name is wanted.
const WANTED: u64 = 0x40;
const TIMER_INTERRUPTS: u64 = 0x44;
/// A number of this payload's own.
const SEED: u64 = 0x48;
const HOST_MIDR: u64 = 0x4c;
/// Bytes of the window that were read, and written.
const WINDOW_READS: u64 = 0x50;
const WINDOW_WRITES: u64 = 0x54;
/// The address in memory of the numbers of events, and the number of rounds that these are of.
const EVENTS: u64 = 0x58;
const ROUNDS: u64 = 0x5c;
/// Settles the host.
const SETTLE: u64 = 0x60;

pub(crate) const ECHO_VALUE: u32 = 0x8182_8384;
const COMMAND_MEASURED: u32 = 1;
const COMMAND_PASSED: u32 = 2;
const COMMAND_FAILED: u32 = 3;
/// No text is longer than this.
const TEXT_MAX: u32 = 200;

/// The task of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Check the machine.
    Checks = 0,
    /// Measure the machine.
    Bench = 1,
    /// Leave the guest by reads of [`ECHO`] for ever.
    Exits = 2,
    /// Measure a machine of several CPUs.
    Cpus = 3,
    /// Answer each interrupt by a store to [`layout::KICK_BASE`], for ever.
    Answer = 4,
}

/// A report of a payload.
#[derive(Debug, PartialEq)]
pub(crate) enum Report {
    Measured(String, Cost),
    Passed(String),
    /// The text of a failure, and numbers that belong to it.
    Failed(String, String, [u32; 3]),
}

/// The answers to a payload's questions.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub mode: Mode,
    pub cpus: u32,
    /// How names of checks begin that are wanted; all if there are none.
    pub only: Vec<String>,
    /// How names of checks begin that are not.
    pub skip: Vec<String>,
    pub timer_interrupts: u32,
    pub seed: u32,
    pub host_midr: u32,
}

impl Wishes {
    /// Nothing but a mode.
    pub(crate) fn new(mode: Mode, cpus: u32) -> Self {
        Self {
            mode,
            cpus,
            only: Vec::new(),
            skip: Vec::new(),
            timer_interrupts: 10_000,
            seed: std::process::id(),
            host_midr: 0,
        }
    }

    fn wants(&self, name: &str) -> bool {
        let begins = |list: &[String]| list.iter().any(|start| name.starts_with(start));
        (self.only.is_empty() || begins(&self.only)) && !begins(&self.skip)
    }
}

/// Uses floating point. Exits cost some instructions less or more if the host's kernel has turned VFP off
/// for a thread, which it does when it switches to another one and keeps until the thread uses VFP.
pub(crate) fn settle() {
    black_box(black_box(1.5_f64) * 2.0);
}

/// A device that is like memory, and counts accesses.
pub(crate) struct Window {
    bytes: Vec<u8>,
    reads: Arc<AtomicU32>,
    writes: Arc<AtomicU32>,
}

impl Window {
    fn range(&self, offset: u64, len: usize) -> std::ops::Range<usize> {
        let start = (offset as usize).min(self.bytes.len());
        start..start.saturating_add(len).min(self.bytes.len())
    }
}

impl MmioDevice for Window {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let range = self.range(offset, data.len());
        self.reads.fetch_add(range.len() as u32, Ordering::Relaxed);
        data[..range.len()].copy_from_slice(&self.bytes[range]);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let range = self.range(offset, data.len());
        self.writes.fetch_add(range.len() as u32, Ordering::Relaxed);
        let len = range.len();
        self.bytes[range].copy_from_slice(&data[..len]);
    }
}

/// The doorbell of a machine.
pub(crate) struct Doorbell {
    vm: Arc<Vm>,
    memory: GuestMemoryMmap,
    wishes: Wishes,
    listener: Box<dyn FnMut(Report) + Send>,
    name: [u32; 2],
    what: [u32; 2],
    values: [u32; 3],
    /// The address of the numbers of events, and the rounds.
    events: [u32; 2],
    scratch: [u8; 8],
    window_reads: Arc<AtomicU32>,
    window_writes: Arc<AtomicU32>,
}

impl Doorbell {
    /// Makes a doorbell. Its reports go to `listener`.
    pub(crate) fn new(
        vm: Arc<Vm>,
        memory: GuestMemoryMmap,
        wishes: Wishes,
        listener: impl FnMut(Report) + Send + 'static,
    ) -> Self {
        Self {
            vm,
            memory,
            wishes,
            listener: Box::new(listener),
            name: [0; 2],
            what: [0; 2],
            values: [0; 3],
            events: [0; 2],
            scratch: [0; 8],
            window_reads: Arc::default(),
            window_writes: Arc::default(),
        }
    }

    /// The window that this doorbell tells of.
    pub(crate) fn window(&self) -> Window {
        Window {
            bytes: vec![0; layout::WINDOW_SIZE as usize],
            reads: Arc::clone(&self.window_reads),
            writes: Arc::clone(&self.window_writes),
        }
    }

    /// Text in the guest's memory, by its address and length.
    fn text(&self, [address, len]: [u32; 2]) -> String {
        let mut text = vec![0; len.min(TEXT_MAX) as usize];
        let read = self
            .memory
            .read_slice(&mut text, GuestAddress(address.into()));
        match read {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => format!("(text at {address:#x})"),
        }
    }

    /// The payload's measurements.
    fn cost(&self) -> Cost {
        let [address, rounds] = self.events;
        let mut bytes = [0; size_of::<Counts>()];
        let read = self
            .memory
            .read_slice(&mut bytes, GuestAddress(address.into()));
        let mut events = [0; KINDS];
        if read.is_ok() {
            for (count, number) in events.iter_mut().zip(bytes.chunks_exact(8)) {
                *count = number.try_into().map_or(0, u64::from_le_bytes);
            }
        }
        Cost::new(self.values[0].into(), &Counts(events), rounds)
    }

    fn command(&mut self, command: u32) {
        let name = self.text(self.name);
        let what = self.text(self.what);
        let cost = self.cost();
        self.what = [0; 2];
        (self.listener)(match command {
            COMMAND_MEASURED => Report::Measured(name, cost),
            COMMAND_PASSED => Report::Passed(name),
            COMMAND_FAILED => Report::Failed(name, what, self.values),
            _ => Report::Failed(format!("doorbell command {command}"), what, self.values),
        });
    }
}

impl MmioDevice for Doorbell {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            MODE => self.wishes.mode as u32,
            CPUS => self.wishes.cpus,
            ECHO => ECHO_VALUE,
            WANTED => self.wishes.wants(&self.text(self.name)).into(),
            TIMER_INTERRUPTS => self.wishes.timer_interrupts,
            SEED => self.wishes.seed,
            HOST_MIDR => self.wishes.host_midr,
            WINDOW_READS => self.window_reads.load(Ordering::Relaxed),
            WINDOW_WRITES => self.window_writes.load(Ordering::Relaxed),
            SETTLE => {
                settle();
                0
            }
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
            NAME => self.name[0] = value,
            NAME_LEN => self.name[1] = value,
            WHAT => self.what[0] = value,
            WHAT_LEN => self.what[1] = value,
            VALUE => self.values[0] = value,
            VALUE_2 => self.values[1] = value,
            VALUE_3 => self.values[2] = value,
            EVENTS => self.events[0] = value,
            ROUNDS => self.events[1] = value,
            COMMAND => self.command(value),
            SPI_LEVEL => {
                let intid = layout::FIRST_SPI + layout::DOORBELL_SPI;
                if let Err(e) = self.vm.spi_line(intid, value != 0) {
                    let name = "KVM_IRQ_LINE of the doorbell".into();
                    (self.listener)(Report::Failed(name, e.to_string(), [value, 0, 0]));
                }
            }
            _ => {}
        }
    }
}
