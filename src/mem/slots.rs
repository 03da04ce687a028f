// SPDX-License-Identifier: GPL-2.0

//! Memory slots: which guest-physical addresses are which user addresses.

use core::ops::{
    Deref,
    Range, //
};

use armv7::addr::{
    Ipa,
    PAGE_SHIFT, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kvm_bindings as uapi;
use machine::slot::Place;

use super::dirty_log::DirtyLog;

/// How many slots a VM can have.
pub(crate) const MAX_SLOTS: u32 = 512;

/// One slot.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    pub(crate) place: Place,
    pub(crate) read_only: bool,
    /// Where the guest's writes are noted (`KVM_MEM_LOG_DIRTY_PAGES`).
    pub(crate) log: Option<Arc<DirtyLog>>,
}

impl Deref for Slot {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// The slots of a VM at one moment. A change makes a new set.
///
/// # Invariants
///
/// `slots` is sorted by `gfn`, and no two overlap. `by_hva` has an entry for each.
pub(crate) struct SlotSet {
    slots: KVec<Slot>,
    by_hva: KVec<HvaOrder>,
}

/// The slots at one moment.
pub(super) struct Slots {
    /// The slots that the guest has.
    pub(super) set: Arc<SlotSet>,
    /// A slot that the guest had before, while that is being unmapped. The host's changes of this
    /// memory still have to reach the guest; faults do not see the slot any more.
    pub(super) going: Option<Slot>,
}

impl Slots {
    /// No slots.
    pub(super) fn empty() -> Result<Self> {
        let set = SlotSet {
            slots: KVec::new(),
            by_hva: KVec::new(),
        };
        Ok(Self {
            set: Arc::new(set, GFP_KERNEL_ACCOUNT)?,
            going: None,
        })
    }

    /// The guest-physical addresses at which the memory at some user addresses can be mapped.
    pub(super) fn ipas_of<'a>(
        &'a self,
        hvas: &'a Range<usize>,
    ) -> impl Iterator<Item = Range<Ipa>> + 'a {
        let going = self.going.iter();
        let going = going.filter_map(|slot| slot.ipas_of(hvas));
        Iterator::chain(self.set.ipas_of(hvas), going)
    }
}

/// A slot in the order of user addresses, in which slots may overlap: one memory can be at several
/// places of a guest.
///
/// # Invariants
///
/// In a set, sorted by `hva`; `reach` is the highest end of this and all slots before it.
#[derive(Clone, Copy)]
struct HvaOrder {
    gfn: u32,
    hva: usize,
    reach: usize,
}

/// The result of a request for a slot.
pub(crate) enum SlotChange {
    /// Nothing is different.
    None,
    /// The slots from now on, and the work on the guest's mappings that this asks for.
    New { set: SlotSet, after: After },
}

/// The work on the stage-2 table that a change of slots asks for.
pub(crate) enum After {
    /// Nothing: the slot is new.
    Nothing,
    /// The slot as it was is not there any more.
    Unmap(Slot),
    /// All stores have to fault.
    Protect(Slot),
    /// Memory whose blocks were split can be mapped by blocks again.
    Rebuild(Slot),
}

impl SlotSet {
    /// The slot that a guest frame is in.
    #[inline]
    pub(crate) fn find(&self, gfn: u32) -> Option<&Slot> {
        let after = self.slots.partition_point(|slot| slot.gfn <= gfn);
        let slot = self.slots.get(after.checked_sub(1)?)?;
        slot.has(gfn).then_some(slot)
    }

    /// The slot with an id.
    pub(crate) fn with_id(&self, id: u32) -> Option<&Slot> {
        self.iter().find(|slot| slot.id == id)
    }

