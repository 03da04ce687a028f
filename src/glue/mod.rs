// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for kernel facilities that the `kernel` crate lacks.
//!
//! Each file wraps one facility, knows nothing of KVM, and is written so that
//! it could be proposed for the `kernel` crate. All `unsafe` that has to do
//! with the host kernel is here.

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod debugfs;
pub(crate) mod device_tree;
pub(crate) mod eventfd;
pub(crate) mod file;
pub(crate) mod guest_time;
pub(crate) mod irq;
pub(crate) mod log;
pub(crate) mod mmio;
pub(crate) mod mmu_notifier;
pub(crate) mod mutex;
pub(crate) mod page;
pub(crate) mod parameter;
pub(crate) mod perf;
pub(crate) mod power;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod user_page;
pub(crate) mod vfio;
pub(crate) mod wait;
