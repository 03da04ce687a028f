// SPDX-License-Identifier: GPL-2.0

//! The last changes of a process's memory, by which those that looked something up before can tell
//! whether it was about that.

use core::ops::Range;

/// How many changes are remembered.
const KEPT: usize = 16;

/// The user addresses of the last changes.
///
/// # Invariants
///
/// `ranges[n % KEPT]` is what change `n` was about, for the last `KEPT` values of `n` below `next`.
#[derive(Debug)]
pub struct History {
    ranges: [(usize, usize); KEPT],
    next: u32,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Nothing has changed.
    pub const fn new() -> Self {
        // INVARIANT: There was no change.
        Self {
            ranges: [(0, 0); KEPT],
            next: 0,
        }
    }

    /// The number of changes until now, which wraps.
    pub const fn count(&self) -> u32 {
        self.next
    }

    /// Notes that what is at `range` has changed. Gives the new count.
    pub fn note(&mut self, range: &Range<usize>) -> u32 {
        // INVARIANT: It takes the place of the one that is forgotten.
        self.ranges[self.next as usize % KEPT] = (range.start, range.end);
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Whether something in `range` may have changed since the count was `count`: it was, or that is
    /// too long ago to tell.
    pub fn may_have_changed(&self, count: u32, range: &Range<usize>) -> bool {
        let changes = self.next.wrapping_sub(count) as usize;
        changes > KEPT
            || (1..=changes).any(|back| {
                let at = self.next.wrapping_sub(back as u32) as usize % KEPT;
                let (start, end) = self.ranges[at];
                start < range.end && range.start < end
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// All that has changed is told of, and nothing else unless it is long ago.
        #[test]
        fn as_if_all_were_kept(
            first in prop_oneof![Just(0u32), Just(u32::MAX - 20)],
            changes in prop::collection::vec((0..64usize, 0..8usize), 0..40),
            since in 0..40usize,
            at in (0..64usize, 1..8usize),
        ) {
            let mut history = History::new();
            history.next = first;
            for (start, len) in &changes {
                let before = history.count();
                prop_assert_eq!(history.note(&(*start..start + len)), before.wrapping_add(1));
            }
            let since = since.min(changes.len());
            let range = at.0..at.0 + at.1;
            let newer = &changes[since..];
            let hit = newer.iter().any(|(start, len)| *start < range.end && range.start < start + len);
            let told = history.may_have_changed(first.wrapping_add(since as u32), &range);
            prop_assert_eq!(told, hit || newer.len() > KEPT);
        }
    }
}
