// SPDX-License-Identifier: GPL-2.0

//! Calls to the power state coordination interface.

extern "C" {
    fn hypercall(function: u32, a: u32, b: u32, c: u32) -> u32;
    fn hypercall_registers(registers: *mut u32);
    fn secondary_start();
    fn secondary_start_thumb();
}

pub(crate) const VERSION: u32 = 0x8400_0000;
pub(crate) const CPU_SUSPEND: u32 = 0x8400_0001;
pub(crate) const CPU_OFF: u32 = 0x8400_0002;
pub(crate) const CPU_ON: u32 = 0x8400_0003;
pub(crate) const AFFINITY_INFO: u32 = 0x8400_0004;
pub(crate) const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
pub(crate) const SYSTEM_OFF: u32 = 0x8400_0008;
pub(crate) const SYSTEM_RESET: u32 = 0x8400_0009;
pub(crate) const FEATURES: u32 = 0x8400_000a;
/// SMCCC_VERSION, of the calling convention.
pub(crate) const SMCCC_VERSION: u32 = 0x8000_0000;

pub(crate) const SUCCESS: u32 = 0;
pub(crate) const NOT_SUPPORTED: u32 = -1i32 as u32;
pub(crate) const INVALID_PARAMETERS: u32 = -2i32 as u32;
pub(crate) const ALREADY_ON: u32 = -4i32 as u32;
pub(crate) const AFFINITY_ON: u32 = 0;
pub(crate) const AFFINITY_OFF: u32 = 1;

pub(crate) fn call(function: u32, a: u32, b: u32, c: u32) -> u32 {
    // SAFETY: The functions that are called change the power state of CPUs, not memory; a CPU
    // that is switched on starts at code of ours.
    unsafe { hypercall(function, a, b, c) }
}

/// Calls with all registers, R0 to R12 and LR, and returns their values after the call.
pub(crate) fn call_with(mut registers: [u32; 14]) -> [u32; 14] {
    // SAFETY: As above.
    unsafe { hypercall_registers(registers.as_mut_ptr()) };
    registers
}

#[inline(always)]
pub(crate) fn version() -> u32 {
    call(VERSION, 0, 0, 0)
}

/// A CPU's affinity fields: clusters of four.
pub(crate) fn affinity(cpu: usize) -> u32 {
    (cpu as u32 & 3) | (cpu as u32 >> 2) << 8
}

/// Starts another CPU.
pub(crate) fn cpu_on(cpu: u32) -> u32 {
    let start = secondary_start as usize as u32;
    call(CPU_ON, affinity(cpu as usize), start, cpu)
}

/// Starts another CPU in Thumb state.
pub(crate) fn cpu_on_thumb(cpu: u32) -> u32 {
    let start = secondary_start_thumb as usize as u32 | 1;
    call(CPU_ON, affinity(cpu as usize), start, cpu)
}

pub(crate) fn cpu_off() -> u32 {
    call(CPU_OFF, 0, 0, 0)
}

pub(crate) fn affinity_info(cpu: usize) -> u32 {
    call(AFFINITY_INFO, affinity(cpu), 0, 0)
}

pub(crate) fn system_off() -> ! {
    call(SYSTEM_OFF, 0, 0, 0);
    loop {
        crate::cpu::wait_for_interrupt();
    }
}

