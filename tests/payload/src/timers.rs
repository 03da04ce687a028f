// SPDX-License-Identifier: GPL-2.0

//! The generic timers and their counters (chapter B8): the registers have their meaning, the
//! interrupts come as often as they are asked for and never early, and time is the same on all
//! CPUs.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::check::{ensure, ensure_eq, Failure, Outcome};
use crate::code;
use crate::cpu;
use crate::doorbell;
use crate::exceptions::{self, SVC, UNDEFINED};
use crate::gic;
use crate::smp::{self, Barrier};
use crate::timer::{self, physical, Deadline, ENABLE, MASK, MILLISECOND, SECOND, STATUS};
use crate::vfp::exit_often;

/// A timer, by its operations.
struct Timer {
    count: fn() -> u64,
    set_control: fn(u32),
    control: fn() -> u32,
    set_value: fn(u32),
    value: fn() -> u32,
    set_compare: fn(u64),
    compare: fn() -> u64,
    intid: u32,
}

const VIRTUAL: Timer = Timer {
    count: cpu::counter,
    set_control: timer::set_control,
    control: timer::control,
    set_value: timer::set_value,
    value: timer::value,
    set_compare: timer::set_compare,
    compare: timer::compare,
    intid: gic::TIMER,
};

const PHYSICAL: Timer = Timer {
    count: cpu::physical_counter,
    set_control: physical::set_control,
    control: physical::control,
    set_value: physical::set_value,
    value: physical::value,
    set_compare: physical::set_compare,
    compare: physical::compare,
    intid: gic::PHYSICAL_TIMER,
};

impl Timer {
    /// Lets it interrupt at a time.
    fn start_at(&self, time: u64) {
        (self.set_compare)(time);
        (self.set_control)(ENABLE);
    }

    /// The meaning of the registers.
    fn registers(&self) -> Outcome {
        let place = self.intid;
        (self.set_control)(MASK);
        ensure_eq((self.control)(), MASK, "CTL of a timer that is off", place)?;
        for compare in [0, 0x0123_4567_89ab_cdef, u64::MAX] {
            (self.set_compare)(compare);
            exit_often(1);
            let found = (self.compare)();
            ensure(found == compare, "CVAL", [found as u32, (found >> 32) as u32, place])?;
            let (before, value, after) = ((self.count)(), (self.value)(), (self.count)());
            let distance = (compare as u32).wrapping_sub(value);
            ensure(
                distance.wrapping_sub(before as u32) <= (after - before) as u32,
                "TVAL is not CVAL less the count",
                [value, before as u32, after as u32],
            )?;
        }
        // TVAL is signed.
        for value in [0, 1000, 0x7fff_ffff, 0x8000_0000, 0xffff_ff00] {
            let before = (self.count)();
            (self.set_value)(value);
            let compare = (self.compare)();
            let after = (self.count)();
            let distance = i64::from(value as i32);
            let from = before.wrapping_add_signed(distance);
            ensure(
                compare.wrapping_sub(from) <= after - before,
                "CVAL is not the count plus TVAL",
                [compare as u32, (compare >> 32) as u32, value],
            )?;
        }
        // ISTATUS, for a time that has passed and one that has not.
        for (time, status) in [((self.count)(), STATUS), ((self.count)() + SECOND, 0)] {
            (self.set_compare)(time);
            (self.set_control)(ENABLE | MASK);
            ensure_eq((self.control)(), ENABLE | MASK | status, "CTL", place)?;
        }
        (self.set_compare)(u64::MAX);
        ensure_eq((self.control)(), ENABLE | MASK, "CTL for a time that never comes", place)?;
        (self.set_control)(0);
        ensure_eq((self.control)() & !STATUS, 0, "CTL", place)
    }

