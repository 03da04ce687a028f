// SPDX-License-Identifier: GPL-2.0

//! The memory slots of a VM: where each is, for the guest and in the process.

use core::ops::{
    Deref,
    DerefMut,
    Range, //
};

use armv7::addr::{
    Ipa,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

use crate::{
    nospec,
    stage2::MapSize, //
};

/// The place of a slot.
///
/// Both of its ends fit into an address, for the guest and in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first guest frame.
    pub gfn: u32,
    /// The number of pages, at least one.
    pub pages: u32,
    /// The user address of the first page.
    pub hva: usize,
}

impl Place {
    /// The guest frame after the last one.
    pub fn end(&self) -> u64 {
        u64::from(self.gfn) + u64::from(self.pages)
    }

    /// Whether a guest frame is in it.
    #[inline]
    pub fn has(&self, gfn: u32) -> bool {
        gfn.checked_sub(self.gfn)
            .is_some_and(|page| page < self.pages)
    }

    /// Whether any of the guest-physical addresses from `start` to before `end` is in it.
    pub fn has_any(&self, start: u64, end: u64) -> bool {
        let ipas = self.ipas();
        start < ipas.end.0 && ipas.start.0 < end
    }

    /// The guest-physical addresses.
    pub fn ipas(&self) -> Range<Ipa> {
        Ipa::from_gfn(self.gfn)..Ipa(self.end() << PAGE_SHIFT)
    }

    /// The user address of a guest frame that is in it.
    #[inline]
    pub fn hva_of(&self, gfn: u32) -> usize {
        let page = gfn.wrapping_sub(self.gfn) as usize;
        self.hva.wrapping_add(page << PAGE_SHIFT)
    }

    /// Whether the 2 MiB around a guest frame are all in it, and aligned alike for the guest and
    /// in the process, so that one block can map them.
    #[inline]
    pub fn can_be_block(&self, gfn: u32) -> bool {
        const PAGES: u32 = (MapSize::Block.bytes() >> PAGE_SHIFT) as u32;
        let first = gfn & !(PAGES - 1);
        let page = (self.hva >> PAGE_SHIFT) as u32;
        let is_inside = || {
            let last = self.pages.checked_sub(PAGES)?;
            Some(first.checked_sub(self.gfn)? <= last)
        };
        (page ^ self.gfn) & (PAGES - 1) == 0 && is_inside() == Some(true)
    }

    /// The guest-physical addresses whose user addresses are in `hvas`.
    pub fn ipas_of(&self, hvas: &Range<usize>) -> Option<Range<Ipa>> {
        let size = u64::from(self.pages) << PAGE_SHIFT;
        let base = self.hva as u64;
        let start = (hvas.start as u64).max(base);
        let end = (hvas.end as u64).min(base.saturating_add(size));
        if start >= end {
            return None;
        }
        let ipa = Ipa::from_gfn(self.gfn).0;
        Some(Ipa(ipa + (start - base))..Ipa(ipa + (end - base)))
    }
}

/// A memory slot, with a log of type `L`.
#[derive(Clone, Debug)]
pub struct Slot<L> {
    /// The number that user space knows it by.
    pub id: u32,
    /// Where it is.
    pub place: Place,
    /// Whether the guest may not write to it.
    pub read_only: bool,
    /// Where the guest's writes are noted (`KVM_MEM_LOG_DIRTY_PAGES`).
    pub log: Option<L>,
}

impl<L> Deref for Slot<L> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// Room is made for this many slots and ids at first.
const FIRST_ROOM: usize = 16;

/// Where lists of a fixed length are allocated.
pub trait Memory {
    /// A list.
    type List<T>: Default + Deref<Target = [T]> + DerefMut;
    /// The reason why there is no list.
    type Error;

    /// A list of so many default values.
    fn list<T: Default>(len: usize) -> Result<Self::List<T>, Self::Error>;
}

/// A slot in the order of guest frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ByGfn {
    gfn: u32,
    at: u16,
}

