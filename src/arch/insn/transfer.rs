// SPDX-License-Identifier: GPL-2.0

//! A load or store under way: access by access, with registers changed at the end.

use super::{
    load_store::{
        Address,
        LoadStore,
        LoadStoreKind,
        Offset,
        PC, //
    },
    Instruction, //
};
use crate::{
    addr::PAGE_SIZE,
    cond::{
        next_pc,
        Cond, //
    },
    psr::{
        Mode,
        Psr, //
    },
};

/// The registers that an instruction sees in its mode.
pub trait ModeRegisters {
    /// Reads R0 to R14.
    fn get(&self, n: usize) -> u32;
    /// Writes R0 to R14.
    fn set(&mut self, n: usize, value: u32);
    /// The address of the instruction.
    fn pc(&self) -> u32;
    /// Sets where to go on.
    fn set_pc(&mut self, pc: u32);
    /// CPSR.
    fn cpsr(&self) -> u32;
    /// Sets CPSR.
    fn set_cpsr(&mut self, cpsr: u32);
}

/// An access to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusAccess {
    /// The virtual address.
    pub address: u32,
    /// 1, 2, 4 or 8 bytes. They are in one page.
    pub bytes: usize,
    /// The bytes of a store as they are to be in memory; none for a load.
    pub store: Option<[u8; 8]>,
}

/// The address is not a multiple of what the instruction demands, whatever SCTLR.A is (A3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unaligned(
    /// The address.
    pub u32,
);

/// The most bytes that one instruction transfers.
const MAX_BYTES: usize = 64;

/// A load or store under way.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    kind: LoadStoreKind,
    il: bool,
    /// The address of the first byte.
    start: u32,
    /// How many bytes have been transferred, and how many there are.
    done: u8,
    bytes: u8,
    /// The bytes of one access, unless less is left, or it would leave its page.
    unit: u8,
    big_endian: bool,
    /// The base register and what it becomes.
    writeback: Option<(u8, u32)>,
    /// A swap is loading, then storing.
    swapped: bool,
    /// The bytes of memory, as they are or as they are to be.
    data: [u8; MAX_BYTES],
}

/// Whether an instruction is executed, given its condition or ITSTATE (A8.3.1).
pub fn is_executed(insn: &LoadStore, cpsr: u32) -> bool {
    let psr = Psr(cpsr);
    match (insn.cond, psr.it_state()) {
        (Some(cond), _) => cond.holds(psr),
        (None, 0) => true,
        (None, it) => Cond::new(u32::from(it) >> 4).holds(psr),
    }
}

/// R15 as an instruction reads it.
pub(super) fn pc_value(regs: &impl ModeRegisters) -> u32 {
    let ahead = if Psr(regs.cpsr()).is_thumb() { 4 } else { 8 };
    regs.pc().wrapping_add(ahead)
}

pub(super) fn read(regs: &impl ModeRegisters, n: u8) -> u32 {
    if n == PC {
        pc_value(regs)
    } else {
        regs.get(usize::from(n))
    }
}

/// The address of the first byte, and what the base register becomes.
fn addresses(address: &Address, kind: LoadStoreKind, regs: &impl ModeRegisters) -> (u32, u32) {
    let base = match (address.rn, kind) {
        (PC, LoadStoreKind::TableBranch { .. }) => pc_value(regs),
        (PC, _) => pc_value(regs) & !3,
        (rn, _) => read(regs, rn),
    };
    let offset = match address.offset {
        Offset::Immediate(value) => value,
        Offset::Register { rm, shift } => shift.apply(read(regs, rm), Psr(regs.cpsr()).has(Psr::C)),
    };
    let sum = if address.add {
        base.wrapping_add(offset)
    } else {
        base.wrapping_sub(offset)
    };
    let start = match kind {
        // IA, IB, DB, DA: `index` says that the word next to the base is left out.
        LoadStoreKind::Multiple { .. } => match (address.add, address.index) {
            (true, false) => base,
            (true, true) => base.wrapping_add(4),
            (false, true) => sum,
            (false, false) => sum.wrapping_add(4),
        },
        _ if address.index => sum,
        _ => base,
    };
    (start, sum)
}