    /// Its interrupt follows its condition, the mask and the enable bit. Interrupts are masked.
    fn line(&self) -> Outcome {
        let place = self.intid;
        let is_raised = || gic::read(gic::GICC_HPPIR) == self.intid;
        for round in 0..4 {
            (self.set_control)(0);
            self.start_at((self.count)() + 2000);
            ensure(timer::wait_until(is_raised), "it does not come", [place, round, 0])?;
            ensure_eq((self.control)(), ENABLE | STATUS, "CTL", place)?;
            ensure_eq(gic::acknowledge(), self.intid, "GICC_IAR", round)?;
            // The line is still high at the end of the interrupt, so the interrupt comes again.
            gic::end(self.intid);
            ensure(timer::wait_until(is_raised), "it does not stay", [place, round, 0])?;
            ensure_eq(gic::acknowledge(), self.intid, "GICC_IAR", round)?;
            match round {
                0 => (self.set_control)(0),
                1 => (self.set_control)(ENABLE | MASK),
                2 => (self.set_compare)((self.count)() + SECOND),
                _ => (self.set_value)(SECOND as u32),
            }
            gic::end(self.intid);
            ensure_eq(gic::acknowledge(), gic::SPURIOUS, "GICC_IAR when it is low", round)?;
            // The line is high again.
            if round == 1 {
                (self.set_control)(ENABLE);
                ensure(timer::wait_until(is_raised), "it is not unmasked", [place, round, 0])?;
                ensure_eq(gic::acknowledge(), self.intid, "GICC_IAR", round)?;
                (self.set_control)(0);
                gic::end(self.intid);
            }
        }
        (self.set_control)(0);
        Ok(())
    }
}

impl Timer {
    /// The first look at GICD_ISPENDR after a change of the timer tells of its line as it is then.
    /// Interrupts are masked.
    fn pending(&self) -> Outcome {
        let place = self.intid;
        let is_pending = || gic::bit(gic::GICD_ISPENDR, self.intid);
        for round in 0..8 {
            (self.set_control)(0);
            ensure(!is_pending(), "it is pending before", [place, round, 0])?;
            let time = (self.count)() + 2000;
            self.start_at(time);
            // A timer of the emulator alone fires some time later, when its host gets round to it.
            ensure(timer::wait_until(is_pending), "it does not become pending", [place, round, 0])?;
            ensure((self.count)() >= time, "it is pending before its time", [place, round, 0])?;
            match round % 4 {
                0 => (self.set_control)(0),
                1 => (self.set_control)(ENABLE | MASK),
                2 => (self.set_compare)((self.count)() + SECOND),
                _ => (self.set_value)(SECOND as u32),
            }
            ensure(!is_pending(), "it is still pending", [place, round, 0])?;
            if round % 4 == 1 {
                (self.set_control)(ENABLE);
                ensure(is_pending(), "it is not pending when it is unmasked", [place, round, 0])?;
            }
        }
        (self.set_control)(0);
        Ok(())
    }
}

pub(crate) fn pending() -> Outcome {
    cpu::masked(|| {
        let result = VIRTUAL.pending();
        timer::stop();
        result
    })
}

pub(crate) fn physical_pending() -> Outcome {
    cpu::masked(|| {
        let result = PHYSICAL.pending();
        physical::set_control(0);
        result
    })
}

pub(crate) fn registers() -> Outcome {
    cpu::masked(|| {
        let result = VIRTUAL.registers();
        timer::stop();
        result
    })
}

pub(crate) fn physical_registers() -> Outcome {
    cpu::masked(|| {
        let result = PHYSICAL.registers();
        physical::set_control(0);
        result
    })
}

pub(crate) fn line() -> Outcome {
    cpu::masked(|| {
        let result = VIRTUAL.line();
        timer::stop();
        result
    })
}

pub(crate) fn physical_line() -> Outcome {
    cpu::masked(|| {
        let result = PHYSICAL.line();
        physical::set_control(0);
        result
    })
}

