// SPDX-License-Identifier: GPL-2.0

//! How often each call ended with each errno. It is in memory that all processes share, so a process
//! that dies takes nothing with it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::calls::{Call, CALLS};

/// The errnos of Linux are below this; 0 is success.
const ERRNOS: usize = 134;

/// Room for more calls than there are.
const ROOM: usize = 96;

/// The table.
pub(crate) struct Coverage([[AtomicU32; ERRNOS]; ROOM]);

impl Coverage {
    /// Counts the end of a call.
    pub(crate) fn count(&self, call: usize, errno: i32) {
        let errno = (errno as usize).min(ERRNOS - 1);
        self.0[call][errno].fetch_add(1, Ordering::Relaxed);
    }

    fn ends(&self, call: usize) -> impl Iterator<Item = (i32, u32)> + '_ {
        let counts = self.0[call]
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        (0..).zip(counts).filter(|(_, count)| *count > 0)
    }

    /// The table as text: a line for each call.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (n, call) in CALLS.iter().enumerate() {
            let _ = write!(text, "{:<40}", call.to_string());
            for (errno, count) in self.ends(n) {
                let _ = write!(text, " {}:{count}", name(errno));
            }
            text.push('\n');
        }
        text
    }

    /// The ends that each call can have and that nobody has seen. EIO is the answer to all calls of
    /// another process, and tells nothing.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (n, call) in CALLS.iter().enumerate() {
            let Call {
                succeeds, fails, ..
            } = call;
            if *succeeds && !self.ends(n).any(|(errno, _)| errno == 0) {
                missing.push(format!("{call} never succeeded"));
            }
            let is_error = |errno| errno != 0 && errno != libc::EIO;
            if *fails && !self.ends(n).any(|(errno, _)| is_error(errno)) {
                missing.push(format!("{call} never failed"));
            }
        }
        missing
    }
}

/// The name of an errno, for those that KVM has.
fn name(errno: i32) -> String {
    let known = [
        (0, "ok"),
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    match known.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
}
