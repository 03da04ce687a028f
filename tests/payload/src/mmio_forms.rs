// SPDX-License-Identifier: GPL-2.0

//! Loads and stores without a syndrome. The emulator of a device has to look at the instruction.
//! Each is executed on memory and on a device of the same contents, and has to do the same there.
//! `mmio_forms.S` has them.

use core::ptr;

use crate::check::{ensure, ensure_eq, Failure, Outcome};
use crate::code;
use crate::cpu;
use crate::doorbell;
use crate::exceptions;
use crate::io;
use crate::mmu::{self, WINDOW_TABLE};

/// One instruction.
#[derive(Clone, Copy)]
#[repr(C)]
struct Form {
    code: usize,
    name: *const u8,
    name_len: usize,
    loads: u32,
    stores: u32,
}

extern "C" {
    static arm_forms: Form;
    static arm_forms_end: Form;
    static thumb_forms: Form;
    static thumb_forms_end: Form;
    fn run_form();
    fn form_across_pages();
}

/// As much of the device as is used, which may be anywhere in its two pages.
const WORDS: usize = 256;
/// The offset in that of the address in R1.
const BASE: usize = 0x200;

/// Memory beside the device.
#[repr(C, align(4096))]
struct Beside([u32; 2048]);
static mut BESIDE: Beside = Beside([0; 2048]);

/// Fills the words at an address.
fn fill(at: usize) {
    for n in 0..WORDS {
        let value = (n as u32).wrapping_mul(0x9e37_79b9) | 0x0080_0080;
        io::write(at + 4 * n, value);
    }
}

fn word(at: usize, n: usize) -> u32 {
    io::read(at + 4 * n)
}

/// The registers that a form begins with.
fn registers(at: usize) -> [u32; 16] {
    let mut registers = [0; 16];
    for (n, register) in (0..).zip(&mut registers) {
        *register = 0x8182_8384u32.wrapping_add(n * 0x1111_1111);
    }
    registers[1] = (at + BASE) as u32;
    registers[2] = 12;
    registers[3] = 2;
    registers[13] = (at + BASE + 0x100) as u32;
    // Z.
    registers[15] = 1 << 30;
    registers
}

/// Executes a form at an address; gives the registers afterwards.
fn execute(code: usize, at: usize) -> Outcome<[u32; 16]> {
    let mut registers = registers(at);
    cpu::masked(|| {
        exceptions::catch(run_form as usize, code as u32, registers.as_mut_ptr() as u32)
    })
    .map_err(|found| Failure {
        what: "an exception",
        values: [found.vector, found.lr, found.dfsr],
    })?;
    Ok(registers)
}

/// Compares the effect of a form on a device and on memory. Failures name the place in the device,
/// or the number of a register.
fn compare(form: &Form, at: usize, beside: usize) -> Outcome {
    fill(at);
    fill(beside);
    let expected = execute(form.code, beside)?;
    let (loads, stores) = doorbell::window_accesses();
    let found = execute(form.code, at)?;
    let (loads_after, stores_after) = doorbell::window_accesses();
    ensure_eq(loads_after.wrapping_sub(loads), form.loads, "bytes that were loaded", 0)?;
    ensure_eq(stores_after.wrapping_sub(stores), form.stores, "bytes that were stored", 0)?;
    let delta = (at as u32).wrapping_sub(beside as u32);
    for (n, (found, expected)) in (0..).zip(found.iter().zip(&expected)) {
        // A register with an address still has it, or was loaded from memory.
        let same = found == expected
            || matches!(n, 1 | 13) && *found == expected.wrapping_add(delta);
        ensure(same, "a register", [*found, *expected, n])?;
    }
    for n in 0..WORDS {
        let (mut found, expected) = (word(at, n), word(beside, n));
        // An address that was stored.
        if found == expected.wrapping_add(delta) {
            found = expected;
        }
        ensure_eq(found, expected, "a word of the device", n as u32 * 4)?;
    }
    Ok(())
}

