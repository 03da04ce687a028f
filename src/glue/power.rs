// SPDX-License-Identifier: GPL-2.0

//! Being told before a CPU loses its power or the machine reboots.

use core::marker::PhantomData;

use super::cpu::{
    on_each_cpu,
    IrqsOff, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi,
    prelude::*,
    types::Opaque, //
};
use kvm_bindings as glue;

/// What to do on a CPU around a loss of power.
pub(crate) trait PowerCallbacks: 'static {
    /// This CPU may lose its state.
    fn down(irqs: &IrqsOff);
    /// This CPU is back, whether it lost its state or not.
    fn up(irqs: &IrqsOff);
    /// The machine reboots, or another kernel takes it over.
    fn reboot(irqs: &IrqsOff);
}

/// Registered callbacks for CPU power management (idle and suspend) and for reboot and kexec.
///
/// # Invariants
///
/// Both notifier blocks are registered.
#[pin_data(PinnedDrop)]
pub(crate) struct PowerNotifier<T: PowerCallbacks> {
    #[pin]
    cpu_pm: Opaque<glue::notifier_block>,
    #[pin]
    reboot: Opaque<glue::notifier_block>,
    _t: PhantomData<T>,
}

// SAFETY: The blocks are only touched by the notifier chains, under their own locks.
unsafe impl<T: PowerCallbacks> Send for PowerNotifier<T> {}
// SAFETY: The same.
unsafe impl<T: PowerCallbacks> Sync for PowerNotifier<T> {}

impl<T: PowerCallbacks> PowerNotifier<T> {
    /// # Safety
    ///
    /// To be called by the C side, with what was registered.
    unsafe extern "C" fn on_cpu_pm(
        _nb: *mut glue::notifier_block,
        action: ffi::c_ulong,
        _data: *mut ffi::c_void,
    ) -> ffi::c_int {
        IrqsOff::with(|irqs| match action as glue::cpu_pm_event {
            glue::cpu_pm_event_CPU_PM_ENTER => T::down(&irqs),
            glue::cpu_pm_event_CPU_PM_ENTER_FAILED | glue::cpu_pm_event_CPU_PM_EXIT => T::up(&irqs),
            _ => (),
        });
        bindings::NOTIFY_OK as ffi::c_int
    }

    /// # Safety
    ///
    /// To be called by the C side, with what was registered.
    unsafe extern "C" fn on_reboot(
        _nb: *mut glue::notifier_block,
        _action: ffi::c_ulong,
        _data: *mut ffi::c_void,
    ) -> ffi::c_int {
        on_each_cpu(T::reboot);
        bindings::NOTIFY_OK as ffi::c_int
    }

    /// Registers.
    pub(crate) fn register() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            cpu_pm <- Opaque::try_ffi_init(|slot: *mut glue::notifier_block| {
                let block = glue::notifier_block {
                    notifier_call: Some(Self::on_cpu_pm),
                    ..Default::default()
                };
                // SAFETY: `slot` is valid and pinned until it is unregistered.
                to_result(unsafe {
                    slot.write(block);
                    glue::cpu_pm_register_notifier(slot.cast())
                })
            }),
            reboot <- Opaque::try_ffi_init(|slot: *mut glue::notifier_block| {
                let block = glue::notifier_block {
                    notifier_call: Some(Self::on_reboot),
                    ..Default::default()
                };
                // SAFETY: `slot` is valid and pinned until it is unregistered.
                let ret = to_result(unsafe {
                    slot.write(block);
                    glue::register_reboot_notifier(slot.cast())
                });
                if ret.is_err() {
                    // SAFETY: Registered just above; the object does not come to be.
                    unsafe { glue::cpu_pm_unregister_notifier(cpu_pm.get().cast()) };
                }
                ret
            }),
            _t: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: PowerCallbacks> PinnedDrop for PowerNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, by the type's invariant.
        unsafe {
            glue::unregister_reboot_notifier(self.reboot.get().cast());
            glue::cpu_pm_unregister_notifier(self.cpu_pm.get().cast());
        }
    }
}
