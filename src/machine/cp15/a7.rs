// SPDX-License-Identifier: GPL-2.0

//! The CP15 registers of the Cortex-A7 (DDI 0464).

use armv7::cp15::Cp15Reg;

use super::id::IdReg;
use super::table::{
    core_table,
    row,
    row64,
    Action,
    Table, //
};
use crate::{
    pmu::PmuReg,
    timer::TimerReg, //
};

pub(crate) const TABLE: Table = core_table! {
    c9: [
        // L2CTLR has the number of CPUs; L2ECTLR reports no errors.
        row(9, 1, 0, 2, Action::WriteIgnored(Cp15Reg::L2ctlr)),
        row(9, 1, 0, 3, Action::Zero),
    ],
    c14: [
        row(14, 0, 8, 0, Action::PmuState(PmuReg::Pmevcntr(0))),
        row(14, 0, 8, 1, Action::PmuState(PmuReg::Pmevcntr(1))),
        row(14, 0, 8, 2, Action::PmuState(PmuReg::Pmevcntr(2))),
        row(14, 0, 8, 3, Action::PmuState(PmuReg::Pmevcntr(3))),
        row(14, 0, 12, 0, Action::PmuState(PmuReg::Pmevtyper(0))),
        row(14, 0, 12, 1, Action::PmuState(PmuReg::Pmevtyper(1))),
        row(14, 0, 12, 2, Action::PmuState(PmuReg::Pmevtyper(2))),
        row(14, 0, 12, 3, Action::PmuState(PmuReg::Pmevtyper(3))),
    ],
    c15: [
        // The contents of the level 1 RAMs, for debuggers: CDBGDR0 to 2, and the reads that fill
        // them.
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
    ],
    c15_wide: []
};
