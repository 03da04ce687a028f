/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loads and stores for which the hardware gives no syndrome, one by one, and the way
 * to execute one with all registers set. `mmio_forms.rs` says what they find there:
 *
 *	r1	the address		r2	12
 *	sp	256 behind it		r3	2
 *	Z is set			others	numbers
 */
	.text
	.arm
/*
 * u32 run_form(usize code, u32 registers[16]): goes to a form with r0 to r12, sp, lr
 * and the flags from the array, and puts there what they are afterwards. One CPU at a
 * time, interrupts masked.
 */
	.global run_form
run_form:
	push	{r4-r11, lr}
	adr	r2, form_state
	str	r0, [r2]
	str	sp, [r2, #4]
	str	r1, [r2, #8]
	ldr	r3, [r1, #60]
	msr	cpsr_f, r3
	ldr	sp, [r1, #52]
	ldr	lr, [r1, #56]
	ldmia	r1, {r0-r12}
	ldr	pc, form_state
form_state:
	.word	0, 0, 0, 0			@ code, sp, registers, r0

	.thumb
	.balign	4
form_done_thumb:
	bx	pc
	nop
	.arm
form_done:
	str	r0, form_state + 12
	ldr	r0, form_state + 8
	add	r0, r0, #4
	stmia	r0, {r1-r12}
	str	sp, [r0, #48]
	str	lr, [r0, #52]
	mrs	r1, cpsr
	str	r1, [r0, #56]
	ldr	r1, form_state + 12
	str	r1, [r0, #-4]
	ldr	sp, form_state + 4
	mov	r0, #0
	pop	{r4-r11, pc}

/* A form: how many bytes it loads, how many it stores, and what it is. */
	.macro	name_form table, loads, stores, text:vararg
	.pushsection .rodata.form_names, "a", %progbits
8:	.ascii	"\text"
7:
	.popsection
	.pushsection .rodata.\table, "a", %progbits
	.word	9b, 8b, 7b - 8b, \loads, \stores
	.popsection
	.endm

	.macro	arm loads, stores, text:vararg
	.balign	4
9:	\text
	b	form_done
	name_form arm_forms, \loads, \stores, \text
	.endm

	.macro	thumb loads, stores, text:vararg
	.balign	4
	.thumb_func
9:	\text
	b.w	form_done_thumb
	name_form thumb_forms, \loads, \stores, \text
	.endm

/* The same in an IT block. */
	.macro	thumb_if condition, loads, stores, text:vararg
	.balign	4
	.thumb_func
9:	it	\condition
	\text
	b.w	form_done_thumb
	name_form thumb_forms, \loads, \stores, \text
	.endm

	.pushsection .rodata.arm_forms, "a", %progbits
	.balign	4
	.global arm_forms
arm_forms:
	.popsection
	.pushsection .rodata.thumb_forms, "a", %progbits
	.balign	4
	.global thumb_forms
thumb_forms:
	.popsection

	arm	4, 0, ldr r0, [r1], #4
	arm	4, 0, ldr r0, [r1], #-4
	arm	4, 0, ldr r0, [r1, #8]!
	arm	4, 0, ldr r0, [r1, #-8]!
	arm	4, 0, ldr r4, [r1], r2
	arm	4, 0, ldr r4, [r1], -r2
	arm	4, 0, ldr r4, [r1, r2]!
	arm	4, 0, ldr r4, [r1, -r2]!
	arm	4, 0, ldr r12, [r1, r3, lsl #2]!
	arm	4, 0, ldr r12, [r1, -r3, lsl #3]!
	arm	4, 0, ldr lr, [r1], r3, lsl #4
	arm	4, 0, ldr r5, [sp], #4
	arm	4, 0, ldr r5, [sp, #-16]!
	arm	4, 0, ldrt r0, [r1], #4
	arm	4, 0, ldrt r0, [r1], r2
	arm	1, 0, ldrb r0, [r1], #1
	arm	1, 0, ldrb r0, [r1, #3]!
	arm	1, 0, ldrb r0, [r1], r3
	arm	1, 0, ldrb r0, [r1, -r3]!
	arm	1, 0, ldrbt r0, [r1], #1
	arm	1, 0, ldrsb r0, [r1], #1
	arm	1, 0, ldrsb r0, [r1, #5]!
	arm	1, 0, ldrsb r0, [r1, r3]!
	arm	1, 0, ldrsbt r0, [r1], #1
	arm	2, 0, ldrh r0, [r1], #2
	arm	2, 0, ldrh r0, [r1, #-6]!
	arm	2, 0, ldrh r0, [r1], r3
	arm	2, 0, ldrht r0, [r1], #2
	arm	2, 0, ldrsh r0, [r1], #2
	arm	2, 0, ldrsh r0, [r1, #6]!
	arm	2, 0, ldrsh r0, [r1], -r3
	arm	2, 0, ldrsht r0, [r1], #2
	arm	0, 4, str r5, [r1], #4
	arm	0, 4, str r5, [r1, #-4]!
	arm	0, 4, str r5, [r1], r2
	arm	0, 4, str r5, [r1, r3, lsl #2]!
	arm	0, 4, str lr, [sp, #-4]!
	arm	0, 4, strt r5, [r1], #4
	arm	0, 1, strb r5, [r1], #1
	arm	0, 1, strb r5, [r1, #7]!
	arm	0, 1, strb r5, [r1], r3
	arm	0, 1, strbt r5, [r1], #1
	arm	0, 2, strh r5, [r1], #2
	arm	0, 2, strh r5, [r1, #-2]!
	arm	0, 2, strh r5, [r1], r3
	arm	0, 2, strht r5, [r1], #2
	arm	8, 0, ldrd r4, r5, [r1]
	arm	8, 0, ldrd r4, r5, [r1, #8]
	arm	8, 0, ldrd r6, r7, [r1, #-8]!
	arm	8, 0, ldrd r6, r7, [r1], #16
	arm	8, 0, ldrd r8, r9, [r1, r2]
	arm	8, 0, ldrd r8, r9, [r1, r2]!
	arm	8, 0, ldrd r8, r9, [r1], -r2
	arm	0, 8, strd r4, r5, [r1]
	arm	0, 8, strd r4, r5, [r1, #8]!
	arm	0, 8, strd r6, r7, [r1], #-16
	arm	0, 8, strd r8, r9, [r1, r2]
	arm	0, 8, strd r8, r9, [r1], r2
	arm	4, 0, ldm r1, {r4}
	arm	8, 0, ldm r1, {r4, r8}
	arm	8, 0, ldm r1!, {r4, r8}
	arm	16, 0, ldmib r1, {r0, r4, r8, lr}
	arm	16, 0, ldmib r1!, {r0, r4, r8, lr}
	arm	16, 0, ldmda r1, {r0, r4, r8, lr}
	arm	16, 0, ldmda r1!, {r0, r4, r8, lr}
	arm	16, 0, ldmdb r1, {r0, r4, r8, lr}
	arm	16, 0, ldmdb r1!, {r0, r4, r8, lr}
	arm	48, 0, ldm r1, {r0-r11}
	arm	56, 0, ldm r1, {r0-r12, lr}
	arm	12, 0, ldm sp!, {r4, r5, r6}
	arm	0, 8, stm r1, {r4, r8}
	arm	0, 8, stm r1!, {r4, r8}
	arm	0, 16, stmib r1!, {r0, r4, r8, lr}
	arm	0, 16, stmda r1!, {r0, r4, r8, lr}
	arm	0, 16, stmdb r1, {r0, r4, r8, lr}
	arm	0, 16, stmdb r1!, {r0, r4, r8, lr}
	arm	0, 56, stm r1, {r0-r12, lr}
	arm	0, 12, push {r4, r5, lr}
	arm	12, 0, pop {r4, r5, lr}
	arm	4, 0, ldreq r0, [r1], #4
	arm	0, 0, ldrne r0, [r1], #4
	arm	8, 0, ldmeq r1!, {r4, r8}
	arm	0, 0, ldmne r1!, {r4, r8}
	arm	0, 0, strdne r4, r5, [r1]

	.thumb
	thumb	12, 0, ldmia r1!, {r4, r5, r6}
	thumb	0, 12, stmia r1!, {r4, r5, r6}
	thumb	0, 12, push {r4, r5, lr}
	thumb	8, 0, pop {r4, r5}
	thumb	4, 0, ldr r0, [r1], #4
	thumb	4, 0, ldr r0, [r1], #-4
	thumb	4, 0, ldr r0, [r1, #8]!
	thumb	4, 0, ldr r9, [r1, #-8]!
	thumb	4, 0, ldr lr, [sp], #4
	thumb	4, 0, ldrt r0, [r1, #4]
	thumb	1, 0, ldrb r0, [r1], #1
	thumb	1, 0, ldrb r9, [r1, #3]!
	thumb	1, 0, ldrsb r0, [r1], #1
	thumb	1, 0, ldrsb r0, [r1, #-3]!
	thumb	2, 0, ldrh r0, [r1], #2
	thumb	2, 0, ldrh r9, [r1, #6]!
	thumb	2, 0, ldrsh r0, [r1], #-2
	thumb	2, 0, ldrsh r0, [r1, #6]!
	thumb	0, 4, str r5, [r1], #4
	thumb	0, 4, str r9, [r1, #-4]!
	thumb	0, 4, str lr, [sp, #-4]!
	thumb	0, 1, strb r5, [r1], #1
	thumb	0, 1, strb r9, [r1, #7]!
	thumb	0, 2, strh r5, [r1], #2
	thumb	0, 2, strh r9, [r1, #-2]!
	thumb	8, 0, ldrd r4, r7, [r1]
	thumb	8, 0, ldrd r4, r7, [r1, #8]!
	thumb	8, 0, ldrd r4, r7, [r1], #-8
	thumb	0, 8, strd r4, r7, [r1]
	thumb	0, 8, strd r4, r7, [r1, #-8]!
	thumb	0, 8, strd r4, r7, [r1], #8
	thumb	16, 0, ldm.w r1, {r0, r4, r8, lr}
	thumb	16, 0, ldm.w r1!, {r0, r4, r8, lr}
	thumb	16, 0, ldmdb r1, {r0, r4, r8, lr}
	thumb	16, 0, ldmdb r1!, {r0, r4, r8, lr}
	thumb	0, 16, stm.w r1, {r0, r4, r8, lr}
	thumb	0, 16, stm.w r1!, {r0, r4, r8, lr}
	thumb	0, 16, stmdb r1!, {r0, r4, r8, lr}
	thumb_if eq, 4, 0, ldreq r0, [r1], #4
	thumb_if ne, 0, 0, ldrne r0, [r1], #4
	thumb_if eq, 8, 0, ldmeq.w r1!, {r4, r8}
	thumb_if ne, 0, 0, ldmne.w r1!, {r4, r8}
	thumb_if eq, 0, 8, strdeq r4, r7, [r1], #8

	.pushsection .rodata.arm_forms, "a", %progbits
	.global arm_forms_end
arm_forms_end:
	.popsection
	.pushsection .rodata.thumb_forms, "a", %progbits
	.global thumb_forms_end
thumb_forms_end:
	.popsection

/* An instruction of which each half is in another page. */
	.balign	4096
	.space	4094
	.global form_across_pages
	.thumb_func
form_across_pages:
	ldr.w	r0, [r1], #4
	b.w	form_done_thumb
	.arm
	.balign	4
