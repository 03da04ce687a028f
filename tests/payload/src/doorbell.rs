// SPDX-License-Identifier: GPL-2.0

//! The doorbell: the device of the monitor that starts the payload, hears its reports and answers
//! its questions. `tests/monitor/src/doorbell.rs` is the other side. Without a monitor, reports are
//! printed.

use meter::Total;

use crate::board;
use crate::check::Failure;
use crate::io;

const BASE: usize = 0x0102_0000;

// Registers, as the monitor has them too.
const NAME: usize = 0x00;
const NAME_LEN: usize = 0x04;
const VALUE: usize = 0x08;
const COMMAND: usize = 0x0c;
const MODE: usize = 0x10;
const CPUS: usize = 0x14;
const ECHO: usize = 0x18;
const SPI_LEVEL: usize = 0x28;
const WHAT: usize = 0x30;
const WHAT_LEN: usize = 0x34;
const VALUE_2: usize = 0x38;
const VALUE_3: usize = 0x3c;
const WANTED: usize = 0x40;
const TIMER_INTERRUPTS: usize = 0x44;
const SEED: usize = 0x48;
const HOST_MIDR: usize = 0x4c;
const WINDOW_READS: usize = 0x50;
const WINDOW_WRITES: usize = 0x54;
const EVENTS: usize = 0x58;
const ROUNDS: usize = 0x5c;
const SETTLE: usize = 0x60;

const COMMAND_MEASURED: u32 = 1;
const COMMAND_PASSED: u32 = 2;
const COMMAND_FAILED: u32 = 3;

pub(crate) const MODE_BENCH: u32 = 1;
pub(crate) const MODE_EXITS: u32 = 2;
pub(crate) const MODE_CPUS: u32 = 3;
pub(crate) const MODE_ANSWER: u32 = 4;

/// The result of a read of the echo register.
pub(crate) const ECHO_VALUE: u32 = 0x8182_8384;
/// The interrupt of the doorbell.
pub(crate) const SPI: u32 = 40;
/// A device of the monitor that is like memory, of two pages.
pub(crate) const WINDOW: usize = 0x0103_0000;
/// Where the monitor has eventfds for stores: one at the begin, or one at each word of 1,000.
pub(crate) const KICK: usize = 0x0104_0000;

#[inline(always)]
fn read(register: usize) -> u32 {
    io::read(BASE + register)
}

#[inline(always)]
fn write(register: usize, value: u32) {
    io::write(BASE + register, value);
}

fn put(byte: u8) {
    // QEMU prints a byte at once.
    io::write(board::PL011, byte.into());
}

/// Prints where there is no monitor.
fn print(parts: &[&str]) {
    for part in parts {
        part.bytes().for_each(put);
    }
}

fn print_number(value: u32) {
    print(&[" 0x"]);
    for digit in (0..8).rev() {
        let digit = (value >> (4 * digit)) as u8 & 0xf;
        put(if digit < 10 { b'0' } else { b'a' - 10 } + digit);
    }
}

pub(crate) fn mode() -> u32 {
    if board::is_guest() {
        read(MODE)
    } else {
        0
    }
}

/// The number of CPUs.
pub(crate) fn cpus() -> u32 {
    if board::is_guest() {
        read(CPUS)
    } else {
        (crate::gic::distributor_type() >> 5 & 7) + 1
    }
}

#[inline(always)]
pub(crate) fn echo() -> u32 {
    read(ECHO)
}

/// Leaves the guest for the monitor, if there is one.
#[inline(always)]
pub(crate) fn leave_guest() {
    if board::is_guest() {
        echo();
    }
}

/// Gives the monitor something to measure.
pub(crate) fn read_for_ever() -> ! {
    loop {
        echo();
    }
}

/// Whether a check was asked for.
pub(crate) fn is_wanted(name: &str) -> bool {
    if !board::is_guest() {
        return true;
    }
    write(NAME, name.as_ptr() as u32);
    write(NAME_LEN, name.len() as u32);
    read(WANTED) != 0
}

/// How many interrupts of the timers there shall be.
pub(crate) fn timer_interrupts() -> u32 {
    if board::is_guest() {
        read(TIMER_INTERRUPTS)
    } else {
        1000
    }
}

/// A number that another payload has another of.
pub(crate) fn seed() -> u32 {
    if board::is_guest() {
        read(SEED)
    } else {
        1
    }
}

/// The host's MIDR.
pub(crate) fn host_midr() -> u32 {
    read(HOST_MIDR)
}

/// How often the window was read and written.
pub(crate) fn window_accesses() -> (u32, u32) {
    (read(WINDOW_READS), read(WINDOW_WRITES))
}

fn command(name: &str, value: u32, command: u32) {
    write(NAME, name.as_ptr() as u32);
    write(NAME_LEN, name.len() as u32);
    write(VALUE, value);
    write(COMMAND, command);
}

/// Has the monitor bring the host into a state that is always the same.
pub(crate) fn settle() {
    if board::is_guest() {
        read(SETTLE);
    }
}

/// Reports what an operation costs.
pub(crate) fn measured(name: &str, cost: &Total) {
    if board::is_guest() {
        write(EVENTS, cost.events.0.as_ptr() as u32);
        write(ROUNDS, cost.rounds);
        command(name, cost.instructions as u32, COMMAND_MEASURED);
    } else {
        print(&[name]);
        print_number(cost.instructions as u32);
        print(&["\n"]);
    }
}

/// Reports a check that passed.
pub(crate) fn pass(name: &str) {
    if board::is_guest() {
        command(name, 0, COMMAND_PASSED);
    } else {
        print(&["ok ", name, "\n"]);
    }
}

/// Reports a check that failed, and why.
pub(crate) fn fail(name: &str, failure: &Failure) {
    let [value, second, third] = failure.values;
    if board::is_guest() {
        write(WHAT, failure.what.as_ptr() as u32);
        write(WHAT_LEN, failure.what.len() as u32);
        write(VALUE_2, second);
        write(VALUE_3, third);
        command(name, value, COMMAND_FAILED);
    } else {
        print(&["not ok ", name, ": ", failure.what]);
        failure.values.into_iter().for_each(print_number);
        print(&["\n"]);
    }
}

/// Sets the level of the doorbell's interrupt.
pub(crate) fn set_spi(level: bool) {
    write(SPI_LEVEL, level.into());
}

/// Eight bytes that can be read and written in any width.
pub(crate) const SCRATCH: usize = BASE + 0x20;
