// SPDX-License-Identifier: GPL-2.0

//! The HYP syndrome register: why the guest was left (B3.13.6).

use core::fmt;

use crate::{
    cond::Cond,
    exception::Direction, //
};

/// HSR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hsr(pub u32);

/// HSR.EC: what kind of exception it is (table B3-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionClass {
    /// For an unknown reason.
    UnknownReason,
    /// Trapped WFI or WFE.
    Wfx,
    /// Trapped MCR or MRC of CP15.
    Cp15,
    /// Trapped MCRR or MRRC of CP15.
    Cp15Double,
    /// Trapped MCR or MRC of CP14.
    Cp14,
    /// Trapped LDC or STC of CP14.
    Cp14LoadStore,
    /// Access to CP0 to CP13 that HCPTR traps: VFP and Advanced SIMD.
    Coprocessor,
    /// Trapped VMRS of an ID register.
    VfpId,
    /// Trapped BXJ.
    Bxj,
    /// Trapped MRRC of CP14.
    Cp14Double,
    /// SVC in HYP mode, or routed there.
    Svc,
    /// HVC.
    Hvc,
    /// Trapped SMC.
    Smc,
    /// Prefetch abort, routed to HYP mode.
    PrefetchAbort,
    /// Prefetch abort in HYP mode.
    HypPrefetchAbort,
    /// Data abort, routed to HYP mode.
    DataAbort,
    /// Data abort in HYP mode.
    HypDataAbort,
    /// A breakpoint. Armv7 has a prefetch abort for it; the emulator uses Armv8's class for all
    /// cores.
    Breakpoint,
    /// A watchpoint. Armv7 has a data abort for it.
    Watchpoint,
    /// BKPT. Armv7 has a prefetch abort for it.
    Bkpt,
    /// One that the architecture reserves.
    Unknown(u8),
}

impl ExceptionClass {
    /// The class that six bits name.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 0x3f {
            0x00 => Self::UnknownReason,
            0x01 => Self::Wfx,
            0x03 => Self::Cp15,
            0x04 => Self::Cp15Double,
            0x05 => Self::Cp14,
            0x06 => Self::Cp14LoadStore,
            0x07 => Self::Coprocessor,
            0x08 => Self::VfpId,
            0x0a => Self::Bxj,
            0x0c => Self::Cp14Double,
            0x11 => Self::Svc,
            0x12 => Self::Hvc,
            0x13 => Self::Smc,
            0x20 => Self::PrefetchAbort,
            0x21 => Self::HypPrefetchAbort,
            0x24 => Self::DataAbort,
            0x25 => Self::HypDataAbort,
            0x30 => Self::Breakpoint,
            0x34 => Self::Watchpoint,
            0x38 => Self::Bkpt,
            other => Self::Unknown(other as u8),
        }
    }

    /// The field.
    #[inline]
    pub const fn bits(self) -> u32 {
        match self {
            Self::UnknownReason => 0x00,
            Self::Wfx => 0x01,
            Self::Cp15 => 0x03,
            Self::Cp15Double => 0x04,
            Self::Cp14 => 0x05,
            Self::Cp14LoadStore => 0x06,
            Self::Coprocessor => 0x07,
            Self::VfpId => 0x08,
            Self::Bxj => 0x0a,
            Self::Cp14Double => 0x0c,
            Self::Svc => 0x11,
            Self::Hvc => 0x12,
            Self::Smc => 0x13,
            Self::PrefetchAbort => 0x20,
            Self::HypPrefetchAbort => 0x21,
            Self::DataAbort => 0x24,
            Self::HypDataAbort => 0x25,
            Self::Breakpoint => 0x30,
            Self::Watchpoint => 0x34,
            Self::Bkpt => 0x38,
            Self::Unknown(bits) => bits as u32,
        }
    }
}

/// Which of the two instructions that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wfx {
    /// Wait for interrupt.
    Wfi,
    /// Wait for event.
    Wfe,
}

/// A trapped MCR or MRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cp32Access {
    /// CRn.
    pub crn: u8,
    /// Opc1.
    pub opc1: u8,
    /// CRm.
    pub crm: u8,
    /// Opc2.
    pub opc2: u8,
    /// The general-purpose register.
    pub rt: usize,
    /// MRC rather than MCR.
    pub is_read: bool,
}

