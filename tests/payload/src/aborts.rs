// SPDX-License-Identifier: GPL-2.0

//! Data and prefetch aborts, and the contents of the fault registers after them (B3.12, B3.13).

use crate::check::{ensure, ensure_eq, Outcome};
use crate::code::{self, BX_LR, SVC_0, THUMB_BX_LR, THUMB_SVC_0};
use crate::cpu;
use crate::exceptions::{self, Record, DATA_ABORT, PREFETCH_ABORT};
use crate::mmu::{self, WINDOW, WINDOW_TABLE};
use crate::psci;
use crate::traps::{self, Expected, A, I, MODE, T};
use crate::vfp::exit_often;

/// R0 is the address in each.
const LDR: u32 = 0xe590_0000;
const STR: u32 = 0xe580_1000;
const LDM: u32 = 0xe890_0006;
const STM: u32 = 0xe880_0006;
const LDRD: u32 = 0xe1c0_20d0;
const STRD: u32 = 0xe1c0_20f0;
const LDREX: u32 = 0xe190_1f9f;
const NOP: u32 = 0xe320_f000;
const THUMB_LDR: u16 = 0x6800;
const THUMB_STR: u16 = 0x6001;
const THUMB_NOP: u16 = 0xbf00;

/// ATS1CPR, ATS1CPW, ATS1CUR, ATS1CUW.
const TRANSLATIONS: [u32; 4] = [0xee07_0f18, 0xee07_0f38, 0xee07_0f58, 0xee07_0f78];

/// DFSR.WnR.
const WRITE: u32 = 1 << 11;
/// DFSR.CM.
const MAINTENANCE: u32 = 1 << 13;
/// Fault status of the short-descriptor format (table B3-23).
const ALIGNMENT: u32 = 0x01;
const TRANSLATION_1: u32 = 0x05;
const TRANSLATION_2: u32 = 0x07;
const ACCESS_FLAG_2: u32 = 0x06;
const DOMAIN_1: u32 = 0x09;
const DOMAIN_2: u32 = 0x0b;
const PERMISSION_1: u32 = 0x0d;
const PERMISSION_2: u32 = 0x0f;
const EXTERNAL: u32 = 0x08;
const WALK_EXTERNAL_2: u32 = 0x0e;
/// FS, without the domain, which is unknown for some faults.
const STATUS: u32 = 0x40f;
/// The fault status of the long-descriptor format (table B3-24), with bit 9, which marks that
/// format.
const LONG: u32 = 1 << 9;
const LONG_STATUS: u32 = 0x23f;

const SCTLR_A: u32 = 1 << 1;
const SCTLR_AFE: u32 = 1 << 29;
const FLAGS: u32 = 0xf000_0000;

/// A word to be at, and a page to be mapped.
#[repr(C, align(4096))]
struct Page([u32; 1024]);
static PAGE: Page = Page([0x5a5a_0001; 1024]);

fn page() -> u32 {
    (&raw const PAGE) as usize as u32
}

/// The instruction at `code + offset` aborts in the way that is told.
struct Abort {
    vector: u32,
    status: u32,
    mask: u32,
    address: u32,
}

impl Abort {
    fn data(status: u32, address: u32) -> Self {
        Self {
            vector: DATA_ABORT,
            status,
            mask: STATUS | WRITE,
            address,
        }
    }

    fn prefetch(status: u32, address: u32) -> Self {
        Self {
            vector: PREFETCH_ABORT,
            status,
            mask: STATUS,
            address,
        }
    }

    /// Checks the record of the instruction at `pc`, executed with `psr`.
    fn check(&self, mut found: Record, pc: u32, psr: u32) -> Outcome {
        let is_data = self.vector == DATA_ABORT;
        let expected = Expected {
            vector: self.vector,
            mode: 0x17,
            lr: pc + if is_data { 8 } else { 4 },
            spsr: psr,
            masks: A | I,
        };
        found.spsr &= !FLAGS;
        expected.check(&found)?;
        if is_data {
            ensure_eq(found.dfsr & self.mask, self.status, "DFSR", self.address)?;
            ensure_eq(found.dfar, self.address, "DFAR", self.status)
        } else {
            ensure_eq(found.ifsr & self.mask, self.status, "IFSR", self.address)?;
            ensure_eq(found.ifar, self.address, "IFAR", self.status)
        }
    }

    /// One Arm instruction with the address in R0.
    fn of(&self, instruction: u32) -> Outcome {
        let code = code::arm([NOP, instruction, BX_LR]);
        let address = self.address;
        match exceptions::catch(code, address, 0) {
            Ok(value) => ensure(false, "no abort", [instruction, address, value]),
            Err(found) => {
                ensure_eq(found.regs[0], address, "R0", instruction)?;
                self.check(found, code as u32 + 4, cpu::cpsr() & !FLAGS)
            }
        }
    }

