// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of the Thumb instruction set (A6.2.4, A6.3.5 to A6.3.10).

use super::{
    arm::multiple_address,
    load_store::{
        Address,
        LoadStore,
        LoadStoreKind,
        Offset,
        Shift,
        PC, //
    },
};

const SP: u8 = 13;
const LR: u8 = 14;

const fn plain(rn: u8, offset: u32) -> Address {
    Address {
        rn,
        offset: Offset::Immediate(offset),
        add: true,
        index: true,
        writeback: false,
    }
}

const fn single(rt: u8, bytes: u8, signed: bool, load: bool) -> LoadStoreKind {
    LoadStoreKind::Single {
        rt,
        bytes,
        signed,
        load,
        unprivileged: false,
    }
}

pub(super) fn decode16(half: u16) -> Option<LoadStore> {
    let field = |low: u32, len: u32| half >> low & ((1 << len) - 1);
    let low_register = |low: u32| field(low, 3) as u8;
    let (rt, rn) = (low_register(0), low_register(3));
    let imm5 = u32::from(field(6, 5));
    let imm8 = u32::from(field(0, 8));
    let (address, kind) = match field(11, 5) {
        // LDR (literal).
        0b01001 => (plain(PC, 4 * imm8), single(low_register(8), 4, false, true)),
        0b01010 | 0b01011 => {
            let address = Address {
                offset: Offset::Register {
                    rm: low_register(6),
                    shift: Shift::Lsl(0),
                },
                ..plain(rn, 0)
            };
            let kind = match field(9, 3) {
                0b000 => single(rt, 4, false, false),
                0b001 => single(rt, 2, false, false),
                0b010 => single(rt, 1, false, false),
                0b011 => single(rt, 1, true, true),
                0b100 => single(rt, 4, false, true),
                0b101 => single(rt, 2, false, true),
                0b110 => single(rt, 1, false, true),
                _ => single(rt, 2, true, true),
            };
            (address, kind)
        }
        op @ 0b01100..=0b10001 => {
            let load = op & 1 != 0;
            let bytes = match op >> 1 {
                0b0110 => 4,
                0b0111 => 1,
                _ => 2,
            };
            (
                plain(rn, imm5 * u32::from(bytes)),
                single(rt, bytes, false, load),
            )
        }
        // STR and LDR relative to SP.
        op @ (0b10010 | 0b10011) => (
            plain(SP, 4 * imm8),
            single(low_register(8), 4, false, op & 1 != 0),
        ),
        // PUSH and POP.
        0b10110 | 0b10111 if field(9, 2) == 0b10 => {
            let load = field(11, 1) != 0;
            let extra = if load { PC } else { LR };
            let list = field(0, 8) | field(8, 1) << extra;
            if list == 0 {
                return None;
            }
            (
                multiple_address(SP, load, !load, true, list),
                LoadStoreKind::Multiple { list, load },
            )
        }
        // STM and LDM, increment after.
        op @ (0b11000 | 0b11001) => {
            let load = op & 1 != 0;
            let rn = low_register(8);
            let list = field(0, 8);
            if list == 0 {
                return None;
            }
            let writeback = !load || list >> rn & 1 == 0;
            (
                multiple_address(rn, true, false, writeback, list),
                LoadStoreKind::Multiple { list, load },
            )
        }
        _ => return None,
    };
    Some(LoadStore {
        cond: None,
        size: 2,
        address,
        kind,
    })
}

/// A 32-bit instruction and its fields: numbers above 15 are of the first halfword.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }

    const fn field(self, low: u32, len: u32) -> u32 {
        self.0 >> low & ((1 << len) - 1)
    }

    const fn rn(self) -> u8 {
        self.field(16, 4) as u8
    }

    const fn rt(self) -> u8 {
        self.field(12, 4) as u8
    }

    /// Rt2 of two words, Rd of STREX.
    const fn second(self) -> u8 {
        self.field(8, 4) as u8
    }

    /// Rm, or Rd of the other exclusive stores.
    const fn low(self) -> u8 {
        self.field(0, 4) as u8
    }

    const fn load(self) -> bool {
        self.bit(20)
    }
}

/// SP and PC, which many instructions cannot have.
const fn bad(register: u8) -> bool {
    register == SP || register == PC
}

pub(super) fn decode32(word: u32) -> Option<LoadStore> {
    let word = Word(word);
    let (address, kind) = match word.field(25, 7) {
        0b1110100 if !word.bit(22) => multiple(word)?,
        0b1110100 => dual_or_exclusive(word)?,
        0b1111100 => one(word)?,
        _ => return None,
    };
    Some(LoadStore {
        cond: None,
        size: 4,
        address,
        kind,
    })
}

/// LDM and STM (A6.3.5).
fn multiple(word: Word) -> Option<(Address, LoadStoreKind)> {
    let add = match word.field(23, 2) {
        0b01 => true,
        0b10 => false,
        // SRS and RFE.
        _ => return None,
    };
    let (rn, load, writeback) = (word.rn(), word.load(), word.bit(21));
    let list = word.field(0, 16) as u16;
    let has = |register: u8| list >> register & 1 != 0;
    if rn == PC
        || list.count_ones() < 2
        || has(SP)
        || (writeback && has(rn))
        || (load && has(PC) && has(LR))
        || (!load && has(PC))
    {
        return None;
    }
    Some((
        multiple_address(rn, add, !add, writeback, list),
        LoadStoreKind::Multiple { list, load },
    ))
}

