/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What cannot be said in Rust: the first instructions of a CPU, exception vectors,
 * and registers that the compiler uses for itself.
 */
	.syntax unified
	.arch	armv7-a
	.arch_extension virt
	.arch_extension idiv
	.fpu	neon
	.arm

/*
 * Each CPU has a stack. The stack pointers of the exception modes point to the CPU's
 * record of exceptions (exceptions.S, exceptions.rs).
 */
	.equ	STACK, 65536
	.equ	RECORD_SHIFT, 7
	.equ	CPUS, 8

	.equ	MODE_FIQ, 0x11
	.equ	MODE_IRQ, 0x12
	.equ	MODE_SVC, 0x13
	.equ	MODE_ABT, 0x17
	.equ	MODE_UND, 0x1b
	.equ	MODE_SYS, 0x1f

/*
 * Section descriptors of the short format. Memory: write-back, write-allocate,
 * shared (TEX 1, C, B, S), all may access it (AP 3). Devices: TEX 0, B, XN.
 */
	.equ	SECTION_MEMORY, 0x00011c0e
	.equ	SECTION_DEVICE, 0x00000c16
	.equ	RAM_MIB, 64

	.section .text.start, "ax"
	.global _start
/*
 * The first CPU starts here: MMU and caches off, interrupts masked. R0 says what
 * machine this is (board.rs).
 */
_start:
	ldr	r1, =board_id
	str	r0, [r1]
	ldr	r0, =page_table
	mov	r1, #0
