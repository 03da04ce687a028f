// SPDX-License-Identifier: GPL-2.0

//! Calls from SVC mode into the lowvisor.

use core::ops::Range;

use armv7::{
    addr::PAGE_SHIFT,
    descriptor::HypDesc, //
};

use super::context::VcpuContext;
use crate::glue::cpu::IrqsOff;
use kvm_bindings as layout;

extern "C" {
    /// `asm/init.S`.
    fn __hyp_call(function: u32, a1: u32, a2: u32, a3: u32) -> u32;
}

/// Why the guest stopped running.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A trap, whose syndrome is in the context.
    Trap,
    /// A physical interrupt. The host takes it when it enables interrupts.
    Interrupt,
    /// An abort whose address no longer translates: run the guest again.
    Retry,
    /// A fault inside HYP mode; the number is that of the vector.
    HypFault(u8),
}

/// Proof that HYP mode is ours on this CPU.
///
/// # Invariants
///
/// While a value lives, HVBAR of this CPU is `__hyp_host_vectors` and interrupts are off, so that
/// no CPU power management or hotplug callback can give HYP mode back.
pub(crate) struct HypCpuRef<'a> {
    pub(super) _irqs: &'a IrqsOff,
}

/// How a guest is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Entry {
    /// Without debug registers.
    Plain = layout::HVC_RUN,
    /// With breakpoints and watchpoints that are in the hardware already.
    WithDebug = layout::HVC_RUN_DEBUG,
}

/// TLB maintenance, which does not change what is mapped.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Maintenance {
    Vmid = layout::HVC_TLB_FLUSH_VMID,
    Local = layout::HVC_TLB_FLUSH_LOCAL,
    AllVmids = layout::HVC_TLB_FLUSH_ALL_VMIDS,
    Hyp = layout::HVC_TLB_FLUSH_HYP,
}

impl HypCpuRef<'_> {
    /// Runs the guest until something needs the host.
    ///
    /// # Safety
    ///
    /// `context` must be mapped in HYP mode and belong to the caller alone until the call
    /// returns; its `control` must name a live stage-2 table. No other vCPU of its VM may have run
    /// on this CPU since `flush_tlb_local`. [`Entry::WithDebug`] is for CPUs whose debug registers
    /// can be used.
    #[inline]
    pub(crate) unsafe fn run(&self, entry: Entry, context: *mut VcpuContext) -> Exit {
        #[cfg(CONFIG_KVM_ARM_PRETEND)]
        let context = if crate::glue::parameter::pretends_hyp_fault() {
            // Nothing is mapped there in HYP mode.
            core::ptr::without_provenance_mut(0x1000)
        } else {
            context
        };
        // SAFETY: HYP mode is ours by the type's invariant; the rest is the caller's promise.
        let code = unsafe { __hyp_call(entry as u32, context as u32, 0, 0) };
        match code & layout::EXIT_HYP_FAULT_MASK {
            layout::EXIT_TRAP => Exit::Trap,
            layout::EXIT_INTERRUPT => Exit::Interrupt,
            layout::EXIT_RETRY => Exit::Retry,
            _ => Exit::HypFault((code >> 8) as u8),
        }
    }

    /// Whether software can use the debug registers of this CPU.
    pub(super) fn can_debug(&self) -> bool {
        // SAFETY: HYP mode is ours by the type's invariant. The function leaves the registers as
        // they are. It may fault, and the result is not zero then.
        unsafe { __hyp_call(layout::HVC_PROBE_DEBUG, 0, 0, 0) == 0 }
    }

    /// Does TLB maintenance, which only looks at `vttbr` if it is about one VMID.
    fn maintain(&self, what: Maintenance, vttbr: u64) {
        // SAFETY: HYP mode is ours by the type's invariant. The function does nothing but TLB
        // maintenance.
        unsafe { __hyp_call(what as u32, vttbr as u32, (vttbr >> 32) as u32, 0) };
    }

    /// Invalidates all entries for the VMID in `vttbr` in the TLBs of all CPUs.
    pub(crate) fn flush_tlb_vmid(&self, vttbr: u64) {
        self.maintain(Maintenance::Vmid, vttbr);
    }

    /// Invalidates all entries for the VMID in `vttbr` in this CPU's TLBs, and its instruction
    /// cache.
    #[cold]
    pub(crate) fn flush_tlb_local(&self, vttbr: u64) {
        self.maintain(Maintenance::Local, vttbr);
    }

    /// Invalidates all entries for any VMID in the TLBs of all CPUs, and their instruction caches.
    pub(crate) fn flush_tlb_all_vmids(&self) {
        self.maintain(Maintenance::AllVmids, 0);
    }

    /// Invalidates all entries for HYP mode's own mappings in the TLBs of all CPUs.
    pub(crate) fn flush_tlb_hyp(&self) {
        self.maintain(Maintenance::Hyp, 0);
    }

    /// Cleans and invalidates some pages of a page or block to the point of coherency. `desc` maps
    /// the page or block. After a fault, the error is the number of its vector.
    ///
    /// # Safety
    ///
    /// `desc` must map RAM that stays in use during the call, with the kernel's own attributes for
    /// RAM. `pages` must not be empty, and must lie in it.
    #[inline]
    pub(super) unsafe fn flush_ram(&self, desc: HypDesc, pages: Range<u32>) -> Result<(), u8> {
        let part = pages.start << PAGE_SHIFT & layout::FLUSH_OFFSET_MASK
            | (pages.end - pages.start) & layout::FLUSH_PAGES_MASK;
        let (low, high) = (desc.0 as u32, (desc.0 >> 32) as u32);
        // SAFETY: HYP mode is ours by the type's invariant, and nobody else uses this CPU's windows
        // while interrupts are off. Maintenance changes no contents.
        match unsafe { __hyp_call(layout::HVC_FLUSH_RAM, low, high, part) } {
            0 => Ok(()),
            code => Err((code >> 8) as u8),
        }
    }

    /// Gives HYP mode back to the kernel's stub.
    ///
    /// # Safety
    ///
    /// Afterwards no `HypCpuRef` may be made on this CPU.
    pub(super) unsafe fn give_back(self) {
        // SAFETY: HYP mode is ours by the type's invariant, and the caller promises that nobody
        // relies on that afterwards.
        unsafe { __hyp_call(layout::HVC_RESET, 0, 0, 0) };
    }
}
