// SPDX-License-Identifier: GPL-2.0

//! VMIDs: eight bits, for all VMs of the machine.
//!
//! Each VM has a number, and the generation in which it was given. When the numbers run out, a new
//! generation begins: every guest is made to exit, all TLBs are flushed, and VMs get new numbers as
//! they run again. Number 0 is the host's.
//!
//! `tests/models` tries all orders of the steps of [`Protocol`].

use core::{
    ops::DerefMut,
    sync::atomic::Ordering, //
};

use crate::atomics::{
    Atomics,
    Native,
    Word, //
};

const NUMBER_BITS: u32 = 8;

/// A VM's number and its generation, in one word: both are read at once. [`Vmid::NONE`] is a VM
/// without a number, and of no generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmid(u64);

/// A generation of numbers, as a [`Vmid`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Vmid {
    /// No number.
    pub const NONE: Self = Self(0);

    /// The word.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::bits`].
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number, which may be of an old generation.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0 as u8
    }

    /// The number, if it is of this generation.
    #[inline]
    pub const fn number_of(self, generation: Generation) -> Option<u8> {
        if self.0 >> NUMBER_BITS == generation.0 >> NUMBER_BITS {
            Some(self.number())
        } else {
            None
        }
    }
}

impl Generation {
    /// The word.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::bits`].
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The numbers that are left.
///
/// Generations are counted up to `LAST`, which no machine lives to see: anybody may make VMs, and a
/// count that came round would give a VM's number to another. After that many, there are no more
/// numbers.
///
/// # Invariants
///
/// `generation` is from 1 to `LAST`. No number from `next` on was given in it, nor 0 ever.
#[derive(Debug)]
pub struct Numbers<const LAST: u64 = { u64::MAX >> NUMBER_BITS }> {
    generation: u64,
    next: u32,
}

impl<const LAST: u64> Default for Numbers<LAST> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const LAST: u64> Numbers<LAST> {
    /// The first generation, in which every number is free.
    pub const fn new() -> Self {
        // INVARIANT: Nothing was given yet.
        Self {
            generation: 1,
            next: 1,
        }
    }

    /// The present generation.
    pub const fn generation(&self) -> Generation {
        Generation(self.generation << NUMBER_BITS)
    }

    /// Gives a number to a VM. None if there will be no more.
    ///
    /// If the numbers have run out, `roll_over` is called with the new generation. From its return
    /// on, no guest may run with an older number, and no TLB may hold an entry of one.
    pub fn give(&mut self, roll_over: impl FnOnce(Generation)) -> Option<Vmid> {
        if self.next == 1 << NUMBER_BITS {
            if self.generation == LAST {
                return None;
            }
            // INVARIANT: Nothing was given in the new generation yet.
            self.generation += 1;
            self.next = 1;
            roll_over(self.generation());
        }
        let vmid = Vmid(self.generation().0 | u64::from(self.next));
        // INVARIANT: The number before `next` was just given.
        self.next += 1;
        Some(vmid)
    }
}

/// The number of one VM, for all threads.
#[derive(Debug)]
pub struct VmidCell<A: Atomics = Native>(A::U64);

impl<A: Atomics> Default for VmidCell<A> {
    /// No number yet.
    fn default() -> Self {
        Self(A::U64::new(Vmid::NONE.bits()))
    }
}

impl<A: Atomics> VmidCell<A> {
    #[inline]
    fn get(&self) -> Vmid {
        Vmid::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// The number, which may be of an old generation.
    #[inline]
    pub fn number(&self) -> u8 {
        self.get().number()
    }
}

/// The present generation, for all threads.
///
/// # Invariants
///
/// It is that of the [`Numbers`] of the same [`Protocol`], and is written with their lock held.
#[derive(Debug)]
pub struct GenerationCell<A: Atomics = Native>(A::U64);

impl<A: Atomics> GenerationCell<A> {
    /// That of `numbers`.
    pub fn of(numbers: &Numbers) -> Self {
        // INVARIANT: The generation of these numbers.
        Self(A::U64::new(numbers.generation().bits()))
    }
}

/// Giving numbers to VMs.
pub trait Protocol {
    /// The atomics of the words.
    type A: Atomics;

    /// The present generation.
    fn generation(&self) -> &GenerationCell<Self::A>;

    /// The numbers that are left, with their lock held.
    fn lock(&self) -> impl DerefMut<Target = Numbers>;

