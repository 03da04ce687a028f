// SPDX-License-Identifier: GPL-2.0

//! Callbacks before a CPU loses its power and before the machine reboots.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    ffi,
    prelude::*,
    types::Opaque, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    cpu::IrqsOff, //
};

/// Callbacks around a loss of power.
pub(crate) trait PowerCallbacks: 'static {
    /// This CPU may lose its state.
    fn down(irqs: &IrqsOff);
    /// This CPU is back, with or without its state.
    fn up(irqs: &IrqsOff);
    /// The machine reboots, or another kernel takes it over. May sleep.
    fn reboot();
}

/// Registered callbacks for CPU power management (idle and suspend) and for reboot and kexec.
///
/// # Invariants
///
/// Both notifier blocks are registered.
#[pin_data(PinnedDrop)]
pub(crate) struct PowerNotifier<T: PowerCallbacks> {
    #[pin]
    cpu_pm: AnyThread<Opaque<glue::notifier_block>>,
    #[pin]
    reboot: AnyThread<Opaque<glue::notifier_block>>,
    // The callbacks have no value of type `T`.
    _t: PhantomData<fn() -> T>,
}

impl<T: PowerCallbacks> PowerNotifier<T> {
    extern "C" fn on_cpu_pm(
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

    extern "C" fn on_reboot(
        _nb: *mut glue::notifier_block,
        _action: ffi::c_ulong,
        _data: *mut ffi::c_void,
    ) -> ffi::c_int {
        T::reboot();
        bindings::NOTIFY_OK as ffi::c_int
    }

    fn block(
        call: extern "C" fn(
            *mut glue::notifier_block,
            ffi::c_ulong,
            *mut ffi::c_void,
        ) -> ffi::c_int,
    ) -> glue::notifier_block {
        glue::notifier_block {
            notifier_call: Some(call),
            ..Default::default()
        }
    }

    /// Registers the callbacks.
    pub(crate) fn register() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The slots are valid, and pinned until they are unregistered. The chains of
            // notifiers have their own locks, and only they use the blocks.
            cpu_pm <- unsafe {
                AnyThread::pin_init(Opaque::try_ffi_init(|slot: *mut glue::notifier_block| {
                    slot.write(Self::block(Self::on_cpu_pm));
                    to_result(glue::cpu_pm_register_notifier(slot.cast()))
                }))
            },
            // SAFETY: The slot is like that of `cpu_pm`. That is registered, and does not come to
            // be if this registration fails.
            reboot <- unsafe {
                AnyThread::pin_init(Opaque::try_ffi_init(|slot: *mut glue::notifier_block| {
                    slot.write(Self::block(Self::on_reboot));
                    to_result(glue::register_reboot_notifier(slot.cast())).inspect_err(|_| {
                        glue::cpu_pm_unregister_notifier(cpu_pm.get().cast());
                    })
                }))
            },
            _t: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: PowerCallbacks> PinnedDrop for PowerNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Both blocks are registered, by the type's invariant.
        unsafe {
            glue::unregister_reboot_notifier(self.reboot.get().cast());
            glue::cpu_pm_unregister_notifier(self.cpu_pm.get().cast());
        }
    }
}
