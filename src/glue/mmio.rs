// SPDX-License-Identifier: GPL-2.0

//! Device registers mapped into the kernel.

use core::ptr::NonNull;

use armv7::addr::Pa;
use kernel::{
    bindings,
    prelude::*, //
};

use super::page::PAGE_SIZE;

/// A window of 32-bit device registers.
///
/// # Invariants
///
/// `base` is an `ioremap` mapping of `size` bytes that lives as long as the value.
pub(crate) struct Registers {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: Device memory; who may touch which register when is the user's business.
unsafe impl Send for Registers {}
// SAFETY: The same.
unsafe impl Sync for Registers {}

impl Registers {
    /// Maps the registers at `pa`.
    pub(crate) fn map(pa: Pa, size: usize) -> Result<Self> {
        // SAFETY: No preconditions: a mapping of device memory type is made.
        let base = unsafe { bindings::ioremap(pa.0 as bindings::phys_addr_t, size) };
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
            size,
        })
    }

    /// The pages that the window is in, by their virtual addresses.
    pub(crate) fn pages(&self) -> impl Iterator<Item = usize> {
        let start = self.base.as_ptr() as usize;
        (start & !(PAGE_SIZE - 1)..start + self.size).step_by(PAGE_SIZE)
    }

    /// The address of the register at `offset`, if that is in the window.
    #[inline]
    pub(crate) fn address(&self, offset: usize) -> Option<usize> {
        (offset + 4 <= self.size).then_some(self.base.as_ptr() as usize + offset)
    }

    /// Reads the register at `offset`; one outside of the window reads as zero.
    #[inline]
    pub(crate) fn read(&self, offset: usize) -> u32 {
        if offset + 4 > self.size {
            return 0;
        }
        // SAFETY: Within the mapping, by the check and the type's invariant.
        unsafe { self.base.as_ptr().add(offset).cast::<u32>().read_volatile() }
    }

    /// Writes the register at `offset`; one outside of the window is not there.
    #[inline]
    pub(crate) fn write(&self, offset: usize, value: u32) {
        if offset + 4 > self.size {
            return;
        }
        // SAFETY: Within the mapping, by the check and the type's invariant.
        unsafe {
            self.base
                .as_ptr()
                .add(offset)
                .cast::<u32>()
                .write_volatile(value)
        };
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: Mapped by `ioremap`, by the type's invariant.
        unsafe { bindings::iounmap(self.base.as_ptr().cast()) };
    }
}
