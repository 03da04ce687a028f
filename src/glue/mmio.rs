// SPDX-License-Identifier: GPL-2.0

//! Device registers mapped into the kernel.

use core::ptr::NonNull;

use armv7::addr::Pa;
use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    any_thread::AnyThread,
    page::PAGE_SIZE, //
};

/// A window of 32-bit device registers.
///
/// # Invariants
///
/// `base` is an `ioremap` mapping of `size` bytes that lives as long as the value.
pub(crate) struct Registers {
    base: AnyThread<NonNull<u8>>,
    size: usize,
}

impl Registers {
    /// Maps the registers at `pa`.
    pub(crate) fn map(pa: Pa, size: usize) -> Result<Self> {
        // SAFETY: The callee makes a new mapping of type Device. Accesses are single loads and
        // stores, which any thread may make; the device defines their order.
        let base = unsafe {
            let base = bindings::ioremap(pa.0 as bindings::phys_addr_t, size);
            AnyThread::new(NonNull::new(base.cast()).ok_or(ENOMEM)?)
        };
        Ok(Self { base, size })
    }

    /// The virtual addresses of the window's pages.
    pub(crate) fn pages(&self) -> impl Iterator<Item = usize> {
        let start = self.base.as_ptr() as usize;
        (start & !(PAGE_SIZE - 1)..start + self.size).step_by(PAGE_SIZE)
    }

    /// The address of the register at `offset`, if that is in the window.
    #[inline]
    pub(crate) fn address(&self, offset: usize) -> Option<usize> {
        self.register(offset).map(|register| register as usize)
    }

    /// A pointer to the register at `offset`, if that is in the window.
    #[inline]
    fn register(&self, offset: usize) -> Option<*mut u32> {
        let is_inside = offset % 4 == 0 && offset < self.size && self.size - offset >= 4;
        is_inside.then(|| self.base.as_ptr().wrapping_add(offset).cast())
    }

    /// Reads the register at `offset`; zero, if that is outside of the window.
    #[inline]
    pub(crate) fn read(&self, offset: usize) -> u32 {
        let register = self.register(offset);
        // SAFETY: `register` has found the register in the mapping, which lives by the type's
        // invariant.
        register.map_or(0, |register| unsafe { register.read_volatile() })
    }

    /// Writes the register at `offset`. Nothing happens if that is outside of the window.
    #[inline]
    pub(crate) fn write(&self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: `register` has found the register in the mapping, which lives by the type's
            // invariant.
            unsafe { register.write_volatile(value) };
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: `base` comes from `ioremap`, by the type's invariant.
        unsafe { bindings::iounmap(self.base.as_ptr().cast()) };
    }
}
