// SPDX-License-Identifier: GPL-2.0

//! HYP mode's own translation table.
//!
//! The long-descriptor format with 4 KiB pages (Arm ARM B3.6): four entries of
//! 1 GiB at the first level, 512 of 2 MiB at the second, 512 of 4 KiB at the
//! third. HYP virtual addresses equal the kernel's, so a pointer means the same
//! in both; only the identity block, which the MMU is switched on and off in,
//! lies at its physical address.

use armv7::{
    addr::{
        Pa,
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

use crate::glue::page::{
    lowmem_ptr,
    LowmemPages, //
};
use crate::hyp::register::dsb;

/// The size of a second-level block.
pub(crate) const BLOCK_SIZE: u64 = 2 << 20;

/// Entries in a table of the second and third level.
const ENTRIES: usize = 512;
const ROOT_ENTRIES: usize = 4;

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
            root: LowmemPages::new(0)?,
        })
    }

    /// The value for HTTBR.
    pub(crate) fn httbr(&self) -> u64 {
        self.root.pa().0
    }

    fn read(table: *mut u64, index: usize) -> HypDesc {
        // SAFETY: `table` is a page of ours, and `index` is below 512.
        HypDesc(unsafe { table.add(index % ENTRIES).read_volatile() })
    }

    fn write(table: *mut u64, index: usize, desc: HypDesc) {
        // SAFETY: `table` is a page of ours, and `index` is below 512. A doubleword is written at
        // once on a core with the Large Physical Address Extension (A3.5.3).
        unsafe { table.add(index % ENTRIES).write_volatile(desc.0) };
    }

    /// The table that the entry leads to, made if there is none.
    fn next(table: *mut u64, index: usize) -> Result<*mut u64> {
        let desc = Self::read(table, index);
        match desc.kind(1) {
            DescKind::Table => Ok(lowmem_ptr(desc.address()).cast()),
            DescKind::Invalid => {
                let page = LowmemPages::new(0)?;
                let va = page.as_ptr();
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
