// SPDX-License-Identifier: GPL-2.0

//! Log lines that a guest or a process can cause at will, and those for which the kernel crate has
//! no formats.

use kernel::prelude::*;
use kvm_bindings as glue;

use super::safe;

/// Calls `print`, unless there were too many calls lately.
pub(crate) fn ratelimited(print: impl FnOnce()) {
    if safe::kvm_arm_log_allowed() {
        print();
    }
}

/// Calls `print`, unless there were too many calls of this function lately. It is for faults of the
/// host: lines that guests can cause do not count.
pub(crate) fn ratelimited_fault(print: impl FnOnce()) {
    if safe::kvm_arm_fault_log_allowed() {
        print();
    }
}

/// Calls `print` if the module parameter `debug` is on, unless there were too many calls lately.
pub(crate) fn debugging(print: impl FnOnce()) {
    if safe::kvm_arm_debug_allowed() {
        print();
    }
}

/// Logs an address of code as a symbol.
pub(crate) fn symbol(what: &CStr, address: u32) {
    // SAFETY: The string ends with a zero. The address is printed alone.
    unsafe { glue::kvm_arm_log_symbol(what.as_char_ptr(), address as usize) };
}

/// Logs who has called the caller.
pub(crate) fn backtrace() {
    safe::dump_stack();
}

/// Logs something unusual that is nobody's fault, if the module parameter `debug` is on.
macro_rules! debug {
    ($($message:tt)*) => {
        $crate::glue::log::debugging(|| kernel::pr_info!($($message)*))
    };
}

pub(crate) use debug;
