// SPDX-License-Identifier: GPL-2.0

//! Calls to the power state coordination interface.

extern "C" {
    fn hypercall(function: u32, a: u32, b: u32, c: u32) -> u32;
    fn secondary_start();
}

const VERSION: u32 = 0x8400_0000;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const SYSTEM_OFF: u32 = 0x8400_0008;

pub(crate) const INVALID_PARAMETERS: u32 = -2i32 as u32;
pub(crate) const ALREADY_ON: u32 = -4i32 as u32;
pub(crate) const AFFINITY_ON: u32 = 0;
pub(crate) const AFFINITY_OFF: u32 = 1;

fn call(function: u32, a: u32, b: u32, c: u32) -> u32 {
    // SAFETY: The functions below change the power state of CPUs, not memory; a CPU that is
    // switched on starts at code of ours.
    unsafe { hypercall(function, a, b, c) }
}

#[inline(always)]
pub(crate) fn version() -> u32 {
    call(VERSION, 0, 0, 0)
}

/// Starts another CPU, by its number in MPIDR.
pub(crate) fn cpu_on(id: u32) -> u32 {
    call(CPU_ON, id, secondary_start as usize as u32, id)
}

pub(crate) fn cpu_off() -> u32 {
    call(CPU_OFF, 0, 0, 0)
}

pub(crate) fn affinity_info(id: u32) -> u32 {
    call(AFFINITY_INFO, id, 0, 0)
}

pub(crate) fn system_off() -> ! {
    call(SYSTEM_OFF, 0, 0, 0);
    loop {
        crate::cpu::wait_for_interrupt();
    }
}
