// SPDX-License-Identifier: GPL-2.0

//! Interrupts of which each CPU has its own (PPIs).

use kernel::{
    bindings,
    error::to_result,
    ffi,
    prelude::*,
    str::CStr, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    cpu::{
        on_each_cpu,
        IrqsOff, //
    },
    safe, //
};

/// The host's reaction to the interrupt.
pub(crate) trait PercpuHandler {
    /// Called in hard interrupt context.
    fn handle();
}

/// A requested per-CPU interrupt. Each CPU enables it for itself, and disables it before it goes
/// offline.
///
/// # Invariants
///
/// `irq` was requested with `cookie`, a per-CPU allocation, and is freed on drop.
pub(crate) struct PercpuIrq {
    irq: ffi::c_uint,
    cookie: AnyThread<*mut ffi::c_void>,
}

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
        let cookie = safe::kvm_arm_alloc_percpu_ptr();
        if cookie.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The handler and the name are 'static. The cookie lives as long as the request.
        // Nobody dereferences it, as it only identifies the request.
        let (ret, cookie) = unsafe {
            let ret = glue::request_percpu_irq_affinity(
                irq,
                Some(handler::<H>),
                name.as_char_ptr(),
                core::ptr::null(),
                cookie.cast(),
            );
            (to_result(ret), AnyThread::new(cookie))
        };
        if let Err(e) = ret {
            // SAFETY: The request failed, so nobody else has the cookie.
            unsafe { glue::kvm_arm_free_percpu_ptr(*cookie) };
            return Err(e);
        }
        Ok(Self { irq, cookie })
    }

    /// Enables the interrupt on this CPU.
    pub(crate) fn enable(&self, _irqs: &IrqsOff) {
        // SAFETY: Requested by the type's invariant. The task stays on this CPU. Type 0 keeps the
        // trigger of the device tree.
        unsafe { glue::enable_percpu_irq(self.irq, 0) };
    }

    /// Disables the interrupt on this CPU.
    pub(crate) fn disable(&self, _irqs: &IrqsOff) {
        // SAFETY: Requested by the type's invariant. The task stays on this CPU.
        unsafe { glue::disable_percpu_irq(self.irq) };
    }

    /// Makes the interrupt active, or not, in the physical interrupt controller of this CPU.
    ///
    /// The controller does not signal an active interrupt again until it is deactivated. A guest
    /// deactivates it through its list register (IHI 0048B 5.2.3).
    pub(crate) fn set_active(&self, _irqs: &IrqsOff, active: bool) -> Result {
        // SAFETY: Requested by the type's invariant. The task stays on this CPU.
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
        // The kernel keeps the handler of an interrupt that a CPU has enabled, but the handler goes
        // with the module.
        on_each_cpu(|irqs| self.disable(irqs));
        // SAFETY: Requested with this cookie by the type's invariant. All CPUs have disabled it.
        unsafe {
            glue::free_percpu_irq(self.irq, self.cookie.cast());
            glue::kvm_arm_free_percpu_ptr(*self.cookie);
        }
    }
}
