// SPDX-License-Identifier: GPL-2.0

mod reference;

use super::*;
use inputs::prelude::*;
use std::{
    collections::HashMap,
    vec::Vec, //
};

/// Memory of which only some bytes exist.
#[derive(Default)]
struct Memory(HashMap<u64, u8>);

impl Memory {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            self.0.insert(at, *byte);
        }
    }

    fn read(&self, at: Ipa, bytes: &mut [u8]) -> Result<bool, &'static str> {
        if at.0 == 0xbad0_0000 {
            return Err("a reason of the host's");
        }
        for (at, byte) in (at.0..).zip(bytes) {
            match self.0.get(&at) {
                Some(value) => *byte = *value,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

const READ: CheckedAccess = CheckedAccess {
    write: false,
    privileged: true,
};
const ACCESSES: [CheckedAccess; 4] = [
    READ,
    CheckedAccess {
        write: true,
        privileged: true,
    },
    CheckedAccess {
        write: false,
        privileged: false,
    },
    CheckedAccess {
        write: true,
        privileged: false,
    },
];

fn mmu_on() -> Stage1 {
    Stage1 {
        sctlr: Sctlr::M,
        dacr: 0x5555_5555,
        ttbr0: 0x4000,
        ttbr1: 0x8000,
        ..Stage1::default()
    }
}

fn fault(kind: FaultKind, level: u32, domain: u32) -> WalkError<&'static str> {
    WalkError::Fault(DataFault {
        kind,
        level,
        domain,
    })
}

/// Where an address leads, without its attributes.
fn translate<E>(
    stage1: &Stage1,
    va: u32,
    access: Option<CheckedAccess>,
    read: impl Fn(Ipa, &mut [u8]) -> Result<bool, E>,
) -> Result<Ipa, WalkError<E>> {
    let found = stage1.translate(va, access, |at, bytes, _| read(at, bytes))?;
    Ok(found.ipa)
}

/// Which of [`ACCESSES`] are let through.
fn rights(stage1: &Stage1, memory: &Memory, va: u32) -> Vec<bool> {
    ACCESSES
        .iter()
        .map(|access| {
            translate(stage1, va, Some(*access), |at, bytes| {
                memory.read(at, bytes)
            })
            .is_ok()
        })
        .collect()
}

#[test]
fn without_mmu_addresses_are_the_same() {
    let memory = Memory::default();
    let stage1 = Stage1::default();
    let ipa = translate(&stage1, 0x1234_5678, Some(READ), |at, bytes| {
        memory.read(at, bytes)
    });
    assert_eq!(ipa, Ok(Ipa(0x1234_5678)));
}

#[test]
fn short_descriptors_say_who_may_do_what() {
    // AP[2:0], and which accesses it lets through (table B3-8).
    let table = [
        (0b000, [false; 4]),
        (0b001, [true, true, false, false]),
        (0b010, [true, true, true, false]),
        (0b011, [true; 4]),
        (0b100, [false; 4]),
        (0b101, [true, false, false, false]),
        (0b110, [true, false, true, false]),
        (0b111, [true, false, true, false]),
    ];
    for (ap, allowed) in table {
        let mut memory = Memory::default();
        let section = 0x7010_0000 | (ap & 4) << 13 | (ap & 3) << 10 | 2u32;
        memory.put(0x4000 + 4, &section.to_le_bytes());
        memory.put(0x4000 + 8, &(0x9000u32 | 1).to_le_bytes());
        let page = 0x7abc_d000 | (ap & 4) << 7 | (ap & 3) << 4 | 2u32;
        memory.put(0x9000, &page.to_le_bytes());
        let mut stage1 = mmu_on();
        assert_eq!(rights(&stage1, &memory, 0x0010_0000), allowed, "{ap:#b}");
        assert_eq!(rights(&stage1, &memory, 0x0020_0000), allowed, "{ap:#b}");
        // A manager's accesses are not checked, and nobody else's let through.
        stage1.dacr = 3;
        assert_eq!(rights(&stage1, &memory, 0x0010_0000), [true; 4]);
        stage1.dacr = 0;
        assert_eq!(rights(&stage1, &memory, 0x0010_0000), [false; 4]);
    }
}

#[test]
fn the_access_flag_counts_when_it_is_used() {
    let mut memory = Memory::default();
    let section = 0x7010_0000 | 0b10 << 10 | 2u32;
    memory.put(0x4000 + 4, &section.to_le_bytes());
    let mut stage1 = mmu_on();
    stage1.sctlr |= Sctlr::AFE;
    assert_eq!(
        translate(&stage1, 0x0010_0000, None, |at, bytes| memory
            .read(at, bytes)),
        Err(fault(FaultKind::AccessFlag, 1, 0))
    );
    let section = section | 1 << 10;
    memory.put(0x4000 + 4, &section.to_le_bytes());
    assert_eq!(rights(&stage1, &memory, 0x0010_0000), [true; 4]);
}

#[test]
fn short_walks_end_with_the_fault_of_hardware() {
    let mut memory = Memory::default();
    let mut stage1 = mmu_on();
    let walk = |stage1: &Stage1, memory: &Memory, va| {
        translate(stage1, va, Some(READ), |at, bytes| memory.read(at, bytes))
    };
    // No memory where the first table is; nothing in it; no memory for the second table.
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::ExternalOnWalk, 1, 0))
    );
    memory.put(0x4004, &[0; 4]);
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::Translation, 1, 0))
    );
    memory.put(0x4004, &(0x9000u32 | 5 << 5 | 1).to_le_bytes());
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::ExternalOnWalk, 2, 5))
    );
    memory.put(0x9000, &[0; 4]);
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::Translation, 2, 5))
    );
    memory.put(0x9000, &0x7000_0002u32.to_le_bytes());
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::Permission, 2, 5))
    );
    stage1.dacr = 0;
    assert_eq!(
        walk(&stage1, &memory, 0x0010_0000),
        Err(fault(FaultKind::Domain, 2, 5))
    );
    // The host cannot read the table.
    stage1.ttbr0 = 0xbad0_0000;
    assert_eq!(
        walk(&stage1, &memory, 0),
        Err(WalkError::Read("a reason of the host's"))
    );
    // TTBCR.PD0, and PD1 for the upper half.
    stage1.ttbcr = 1 << 4;
    assert_eq!(
        walk(&stage1, &memory, 0),
        Err(fault(FaultKind::Translation, 1, 0))
    );
    stage1.ttbcr = 1 << 5 | 1;
    assert_eq!(
        walk(&stage1, &memory, 0x8000_0000),
        Err(fault(FaultKind::Translation, 1, 0))
    );
}

