// SPDX-License-Identifier: GPL-2.0

//! Undefined instructions, supervisor calls, IRQs and FIQs: their vectors, and the registers there
//! (B1.8, B1.9).

use crate::board;
use crate::check::{ensure, ensure_eq, Outcome};
use crate::code::{self, BX_LR, SVC_0, THUMB_BX_LR, THUMB_SVC_0};
use crate::cpu;
use crate::exceptions::{self, Record, Vectors, FIQ, IRQ, SVC, UNDEFINED};
use crate::exceptions::{FROM_CATCHING, FROM_HIGH, FROM_THUMB};
use crate::gic;
use crate::mmu;
use crate::timer;

/// UDF, in both instruction sets.
const UDF: u32 = 0xe7f0_00f0;
const THUMB_UDF: u16 = 0xde00;
/// A register of c15 that no core has, which traps to a hypervisor first.
const NO_REGISTER: u32 = code::mrc([7, 15, 15, 7]);
/// One of c11, which does not.
const NO_REGISTER_EITHER: u32 = code::mrc([7, 11, 13, 7]);

/// Both, but where QEMU's Cortex-A15 has something in all of c15.
pub(crate) fn no_registers() -> &'static [u32] {
    let all = &[NO_REGISTER_EITHER, NO_REGISTER];
    if board::is_guest() {
        all
    } else {
        &all[..1]
    }
}
const MRC_ACTLR: u32 = code::mrc([0, 1, 0, 1]);
const HVC: u32 = 0xe140_0070;
const SMC: u32 = 0xe160_0070;
const NOP: u32 = 0xe320_f000;
const THUMB_NOP: u16 = 0xbf00;
const BRANCH_TO_SELF: u32 = 0xeaff_fffe;

pub(crate) const MODE: u32 = 0x1f;
const USER: u32 = 0x10;
pub(crate) const SUPERVISOR: u32 = 0x13;
pub(crate) const T: u32 = 1 << 5;
pub(crate) const F: u32 = 1 << 6;
pub(crate) const I: u32 = 1 << 7;
pub(crate) const A: u32 = 1 << 8;
const E: u32 = 1 << 9;
const FLAGS: u32 = 0xf000_0000;

/// SCTLR.
const SCTLR_V: u32 = 1 << 13;
const SCTLR_TE: u32 = 1 << 30;

/// Words that code gets in R0 and R1, and that it does not change.
const A_WORD: u32 = 0xa0a1_a2a3;
const B_WORD: u32 = 0xb0b1_b2b3;

/// The halves of a 32-bit Thumb instruction, which for coprocessors is as in Arm state.
const fn halves(instruction: u32) -> [u16; 2] {
    [(instruction >> 16) as u16, instruction as u16]
}

/// The registers that an exception has to leave.
pub(crate) struct Expected {
    pub vector: u32,
    pub mode: u32,
    pub lr: u32,
    pub spsr: u32,
    /// The additional masks upon entry.
    pub masks: u32,
}

impl Expected {
    pub(crate) fn check(&self, found: &Record) -> Outcome {
        ensure_eq(found.vector, self.vector, "the vector", found.lr)?;
        ensure_eq(found.lr, self.lr, "LR", self.vector)?;
        ensure_eq(found.spsr, self.spsr, "SPSR", self.vector)?;
        ensure_eq(found.cpsr & MODE, self.mode, "the mode", self.vector)?;
        let masks = self.spsr & (A | I | F) | self.masks;
        ensure_eq(found.cpsr & (A | I | F), masks, "the masks", self.vector)?;
        ensure_eq(found.cpsr & E, 0, "CPSR.E", self.vector)
    }
}

/// An undefined instruction at `code + offset`, reached with `spsr`.
fn expect_undefined(found: Result<u32, Record>, code: usize, offset: u32, spsr: u32) -> Outcome {
    let Err(found) = found else {
        // SAFETY: The code that was executed.
        let first = unsafe { ((code & !3) as *const u32).read_volatile() };
        return ensure(false, "it was not undefined", [code as u32, offset, first]);
    };
    let size = if spsr & T != 0 { 2 } else { 4 };
    let expected = Expected {
        vector: UNDEFINED,
        mode: 0x1b,
        lr: (code as u32 & !1) + offset + size,
        spsr,
        masks: I,
    };
    expected.check(&found)?;
    ensure_eq(found.regs[1], B_WORD, "R1", 0)
}

