// SPDX-License-Identifier: GPL-2.0

//! A VM's guest-physical address space: its slots and the stage-2 table that
//! copies the host's mappings of them.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU32,
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
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use kvm_bindings as uapi;
use machine::{
    history::{
        History,
        UnderWay, //
    },
    stage2::{
        self,
        MapError,
        MapSize,
        Root,
        Stage2,
        Stripe,
        TableMemory,
        STRIPES, //
    }, //
};

use super::{
    dirty_log::{
        DirtyLog,
        WORD_PAGES, //
    },
    slots::{
        After,
        Change,
        Slot,
        SlotSet,
        MAX_SLOTS, //
    },
    stats::MemoryStats,
    table_pages::{
        TablePages,
        TableStock, //
    },
    vmid::Vmid, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            on_each_cpu,
            IrqsOff, //
        },
        mmu_notifier::MmuCallbacks,
        task::is_killed,
        user_page::{
            is_huge_mapping,
            make_writable,
            write_resident,
            HostMapping,
            PageRef, //
        },
    },
    hyp::{
        register::invalidate_icache,
        takeover::Lowvisor, //
    },
    trace::trace, //
};

/// One region of the table, by the right to its stripe.
type Region<'a> = stage2::Region<'a, TablePages>;

/// What `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` can be enabled with.
pub(crate) const MANUAL_PROTECT_OPTIONS: u32 =
    uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | uapi::KVM_DIRTY_LOG_INITIALLY_SET;

/// The address space.
#[pin_data(PinnedDrop)]
pub(crate) struct AddressSpace {
    pub(crate) vmid: Vmid,
    pub(crate) stats: MemoryStats,
    lowvisor: Arc<Lowvisor>,
    root: Pa,
    /// Serialises changes of slots.
    #[pin]
    changes: Mutex<()>,
    #[pin]
    slots: SpinLock<Slots>,
    /// Counts changes of what user or guest addresses mean: invalidations by the host of what is in
    /// a slot, and changes of slots. The count of the history in `invalidated`, under whose lock it
    /// is changed.
    sequence: AtomicU32,
    /// Invalidations between their start and their end. Changed under `invalidated`.
    invalidating: AtomicU32,
    #[pin]
    invalidated: SpinLock<Invalidated>,
    /// Options of `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`.
    manual_protect: AtomicU32,
    stage2: Stage2<TablePages>,
    #[pin]
    root_right: Mutex<Root>,
    /// A fault holds that of its region, and waits for no other.
    #[pin]
    stripes: [SpinLock<Stripe>; STRIPES],
}

/// What the host has changed of the process's memory, or is about to.
struct Invalidated {
    /// What invalidations under way are about.
    under_way: UnderWay,
    /// Those that have ended, and changes of slots.
    history: History,
}

/// The slots at one moment.
struct Slots {
    /// What the guest has.
    set: Arc<SlotSet>,
    /// What it had before, while that is being unmapped. The host's changes of this memory have to
    /// reach the guest still; faults do not see it any more.
    going: Option<Slot>,
}

impl Slots {
    /// The guest-physical addresses at which what is at some user addresses can be mapped.
    fn ipas_of<'a>(&'a self, hvas: &'a Range<usize>) -> impl Iterator<Item = Range<Ipa>> + 'a {
        let going = self.going.iter();
        let going = going.filter_map(|slot| slot.ipas_of(hvas));
        Iterator::chain(self.set.ipas_of(hvas), going)
    }
}

/// An access of the guest that stage 2 did not let through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

/// A mapping to be made.
struct Wanted {
    ipa: Ipa,
    pa: Pa,
    size: MapSize,
    /// The user address of the page that faulted.
    hva: usize,
    execute: bool,
    writable: bool,
    memory: MemAttr,
    /// It was cleaned just now, or need not be. Else it need not be as long as it is mapped already.
    is_clean: bool,
    /// The log of the slot, and the page's number there.
    log: Option<(Arc<DirtyLog>, u32)>,
}

impl Wanted {
    /// Whether the guest can reach it already, and just not write to it, say. Then it was cleaned
    /// when that was mapped.
    fn is_mapped(&self, region: &Region<'_>) -> bool {
        region.lookup(self.ipa).is_some_and(|old| {
            let size = if old.is_block() {
                MapSize::Block
            } else {
                MapSize::Page
            };
            size.bytes() >= self.size.bytes() && old.address().0 == self.pa.0 & !(size.bytes() - 1)
        })
    }

    /// All user addresses that it is about.
    fn hvas(&self) -> Range<usize> {
        let size = self.size.bytes() as usize;
        let start = self.hva & !(size - 1);
        start..start + size
    }
}

/// What a vCPU's fault finds of those before it, and leaves for the next.
pub(crate) struct Faults {
    stock: TableStock,
    /// A user address, just behind a page that had to be faulted in, at which nothing was then. A
    /// guest that uses new memory page by page comes there next.
    missing: Option<usize>,
}

