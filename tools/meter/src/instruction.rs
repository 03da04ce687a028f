// SPDX-License-Identifier: GPL-2.0

//! Instructions that count as events, by their encoding (Arm ARM, ARM DDI 0406C).

use crate::Event;

/// The hint that asks for counts, and the one that ends the count. The architecture has not allocated them, and
/// they do nothing.
const ASK: u32 = 0x51;
const END: u32 = 0x52;

/// What an instruction counts as, beside one more instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Other,
    /// An event.
    Event(Event),
    /// A program's question for the counts.
    Question,
    /// A program does not ask again for a while.
    End,
}

/// The two instruction sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// A32.
    Arm,
    /// T32.
    Thumb,
}

/// Takes the field of a word.
const fn field(word: u32, low: u32, bits: u32) -> u32 {
    (word >> low) & ((1 << bits) - 1)
}

/// The instruction set of a block, by its instructions: the address and the first four bytes of each, and
/// its length. A Thumb block of which each instruction has four bytes at addresses that are multiples of
/// four looks like an Arm block, but for the first halfword of each: it is one of a 32-bit instruction.
pub fn set(mut block: impl Iterator<Item = (u64, u32, usize)>) -> Set {
    let mut thumb = true;
    let certain = block.any(|(address, word, len)| {
        // A condition of "always", or an unconditional instruction: most of Arm code is.
        thumb &= word & 0xffff >= 0xe800 && field(word, 28, 4) < 0xe;
        len == 2 || address % 4 != 0
    });
    match certain || thumb {
        true => Set::Thumb,
        false => Set::Arm,
    }
}

/// The kind of an instruction of so many bytes, which are in the word as they are in memory.
pub fn kind(set: Set, word: u32, len: usize) -> Kind {
    match (set, len) {
        (Set::Arm, 4) => arm(word),
        // The first halfword is the upper half in the manual's figures.
        (Set::Thumb, 4) => thumb(word.rotate_left(16)),
        _ => Kind::Other,
    }
}

fn barrier(word: u32) -> Kind {
    match field(word, 4, 4) {
        4 => Kind::Event(Event::Dsb),
        5 => Kind::Event(Event::Dmb),
        6 => Kind::Event(Event::Isb),
        _ => Kind::Other,
    }
}

/// MCR or MRC of CP15: the fields are in the same places in both sets.
fn cp15(word: u32) -> Kind {
    let is_read = field(word, 20, 1) == 1;
    let (opc1, crn, crm, opc2) = (
        field(word, 21, 3),
        field(word, 16, 4),
        field(word, 0, 4),
        field(word, 5, 3),
    );
    let event = match (crn, opc1, crm, opc2) {
        _ if is_read => Event::Cp15,
        (8, ..) => Event::Tlb,
        (7, 0, 1, 0) | (7, 0, 5, 0 | 1) => Event::InstructionCache,
        (7, 0, 1, 6) | (7, 0, 5, 6 | 7) => Event::BranchPredictor,
        (7, 0, 5, 4) => Event::Isb,
        (7, 0, 10, 4) => Event::Dsb,
        (7, 0, 10, 5) => Event::Dmb,
        (7, 0, 6 | 10 | 11 | 14, 1 | 2) => Event::DataCache,
        _ => Event::Cp15,
    };
    Kind::Event(event)
}

fn arm(word: u32) -> Kind {
    if word & 0xffff_ff80 == 0xf57f_f000 {
        return barrier(word);
    }
    if field(word, 28, 4) == 0xf {
        return Kind::Other;
    }
    let always = word & 0x0fff_ffff;
    if always == 0x0320_f000 | ASK {
        Kind::Question
    } else if always == 0x0320_f000 | END {
        Kind::End
    } else if always == 0x0160_006e {
        Kind::Event(Event::HypReturn)
    } else if always & 0x0f80_0ff0 == 0x0180_0f90 {
        // LDREX, STREX, and those of bytes, halfwords and doublewords.
        Kind::Event(Event::Exclusive)
    } else if always & 0x0f00_0f10 == 0x0e00_0f10 {
        cp15(word)
    } else if always & 0x0fe0_0f00 == 0x0c40_0f00 {
        // MCRR, MRRC.
        Kind::Event(Event::Cp15)
    } else {
        Kind::Other
    }
}

