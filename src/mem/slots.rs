// SPDX-License-Identifier: GPL-2.0

//! Memory slots: which guest-physical addresses are which user addresses.

use core::ops::Range;

use armv7::addr::{
    Ipa,
    PAGE_SHIFT, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kvm_bindings as uapi;
use machine::stage2::MapSize;

/// How many slots a VM can have.
pub(crate) const MAX_SLOTS: u32 = 512;

/// One slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    /// The first guest frame.
    pub(crate) gfn: u32,
    /// The number of pages, at least one.
    pub(crate) pages: u32,
    /// The user address of the first page.
    pub(crate) hva: usize,
    pub(crate) read_only: bool,
}

impl Slot {
    /// The guest frame after the last one.
    fn end(&self) -> u64 {
        u64::from(self.gfn) + u64::from(self.pages)
    }

    fn overlaps(&self, other: &Slot) -> bool {
        u64::from(self.gfn) < other.end() && u64::from(other.gfn) < self.end()
    }

    /// The guest-physical addresses.
    pub(crate) fn ipas(&self) -> Range<Ipa> {
        Ipa(u64::from(self.gfn) << PAGE_SHIFT)..Ipa(self.end() << PAGE_SHIFT)
    }

    /// The user address of a guest frame of this slot.
    pub(crate) fn hva_of(&self, gfn: u32) -> usize {
        self.hva + ((gfn - self.gfn) as usize) * (1 << PAGE_SHIFT)
    }

    /// Whether the 2 MiB around a guest frame are all in this slot, and aligned alike for the
    /// guest and in the process, so that one block can map them.
    pub(crate) fn can_be_block(&self, gfn: u32) -> bool {
        const PAGES: u32 = (MapSize::Block.bytes() >> PAGE_SHIFT) as u32;
        let first = gfn & !(PAGES - 1);
        let page = (self.hva >> PAGE_SHIFT) as u32;
        first >= self.gfn
            && first - self.gfn <= self.pages.saturating_sub(PAGES)
            && (page ^ self.gfn) & (PAGES - 1) == 0
    }

    /// The guest-physical addresses whose user addresses are in `hvas`.
    pub(crate) fn ipas_of(&self, hvas: &Range<usize>) -> Option<Range<Ipa>> {
        let size = u64::from(self.pages) << PAGE_SHIFT;
        let base = self.hva as u64;
        let start = (hvas.start as u64).max(base);
        let end = (hvas.end as u64).min(base + size);
        if start >= end {
            return None;
        }
        let ipa = u64::from(self.gfn) << PAGE_SHIFT;
        Some(Ipa(ipa + (start - base))..Ipa(ipa + (end - base)))
    }
}

/// The slots of a VM at one moment. A change makes a new set.
///
/// # Invariants
///
/// Sorted by `gfn`, and no two overlap.
pub(crate) struct SlotSet {
    slots: KVec<Slot>,
}

/// What a request for a slot comes to.
pub(crate) enum Change {
    /// Nothing is different.
    None,
    /// The slots from now on, and what is not mapped any more as it was.
    New { set: SlotSet, gone: Option<Slot> },
}

impl SlotSet {
    /// No slots.
    pub(crate) fn empty() -> Result<Arc<Self>> {
        Ok(Arc::new(Self { slots: KVec::new() }, GFP_KERNEL)?)
    }

    /// The slot that a guest frame is in.
    #[inline]
    pub(crate) fn find(&self, gfn: u32) -> Option<&Slot> {
        let after = self.slots.partition_point(|slot| slot.gfn <= gfn);
        let slot = self.slots.get(after.checked_sub(1)?)?;
        (gfn - slot.gfn < slot.pages).then_some(slot)
    }

    /// All slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Whether a range of guest-physical addresses has something in common with a slot.
    pub(crate) fn overlap(&self, start: u64, size: u64) -> bool {
        self.iter().any(|slot| {
            let ipas = slot.ipas();
            start < ipas.end.0 && ipas.start.0 < start + size
        })
    }

    /// Checks `KVM_SET_USER_MEMORY_REGION` and works out what comes of it.
    pub(crate) fn change(&self, region: &uapi::kvm_userspace_memory_region) -> Result<Change> {
        let page_mask = (1u64 << PAGE_SHIFT) - 1;
        if region.slot >= MAX_SLOTS || region.flags & !uapi::KVM_MEM_READONLY != 0 {
            return Err(EINVAL);
        }
        if (region.guest_phys_addr | region.memory_size | region.userspace_addr) & page_mask != 0 {
            return Err(EINVAL);
        }
        let end = region
            .guest_phys_addr
            .checked_add(region.memory_size)
            .ok_or(EINVAL)?;
        let old = self.iter().find(|slot| slot.id == region.slot).copied();
        if region.memory_size == 0 {
            // Deleting what is not there is an error (api.rst 4.35).
            let gone = old.ok_or(EINVAL)?;
            return Ok(Change::New {
                set: self.with(Some(gone.id), None)?,
                gone: Some(gone),
            });
        }
        if end > 1 << armv7::regs::IPA_BITS {
            return Err(EINVAL);
        }
        let hva = usize::try_from(region.userspace_addr).map_err(|_| EINVAL)?;
        let user_end = region
            .userspace_addr
            .checked_add(region.memory_size)
            .ok_or(EINVAL)?;
        if user_end > u64::from(crate::glue::user_page::user_limit()) {
            return Err(EINVAL);
        }
        let slot = Slot {
            id: region.slot,
            gfn: (region.guest_phys_addr >> PAGE_SHIFT) as u32,
            pages: (region.memory_size >> PAGE_SHIFT) as u32,
            hva,
            read_only: region.flags & uapi::KVM_MEM_READONLY != 0,
        };
        if let Some(old) = old {
            // A slot can be moved and re-flagged, but not resized or given other memory, and
            // read-only for life is what it was made as.
            if old == slot {
                return Ok(Change::None);
            }
            if old.pages != slot.pages || old.hva != slot.hva || old.read_only != slot.read_only {
                return Err(EINVAL);
            }
        }
        if self
            .iter()
            .any(|other| other.id != slot.id && other.overlaps(&slot))
        {
            return Err(EEXIST);
        }
        Ok(Change::New {
            set: self.with(old.map(|old| old.id), Some(slot))?,
            gone: old,
        })
    }

    fn with(&self, without: Option<u32>, added: Option<Slot>) -> Result<SlotSet> {
        let mut slots = KVec::with_capacity(self.slots.len() + 1, GFP_KERNEL_ACCOUNT)?;
        let mut added = added;
        for slot in self.iter().filter(|slot| Some(slot.id) != without) {
            if let Some(new) = added.take_if(|new| new.gfn < slot.gfn) {
                slots.push(new, GFP_KERNEL_ACCOUNT)?;
            }
            slots.push(*slot, GFP_KERNEL_ACCOUNT)?;
        }
        if let Some(new) = added {
            slots.push(new, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(SlotSet { slots })
    }
}
