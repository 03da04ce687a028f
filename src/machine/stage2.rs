// SPDX-License-Identifier: GPL-2.0

//! Walking and changing a stage-2 translation table.
//!
//! Three levels with 4 KiB pages for a 40-bit IPA (Arm ARM B3.6.6): 1024 entries
//! of 1 GiB in two concatenated first-level tables, 512 of 2 MiB at the second
//! level, 512 of 4 KiB at the third. [`TableMemory`] hides where and how tables are kept,
//! so the walker runs on any machine.
//!
//! A [`Region`] is the 2 MiB that one second-level entry maps. Regions are dealt out to
//! [`STRIPES`] stripes, and whoever has a [`Stripe`] may change its regions: faults in
//! different stripes do not wait for each other. Second-level tables are there before anything
//! is mapped by them ([`Stage2::prepare`]), and as long as the whole table is.
//!
//! The caller does the TLB maintenance that a result asks for before it lets go of the memory
//! that was mapped.

use core::ops::Range;

use armv7::{
    addr::{
        Ipa,
        Pa, //
    },
    descriptor::{
        DescKind,
        MemAttr,
        Stage2Attrs,
        Stage2Desc, //
    },
    regs::IPA_BITS, //
};

/// The memory that tables are in.
///
/// Only the holder of [`Root`] writes an entry of the root, and only the holder of a region's
/// [`Stripe`] the region's entries. All can be read at any time.
pub trait TableMemory {
    /// The first-level table.
    fn root(&self) -> Pa;
    /// Reads an entry of a table.
    fn read(&self, table: Pa, index: usize) -> u64;
    /// Writes an entry of a table, at once.
    fn write(&self, table: Pa, index: usize, desc: u64);
    /// Makes earlier writes visible to table walks, before anything that comes later.
    fn publish(&self);
    /// Gives back a table to which no entry leads any more.
    fn free(&self, table: Pa);
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The stock of tables is exhausted. The table maps the same as before.
    NoTables,
    /// The address is not in the region.
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
    #[inline]
    const fn level(self) -> u32 {
        match self {
            Self::Page => LEVELS,
            Self::Block => LEVELS - 1,
        }
    }

    /// The size in bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        span(self.level())
    }
}

/// The duty that a change leaves to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[must_use]
pub struct Stale {
    /// TLBs may hold an entry that is not in the table any more.
    pub flush: bool,
}

/// How far an unmapping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Unmapped {
    /// There were mappings, and they are gone.
    pub any: bool,
    /// How many bytes were cleaned.
    pub cleaned: u64,
    /// Nothing is left to be cleaned.
    pub is_done: bool,
}

/// How many stripes a table has: regions that are so many apart share one.
pub const STRIPES: usize = 16;

/// The right to change the regions of one stripe.
///
/// # Invariants
///
/// There is one for each stripe of a table.
#[derive(Debug)]
pub struct Stripe(usize);

impl Default for Stripe {
    /// A right to nothing.
    fn default() -> Self {
        Self(usize::MAX)
    }
}

/// The right to change the first-level table.
///
/// # Invariants
///
/// There is one for each table. All entries of the root that lead to a table have an index in
/// `used`.
#[derive(Debug)]
pub struct Root {
    used: Range<usize>,
}

/// A stage-2 table.
pub struct Stage2<M: TableMemory> {
    memory: M,
}

/// The entries of a table below the root.
const ENTRIES: usize = 512;
const LEVELS: u32 = 3;
/// The level of the root, and that of the entries that are regions.
const ROOT_LEVEL: u32 = 1;
const REGION_LEVEL: u32 = 2;

#[inline]
const fn shift(level: u32) -> u32 {
    12 + 9 * (LEVELS - level)
}

/// The size of the memory that one entry of a level maps.
#[inline]
const fn span(level: u32) -> u64 {
    1 << shift(level)
}

#[inline]
fn index(ipa: Ipa, level: u32) -> usize {
    let entries = if level == 1 {
        1 << (IPA_BITS - shift(1))
    } else {
        ENTRIES
    };
    (ipa.0 >> shift(level)) as usize & (entries - 1)
}