/// Both timers at once.
pub(crate) fn together() -> Outcome {
    cpu::masked(|| {
        for round in 0..10 {
            let (delay, other) = if round % 2 == 0 { (500, 900) } else { (900, 500) };
            VIRTUAL.start_at(cpu::counter() + delay);
            PHYSICAL.start_at(cpu::physical_counter() + other);
            let mut seen = 0;
            for _ in 0..2 {
                let came = timer::wait_until(|| gic::read(gic::GICC_HPPIR) < 1020);
                ensure(came, "an interrupt is missing", [round, seen, 0])?;
                let intid = gic::acknowledge();
                seen |= 1 << (intid & 31);
                match intid {
                    gic::TIMER => timer::stop(),
                    _ => physical::set_control(0),
                }
                gic::end(intid);
            }
            ensure_eq(seen, 1 << 27 | 1 << 30, "which came", round)?;
        }
        Ok(())
    })
}

fn wait_spinning(timer: &Timer, before: u32) -> bool {
    let this_cpu = cpu::this_cpu();
    timer::wait_until(|| gic::taken(this_cpu, timer.intid) != before)
}

fn wait_sleeping(timer: &Timer, before: u32) -> bool {
    let this_cpu = cpu::this_cpu();
    timer::wait_until(|| {
        cpu::masked(|| {
            if gic::taken(this_cpu, timer.intid) == before {
                cpu::wait_for_interrupt();
            }
        });
        gic::taken(this_cpu, timer.intid) != before
    })
}

/// Lets a timer interrupt again and again, at all kinds of distances.
fn one_by_one(timer: &Timer, count: u32, sleeps: fn(u32) -> bool) -> Outcome {
    let this_cpu = cpu::this_cpu();
    let spurious = timer::spurious(this_cpu);
    let mut random = 12345 + this_cpu as u32;
    for round in 0..count {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Up to 50 us; one in eight is in the past already.
        let delay = i64::from(random >> 8 & 0xfff) - 0x200;
        let before = gic::taken(this_cpu, timer.intid);
        let time = (timer.count)().wrapping_add_signed(delay);
        timer.start_at(time);
        let came = if sleeps(round) {
            wait_sleeping(timer, before)
        } else {
            wait_spinning(timer, before)
        };
        ensure(came, "an interrupt was lost", [round, this_cpu as u32, delay as u32])?;
        let now = (timer.count)();
        ensure(now >= time, "it came early", [round, (time - now) as u32, delay as u32])?;
        let found = gic::taken(this_cpu, timer.intid);
        ensure_eq(found, before + 1, "it came twice", round)?;
    }
    let before = gic::taken(this_cpu, timer.intid);
    Deadline::after(MILLISECOND).wait();
    ensure_eq(gic::taken(this_cpu, timer.intid), before, "one came by itself", 0)?;
    ensure_eq(timer::spurious(this_cpu), spurious, "one came without reason", 0)
}

pub(crate) fn spinning() -> Outcome {
    one_by_one(&VIRTUAL, 50, |_| false)
}

pub(crate) fn sleeping() -> Outcome {
    one_by_one(&VIRTUAL, 50, |_| true)
}

pub(crate) fn physical_both_ways() -> Outcome {
    one_by_one(&PHYSICAL, 100, |round| round % 2 == 0)
}

/// To a CPU that spins, interrupts come when they are due, and not with the next tick of somebody's
/// clock: some are late by less than half a tick even if the machine has other things to do. As each
/// is awaited from when the last one came, all but the first would be late with a tick of 4 ms.
fn punctual(timer: &Timer) -> Outcome {
    const ROUNDS: usize = 31;
    let this_cpu = cpu::this_cpu();
    let mut lateness = [0; ROUNDS];
    for late in &mut lateness {
        let before = gic::taken(this_cpu, timer.intid);
        let time = (timer.count)() + MILLISECOND / 2;
        timer.start_at(time);
        ensure(wait_spinning(timer, before), "an interrupt was lost", [0; 3])?;
        *late = (timer.count)().saturating_sub(time);
    }
    lateness.sort_unstable();
    let second_best = lateness[1];
    let limit = 2 * MILLISECOND;
    ensure(second_best < limit, "late", [second_best as u32, lateness[0] as u32, limit as u32])
}

