/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exceptions: vectors, and the way from an exception that a check waits for back to
 * that check. `exceptions.rs` is the Rust side, with the record's layout.
 *
 * The stack pointer of each exception mode is the CPU's record. What stood in the
 * registers when the exception was taken is stored there; then the CPU goes on in
 * the mode, and behind the call, from where `catch_exception` was called.
 */

/* The record, `exceptions::Record`. */
	.equ	R_REGS, 0
	.equ	R_LR, 52
	.equ	R_SPSR, 56
	.equ	R_CPSR, 60
	.equ	R_VECTOR, 64
	.equ	R_FAULT, 68			@ DFSR, DFAR, IFSR, IFAR
	.equ	R_SP_SVC, 84
	.equ	R_LR_SVC, 88
	.equ	R_SP_USR, 92
	.equ	R_LR_USR, 96
	.equ	R_ARMED, 100
	.equ	R_RESUME_SP, 104
	.equ	R_RESUME_CPSR, 108

/* What is added to a vector's number, to tell by which table it came. */
	.equ	FROM_CATCHING, 0x20
	.equ	FROM_HIGH, 0x40
	.equ	FROM_THUMB, 0x80

	.text
	.arm
/* One handler for each vector of a table: undefined, SVC, aborts, IRQ, FIQ. */
	.macro	handlers tag, from
	.irp	n, 1, 3, 4, 6, 7
	.balign	4
\tag\()_\n:
	stmia	sp, {r0-r12}
	mov	r4, #(\n + \from)
	mov	r5, sp
	b	caught
	.endr
\tag\()_2:
	push	{r4, r5}			@ Supervisor mode has a stack
	mrc	p15, 0, r5, c13, c0, 4
	stmia	r5, {r0-r12}
	pop	{r0, r1}
	str	r0, [r5, #16]
	str	r1, [r5, #20]
	mov	r4, #(2 + \from)
	b	caught
	.endm

	handlers normal, 0
	handlers catching, FROM_CATCHING
	handlers high, FROM_HIGH
	handlers thumb, FROM_THUMB

/* In the mode of the exception, the record in r5; R8 to R12 may be those of FIQ mode. */
caught:
	mrs	r6, cpsr
	mrs	r7, spsr
	str	lr, [r5, #R_LR]
	str	r7, [r5, #R_SPSR]
	str	r6, [r5, #R_CPSR]
	str	r4, [r5, #R_VECTOR]
	add	r7, r5, #R_FAULT
	mrc	p15, 0, r0, c5, c0, 0		@ DFSR
	mrc	p15, 0, r1, c6, c0, 0		@ DFAR
	mrc	p15, 0, r2, c5, c0, 1		@ IFSR
	mrc	p15, 0, r3, c6, c0, 2		@ IFAR
	stmia	r7!, {r0-r3}
	@ MRS of banked registers is for CPUs with the virtualization extensions.
	cps	#MODE_SVC
	mov	r0, sp
	mov	r1, lr
	cps	#MODE_SYS
	mov	r2, sp
	mov	r3, lr
	cps	#MODE_SVC
	stmia	r7!, {r0-r3}
	ldr	r0, [r5, #R_ARMED]
	cmp	r0, #0
	beq	1f
	ldr	r0, [r5, #R_RESUME_CPSR]
	msr	cpsr_cxsf, r0			@ Supervisor mode
	ldr	sp, [r5, #R_RESUME_SP]
	b	resume
1:	mov	r0, r4
	mov	r1, lr
	cps	#MODE_SVC
	bic	sp, sp, #7
	bl	unexpected_exception
	b	.

/*
 * u32 catch_exception(usize function, u32 a, u32 b, Record *record): calls a function
 * of one or two arguments in Arm or Thumb state and gives its value, or what is in R0
 * when an exception ends it; then record->vector is not 0.
 */
	.global catch_exception
catch_exception:
	push	{r4-r11, lr}
	sub	sp, sp, #4
	mov	ip, #0
	str	ip, [r3, #R_VECTOR]
	str	sp, [r3, #R_RESUME_SP]
	mrs	ip, cpsr
	str	ip, [r3, #R_RESUME_CPSR]
	mov	r5, r3
	mov	r4, r0
	mov	r0, r1
	mov	r1, r2
	mov	ip, #1
	str	ip, [r5, #R_ARMED]
	blx	r4
	mrc	p15, 0, r5, c13, c0, 4
resume:
	mov	ip, #0
	str	ip, [r5, #R_ARMED]
	add	sp, sp, #4
	pop	{r4-r11, pc}

/*
 * void enter_user(usize code, u32 argument): goes to user mode, for an exception to
 * end it. SP_usr and LR_usr are numbers that the exception finds again.
 */
	.global enter_user
enter_user:
	mrs	r2, cpsr
	bic	r2, r2, #0x3f
	orr	r2, r2, #0x10
	tst	r0, #1
	orrne	r2, r2, #0x20			@ T
	msr	spsr_cxsf, r2
	cps	#MODE_SYS
	movw	sp, #0x0010
	movt	sp, #0x5e5e
	movw	lr, #0x0010
	movt	lr, #0x1e1e
	cps	#MODE_SVC
	bic	lr, r0, #1
	mov	r0, r1
	movs	pc, lr

/* void enter_with(usize code, u32 spsr): goes on at an address with any CPSR. */
	.global enter_with
enter_with:
	msr	spsr_cxsf, r1
	bic	lr, r0, #1
	movs	pc, lr

/* Rust's handlers are built without floating point, so those registers are not saved. */
interrupt:
	sub	lr, lr, #4
	srsdb	sp!, #MODE_SVC
	cps	#MODE_SVC
	push	{r0-r3, ip, lr}
	and	r1, sp, #4
	sub	sp, sp, r1
	push	{r1, r2}
	bl	interrupt_handler
	pop	{r1, r2}
	add	sp, sp, r1
	pop	{r0-r3, ip, lr}
	rfeia	sp!


/* --- Vectors ------------------------------------------------------------------ */
/* They reach their handlers by words behind them, and so work wherever they are. */
	.macro	vector_table tag, irq
	.rept	8
	ldr	pc, [pc, #24]
	.endr
	.word	\tag\()_1, \tag\()_1, \tag\()_2, \tag\()_3, \tag\()_4, \tag\()_1, \irq, \tag\()_7
	.endm

	.balign	64
/* Interrupts go to Rust. */
	.global vectors_normal
vectors_normal:
	vector_table normal, interrupt

	.balign	64
	.global vectors_catching
/* Interrupts are caught like all others. */
vectors_catching:
	vector_table catching, catching_6

	.balign	4096
	.global vectors_high
/* A page to be mapped at 0xffff0000. */
vectors_high:
	vector_table high, high_6
	.balign	4096

	.thumb
	.balign	64
	.global vectors_thumb
/* For SCTLR.TE: exceptions are taken in Thumb state. */
vectors_thumb:
	b.w	1f
	b.w	1f
	b.w	2f
	b.w	3f
	b.w	4f
	b.w	1f
	b.w	6f
	b.w	7f
	.irp	n, 1, 2, 3, 4, 6, 7
	.balign	4
\n:	bx	pc				@ to Arm state, four bytes on
	nop
	.arm
	b	thumb_\n
	.thumb
	.endr
	.arm
	.pool
