// SPDX-License-Identifier: GPL-2.0

//! Single interrupts between flush and fold.

use super::vgic;
use super::TestVgic;
use crate::vgic::CpuInterface;
use crate::vgic::GichHcr;
use crate::vgic::ListRegister;
use core::mem::size_of;

const PENDING: u32 = ListRegister::PENDING;
const ACTIVE: u32 = ListRegister::ACTIVE;
const EOI: u32 = ListRegister::EOI;
const HW: u32 = ListRegister::HW;

/// A distributor that forwards everything, and a CPU interface that takes
/// everything.
fn ready(nr_cpus: usize) -> (TestVgic, CpuInterface) {
    let mut gic = vgic(64, nr_cpus, 4);
    gic.dist_write(0, 0x000, 4, 1);
    for cpu in 0..nr_cpus {
        gic.dist_write(cpu, 0x100, 4, !0);
    }
    gic.dist_write(0, 0x104, 4, !0);
    let ci = CpuInterface {
        vmcr: 0xf800_0003,
        ..CpuInterface::default()
    };
    (gic, ci)
}

#[test]
fn sizes() {
    use crate::vgic::*;
    assert_eq!(size_of::<Irq>(), 8);
    assert!(size_of::<Cpu>() <= 528);
    assert!(size_of::<Vgic<&mut [Irq], &mut [Cpu]>>() <= 64);
    assert_eq!(size_of::<CpuInterface>(), 80);
}

#[test]
fn nothing_to_do() {
    let (mut gic, mut ci) = ready(1);
    gic.flush(0, &mut ci);
    assert_eq!((ci.hcr, ci.used), (GichHcr::EN.bits(), 0));
    assert_eq!(gic.fold(0, &mut ci), 0);
    assert!(!gic.has_pending(0));
}

#[test]
fn level_spi() {
    let (mut gic, mut ci) = ready(1);
    assert_eq!(gic.set_level(0, 33, true), 1);
    assert_eq!(gic.set_level(0, 33, true), 0);
    assert!(gic.has_pending(0));
    gic.flush(0, &mut ci);
    assert_eq!((ci.used, ci.lr[0]), (1, PENDING | EOI | 33));
    assert!(!gic.has_pending(0));
    // Acknowledged, the line goes low, and ended.
    ci.lr[0] = ACTIVE | EOI | 33;
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(0, 0x304, 4), 2);
    assert_eq!(gic.set_level(0, 33, false), 0);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], ACTIVE | EOI | 33);
    ci.lr[0] = EOI | 33;
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.used, 0);
    assert_eq!(gic.dist_read(0, 0x304, 4), 0);
}

#[test]
fn level_that_stays_comes_again_and_one_that_goes_does_not() {
    let (mut gic, mut ci) = ready(1);
    gic.set_level(0, 33, true);
    gic.flush(0, &mut ci);
    ci.lr[0] = EOI | 33;
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | EOI | 33);
    assert_eq!(gic.set_level(0, 33, false), 0);
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.used, 0);
}

#[test]
fn level_made_pending_by_software_is_taken_once() {
    let (mut gic, mut ci) = ready(1);
    assert_eq!(gic.dist_write(0, 0x204, 4, 2), 1);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | EOI | 33);
    assert_eq!(gic.dist_read(0, 0x204, 4), 2);
    // Not taken yet: it stays.
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | EOI | 33);
    ci.lr[0] = ACTIVE | EOI | 33;
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(0, 0x204, 4), 0);
    // Once more while it is active.
    gic.dist_write(0, 0x204, 4, 2);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], ACTIVE | EOI | 33);
    ci.lr[0] = EOI | 33;
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | EOI | 33);
}

#[test]
fn edge_while_active() {
    let (mut gic, mut ci) = ready(1);
    gic.dist_write(0, 0xc08, 4, 0x8888_8888);
    gic.set_level(0, 33, true);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | 33);
    ci.lr[0] = ACTIVE | 33;
    // The CPU is in the guest, and has to come for it.
    assert_eq!(gic.set_level(0, 33, true), 1);
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | ACTIVE | 33);
    assert_eq!(gic.dist_read(0, 0x204, 4), 2);
}

