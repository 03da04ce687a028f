// SPDX-License-Identifier: GPL-2.0

//! Code that is made while the payload runs.

use core::cell::UnsafeCell;

use crate::cpu;

/// Instructions.
pub(crate) const BX_LR: u32 = 0xe12f_ff1e;
pub(crate) const SVC_0: u32 = 0xef00_0000;
pub(crate) const THUMB_BX_LR: u16 = 0x4770;
pub(crate) const THUMB_SVC_0: u16 = 0xdf00;

const WORDS: usize = 16;

/// Room for a few instructions of each CPU.
#[repr(C, align(64))]
struct Room(UnsafeCell<[u32; WORDS]>);

// SAFETY: Each CPU uses its own.
unsafe impl Sync for Room {}

static ROOMS: [Room; 8] = [const { Room(UnsafeCell::new([0; WORDS])) }; 8];

/// The room of this CPU.
fn room() -> *mut u32 {
    match ROOMS.get(cpu::this_cpu()) {
        Some(room) => room.0.get().cast(),
        None => crate::entry::give_up("a CPU has a number above 7"),
    }
}

/// Makes code that was written visible to instruction fetches, here and on other CPUs (B2.2.7).
pub(crate) fn synchronise(address: usize, len: usize) {
    let lines = (address & !63..address + len).step_by(64);
    for line in lines.clone() {
        cpu::clean_to_unification(line as u32);
    }
    for line in lines {
        cpu::invalidate_instructions(line as u32);
    }
    cpu::invalidate_branches(0);
}

/// Puts Arm instructions into this CPU's room; gives where they start.
pub(crate) fn arm<const N: usize>(instructions: [u32; N]) -> usize {
    let room = room();
    for (n, instruction) in instructions.into_iter().enumerate().take(WORDS) {
        // SAFETY: Within this CPU's room.
        unsafe { room.add(n).write_volatile(instruction) };
    }
    synchronise(room as usize, 4 * N);
    room as usize
}

/// Puts half words of Thumb code into this CPU's room; the address has bit 0 set.
pub(crate) fn thumb<const N: usize>(instructions: [u16; N]) -> usize {
    let room = room().cast::<u16>();
    for (n, instruction) in instructions.into_iter().enumerate().take(2 * WORDS) {
        // SAFETY: Within this CPU's room.
        unsafe { room.add(n).write_volatile(instruction) };
    }
    synchronise(room as usize, 2 * N);
    room as usize | 1
}

/// `MRC p15, opc1, r0, CRn, CRm, opc2`.
pub(crate) const fn mrc([opc1, crn, crm, opc2]: [u32; 4]) -> u32 {
    0xee10_0f10 | opc1 << 21 | crn << 16 | crm | opc2 << 5
}

/// `MCR p15, opc1, r0, CRn, CRm, opc2`.
pub(crate) const fn mcr(register: [u32; 4]) -> u32 {
    mrc(register) & !(1 << 20)
}

/// `MRRC p15, opc1, r0, r1, CRm`.
pub(crate) const fn mrrc([opc1, crm]: [u32; 2]) -> u32 {
    0xec51_0f00 | opc1 << 4 | crm
}
