// SPDX-License-Identifier: GPL-2.0

//! The kernel memory of a VM is charged to its process, and comes back.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::Kvm;
use vmm_sys_util::signal::register_signal_handler;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, new_vcpu, new_vm, slot, Gic, Guest, Memory, BASE, PAGE};

pub(crate) const TESTS: &[Test] = &[
    ("accounting: stage-2 tables, and their end", tables),
    ("accounting: dirty logs", logs),
    ("accounting: VMs and vCPUs", vms),
    (
        "accounting: a signal when the CPU time is used up",
        signal_without_cpu_time,
    ),
];

const ROOT: &str = "/tmp/cgroup";

/// A cgroup that this process, which has no other threads, moves into.
struct Group(String);

impl Group {
    fn enter(name: &str) -> Result<Self, String> {
        if !Path::new(&format!("{ROOT}/cgroup.procs")).exists() {
            fs::create_dir_all(ROOT).works(ROOT)?;
            let root = c"/tmp/cgroup";
            // SAFETY: Strings that end with a zero, and no data.
            let result = unsafe {
                libc::mount(
                    c"none".as_ptr(),
                    root.as_ptr(),
                    c"cgroup2".as_ptr(),
                    0,
                    std::ptr::null(),
                )
            };
            ensure(result == 0, "there is no cgroup2 to mount")?;
        }
        fs::write(format!("{ROOT}/cgroup.subtree_control"), "+memory").works("+memory")?;
        let path = format!("{ROOT}/{name}");
        fs::create_dir_all(&path).works(&path)?;
        fs::write(format!("{path}/cgroup.procs"), "0").works("cgroup.procs")?;
        Ok(Self(path))
    }

    /// Gives the group so much CPU time in each period, in microseconds.
    fn limit_cpu(&self, time: u32, period: u32) -> Outcome {
        fs::write(format!("{ROOT}/cgroup.subtree_control"), "+cpu").works("+cpu")?;
        let path = format!("{}/cpu.max", self.0);
        fs::write(&path, format!("{time} {period}")).works(path)
    }

