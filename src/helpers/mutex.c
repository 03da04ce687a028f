// SPDX-License-Identifier: GPL-2.0
/*
 * Mutexes: for src/glue/mutex.rs.
 */
#include <linux/mutex.h>
#include "helpers.h"

int kvm_arm_mutex_lock_killable(struct mutex *lock)
{
	return mutex_lock_killable(lock);
}
