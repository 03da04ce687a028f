// SPDX-License-Identifier: GPL-2.0

//! The instruction that is executed after another one, for a debugger that steps a guest.
//!
//! Armv7 steps by a breakpoint on all addresses but one (C3.3.3, address mismatch), and not every
//! implementation has that: QEMU's does not. A breakpoint at the next address is as good, and the
//! next address follows from the instruction, the registers, and the memory that is loaded to the
//! PC.

use super::{
    decode,
    load_store::{
        Shift,
        PC, //
    },
    transfer::{
        pc_value,
        read,
        ModeRegisters,
        Transfer, //
    },
    Instruction, //
};
use crate::{
    cond::Cond,
    psr::Psr, //
};

const LR: usize = 14;

/// The address of the instruction that follows, unless an exception comes first.
///
/// `None` says that an exception comes for certain (SVC), that memory which the PC is loaded from
/// is not there, so that an abort comes, or that the instruction is UNPREDICTABLE. `load` reads
/// bytes at a virtual address, or says that nothing is there. HVC and SMC count as instructions
/// without an exception, as the host carries them out.
pub fn successor<E>(
    instruction: Instruction,
    regs: &impl ModeRegisters,
    load: impl FnMut(u32, &mut [u8]) -> Result<bool, E>,
) -> Result<Option<u32>, E> {
    let target = match instruction {
        Instruction::Arm(word) => arm(word, regs),
        Instruction::Thumb16(half) => thumb16(half, regs),
        Instruction::Thumb32(word) => thumb32(word, regs),
    };
    match target {
        Target::Behind => Ok(Some(regs.pc().wrapping_add(instruction.size()))),
        Target::At(address) => Ok(Some(address)),
        Target::Exception => Ok(None),
        Target::InMemory(address) => loaded(address, regs, load),
        Target::ByLoad => by_load(instruction, regs, load),
    }
}

/// Where an instruction leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// To the instruction behind it.
    Behind,
    /// To an address.
    At(u32),
    /// To the address in this word of memory.
    InMemory(u32),
    /// It is a load, of the PC perhaps.
    ByLoad,
    /// To an exception, or it is UNPREDICTABLE.
    Exception,
}

impl Target {
    /// BXWritePC: bit 0 chooses the instruction set. Neither has the address of an instruction.
    const fn exchange(value: u32) -> Self {
        Self::At(if value & 1 != 0 {
            value & !1
        } else {
            value & !3
        })
    }

    /// BranchWritePC and the return from an exception: what is stepped to has no bit 0.
    const fn plain(value: u32) -> Self {
        Self::At(value & !1)
    }

    /// RFE: two words, the PC in the lower one. With the PC as its base it is UNPREDICTABLE
    /// (B9.3.13), and is taken for an instruction that does nothing.
    fn of_rfe(word: u32, regs: &impl ModeRegisters, up: bool, before: bool) -> Self {
        match field(word, 16, 4) as usize {
            15 => Self::Behind,
            n => Self::InMemory(word_of_multiple(regs.get(n), up, before, 0, 2)),
        }
    }
}

/// The target in a word of memory.
fn loaded<E>(
    address: u32,
    regs: &impl ModeRegisters,
    mut load: impl FnMut(u32, &mut [u8]) -> Result<bool, E>,
) -> Result<Option<u32>, E> {
    let mut bytes = [0; 4];
    if !load(address, &mut bytes)? {
        return Ok(None);
    }
    let value = if Psr(regs.cpsr()).is_big_endian() {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    };
    Ok(Some(value & !1))
}

