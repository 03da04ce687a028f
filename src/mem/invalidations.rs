// SPDX-License-Identifier: GPL-2.0

//! The host's and the monitor's changes of guest memory, as a fault sees them.
//!
//! A fault looks up a slot and a page, which takes time, and may sleep. Before it maps the page, it
//! asks here whether the slot and the page are still the same.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};
use machine::history::{
    History,
    UnderWay, //
};

/// The changes of one VM's memory: invalidations by the host of memory that is in a slot, and
/// changes of slots.
///
/// # Invariants
///
/// `count` is that of `changes.ended`, and `under_way` the number of changes in
/// `changes.under_way`. Both are written under the lock of `changes`.
#[pin_data]
pub(super) struct Invalidations {
    count: AtomicU64,
    under_way: AtomicU32,
    #[pin]
    changes: SpinLock<Changes>,
}

/// Changes that have ended, counted for as long as a machine lives.
type Ended = History;

/// The user addresses of changes.
struct Changes {
    /// Invalidations between their start and their end.
    under_way: UnderWay,
    /// Invalidations that have ended, and changes of slots.
    ended: Ended,
}

impl Invalidations {
    /// Nothing has changed.
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: There was no change.
        pin_init!(Self {
            count: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            changes <- new_spinlock!(
                Changes {
                    under_way: UnderWay::new(),
                    ended: Ended::new(),
                },
                "kvm_arm_invalidated"
            ),
        })
    }

    /// The number of changes that have ended. A fault reads it before it looks anything up.
    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether no slot has changed, and no memory at `hvas` was invalidated, since the number of
    /// changes was `count`; and whether no such invalidation is under way.
    ///
    /// If the caller has the right to a region, the answer stays true for that region until the
    /// caller lets go of the right: an invalidation that begins later waits for it.
    pub(super) fn is_current(&self, hvas: &Range<usize>, count: u64) -> bool {
        // An invalidation that ends is counted before it leaves those under way (`end`).
        let is_calm = self.under_way.load(Ordering::Acquire) == 0;
        if is_calm && Ended::is_same(count, self.count()) {
            return true;
        }
        let changes = self.changes.lock();
        // Under pressure the host takes one page after the other, and cleaning a block takes longer
        // than the time between two: a change of other pages is no reason to begin again.
        !changes.under_way.may_be_changing(hvas) && !changes.ended.may_have_changed(count, hvas)
    }

    /// Notes that slots have changed.
    pub(super) fn note_slots(&self) {
        self.note(&mut self.changes.lock(), &(0..usize::MAX));
    }

    /// Notes that the host is about to change the memory at `hvas`. The caller unmaps it then.
    pub(super) fn begin(&self, hvas: &Range<usize>) {
        let mut changes = self.changes.lock();
        changes.under_way.begin(hvas);
        // A fault that has its region's lock before the caller has it is undone by the caller; a
        // fault that gets the lock afterwards sees this count.
        let more = self.under_way.load(Ordering::Relaxed).wrapping_add(1);
        self.under_way.store(more, Ordering::SeqCst);
    }

    /// Notes that the host has changed the memory at `hvas`. `is_guest` says whether a slot has
    /// some of it: otherwise no fault has to begin again.
    pub(super) fn end(&self, hvas: &Range<usize>, is_guest: bool) {
        let mut changes = self.changes.lock();
        if is_guest {
            // First the history, then the number under way: a fault that missed the whole
            // invalidation must see it.
            self.note(&mut changes, hvas);
        }
        changes.under_way.end(hvas);
        let left = self.under_way.load(Ordering::Relaxed).saturating_sub(1);
        self.under_way.store(left, Ordering::SeqCst);
    }

    fn note(&self, changes: &mut Changes, hvas: &Range<usize>) {
        let count = changes.ended.note(hvas);
        self.count.store(count, Ordering::SeqCst);
    }
}
