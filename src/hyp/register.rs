// SPDX-License-Identifier: GPL-2.0

//! Registers and operations of this CPU's CP15 that SVC code may use, by their names in the Arm
//! ARM.

use core::arch::asm;

use machine::core::PredictorFlush;

use crate::glue::cpu::IrqsOff;

macro_rules! read32 {
    ($(#[$doc:meta])* $name:ident, $opc1:literal, $crn:literal, $crm:literal, $opc2:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> u32 {
            let value: u32;
            // SAFETY: Reads a register of this CPU; nothing else changes.
            unsafe {
                asm!(
                    concat!("mrc p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                    out(reg) value,
                    options(nomem, nostack, preserves_flags)
                )
            };
            value
        }
    };
}

macro_rules! read64 {
    ($(#[$doc:meta])* $name:ident, $opc1:literal, $crm:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> u64 {
            let (low, high): (u32, u32);
            // SAFETY: Reads a register of this CPU; nothing else changes.
            unsafe {
                asm!(
                    concat!("mrrc p15, ", $opc1, ", {}, {}, c", $crm),
                    out(reg) low,
                    out(reg) high,
                    options(nomem, nostack, preserves_flags)
                )
            };
            u64::from(high) << 32 | u64::from(low)
        }
    };
}

read32!(
    /// Main ID Register.
    midr, "0", "0", "0", "0"
);
read32!(
    /// Revision ID Register.
    revidr, "0", "0", "0", "6"
);
read32!(
    /// Multiprocessor Affinity Register.
    mpidr, "0", "0", "0", "5"
);
read32!(
    /// Processor Feature Register 1.
    id_pfr1, "0", "0", "1", "1"
);
read32!(
    /// Counter Frequency register.
    cntfrq, "0", "14", "0", "0"
);
read32!(
    /// Auxiliary Control Register.
    actlr, "0", "1", "0", "1"
);
read32!(
    /// L2 Control Register, which all cores of `machine::core` have.
    l2ctlr, "1", "9", "0", "2"
);
read32!(
    /// Performance Monitors User Enable Register.
    pmuserenr, "0", "9", "14", "0"
);
read64!(
    /// Virtual Timer CompareValue register.
    cntv_cval, "3", "14"
);

read64!(
    /// The physical counter, which the CPU may read earlier than the program says.
    early_cntpct, "0", "14"
);

/// The physical counter. It is not read before what precedes it in the program (B8.1.2).
#[inline]
pub(crate) fn cntpct() -> u64 {
    isb();
    early_cntpct()
}

/// Sets the Performance Monitors User Enable Register. The caller sets it back before interrupts
/// are on again.
#[inline]
pub(crate) fn set_pmuserenr(_irqs: &IrqsOff, value: u32) {
    // SAFETY: The register only says what user mode may do. No user code of the host runs while
    // interrupts are off.
    unsafe { asm!("mcr p15, 0, {}, c9, c14, 0", in(reg) value, options(nostack, preserves_flags)) };
}

/// Sets the virtual timer's control register. A host that was booted in HYP mode does not use this
/// timer.
#[inline]
pub(crate) fn set_cntv_ctl(_irqs: &IrqsOff, value: u32) {
    // SAFETY: The timer does nothing but raise its own interrupt, which is requested by this
    // module.
    unsafe { asm!("mcr p15, 0, {}, c14, c3, 1", in(reg) value, options(nostack, preserves_flags)) };
}

/// Sets the virtual timer's compare value.
#[inline]
pub(crate) fn set_cntv_cval(_irqs: &IrqsOff, value: u64) {
    // SAFETY: The timer does nothing but raise its own interrupt, which is requested by this
    // module.
    unsafe {
        asm!(
            "mcrr p15, 3, {}, {}, c14",
            in(reg) value as u32,
            in(reg) (value >> 32) as u32,
            options(nostack, preserves_flags)
        )
    };
}

/// An operation of CP15 on barriers, caches, TLBs and predictors, by its encoding: rustc's target
/// is ARMv6, whose assembler lacks the newer names.
macro_rules! operation {
    ($(#[$doc:meta])* $name:ident, $crn:literal, $crm:literal, $opc2:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() {
            // SAFETY: The operation changes no register and no contents of memory.
            unsafe {
                asm!(
                    concat!("mcr p15, 0, {}, c", $crn, ", c", $crm, ", ", $opc2),
                    in(reg) 0,
                    options(nostack, preserves_flags)
                )
            };
        }
    };
}

operation!(
    /// Instruction synchronisation barrier.
    isb, "7", "5", "4"
);
operation!(
    /// Data memory barrier.
    dmb, "7", "10", "5"
);
operation!(
    /// Data synchronisation barrier, full system.
    dsb, "7", "10", "4"
);
operation!(
    /// Invalidates all instruction caches of the Inner Shareable domain.
    icialluis, "7", "1", "0"
);
operation!(
    /// Invalidates the entry of an address and an ASID, both 0, in the TLBs of the Inner Shareable
    /// domain.
    tlbimvais, "8", "3", "1"
);
operation!(
    /// Invalidates all branch predictors of the Inner Shareable domain.
    bpiallis, "7", "1", "6"
);

/// Invalidates the entry of address 0 and ASID 0, which does not matter, in the TLBs of the
/// Inner Shareable domain, and waits: for [`machine::errata::TlbRepair`].
#[inline]
pub(crate) fn invalidate_tlb_of_nothing() {
    tlbimvais();
    dsb();
}

/// Invalidates all instruction caches of the Inner Shareable domain, and waits.
#[inline]
pub(crate) fn invalidate_icache() {
    icialluis();
    dsb();
    isb();
}

/// Empties the branch predictors of the Inner Shareable domain, and waits: what a guest has trained
/// steers nobody else.
#[inline]
pub(crate) fn flush_predictors(how: PredictorFlush) {
    match how {
        PredictorFlush::NotNeeded => (),
        PredictorFlush::Iciallu => invalidate_icache(),
        PredictorFlush::Bpiall => {
            bpiallis();
            dsb();
            isb();
        }
    }
}
