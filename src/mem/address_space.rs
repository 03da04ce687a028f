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
};
use kvm_bindings as uapi;
use machine::stage2::{
    MapError,
    MapSize,
    Stage2,
    TableMemory, //
};

use super::{
    slots::{
        Change,
        Slot,
        SlotSet, //
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
            IrqsOff, //
        },
        mmu_notifier::MmuCallbacks,
        user_page::{
            flush_ram_to_poc,
            is_huge_mapping,
            UserPage, //
        },
    },
    hyp::{
        register::invalidate_icache,
        takeover::Lowvisor, //
    },
    trace::trace, //
};

/// The stage-2 table and the state of invalidations, under one spinlock.
struct Table {
    stage2: Stage2<TablePages>,
    /// Invalidations between their start and their end.
    invalidating: u32,
}

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
    slots: SpinLock<Arc<SlotSet>>,
    /// Counts changes of what user or guest addresses mean: invalidations by the host, and slots.
    sequence: AtomicU32,
    #[pin]
    table: SpinLock<Table>,
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
}

/// What became of a fault.
pub(crate) enum Faulted {
    /// The guest can go on.
    Mapped,
    /// There is no memory at the address for this kind of access.
    NoMemory,
}

impl AddressSpace {
    /// An address space without memory.
    pub(crate) fn new(lowvisor: &Arc<Lowvisor>) -> Result<Arc<Self>> {
        let pages = TablePages::new()?;
        let root = pages.root();
        Arc::pin_init(
            try_pin_init!(Self {
                vmid: Vmid::new(),
                stats: MemoryStats::default(),
                lowvisor: lowvisor.clone(),
                root,
                changes <- new_mutex!((), "kvm_arm_slot_changes"),
                slots <- new_spinlock!(SlotSet::empty()?, "kvm_arm_slots"),
                sequence: AtomicU32::new(0),
                table <- new_spinlock!(
                    Table { stage2: Stage2::new(pages), invalidating: 0 },
                    "kvm_arm_stage2"
                ),
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
        self.slots.lock().clone()
    }

    /// Carries out `KVM_SET_USER_MEMORY_REGION`.
    pub(crate) fn set_region(&self, region: &uapi::kvm_userspace_memory_region) -> Result {
        let _changes = self.changes.lock();
        let old = self.slots();
        match old.change(region)? {
            Change::None => Ok(()),
            Change::New { set, gone } => {
                let set = Arc::new(set, GFP_KERNEL_ACCOUNT)?;
                let old = core::mem::replace(&mut *self.slots.lock(), set);
                // From here on faults see the new slots. One that looked at the old ones finds
                // the sequence changed when it comes to map its page.
                self.sequence.fetch_add(1, Ordering::SeqCst);
                if let Some(gone) = gone {
                    self.unmap(gone.ipas());
                }
                drop(old);
                Ok(())
            }
        }
    }

    /// Removes what is mapped in `range`, a piece at a time.
    fn unmap(&self, range: Range<Ipa>) {
        const PIECE: u64 = 64 << 20;
        let mut start = range.start.0;
        while start < range.end.0 {
            let end = range.end.0.min((start & !(PIECE - 1)) + PIECE);
            self.unmap_locked(&mut self.table.lock(), Ipa(start)..Ipa(end));
            start = end;
            cond_resched();
        }
    }

    /// Takes all memory away from the guest, for it to be faulted in anew.
    pub(crate) fn refault(&self) {
        for slot in self.slots().iter() {
            self.unmap(slot.ipas());
        }
    }

    fn unmap_locked(&self, table: &mut Table, range: Range<Ipa>) {
        trace!(kvm_unmap(range.start.0, range.end.0));
        if table.stage2.unmap(range).flush {
            self.flush_tlb();
        }
    }

    /// Invalidates what any TLB holds of this VM. The table is locked.
    fn flush_tlb(&self) {
        self.stats.tlb_flushes.count();
        let irqs = IrqsOff::new();
        if let Some(hyp) = self.lowvisor.this_cpu(&irqs) {
            hyp.flush_tlb_vmid(self.vttbr());
        }
    }

    /// Resolves a fault of the guest at `ipa`, in the context of the process that made the VM.
    ///
    /// `caches_on` says whether the guest's data accesses go through the caches: if they do not,
    /// the page has to be where they look.
    pub(crate) fn fault(
        &self,
        ipa: Ipa,
        access: Access,
        caches_on: bool,
        stock: &mut TableStock,
    ) -> Result<Faulted> {
        stock.fill()?;
        let gfn = (ipa.0 >> PAGE_SHIFT) as u32;
        loop {
            let sequence = self.sequence.load(Ordering::SeqCst);
            let slot = match self.slots.lock().find(gfn) {
                Some(slot) => *slot,
                None => return Ok(Faulted::NoMemory),
            };
            if slot.read_only && access == Access::Write {
                return Ok(Faulted::NoMemory);
            }
            let hva = slot.hva_of(gfn);
            let page = UserPage::get(hva, access == Access::Write)?;
            let writable = page.is_writable() && !slot.read_only;
            let size = if slot.can_be_block(gfn) && is_huge_mapping(hva) {
                MapSize::Block
            } else {
                MapSize::Page
            };
            let pa = Pa(page.pa().0 & !(size.bytes() - 1));
            if !caches_on || access == Access::Execute {
                // SAFETY: The page, or the huge page that it is part of, is referenced.
                unsafe { flush_ram_to_poc(pa, size.bytes()) };
            }
            if access == Access::Execute {
                invalidate_icache();
            }
            let wanted = Wanted {
                ipa: Ipa(ipa.0 & !(size.bytes() - 1)),
                pa,
                size,
                hva,
                execute: access == Access::Execute,
                writable,
            };
            if self.map(wanted, sequence, stock)? {
                page.mark_used(writable);
                return Ok(Faulted::Mapped);
            }
            cond_resched();
            if kernel::current!().signal_pending() {
                return Ok(Faulted::Mapped);
            }
        }
    }

    /// Resolves an access flag fault: the page is there, and the host wants to know of its use.
    ///
    /// TLBs hold no entry without the flag (B3.6.7), so there is nothing to invalidate. Says
    /// whether the page is still there.
    pub(crate) fn access_flag_fault(&self, ipa: Ipa) -> bool {
        let page = ipa.0 & !(PAGE_SIZE - 1);
        let mut found = false;
        let range = Ipa(page)..Ipa(page + PAGE_SIZE);
        let _ = self.table.lock().stage2.update(range, |_, desc| {
            found = true;
            Some(desc.with_accessed(true))
        });
        found
    }

    /// Makes a mapping unless an invalidation came in between; says whether it did.
    fn map(&self, wanted: Wanted, sequence: u32, stock: &mut TableStock) -> Result<bool> {
        let mut table = self.table.lock();
        if table.invalidating != 0 || self.sequence.load(Ordering::SeqCst) != sequence {
            return Ok(false);
        }
        // Under the lock, and without an invalidation, the host's mapping stays as it is.
        if wanted.size == MapSize::Block && !is_huge_mapping(wanted.hva) {
            return Ok(false);
        }
        // A page that was executed stays executable when it gets other permissions: else one
        // that is both written and executed would fault forever.
        let was_executable = table.stage2.lookup(wanted.ipa).is_some_and(|old| {
            old.address() == wanted.pa
                && old.is_block() == (wanted.size == MapSize::Block)
                && !old.execute_never()
        });
        let attrs = Stage2Attrs {
            memory: MemAttr::NormalWb,
            access: if wanted.writable {
                Stage2Access::ReadWrite
            } else {
                Stage2Access::ReadOnly
            },
            execute_never: !wanted.execute && !was_executable,
        };
        self.map_in(&mut table, wanted.ipa, wanted.pa, wanted.size, attrs, stock)?;
        trace!(kvm_map(
            wanted.ipa.0,
            wanted.pa.0,
            wanted.size.bytes() as u32,
            wanted.writable,
            !attrs.execute_never
        ));
        match wanted.size {
            MapSize::Page => self.stats.pages.count(),
            MapSize::Block => self.stats.blocks.count(),
        }
        Ok(true)
    }

    fn map_in(
        &self,
        table: &mut Table,
        ipa: Ipa,
        pa: Pa,
        size: MapSize,
        attrs: Stage2Attrs,
        stock: &mut TableStock,
    ) -> Result {
        table
            .stage2
            .map(ipa, pa, size, attrs, || stock.take(), || self.flush_tlb())
            .map_err(|e| match e {
                MapError::NoTables => ENOMEM,
                MapError::OutOfRange => EFAULT,
            })
    }

    /// Maps registers of a physical device into the guest.
    pub(crate) fn map_device(&self, ipa: Ipa, pa: Pa, size: u64) -> Result {
        let mut stock = TableStock::new()?;
        let attrs = Stage2Attrs {
            memory: MemAttr::Device,
            access: Stage2Access::ReadWrite,
            execute_never: true,
        };
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            stock.fill()?;
            let mut table = self.table.lock();
            let (ipa, pa) = (Ipa(ipa.0 + offset), Pa(pa.0 + offset));
            self.map_in(&mut table, ipa, pa, MapSize::Page, attrs, &mut stock)?;
        }
        Ok(())
    }

    /// Writes all memory that the guest can have touched back to the point of coherency.
    ///
    /// For a guest that turns its caches on or off, or asks for maintenance by set and way, which
    /// means nothing on the CPU that it happens to run on.
    pub(crate) fn flush_to_poc(&self) {
        const PIECE: u64 = 2 << 20;
        for slot in self.slots().iter() {
            let ipas = slot.ipas();
            let mut start = ipas.start.0;
            while start < ipas.end.0 {
                let end = ipas.end.0.min((start & !(PIECE - 1)) + PIECE);
                {
                    let mut table = self.table.lock();
                    let _ = table.stage2.update(Ipa(start)..Ipa(end), |size, desc| {
                        // SAFETY: What is mapped of a slot is RAM, and stays so while the lock
                        // keeps notifiers out.
                        unsafe { flush_ram_to_poc(desc.address(), size) };
                        None
                    });
                }
                start = end;
                cond_resched();
            }
        }
    }

    fn for_each_slot(&self, hvas: &Range<usize>, mut f: impl FnMut(&Slot, Range<Ipa>)) {
        let slots = self.slots();
        for slot in slots.iter() {
            if let Some(ipas) = slot.ipas_of(hvas) {
                f(slot, ipas);
            }
        }
    }
}

impl MmuCallbacks for Arc<AddressSpace> {
    fn invalidate_start(&self, range: Range<usize>) {
        {
            let mut table = self.table.lock();
            table.invalidating += 1;
            self.stats.invalidations.count();
        }
        self.for_each_slot(&range, |_, ipas| {
            self.unmap_locked(&mut self.table.lock(), ipas);
        });
    }

    fn invalidate_end(&self, _range: Range<usize>) {
        let mut table = self.table.lock();
        // Before the count goes down: a fault that missed the whole invalidation must see it.
        self.sequence.fetch_add(1, Ordering::SeqCst);
        table.invalidating = table.invalidating.saturating_sub(1);
    }

    fn clear_young(&self, range: Range<usize>, flush: bool) -> bool {
        let mut young = false;
        self.for_each_slot(&range, |_, ipas| {
            let mut table = self.table.lock();
            // The access flag is managed by software: a page without it faults when it is used.
            let stale = table.stage2.update(ipas, |_, desc| {
                let was = desc.accessed();
                young |= was;
                was.then(|| desc.with_accessed(false))
            });
            if stale.flush && flush {
                self.flush_tlb();
            }
        });
        young
    }

    fn test_young(&self, range: Range<usize>) -> bool {
        let mut young = false;
        self.for_each_slot(&range, |_, ipas| {
            let _ = self.table.lock().stage2.update(ipas, |_, desc| {
                young |= desc.accessed();
                None
            });
        });
        young
    }

    fn release(&self) {
        self.for_each_slot(&(0..usize::MAX), |_, ipas| {
            self.unmap_locked(&mut self.table.lock(), ipas);
        });
    }
}

#[pinned_drop]
impl PinnedDrop for AddressSpace {
    fn drop(self: Pin<&mut Self>) {
        self.table.lock().stage2.clear();
        // TLBs may hold entries of this VMID still: it is given out again only after a roll-over,
        // which flushes them.
    }
}
