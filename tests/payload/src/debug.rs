// SPDX-License-Identifier: GPL-2.0

//! Breakpoints, watchpoints and BKPT, as a system uses them for itself (Arm ARM C3, C11).

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::check::{ensure, ensure_eq, Outcome};
use crate::code::{self, BX_LR, SVC_0, THUMB_BX_LR};
use crate::exceptions::{self, Record, DATA_ABORT, PREFETCH_ABORT, SVC};
use crate::smp;
use crate::vfp::exit_often;

const NOP: u32 = 0xe320_f000;
const THUMB_NOP: u16 = 0xbf00;
const BKPT: u32 = 0xe120_0070;
const THUMB_BKPT: u16 = 0xbe00;
/// `ldr r0, [r0]; bx lr`, `str r1, [r0]; bx lr` and the same of a byte.
const LDR: u32 = 0xe590_0000;
const STR: u32 = 0xe580_1000;
const STRB: u32 = 0xe5c0_1000;

/// DBGDSCR.MDBGen, and MOE.
const MDBGEN: u32 = 1 << 15;
const MOE_BREAKPOINT: u32 = 1;
const MOE_BKPT: u32 = 3;
const MOE_WATCHPOINT: u32 = 10;

/// DBGBCR and DBGWCR: enabled, and the modes.
const E: u32 = 1;
const PL1: u32 = 1 << 1;
const USER: u32 = 2 << 1;
/// DBGBCR: all bytes, and each half of a word.
const WORD: u32 = 0b1111 << 5;
const FIRST_HALF: u32 = 0b0011 << 5;
const SECOND_HALF: u32 = 0b1100 << 5;
/// DBGBCR: linked to breakpoint 5, which compares CONTEXTIDR.
const LINKED_TO_5: u32 = 1 << 20 | 5 << 16;
const LINKED_CONTEXT: u32 = 3 << 20;
/// DBGWCR: loads, stores.
const LOADS: u32 = 1 << 3;
const STORES: u32 = 2 << 3;

/// DFSR and IFSR: a debug event, in the short-descriptor format. The emulator leaves DFSR.WnR clear.
const STATUS: u32 = 0x40f;
const DEBUG_EVENT: u32 = 0x02;

macro_rules! registers {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $encoding:literal;)*) => {
        $(
            #[allow(dead_code)]
            fn $get() -> u32 {
                let value;
                // SAFETY: Reads a debug register.
                unsafe {
                    asm!(concat!("mrc p14, 0, {}, ", $encoding), out(reg) value, options(nostack))
                };
                value
            }

            #[allow(dead_code)]
            fn $set(value: u32) {
                // SAFETY: The checks know which code and which data can match.
                unsafe {
                    asm!(concat!("mcr p14, 0, {}, ", $encoding), "isb", in(reg) value,
                         options(nostack))
                };
            }
        )*
    };
}

registers! {
    dscr, set_dscr: "c0, c2, 2";
    bvr0, set_bvr0: "c0, c0, 4";
    bcr0, set_bcr0: "c0, c0, 5";
    bvr5, set_bvr5: "c0, c5, 4";
    bcr5, set_bcr5: "c0, c5, 5";
    wvr3, set_wvr3: "c0, c3, 6";
    wcr3, set_wcr3: "c0, c3, 7";
}

fn contextidr() -> u32 {
    let value;
    // SAFETY: Reads a register.
    unsafe { asm!("mrc p15, 0, {}, c13, c0, 1", out(reg) value, options(nostack)) };
    value
}

fn set_contextidr(value: u32) {
    // SAFETY: The payload's translations are global, so the ASID does not matter.
    unsafe { asm!("mcr p15, 0, {}, c13, c0, 1", "isb", in(reg) value, options(nostack)) };
}

/// Debugging is on while something is checked, and all is off again afterwards.
fn debugging(check: impl FnOnce() -> Outcome) -> Outcome {
    set_dscr(MDBGEN);
    let outcome = check();
    for off in [set_bcr0, set_bcr5, set_wcr3, set_dscr] {
        off(0);
    }
    outcome
}

fn moe() -> u32 {
    dscr() >> 2 & 0xf
}

