// SPDX-License-Identifier: GPL-2.0

//! Virtual CPUs: one thread each, which runs the guest and answers its exits.

use std::io::ErrorKind;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvm::{uapi, RunPage, Vcpu};
use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use crate::bus::Bus;
use crate::error::{Context, Error, Result};

/// How a guest came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The guest switched its machine off.
    Shutdown,
    /// The guest asked for a restart.
    Reset,
    /// Someone here wanted the guest to stop.
    Stopped,
    /// Something that should not happen.
    Failed(String),
}

/// The state that all vCPUs of a machine share: the wish to stop, and the first reason for it.
pub(crate) struct Stop {
    wanted: AtomicBool,
    /// The vCPUs shall stand still for a while.
    pausing: AtomicBool,
    ending: Mutex<Option<Ending>>,
    /// Signalled when `ending` is set.
    pub event: EventFd,
}

impl Stop {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            wanted: AtomicBool::new(false),
            pausing: AtomicBool::new(false),
            ending: Mutex::new(None),
            event: EventFd::new(libc::EFD_NONBLOCK).context("cannot make an eventfd")?,
        })
    }

    /// Ends the machine; the first reason counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(ending);
        self.wanted.store(true, Ordering::SeqCst);
        // The counter of an event does not overflow by ones.
        let _ = self.event.write(1);
    }

    pub(crate) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    fn pausing(&self) -> bool {
        self.pausing.load(Ordering::SeqCst)
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The signal that brings a vCPU out of KVM_RUN. Its handler does nothing: that a signal is
/// pending is enough for the kernel.
fn kick_signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn on_kick(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

/// Describes the state of a guest, for error messages.
fn whereabouts(vcpu: &Vcpu) -> String {
    let register = |word| vcpu.reg(uapi::core_reg(word));
    match (
        register(uapi::CORE_PC),
        register(uapi::CORE_CPSR),
        register(14),
    ) {
        (Ok(pc), Ok(cpsr), Ok(lr)) => format!("pc {pc:#010x}, lr {lr:#010x}, cpsr {cpsr:#010x}"),
        _ => "registers unknown".into(),
    }
}

fn mmio(run: &RunPage, bus: &Bus) {
    let mmio = run.mmio();
    let mut data = mmio.data;
    let len = (mmio.len as usize).min(data.len());
    if mmio.is_write != 0 {
        bus.write(mmio.phys_addr, &data[..len]);
    } else {
        bus.read(mmio.phys_addr, &mut data[..len]);
        run.set_mmio_data(data);
    }
}

/// Handles an exit; gives the guest's end if it was that.
fn handle(vcpu: &Vcpu, bus: &Bus) -> Option<Ending> {
    let run = &vcpu.run;
    let failed = |what: String| Some(Ending::Failed(format!("{what} ({})", whereabouts(vcpu))));
    match run.exit_reason() {
        uapi::EXIT_MMIO => {
            mmio(run, bus);
            None
        }
        uapi::EXIT_INTR => None,
        uapi::EXIT_SYSTEM_EVENT => match run.system_event().event {
            uapi::SYSTEM_EVENT_SHUTDOWN => Some(Ending::Shutdown),
            uapi::SYSTEM_EVENT_RESET => Some(Ending::Reset),
            uapi::SYSTEM_EVENT_CRASH => failed("the guest reported a crash".into()),
            event => failed(format!("system event {event}, which is not known here")),
        },
        uapi::EXIT_FAIL_ENTRY => {
            let entry = run.fail_entry();
            failed(match entry.reason {
                uapi::FAIL_ENTRY_CPU_UNSUPPORTED => format!(
                    "the guest cannot run on CPU {}, which is of another core than its own: keep \
                     this program on CPUs of one core (taskset)",
                    entry.cpu
                ),
                reason => format!("the guest could not be entered, reason {reason:#x}"),
            })
        }
        uapi::EXIT_INTERNAL_ERROR => {
            let internal = run.internal();
            let count = (internal.ndata as usize).min(internal.data.len());
            failed(format!(
                "KVM gave up on the guest: internal error {}, data {:x?}; see dmesg",
                internal.suberror,
                &internal.data[..count]
            ))
        }
        uapi::EXIT_ARM_NISV => {
            let nisv = run.arm_nisv();
            failed(format!(
                "the guest used an instruction at {:#x} that KVM does not decode for a device",
                nisv.fault_ipa
            ))
        }
        reason => failed(format!("KVM_RUN ended for reason {reason}, not known here")),
    }
}

/// Runs a vCPU until the guest ends or someone wants to stop.
pub(crate) fn run(vcpu: &Vcpu, bus: &Bus, stop: &Stop) {
    while !stop.wanted() {
        if stop.pausing() {
            // An access that the last exit was for is completed; no instruction runs.
            vcpu.run.set_immediate_exit(true);
            let _ = vcpu.run();
            return;
        }
        match vcpu.run() {
            Ok(()) => {
                if let Some(ending) = handle(vcpu, bus) {
                    stop.end(ending);
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(e) => {
                let place = whereabouts(vcpu);
                stop.end(Ending::Failed(format!("KVM_RUN: {e} ({place}); see dmesg")));
            }
        }
    }
}

/// A set of one of the host's CPUs.
fn only(cpu: usize) -> libc::cpu_set_t {
    // SAFETY: A set of bits, of which none is set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: The set is ours.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set
}

/// Keeps the thread that makes it on one of the host's CPUs, until it goes.
pub(crate) struct Pinned {
    before: libc::cpu_set_t,
}

impl Pinned {
    pub(crate) fn to(cpu: usize) -> Result<Self> {
        let mut before = only(cpu);
        // SAFETY: The callee writes a structure of this size.
        let result = unsafe { libc::sched_getaffinity(0, size_of_val(&before), &mut before) };
        let set = only(cpu);
        // SAFETY: The callee reads a structure of this size.
        if result < 0 || unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } < 0 {
            return Err(std::io::Error::last_os_error()).context("the CPUs of a thread");
        }
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: The callee reads a structure of this size. The set is the one that there was.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.before), &self.before) };
    }
}