/// A trapped MCRR or MRRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cp64Access {
    /// Opc1.
    pub opc1: u8,
    /// CRm.
    pub crm: u8,
    /// The general-purpose register for the low word.
    pub rt: usize,
    /// The general-purpose register for the high word.
    pub rt2: usize,
    /// MRRC rather than MCRR.
    pub is_read: bool,
}

/// HSR.FSC: what kind of abort it is, in the encoding of the long-descriptor format (table
/// B3-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStatus {
    /// The table has no valid entry at this level.
    Translation(u8),
    /// The entry at this level has no access flag.
    AccessFlag(u8),
    /// The entry at this level does not permit the access.
    Permission(u8),
    /// Synchronous external abort.
    External,
    /// Synchronous parity error.
    Parity,
    /// Asynchronous external abort.
    AsyncExternal,
    /// Asynchronous parity error.
    AsyncParity,
    /// Synchronous external abort on a table walk, at this level.
    ExternalOnWalk(u8),
    /// Synchronous parity error on a table walk, at this level.
    ParityOnWalk(u8),
    /// Alignment fault.
    Alignment,
    /// Debug event.
    Debug,
    /// More than one TLB entry matches.
    TlbConflict,
    /// Any other value.
    Other(u8),
}

impl FaultStatus {
    /// The status that six bits name.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        let bits = (bits & 0x3f) as u8;
        let level = bits & 3;
        match bits {
            0b00_0100..=0b00_0111 => Self::Translation(level),
            0b00_1000..=0b00_1011 => Self::AccessFlag(level),
            0b00_1100..=0b00_1111 => Self::Permission(level),
            0b01_0000 => Self::External,
            0b01_0001 => Self::AsyncExternal,
            0b01_0100..=0b01_0111 => Self::ExternalOnWalk(level),
            0b01_1000 => Self::Parity,
            0b01_1001 => Self::AsyncParity,
            0b01_1100..=0b01_1111 => Self::ParityOnWalk(level),
            0b10_0001 => Self::Alignment,
            0b10_0010 => Self::Debug,
            0b11_0000 => Self::TlbConflict,
            _ => Self::Other(bits),
        }
    }

    /// Whether the abort is not of the instruction at which it was taken.
    #[inline]
    pub const fn is_asynchronous(self) -> bool {
        matches!(self, Self::AsyncExternal | Self::AsyncParity)
    }

    /// The field.
    #[inline]
    pub const fn bits(self) -> u32 {
        let bits = match self {
            Self::Translation(level) => 0b00_0100 | level & 3,
            Self::AccessFlag(level) => 0b00_1000 | level & 3,
            Self::Permission(level) => 0b00_1100 | level & 3,
            Self::External => 0b01_0000,
            Self::AsyncExternal => 0b01_0001,
            Self::ExternalOnWalk(level) => 0b01_0100 | level & 3,
            Self::Parity => 0b01_1000,
            Self::AsyncParity => 0b01_1001,
            Self::ParityOnWalk(level) => 0b01_1100 | level & 3,
            Self::Alignment => 0b10_0001,
            Self::Debug => 0b10_0010,
            Self::TlbConflict => 0b11_0000,
            Self::Other(bits) => bits & 0x3f,
        };
        bits as u32
    }
}

/// The syndrome of an abort that came from a guest.
///
/// # Invariants
///
/// Bits that only data aborts have are zero for a prefetch abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortIss(u32);

impl AbortIss {
    const ISV: u32 = 1 << 24;
    const SSE: u32 = 1 << 21;
    const EA: u32 = 1 << 9;
    const CM: u32 = 1 << 8;
    const S1PTW: u32 = 1 << 7;
    const WNR: u32 = 1 << 6;
    const FSC: u32 = 0x3f;
    /// The bits of a data abort, and those of a prefetch abort.
    const DATA: u32 = (1 << 25) - 1;
    const FETCH: u32 = Self::EA | Self::S1PTW | Self::FSC;

    #[inline(always)]
    const fn bit(self, mask: u32) -> bool {
        self.0 & mask != 0
    }

    /// The number of bytes of the access: 1, 2 or 4. `None` if the syndrome does not tell what the
    /// access was; else the sign and the register are valid, too.
    #[inline(always)]
    pub const fn size(self) -> Option<usize> {
        match self.0 >> 22 & 3 {
            // 0b11 is reserved in ARMv7.
            sas @ 0..=2 if self.bit(Self::ISV) => Some(1 << sas),
            _ => None,
        }
    }

