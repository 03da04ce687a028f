// SPDX-License-Identifier: GPL-2.0

//! Addresses: of a guest's memory and of the machine's.
//!
//! Both are 64-bit numbers of which 40 bits count, and mixing them up maps the
//! wrong memory: so each has a type.

/// The number of address bits within a page.
pub const PAGE_SHIFT: u32 = 12;

/// The size of a page, and of a table of the second and third level.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// An intermediate physical address: a guest takes it for a physical one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(pub u64);

/// A physical address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pa(pub u64);

impl Ipa {
    /// The address of a guest frame.
    #[inline]
    pub const fn from_gfn(gfn: u32) -> Self {
        Self((gfn as u64) << PAGE_SHIFT)
    }

    /// The guest frame that the address is in. 28 of its bits count.
    #[inline]
    pub const fn gfn(self) -> u32 {
        (self.0 >> PAGE_SHIFT) as u32
    }

    /// The start of the page.
    #[inline]
    pub const fn page_align_down(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }

    /// The offset in the page.
    #[inline]
    pub const fn page_offset(self) -> u32 {
        (self.0 & (PAGE_SIZE - 1)) as u32
    }
}

impl Pa {
    /// The start of the page.
    #[inline]
    pub const fn page_align_down(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }

    /// The offset in the page.
    #[inline]
    pub const fn page_offset(self) -> u32 {
        (self.0 & (PAGE_SIZE - 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    inputs! {
        fn page_and_offset_make_the_address(a in 0u64..1 << 40) {
            let ipa = Ipa(a);
            prop_assert_eq!(ipa.page_align_down().0 + u64::from(ipa.page_offset()), a);
            prop_assert_eq!(Ipa::from_gfn(ipa.gfn()), ipa.page_align_down());
            prop_assert_eq!(Pa(a).page_align_down().0 + u64::from(Pa(a).page_offset()), a);
        }
    }
}
