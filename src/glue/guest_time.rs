// SPDX-License-Identifier: GPL-2.0

//! Telling the host's accounting, RCU and tracing that a guest runs.

use super::cpu::IrqsOff;
use kvm_bindings as glue;

/// Time that is accounted to the guest.
///
/// # Invariants
///
/// Its beginning has been told to the accounting, and interrupts are off.
pub(crate) struct GuestTime {
    irqs: IrqsOff,
}

impl GuestTime {
    /// Begins it.
    #[inline]
    pub(crate) fn begin(irqs: IrqsOff) -> Self {
        // SAFETY: Interrupts are off. The end is told when the value is dropped.
        unsafe { glue::kvm_arm_guest_timing_enter_irqoff() };
        Self { irqs }
    }

    /// That interrupts are off.
    #[inline]
    pub(crate) fn irqs(&self) -> &IrqsOff {
        &self.irqs
    }

    /// Runs `enter` as guest context, which is a quiescent state to RCU.
    ///
    /// It must not use RCU, tracing, locks or anything else that is instrumented: it should do
    /// nothing but enter the guest.
    #[inline]
    pub(crate) fn in_guest<R>(&self, enter: impl FnOnce() -> R) -> R {
        // SAFETY: Interrupts are off. Enter and exit are paired.
        unsafe { glue::kvm_arm_guest_state_enter_irqoff() };
        let result = enter();
        // SAFETY: As above.
        unsafe { glue::kvm_arm_guest_state_exit_irqoff() };
        result
    }
}

impl Drop for GuestTime {
    #[inline]
    fn drop(&mut self) {
        // The interrupt that ended the guest's run, the tick above all, is taken while the time
        // still counts as the guest's.
        self.irqs.open_window();
        // SAFETY: Interrupts are off again, and the beginning was told.
        unsafe { glue::kvm_arm_guest_timing_exit_irqoff() };
    }
}
