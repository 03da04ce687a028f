// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks: for src/glue/task.rs.
 */
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>
#include "helpers.h"

bool kvm_arm_task_waits_for_cpu(struct task_struct *task)
{
	return task_is_running(task) && !READ_ONCE(task->on_cpu);
}

/*
 * The flag sends the return to user space through the code for signals, which
 * begins an interrupted system call anew.
 */
bool kvm_arm_must_do_task_work(void)
{
	if (!task_work_pending(current))
		return false;
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return true;
}

bool kvm_arm_is_over_memory_high(void)
{
#ifdef CONFIG_MEMCG
	return current->memcg_nr_pages_over_high;
#else
	return false;
#endif
}

bool kvm_arm_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}
