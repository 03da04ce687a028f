// SPDX-License-Identifier: GPL-2.0

//! Checks, and their way to report a failure.

/// The reason of a failure: a text, and numbers that belong to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub what: &'static str,
    pub values: [u32; 3],
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A check of the machine.
pub(crate) struct Check {
    pub name: &'static str,
    pub run: fn() -> Outcome,
    /// How many CPUs it needs; from two on, all of them wait for work.
    pub cpus: u32,
    /// Which machine it can be made on.
    pub needs: Needs,
}

/// The needs of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any machine of this kind.
    Nothing,
    /// The monitor's devices.
    Monitor,
}

/// A check that any machine has to pass.
pub(crate) const fn check(name: &'static str, cpus: u32, run: fn() -> Outcome) -> Check {
    Check {
        name,
        run,
        cpus,
        needs: Needs::Nothing,
    }
}

/// A check that uses the monitor's devices, or that tests a choice of the hypervisor.
pub(crate) const fn guest_check(name: &'static str, cpus: u32, run: fn() -> Outcome) -> Check {
    Check {
        name,
        run,
        cpus,
        needs: Needs::Monitor,
    }
}

/// Fails with a text unless a condition holds.
pub(crate) fn ensure(condition: bool, what: &'static str, values: [u32; 3]) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Failure { what, values })
    }
}

/// Two words have to be equal. The third number says where.
pub(crate) fn ensure_eq(found: u32, expected: u32, what: &'static str, place: u32) -> Outcome {
    ensure(found == expected, what, [found, expected, place])
}
