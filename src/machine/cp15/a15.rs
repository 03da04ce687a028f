// SPDX-License-Identifier: GPL-2.0

//! The CP15 registers of the Cortex-A15 (DDI 0438).

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
        row(14, 0, 8, 4, Action::PmuState(PmuReg::Pmevcntr(4))),
        row(14, 0, 8, 5, Action::PmuState(PmuReg::Pmevcntr(5))),
        row(14, 0, 12, 0, Action::PmuState(PmuReg::Pmevtyper(0))),
        row(14, 0, 12, 1, Action::PmuState(PmuReg::Pmevtyper(1))),
        row(14, 0, 12, 2, Action::PmuState(PmuReg::Pmevtyper(2))),
        row(14, 0, 12, 3, Action::PmuState(PmuReg::Pmevtyper(3))),
        row(14, 0, 12, 4, Action::PmuState(PmuReg::Pmevtyper(4))),
        row(14, 0, 12, 5, Action::PmuState(PmuReg::Pmevtyper(5))),
    ],
    c15: [
        // The contents of the level 1 RAMs, for debuggers: IL1DATA0 to 2, DL1DATA0 to 3, RAMINDEX.
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
        // ACTLR2.
        row(15, 1, 0, 4, Action::Zero),
        // CBAR: there are no private peripherals.
        row(15, 4, 0, 0, Action::ZeroReadOnly),
    ],
    c15_wide: [
        // CPUMERRSR and L2MERRSR: there are no memory errors, and a write clears them.
        row64(0, 15, Action::Zero),
        row64(1, 15, Action::Zero),
    ]
};
