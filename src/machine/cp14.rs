// SPDX-License-Identifier: GPL-2.0

//! CP14 as a guest sees it: the debug registers (Arm ARM chapter C11).
//!
//! All accesses trap, and the registers are here. They are in the hardware only while the guest
//! runs, and only if one of them can cause a debug exception ([`DebugRegs::is_active`]). So a guest
//! that does not debug costs nothing, and no guest reaches what is the host's: the debugger's
//! channel, power control, matches on VMIDs, in HYP mode or in the Secure state.
//!
//! A host can be without registers that it may use: a signal of the board can disable debug.
//! ID_DFR0, which guests read from the hardware, says all the same that there is v7.1 Debug. Then a
//! guest finds the smallest unit that has it, as on such a board: DBGAUTHSTATUS says that invasive
//! debug is disabled, and DBGDSCR.MDBGen stays clear, from which Linux sees that it cannot have
//! breakpoints.

use armv7::hsr::{
    Cp32Access,
    Cp64Access, //
};

/// The result of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cp14Outcome {
    /// A load: the value.
    Read(u32),
    /// A store.
    Written,
    /// The instruction is undefined.
    Undefined,
}

/// DBGDSCR (C11.11.20).
pub mod dscr {
    /// MOE: the reason of the last debug exception.
    pub const MOE: u32 = 0xf << MOE_SHIFT;
    /// The place of MOE.
    pub const MOE_SHIFT: u32 = 2;
    /// MOE of BKPT.
    pub const MOE_BKPT: u32 = 3 << MOE_SHIFT;
    /// UDCCdis: user mode does not reach the channel and DBGDIDR.
    pub const UDCCDIS: u32 = 1 << 12;
    /// MDBGen: breakpoints and watchpoints cause exceptions.
    pub const MDBGEN: u32 = 1 << 15;
}

/// The fields of DBGBCR and DBGWCR (C11.11.2, C11.11.43) that have the same place in both.
mod control {
    /// E: enabled.
    pub(super) const E: u32 = 1 << 0;
    /// PMC, PAC: the modes in which there is a match.
    pub(super) const PMC: u32 = 3 << 1;
    /// HMC: HYP mode, too.
    pub(super) const HMC: u32 = 1 << 13;
    /// SSC: the security states.
    pub(super) const SSC: u32 = 3 << 14;
    /// SSC: the Non-secure state alone.
    pub(super) const NON_SECURE: u32 = 1 << 14;
    /// SSC: the Secure state alone.
    pub(super) const SECURE: u32 = 2 << 14;
}

/// BT of DBGBCR: the kind of match.
const BT_SHIFT: u32 = 20;
const BT: u32 = 0xf << BT_SHIFT;
/// The last of those that look at nothing but addresses and CONTEXTIDR. The others look at the
/// VMID.
const BT_LAST: u32 = 5 << BT_SHIFT;
/// A match of CONTEXTIDR to which other breakpoints and watchpoints are linked.
const BT_LINKED_CONTEXT: u32 = 3 << BT_SHIFT;
/// The bits of DBGBCR that there are: E, PMC, BAS, HMC, SSC, LBN, BT. Without address masks.
const BCR_BITS: u32 = 0x00ff_e1e7;
/// The bits of DBGWCR that there are: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const WCR_BITS: u32 = 0x1f1f_ffff;
/// DBGVCR: the vectors of the Non-secure state but reset and HYP mode's.
const VCR_BITS: u32 = 0xde00_0000;

/// The most breakpoints and watchpoints that are emulated: all cores with KVM have so many.
pub const MAX_BREAKPOINTS: usize = 6;
/// Likewise.
pub const MAX_WATCHPOINTS: usize = 4;

/// A breakpoint or a watchpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// DBGBVR or DBGWVR.
    pub value: u32,
    /// DBGBCR or DBGWCR.
    pub control: u32,
}

impl Point {
    /// One that is not enabled.
    pub const OFF: Self = Self {
        value: 0,
        control: 0,
    };

    /// A breakpoint at the instruction at an address, in all modes of a guest.
    ///
    /// It need not be known whether the instruction is a Thumb one: none begins at the third byte
    /// of an Arm instruction that is executed.
    pub const fn at(address: u32) -> Self {
        let bytes = if address & 2 == 0 { 0b1111 } else { 0b1100 };
        Self {
            value: address & !3,
            control: control::E | control::PMC | bytes << 5,
        }
    }

