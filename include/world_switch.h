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
/* The first part has the layout of struct kvm_regs (include/uapi). */
#define CTX_R0			0	/* r0-r12 */
#define CTX_SP_USR		52
#define CTX_LR_USR		56
#define CTX_PC			60
#define CTX_CPSR		64
#define CTX_SVC			72	/* sp, lr, spsr */
#define CTX_ABT			84
#define CTX_UND			96
#define CTX_IRQ			108
#define CTX_FIQ			120	/* r8-r12, sp, lr, spsr */
#define CTX_CP15		152	/* armv7::cp15::Cp15Reg */
#define CTX_CP15_COUNT		31
#define CTX_SCTLR		160
#define CTX_TTBCR		172	/* with DACR, TTBR0, TTBR1 behind */
#define CTX_CONTEXTIDR		240
/* Control registers of HYP mode while this vCPU runs. */
#define CTX_HCR			276
#define CTX_HSTR		280
#define CTX_HCPTR		284
#define CTX_HDCR		288
#define CTX_VTTBR		292	/* low, high */
#define CTX_CNTVOFF		300	/* low, high */
/* Written at each exit. */
#define CTX_HSR			308
#define CTX_HDFAR		312
#define CTX_HIFAR		316
#define CTX_FIPA_PAGE		320	/* IPA[39:12] of an abort */
#define CTX_TEECR		324	/* TEECR, TEEHBR: CP14's ThumbEE registers */
#define CTX_VFP			336	/* FPEXC, FPSCR, then d0-d31 */
#define CTX_ANSWERS		600	/* what src/hyp/answer.rs has to know */
#define CTX_ANSWERED		616	/* what it has counted */
#define CTX_RELAY		624	/* hyp::relay::Relay */
#define CTX_RELAYED		640	/* how often its interrupt was given to the guest */
#define CTX_CNTV_CTL		644	/* of the virtual timer, which is off otherwise */
#define CTX_SIZE		648

/* --- HypCpu: one host CPU -------------------------------------------- */
#define HOST_CTX		0	/* the vCPU whose world is loaded, or 0 */
#define HOST_ELR		4
#define HOST_SPSR		8
#define HOST_STUB_HVBAR		12
#define HOST_STUB_HSCTLR	16
#define HOST_RESET_PA		20	/* identity address of __hyp_reset */
#define HOST_FLAGS		24
#define HOST_MPIDR		28
#define HOST_FAULT		32	/* r0-r12, lr, pc, spsr, hsr, hdfar, hifar, hpfar */
#define HOST_SAVED		112	/* sp_usr, lr_usr, sp_{svc,abt,und,irq}, fiq[8] */
#define HOST_CP15		168
#define HOST_CP15_COUNT		21	/* with TEECR and TEEHBR */
#define HOST_GUEST_VECTORS	252	/* HVBAR while a guest runs */
#define HOST_VFP_STATE		256	/* whose the VFP is: VFP_ below */
#define HOST_DRAINS		260	/* an asynchronous abort is expected now */
#define HOST_PAGE_WINDOW	264	/* the place of its descriptor, its address */
#define HOST_BLOCK_WINDOW	272
#define HOST_VFP		280	/* FPEXC, FPSCR, then d0-d31 */
#define HOST_STACK_TOP		4096
#define HOST_SIZE		4096

/* HOST_FLAGS */
#define HOST_HAS_VFP		1
#define HOST_HAS_D32		2

/* HOST_VFP_STATE */
#define VFP_HOST		0	/* all of it is the host's */
#define VFP_FPEXC		1	/* FPEXC is the guest's, accesses trap */
#define VFP_GUEST		2	/* all of it is the guest's */

/* --- Functions that SVC code calls in HYP mode by hvc ------------------ */
/* 0 to 2 belong to the kernel's stub ABI (hyp-abi.rst). */
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
#define HVC_IDENTITY		0x6b766d32

/* What of a page or block HVC_FLUSH_RAM is about: where it begins, and how many pages. */
#define FLUSH_OFFSET_MASK	0x1ff000
#define FLUSH_PAGES_MASK	0xfff
#define DESC_PAGE		2	/* a descriptor with it is a page's, else a block's */

/* --- Why HVC_RUN returned ----------------------------------------------- */
#define EXIT_TRAP		0	/* a HYP trap: see CTX_HSR */
#define EXIT_IRQ		1
#define EXIT_FIQ		2
#define EXIT_RETRY		3	/* the IPA of an abort went away: run again */
#define EXIT_HYP_FAULT		4	/* a fault inside HYP mode: see HOST_FAULT */
#define EXIT_HYP_FAULT_MASK	0xff	/* the vector's number is above it */

/* Fields of registers that the lowvisor sets or looks at; src/arch says why. */
#define CNTV_CTL_MASK		0x7
#define CNTV_CTL_FIRES		0x5	/* ENABLE and ISTATUS, not IMASK */
#define GICH_LR_STATE		0x30000000
#define CNTHCTL_GUEST		0x1
#define CNTHCTL_HOST		0x3
#define HCPTR_TCP10_11		0xc00
#define HCR_VA			0x100
#define ISR_A			0x100

/* Fields of the HSR (Arm ARM B3.13.6) that the lowvisor looks at. */
#define HSR_EC_SHIFT		26
#define HSR_EC_CP15		0x03
#define HSR_EC_CP_0_13		0x07
#define HSR_EC_HVC		0x12
#define HSR_EC_IABT		0x20
#define HSR_EC_DABT		0x24
#define HSR_S1PTW		0x80
#define HSR_FSC_TYPE		0x3c
#define HSR_FSC_PERMISSION	0x0c

#endif /* KVM_ARM_WORLD_SWITCH_H */
