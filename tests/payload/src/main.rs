// SPDX-License-Identifier: GPL-2.0

//! A bare-metal guest that checks and measures the machine it runs on.
//!
//! `monitor payload` and `monitor bench` run it. It talks to them through the doorbell, a device
//! of the monitor, and by nothing else: no output disturbs what is measured.

#![cfg_attr(all(target_arch = "arm", not(test)), no_std, no_main)]

/// Built for a developer's machine along with the rest, there is nothing to do.
#[cfg(not(target_arch = "arm"))]
fn main() {}

#[cfg(target_arch = "arm")]
mod bench;
#[cfg(target_arch = "arm")]
mod checks;
#[cfg(target_arch = "arm")]
mod cpu;
#[cfg(target_arch = "arm")]
mod doorbell;
#[cfg(target_arch = "arm")]
mod gic;
#[cfg(target_arch = "arm")]
mod psci;
#[cfg(target_arch = "arm")]
mod timer;

#[cfg(target_arch = "arm")]
core::arch::global_asm!(include_str!("start.S"), options(raw));

#[cfg(target_arch = "arm")]
mod entry {
    use crate::{bench, checks, cpu, doorbell, gic, psci};

    /// Where a CPU comes from `start.S`.
    #[no_mangle]
    extern "C" fn cpu_main(id: u32) -> ! {
        gic::init_cpu();
        if id != 0 {
            checks::secondary(id);
        }
        gic::init_distributor();
        cpu::enable_interrupts();
        match doorbell::mode() {
            doorbell::MODE_BENCH => bench::run(),
            doorbell::MODE_EXITS => doorbell::read_for_ever(),
            _ => checks::run(),
        }
        psci::system_off()
    }

    #[no_mangle]
    extern "C" fn unexpected_exception(vector: u32, address: u32) -> ! {
        doorbell::fail("no unexpected exception", address | vector);
        psci::system_off()
    }

    /// Where lints look at the tests that there are not, the standard library has one.
    #[cfg(not(test))]
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        doorbell::fail("the payload does not panic", 0);
        psci::system_off()
    }
}