/// CPSR as MRS gives it, without the flags that comparisons change.
fn state() -> u32 {
    cpu::cpsr() & !FLAGS
}

fn without_flags(found: Result<u32, Record>) -> Result<u32, Record> {
    found.map_err(|mut record| {
        record.spsr &= !FLAGS;
        record
    })
}

fn call(code: usize) -> Result<u32, Record> {
    without_flags(exceptions::catch(code, A_WORD, B_WORD))
}

pub(crate) fn undefined_arm() -> Outcome {
    for instruction in [UDF].into_iter().chain(no_registers().iter().copied()) {
        let code = code::arm([NOP, instruction, BX_LR]);
        let found = call(code);
        if let Err(record) = &found {
            ensure_eq(record.regs[0], A_WORD, "R0", instruction)?;
        }
        expect_undefined(found, code, 4, state())?;
        // With everything unmasked or masked.
        let found = cpu::masked(|| {
            let found = call(code);
            expect_undefined(found, code, 4, state())
        });
        found?;
    }
    Ok(())
}

pub(crate) fn undefined_thumb() -> Outcome {
    for &instruction in no_registers() {
        let [first, second] = halves(instruction);
        let code = code::thumb([THUMB_NOP, first, second, THUMB_BX_LR]);
        expect_undefined(call(code), code, 2, state() | T)?;
        let code = code::thumb([THUMB_NOP, THUMB_UDF, THUMB_BX_LR]);
        expect_undefined(call(code), code, 2, state() | T)?;
    }
    Ok(())
}

/// CMP r0, r0 sets Z and C.
const THUMB_COMPARE: u16 = 0x4280;
const IT_EQ: u16 = 0xbf08;
const ITT_EQ: u16 = 0xbf04;
const ITE_EQ: u16 = 0xbf0c;
const IT_NE: u16 = 0xbf18;

pub(crate) fn undefined_in_it_block() -> Outcome {
    for &instruction in no_registers() {
        let [first, second] = halves(instruction);
        // The last, or only one, of a block: IT is 0x08; the first of two: 0x04.
        let code = code::thumb([THUMB_COMPARE, IT_EQ, first, second, THUMB_BX_LR]);
        expect_undefined(call(code), code, 4, state() | T | 0x0800)?;
        let code = code::thumb([THUMB_COMPARE, ITT_EQ, first, second, THUMB_NOP, THUMB_BX_LR]);
        expect_undefined(call(code), code, 4, state() | T | 0x0400)?;
        // MOVS r0, #0 or rather MOVEQ.
        let code = code::thumb([THUMB_COMPARE, ITT_EQ, 0x2007, first, second, THUMB_BX_LR]);
        let found = call(code);
        if let Err(record) = &found {
            ensure_eq(record.regs[0], 7, "R0", instruction)?;
        }
        expect_undefined(found, code, 6, state() | T | 0x0800)?;
    }
    Ok(())
}

/// Instructions whose condition fails do nothing, be they undefined or trapped; IT goes on.
pub(crate) fn conditions() -> Outcome {
    // CMP r0, r0; then MRCNE.
    for instruction in [NO_REGISTER, MRC_ACTLR] {
        let code = code::arm([0xe150_0000, instruction & 0x0fff_ffff | 0x1000_0000, BX_LR]);
        let found = call(code).unwrap_or(0);
        ensure_eq(found, A_WORD, "an Arm instruction that fails its condition", instruction)?;
        let [first, second] = halves(instruction);
        let code = code::thumb([THUMB_COMPARE, IT_NE, first, second, THUMB_BX_LR]);
        let found = call(code).unwrap_or(0);
        ensure_eq(found, A_WORD, "a Thumb instruction that fails its condition", instruction)?;
    }
    // MRCEQ ACTLR; MOVNE r0, #0: the second must not be executed.
    let [first, second] = halves(MRC_ACTLR);
    let code = code::thumb([THUMB_COMPARE, ITE_EQ, first, second, 0x2000, THUMB_BX_LR]);
    let found = call(code).unwrap_or(0);
    ensure_eq(found, cpu::actlr(), "IT behind a trapped instruction", 0)?;
    // MRCEQ ACTLR; MOVEQ r0, #5: it must be.
    let code = code::thumb([THUMB_COMPARE, ITT_EQ, first, second, 0x2005, THUMB_BX_LR]);
    let found = call(code).unwrap_or(0);
    ensure_eq(found, 5, "IT behind a trapped instruction", 1)
}

