// SPDX-License-Identifier: GPL-2.0

use proptest::strategy::BoxedStrategy;
use proptest::strategy::NewTree;
use proptest::strategy::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fmt::Debug;

/// One of several strategies; [`one_of!`](crate::one_of!) makes it.
///
/// `prop_oneof!` gives each strategy that it does not take a part of the random numbers, in case the
/// value has to become smaller. So an input of bytes would be used up by a few choices. Here all
/// bytes are left for what was chosen.
#[derive(Debug)]
pub struct OneOf<T: Debug>(Vec<(u32, BoxedStrategy<T>)>);

impl<T: Debug> OneOf<T> {
    /// Takes strategies with their weights.
    pub const fn new(strategies: Vec<(u32, BoxedStrategy<T>)>) -> Self {
        Self(strategies)
    }
}

impl<T: Debug> Strategy for OneOf<T> {
    type Tree = Box<dyn ValueTree<Value = T>>;
    type Value = T;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let total = self.0.iter().map(|(weight, _)| weight).sum::<u32>();
        let mut left = (0..total).new_tree(runner)?.current();
        for (weight, strategy) in &self.0 {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return strategy.new_tree(runner),
            }
        }
        Err("no strategy to choose from".into())
    }
}

/// A strategy of one of several others, with weights or without.
#[macro_export]
macro_rules! one_of {
    ($($strategy:expr),+ $(,)?) => {
        $crate::one_of!($(1 => $strategy),+)
    };
    ($($weight:expr => $strategy:expr),+ $(,)?) => {
        $crate::OneOf::new(::std::vec![
            $(($weight, $crate::proptest::strategy::Strategy::boxed($strategy))),+
        ])
    };
}