/// The threads of a machine's vCPUs.
pub(crate) struct Threads {
    threads: Vec<(Arc<Vcpu>, JoinHandle<()>)>,
    stop: Arc<Stop>,
}

impl Threads {
    /// Starts a thread for each vCPU.
    pub(crate) fn start(vcpus: Vec<Vcpu>, bus: &Arc<Bus>, stop: &Arc<Stop>) -> Result<Self> {
        register_signal_handler(kick_signal(), on_kick).context("cannot catch a signal")?;
        let mut this = Self {
            threads: Vec::new(),
            stop: Arc::clone(stop),
        };
        for (id, vcpu) in vcpus.into_iter().enumerate() {
            let vcpu = Arc::new(vcpu);
            let (own, bus, stop) = (Arc::clone(&vcpu), Arc::clone(bus), Arc::clone(stop));
            let thread = thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || run(&own, &bus, &stop))
                .context("cannot start a thread for a vCPU")?;
            this.threads.push((vcpu, thread));
        }
        Ok(this)
    }
}

impl Threads {
    /// Gives the vCPUs' threads the policy SCHED_FIFO, with this priority.
    pub(crate) fn make_fifo(&self, priority: i32) -> Result<()> {
        // SAFETY: The structure has integers alone.
        let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
        param.sched_priority = priority;
        for (_, thread) in &self.threads {
            // SAFETY: The thread has not been joined, and the callee reads a structure of its type.
            let error = unsafe {
                libc::pthread_setschedparam(thread.as_pthread_t(), libc::SCHED_FIFO, &param)
            };
            if error != 0 {
                return Err(std::io::Error::from_raw_os_error(error))
                    .context("the policy of a vCPU");
            }
        }
        Ok(())
    }

    /// Keeps each vCPU on one of so many CPUs of the host, the first on the first.
    pub(crate) fn spread(&self, host_cpus: usize) -> Result<()> {
        for (id, (_, thread)) in self.threads.iter().enumerate() {
            let set = only(id % host_cpus.max(1));
            // SAFETY: The thread has not been joined, and the callee reads a structure of this size.
            let error = unsafe {
                libc::pthread_setaffinity_np(thread.as_pthread_t(), size_of_val(&set), &set)
            };
            if error != 0 {
                return Err(std::io::Error::from_raw_os_error(error)).context("the CPUs of a vCPU");
            }
        }
        Ok(())
    }

    /// Brings all vCPUs out of the guest, and gives them back, if the guest has not come to its
    /// end meanwhile. The state of each is complete.
    pub(crate) fn pause(mut self) -> Option<Vec<Vcpu>> {
        self.stop.pausing.store(true, Ordering::SeqCst);
        let vcpus = self.bring_out();
        self.stop.pausing.store(false, Ordering::SeqCst);
        if self.stop.wanted() {
            return None;
        }
        for vcpu in &vcpus {
            vcpu.run.set_immediate_exit(false);
        }
        vcpus.into_iter().map(Arc::into_inner).collect()
    }

    /// Ends all threads: one that is about to enter the guest finds `immediate_exit`, one that is
    /// in the guest is brought out by the signal.
    fn bring_out(&mut self) -> Vec<Arc<Vcpu>> {
        for (vcpu, thread) in &self.threads {
            vcpu.run.set_immediate_exit(true);
            // The thread may have ended already.
            let _ = thread.kill(kick_signal());
        }
        let mut vcpus = Vec::new();
        for (vcpu, thread) in self.threads.drain(..) {
            while !thread.is_finished() {
                let _ = thread.kill(kick_signal());
                thread::sleep(Duration::from_millis(1));
            }
            if thread.join().is_err() {
                self.stop
                    .end(Ending::Failed("a vCPU's thread panicked".into()));
            }
            vcpus.push(vcpu);
        }
        vcpus
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.stop.end(Ending::Stopped);
        for (id, vcpu) in self.bring_out().iter().enumerate() {
            if self.stop.ending() == Some(Ending::Stopped) {
                eprintln!("monitor: vCPU {id} stopped: {}", whereabouts(vcpu));
            }
        }
    }
}

/// Gives a vCPU the registers for the start of its program.
pub(crate) fn set_entry(vcpu: &Vcpu, pc: u32, arguments: [u32; 3]) -> Result<()> {
    /// Supervisor mode with asynchronous aborts, interrupts and fast interrupts masked.
    const CPSR: u32 = 0x1d3;
    let set = |word, value| {
        vcpu.set_reg(uapi::core_reg(word), value)
            .context("cannot set a register of the first vCPU")
    };
    for (word, value) in arguments.into_iter().enumerate() {
        set(word as u64, value)?;
    }
    set(uapi::CORE_PC, pc)?;
    set(uapi::CORE_CPSR, CPSR)
}

/// Makes the error for a failed call of KVM.
pub(crate) fn kvm_error(call: &str, e: &std::io::Error) -> Error {
    Error::new(format!("{call}: {e}; see dmesg"))
}
