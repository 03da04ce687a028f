// SPDX-License-Identifier: GPL-2.0

//! Files with a reference-counted Rust object as private data: character devices
//! with a fixed minor number, and anonymous inodes.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi,
    fs::file::{
        File,
        FileDescriptorReservation, //
    },
    mm::virt::VmaNew,
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    },
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    log::debug, //
};

/// An object behind a file descriptor.
pub(crate) trait FileObject: Sized + Send + Sync + 'static {
    /// Handles an ioctl. The result becomes the return value of the call.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;

    /// Maps the object into a process.
    fn mmap(_this: ArcBorrow<'_, Self>, _vma: &VmaNew) -> Result {
        Err(ENODEV)
    }

    /// The last descriptor of this file has been closed.
    fn release(_this: ArcBorrow<'_, Self>) {}

    /// Whether the object has [`FileObject::read`] and [`FileObject::size`]. Else `read` fails with
    /// `EINVAL`, and the file has no position.
    const READABLE: bool = false;

    /// Copies the content of the file from `position` on, up to its end or the end of `to`. Returns
    /// the number of bytes.
    fn read(
        _this: ArcBorrow<'_, Self>,
        _position: u64,
        _to: &mut UserSliceWriter,
    ) -> Result<usize> {
        Err(EINVAL)
    }

    /// The number of bytes in the file.
    fn size(_this: ArcBorrow<'_, Self>) -> u64 {
        0
    }
}

/// The `struct file_operations` of files whose private data is an `Arc<T>`.
struct FileOperations<T>(PhantomData<T>);

impl<T: FileObject> FileOperations<T> {
    const STATIC: &'static bindings::file_operations = &Self::TABLE;

    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: crate::THIS_MODULE.as_ptr(),
        unlocked_ioctl: Some(Self::ioctl),
        mmap: Some(Self::mmap),
        release: Some(Self::release),
        read: if T::READABLE { Some(Self::read) } else { None },
        llseek: if T::READABLE {
            Some(Self::llseek)
        } else {
            Some(bindings::noop_llseek)
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `file` must be an open file made with [`Self::TABLE`], and stay open as long as the result
    /// lives.
    unsafe fn object<'a>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
        // SAFETY: The private data of such a file is an `Arc<T>` from `into_foreign` until
        // `release`.
        unsafe { Arc::<T>::borrow((*file).private_data.cast()) }
    }

