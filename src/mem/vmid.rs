// SPDX-License-Identifier: GPL-2.0

//! VMIDs: eight bits for all VMs of the machine.
//!
//! Each VM has a number and the generation that it was given in. When the
//! numbers run out, a new generation begins: every guest is made to exit, all
//! TLBs are flushed, and VMs get new numbers as they run again. Number 0 is the
//! host's.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};

use crate::{
    glue::cpu::{
        on_each_cpu,
        IrqsOff, //
    },
    hyp::takeover::Lowvisor, //
};

const VMID_BITS: u32 = 8;

/// Gives out the numbers.
#[pin_data]
pub(crate) struct VmidAllocator {
    generation: AtomicU32,
    #[pin]
    next: SpinLock<u32>,
}

/// The number of one VM.
pub(crate) struct Vmid {
    generation: AtomicU32,
    number: AtomicU32,
}

impl Vmid {
    /// No number yet.
    pub(crate) const fn new() -> Self {
        Self {
            generation: AtomicU32::new(0),
            number: AtomicU32::new(0),
        }
    }

    /// The number, which may be of an old generation.
    #[inline]
    pub(crate) fn number(&self) -> u8 {
        self.number.load(Ordering::Relaxed) as u8
    }
}

impl VmidAllocator {
    /// The first generation, in which every number is free.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            generation: AtomicU32::new(1),
            next <- new_spinlock!(1, "kvm_arm_vmid"),
        })
    }

    /// Whether the number may be used.
    ///
    /// To be asked with interrupts off before a guest is entered: a roll-over afterwards makes
    /// that guest exit.
    #[inline]
    pub(crate) fn is_current(&self, vmid: &Vmid) -> bool {
        vmid.generation.load(Ordering::Acquire) == self.generation.load(Ordering::Acquire)
    }

    /// Makes sure that `vmid` has a number of this generation. Interrupts must be on.
    pub(crate) fn ensure(&self, vmid: &Vmid, lowvisor: &Lowvisor) {
        if self.is_current(vmid) {
            return;
        }
        let mut next = self.next.lock();
        // Another vCPU of the VM may have been here.
        if self.is_current(vmid) {
            return;
        }
        if *next == 1 << VMID_BITS {
            let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
            self.generation.store(generation, Ordering::Release);
            *next = 1;
            // Guests that run with a number of the old generation stop doing so.
            on_each_cpu(|_| ());
            IrqsOff::with(|irqs| {
                if let Some(hyp) = lowvisor.this_cpu(&irqs) {
                    hyp.flush_tlb_all_vmids();
                }
            });
        }
        vmid.number.store(*next, Ordering::Relaxed);
        *next += 1;
        vmid.generation
            .store(self.generation.load(Ordering::Relaxed), Ordering::Release);
    }
}
