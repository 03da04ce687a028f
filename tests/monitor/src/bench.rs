// SPDX-License-Identifier: GPL-2.0

//! `monitor bench`: the cost of operations, beside the figures of the last C implementation.
//! `costs.rs` has the table.
//!
//! A bare-metal payload measures operations of a guest, this program those of a monitor, both by
//! `tools/meter`.

use std::fs;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kvm::uapi::{self, IoEventFd, Irqfd, UserspaceMemoryRegion};
use kvm::{Kvm, Vcpu, Vm};
use meter::{Batch, Cost, Counts, Total, BATCHES, ROUNDS, SLEEPS};
use vmm_sys_util::eventfd::EventFd;

use crate::costs::{Table, KIB_OF_A_VM};
use crate::doorbell::{self, settle, Mode, Report, Wishes};
use crate::elf;
use crate::error::{Context, Error, Result};
use crate::layout;
use crate::memory::{read_file, AlignedMapping, Memory};
use crate::options::PayloadOptions;
use crate::payload::{wait, Guest, IS_MONITOR, RAM_MIB};
use crate::vcpu::{self, kvm_error, Ending, Pinned, Stop, Threads};
use crate::vm::{open_kvm, Irqchip, Machine};

const PAGE_SIZE: usize = 4096;
/// The memory of a test of a first touch, and the number of such tests.
const TOUCHED: usize = 4 << 20;
const TOUCHES: usize = 5;
/// How many VMs are kept alive at once.
const MANY_VMS: usize = 64;
/// How many ioeventfds a machine has that has many slots.
const MANY_IOEVENTFDS: u64 = 1000;
/// The row of the payload's for a machine with 500 slots.
const MANY_SLOTS: &str = "first touch, resident, 500 slots";

/// Memory for the payload's tests of a first touch: with huge pages, and without. The offsets are
/// those of `tests/payload/src/bench.rs`.
const HUGE: Range<usize> = 16 << 20..36 << 20;
const SMALL: Range<usize> = 36 << 20..56 << 20;
/// First touches without huge pages, of pages that the host has already.
const RESIDENT: Range<usize> = 56 << 20..64 << 20;

/// The cost of a round of an operation, without the loop around it.
fn measure<const N: usize, E>(
    rounds: u32,
    operation: impl FnMut(u32) -> Result<(), E>,
) -> Result<Cost, E> {
    meter::measure::<N, E>(rounds, settle, || {}, operation).map(Cost::from)
}

/// The cost of something that makes a VM and closes it, on a host at rest.
///
/// A VM that goes waits until no CPU reads the MMU notifiers any more, and the host's CPU idles meanwhile. VMs made
/// one right after the other were seen to differ by 3,300 instructions, for many in a row: the host still has
/// work of the VMs before. With five of the host's ticks between them they are alike.
fn measure_vms<E>(operation: impl FnMut(u32) -> Result<(), E>) -> Result<Cost, E> {
    let settle = || {
        thread::sleep(Duration::from_millis(20));
        settle();
    };
    meter::measure::<SLEEPS, E>(1, settle, || {}, operation).map(Cost::from)
}

/// The cost of one of three steps that follow each other, of which each undoes the one before.
fn measure_one_of<const N: usize, E>(
    which: usize,
    mut step: impl FnMut(usize) -> Result<(), E>,
) -> Result<Cost, E> {
    let (mut batches, mut around) = ([Batch::NONE; N], [Batch::NONE; N]);
    for (batch, around) in batches.iter_mut().zip(&mut around) {
        settle();
        *around = Batch::of(|| Ok(()))?;
        for n in 0..3 {
            if n == which {
                settle();
                *batch = Batch::of(|| step(n))?;
            } else {
                step(n)?;
            }
        }
    }
    Ok(Total::new(&batches, &around, 1).into())
}

