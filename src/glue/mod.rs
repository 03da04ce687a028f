// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for kernel facilities that the `kernel` crate lacks.
//!
//! Each file wraps one facility, and is written so that it could be proposed for
//! the `kernel` crate: it knows that there are guests ([`guest_time`]), but
//! nothing of the files, VMs and vCPUs of [`kvm`](crate::kvm). The C part of a
//! file, if it needs one, has the same name in `src/helpers`.
//!
//! The unsafe code that calls the host kernel is here, as far as it can be behind
//! a safe function. Other unsafe code is at home where its reason is: HYP mode
//! and CP15 in [`hyp`](crate::hyp), the entries of tables in
//! [`mem`](crate::mem), and the pages that user space shares with a vCPU in
//! [`kvm`](crate::kvm).

pub(crate) mod any_thread;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod debugfs;
pub(crate) mod device_tree;
pub(crate) mod eventfd;
pub(crate) mod file;
pub(crate) mod guest_time;
pub(crate) mod image;
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
pub(crate) mod raw_spinlock;
mod safe;
pub(crate) mod shared_page;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod user_page;
pub(crate) mod vfio;
pub(crate) mod wait;
