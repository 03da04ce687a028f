// SPDX-License-Identifier: GPL-2.0

//! The statements of tests: something holds, works, or fails with the right errno.

use std::fmt::{Debug, Display};
use std::io;

/// The result of a test: nothing, or a text about the failure.
pub(crate) type Outcome = Result<(), String>;

/// A test and its name.
pub(crate) type Test = (&'static str, fn() -> Outcome);

/// Fails unless two values are the same.
pub(crate) fn equal<T: PartialEq + Debug>(what: impl Display, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:x?} instead of {expected:x?}"))
}

/// Fails unless something holds.
pub(crate) fn ensure(holds: bool, otherwise: impl Display) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(otherwise.to_string())
}

/// Adds the name of the attempt to the error of something that has to work.
pub(crate) trait Works<T> {
    fn works(self, what: impl Display) -> Result<T, String>;
}

impl<T> Works<T> for io::Result<T> {
    fn works(self, what: impl Display) -> Result<T, String> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

/// Fails unless a call failed with one of some errnos.
pub(crate) fn fails<T>(what: impl Display, result: io::Result<T>, errnos: &[i32]) -> Outcome {
    let expected = || {
        let names: Vec<String> = errnos
            .iter()
            .map(|errno| io::Error::from_raw_os_error(*errno).to_string())
            .collect();
        names.join(" or ")
    };
    match result {
        Ok(_) => Err(format!("{what} succeeded instead of {}", expected())),
        Err(e)
            if e.raw_os_error()
                .is_some_and(|errno| errnos.contains(&errno)) =>
        {
            Ok(())
        }
        Err(e) => Err(format!("{what}: {e} instead of {}", expected())),
    }
}
