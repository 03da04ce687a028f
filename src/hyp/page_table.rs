// SPDX-License-Identifier: GPL-2.0

//! HYP mode's own translation table.
//!
//! The long-descriptor format with 4 KiB pages (Arm ARM B3.6): four entries of
//! 1 GiB at the first level, 512 of 2 MiB at the second, 512 of 4 KiB at the
//! third. HYP virtual addresses equal the kernel's, so a pointer means the same
//! in both. Only the identity block lies at its physical address: the MMU is
//! switched on and off by code in it.

use armv7::{
    addr::{
        Pa,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    descriptor::{
        DescKind,
        HypAccess,
        HypDesc,
        HypMemory, //
    },
};
use kernel::prelude::*;

use crate::glue::{
    cpu::MAX_CPUS,
    page::{
        lowmem_pa,
        lowmem_ptr,
        LowmemPages, //
    },
};
use crate::hyp::{
    context::assert_layout,
    register::dsb,
    table_entry, //
};

/// The size of a second-level block.
pub(crate) const BLOCK_SIZE: u64 = 2 << 20;

/// Entries in a table of the second and third level.
const ENTRIES: usize = 512;
const ROOT_ENTRIES: usize = 4;

/// A place in HYP mode's addresses for one page or block of RAM at a time. HYP mode itself maps it
/// and takes it away again (`flush_ram` in `asm/interrupts.S`).
///
/// # Invariants
///
/// In a `HypCpu`, `entry` is the table's descriptor of `va` and is mapped in HYP mode, and no other
/// CPU's window has the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Window {
    entry: *mut u64,
    va: u32,
}

assert_layout!(Window at 0, ends at 8;
    entry: 0,
    va: 4,
);

/// The windows of all CPUs.
///
/// They lie in blocks of addresses that a [`HypPageTable`] uses for nothing else. The windows for
/// pages are in the first block; each of the others is a window for blocks.
pub(crate) struct Windows {
    va: u32,
    second: *mut u64,
    third: *mut u64,
}

impl Windows {
    /// The windows of a CPU: the one for a page, and the one for a block.
    pub(crate) fn of_cpu(&self, cpu: usize) -> (Window, Window) {
        let n = cpu % MAX_CPUS;
        let page_va = self.va + ((n as u32) << PAGE_SHIFT);
        let block_va = self.va + (n as u32 + 1) * BLOCK_SIZE as u32;
        // INVARIANT: `second` and `third` are the tables that these addresses are in, as they do
        // not leave the `Windows::SIZE` bytes at `va`; both are mapped.
        (
            Window {
                entry: self.third.wrapping_add(index(page_va, 3)),
                va: page_va,
            },
            Window {
                entry: self.second.wrapping_add(index(block_va, 2)),
                va: block_va,
            },
        )
    }

    const BLOCKS: u32 = MAX_CPUS as u32 + 1;
    /// Their alignment, by which all of them are in one table.
    const SIZE: u32 = (Self::BLOCKS * BLOCK_SIZE as u32).next_power_of_two();
}

/// The tables.
///
/// # Invariants
///
/// Every table descriptor in `root`, and in the tables below, is the physical address of a page
/// that this value owns.
pub(crate) struct HypPageTable {
    root: LowmemPages,
}

fn index(va: u32, level: u32) -> usize {
    let shift = 12 + 9 * (3 - level);
    (va >> shift) as usize % ENTRIES
}

