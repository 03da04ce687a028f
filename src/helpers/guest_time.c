// SPDX-License-Identifier: GPL-2.0
/*
 * The host's accounting, RCU and tracing around a guest: for src/glue/guest_time.rs.
 *
 * <linux/kvm_host.h> has the same inline for every architecture; it cannot be
 * included without an asm/kvm_host.h. As there, the tracer of functions leaves
 * them alone: RCU does not watch where they begin or end.
 */
#include <linux/context_tracking.h>
#include <linux/ftrace.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/vtime.h>
#include "helpers.h"

void notrace kvm_arm_guest_timing_enter_irqoff(void)
{
	vtime_account_guest_enter();
}

void notrace kvm_arm_guest_timing_exit_irqoff(void)
{
	vtime_account_guest_exit();
}

/* When a CPU has last told RCU that it runs a guest. */
static DEFINE_PER_CPU(unsigned long, noted_at);

/*
 * A guest is a quiescent state to RCU, as user mode is. Of a task in user mode
 * RCU hears with each tick. So it need not hear of a guest more often: each tick
 * ends the guest's run, and the next entry tells.
 */
static notrace void note_guest(void)
{
	unsigned long now = jiffies;

	if (__this_cpu_read(noted_at) == now)
		return;
	__this_cpu_write(noted_at, now);
	rcu_virt_note_context_switch();
}

void notrace kvm_arm_guest_state_enter_irqoff(void)
{
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	if (!context_tracking_guest_enter())
		note_guest();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

void notrace kvm_arm_guest_state_exit_irqoff(void)
{
	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();
	trace_hardirqs_off_finish();
}
