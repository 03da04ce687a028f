// SPDX-License-Identifier: GPL-2.0

//! The payload's page tables, in the short-descriptor format (B3.5). `start.S` made the first level
//! of sections; this file maps and unmaps pages for checks.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::cpu;

/// A small page of normal memory, write-back, write-allocate, shared, for all to read and write.
pub(crate) const MEMORY_PAGE: u32 = 0x47e;
/// A small page of normal memory that is read-only for all (AP 0b111).
pub(crate) const READ_ONLY_PAGE: u32 = 0x67e;
/// A small page of normal memory that user mode may not even read (AP 0b001).
pub(crate) const PRIVILEGED_PAGE: u32 = 0x45e;
/// Execute never.
pub(crate) const EXECUTE_NEVER: u32 = 1;
/// Device memory.
pub(crate) const DEVICE_PAGE: u32 = 0x37;

/// A MiB that is for checks to map pages in.
pub(crate) const WINDOW: u32 = 0x9000_0000;
/// The MiB with the high vectors.
pub(crate) const HIGH: u32 = 0xfff0_0000;
/// Sections that are not mapped, for checks.
pub(crate) const UNMAPPED: u32 = 0x9100_0000;

extern "C" {
    static page_table: [AtomicU32; 4096];
}

/// The tables of [`WINDOW`] and [`HIGH`].
pub(crate) static WINDOW_TABLE: PageTable = PageTable::new();
pub(crate) static HIGH_TABLE: PageTable = PageTable::new();

/// A table of the second level.
#[repr(C, align(1024))]
pub(crate) struct PageTable([AtomicU32; 256]);

impl PageTable {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 256])
    }

    /// Sets the descriptor of a page.
    pub(crate) fn set(&self, address: u32, descriptor: u32) {
        if let Some(entry) = self.0.get((address >> 12 & 0xff) as usize) {
            entry.store(descriptor, Ordering::Relaxed);
        }
        invalidate(address);
    }

    /// Puts the table into the first level.
    pub(crate) fn insert(&'static self, section: u32) {
        set_section(section, self.0.as_ptr() as u32 | 1);
    }
}

/// Sets a descriptor of the first level.
pub(crate) fn set_section(address: u32, descriptor: u32) {
    // SAFETY: The table of `start.S`. There is no other reference to it.
    let table = unsafe { &page_table };
    if let Some(entry) = table.get((address >> 20) as usize) {
        entry.store(descriptor, Ordering::Relaxed);
    }
    invalidate(address);
}

/// Forgets a translation on all CPUs.
fn invalidate(address: u32) {
    // SAFETY: DSB, TLBIMVAAIS, BPIALLIS.
    unsafe {
        asm!("dsb", "mcr p15, 0, {0}, c8, c3, 3", "mcr p15, 0, {0}, c7, c1, 6", "dsb", "isb",
             in(reg) address & !0xfff, options(nostack));
    }
}

/// Forgets all translations on this CPU.
pub(crate) fn invalidate_all() {
    // SAFETY: DSB, TLBIALL, BPIALL.
    unsafe {
        asm!("dsb", "mcr p15, 0, {0}, c8, c7, 0", "mcr p15, 0, {0}, c7, c5, 6", "dsb", "isb",
             in(reg) 0, options(nostack));
    }
}

/// Translates an address as a privileged read (or write) would be; gives PAR.
pub(crate) fn translate(address: u32, write: bool) -> u32 {
    let par;
    // SAFETY: ATS1CPR or ATS1CPW, and PAR.
    unsafe {
        if write {
            asm!("mcr p15, 0, {0}, c7, c8, 1", "isb", "mrc p15, 0, {1}, c7, c4, 0",
                 in(reg) address, out(reg) par, options(nostack));
        } else {
            asm!("mcr p15, 0, {0}, c7, c8, 0", "isb", "mrc p15, 0, {1}, c7, c4, 0",
                 in(reg) address, out(reg) par, options(nostack));
        }
    }
    par
}

/// Makes the windows for checks.
pub(crate) fn init() {
    WINDOW_TABLE.insert(WINDOW);
    HIGH_TABLE.insert(HIGH);
}

