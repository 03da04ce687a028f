// SPDX-License-Identifier: GPL-2.0

//! A plugin of QEMU that counts the events of `tools/meter` and answers the programs that ask for them.
//!
//! It looks at each instruction once, when it is translated, and adds code that counts. So it changes
//! neither what the machine does nor, under `-icount`, its time. It counts the whole machine: programs, the
//! kernel, HYP mode and guests, of all CPUs.
//!
//! The emulator is slower while it counts, so the plugin begins with the first question, and counts no more when a
//! program says that it has asked enough, until the next question.
//!
//! A conditional instruction counts whether its condition holds or not, except for accesses to devices.

mod profile;
mod qemu;

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use meter::instruction::{kind, set, Kind};
use meter::{Counts, Event, EVENTS};

use qemu::{Block, ByteArray, Entry, Register, RegisterDescriptor, Scoreboard};

/// The emulator asks for this.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = qemu::VERSION;

/// The counts, for each CPU.
static BOARD: AtomicPtr<Scoreboard> = AtomicPtr::new(ptr::null_mut());
/// R0, and a buffer for it.
static R0: AtomicPtr<Register> = AtomicPtr::new(ptr::null_mut());
static BUFFER: AtomicPtr<ByteArray> = AtomicPtr::new(ptr::null_mut());

/// The place of GICD_SGIR in the distributor, which begins with a page (IHI 0048B table 4-1).
const GICD_SGIR: u64 = 0xf00;
const PAGE_SIZE: u64 = 0x1000;

/// The emulator's name for this plugin, and whether it counts.
static ID: AtomicU64 = AtomicU64::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);

fn entry(event: Event) -> Entry {
    Entry {
        board: BOARD.load(Ordering::Relaxed),
        offset: event as usize * size_of::<u64>(),
    }
}

/// What a device counts as, by the name of its memory region in QEMU.
fn device(name: &CStr) -> Event {
    match name.to_bytes() {
        b"gic_dist" => Event::Gicd,
        b"gic_cpu" => Event::Gicc,
        b"gic_viface" => Event::Gich,
        b"gic_vcpu" => Event::Gicv,
        _ => Event::Device,
    }
}

/// An instruction has loaded or stored.
unsafe extern "C" fn accessed(cpu: c_uint, info: u32, address: u64, _: *mut c_void) {
    // SAFETY: The handle is used within the callback only. The name lives as long as the plugin.
    unsafe {
        let physical = qemu::qemu_plugin_get_hwaddr(info, address);
        if physical.is_null() || !qemu::qemu_plugin_hwaddr_is_io(physical) {
            return;
        }
        let name = qemu::qemu_plugin_hwaddr_device_name(physical);
        let event = if name.is_null() {
            Event::Device
        } else {
            device(CStr::from_ptr(name))
        };
        qemu::qemu_plugin_u64_add(entry(event), cpu, 1);
        // It is alone in its word, and can only be written.
        if event == Event::Gicd && address % PAGE_SIZE == GICD_SGIR {
            qemu::qemu_plugin_u64_add(entry(Event::Ipi), cpu, 1);
        }
    }
}

unsafe extern "C" fn took_exception(cpu: c_uint, _: c_int, _: u64, _: u64, _: *mut c_void) {
    // SAFETY: An entry of our scoreboard.
    unsafe { qemu::qemu_plugin_u64_add(entry(Event::Exception), cpu, 1) };
}

/// Begins to count, or does not count from here on. Gives whether it has counted before.
fn set_counting(counts: bool) -> bool {
    let before = COUNTS.swap(counts, Ordering::Relaxed);
    if before != counts {
        // SAFETY: The emulator throws all translations away, and calls that when no CPU runs.
        unsafe { qemu::qemu_plugin_reset(ID.load(Ordering::Relaxed), register, ptr::null_mut()) };
    }
    before
}

/// A program has asked enough.
unsafe extern "C" fn ended(_: c_uint, _: *mut c_void) {
    set_counting(false);
}

/// A program asks for the counts.
unsafe extern "C" fn asked(_: c_uint, _: *mut c_void) {
    if !set_counting(true) {
        return;
    }
    let buffer = BUFFER.load(Ordering::Relaxed);
    // SAFETY: The buffer is ours, and one CPU at a time is emulated where programs ask. The emulator writes
    // to memory of the machine, not to ours.
    unsafe {
        qemu::g_byte_array_set_size(buffer, 0);
        if !qemu::qemu_plugin_read_register(R0.load(Ordering::Relaxed), buffer) || (*buffer).len < 4
        {
            return say(c"meter: R0 cannot be read\n");
        }
        profile::question();
        let address = (*buffer).data.cast::<u32>().read_unaligned();
        let mut counts = Counts::NONE;
        for (count, event) in counts.0.iter_mut().zip(Event::ALL) {
            *count = qemu::qemu_plugin_u64_sum(entry(event));
        }
        let mut bytes = ByteArray {
            data: (&raw mut counts).cast(),
            len: size_of::<Counts>() as c_uint,
        };
        if !qemu::qemu_plugin_write_memory_vaddr(address.into(), &raw mut bytes) {
            say(c"meter: the counts cannot be written\n");
        }
    }
}

