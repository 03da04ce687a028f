// SPDX-License-Identifier: GPL-2.0

//! Tests of `/dev/kvm`: every ioctl, used rightly and wrongly.
//!
//! Each test runs in a process of its own, so a test that hangs or dies is a failure like any
//! other. Without arguments all of them run; with arguments, those whose names contain one, in
//! capital letters or not. The expected results are those of Documentation/virt/kvm/api.rst in the
//! kernel. Where that is silent, they are the answers of Linux 5.6 on this architecture.

mod accounting;
mod check;
mod coprocessor;
mod dirty_log;
mod eventfd;
mod firmware;
mod gic;
mod guest;
mod halt;
mod irq_line;
mod lifetime;
mod mapping;
mod memory;
mod mmio_forms;
mod pattern;
mod pmu;
mod registers;
mod run;
mod state;
mod stats;
mod stress;
mod system;
mod tasks;
mod tlb;
mod userfault;
mod vcpu;
mod vcpu_attributes;
mod vfio;
mod writeback;

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use check::{Outcome, Test};

/// A test that takes longer than so many seconds hangs.
const PATIENCE: u64 = 60;

/// The argument that makes this program run one test in its own process.
const ONE: &str = "--one";

fn tests() -> Vec<Test> {
    [
        system::TESTS,
        tlb::TESTS,
        memory::TESTS,
        dirty_log::TESTS,
        mapping::TESTS,
        vcpu::TESTS,
        vcpu_attributes::TESTS,
        pmu::TESTS,
        registers::TESTS,
        state::TESTS,
        run::TESTS,
        mmio_forms::TESTS,
        firmware::TESTS,
        halt::TESTS,
        irq_line::TESTS,
        gic::TESTS,
        vfio::TESTS,
        eventfd::TESTS,
        stats::TESTS,
        userfault::TESTS,
        lifetime::TESTS,
        accounting::TESTS,
    ]
    .concat()
}

/// Runs a test in a process of its own.
fn run(name: &str) -> Outcome {
    let mut child = Command::new("/proc/self/exe")
        .args([ONE, name])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let (start, patience) = (Instant::now(), kvm::patience(PATIENCE));
    while child.try_wait().map_err(|e| e.to_string())?.is_none() {
        if start.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("no end after {} s", patience.as_secs()));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim().replace('\n', "; ");
    Err(format!("{} ({text})", output.status))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tests = tests();
    match arguments.as_slice() {
        [one, name] if one == ONE => {
            let found = tests.iter().find(|test| test.0 == name);
            let outcome = found.map_or_else(|| Err("no such test".into()), |test| (test.1)());
            return outcome.map_or_else(
                |why| {
                    eprintln!("{why}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        [argument, seconds, variant @ ..] if argument == stress::STRESS && variant.len() < 2 => {
            return stress::main(seconds, variant.first().map(String::as_str));
        }
        [argument, seed, mib] if argument == pattern::PATTERN => return pattern::main(seed, mib),
        [argument, path, seconds] if argument == writeback::WRITEBACK => {
            return writeback::main(path, seconds)
        }
        [argument] if argument == coprocessor::COPROCESSORS => return coprocessor::main(),
        [argument] if argument == tasks::TASKS => return tasks::main(),
        [spin] if spin == lifetime::SPIN => return lifetime::spin(),
        [victim, path, kind] if victim == lifetime::VICTIM => return lifetime::victim(path, kind),
        _ => {}
    }
    let (mut passed, mut failed) = (0, 0);
    let parts: Vec<String> = arguments.iter().map(|part| part.to_lowercase()).collect();
    let is_asked = |name: &str| {
        parts
            .iter()
            .any(|part| name.to_lowercase().contains(part.as_str()))
    };
    for (name, _) in &tests {
        if !parts.is_empty() && !is_asked(name) {
            continue;
        }
        match run(name) {
            Ok(()) => {
                passed += 1;
                println!("ok {name}");
            }
            Err(why) => {
                failed += 1;
                println!("not ok {name}: {why}");
            }
        }
    }
    if passed + failed == 0 {
        let names: Vec<&str> = tests.iter().map(|test| test.0).collect();
        eprintln!("no test has such a name; there are\n{}", names.join("\n"));
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
