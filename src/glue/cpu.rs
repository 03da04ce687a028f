// SPDX-License-Identifier: GPL-2.0

//! The current CPU: interrupts, preemption, scheduling, calls on every CPU.

use core::marker::PhantomData;

use kernel::{
    ffi,
    prelude::*,
    sync::SpinLock, //
};
use kvm_bindings as glue;

/// The largest number of CPUs that the module supports, that of the architecture's GICv2.
pub(crate) const MAX_CPUS: usize = 8;

/// Proof that interrupts are disabled on this CPU, which also means that the task stays on it.
///
/// # Invariants
///
/// Interrupts are disabled while a value lives; values cannot leave the thread.
pub(crate) struct IrqsOff {
    flags: ffi::c_ulong,
    _not_send: PhantomData<*mut ()>,
}

impl IrqsOff {
    /// Disables interrupts until the value is dropped.
    pub(crate) fn new() -> Self {
        // SAFETY: May be called in any context.
        let flags = unsafe { glue::kvm_arm_local_irq_save() };
        Self {
            flags,
            _not_send: PhantomData,
        }
    }

    /// Lets pending interrupts be taken for a moment.
    pub(crate) fn open_window(&mut self) {
        // SAFETY: `self` proves that they are disabled, and it is borrowed for the whole window.
        unsafe {
            glue::kvm_arm_local_irq_enable();
            glue::kvm_arm_local_irq_disable();
        }
    }

    /// The CPU that this runs on.
    pub(crate) fn cpu(&self) -> usize {
        // SAFETY: Interrupts are off, so the answer stays true.
        unsafe { glue::kvm_arm_smp_processor_id() as usize }
    }
}

impl Drop for IrqsOff {
    fn drop(&mut self) {
        // SAFETY: `flags` is what `local_irq_save` returned, on the same thread.
        unsafe { glue::kvm_arm_local_irq_restore(self.flags) };
    }
}

/// Runs `f` on what a lock guards that interrupt handlers take, too.
pub(crate) fn with_lock_irqs_off<T: Unpin, R>(
    lock: &SpinLock<T>,
    f: impl FnOnce(&mut T) -> R,
) -> R {
    let _irqs = IrqsOff::new();
    // A variable, which is dropped before `_irqs`: a temporary of the last expression would be
    // dropped after it, and what is pending would interrupt with the lock held.
    let mut guard = lock.lock();
    f(&mut guard)
}

/// Whether the CPUs have a VFP.
pub(crate) fn has_vfp() -> bool {
    // SAFETY: Reads a constant of this machine.
    unsafe { glue::kvm_arm_has_vfp() }
}

/// Whether it has 32 registers of 64 bits rather than 16.
pub(crate) fn has_vfp_d32() -> bool {
    // SAFETY: Reads a constant of this machine.
    unsafe { glue::kvm_arm_has_vfp_d32() }
}

/// Whether the scheduler wants this CPU for another task.
pub(crate) fn need_resched() -> bool {
    // SAFETY: May be called in any context.
    unsafe { glue::kvm_arm_need_resched() }
}

/// Lets another task run if the scheduler wants that. May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: The callers are in process context without locks; debug kernels check.
    unsafe { glue::kvm_arm_cond_resched() }
}

/// Whether no other task wants this CPU.
#[inline]
pub(crate) fn single_task_running() -> bool {
    // SAFETY: May be called in any context.
    unsafe { glue::single_task_running() }
}

/// Goes to the end of this CPU's queue. May sleep.
pub(crate) fn yield_now() {
    // SAFETY: The callers are in process context without locks; debug kernels check.
    unsafe { kernel::bindings::yield_() }
}

/// The CPUs that can ever be online.
pub(crate) fn possible_cpus() -> impl Iterator<Item = usize> {
    // SAFETY: Reads a variable that is constant after boot.
    let ids = unsafe { glue::kvm_arm_nr_cpu_ids() };
    (0..ids)
        // SAFETY: As above.
        .filter(|&cpu| unsafe { glue::kvm_arm_cpu_possible(cpu) })
        .map(|cpu| cpu as usize)
}

/// Runs `f` on every online CPU with interrupts disabled, and waits until all have done it.
pub(crate) fn on_each_cpu<F: Fn(&IrqsOff) + Sync>(f: F) {
    extern "C" fn call<F: Fn(&IrqsOff) + Sync>(info: *mut ffi::c_void) {
        // SAFETY: `info` is the `f` below, which outlives the calls as they are waited for.
        let f = unsafe { &*info.cast::<F>() };
        f(&IrqsOff::new());
    }
    // SAFETY: `f` is `Sync`, and the callee waits for all CPUs.
    unsafe { glue::kvm_arm_on_each_cpu(Some(call::<F>), (&raw const f).cast_mut().cast()) };
}

/// Callbacks as CPUs come online and go offline.
pub(crate) trait CpuCallbacks {
    /// Called on each CPU that is online at registration, and later on each that comes up.
    fn online(irqs: &IrqsOff) -> Result;
    /// Called on each CPU that goes down, and on all at the end of the registration.
    fn offline(irqs: &IrqsOff);
}

/// A registration of [`CpuCallbacks`] with the CPU hotplug machinery.
///
/// # Invariants
///
/// The state `CPUHP_AP_KVM_ONLINE` is ours. The number is KVM's, and as this kernel has no KVM
/// for this architecture nobody else uses it.
pub(crate) struct CpuHotplug<T: CpuCallbacks>(PhantomData<T>);

impl<T: CpuCallbacks> CpuHotplug<T> {
    extern "C" fn online(_cpu: ffi::c_uint) -> ffi::c_int {
        match T::online(&IrqsOff::new()) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    extern "C" fn offline(_cpu: ffi::c_uint) -> ffi::c_int {
        T::offline(&IrqsOff::new());
        0
    }

    /// Registers the callbacks and calls `online` on each online CPU. If one of them fails,
    /// `offline` is called where `online` succeeded.
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The callbacks are 'static functions, and are unregistered before the module
        // goes, as the registration is dropped.
        let ret = unsafe {
            glue::__cpuhp_setup_state(
                kernel::bindings::cpuhp_state_CPUHP_AP_KVM_ONLINE,
                name.as_char_ptr(),
                true,
                Some(Self::online),
                Some(Self::offline),
                false,
            )
        };
        kernel::error::to_result(ret)?;
        Ok(Self(PhantomData))
    }
}

impl<T: CpuCallbacks> Drop for CpuHotplug<T> {
    fn drop(&mut self) {
        // SAFETY: The state is ours, by the type's invariant.
        unsafe {
            glue::__cpuhp_remove_state(kernel::bindings::cpuhp_state_CPUHP_AP_KVM_ONLINE, true)
        };
    }
}
