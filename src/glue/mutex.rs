// SPDX-License-Identifier: GPL-2.0

//! Mutexes whose waiters can be killed.

use core::ptr;

use kernel::{
    bindings,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    },
};
use kvm_bindings as glue;
use static_assertions::const_assert_eq;

// A mutex of the kernel crate is `repr(C)` and begins with the mutex of C. Its own `from_raw`
// relies on that, too.
const_assert_eq!(size_of::<Mutex<()>>(), size_of::<bindings::mutex>());

/// Takes a mutex. `EINTR` if this task is killed while it waits: a task that is killed should not
/// have to wait for another one.
#[inline]
pub(crate) fn lock_killable<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    // Most often it is free, and then there is no reason to let other tasks run first.
    match mutex.try_lock() {
        Some(guard) => Ok(guard),
        None => wait_for(mutex),
    }
}

#[cold]
fn wait_for<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    let raw = ptr::from_ref(mutex).cast::<bindings::mutex>().cast_mut();
    // SAFETY: `raw` is the initialised C mutex at the beginning of `mutex`. It is in an `Opaque`,
    // so it may change behind a shared reference.
    if unsafe { glue::kvm_arm_mutex_lock_killable(raw) } != 0 {
        return Err(EINTR);
    }
    // SAFETY: The call above has taken the mutex, and no other guard stands for that.
    Ok(unsafe { MutexGuard::new(mutex, ()) })
}
