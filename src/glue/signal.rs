// SPDX-License-Identifier: GPL-2.0

//! The signals that a thread takes while it waits.

use super::safe;

/// Runs `f` with `mask` in place of the current thread's signal mask, if there is one. SIGKILL and
/// SIGSTOP cannot be masked.
///
/// A signal that ends `f` is delivered to the thread under its own mask, or stays pending.
pub(crate) fn with_mask<R>(mask: Option<u64>, f: impl FnOnce() -> R) -> R {
    let Some(mask) = mask else {
        return f();
    };
    let outer = safe::kvm_arm_sigmask_set(mask);
    let result = f();
    safe::kvm_arm_sigmask_restore(outer);
    result
}