#[test]
fn long_tables_limit_what_they_lead_to() {
    // APTable of the table, AP[2:1] of the page, what is let through (table B3-9, B3.7.1).
    for table_bits in 0..4u64 {
        for ap in 0..4u64 {
            let mut memory = Memory::default();
            let mut stage1 = mmu_on();
            stage1.ttbcr = TTBCR_EAE;
            memory.put(0x4000, &(0x9000 | table_bits << 61 | 3).to_le_bytes());
            memory.put(0x9000, &(0xa000u64 | 3).to_le_bytes());
            memory.put(0xa000, &(0x7000_0000 | 1 << 10 | ap << 6 | 3).to_le_bytes());
            let user = ap & 1 != 0 && table_bits & 1 == 0;
            let write = ap & 2 == 0 && table_bits & 2 == 0;
            assert_eq!(
                rights(&stage1, &memory, 0),
                [true, write, user, user && write]
            );
            // Without the access flag.
            memory.put(0xa000, &(0x7000_0000u64 | ap << 6 | 3).to_le_bytes());
            assert_eq!(
                translate(&stage1, 0, None, |at, bytes| memory.read(at, bytes)),
                Err(fault(FaultKind::AccessFlag, 3, 0))
            );
        }
    }
}

#[test]
fn addresses_of_neither_half_do_not_translate() {
    let memory = Memory::default();
    let mut stage1 = mmu_on();
    stage1.ttbcr = TTBCR_EAE | 2 << 16 | 1;
    let walk =
        |stage1: &Stage1, va| translate(stage1, va, None, |at, bytes| memory.read(at, bytes));
    assert_eq!(
        walk(&stage1, 0x9000_0000),
        Err(fault(FaultKind::Translation, 1, 0))
    );
    // The others are walked: from the first level, or from the second if there is one entry.
    assert_eq!(
        walk(&stage1, 0x1000_0000),
        Err(fault(FaultKind::ExternalOnWalk, 1, 0))
    );
    assert_eq!(
        walk(&stage1, 0xd000_0000),
        Err(fault(FaultKind::ExternalOnWalk, 2, 0))
    );
}

