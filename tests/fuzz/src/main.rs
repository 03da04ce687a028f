// SPDX-License-Identifier: GPL-2.0

//! Hostile input for the module: random calls of all ioctls by several threads, beside a VM that checks
//! itself.
//!
//! `fuzz ioctls` plays rounds, each in a process of its own, until there were enough calls. What each
//! thread tries follows from the seed and the number of the round: `--round` plays one of them again.
//! The kernel may write no byte that it should not, no memory may be missing at the end, and each call has
//! to have ended in each way that it can.

mod argument;
mod caller;
mod calls;
mod coverage;
mod files;
mod host;
mod instructions;
mod layout;
mod neighbour;
mod options;
mod random;
mod shared;
mod supervisor;
mod worker;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = Options::parse(&arguments).and_then(|options| supervisor::run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("not ok: {why}");
            ExitCode::FAILURE
        }
    }
}
