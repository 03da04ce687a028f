// SPDX-License-Identifier: GPL-2.0

//! Telling the host's accounting, RCU and tracing that a guest runs.

use core::pin::Pin;

use super::cpu::IrqsOff;
use kvm_bindings as glue;

/// Time that is accounted to the guest.
///
/// # Invariants
///
/// The accounting knows of the beginning, and not yet of the end.
pub(crate) struct GuestTime<'a> {
    irqs: &'a IrqsOff,
}

/// Runs `f`, and accounts its time to the guest.
#[inline]
pub(crate) fn account<R>(mut irqs: Pin<&mut IrqsOff>, f: impl FnOnce(&GuestTime<'_>) -> R) -> R {
    // SAFETY: Interrupts are off. The end follows below.
    unsafe { glue::kvm_arm_guest_timing_enter_irqoff() };
    let result = f(&GuestTime { irqs: &irqs });
    // The interrupt that ended the guest's run, the tick above all, is taken while the time still
    // counts as the guest's.
    irqs.as_mut().open_window();
    // SAFETY: Interrupts are off again, and the accounting knows of the beginning.
    unsafe { glue::kvm_arm_guest_timing_exit_irqoff() };
    result
}

impl GuestTime<'_> {
    /// Proof that interrupts are off.
    #[inline]
    pub(crate) fn irqs(&self) -> &IrqsOff {
        self.irqs
    }

    /// Runs `enter` as guest context, which is a quiescent state to RCU.
    ///
    /// # Safety
    ///
    /// `enter` does nothing but enter the guest. RCU does not protect it, so it must not use RCU,
    /// tracing, locks or anything else that is instrumented; and it must not call this function.
    #[inline]
    pub(crate) unsafe fn in_guest<R>(&self, enter: impl FnOnce() -> R) -> R {
        // SAFETY: Interrupts are off, as `irqs` proves. The exit follows below.
        unsafe { glue::kvm_arm_guest_state_enter_irqoff() };
        let result = enter();
        // SAFETY: Interrupts are still off, and the state was entered above.
        unsafe { glue::kvm_arm_guest_state_exit_irqoff() };
        result
    }
}
