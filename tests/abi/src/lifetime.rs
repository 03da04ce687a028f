// SPDX-License-Identifier: GPL-2.0

//! Files closed in any order, processes that die: everything comes back.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use kvm::ioctl;
use kvm::uapi::{self, OneReg};
use vmm_sys_util::signal::{register_signal_handler, SIGRTMIN};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{
    code, has_huge_pages, init, new_vcpu, new_vm, run_passes, slot, Aligned, Gic, Guest, Memory,
    BASE, HOLE, HUGE, PAGE, PSCI_SYSTEM_OFF,
};
use crate::has_vgic;
use crate::memory::memfd;
use crate::stress::Random;

pub(crate) const TESTS: &[Test] = &[
    ("close: /dev/kvm and the VM before the vCPU", vm_first),
    ("close: vCPU and VM before the page", page_last),
    ("close: the device last", device_last),
    ("close: all orders", all_orders),
    ("SIGKILL in the middle of RUN", killed),
    ("100 VMs killed at random points", killed_anywhere),
    ("100 VMs one after the other", hundred_in_a_row),
    ("100 VMs at once", hundred_at_once),
    ("VMs that live through a roll-over of VMIDs", vmid_roll_over),
    ("another process", another_process),
    ("SIGKILL while another thread has the vCPU", killed_waiter),
];

/// The argument that makes this program run a guest that does not end.
pub(crate) const SPIN: &str = "--spin";

/// Runs a guest that does not end.
pub(crate) fn spin() -> ExitCode {
    let outcome = Guest::new(&[code::LOOP]).and_then(|guest| {
        // Memory that has to come back.
        for page in 0..crate::guest::SIZE / crate::guest::PAGE {
            guest
                .memory
                .write_words(page * crate::guest::PAGE + 64, &[1]);
        }
        println!("running");
        guest.vcpu.run().works("KVM_RUN")
    });
    eprintln!("{outcome:?}");
    ExitCode::FAILURE
}

/// The free memory of the host, in KiB.
struct HostMemory {
    /// Free memory. That includes what each CPU has put aside for its next allocations, which can
    /// be megabytes, and more from run to run.
    free: i64,
    /// The memory of the kernel's own objects.
    slab: i64,
}

impl HostMemory {
    /// The free memory after the end of late frees.
    fn now() -> Result<Self, String> {
        thread::sleep(Duration::from_millis(300));
        let text = fs::read_to_string("/proc/meminfo").works("/proc/meminfo")?;
        let value = |name| {
            text.lines()
                .find_map(|line| {
                    let value = line.strip_prefix(name)?.trim();
                    value.strip_suffix(" kB")?.parse::<i64>().ok()
                })
                .ok_or_else(|| format!("/proc/meminfo says nothing of {name}"))
        };
        let zones = fs::read_to_string("/proc/zoneinfo").works("/proc/zoneinfo")?;
        let aside: i64 = zones
            .lines()
            .filter_map(|line| {
                line.trim()
                    .strip_prefix("count:")?
                    .trim()
                    .parse::<i64>()
                    .ok()
            })
            .sum();
        Ok(Self {
            free: value("MemFree:")? + 4 * aside,
            slab: value("SUnreclaim:")?,
        })
    }
}

/// Runs something again and again. A leak would lose memory in each run; the kernel's caches keep
/// some only at first, and the noise of the rest of the system comes and goes. Passes if over some
/// runs no more than so many KiB are lost in each.
fn leaves_memory(most: i64, mut what: impl FnMut() -> Outcome) -> Outcome {
    /// Over fewer runs, the noise can be as much as is lost.
    const LEAST: usize = 2;
    /// On a busy machine the time is over after two or three runs, in which the caches still grow.
    const ENOUGH: usize = 12;
    let (start, patience) = (Instant::now(), kvm::patience(40));
    what()?;
    let mut seen = vec![HostMemory::now()?];
    while start.elapsed() < patience || seen.len() < ENOUGH {
        what()?;
        let now = HostMemory::now()?;
        let keeps = |(runs, before): (usize, &HostMemory)| {
            let most = most * (runs as i64 + 1);
            runs + 1 >= LEAST && before.free - now.free < most && now.slab - before.slab < most
        };
        if seen.iter().rev().enumerate().any(keeps) {
            return Ok(());
        }
        seen.push(now);
    }
    let seen: Vec<_> = seen.iter().map(|at| (at.free, at.slab)).collect();
    Err(format!(
        "more than {most} KiB are lost each time: free memory and slab were {seen:?}"
    ))
}

