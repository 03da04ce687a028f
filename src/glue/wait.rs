// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition that is not under a lock.
//!
//! A condition of `kernel::sync::CondVar` changes under a lock. The condition for which a vCPU
//! waits changes without one, in hard interrupt context, too. A wait queue of the kernel has a lock
//! that is a mutex on a kernel with PREEMPT_RT, where an interrupt cannot take it.

use kernel::{
    bindings,
    ffi,
    prelude::*,
    types::Opaque, //
};
use kvm_bindings as glue;

use super::any_thread::AnyThread;

/// A place where one thread at a time waits.
///
/// If two waited, one of them might not hear of a change.
///
/// # Invariants
///
/// `inner` is an initialised `rcuwait`.
#[pin_data]
pub(crate) struct Wait {
    #[pin]
    inner: AnyThread<Opaque<bindings::rcuwait>>,
}

impl Wait {
    /// Nobody waits yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid and pinned. The kernel reaches what is in there by atomic
            // accesses, and RCU protects the task that waits.
            inner <- unsafe {
                AnyThread::pin_init(Opaque::ffi_init(|slot| glue::kvm_arm_rcuwait_init(slot)))
            },
        })
    }

    /// Wakes the thread that waits, which then looks at its condition again. The caller has changed
    /// the condition before. Any context.
    pub(crate) fn wake_up(&self) {
        // SAFETY: Initialised by the type's invariant.
        unsafe { glue::rcuwait_wake_up(self.inner.get()) };
    }

    /// Sleeps until `ready` returns true or a signal is pending, which is the error `EINTR`.
    pub(crate) fn until<F: Fn() -> bool>(&self, ready: F) -> Result {
        extern "C" fn call<F: Fn() -> bool>(arg: *mut ffi::c_void) -> bool {
            // SAFETY: `arg` points to the `ready` of `until`, which has not returned.
            unsafe { (*arg.cast::<F>())() }
        }
        // SAFETY: Initialised by the type's invariant; `ready` outlives the call.
        kernel::error::to_result(unsafe {
            glue::kvm_arm_rcuwait_interruptible(
                self.inner.get(),
                Some(call::<F>),
                (&raw const ready).cast_mut().cast(),
            )
        })
    }
}
