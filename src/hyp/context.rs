// SPDX-License-Identifier: GPL-2.0

//! One guest CPU's registers, as the world switch keeps them.

use armv7::{
    cp15::Cp15Reg,
    exception::CoreRegs,
    insn,
    policy,
    psr::Mode,
    regs::Hcr, //
};
use kvm_bindings as layout;
use memoffset::offset_of;
use static_assertions::const_assert_eq;

use super::{
    answer::{
        Answered,
        Answers, //
    },
    relay::Relay, //
};

/// Registers banked by an exception mode other than FIQ.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Banked {
    pub(crate) sp: u32,
    pub(crate) lr: u32,
    pub(crate) spsr: u32,
}

/// Registers banked by FIQ mode.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct BankedFiq {
    pub(crate) r8_12: [u32; 5],
    pub(crate) banked: Banked,
}

/// The core registers, in the order of `struct kvm_regs`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct CoreRegisters {
    /// R0 to R12, SP_usr, LR_usr.
    pub(crate) r: [u32; 15],
    pub(crate) pc: u32,
    pub(crate) cpsr: u32,
    /// `ORIG_r0` of `struct pt_regs`: has no meaning here.
    pub(crate) orig_r0: u32,
    pub(crate) svc: Banked,
    pub(crate) abt: Banked,
    pub(crate) und: Banked,
    pub(crate) irq: Banked,
    pub(crate) fiq: BankedFiq,
}

/// The number of words in [`CoreRegisters`].
pub(crate) const CORE_WORDS: usize = core::mem::size_of::<CoreRegisters>() / 4;

const_assert_eq!(
    core::mem::size_of::<CoreRegisters>(),
    core::mem::size_of::<layout::kvm_regs>()
);

/// VFP and NEON.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Vfp {
    pub(crate) fpexc: u32,
    pub(crate) fpscr: u32,
    pub(crate) d: [u64; 32],
}

/// The values of HYP mode's control registers while this vCPU runs.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Control {
    pub(crate) hcr: u32,
    pub(crate) hstr: u32,
    pub(crate) hcptr: u32,
    pub(crate) hdcr: u32,
    pub(crate) vttbr: [u32; 2],
    pub(crate) cntvoff: [u32; 2],
}

/// What an exit is about.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) hsr: u32,
    pub(crate) hdfar: u32,
    pub(crate) hifar: u32,
    /// IPA[39:12] of an abort.
    pub(crate) ipa_page: u32,
}

/// Everything of a guest CPU that `asm/interrupts.S` loads and saves.
///
/// # Invariants
///
/// The layout is that of `include/world_switch.h`, checked below.
#[repr(C)]
pub(crate) struct VcpuContext {
    pub(crate) core: CoreRegisters,
    pub(crate) cp15: [u32; Cp15Reg::COUNT],
    pub(crate) control: Control,
    pub(crate) fault: Fault,
    /// TEECR and TEEHBR: the ThumbEE registers of CP14.
    pub(crate) thumbee: [u32; 2],
    pub(crate) vfp: Vfp,
    pub(crate) answers: Answers,
    pub(crate) answered: Answered,
    pub(crate) relay: Relay,
    /// How often the interrupt of `relay` was given to the guest. The highvisor takes it at each
    /// exit.
    pub(crate) relayed: u32,
    /// CNTV_CTL: on while the guest runs, since only then the counter has its offset. At an exit
    /// it is switched off, and what it was is here, with ISTATUS.
    pub(crate) cntv_ctl: u32,
}

const_assert_eq!(offset_of!(CoreRegisters, pc), layout::CTX_PC as usize);
const_assert_eq!(offset_of!(CoreRegisters, cpsr), layout::CTX_CPSR as usize);
const_assert_eq!(offset_of!(CoreRegisters, svc), layout::CTX_SVC as usize);
const_assert_eq!(offset_of!(CoreRegisters, abt), layout::CTX_ABT as usize);
const_assert_eq!(offset_of!(CoreRegisters, und), layout::CTX_UND as usize);
const_assert_eq!(offset_of!(CoreRegisters, irq), layout::CTX_IRQ as usize);
const_assert_eq!(offset_of!(CoreRegisters, fiq), layout::CTX_FIQ as usize);
const_assert_eq!(offset_of!(VcpuContext, core), layout::CTX_R0 as usize);
const_assert_eq!(offset_of!(VcpuContext, cp15), layout::CTX_CP15 as usize);
const_assert_eq!(Cp15Reg::COUNT, layout::CTX_CP15_COUNT as usize);
const_assert_eq!(
    offset_of!(VcpuContext, control) + offset_of!(Control, hcr),
    layout::CTX_HCR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, control) + offset_of!(Control, hdcr),
    layout::CTX_HDCR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, control) + offset_of!(Control, vttbr),
    layout::CTX_VTTBR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, control) + offset_of!(Control, cntvoff),
    layout::CTX_CNTVOFF as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, fault) + offset_of!(Fault, hsr),
    layout::CTX_HSR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, fault) + offset_of!(Fault, ipa_page),
    layout::CTX_FIPA_PAGE as usize
);
const_assert_eq!(offset_of!(VcpuContext, thumbee), layout::CTX_TEECR as usize);
const_assert_eq!(offset_of!(VcpuContext, vfp), layout::CTX_VFP as usize);
const_assert_eq!(offset_of!(VcpuContext, relay), layout::CTX_RELAY as usize);
const_assert_eq!(
    offset_of!(VcpuContext, relayed),
    layout::CTX_RELAYED as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, cntv_ctl),
    layout::CTX_CNTV_CTL as usize
);
const_assert_eq!(
    core::mem::size_of::<VcpuContext>(),
    layout::CTX_SIZE as usize
);
// What the world switch sets is what the policy says.
const_assert_eq!(policy::CNTHCTL_GUEST, layout::CNTHCTL_GUEST);
const_assert_eq!(policy::CNTHCTL_HOST, layout::CNTHCTL_HOST);
const_assert_eq!(
    policy::HCPTR_GUEST.bits() & !policy::HCPTR_GUEST_VFP.bits(),
    layout::HCPTR_TCP10_11
);
const_assert_eq!(Hcr::VA.bits(), layout::HCR_VA);
// The world switch skips what these places hold.
const_assert_eq!(
    offset_of!(VcpuContext, cp15) + 4 * Cp15Reg::Sctlr as usize,
    layout::CTX_SCTLR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, cp15) + 4 * Cp15Reg::Ttbcr as usize,
    layout::CTX_TTBCR as usize
);
const_assert_eq!(
    offset_of!(VcpuContext, cp15) + 4 * Cp15Reg::Contextidr as usize,
    layout::CTX_CONTEXTIDR as usize
);
const_assert_eq!(Cp15Reg::Mpidr as usize, 0);
const_assert_eq!(Cp15Reg::Csselr as usize, 1);
const_assert_eq!(Cp15Reg::Actlr as usize, 3);
const_assert_eq!(Cp15Reg::Amair1 as usize, 28);