impl Transfer {
    /// Begins what `insn` does with these registers.
    pub fn new(
        instruction: Instruction,
        insn: &LoadStore,
        regs: &impl ModeRegisters,
    ) -> Result<Self, Unaligned> {
        let (start, sum) = addresses(&insn.address, insn.kind, regs);
        // The bytes of all, of one access, and what the address has to be a multiple of.
        let (bytes, unit, alignment) = match insn.kind {
            LoadStoreKind::Single { bytes, .. } | LoadStoreKind::TableBranch { bytes } => {
                (bytes, bytes, 1)
            }
            LoadStoreKind::Dual { .. } if start & 7 == 0 => (8, 8, 4),
            LoadStoreKind::Dual { .. } => (8, 4, 4),
            LoadStoreKind::Multiple { list, .. } => (4 * list.count_ones() as u8, 4, 4),
            LoadStoreKind::LoadExclusive { bytes, .. }
            | LoadStoreKind::StoreExclusive { bytes, .. }
            | LoadStoreKind::Swap { bytes, .. } => (bytes, bytes, u32::from(bytes)),
        };
        if start & (alignment - 1) != 0 {
            return Err(Unaligned(start));
        }
        let mut this = Self {
            kind: insn.kind,
            il: instruction.size() == 4,
            start,
            done: 0,
            bytes,
            unit,
            big_endian: Psr(regs.cpsr()).is_big_endian(),
            writeback: insn.address.writeback.then_some((insn.address.rn, sum)),
            swapped: false,
            data: [0; MAX_BYTES],
        };
        match insn.kind {
            LoadStoreKind::Single {
                rt, load: false, ..
            } => this.put(0, bytes, read(regs, rt)),
            LoadStoreKind::Dual {
                rt,
                rt2,
                load: false,
            } => {
                this.put(0, 4, read(regs, rt));
                this.put(4, 4, read(regs, rt2));
            }
            LoadStoreKind::Multiple { list, load: false } => {
                let mut at = 0;
                for n in (0..16).filter(|n| list >> n & 1 != 0) {
                    this.put(at, 4, read(regs, n));
                    at += 4;
                }
            }
            LoadStoreKind::StoreExclusive { rt, rt2, bytes, .. } => {
                this.put(0, bytes.min(4), read(regs, rt));
                if let Some(rt2) = rt2 {
                    this.put(4, 4, read(regs, rt2));
                }
            }
            _ => (),
        }
        Ok(this)
    }

    /// Whether an address is among those that are accessed.
    pub fn covers(&self, address: u32) -> bool {
        address.wrapping_sub(self.start) < self.bytes.into()
    }

    /// Whether it is the one load, or store, of so many bytes that a syndrome tells of.
    pub fn is_single(&self, size: usize, store: bool) -> bool {
        matches!(
            self.kind,
            LoadStoreKind::Single { bytes, load, .. } if usize::from(bytes) == size && load != store
        )
    }

    /// Whether the bytes are in two pages.
    pub fn crosses_pages(&self) -> bool {
        let offset = self.start & (PAGE_SIZE as u32 - 1);
        offset + u32::from(self.bytes) > PAGE_SIZE as u32
    }

    /// Whether the accesses are made with the rights of PL1.
    pub fn is_privileged(&self, cpsr: u32) -> bool {
        let unprivileged = matches!(
            self.kind,
            LoadStoreKind::Single {
                unprivileged: true,
                ..
            }
        );
        !unprivileged && Psr(cpsr).mode() != Some(Mode::Usr)
    }

    /// Puts the low bytes of a register where they are to be stored from.
    fn put(&mut self, at: usize, bytes: u8, value: u32) {
        let bytes = usize::from(bytes);
        let from = value.to_le_bytes();
        for n in 0..bytes {
            let to = if self.big_endian { bytes - 1 - n } else { n };
            if let (Some(to), Some(from)) = (self.data.get_mut(at + to), from.get(n)) {
                *to = *from;
            }
        }
    }

    /// The number that was loaded.
    fn take(&self, at: usize, bytes: u8) -> u32 {
        let bytes = usize::from(bytes);
        let mut value = 0;
        for n in 0..bytes {
            let from = if self.big_endian { n } else { bytes - 1 - n };
            value = value << 8 | u32::from(self.data.get(at + from).copied().unwrap_or(0));
        }
        value
    }

    /// Whether the access that comes next is a store.
    fn is_store(&self) -> bool {
        match self.kind {
            LoadStoreKind::Swap { .. } => self.swapped,
            kind => kind.stores(),
        }
    }

