// SPDX-License-Identifier: GPL-2.0

//! The current CPU: interrupts, preemption, scheduling, calls on every CPU.

use core::{
    cell::Cell,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ops::Deref,
    pin::{
        pin,
        Pin, //
    }, //
};

use kernel::{
    ffi,
    prelude::*,
    sync::LockClassKey,
    types::NotThreadSafe, //
};
use kvm_bindings as glue;
use static_assertions::assert_not_impl_any;

use super::{
    raw_spinlock::{
        RawSpinLock,
        RawSpinLockGuard, //
    },
    safe, //
};

/// The largest number of CPUs that the module supports: as many as a GICv2 has interfaces for.
pub(crate) const MAX_CPUS: usize = 8;

/// Proof that interrupts are disabled on this CPU, which also means that the task stays on it.
///
/// Only [`IrqsOff::with`] makes values, and its caller borrows one for one call of a closure. So
/// safe code can neither forget a value nor drop two of them out of order. The borrow is pinned, so
/// safe code cannot exchange two values, either.
///
/// # Invariants
///
/// Interrupts are disabled while a value lives, except during [`IrqsOff::open_window`]. A value
/// stays on its thread. `flags` is the state of the interrupts from before the value. `cpu` is the
/// number of the CPU.
pub(crate) struct IrqsOff {
    flags: ffi::c_ulong,
    cpu: Cell<u32>,
    _of_this_thread: NotThreadSafe,
    _pin: PhantomPinned,
}

// Another thread may run on another CPU, with interrupts on.
assert_not_impl_any!(IrqsOff: Send, Sync, Clone, Unpin);

impl IrqsOff {
    /// Runs `f` with interrupts disabled.
    #[inline]
    pub(crate) fn with<R>(f: impl FnOnce(Pin<&mut Self>) -> R) -> R {
        // SAFETY: The state of the interrupts is restored below, on the same thread. Kernel code
        // does not unwind, so `f` has no other way out.
        let saved = unsafe { glue::kvm_arm_local_irq_save() };
        let flags = saved as ffi::c_ulong;
        // INVARIANT: Interrupts were disabled just now, and the number was read afterwards.
        let irqs = pin!(Self {
            flags,
            cpu: Cell::new((saved >> 32) as u32),
            _of_this_thread: NotThreadSafe,
            _pin: PhantomPinned,
        });
        let result = f(irqs);
        // SAFETY: `flags` is the result of `local_irq_save` above. All inner calls of this
        // function have returned, and `f` could not keep its borrow.
        unsafe { glue::kvm_arm_local_irq_restore(flags) };
        result
    }

    /// Lets pending interrupts be taken for a moment. Nothing happens inside of another
    /// [`IrqsOff::with`], whose proof stays true.
    #[inline]
    pub(crate) fn open_window(self: Pin<&mut Self>) {
        // SAFETY: Interrupts are disabled. The callee restores the state from before this value,
        // which is "disabled" if there is an outer value, and disables interrupts again. The
        // mutable borrow ends all uses of this value as a proof before the window opens.
        let cpu = unsafe { glue::kvm_arm_local_irq_window(self.flags) };
        // INVARIANT: Interrupts are off again.
        self.cpu.set(cpu);
    }

    /// The CPU that this runs on, and stays on.
    #[inline]
    pub(crate) fn cpu(&self) -> usize {
        self.cpu.get() as usize
    }

    /// The same, to be kept as long as this is borrowed.
    #[inline]
    pub(crate) fn this_cpu(&self) -> ThisCpu<'_> {
        ThisCpu {
            irqs: self,
            number: self.cpu(),
        }
    }
}

/// The CPU that this runs on, by its number: for those who ask often.
#[derive(Clone, Copy)]
pub(crate) struct ThisCpu<'a> {
    irqs: &'a IrqsOff,
    number: usize,
}

