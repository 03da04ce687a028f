// SPDX-License-Identifier: GPL-2.0

//! The pages of a stage-2 table, as the walker of the machine layer sees them.

use armv7::{
    addr::Pa,
    regs, //
};
use kernel::prelude::*;
use machine::stage2::TableMemory;

use crate::{
    glue::page::{
        lowmem_ptr,
        LowmemPages, //
    },
    hyp::{
        register::dsb,
        table_entry, //
    }, //
};

/// A page allocated before a spinlock is taken, to become a table under it. One mapping needs one
/// at most: a table of the third level.
pub(crate) struct TableStock(Option<LowmemPages>);

impl TableStock {
    /// An empty stock.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Makes sure that one mapping can be made. May sleep.
    pub(crate) fn fill(&mut self) -> Result {
        if self.0.is_none() {
            self.0 = Some(LowmemPages::new(0)?);
        }
        Ok(())
    }

    /// Allocates a table that is needed at once. May sleep.
    pub(crate) fn allocate() -> Result<Pa> {
        Ok(LowmemPages::new(0)?.into_pa())
    }

    /// Takes a page out of the stock.
    pub(crate) fn take(&mut self) -> Option<Pa> {
        self.0.take().map(LowmemPages::into_pa)
    }
}

/// The memory of one VM's stage-2 table: tables are pages of lowmem.
///
/// # Invariants
///
/// Every table that the walker reaches came from [`TableStock`] and is owned by this value,
/// except for the root, which `root` owns.
pub(crate) struct TablePages {
    root: LowmemPages,
}

impl TablePages {
    /// Allocates the root.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            root: LowmemPages::new(regs::STAGE2_ROOT_ORDER)?,
        })
    }
}

impl TableMemory for TablePages {
    fn root(&self) -> Pa {
        self.root.pa()
    }

    #[inline]
    fn read(&self, table: Pa, index: usize) -> u64 {
        // SAFETY: The walker only gives tables of this value, and indices within them.
        unsafe { table_entry::read(lowmem_ptr(table).cast::<u64>().add(index)) }
    }

    #[inline]
    fn write(&self, table: Pa, index: usize, desc: u64) {
        // SAFETY: The walker only gives tables of this value, and indices within them. Only the
        // caller has the right to write to the entry.
        unsafe { table_entry::write(lowmem_ptr(table).cast::<u64>().add(index), desc) };
    }

    fn publish(&self) {
        dsb();
    }

    fn free(&self, table: Pa) {
        // SAFETY: The walker gives back each table once, when no descriptor leads to it.
        drop(unsafe { LowmemPages::from_pa(table, 0) });
    }
}