/// A slot in the order of user addresses, in which slots may overlap: one memory can be at several
/// places of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ByHva {
    /// The user address, which is that of a page, and in the bits below the place of the slot. So
    /// slots at one address have an order, too, and an entry is small.
    key: usize,
    /// The highest end of this and all slots before it.
    reach: usize,
}

impl ByHva {
    /// The bits of a key that are a place.
    const AT: usize = PAGE_SIZE as usize - 1;

    const fn key(hva: usize, at: u16) -> usize {
        hva & !Self::AT | at as usize & Self::AT
    }

    const fn hva(self) -> usize {
        self.key & !Self::AT
    }

    const fn at(self) -> u16 {
        (self.key & Self::AT) as u16
    }
}

/// The most slots that a table can have room for.
const MOST: usize = ByHva::AT + 1;

/// The place of the slot with an id, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ById(Option<u16>);

/// The room of a [`SlotTable`]: its lists. That of ids has a length of its own.
pub struct Room<L, M: Memory> {
    slots: M::List<Option<Slot<L>>>,
    by_gfn: M::List<ByGfn>,
    by_hva: M::List<ByHva>,
    by_id: M::List<ById>,
}

/// The size of a [`Room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSize {
    /// The most slots.
    pub slots: usize,
    /// The ids are below this.
    pub ids: usize,
}

impl RoomSize {
    const fn has(self, other: Self) -> bool {
        self.slots >= other.slots && self.ids >= other.ids
    }
}

impl<L, M: Memory> Room<L, M> {
    /// Room of a size.
    pub fn new(size: RoomSize) -> Result<Self, M::Error> {
        Ok(Self {
            slots: M::list(size.slots)?,
            by_gfn: M::list(size.slots)?,
            by_hva: M::list(size.slots)?,
            by_id: M::list(size.ids)?,
        })
    }

    /// Room for no slot.
    fn none() -> Self {
        Self {
            slots: M::List::default(),
            by_gfn: M::List::default(),
            by_hva: M::List::default(),
            by_id: M::List::default(),
        }
    }
}

/// The slots of a VM, to be found by guest frame, by user address, and by id.
///
/// Slots stay where they are in `slots`. Sorted lists of small entries lead to them: to look a slot
/// up is a binary search, and to add or remove one moves the small entries behind it, which for 500
/// slots costs less than the rest of the change. Nothing is allocated or freed by that, so it can
/// be done with a spinlock held.
///
/// # Invariants
///
/// `len` is the number of slots. The first `len` entries of `by_gfn` and `by_hva` have one entry
/// for each slot, with its place in `slots`, in the order of `gfn`, and of `key`. No two slots
/// overlap for the guest. `by_id` has the place of each slot at its id, and no other. `at` of all
/// entries of `by_gfn` is each place in `slots` once: behind the first `len`, those that are free.
/// There are no more than [`MOST`] places.
pub struct SlotTable<L, M: Memory> {
    room: Room<L, M>,
    len: usize,
}

/// The slot at a guest frame, or the gap there.
#[derive(Debug)]
pub enum Found<'a, L> {
    /// A slot that has it.
    Slot(&'a Slot<L>),
    /// No slot; nor is one at any of these frames around it.
    Nothing(Range<u32>),
}

/// Puts `entry` at an index of a list, and moves those behind it by one. The last one is lost.
fn insert<T: Copy>(list: &mut [T], index: usize, entry: T) {
    if let Some([first, rest @ ..]) = list.get_mut(index..) {
        let old = core::mem::replace(first, entry);
        if let Some(last) = rest.len().checked_sub(1) {
            rest.copy_within(..last, 1);
            if let Some(second) = rest.first_mut() {
                *second = old;
            }
        }
    }
}

/// Takes the entry at an index out of a list, and moves those behind it by one. The last one is
/// there twice then.
fn remove<T: Copy>(list: &mut [T], index: usize) {
    if let Some(rest) = list.get_mut(index..) {
        if !rest.is_empty() {
            rest.copy_within(1.., 0);
        }
    }
}

