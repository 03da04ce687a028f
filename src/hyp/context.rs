// SPDX-License-Identifier: GPL-2.0

//! One guest CPU's registers, as the world switch keeps them.

use armv7::{
    cp15::Cp15Reg,
    exception::CoreRegs,
    hsr::{
        ExceptionClass,
        FaultStatus,
        Hsr, //
    },
    insn,
    policy,
    psr::Mode,
    regs::{
        Hcr,
        ISR_A, //
    },
    trap::{
        self,
        Abort,
        FaultAddresses,
        Trap, //
    }, //
};
use kvm_bindings as layout;
use machine::{
    cp14::dscr,
    vgic::CpuInterface, //
};
use memoffset::offset_of;
use static_assertions::{
    const_assert,
    const_assert_eq, //
};

use super::{
    answer::{
        Answered,
        Answers, //
    },
    distributor::GicAccess,
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
    /// `ORIG_r0` of `struct pt_regs`, which has no meaning here.
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

impl Control {
    /// The VMID in VTTBR (B4.1.160).
    #[inline]
    pub(crate) fn vmid(&self) -> u8 {
        (self.vttbr[1] >> 16) as u8
    }

    /// Sets VTTBR.
    pub(crate) fn set_vttbr(&mut self, value: u64) {
        self.vttbr = [value as u32, (value >> 32) as u32];
    }
}

/// The syndrome of a trap, and the addresses of an abort.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) hsr: u32,
    pub(crate) hdfar: u32,
    pub(crate) hifar: u32,
    /// `IPA[39:12]` of an abort.
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
    /// DBGDSCR of the guest while it runs with debug registers in the hardware. An exit leaves MOE
    /// here.
    pub(crate) dscr: u32,
    pub(crate) vfp: Vfp,
    pub(crate) answers: Answers,
    pub(crate) answered: Answered,
    pub(crate) relay: Relay,
    /// How often the interrupt of `relay` was given to the guest. The highvisor takes this count at
    /// each exit.
    pub(crate) relayed: u32,
    /// The virtual CPU interface. While the guest runs, its registers are in the hardware, and here
    /// is what they were loaded with.
    pub(crate) interface: CpuInterface,
    pub(crate) gic: GicAccess,
    /// The vCPUs that HYP mode has given an interrupt and that have left the guest before its kick.
    /// The highvisor wakes them.
    pub(crate) missed: u32,
    /// CNTV_CTL of the guest. The timer is on only while the guest runs, as the counter has the
    /// guest's offset only then. An exit switches it off and leaves its value here, with ISTATUS.
    pub(crate) cntv_ctl: u32,
}

/// Asserts that the fields of a struct that the assembly knows lie where it expects them.
///
/// All fields have to be there: one that is left out does not compile.
macro_rules! assert_layout {
    ($type:ident at $base:expr, ends at $end:expr; $($field:ident: $offset:expr,)*) => {
        // A pattern without `..` names all fields.
        const _: fn(&$type) = |$type { $($field: _),* }| ();
        $(
            static_assertions::const_assert_eq!(
                $base as usize + memoffset::offset_of!($type, $field),
                $offset as usize
            );
        )*
        static_assertions::const_assert_eq!(
            $base as usize + core::mem::size_of::<$type>(),
            $end as usize
        );
    };
}

pub(super) use assert_layout;

assert_layout!(VcpuContext at 0, ends at layout::CTX_SIZE;
    core: layout::CTX_R0,
    cp15: layout::CTX_CP15,
    control: layout::CTX_HCR,
    fault: layout::CTX_HSR,
    thumbee: layout::CTX_TEECR,
    dscr: layout::CTX_DSCR,
    vfp: layout::CTX_VFP,
    answers: layout::CTX_ANSWERS,
    answered: layout::CTX_ANSWERED,
    relay: layout::CTX_RELAY,
    relayed: layout::CTX_RELAYED,
    interface: layout::CTX_INTERFACE,
    gic: layout::CTX_DIST_PAGE,
    missed: layout::CTX_MISSED,
    cntv_ctl: layout::CTX_CNTV_CTL,
);
assert_layout!(CoreRegisters at layout::CTX_R0, ends at layout::CTX_CP15;
    r: layout::CTX_R0,
    pc: layout::CTX_PC,
    cpsr: layout::CTX_CPSR,
    orig_r0: layout::CTX_ORIG_R0,
    svc: layout::CTX_SVC,
    abt: layout::CTX_ABT,
    und: layout::CTX_UND,
    irq: layout::CTX_IRQ,
    fiq: layout::CTX_FIQ,
);
assert_layout!(Banked at 0, ends at 12;
    sp: 0,
    lr: 4,
    spsr: 8,
);
assert_layout!(BankedFiq at 0, ends at 32;
    r8_12: 0,
    banked: 20,
);
assert_layout!(Control at layout::CTX_HCR, ends at layout::CTX_HSR;
    hcr: layout::CTX_HCR,
    hstr: layout::CTX_HSTR,
    hcptr: layout::CTX_HCPTR,
    hdcr: layout::CTX_HDCR,
    vttbr: layout::CTX_VTTBR,
    cntvoff: layout::CTX_CNTVOFF,
);
assert_layout!(Fault at layout::CTX_HSR, ends at layout::CTX_TEECR;
    hsr: layout::CTX_HSR,
    hdfar: layout::CTX_HDFAR,
    hifar: layout::CTX_HIFAR,
    ipa_page: layout::CTX_FIPA_PAGE,
);
assert_layout!(Vfp at layout::CTX_VFP, ends at layout::CTX_ANSWERS;
    fpexc: layout::CTX_VFP,
    fpscr: layout::CTX_VFP + 4,
    d: layout::CTX_VFP + 8,
);
const_assert_eq!(Cp15Reg::COUNT, layout::CTX_CP15_COUNT as usize);

