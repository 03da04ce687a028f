// SPDX-License-Identifier: GPL-2.0

//! The events of the emulated machine that `tools/meter-plugin` counts for the benchmarks, how a program on
//! that machine asks for the counts, and how it measures an operation by them.
//!
//! A program asks by an instruction that does nothing on any other machine: a hint that the
//! architecture has not allocated, with the address of a [`Counts`] in R0. The plugin writes the counts
//! so far there. It works in a program, in a guest, and in the kernel, and the emulated machine spends
//! no time on it but the instruction itself. Without the plugin the counts stay as they were.

#![cfg_attr(not(test), no_std)]

pub mod batch;
pub mod cost;
pub mod instruction;

pub use batch::{measure, Batch, Total, BATCHES, ROUNDS, SLEEPS};
pub use cost::Cost;

/// Declares the kinds of events, in the order of their counts.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident $name:literal,)*) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Event {
            $($(#[$doc])* $event,)*
        }

        impl Event {
            /// All kinds, in the order of their counts.
            pub const ALL: [Self; EVENTS] = [$(Self::$event),*];

            /// The name, for tables and for JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => $name,)*
                }
            }
        }

        /// The number of kinds.
        pub const EVENTS: usize = [$($name),*].len();
    };
}

events! {
    /// Instructions that were executed. A CPU that waits executes none.
    Instruction "instructions",
    /// Exceptions and interrupts that were taken, into any mode.
    Exception "exceptions",
    /// Returns from HYP mode, each of which was a trap or a call into it.
    HypReturn "hyp",
    /// Accesses to the GIC's virtual interface control, GICH.
    Gich "gich",
    /// Accesses to the GIC's distributor.
    Gicd "gicd",
    /// Interrupts that a CPU has sent to another one or to itself: stores to GICD_SGIR, which are among the
    /// accesses to the distributor, too.
    Ipi "ipis",
    /// Accesses to the GIC's CPU interface.
    Gicc "gicc",
    /// Accesses to the GIC's virtual CPU interface.
    Gicv "gicv",
    /// Accesses to all other devices.
    Device "devices",
    /// Data memory barriers.
    Dmb "dmb",
    /// Data synchronisation barriers.
    Dsb "dsb",
    /// Instruction synchronisation barriers.
    Isb "isb",
    /// Loads and stores with exclusives.
    Exclusive "exclusives",
    /// Maintenance of data caches.
    DataCache "dcache",
    /// Maintenance of instruction caches.
    InstructionCache "icache",
    /// Maintenance of TLBs.
    Tlb "tlb",
    /// Maintenance of branch predictors.
    BranchPredictor "predictor",
    /// Reads and writes of all other registers of CP15.
    Cp15 "cp15",
}

/// The number of events of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Counts(pub [u64; EVENTS]);

impl Counts {
    /// No events.
    pub const NONE: Self = Self([0; EVENTS]);

    /// The events so far. All are 0 without the plugin.
    #[inline(always)]
    pub fn now() -> Self {
        #[cfg_attr(not(target_arch = "arm"), allow(unused_mut))]
        let mut counts = Self::NONE;
        #[cfg(target_arch = "arm")]
        // SAFETY: The instruction does nothing, but the plugin writes to the structure, which has been
        // written to before, so that its memory is there.
        unsafe {
            core::arch::asm!(
                ".inst 0xe320f051",
                in("r0") &raw mut counts,
                options(nostack, preserves_flags)
            );
        }
        counts
    }

    /// Tells that nobody asks for a while. The emulator is faster while it does not count, and counts on from
    /// the next question.
    #[inline(always)]
    pub fn end() {
        #[cfg(target_arch = "arm")]
        // SAFETY: The instruction does nothing.
        unsafe {
            core::arch::asm!(".inst 0xe320f052", options(nomem, nostack, preserves_flags));
        }
    }

    /// The events of one kind.
    pub const fn of(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// The events since an earlier time.
    #[inline(always)]
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = *self;
        for (count, before) in counts.0.iter_mut().zip(earlier.0) {
            *count = count.wrapping_sub(before);
        }
        counts
    }
}