/// The index of the first entry of a sorted list that is not before something. Slots often come in
/// the order of their addresses, so the ends of the list are looked at first.
fn index_in<T>(list: &[T], is_before: impl Fn(&T) -> bool) -> usize {
    match list {
        [first, ..] if !is_before(first) => 0,
        [.., last] if is_before(last) => list.len(),
        _ => list.partition_point(is_before),
    }
}

/// Copies a list to the begin of one that is not shorter.
fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

/// The user address behind a place.
fn hva_end(place: &Place) -> usize {
    let size = (place.pages as usize) << PAGE_SHIFT;
    place.hva.saturating_add(size)
}

impl<L, M: Memory> Default for SlotTable<L, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L, M: Memory> SlotTable<L, M> {
    /// No slots, and no room for any.
    pub fn new() -> Self {
        Self {
            room: Room::none(),
            len: 0,
        }
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The size of the room.
    pub fn room(&self) -> RoomSize {
        RoomSize {
            slots: self.room.by_gfn.len(),
            ids: self.room.by_id.len(),
        }
    }

    /// The size of the room that a new slot needs, if it does not fit into the present one. Sizes
    /// double, so that slots that come one by one seldom need this.
    pub fn room_for(&self, id: u32) -> Option<RoomSize> {
        let room = self.room();
        let grow = |has: usize, needs: usize| match has {
            has if needs <= has => has,
            _ => needs.next_power_of_two().max(FIRST_ROOM),
        };
        let needed = RoomSize {
            slots: grow(room.slots, self.len + 1),
            ids: grow(room.ids, id as usize + 1),
        };
        (needed != room).then_some(needed)
    }

    /// Moves to a larger room, and gives back the old one; or the new one, if something would not
    /// fit.
    pub fn move_to(&mut self, mut room: Room<L, M>) -> Room<L, M> {
        let size = RoomSize {
            slots: room.by_gfn.len(),
            ids: room.by_id.len(),
        };
        if !size.has(self.room()) || size.slots > MOST {
            return room;
        }
        for (to, from) in room.slots.iter_mut().zip(self.room.slots.iter_mut()) {
            *to = from.take();
        }
        // INVARIANT: The places that there were before keep their entries, and those that are new
        // are free.
        let old = self.room.by_gfn.len();
        for (at, entry) in room.by_gfn.iter_mut().enumerate().skip(old) {
            entry.at = at as u16;
        }
        copy(&mut room.by_gfn, &self.room.by_gfn);
        copy(&mut room.by_hva, &self.room.by_hva);
        copy(&mut room.by_id, &self.room.by_id);
        core::mem::replace(&mut self.room, room)
    }

    fn by_gfn(&self) -> &[ByGfn] {
        self.room.by_gfn.get(..self.len).unwrap_or(&[])
    }

    /// The slot at an index of the order of guest frames.
    fn nth(&self, index: usize) -> Option<&Slot<L>> {
        self.at(self.by_gfn().get(index)?.at)
    }

    fn by_hva(&self) -> &[ByHva] {
        self.room.by_hva.get(..self.len).unwrap_or(&[])
    }

    fn at(&self, at: u16) -> Option<&Slot<L>> {
        self.room.slots.get(usize::from(at))?.as_ref()
    }

    /// The slot that a guest frame is in, or the gap.
    #[inline]
    pub fn look_up(&self, gfn: u32) -> Found<'_, L> {
        let order = self.by_gfn();
        let after = order.partition_point(|entry| entry.gfn <= gfn);
        let slot = after.checked_sub(1).and_then(|before| self.nth(before));
        let start = match slot {
            Some(slot) if slot.has(gfn) => return Found::Slot(slot),
            Some(slot) => slot.end() as u32,
            None => 0,
        };
        let end = order.get(after).map_or(u32::MAX, |next| next.gfn);
        Found::Nothing(start..end)
    }

    /// The slot that a guest frame is in.
    #[inline]
    pub fn find(&self, gfn: u32) -> Option<&Slot<L>> {
        match self.look_up(gfn) {
            Found::Slot(slot) => Some(slot),
            Found::Nothing(_) => None,
        }
    }