    /// Whether the number may be used.
    ///
    /// The caller asks this with interrupts off before a guest is entered: a roll-over afterwards
    /// makes that guest exit, and waits for that. The number and its generation are in one word, so
    /// nothing has to be ordered here.
    #[inline]
    fn is_current(&self, vmid: &VmidCell<Self::A>) -> bool {
        let generation = Generation::from_bits(self.generation().0.load(Ordering::Relaxed));
        vmid.get().number_of(generation).is_some()
    }

    /// Makes sure that `vmid` has a number of this generation, unless there are no more.
    ///
    /// In a roll-over `stop` makes all guests exit, and waits until each CPU had interrupts on.
    /// Then `flush` empties all TLBs.
    #[inline]
    fn ensure(&self, vmid: &VmidCell<Self::A>, stop: impl FnOnce(), flush: impl FnOnce()) {
        if !self.is_current(vmid) {
            self.give(vmid, stop, flush);
        }
    }

    /// The part of [`ensure`](Self::ensure) that is seldom needed.
    #[cold]
    fn give(&self, vmid: &VmidCell<Self::A>, stop: impl FnOnce(), flush: impl FnOnce()) {
        let mut numbers = self.lock();
        // Another vCPU of the VM may have been here.
        if self.is_current(vmid) {
            return;
        }
        let given = numbers.give(|generation| {
            // A guest that is entered from here on has a number of the new generation. Those that
            // run with an old one stop doing so.
            self.generation()
                .0
                .store(generation.bits(), Ordering::Relaxed);
            stop();
            flush();
        });
        // Without a number, the guest is never entered.
        if let Some(given) = given {
            vmid.0.store(given.bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        vec,
        vec::Vec, //
    };

    use inputs::prelude::*;

    use super::*;

    inputs! {
        #![cases = 1_000]

        /// VMs that run at the same time have different numbers, none of them the host's; also if
        /// generations come to their end, and if a VM sleeps for many of them.
        fn no_two_have_one_number(
            steps in prop::collection::vec((0..8usize, any::<bool>(), 0..300u32), 0..60),
        ) {
            const LAST: u64 = 3;
            let mut numbers = Numbers::<LAST>::new();
            let mut vms: Vec<Vmid> = vec![Vmid::NONE; 8];
            for (vm, is_new, others) in steps {
                if is_new {
                    vms[vm] = Vmid::NONE;
                }
                // Other VMs come and go meanwhile.
                for _ in 0..others {
                    numbers.give(|_| ());
                }
                if vms[vm].number_of(numbers.generation()).is_none() {
                    prop_assert!(!is_new || vms[vm] == Vmid::NONE);
                    if let Some(vmid) = numbers.give(|_| ()) {
                        vms[vm] = vmid;
                        prop_assert_eq!(vmid.number_of(numbers.generation()), Some(vmid.number()));
                    }
                }
                prop_assert_eq!(Vmid::NONE.number_of(numbers.generation()), None);
                let mut used: Vec<_> = vms
                    .iter()
                    .filter_map(|vmid| vmid.number_of(numbers.generation()))
                    .collect();
                prop_assert!(!used.contains(&0));
                let n = used.len();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(used.len(), n);
            }
        }
    }

    /// Every number but the host's is given once in each generation, and not after the last one.
    #[test]
    fn all_are_used() {
        const LAST: u64 = 3;
        let mut numbers = Numbers::<LAST>::new();
        for generation in 1..=LAST {
            for number in 1..=u8::MAX {
                let mut rolls = 0;
                let vmid = numbers.give(|_| rolls += 1).unwrap();
                assert_eq!(vmid.number(), number);
                assert_eq!(vmid.bits(), generation << 8 | u64::from(number));
                assert_eq!(rolls, u32::from(generation != 1 && number == 1));
            }
        }
        for _ in 0..1000 {
            assert_eq!(numbers.give(|_| panic!("a roll-over")), None);
        }
    }

    #[test]
    fn words() {
        let vmid = Vmid::from_bits(0x1_0000_0000_0142);
        let generation = Generation::from_bits(0x1_0000_0000_0100);
        assert_eq!(vmid.number_of(generation), Some(0x42));
        assert_eq!(vmid.number_of(Generation::from_bits(0x100)), None);
        assert_eq!(Generation::from_bits(generation.bits()), generation);
    }
}