inputs! {
    /// A mapping that is put into tables is found there, whatever the layout.
    fn short_mappings_are_found(
        va: u32, target: u32, n in 0u32..8, size in 0..4, domain in 0u32..16, big: bool, top in 0u64..256,
    ) {
        let mut memory = Memory::default();
        let mut stage1 = mmu_on();
        stage1.ttbcr = n;
        let bytes = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        if big {
            stage1.sctlr |= Sctlr::EE;
        }
        let (base, first) = if n == 0 || va >> (32 - n) == 0 {
            (0x4000, va >> 20 & ((1 << (12 - n)) - 1))
        } else {
            (0x8000, va >> 20)
        };
        stage1.ttbr0 |= 0x4a;
        let entry = base + 4 * u64::from(first);
        let table = 0x2_0000u32;
        let second = u64::from(table + 4 * (va >> 12 & 0xff));
        let full = 0b11;
        let expected = match size {
            0 => {
                memory.put(entry, &bytes(table | domain << 5 | 1));
                memory.put(second, &bytes(target & !0xfff | full << 4 | 2));
                u64::from(target & !0xfff | va & 0xfff)
            }
            1 => {
                memory.put(entry, &bytes(table | domain << 5 | 1));
                memory.put(second, &bytes(target & !0xffff | full << 4 | 1));
                u64::from(target & !0xffff | va & 0xffff)
            }
            2 => {
                memory.put(entry, &bytes(target & !0xfffff | full << 10 | domain << 5 | 2));
                u64::from(target & !0xfffff | va & 0xfffff)
            }
            _ => {
                let upper = ((top & 0xf) as u32) << 20 | ((top >> 4) as u32) << 5;
                memory.put(entry, &bytes(target & 0xff00_0000 | 1 << 18 | full << 10 | upper | 2));
                top << 32 | u64::from(target & 0xff00_0000 | va & 0x00ff_ffff)
            }
        };
        let ipa = translate(&stage1, va, Some(READ), |at, bytes| memory.read(at, bytes));
        prop_assert_eq!(ipa, Ok(Ipa(expected)));
    }

    fn long_mappings_are_found(
        va: u32, target in 0u64..1 << 40, t0 in 0u32..8, t1 in 0u32..8, size in 1u32..4,
    ) {
        let low = t0 == 0 || va >> (32 - t0) == 0;
        let high = if t1 == 0 { !low } else { va >> (32 - t1) == (1 << t1) - 1 };
        prop_assume!(low || high);
        let mut memory = Memory::default();
        let mut stage1 = mmu_on();
        stage1.ttbcr = TTBCR_EAE | t1 << 16 | t0;
        stage1.ttbr0 = 0x55 << 48 | 0x1_4000;
        stage1.ttbr1 = 0x55 << 48 | 0x1_8000;
        let (mut table, n) = if high { (0x1_8000, t1) } else { (0x1_4000, t0) };
        let mut level = if n < 2 { 1 } else { 2 };
        prop_assume!(size >= level);
        let mut bits = 32 - n - (12 + 9 * (3 - level));
        loop {
            let shift = 12 + 9 * (3 - level);
            let entry = table + 8 * (u64::from(va >> shift) & ((1 << bits) - 1));
            if level == size {
                let kind = if level == 3 { 3 } else { 1 };
                let offset = (1 << shift) - 1;
                memory.put(entry, &(target & !offset | 1 << 10 | 1 << 6 | kind).to_le_bytes());
                let ipa = translate(&stage1, va, Some(READ), |at, bytes| memory.read(at, bytes));
                prop_assert_eq!(ipa, Ok(Ipa(target & !offset | u64::from(va) & offset)));
                break;
            }
            table = 0x10_0000 + 0x1000 * u64::from(level);
            memory.put(entry, &(table | 3).to_le_bytes());
            level += 1;
            bits = 9;
        }
    }

    /// Whatever registers and tables are, a walk ends, reads at most three descriptors, and gives
    /// the address of 40 bits, or the fault, that the manual's figures say.
    fn any_walk_is_as_the_figures_say(
        va: u32, ttbcr: u32, dacr: u32, sctlr: u32, ttbr0: u64, ttbr1: u64, attributes: [u32; 2],
        tables: [u64; 3], missing in 0usize..12, mmu in 0u32..8,
    ) {
        let stage1 = Stage1 {
            // Without the MMU there is little to see.
            sctlr: Sctlr::from_bits_retain(sctlr & !1 | u32::from(mmu != 0)),
            ttbcr,
            dacr,
            ttbr0,
            ttbr1,
            attributes,
        };
        for access in ACCESSES {
            let answer = |n: usize| {
                // One read fails, or is of memory that is not there.
                match missing.checked_sub(n) {
                    Some(0) => Ok(None),
                    Some(3) => Err(()),
                    _ => Ok(Some(tables[n].to_le_bytes())),
                }
            };
            let mut reads = Vec::new();
            let found = stage1.translate(va, Some(access), |at, bytes, walk| {
                assert!(at.0 >> 40 == 0 && at.0 % bytes.len() as u64 == 0);
                let data = answer(reads.len());
                reads.push((at.0, bytes.len(), walk));
                let data: Option<[u8; 8]> = data?;
                let len = bytes.len();
                bytes.copy_from_slice(&data.unwrap_or([0xa5; 8])[..len]);
                Ok(data.is_some())
            });
            let mut expected_reads = Vec::new();
            let expected = reference::translate(&stage1, va, access, &mut |read| {
                let data = answer(expected_reads.len());
                expected_reads.push(read);
                data
            });
            prop_assert_eq!(&reads, &expected_reads);
            prop_assert_eq!(found, expected);
            if let Ok(found) = found {
                prop_assert!(found.ipa.0 >> 40 == 0);
            }
        }
    }
}

