// SPDX-License-Identifier: GPL-2.0

//! Tests of `/dev/kvm`: every ioctl, used rightly and wrongly.
//!
//! Each test runs in a process of its own, so a test that hangs or dies is a failure like any
//! other. Without arguments all of them run; with arguments, those whose names contain one, in
//! capital letters or not. With `--without-vgic` before them, the host is one without a virtual GIC: a
//! test that makes a vGIC then has to fail at that by ENODEV, and is counted apart. So is a test that wants
//! transparent huge pages, where the host's kernel has none. `--big-little` runs
//! the tests of hosts with two kinds of cores instead, `--faults` those of a kernel that has calls fail. The expected results are those of Documentation/virt/kvm/api.rst in the
//! kernel. Where that is silent, they are the answers of Linux 5.6 on this architecture.

mod accounting;
mod busy;
mod check;
mod coprocessor;
mod cores;
mod dirty_log;
mod eventfd;
mod faults;
mod firmware;
mod gic;
mod guest;
mod guest_debug;
mod halt;
mod irq_line;
mod leaks;
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
mod tlb;
mod user_irqchip;
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

/// The argument for a host without a virtual GIC, and the variable by which the processes of the tests
/// get to know.
const WITHOUT_VGIC: &str = "--without-vgic";
const WITHOUT_VGIC_VARIABLE: &str = "ABI_WITHOUT_VGIC";

/// The argument for a host on which CPU 0 is a Cortex-A15 and CPU 1 a Cortex-A7: its own tests run, and
/// no others. And the variable by which the processes of the tests get to know.
const BIG_LITTLE: &str = "--big-little";
const BIG_LITTLE_VARIABLE: &str = "ABI_BIG_LITTLE";

/// The variable by which the processes of the tests of [`faults`] get to know that these are to run, and no
/// others.
const FAULTS_VARIABLE: &str = "ABI_FAULTS";

/// Whether the host has a virtual GIC, as whoever started this program says.
pub(crate) fn has_vgic() -> bool {
    std::env::var_os(WITHOUT_VGIC_VARIABLE).is_none()
}

/// Whether a test has failed because the host has no virtual GIC.
fn needs_vgic(why: &str) -> bool {
    let no_device = std::io::Error::from_raw_os_error(libc::ENODEV).to_string();
    let makes_one = ["KVM_CREATE_DEVICE", "KVM_CREATE_IRQCHIP"];
    !has_vgic() && makes_one.iter().any(|call| why.contains(call)) && why.contains(&no_device)
}

/// Whether a test has failed because the host's kernel has no transparent huge pages.
fn needs_huge_pages(why: &str) -> bool {
    !guest::has_huge_pages() && why.contains(guest::NO_HUGE_PAGES)
}

fn tests() -> Vec<Test> {
    if std::env::var_os(BIG_LITTLE_VARIABLE).is_some() {
        return cores::TESTS.to_vec();
    }
    if std::env::var_os(FAULTS_VARIABLE).is_some() {
        return faults::TESTS.to_vec();
    }
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
        guest_debug::TESTS,
        mmio_forms::TESTS,
        firmware::TESTS,
        halt::TESTS,
        irq_line::TESTS,
        user_irqchip::TESTS,
        gic::TESTS,
        vfio::TESTS,
        eventfd::TESTS,
        stats::TESTS,
        userfault::TESTS,
        lifetime::TESTS,
        leaks::TESTS,
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
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    for (option, variable) in [
        (WITHOUT_VGIC, WITHOUT_VGIC_VARIABLE),
        (BIG_LITTLE, BIG_LITTLE_VARIABLE),
        (faults::FAULTS, FAULTS_VARIABLE),
    ] {
        if arguments.first().is_some_and(|first| first == option) {
            arguments.remove(0);
            std::env::set_var(variable, "1");
        }
    }
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
        [argument, disk] if argument == busy::BUSY => return busy::main(disk),
        [spin] if spin == lifetime::SPIN => return lifetime::spin(),
        [victim, path, kind] if victim == lifetime::VICTIM => return lifetime::victim(path, kind),
        _ => {}
    }
    let (mut passed, mut failed, mut without, mut without_huge_pages) = (0, 0, 0, 0);
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
            Err(why) if needs_vgic(&why) => {
                without += 1;
                println!("needs a vGIC: {name}");
            }
            Err(why) if needs_huge_pages(&why) => {
                without_huge_pages += 1;
                println!("needs huge pages: {name}");
            }
            Err(why) => {
                failed += 1;
                println!("not ok {name}: {why}");
            }
        }
    }
    if passed + failed + without + without_huge_pages == 0 {
        let names: Vec<&str> = tests.iter().map(|test| test.0).collect();
        eprintln!("no test has such a name; there are\n{}", names.join("\n"));
    }
    if without > 0 {
        println!("{without} need a vGIC");
    }
    if without_huge_pages > 0 {
        println!("{without_huge_pages} need huge pages");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
