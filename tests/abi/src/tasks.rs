// SPDX-License-Identifier: GPL-2.0

//! A program for Linux guests: what it costs there when tasks wait for each other. Two hand a byte
//! to and fro through pipes, one makes another and waits for its end, many send messages over
//! socket pairs.
//!
//! All of these take locks of the guest's scheduler on two CPUs, so a guest whose CPUs share one of
//! the host spins where another of its CPUs was preempted with such a lock.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

/// The argument by which this program does that.
pub(crate) const TASKS: &str = "--tasks";

const ROUND_TRIPS: u32 = 2000;
const FORKS: u32 = 300;
/// Pairs of a sender and a receiver, and the messages of each.
const PAIRS: u32 = 8;
const MESSAGES: u32 = 2000;
/// The size of a message.
const MESSAGE: usize = 100;

/// The result of a system call, which fails with -1.
fn checked(result: libc::ssize_t) -> io::Result<libc::ssize_t> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// One end of a pipe or of a socket pair.
#[derive(Clone, Copy)]
struct End(libc::c_int);

impl End {
    /// Writes all of `data`.
    fn write(self, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            // SAFETY: So many bytes can be read there.
            let done = checked(unsafe { libc::write(self.0, rest.as_ptr().cast(), rest.len()) })?;
            rest = rest.get(done as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills all of `data`.
    fn read(self, data: &mut [u8]) -> io::Result<()> {
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

/// A pipe: where it is read and where it is written.
fn pipe() -> io::Result<(End, End)> {
    let mut ends = [0; 2];
    // SAFETY: The callee writes two integers.
    checked(unsafe { libc::pipe(ends.as_mut_ptr()) } as libc::ssize_t)?;
    Ok((End(ends[0]), End(ends[1])))
}

fn socket_pair() -> io::Result<(End, End)> {
    let mut ends = [0; 2];
    // SAFETY: The callee writes two integers.
    let result =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    checked(result as libc::ssize_t)?;
    Ok((End(ends[0]), End(ends[1])))
}

/// Runs `child` in a process of its own, which ends after it.
fn fork(child: impl FnOnce() -> io::Result<()>) -> io::Result<libc::pid_t> {
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
fn wait(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: The callee writes an integer.
    checked(unsafe { libc::waitpid(pid, &mut status, 0) } as libc::ssize_t)?;
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other("a process failed"))
    }
}

/// Two processes hand a byte to and fro.
fn round_trips() -> io::Result<()> {
    let (there_read, there_write) = pipe()?;
    let (back_read, back_write) = pipe()?;
    let child = fork(|| {
        let mut byte = [0];
        for _ in 0..ROUND_TRIPS {
            there_read.read(&mut byte)?;
            back_write.write(&byte)?;
        }
        Ok(())
    })?;
    for n in 0..ROUND_TRIPS {
        let mut byte = [n as u8];
        there_write.write(&byte)?;
        back_read.read(&mut byte)?;
        if byte != [n as u8] {
            return Err(io::Error::other("another byte came back"));
        }
    }
    wait(child)
}

/// Processes that end at once, one after the other.
fn forks() -> io::Result<()> {
    for _ in 0..FORKS {
        wait(fork(|| Ok(()))?)?;
    }
    Ok(())
}

/// Senders and receivers, all at once.
fn messages() -> io::Result<()> {
    let mut processes = Vec::new();
    for _ in 0..PAIRS {
        let (to, from) = socket_pair()?;
        processes.push(fork(|| {
            for _ in 0..MESSAGES {
                to.write(&[0x5a; MESSAGE])?;
            }
            Ok(())
        })?);
        processes.push(fork(|| {
            for _ in 0..MESSAGES {
                let mut message = [0; MESSAGE];
                from.read(&mut message)?;
                if message != [0x5a; MESSAGE] {
                    return Err(io::Error::other("another message came"));
                }
            }
            Ok(())
        })?);
    }
    processes.into_iter().try_for_each(wait)
}

/// The cost of one of `count` operations, in nanoseconds.
fn cost(what: &str, count: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    work()?;
    println!(
        "tasks: {what}: {}",
        start.elapsed().as_nanos() / u128::from(count)
    );
    Ok(())
}

fn run() -> io::Result<()> {
    cost("round trip", ROUND_TRIPS, round_trips)?;
    cost("fork and wait", FORKS, forks)?;
    cost("message", PAIRS * MESSAGES, messages)
}

/// Runs all of it.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("tasks: {e}");
            ExitCode::FAILURE
        }
    }
}