fn vm_first() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    let Guest {
        vcpu,
        vm,
        kvm,
        memory,
    } = guest;
    drop(kvm);
    drop(vm);
    vcpu.run().works("KVM_RUN")?;
    equal(
        "exit reason",
        vcpu.run.exit_reason(),
        uapi::EXIT_SYSTEM_EVENT,
    )?;
    drop(memory);
    Ok(())
}

fn page_last() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let Guest { vcpu, vm, kvm, .. } = guest;
    let (file, page) = vcpu.into_parts();
    drop(file);
    drop(vm);
    drop(kvm);
    equal("exit reason", page.exit_reason(), uapi::EXIT_SYSTEM_EVENT)?;
    page.set_immediate_exit(true);
    Ok(())
}

fn device_last() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let gic = vm
        .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
        .works("KVM_CREATE_DEVICE")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    drop(kvm);
    drop(vcpu);
    drop(vm);
    gic.set_attr(uapi::VGIC_GRP_ADDR, 0, &0x3fff_0000u64)
        .works("KVM_SET_DEVICE_ATTR")
}

fn all_orders() -> Outcome {
    // The order in which four files are closed, as a number of base four.
    for order in 0..256u32 {
        let digits: Vec<u32> = (0..4).map(|place| (order >> (place * 2)) & 3).collect();
        if (0..4).any(|file| !digits.contains(&file)) {
            continue;
        }
        let (kvm, vm) = new_vm()?;
        let memory = Memory::new(crate::guest::SIZE)?;
        let slot = crate::guest::slot(0, BASE.into(), &memory, crate::guest::SIZE);
        vm.set_user_memory_region(&slot).works("memory")?;
        let gic = vm
            .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
            .works("KVM_CREATE_DEVICE")?;
        let vcpu = new_vcpu(&kvm, &vm, 0)?;
        let (mut kvm, mut vm, mut gic, mut vcpu) = (Some(kvm), Some(vm), Some(gic), Some(vcpu));
        for file in digits {
            match file {
                0 => drop(kvm.take()),
                1 => drop(vm.take()),
                2 => drop(gic.take()),
                _ => drop(vcpu.take()),
            }
        }
    }
    Ok(())
}

fn kill_one() -> Outcome {
    let mut child = Command::new("/proc/self/exe")
        .arg(SPIN)
        .stdout(Stdio::piped())
        .spawn()
        .works("another process")?;
    let mut line = [0; 8];
    if let Some(output) = &mut child.stdout {
        output.read_exact(&mut line).works("its output")?;
    }
    thread::sleep(Duration::from_millis(50));
    let running = child.try_wait().works("its state")?;
    ensure(running.is_none(), format!("it ended: {running:?}"))?;
    child.kill().works("SIGKILL")?;
    child.wait().works("wait").map(drop)
}

fn killed() -> Outcome {
    // Each has 64 KiB of memory, and as much again for itself.
    leaves_memory(100, || {
        for _ in 0..10 {
            kill_one()?;
        }
        Ok(())
    })
}

/// The argument that makes this program a victim: it makes and runs a VM until it is killed. The
/// next arguments are a file of a page, through which its guest reports that it runs, and the other
/// things that the VM has.
pub(crate) const VICTIM: &str = "--victim";

/// The things that a victim's VM can have, as bits of a number.
const WITH_GIC: u32 = 1;
const WITH_BLOCK: u32 = 2;
const WITH_LOG: u32 = 4;
const ALL_KINDS: u32 = 8;

/// Makes a VM and runs it for ever.
pub(crate) fn victim(path: &str, kind: &str) -> ExitCode {
    let outcome = kind
        .parse()
        .map_err(|e| format!("{kind}: {e}"))
        .and_then(|kind| run_victim(path, kind));
    eprintln!("{outcome:?}");
    ExitCode::FAILURE
}

