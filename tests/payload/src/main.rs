// SPDX-License-Identifier: GPL-2.0

//! A bare-metal guest that checks and measures the machine it runs on.
//!
//! `monitor payload` and `monitor bench` run it. It talks to them only through the doorbell, a
//! device of the monitor, so no output disturbs measurements. Without a monitor, on QEMU's virt
//! board, it makes the same checks of the emulated hardware itself.

#![cfg_attr(all(target_arch = "arm", not(test)), no_std, no_main)]
// Fields of registers and instructions are shifted and joined everywhere here.
#![allow(clippy::precedence)]

/// Built for a developer's machine along with the rest, there is nothing to do.
#[cfg(not(target_arch = "arm"))]
fn main() {}

macro_rules! modules {
    ($($name:ident)*) => {
        $(#[cfg(target_arch = "arm")]
        mod $name;)*
    };
}

// The machine, and how checks are made of it.
modules! {
    bench board check checks code cpu doorbell exceptions gic io mmu psci smp timer
}
// The checks.
modules! {
    aborts atomics banked cp15 debug distributor interrupts memory mmio mmio_forms power sgis timers
    traps vfp waits
}

#[cfg(target_arch = "arm")]
core::arch::global_asm!(include_str!("start.S"), options(raw));
#[cfg(target_arch = "arm")]
core::arch::global_asm!(include_str!("exceptions.S"), options(raw));
#[cfg(target_arch = "arm")]
core::arch::global_asm!(include_str!("mmio_forms.S"), options(raw));

#[cfg(target_arch = "arm")]
mod entry {
    use crate::check::Failure;
    use crate::{bench, board, checks, cpu, doorbell, gic, mmu, psci, smp};

    /// Where a CPU comes from `start.S`.
    #[no_mangle]
    extern "C" fn cpu_main(id: u32) -> ! {
        if id != 0 {
            gic::init_cpu();
            smp::wait_for_work(id);
        }
        mmu::init();
        board::init();
        gic::init_cpu();
        gic::init_distributor();
        cpu::enable_interrupts();
        match doorbell::mode() {
            doorbell::MODE_BENCH => bench::run(),
            doorbell::MODE_EXITS => doorbell::read_for_ever(),
            doorbell::MODE_CPUS => bench::run_several_cpus(),
            doorbell::MODE_ANSWER => bench::answer_for_ever(),
            _ => checks::run(),
        }
        psci::system_off()
    }

    /// Fails, and ends everything.
    pub(crate) fn give_up(what: &'static str) -> ! {
        let values = [0; 3];
        doorbell::fail("the payload comes to its end", &Failure { what, values });
        psci::system_off()
    }

    #[no_mangle]
    extern "C" fn unexpected_exception(vector: u32, address: u32) -> ! {
        let failure = Failure {
            what: "vector, address, CPU",
            values: [vector, address, cpu::mpidr()],
        };
        doorbell::fail("no unexpected exception", &failure);
        psci::system_off()
    }

    /// Where lints look at the tests that there are not, the standard library has one.
    #[cfg(not(test))]
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        let line = info.location().map_or(0, |location| location.line());
        let failure = Failure {
            what: info.location().map_or("", |location| {
                // SAFETY: Where a panic is, is said by a constant of the program.
                unsafe { core::mem::transmute::<&str, &'static str>(location.file()) }
            }),
            values: [line, 0, 0],
        };
        doorbell::fail("the payload does not panic", &failure);
        psci::system_off()
    }
}
