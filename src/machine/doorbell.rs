// SPDX-License-Identifier: GPL-2.0

//! How others get a vCPU's attention: its requests, whether it is in the guest, and whose thread
//! runs it.
//!
//! Either the vCPU sees a request before it enters the guest, or whoever makes the request sees
//! that the vCPU is in the guest, and on which CPU. The vCPU says first that it enters, and looks
//! at its requests then; the other one makes the request first, and looks where the vCPU is then.
//! Between the two steps both have a full barrier.
//!
//! `tests/models` tries all orders of these steps.

use core::sync::atomic::Ordering;

use crate::atomics::{
    Atomics,
    Bits,
    Native,
    Word, //
};

/// Requests to a vCPU.
pub mod request {
    /// Look at interrupts again.
    pub const INTERRUPT: u32 = 1 << 0;
    /// Take the power state that is in `MpState`.
    pub const POWER: u32 = 1 << 1;
    /// Take the VM's counter offset again.
    pub const COUNTER: u32 = 1 << 2;
}

/// The place of a vCPU's thread.
mod place {
    /// In the host. The thread looks at requests before it enters the guest.
    pub(super) const HOST: u32 = 0;
    /// In the guest, or past its last look at requests. Above is the CPU's bit in the interrupt
    /// controller.
    pub(super) const GUEST: u32 = 1 << 0;
    pub(super) const INTERFACE_SHIFT: u32 = 8;
}

/// The doorbell of a vCPU. If all its bytes are zero, it is valid: no request, and in the host.
#[derive(Debug)]
#[repr(C)]
pub struct Bell<A: Atomics = Native> {
    requests: A::U32,
    place: A::U32,
}

impl<A: Atomics> Default for Bell<A> {
    fn default() -> Self {
        Self {
            requests: A::U32::new(0),
            place: A::U32::new(place::HOST),
        }
    }
}

impl<A: Atomics> Bell<A> {
    /// Makes a request. Gives the bit of the CPU on which the vCPU is in the guest, or `None` if it
    /// is not. All that was written before is visible to whoever sees the request, and before
    /// anything that is written afterwards.
    #[inline(always)]
    pub fn ring(&self, what: u32) -> Option<u32> {
        self.requests.fetch_or(what, Ordering::Release);
        // Pairs with the barrier of `try_enter`.
        A::fence(Ordering::SeqCst);
        self.interface()
    }

    /// The bit in the interrupt controller of the CPU on which the vCPU is in the guest; zero, if
    /// it is not known.
    #[inline(always)]
    pub fn interface(&self) -> Option<u32> {
        let place = self.place.load(Ordering::Acquire);
        (place != place::HOST).then_some(place >> place::INTERFACE_SHIFT)
    }

    /// Whether a request is pending.
    #[inline]
    pub fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Acquire) != 0
    }

    /// Whether a request is pending, as far as this thread sees already. It is certain only at
    /// [`try_enter`](Self::try_enter).
    #[inline]
    pub fn is_rung(&self) -> bool {
        self.requests.load(Ordering::Relaxed) != 0
    }

    /// Takes all pending requests.
    #[inline]
    pub fn take_requests(&self) -> u32 {
        if !self.is_rung() {
            return 0;
        }
        self.requests.swap(0, Ordering::AcqRel)
    }

    /// Declares that the guest is entered on the CPU with this bit in the interrupt controller,
    /// unless a request is pending.
    #[inline]
    pub fn try_enter(&self, interface: u32) -> bool {
        let place = place::GUEST | interface << place::INTERFACE_SHIFT;
        self.place.store(place, Ordering::Relaxed);
        // Pairs with the barrier of `ring`.
        A::fence(Ordering::SeqCst);
        if self.requests.load(Ordering::Relaxed) != 0 {
            self.leave();
            return false;
        }
        true
    }

    /// Declares that the guest was left.
    #[inline]
    pub fn leave(&self) {
        self.place.store(place::HOST, Ordering::Relaxed);
    }
}

/// The thread that runs a vCPU, for whoever has to kick it.
#[derive(Debug)]
pub struct Runner<T, A: Atomics = Native> {
    task: A::Ptr<T>,
}

impl<T, A: Atomics> Default for Runner<T, A> {
    fn default() -> Self {
        Self {
            task: A::Ptr::new(core::ptr::null_mut()),
        }
    }
}

impl<T, A: Atomics> Runner<T, A> {
    /// Publishes the thread that runs the vCPU for the time of `f`. The caller holds the mutex of
    /// the vCPU.
    #[inline]
    pub fn with<R>(&self, task: *mut T, f: impl FnOnce() -> R) -> R {
        // The barrier of `try_enter` orders this, too.
        self.task.store(task, Ordering::Relaxed);
        let result = f();
        self.task.store(core::ptr::null_mut(), Ordering::Relaxed);
        result
    }

    /// The thread, or null.
    ///
    /// If [`Bell::ring`] came before, this is the thread that has to be kicked. If its barrier
    /// comes behind that of `try_enter`, the thread is seen here. Otherwise any thread or none is
    /// seen, and the vCPU sees the request before it enters.
    #[inline]
    pub fn task(&self) -> *mut T {
        self.task.load(Ordering::Relaxed)
    }
}