    /// Whether it is enabled.
    pub const fn is_enabled(self) -> bool {
        self.control & control::E != 0
    }

    /// The point as the hardware may have it while a guest runs: what matches in HYP mode or in the
    /// Secure state does not any more. What matches only there is disabled.
    const fn confined(self) -> Self {
        let in_guest = self.control & (control::PMC | control::HMC) != control::HMC;
        if !self.is_enabled() || self.control & control::SSC == control::SECURE || !in_guest {
            return Self {
                value: self.value,
                control: 0,
            };
        }
        Self {
            value: self.value,
            control: self.control & !(control::HMC | control::SSC) | control::NON_SECURE,
        }
    }

    /// The same for a breakpoint.
    const fn confined_breakpoint(self) -> Self {
        match self.control & BT {
            // PMC has to be all modes and SSC all states, and what is linked says where (C3.3.3).
            BT_LINKED_CONTEXT if self.is_enabled() => Self {
                value: self.value,
                control: self.control & !(control::HMC | control::SSC) | control::PMC,
            },
            bt if bt > BT_LAST => Self {
                value: self.value,
                control: 0,
            },
            _ => self.confined(),
        }
    }
}

/// The breakpoints and watchpoints of somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// DBGBVR and DBGBCR.
    pub breakpoints: [Point; MAX_BREAKPOINTS],
    /// DBGWVR and DBGWCR.
    pub watchpoints: [Point; MAX_WATCHPOINTS],
}

impl Points {
    /// None.
    pub const NONE: Self = Self {
        breakpoints: [Point::OFF; MAX_BREAKPOINTS],
        watchpoints: [Point::OFF; MAX_WATCHPOINTS],
    };

    /// Whether one is enabled.
    fn is_any_enabled(&self) -> bool {
        self.breakpoints
            .iter()
            .chain(&self.watchpoints)
            .any(|point| point.is_enabled())
    }

    /// The points as the hardware may have them while a guest runs.
    pub fn confined(&self) -> Self {
        Self {
            breakpoints: self.breakpoints.map(Point::confined_breakpoint),
            watchpoints: self.watchpoints.map(Point::confined),
        }
    }
}

/// The debug unit that a core of the host gives its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugUnit {
    didr: u32,
}

/// Fields of DBGDIDR (C11.11.15): the numbers of watchpoints and breakpoints, both one less, and
/// the version, v7.1 Debug. DEVID_imp, nSUHD_imp and SE_imp are set as on all cores with v7.1
/// Debug.
mod didr {
    pub(super) const WRPS_SHIFT: u32 = 28;
    pub(super) const BRPS_SHIFT: u32 = 24;
    /// With that of the breakpoints that compare contexts, which are the last ones.
    pub(super) const NUMBERS: u32 = 0xfff0_0000;
    pub(super) const VERSION: u32 = 0xf << 16;
    pub(super) const V7_1: u32 = 5 << 16;
    pub(super) const FIXED: u32 = V7_1 | 1 << 15 | 1 << 14 | 1 << 12;
}

impl DebugUnit {
    /// A unit whose breakpoints and watchpoints cannot be used: there are two breakpoints, one of
    /// which compares contexts, and one watchpoint.
    pub const DISABLED: Self = Self {
        didr: 1 << didr::BRPS_SHIFT | didr::FIXED,
    };

    /// The unit of a core with this DBGDIDR, whose registers can be used.
    pub const fn of_host(host: u32) -> Self {
        let unit = Self {
            didr: host & didr::NUMBERS | didr::FIXED,
        };
        let is_known = host & didr::VERSION == didr::V7_1
            && unit.breakpoints() <= MAX_BREAKPOINTS
            && unit.watchpoints() <= MAX_WATCHPOINTS;
        if is_known {
            unit
        } else {
            Self::DISABLED
        }
    }

    /// Whether breakpoints and watchpoints can be used. No usable unit is as small as the other
    /// one: a core has at least two breakpoints, and all cores with KVM have six.
    pub const fn is_usable(self) -> bool {
        self.didr != Self::DISABLED.didr
    }

    /// The number of breakpoints.
    pub const fn breakpoints(self) -> usize {
        (self.didr >> didr::BRPS_SHIFT & 0xf) as usize + 1
    }

