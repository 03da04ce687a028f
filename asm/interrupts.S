/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lowvisor: HYP vectors and the world switch.
 *
 * HYP mode has two vector tables. The host's is in place while Linux runs and
 * knows one exception from below, the hvc of __hyp_call. The guest's is in
 * place while a guest runs. So no vector has to find out whose exception it
 * is. Exceptions taken from HYP mode itself go to hyp_fault in both.
 *
 * SP_hyp is the stack of the host CPU's HypCpu in host context, and points to
 * the VcpuContext while a guest runs: one stm saves what a handler needs.
 * HTPIDR is the HypCpu always.
 *
 * HYP mode shares LR with user mode; the other modes' SP, LR and SPSR are
 * banked and reached by mrs and msr (B9.3.9).
 *
 * An exception return is a context synchronisation event, as is
 * taking an exception: between them nothing that is written here for PL1 and
 * PL0 has an effect, hence no isb where none is needed in HYP mode itself.
 */
#include <linux/linkage.h>
#include <asm/assembler.h>
#include "world_switch.h"

	.arch	armv7-a
	.arch_extension virt
	.fpu	neon-vfpv4

	/*
	 * The kernel puts no probes into this section: in HYP mode nobody
	 * handles their undefined instructions.
	 */
	.section ".kprobes.text", "ax", %progbits
	.arm

/* --- CP15 of PL1 and PL0 ---------------------------------------------- */
/* Each macro moves as many registers of CP15 as fit into r2 to r11. */

.macro	cp15_control op
	\op	p15, 2, r2, c0, c0, 0		@ CSSELR
	\op	p15, 0, r3, c1, c0, 0		@ SCTLR
.endm

.macro	cp15_mmu op, op64
	\op	p15, 0, r2, c1, c0, 2		@ CPACR
	\op	p15, 0, r3, c2, c0, 2		@ TTBCR
	\op	p15, 0, r4, c3, c0, 0		@ DACR
	\op64	p15, 0, r5, r6, c2		@ TTBR0
	\op64	p15, 1, r7, r8, c2		@ TTBR1
.endm

.macro	cp15_fault_status op
	\op	p15, 0, r9, c5, c0, 0		@ DFSR
	\op	p15, 0, r10, c5, c0, 1		@ IFSR
	\op	p15, 0, r11, c5, c1, 0		@ ADFSR
.endm

.macro	cp15_fault_address op, op64
	\op	p15, 0, r2, c5, c1, 1		@ AIFSR
	\op	p15, 0, r3, c6, c0, 0		@ DFAR
	\op	p15, 0, r4, c6, c0, 2		@ IFAR
	\op64	p15, 0, r5, r6, c7		@ PAR
.endm

.macro	cp15_attributes op
	\op	p15, 0, r7, c10, c2, 0		@ PRRR, MAIR0
	\op	p15, 0, r8, c10, c2, 1		@ NMRR, MAIR1
	\op	p15, 0, r9, c12, c0, 0		@ VBAR
	\op	p15, 0, r10, c13, c0, 1		@ CONTEXTIDR
	\op	p15, 0, r11, c13, c0, 2		@ TPIDRURW
.endm

.macro	cp15_threads op
	\op	p15, 0, r2, c13, c0, 3		@ TPIDRURO
	\op	p15, 0, r3, c13, c0, 4		@ TPIDRPRW
	\op	p15, 0, r4, c14, c1, 0		@ CNTKCTL
	\op	p15, 0, r5, c10, c3, 0		@ AMAIR0
	\op	p15, 0, r6, c10, c3, 1		@ AMAIR1
.endm

/* ThumbEE, which all cores here have; a thread has its own handler base. */
.macro	cp14_thumbee op
	\op	p14, 6, r7, c0, c0, 0		@ TEECR
	\op	p14, 6, r8, c1, c0, 0		@ TEEHBR
.endm

/*
 * The host's CP15. Its fault registers and PAR are not kept: the kernel reads
 * them in the abort handler, before it enables interrupts, and nobody calls
 * HVC_RUN from inside of such a handler.
 */
.macro	save_host_cp15				@ r12: HOST_CP15
	cp15_control mrc
	stmia	r12!, {r2, r3}
	cp15_mmu mrc, mrrc
	stmia	r12!, {r2 - r8}
	cp15_attributes mrc
	stmia	r12!, {r7 - r11}
	cp15_threads mrc
	cp14_thumbee mrc
	stmia	r12!, {r2 - r8}
.endm

.macro	load_host_cp15				@ r12: HOST_CP15
	ldmia	r12!, {r2, r3}
	cp15_control mcr
	ldmia	r12!, {r2 - r8}
	cp15_mmu mcr, mcrr
	ldmia	r12!, {r7 - r11}
	cp15_attributes mcr
	ldmia	r12!, {r2 - r8}
	cp15_threads mcr
	cp14_thumbee mcr
.endm

