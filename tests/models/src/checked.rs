// SPDX-License-Identifier: GPL-2.0

//! `loom` in place of the atomics of a CPU, and protocols that are broken on purpose.

use std::{
    any::Any,
    marker::PhantomData,
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
    sync::atomic::Ordering,
};

use loom::sync::atomic;
use machine::atomics::{
    Atomics,
    Bits,
    Word, //
};

/// The way in which the protocols keep their accesses in order.
pub(crate) trait Care: Sync {
    /// The order that an access has which asks for `order`.
    fn access(order: Ordering) -> Ordering {
        order
    }

    /// Whether fences do something.
    const FENCES: bool = true;
}

/// The order that the code asks for.
pub(crate) struct AsWritten;

impl Care for AsWritten {}

/// Fences that do nothing.
pub(crate) struct NoFences;

impl Care for NoFences {
    const FENCES: bool = false;
}

/// Accesses that order nothing else. Fences are as written.
pub(crate) struct Unordered;

impl Care for Unordered {
    fn access(_: Ordering) -> Ordering {
        Ordering::Relaxed
    }
}

/// The atomics of `loom`.
pub(crate) struct Loom<C = AsWritten>(PhantomData<C>);

/// One of them.
pub(crate) struct Checked<A, C>(A, PhantomData<C>);

macro_rules! word {
    ($atomic:ty, $value:ty $(, $param:ident)?) => {
        impl<C: Care $(, $param)?> Word<$value> for Checked<$atomic, C> {
            fn new(value: $value) -> Self {
                Self(<$atomic>::new(value), PhantomData)
            }

            fn load(&self, order: Ordering) -> $value {
                self.0.load(C::access(order))
            }

            fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, C::access(order));
            }
        }
    };
}

word!(atomic::AtomicU32, u32);
word!(atomic::AtomicU64, u64);
word!(atomic::AtomicPtr<T>, *mut T, T);

impl<C: Care> Bits for Checked<atomic::AtomicU32, C> {
    fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.0.swap(value, C::access(order))
    }

    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        self.0.fetch_or(bits, C::access(order))
    }
}

impl<C: Care> Atomics for Loom<C> {
    type U32 = Checked<atomic::AtomicU32, C>;
    type U64 = Checked<atomic::AtomicU64, C>;
    type Ptr<T> = Checked<atomic::AtomicPtr<T>, C>;

    fn fence(order: Ordering) {
        if C::FENCES {
            atomic::fence(order);
        }
    }
}

/// Runs a model in all orders with at most `preemptions` switches to another thread at a point where
/// the thread could have gone on. `None` is for all orders there are.
pub(crate) fn holds(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

/// Runs a model that is broken on purpose: fails unless some order makes it panic with `why` in the
/// message.
pub(crate) fn breaks(
    why: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Sync + Send + 'static,
) {
    let found = catch_unwind(AssertUnwindSafe(|| holds(preemptions, model)));
    let message = found.map_err(|panic| message_of(&*panic));
    match message {
        Ok(()) => panic!("no order of the steps breaks this model: it cannot fail with {why:?}"),
        Err(message) => assert!(
            message.contains(why),
            "it broke with {message:?} instead of {why:?}"
        ),
    }
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).into()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".into()
    }
}
