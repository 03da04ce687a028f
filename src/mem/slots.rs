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
use machine::slot::{
    self,
    Memory,
    Place, //
};

use super::dirty_log::DirtyLog;

/// How many slots a VM can have.
pub(crate) const MAX_SLOTS: u32 = 512;

/// One slot.
pub(crate) type Slot = slot::Slot<Arc<DirtyLog>>;

/// The lists of slots are the kernel's, charged to the process.
pub(crate) struct KernelMemory;

impl Memory for KernelMemory {
    type List<T> = KVec<T>;
    type Error = Error;

    fn list<T: Default>(len: usize) -> Result<KVec<T>> {
        let mut list = KVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..len {
            list.push_within_capacity(T::default())
                .map_err(|_| ENOMEM)?;
        }
        Ok(list)
    }
}

type Table = slot::SlotTable<Arc<DirtyLog>, KernelMemory>;
pub(super) type Room = slot::Room<Arc<DirtyLog>, KernelMemory>;

/// The slots of a VM.
pub(crate) struct Slots {
    /// The slots that the guest has.
    pub(super) table: Table,
    /// A slot that the guest had before, while that is being unmapped. The host's changes of this
    /// memory still have to reach the guest; faults do not see the slot any more.
    pub(super) going: Option<Slot>,
}

impl Slots {
    /// No slots.
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            going: None,
        }
    }

    /// The guest-physical addresses at which the memory at some user addresses can be mapped.
    pub(super) fn ipas_of<'a>(
        &'a self,
        hvas: &'a Range<usize>,
    ) -> impl Iterator<Item = Range<Ipa>> + 'a {
        let going = self.going.iter();
        let going = going.filter_map(|slot| slot.ipas_of(hvas));
        Iterator::chain(self.table.ipas_of(hvas), going)
    }

    /// Whether a range of guest-physical addresses has something in common with a slot.
    pub(crate) fn overlap(&self, start: u64, size: u64) -> bool {
        self.table.has_any(start, start + size, None)
    }
}

/// A request for a slot, `KVM_SET_USER_MEMORY_REGION`, as far as it can be checked by itself.
pub(super) struct Request {
    pub(super) id: u32,
    /// The guest-physical addresses; they may be too high.
    pub(super) start: u64,
    pub(super) end: u64,
    hva: usize,
    flags: u32,
}

/// The result of a request for a slot.
pub(super) enum SlotChange {
    /// Nothing is different.
    None,
    /// The slot from now on, and the work on the guest's mappings that this asks for.
    New { slot: Option<Slot>, after: After },
}

/// The work on the stage-2 table that a change of slots asks for.
pub(super) enum After {
    /// Nothing: the slot is new.
    Nothing,
    /// The slot as it was is not there any more.
    Unmap(Place),
    /// All stores have to fault.
    Protect(Place),
    /// Memory whose blocks were split can be mapped by blocks again.
    Rebuild(Place),
}

impl Request {
    /// Checks a request by itself.
    pub(super) fn new(region: &uapi::kvm_userspace_memory_region) -> Result<Self> {
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
        Ok(Self {
            id: region.slot,
            start: region.guest_phys_addr,
            end,
            hva: usize::try_from(region.userspace_addr).map_err(|_| EINVAL)?,
            flags: region.flags,
        })
    }

    /// Works the result out. `old` is the slot that has the id now, and `is_taken` says whether
    /// another slot has some of the addresses. `all_dirty` says how a new log begins.
    pub(super) fn change(
        &self,
        old: Option<&Slot>,
        is_taken: bool,
        all_dirty: bool,
    ) -> Result<SlotChange> {
        if self.start == self.end {
            // Deleting a slot that is not there is an error (api.rst 4.35).
            let gone = old.ok_or(EINVAL)?;
            return Ok(SlotChange::New {
                slot: None,
                after: After::Unmap(gone.place),
            });
        }
        // Here the frame number may be only the low bits of the one that was asked for. Until `end`
        // is checked, nothing may depend on it.
        let place = Place {
            gfn: Ipa(self.start).gfn(),
            pages: ((self.end - self.start) >> PAGE_SHIFT) as u32,
            hva: self.hva,
        };
        let read_only = self.flags & uapi::KVM_MEM_READONLY != 0;
        let is_logged = self.flags & uapi::KVM_MEM_LOG_DIRTY_PAGES != 0;
        if let Some(old) = old {
            // A slot can be moved, and its writes logged or not. It cannot be resized, nor given
            // other memory, and it stays read-only or writable for life.
            if old.pages != place.pages || old.hva != place.hva || old.read_only != read_only {
                return Err(EINVAL);
            }
            if old.ipas().start.0 == self.start && old.log.is_some() == is_logged {
                return Ok(SlotChange::None);
            }
        }
        if is_taken {
            return Err(EEXIST);
        }
        if self.end > 1 << armv7::regs::IPA_BITS {
            return Err(EFAULT);
        }
        let log = match old.and_then(|old| old.log.clone()) {
            _ if !is_logged => None,
            Some(log) => Some(log),
            None => Some(Arc::new(
                DirtyLog::new(place.pages, all_dirty)?,
                GFP_KERNEL_ACCOUNT,
            )?),
        };
        let after = match old {
            None => After::Nothing,
            Some(old) if old.gfn != place.gfn => After::Unmap(old.place),
            // All pages count as dirty already, so they may be written to.
            Some(_) if is_logged && all_dirty => After::Nothing,
            Some(_) if is_logged => After::Protect(place),
            Some(_) => After::Rebuild(place),
        };
        let slot = Slot {
            id: self.id,
            place,
            read_only,
            log,
        };
        Ok(SlotChange::New {
            slot: Some(slot),
            after,
        })
    }
}
