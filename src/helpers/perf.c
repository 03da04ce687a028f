// SPDX-License-Identifier: GPL-2.0
/*
 * Events of the perf core: for src/glue/perf.rs, whose head explains their use.
 *
 * An event is stopped and started here as the driver of the monitors does it,
 * by fields of structures that the bindings do not have.
 */
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include "helpers.h"

#ifdef CONFIG_PERF_EVENTS
/* A period that the perf core accepts and no counter reaches. */
#define NO_OVERFLOW	BIT_ULL(62)

/* The interrupt itself ends the guest's run, and its counters are read then. */
static void ignore_overflow(struct perf_event *event, struct perf_sample_data *data,
			    struct pt_regs *regs)
{
}

/*
 * The number by which attr.type chooses the monitors of a CPU. Those that count
 * for the CPU are the only ones that accept an event for it.
 */
int kvm_arm_perf_monitors(int cpu, u64 config, bool interrupts)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_RAW,
		.size = sizeof(attr),
		.config = config,
		.sample_period = interrupts ? NO_OVERFLOW : 0,
		.exclude_hv = 1,
		.disabled = 1,
	};
	struct perf_event *event;
	int monitors;

	event = perf_event_create_kernel_counter(&attr, cpu, NULL, ignore_overflow, NULL);
	if (IS_ERR(event))
		return PTR_ERR(event);
	monitors = event->pmu->type;
	perf_event_release_kernel(event);
	return monitors;
}

struct perf_event *kvm_arm_perf_event_create(u32 monitors, u64 config, bool user,
					     bool kernel, bool interrupts)
{
	struct perf_event_attr attr = {
		.type = monitors,
		.size = sizeof(attr),
		.config = config,
		.sample_period = interrupts ? NO_OVERFLOW : 0,
		.exclude_user = !user,
		.exclude_kernel = !kernel,
		.exclude_hv = 1,
	};

	return perf_event_create_kernel_counter(&attr, -1, current, ignore_overflow, NULL);
}

void kvm_arm_perf_event_release(struct perf_event *event)
{
	perf_event_release_kernel(event);
}

void kvm_arm_perf_event_enable(struct perf_event *event)
{
	perf_event_enable(event);
}

void kvm_arm_perf_event_disable(struct perf_event *event)
{
	perf_event_disable(event);
}

static bool is_on_this_cpu(struct perf_event *event)
{
	return READ_ONCE(event->state) == PERF_EVENT_STATE_ACTIVE &&
	       READ_ONCE(event->oncpu) == smp_processor_id();
}

static void stop(struct perf_event *event)
{
	if (!(event->hw.state & PERF_HES_STOPPED))
		event->pmu->stop(event, PERF_EF_UPDATE);
}

/* The period takes effect when the event is started. */
static void set_period(struct perf_event *event, u64 period)
{
	if (!event->attr.sample_period)
		return;
	event->attr.sample_period = period;
	event->hw.sample_period = period;
	event->hw.last_period = period;
	local64_set(&event->hw.period_left, period);
}

u64 kvm_arm_perf_event_resume(struct perf_event *event, u64 period)
{
	u64 count;

	if (!is_on_this_cpu(event))
		return local64_read(&event->count);
	/* The scheduler has started the event if it brought the thread back since. */
	stop(event);
	count = local64_read(&event->count);
	set_period(event, period ? min(period, NO_OVERFLOW) : NO_OVERFLOW);
	event->pmu->start(event, PERF_EF_RELOAD);
	return count;
}

u64 kvm_arm_perf_event_pause(struct perf_event *event)
{
	if (is_on_this_cpu(event)) {
		stop(event);
		set_period(event, NO_OVERFLOW);
	}
	return local64_read(&event->count);
}
#else
int kvm_arm_perf_monitors(int cpu, u64 config, bool interrupts)
{
	return -EOPNOTSUPP;
}

struct perf_event *kvm_arm_perf_event_create(u32 monitors, u64 config, bool user,
					     bool kernel, bool interrupts)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void kvm_arm_perf_event_release(struct perf_event *event)
{
}

void kvm_arm_perf_event_enable(struct perf_event *event)
{
}

void kvm_arm_perf_event_disable(struct perf_event *event)
{
}

u64 kvm_arm_perf_event_resume(struct perf_event *event, u64 period)
{
	return 0;
}

u64 kvm_arm_perf_event_pause(struct perf_event *event)
{
	return 0;
}
#endif
