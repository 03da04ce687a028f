/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Layouts and numbers that the assembly of the lowvisor shares with Rust.
 *
 * The Rust structures are src/hyp/context.rs (VcpuContext) and
 * src/hyp/cpu.rs (HypCpu); they assert at compile time that each field lies
 * at the offset named here.
 */
#ifndef KVM_ARM_WORLD_SWITCH_H
#define KVM_ARM_WORLD_SWITCH_H

/* --- VcpuContext: one guest CPU -------------------------------------- */
/* Each field begins where the one before it ends. */
/* The first part has the layout of struct kvm_regs (include/uapi). */
#define CTX_R0			0	/* r0-r12 */
#define CTX_SP_USR		(CTX_R0 + 13 * 4)
#define CTX_LR_USR		(CTX_SP_USR + 4)
#define CTX_PC			(CTX_LR_USR + 4)
#define CTX_CPSR		(CTX_PC + 4)
#define CTX_ORIG_R0		(CTX_CPSR + 4)
#define CTX_SVC			(CTX_ORIG_R0 + 4)	/* sp, lr, spsr */
#define CTX_ABT			(CTX_SVC + 3 * 4)
#define CTX_UND			(CTX_ABT + 3 * 4)
#define CTX_IRQ			(CTX_UND + 3 * 4)
#define CTX_FIQ			(CTX_IRQ + 3 * 4)	/* r8-r12, sp, lr, spsr */
#define CTX_CP15		(CTX_FIQ + 8 * 4)	/* armv7::cp15::Cp15Reg */
#define CTX_CP15_COUNT		31
/* Control registers of HYP mode while this vCPU runs. */
#define CTX_HCR			(CTX_CP15 + CTX_CP15_COUNT * 4)
#define CTX_HSTR		(CTX_HCR + 4)
#define CTX_HCPTR		(CTX_HSTR + 4)
#define CTX_HDCR		(CTX_HCPTR + 4)
#define CTX_VTTBR		(CTX_HDCR + 4)	/* low, high */
#define CTX_CNTVOFF		(CTX_VTTBR + 8)	/* low, high */
/* Written at an exit for a trap; the last three for an abort alone. */
#define CTX_HSR			(CTX_CNTVOFF + 8)
#define CTX_HDFAR		(CTX_HSR + 4)
#define CTX_HIFAR		(CTX_HDFAR + 4)
#define CTX_FIPA_PAGE		(CTX_HIFAR + 4)	/* IPA[39:12] */
#define CTX_TEECR		(CTX_FIPA_PAGE + 4)	/* with TEEHBR: CP14's ThumbEE */
#define CTX_DSCR		(CTX_TEECR + 8)	/* DBGDSCR, for HVC_RUN_DEBUG */
#define CTX_VFP			(CTX_DSCR + 4)	/* FPEXC, FPSCR, then d0-d31 */
#define CTX_ANSWERS		(CTX_VFP + 8 + 32 * 8)	/* what src/hyp/answer.rs has to know */
#define CTX_ANSWERED		(CTX_ANSWERS + 4 * 4)	/* what it has counted */
#define CTX_RELAY		(CTX_ANSWERED + 3 * 4)	/* hyp::relay::Relay */
#define CTX_RELAYED		(CTX_RELAY + 4 * 4)	/* how often it gave the interrupt */
#define CTX_INTERFACE		(CTX_RELAYED + 4)	/* machine::vgic::CpuInterface */
#define CTX_DIST_PAGE		(CTX_INTERFACE + 20 * 4)	/* hyp::distributor::GicAccess */
#define CTX_MISSED		(CTX_DIST_PAGE + 6 * 4)	/* whom to wake */
#define CTX_CNTV_CTL		(CTX_MISSED + 4)	/* the virtual timer's, off otherwise */
#define CTX_SIZE		(CTX_CNTV_CTL + 4)

/* --- HypCpu: one host CPU -------------------------------------------- */
#define HOST_CTX		0	/* the vCPU whose world is loaded, or 0 */
#define HOST_ELR		(HOST_CTX + 4)
#define HOST_SPSR		(HOST_ELR + 4)
#define HOST_STUB_HVBAR		(HOST_SPSR + 4)
#define HOST_STUB_HSCTLR	(HOST_STUB_HVBAR + 4)
#define HOST_RESET_PA		(HOST_STUB_HSCTLR + 4)	/* identity address of __hyp_reset */
#define HOST_FLAGS		(HOST_RESET_PA + 4)
#define HOST_MPIDR		(HOST_FLAGS + 4)
/* r0-r12, lr, pc, spsr, hsr, hdfar, hifar, hpfar */
#define HOST_FAULT		(HOST_MPIDR + 4)
/* sp_usr, lr_usr, sp_{svc,abt,und,irq}, fiq[8] */
#define HOST_SAVED		(HOST_FAULT + 20 * 4)
#define HOST_CP15		(HOST_SAVED + 14 * 4)
#define HOST_CP15_COUNT		21	/* with TEECR and TEEHBR */
/* HVBAR while a guest runs */
#define HOST_GUEST_VECTORS	(HOST_CP15 + HOST_CP15_COUNT * 4)
/* The four bytes from here, 0 if all is the host's. */
#define HOST_LAZY		(HOST_GUEST_VECTORS + 4)
#define HOST_VFP_STATE		HOST_LAZY	/* a byte, whose the VFP is: VFP_ below */
#define HOST_DEBUG_STATE	(HOST_LAZY + 1)	/* a byte, whether DBGDSCR is the guest's */
#define HOST_DRAINS		(HOST_LAZY + 4)	/* an asynchronous abort is expected now */
#define HOST_PAGE_WINDOW	(HOST_DRAINS + 4)	/* its descriptor's place, its address */
#define HOST_BLOCK_WINDOW	(HOST_PAGE_WINDOW + 8)
#define HOST_VFP		(HOST_BLOCK_WINDOW + 8)	/* FPEXC, FPSCR, then d0-d31 */
#define HOST_STACK		(HOST_VFP + 8 + 32 * 8)
#define HOST_STACK_TOP		4096
#define HOST_SIZE		HOST_STACK_TOP

