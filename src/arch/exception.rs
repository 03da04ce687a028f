// SPDX-License-Identifier: GPL-2.0

//! What the hardware does when an exception is taken to PL1 (B1.9), for those that
//! a guest is given in software.

use crate::{
    cp15::Cp15Reg,
    psr::{
        Mode,
        Psr, //
    },
    regs::{
        Sctlr,
        TTBCR_EAE, //
    },
};

/// The registers of a CPU that an exception reads and changes.
pub trait CoreRegs {
    /// The program counter: the address of the instruction.
    fn pc(&self) -> u32;
    /// Sets the program counter.
    fn set_pc(&mut self, pc: u32);
    /// CPSR.
    fn cpsr(&self) -> u32;
    /// Sets CPSR.
    fn set_cpsr(&mut self, cpsr: u32);
    /// Sets LR and SPSR of a mode.
    fn set_banked(&mut self, mode: Mode, lr: u32, spsr: u32);
    /// A register of CP15.
    fn cp15(&self, reg: Cp15Reg) -> u32;
    /// Sets a register of CP15.
    fn set_cp15(&mut self, reg: Cp15Reg, value: u32);
}

/// Exceptions that can be given to a guest.
#[derive(Clone, Copy)]
enum Exception {
    Undefined,
    PrefetchAbort,
    DataAbort,
}

impl Exception {
    /// The vector (table B1-3).
    const fn vector(self) -> u32 {
        match self {
            Self::Undefined => 0x04,
            Self::PrefetchAbort => 0x0c,
            Self::DataAbort => 0x10,
        }
    }

    const fn mode(self) -> Mode {
        match self {
            Self::Undefined => Mode::Und,
            Self::PrefetchAbort | Self::DataAbort => Mode::Abt,
        }
    }

    /// How far LR is behind the instruction (table B1-7).
    const fn lr_offset(self, thumb: bool) -> u32 {
        match self {
            Self::Undefined => {
                if thumb {
                    2
                } else {
                    4
                }
            }
            Self::PrefetchAbort => 4,
            Self::DataAbort => 8,
        }
    }

    /// What is masked in addition to what is already. FIQs are left as they are.
    const fn masks(self) -> u32 {
        match self {
            Self::Undefined => Psr::I,
            // B1.9.7, B1.9.8: with the virtualization extensions, A is always set.
            Self::PrefetchAbort | Self::DataAbort => Psr::I | Psr::A,
        }
    }
}

const HIGH_VECTORS: u32 = 0xffff_0000;

/// ExcVectorBase() (B1.8.1).
fn vector_base(regs: &impl CoreRegs, sctlr: Sctlr) -> u32 {
    if sctlr.contains(Sctlr::V) {
        HIGH_VECTORS
    } else {
        // The five low bits are reserved.
        regs.cp15(Cp15Reg::Vbar) & !0x1f
    }
}

fn take(regs: &mut impl CoreRegs, exception: Exception) {
    let sctlr = Sctlr::from_bits_retain(regs.cp15(Cp15Reg::Sctlr));
    let old = Psr(regs.cpsr());
    let lr = regs.pc().wrapping_add(exception.lr_offset(old.is_thumb()));

    let mut new = old.with_mode(exception.mode()).with_it_state(0).0;
    new &= !(Psr::J | Psr::T | Psr::E);
    new |= exception.masks();
    if sctlr.contains(Sctlr::TE) {
        new |= Psr::T;
    }
    if sctlr.contains(Sctlr::EE) {
        new |= Psr::E;
    }

    let base = vector_base(regs, sctlr);
    regs.set_banked(exception.mode(), lr, old.0);
    regs.set_cpsr(new);
    regs.set_pc(base.wrapping_add(exception.vector()));
}

/// What an access was aborted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is mapped.
    Translation,
    /// The access flag is clear.
    AccessFlag,
    /// The domain gives no access.
    Domain,
    /// The descriptor gives no access.
    Permission,
    /// A synchronous external abort: what a bus reports for an address at which there is nothing.
    External,
    /// The same, for a table of the translation.
    ExternalOnWalk,
}

/// An abort of an access, or of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// What for.
    pub kind: FaultKind,
    /// The level of the walk, for those that have one.
    pub level: u32,
    /// The domain, as far as it was known.
    pub domain: u32,
}

impl DataFault {
    /// DFSR and IFSR: the long-descriptor format is in use, and so that of the register.
    const LPAE: u32 = 1 << 9;
    /// DFSR only: a write.
    const WNR: u32 = 1 << 11;

    /// A table of the translation is where there is nothing; it is of this level.
    pub const fn on_walk(level: u32) -> Self {
        Self {
            level,
            ..Self::new(FaultKind::ExternalOnWalk)
        }
    }

