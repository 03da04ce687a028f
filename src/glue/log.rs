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

/// The same, for what is wrong with the host: nothing that guests can cause counts.
pub(crate) fn ratelimited_fault(print: impl FnOnce()) {
    // SAFETY: The state is the callee's own.
    if unsafe { glue::kvm_arm_fault_log_allowed() } {
        print();
    }
}

/// Calls `print` if the module parameter `debug` is on, unless that happened too often lately.
pub(crate) fn debugging(print: impl FnOnce()) {
    // SAFETY: The state is the callee's own.
    if unsafe { glue::kvm_arm_debug_allowed() } {
        print();
    }
}

/// Logs what is unusual, but nobody's fault, for those who want to know (`debug=1`).
macro_rules! debug {
    ($($message:tt)*) => {
        $crate::glue::log::debugging(|| kernel::pr_info!($($message)*))
    };
}

pub(crate) use debug;