    /// The kernel's memory that is charged to the group, in bytes.
    fn kernel(&self) -> Result<i64, String> {
        // CPUs keep changes of their counters to themselves, up to 64 pages for each CPU, until a
        // reader comes.
        let pages = Memory::new(4 << 20)?;
        pages.advise_part(0, 4 << 20, libc::MADV_NOHUGEPAGE)?;
        for page in 0..(4 << 20) / PAGE {
            pages.write_words(page * PAGE, &[1]);
        }
        drop(pages);
        let path = format!("{}/memory.stat", self.0);
        let text = fs::read_to_string(&path).works(&path)?;
        text.lines()
            .find_map(|line| line.strip_prefix("kernel ")?.parse().ok())
            .ok_or_else(|| format!("{path} says nothing of the kernel"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(format!("{ROOT}/cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.0);
    }
}

/// How many signals were handled.
static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// A vCPU's thread that has used up its CPU time waits on its way to user space, and then goes on
/// with KVM_RUN. But a signal that comes meanwhile, and is handled, ends KVM_RUN.
fn signal_without_cpu_time() -> Outcome {
    const ROUNDS: u32 = 10;
    // A slow host does less in its CPU time, and owes more of it.
    let factor = kvm::patience(1).as_secs() as u32;
    register_signal_handler(libc::SIGALRM, on_signal).map_err(|e| e.to_string())?;
    let guest = Guest::new(&[code::LOOP])?;
    let group = Group::enter("cpu")?;
    group.limit_cpu(4000, 100_000)?;
    let alarm_every = |micros: u32| {
        let time = libc::timeval {
            tv_sec: (micros / 1_000_000) as libc::time_t,
            tv_usec: (micros % 1_000_000) as libc::suseconds_t,
        };
        let timer = libc::itimerval {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: A timer of this process, which handles its signal.
        let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
        ensure(result == 0, "setitimer")
    };
    for round in 0..ROUNDS {
        let before = SIGNALS.load(Ordering::SeqCst);
        alarm_every(factor * (300_000 + 7_000 * round))?;
        let result = guest.vcpu.run();
        alarm_every(0)?;
        fails("KVM_RUN", result, &[libc::EINTR])?;
        equal("exit reason", guest.vcpu.run.exit_reason(), uapi::EXIT_INTR)?;
        // The first one ends it, unless this thread had no CPU time to begin it before that came.
        let signals = SIGNALS.load(Ordering::SeqCst) - before;
        ensure((1..=2).contains(&signals), format!("{signals} signals"))?;
    }
    Ok(())
}

/// Fails unless memory is charged within bounds.
fn charged(what: &str, bytes: i64, least: i64, most: i64) -> Outcome {
    ensure(
        (least..=most).contains(&bytes),
        format!("{what}: {bytes} bytes are charged, not {least} to {most}"),
    )
}

/// The memory that the kernel keeps, and charges for, of things that are gone.
const SLACK: i64 = 128 << 10;

/// Waits until the charge is back at `before`, since some memory is freed late. Returns the charge.
fn given_back(group: &Group, what: &str, before: i64) -> Result<i64, String> {
    let (start, patience) = (Instant::now(), kvm::patience(5));
    loop {
        let now = group.kernel()?;
        if now - before <= SLACK {
            return Ok(now);
        }
        let more = now - before;
        let still = format!("{what}: {more} bytes more are charged still");
        ensure(start.elapsed() < patience, still)?;
    }
}

/// A page in each of many slots, 2 MiB apart, needs a table for each.
fn tables() -> Outcome {
    const STEP: u32 = 0x20_0000;
    const SLOTS: u32 = 500;
    let group = Group::enter("tables")?;
    let guest = Guest::new(&code::store_to_each())?;
    let memory = Memory::new(PAGE)?;
    memory.write_words(0, &[0]);
    let base = BASE + 0x100_0000;
    for n in 0..SLOTS {
        guest
            .vm
            .set_user_memory_region(&slot(n + 1, u64::from(base + n * STEP), &memory, PAGE))
            .works(format!("slot {n}"))?;
    }
    guest.set(0, base)?;
    guest.set(1, SLOTS)?;
    guest.set(2, STEP)?;
    let before = group.kernel()?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let expected = i64::from(SLOTS) * PAGE as i64;
    charged(
        "tables",
        group.kernel()? - before,
        expected - SLACK,
        expected + SLACK,
    )?;
    // The tables go with the slots, and not just with the VM.
    for n in 0..SLOTS {
        guest
            .vm
            .set_user_memory_region(&slot(n + 1, u64::from(base + n * STEP), &memory, 0))
            .works(format!("delete slot {n}"))?;
    }
    given_back(&group, "after the slots", before).map(drop)
}

fn logs() -> Outcome {
    const SIZE: usize = 512 << 20;
    let group = Group::enter("logs")?;
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::map(
        SIZE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
        libc::PROT_READ | libc::PROT_WRITE,
        0,
    )?;
    let region = |n: u32, flags: u32| UserspaceMemoryRegion {
        flags,
        ..slot(
            n,
            u64::from(BASE) + u64::from(n) * SIZE as u64,
            &memory,
            SIZE,
        )
    };
    const LOGS: u32 = 128;
    let set = |flags: u32| -> Outcome {
        for n in 0..LOGS {
            vm.set_user_memory_region(&region(n, flags))
                .works(format!("slot {n}, flags {flags}"))?;
        }
        Ok(())
    };
    set(0)?;
    let before = group.kernel()?;
    set(uapi::MEM_LOG_DIRTY_PAGES)?;
    let expected = i64::from(LOGS) * (SIZE / PAGE / 8) as i64;
    charged(
        "logs",
        group.kernel()? - before,
        expected - SLACK,
        expected * 2 + SLACK,
    )?;
    set(0)?;
    given_back(&group, "after the logs", before).map(drop)
}

/// The costs that Documentation/memory.md tells.
fn vms() -> Outcome {
    const VMS: i64 = 200;
    const KIB: i64 = 1024;
    let group = Group::enter("vms")?;
    let idle = group.kernel()?;
    let measure = |vcpus: u32, gic: bool| -> Result<i64, String> {
        let before = given_back(&group, "between VMs", idle)?;
        let mut all = Vec::new();
        let kvm = Kvm::open().works("/dev/kvm")?;
        for _ in 0..VMS {
            let vm = kvm.create_vm().works("KVM_CREATE_VM")?;
            let device = if gic { Some(Gic::of_vm(&vm)?) } else { None };
            let mut of_vm = Vec::new();
            for id in 0..vcpus {
                of_vm.push(new_vcpu(&kvm, &vm, id)?);
            }
            if let Some(gic) = &device {
                gic.init()?;
            }
            all.push((vm, device, of_vm));
        }
        Ok((group.kernel()? - before) / VMS)
    };
    // The first of anything fills the kernel's caches.
    measure(2, true)?;
    let vm = measure(0, false)?;
    let with_one = measure(1, false)?;
    let with_two = measure(2, false)?;
    let vcpu = with_two - with_one;
    // The first vCPU's `mmap` makes the ring of coalesced MMIO, which is behind its page.
    let ring = with_one - vcpu - vm;
    let gic = measure(2, true)? - with_two;
    println!(
        "# a VM: {vm} bytes, its ring: {ring}, a vCPU: {vcpu} bytes, a vGIC for two: {gic} bytes"
    );
    // A kernel that looks for defects adds to each lock and around each object.
    let most = |kib: i64| {
        let factor = if Path::new("/proc/lockdep").exists() {
            4
        } else {
            1
        };
        kib * KIB * factor
    };
    charged("a VM", vm, 9 * KIB, most(13))?;
    charged("a ring", ring, 3 * KIB, most(5))?;
    charged("a vCPU", vcpu, 10 * KIB, most(12))?;
    charged("a vGIC", gic, 3 * KIB, most(6))?;
    given_back(&group, "after all", idle).map(drop)
}
