// SPDX-License-Identifier: GPL-2.0

//! Properties that have to hold for any input.
//!
//! [`inputs!`] makes tests of a property, which differ in where the inputs come from:
//!
//! - `random`: proptest makes them up, and makes a bad one smaller.
//! - `corpus`: they are those of the property's file under `tests/inputs/corpus`, which together
//!   reach all code that was ever seen to be reached. They are the same each time.
//! - `guided`, in builds with the feature of that name: libFuzzer looks for inputs that reach new
//!   code. `tools/fuzz` runs it, and brings the corpus up to date.
//!
//! An input of the last two is a string of bytes. proptest's strategies take it for what their
//! random numbers are made of, so that all three try the same property on the same kind of value.

mod corpus;
#[cfg(feature = "guided")]
mod guided;
mod one_of;

pub use one_of::OneOf;
pub use proptest;

use proptest::strategy::Strategy;
#[cfg(feature = "guided")]
use proptest::strategy::ValueTree;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
#[cfg(feature = "guided")]
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestCaseResult;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

/// All that a module of properties needs.
pub mod prelude {
    pub use crate::inputs;
    pub use crate::one_of;
    pub use proptest::prelude::*;
}

/// Something that has to hold for each value of a strategy.
struct Property<S, F> {
    module: &'static str,
    name: &'static str,
    /// How many random values are tried; none says as many as proptest does.
    cases: Option<u32>,
    strategy: S,
    test: F,
}

/// The tests of a property.
pub trait Tests {
    /// The property holds for random values. `INPUTS_FACTOR` is the factor of their number.
    fn random(&self);

    /// It holds for the values that the inputs of the corpus stand for.
    fn corpus(&self);

    /// libFuzzer looks for values for which it does not hold.
    #[cfg(feature = "guided")]
    fn guided(self: Box<Self>);
}

/// For [`inputs!`].
#[doc(hidden)]
pub type Boxed = Box<dyn Tests>;

/// For [`inputs!`].
#[doc(hidden)]
pub fn property<S, F>(
    module: &'static str,
    name: &'static str,
    cases: Option<u32>,
    strategy: S,
    test: F,
) -> Boxed
where
    S: Strategy + 'static,
    F: Fn(S::Value) -> TestCaseResult + 'static,
{
    Box::new(Property {
        module,
        name,
        cases,
        strategy,
        test,
    })
}

impl<S: Strategy, F: Fn(S::Value) -> TestCaseResult> Property<S, F> {
    fn config(&self) -> Config {
        let config = Config::default();
        let factor = std::env::var("INPUTS_FACTOR").map_or(1, |factor| {
            factor.parse().expect("INPUTS_FACTOR is a number")
        });
        Config {
            cases: self.cases.unwrap_or(config.cases).saturating_mul(factor),
            max_global_rejects: config.max_global_rejects.saturating_mul(factor),
            failure_persistence: None,
            ..config
        }
    }

    /// The value that an input stands for, unless the strategy takes it for none, and who tries it.
    fn value_of(&self, input: &[u8]) -> (TestRunner, Option<S::Tree>) {
        let numbers = TestRng::from_seed(RngAlgorithm::PassThrough, &with_end(input));
        let mut runner = TestRunner::new_with_rng(self.config(), numbers);
        let value = self.strategy.new_tree(&mut runner).ok();
        (runner, value)
    }
}

impl<S, F> Tests for Property<S, F>
where
    S: Strategy + 'static,
    F: Fn(S::Value) -> TestCaseResult + 'static,
{
    fn random(&self) {
        if let Err(error) = TestRunner::new(self.config()).run(&self.strategy, &self.test) {
            panic!("{error}");
        }
    }

    fn corpus(&self) {
        let file = corpus::file_of(self.module, self.name);
        let inputs = corpus::read(&file).unwrap_or_else(|error| {
            panic!("{error}\n\"tools/fuzz {}\" makes a corpus", self.name);
        });
        assert!(!inputs.is_empty(), "{} has no input", file.display());
        for (line, input) in inputs {
            if let (mut runner, Some(value)) = self.value_of(&input) {
                if let Err(error) = runner.run_one(value, &self.test) {
                    panic!("{}:{line}: {error}", file.display());
                }
            }
        }
    }

    #[cfg(feature = "guided")]
    fn guided(self: Box<Self>) {
        let file = corpus::file_of(self.module, self.name);
        guided::run(&file, move |input| {
            let Some(value) = self.value_of(input).1 else {
                return false;
            };
            match (self.test)(value.current()) {
                Ok(()) => true,
                Err(TestCaseError::Reject(_)) => false,
                Err(TestCaseError::Fail(reason)) => panic!("{reason}: {:#?}", value.current()),
            }
        });
    }
}