/// The PC behind a load, which is made for nothing but its target.
fn by_load<E>(
    instruction: Instruction,
    regs: &impl ModeRegisters,
    mut load: impl FnMut(u32, &mut [u8]) -> Result<bool, E>,
) -> Result<Option<u32>, E> {
    let behind = Ok(Some(regs.pc().wrapping_add(instruction.size())));
    let Ok(decoded) = decode(instruction) else {
        return behind;
    };
    if !decoded.kind.loads_pc() {
        return behind;
    }
    let Ok(mut transfer) = Transfer::new(instruction, &decoded, regs) else {
        return Ok(None);
    };
    while let Some(access) = transfer.next() {
        let mut bytes = [0; 8];
        let Some(wanted) = bytes.get_mut(..access.bytes) else {
            return Ok(None);
        };
        if !load(access.address, wanted)? {
            return Ok(None);
        }
        transfer.complete(bytes);
    }
    let mut shadow = Shadow {
        regs,
        pc: regs.pc(),
    };
    transfer.finish(&mut shadow);
    Ok(Some(shadow.pc))
}

/// Registers that stay as they are, but for the PC.
struct Shadow<'a, R> {
    regs: &'a R,
    pc: u32,
}

impl<R: ModeRegisters> ModeRegisters for Shadow<'_, R> {
    fn get(&self, n: usize) -> u32 {
        self.regs.get(n)
    }
    fn set(&mut self, _: usize, _: u32) {}
    fn pc(&self) -> u32 {
        self.regs.pc()
    }
    fn set_pc(&mut self, pc: u32) {
        self.pc = pc;
    }
    fn cpsr(&self) -> u32 {
        self.regs.cpsr()
    }
    fn set_cpsr(&mut self, _: u32) {}
}

/// Some bits of an instruction.
const fn field(word: u32, low: u32, len: u32) -> u32 {
    word >> low & ((1 << len) - 1)
}

/// A number of `bits` bits with its sign.
const fn signed(value: u32, bits: u32) -> u32 {
    let unused = 32 - bits;
    ((value << unused) as i32 >> unused) as u32
}

/// The place of the PC among the words that a return from an exception loads (RFE, LDM with `^`):
/// `before` and `up` are its addressing mode, and the PC is word `index` of `count`, from below.
const fn word_of_multiple(base: u32, up: bool, before: bool, index: u32, count: u32) -> u32 {
    let lowest = match (up, before) {
        (true, false) => base,
        (true, true) => base.wrapping_add(4),
        (false, true) => base.wrapping_sub(4 * count),
        (false, false) => base.wrapping_sub(4 * count).wrapping_add(4),
    };
    lowest.wrapping_add(4 * index)
}

/// The Arm instruction set (A5).
fn arm(word: u32, regs: &impl ModeRegisters) -> Target {
    let cond = field(word, 28, 4);
    if cond == 0b1111 {
        return arm_unconditional(word, regs);
    }
    if !Cond::new(cond).holds(Psr(regs.cpsr())) {
        return Target::Behind;
    }
    match field(word, 25, 3) {
        0b000 if word & 0x90 == 0x90 => Target::ByLoad,
        0b000 | 0b001 => arm_data_processing(word, regs),
        0b010 => Target::ByLoad,
        0b011 if word & 1 << 4 == 0 => Target::ByLoad,
        0b100 => arm_multiple(word, regs),
        0b101 => Target::At(pc_value(regs).wrapping_add(signed(word << 2, 26))),
        0b111 if word & 1 << 24 != 0 => Target::Exception,
        _ => Target::Behind,
    }
}

fn arm_unconditional(word: u32, regs: &impl ModeRegisters) -> Target {
    // BLX (immediate).
    if field(word, 25, 3) == 0b101 {
        let halfword = field(word, 24, 1) << 1;
        return Target::At(pc_value(regs).wrapping_add(signed(word << 2, 26) | halfword));
    }
    // RFE.
    if word & 0xfe50_0000 == 0xf810_0000 {
        let (up, before) = (word & 1 << 23 != 0, word & 1 << 24 != 0);
        return Target::of_rfe(word, regs, up, before);
    }
    Target::Behind
}

/// LDM. With `^` and the PC, which is the highest word, it returns from an exception, and is no
/// load that [`decode`] knows.
fn arm_multiple(word: u32, regs: &impl ModeRegisters) -> Target {
    const RETURN: u32 = 1 << 22 | 1 << 20 | 1 << 15;
    if word & RETURN != RETURN {
        return Target::ByLoad;
    }
    let count = field(word, 0, 16).count_ones();
    let (up, before) = (word & 1 << 23 != 0, word & 1 << 24 != 0);
    let base = read(regs, field(word, 16, 4) as u8);
    Target::InMemory(word_of_multiple(base, up, before, count - 1, count))
}