    /// The access that comes next; none if all is transferred.
    pub fn next(&self) -> Option<BusAccess> {
        if self.done >= self.bytes {
            return None;
        }
        let address = self.start.wrapping_add(self.done.into());
        let mut bytes = u32::from(self.unit.min(self.bytes - self.done));
        let left_in_page = PAGE_SIZE as u32 - (address & (PAGE_SIZE as u32 - 1));
        // An access that crosses into another page goes byte by byte, on both sides: halves of a
        // device's register would be no better.
        let before = u32::from(self.done) & u32::from(self.unit.wrapping_sub(1));
        if bytes > left_in_page || before != 0 {
            bytes = 1;
        }
        let store = self.is_store().then(|| {
            let mut data = [0; 8];
            let from = self.data.iter().skip(self.done.into());
            for (to, from) in data.iter_mut().take(bytes as usize).zip(from) {
                *to = *from;
            }
            data
        });
        Some(BusAccess {
            address,
            bytes: bytes as usize,
            store,
        })
    }

    /// The access that [`Self::next`] gave has been made; `loaded` is what was read.
    pub fn complete(&mut self, loaded: [u8; 8]) {
        let Some(access) = self.next() else {
            return;
        };
        if access.store.is_none() {
            let to = self.data.iter_mut().skip(self.done.into());
            for (to, from) in to.zip(loaded).take(access.bytes) {
                *to = from;
            }
        }
        self.done = self.done.saturating_add(access.bytes as u8);
    }

    /// When all of a swap is loaded, what is to be stored takes the place of it. Says whether it
    /// did: then there is another access to be made.
    pub fn turn(&mut self, regs: &impl ModeRegisters) -> bool {
        let LoadStoreKind::Swap { rt2, bytes, .. } = self.kind else {
            return false;
        };
        if self.swapped || self.done < self.bytes {
            return false;
        }
        // The loaded value waits behind.
        let loaded = self.take(0, bytes);
        self.put(0, bytes, read(regs, rt2));
        let big_endian = core::mem::replace(&mut self.big_endian, false);
        self.put(8, 4, loaded);
        self.big_endian = big_endian;
        self.done = 0;
        self.swapped = true;
        true
    }

    /// Changes the registers as the instruction does, and goes on behind it.
    pub fn finish(self, regs: &mut impl ModeRegisters) {
        let (mut pc, cpsr) = next_pc(regs.pc(), regs.cpsr(), self.il);
        let mut target = None;
        if let Some((rn, value)) = self.writeback {
            regs.set(rn.into(), value);
        }
        let mut load = |n: u8, value: u32| {
            if n == PC {
                target = Some(value);
            } else {
                regs.set(n.into(), value);
            }
        };
        match self.kind {
            LoadStoreKind::Single {
                rt,
                bytes,
                signed,
                load: true,
                ..
            } => {
                let value = self.take(0, bytes);
                let unused = 32 - 8 * u32::from(bytes);
                let value = if signed {
                    ((value << unused) as i32 >> unused) as u32
                } else {
                    value
                };
                load(rt, value);
            }
            LoadStoreKind::Dual {
                rt,
                rt2,
                load: true,
            } => {
                load(rt, self.take(0, 4));
                load(rt2, self.take(4, 4));
            }
            LoadStoreKind::Multiple { list, load: true } => {
                let mut at = 0;
                for n in (0..16).filter(|n| list >> n & 1 != 0) {
                    load(n, self.take(at, 4));
                    at += 4;
                }
            }
            LoadStoreKind::LoadExclusive { rt, rt2, bytes } => {
                load(rt, self.take(0, bytes.min(4)));
                if let Some(rt2) = rt2 {
                    load(rt2, self.take(4, 4));
                }
            }
            LoadStoreKind::StoreExclusive { rd, .. } => load(rd, 0),
            LoadStoreKind::TableBranch { bytes } => {
                // BranchWritePC: the instruction set stays.
                pc = pc_value(regs).wrapping_add(2 * self.take(0, bytes)) & !1;
            }
            LoadStoreKind::Swap { rt, .. } => {
                let mut words = self.data.iter().skip(8);
                let mut byte = || words.next().copied().unwrap_or(0);
                load(rt, u32::from_le_bytes([byte(), byte(), byte(), byte()]));
            }
            _ => (),
        }
        regs.set_cpsr(cpsr);
        regs.set_pc(pc);
        if let Some(target) = target {
            branch(regs, cpsr, target);
        }
    }
}

