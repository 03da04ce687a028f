// SPDX-License-Identifier: GPL-2.0

//! The host's and the monitor's changes of guest memory, as a fault sees them;
//! [`machine::invalidations`] has the protocol.

use core::ops::DerefMut;

use kernel::{
    new_spinlock,
    prelude::*,
    sync::SpinLock, //
};
use machine::{
    atomics::Native,
    invalidations::{
        Changes,
        Counts,
        Protocol, //
    },
};

/// The changes of one VM's memory.
#[pin_data]
pub(super) struct Invalidations {
    counts: Counts,
    #[pin]
    changes: SpinLock<Changes>,
}

impl Invalidations {
    /// Nothing has changed.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            counts: Counts::default(),
            changes <- new_spinlock!(Changes::default(), "kvm_arm_invalidated"),
        })
    }
}

impl Protocol for Invalidations {
    type A = Native;

    #[inline]
    fn counts(&self) -> &Counts {
        &self.counts
    }

    #[inline]
    fn lock(&self) -> impl DerefMut<Target = Changes> {
        self.changes.lock()
    }
}
