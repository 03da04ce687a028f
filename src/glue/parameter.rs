// SPDX-License-Identifier: GPL-2.0

//! Parameters of the module that user space can read or write while it is loaded. Those of the
//! kernel crate are fixed and unseen after that, so `src/helpers/parameter.c` defines these.

use super::safe;

/// The MIDR that the tester gives this CPU, or 0.
#[cfg(CONFIG_KVM_ARM_PRETEND)]
pub(crate) fn pretended_midr(irqs: &super::cpu::IrqsOff) -> u32 {
    safe::kvm_arm_pretended_midr(irqs.cpu() as kernel::ffi::c_uint)
}

/// Whether the next entry of a guest has to fault inside HYP mode, as the tester wants.
#[cfg(CONFIG_KVM_ARM_PRETEND)]
pub(crate) fn pretends_hyp_fault() -> bool {
    safe::kvm_arm_pretends_hyp_fault()
}

/// Whether HYP mode is the module's as long as that is loaded, and not just while there are VMs.
pub(crate) fn enable_virt_at_load() -> bool {
    safe::kvm_arm_enable_virt_at_load()
}

/// Whether HYP mode answers accesses to the vGIC's distributor.
pub(crate) fn hyp_vgic() -> bool {
    safe::kvm_arm_hyp_vgic()
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident = $helper:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name() -> u32 {
                safe::$helper()
            }
        )*
    };
}

parameters! {
    /// The longest time for which a vCPU looks out for an interrupt before it sleeps.
    halt_poll_ns = kvm_arm_halt_poll_ns;
    /// The factor by which that time grows, up to the longest.
    halt_poll_ns_grow = kvm_arm_halt_poll_ns_grow;
    /// The first time above zero.
    halt_poll_ns_grow_start = kvm_arm_halt_poll_ns_grow_start;
    /// The divisor by which that time shrinks.
    halt_poll_ns_shrink = kvm_arm_halt_poll_ns_shrink;
}
