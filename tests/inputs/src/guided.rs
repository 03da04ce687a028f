// SPDX-License-Identifier: GPL-2.0

//! libFuzzer, in the test of a property. `tools/fuzz` says by the environment what to do:
//!
//! | variable | |
//! |---|---|
//! | `INPUTS_UNPACK` | writes the inputs of the corpus into this folder |
//! | `INPUTS_PACK` | makes the corpus of the inputs in this folder |
//! | `INPUTS_ARGS` | runs libFuzzer with this command line, an argument in each line; the first is the program with which libFuzzer starts itself |

use crate::corpus;
// libFuzzer is its C++ part. It calls the Rust part for each input, and that calls us.
use libfuzzer_sys as _;
use std::cell::RefCell;
use std::env;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

type TryOne = Box<dyn Fn(&[u8]) -> bool>;

thread_local! {
    /// Tries an input, and says whether it is one. libFuzzer stays on the thread that calls it.
    static TRY_ONE: RefCell<Option<TryOne>> = const { RefCell::new(None) };
}

/// How many inputs were begun, and ended: it is odd while one is tried.
static INPUTS: AtomicU64 = AtomicU64::new(0);

/// Ends the process if an input takes too long. libFuzzer's own timer looks for it on the thread
/// that gets its signal, which is not this one in a test. It writes down the input after an abort.
fn watch() {
    const LONGEST: Duration = Duration::from_secs(20);
    loop {
        let before = INPUTS.load(Ordering::Relaxed);
        thread::sleep(LONGEST);
        if before % 2 == 1 && INPUTS.load(Ordering::Relaxed) == before {
            eprintln!("an input takes more than {LONGEST:?}");
            process::abort();
        }
    }
}

/// An input is to be tried. After a panic libfuzzer-sys aborts, and libFuzzer writes down the input.
#[no_mangle]
fn rust_fuzzer_test_input(input: &[u8]) -> i32 {
    INPUTS.fetch_add(1, Ordering::Relaxed);
    let is_input = TRY_ONE.with_borrow(|try_one| try_one.as_ref().is_none_or(|f| f(input)));
    INPUTS.fetch_add(1, Ordering::Relaxed);
    // Other inputs are not kept.
    if is_input {
        0
    } else {
        -1
    }
}

extern "C" {
    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;

    /// Runs libFuzzer (FuzzerInterface.h of LLVM); returns or exits when it is done.
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        try_one: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

fn run_driver(arguments: &str) {
    let mut arguments = arguments
        .lines()
        .map(|argument| {
            CString::new(argument)
                .expect("an argument has no zero")
                .into_raw()
        })
        .collect::<Vec<_>>();
    let mut argc = c_int::try_from(arguments.len()).expect("a command line");
    arguments.push(ptr::null_mut());
    let mut argv = arguments.leak().as_mut_ptr();
    thread::spawn(watch);
    // SAFETY: both are as those of `main`: `argc` strings that stay, and a null behind them.
    let status =
        unsafe { LLVMFuzzerRunDriver(&raw mut argc, &raw mut argv, LLVMFuzzerTestOneInput) };
    assert_eq!(status, 0, "libFuzzer failed");
}

fn unpack(file: &Path, folder: &Path) {
    if !file.exists() {
        return;
    }
    for (line, input) in corpus::read(file).unwrap_or_else(|error| panic!("{error}")) {
        fs::write(folder.join(line.to_string()), input).expect("the folder can be written to");
    }
}

fn pack(file: &Path, folder: &Path) {
    let inputs = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| fs::read(entry.expect("a file").path()).expect("the input can be read"))
        .collect();
    corpus::write(file, inputs).expect("the corpus can be written");
}

/// Does what the environment says to the property with this corpus.
pub(crate) fn run(file: &Path, try_one: impl Fn(&[u8]) -> bool + 'static) {
    TRY_ONE.set(Some(Box::new(try_one)));
    if let Ok(folder) = env::var("INPUTS_UNPACK") {
        unpack(file, folder.as_ref());
    } else if let Ok(folder) = env::var("INPUTS_PACK") {
        pack(file, folder.as_ref());
    } else if let Ok(arguments) = env::var("INPUTS_ARGS") {
        run_driver(&arguments);
    } else {
        panic!("tools/fuzz runs this");
    }
}
