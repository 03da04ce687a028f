// SPDX-License-Identifier: GPL-2.0

//! Nothing that a guest or user space does may panic, and nothing that hardware
//! could say.

use super::vgic;
use crate::vgic::Config;
use crate::vgic::Cpu;
use crate::vgic::CpuInterface;
use crate::vgic::Irq;
use crate::vgic::Vgic;
use crate::vgic::MOST_IRQS;
use inputs::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// Numbers that are given; zeroes behind them.
struct Numbers(std::vec::IntoIter<u32>);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0.next().unwrap_or(0)
    }

    fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }

    /// A number that often is small, or an extreme.
    fn mix(&mut self) -> u32 {
        let value = self.next();
        match self.below(6) {
            0 => value & 0xff,
            1 => value & 0xfff,
            2 => !0,
            3 => 0,
            4 => 1 << (value & 31),
            _ => value,
        }
    }
}

fn attack(config: Config, numbers: Vec<u32>) {
    let mut gic = vgic(config.nr_irqs, config.nr_cpus, config.nr_lrs);
    let mut numbers = Numbers(numbers.into_iter());
    let mut interfaces = [CpuInterface::default(); 10];
    while numbers.0.len() != 0 {
        let cpu = numbers.below(10) as usize;
        let (offset, size, value) = (numbers.mix(), numbers.below(10), numbers.mix());
        let ci = &mut interfaces[cpu];
        match numbers.below(16) {
            0..=4 => {
                gic.dist_write(cpu, offset & 0xffc, 4, value);
            }
            5 => {
                gic.dist_write(cpu, offset, size, value);
            }
            6 => {
                gic.dist_read(cpu, offset, size);
                gic.stale(cpu, offset);
            }
            7 => {
                let _ = gic.uaccess_write(cpu, offset, value);
                let _ = gic.uaccess_read(cpu, offset);
            }
            8 => {
                let _ = ci.uaccess_write(offset & 0xff, value);
                let _ = ci.uaccess_read(offset & 0xff);
            }
            9 => {
                gic.set_level(cpu, value & 0x7ff, offset & 1 != 0);
            }
            10 => {
                gic.map_hw(cpu, value & 0x7ff, offset);
                gic.hw_needs_phys_active(cpu, value & 0x7ff);
                if offset & 1 != 0 {
                    gic.unmap_hw(cpu, value);
                }
            }
            11 => {
                gic.deactivate(cpu, ci, value);
            }
            12 => {
                // A hypervisor that mixes its CPUs up, or broken hardware.
                *ci = CpuInterface {
                    hcr: numbers.mix(),
                    vmcr: numbers.mix(),
                    apr: numbers.mix(),
                    used: numbers.mix(),
                    lr: core::array::from_fn(|_| numbers.mix()),
                };
            }
            13 => {
                gic.fold(cpu, ci);
            }
            _ => {
                gic.flush(cpu, ci);
                assert!(ci.used.count_ones() as usize <= config.nr_lrs.clamp(1, 16));
                gic.has_pending(cpu);
                gic.has_deliverable(cpu, ci.vmcr());
            }
        }
    }
    // Whatever the state is, it can be shown.
    let room = std::vec![Irq::default(); MOST_IRQS].into_boxed_slice();
    let text = gic.snapshot(room).to_string();
    assert!(text.starts_with("Distributor\n"), "{text}");
}

inputs! {
    #![cases = 100]

    fn never_panics(
        nr_irqs in 0..1100_usize,
        nr_cpus in 0..10_usize,
        nr_lrs in 0..20_usize,
        numbers in prop::collection::vec(any::<u32>(), 0..3000),
    ) {
        attack(Config { nr_irqs, nr_cpus, nr_lrs }, numbers);
    }
}

#[test]
fn storage_that_is_too_small() {
    let config = Config {
        nr_irqs: 1024,
        nr_cpus: 8,
        nr_lrs: 64,
    };
    let mut irqs = [Irq::default(); 3];
    let mut cpus = [Cpu::new(), Cpu::new()];
    let mut gic = Vgic::new(config, &mut irqs[..], &mut cpus[..]);
    assert!(gic.has(34) && !gic.has(35));
    for offset in (0..0x1000).step_by(4) {
        gic.dist_write(1, offset, 4, !0);
        gic.dist_read(7, offset, 4);
    }
}
