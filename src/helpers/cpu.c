// SPDX-License-Identifier: GPL-2.0
/*
 * CPUs, interrupts and scheduling: for src/glue/cpu.rs.
 */
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <asm/barrier.h>
#include <asm/hwcap.h>
#include "helpers.h"

/*
 * The tracer of functions leaves those alone that do less than it would.
 */

/* The state of the interrupts before, and above it the number of the CPU that this stays on. */
u64 notrace kvm_arm_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags | (u64)smp_processor_id() << 32;
}

void notrace kvm_arm_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

/* Restores the state of the interrupts for a moment. The task may be on another CPU afterwards. */
unsigned int notrace kvm_arm_local_irq_window(unsigned long flags)
{
	local_irq_restore(flags);
	/* The CPU takes a pending interrupt before it goes on behind this (B1.8.5). */
	isb();
	local_irq_disable();
	return smp_processor_id();
}

unsigned int kvm_arm_smp_processor_id(void)
{
	return smp_processor_id();
}

bool kvm_arm_irqs_disabled(void)
{
	return irqs_disabled();
}

bool kvm_arm_need_resched(void)
{
	return need_resched();
}

void kvm_arm_cond_resched(void)
{
	cond_resched();
}

/* In a kernel that preempts tasks, cond_resched() does nothing. */
void kvm_arm_give_way(void)
{
	if (need_resched())
		schedule();
}

unsigned int kvm_arm_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

bool kvm_arm_cpu_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

void kvm_arm_on_each_cpu_if(bool (*wants)(int, void *), void (*func)(void *), void *info)
{
	on_each_cpu_cond(wants, func, info, true);
}

bool kvm_arm_has_vfp_d32(void)
{
	return elf_hwcap & HWCAP_VFPD32;
}

bool kvm_arm_has_vfp(void)
{
	return elf_hwcap & HWCAP_VFP;
}
