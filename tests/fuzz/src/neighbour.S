// SPDX-License-Identifier: GPL-2.0
//
// The guest that checks itself. After each pass it stores a word to the hole: 0, or the number of the check that
// failed, in the low byte, and more about it above.
//
//   r4  the pass
//   r5  the first word of its memory, r6 the end
//   r7  the hole
//   r8  the distributor, r9 the CPU interface
//   r10 the CPU interface's interrupt, 0 if there is none

	.pushsection .rodata.neighbour, "a"
	.arm
	.arch armv7-a
	.fpu neon
	.balign 4
	.globl neighbour_guest
	.globl neighbour_guest_end

	.macro load register, value
	movw	\register, #:lower16:\value
	movt	\register, #:upper16:\value
	.endm

neighbour_guest:
	mov	r4, #0
	load	r5, 0x80010000
	load	r6, 0x80050000
	load	r7, 0x10000000
	load	r8, 0x3fff0000
	load	r9, 0x3ffd0000
	// VFP.
	mov	r0, #0xf00000
	mcr	p15, 0, r0, c1, c0, 2
	isb
	mov	r0, #0x40000000
	vmsr	fpexc, r0
	// Known values in all that a guest has and another could spoil.
	load	r1, 0x5a000000
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	add	r2, r1, #\n
	mvn	r3, r2
	vmov	d\n, r2, r3
	.endr
	add	r2, r1, #0x40
	mcr	p15, 0, r2, c13, c0, 2		// TPIDRURW
	add	r2, r2, #1
	mcr	p15, 0, r2, c13, c0, 3		// TPIDRURO
	add	r2, r2, #1
	mcr	p15, 0, r2, c13, c0, 4		// TPIDRPRW
	add	r2, r2, #1
	mcr	p15, 0, r2, c13, c0, 1		// CONTEXTIDR
	add	r2, r2, #1
	mcr	p15, 0, r2, c3, c0, 0		// DACR
	add	r2, r2, #1
	mcr	p15, 0, r2, c6, c0, 0		// DFAR
	add	r2, r2, #1
	mcr	p15, 0, r2, c6, c0, 2		// IFAR
	.irp	mode, 0x11, 0x12, 0x17, 0x1b, 0x1f
	cps	#\mode
	add	sp, r1, #\mode
	mvn	lr, sp
	.endr
	cps	#0x13
	// The distributor: all private interrupts, of priority 0xa0 and up.
	mov	r0, #1
	str	r0, [r8]
	mvn	r0, #0
	str	r0, [r8, #0x100]
	mov	r0, #0xf8
	str	r0, [r9, #4]
	mov	r0, #1
	str	r0, [r9]
	// The memory of pass 0.
	mov	r0, r5
1:	str	r0, [r0]
	add	r0, r0, #4
	cmp	r0, r6
	blo	1b

pass:
	load	r11, 0x9e3779b1
	mul	r12, r4, r11			// what was added to each word
	add	r4, r4, #1
	mul	r11, r4, r11
	mov	r0, r5
2:	ldr	r1, [r0]
	add	r2, r0, r12
	cmp	r1, r2
	movne	r3, #1
	bne	failed
	add	r2, r0, r11
	str	r2, [r0], #4
	cmp	r0, r6
	blo	2b
	// VFP.
	load	r1, 0x5a000000
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmov	r2, r3, d\n
	add	r0, r1, #\n
	cmp	r2, r0
	mvneq	r2, r3
	cmpeq	r2, r0
	movne	r3, #2
	bne	failed
	.endr
	// CP15.
	add	r0, r1, #0x40
	.macro	same opc1, crn, crm, opc2
	mrc	p15, \opc1, r2, \crn, \crm, \opc2
	cmp	r2, r0
	movne	r3, #3
	bne	failed
	add	r0, r0, #1
	.endm
	same	0, c13, c0, 2
	same	0, c13, c0, 3
	same	0, c13, c0, 4
	same	0, c13, c0, 1
	same	0, c3, c0, 0
	same	0, c6, c0, 0
	same	0, c6, c0, 2
	// Banked registers.
	.irp	mode, 0x11, 0x12, 0x17, 0x1b, 0x1f
	cps	#\mode
	add	r2, r1, #\mode
	cmp	sp, r2
	mvneq	r2, r2
	cmpeq	lr, r2
	cps	#0x13
	movne	r3, #4
	bne	failed
	.endr
	// The timer: its interrupt comes, and has its number.
	mov	r0, #100
	mcr	p15, 0, r0, c14, c3, 0
	mov	r0, #1
	mcr	p15, 0, r0, c14, c3, 1
	load	r2, 1023
3:	ldr	r0, [r9, #12]
	cmp	r0, r2
	beq	3b
	mov	r3, #0
	mcr	p15, 0, r3, c14, c3, 1
	str	r0, [r9, #16]
	cmp	r0, #27
	movne	r3, #5
	bne	failed
	// An SGI to itself.
	load	r0, 0x02000003
	str	r0, [r8, #0xf00]
4:	ldr	r0, [r9, #12]
	cmp	r0, r2
	beq	4b
	str	r0, [r9, #16]
	cmp	r0, #3
	movne	r3, #6
	bne	failed
	// The distributor is as it was.
	ldr	r0, [r8, #0x100]
	mvn	r2, #0
	cmp	r0, r2
	movne	r3, #7
	bne	failed
	mov	r3, #0
failed:
	str	r3, [r7]
	b	pass
	.pool
neighbour_guest_end:
	.popsection
