// SPDX-License-Identifier: GPL-2.0

//! [`Transfer`] against a CPU that has its memory at hand: it carries a load or store out at once,
//! as the manual's pseudocode does (A8.8), where [`Transfer`] goes access by access.

use super::*;
use crate::psr::Psr;
use inputs::prelude::*;
use std::{
    collections::BTreeMap,
    vec::Vec, //
};

/// A CPU with memory in which each byte has some value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) r: [u32; 15],
    pub(super) pc: u32,
    pub(super) cpsr: u32,
    written: BTreeMap<u32, u8>,
    /// The addresses of all bytes that were loaded or stored, in order, and which of it.
    accesses: Vec<(u32, bool)>,
}

impl ModeRegisters for Cpu {
    fn get(&self, n: usize) -> u32 {
        self.r[n]
    }
    fn set(&mut self, n: usize, value: u32) {
        self.r[n] = value;
    }
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
}

impl Cpu {
    fn load_byte(&mut self, address: u32) -> u8 {
        self.accesses.push((address, false));
        let fresh = (address.wrapping_mul(0x9e37_79b1) >> 24) as u8;
        self.written.get(&address).copied().unwrap_or(fresh)
    }

    fn store_byte(&mut self, address: u32, value: u8) {
        self.accesses.push((address, true));
        self.written.insert(address, value);
    }

    fn is_big_endian(&self) -> bool {
        self.cpsr & 1 << 9 != 0
    }

    fn is_thumb(&self) -> bool {
        self.cpsr & 1 << 5 != 0
    }

    /// MemU[] of the manual.
    fn load(&mut self, address: u32, bytes: u8) -> u32 {
        let mut all: Vec<u8> = (0..u32::from(bytes))
            .map(|n| self.load_byte(address.wrapping_add(n)))
            .collect();
        if !self.is_big_endian() {
            all.reverse();
        }
        all.into_iter()
            .fold(0, |value, byte| value << 8 | u32::from(byte))
    }

    fn store(&mut self, address: u32, bytes: u8, value: u32) {
        let mut all = value.to_le_bytes()[..bytes.into()].to_vec();
        if self.is_big_endian() {
            all.reverse();
        }
        for (n, byte) in all.into_iter().enumerate() {
            self.store_byte(address.wrapping_add(n as u32), byte);
        }
    }

    /// R[n] of the manual.
    fn register(&self, n: u8) -> u32 {
        match (n, self.is_thumb()) {
            (15, true) => self.pc.wrapping_add(4),
            (15, false) => self.pc.wrapping_add(8),
            _ => self.r[usize::from(n)],
        }
    }

    fn shifted(&self, value: u32, shift: Shift) -> u32 {
        let wide = u64::from(value);
        let signed = i64::from(value as i32);
        match shift {
            Shift::Lsl(n) => (wide << n) as u32,
            Shift::Lsr(n) => (wide >> n) as u32,
            Shift::Asr(n) => (signed >> n) as u32,
            Shift::Ror(n) => ((wide << 32 | wide) >> n) as u32,
            Shift::Rrx => (wide >> 1) as u32 + if self.cpsr & 1 << 29 != 0 { 1 << 31 } else { 0 },
        }
    }

    /// LoadWritePC, BXWritePC.
    fn go_to(&mut self, target: u32) {
        if target % 2 == 1 {
            self.cpsr |= 1 << 5;
            self.pc = target - 1;
        } else {
            self.cpsr &= !(1 << 5);
            self.pc = target & !3;
        }
    }

