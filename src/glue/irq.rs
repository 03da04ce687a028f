// SPDX-License-Identifier: GPL-2.0

//! Interrupts that every CPU has for itself (PPIs).

use super::cpu::IrqsOff;
use kernel::{
    bindings,
    error::to_result,
    ffi,
    prelude::*,
    str::CStr, //
};
use kvm_bindings as glue;

/// What happens when the interrupt is taken by the host.
pub(crate) trait PercpuHandler {
    /// Called in hard interrupt context.
    fn handle();
}

/// A requested per-CPU interrupt. Each CPU enables it for itself.
///
/// # Invariants
///
/// `irq` was requested with `cookie` and is freed on drop; `cookie` is a per-CPU allocation.
pub(crate) struct PercpuIrq {
    irq: ffi::c_uint,
    cookie: *mut ffi::c_void,
}

// SAFETY: The cookie is never dereferenced; it only identifies the request.
unsafe impl Send for PercpuIrq {}
// SAFETY: The same.
unsafe impl Sync for PercpuIrq {}

impl PercpuIrq {
    /// Requests the interrupt on all CPUs; it stays disabled.
    pub(crate) fn request<H: PercpuHandler>(irq: u32, name: &'static CStr) -> Result<Self> {
        extern "C" fn handler<H: PercpuHandler>(
            _irq: ffi::c_int,
            _cookie: *mut ffi::c_void,
        ) -> bindings::irqreturn_t {
            H::handle();
            bindings::irqreturn_IRQ_HANDLED
        }
        // SAFETY: No preconditions.
        let cookie: *mut ffi::c_void = unsafe { glue::kvm_arm_alloc_percpu_ptr() }.cast();
        if cookie.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The handler and the name are 'static, the cookie lives as long as the request.
        let ret = to_result(unsafe {
            glue::request_percpu_irq_affinity(
                irq,
                Some(handler::<H>),
                name.as_char_ptr(),
                core::ptr::null(),
                cookie.cast(),
            )
        });
        if let Err(e) = ret {
            // SAFETY: The request failed, so nobody else has the cookie.
            unsafe { glue::kvm_arm_free_percpu_ptr(cookie.cast()) };
            return Err(e);
        }
        Ok(Self { irq, cookie })
    }

    /// Enables the interrupt on this CPU.
    pub(crate) fn enable(&self, _irqs: &IrqsOff) {
        // SAFETY: Requested by the type's invariant; the task stays on this CPU. Type 0 keeps the
        // trigger that the device tree gave.
        unsafe { glue::enable_percpu_irq(self.irq, 0) };
    }

    /// Disables the interrupt on this CPU.
    pub(crate) fn disable(&self, _irqs: &IrqsOff) {
        // SAFETY: As in `enable`.
        unsafe { glue::disable_percpu_irq(self.irq) };
    }

    /// Makes the interrupt active, or not, in the physical interrupt controller of this CPU.
    ///
    /// An active interrupt is not signalled again until it is deactivated, which a guest does
    /// through its list register (IHI 0048B 5.2.3).
    pub(crate) fn set_active(&self, _irqs: &IrqsOff, active: bool) -> Result {
        // SAFETY: Requested by the type's invariant; the task stays on this CPU.
        to_result(unsafe {
            glue::irq_set_irqchip_state(
                self.irq,
                glue::irqchip_irq_state_IRQCHIP_STATE_ACTIVE,
                active,
            )
        })
    }
}

impl Drop for PercpuIrq {
    fn drop(&mut self) {
        // SAFETY: Requested with this cookie by the type's invariant; all CPUs have disabled it.
        unsafe {
            glue::free_percpu_irq(self.irq, self.cookie.cast());
            glue::kvm_arm_free_percpu_ptr(self.cookie.cast());
        }
    }
}