    /// A load that is smaller than a word is sign-extended.
    #[inline(always)]
    pub const fn sign_extend(self) -> bool {
        self.bit(Self::SSE)
    }

    /// The register that is stored, or loaded.
    #[inline(always)]
    pub const fn register(self) -> usize {
        (self.0 >> 16 & 0xf) as usize
    }

    /// A write. A cache maintenance operation counts as one.
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        self.bit(Self::WNR)
    }

    /// The abort is of a cache maintenance operation, or of an address translation.
    #[inline(always)]
    pub const fn is_maintenance(self) -> bool {
        self.bit(Self::CM)
    }

    /// The abort is of a stage-1 table walk.
    #[inline(always)]
    pub const fn is_of_walk(self) -> bool {
        self.bit(Self::S1PTW)
    }

    /// The core's class of an external abort.
    #[inline(always)]
    pub const fn ea(self) -> bool {
        self.bit(Self::EA)
    }

    /// The fault status.
    #[inline(always)]
    pub const fn status(self) -> FaultStatus {
        FaultStatus::from_bits(self.0)
    }

    /// The nature of the access.
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        if self.is_maintenance() {
            Direction::Maintenance
        } else {
            Direction::of(self.is_write())
        }
    }

    /// CM, WnR and the fault status at their places, as KVM_EXIT_ARM_NISV tells them.
    #[inline(always)]
    pub const fn without_access(self) -> u32 {
        self.0 & (Self::CM | Self::WNR | Self::FSC)
    }
}

impl Hsr {
    /// The syndrome of a hypercall: HVC with an immediate of zero.
    pub const CALL: Self = Self(ExceptionClass::Hvc.bits() << 26 | Self::IL);

    const IL: u32 = 1 << 25;
    const CV: u32 = 1 << 24;

    /// `len` bits from `shift` on.
    #[inline]
    const fn field(self, shift: u32, len: u32) -> u8 {
        (self.0 >> shift & ((1 << len) - 1)) as u8
    }

    const fn bit(self, mask: u32) -> bool {
        self.0 & mask != 0
    }

    /// The exception class.
    #[inline]
    pub const fn ec(self) -> ExceptionClass {
        ExceptionClass::from_bits(self.0 >> 26)
    }

    /// Whether the instruction is a 32-bit one.
    #[inline]
    pub const fn il(self) -> bool {
        self.bit(Self::IL)
    }

    /// The condition of the trapped instruction, if the syndrome has it. For the classes up to
    /// 0b001111, but not for the unknown reason.
    #[inline]
    pub const fn condition(self) -> Option<Cond> {
        if self.bit(Self::CV) {
            Some(Cond::new(self.0 >> 20))
        } else {
            None
        }
    }

    /// For [`ExceptionClass::Cp15`] and [`ExceptionClass::Cp14`].
    #[inline]
    pub const fn cp_access(self) -> Cp32Access {
        Cp32Access {
            crn: self.field(10, 4),
            opc1: self.field(14, 3),
            crm: self.field(1, 4),
            opc2: self.field(17, 3),
            rt: self.field(5, 4) as usize,
            is_read: self.bit(1),
        }
    }

    /// For [`ExceptionClass::Cp15Double`] and [`ExceptionClass::Cp14Double`].
    #[inline]
    pub const fn cp64_access(self) -> Cp64Access {
        Cp64Access {
            opc1: self.field(16, 4),
            crm: self.field(1, 4),
            rt: self.field(5, 4) as usize,
            rt2: self.field(10, 4) as usize,
            is_read: self.bit(1),
        }
    }

    /// For [`ExceptionClass::Wfx`].
    #[inline]
    pub const fn wfx(self) -> Wfx {
        if self.bit(1) {
            Wfx::Wfe
        } else {
            Wfx::Wfi
        }
    }

    /// For [`ExceptionClass::Hvc`]: the immediate.
    #[inline]
    pub const fn immediate(self) -> u16 {
        self.0 as u16
    }

    /// For the aborts: the abort is a debug exception.
    #[inline(always)]
    pub const fn is_debug_event(self) -> bool {
        matches!(self.abort().status(), FaultStatus::Debug)
    }

    /// For the aborts.
    #[inline(always)]
    pub const fn abort(self) -> AbortIss {
        // EC 0x20 and 0x21 are prefetch aborts, 0x24 and 0x25 data aborts.
        let is_data = self.bit(1 << 28);
        // INVARIANT: Only the bits of a prefetch abort are left for one.
        AbortIss(
            self.0
                & if is_data {
                    AbortIss::DATA
                } else {
                    AbortIss::FETCH
                },
        )
    }
}

