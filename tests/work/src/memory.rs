// SPDX-License-Identifier: GPL-2.0

//! First touches of memory, and files in memory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::{mem, ptr};

use crate::process::{checked, ensure, fork, wait};

const PAGE: usize = 4096;
/// Pages that a process has at once.
const PAGES: u32 = 512;
/// Processes that touch memory at once.
const PROCESSES: u32 = 4;
/// The folder for files, which has to be a tmpfs.
const FOLDER: &str = "/tmp";
/// Pages of a file.
const FILE_PAGES: u8 = 16;

/// Memory that is not there before it is touched, and comes in small pages.
struct Mapping {
    start: *mut u8,
    size: usize,
}

impl Mapping {
    fn new(pages: u32) -> io::Result<Self> {
        let size = pages as usize * PAGE;
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: A new mapping, where nothing is.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let this = Self {
            start: start.cast(),
            size,
        };
        // SAFETY: The mapping is ours.
        let result = unsafe { libc::madvise(start, size, libc::MADV_NOHUGEPAGE) };
        checked(result as libc::ssize_t)?;
        Ok(this)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours, and nobody uses it from here on.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

/// First touches of pages.
pub(crate) fn faults(count: u32) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        let pages = left.min(PAGES);
        left -= pages;
        let mapping = Mapping::new(pages)?;
        for page in 0..pages as usize {
            // SAFETY: A word of the mapping, which nobody else uses.
            let was_zero = unsafe {
                let word = mapping.start.add(page * PAGE).cast::<u32>();
                word.write_volatile(page as u32 + 1);
                word.add(1).read_volatile() == 0
            };
            ensure(was_zero, "new memory is not empty")?;
        }
    }
    Ok(())
}

/// The same by several processes at once, each of which has its part of the pages.
pub(crate) fn faults_of_processes(count: u32) -> io::Result<()> {
    let children: io::Result<Vec<_>> = (0..PROCESSES)
        .map(|_| fork(|| faults(count / PROCESSES)))
        .collect();
    children?.into_iter().try_for_each(wait)
}

/// Files that are written, read and deleted.
pub(crate) fn files(count: u32) -> io::Result<()> {
    let folder = File::open(FOLDER)?;
    // SAFETY: A structure of numbers, which the callee writes.
    let kind = unsafe {
        let mut facts: libc::statfs = mem::zeroed();
        checked(libc::fstatfs(folder.as_raw_fd(), &mut facts) as libc::ssize_t)?;
        facts.f_type
    };
    ensure(
        kind as libc::c_long == libc::TMPFS_MAGIC,
        "/tmp is no tmpfs",
    )?;
    let path = format!("{FOLDER}/work.{}", std::process::id());
    for n in 0..count {
        let byte = |page| (n as u8).wrapping_add(page);
        let mut file = File::create_new(&path)?;
        for page in 0..FILE_PAGES {
            file.write_all(&[byte(page); PAGE])?;
        }
        let mut file = File::open(&path)?;
        for page in 0..FILE_PAGES {
            let mut data = [0; PAGE];
            file.read_exact(&mut data)?;
            ensure(data == [byte(page); PAGE], "a file has other contents")?;
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}
