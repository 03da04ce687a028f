// SPDX-License-Identifier: GPL-2.0

//! One interrupt as the distributor keeps it.
//!
//! IHI 0048B section 3.2.4 gives the states of an interrupt. Here the bits of
//! [`State`] hold them, and the place of the interrupt tells who has the truth:
//!
//! ```text
//!                  pending and enabled, forwarded                 fold()
//!   ┌──────────┐  or active            ┌────────┐  flush()  ┌─────────────────┐
//!   │ inactive ├──────────────────────►│ listed ├──────────►│ in a list       │
//!   │          │◄──────────────────────┤        │◄──────────┤ register        │
//!   └──────────┘  neither any more     └────────┘  fold()   └─────────────────┘
//!                                      `State` is            the hardware is
//!                                      the truth             the truth
//! ```
//!
//! While an interrupt is in a list register, its pending bit (of an edge or of
//! a software request) has moved there. Meanwhile `State` latches new events,
//! and the next fold merges them. A write that is about the list register is
//! noted (`CLEAR_PENDING`, `CLEAR_ACTIVE`, `SET_ACTIVE`) and takes effect at the
//! fold. The CPU is kicked, so that the fold comes soon.

use super::CpuMask;
use super::VcpuIdx;
use bitflags::bitflags;

/// Number of software generated interrupts of a CPU.
pub const NR_SGIS: u32 = 16;
/// Number of interrupts private to a CPU: SGIs, then PPIs.
pub const NR_PRIVATE: u32 = 32;
/// Most INTIDs that a distributor can have, the special ones among them.
pub const MAX_IRQS: u32 = 1024;
/// INTIDs from here on are special (IHI 0048B section 2.2.1): no interrupt.
pub const FIRST_SPECIAL: u32 = 1020;

/// Whether an INTID is that of a PPI.
pub const fn is_ppi(intid: u32) -> bool {
    intid >= NR_SGIS && intid < NR_PRIVATE
}

/// Bits of a priority that the virtual CPU interface implements.
pub(crate) const PRIORITY_MASK: u8 = 0xf8;

bitflags! {
    /// State of an interrupt.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct State: u16 {
        /// GICD_ISENABLER.
        const ENABLED = 1 << 0;
        /// The input line is high.
        const LINE = 1 << 1;
        /// An edge, or a write to GICD_ISPENDR, waits to be acknowledged.
        const LATCH = 1 << 2;
        /// Acknowledged and not yet deactivated.
        const ACTIVE = 1 << 3;
        /// GICD_ICFGR: edge-triggered. SGIs always are.
        const EDGE = 1 << 4;
        /// GICD_IGROUPR: group 1.
        const GROUP1 = 1 << 5;
        /// Linked to a physical interrupt, which the guest's deactivation
        /// deactivates too.
        const HW = 1 << 6;
        /// In a list register of the CPU that has it.
        const IN_LR = 1 << 7;
        /// It was put there as pending.
        const LR_PENDING = 1 << 8;
        /// It was put there as pending because of `LATCH` (level-triggered).
        const LR_SOFT = 1 << 9;
        /// At the fold: forget that it is pending.
        const CLEAR_PENDING = 1 << 10;
        /// At the fold: forget that it is active.
        const CLEAR_ACTIVE = 1 << 11;
        /// At the fold: make it active.
        const SET_ACTIVE = 1 << 12;
        /// The guest has deactivated it, and with it the physical interrupt.
        const HW_DEACTIVATED = 1 << 13;
        /// Its line is that of a device in the kernel.
        const OWNED = 1 << 14;
    }
}

/// One interrupt: eight bytes.
///
/// The caller gives the storage, filled with [`Irq::default`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Irq {
    pub(crate) state: State,
    /// The physical interrupt, if `HW`.
    pub(crate) phys: u16,
    /// GICD_IPRIORITYR; the lower the more urgent.
    pub(crate) priority: u8,
    /// GICD_ITARGETSR of an SPI.
    pub(crate) targets: u8,
    /// SPI: the CPU whose sets or list registers have it. SGI: the CPU that
    /// requested the instance which is active or in a list register.
    pub(crate) owner: u8,
    /// SGI: the CPUs whose request is pending (GICD_SPENDSGIR).
    pub(crate) sources: u8,
}

impl Irq {
    /// Whether all of `state` hold.
    #[inline(always)]
    pub(crate) const fn is(&self, state: State) -> bool {
        self.state.contains(state)
    }

    /// The CPU that gets it, if it is an SPI: the first of its targets among `all`, or CPU 0 if it
    /// has none.
    pub(crate) fn first_target(&self, all: CpuMask) -> VcpuIdx {
        match CpuMask::from(self.targets) & all {
            0 => 0,
            targets => targets.trailing_zeros() as VcpuIdx,
        }
    }

    /// Whether it is listed with some setting of the enables: it is pending or active.
    #[inline(always)]
    pub(crate) fn can_be_listed(&self) -> bool {
        self.sources != 0
            || (self.state).intersects(State::LINE.union(State::LATCH).union(State::ACTIVE))
    }

    /// Pending as the distributor knows it, without what a list register has.
    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        self.sources != 0
            || self.is(State::LATCH)
            || (self.state & State::LINE.union(State::EDGE)) == State::LINE
    }

    /// For an SGI: whether a request by one of `sources` makes its CPU exit.
    ///
    /// If another request waits already, it does not: the CPU exits after the one that is in a list
    /// register, which has the EOI bit. But one source has one request at a time. As long as the
    /// guest has not taken the request in the list register, a second one of the same source is
    /// that same request. Only the fold can tell.
    #[inline(always)]
    pub(crate) fn needs_exit_for(&self, sources: u8) -> bool {
        let owner = 1_u8.wrapping_shl(self.owner.into());
        self.sources == 0 || (self.is(State::IN_LR) && sources & !self.sources & owner != 0)
    }

    /// The bit of GICD_ISPENDR. Of an interrupt in a list register the
    /// distributor knows its state from when it went there.
    #[inline(always)]
    pub(crate) fn shows_pending(&self) -> bool {
        self.is_pending()
            || (self.is(State::LR_PENDING) && self.state.intersects(State::EDGE | State::LR_SOFT))
    }
}

/// An SGI, a PPI or an SPI after reset.
pub(crate) fn after_reset(intid: u32) -> Irq {
    let mut irq = Irq::default();
    if intid < NR_SGIS {
        // IHI 0048B 4.3.13 and 4.3.5: edge-triggered. Whether they are enabled is
        // IMPLEMENTATION DEFINED, and guests of KVM find them enabled.
        irq.state = State::EDGE.union(State::ENABLED);
    } else if intid >= NR_PRIVATE {
        // The reset value is IMPLEMENTATION DEFINED. Guests that never route
        // an SPI expect it on CPU 0.
        irq.targets = 1;
    }
    irq
}
