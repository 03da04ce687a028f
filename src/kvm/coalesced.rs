// SPDX-License-Identifier: GPL-2.0

//! The ring of coalesced MMIO: a page that all vCPUs of a VM share with the monitor. The kernel
//! adds stores at `last`, and the monitor takes them out at `first`.

use kernel::{
    page::Page,
    prelude::*, //
};
use kvm_bindings::{
    kvm_coalesced_mmio,
    kvm_coalesced_mmio_ring, //
};

use crate::{
    glue::{
        page::PAGE_SIZE,
        shared_page::{
            read,
            write,
            SharedPage, //
        },
    },
    hyp::register, //
};

/// The number of entries that the page has room for.
const ENTRIES: usize =
    (PAGE_SIZE - size_of::<kvm_coalesced_mmio_ring>()) / size_of::<kvm_coalesced_mmio>();

/// The page: its header, and the entries behind it.
#[repr(C)]
struct Layout {
    header: kvm_coalesced_mmio_ring,
    entries: [kvm_coalesced_mmio; ENTRIES],
}

/// The ring. The monitor changes the header, too, so each use checks the indices.
pub(crate) struct Ring(SharedPage<Layout>);

impl Ring {
    /// Makes an empty ring.
    pub(crate) fn new() -> Result<Self> {
        SharedPage::new().map(Self)
    }

    /// The page for `mmap`.
    pub(crate) fn page(&self) -> &Page {
        self.0.page()
    }

    /// Adds a store; false if there is no room. The caller holds the bus's lock.
    pub(crate) fn push(&self, address: u64, len: u32, data: [u8; 8]) -> bool {
        let first = read!(self.0, header.first);
        let last = read!(self.0, header.last) as usize;
        if last >= ENTRIES {
            return false;
        }
        let next = if last == ENTRIES - 1 {
            0
        } else {
            last as u32 + 1
        };
        if next == first {
            return false;
        }
        write!(self.0, entries[last].phys_addr = address);
        write!(self.0, entries[last].len = len);
        write!(self.0, entries[last].__bindgen_anon_1.pio = 0);
        write!(self.0, entries[last].data = data);
        // The monitor may look at the entry as soon as it sees the index.
        register::dmb();
        write!(self.0, header.last = next);
        true
    }
}
