// SPDX-License-Identifier: GPL-2.0

//! The protocols between threads that no test on a board can exhaust. `loom` runs them here in all
//! orders in which the steps of the threads can come about, with all values that a load may still see
//! by the memory model of C++.
//!
//! A model is the code of the module itself, from `src/machine`, between threads that stand for the
//! rest of the kernel, for the hardware and for the guest. Each model can fail: the same threads run
//! once more with a piece of the protocol broken, and the test fails unless `loom` finds that.

#![cfg(test)]

mod checked;
mod doorbell;
mod invalidations;
mod relay;
mod vectors;
mod vmid;
