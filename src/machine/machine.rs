// SPDX-License-Identifier: GPL-2.0

//! The virtual machine's hardware as state machines: interrupt controller, timer,
//! CP15, firmware, memory slots and the walker of its stage-2 table; the statistics about it.
//!
//! Everything here is pure: it knows the architecture (crate `armv7`) and works on
//! small traits, and knows neither the kernel nor locks nor memory allocation.
//! Cargo builds it on any machine for its tests, Kbuild links the same source into
//! the module. Nothing in it can panic, so that HYP mode may use it.

// Kbuild says so on the command line.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod atomics;
pub mod core;
pub mod cp14;
pub mod cp15;
pub mod doorbell;
pub mod errata;
pub mod fault;
pub mod firmware;
pub mod halt;
pub mod history;
pub mod invalidations;
pub mod nospec;
pub mod pmu;
pub mod psci;
pub mod relay;
pub mod slot;
pub mod smccc;
pub mod stage2;
pub mod stats;
pub mod timer;
pub mod trng;
pub mod vgic;
pub mod vmid;
