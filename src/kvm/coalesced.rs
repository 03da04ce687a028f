// SPDX-License-Identifier: GPL-2.0

//! The ring of coalesced MMIO: a page that all vCPUs of a VM share with the monitor, which takes
//! out at `first` what the kernel puts in at `last`.

use kernel::{
    page::Page,
    prelude::*, //
};
use kvm_bindings::{
    self as uapi,
    kvm_coalesced_mmio,
    kvm_coalesced_mmio_ring, //
};

use crate::{
    glue::page::PAGE_SIZE,
    hyp::register, //
};

/// How many entries the page has room for.
const ENTRIES: u32 =
    ((PAGE_SIZE - size_of::<kvm_coalesced_mmio_ring>()) / size_of::<kvm_coalesced_mmio>()) as u32;

/// The page.
///
/// User space can write to it at any moment: indices are checked each time that they are read.
///
/// # Invariants
///
/// `ring` is the kernel address of `page`, which is in lowmem.
pub(crate) struct Ring {
    page: Page,
    ring: *mut kvm_coalesced_mmio_ring,
}

// SAFETY: All accesses are volatile; the bus's lock is held by those who write.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

impl Ring {
    /// An empty ring.
    pub(crate) fn new() -> Result<Self> {
        let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        // SAFETY: The flags give lowmem, which always has an address.
        let ring = unsafe { uapi::kvm_arm_page_address(page.as_ptr()) }.cast();
        Ok(Self { page, ring })
    }

    /// The page, to be mapped.
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    /// Puts a store in; false if there is no room. The caller holds the bus's lock.
    pub(crate) fn push(&self, address: u64, len: u32, data: [u8; 8]) -> bool {
        // SAFETY: The page is mapped, and has the header.
        let (first, last) = unsafe {
            (
                (&raw const (*self.ring).first).read_volatile(),
                (&raw const (*self.ring).last).read_volatile(),
            )
        };
        if last >= ENTRIES {
            return false;
        }
        let next = if last == ENTRIES - 1 { 0 } else { last + 1 };
        if next == first {
            return false;
        }
        // SAFETY: `last` is checked, so the entry is within the page.
        unsafe {
            let entry = (&raw mut (*self.ring).__bindgen_anon_1)
                .cast::<kvm_coalesced_mmio>()
                .add(last as usize);
            (&raw mut (*entry).phys_addr).write_volatile(address);
            (&raw mut (*entry).len).write_volatile(len);
            (&raw mut (*entry).__bindgen_anon_1.pio).write_volatile(0);
            (&raw mut (*entry).data).write_volatile(data);
            // The monitor may look at the entry as soon as it sees the index.
            register::dmb();
            (&raw mut (*self.ring).last).write_volatile(next);
        }
        true
    }
}
