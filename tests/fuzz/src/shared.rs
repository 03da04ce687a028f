// SPDX-License-Identifier: GPL-2.0

//! Memory that the supervisor shares with the processes that it starts.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::coverage::Coverage;
use crate::layout::THREADS;

/// The call that a thread makes at the moment.
pub(crate) struct Now {
    /// Its step.
    pub(crate) step: AtomicU32,
    /// The call of that step as its place in the table, or something above it.
    pub(crate) call: AtomicU32,
}

/// All of it. It begins as zeroes.
pub(crate) struct Shared {
    pub(crate) coverage: Coverage,
    pub(crate) now: [Now; THREADS],
    /// Calls of all rounds.
    pub(crate) calls: AtomicU32,
    /// Runs of vCPUs that came back for a reason of the guest's, and those that a signal ended.
    pub(crate) exits: AtomicU32,
    pub(crate) interrupted: AtomicU32,
    /// Passes of the VM that checks itself.
    pub(crate) passes: AtomicU32,
    /// Traps of random guests by their class, and those that HYP mode answered.
    pub(crate) traps: [AtomicU32; 64],
    pub(crate) answered: [AtomicU32; 4],
    /// The threads have to end.
    pub(crate) stop: AtomicU32,
}

impl Shared {
    /// Makes the memory, for ever.
    pub(crate) fn map() -> io::Result<&'static Self> {
        // SAFETY: A new mapping.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The mapping is large enough, stays for ever, and zeroes are a valid value: it consists of
        // atomic integers.
        Ok(unsafe { &*address.cast::<Self>() })
    }

    /// A new round begins.
    pub(crate) fn begin(&self) {
        self.stop.store(0, Ordering::Relaxed);
        for now in &self.now {
            now.step.store(0, Ordering::Relaxed);
        }
    }

    /// How far the calling processes are: something that changes as long as they go on.
    pub(crate) fn pulse(&self) -> u32 {
        let steps = self.now.iter().map(|now| now.step.load(Ordering::Relaxed));
        steps.fold(self.calls.load(Ordering::Relaxed), u32::wrapping_add)
    }
}