    /// The slot with an id.
    pub fn with_id(&self, id: u32) -> Option<&Slot<L>> {
        let (id, ids) = (id as usize, self.room.by_id.len());
        if id >= ids {
            return None;
        }
        self.at(self.room.by_id.get(nospec::index(id, ids))?.0?)
    }

    /// The first slot that begins at a guest frame or behind it.
    pub fn next_from(&self, gfn: u32) -> Option<&Slot<L>> {
        self.nth(self.gfn_index(gfn))
    }

    /// Whether a slot has any of the guest-physical addresses from `start` to before `end`. The one
    /// with the id `except` does not count.
    pub fn has_any(&self, start: u64, end: u64, except: Option<u32>) -> bool {
        // The first frame whose address is not below `end`; above all frames, none is.
        let end_gfn = end.div_ceil(PAGE_SIZE);
        let behind = match u32::try_from(end_gfn) {
            Ok(gfn) => self.gfn_index(gfn),
            Err(_) => self.len,
        };
        let before = self.by_gfn().get(..behind).unwrap_or(&[]).iter().rev();
        before
            .map_while(|entry| self.at(entry.at).filter(|slot| slot.has_any(start, end)))
            .any(|slot| Some(slot.id) != except)
    }

    /// The guest-physical addresses whose user addresses are in `hvas`.
    pub fn ipas_of<'a>(&'a self, hvas: &'a Range<usize>) -> impl Iterator<Item = Range<Ipa>> + 'a {
        let order = self.by_hva();
        let first = order.partition_point(|entry| entry.reach <= hvas.start);
        let rest = order.get(first..).unwrap_or(&[]).iter();
        rest.take_while(|entry| entry.hva() < hvas.end)
            .filter_map(|entry| self.at(entry.at())?.ipas_of(hvas))
    }

    /// Works `reach` out anew from an index on, where an entry was added or removed.
    fn extend_reach(&mut self, from: usize) {
        let before = from.checked_sub(1).and_then(|n| self.by_hva().get(n));
        let mut reach = before.map_or(0, |entry| entry.reach);
        let slots = &self.room.slots;
        let order = self.room.by_hva.get_mut(..self.len).unwrap_or(&mut []);
        for (n, entry) in order.iter_mut().enumerate().skip(from) {
            let slot = slots.get(usize::from(entry.at())).and_then(Option::as_ref);
            reach = reach.max(slot.map_or(0, |slot| hva_end(&slot.place)));
            // Those behind the changed one depend on it by this alone.
            if n > from && entry.reach == reach {
                break;
            }
            entry.reach = reach;
        }
    }

    /// Adds a slot. It comes back if there is no room, or if a slot overlaps with it or has its id.
    pub fn add(&mut self, slot: Slot<L>) -> Result<(), Slot<L>> {
        let Some(at) = self.room.by_gfn.get(self.len).map(|free| free.at) else {
            return Err(slot);
        };
        let (gfn, hva) = (slot.gfn, slot.hva);
        let gfn_index = self.gfn_index(gfn);
        let before = gfn_index.checked_sub(1).and_then(|n| self.nth(n));
        let behind = self.by_gfn().get(gfn_index);
        if before.is_some_and(|before| before.end() > u64::from(gfn))
            || behind.is_some_and(|behind| u64::from(behind.gfn) < slot.end())
        {
            return Err(slot);
        }
        let hva_index = self.hva_index(hva, at);
        let (Some(by_id @ ById(None)), Some(place)) = (
            self.room.by_id.get_mut(slot.id as usize),
            self.room.slots.get_mut(usize::from(at)),
        ) else {
            return Err(slot);
        };
        *by_id = ById(Some(at));
        *place = Some(slot);
        // INVARIANT: The place is the first free one, whose entry of `by_gfn` goes.
        self.len += 1;
        let len = self.len;
        if let Some(order) = self.room.by_gfn.get_mut(..len) {
            insert(order, gfn_index, ByGfn { gfn, at });
        }
        if let Some(order) = self.room.by_hva.get_mut(..len) {
            let key = ByHva::key(hva, at);
            insert(order, hva_index, ByHva { key, reach: 0 });
        }
        self.extend_reach(hva_index);
        Ok(())
    }

