// SPDX-License-Identifier: GPL-2.0
/*
 * Wait queues: for src/glue/wait.rs.
 */
#include <linux/wait.h>
#include "helpers.h"

void kvm_arm_init_waitqueue(struct wait_queue_head *wq)
{
	init_waitqueue_head(wq);
}

void kvm_arm_wake_up(struct wait_queue_head *wq)
{
	wake_up(wq);
}

int kvm_arm_wait_interruptible(struct wait_queue_head *wq,
			       bool (*ready)(void *), void *arg)
{
	return wait_event_interruptible(*wq, ready(arg));
}