/// All forms from one symbol to another.
fn all(from: *const Form, to: *const Form) -> Outcome {
    let beside = (&raw const BESIDE) as usize;
    let mut form = from;
    let mut last = Ok(());
    while form < to {
        // SAFETY: One of the table in `mmio_forms.S`.
        let this = unsafe { *form };
        if let Err(failure) = compare(&this, doorbell::WINDOW, beside) {
            // SAFETY: The name is of that table, too, and ASCII.
            let name = unsafe {
                core::str::from_utf8_unchecked(core::slice::from_raw_parts(this.name, this.name_len))
            };
            doorbell::fail(name, &failure);
            last = Err(Failure {
                what: "forms as told above",
                values: [0; 3],
            });
        }
        // SAFETY: At most the table's end.
        form = unsafe { form.add(1) };
    }
    last
}

pub(crate) fn arm() -> Outcome {
    all(&raw const arm_forms, &raw const arm_forms_end)
}

pub(crate) fn thumb() -> Outcome {
    all(&raw const thumb_forms, &raw const thumb_forms_end)
}

/// LDREX and STREX on a device: a store that reports success has happened. Nothing more is promised
/// (A3.4.5).
pub(crate) fn exclusive() -> Outcome {
    // LDREX r0, [r1]; STREX r4, r5, [r1]; and so on for bytes, half words, doublewords.
    let pairs: [([u32; 2], usize); 4] = [
        ([0xe191_0f9f, 0xe181_4f95], 4),
        ([0xe1d1_0f9f, 0xe1c1_4f95], 1),
        ([0xe1f1_0f9f, 0xe1e1_4f95], 2),
        ([0xe1b1_8f9f, 0xe1a1_4f96], 8),
    ];
    for ([load, store], size) in pairs {
        fill(doorbell::WINDOW);
        let place = BASE / 4;
        let before = [word(doorbell::WINDOW, place), word(doorbell::WINDOW, place + 1)];
        let code = code::arm([load, store, code::BX_LR]);
        let found = exceptions::catch(code, 0, (doorbell::WINDOW + BASE) as u32);
        if let Err(found) = found {
            return ensure(false, "an exception", [found.vector, found.dfsr, size as u32]);
        }
        let after = [word(doorbell::WINDOW, place), word(doorbell::WINDOW, place + 1)];
        if size == 8 {
            continue;
        }
        let mask = u32::MAX >> (32 - 8 * size);
        let value = found.unwrap_or(0);
        ensure_eq(value, before[0] & mask, "what was loaded", size as u32)?;
        ensure_eq(after[0] & !mask, before[0] & !mask, "what is beside it", size as u32)?;
        ensure_eq(after[1], before[1], "what is behind it", size as u32)?;
    }
    Ok(())
}

/// An instruction in two pages, and data in two pages.
pub(crate) fn across_pages() -> Outcome {
    let form = Form {
        code: form_across_pages as usize,
        name: ptr::null(),
        name_len: 0,
        loads: 4,
        stores: 0,
    };
    let beside = (&raw const BESIDE) as usize;
    compare(&form, doorbell::WINDOW, beside)?;
    // Data in the last words of the device's first page and the first of the second.
    let at = doorbell::WINDOW + 0x1000 - BASE - 8;
    let forms = [&raw const arm_forms, &raw const arm_forms_end];
    let mut form = forms[0];
    while form < forms[1] {
        // SAFETY: One of the table in `mmio_forms.S`.
        let this = unsafe { *form };
        compare(&this, at, beside + 0x1000 - BASE - 8)?;
        // SAFETY: At most the table's end.
        form = unsafe { form.add(1) };
    }
    Ok(())
}

/// Where the pages are mapped for [`half_in_memory`]: a page of memory, one of the device, and
/// another of memory.
const MIXED: u32 = mmu::WINDOW + 0x2_0000;