    /// A fault without a level.
    const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            level: 0,
            domain: 0,
        }
    }

    /// FS and Domain in the short-descriptor format (table B3-23).
    const fn short(self) -> u32 {
        let level = if self.level >= 2 { 2 } else { 0 };
        let status = match self.kind {
            FaultKind::Translation => 0b0_0101 + level,
            FaultKind::AccessFlag if level == 0 => 0b0_0011,
            FaultKind::AccessFlag => 0b0_0110,
            FaultKind::Domain => 0b0_1001 + level,
            FaultKind::Permission => 0b0_1101 + level,
            FaultKind::External => 0b0_1000,
            FaultKind::ExternalOnWalk => 0b0_1100 + level,
        };
        status | (self.domain & 0xf) << 4
    }

    /// STATUS in the long-descriptor format (table B3-24).
    const fn long(self) -> u32 {
        let level = self.level & 3;
        Self::LPAE
            | match self.kind {
                FaultKind::Translation => 0b00_0100 | level,
                FaultKind::AccessFlag => 0b00_1000 | level,
                // There are none.
                FaultKind::Domain => 0b11_1100 | level,
                FaultKind::Permission => 0b00_1100 | level,
                FaultKind::External => 0b01_0000,
                FaultKind::ExternalOnWalk => 0b01_0100 | level,
            }
    }

    /// DFSR without WnR, and IFSR.
    fn status(self, regs: &impl CoreRegs) -> u32 {
        if regs.cp15(Cp15Reg::Ttbcr) & TTBCR_EAE != 0 {
            self.long()
        } else {
            self.short()
        }
    }
}

/// Gives the guest an Undefined Instruction exception for the instruction at PC (B1.9.2).
pub fn inject_undefined(regs: &mut impl CoreRegs) {
    take(regs, Exception::Undefined);
}

/// Gives the guest a data abort for the instruction at PC: a synchronous external abort at the
/// virtual address `addr`, on a write if `write` (B1.9.8).
pub fn inject_data_abort(regs: &mut impl CoreRegs, addr: u32, write: bool) {
    inject_data_fault(regs, DataFault::new(FaultKind::External), addr, write);
}

/// The same for any fault.
pub fn inject_data_fault(regs: &mut impl CoreRegs, fault: DataFault, addr: u32, write: bool) {
    let wnr = if write { DataFault::WNR } else { 0 };
    let status = fault.status(regs) | wnr;
    regs.set_cp15(Cp15Reg::Dfsr, status);
    regs.set_cp15(Cp15Reg::Dfar, addr);
    take(regs, Exception::DataAbort);
}

/// Gives the guest a prefetch abort for the instruction at PC: a synchronous external abort at the
/// virtual address `addr` (B1.9.7).
pub fn inject_prefetch_abort(regs: &mut impl CoreRegs, addr: u32) {
    inject_prefetch_fault(regs, DataFault::new(FaultKind::External), addr);
}

