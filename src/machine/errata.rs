// SPDX-License-Identifier: GPL-2.0

//! Errata of cores, and the workarounds of software.

/// The work that has to follow an invalidation of TLB entries on all CPUs (Cortex-A15 erratum
/// 798181).
///
/// After TLB maintenance that is broadcast, and a DSB, another CPU may still finish an access by
/// the old translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbRepair {
    /// The core does not have the erratum, or has a fix.
    None,
    /// A second invalidation, of any address, and a DSB: the core has the first fix.
    Repeat,
    /// The same, and then a DMB on each CPU that may use the entries.
    RepeatAndInterrupt,
}

impl TlbRepair {
    /// Works it out from MIDR and REVIDR. REVIDR has a bit for each fix that was made to a revision
    /// after its release.
    pub const fn of(midr: u32, revidr: u32) -> Self {
        /// Implementer, architecture and part number of Cortex-A15 (B4.1.105).
        const CORTEX_A15: u32 = 0x410f_c0f0;
        const FIRST_FIX: u32 = 1 << 4;
        const SECOND_FIX: u32 = 1 << 9;
        if midr & 0xff0f_fff0 != CORTEX_A15 {
            return Self::None;
        }
        let (first, second) = (revidr & FIRST_FIX != 0, revidr & SECOND_FIX != 0);
        // Variant and revision: rXpY.
        match (midr >> 20 & 0xf, midr & 0xf) {
            (0 | 1, _) | (2, 0 | 1) => Self::RepeatAndInterrupt,
            (2, 2 | 3) if first => Self::Repeat,
            (2, 2 | 3) => Self::RepeatAndInterrupt,
            (2, _) | (3, 0..=2) => match (first, second) {
                // If it has both, the kernel does the same.
                (true, _) => Self::Repeat,
                (false, true) => Self::None,
                (false, false) => Self::RepeatAndInterrupt,
            },
            // This revision has the first fix from the beginning.
            (3, _) if !second => Self::Repeat,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rXpY of Cortex-A15.
    const fn a15(variant: u32, revision: u32) -> u32 {
        0x410f_c0f0 | variant << 20 | revision
    }

    const FIRST: u32 = 0x10;
    const SECOND: u32 = 0x200;

    /// Each revision, with no fix, the first, the second, and both.
    #[test]
    fn revisions_and_fixes() {
        use TlbRepair::{None as No, Repeat as Half, RepeatAndInterrupt as Full};
        for (variant, revision, expected) in [
            (0, 0, [Full, Full, Full, Full]),
            (1, 0, [Full, Full, Full, Full]),
            (2, 0, [Full, Full, Full, Full]),
            (2, 1, [Full, Full, Full, Full]),
            (2, 2, [Full, Half, Full, Half]),
            (2, 3, [Full, Half, Full, Half]),
            (2, 4, [Full, Half, No, Half]),
            (3, 0, [Full, Half, No, Half]),
            (3, 1, [Full, Half, No, Half]),
            (3, 2, [Full, Half, No, Half]),
            (3, 3, [Half, Half, No, No]),
            (4, 0, [No, No, No, No]),
        ] {
            let repairs = [0, FIRST, SECOND, FIRST | SECOND]
                .map(|revidr| TlbRepair::of(a15(variant, revision), revidr));
            assert_eq!(repairs, expected, "r{variant}p{revision}");
        }
        // Other bits of REVIDR mean other errata.
        assert_eq!(TlbRepair::of(a15(2, 1), !(FIRST | SECOND)), Full);
        assert_eq!(TlbRepair::of(a15(3, 2), !(FIRST | SECOND)), Full);
    }

    /// Cortex-A7, A12 and A17, and other implementers' cores.
    #[test]
    fn other_cores() {
        for midr in [
            0x410f_c075,
            0x410f_c0d0,
            0x411f_c0e2,
            0x412f_c090,
            0x510f_c0f0,
        ] {
            assert_eq!(TlbRepair::of(midr, 0), TlbRepair::None);
        }
    }
}
