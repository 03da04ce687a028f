// SPDX-License-Identifier: GPL-2.0

//! The other CPUs: they wait for work, and do it together with the first.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::check::{ensure, Failure, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::timer;

const MAX_CPUS: usize = 8;
/// The interrupt that wakes a CPU for work.
const SGI_WORK: u32 = 0;

/// The task of a CPU.
type Work = fn(usize) -> Outcome;

/// A CPU's work: a function's address, or one of these.
static WORK: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(NOTHING) }; MAX_CPUS];
const NOTHING: usize = 0;
const TURN_OFF: usize = 1;

/// How that ended: 0 while it has not, 1 for a success, 2 for a failure.
static DONE: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
const SUCCESS: u32 = 1;
const FAILED: u32 = 2;

/// A failure, in pieces: the text and the numbers.
static WHAT: [[AtomicUsize; 2]; MAX_CPUS] =
    [const { [const { AtomicUsize::new(0) }; 2] }; MAX_CPUS];
static VALUES: [[AtomicU32; 3]; MAX_CPUS] = [const { [const { AtomicU32::new(0) }; 3] }; MAX_CPUS];

/// The argument with which each CPU came to Rust, and the number of times.
static STARTED_WITH: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static STARTS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// The number of CPUs that take part in work.
static TEAM: AtomicU32 = AtomicU32::new(1);

/// The number of CPUs that run.
pub(crate) fn team() -> usize {
    TEAM.load(Ordering::Relaxed) as usize
}

/// How often a CPU has started.
pub(crate) fn starts(cpu: usize) -> u32 {
    STARTS
        .get(cpu)
        .map_or(0, |count| count.load(Ordering::SeqCst))
}

/// The argument of a CPU's last start.
pub(crate) fn started_with(cpu: usize) -> u32 {
    STARTED_WITH
        .get(cpu)
        .map_or(0, |value| value.load(Ordering::SeqCst))
}

fn finish(cpu: usize, outcome: Outcome) {
    let (Some(done), Some(what), Some(values)) = (DONE.get(cpu), WHAT.get(cpu), VALUES.get(cpu))
    else {
        return;
    };
    if let Err(failure) = outcome {
        what[0].store(failure.what.as_ptr() as usize, Ordering::Relaxed);
        what[1].store(failure.what.len(), Ordering::Relaxed);
        for (slot, value) in values.iter().zip(failure.values) {
            slot.store(value, Ordering::Relaxed);
        }
        done.store(FAILED, Ordering::SeqCst);
    } else {
        done.store(SUCCESS, Ordering::SeqCst);
    }
}

/// How a CPU's work ended.
fn outcome(cpu: usize) -> Outcome {
    let (Some(done), Some(what), Some(values)) = (DONE.get(cpu), WHAT.get(cpu), VALUES.get(cpu))
    else {
        return Ok(());
    };
    if done.load(Ordering::SeqCst) != FAILED {
        return Ok(());
    }
    let address = what[0].load(Ordering::Relaxed) as *const u8;
    let len = what[1].load(Ordering::Relaxed);
    // SAFETY: The pieces of a constant string, as `finish` wrote them before DONE.
    let what = unsafe { core::str::from_utf8_unchecked(core::slice::from_raw_parts(address, len)) };
    let [a, b, c] = values;
    Err(Failure {
        what,
        values: [a, b, c].map(|value| value.load(Ordering::Relaxed)),
    })
}

