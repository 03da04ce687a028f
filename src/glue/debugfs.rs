// SPDX-License-Identifier: GPL-2.0

//! Text files in debugfs that show a value, in a directory of its own.
//!
//! The kernel crate has such files, too, but they do not hold the module: if one is still open when
//! the module goes, functions that are gone would close it. The files here hold the module while
//! they are open.

use core::{
    cell::UnsafeCell,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    ffi, fmt, new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::{
        CStr,
        CString, //
    },
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
};

use super::any_thread::AnyThread;

/// A value with files that show it.
pub(crate) trait Shown: Sync + Sized + 'static {
    const FILES: &'static [&'static [TextFile<Self>]];
}

/// A value with files that show it, and with a part in those of a group.
pub(crate) trait Member: Shown {
    /// The side that the group knows of its members.
    type Side: ?Sized + Sync + 'static;

    fn side(&self) -> &Self::Side;
}

/// A file: its name, and the function that writes its text. The function is given a number, which
/// tells the files of one function from each other.
pub(crate) struct TextFile<T> {
    pub(crate) name: &'static CStr,
    pub(crate) write: fn(&T, usize, &mut fmt::Formatter<'_>) -> fmt::Result,
    pub(crate) number: usize,
}

impl<T> Clone for TextFile<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TextFile<T> {}

/// A directory. When the value is dropped, the directory goes with all its files: the drop waits
/// for reads of them, and later reads fail.
///
/// Nothing depends on debugfs, so an error is as good as a directory. Files in an error do not come
/// to be, and that is no error.
///
/// # Invariants
///
/// Null, an error, or an entry of debugfs that only this value removes.
struct Directory(AnyThread<*mut bindings::dentry>);

impl Directory {
    /// Makes a directory in a parent; at the top of debugfs if that is null.
    fn inside(parent: *mut bindings::dentry, name: &CStr) -> Self {
        // SAFETY: The parent is null, an error or an entry. The callee copies the name. debugfs has
        // its own locks.
        Self(unsafe { AnyThread::new(bindings::debugfs_create_dir(name.as_char_ptr(), parent)) })
    }

    /// Whether it has an entry of that name.
    fn has(&self, name: &CStr) -> bool {
        // SAFETY: By the type's invariants. `debugfs_lookup` returns null if the directory is an
        // error, and would look at the top of debugfs if it were null. It gives a reference, or
        // null, which `dput` ignores.
        unsafe {
            let entry = bindings::debugfs_lookup(name.as_char_ptr(), *self.0);
            bindings::dput(entry);
            !entry.is_null()
        }
    }