/// A function that ends in a breakpoint at an address.
fn ensure_breakpoint(result: Result<u32, Record>, address: usize, place: u32) -> Outcome {
    let Err(found) = result else {
        return ensure(false, "no breakpoint", [place, 0, 0]);
    };
    ensure_eq(found.vector, PREFETCH_ABORT, "the vector", place)?;
    ensure_eq(found.lr.wrapping_sub(4), address as u32, "the breakpoint", place)?;
    ensure_eq(found.ifsr & STATUS, DEBUG_EVENT, "IFSR", place)
}

/// A breakpoint stops at its instruction and nowhere else, however often the guest was left before.
pub(crate) fn breakpoints() -> Outcome {
    let code = code::arm([NOP, NOP, BX_LR]);
    debugging(|| {
        for (n, rounds) in [0, 1, 3, 0].into_iter().enumerate() {
            set_bvr0(code as u32 + 4);
            set_bcr0(E | PL1 | USER | WORD);
            exit_often(rounds);
            let place = n as u32;
            ensure_breakpoint(exceptions::catch(code, 0, 0), code + 4, place)?;
            exit_often(rounds);
            ensure_eq(moe(), MOE_BREAKPOINT, "DBGDSCR.MOE", place)?;
            ensure_eq(bvr0(), code as u32 + 4, "DBGBVR0", place)?;
            ensure_eq(bcr0(), E | PL1 | USER | WORD, "DBGBCR0", place)?;

            set_bcr0(PL1 | USER | WORD);
            ensure(exceptions::catch(code, 0, 0).is_ok(), "disabled", [place, 0, 0])?;
        }
        // MDBGen holds all of them back.
        set_bcr0(E | PL1 | USER | WORD);
        set_dscr(0);
        ensure(exceptions::catch(code, 0, 0).is_ok(), "without MDBGen", [0; 3])?;
        set_dscr(MDBGEN);
        ensure_breakpoint(exceptions::catch(code, 0, 0), code + 4, 9)
    })
}

/// The two instructions of a word, in Thumb state.
pub(crate) fn thumb_breakpoints() -> Outcome {
    let code = code::thumb([THUMB_NOP, THUMB_NOP, THUMB_NOP, THUMB_BX_LR]);
    debugging(|| {
        for (half, bytes) in [(0, FIRST_HALF), (2, SECOND_HALF)] {
            set_bvr0((code as u32 & !1) + 4);
            set_bcr0(E | PL1 | bytes);
            ensure_breakpoint(exceptions::catch(code, 0, 0), (code & !1) + 4 + half, bytes)?;
        }
        Ok(())
    })
}

/// A breakpoint for user mode does not stop PL1, nor one for PL1 user mode.
pub(crate) fn breakpoints_of_modes() -> Outcome {
    let code = code::arm([NOP, SVC_0, BX_LR]);
    debugging(|| {
        set_bvr0(code as u32);
        set_bcr0(E | USER | WORD);
        let found = exceptions::in_user_mode(code, 0);
        ensure_breakpoint(Err(found), code, 0)?;
        set_bcr0(E | PL1 | WORD);
        let found = exceptions::in_user_mode(code, 0);
        ensure_eq(found.vector, SVC, "user mode", 0)?;
        let code = code::arm([NOP, BX_LR]);
        ensure_breakpoint(exceptions::catch(code, 0, 0), code, 1)?;
        set_bcr0(E | USER | WORD);
        ensure(exceptions::catch(code, 0, 0).is_ok(), "PL1", [0; 3])
    })
}

/// A breakpoint that is linked to a CONTEXTIDR stops in that context alone.
pub(crate) fn linked_breakpoints() -> Outcome {
    let code = code::arm([NOP, BX_LR]);
    let old = contextidr();
    let outcome = debugging(|| {
        set_bvr5(0x1234_5600);
        set_bcr5(E | PL1 | USER | WORD | LINKED_CONTEXT);
        set_bvr0(code as u32);
        set_bcr0(E | PL1 | WORD | LINKED_TO_5);
        set_contextidr(0x1234_5700);
        ensure(exceptions::catch(code, 0, 0).is_ok(), "another context", [0; 3])?;
        set_contextidr(0x1234_5600);
        ensure_breakpoint(exceptions::catch(code, 0, 0), code, 0)
    });
    set_contextidr(old);
    outcome
}