#[test]
fn timer_that_software_makes_pending_while_it_is_active_comes_again() {
    let (mut gic, mut ci) = ready(1);
    gic.map_hw(0, 27, 30);
    gic.set_level(0, 27, true);
    gic.flush(0, &mut ci);
    ci.lr[0] = HW | ACTIVE | (30 << 10) | 27;
    gic.fold(0, &mut ci);
    gic.set_level(0, 27, false);
    gic.dist_write(0, 0x200, 4, 1 << 27);
    gic.flush(0, &mut ci);
    // The physical interrupt would not make the CPU exit for it.
    assert_eq!(ci.lr[0], ACTIVE | EOI | 27);
    assert_eq!(gic.reserve(0, &ci, 27), None);
    assert!(gic.hw_needs_phys_active(0, 27));
    ci.lr[0] = EOI | 27;
    gic.fold(0, &mut ci);
    assert!(!gic.take_hw_deactivated(0, 27));
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], HW | PENDING | (30 << 10) | 27);
    assert!(gic.hw_needs_phys_active(0, 27));
}

#[test]
fn timer_that_rises_in_the_guest() {
    let (mut gic, mut ci) = ready(2);
    gic.map_hw(1, 27, 30);
    let pending = HW | PENDING | (30 << 10) | 27;
    gic.flush(1, &mut ci);
    let (n, lr) = gic.reserve(1, &ci, 27).unwrap();
    assert_eq!((n, lr.0), (3, pending));
    // Another CPU disables the distributor.
    assert_eq!(gic.dist_write(0, 0, 4, 0), 0b10);
    gic.flush(1, &mut ci);
    assert_eq!(gic.reserve(1, &ci, 27), None);
    gic.dist_write(0, 0, 4, 1);
    gic.flush(1, &mut ci);
    assert_eq!(gic.reserve(1, &ci, 27), Some((n, lr)));
    // It rises, and is taken.
    ci.lr[n] = HW | ACTIVE | (30 << 10) | 27;
    ci.use_register(n);
    gic.rose(1, 27);
    gic.fold(1, &mut ci);
    assert!(!gic.take_hw_deactivated(1, 27));
    assert_eq!(gic.dist_read(1, 0x300, 4), 1 << 27);
    gic.flush(1, &mut ci);
    // It has a list register now, where it rises again when it is done with.
    assert_eq!(gic.reserve(1, &ci, 27), Some((0, lr)));
    ci.lr[0] = pending;
    ci.use_register(0);
    gic.rose(1, 27);
    gic.fold(1, &mut ci);
    assert_eq!(gic.set_level(1, 27, false), 0);
    // All list registers are in use.
    for sgi in 0..4 {
        gic.dist_write(0, 0xf00, 4, 0x0002_0000 | sgi);
    }
    gic.flush(1, &mut ci);
    assert_eq!((ci.used, gic.reserve(1, &ci, 27)), (0b1111, None));
    gic.fold(1, &mut ci);
    gic.dist_write(1, 0x180, 4, 1 << 27);
    gic.flush(1, &mut ci);
    assert_eq!(gic.reserve(1, &ci, 27), None);
}

/// The last flush has settled the list register of the interrupt, and whether its physical one has
/// to be active: after each change, there has to be another flush.
#[test]
fn changes_of_the_timers_interrupt_have_the_vcpu_flushed() {
    let (mut gic, mut ci) = ready(2);
    gic.map_hw(1, 27, 30);
    gic.flush(1, &mut ci);
    assert!(gic.reserve(1, &ci, 27).is_some());
    let writes = [
        ("GICD_ICENABLER", 0x180, 4, 1 << 27),
        ("GICD_ISPENDR, disabled", 0x200, 4, 1 << 27),
        ("GICD_ICPENDR, disabled", 0x280, 4, 1 << 27),
        ("GICD_ISENABLER", 0x100, 4, 1 << 27),
        ("GICD_IPRIORITYR", 0x400 + 27, 1, 0x50),
        ("GICD_IGROUPR", 0x80, 4, 1 << 27),
        ("GICD_ISACTIVER", 0x300, 4, 1 << 27),
        ("GICD_ICACTIVER", 0x380, 4, 1 << 27),
    ];
    for (what, offset, len, value) in writes {
        assert_eq!(gic.dist_write(1, offset, len, value), 0b10, "{what}");
        gic.flush(1, &mut ci);
        gic.reserve(1, &ci, 27);
        // A value that it has already changes nothing.
        assert_eq!(gic.dist_write(0, offset, len, value) & 0b10, 0, "{what}");
    }
}