    /// Where in the order of guest frames a slot is or has to be.
    fn gfn_index(&self, gfn: u32) -> usize {
        index_in(self.by_gfn(), |entry| entry.gfn < gfn)
    }

    /// Where in the order of user addresses a slot is or has to be.
    fn hva_index(&self, hva: usize, at: u16) -> usize {
        let key = ByHva::key(hva, at);
        index_in(self.by_hva(), |entry| entry.key < key)
    }

    /// Takes the slot with an id out.
    pub fn remove(&mut self, id: u32) -> Option<Slot<L>> {
        let at = self.room.by_id.get_mut(id as usize)?.0.take()?;
        let slot = self.room.slots.get_mut(usize::from(at))?.take()?;
        let gfn_index = self.gfn_index(slot.gfn);
        let hva_index = self.hva_index(slot.hva, at);
        let len = self.len;
        if let Some(order) = self.room.by_gfn.get_mut(..len) {
            remove(order, gfn_index);
            // INVARIANT: The place is free, and its entry the first of those.
            if let Some(last) = order.last_mut() {
                last.at = at;
            }
        }
        if let Some(order) = self.room.by_hva.get_mut(..len) {
            remove(order, hva_index);
        }
        self.len -= 1;
        self.extend_reach(hva_index);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        iter,
        vec::Vec, //
    };

    use inputs::prelude::*;

    use super::*;

    /// Lists for the tests.
    struct Heap;

    impl Memory for Heap {
        type List<T> = Vec<T>;
        type Error = ();

        fn list<T: Default>(len: usize) -> Result<Vec<T>, ()> {
            Ok(iter::repeat_with(T::default).take(len).collect())
        }
    }

    type Table = SlotTable<u32, Heap>;

    /// A change of the slots of a VM with few frames and ids, so that many collide.
    #[derive(Clone, Debug)]
    enum Change {
        Add(Slot<u32>),
        Remove(u32),
        Grow(usize, usize),
        GrowFor(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        let slot = (0..24u32, 0..64u32, 1..6u32, 0..32usize, 0..20u32).prop_map(
            |(id, gfn, pages, page, size)| Slot {
                id,
                // Now and then one is of much memory, in which that of others is, too.
                place: Place {
                    gfn: if size == 0 { 64 } else { gfn },
                    pages: if size == 0 { 40 } else { pages },
                    hva: page << PAGE_SHIFT,
                },
                read_only: false,
                log: Some(id ^ gfn),
            },
        );
        one_of![
            6 => slot.prop_map(Change::Add),
            3 => (0..24u32).prop_map(Change::Remove),
            1 => (0..30usize, 0..30usize).prop_map(|(slots, ids)| Change::Grow(slots, ids)),
            2 => (0..24u32).prop_map(Change::GrowFor),
        ]
    }

