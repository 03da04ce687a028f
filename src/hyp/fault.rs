// SPDX-License-Identifier: GPL-2.0

//! The report of a fault inside HYP mode: a bug of this module, or broken memory.

use armv7::cp15::Cp15Reg;
use kernel::{
    fmt,
    prelude::*, //
};

use super::{
    context::{
        Banked,
        CoreRegisters,
        VcpuContext, //
    },
    cpu::{
        HypCpu,
        HypFault,
        Numbered, //
    },
    takeover::Lowvisor,
};
use crate::glue::{
    cpu::IrqsOff,
    image::is_own_text,
    log, //
};

/// The most return addresses of HYP mode's stack that are shown.
const MOST_FRAMES: usize = 16;

/// The exception by which HYP mode faulted, in words.
struct Cause<'a> {
    vector: u8,
    fault: &'a HypFault,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vector {
            1 => f.write_str("undefined instruction"),
            // These have a syndrome (B3.13.6).
            2..=4 => write!(f, "{}", self.fault.hsr()),
            6 => f.write_str("IRQ"),
            7 => f.write_str("FIQ"),
            _ => f.write_str("reset"),
        }
    }
}

/// A guest's registers of the modes of exceptions.
struct Banks<'a>(&'a CoreRegisters);

impl fmt::Display for Banks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CoreRegisters {
            svc,
            abt,
            und,
            irq,
            fiq,
            ..
        } = self.0;
        for (mode, Banked { sp, lr, spsr }) in [
            ("svc", svc),
            ("abt", abt),
            ("und", und),
            ("irq", irq),
            ("fiq", &fiq.banked),
        ] {
            write!(
                f,
                " sp_{mode} {sp:#010x} lr_{mode} {lr:#010x} spsr_{mode} {spsr:#010x}"
            )?;
        }
        for (n, value) in (8..).zip(&fiq.r8_12) {
            write!(f, " r{n}_fiq {value:#010x}")?;
        }
        Ok(())
    }
}

/// A guest's registers of CP15, and those of HYP mode that control it.
struct SystemRegisters<'a>(&'a VcpuContext);

impl fmt::Display for SystemRegisters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = &self.0.control;
        let [low, high] = control.vttbr;
        write!(
            f,
            " HCR {:#010x} HSTR {:#010x} HCPTR {:#010x} HDCR {:#010x} VTTBR {high:#010x}{low:08x}",
            control.hcr, control.hstr, control.hcptr, control.hdcr
        )?;
        for (register, value) in Cp15Reg::ALL.iter().zip(&self.0.cp15) {
            write!(f, " {register:?} {value:#010x}")?;
        }
        Ok(())
    }
}

impl Lowvisor {
    /// Reports the last fault inside HYP mode on this CPU, which has just returned: the registers
    /// of both worlds, and the ways to the fault in both halves. `what` begins the first line.
    // Not cold: the kernel does not know the unwind tables of `.text.unlikely` in a module of Rust.
    #[inline(never)]
    pub(crate) fn report_fault(
        &self,
        irqs: &IrqsOff,
        what: fmt::Arguments<'_>,
        vector: u8,
        guest: Option<&VcpuContext>,
    ) {
        let Some(cpu) = self.hyp_cpu(irqs) else {
            return;
        };
        let HypCpu { fault, .. } = cpu;
        pr_err!(
            "{what} on CPU {}: {}: please report this with the lines below\n",
            irqs.cpu(),
            Cause { vector, fault }
        );
        log::symbol(c"HYP mode was at", fault.pc());
        if is_own_text(fault.lr()) {
            log::symbol(c"HYP mode: lr is", fault.lr());
        }
        // A word that was left by an earlier call can be among them.
        let frames = cpu.stack().filter(|&word| is_own_text(word));
        for word in frames.take(MOST_FRAMES) {
            log::symbol(c"HYP mode: on its stack is", word);
        }
        pr_err!("HYP mode: {fault}\n");
        let (pc, cpsr) = cpu.host_pc();
        pr_err!("host: pc {pc:#010x} cpsr {cpsr:#010x}{}\n", cpu.host());
        pr_err!("host:{}\n", cpu.host_cp15());
        // The guest's registers that were in the hardware are gone.
        if let Some(guest) = guest {
            let core = &guest.core;
            pr_err!(
                "guest, at its last exit: pc {:#010x} cpsr {:#010x}{}\n",
                core.pc,
                core.cpsr,
                Numbered(&core.r)
            );
            pr_err!("guest:{}\n", Banks(core));
            pr_err!("guest:{}\n", SystemRegisters(guest));
        }
        log::symbol(c"host: HYP mode was called by", pc);
        log::backtrace();
    }
}