#[test]
fn timer() {
    let (mut gic, mut ci) = ready(2);
    gic.map_hw(1, 27, 30);
    assert!(!gic.hw_needs_phys_active(1, 27));
    assert_eq!(gic.set_level(1, 27, true), 0b10);
    gic.flush(1, &mut ci);
    assert_eq!(ci.lr[0], HW | PENDING | (30 << 10) | 27);
    assert!(gic.hw_needs_phys_active(1, 27));
    assert!(!gic.hw_needs_phys_active(0, 27));
    ci.lr[0] = HW | ACTIVE | (30 << 10) | 27;
    gic.fold(1, &mut ci);
    gic.set_level(1, 27, false);
    assert!(gic.hw_needs_phys_active(1, 27));
    // Never pending and active.
    gic.set_level(1, 27, true);
    gic.flush(1, &mut ci);
    assert_eq!(ci.lr[0], HW | ACTIVE | (30 << 10) | 27);
    ci.lr[0] = HW | (30 << 10) | 27;
    assert!(!gic.take_hw_deactivated(1, 27));
    gic.fold(1, &mut ci);
    assert!(gic.take_hw_deactivated(1, 27));
    assert!(!gic.take_hw_deactivated(1, 27));
    gic.set_level(1, 27, false);
    assert!(!gic.hw_needs_phys_active(1, 27));
    gic.flush(1, &mut ci);
    assert_eq!(ci.used, 0);
    // The guest has it disabled: the host must not be interrupted for it.
    gic.dist_write(1, 0x180, 4, 1 << 27);
    assert_eq!(gic.set_level(1, 27, true), 0);
    assert!(gic.hw_needs_phys_active(1, 27));
}

#[test]
fn sgi_from_two_cpus() {
    let (mut gic, mut ci) = ready(4);
    gic.dist_write(3, 0xf00, 4, 0x0001_0005);
    gic.dist_write(2, 0xf00, 4, 0x0001_0005);
    gic.flush(0, &mut ci);
    assert_eq!((ci.used, ci.lr[0]), (1, PENDING | EOI | (2 << 10) | 5));
    assert_eq!(gic.dist_read(0, 0xf24, 4), 0x0c00);
    ci.lr[0] = EOI | (2 << 10) | 5;
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | (3 << 10) | 5);
    // Taken back while it is in the list register.
    assert_eq!(gic.dist_write(0, 0xf15, 1, 0b1000), 1);
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.used, 0);
}

#[test]
fn more_than_fit() {
    let (mut gic, mut ci) = ready(1);
    for n in 0..8 {
        gic.dist_write(0, 0x420 + n, 1, 0x80 - 8 * n);
        gic.set_level(0, 32 + n, true);
    }
    gic.flush(0, &mut ci);
    assert_eq!(ci.used, 0xf);
    assert_eq!(ci.hcr, (GichHcr::EN | GichHcr::NPIE).bits());
    for n in 0..4 {
        let lr = ListRegister(ci.lr[n as usize]);
        assert_eq!(lr.intid(), 39 - n);
        assert_eq!(u32::from(lr.priority()), 0x80 - 8 * (7 - n));
    }
    // All four active: the other four go in, these out.
    for lr in &mut ci.lr[..4] {
        *lr = *lr & !PENDING | ACTIVE;
    }
    gic.fold(0, &mut ci);
    gic.flush(0, &mut ci);
    assert_eq!(ci.hcr, (GichHcr::EN | GichHcr::LRENPIE).bits());
    assert_eq!(ListRegister(ci.lr[0]).intid(), 35);
    // Two EOIs that no list register matches.
    ci.hcr |= 2 << 27;
    assert!(gic.ended(0, &ci).eq([39, 38]));
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(0, 0x304, 4), 0b0011_0000);
}

/// The ends of levels are told, wherever the interrupts were, those of edges and of PPIs are not.
#[test]
fn ends_of_levels() {
    let (mut gic, mut ci) = ready(1);
    // 35 is an edge.
    gic.dist_write(0, 0xc08, 4, 0b10 << 6);
    let intids = [16, 32, 33, 34, 35, 36, 37, 38];
    for (n, intid) in (0..).zip(intids) {
        gic.dist_write(0, 0x400 + intid, 1, 0x80 - 8 * n);
        gic.set_level(0, intid, true);
    }
    // All are acknowledged, four at a time.
    for round in 0..2 {
        gic.flush(0, &mut ci);
        for lr in ci.lr.iter_mut().take(4) {
            *lr = *lr & !PENDING | ACTIVE;
        }
        assert!(gic.ended(0, &ci).eq([]), "{round}");
        gic.fold(0, &mut ci);
    }
    // The four most urgent go in, and the last two of them are ended there.
    gic.flush(0, &mut ci);
    let inside: [u32; 4] = core::array::from_fn(|n| ListRegister(ci.lr[n]).intid());
    assert_eq!(inside, [38, 37, 36, 35]);
    ci.lr[0] &= !ACTIVE;
    ci.lr[3] &= !ACTIVE;
    // EOICount means nothing where nobody is outside.
    let saved = ci.hcr;
    ci.hcr = (GichHcr::EN | GichHcr::EOI_COUNT).bits();
    assert!(gic.ended(0, &ci).eq([38]));
    // Of the others all are ended, and some more that are not.
    for (count, told) in [
        (1, &[38, 34][..]),
        (3, &[38, 34, 33, 32]),
        (31, &[38, 34, 33, 32]),
    ] {
        ci.hcr = saved | count << 27;
        assert!(gic.ended(0, &ci).eq(told.iter().copied()), "{count}");
    }
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(0, 0x300, 4), 0);
    assert_eq!(gic.dist_read(0, 0x304, 4), 0b0011_0000);
}