fn run_victim(path: &str, kind: u32) -> Outcome {
    const REPORT: u32 = BASE + 0x100_0000;
    const DATA: u32 = BASE + 0x200_0000;
    // str r7, [r7]; then, again and again: ldr r4, [r8]; add r4, r4, #1; str r4, [r8]; ldr r6, [r5]
    let mut program = vec![code::str(7, 7)];
    program.extend([code::ldr(4, 8), 0xe284_4001, code::str(4, 8)]);
    program.extend([code::ldr(6, 5), 0xeaff_fffa]);
    let guest = Guest::new(&program)?;
    let Guest { kvm, vm, vcpu, .. } = &guest;
    let gic = match kind & WITH_GIC {
        WITH_GIC if has_vgic() => Some(Gic::new(&guest)?),
        _ => None,
    };
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.works(path)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let report = Memory::map(PAGE, libc::MAP_SHARED, file.as_raw_fd(), protection, 0)?;
    let region = slot(1, REPORT.into(), &report, PAGE);
    vm.set_user_memory_region(&region).works("a slot")?;
    let data = Aligned::new(HUGE)?;
    let advice = match kind & WITH_BLOCK {
        WITH_BLOCK if has_huge_pages() => libc::MADV_HUGEPAGE,
        _ => libc::MADV_NOHUGEPAGE,
    };
    data.advise(advice)?;
    let mut region = data.slot(2, DATA, 0, HUGE);
    vm.set_user_memory_region(&region).works("a slot")?;
    let second = new_vcpu(kvm, vm, 1)?;
    init(vm, &second)?;
    if let Some(gic) = gic {
        gic.init()?;
    }
    for (id, vcpu) in [vcpu, &second].into_iter().enumerate() {
        for (word, value) in [
            (uapi::CORE_PC, BASE),
            (5, HOLE),
            (7, REPORT),
            (8, DATA + (id * PAGE) as u32),
        ] {
            let id = uapi::core_reg(word);
            vcpu.set_reg(id, value).works("KVM_SET_ONE_REG")?;
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let runner = scope.spawn(|| run_passes(&second, &stop));
        while !runner.is_finished() {
            vcpu.run().works("KVM_RUN")?;
            // The block is split, and made again, all the time.
            if kind & WITH_LOG != 0 {
                region.flags ^= uapi::MEM_LOG_DIRTY_PAGES;
                vm.set_user_memory_region(&region).works("the log")?;
            }
        }
        Err("a vCPU came to its end".into())
    })
}

/// Starts a victim. Its guest's word is in the page.
fn start_victim(page: &Memory, file: &fs::File, kind: u32) -> Result<Child, String> {
    page.write_words(0, &[0]);
    Command::new("/proc/self/exe")
        .arg(VICTIM)
        .arg(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            file.as_raw_fd()
        ))
        .arg(kind.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .works("another process")
}

/// Kills a victim and says whether its guest has run.
fn kill(page: &Memory, mut child: Child) -> Result<bool, String> {
    let ended = child.try_wait().works("its state")?;
    ensure(ended.is_none(), format!("it ended by itself: {ended:?}"))?;
    child.kill().works("SIGKILL")?;
    child.wait().works("wait")?;
    Ok(page.word(0) != 0)
}

/// Processes are killed at all moments of making and running VMs, of all kinds.
fn killed_anywhere() -> Outcome {
    const VICTIMS: u32 = 34;
    let patience = kvm::patience(20);
    let file = memfd(PAGE)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let page = Memory::map(PAGE, libc::MAP_SHARED, file.as_raw_fd(), protection, 0)?;
    // How long they take to have a guest that runs.
    let mut times = Vec::new();
    for kind in 0..ALL_KINDS {
        let start = Instant::now();
        let child = start_victim(&page, &file, kind)?;
        while page.word(0) == 0 && start.elapsed() < patience {
            thread::yield_now();
        }
        times.push(start.elapsed());
        ensure(kill(&page, child)?, format!("no guest of kind {kind} runs"))?;
    }
    times.sort_unstable();
    let usual = times[times.len() / 2];
    let mut seed = [0; 4];
    let mut random = fs::File::open("/dev/urandom").works("/dev/urandom")?;
    random.read_exact(&mut seed).works("/dev/urandom")?;
    let seed = u32::from_ne_bytes(seed) | 1;
    let mut random = Random(seed);
    let (mut ran, mut killed) = (0, 0);
    let result = leaves_memory(34, || {
        for _ in 0..VICTIMS {
            let kind = random.next() as u32 % ALL_KINDS;
            let part = random.next() as u32 % 1024;
            let child = start_victim(&page, &file, kind)?;
            // From before its first instruction to long after its guest's.
            thread::sleep(usual * part / 512);
            ran += u32::from(kill(&page, child)?);
            killed += 1;
        }
        Ok(())
    });
    let all = format!("of {killed} VMs {ran} ran when they were killed, with {seed:#x} for a seed");
    println!("# {all}");
    result.map_err(|why| format!("{why}; {all}"))?;
    ensure(ran >= 10 && killed - ran >= 10, all)
}

fn hundred_in_a_row() -> Outcome {
    leaves_memory(50, || {
        for _ in 0..100 {
            let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
            guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
        }
        Ok(())
    })
}

fn hundred_at_once() -> Outcome {
    leaves_memory(50, || {
        let guests: Result<Vec<Guest>, String> = (0..100)
            .map(|_| Guest::new(&code::psci(PSCI_SYSTEM_OFF)))
            .collect();
        for guest in &guests? {
            guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
        }
        Ok(())
    })
}

