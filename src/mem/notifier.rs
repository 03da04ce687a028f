// SPDX-License-Identifier: GPL-2.0

//! The host's changes of the process's memory, carried out for the guest.

use core::ops::Range;

use armv7::addr::Ipa;
use kernel::sync::Arc;
use machine::{
    invalidations::Protocol,
    stage2::{
        self,
        MapSize, //
    },
};

use super::address_space::{
    AddressSpace,
    Region, //
};
use crate::{
    glue::{
        cpu::cond_resched,
        mmu_notifier::MmuCallbacks, //
    },
    trace::trace, //
};

/// The work that was done on a region for the host.
#[derive(Default)]
struct Done {
    /// The host goes on only after TLBs were invalidated.
    stale: bool,
    /// The number of bytes that were unmapped and cleaned, which takes time.
    cleaned: u64,
}

/// How much of the process's memory a notifier goes through before it lets go of the lock of the
/// slots, a power of two.
const STEP: usize = MapSize::Block.bytes() as usize;

/// How much a notifier cleans before it lets go of that lock. A step is in two regions if the slot
/// is aligned otherwise for the guest.
const MOST_CLEANED: u64 = 2 * MapSize::Block.bytes();

impl AddressSpace {
    /// Calls `f` for each region that maps some of the memory at `hvas`. With `may_sleep`, other
    /// tasks get their turns meanwhile.
    ///
    /// Slots may change between two steps, and a slot may then have addresses that this has gone
    /// through already. Nothing is mapped there before the invalidation has ended. If a slot is
    /// moved or deleted, the task that does so unmaps its memory.
    fn for_each_range(
        &self,
        hvas: &Range<usize>,
        may_sleep: bool,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>) -> Done,
    ) {
        // Most changes in a process are not about its guest.
        if self.slots.lock().ipas_of(hvas).next().is_none() {
            return;
        }
        let mut rest = hvas.clone();
        while !rest.is_empty() {
            let end = (rest.start & !(STEP - 1)).saturating_add(STEP);
            let part = rest.start..end.min(rest.end);
            if self.for_each_slot(&part, &mut f) {
                rest.start = part.end;
            }
            if may_sleep {
                cond_resched();
            }
        }
    }

    /// The same within one step. Says whether the step is done: if not, the caller lets other tasks
    /// have their turns and calls this again.
    fn for_each_slot(
        &self,
        hvas: &Range<usize>,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>) -> Done,
    ) -> bool {
        let (mut stale, mut cleaned, mut is_done) = (false, 0, true);
        // Slots are not copied here: the last reference to a log cannot be dropped where nothing
        // may sleep.
        let slots = self.slots.lock();
        for part in slots.ipas_of(hvas).flat_map(stage2::regions) {
            // Hundreds of slots can be of the same memory. A region that was cleaned is not mapped
            // any more, so the next call passes it quickly.
            if cleaned >= MOST_CLEANED {
                is_done = false;
                break;
            }
            let done = self.with_region(part.start, |region| f(region, part));
            let done = done.unwrap_or_default();
            stale |= done.stale;
            cleaned += done.cleaned;
        }
        if stale {
            self.flush_tlb();
        }
        is_done
    }
}

impl MmuCallbacks for Arc<AddressSpace> {
    fn invalidate_start(&self, range: Range<usize>, may_sleep: bool) {
        trace!(kvm_unmap_hva_range(range.start as u32, range.end as u32));
        self.stats.invalidations.count();
        // The caller that must not sleep is the reaper, after the host has run out of memory
        // (mm/oom_kill.c). It takes private memory of a process that is killed, for good, and is in
        // a hurry. Nobody reads that memory again, so it need not be cleaned.
        self.invalidations.start(&range, || {
            self.for_each_range(&range, may_sleep, |region, ipas| Done {
                stale: false,
                cleaned: self.unmap_as(region, ipas, may_sleep),
            });
        });
    }

    fn invalidate_end(&self, range: Range<usize>) {
        // Most changes in a process are not about its guest, and are no reason for a fault to begin
        // again.
        let is_guest = || self.slots.lock().ipas_of(&range).next().is_some();
        self.invalidations.end(&range, is_guest);
    }

    fn clear_young(&self, range: Range<usize>, flush: bool) -> bool {
        trace!(kvm_age_hva(range.start as u32, range.end as u32));
        let mut young = false;
        self.for_each_range(&range, false, |region, ipas| {
            // Software manages the access flag: a page without the flag faults when it is used.
            let stale = region.update(ipas, |_, desc| {
                let was = desc.accessed();
                young |= was;
                was.then(|| {
                    self.stats.aged.count();
                    desc.with_accessed(false)
                })
            });
            Done {
                stale: stale.flush && flush,
                cleaned: 0,
            }
        });
        young
    }

    fn test_young(&self, range: Range<usize>) -> bool {
        trace!(kvm_test_age_hva(range.start as u32));
        let mut young = false;
        self.for_each_range(&range, false, |region, ipas| {
            let _ = region.update(ipas, |_, desc| {
                young |= desc.accessed();
                None
            });
            Done::default()
        });
        young
    }

    fn release(&self) {
        // Nobody runs with this memory, or uses the VM, any more: its slots stay as they are.
        for place in self.places() {
            self.in_pieces(place.ipas(), |region, ipas| self.unmap(region, ipas));
        }
    }
}
