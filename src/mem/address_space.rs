// SPDX-License-Identifier: GPL-2.0

//! A VM's guest-physical address space: its slots and the stage-2 table that
//! copies the host's mappings of them.

use core::{
    ops::{
        Deref,
        Range, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};

use armv7::{
    addr::{
        Ipa,
        Pa,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    descriptor::{
        MemAttr,
        Stage2Access,
        Stage2Attrs, //
    },
    regs::Vttbr, //
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
};
use kvm_bindings as uapi;
use machine::{
    invalidations::Protocol,
    slot::{
        Found,
        Place, //
    },
    stage2::{
        self,
        MapError,
        MapSize,
        Root,
        Stage2,
        Stripe,
        TableMemory,
        Unmapped,
        STRIPES, //
    },
};

use super::{
    invalidations::Invalidations,
    slots::{
        After,
        Request,
        Room,
        Slot,
        SlotChange,
        Slots, //
    },
    stats::MemoryStats,
    table_pages::{
        TablePages,
        TableStock, //
    },
    vmid::VmidCell, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            irqs_disabled, //
        },
        task::is_killed,
        user_page::is_huge_mapping, //
    },
    hyp::{
        takeover::Lowvisor,
        tlb::LastRan, //
    },
    trace::trace, //
};

/// One region of the table, by the right to its stripe.
pub(super) type Region<'a> = stage2::Region<'a, TablePages>;

/// How much memory is cleaned with one hold of a lock: 4,096 lines of a Cortex-A15, some 50,000
/// cycles.
pub(super) const CLEANED_AT_ONCE: u64 = 256 << 10;

/// The address space.
#[pin_data(PinnedDrop)]
pub(crate) struct AddressSpace {
    pub(crate) vmid: VmidCell,
    pub(crate) last_ran: LastRan,
    pub(crate) stats: MemoryStats,
    lowvisor: Arc<Lowvisor>,
    root: Pa,
    /// Serialises changes of slots.
    #[pin]
    pub(super) changes: Mutex<()>,
    #[pin]
    pub(super) slots: SpinLock<Slots>,
    /// The number of changes of slots so far, written with the lock of `slots` held. It has 64
    /// bits, as a vCPU may remember one for ever ([`Gap`]).
    pub(super) generation: AtomicU64,
    #[pin]
    pub(super) invalidations: Invalidations,
    /// Options of `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`.
    pub(super) manual_protect: AtomicU32,
    /// Some flush has been owed at some time, which is rare. It is set with the lock of the region
    /// held that was unmapped. The counts tell the same, but to read 64 bits takes an exclusive
    /// access, and each change of a slot asks.
    has_owed_flush: AtomicBool,
    /// How often memory was unmapped and TLBs could still have entries for it.
    owed_flushes: AtomicU64,
    /// How many of these the TLBs were invalidated for since.
    paid_flushes: AtomicU64,
    stage2: Stage2<TablePages>,
    #[pin]
    root_right: Mutex<Root>,
    /// A fault holds the stripe of its region, and waits for no other.
    #[pin]
    stripes: [SpinLock<Stripe>; STRIPES],
}

/// Frames of the guest that are in no slot.
///
/// # Invariants
///
/// No slot had any of `frames` while the number of changes of slots was `generation`.
pub(super) struct Gap {
    frames: Range<u32>,
    generation: u64,
}

/// Where an address of the guest is in the process.
pub(super) struct UserAddress {
    pub(super) slot: Slot,
    pub(super) hva: usize,
    /// The number of changes ([`Protocol::look`]) from before the slot was looked up.
    pub(super) sequence: u64,
    /// A slot that is being unmapped has some of the address's region.
    pub(super) is_going: bool,
}

