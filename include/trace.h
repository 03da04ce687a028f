/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints, for ftrace and perf. They are in the trace system of KVM, as
 * nothing else on this architecture has it. A tracepoint that KVM has, too, has
 * the name, the fields and the text here that KVM gives it on arm64, or gave it
 * on arm (Linux 5.6); our own fields and words come behind those. Rust reaches
 * the tracepoints through src/trace.rs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#if !defined(KVM_ARM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KVM_ARM_TRACE_H

#include <linux/kvm.h>
#include <linux/string_choices.h>
#include <linux/tracepoint.h>

#ifndef KVM_ARM_TRACE_SYMBOLS
#define KVM_ARM_TRACE_SYMBOLS

/*
 * Why the guest was left. The first two are numbers of arm64 (ARM_EXCEPTION_IRQ,
 * ARM_EXCEPTION_TRAP), which perf knows.
 */
#define KVM_ARM_TRACE_INTERRUPT		0
#define KVM_ARM_TRACE_TRAP		2
#define KVM_ARM_TRACE_RETRY		16
#define KVM_ARM_TRACE_HYP_FAULT		17

#define kvm_arm_trace_exits			\
	{ KVM_ARM_TRACE_INTERRUPT,	"IRQ" },	\
	{ KVM_ARM_TRACE_TRAP,		"TRAP" },	\
	{ KVM_ARM_TRACE_RETRY,		"RETRY" },	\
	{ KVM_ARM_TRACE_HYP_FAULT,	"HYP_FAULT" }

/* HSR.EC, Arm ARM B3.13.6. */
#define KVM_ARM_TRACE_EC(hsr)	((hsr) >> 26)
#define KVM_ARM_TRACE_EC_SMC	0x13

#define kvm_arm_trace_classes			\
	{ 0x00,	"UNKNOWN" },			\
	{ 0x01,	"WFx" },			\
	{ 0x03,	"CP15_32" },			\
	{ 0x04,	"CP15_64" },			\
	{ 0x05,	"CP14_MR" },			\
	{ 0x06,	"CP14_LS" },			\
	{ 0x07,	"CP_0_13" },			\
	{ 0x08,	"CP10_ID" },			\
	{ 0x0a,	"BXJ" },			\
	{ 0x0c,	"CP14_64" },			\
	{ 0x11,	"SVC_HYP" },			\
	{ 0x12,	"HVC" },			\
	{ 0x13,	"SMC" },			\
	{ 0x20,	"IABT" },			\
	{ 0x21,	"IABT_HYP" },			\
	{ 0x24,	"DABT" },			\
	{ 0x25,	"DABT_HYP" }

#define KVM_ARM_TRACE_MMIO_READ_UNSATISFIED	0
#define KVM_ARM_TRACE_MMIO_READ			1
#define KVM_ARM_TRACE_MMIO_WRITE		2

#define kvm_arm_trace_mmio_types		\
	{ KVM_ARM_TRACE_MMIO_READ_UNSATISFIED,	"unsatisfied-read" },	\
	{ KVM_ARM_TRACE_MMIO_READ,		"read" },		\
	{ KVM_ARM_TRACE_MMIO_WRITE,		"write" }

/* KVM_RUN returns for no other reason here. */
#define kvm_arm_trace_reasons			\
	{ KVM_EXIT_UNKNOWN,		"KVM_EXIT_UNKNOWN" },		\
	{ KVM_EXIT_DEBUG,		"KVM_EXIT_DEBUG" },		\
	{ KVM_EXIT_MMIO,		"KVM_EXIT_MMIO" },		\
	{ KVM_EXIT_FAIL_ENTRY,		"KVM_EXIT_FAIL_ENTRY" },	\
	{ KVM_EXIT_INTR,		"KVM_EXIT_INTR" },		\
	{ KVM_EXIT_INTERNAL_ERROR,	"KVM_EXIT_INTERNAL_ERROR" },	\
	{ KVM_EXIT_SYSTEM_EVENT,	"KVM_EXIT_SYSTEM_EVENT" },	\
	{ KVM_EXIT_ARM_NISV,		"KVM_EXIT_ARM_NISV" }

