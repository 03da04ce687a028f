// SPDX-License-Identifier: GPL-2.0

//! Conditional execution: whether a trapped instruction would have been executed,
//! and what skipping one does to PC and ITSTATE.
//!
//! A core may trap an instruction whose condition fails (B1.14.1). It must be
//! skipped then, not emulated.

use crate::{
    hsr::Hsr,
    psr::Psr, //
};

/// The condition field of an instruction (A8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cond(u8);

impl Cond {
    /// Always.
    pub const AL: Self = Self(0b1110);

    /// The condition that four bits name.
    #[inline]
    pub const fn new(bits: u32) -> Self {
        Self((bits & 0xf) as u8)
    }

    /// The field.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Whether the flags of `psr` pass (A8.3.1, ConditionPassed).
    #[inline]
    pub const fn holds(self, psr: Psr) -> bool {
        // Nearly all conditions are AL. 0b1111 is none: the instruction is unconditional.
        if self.0 >= Self::AL.0 {
            return true;
        }
        let (n, z) = (psr.has(Psr::N), psr.has(Psr::Z));
        let (c, v) = (psr.has(Psr::C), psr.has(Psr::V));
        let positive = match self.0 >> 1 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            _ => n == v && !z,
        };
        positive == (self.0 & 1 == 0)
    }
}

/// Whether the instruction that the syndrome is about passes its condition. The syndrome is of a
/// class whose instructions can be trapped with a condition that fails.
///
/// For an Arm instruction the syndrome has the condition. For a Thumb instruction the syndrome may
/// leave the condition out; then the IT block has it, if the instruction is in one (B3.13.6, "the
/// CV and COND fields").
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
pub(crate) fn condition_holds(hsr: Hsr, cpsr: u32) -> bool {
    let psr = Psr(cpsr);
    let cond = match (hsr.condition(), psr.it_state()) {
        (Some(cond), _) => cond,
        (None, 0) => return true,
        (None, it) => Cond::new(u32::from(it) >> 4),
    };
    cond.holds(psr)
}

/// The status register after one instruction of an IT block (A2.5.2, ITAdvance).
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
#[must_use]
pub const fn advance_it(cpsr: u32) -> u32 {
    let psr = Psr(cpsr);
    let it = psr.it_state();
    let next = if it & 7 == 0 {
        0
    } else {
        it & 0xe0 | it << 1 & 0x1f
    };
    psr.with_it_state(next).0
}

/// PC and status register behind the instruction at `pc`; `il` says that it is a
/// 32-bit one (HSR.IL).
#[inline]
#[must_use]
pub const fn next_pc(pc: u32, cpsr: u32, il: bool) -> (u32, u32) {
    let size = if il { 4 } else { 2 };
    let cpsr = if Psr(cpsr).is_thumb() {
        advance_it(cpsr)
    } else {
        cpsr
    };
    (pc.wrapping_add(size), cpsr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    /// The table of A8.3, line by line.
    fn model(cond: u32, n: bool, z: bool, c: bool, v: bool) -> bool {
        match cond {
            0b0000 => z,
            0b0001 => !z,
            0b0010 => c,
            0b0011 => !c,
            0b0100 => n,
            0b0101 => !n,
            0b0110 => v,
            0b0111 => !v,
            0b1000 => c && !z,
            0b1001 => !c || z,
            0b1010 => n == v,
            0b1011 => n != v,
            0b1100 => !z && n == v,
            0b1101 => z || n != v,
            _ => true,
        }
    }

    #[test]
    fn every_condition_with_all_flags() {
        for cond in 0..16 {
            for flags in 0..16u32 {
                let psr = Psr(flags << 28);
                let bit = |n: u32| flags >> n & 1 == 1;
                assert_eq!(
                    Cond::new(cond).holds(psr),
                    model(cond, bit(3), bit(2), bit(1), bit(0)),
                    "condition {cond:#x} with flags {flags:#x}"
                );
            }
        }
    }

    /// The condition of each instruction of an IT block, as the assembler writes it: the first
    /// condition, then `x` for each letter: true for T, false for E.
    fn it_byte(first: u8, then: &[bool]) -> u8 {
        let mut mask = 0u8;
        for (n, &t) in then.iter().enumerate() {
            mask |= (if t { first & 1 } else { !first & 1 }) << (3 - n);
        }
        mask |= 1 << (3 - then.len());
        first << 4 | mask
    }

    inputs! {
        fn it_blocks_run_to_their_end(
            first in 0u8..14,
            then in prop::collection::vec(any::<bool>(), 0..4),
            cpsr: u32,
        ) {
            let base = Psr(cpsr | Psr::T);
            let mut psr = base.with_it_state(it_byte(first, &then)).0;
            let hsr = Hsr(0x01 << 26);
            let mut conditions = std::vec![first];
            conditions.extend(then.iter().map(|&t| if t { first } else { first ^ 1 }));
            for cond in conditions {
                prop_assert!(Psr(psr).it_state() != 0);
                prop_assert_eq!(
                    condition_holds(hsr, psr),
                    Cond::new(u32::from(cond)).holds(Psr(psr))
                );
                let (pc, next) = next_pc(0x1000, psr, false);
                prop_assert_eq!(pc, 0x1002);
                psr = next;
            }
            prop_assert_eq!(psr, base.with_it_state(0).0);
            prop_assert!(condition_holds(hsr, psr));
        }

        fn the_syndrome_has_the_last_word(cpsr: u32, cond in 0u32..16) {
            let hsr = Hsr(0x03 << 26 | 1 << 24 | cond << 20);
            prop_assert_eq!(condition_holds(hsr, cpsr), Cond::new(cond).holds(Psr(cpsr)));
        }

        fn arm_state_has_no_it(pc: u32, cpsr: u32) {
            let cpsr = cpsr & !Psr::T;
            prop_assert_eq!(next_pc(pc, cpsr, true), (pc.wrapping_add(4), cpsr));
        }
    }
}
