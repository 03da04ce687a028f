// SPDX-License-Identifier: GPL-2.0
/*
 * The host's accounting, RCU and tracing around a guest: for src/glue/guest_time.rs.
 *
 * <linux/kvm_host.h> has the same inline for every architecture; it cannot be
 * included without an asm/kvm_host.h.
 */
#include <linux/context_tracking.h>
#include <linux/ftrace.h>
#include <linux/irqflags.h>
#include <linux/rcupdate.h>
#include <linux/vtime.h>
#include "helpers.h"

void kvm_arm_guest_timing_enter_irqoff(void)
{
	vtime_account_guest_enter();
}

void kvm_arm_guest_timing_exit_irqoff(void)
{
	vtime_account_guest_exit();
}

void kvm_arm_guest_state_enter_irqoff(void)
{
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	if (!context_tracking_guest_enter())
		rcu_virt_note_context_switch();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

void kvm_arm_guest_state_exit_irqoff(void)
{
	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();
	trace_hardirqs_off_finish();
}