fn arm_data_processing(word: u32, regs: &impl ModeRegisters) -> Target {
    let rm = field(word, 0, 4) as u8;
    match word & 0x0fff_fff0 {
        // BX, BXJ, which is BX without Jazelle, and BLX.
        0x012f_ff10 | 0x012f_ff20 | 0x012f_ff30 => return Target::exchange(read(regs, rm)),
        // ERET, which of this group is the only one.
        0x0160_0060 => return Target::plain(regs.get(LR)),
        _ => (),
    }
    let (opcode, sets_flags) = (field(word, 21, 4), word & 1 << 20 != 0);
    // TST to CMN have no destination; without S these are other instructions, which do not go to
    // the PC.
    if field(word, 12, 4) != u32::from(PC) || opcode & 0b1100 == 0b1000 {
        return Target::Behind;
    }
    let carry = Psr(regs.cpsr()).has(Psr::C);
    let second = if word & 1 << 25 != 0 {
        field(word, 0, 8).rotate_right(2 * field(word, 8, 4))
    } else if word & 1 << 4 != 0 {
        // A shift by a register, and the PC: UNPREDICTABLE.
        return Target::Exception;
    } else {
        Shift::decode(field(word, 5, 2), field(word, 7, 5)).apply(read(regs, rm), carry)
    };
    let first = read(regs, field(word, 16, 4) as u8);
    let carry = u32::from(carry);
    let result = match opcode {
        0b0000 => first & second,
        0b0001 => first ^ second,
        0b0010 => first.wrapping_sub(second),
        0b0011 => second.wrapping_sub(first),
        0b0100 => first.wrapping_add(second),
        0b0101 => first.wrapping_add(second).wrapping_add(carry),
        0b0110 => first.wrapping_sub(second).wrapping_sub(1 - carry),
        0b0111 => second.wrapping_sub(first).wrapping_sub(1 - carry),
        0b1100 => first | second,
        0b1101 => second,
        0b1110 => first & !second,
        _ => !second,
    };
    if sets_flags {
        // A return from an exception (B9.3.20).
        Target::plain(result)
    } else {
        Target::exchange(result)
    }
}

/// Whether the IT block, if there is one, has a Thumb instruction executed.
fn is_executed(regs: &impl ModeRegisters) -> bool {
    let psr = Psr(regs.cpsr());
    match psr.it_state() {
        0 => true,
        it => Cond::new(u32::from(it) >> 4).holds(psr),
    }
}

/// The Thumb instruction set, 16 bits (A6.2).
fn thumb16(half: u16, regs: &impl ModeRegisters) -> Target {
    if !is_executed(regs) {
        return Target::Behind;
    }
    let half = u32::from(half);
    let pc = pc_value(regs);
    match half >> 12 {
        // ADD, MOV, BX and BLX with high registers.
        0b0100 if half >> 10 == 0b01_0001 => {
            let value = read(regs, field(half, 3, 4) as u8);
            let rd = field(half, 7, 1) << 3 | field(half, 0, 3);
            match field(half, 8, 2) {
                0b11 => Target::exchange(value),
                0b00 if rd == u32::from(PC) => Target::plain(pc.wrapping_add(value)),
                0b10 if rd == u32::from(PC) => Target::plain(value),
                _ => Target::Behind,
            }
        }
        // CBZ and CBNZ.
        0b1011 if half & 0x0500 == 0x0100 => {
            let is_zero = regs.get(field(half, 0, 3) as usize) == 0;
            let wants_zero = half & 1 << 11 == 0;
            if is_zero == wants_zero {
                let offset = field(half, 9, 1) << 6 | field(half, 3, 5) << 1;
                Target::At(pc.wrapping_add(offset))
            } else {
                Target::Behind
            }
        }
        0b1101 => match field(half, 8, 4) {
            // UDF and SVC.
            0b1110 | 0b1111 => Target::Exception,
            cond if Cond::new(cond).holds(Psr(regs.cpsr())) => {
                Target::At(pc.wrapping_add(signed(half << 1, 9)))
            }
            _ => Target::Behind,
        },
        0b1110 => Target::At(pc.wrapping_add(signed(half << 1, 12))),
        _ => Target::ByLoad,
    }
}