    /// The number of watchpoints.
    pub const fn watchpoints(self) -> usize {
        (self.didr >> didr::WRPS_SHIFT & 0xf) as usize + 1
    }
}

/// DBGOSLSR: there is an OS Lock (OSLM, bits 3 and 0, is 0b10).
const OSLSR_OSLM: u32 = 1 << 3;
/// DBGOSLSR: it is locked.
const OSLSR_OSLK: u32 = 1 << 1;
/// DBGOSLAR: the key that locks.
const OSLAR_KEY: u32 = 0xc5ac_ce55;

/// DBGAUTHSTATUS: two bits for each kind of debug (invasive and not, Secure and not), all
/// implemented.
const AUTHSTATUS_IMPLEMENTED: u32 = 0b1010_1010;
/// DBGAUTHSTATUS: those of the Non-secure state are enabled.
const AUTHSTATUS_NON_SECURE: u32 = 0b0000_0101;

/// The claim tags that there are.
const CLAIM_TAGS: u32 = 0xff;

/// The debug registers of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRegs {
    /// DBGDSCR: MDBGen, UDCCdis and MOE.
    dscr: u32,
    vcr: u32,
    claims: u32,
    is_locked: bool,
    /// Something was written since the last reset.
    is_written: bool,
    points: Points,
}

/// A register that exists once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Didr,
    Dscr,
    Vcr,
    Oslar,
    Oslsr,
    ClaimSet,
    ClaimClear,
    AuthStatus,
    BreakpointValue(usize),
    BreakpointControl(usize),
    WatchpointValue(usize),
    WatchpointControl(usize),
    /// All others read as zero, and writes do nothing: DBGDRAR and DBGDSAR among them, as nothing
    /// is mapped in memory, the channel, which is always empty, and DBGPRCR.
    Other,
}

impl Register {
    const fn of(crn: u8, crm: u8, opc2: u8) -> Self {
        match (crn, crm, opc2) {
            (0, 0, 0) => Self::Didr,
            (0, 1, 0) | (0, 2, 2) => Self::Dscr,
            (0, 7, 0) => Self::Vcr,
            (0, n, 4) => Self::BreakpointValue(n as usize),
            (0, n, 5) => Self::BreakpointControl(n as usize),
            (0, n, 6) => Self::WatchpointValue(n as usize),
            (0, n, 7) => Self::WatchpointControl(n as usize),
            (1, 0, 4) => Self::Oslar,
            (1, 1, 4) => Self::Oslsr,
            (7, 8, 6) => Self::ClaimSet,
            (7, 9, 6) => Self::ClaimClear,
            (7, 14, 6) => Self::AuthStatus,
            _ => Self::Other,
        }
    }
}

impl DebugRegs {
    /// The registers after reset: nothing is enabled.
    pub const RESET: Self = Self {
        dscr: 0,
        vcr: 0,
        claims: 0,
        is_locked: false,
        is_written: false,
        points: Points::NONE,
    };

    /// Resets them. Most guests leave them alone, and then this is cheap.
    pub fn reset(&mut self) {
        if self.is_written {
            *self = Self::RESET;
        }
    }

    /// Carries out a trapped MCR or MRC. `privileged` says that it comes from PL1, and `value` is
    /// that of a store.
    pub fn access32(
        &mut self,
        unit: DebugUnit,
        access: Cp32Access,
        privileged: bool,
        value: u32,
    ) -> Cp14Outcome {
        let register = (access.crn, access.crm, access.opc2);
        let for_user = is_for_user(register, access.is_read) && self.dscr & dscr::UDCCDIS == 0;
        // 1 is trace, which ID_DFR0 says that CP14 does not have; 6 and 7 do not trap.
        if access.opc1 != 0 || !privileged && !for_user {
            return Cp14Outcome::Undefined;
        }
        let register = Register::of(access.crn, access.crm, access.opc2);
        if access.is_read {
            return Cp14Outcome::Read(self.read(unit, register));
        }
        // DBGDSCRint can only be read: a write is to the channel's or to no register.
        if unit.is_usable() && (access.crn, access.crm, access.opc2) != (0, 1, 0) {
            self.write(unit, register, value);
        }
        Cp14Outcome::Written
    }

