// SPDX-License-Identifier: GPL-2.0

//! Words that threads share, behind traits.
//!
//! In the module they are the atomics of `core`, and every call here is one call there. In the
//! tests under `tests/models` they are those of `loom`, which tries all orders in which the
//! accesses of threads can come about, and all old values that a load can still see. So the same
//! protocols are run by both.

use core::sync::atomic::{
    self,
    Ordering, //
};

/// A value that threads share.
pub trait Word<V>: Sync {
    /// A word with this value.
    fn new(value: V) -> Self;
    /// Reads it.
    fn load(&self, order: Ordering) -> V;
    /// Writes it.
    fn store(&self, value: V, order: Ordering);
}

/// Bits that threads share.
pub trait Bits: Word<u32> {
    /// Writes it, and gives the value from before.
    fn swap(&self, value: u32, order: Ordering) -> u32;
    /// Sets bits, and gives the value from before.
    fn fetch_or(&self, bits: u32, order: Ordering) -> u32;
}

/// Atomics: those of this CPU, or those of a checker.
pub trait Atomics {
    /// 32 bits.
    type U32: Bits;
    /// 64 bits.
    type U64: Word<u64>;
    /// A pointer.
    type Ptr<T>: Word<*mut T>;

    /// Orders the accesses before it and those behind it.
    fn fence(order: Ordering);
}

/// The atomics of this CPU.
#[derive(Clone, Copy, Debug)]
pub struct Native;

macro_rules! word {
    ($atomic:ty, $value:ty $(, $param:ident)?) => {
        impl$(<$param>)? Word<$value> for $atomic {
            #[inline(always)]
            fn new(value: $value) -> Self {
                Self::new(value)
            }

            #[inline(always)]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            #[inline(always)]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }
        }
    };
}

word!(atomic::AtomicU32, u32);
word!(atomic::AtomicU64, u64);
word!(atomic::AtomicPtr<T>, *mut T, T);

impl Bits for atomic::AtomicU32 {
    #[inline(always)]
    fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.swap(value, order)
    }

    #[inline(always)]
    fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        self.fetch_or(bits, order)
    }
}

impl Atomics for Native {
    type U32 = atomic::AtomicU32;
    type U64 = atomic::AtomicU64;
    type Ptr<T> = atomic::AtomicPtr<T>;

    #[inline(always)]
    fn fence(order: Ordering) {
        atomic::fence(order);
    }
}
