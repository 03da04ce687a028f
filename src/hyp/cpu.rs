// SPDX-License-Identifier: GPL-2.0

//! One host CPU in HYP mode: its saved registers, its stack, what a fault left.

use kernel::fmt;

use kvm_bindings as layout;
use memoffset::offset_of;
use static_assertions::const_assert_eq;

use super::{
    context::VcpuContext,
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

impl fmt::Display for HypFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pc {:#010x} spsr {:#010x} hsr {:#010x} hdfar {:#010x} hifar {:#010x} hpfar {:#010x} \
             lr_usr {:#010x}",
            self.pc, self.spsr, self.hsr, self.hdfar, self.hifar, self.hpfar, self.lr
        )?;
        for (n, value) in self.r.iter().enumerate() {
            write!(f, " r{n} {value:#010x}")?;
        }
        Ok(())
    }
}

/// What the lowvisor keeps for one host CPU. HTPIDR points to it; the stack is its upper end.
///
/// # Invariants
///
/// The layout is that of `include/world_switch.h`, checked below. While HYP mode is ours on the
/// CPU, the value is written by the assembly only.
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
    /// Whose the VFP is.
    vfp_state: u32,
    /// The exit path takes an asynchronous abort of the guest's, if there is one.
    drains: u32,
    /// Where `HVC_FLUSH_RAM` maps a page, and where a block.
    pub(super) page_window: Window,
    pub(super) block_window: Window,
    vfp: [u32; 2],
    d: [u64; 32],
    stack: [u32; 888],
}

const_assert_eq!(offset_of!(HypCpu, context), layout::HOST_CTX as usize);
const_assert_eq!(offset_of!(HypCpu, elr), layout::HOST_ELR as usize);
const_assert_eq!(offset_of!(HypCpu, spsr), layout::HOST_SPSR as usize);
const_assert_eq!(
    offset_of!(HypCpu, stub_hvbar),
    layout::HOST_STUB_HVBAR as usize
);
const_assert_eq!(
    offset_of!(HypCpu, stub_hsctlr),
    layout::HOST_STUB_HSCTLR as usize
);
const_assert_eq!(offset_of!(HypCpu, reset_pa), layout::HOST_RESET_PA as usize);
const_assert_eq!(offset_of!(HypCpu, flags), layout::HOST_FLAGS as usize);
const_assert_eq!(offset_of!(HypCpu, mpidr), layout::HOST_MPIDR as usize);
const_assert_eq!(offset_of!(HypCpu, fault), layout::HOST_FAULT as usize);
const_assert_eq!(offset_of!(HypCpu, saved), layout::HOST_SAVED as usize);
const_assert_eq!(offset_of!(HypCpu, cp15), layout::HOST_CP15 as usize);
const_assert_eq!(
    offset_of!(HypCpu, guest_vectors),
    layout::HOST_GUEST_VECTORS as usize
);
const_assert_eq!(
    offset_of!(HypCpu, vfp_state),
    layout::HOST_VFP_STATE as usize
);
const_assert_eq!(offset_of!(HypCpu, drains), layout::HOST_DRAINS as usize);
const_assert_eq!(
    offset_of!(HypCpu, page_window),
    layout::HOST_PAGE_WINDOW as usize
);
const_assert_eq!(
    offset_of!(HypCpu, block_window),
    layout::HOST_BLOCK_WINDOW as usize
);
const_assert_eq!(offset_of!(HypCpu, vfp), layout::HOST_VFP as usize);
const_assert_eq!(
    core::mem::size_of::<HypCpu>(),
    layout::HOST_STACK_TOP as usize
);
