// SPDX-License-Identifier: GPL-2.0

//! The registers of the virtual CPU interface that stay in the hardware from one guest to the next.

use core::sync::atomic::AtomicU32;

/// The values of a CPU's GICH registers that stay there while no guest runs. An access to these
/// registers takes as long as a hundred instructions.
pub(super) struct Loaded {
    pub(super) hcr: AtomicU32,
    pub(super) vmcr: AtomicU32,
    pub(super) apr: AtomicU32,
}

impl Loaded {
    /// The values after `HostGic::reset`.
    pub(super) const fn new() -> Self {
        Self {
            hcr: AtomicU32::new(0),
            vmcr: AtomicU32::new(0),
            apr: AtomicU32::new(0),
        }
    }
}
