// SPDX-License-Identifier: GPL-2.0

//! Hostile input for the module, beside a VM that checks itself: `fuzz ioctls` has several threads call
//! all ioctls at random, `fuzz guests` has vCPUs execute random instructions in random states.
//!
//! Both play rounds, each in a process of its own, until there were enough calls. What each thread tries
//! follows from the seed and the number of the round: `--round` plays one of them again. The kernel may
//! write no byte that it should not, and no memory may be missing at the end. Each call has to have ended
//! in each way that it can, and guests have to have come to each kind of trap.

mod argument;
mod caller;
mod calls;
mod coverage;
mod files;
mod guest;
mod host;
mod instructions;
mod layout;
mod neighbour;
mod options;
mod random;
mod shared;
mod supervisor;
mod waker;
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
