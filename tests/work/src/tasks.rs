// SPDX-License-Identifier: GPL-2.0

//! Tasks that wait for each other. Two hand a byte to and fro through pipes, one makes another and waits
//! for its end, many send messages over socket pairs.
//!
//! All of these take locks of the kernel's scheduler on several CPUs, so a guest whose CPUs share one of
//! the host spins where another of its CPUs was preempted with such a lock.

use std::ffi::CStr;
use std::{io, ptr};

use crate::process::{checked, ensure, fork, wait, Pair};

/// Pairs of a sender and a receiver.
const PAIRS: u32 = 8;
/// The size of a message.
const MESSAGE: usize = 100;

/// Two processes hand a byte to and fro.
pub(crate) fn round_trips(count: u32) -> io::Result<()> {
    let (there, back) = (Pair::pipe()?, Pair::pipe()?);
    let child = fork(|| {
        let mut byte = [0];
        for _ in 0..count {
            there.reader().read(&mut byte)?;
            back.writer().write(&byte)?;
        }
        Ok(())
    })?;
    for n in 0..count {
        let mut byte = [n as u8];
        there.writer().write(&byte)?;
        back.reader().read(&mut byte)?;
        ensure(byte == [n as u8], "another byte came back")?;
    }
    wait(child)
}

/// Processes that end at once, one after the other.
pub(crate) fn forks(count: u32) -> io::Result<()> {
    for _ in 0..count {
        wait(fork(|| Ok(()))?)?;
    }
    Ok(())
}

/// The same, and each of them first becomes a program of its own: this one, which is told to do nothing.
pub(crate) fn executions(count: u32) -> io::Result<()> {
    const PROGRAM: &CStr = c"/proc/self/exe";
    for _ in 0..count {
        let child = fork(|| {
            let arguments = [PROGRAM.as_ptr(), crate::NOTHING.as_ptr(), ptr::null()];
            // SAFETY: The arguments are strings, and the list of them ends.
            let result = unsafe { libc::execv(PROGRAM.as_ptr(), arguments.as_ptr()) };
            checked(result as libc::ssize_t).map(drop)
        })?;
        wait(child)?;
    }
    Ok(())
}

/// Senders and receivers, all at once. Each pair has its part of the messages.
pub(crate) fn messages(count: u32) -> io::Result<()> {
    let mut processes = Vec::new();
    for _ in 0..PAIRS {
        let pair = Pair::sockets()?;
        processes.push(fork(|| {
            for _ in 0..count / PAIRS {
                pair.reader().write(&[0x5a; MESSAGE])?;
            }
            Ok(())
        })?);
        processes.push(fork(|| {
            for _ in 0..count / PAIRS {
                let mut message = [0; MESSAGE];
                pair.writer().read(&mut message)?;
                ensure(message == [0x5a; MESSAGE], "another message came")?;
            }
            Ok(())
        })?);
    }
    processes.into_iter().try_for_each(wait)
}