#endif /* KVM_ARM_TRACE_SYMBOLS */

/* Into the guest, and out of it. */

TRACE_EVENT(kvm_entry,
	TP_PROTO(u32 vcpu_pc, u32 vcpu_id),
	TP_ARGS(vcpu_pc, vcpu_id),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(unsigned int,	vcpu_id)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->vcpu_id	= vcpu_id;
	),

	TP_printk("PC: 0x%08lx, vcpu: %u", __entry->vcpu_pc, __entry->vcpu_id)
);

TRACE_EVENT(kvm_exit,
	TP_PROTO(u32 ret, u32 hsr, u32 vcpu_pc, u32 vcpu_id),
	TP_ARGS(ret, hsr, vcpu_pc, vcpu_id),

	TP_STRUCT__entry(
		__field(int,		ret)
		__field(unsigned int,	esr_ec)
		__field(unsigned long,	vcpu_pc)
		__field(unsigned long,	hsr)
		__field(unsigned int,	vcpu_id)
	),

	TP_fast_assign(
		/* Only a trap has a syndrome. */
		u32 syndrome = ret == KVM_ARM_TRACE_TRAP ? hsr : 0;

		__entry->ret		= ret;
		__entry->esr_ec		= KVM_ARM_TRACE_EC(syndrome);
		__entry->vcpu_pc	= vcpu_pc;
		__entry->hsr		= syndrome;
		__entry->vcpu_id	= vcpu_id;
	),

	TP_printk("%s: HSR_EC: 0x%04x (%s), PC: 0x%08lx, HSR: 0x%08lx, vcpu: %u",
		  __print_symbolic(__entry->ret, kvm_arm_trace_exits),
		  __entry->esr_ec,
		  __print_symbolic(__entry->esr_ec, kvm_arm_trace_classes),
		  __entry->vcpu_pc, __entry->hsr, __entry->vcpu_id)
);

TRACE_EVENT(kvm_userspace_exit,
	TP_PROTO(u32 reason, int errno),
	TP_ARGS(reason, errno),

	TP_STRUCT__entry(
		__field(__u32,	reason)
		__field(int,	errno)
	),

	TP_fast_assign(
		__entry->reason		= reason;
		__entry->errno		= errno;
	),

	TP_printk("reason %s (%d)",
		  __entry->errno < 0 ?
		  (__entry->errno == -EINTR ? "restart" : "error") :
		  __print_symbolic(__entry->reason, kvm_arm_trace_reasons),
		  __entry->errno < 0 ? -__entry->errno : __entry->reason)
);

/* Requests of the guest. */

TRACE_EVENT(kvm_guest_fault,
	TP_PROTO(u32 vcpu_pc, u32 hsr, u32 hxfar, u64 ipa),
	TP_ARGS(vcpu_pc, hsr, hxfar, ipa),

	TP_STRUCT__entry(
		__field(unsigned long,		vcpu_pc)
		__field(unsigned long,		hsr)
		__field(unsigned long,		hxfar)
		__field(unsigned long long,	ipa)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->hsr		= hsr;
		__entry->hxfar		= hxfar;
		__entry->ipa		= ipa;
	),

	TP_printk("ipa %#llx, hsr %#08lx, hxfar %#08lx, pc %#08lx",
		  __entry->ipa, __entry->hsr, __entry->hxfar, __entry->vcpu_pc)
);

/* The guest has used a page again that the host had made old. */
TRACE_EVENT(kvm_access_fault,
	TP_PROTO(u64 ipa),
	TP_ARGS(ipa),

	TP_STRUCT__entry(
		__field(unsigned long long,	ipa)
	),

	TP_fast_assign(
		__entry->ipa	= ipa;
	),

	TP_printk("IPA: %llx", __entry->ipa)
);