/// The Thumb instruction set, 32 bits (A6.3).
fn thumb32(word: u32, regs: &impl ModeRegisters) -> Target {
    if !is_executed(regs) {
        return Target::Behind;
    }
    if word & 0xf800_8000 == 0xf000_8000 {
        return thumb_branch(word, regs);
    }
    // RFE, decrement before and increment after.
    match word & 0xffd0_0000 {
        0xe810_0000 => Target::of_rfe(word, regs, false, true),
        0xe990_0000 => Target::of_rfe(word, regs, true, false),
        _ => Target::ByLoad,
    }
}

/// Branches and miscellaneous control (A6.3.4).
fn thumb_branch(word: u32, regs: &impl ModeRegisters) -> Target {
    let pc = pc_value(regs);
    let (s, j1, j2) = (field(word, 26, 1), field(word, 13, 1), field(word, 11, 1));
    let low = field(word, 0, 11) << 1;
    // B, BL and BLX with 24 bits: I1 and I2 are J1 and J2, inverted unless the sign is set.
    let far = signed(
        s << 24 | (1 ^ j1 ^ s) << 23 | (1 ^ j2 ^ s) << 22 | field(word, 16, 10) << 12 | low,
        25,
    );
    match (field(word, 14, 1), field(word, 12, 1)) {
        // B, BL.
        (_, 1) => Target::At(pc.wrapping_add(far)),
        // BLX: to Arm.
        (1, 0) => Target::At((pc & !3).wrapping_add(far & !3)),
        _ => match field(word, 22, 4) {
            // Not a condition: control instructions.
            cond if cond >> 1 != 0b111 => {
                if !Cond::new(cond).holds(Psr(regs.cpsr())) {
                    return Target::Behind;
                }
                let near = s << 20 | j2 << 19 | j1 << 18 | field(word, 16, 6) << 12 | low;
                Target::At(pc.wrapping_add(signed(near, 21)))
            }
            _ if word & 0xfff0_ffff == 0xf3c0_8f00 => {
                // BXJ.
                Target::exchange(regs.get(field(word, 16, 4) as usize))
            }
            _ if word & 0xffff_ff00 == 0xf3de_8f00 => {
                // SUBS PC, LR, and ERET, which subtracts nothing.
                Target::plain(regs.get(LR).wrapping_sub(field(word, 0, 8)))
            }
            // UDF.
            _ if word & 0xfff0_f000 == 0xf7f0_a000 => Target::Exception,
            _ => Target::Behind,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    struct Regs {
        r: [u32; 15],
        pc: u32,
        cpsr: u32,
    }

    impl ModeRegisters for Regs {
        fn get(&self, n: usize) -> u32 {
            self.r[n]
        }
        fn set(&mut self, _: usize, _: u32) {
            panic!("a step changes no register");
        }
        fn pc(&self) -> u32 {
            self.pc
        }
        fn set_pc(&mut self, _: u32) {
            panic!("a step changes no register");
        }
        fn cpsr(&self) -> u32 {
            self.cpsr
        }
        fn set_cpsr(&mut self, _: u32) {
            panic!("a step changes no register");
        }
    }

    const THUMB: u32 = 0x33;
    const ARM: u32 = 0x13;

    /// R0 to R14 are 0x100 times their number and 1: for Thumb.
    fn regs(cpsr: u32) -> Regs {
        Regs {
            r: core::array::from_fn(|n| n as u32 * 0x100),
            pc: 0x8000,
            cpsr,
        }
    }

    /// A word of memory is its address and 0x7000_0000.
    fn memory(address: u32, bytes: &mut [u8]) -> Result<bool, ()> {
        for (n, byte) in bytes.iter_mut().enumerate() {
            let at = address + n as u32;
            *byte = ((at & !3 | 0x7000_0000) >> (8 * (at & 3))) as u8;
        }
        Ok(true)
    }

    fn arm_at(word: u32, regs: &Regs) -> Option<u32> {
        successor(Instruction::Arm(word), regs, memory).unwrap()
    }

    fn thumb_at(code: u32, regs: &Regs) -> Option<u32> {
        let instruction = if code >> 16 == 0 {
            Instruction::Thumb16(code as u16)
        } else {
            Instruction::Thumb32(code)
        };
        successor(instruction, regs, memory).unwrap()
    }

    /// Encodings by GNU as, at 0x8000.
    #[test]
    fn arm_instructions() {
        for (word, expected, text) in [
            (0xe1a0_0001, Some(0x8004), "mov r0, r1"),
            (0xeaff_fffe, Some(0x8000), "b ."),
            (0xeb00_0010, Some(0x8048), "bl .+0x48"),
            (0x0a00_0010, Some(0x8004), "beq .+0x48, not zero"),
            (0x1a00_0010, Some(0x8048), "bne .+0x48"),
            (0xfb00_0010, Some(0x804a), "blx .+0x4a"),
            (0xe12f_ff15, Some(0x500), "bx r5"),
            (0xe12f_ff36, Some(0x600), "blx r6"),
            (0xe1a0_f00e, Some(0xe00), "mov pc, lr"),
            (0xe1b0_f00e, Some(0xe00), "movs pc, lr"),
            (0xe25e_f004, Some(0xdfc), "subs pc, lr, #4"),
            (0xe160_006e, Some(0xe00), "eret"),
            (0xe08f_f001, Some(0x8108), "add pc, pc, r1"),
            (0xe08f_f101, Some(0x8408), "add pc, pc, r1, lsl #2"),
            (0xe28f_f010, Some(0x8018), "add pc, pc, #16"),
            (0xe35f_0000, Some(0x8004), "cmp pc, #0"),
            (0xe59f_f004, Some(0x7000_800c), "ldr pc, [pc, #4]"),
            (0xe791_f102, Some(0x7000_0900), "ldr pc, [r1, r2, lsl #2]"),
            (0xe49d_f004, Some(0x7000_0d00), "pop {pc}"),
            (0xe8bd_8030, Some(0x7000_0d08), "pop {r4, r5, pc}"),
            (0xe91b_a800, Some(0x7000_0afc), "ldmdb fp, {fp, sp, pc}"),
            (
                0xe8fd_800f,
                Some(0x7000_0d10),
                "ldm sp!, {r0, r1, r2, r3, pc}^",
            ),
            (0xf8bd_0a00, Some(0x7000_0d00), "rfeia sp!"),
            (0xf91d_0a00, Some(0x7000_0cf8), "rfedb sp"),
            (0xe591_0000, Some(0x8004), "ldr r0, [r1]"),
            (0xe92d_4010, Some(0x8004), "push {r4, lr}"),
            (0xef00_0000, None, "svc 0"),
            (0xe140_0070, Some(0x8004), "hvc 0"),
            (0xe160_0070, Some(0x8004), "smc 0"),
            (
                0xee11_ff10,
                Some(0x8004),
                "mrc p15, 0, apsr_nzcv, c1, c0, 0",
            ),
            (0xe320_f003, Some(0x8004), "wfi"),
            (0xe129_f000, Some(0x8004), "msr cpsr, r0"),
        ] {
            assert_eq!(arm_at(word, &regs(ARM)), expected, "{text}");
        }
    }

    #[test]
    fn thumb_instructions() {
        for (code, expected, text) in [
            (0x4608, Some(0x8002), "mov r0, r1"),
            (0xe7fe, Some(0x8000), "b ."),
            (0xd0fe, Some(0x8002), "beq ., not zero"),
            (0xd1fe, Some(0x8000), "bne ."),
            (0x4728, Some(0x500), "bx r5"),
            (0x47b0, Some(0x600), "blx r6"),
            (0x46f7, Some(0xe00), "mov pc, lr"),
            (0x448f, Some(0x8104), "add pc, r1"),
            (0xb110, Some(0x8008), "cbz r0, .+8"),
            (0xb111, Some(0x8002), "cbz r1, .+8"),
            (0xb911, Some(0x8008), "cbnz r1, .+8"),
            (0xbd10, Some(0x7000_0d04), "pop {r4, pc}"),
            (0xdf00, None, "svc 0"),
            (0xde00, None, "udf 0"),
            (0xbf30, Some(0x8002), "wfi"),
            (0xf000_f822, Some(0x8048), "bl .+0x48"),
            (0xf7ff_fffe, Some(0x8000), "bl ."),
            (0xf000_e822, Some(0x8048), "blx .+0x48"),
            (0xf000_b822, Some(0x8048), "b.w .+0x48"),
            (0xf47f_affe, Some(0x8000), "bne.w ."),
            (0xf43f_affe, Some(0x8004), "beq.w ., not zero"),
            (0xf3de_8f04, Some(0xdfc), "subs pc, lr, #4"),
            (0xf3c5_8f00, Some(0x500), "bxj r5"),
            (0xf8df_f004, Some(0x7000_8008), "ldr.w pc, [pc, #4]"),
            (0xe8bd_8030, Some(0x7000_0d08), "pop.w {r4, r5, pc}"),
            (0xe8df_f000, Some(0x8004 + 2 * 4), "tbb [pc, r0]"),
            (0xe9bd_c000, Some(0x7000_0d00), "rfeia sp!"),
            (0xe82d_c000, Some(0x8004), "srsdb, which goes on"),
            (0xe81d_c000, Some(0x7000_0cf8), "rfedb sp"),
            (0xf7e0_8000, Some(0x8004), "hvc 0"),
            (0xf3af_8003, Some(0x8004), "wfi.w"),
        ] {
            assert_eq!(thumb_at(code, &regs(THUMB)), expected, "{text}");
        }
    }

    #[test]
    fn conditions_of_it_blocks() {
        // it eq, and Z is clear: skipped. it ne: executed.
        let skipped = regs(Psr(THUMB).with_it_state(0x08).0);
        let executed = regs(Psr(THUMB).with_it_state(0x18).0);
        for code in [0x4770, 0xbd10, 0xe8bd_8030, 0xf8df_f004] {
            let size = if code >> 16 == 0 { 2 } else { 4 };
            assert_eq!(thumb_at(code, &skipped), Some(0x8000 + size));
            assert_ne!(thumb_at(code, &executed), Some(0x8000 + size));
        }
    }

    #[test]
    fn branches_and_breakpoints_by_their_encodings() {
        use Instruction::{Arm, Thumb16, Thumb32};
        let branches = [
            Arm(0xeaff_fffe),
            Arm(0x0a00_0010),
            Thumb16(0xe7fe),
            Thumb16(0xd1fe),
            Thumb16(0xb110),
            Thumb16(0xb911),
            Thumb32(0xf000_b822),
            Thumb32(0xf43f_affe),
        ];
        let others = [
            Arm(0xebff_fffe),
            Arm(0xfbff_fffe),
            Arm(0xe12f_ff15),
            Arm(0xef00_0000),
            Thumb16(0xdf00),
            Thumb16(0xde00),
            Thumb16(0x4728),
            Thumb16(0xbd10),
            Thumb32(0xf000_f822),
            Thumb32(0xf000_e822),
            Thumb32(0xf3af_8003),
            Thumb32(0xe8bd_8030),
        ];
        assert!(branches.into_iter().all(Instruction::is_branch));
        assert!(!others.into_iter().any(Instruction::is_branch));
        for (instruction, immediate) in [
            (Arm(0xe120_0070), Some(0)),
            (Arm(0xe12a_bc7d), Some(0xabcd)),
            (Thumb16(0xbe00), Some(0)),
            (Thumb16(0xbeab), Some(0xab)),
            (Arm(0xe140_0070), None),
            (Thumb16(0xbd10), None),
            (Thumb32(0xbe00_be00), None),
        ] {
            assert_eq!(instruction.breakpoint(), immediate, "{instruction:?}");
        }
    }

    #[test]
    fn interworking_clears_the_bits_of_the_state() {
        let mut to_thumb = regs(ARM);
        to_thumb.r[5] = 0x8123;
        assert_eq!(arm_at(0xe12f_ff15, &to_thumb), Some(0x8122));
        to_thumb.r[5] = 0x8122;
        assert_eq!(arm_at(0xe12f_ff15, &to_thumb), Some(0x8120));
    }

    #[test]
    fn memory_that_is_not_there_has_an_abort_come() {
        let nothing = |_: u32, _: &mut [u8]| Ok::<_, ()>(false);
        for word in [0xe59f_f004, 0xe8bd_8030, 0xe8fd_800f, 0xf8bd_0a00] {
            let next = successor(Instruction::Arm(word), &regs(ARM), nothing);
            assert_eq!(next, Ok(None));
        }
        // A load of something else does not need the memory.
        let next = successor(Instruction::Arm(0xe591_0000), &regs(ARM), nothing);
        assert_eq!(next, Ok(Some(0x8004)));
    }

    #[test]
    fn data_processing_computes_the_target() {
        let mut with_carry = regs(ARM | Psr::C);
        with_carry.r[1] = 0x1234_5670;
        with_carry.r[2] = 0x10;
        let (a, b) = (0x1234_5670u32, 0x10u32);
        let results = [
            a & b,
            a ^ b,
            a - b,
            b.wrapping_sub(a),
            a + b,
            a + b + 1,
            a - b,
            b.wrapping_sub(a),
        ];
        for (opcode, result) in results.into_iter().enumerate() {
            let word = 0xe001_f002 | (opcode as u32) << 21;
            let target = if result & 1 != 0 {
                result & !1
            } else {
                result & !3
            };
            assert_eq!(arm_at(word, &with_carry), Some(target), "{opcode:#b}");
        }
        for (opcode, result) in [(12, a | b), (13, b), (14, a & !b), (15, !b)] {
            let word = 0xe001_f002 | opcode << 21;
            let target = if result & 1 != 0 {
                result & !1
            } else {
                result & !3
            };
            assert_eq!(arm_at(word, &with_carry), Some(target), "{opcode:#b}");
        }
    }

    /// RFE that takes its address from the PC.
    #[test]
    fn unpredictable_returns_go_on() {
        for word in [0xf81f_0a00, 0xf89f_0a00, 0xf91f_0a00, 0xf99f_0a00] {
            assert_eq!(arm_at(word, &regs(ARM)), Some(0x8004), "{word:#x}");
        }
        for word in [0xe81f_c000, 0xe99f_c000, 0xe99f_0000] {
            let next = successor(Instruction::Thumb32(word), &regs(THUMB), memory);
            assert_eq!(next, Ok(Some(0x8004)), "{word:#x}");
        }
    }

    inputs! {
        /// No instruction panics, and an instruction without the PC among its registers, which is
        /// no branch, is followed by the one behind it.
        fn all_instructions(word: u32, half: u16, flags in 0u32..16, it in 0u8..=255) {
            let arm = regs(flags << 28 | ARM);
            let _ = arm_at(word, &arm);
            let thumb = regs(Psr(flags << 28 | THUMB).with_it_state(it).0);
            let _ = thumb_at(half.into(), &thumb);
            let _ = successor(Instruction::Thumb32(word | 0xe800_0000), &thumb, memory);
        }

        fn arithmetic_goes_on(word: u32) {
            let has_pc = [0, 8, 12, 16].into_iter().any(|low| field(word, low, 4) == 15);
            let word = word & 0x01ff_ff6f | 0xe000_0000;
            let is_branch = word & 0x0190_0000 == 0x0100_0000;
            if !has_pc && !is_branch {
                prop_assert_eq!(arm_at(word, &regs(ARM)), Some(0x8004));
            }
        }
    }
}