/// LoadWritePC: bit 0 chooses the instruction set (A2.3.1).
fn branch(regs: &mut impl ModeRegisters, cpsr: u32, target: u32) {
    if target & 1 != 0 {
        regs.set_cpsr(cpsr | Psr::T);
        regs.set_pc(target & !1);
    } else {
        regs.set_cpsr(cpsr & !Psr::T);
        regs.set_pc(target & !3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::decode;
    use crate::insn::tests::Cpu;

    struct Regs(u32);

    impl ModeRegisters for Regs {
        fn get(&self, _: usize) -> u32 {
            self.0
        }
        fn set(&mut self, _: usize, _: u32) {}
        fn pc(&self) -> u32 {
            0
        }
        fn set_pc(&mut self, _: u32) {}
        fn cpsr(&self) -> u32 {
            Mode::Svc.bits()
        }
        fn set_cpsr(&mut self, _: u32) {}
    }

    fn transfer(code: u32, address: u32) -> Transfer {
        let instruction = Instruction::Arm(code);
        let decoded = decode(instruction).unwrap();
        Transfer::new(instruction, &decoded, &Regs(address)).unwrap()
    }

    #[test]
    fn table_branches() {
        // tbb [r3, r4]; tbh [r3, r4, lsl #1]; tbb [pc, r4]; tbh [pc, r4, lsl #1]. The PC is no
        // multiple of a word, the last of an IT block.
        for (code, start, bytes, big_endian, value) in [
            (0xe8d3_f004, 0x9005, 1, false, 0xfe),
            (0xe8d3_f014, 0x900a, 2, false, 0xb7fe),
            (0xe8d3_f014, 0x900a, 2, true, 0xfeb7),
            (0xe8df_f004, 0x100b, 1, false, 0xfe),
            (0xe8df_f014, 0x1010, 2, false, 0xb7fe),
        ] {
            let e = if big_endian { Psr::E } else { 0 };
            let in_thumb = Psr(Mode::Usr.bits() | Psr::T | Psr::Z | e);
            let mut regs = Cpu::default();
            regs.pc = 0x1002;
            // The last instruction of an IT block, if equal.
            regs.cpsr = in_thumb.with_it_state(0x08).0;
            (regs.r[3], regs.r[4]) = (0x9000, 5);
            let before = regs.r;
            let instruction = Instruction::Thumb32(code);
            let decoded = decode(instruction).unwrap();
            assert!(is_executed(&decoded, regs.cpsr) && !decoded.kind.stores());
            let mut transfer = Transfer::new(instruction, &decoded, &regs).unwrap();
            let access = transfer.next().unwrap();
            assert_eq!(
                (access.address, access.bytes, access.store),
                (start, bytes, None)
            );
            assert!(!transfer.is_privileged(regs.cpsr) && !transfer.is_single(bytes, false));
            transfer.complete([0xfe, 0xb7, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11]);
            assert_eq!(transfer.next(), None);
            transfer.finish(&mut regs);
            assert_eq!(regs.pc, 0x1006 + 2 * value, "{code:#x}");
            assert_eq!(regs.cpsr, in_thumb.0);
            assert_eq!(regs.r, before);
        }
    }

    #[test]
    fn single_ones_can_be_in_two_pages() {
        // ldr, str, ldrh, strh, ldrb r1, [r0]
        for (code, size, store) in [
            (0xe590_1000, 4, false),
            (0xe580_1000, 4, true),
            (0xe1d0_10b0, 2, false),
            (0xe1c0_10b0, 2, true),
            (0xe5d0_1000, 1, false),
        ] {
            for address in 0x1ff8..0x2008 {
                let transfer = transfer(code, address);
                assert!(transfer.is_single(size, store) && !transfer.is_single(size, !store));
                assert!(!transfer.is_single(8, store));
                let crosses = (address..address + size as u32).contains(&0x1fff)
                    && (address..address + size as u32).contains(&0x2000);
                assert_eq!(transfer.crosses_pages(), crosses, "{code:#x} {address:#x}");
            }
        }
        // ldm r0, {r1, r2} is not single.
        let pair = transfer(0xe890_0006, 0x1ffc);
        assert!(pair.crosses_pages() && !pair.is_single(8, false));
    }
}