TRACE_EVENT(kvm_mmio,
	TP_PROTO(u32 type, u32 len, u64 gpa, u64 val),
	TP_ARGS(type, len, gpa, val),

	TP_STRUCT__entry(
		__field(u32,	type)
		__field(u32,	len)
		__field(u64,	gpa)
		__field(u64,	val)
	),

	TP_fast_assign(
		__entry->type	= type;
		__entry->len	= len;
		__entry->gpa	= gpa;
		__entry->val	= val;
	),

	TP_printk("mmio %s len %u gpa 0x%llx val 0x%llx",
		  __print_symbolic(__entry->type, kvm_arm_trace_mmio_types),
		  __entry->len, __entry->gpa, __entry->val)
);

/* An access whose syndrome does not tell the registers: the instruction is fetched and decoded. */
TRACE_EVENT(kvm_mmio_emulate,
	TP_PROTO(u32 vcpu_pc, u32 instr, u32 cpsr),
	TP_ARGS(vcpu_pc, instr, cpsr),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(unsigned long,	instr)
		__field(unsigned long,	cpsr)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->instr		= instr;
		__entry->cpsr		= cpsr;
	),

	TP_printk("Emulate MMIO at: 0x%08lx (instr: %08lx, cpsr: %08lx)",
		  __entry->vcpu_pc, __entry->instr, __entry->cpsr)
);

TRACE_EVENT(kvm_wfx,
	TP_PROTO(u32 vcpu_pc, bool is_wfe),
	TP_ARGS(vcpu_pc, is_wfe),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(bool,		is_wfe)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->is_wfe		= is_wfe;
	),

	TP_printk("guest executed wf%c at: 0x%08lx",
		  __entry->is_wfe ? 'e' : 'i', __entry->vcpu_pc)
);

/* By HVC, or by SMC, whose immediate the syndrome does not have. */
TRACE_EVENT(kvm_hvc,
	TP_PROTO(u32 vcpu_pc, u32 r0, u32 imm, u32 hsr),
	TP_ARGS(vcpu_pc, r0, imm, hsr),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(unsigned long,	r0)
		__field(unsigned long,	imm)
		__field(bool,		is_smc)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->r0		= r0;
		__entry->imm		= imm;
		__entry->is_smc		= KVM_ARM_TRACE_EC(hsr) == KVM_ARM_TRACE_EC_SMC;
	),

	TP_printk("%s at 0x%08lx (r0: 0x%08lx, imm: 0x%lx)",
		  __entry->is_smc ? "SMC" : "HVC",
		  __entry->vcpu_pc, __entry->r0, __entry->imm)
);

/* An access to CP15 or CP14. The syndrome tells the register. */
TRACE_EVENT(kvm_coprocessor,
	TP_PROTO(u32 vcpu_pc, u32 hsr),
	TP_ARGS(vcpu_pc, hsr),

	TP_STRUCT__entry(
		__field(u32,	vcpu_pc)
		__field(u32,	hsr)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->hsr		= hsr;
	),

	/* B3.13.6: this is the ISS of CP15_32 and CP14_MR. Other classes lack some fields. */
	TP_printk("%s %s opc1 %u, crn %u, crm %u, opc2 %u, rt %u at: 0x%08x",
		  __print_symbolic(KVM_ARM_TRACE_EC(__entry->hsr),
				   kvm_arm_trace_classes),
		  __entry->hsr & 1 ? "read" : "write",
		  __entry->hsr >> 14 & 7, __entry->hsr >> 10 & 15,
		  __entry->hsr >> 1 & 15, __entry->hsr >> 17 & 7,
		  __entry->hsr >> 5 & 15, __entry->vcpu_pc)
);

/* Cache maintenance by set and way, and what follows from it and from caches that go on or off. */
TRACE_EVENT(kvm_set_way_flush,
	TP_PROTO(u32 vcpu_pc, bool cache),
	TP_ARGS(vcpu_pc, cache),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(bool,		cache)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->cache		= cache;
	),

	TP_printk("S/W flush at 0x%08lx (cache %s)",
		  __entry->vcpu_pc, str_on_off(__entry->cache))
);

TRACE_EVENT(kvm_toggle_cache,
	TP_PROTO(u32 vcpu_pc, bool was, bool now),
	TP_ARGS(vcpu_pc, was, now),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_pc)
		__field(bool,		was)
		__field(bool,		now)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->was		= was;
		__entry->now		= now;
	),

	TP_printk("VM op at 0x%08lx (cache was %s, now %s)",
		  __entry->vcpu_pc, str_on_off(__entry->was),
		  str_on_off(__entry->now))
);

