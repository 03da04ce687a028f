// SPDX-License-Identifier: GPL-2.0

//! A wait queue for a condition that is not under a lock.
//!
//! `kernel::sync::CondVar` needs the condition to change under its lock; a vCPU is woken from
//! hard interrupt context by what changes without one.

use kernel::{
    bindings,
    ffi,
    prelude::*,
    types::Opaque, //
};
use kvm_bindings as glue;

/// A wait queue.
///
/// # Invariants
///
/// `inner` is an initialised `wait_queue_head`.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    inner: Opaque<bindings::wait_queue_head>,
}

// SAFETY: The C side has its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: The C side has its own lock.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Makes an empty queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid and pinned.
            inner <- Opaque::ffi_init(|slot| unsafe { glue::kvm_arm_init_waitqueue(slot) }),
        })
    }

    /// Wakes the waiters so that they look at their condition again. May be called from any
    /// context; whoever changed the condition did so before.
    pub(crate) fn wake_up(&self) {
        // SAFETY: Initialised by the type's invariant.
        unsafe { glue::kvm_arm_wake_up(self.inner.get()) };
    }

    /// Sleeps until `ready` returns true, or a signal is pending (`EINTR`'s kernel-internal form).
    pub(crate) fn wait_interruptible<F: Fn() -> bool>(&self, ready: F) -> Result {
        extern "C" fn call<F: Fn() -> bool>(arg: *mut ffi::c_void) -> bool {
            // SAFETY: `arg` is the `ready` below, which outlives the wait.
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
