// SPDX-License-Identifier: GPL-2.0

//! Files of a process that may be of VFIO.

use kernel::{
    fs::file::{
        File,
        LocalFile, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use kvm_bindings as glue;

/// An open file, which stays open as long as this value. Equal is what is the same file.
pub(crate) struct OpenFile(ARef<File>);

impl OpenFile {
    /// What a descriptor of the current process stands for: `EBADF` if it is none.
    ///
    /// The caller is in an ioctl, and so has no file's position.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        let file = LocalFile::fget(fd).map_err(|_| EBADF)?;
        // SAFETY: No ioctl takes a file's position (`fdget_pos`).
        Ok(Self(unsafe { LocalFile::assume_no_fdget_pos(file) }))
    }

    /// Whether it is a group or a device of VFIO.
    pub(crate) fn is_of_vfio(&self) -> bool {
        // SAFETY: The file is referenced.
        unsafe { glue::kvm_arm_is_vfio_file(self.0.as_ptr().cast()) }
    }
}

impl PartialEq for OpenFile {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }
}
