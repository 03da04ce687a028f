// SPDX-License-Identifier: GPL-2.0

//! The distributor's registers, in all widths (IHI 0048B 4.1.4, 4.3).

use crate::check::{ensure, ensure_eq, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic::{self, FREE_SPIS};
use crate::smp;

/// The word of registers with one bit for each interrupt that the first free SPIs have.
const WORD: usize = (FREE_SPIS / 32 * 4) as usize;

pub(crate) fn identification() -> Outcome {
    let typer = gic::distributor_type();
    ensure_eq((typer >> 5 & 7) + 1, doorbell::cpus(), "GICD_TYPER's CPUs", typer)?;
    let lines = 32 * ((typer & 0x1f) + 1);
    ensure(lines >= 128, "GICD_TYPER's interrupts", [lines, 128, typer])?;
    ensure_eq(gic::read(gic::GICD_ICPIDR2) >> 4 & 0xf, 2, "GICD_ICPIDR2's revision", 0)?;
    // The register is read-only, and half of it can be read.
    gic::write(gic::GICD_TYPER, !typer);
    ensure_eq(gic::distributor_type(), typer, "GICD_TYPER written", 0)
}

pub(crate) fn identification_of_guest() -> Outcome {
    // The monitor asks for 128; where it cannot, there are 256.
    let lines = 32 * ((gic::distributor_type() & 0x1f) + 1);
    ensure(matches!(lines, 128 | 256), "GICD_TYPER's interrupts", [lines, 128, 256])
}

/// Parts of a word that is read agree with it.
fn parts_agree(register: usize, word: u32) -> Outcome {
    for byte in 0..4 {
        let found = gic::read_byte(register + byte).into();
        ensure_eq(found, word >> (8 * byte) & 0xff, "a byte of a register", register as u32)?;
    }
    for half in 0..2 {
        let found = gic::read_half(register + 2 * half).into();
        ensure_eq(found, word >> (16 * half) & 0xffff, "a half of a register", register as u32)?;
    }
    Ok(())
}

/// A pair of registers: one sets bits, the other clears them.
fn set_and_clear(set: usize, clear: usize) -> Outcome {
    let (set, clear) = (set + WORD, clear + WORD);
    gic::write(clear, u32::MAX);
    ensure_eq(gic::read(set), 0, "all cleared", set as u32)?;
    for pattern in [0x8421_1248, 0x0f0f_5555, u32::MAX] {
        gic::write(set, pattern);
        ensure_eq(gic::read(set), pattern, "what was set", set as u32)?;
        ensure_eq(gic::read(clear), pattern, "the same by the other register", clear as u32)?;
        if crate::board::is_guest() {
            parts_agree(set, pattern)?;
        }
        // Zeros do nothing.
        gic::write(set, 0);
        gic::write(clear, 0);
        ensure_eq(gic::read(set), pattern, "after zeros", set as u32)?;
        gic::write(clear, pattern & 0xffff);
        ensure_eq(gic::read(set), pattern & 0xffff_0000, "what was not cleared", set as u32)?;
        gic::write(clear, pattern);
        ensure_eq(gic::read(set), 0, "what was cleared", set as u32)?;
    }
    Ok(())
}

pub(crate) fn bits() -> Outcome {
    cpu::masked(|| {
        for n in (0..32).step_by(4) {
            gic::write(gic::GICD_ITARGETSR + FREE_SPIS as usize + n, 0x0101_0101);
        }
        set_and_clear(gic::GICD_ISENABLER, gic::GICD_ICENABLER)?;
        // These SPIs are disabled, and so go nowhere. Level-sensitive, then edge-triggered.
        for config in [0, u32::MAX] {
            gic::write(gic::GICD_ICFGR + 4 * WORD / 2, config);
            gic::write(gic::GICD_ICFGR + 4 * WORD / 2 + 4, config);
            set_and_clear(gic::GICD_ISPENDR, gic::GICD_ICPENDR)?;
        }
        set_and_clear(gic::GICD_ISACTIVER, gic::GICD_ICACTIVER)?;
        for pattern in [0x8421_1248, u32::MAX, 0] {
            gic::write(gic::GICD_IGROUPR + WORD, pattern);
            ensure_eq(gic::read(gic::GICD_IGROUPR + WORD), pattern, "GICD_IGROUPR", 0)?;
        }
        Ok(())
    })
}

pub(crate) fn bytes() -> Outcome {
    let priorities = gic::GICD_IPRIORITYR + FREE_SPIS as usize;
    gic::write(priorities, 0xf8e0_a010);
    ensure_eq(gic::read(priorities), 0xf8e0_a010, "priorities as a word", 0)?;
    gic::write_byte(priorities + 2, 0x48);
    ensure_eq(gic::read(priorities), 0xf848_a010, "priorities after a byte", 0)?;
    ensure_eq(gic::read_byte(priorities + 2).into(), 0x48, "a priority as a byte", 0)?;
    gic::write(priorities, 0);
    let targets = gic::GICD_ITARGETSR + FREE_SPIS as usize;
    if doorbell::cpus() == 1 {
        // A guest finds the registers as a multiprocessor has them; hardware may be without.
        gic::write(targets, 0x0103_020f);
        let expected = if crate::board::is_guest() {
            0x0101_0001
        } else {
            0
        };
        let found = gic::read(targets);
        gic::write(targets, 0x0101_0101);
        return ensure_eq(found, expected, "GICD_ITARGETSR of a uniprocessor", 0);
    }
    gic::write(targets, 0x0102_0301);
    ensure_eq(gic::read(targets), 0x0102_0301, "targets as a word", 0)?;
    gic::write_byte(targets + 1, 1);
    ensure_eq(gic::read(targets), 0x0102_0101, "targets after a byte", 0)?;
    // CPUs that do not exist cannot be targets.
    if crate::board::is_guest() {
        let all = (1u32 << doorbell::cpus()) - 1;
        gic::write_byte(targets, 0xff);
        ensure_eq(gic::read_byte(targets).into(), all, "all CPUs as targets", 0)?;
    }
    gic::write(targets, 0x0101_0101);
    Ok(())
}

/// The registers of which each CPU has its own.
pub(crate) fn private() -> Outcome {
    smp::on_all(|cpu| {
        if doorbell::cpus() > 1 || crate::board::is_guest() {
            for register in 0..8 {
                let found = gic::read(gic::GICD_ITARGETSR + 4 * register);
                let expected = 0x0101_0101 << cpu;
                // There are no PPIs below 24 or so, where zeros are fine.
                if register < 4 || found != 0 {
                    ensure_eq(found, expected, "GICD_ITARGETSR of private ones", register as u32)?;
                }
            }
        }
        let priority = 0x40 + 8 * cpu as u8;
        gic::set_priority(14, priority);
        for _ in 0..50 {
            let found = gic::read_byte(gic::GICD_IPRIORITYR + 14);
            ensure_eq(found.into(), priority.into(), "the priority of an SGI", cpu as u32)?;
        }
        gic::set_priority(14, gic::USUAL);
        // PPIs are enabled by each CPU.
        gic::set_bit(gic::GICD_ICENABLER, gic::PHYSICAL_TIMER);
        let enabled = gic::bit(gic::GICD_ISENABLER, gic::PHYSICAL_TIMER);
        ensure(!enabled, "a PPI is still enabled", [cpu as u32, 0, 0])?;
        gic::set_bit(gic::GICD_ISENABLER, gic::PHYSICAL_TIMER);
        Ok(())
    })
}

pub(crate) fn configuration() -> Outcome {
    // SGIs are edge-triggered, which cannot be changed.
    gic::write(gic::GICD_ICFGR, 0);
    ensure_eq(gic::read(gic::GICD_ICFGR) & 0xaaaa_aaaa, 0xaaaa_aaaa, "GICD_ICFGR of SGIs", 0)?;
    let register = gic::GICD_ICFGR + 4 * WORD / 2;
    for pattern in [0x8888_8888, 0x2222_2222, 0xaaaa_aaaa, 0] {
        gic::write(register, pattern);
        ensure_eq(gic::read(register) & 0xaaaa_aaaa, pattern, "GICD_ICFGR", pattern)?;
    }
    Ok(())
}

/// Reserved places read as zero; writes there, and of widths that do not exist, are harmless.
pub(crate) fn reserved() -> Outcome {
    for place in [0x00c, 0x020, 0x07c, 0xd80, 0xe00, 0xf04, 0xf30, 0xfc0] {
        let register = gic::GICD_CTLR + place;
        gic::write(register, u32::MAX);
        ensure_eq(gic::read(register), 0, "a reserved register", place as u32)?;
        gic::write_byte(register + 1, 0xff);
    }
    // No interrupts from GICD_TYPER's on.
    let enables = gic::GICD_ISENABLER + 4 * 31;
    gic::write(enables, u32::MAX);
    ensure_eq(gic::read(enables), 0, "an interrupt that does not exist", 0)?;
    ensure_eq(gic::read(gic::GICD_CTLR), 1, "GICD_CTLR afterwards", 0)
}
