// SPDX-License-Identifier: GPL-2.0

//! `monitor run`: a Linux guest with a serial console and disks.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::Vm;
use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::register_signal_handler;

use crate::boot;
use crate::bus::Bus;
use crate::console::{Input, RawMode};
use crate::error::{Context, Error, Result};
use crate::fdt;
use crate::layout;
use crate::memory::Memory;
use crate::options::{RunOptions, SlotChange};
use crate::output::Output;
use crate::serial::SerialPort;
use crate::vcpu::{self, Ending, Stop, Threads};
use crate::virtio::block::Disk;
use crate::virtio::mmio::{Line, MmioTransport};
use crate::vm::{open_kvm, Lines, Machine};

/// Serves the queues of a disk when the guest has notified it.
struct DiskQueue {
    notify: Arc<EventFd>,
    disk: Arc<Mutex<MmioTransport<Disk>>>,
    stop: Arc<Stop>,
}

impl MutEventSubscriber for DiskQueue {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(e) = ops.add(Events::new(&*self.notify, EventSet::IN)) {
            self.stop.end(Ending::Failed(format!("disk: {e}")));
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        let _ = self.notify.read();
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = disk.process() {
            self.stop.end(Ending::Failed(format!("disk: {e}")));
        }
    }
}

/// Wakes the event loop when the guest has come to its end.
struct End(Arc<Stop>);

impl MutEventSubscriber for End {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(e) = ops.add(Events::new(&self.0.event, EventSet::IN)) {
            self.0.end(Ending::Failed(format!("event loop: {e}")));
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        let _ = self.0.event.read();
    }
}

/// The descriptor of the event that [`on_termination`] signals.
static TERMINATION: AtomicI32 = AtomicI32::new(-1);

/// Wakes the event loop; an eventfd may be written from a signal handler.
extern "C" fn on_termination(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: Writes eight bytes of our own; write(2) is async-signal-safe.
    unsafe {
        libc::write(
            TERMINATION.load(Ordering::Relaxed),
            one.as_ptr().cast(),
            one.len(),
        )
    };
}

/// Makes the user's signals end the guest and restore the terminal.
struct Termination {
    event: EventFd,
    stop: Arc<Stop>,
}

impl Termination {
    fn new(stop: &Arc<Stop>) -> Result<Self> {
        let event = EventFd::new(libc::EFD_NONBLOCK).context("cannot make an eventfd")?;
        TERMINATION.store(event.as_raw_fd(), Ordering::Relaxed);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            register_signal_handler(signal, on_termination).context("cannot catch a signal")?;
        }
        Ok(Self {
            event,
            stop: Arc::clone(stop),
        })
    }
}

impl MutEventSubscriber for Termination {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(e) = ops.add(Events::new(&self.event, EventSet::IN)) {
            self.stop.end(Ending::Failed(format!("event loop: {e}")));
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        self.stop.end(Ending::Stopped);
    }
}

/// Random bytes for the guest's own generator.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    // Without, the guest has to find entropy for itself.
    let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    seed
}

/// The frequency of the host's timer, if the host's device tree has to tell it. It is the guest's, too.
fn timer_frequency() -> Option<u32> {
    let cell = std::fs::read("/proc/device-tree/timer/clock-frequency").ok()?;
    cell.try_into().ok().map(u32::from_be_bytes)
}

type Loop = EventManager<Box<dyn MutEventSubscriber>>;

fn add_disks(
    options: &RunOptions,
    lines: &Arc<Lines>,
    memory: &Memory,
    bus: &mut Bus,
    events: &mut Loop,
    stop: &Arc<Stop>,
) -> Result<()> {
    for (index, path) in options.disks.iter().enumerate() {
        let index = index as u32;
        let notify = Arc::new(EventFd::new(0).context("cannot make an eventfd")?);
        let line = Line {
            lines: Arc::clone(lines),
            intid: layout::FIRST_SPI + layout::VIRTIO_SPI + index,
        };
        let transport = MmioTransport::new(
            Disk::open(path)?,
            memory.guest.clone(),
            Arc::clone(&notify),
            line,
        )
        .context("cannot make a virtio queue")?;
        let disk = Arc::new(Mutex::new(transport));
        let base = layout::VIRTIO_BASE + u64::from(index) * layout::VIRTIO_SIZE;
        bus.insert(base, layout::VIRTIO_SIZE, disk.clone());
        events.add_subscriber(Box::new(DiskQueue {
            notify,
            disk,
            stop: Arc::clone(stop),
        }));
    }
    Ok(())
}

