// SPDX-License-Identifier: GPL-2.0

//! The GICv2, and the interrupts that were taken.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::board;
use crate::cpu::this_cpu;
use crate::doorbell;
use crate::timer;

pub(crate) use crate::io::{read, read_byte, read_half, write, write_byte};

const DIST: usize = board::GIC_DISTRIBUTOR;
const CPU: usize = board::GIC_CPU;

// Registers, by their places (IHI 0048B tables 4-1 and 4-2).
pub(crate) const GICD_CTLR: usize = DIST;
pub(crate) const GICD_TYPER: usize = DIST + 0x004;
pub(crate) const GICD_IGROUPR: usize = DIST + 0x080;
pub(crate) const GICD_ISENABLER: usize = DIST + 0x100;
pub(crate) const GICD_ICENABLER: usize = DIST + 0x180;
pub(crate) const GICD_ISPENDR: usize = DIST + 0x200;
pub(crate) const GICD_ICPENDR: usize = DIST + 0x280;
pub(crate) const GICD_ISACTIVER: usize = DIST + 0x300;
pub(crate) const GICD_ICACTIVER: usize = DIST + 0x380;
pub(crate) const GICD_IPRIORITYR: usize = DIST + 0x400;
pub(crate) const GICD_ITARGETSR: usize = DIST + 0x800;
pub(crate) const GICD_ICFGR: usize = DIST + 0xc00;
pub(crate) const GICD_SGIR: usize = DIST + 0xf00;
pub(crate) const GICD_CPENDSGIR: usize = DIST + 0xf10;
pub(crate) const GICD_SPENDSGIR: usize = DIST + 0xf20;
pub(crate) const GICD_ICPIDR2: usize = DIST + 0xfe8;
pub(crate) const GICC_CTLR: usize = CPU;
pub(crate) const GICC_PMR: usize = CPU + 0x04;
pub(crate) const GICC_BPR: usize = CPU + 0x08;
pub(crate) const GICC_IAR: usize = CPU + 0x0c;
pub(crate) const GICC_EOIR: usize = CPU + 0x10;
pub(crate) const GICC_RPR: usize = CPU + 0x14;
pub(crate) const GICC_HPPIR: usize = CPU + 0x18;
pub(crate) const GICC_DIR: usize = CPU + 0x1000;

/// Group 0 is taken.
pub(crate) const CTLR_ENABLE: u32 = 1;
pub(crate) const CTLR_ENABLE_GROUP_1: u32 = 1 << 1;
/// GICC_IAR acknowledges interrupts of group 1, too.
pub(crate) const CTLR_ACK: u32 = 1 << 2;
/// Group 0 is signalled as FIQs.
pub(crate) const CTLR_FIQ: u32 = 1 << 3;
/// GICC_EOIR drops the priority, GICC_DIR deactivates.
pub(crate) const CTLR_EOI_MODE: u32 = 1 << 9;

/// The virtual timer's interrupt, and the physical one's.
pub(crate) const TIMER: u32 = 27;
pub(crate) const PHYSICAL_TIMER: u32 = 30;
/// The value of GICC_IAR when nothing is pending.
pub(crate) const SPURIOUS: u32 = 1023;
/// From here on, INTIDs are special.
const SPECIAL: u32 = 1020;
/// The mask that lets all used priorities pass, and the usual priority.
pub(crate) const OPEN: u32 = 0xf0;
pub(crate) const USUAL: u8 = 0xa0;
/// SPIs that belong to no device and are there for checks: those from here on, on any board.
pub(crate) const FREE_SPIS: u32 = 64;
/// How many.
pub(crate) const NR_FREE_SPIS: u32 = 64;

const INTIDS: usize = 128;
/// How often each interrupt was taken, by CPU.
static TAKEN: [[AtomicU32; INTIDS]; 8] = [const { [const { AtomicU32::new(0) }; INTIDS] }; 8];
/// How often each SGI was taken, by CPU, INTID and source.
static SGIS: [[[AtomicU32; 8]; 16]; 8] =
    [const { [const { [const { AtomicU32::new(0) }; 8] }; 16] }; 8];
/// The handler of a check's own interrupt, after the acknowledgement.
static HOOK: AtomicUsize = AtomicUsize::new(0);

/// Sets the bit of an interrupt in one of the registers that have a bit for each.
pub(crate) fn set_bit(registers: usize, intid: u32) {
    write(registers + (intid / 32 * 4) as usize, 1 << (intid % 32));
}