.macro	save_guest_cp15				@ r1: VcpuContext; clobbers r12
	add	r12, r1, #(CTX_CP15 + 4)	@ CSSELR, SCTLR
	cp15_control mrc
	stmia	r12!, {r2, r3}
	add	r12, r12, #4			@ ACTLR is emulated
	cp15_mmu mrc, mrrc
	cp15_fault_status mrc
	stmia	r12!, {r2 - r11}
	cp15_fault_address mrc, mrrc
	cp15_attributes mrc
	stmia	r12!, {r2 - r11}
	cp15_threads mrc
	stmia	r12!, {r2 - r6}
	cp14_thumbee mrc
	add	r12, r1, #CTX_TEECR
	stmia	r12, {r7, r8}
.endm

.macro	load_guest_cp15				@ r1: VcpuContext; clobbers r12
	add	r12, r1, #(CTX_CP15 + 4)
	ldmia	r12!, {r2, r3}
	cp15_control mcr
	add	r12, r12, #4
	ldmia	r12!, {r2 - r11}
	cp15_mmu mcr, mcrr
	cp15_fault_status mcr
	ldmia	r12!, {r2 - r11}
	cp15_fault_address mcr, mcrr
	cp15_attributes mcr
	ldmia	r12!, {r2 - r6}
	cp15_threads mcr
	add	r12, r1, #CTX_TEECR
	ldmia	r12, {r7, r8}
	cp14_thumbee mcr
.endm

/* --- Banked registers -------------------------------------------------- */

/*
 * The host's stack pointers and the FIQ bank. LR and SPSR of its exception
 * modes are dead while it runs outside of an exception's first instructions,
 * and LR_svc is on the stack of __hyp_call. HOST_CP15 is behind them: r12
 * points to it afterwards.
 */
.macro	save_host_banked			@ r0: HypCpu; clobbers r2-r9
	add	r12, r0, #HOST_SAVED
	mrs	r2, SP_usr
	mov	r3, lr				@ LR_usr
	mrs	r4, SP_svc
	mrs	r5, SP_abt
	mrs	r6, SP_und
	mrs	r7, SP_irq
	stmia	r12!, {r2 - r7}
	mrs	r2, R8_fiq
	mrs	r3, R9_fiq
	mrs	r4, R10_fiq
	mrs	r5, R11_fiq
	mrs	r6, R12_fiq
	mrs	r7, SP_fiq
	mrs	r8, LR_fiq
	mrs	r9, SPSR_fiq
	stmia	r12!, {r2 - r9}
.endm

.macro	load_host_banked			@ r0: HypCpu; clobbers r2-r9; r12 as above
	add	r12, r0, #HOST_SAVED
	ldmia	r12!, {r2 - r7}
	msr	SP_usr, r2
	mov	lr, r3
	msr	SP_svc, r4
	msr	SP_abt, r5
	msr	SP_und, r6
	msr	SP_irq, r7
	ldmia	r12!, {r2 - r9}
	msr	R8_fiq, r2
	msr	R9_fiq, r3
	msr	R10_fiq, r4
	msr	R11_fiq, r5
	msr	R12_fiq, r6
	msr	SP_fiq, r7
	msr	LR_fiq, r8
	msr	SPSR_fiq, r9
.endm

.macro	save_guest_banked			@ r1: VcpuContext; clobbers r2-r10, r12
	mrs	r2, SP_usr
	mov	r3, lr
	mrs	r4, ELR_hyp
	mrs	r5, SPSR
	add	r12, r1, #CTX_SP_USR
	stmia	r12, {r2 - r5}			@ SP, LR, PC, CPSR
	add	r12, r1, #CTX_SVC
	mrs	r2, SP_svc
	mrs	r3, LR_svc
	mrs	r4, SPSR_svc
	mrs	r5, SP_abt
	mrs	r6, LR_abt
	mrs	r7, SPSR_abt
	stmia	r12!, {r2 - r7}
	mrs	r2, SP_und
	mrs	r3, LR_und
	mrs	r4, SPSR_und
	mrs	r5, SP_irq
	mrs	r6, LR_irq
	mrs	r7, SPSR_irq
	stmia	r12!, {r2 - r7}
	mrs	r2, R8_fiq
	mrs	r3, R9_fiq
	mrs	r4, R10_fiq
	mrs	r5, R11_fiq
	mrs	r6, R12_fiq
	mrs	r7, SP_fiq
	mrs	r8, LR_fiq
	mrs	r9, SPSR_fiq
	stmia	r12!, {r2 - r9}
.endm

.macro	load_guest_banked			@ r1: VcpuContext; clobbers r2-r10, r12
	add	r12, r1, #CTX_SP_USR
	ldmia	r12, {r2 - r5}
	msr	SP_usr, r2
	mov	lr, r3
	msr	ELR_hyp, r4
	msr	SPSR_cxsf, r5
	add	r12, r1, #CTX_SVC
	ldmia	r12!, {r2 - r7}
	msr	SP_svc, r2
	msr	LR_svc, r3
	msr	SPSR_svc, r4
	msr	SP_abt, r5
	msr	LR_abt, r6
	msr	SPSR_abt, r7
	ldmia	r12!, {r2 - r7}
	msr	SP_und, r2
	msr	LR_und, r3
	msr	SPSR_und, r4
	msr	SP_irq, r5
	msr	LR_irq, r6
	msr	SPSR_irq, r7
	ldmia	r12!, {r2 - r9}
	msr	R8_fiq, r2
	msr	R9_fiq, r3
	msr	R10_fiq, r4
	msr	R11_fiq, r5
	msr	R12_fiq, r6
	msr	SP_fiq, r7
	msr	LR_fiq, r8
	msr	SPSR_fiq, r9
