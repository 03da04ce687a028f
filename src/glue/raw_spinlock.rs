// SPDX-License-Identifier: GPL-2.0

//! Spinlocks that spin on a kernel with PREEMPT_RT, too.
//!
//! There a spinlock is a mutex: a thread that waits for one sleeps, and a thread that holds one can
//! be preempted. The kernel crate has no others.

use kernel::{
    bindings, ffi,
    sync::lock::{
        Backend,
        Guard,
        Lock, //
    },
};
use kvm_bindings as glue;

/// The lock. It is held for a short time, and what is done meanwhile may neither sleep nor take
/// locks of other kinds.
pub(crate) type RawSpinLock<T> = Lock<T, RawSpinLockBackend>;

/// The lock is held.
pub(crate) type RawSpinLockGuard<'a, T> = Guard<'a, T, RawSpinLockBackend>;

/// The kernel's `raw_spinlock_t`.
pub(crate) struct RawSpinLockBackend;

// SAFETY: One at a time holds a `raw_spinlock_t`, and `relock` is that of the trait.
unsafe impl Backend for RawSpinLockBackend {
    type State = bindings::raw_spinlock_t;
    type GuardState = ();

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: `ptr` is valid for writes; `name` and `key` stay valid, by the requirements.
        unsafe { glue::kvm_arm_raw_spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The lock is initialised, by the requirements.
        unsafe { glue::kvm_arm_raw_spin_lock(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: The lock is initialised, by the requirements.
        (unsafe { glue::kvm_arm_raw_spin_trylock(ptr) } != 0).then_some(())
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller holds the lock, by the requirements.
        unsafe { glue::kvm_arm_raw_spin_unlock(ptr) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        if cfg!(CONFIG_LOCKDEP) {
            // SAFETY: The lock is initialised, by the requirements.
            unsafe { glue::kvm_arm_raw_spin_assert_is_held(ptr) }
        }
    }
}
