// SPDX-License-Identifier: GPL-2.0

//! The identification registers. A guest finds the values of its core, as the host's CPUs have
//! them.

/// An identification register (Arm ARM B3.17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdReg {
    /// MIDR: the core.
    Midr,
    /// CTR: sizes of cache lines.
    Ctr,
    /// TCMTR: tightly coupled memory.
    Tcmtr,
    /// TLBTR: the TLBs.
    Tlbtr,
    /// REVIDR: the core's revision.
    Revidr,
    /// ID_PFR0: instruction sets.
    Pfr0,
    /// ID_PFR1: the programmers' model.
    Pfr1,
    /// ID_DFR0: debug.
    Dfr0,
    /// ID_AFR0: what the implementer defines.
    Afr0,
    /// ID_MMFR0: memory.
    Mmfr0,
    /// ID_MMFR1: memory.
    Mmfr1,
    /// ID_MMFR2: memory.
    Mmfr2,
    /// ID_MMFR3: memory.
    Mmfr3,
    /// ID_ISAR0: instructions.
    Isar0,
    /// ID_ISAR1: instructions.
    Isar1,
    /// ID_ISAR2: instructions.
    Isar2,
    /// ID_ISAR3: instructions.
    Isar3,
    /// ID_ISAR4: instructions.
    Isar4,
    /// ID_ISAR5: instructions.
    Isar5,
    /// CLIDR: the levels of cache.
    Clidr,
    /// AIDR: what the implementer defines.
    Aidr,
}

impl IdReg {
    /// All of them, in their order.
    pub const ALL: [Self; 21] = [
        Self::Midr,
        Self::Ctr,
        Self::Tcmtr,
        Self::Tlbtr,
        Self::Revidr,
        Self::Pfr0,
        Self::Pfr1,
        Self::Dfr0,
        Self::Afr0,
        Self::Mmfr0,
        Self::Mmfr1,
        Self::Mmfr2,
        Self::Mmfr3,
        Self::Isar0,
        Self::Isar1,
        Self::Isar2,
        Self::Isar3,
        Self::Isar4,
        Self::Isar5,
        Self::Clidr,
        Self::Aidr,
    ];
}

/// The number of values of CSSELR: seven levels, data or instructions.
pub const CSSELR_VALUES: u32 = 14;

/// Whether CSSELR with this value selects a cache, given CLIDR (B4.1.20).
pub const fn has_cache(clidr: u32, csselr: u32) -> bool {
    let level = csselr >> 1;
    if level >= 7 {
        return false;
    }
    let kind = clidr >> (3 * level) & 7;
    if csselr & 1 == 1 {
        // Instructions: alone, or beside one for data.
        kind == 1 || kind == 3
    } else {
        // Data, alone or beside one for instructions, or both in one.
        kind >= 2 && kind <= 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_list_of_registers_has_each_at_its_place() {
        for (place, reg) in IdReg::ALL.into_iter().enumerate() {
            assert_eq!(reg as usize, place);
        }
        assert_eq!(IdReg::Aidr as usize + 1, IdReg::ALL.len());
    }

    #[test]
    fn cortex_a15_has_two_first_level_caches_and_a_unified_second() {
        // Of DDI 0438, table 4-1.
        let clidr = 0x0a20_0023;
        let found: Vec<u32> = (0..64).filter(|&csselr| has_cache(clidr, csselr)).collect();
        assert_eq!(found, [0, 1, 2]);
        assert!((CSSELR_VALUES..256).all(|csselr| !has_cache(u32::MAX, csselr)));
    }

    #[test]
    fn kinds_of_caches() {
        for (kind, data, instructions) in [
            (0, false, false),
            (1, false, true),
            (2, true, false),
            (3, true, true),
            (4, true, false),
            (5, false, false),
            (6, false, false),
            (7, false, false),
        ] {
            for level in 0..7 {
                let clidr = kind << (3 * level);
                assert_eq!(has_cache(clidr, level << 1), data);
                assert_eq!(has_cache(clidr, level << 1 | 1), instructions);
            }
        }
    }
}
