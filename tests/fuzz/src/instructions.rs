// SPDX-License-Identifier: GPL-2.0

//! Random instructions for guests: any word, and those with which a guest reaches the host, such as
//! accesses to coprocessors, devices and page tables.

use crate::random::Random;

/// Addresses that a guest knows: its memory, its devices, and nothing.
pub(crate) const ADDRESSES: [u32; 14] = [
    0,
    0x1000,
    0x8000_0000,
    0x8000_1000,
    0x8020_0000,
    0x9000_0000,
    0x1000_0000,
    // The distributor and the CPU interface.
    0x3fff_0000,
    0x3fff_0100,
    0x3fff_0f00,
    0x3ffd_0000,
    0x3ffd_000c,
    0x3ffd_1000,
    0xffff_fffc,
];

/// Function numbers of PSCI, SMCCC and what KVM has beside them.
const FUNCTIONS: [u32; 20] = [
    0x8400_0000,
    0x8400_0001,
    0x8400_0002,
    0x8400_0003,
    0x8400_0004,
    0x8400_0005,
    0x8400_0006,
    0x8400_0008,
    0x8400_0009,
    0x8400_000a,
    0x8400_000e,
    0x8400_0012,
    0x8000_0000,
    0x8000_0001,
    0x8000_8000,
    0x8400_0050,
    0x8400_0053,
    0x8600_0000,
    0x8600_ff01,
    0x95c1_ba5e,
];

const ALWAYS: u32 = 0xe000_0000;

/// `movw rd, #low; movt rd, #high`.
fn load(rd: u32, value: u32) -> [u32; 2] {
    let half = |half: u32| ((half & 0xf000) << 4) | (rd << 12) | (half & 0xfff);
    [
        0xe300_0000 | half(value & 0xffff),
        0xe340_0000 | half(value >> 16),
    ]
}

/// A value that means something to a register or a call.
fn value(random: &mut Random) -> u32 {
    match random.below(5) {
        0 => random.one(&FUNCTIONS),
        1 => random.number() as u32,
        2 => random.word(),
        _ => random
            .one(&ADDRESSES)
            .wrapping_add(random.below(64) as u32 * 4),
    }
}

/// The emulator has an assertion that fails when a guest reads two words of a coprocessor into its
/// program counter (`gen_pc_plus_diff`). That is MRRC, in either instruction set, and a word can be
/// either half of one.
fn spare_emulator(word: u32) -> u32 {
    let mut word = word;
    if (word >> 16) & 0x0ff0 == 0x0c50 {
        word &= !0x0040_0000;
    }
    // This half is the first of an instruction in Thumb state only.
    if word & 0xeff0 == 0xec50 {
        word &= !0x40;
    }
    word
}

/// Registers and operations of CP15 that these cores have: opc1, CRn, CRm, opc2.
const CP15: [(u32, u32, u32, u32); 64] = [
    (0, 0, 0, 0),
    (0, 0, 0, 5),
    (0, 0, 1, 2),
    (0, 0, 2, 4),
    (1, 0, 0, 0),
    (1, 0, 0, 1),
    (2, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 1, 0, 1),
    (0, 1, 0, 2),
    (0, 1, 1, 0),
    (0, 1, 1, 2),
    (4, 1, 1, 0),
    (0, 2, 0, 0),
    (0, 2, 0, 1),
    (0, 2, 0, 2),
    (0, 3, 0, 0),
    (0, 5, 0, 0),
    (0, 5, 0, 1),
    (0, 5, 1, 0),
    (0, 6, 0, 0),
    (0, 6, 0, 2),
    (0, 7, 1, 0),
    (0, 7, 1, 6),
    (0, 7, 4, 0),
    (0, 7, 5, 0),
    (0, 7, 5, 1),
    (0, 7, 5, 6),
    (0, 7, 6, 1),
    (0, 7, 6, 2),
    (0, 7, 8, 0),
    (0, 7, 8, 4),
    (0, 7, 10, 1),
    (0, 7, 10, 2),
    (0, 7, 11, 1),
    (0, 7, 14, 1),
    (0, 7, 14, 2),
    (0, 8, 3, 0),
    (0, 8, 3, 1),
    (0, 8, 7, 0),
    (0, 8, 7, 2),
    (4, 8, 7, 4),
    (1, 9, 0, 2),
    (1, 9, 0, 3),
    (0, 9, 12, 0),
    (0, 9, 12, 1),
    (0, 9, 12, 3),
    (0, 9, 12, 5),
    (0, 9, 13, 0),
    (0, 9, 13, 1),
    (0, 9, 14, 0),
    (0, 10, 2, 0),
    (0, 10, 3, 0),
    (0, 12, 0, 0),
    (0, 13, 0, 0),
    (0, 13, 0, 1),
    (0, 13, 0, 4),
    (0, 14, 0, 0),
    (0, 14, 1, 0),
    (0, 14, 2, 1),
    (0, 14, 3, 0),
    (0, 14, 3, 1),
    (4, 15, 0, 0),
    (1, 15, 0, 0),
];