/// The bytes there, as the guest finds them, from a few before each edge to a few behind it.
fn mixed_bytes(edge: u32) -> [(u32, usize); 8] {
    let beside = (&raw const BESIDE) as usize;
    let mut bytes = [(0, 0); 8];
    for (address, byte) in (edge - 4..).zip(&mut bytes) {
        let offset = (address & 0xfff) as usize;
        let place = match (address - MIXED) >> 12 {
            0 => beside + offset,
            1 => doorbell::WINDOW + offset,
            _ => beside + 0x1000 + offset,
        };
        *byte = (address, place);
    }
    bytes
}

/// One unaligned access, with a syndrome, that is partly in memory and partly on a device. Each of
/// its bytes is in its own place.
pub(crate) fn half_in_memory() -> Outcome {
    let beside = (&raw const BESIDE) as usize as u32;
    let pages = [beside, doorbell::WINDOW as u32, beside + 0x1000];
    for (address, page) in (MIXED..).step_by(0x1000).zip(pages) {
        WINDOW_TABLE.set(address, page | mmu::MEMORY_PAGE);
    }
    let result = cpu::masked(|| {
        [MIXED + 0x1000, MIXED + 0x2000]
            .into_iter()
            .try_for_each(across_edge)
    });
    for address in (MIXED..).step_by(0x1000).take(3) {
        WINDOW_TABLE.set(address, 0);
    }
    result
}

fn across_edge(edge: u32) -> Outcome {
    // ldr, ldrh, ldrsh r0, [r0]; str, strh r0, [r1]; in either instruction set.
    let loads: [(u32, [u16; 2], u32, bool); 3] = [
        (0xe590_0000, [0x6800, 0xbf00], 4, false),
        (0xe1d0_00b0, [0x8800, 0xbf00], 2, false),
        (0xe1d0_00f0, [0xf9b0, 0x0000], 2, true),
    ];
    let stores: [(u32, [u16; 2], u32); 2] =
        [(0xe581_0000, [0x6008, 0xbf00], 4), (0xe1c1_00b0, [0x8008, 0xbf00], 2)];
    let bytes = mixed_bytes(edge);
    let restore = || {
        for (n, (_, place)) in (0..).zip(bytes) {
            io::write_byte(place, 0x41 + 0x17 * n);
        }
    };
    let failed = |found: exceptions::Record| Failure {
        what: "an exception",
        values: [found.vector, found.dfsr, found.dfar],
    };
    for thumb in [false, true] {
        let code_of = |arm: u32, [first, second]: [u16; 2]| {
            if thumb {
                code::thumb([first, second, code::THUMB_BX_LR])
            } else {
                code::arm([arm, code::BX_LR])
            }
        };
        for (arm, half_words, size, signed) in loads {
            for start in edge + 1 - size..edge {
                restore();
                let mut expected = 0;
                for (address, place) in bytes.into_iter().rev() {
                    if (start..start + size).contains(&address) {
                        expected = expected << 8 | u32::from(io::read_byte(place));
                    }
                }
                if signed {
                    expected = expected as u16 as i16 as u32;
                }
                let (before, _) = doorbell::window_accesses();
                let found = exceptions::catch(code_of(arm, half_words), start, 0).map_err(failed)?;
                let (after, _) = doorbell::window_accesses();
                ensure_eq(found, expected, "what was loaded", start)?;
                let on_device = if edge == MIXED + 0x1000 { start + size - edge } else { edge - start };
                ensure_eq(after.wrapping_sub(before), on_device, "bytes of the device", start)?;
            }
        }
        for (arm, half_words, size) in stores {
            for start in edge + 1 - size..edge {
                restore();
                let value = 0x0504_0302;
                exceptions::catch(code_of(arm, half_words), value, start).map_err(failed)?;
                for (n, (address, place)) in (0..).zip(bytes) {
                    let within = (start..start + size).contains(&address);
                    let expected = if within {
                        (value >> (8 * (address - start))) as u8
                    } else {
                        0x41 + 0x17 * n
                    };
                    let found = io::read_byte(place);
                    ensure_eq(found.into(), expected.into(), "a byte", address)?;
                }
            }
        }
    }
    Ok(())
}
