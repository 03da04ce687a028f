// SPDX-License-Identifier: GPL-2.0

//! Memory and device registers that both halves use. The host owns them, and HYP mode maps them.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use armv7::addr::Pa;

use super::takeover::Lowvisor;
use crate::glue::{
    any_thread::AnyThread,
    mmio::Registers,
    page::{
        LowmemPages,
        PAGE_SIZE, //
    }, //
};

/// Values that different parts of the code use do not share a line of the cache: each begins at a
/// multiple of this.
pub(super) const LINE: usize = 64;

/// Pages that are mapped in HYP mode while the value lives. They hold nothing else, so nothing else
/// goes with their mapping.
///
/// # Invariants
///
/// `pages` are mapped in HYP mode, read-write.
pub(super) struct HypPages {
    pages: LowmemPages,
    lowvisor: Arc<Lowvisor>,
}

impl HypPages {
    /// Allocates at least `bytes`, all zeroes.
    pub(super) fn zeroed(lowvisor: &Arc<Lowvisor>, bytes: usize) -> Result<Self> {
        let order = bytes
            .div_ceil(PAGE_SIZE)
            .next_power_of_two()
            .trailing_zeros();
        let pages = LowmemPages::new(order)?;
        lowvisor.map_pages(&pages)?;
        // INVARIANT: Mapped just above.
        Ok(Self {
            pages,
            lowvisor: lowvisor.clone(),
        })
    }

    /// The address, which is the same in HYP mode.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.pages.as_ptr()
    }
}

impl Drop for HypPages {
    fn drop(&mut self) {
        self.lowvisor.unmap_pages(&self.pages);
    }
}

/// A value at the beginning of pages that are mapped in HYP mode while it lives.
///
/// # Invariants
///
/// `value` is the beginning of `pages`, and valid. Nobody else has a reference to it.
pub(crate) struct HypBox<T> {
    value: AnyThread<NonNull<T>>,
    _pages: Arc<HypPages>,
    _owns: PhantomData<T>,
}

impl<T: FromZeroes> HypBox<T> {
    /// The value at the beginning of `pages`, which are all zeroes there. What is behind it is not
    /// touched.
    ///
    /// # Safety
    ///
    /// Nobody else has a reference to the beginning of `pages`, or gets one.
    pub(super) unsafe fn first_in(pages: Arc<HypPages>) -> Self {
        const { assert!(core::mem::align_of::<T>() <= PAGE_SIZE) };
        debug_assert!(core::mem::size_of::<T>() <= pages.pages.size());
        // INVARIANT: Zeroes are a valid `T`. Pages have an address.
        let value = NonNull::new(pages.as_ptr().cast()).unwrap_or(NonNull::dangling());
        Self {
            // SAFETY: The box owns the value, and gives it out as it is borrowed itself.
            value: unsafe { AnyThread::new(value) },
            _pages: pages,
            _owns: PhantomData,
        }
    }
}

/// A type whose zero bytes are a valid value.
///
/// # Safety
///
/// A value all of whose bytes are zero must be valid.
pub(crate) unsafe trait FromZeroes {}

// SAFETY: The struct has integers only, for which zero is valid.
unsafe impl FromZeroes for super::context::VcpuContext {}

/// A value in pages that are mapped in HYP mode while it lives. Any thread may use it.
///
/// # Invariants
///
/// `value` is in `pages`, and valid. It is never dropped by itself.
pub(crate) struct HypShared<T: Sync> {
    value: AnyThread<NonNull<T>>,
    _pages: Arc<HypPages>,
}

impl<T: FromZeroes + Sync> HypShared<T> {
    /// The value at an offset in `pages`, which are all zeroes there.
    ///
    /// # Safety
    ///
    /// Nobody gets a reference to that part of `pages` that is not a shared one to a `T`.
    pub(super) unsafe fn at(pages: &Arc<HypPages>, offset: usize) -> Self {
        const { assert!(core::mem::align_of::<T>() <= LINE && !core::mem::needs_drop::<T>()) };
        debug_assert!(offset % LINE == 0);
        debug_assert!(offset + core::mem::size_of::<T>() <= pages.pages.size());
        let value = pages.as_ptr().wrapping_add(offset).cast();
        // INVARIANT: Zeroes are a valid `T`. Pages have an address.
        let value = NonNull::new(value).unwrap_or(NonNull::dangling());
        Self {
            // SAFETY: A `T` is `Sync`, so threads can share it, and safe code gets no more than
            // that.
            value: unsafe { AnyThread::new(value) },
            _pages: pages.clone(),
        }
    }
}

impl<T: Sync> Deref for HypShared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: A valid `T`, by the type's invariant.
        unsafe { self.value.as_ref() }
    }
}

impl<T> HypBox<T> {
    /// The address, which is the same in HYP mode.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T> Deref for HypBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: A valid `T`, by the type's invariant.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for HypBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: A valid `T`, by the type's invariant.
        unsafe { &mut *self.value.as_ptr() }
    }
}

/// The registers of a device, which are mapped in HYP mode while the value lives.
///
/// # Invariants
///
/// The pages of `registers` are mapped in HYP mode, as a device, read-write.
pub(crate) struct HypRegisters {
    registers: Registers,
    lowvisor: Arc<Lowvisor>,
}

impl HypRegisters {
    /// Maps the registers at `pa`.
    pub(crate) fn map(lowvisor: &Arc<Lowvisor>, pa: Pa, size: usize) -> Result<Self> {
        let registers = Registers::map(pa, size)?;
        lowvisor.map_registers(&registers, pa)?;
        // INVARIANT: Mapped just above.
        Ok(Self {
            registers,
            lowvisor: lowvisor.clone(),
        })
    }

    /// The address in HYP mode of the register at `offset`, if there is one.
    #[inline]
    pub(crate) fn address(&self, offset: usize) -> Option<u32> {
        self.registers.address(offset).map(|va| va as u32)
    }
}

impl Deref for HypRegisters {
    type Target = Registers;

    fn deref(&self) -> &Registers {
        &self.registers
    }
}

impl Drop for HypRegisters {
    fn drop(&mut self) {
        self.lowvisor.unmap_registers(&self.registers);
    }
}