    /// Makes the files of a value in it.
    ///
    /// # Safety
    ///
    /// The value must stay in its place as long as the directory exists.
    unsafe fn fill<T: Shown>(&self, value: &T) {
        for file in T::FILES.iter().copied().flatten() {
            // SAFETY: The directory may be an error. The callee copies the name. The operations are
            // 'static. Their private data is the value, to which they have shared references alone.
            // By the requirement it outlives the files. Their `aux` is 'static.
            unsafe {
                bindings::debugfs_create_file_full(
                    file.name.as_char_ptr(),
                    0o444,
                    *self.0,
                    ptr::from_ref(value).cast_mut().cast(),
                    ptr::from_ref(file).cast(),
                    TextFileOperations::<T>::STATIC,
                )
            };
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants. The callee ignores null and errors.
        unsafe { bindings::debugfs_remove(*self.0) };
    }
}

/// Values that have files: each has a directory of its own inside of the group's, which has files
/// about all of them.
///
/// # Invariants
///
/// `directory` has files that show this value, and goes first. `first` begins a list of links of
/// values that live: each takes its link out before it goes. The lock is that of all links, too.
#[pin_data]
pub(crate) struct Group<S: ?Sized> {
    directory: SetOnce<Directory>,
    /// Held while a name is looked up and given. No file's reader takes it.
    #[pin]
    names: Mutex<()>,
    /// A reader of the group's files holds it.
    #[pin]
    first: Mutex<Next<S>>,
    #[pin]
    _pin: PhantomPinned,
}

/// The next link of a group's list, or null.
struct Next<S: ?Sized>(*const UnsafeCell<Link<S>>);

// SAFETY: A link is followed with the group's lock held only, and leads to shared references.
unsafe impl<S: ?Sized + Sync> Send for Next<S> {}

/// A value in a group's list.
struct Link<S: ?Sized> {
    side: Option<NonNull<S>>,
    next: Next<S>,
}

impl<S: ?Sized + Sync + 'static> Group<S>
where
    Self: Shown,
{
    /// A group without values, with a directory of that name at the top of debugfs.
    pub(crate) fn at_top(name: &'static CStr) -> Result<Arc<Self>> {
        let group = Arc::pin_init(
            pin_init!(Self {
                directory: SetOnce::new(),
                names <- new_mutex!((), "kvm_arm_debugfs_names"),
                first <- new_mutex!(Next(ptr::null()), "kvm_arm_debugfs_group"),
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        let directory = Directory::inside(ptr::null_mut(), name);
        if from_err_ptr(*directory.0) == Err(EEXIST) {
            pr_warn!(
                "debugfs has a directory {name:?} already: the statistics have no files there\n"
            );
        }
        // SAFETY: The group is pinned in its `Arc`, and drops the directory first.
        unsafe { directory.fill(&*group) };
        // INVARIANT: The files show the group. Nobody else has it yet.
        group.directory.populate(directory);
        Ok(group)
    }
}

impl<S: ?Sized> Group<S> {
    /// Adds up a number of each value, with none coming or going meanwhile.
    pub(crate) fn sum(&self, number: impl Fn(&S) -> u64) -> u64 {
        let first = self.first.lock();
        let (mut sum, mut next) = (0_u64, first.0);
        while !next.is_null() {
            // SAFETY: By the type's invariants, with the lock held, this is the link of a value
            // that lives.
            let (side, after) = unsafe {
                let link = &*(*next).get();
                (link.side.map(|side| side.as_ref()), link.next.0)
            };
            sum = sum.wrapping_add(side.map_or(0, &number));
            next = after;
        }
        sum
    }
}

/// A value together with the directory of its files, once they are made.
///
/// # Invariants
///
/// The files show `value`. It goes after them, since fields are dropped in their order. It is
/// pinned, as only `new` makes one. Once `group` is there, `link` is in the group's list.
#[pin_data(PinnedDrop)]
pub(crate) struct WithFiles<T: Member> {
    directory: SetOnce<Directory>,
    is_shown: AtomicBool,
    #[pin]
    value: T,
    link: UnsafeCell<Link<T::Side>>,
    group: SetOnce<Arc<Group<T::Side>>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `link` is reached with the group's lock held only, in any thread; the other fields are
// `Send` if the value is.
unsafe impl<T: Member + Send> Send for WithFiles<T> {}
// SAFETY: `link` is reached with the group's lock held only; the other fields are `Sync`, as the
// value is.
unsafe impl<T: Member> Sync for WithFiles<T> {}

impl<T: Member> WithFiles<T> {
    /// The value, without files yet.
    pub(crate) fn new(value: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            directory: SetOnce::new(),
            is_shown: AtomicBool::new(false),
            value <- value,
            link: UnsafeCell::new(Link {
                side: None,
                next: Next(ptr::null()),
            }),
            group: SetOnce::new(),
            _pin: PhantomPinned,
        })
    }

    /// Makes the value one of the group, with files in a directory of its own, the first time that
    /// this is called. `name` gives the directory's name. It is asked again, with `true`, if the
    /// name is taken, and gives another name then, which is not.
    pub(crate) fn show(&self, group: &Arc<Group<T::Side>>, name: impl Fn(bool) -> Result<CString>) {
        if self.is_shown.swap(true, Ordering::Relaxed) {
            return;
        }
        {
            let mut first = group.first.lock();
            let link = Link {
                side: Some(NonNull::from(self.value.side())),
                next: Next(first.0),
            };
            // SAFETY: The lock is held, and the link is in no list yet.
            unsafe { *self.link.get() = link };
            // INVARIANT: The value is pinned, and takes the link out of the list when it is
            // dropped.
            first.0 = &self.link;
        }
        self.group.populate(group.clone());
        let Some(parent) = group.directory.as_ref() else {
            return;
        };
        let _names = group.names.lock();
        let directory = name(false).and_then(|first| {
            let name = if parent.has(&first) {
                name(true)?
            } else {
                first
            };
            Ok(Directory::inside(*parent.0, &name))
        });
        if let Ok(directory) = directory {
            // SAFETY: The value is pinned, and outlives the directory, by the type's invariants.
            unsafe { directory.fill(&self.value) };
            // It is empty: nobody else comes here.
            self.directory.populate(directory);
        }
    }
}

#[pinned_drop]
impl<T: Member> PinnedDrop for WithFiles<T> {
    fn drop(self: Pin<&mut Self>) {
        let Some(group) = self.group.as_ref() else {
            return;
        };
        let mut first = group.first.lock();
        let mut place: *mut Next<T::Side> = &mut *first;
        // SAFETY: With the lock held, the links of the list are valid, and nobody else reaches
        // them. This one is among them.
        unsafe {
            while (*place).0 != &raw const self.link {
                place = &raw mut (*(*(*place).0).get()).next;
            }
            (*place).0 = (*self.link.get()).next.0;
        }
    }
}

impl<T: Member> Deref for WithFiles<T> {
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
        // SAFETY: debugfs calls this for a file that was made with `STATIC`, and does not remove
        // the file meanwhile.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    extern "C" fn show(seq: *mut bindings::seq_file, _: *mut ffi::c_void) -> ffi::c_int {
        // SAFETY: `open` has passed the value on, and it lives: debugfs lets no read begin after
        // the begin of a removal, which waits for the others. `Directory::fill` has set `aux`. The
        // caller has locked `seq`.
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
        (self.file.write)(self.value, self.file.number, f)
    }
}
