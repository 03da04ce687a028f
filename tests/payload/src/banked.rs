// SPDX-License-Identifier: GPL-2.0

//! The registers of the other modes.

use crate::check::{ensure_eq, Outcome};
use crate::cpu;
use crate::psci;
use crate::smp;
use crate::timer::{self, Deadline, MILLISECOND};
use crate::vfp::exit_often;

extern "C" {
    fn banked_swap(values: *mut u32);
}

/// Registers of the other modes, in the order of `banked_swap`.
const BANKED: usize = 19;
/// Bits of an SPSR that any value may have: flags, mask bits; the mode is Supervisor.
const SPSR_FLAGS: u32 = 0xf000_01c0;
const SPSR_MODE: u32 = 0x13;
/// Places of SPSRs among the banked registers.
const SPSRS: [usize; 4] = [2, 5, 8, 16];

/// Fills the registers with values of a seed, does something, and looks at them.
fn kept_over(seed: u32, f: impl FnOnce()) -> Outcome {
    let mut values = [0; BANKED];
    for (index, value) in values.iter_mut().enumerate() {
        *value = seed.wrapping_mul(2 * index as u32 + 3);
        if SPSRS.contains(&index) {
            *value = (*value << 16) & SPSR_FLAGS | SPSR_MODE;
        }
    }
    let expected = values;
    cpu::masked(|| {
        // SAFETY: No exception is taken until the registers have been swapped back.
        unsafe {
            banked_swap(values.as_mut_ptr());
            f();
            banked_swap(values.as_mut_ptr());
        }
    });
    for (index, (value, expected)) in values.iter().zip(&expected).enumerate() {
        ensure_eq(*value, *expected, "a register changed", index as u32)?;
    }
    Ok(())
}

pub(crate) fn over_exits() -> Outcome {
    kept_over(0x1001_0201, || exit_often(50))
}

/// Each kind of exit by itself, so that a failure says which.
pub(crate) fn over_each_exit() -> Outcome {
    let exits: [(&str, fn()); 6] = [
        ("hypercall", || {
            psci::version();
        }),
        ("CP15 trap", || {
            cpu::actlr();
        }),
        ("GIC access", || {
            crate::gic::distributor_type();
        }),
        ("MMIO", crate::doorbell::leave_guest),
        ("WFI", || {
            // The timer ends it, though the interrupt is masked.
            timer::start(1000);
            cpu::wait_for_interrupt();
            timer::stop();
        }),
        ("host's tick", || Deadline::after(10 * MILLISECOND).wait()),
    ];
    for (name, exit) in exits {
        for round in 0..5 {
            kept_over(0x0102_0301 + round, exit).map_err(|mut failure| {
                failure.what = name;
                failure
            })?;
        }
    }
    Ok(())
}

pub(crate) fn of_all_cpus() -> Outcome {
    smp::on_all(|cpu| {
        for round in 0..20 {
            kept_over(0x1001_0201 + (cpu as u32) * 0x10_0000 + round, || exit_often(20))?;
        }
        Ok(())
    })
}
