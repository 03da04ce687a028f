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
        Stage2Access,
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
    /// Tables are taken from `stock` as needed. Where a page is mapped into a block, the block is
    /// split, and what surrounds the page stays mapped as it was. What was mapped there before is
    /// replaced by way of an invalid entry, with `flush` called in between, as the architecture
    /// demands when the output address or the size changes (B3.10.1); when just permissions do,
    /// `flush` is called afterwards, so that no TLB keeps the old ones.
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
                    if kind == DescKind::Block {
                        self.fill_from_block(next, desc, level);
                        self.invalidate(table, at, &mut flush);
                    }
                    // What is in the new table must be seen before the table is.
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
        let kind = old.kind(last);
        if kind == DescKind::Block || kind == DescKind::Page {
            if old == new {
                return Ok(());
            }
            let same_memory = old.address() == new.address() && old.memory() == new.memory();
            if same_memory && old.kind(last) == new.kind(last) {
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
            self.clear_below(old.address(), ENTRIES, last + 1);
            self.memory.free(old.address());
        }
        self.memory.write(table, at, new.0);
        self.memory.publish();
        Ok(())
    }

    /// Fills a new table with what `block`, of `level`, maps.
    fn fill_from_block(&mut self, table: Pa, block: Stage2Desc, level: u32) {
        let below = level + 1;
        for at in 0..ENTRIES {
            let offset = at as u64 * span(below);
            self.memory
                .write(table, at, block.part(offset, below == LEVELS).0);
        }
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

    /// Takes the right to write away from all pages in `range`; from whole blocks, too, of which
    /// but a part is in it.
    pub fn write_protect(&mut self, range: Range<Ipa>) -> Stale {
        self.update(range, |_, desc| {
            desc.writable()
                .then(|| desc.with_access(Stage2Access::ReadOnly))
        })
    }

    /// Gives back the tables in `range` that map nothing any more.
    ///
    /// `flush` is called when no entry leads to them, and before they are given back: a CPU may
    /// be walking them, or know of them, until then (B3.10.1).
    pub fn prune(&mut self, range: Range<Ipa>, flush: impl FnOnce()) {
        // Tables that are out of the tree are a list, linked by what a walker takes for an invalid
        // entry.
        const LINK: u64 = 1 << 1;
        let mut list = 0;
        let end = range.end.0.min(1 << IPA_BITS);
        for level in (1..LEVELS).rev() {
            let mut at = range.start.0 & !(span(level) - 1);
            while at < end {
                let (table, found, _) = self.walk_to(Ipa(at), level);
                if found == level {
                    let slot = index(Ipa(at), level);
                    let desc = self.entry(table, slot);
                    if desc.kind(level) == DescKind::Table
                        && self.is_empty(desc.address(), level + 1)
                    {
                        self.memory.write(table, slot, Stage2Desc::invalid().0);
                        self.memory.write(desc.address(), 0, list);
                        list = desc.address().0 | LINK;
                    }
                }
                at = (at & !(span(found) - 1)) + span(found);
            }
        }
        if list == 0 {
            return;
        }
        self.memory.publish();
        flush();
        while list != 0 {
            let table = Pa(list & !LINK);
            list = self.memory.read(table, 0);
            self.memory.free(table);
        }
    }

    /// Whether no entry of a table below the root leads anywhere.
    fn is_empty(&self, table: Pa, level: u32) -> bool {
        (0..ENTRIES).all(|at| self.entry(table, at).kind(level) == DescKind::Invalid)
    }

    /// The deepest entry on the way to `ipa`: its table, its level and its value.
    fn walk(&self, ipa: Ipa) -> (Pa, u32, Stage2Desc) {
        self.walk_to(ipa, LEVELS)
    }

    /// The same, but not below a level.
    fn walk_to(&self, ipa: Ipa, last: u32) -> (Pa, u32, Stage2Desc) {
        let mut table = self.memory.root();
        let mut level = 1;
        loop {
            let desc = self.entry(table, index(ipa, level));
            if level == last || desc.kind(level) != DescKind::Table {
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

#[cfg(test)]
mod tests {
    use super::*;
    use armv7::descriptor::{
        MemAttr,
        Stage2Access, //
    };
    use proptest::prelude::*;
    use std::{
        cell::RefCell,
        collections::{
            BTreeMap,
            BTreeSet, //
        },
        vec::Vec, //
    };

    /// Tables in a map, which notices what a real machine would crash by.
    #[derive(Default)]
    struct Fake {
        tables: BTreeMap<u64, Vec<u64>>,
        next: u64,
    }

    const ROOT: Pa = Pa(0x2000);

    impl Fake {
        fn new() -> Self {
            let mut fake = Self {
                next: 0x10_0000,
                ..Self::default()
            };
            fake.tables.insert(ROOT.0, std::vec![0; 1024]);
            fake
        }

        fn allocate(next: &mut u64, spare: &mut BTreeMap<u64, Vec<u64>>) -> Pa {
            *next += PAGE_SIZE;
            spare.insert(*next, std::vec![0; ENTRIES]);
            Pa(*next)
        }
    }

    /// Memory whose new tables come from outside, as in the kernel.
    struct Memory<'a> {
        fake: &'a RefCell<Fake>,
        freed: &'a RefCell<BTreeSet<u64>>,
    }

    impl TableMemory for Memory<'_> {
        fn root(&self) -> Pa {
            ROOT
        }

        fn read(&self, table: Pa, index: usize) -> u64 {
            self.fake.borrow().tables[&table.0][index]
        }

        fn write(&mut self, table: Pa, index: usize, desc: u64) {
            self.fake.borrow_mut().tables.get_mut(&table.0).unwrap()[index] = desc;
        }

        fn publish(&mut self) {}

        fn free(&mut self, table: Pa) {
            assert!(self.fake.borrow_mut().tables.remove(&table.0).is_some());
            assert!(self.freed.borrow_mut().insert(table.0), "freed twice");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Map {
            page: u64,
            pa: u64,
            block: bool,
            xn: bool,
        },
        Unmap {
            page: u64,
            pages: u64,
        },
        Age {
            page: u64,
            pages: u64,
        },
        Protect {
            page: u64,
            pages: u64,
        },
        /// Unmaps, and gives empty tables back.
        Remove {
            page: u64,
            pages: u64,
        },
    }

    /// Pages around places where tables begin and end.
    fn pages() -> impl Strategy<Value = u64> {
        (
            prop_oneof![Just(0u64), Just(1 << 18), Just((1 << 28) - 1024)],
            0u64..1024,
        )
            .prop_map(|(base, offset)| base + offset)
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            (pages(), 0u64..1 << 20, any::<bool>(), any::<bool>()).prop_map(
                |(page, pa, block, xn)| Step::Map {
                    page,
                    pa,
                    block,
                    xn
                }
            ),
            (pages(), 1u64..700).prop_map(|(page, pages)| Step::Unmap { page, pages }),
            (pages(), 1u64..700).prop_map(|(page, pages)| Step::Age { page, pages }),
            (pages(), 1u64..700).prop_map(|(page, pages)| Step::Protect { page, pages }),
            (pages(), 1u64..1500).prop_map(|(page, pages)| Step::Remove { page, pages }),
        ]
    }

    fn attrs(xn: bool) -> Stage2Attrs {
        Stage2Attrs {
            memory: MemAttr::NormalWb,
            access: Stage2Access::ReadWrite,
            execute_never: xn,
        }
    }

    const BLOCK_PAGES: u64 = MapSize::Block.bytes() / PAGE_SIZE;

    /// What is known of a page that is mapped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mapped {
        pa: u64,
        in_block: bool,
        xn: bool,
        accessed: bool,
        writable: bool,
    }

    /// Page -> how it is mapped.
    #[derive(Default)]
    struct Model(BTreeMap<u64, Mapped>);

    impl Model {
        /// The pages that go along with those in a range, since a block changes as a whole.
        fn touched(&self, from: u64, pages: u64) -> Vec<u64> {
            let mut all = BTreeSet::new();
            for (page, mapped) in self.0.range(from..from + pages) {
                let (first, n) = if mapped.in_block {
                    (page & !(BLOCK_PAGES - 1), BLOCK_PAGES)
                } else {
                    (*page, 1)
                };
                all.extend(first..first + n);
            }
            all.into_iter().collect()
        }

        fn remove(&mut self, from: u64, pages: u64) {
            for page in self.touched(from, pages) {
                self.0.remove(&page);
            }
        }

        fn change(&mut self, from: u64, pages: u64, change: impl Fn(&mut Mapped)) {
            for page in self.touched(from, pages) {
                change(self.0.get_mut(&page).unwrap());
            }
        }
    }

    fn range_of(page: u64, pages: u64) -> Range<Ipa> {
        Ipa(page * PAGE_SIZE)..Ipa((page + pages) * PAGE_SIZE)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// The table maps what a plain map of pages does, whatever was done to it, and owns
        /// exactly the tables that it was given and has not given back.
        #[test]
        fn agrees_with_a_plain_map(steps in proptest::collection::vec(steps(), 1..40)) {
            let fake = RefCell::new(Fake::new());
            let freed = RefCell::new(BTreeSet::new());
            let mut stage2 = Stage2::new(Memory { fake: &fake, freed: &freed });
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Map { page, pa, block, xn } => {
                        let size = if block { MapSize::Block } else { MapSize::Page };
                        let n = size.bytes() / PAGE_SIZE;
                        let (page, pa) = (page & !(n - 1), pa & !(n - 1));
                        let stock = || {
                            let mut fake = fake.borrow_mut();
                            let mut next = fake.next;
                            let mut spare = BTreeMap::new();
                            let table = Fake::allocate(&mut next, &mut spare);
                            fake.next = next;
                            fake.tables.append(&mut spare);
                            Some(table)
                        };
                        let wanted = |i| Mapped {
                            pa: pa + i, in_block: block, xn, accessed: true, writable: true,
                        };
                        let flushes = RefCell::new(0);
                        let replaced = model.0.range(page..page + n).next().is_some();
                        // The access flag is nothing that a TLB could have wrong.
                        let same = (0..n).all(|i| model.0.get(&(page + i)).is_some_and(|old| {
                            Mapped { accessed: true, ..*old } == wanted(i)
                        }));
                        stage2
                            .map(
                                Ipa(page * PAGE_SIZE), Pa(pa * PAGE_SIZE), size, attrs(xn),
                                stock, || *flushes.borrow_mut() += 1,
                            )
                            .unwrap();
                        if replaced && !same {
                            prop_assert!(*flushes.borrow() > 0, "nothing was flushed");
                        }
                        // What surrounds a page in a block stays.
                        model.change(page, n, |mapped| mapped.in_block = false);
                        for i in 0..n {
                            model.0.insert(page + i, wanted(i));
                        }
                    }
                    Step::Unmap { page, pages } => {
                        let had = !model.touched(page, pages).is_empty();
                        prop_assert_eq!(stage2.unmap(range_of(page, pages)).flush, had);
                        model.remove(page, pages);
                    }
                    Step::Remove { page, pages } => {
                        let _ = stage2.unmap(range_of(page, pages));
                        model.remove(page, pages);
                        let before = freed.borrow().len();
                        let tables = fake.borrow().tables.len();
                        let flushed = RefCell::new(false);
                        stage2.prune(range_of(page, pages), || {
                            assert_eq!(freed.borrow().len(), before, "freed before the flush");
                            assert_eq!(fake.borrow().tables.len(), tables);
                            *flushed.borrow_mut() = true;
                        });
                        prop_assert_eq!(*flushed.borrow(), freed.borrow().len() > before);
                    }
                    Step::Protect { page, pages } => {
                        let had = model.touched(page, pages).iter().any(|p| model.0[p].writable);
                        prop_assert_eq!(stage2.write_protect(range_of(page, pages)).flush, had);
                        model.change(page, pages, |mapped| mapped.writable = false);
                    }
                    Step::Age { page, pages } => {
                        let range = range_of(page, pages);
                        let _ = stage2.update(range, |_, desc| Some(desc.with_accessed(false)));
                        model.change(page, pages, |mapped| mapped.accessed = false);
                    }
                }
            }
            for (page, mapped) in &model.0 {
                let desc = stage2.lookup(Ipa(page * PAGE_SIZE)).unwrap();
                let within = if mapped.in_block { page % BLOCK_PAGES } else { 0 };
                prop_assert_eq!(desc.address(), Pa((mapped.pa - within) * PAGE_SIZE));
                prop_assert_eq!(desc.is_block(), mapped.in_block);
                prop_assert_eq!(desc.execute_never(), mapped.xn);
                prop_assert_eq!(desc.accessed(), mapped.accessed);
                prop_assert_eq!(desc.writable(), mapped.writable);
            }
            for base in [0u64, 1 << 18, (1 << 28) - 1024] {
                for page in base..base + 1024 {
                    let mapped = stage2.lookup(Ipa(page * PAGE_SIZE)).is_some();
                    prop_assert_eq!(mapped, model.0.contains_key(&page));
                }
            }
            let all = 1 << (IPA_BITS - 12);
            let _ = stage2.unmap(range_of(0, all));
            stage2.prune(range_of(0, all), || ());
            prop_assert_eq!(fake.borrow().tables.len(), 1, "empty tables stay");
            stage2.clear();
            prop_assert_eq!(fake.borrow().tables.len(), 1, "tables leaked");
        }
    }

    #[test]
    fn addresses_beyond_the_ipa_size_are_refused() {
        let fake = RefCell::new(Fake::new());
        let freed = RefCell::new(BTreeSet::new());
        let mut stage2 = Stage2::new(Memory {
            fake: &fake,
            freed: &freed,
        });
        let result = stage2.map(
            Ipa(1 << IPA_BITS),
            Pa(0),
            MapSize::Page,
            attrs(true),
            || None,
            || (),
        );
        assert_eq!(result, Err(MapError::OutOfRange));
        assert_eq!(stage2.lookup(Ipa(1 << IPA_BITS)), None);
    }

    #[test]
    fn without_tables_nothing_changes() {
        let fake = RefCell::new(Fake::new());
        let freed = RefCell::new(BTreeSet::new());
        let mut stage2 = Stage2::new(Memory {
            fake: &fake,
            freed: &freed,
        });
        let result = stage2.map(Ipa(0), Pa(0), MapSize::Page, attrs(true), || None, || ());
        assert_eq!(result, Err(MapError::NoTables));
        assert_eq!(stage2.lookup(Ipa(0)), None);
    }
}
