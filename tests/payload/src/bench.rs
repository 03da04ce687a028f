// SPDX-License-Identifier: GPL-2.0

//! What operations cost, in instructions.
//!
//! Under QEMU's `-icount shift=0` an instruction takes a nanosecond of virtual time, so that the
//! counter, whose tick is 16 ns, counts instructions, the hypervisor's and the host's included.

use core::hint::black_box;
use core::ptr;

use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::timer;

const ROUNDS: u32 = 512;
const INSTRUCTIONS_PER_TICK: u32 = 16;
const SGI: u32 = 5;

/// The wait of 1,600 instructions, and the one of 16,000.
const SHORT_WAIT: u32 = 1_600 / INSTRUCTIONS_PER_TICK;
const LONG_WAIT: u32 = 16_000 / INSTRUCTIONS_PER_TICK;

/// Memory that nobody has touched, once with huge pages on the host and once without, as
/// `tests/monitor/src/bench.rs` arranges it.
const HUGE: usize = 0x8100_0000;
const SMALL: usize = 0x8180_0000;
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

/// Measures an operation, without the loop around it, and reports it.
#[inline(always)]
fn measure(name: &str, rounds: u32, operation: impl FnMut(u32)) {
    // What is reported is one thing, what is measured another: the first takes exits, too.
    let around = ticks(rounds, |_| {});
    let all = ticks(rounds, operation);
    let instructions = all.saturating_sub(around) * INSTRUCTIONS_PER_TICK;
    doorbell::measured(name, (instructions + rounds / 2) / rounds);
}

fn touch(address: usize) {
    // SAFETY: Memory of the guest that nothing else is in.
    unsafe { ptr::write_volatile(address as *mut u32, 1) };
}

fn touch_pages(name: &str, base: usize) {
    measure(name, PAGES, |page| touch(base + page as usize * PAGE_SIZE));
}

/// Waits until an interrupt has been taken once more.
#[inline(always)]
fn spin_until_taken(intid: u32, before: u32) {
    while gic::taken(0, intid) == before {}
}

pub fn run() {
    // The first of anything finds caches of the host cold.
    for _ in 0..8 {
        black_box(psci::version());
        black_box(doorbell::echo());
    }
    measure("hypercall (PSCI_VERSION)", ROUNDS, |_| {
        black_box(psci::version());
    });
    measure("trapped CP15 read (ACTLR)", ROUNDS, |_| {
        black_box(cpu::actlr());
    });
    measure("distributor read (GICD_TYPER)", ROUNDS, |_| {
        black_box(gic::distributor_type());
    });
    measure("MMIO read by the monitor", ROUNDS, |_| {
        black_box(doorbell::echo());
    });
    measure("SGI to self", ROUNDS, |_| {
        let before = gic::taken(0, SGI);
        gic::send_sgi_to_self(SGI);
        spin_until_taken(SGI, before);
    });
    measure("timer, spinning", ROUNDS, |_| {
        let before = gic::taken(0, gic::TIMER);
        timer::start(SHORT_WAIT);
        spin_until_taken(gic::TIMER, before);
    });
    measure("timer, WFI", ROUNDS, |_| {
        let before = gic::taken(0, gic::TIMER);
        timer::start(LONG_WAIT);
        while gic::taken(0, gic::TIMER) == before {
            cpu::wait_for_interrupt();
        }
    });
    touch_pages("first touch, THP always", HUGE);
    touch_pages("first touch, THP never", SMALL);
}