/// An access to a coprocessor.
fn coprocessor(random: &mut Random) -> u32 {
    let rt = random.below(13) as u32;
    let read = random.below(2) as u32;
    let (number, (opc1, crn, crm, opc2)) = match random.below(10) {
        0..6 => (15, random.one(&CP15)),
        6 | 7 => {
            // The debug unit, and ThumbEE's registers.
            let (crm, opc2) = (random.below(16) as u32, random.one(&[0, 0, 2, 4, 5, 6]));
            (
                14,
                (
                    random.one(&[0, 0, 0, 6]),
                    random.one(&[0, 0, 1, 7]),
                    crm,
                    opc2,
                ),
            )
        }
        _ => {
            let fields = random.word();
            let number = match random.below(4) {
                0 => fields >> 28,
                _ => random.one(&[10, 11, 14, 15, 15]),
            };
            let all = (
                fields & 7,
                (fields >> 4) & 15,
                (fields >> 8) & 15,
                (fields >> 12) & 7,
            );
            (number, all)
        }
    };
    match random.below(10) {
        // MCRR and MRRC, whose registers are no program counter.
        0 => {
            let rt2 = random.below(13) as u32;
            let (opc1, crm) = match random.below(3) {
                // TTBR0, TTBR1, PAR, the timers.
                0 => random.one(&[(0, 2), (1, 2), (0, 7), (0, 14), (1, 14), (2, 14), (3, 14)]),
                // ICC_SGI1R of a GICv3, which is not there.
                1 => random.one(&[(0, 12), (1, 12)]),
                _ => (random.below(16) as u32, crm),
            };
            let fields = (rt2 << 16) | (rt << 12) | (number << 8) | (opc1 << 4) | crm;
            0xec40_0000 | (read << 20) | fields
        }
        // LDC and STC, of which a debug unit has one each.
        1 => {
            let (number, crd) = random.one(&[(14, 5), (14, 5), (number, crn)]);
            0xed80_0000 | (read << 20) | (rt << 16) | (crd << 12) | (number << 8) | (crm & 3)
        }
        _ => {
            let fields =
                (opc1 << 21) | (crn << 16) | (rt << 12) | (number << 8) | (opc2 << 5) | crm;
            0xee00_0010 | (read << 20) | fields
        }
    }
}

/// A load or store of any form.
fn access(random: &mut Random) -> u32 {
    let fields = random.word();
    let registers = fields & 0x000f_f000;
    match random.below(8) {
        // Words and bytes, with an offset.
        0..3 => 0xe400_0000 | (fields & 0x0370_0000) | registers | (fields & 0x3f),
        // Half words, signed ones and pairs.
        3 => 0xe040_0090 | (fields & 0x01b0_0060) | registers | (fields & 0xf),
        // Exclusive ones.
        4 => 0xe180_0f90 | (fields & 0x0070_0000) | registers | (fields & 0xf),
        // Several at once, also of another mode.
        5 => 0xe800_0000 | (fields & 0x01ff_0000) | (fields & 0x7fff),
        // VFP and NEON.
        6 => 0xed00_0a00 | (fields & 0x00bf_f100) | (fields & 0xff),
        // By a register.
        _ => 0xe600_0000 | (fields & 0x01f0_0000) | registers | (fields & 0xfef),
    }
}

/// Instructions that change the mode, or leave it.
fn system(random: &mut Random) -> u32 {
    let fields = random.word();
    let mode = random.one(&[0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x1a, 0x1b, 0x1f]);
    match random.below(10) {
        // CPS with a mode.
        0 => 0xf102_0000 | (fields & 0x0001_01c0) | mode,
        // CPSIE and CPSID.
        1 => 0xf108_0000 | (fields & 0x0004_01c0),
        // MSR and MRS.
        2 => 0xe120_f000 | (fields & 0x004f_000f),
        3 => 0xe10f_0000 | (fields & 0x0040_f000),
        // SRS and RFE.
        4 => 0xf84d_0500 | (fields & 0x01a0_0000) | mode,
        5 => 0xf810_0a00 | (fields & 0x01af_0000),
        // Banked registers.
        6 => 0xe100_0200 | (fields & 0x006f_f10f),
        // SETEND, ERET, BX.
        7 => 0xf101_0000 | (fields & 0x200),
        8 => 0xe160_006e,
        _ => 0xe12f_ff10 | (fields & 0xf),
    }
}

/// Calls and hints.
fn call(random: &mut Random) -> u32 {
    random.one(&[
        // HVC, SMC, SVC, BKPT.
        0xe140_0070,
        0xe140_0070,
        0xe140_0070,
        0xe160_0070,
        0xef00_0000,
        0xe120_0070,
        // WFI, under a condition as it may sleep for long; WFE, SEV, YIELD.
        0x5320_f003,
        0xe320_f002,
        0xe320_f004,
        0xe320_f001,
        // DSB, DMB, ISB, CLREX.
        0xf57f_f04f,
        0xf57f_f05f,
        0xf57f_f06f,
        0xf57f_f01f,
    ])
}

