// SPDX-License-Identifier: GPL-2.0

//! The cost of operations, in instructions and in events that are costly on real hardware.
//!
//! `tools/meter` counts them, those of the hypervisor and the host included.

use core::arch::asm;
use core::convert::Infallible;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use meter::{batch, Counts, Event, Total, BATCHES, ROUNDS, SLEEPS};

use crate::check::{ensure, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::smp;
use crate::timer;

const INSTRUCTIONS_PER_TICK: u32 = batch::INSTRUCTIONS_PER_TICK as u32;
const SGI: u32 = 5;

/// The wait of 1,600 instructions, and the one of 16,000.
const SHORT_WAIT: u32 = 1_600 / INSTRUCTIONS_PER_TICK;
const LONG_WAIT: u32 = 16_000 / INSTRUCTIONS_PER_TICK;

/// Memory that nobody has touched, once with huge pages on the host and once without, as
/// `tests/monitor/src/bench.rs` arranges it: as many times 4 MiB as are measured.
const HUGE: usize = 0x8100_0000;
const SMALL: usize = 0x8240_0000;
/// First touches without huge pages, of pages that the host has already.
const RESIDENT: usize = 0x8380_0000;
/// The row for a machine that has 500 slots, which is all that is wanted of such a machine.
const MANY_SLOTS: &str = "first touch, resident, 500 slots";
const TOUCHES: usize = 5;
const PAGES: u32 = 1024;
/// Batches of pages that the host has already. A batch is short beside the host's tick of four
/// milliseconds, so that a tick hits few of them.
const RESIDENT_TOUCHES: usize = 15;
const RESIDENT_PAGES: u32 = 128;
const PAGE_SIZE: usize = 4096;

/// The cost of a round of an operation, without the loop around it.
#[inline(always)]
fn cost<const N: usize>(rounds: u32, operation: impl FnMut(u32)) -> Total {
    cost_after::<N>(rounds, || {}, operation)
}

/// The same, with something to be done before each batch.
#[inline(always)]
fn cost_after<const N: usize>(
    rounds: u32,
    prepare: impl FnMut(),
    mut operation: impl FnMut(u32),
) -> Total {
    let cost = meter::measure::<N, Infallible>(rounds, doorbell::settle, prepare, |round| {
        operation(round);
        Ok(())
    });
    match cost {
        Ok(cost) => cost,
    }
}

/// Measures an operation and reports it, which takes exits of its own.
#[inline(always)]
fn measure(name: &str, operation: impl FnMut(u32)) {
    doorbell::measured(name, &cost::<BATCHES>(ROUNDS, operation));
}

fn touch(address: usize) {
    // SAFETY: Memory of the guest that nothing else is in.
    unsafe { ptr::write_volatile(address as *mut u32, 1) };
}

fn touch_pages<const N: usize>(name: &str, base: usize, pages: u32) {
    let cost = cost::<N>(pages, |page| touch(base + page as usize * PAGE_SIZE));
    doorbell::measured(name, &cost);
}

/// Reads ACTLR. When an access to CP15 traps, the emulator takes the rest of the block of instructions for
/// executed, so the block ends here.
#[inline(always)]
fn trapped_read() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe {
        asm!("mrc p15, 0, {}, c1, c0, 1", "b 1f", "1:", out(reg) value, options(nomem, nostack));
    }
    value
}

/// Waits until an interrupt has been taken once more.
#[inline(always)]
fn spin_until_taken(intid: u32, before: u32) {
    while gic::taken(0, intid) == before {}
}

/// Acknowledges an interrupt that is pending while interrupts are masked.
#[inline(always)]
fn acknowledge(intid: u32) -> u32 {
    loop {
        let iar = gic::acknowledge();
        if iar & 0x3ff == intid {
            return iar;
        }
    }
}

/// The cost to acknowledge and end an interrupt, in both modes of its end.
fn ends_of_interrupts() {
    measure("SGI polled: send, ACK, EOI", |_| {
        gic::send_sgi_to_self(SGI);
        gic::end(acknowledge(SGI));
    });
    let mut cost = cost_after::<SLEEPS>(
        1,
        || gic::send_sgi_to_self(SGI),
        |_| gic::end(acknowledge(SGI)),
    );
    // It takes less than a tick of the counter, so only the plugin can count it.
    cost.instructions = cost.events.of(Event::Instruction);
    doorbell::measured("ACK and EOI", &cost);

    gic::write(gic::GICC_CTLR, gic::CTLR_ENABLE | gic::CTLR_EOI_MODE);
    measure("SGI polled: send, ACK, EOI and DIR", |_| {
        gic::send_sgi_to_self(SGI);
        let iar = acknowledge(SGI);
        gic::end(iar);
        gic::write(gic::GICC_DIR, iar);
    });
    let cost = cost_after::<SLEEPS>(
        1,
        || {
            gic::send_sgi_to_self(SGI);
        },
        |_| {
            let iar = acknowledge(SGI);
            gic::end(iar);
            gic::write(gic::GICC_DIR, iar);
        },
    );
    doorbell::measured("ACK, EOI and DIR (EOImode 1)", &cost);
    gic::write(gic::GICC_CTLR, gic::CTLR_ENABLE);
}

/// The interrupts of the game of two CPUs.
const PING: u32 = 3;
const PONG: u32 = 4;

/// Sleeps until an interrupt is pending, and takes it. Interrupts are masked.
#[inline(always)]
fn sleep_until(intid: u32) {
    loop {
        let iar = gic::acknowledge();
        if iar & 0x3ff != gic::SPURIOUS {
            gic::end(iar);
            if iar & 0x3ff == intid {
                return;
            }
        } else {
            cpu::wait_for_interrupt();
        }
    }
}