pub(crate) fn virtual_punctual() -> Outcome {
    punctual(&VIRTUAL)
}

pub(crate) fn physical_punctual() -> Outcome {
    punctual(&PHYSICAL)
}

/// How many interrupts each CPU waits for: half one by one, the rest as a period.
fn share() -> u32 {
    doorbell::timer_interrupts() / smp::team() as u32 / 2
}

pub(crate) fn in_bulk() -> Outcome {
    smp::on_all(|cpu| {
        // CPUs that sleep and CPUs that are busy.
        let sleeps: fn(u32) -> bool = match cpu % 2 {
            0 => |round| round % 16 == 0,
            _ => |round| round % 2 == 0,
        };
        one_by_one(&VIRTUAL, share(), sleeps)
    })
}

pub(crate) fn physical_in_bulk() -> Outcome {
    smp::on_all(|_| one_by_one(&PHYSICAL, share() / 4, |round| round % 4 == 0))
}

/// How often each CPU's timer is still to be started again by its interrupt.
static LEFT: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
/// 100 us.
const PERIOD: u64 = SECOND / 10_000;

/// Starts the timer again when it has expired, a period after the last time.
#[inline(always)]
pub(crate) fn start_again(this_cpu: usize) -> bool {
    let Some(left) = LEFT.get(this_cpu) else {
        return false;
    };
    let count = left.load(Ordering::Relaxed);
    if count == 0 {
        return false;
    }
    left.store(count - 1, Ordering::Relaxed);
    if count > 1 {
        timer::set_compare(timer::compare() + PERIOD);
    }
    count > 1
}

/// A period: as many interrupts as there are periods in the time, on all CPUs.
pub(crate) fn periodic() -> Outcome {
    smp::on_all(|cpu| {
        let count = share();
        let spurious = timer::spurious(cpu);
        let before = gic::taken(cpu, gic::TIMER);
        let left = &LEFT[cpu];
        left.store(count, Ordering::Relaxed);
        let start = cpu::counter();
        VIRTUAL.start_at(start + PERIOD);
        let done = timer::wait_long(|| {
            match cpu % 3 {
                0 => {}
                1 => exit_often(1),
                _ => cpu::masked(|| {
                    if left.load(Ordering::Relaxed) != 0 {
                        cpu::wait_for_interrupt();
                    }
                }),
            }
            left.load(Ordering::Relaxed) == 0
        });
        timer::stop();
        ensure(done, "interrupts were lost", [left.load(Ordering::Relaxed), count, cpu as u32])?;
        let early = cpu::counter() < start + u64::from(count) * PERIOD;
        ensure(!early, "the last came early", [count, cpu as u32, 0])?;
        Deadline::after(MILLISECOND).wait();
        ensure_eq(gic::taken(cpu, gic::TIMER) - before, count, "how many came", cpu as u32)?;
        ensure_eq(timer::spurious(cpu), spurious, "how many came without reason", cpu as u32)
    })
}

/// A timer that is off keeps its compare value over exits, even if others use the hardware
/// meanwhile.
pub(crate) fn stopped() -> Outcome {
    smp::on_all(|cpu| {
        timer::stop();
        for round in 0..500 {
            let value = (cpu as u64 + 1) << 48 | round;
            timer::set_compare(value);
            exit_often(1);
            let found = timer::compare();
            ensure(found == value, "CVAL", [found as u32, (found >> 32) as u32, round as u32])?;
        }
        Ok(())
    })
}