/* A wait in WFI has ended, asleep or not. */
TRACE_EVENT(kvm_vcpu_wakeup,
	TP_PROTO(u64 ns, bool waited),
	TP_ARGS(ns, waited),

	TP_STRUCT__entry(
		__field(__u64,	ns)
		__field(bool,	waited)
		__field(bool,	valid)
	),

	TP_fast_assign(
		__entry->ns	= ns;
		__entry->waited	= waited;
		/* No poll ends for an event that turns out to be none. */
		__entry->valid	= true;
	),

	TP_printk("%s time %lld ns, polling %s",
		  __entry->waited ? "wait" : "poll", __entry->ns,
		  __entry->valid ? "valid" : "invalid")
);

/* The time for which a vCPU stays awake in WFI has changed. */
TRACE_EVENT(kvm_halt_poll_ns,
	TP_PROTO(u32 vcpu_id, u32 new, u32 old),
	TP_ARGS(vcpu_id, new, old),

	TP_STRUCT__entry(
		__field(bool,		grow)
		__field(unsigned int,	vcpu_id)
		__field(unsigned int,	new)
		__field(unsigned int,	old)
	),

	TP_fast_assign(
		__entry->grow		= new > old;
		__entry->vcpu_id	= vcpu_id;
		__entry->new		= new;
		__entry->old		= old;
	),

	TP_printk("vcpu %u: halt_poll_ns %u (%s %u)",
		  __entry->vcpu_id, __entry->new,
		  __entry->grow ? "grow" : "shrink", __entry->old)
);

/* Interrupts. */

TRACE_EVENT(kvm_irq_line,
	TP_PROTO(u32 type, u32 vcpu_idx, u32 irq_num, bool level),
	TP_ARGS(type, vcpu_idx, irq_num, level),

	TP_STRUCT__entry(
		__field(unsigned int,	type)
		__field(int,		vcpu_idx)
		__field(int,		irq_num)
		__field(int,		level)
	),

	TP_fast_assign(
		__entry->type		= type;
		__entry->vcpu_idx	= vcpu_idx;
		__entry->irq_num	= irq_num;
		__entry->level		= level;
	),

	TP_printk("Inject %s interrupt (%d), vcpu->idx: %d, num: %d, level: %d",
		  (__entry->type == KVM_ARM_IRQ_TYPE_CPU) ? "CPU" :
		  (__entry->type == KVM_ARM_IRQ_TYPE_PPI) ? "VGIC PPI" :
		  (__entry->type == KVM_ARM_IRQ_TYPE_SPI) ? "VGIC SPI" : "UNKNOWN",
		  __entry->type, __entry->vcpu_idx, __entry->irq_num,
		  __entry->level)
);

/* An eventfd is signalled, or a level that it has raised falls. */
TRACE_EVENT(kvm_set_irq,
	TP_PROTO(u32 gsi, bool level, u32 irq_source_id),
	TP_ARGS(gsi, level, irq_source_id),

	TP_STRUCT__entry(
		__field(unsigned int,	gsi)
		__field(int,		level)
		__field(int,		irq_source_id)
	),

	TP_fast_assign(
		__entry->gsi		= gsi;
		__entry->level		= level;
		__entry->irq_source_id	= irq_source_id;
	),

	TP_printk("gsi %u level %d source %d",
		  __entry->gsi, __entry->level, __entry->irq_source_id)
);

/* An input of the vGIC: user space drives it, or a device of the vCPU. */
TRACE_EVENT(vgic_update_irq_pending,
	TP_PROTO(u32 vcpu_id, u32 irq, bool level),
	TP_ARGS(vcpu_id, irq, level),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_id)
		__field(__u32,		irq)
		__field(bool,		level)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->irq		= irq;
		__entry->level		= level;
	),

	TP_printk("VCPU: %ld, IRQ %d, level: %d",
		  __entry->vcpu_id, __entry->irq, __entry->level)
);

