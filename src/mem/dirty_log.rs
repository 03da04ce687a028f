// SPDX-License-Identifier: GPL-2.0

//! The dirty log: which pages of a slot the guest has written to.
//!
//! While a slot has a log, a page that the guest may write to has its bit set. A fault sets the bit
//! and gives the right to write under the lock of the page's region. An ioctl clears the bit and
//! takes the right away under the same lock, and flushes TLBs before it returns. So a page that is
//! written to between two looks at the log has its bit set at the second. If the write came by an
//! old entry of a TLB, the page had its bit set at the first, and the write comes before the
//! monitor reads the page.
//!
//! The guest may have written past the caches. So a page that loses the right to write is cleaned
//! to the point of coherency before the monitor reads it.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};

use armv7::addr::{
    Ipa,
    PAGE_SHIFT, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use kvm_bindings as uapi;
use machine::{
    slot::Place,
    stage2, //
};

use super::{
    address_space::{
        AddressSpace,
        CLEANED_AT_ONCE, //
    },
    slots::MAX_SLOTS, //
};
use crate::glue::cpu::cond_resched;

/// The options that `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` can be enabled with.
pub(crate) const MANUAL_PROTECT_OPTIONS: u32 =
    uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | uapi::KVM_DIRTY_LOG_INITIALLY_SET;

/// Pages in a word of the log: the ABI's bitmap is one of `unsigned long`.
const WORD_PAGES: u32 = u32::BITS;

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

    /// Notes that a page may be written to from now on, or was just before. Whoever sees the mark
    /// sees the data.
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

impl AddressSpace {
    /// Carries out the enabling of `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`.
    pub(crate) fn set_manual_protect(&self, options: u64) -> Result {
        let known = if options & u64::from(uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0 {
            MANUAL_PROTECT_OPTIONS
        } else {
            uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
        };
        if options & !u64::from(known) != 0 {
            return Err(EINVAL);
        }
        let _changes = self.changes.lock();
        self.manual_protect.store(options as u32, Ordering::Relaxed);
        Ok(())
    }

    /// The slot with an id and its log, for the ioctls about it.
    fn logged_slot(&self, id: u32) -> Result<(Place, Arc<DirtyLog>)> {
        if id >= MAX_SLOTS {
            return Err(EINVAL);
        }
        let slots = self.slots.lock();
        let slot = slots.table.with_id(id).ok_or(ENOENT)?;
        Ok((slot.place, slot.log.clone().ok_or(ENOENT)?))
    }

    /// Carries out `KVM_GET_DIRTY_LOG`, with the bitmap at a user address.
    ///
    /// Unless the monitor does so itself (`KVM_CLEAR_DIRTY_LOG`), the reported pages become clean,
    /// and the guest's next write to each is noted again.
    pub(crate) fn get_dirty_log(&self, id: u32, bitmap: usize) -> Result {
        let _changes = self.changes.lock();
        let (slot, log) = self.logged_slot(id)?;
        let manual = self.manual_protect.load(Ordering::Relaxed) != 0;
        let mut words = KVVec::from_elem(0u32, log.len(), GFP_KERNEL_ACCOUNT)?;
        if manual {
            for (index, word) in words.iter_mut().enumerate() {
                *word = log.word(index);
            }
        } else {
            words.fill(u32::MAX);
            self.clean(&slot, &log, 0, &mut words);
        }
        let mut writer =
            UserSlice::new(UserPtr::from_addr(bitmap), words.len() * size_of::<u32>()).writer();
        let result = words.iter().try_for_each(|word| writer.write(word));
        if result.is_err() && !manual {
            // Nobody has heard of it.
            for (index, word) in words.iter().enumerate() {
                log.mark_word(index, *word);
            }
        }
        result
    }

    /// Carries out `KVM_CLEAR_DIRTY_LOG`, with the bitmap at a user address.
    pub(crate) fn clear_dirty_log(
        &self,
        id: u32,
        first_page: u64,
        pages: u32,
        bitmap: usize,
    ) -> Result {
        /// The granularity of a range that can be cleared (api.rst 4.117).
        const UNIT: u64 = 64;
        if id >= MAX_SLOTS || first_page % UNIT != 0 {
            return Err(EINVAL);
        }
        let _changes = self.changes.lock();
        let (slot, log) = self.logged_slot(id)?;
        let left = u64::from(slot.pages)
            .checked_sub(first_page)
            .ok_or(EINVAL)?;
        let pages = u64::from(pages);
        if pages > left || (pages < left && pages % UNIT != 0) {
            return Err(EINVAL);
        }
        let n = (pages as u32).div_ceil(WORD_PAGES) as usize;
        let mut words = KVVec::from_elem(0u32, n, GFP_KERNEL_ACCOUNT)?;
        let mut reader = UserSlice::new(UserPtr::from_addr(bitmap), n * size_of::<u32>()).reader();
        for word in &mut words {
            *word = reader.read()?;
        }
        self.clean(&slot, &log, first_page as u32 / WORD_PAGES, &mut words);
        Ok(())
    }

    /// Makes the pages clean whose bits in `words` are set, and leaves the bits of those that were
    /// dirty. `words` begins at a word of the log.
    fn clean(&self, slot: &Place, log: &DirtyLog, first_word: u32, words: &mut [u32]) {
        let bits = PageBits {
            start: Ipa::from_gfn(slot.gfn + first_word * WORD_PAGES),
        };
        let end = bits.ipa(words.len() as u32 * WORD_PAGES);
        let range = bits.start..end.min(slot.ipas().end);
        // The last word may have bits behind the slot.
        let pages = bits.page(range.end);
        if let Some(last) = words.get_mut((pages / WORD_PAGES) as usize) {
            *last &= (1 << (pages % WORD_PAGES)) - 1;
        }
        let (mut flush, mut any) = (false, false);
        self.in_pieces(range.clone(), |region, part| {
            for (index, mask) in bits.masks(part) {
                if let Some(word) = words.get_mut(index as usize) {
                    let cleared = log.clear_word((first_word + index) as usize, *word & mask);
                    *word = *word & !mask | cleared;
                    any |= cleared != 0;
                    for run in bits.runs(index, cleared) {
                        flush |= region.write_protect(run).flush;
                    }
                }
            }
        });
        if !any {
            return;
        }
        // The monitor reads the pages after this, and finds there all that the guest has written by
        // old translations until here.
        if flush {
            self.flush_tlb();
        } else {
            self.flush_tlb_if_owed();
        }
        for part in stage2::parts(range, CLEANED_AT_ONCE) {
            let dirty = |(index, mask)| {
                let word = words.get(index as usize)? & mask;
                (word != 0).then_some((index, word))
            };
            let mut dirty = bits.masks(part.clone()).filter_map(dirty).peekable();
            if dirty.peek().is_none() {
                continue;
            }
            self.with_region(part.start, |region| {
                for (index, word) in dirty {
                    for run in bits.runs(index, word) {
                        self.clean_written(region, run);
                    }
                }
            });
            cond_resched();
        }
    }
}

/// The pages that the bits of some words are for.
#[derive(Clone, Copy)]
struct PageBits {
    /// The address of the first bit's page.
    start: Ipa,
}

impl PageBits {
    /// The address of a bit's page.
    fn ipa(self, bit: u32) -> Ipa {
        Ipa(self.start.0 + (u64::from(bit) << PAGE_SHIFT))
    }

    /// The bit of a page.
    fn page(self, ipa: Ipa) -> u32 {
        ipa.gfn() - self.start.gfn()
    }

    /// The words that have bits of pages in `range`, by their index, with a mask of these bits.
    fn masks(self, range: Range<Ipa>) -> impl Iterator<Item = (u32, u32)> {
        let (mut page, end) = (self.page(range.start), self.page(range.end));
        core::iter::from_fn(move || {
            let (index, bit) = (page / WORD_PAGES, page % WORD_PAGES);
            let n = (WORD_PAGES - bit).min(end.saturating_sub(page));
            page += n;
            (n != 0).then(|| (index, (u32::MAX >> (WORD_PAGES - n)) << bit))
        })
    }

    /// The addresses of the pages whose bits are set in a word. Pages that follow each other are
    /// one range.
    fn runs(self, index: u32, word: u32) -> impl Iterator<Item = Range<Ipa>> {
        let mut rest = word;
        core::iter::from_fn(move || {
            let first = rest.trailing_zeros();
            let n = rest.checked_shr(first)?.trailing_ones();
            rest &= u32::MAX.checked_shl(first + n).unwrap_or(0);
            let bit = index * WORD_PAGES + first;
            Some(self.ipa(bit)..self.ipa(bit + n))
        })
    }
}