/// There are 255 VMIDs. VMs with the same number would see each other's memory in the TLBs.
fn vmid_roll_over() -> Outcome {
    const COUNTER: usize = 0x1000;
    const ADD_R2_1: u32 = 0xe282_2001;
    const BACK_TO_LOAD: u32 = 0xeaff_fffa;
    let [base_low, base_high] = code::load(3, BASE + COUNTER as u32);
    let [hole_low, hole_high] = code::load(1, HOLE);
    // Counts in memory, with an exit after each step.
    let program = [
        base_low,
        base_high,
        hole_low,
        hole_high,
        code::ldr(2, 3),
        ADD_R2_1,
        code::str(2, 3),
        code::str(2, 1),
        BACK_TO_LOAD,
    ];
    let step = |guest: &Guest, expected: u32| {
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("the counter", guest.memory.word(COUNTER), expected)
    };
    let mut old = Vec::new();
    for n in 0..4u32 {
        let guest = Guest::new(&program)?;
        guest.memory.write_words(COUNTER, &[n << 16]);
        step(&guest, (n << 16) + 1)?;
        old.push(guest);
    }
    for round in 2..4 {
        for _ in 0..270 {
            let guest = Guest::new(&program)?;
            step(&guest, 1)?;
        }
        for (n, guest) in (0..).zip(&old) {
            step(guest, (n << 16) + round)?;
        }
    }
    Ok(())
}

/// A VM belongs to the process that made it.
fn another_process() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    // SAFETY: There is one thread; the child makes system calls and nothing else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = |result: std::io::Result<()>| {
            result.is_err_and(|e| e.raw_os_error() == Some(libc::EIO))
        };
        let good = refused(guest.vcpu.run())
            && refused(ioctl(&guest.vm, uapi::CREATE_VCPU(), 1).map(drop));
        // SAFETY: Ends the child.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    ensure(child > 0, "fork failed")?;
    let mut status = 0;
    // SAFETY: Waits for our child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    equal("what the other process saw", libc::WEXITSTATUS(status), 0)?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    fails(
        "a second KVM_CREATE_VCPU 0",
        ioctl(&guest.vm, uapi::CREATE_VCPU(), 0),
        &[libc::EEXIST],
    )
}

/// The arguments of [`wait_for_vcpu`].
struct Waiter {
    vcpu: i32,
    reg: OneReg,
}

/// Reads a register of a vCPU, as a process that shares this one's memory.
extern "C" fn wait_for_vcpu(waiter: *mut libc::c_void) -> libc::c_int {
    // SAFETY: The other process keeps it as long as this one lives.
    let waiter = unsafe { &*waiter.cast::<Waiter>() };
    // SAFETY: The structure that the ioctl takes.
    unsafe { libc::ioctl(waiter.vcpu, uapi::GET_ONE_REG() as _, &waiter.reg) }
}

/// A thread that waits for a vCPU in KVM_RUN can be killed at once. The threads of a process die
/// together, and that ends KVM_RUN as well. So the waiter is a process with the same memory.
fn killed_waiter() -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let guest = Guest::new(&[code::WFI, code::LOOP])?;
    let mut value = 0u32;
    let waiter = Waiter {
        vcpu: guest.vcpu.as_raw_fd(),
        reg: OneReg {
            id: uapi::core_reg(uapi::CORE_PC),
            addr: (&raw mut value) as usize as u64,
        },
    };
    let mut stack = vec![0u64; 8192];
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: Asks for the caller's thread.
            let _ = sender.send(unsafe { libc::pthread_self() });
            guest.vcpu.run()
        });
        let id = receiver.recv().map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(100));
        // SAFETY: The stack and the arguments outlive the process, which does nothing but an ioctl.
        let child = unsafe {
            libc::clone(
                wait_for_vcpu,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD,
                (&raw const waiter).cast_mut().cast(),
            )
        };
        let ended = |options| {
            let mut status = 0;
            // SAFETY: Our own child.
            let pid = unsafe { libc::waitpid(child, &mut status, options) };
            (pid == child).then_some(status)
        };
        thread::sleep(Duration::from_millis(100));
        let early = ended(libc::WNOHANG);
        // SAFETY: Our own child, which has not been waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        let killed = (0..100).find_map(|_| {
            thread::sleep(Duration::from_millis(20));
            ended(libc::WNOHANG)
        });
        while !thread.is_finished() {
            // SAFETY: The thread has not been joined, so that its name is good.
            unsafe { libc::pthread_kill(id, SIGRTMIN()) };
            thread::sleep(Duration::from_millis(20));
        }
        if killed.is_none() {
            ended(0);
        }
        ensure(
            child > 0 && early.is_none(),
            "the other process did not wait",
        )?;
        let status = killed.ok_or("it is not killed while it waits")?;
        ensure(
            libc::WIFSIGNALED(status),
            format!("it ended with status {status:#x}"),
        )
    })
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