/// The stripe that an address belongs to.
#[inline]
pub fn stripe_of(ipa: Ipa) -> usize {
    (ipa.0 >> shift(REGION_LEVEL)) as usize % STRIPES
}

/// The parts of a range of addresses, each in one region.
pub fn regions(range: Range<Ipa>) -> impl Iterator<Item = Range<Ipa>> {
    parts(range, span(REGION_LEVEL))
}

/// The parts of a range of addresses that boundaries of `size`, a power of two, divide it into.
pub fn parts(range: Range<Ipa>, size: u64) -> impl Iterator<Item = Range<Ipa>> {
    let mut at = range.start.0;
    let end = range.end.0.min(1 << IPA_BITS);
    core::iter::from_fn(move || {
        let start = at;
        at = (start & !(size - 1)).saturating_add(size).min(end);
        (start < end).then_some(Ipa(start)..Ipa(at))
    })
}

impl<M: TableMemory> Stage2<M> {
    /// Takes an empty table. Gives along the rights to change it.
    pub fn new(memory: M) -> (Self, Root, [Stripe; STRIPES]) {
        // INVARIANT: No entry leads anywhere.
        let right = Root { used: 0..0 };
        (Self { memory }, right, core::array::from_fn(Stripe))
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Makes sure that there are second-level tables for all of `range`.
    pub fn prepare<E>(
        &self,
        right: &mut Root,
        range: Range<Ipa>,
        mut allocate: impl FnMut() -> Result<Pa, E>,
    ) -> Result<(), E> {
        let root = self.memory.root();
        let mut at = range.start.0;
        while at < range.end.0.min(1 << IPA_BITS) {
            let index = index(Ipa(at), ROOT_LEVEL);
            let desc = Stage2Desc(self.memory.read(root, index));
            if desc.kind(ROOT_LEVEL) != DescKind::Table {
                let table = allocate()?;
                let used = &mut right.used;
                *used = if used.start == used.end {
                    index..index + 1
                } else {
                    used.start.min(index)..used.end.max(index + 1)
                };
                // Walks must see the zeroes of the new table before they see the table.
                self.memory.publish();
                self.memory.write(root, index, Stage2Desc::table(table).0);
            }
            at = (at & !(span(ROOT_LEVEL) - 1)).saturating_add(span(ROOT_LEVEL));
        }
        self.memory.publish();
        Ok(())
    }

    /// The region that `ipa` is in. None if it is not of that stripe, or if nothing can be mapped
    /// there.
    #[inline]
    pub fn region<'a>(&'a self, stripe: &'a mut Stripe, ipa: Ipa) -> Option<Region<'a, M>> {
        if ipa.0 >> IPA_BITS != 0 || stripe.0 != stripe_of(ipa) {
            return None;
        }
        let desc = Stage2Desc(self.memory.read(self.memory.root(), index(ipa, ROOT_LEVEL)));
        (desc.kind(ROOT_LEVEL) == DescKind::Table).then(|| Region {
            memory: &self.memory,
            table: desc.address(),
            number: ipa.0 >> shift(REGION_LEVEL),
            _stripe: stripe,
        })
    }

    /// Gives back all tables below the root. No CPU may walk the table any more. `pause` is called
    /// now and then.
    pub fn clear(&mut self, right: &mut Root, mut pause: impl FnMut()) {
        let root = self.memory.root();
        for at in core::mem::take(&mut right.used) {
            let upper = Stage2Desc(self.memory.read(root, at));
            if upper.kind(ROOT_LEVEL) != DescKind::Table {
                continue;
            }
            self.memory.write(root, at, Stage2Desc::invalid().0);
            for at in 0..ENTRIES {
                let lower = Stage2Desc(self.memory.read(upper.address(), at));
                if lower.kind(REGION_LEVEL) == DescKind::Table {
                    self.memory.free(lower.address());
                }
            }
            self.memory.free(upper.address());
            pause();
        }
    }
}

/// Whether two entries map the same memory as the same type.
#[inline]
fn maps_same_memory(one: Stage2Desc, other: Stage2Desc) -> bool {
    one.address() == other.address() && one.memory() == other.memory()
}

/// The memory that one second-level entry maps, with the right to change the mapping.
pub struct Region<'a, M: TableMemory> {
    memory: &'a M,
    /// The second-level table.
    table: Pa,
    /// `IPA[39:21]`.
    number: u64,
    _stripe: &'a mut Stripe,
}

