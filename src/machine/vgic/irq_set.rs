// SPDX-License-Identifier: GPL-2.0

//! A set of interrupt IDs. The check whether it is empty is one load.
//!
//! The set is a bitmap of 1024 bits in 32 words, and a summary word: its bit `n` says that word `n`
//! is not zero. Iteration visits only members of the set.

/// Number of 32-bit words of a set: INTIDs are 10 bits wide.
const WORDS: usize = 32;

/// A set of interrupt IDs below 1024.
///
/// # Invariants
///
/// Bit `n` of `summary` is set if and only if `words[n]` is not zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IrqSet {
    summary: u32,
    words: [u32; WORDS],
}

/// Word and bit of an interrupt ID.
#[inline(always)]
const fn position(intid: u32) -> (usize, u32) {
    ((intid as usize >> 5) & (WORDS - 1), 1 << (intid & 31))
}

impl IrqSet {
    /// The empty set.
    pub(crate) const EMPTY: Self = Self {
        summary: 0,
        words: [0; WORDS],
    };

    /// Whether the set is empty.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.summary == 0
    }

    /// Whether `intid` is in the set.
    #[inline]
    pub(crate) fn contains(&self, intid: u32) -> bool {
        let (word, bit) = position(intid);
        self.words.get(word).is_some_and(|w| w & bit != 0)
    }

    /// Adds `intid`. True if the set did not have it before.
    #[inline(always)]
    pub(crate) fn insert(&mut self, intid: u32) -> bool {
        let (word, bit) = position(intid);
        let Some(w) = self.words.get_mut(word) else {
            return false;
        };
        let new = *w & bit == 0;
        *w |= bit;
        // INVARIANT: The word has at least this bit.
        self.summary |= 1 << word;
        new
    }

    /// Takes `intid` out. True if the set had it.
    #[inline]
    pub(crate) fn remove(&mut self, intid: u32) -> bool {
        let (word, bit) = position(intid);
        let Some(w) = self.words.get_mut(word) else {
            return false;
        };
        let had = *w & bit != 0;
        *w &= !bit;
        if *w == 0 {
            // INVARIANT: The word has just become zero.
            self.summary &= !(1 << word);
        }
        had
    }

    /// Adds `intid` or takes it out. True if the set has it now and did not have it before.
    #[inline]
    pub(crate) fn put(&mut self, intid: u32, is_in: bool) -> bool {
        if is_in {
            self.insert(intid)
        } else {
            self.remove(intid);
            false
        }
    }

    /// The interrupt ID in the set, if the set has exactly one.
    #[inline]
    pub(crate) fn only(&self) -> Option<u32> {
        let index = self.summary.trailing_zeros();
        let word = self.words.get(index as usize).copied()?;
        let is_one = self.summary.is_power_of_two() && word.is_power_of_two();
        is_one.then(|| index << 5 | word.trailing_zeros())
    }

    /// The interrupt IDs in the set, in ascending order.
    #[inline]
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            set: self,
            summary: self.summary,
            word: 0,
            base: 0,
        }
    }
}

/// Iterator over an [`IrqSet`].
pub(crate) struct Iter<'a> {
    set: &'a IrqSet,
    /// Words still to be visited.
    summary: u32,
    /// The bits that are left of the current word.
    word: u32,
    /// INTID of bit 0 of the current word.
    base: u32,
}

impl Iterator for Iter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        while self.word == 0 {
            if self.summary == 0 {
                return None;
            }
            let index = self.summary.trailing_zeros();
            self.summary &= self.summary.wrapping_sub(1);
            self.word = self.set.words.get(index as usize).copied().unwrap_or(0);
            self.base = index << 5;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word.wrapping_sub(1);
        Some(self.base | bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn insert_remove_iterate() {
        let mut set = IrqSet::EMPTY;
        assert!(set.is_empty());
        for intid in [0, 31, 32, 500, 1019, 1023] {
            assert!(set.insert(intid));
            assert!(!set.insert(intid));
            assert!(set.contains(intid));
        }
        assert!(set.iter().eq([0, 31, 32, 500, 1019, 1023]));
        assert_eq!(set.only(), None);
        assert!(set.remove(500));
        assert!(!set.remove(500));
        for intid in [0, 31, 32, 1019, 1023] {
            assert!(!set.is_empty());
            assert!(!set.put(intid, true) && !set.put(intid, false));
        }
        assert!(set.is_empty());
        assert!(set.iter().next().is_none());
    }

    #[test]
    fn the_only_one() {
        for intid in [0, 31, 32, 500, 1023] {
            let mut set = IrqSet::EMPTY;
            assert_eq!(set.only(), None);
            assert!(set.put(intid, true));
            assert_eq!(set.only(), Some(intid));
            for other in [intid ^ 1, intid ^ 0x20] {
                set.insert(other);
                assert_eq!(set.only(), None);
                set.remove(other);
            }
            assert_eq!(set.only(), Some(intid));
        }
    }

    inputs! {
        fn a_set_is_as_a_tree(steps in prop::collection::vec((0..1024_u32, 0..3_u8), 0..100)) {
            let mut set = IrqSet::EMPTY;
            let mut tree = BTreeSet::new();
            for (intid, step) in steps {
                match step {
                    0 => prop_assert_eq!(set.insert(intid), tree.insert(intid)),
                    1 => prop_assert_eq!(set.remove(intid), tree.remove(&intid)),
                    // Also for numbers that are often in it.
                    _ => {
                        let other = tree.first().map_or(intid, |first| first ^ intid & 1);
                        let is_in = intid & 2 != 0;
                        let is_new = is_in && !tree.contains(&other);
                        prop_assert_eq!(set.put(other, is_in), is_new);
                        if is_in {
                            tree.insert(other);
                        } else {
                            tree.remove(&other);
                        }
                    }
                }
                prop_assert_eq!(set.is_empty(), tree.is_empty());
                prop_assert_eq!(set.contains(intid), tree.contains(&intid));
                let only = tree.first().copied().filter(|_| tree.len() == 1);
                prop_assert_eq!(set.only(), only);
                prop_assert!(set.iter().eq(tree.iter().copied()));
            }
        }
    }
}