    /// The same check in user mode.
    fn of_user(&self, instruction: u32) -> Outcome {
        let code = code::arm([NOP, instruction, SVC_0]);
        let found = exceptions::in_user_mode(code, self.address);
        self.check(found, code as u32 + 4, cpu::cpsr() & !FLAGS & !MODE | 0x10)
    }

    /// The same check in Thumb state, in both modes.
    fn of_thumb(&self, instruction: u16) -> Outcome {
        let code = code::thumb([THUMB_NOP, instruction, THUMB_BX_LR]);
        match exceptions::catch(code, self.address, 0) {
            Ok(value) => ensure(false, "no abort", [instruction.into(), self.address, value])?,
            Err(found) => self.check(found, code as u32 + 1, cpu::cpsr() & !FLAGS | T)?,
        }
        let code = code::thumb([THUMB_NOP, instruction, THUMB_SVC_0]);
        let found = exceptions::in_user_mode(code, self.address);
        self.check(found, code as u32 + 1, cpu::cpsr() & !FLAGS & !MODE | 0x10 | T)
    }

    /// A jump to the address.
    fn of_fetch(&self, thumb: bool) -> Outcome {
        let address = self.address | u32::from(thumb);
        let t = if thumb { T } else { 0 };
        match exceptions::catch(address as usize, 0, 0) {
            Ok(value) => ensure(false, "no abort", [address, value, 0])?,
            Err(found) => self.check(found, self.address, cpu::cpsr() & !FLAGS | t)?,
        }
        let found = exceptions::in_user_mode(address as usize, 0);
        self.check(found, self.address, cpu::cpsr() & !FLAGS & !MODE | 0x10 | t)
    }
}

pub(crate) fn alignment() -> Outcome {
    let address = page() + 6;
    for instruction in [LDM, LDRD, LDREX] {
        Abort::data(ALIGNMENT, address).of(instruction)?;
        Abort::data(ALIGNMENT, address).of_user(instruction)?;
    }
    for instruction in [STM, STRD] {
        Abort::data(ALIGNMENT | WRITE, address).of(instruction)?;
    }
    // These may be unaligned unless SCTLR.A forbids it.
    let code = code::arm([LDR, BX_LR]);
    let loaded = exceptions::catch(code, address, 0).unwrap_or(0);
    ensure_eq(loaded, 0x0001_5a5a, "an unaligned load", address)?;
    exceptions::with_sctlr(SCTLR_A, 0, || {
        Abort::data(ALIGNMENT, address).of(LDR)?;
        Abort::data(ALIGNMENT | WRITE, address).of(STR)?;
        Abort::data(ALIGNMENT, address).of_thumb(THUMB_LDR)
    })
}

pub(crate) fn translation() -> Outcome {
    let section = mmu::UNMAPPED + 0x1234;
    for instruction in [LDR, LDM, LDRD, LDREX] {
        Abort::data(TRANSLATION_1, section).of(instruction)?;
        Abort::data(TRANSLATION_2, WINDOW + 0x5678).of(instruction)?;
        Abort::data(TRANSLATION_2, WINDOW + 0x5678).of_user(instruction)?;
    }
    for instruction in [STR, STM, STRD] {
        Abort::data(TRANSLATION_1 | WRITE, section).of(instruction)?;
        Abort::data(TRANSLATION_2 | WRITE, WINDOW + 0x5678).of(instruction)?;
    }
    Abort::data(TRANSLATION_2, WINDOW + 0x5678).of_thumb(THUMB_LDR)?;
    Abort::data(TRANSLATION_2 | WRITE, WINDOW + 0x5678).of_thumb(THUMB_STR)?;
    for thumb in [false, true] {
        Abort::prefetch(TRANSLATION_1, section).of_fetch(thumb)?;
        Abort::prefetch(TRANSLATION_2, WINDOW + 0x5678).of_fetch(thumb)?;
    }
    // A page that comes and goes.
    let code = code::arm([LDR, BX_LR]);
    for round in 0..10 {
        WINDOW_TABLE.set(WINDOW + 0x5000, page() | mmu::MEMORY_PAGE);
        let loaded = exceptions::catch(code, WINDOW + 0x5678, 0).unwrap_or(0);
        WINDOW_TABLE.set(WINDOW + 0x5000, 0);
        ensure_eq(loaded, 0x5a5a_0001, "a page that is mapped", round)?;
        let found = exceptions::catch(code, WINDOW + 0x5678, 0);
        ensure(found.is_err(), "a page that is not mapped any more", [round, 0, 0])?;
    }
    Ok(())
}

