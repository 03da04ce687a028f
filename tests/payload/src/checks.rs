// SPDX-License-Identifier: GPL-2.0

//! Checks of the machine: each reports by its name whether it passed.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::timer;

extern "C" {
    fn vfp_fill(values: *const u64, fpscr: u32);
    fn vfp_read(values: *mut u64) -> u32;
    fn banked_swap(values: *mut u32);
}

/// A check's result: the number says what was wrong.
type Outcome = Result<(), u32>;

fn ensure(condition: bool, otherwise: u32) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(otherwise)
    }
}

/// An interrupt from the first CPU to another, and the one that answers it.
const SGI_PING: u32 = 3;
const SGI_PONG: u32 = 4;

/// What the first CPU wants the second to do, and how far that is.
static ORDER: AtomicU32 = AtomicU32::new(0);
static REPLY: AtomicU32 = AtomicU32::new(0);
const ORDER_VFP: u32 = 1;
const ORDER_PONG: u32 = 2;
const ORDER_OFF: u32 = 3;
const ORDER_TIMER: u32 = 4;
/// Set in a reply when what was ordered went wrong.
const REPLY_FAILED: u32 = 0x8000_0000;

/// Leaves the guest for all reasons that a guest has: hypercall, trap, kernel's device, monitor's
/// device, another process of the host.
fn exit_often(rounds: u32) {
    for _ in 0..rounds {
        psci::version();
        cpu::actlr();
        gic::distributor_type();
        doorbell::echo();
        cpu::wait_for_event();
    }
}

fn undefined() -> Outcome {
    let before = cpu::undefined_count();
    cpu::read_nonexistent();
    let count = cpu::undefined_count() - before;
    ensure(count == 2, count)
}

fn identity() -> Outcome {
    // Part numbers of Cortex-A15 and Cortex-A7.
    let part = (cpu::midr() >> 4) & 0xfff;
    ensure(part == 0xc0f || part == 0xc07, cpu::midr())?;
    ensure(cpu::mpidr() & 0xff_ffff == 0, cpu::mpidr())
}

fn version() -> Outcome {
    let version = psci::version();
    ensure((2..0x2_0000).contains(&version), version)
}

fn no_such_cpu() -> Outcome {
    let result = psci::cpu_on(0x77_0700);
    ensure(result == psci::INVALID_PARAMETERS, result)
}

/// Registers of the other modes, in the order of `banked_swap`.
const BANKED: usize = 17;
/// Bits of an SPSR that any value may have: flags, mask bits; the mode is Supervisor.
const SPSR_FLAGS: u32 = 0xf000_01c0;
const SPSR_MODE: u32 = 0x13;
/// Places of SPSRs among the banked registers.
const SPSRS: [usize; 4] = [2, 5, 8, 16];

fn banked() -> Outcome {
    let mut values = [0; BANKED];
    for (index, value) in values.iter_mut().enumerate() {
        *value = 0x1001_0201u32.wrapping_mul(index as u32 + 3);
        if SPSRS.contains(&index) {
            *value = (*value << 16) & SPSR_FLAGS | SPSR_MODE;
        }
    }
    let expected = values;
    cpu::disable_interrupts();
    // SAFETY: No exception is taken until the registers have been swapped back.
    unsafe {
        banked_swap(values.as_mut_ptr());
        exit_often(50);
        banked_swap(values.as_mut_ptr());
    }
    cpu::enable_interrupts();
    for (index, (value, expected)) in values.iter().zip(&expected).enumerate() {
        ensure(value == expected, index as u32)?;
    }
    Ok(())
}

/// Rounding mode and flags that are not those after reset.
const FPSCR: u32 = 0xa080_0000;

fn vfp(seed: u64, rounds: u32) -> Outcome {
    let mut values = [0; 32];
    for (index, value) in values.iter_mut().enumerate() {
        *value = seed.wrapping_mul(2 * index as u64 + 1);
    }
    let mut found = [0; 32];
    // SAFETY: The compiler takes all of these registers for clobbered by a call but d8 to d15,
    // and it has no floating-point values here; the arrays are as large as the registers.
    let fpscr = unsafe {
        vfp_fill(values.as_ptr(), FPSCR);
        exit_often(rounds);
        vfp_read(found.as_mut_ptr())
    };
    for (index, (value, found)) in values.iter().zip(&found).enumerate() {
        ensure(value == found, index as u32)?;
    }
    ensure(fpscr == FPSCR, fpscr)
}