/* The list registers that are used, before an entry and after an exit. */
DECLARE_EVENT_CLASS(kvm_vgic_lrs,
	TP_PROTO(u32 vcpu_id, u32 used),
	TP_ARGS(vcpu_id, used),

	TP_STRUCT__entry(
		__field(u32,	vcpu_id)
		__field(u32,	used)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->used		= used;
	),

	TP_printk("VCPU: %u, list registers in use: 0x%04x",
		  __entry->vcpu_id, __entry->used)
);

DEFINE_EVENT(kvm_vgic_lrs, kvm_vgic_flush,
	TP_PROTO(u32 vcpu_id, u32 used),
	TP_ARGS(vcpu_id, used)
);

DEFINE_EVENT(kvm_vgic_lrs, kvm_vgic_fold,
	TP_PROTO(u32 vcpu_id, u32 used),
	TP_ARGS(vcpu_id, used)
);

/* The output of a timer changes, as the vGIC sees it. */
TRACE_EVENT(kvm_timer_update_irq,
	TP_PROTO(u32 vcpu_id, u32 irq, bool level),
	TP_ARGS(vcpu_id, irq, level),

	TP_STRUCT__entry(
		__field(unsigned long,	vcpu_id)
		__field(__u32,		irq)
		__field(int,		level)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->irq		= irq;
		__entry->level		= level;
	),

	TP_printk("VCPU: %ld, IRQ %d, level %d",
		  __entry->vcpu_id, __entry->irq, __entry->level)
);

/* Memory. */

TRACE_EVENT(kvm_map,
	TP_PROTO(u64 ipa, u64 pa, u32 size, bool writable, bool executable),
	TP_ARGS(ipa, pa, size, writable, executable),

	TP_STRUCT__entry(
		__field(u64,	ipa)
		__field(u64,	pa)
		__field(u32,	size)
		__field(bool,	writable)
		__field(bool,	executable)
	),

	TP_fast_assign(
		__entry->ipa		= ipa;
		__entry->pa		= pa;
		__entry->size		= size;
		__entry->writable	= writable;
		__entry->executable	= executable;
	),

	TP_printk("ipa 0x%llx to pa 0x%llx, size 0x%x, r%c%c",
		  __entry->ipa, __entry->pa, __entry->size,
		  __entry->writable ? 'w' : '-',
		  __entry->executable ? 'x' : '-')
);

TRACE_EVENT(kvm_unmap,
	TP_PROTO(u64 start, u64 end),
	TP_ARGS(start, end),

	TP_STRUCT__entry(
		__field(u64,	start)
		__field(u64,	end)
	),

	TP_fast_assign(
		__entry->start	= start;
		__entry->end	= end;
	),

	TP_printk("ipa 0x%llx to 0x%llx", __entry->start, __entry->end)
);

/* The host's notices about the process's memory, by its own addresses. */

TRACE_EVENT(kvm_unmap_hva_range,
	TP_PROTO(u32 start, u32 end),
	TP_ARGS(start, end),

	TP_STRUCT__entry(
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->start	= start;
		__entry->end	= end;
	),

	TP_printk("mmu notifier unmap range: %#08lx -- %#08lx",
		  __entry->start, __entry->end)
);

TRACE_EVENT(kvm_age_hva,
	TP_PROTO(u32 start, u32 end),
	TP_ARGS(start, end),

	TP_STRUCT__entry(
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->start	= start;
		__entry->end	= end;
	),

	TP_printk("mmu notifier age hva: %#08lx -- %#08lx",
		  __entry->start, __entry->end)
);

TRACE_EVENT(kvm_test_age_hva,
	TP_PROTO(u32 hva),
	TP_ARGS(hva),

	TP_STRUCT__entry(
		__field(unsigned long,	hva)
	),

	TP_fast_assign(
		__entry->hva	= hva;
	),

	TP_printk("mmu notifier test age hva: %#08lx", __entry->hva)
);

#endif /* KVM_ARM_TRACE_H */

/* -I finds the file (see Kbuild), in a kernel tree and out of it alike. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection. */
#include <trace/define_trace.h>