/// Slots of a page each, beside the one of the guest's memory: `slots` are their numbers, and
/// where they are follows from these.
fn add_slots(vm: &Vm, memory: &AlignedMapping, slots: Range<usize>) -> Result<()> {
    for slot in slots {
        let region = UserspaceMemoryRegion {
            slot: slot as u32,
            flags: 0,
            guest_phys_addr: 0xc000_0000 + slot as u64 * (2 << 20),
            memory_size: PAGE_SIZE as u64,
            userspace_addr: (memory.as_ptr() as usize + (slot - 1) * PAGE_SIZE) as u64,
        };
        vm.set_user_memory_region(&region)
            .map_err(|e| kvm_error("KVM_SET_USER_MEMORY_REGION", &e))?;
    }
    Ok(())
}

/// Eventfds that stores of the guest signal, at consecutive words.
fn add_ioeventfds(vm: &Vm, count: u64) -> Result<Vec<EventFd>> {
    let mut events = Vec::new();
    for n in 0..count {
        let event = EventFd::new(0).context("cannot make an eventfd")?;
        let request = IoEventFd {
            addr: layout::KICK_BASE + 4 * n,
            len: 4,
            fd: event.as_raw_fd(),
            ..IoEventFd::default()
        };
        kvm::ioctl_ref(vm, uapi::IOEVENTFD(), &request)
            .map_err(|e| kvm_error("KVM_IOEVENTFD", &e))?;
        events.push(event);
    }
    Ok(events)
}

/// The measurements of the payload, in a machine with so many slots.
fn guest(
    kvm: &Kvm,
    payload: &Path,
    irqchip: Irqchip,
    slots: usize,
    table: &Arc<Mutex<Table>>,
) -> Result<()> {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let rows = Arc::clone(table);
    let listener = move |report| {
        if let Report::Measured(name, cost) = report {
            counted.fetch_add(1, Ordering::Relaxed);
            lock(&rows).add(&name, cost);
        } else {
            eprintln!("monitor: the payload told {report:?}");
        }
    };
    let row = vec![MANY_SLOTS.to_owned()];
    let (only, skip) = match slots {
        1 => (Vec::new(), row),
        _ => (row, Vec::new()),
    };
    let wishes = Wishes {
        only,
        skip,
        ..Wishes::new(Mode::Bench, 1)
    };
    let more = AlignedMapping::new(slots * PAGE_SIZE)?;
    let guest = Guest::new(kvm, payload, 1, irqchip, wishes, listener)?;
    add_slots(&guest.machine.vm, &more, 1..slots)?;
    let events = if slots == 1 { 1 } else { MANY_IOEVENTFDS };
    let _events = add_ioeventfds(&guest.machine.vm, events)?;
    let mapping = &guest.memory.mapping;
    mapping
        .advise(HUGE, libc::MADV_HUGEPAGE)
        .and_then(|()| mapping.advise(SMALL, libc::MADV_NOHUGEPAGE))
        .and_then(|()| mapping.advise(RESIDENT, libc::MADV_NOHUGEPAGE))
        .and_then(|()| mapping.advise(RESIDENT, libc::MADV_POPULATE_WRITE))
        .context("madvise")?;
    let stop = Stop::new()?;
    for vcpu in &guest.machine.vcpus {
        vcpu::run(vcpu, &guest.bus, &stop);
    }
    match stop.ending() {
        Some(Ending::Shutdown) if count.load(Ordering::Relaxed) > 0 => Ok(()),
        ending => Err(Error::new(format!("the payload ended with {ending:?}"))),
    }
}

/// The cost of the first touch of a page by a native process, and how much more a guest pays.
fn native_touch(table: &mut Table, way: &str, advice: i32) -> Result<()> {
    let mapping = AlignedMapping::new(TOUCHES * TOUCHED)?;
    mapping
        .advise(0..TOUCHES * TOUCHED, advice)
        .context("madvise")?;
    let pages = (TOUCHED / PAGE_SIZE) as u32;
    let cost = measure::<TOUCHES, Error>(pages, |page| {
        // SAFETY: A word of the mapping, which nothing else uses.
        unsafe {
            let page = mapping.as_ptr().add(page as usize * PAGE_SIZE);
            page.cast::<u32>().write_volatile(1);
        }
        Ok(())
    })?;
    table.add(&format!("native first touch, {way}"), cost);
    if let Some(guest) = table.find(&format!("first touch, {way}")) {
        table.add(&format!("first touch, {way}, added"), guest.above(&cost));
    }
    Ok(())
}