fn say(text: &CStr) {
    // SAFETY: A string.
    unsafe { qemu::qemu_plugin_outs(text.as_ptr()) };
}

/// The plugin cannot be used. The emulator ends.
fn fail(why: &CStr) -> c_int {
    say(why);
    1
}

/// A block of instructions is translated.
unsafe extern "C" fn translated(block: *mut Block, _: *mut c_void) {
    // SAFETY: The handles are used within the callback only.
    unsafe {
        let instructions = (0..qemu::qemu_plugin_tb_n_insns(block)).map(|index| {
            let instruction = qemu::qemu_plugin_tb_get_insn(block, index);
            let mut word = [0; 4];
            qemu::qemu_plugin_insn_data(instruction, word.as_mut_ptr().cast(), word.len());
            let len = qemu::qemu_plugin_insn_size(instruction);
            (instruction, u32::from_le_bytes(word), len)
        });
        let set = set(instructions.clone().map(|(instruction, word, len)| {
            (qemu::qemu_plugin_insn_vaddr(instruction), word, len)
        }));
        for (instruction, word, len) in instructions {
            let counts = COUNTS.load(Ordering::Relaxed);
            let add = |event| {
                if !counts {
                    return;
                }
                qemu::qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
                    instruction,
                    qemu::INLINE_ADD_U64,
                    entry(event),
                    1,
                );
            };
            let call = |callback, registers| {
                let data = ptr::null_mut();
                qemu::qemu_plugin_register_vcpu_insn_exec_cb(
                    instruction,
                    callback,
                    registers,
                    data,
                );
            };
            add(Event::Instruction);
            if counts {
                // All that was executed at boot would take places, too.
                if let Some(place) = profile::entry(qemu::qemu_plugin_insn_vaddr(instruction)) {
                    qemu::qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
                        instruction,
                        qemu::INLINE_ADD_U64,
                        place,
                        1,
                    );
                }
            }
            match kind(set, word, len) {
                Kind::Other => {}
                Kind::Event(event) => add(event),
                Kind::Question => call(asked, qemu::CB_R_REGS),
                Kind::End => call(ended, qemu::CB_NO_REGS),
            }
            if counts {
                qemu::qemu_plugin_register_vcpu_mem_cb(
                    instruction,
                    accessed,
                    qemu::CB_NO_REGS,
                    qemu::MEM_RW,
                    ptr::null_mut(),
                );
            }
        }
    }
}

/// A CPU is there, so its registers have handles.
unsafe extern "C" fn started(_: c_uint, _: *mut c_void) {
    // SAFETY: The array has descriptors, whose names are strings; it is ours to free.
    unsafe {
        let registers = qemu::qemu_plugin_get_registers();
        let descriptors = std::slice::from_raw_parts(
            (*registers).data.cast::<RegisterDescriptor>(),
            (*registers).len as usize,
        );
        for register in descriptors {
            if CStr::from_ptr(register.name) == c"r0" {
                R0.store(register.handle, Ordering::Relaxed);
            }
        }
        qemu::g_array_free(registers, 1);
    }
}

/// Looks at what is translated from here on: nothing is yet.
unsafe extern "C" fn register(_: *mut c_void) {
    let (id, data) = (ID.load(Ordering::Relaxed), ptr::null_mut());
    // SAFETY: The callbacks have the types that this version of the interface wants.
    unsafe {
        qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, translated, data);
        if COUNTS.load(Ordering::Relaxed) {
            qemu::qemu_plugin_register_vcpu_discon_cb(id, qemu::DISCON_ALL, took_exception, data);
        }
    }
}

/// The emulator has loaded the plugin.
///
/// # Safety
///
/// The emulator alone calls it.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    count: c_int,
    arguments: *mut *mut c_char,
) -> c_int {
    ID.store(id, Ordering::Relaxed);
    for n in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: The emulator gives so many strings.
        let argument = unsafe { CStr::from_ptr(*arguments.add(n)) }.to_string_lossy();
        match argument.strip_prefix("profile=") {
            Some(path) if profile::begin(path).is_ok() => (),
            Some(_) => return fail(c"meter: the file of the profile cannot be made\n"),
            None => return fail(c"meter: the one argument is profile=FILE\n"),
        }
    }
    // SAFETY: The callbacks have the types that this version of the interface wants.
    unsafe {
        BOARD.store(
            qemu::qemu_plugin_scoreboard_new(EVENTS * size_of::<u64>()),
            Ordering::Relaxed,
        );
        BUFFER.store(qemu::g_byte_array_new(), Ordering::Relaxed);
        qemu::qemu_plugin_register_vcpu_init_cb(id, started, ptr::null_mut());
        register(ptr::null_mut());
    }
    0
}
