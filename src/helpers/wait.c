// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting: for src/glue/wait.rs.
 */
#include <linux/rcuwait.h>
#include "helpers.h"

void kvm_arm_rcuwait_init(struct rcuwait *wait)
{
	rcuwait_init(wait);
}

int kvm_arm_rcuwait_interruptible(struct rcuwait *wait,
				  bool (*ready)(void *), void *arg)
{
	return rcuwait_wait_event(wait, ready(arg), TASK_INTERRUPTIBLE);
}
