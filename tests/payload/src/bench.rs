// SPDX-License-Identifier: GPL-2.0

//! The cost of operations, in instructions and in events that are costly on real hardware.
//!
//! Under QEMU's `-icount shift=0` an instruction takes a nanosecond of virtual time. So the
//! counter, with its tick of 16 ns, counts instructions, those of the hypervisor and the host
//! included. A plugin of the emulator counts the events (`tools/meter`).

use core::arch::asm;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use meter::{Counts, Event, EVENTS};

use crate::check::{Failure, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::smp;
use crate::timer;

/// Operations are measured in batches of so many rounds, and the median batch is reported: now and
/// then the host does something for itself, such as a tick, which hits some batches and not others.
const ROUNDS: u32 = 32;
const BATCHES: usize = 17;
/// A sleep is a batch by itself: while the CPU is idle, the host finds much to do for itself.
const SLEEPS: usize = 65;
const INSTRUCTIONS_PER_TICK: u32 = 16;
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
const RESIDENT_TOUCHES: usize = 2;
const PAGES: u32 = 1024;
const PAGE_SIZE: usize = 4096;

/// The cost of some rounds of an operation: ticks, and events of each kind.
#[inline(always)]
fn batch(rounds: u32, mut operation: impl FnMut(u32)) -> (u32, [u32; EVENTS]) {
    // The events around the counter, so that the ticks are those of the operation alone.
    let before = Counts::now();
    let start = cpu::counter();
    for round in 0..rounds {
        operation(black_box(round));
    }
    let ticks = cpu::counter().wrapping_sub(start) as u32;
    let events = Counts::now().since(&before);
    (ticks, events.0.map(|count| count as u32))
}

fn median<const N: usize>(mut values: [u32; N]) -> u32 {
    values.sort_unstable();
    values.get(N / 2).copied().unwrap_or(0)
}

/// The cost of the median batch: in ticks, and of each kind of events the number in the batch that is the
/// median by that number.
#[inline(always)]
fn medians<const N: usize>(
    rounds: u32,
    mut prepare: impl FnMut(),
    mut operation: impl FnMut(usize, u32),
) -> (u32, [u32; EVENTS]) {
    let mut ticks = [0; N];
    let mut events = [[0; N]; EVENTS];
    for n in 0..N {
        doorbell::settle();
        prepare();
        let (time, counts) = batch(rounds, |round| operation(n, round));
        ticks[n] = time;
        for (all, count) in events.iter_mut().zip(counts) {
            all[n] = count;
        }
    }
    (median(ticks), events.map(median))
}

/// The cost of a round of an operation, without the loop around it.
#[inline(always)]
fn cost<const N: usize>(rounds: u32, operation: impl FnMut(u32)) -> doorbell::Cost {
    cost_after::<N>(rounds, || {}, operation)
}

/// The same, with something to be done before each batch.
#[inline(always)]
fn cost_after<const N: usize>(
    rounds: u32,
    prepare: impl FnMut(),
    mut operation: impl FnMut(u32),
) -> doorbell::Cost {
    // The loop around is measured as often, since an interrupt may hit it as well.
    let (around, events_around) = medians::<N>(rounds, || {}, |_, _| {});
    let (ticks, mut events) = medians::<N>(rounds, prepare, |n, round| {
        operation(n as u32 * rounds + round);
    });
    let instructions = ticks.saturating_sub(around) * INSTRUCTIONS_PER_TICK;
    for (count, around) in events.iter_mut().zip(events_around) {
        *count = count.saturating_sub(around);
    }
    doorbell::Cost {
        instructions: (instructions + rounds / 2) / rounds,
        events,
        rounds,
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

fn touch_pages<const N: usize>(name: &str, base: usize) {
    let cost = cost::<N>(PAGES, |page| touch(base + page as usize * PAGE_SIZE));
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
    cost.instructions = cost.events[Event::Instruction as usize];
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

/// Measures how long it takes to wake another CPU, and to be woken by it.
pub(crate) fn run_pair() {
    let name = match doorbell::cpus() {
        2 => "wake-up of a vCPU and back, 2 vCPUs",
        4 => "wake-up of a vCPU and back, 4 vCPUs",
        _ => "wake-up of a vCPU and back, 8 vCPUs",
    };
    if let Err(failure) = smp::start_all() {
        return doorbell::fail(name, &failure);
    }
    smp::start_work(1, answer_pings);
    if !timer::wait_until(|| ANSWERS.load(Ordering::SeqCst)) {
        let what = "the second CPU does not begin";
        return doorbell::fail(name, &Failure { what, values: [0; 3] });
    }
    cpu::disable_interrupts();
    let round = |_| {
        gic::send_sgi(1 << 1, PING);
        sleep_until(PONG);
    };
    (0..8).for_each(round);
    doorbell::measured(name, &cost::<BATCHES>(ROUNDS, round));
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
        return touch_pages::<RESIDENT_TOUCHES>(MANY_SLOTS, RESIDENT);
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
    let beyond = doorbell::Cost {
        instructions: sleep.instructions - LONG_WAIT * INSTRUCTIONS_PER_TICK,
        events: [0; EVENTS],
        rounds: 1,
    };
    doorbell::measured("timer, WFI, beyond the wait", &beyond);
    touch_pages::<TOUCHES>("first touch, THP always", HUGE);
    touch_pages::<TOUCHES>("first touch, THP never", SMALL);
    touch_pages::<RESIDENT_TOUCHES>("first touch, resident pages", RESIDENT);
}
