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

static bool is_over_high(void)
{
#ifdef CONFIG_MEMCG
	return current->memcg_nr_pages_over_high;
#else
	return false;
#endif
}

bool kvm_arm_must_return_to_user(void)
{
	return signal_pending(current) || is_over_high();
}

/*
 * Whether something has to come before a guest is entered: need_resched(), or
 * one of the two above.
 */
bool notrace kvm_arm_has_work(void)
{
	if (read_thread_flags() &
	    (_TIF_NEED_RESCHED | _TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL))
		return true;
	return task_work_pending(current) || is_over_high();
}

bool kvm_arm_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}
