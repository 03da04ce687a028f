// SPDX-License-Identifier: GPL-2.0

//! The guest's output, on its way to standard output.
//!
//! A serial port gives one byte at a time, and one system call for each would be most of the time
//! that a guest needs to boot. A thread collects them into lines; a piece of a line, such as a
//! prompt, goes out when nothing has followed it for a moment.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a piece of a line waits for the rest.
const PATIENCE: Duration = Duration::from_millis(10);
/// As much as this does not wait.
const PLENTY: usize = 4096;

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// There is enough to be written at once.
    ready: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that the serial port writes to.
pub(crate) struct Sink(Arc<Shared>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(data);
        let ready = data.contains(&b'\n') || state.bytes.len() >= PLENTY;
        state.ready |= ready;
        if was_empty || ready {
            self.0.changed.notify_one();
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes; when this is dropped, all has been written.
pub(crate) struct Output {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    /// Starts the thread, which writes to `out`.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("output".into())
            .spawn(move || drain(&theirs, &mut out))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.shared))
    }
}

fn drain(shared: &Shared, out: &mut impl Write) {
    let mut state = shared.lock();
    loop {
        while state.bytes.is_empty() && !state.closed {
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !state.ready && !state.closed {
            (state, _) = shared
                .changed
                .wait_timeout_while(state, PATIENCE, |state| !state.ready && !state.closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut state.bytes);
        state.ready = false;
        drop(state);
        // A reader who went away does not end the guest.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
        state = shared.lock();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread does nothing that could panic. If it did, there would be nothing left to
            // write with.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, Sender};

    struct Writes(Sender<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.send(data.to_vec()).map_err(io::Error::other)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_lost_and_prompts_come_out() {
        let (sender, receiver) = channel();
        let output = Output::start(Writes(sender)).unwrap();
        let mut sink = output.sink();
        for byte in b"login: " {
            sink.write_all(&[*byte]).unwrap();
        }
        let mut all = Vec::new();
        while all.len() < 7 {
            all.extend(receiver.recv_timeout(Duration::from_secs(5)).unwrap());
        }
        sink.write_all(b"root\nrest").unwrap();
        drop(output);
        all.extend(receiver.iter().flatten());
        assert_eq!(all, b"login: root\nrest");
    }
}