// --- In words ---------------------------------------------------------------------

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translation(level) => write!(f, "translation fault at level {level}"),
            Self::AccessFlag(level) => write!(f, "access flag fault at level {level}"),
            Self::Permission(level) => write!(f, "permission fault at level {level}"),
            Self::External => f.write_str("external abort"),
            Self::Parity => f.write_str("parity error"),
            Self::AsyncExternal => f.write_str("asynchronous external abort"),
            Self::AsyncParity => f.write_str("asynchronous parity error"),
            Self::ExternalOnWalk(level) => {
                write!(f, "external abort on a table walk at level {level}")
            }
            Self::ParityOnWalk(level) => {
                write!(f, "parity error on a table walk at level {level}")
            }
            Self::Alignment => f.write_str("alignment fault"),
            Self::Debug => f.write_str("debug event"),
            Self::TlbConflict => f.write_str("TLB conflict"),
            Self::Other(bits) => write!(f, "fault status {bits:#04x}"),
        }
    }
}

impl Hsr {
    fn write_abort(self, f: &mut fmt::Formatter<'_>, what: &str, is_data: bool) -> fmt::Result {
        let iss = self.abort();
        write!(f, "{what}: {}", iss.status())?;
        if iss.is_of_walk() {
            f.write_str(", on a walk of the guest's tables")?;
        }
        f.write_str(match (is_data, iss.is_maintenance(), iss.is_write()) {
            (false, ..) => "",
            (true, true, _) => ", by cache maintenance",
            (true, false, true) => ", by a write",
            (true, false, false) => ", by a read",
        })
    }

    fn write_cp(self, f: &mut fmt::Formatter<'_>, number: u32) -> fmt::Result {
        let Cp32Access {
            crn,
            opc1,
            crm,
            opc2,
            rt,
            is_read,
        } = self.cp_access();
        let name = if is_read { "MRC" } else { "MCR" };
        write!(
            f,
            "trapped {name} p{number}, {opc1}, r{rt}, c{crn}, c{crm}, {opc2}"
        )
    }

    fn write_cp64(self, f: &mut fmt::Formatter<'_>, number: u32) -> fmt::Result {
        let Cp64Access {
            opc1,
            crm,
            rt,
            rt2,
            is_read,
        } = self.cp64_access();
        let name = if is_read { "MRRC" } else { "MCRR" };
        write!(f, "trapped {name} p{number}, {opc1}, r{rt}, r{rt2}, c{crm}")
    }
}

