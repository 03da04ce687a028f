// SPDX-License-Identifier: GPL-2.0

//! A lock for state that both halves change.
//!
//! A lock of the kernel cannot do this: its code, and its debugging, are not mapped in HYP mode.
//! HYP mode never waits here for long: it gives up, and the host does the work. The host waits for
//! HYP mode, which holds the lock for some hundred instructions and cannot be interrupted.

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    },
};

/// Nobody holds the lock.
const FREE: u32 = 0;
/// The host holds it. A vCPU in HYP mode holds it as its id and one.
const HOST: u32 = u32::MAX;
/// How often HYP mode looks whether the lock has become free.
const TRIES: u32 = 64;

/// A value that one at a time can reach, in the host or in HYP mode.
///
/// # Invariants
///
/// `value` is reached by the guard alone. There is one guard at most while `holder` is not
/// [`FREE`], and none while it is.
pub(crate) struct HypLock<T> {
    holder: AtomicU32,
    /// The host waits. HYP mode stays away, or guests could make the host wait for ever.
    host_waits: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: The lock gives one thread at a time a reference.
unsafe impl<T: Send> Sync for HypLock<T> {}

impl<T> HypLock<T> {
    /// A lock that nobody holds.
    pub(super) const fn new(value: T) -> Self {
        Self {
            holder: AtomicU32::new(FREE),
            host_waits: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline(always)]
    fn take(&self, holder: u32) -> bool {
        self.holder
            .compare_exchange(FREE, holder, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock in the host. `alone` is what keeps other threads of the host, and the
    /// interrupts of this CPU, from waiting here: a spinlock that is held.
    #[inline]
    pub(crate) fn lock<'a, G>(&'a self, _alone: &'a G) -> HypLockGuard<'a, T> {
        if !self.take(HOST) {
            self.wait();
        }
        // INVARIANT: The lock was free, and is ours.
        HypLockGuard { lock: self }
    }

    /// Takes the lock for the host when HYP mode has it.
    #[cold]
    fn wait(&self) {
        self.host_waits.store(true, Ordering::Relaxed);
        while !self.take(HOST) {
            core::hint::spin_loop();
        }
        self.host_waits.store(false, Ordering::Relaxed);
    }

    /// Takes the lock in HYP mode, on behalf of vCPU number `vcpu`, unless it stays taken.
    #[inline(always)]
    pub(super) fn try_lock(&self, vcpu: u32) -> Option<HypLockGuard<'_, T>> {
        let mut tries = TRIES;
        while self.host_waits.load(Ordering::Relaxed) || !self.take(vcpu.wrapping_add(1)) {
            tries -= 1;
            if tries == 0 {
                return None;
            }
        }
        // INVARIANT: The lock was free, and is ours.
        Some(HypLockGuard { lock: self })
    }

    /// Frees the lock if vCPU number `vcpu` has it, whose HYP mode came to its end by a fault.
    #[cold]
    pub(super) fn break_of(&self, vcpu: u32) {
        // INVARIANT: The guard is gone with the stack of the fault.
        let _ = self.holder.compare_exchange(
            vcpu.wrapping_add(1),
            FREE,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

/// The lock is held.
pub(crate) struct HypLockGuard<'a, T> {
    lock: &'a HypLock<T>,
}

impl<T> Deref for HypLockGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: Nobody else reaches the value while the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for HypLockGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Nobody else reaches the value while the guard lives.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for HypLockGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.holder.store(FREE, Ordering::Release);
    }
}