    /// All slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The guest-physical addresses whose user addresses are in `hvas`.
    pub(crate) fn ipas_of<'a>(
        &'a self,
        hvas: &'a Range<usize>,
    ) -> impl Iterator<Item = Range<Ipa>> + 'a {
        let first = self
            .by_hva
            .partition_point(|order| order.reach <= hvas.start);
        let orders = self.by_hva.get(first..).unwrap_or(&[]);
        orders
            .iter()
            .take_while(|order| order.hva < hvas.end)
            .filter_map(|order| self.find(order.gfn)?.ipas_of(hvas))
    }

    /// Whether a range of guest-physical addresses has something in common with a slot.
    pub(crate) fn overlap(&self, start: u64, size: u64) -> bool {
        self.iter().any(|slot| slot.has_any(start, start + size))
    }

    /// Checks `KVM_SET_USER_MEMORY_REGION` and works out its result. `all_dirty` says how a new log
    /// begins.
    pub(crate) fn change(
        &self,
        region: &uapi::kvm_userspace_memory_region,
        all_dirty: bool,
    ) -> Result<SlotChange> {
        const FLAGS: u32 = uapi::KVM_MEM_READONLY | uapi::KVM_MEM_LOG_DIRTY_PAGES;
        let page_mask = (1u64 << PAGE_SHIFT) - 1;
        if region.slot >= MAX_SLOTS || region.flags & !FLAGS != 0 {
            return Err(EINVAL);
        }
        if (region.guest_phys_addr | region.memory_size | region.userspace_addr) & page_mask != 0 {
            return Err(EINVAL);
        }
        let end = region
            .guest_phys_addr
            .checked_add(region.memory_size)
            .ok_or(EINVAL)?;
        let user_end = region
            .userspace_addr
            .checked_add(region.memory_size)
            .ok_or(EINVAL)?;
        if user_end > u64::from(crate::glue::user_page::user_limit()) {
            return Err(EINVAL);
        }
        let old = self.with_id(region.slot);
        if region.memory_size == 0 {
            // Deleting a slot that is not there is an error (api.rst 4.35).
            let gone = old.ok_or(EINVAL)?;
            return Ok(SlotChange::New {
                set: self.with(Some(gone), None)?,
                after: After::Unmap(gone.clone()),
            });
        }
        // Here the frame number may be only the low bits of the one that was asked for. Until `end`
        // is checked, nothing may depend on it.
        let log = region.flags & uapi::KVM_MEM_LOG_DIRTY_PAGES != 0;
        let mut slot = Slot {
            id: region.slot,
            place: Place {
                gfn: Ipa(region.guest_phys_addr).gfn(),
                pages: (region.memory_size >> PAGE_SHIFT) as u32,
                hva: usize::try_from(region.userspace_addr).map_err(|_| EINVAL)?,
            },
            read_only: region.flags & uapi::KVM_MEM_READONLY != 0,
            log: None,
        };
        if let Some(old) = old {
            // A slot can be moved, and its writes logged or not. It cannot be resized, nor given
            // other memory, and it stays read-only or writable for life.
            if old.pages != slot.pages || old.hva != slot.hva || old.read_only != slot.read_only {
                return Err(EINVAL);
            }
        }
        let start = region.guest_phys_addr;
        if old.is_some_and(|old| old.ipas().start.0 == start && old.log.is_some() == log) {
            return Ok(SlotChange::None);
        }
        if self
            .iter()
            .any(|other| other.id != slot.id && other.has_any(start, end))
        {
            return Err(EEXIST);
        }
        if end > 1 << armv7::regs::IPA_BITS {
            return Err(EFAULT);
        }
        if log {
            slot.log = match old.and_then(|old| old.log.clone()) {
                Some(log) => Some(log),
                None => Some(Arc::new(
                    DirtyLog::new(slot.pages, all_dirty)?,
                    GFP_KERNEL_ACCOUNT,
                )?),
            };
        }
        let after = match old {
            None => After::Nothing,
            Some(old) if old.gfn != slot.gfn => After::Unmap(old.clone()),
            // All pages count as dirty already, so they may be written to.
            Some(_) if log && all_dirty => After::Nothing,
            Some(_) if log => After::Protect(slot.clone()),
            Some(_) => After::Rebuild(slot.clone()),
        };
        Ok(SlotChange::New {
            set: self.with(old, Some(slot))?,
            after,
        })
    }

    /// The set without one slot and with another.
    fn with(&self, without: Option<&Slot>, added: Option<Slot>) -> Result<SlotSet> {
        let room = self.slots.len() + 1;
        let mut slots = KVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?;
        let mut by_hva: KVec<HvaOrder> = KVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?;

        let mut reach = 0;
        let mut order = |gfn: u32, hva: usize, pages: u32| {
            reach = reach.max(hva + ((pages as usize) << PAGE_SHIFT));
            by_hva.push(HvaOrder { gfn, hva, reach }, GFP_KERNEL_ACCOUNT)
        };
        let mut new = added.as_ref();
        for old in &self.by_hva {
            if without.is_some_and(|gone| gone.gfn == old.gfn) {
                continue;
            }
            if let Some(new) = new.take_if(|new| new.hva < old.hva) {
                order(new.gfn, new.hva, new.pages)?;
            }
            let pages = self.find(old.gfn).map_or(0, |slot| slot.pages);
            order(old.gfn, old.hva, pages)?;
        }
        if let Some(new) = new {
            order(new.gfn, new.hva, new.pages)?;
        }

        let mut added = added;
        for slot in self.iter() {
            if without.is_some_and(|gone| gone.id == slot.id) {
                continue;
            }
            if let Some(new) = added.take_if(|new| new.gfn < slot.gfn) {
                slots.push(new, GFP_KERNEL_ACCOUNT)?;
            }
            slots.push(slot.clone(), GFP_KERNEL_ACCOUNT)?;
        }
        if let Some(new) = added {
            slots.push(new, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: Both lists were sorted, and the new slot was merged in at its place.
        Ok(SlotSet { slots, by_hva })
    }
}
