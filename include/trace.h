/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints, for ftrace and perf. A tracepoint that another
 * architecture's KVM has, too, has the same name and format here. Rust reaches
 * the tracepoints through src/trace.rs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_arm

#if !defined(KVM_ARM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KVM_ARM_TRACE_H

#include <linux/kvm.h>
#include <linux/tracepoint.h>

#ifndef KVM_ARM_TRACE_SYMBOLS
#define KVM_ARM_TRACE_SYMBOLS

/* Why the guest was left. */
#define KVM_ARM_TRACE_TRAP		0
#define KVM_ARM_TRACE_INTERRUPT		1
#define KVM_ARM_TRACE_RETRY		2
#define KVM_ARM_TRACE_HYP_FAULT		3

#define kvm_arm_trace_exits			\
	{ KVM_ARM_TRACE_TRAP,		"TRAP" },	\
	{ KVM_ARM_TRACE_INTERRUPT,	"IRQ" },	\
	{ KVM_ARM_TRACE_RETRY,		"RETRY" },	\
	{ KVM_ARM_TRACE_HYP_FAULT,	"HYP FAULT" }

/* HSR.EC, Arm ARM B3.13.6. */
#define KVM_ARM_TRACE_EC(hsr)	((hsr) >> 26)

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

#define kvm_arm_trace_irq_types			\
	{ 0,	"CPU" },			\
	{ 1,	"SPI" },			\
	{ 2,	"PPI" }

#define kvm_arm_trace_reasons			\
	{ KVM_EXIT_MMIO,		"KVM_EXIT_MMIO" },		\
	{ KVM_EXIT_INTR,		"KVM_EXIT_INTR" },		\
	{ KVM_EXIT_FAIL_ENTRY,		"KVM_EXIT_FAIL_ENTRY" },	\
	{ KVM_EXIT_INTERNAL_ERROR,	"KVM_EXIT_INTERNAL_ERROR" },	\
	{ KVM_EXIT_SYSTEM_EVENT,	"KVM_EXIT_SYSTEM_EVENT" },	\
	{ KVM_EXIT_ARM_NISV,		"KVM_EXIT_ARM_NISV" }

#endif /* KVM_ARM_TRACE_SYMBOLS */

/* Into the guest, and out of it. */

TRACE_EVENT(kvm_entry,
	TP_PROTO(unsigned int vcpu_id, u32 vcpu_pc),
	TP_ARGS(vcpu_id, vcpu_pc),

	TP_STRUCT__entry(
		__field(unsigned int,	vcpu_id)
		__field(u32,		vcpu_pc)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->vcpu_pc	= vcpu_pc;
	),

	TP_printk("vcpu: %u, PC: 0x%08x", __entry->vcpu_id, __entry->vcpu_pc)
);

TRACE_EVENT(kvm_exit,
	TP_PROTO(unsigned int vcpu_id, u32 ret, u32 hsr, u32 vcpu_pc),
	TP_ARGS(vcpu_id, ret, hsr, vcpu_pc),

	TP_STRUCT__entry(
		__field(unsigned int,	vcpu_id)
		__field(u32,		ret)
		__field(u32,		hsr)
		__field(u32,		vcpu_pc)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->ret		= ret;
		/* Only a trap has a syndrome. */
		__entry->hsr		= ret == KVM_ARM_TRACE_TRAP ? hsr : 0;
		__entry->vcpu_pc	= vcpu_pc;
	),

	TP_printk("vcpu: %u, %s: HSR_EC: 0x%02x (%s), HSR: 0x%08x, PC: 0x%08x",
		  __entry->vcpu_id,
		  __print_symbolic(__entry->ret, kvm_arm_trace_exits),
		  KVM_ARM_TRACE_EC(__entry->hsr),
		  __print_symbolic(KVM_ARM_TRACE_EC(__entry->hsr),
				   kvm_arm_trace_classes),
		  __entry->hsr, __entry->vcpu_pc)
);

TRACE_EVENT(kvm_userspace_exit,
	TP_PROTO(u32 reason, int errno),
	TP_ARGS(reason, errno),

	TP_STRUCT__entry(
		__field(u32,	reason)
		__field(int,	errno)
	),

	TP_fast_assign(
		__entry->reason		= reason;
		__entry->errno		= errno;
	),

	TP_printk("reason %s (%u), errno %d",
		  __print_symbolic(__entry->reason, kvm_arm_trace_reasons),
		  __entry->reason, __entry->errno)
);

/* Requests of the guest. */

