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

// A mutex of the kernel crate is `repr(C)` and begins with that of C, as its `from_raw` knows, too.
const_assert_eq!(size_of::<Mutex<()>>(), size_of::<bindings::mutex>());

/// Takes a mutex. `EINTR` if this task is killed while it waits, so that it need not wait for as long
/// as somebody else likes.
pub(crate) fn lock_killable<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    let raw = ptr::from_ref(mutex).cast::<bindings::mutex>().cast_mut();
    // SAFETY: `raw` is the initialised C mutex that `mutex` begins with. It is in an `Opaque`, so that
    // it may be changed behind a shared reference.
    if unsafe { glue::kvm_arm_mutex_lock_killable(raw) } != 0 {
        return Err(EINTR);
    }
    // SAFETY: The mutex was taken just now.
    Ok(unsafe { MutexGuard::new(mutex, ()) })
}