/// Waits for events until `time`, and deals with the first. Returns whether the time has come and
/// the guest still runs.
fn run_until(events: &mut Loop, time: Instant, stop: &Stop) -> Result<bool> {
    let left = time.saturating_duration_since(Instant::now());
    events
        .run_with_timeout(left.as_millis() as i32)
        .context("event loop")?;
    Ok(!stop.wanted() && Instant::now() >= time)
}

/// The dirty log of the guest's memory, which goes on and off.
#[derive(Default)]
struct DirtyLog {
    is_on: bool,
    /// Dirty pages of all times that it was on.
    pages: u64,
}

impl DirtyLog {
    fn set(&mut self, vm: &Vm, slot: UserspaceMemoryRegion, is_on: bool) -> Result<()> {
        let flags = if is_on { uapi::MEM_LOG_DIRTY_PAGES } else { 0 };
        self.is_on = is_on;
        vm.set_user_memory_region(&UserspaceMemoryRegion { flags, ..slot })
            .context("cannot change the dirty log")
    }

    /// Counts the pages that are dirty since the log was turned on, and turns it off.
    fn finish(&mut self, vm: &Vm, memory: &Memory) -> Result<()> {
        const PAGE: u64 = 4096;
        let slot = memory.slot();
        let mut bitmap = vec![0u32; (memory.size() / PAGE).div_ceil(32) as usize];
        vm.get_dirty_log(slot.slot, &mut bitmap)
            .context("cannot read the dirty log")?;
        self.pages += bitmap
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum::<u64>();
        self.set(vm, slot, false)
    }
}

/// Moves the guest's memory to other guest-physical addresses, and back, while no vCPU runs.
///
/// This could not be right for Linux while vCPUs run. An access outside of all slots comes to this
/// program as an access to a device, and is complete with the answer: KVM_RUN does not execute the
/// instruction again. This program could answer plain loads and stores from the memory at its new
/// place. But STREX always succeeds at a device, so locks would break. Instructions and page
/// tables, which are in the same memory, are never fetched from devices: the guest gets an abort.
/// `tests/abi/src/stress.rs` has a guest that can live with that (`--stress SECONDS slots`).
fn move_slot(vm: &Vm, memory: &Memory) -> Result<()> {
    const ELSEWHERE: u64 = 1 << 32;
    let slot = memory.slot();
    for guest_phys_addr in [slot.guest_phys_addr + ELSEWHERE, slot.guest_phys_addr] {
        vm.set_user_memory_region(&UserspaceMemoryRegion {
            guest_phys_addr,
            ..slot
        })
        .context("cannot move the slot")?;
    }
    Ok(())
}