/// Whether an address is cached, and whether the walk to it was.
fn cached(stage1: &Stage1, memory: &Memory, va: u32) -> [bool; 2] {
    let mut walks = Vec::new();
    let found = stage1.translate(va, None, |at, bytes, walk| {
        walks.push(walk);
        memory.read(at, bytes)
    });
    let walk = walks.first().copied().unwrap_or(false);
    assert!(walks.iter().all(|other| *other == walk));
    [found.unwrap().cached, walk]
}

#[test]
fn attributes_of_short_walks() {
    // TTBR: IRGN[0] is bit 6, IRGN[1] bit 0, RGN bits 4 and 3. 0b01 and 0b11 are Write-Back.
    let mut memory = Memory::default();
    memory.put(0x4000, &(0x7010_0000 | 0x1c0e_u32).to_le_bytes());
    memory.put(
        0x8000 + 0x800 * 4,
        &(0x7010_0000 | 0x1c0e_u32).to_le_bytes(),
    );
    for irgn in 0..4u64 {
        for rgn in 0..4u64 {
            let bits = (irgn & 1) << 6 | irgn >> 1 | rgn << 3;
            let is_write_back = irgn & 1 != 0 && rgn & 1 != 0;
            for (va, ttbcr, ttbr0, ttbr1) in [
                (0, 0, 0x4000 | bits, 0x8000),
                (0, 1, 0x4000 | bits, 0x8000),
                (0x8000_0000, 1, 0x4000, 0x8000 | bits),
            ] {
                let mut stage1 = Stage1 {
                    ttbcr,
                    ttbr0,
                    ttbr1,
                    ..mmu_on()
                };
                stage1.sctlr |= Sctlr::C;
                assert_eq!(cached(&stage1, &memory, va)[1], is_write_back, "{bits:#x}");
                // With the caches off, nothing is in them.
                stage1.sctlr = Sctlr::M;
                assert_eq!(cached(&stage1, &memory, va), [false; 2]);
            }
        }
    }
}

