// SPDX-License-Identifier: GPL-2.0

//! Values that every thread may use, although the compiler cannot see that.

use core::ops::Deref;

use kernel::prelude::*;

/// An object of the kernel's with its own locks, or a pointer to one: any thread may use it, and
/// several may at a time.
///
/// # Invariants
///
/// All that safe code can do with a `&T` may be done by several threads at once, and all that it
/// can do with a `T` by another thread than the one that made it.
#[pin_data]
#[repr(transparent)]
pub(crate) struct AnyThread<T> {
    #[pin]
    value: T,
}

// SAFETY: By the type's invariant.
unsafe impl<T> Send for AnyThread<T> {}
// SAFETY: By the type's invariant.
unsafe impl<T> Sync for AnyThread<T> {}

impl<T> AnyThread<T> {
    /// Wraps a value.
    ///
    /// # Safety
    ///
    /// The type's invariant holds for the value.
    pub(crate) unsafe fn new(value: T) -> Self {
        // INVARIANT: By the function's requirement.
        Self { value }
    }

    /// Wraps a value that is made in its place.
    ///
    /// # Safety
    ///
    /// The type's invariant holds for the value.
    pub(crate) unsafe fn pin_init<E>(value: impl PinInit<T, E>) -> impl PinInit<Self, E>
    where
        Error: From<E>,
        E: From<core::convert::Infallible>,
    {
        // INVARIANT: By the function's requirement.
        pin_init!(Self { value <- value }? E)
    }
}

impl<T> Deref for AnyThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