/// The page tables of the long-descriptor format (B3.6), for a check: the first GiB is devices,
/// the third memory, and the second level of the fourth maps nothing.
#[repr(C, align(4096))]
struct LongTables {
    second: [u64; 512],
    first: [u64; 4],
}

static mut LONG_TABLES: LongTables = LongTables {
    second: [0; 512],
    first: [0; 4],
};

/// Does something with translation by the long-descriptor format on this CPU, interrupts masked.
pub(crate) fn with_long_descriptors<T>(f: impl FnOnce() -> T) -> T {
    /// A block, accessed, inner shareable, for all to read and write.
    const BLOCK: u64 = 0x741;
    /// The attribute index of device memory.
    const DEVICE: u64 = 1 << 2;
    /// MAIR0: write-back memory, device memory.
    const MAIR: u32 = 0x04ff;
    const EAE: u32 = 1 << 31;
    /// TTBCR: EAE; walks of TTBR0 inner and outer write-back, inner shareable.
    const TTBCR: u32 = EAE | 0x3500;
    let tables = &raw mut LONG_TABLES;
    let masked = cpu::mask_all();
    // SAFETY: Only this check uses the tables, on one CPU at a time. All that is in use now is
    // mapped the same by them.
    unsafe {
        (*tables).first = [
            BLOCK | DEVICE,
            0,
            0x8000_0000 | BLOCK,
            (&raw const (*tables).second) as usize as u64 | 3,
        ];
        let first = (&raw const (*tables).first) as usize as u32;
        let old = switch_translation([TTBCR, first, MAIR]);
        let result = f();
        switch_translation(old);
        cpu::restore_mask(masked);
        result
    }
}

/// Within [`with_long_descriptors`], has the fourth GiB's table elsewhere while something is done.
pub(crate) fn with_long_table<T>(table: u64, f: impl FnOnce() -> T) -> T {
    let tables = &raw mut LONG_TABLES;
    // SAFETY: Only this check uses the tables.
    let entry = unsafe { &raw mut (*tables).first[3] };
    // SAFETY: As above.
    let old = unsafe { entry.read_volatile() };
    // SAFETY: As above.
    unsafe { entry.write_volatile(table | 3) };
    invalidate_all();
    let result = f();
    // SAFETY: As above.
    unsafe { entry.write_volatile(old) };
    invalidate_all();
    result
}

/// Changes TTBCR, TTBR0 and PRRR. Returns the old values. The MMU is off meanwhile, and no memory
/// is accessed.
///
/// # Safety
///
/// The new tables have to map all memory in use as it is.
unsafe fn switch_translation([ttbcr, ttbr0, prrr]: [u32; 3]) -> [u32; 3] {
    let (old_ttbcr, old_ttbr0, old_prrr);
    // SAFETY: As the caller says.
    unsafe {
        asm!(
            "dsb",
            "mrc p15, 0, {old_ttbcr}, c2, c0, 2",
            "mrc p15, 0, {old_ttbr0}, c2, c0, 0",
            "mrc p15, 0, {old_prrr}, c10, c2, 0",
            "mrc p15, 0, {sctlr}, c1, c0, 0",
            "bic {sctlr}, {sctlr}, #1",
            "mcr p15, 0, {sctlr}, c1, c0, 0",
            "isb",
            "mcr p15, 0, {ttbcr}, c2, c0, 2",
            "isb",
            "mcrr p15, 0, {ttbr0}, {zero}, c2",
            "mcr p15, 0, {prrr}, c10, c2, 0",
            "isb",
            "mcr p15, 0, {zero}, c8, c7, 0",
            "mcr p15, 0, {zero}, c7, c5, 6",
            "dsb",
            "isb",
            "orr {sctlr}, {sctlr}, #1",
            "mcr p15, 0, {sctlr}, c1, c0, 0",
            "isb",
            old_ttbcr = out(reg) old_ttbcr,
            old_ttbr0 = out(reg) old_ttbr0,
            old_prrr = out(reg) old_prrr,
            sctlr = out(reg) _,
            ttbcr = in(reg) ttbcr,
            ttbr0 = in(reg) ttbr0,
            prrr = in(reg) prrr,
            zero = in(reg) 0,
            options(nostack)
        );
    }
    [old_ttbcr, old_ttbr0, old_prrr]
}