impl AddressSpace {
    /// An address space without memory.
    pub(crate) fn new(lowvisor: &Arc<Lowvisor>) -> Result<Arc<Self>> {
        let (stage2, root_right, stripes) = Stage2::new(TablePages::new()?);
        let root = stage2.memory().root();
        let mut stripes = stripes.into_iter();
        Arc::pin_init(
            try_pin_init!(Self {
                vmid: VmidCell::default(),
                last_ran: LastRan::new(),
                stats: MemoryStats::default(),
                lowvisor: lowvisor.clone(),
                root,
                changes <- new_mutex!((), "kvm_arm_slot_changes"),
                slots <- new_spinlock!(Slots::new(), "kvm_arm_slots"),
                generation: AtomicU64::new(0),
                invalidations <- Invalidations::new(),
                manual_protect: AtomicU32::new(0),
                has_owed_flush: AtomicBool::new(false),
                owed_flushes: AtomicU64::new(0),
                paid_flushes: AtomicU64::new(0),
                stage2,
                root_right <- new_mutex!(root_right, "kvm_arm_stage2_root"),
                stripes <- pin_init::pin_init_array_from_fn(move |_| {
                    new_spinlock!(stripes.next().unwrap_or_default(), "kvm_arm_stage2")
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The value for VTTBR, with the VMID that the VM has now.
    #[inline]
    pub(crate) fn vttbr(&self) -> u64 {
        Vttbr::new(self.vmid.number(), self.root).0
    }

    /// The slots as they are now, and stay until the result is dropped.
    pub(crate) fn slots(&self) -> impl Deref<Target = Slots> + '_ {
        self.slots.lock()
    }

    /// The places of all slots, in the guest's order. A slot that is added, moved or deleted
    /// meanwhile may be among them or not.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            let place = self.slots.lock().table.next_from(next?)?.place;
            next = u32::try_from(place.end()).ok();
            Some(place)
        })
    }

    /// Carries out `KVM_SET_USER_MEMORY_REGION`.
    pub(crate) fn set_region(&self, region: &uapi::kvm_userspace_memory_region) -> Result {
        let request = Request::new(region)?;
        let _changes = self.changes.lock();
        let all_dirty =
            self.manual_protect.load(Ordering::Relaxed) & uapi::KVM_DIRTY_LOG_INITIALLY_SET != 0;
        let (old, is_taken, more_room) = {
            let slots = self.slots.lock();
            let old = slots.table.with_id(request.id).cloned();
            let is_taken = slots
                .table
                .has_any(request.start, request.end, Some(request.id));
            (old, is_taken, slots.table.room_for(request.id))
        };
        let (slot, after) = match request.change(old.as_ref(), is_taken, all_dirty)? {
            SlotChange::None => return Ok(()),
            SlotChange::New { slot, after } => (slot, after),
        };
        let mut room = None;
        if let Some(slot) = &slot {
            // The other slots have their tables, which stay for as long as the VM does.
            self.prepare(slot.ipas())?;
            // Room that is not needed after all is for later slots.
            room = more_room.map(Room::new).transpose()?;
        }
        // Nothing is allocated or freed with the lock held: the caller drops what comes back.
        let (_old, _room, _rejected) = self.invalidations.change_slots(|| {
            let slots = &mut *self.slots.lock();
            let room = room.map(|room| slots.table.move_to(room));
            let old = slots.table.remove(request.id);
            if matches!(after, After::Unmap(_)) {
                slots.going = old.clone();
            }
            // The slot fits: it was checked above, and only holders of `changes` change slots.
            let rejected = slot.and_then(|slot| slots.table.add(slot).err());
            let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
            self.generation.store(generation, Ordering::Relaxed);
            (old, room, rejected)
        });
        match after {
            After::Nothing => (),
            After::Unmap(gone) => {
                self.unmap_slot(&gone, |region| region.prune(|| self.flush_tlb()));
                self.flush_tlb_if_owed();
                let gone = self.slots.lock().going.take();
                // Not under the lock: the slot may have the last reference to its log.
                drop(gone);
            }
            After::Protect(slot) => {
                self.in_pieces(slot.ipas(), |region, range| {
                    if region.write_protect(range).flush {
                        self.flush_tlb();
                    }
                });
                self.flush_tlb_if_owed();
                // The monitor copies all pages now.
                self.in_parts(slot.ipas(), CLEANED_AT_ONCE, |region, range| {
                    self.clean_written(region, range);
                });
            }
            After::Rebuild(slot) => self.rebuild_blocks(&slot),
        }
        Ok(())
    }

    /// Makes sure that something can be mapped in `range`. May sleep.
    fn prepare(&self, range: Range<Ipa>) -> Result {
        self.stage2
            .prepare(&mut self.root_right.lock(), range, TableStock::allocate)
    }

    /// Does something with the region that an address is in, if anything can be mapped there.
    #[inline]
    pub(super) fn with_region<R>(
        &self,
        ipa: Ipa,
        f: impl FnOnce(&mut Region<'_>) -> R,
    ) -> Option<R> {
        let mut stripe = self.stripes.get(stage2::stripe_of(ipa))?.lock();
        Some(f(&mut self.stage2.region(&mut stripe, ipa)?))
    }

    /// Does something with each region in `range`, one after the other. May sleep in between.
    pub(super) fn in_pieces(&self, range: Range<Ipa>, f: impl FnMut(&mut Region<'_>, Range<Ipa>)) {
        self.in_parts(range, MapSize::Block.bytes(), f);
    }

    /// The same with each part of a region that boundaries of `size` divide it into.
    fn in_parts(
        &self,
        range: Range<Ipa>,
        size: u64,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>),
    ) {
        for part in stage2::parts(range, size) {
            self.with_region(part.start, |region| f(region, part));
            cond_resched();
        }
    }

    /// Where in the process an address of the guest is, if it is in a slot.
    pub(super) fn user_address(&self, ipa: Ipa) -> Option<UserAddress> {
        self.locate(ipa).ok()
    }

    /// The same. If the address is in no slot, the result is the gap that it is in.
    pub(super) fn locate(&self, ipa: Ipa) -> Result<UserAddress, Gap> {
        let (sequence, found) = self.invalidations.look(|| self.look_up_slot(ipa));
        let (slot, is_going) = found?;
        let hva = slot.hva_of(ipa.gfn()) + ipa.page_offset() as usize;
        Ok(UserAddress {
            slot,
            hva,
            sequence,
            is_going,
        })
    }

    /// The slot of an address, and whether a slot that is being unmapped has some of its region.
    #[inline]
    fn look_up_slot(&self, ipa: Ipa) -> Result<(Slot, bool), Gap> {
        let region = ipa.0 & !(MapSize::Block.bytes() - 1);
        let slots = self.slots.lock();
        let slot = match slots.table.look_up(ipa.gfn()) {
            Found::Slot(slot) => slot.clone(),
            Found::Nothing(frames) => {
                // INVARIANT: With the lock held, the number belongs to the slots.
                let generation = self.generation.load(Ordering::Relaxed);
                return Err(Gap { frames, generation });
            }
        };
        let is_going = slots.going.as_ref().is_some_and(|going| {
            let gone = going.ipas();
            gone.start.0 < region + MapSize::Block.bytes() && region < gone.end.0
        });
        Ok((slot, is_going))
    }

    /// Whether an address is known to be in no slot, without a look at them.
    ///
    /// No slot had it at one moment during the call, so that is a right answer, as is the one of a
    /// look-up that comes just before a new slot.
    #[inline]
    pub(super) fn is_in(&self, gap: &Gap, ipa: Ipa) -> bool {
        gap.frames.contains(&ipa.gfn()) && gap.generation == self.generation.load(Ordering::Relaxed)
    }

    /// Cleans and invalidates RAM, a page or a block, to the point of coherency.
    ///
    /// # Safety
    ///
    /// That of [`Lowvisor::flush_ram_to_poc`].
    pub(super) unsafe fn flush_ram_to_poc(&self, pa: Pa, size: u64) {
        self.stats.cleaned.add(size >> PAGE_SHIFT);
        // SAFETY: By the function's requirement, the range is RAM that stays in use.
        unsafe { self.lowvisor.flush_ram_to_poc(pa, size) };
    }

    /// Takes all memory away from the guest, for it to be faulted in anew.
    pub(crate) fn refault(&self) {
        for place in self.places() {
            // Empty slots of any size cost time, too.
            if is_killed() {
                return;
            }
            self.in_pieces(place.ipas(), |region, range| self.unmap(region, range));
        }
        // A fault that has cleaned its page before this, and not mapped it yet, begins again.
        self.invalidations.change_slots(|| ());
    }

    /// Unmaps memory that is mapped by pages and could be mapped by blocks: the guest's next use
    /// maps it so.
    fn rebuild_blocks(&self, slot: &Place) {
        self.in_pieces(slot.ipas(), |region, range| {
            let start = range.start.0 & !(MapSize::Block.bytes() - 1);
            let gfn = Ipa(start).gfn();
            let block = Ipa(start)..Ipa(start + MapSize::Block.bytes());
            let is_block = region
                .lookup(block.start)
                .is_some_and(|desc| desc.is_block());
            if slot.can_be_block(gfn) && !is_block && is_huge_mapping(slot.hva_of(gfn)) {
                self.unmap(region, block);
            }
        });
    }

    /// Takes all mappings of a slot away in which nothing can be mapped meanwhile. `last` sees each
    /// region at the end of that.
    pub(super) fn unmap_slot(&self, slot: &Place, mut last: impl FnMut(&mut Region<'_>)) {
        for part in stage2::regions(slot.ipas()) {
            let mut step = |region: &mut Region<'_>| {
                let unmapped = self.unmap_as(region, part.clone(), true, CLEANED_AT_ONCE);
                if unmapped.is_done {
                    last(region);
                }
                unmapped.is_done
            };
            let mut is_done = false;
            while !is_done {
                is_done = self.with_region(part.start, &mut step).unwrap_or(true);
                cond_resched();
            }
        }
    }

    /// Takes mappings of a region away at once, from TLBs, too, and leaves the guest's data in
    /// memory for the host.
    fn unmap(&self, region: &mut Region<'_>, range: Range<Ipa>) {
        let _ = self.unmap_as(region, range, true, u64::MAX);
    }

    /// The same, of which one call cleans no more than `most` bytes ([`Region::unmap`]). Unless
    /// `clean`, nobody is to read the guest's data there.
    pub(super) fn unmap_as(
        &self,
        region: &mut Region<'_>,
        range: Range<Ipa>,
        clean: bool,
        most: u64,
    ) -> Unmapped {
        trace!(kvm_unmap(range.start.0, range.end.0));
        region.unmap(
            range,
            || self.flush_tlb(),
            clean.then_some(|pa, size| {
                // SAFETY: Memory that was mapped so is RAM. It stays RAM while the lock keeps
                // notifiers out, and until the unmapping is done, since those wait for its end.
                unsafe { self.flush_ram_to_poc(pa, size) };
            }),
            most,
        )
    }

    /// Cleans the pages in `range` that the guest may have written to, for the monitor to read. No
    /// TLB may hold an old entry of a page that the guest may not write to any more.
    ///
    /// The guest may have written past the caches, as when it loses the page ([`Region::unmap`]).
    pub(super) fn clean_written(&self, region: &mut Region<'_>, range: Range<Ipa>) {
        let _ = region.update(range, |size, desc| {
            if !desc.was_writable() || desc.memory() != Some(MemAttr::NormalWb) {
                return None;
            }
            // SAFETY: Memory of this type is RAM, and stays in use while the lock keeps notifiers
            // out.
            unsafe { self.flush_ram_to_poc(desc.address(), size) };
            (!desc.writable()).then(|| desc.cleaned())
        });
    }

    /// Invalidates the VM's entries in the TLBs of all CPUs.
    ///
    /// With interrupts off, other CPUs that would have to be interrupted are left out. That is owed
    /// until the host's next change of the process's memory ([`Caller::WithIrqsOff`]): up to then
    /// the process keeps the pages. Until a slot goes or a log is read, too: both find the memory
    /// unmapped already, and promise the monitor that the guest is done with it.
    ///
    /// [`Caller::WithIrqsOff`]: crate::glue::mmu_notifier::Caller::WithIrqsOff
    pub(super) fn flush_tlb(&self) {
        self.stats.tlb_flushes.count();
        if irqs_disabled() {
            let is_complete =
                (self.lowvisor).flush_tlb_vmid_from_here(self.vttbr(), &self.last_ran);
            if !is_complete {
                self.owed_flushes.fetch_add(1, Ordering::Release);
                self.has_owed_flush.store(true, Ordering::Release);
            }
            return;
        }
        let interrupted = self.lowvisor.flush_tlb_vmid(self.vttbr(), &self.last_ran);
        if interrupted != 0 {
            self.stats.tlb_flush_interrupts.add(interrupted.into());
        }
    }

    /// Invalidates the VM's entries in the TLBs of all CPUs if that could not be done in full when
    /// memory was unmapped. Interrupts must be on.
    pub(super) fn flush_tlb_if_owed(&self) {
        // Relaxed, since locks order this: that of the region, which the caller has had since, or
        // that of the process's page table, between two of the host's changes.
        if !self.has_owed_flush.load(Ordering::Relaxed) {
            return;
        }
        let owed = self.owed_flushes.load(Ordering::Acquire);
        if owed != self.paid_flushes.load(Ordering::Acquire) {
            self.flush_tlb();
            // Another task that has seen fewer of them may write after this, and is paid twice.
            self.paid_flushes.store(owed, Ordering::Release);
        }
    }

    /// Makes or changes an entry of a region.
    pub(super) fn map_in(
        &self,
        region: &mut Region<'_>,
        ipa: Ipa,
        pa: Pa,
        size: MapSize,
        attrs: Stage2Attrs,
        stock: &mut TableStock,
    ) -> Result {
        region
            .map(ipa, pa, size, attrs, || stock.take(), || self.flush_tlb())
            .map_err(|e| match e {
                MapError::NoTables => ENOMEM,
                MapError::OutOfRange => EFAULT,
            })?;
        trace!(kvm_map(
            ipa.0,
            pa.0,
            size.bytes() as u32,
            attrs.access == Stage2Access::ReadWrite,
            !attrs.execute_never
        ));
        match size {
            MapSize::Page => self.stats.pages.count(),
            MapSize::Block => self.stats.blocks.count(),
        }
        Ok(())
    }

    /// Maps registers of a physical device into the guest.
    pub(crate) fn map_device(&self, ipa: Ipa, pa: Pa, size: u64) -> Result {
        let mut stock = TableStock::new();
        let attrs = Stage2Attrs {
            memory: MemAttr::Device,
            access: Stage2Access::ReadWrite,
            execute_never: true,
        };
        self.prepare(ipa..Ipa(ipa.0 + size))?;
        (0..size)
            .step_by(PAGE_SIZE as usize)
            .try_for_each(|offset| {
                stock.fill()?;
                let (ipa, pa) = (Ipa(ipa.0 + offset), Pa(pa.0 + offset));
                self.with_region(ipa, |region| {
                    self.map_in(region, ipa, pa, MapSize::Page, attrs, &mut stock)
                })
                .unwrap_or(Err(EFAULT))
            })
    }

    /// Writes all memory that the guest can have touched back to the point of coherency.
    ///
    /// For a guest that turns its caches on or off, or asks for maintenance by set and way, which
    /// means nothing on the CPU that it happens to run on.
    pub(crate) fn flush_to_poc(&self) {
        for place in self.places() {
            for part in stage2::regions(place.ipas()) {
                // Many slots can be of the same memory: their sum may be more than the host has.
                if is_killed() {
                    return;
                }
                for piece in stage2::parts(part, CLEANED_AT_ONCE) {
                    let is_mapped = self.with_region(piece.start, |region| {
                        region.ram(piece, |pa, size| {
                            // SAFETY: Memory that is mapped so is RAM, and stays RAM while the lock
                            // keeps notifiers out.
                            unsafe { self.flush_ram_to_poc(pa, size) };
                        })
                    });
                    cond_resched();
                    if is_mapped != Some(true) {
                        break;
                    }
                }
            }
        }
    }
}

#[pinned_drop]
impl PinnedDrop for AddressSpace {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        this.stage2.clear(&mut this.root_right.lock(), cond_resched);
        // TLBs may hold entries of this VMID still: it is given out again only after a roll-over,
        // which flushes them.
    }
}