fn echo() -> Outcome {
    let value = doorbell::echo();
    ensure(value == doorbell::ECHO_VALUE, value)
}

/// Accesses of all widths to a device, and what they leave there.
fn widths() -> Outcome {
    let (bytes, halves, words) = (
        doorbell::scratch::<u8>(),
        doorbell::scratch::<u16>(),
        doorbell::scratch::<u32>(),
    );
    // SAFETY: Eight bytes of the doorbell, in aligned pieces.
    unsafe {
        ptr::write_volatile(words, 0x4433_2211);
        ptr::write_volatile(halves.add(2), 0x6655);
        ptr::write_volatile(bytes.add(6), 0x77);
        ptr::write_volatile(bytes.add(7), 0x88);
        let word = ptr::read_volatile(words.add(1));
        ensure(word == 0x8877_6655, word)?;
        let half = ptr::read_volatile(halves.add(1));
        ensure(half == 0x4433, half.into())?;
        let byte = ptr::read_volatile(bytes.add(3));
        ensure(byte == 0x44, byte.into())?;
        // Sign extension, of a byte and of a half word.
        let byte = i32::from(ptr::read_volatile(bytes.add(7).cast::<i8>()));
        ensure(byte == i32::from(0x88u8 as i8), byte as u32)?;
        let half = i32::from(ptr::read_volatile(halves.add(3).cast::<i16>()));
        ensure(half == i32::from(0x8877u16 as i16), half as u32)
    }
}

fn sgi_to_self() -> Outcome {
    for round in 0..20 {
        let before = gic::taken(0, SGI_PONG);
        gic::send_sgi_to_self(SGI_PONG);
        ensure(
            timer::wait_until(|| gic::taken(0, SGI_PONG) == before + 1),
            round,
        )?;
    }
    Ok(())
}

/// An interrupt that the monitor raises, and that stays until the handler tells it to lower it.
fn level_interrupt() -> Outcome {
    for round in 0..5 {
        let before = gic::taken(0, doorbell::SPI);
        doorbell::set_spi(true);
        let taken = timer::wait_until(|| gic::taken(0, doorbell::SPI) > before);
        ensure(taken, round)?;
        exit_often(5);
        let count = gic::taken(0, doorbell::SPI) - before;
        ensure(count == 1, (round << 16) | count)?;
    }
    Ok(())
}

fn timer_spinning() -> Outcome {
    for round in 0..20 {
        let before = gic::taken(0, gic::TIMER);
        let start = cpu::counter();
        timer::start(10_000);
        let taken = timer::wait_until(|| gic::taken(0, gic::TIMER) > before);
        ensure(taken, round)?;
        let early = cpu::counter() - start < 10_000;
        ensure(!early, 0x100 | round)?;
        let count = gic::taken(0, gic::TIMER) - before;
        ensure(count == 1, (count << 16) | round)?;
    }
    Ok(())
}

fn timer_sleeping() -> Outcome {
    for round in 0..20 {
        let before = gic::taken(0, gic::TIMER);
        let start = cpu::counter();
        timer::start(100_000);
        while gic::taken(0, gic::TIMER) == before {
            cpu::wait_for_interrupt();
            let late = cpu::counter() - start > 5 * timer::SECOND;
            ensure(!late, round)?;
        }
        let early = cpu::counter() - start < 100_000;
        ensure(!early, 0x100 | round)?;
    }
    Ok(())
}

/// A timer that is off keeps its compare value over exits, whoever uses the hardware meanwhile.
fn stopped_timer(seed: u64, rounds: u32) -> Outcome {
    timer::stop();
    for round in 0..rounds {
        let value = seed + u64::from(round);
        timer::set_compare(value);
        exit_often(1);
        ensure(timer::compare() == value, round)?;
    }
    Ok(())
}

/// Tells the second CPU to do something, and waits until it has done it.
fn order(order: u32) -> Outcome {
    REPLY.store(0, Ordering::SeqCst);
    ORDER.store(order, Ordering::SeqCst);
    let replied = timer::wait_until(|| REPLY.load(Ordering::SeqCst) & !REPLY_FAILED == order);
    ensure(replied, 0xffff)?;
    let reply = REPLY.load(Ordering::SeqCst);
    ensure(reply & REPLY_FAILED == 0, reply)
}

