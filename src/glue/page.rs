// SPDX-License-Identifier: GPL-2.0

//! Pages of the kernel's own memory: owned, zeroed, in lowmem, and known by
//! their physical address, as hardware tables need them.

use core::ptr::NonNull;

use armv7::addr::Pa;
use kernel::{
    bindings,
    prelude::*, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    safe, //
};

/// Bytes in a page.
pub(crate) const PAGE_SIZE: usize = 4096;

/// `1 << order` zeroed pages, aligned to their size.
///
/// # Invariants
///
/// `address` is the kernel address of an allocation of that order which this value owns.
pub(crate) struct LowmemPages {
    address: AnyThread<NonNull<u8>>,
    order: u32,
}

impl LowmemPages {
    /// Allocates for the current process, to whose memory cgroup it is charged.
    pub(crate) fn new(order: u32) -> Result<Self> {
        Self::allocate(order, bindings::GFP_KERNEL_ACCOUNT)
    }

    /// Allocates for the host itself: memory that outlives the process.
    pub(crate) fn of_host(order: u32) -> Result<Self> {
        Self::allocate(order, bindings::GFP_KERNEL)
    }

    fn allocate(order: u32, gfp: bindings::gfp_t) -> Result<Self> {
        let gfp = gfp | bindings::__GFP_ZERO;
        // The flags give lowmem and allow sleeping.
        let page = safe::kvm_arm_alloc_pages(gfp, order);
        if page.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: A lowmem page always has an address. Any thread may use plain memory; safe code
        // has only the pointer.
        let address = unsafe {
            let address = glue::kvm_arm_page_address(page);
            AnyThread::new(NonNull::new(address.cast()).ok_or(ENOMEM)?)
        };
        Ok(Self { address, order })
    }

    /// The kernel's address of the memory.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// The physical address of the memory.
    pub(crate) fn pa(&self) -> Pa {
        lowmem_pa(self.as_ptr())
    }

    /// Gives up ownership; [`Self::from_pa`] takes it again.
    pub(crate) fn into_pa(self) -> Pa {
        let pa = self.pa();
        core::mem::forget(self);
        pa
    }

    /// Takes ownership again after [`Self::into_pa`] gave it up.
    ///
    /// # Safety
    ///
    /// `pa` must have come from `into_pa` of an allocation of this order, and this must be called
    /// once for it.
    pub(crate) unsafe fn from_pa(pa: Pa, order: u32) -> Self {
        // SAFETY: By the function's requirements this is the address of a lowmem page. Any thread
        // may use plain memory; safe code has only the pointer.
        let address = unsafe { AnyThread::new(NonNull::new_unchecked(lowmem_ptr(pa))) };
        Self { address, order }
    }
}

impl Drop for LowmemPages {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant this value owns an allocation of this order at the
        // address.
        unsafe { bindings::free_pages(self.address.as_ptr() as usize, self.order) };
    }
}

/// The physical address of something in lowmem.
pub(crate) fn lowmem_pa(va: *const u8) -> Pa {
    // For an address outside of lowmem the result means nothing.
    Pa(safe::kvm_arm_virt_to_phys(va.cast()) as u64)
}

/// The kernel's address of a page of lowmem, by its physical address.
pub(crate) fn lowmem_ptr(pa: Pa) -> *mut u8 {
    // For an address outside of lowmem the result means nothing.
    safe::kvm_arm_phys_to_virt(pa.0 as bindings::phys_addr_t).cast()
}

/// Cleans and invalidates the data cache lines of a kernel range to the point of coherency.
///
/// # Safety
///
/// The range must be mapped in the kernel.
pub(crate) unsafe fn flush_dcache_to_poc(va: *mut u8, size: usize) {
    // SAFETY: Cache maintenance by address has no effect on contents.
    unsafe { glue::kvm_arm_flush_dcache_to_poc(va.cast(), size) };
}
