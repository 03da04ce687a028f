// SPDX-License-Identifier: GPL-2.0

//! KVM for 32-bit Arm as a program sees it.
//!
//! The crates `kvm-bindings` and `kvm-ioctls` dropped this architecture, so its structures stand in
//! [`uapi`], and [`Kvm`], [`Vm`], [`Vcpu`] and [`Device`] are the files behind which the ioctls are.
//! [`snapshot`] saves and restores a machine.

pub mod files;
pub mod snapshot;
pub mod uapi;

pub use files::{ioctl, ioctl_mut, ioctl_ref, Device, Kvm, RunPage, Vcpu, Vm};