/// An input as random numbers of 32 bits, with ones behind it, of which all ranges make their first
/// value. Behind these come zeroes for ever, which ranges whose size is no power of two do not take:
/// rand would wait for another number. So there are more ones than any value needs.
fn with_end(input: &[u8]) -> Vec<u8> {
    const ONES: [[u8; 4]; 1 << 12] = [[1, 0, 0, 0]; 1 << 12];
    let mut bytes = Vec::with_capacity(input.len() + 4 + 4 * ONES.len());
    bytes.extend_from_slice(input);
    bytes.resize(input.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(ONES.as_flattened());
    bytes
}

/// Makes tests of properties. Each is written as a function of values of strategies, as in
/// [`proptest::proptest!`], and becomes a module of tests.
///
/// `#![cases = 300]` at the top says how many random values are tried.
#[macro_export]
macro_rules! inputs {
    (#![cases = $cases:expr] $($properties:tt)*) => {
        $crate::inputs!(@properties [Some($cases)] $($properties)*);
    };
    (@properties [$cases:expr] $(
        $(#[$meta:meta])* fn $name:ident($($args:tt)*) $body:block
    )*) => {$(
        $(#[$meta])*
        fn $name() -> $crate::Boxed {
            $crate::property!([$cases] [$name] [] [] $body $($args)*)
        }

        mod $name {
            #[test]
            fn random() {
                super::$name().random();
            }

            #[test]
            fn corpus() {
                super::$name().corpus();
            }

            $crate::guided_test!($name);
        }
    )*};
    ($($properties:tt)*) => {
        $crate::inputs!(@properties [None] $($properties)*);
    };
}

/// For [`inputs!`]: the property that its arguments and its body make.
#[doc(hidden)]
#[macro_export]
macro_rules! property {
    ([$cases:expr] [$name:ident] [$($pattern:pat_param,)*] [$($strategy:expr,)*] $body:block) => {
        $crate::property(
            module_path!(),
            stringify!($name),
            $cases,
            ($($strategy,)*),
            |($($pattern,)*)| {
                $body
                Ok(())
            },
        )
    };
    (
        $cases:tt $name:tt [$($patterns:tt)*] [$($strategies:tt)*] $body:block
        $arg:ident: $type:ty $(, $($rest:tt)*)?
    ) => {
        $crate::property!(
            $cases $name [$($patterns)* $arg,]
            [$($strategies)* $crate::proptest::arbitrary::any::<$type>(),]
            $body $($($rest)*)?
        )
    };
    (
        $cases:tt $name:tt [$($patterns:tt)*] [$($strategies:tt)*] $body:block
        $pattern:pat_param in $strategy:expr $(, $($rest:tt)*)?
    ) => {
        $crate::property!(
            $cases $name [$($patterns)* $pattern,] [$($strategies)* $strategy,]
            $body $($($rest)*)?
        )
    };
}

/// For [`inputs!`]: the test in which libFuzzer looks for inputs.
#[cfg(feature = "guided")]
#[doc(hidden)]
#[macro_export]
macro_rules! guided_test {
    ($name:ident) => {
        #[test]
        #[ignore = "tools/fuzz runs it"]
        fn guided() {
            super::$name().guided();
        }
    };
}

/// For [`inputs!`]: libFuzzer is not built in.
#[cfg(not(feature = "guided"))]
#[doc(hidden)]
#[macro_export]
macro_rules! guided_test {
    ($name:ident) => {};
}
