// SPDX-License-Identifier: GPL-2.0

//! Starts the processes, waits for them, and judges.

use std::cell::Cell;
use std::process::exit;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::caller::task_name;
use crate::guest;
use crate::host::{self, explain, registers, vms, Memory};
use crate::neighbour;
use crate::options::Options;
use crate::shared::Shared;
use crate::worker::{self, Round};

/// A round in which nothing happens for so many seconds stands still.
const STILL: u64 = 60;

/// So much of the kernel's memory may be more at the end, in KiB. A VM that is not freed takes 17 of them, and
/// there are some for each of thousands of calls.
const GROWTH: i64 = 1024;

/// Another process of this program.
struct Process {
    id: i32,
    /// It has been waited for.
    ended: Cell<bool>,
}

impl Process {
    /// Starts one that does something, and says how that failed.
    fn start(work: impl FnOnce() -> Result<(), String>) -> Result<Self, String> {
        // SAFETY: This process has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
            0 => {
                // SAFETY: It only has numbers. The process ends with its parent.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                exit(match work() {
                    Ok(()) => 0,
                    Err(why) => {
                        println!("{why}");
                        1
                    }
                })
            }
            id => Ok(Self {
                id,
                ended: Cell::new(false),
            }),
        }
    }

    /// How it ended, if it has.
    fn status(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: The kernel writes one number.
        let ended = unsafe { libc::waitpid(self.id, &raw mut status, libc::WNOHANG) };
        self.ended.set(ended == self.id);
        (ended == self.id).then_some(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.get() {
            return;
        }
        // SAFETY: It is our child, and its number is its own until it has been waited for.
        unsafe {
            libc::kill(self.id, libc::SIGKILL);
            libc::waitpid(self.id, std::ptr::null_mut(), 0);
        }
    }
}

/// Waits for a round. It may end by itself, or by SIGKILL, which some send to themselves.
fn finish(shared: &Shared, process: &Process, round: Round, by_signal: bool) -> Result<(), String> {
    let patience = kvm::patience(STILL);
    let (mut pulse, mut moved) = (shared.pulse(), Instant::now());
    loop {
        if let Some(status) = process.status() {
            let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            if status == 0 || killed && by_signal {
                return Ok(());
            }
            return Err(format!("status {status:#x}"));
        }
        let now = shared.pulse();
        if now != pulse {
            (pulse, moved) = (now, Instant::now());
        }
        if moved.elapsed() > patience {
            for (n, now) in shared.now.iter().take(round.threads).enumerate() {
                let step = now.step.load(Ordering::Relaxed);
                println!("thread {n}: step {step}, {}", task_name(&now.call));
            }
            explain(process.id);
            return Err(format!("nothing happened for {} s", patience.as_secs()));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Does what the options say.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    println!(
        "seed {}, {} threads with {} steps each in a round",
        options.seed, options.threads, options.steps
    );
    let shared = Shared::map().map_err(|e| format!("shared memory: {e}"))?;
    let neighbour = Process::start(|| neighbour::run(shared))?;
    let is_well = |passes: u32| {
        if let Some(status) = neighbour.status() {
            return Err(format!("the neighbour has ended with status {status:#x}"));
        }
        // Else it has found nothing because it does not look.
        let start = Instant::now();
        while shared.passes.load(Ordering::Relaxed) == passes {
            if start.elapsed() > kvm::patience(STILL) {
                explain(neighbour.id);
                return Err("the neighbour stands still".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    is_well(0)?;
    let host = registers();
    println!("registers of {} CPUs of the host are looked at", host.len());
    let start = Instant::now();
    let mut before = None;
    for number in options.round.map_or(0.., |round| round..) {
        let round = Round {
            seed: options.seed,
            number,
            threads: options.threads,
            steps: options.steps,
        };
        let passes = shared.passes.load(Ordering::Relaxed);
        shared.begin();
        let process = Process::start(|| match options.guests {
            true => guest::play(shared, round),
            false => worker::play(shared, round),
        })?;
        let by_signal = !options.guests && worker::ends_by_signal(round);
        let name = format!("round {number} of seed {}", options.seed);
        finish(shared, &process, round, by_signal).map_err(|why| format!("{name}: {why}"))?;
        is_well(passes).map_err(|why| format!("{name}: {why}"))?;
        for (old, new) in host.iter().zip(registers()) {
            for (old, new) in old.lines().zip(new.lines()) {
                if old != new {
                    return Err(format!("{name}: the host's {old} is {new} now"));
                }
            }
        }
        let calls = shared.calls.load(Ordering::Relaxed);
        println!(
            "{name}: {calls} calls, {} exits, {} runs ended by signals, {} passes of the neighbour, {} s",
            shared.exits.load(Ordering::Relaxed),
            shared.interrupted.load(Ordering::Relaxed),
            shared.passes.load(Ordering::Relaxed),
            start.elapsed().as_secs()
        );
        let is_last = options.round.is_some()
            || calls >= options.calls
            || start.elapsed().as_secs() >= options.seconds;
        if is_last {
            break;
        }
        // The first rounds fill the caches of the kernel's allocators.
        if number == 3 {
            before = Some(Memory::settled(None));
        }
    }
    let missing = if options.guests {
        let (table, missing) = guest::table(&shared.traps, &shared.answered);
        print!("{table}");
        missing
    } else {
        print!("{}", shared.coverage.table());
        shared.coverage.missing()
    };
    if let Some(before) = before {
        let limit = Memory {
            kernel: before.kernel + GROWTH,
        };
        let after = Memory::settled(Some(limit));
        println!("memory in KiB: {before:?}, at the end {after:?}");
        // A kernel that looks for leaks itself has memory of its own for that.
        if after.kernel > limit.kernel && !host::looks_for_leaks() {
            return Err("the kernel has more memory than before".into());
        }
    }
    // A child of a round that was killed may live a moment longer.
    let start = Instant::now();
    while vms() > 1 && start.elapsed() < kvm::patience(10) {
        thread::sleep(Duration::from_millis(10));
    }
    let left = vms();
    if left != 1 {
        return Err(format!("{left} VMs are left, with the neighbour's"));
    }
    if !missing.is_empty() && options.round.is_none() {
        return Err(missing.join("; "));
    }
    println!(
        "{} calls, and all is well",
        shared.calls.load(Ordering::Relaxed)
    );
    Ok(())
}