/// The latest time that any CPU has seen, under a lock.
struct Latest {
    locked: AtomicBool,
    times: UnsafeCell<[u64; 2]>,
}

// SAFETY: The times are used by who has the lock.
unsafe impl Sync for Latest {}

static LATEST: Latest = Latest {
    locked: AtomicBool::new(false),
    times: UnsafeCell::new([0; 2]),
};

impl Latest {
    /// Reads both counters and sees that they are not behind what any CPU has read before.
    fn check(&self) -> Result<(), [u64; 2]> {
        while self.locked.swap(true, Ordering::Acquire) {}
        let now = [cpu::counter(), cpu::physical_counter()];
        // SAFETY: We have the lock.
        let times = unsafe { &mut *self.times.get() };
        let result = match now.iter().zip(&*times).find(|(now, latest)| now < latest) {
            Some((now, latest)) => Err([*now, *latest]),
            None => Ok(()),
        };
        *times = now;
        self.locked.store(false, Ordering::Release);
        result
    }
}

static GO: Barrier = Barrier::new();

/// Time does not go back from one CPU to another.
pub(crate) fn counters_agree() -> Outcome {
    let early = LATEST.times.get();
    // SAFETY: The others do nothing yet.
    unsafe { *early = [0; 2] };
    smp::on_all(|_| {
        GO.wait()?;
        let end = Deadline::after(200 * MILLISECOND);
        while !end.is_over() {
            for _ in 0..10 {
                LATEST.check().map_err(|[now, latest]| Failure {
                    what: "a counter is behind that of another CPU",
                    values: [now as u32, latest as u32, (latest - now) as u32],
                })?;
            }
            exit_often(1);
        }
        Ok(())
    })
}

/// CNTFRQ, and the two counters at the same pace.
pub(crate) fn counters() -> Outcome {
    ensure_eq(cpu::cntfrq(), SECOND as u32, "CNTFRQ", 0)?;
    let difference = || cpu::physical_counter().wrapping_sub(cpu::counter());
    let first = difference();
    for round in 0..20 {
        exit_often(10);
        // The two reads are not at the same time, and the host may come between.
        let same = timer::wait_until(|| difference().wrapping_sub(first).wrapping_add(50_000) < 100_000);
        ensure(same, "the counters drift", [round, difference() as u32, first as u32])?;
    }
    Ok(())
}

/// CNTKCTL opens counters and timers to user mode.
pub(crate) fn user_access() -> Outcome {
    let old = cpu::cntkctl();
    // CNTVCT, CNTPCT, CNTV_CTL, CNTP_CTL, CNTFRQ, and the bits that permit them.
    let accesses = [
        (code::mrrc([1, 14]), 1 << 1),
        (code::mrrc([0, 14]), 1 << 0),
        (code::mrc([0, 14, 3, 1]), 1 << 8),
        (code::mrc([0, 14, 2, 1]), 1 << 9),
        (code::mrc([0, 14, 0, 0]), 3),
    ];
    let check = || {
        for control in [0, 1, 2, 3, 1 << 8, 1 << 9, 0x303] {
            cpu::set_cntkctl(control);
            exit_often(1);
            ensure_eq(cpu::cntkctl() & 0x303, control, "CNTKCTL", 0)?;
            for (instruction, opens) in accesses {
                let code = code::arm([instruction, code::SVC_0]);
                let found = exceptions::in_user_mode(code, 0).vector;
                let expected = if control & opens != 0 { SVC } else { UNDEFINED };
                ensure_eq(found, expected, "an access in user mode", control << 16 | opens)?;
            }
            let code = code::arm([code::mcr([0, 14, 0, 0]), code::SVC_0]);
            let found = exceptions::in_user_mode(code, 0).vector;
            ensure_eq(found, UNDEFINED, "CNTFRQ written in user mode", control)?;
        }
        Ok(())
    };
    let result = check();
    cpu::set_cntkctl(old);
    result
}
