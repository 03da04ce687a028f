// SPDX-License-Identifier: GPL-2.0

//! The machine that a guest sees: models of its devices and firmware as state
//! machines over small traits. Nothing here knows of a kernel or of KVM.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod cp15;
pub mod psci;
pub mod stage2;
pub mod timer;
pub mod vgic;
