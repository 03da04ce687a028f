// SPDX-License-Identifier: GPL-2.0

//! KVM for 32-bit Arm as a program sees it.
//!
//! The crates `kvm-bindings` and `kvm-ioctls` dropped this architecture, so its structures stand in
//! [`uapi`], and [`Kvm`], [`Vm`], [`Vcpu`] and [`Device`] are the files behind which the ioctls are.
//! [`snapshot`] saves and restores a machine.

use std::sync::OnceLock;
use std::time::Duration;

pub mod files;
pub mod snapshot;
pub mod uapi;

pub use files::{ioctl, ioctl_mut, ioctl_ref, Device, Kvm, RunPage, Vcpu, Vm};

/// The time after which something that should take some seconds counts as hanging: so many seconds,
/// times `TIMEOUT_FACTOR` of the environment, since a host with a kernel that looks for defects is
/// slow.
pub fn patience(seconds: u64) -> Duration {
    static FACTOR: OnceLock<u64> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        let factor = std::env::var("TIMEOUT_FACTOR").ok();
        factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
    });
    Duration::from_secs(seconds * factor)
}
