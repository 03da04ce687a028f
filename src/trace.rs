// SPDX-License-Identifier: GPL-2.0

//! The tracepoints, for ftrace and perf. `include/trace.h` defines their fields and formats.

use kvm_bindings as uapi;

use crate::{
    glue::trace::tracepoints,
    hyp::call::Exit, //
};

tracepoints! {
    /// The guest is entered.
    kvm_entry(pc: u32, vcpu: u32);
    /// The guest was left.
    kvm_exit(why: u32, hsr: u32, pc: u32, vcpu: u32);
    /// KVM_RUN returns to user space.
    kvm_userspace_exit(reason: u32, errno: i32);
    /// Stage 2 did not permit an access.
    kvm_guest_fault(pc: u32, hsr: u32, hxfar: u32, ipa: u64);
    /// The guest has used a page again that the host had made old.
    kvm_access_fault(ipa: u64);
    /// An access to a device.
    kvm_mmio(kind: u32, len: u32, address: u64, value: u64);
    /// An access to a device whose instruction is decoded.
    kvm_mmio_emulate(pc: u32, instruction: u32, cpsr: u32);
    /// A WFI or WFE.
    kvm_wfx(pc: u32, is_wfe: bool);
    /// A call of the firmware.
    kvm_hvc(pc: u32, r0: u32, immediate: u32, hsr: u32);
    /// A trapped access to a register of CP15 or CP14.
    kvm_coprocessor(pc: u32, hsr: u32);
    /// Cache maintenance by set and way.
    kvm_set_way_flush(pc: u32, caches_on: bool);
    /// The guest has turned its caches on or off.
    kvm_toggle_cache(pc: u32, was: bool, now: bool);
    /// A vCPU has waited in WFI, asleep or not.
    kvm_vcpu_wakeup(ns: u64, slept: bool);
    /// The time for which a vCPU stays awake in WFI has changed.
    kvm_halt_poll_ns(vcpu: u32, new: u32, old: u32);
    /// KVM_IRQ_LINE.
    kvm_irq_line(kind: u32, vcpu: u32, number: u32, level: bool);
    /// An eventfd drives a line.
    kvm_set_irq(gsi: u32, level: bool, source: u32);
    /// A line of the vGIC is driven.
    vgic_update_irq_pending(vcpu: u32, intid: u32, level: bool);
    /// The list registers were filled.
    kvm_vgic_flush(vcpu: u32, used: u32);
    /// The list registers were read back.
    kvm_vgic_fold(vcpu: u32, used: u32);
    /// The output of a timer has changed.
    kvm_timer_update_irq(vcpu: u32, intid: u32, level: bool);
    /// A page or a block is mapped.
    kvm_map(ipa: u64, pa: u64, size: u32, writable: bool, executable: bool);
    /// Memory is taken away.
    kvm_unmap(start: u64, end: u64);
    /// The host takes memory of the process away, or write-protects it.
    kvm_unmap_hva_range(start: u32, end: u32);
    /// The host makes memory of the process old.
    kvm_age_hva(start: u32, end: u32);
    /// The host asks whether memory of the process is old.
    kvm_test_age_hva(address: u32);
}

/// Hits a tracepoint, if it is on. If it is off, the arguments are not even evaluated.
macro_rules! trace {
    ($name:ident($($argument:expr),* $(,)?)) => {
        if $crate::trace::$name::is_on() {
            $crate::trace::$name::hit($($argument),*);
        }
    };
}

pub(crate) use trace;

/// The reason of an exit, as a number for kvm_exit.
pub(crate) fn why(exit: Exit) -> u32 {
    match exit {
        Exit::Trap => uapi::KVM_ARM_TRACE_TRAP,
        Exit::Interrupt => uapi::KVM_ARM_TRACE_INTERRUPT,
        Exit::Retry => uapi::KVM_ARM_TRACE_RETRY,
        Exit::HypFault(_) => uapi::KVM_ARM_TRACE_HYP_FAULT,
    }
}

/// The kinds of accesses of kvm_mmio.
pub(crate) mod mmio {
    use kvm_bindings as uapi;

    /// A load that the monitor has to answer.
    pub(crate) const ASKED: u32 = uapi::KVM_ARM_TRACE_MMIO_READ_UNSATISFIED;
    /// A load with its answer.
    pub(crate) const READ: u32 = uapi::KVM_ARM_TRACE_MMIO_READ;
    /// A store.
    pub(crate) const WRITE: u32 = uapi::KVM_ARM_TRACE_MMIO_WRITE;
}