#[test]
fn attributes_of_short_descriptors() {
    // TEX, C, B as table B3-10 has them.
    let without_remap = |tex: u32, c: u32, b: u32| match (tex, c, b) {
        (0b000, 1, 1) | (0b001, 1, 1) => true,
        // The outer attributes are in TEX[1:0], the inner ones in C and B: 0b01 and 0b11.
        (0b101 | 0b111, _, 1) => true,
        _ => false,
    };
    for bits in 0..32u32 {
        let (tex, c, b) = (bits >> 2, bits >> 1 & 1, bits & 1);
        let mut memory = Memory::default();
        let cb = c << 3 | b << 2;
        let section = 0x7000_0000 | tex << 12 | 0b11 << 10 | cb | 2;
        memory.put(0x4000, &section.to_le_bytes());
        memory.put(0x4004, &(0x9000u32 | 1).to_le_bytes());
        let small = 0x7000_0000 | tex << 6 | 0b11 << 4 | cb | 2;
        memory.put(0x9000, &small.to_le_bytes());
        let large = 0x7000_0000 | tex << 12 | 0b11 << 4 | cb | 1;
        for entry in 16..32 {
            memory.put(0x9000 + 4 * entry, &large.to_le_bytes());
        }
        let mut stage1 = mmu_on();
        stage1.sctlr |= Sctlr::C;
        let places = [0, 0x0010_0000, 0x0011_0000];
        for va in places {
            let expected = without_remap(tex, c, b);
            assert_eq!(cached(&stage1, &memory, va)[0], expected, "{bits:#b}");
        }
        // With TEX remap, PRRR says the type, NMRR the attributes; the sixth is not trusted.
        stage1.sctlr |= Sctlr::TRE;
        let n = (tex & 1) << 2 | c << 1 | b;
        for kind in 0..4u32 {
            for (inner, outer) in [
                (0, 0),
                (1, 0),
                (0, 1),
                (1, 1),
                (2, 1),
                (3, 1),
                (1, 2),
                (3, 3),
            ] {
                stage1.attributes = [kind << (2 * n), inner << (2 * n) | outer << (16 + 2 * n)];
                let is_write_back = |attribute: u32| attribute == 1 || attribute == 3;
                let expected = n != 6 && kind == 2 && is_write_back(inner) && is_write_back(outer);
                for va in places {
                    assert_eq!(cached(&stage1, &memory, va)[0], expected, "{bits:#b}");
                }
            }
        }
    }
}

#[test]
fn attributes_of_the_long_format() {
    let mut memory = Memory::default();
    for index in 0..8u64 {
        // Blocks of 2 MiB, one for each index.
        let block = 0x7000_0000 | 1 << 10 | index << 2 | 1;
        memory.put(0xa000 + 8 * index, &block.to_le_bytes());
    }
    for gib in 0..4 {
        memory.put(0x4000 + 8 * gib, &(0xa000u64 | 3).to_le_bytes());
        memory.put(0x8000 + 8 * gib, &(0xa000u64 | 3).to_le_bytes());
    }
    let mut stage1 = mmu_on();
    stage1.sctlr |= Sctlr::C;
    for attribute in 0..=0xffu32 {
        // Table B4-11: 0b11RW is Write-Back.
        let expected = attribute >> 6 == 3 && attribute >> 2 & 3 == 3;
        for index in 0..8u32 {
            stage1.ttbcr = TTBCR_EAE;
            stage1.attributes = [0; 2];
            stage1.attributes[index as usize / 4] = attribute << (8 * (index % 4));
            let va = index << 21;
            assert_eq!(cached(&stage1, &memory, va), [expected, false]);
        }
    }
    // IRGN and ORGN of each half.
    for regions in 0..16u32 {
        let expected = regions & 1 != 0 && regions & 4 != 0;
        stage1.ttbcr = TTBCR_EAE | 1 << 16 | regions << 8;
        assert_eq!(cached(&stage1, &memory, 0)[1], expected);
        assert!(!cached(&stage1, &memory, 0x8000_0000)[1]);
        stage1.ttbcr = TTBCR_EAE | 1 << 16 | regions << 24;
        assert_eq!(cached(&stage1, &memory, 0x8000_0000)[1], expected);
        assert!(!cached(&stage1, &memory, 0)[1]);
    }
}
