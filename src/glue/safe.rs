// SPDX-License-Identifier: GPL-2.0

//! Functions of the kernel that nobody can call wrongly, declared as safe.
//!
//! bindgen declares each function of C as unsafe. A function belongs here if any caller may pass it
//! any arguments in any context. At worst, debug kernels warn of the context, as they do of safe
//! functions of the `kernel` crate that sleep.

use kernel::{
    bindings,
    ffi, //
};

macro_rules! safe_functions {
    ($($from:ident::{
        $(
            $(#[$attribute:meta])*
            fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;
        )*
    })*) => {
        // SAFETY: The assertion below compares each signature with bindgen's. The functions only
        // compute, read values that are always there, or act on the current task, and check all
        // that they are given.
        // The types are bindgen's, which allows itself this lint.
        #[allow(improper_ctypes)]
        unsafe extern "C" {
            $($(
                $(#[$attribute])*
                pub(super) safe fn $name($($argument: $type),*) $(-> $result)?;
            )*)*
        }
        $($(
            const _: [unsafe extern "C" fn($($type),*) $(-> $result)?; 2] = [$name, $from::$name];
        )*)*
    };
}

safe_functions! {
    // The current CPU and the machine.
    kvm_bindings::{
        fn kvm_arm_smp_processor_id() -> ffi::c_uint;
        fn kvm_arm_irqs_disabled() -> bool;
        fn kvm_arm_need_resched() -> bool;
        fn kvm_arm_cond_resched();
        fn kvm_arm_give_way();
        fn single_task_running() -> bool;
        fn kvm_arm_nr_cpu_ids() -> ffi::c_uint;
        fn kvm_arm_cpu_possible(cpu: ffi::c_uint) -> bool;
        fn kvm_arm_has_vfp() -> bool;
        fn kvm_arm_has_vfp_d32() -> bool;
        fn kvm_arm_user_limit() -> ffi::c_uint;
    }
    bindings::{
        #[link_name = "yield"]
        fn yield_();
        fn rng_is_initialized() -> bool;
    }
    // The current task.
    kvm_bindings::{
        fn kvm_arm_must_do_task_work() -> bool;
        fn kvm_arm_has_work() -> bool;
        fn kvm_arm_must_return_to_user() -> bool;
        fn kvm_arm_fatal_signal_pending() -> bool;
        fn kvm_arm_sigmask_set(mask: u64) -> bindings::sigset_t;
        fn kvm_arm_sigmask_restore(outer: bindings::sigset_t);
        fn kvm_arm_make_writable(addr: ffi::c_ulong, size: usize) -> bool;
        fn kvm_arm_is_huge_mapping(addr: ffi::c_ulong) -> bool;
        fn kvm_arm_count_empty(addr: ffi::c_ulong, n: ffi::c_uint) -> ffi::c_uint;
    }
    // The module's own variables.
    kvm_bindings::{
        fn kvm_arm_log_allowed() -> bool;
        fn kvm_arm_fault_log_allowed() -> bool;
        fn kvm_arm_debug_allowed() -> bool;
        fn kvm_arm_enable_virt_at_load() -> bool;
        fn kvm_arm_hyp_vgic() -> bool;
        fn kvm_arm_halt_poll_ns() -> ffi::c_uint;
        fn kvm_arm_halt_poll_ns_grow() -> ffi::c_uint;
        fn kvm_arm_halt_poll_ns_grow_start() -> ffi::c_uint;
        fn kvm_arm_halt_poll_ns_shrink() -> ffi::c_uint;
    }
    // Numbers and addresses. If they are not the kernel's, the result means nothing or is an error.
    kvm_bindings::{
        fn kvm_arm_image(part: ffi::c_uint) -> kvm_bindings::kvm_arm_range;
        fn kvm_arm_is_own_text(address: ffi::c_ulong) -> bool;
        fn kvm_arm_image_pa(address: ffi::c_ulong) -> bindings::phys_addr_t;
        fn kvm_arm_virt_to_phys(va: *const ffi::c_void) -> bindings::phys_addr_t;
        fn kvm_arm_phys_to_virt(pa: bindings::phys_addr_t) -> *mut ffi::c_void;
        fn kvm_arm_irq_to_hwirq(irq: ffi::c_uint) -> ffi::c_uint;
        fn kvm_arm_perf_monitors(cpu: ffi::c_int, config: u64, interrupts: bool) -> ffi::c_int;
        fn eventfd_ctx_fdget(fd: ffi::c_int) -> *mut kvm_bindings::eventfd_ctx;
    }
    // The log.
    bindings::{
        fn dump_stack();
    }
    // Allocations.
    kvm_bindings::{
        fn kvm_arm_alloc_percpu_ptr() -> *mut ffi::c_void;
        fn kvm_arm_alloc_pages(gfp: bindings::gfp_t, order: ffi::c_uint) -> *mut bindings::page;
    }
}

#[cfg(CONFIG_KVM_ARM_PRETEND)]
safe_functions! {
    // The module's own variables.
    kvm_bindings::{
        fn kvm_arm_pretended_midr(cpu: ffi::c_uint) -> ffi::c_uint;
        fn kvm_arm_pretends_hyp_fault() -> bool;
    }
}
