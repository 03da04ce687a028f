// SPDX-License-Identifier: GPL-2.0

//! Memory that both halves use: owned by the host, mapped in HYP mode.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::takeover::Lowvisor;
use crate::glue::page::{
    LowmemPages,
    PAGE_SIZE, //
};

/// A value in whole pages of its own that are mapped in HYP mode while it lives.
///
/// As no page is shared with anything else, taking the mapping away takes nothing else away.
///
/// # Invariants
///
/// `pages` are mapped in HYP mode, read-write, and hold a valid `T`.
pub(crate) struct HypBox<T> {
    pages: LowmemPages,
    lowvisor: Arc<Lowvisor>,
    _t: PhantomData<T>,
}

impl<T: FromZeroes> HypBox<T> {
    /// Allocates a value that is all zeroes.
    pub(crate) fn zeroed(lowvisor: &Arc<Lowvisor>) -> Result<Self> {
        const { assert!(core::mem::align_of::<T>() <= PAGE_SIZE) };
        let order = core::mem::size_of::<T>()
            .div_ceil(PAGE_SIZE)
            .next_power_of_two()
            .trailing_zeros();
        let pages = LowmemPages::new(order)?;
        lowvisor.map_pages(&pages)?;
        // INVARIANT: Mapped, and zeroes are a valid `T`.
        Ok(Self {
            pages,
            lowvisor: lowvisor.clone(),
            _t: PhantomData,
        })
    }
}

/// A type of which all zero bytes are a valid value.
///
/// # Safety
///
/// As the name says.
pub(crate) unsafe trait FromZeroes {}

// SAFETY: Integers only.
unsafe impl FromZeroes for super::context::VcpuContext {}

impl<T> HypBox<T> {
    /// The address, which is the same in HYP mode.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.pages.as_ptr().cast()
    }
}

impl<T> Deref for HypBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: A valid `T`, by the type's invariant.
        unsafe { &*self.pages.as_ptr().cast() }
    }
}

impl<T> DerefMut for HypBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: A valid `T`, by the type's invariant.
        unsafe { &mut *self.pages.as_ptr().cast() }
    }
}

impl<T> Drop for HypBox<T> {
    fn drop(&mut self) {
        self.lowvisor.unmap_pages(&self.pages);
    }
}