.endm

/* --- VFP and NEON -------------------------------------------------------- */

#define FPEXC_EN_BIT	(1 << 30)

.macro	enable_vfp fpexc, tmp
	orr	\tmp, \fpexc, #FPEXC_EN_BIT
	vmsr	fpexc, \tmp
.endm

.macro	save_vfp base, flags, fpexc, tmp		@ moves \base on; it is enabled
	vmrs	\tmp, fpscr
	stmia	\base!, {\fpexc, \tmp}
	vstmia	\base!, {d0 - d15}
	tst	\flags, #HOST_HAS_D32
	vstmiane \base!, {d16 - d31}
.endm

.macro	load_vfp base, flags, t1, t2		@ the VFP is enabled before
	ldmia	\base!, {\t1, \t2}
	vldmia	\base!, {d0 - d15}
	tst	\flags, #HOST_HAS_D32
	vldmiane \base!, {d16 - d31}
	vmsr	fpscr, \t2
	vmsr	fpexc, \t1
.endm

/* --- The host's vectors --------------------------------------------------- */

	.balign	32
ENTRY(__hyp_host_vectors)
	b	hyp_fault_reset
	b	hyp_fault_undefined
	b	hyp_fault_svc
	b	hyp_fault_prefetch
	b	hyp_fault_data
	b	host_hvc
	b	hyp_fault_irq
	b	hyp_fault_fiq
ENDPROC(__hyp_host_vectors)

/*
 * r0 is the function, r1 to r3 its arguments, and the result is in r0. All of
 * r0 to r12 may be clobbered, as __hyp_call has saved its caller's registers.
 */