impl<M: TableMemory> Region<'_, M> {
    #[inline]
    fn entry(&self, table: Pa, index: usize) -> Stage2Desc {
        Stage2Desc(self.memory.read(table, index))
    }

    /// The entry of the region.
    #[inline]
    fn upper(&self) -> (usize, Stage2Desc) {
        let at = self.number as usize & (ENTRIES - 1);
        (at, self.entry(self.table, at))
    }

    #[inline]
    fn has(&self, ipa: Ipa) -> bool {
        ipa.0 >> shift(REGION_LEVEL) == self.number
    }

    /// The entry that maps `ipa`, if one does.
    #[inline]
    pub fn lookup(&self, ipa: Ipa) -> Option<Stage2Desc> {
        if !self.has(ipa) {
            return None;
        }
        let (_, upper) = self.upper();
        match upper.kind(REGION_LEVEL) {
            DescKind::Table => {
                let desc = self.entry(upper.address(), index(ipa, LEVELS));
                (desc.kind(LEVELS) == DescKind::Page).then_some(desc)
            }
            DescKind::Block => Some(upper),
            DescKind::Page | DescKind::Invalid => None,
        }
    }

    /// Which of `n` pages, up to 32, from `ipa` on are mapped: a bit for each.
    #[inline]
    pub fn mapped(&self, ipa: Ipa, n: u32) -> u32 {
        let (_, upper) = self.upper();
        let first = index(ipa, LEVELS);
        match upper.kind(REGION_LEVEL) {
            _ if !self.has(ipa) => 0,
            DescKind::Block => u32::MAX,
            DescKind::Table => (0..n.min(32).min((ENTRIES - first) as u32)).fold(0, |mapped, i| {
                let desc = self.entry(upper.address(), first + i as usize);
                mapped | u32::from(desc.kind(LEVELS) == DescKind::Page) << i
            }),
            DescKind::Page | DescKind::Invalid => 0,
        }
    }

    /// Maps a page or a block at `ipa`, which is aligned to its size, as `pa` is.
    ///
    /// A table is taken from `stock` if needed. Where a page is mapped into a block, the block is
    /// split, and the pages around stay mapped as they were. If the output address or the size
    /// changes, the architecture demands an invalid entry in between (B3.10.1), and `flush` is
    /// called while that is there. If just permissions change, `flush` is called afterwards, so
    /// that no TLB keeps the old ones.
    pub fn map(
        &mut self,
        ipa: Ipa,
        pa: Pa,
        size: MapSize,
        attrs: Stage2Attrs,
        stock: impl FnOnce() -> Option<Pa>,
        mut flush: impl FnMut(),
    ) -> Result<(), MapError> {
        if !self.has(ipa) {
            return Err(MapError::OutOfRange);
        }
        let (upper_at, upper) = self.upper();
        let (table, at, mut new) = match size {
            MapSize::Block => (self.table, upper_at, Stage2Desc::block(pa, attrs)),
            MapSize::Page => {
                let at = index(ipa, LEVELS);
                let mut new = Stage2Desc::page(pa, attrs);
                let lower = match upper.kind(REGION_LEVEL) {
                    DescKind::Table => upper.address(),
                    kind => {
                        let lower = stock().ok_or(MapError::NoTables)?;
                        if kind == DescKind::Block {
                            let old = self.fill_from_block(lower, upper, at);
                            if maps_same_memory(old, new) {
                                new = new.with_writes_of(old);
                            }
                            // The new table has the page already, so the flush for the block is
                            // the only one.
                            self.memory.write(lower, at, new.0);
                            self.invalidate(self.table, upper_at, &mut flush);
                        }
                        // Walks must see the entries of the new table before they see the table.
                        self.memory.publish();
                        self.memory
                            .write(self.table, upper_at, Stage2Desc::table(lower).0);
                        lower
                    }
                };
                (lower, at, new)
            }
        };
        let level = size.level();
        let old = self.entry(table, at);
        let kind = old.kind(level);
        if kind == DescKind::Table {
            for at in 0..ENTRIES {
                new = new.with_writes_of(self.entry(old.address(), at));
            }
        }
        if kind == DescKind::Block || kind == DescKind::Page {
            let same_memory = maps_same_memory(old, new);
            if same_memory {
                new = new.with_writes_of(old);
            }
            if old == new {
                return Ok(());
            }
            if same_memory && kind == new.kind(level) {
                self.memory.write(table, at, new.0);
                self.memory.publish();
                // No TLB holds an entry without the access flag (B3.6.7).
                if old.with_accessed(true) != new {
                    flush();
                }
                return Ok(());
            }
        }
        if kind != DescKind::Invalid {
            self.invalidate(table, at, &mut flush);
        }
        if kind == DescKind::Table {
            self.memory.free(old.address());
        }
        self.memory.write(table, at, new.0);
        self.memory.publish();
        Ok(())
    }

    /// Fills a new table with entries for all that `block` maps. Gives the entry at one index.
    fn fill_from_block(&self, table: Pa, block: Stage2Desc, wanted: usize) -> Stage2Desc {
        let part = |at: usize| block.part(at as u64 * span(LEVELS), true);
        for at in 0..ENTRIES {
            self.memory.write(table, at, part(at).0);
        }
        part(wanted)
    }

    fn invalidate(&self, table: Pa, at: usize, flush: &mut impl FnMut()) {
        self.memory.write(table, at, Stage2Desc::invalid().0);
        self.memory.publish();
        flush();
    }

    /// Calls `f` for each entry that maps something of `range` or could, with the entry's table,
    /// index, level and value. Nothing outside of the region is visited.
    fn entries(&mut self, range: Range<Ipa>, mut f: impl FnMut(Pa, usize, u32, Stage2Desc)) {
        let start = range.start.0.max(self.number << shift(REGION_LEVEL));
        let end = range.end.0.min((self.number + 1) << shift(REGION_LEVEL));
        if start >= end {
            return;
        }
        let (upper_at, upper) = self.upper();
        if upper.kind(REGION_LEVEL) != DescKind::Table {
            return f(self.table, upper_at, REGION_LEVEL, upper);
        }
        let lower = upper.address();
        for at in index(Ipa(start), LEVELS)..=index(Ipa(end - 1), LEVELS) {
            f(lower, at, LEVELS, self.entry(lower, at));
        }
    }

    /// Calls `visit` for each page or block that has something in `range`, with its size. If
    /// `visit` returns an entry, that replaces the old one. Nothing outside of the region is
    /// visited.
    pub fn update(
        &mut self,
        range: Range<Ipa>,
        mut visit: impl FnMut(u64, Stage2Desc) -> Option<Stage2Desc>,
    ) -> Stale {
        let mut stale = Stale::default();
        let memory = self.memory;
        self.entries(range, |table, at, level, desc| {
            if !matches!(desc.kind(level), DescKind::Block | DescKind::Page) {
                return;
            }
            if let Some(new) = visit(span(level), desc) {
                memory.write(table, at, new.0);
                stale.flush = true;
            }
        });
        if stale.flush {
            memory.publish();
        }
        stale
    }

    /// Calls `visit` with each part of `range` to which RAM is mapped. Says whether the region maps
    /// anything at all.
    pub fn ram(&mut self, range: Range<Ipa>, mut visit: impl FnMut(Pa, u64)) -> bool {
        let start = self.number << shift(REGION_LEVEL);
        let end = start + span(REGION_LEVEL);
        let (from, to) = (range.start.0.max(start), range.end.0.min(end));
        self.entries(range, |_, _, level, desc| match desc.kind(level) {
            _ if desc.memory() != Some(MemAttr::NormalWb) => (),
            DescKind::Block => visit(Pa(desc.address().0 + (from - start)), to - from),
            DescKind::Page => visit(desc.address(), span(level)),
            DescKind::Table | DescKind::Invalid => (),
        });
        self.upper().1.kind(REGION_LEVEL) != DescKind::Invalid
    }

    /// Removes the mappings of all pages in `range`. If only a part of a block is in it, the whole
    /// block goes.
    ///
    /// Then `flush` is called, since TLBs may hold entries that are not in the table any more.
    /// After it, no guest can reach the memory. Then `clean` is called with each page or block that
    /// was RAM to which the guest could write, and its size. The guest may have written past the
    /// caches, and they can hold older data: by way of another mapping, a CPU may read ahead into
    /// them at any time (A3.5.7). Without `clean`, nobody is to read the data that was there.
    ///
    /// Cleaning takes time, so a call cleans no more than `most` bytes, at least a page. The
    /// entries remember all that is left: the caller calls again until that is done, and nothing
    /// may be mapped in `range` meanwhile. Another caller cleans that, too. A block of which only a
    /// part is in `range` is cleaned at once, since the other part may be mapped at any time.
    pub fn unmap(
        &mut self,
        range: Range<Ipa>,
        flush: impl FnOnce(),
        clean: Option<impl FnMut(Pa, u64)>,
        most: u64,
    ) -> Unmapped {
        let mut result = Unmapped {
            any: false,
            cleaned: 0,
            is_done: true,
        };
        // Many slots go without ever having been used.
        if self.upper().1 == Stage2Desc::invalid() {
            return result;
        }
        let stale = self.update(range.clone(), |_, desc| {
            Some(match desc.memory() {
                Some(MemAttr::NormalWb) if desc.was_writable() && clean.is_some() => desc.removed(),
                _ => Stage2Desc::invalid(),
            })
        });
        if stale.flush {
            flush();
            result.any = true;
        }
        let Some(mut clean) = clean else {
            return result;
        };
        let start = self.number << shift(REGION_LEVEL);
        let is_whole = range.start.0 <= start && range.end.0 >= start + span(REGION_LEVEL);
        let most = if self.upper().1.is_removed() && !is_whole {
            u64::MAX
        } else {
            most.max(span(LEVELS)) & !(span(LEVELS) - 1)
        };
        let memory = self.memory;
        self.entries(range, |table, at, level, desc| {
            if !desc.is_removed() {
                return;
            }
            let rest = span(level) - (desc.address().0 & (span(level) - 1));
            let size = rest.min(most - result.cleaned);
            if size != 0 {
                clean(desc.address(), size);
                result.cleaned += size;
            }
            let new = if size == rest {
                Stage2Desc::invalid()
            } else {
                result.is_done = false;
                desc.removed_behind(size)
            };
            memory.write(table, at, new.0);
        });
        result
    }

    /// Takes the right to write away from all pages in `range`. If only a part of a block is in it,
    /// the whole block loses that right.
    pub fn write_protect(&mut self, range: Range<Ipa>) -> Stale {
        self.update(range, |_, desc| {
            desc.writable().then(|| desc.write_protected())
        })
    }

    /// Gives back the third-level table if it maps nothing any more, and nothing of it is left to
    /// be cleaned.
    ///
    /// `flush` is called when no entry leads to it, and before it is given back: a CPU may be
    /// walking it, or know of it, until then (B3.10.1).
    pub fn prune(&mut self, mut flush: impl FnMut()) {
        let (at, upper) = self.upper();
        let is_empty =
            |table| (0..ENTRIES).all(|at| self.entry(table, at) == Stage2Desc::invalid());
        if upper.kind(REGION_LEVEL) == DescKind::Table && is_empty(upper.address()) {
            self.invalidate(self.table, at, &mut flush);
            self.memory.free(upper.address());
        }
    }
}

#[cfg(test)]
mod tests;
