// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters of the module that user space can read or write while it is
 * loaded: for src/glue/parameter.rs.
 */
#include <linux/compiler.h>
#include <linux/moduleparam.h>
#include "helpers.h"

/* The parameters of <linux/kvm_host.h>, with the default of Linux 5.6 for Arm. */
#define HALT_POLL_NS_DEFAULT	500000

static unsigned int halt_poll_ns = HALT_POLL_NS_DEFAULT;
module_param(halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "The longest time for which a vCPU looks out for an interrupt before it sleeps (0: never)");

static unsigned int halt_poll_ns_grow = 2;
module_param(halt_poll_ns_grow, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow, "The factor by which that time grows (0: never)");

static unsigned int halt_poll_ns_grow_start = 10000;
module_param(halt_poll_ns_grow_start, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow_start, "The first time above zero");

static unsigned int halt_poll_ns_shrink = 2;
module_param(halt_poll_ns_shrink, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_shrink, "The divisor by which that time shrinks (0: to nothing)");

static bool hyp_vgic = true;
module_param(hyp_vgic, bool, 0644);
MODULE_PARM_DESC(hyp_vgic, "Answer accesses to the vGIC's distributor in HYP mode where that is possible; for vCPUs that run for the first time");

/* As in <linux/kvm_host.h>, with another default. */
static bool enable_virt_at_load;
module_param(enable_virt_at_load, bool, 0444);
MODULE_PARM_DESC(enable_virt_at_load, "Keep HYP mode from load to unload; else from the first VM to the end of the last");

bool kvm_arm_enable_virt_at_load(void)
{
	return enable_virt_at_load;
}

bool kvm_arm_hyp_vgic(void)
{
	return READ_ONCE(hyp_vgic);
}

unsigned int kvm_arm_halt_poll_ns(void)
{
	return READ_ONCE(halt_poll_ns);
}

unsigned int kvm_arm_halt_poll_ns_grow(void)
{
	return READ_ONCE(halt_poll_ns_grow);
}

unsigned int kvm_arm_halt_poll_ns_grow_start(void)
{
	return READ_ONCE(halt_poll_ns_grow_start);
}

unsigned int kvm_arm_halt_poll_ns_shrink(void)
{
	return READ_ONCE(halt_poll_ns_shrink);
}

#ifdef CONFIG_KVM_ARM_PRETEND
/* For tests: no emulated board has CPUs of different cores. */
static unsigned int pretend_midr[NR_CPUS];
module_param_array(pretend_midr, uint, NULL, 0400);
MODULE_PARM_DESC(pretend_midr, "For each CPU, the MIDR by which its core is known (0: its own)");

unsigned int kvm_arm_pretended_midr(unsigned int cpu)
{
	return cpu < NR_CPUS ? pretend_midr[cpu] : 0;
}

/* For tests: HYP mode has no known fault. */
static unsigned int pretend_hyp_fault;
module_param(pretend_hyp_fault, uint, 0600);
MODULE_PARM_DESC(pretend_hyp_fault, "How many of the next entries of guests fault inside HYP mode");

bool kvm_arm_pretends_hyp_fault(void)
{
	unsigned int rest = READ_ONCE(pretend_hyp_fault);

	if (!rest)
		return false;
	WRITE_ONCE(pretend_hyp_fault, rest - 1);
	return true;
}
#endif
