// SPDX-License-Identifier: GPL-2.0

//! A small virtual machine monitor for 32-bit Arm, in the manner of kvmtool's mach-virt.
//!
//! It boots Linux for the demonstration, and runs bare-metal payloads for tests and measurements.
//! Documentation/monitor.md explains its use and the guest's machine.

mod bench;
mod boot;
mod bus;
mod console;
mod costs;
mod doorbell;
mod elf;
mod error;
mod fdt;
mod layout;
mod linux;
mod memory;
mod options;
mod output;
mod payload;
mod serial;
mod vcpu;
mod virtio;
mod vm;

use std::process::ExitCode;

use error::Result;
use options::Command;
use vcpu::Ending;

/// Exit status for a guest that asked for a restart.
const RESTART: u8 = 3;
/// Exit status for a guest that someone here stopped.
const STOPPED: u8 = 4;

fn finish(ending: Ending) -> ExitCode {
    match ending {
        Ending::Shutdown => ExitCode::SUCCESS,
        Ending::Reset => RESTART.into(),
        Ending::Stopped => STOPPED.into(),
        Ending::Failed(why) => {
            eprintln!("monitor: {why}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<ExitCode> {
    match options::parse(std::env::args().skip(1))? {
        Command::Run(options) => linux::run(&options).map(finish),
        Command::Payload(options) => payload::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Help => {
            println!("{}", options::USAGE);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn main() -> ExitCode {
    command().unwrap_or_else(|e| {
        eprintln!("monitor: {e}");
        ExitCode::FAILURE
    })
}