// The world switch sets the values of the policy.
const_assert_eq!(policy::CNTHCTL_GUEST, layout::CNTHCTL_GUEST);
const_assert_eq!(policy::CNTHCTL_HOST, layout::CNTHCTL_HOST);
const_assert_eq!(
    policy::HCPTR_GUEST.bits() & !policy::HCPTR_GUEST_VFP.bits(),
    layout::HCPTR_TCP10_11
);
const_assert_eq!(Hcr::VA.bits(), layout::HCR_VA);
const_assert_eq!(ISR_A, layout::ISR_A);
const_assert_eq!(dscr::MDBGEN, layout::DSCR_MDBGEN);
const_assert_eq!(dscr::MDBGEN, 1 << layout::DSCR_MDBGEN_BIT);

// The fields of HSR that it looks at are where the decoder finds them.
const_assert_eq!(Hsr::CALL.0, layout::HSR_CALL);
macro_rules! assert_class {
    ($ec:ident, $class:ident) => {
        const_assert_eq!(
            Hsr(layout::$ec << layout::HSR_EC_SHIFT).ec().bits(),
            ExceptionClass::$class.bits()
        );
    };
}
assert_class!(HSR_EC_CP15, Cp15);
assert_class!(HSR_EC_CP_0_13, Coprocessor);
assert_class!(HSR_EC_IABT, PrefetchAbort);
assert_class!(HSR_EC_DABT, DataAbort);
// It takes these classes for aborts, and no others that there are but the breakpoint beside the
// watchpoint.
const_assert_eq!(
    layout::HSR_EC_DABT & layout::HSR_EC_ABORTS,
    layout::HSR_EC_IABT
);
const_assert_eq!(
    ExceptionClass::Watchpoint.bits() & layout::HSR_EC_ABORTS,
    layout::HSR_EC_IABT
);
const_assert_eq!(
    !layout::HSR_EC_ABORTS & 0x3f,
    (ExceptionClass::Watchpoint.bits() ^ layout::HSR_EC_IABT)
);
const_assert!(Hsr(layout::HSR_S1PTW).abort().is_of_walk());
const_assert!(!Hsr(!layout::HSR_S1PTW).abort().is_of_walk());
const_assert!(matches!(
    Hsr(layout::HSR_FSC_PERMISSION).abort().status(),
    FaultStatus::Permission(_)
));
const_assert!(matches!(
    Hsr(layout::HSR_FSC_PERMISSION | !layout::HSR_FSC_TYPE)
        .abort()
        .status(),
    FaultStatus::Permission(_)
));

// CSSELR and SCTLR come first behind MPIDR, ACTLR is skipped, and what is behind AMAIR1 is not in
// registers.
const_assert_eq!(Cp15Reg::Mpidr as usize, 0);
const_assert_eq!(Cp15Reg::Csselr as usize, 1);
const_assert_eq!(Cp15Reg::Sctlr as usize, 2);
const_assert_eq!(Cp15Reg::Actlr as usize, 3);
const_assert_eq!(Cp15Reg::Amair1 as usize, 28);

impl VcpuContext {
    /// Register `n` of the mode in the CPSR, as the current instruction sees it (B1.3.2).
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

    /// The word of `CoreRegisters` that is register `n`, below 15, in the mode of the CPSR.
    #[inline]
    fn banked_word(&self, n: usize) -> usize {
        // No mode banks these.
        if n < 8 {
            n
        } else {
            self.upper_word(n)
        }
    }

    #[inline(never)]
    fn upper_word(&self, n: usize) -> usize {
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

impl VcpuContext {
    #[inline(always)]
    fn fault_addresses(&self) -> FaultAddresses {
        FaultAddresses {
            data: self.fault.hdfar,
            fetch: self.fault.hifar,
            ipa_page: self.fault.ipa_page,
        }
    }

    /// The last trap, if it is one of [`trap::unmapped_access`].
    #[inline]
    pub(crate) fn unmapped_access(&self) -> Option<Abort> {
        trap::unmapped_access(Hsr(self.fault.hsr), &self.fault_addresses())
    }

    /// The last trap, decoded.
    // Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
    #[inline(always)]
    pub(crate) fn trap(&self) -> Trap {
        Trap::of(Hsr(self.fault.hsr), self.core.cpsr, &self.fault_addresses())
    }
}

impl insn::ModeRegisters for VcpuContext {
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
        // SAFETY: The struct is `repr(C)` and consists of `CORE_WORDS` words.
        unsafe { &*(&raw const *self).cast() }
    }

    /// The same, to be changed.
    pub(crate) fn words_mut(&mut self) -> &mut [u32; CORE_WORDS] {
        // SAFETY: The struct is `repr(C)` and consists of `CORE_WORDS` words, and each value of a
        // word is valid in it.
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