/// Boots the guest and gives its end.
pub(crate) fn run(options: &RunOptions) -> Result<Ending> {
    let kvm = open_kvm()?;
    let memory = Memory::new(options.mem)?;
    if options.hugetlb > 0 {
        let size = memory.size();
        let start = size
            .checked_sub(options.hugetlb << 20)
            .ok_or_else(|| Error::new("--hugetlb is larger than --mem"))?;
        memory.mapping.use_hugetlb(start as usize..size as usize)?;
    }
    for advice in &options.advice {
        memory
            .mapping
            .advise(0..memory.size() as usize, *advice)
            .context(format!(
                "the host takes no advice {advice} on the guest's memory"
            ))?;
    }
    let placement = boot::load(&memory, &options.kernel, options.initrd.as_deref())?;
    let mut machine = Machine::new(&kvm, &memory, options.cpus, options.irqchip)?;
    let tree = fdt::build(&fdt::Description {
        cpus: options.cpus,
        core: machine.core,
        ram_size: memory.size(),
        cmdline: &options.cmdline,
        initrd: placement.initrd,
        virtio_devices: options.disks.len() as u32,
        has_pmu: machine.has_pmu,
        timer_frequency: timer_frequency(),
        seed: seed(),
    })?;
    memory.write(placement.fdt, &tree)?;
    if let Some(first) = machine.vcpus.first() {
        // r1 is the machine type, which a device tree makes meaningless.
        vcpu::set_entry(
            first,
            placement.kernel as u32,
            [0, u32::MAX, placement.fdt as u32],
        )?;
    }

    let stop = Arc::new(Stop::new()?);
    let lines = Lines::new(&machine.vm);
    let mut events = Loop::new().context("cannot make an event loop")?;
    let mut bus = Bus::default();
    let drained = Arc::new(EventFd::new(libc::EFD_NONBLOCK).context("cannot make an eventfd")?);
    let output = Output::start(std::io::stdout()).context("cannot start the output thread")?;
    let serial = Arc::new(Mutex::new(SerialPort::new(
        Arc::clone(&lines),
        Arc::clone(&drained),
        output.sink(),
    )));
    bus.insert(layout::SERIAL_BASE, layout::SERIAL_SIZE, serial.clone());
    add_disks(options, &lines, &memory, &mut bus, &mut events, &stop)?;
    events.add_subscriber(Box::new(End(Arc::clone(&stop))));
    events.add_subscriber(Box::new(Termination::new(&stop)?));
    let raw = RawMode::new();
    let input = Input::new(serial, drained, Arc::clone(&stop), raw.is_tty());
    events.add_subscriber(Box::new(input.context("cannot use standard input")?));

    let bus = Arc::new(bus);
    let mut threads = Threads::start(std::mem::take(&mut machine.vcpus), &bus, &stop)?;
    if let Some(priority) = options.fifo {
        threads.make_fifo(priority)?;
    }
    if let Some((interval, change)) = options.slot {
        let mut changes = 0;
        let mut log = DirtyLog::default();
        let mut next = Instant::now() + interval;
        while !stop.wanted() {
            if !run_until(&mut events, next, &stop)? {
                continue;
            }
            match change {
                SlotChange::Log if !log.is_on => {
                    log.set(&machine.vm, memory.slot(), true)?;
                    next = Instant::now() + interval / 4;
                    continue;
                }
                SlotChange::Log => log.finish(&machine.vm, &memory)?,
                SlotChange::Move => {
                    let Some(vcpus) = threads.pause() else {
                        return Ok(stop.ending().unwrap_or(Ending::Stopped));
                    };
                    move_slot(&machine.vm, &memory)?;
                    threads = Threads::start(vcpus, &bus, &stop)?;
                }
            }
            changes += 1;
            next = Instant::now() + interval;
        }
        drop(threads);
        eprintln!("monitor: the slot has changed {changes} times");
        if change == SlotChange::Log {
            eprintln!("monitor: the log had {} dirty pages", log.pages);
        }
        return Ok(stop.ending().unwrap_or(Ending::Stopped));
    }
    let Some(interval) = options.move_every else {
        while !stop.wanted() {
            events.run().context("event loop")?;
        }
        drop(threads);
        return Ok(stop.ending().unwrap_or(Ending::Stopped));
    };

    let mut moves = 0;
    let mut next = Instant::now() + interval;
    while !stop.wanted() {
        if moves == options.moves {
            events.run().context("event loop")?;
            continue;
        }
        if !run_until(&mut events, next, &stop)? {
            continue;
        }
        let Some(vcpus) = threads.pause() else {
            break;
        };
        let snapshot = machine.save(&vcpus)?;
        // Nothing is left of the old machine when the new one is made, but its memory.
        lines.detach();
        drop(vcpus);
        drop(machine);
        machine = Machine::new(&kvm, &memory, options.cpus, options.irqchip)?;
        machine.restore(&snapshot)?;
        lines
            .move_to(&machine.vm)
            .context("cannot drive the interrupt lines")?;
        threads = Threads::start(std::mem::take(&mut machine.vcpus), &bus, &stop)?;
        moves += 1;
        next = Instant::now() + interval;
    }
    eprintln!("monitor: the guest has moved to another machine {moves} times");
    Ok(stop.ending().unwrap_or(Ending::Stopped))
}
