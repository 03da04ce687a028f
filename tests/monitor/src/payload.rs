// SPDX-License-Identifier: GPL-2.0

//! `monitor payload`: a bare-metal guest that checks its machine.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvm::uapi::UserspaceMemoryRegion;
use kvm::{patience, Kvm};

use crate::bus::Bus;
use crate::doorbell::{Doorbell, Mode, Report, Wishes};
use crate::elf;
use crate::error::{Context, Error, Result};
use crate::layout;
use crate::memory::{read_file, AlignedMapping, Memory};
use crate::options::PayloadOptions;
use crate::vcpu::{self, kvm_error, Ending, Stop, Threads};
use crate::vm::{open_kvm, Irqchip, Machine};

/// The memory that a payload may use, as `tests/payload/src/start.S` maps it.
pub(crate) const RAM_MIB: u64 = 64;
/// A payload that takes longer than so many seconds hangs.
const PATIENCE: u64 = 300;
/// A check that takes longer than this is told about.
const SLOW: Duration = Duration::from_millis(500);
/// The value in R0 by which the payload knows that there is a monitor
/// (`tests/payload/src/board.rs`).
pub(crate) const IS_MONITOR: u32 = 0x6d6f_6e69;
/// The number of the small slot. No other code uses this number.
const SMALL_SLOT: u32 = 20;
const PAGE_SIZE: usize = 4096;

/// A machine with a payload in it.
pub(crate) struct Guest {
    pub machine: Machine,
    pub bus: Bus,
    // These go last, after all that refers to them.
    pub memory: Memory,
    _small: AlignedMapping,
}

/// The MIDR of the CPU that this program runs on, as `/proc/cpuinfo` has it; 0 if it does not.
fn host_midr() -> u32 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let value = line.split_once(':')?.1.trim();
        match value.strip_prefix("0x") {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok(),
            None => value.parse().ok(),
        }
    };
    let midr = || {
        let architecture = 0xf << 16;
        Some(
            (field("CPU implementer")? << 24)
                | (field("CPU variant")? << 20)
                | architecture
                | (field("CPU part")? << 4)
                | field("CPU revision")?,
        )
    };
    midr().unwrap_or(0)
}

impl Guest {
    pub(crate) fn new(
        kvm: &Kvm,
        payload: &Path,
        cpus: u32,
        irqchip: Irqchip,
        wishes: Wishes,
        listener: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self> {
        let file = read_file(payload)?;
        let program = elf::parse(&file).context(payload.display())?;
        let memory = Memory::new(RAM_MIB)?;
        for segment in &program.segments {
            memory.write(segment.address.into(), segment.data)?;
        }
        let machine = Machine::new(kvm, &memory, cpus, irqchip)?;
        if let Some(first) = machine.vcpus.first() {
            vcpu::set_entry(first, program.entry, [IS_MONITOR, 0, 0])?;
        }
        // The slot does not begin where a block of the host's memory does.
        let small = AlignedMapping::new(layout::SMALL_SIZE as usize + PAGE_SIZE)?;
        let region = UserspaceMemoryRegion {
            slot: SMALL_SLOT,
            flags: 0,
            guest_phys_addr: layout::SMALL_BASE,
            memory_size: layout::SMALL_SIZE,
            userspace_addr: (small.as_ptr() as usize + PAGE_SIZE) as u64,
        };
        if wishes.mode == Mode::Checks {
            machine
                .vm
                .set_user_memory_region(&region)
                .map_err(|e| kvm_error("KVM_SET_USER_MEMORY_REGION", &e))?;
        }
        let vm = Arc::clone(&machine.vm);
        let doorbell = Doorbell::new(vm, memory.guest.clone(), wishes, listener);
        let mut bus = Bus::default();
        bus.insert(
            layout::WINDOW_BASE,
            layout::WINDOW_SIZE,
            Arc::new(Mutex::new(doorbell.window())),
        );
        bus.insert(
            layout::DOORBELL_BASE,
            layout::DOORBELL_SIZE,
            Arc::new(Mutex::new(doorbell)),
        );
        Ok(Self {
            machine,
            bus,
            memory,
            _small: small,
        })
    }
}

/// Waits until the guest has come to its end, but not for ever.
pub(crate) fn wait(stop: &Stop) -> Ending {
    let (start, patience) = (Instant::now(), patience(PATIENCE));
    loop {
        if let Some(ending) = stop.ending() {
            return ending;
        }
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ending::Stopped;
        }
        let mut event = libc::pollfd {
            fd: stop.event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: One structure of ours.
        unsafe { libc::poll(&raw mut event, 1, left.as_millis() as i32 + 1) };
    }
}

/// Runs the checks.
pub(crate) fn run(options: &PayloadOptions) -> Result<ExitCode> {
    let kvm = open_kvm()?;
    let (passed, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (passes, failures) = (Arc::clone(&passed), Arc::clone(&failed));
    let mut last = Instant::now();
    let listener = move |report| match report {
        Report::Passed(name) => {
            let took = std::mem::replace(&mut last, Instant::now()).elapsed();
            if took > SLOW {
                eprintln!("monitor: {name} took {} ms", took.as_millis());
            }
            passes.fetch_add(1, Ordering::Relaxed);
            println!("ok {name}");
        }
        Report::Failed(name, what, values) => {
            failures.fetch_add(1, Ordering::Relaxed);
            let [a, b, c] = values;
            println!("not ok {name}: {what} ({a:#x}, {b:#x}, {c:#x})");
        }
        Report::Measured(name, cost) => println!("{name} {}", cost.instructions),
    };
    let wishes = Wishes {
        only: options.only.clone(),
        skip: options.skip.clone(),
        timer_interrupts: options.timer_interrupts,
        host_midr: host_midr(),
        ..Wishes::new(Mode::Checks, options.cpus)
    };
    let guest = Guest::new(
        &kvm,
        &options.payload,
        options.cpus,
        options.irqchip,
        wishes,
        listener,
    )?;
    let stop = Arc::new(Stop::new()?);
    let threads = Threads::start(guest.machine.vcpus, &Arc::new(guest.bus), &stop)?;
    let ending = wait(&stop);
    drop(threads);
    match ending {
        Ending::Shutdown if passed.load(Ordering::Relaxed) == 0 => {
            Err(Error::new("the payload ended without a check that passed"))
        }
        Ending::Shutdown if failed.load(Ordering::Relaxed) == 0 => Ok(ExitCode::SUCCESS),
        Ending::Shutdown => Ok(ExitCode::FAILURE),
        Ending::Failed(why) => {
            println!("not ok payload: {why}");
            Ok(ExitCode::FAILURE)
        }
        Ending::Stopped => {
            println!(
                "not ok payload: no end after {} s",
                patience(PATIENCE).as_secs()
            );
            Ok(ExitCode::FAILURE)
        }
        Ending::Reset => {
            println!("not ok payload: it asked for a restart");
            Ok(ExitCode::FAILURE)
        }
    }
}
