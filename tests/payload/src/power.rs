// SPDX-License-Identifier: GPL-2.0

//! PSCI (DEN 0022): CPUs that come and go, and calls that are refused.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::board;
use crate::check::{ensure, ensure_eq, Outcome};
use crate::code;
use crate::cpu;
use crate::doorbell;
use crate::exceptions;
use crate::gic;
use crate::psci::{self, AFFINITY_OFF, AFFINITY_ON, ALREADY_ON, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::psci::SUCCESS;
use crate::smp;
use crate::timer::{self, MILLISECOND};

pub(crate) fn version() -> Outcome {
    let version = psci::version();
    ensure((2..0x2_0000).contains(&version), "PSCI_VERSION", [version, 0, 0])
}

pub(crate) fn refused() -> Outcome {
    let entry = 0x8000_0000;
    // No such CPU.
    for target in [0x77_0700, 0x0000_0080, 0x8000_0080, u32::MAX] {
        let result = psci::call(psci::CPU_ON, target, entry, 0);
        ensure_eq(result, INVALID_PARAMETERS, "CPU_ON of no CPU", target)?;
        let result = psci::call(psci::AFFINITY_INFO, target, 0, 0);
        ensure_eq(result, INVALID_PARAMETERS, "AFFINITY_INFO of no CPU", target)?;
    }
    let result = psci::call(psci::CPU_ON, 0, entry, 0);
    ensure_eq(result, ALREADY_ON, "CPU_ON of oneself", 0)?;
    ensure_eq(psci::affinity_info(0), AFFINITY_ON, "AFFINITY_INFO of oneself", 0)?;
    let result = psci::call(psci::AFFINITY_INFO, 0, 1, 0);
    ensure_eq(result, AFFINITY_ON, "AFFINITY_INFO of the cluster", 0)?;
    for level in [4, 7, u32::MAX] {
        let result = psci::call(psci::AFFINITY_INFO, 0, level, 0);
        ensure_eq(result, INVALID_PARAMETERS, "AFFINITY_INFO of a level", level)?;
    }
    // Calls that there are not; the 64-bit ones are not for us.
    for function in [0x8400_001f, 0x84ff_ffff, 0xc400_0003, 0xc400_0001, 0, u32::MAX, 0x8500_0000] {
        let result = psci::call(function, 0, 0, 0);
        ensure_eq(result, NOT_SUPPORTED, "a call that there is not", function)?;
    }
    let result = psci::call(psci::MIGRATE_INFO_TYPE, 0, 0, 0);
    ensure_eq(result, 2, "MIGRATE_INFO_TYPE", 0)
}

pub(crate) fn features() -> Outcome {
    let all = [
        psci::VERSION,
        psci::CPU_SUSPEND,
        psci::CPU_OFF,
        psci::CPU_ON,
        psci::AFFINITY_INFO,
        psci::SYSTEM_OFF,
        psci::SYSTEM_RESET,
        psci::FEATURES,
        psci::SMCCC_VERSION,
    ];
    for function in all {
        let result = psci::call(psci::FEATURES, function, 0, 0);
        ensure_eq(result, SUCCESS, "PSCI_FEATURES", function)?;
    }
    for function in [0x8400_001f, 0xc400_0003, 0] {
        let result = psci::call(psci::FEATURES, function, 0, 0);
        ensure_eq(result, NOT_SUPPORTED, "PSCI_FEATURES", function)?;
    }
    let version = psci::call(psci::SMCCC_VERSION, 0, 0, 0);
    ensure(version >= 0x1_0001, "SMCCC_VERSION", [version, 0, 0])
}

/// A call changes R0 to R3 at most.
pub(crate) fn registers() -> Outcome {
    let mut registers = [0; 14];
    for (n, register) in (0..).zip(&mut registers) {
        *register = 0x0101_0101 * (n + 0x20);
    }
    for function in [psci::VERSION, psci::AFFINITY_INFO, 0x8400_001f, 0x8600_ff01] {
        registers[0] = function;
        let found = psci::call_with(registers);
        for (n, (found, register)) in (0..).zip(found.iter().zip(&registers)).skip(4) {
            ensure_eq(*found, *register, "a register changed", n)?;
        }
    }
    Ok(())
}

/// SMC instead of HVC, and HVC with another number, are the same or undefined; HVC in Thumb state
/// goes on behind itself.
pub(crate) fn conduits() -> Outcome {
    for instruction in [0xe160_0070, 0xe140_0075, 0xe14f_ff7f] {
        let code = code::arm([instruction, code::BX_LR]);
        match exceptions::catch(code, psci::VERSION, 0) {
            Ok(value) => ensure(
                value == psci::version() || value == NOT_SUPPORTED,
                "what a call gives",
                [value, instruction, 0],
            )?,
            Err(found) => {
                ensure_eq(found.vector, exceptions::UNDEFINED, "the vector", instruction)?;
            }
        }
    }
    let code = code::thumb([0xf7e0, 0x8000, code::THUMB_BX_LR]);
    let found = exceptions::catch(code, psci::VERSION, 0).unwrap_or(0);
    ensure_eq(found, psci::version(), "HVC in Thumb state", 0)
}

/// CPU_SUSPEND to a standby state: an interrupt ends it.
pub(crate) fn suspend() -> Outcome {
    for round in 0..10 {
        cpu::masked(|| {
            let before = cpu::counter();
            timer::start((2 * MILLISECOND) as u32);
            let result = psci::call(psci::CPU_SUSPEND, 0, 0x8000_0000, 0);
            let slept = cpu::counter() - before;
            timer::stop();
            ensure_eq(result, SUCCESS, "CPU_SUSPEND", round)?;
            ensure(slept >= 2 * MILLISECOND, "it came back early", [slept as u32, round, 0])
        })?;
        // An interrupt that is already pending ends it at once.
        cpu::masked(|| {
            gic::send_sgi_to_self(6);
            let before = cpu::counter();
            let result = psci::call(psci::CPU_SUSPEND, 0, 0x8000_0000, 0);
            let slept = cpu::counter() - before;
            ensure_eq(result, SUCCESS, "CPU_SUSPEND", round)?;
            ensure(slept < SECOND, "it slept with an interrupt pending", [slept as u32, 0, 0])
        })?;
    }
    Ok(())
}

const SECOND: u64 = timer::SECOND;

/// CPUs go and come, in Arm and in Thumb state, with their argument.
pub(crate) fn off_and_on() -> Outcome {
    for round in 0..6 {
        for target in 1..smp::team() {
            smp::stop(target)?;
            let starts = smp::starts(target);
            let thumb = (round + target) % 2 == 1;
            let result = if thumb {
                psci::cpu_on_thumb(target as u32)
            } else {
                psci::cpu_on(target as u32)
            };
            ensure_eq(result, SUCCESS, "CPU_ON", target as u32)?;
            // The CPU is on from now on, even if it has not come far yet.
            if board::is_guest() {
                let state = psci::affinity_info(target);
                ensure_eq(state, AFFINITY_ON, "AFFINITY_INFO at once", target as u32)?;
                let again = psci::cpu_on(target as u32);
                ensure_eq(again, ALREADY_ON, "CPU_ON at once", target as u32)?;
            }
            let came = timer::wait_until(|| smp::starts(target) == starts + 1);
            ensure(came, "it does not start", [target as u32, round as u32, thumb.into()])?;
            let expected = target as u32 | u32::from(thumb) << 8;
            ensure_eq(smp::started_with(target), expected, "its argument", target as u32)?;
            let state = psci::affinity_info(target);
            ensure_eq(state, AFFINITY_ON, "AFFINITY_INFO", target as u32)?;
            let again = psci::cpu_on(target as u32);
            ensure_eq(again, ALREADY_ON, "CPU_ON of one that is on", target as u32)?;
            smp::on_cpu(target, |_| Ok(()))?;
        }
    }
    Ok(())
}

/// All at once off and on.
pub(crate) fn all_off_and_on() -> Outcome {
    for _ in 0..5 {
        for target in 1..smp::team() {
            smp::stop(target)?;
        }
        for target in 1..smp::team() {
            let state = psci::affinity_info(target);
            ensure_eq(state, AFFINITY_OFF, "AFFINITY_INFO", target as u32)?;
            smp::start(target)?;
        }
        smp::on_all(|_| Ok(()))?;
    }
    Ok(())
}

static SUCCESSES: AtomicU32 = AtomicU32::new(0);

/// Several CPUs start the same one: one of them does, the others hear so.
pub(crate) fn race() -> Outcome {
    for round in 0..5 {
        let last = smp::team() - 1;
        let starts = smp::starts(last);
        SUCCESSES.store(0, Ordering::SeqCst);
        // The last does not take part in the work: it is off.
        smp::stop(last)?;
        let work: fn(usize) -> Outcome = |_| {
            let target = smp::team() as u32 - 1;
            match psci::cpu_on(target) {
                SUCCESS => {
                    SUCCESSES.fetch_add(1, Ordering::SeqCst);
                }
                // A guest never sees a CPU on its way.
                ALREADY_ON => {}
                result => ensure(false, "CPU_ON", [result, 0, 0])?,
            }
            Ok(())
        };
        for cpu in 1..last {
            smp::start_work(cpu, work);
        }
        work(0)?;
        for cpu in 1..last {
            smp::end_work(cpu)?;
        }
        let came = timer::wait_until(|| smp::starts(last) == starts + 1);
        ensure(came, "it does not start once", [smp::starts(last), starts, round])?;
        ensure_eq(SUCCESSES.load(Ordering::SeqCst), 1, "who was told to have started it", round)?;
    }
    Ok(())
}

/// The registers of a CPU that starts again: its banked registers may be anything, but its timers
/// and the control register are as after reset, and the registers of the others have not changed.
pub(crate) fn fresh_start() -> Outcome {
    smp::on_cpu(1, |_| {
        cpu::set_cntkctl(0x303);
        timer::set_compare(cpu::counter() + SECOND);
        timer::set_control(timer::ENABLE | timer::MASK);
        gic::set_bit(gic::GICD_ICENABLER, gic::PHYSICAL_TIMER);
        Ok(())
    })?;
    smp::stop(1)?;
    smp::start(1)?;
    smp::on_cpu(1, |_| {
        ensure_eq(timer::control() & timer::ENABLE, 0, "CNTV_CTL of a fresh CPU", 0)?;
        let sctlr = cpu::sctlr();
        // `start.S` turned MMU, caches and branch prediction on.
        ensure_eq(sctlr & 0x7000_0002, 0, "SCTLR of a fresh CPU", sctlr)
    })?;
    ensure_eq(psci::affinity_info(1), AFFINITY_ON, "AFFINITY_INFO", 1)?;
    ensure_eq(doorbell::cpus(), smp::team() as u32, "CPUs", 0)
}
