// SPDX-License-Identifier: GPL-2.0

//! CP14 as a guest sees it where its accesses trap: the debug registers (Arm ARM chapter C11).
//!
//! Breakpoints and the debugger's channel are the host's. But ID_DFR0, which guests read from the
//! hardware, says that there is v7.1 Debug. So a guest finds the smallest unit that has it, as on
//! a board whose external debug enable is low: DBGAUTHSTATUS says that invasive debug is disabled,
//! and DBGDSCR.MDBGen stays clear, from which Linux sees that it cannot have breakpoints.

use armv7::hsr::{
    Cp32Access,
    Cp64Access, //
};

/// The result of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cp14Outcome {
    /// A load: the value.
    Read(u32),
    /// A store: it does nothing.
    Written,
    /// The instruction is undefined.
    Undefined,
}

/// DBGDIDR (C11.11.15): version v7.1 Debug (5) with two breakpoints (BRPs is one less), one of which
/// compares contexts (CTX_CMPs, likewise), and one watchpoint (WRPs, likewise). DEVID_imp, nSUHD_imp
/// and SE_imp are set as on all cores with v7.1 Debug.
pub const DBGDIDR: u32 = BRPS | VERSION | DEVID_IMP | NSUHD_IMP | SE_IMP;
const BRPS: u32 = 1 << 24;
const VERSION: u32 = 5 << 16;
const DEVID_IMP: u32 = 1 << 15;
const NSUHD_IMP: u32 = 1 << 14;
const SE_IMP: u32 = 1 << 12;

/// DBGOSLSR: there is an OS Lock (OSLM, bits 3 and 0, is 0b10), and it is not locked.
const DBGOSLSR: u32 = 1 << 3;

/// DBGAUTHSTATUS: all kinds of debug are implemented, and disabled (0b10 in each of four fields).
const DBGAUTHSTATUS: u32 = 0b1010_1010;

/// Carries out a trapped MCR or MRC. `privileged` says that it comes from PL1.
pub fn access32(access: Cp32Access, privileged: bool) -> Cp14Outcome {
    let register = (access.crn, access.crm, access.opc2);
    // 1 is trace, which ID_DFR0 says that CP14 does not have; 6 and 7 do not trap.
    if access.opc1 != 0 || !privileged && !is_for_user(register, access.is_read) {
        return Cp14Outcome::Undefined;
    }
    if !access.is_read {
        return Cp14Outcome::Written;
    }
    Cp14Outcome::Read(match register {
        (0, 0, 0) => DBGDIDR,
        (1, 1, 4) => DBGOSLSR,
        (7, 14, 6) => DBGAUTHSTATUS,
        // DBGDRAR and DBGDSAR among them: nothing is mapped in memory. Nobody sends anything, so
        // the channel is empty.
        _ => 0,
    })
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
        let reached = all().filter(|a| access32(*a, false) != Cp14Outcome::Undefined);
        let mut found: std::vec::Vec<_> = reached
            .map(|a| (a.opc1, a.crn, a.crm, a.opc2, a.is_read))
            .collect();
        found.sort();
        let expected = [
            (0, 0, 0, 0, true),
            (0, 0, 1, 0, true),
            (0, 0, 5, 0, false),
            (0, 0, 5, 0, true),
            (0, 1, 0, 0, true),
            (0, 2, 0, 0, true),
        ];
        assert_eq!(found, expected);
        for access in all().filter(|a| a.opc1 == 0) {
            assert_ne!(access32(access, true), Cp14Outcome::Undefined);
        }
        for access in all().filter(|a| a.opc1 != 0) {
            assert_eq!(access32(access, true), Cp14Outcome::Undefined);
        }
    }

    #[test]
    fn the_unit_is_the_smallest_with_v7_1_debug() {
        let read = |crn, crm, opc2| {
            let (opc1, rt, is_read) = (0, 0, true);
            let access = Cp32Access {
                opc1,
                crn,
                crm,
                opc2,
                rt,
                is_read,
            };
            access32(access, true)
        };
        assert_eq!(read(0, 0, 0), Cp14Outcome::Read(0x0105_d000));
        assert_eq!(read(7, 14, 6), Cp14Outcome::Read(0xaa));
        // DBGDSCRint, DBGDSCRext, DBGPRSR, DBGOSDLR, DBGDEVID.
        for (crn, crm, opc2) in [(0, 1, 0), (0, 2, 2), (1, 5, 4), (1, 3, 4), (7, 2, 7)] {
            assert_eq!(read(crn, crm, opc2), Cp14Outcome::Read(0));
        }
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
}
