// SPDX-License-Identifier: GPL-2.0
/*
 * Signal masks: for src/glue/signal.rs.
 */
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include "helpers.h"

/*
 * A thread waits with a mask of its own, as in pselect(). Its real mask is kept
 * where the kernel looks for it; the previous content of that place is the
 * result, so that calls can be nested.
 */
sigset_t kvm_arm_sigmask_set(u64 mask)
{
	sigset_t outer = current->real_blocked;
	sigset_t set;

	set.sig[0] = mask;
	set.sig[1] = mask >> 32;
	BUILD_BUG_ON(_NSIG_WORDS != 2);
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	sigprocmask(SIG_SETMASK, &set, &current->real_blocked);
	return outer;
}

void kvm_arm_sigmask_restore(sigset_t outer)
{
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	current->real_blocked = outer;
}