    /// The invariants of a table.
    fn check(table: &Table) {
        let (len, room) = (table.len(), table.room().slots);
        let places = |list: &[u16]| {
            let mut places = list.to_vec();
            places.sort_unstable();
            places
        };
        let all: Vec<u16> = table.room.by_gfn.iter().map(|e| e.at).collect();
        assert_eq!(places(&all), (0..room as u16).collect::<Vec<_>>());
        let used = places(&all[..len]);
        for (at, slot) in table.room.slots.iter().enumerate() {
            assert_eq!(slot.is_some(), used.contains(&(at as u16)));
        }
        let by_gfn: Vec<u16> = table.by_gfn().iter().map(|e| e.at).collect();
        let by_hva: Vec<u16> = table.by_hva().iter().map(|e| e.at()).collect();
        assert_eq!(places(&by_gfn), used);
        assert_eq!(places(&by_hva), used);
        assert!(table.by_gfn().windows(2).all(|e| e[0].gfn < e[1].gfn));
        for (n, entry) in table.by_gfn().iter().enumerate() {
            assert_eq!(table.nth(n).map(|slot| slot.gfn), Some(entry.gfn));
        }
        let by_id = |id: usize| table.room.by_id.get(id).and_then(|e| e.0);
        for (at, slot) in table.room.slots.iter().enumerate() {
            let id = slot.as_ref().map(|slot| slot.id as usize);
            assert!(id.is_none_or(|id| by_id(id) == Some(at as u16)));
        }
        assert_eq!(
            table.room.by_id.iter().filter(|e| e.0.is_some()).count(),
            len
        );
        let mut reach = 0;
        for (n, entry) in table.by_hva().iter().enumerate() {
            let place = &table.at(entry.at()).unwrap().place;
            reach = reach.max(hva_end(place));
            assert_eq!((entry.hva(), entry.reach), (place.hva, reach));
            let next = table.by_hva().get(n + 1);
            assert!(next.is_none_or(|next| (entry.hva(), entry.at()) < (next.hva(), next.at())));
        }
    }

    /// Places near to and far from the bounds of 2 MiB, at both of their addresses.
    fn place() -> impl Strategy<Value = Place> {
        let near = |span: u32| {
            (0..3u32, -2..3i32).prop_map(move |(n, by)| (n * span).saturating_add_signed(by))
        };
        let gfn = one_of![near(512), 0..2048u32, 0x0fff_f000..0x1000_0000u32];
        let pages = one_of![near(512), 1..2048u32].prop_map(|pages| pages.max(1));
        let page = one_of![near(512), 0..2048u32];
        (gfn, pages, page).prop_map(|(gfn, pages, page)| Place {
            gfn,
            pages,
            hva: (page as usize) << PAGE_SHIFT,
        })
    }

    inputs! {
        #![cases = 10_000]

        /// A block maps nothing that is not in the slot, each page to where it is in the process.
        fn blocks(place in place(), at in 0..4096u32, behind in -3..3i32) {
            for gfn in [at, place.gfn.saturating_add(at), (place.end() as u32).saturating_add_signed(behind)] {
                let first = gfn & !511;
                let all = (first..=first + 511).all(|gfn| place.has(gfn));
                let is_alike = (place.hva >> PAGE_SHIFT) % 512 == place.gfn as usize % 512;
                prop_assert_eq!(place.can_be_block(gfn), all && is_alike);
                if place.can_be_block(gfn) {
                    let hva = place.hva_of(gfn) & !0x1f_ffff;
                    prop_assert_eq!(place.hva_of(first), hva);
                }
            }
        }

        /// A frame's user address leads back to the frame, and nothing else does.
        fn there_and_back(place in place(), page in 0..2048u32) {
            let gfn = place.gfn + page % place.pages;
            let hva = place.hva_of(gfn);
            let ipas = Ipa::from_gfn(gfn)..Ipa::from_gfn(gfn + 1);
            prop_assert_eq!(place.ipas_of(&(hva..hva + 4096)), Some(ipas));
            prop_assert_eq!(place.ipas_of(&(0..usize::MAX)), Some(place.ipas()));
            let end = place.hva + ((place.pages as usize) << PAGE_SHIFT);
            prop_assert_eq!(place.ipas_of(&(0..place.hva)), None);
            prop_assert_eq!(place.ipas_of(&(end..usize::MAX)), None);
        }

        fn overlaps(one in place(), other in place()) {
            let shared = (one.gfn..one.end() as u32).any(|gfn| other.has(gfn));
            for (one, other) in [(one, other), (other, one)] {
                let ipas = other.ipas();
                prop_assert_eq!(one.has_any(ipas.start.0, ipas.end.0), shared);
            }
        }
    }

