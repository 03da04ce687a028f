// SPDX-License-Identifier: GPL-2.0

//! WFI, WFE and SEV: the events that wake a CPU (B1.8.13, B1.8.14).

use core::sync::atomic::{AtomicU32, Ordering};

use crate::check::{ensure, ensure_eq, Outcome};
use crate::code;
use crate::cpu;
use crate::doorbell;
use crate::exceptions::{self, SVC};
use crate::gic;
use crate::smp;
use crate::timer::{self, Deadline, MILLISECOND, SECOND};

/// WFI ends for interrupts that are masked in CPSR.
pub(crate) fn masked_interrupts() -> Outcome {
    for round in 0..20 {
        cpu::masked(|| {
            // The virtual timer, the physical one.
            let before = cpu::counter();
            timer::start(20_000);
            while timer::control() & timer::STATUS == 0 {
                cpu::wait_for_interrupt();
                let late = cpu::counter() - before > 5 * SECOND;
                ensure(!late, "the timer did not wake it", [round, 0, 0])?;
            }
            timer::stop();
            let before = cpu::counter();
            timer::physical::set_value(20_000);
            timer::physical::set_control(timer::ENABLE);
            while timer::physical::control() & timer::STATUS == 0 {
                cpu::wait_for_interrupt();
                let late = cpu::counter() - before > 5 * SECOND;
                ensure(!late, "the physical timer did not wake it", [round, 0, 0])?;
            }
            timer::physical::set_control(0);
            // An interrupt that is pending already.
            gic::send_sgi_to_self(6);
            let before = cpu::counter();
            cpu::wait_for_interrupt();
            let slept = cpu::counter() - before;
            ensure(slept < SECOND, "it slept with an interrupt pending", [slept as u32, round, 0])?;
            ensure_eq(gic::acknowledge(), 6, "GICC_IAR", round)?;
            gic::end(6);
            Ok(())
        })?;
    }
    Ok(())
}

/// An interrupt that the CPU interface does not signal does not wake the CPU; the timer does,
/// later.
pub(crate) fn priority_mask() -> Outcome {
    cpu::masked(|| {
        gic::write(gic::GICC_PMR, 0x80);
        gic::set_priority(gic::TIMER, 0x40);
        gic::send_sgi_to_self(6);
        let start = cpu::counter();
        timer::start((5 * MILLISECOND) as u32);
        let mut rounds = 0;
        while timer::control() & timer::STATUS == 0 && rounds < 1000 {
            cpu::wait_for_interrupt();
            rounds += 1;
        }
        let slept = cpu::counter() - start;
        timer::stop();
        gic::write(gic::GICC_PMR, gic::OPEN);
        gic::set_priority(gic::TIMER, gic::USUAL);
        ensure(slept >= 5 * MILLISECOND, "it did not sleep", [slept as u32, rounds, 0])?;
        ensure_eq(gic::acknowledge(), 6, "GICC_IAR", 0)?;
        gic::end(6);
        Ok(())
    })
}

/// The monitor's line wakes it.
pub(crate) fn line_of_monitor() -> Outcome {
    for round in 0..10 {
        cpu::masked(|| {
            doorbell::set_spi(true);
            let before = cpu::counter();
            cpu::wait_for_interrupt();
            let slept = cpu::counter() - before;
            doorbell::set_spi(false);
            ensure(slept < SECOND, "it slept with a line high", [slept as u32, round, 0])
        })?;
    }
    Ok(())
}

/// User mode may wait, too.
pub(crate) fn in_user_mode() -> Outcome {
    // WFI with something pending, WFE, SEV, YIELD.
    cpu::masked(|| {
        gic::send_sgi_to_self(6);
        for instruction in [0xe320_f003, 0xe320_f002, 0xe320_f004, 0xe320_f001] {
            let code = code::arm([instruction, code::SVC_0]);
            let found = exceptions::in_user_mode(code, 0);
            ensure_eq(found.vector, SVC, "a hint in user mode", instruction)?;
            ensure_eq(found.lr, code as u32 + 8, "LR behind a hint", instruction)?;
        }
        ensure_eq(gic::acknowledge(), 6, "GICC_IAR", 0)?;
        gic::end(6);
        Ok(())
    })
}

static BALL: AtomicU32 = AtomicU32::new(0);

/// Two CPUs wake each other by interrupts, each asleep meanwhile.
pub(crate) fn by_another_cpu() -> Outcome {
    const SGI: u32 = 3;
    BALL.store(0, Ordering::SeqCst);
    fn play(me: u32, other: u32) -> Outcome {
        for round in 0..200 {
            let mine = 2 * round + me;
            let start = cpu::counter();
            while BALL.load(Ordering::SeqCst) != mine {
                cpu::masked(|| {
                    if BALL.load(Ordering::SeqCst) != mine {
                        cpu::wait_for_interrupt();
                    }
                });
                let late = cpu::counter() - start > 5 * SECOND;
                ensure(!late, "nobody woke it", [round, me, BALL.load(Ordering::SeqCst)])?;
            }
            BALL.store(mine + 1, Ordering::SeqCst);
            cpu::dsb();
            gic::send_sgi(1 << other, SGI);
        }
        Ok(())
    }
    smp::start_work(1, |_| play(1, 0));
    let here = play(0, 1);
    here.and(smp::end_work(1))
}

/// WFE and SEV, the same with events.
pub(crate) fn events() -> Outcome {
    BALL.store(0, Ordering::SeqCst);
    fn play(me: u32) -> Outcome {
        let end = Deadline::after(400 * MILLISECOND);
        for round in 0..100 {
            let mine = 2 * round + me;
            let came = timer::wait_until(|| {
                if BALL.load(Ordering::SeqCst) >= mine {
                    return true;
                }
                cpu::wait_for_event();
                false
            });
            ensure(came, "nobody woke it", [round, me, BALL.load(Ordering::SeqCst)])?;
            if BALL.load(Ordering::SeqCst) == u32::MAX {
                break;
            }
            let next = if end.is_over() { u32::MAX } else { mine + 1 };
            BALL.store(next, Ordering::SeqCst);
            cpu::send_event();
            if next == u32::MAX {
                break;
            }
        }
        Ok(())
    }
    smp::start_work(1, |_| play(1));
    let here = play(0);
    here.and(smp::end_work(1))
}