/// Appends some random instructions.
pub(crate) fn append(words: &mut Vec<u32>, random: &mut Random) {
    let word = match random.below(100) {
        0..20 => {
            words.extend(load(random.below(13) as u32, value(random)));
            return;
        }
        20..26 => {
            // A call, with its number and arguments.
            words.extend(load(0, random.one(&FUNCTIONS)));
            for register in 1..4 {
                if random.per_mille(300) {
                    words.extend(load(register, value(random)));
                }
            }
            words.push(random.one(&[0xe140_0070, 0xe140_0070, 0xe160_0070]));
            return;
        }
        26..40 => coprocessor(random),
        40..58 => access(random),
        58..66 => system(random),
        66..78 => call(random),
        // Back and forth.
        78..82 => {
            let condition = random.below(15) as u32;
            let distance = (random.below(64) as u32).wrapping_sub(40);
            (condition << 28) | 0x0a00_0000 | (distance & 0x00ff_ffff)
        }
        // Most of these are computations.
        82..90 => ALWAYS | (random.word() & 0x03ff_7fff),
        90..95 => random.word() | ALWAYS,
        _ => random.word(),
    };
    words.push(match (word >> 20) & 0xff {
        // Registers that are made here are no program counter.
        0xc5 if word >> 28 == 0xe && (word >> 12) & 15 < 13 && (word >> 16) & 15 < 13 => {
            word & 0xffff_0000 | spare_emulator(word & 0xffff)
        }
        _ => spare_emulator(word),
    });
}

/// So many bytes of random instructions, that end where they begin.
pub(crate) fn stream(size: usize, random: &mut Random) -> Vec<u8> {
    let mut words = Vec::with_capacity(size / 4 + 2);
    while words.len() < size / 4 - 1 {
        append(&mut words, random);
    }
    words.truncate(size / 4 - 1);
    words.push(0xea00_0000 | ((words.len() as u32 + 2).wrapping_neg() & 0x00ff_ffff));
    // In Thumb state an MRRC goes on in the next word, which names the first register.
    for n in 1..words.len() {
        if (words[n - 1] >> 16) & 0x0ff0 == 0x0c50 {
            words[n] &= !0x8000;
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Vectors that let a guest go on: behind the instruction that could not be, or, from where there is no
/// code, at an address.
pub(crate) fn vectors(code: u32) -> Vec<u8> {
    // movs pc, lr and subs pc, lr, #4.
    let (next, behind) = (0xe1b0_f00e, 0xe25e_f004);
    let branch =
        |from: u32, to: u32| 0xea00_0000 | ((to.wrapping_sub(from + 8) >> 2) & 0x00ff_ffff);
    let mut words = vec![
        branch(0, 0x20),
        next,
        next,
        branch(0xc, 0x20),
        behind,
        next,
        behind,
        behind,
    ];
    // Back to the code, in its mode.
    words.extend(load(14, code));
    words.push(next);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Entries of a first-level table that map a guest's memory and its devices by sections, as pairs of
/// place and entry.
pub(crate) fn sections() -> [(usize, u32); 5] {
    // Of domain 0, for everybody; memory is write-back, devices are strongly ordered.
    [
        (0, 0x8000_0c0e),
        (0x100, 0x1000_0c02),
        (0x3ff, 0x3ff0_0c02),
        (0x800, 0x8000_0c0e),
        (0x900, 0x9000_0c0e),
    ]
}

/// A descriptor of a translation table, short or long, that leads to a guest's memory or devices.
pub(crate) fn descriptor(random: &mut Random) -> u32 {
    let address = random.one(&ADDRESSES) & !0xfff;
    match random.below(4) {
        // A section, a page table, and anything.
        0 => (address & 0xfff0_0000) | 0x402 | (random.word() & 0x1_fdec),
        1 => address | 1,
        2 => address | (random.word() & 0xfff),
        _ => spare_emulator(random.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No word, and no half of one, reads a coprocessor into the program counter.
    #[test]
    fn emulator_is_spared() {
        let mut random = Random::of(&[1]);
        let mut reads = 0;
        for _ in 0..1000 {
            for word in stream(256, &mut random).chunks_exact(4) {
                let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                let is_read = word & 0x0ff0_0000 == 0x0c50_0000;
                reads += u32::from(is_read);
                assert!(
                    !is_read || (word >> 12) & 15 < 13 && (word >> 16) & 15 < 13,
                    "{word:#x}"
                );
                assert!(word & 0xeff0 != 0xec50, "{word:#x}");
            }
        }
        assert!(reads > 100, "{reads}");
    }
}
