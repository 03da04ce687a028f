// SPDX-License-Identifier: GPL-2.0

//! Text files in debugfs that show a value, in a directory of its own.
//!
//! The kernel crate has such files, too, but they do not hold the module: if one is still open when
//! the module goes, functions that are gone would close it. The files here hold the module while they
//! are open.

use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ops::Deref,
    ptr,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

use kernel::{
    bindings,
    ffi,
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::{
        CStr,
        CString, //
    },
    sync::SetOnce, //
};

use super::any_thread::AnyThread;

/// A value with files that show it.
pub(crate) trait Shown: Sync + Sized + 'static {
    const FILES: &'static [TextFile<Self>];
}

/// A file: its name, and the function that writes its text.
pub(crate) struct TextFile<T> {
    pub(crate) name: &'static CStr,
    pub(crate) write: fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
}

/// A directory. When the value is dropped, the directory goes with all its files: the drop waits for
/// reads of them, and later reads fail.
///
/// Nothing depends on debugfs, so an error is as good as a directory. Files in an error do not come to
/// be, and that is no error.
///
/// # Invariants
///
/// Null, an error, or an entry of debugfs that only this value removes.
pub(crate) struct Directory(AnyThread<*mut bindings::dentry>);

impl Directory {
    /// Makes a directory at the top of debugfs.
    pub(crate) fn at_top(name: &CStr) -> Self {
        Self::inside(ptr::null_mut(), name)
    }

    fn inside(parent: *mut bindings::dentry, name: &CStr) -> Self {
        // SAFETY: The parent is null, an error or an entry. The callee copies the name. debugfs has its
        // own locks.
        Self(unsafe { AnyThread::new(bindings::debugfs_create_dir(name.as_char_ptr(), parent)) })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants. The callee ignores null and errors.
        unsafe { bindings::debugfs_remove(*self.0) };
    }
}

/// A value together with the directory of its files, once they are made.
///
/// # Invariants
///
/// The files show `value`. It goes after them, since fields are dropped in their order. It is pinned, as only
/// `new` makes one.
#[pin_data]
pub(crate) struct WithFiles<T> {
    directory: SetOnce<Directory>,
    is_shown: AtomicBool,
    value: T,
    #[pin]
    _pin: PhantomPinned,
}

impl<T: Shown> WithFiles<T> {
    /// The value, without files yet.
    pub(crate) fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            directory: SetOnce::new(),
            is_shown: AtomicBool::new(false),
            value,
            _pin: PhantomPinned,
        })
    }

    /// Makes the files in a new directory in `parent`, the first time that this is called.
    pub(crate) fn show(&self, parent: &Directory, name: impl FnOnce() -> Result<CString>) {
        if self.is_shown.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(name) = name() else {
            return;
        };
        let directory = Directory::inside(*parent.0, &name);
        for file in T::FILES {
            // SAFETY: The directory may be an error. The callee copies the name. The operations are
            // 'static. Their private data is the value, to which they have shared references alone. It is
            // pinned, and outlives the files by the type's invariants. Their `aux` is 'static.
            unsafe {
                bindings::debugfs_create_file_full(
                    file.name.as_char_ptr(),
                    0o444,
                    *directory.0,
                    (&raw const self.value).cast_mut().cast(),
                    ptr::from_ref(file).cast(),
                    TextFileOperations::<T>::STATIC,
                )
            };
        }
        // It is empty: nobody else comes here.
        self.directory.populate(directory);
    }
}

impl<T> Deref for WithFiles<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The `struct file_operations` of files with a `T` as private data and a `TextFile<T>` as `aux`.
struct TextFileOperations<T>(PhantomData<T>);

impl<T: Shown> TextFileOperations<T> {
    const STATIC: &'static bindings::file_operations = &bindings::file_operations {
        owner: crate::THIS_MODULE.as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> ffi::c_int {
        // SAFETY: debugfs calls this for a file that was made with `STATIC`, and does not remove the
        // file meanwhile.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    extern "C" fn show(seq: *mut bindings::seq_file, _: *mut ffi::c_void) -> ffi::c_int {
        // SAFETY: `open` has passed the value on, and it lives: debugfs lets no read begin after the
        // begin of a removal, which waits for the others. `WithFiles::new` has set `aux`. The caller has locked
        // `seq`.
        let (value, file, seq) = unsafe {
            (
                &*(*seq).private.cast_const().cast::<T>(),
                &*bindings::debugfs_get_aux((*seq).file)
                    .cast_const()
                    .cast::<TextFile<T>>(),
                SeqFile::from_raw(seq),
            )
        };
        seq_print!(seq, "{}", Text { value, file });
        0
    }
}

struct Text<'a, T: 'static> {
    value: &'a T,
    file: &'static TextFile<T>,
}

impl<T> fmt::Display for Text<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.file.write)(self.value, f)
    }
}
