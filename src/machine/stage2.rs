// SPDX-License-Identifier: GPL-2.0

//! Walking and changing a stage-2 translation table.
//!
//! Three levels with 4 KiB pages for a 40-bit IPA (Arm ARM B3.6.6): 1024 entries
//! of 1 GiB in two concatenated first-level tables, 512 of 2 MiB at the second
//! level, 512 of 4 KiB at the third. Where tables are kept, and how, is behind
//! [`TableMemory`], so the walker runs on any machine.
//!
//! The caller serialises changes, and does the TLB maintenance that a result asks
//! for before it lets go of the memory that was mapped.

use core::ops::Range;

use armv7::{
    addr::{
        Ipa,
        Pa,
        PAGE_SIZE, //
    },
    descriptor::{
        DescKind,
        Stage2Attrs,
        Stage2Desc, //
    },
    regs::IPA_BITS, //
};

/// The memory that tables are in.
pub trait TableMemory {
    /// The first-level table.
    fn root(&self) -> Pa;
    /// Reads an entry of a table.
    fn read(&self, table: Pa, index: usize) -> u64;
    /// Writes an entry of a table, at once.
    fn write(&mut self, table: Pa, index: usize, desc: u64);
    /// Makes what was written visible to table walks, before anything that comes later.
    fn publish(&mut self);
    /// Gives back a table to which no entry leads any more.
    fn free(&mut self, table: Pa);
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The stock of tables is exhausted; the table is unchanged in what it maps.
    NoTables,
    /// The address is beyond what the table translates.
    OutOfRange,
}

/// How much one entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapSize {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Block,
}

