// SPDX-License-Identifier: GPL-2.0

//! Faults of the guest: pages that stage 2 did not let through are looked up, cleaned and mapped.

use armv7::{
    addr::{
        Ipa,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    descriptor::{
        MemAttr,
        Stage2Attrs, //
    },
};
use kernel::prelude::*;
pub(crate) use machine::fault::Access;
use machine::{
    fault::{
        self,
        HostPage,
        Plan,
        Terms, //
    },
    invalidations::Protocol,
    slot::Place,
    stage2::MapSize, //
};

use super::{
    address_space::{
        AddressSpace,
        Gap,
        Region,
        UserAddress, //
    },
    slots::Slot,
    table_pages::TableStock, //
};
use crate::{
    glue::{
        cpu::cond_resched,
        user_page::{
            is_huge_mapping,
            Expected,
            HostMapping,
            PageRef,
            MOST_AHEAD, //
        },
    },
    hyp::register::invalidate_icache,
    trace::trace, //
};

/// The things that a vCPU's fault takes over from the fault before it, and leaves for the next.
pub(crate) struct Faults {
    stock: TableStock,
    streak: Option<Streak>,
    /// The addresses in no slot around the last one that was so. A guest that uses a device uses it
    /// again, and its other devices are beside it.
    gap: Option<Gap>,
}

impl Faults {
    /// Before the first one.
    pub(crate) const fn new() -> Self {
        Self {
            stock: TableStock::new(),
            streak: None,
            gap: None,
        }
    }
}

/// Pages that had to be faulted in, one behind the other. A guest that uses new memory page by page
/// comes to the next one, so some pages are faulted in ahead: never more than the guest has used of
/// the streak itself.
struct Streak {
    /// The user address just behind, at which nothing was then.
    next: usize,
    /// How many pages were wanted ahead the last time.
    ahead: usize,
}

/// A mapping takes pages that follow with it up to a multiple of so many.
const WINDOW: u32 = 16;

/// The outcome of a fault.
pub(crate) enum Faulted {
    /// The page is mapped.
    Mapped,
    /// A signal came, or another task has the page in hand. Nothing was mapped: if the guest still
    /// wants the page, it faults again.
    Interrupted,
    /// There is no memory at the address for this kind of access.
    NoMemory,
}

/// The host's answer to a look-up.
enum LookedUp {
    /// It has the page.
    Found(HostMapping),
    /// A signal came, or another task has the page in hand.
    Interrupted,
    /// It has no page, but the slot or the process's memory has changed: the fault begins again.
    Changed,
}

/// Whether the caches hide nothing of the memory that is to be mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cleanness {
    /// It was cleaned just now, or need not be.
    Clean,
    /// It was cleaned when the present mapping was made: it is clean if that mapping is still
    /// there.
    CleanIfMapped,
}

/// The last frame that is mapped along with a frame of a slot.
fn window_end(slot: &Place, gfn: u32) -> u32 {
    (gfn | (WINDOW - 1)).min(slot.gfn + (slot.pages - 1))
}

impl AddressSpace {
    /// Whether an address is where the vCPU has lately found no memory, and where none has come
    /// since.
    #[inline]
    pub(crate) fn is_known_gap(&self, ipa: Ipa, faults: &Faults) -> bool {
        let gap = faults.gap.as_ref();
        gap.is_some_and(|gap| self.is_in(gap, ipa))
    }

    /// Resolves a fault of the guest at `ipa`, in the context of the process that made the VM.
    /// `was_mapped` if something was mapped there, and did not allow the access.
    pub(crate) fn fault(
        &self,
        ipa: Ipa,
        access: Access,
        was_mapped: bool,
        faults: &mut Faults,
    ) -> Result<Faulted> {
        if self.is_known_gap(ipa, faults) {
            return Ok(Faulted::NoMemory);
        }
        faults.stock.fill()?;
        // How often a block is tried: to clean a block takes so long that much can change
        // meanwhile.
        let mut blocks = 2;
        loop {
            let faulted = self.try_fault(ipa, access, was_mapped, &mut blocks, faults)?;
            if let Some(faulted) = faulted {
                return Ok(faulted);
            }
            cond_resched();
            if kernel::current!().signal_pending() {
                return Ok(Faulted::Interrupted);
            }
        }
    }