/// The bit of an interrupt.
pub(crate) fn bit(registers: usize, intid: u32) -> bool {
    read(registers + (intid / 32 * 4) as usize) >> (intid % 32) & 1 != 0
}

pub(crate) fn set_priority(intid: u32, priority: u8) {
    write_byte(GICD_IPRIORITYR + intid as usize, priority);
}

pub(crate) fn set_targets(intid: u32, targets: u8) {
    write_byte(GICD_ITARGETSR + intid as usize, targets);
}

/// Makes an SPI edge-triggered or level-sensitive.
pub(crate) fn set_edge(intid: u32, edge: bool) {
    let register = GICD_ICFGR + (intid / 16 * 4) as usize;
    let bit = 2 << (intid % 16 * 2);
    let old = read(register) & !bit;
    write(register, old | if edge { bit } else { 0 });
}

/// Sets up what each CPU has for itself: its interface, its private interrupts.
pub(crate) fn init_cpu() {
    write(GICD_ISENABLER, 0xffff | (1 << TIMER) | (1 << PHYSICAL_TIMER));
    for intid in (0..16).chain([TIMER, PHYSICAL_TIMER]) {
        set_priority(intid, USUAL);
    }
    write(GICC_PMR, OPEN);
    write(GICC_BPR, 0);
    write(GICC_CTLR, CTLR_ENABLE);
}

/// Sets up what all CPUs share.
pub(crate) fn init_distributor() {
    write(GICD_CTLR, 1);
    if board::is_guest() {
        set_priority(doorbell::SPI, USUAL);
        set_targets(doorbell::SPI, 1);
        set_bit(GICD_ISENABLER, doorbell::SPI);
    }
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

/// Sends a software-generated interrupt to all CPUs but this.
pub(crate) fn send_sgi_to_others(intid: u32) {
    write(GICD_SGIR, (1 << 24) | intid);
}

/// How often this CPU has taken an interrupt.
#[inline(always)]
pub(crate) fn taken(cpu: usize, intid: u32) -> u32 {
    match TAKEN.get(cpu).and_then(|cpu| cpu.get(intid as usize)) {
        Some(count) => count.load(Ordering::Relaxed),
        None => 0,
    }
}

/// How often a CPU has taken an SGI of another.
pub(crate) fn sgi_taken(cpu: usize, intid: u32, source: usize) -> u32 {
    SGIS.get(cpu)
        .and_then(|cpu| cpu.get(intid as usize))
        .and_then(|sgi| sgi.get(source))
        .map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Acknowledges an interrupt; gives what GICC_IAR says.
pub(crate) fn acknowledge() -> u32 {
    read(GICC_IAR)
}

/// Ends an interrupt.
pub(crate) fn end(iar: u32) {
    write(GICC_EOIR, iar);
}

/// Sets the function that is called with the value of GICC_IAR for the free SPIs.
pub(crate) fn set_hook(hook: Option<fn(u32)>) {
    HOOK.store(hook.map_or(0, |hook| hook as usize), Ordering::SeqCst);
}

#[inline(always)]
fn count(count: &AtomicU32) {
    // Only this CPU writes it.
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Acknowledges, counts and ends an interrupt.
#[no_mangle]
extern "C" fn interrupt_handler() {
    let iar = read(GICC_IAR);
    let intid = iar & 0x3ff;
    let this_cpu = this_cpu();
    if intid >= SPECIAL {
        return;
    }
    match intid {
        TIMER => timer::expired(this_cpu),
        PHYSICAL_TIMER => timer::physical_expired(this_cpu),
        doorbell::SPI => doorbell::set_spi(false),
        0..16 => {
            let source = (iar >> 10 & 7) as usize;
            if let Some(sgi) = SGIS
                .get(this_cpu)
                .and_then(|cpu| cpu.get(intid as usize))
                .and_then(|sgi| sgi.get(source))
            {
                count(sgi);
            }
        }
        FREE_SPIS.. => {
            let hook = HOOK.load(Ordering::Relaxed);
            if hook != 0 {
                // SAFETY: Only `set_hook` writes it.
                let hook: fn(u32) = unsafe { core::mem::transmute(hook) };
                hook(iar);
            }
        }
        _ => {}
    }
    if let Some(taken) = TAKEN
        .get(this_cpu)
        .and_then(|cpu| cpu.get(intid as usize))
    {
        count(taken);
    }
    write(GICC_EOIR, iar);
}