impl MapSize {
    const fn level(self) -> u32 {
        match self {
            Self::Page => LEVELS,
            Self::Block => LEVELS - 1,
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        span(self.level())
    }
}

/// What a change asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[must_use]
pub struct Stale {
    /// TLBs may hold an entry that is not in the table any more.
    pub flush: bool,
}

/// A stage-2 table.
pub struct Stage2<M: TableMemory> {
    memory: M,
}

/// The entries of a table below the root.
const ENTRIES: usize = 512;
const LEVELS: u32 = 3;

const fn shift(level: u32) -> u32 {
    12 + 9 * (LEVELS - level)
}

/// The size of what one entry of a level maps.
const fn span(level: u32) -> u64 {
    1 << shift(level)
}

fn index(ipa: Ipa, level: u32) -> usize {
    let entries = if level == 1 {
        1 << (IPA_BITS - shift(1))
    } else {
        ENTRIES
    };
    (ipa.0 >> shift(level)) as usize & (entries - 1)
}

impl<M: TableMemory> Stage2<M> {
    /// Takes an empty table.
    pub fn new(memory: M) -> Self {
        Self { memory }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    fn entry(&self, table: Pa, index: usize) -> Stage2Desc {
        Stage2Desc(self.memory.read(table, index))
    }

    /// The entry that maps `ipa`, if one does.
    pub fn lookup(&self, ipa: Ipa) -> Option<Stage2Desc> {
        if ipa.0 >> IPA_BITS != 0 {
            return None;
        }
        let mut table = self.memory.root();
        for level in 1..=LEVELS {
            let desc = self.entry(table, index(ipa, level));
            match desc.kind(level) {
                DescKind::Table => table = desc.address(),
                DescKind::Block | DescKind::Page => return Some(desc),
                DescKind::Invalid => return None,
            }
        }
        None
    }

    /// Maps a page or a block at `ipa`, which is aligned to its size, as `pa` is.
    ///
    /// Tables are taken from `stock` as needed. What was mapped there before is replaced by way of
    /// an invalid entry, with `flush` called in between, as the architecture demands when the
    /// output address or the size changes (B3.10.1).
    pub fn map(
        &mut self,
        ipa: Ipa,
        pa: Pa,
        size: MapSize,
        attrs: Stage2Attrs,
        mut stock: impl FnMut() -> Option<Pa>,
        mut flush: impl FnMut(),
    ) -> Result<(), MapError> {
        if ipa.0 >> IPA_BITS != 0 {
            return Err(MapError::OutOfRange);
        }
        let last = size.level();
        let mut table = self.memory.root();
        for level in 1..last {
            let at = index(ipa, level);
            let desc = self.entry(table, at);
            table = match desc.kind(level) {
                DescKind::Table => desc.address(),
                kind => {
                    let next = stock().ok_or(MapError::NoTables)?;
                    if kind != DescKind::Invalid {
                        self.invalidate(table, at, &mut flush);
                    }
                    // The new table is zeroed: that must be seen before the table is.
                    self.memory.publish();
                    self.memory.write(table, at, Stage2Desc::table(next).0);
                    next
                }
            };
        }
        let at = index(ipa, last);
        let old = self.entry(table, at);
        let new = match size {
            MapSize::Page => Stage2Desc::page(pa, attrs),
            MapSize::Block => Stage2Desc::block(pa, attrs),
        };
        if old == new {
            return Ok(());
        }
        let kind = old.kind(last);
        if kind != DescKind::Invalid {
            self.invalidate(table, at, &mut flush);
        }
        if kind == DescKind::Table {
            self.clear_below(old.address(), ENTRIES, last + 1);
            self.memory.free(old.address());
        }
        self.memory.write(table, at, new.0);
        self.memory.publish();
        Ok(())
    }

    fn invalidate(&mut self, table: Pa, at: usize, flush: &mut impl FnMut()) {
        self.memory.write(table, at, Stage2Desc::invalid().0);
        self.memory.publish();
        flush();
    }

    /// Calls `visit` for each page or block that has something in `range`, with its size; what it
    /// returns, if anything, replaces the entry.
    pub fn update(
        &mut self,
        range: Range<Ipa>,
        mut visit: impl FnMut(u64, Stage2Desc) -> Option<Stage2Desc>,
    ) -> Stale {
        let mut stale = Stale::default();
        let mut at = range.start.0 & !(PAGE_SIZE - 1);
        let end = range.end.0.min(1 << IPA_BITS);
        while at < end {
            let (table, level, desc) = self.walk(Ipa(at));
            match desc.kind(level) {
                DescKind::Invalid | DescKind::Table => (),
                DescKind::Block | DescKind::Page => {
                    if let Some(new) = visit(span(level), desc) {
                        self.memory.write(table, index(Ipa(at), level), new.0);
                        stale.flush = true;
                    }
                }
            }
            at = (at & !(span(level) - 1)) + span(level);
        }
        if stale.flush {
            self.memory.publish();
        }
        stale
    }

    /// Removes the mappings of all pages in `range`.
    pub fn unmap(&mut self, range: Range<Ipa>) -> Stale {
        self.update(range, |_, _| Some(Stage2Desc::invalid()))
    }

    /// The deepest entry on the way to `ipa`: its table, its level and its value.
    fn walk(&self, ipa: Ipa) -> (Pa, u32, Stage2Desc) {
        let mut table = self.memory.root();
        let mut level = 1;
        loop {
            let desc = self.entry(table, index(ipa, level));
            if level == LEVELS || desc.kind(level) != DescKind::Table {
                return (table, level, desc);
            }
            table = desc.address();
            level += 1;
        }
    }

    /// Gives back all tables below the root. No CPU may walk the table any more.
    pub fn clear(&mut self) {
        let root = self.memory.root();
        self.clear_below(root, 1 << (IPA_BITS - shift(1)), 1);
    }

    fn clear_below(&mut self, table: Pa, entries: usize, level: u32) {
        for at in 0..entries {
            let desc = self.entry(table, at);
            if desc.kind(level) == DescKind::Table && level < LEVELS {
                self.clear_below(desc.address(), ENTRIES, level + 1);
                self.memory.write(table, at, Stage2Desc::invalid().0);
                self.memory.free(desc.address());
            }
        }
    }
}
