// SPDX-License-Identifier: GPL-2.0

//! Eventfds: to signal one, and to hear of signals from others.

use core::{
    cell::Cell,
    ffi::c_void,
    ptr::NonNull,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    ffi,
    fs::file::LocalFile,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    safe, //
};

/// An eventfd, which exists as long as this value, even if its file is closed.
///
/// # Invariants
///
/// The value holds a reference to `ctx`.
pub(crate) struct EventFd {
    ctx: AnyThread<NonNull<glue::eventfd_ctx>>,
}

impl EventFd {
    /// The eventfd behind a descriptor of the current process.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: The callee takes a reference.
        unsafe { Self::from_raw(safe::eventfd_ctx_fdget(fd as ffi::c_int)) }
    }

    /// # Safety
    ///
    /// `ctx` is an error, or comes with a reference, which is the result's from now on.
    unsafe fn from_raw(ctx: *mut glue::eventfd_ctx) -> Result<Self> {
        let ctx = NonNull::new(from_err_ptr(ctx)?).ok_or(EBADF)?;
        // SAFETY: An eventfd has a lock of its own.
        let ctx = unsafe { AnyThread::new(ctx) };
        // INVARIANT: By the function's requirement.
        Ok(Self { ctx })
    }

    /// Adds one to the eventfd's count. Any context; but with PREEMPT_RT, interrupts must be on.
    pub(crate) fn signal(&self) {
        // SAFETY: The value holds a reference, by the type's invariant.
        unsafe { glue::eventfd_signal_mask(self.ctx.as_ptr(), 0) };
    }

    /// Whether both values are the same eventfd.
    pub(crate) fn is(&self, other: &Self) -> bool {
        *self.ctx == *other.ctx
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The value holds a reference, by the type's invariant.
        unsafe { glue::eventfd_ctx_put(self.ctx.as_ptr()) };
    }
}

/// The reaction to a signal of an eventfd.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Called in any context, with the eventfd's lock held, which turns interrupts off unless the
    /// lock is a mutex (PREEMPT_RT). It must not drop its own [`Listening`], which takes that lock.
    fn signalled(&self);
}

/// A listener at its eventfd. No call of it is left when the value has been dropped.
///
/// # Invariants
///
/// `raw` is in the wait queue of `event`.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Listening<T: Listener> {
    // This field is the first, so a pointer to it is a pointer to the whole.
    #[pin]
    raw: AnyThread<Opaque<glue::kvm_arm_listener>>,
    event: EventFd,
    closed: AtomicBool,
    listener: T,
}

impl<T: Listener> Listening<T> {
    /// Listens at the eventfd behind a descriptor of the current process. If that is signalled
    /// already, the listener hears of it now.
    pub(crate) fn new(fd: u32, listener: T) -> Result<Arc<Self>> {
        let file = LocalFile::fget(fd).map_err(|_| EBADF)?;
        let file: *mut bindings::file = file.as_ptr().cast();
        // SAFETY: `file` is referenced. The callee takes a reference to the eventfd.
        let event = unsafe { EventFd::from_raw(glue::eventfd_ctx_fileget(file)) }?;
        // The initialiser moves its captures, so it gets a reference.
        let events = &Cell::new(0);
        let this = Arc::pin_init(
            // INVARIANT: An eventfd's poll always queues.
            pin_init!(Self {
                event,
                closed: AtomicBool::new(false),
                listener,
                // SAFETY: The slot is pinned, and leaves the queue when it is dropped. Between that
                // and this, only the queue uses it, under its lock. A callback finds the whole
                // value initialised, as this field is the last one.
                raw <- unsafe {
                    AnyThread::pin_init(Opaque::ffi_init(|slot| {
                        events.set(glue::kvm_arm_listen(slot, file, Some(Self::wake)));
                    }))
                },
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        if events.get() & bindings::POLLIN != 0 {
            this.listener.signalled();
        }
        Ok(this)
    }

    /// The eventfd.
    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }

    /// Whether the last descriptor of the eventfd has been closed, so that no signal will follow.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The listener.
    pub(crate) fn listener(&self) -> &T {
        &self.listener
    }

    /// The queue calls this when the eventfd is signalled or closed.
    ///
    /// # Safety
    ///
    /// `entry` is in the queue, where a `Self` has put it, and the caller holds the queue's lock.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        _mode: ffi::c_uint,
        _flags: ffi::c_int,
        key: *mut c_void,
    ) -> ffi::c_int {
        // SAFETY: The entry is the first field of the first field of a `Self`. That is in the
        // queue, so it is not dropped.
        let this = unsafe { &*entry.cast::<Self>() };
        if key as usize as u32 & bindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The caller holds the queue's lock, as the callee requires.
            unsafe { glue::eventfd_ctx_do_read(this.event.ctx.as_ptr(), &mut count) };
            this.listener.signalled();
        }
        if key as usize as u32 & bindings::POLLHUP != 0 {
            this.closed.store(true, Ordering::Relaxed);
        }
        0
    }
}

#[pinned_drop]
impl<T: Listener> PinnedDrop for Listening<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `raw` is in the queue, by the type's invariant. No callback runs after this.
        unsafe { glue::kvm_arm_unlisten(self.raw.get(), self.event.ctx.as_ptr()) };
    }
}
