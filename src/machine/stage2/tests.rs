// SPDX-License-Identifier: GPL-2.0

use super::*;
use armv7::{
    addr::PAGE_SIZE,
    descriptor::{
        MemAttr,
        Stage2Access, //
    }, //
};
use inputs::prelude::*;
use std::{
    cell::RefCell,
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        Mutex,
        RwLock, //
    },
    vec::Vec, //
};

/// Tables in a map, which notices mistakes that would crash a real machine.
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

    fn write(&self, table: Pa, index: usize, desc: u64) {
        self.fake.borrow_mut().tables.get_mut(&table.0).unwrap()[index] = desc;
    }

    fn publish(&self) {}

    fn free(&self, table: Pa) {
        assert!(self.fake.borrow_mut().tables.remove(&table.0).is_some());
        assert!(self.freed.borrow_mut().insert(table.0), "freed twice");
    }
}

/// A table with all rights to it.
struct Whole<'a> {
    stage2: Stage2<Memory<'a>>,
    root: Root,
    stripes: [Stripe; STRIPES],
    fake: &'a RefCell<Fake>,
}

impl<'a> Whole<'a> {
    fn new(fake: &'a RefCell<Fake>, freed: &'a RefCell<BTreeSet<u64>>) -> Self {
        let (stage2, mut root, stripes) = Stage2::new(Memory { fake, freed });
        for page in [0, 1 << 18, (1 << 28) - 1] {
            stage2
                .prepare(&mut root, range_of(page, 1), || new_table(fake).ok_or(()))
                .unwrap();
        }
        Self {
            stage2,
            root,
            stripes,
            fake,
        }
    }

    fn region(&mut self, ipa: Ipa) -> Option<Region<'_, Memory<'a>>> {
        self.stage2.region(&mut self.stripes[stripe_of(ipa)], ipa)
    }

    fn lookup(&mut self, ipa: Ipa) -> Option<Stage2Desc> {
        self.region(ipa)?.lookup(ipa)
    }

    fn each(
        &mut self,
        range: Range<Ipa>,
        f: impl Fn(&mut Region<'_, Memory<'_>>, Range<Ipa>) -> Stale,
    ) -> Stale {
        let mut stale = Stale::default();
        for part in regions(range) {
            if let Some(mut region) = self.region(part.start) {
                stale.flush |= f(&mut region, part).flush;
            }
        }
        stale
    }

    fn tables(&self) -> usize {
        self.fake.borrow().tables.len()
    }
}

fn new_table(fake: &RefCell<Fake>) -> Option<Pa> {
    let mut fake = fake.borrow_mut();
    fake.next += PAGE_SIZE;
    let table = fake.next;
    fake.tables.insert(table, std::vec![0; ENTRIES]);
    Some(Pa(table))
}

#[derive(Clone, Debug)]
enum Step {
    Map {
        page: u64,
        pa: u64,
        block: bool,
        xn: bool,
        writable: bool,
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
        one_of![Just(0u64), Just(1 << 18), Just((1 << 28) - 1024)],
        0u64..1024,
    )
        .prop_map(|(base, offset)| base + offset)
}

