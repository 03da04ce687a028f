// SPDX-License-Identifier: GPL-2.0

//! The doorbell: the device of the monitor that starts, hears and helps the payload.
//! `tests/monitor/src/doorbell.rs` is its other side.

use core::ptr;

const BASE: usize = 0x0102_0000;

// Registers, as the monitor has them too.
const NAME: usize = 0x00;
const NAME_LEN: usize = 0x04;
const VALUE: usize = 0x08;
const COMMAND: usize = 0x0c;
const MODE: usize = 0x10;
const CPUS: usize = 0x14;
const ECHO: usize = 0x18;
const SCRATCH: usize = 0x20;
const SPI_LEVEL: usize = 0x28;

const COMMAND_MEASURED: u32 = 1;
const COMMAND_PASSED: u32 = 2;
const COMMAND_FAILED: u32 = 3;

pub(crate) const MODE_BENCH: u32 = 1;
pub(crate) const MODE_EXITS: u32 = 2;

/// What a read of the echo register gives.
pub(crate) const ECHO_VALUE: u32 = 0x8182_8384;
/// The interrupt of the doorbell.
pub(crate) const SPI: u32 = 40;

fn read(register: usize) -> u32 {
    // SAFETY: A register of the doorbell.
    unsafe { ptr::read_volatile((BASE + register) as *const u32) }
}

fn write(register: usize, value: u32) {
    // SAFETY: A register of the doorbell.
    unsafe { ptr::write_volatile((BASE + register) as *mut u32, value) }
}

pub(crate) fn mode() -> u32 {
    read(MODE)
}

pub(crate) fn cpus() -> u32 {
    read(CPUS)
}

#[inline(always)]
pub(crate) fn echo() -> u32 {
    read(ECHO)
}

/// Gives the monitor something to measure.
pub(crate) fn read_for_ever() -> ! {
    loop {
        echo();
    }
}

fn command(name: &str, value: u32, command: u32) {
    write(NAME, name.as_ptr() as u32);
    write(NAME_LEN, name.len() as u32);
    write(VALUE, value);
    write(COMMAND, command);
}

/// Reports what an operation costs.
pub(crate) fn measured(name: &str, instructions: u32) {
    command(name, instructions, COMMAND_MEASURED);
}

/// Reports a check that passed.
pub(crate) fn pass(name: &str) {
    command(name, 0, COMMAND_PASSED);
}

/// Reports a check that failed, with a number that says how.
pub(crate) fn fail(name: &str, value: u32) {
    command(name, value, COMMAND_FAILED);
}

/// Sets the level of the doorbell's interrupt.
pub(crate) fn set_spi(level: bool) {
    write(SPI_LEVEL, level.into());
}

/// Eight bytes that can be read and written in any width.
pub(crate) fn scratch<T>() -> *mut T {
    (BASE + SCRATCH) as *mut T
}
