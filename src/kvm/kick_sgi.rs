// SPDX-License-Identifier: GPL-2.0

//! The software-generated interrupt (SGI) by which the host's kernel kicks another CPU.
//!
//! HYP mode sends it to make a vCPU on another CPU leave the guest. Its number is the kernel's own
//! affair: no function tells it. So one CPU kicks another, which has interrupts disabled, and sees
//! in the interrupt controller which SGI becomes pending there (GICD_SPENDSGIRn, IHI 0048B 4.3.17).

use core::{
    ptr::null_mut,
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        Ordering, //
    },
};

use kernel::{
    bindings,
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

use crate::{
    glue::cpu::on_each_cpu,
    hyp::shared::HypRegisters, //
};

/// GICD_SPENDSGIR0.
const GICD_SPENDSGIR: usize = 0xf20;

/// The longest time that a CPU waits for another one with interrupts disabled.
const PATIENCE: Delta = Delta::from_millis(5);

/// How often is tried: other SGIs can come in between.
const TRIES: usize = 100;
/// How often nothing may be seen. A CPU that is itself emulated, on a machine with other work, can
/// be away for tens of milliseconds, so there is a pause after each of these tries, twice as long
/// as the last one.
const PATIENT_TRIES: usize = 10;
/// So many times in a row it has to be the same one.
const AGREEING: usize = 3;

/// The SGIs that are pending for this CPU, as bits.
fn pending(distributor: &HypRegisters) -> u32 {
    (0..4).fold(0, |sgis, word| {
        let sources = distributor.read(GICD_SPENDSGIR + 4 * word).to_le_bytes();
        (0..4)
            .filter(|&byte| sources[byte] != 0)
            .fold(sgis, |sgis, byte| sgis | 1 << (4 * word + byte))
    })
}

/// Waits for something, but not for long.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::<Monotonic>::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begin.elapsed() > PATIENCE {
            return None;
        }
    }
}

/// One try: the SGIs that became pending, as bits, and the number of CPUs.
fn observe(distributor: &HypRegisters) -> (u32, u32) {
    let (arrived, new) = (AtomicU32::new(0), AtomicU32::new(0));
    let task = AtomicPtr::new(null_mut());
    on_each_cpu(|_irqs| match arrived.fetch_add(1, Ordering::SeqCst) {
        // The first to come is kicked.
        0 => {
            let before = pending(distributor);
            task.store(kernel::current!().as_ptr(), Ordering::SeqCst);
            let came = wait_for(|| Some(pending(distributor) & !before).filter(|&new| new != 0));
            new.store(came.unwrap_or(0), Ordering::Relaxed);
        }
        // The second one kicks it.
        1 => {
            let task =
                wait_for(|| Some(task.load(Ordering::SeqCst)).filter(|task| !task.is_null()));
            if let Some(task) = task {
                // SAFETY: The task ran during this `on_each_cpu`, whose caller does not let itself
                // be preempted. If the task has ended since, it is freed a grace period later, and
                // no grace period ends before that call.
                unsafe { bindings::kick_process(task) };
            }
        }
        _ => (),
    });
    (new.into_inner(), arrived.into_inner())
}

/// Finds the number of the SGI. `None` if there is but one CPU, or if it cannot be seen, which
/// takes about a second.
pub(super) fn find(distributor: &HypRegisters) -> Option<u32> {
    let (mut last, mut times, mut nothing) = (None, 0, 0);
    for _ in 0..TRIES {
        let (sgis, cpus) = observe(distributor);
        if cpus < 2 {
            return None;
        }
        if sgis == 0 {
            nothing += 1;
            if nothing == PATIENT_TRIES {
                break;
            }
            fsleep(Delta::from_millis(1 << nothing));
            continue;
        }
        if !sgis.is_power_of_two() {
            continue;
        }
        // Another SGI can have come by chance. If the same one comes again and again, it serves as
        // well: the kernel reckons with each of its SGIs at any time.
        let found = sgis.trailing_zeros();
        times = if last == Some(found) { times + 1 } else { 1 };
        last = Some(found);
        if times == AGREEING {
            return last;
        }
    }
    pr_info!(
        "the interrupt by which the kernel kicks a CPU was not found: an SGI between vCPUs is an exit\n"
    );
    None
}
