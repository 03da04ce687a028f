// SPDX-License-Identifier: GPL-2.0

//! The signals that a thread takes while it waits.

use kvm_bindings as glue;

/// Runs `f` with `mask` in place of the current thread's signal mask, if there is one. SIGKILL and
/// SIGSTOP cannot be masked.
///
/// A signal that ends `f` is delivered to the thread under its own mask, or stays pending.
pub(crate) fn with_mask<R>(mask: Option<u64>, f: impl FnOnce() -> R) -> R {
    let Some(mask) = mask else {
        return f();
    };
    // SAFETY: Called by a thread in a system call, for itself; undone below.
    unsafe { glue::kvm_arm_sigmask_set(mask) };
    let result = f();
    // SAFETY: The thread's own mask was put aside above.
    unsafe { glue::kvm_arm_sigmask_restore() };
    result
}
