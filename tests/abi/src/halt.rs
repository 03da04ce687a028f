// SPDX-License-Identifier: GPL-2.0

//! vCPUs that wait: WFI and its polling, WFE, suspension, real-time threads; and the time that
//! guests take.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use kvm::{uapi, Vcpu, Vm};
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, Guest, BASE, HOLE, PSCI_SYSTEM_OFF};

pub(crate) const TESTS: &[Test] = &[
    ("halt: KVM_CAP_HALT_POLL", halt_poll),
    ("halt: parameters of the module", parameters),
    ("halt: a suspended vCPU wakes its monitor", suspended),
    ("halt: a suspended vCPU and a signal", suspended_signal),
    ("halt: real-time vCPUs take turns by WFE", || {
        turns(libc::SCHED_FIFO)
    }),
    ("halt: vCPUs take turns by WFE", || turns(libc::SCHED_OTHER)),
    (
        "halt: a real-time vCPU in WFI leaves its CPU",
        real_time_wfi,
    ),
    ("halt: time of the guest is accounted", guest_time),
];

fn enable(vm: &Vm, flags: u32, max: u64) -> std::io::Result<()> {
    vm.enable_cap(uapi::CAP_HALT_POLL, flags, [max, 0, 0, 0])
}

fn halt_poll() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    let found = guest.kvm.check_extension(uapi::CAP_HALT_POLL);
    equal("KVM_CAP_HALT_POLL", found.works("KVM_CHECK_EXTENSION")?, 1)?;
    for max in [0, 1, 200_000, u64::from(u32::MAX)] {
        enable(&guest.vm, 0, max).works(format!("{max} ns"))?;
    }
    for (flags, max) in [(0, 1 << 32), (0, u64::MAX), (1, 0)] {
        let result = enable(&guest.vm, flags, max);
        fails(format!("{max} ns, flags {flags}"), result, &[libc::EINVAL])?;
    }
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)
}

/// The knobs of halt-polling.rst, with its defaults, and the largest window of Linux 5.6 for Arm.
fn parameters() -> Outcome {
    for (name, default) in [
        ("halt_poll_ns", "500000"),
        ("halt_poll_ns_grow", "2"),
        ("halt_poll_ns_grow_start", "10000"),
        ("halt_poll_ns_shrink", "2"),
    ] {
        let path = format!("/sys/module/kvm_arm/parameters/{name}");
        let value = || -> Result<String, String> {
            let text = fs::read_to_string(&path).works(name)?;
            Ok(text.trim().to_string())
        };
        equal(name, value()?.as_str(), default)?;
        fs::write(&path, "12345").works(name)?;
        equal(name, value()?.as_str(), "12345")?;
        fs::write(&path, default).works(name)?;
        fails(name, fs::write(&path, "-1"), &[libc::EINVAL])?;
    }
    Ok(())
}

fn irq(vm: &Vm, level: bool) -> Outcome {
    let irq = uapi::IRQ_TYPE_CPU << uapi::IRQ_TYPE_SHIFT;
    vm.irq_line(irq, level).works("KVM_IRQ_LINE")
}

/// KVM_MP_STATE_SUSPENDED: waits for an interrupt, and goes on only when the monitor says so.
fn suspended() -> Outcome {
    let mut program = Vec::new();
    program.extend(code::load(0, HOLE));
    program.extend([code::str(0, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let vcpu = &guest.vcpu;
    vcpu.set_mp_state(uapi::MP_STATE_SUSPENDED)
        .works("suspend")?;
    let state = || vcpu.mp_state().works("KVM_GET_MP_STATE");
    equal("state", state()?, uapi::MP_STATE_SUSPENDED)?;
    let woken = || {
        guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
        let event = vcpu.run.system_event().event;
        equal("event", event, uapi::SYSTEM_EVENT_WAKEUP)?;
        equal("pc", guest.get(uapi::CORE_PC)?, BASE)?;
        equal("state", state()?, uapi::MP_STATE_SUSPENDED)
    };
    let is_raised = AtomicBool::new(false);
    thread::scope(|scope| {
        let raiser = scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            is_raised.store(true, Ordering::SeqCst);
            irq(&guest.vm, true)
        });
        woken()?;
        ensure(is_raised.load(Ordering::SeqCst), "it did not wait")?;
        raiser.join().map_err(|_| "panic")?
    })?;
    // The interrupt is still there, and so is the state.
    woken()?;
    vcpu.set_mp_state(uapi::MP_STATE_RUNNABLE).works("resume")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("state", state()?, uapi::MP_STATE_RUNNABLE)?;
    // A reset ends it, too.
    vcpu.set_mp_state(uapi::MP_STATE_SUSPENDED)
        .works("suspend")?;
    init(&guest.vm, vcpu)?;
    equal("state", state()?, uapi::MP_STATE_RUNNABLE)
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

fn suspended_signal() -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let Guest { vcpu, .. } = Guest::new(&[code::LOOP])?;
    vcpu.set_mp_state(uapi::MP_STATE_SUSPENDED)
        .works("suspend")?;
    let thread = thread::spawn(move || {
        let result = vcpu.run();
        (result, vcpu.run.exit_reason())
    });
    thread::sleep(Duration::from_millis(50));
    while !thread.is_finished() {
        thread.kill(SIGRTMIN()).map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(20));
    }
    let (result, reason) = thread.join().map_err(|_| "panic")?;
    fails("KVM_RUN", result, &[libc::EINTR])?;
    equal("exit reason", reason, uapi::EXIT_INTR)
}

