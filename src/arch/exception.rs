// SPDX-License-Identifier: GPL-2.0

//! The entry of exceptions to PL1 (B1.9) as the hardware does it, for those that a guest is given
//! in software.

use crate::{
    cp15::Cp15Reg,
    hsr::{
        AbortIss,
        FaultStatus, //
    },
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

    /// The exceptions that the entry masks beside those that are masked already. FIQs stay as they
    /// are.
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

/// The vectors of PL1 (table B1-3) to which an exception can lead that no instruction asks for.
const VECTORS: [u32; 5] = [0x04, 0x0c, 0x10, 0x18, 0x1c];
/// That of SVC.
const SVC_VECTOR: u32 = 0x08;

/// The addresses at which a guest goes on after an exception other than SVC, and after SVC.
pub fn vectors(regs: &impl CoreRegs) -> ([u32; 5], u32) {
    let base = vector_base(regs, Sctlr::from_bits_retain(regs.cp15(Cp15Reg::Sctlr)));
    (
        VECTORS.map(|offset| base.wrapping_add(offset)),
        base.wrapping_add(SVC_VECTOR),
    )
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

/// The reason for which an access or a fetch is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The address is not a multiple of what the access demands.
    Alignment,
    /// Nothing is mapped.
    Translation,
    /// The access flag is clear.
    AccessFlag,
    /// The domain gives no access.
    Domain,
    /// The descriptor gives no access.
    Permission,
    /// A synchronous external abort: the answer of a bus for an address at which there is nothing.
    External {
        /// The core's class of it, which DFSR.ExT and IFSR.ExT tell. Cortex-A7 and A15 report the
        /// bus's decode error as 0, and the error of a device that is there as 1.
        ext: bool,
    },
    /// The same, for a table of the translation.
    ExternalOnWalk,
    /// A synchronous parity error.
    Parity,
    /// A debug event: DBGDSCR.MOE tells which.
    Debug,
}

/// The nature of an aborted access, as far as DFSR tells (B4.1.52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An operation of CP15 by address: cache maintenance, or a translation. DFSR has it as a
    /// write (WnR) and says which kind of a write it was (CM).
    Maintenance,
}

impl Direction {
    /// DFSR: WnR.
    const WNR: u32 = 1 << 11;
    /// DFSR: CM, in both formats.
    const CM: u32 = 1 << 13;

    /// A store if `write`, else a load.
    pub const fn of(write: bool) -> Self {
        if write {
            Self::Write
        } else {
            Self::Read
        }
    }

    /// Its bits of DFSR.
    const fn bits(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => Self::WNR,
            Self::Maintenance => Self::WNR | Self::CM,
        }
    }
}

/// An abort of an access, or of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// The reason.
    pub kind: FaultKind,
    /// The level of the walk, for those that have one.
    pub level: u32,
    /// The domain, as far as it was known.
    pub domain: u32,
}

impl DataFault {
    /// DFSR and IFSR: the long-descriptor format is in use, and so that of the register.
    const LPAE: u32 = 1 << 9;
    /// DFSR and IFSR: ExT, the class of an external abort.
    const EXT: u32 = 1 << 12;

    /// The address is one at which there is nothing.
    pub const DECODE_ERROR: Self = Self::new(FaultKind::External { ext: false });

    /// A breakpoint, or BKPT.
    pub const DEBUG: Self = Self::new(FaultKind::Debug);

    /// A table of the translation is where there is nothing; it is of this level.
    pub const fn on_walk(level: u32) -> Self {
        Self {
            level,
            ..Self::new(FaultKind::ExternalOnWalk)
        }
    }

    /// The abort that a guest gets for one which came to HYP mode and is no fault of stage 2's
    /// tables.
    ///
    /// An error that was met in a walk of stage 2 is one of the access itself to the guest, which
    /// has no such walk. A device that the guest has mapped as memory gives an alignment fault at
    /// stage 2.
    pub const fn of_hardware(abort: AbortIss) -> Self {
        Self::new(match abort.status() {
            FaultStatus::Alignment => FaultKind::Alignment,
            FaultStatus::Parity | FaultStatus::ParityOnWalk(_) => FaultKind::Parity,
            _ => FaultKind::External { ext: abort.ea() },
        })
    }