    inputs! {
        /// A table finds what a list of all slots has, after all kinds of changes.
        fn a_table_is_as_a_list(changes in prop::collection::vec(change(), 0..60)) {
            let mut table = Table::new();
            let mut list: Vec<Slot<u32>> = Vec::new();
            for change in changes {
                match change {
                    Change::Grow(slots, ids) => {
                        let (size, old) = (RoomSize { slots, ids }, table.room());
                        let room = table.move_to(Room::new(size).unwrap());
                        let moves = slots >= old.slots && ids >= old.ids;
                        prop_assert_eq!(table.room(), if moves { size } else { old });
                        prop_assert!(room.slots.iter().all(Option::is_none));
                    }
                    Change::GrowFor(id) => {
                        if let Some(size) = table.room_for(id) {
                            let old = table.room();
                            prop_assert!(size.has(old) && size != old);
                            table.move_to(Room::new(size).unwrap());
                        }
                        let room = table.room();
                        prop_assert!(table.len() < room.slots && (id as usize) < room.ids);
                    }
                    Change::Add(slot) => {
                        let clashes = list.iter().any(|other| {
                            let ipas = other.ipas();
                            other.id == slot.id || slot.has_any(ipas.start.0, ipas.end.0)
                        });
                        let room = table.room();
                        let has_room = table.len() < room.slots && (slot.id as usize) < room.ids;
                        let fits = !clashes && has_room;
                        prop_assert_eq!(table.add(slot.clone()).is_ok(), fits);
                        if fits {
                            list.push(slot);
                        }
                    }
                    Change::Remove(id) => {
                        let at = list.iter().position(|slot| slot.id == id);
                        let gone = at.map(|at| list.remove(at).place);
                        prop_assert_eq!(table.remove(id).map(|slot| slot.place), gone);
                    }
                }
                check(&table);
                prop_assert_eq!((table.len(), table.is_empty()), (list.len(), list.is_empty()));
            }
            for id in 0..25 {
                let known = list.iter().find(|slot| slot.id == id);
                let found = table.with_id(id);
                prop_assert_eq!(found.map(|slot| slot.place), known.map(|slot| slot.place));
                prop_assert_eq!(found.and_then(|slot| slot.log), known.and_then(|slot| slot.log));
            }
            let in_slot = |gfn| list.iter().find(|slot| slot.has(gfn));
            for gfn in 0..120 {
                match table.look_up(gfn) {
                    Found::Slot(slot) => prop_assert_eq!(Some(slot.id), in_slot(gfn).map(|slot| slot.id)),
                    Found::Nothing(gap) => {
                        prop_assert!(gap.contains(&gfn));
                        prop_assert!((gap.start..gap.end.min(200)).all(|gfn| in_slot(gfn).is_none()));
                        // It is as large as it can be.
                        prop_assert!(gap.start == 0 || in_slot(gap.start - 1).is_some());
                        prop_assert!(gap.end == u32::MAX || in_slot(gap.end).is_some());
                    }
                }
                let next = list.iter().filter(|slot| slot.gfn >= gfn).min_by_key(|slot| slot.gfn);
                prop_assert_eq!(table.next_from(gfn).map(|slot| slot.id), next.map(|slot| slot.id));
                for pages in [1, 3, 50] {
                    let (start, end) = (u64::from(gfn) << PAGE_SHIFT, u64::from(gfn + pages) << PAGE_SHIFT);
                    for except in [None, in_slot(gfn).map(|slot| slot.id), Some(3)] {
                        let any = list.iter().any(|slot| slot.has_any(start, end) && Some(slot.id) != except);
                        prop_assert_eq!(table.has_any(start, end, except), any);
                    }
                }
            }
            for page in 0..80usize {
                for pages in [1, 4] {
                    let hvas = page << PAGE_SHIFT..(page + pages) << PAGE_SHIFT;
                    let sort = |mut ipas: Vec<Range<Ipa>>| {
                        ipas.sort_unstable_by_key(|ipas| ipas.start.0);
                        ipas
                    };
                    let known = list.iter().filter_map(|slot| slot.ipas_of(&hvas)).collect();
                    prop_assert_eq!(sort(table.ipas_of(&hvas).collect()), sort(known));
                }
            }
        }
    }
}
