// SPDX-License-Identifier: GPL-2.0

//! Giving VMIDs to VMs; [`machine::vmid`] has the numbers.
//!
//! When the numbers run out, a new generation begins: every guest is made to exit, all TLBs are
//! flushed, and VMs get new numbers as they run again.

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};
use machine::vmid::{
    Generation,
    Numbers,
    Vmid, //
};

use crate::{
    glue::cpu::on_each_cpu,
    hyp::takeover::Lowvisor, //
};

/// Gives out the numbers.
///
/// # Invariants
///
/// `generation` is that of `numbers`, and is written under its lock.
#[pin_data]
pub(crate) struct VmidAllocator {
    generation: AtomicU64,
    #[pin]
    numbers: SpinLock<Numbers>,
}

/// The number of one VM.
pub(crate) struct VmidCell(AtomicU64);

impl VmidCell {
    /// No number yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(Vmid::NONE.bits()))
    }

    #[inline]
    fn get(&self) -> Vmid {
        Vmid::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// The number, which may be of an old generation.
    #[inline]
    pub(crate) fn number(&self) -> u8 {
        self.get().number()
    }
}

impl VmidAllocator {
    /// The first generation, in which every number is free.
    pub(crate) fn new() -> impl PinInit<Self> {
        let numbers = Numbers::new();
        // INVARIANT: The generation of these numbers.
        pin_init!(Self {
            generation: AtomicU64::new(numbers.generation().bits()),
            numbers <- new_spinlock!(numbers, "kvm_arm_vmid"),
        })
    }

    /// Whether the number may be used.
    ///
    /// The caller asks this with interrupts off before a guest is entered: a roll-over afterwards
    /// makes that guest exit. The number and its generation are in one word, so nothing has to be
    /// ordered here.
    #[inline]
    pub(crate) fn is_current(&self, vmid: &VmidCell) -> bool {
        let generation = Generation::from_bits(self.generation.load(Ordering::Relaxed));
        vmid.get().number_of(generation).is_some()
    }

    /// Makes sure that `vmid` has a number of this generation. Interrupts must be on.
    #[inline]
    pub(crate) fn ensure(&self, vmid: &VmidCell, lowvisor: &Lowvisor) {
        if !self.is_current(vmid) {
            self.give(vmid, lowvisor);
        }
    }

    #[cold]
    fn give(&self, vmid: &VmidCell, lowvisor: &Lowvisor) {
        let mut numbers = self.numbers.lock();
        // Another vCPU of the VM may have been here.
        if self.is_current(vmid) {
            return;
        }
        let given = numbers.give(|generation| {
            self.generation.store(generation.bits(), Ordering::Release);
            // Guests that run with a number of the old generation stop doing so.
            on_each_cpu(|_| ());
            lowvisor.flush_tlb_all_vmids();
        });
        // Without a number, the guest is never entered.
        if let Some(given) = given {
            vmid.0.store(given.bits(), Ordering::Release);
        }
    }
}
