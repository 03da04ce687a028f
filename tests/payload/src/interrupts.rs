// SPDX-License-Identifier: GPL-2.0

//! Shared peripheral interrupts, made pending by software: priorities, masks, preemption, groups,
//! targets, activity, and more of them than a hypervisor has list registers.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::board;
use crate::check::{ensure, ensure_eq, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic::{self, FREE_SPIS, GICC_BPR, GICC_CTLR, GICC_DIR, GICC_HPPIR, GICC_PMR, GICC_RPR};
use crate::gic::{NR_FREE_SPIS, OPEN, SPURIOUS, USUAL};
use crate::smp::{self, Barrier};
use crate::timer::{self, Deadline, MILLISECOND};

/// The priority of a CPU that does nothing.
const IDLE: u32 = 0xff;

/// A free SPI.
const fn spi(n: u32) -> u32 {
    FREE_SPIS + n
}

fn free() -> impl Iterator<Item = u32> {
    FREE_SPIS..FREE_SPIS + NR_FREE_SPIS
}

fn make_pending(intid: u32) {
    gic::set_bit(gic::GICD_ISPENDR, intid);
}

fn is_pending(intid: u32) -> bool {
    gic::bit(gic::GICD_ISPENDR, intid)
}

fn is_active(intid: u32) -> bool {
    gic::bit(gic::GICD_ISACTIVER, intid)
}

/// Puts all free SPIs into a known state: edge-triggered, for the first CPU, enabled or not.
fn reset(enabled: bool) {
    for word in (FREE_SPIS / 32..(FREE_SPIS + NR_FREE_SPIS) / 32).map(|n| 4 * n as usize) {
        gic::write(gic::GICD_ICENABLER + word, u32::MAX);
        gic::write(gic::GICD_ICPENDR + word, u32::MAX);
        gic::write(gic::GICD_ICACTIVER + word, u32::MAX);
        gic::write(gic::GICD_IGROUPR + word, 0);
        for half in 0..2 {
            gic::write(gic::GICD_ICFGR + 2 * word + 4 * half, 0xaaaa_aaaa);
        }
        for bytes in (0..32).step_by(4) {
            gic::write(gic::GICD_IPRIORITYR + 8 * word + bytes, 0x0101_0101 * u32::from(USUAL));
            gic::write(gic::GICD_ITARGETSR + 8 * word + bytes, 0x0101_0101);
        }
        if enabled {
            gic::write(gic::GICD_ISENABLER + word, u32::MAX);
        }
    }
}

/// Does something with the free SPIs while interrupts are masked, and restores everything.
fn polled(f: impl FnOnce() -> Outcome) -> Outcome {
    cpu::masked(|| {
        reset(true);
        let result = f();
        // An active interrupt ends by deactivation; the running priority drops by GICC_EOIR.
        reset(false);
        gic::write(GICC_CTLR, gic::CTLR_ENABLE);
        gic::write(GICC_PMR, OPEN);
        gic::write(GICC_BPR, 0);
        for _ in 0..8 {
            if gic::read(GICC_RPR) == IDLE {
                break;
            }
            gic::end(FREE_SPIS);
        }
        result
    })
}

fn expect_iar(intid: u32, place: u32) -> Outcome {
    ensure_eq(gic::acknowledge(), intid, "GICC_IAR", place)
}

pub(crate) fn one() -> Outcome {
    polled(|| {
        for (round, intid) in (0..).zip(free()) {
            ensure_eq(gic::read(GICC_HPPIR), SPURIOUS, "GICC_HPPIR of nothing", round)?;
            make_pending(intid);
            ensure(is_pending(intid), "it is not pending", [intid, 0, 0])?;
            ensure_eq(gic::read(GICC_HPPIR), intid, "GICC_HPPIR", round)?;
            expect_iar(intid, round)?;
            ensure(!is_pending(intid) && is_active(intid), "it is not active alone", {
                [intid, is_pending(intid).into(), is_active(intid).into()]
            })?;
            ensure_eq(gic::read(GICC_RPR), USUAL.into(), "GICC_RPR", round)?;
            gic::end(intid);
            ensure(!is_active(intid), "it is still active", [intid, 0, 0])?;
            ensure_eq(gic::read(GICC_RPR), IDLE, "GICC_RPR at the end", round)?;
            expect_iar(SPURIOUS, round)?;
        }
        Ok(())
    })
}

/// Many at once, of different priorities: the most urgent first.
pub(crate) fn priorities() -> Outcome {
    polled(|| {
        for stride in [1, 7, 29] {
            // Each of 28 priorities has at least two.
            for (n, intid) in (0u32..).zip(free()) {
                gic::set_priority(intid, (n * stride % 28 * 8 + 8) as u8);
            }
            free().for_each(make_pending);
            let mut taken = 0u64;
            let mut last = 0;
            for count in 0..NR_FREE_SPIS {
                let intid = gic::acknowledge();
                ensure(free().any(|free| free == intid), "GICC_IAR", [intid, count, last])?;
                let n = intid - FREE_SPIS;
                ensure(taken >> n & 1 == 0, "it came twice", [intid, count, 0])?;
                taken |= 1 << n;
                let priority = n * stride % 28 * 8 + 8;
                ensure(priority >= last, "a more urgent one came later", [intid, priority, last])?;
                ensure_eq(gic::read(GICC_RPR), priority, "GICC_RPR", intid)?;
                last = priority;
                gic::end(intid);
            }
            expect_iar(SPURIOUS, stride)?;
        }
        Ok(())
    })
}

/// Preemption many levels deep: more active ones than list registers, and more that wait.
pub(crate) fn nesting() -> Outcome {
    polled(|| {
        const LEVELS: u32 = 16;
        for round in 0..3 {
            // Ever more urgent ones are acknowledged, each while the ones before are active.
            for level in 0..LEVELS {
                let intid = spi(level * 3);
                gic::set_priority(intid, (0xf0 - 8 - level * 8) as u8);
                // Two as urgent as it wait.
                for other in 1..3 {
                    gic::set_priority(spi(level * 3 + other), (0xf0 - 8 - level * 8) as u8);
                }
                make_pending(intid);
                expect_iar(intid, level)?;
                make_pending(spi(level * 3 + 1));
                make_pending(spi(level * 3 + 2));
                expect_iar(SPURIOUS, level)?;
            }
            for level in 0..LEVELS {
                ensure(is_active(spi(level * 3)), "it is not active any more", [level, round, 0])?;
            }
            for level in (0..LEVELS).rev() {
                ensure_eq(gic::read(GICC_RPR), 0xf0 - 8 - level * 8, "GICC_RPR", level)?;
                gic::end(spi(level * 3));
                ensure(!is_active(spi(level * 3)), "it is active after its end", {
                    [level, round, 0]
                })?;
                let (first, second) = (spi(level * 3 + 1), spi(level * 3 + 2));
                for _ in 0..2 {
                    let iar = gic::acknowledge();
                    ensure(iar == first || iar == second, "GICC_IAR", [iar, first, level])?;
                    gic::end(iar);
                }
            }
            expect_iar(SPURIOUS, round)?;
        }
        Ok(())
    })
}

/// GICC_BPR says which differences of priority preempt, GICC_PMR which are signalled at all.
pub(crate) fn binary_point_and_mask() -> Outcome {
    polled(|| {
        // With five bits of group priority, with three.
        for (point, preempts) in [(2, true), (4, false)] {
            gic::write(GICC_BPR, point);
            ensure_eq(gic::read(GICC_BPR), point, "GICC_BPR", 0)?;
            gic::set_priority(spi(0), 0x98);
            gic::set_priority(spi(1), 0x88);
            gic::set_priority(spi(2), 0x78);
            make_pending(spi(0));
            expect_iar(spi(0), point)?;
            make_pending(spi(1));
            expect_iar(if preempts { spi(1) } else { SPURIOUS }, point)?;
            make_pending(spi(2));
            expect_iar(spi(2), point)?;
            gic::end(spi(2));
            if preempts {
                gic::end(spi(1));
            }
            gic::end(spi(0));
            if !preempts {
                expect_iar(spi(1), point)?;
                gic::end(spi(1));
            }
            expect_iar(SPURIOUS, point)?;
        }
        gic::write(GICC_BPR, 0);
        for mask in [0x80, 0x88, 0x90, 0xf0] {
            gic::write(GICC_PMR, mask);
            ensure_eq(gic::read(GICC_PMR), mask, "GICC_PMR", 0)?;
            gic::set_priority(spi(5), 0x88);
            make_pending(spi(5));
            let passes = 0x88 < mask;
            ensure_eq(cpu::isr() >> 7 & 1, passes.into(), "ISR", mask)?;
            if !passes {
                expect_iar(SPURIOUS, mask)?;
                // The interrupt comes when the mask is opened.
                gic::write(GICC_PMR, OPEN);
            }
            expect_iar(spi(5), mask)?;
            gic::end(spi(5));
        }
        Ok(())
    })
}

/// Pending and active by software, and back.
pub(crate) fn by_software() -> Outcome {
    polled(|| {
        for round in 0..4 {
            let intid = spi(20 + round);
            // Pending, and not any more before it was acknowledged.
            make_pending(intid);
            ensure_eq(gic::read(GICC_HPPIR), intid, "GICC_HPPIR", round)?;
            gic::set_bit(gic::GICD_ICPENDR, intid);
            ensure(!is_pending(intid), "it is still pending", [intid, round, 0])?;
            expect_iar(SPURIOUS, round)?;
            // Active by software: it does not come until it is not.
            gic::set_bit(gic::GICD_ISACTIVER, intid);
            ensure(is_active(intid), "it is not active", [intid, round, 0])?;
            make_pending(intid);
            expect_iar(SPURIOUS, round)?;
            gic::set_bit(gic::GICD_ICACTIVER, intid);
            ensure(!is_active(intid), "it is still active", [intid, round, 0])?;
            expect_iar(intid, round)?;
            // Pending again while active, then inactive by software: the priority is not
            // dropped by that.
            make_pending(intid);
            ensure(is_pending(intid) && is_active(intid), "it is not both", [intid, round, 0])?;
            gic::end(intid);
            ensure(is_pending(intid) && !is_active(intid), "it is not pending alone", {
                [intid, round, 0]
            })?;
            expect_iar(intid, round)?;
            gic::end(intid);
            // Disabled while it is pending.
            make_pending(intid);
            gic::set_bit(gic::GICD_ICENABLER, intid);
            expect_iar(SPURIOUS, round)?;
            ensure(is_pending(intid), "it was forgotten", [intid, round, 0])?;
            gic::set_bit(gic::GICD_ISENABLER, intid);
            expect_iar(intid, round)?;
            gic::end(intid);
            // Its priority changes while it is pending.
            gic::set_priority(intid, 0xe8);
            gic::set_priority(spi(40), 0x80);
            make_pending(intid);
            make_pending(spi(40));
            gic::set_priority(intid, 0x40);
            ensure_eq(gic::read(GICC_HPPIR), intid, "GICC_HPPIR after a change", round)?;
            expect_iar(intid, round)?;
            gic::end(intid);
            expect_iar(spi(40), round)?;
            gic::end(spi(40));
        }
        Ok(())
    })
}

/// The distributor and the CPU interface hold interrupts back while they are off.
pub(crate) fn switches() -> Outcome {
    polled(|| {
        make_pending(spi(3));
        gic::write(gic::GICD_CTLR, 0);
        let off = gic::acknowledge();
        gic::write(gic::GICD_CTLR, 1);
        ensure_eq(off, SPURIOUS, "GICC_IAR with the distributor off", 0)?;
        gic::write(GICC_CTLR, 0);
        ensure_eq(cpu::isr() & 1 << 7, 0, "ISR with the interface off", 0)?;
        gic::write(GICC_CTLR, gic::CTLR_ENABLE);
        expect_iar(spi(3), 0)?;
        gic::end(spi(3));
        Ok(())
    })
}

/// GICC_EOIR drops the priority, GICC_DIR deactivates, in any order.
pub(crate) fn split_end() -> Outcome {
    polled(|| {
        gic::write(GICC_CTLR, gic::CTLR_ENABLE | gic::CTLR_EOI_MODE);
        const COUNT: u32 = 10;
        // The order of their deactivations.
        for step in [1, 3, 7, 9] {
            (0..COUNT).map(spi).for_each(make_pending);
            let mut seen = 0;
            for place in 0..COUNT {
                let intid = gic::acknowledge();
                let n = intid.wrapping_sub(FREE_SPIS);
                ensure(n < COUNT && seen >> n & 1 == 0, "GICC_IAR", [intid, place, seen])?;
                seen |= 1 << n;
                gic::end(intid);
                ensure_eq(gic::read(GICC_RPR), IDLE, "GICC_RPR after GICC_EOIR", place)?;
            }
            for n in 0..COUNT {
                ensure(is_active(spi(n)), "GICC_EOIR deactivated it", [n, step, 0])?;
                // Pending again: it waits for its deactivation.
                make_pending(spi(n));
            }
            expect_iar(SPURIOUS, step)?;
            for place in 0..COUNT {
                let intid = spi((place * step + 2) % COUNT);
                gic::write(GICC_DIR, intid);
                ensure(!is_active(intid), "GICC_DIR did not deactivate it", [intid, step, place])?;
                expect_iar(intid, place)?;
                gic::end(intid);
                ensure(is_active(intid), "GICC_EOIR deactivated it", [intid, step, place])?;
                gic::write(GICC_DIR, intid);
                expect_iar(SPURIOUS, place)?;
            }
        }
        // SGIs too, and the one that is active blocks the next.
        gic::send_sgi_to_self(12);
        expect_iar(12, 0)?;
        gic::end(12);
        gic::send_sgi_to_self(12);
        expect_iar(SPURIOUS, 1)?;
        gic::write(GICC_DIR, 12);
        expect_iar(12, 2)?;
        gic::end(12);
        gic::write(GICC_DIR, 12);
        // The timer: a hypervisor has linked its interrupt to the hardware's.
        for round in 0..5 {
            timer::start(0);
            let came = timer::wait_until(|| gic::read(GICC_HPPIR) == gic::TIMER);
            ensure(came, "the timer's interrupt does not come", [round, 0, 0])?;
            expect_iar(gic::TIMER, round)?;
            gic::end(gic::TIMER);
            ensure(is_active(gic::TIMER), "GICC_EOIR deactivated the timer's", [round, 0, 0])?;
            // Still high: it comes again once it was deactivated, and not before.
            expect_iar(SPURIOUS, round)?;
            gic::write(GICC_DIR, gic::TIMER);
            let came = timer::wait_until(|| gic::read(GICC_HPPIR) == gic::TIMER);
            ensure(came, "the timer's interrupt does not come again", [round, 0, 0])?;
            expect_iar(gic::TIMER, round)?;
            timer::stop();
            gic::end(gic::TIMER);
            gic::write(GICC_DIR, gic::TIMER);
            expect_iar(SPURIOUS, round)?;
        }
        Ok(())
    })
}

/// Group 1 beside group 0: GICC_IAR needs AckCtl for it.
pub(crate) fn groups() -> Outcome {
    /// A pending interrupt of group 1, without AckCtl.
    const GROUP_1: u32 = 1022;
    polled(|| {
        gic::set_bit(gic::GICD_IGROUPR, spi(4));
        gic::write(gic::GICD_CTLR, 3);
        let control = gic::CTLR_ENABLE | gic::CTLR_ENABLE_GROUP_1;
        let check = || {
            make_pending(spi(4));
            // Not signalled while its group is off. (GICC_IAR then reads as 1023; QEMU's emulation
            // says 1022, in its virtual CPU interface too.)
            gic::write(GICC_CTLR, gic::CTLR_ENABLE);
            ensure_eq(cpu::isr() >> 7 & 1, 0, "ISR with the group off", 0)?;
            let iar = gic::acknowledge();
            ensure(iar == SPURIOUS || iar == GROUP_1, "GICC_IAR", [iar, SPURIOUS, 0])?;
            gic::write(GICC_CTLR, control);
            ensure_eq(cpu::isr() >> 7 & 1, 1, "ISR", 0)?;
            expect_iar(GROUP_1, 1)?;
            gic::write(GICC_CTLR, control | gic::CTLR_ACK);
            expect_iar(spi(4), 2)?;
            gic::end(spi(4));
            // Group 0 is more urgent by its priority alone.
            gic::set_priority(spi(4), 0x40);
            make_pending(spi(4));
            make_pending(spi(5));
            expect_iar(spi(4), 3)?;
            gic::end(spi(4));
            expect_iar(spi(5), 4)?;
            gic::end(spi(5));
            Ok(())
        };
        let result = check();
        gic::write(gic::GICD_CTLR, 1);
        result
    })
}

/// An interrupt that the monitor raises, and that stays until the handler tells it to lower it.
pub(crate) fn level_by_monitor() -> Outcome {
    for round in 0..5 {
        let before = gic::taken(0, doorbell::SPI);
        doorbell::set_spi(true);
        let taken = timer::wait_until(|| gic::taken(0, doorbell::SPI) > before);
        ensure(taken, "it does not come", [round, 0, 0])?;
        crate::vfp::exit_often(5);
        let count = gic::taken(0, doorbell::SPI) - before;
        ensure_eq(count, 1, "how often it came", round)?;
    }
    Ok(())
}

/// The line of the monitor's interrupt, level-sensitive and edge-triggered, looked at closely.
pub(crate) fn lines_of_monitor() -> Outcome {
    let intid = doorbell::SPI;
    let check = || {
        // As long as it is high, it comes again.
        doorbell::set_spi(true);
        for round in 0..4 {
            ensure(is_pending(intid), "it is not pending", [round, 0, 0])?;
            expect_iar(intid, round)?;
            gic::end(intid);
        }
        // Clearing the pending bit does not help against a high line.
        gic::set_bit(gic::GICD_ICPENDR, intid);
        ensure(is_pending(intid), "GICD_ICPENDR hides a line", [0; 3])?;
        expect_iar(intid, 4)?;
        doorbell::set_spi(false);
        gic::end(intid);
        expect_iar(SPURIOUS, 5)?;
        // High and low again before it was acknowledged.
        doorbell::set_spi(true);
        doorbell::set_spi(false);
        ensure(!is_pending(intid), "it is pending with a low line", [0; 3])?;
        expect_iar(SPURIOUS, 6)?;
        // An interrupt that is pending by software stays so for all changes of the line.
        make_pending(intid);
        expect_iar(intid, 7)?;
        gic::end(intid);
        expect_iar(SPURIOUS, 8)?;
        // An edge comes once, and is remembered.
        gic::set_edge(intid, true);
        for round in 10..13 {
            doorbell::set_spi(true);
            expect_iar(intid, round)?;
            gic::end(intid);
            expect_iar(SPURIOUS, round)?;
            doorbell::set_spi(false);
            doorbell::set_spi(true);
            doorbell::set_spi(false);
            expect_iar(intid, round)?;
            // The next edge while it is active.
            doorbell::set_spi(true);
            doorbell::set_spi(false);
            ensure(is_pending(intid) && is_active(intid), "it is not both", [round, 0, 0])?;
            gic::end(intid);
            expect_iar(intid, round)?;
            gic::end(intid);
            expect_iar(SPURIOUS, round)?;
        }
        Ok(())
    };
    cpu::masked(|| {
        let result = check();
        doorbell::set_spi(false);
        gic::set_edge(intid, false);
        gic::set_bit(gic::GICD_ICPENDR, intid);
        gic::set_bit(gic::GICD_ICACTIVER, intid);
        result
    })
}

/// How often each free SPI was handled, and where last.
static HANDLED: [AtomicU32; NR_FREE_SPIS as usize] =
    [const { AtomicU32::new(0) }; NR_FREE_SPIS as usize];
static HANDLED_BY: [AtomicU32; NR_FREE_SPIS as usize] =
    [const { AtomicU32::new(0) }; NR_FREE_SPIS as usize];

fn count_handled(iar: u32) {
    let n = ((iar & 0x3ff) - FREE_SPIS) as usize;
    if let (Some(count), Some(by)) = (HANDLED.get(n), HANDLED_BY.get(n)) {
        by.store(cpu::this_cpu() as u32, Ordering::Relaxed);
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn handled(n: u32) -> u32 {
    HANDLED
        .get(n as usize)
        .map_or(0, |count| count.load(Ordering::SeqCst))
}

/// Lets interrupts be handled while something is done.
fn with_handler(handler: fn(u32), f: impl FnOnce() -> Outcome) -> Outcome {
    cpu::masked(|| reset(true));
    for count in &HANDLED {
        count.store(0, Ordering::SeqCst);
    }
    gic::set_hook(Some(handler));
    let result = f();
    cpu::masked(|| reset(false));
    gic::set_hook(None);
    result
}

/// Each is handled by the CPU that is its target, and moves to another while it is pending.
pub(crate) fn targets() -> Outcome {
    with_handler(count_handled, || {
        let team = smp::team() as u32;
        for round in 0..4 {
            for n in 0..NR_FREE_SPIS {
                let target = (n + round) % team;
                gic::set_targets(spi(n), 1 << target);
                make_pending(spi(n));
                let came = timer::wait_until(|| handled(n) == round + 1);
                ensure(came, "it did not come", [n, target, handled(n)])?;
                let by = HANDLED_BY[n as usize].load(Ordering::Relaxed);
                ensure_eq(by, target, "the CPU that handled it", n)?;
            }
        }
        for n in 0..8 {
            // Pending here, where interrupts are masked, and then sent elsewhere.
            cpu::masked(|| {
                gic::set_targets(spi(n), 1);
                make_pending(spi(n));
                ensure(cpu::isr() & 1 << 7 != 0, "ISR", [n, 0, 0])?;
                gic::set_targets(spi(n), 2);
                let came = timer::wait_until(|| handled(n) == 5);
                ensure(came, "it did not move", [n, handled(n), 0])?;
                ensure_eq(cpu::isr() & 1 << 7, 0, "ISR after it moved", n)
            })?;
        }
        // With several targets, one of them gets it, and one alone (QEMU's GIC gives it to all).
        if !board::is_guest() {
            return Ok(());
        }
        for n in 0..NR_FREE_SPIS {
            gic::set_targets(spi(n), (1 << team) as u8 - 1);
        }
        for round in 0..10 {
            for n in 8..NR_FREE_SPIS {
                make_pending(spi(n));
            }
            let all = || (8..NR_FREE_SPIS).all(|n| handled(n) >= 5 + round);
            ensure(timer::wait_until(all), "some did not come", [round, 0, 0])?;
        }
        Deadline::after(MILLISECOND).wait();
        for n in 8..NR_FREE_SPIS {
            ensure_eq(handled(n), 14, "how often it came", n)?;
        }
        // Without any target, it is the first CPU's.
        for n in 8..NR_FREE_SPIS {
            gic::set_targets(spi(n), 0);
            make_pending(spi(n));
            let came = timer::wait_until(|| handled(n) == 15);
            ensure(came, "it did not come without a target", [n, handled(n), 0])?;
            let by = HANDLED_BY[n as usize].load(Ordering::Relaxed);
            ensure_eq(by, 0, "the CPU that handled it", n)?;
        }
        Ok(())
    })
}

static GO: Barrier = Barrier::new();

/// All CPUs make SPIs pending for each other at the same time; each time, each is handled once.
pub(crate) fn in_bulk() -> Outcome {
    with_handler(count_handled, || {
        smp::on_all(|me| {
            let team = smp::team() as u32;
            GO.wait()?;
            let end = Deadline::after(200 * MILLISECOND);
            let mine = || (me as u32..NR_FREE_SPIS).step_by(team as usize);
            let mut rounds = 0;
            while rounds < 5 || !end.is_over() && rounds < 100 {
                rounds += 1;
                for n in mine() {
                    gic::set_targets(spi(n), 1 << ((n / team + rounds) % team));
                    gic::set_priority(spi(n), (0x20 + n % 16 * 8) as u8);
                }
                mine().map(spi).for_each(make_pending);
                for n in mine() {
                    let came = timer::wait_until(|| handled(n) >= rounds);
                    ensure(came, "it was lost", [n, rounds, handled(n)])?;
                }
                for n in mine() {
                    ensure_eq(handled(n), rounds, "it came twice", n)?;
                }
            }
            GO.wait()
        })
    })
}

/// How deep handlers were within each other, and the deepest.
static DEPTH: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);

fn preempted(iar: u32) {
    let depth = DEPTH.fetch_add(1, Ordering::Relaxed) + 1;
    DEEPEST.fetch_max(depth, Ordering::Relaxed);
    let n = (iar & 0x3ff) - FREE_SPIS;
    if n + 1 < 12 {
        make_pending(spi(n + 1));
    }
    cpu::enable_interrupts();
    // The next, which is more urgent, comes in here.
    let end = Deadline::after(50 * MILLISECOND);
    while n + 1 < 12 && handled(n + 1) == 0 && !end.is_over() {}
    cpu::disable_interrupts();
    DEPTH.fetch_sub(1, Ordering::Relaxed);
    count_handled(iar);
}

/// Handlers that are interrupted by more urgent interrupts.
pub(crate) fn preemption() -> Outcome {
    with_handler(preempted, || {
        DEEPEST.store(0, Ordering::Relaxed);
        for n in 0..12 {
            gic::set_priority(spi(n), (0xe8 - 8 * n) as u8);
        }
        make_pending(spi(0));
        let came = timer::wait_until(|| handled(0) == 1);
        ensure(came, "it did not come to an end", [DEPTH.load(Ordering::Relaxed), 0, 0])?;
        ensure_eq(DEEPEST.load(Ordering::Relaxed), 12, "how deep they were", 0)?;
        for n in 0..12 {
            ensure_eq(handled(n), 1, "how often it came", n)?;
        }
        Ok(())
    })
}

/// The state of an interrupt that another CPU handles, as this CPU sees it.
static STAGE: AtomicU32 = AtomicU32::new(0);

/// A CPU sees and changes active and pending interrupts of another CPU.
pub(crate) fn from_another_cpu() -> Outcome {
    const N: u32 = 30;
    cpu::masked(|| reset(true));
    gic::set_targets(spi(N), 2);
    STAGE.store(0, Ordering::SeqCst);
    let stage = |stage| timer::wait_until(|| STAGE.load(Ordering::SeqCst) == stage);
    smp::start_work(1, |_| {
        cpu::masked(|| {
            let stage = |stage| timer::wait_until(|| STAGE.load(Ordering::SeqCst) == stage);
            STAGE.store(1, Ordering::SeqCst);
            let came = timer::wait_until(|| gic::read(GICC_HPPIR) == spi(N));
            ensure(came, "it does not come", [0; 3])?;
            expect_iar(spi(N), 0)?;
            STAGE.store(2, Ordering::SeqCst);
            ensure(stage(3), "stage 3", [0; 3])?;
            // The first CPU has deactivated it here, and made it pending once more.
            let came = timer::wait_until(|| gic::read(GICC_HPPIR) == spi(N));
            ensure(came, "it does not come again", [0; 3])?;
            gic::end(spi(N));
            expect_iar(spi(N), 1)?;
            gic::end(spi(N));
            STAGE.store(4, Ordering::SeqCst);
            ensure(stage(5), "stage 5", [0; 3])?;
            // The interrupt was pending until the first CPU cleared it.
            expect_iar(SPURIOUS, 2)
        })
    });
    let check = || {
        ensure(stage(1), "stage 1", [0; 3])?;
        make_pending(spi(N));
        ensure(stage(2), "stage 2", [0; 3])?;
        ensure(is_active(spi(N)), "it does not look active", [0; 3])?;
        ensure(!is_pending(spi(N)), "it looks pending", [0; 3])?;
        gic::set_bit(gic::GICD_ICACTIVER, spi(N));
        // When the other CPU sees that is its own time.
        let inactive = timer::wait_until(|| !is_active(spi(N)));
        ensure(inactive, "it looks active", [0; 3])?;
        // More urgent, as the other CPU has not dropped the priority.
        gic::set_priority(spi(N), 0x40);
        make_pending(spi(N));
        STAGE.store(3, Ordering::SeqCst);
        ensure(stage(4), "stage 4", [0; 3])?;
        make_pending(spi(N));
        Deadline::after(MILLISECOND).wait();
        gic::set_bit(gic::GICD_ICPENDR, spi(N));
        let gone = timer::wait_until(|| !is_pending(spi(N)));
        ensure(gone, "it looks pending for ever", [0; 3])?;
        // The other CPU may have been running the whole time.
        Deadline::after(20 * MILLISECOND).wait();
        STAGE.store(5, Ordering::SeqCst);
        Ok(())
    };
    let here = check();
    let there = smp::end_work(1);
    cpu::masked(|| reset(false));
    here.and(there)
}