/// The life of a CPU other than the first, from its start on.
pub(crate) fn wait_for_work(id: u32) -> ! {
    let cpu = (id & 7) as usize;
    let (Some(work), Some(with), Some(starts)) =
        (WORK.get(cpu), STARTED_WITH.get(cpu), STARTS.get(cpu))
    else {
        crate::entry::give_up("a CPU has a number above 7");
    };
    with.store(id, Ordering::SeqCst);
    starts.fetch_add(1, Ordering::SeqCst);
    loop {
        cpu::disable_interrupts();
        match work.swap(NOTHING, Ordering::SeqCst) {
            // An interrupt before this WFI ends it, since interrupts are masked but not disabled.
            NOTHING => {
                cpu::wait_for_interrupt();
                cpu::enable_interrupts();
            }
            TURN_OFF => {
                finish(cpu, Ok(()));
                psci::cpu_off();
            }
            function => {
                cpu::enable_interrupts();
                // SAFETY: `give` is the only one who writes this, a function of this type.
                let function: Work = unsafe { core::mem::transmute(function) };
                finish(cpu, function(cpu));
            }
        }
    }
}

fn give(cpu: usize, work: usize) {
    if let (Some(slot), Some(done)) = (WORK.get(cpu), DONE.get(cpu)) {
        done.store(0, Ordering::SeqCst);
        slot.store(work, Ordering::SeqCst);
        cpu::dsb();
        gic::send_sgi(1 << cpu, SGI_WORK);
    }
}

fn is_done(cpu: usize) -> bool {
    DONE.get(cpu)
        .is_none_or(|done| done.load(Ordering::SeqCst) != 0)
}

/// Gives work to a CPU.
pub(crate) fn start_work(cpu: usize, work: Work) {
    give(cpu, work as usize);
}

/// Waits until a CPU has done its work; gives how it ended.
pub(crate) fn end_work(cpu: usize) -> Outcome {
    ensure(
        timer::wait_long(|| is_done(cpu)),
        "a CPU does not come to an end with its work",
        [cpu as u32, 0, 0],
    )?;
    outcome(cpu)
}

/// Has another CPU do something.
pub(crate) fn on_cpu(cpu: usize, work: Work) -> Outcome {
    start_work(cpu, work);
    end_work(cpu)
}

/// Has all CPUs do something at the same time, this one too. Gives the first failure.
pub(crate) fn on_all(work: Work) -> Outcome {
    for cpu in 1..team() {
        start_work(cpu, work);
    }
    let here = work(0);
    let mut there = Ok(());
    for cpu in 1..team() {
        there = there.and(end_work(cpu));
    }
    here.and(there)
}

/// Starts a CPU, and waits until it is there.
pub(crate) fn start(cpu: usize) -> Outcome {
    let before = starts(cpu);
    let result = psci::cpu_on(cpu as u32);
    ensure(
        result == psci::SUCCESS,
        "CPU_ON failed",
        [result, cpu as u32, 0],
    )?;
    ensure(
        timer::wait_until(|| starts(cpu) == before + 1),
        "a CPU does not start",
        [cpu as u32, starts(cpu), before],
    )
}

/// Stops a CPU, and waits until it is off.
pub(crate) fn stop(cpu: usize) -> Outcome {
    give(cpu, TURN_OFF);
    ensure(
        timer::wait_until(|| psci::affinity_info(cpu) == psci::AFFINITY_OFF),
        "a CPU does not stop",
        [cpu as u32, psci::affinity_info(cpu), 0],
    )
}

/// Starts all CPUs.
pub(crate) fn start_all() -> Outcome {
    for cpu in team()..doorbell::cpus() as usize {
        start(cpu)?;
        TEAM.store(cpu as u32 + 1, Ordering::Relaxed);
    }
    Ok(())
}

/// A place where all CPUs wait for each other.
pub(crate) struct Barrier {
    here: AtomicU32,
}

impl Barrier {
    pub(crate) const fn new() -> Self {
        Self {
            here: AtomicU32::new(0),
        }
    }

    /// Waits for all the team. It can be used again and again.
    pub(crate) fn wait(&self) -> Outcome {
        let team = team() as u32;
        let ticket = self.here.fetch_add(1, Ordering::SeqCst);
        let target = (ticket / team + 1) * team;
        ensure(
            timer::wait_long(|| self.here.load(Ordering::SeqCst) >= target),
            "not all CPUs came to a barrier",
            [ticket, target, self.here.load(Ordering::SeqCst)],
        )
    }
}
