// SPDX-License-Identifier: GPL-2.0

//! The CP15 registers of the Cortex-A7 (DDI 0464).

use armv7::cp15::Cp15Reg;

use super::id::IdReg;
use super::table::{
    core_table,
    row,
    row64,
    Action,
    Entry, //
};
use crate::timer::TimerReg;

pub(super) const TABLE: &[Entry] = core_table! {
    c9: [
        // L2CTLR has the number of CPUs; L2ECTLR reports no errors.
        row(9, 1, 0, 2, Action::WriteIgnored(Cp15Reg::L2ctlr)),
        row(9, 1, 0, 3, Action::Zero),
    ],
    c15: [
        // What the level 1 RAMs hold, for debuggers: CDBGDR0 to 2, and the reads that fill them.
        row(15, 3, 0, 0, Action::Absent),
        row(15, 3, 0, 1, Action::Absent),
        row(15, 3, 0, 2, Action::Absent),
        row(15, 3, 2, 0, Action::Absent),
        row(15, 3, 2, 1, Action::Absent),
        row(15, 3, 4, 0, Action::Absent),
        row(15, 3, 4, 1, Action::Absent),
        row(15, 3, 4, 2, Action::Absent),
        // CBAR: there are no private peripherals.
        row(15, 4, 0, 0, Action::ZeroReadOnly),
    ]
};
