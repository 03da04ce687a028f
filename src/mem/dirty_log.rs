// SPDX-License-Identifier: GPL-2.0

//! Which pages of a slot the guest has written to.
//!
//! While a slot has a log, a page that the guest may write to has its bit set: the fault path
//! sets it under the lock of the stage-2 table, along with the right to write, and who clears it
//! takes that right away under the same lock. So a page that is written to between a look at the
//! log and the next has its bit set at the next, or had it at this one, before the flush of the
//! TLBs that precedes the return to user space.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

use kernel::prelude::*;

/// Pages in a word of the log: the ABI's bitmap is one of `unsigned long`.
pub(crate) const WORD_PAGES: u32 = u32::BITS;

/// The log of one slot.
pub(crate) struct DirtyLog {
    words: KVVec<AtomicU32>,
}

impl DirtyLog {
    /// A log of so many pages, all clean or all dirty.
    pub(crate) fn new(pages: u32, all_dirty: bool) -> Result<Self> {
        let n = pages.div_ceil(WORD_PAGES);
        let mut words = KVVec::with_capacity(n as usize, GFP_KERNEL_ACCOUNT)?;
        for word in 0..n {
            let left = pages - word * WORD_PAGES;
            let value = match (all_dirty, left) {
                (false, _) => 0,
                (true, WORD_PAGES..) => u32::MAX,
                (true, _) => (1 << left) - 1,
            };
            words.push(AtomicU32::new(value), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self { words })
    }

    /// The number of words.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Notes that a page may be written to from now on, or was just before. Who sees the mark, sees
    /// what was written.
    #[inline]
    pub(crate) fn mark(&self, page: u32) {
        if let Some(word) = self.words.get((page / WORD_PAGES) as usize) {
            word.fetch_or(1 << (page % WORD_PAGES), Ordering::Release);
        }
    }

    /// Notes that all pages of `mask` may have been written to.
    pub(crate) fn mark_word(&self, index: usize, mask: u32) {
        if let Some(word) = self.words.get(index) {
            word.fetch_or(mask, Ordering::Release);
        }
    }

    /// The pages of one word.
    pub(crate) fn word(&self, index: usize) -> u32 {
        self.words
            .get(index)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Makes the pages of `mask` clean, and says which of them were not.
    pub(crate) fn clear_word(&self, index: usize, mask: u32) -> u32 {
        self.words.get(index).map_or(0, |word| {
            // Most words of a log are clean: spare the write.
            if word.load(Ordering::Relaxed) & mask == 0 {
                return 0;
            }
            word.fetch_and(!mask, Ordering::AcqRel) & mask
        })
    }
}
