// SPDX-License-Identifier: GPL-2.0

//! The host's changes of the process's memory, carried out for the guest.

use core::{
    ops::Range,
    sync::atomic::Ordering, //
};

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
    Region,
    CLEANED_AT_ONCE, //
};
use crate::{
    glue::{
        cpu::cond_resched,
        mmu_notifier::{
            Caller,
            MmuCallbacks, //
        }, //
    },
    trace::trace, //
};

/// The work that was done on a region for the host.
#[derive(Default)]
struct Done {
    /// The host goes on only after TLBs were invalidated.
    stale: bool,
    /// The number of bytes that were cleaned, which takes time.
    cleaned: u64,
    /// There is more to clean.
    is_left: bool,
}

/// The regions of a step that are done.
#[derive(Default)]
struct Progress {
    /// Their number, in the order of the slots.
    regions: usize,
    /// The number of changes of slots while they were counted.
    generation: u64,
}

/// How much of the process's memory a notifier goes through before it lets go of the lock of the
/// slots, a power of two.
const STEP: usize = MapSize::Block.bytes() as usize;

impl AddressSpace {
    /// Calls `f` for each region that maps some of the memory at `hvas`, with the number of bytes
    /// that it may clean. With `may_sleep`, other tasks get their turns meanwhile.
    ///
    /// Slots may change between two steps, and a slot may then have addresses that this has gone
    /// through already. Nothing is mapped there before the invalidation has ended. If a slot is
    /// moved or deleted, the task that does so unmaps its memory.
    fn for_each_range(
        &self,
        hvas: &Range<usize>,
        may_sleep: bool,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>, u64) -> Done,
    ) {
        // Most changes in a process are not about its guest.
        if self.slots.lock().ipas_of(hvas).next().is_none() {
            return;
        }
        let mut rest = hvas.clone();
        while !rest.is_empty() {
            let end = (rest.start & !(STEP - 1)).saturating_add(STEP);
            let part = rest.start..end.min(rest.end);
            rest.start = part.end;
            let (mut progress, mut is_done) = (Progress::default(), false);
            while !is_done {
                is_done = self.for_each_slot(&part, &mut progress, &mut f);
                if may_sleep {
                    cond_resched();
                }
            }
        }
    }

    /// The same within one step. Says whether the step is done: if not, the caller lets other tasks
    /// have their turns and calls this again.
    fn for_each_slot(
        &self,
        hvas: &Range<usize>,
        progress: &mut Progress,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>, u64) -> Done,
    ) -> bool {
        let (mut stale, mut left, mut is_done) = (false, CLEANED_AT_ONCE, true);
        // Slots are not copied here: the last reference to a log cannot be dropped where nothing
        // may sleep.
        let slots = self.slots.lock();
        // Hundreds of slots can be of the same memory. Those that are done stay so, but another
        // slot can have come in between.
        let generation = self.generation.load(Ordering::Relaxed);
        if progress.generation != generation {
            *progress = Progress {
                regions: 0,
                generation,
            };
        }
        let parts = slots.ipas_of(hvas).flat_map(stage2::regions);
        for part in parts.skip(progress.regions) {
            if left == 0 {
                is_done = false;
                break;
            }
            let done = self.with_region(part.start, |region| f(region, part, left));
            let done = done.unwrap_or_default();
            stale |= done.stale;
            left = left.saturating_sub(done.cleaned);
            if done.is_left {
                is_done = false;
                break;
            }
            progress.regions += 1;
        }
        if stale {
            self.flush_tlb();
        }
        is_done
    }
}

impl MmuCallbacks for Arc<AddressSpace> {
    fn invalidate_start(&self, range: Range<usize>, caller: Caller) {
        trace!(kvm_unmap_hva_range(range.start as u32, range.end as u32));
        self.stats.invalidations.count();
        if caller != Caller::WithIrqsOff {
            self.flush_tlb_if_owed();
        }
        // Nobody reads the memory again that the reaper takes, so it need not be cleaned.
        let clean = caller != Caller::Reaper;
        self.invalidations.start(&range, || {
            let may_sleep = caller == Caller::MaySleep;
            self.for_each_range(&range, may_sleep, |region, ipas, most| {
                let unmapped = self.unmap_as(region, ipas, clean, most);
                Done {
                    stale: false,
                    cleaned: unmapped.cleaned,
                    is_left: !unmapped.is_done,
                }
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
        self.for_each_range(&range, false, |region, ipas, _| {
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
                ..Done::default()
            }
        });
        young
    }

    fn test_young(&self, range: Range<usize>) -> bool {
        trace!(kvm_test_age_hva(range.start as u32));
        let mut young = false;
        self.for_each_range(&range, false, |region, ipas, _| {
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
            self.unmap_slot(&place, |_| ());
        }
    }
}
