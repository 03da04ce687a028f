// SPDX-License-Identifier: GPL-2.0

//! Log lines that a guest or a process can cause at will.

use kvm_bindings as glue;

/// Calls `print` unless that happened too often lately.
pub(crate) fn ratelimited(print: impl FnOnce()) {
    // SAFETY: The state is the callee's own.
    if unsafe { glue::kvm_arm_log_allowed() } {
        print();
    }
}
