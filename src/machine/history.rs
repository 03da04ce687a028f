// SPDX-License-Identifier: GPL-2.0

//! The last changes of a process's memory. A fault that has looked up a page finds out here whether
//! a change since then was about that page.

use core::ops::Range;

/// How many changes are remembered.
const KEPT: usize = 16;

/// The user addresses of the last changes.
///
/// Changes are counted up to `LAST`, which no machine lives to see: a fault may sleep for as long
/// as its process likes, while others change the memory, and a count that came round would look
/// like the one from before. After that many, everything counts as changed.
///
/// # Invariants
///
/// `ranges[n % KEPT]` has the addresses of change `n`, for the last `KEPT` values of `n` below
/// `next`, which is at most `LAST`.
#[derive(Debug)]
pub struct History<const LAST: u64 = { u64::MAX }> {
    ranges: [(usize, usize); KEPT],
    next: u64,
}

impl<const LAST: u64> Default for History<LAST> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const LAST: u64> History<LAST> {
    /// Nothing has changed.
    pub const fn new() -> Self {
        // INVARIANT: There was no change.
        Self {
            ranges: [(0, 0); KEPT],
            next: 0,
        }
    }

    /// The number of changes until now.
    pub const fn count(&self) -> u64 {
        self.next
    }

    /// Notes that the memory at `range` has changed. Gives the new count.
    pub fn note(&mut self, range: &Range<usize>) -> u64 {
        if self.next < LAST {
            // INVARIANT: It takes the place of the oldest one.
            self.ranges[self.next as usize % KEPT] = (range.start, range.end);
            self.next += 1;
        }
        self.next
    }

    /// Whether nothing at all has changed between two counts.
    #[inline]
    pub const fn is_same(before: u64, now: u64) -> bool {
        before == now && now != LAST
    }

    /// Whether memory in `range` may have changed since the count was `count`: it has, or that is
    /// too long ago to tell.
    pub fn may_have_changed(&self, count: u64, range: &Range<usize>) -> bool {
        let changes = self.next.wrapping_sub(count);
        self.next == LAST
            || changes > KEPT as u64
            || (1..=changes).any(|back| {
                let at = self.next.wrapping_sub(back) as usize % KEPT;
                let (start, end) = self.ranges[at];
                start < range.end && range.start < end
            })
    }
}

/// How many changes under way are told apart.
const APART: usize = 8;

/// The user addresses of changes that have begun and not ended.
///
/// # Invariants
///
/// Each such change is one of the first `len` of `ranges`, or one of `others`, which are all within
/// `hull`.
#[derive(Debug)]
pub struct UnderWay {
    ranges: [(usize, usize); APART],
    len: usize,
    others: u32,
    hull: (usize, usize),
}

impl Default for UnderWay {
    fn default() -> Self {
        Self::new()
    }
}

impl UnderWay {
    /// No change is under way.
    pub const fn new() -> Self {
        Self {
            ranges: [(0, 0); APART],
            len: 0,
            others: 0,
            hull: (0, 0),
        }
    }

    /// A change of the memory at `range` begins.
    pub fn begin(&mut self, range: &Range<usize>) {
        if let Some(free) = self.ranges.get_mut(self.len) {
            *free = (range.start, range.end);
            self.len += 1;
            return;
        }
        self.hull = if self.others == 0 {
            (range.start, range.end)
        } else {
            (self.hull.0.min(range.start), self.hull.1.max(range.end))
        };
        self.others += 1;
    }

    /// A change that began has ended.
    pub fn end(&mut self, range: &Range<usize>) {
        let mut known = self.ranges.iter().take(self.len);
        if let Some(at) = known.position(|known| *known == (range.start, range.end)) {
            // INVARIANT: The last range takes its place. An equal change that is one of the others
            // stays one of them.
            self.len -= 1;
            self.ranges.swap(at, self.len);
        } else {
            self.others = self.others.saturating_sub(1);
        }
    }

    /// Whether a change of memory in `range` is under way, or may be.
    pub fn may_be_changing(&self, range: &Range<usize>) -> bool {
        let overlaps = |&(start, end): &(usize, usize)| start < range.end && range.start < end;
        self.ranges.iter().take(self.len).any(overlaps) || self.others != 0 && overlaps(&self.hull)
    }
}

#[cfg(test)]
mod tests {
    use inputs::prelude::*;

    use super::*;

    inputs! {
        /// Every change is reported, and an unchanged range only if the count is long ago.
        fn as_if_all_were_kept(
            first in one_of![Just(0), Just(u64::from(u32::MAX) - 20)],
            changes in prop::collection::vec((0..64usize, 0..8usize), 0..40),
            since in 0..40usize,
            at in (0..64usize, 1..8usize),
        ) {
            let mut history: History = History::new();
            history.next = first;
            for (start, len) in &changes {
                let before = history.count();
                prop_assert_eq!(history.note(&(*start..start + len)), before + 1);
            }
            let since = since.min(changes.len());
            let range = at.0..at.0 + at.1;
            let newer = &changes[since..];
            let hit = newer.iter().any(|(start, len)| *start < range.end && range.start < start + len);
            let told = history.may_have_changed(first + since as u64, &range);
            prop_assert_eq!(told, hit || newer.len() > KEPT);
        }

        /// A count that is too narrow for all changes hides none: they are counted to the end, and
        /// from then on everything counts as changed.
        fn a_narrow_count_hides_nothing(
            before in 0..600usize,
            changes in one_of![Just(0), 0..600usize, 250..300usize],
        ) {
            let mut history = History::<0xff>::new();
            for _ in 0..before {
                history.note(&(0..1));
            }
            let (count, range) = (history.count(), 100..101);
            for _ in 0..changes {
                history.note(&range);
            }
            let is_same = History::<0xff>::is_same(count, history.count());
            let told = history.may_have_changed(count, &range);
            if changes != 0 {
                prop_assert!(told && !is_same);
            } else if before < 0xff {
                prop_assert!(!told && is_same);
            }
        }
    }

    inputs! {
        /// No change under way is missed, in any order of their ends. While there are few, no other
        /// range is taken for a changing one.
        fn all_that_is_under_way_is_known(
            steps in prop::collection::vec((any::<bool>(), 0..64usize, 1..8usize), 0..60),
            at in (0..64usize, 1..8usize),
        ) {
            let mut under_way = UnderWay::new();
            let mut model: std::vec::Vec<Range<usize>> = std::vec::Vec::new();
            let mut most = 0;
            let range = at.0..at.0 + at.1;
            for (begins, n, len) in steps {
                if begins || model.is_empty() {
                    model.push(n..n + len);
                    under_way.begin(&(n..n + len));
                } else {
                    let gone = model.swap_remove(n % model.len());
                    under_way.end(&gone);
                }
                most = most.max(model.len());
                let hit = model.iter().any(|known| known.start < range.end && range.start < known.end);
                let told = under_way.may_be_changing(&range);
                prop_assert!(told || !hit);
                if most <= APART {
                    prop_assert_eq!(told, hit);
                }
            }
            for gone in model {
                under_way.end(&gone);
            }
            prop_assert!(!under_way.may_be_changing(&(0..usize::MAX)));
        }
    }
}
