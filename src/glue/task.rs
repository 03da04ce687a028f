// SPDX-License-Identifier: GPL-2.0

//! Tasks, where the kernel crate's `Task` does not go far enough.

use kernel::{
    bindings,
    task::Task, //
};
use kvm_bindings as glue;

use super::safe;

/// Gives the rest of this task's turn to `task`, if that waits for a CPU. May sleep.
///
/// Returns whether it did. It does not if `task` runs or sleeps, if the two tasks have different
/// scheduling policies, or if their policy has no such operation.
pub(crate) fn yield_to(task: &Task) -> bool {
    // `yield_to` locks the queues of two CPUs, so look first whether there is a point.
    // SAFETY: The task lives as long as the reference to it.
    unsafe {
        glue::kvm_arm_task_waits_for_cpu(task.as_ptr())
            && bindings::yield_to(task.as_ptr(), true) > 0
    }
}

/// Whether the scheduler wants this CPU for another task, or [`must_do_task_work`] or
/// [`must_return_to_user`] is true: all in one, since it is asked before each entry of a guest.
#[inline]
pub(crate) fn has_work() -> bool {
    safe::kvm_arm_has_work()
}

/// Whether the kernel has work for the current task that it does on the way to user space. If so,
/// the system call has to return `ERESTARTNOHAND`. After the work the kernel looks for signals. If
/// a signal is handled, the call ends with `EINTR`. Else the kernel begins the call anew, and user
/// space does not see it.
pub(crate) fn must_do_task_work() -> bool {
    safe::kvm_arm_must_do_task_work()
}

/// Whether the current task has to go back to user space: a signal is pending, or its memory cgroup
/// slows it down (memory.high), which happens on that way.
#[inline]
pub(crate) fn must_return_to_user() -> bool {
    safe::kvm_arm_must_return_to_user()
}

/// Whether the current task has been killed.
pub(crate) fn is_killed() -> bool {
    safe::kvm_arm_fatal_signal_pending()
}
