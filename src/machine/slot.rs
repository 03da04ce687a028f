// SPDX-License-Identifier: GPL-2.0

//! Where a memory slot is, for the guest and in the process.

use core::ops::Range;

use armv7::addr::{
    Ipa,
    PAGE_SHIFT, //
};

use crate::stage2::MapSize;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Places near to and far from the bounds of 2 MiB, at both of their addresses.
    fn place() -> impl Strategy<Value = Place> {
        let near = |span: u32| {
            (0..3u32, -2..3i32).prop_map(move |(n, by)| (n * span).saturating_add_signed(by))
        };
        let gfn = prop_oneof![near(512), 0..2048u32, 0x0fff_f000..0x1000_0000u32];
        let pages = prop_oneof![near(512), 1..2048u32].prop_map(|pages| pages.max(1));
        let page = prop_oneof![near(512), 0..2048u32];
        (gfn, pages, page).prop_map(|(gfn, pages, page)| Place {
            gfn,
            pages,
            hva: (page as usize) << PAGE_SHIFT,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// A block maps nothing that is not in the slot, each page to where it is in the process.
        #[test]
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
        #[test]
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

        #[test]
        fn overlaps(one in place(), other in place()) {
            let shared = (one.gfn..one.end() as u32).any(|gfn| other.has(gfn));
            for (one, other) in [(one, other), (other, one)] {
                let ipas = other.ipas();
                prop_assert_eq!(one.has_any(ipas.start.0, ipas.end.0), shared);
            }
        }
    }
}