impl<'a> ThisCpu<'a> {
    /// The proof that the number stays right.
    #[inline]
    pub(crate) fn irqs(self) -> &'a IrqsOff {
        self.irqs
    }

    /// The number.
    #[inline]
    pub(crate) fn number(self) -> usize {
        self.number
    }
}

impl Deref for ThisCpu<'_> {
    type Target = IrqsOff;

    #[inline]
    fn deref(&self) -> &IrqsOff {
        self.irqs
    }
}

/// A spinlock that interrupt handlers take, too. It can only be held with interrupts disabled, and
/// no [`SpinLock`](kernel::sync::SpinLock), which may be a mutex, is taken meanwhile.
#[pin_data]
pub(crate) struct IrqSpinLock<T> {
    #[pin]
    lock: RawSpinLock<T>,
}

impl<T: Unpin> IrqSpinLock<T> {
    /// Makes the lock; [`new_irq_spinlock!`] has the arguments.
    pub(crate) fn new(
        value: T,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RawSpinLock::new(value, name, class),
        })
    }

    /// Runs `f` on the value with the lock held and interrupts disabled.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // The lock is released at the end of the closure, so before interrupts are on again.
        IrqsOff::with(|irqs| f(&mut self.lock(&irqs)))
    }

    /// Takes the lock while interrupts are disabled. They stay so as long as the guard lives, since
    /// it borrows the proof.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, _irqs: &'a IrqsOff) -> RawSpinLockGuard<'a, T> {
        self.lock.lock()
    }
}

/// Makes an [`IrqSpinLock`] with a name for lockdep.
macro_rules! new_irq_spinlock {
    ($value:expr, $name:literal) => {
        $crate::glue::cpu::IrqSpinLock::new(
            $value,
            kernel::c_str!($name),
            kernel::static_lock_class!(),
        )
    };
}

pub(crate) use new_irq_spinlock;

/// Whether the CPUs have a VFP.
pub(crate) fn has_vfp() -> bool {
    safe::kvm_arm_has_vfp()
}

/// Whether the VFP has 32 registers of 64 bits rather than 16.
pub(crate) fn has_vfp_d32() -> bool {
    safe::kvm_arm_has_vfp_d32()
}

/// Whether interrupts are off: then this CPU must not wait for another one.
pub(crate) fn irqs_disabled() -> bool {
    safe::kvm_arm_irqs_disabled()
}

/// Whether the scheduler wants this CPU for another task.
pub(crate) fn need_resched() -> bool {
    safe::kvm_arm_need_resched()
}

/// Lets another task run if the scheduler wants that. May sleep, so no spinlock is held.
pub(crate) fn cond_resched() {
    safe::kvm_arm_cond_resched()
}

/// Lets another task run now if the scheduler wants that, where [`cond_resched`] would leave it to
/// the next interrupt: a kernel that preempts tasks has interrupts for that, but this task may have
/// disabled them when the scheduler decided. May sleep.
pub(crate) fn give_way() {
    safe::kvm_arm_give_way()
}

/// Whether no other task wants this CPU.
#[inline]
pub(crate) fn single_task_running() -> bool {
    safe::single_task_running()
}

/// Puts the current task at the end of this CPU's queue. May sleep, so no spinlock is held.
pub(crate) fn yield_now() {
    safe::yield_()
}

/// The CPUs that can ever be online.
pub(crate) fn possible_cpus() -> impl Iterator<Item = usize> {
    (0..safe::kvm_arm_nr_cpu_ids())
        .filter(|&cpu| safe::kvm_arm_cpu_possible(cpu))
        .map(|cpu| cpu as usize)
}

/// Runs `f` on every online CPU with interrupts disabled, and waits for the last one. Interrupts
/// must be on.
pub(crate) fn on_each_cpu<F: Fn(&IrqsOff) + Sync>(f: F) {
    on_each_cpu_if(|_| true, f);
}

/// Likewise on one CPU. Nothing happens if that is offline.
pub(crate) fn on_cpu<F: Fn(&IrqsOff) + Sync>(cpu: usize, f: F) {
    on_each_cpu_if(|each| each == cpu, f);
}