impl Faults {
    /// Before the first one.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            stock: TableStock::new()?,
            missing: None,
        })
    }
}

/// What became of a fault.
pub(crate) enum Faulted {
    /// The guest can go on.
    Mapped,
    /// There is no memory at the address for this kind of access.
    NoMemory,
}

/// What an address of the guest is in the process.
struct UserAddress {
    slot: Slot,
    hva: usize,
    /// The sequence count from before it was looked up.
    sequence: u32,
    /// Some of the region that it is in is of a slot that is being unmapped.
    is_going: bool,
}

/// Before something is tried again that the host's or the monitor's changes came in between: others
/// get their turns. Fails if that is no use.
fn pause() -> Result {
    cond_resched();
    if is_killed() {
        return Err(EINTR);
    }
    Ok(())
}

impl AddressSpace {
    /// An address space without memory.
    pub(crate) fn new(lowvisor: &Arc<Lowvisor>) -> Result<Arc<Self>> {
        let (stage2, root_right, stripes) = Stage2::new(TablePages::new()?);
        let root = stage2.memory().root();
        let mut stripes = stripes.into_iter();
        Arc::pin_init(
            try_pin_init!(Self {
                vmid: Vmid::new(),
                stats: MemoryStats::default(),
                lowvisor: lowvisor.clone(),
                root,
                changes <- new_mutex!((), "kvm_arm_slot_changes"),
                slots <- new_spinlock!(
                    Slots {
                        set: SlotSet::empty()?,
                        going: None,
                    },
                    "kvm_arm_slots"
                ),
                sequence: AtomicU32::new(0),
                manual_protect: AtomicU32::new(0),
                invalidating: AtomicU32::new(0),
                invalidated <- new_spinlock!(
                    Invalidated {
                        under_way: UnderWay::new(),
                        history: History::new(),
                    },
                    "kvm_arm_invalidated"
                ),
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

    /// The slots as they are now.
    pub(crate) fn slots(&self) -> Arc<SlotSet> {
        self.slots.lock().set.clone()
    }

    /// Carries out `KVM_SET_USER_MEMORY_REGION`.
    pub(crate) fn set_region(&self, region: &uapi::kvm_userspace_memory_region) -> Result {
        let _changes = self.changes.lock();
        let old = self.slots();
        let all_dirty =
            self.manual_protect.load(Ordering::Relaxed) & uapi::KVM_DIRTY_LOG_INITIALLY_SET != 0;
        match old.change(region, all_dirty)? {
            Change::None => Ok(()),
            Change::New { set, after } => {
                let set = Arc::new(set, GFP_KERNEL_ACCOUNT)?;
                // The others' tables are there for as long as the VM is.
                if let Some(new) = set.with_id(region.slot) {
                    self.prepare(new.ipas())?;
                }
                let going = match &after {
                    After::Unmap(gone) => Some(gone.clone()),
                    _ => None,
                };
                let old = {
                    let mut slots = self.slots.lock();
                    slots.going = going;
                    core::mem::replace(&mut slots.set, set)
                };
                // From here on faults see the new slots. One that looked at the old ones finds
                // the sequence changed when it comes to map its page.
                self.note_change(&mut self.invalidated.lock(), &(0..usize::MAX));
                match after {
                    After::Nothing => (),
                    After::Unmap(gone) => {
                        self.in_pieces(gone.ipas(), |region, range| {
                            self.unmap(region, range);
                            region.prune(|| self.flush_tlb());
                        });
                        let gone = self.slots.lock().going.take();
                        // Not under the lock: it may have the last reference to its log.
                        drop(gone);
                    }
                    After::Protect(slot) => {
                        self.in_pieces(slot.ipas(), |region, range| {
                            if region.write_protect(range).flush {
                                self.flush_tlb();
                            }
                        });
                    }
                    After::Rebuild(slot) => self.rebuild_blocks(&slot),
                }
                drop(old);
                Ok(())
            }
        }
    }

    /// Makes sure that something can be mapped in `range`. May sleep.
    fn prepare(&self, range: Range<Ipa>) -> Result {
        self.stage2
            .prepare(&mut self.root_right.lock(), range, TableStock::allocate)
    }

    /// Does something with the region that an address is in, if anything can be mapped there.
    #[inline]
    fn with_region<R>(&self, ipa: Ipa, f: impl FnOnce(&mut Region<'_>) -> R) -> Option<R> {
        let mut stripe = self.stripes.get(stage2::stripe_of(ipa))?.lock();
        Some(f(&mut self.stage2.region(&mut stripe, ipa)?))
    }

    /// Does something with each region in `range`, one after the other. May sleep in between.
    fn in_pieces(&self, range: Range<Ipa>, mut f: impl FnMut(&mut Region<'_>, Range<Ipa>)) {
        for part in stage2::regions(range) {
            self.with_region(part.start, |region| f(region, part));
            cond_resched();
        }
    }

    /// Reads memory of the guest, within a page. False if there is none. Unless the guest's caches
    /// are on, this is what it has written past those of the host.
    pub(crate) fn read(&self, ipa: Ipa, data: &mut [u8], caches_on: bool) -> Result<bool> {
        loop {
            let Some(UserAddress { hva, sequence, .. }) = self.user_address(ipa) else {
                return Ok(false);
            };
            if !caches_on {
                self.flush_user_page(hva, false);
            }
            let read = UserSlice::new(UserPtr::from_addr(hva), data.len())
                .reader()
                .read_slice(data);
            // What was read is the guest's if the slot was there until now.
            if self.is_current(&(hva..hva + data.len()), sequence) {
                return read.map(|()| true);
            }
            pause()?;
        }
    }

    /// Writes to memory of the guest, within a page. False if there is none that can be written
    /// to. Unless the guest's caches are on, it finds the data where it looks then: in memory.
    pub(crate) fn write(&self, ipa: Ipa, data: &[u8], caches_on: bool) -> Result<bool> {
        loop {
            let Some(at) = self.user_address(ipa) else {
                return Ok(false);
            };
            let (slot, hva, sequence) = (at.slot, at.hva, at.sequence);
            if slot.read_only {
                return Ok(false);
            }
            if !caches_on {
                // Else what is around the data in its cache line could be from before the guest
                // wrote there, and would go to memory along with it.
                self.flush_user_page(hva, true);
            }
            let range = hva..hva + data.len();
            // As for a mapping that is made: with the region's lock, what is there is the guest's,
            // and who deletes the slot, or starts a log, waits.
            let written = self.with_region(ipa, |_| {
                let written = self.is_current(&range, sequence) && write_resident(hva, data);
                if let (true, Some(log)) = (written, &slot.log) {
                    log.mark((ipa.0 >> PAGE_SHIFT) as u32 - slot.gfn);
                }
                written
            });
            if written == Some(true) {
                if !caches_on {
                    self.flush_user_page(hva, false);
                }
                return Ok(true);
            }
            let made = make_writable(hva, data.len());
            if made.is_err() && self.is_current(&range, sequence) {
                return Err(EFAULT);
            }
            pause()?;
        }
    }

    /// Where in the process an address of the guest is, if it is in a slot.
    fn user_address(&self, ipa: Ipa) -> Option<UserAddress> {
        let sequence = self.sequence.load(Ordering::SeqCst);
        let gfn = (ipa.0 >> PAGE_SHIFT) as u32;
        let region = ipa.0 & !(MapSize::Block.bytes() - 1);
        let slots = self.slots.lock();
        let slot = slots.set.find(gfn)?.clone();
        let is_going = slots.going.as_ref().is_some_and(|going| {
            let gone = going.ipas();
            gone.start.0 < region + MapSize::Block.bytes() && region < gone.end.0
        });
        let hva = slot.hva_of(gfn) + ipa.0 as usize % PAGE_SIZE as usize;
        Some(UserAddress {
            slot,
            hva,
            sequence,
            is_going,
        })
    }

    /// Cleans and invalidates RAM, a page or a block, to the point of coherency.
    ///
    /// # Safety
    ///
    /// That of [`Lowvisor::flush_ram_to_poc`].
    unsafe fn flush_ram_to_poc(&self, pa: Pa, size: u64) {
        self.stats.cleaned.add(size >> PAGE_SHIFT);
        // SAFETY: The caller's promise.
        unsafe { self.lowvisor.flush_ram_to_poc(pa, size) };
    }

    /// Cleans and invalidates the page at a user address to the point of coherency. Faults it in,
    /// for writing if `write`. May sleep.
    ///
    /// If there is no page, nothing happens: an access by the process fails likewise.
    fn flush_user_page(&self, address: usize, write: bool) {
        let page = HostMapping::get(address, write, false).ok();
        if let Some(page) = page.filter(|page| page.memory() == MemAttr::NormalWb) {
            // SAFETY: The page is referenced; RAM that a driver has mapped without one stays RAM.
            unsafe { self.flush_ram_to_poc(page.pa(), PAGE_SIZE) };
        }
    }

    /// Takes all memory away from the guest, for it to be faulted in anew.
    pub(crate) fn refault(&self) {
        for slot in self.slots().iter() {
            // Empty slots of any size cost time, too.
            if is_killed() {
                return;
            }
            self.in_pieces(slot.ipas(), |region, range| self.unmap(region, range));
        }
        // A fault that has cleaned its page before this, and not mapped it yet, begins again.
        self.note_change(&mut self.invalidated.lock(), &(0..usize::MAX));
    }

    /// Unmaps what is mapped by pages and could be by blocks: the guest's next use maps it so.
    fn rebuild_blocks(&self, slot: &Slot) {
        self.in_pieces(slot.ipas(), |region, range| {
            let start = range.start.0 & !(MapSize::Block.bytes() - 1);
            let gfn = (start >> PAGE_SHIFT) as u32;
            let block = Ipa(start)..Ipa(start + MapSize::Block.bytes());
            let is_block = region
                .lookup(block.start)
                .is_some_and(|desc| desc.is_block());
            if slot.can_be_block(gfn) && !is_block && is_huge_mapping(slot.hva_of(gfn)) {
                self.unmap(region, block);
            }
        });
    }

    /// Carries out the enabling of `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`.
    pub(crate) fn set_manual_protect(&self, options: u64) -> Result {
        let known = if options & u64::from(uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0 {
            MANUAL_PROTECT_OPTIONS
        } else {
            uapi::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
        };
        if options & !u64::from(known) != 0 {
            return Err(EINVAL);
        }
        let _changes = self.changes.lock();
        self.manual_protect.store(options as u32, Ordering::Relaxed);
        Ok(())
    }

    /// The slot with an id and its log, for the ioctls about it.
    fn logged_slot(slots: &SlotSet, id: u32) -> Result<(&Slot, &Arc<DirtyLog>)> {
        if id >= MAX_SLOTS {
            return Err(EINVAL);
        }
        let slot = slots.with_id(id).ok_or(ENOENT)?;
        Ok((slot, slot.log.as_ref().ok_or(ENOENT)?))
    }

    /// Carries out `KVM_GET_DIRTY_LOG`, with the bitmap at a user address.
    ///
    /// Unless the monitor does so itself (`KVM_CLEAR_DIRTY_LOG`), what is reported becomes clean,
    /// and the guest's next write to it is noted again.
    pub(crate) fn get_dirty_log(&self, id: u32, bitmap: usize) -> Result {
        let _changes = self.changes.lock();
        let slots = self.slots();
        let (slot, log) = Self::logged_slot(&slots, id)?;
        let manual = self.manual_protect.load(Ordering::Relaxed) != 0;
        let mut words = KVVec::from_elem(0u32, log.len(), GFP_KERNEL_ACCOUNT)?;
        if manual {
            for (index, word) in words.iter_mut().enumerate() {
                *word = log.word(index);
            }
        } else {
            words.fill(u32::MAX);
            self.clean(slot, log, 0, &mut words);
        }
        let mut writer =
            UserSlice::new(UserPtr::from_addr(bitmap), words.len() * size_of::<u32>()).writer();
        let result = words.iter().try_for_each(|word| writer.write(word));
        if result.is_err() && !manual {
            // Nobody has heard of it.
            for (index, word) in words.iter().enumerate() {
                log.mark_word(index, *word);
            }
        }
        result
    }

    /// Carries out `KVM_CLEAR_DIRTY_LOG`, with the bitmap at a user address.
    pub(crate) fn clear_dirty_log(
        &self,
        id: u32,
        first_page: u64,
        pages: u32,
        bitmap: usize,
    ) -> Result {
        /// The granularity of what can be cleared (api.rst 4.117).
        const UNIT: u64 = 64;
        if id >= MAX_SLOTS || first_page % UNIT != 0 {
            return Err(EINVAL);
        }
        let _changes = self.changes.lock();
        let slots = self.slots();
        let (slot, log) = Self::logged_slot(&slots, id)?;
        let left = u64::from(slot.pages)
            .checked_sub(first_page)
            .ok_or(EINVAL)?;
        let pages = u64::from(pages);
        if pages > left || (pages < left && pages % UNIT != 0) {
            return Err(EINVAL);
        }
        let n = (pages as u32).div_ceil(WORD_PAGES) as usize;
        let mut words = KVVec::from_elem(0u32, n, GFP_KERNEL_ACCOUNT)?;
        let mut reader = UserSlice::new(UserPtr::from_addr(bitmap), n * size_of::<u32>()).reader();
        for word in &mut words {
            *word = reader.read()?;
        }
        self.clean(slot, log, first_page as u32 / WORD_PAGES, &mut words);
        Ok(())
    }

    /// Makes the pages clean whose bits in `words`, from a word of the log on, are set; leaves
    /// there those that were not.
    fn clean(&self, slot: &Slot, log: &DirtyLog, first_word: u32, words: &mut [u32]) {
        let start = slot.ipas().start.0 + (u64::from(first_word * WORD_PAGES) << PAGE_SHIFT);
        let end = start + ((words.len() as u64 * u64::from(WORD_PAGES)) << PAGE_SHIFT);
        let range = Ipa(start)..Ipa(end).min(slot.ipas().end);
        let page_of = |ipa: Ipa| ((ipa.0 - start) >> PAGE_SHIFT) as u32;
        // Of the last word, what is behind the slot.
        let pages = page_of(range.end);
        if let Some(last) = words.get_mut((pages / WORD_PAGES) as usize) {
            *last &= (1 << (pages % WORD_PAGES)) - 1;
        }
        let mut flush = false;
        self.in_pieces(range, |region, part| {
            let (mut page, end) = (page_of(part.start), page_of(part.end));
            while page < end {
                // The rest of the word, as far as it is of this region.
                let (index, bit) = (page / WORD_PAGES, page % WORD_PAGES);
                let n = (WORD_PAGES - bit).min(end - page);
                let mask = (u32::MAX >> (WORD_PAGES - n)) << bit;
                if let Some(word) = words.get_mut(index as usize) {
                    let cleaned = log.clear_word((first_word + index) as usize, *word & mask);
                    *word = *word & !mask | cleaned;
                    let mut rest = cleaned;
                    while rest != 0 {
                        let first = rest.trailing_zeros();
                        let n = (rest >> first).trailing_ones();
                        rest &= u32::MAX.checked_shl(first + n).unwrap_or(0);
                        let ipa = start + (u64::from(index * WORD_PAGES + first) << PAGE_SHIFT);
                        let size = u64::from(n) << PAGE_SHIFT;
                        flush |= region.write_protect(Ipa(ipa)..Ipa(ipa + size)).flush;
                    }
                }
                page += n;
            }
        });
        // The monitor reads the pages after this; what is written by way of an old translation
        // until here, it finds there.
        if flush {
            self.flush_tlb();
        }
    }

    /// Takes mappings of a region away, from TLBs, too, and leaves the host in memory what the guest
    /// had there.
    fn unmap(&self, region: &mut Region<'_>, range: Range<Ipa>) {
        self.unmap_as(region, range, true);
    }

    /// The same; unless `clean`, nobody is to read what the guest had there. Says how many bytes were
    /// cleaned.
    fn unmap_as(&self, region: &mut Region<'_>, range: Range<Ipa>, clean: bool) -> u64 {
        trace!(kvm_unmap(range.start.0, range.end.0));
        let mut cleaned = 0;
        region.unmap(
            range,
            || self.flush_tlb(),
            clean.then_some(|pa, size| {
                cleaned += size;
                // SAFETY: What was mapped so is RAM, and stays it while the lock keeps notifiers out.
                unsafe { self.flush_ram_to_poc(pa, size) };
            }),
        );
        cleaned
    }

    /// Invalidates what any TLB holds of this VM. Interrupts must be on.
    fn flush_tlb(&self) {
        self.stats.tlb_flushes.count();
        let vttbr = self.vttbr();
        let flush = |irqs: &IrqsOff| {
            let hyp = self.lowvisor.this_cpu(irqs);
            hyp.map(|hyp| hyp.flush_tlb_vmid(vttbr)).is_some()
        };
        if !IrqsOff::with(|irqs| flush(&irqs)) {
            // HYP mode is not ours on this CPU: it is going offline, or the machine down, or the
            // firmware did not give it back. Others have it still; or the guests there have just
            // exited to answer this, and are not entered again.
            on_each_cpu(|irqs| {
                flush(irqs);
            });
        }
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
        faults.stock.fill()?;
        // How often a block is tried: to clean it takes so long that much can change meanwhile.
        let mut blocks = 2;
        loop {
            let faulted = self.try_fault(ipa, access, was_mapped, &mut blocks, faults)?;
            if let Some(faulted) = faulted {
                return Ok(faulted);
            }
            cond_resched();
            if kernel::current!().signal_pending() {
                return Ok(Faulted::Mapped);
            }
        }
    }

    /// Tries it once. `None` if something changed meanwhile.
    fn try_fault(
        &self,
        ipa: Ipa,
        access: Access,
        was_mapped: bool,
        blocks: &mut u32,
        faults: &mut Faults,
    ) -> Result<Option<Faulted>> {
        let gfn = (ipa.0 >> PAGE_SHIFT) as u32;
        let Some(at) = self.user_address(ipa.page_align_down()) else {
            return Ok(Some(Faulted::NoMemory));
        };
        let (slot, hva, sequence) = (at.slot, at.hva, at.sequence);
        // What is mapped of a slot that goes, is unmapped and cleaned before something else is
        // mapped there: then what is replaced here is always of the same memory.
        if at.is_going {
            return Ok(None);
        }
        let write = access == Access::Write;
        if slot.read_only && write {
            return Ok(Some(Faulted::NoMemory));
        }
        let is_missing = faults.missing.take() == Some(hva);
        let host = match HostMapping::get(hva, write, is_missing) {
            // A signal; or somebody else is at it. If the guest still wants the page, it
            // comes back here.
            Err(e) if e == EINTR || e == EAGAIN => return Ok(Some(Faulted::Mapped)),
            // The slot may be gone, and with it what was there.
            Err(_) if !self.is_current(&(hva..hva + PAGE_SIZE as usize), sequence) => {
                return Ok(None);
            }
            other => other?,
        };
        // What is fetched ahead from a device would be lost to it (B3.7.2): not executable, ever.
        if access == Access::Execute && host.memory() == MemAttr::Device {
            return Ok(Some(Faulted::NoMemory));
        }
        if host.next_is_missing() {
            faults.missing = Some(hva + PAGE_SIZE as usize);
        }
        // While writes are logged, only what was written to is mapped for writing, and by the
        // page.
        let logging = slot.log.is_some();
        let writable = host.is_writable() && !slot.read_only && (write || !logging);
        let is_block = *blocks != 0
            && host.is_ram()
            && !logging
            && slot.can_be_block(gfn)
            && is_huge_mapping(hva);
        let size = if is_block {
            *blocks -= 1;
            MapSize::Block
        } else {
            MapSize::Page
        };
        let pa = Pa(host.pa().0 & !(size.bytes() - 1));
        let mut wanted = Wanted {
            ipa: Ipa(ipa.0 & !(size.bytes() - 1)),
            pa,
            size,
            hva,
            execute: access == Access::Execute,
            writable,
            memory: host.memory(),
            is_clean: host.memory() != MemAttr::NormalWb,
            log: slot.log.clone().map(|log| (log, gfn - slot.gfn)),
        };
        // With a log, nothing is mapped for writing that was not written to. Where the host has
        // to fault pages in, it will not have the next ones.
        let around = size == MapSize::Page && host.was_resident() && !logging;
        // Before the work of cleaning, and for it: what was looked up is what is mapped still.
        let is_current = self.is_current(&wanted.hvas(), sequence);
        if is_current {
            // The guest chooses its memory types: with its caches on, too, it can map a page as
            // Non-cacheable, and would see what was there before the host wrote to it.
            let maps = || self.with_region(ipa, |region| wanted.is_mapped(region)) == Some(true);
            let must_clean = access == Access::Execute || !was_mapped || !maps();
            if must_clean && !wanted.is_clean {
                // SAFETY: The page is referenced. If this is a block, the mapping was that of a
                // huge page after the page had been looked up, and nothing was invalidated
                // in between: so the page is a part of that, which the reference keeps whole.
                // RAM that a driver has mapped without a page stays RAM, whoever has it next.
                unsafe { self.flush_ram_to_poc(pa, size.bytes()) };
                wanted.is_clean = true;
            }
            if access == Access::Execute {
                self.stats.icache_invalidations.count();
                invalidate_icache();
            }
        }
        if is_current && self.map(wanted, &host, sequence, &mut faults.stock)? {
            host.mark_used();
            if around {
                self.map_following(&slot, gfn, writable, sequence, &mut faults.stock);
            }
            return Ok(Some(Faulted::Mapped));
        }
        Ok(None)
    }

    /// Maps what the host has already of the pages after one that was just mapped, up to a multiple
    /// of 64 KiB: a guest that uses one often goes on to the next.
    ///
    /// They count as used, once; the host's own fault-around does the same where, as here, the
    /// hardware does not manage the access flag. They count as dirty if the guest may write to
    /// them, as it does so without another fault.
    fn map_following(
        &self,
        slot: &Slot,
        gfn: u32,
        writable: bool,
        sequence: u32,
        stock: &mut TableStock,
    ) {
        const WINDOW: u32 = 16;
        const MOST: usize = WINDOW as usize - 1;
        let first = gfn + 1;
        let end = (gfn | (WINDOW - 1)).min(slot.gfn + (slot.pages - 1));
        if first > end {
            return;
        }
        let ipa_of = |gfn: u32| Ipa(u64::from(gfn) << PAGE_SHIFT);
        // What is mapped already: it stays, and was cleaned then. The window is aligned, and so in
        // one region.
        let mapped = self.with_region(ipa_of(first), |region| {
            region.mapped(ipa_of(first), end - gfn)
        });
        // If the next one is, so were those behind it, most likely.
        let Some(mapped) = mapped.filter(|mapped| mapped & 1 == 0) else {
            return;
        };
        let hva = slot.hva_of(first);
        let pages: [_; MOST] = PageRef::get_resident(hva, (end - gfn) as usize, writable);
        let pages = || {
            let pages = pages.iter().map_while(Option::as_ref);
            (first..)
                .zip(pages)
                .filter(|(gfn, _)| mapped >> (gfn - first) & 1 == 0)
        };
        let attrs = Stage2Attrs {
            memory: MemAttr::NormalWb,
            access: if writable {
                Stage2Access::ReadWrite
            } else {
                Stage2Access::ReadOnly
            },
            execute_never: true,
        };
        let hvas = hva..hva + (MOST << PAGE_SHIFT);
        for (_, page) in pages() {
            // SAFETY: The page is referenced.
            unsafe { self.flush_ram_to_poc(page.pa(), MapSize::Page.bytes()) };
        }
        self.with_region(ipa_of(first), |region| {
            if !self.is_current(&hvas, sequence) {
                return;
            }
            for (gfn, page) in pages() {
                let ipa = ipa_of(gfn);
                // Another vCPU's fault may have been faster.
                if region.lookup(ipa).is_some() {
                    continue;
                }
                let mapped = self.map_in(region, ipa, page.pa(), MapSize::Page, attrs, stock);
                // If there is no table any more, nor will there be one.
                if mapped.is_err() {
                    break;
                }
                if writable {
                    page.mark_dirty();
                }
            }
        });
    }

    /// Resolves an access flag fault: the page is there, and the host wants to know of its use.
    ///
    /// TLBs hold no entry without the flag (B3.6.7), so there is nothing to invalidate. Says
    /// whether the page is still there.
    pub(crate) fn access_flag_fault(&self, ipa: Ipa) -> bool {
        let page = ipa.0 & !(PAGE_SIZE - 1);
        let mut found = false;
        let range = Ipa(page)..Ipa(page + PAGE_SIZE);
        self.with_region(range.start, |region| {
            let _ = region.update(range, |_, desc| {
                found = true;
                if !desc.accessed() {
                    self.stats.access_flag_faults.count();
                }
                Some(desc.with_accessed(true))
            });
        });
        found
    }

    /// Whether nothing has been invalidated of `hvas`, or changed of slots, since the sequence
    /// count was read; and nothing is being.
    ///
    /// With the right to a region: what is invalidated from now on waits for it to be let go of.
    fn is_current(&self, hvas: &Range<usize>, sequence: u32) -> bool {
        // An invalidation adds to the sequence before it leaves the others (`invalidate_end`).
        if self.invalidating.load(Ordering::Acquire) == 0
            && self.sequence.load(Ordering::SeqCst) == sequence
        {
            return true;
        }
        let invalidated = self.invalidated.lock();
        // Under pressure the host takes one page after the other, and to clean a block takes longer
        // than that: what was about other pages is no reason to begin again.
        !invalidated.under_way.may_be_changing(hvas)
            && !invalidated.history.may_have_changed(sequence, hvas)
    }

    /// Notes that what is at user addresses has changed, or slots have.
    fn note_change(&self, invalidated: &mut Invalidated, hvas: &Range<usize>) {
        let count = invalidated.history.note(hvas);
        self.sequence.store(count, Ordering::SeqCst);
    }

    /// Makes a mapping unless an invalidation came in between; says whether it did.
    fn map(
        &self,
        wanted: Wanted,
        host: &HostMapping,
        sequence: u32,
        stock: &mut TableStock,
    ) -> Result<bool> {
        self.with_region(wanted.ipa, |region| {
            let mapped = self.map_wanted(region, &wanted, sequence, stock)?;
            // Before an invalidation can come.
            if mapped && wanted.writable {
                host.mark_dirty();
            }
            Ok(mapped)
        })
        .unwrap_or(Err(EFAULT))
    }

    fn map_wanted(
        &self,
        region: &mut Region<'_>,
        wanted: &Wanted,
        sequence: u32,
        stock: &mut TableStock,
    ) -> Result<bool> {
        if !self.is_current(&wanted.hvas(), sequence) {
            return Ok(false);
        }
        // With the region's lock, and without an invalidation, the host's mapping stays as it is.
        if wanted.size == MapSize::Block && !is_huge_mapping(wanted.hva) {
            return Ok(false);
        }
        // It went, and may have been written to by the process since: it has to be cleaned after all.
        if !wanted.is_clean && !wanted.is_mapped(region) {
            return Ok(false);
        }
        // A page that was executed stays executable when it gets other permissions: else one
        // that is both written and executed would fault forever. A page that was written to while
        // writes are logged stays writable likewise.
        let old = region.lookup(wanted.ipa).filter(|old| {
            old.address() == wanted.pa && old.is_block() == (wanted.size == MapSize::Block)
        });
        let was_executable = old.is_some_and(|old| !old.execute_never());
        let was_writable = wanted.log.is_some() && old.is_some_and(|old| old.writable());
        let attrs = Stage2Attrs {
            memory: wanted.memory,
            access: if wanted.writable || was_writable {
                Stage2Access::ReadWrite
            } else {
                Stage2Access::ReadOnly
            },
            execute_never: !wanted.execute && !was_executable,
        };
        self.map_in(region, wanted.ipa, wanted.pa, wanted.size, attrs, stock)?;
        if let (true, Some((log, page))) = (wanted.writable, &wanted.log) {
            log.mark(*page);
        }
        Ok(true)
    }

    fn map_in(
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
        let mut stock = TableStock::new()?;
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
        for slot in self.slots().iter() {
            for part in stage2::regions(slot.ipas()) {
                // Many slots can be of the same memory: this may be more than anybody has.
                if is_killed() {
                    return;
                }
                self.with_region(part.start, |region| {
                    let _ = region.update(part, |size, desc| {
                        if desc.memory() == Some(MemAttr::NormalWb) {
                            // SAFETY: What is mapped so is RAM, and stays it while the lock keeps
                            // notifiers out.
                            unsafe { self.flush_ram_to_poc(desc.address(), size) };
                        }
                        None
                    });
                });
                cond_resched();
            }
        }
    }

    /// Calls `f` for each region that has some of what is at some user addresses. With `may_sleep`,
    /// other tasks get their turns meanwhile.
    ///
    /// Slots may change between two steps. What is made then of addresses that have been gone
    /// through already, cannot be mapped before the invalidation has ended; what moves or goes is
    /// unmapped by who does that.
    fn for_each_range(
        &self,
        hvas: &Range<usize>,
        may_sleep: bool,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>) -> Done,
    ) {
        // Most of what happens in a process is not about its guest.
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

    /// The same within one step. Says whether it is done: if not, it has to be called again, after
    /// others had their turns.
    fn for_each_slot(
        &self,
        hvas: &Range<usize>,
        mut f: impl FnMut(&mut Region<'_>, Range<Ipa>) -> Done,
    ) -> bool {
        let (mut stale, mut cleaned, mut is_done) = (false, 0, true);
        // The lock and not a reference to the slots: the last one cannot be let go of here, where
        // nothing may sleep.
        let slots = self.slots.lock();
        for part in slots.ipas_of(hvas).flat_map(stage2::regions) {
            // Hundreds of slots can be of the same memory. What was cleaned is not mapped any more,
            // and costs little when it is come by again.
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

/// What was done to a region for the host.
#[derive(Default)]
struct Done {
    /// TLBs are to be invalidated before the host goes on.
    stale: bool,
    /// So many bytes were unmapped and cleaned, which takes its time.
    cleaned: u64,
}

/// How much of the process's memory a notifier goes through before it lets go of the lock, a power
/// of two.
const STEP: usize = MapSize::Block.bytes() as usize;

/// And how much it cleans until then: a step is in two regions if the slot is aligned otherwise for
/// the guest.
const MOST_CLEANED: u64 = 2 * MapSize::Block.bytes();

impl MmuCallbacks for Arc<AddressSpace> {
    fn invalidate_start(&self, range: Range<usize>, may_sleep: bool) {
        {
            let mut invalidated = self.invalidated.lock();
            invalidated.under_way.begin(&range);
            // A fault that has its region's lock before this has it is undone below; one that gets
            // it afterwards sees this.
            let more = self.invalidating.load(Ordering::Relaxed).wrapping_add(1);
            self.invalidating.store(more, Ordering::SeqCst);
            self.stats.invalidations.count();
        }
        // What must not sleep is the reaper, after the host has run out of memory (mm/oom_kill.c): it
        // only takes private memory of a process that is killed, for good, and is in a hurry.
        self.for_each_range(&range, may_sleep, |region, ipas| Done {
            stale: false,
            cleaned: self.unmap_as(region, ipas, may_sleep),
        });
    }

    fn invalidate_end(&self, range: Range<usize>) {
        // Most of what happens in a process is not about its guest, and is no reason for a fault
        // to begin again.
        //
        // That there is no slot now is enough, although there can have been one at the start, or
        // be one in a moment. Let a fault have found a slot with one of these addresses. If that
        // was before now, the slot is gone completely, and the sequence was raised when it went.
        // If it is later, the fault looks the page up after the host has changed it.
        let is_slot = self.slots.lock().ipas_of(&range).next().is_some();
        let mut invalidated = self.invalidated.lock();
        if is_slot {
            // Before the count goes down: a fault that missed the whole invalidation must see it.
            self.note_change(&mut invalidated, &range);
        }
        invalidated.under_way.end(&range);
        let left = self.invalidating.load(Ordering::Relaxed).saturating_sub(1);
        self.invalidating.store(left, Ordering::SeqCst);
    }

    fn clear_young(&self, range: Range<usize>, flush: bool) -> bool {
        let mut young = false;
        self.for_each_range(&range, false, |region, ipas| {
            // The access flag is managed by software: a page without it faults when it is used.
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
        for slot in self.slots().iter() {
            self.in_pieces(slot.ipas(), |region, ipas| self.unmap(region, ipas));
        }
    }
}

#[pinned_drop]
impl PinnedDrop for AddressSpace {
    fn drop(self: Pin<&mut Self>) {
        self.project().stage2.clear(cond_resched);
        // TLBs may hold entries of this VMID still: it is given out again only after a roll-over,
        // which flushes them.
    }
}
