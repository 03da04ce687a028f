// SPDX-License-Identifier: GPL-2.0

//! `armv7::insn` against the independent disassembler capstone: `tests/agreement.rs` compares
//! instructions that are decoded, `tests/documented.rs` instructions that are not.

use armv7::insn::Instruction;
use capstone::prelude::*;

/// Capstone for both instruction sets.
pub struct Disassembler {
    arm: Capstone,
    thumb: Capstone,
}

impl Disassembler {
    /// Makes one. Fails the test if it cannot.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is made once in each test")]
    pub fn new() -> Self {
        let new = |mode| Capstone::new().arm().mode(mode).build().expect("capstone");
        Self {
            arm: new(arch::arm::ArchMode::Arm),
            thumb: new(arch::arm::ArchMode::Thumb),
        }
    }

    /// The mnemonic and the operands of an instruction; nothing if there is no such instruction.
    #[must_use]
    pub fn read(&self, instruction: Instruction) -> Option<(String, String)> {
        let (capstone, bytes, size) = match instruction {
            Instruction::Arm(word) => (&self.arm, word.to_le_bytes(), 4),
            Instruction::Thumb16(half) => {
                let [a, b] = half.to_le_bytes();
                (&self.thumb, [a, b, 0, 0], 2)
            }
            Instruction::Thumb32(word) => {
                let [c, d, a, b] = word.to_le_bytes();
                (&self.thumb, [a, b, c, d], 4)
            }
        };
        let found = capstone.disasm_count(&bytes[..size], 0, 1).ok()?;
        let insn = found.iter().next()?;
        let is_whole = insn.bytes().len() == size;
        let text = (insn.mnemonic()?.to_owned(), insn.op_str()?.to_owned());
        is_whole.then_some(text)
    }
}

/// Numbers that are the same in each run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}
