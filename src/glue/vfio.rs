// SPDX-License-Identifier: GPL-2.0

//! Files of a process that may be of VFIO.

use kernel::{
    fs::file::LocalFile,
    prelude::*,
    sync::aref::ARef, //
};
use kvm_bindings as glue;

use super::any_thread::AnyThread;

/// An open file, which stays open as long as this value. Two values are equal if they are the same
/// file.
pub(crate) struct OpenFile(AnyThread<ARef<LocalFile>>);

impl OpenFile {
    /// The file of a descriptor of the current process; `EBADF` if there is none.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        let file = LocalFile::fget(fd).map_err(|_| EBADF)?;
        // SAFETY: A `LocalFile` must stay on its thread because a system call of that thread may
        // use the file's position without a lock. This type gives nobody the position.
        Ok(Self(unsafe { AnyThread::new(file) }))
    }

    /// Whether it is a group or a device of VFIO.
    pub(crate) fn is_of_vfio(&self) -> bool {
        // SAFETY: This value holds a reference to the file.
        unsafe { glue::kvm_arm_is_vfio_file(self.0.as_ptr().cast()) }
    }
}

impl PartialEq for OpenFile {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }
}
