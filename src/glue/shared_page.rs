// SPDX-License-Identifier: GPL-2.0

//! Pages that the kernel shares with user space.

use kernel::{
    page::Page,
    prelude::*, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    page::PAGE_SIZE, //
};

/// A page with a `T` at its begin, which user space can map and write to at any moment.
///
/// So there is no reference to the `T`. [`read!`] and [`write!`] access one field of it at a time,
/// by a single volatile access, and the module checks each value before it uses it.
///
/// # Invariants
///
/// `start` is the kernel address of `page`, which is in lowmem and larger than a `T`.
pub(crate) struct SharedPage<T> {
    page: Page,
    start: AnyThread<*mut T>,
}

impl<T> SharedPage<T> {
    /// Allocates a zeroed page.
    pub(crate) fn new() -> Result<Self> {
        const { assert!(size_of::<T>() <= PAGE_SIZE) };
        let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        // SAFETY: The flags give lowmem, which always has an address. Safe code has only the
        // pointer.
        let start = unsafe { AnyThread::new(glue::kvm_arm_page_address(page.as_ptr()).cast()) };
        // INVARIANT: As asserted and allocated above.
        Ok(Self { page, start })
    }

    /// The page itself, to be mapped.
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    /// The kernel's address of the `T`, for the macros.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut T {
        *self.start
    }
}

/// Types that user space may fill with any bits.
pub(crate) trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty)*) => {
        $(
            impl Plain for $type {}
            impl<const N: usize> Plain for [$type; N] {}
        )*
    };
}

plain!(u8 u16 u32 u64);

/// The type of a field, for [`read!`].
#[inline]
pub(crate) fn is_plain<T: Plain>(value: T) -> T {
    value
}

/// Reads a field of a [`SharedPage`].
macro_rules! read {
    ($page:expr, $($field:tt)+) => {{
        let start = $crate::glue::shared_page::SharedPage::as_ptr(&$page);
        // SAFETY: By the invariants of the page, the field is within mapped memory. Its type is
        // `Plain`, for which all bits are valid.
        let value = unsafe { (&raw const (*start).$($field)+).read_volatile() };
        $crate::glue::shared_page::is_plain(value)
    }};
}

/// Writes a field of a [`SharedPage`].
macro_rules! write {
    ($page:expr, $($field:ident $([$index:expr])?).+ = $value:expr) => {{
        let start = $crate::glue::shared_page::SharedPage::as_ptr(&$page);
        let value = $value;
        // SAFETY: By the invariants of the page, the field is within mapped memory.
        unsafe { (&raw mut (*start).$($field $([$index])?).+).write_volatile(value) };
    }};
}

/// The places of the two words of eight bytes, for [`read_words!`] and [`write_words!`].
#[inline]
pub(crate) fn words(bytes: *mut [u8; 8]) -> [*mut u32; 2] {
    [bytes.cast(), bytes.cast::<u32>().wrapping_add(1)]
}

/// Whether eight bytes can be accessed as words.
#[inline]
pub(crate) const fn are_words(offset: usize) -> bool {
    offset % size_of::<u32>() == 0
}

/// Reads a field of eight bytes of a [`SharedPage`], by words: the least significant byte comes
/// first.
macro_rules! read_words {
    ($page:expr, $($field:ident).+) => {{
        let start = $crate::glue::shared_page::SharedPage::as_ptr(&$page);
        const {
            let offset = core::mem::offset_of!(kvm_bindings::kvm_run, $($field).+);
            assert!($crate::glue::shared_page::are_words(offset));
        };
        // SAFETY: By the invariants of the page, the field is within mapped memory. It is aligned,
        // as asserted, and all bits are valid.
        let [low, high] = unsafe {
            let [low, high] = $crate::glue::shared_page::words(&raw mut (*start).$($field).+);
            [low.read_volatile(), high.read_volatile()]
        };
        u64::from(u32::from_le(high)) << 32 | u64::from(u32::from_le(low))
    }};
}

/// Writes a field of eight bytes of a [`SharedPage`], by words: the least significant byte comes
/// first.
macro_rules! write_words {
    ($page:expr, $($field:ident).+ = $value:expr) => {{
        let start = $crate::glue::shared_page::SharedPage::as_ptr(&$page);
        const {
            let offset = core::mem::offset_of!(kvm_bindings::kvm_run, $($field).+);
            assert!($crate::glue::shared_page::are_words(offset));
        };
        let value: u64 = $value;
        // SAFETY: By the invariants of the page, the field is within mapped memory. It is aligned,
        // as asserted.
        unsafe {
            let [low, high] = $crate::glue::shared_page::words(&raw mut (*start).$($field).+);
            low.write_volatile((value as u32).to_le());
            high.write_volatile(((value >> 32) as u32).to_le());
        };
    }};
}

pub(crate) use {
    read,
    read_words,
    write,
    write_words, //
};
