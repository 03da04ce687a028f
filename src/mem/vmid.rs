// SPDX-License-Identifier: GPL-2.0

//! Giving VMIDs to VMs; [`machine::vmid`] has the numbers, and the protocol.

use core::ops::DerefMut;

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};
pub(crate) use machine::vmid::VmidCell;
use machine::{
    atomics::Native,
    vmid::{
        GenerationCell,
        Numbers,
        Protocol, //
    },
};

use crate::{
    glue::cpu::on_each_cpu,
    hyp::takeover::Lowvisor, //
};

/// Gives out the numbers.
#[pin_data]
pub(crate) struct VmidAllocator {
    generation: GenerationCell,
    #[pin]
    numbers: SpinLock<Numbers>,
}

impl VmidAllocator {
    /// The first generation, in which every number is free.
    pub(crate) fn new() -> impl PinInit<Self> {
        let numbers = Numbers::new();
        pin_init!(Self {
            generation: GenerationCell::of(&numbers),
            numbers <- new_spinlock!(numbers, "kvm_arm_vmid"),
        })
    }

    /// [`Protocol::is_current`], with interrupts off.
    #[inline]
    pub(crate) fn is_current(&self, vmid: &VmidCell) -> bool {
        Protocol::is_current(self, vmid)
    }

    /// [`Protocol::ensure`]. Interrupts must be on.
    #[inline]
    pub(crate) fn ensure(&self, vmid: &VmidCell, lowvisor: &Lowvisor) {
        let stop = || on_each_cpu(|_| ());
        Protocol::ensure(self, vmid, stop, || lowvisor.flush_tlb_all_vmids());
    }
}

impl Protocol for VmidAllocator {
    type A = Native;

    #[inline]
    fn generation(&self) -> &GenerationCell {
        &self.generation
    }

    #[inline]
    fn lock(&self) -> impl DerefMut<Target = Numbers> {
        self.numbers.lock()
    }
}