/// Whether the second CPU waits for pings. Before, its handler of interrupts would take one.
static ANSWERS: AtomicBool = AtomicBool::new(false);

fn answer_pings(_: usize) -> Outcome {
    cpu::disable_interrupts();
    ANSWERS.store(true, Ordering::SeqCst);
    loop {
        sleep_until(PING);
        gic::send_sgi(1, PONG);
    }
}

/// Whether the second CPU shall come to an end with its answers.
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Answers pings without a sleep, until there are enough.
fn answer_running(cpu: usize) -> Outcome {
    let mut seen = gic::taken(cpu, PING);
    ANSWERS.store(true, Ordering::SeqCst);
    loop {
        while gic::taken(cpu, PING) == seen {
            if ENOUGH.load(Ordering::Relaxed) {
                ANSWERS.store(false, Ordering::SeqCst);
                return Ok(());
            }
        }
        seen = seen.wrapping_add(1);
        gic::send_sgi(1, PONG);
    }
}

/// Has the second CPU answer pings.
fn start_answers(answer: fn(usize) -> Outcome) -> Outcome {
    smp::start_work(1, answer);
    let answers = timer::wait_until(|| ANSWERS.load(Ordering::SeqCst));
    ensure(answers, "the second CPU does not begin", [0; 3])
}

/// Measures a machine of several CPUs. The monitor adds their number to the names.
fn several_cpus() -> Outcome {
    const RUNNING: &str = "SGI to a vCPU that runs, and back";
    smp::start_all()?;
    measure("hypercall", |_| {
        black_box(psci::version());
    });
    measure("distributor read", |_| {
        black_box(gic::distributor_type());
    });
    measure("MMIO read by the monitor", |_| {
        black_box(doorbell::echo());
    });
    // Where the two CPUs share one of the host, each would spin until the host's next tick.
    if doorbell::is_wanted(RUNNING) {
        start_answers(answer_running)?;
        measure(RUNNING, |_| {
            let before = gic::taken(0, PONG);
            gic::send_sgi(1 << 1, PING);
            spin_until_taken(PONG, before);
        });
        ENOUGH.store(true, Ordering::Relaxed);
        smp::end_work(1)?;
    }
    start_answers(answer_pings)?;
    cpu::disable_interrupts();
    let round = |_| {
        gic::send_sgi(1 << 1, PING);
        sleep_until(PONG);
    };
    (0..8).for_each(round);
    measure("wake-up of a vCPU and back", round);
    Ok(())
}

pub(crate) fn run_several_cpus() {
    if let Err(failure) = several_cpus() {
        doorbell::fail("costs with several CPUs", &failure);
    }
}

/// Answers each interrupt of the monitor by a store that the monitor hears of.
pub(crate) fn answer_for_ever() -> ! {
    const SPI: u32 = gic::FREE_SPIS;
    gic::set_priority(SPI, gic::USUAL);
    gic::set_targets(SPI, 1);
    gic::set_edge(SPI, true);
    gic::set_bit(gic::GICD_ISENABLER, SPI);
    cpu::disable_interrupts();
    loop {
        gic::write(doorbell::KICK, 1);
        sleep_until(SPI);
    }
}

pub(crate) fn run() {
    if doorbell::is_wanted(MANY_SLOTS) {
        // Those that were added last.
        measure("store to one of 1,000 ioeventfds", |round| {
            let index = 488 + (round * 37 & 511);
            gic::write(doorbell::KICK + 4 * index as usize, 1);
        });
        return touch_pages::<RESIDENT_TOUCHES>(MANY_SLOTS, RESIDENT, RESIDENT_PAGES);
    }
    // The first of anything finds caches of the host cold.
    for _ in 0..8 {
        black_box(psci::version());
        black_box(doorbell::echo());
    }
    measure("hypercall (PSCI_VERSION)", |_| {
        black_box(psci::version());
    });
    measure("trapped CP15 read (ACTLR)", |_| {
        black_box(trapped_read());
    });
    measure("distributor read (GICD_TYPER)", |_| {
        black_box(gic::distributor_type());
    });
    measure("MMIO read by the monitor", |_| {
        black_box(doorbell::echo());
    });
    measure("store to an ioeventfd", |_| {
        gic::write(doorbell::KICK, 1);
    });
    measure("SGI to self", |_| {
        let before = gic::taken(0, SGI);
        gic::send_sgi_to_self(SGI);
        spin_until_taken(SGI, before);
    });
    measure("timer, spinning", |_| {
        let before = gic::taken(0, gic::TIMER);
        timer::start(SHORT_WAIT);
        spin_until_taken(gic::TIMER, before);
    });
    cpu::masked(ends_of_interrupts);
    let sleep = cost::<SLEEPS>(1, |_| {
        let before = gic::taken(0, gic::TIMER);
        timer::start(LONG_WAIT);
        while gic::taken(0, gic::TIMER) == before {
            cpu::wait_for_interrupt();
        }
    });
    doorbell::measured("timer, WFI", &sleep);
    let beyond = Total {
        instructions: sleep.instructions - u64::from(LONG_WAIT * INSTRUCTIONS_PER_TICK),
        events: Counts::NONE,
        rounds: 1,
    };
    doorbell::measured("timer, WFI, beyond the wait", &beyond);
    touch_pages::<TOUCHES>("first touch, THP always", HUGE, PAGES);
    touch_pages::<TOUCHES>("first touch, THP never", SMALL, PAGES);
    touch_pages::<RESIDENT_TOUCHES>("first touch, resident pages", RESIDENT, RESIDENT_PAGES);
}
