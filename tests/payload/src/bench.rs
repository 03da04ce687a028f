// SPDX-License-Identifier: GPL-2.0

//! The cost of operations, in instructions.
//!
//! Under QEMU's `-icount shift=0` an instruction takes a nanosecond of virtual time. So the
//! counter, with its tick of 16 ns, counts instructions, those of the hypervisor and the host
//! included.

use core::hint::black_box;
use core::ptr;

use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
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

/// Ticks that some rounds of an operation take.
#[inline(always)]
fn ticks(rounds: u32, mut operation: impl FnMut(u32)) -> u32 {
    let start = cpu::counter();
    for round in 0..rounds {
        operation(black_box(round));
    }
    cpu::counter().wrapping_sub(start) as u32
}

/// The cost of a round of an operation in the median batch, without the loop around it.
#[inline(always)]
fn cost<const N: usize>(rounds: u32, mut operation: impl FnMut(u32)) -> u32 {
    let around = ticks(rounds, |_| {});
    let mut batches = [0; N];
    for (batch, all) in batches.iter_mut().enumerate() {
        *all = ticks(rounds, |round| operation(batch as u32 * rounds + round));
    }
    batches.sort_unstable();
    let median = batches.get(N / 2).copied().unwrap_or(0);
    let instructions = median.saturating_sub(around) * INSTRUCTIONS_PER_TICK;
    (instructions + rounds / 2) / rounds
}

/// Measures an operation and reports it, which takes exits of its own.
#[inline(always)]
fn measure(name: &str, operation: impl FnMut(u32)) {
    doorbell::measured(name, cost::<BATCHES>(ROUNDS, operation));
}

fn touch(address: usize) {
    // SAFETY: Memory of the guest that nothing else is in.
    unsafe { ptr::write_volatile(address as *mut u32, 1) };
}

fn touch_pages<const N: usize>(name: &str, base: usize) {
    let cost = cost::<N>(PAGES, |page| touch(base + page as usize * PAGE_SIZE));
    doorbell::measured(name, cost);
}

/// Waits until an interrupt has been taken once more.
#[inline(always)]
fn spin_until_taken(intid: u32, before: u32) {
    while gic::taken(0, intid) == before {}
}

pub(crate) fn run() {
    if doorbell::is_wanted(MANY_SLOTS) {
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
        black_box(cpu::actlr());
    });
    measure("distributor read (GICD_TYPER)", |_| {
        black_box(gic::distributor_type());
    });
    measure("MMIO read by the monitor", |_| {
        black_box(doorbell::echo());
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
    let sleep = cost::<SLEEPS>(1, |_| {
        let before = gic::taken(0, gic::TIMER);
        timer::start(LONG_WAIT);
        while gic::taken(0, gic::TIMER) == before {
            cpu::wait_for_interrupt();
        }
    });
    doorbell::measured("timer, WFI", sleep);
    touch_pages::<TOUCHES>("first touch, THP always", HUGE);
    touch_pages::<TOUCHES>("first touch, THP never", SMALL);
    touch_pages::<RESIDENT_TOUCHES>("first touch, resident pages", RESIDENT);
}
