// SPDX-License-Identifier: GPL-2.0

//! The list of loads and stores in `Documentation/api-memory.md` is complete.
//!
//! Each instruction that accesses memory, as the disassembler capstone says, either is decoded, or
//! belongs to a family that the page names. [`FAMILIES`] has these. Those of the decoded kinds that
//! are refused are UNPREDICTABLE; `agreement.rs` checks them one by one.

use armv7::insn::{decode, Instruction};
use decoder::{Disassembler, Random};

const PAGE: &str = include_str!("../../../Documentation/api-memory.md");

/// The beginnings of the mnemonics of a family, and the words for it on the page.
const FAMILIES: [(&[&str], &[&str]); 6] = [
    // The oldest names of VLDM and VSTM.
    (&["v", "fldm", "fstm"], &["VFP and NEON"]),
    (&["rfe", "srs"], &["`RFE`", "`SRS`"]),
    (&["pld", "pli"], &["`PLD`", "`PLDW`", "`PLI`"]),
    (&["ldc", "stc"], &["`LDC`", "`STC`"]),
    (&["lda", "stl"], &["`LDA`", "`STL`"]),
    (
        &[
            "ldr", "str", "ldm", "stm", "push", "pop", "swp", "tbb", "tbh",
        ],
        &[
            "UNPREDICTABLE",
            "`TBB`",
            "`TBH`",
            "`SWP`",
            "`LDM` and `STM` of other modes' registers",
        ],
    ),
];

/// Whether an instruction accesses memory, or would if it were a hint no more.
fn accesses_memory(mnemonic: &str, operands: &str) -> bool {
    let lists = [
        "ldm", "stm", "push", "pop", "rfe", "srs", "vldm", "vstm", "vpush", "vpop", "fldm", "fstm",
    ];
    operands.contains('[') || lists.iter().any(|list| mnemonic.starts_with(list))
}

struct Checker {
    disassembler: Disassembler,
    /// How many instructions of each family were met.
    met: [u64; FAMILIES.len()],
}

impl Checker {
    fn check(&mut self, instruction: Instruction) {
        if decode(instruction).is_ok() {
            return;
        }
        let Some((mnemonic, operands)) = self.disassembler.read(instruction) else {
            return;
        };
        if !accesses_memory(&mnemonic, &operands) {
            return;
        }
        let is_of =
            |(begins, _): &(&[&str], _)| begins.iter().any(|begin| mnemonic.starts_with(begin));
        let Some(family) = FAMILIES.iter().position(is_of) else {
            panic!("{instruction:x?}: {mnemonic} {operands} is neither emulated nor documented");
        };
        self.met[family] += 1;
    }
}

#[test]
fn whatever_accesses_memory_is_emulated_or_in_the_list() {
    let mut checker = Checker {
        disassembler: Disassembler::new(),
        met: [0; FAMILIES.len()],
    };
    for half in 0..=u16::MAX {
        if !Instruction::is_wide(half) {
            checker.check(Instruction::Thumb16(half));
        }
    }
    let mut random = Random(0x00de_c0de_0000_0001);
    for _ in 0..1_000_000 {
        // Of Arm, those without a condition have a space of their own. 32-bit Thumb instructions begin
        // with one of three patterns.
        let word = random.word();
        checker.check(Instruction::Arm(word | 0xf000_0000));
        checker.check(Instruction::Arm(word));
        for kind in [0b11101, 0b11110, 0b11111] {
            checker.check(Instruction::Thumb32(word & 0x07ff_ffff | (kind << 27)));
        }
    }
    for ((begins, names), met) in FAMILIES.iter().zip(checker.met) {
        // Instructions of Armv8 have encodings that are UNPREDICTABLE in Armv7, and capstone may
        // name none.
        assert!(met > 0 || begins.contains(&"lda"), "no {begins:?} was met");
        for name in *names {
            assert!(
                PAGE.contains(name),
                "Documentation/api-memory.md does not name {name}"
            );
        }
    }
}
