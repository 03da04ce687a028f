// SPDX-License-Identifier: GPL-2.0

//! Eventfds: signalling one, and hearing of it when somebody else does.

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
    prelude::*,
    sync::Arc,
    types::Opaque, //
};
use kvm_bindings as glue;

/// An eventfd, which exists as long as this value, whatever becomes of its file.
///
/// # Invariants
///
/// A reference to `ctx` is held.
pub(crate) struct EventFd {
    ctx: NonNull<glue::eventfd_ctx>,
}

// SAFETY: The C side has its own lock.
unsafe impl Send for EventFd {}
// SAFETY: The C side has its own lock.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// The eventfd that a descriptor of the current process is.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: Any number may be asked for.
        let ctx = from_err_ptr(unsafe { glue::eventfd_ctx_fdget(fd as ffi::c_int) })?;
        Ok(Self {
            // INVARIANT: The callee took a reference.
            ctx: NonNull::new(ctx).ok_or(EBADF)?,
        })
    }

    /// Adds one to its count. Any context.
    pub(crate) fn signal(&self) {
        // SAFETY: A reference is held.
        unsafe { glue::eventfd_signal_mask(self.ctx.as_ptr(), 0) };
    }

    /// Whether two descriptors were those of the same eventfd.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.ctx == other.ctx
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: A reference is held, by the type's invariant.
        unsafe { glue::eventfd_ctx_put(self.ctx.as_ptr()) };
    }
}

/// What is to be done when an eventfd is signalled.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Called in any context, with interrupts off and the eventfd's lock held.
    fn signalled(&self);
}

/// A listener at its eventfd. It stops when the value is dropped.
///
/// # Invariants
///
/// `raw` is in the wait queue of `event`.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Listening<T: Listener> {
    // First: a pointer to it is one to the whole.
    #[pin]
    raw: Opaque<glue::kvm_arm_listener>,
    event: EventFd,
    closed: AtomicBool,
    listener: T,
}

// SAFETY: `raw` is touched at construction, by the wait queue under its lock, and at destruction.
unsafe impl<T: Listener> Send for Listening<T> {}
// SAFETY: As above.
unsafe impl<T: Listener> Sync for Listening<T> {}

impl<T: Listener> Listening<T> {
    /// Listens at the eventfd that a descriptor of the current process is. If it is signalled
    /// already, the listener hears of it now.
    pub(crate) fn new(fd: u32, listener: T) -> Result<Arc<Self>> {
        // SAFETY: Any number may be asked for.
        let file = NonNull::new(unsafe { glue::fget(fd) }).ok_or(EBADF)?;
        let result = Self::at_file(file, listener);
        // SAFETY: The reference that `fget` took.
        unsafe { glue::fput(file.as_ptr()) };
        result
    }

    fn at_file(file: NonNull<bindings::file>, listener: T) -> Result<Arc<Self>> {
        // SAFETY: A reference to the file is held.
        let ctx = from_err_ptr(unsafe { glue::eventfd_ctx_fileget(file.as_ptr()) })?;
        let event = EventFd {
            // INVARIANT: The callee took a reference.
            ctx: NonNull::new(ctx).ok_or(EBADF)?,
        };
        // The initialiser moves what it captures.
        let events = &Cell::new(0);
        let this = Arc::pin_init(
            // INVARIANT: An eventfd's poll always queues.
            pin_init!(Self {
                event,
                closed: AtomicBool::new(false),
                listener,
                // SAFETY: The slot is pinned, and taken out of the queue when it is dropped. The
                // callback touches it under the queue's lock, which comes with the whole value
                // initialised: this field is the last.
                raw <- Opaque::ffi_init(|slot| events.set(unsafe {
                    glue::kvm_arm_listen(slot, file.as_ptr(), Some(Self::wake))
                })),
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

    /// Whether the last descriptor of the eventfd has been closed: it will not be signalled again.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The listener.
    pub(crate) fn listener(&self) -> &T {
        &self.listener
    }

    /// What the queue calls when the eventfd is signalled or closed.
    ///
    /// # Safety
    ///
    /// `entry` is in the queue, as a `Self` put it there, and the queue's lock is held.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        _mode: ffi::c_uint,
        _flags: ffi::c_int,
        key: *mut c_void,
    ) -> ffi::c_int {
        // SAFETY: The entry is the first field of the first field of a `Self`, which is in the
        // queue, and so not dropped.
        let this = unsafe { &*entry.cast::<Self>() };
        if key as usize as u32 & bindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The queue's lock is held by whoever signals, as the callee wants it.
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
        // SAFETY: In the queue, by the type's invariant. No callback runs after.
        unsafe { glue::kvm_arm_unlisten(self.raw.get(), self.event.ctx.as_ptr()) };
    }
}
