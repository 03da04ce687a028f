// SPDX-License-Identifier: GPL-2.0

//! Exceptions that a check waits for. `exceptions.S` has the vectors.

use core::arch::asm;
use core::mem::offset_of;

use crate::cpu;

/// The registers at the moment of an exception.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Record {
    /// R0 to R12; after an FIQ, R8 to R12 are those of FIQ mode.
    pub regs: [u32; 13],
    /// LR and SPSR of the exception's mode.
    pub lr: u32,
    pub spsr: u32,
    /// CPSR, with the mode of the exception.
    pub cpsr: u32,
    /// The vector and its table; 0 if there was no exception.
    pub vector: u32,
    pub dfsr: u32,
    pub dfar: u32,
    pub ifsr: u32,
    pub ifar: u32,
    pub sp_svc: u32,
    pub lr_svc: u32,
    pub sp_usr: u32,
    pub lr_usr: u32,
    armed: u32,
    resume: [u32; 2],
}

// As `exceptions.S` and `start.S` have them.
const _: () = assert!(
    size_of::<Record>() <= 128
        && offset_of!(Record, lr) == 52
        && offset_of!(Record, vector) == 64
        && offset_of!(Record, dfsr) == 68
        && offset_of!(Record, sp_svc) == 84
        && offset_of!(Record, armed) == 100
);

/// Vectors, as a record has them.
pub(crate) const UNDEFINED: u32 = 1;
pub(crate) const SVC: u32 = 2;
pub(crate) const PREFETCH_ABORT: u32 = 3;
pub(crate) const DATA_ABORT: u32 = 4;
pub(crate) const IRQ: u32 = 6;
pub(crate) const FIQ: u32 = 7;
/// Added to these: which table the CPU went by.
pub(crate) const FROM_CATCHING: u32 = 0x20;
pub(crate) const FROM_HIGH: u32 = 0x40;
pub(crate) const FROM_THUMB: u32 = 0x80;

/// The registers of user mode for [`enter_user`].
pub(crate) const SP_USR: u32 = 0x5e5e_0010;
pub(crate) const LR_USR: u32 = 0x1e1e_0010;

extern "C" {
    static vectors_normal: u8;
    static vectors_catching: u8;
    static vectors_thumb: u8;
    pub(crate) static vectors_high: u8;
    fn catch_exception(function: usize, a: u32, b: u32, record: *mut Record) -> u32;
    fn enter_user();
    fn enter_with();
}

/// The record of this CPU.
fn record() -> *mut Record {
    let record: *mut Record;
    // SAFETY: Reads TPIDRPRW, where `start.S` put the record's address.
    unsafe { asm!("mrc p15, 0, {}, c13, c0, 4", out(reg) record, options(nomem, nostack)) };
    record
}

/// Calls a function of one or two words that may end in an exception. Gives its value if it
/// returns.
pub(crate) fn catch(function: usize, a: u32, b: u32) -> Result<u32, Record> {
    // SAFETY: `function` is code of ours that keeps to the calling convention or ends in an
    // exception; the record is this CPU's own.
    unsafe {
        let record = record();
        let value = catch_exception(function, a, b, record);
        let record = record.read_volatile();
        if record.vector == 0 {
            Ok(value)
        } else {
            Err(record)
        }
    }
}

/// Runs code in user mode, with a word in R0, until it ends in an exception.
pub(crate) fn in_user_mode(code: usize, argument: u32) -> Record {
    match catch(enter_user as usize, code as u32, argument) {
        Err(record) => record,
        // `enter_user` does not return.
        Ok(_) => crate::entry::give_up("user mode came back without an exception"),
    }
}

/// Goes on at an address with any CPSR, until there is an exception.
pub(crate) fn with_psr(code: usize, psr: u32) -> Record {
    match catch(enter_with as usize, code as u32, psr) {
        Err(record) => record,
        Ok(_) => crate::entry::give_up("it came back without an exception"),
    }
}

/// The tables of vectors.
#[derive(Clone, Copy)]
pub(crate) enum Vectors {
    /// Interrupts go to their handler, other exceptions are caught.
    Normal,
    /// All exceptions are caught.
    Catching,
    /// In Thumb state.
    Thumb,
}

/// Sets VBAR.
pub(crate) fn set_vectors(vectors: Vectors) {
    let address = match vectors {
        Vectors::Normal => &raw const vectors_normal,
        Vectors::Catching => &raw const vectors_catching,
        Vectors::Thumb => &raw const vectors_thumb,
    };
    // SAFETY: Each is a table of vectors.
    unsafe { asm!("mcr p15, 0, {}, c12, c0, 0", "isb", in(reg) address, options(nostack)) };
}

/// SCTLR, changed while something is done.
pub(crate) fn with_sctlr<T>(set: u32, clear: u32, f: impl FnOnce() -> T) -> T {
    let old = cpu::sctlr();
    cpu::set_sctlr(old & !clear | set);
    let result = f();
    cpu::set_sctlr(old);
    result
}