fn thumb(word: u32) -> Kind {
    if word & 0xffff_ff80 == 0xf3bf_8f00 {
        barrier(word)
    } else if word == 0xf3af_8000 | ASK {
        Kind::Question
    } else if word == 0xf3af_8000 | END {
        Kind::End
    } else if word == 0xf3de_8f00 {
        Kind::Event(Event::HypReturn)
    } else if word & 0xffe0_0000 == 0xe840_0000 || word & 0xffe0_00c0 == 0xe8c0_0040 {
        Kind::Event(Event::Exclusive)
    } else if word & 0xff00_0f10 == 0xee00_0f10 {
        cp15(word)
    } else if word & 0xffe0_0f00 == 0xec40_0f00 {
        Kind::Event(Event::Cp15)
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as the GNU assembler makes them; those of Thumb as it prints them, first halfword first.
    const CASES: [(&str, u32, u32, Kind); 26] = [
        ("dmb ish", 0xf57f_f05b, 0xf3bf_8f5b, Kind::Event(Event::Dmb)),
        ("dsb sy", 0xf57f_f04f, 0xf3bf_8f4f, Kind::Event(Event::Dsb)),
        ("isb sy", 0xf57f_f06f, 0xf3bf_8f6f, Kind::Event(Event::Isb)),
        ("clrex", 0xf57f_f01f, 0xf3bf_8f2f, Kind::Other),
        ("CP15DMB", 0xee07_0fba, 0xee07_0fba, Kind::Event(Event::Dmb)),
        ("CP15DSB", 0xee07_3f9a, 0xee07_3f9a, Kind::Event(Event::Dsb)),
        ("CP15ISB", 0xee07_0f95, 0xee07_0f95, Kind::Event(Event::Isb)),
        (
            "ICIALLU",
            0xee07_0f15,
            0xee07_0f15,
            Kind::Event(Event::InstructionCache),
        ),
        (
            "ICIALLUIS",
            0xee07_0f11,
            0xee07_0f11,
            Kind::Event(Event::InstructionCache),
        ),
        (
            "BPIALL",
            0xee07_0fd5,
            0xee07_0fd5,
            Kind::Event(Event::BranchPredictor),
        ),
        (
            "DCCMVAC",
            0xee07_0f3a,
            0xee07_0f3a,
            Kind::Event(Event::DataCache),
        ),
        (
            "DCCMVAU",
            0xee07_0f3b,
            0xee07_0f3b,
            Kind::Event(Event::DataCache),
        ),
        ("TLBIALL", 0xee08_0f17, 0xee08_0f17, Kind::Event(Event::Tlb)),
        (
            "TLBIALLHIS",
            0xee88_0f13,
            0xee88_0f13,
            Kind::Event(Event::Tlb),
        ),
        (
            "mrc TPIDRPRW",
            0xee1d_3f90,
            0xee1d_3f90,
            Kind::Event(Event::Cp15),
        ),
        (
            "mcr CNTV_CTL",
            0xee0e_3f33,
            0xee0e_3f33,
            Kind::Event(Event::Cp15),
        ),
        (
            "mrrc CNTVCT",
            0xec51_0f1e,
            0xec51_0f1e,
            Kind::Event(Event::Cp15),
        ),
        (
            "ldrex r3, [r2]",
            0xe192_3f9f,
            0xe852_3f00,
            Kind::Event(Event::Exclusive),
        ),
        (
            "strex r1, r3, [r2]",
            0xe182_1f93,
            0xe842_3100,
            Kind::Event(Event::Exclusive),
        ),
        (
            "ldrexd r0, r1, [r2]",
            0xe1b2_0f9f,
            0xe8d2_017f,
            Kind::Event(Event::Exclusive),
        ),
        (
            "eret",
            0xe160_006e,
            0xf3de_8f00,
            Kind::Event(Event::HypReturn),
        ),
        ("hint #0x51", 0xe320_f051, 0xf3af_8051, Kind::Question),
        ("hint #0x52", 0xe320_f052, 0xf3af_8052, Kind::End),
        ("mcr p14", 0xee07_0e10, 0xee07_0e10, Kind::Other),
        ("ldr r3, [r2]", 0xe592_3000, 0xf8d2_3000, Kind::Other),
        ("bl", 0xeb00_0000, 0xf000_f800, Kind::Other),
    ];

    #[test]
    fn both_sets() {
        for (name, arm, thumb, expected) in CASES {
            assert_eq!(kind(Set::Arm, arm, 4), expected, "{name} in Arm state");
            let bytes = thumb.rotate_left(16);
            assert_eq!(
                kind(Set::Thumb, bytes, 4),
                expected,
                "{name} in Thumb state"
            );
        }
    }

    #[test]
    fn short_instructions_are_no_events() {
        assert_eq!(kind(Set::Thumb, 0xbf30, 2), Kind::Other);
    }

    #[test]
    fn sets_are_told_apart() {
        let block = |words: &[(u64, u32, usize)]| set(words.iter().copied());
        // mrc; ldrex: the upper half of an Arm instruction has the condition.
        assert_eq!(block(&[(0x1000, 0xee1d_3f90, 4)]), Set::Arm);
        assert_eq!(block(&[(0x1000, 0xf57f_f05b, 4)]), Set::Arm);
        // The same as Thumb code lies in memory.
        assert_eq!(block(&[(0x1000, 0x3f90_ee1d, 4)]), Set::Thumb);
        assert_eq!(block(&[(0x1000, 0x8f5b_f3bf, 4)]), Set::Thumb);
        assert_eq!(block(&[(0x1002, 0xf000_f800, 4)]), Set::Thumb);
        assert_eq!(
            block(&[(0x1000, 0xf800_f000, 4), (0x1004, 0x4770, 2)]),
            Set::Thumb
        );
    }
}