/// Puts the calling thread on the first CPU, under a policy.
fn move_to_first_cpu(policy: libc::c_int) -> Outcome {
    // The policy first: others may have a higher priority there.
    let parameter = libc::sched_param {
        sched_priority: (policy != libc::SCHED_OTHER).into(),
    };
    // SAFETY: Reads the parameter.
    let set = unsafe { libc::sched_setscheduler(0, policy, &parameter) };
    equal("sched_setscheduler", set, 0)?;
    // SAFETY: A set of CPUs consists of bits; zero is a value of it.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: The set is ours.
    unsafe { libc::CPU_SET(0, &mut cpus) };
    // SAFETY: Reads the set, of that size.
    let moved = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus) };
    equal("sched_setaffinity", moved, 0)
}

/// How long a thread, by the clock of that thread, has had a CPU.
fn time_of(clock: libc::clockid_t) -> Duration {
    // SAFETY: A time consists of integers; zero is a value of it.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: Writes the time.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long the calling thread has had a CPU.
fn thread_time() -> Duration {
    time_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// A vCPU that runs in a thread of its own.
struct OnFirstCpu {
    /// The clock of the thread, which works as long as this value lives.
    clock: libc::clockid_t,
    /// How the run went: how long this thread had the CPU, and how long the other one had it
    /// meanwhile.
    times: Receiver<Result<(Duration, Duration), String>>,
    _keeps_thread: Sender<()>,
}

/// Runs a vCPU in a thread on the first CPU until it comes back for a reason. Times are taken of that
/// thread, and of another one beside it.
fn run_on_first_cpu(
    vcpu: Vcpu,
    policy: libc::c_int,
    reason: u32,
    beside: Option<libc::clockid_t>,
) -> Result<OnFirstCpu, String> {
    let (clock, own_clock) = channel();
    let (sender, times) = channel();
    let (keeps_thread, end) = channel::<()>();
    thread::spawn(move || {
        let mut id = 0;
        // SAFETY: Writes the clock's number.
        let known = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) };
        let _ = clock.send(equal("pthread_getcpuclockid", known, 0).map(|()| id));
        let now = || (thread_time(), beside.map_or(Duration::ZERO, time_of));
        let run = || {
            move_to_first_cpu(policy)?;
            let start = now();
            vcpu.run().works("KVM_RUN")?;
            let end = now();
            equal("exit reason", vcpu.run.exit_reason(), reason)?;
            Ok((end.0 - start.0, end.1 - start.1))
        };
        let _ = sender.send(run());
        let _ = end.recv();
    });
    Ok(OnFirstCpu {
        clock: own_clock.recv().map_err(|e| e.to_string())??,
        times,
        _keeps_thread: keeps_thread,
    })
}

fn receive<T>(what: &str, from: &Receiver<Result<T, String>>) -> Result<T, String> {
    from.recv_timeout(kvm::patience(30))
        .map_err(|e| format!("{what}: {e}"))?
        .map_err(|e| format!("{what}: {e}"))
}

/// Where the guests below say that they are there, and that they have done their work.
const SPINS: usize = 0x800;
const DONE: usize = 0x804;
/// How often a guest that works goes round.
const ROUNDS: u32 = 100_000_000;

/// Says that it is there, spins with WFE until the work is done, and ends.
fn spinner() -> Vec<u32> {
    let mut program = Vec::new();
    program.extend(code::load(0, BASE + SPINS as u32));
    program.extend(code::load(2, BASE + DONE as u32));
    program.extend([
        code::str(0, 0),
        code::WFE,
        code::ldr(1, 2),
        // cmp r1, #0; beq to the wfe
        0xe351_0000,
        0x0aff_fffb,
    ]);
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    program
}

/// Works, says that the work is done, and comes back.
fn worker() -> Vec<u32> {
    let mut program = Vec::new();
    program.extend(code::load(0, ROUNDS));
    program.extend(code::load(2, BASE + DONE as u32));
    program.extend([
        // subs r0, r0, #1; bne to it
        0xe250_0001,
        0x1aff_fffd,
        code::str(2, 2),
    ]);
    program.extend(code::load(0, HOLE));
    program.extend([code::str(0, 0), code::LOOP]);
    program
}

