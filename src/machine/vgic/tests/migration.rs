// SPDX-License-Identifier: GPL-2.0

//! The registers of the distributor by which a monitor saves it are all there is: another one with
//! them goes on as the first would have.

use super::vgic;
use super::TestVgic;
use crate::vgic::irq::State;
use crate::vgic::CpuInterface;
use crate::vgic::Vmcr;
use inputs::prelude::*;
use std::vec::Vec;

const NR_IRQS: usize = 96;

/// The registers in an order in which they can be restored: what is set bit by bit is cleared
/// before, and the configuration comes before the state.
fn registers() -> impl Iterator<Item = (u32, Option<u32>)> {
    let words = |base: u32, count: u32| (0..count).map(move |n| base + 4 * n);
    let plain = |base, count| words(base, count).map(|offset| (offset, None));
    let by_bits = |set: u32, count| words(set, count).map(|offset| (offset, Some(offset + 0x80)));
    plain(0x008, 1)
        .chain(plain(0x080, 3))
        .chain(by_bits(0x100, 3))
        .chain(plain(0x400, 24))
        .chain(plain(0x800, 24))
        .chain(plain(0xc00, 6))
        .chain(by_bits(0x200, 3))
        .chain(by_bits(0x300, 3))
        .chain((0..4).map(|n| (0xf20 + 4 * n, Some(0xf10 + 4 * n))))
        .chain(plain(0x000, 1))
}

/// Takes all list registers back.
fn exit_all(gic: &mut TestVgic, interfaces: &mut [CpuInterface]) {
    for (cpu, ci) in interfaces.iter_mut().enumerate() {
        gic.fold(cpu, ci);
    }
}

fn save(gic: &TestVgic, cpus: usize) -> Vec<(usize, u32, u32)> {
    let read = |cpu, offset| gic.uaccess_read(cpu, offset).expect("a register");
    (0..cpus)
        .flat_map(|cpu| registers().map(move |(offset, _)| (cpu, offset)))
        .map(|(cpu, offset)| (cpu, offset, read(cpu, offset)))
        .collect()
}

fn restore(gic: &mut TestVgic, saved: &[(usize, u32, u32)]) {
    for (offset, clear) in registers() {
        for &(cpu, _, value) in saved.iter().filter(|saved| saved.1 == offset) {
            if let Some(clear) = clear {
                gic.uaccess_write(cpu, clear, !value).expect("a register");
            }
            gic.uaccess_write(cpu, offset, value).expect("a register");
        }
    }
}

/// An access of a guest to the distributor, or the line of an interrupt.
fn step(gic: &mut TestVgic, cpu: usize, step: u32, value: u32) {
    let word = step >> 8 & 31;
    match step & 15 {
        0..=1 => {
            gic.set_level(cpu, 16 + value % 80, value >> 16 & 1 != 0);
        }
        2 => {
            // GICD_SGIR.
            gic.dist_write(cpu, 0xf00, 4, value & 0x03ff_000f);
        }
        3 => {
            gic.dist_write(cpu, 0, 4, value);
        }
        n => {
            let bases = [
                0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400, 0x800, 0xc00, 0xf10, 0xf20,
            ];
            let base = bases[n as usize - 4];
            let words = match base {
                0x400 | 0x800 => 24,
                0xc00 => 6,
                0xf10 | 0xf20 => 4,
                _ => 3,
            };
            gic.dist_write(cpu, base + 4 * (word % words), 4, value);
        }
    }
}

inputs! {
    #![cases = 300]

    fn saved_registers_are_all(
        cpus in 1..=8_usize,
        steps in prop::collection::vec(any::<(u8, u32, u32)>(), 0..60),
        more in prop::collection::vec(any::<(u8, u32, u32)>(), 0..20),
    ) {
        let mut gic = vgic(NR_IRQS, cpus, 4);
        let mut interfaces = std::vec![CpuInterface::default(); cpus];
        for (cpu, kind, value) in steps {
            let cpu = usize::from(cpu) % cpus;
            if kind >> 28 == 15 {
                // A stay in the guest, in which nothing is taken.
                gic.flush(cpu, &mut interfaces[cpu]);
                exit_all(&mut gic, &mut interfaces);
            } else {
                step(&mut gic, cpu, kind, value);
            }
        }
        // Groups are restored where the monitor has confirmed which GIC it is.
        let saved = save(&gic, cpus);
        let mut other = vgic(NR_IRQS, cpus, 4);
        restore(&mut other, &saved);
        prop_assert_eq!(save(&other, cpus), saved.clone());

        // The lines are those of the devices, which a monitor restores as well. One that is high
        // would be a new edge.
        let lines: Vec<(usize, u32, bool)> = (0..cpus)
            .flat_map(|cpu| (16..96).map(move |intid| (cpu, intid)))
            .filter_map(|(cpu, intid)| {
                let irq = gic.irq(cpu, intid)?;
                (!irq.is(State::EDGE)).then_some((cpu, intid, irq.is(State::LINE)))
            })
            .collect();
        for (cpu, intid, level) in lines {
            other.set_level(cpu, intid, level);
        }
        prop_assert_eq!(save(&other, cpus), saved);
        for (cpu, kind, value) in more {
            let cpu = usize::from(cpu) % cpus;
            // An interrupt that was pending by its line alone has become pending by itself, too, as
            // GICD_ISPENDR cannot tell. That is seen when the line falls, or becomes an edge.
            if matches!(kind & 15, 0 | 1 | 13) {
                continue;
            }
            step(&mut gic, cpu, kind, value);
            step(&mut other, cpu, kind, value);
        }
        let vmcr = Vmcr(0x1f << 27 | 3);
        for cpu in 0..cpus {
            prop_assert_eq!(other.has_pending(cpu), gic.has_pending(cpu));
            prop_assert_eq!(other.has_deliverable(cpu, vmcr), gic.has_deliverable(cpu, vmcr));
        }
        prop_assert_eq!(save(&other, cpus), save(&gic, cpus));
    }
}