1:	lsl	r2, r1, #20			@ the first GiB has the devices
	ldr	r3, =SECTION_DEVICE
	orr	r2, r2, r3
	str	r2, [r0, r1, lsl #2]
	add	r1, r1, #1
	cmp	r1, #1024
	blo	1b
	ldr	r1, =0x800			@ memory from 2 GiB on
2:	lsl	r2, r1, #20
	ldr	r3, =SECTION_MEMORY
	orr	r2, r2, r3
	str	r2, [r0, r1, lsl #2]
	add	r1, r1, #1
	ldr	r3, =0x800 + RAM_MIB
	cmp	r1, r3
	blo	2b
	mov	r4, #0
	b	cpu_start

	.global secondary_start
/* The others start here, with their number in r0 (the context of CPU_ON). */
secondary_start:
	mov	r4, r0
	b	cpu_start

	.thumb
	.thumb_func
	.global secondary_start_thumb
/* The same in Thumb state: this word is another instruction in Arm state. */
secondary_start_thumb:
	movs	r4, r0
	blx	1f
	.arm
	.balign	4
1:	orr	r4, r4, #0x100			@ cpu_start keeps this from others

/* Gets the CPU with the number in r4 ready for Rust. */
cpu_start:
	cpsid	aif, #MODE_SVC
	and	r5, r4, #0xff
	ldr	r0, =stacks
	add	r2, r5, #1
	mov	r1, #STACK
	mla	sp, r1, r2, r0			@ the end of the CPU's stack
	ldr	r0, =exception_records
	add	r0, r0, r5, lsl #RECORD_SHIFT
	mcr	p15, 0, r0, c13, c0, 4		@ TPIDRPRW
	cps	#MODE_FIQ
	mov	sp, r0
	cps	#MODE_IRQ
	mov	sp, r0
	cps	#MODE_ABT
	mov	sp, r0
	cps	#MODE_UND
	mov	sp, r0
	cps	#MODE_SVC

	ldr	r0, =page_table
	orr	r0, r0, #0x4a			@ table walks: write-back, shared
	mcr	p15, 0, r0, c2, c0, 0		@ TTBR0
	mov	r0, #0
	mcr	p15, 0, r0, c2, c0, 2		@ TTBCR
	mcr	p15, 0, r0, c8, c7, 0		@ TLBIALL
	mcr	p15, 0, r0, c7, c5, 0		@ ICIALLU
	mcr	p15, 0, r0, c7, c5, 6		@ BPIALL
	mov	r0, #1
	mcr	p15, 0, r0, c3, c0, 0		@ DACR: domain 0 is checked
	ldr	r0, =vectors_normal
	mcr	p15, 0, r0, c12, c0, 0		@ VBAR
	dsb
	isb
	mrc	p15, 0, r0, c1, c0, 0		@ SCTLR
	ldr	r1, =0x1805			@ I, Z, C, M
	orr	r0, r0, r1
	bic	r0, r0, #0x2000			@ V: vectors are where VBAR says
	bic	r0, r0, #0x2			@ A: unaligned accesses are fine
	mcr	p15, 0, r0, c1, c0, 0
	isb

	mrc	p15, 0, r0, c1, c0, 2		@ CPACR: VFP for all
	orr	r0, r0, #0xf00000
	mcr	p15, 0, r0, c1, c0, 2
	isb
	mov	r0, #0x40000000			@ FPEXC.EN
	vmsr	fpexc, r0

	mov	r0, r4
	bl	cpu_main
3:	wfi
	b	3b

	.text
/* u32 hypercall(u32 function, u32 a, u32 b, u32 c) */
	.global hypercall
hypercall:
	hvc	#0
	bx	lr

/*
 * u32 hypercall_registers(u32 registers[14]): calls with r0 to r12 and lr from the
 * array, and puts there what they are afterwards.
 */
	.global hypercall_registers
hypercall_registers:
	push	{r0, r4-r11, lr}
	mov	lr, r0
	ldmia	lr, {r0-r12}
	hvc	#0
	push	{lr}
	ldr	lr, [sp, #4]
	stmia	lr, {r0-r12}
	pop	{r0, r1}
	pop	{r4-r11, pc}

/* void vfp_fill(const u64 values[32], u32 fpscr) */
	.global vfp_fill
vfp_fill:
	vldmia	r0!, {d0-d15}
	vldmia	r0!, {d16-d31}
	vmsr	fpscr, r1
	bx	lr

/* u32 vfp_read(u64 values[32]) -> FPSCR */
	.global vfp_read
vfp_read:
	vstmia	r0!, {d0-d15}
	vstmia	r0!, {d16-d31}
	vmrs	r0, fpscr
	bx	lr

/*
 * void banked_swap(u32 values[19]): exchanges the registers of the other modes with
 * an array. Interrupts must be masked until they are swapped back.
 */
	.macro	swap reg
	mrs	r1, \reg
	ldr	r2, [r0]
	msr	\reg, r2
	str	r1, [r0], #4
	.endm
	.global banked_swap
banked_swap:
	swap	SP_irq
	swap	LR_irq
	swap	SPSR_irq
	swap	SP_abt
	swap	LR_abt
	swap	SPSR_abt
	swap	SP_und
	swap	LR_und
	swap	SPSR_und
	swap	R8_fiq
	swap	R9_fiq
	swap	R10_fiq
	swap	R11_fiq
	swap	R12_fiq
	swap	SP_fiq
	swap	LR_fiq
	swap	SPSR_fiq
	swap	SP_usr
	swap	LR_usr
	bx	lr

/* What the compiler expects of a C library. */
	.global memcpy
memcpy:
	mov	ip, r0
	cmp	r2, #0
1:	ldrbne	r3, [r1], #1
	strbne	r3, [ip], #1
	subsne	r2, r2, #1
	bne	1b
	bx	lr

	.global memset
memset:
	mov	ip, r0
	cmp	r2, #0
1:	strbne	r1, [ip], #1
	subsne	r2, r2, #1
	bne	1b
	bx	lr

	.global memcmp
memcmp:
	mov	ip, r0
	mov	r0, #0
1:	cmp	r2, #0
	bxeq	lr
	ldrb	r0, [ip], #1
	ldrb	r3, [r1], #1
	sub	r2, r2, #1
	subs	r0, r0, r3
	beq	1b
	bx	lr

	.pool

	.section .bss.table, "aw", %nobits
	.balign	16384
	.global page_table
page_table:
	.space	16384
	.bss
	.balign	128
exception_records:
	.space	CPUS << RECORD_SHIFT
stacks:
	.space	CPUS * STACK
	.global board_id
board_id:
	.space	4