/// The same for any fault.
pub fn inject_prefetch_fault(regs: &mut impl CoreRegs, fault: DataFault, addr: u32) {
    // IFSR has no domain.
    let fault = DataFault { domain: 0, ..fault };
    let status = fault.status(regs);
    regs.set_cp15(Cp15Reg::Ifsr, status);
    regs.set_cp15(Cp15Reg::Ifar, addr);
    take(regs, Exception::PrefetchAbort);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Regs {
        pc: u32,
        cpsr: u32,
        banked: Option<(Mode, u32, u32)>,
        cp15: [u32; Cp15Reg::COUNT],
    }

    impl CoreRegs for Regs {
        fn pc(&self) -> u32 {
            self.pc
        }
        fn set_pc(&mut self, pc: u32) {
            self.pc = pc;
        }
        fn cpsr(&self) -> u32 {
            self.cpsr
        }
        fn set_cpsr(&mut self, cpsr: u32) {
            self.cpsr = cpsr;
        }
        fn set_banked(&mut self, mode: Mode, lr: u32, spsr: u32) {
            self.banked = Some((mode, lr, spsr));
        }
        fn cp15(&self, reg: Cp15Reg) -> u32 {
            self.cp15[reg as usize]
        }
        fn set_cp15(&mut self, reg: Cp15Reg, value: u32) {
            self.cp15[reg as usize] = value;
        }
    }

    fn at(pc: u32, cpsr: u32) -> Regs {
        let mut regs = Regs {
            pc,
            cpsr,
            ..Regs::default()
        };
        regs.set_cp15(Cp15Reg::Vbar, 0x8000_0000);
        regs
    }

    #[test]
    fn undefined_in_arm_and_thumb_state() {
        let mut regs = at(0x1000, 0x6000_0010);
        inject_undefined(&mut regs);
        assert_eq!(regs.pc, 0x8000_0004);
        assert_eq!(regs.cpsr, 0x6000_009b);
        assert_eq!(regs.banked, Some((Mode::Und, 0x1004, 0x6000_0010)));

        // Thumb, in an IT block, FIQs masked already.
        let mut regs = at(0x1002, 0x0600_0c73);
        inject_undefined(&mut regs);
        assert_eq!(regs.cpsr, 0x0000_00db);
        assert_eq!(regs.banked, Some((Mode::Und, 0x1004, 0x0600_0c73)));
    }

    #[test]
    fn vectors_follow_sctlr() {
        let mut regs = at(0x1000, 0x13);
        regs.set_cp15(Cp15Reg::Sctlr, (Sctlr::V | Sctlr::TE | Sctlr::EE).bits());
        inject_undefined(&mut regs);
        assert_eq!(regs.pc, 0xffff_0004);
        assert_eq!(regs.cpsr, Mode::Und.bits() | Psr::I | Psr::T | Psr::E);
    }

    #[test]
    fn aborts_report_an_external_abort() {
        let mut regs = at(0x1000, 0x10);
        inject_data_abort(&mut regs, 0xdead_0000, true);
        assert_eq!(regs.pc, 0x8000_0010);
        assert_eq!(regs.cpsr, Mode::Abt.bits() | Psr::I | Psr::A);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1008, 0x10)));
        assert_eq!(regs.cp15(Cp15Reg::Dfsr), 0x808);
        assert_eq!(regs.cp15(Cp15Reg::Dfar), 0xdead_0000);

        let mut regs = at(0x1000, 0x30);
        regs.set_cp15(Cp15Reg::Ttbcr, TTBCR_EAE);
        inject_prefetch_abort(&mut regs, 0x1000);
        assert_eq!(regs.pc, 0x8000_000c);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1004, 0x30)));
        assert_eq!(regs.cp15(Cp15Reg::Ifsr), 0x210);
        assert_eq!(regs.cp15(Cp15Reg::Ifar), 0x1000);

        let mut regs = at(0x1000, 0x30);
        regs.set_cp15(Cp15Reg::Ttbcr, TTBCR_EAE);
        inject_data_abort(&mut regs, 0, false);
        assert_eq!(regs.cp15(Cp15Reg::Dfsr), 0x210);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1008, 0x30)));
    }

    #[test]
    fn aborts_of_walks_tell_the_level() {
        for (ttbcr, statuses) in [(0, [0x0c, 0x0e, 0x0e]), (TTBCR_EAE, [0x215, 0x216, 0x217])] {
            for (level, status) in (1..).zip(statuses) {
                let mut regs = at(0x1000, 0x10);
                regs.set_cp15(Cp15Reg::Ttbcr, ttbcr);
                let fault = DataFault {
                    domain: 5,
                    ..DataFault::on_walk(level)
                };
                inject_prefetch_fault(&mut regs, fault, 0x1000);
                assert_eq!(regs.cp15(Cp15Reg::Ifsr), status);
                assert_eq!(regs.cp15(Cp15Reg::Ifar), 0x1000);
                let mut regs = at(0x1000, 0x10);
                regs.set_cp15(Cp15Reg::Ttbcr, ttbcr);
                inject_data_fault(&mut regs, fault, 0x2000, true);
                let domain = if ttbcr == 0 { 5 << 4 } else { 0 };
                assert_eq!(regs.cp15(Cp15Reg::Dfsr), status | domain | 0x800);
                assert_eq!(regs.cp15(Cp15Reg::Dfar), 0x2000);
            }
        }
    }

    proptest! {
        #[test]
        fn the_handler_can_return(pc: u32, cpsr: u32, sctlr: u32, vbar: u32, which in 0..3) {
            let mut regs = at(pc, cpsr);
            regs.set_cp15(Cp15Reg::Sctlr, sctlr);
            regs.set_cp15(Cp15Reg::Vbar, vbar);
            // What a handler subtracts from LR to get back to the instruction (table B1-6).
            let thumb = cpsr & Psr::T != 0;
            let back = match which {
                0 => { inject_undefined(&mut regs); if thumb { 2 } else { 4 } }
                1 => { inject_prefetch_abort(&mut regs, pc); 4 }
                _ => { inject_data_abort(&mut regs, 0, true); 8 }
            };
            let (mode, lr, spsr) = regs.banked.unwrap();
            prop_assert_eq!(lr.wrapping_sub(back), pc);
            prop_assert_eq!(spsr, cpsr);
            prop_assert_eq!(Psr(regs.cpsr).mode(), Some(mode));
            prop_assert_eq!(Psr(regs.cpsr).it_state(), 0);
            prop_assert!(Psr(regs.cpsr).has(Psr::I));
            // Flags and the FIQ mask are as they were.
            let kept = Psr::F | 0xf800_0000 | 0x000f_0000;
            prop_assert_eq!(regs.cpsr & kept, cpsr & kept);
        }
    }
}
