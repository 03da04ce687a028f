// SPDX-License-Identifier: GPL-2.0

//! Telling the host's accounting, RCU and tracing that a guest runs.

use super::cpu::IrqsOff;
use kvm_bindings as glue;

/// Runs `enter` as guest context: time is accounted to the guest, and RCU sees a quiescent state.
/// Then runs `leave`, which takes from the hardware what a host interrupt would disturb, before
/// such an interrupt can come.
///
/// `enter` must not use RCU, tracing, locks or anything else that is instrumented: it should do
/// nothing but enter the guest.
#[inline]
pub(crate) fn in_guest<R>(
    mut irqs: IrqsOff,
    enter: impl FnOnce(&IrqsOff) -> R,
    leave: impl FnOnce(&IrqsOff, &R),
) -> R {
    // SAFETY: Interrupts are off. Enter and exit are paired.
    unsafe {
        glue::kvm_arm_guest_timing_enter_irqoff();
        glue::kvm_arm_guest_state_enter_irqoff();
    }
    let result = enter(&irqs);
    // SAFETY: As above.
    unsafe { glue::kvm_arm_guest_state_exit_irqoff() };
    leave(&irqs, &result);
    // The interrupt that ended the guest's run, the tick above all, is taken while the time still
    // counts as the guest's.
    irqs.open_window();
    // SAFETY: As above.
    unsafe { glue::kvm_arm_guest_timing_exit_irqoff() };
    result
}
