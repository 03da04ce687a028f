/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taking HYP mode over from the kernel's stub, and giving it back.
 *
 * __hyp_init_begin to __hyp_init_end is copied into a page of lowmem that the
 * HYP page table maps at its own physical address (src/hyp/takeover.rs), so it
 * must be position-independent and must not touch memory: it runs with the MMU
 * off, and would miss data that is still in a cache. All of it is Arm code, as
 * is all of HYP mode: TE is clear in the HSCTLR that it is given.
 */
#include <linux/linkage.h>
#include <asm/assembler.h>
#include <asm/virt.h>
#include "world_switch.h"

#if HVC_STUB_SET_VECTORS != HVC_SET_VECTORS || \
	HVC_STUB_SOFT_RESTART != HVC_SOFT_RESTART || \
	HVC_STUB_ERROR != HVC_STUB_ERR
#error "the kernel's stub has other numbers"
#endif

	.arch	armv7-a
	.arch_extension virt

	.text

	.arm
	.balign	64
ENTRY(__hyp_init_begin)
/*
 * The stub's HVC_SOFT_RESTART comes here in HYP mode, MMU and D-cache off.
 *
 *	r2, r3	HTTBR		r4, r5	HMAIR0, HMAIR1
 *	r6	HTCR		r7	HSCTLR
 *	r8	HVBAR		r9	HTPIDR: the HypCpu of this CPU
 *	r11	VTCR
 * Returns the stub's HVBAR in r10 and its HSCTLR in r12; clobbers r0 and
 * SP_hyp, nothing else. LR is the user mode's and is left alone.
 */
	mrc	p15, 4, r10, c12, c0, 0		@ HVBAR
	mrc	p15, 4, r12, c1, c0, 0		@ HSCTLR
	mcr	p15, 4, r6, c2, c0, 2		@ HTCR
	mcr	p15, 4, r11, c2, c1, 2		@ VTCR
	mcr	p15, 4, r4, c10, c2, 0		@ HMAIR0
	mcr	p15, 4, r5, c10, c2, 1		@ HMAIR1
	mcrr	p15, 4, r2, r3, c2		@ HTTBR
	isb
	mcr	p15, 4, r0, c8, c7, 0		@ TLBIALLH
	mcr	p15, 4, r0, c8, c7, 4		@ TLBIALLNSNH: of guests, too
	dsb	ish
	isb
	mcr	p15, 4, r7, c1, c0, 0		@ HSCTLR: M, C and I on
	isb
	@ From here on the page is reached through the identity mapping.
	mcr	p15, 4, r8, c12, c0, 0		@ HVBAR
	mcr	p15, 4, r9, c13, c0, 2		@ HTPIDR
	add	sp, r9, #HOST_STACK_TOP
	mov	r0, #0
	eret
ENDPROC(__hyp_init_begin)

/*
 * Reached from the host's vectors by a jump to the identity address.
 *	r0	HSCTLR of the stub	r1	HVBAR of the stub
 *	r2	0, or where to go on in HYP mode with the MMU off
 * Clobbers r0, r3. Returns 0 in r0 by eret if r2 is 0.
 */
ENTRY(__hyp_reset)
	mov	r3, #0
	bic	r0, r0, #1			@ whatever was saved: MMU off
	mcr	p15, 4, r0, c1, c0, 0		@ HSCTLR
	isb
	mcr	p15, 4, r0, c8, c7, 0		@ TLBIALLH
	dsb	ish
	isb
	mcr	p15, 4, r1, c12, c0, 0		@ HVBAR
	mcr	p15, 4, r3, c13, c0, 2		@ HTPIDR
	isb
	mov	r0, #0
	cmp	r2, #0
	bxne	r2
	eret
ENDPROC(__hyp_reset)

ENTRY(__hyp_init_end)
	nop
ENDPROC(__hyp_init_end)

#ifdef CONFIG_THUMB2_KERNEL
	.thumb
#endif

/*
 * u32 __hyp_install(struct HypInstall *p): run by SVC code, IRQs off.
 *
 * p holds r1 to r9 and r11 of the call above in that order, then two words for
 * the results in r10 and r12. Returns the r0 of the hvc.
 */
ENTRY(__hyp_install)
	push	{r4 - r11, lr}
	mov	lr, r0
	ldmia	lr!, {r1 - r9, r11}
	push	{lr}
	mov	r0, #HVC_STUB_SOFT_RESTART
	hvc	#0
	pop	{lr}
	stmia	lr, {r10, r12}
	pop	{r4 - r11, pc}
ENDPROC(__hyp_install)

/*
 * u32 __hyp_call(u32 function, u32 a1, u32 a2, u32 a3): any HVC_ function.
 *
 * SVC mode, IRQs off. The lowvisor keeps no general-purpose register of the
 * host, so this saves those that the AAPCS preserves, on the SVC stack.
 */
ENTRY(__hyp_call)
	push	{r4 - r11, lr}
	hvc	#0
	pop	{r4 - r11, pc}
ENDPROC(__hyp_call)

/*
 * u32 __hyp_probe(u32 function): try an hvc that may be undefined.
 *
 * A CPU that was not booted in HYP mode takes an Undefined Instruction
 * exception on hvc, for which the kernel would oops. So for the length of one
 * hvc, all exceptions masked, the vectors are ours: SCTLR.V goes low so that
 * VBAR counts (B1.8.1), and the only exception that can come, the undefined
 * one, skips the instruction. Returns 0xffffffff then, else the answer of the
 * owner of HYP mode.
 *
 * The owner of HYP mode may clobber all general-purpose registers, as ours
 * does, so the stack keeps those that are needed behind the hvc.
 */
ENTRY(__hyp_probe)
	push	{r4 - r11, lr}
	mrs	r4, cpsr
	cpsid	aif
	mrc	p15, 0, r5, c1, c0, 0		@ SCTLR
	mrc	p15, 0, r6, c12, c0, 0		@ VBAR
	ldr	r7, =probe_vectors
	bic	r8, r5, #(1 << 13)		@ SCTLR.V
	mcr	p15, 0, r7, c12, c0, 0
	mcr	p15, 0, r8, c1, c0, 0
	isb
	push	{r4 - r6}
	hvc	#0
	pop	{r4 - r6}
	mcr	p15, 0, r5, c1, c0, 0
	mcr	p15, 0, r6, c12, c0, 0
	isb
	msr	cpsr_c, r4
	pop	{r4 - r11, pc}
ENDPROC(__hyp_probe)
	.ltorg

	.balign	32
probe_vectors:
	W(b)	.				@ reset: cannot come
	W(b)	probe_undefined
	W(b)	.				@ svc
	W(b)	.				@ prefetch abort
	W(b)	.				@ data abort
	W(b)	.				@ hyp trap
	W(b)	.				@ irq: masked
	W(b)	.				@ fiq: masked
/*
 * LR_und is the hvc + 4 in Arm state and + 2 in Thumb state, and the hvc is
 * 4 bytes long in both (B1.8.3): go to the instruction after it.
 */
probe_undefined:
THUMB(	add	lr, lr, #2	)
	mvn	r0, #0
	movs	pc, lr