    /// Tries to resolve it once. `None` if something changed meanwhile.
    fn try_fault(
        &self,
        ipa: Ipa,
        access: Access,
        was_mapped: bool,
        blocks: &mut u32,
        faults: &mut Faults,
    ) -> Result<Option<Faulted>> {
        let ipa = ipa.page_align_down();
        let at = match self.locate(ipa) {
            Ok(at) => at,
            Err(gap) => {
                faults.gap = Some(gap);
                return Ok(Some(Faulted::NoMemory));
            }
        };
        // The old slot is unmapped and cleaned before anything is mapped in its place. So a mapping
        // that is replaced here is always of the same memory.
        if at.is_going {
            return Ok(None);
        }
        let terms = Terms {
            read_only: at.slot.read_only,
            is_logged: at.slot.log.is_some(),
        };
        // The host is not to break copy-on-write for a store that the slot does not allow.
        if !terms.allow(access) {
            return Ok(Some(Faulted::NoMemory));
        }
        let host = match self.look_up(&at, ipa.gfn(), access, faults)? {
            LookedUp::Found(host) => host,
            LookedUp::Interrupted => return Ok(Some(Faulted::Interrupted)),
            LookedUp::Changed => return Ok(None),
        };
        let page = HostPage {
            hva: at.hva,
            pa: host.pa(),
            memory: host.memory(),
            writable: host.is_writable(),
            is_page: host.is_ram(),
            was_resident: host.was_resident(),
        };
        let is_huge = || *blocks != 0 && is_huge_mapping(at.hva);
        let Some(plan) = Plan::new(ipa, access, &at.slot, terms, &page, is_huge) else {
            return Ok(Some(Faulted::NoMemory));
        };
        if plan.size == MapSize::Block {
            *blocks -= 1;
        }
        // This comes before the cleaning, to spare the work, and since cleaning needs it: the host
        // still has the page that was looked up.
        if !self.invalidations.is_current(&plan.hvas(), at.sequence) {
            return Ok(None);
        }
        // SAFETY: The page is referenced by `host`. If the plan is a block, the process's mapping
        // was that of a huge page after the page had been looked up, and nothing was invalidated in
        // between: so the page is a part of that huge page, which the reference keeps whole. RAM
        // that a driver has mapped without a page stays RAM, whoever has it next.
        let cleanness = unsafe { self.clean_for(&plan, was_mapped) };
        if !self.map(&plan, cleanness, &host, &at, &mut faults.stock)? {
            return Ok(None);
        }
        host.mark_used();
        if plan.with_following {
            self.map_following(&at, ipa.gfn(), plan.writable, &mut faults.stock);
        } else if plan.size == MapSize::Page && plan.writable {
            self.map_all(
                &at,
                ipa.gfn() + 1,
                host.following(),
                true,
                &mut faults.stock,
            );
        }
        Ok(Some(Faulted::Mapped))
    }

