// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of the Arm instruction set (A5.2.8, A5.2.9, A5.2.10, A5.3, A5.5).

use super::load_store::{
    Address,
    LoadStore,
    LoadStoreKind,
    Offset,
    Shift,
    PC, //
};
use crate::cond::Cond;

/// An instruction and its fields.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }

    const fn field(self, low: u32, len: u32) -> u32 {
        self.0 >> low & ((1 << len) - 1)
    }

    /// The number of a register.
    const fn register(self, low: u32) -> u8 {
        self.field(low, 4) as u8
    }

    const fn rn(self) -> u8 {
        self.register(16)
    }

    const fn rt(self) -> u8 {
        self.register(12)
    }

    const fn rm(self) -> u8 {
        self.register(0)
    }

    /// P: the access is at the sum.
    const fn index(self) -> bool {
        self.bit(24)
    }

    /// U.
    const fn add(self) -> bool {
        self.bit(23)
    }

    /// W. Without P it does not mean write-back, which is always, but unprivileged.
    const fn w(self) -> bool {
        self.bit(21)
    }

    /// L.
    const fn load(self) -> bool {
        self.bit(20)
    }

    const fn address(self, offset: Offset) -> Address {
        Address {
            rn: self.rn(),
            offset,
            add: self.add(),
            index: self.index(),
            writeback: !self.index() || self.w(),
        }
    }
}

pub(super) fn decode(word: u32) -> Option<LoadStore> {
    let word = Word(word);
    let cond = word.field(28, 4);
    if cond == 0b1111 {
        return None;
    }
    let (address, kind) = match word.field(25, 3) {
        0b000 if word.bit(7) && word.bit(4) => match word.field(5, 2) {
            0 => exclusive(word)?,
            _ => extra(word)?,
        },
        0b010 => single(word, Offset::Immediate(word.field(0, 12)))?,
        0b011 if !word.bit(4) => {
            let rm = word.rm();
            if rm == PC {
                return None;
            }
            let shift = Shift::decode(word.field(5, 2), word.field(7, 5));
            single(word, Offset::Register { rm, shift })?
        }
        0b100 => multiple(word)?,
        _ => return None,
    };
    Some(LoadStore {
        cond: Some(Cond::new(cond)),
        size: 4,
        address,
        kind,
    })
}

/// Words and unsigned bytes (A5.3).
fn single(word: Word, offset: Offset) -> Option<(Address, LoadStoreKind)> {
    let (rt, rn) = (word.rt(), word.rn());
    let load = word.load();
    let byte = word.bit(22);
    let unprivileged = !word.index() && word.w();
    let address = word.address(offset);
    if address.writeback && (rn == PC || rn == rt) {
        return None;
    }
    // A byte cannot be the PC; nor can what LDRT loads.
    if rt == PC && (byte || (unprivileged && load)) {
        return None;
    }
    let kind = LoadStoreKind::Single {
        rt,
        bytes: if byte { 1 } else { 4 },
        signed: false,
        load,
        unprivileged,
    };
    Some((address, kind))
}

/// Halfwords, signed bytes, and two words (A5.2.8, A5.2.9).
fn extra(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (rt, rn, rm) = (word.rt(), word.rn(), word.rm());
    let immediate = word.bit(22);
    let offset = if immediate {
        Offset::Immediate(word.field(8, 4) << 4 | word.field(0, 4))
    } else {
        if word.field(8, 4) != 0 || rm == PC {
            return None;
        }
        Offset::Register {
            rm,
            shift: Shift::Lsl(0),
        }
    };
    let unprivileged = !word.index() && word.w();
    let address = word.address(offset);
    if rt == PC || (address.writeback && (rn == PC || rn == rt)) {
        return None;
    }
    let (bytes, signed, load) = match (word.field(5, 2), word.load()) {
        (0b01, load) => (2, false, load),
        (0b10, true) => (1, true, true),
        (0b11, true) => (2, true, true),
        // The bit for loads is one for signs here: LDRD has 0b10, STRD 0b11.
        (op, _) => {
            let load = op == 0b10;
            let rt2 = rt + 1;
            let overlaps = !immediate && load && (rm == rt || rm == rt2);
            if rt & 1 != 0
                || rt2 == PC
                || unprivileged
                || overlaps
                || (address.writeback && rn == rt2)
            {
                return None;
            }
            return Some((address, LoadStoreKind::Dual { rt, rt2, load }));
        }
    };
    let kind = LoadStoreKind::Single {
        rt,
        bytes,
        signed,
        load,
        unprivileged,
    };
    Some((address, kind))
}

/// SWP, SWPB, and the exclusive ones (A5.2.10).
fn exclusive(word: Word) -> Option<(Address, LoadStoreKind)> {
    let (rt, rn, low) = (word.rt(), word.rn(), word.rm());
    let address = Address {
        rn,
        offset: Offset::Immediate(0),
        add: true,
        index: true,
        writeback: false,
    };
    if rn == PC || rt == PC {
        return None;
    }
    let op = word.field(20, 5);
    let kind = match op {
        0b10000 | 0b10100 => {
            if word.field(8, 4) != 0 || low == PC || rn == rt || rn == low {
                return None;
            }
            LoadStoreKind::Swap {
                rt,
                rt2: low,
                bytes: if op == 0b10000 { 4 } else { 1 },
            }
        }
        0b11000..=0b11111 => {
            if word.field(8, 4) != 0b1111 {
                return None;
            }
            let bytes: u8 = match op >> 1 & 3 {
                0 => 4,
                1 => 8,
                2 => 1,
                _ => 2,
            };
            let pair = bytes == 8;
            if word.load() {
                if low != 0b1111 || (pair && (rt & 1 != 0 || rt == 14)) {
                    return None;
                }
                LoadStoreKind::LoadExclusive {
                    rt,
                    rt2: pair.then_some(rt + 1),
                    bytes,
                }
            } else {
                // The low field has the register that is stored. Where loads have theirs, the
                // status goes.
                let (rd, rt) = (rt, low);
                let rt2 = pair.then_some((rt + 1) & 0xf);
                if rt == PC
                    || rd == rn
                    || rd == rt
                    || (pair && (rt & 1 != 0 || rt == 14))
                    || rt2 == Some(rd)
                {
                    return None;
                }
                LoadStoreKind::StoreExclusive { rd, rt, rt2, bytes }
            }
        }
        _ => return None,
    };
    Some((address, kind))
}

/// LDM and STM (A5.5).
fn multiple(word: Word) -> Option<(Address, LoadStoreKind)> {
    let rn = word.rn();
    let list = word.field(0, 16) as u16;
    let load = word.load();
    // With S, of user mode, or a return from an exception.
    if word.bit(22) || rn == PC || list == 0 {
        return None;
    }
    let writeback = word.w();
    if writeback && load && list >> rn & 1 != 0 {
        return None;
    }
    Some((
        multiple_address(rn, word.add(), word.index(), writeback, list),
        LoadStoreKind::Multiple { list, load },
    ))
}

/// The address of the lowest word is the base plus `offset`, if `index`; write-back moves the base
/// by the size of all.
///
/// The four modes are told apart by where the lowest word is: increment after at the base,
/// increment before a word higher, decrement before at the base less the size, decrement after
/// a word higher than that.
pub(super) fn multiple_address(
    rn: u8,
    add: bool,
    before: bool,
    writeback: bool,
    list: u16,
) -> Address {
    Address {
        rn,
        offset: Offset::Immediate(4 * list.count_ones()),
        add,
        index: before,
        writeback,
    }
}