#[test]
fn interrupts_of_a_disabled_group_give_way() {
    let (mut gic, mut ci) = ready(1);
    gic.dist_write(0, 0x084, 4, 0xff);
    ci.vmcr = 0xf800_0001;
    for intid in 32..42 {
        gic.set_level(0, intid, true);
    }
    gic.flush(0, &mut ci);
    let intids: [u32; 4] = core::array::from_fn(|n| ListRegister(ci.lr[n]).intid());
    assert_eq!(intids, [40, 41, 32, 33]);
    assert_eq!(
        ci.hcr,
        (GichHcr::EN | GichHcr::VGRP1EIE | GichHcr::VGRP0DIE).bits()
    );
    gic.fold(0, &mut ci);
    assert!(gic.has_deliverable(0, ci.vmcr()));
    ci.vmcr = 0xf800_0000;
    assert!(gic.has_pending(0) && !gic.has_deliverable(0, ci.vmcr()));
    ci.vmcr = 3;
    assert!(gic.has_pending(0) && !gic.has_deliverable(0, ci.vmcr()));
}

#[test]
fn distributor_off() {
    let (mut gic, mut ci) = ready(1);
    gic.dist_write(0, 0, 4, 0);
    assert_eq!(gic.set_level(0, 33, true), 0);
    assert_eq!(gic.dist_write(0, 0, 4, 2), 0);
    assert_eq!(gic.dist_write(0, 0, 4, 1), 1);
    gic.flush(0, &mut ci);
    // The CPU has it, and gives it back.
    assert_eq!(gic.dist_write(0, 0, 4, 0), 1);
    gic.fold(0, &mut ci);
    assert!(!gic.has_pending(0));
    gic.flush(0, &mut ci);
    assert_eq!(ci.used, 0);
    // Group 1 alone.
    gic.dist_write(0, 0x084, 4, 2);
    assert_eq!(gic.dist_write(0, 0, 4, 2), 1);
}

#[test]
fn target_changes_while_pending() {
    let (mut gic, mut ci) = ready(2);
    assert_eq!(gic.set_level(0, 33, true), 0b01);
    assert_eq!(gic.dist_write(0, 0x821, 1, 2), 0b10);
    assert!(!gic.has_pending(0) && gic.has_pending(1));
    gic.flush(1, &mut ci);
    // In a list register: CPU 1 has to give it back first.
    assert_eq!(gic.dist_write(0, 0x821, 1, 1), 0b10);
    assert_eq!(gic.fold(1, &mut ci), 0b01);
    assert!(gic.has_pending(0) && !gic.has_pending(1));
    // Without a target it stays with CPU 0.
    assert_eq!(gic.dist_write(0, 0x821, 1, 0), 0);
    assert!(gic.has_pending(0) && !gic.has_pending(1));
}

#[test]
fn user_space_does_not_drive_the_line_of_a_device() {
    let (mut gic, _) = ready(2);
    assert_eq!(gic.set_user_level(0, 27, true), 1);
    assert_eq!(gic.set_user_level(1, 27, true), 2);
    assert_eq!(gic.own(0, 27), 0);
    assert!(!gic.has_pending(0) && gic.has_pending(1));
    assert_eq!(gic.set_user_level(0, 27, true), 0);
    assert!(!gic.has_pending(0));
    assert_eq!(gic.set_level(0, 27, true), 1);
    assert_eq!(gic.set_user_level(0, 27, false), 0);
    assert!(gic.has_pending(0));
    // The interrupt of another CPU, and one that nobody has.
    assert_eq!(gic.set_user_level(1, 27, false), 0);
    assert!(!gic.has_pending(1));
    assert_eq!(gic.set_user_level(0, 64, true), 0);
}

