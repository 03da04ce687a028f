// SPDX-License-Identifier: GPL-2.0

//! Loads and stores to a device, of the kinds that have a syndrome.

use crate::check::{ensure_eq, Outcome};
use crate::doorbell::{self, SCRATCH};
use crate::io;

pub(crate) fn echo() -> Outcome {
    ensure_eq(doorbell::echo(), doorbell::ECHO_VALUE, "the echo register", 0)
}

/// Accesses of all widths to a device, and their effect there.
pub(crate) fn widths() -> Outcome {
    io::write(SCRATCH, 0x4433_2211);
    io::write_half(SCRATCH + 4, 0x6655);
    io::write_byte(SCRATCH + 6, 0x77);
    io::write_byte(SCRATCH + 7, 0x88);
    ensure_eq(io::read(SCRATCH + 4), 0x8877_6655, "a word of three stores", 0)?;
    ensure_eq(io::read_half(SCRATCH + 2).into(), 0x4433, "a half word", 0)?;
    ensure_eq(io::read_byte(SCRATCH + 3).into(), 0x44, "a byte", 0)?;
    // Sign extension, of a byte and of a half word.
    let byte = io::read_signed_byte(SCRATCH + 7);
    ensure_eq(byte as u32, 0xffff_ff88, "a signed byte", 0)?;
    let half = io::read_signed_half(SCRATCH + 6);
    ensure_eq(half as u32, 0xffff_8877, "a signed half word", 0)?;
    // Only the stored bytes have changed.
    io::write_signed_half(SCRATCH + 2, -2);
    io::write_signed_byte(SCRATCH, -3);
    ensure_eq(io::read(SCRATCH), 0xfffe_22fd, "a word of parts", 0)?;
    ensure_eq(io::read(SCRATCH + 4), 0x8877_6655, "the word behind it", 0)
}