    /// Looks up the page that the host has at an address, faulting it in if it is missing.
    fn look_up(
        &self,
        at: &UserAddress,
        gfn: u32,
        access: Access,
        faults: &mut Faults,
    ) -> Result<LookedUp> {
        let next = at.hva + PAGE_SIZE as usize;
        let streak = faults.streak.take().filter(|streak| streak.next == at.hva);
        let is_write = access == Access::Write;
        let (expected, ahead) = match streak {
            None => (Expected::Anything, 0),
            // A log reports the pages that the guest has written to, and no others.
            Some(_) if !is_write || at.slot.log.is_some() => (Expected::Missing(0), 0),
            Some(streak) => {
                let ahead = (2 * streak.ahead + 1).min(MOST_AHEAD);
                let most = window_end(&at.slot, gfn) - gfn;
                (Expected::Missing(ahead.min(most as usize)), ahead)
            }
        };
        match HostMapping::get(at.hva, is_write, expected) {
            Ok(host) => {
                faults.streak = host.next_missing().map(|pages| Streak {
                    next: at.hva + pages * PAGE_SIZE as usize,
                    ahead,
                });
                Ok(LookedUp::Found(host))
            }
            Err(e) if e == EINTR || e == EAGAIN => Ok(LookedUp::Interrupted),
            // The slot may be gone, and with it the memory that was there.
            Err(_) if !self.invalidations.is_current(&(at.hva..next), at.sequence) => {
                Ok(LookedUp::Changed)
            }
            Err(e) => Err(e),
        }
    }