/// The event in words.
impl fmt::Display for Hsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ec() {
            ExceptionClass::UnknownReason => f.write_str("unknown reason"),
            ExceptionClass::Wfx => f.write_str(match self.wfx() {
                Wfx::Wfi => "trapped WFI",
                Wfx::Wfe => "trapped WFE",
            }),
            ExceptionClass::Cp15 => self.write_cp(f, 15),
            ExceptionClass::Cp15Double => self.write_cp64(f, 15),
            ExceptionClass::Cp14 => self.write_cp(f, 14),
            ExceptionClass::Cp14LoadStore => f.write_str("trapped LDC or STC of CP14"),
            ExceptionClass::Coprocessor => {
                f.write_str("trapped access to the VFP or to CP0 to CP13")
            }
            ExceptionClass::VfpId => f.write_str("trapped VMRS of an ID register"),
            ExceptionClass::Bxj => f.write_str("trapped BXJ"),
            ExceptionClass::Cp14Double => self.write_cp64(f, 14),
            ExceptionClass::Svc => write!(f, "SVC {:#x}", self.immediate()),
            ExceptionClass::Hvc => write!(f, "HVC {:#x}", self.immediate()),
            ExceptionClass::Smc => f.write_str("trapped SMC"),
            ExceptionClass::PrefetchAbort => {
                self.write_abort(f, "prefetch abort of a guest", false)
            }
            ExceptionClass::HypPrefetchAbort => {
                self.write_abort(f, "prefetch abort in HYP mode", false)
            }
            ExceptionClass::DataAbort => self.write_abort(f, "data abort of a guest", true),
            ExceptionClass::HypDataAbort => self.write_abort(f, "data abort in HYP mode", true),
            ExceptionClass::Breakpoint => f.write_str("breakpoint of a guest"),
            ExceptionClass::Watchpoint => f.write_str("watchpoint of a guest"),
            ExceptionClass::Bkpt => write!(f, "BKPT {:#x}", self.immediate()),
            ExceptionClass::Unknown(class) => write!(f, "exception class {class:#04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    #[test]
    fn classes_round_trip() {
        for bits in 0..64 {
            assert_eq!(ExceptionClass::from_bits(bits).bits(), bits);
            assert_eq!(FaultStatus::from_bits(bits).bits(), bits);
        }
    }

    #[test]
    fn classes_are_those_of_the_manual() {
        use ExceptionClass::*;
        // Table B3-25.
        for (bits, class) in [
            (0x00, UnknownReason),
            (0x01, Wfx),
            (0x03, Cp15),
            (0x04, Cp15Double),
            (0x05, Cp14),
            (0x06, Cp14LoadStore),
            (0x07, Coprocessor),
            (0x08, VfpId),
            (0x0a, Bxj),
            (0x0c, Cp14Double),
            (0x11, Svc),
            (0x12, Hvc),
            (0x13, Smc),
            (0x20, PrefetchAbort),
            (0x21, HypPrefetchAbort),
            (0x24, DataAbort),
            (0x25, HypDataAbort),
            (0x09, Unknown(0x09)),
        ] {
            assert_eq!(ExceptionClass::from_bits(bits), class);
            assert_eq!(class.bits(), bits);
        }
    }

    #[test]
    fn known_syndromes() {
        // `mrc p15, 0, r3, c1, c0, 1` (ACTLR), condition AL.
        let hsr = Hsr(0x0fe2_0461);
        let hsr = Hsr(hsr.0 & !(7 << 17) | 1 << 17);
        assert_eq!(hsr.ec(), ExceptionClass::Cp15);
        assert!(hsr.il());
        assert_eq!(hsr.condition(), Some(Cond::AL));
        assert_eq!(
            hsr.cp_access(),
            Cp32Access {
                crn: 1,
                opc1: 0,
                crm: 0,
                opc2: 1,
                rt: 3,
                is_read: true,
            }
        );
        // A store of r2, a byte, to memory that is not there: level 3.
        let hsr = Hsr(0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 16 | 1 << 6 | 0b0111);
        let abort = hsr.abort();
        assert!(abort.is_write() && !abort.is_of_walk() && !abort.is_maintenance());
        assert_eq!(abort.size(), Some(1));
        assert_eq!(abort.register(), 2);
        assert_eq!(abort.status(), FaultStatus::Translation(3));
        assert_eq!(abort.without_access(), 0x47);
        assert_eq!(Hsr(1 << 26 | 1).wfx(), Wfx::Wfe);
        assert_eq!(Hsr(1 << 26).wfx(), Wfx::Wfi);
    }

    #[test]
    fn directions_of_accesses() {
        let of =
            |ec: u32, cm: u32, wnr: u32| Hsr(ec << 26 | cm << 8 | wnr << 6).abort().direction();
        assert_eq!(of(0x24, 0, 0), Direction::Read);
        assert_eq!(of(0x24, 0, 1), Direction::Write);
        assert_eq!(of(0x24, 1, 1), Direction::Maintenance);
        // A prefetch abort has neither bit.
        assert_eq!(of(0x20, 1, 1), Direction::Read);
    }

    #[test]
    fn two_aborts_are_asynchronous() {
        let found = (0..64).filter(|bits| FaultStatus::from_bits(*bits).is_asynchronous());
        assert!(found.eq([0b01_0001, 0b01_1001]));
    }

    inputs! {
        fn word_accesses_decode(
            crn in 0u8..16, opc1 in 0u8..8, crm in 0u8..16, opc2 in 0u8..8,
            rt in 0usize..16, is_read: bool, cond in 0u32..16,
        ) {
            let iss = 1 << 24 | cond << 20 | u32::from(opc2) << 17 | u32::from(opc1) << 14
                | u32::from(crn) << 10 | (rt as u32) << 5 | u32::from(crm) << 1
                | u32::from(is_read);
            let hsr = Hsr(0x03 << 26 | iss);
            prop_assert_eq!(hsr.cp_access(), Cp32Access { crn, opc1, crm, opc2, rt, is_read });
            prop_assert_eq!(hsr.condition(), Some(Cond::new(cond)));
        }

        fn double_accesses_decode(
            opc1 in 0u8..16, crm in 0u8..16, rt in 0usize..16, rt2 in 0usize..16, is_read: bool,
        ) {
            let iss = u32::from(opc1) << 16 | (rt2 as u32) << 10 | (rt as u32) << 5
                | u32::from(crm) << 1 | u32::from(is_read);
            let hsr = Hsr(0x04 << 26 | iss);
            prop_assert_eq!(hsr.cp64_access(), Cp64Access { opc1, crm, rt, rt2, is_read });
            prop_assert_eq!(hsr.condition(), None);
        }

        fn a_prefetch_abort_has_no_access(iss in 0u32..1 << 25) {
            let abort = Hsr(0x20 << 26 | iss).abort();
            prop_assert_eq!(abort.size(), None);
            prop_assert!(!abort.is_write() && !abort.is_maintenance() && !abort.sign_extend());
            prop_assert_eq!(abort.status().bits(), iss & 0x3f);
            prop_assert_eq!(abort.without_access(), iss & 0x3f);
        }

        fn a_data_abort_has_all_bits(iss in 0u32..1 << 25) {
            let abort = Hsr(0x24 << 26 | iss).abort();
            let bit = |n: u32| iss >> n & 1 != 0;
            let size = [Some(1), Some(2), Some(4), None][iss as usize >> 22 & 3];
            prop_assert_eq!(abort.size(), size.filter(|_| bit(24)));
            prop_assert_eq!(abort.sign_extend(), bit(21));
            prop_assert_eq!(abort.register() as u32, iss >> 16 & 0xf);
            prop_assert_eq!(abort.ea(), bit(9));
            prop_assert_eq!(abort.is_maintenance(), bit(8));
            prop_assert_eq!(abort.is_of_walk(), bit(7));
            prop_assert_eq!(abort.is_write(), bit(6));
            prop_assert_eq!(abort.status().bits(), iss & 0x3f);
        }
    }

    #[test]
    fn in_words() {
        use std::string::ToString;
        for (hsr, words) in [
            (0x0200_0000, "unknown reason"),
            (0x07e0_0000, "trapped WFI"),
            (0x07e0_0001, "trapped WFE"),
            // MRC p15, 0, r3, c1, c0, 1: ACTLR.
            (0x0fe2_0461, "trapped MRC p15, 0, r3, c1, c0, 1"),
            // MCR p15, 0, r7, c9, c12, 5: PMSELR.
            (0x0fea_24f8, "trapped MCR p15, 0, r7, c9, c12, 5"),
            // MCRR p15, 2, r4, r5, c14: CNTP_CVAL.
            (0x13e2_149c, "trapped MCRR p15, 2, r4, r5, c14"),
            (0x17e0_0001, "trapped MRC p14, 0, r0, c0, c0, 0"),
            (0x1be0_0000, "trapped LDC or STC of CP14"),
            (0x1fe0_000a, "trapped access to the VFP or to CP0 to CP13"),
            (0x2200_0000, "trapped VMRS of an ID register"),
            (0x2be0_0000, "trapped BXJ"),
            (0x33e0_0001, "trapped MRRC p14, 0, r0, r0, c0"),
            (0x4600_0012, "SVC 0x12"),
            (0x4a00_4a48, "HVC 0x4a48"),
            (0x4e00_0000, "trapped SMC"),
            (
                0x8200_0087,
                "prefetch abort of a guest: translation fault at level 3, on a walk of the guest's tables",
            ),
            (
                0x8600_000f,
                "prefetch abort in HYP mode: permission fault at level 3",
            ),
            (
                0x9382_0046,
                "data abort of a guest: translation fault at level 2, by a write",
            ),
            (
                0x9200_0146,
                "data abort of a guest: translation fault at level 2, by cache maintenance",
            ),
            (
                0x9600_0005,
                "data abort in HYP mode: translation fault at level 1, by a read",
            ),
            (
                0x9600_0010,
                "data abort in HYP mode: external abort, by a read",
            ),
            (0x9600_0021, "data abort in HYP mode: alignment fault, by a read"),
            (0x9600_0030, "data abort in HYP mode: TLB conflict, by a read"),
            (0x9600_003f, "data abort in HYP mode: fault status 0x3f, by a read"),
            (0xfe00_0000, "exception class 0x3f"),
        ] {
            assert_eq!(Hsr(hsr).to_string(), words, "{hsr:#010x}");
        }
    }
}