fn steps() -> impl Strategy<Value = Step> {
    one_of![
        (pages(), 0u64..1 << 20, any::<[bool; 3]>()).prop_map(
            |(page, pa, [block, xn, writable])| {
                Step::Map {
                    page,
                    pa,
                    block,
                    xn,
                    writable,
                }
            }
        ),
        // Pages are executed, or written to, for the first time.
        (pages(), any::<[bool; 3]>()).prop_map(|(page, [block, xn, writable])| Step::Map {
            page,
            pa: page,
            block,
            xn,
            writable,
        }),
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

fn read_only(attrs: Stage2Attrs) -> Stage2Attrs {
    Stage2Attrs {
        access: Stage2Access::ReadOnly,
        ..attrs
    }
}

const BLOCK_PAGES: u64 = MapSize::Block.bytes() / PAGE_SIZE;

/// The facts about a page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    pa: u64,
    in_block: bool,
    xn: bool,
    accessed: bool,
    writable: bool,
    /// It was writable at some time since this memory is mapped here.
    was_writable: bool,
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

inputs! {
    #![cases = 150]

    /// After any changes, the table maps the same as a plain map of pages, and owns exactly
    /// the tables that it was given and has not given back.
    fn agrees_with_a_plain_map(steps in prop::collection::vec(steps(), 1..40)) {
        let fake = RefCell::new(Fake::new());
        let freed = RefCell::new(BTreeSet::new());
        let mut stage2 = Whole::new(&fake, &freed);
        let upper = stage2.tables();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Map { page, pa, block, xn, writable } => {
                    let size = if block { MapSize::Block } else { MapSize::Page };
                    let n = size.bytes() / PAGE_SIZE;
                    let (page, pa) = (page & !(n - 1), pa & !(n - 1));
                    let wanted = |i| Mapped {
                        pa: pa + i, in_block: block, xn, accessed: true, writable,
                        was_writable: writable,
                    };
                    let flushes = RefCell::new(0);
                    let replaced = model.0.range(page..page + n).next().is_some();
                    // A TLB holds no entry without the access flag, so the flag is left out here.
                    let same = (0..n).all(|i| model.0.get(&(page + i)).is_some_and(|old| {
                        Mapped { accessed: true, was_writable: writable, ..*old } == wanted(i)
                    }));
                    // Where the same memory stays mapped, the mark that it was written to stays. A
                    // block in the place of pages has the mark if one of them had it.
                    let before: std::vec::Vec<Mapped> = model
                        .0
                        .range(page..page + n)
                        .filter(|(at, old)| {
                            (block && !old.in_block) || old.pa == wanted(*at - page).pa
                        })
                        .map(|(_, old)| *old)
                        .collect();
                    let was_writable = before.iter().any(|old| old.was_writable);
                    let ipa = Ipa(page * PAGE_SIZE);
                    stage2
                        .region(ipa)
                        .unwrap()
                        .map(
                            ipa, Pa(pa * PAGE_SIZE), size,
                            if writable { attrs(xn) } else { read_only(attrs(xn)) },
                            || new_table(&fake), || *flushes.borrow_mut() += 1,
                        )
                        .unwrap();
                    if replaced && !same {
                        prop_assert!(*flushes.borrow() > 0, "nothing was flushed");
                    }
                    prop_assert!(*flushes.borrow() <= 1, "one change, more than one flush");
                    // The pages around one in a block stay.
                    model.change(page, n, |mapped| mapped.in_block = false);
                    for i in 0..n {
                        let mut wanted = wanted(i);
                        wanted.was_writable |= was_writable;
                        model.0.insert(page + i, wanted);
                    }
                }
                Step::Unmap { page, pages } => {
                    let had = !model.touched(page, pages).is_empty();
                    let flushed = RefCell::new(BTreeSet::new());
                    let cleaned = RefCell::new(BTreeSet::new());
                    let stale = stage2.each(range_of(page, pages), |region, part| {
                        let number = part.start.0 / MapSize::Block.bytes();
                        let flush = region.unmap(
                            part,
                            || {
                                flushed.borrow_mut().insert(number);
                            },
                            Some(|pa: Pa, size| {
                                // A guest can reach the memory until the flush.
                                assert!(flushed.borrow().contains(&number), "cleaned before the flush");
                                cleaned.borrow_mut().extend((pa.0..pa.0 + size).step_by(PAGE_SIZE as usize));
                            }),
                            u64::MAX,
                        ).any;
                        Stale { flush }
                    });
                    prop_assert_eq!(stale.flush, had);
                    let gone: BTreeSet<u64> = model
                        .touched(page, pages)
                        .iter()
                        .map(|p| model.0[p])
                        .filter(|mapped| mapped.was_writable)
                        .map(|mapped| mapped.pa * PAGE_SIZE)
                        .collect();
                    prop_assert_eq!(cleaned.into_inner(), gone, "cleaned is what was written to");
                    model.remove(page, pages);
                }
                Step::Remove { page, pages } => {
                    model.remove(page, pages);
                    let _ = stage2.each(range_of(page, pages), |region, part| {
                        let flush = region.unmap(part, || (), Some(|_, _| ()), u64::MAX).any;
                        let before = freed.borrow().len();
                        let flushed = RefCell::new(false);
                        region.prune(|| {
                            assert_eq!(freed.borrow().len(), before, "freed before the flush");
                            *flushed.borrow_mut() = true;
                        });
                        assert_eq!(*flushed.borrow(), freed.borrow().len() > before);
                        Stale { flush }
                    });
                }
                Step::Protect { page, pages } => {
                    let had = model.touched(page, pages).iter().any(|p| model.0[p].writable);
                    let stale = stage2.each(range_of(page, pages), |region, part| {
                        region.write_protect(part)
                    });
                    prop_assert_eq!(stale.flush, had);
                    model.change(page, pages, |mapped| mapped.writable = false);
                }
                Step::Age { page, pages } => {
                    let range = range_of(page, pages);
                    let _ = stage2.each(range, |region, part| {
                        region.update(part, |_, desc| Some(desc.with_accessed(false)))
                    });
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
                let ipa = Ipa(page * PAGE_SIZE);
                let mapped = stage2.lookup(ipa).is_some();
                prop_assert_eq!(mapped, model.0.contains_key(&page));
                let n = (BLOCK_PAGES - page % BLOCK_PAGES).min(32);
                let expected = (0..n).fold(0, |mask, i| {
                    mask | u32::from(model.0.contains_key(&(page + i))) << i
                });
                let mask = stage2.region(ipa).unwrap().mapped(ipa, 32);
                prop_assert_eq!(u64::from(mask) & ((1 << n) - 1), u64::from(expected));
            }
        }
        for (base, pages) in [(0, 2 << 18), ((1 << 28) - 1024, 1024)] {
            let _ = stage2.each(range_of(base, pages), |region, part| {
                let flush = region.unmap(part, || (), Some(|_, _| ()), u64::MAX).any;
                region.prune(|| ());
                Stale { flush }
            });
        }
        prop_assert_eq!(stage2.tables(), upper, "empty tables stay");
        stage2.stage2.clear(&mut stage2.root, || ());
        prop_assert_eq!(stage2.tables(), 1, "tables leaked");
    }
}

/// A mapping of one region: a block, or pages.
#[derive(Clone, Debug)]
enum Content {
    Block { writable: bool },
    Pages(BTreeMap<u64, bool>),
}

fn content() -> impl Strategy<Value = Content> {
    one_of![
        any::<bool>().prop_map(|writable| Content::Block { writable }),
        prop::collection::btree_map(0..BLOCK_PAGES, any::<bool>(), 0..300).prop_map(Content::Pages),
    ]
}

inputs! {
    #![cases = 300]

    /// However callers take turns, with whatever limits, each byte that the guest could write to is
    /// cleaned once, after the only flush, and no call cleans more than its limit. Whoever is told
    /// that all is done, after that has nothing left in its range. The table is not given back
    /// before.
    fn cleaning_in_turns_cleans_all(
        content in content(),
        callers in prop::collection::vec((0..BLOCK_PAGES, 1..=BLOCK_PAGES, 1u64..300), 1..4),
        turns in prop::collection::vec(0usize..4, 1..40),
    ) {
        let fake = RefCell::new(Fake::new());
        let freed = RefCell::new(BTreeSet::new());
        let mut whole = Whole::new(&fake, &freed);
        let mut region = whole.region(Ipa(0)).unwrap();
        let base = 5 * MapSize::Block.bytes();
        let mut expected: BTreeSet<u64> = BTreeSet::new();
        let mut map = |page: u64, size: MapSize, writable: bool| {
            let attrs = if writable { attrs(true) } else { read_only(attrs(true)) };
            let (ipa, pa) = (Ipa(page * PAGE_SIZE), Pa(base + page * PAGE_SIZE));
            region.map(ipa, pa, size, attrs, || new_table(&fake), || ()).unwrap();
        };
        let is_block = matches!(content, Content::Block { .. });
        match &content {
            Content::Block { writable } => {
                map(0, MapSize::Block, *writable);
                if *writable {
                    expected.extend(0..BLOCK_PAGES);
                }
            }
            Content::Pages(pages) => {
                for (&page, &writable) in pages {
                    map(page, MapSize::Page, writable);
                    if writable {
                        expected.insert(page);
                    }
                }
            }
        }

        let cleaned = RefCell::new(BTreeSet::new());
        let mut seen = BTreeSet::new();
        // The first caller has all of the region, so all of it is cleaned in the end.
        let mut callers = callers;
        callers[0] = (0, BLOCK_PAGES, callers[0].2);
        let mut is_done = std::vec![false; callers.len()];
        let turns = turns.into_iter().chain((0..2000).map(|n| n % 4));
        for turn in turns.map(|turn| turn % callers.len()) {
            if is_done[turn] {
                continue;
            }
            let (first, pages, most) = callers[turn];
            let pages = pages.min(BLOCK_PAGES - first);
            let flushed = RefCell::new(false);
            let before = cleaned.borrow().len() as u64;
            let result = region.unmap(
                range_of(first, pages),
                || *flushed.borrow_mut() = true,
                Some(|pa: Pa, size: u64| {
                    for page in (pa.0 - base) / PAGE_SIZE..(pa.0 + size - base) / PAGE_SIZE {
                        assert!(cleaned.borrow_mut().insert(page), "cleaned twice");
                    }
                }),
                most * PAGE_SIZE,
            );
            let all = cleaned.borrow().clone();
            let now = all.len() as u64 - before;
            prop_assert_eq!(result.cleaned, now * PAGE_SIZE);
            prop_assert!(now <= most || (is_block && pages != BLOCK_PAGES), "more than the limit");
            prop_assert!(*flushed.borrow() == result.any);
            is_done[turn] = result.is_done;
            if result.is_done {
                seen.insert(turn);
                let mine = |page: &u64| is_block || (first..first + pages).contains(page);
                let left: Vec<u64> = expected.difference(&all).copied().filter(mine).collect();
                prop_assert_eq!(left, Vec::new(), "not all of it was cleaned");
            }
            let tables = freed.borrow().len();
            region.prune(|| ());
            if freed.borrow().len() != tables {
                prop_assert_eq!(&all, &expected, "a table is gone, and pages of it are left");
            }
        }
        prop_assert_eq!(seen.len(), callers.len(), "a caller is not done after many calls");
        prop_assert_eq!(cleaned.into_inner(), expected);
    }

    /// A look at RAM visits each page of the range that is mapped to RAM, and no other.
    fn ram_in_a_range(content in content(), first in 0..BLOCK_PAGES, pages in 1..=BLOCK_PAGES, device in 0..BLOCK_PAGES) {
        let fake = RefCell::new(Fake::new());
        let freed = RefCell::new(BTreeSet::new());
        let mut whole = Whole::new(&fake, &freed);
        let mut region = whole.region(Ipa(0)).unwrap();
        prop_assert!(!region.ram(range_of(0, BLOCK_PAGES), |_, _| panic!("nothing is mapped")));
        let pages = pages.min(BLOCK_PAGES - first);
        let base = 5 * MapSize::Block.bytes();
        let mut map = |page: u64, size: MapSize, attrs: Stage2Attrs| {
            let (ipa, pa) = (Ipa(page * PAGE_SIZE), Pa(base + page * PAGE_SIZE));
            region.map(ipa, pa, size, attrs, || new_table(&fake), || ()).unwrap();
        };
        let mut expected: Vec<u64> = match &content {
            Content::Block { .. } => {
                map(0, MapSize::Block, attrs(true));
                (0..BLOCK_PAGES).collect()
            }
            Content::Pages(pages) => {
                for &page in pages.keys() {
                    map(page, MapSize::Page, attrs(true));
                }
                map(device, MapSize::Page, Stage2Attrs { memory: MemAttr::Device, ..attrs(true) });
                pages.keys().copied().filter(|&page| page != device).collect()
            }
        };
        expected.retain(|page| (first..first + pages).contains(page));
        let mut found = Vec::new();
        let any = region.ram(range_of(first, pages), |pa, size| {
            found.extend((pa.0 - base) / PAGE_SIZE..(pa.0 + size - base) / PAGE_SIZE);
        });
        prop_assert!(any);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn addresses_out_of_the_region_are_refused() {
    let fake = RefCell::new(Fake::new());
    let freed = RefCell::new(BTreeSet::new());
    let mut whole = Whole::new(&fake, &freed);
    // Beyond the IPA size; without a second-level table.
    assert!(whole.region(Ipa(1 << IPA_BITS)).is_none());
    assert!(whole.region(Ipa(5 << 30)).is_none());
    // Of another stripe.
    let (stage2, stripes) = (&whole.stage2, &mut whole.stripes);
    assert!(stage2.region(&mut stripes[1], Ipa(0)).is_none());
    // Of the same stripe, but another region.
    let mut region = whole.region(Ipa(0)).unwrap();
    let other = Ipa(STRIPES as u64 * MapSize::Block.bytes());
    let result = region.map(other, Pa(0), MapSize::Block, attrs(true), || None, || ());
    assert_eq!(result, Err(MapError::OutOfRange));
    assert_eq!(region.lookup(other), None);
    let range = other..Ipa(other.0 + PAGE_SIZE);
    assert!(!region.unmap(range, || (), Some(|_, _| ()), u64::MAX).any);
}

#[test]
fn without_tables_nothing_changes() {
    let fake = RefCell::new(Fake::new());
    let freed = RefCell::new(BTreeSet::new());
    let mut whole = Whole::new(&fake, &freed);
    let mut region = whole.region(Ipa(0)).unwrap();
    let result = region.map(Ipa(0), Pa(0), MapSize::Page, attrs(true), || None, || ());
    assert_eq!(result, Err(MapError::NoTables));
    assert_eq!(region.lookup(Ipa(0)), None);
}

/// Tables that threads share.
struct Shared {
    tables: RwLock<BTreeMap<u64, Vec<AtomicU64>>>,
    next: AtomicU64,
}

impl Shared {
    /// With a root.
    fn new() -> Self {
        let shared = Self {
            tables: RwLock::new(BTreeMap::new()),
            next: AtomicU64::new(ROOT.0),
        };
        shared.allocate(1024);
        shared
    }

    fn allocate(&self, entries: usize) -> Pa {
        let table = self.next.fetch_add(PAGE_SIZE * 2, Ordering::Relaxed);
        let entries = (0..entries).map(|_| AtomicU64::new(0)).collect();
        self.tables.write().unwrap().insert(table, entries);
        Pa(table)
    }
}

impl TableMemory for &Shared {
    fn root(&self) -> Pa {
        ROOT
    }

    fn read(&self, table: Pa, index: usize) -> u64 {
        self.tables.read().unwrap()[&table.0][index].load(Ordering::Relaxed)
    }

    fn write(&self, table: Pa, index: usize, desc: u64) {
        self.tables.read().unwrap()[&table.0][index].store(desc, Ordering::Relaxed);
    }

    fn publish(&self) {}

    fn free(&self, table: Pa) {
        let freed = self.tables.write().unwrap().remove(&table.0);
        assert!(freed.is_some(), "freed twice");
    }
}

/// Regions that are next to each other are of different stripes, and change while the rights to all
/// these stripes are held.
#[test]
fn neighbours_change_at_once() {
    let shared = Shared::new();
    let (mut stage2, mut root, mut stripes) = Stage2::new(&shared);
    let ipas: [_; STRIPES] = core::array::from_fn(|n| Ipa(n as u64 * MapSize::Block.bytes()));
    let all = Ipa(0)..Ipa(1 << 30);
    stage2
        .prepare(&mut root, all, || Ok::<_, ()>(shared.allocate(ENTRIES)))
        .unwrap();
    let mut regions: Vec<_> = stripes
        .iter_mut()
        .enumerate()
        .map(|(n, stripe)| stage2.region(stripe, ipas[n]).unwrap())
        .collect();
    for (region, ipa) in regions.iter_mut().zip(ipas) {
        let stock = || Some(shared.allocate(ENTRIES));
        region
            .map(ipa, Pa(ipa.0), MapSize::Page, attrs(true), stock, || ())
            .unwrap();
    }
    assert!(regions.len() > 4);
    for (region, ipa) in regions.iter().zip(ipas) {
        assert_eq!(
            region.lookup(ipa).map(|desc| desc.address()),
            Some(Pa(ipa.0))
        );
    }
    drop(regions);
    stage2.clear(&mut root, || ());
}

/// Threads that map, unmap and prune around the same boundaries, each with nothing but the lock of
/// a stripe, never see changes but their own.
#[test]
fn threads_share_a_table() {
    let shared = Shared::new();
    let (mut stage2, mut root, stripes) = Stage2::new(&shared);
    let all = Ipa(0)..Ipa(2 << 30);
    stage2
        .prepare(&mut root, all.clone(), || {
            Ok::<_, ()>(shared.allocate(ENTRIES))
        })
        .unwrap();
    let stripes = stripes.map(|stripe| Mutex::new((stripe, BTreeMap::new())));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (stage2, stripes, shared) = (&stage2, &stripes, &shared);
            scope.spawn(move || {
                let mut random = thread + 1;
                for _ in 0..20_000 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    // Some pages of 64 regions on both sides of a first-level boundary.
                    let region = (1 << 30) - 32 * MapSize::Block.bytes()
                        + (random >> 8 & 63) * MapSize::Block.bytes();
                    let ipa = Ipa(region + (random >> 16 & 3) * PAGE_SIZE);
                    let mut guard = stripes[stripe_of(ipa)].lock().unwrap();
                    let (stripe, model) = &mut *guard;
                    let mut region = stage2.region(stripe, ipa).unwrap();
                    let found = region.lookup(ipa).map(|desc| desc.address().0);
                    assert_eq!(found, model.get(&ipa.0).copied());
                    if random >> 24 & 1 == 0 {
                        let pa = Pa((random >> 32 & 0xffff) * PAGE_SIZE);
                        let stock = || Some(shared.allocate(ENTRIES));
                        region
                            .map(ipa, pa, MapSize::Page, attrs(true), stock, || ())
                            .unwrap();
                        model.insert(ipa.0, pa.0);
                    } else {
                        let range = ipa..Ipa(ipa.0 + PAGE_SIZE);
                        let unmapped = region.unmap(range, || (), Some(|_, _| ()), u64::MAX);
                        assert_eq!(unmapped.any, model.remove(&ipa.0).is_some());
                        region.prune(|| ());
                    }
                }
            });
        }
    });
    stage2.clear(&mut root, || ());
    assert_eq!(shared.tables.read().unwrap().len(), 1, "tables leaked");
}