/// QEMU's reset leaves an SPI so, and KVM delivers it all the same.
#[test]
fn an_spi_without_targets_goes_to_the_first_cpu() {
    let (mut gic, _) = ready(3);
    gic.dist_write(0, 0x820, 4, 0);
    assert_eq!(gic.dist_read(0, 0x820, 4), 0);
    assert_eq!(gic.set_level(0, 33, true), 1);
    assert!(gic.has_pending(0));
    // It moves when it gets a target, and back when it loses that.
    assert_eq!(gic.dist_write(0, 0x821, 1, 4), 4);
    assert!(gic.has_pending(2) && !gic.has_pending(0));
    assert_eq!(gic.dist_write(0, 0x821, 1, 0), 1);
    assert!(gic.has_pending(0) && !gic.has_pending(2));
}

#[test]
fn changes_to_what_another_cpu_has_in_a_list_register() {
    let (mut gic, mut ci) = ready(2);
    gic.dist_write(0, 0xc08, 4, 0x8888_8888);
    let lr = PENDING | 33;
    // GICD_ICPENDR.
    gic.set_level(0, 33, true);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], lr);
    assert_eq!(gic.stale(1, 0x204), 1);
    assert_eq!(gic.dist_write(1, 0x284, 4, 2), 1);
    gic.fold(0, &mut ci);
    assert_eq!(gic.stale(1, 0x204), 0);
    assert!(!gic.has_pending(0));
    // GICD_ICENABLER.
    gic.set_level(0, 33, true);
    gic.flush(0, &mut ci);
    assert_eq!(gic.dist_write(1, 0x184, 4, 2), 1);
    gic.fold(0, &mut ci);
    assert!(!gic.has_pending(0));
    assert_eq!(gic.dist_write(1, 0x104, 4, 2), 1);
    // GICD_ISACTIVER, then GICD_ICACTIVER.
    gic.flush(0, &mut ci);
    assert_eq!(gic.dist_write(1, 0x304, 4, 2), 1);
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(1, 0x304, 4), 2);
    gic.flush(0, &mut ci);
    assert_eq!(ci.lr[0], PENDING | ACTIVE | 33);
    assert_eq!(gic.dist_write(1, 0x384, 4, 2), 1);
    gic.fold(0, &mut ci);
    assert_eq!(gic.dist_read(1, 0x304, 4), 0);
    assert!(gic.has_pending(0));
    // A priority: what is chosen may be different now.
    assert_eq!(gic.dist_write(1, 0x421, 1, 0x40), 1);
}

#[test]
fn deactivation_by_register() {
    let (mut gic, mut ci) = ready(2);
    ci.vmcr |= 1 << 9;
    gic.dist_write(0, 0x304, 4, 2);
    gic.deactivate(0, &CpuInterface::default(), 33);
    assert_eq!(gic.dist_read(0, 0x304, 4), 2);
    gic.deactivate(1, &ci, 33);
    assert_eq!(gic.dist_read(0, 0x304, 4), 0);
    // Of an SGI the source has to be right.
    gic.dist_write(1, 0x300, 4, 1 << 7);
    gic.deactivate(1, &ci, 7);
    assert_eq!(gic.dist_read(1, 0x300, 4), 1 << 7);
    gic.deactivate(1, &ci, (1 << 10) | 7);
    assert_eq!(gic.dist_read(1, 0x300, 4), 0);
}

#[test]
fn flush_folds_what_was_not() {
    let (mut gic, mut ci) = ready(1);
    gic.set_level(0, 33, true);
    gic.flush(0, &mut ci);
    let first = ci;
    assert_eq!(gic.flush(0, &mut ci), 0);
    assert_eq!(ci, first);
}

#[test]
fn who_reads_active_bits_sees_a_fold() {
    let (mut gic, mut ci) = ready(2);
    assert_eq!(gic.folds(0), None);
    gic.dist_write(0, 0x204, 4, 2);
    gic.flush(0, &mut ci);
    let before = gic.folds(0);
    assert!(before.is_some());
    // The guest acknowledges it, which nobody knows as long as it runs.
    ci.lr[0] = ci.lr[0] & !PENDING | ACTIVE;
    assert_eq!(gic.stale(1, 0x304), 1);
    assert_eq!(gic.dist_read(1, 0x304, 4), 0);
    // It leaves, and comes back at once.
    gic.fold(0, &mut ci);
    assert_eq!(gic.folds(0), None);
    gic.flush(0, &mut ci);
    assert_ne!(gic.folds(0), before);
    assert_eq!(gic.dist_read(1, 0x304, 4), 2);
}