    extern "C" fn ioctl(
        file: *mut bindings::file,
        cmd: ffi::c_uint,
        arg: ffi::c_ulong,
    ) -> ffi::c_long {
        // SAFETY: The kernel calls this for open files made with `TABLE`.
        match T::ioctl(unsafe { Self::object(file) }, cmd, arg) {
            Ok(value) => value as ffi::c_long,
            Err(e) => {
                if e != EINTR && e != ERESTARTNOHAND {
                    Self::note_failure(cmd, e);
                }
                e.to_errno() as ffi::c_long
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn note_failure(cmd: u32, error: Error) {
        debug!(
            "ioctl {cmd:#010x} of {}: {error:?}\n",
            core::any::type_name::<T>()
        );
    }

    extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> ffi::c_int {
        // SAFETY: The kernel calls this for open files made with `TABLE`, to set `vma` up.
        match unsafe { T::mmap(Self::object(file), VmaNew::from_raw(vma)) } {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    extern "C" fn read(
        file: *mut bindings::file,
        buffer: *mut ffi::c_char,
        len: usize,
        position: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The kernel calls this for open files made with `TABLE`. The caller has given its
        // `position` for this function alone.
        let (object, position) = unsafe { (Self::object(file), &mut *position) };
        let Ok(from) = u64::try_from(*position) else {
            return EINVAL.to_errno() as isize;
        };
        let mut to = UserSlice::new(UserPtr::from_addr(buffer as usize), len).writer();
        match T::read(object, from, &mut to) {
            Ok(read) => {
                *position = position.saturating_add(read as bindings::loff_t);
                read as isize
            }
            Err(e) => e.to_errno() as isize,
        }
    }

    extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: ffi::c_int,
    ) -> bindings::loff_t {
        // SAFETY: The kernel calls this for open files made with `TABLE`. The callee has its own
        // locks.
        unsafe {
            let size = T::size(Self::object(file));
            bindings::fixed_size_llseek(file, offset, whence, size as bindings::loff_t)
        }
    }

    extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> ffi::c_int {
        // SAFETY: The kernel calls this once, as the last thing, for a file made with `TABLE`.
        let object = unsafe { Arc::<T>::from_foreign((*file).private_data.cast()) };
        T::release(object.as_arc_borrow());
        0
    }
}

/// An open file with a reserved descriptor of the current process.
///
/// Once a value exists, nothing can fail any more. If the value is dropped, user space sees neither
/// the file nor the descriptor.
pub(crate) struct NewFile {
    fd: FileDescriptorReservation,
    file: ARef<File>,
}

impl NewFile {
    /// Makes a file for `object`, with a descriptor that is close-on-exec.
    pub(crate) fn new<T: FileObject>(name: &CStr, object: Arc<T>) -> Result<Self> {
        Self::with_mode(name, object, bindings::O_RDWR, 0)
    }

    fn with_mode<T: FileObject>(
        name: &CStr,
        object: Arc<T>,
        flags: u32,
        fmode: u32,
    ) -> Result<Self> {
        let fd = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
        let private = object.into_foreign();
        // SAFETY: The callee copies `name`. The operations are 'static. The file takes over the
        // reference in `private`.
        let file = from_err_ptr(unsafe {
            glue::anon_inode_getfile_fmode(
                name.as_char_ptr(),
                FileOperations::<T>::STATIC,
                private.cast(),
                flags as ffi::c_int,
                fmode,
            )
        });
        let file = match file.and_then(|file| NonNull::new(file).ok_or(ENOMEM)) {
            Ok(file) => file,
            Err(e) => {
                // SAFETY: There is no file, so the reference is still ours.
                drop(unsafe { Arc::<T>::from_foreign(private) });
                return Err(e);
            }
        };
        // SAFETY: The file is new, so the reference to it is ours, and nobody uses its position.
        let file = unsafe { ARef::<File>::from_raw(file.cast()) };
        Ok(Self { fd, file })
    }

    /// The descriptor that the file will have.
    pub(crate) fn number(&self) -> i32 {
        self.fd.reserved_fd() as i32
    }

    /// Gives the file to the process, and returns its descriptor. Another thread can use and close
    /// it before this function returns.
    pub(crate) fn install(self) -> isize {
        let number = self.fd.reserved_fd();
        self.fd.fd_install(self.file);
        number as isize
    }
}

/// Makes a file descriptor for `object` that can only be read, at any position (`pread`).
pub(crate) fn new_readable_descriptor<T: FileObject>(name: &CStr, object: Arc<T>) -> Result<isize> {
    let fmode = glue::KVM_ARM_FMODE_PREAD;
    NewFile::with_mode(name, object, bindings::O_RDONLY, fmode).map(NewFile::install)
}

/// A registered character device of the misc class. Every open makes a new object.
///
/// # Invariants
///
/// `inner` is registered with `misc_register`.
#[pin_data(PinnedDrop)]
pub(crate) struct MiscDevice<T: OpenableDevice> {
    #[pin]
    inner: AnyThread<Opaque<bindings::miscdevice>>,
    // The device makes objects, but has none.
    _t: PhantomData<fn() -> T>,
}

/// An object for each `open` of a character device.
pub(crate) trait OpenableDevice: FileObject {
    /// Makes the object for one open file.
    fn open() -> Result<Arc<Self>>;
}

impl<T: OpenableDevice> MiscDevice<T> {
    const STATIC: &'static bindings::file_operations = &Self::TABLE;

    const TABLE: bindings::file_operations = bindings::file_operations {
        open: Some(Self::open),
        ..FileOperations::<T>::TABLE
    };

    extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> ffi::c_int {
        match T::open() {
            Ok(object) => {
                // SAFETY: This call opens `file`, whose private data is ours from here on.
                unsafe { (*file).private_data = object.into_foreign().cast() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// Registers `/dev/<name>` with its reserved minor number.
    pub(crate) fn register(name: &'static CStr, minor: u32) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The slot is valid for writes, and pinned until it is deregistered. From its
            // registration on only the kernel uses it, with its own locks.
            inner <- unsafe {
                AnyThread::pin_init(Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                    slot.write(bindings::miscdevice {
                        minor: minor as ffi::c_int,
                        name: name.as_char_ptr(),
                        fops: Self::STATIC,
                        ..pin_init::zeroed()
                    });
                    to_result(bindings::misc_register(slot))
                }))
            },
            _t: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: OpenableDevice> PinnedDrop for MiscDevice<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `inner` is registered, by the type's invariant.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}
