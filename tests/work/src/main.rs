// SPDX-License-Identifier: GPL-2.0

//! Ordinary work of programs: the same on the board and in its guests, so that the costs can be compared.
//!
//! Each kind of work does a fixed amount, and checks its own result. It is measured by `tools/meter`: what it
//! costs all of the emulated machine. A line for each goes to standard output, `work: NAME: JSON`, with the
//! cost of one operation. Arguments say how the names of those begin that are wanted; without, all are.

mod memory;
mod process;
mod tasks;

use std::ffi::CStr;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use meter::{Batch, Cost, Counts, Total};

use process::{checked, ensure};

/// The argument by which this program does nothing.
const NOTHING: &CStr = c"--nothing";

/// A kind of work: its name, how many operations a batch has, and what does so many.
type Work = (&'static str, u32, fn(u32) -> io::Result<()>);

const ALL: [Work; 10] = [
    ("compute", 4, compute),
    ("system call", 32_000, system_calls),
    ("round trip by pipes", 800, tasks::round_trips),
    ("message over a socket pair", 8000, tasks::messages),
    ("fork and wait", 104, tasks::forks),
    ("fork, exec and wait", 40, tasks::executions),
    ("page fault", 2048, memory::faults),
    ("page fault, 4 processes", 4096, memory::faults_of_processes),
    ("tmpfs file of 64 KiB", 32, memory::files),
    ("timer of 1 ms", 64, timer),
];
/// The number of batches, of which the median counts.
const BATCHES: usize = 3;
/// The prime numbers below 2^18, by the sieve of Eratosthenes.
fn compute(count: u32) -> io::Result<()> {
    const END: usize = 1 << 18;
    const PRIMES: usize = 23_000;
    let mut is_prime = vec![true; END];
    for _ in 0..count {
        black_box(&mut is_prime).fill(true);
        let mut primes = 0;
        for n in 2..END {
            if is_prime.get(n) != Some(&true) {
                continue;
            }
            primes += 1;
            for multiple in is_prime.iter_mut().skip(n * 2).step_by(n) {
                *multiple = false;
            }
        }
        ensure(primes == PRIMES, "there is another number of primes")?;
    }
    Ok(())
}

fn system_calls(count: u32) -> io::Result<()> {
    // SAFETY: It reads a number.
    let parent = || unsafe { libc::getppid() };
    let before = parent();
    for _ in 0..count {
        ensure(parent() == before, "the parent has changed")?;
    }
    Ok(())
}

/// Sleeps for a millisecond at a time.
fn timer(count: u32) -> io::Result<()> {
    const PERIOD: Duration = Duration::from_millis(1);
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: PERIOD.as_nanos() as libc::c_long,
    };
    let periodic = libc::itimerspec {
        it_interval: time,
        it_value: time,
    };
    let start = Instant::now();
    // SAFETY: It makes a descriptor.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) };
    checked(timer as libc::ssize_t)?;
    // SAFETY: The callee reads a structure.
    let result = unsafe { libc::timerfd_settime(timer, 0, &periodic, std::ptr::null_mut()) };
    checked(result as libc::ssize_t)?;
    let mut expired = 0;
    while expired < u64::from(count) {
        let mut times = 0_u64;
        // SAFETY: The callee writes eight bytes.
        let done = unsafe { libc::read(timer, (&raw mut times).cast(), size_of::<u64>()) };
        checked(done)?;
        expired += times;
    }
    // SAFETY: The descriptor is ours, and nobody uses it from here on.
    unsafe { libc::close(timer) };
    ensure(start.elapsed() >= PERIOD * count, "a timer was too fast")
}

/// Does one kind of work, and tells of its cost.
fn measure(&(name, count, work): &Work) -> io::Result<()> {
    // The measured work shall find memory and caches as they are in the long run.
    work(count)?;
    let mut batches = [Batch::NONE; BATCHES];
    for batch in &mut batches {
        *batch = Batch::of(|| work(count))?;
    }
    let cost = Cost::from(Total::new(&batches, &[Batch::NONE; BATCHES], count));
    let mut json = String::new();
    cost.write_json(&mut json).map_err(io::Error::other)?;
    println!("work: {name}: {{{json}}}");
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .map(|argument| argument.as_bytes())
        .eq([NOTHING.to_bytes()])
    {
        return ExitCode::SUCCESS;
    }
    let is_wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|start| name.starts_with(start));
    // The first question starts the count.
    Counts::now();
    for work in ALL.iter().filter(|work| is_wanted(work.0)) {
        if let Err(e) = measure(work) {
            println!("work: {} failed: {e}", work.0);
            return ExitCode::FAILURE;
        }
    }
    Counts::end();
    ExitCode::SUCCESS
}