    /// Carries out an instruction that is a load or store. Says whether the address is aligned as
    /// that instruction wants it; nothing happens if it is not.
    fn execute(&mut self, insn: &LoadStore) -> bool {
        let here = self.clone();
        let base = match (insn.address.rn, insn.kind) {
            // Align(PC, 4), but in table branches.
            (15, LoadStoreKind::TableBranch { .. }) => here.register(15),
            (15, _) => here.register(15) / 4 * 4,
            (rn, _) => here.register(rn),
        };
        let offset = match insn.address.offset {
            Offset::Immediate(value) => value,
            Offset::Register { rm, shift } => here.shifted(here.register(rm), shift),
        };
        let sum = if insn.address.add {
            base.wrapping_add(offset)
        } else {
            base.wrapping_sub(offset)
        };
        let address = if insn.address.index { sum } else { base };
        let alignment = match insn.kind {
            LoadStoreKind::Single { .. } | LoadStoreKind::TableBranch { .. } => 1,
            LoadStoreKind::Dual { .. } | LoadStoreKind::Multiple { .. } => 4,
            LoadStoreKind::LoadExclusive { bytes, .. }
            | LoadStoreKind::StoreExclusive { bytes, .. }
            | LoadStoreKind::Swap { bytes, .. } => u32::from(bytes),
        };
        let is_list = matches!(insn.kind, LoadStoreKind::Multiple { .. });
        if !is_list && address % alignment != 0 || is_list && base % 4 != 0 {
            return false;
        }
        // The next instruction, and the rest of the IT block (ITAdvance).
        self.pc = self.pc.wrapping_add(insn.size.into());
        if self.is_thumb() {
            let it = Psr(self.cpsr).it_state();
            let advanced = if it % 8 == 0 {
                0
            } else {
                it / 32 * 32 + it % 16 * 2
            };
            self.cpsr = Psr(self.cpsr).with_it_state(advanced).0;
        }
        let mut becomes = Vec::new();
        let mut written_back = sum;
        match insn.kind {
            LoadStoreKind::Single {
                rt,
                bytes,
                signed,
                load: true,
                ..
            } => {
                let value = self.load(address, bytes);
                becomes.push((
                    rt,
                    match (bytes, signed) {
                        (1, true) => value as i8 as u32,
                        (2, true) => value as i16 as u32,
                        _ => value,
                    },
                ));
            }
            LoadStoreKind::Single { rt, bytes, .. } => {
                self.store(address, bytes, here.register(rt));
            }
            LoadStoreKind::Dual { rt, rt2, load } => {
                for (rt, address) in [(rt, address), (rt2, address.wrapping_add(4))] {
                    if load {
                        becomes.push((rt, self.load(address, 4)));
                    } else {
                        self.store(address, 4, here.register(rt));
                    }
                }
            }
            LoadStoreKind::Multiple { list, load } => {
                let all = 4 * list.count_ones();
                let first = match (insn.address.add, insn.address.index) {
                    (true, false) => base,
                    (true, true) => base.wrapping_add(4),
                    (false, true) => base.wrapping_sub(all),
                    (false, false) => base.wrapping_sub(all).wrapping_add(4),
                };
                written_back = if insn.address.add {
                    base.wrapping_add(all)
                } else {
                    base.wrapping_sub(all)
                };
                let registers = (0..16u8).filter(|n| list & 1 << n != 0);
                for (rt, n) in registers.zip(0..) {
                    let address = first.wrapping_add(4 * n);
                    if load {
                        becomes.push((rt, self.load(address, 4)));
                    } else {
                        self.store(address, 4, here.register(rt));
                    }
                }
            }
            LoadStoreKind::LoadExclusive { rt, rt2, bytes } => {
                becomes.push((rt, self.load(address, bytes.min(4))));
                if let Some(rt2) = rt2 {
                    becomes.push((rt2, self.load(address.wrapping_add(4), 4)));
                }
            }
            LoadStoreKind::StoreExclusive { rd, rt, rt2, bytes } => {
                self.store(address, bytes.min(4), here.register(rt));
                if let Some(rt2) = rt2 {
                    self.store(address.wrapping_add(4), 4, here.register(rt2));
                }
                becomes.push((rd, 0));
            }
            LoadStoreKind::TableBranch { bytes } => {
                let halfwords = self.load(address, bytes);
                self.pc = here
                    .register(15)
                    .wrapping_add(halfwords)
                    .wrapping_add(halfwords);
            }
            LoadStoreKind::Swap { rt, rt2, bytes } => {
                becomes.push((rt, self.load(address, bytes)));
                self.store(address, bytes, here.register(rt2));
            }
        }
        if insn.address.writeback {
            self.r[usize::from(insn.address.rn)] = written_back;
        }
        for (rt, value) in becomes {
            match rt {
                15 => self.go_to(value),
                _ => self.r[usize::from(rt)] = value,
            }
        }
        true
    }

