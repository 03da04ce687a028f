// SPDX-License-Identifier: GPL-2.0

//! Ends what guests would do for ever: the threads that run vCPUs get signals all the time.

use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::calls::CALLS;
use crate::layout::THREADS;
use crate::random::Random;
use crate::shared::Shared;

/// Signals that come all the time do nothing but end system calls.
pub(crate) fn catch_signals() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: The handler does nothing; without SA_RESTART the call that it interrupts fails.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut());
    }
}

/// Lets this thread run as soon as it wants to.
pub(crate) fn be_urgent() {
    let urgent = libc::sched_param { sched_priority: 1 };
    // SAFETY: The kernel reads one number.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const urgent) };
}

/// Whether a thread is about to run a vCPU, or does.
fn runs_vcpu(shared: &Shared, thread: usize) -> bool {
    let call = shared.now[thread].call.load(Ordering::Relaxed) as usize;
    CALLS.get(call).is_some_and(|call| call.name == "RUN")
}

/// Sends the signal that ends KVM_RUN to a thread, which is given by its number in the kernel, or 0.
pub(crate) fn wake(thread: &AtomicI32) {
    let id = thread.load(Ordering::Relaxed);
    if id != 0 {
        // SAFETY: The handler of the signal does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR1) };
    }
}

/// Wakes some of the threads that are in KVM_RUN, and pauses.
pub(crate) fn wake_all(shared: &Shared, threads: &[AtomicI32; THREADS], random: &mut Random) {
    for (n, thread) in threads.iter().enumerate() {
        if runs_vcpu(shared, n) && random.per_mille(500) {
            wake(thread);
        }
    }
    // SAFETY: It has no memory argument.
    unsafe { libc::usleep(200 + random.below(800) as u32) };
}