/// Two words, the exclusive ones, and table branches (A6.3.6).
fn dual_or_exclusive(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (index, add, writeback) = (word.bit(24), word.bit(23), word.bit(21));
    if !index && !writeback {
        return exclusive(word);
    }
    let (rn, rt, rt2, load) = (word.rn(), word.rt(), word.second(), word.load());
    if bad(rt)
        || bad(rt2)
        || (load && rt == rt2)
        || (writeback && (rn == rt || rn == rt2))
        || (rn == PC && (writeback || !load))
    {
        return None;
    }
    let address = Address {
        rn,
        offset: Offset::Immediate(4 * word.field(0, 8)),
        add,
        index,
        writeback,
    };
    Some((address, LoadStoreKind::Dual { rt, rt2, load }))
}

/// TBB and TBH (A8.8.238).
fn table_branch(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (rn, rm) = (word.rn(), word.low());
    if rn == SP || bad(rm) || word.rt() != 0b1111 || word.second() != 0 {
        return None;
    }
    let is_halfword = word.bit(4);
    let address = Address {
        offset: Offset::Register {
            rm,
            shift: Shift::Lsl(is_halfword.into()),
        },
        ..plain(rn, 0)
    };
    let bytes = if is_halfword { 2 } else { 1 };
    Some((address, LoadStoreKind::TableBranch { bytes }))
}

fn exclusive(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (rn, rt, second, low) = (word.rn(), word.rt(), word.second(), word.low());
    let load = word.load();
    if word.bit(23) && load && word.field(5, 3) == 0 {
        return table_branch(word);
    }
    if rn == PC || bad(rt) {
        return None;
    }
    // Words, which have an offset.
    if !word.bit(23) {
        let address = plain(rn, 4 * word.field(0, 8));
        let kind = if load {
            if second != 0b1111 {
                return None;
            }
            LoadStoreKind::LoadExclusive {
                rt,
                rt2: None,
                bytes: 4,
            }
        } else {
            if bad(second) || second == rn || second == rt {
                return None;
            }
            LoadStoreKind::StoreExclusive {
                rd: second,
                rt,
                rt2: None,
                bytes: 4,
            }
        };
        return Some((address, kind));
    }
    let bytes: u8 = match word.field(4, 4) {
        0b0100 => 1,
        0b0101 => 2,
        0b0111 => 8,
        _ => return None,
    };
    let pair = bytes == 8;
    if pair {
        if bad(second) || (load && second == rt) {
            return None;
        }
    } else if second != 0b1111 {
        return None;
    }
    let rt2 = pair.then_some(second);
    let kind = if load {
        if low != 0b1111 {
            return None;
        }
        LoadStoreKind::LoadExclusive { rt, rt2, bytes }
    } else {
        if bad(low) || low == rn || low == rt || rt2 == Some(low) {
            return None;
        }
        LoadStoreKind::StoreExclusive {
            rd: low,
            rt,
            rt2,
            bytes,
        }
    };
    Some((plain(rn, 0), kind))
}

/// One register (A6.3.7 to A6.3.10).
fn one(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (rn, rt, load) = (word.rn(), word.rt(), word.load());
    let signed = word.bit(24);
    let bytes: u8 = match word.field(21, 2) {
        0b00 => 1,
        0b01 => 2,
        0b10 => 4,
        _ => return None,
    };
    // Signed stores are those of Advanced SIMD; there are no signed words.
    if signed && (!load || bytes == 4) {
        return None;
    }
    // Bytes and halfwords to the PC are hints. Words are loaded there.
    let no_pc = !load || bytes != 4;
    if (no_pc && rt == PC) || (rt == SP && bytes != 4) {
        return None;
    }
    let kind = single(rt, bytes, signed, load);
    if rn == PC {
        // Literal. There are no such stores.
        let address = Address {
            add: word.bit(23),
            ..plain(PC, word.field(0, 12))
        };
        return load.then_some((address, kind));
    }
    if word.bit(23) {
        return Some((plain(rn, word.field(0, 12)), kind));
    }
    if !word.bit(11) {
        let rm = word.low();
        if word.field(6, 5) != 0 || bad(rm) {
            return None;
        }
        let shift = Shift::Lsl(word.field(4, 2) as u8);
        let address = Address {
            offset: Offset::Register { rm, shift },
            ..plain(rn, 0)
        };
        return Some((address, kind));
    }
    let (index, add, writeback) = (word.bit(10), word.bit(9), word.bit(8));
    if index && add && !writeback {
        // LDRT and the like.
        if bad(rt) {
            return None;
        }
        let kind = LoadStoreKind::Single {
            rt,
            bytes,
            signed,
            load,
            unprivileged: true,
        };
        return Some((plain(rn, word.field(0, 8)), kind));
    }
    if (!index && !writeback) || (writeback && rn == rt) {
        return None;
    }
    let address = Address {
        rn,
        offset: Offset::Immediate(word.field(0, 8)),
        add,
        index,
        writeback,
    };
    Some((address, kind))
}
