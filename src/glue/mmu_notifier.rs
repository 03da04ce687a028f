// SPDX-License-Identifier: GPL-2.0

//! Callbacks when the host changes the pages of a process.

use core::ops::Range;

use kernel::{
    bindings,
    error::to_result,
    ffi,
    mm::{
        Mm,
        MmWithUser, //
    },
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    cpu::irqs_disabled, //
};

/// The caller of [`MmuCallbacks::invalidate_start`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// It may sleep.
    MaySleep,
    /// It has interrupts off, so it can neither sleep nor wait for another CPU. The pages stay
    /// the process's: `vma_prepare` takes a lock in this way on 32-bit Arm before
    /// `vma_adjust_trans_huge` splits a huge page. (To the kernel, this caller may sleep.)
    WithIrqsOff,
    /// It must not sleep: the reaper, after the host has run out of memory (mm/oom_kill.c). It
    /// takes private memory of a process that is killed, for good, and is in a hurry.
    Reaper,
}

/// Callbacks for changes that the host makes to the mappings of user addresses.
///
/// All methods may be called under spinlocks of the memory management, so they must not sleep. Two
/// exceptions may: [`Self::release`], and [`Self::invalidate_start`] if its argument permits it.
pub(crate) trait MmuCallbacks: Send + Sync {
    /// The pages in `range` are about to change or to go: forget them, and establish no new
    /// reference before the matching [`Self::invalidate_end`].
    fn invalidate_start(&self, range: Range<usize>, caller: Caller);
    /// The change is complete.
    fn invalidate_end(&self, range: Range<usize>);
    /// Whether something in `range` was used since the last call. Clears the marks of that use.
    ///
    /// With `flush`, the next call must see a use that begins after this one. Without, translations
    /// that are cached may go on to be used unseen for a while.
    fn clear_young(&self, range: Range<usize>, flush: bool) -> bool;
    /// Whether something in `range` was used since the last [`Self::clear_young`].
    fn test_young(&self, range: Range<usize>) -> bool;
    /// The address space goes away altogether.
    fn release(&self);
}

/// Callbacks registered for the address space of a process.
///
/// # Invariants
///
/// `inner` is registered with `mm`, which is kept alive (`mmgrab`).
#[pin_data(PinnedDrop)]
pub(crate) struct MmuNotifier<T: MmuCallbacks> {
    #[pin]
    inner: AnyThread<Opaque<glue::mmu_notifier>>,
    mm: ARef<Mm>,
    callbacks: T,
}

impl<T: MmuCallbacks> MmuNotifier<T> {
    const OPS: &'static glue::mmu_notifier_ops = &glue::mmu_notifier_ops {
        release: Some(Self::release),
        clear_flush_young: Some(Self::clear_flush_young),
        clear_young: Some(Self::clear_young),
        test_young: Some(Self::test_young),
        invalidate_range_start: Some(Self::invalidate_start),
        invalidate_range_end: Some(Self::invalidate_end),
        arch_invalidate_secondary_tlbs: None,
        alloc_notifier: None,
        free_notifier: None,
    };

    /// Registers `callbacks` for `mm`. Takes the mmap lock.
    pub(crate) fn register(
        callbacks: T,
        mm: &MmWithUser,
    ) -> impl PinInit<Self, Error> + use<'_, T> {
        try_pin_init!(Self {
            mm: ARef::from(&**mm),
            callbacks,
            // This is the last field, since callbacks may come as soon as it is initialized.
            // SAFETY: The slot is valid, and pinned until it is unregistered. `mm` has users. From
            // here on only the kernel uses the notifier, with its own locks.
            inner <- unsafe {
                AnyThread::pin_init(Opaque::try_ffi_init(move |slot: *mut glue::mmu_notifier| {
                    slot.write(glue::mmu_notifier { ops: Self::OPS, ..Default::default() });
                    to_result(glue::mmu_notifier_register(slot, mm.as_raw().cast()))
                }))
            },
        })
    }

    /// Whether `mm` is the address space that this is registered for.
    pub(crate) fn is_for(&self, mm: &Mm) -> bool {
        self.mm.as_raw() == mm.as_raw()
    }

    /// # Safety
    ///
    /// `notifier` must be the `inner` of a live value.
    unsafe fn from_inner<'a>(notifier: *mut glue::mmu_notifier) -> &'a T {
        let this = kernel::container_of!(notifier.cast::<AnyThread<Opaque<_>>>(), Self, inner);
        // SAFETY: By the function's requirement, `this` is a live value.
        unsafe { &(*this).callbacks }
    }

    extern "C" fn release(n: *mut glue::mmu_notifier, _mm: *mut bindings::mm_struct) {
        // SAFETY: The C side calls with the registered notifier.
        unsafe { Self::from_inner(n) }.release();
    }

    extern "C" fn clear_young(
        n: *mut glue::mmu_notifier,
        _mm: *mut bindings::mm_struct,
        start: ffi::c_ulong,
        end: ffi::c_ulong,
    ) -> bool {
        // SAFETY: The C side calls with the registered notifier.
        unsafe { Self::from_inner(n) }.clear_young(start..end, false)
    }

    extern "C" fn clear_flush_young(
        n: *mut glue::mmu_notifier,
        _mm: *mut bindings::mm_struct,
        start: ffi::c_ulong,
        end: ffi::c_ulong,
    ) -> bool {
        // SAFETY: The C side calls with the registered notifier.
        unsafe { Self::from_inner(n) }.clear_young(start..end, true)
    }

    extern "C" fn test_young(
        n: *mut glue::mmu_notifier,
        _mm: *mut bindings::mm_struct,
        address: ffi::c_ulong,
    ) -> bool {
        // SAFETY: The C side calls with the registered notifier.
        unsafe { Self::from_inner(n) }.test_young(address..address + 1)
    }

    extern "C" fn invalidate_start(
        n: *mut glue::mmu_notifier,
        range: *const glue::mmu_notifier_range,
    ) -> ffi::c_int {
        // SAFETY: The C side calls with the registered notifier and a valid range.
        unsafe {
            let caller = match glue::kvm_arm_range_blockable(range) {
                true if irqs_disabled() => Caller::WithIrqsOff,
                true => Caller::MaySleep,
                false => Caller::Reaper,
            };
            Self::from_inner(n).invalidate_start((*range).start..(*range).end, caller)
        };
        0
    }

    extern "C" fn invalidate_end(
        n: *mut glue::mmu_notifier,
        range: *const glue::mmu_notifier_range,
    ) {
        // SAFETY: The C side calls with the registered notifier and a valid range.
        unsafe { Self::from_inner(n).invalidate_end((*range).start..(*range).end) };
    }
}

#[pinned_drop]
impl<T: MmuCallbacks> PinnedDrop for MmuNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered with this mm, by the type's invariant. After the call no callback
        // runs any more.
        unsafe { glue::mmu_notifier_unregister(self.inner.get(), self.mm.as_raw().cast()) };
    }
}