    /// The same by [`Transfer`].
    fn transfer(&mut self, instruction: Instruction, insn: &LoadStore) -> bool {
        let mut transfer = match Transfer::new(instruction, insn, self) {
            Ok(transfer) => transfer,
            Err(Unaligned(address)) => {
                assert_ne!(address & 7, 0);
                return false;
            }
        };
        loop {
            while let Some(access) = transfer.next() {
                let BusAccess {
                    address,
                    bytes,
                    store,
                } = access;
                assert!([1, 2, 4, 8].contains(&bytes), "{access:x?}");
                assert!(
                    address as usize % 4096 + bytes <= 4096,
                    "two pages: {access:x?}"
                );
                let mut loaded = [0xa5; 8];
                for (n, byte) in loaded.iter_mut().enumerate().take(bytes) {
                    let address = address.wrapping_add(n as u32);
                    match store {
                        Some(data) => self.store_byte(address, data[n]),
                        None => *byte = self.load_byte(address),
                    }
                }
                transfer.complete(loaded);
            }
            if !transfer.turn(self) {
                break;
            }
        }
        assert_eq!(transfer.next(), None);
        // Facts of the instruction that need none of its accesses.
        let pages = |access: &(u32, bool)| access.0 >> 12;
        let first = self.accesses.first().expect("an access");
        let crosses = self
            .accesses
            .iter()
            .any(|access| pages(access) != pages(first));
        assert_eq!(transfer.crosses_pages(), crosses);
        for (address, _) in &self.accesses {
            for near in [*address, address.wrapping_sub(1), address.wrapping_add(1)] {
                let covers = self.accesses.iter().any(|access| access.0 == near);
                assert_eq!(transfer.covers(near), covers, "{near:#x}");
            }
        }
        let stores = self.accesses.iter().any(|access| access.1);
        assert_eq!(insn.kind.stores(), stores);
        for size in [1, 2, 4, 8] {
            for store in [false, true] {
                if transfer.is_single(size, store) {
                    assert_eq!((self.accesses.len(), stores), (size, store));
                }
            }
        }
        transfer.finish(self);
        true
    }
}

/// An instruction, of words with the bits of loads and stores.
fn instruction() -> impl Strategy<Value = Instruction> {
    one_of![
        2 => any::<u32>().prop_map(|word| Instruction::Arm(word & !(1 << 27))),
        1 => any::<u32>().prop_map(|word| Instruction::Arm(word & !(6 << 25) | 1 << 27)),
        1 => any::<u16>().prop_map(|half| if Instruction::is_wide(half) {
            Instruction::Thumb16(half & 0x7fff)
        } else {
            Instruction::Thumb16(half)
        }),
        1 => any::<u32>().prop_map(|word| Instruction::Thumb32(word & 0x01ff_ffff | 0x74 << 25)),
        1 => any::<u32>().prop_map(|word| Instruction::Thumb32(word & 0x01ff_ffff | 0x7c << 25)),
    ]
}

inputs! {
    #![cases = 5_000]

    /// A load or store changes memory and registers as the manual says, by the same accesses in the
    /// same order, wherever pages end.
    fn transfers_do_what_the_manual_says(
        instruction in instruction(),
        r: [u32; 15],
        pc: u32,
        flags in 0u32..16,
        it: u8,
        big_endian: bool,
        user: bool,
        near_a_page: bool,
    ) {
        let Ok(insn) = decode(instruction) else {
            return Ok(());
        };
        prop_assert_eq!(u32::from(insn.size), instruction.size());
        let mode = if user { 0x10 } else { 0x13 };
        let mut cpsr = Psr(flags << 28 | u32::from(big_endian) << 9 | mode);
        let pc = match instruction {
            Instruction::Arm(_) => pc & !3,
            _ => {
                cpsr = Psr(cpsr.0 | 1 << 5).with_it_state(it);
                pc & !1
            }
        };
        let mut manual = Cpu { r, pc, cpsr: cpsr.0, written: BTreeMap::new(), accesses: Vec::new() };
        if near_a_page {
            for r in &mut manual.r {
                *r = *r & !0xfe0 | 0xfe0;
            }
        }
        let mut cpu = manual.clone();
        let is_aligned = manual.execute(&insn);
        prop_assert_eq!(cpu.transfer(instruction, &insn), is_aligned);
        prop_assert_eq!(cpu, manual);
    }
}
