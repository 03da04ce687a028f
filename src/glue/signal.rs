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
    // SAFETY: The thread changes its own mask, and has it again below.
    let outer = unsafe { glue::kvm_arm_sigmask_set(mask) };
    let result = f();
    // SAFETY: The call above put the thread's own mask aside. Calls inside of `f` have put it back
    // there.
    unsafe { glue::kvm_arm_sigmask_restore(outer) };
    result
}
