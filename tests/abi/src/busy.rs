// SPDX-License-Identifier: GPL-2.0

//! A program for Linux guests: keeps their timers and a disk busy, for a test that ends the guest's
//! kernel in the middle of it.
//!
//! For each CPU, one thread sleeps for a millisecond again and again, and one reads blocks from the
//! disk, past the page cache. No sleep is too short, and a block is always the same.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{exit, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The argument by which this program does that; the path of the disk follows.
pub(crate) const BUSY: &str = "--busy";

const TICK: Duration = Duration::from_millis(1);
const BLOCK: usize = 4096;
/// The blocks that are read, from the start of the disk.
const BLOCKS: u64 = 512;
/// This program says that it is busy after so many ticks and blocks of each CPU.
const TICKS: u32 = 100;
const READS: u32 = 20;

/// How far the threads of one CPU are.
#[derive(Default)]
struct Progress {
    ticks: AtomicU32,
    reads: AtomicU32,
}

/// One block, where a read past the page cache wants it.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

fn tick(progress: &Progress) -> io::Result<()> {
    loop {
        let start = Instant::now();
        thread::sleep(TICK);
        if start.elapsed() < TICK {
            return Err(io::Error::other("a sleep was too short"));
        }
        progress.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

fn read(disk: &File, progress: &Progress, seed: u64) -> io::Result<()> {
    let mut first = Box::new(Block([0; BLOCK]));
    let mut second = Box::new(Block([0; BLOCK]));
    let mut number = seed;
    loop {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = (number >> 33) % BLOCKS * BLOCK as u64;
        disk.read_exact_at(&mut first.0, offset)?;
        disk.read_exact_at(&mut second.0, offset)?;
        if first.0 != second.0 {
            return Err(io::Error::other(format!(
                "the block at {offset} has changed"
            )));
        }
        progress.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the program if the work of a thread fails.
fn keep(work: impl FnOnce() -> io::Result<()> + Send + 'static) {
    thread::spawn(|| {
        if let Err(e) = work() {
            eprintln!("guest: not ok: {e}");
            exit(1);
        }
    });
}

fn run(path: &str) -> io::Result<()> {
    let disk = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let disk = Arc::new(disk);
    let cpus = thread::available_parallelism()?.get();
    let all: Vec<Arc<Progress>> = (0..cpus).map(|_| Arc::default()).collect();
    for (seed, progress) in (1..).zip(&all) {
        let (one, other, disk) = (progress.clone(), progress.clone(), disk.clone());
        keep(move || tick(&one));
        keep(move || read(&disk, &other, seed));
    }
    let is_busy = |progress: &Arc<Progress>| {
        progress.ticks.load(Ordering::Relaxed) >= TICKS
            && progress.reads.load(Ordering::Relaxed) >= READS
    };
    while !all.iter().all(is_busy) {
        thread::sleep(TICK);
    }
    println!("busy: timers and the disk, on {cpus} CPUs");
    loop {
        thread::park();
    }
}

/// Works until the guest ends, and says when it has begun.
pub(crate) fn main(path: &str) -> ExitCode {
    if let Err(e) = run(path) {
        eprintln!("guest: not ok: {e}");
    }
    ExitCode::FAILURE
}
