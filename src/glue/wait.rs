// SPDX-License-Identifier: GPL-2.0

//! A wait queue for a condition that is not under a lock.
//!
//! A condition of `kernel::sync::CondVar` changes under a lock. The condition for which a vCPU
//! waits changes without one, in hard interrupt context, too.

use kernel::{
    bindings,
    ffi,
    prelude::*,
    types::Opaque, //
};
use kvm_bindings as glue;

use super::any_thread::AnyThread;

/// A wait queue.
///
/// # Invariants
///
/// `inner` is an initialised `wait_queue_head`.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    inner: AnyThread<Opaque<bindings::wait_queue_head>>,
}

impl WaitQueue {
    /// Makes an empty queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid and pinned. The queue has a lock of its own.
            inner <- unsafe {
                AnyThread::pin_init(Opaque::ffi_init(|slot| glue::kvm_arm_init_waitqueue(slot)))
            },
        })
    }

    /// Wakes the waiters, which then look at their condition again. The caller has changed the
    /// condition before. Any context.
    pub(crate) fn wake_up(&self) {
        // SAFETY: The queue is initialised, by the type's invariant.
        unsafe { glue::kvm_arm_wake_up(self.inner.get()) };
    }

    /// Sleeps until `ready` returns true or a signal is pending. The error is then the form of
    /// `EINTR` that only the kernel knows.
    pub(crate) fn wait_interruptible<F: Fn() -> bool>(&self, ready: F) -> Result {
        extern "C" fn call<F: Fn() -> bool>(arg: *mut ffi::c_void) -> bool {
            // SAFETY: `arg` points to the `ready` of `wait_interruptible`, which has not returned.
            unsafe { (*arg.cast::<F>())() }
        }
        // SAFETY: Initialised by the type's invariant; `ready` outlives the call.
        kernel::error::to_result(unsafe {
            glue::kvm_arm_wait_interruptible(
                self.inner.get(),
                Some(call::<F>),
                (&raw const ready).cast_mut().cast(),
            )
        })
    }
}
