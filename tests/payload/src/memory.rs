// SPDX-License-Identifier: GPL-2.0

//! Memory: the ends of slots, code that changes itself, pages that come and go under other CPUs.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::check::{ensure, ensure_eq, Outcome};
use crate::code;
use crate::cpu;
use crate::exceptions;
use crate::io;
use crate::mmu::{self, WINDOW, WINDOW_TABLE};
use crate::smp::{self, Barrier};
use crate::timer::{self, Deadline, MILLISECOND};

/// The machine's memory, and a part that nothing is in.
const RAM: usize = 0x8000_0000;
const RAM_SIZE: usize = 64 << 20;
const FREE: usize = RAM + (8 << 20);
const PAGE: usize = 4096;
/// A second, small slot of the monitor: three pages, with nothing around them.
const SMALL: usize = 0x9810_1000;
const SMALL_PAGES: usize = 3;

fn store(address: usize, value: u32) {
    io::write(address, value);
}

fn load(address: usize) -> u32 {
    io::read(address)
}

/// The last words of memory, by bytes too.
pub(crate) fn ends() -> Outcome {
    let end = RAM + RAM_SIZE;
    for address in [end - 4, end - 8, end - PAGE, end - PAGE - 4, end - (1 << 20) - 4] {
        store(address, !address as u32);
    }
    for address in [end - 4, end - 8, end - PAGE, end - PAGE - 4, end - (1 << 20) - 4] {
        ensure_eq(load(address), !address as u32, "a word at the end", address as u32)?;
    }
    ensure_eq(io::read_byte(end - 1).into(), !(end as u32 - 4) >> 24, "the last byte", 0)
}

/// A slot of three pages that are not aligned to anything, and the addresses around it: they have
/// no memory, and the monitor answers by zeros.
pub(crate) fn ends_of_small_slot() -> Outcome {
    let section = SMALL as u32 & 0xfff0_0000;
    // Memory: write-back, shared; then the same without caches, by other attributes.
    mmu::set_section(section, section | 0x0001_1c0e);
    let check = || {
        let end = SMALL + SMALL_PAGES * PAGE;
        for address in (SMALL..end).step_by(PAGE / 2) {
            store(address, address as u32 ^ 0x5555);
            store(address + PAGE / 2 - 4, address as u32 ^ 0xaaaa);
        }
        for address in (SMALL..end).step_by(PAGE / 2) {
            ensure_eq(load(address), address as u32 ^ 0x5555, "a word", address as u32)?;
            let last = address + PAGE / 2 - 4;
            ensure_eq(load(last), address as u32 ^ 0xaaaa, "a word", last as u32)?;
        }
        for outside in [SMALL - 4, end, SMALL - PAGE, end + PAGE - 4] {
            store(outside, 0x1234_5678);
            ensure_eq(load(outside), 0, "a word outside", outside as u32)?;
        }
        ensure_eq(load(SMALL), SMALL as u32 ^ 0x5555, "the first word", 0)?;
        ensure_eq(load(end - 4), (end - PAGE / 2) as u32 ^ 0xaaaa, "the last word", 0)
    };
    let result = check();
    mmu::set_section(section, 0);
    result
}

/// Every page of a few MiB by its own number, and read back.
pub(crate) fn many_pages() -> Outcome {
    let pages = || (FREE..FREE + (4 << 20)).step_by(PAGE);
    for page in pages() {
        store(page, page as u32);
        store(page + PAGE - 4, !page as u32);
    }
    for page in pages() {
        ensure_eq(load(page), page as u32, "the first word of a page", page as u32)?;
        ensure_eq(load(page + PAGE - 4), !page as u32, "the last word", page as u32)?;
    }
    Ok(())
}

/// First touches of all CPUs at once, a page each in turn.
pub(crate) fn first_touch() -> Outcome {
    const FRESH: usize = RAM + (16 << 20);
    const SIZE: usize = 8 << 20;
    smp::on_all(|cpu| {
        for page in (FRESH..FRESH + SIZE).step_by(PAGE) {
            // All touch all pages; each has a word of its own there.
            ensure_eq(load(page + 64 * cpu), 0, "memory that nobody has written", page as u32)?;
            store(page + 64 * cpu, (page + cpu) as u32);
        }
        for page in (FRESH..FRESH + SIZE).step_by(PAGE) {
            ensure_eq(load(page + 64 * cpu), (page + cpu) as u32, "a word", page as u32)?;
        }
        Ok(())
    })?;
    for page in (FRESH..FRESH + SIZE).step_by(PAGE) {
        for cpu in 0..8 {
            store(page + 64 * cpu, 0);
        }
    }
    Ok(())
}

/// `MOVW r0, #value`.
const fn load_number(value: u32) -> u32 {
    0xe300_0000 | (value & 0xf000) << 4 | value & 0xfff
}

/// Code that is written, executed, and written again.
pub(crate) fn own_code() -> Outcome {
    for round in 0..300 {
        let code = code::arm([load_number(round), code::BX_LR]);
        let found = exceptions::catch(code, 0, 0).unwrap_or(u32::MAX);
        ensure_eq(found, round, "what the new code gives", 0)?;
        if round % 8 == 0 {
            let code = code::thumb([0x2000 | (round & 0xff) as u16, code::THUMB_BX_LR]);
            let found = exceptions::catch(code, 0, 0).unwrap_or(u32::MAX);
            ensure_eq(found, round & 0xff, "what the new Thumb code gives", 0)?;
        }
    }
    Ok(())
}