/// Words of memory, one for each CPU.
#[repr(C, align(64))]
struct Watched(UnsafeCell<[u32; 2]>);

// SAFETY: Each CPU uses its own.
unsafe impl Sync for Watched {}

static WATCHED: [Watched; 8] = [const { Watched(UnsafeCell::new([0; 2])) }; 8];

/// A function that is stopped by a watchpoint at an address.
fn ensure_watchpoint(result: Result<u32, Record>, address: u32, place: u32) -> Outcome {
    let Err(found) = result else {
        return ensure(false, "no watchpoint", [place, 0, 0]);
    };
    ensure_eq(found.vector, DATA_ABORT, "the vector", place)?;
    ensure_eq(found.dfsr & STATUS, DEBUG_EVENT, "DFSR", place)?;
    ensure_eq(found.dfar, address, "DFAR", place)?;
    ensure_eq(moe(), MOE_WATCHPOINT, "DBGDSCR.MOE", place)
}

fn watch(cpu: usize) -> Outcome {
    let Some(watched) = WATCHED.get(cpu) else {
        return ensure(false, "a CPU has a number above 7", [cpu as u32, 0, 0]);
    };
    let address = watched.0.get() as u32;
    debugging(|| {
        for rounds in 0..3 {
            // Loads and stores of the word, of its first byte alone, and of the next word.
            for (bytes, kinds) in [(0b1111, LOADS), (0b1111, STORES), (0b0001, LOADS | STORES)] {
                set_wvr3(address);
                set_wcr3(E | PL1 | kinds | bytes << 5);
                exit_often(rounds);
                let place = kinds << 8 | bytes;
                let load = code::arm([LDR, BX_LR]);
                let loaded = exceptions::catch(load, address, 0);
                if kinds & LOADS != 0 {
                    ensure_watchpoint(loaded, address, place)?;
                } else {
                    ensure(loaded.is_ok(), "a load", [place, 0, 0])?;
                }
                let other = exceptions::catch(load, address + 4, 0);
                ensure(other.is_ok(), "the next word", [place, 0, 0])?;
                let store = code::arm([STR, BX_LR]);
                let stored = exceptions::catch(store, address, rounds);
                if kinds & STORES != 0 {
                    ensure_watchpoint(stored, address, place)?;
                } else {
                    ensure(stored.is_ok(), "a store", [place, 0, 0])?;
                }
                if kinds & STORES != 0 {
                    let store = code::arm([STRB, BX_LR]);
                    let stored = exceptions::catch(store, address + 1, rounds);
                    let is_watched = bytes == 0b1111;
                    ensure(stored.is_ok() != is_watched, "another byte", [place, 0, 0])?;
                }
            }
        }
        Ok(())
    })
}

/// A watchpoint stops the accesses of its kind to its bytes.
pub(crate) fn watchpoints() -> Outcome {
    watch(0)
}

/// Each CPU has its own.
pub(crate) fn of_all_cpus() -> Outcome {
    smp::on_all(|cpu| {
        for _ in 0..4 {
            watch(cpu)?;
            breakpoints()?;
        }
        Ok(())
    })
}

/// BKPT is a prefetch abort whether there are breakpoints or not.
pub(crate) fn breakpoint_instruction() -> Outcome {
    let both = |place| {
        let code = code::arm([NOP, BKPT, BX_LR]);
        ensure_breakpoint(exceptions::catch(code, 0, 0), code + 4, place)?;
        ensure_eq(moe(), MOE_BKPT, "DBGDSCR.MOE", place)?;
        let code = code::thumb([THUMB_NOP, THUMB_BKPT, THUMB_BX_LR, THUMB_NOP]);
        ensure_breakpoint(exceptions::catch(code, 0, 0), (code & !1) + 2, place + 1)?;
        let code = code::arm([NOP, BKPT, SVC_0]);
        let found = exceptions::in_user_mode(code, 0);
        ensure_breakpoint(Err(found), code + 4, place + 2)
    };
    both(0)?;
    debugging(|| {
        both(10)?;
        set_bvr0(0xffff_f000);
        set_bcr0(E | PL1 | WORD);
        both(20)
    })
}