    fn read(&self, unit: DebugUnit, register: Register) -> u32 {
        match register {
            Register::Didr => unit.didr,
            Register::Dscr => self.dscr,
            Register::Vcr => self.vcr,
            Register::Oslsr if self.is_locked => OSLSR_OSLM | OSLSR_OSLK,
            Register::Oslsr => OSLSR_OSLM,
            Register::ClaimSet if unit.is_usable() => CLAIM_TAGS,
            Register::ClaimClear => self.claims,
            Register::AuthStatus if unit.is_usable() => {
                AUTHSTATUS_IMPLEMENTED | AUTHSTATUS_NON_SECURE
            }
            Register::AuthStatus => AUTHSTATUS_IMPLEMENTED,
            Register::BreakpointValue(n) => self
                .points
                .breakpoints
                .get(n)
                .map_or(0, |point| point.value),
            Register::BreakpointControl(n) => self
                .points
                .breakpoints
                .get(n)
                .map_or(0, |point| point.control),
            Register::WatchpointValue(n) => self
                .points
                .watchpoints
                .get(n)
                .map_or(0, |point| point.value),
            Register::WatchpointControl(n) => self
                .points
                .watchpoints
                .get(n)
                .map_or(0, |point| point.control),
            Register::ClaimSet | Register::Oslar | Register::Other => 0,
        }
    }

    fn write(&mut self, unit: DebugUnit, register: Register, value: u32) {
        self.is_written = true;
        let breakpoints = self.points.breakpoints.get_mut(..unit.breakpoints());
        let watchpoints = self.points.watchpoints.get_mut(..unit.watchpoints());
        let (breakpoints, watchpoints) = (
            breakpoints.unwrap_or_default(),
            watchpoints.unwrap_or_default(),
        );
        match register {
            Register::Dscr => self.dscr = value & (dscr::MDBGEN | dscr::UDCCDIS | dscr::MOE),
            Register::Vcr => self.vcr = value & VCR_BITS,
            Register::Oslar => self.is_locked = value == OSLAR_KEY,
            Register::ClaimSet => self.claims |= value & CLAIM_TAGS,
            Register::ClaimClear => self.claims &= !value,
            Register::BreakpointValue(n) => {
                // All bits: it may be a CONTEXTIDR.
                if let Some(point) = breakpoints.get_mut(n) {
                    point.value = value;
                }
            }
            Register::BreakpointControl(n) => {
                if let Some(point) = breakpoints.get_mut(n) {
                    point.control = value & BCR_BITS;
                }
            }
            Register::WatchpointValue(n) => {
                if let Some(point) = watchpoints.get_mut(n) {
                    point.value = value & !3;
                }
            }
            Register::WatchpointControl(n) => {
                if let Some(point) = watchpoints.get_mut(n) {
                    point.control = value & WCR_BITS;
                }
            }
            Register::Didr | Register::Oslsr | Register::AuthStatus | Register::Other => (),
        }
    }

    /// The registers that have to be saved and restored with a vCPU, by CRn, CRm and opc2.
    pub fn saved(unit: DebugUnit) -> impl Iterator<Item = (u8, u8, u8)> {
        let single = [(0, 2, 2), (0, 7, 0), (1, 1, 4), (7, 9, 6)];
        let breakpoints = (0..unit.breakpoints() as u8).flat_map(|n| [(0, n, 4), (0, n, 5)]);
        let watchpoints = (0..unit.watchpoints() as u8).flat_map(|n| [(0, n, 6), (0, n, 7)]);
        single
            .into_iter()
            .chain(breakpoints)
            .chain(watchpoints)
            .filter(move |_| unit.is_usable())
    }

    /// One of the [`saved`](Self::saved) registers.
    pub fn get(&self, unit: DebugUnit, (crn, crm, opc2): (u8, u8, u8)) -> Option<u32> {
        let is_saved = Self::saved(unit).any(|saved| saved == (crn, crm, opc2));
        is_saved.then(|| self.read(unit, Register::of(crn, crm, opc2)))
    }

    /// Restores one of them. Says whether it is one.
    pub fn set(&mut self, unit: DebugUnit, (crn, crm, opc2): (u8, u8, u8), value: u32) -> bool {
        if self.get(unit, (crn, crm, opc2)).is_none() {
            return false;
        }
        self.is_written = true;
        match Register::of(crn, crm, opc2) {
            Register::Oslsr => self.is_locked = value & OSLSR_OSLK != 0,
            Register::ClaimClear => self.claims = value & CLAIM_TAGS,
            register => self.write(unit, register, value),
        }
        true
    }