impl VcpuContext {
    /// Register `n` as the current instruction sees it in the mode of the CPSR (B1.3.2).
    pub(crate) fn reg(&self, n: usize) -> u32 {
        match n {
            15 => self.core.pc,
            _ => self.core.words()[self.banked_word(n.min(14))],
        }
    }

    /// Sets register `n`; R15 is not written.
    pub(crate) fn set_reg(&mut self, n: usize, value: u32) {
        if n < 15 {
            let word = self.banked_word(n);
            self.core.words_mut()[word] = value;
        }
    }

    /// The word of `CoreRegisters` that register `n`, below 15, is in the mode of the CPSR.
    fn banked_word(&self, n: usize) -> usize {
        let bank = match armv7::psr::Psr(self.core.cpsr).mode() {
            Some(Mode::Fiq) if n >= 8 => {
                return offset_of!(CoreRegisters, fiq) / 4 + (n - 8);
            }
            Some(Mode::Svc) => offset_of!(CoreRegisters, svc),
            Some(Mode::Abt) => offset_of!(CoreRegisters, abt),
            Some(Mode::Und) => offset_of!(CoreRegisters, und),
            Some(Mode::Irq) => offset_of!(CoreRegisters, irq),
            _ => return n,
        };
        // SP and LR are the first two words of a bank.
        if n >= 13 {
            bank / 4 + (n - 13)
        } else {
            n
        }
    }
}

impl insn::Registers for VcpuContext {
    fn get(&self, n: usize) -> u32 {
        self.reg(n)
    }

    fn set(&mut self, n: usize, value: u32) {
        self.set_reg(n, value);
    }

    fn pc(&self) -> u32 {
        self.core.pc
    }

    fn set_pc(&mut self, pc: u32) {
        self.core.pc = pc;
    }

    fn cpsr(&self) -> u32 {
        self.core.cpsr
    }

    fn set_cpsr(&mut self, cpsr: u32) {
        self.core.cpsr = cpsr;
    }
}

impl CoreRegisters {
    /// The registers as `struct kvm_regs` has them: word by word.
    pub(crate) fn words(&self) -> &[u32; CORE_WORDS] {
        // SAFETY: `repr(C)`, and made of `CORE_WORDS` words.
        unsafe { &*(&raw const *self).cast() }
    }

    /// The same, to be changed.
    pub(crate) fn words_mut(&mut self) -> &mut [u32; CORE_WORDS] {
        // SAFETY: As in `words`; every value of a word is valid.
        unsafe { &mut *(&raw mut *self).cast() }
    }
}

impl CoreRegs for VcpuContext {
    fn pc(&self) -> u32 {
        self.core.pc
    }

    fn set_pc(&mut self, pc: u32) {
        self.core.pc = pc;
    }

    fn cpsr(&self) -> u32 {
        self.core.cpsr
    }

    fn set_cpsr(&mut self, cpsr: u32) {
        self.core.cpsr = cpsr;
    }

    fn set_banked(&mut self, mode: Mode, lr: u32, spsr: u32) {
        let bank = match mode {
            Mode::Fiq => &mut self.core.fiq.banked,
            Mode::Irq => &mut self.core.irq,
            Mode::Svc => &mut self.core.svc,
            Mode::Abt => &mut self.core.abt,
            Mode::Und => &mut self.core.und,
            _ => return,
        };
        bank.lr = lr;
        bank.spsr = spsr;
    }

    fn cp15(&self, reg: Cp15Reg) -> u32 {
        self.cp15[reg as usize]
    }

    fn set_cp15(&mut self, reg: Cp15Reg, value: u32) {
        self.cp15[reg as usize] = value;
    }
}
