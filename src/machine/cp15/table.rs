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

    /// A register of MCR and MRC.
    pub(super) const fn new32(crn: u8, opc1: u8, crm: u8, opc2: u8) -> Self {
        Self((crn as u16) << 11 | (opc1 as u16 & 7) << 8 | (crm as u16 & 15) << 4 | opc2 as u16 & 7)
    }

    /// A register of MCRR and MRRC.
    pub(super) const fn new64(opc1: u8, crm: u8) -> Self {
        Self(Self::WIDE | (crm as u16 & 15) << 4 | opc1 as u16 & 15)
    }

    /// The fields, apart.
    pub(super) const fn encoding(self) -> Encoding {
        let crm = (self.0 >> 4 & 15) as u8;
        if self.0 & Self::WIDE != 0 {
            return Encoding::Double {
                opc1: (self.0 & 15) as u8,
                crm,
            };
        }
        Encoding::Single {
            crn: (self.0 >> 11 & 15) as u8,
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

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Reads and writes a register of the vCPU.
    Register(Cp15Reg),
    /// The same for one of 64 bits.
    Register64(Cp15Reg, Cp15Reg),
    /// A register of the vCPU that the world switch puts into the hardware: the guest's accesses
    /// do not trap.
    Switched(Cp15Reg),
    /// The same for one of 64 bits.
    Switched64(Cp15Reg, Cp15Reg),
    /// The hardware's own value, which no vCPU can change.
    Id(IdReg),
    /// Goes to the hardware, which does something, or has a value that is nobody's to keep:
    /// maintenance of caches and TLBs, address translation, the counters, the virtual timer.
    Hardware,
    /// The core has it, and a guest does not, on purpose.
    Absent,
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
    /// The performance monitors.
    Pmu(PmuReg),
    /// What the performance monitors have behind PMSELR, under the name that ARMv8 gave it, by
    /// which user space saves it; no instruction has that name here.
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

/// Finds what the table says of a register.
///
/// A binary search that is written out, as the library's has a panic in it when overflow is
/// checked.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
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
    (
        c9: [$($c9:expr),* $(,)?],
        c14: [$($c14:expr),* $(,)?],
        c15: [$($c15:expr),* $(,)?],
        c15_wide: [$($c15_wide:expr),* $(,)?]
    ) => {
        &[
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
            // FCSEIDR.
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
        ]
    };
}

pub(super) use core_table;
