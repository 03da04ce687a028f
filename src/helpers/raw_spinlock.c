// SPDX-License-Identifier: GPL-2.0
/*
 * Raw spinlocks: for src/glue/raw_spinlock.rs. The tracer of functions leaves
 * those alone that do less than it would.
 */
#include <linux/lockdep.h>
#include <linux/spinlock.h>
#include "helpers.h"

void kvm_arm_raw_spin_lock_init(raw_spinlock_t *lock, const char *name,
				struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(lock, name, key, LD_WAIT_SPIN);
#else
	raw_spin_lock_init(lock);
#endif
}

void notrace kvm_arm_raw_spin_lock(raw_spinlock_t *lock)
{
	raw_spin_lock(lock);
}

int notrace kvm_arm_raw_spin_trylock(raw_spinlock_t *lock)
{
	return raw_spin_trylock(lock);
}

void notrace kvm_arm_raw_spin_unlock(raw_spinlock_t *lock)
{
	raw_spin_unlock(lock);
}

void kvm_arm_raw_spin_assert_is_held(raw_spinlock_t *lock)
{
	lockdep_assert_held(lock);
}
