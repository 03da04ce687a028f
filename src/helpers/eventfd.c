// SPDX-License-Identifier: GPL-2.0
/*
 * Listeners of eventfds: for src/glue/eventfd.rs.
 */
#include <linux/eventfd.h>
#include <linux/poll.h>
#include <linux/wait.h>
#include "helpers.h"

static void kvm_arm_listener_queue(struct file *file,
				   struct wait_queue_head *wq,
				   struct poll_table_struct *table)
{
	struct kvm_arm_listener *listener =
		container_of(table, struct kvm_arm_listener, table);

	add_wait_queue(wq, &listener->entry);
}

unsigned int kvm_arm_listen(struct kvm_arm_listener *listener,
			    struct file *file, wait_queue_func_t wake)
{
	init_waitqueue_func_entry(&listener->entry, wake);
	init_poll_funcptr(&listener->table, kvm_arm_listener_queue);
	return (__force unsigned int)vfs_poll(file, &listener->table);
}

void kvm_arm_unlisten(struct kvm_arm_listener *listener,
		      struct eventfd_ctx *ctx)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(ctx, &listener->entry, &count);
}