pub(crate) fn permission() -> Outcome {
    let address = WINDOW + 0x7abc;
    let map = |attributes| WINDOW_TABLE.set(address & !0xfff, page() | attributes);
    map(mmu::READ_ONLY_PAGE);
    let result = Abort::data(PERMISSION_2 | WRITE, address)
        .of(STR)
        .and_then(|()| Abort::data(PERMISSION_2 | WRITE, address).of_user(STR));
    map(mmu::PRIVILEGED_PAGE);
    let result = result
        .and_then(|()| Abort::data(PERMISSION_2, address).of_user(LDR))
        .and_then(|()| Abort::data(PERMISSION_2 | WRITE, address).of_user(STR));
    map(mmu::MEMORY_PAGE | mmu::EXECUTE_NEVER);
    let result = result
        .and_then(|()| Abort::prefetch(PERMISSION_2, address).of_fetch(false))
        .and_then(|()| Abort::prefetch(PERMISSION_2, address).of_fetch(true));
    // AP[0] is the access flag now, and is clear.
    map(mmu::MEMORY_PAGE & !(1 << 4));
    let result = result.and_then(|()| {
        exceptions::with_sctlr(SCTLR_AFE, 0, || {
            mmu::invalidate_all();
            Abort::data(ACCESS_FLAG_2, address).of(LDR)?;
            Abort::data(ACCESS_FLAG_2 | WRITE, address).of(STR)
        })
    });
    mmu::invalidate_all();
    map(0);
    result?;
    // A section: read-only for all.
    let address = mmu::UNMAPPED + 0x4444;
    mmu::set_section(address, page() & 0xfff0_0000 | 0x0001_9c0e);
    let result = Abort::data(PERMISSION_1 | WRITE, address).of(STR);
    // In domain 5, which permits no access.
    mmu::set_section(address, page() & 0xfff0_0000 | 0x0001_1c0e | 5 << 5);
    let domain = |status, address| Abort {
        mask: STATUS | WRITE | 0xf0,
        ..Abort::data(status | 5 << 4, address)
    };
    let result = result.and_then(|()| domain(DOMAIN_1, address).of(LDR));
    mmu::set_section(address, 0);
    result?;
    let table = (&raw const WINDOW_TABLE) as usize as u32;
    WINDOW_TABLE.set(WINDOW + 0x7000, page() | mmu::MEMORY_PAGE);
    mmu::set_section(WINDOW, table | 1 | 5 << 5);
    let result = domain(DOMAIN_2 | WRITE, WINDOW + 0x7004).of(STR);
    mmu::set_section(WINDOW, table | 1);
    WINDOW_TABLE.set(WINDOW + 0x7000, 0);
    result
}

/// Physical addresses of devices.
const DEVICES: u32 = 0x0102_0000;

/// Code in a device: the bus answers with an abort.
pub(crate) fn external() -> Outcome {
    let address = WINDOW + 0x9010;
    // Executable memory, as far as the guest's own tables go.
    WINDOW_TABLE.set(address & !0xfff, DEVICES | mmu::MEMORY_PAGE);
    let result = Abort::prefetch(EXTERNAL, address)
        .of_fetch(false)
        .and_then(|()| Abort::prefetch(EXTERNAL, address).of_fetch(true));
    WINDOW_TABLE.set(address & !0xfff, 0);
    result
}

/// Physical addresses that no machine uses.
const NOTHING: u32 = 0x0b80_0000;

/// Page tables where there is no memory: the abort tells the level of the walk.
pub(crate) fn external_on_walk() -> Outcome {
    let address = WINDOW + 0x9010;
    // The window's table of the second level.
    mmu::set_section(WINDOW, NOTHING | 1);
    let read = Abort::data(WALK_EXTERNAL_2, address);
    let write = Abort::data(WALK_EXTERNAL_2 | WRITE, address);
    let result = read
        .of(LDR)
        .and_then(|()| read.of_user(LDR))
        .and_then(|()| write.of(STR))
        .and_then(|()| read.of(LDM))
        .and_then(|()| read.of_thumb(THUMB_LDR))
        .and_then(|()| Abort::prefetch(WALK_EXTERNAL_2, address).of_fetch(false))
        .and_then(|()| Abort::prefetch(WALK_EXTERNAL_2, address).of_fetch(true))
        .and_then(|()| translations(Abort::data(WALK_EXTERNAL_2, address)));
    WINDOW_TABLE.insert(WINDOW);
    result
}

/// A translation by CP15 takes the abort, too, instead of telling it in PAR (B3.12.5): as a write, and
/// an operation by address (B4.1.52). The emulator's own hardware leaves these two bits out.
fn translations(abort: Abort) -> Outcome {
    let kind = if crate::board::is_guest() { WRITE | MAINTENANCE } else { 0 };
    let abort = Abort {
        status: abort.status | kind,
        mask: abort.mask & !WRITE | kind,
        ..abort
    };
    TRANSLATIONS.into_iter().try_for_each(|translation| abort.of(translation))
}