/// A vCPU spins until another one on the same CPU has done something. Under SCHED_FIFO the other
/// would never run if the spinning one did not give it the CPU.
fn turns(policy: libc::c_int) -> Outcome {
    let mut guest = Guest::new(&spinner())?;
    guest.memory.write_words(0x400, &worker());
    let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &second)?;
    second
        .set_reg(uapi::core_reg(uapi::CORE_PC), BASE + 0x400)
        .works("pc")?;
    let replacement = new_vcpu(&guest.kvm, &guest.vm, 2)?;
    let first = std::mem::replace(&mut guest.vcpu, replacement);
    let spinning = run_on_first_cpu(first, policy, uapi::EXIT_SYSTEM_EVENT, None)?;
    let since = Instant::now();
    while guest.memory.word(SPINS) == 0 {
        ensure(since.elapsed() < kvm::patience(20), "no guest")?;
        thread::sleep(Duration::from_millis(1));
    }
    // The first one has spun alone up to now, for as long as this thread took to get here.
    let working = run_on_first_cpu(second, policy, uapi::EXIT_MMIO, Some(spinning.clock))?;
    let (worked, spun) = receive("the vCPU that works", &working.times)?;
    receive("the vCPU that spins", &spinning.times)?;
    ensure(
        spun * 2 < worked,
        format!("the vCPU that spins had {spun:?}, the one that works {worked:?}"),
    )
}

/// The vCPU sleeps, or looks out for interrupts. A thread of the same priority still gets the CPU:
/// else that thread would never end.
fn real_time_wfi() -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let mut guest = Guest::new(&[code::WFI, 0xeaff_fffd])?;
    let replacement = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    let vcpu = std::mem::replace(&mut guest.vcpu, replacement);
    let waiting = thread::spawn(move || {
        move_to_first_cpu(libc::SCHED_FIFO)?;
        fails("KVM_RUN", vcpu.run(), &[libc::EINTR])
    });
    let other = thread::spawn(|| {
        move_to_first_cpu(libc::SCHED_FIFO)?;
        let start = thread_time();
        while thread_time() - start < Duration::from_millis(300) {}
        Ok::<_, String>(())
    });
    // The guest masks the interrupts that wake it: it waits again and again.
    let since = Instant::now();
    while !other.is_finished() {
        irq(&guest.vm, true)?;
        irq(&guest.vm, false)?;
        ensure(
            since.elapsed() < kvm::patience(30),
            "a thread of the same priority does not get the CPU",
        )?;
    }
    other.join().map_err(|_| "panic")??;
    while !waiting.is_finished() {
        waiting.kill(SIGRTMIN()).map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(10));
    }
    waiting.join().map_err(|_| "panic")?
}

/// The fields of /proc/PID/stat behind the name, from the third on.
fn stat_fields(path: &str) -> Result<Vec<u64>, String> {
    let text = fs::read_to_string(path).works(path)?;
    let fields = text.rsplit(')').next().unwrap_or_default();
    Ok(fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect())
}

/// Ticks that the host's CPUs spent in guests, and ticks that they were busy: the first line of
/// /proc/stat. Guest time is part of user time (proc(5)).
fn system_ticks() -> Result<(u64, u64), String> {
    let text = fs::read_to_string("/proc/stat").works("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let numbers: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().map_err(|_| format!("/proc/stat: {number}")))
        .collect::<Result<_, _>>()?;
    match numbers[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, _steal, guest, ..] => {
            Ok((guest, user + nice + system + irq + softirq))
        }
        _ => Err(format!("/proc/stat: {line}")),
    }
}

/// The time of a guest that spins is guest time, of its thread and of the system.
fn guest_time() -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let before = system_ticks()?;
    let guest = Guest::new(&[code::LOOP])?;
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        // SAFETY: Has no conditions.
        let _ = sender.send(unsafe { libc::gettid() });
        guest.vcpu.run()
    });
    let id = receiver.recv().map_err(|e| e.to_string())?;
    let path = format!("/proc/self/task/{id}/stat");
    // Numbered as in proc(5), less the first two.
    let (utime, stime, guest_time) = (14 - 3, 15 - 3, 43 - 3);
    let since = Instant::now();
    let fields = loop {
        thread::sleep(Duration::from_millis(50));
        let fields = stat_fields(&path)?;
        if fields[utime] + fields[stime] >= 100 || since.elapsed() > kvm::patience(20) {
            break fields;
        }
    };
    let now = system_ticks()?;
    let (system, busy) = (now.0 - before.0, now.1 - before.1);
    while !thread.is_finished() {
        thread.kill(SIGRTMIN()).map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(10));
    }
    let result = thread.join().map_err(|_| "panic")?;
    fails("KVM_RUN", result, &[libc::EINTR])?;
    // The thread's own time is measured. The counts of ticks are only compared with each other,
    // since a busy emulator loses many ticks.
    let all = fields[utime] + fields[stime];
    let guest = fields[guest_time];
    ensure(
        all >= 50 && guest > 0 && system * 2 >= busy,
        format!(
            "{guest} of the thread's {all} ticks are the guest's, {system} of the system's {busy}"
        ),
    )?;
    ensure(
        system + 2 >= guest,
        format!("{system} ticks in /proc/stat, {guest} of the thread"),
    )
}
