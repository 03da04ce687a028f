// SPDX-License-Identifier: GPL-2.0

//! One host CPU in HYP mode: its saved registers, its stack, and the registers at its last fault.

use armv7::hsr::Hsr;
use kernel::fmt;
use kvm_bindings as layout;

use super::{
    context::{
        assert_layout,
        VcpuContext,
        Vfp, //
    },
    page_table::Window, //
};

/// Registers at a fault inside HYP mode, in the order in which `hyp_fault` stores them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HypFault {
    r: [u32; 13],
    lr: u32,
    pc: u32,
    spsr: u32,
    hsr: u32,
    hdfar: u32,
    hifar: u32,
    hpfar: u32,
}

impl HypFault {
    /// The instruction that faulted.
    pub(super) fn pc(&self) -> u32 {
        self.pc
    }

    /// LR, which HYP mode shares with User mode: a return address of HYP mode's, or the guest's.
    pub(super) fn lr(&self) -> u32 {
        self.lr
    }

    /// The syndrome.
    pub(super) fn hsr(&self) -> Hsr {
        Hsr(self.hsr)
    }
}

impl fmt::Display for HypFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pc {:#010x} spsr {:#010x} hsr {:#010x} hdfar {:#010x} hifar {:#010x} hpfar {:#010x} \
             lr {:#010x}",
            self.pc, self.spsr, self.hsr, self.hdfar, self.hifar, self.hpfar, self.lr
        )?;
        fmt::Display::fmt(&Numbered(&self.r), f)
    }
}

/// The registers R0 to Rn, each behind a space.
pub(super) struct Numbered<'a>(pub(super) &'a [u32]);

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, value) in self.0.iter().enumerate() {
            write!(f, " r{n} {value:#010x}")?;
        }
        Ok(())
    }
}

/// The owners of the registers that are not always switched. All bytes are zero if the host owns
/// them.
#[repr(C)]
struct Lazy {
    /// Who has the VFP: a `VFP_` value.
    vfp_state: u8,
    /// DBGDSCR is the guest's.
    debug_state: u8,
    unused: [u8; 2],
}

/// The state that the lowvisor keeps for one host CPU. HTPIDR points to it, and the stack is its
/// upper end.
///
/// # Invariants
///
/// The layout is that of `include/world_switch.h`, checked below. While HYP mode is ours on the
/// CPU, only the assembly writes to it.
#[repr(C)]
pub(crate) struct HypCpu {
    /// The vCPU whose world is loaded, or null.
    context: *mut VcpuContext,
    elr: u32,
    spsr: u32,
    pub(super) stub_hvbar: u32,
    pub(super) stub_hsctlr: u32,
    pub(super) reset_pa: u32,
    pub(super) flags: u32,
    pub(super) mpidr: u32,
    pub(super) fault: HypFault,
    saved: [u32; 14],
    cp15: [u32; layout::HOST_CP15_COUNT as usize],
    /// HVBAR while a guest runs.
    pub(super) guest_vectors: u32,
    /// The registers that are switched only if a guest uses them.
    lazy: Lazy,
    /// The exit path is about to take an asynchronous abort of the guest, if one is pending.
    drains: u32,
    /// The place at which `HVC_FLUSH_RAM` maps a page, and that at which it maps a block.
    pub(super) page_window: Window,
    pub(super) block_window: Window,
    vfp: Vfp,
    stack: [u32; STACK_WORDS],
}

impl HypCpu {
    /// PC and CPSR of the host: where the last call of HYP mode returns to.
    pub(super) fn host_pc(&self) -> (u32, u32) {
        (self.elr, self.spsr)
    }

    /// The words of HYP mode's stack, the outermost first.
    pub(super) fn stack(&self) -> impl Iterator<Item = u32> + '_ {
        self.stack.iter().rev().copied()
    }

    /// The host's core registers, as the last call of HYP mode has saved them. Those that a
    /// function may change are not among them.
    pub(super) fn host(&self) -> impl fmt::Display + '_ {
        /// In the order of `HOST_SAVED`.
        const NAMES: [&str; 14] = [
            "sp_usr", "lr_usr", "sp_svc", "sp_abt", "sp_und", "sp_irq", "r8_fiq", "r9_fiq",
            "r10_fiq", "r11_fiq", "r12_fiq", "sp_fiq", "lr_fiq", "spsr_fiq",
        ];
        Named {
            names: &NAMES,
            values: &self.saved,
        }
    }

    /// The host's registers of CP15.
    pub(super) fn host_cp15(&self) -> impl fmt::Display + '_ {
        /// In the order of `save_host_cp15`.
        const NAMES: [&str; layout::HOST_CP15_COUNT as usize] = [
            "Csselr",
            "Sctlr",
            "Cpacr",
            "Ttbcr",
            "Dacr",
            "Ttbr0Lo",
            "Ttbr0Hi",
            "Ttbr1Lo",
            "Ttbr1Hi",
            "Prrr",
            "Nmrr",
            "Vbar",
            "Contextidr",
            "Tpidrurw",
            "Tpidruro",
            "Tpidrprw",
            "Cntkctl",
            "Amair0",
            "Amair1",
            "Teecr",
            "Teehbr",
        ];
        Named {
            names: &NAMES,
            values: &self.cp15,
        }
    }
}

/// Registers with their names, each behind a space.
struct Named<'a> {
    names: &'static [&'static str],
    values: &'a [u32],
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values) {
            write!(f, " {name} {value:#010x}")?;
        }
        Ok(())
    }
}

/// The rest of the page.
const STACK_WORDS: usize = (layout::HOST_STACK_TOP - layout::HOST_STACK) as usize / 4;

assert_layout!(HypCpu at 0, ends at layout::HOST_SIZE;
    context: layout::HOST_CTX,
    elr: layout::HOST_ELR,
    spsr: layout::HOST_SPSR,
    stub_hvbar: layout::HOST_STUB_HVBAR,
    stub_hsctlr: layout::HOST_STUB_HSCTLR,
    reset_pa: layout::HOST_RESET_PA,
    flags: layout::HOST_FLAGS,
    mpidr: layout::HOST_MPIDR,
    fault: layout::HOST_FAULT,
    saved: layout::HOST_SAVED,
    cp15: layout::HOST_CP15,
    guest_vectors: layout::HOST_GUEST_VECTORS,
    lazy: layout::HOST_LAZY,
    drains: layout::HOST_DRAINS,
    page_window: layout::HOST_PAGE_WINDOW,
    block_window: layout::HOST_BLOCK_WINDOW,
    vfp: layout::HOST_VFP,
    stack: layout::HOST_STACK,
);
assert_layout!(HypFault at layout::HOST_FAULT, ends at layout::HOST_SAVED;
    r: layout::HOST_FAULT,
    lr: layout::HOST_FAULT + 13 * 4,
    pc: layout::HOST_FAULT + 14 * 4,
    spsr: layout::HOST_FAULT + 15 * 4,
    hsr: layout::HOST_FAULT + 16 * 4,
    hdfar: layout::HOST_FAULT + 17 * 4,
    hifar: layout::HOST_FAULT + 18 * 4,
    hpfar: layout::HOST_FAULT + 19 * 4,
);
assert_layout!(Lazy at layout::HOST_LAZY, ends at layout::HOST_DRAINS;
    vfp_state: layout::HOST_VFP_STATE,
    debug_state: layout::HOST_DEBUG_STATE,
    unused: layout::HOST_LAZY + 2,
);