/* HOST_FLAGS */
#define HOST_HAS_VFP		1
#define HOST_HAS_D32		2

/* HOST_VFP_STATE */
#define VFP_HOST		0	/* all of it is the host's */
#define VFP_FPEXC		1	/* FPEXC is the guest's, accesses trap */
#define VFP_GUEST		2	/* all of it is the guest's */

/* --- Functions that SVC code calls in HYP mode by hvc ------------------ */
/* 0 to 2 belong to the kernel's stub (hyp-abi.rst); asm/init.S compares them. */
#define HVC_STUB_SET_VECTORS	0
#define HVC_STUB_SOFT_RESTART	1
#define HVC_STUB_RESET_VECTORS	2
#define HVC_STUB_ERROR		0x0badca11
#define HVC_RUN			0x100	/* r1: VcpuContext */
#define HVC_TLB_FLUSH_VMID	0x101	/* r1, r2: VTTBR */
#define HVC_TLB_FLUSH_ALL_VMIDS	0x102
#define HVC_TLB_FLUSH_HYP	0x103
#define HVC_RESET		0x104	/* give HYP mode back to the stub */
#define HVC_TLB_FLUSH_LOCAL	0x105	/* r1, r2: VTTBR */
#define HVC_FLUSH_RAM		0x106	/* r1, r2: HypDesc; r3: FLUSH_ below */
#define HVC_IDENTIFY		0x107	/* returns HVC_IDENTITY */
#define HVC_RUN_DEBUG		0x108	/* r1: VcpuContext: HVC_RUN, with debug registers */
#define HVC_PROBE_DEBUG		0x109	/* returns 0 if the debug registers can be used */
#define HVC_IDENTITY		0x6b766d32

/* The part of a page or block that HVC_FLUSH_RAM cleans: where it begins, and how many pages. */
#define FLUSH_OFFSET_MASK	0x1ff000
#define FLUSH_PAGES_MASK	0xfff
#define DESC_PAGE		2	/* a descriptor with it is a page's, else a block's */

/* --- Why HVC_RUN returned ----------------------------------------------- */
#define EXIT_TRAP		0	/* a HYP trap: see CTX_HSR */
#define EXIT_INTERRUPT		1
#define EXIT_RETRY		2	/* the IPA of an abort went away: run again */
#define EXIT_HYP_FAULT		3	/* a fault inside HYP mode: see HOST_FAULT */
#define EXIT_HYP_FAULT_MASK	0xff	/* the vector's number is above it */

/* --- What Rust in HYP mode made of a trap ------------------------------- */
#define ANSWER_DECLINED		0	/* the host has to see to it */
#define ANSWER_DONE		1	/* the guest goes on */
#define ANSWER_LEAVE		2	/* done, but the host has work */

/* Fields of registers that the lowvisor sets or looks at; src/arch says why. */
#define CNTV_CTL_MASK		0x7
#define CNTV_CTL_FIRES		0x5	/* ENABLE and ISTATUS, not IMASK */
#define GICH_LR_STATE		0x30000000
#define CNTHCTL_GUEST		0x1
#define CNTHCTL_HOST		0x3
#define HCPTR_TCP10_11		0xc00
#define HCR_VA			0x100
#define ISR_A			0x100
#define DSCR_MDBGEN		0x8000
#define DSCR_MDBGEN_BIT		15
#define OSDLR_DLK		0x1
#define OSLSR_OSLK		0x2

/* The HSR of HVC #0, and fields of the HSR (Arm ARM B3.13.6) that the lowvisor looks at. */
#define HSR_CALL		0x4a000000
#define HSR_EC_SHIFT		26
#define HSR_EC_CP15		0x03
#define HSR_EC_CP_0_13		0x07
#define HSR_EC_IABT		0x20
#define HSR_EC_DABT		0x24
/* What IABT, DABT and the emulator's watchpoint have in common. */
#define HSR_EC_ABORTS		0x2b
#define HSR_S1PTW		0x80
#define HSR_FSC_TYPE		0x3c
#define HSR_FSC_PERMISSION	0x0c

#endif /* KVM_ARM_WORLD_SWITCH_H */
