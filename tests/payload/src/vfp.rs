// SPDX-License-Identifier: GPL-2.0

//! The floating-point and Advanced SIMD registers keep their values over exits and while others use
//! the unit.

use crate::board;
use crate::check::{ensure, ensure_eq, Outcome};
use crate::cpu;
use crate::doorbell;
use crate::gic;
use crate::psci;
use crate::smp;
use crate::timer::{Deadline, MILLISECOND};

extern "C" {
    fn vfp_fill(values: *const u64, fpscr: u32);
    fn vfp_read(values: *mut u64) -> u32;
}

/// Rounding mode and flags that are not those after reset.
const FPSCR: u32 = 0xa080_0000;

/// Leaves the guest for all reasons that a guest has: hypercall, trap, kernel's device, monitor's
/// device, another process of the host.
pub(crate) fn exit_often(rounds: u32) {
    for _ in 0..rounds {
        psci::version();
        cpu::actlr();
        gic::distributor_type();
        doorbell::leave_guest();
        // Where nobody else runs there is no event either.
        if board::is_guest() {
            cpu::wait_for_event();
        }
    }
}

/// Fills the registers, does something, and looks at them.
fn kept_over(seed: u64, fpscr: u32, f: impl FnOnce()) -> Outcome {
    let mut values = [0; 32];
    for (index, value) in values.iter_mut().enumerate() {
        *value = seed.wrapping_mul(2 * index as u64 + 1);
    }
    let mut found = [0; 32];
    // SAFETY: The compiler takes all of these registers for clobbered by a call but d8 to d15,
    // and it has no floating-point values here; the arrays are as large as the registers.
    let found_fpscr = unsafe {
        vfp_fill(values.as_ptr(), fpscr);
        f();
        vfp_read(found.as_mut_ptr())
    };
    for (index, (value, found)) in values.iter().zip(&found).enumerate() {
        ensure(value == found, "a register changed", {
            [*found as u32, *value as u32, index as u32]
        })?;
    }
    ensure_eq(found_fpscr, fpscr, "FPSCR changed", 0)
}

pub(crate) fn over_exits() -> Outcome {
    kept_over(0x0123_4567_89ab_cdef, FPSCR, || exit_often(100))
}

pub(crate) fn of_all_cpus() -> Outcome {
    smp::on_all(|cpu| {
        let seed = 0x0123_4567_89ab_cdef ^ (0x0f0f_1e1e_u64 << cpu);
        for round in 0..20 {
            kept_over(seed + round, FPSCR ^ (cpu as u32 & 3) << 22, || exit_often(50))?;
        }
        Ok(())
    })
}

/// The host and other machines take the CPU while the registers are in use, and the guest does
/// nothing that would leave it.
pub(crate) fn over_preemption() -> Outcome {
    smp::on_all(|cpu| {
        let end = Deadline::after(300 * MILLISECOND);
        let seed = u64::from(doorbell::seed()) << 16 | 0x8000_0000_0000_0001 | (cpu as u64) << 8;
        let mut round = 0;
        while !end.is_over() {
            round += 1;
            kept_over(seed.wrapping_mul(2 * round + 1), FPSCR, || {
                Deadline::after(MILLISECOND).wait();
            })?;
        }
        Ok(())
    })
}

/// VFP instructions are undefined while CPACR or FPEXC says so, in either mode, and the registers
/// keep their values.
pub(crate) fn traps() -> Outcome {
    use crate::code::{self, BX_LR, SVC_0};
    use crate::exceptions::{self, SVC, UNDEFINED};

    const CPACR: [u32; 4] = [0, 1, 0, 2];
    // VMOV r0, s0; VMOV.32 r0, d16[0].
    const VMOV: [u32; 2] = [0xee10_0a10, 0xee10_0b90];
    // VMRS r0, FPEXC; VMSR FPEXC, r0.
    const VMRS_FPEXC: u32 = 0xeef8_0a10;
    const VMSR_FPEXC: u32 = 0xeee8_0a10;
    const ENABLE: u32 = 1 << 30;

    let run = |instruction| match exceptions::catch(code::arm([instruction, BX_LR]), 0, 0) {
        Ok(_) => 0,
        Err(found) => found.vector,
    };
    let user = |instruction| exceptions::in_user_mode(code::arm([instruction, SVC_0]), 0).vector;
    let set = |instruction, value| {
        let _ = exceptions::catch(code::arm([instruction, BX_LR]), value, 0);
        crate::cpu::dsb();
        crate::cpu::invalidate_branches(0);
    };
    let get = |instruction| exceptions::catch(code::arm([instruction, BX_LR]), 0, 0).unwrap_or(0);
    let cpacr = get(code::mrc(CPACR));
    let fpexc = get(VMRS_FPEXC);
    let mut result = Ok(());
    // The rights of CP10 and CP11, FPEXC, and then the results in Supervisor mode and in user mode.
    for (round, (rights, enable, here, there)) in [
        (0xf, ENABLE, 0, SVC),
        (0x5, ENABLE, 0, UNDEFINED),
        (0x0, ENABLE, UNDEFINED, UNDEFINED),
        (0xf, 0, UNDEFINED, UNDEFINED),
        (0xf, ENABLE, 0, SVC),
    ]
    .into_iter()
    .enumerate()
    {
        set(code::mcr(CPACR), cpacr | 0xf << 20);
        set(VMSR_FPEXC, enable);
        set(code::mcr(CPACR), cpacr & !(0xf << 20) | rights << 20);
        exit_often(1);
        for instruction in VMOV {
            let place = (round as u32) << 8 | instruction & 0xff;
            result = result
                .and_then(|()| ensure_eq(run(instruction), here, "in Supervisor mode", place))
                .and_then(|()| ensure_eq(user(instruction), there, "in user mode", place));
        }
        // FPEXC is for privileged modes, and there even when it disables the unit.
        if rights != 0 {
            result = result
                .and_then(|()| ensure_eq(run(VMRS_FPEXC), 0, "VMRS of FPEXC", round as u32))
                .and_then(|()| ensure_eq(get(VMRS_FPEXC), enable, "FPEXC", round as u32));
        }
    }
    set(code::mcr(CPACR), cpacr);
    set(VMSR_FPEXC, fpexc);
    result
}
