// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/host_registers: the registers of CP14 and CP15 that the host's kernel runs with, of the CPU
 * that reads the file. Those that a guest's exit need not leave alone are not among them: fault
 * status and address, PAR, and the virtual timer's compare value. Nor is MOE of DBGDSCR, the reason of
 * the last debug exception: a guest's BKPT, which traps, is one.
 *
 * /proc/hyp_owner: whose HYP mode is on the CPU that reads the file.
 */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <asm/opcodes-virt.h>

#define REGISTER(name, encoding)						\
	do {									\
		u32 value;							\
		asm volatile("mrc " encoding : "=r" (value));			\
		seq_printf(m, "%s %08x\n", name, value);			\
	} while (0)

#define DBGDSCR_MOE	(0xf << 2)

static int show(struct seq_file *m, void *unused)
{
	u32 low, high;

	preempt_disable();
	REGISTER("MIDR", "p15, 0, %0, c0, c0, 0");
	REGISTER("MPIDR", "p15, 0, %0, c0, c0, 5");
	REGISTER("CSSELR", "p15, 2, %0, c0, c0, 0");
	REGISTER("SCTLR", "p15, 0, %0, c1, c0, 0");
	REGISTER("ACTLR", "p15, 0, %0, c1, c0, 1");
	REGISTER("CPACR", "p15, 0, %0, c1, c0, 2");
	REGISTER("TTBCR", "p15, 0, %0, c2, c0, 2");
	REGISTER("DACR", "p15, 0, %0, c3, c0, 0");
	asm volatile("mrrc p15, 0, %0, %1, c2" : "=r" (low), "=r" (high));
	seq_printf(m, "TTBR0 %08x %08x\n", high, low);
	asm volatile("mrrc p15, 1, %0, %1, c2" : "=r" (low), "=r" (high));
	seq_printf(m, "TTBR1 %08x %08x\n", high, low);
	REGISTER("PMCR", "p15, 0, %0, c9, c12, 0");
	REGISTER("PMCNTENSET", "p15, 0, %0, c9, c12, 1");
	REGISTER("PMSELR", "p15, 0, %0, c9, c12, 5");
	REGISTER("PMUSERENR", "p15, 0, %0, c9, c14, 0");
	REGISTER("PMINTENSET", "p15, 0, %0, c9, c14, 1");
	REGISTER("L2CTLR", "p15, 1, %0, c9, c0, 2");
	REGISTER("L2ECTLR", "p15, 1, %0, c9, c0, 3");
	REGISTER("MAIR0", "p15, 0, %0, c10, c2, 0");
	REGISTER("MAIR1", "p15, 0, %0, c10, c2, 1");
	REGISTER("AMAIR0", "p15, 0, %0, c10, c3, 0");
	REGISTER("AMAIR1", "p15, 0, %0, c10, c3, 1");
	REGISTER("VBAR", "p15, 0, %0, c12, c0, 0");
	REGISTER("FCSEIDR", "p15, 0, %0, c13, c0, 0");
	REGISTER("CONTEXTIDR", "p15, 0, %0, c13, c0, 1");
	REGISTER("TPIDRURW", "p15, 0, %0, c13, c0, 2");
	REGISTER("TPIDRURO", "p15, 0, %0, c13, c0, 3");
	REGISTER("TPIDRPRW", "p15, 0, %0, c13, c0, 4");
	REGISTER("CNTFRQ", "p15, 0, %0, c14, c0, 0");
	REGISTER("CNTKCTL", "p15, 0, %0, c14, c1, 0");
	REGISTER("CNTV_CTL", "p15, 0, %0, c14, c3, 1");
	asm volatile("mrc p14, 0, %0, c0, c1, 0" : "=r" (low));
	seq_printf(m, "DBGDSCR %08x\n", low & ~DBGDSCR_MOE);
	REGISTER("DBGVCR", "p14, 0, %0, c0, c7, 0");
	REGISTER("TEECR", "p14, 6, %0, c0, c0, 0");
	REGISTER("TEEHBR", "p14, 6, %0, c1, c0, 0");
	preempt_enable();
	return 0;
}

/* HVC_IDENTIFY and HVC_IDENTITY of include/world_switch.h, and the answer of the kernel's stub. */
#define IDENTIFY	0x107
#define IDENTITY	0x6b766d32
#define STUB_ERROR	0x0badca11

static int show_owner(struct seq_file *m, void *unused)
{
	register u32 r0 asm("r0") = IDENTIFY;
	unsigned long flags;

	local_irq_save(flags);
	/* The call need not leave any register as it is. */
	asm volatile("push {r4-r12, lr}\n"
		     __HVC(0) "\n"
		     "pop {r4-r12, lr}" : "+r" (r0) : : "r1", "r2", "r3", "cc", "memory");
	local_irq_restore(flags);
	if (r0 == IDENTITY)
		seq_puts(m, "kvm_arm\n");
	else if (r0 == STUB_ERROR)
		seq_puts(m, "stub\n");
	else
		seq_printf(m, "%08x\n", r0);
	return 0;
}

static int __init host_registers_init(void)
{
	if (!proc_create_single("host_registers", 0444, NULL, show))
		return -ENOMEM;
	if (!proc_create_single("hyp_owner", 0444, NULL, show_owner)) {
		remove_proc_entry("host_registers", NULL);
		return -ENOMEM;
	}
	return 0;
}

static void __exit host_registers_exit(void)
{
	remove_proc_entry("hyp_owner", NULL);
	remove_proc_entry("host_registers", NULL);
}

module_init(host_registers_init);
module_exit(host_registers_exit);
MODULE_DESCRIPTION("The registers that the host's kernel runs with");
MODULE_LICENSE("GPL");