/// Likewise on each other online CPU for which `wants` is true.
pub(crate) fn on_other_cpus_if<W, F>(wants: W, f: F)
where
    W: Fn(usize) -> bool,
    F: Fn(&IrqsOff) + Sync,
{
    // The callee asks with preemption disabled, so this CPU stays the same.
    let is_other = |cpu| cpu != safe::kvm_arm_smp_processor_id() as usize;
    on_each_cpu_if(|cpu| is_other(cpu) && wants(cpu), f);
}

/// Likewise on each online CPU for which `wants` is true.
fn on_each_cpu_if<W, F>(wants: W, f: F)
where
    W: Fn(usize) -> bool,
    F: Fn(&IrqsOff) + Sync,
{
    extern "C" fn is_wanted<W: Fn(usize) -> bool, F>(
        cpu: ffi::c_int,
        info: *mut ffi::c_void,
    ) -> bool {
        // SAFETY: `info` points to `closures` below, on this CPU.
        let (wants, _) = unsafe { &*info.cast::<(W, F)>() };
        wants(cpu as usize)
    }
    extern "C" fn call<W, F: Fn(&IrqsOff) + Sync>(info: *mut ffi::c_void) {
        // SAFETY: `info` points to `closures` below. They live until the last CPU's call has
        // returned, and other CPUs use only the second one, which is `Sync`.
        let f = unsafe { &(*info.cast::<(W, F)>()).1 };
        IrqsOff::with(|irqs| f(&irqs));
    }
    let closures = (wants, f);
    // SAFETY: `closures` lives until the callee returns, which is after the last CPU's call.
    unsafe {
        glue::kvm_arm_on_each_cpu_if(
            Some(is_wanted::<W, F>),
            Some(call::<W, F>),
            (&raw const closures).cast_mut().cast(),
        )
    };
}

/// Runs `f` while no CPU comes online or goes offline. May sleep.
pub(crate) fn with_fixed_cpus<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Released below, by the same task: kernel code does not unwind, so `f` has no other
    // way out.
    unsafe { kernel::bindings::cpus_read_lock() };
    let result = f();
    // SAFETY: Taken above.
    unsafe { kernel::bindings::cpus_read_unlock() };
    result
}

/// Callbacks for CPUs that come online and go offline.
pub(crate) trait CpuCallbacks {
    /// Called on each CPU that is online at registration, and later on each CPU that comes online.
    fn online(irqs: &IrqsOff) -> Result;
    /// Called on each CPU that goes offline, and on all online CPUs at the end of the registration.
    fn offline(irqs: &IrqsOff);
}

/// A registration of [`CpuCallbacks`] with the CPU hotplug machinery.
///
/// # Invariants
///
/// The state `CPUHP_AP_KVM_ONLINE` is ours. The number is KVM's. This kernel has no other KVM for
/// this architecture, so nobody else uses it, and a second registration fails.
pub(crate) struct CpuHotplug<T: CpuCallbacks>(PhantomData<T>);

impl<T: CpuCallbacks> CpuHotplug<T> {
    extern "C" fn online(_cpu: ffi::c_uint) -> ffi::c_int {
        match IrqsOff::with(|irqs| T::online(&irqs)) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    extern "C" fn offline(_cpu: ffi::c_uint) -> ffi::c_int {
        IrqsOff::with(|irqs| T::offline(&irqs));
        0
    }

    /// Registers the callbacks and calls `online` on each online CPU. If one of them fails,
    /// `offline` is called where `online` succeeded.
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The callbacks are functions of the module, which drops the registration before it
        // goes.
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
        // SAFETY: The state is ours by the type's invariant, and its callbacks are those of
        // `register`.
        unsafe {
            glue::__cpuhp_remove_state(kernel::bindings::cpuhp_state_CPUHP_AP_KVM_ONLINE, true)
        };
    }
}
