// SPDX-License-Identifier: GPL-2.0

//! Tasks, where the kernel crate's `Task` does not go far enough.

use kernel::{
    bindings,
    task::Task, //
};
use kvm_bindings as glue;

/// Gives the rest of this task's turn to another one that waits for a CPU. Says whether it did: not
/// if that runs or sleeps, or if its scheduling policy is another one, or one without such a
/// thing. May sleep.
pub(crate) fn yield_to(task: &Task) -> bool {
    // The queues are locked for it, so look first whether there is a point.
    // SAFETY: The task lives as long as the reference to it.
    unsafe {
        glue::kvm_arm_task_waits_for_cpu(task.as_ptr())
            && bindings::yield_to(task.as_ptr(), true) > 0
    }
}

/// Whether the kernel has work for the current task that it does on the way to user space. If so,
/// the system call has to return `ERESTARTNOHAND`: after the work the kernel looks for signals. Of
/// those there need not be any, and then the call is begun anew, and user space does not see it; if
/// one was handled, the call is `EINTR`.
pub(crate) fn must_do_task_work() -> bool {
    // SAFETY: May be called in the context of any task.
    unsafe { glue::kvm_arm_must_do_task_work() }
}

/// Whether the current task has to be slowed down by its memory cgroup (memory.high), which is
/// done when it returns to user space.
pub(crate) fn is_over_memory_high() -> bool {
    // SAFETY: As above.
    unsafe { glue::kvm_arm_is_over_memory_high() }
}

/// Whether the current task has been killed.
pub(crate) fn is_killed() -> bool {
    // SAFETY: As above.
    unsafe { glue::kvm_arm_fatal_signal_pending() }
}
