// SPDX-License-Identifier: GPL-2.0

//! The GICv2, and the interrupts that were taken.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::doorbell;
use crate::timer;

const DIST: usize = 0x3fff_0000;
const CPU: usize = 0x3ffd_0000;

const GICD_CTLR: usize = DIST;
const GICD_TYPER: usize = DIST + 0x004;
const GICD_ISENABLER: usize = DIST + 0x100;
const GICD_IPRIORITYR: usize = DIST + 0x400;
const GICD_ITARGETSR: usize = DIST + 0x800;
const GICD_SGIR: usize = DIST + 0xf00;
const GICC_CTLR: usize = CPU;
const GICC_PMR: usize = CPU + 0x04;
const GICC_IAR: usize = CPU + 0x0c;
const GICC_EOIR: usize = CPU + 0x10;

/// The virtual timer's interrupt.
pub(crate) const TIMER: u32 = 27;
/// What GICC_IAR gives when there is nothing.
const SPURIOUS: u32 = 1020;

const INTIDS: usize = 64;
/// How often each interrupt was taken, by CPU.
static TAKEN: [[AtomicU32; INTIDS]; 8] = [const { [const { AtomicU32::new(0) }; INTIDS] }; 8];

fn read(register: usize) -> u32 {
    // SAFETY: A register of the GIC.
    unsafe { ptr::read_volatile(register as *const u32) }
}

fn write(register: usize, value: u32) {
    // SAFETY: A register of the GIC.
    unsafe { ptr::write_volatile(register as *mut u32, value) }
}

fn write_byte(register: usize, value: u8) {
    // SAFETY: A register of the GIC that may be accessed by bytes.
    unsafe { ptr::write_volatile(register as *mut u8, value) }
}

/// The number of this CPU.
fn this_cpu() -> usize {
    (crate::cpu::mpidr() & 7) as usize
}

/// Sets up what each CPU has for itself: its interface, its private interrupts.
pub(crate) fn init_cpu() {
    write(GICD_ISENABLER, 0xffff | (1 << TIMER));
    for intid in (0..16).chain([TIMER]) {
        write_byte(GICD_IPRIORITYR + intid as usize, 0xa0);
    }
    write(GICC_PMR, 0xf0);
    write(GICC_CTLR, 1);
}

/// Sets up what all CPUs share.
pub(crate) fn init_distributor() {
    let spi = doorbell::SPI as usize;
    write_byte(GICD_IPRIORITYR + spi, 0xa0);
    write_byte(GICD_ITARGETSR + spi, 1);
    write(GICD_ISENABLER + spi / 32 * 4, 1 << (spi % 32));
    write(GICD_CTLR, 1);
}

/// A register of the distributor that costs nothing but the way there.
#[inline(always)]
pub(crate) fn distributor_type() -> u32 {
    read(GICD_TYPER)
}

/// Sends a software-generated interrupt to the CPUs of a mask.
#[inline(always)]
pub(crate) fn send_sgi(cpus: u32, intid: u32) {
    write(GICD_SGIR, (cpus << 16) | intid);
}

/// Sends a software-generated interrupt to this CPU.
#[inline(always)]
pub(crate) fn send_sgi_to_self(intid: u32) {
    write(GICD_SGIR, (2 << 24) | intid);
}

/// How often this CPU has taken an interrupt.
#[inline(always)]
pub(crate) fn taken(cpu: usize, intid: u32) -> u32 {
    match TAKEN.get(cpu).and_then(|cpu| cpu.get(intid as usize)) {
        Some(count) => count.load(Ordering::Relaxed),
        None => 0,
    }
}

/// Acknowledges, counts and ends an interrupt.
#[no_mangle]
extern "C" fn interrupt_handler() {
    let iar = read(GICC_IAR);
    let intid = iar & 0x3ff;
    if intid >= SPURIOUS {
        return;
    }
    match intid {
        TIMER => timer::stop(),
        doorbell::SPI => doorbell::set_spi(false),
        _ => {}
    }
    if let Some(count) = TAKEN
        .get(this_cpu())
        .and_then(|cpu| cpu.get(intid as usize))
    {
        // Only this CPU writes it.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    write(GICC_EOIR, iar);
}