impl HypPageTable {
    /// Makes an empty table.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            root: LowmemPages::of_host(0)?,
        })
    }

    /// The value for HTTBR.
    pub(crate) fn httbr(&self) -> u64 {
        self.root.pa().0
    }

    fn read(table: *mut u64, index: usize) -> HypDesc {
        // SAFETY: `table` is a page of ours, and `index` is below 512.
        HypDesc(unsafe { table_entry::read(table.add(index % ENTRIES)) })
    }

    fn write(table: *mut u64, index: usize, desc: HypDesc) {
        // SAFETY: `table` is a page of ours, and `index` is below 512. The table is borrowed
        // mutably, or not in use yet.
        unsafe { table_entry::write(table.add(index % ENTRIES), desc.0) };
    }

    /// The table that the entry leads to, made if there is none.
    fn next(table: *mut u64, index: usize) -> Result<*mut u64> {
        let desc = Self::read(table, index);
        match desc.kind(1) {
            DescKind::Table => Ok(lowmem_ptr(desc.address()).cast()),
            DescKind::Invalid => {
                let page = LowmemPages::of_host(0)?;
                let va = page.as_ptr();
                // Walks must find the table empty before they can find the table (B3.10.1).
                dsb();
                Self::write(table, index, HypDesc::table(page.into_pa()));
                Ok(va.cast())
            }
            _ => Err(EEXIST),
        }
    }

    /// Maps one page.
    pub(crate) fn map_page(
        &mut self,
        va: usize,
        pa: Pa,
        memory: HypMemory,
        access: HypAccess,
    ) -> Result {
        let va = va as u32;
        let second = Self::next(self.root.as_ptr().cast(), index(va, 1) % ROOT_ENTRIES)?;
        let third = Self::next(second, index(va, 2))?;
        if Self::read(third, index(va, 3)).kind(3) != DescKind::Invalid {
            return Err(EEXIST);
        }
        Self::write(third, index(va, 3), HypDesc::page(pa, memory, access));
        dsb();
        Ok(())
    }

    /// Maps pages of the kernel at their kernel address, read-write.
    pub(crate) fn map_lowmem(&mut self, va: *mut u8, pa: Pa, size: usize) -> Result {
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            self.map_page(
                va as usize + offset,
                Pa(pa.0 + offset as u64),
                HypMemory::Normal,
                HypAccess::ReadWrite,
            )?;
        }
        Ok(())
    }

    /// Makes the windows, below `limit`, at and above which the kernel has its own addresses.
    pub(crate) fn make_windows(&mut self, limit: u32) -> Result<Windows> {
        // Not at 0, so that a null pointer leads nowhere.
        let mut va = Windows::SIZE;
        while limit.saturating_sub(va) >= Windows::SIZE {
            let second = Self::next(self.root.as_ptr().cast(), index(va, 1) % ROOT_ENTRIES)?;
            let first = index(va, 2);
            let is_free = (first..first + Windows::BLOCKS as usize)
                .all(|at| Self::read(second, at).kind(2) == DescKind::Invalid);
            if is_free {
                let third = Self::next(second, first)?;
                for table in [second, third] {
                    self.map_lowmem(table.cast(), lowmem_pa(table.cast()), PAGE_SIZE as usize)?;
                }
                return Ok(Windows { va, second, third });
            }
            va += Windows::SIZE;
        }
        Err(ENOSPC)
    }

    /// Removes the mapping of one page. The caller invalidates the TLBs.
    pub(crate) fn unmap_page(&mut self, va: usize) {
        let va = va as u32;
        let mut table: *mut u64 = self.root.as_ptr().cast();
        for level in 1..3 {
            let desc = Self::read(table, index(va, level));
            if desc.kind(level) != DescKind::Table {
                return;
            }
            table = lowmem_ptr(desc.address()).cast();
        }
        Self::write(table, index(va, 3), HypDesc::invalid());
        dsb();
    }

    /// Maps the block around `pa` at its own address, for executing.
    pub(crate) fn map_identity_block(&mut self, pa: Pa) -> Result {
        let start = pa.0 & !(BLOCK_SIZE - 1);
        let va = u32::try_from(start).map_err(|_| ERANGE)?;
        let second = Self::next(self.root.as_ptr().cast(), index(va, 1) % ROOT_ENTRIES)?;
        if Self::read(second, index(va, 2)).kind(2) != DescKind::Invalid {
            return Err(EEXIST);
        }
        Self::write(
            second,
            index(va, 2),
            HypDesc::block(Pa(start), HypMemory::Normal, HypAccess::ReadExecute),
        );
        dsb();
        Ok(())
    }

    fn free_below(table: *mut u64, entries: usize, level: u32) {
        for i in 0..entries {
            let desc = Self::read(table, i);
            if level < 3 && desc.kind(level) == DescKind::Table {
                Self::free_below(lowmem_ptr(desc.address()).cast(), ENTRIES, level + 1);
                // SAFETY: Ours by the type's invariant, of order 0, and freed once.
                drop(unsafe { LowmemPages::from_pa(desc.address(), 0) });
            }
        }
    }
}

impl Drop for HypPageTable {
    fn drop(&mut self) {
        Self::free_below(self.root.as_ptr().cast(), ROOT_ENTRIES, 1);
    }
}

const _: () = assert!(PAGE_SIZE as usize == crate::glue::page::PAGE_SIZE);