pub(crate) fn undefined_from_user_mode() -> Outcome {
    let user = state() & !MODE | USER;
    let check = |instruction: u32, code: usize, spsr: u32| {
        let mut found = exceptions::in_user_mode(code, A_WORD);
        found.spsr &= !FLAGS;
        ensure_eq(found.vector, UNDEFINED, "the vector", instruction)?;
        let size = if spsr & T != 0 { 2 } else { 4 };
        ensure_eq(found.lr, (code as u32 & !1) + size, "LR", instruction)?;
        ensure_eq(found.spsr, spsr, "SPSR", instruction)?;
        ensure_eq(found.sp_usr, exceptions::SP_USR, "SP_usr", instruction)?;
        ensure_eq(found.lr_usr, exceptions::LR_USR, "LR_usr", instruction)?;
        ensure_eq(found.regs[0], A_WORD, "R0", instruction)
    };
    // HVC and SMC are undefined there (B1.9, B9.3.10, B9.3.14), and so is WFI to no one.
    for instruction in [UDF, NO_REGISTER, NO_REGISTER_EITHER, HVC, SMC, MRC_ACTLR] {
        check(instruction, code::arm([instruction, SVC_0]), user)?;
    }
    for instruction in [NO_REGISTER, MRC_ACTLR] {
        let [first, second] = halves(instruction);
        check(instruction, code::thumb([first, second, THUMB_SVC_0]), user | T)?;
    }
    Ok(())
}

pub(crate) fn supervisor_calls() -> Outcome {
    let expect = |found: Record, lr: u32, spsr: u32| {
        let expected = Expected {
            vector: SVC,
            mode: SUPERVISOR,
            lr,
            spsr,
            masks: I,
        };
        expected.check(&found)
    };
    let state = state();
    let user = state & !MODE | USER;
    let code = code::arm([SVC_0 | 0x12_3456, BX_LR]);
    let Err(found) = call(code) else {
        return ensure(false, "SVC did nothing", [0; 3]);
    };
    expect(found, code as u32 + 4, state)?;
    let mut found = exceptions::in_user_mode(code, 0);
    found.spsr &= !FLAGS;
    expect(found, code as u32 + 4, user)?;
    let code = code::thumb([THUMB_SVC_0, THUMB_BX_LR]);
    let Err(found) = call(code) else {
        return ensure(false, "SVC did nothing", [1, 0, 0]);
    };
    expect(found, code as u32 + 1, state | T)?;
    let mut found = exceptions::in_user_mode(code, 0);
    found.spsr &= !FLAGS;
    expect(found, code as u32 + 1, user | T)
}

/// VBAR, SCTLR.V and SCTLR.TE choose the vector and the instruction set of exceptions.
pub(crate) fn vectors() -> Outcome {
    let check = |from: u32, place: u32| {
        for instruction in [UDF].into_iter().chain(no_registers().iter().copied()) {
            let code = code::arm([instruction, BX_LR]);
            let Err(found) = call(code) else {
                return ensure(false, "it was not undefined", [instruction, place, 0]);
            };
            ensure_eq(found.vector, UNDEFINED | from, "the vector", place)?;
            ensure_eq(found.lr, code as u32 + 4, "LR", place)?;
        }
        let code = code::arm([SVC_0, BX_LR]);
        let found = call(code).err().map_or(0, |found| found.vector);
        ensure_eq(found, SVC | from, "the vector of SVC", place)
    };
    cpu::masked(|| {
        exceptions::set_vectors(Vectors::Catching);
        let result = check(FROM_CATCHING, 1);
        exceptions::set_vectors(Vectors::Normal);
        result?;
        let high = (&raw const exceptions::vectors_high) as usize as u32;
        mmu::HIGH_TABLE.set(0xffff_0000, high | mmu::MEMORY_PAGE);
        let result = exceptions::with_sctlr(SCTLR_V, 0, || check(FROM_HIGH, 2));
        mmu::HIGH_TABLE.set(0xffff_0000, 0);
        result?;
        exceptions::set_vectors(Vectors::Thumb);
        let result = exceptions::with_sctlr(SCTLR_TE, 0, || check(FROM_THUMB, 3));
        exceptions::set_vectors(Vectors::Normal);
        result?;
        check(0, 4)
    })
}

