// SPDX-License-Identifier: GPL-2.0
/*
 * Per-CPU interrupts: for src/glue/irq.rs and src/glue/device_tree.rs.
 */
#include <linux/irq.h>
#include <linux/percpu.h>
#include "helpers.h"

void __percpu *kvm_arm_alloc_percpu_ptr(void)
{
	return alloc_percpu(void *);
}

void kvm_arm_free_percpu_ptr(void __percpu *ptr)
{
	free_percpu(ptr);
}

unsigned int kvm_arm_irq_to_hwirq(unsigned int irq)
{
	struct irq_data *data = irq_get_irq_data(irq);

	return data ? irqd_to_hwirq(data) : 0;
}