    /// Whether a breakpoint, a watchpoint or a vector catch can cause a debug exception, so that
    /// the registers have to be in the hardware while the guest runs.
    pub fn is_active(&self) -> bool {
        self.dscr & dscr::MDBGEN != 0
            && !self.is_locked
            && (self.vcr != 0 || self.points.is_any_enabled())
    }

    /// The points.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// DBGVCR.
    pub fn vcr(&self) -> u32 {
        self.vcr
    }

    /// DBGDSCR.
    pub fn dscr(&self) -> u32 {
        self.dscr
    }

    /// Sets MOE as the hardware, or a BKPT that is given to the guest, has set it.
    pub fn set_moe(&mut self, dscr: u32) {
        self.is_written = true;
        self.dscr = self.dscr & !dscr::MOE | dscr & dscr::MOE;
    }
}

/// Carries out a trapped MCRR or MRRC: DBGDRAR and DBGDSAR, which can be read in all modes.
pub fn access64(access: Cp64Access) -> Cp14Outcome {
    match (access.opc1, access.crm, access.is_read) {
        (0, 1 | 2, true) => Cp14Outcome::Read(0),
        _ => Cp14Outcome::Undefined,
    }
}

/// Whether user mode reaches a register while DBGDSCR.UDCCdis is clear (table C6-2).
const fn is_for_user(register: (u8, u8, u8), is_read: bool) -> bool {
    match register {
        // DBGDIDR, DBGDSCRint, DBGDRAR, DBGDSAR.
        (0, 0, 0) | (0, 1, 0) | (1, 0, 0) | (2, 0, 0) => is_read,
        // DBGDTRRXint, which is read, and DBGDTRTXint, which is written.
        (0, 5, 0) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    /// DBGDIDR of Cortex-A15: six breakpoints, two of which compare contexts, and four watchpoints.
    const A15: u32 = 0x3515_f021;
    const UNIT: DebugUnit = DebugUnit::of_host(A15);

    fn access(register: (u8, u8, u8), is_read: bool) -> Cp32Access {
        let (crn, crm, opc2) = register;
        Cp32Access {
            opc1: 0,
            crn,
            crm,
            opc2,
            rt: 0,
            is_read,
        }
    }

    fn read(regs: &mut DebugRegs, unit: DebugUnit, register: (u8, u8, u8)) -> u32 {
        match regs.access32(unit, access(register, true), true, 0) {
            Cp14Outcome::Read(value) => value,
            other => panic!("{other:?}"),
        }
    }

    fn write(regs: &mut DebugRegs, unit: DebugUnit, register: (u8, u8, u8), value: u32) {
        let outcome = regs.access32(unit, access(register, false), true, value);
        assert_eq!(outcome, Cp14Outcome::Written);
    }

    const DSCR_EXT: (u8, u8, u8) = (0, 2, 2);
    const DSCR_INT: (u8, u8, u8) = (0, 1, 0);
    const OSLAR: (u8, u8, u8) = (1, 0, 4);
    const OSLSR: (u8, u8, u8) = (1, 1, 4);
    const AUTHSTATUS: (u8, u8, u8) = (7, 14, 6);

    fn all() -> impl Iterator<Item = Cp32Access> {
        (0..1u32 << 15).map(|n| Cp32Access {
            opc1: (n & 7) as u8,
            crn: (n >> 3 & 15) as u8,
            crm: (n >> 7 & 15) as u8,
            opc2: (n >> 11 & 7) as u8,
            rt: 0,
            is_read: n >> 14 & 1 == 1,
        })
    }

    #[test]
    fn user_mode_reaches_what_the_manual_says() {
        let mut regs = DebugRegs::RESET;
        let mut reached = |privileged| {
            let mut found: std::vec::Vec<_> = all()
                .filter(|a| {
                    // The lock and UDCCdis would change the answers of those behind.
                    regs = DebugRegs::RESET;
                    regs.access32(UNIT, *a, privileged, 0) != Cp14Outcome::Undefined
                })
                .map(|a| (a.opc1, a.crn, a.crm, a.opc2, a.is_read))
                .collect();
            found.sort();
            found
        };
        let expected = [
            (0, 0, 0, 0, true),
            (0, 0, 1, 0, true),
            (0, 0, 5, 0, false),
            (0, 0, 5, 0, true),
            (0, 1, 0, 0, true),
            (0, 2, 0, 0, true),
        ];
        assert_eq!(reached(false), expected);
        let privileged = reached(true);
        assert_eq!(privileged.len(), 1 << 12);
        assert!(privileged.iter().all(|(opc1, ..)| *opc1 == 0));
    }

    #[test]
    fn udccdis_keeps_user_mode_out() {
        let mut regs = DebugRegs::RESET;
        write(&mut regs, UNIT, DSCR_EXT, dscr::UDCCDIS);
        for access in all() {
            let outcome = regs.access32(UNIT, access, false, 0);
            assert_eq!(outcome, Cp14Outcome::Undefined, "{access:?}");
        }
    }

    #[test]
    fn a_disabled_unit_is_the_smallest_with_v7_1_debug() {
        let unit = DebugUnit::DISABLED;
        let mut regs = DebugRegs::RESET;
        for access in all().filter(|a| !a.is_read) {
            regs.access32(unit, access, true, !0);
        }
        assert_eq!(regs, DebugRegs::RESET);
        assert_eq!(read(&mut regs, unit, (0, 0, 0)), 0x0105_d000);
        assert_eq!(read(&mut regs, unit, AUTHSTATUS), 0xaa);
        assert_eq!(read(&mut regs, unit, OSLSR), 8);
        // DBGDSCRint, DBGDSCRext, DBGPRSR, DBGOSDLR, DBGCLAIMSET, DBGDEVID.
        for register in [
            DSCR_INT,
            DSCR_EXT,
            (1, 5, 4),
            (1, 3, 4),
            (7, 8, 6),
            (7, 2, 7),
        ] {
            assert_eq!(read(&mut regs, unit, register), 0);
        }
        assert_eq!(DebugRegs::saved(unit).count(), 0);
        assert!(!unit.is_usable());
    }

    #[test]
    fn units_of_hosts() {
        assert!(UNIT.is_usable());
        assert_eq!((UNIT.breakpoints(), UNIT.watchpoints()), (6, 4));
        let mut regs = DebugRegs::RESET;
        assert_eq!(read(&mut regs, UNIT, (0, 0, 0)), 0x3515_d000);
        assert_eq!(read(&mut regs, UNIT, AUTHSTATUS), 0xaf);
        // v7 Debug, and more than are emulated.
        for didr in [0x3514_f021, 0x3615_f021, 0x4515_f021, 0] {
            assert_eq!(DebugUnit::of_host(didr), DebugUnit::DISABLED);
        }
    }

    #[test]
    fn registers_keep_what_is_written() {
        let mut regs = DebugRegs::RESET;
        for n in 0..16 {
            for (opc2, count, bits) in [
                (4, 6, !0),
                (5, 6, 0x00ff_e1e7),
                (6, 4, !3),
                (7, 4, 0x1f1f_ffff),
            ] {
                write(&mut regs, UNIT, (0, n, opc2), !0);
                let expected = if n < count { bits } else { 0 };
                assert_eq!(read(&mut regs, UNIT, (0, n, opc2)), expected, "{n} {opc2}");
            }
        }
        write(&mut regs, UNIT, DSCR_EXT, !0);
        assert_eq!(read(&mut regs, UNIT, DSCR_EXT), 0x903c);
        assert_eq!(read(&mut regs, UNIT, DSCR_INT), 0x903c);
        write(&mut regs, UNIT, DSCR_INT, 0);
        assert_eq!(read(&mut regs, UNIT, DSCR_INT), 0x903c);
        write(&mut regs, UNIT, (0, 7, 0), !0);
        assert_eq!(read(&mut regs, UNIT, (0, 7, 0)), 0xde00_0000);
        write(&mut regs, UNIT, (7, 8, 6), 0x105);
        write(&mut regs, UNIT, (7, 9, 6), 1);
        assert_eq!(read(&mut regs, UNIT, (7, 9, 6)), 4);
        assert_eq!(read(&mut regs, UNIT, (7, 8, 6)), 0xff);
    }

    #[test]
    fn the_os_lock_holds_debug_events_back() {
        let mut regs = DebugRegs::RESET;
        assert!(!regs.is_active());
        write(&mut regs, UNIT, (0, 3, 5), 0x1e7);
        assert!(!regs.is_active());
        write(&mut regs, UNIT, DSCR_EXT, dscr::MDBGEN);
        assert!(regs.is_active());
        write(&mut regs, UNIT, OSLAR, 0xc5ac_ce55);
        assert_eq!(read(&mut regs, UNIT, OSLSR), 0xa);
        assert!(!regs.is_active());
        write(&mut regs, UNIT, OSLAR, 0);
        assert_eq!(read(&mut regs, UNIT, OSLSR), 8);
        assert!(regs.is_active());
        write(&mut regs, UNIT, (0, 3, 5), 0);
        assert!(!regs.is_active());
        write(&mut regs, UNIT, (0, 7, 0), 1 << 28);
        assert!(regs.is_active());
    }

    #[test]
    fn moe_is_that_of_the_hardware() {
        let mut regs = DebugRegs::RESET;
        write(&mut regs, UNIT, DSCR_EXT, dscr::MDBGEN);
        regs.set_moe(!dscr::MOE | dscr::MOE_BKPT);
        assert_eq!(read(&mut regs, UNIT, DSCR_INT), dscr::MDBGEN | 0b1100);
        regs.set_moe(0);
        assert_eq!(read(&mut regs, UNIT, DSCR_INT), dscr::MDBGEN);
    }

    #[test]
    fn saved_registers_come_back() {
        let mut regs = DebugRegs::RESET;
        for (n, register) in DebugRegs::saved(UNIT).enumerate() {
            assert!(regs.set(UNIT, register, (n as u32 + 1).wrapping_mul(0x9e37_79b9)));
        }
        assert!(regs.set(UNIT, OSLSR, 0xa));
        let mut copy = DebugRegs::RESET;
        for register in DebugRegs::saved(UNIT) {
            assert!(copy.set(UNIT, register, regs.get(UNIT, register).unwrap()));
        }
        assert_eq!(regs, copy);
        assert_ne!(regs, DebugRegs::RESET);
        regs.reset();
        assert_eq!(regs, DebugRegs::RESET);
        regs.set_moe(dscr::MOE_BKPT);
        regs.reset();
        assert_eq!(regs, DebugRegs::RESET);
        assert_eq!(DebugRegs::saved(UNIT).count(), 4 + 2 * (6 + 4));
        assert!(!copy.set(UNIT, (0, 6, 4), 0) && copy.get(UNIT, (0, 0, 0)).is_none());
    }

    #[test]
    fn a_point_at_an_instruction() {
        assert_eq!(
            Point::at(0x8000),
            Point {
                value: 0x8000,
                control: 0x1e7
            }
        );
        assert_eq!(
            Point::at(0x8002),
            Point {
                value: 0x8000,
                control: 0x187
            }
        );
    }

    #[test]
    fn addresses_of_64_bits_are_read_only() {
        for n in 0..1u32 << 9 {
            let access = Cp64Access {
                opc1: (n & 15) as u8,
                crm: (n >> 4 & 15) as u8,
                rt: 0,
                rt2: 1,
                is_read: n >> 8 == 1,
            };
            let exists = access.opc1 == 0 && matches!(access.crm, 1 | 2) && access.is_read;
            let expected = if exists {
                Cp14Outcome::Read(0)
            } else {
                Cp14Outcome::Undefined
            };
            assert_eq!(access64(access), expected);
        }
    }

    /// Where a point matches (tables C3-5 and C3-13): HYP mode and the Secure state, and PL1 and
    /// user mode of the Non-secure state. User, System and Supervisor mode together count as both.
    fn matches(control: u32) -> (bool, bool, bool, bool) {
        let (pmc, hmc, ssc) = (control >> 1 & 3, control >> 13 & 1 != 0, control >> 14 & 3);
        let enabled = control & 1 != 0;
        let secure = enabled && matches!(ssc, 0 | 2);
        let non_secure = enabled && ssc != 2;
        let (pl1, user) = match pmc {
            0 if hmc => (false, false),
            0 => (true, true),
            _ => (pmc & 1 != 0, pmc & 2 != 0),
        };
        (
            hmc && non_secure,
            secure,
            pl1 && non_secure,
            user && non_secure,
        )
    }

    inputs! {
        /// In the guest a confined point matches where it did, and nowhere else.
        fn confined_points_match_in_the_guest_alone(value: u32, control: u32) {
            let point = Point { value, control };
            let confined = point.confined();
            let (_, _, pl1, user) = matches(control);
            prop_assert_eq!(matches(confined.control), (false, false, pl1, user));
            prop_assert_eq!(confined.value, value);
            if confined.control != 0 {
                let same = control & !0xe000;
                prop_assert_eq!(confined.control & !0xe000, same);
            }

            let breakpoint = point.confined_breakpoint();
            match control >> 20 & 15 {
                0..=2 | 4 | 5 => prop_assert_eq!(breakpoint, confined),
                3 if control & 1 != 0 => prop_assert_eq!(breakpoint.control & 0xe006, 6),
                _ => prop_assert_eq!(breakpoint.control & 1, 0),
            }
        }

        /// The registers that are saved are all there is: restored in another vCPU, they give the
        /// same answers from then on.
        fn saved_registers_are_all(
            host: u32,
            accesses in prop::collection::vec((any::<u16>(), any::<u32>()), 0..64),
            more in prop::collection::vec((any::<u16>(), any::<u32>()), 0..32),
        ) {
            let unit = DebugUnit::of_host(host & 0xff00_0000 | A15 & 0x00ff_ffff);
            let make = |regs: &mut DebugRegs, (encoding, value): (u16, u32)| {
                let n = (encoding >> 4 & 7) as u8;
                // Most encodings are of no register.
                let (crn, crm, opc2) = match encoding & 15 {
                    0 => DSCR_EXT,
                    1 => (0, 7, 0),
                    2 => OSLAR,
                    3 => OSLSR,
                    4 => (7, 8, 6),
                    5 => (7, 9, 6),
                    6..=9 => (0, n, 4 + (encoding & 15) as u8 - 6),
                    10 => DSCR_INT,
                    _ => (n, (encoding >> 7 & 15) as u8, (encoding & 7) as u8),
                };
                let access = Cp32Access {
                    opc1: u8::from(encoding >> 13 == 0),
                    crn,
                    crm,
                    opc2,
                    rt: 0,
                    is_read: encoding >> 11 & 1 == 1,
                };
                regs.access32(unit, access, encoding >> 12 & 1 == 0, value)
            };
            let mut regs = DebugRegs::RESET;
            for access in accesses {
                make(&mut regs, access);
            }
            let mut other = DebugRegs::RESET;
            for register in DebugRegs::saved(unit) {
                let value = regs.get(unit, register).unwrap();
                prop_assert!(other.set(unit, register, value));
                prop_assert_eq!(other.get(unit, register), Some(value));
            }
            for access in more {
                prop_assert_eq!(make(&mut regs, access), make(&mut other, access));
            }
            prop_assert_eq!(regs.points(), other.points());
            prop_assert_eq!((regs.vcr(), regs.dscr()), (other.vcr(), other.dscr()));
            prop_assert_eq!(regs.is_active(), other.is_active());
            regs.reset();
            prop_assert_eq!(regs, DebugRegs::RESET);
        }

        /// No sequence of accesses brings more into the registers than there is.
        fn any_accesses(accesses in prop::collection::vec((any::<u16>(), any::<u32>()), 0..64)) {
            let mut regs = DebugRegs::RESET;
            for (encoding, value) in accesses {
                let access = Cp32Access {
                    opc1: 0,
                    crn: (encoding & 15) as u8,
                    crm: (encoding >> 4 & 15) as u8,
                    opc2: (encoding >> 8 & 7) as u8,
                    rt: 0,
                    is_read: encoding >> 11 & 1 == 1,
                };
                let _ = regs.access32(UNIT, access, true, value);
                prop_assert_eq!(regs.dscr() & !0x903c, 0);
                prop_assert_eq!(regs.vcr() & !0xde00_0000, 0);
                let confined = regs.points().confined();
                for point in confined.breakpoints.iter().chain(&confined.watchpoints) {
                    let (hyp, secure, ..) = matches(point.control);
                    let is_linked_context = point.control >> 20 & 15 == 3;
                    prop_assert!(!hyp && (!secure || is_linked_context));
                }
            }
        }
    }
}
