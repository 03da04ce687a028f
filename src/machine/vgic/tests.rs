// SPDX-License-Identifier: GPL-2.0

//! Tests of the interrupt controller as a whole.

mod concurrent;
mod delivery;
mod hardware;
mod hostile;
mod migration;
mod model;
mod reference;
mod registers;
mod snapshot;

use super::Config;
use super::Cpu;
use super::Irq;
use super::Vgic;
use std::boxed::Box;
use std::vec;

/// The distributor as the tests make it.
type TestVgic = Vgic<Box<[Irq]>, Box<[Cpu]>>;

/// A distributor after reset.
fn vgic(nr_irqs: usize, nr_cpus: usize, nr_lrs: usize) -> TestVgic {
    let config = Config {
        nr_irqs,
        nr_cpus,
        nr_lrs,
    };
    Vgic::new(
        config,
        vec![Irq::default(); config.nr_spis()].into_boxed_slice(),
        vec![Cpu::new(); nr_cpus].into_boxed_slice(),
    )
}

/// A small generator of pseudo-random numbers (xorshift64*), for long runs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 32) as u32
    }
}
