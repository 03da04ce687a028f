// SPDX-License-Identifier: GPL-2.0

//! `monitor payload`: a bare-metal guest that checks its machine.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvm::Kvm;

use crate::bus::Bus;
use crate::doorbell::{Doorbell, Mode, Report};
use crate::elf;
use crate::error::{Context, Error, Result};
use crate::layout;
use crate::memory::{read_file, Memory};
use crate::options::PayloadOptions;
use crate::vcpu::{self, Ending, Stop, Threads};
use crate::vm::{open_kvm, Irqchip, Machine};

/// What a payload may use, as `tests/payload/src/start.S` maps it.
pub(crate) const RAM_MIB: u64 = 64;
/// A payload that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with a payload in it.
pub(crate) struct Guest {
    pub machine: Machine,
    pub bus: Bus,
    // Goes last, after all that refers to it.
    pub memory: Memory,
}

impl Guest {
    pub(crate) fn new(
        kvm: &Kvm,
        payload: &Path,
        cpus: u32,
        irqchip: Irqchip,
        mode: Mode,
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
            vcpu::set_entry(first, program.entry, [0; 3])?;
        }
        let vm = Arc::clone(&machine.vm);
        let doorbell = Doorbell::new(vm, memory.guest.clone(), mode, cpus, listener);
        let mut bus = Bus::default();
        bus.insert(
            layout::DOORBELL_BASE,
            layout::DOORBELL_SIZE,
            Arc::new(Mutex::new(doorbell)),
        );
        Ok(Self {
            machine,
            bus,
            memory,
        })
    }
}

/// Waits until the guest has come to its end, but not for ever.
fn wait(stop: &Stop) -> Ending {
    let start = Instant::now();
    loop {
        if let Some(ending) = stop.ending() {
            return ending;
        }
        let left = PATIENCE.saturating_sub(start.elapsed());
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
    let listener = move |report| match report {
        Report::Passed(name) => {
            passes.fetch_add(1, Ordering::Relaxed);
            println!("ok {name}");
        }
        Report::Failed(name, value) => {
            failures.fetch_add(1, Ordering::Relaxed);
            println!("not ok {name}: value {value:#x}");
        }
        Report::Measured(name, value) => println!("{name} {value}"),
    };
    let guest = Guest::new(
        &kvm,
        &options.payload,
        options.cpus,
        options.irqchip,
        Mode::Checks,
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
            println!("not ok payload: no end after {} s", PATIENCE.as_secs());
            Ok(ExitCode::FAILURE)
        }
        Ending::Reset => {
            println!("not ok payload: it asked for a restart");
            Ok(ExitCode::FAILURE)
        }
    }
}
