// SPDX-License-Identifier: GPL-2.0

//! TLB maintenance when the host takes memory away.

use std::thread;

use kvm::uapi;

use crate::check::{ensure, equal, Outcome, Test, Works};
use crate::guest::{code, Guest, BASE, PAGE};
use crate::stats::Stats;

pub(crate) const TESTS: &[Test] = &[(
    "tlb: a CPU that may use what is invalidated is interrupted if its core needs that, once",
    interrupts,
)];

/// The pages that the guest stores to.
const FIRST: usize = 4;
const PAGES: usize = 8;

/// Keeps this thread on a CPU.
pub(crate) fn stay_on(cpu: usize) -> Outcome {
    let set = 1u32 << cpu;
    // SAFETY: A set of 32 CPUs.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), (&raw const set).cast()) };
    equal("sched_setaffinity", result, 0)
}

/// Has the guest store to its pages, on a CPU of the host.
fn store_on(guest: &Guest, cpu: usize) -> Outcome {
    guest.complete()?;
    guest.set(0, BASE + (FIRST * PAGE) as u32)?;
    guest.set(1, PAGES as u32)?;
    guest.set(2, PAGE as u32)?;
    guest.set(uapi::CORE_PC, BASE)?;
    let run = || {
        stay_on(cpu)?;
        guest.run_to(uapi::EXIT_MMIO)
    };
    thread::scope(|scope| scope.spawn(run).join().map_err(|_| "panic")?)
}

/// Whether the host's core has Cortex-A15 erratum 798181 without any fix. REVIDR tells that of
/// revisions between r2p1 and r3p3.
fn has_erratum(guest: &Guest) -> Result<bool, String> {
    let midr = uapi::cp15_reg(0, 0, 0, 0);
    let midr: u32 = guest.vcpu.reg(midr).works("MIDR")?;
    let (variant, revision) = ((midr >> 20) & 0xf, midr & 0xf);
    if midr & 0xff0f_fff0 != 0x410f_c0f0 || (variant, revision) >= (3, 3) {
        return Ok(false);
    }
    ensure(
        (variant, revision) <= (2, 1),
        format!("what this core needs is not known: MIDR {midr:#x}"),
    )?;
    Ok(true)
}

fn interrupts() -> Outcome {
    let guest = Guest::new(&code::store_to_each())?;
    let needed = u64::from(has_erratum(&guest)?);
    let stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    stay_on(0)?;
    let expect = |what: &str, page: usize, expected| {
        let discard = || {
            guest
                .memory
                .advise_part((FIRST + page) * PAGE, PAGE, libc::MADV_DONTNEED)
        };
        let names = ["remote_tlb_flush", "tlb_flush_interrupts"];
        let [flushes, interrupts] = stats.growth(names, discard)?;
        ensure(flushes != 0, format!("{what}: not mapped"))?;
        equal(what, interrupts, expected)
    };
    store_on(&guest, 1)?;
    expect("after the vCPU ran on another CPU", 0, needed)?;
    expect("while it does not run", 1, 0)?;
    store_on(&guest, 1)?;
    expect("after it ran there again", 2, needed)?;
    store_on(&guest, 0)?;
    expect("after it ran on this CPU", 3, 0)?;
    store_on(&guest, 1)?;
    store_on(&guest, 0)?;
    expect("after it ran on both", 4, needed)
}