    /// Cleans the memory that is to be mapped, unless the guest has it already and does not execute
    /// it.
    ///
    /// The guest chooses its memory types: with its caches on, too, it can map a page as
    /// Non-cacheable, and would see the data from before the host wrote to the page.
    ///
    /// # Safety
    ///
    /// If the memory of the plan is Normal, Write-Back, it is RAM that stays in use during the
    /// call.
    unsafe fn clean_for(&self, plan: &Plan, was_mapped: bool) -> Cleanness {
        let is_ram = plan.memory == MemAttr::NormalWb;
        let maps = |region: &mut Region<'_>| {
            let old = region.lookup(plan.ipa);
            old.is_some_and(|old| plan.is_mapped_by(old))
        };
        let must_clean =
            plan.execute || !was_mapped || self.with_region(plan.ipa, maps) != Some(true);
        if must_clean && is_ram {
            // SAFETY: By the function's requirement, the plan's range is RAM that stays in use.
            unsafe { self.flush_ram_to_poc(plan.pa, plan.size.bytes()) };
        }
        if plan.execute {
            self.stats.icache_invalidations.count();
            invalidate_icache();
        }
        if must_clean || !is_ram {
            Cleanness::Clean
        } else {
            Cleanness::CleanIfMapped
        }
    }

    /// Makes a mapping unless an invalidation came in between; says whether the mapping was made.
    fn map(
        &self,
        plan: &Plan,
        cleanness: Cleanness,
        host: &HostMapping,
        at: &UserAddress,
        stock: &mut TableStock,
    ) -> Result<bool> {
        let mapped = self.with_region(plan.ipa, |region| {
            let make = |region: &mut Region<'_>| {
                self.map_current(region, plan, cleanness, host, at, stock)
            };
            let hvas = plan.hvas();
            let made = self
                .invalidations
                .if_current(region, &hvas, at.sequence, make);
            made.unwrap_or(Ok(false))
        });
        mapped.unwrap_or(Err(EFAULT))
    }

    /// The same, with the region's lock held and no invalidation since the look-up.
    #[inline]
    fn map_current(
        &self,
        region: &mut Region<'_>,
        plan: &Plan,
        cleanness: Cleanness,
        host: &HostMapping,
        at: &UserAddress,
        stock: &mut TableStock,
    ) -> Result<bool> {
        // With the region's lock, and without an invalidation, the host's mapping stays as it
        // is.
        if plan.size == MapSize::Block && !is_huge_mapping(plan.hva) {
            return Ok(false);
        }
        let old = region.lookup(plan.ipa);
        // The old mapping went, and the process may have written to the page since then: the
        // page has to be cleaned after all.
        if cleanness == Cleanness::CleanIfMapped && !old.is_some_and(|old| plan.is_mapped_by(old)) {
            return Ok(false);
        }
        let attrs = plan.attrs(old);
        self.map_in(region, plan.ipa, plan.pa, plan.size, attrs, stock)?;
        if plan.writable {
            if let Some(log) = &at.slot.log {
                log.mark(plan.ipa.gfn() - at.slot.gfn);
            }
            // The lock is still held, so no invalidation can come before this.
            host.mark_dirty();
        }
        Ok(true)
    }

    /// A page was just mapped. This maps the pages behind it that the host has already, up to a
    /// multiple of 64 KiB: a guest that uses one page often goes on to the next.
    ///
    /// They count as used, once; the host's own fault-around does the same where, as here, the
    /// hardware does not manage the access flag. They count as dirty if the guest may write to
    /// them, since it can write there without another fault.
    fn map_following(&self, at: &UserAddress, gfn: u32, writable: bool, stock: &mut TableStock) {
        const MOST: usize = WINDOW as usize - 1;
        let slot: &Slot = &at.slot;
        let first = gfn + 1;
        let end = window_end(slot, gfn);
        if first > end {
            return;
        }
        let ipa = Ipa::from_gfn(first);
        // A page that is mapped already stays, and was cleaned when it was mapped. The window is
        // aligned, and so in one region.
        let mapped = self.with_region(ipa, |region| region.mapped(ipa, end - gfn));
        // If the next page is mapped, so are those behind it, most likely.
        let Some(mapped) = mapped.filter(|mapped| mapped & 1 == 0) else {
            return;
        };
        let hva = slot.hva_of(first);
        let mut pages: [_; MOST] = PageRef::get_resident(hva, (end - gfn) as usize, writable);
        // Those that are mapped already go.
        for (n, page) in pages.iter_mut().enumerate() {
            if mapped >> n & 1 != 0 {
                *page = None;
            }
        }
        self.map_all(at, first, &pages, writable, stock);
    }

    /// Maps pages of the host from a frame of the guest on, all in one region.
    fn map_all(
        &self,
        at: &UserAddress,
        first: u32,
        pages: &[Option<PageRef>],
        writable: bool,
        stock: &mut TableStock,
    ) {
        let hva = at.slot.hva_of(first);
        let pages = || {
            let pages = (first..).zip(pages);
            pages.filter_map(|(gfn, page)| Some((gfn, page.as_ref()?)))
        };
        if pages().next().is_none() {
            return;
        }
        let attrs = Stage2Attrs {
            memory: MemAttr::NormalWb,
            access: fault::access(writable),
            execute_never: true,
        };
        let hvas = hva..hva + ((WINDOW as usize - 1) << PAGE_SHIFT);
        for (_, page) in pages() {
            // SAFETY: `page` holds a reference, so its RAM stays in use.
            unsafe { self.flush_ram_to_poc(page.pa(), MapSize::Page.bytes()) };
        }
        let map = |region: &mut Region<'_>| {
            for (gfn, page) in pages() {
                let ipa = Ipa::from_gfn(gfn);
                // Another vCPU's fault may have been faster.
                if region.lookup(ipa).is_some() {
                    continue;
                }
                let mapped = self.map_in(region, ipa, page.pa(), MapSize::Page, attrs, stock);
                // If there is no table for this one, there is none for the next.
                if mapped.is_err() {
                    break;
                }
                if writable {
                    page.mark_dirty();
                }
            }
        };
        self.with_region(Ipa::from_gfn(first), |region| {
            self.invalidations
                .if_current(region, &hvas, at.sequence, map);
        });
    }

    /// Resolves an access flag fault: the page is there, and the host wants to know of its use.
    ///
    /// TLBs hold no entry without the flag (B3.6.7), so there is nothing to invalidate. Says
    /// whether the page is still there.
    pub(crate) fn access_flag_fault(&self, ipa: Ipa) -> bool {
        let page = ipa.page_align_down();
        let mut found = false;
        self.with_region(page, |region| {
            let _ = region.update(page..Ipa(page.0 + PAGE_SIZE), |_, desc| {
                found = true;
                if !desc.accessed() {
                    self.stats.access_flag_faults.count();
                    trace!(kvm_access_fault(ipa.0));
                }
                Some(desc.with_accessed(true))
            });
        });
        found
    }
}