/// Code in a page, seen at two addresses: written by one, executed by the other.
pub(crate) fn aliased_code() -> Outcome {
    let physical = FREE + (6 << 20);
    WINDOW_TABLE.set(WINDOW + 0x2000, physical as u32 | mmu::MEMORY_PAGE);
    let mut result = Ok(());
    for round in 0..100 {
        store(physical, load_number(round));
        store(physical + 4, code::BX_LR);
        code::synchronise(physical, 8);
        code::synchronise(WINDOW as usize + 0x2000, 8);
        let found = exceptions::catch(WINDOW as usize + 0x2000, 0, 0).unwrap_or(u32::MAX);
        result = ensure_eq(found, round, "what the new code gives", 0);
        if result.is_err() {
            break;
        }
    }
    WINDOW_TABLE.set(WINDOW + 0x2000, 0);
    result
}

static GO: Barrier = Barrier::new();
static WRITTEN: AtomicU32 = AtomicU32::new(0);
static CODE: AtomicU32 = AtomicU32::new(0);
/// How far each CPU has come.
static EXECUTED: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// One CPU writes code that the others execute: once told of the code, they execute it. They do not
/// execute it while it is written, a race that QEMU loses.
pub(crate) fn code_of_another_cpu() -> Outcome {
    let code = FREE + (7 << 20);
    CODE.store(code as u32, Ordering::SeqCst);
    WRITTEN.store(0, Ordering::SeqCst);
    for executed in &EXECUTED {
        executed.store(0, Ordering::SeqCst);
    }
    smp::on_all(|cpu| {
        GO.wait()?;
        let code = CODE.load(Ordering::SeqCst) as usize;
        if cpu != 0 {
            loop {
                let number = EXECUTED[cpu].load(Ordering::SeqCst) + 1;
                let next = || match WRITTEN.load(Ordering::SeqCst) {
                    u32::MAX => Some(false),
                    written => (written == number).then_some(true),
                };
                let came = timer::wait_long(|| next().is_some());
                ensure(came, "no more code comes", [number, cpu as u32, 0])?;
                if next() != Some(true) {
                    return Ok(());
                }
                cpu::invalidate_branches(0);
                let found = exceptions::catch(code, 0, 0).unwrap_or(u32::MAX);
                ensure_eq(found, number, "old code is executed", cpu as u32)?;
                EXECUTED[cpu].store(number, Ordering::SeqCst);
            }
        }
        let end = Deadline::after(100 * MILLISECOND);
        let mut number = 0;
        let mut result = Ok(());
        while result.is_ok() && !end.is_over() && number < 0xfff0 {
            number += 1;
            store(code, load_number(number));
            store(code + 4, code::BX_LR);
            code::synchronise(code, 8);
            WRITTEN.store(number, Ordering::SeqCst);
            let all = || {
                let others = EXECUTED.iter().take(smp::team()).skip(1);
                others.into_iter().all(|executed| executed.load(Ordering::SeqCst) == number)
            };
            result = ensure(timer::wait_until(all), "not all executed it", [number, 0, 0]);
        }
        WRITTEN.store(u32::MAX, Ordering::SeqCst);
        result
    })
}

/// A page moves to and fro under the other CPUs (TLB maintenance is broadcast): the value that a
/// CPU reads was valid when its read began.
pub(crate) fn moving_page() -> Outcome {
    let physical = FREE + (5 << 20);
    for n in 0..16 {
        store(physical + n * PAGE, n as u32);
    }
    WINDOW_TABLE.set(WINDOW + 0x3000, physical as u32 | mmu::MEMORY_PAGE);
    CODE.store(physical as u32, Ordering::SeqCst);
    WRITTEN.store(0, Ordering::SeqCst);
    let result = smp::on_all(|cpu| {
        GO.wait()?;
        let end = Deadline::after(100 * MILLISECOND);
        if cpu == 0 {
            let physical = CODE.load(Ordering::SeqCst);
            let mut number: u32 = 0;
            while !end.is_over() {
                number += 1;
                let page = physical + number % 16 * PAGE as u32;
                store(page as usize, number);
                // Break before make, under which nobody may look: they see an abort.
                WINDOW_TABLE.set(WINDOW + 0x3000, 0);
                WINDOW_TABLE.set(WINDOW + 0x3000, page | mmu::MEMORY_PAGE);
                WRITTEN.store(number, Ordering::SeqCst);
                Deadline::after(500).wait();
            }
            WRITTEN.store(u32::MAX, Ordering::SeqCst);
            return Ok(());
        }
        // LDR r0, [r0]; BX lr.
        let code = code::arm([0xe590_0000, code::BX_LR]);
        loop {
            let at_least = WRITTEN.load(Ordering::SeqCst);
            if at_least == u32::MAX {
                return Ok(());
            }
            match exceptions::catch(code, WINDOW + 0x3000, 0) {
                Ok(found) => {
                    ensure(found >= at_least, "an old page", [found, at_least, cpu as u32])?;
                }
                Err(found) => {
                    ensure_eq(found.vector, exceptions::DATA_ABORT, "the vector", 0)?;
                    ensure_eq(found.dfsr & 0x40f, 7, "DFSR", 0)?;
                }
            }
        }
    });
    WINDOW_TABLE.set(WINDOW + 0x3000, 0);
    result
}
