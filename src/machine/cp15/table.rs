// SPDX-License-Identifier: GPL-2.0

//! The form of a core's table.

use armv7::cp15::Cp15Reg;

use super::id::IdReg;
use crate::{
    pmu::PmuReg,
    timer::TimerReg, //
};

/// The encoding of a register, ordered as the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u16);

impl Key {
    const WIDE: u16 = 1 << 15;
    const GROUP_SHIFT: u32 = 11;
    /// How many values the upper bits can have.
    const GROUPS: usize = 1 << (u16::BITS - Self::GROUP_SHIFT);

    /// The upper bits, which are the c number for a register of 32 bits.
    const fn group(self) -> usize {
        (self.0 >> Self::GROUP_SHIFT) as usize
    }

    /// A register of MCR and MRC.
    pub(super) const fn new32(crn: u8, opc1: u8, crm: u8, opc2: u8) -> Self {
        Self(
            (crn as u16 & 15) << Self::GROUP_SHIFT
                | (opc1 as u16 & 7) << 8
                | (crm as u16 & 15) << 4
                | opc2 as u16 & 7,
        )
    }

    /// A register of MCRR and MRRC.
    pub(super) const fn new64(opc1: u8, crm: u8) -> Self {
        Self(Self::WIDE | (crm as u16 & 15) << 4 | opc1 as u16 & 15)
    }

    /// The fields of the encoding.
    pub(super) const fn encoding(self) -> Encoding {
        let crm = (self.0 >> 4 & 15) as u8;
        if self.0 & Self::WIDE != 0 {
            return Encoding::Double {
                opc1: (self.0 & 15) as u8,
                crm,
            };
        }
        Encoding::Single {
            crn: (self.0 >> Self::GROUP_SHIFT & 15) as u8,
            opc1: (self.0 >> 8 & 7) as u8,
            crm,
            opc2: (self.0 & 7) as u8,
        }
    }
}

/// How an instruction names a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// MCR and MRC.
    Single {
        /// The primary register.
        crn: u8,
        /// The first opcode.
        opc1: u8,
        /// The additional register.
        crm: u8,
        /// The second opcode.
        opc2: u8,
    },
    /// MCRR and MRRC.
    Double {
        /// The opcode.
        opc1: u8,
        /// The primary register.
        crm: u8,
    },
}

impl Encoding {
    pub(super) const fn key(self) -> Key {
        match self {
            Self::Single {
                crn,
                opc1,
                crm,
                opc2,
            } => Key::new32(crn, opc1, crm, opc2),
            Self::Double { opc1, crm } => Key::new64(opc1, crm),
        }
    }
}

/// The action for an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Reads and writes a register of the vCPU.
    Register(Cp15Reg),
    /// Reads and writes a register of 64 bits: low and high word.
    Register64(Cp15Reg, Cp15Reg),
    /// The world switch puts this register of the vCPU into the hardware, and the guest's accesses
    /// do not trap.
    Switched(Cp15Reg),
    /// The same for a register of 64 bits: low and high word.
    Switched64(Cp15Reg, Cp15Reg),
    /// The hardware's own value. No vCPU can change it.
    Id(IdReg),
    /// Goes to the hardware, and is not part of a vCPU's state here: maintenance of caches and
    /// TLBs, address translation, the counters, the virtual timer.
    Hardware,
    /// The core has it. A guest does not, on purpose.
    Absent,
    /// SCTLR, which turns the caches on and off.
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
    /// The performance monitors.
    Pmu(PmuReg),
    /// A register of the performance monitors behind PMSELR. User space saves it by the encoding
    /// that Armv8 gave it; no instruction has that encoding here.
    PmuState(PmuReg),
}

/// A row.
#[derive(Debug)]
pub(crate) struct Entry {
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

/// A core's table.
///
/// The rows are sorted by their keys, whose upper five bits are the c number, or tell that the
/// register has 64 bits. With those of one value a search begins that is short: HYP mode makes it
/// for a guest that waits.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) rows: &'static [Entry],
    /// The first row of each c number, and the end of its rows.
    starts: [u8; Key::GROUPS + 1],
}

impl Table {
    /// Makes the table of sorted rows.
    pub(super) const fn new(rows: &'static [Entry]) -> Self {
        assert!(rows.len() <= u8::MAX as usize);
        let mut starts = [0; Key::GROUPS + 1];
        let (mut group, mut row) = (0, 0);
        while group < Key::GROUPS {
            starts[group] = row as u8;
            while row < rows.len() && rows[row].key.group() == group {
                row += 1;
            }
            group += 1;
        }
        // All rows are in their group, which they are not if they are not sorted.
        assert!(row == rows.len());
        starts[Key::GROUPS] = row as u8;
        Self { rows, starts }
    }
}