/// The cost of a native process's sleep that is as short as the sleep of the guest's timer test.
fn native_sleep(table: &mut Table) -> Result<()> {
    let cost = measure::<SLEEPS, _>(1, |_| {
        thread::sleep(std::time::Duration::from_micros(16));
        Ok::<(), Error>(())
    })?;
    table.add("native sleep of 16,000", cost);
    Ok(())
}

/// Runs until the guest reads the echo register.
fn run_to_echo(vcpu: &Vcpu) -> std::io::Result<()> {
    vcpu.run()?;
    let mmio = vcpu.run.mmio();
    if vcpu.run.exit_reason() == uapi::EXIT_MMIO
        && mmio.phys_addr == layout::DOORBELL_BASE + doorbell::ECHO
    {
        return Ok(());
    }
    Err(std::io::Error::other("the guest did not read the doorbell"))
}

fn first_vcpu(machine: &Machine) -> Result<&Vcpu> {
    let first = machine.vcpus.first();
    first.ok_or_else(|| Error::new("the machine has no CPU"))
}

/// Brings a payload into the loop of its exits.
fn start_exits(vcpu: &Vcpu) -> Result<()> {
    // The payload asks for its mode first.
    vcpu.run().map_err(|e| kvm_error("KVM_RUN", &e))?;
    vcpu.run
        .set_mmio_data([Mode::Exits as u8, 0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..8 {
        run_to_echo(vcpu).context("KVM_RUN")?;
    }
    Ok(())
}

/// The cost of exits to a monitor.
fn exits(kvm: &Kvm, payload: &Path, irqchip: Irqchip, table: &mut Table) -> Result<()> {
    let guest = Guest::new(
        kvm,
        payload,
        1,
        irqchip,
        Wishes::new(Mode::Exits, 1),
        |_| {},
    )?;
    let vcpu = first_vcpu(&guest.machine)?;
    start_exits(vcpu)?;
    let cost = measure::<BATCHES, _>(ROUNDS, |_| run_to_echo(vcpu)).context("KVM_RUN")?;
    table.add("KVM_RUN to an MMIO exit, 1 slot", cost);

    let more = AlignedMapping::new(500 * PAGE_SIZE)?;
    let mut slots = 1;
    for many in [10, 500] {
        add_slots(&guest.machine.vm, &more, slots..many)?;
        slots = many;
        let cost = measure::<BATCHES, _>(ROUNDS, |_| run_to_echo(vcpu)).context("KVM_RUN")?;
        table.add(&format!("KVM_RUN to an MMIO exit, {many} slots"), cost);
    }

    // The kernel's own share of a system call.
    let null = fs::File::open("/dev/null").context("/dev/null")?;
    let failing = measure::<BATCHES, _>(ROUNDS, |_| match kvm::ioctl(&null, uapi::RUN(), 0) {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::new("/dev/null knows KVM_RUN")),
    })?;
    table.add("failing ioctl", failing);
    vcpu.run.set_immediate_exit(true);
    let cost = measure::<BATCHES, _>(ROUNDS, |_| match vcpu.run() {
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
        Err(e) => Err(e),
        Ok(()) => Err(std::io::Error::other("immediate_exit was not obeyed")),
    })
    .context("KVM_RUN")?;
    table.add("KVM_RUN with immediate_exit", cost);
    table.add("immediate_exit over failing ioctl", cost.above(&failing));
    Ok(())
}

/// The cost of exits that take turns in so many VMs: each of them runs after another one on this CPU. And
/// the cost of exits and of VMs beside so many VMs that do nothing.
fn turns(kvm: &Kvm, payload: &Path, irqchip: Irqchip, table: &mut Table) -> Result<()> {
    let file = read_file(payload)?;
    let program = elf::parse(&file).context(payload.display())?;
    // The same memory for all: they only read it, once they are in their loop.
    let memory = Memory::new(RAM_MIB)?;
    let mut machines: Vec<Machine> = Vec::new();
    for many in [2, 8, MANY_VMS] {
        while machines.len() < many {
            for segment in &program.segments {
                memory.write(segment.address.into(), segment.data)?;
            }
            let machine = Machine::new(kvm, &memory, 1, irqchip)?;
            let vcpu = first_vcpu(&machine)?;
            vcpu::set_entry(vcpu, program.entry, [IS_MONITOR, 0, 0])?;
            start_exits(vcpu)?;
            machines.push(machine);
        }
        let cost = measure::<BATCHES, _>(MANY_VMS as u32, |round| {
            let machine = &machines[round as usize % many];
            machine.vcpus.first().map_or(Ok(()), run_to_echo)
        })
        .context("KVM_RUN")?;
        table.add(&format!("KVM_RUN to MMIO, by turns in {many} VMs"), cost);
        let Some(vcpu) = machines.first().and_then(|machine| machine.vcpus.first()) else {
            continue;
        };
        let cost = measure::<BATCHES, _>(ROUNDS, |_| run_to_echo(vcpu)).context("KVM_RUN")?;
        table.add(&format!("KVM_RUN to MMIO, of one of {many} VMs"), cost);
        let cost = measure_vms(|_| kvm.create_vm().map(drop));
        let cost = cost.map_err(|e| kvm_error("KVM_CREATE_VM", &e))?;
        table.add(&format!("VM create and close, beside {many} VMs"), cost);
    }
    Ok(())
}

/// Has vCPUs sleep at once: how long they poll depends on earlier sleeps.
fn do_not_poll(vm: &Vm) -> Result<()> {
    vm.enable_cap(uapi::CAP_HALT_POLL, 0, [0; 4])
        .map_err(|e| kvm_error("KVM_ENABLE_CAP of KVM_CAP_HALT_POLL", &e))
}

/// The cost of waking a vCPU that sleeps by an irqfd, until a thread that sleeps has its answer by an
/// ioeventfd.
fn irqfd(kvm: &Kvm, payload: &Path, irqchip: Irqchip, table: &mut Table) -> Result<()> {
    let wishes = Wishes::new(Mode::Answer, 1);
    let guest = Guest::new(kvm, payload, 1, irqchip, wishes, |_| {})?;
    do_not_poll(&guest.machine.vm)?;
    let answers = add_ioeventfds(&guest.machine.vm, 1)?;
    let answer = answers
        .first()
        .ok_or_else(|| Error::new("there is no eventfd"))?;
    let wake = EventFd::new(0).context("cannot make an eventfd")?;
    let request = Irqfd {
        fd: wake.as_raw_fd() as u32,
        gsi: layout::WAKE_SPI,
        ..Irqfd::default()
    };
    kvm::ioctl_ref(&*guest.machine.vm, uapi::IRQFD(), &request)
        .map_err(|e| kvm_error("KVM_IRQFD", &e))?;
    let stop = Arc::new(Stop::new()?);
    let threads = Threads::start(guest.machine.vcpus, &Arc::new(guest.bus), &stop)?;
    // The vCPU is on the host's first CPU, and this thread on the last.
    threads.spread(host_cpus()?)?;
    let here = Pinned::to(host_cpus()? - 1)?;
    // The guest is ready.
    answer.read().context("the guest's answer")?;
    let cost = measure::<BATCHES, _>(ROUNDS, |_| {
        // The vCPU first falls asleep, if the scheduler has preferred us.
        thread::yield_now();
        wake.write(1)?;
        answer.read().map(drop)
    })
    .context("irqfd")?;
    drop(here);
    stop.end(Ending::Shutdown);
    drop(threads);
    table.add("irqfd wakes, ioeventfd answers", cost);
    Ok(())
}

/// The measurements of the payload in a machine with so many vCPUs.
fn several_cpus(
    kvm: &Kvm,
    payload: &Path,
    irqchip: Irqchip,
    cpus: u32,
    table: &Arc<Mutex<Table>>,
) -> Result<()> {
    let rows = Arc::clone(table);
    let listener = move |report| match report {
        Report::Measured(name, cost) => lock(&rows).add(&format!("{name}, {cpus} vCPUs"), cost),
        report => eprintln!("monitor: the payload told {report:?}"),
    };
    let host_cpus = host_cpus()?;
    let skip = match host_cpus {
        1 => vec!["SGI to a vCPU that runs".to_owned()],
        _ => Vec::new(),
    };
    let wishes = Wishes {
        skip,
        ..Wishes::new(Mode::Cpus, cpus)
    };
    let guest = Guest::new(kvm, payload, cpus, irqchip, wishes, listener)?;
    do_not_poll(&guest.machine.vm)?;
    let stop = Arc::new(Stop::new()?);
    let threads = Threads::start(guest.machine.vcpus, &Arc::new(guest.bus), &stop)?;
    threads.spread(host_cpus)?;
    let ending = wait(&stop);
    drop(threads);
    match ending {
        Ending::Shutdown => Ok(()),
        ending => Err(Error::new(format!("the payload ended with {ending:?}"))),
    }
}

/// The cost of changes of a slot, beside so many others.
fn slots(kvm: &Kvm, table: &mut Table) -> Result<()> {
    const MOST: usize = 501;
    let memory = AlignedMapping::new(MOST * PAGE_SIZE)?;
    let error = |e| kvm_error("KVM_SET_USER_MEMORY_REGION", &e);
    let vm = kvm
        .create_vm()
        .map_err(|e| kvm_error("KVM_CREATE_VM", &e))?;
    let mut others = 0;
    for many in [0, 1, 100, 500] {
        add_slots(&vm, &memory, 1 + others..1 + many)?;
        others = many;
        // Below all others, and then above.
        let slot = |guest_phys_addr, pages| UserspaceMemoryRegion {
            slot: 0,
            flags: 0,
            guest_phys_addr,
            memory_size: pages * PAGE_SIZE as u64,
            userspace_addr: memory.as_ptr() as usize as u64,
        };
        let states = [
            ("added", slot(0x8000_0000, 1)),
            ("moved", slot(0xfff0_0000, 1)),
            ("deleted", slot(0, 0)),
        ];
        for (which, (what, _)) in states.iter().enumerate() {
            let cost =
                measure_one_of::<BATCHES, _>(which, |n| vm.set_user_memory_region(&states[n].1))
                    .map_err(error)?;
            let s = if many == 1 { "" } else { "s" };
            table.add(&format!("slot {what}, {many} other{s}"), cost);
        }
    }
    Ok(())
}

/// Memory of the host that is free, in KiB.
fn free_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("MemFree:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .ok_or_else(|| Error::new("/proc/meminfo says nothing of free memory"))
}

/// The cost of making VMs and vCPUs.
fn creation(kvm: &Kvm, table: &mut Table) -> Result<()> {
    let create = |_| kvm.create_vm();
    drop(create(0).map_err(|e| kvm_error("KVM_CREATE_VM", &e))?);
    let cost = measure_vms(|round| create(round).map(drop));
    let cost = cost.map_err(|e| kvm_error("KVM_CREATE_VM", &e))?;
    table.add("VM create and close", cost);

    let size = kvm
        .vcpu_mmap_size()
        .map_err(|e| kvm_error("KVM_GET_VCPU_MMAP_SIZE", &e))?;
    for vcpus in [1, 2, 4, 8] {
        let cost = measure_vms(|_| {
            let vm = kvm.create_vm()?;
            let vcpus: std::io::Result<Vec<Vcpu>> =
                (0..vcpus).map(|id| vm.create_vcpu(id, size)).collect();
            vcpus.map(drop)
        });
        let cost = cost.map_err(|e| kvm_error("KVM_CREATE_VCPU", &e))?;
        let s = if vcpus == 1 { "" } else { "s" };
        table.add(&format!("VM create and close, {vcpus} vCPU{s}"), cost);
    }

    let mut vms: Vec<Vm> = Vec::with_capacity(MANY_VMS);
    let before = free_memory()?;
    let cost = measure::<MANY_VMS, _>(1, |round| create(round).map(|vm| vms.push(vm)));
    let cost = cost.map_err(|e| kvm_error("KVM_CREATE_VM", &e))?;
    let memory = before.saturating_sub(free_memory()?) / MANY_VMS as u64;
    table.add("VM create, 64 kept alive", cost);
    table.add_amount(KIB_OF_A_VM, memory);

    let mut fds = Vec::with_capacity(MANY_VMS);
    let before = free_memory()?;
    let cost = measure::<MANY_VMS, _>(1, |round| {
        let vm = &vms[round as usize % MANY_VMS];
        kvm::ioctl(vm, uapi::CREATE_VCPU(), 0).map(|fd| fds.push(fd))
    });
    table.add(
        "vCPU create",
        cost.map_err(|e| kvm_error("KVM_CREATE_VCPU", &e))?,
    );
    let memory = before.saturating_sub(free_memory()?) / MANY_VMS as u64;
    table.add_amount("KiB of memory for each vCPU", memory);
    for fd in fds {
        // SAFETY: The kernel has just given us these.
        unsafe { libc::close(fd) };
    }

    let mut vcpus = Vec::with_capacity(MANY_VMS);
    for vm in &vms {
        let init = vm
            .preferred_target()
            .map_err(|e| kvm_error("KVM_ARM_PREFERRED_TARGET", &e))?;
        let vcpu = vm
            .create_vcpu(1, size)
            .map_err(|e| kvm_error("KVM_CREATE_VCPU", &e))?;
        vcpus.push((vcpu, init));
    }
    let cost = measure::<MANY_VMS, _>(1, |round| {
        let (vcpu, init) = &vcpus[round as usize % MANY_VMS];
        vcpu.init(init)
    });
    table.add(
        "vCPU init",
        cost.map_err(|e| kvm_error("KVM_ARM_VCPU_INIT", &e))?,
    );
    Ok(())
}

/// The number of the host's CPUs.
fn host_cpus() -> Result<usize> {
    let cpus = thread::available_parallelism();
    cpus.map(usize::from).context("the number of CPUs")
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the costs to the file that was asked for.
fn finish(table: &Table, options: &PayloadOptions) -> Result<ExitCode> {
    if let Some(file) = &options.json {
        fs::write(file, table.json()).context(file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures everything, or, on a host with several CPUs, what they do to each other.
pub(crate) fn run(options: &PayloadOptions) -> Result<ExitCode> {
    let kvm = open_kvm()?;
    let (payload, irqchip) = (&options.payload, options.irqchip);
    // The first question starts the count.
    Counts::now();
    Table::print_head();
    let shared = Arc::new(Mutex::new(Table::default()));
    if host_cpus()? > 1 {
        for cpus in [2, 4, 8] {
            several_cpus(&kvm, payload, irqchip, cpus, &shared)?;
        }
        irqfd(&kvm, payload, irqchip, &mut lock(&shared))?;
        return finish(&lock(&shared), options);
    }
    guest(&kvm, payload, irqchip, 1, &shared)?;
    guest(&kvm, payload, irqchip, 500, &shared)?;
    let mut table = lock(&shared);
    native_sleep(&mut table)?;
    native_touch(&mut table, "THP always", libc::MADV_HUGEPAGE)?;
    native_touch(&mut table, "THP never", libc::MADV_NOHUGEPAGE)?;
    exits(&kvm, payload, irqchip, &mut table)?;
    // Early: what VMs that are gone leave in the kernel's caches would be missing in the memory of new ones.
    creation(&kvm, &mut table)?;
    drop(table);
    for cpus in [2, 4, 8] {
        several_cpus(&kvm, payload, irqchip, cpus, &shared)?;
    }
    let mut table = lock(&shared);
    irqfd(&kvm, payload, irqchip, &mut table)?;
    turns(&kvm, payload, irqchip, &mut table)?;
    slots(&kvm, &mut table)?;
    finish(&table, options)
}