    /// A fault without a level.
    const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            level: 0,
            domain: 0,
        }
    }

    /// FS, ExT and Domain in the short-descriptor format (table B3-23).
    const fn short(self) -> u32 {
        /// `FS[4]`, which is apart from the others.
        const FS4: u32 = 1 << 10;
        let level = if self.level >= 2 { 2 } else { 0 };
        let status = match self.kind {
            FaultKind::Alignment => 0b0001,
            FaultKind::Translation => 0b0101 + level,
            FaultKind::AccessFlag if level == 0 => 0b0011,
            FaultKind::AccessFlag => 0b0110,
            FaultKind::Domain => 0b1001 + level,
            FaultKind::Permission => 0b1101 + level,
            FaultKind::External { ext: false } => 0b1000,
            FaultKind::External { ext: true } => Self::EXT | 0b1000,
            FaultKind::ExternalOnWalk => 0b1100 + level,
            FaultKind::Parity => FS4 | 0b1001,
            FaultKind::Debug => 0b0010,
        };
        status | (self.domain & 0xf) << 4
    }

    /// STATUS and ExT in the long-descriptor format (table B3-24).
    const fn long(self) -> u32 {
        let level = self.level & 3;
        Self::LPAE
            | match self.kind {
                FaultKind::Alignment => 0b10_0001,
                FaultKind::Translation => 0b00_0100 | level,
                FaultKind::AccessFlag => 0b00_1000 | level,
                // This format has no domains.
                FaultKind::Domain => 0b11_1100 | level,
                FaultKind::Permission => 0b00_1100 | level,
                FaultKind::External { ext: false } => 0b01_0000,
                FaultKind::External { ext: true } => Self::EXT | 0b01_0000,
                FaultKind::ExternalOnWalk => 0b01_0100 | level,
                FaultKind::Parity => 0b01_1000,
                FaultKind::Debug => 0b10_0010,
            }
    }

    /// DFSR without WnR and CM, and IFSR.
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

/// Gives the guest a data abort for the instruction at PC, which accessed the virtual address
/// `address` (B1.9.8).
///
/// ADFSR stays as it is: Cortex-A7 has nothing in it, and Cortex-A15 only an error of its own RAMs.
pub fn inject_data_abort(
    regs: &mut impl CoreRegs,
    fault: DataFault,
    address: u32,
    direction: Direction,
) {
    let status = fault.status(regs) | direction.bits();
    regs.set_cp15(Cp15Reg::Dfsr, status);
    regs.set_cp15(Cp15Reg::Dfar, address);
    take(regs, Exception::DataAbort);
}

