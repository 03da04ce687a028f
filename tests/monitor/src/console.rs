// SPDX-License-Identifier: GPL-2.0

//! The terminal: keys go to the guest's serial port.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::terminal::Terminal;

use crate::serial::SerialPort;
use crate::vcpu::{Ending, Stop};

/// Ctrl-A: the next key is for the monitor, as with other monitors.
const ESCAPE: u8 = 0x01;

/// Puts the terminal into raw mode while it lives, if there is one.
pub(crate) struct RawMode(bool);

impl RawMode {
    pub(crate) fn new() -> Self {
        let stdin = io::stdin().lock();
        // SAFETY: Asks about a file descriptor.
        let is_tty = unsafe { libc::isatty(stdin.as_raw_fd()) } == 1;
        Self(is_tty && stdin.set_raw_mode().is_ok())
    }

    pub(crate) fn is_tty(&self) -> bool {
        self.0
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if self.0 {
            // There is nobody to tell if the terminal went away.
            let _ = io::stdin().lock().set_canon_mode();
        }
    }
}

/// Finds the monitor's own commands among the keys.
#[derive(Default)]
struct Escape {
    active: bool,
}

impl Escape {
    /// Appends the guest's part of the input to `out`; true if the user wants to leave.
    fn filter(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in input {
            match (std::mem::take(&mut self.active), byte) {
                (false, ESCAPE) => self.active = true,
                (true, b'x' | b'X') => return true,
                (true, byte) | (false, byte) => out.push(byte),
            }
        }
        false
    }
}

/// Standard input as the guest's keyboard.
pub(crate) struct Input {
    /// Not `std::io::Stdin`, which reads ahead into a buffer that nobody can wait for.
    stdin: File,
    serial: Arc<Mutex<SerialPort>>,
    drained: Arc<EventFd>,
    stop: Arc<Stop>,
    /// On a terminal only: from elsewhere all bytes are data.
    escape: Option<Escape>,
    /// Input that the guest has not taken yet.
    pending: Vec<u8>,
}

impl Input {
    pub(crate) fn new(
        serial: Arc<Mutex<SerialPort>>,
        drained: Arc<EventFd>,
        stop: Arc<Stop>,
        is_tty: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            stdin: io::stdin().as_fd().try_clone_to_owned()?.into(),
            serial,
            drained,
            stop,
            escape: is_tty.then(Escape::default),
            pending: Vec::new(),
        })
    }

    fn feed(&mut self) {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = serial.receive(&self.pending);
        self.pending.drain(..taken);
    }

    fn accept(&mut self, input: &[u8]) {
        match &mut self.escape {
            Some(escape) => {
                if escape.filter(input, &mut self.pending) {
                    self.stop.end(Ending::Stopped);
                }
            }
            None => self.pending.extend_from_slice(input),
        }
        self.feed();
    }
}

impl MutEventSubscriber for Input {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(e) = ops.add(Events::new(&*self.drained, EventSet::IN)) {
            self.stop.end(Ending::Failed(format!("console: {e}")));
        }
        if ops.add(Events::new(&self.stdin, EventSet::IN)).is_err() {
            // A regular file or /dev/null cannot be waited for, and need not be.
            let mut input = Vec::new();
            if self.stdin.read_to_end(&mut input).is_ok() {
                self.accept(&input);
            }
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        if events.fd() == self.drained.as_raw_fd() {
            let _ = self.drained.read();
            self.feed();
            return;
        }
        let mut input = [0; 256];
        match self.stdin.read(&mut input) {
            // The end of the input is not the end of the guest.
            Ok(0) | Err(_) => {
                let _ = ops.remove(events);
            }
            Ok(len) => self.accept(&input[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_leaves() {
        let (mut escape, mut out) = (Escape::default(), Vec::new());
        assert!(!escape.filter(b"a\x01\x01b\x01", &mut out));
        assert_eq!(out, b"a\x01b");
        assert!(escape.filter(b"x", &mut out));
    }
}