/// What the other CPUs do.
pub(crate) fn secondary(id: u32) -> ! {
    cpu::enable_interrupts();
    let mut answered = gic::taken(id as usize, SGI_PING);
    loop {
        let pinged = gic::taken(id as usize, SGI_PING);
        if pinged != answered {
            answered += 1;
            gic::send_sgi(1, SGI_PONG);
        }
        let order = ORDER.swap(0, Ordering::SeqCst);
        let failed = match order {
            ORDER_VFP => vfp(0x0fed_cba9_8765_4321, 2000).is_err(),
            ORDER_TIMER => stopped_timer(0x0002_0000_0000_0000, 2000).is_err(),
            ORDER_OFF => {
                REPLY.store(order, Ordering::SeqCst);
                psci::cpu_off();
                true
            }
            _ => false,
        };
        if order != 0 {
            let reply = if failed { order | REPLY_FAILED } else { order };
            REPLY.store(reply, Ordering::SeqCst);
        }
    }
}

fn cpu_on() -> Outcome {
    let info = psci::affinity_info(1);
    ensure(info == psci::AFFINITY_OFF, 0x100 | info)?;
    let result = psci::cpu_on(1);
    ensure(result == 0, result)?;
    order(ORDER_PONG)?;
    let info = psci::affinity_info(1);
    ensure(info == psci::AFFINITY_ON, 0x200 | info)?;
    let again = psci::cpu_on(1);
    ensure(again == psci::ALREADY_ON, again)
}

/// Tells the second CPU to do something, and does the same here at the same time.
fn both(order: u32, here: impl FnOnce() -> Outcome) -> Outcome {
    REPLY.store(0, Ordering::SeqCst);
    ORDER.store(order, Ordering::SeqCst);
    here()?;
    let replied = timer::wait_until(|| REPLY.load(Ordering::SeqCst) != 0);
    ensure(replied, 0xffff)?;
    let reply = REPLY.load(Ordering::SeqCst);
    ensure(reply == order, reply)
}

fn vfp_of_two() -> Outcome {
    both(ORDER_VFP, || vfp(0x0123_4567_89ab_cdef, 2000))
}

fn timer_of_two() -> Outcome {
    both(ORDER_TIMER, || stopped_timer(0x0001_0000_0000_0000, 2000))
}

fn sgi_between() -> Outcome {
    for round in 0..50 {
        let before = gic::taken(0, SGI_PONG);
        gic::send_sgi(1 << 1, SGI_PING);
        let answered = timer::wait_until(|| gic::taken(0, SGI_PONG) == before + 1);
        ensure(answered, round)?;
    }
    Ok(())
}

fn cpu_off() -> Outcome {
    for round in 0..3 {
        order(ORDER_OFF)?;
        let off = timer::wait_until(|| psci::affinity_info(1) == psci::AFFINITY_OFF);
        ensure(off, round)?;
        let result = psci::cpu_on(1);
        ensure(result == 0, result)?;
        order(ORDER_PONG)?;
    }
    Ok(())
}

pub(crate) fn run() {
    let check = |name: &str, check: fn() -> Outcome| match check() {
        Ok(()) => doorbell::pass(name),
        Err(value) => doorbell::fail(name, value),
    };
    check("CPU identity", identity);
    check("undefined CP15 registers", undefined);
    check("PSCI version", version);
    check("PSCI CPU_ON of no CPU", no_such_cpu);
    check("banked registers", banked);
    check("VFP registers", || vfp(0x0123_4567_89ab_cdef, 100));
    check("MMIO read", echo);
    check("MMIO of all widths", widths);
    check("SGI to self", sgi_to_self);
    check("level interrupt", level_interrupt);
    check("timer while spinning", timer_spinning);
    check("timer while sleeping", timer_sleeping);
    if doorbell::cpus() > 1 {
        check("PSCI CPU_ON", cpu_on);
        check("VFP registers of two CPUs", vfp_of_two);
        check("stopped timers of two CPUs", timer_of_two);
        check("SGI between CPUs", sgi_between);
        check("PSCI CPU_OFF", cpu_off);
    }
}