/// The long-descriptor format has other fault status.
pub(crate) fn long_descriptors() -> Outcome {
    mmu::with_long_descriptors(|| {
        let long = |vector, status, address| Abort {
            vector,
            status: LONG | status,
            mask: if vector == DATA_ABORT {
                LONG_STATUS | WRITE
            } else {
                LONG_STATUS
            },
            address,
        };
        // Translation faults of levels 1 and 2; alignment.
        long(DATA_ABORT, 0x05, 0x4000_1000).of(LDR)?;
        long(DATA_ABORT, 0x06, 0xc123_4000).of(LDR)?;
        long(DATA_ABORT, 0x06 | WRITE, 0xc123_4000).of(STR)?;
        long(DATA_ABORT, 0x06 | WRITE, 0xc123_4000).of_user(STR)?;
        long(DATA_ABORT, 0x06, 0xc123_4000).of_thumb(THUMB_LDR)?;
        long(DATA_ABORT, 0x21, page() + 6).of(LDM)?;
        long(PREFETCH_ABORT, 0x06, 0xc123_4000).of_fetch(false)?;
        long(PREFETCH_ABORT, 0x05, 0x4000_1000).of_fetch(true)?;
        // The table of the second level where there is no memory.
        mmu::with_long_table(NOTHING.into(), || {
            long(DATA_ABORT, 0x16, 0xc123_4000).of(LDR)?;
            long(DATA_ABORT, 0x16 | WRITE, 0xc123_4000).of_user(STR)?;
            long(PREFETCH_ABORT, 0x16, 0xc123_4000).of_fetch(false)?;
            translations(long(DATA_ABORT, 0x16, 0xc123_4000))
        })?;
        // Undefined instructions that a hypervisor has to make.
        for &instruction in traps::no_registers() {
            let code = code::arm([instruction, BX_LR]);
            let found = exceptions::catch(code, 0, 0);
            let vector = found.err().map_or(0, |found| found.vector);
            ensure_eq(vector, exceptions::UNDEFINED, "the vector", instruction)?;
        }
        let code = code::arm([LDR, BX_LR]);
        for _ in 0..3 {
            psci::version();
            let loaded = exceptions::catch(code, page(), 0).unwrap_or(0);
            ensure_eq(loaded, 0x5a5a_0001, "memory", 0)?;
        }
        if crate::board::is_guest() {
            // Code in a device that is not execute-never.
            long(PREFETCH_ABORT, 0x10, DEVICES).of_fetch(false)?;
        }
        Ok(())
    })
}

/// PAR, and the fault registers, are the guest's own over exits.
pub(crate) fn registers_kept() -> Outcome {
    let good = mmu::translate(page() + 0x10, false);
    ensure_eq(good & !0xfff, page(), "PAR of memory", good)?;
    ensure_eq(good & 1, 0, "PAR.F of memory", good)?;
    let bad = mmu::translate(mmu::UNMAPPED, true);
    // Bit 0 and, from bit 1 on, FS.
    ensure_eq(bad & 0xfff, TRANSLATION_1 << 1 | 1, "PAR of nothing", 0)?;
    // DFSR, IFSR, ADFSR, AIFSR, DFAR, IFAR, PAR, TPIDRURW, TPIDRURO, CONTEXTIDR, CNTKCTL; which of
    // their bits can be written.
    let registers: [([u32; 4], u32); 8] = [
        ([0, 5, 0, 0], 0x80f),
        ([0, 5, 0, 1], 0x40f),
        ([0, 6, 0, 0], u32::MAX),
        ([0, 6, 0, 2], u32::MAX),
        ([0, 13, 0, 1], u32::MAX),
        ([0, 13, 0, 2], u32::MAX),
        ([0, 13, 0, 3], u32::MAX),
        ([0, 7, 4, 0], 0xffff_f000),
    ];
    for (round, (register, mask)) in (0..).zip(registers) {
        for value in [0x1234_5678 + round, !0x1234_5678 - round] {
            let old = exceptions::catch(code::arm([code::mrc(register), BX_LR]), 0, 0);
            let write = code::arm([code::mcr(register), BX_LR]);
            let written = exceptions::catch(write, value, 0);
            ensure(written.is_ok(), "a write is undefined", [register[1], register[2], 0])?;
            exit_often(3);
            psci::version();
            let read = code::arm([code::mrc(register), BX_LR]);
            let found = exceptions::catch(read, 0, 0).unwrap_or(0);
            ensure_eq(found & mask, value & mask, "a register changed", round)?;
            let restore = code::arm([code::mcr(register), BX_LR]);
            ensure(exceptions::catch(restore, old.unwrap_or(0), 0).is_ok(), "restore", [0; 3])?;
        }
    }
    Ok(())
}
