// SPDX-License-Identifier: GPL-2.0

//! The trapped CP15 registers of the Cortex-A15 (DDI 0438).

use armv7::cp15::Cp15Reg;

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
        // L2ACTLR.
        row(15, 1, 0, 0, Action::Zero),
        // CBAR: there are no private peripherals.
        row(15, 4, 0, 0, Action::ZeroReadOnly),
    ]
};
