// SPDX-License-Identifier: GPL-2.0

//! The form of a core's table.

use armv7::cp15::Cp15Reg;

use crate::timer::TimerReg;

/// The encoding of a register, ordered as the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u16);

impl Key {
    const WIDE: u16 = 1 << 15;

    /// A register of MCR and MRC.
    pub(super) const fn new32(crn: u8, opc1: u8, crm: u8, opc2: u8) -> Self {
        Self((crn as u16) << 11 | (opc1 as u16 & 7) << 8 | (crm as u16 & 15) << 4 | opc2 as u16 & 7)
    }

    /// A register of MCRR and MRRC.
    pub(super) const fn new64(opc1: u8, crm: u8) -> Self {
        Self(Self::WIDE | (crm as u16 & 15) << 4 | opc1 as u16 & 15)
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Reads and writes a register of the vCPU.
    Register(Cp15Reg),
    /// The same for one of 64 bits.
    Register64(Cp15Reg, Cp15Reg),
    /// SCTLR, of which some bits matter to us.
    Sctlr,
    /// Reads a register of the vCPU; writes do nothing.
    WriteIgnored(Cp15Reg),
    /// Reads as zero; writes do nothing.
    Zero,
    /// Reads as zero; writes are undefined.
    ZeroReadOnly,
    /// Cache maintenance by set and way.
    SetWay,
    /// The physical timer.
    PhysTimer(TimerReg),
}

/// A row.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) action: Action,
}

/// A row for MCR and MRC, in the order in which the manuals print the fields.
pub(super) const fn row(crn: u8, opc1: u8, crm: u8, opc2: u8, action: Action) -> Entry {
    Entry {
        key: Key::new32(crn, opc1, crm, opc2),
        action,
    }
}

/// A row for MCRR and MRRC.
pub(super) const fn row64(opc1: u8, crm: u8, action: Action) -> Entry {
    Entry {
        key: Key::new64(opc1, crm),
        action,
    }
}

/// Finds what the table says of a register.
///
/// A binary search that is written out, as the library's has a panic in it when overflow is
/// checked.
pub(super) fn find(table: &[Entry], key: Key) -> Option<Action> {
    let mut rest = table;
    loop {
        let (before, from) = rest.split_at_checked(rest.len() / 2)?;
        let (entry, after) = from.split_first()?;
        if entry.key == key {
            return Some(entry.action);
        }
        rest = if key < entry.key { before } else { after };
    }
}

/// Writes a core's table: what both cores have, with the core's own rows where they belong.
///
/// The table must be sorted by c number, opc1, CRm and opc2, the 64-bit ones last; a test checks.
macro_rules! core_table {
    (c9: [$($c9:expr),* $(,)?], c15: [$($c15:expr),* $(,)?]) => {
        &[
            // System control. Reading is native but for ACTLR; TVM traps the writes.
            row(1, 0, 0, 0, Action::Sctlr),
            row(1, 0, 0, 1, Action::WriteIgnored(Cp15Reg::Actlr)),
            row(2, 0, 0, 0, Action::Register(Cp15Reg::Ttbr0Lo)),
            row(2, 0, 0, 1, Action::Register(Cp15Reg::Ttbr1Lo)),
            row(2, 0, 0, 2, Action::Register(Cp15Reg::Ttbcr)),
            row(3, 0, 0, 0, Action::Register(Cp15Reg::Dacr)),
            row(5, 0, 0, 0, Action::Register(Cp15Reg::Dfsr)),
            row(5, 0, 0, 1, Action::Register(Cp15Reg::Ifsr)),
            row(5, 0, 1, 0, Action::Register(Cp15Reg::Adfsr)),
            row(5, 0, 1, 1, Action::Register(Cp15Reg::Aifsr)),
            row(6, 0, 0, 0, Action::Register(Cp15Reg::Dfar)),
            row(6, 0, 0, 2, Action::Register(Cp15Reg::Ifar)),
            // DCISW, DCCSW, DCCISW.
            row(7, 0, 6, 2, Action::SetWay),
            row(7, 0, 10, 2, Action::SetWay),
            row(7, 0, 14, 2, Action::SetWay),
            // Performance monitors: there are none, so PMCR.N is zero.
            row(9, 0, 12, 0, Action::Zero),
            row(9, 0, 12, 1, Action::Zero),
            row(9, 0, 12, 2, Action::Zero),
            row(9, 0, 12, 3, Action::Zero),
            row(9, 0, 12, 4, Action::Zero),
            row(9, 0, 12, 5, Action::Zero),
            row(9, 0, 12, 6, Action::ZeroReadOnly),
            row(9, 0, 12, 7, Action::ZeroReadOnly),
            row(9, 0, 13, 0, Action::Zero),
            row(9, 0, 13, 1, Action::Zero),
            row(9, 0, 13, 2, Action::Zero),
            row(9, 0, 14, 0, Action::Zero),
            row(9, 0, 14, 1, Action::Zero),
            row(9, 0, 14, 2, Action::Zero),
            row(9, 0, 14, 3, Action::Zero),
            $($c9,)*
            row(10, 0, 2, 0, Action::Register(Cp15Reg::Prrr)),
            row(10, 0, 2, 1, Action::Register(Cp15Reg::Nmrr)),
            row(10, 0, 3, 0, Action::Register(Cp15Reg::Amair0)),
            row(10, 0, 3, 1, Action::Register(Cp15Reg::Amair1)),
            row(13, 0, 0, 1, Action::Register(Cp15Reg::Contextidr)),
            // CNTHCTL.PL1PCEN is clear: the physical timer is the host's.
            row(14, 0, 2, 0, Action::PhysTimer(TimerReg::Tval)),
            row(14, 0, 2, 1, Action::PhysTimer(TimerReg::Ctl)),
            $($c15,)*
            row64(0, 2, Action::Register64(Cp15Reg::Ttbr0Lo, Cp15Reg::Ttbr0Hi)),
            row64(1, 2, Action::Register64(Cp15Reg::Ttbr1Lo, Cp15Reg::Ttbr1Hi)),
            row64(2, 14, Action::PhysTimer(TimerReg::Cval)),
        ]
    };
}

pub(super) use core_table;