const SGI: u32 = 15;

/// An interrupt that is pending is taken when it is unmasked.
fn interrupt(kind: u32, unmask: u32, thumb_unmask: u16, pending: u32) -> Outcome {
    let mode = if kind == FIQ { 0x11 } else { 0x12 };
    let masks = if kind == FIQ { A | I | F } else { A | I };
    let take = |code: usize, expected_lr: [u32; 2], spsr: u32, user: bool| {
        gic::send_sgi_to_self(SGI);
        ensure(
            timer::wait_until(|| cpu::isr() & pending != 0),
            "ISR does not show it",
            [cpu::isr(), kind, 0],
        )?;
        let found = if user {
            exceptions::with_psr(code, spsr)
        } else {
            match exceptions::catch(code, A_WORD, B_WORD) {
                Err(found) => found,
                Ok(_) => return ensure(false, "it was not taken", [kind, cpu::isr(), 0]),
            }
        };
        let iar = gic::acknowledge();
        gic::end(iar);
        let this_cpu = cpu::this_cpu() as u32;
        ensure_eq(iar, SGI | this_cpu << 10, "GICC_IAR", kind)?;
        ensure_eq(found.vector, kind | FROM_CATCHING, "the vector", kind)?;
        ensure(
            (expected_lr[0]..=expected_lr[1]).contains(&found.lr),
            "LR",
            [found.lr, expected_lr[0], expected_lr[1]],
        )?;
        ensure_eq(found.spsr & !FLAGS, spsr, "SPSR", kind)?;
        ensure_eq(found.cpsr & MODE, mode, "the mode", kind)?;
        ensure_eq(found.cpsr & masks, masks, "the masks", kind)?;
        ensure_eq(cpu::isr() & pending, 0, "ISR after it", kind)
    };
    // A and the other kind stay masked, this kind is not when it is taken.
    let all = SUPERVISOR | A | I | F;
    let this = if kind == FIQ { F } else { I };
    let code = code::arm([unmask, NOP, NOP, NOP, BX_LR]);
    let first = code as u32 + 4;
    take(code, [first + 4, first + 16], all & !this, false)?;
    let nops = [THUMB_NOP; 3];
    let code = code::thumb([thumb_unmask, nops[0], nops[1], nops[2], THUMB_BX_LR]);
    let first = (code as u32 & !1) + 2;
    take(code, [first + 4, first + 10], all & !this | T, false)?;
    // In user mode, where it cannot be masked but was before.
    let code = code::arm([BRANCH_TO_SELF]);
    let first = code as u32;
    take(code, [first + 4; 2], USER | (A | I | F) & !this, true)
}

fn with_interrupts_caught(control: u32, f: impl FnOnce() -> Outcome) -> Outcome {
    cpu::masked(|| {
        exceptions::set_vectors(Vectors::Catching);
        gic::write(gic::GICC_CTLR, control);
        let result = f();
        gic::write(gic::GICC_CTLR, gic::CTLR_ENABLE);
        exceptions::set_vectors(Vectors::Normal);
        result
    })
}

pub(crate) fn irq() -> Outcome {
    with_interrupts_caught(gic::CTLR_ENABLE, || interrupt(IRQ, 0xf108_0080, 0xb662, 1 << 7))
}

/// Group 0 as FIQs.
pub(crate) fn fiq() -> Outcome {
    with_interrupts_caught(gic::CTLR_ENABLE | gic::CTLR_FIQ, || {
        interrupt(FIQ, 0xf108_0040, 0xb661, 1 << 6)
    })
}