host_hvc:
	cmp	r0, #HVC_RUN
	beq	guest_enter
	mrc	p15, 4, r12, c13, c0, 2		@ HTPIDR
	mrs	r4, ELR_hyp			@ a fault in HYP mode returns by it
	mrs	r5, SPSR
	str	r4, [r12, #HOST_ELR]
	str	r5, [r12, #HOST_SPSR]
	ldr	r4, =HVC_TLB_FLUSH_VMID
	sub	r4, r0, r4
	cmp	r4, #(HVC_PROBE_DEBUG - HVC_TLB_FLUSH_VMID)
	bhi	host_hvc_stub
	adr	r5, host_functions
	ldr	r4, [r5, r4, lsl #2]
	add	pc, r5, r4

host_functions:
	.word	tlb_flush_vmid - host_functions
	.word	tlb_flush_all_vmids - host_functions
	.word	tlb_flush_hyp - host_functions
	.word	hyp_give_back - host_functions
	.word	tlb_flush_local - host_functions
	.word	flush_ram - host_functions
	.word	identify - host_functions
	.word	guest_enter_debug - host_functions
	.word	probe_debug - host_functions

/* Everything for PL1 and PL0 of the VMID in r1, r2, on all CPUs. */
tlb_flush_vmid:
	dsb	ishst
	mcrr	p15, 6, r1, r2, c2		@ VTTBR
	isb
	mcr	p15, 0, r0, c8, c3, 0		@ TLBIALLIS
	dsb	ish
tlb_flushed:
	isb
	mov	r1, #0
	mcrr	p15, 6, r1, r1, c2
	isb
	mov	r0, #0
	eret

/*
 * The same on this CPU alone, before another vCPU of the VMID runs here. A TLB
 * belongs to one CPU, so guests may have other tables and ASIDs on each vCPU.
 * The instruction cache goes, too: code that a guest wrote with its MMU off has
 * no ASID there.
 */
tlb_flush_local:
	mcrr	p15, 6, r1, r2, c2		@ VTTBR
	isb
	mcr	p15, 0, r0, c8, c7, 0		@ TLBIALL
	mcr	p15, 0, r0, c7, c5, 0		@ ICIALLU
	dsb	nsh
	b	tlb_flushed

/*
 * At a VMID roll-over. The instruction cache goes too: a VMID-tagged VIVT
 * one may hold lines of the VM that had the number before (B3.11.2).
 */
tlb_flush_all_vmids:
	dsb	ishst
	mcr	p15, 4, r0, c8, c3, 4		@ TLBIALLNSNHIS
	mcr	p15, 0, r0, c7, c1, 0		@ ICIALLUIS
	dsb	ish
	isb
	mov	r0, #0
	eret

tlb_flush_hyp:
	dsb	ishst
	mcr	p15, 4, r0, c8, c3, 0		@ TLBIALLHIS
	dsb	ish
	isb
	mov	r0, #0
	eret

hyp_give_back:
	mov	r2, #0
	b	hyp_leave

/*
 * Cleans and invalidates RAM to the point of coherency, by this CPU's window
 * for pages or its window for blocks (src/hyp/page_table.rs). The window is
 * empty before and after, in the table and in the TLB, so there is nothing to
 * break before this make (B3.10.1). No other CPU uses it, so other TLBs do not
 * matter.
 *
 * r1, r2: HypDesc of the page or block. r3: FLUSH_ values, at least a page.
 */
flush_ram:
	add	r4, r12, #HOST_PAGE_WINDOW
	tst	r1, #DESC_PAGE
	addeq	r4, r12, #HOST_BLOCK_WINDOW
	ldmia	r4, {r4, r5}			@ the place of the descriptor, the window
	mov	r6, r1
	mov	r7, r2
	strd	r6, r7, [r4]
	dsb	ishst
	isb
	mrc	p15, 0, r9, c0, c0, 1		@ CTR
	ubfx	r9, r9, #16, #4			@ DminLine: log2 of words (B4.1.42)
	mov	r8, #4
	mov	r8, r8, lsl r9			@ bytes in a line
	add	r9, r9, #(2 + 4)		@ log2 of bytes in 16 of them
	lsr	r6, r3, #12
	add	r6, r5, r6, lsl #12
	bfc	r3, #12, #20
	lsl	r3, r3, #12
	lsr	r3, r3, r9			@ a line is not above 256 bytes
1:	.rept	16
	mcr	p15, 0, r6, c7, c14, 1		@ DCCIMVAC
	add	r6, r6, r8
	.endr
	subs	r3, r3, #1
	bne	1b
	dsb	sy
	mov	r6, #0
	mov	r7, #0
	strd	r6, r7, [r4]
	dsb	ishst
	mcr	p15, 4, r5, c8, c7, 1		@ TLBIMVAH
	dsb	nsh
	isb
	mov	r0, #0
	eret

/*
 * A board can keep software from the debug registers: then an access is
 * undefined, hyp_fault returns to the caller, and r0 is not 0. Or MDBGen stays
 * clear. The locks are for a loss of power, and nothing is debugged meanwhile.
 * MDBGen is set in HYP mode alone, where there are no debug exceptions.
 */
probe_debug:
	mov	r0, #1
	mrc	p14, 0, r1, c1, c3, 4		@ DBGOSDLR
	tst	r1, #OSDLR_DLK
	mrceq	p14, 0, r1, c1, c1, 4		@ DBGOSLSR
	tsteq	r1, #OSLSR_OSLK
	bne	1f
	mrc	p14, 0, r1, c0, c2, 2		@ DBGDSCRext
	orr	r2, r1, #DSCR_MDBGEN
	mcr	p14, 0, r2, c0, c2, 2
	isb
	mrc	p14, 0, r2, c0, c2, 2
	mcr	p14, 0, r1, c0, c2, 2
	isb
	mvn	r2, r2
	ubfx	r0, r2, #DSCR_MDBGEN_BIT, #1
1:	eret

identify:
	ldr	r0, =HVC_IDENTITY
	eret

/* The kernel's own calls: they must work as if its stub were still here. */
host_hvc_stub:
	cmp	r0, #HVC_STUB_SOFT_RESTART
	moveq	r2, r1
	beq	hyp_leave
	cmp	r0, #HVC_STUB_RESET_VECTORS
	moveq	r2, #0
	beq	hyp_leave
	ldr	r0, =HVC_STUB_ERROR
	eret

/* r2: where to go on in HYP mode, or 0 to return to the caller. */
hyp_leave:
	ldr	r3, [r12, #HOST_RESET_PA]
	ldr	r1, [r12, #HOST_STUB_HVBAR]
	ldr	r0, [r12, #HOST_STUB_HSCTLR]
	bx	r3
	.ltorg

/* --- Into the guest -------------------------------------------------------- */

/*
 * Breakpoints and watchpoints for the guest are in the registers already. They
 * must not match while the host runs, also not in the code that comes here: so
 * MDBGen is set, and cleared again, in HYP mode, where there are no debug
 * exceptions.
 */
guest_enter_debug:				@ r1: VcpuContext, r12: HypCpu
	ldr	r2, [r1, #CTX_DSCR]
	mcr	p14, 0, r2, c0, c2, 2		@ DBGDSCRext
	mov	r2, #1
	strb	r2, [r12, #HOST_DEBUG_STATE]

guest_enter:					@ r1: VcpuContext
	mrc	p15, 4, r0, c13, c0, 2		@ HTPIDR
	mrs	r2, ELR_hyp
	mrs	r3, SPSR
	stmia	r0, {r1 - r3}			@ HOST_CTX, HOST_ELR, HOST_SPSR
	mov	r2, #VFP_HOST
	strb	r2, [r0, #HOST_VFP_STATE]
	save_host_banked
	save_host_cp15

	/*
	 * An access to the VFP goes to HYP mode only if it is not undefined
	 * for the guest anyway (B1.14.13): FPEXC has to be the guest's from
	 * the start, so that its EN decides.
	 */
	ldr	r2, [r0, #HOST_FLAGS]
	tst	r2, #HOST_HAS_VFP
	beq	1f
	vmrs	r2, fpexc
	ldr	r3, [r1, #CTX_VFP]
	str	r2, [r0, #HOST_VFP]
	teq	r2, r3
	movne	r2, #VFP_FPEXC
	vmsrne	fpexc, r3
	strbne	r2, [r0, #HOST_VFP_STATE]
1:
	@ The guest's traps, its translation and its timer.
	add	r12, r1, #CTX_HCR
	ldmia	r12, {r2 - r9}			@ to CTX_CNTVOFF
	mcrr	p15, 6, r6, r7, c2		@ VTTBR
	mcr	p15, 4, r2, c1, c1, 0		@ HCR
	mcr	p15, 4, r3, c1, c1, 3		@ HSTR
	mcr	p15, 4, r4, c1, c1, 2		@ HCPTR
	mrc	p15, 4, r10, c1, c1, 1		@ HDCR: HPMN stays
	and	r10, r10, #0x1f
	orr	r10, r10, r5
	mcr	p15, 4, r10, c1, c1, 1
	mcrr	p15, 4, r8, r9, c14		@ CNTVOFF
	ldr	r2, [r1, #CTX_CNTV_CTL]		@ the timer is on with its offset only
	mcr	p15, 0, r2, c14, c3, 1		@ CNTV_CTL
	mov	r2, #CNTHCTL_GUEST
	mcr	p15, 4, r2, c14, c1, 0		@ CNTHCTL
	ldr	r2, [r1, #CTX_CP15]		@ the guest's MPIDR
	mcr	p15, 4, r2, c0, c0, 5		@ VMPIDR
	ldr	r2, [r0, #HOST_GUEST_VECTORS]
	mcr	p15, 4, r2, c12, c0, 0		@ HVBAR
	load_guest_cp15
	load_guest_banked
	/*
	 * No exclusive access of the host's must let one of the guest's
	 * succeed (A3.4.5). Not by clrex: Cortex-A15 erratum 830321.
	 */
	add	r12, r0, #HOST_FAULT		@ its contents are not used now
	strex	r2, r3, [r12]
	mov	sp, r1
	ldmia	sp, {r0 - r12}
	eret
	.ltorg

/* --- Out of the guest ------------------------------------------------------ */

	.balign	32
ENTRY(__hyp_guest_vectors)
	b	hyp_fault_reset
	b	hyp_fault_undefined
	b	hyp_fault_svc
	b	hyp_fault_prefetch
	b	hyp_fault_data
	b	guest_trap
	b	guest_irq
	b	guest_fiq
ENDPROC(__hyp_guest_vectors)

/*
 * The same for cores on which a guest could train the branch predictor for
 * the host (Spectre variant 2): it is emptied first. No indirect branch comes
 * before. Which operation does that is a fact of the core
 * (src/machine/core.rs).
 */
.macro	flushing_vectors name, crm, opc2
	.balign	32
ENTRY(\name)
	b	hyp_fault_reset
	b	hyp_fault_undefined
	b	hyp_fault_svc
	b	hyp_fault_prefetch
	b	hyp_fault_data
	b	1f
	b	2f
	mcr	p15, 0, r0, c7, \crm, \opc2	@ FIQ falls through
	isb
	b	guest_fiq
1:	mcr	p15, 0, r0, c7, \crm, \opc2
	isb
	b	guest_trap
2:	mcr	p15, 0, r0, c7, \crm, \opc2
	isb
	b	guest_irq
ENDPROC(\name)
.endm

	flushing_vectors __hyp_guest_vectors_iciallu, c5, 0	@ ICIALLU
	flushing_vectors __hyp_guest_vectors_bpiall, c5, 6	@ BPIALL

guest_irq:
	stmia	sp, {r0 - r12}
	ldr	r2, [sp, #CTX_RELAY]
	cmp	r2, #0
	bne	guest_timer
guest_irq_exit:
	mov	r0, #EXIT_INTERRUPT
	b	guest_exit

/*
 * The interrupt may be the guest's timer, and a list register is kept for it.
 * The physical interrupt becomes active without an acknowledge, so no other one
 * can be acknowledged in its place. It is not signalled again until the guest
 * deactivates the virtual one (IHI 0048B 4.3.9, 5.2.3). If another interrupt is
 * pending, too, it interrupts at once.
 */
guest_timer:					@ r2: the list register's value
	mrc	p15, 0, r3, c14, c3, 1		@ CNTV_CTL
	and	r3, r3, #CNTV_CTL_MASK
	cmp	r3, #CNTV_CTL_FIRES
	bne	guest_irq_exit
	add	r4, sp, #CTX_RELAY + 4
	ldmia	r4, {r5 - r8}			@ to CTX_RELAYED
	ldr	r9, [r5]			@ GICH_LRn
	tst	r9, #GICH_LR_STATE
	bne	guest_irq_exit			@ it has one still
	add	r8, r8, #1
	str	r7, [r6]			@ GICD_ISACTIVER0
	str	r2, [r5]
	str	r8, [sp, #CTX_RELAYED]
	ldr	r9, [r6]			@ so that it has come into effect
	dsb	sy
	ldmia	sp, {r0 - r12}
	eret

guest_fiq:
	stmia	sp, {r0 - r12}
	b	guest_irq_exit

guest_trap:
	stmia	sp, {r0 - r12}
	mrc	p15, 4, r1, c5, c2, 0		@ HSR
	cmp	r1, #HSR_CALL
	beq	guest_call
	lsr	r2, r1, #HSR_EC_SHIFT
	cmp	r2, #HSR_EC_CP15
	beq	guest_register
	cmp	r2, #HSR_EC_CP_0_13
	beq	guest_vfp
	cmp	r2, #HSR_EC_DABT
	beq	guest_data_abort
guest_trap_exit:
	str	r1, [sp, #CTX_HSR]
	mov	r0, #EXIT_TRAP
	and	r3, r2, #HSR_EC_ABORTS		@ these have an address
	cmp	r3, #HSR_EC_IABT
	bne	guest_exit

	@ An abort at stage 2: find the IPA now, in the guest's translation.
	mrc	p15, 4, r3, c6, c0, 0		@ HDFAR
	mrc	p15, 4, r4, c6, c0, 2		@ HIFAR
	str	r3, [sp, #CTX_HDFAR]
	str	r4, [sp, #CTX_HIFAR]
	/*
	 * HPFAR is not valid for a permission fault, unless a walk of stage 1
	 * met it: translate the address again. If the guest has changed its
	 * tables since, that fails, and the guest runs again.
	 */
	and	r5, r1, #HSR_FSC_TYPE
	cmp	r5, #HSR_FSC_PERMISSION
	tsteq	r1, #HSR_S1PTW
	bne	1f
	cmp	r2, #HSR_EC_IABT
	moveq	r3, r4
	mrrc	p15, 0, r6, r7, c7		@ the guest's own PAR
	mcr	p15, 0, r3, c7, c8, 0		@ ATS1CPR
	isb
	mrrc	p15, 0, r8, r9, c7		@ PAR
	mcrr	p15, 0, r6, r7, c7
	tst	r8, #1				@ PAR.F
	beq	3f
	/*
	 * The host may have taken a page of its tables, or cleared the
	 * access flag of one. The guest has to walk them again to fault
	 * on that.
	 */
	mcr	p15, 0, r0, c8, c7, 0		@ TLBIALL
	dsb	nsh
	mov	r0, #EXIT_RETRY
	b	guest_exit
3:	mov	r5, r8, lsr #12
	and	r9, r9, #0xff
	orr	r5, r5, r9, lsl #20
	b	2f
1:	mrc	p15, 4, r5, c6, c0, 4		@ HPFAR
	mov	r5, r5, lsr #4
2:	str	r5, [sp, #CTX_FIPA_PAGE]

/*
 * r0: why. SP: the VcpuContext, with r0 to r12 saved in it. Saves the guest
 * and falls into the host's return.
 */
guest_exit:
	mov	r1, sp
	mrc	p15, 4, r2, c1, c1, 0		@ HCR: VA goes when the guest takes it
	str	r2, [r1, #CTX_HCR]
	mrc	p15, 0, r2, c14, c3, 1		@ CNTV_CTL
	str	r2, [r1, #CTX_CNTV_CTL]
	save_guest_banked
	/*
	 * An access of the guest may still end in an asynchronous abort. It
	 * must not hit the host.
	 */
	dsb	sy
	mrc	p15, 0, r2, c12, c1, 0		@ ISR
	tst	r2, #ISR_A
	bne	guest_drain
guest_drained:
	save_guest_cp15

/* r0: what to return. r1: the VcpuContext, or 0 if the guest is lost. */
host_return:
	mov	r11, r0
	mrc	p15, 4, r0, c13, c0, 2		@ HTPIDR
	mov	r2, #0
	mcr	p15, 4, r2, c1, c1, 0		@ HCR: stage 2 and traps off
	mcrr	p15, 6, r2, r2, c2		@ VTTBR
	mcr	p15, 4, r2, c1, c1, 3		@ HSTR
	mcr	p15, 4, r2, c1, c1, 2		@ HCPTR
	mrc	p15, 4, r3, c1, c1, 1		@ HDCR: HPMN stays
	and	r3, r3, #0x1f
	mcr	p15, 4, r3, c1, c1, 1
	mcr	p15, 0, r2, c14, c3, 1		@ CNTV_CTL
	mcrr	p15, 4, r2, r2, c14		@ CNTVOFF
	mov	r3, #CNTHCTL_HOST
	mcr	p15, 4, r3, c14, c1, 0		@ CNTHCTL
	ldr	r3, [r0, #HOST_MPIDR]
	mcr	p15, 4, r3, c0, c0, 5		@ VMPIDR
	ldr	r3, =__hyp_host_vectors
	mcr	p15, 4, r3, c12, c0, 0		@ HVBAR
	/*
	 * A core with the multiprocessing extensions has no FCSE, and FCSEIDR
	 * reads as zero and ignores writes (B4.1.60). An emulated one may have
	 * it all the same, and add it to the low addresses of whoever runs.
	 */
	mcr	p15, 0, r2, c13, c0, 0		@ FCSEIDR
	ldr	r3, [r0, #HOST_LAZY]
	cmp	r3, #0
	bne	host_lazy
host_lazy_done:
	add	sp, r0, #HOST_STACK_TOP
	str	r2, [r0, #HOST_CTX]
	ldr	r3, [r0, #HOST_ELR]
	ldr	r4, [r0, #HOST_SPSR]
	msr	ELR_hyp, r3
	msr	SPSR_cxsf, r4
	push	{r11}
	load_host_banked
	load_host_cp15
	pop	{r0}
	eret

/* Out of line: the VFP, or FPEXC alone, or DBGDSCR is the guest's. HCPTR is clear already. */
host_lazy:
	tst	r3, #0xff00			@ HOST_DEBUG_STATE
	beq	1f
	strb	r2, [r0, #HOST_DEBUG_STATE]
	mrc	p14, 0, r5, c0, c2, 2		@ DBGDSCRext: MOE is new
	cmp	r1, #0
	strne	r5, [r1, #CTX_DSCR]
	bic	r5, r5, #DSCR_MDBGEN
	mcr	p14, 0, r5, c0, c2, 2
1:	ands	r3, r3, #0xff			@ HOST_VFP_STATE
	beq	host_lazy_done
	isb
	cmp	r3, #VFP_GUEST
	ldrne	r6, [r0, #HOST_VFP]
	vmsrne	fpexc, r6
	bne	host_lazy_done
	ldr	r5, [r0, #HOST_FLAGS]
	vmrs	r6, fpexc
	enable_vfp r6, r7
	cmp	r1, #0
	beq	1f
	add	r12, r1, #CTX_VFP
	save_vfp r12, r5, r6, r7
1:	add	r12, r0, #HOST_VFP
	load_vfp r12, r5, r6, r7
	b	host_lazy_done

/*
 * Out of line: an asynchronous abort is pending, and HCR.AMO routes it to HYP
 * mode. It is taken here, where hyp_fault_data expects it, and becomes a virtual
 * one of the guest. r1 and SP: the VcpuContext; r0 is kept.
 */
guest_drain:
	mrc	p15, 4, r12, c13, c0, 2		@ HTPIDR
	mov	r2, #1
	str	r2, [r12, #HOST_DRAINS]
	cpsie	a
	isb
	cpsid	a
	@ The abort was gone before it could be taken.
	mov	r2, #0
	str	r2, [r12, #HOST_DRAINS]
	b	guest_drained

guest_aborted:					@ r12: HypCpu
	mov	r2, #0
	str	r2, [r12, #HOST_DRAINS]
	add	r12, r12, #HOST_FAULT
	ldmia	r12, {r0, r1}
	mov	sp, r1
	ldr	r2, [r1, #CTX_HCR]
	orr	r2, r2, #HCR_VA
	str	r2, [r1, #CTX_HCR]
	b	guest_drained
	.ltorg

/*
 * A trap that Rust may be able to answer in HYP mode. r0 to r12 are saved, and
 * r1 is HSR. Most traps of a guest that end here are answered.
 */
.macro	save_place				@ r1: HSR; clobbers r6, r7
	str	r1, [sp, #CTX_HSR]
	mrs	r6, ELR_hyp
	mrs	r7, SPSR
	strd	r6, r7, [sp, #CTX_PC]		@ with CTX_CPSR
.endm

/*
 * Calls a function, which may be Thumb code, on the stack of the host's CPU. LR
 * is the guest's LR_usr.
 */
.macro	ask function
	ldr	r12, =\function
	mov	r4, sp
	mov	r5, lr
	mov	r0, sp
	mrc	p15, 4, r3, c13, c0, 2		@ HTPIDR
	add	sp, r3, #HOST_STACK_TOP
	blx	r12
	mov	sp, r4
	mov	lr, r5
.endm

/*
 * Out of line: an access to the distributor or to GICC_DIR goes to Rust, too. HPFAR is not valid
 * for a permission fault (B3.13.6), and Rust looks at the kind of the fault.
 */
guest_data_abort:
	add	r3, sp, #CTX_DIST_PAGE
	ldm	r3, {r3, r4}			@ with that of GICC_DIR
	mrc	p15, 4, r5, c6, c0, 4		@ HPFAR
	cmp	r3, r5, lsr #4
	cmpne	r4, r5, lsr #4
	bne	guest_trap_exit
	lsr	r5, r5, #4
	mrc	p15, 4, r3, c6, c0, 0		@ HDFAR
	str	r5, [sp, #CTX_FIPA_PAGE]
	str	r3, [sp, #CTX_HDFAR]
	str	lr, [sp, #CTX_LR_USR]
	save_place
	ask	kvm_arm_hyp_distributor
	b	guest_answered

guest_register:
	save_place
	ask	kvm_arm_hyp_register
guest_answered:
	ldrd	r6, r7, [sp, #CTX_PC]		@ as they were, if it has declined
	msr	ELR_hyp, r6
	msr	SPSR_cxsf, r7
	cmp	r0, #ANSWER_DONE
	bne	1f
	ldmia	sp, {r0 - r12}
	eret
1:	cmp	r0, #ANSWER_LEAVE
	beq	guest_irq_exit
	b	guest_declined

/* HVC with an immediate of zero: the preferred return address is behind it. */
guest_call:
	ask	kvm_arm_hyp_call
	cmp	r0, #ANSWER_DONE
	bne	guest_declined
	ldmia	sp, {r0 - r12}
	eret
guest_declined:
	mrc	p15, 4, r1, c5, c2, 0		@ HSR
	lsr	r2, r1, #HSR_EC_SHIFT
	b	guest_trap_exit
	.ltorg

/*
 * The guest's first use of the VFP since it was entered: give it the unit
 * and run the instruction again. r0 to r12 are saved; r1: HSR, r2: EC.
 */
guest_vfp:
	mrc	p15, 4, r0, c13, c0, 2		@ HTPIDR
	ldr	r5, [r0, #HOST_FLAGS]
	tst	r5, #HOST_HAS_VFP
	beq	guest_trap_exit			@ no VFP: undefined for the guest
	and	r3, r1, #0xf			@ the coprocessor, or 0 for NEON
	cmp	r3, #0
	cmpne	r3, #10
	cmpne	r3, #11
	bne	guest_trap_exit			@ CP14's trace registers and others
	mrc	p15, 4, r3, c1, c1, 2		@ HCPTR
	bic	r3, r3, #HCPTR_TCP10_11
	mcr	p15, 4, r3, c1, c1, 2
	isb
	mov	r3, #VFP_GUEST
	strb	r3, [r0, #HOST_VFP_STATE]
	add	r12, r0, #HOST_VFP
	ldr	r6, [r12]			@ as guest_enter found it
	enable_vfp r6, r7
	save_vfp r12, r5, r6, r7
	add	r12, sp, #CTX_VFP
	load_vfp r12, r5, r6, r7
	ldmia	sp, {r0 - r12}
	eret

/* --- Faults inside HYP mode -------------------------------------------------- */
/*
 * A bug of ours, or broken memory. SP is given up to reach the HypCpu, which
 * keeps the registers for the host to print. The host's world is put back if a
 * guest's was loaded, and the function that was called returns EXIT_HYP_FAULT
 * with the vector's number in the second byte.
 */
.macro	hyp_fault_entry name, number
\name:
	mrc	p15, 4, sp, c13, c0, 2		@ HTPIDR
	add	sp, sp, #HOST_FAULT
	stmia	sp, {r0 - r12}
	mov	r0, #(\number << 8)
	b	hyp_fault
.endm

	hyp_fault_entry hyp_fault_reset, 0
	hyp_fault_entry hyp_fault_undefined, 1
	hyp_fault_entry hyp_fault_svc, 2
	hyp_fault_entry hyp_fault_prefetch, 3
	hyp_fault_entry hyp_fault_data_abort, 4
	hyp_fault_entry hyp_fault_irq, 6
	hyp_fault_entry hyp_fault_fiq, 7

hyp_fault_data:
	mrc	p15, 4, sp, c13, c0, 2		@ HTPIDR
	add	sp, sp, #HOST_FAULT
	stmia	sp, {r0 - r12}
	sub	r12, sp, #HOST_FAULT
	ldr	r0, [r12, #HOST_DRAINS]
	cmp	r0, #0
	bne	guest_aborted
	ldmia	sp, {r0 - r12}
	b	hyp_fault_data_abort

hyp_fault:
	orr	r0, r0, #EXIT_HYP_FAULT
	mov	r2, lr
	mrs	r3, ELR_hyp
	mrs	r4, SPSR
	mrc	p15, 4, r5, c5, c2, 0		@ HSR
	mrc	p15, 4, r6, c6, c0, 0		@ HDFAR
	mrc	p15, 4, r7, c6, c0, 2		@ HIFAR
	mrc	p15, 4, r8, c6, c0, 4		@ HPFAR
	add	r12, sp, #(13 * 4)
	stmia	r12, {r2 - r8}
	mrc	p15, 4, r12, c13, c0, 2		@ HTPIDR
	ldr	r2, [r12, #HOST_CTX]
	mov	r1, #0				@ the context may be out of reach
	cmp	r2, #0
	bne	host_return			@ a guest's world is loaded
	add	sp, r12, #HOST_STACK_TOP
	ldr	r3, [r12, #HOST_ELR]
	ldr	r4, [r12, #HOST_SPSR]
	msr	ELR_hyp, r3
	msr	SPSR_cxsf, r4
	eret
