// SPDX-License-Identifier: GPL-2.0

//! The CP15 registers of the Cortex-A15 (DDI 0438).

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
        // What the level 1 RAMs hold, for debuggers: IL1DATA0 to 2, DL1DATA0 to 3, RAMINDEX.
        row(15, 0, 0, 0, Action::Absent),
        row(15, 0, 0, 1, Action::Absent),
        row(15, 0, 0, 2, Action::Absent),
        row(15, 0, 1, 0, Action::Absent),
        row(15, 0, 1, 1, Action::Absent),
        row(15, 0, 1, 2, Action::Absent),
        row(15, 0, 1, 3, Action::Absent),
        row(15, 0, 4, 0, Action::Absent),
        // L2ACTLR.
        row(15, 1, 0, 0, Action::Zero),
        // L2PFR, the prefetcher.
        row(15, 1, 0, 3, Action::Zero),
        // CBAR: there are no private peripherals.
        row(15, 4, 0, 0, Action::ZeroReadOnly),
    ]
};