TRACE_EVENT(kvm_guest_fault,
	TP_PROTO(u32 vcpu_pc, u32 hsr, u32 hxfar, u64 ipa),
	TP_ARGS(vcpu_pc, hsr, hxfar, ipa),

	TP_STRUCT__entry(
		__field(u64,	ipa)
		__field(u32,	vcpu_pc)
		__field(u32,	hsr)
		__field(u32,	hxfar)
	),

	TP_fast_assign(
		__entry->ipa		= ipa;
		__entry->vcpu_pc	= vcpu_pc;
		__entry->hsr		= hsr;
		__entry->hxfar		= hxfar;
	),

	TP_printk("ipa %#llx, hsr %#08x, hxfar %#08x, pc %#08x",
		  __entry->ipa, __entry->hsr, __entry->hxfar, __entry->vcpu_pc)
);

TRACE_EVENT(kvm_mmio,
	TP_PROTO(u32 type, u32 len, u64 gpa, u64 val),
	TP_ARGS(type, len, gpa, val),

	TP_STRUCT__entry(
		__field(u64,	gpa)
		__field(u64,	val)
		__field(u32,	type)
		__field(u32,	len)
	),

	TP_fast_assign(
		__entry->gpa	= gpa;
		__entry->val	= val;
		__entry->type	= type;
		__entry->len	= len;
	),

	TP_printk("mmio %s len %u gpa 0x%llx val 0x%llx",
		  __print_symbolic(__entry->type, kvm_arm_trace_mmio_types),
		  __entry->len, __entry->gpa, __entry->val)
);

TRACE_EVENT(kvm_wfx,
	TP_PROTO(u32 vcpu_pc, bool is_wfe),
	TP_ARGS(vcpu_pc, is_wfe),

	TP_STRUCT__entry(
		__field(u32,	vcpu_pc)
		__field(bool,	is_wfe)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->is_wfe		= is_wfe;
	),

	TP_printk("guest executed wf%c at: 0x%08x",
		  __entry->is_wfe ? 'e' : 'i', __entry->vcpu_pc)
);

TRACE_EVENT(kvm_hvc,
	TP_PROTO(u32 vcpu_pc, u32 r0),
	TP_ARGS(vcpu_pc, r0),

	TP_STRUCT__entry(
		__field(u32,	vcpu_pc)
		__field(u32,	r0)
	),

	TP_fast_assign(
		__entry->vcpu_pc	= vcpu_pc;
		__entry->r0		= r0;
	),

	TP_printk("call at 0x%08x (r0: 0x%08x)",
		  __entry->vcpu_pc, __entry->r0)
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

TRACE_EVENT(kvm_vcpu_wakeup,
	TP_PROTO(u64 ns),
	TP_ARGS(ns),

	TP_STRUCT__entry(
		__field(u64,	ns)
	),

	TP_fast_assign(
		__entry->ns	= ns;
	),

	TP_printk("wait time %lld ns", __entry->ns)
);

/* Interrupts. */

TRACE_EVENT(kvm_irq_line,
	TP_PROTO(u32 type, u32 vcpu_idx, u32 irq_num, bool level),
	TP_ARGS(type, vcpu_idx, irq_num, level),

	TP_STRUCT__entry(
		__field(u32,	type)
		__field(u32,	vcpu_idx)
		__field(u32,	irq_num)
		__field(bool,	level)
	),

	TP_fast_assign(
		__entry->type		= type;
		__entry->vcpu_idx	= vcpu_idx;
		__entry->irq_num	= irq_num;
		__entry->level		= level;
	),

	TP_printk("Inject %s interrupt (%u), vcpu->idx: %u, num: %u, level: %d",
		  __print_symbolic(__entry->type, kvm_arm_trace_irq_types),
		  __entry->type, __entry->vcpu_idx, __entry->irq_num,
		  __entry->level)
);

TRACE_EVENT(kvm_vgic_set_level,
	TP_PROTO(u32 vcpu_id, u32 irq, bool level),
	TP_ARGS(vcpu_id, irq, level),

	TP_STRUCT__entry(
		__field(u32,	vcpu_id)
		__field(u32,	irq)
		__field(bool,	level)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->irq		= irq;
		__entry->level		= level;
	),

	TP_printk("VCPU: %u, IRQ %u, level: %d",
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

TRACE_EVENT(kvm_timer_lines,
	TP_PROTO(u32 vcpu_id, bool virt, bool phys),
	TP_ARGS(vcpu_id, virt, phys),

	TP_STRUCT__entry(
		__field(u32,	vcpu_id)
		__field(bool,	virt)
		__field(bool,	phys)
	),

	TP_fast_assign(
		__entry->vcpu_id	= vcpu_id;
		__entry->virt		= virt;
		__entry->phys		= phys;
	),

	TP_printk("VCPU: %u, virtual: %d, physical: %d",
		  __entry->vcpu_id, __entry->virt, __entry->phys)
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

#endif /* KVM_ARM_TRACE_H */

/* -I finds the file (see Kbuild), in a kernel tree and out of it alike. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection. */
#include <trace/define_trace.h>