/// Gives the guest a prefetch abort for the instruction at PC, whose fetch from the virtual address
/// `address` failed (B1.9.7).
pub fn inject_prefetch_abort(regs: &mut impl CoreRegs, fault: DataFault, address: u32) {
    // IFSR has no domain.
    let fault = DataFault { domain: 0, ..fault };
    let status = fault.status(regs);
    regs.set_cp15(Cp15Reg::Ifsr, status);
    regs.set_cp15(Cp15Reg::Ifar, address);
    take(regs, Exception::PrefetchAbort);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsr::Hsr;
    use inputs::prelude::*;

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
        let others = [
            0xffff_0004,
            0xffff_000c,
            0xffff_0010,
            0xffff_0018,
            0xffff_001c,
        ];
        assert_eq!(vectors(&regs), (others, 0xffff_0008));
        assert_eq!(vectors(&at(0, 0)).1, 0x8000_0008);
        assert_eq!(regs.cpsr, Mode::Und.bits() | Psr::I | Psr::T | Psr::E);
    }

    #[test]
    fn aborts_are_taken_by_their_vectors() {
        let mut regs = at(0x1000, 0x10);
        let fault = DataFault::DECODE_ERROR;
        inject_data_abort(&mut regs, fault, 0xdead_0000, Direction::Write);
        assert_eq!(regs.pc, 0x8000_0010);
        assert_eq!(regs.cpsr, Mode::Abt.bits() | Psr::I | Psr::A);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1008, 0x10)));
        assert_eq!(regs.cp15(Cp15Reg::Dfsr), 0x808);
        assert_eq!(regs.cp15(Cp15Reg::Dfar), 0xdead_0000);

        let mut regs = at(0x1000, 0x30);
        regs.set_cp15(Cp15Reg::Ttbcr, TTBCR_EAE);
        inject_prefetch_abort(&mut regs, fault, 0x1000);
        assert_eq!(regs.pc, 0x8000_000c);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1004, 0x30)));
        assert_eq!(regs.cp15(Cp15Reg::Ifsr), 0x210);
        assert_eq!(regs.cp15(Cp15Reg::Ifar), 0x1000);

        let mut regs = at(0x1000, 0x30);
        regs.set_cp15(Cp15Reg::Ttbcr, TTBCR_EAE);
        inject_data_abort(&mut regs, fault, 0, Direction::Read);
        assert_eq!(regs.cp15(Cp15Reg::Dfsr), 0x210);
        assert_eq!(regs.banked, Some((Mode::Abt, 0x1008, 0x30)));
    }

    /// All faults, with FS (and ExT) of the short-descriptor format and STATUS of the long one, as
    /// tables B3-23 and B3-24 have them.
    const FAULTS: [(FaultKind, u32, u32, u32); 17] = [
        (FaultKind::Alignment, 0, 0x0001, 0x21),
        (FaultKind::Translation, 1, 0x0005, 0x05),
        (FaultKind::Translation, 2, 0x0007, 0x06),
        (FaultKind::AccessFlag, 1, 0x0003, 0x09),
        (FaultKind::AccessFlag, 2, 0x0006, 0x0a),
        (FaultKind::Domain, 1, 0x0009, 0x3d),
        (FaultKind::Domain, 2, 0x000b, 0x3e),
        (FaultKind::Permission, 1, 0x000d, 0x0d),
        (FaultKind::Permission, 2, 0x000f, 0x0e),
        (FaultKind::External { ext: false }, 0, 0x0008, 0x10),
        (FaultKind::External { ext: true }, 0, 0x1008, 0x1010),
        (FaultKind::ExternalOnWalk, 1, 0x000c, 0x15),
        (FaultKind::ExternalOnWalk, 2, 0x000e, 0x16),
        (FaultKind::ExternalOnWalk, 3, 0x000e, 0x17),
        (FaultKind::Debug, 0, 0x0002, 0x22),
        (FaultKind::Parity, 0, 0x0409, 0x18),
        (FaultKind::Parity, 2, 0x0409, 0x18),
    ];

    #[test]
    fn every_bit_of_the_fault_status_registers() {
        for (kind, level, short, long) in FAULTS {
            for ttbcr in [0, TTBCR_EAE] {
                let is_long = ttbcr != 0;
                let status = if is_long { 0x200 | long } else { short };
                let domain = if is_long { 0 } else { 5 << 4 };
                let fault = DataFault {
                    kind,
                    level,
                    domain: 5,
                };
                for (direction, bits) in [
                    (Direction::of(false), 0),
                    (Direction::of(true), 0x800),
                    (Direction::Maintenance, 0x2800),
                ] {
                    let mut regs = at(0x1000, 0x10);
                    regs.set_cp15(Cp15Reg::Ttbcr, ttbcr);
                    regs.set_cp15(Cp15Reg::Dfsr, u32::MAX);
                    regs.set_cp15(Cp15Reg::Adfsr, 0x1234);
                    inject_data_abort(&mut regs, fault, 0x2000, direction);
                    assert_eq!(
                        regs.cp15(Cp15Reg::Dfsr),
                        status | domain | bits,
                        "{fault:?}, {direction:?}, long: {is_long}"
                    );
                    assert_eq!(regs.cp15(Cp15Reg::Adfsr), 0x1234);
                }
                let mut regs = at(0x1000, 0x10);
                regs.set_cp15(Cp15Reg::Ttbcr, ttbcr);
                regs.set_cp15(Cp15Reg::Ifsr, u32::MAX);
                inject_prefetch_abort(&mut regs, fault, 0x2000);
                assert_eq!(regs.cp15(Cp15Reg::Ifsr), status, "{fault:?}");
            }
        }
    }

    #[test]
    fn what_the_hardware_met_is_passed_on() {
        let of =
            |fsc: u32, ea: u32| DataFault::of_hardware(Hsr(0x24 << 26 | ea << 9 | fsc).abort());
        for fsc in 0..64 {
            for ea in [0, 1] {
                let kind = match fsc {
                    0b10_0001 => FaultKind::Alignment,
                    0b01_1000 | 0b01_1100..=0b01_1111 => FaultKind::Parity,
                    _ => FaultKind::External { ext: ea != 0 },
                };
                assert_eq!(of(fsc, ea), DataFault::new(kind), "{fsc:#b}");
            }
        }
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
                inject_prefetch_abort(&mut regs, fault, 0x1000);
                assert_eq!(regs.cp15(Cp15Reg::Ifsr), status);
                assert_eq!(regs.cp15(Cp15Reg::Ifar), 0x1000);
                let mut regs = at(0x1000, 0x10);
                regs.set_cp15(Cp15Reg::Ttbcr, ttbcr);
                inject_data_abort(&mut regs, fault, 0x2000, Direction::Write);
                let domain = if ttbcr == 0 { 5 << 4 } else { 0 };
                assert_eq!(regs.cp15(Cp15Reg::Dfsr), status | domain | 0x800);
                assert_eq!(regs.cp15(Cp15Reg::Dfar), 0x2000);
            }
        }
    }

    inputs! {
        fn the_handler_can_return(pc: u32, cpsr: u32, sctlr: u32, vbar: u32, which in 0..3) {
            let mut regs = at(pc, cpsr);
            regs.set_cp15(Cp15Reg::Sctlr, sctlr);
            regs.set_cp15(Cp15Reg::Vbar, vbar);
            // A handler subtracts this from LR to get back to the instruction (table B1-6).
            let thumb = cpsr & Psr::T != 0;
            let fault = DataFault::DECODE_ERROR;
            let back = match which {
                0 => { inject_undefined(&mut regs); if thumb { 2 } else { 4 } }
                1 => { inject_prefetch_abort(&mut regs, fault, pc); 4 }
                _ => { inject_data_abort(&mut regs, fault, 0, Direction::Write); 8 }
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
