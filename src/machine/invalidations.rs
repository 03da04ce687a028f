// SPDX-License-Identifier: GPL-2.0

//! A fault of the guest against the changes that the host and the monitor make to its memory.
//!
//! A fault looks up a slot and a page, which takes time, and may sleep. Before it maps the page, it
//! asks here whether the slot and the page are still the same. The two sides take these steps:
//!
//! ```text
//!   fault                              invalidation              change of slots
//!   look: the count of changes         start: under way          the slots change
//!         the slot, the page                  unmap, by region   the change is counted
//!   with the region:                   the host changes the page unmap, by region
//!         if_current: map              end:   counted
//!                                             not under way
//! ```
//!
//! `tests/models` tries all orders of these steps.

use core::{
    ops::{
        DerefMut,
        Range, //
    },
    sync::atomic::Ordering,
};

use crate::{
    atomics::{
        Atomics,
        Native,
        Word, //
    },
    history::{
        History,
        UnderWay, //
    },
};

/// Changes that have ended, counted for as long as a machine lives.
type Ended = History;

/// The user addresses of changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Invalidations between their start and their end.
    under_way: UnderWay,
    /// Invalidations that have ended, and changes of slots.
    ended: Ended,
}

/// The number of changes of one VM's memory: of invalidations by the host of memory that is in a
/// slot, and of changes of slots.
///
/// # Invariants
///
/// `ended` is the count of `Changes::ended`, and `under_way` the number of changes in
/// `Changes::under_way`. Both are written with the lock of [`Changes`] held.
#[derive(Debug)]
pub struct Counts<A: Atomics = Native> {
    ended: A::U64,
    under_way: A::U32,
}

impl<A: Atomics> Default for Counts<A> {
    fn default() -> Self {
        // INVARIANT: There was no change.
        Self {
            ended: A::U64::new(0),
            under_way: A::U32::new(0),
        }
    }
}

impl<A: Atomics> Counts<A> {
    #[inline]
    fn count(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    fn note(&self, changes: &mut Changes, hvas: &Range<usize>) {
        let count = changes.ended.note(hvas);
        self.ended.store(count, Ordering::Release);
    }
}

/// The steps of the protocol, for a value that has the [`Counts`] and the [`Changes`] of one VM.
pub trait Protocol {
    /// The atomics of the counts.
    type A: Atomics;

    /// The counts.
    fn counts(&self) -> &Counts<Self::A>;

    /// The changes, with their lock held.
    fn lock(&self) -> impl DerefMut<Target = Changes>;

    /// Begins a fault: gives the number of changes that have ended, and what `look_up` finds. The
    /// caller may look up more afterwards.
    #[inline]
    fn look<R>(&self, look_up: impl FnOnce() -> R) -> (u64, R) {
        // A change that ends behind this is noticed, whatever of it was seen.
        let count = self.counts().count();
        (count, look_up())
    }

    /// Whether no slot has changed, and no memory at `hvas` was invalidated, since the number of
    /// changes was `count`; and whether no such invalidation is under way.
    #[inline(never)]
    fn is_current(&self, hvas: &Range<usize>, count: u64) -> bool {
        // An invalidation that ends is counted before it leaves those under way (`end`).
        let is_calm = self.counts().under_way.load(Ordering::Acquire) == 0;
        if is_calm && Ended::is_same(count, self.counts().count()) {
            return true;
        }
        let changes = self.lock();
        // Under pressure the host takes one page after the other, and cleaning a block takes longer
        // than the time between two: a change of other pages is no reason to begin again.
        !changes.under_way.may_be_changing(hvas) && !changes.ended.may_have_changed(count, hvas)
    }

    /// Does something with `region` if [`is_current`](Self::is_current) is true of `hvas`, which
    /// then stays true of the region for as long as the caller has it: an invalidation that begins
    /// later waits for the region, and a change of slots does, too.
    #[inline]
    fn if_current<T, R>(
        &self,
        region: &mut T,
        hvas: &Range<usize>,
        count: u64,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.is_current(hvas, count).then(|| f(region))
    }

    /// The host is about to change the memory at `hvas`. `unmap` takes that away from the guest,
    /// region by region.
    #[inline]
    fn start<R>(&self, hvas: &Range<usize>, unmap: impl FnOnce() -> R) -> R {
        {
            let mut changes = self.lock();
            changes.under_way.begin(hvas);
            let more = self
                .counts()
                .under_way
                .load(Ordering::Relaxed)
                .wrapping_add(1);
            self.counts().under_way.store(more, Ordering::Release);
        }
        // A fault that has its region before `unmap` has it is undone by that; a fault that gets
        // the region afterwards sees this count.
        unmap()
    }

    /// The host has changed the memory at `hvas`. `is_guest` says whether a slot has some of it:
    /// otherwise no fault has to begin again.
    #[inline]
    fn end(&self, hvas: &Range<usize>, is_guest: impl FnOnce() -> bool) {
        // It is enough to look for a slot now, although there can have been one at the start, or be
        // one in a moment. Let a fault find a slot with one of these addresses. If the fault found
        // it before now, the slot is gone completely, and its going was counted. If the fault finds
        // it later, the fault looks the page up after the host has changed it.
        let is_guest = is_guest();
        let mut changes = self.lock();
        if is_guest {
            // First the history, then the number under way: a fault that missed the whole
            // invalidation must see it.
            self.counts().note(&mut changes, hvas);
        }
        changes.under_way.end(hvas);
        let left = self
            .counts()
            .under_way
            .load(Ordering::Relaxed)
            .saturating_sub(1);
        self.counts().under_way.store(left, Ordering::Release);
    }

    /// Changes slots by `change`. The caller unmaps those that are gone afterwards.
    #[inline]
    fn change_slots<R>(&self, change: impl FnOnce() -> R) -> R {
        // From here on faults see the new slots. A fault that looked at the old ones finds the
        // number of changes different when it comes to map its page.
        let result = change();
        self.counts().note(&mut self.lock(), &(0..usize::MAX));
        result
    }
}