/// Finds the action of a register.
///
/// The rows of one c number are looked through in their order: those that a guest's accesses trap
/// for most often are among the first, and a binary search of so few takes longer.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
pub(super) fn find(table: &Table, key: Key) -> Option<Action> {
    let group = key.group();
    let range = table.starts[group].into()..table.starts[group + 1].into();
    let mut rows = table.rows.get(range)?;
    loop {
        let (entry, rest) = rows.split_first()?;
        if entry.key == key {
            return Some(entry.action);
        }
        rows = rest;
    }
}

/// Writes a core's table: the rows of all cores, with the core's own rows where they belong.
///
/// The table must be sorted by c number, opc1, CRm and opc2, the 64-bit ones last; a test checks.
macro_rules! core_table {
    (
        c9: [$($c9:expr),* $(,)?],
        c14: [$($c14:expr),* $(,)?],
        c15: [$($c15:expr),* $(,)?],
        c15_wide: [$($c15_wide:expr),* $(,)?]
    ) => {
        Table::new(&[
            // Identification.
            row(0, 0, 0, 0, Action::Id(IdReg::Midr)),
            row(0, 0, 0, 1, Action::Id(IdReg::Ctr)),
            row(0, 0, 0, 2, Action::Id(IdReg::Tcmtr)),
            row(0, 0, 0, 3, Action::Id(IdReg::Tlbtr)),
            row(0, 0, 0, 5, Action::Switched(Cp15Reg::Mpidr)),
            row(0, 0, 0, 6, Action::Id(IdReg::Revidr)),
            row(0, 0, 1, 0, Action::Id(IdReg::Pfr0)),
            row(0, 0, 1, 1, Action::Id(IdReg::Pfr1)),
            row(0, 0, 1, 2, Action::Id(IdReg::Dfr0)),
            row(0, 0, 1, 3, Action::Id(IdReg::Afr0)),
            row(0, 0, 1, 4, Action::Id(IdReg::Mmfr0)),
            row(0, 0, 1, 5, Action::Id(IdReg::Mmfr1)),
            row(0, 0, 1, 6, Action::Id(IdReg::Mmfr2)),
            row(0, 0, 1, 7, Action::Id(IdReg::Mmfr3)),
            row(0, 0, 2, 0, Action::Id(IdReg::Isar0)),
            row(0, 0, 2, 1, Action::Id(IdReg::Isar1)),
            row(0, 0, 2, 2, Action::Id(IdReg::Isar2)),
            row(0, 0, 2, 3, Action::Id(IdReg::Isar3)),
            row(0, 0, 2, 4, Action::Id(IdReg::Isar4)),
            row(0, 0, 2, 5, Action::Id(IdReg::Isar5)),
            // CCSIDR, one for each value of CSSELR.
            row(0, 1, 0, 0, Action::Hardware),
            row(0, 1, 0, 1, Action::Id(IdReg::Clidr)),
            row(0, 1, 0, 7, Action::Id(IdReg::Aidr)),
            row(0, 2, 0, 0, Action::Switched(Cp15Reg::Csselr)),
            // System control. Reading is native but for ACTLR; TVM traps the writes.
            row(1, 0, 0, 0, Action::Sctlr),
            row(1, 0, 0, 1, Action::WriteIgnored(Cp15Reg::Actlr)),
            row(1, 0, 0, 2, Action::Switched(Cp15Reg::Cpacr)),
            // NSACR, which Non-secure state can read.
            row(1, 0, 1, 2, Action::Hardware),
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
            // Caches, barriers, address translation. By set and way: DCISW, DCCSW, DCCISW.
            row(7, 0, 0, 4, Action::Hardware),
            row(7, 0, 1, 0, Action::Hardware),
            row(7, 0, 1, 6, Action::Hardware),
            row(7, 0, 4, 0, Action::Switched(Cp15Reg::ParLo)),
            row(7, 0, 5, 0, Action::Hardware),
            row(7, 0, 5, 1, Action::Hardware),
            row(7, 0, 5, 4, Action::Hardware),
            row(7, 0, 5, 6, Action::Hardware),
            row(7, 0, 5, 7, Action::Hardware),
            row(7, 0, 6, 1, Action::Hardware),
            row(7, 0, 6, 2, Action::SetWay),
            row(7, 0, 8, 0, Action::Hardware),
            row(7, 0, 8, 1, Action::Hardware),
            row(7, 0, 8, 2, Action::Hardware),
            row(7, 0, 8, 3, Action::Hardware),
            row(7, 0, 10, 1, Action::Hardware),
            row(7, 0, 10, 2, Action::SetWay),
            row(7, 0, 10, 4, Action::Hardware),
            row(7, 0, 10, 5, Action::Hardware),
            row(7, 0, 11, 1, Action::Hardware),
            row(7, 0, 13, 1, Action::Hardware),
            row(7, 0, 14, 1, Action::Hardware),
            row(7, 0, 14, 2, Action::SetWay),
            // TLBs.
            row(8, 0, 3, 0, Action::Hardware),
            row(8, 0, 3, 1, Action::Hardware),
            row(8, 0, 3, 2, Action::Hardware),
            row(8, 0, 3, 3, Action::Hardware),
            row(8, 0, 5, 0, Action::Hardware),
            row(8, 0, 5, 1, Action::Hardware),
            row(8, 0, 5, 2, Action::Hardware),
            row(8, 0, 6, 0, Action::Hardware),
            row(8, 0, 6, 1, Action::Hardware),
            row(8, 0, 6, 2, Action::Hardware),
            row(8, 0, 7, 0, Action::Hardware),
            row(8, 0, 7, 1, Action::Hardware),
            row(8, 0, 7, 2, Action::Hardware),
            row(8, 0, 7, 3, Action::Hardware),
            // Performance monitors: HDCR.TPM traps all of them.
            row(9, 0, 12, 0, Action::Pmu(PmuReg::Pmcr)),
            row(9, 0, 12, 1, Action::Pmu(PmuReg::Pmcntenset)),
            row(9, 0, 12, 2, Action::Pmu(PmuReg::Pmcntenclr)),
            row(9, 0, 12, 3, Action::Pmu(PmuReg::Pmovsr)),
            row(9, 0, 12, 4, Action::Pmu(PmuReg::Pmswinc)),
            row(9, 0, 12, 5, Action::Pmu(PmuReg::Pmselr)),
            row(9, 0, 12, 6, Action::Pmu(PmuReg::Pmceid0)),
            row(9, 0, 12, 7, Action::Pmu(PmuReg::Pmceid1)),
            row(9, 0, 13, 0, Action::Pmu(PmuReg::Pmccntr)),
            row(9, 0, 13, 1, Action::Pmu(PmuReg::Pmxevtyper)),
            row(9, 0, 13, 2, Action::Pmu(PmuReg::Pmxevcntr)),
            row(9, 0, 14, 0, Action::Pmu(PmuReg::Pmuserenr)),
            row(9, 0, 14, 1, Action::Pmu(PmuReg::Pmintenset)),
            row(9, 0, 14, 2, Action::Pmu(PmuReg::Pmintenclr)),
            row(9, 0, 14, 3, Action::Pmu(PmuReg::Pmovsset)),
            $($c9,)*
            row(10, 0, 2, 0, Action::Register(Cp15Reg::Prrr)),
            row(10, 0, 2, 1, Action::Register(Cp15Reg::Nmrr)),
            row(10, 0, 3, 0, Action::Register(Cp15Reg::Amair0)),
            row(10, 0, 3, 1, Action::Register(Cp15Reg::Amair1)),
            row(12, 0, 0, 0, Action::Switched(Cp15Reg::Vbar)),
            // ISR.
            row(12, 0, 1, 0, Action::Hardware),
            // FCSEIDR reads as zero. The world switch clears it on emulated cores that have it.
            row(13, 0, 0, 0, Action::Hardware),
            row(13, 0, 0, 1, Action::Register(Cp15Reg::Contextidr)),
            row(13, 0, 0, 2, Action::Switched(Cp15Reg::Tpidrurw)),
            row(13, 0, 0, 3, Action::Switched(Cp15Reg::Tpidruro)),
            row(13, 0, 0, 4, Action::Switched(Cp15Reg::Tpidrprw)),
            // CNTFRQ.
            row(14, 0, 0, 0, Action::Hardware),
            row(14, 0, 1, 0, Action::Switched(Cp15Reg::Cntkctl)),
            // CNTHCTL.PL1PCEN is clear: the physical timer is the host's.
            row(14, 0, 2, 0, Action::PhysTimer(TimerReg::Tval)),
            row(14, 0, 2, 1, Action::PhysTimer(TimerReg::Ctl)),
            // The virtual timer.
            row(14, 0, 3, 0, Action::Hardware),
            row(14, 0, 3, 1, Action::Hardware),
            $($c14,)*
            row(14, 0, 15, 7, Action::PmuState(PmuReg::Pmccfiltr)),
            $($c15,)*
            row64(0, 2, Action::Register64(Cp15Reg::Ttbr0Lo, Cp15Reg::Ttbr0Hi)),
            row64(1, 2, Action::Register64(Cp15Reg::Ttbr1Lo, Cp15Reg::Ttbr1Hi)),
            row64(0, 7, Action::Switched64(Cp15Reg::ParLo, Cp15Reg::ParHi)),
            // CNTPCT, CNTVCT.
            row64(0, 14, Action::Hardware),
            row64(1, 14, Action::Hardware),
            row64(2, 14, Action::PhysTimer(TimerReg::Cval)),
            // CNTV_CVAL.
            row64(3, 14, Action::Hardware),
            $($c15_wide,)*
        ])
    };
}

pub(super) use core_table;
