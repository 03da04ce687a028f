// SPDX-License-Identifier: GPL-2.0

//! The architecture: registers, syndromes, descriptor formats and instruction
//! state of ARMv7-A with the virtualization extensions.
//!
//! Everything here is pure: it knows the Arm Architecture Reference Manual
//! (DDI 0406C, "Arm ARM"; section numbers in the comments are its), and neither
//! the kernel nor KVM. Cargo builds it on any machine for its tests, Kbuild links
//! the same source into the module. Nothing in it can panic, so that HYP mode may
//! use it.

// Kbuild says so on the command line.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod cond;
pub mod cp15;
pub mod descriptor;
pub mod exception;
pub mod hsr;
pub mod insn;
pub mod policy;
pub mod psr;
pub mod regs;
pub mod stage1;
pub mod trap;
