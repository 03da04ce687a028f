// SPDX-License-Identifier: GPL-2.0

//! Processes, pipes, and what else of the system calls several kinds of work use.

use std::io;

/// The result of a system call, which fails with -1.
pub(crate) fn checked(result: libc::ssize_t) -> io::Result<libc::ssize_t> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Fails with a text unless a condition holds.
pub(crate) fn ensure(condition: bool, what: &str) -> io::Result<()> {
    if condition {
        Ok(())
    } else {
        Err(io::Error::other(what))
    }
}

/// One end of a pipe or of a pair of sockets.
#[derive(Clone, Copy)]
pub(crate) struct End(libc::c_int);

impl End {
    /// Writes all of `data`.
    pub(crate) fn write(self, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            // SAFETY: So many bytes can be read there.
            let done = checked(unsafe { libc::write(self.0, rest.as_ptr().cast(), rest.len()) })?;
            rest = rest.get(done as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills all of `data`.
    pub(crate) fn read(self, data: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = data.get_mut(at..).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` has room for so many bytes.
            let done = unsafe { libc::read(self.0, rest.as_mut_ptr().cast(), rest.len()) };
            let done = checked(done)?;
            if done == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += done as usize;
        }
        Ok(())
    }
}

/// The ends of a pipe, or of a pair of sockets. They are closed when it goes.
pub(crate) struct Pair([libc::c_int; 2]);

impl Drop for Pair {
    fn drop(&mut self) {
        for end in self.0 {
            // SAFETY: The descriptor is ours, and nobody uses it from here on.
            unsafe { libc::close(end) };
        }
    }
}

impl Pair {
    /// Makes a pipe.
    pub(crate) fn pipe() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: The callee writes two integers.
        checked(unsafe { libc::pipe(ends.as_mut_ptr()) } as libc::ssize_t)?;
        Ok(Self(ends))
    }

    /// Makes a pair of sockets.
    pub(crate) fn sockets() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: The callee writes two integers.
        let result =
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
        checked(result as libc::ssize_t)?;
        Ok(Self(ends))
    }

    /// The end that is read.
    pub(crate) fn reader(&self) -> End {
        End(self.0[0])
    }

    /// The end that is written.
    pub(crate) fn writer(&self) -> End {
        End(self.0[1])
    }
}

/// Runs `child` in a process of its own, which ends after it.
pub(crate) fn fork(child: impl FnOnce() -> io::Result<()>) -> io::Result<libc::pid_t> {
    // SAFETY: This program has one thread, so the new process can do all that this one can.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = child().map_or(1, |()| 0);
        // SAFETY: Ends the process at once; it shares nothing that has to be put in order.
        unsafe { libc::_exit(status) };
    }
    checked(pid as libc::ssize_t).map(|_| pid)
}

/// Waits for the end of a process, which has to be a good one.
pub(crate) fn wait(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: The callee writes an integer.
    checked(unsafe { libc::waitpid(pid, &mut status, 0) } as libc::ssize_t)?;
    ensure(status == 0, "a process failed")
}
