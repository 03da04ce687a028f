// SPDX-License-Identifier: GPL-2.0

//! The part of QEMU's interface for plugins that this one uses, as QEMU 11.1 documents it
//! (`docs/devel/tcg-plugins.rst`, version 7 of the interface), and of GLib.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the interface.
pub(crate) const VERSION: c_int = 7;

/// The callback may read registers.
pub(crate) const CB_R_REGS: c_int = 1;
pub(crate) const CB_NO_REGS: c_int = 0;
pub(crate) const INLINE_ADD_U64: c_int = 0;
/// Loads and stores.
pub(crate) const MEM_RW: c_int = 3;
/// All exceptions and interrupts.
pub(crate) const DISCON_ALL: c_int = -1;

/// Declares types that only pointers point to.
macro_rules! opaque {
    ($($name:ident)*) => {
        $(#[repr(C)]
        pub(crate) struct $name {
            _private: [u8; 0],
        })*
    };
}

opaque! { Block Instruction Scoreboard Register PhysicalAddress }

/// A number of a scoreboard, which has one for each CPU.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    pub board: *mut Scoreboard,
    pub offset: usize,
}

#[repr(C)]
pub(crate) struct ByteArray {
    pub data: *mut u8,
    pub len: c_uint,
}

#[repr(C)]
pub(crate) struct Array {
    pub data: *mut c_char,
    pub len: c_uint,
}

#[repr(C)]
pub(crate) struct RegisterDescriptor {
    pub handle: *mut Register,
    pub name: *const c_char,
    pub feature: *const c_char,
    pub is_readonly: bool,
}

pub(crate) type Callback = unsafe extern "C" fn(data: *mut c_void);
pub(crate) type CpuCallback = unsafe extern "C" fn(cpu: c_uint, data: *mut c_void);
pub(crate) type BlockCallback = unsafe extern "C" fn(block: *mut Block, data: *mut c_void);
pub(crate) type AccessCallback =
    unsafe extern "C" fn(cpu: c_uint, info: u32, address: u64, data: *mut c_void);
pub(crate) type ExceptionCallback =
    unsafe extern "C" fn(cpu: c_uint, kind: c_int, from: u64, to: u64, data: *mut c_void);

extern "C" {
    pub(crate) fn qemu_plugin_reset(id: u64, cb: Callback, data: *mut c_void);
    pub(crate) fn qemu_plugin_register_vcpu_init_cb(id: u64, cb: CpuCallback, data: *mut c_void);
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        cb: BlockCallback,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_discon_cb(
        id: u64,
        kinds: c_int,
        cb: ExceptionCallback,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        cb: CpuCallback,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        instruction: *mut Instruction,
        operation: c_int,
        entry: Entry,
        value: u64,
    );
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        cb: AccessCallback,
        flags: c_int,
        accesses: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_data(
        instruction: *const Instruction,
        bytes: *mut c_void,
        len: usize,
    ) -> usize;
    pub(crate) fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub(crate) fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub(crate) fn qemu_plugin_get_hwaddr(info: u32, address: u64) -> *mut PhysicalAddress;
    pub(crate) fn qemu_plugin_hwaddr_is_io(address: *const PhysicalAddress) -> bool;
    pub(crate) fn qemu_plugin_hwaddr_device_name(address: *const PhysicalAddress) -> *const c_char;
    pub(crate) fn qemu_plugin_scoreboard_new(size: usize) -> *mut Scoreboard;
    pub(crate) fn qemu_plugin_u64_add(entry: Entry, cpu: c_uint, value: u64);
    pub(crate) fn qemu_plugin_u64_sum(entry: Entry) -> u64;
    pub(crate) fn qemu_plugin_get_registers() -> *mut Array;
    pub(crate) fn qemu_plugin_read_register(handle: *mut Register, buffer: *mut ByteArray) -> bool;
    pub(crate) fn qemu_plugin_write_memory_vaddr(address: u64, bytes: *mut ByteArray) -> bool;
    pub(crate) fn qemu_plugin_outs(text: *const c_char);

    pub(crate) fn g_byte_array_new() -> *mut ByteArray;
    pub(crate) fn g_byte_array_set_size(array: *mut ByteArray, size: c_uint) -> *mut ByteArray;
    pub(crate) fn g_array_free(array: *mut Array, free_segment: c_int) -> *mut c_char;
}
