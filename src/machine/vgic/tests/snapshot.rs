// SPDX-License-Identifier: GPL-2.0

//! The state as text.

use super::vgic;
use super::TestVgic;
use crate::vgic::snapshot::MOST_IRQS;
use crate::vgic::CpuInterface;
use crate::vgic::Irq;
use crate::vgic::Vmcr;
use std::string::String;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

fn text(gic: &TestVgic) -> String {
    let room = vec![Irq::default(); MOST_IRQS].into_boxed_slice();
    gic.snapshot(room).to_string()
}

/// The lines about interrupts of a number, in order.
fn lines(text: &str, intid: u32) -> Vec<&str> {
    let has_it = |line: &&str| line.split_whitespace().nth(1) == Some(&intid.to_string());
    text.lines()
        .filter(|line| line.starts_with("       "))
        .filter(has_it)
        .collect()
}

#[test]
fn has_all_interrupts_once() {
    let gic = vgic(96, 2, 4);
    let text = text(&gic);
    assert!(text.starts_with(
        "Distributor\n===========\nvgic_model:\tGICv2\nnr_spis:\t64\nenabled:\t0\n\nP=pending_latch"
    ));
    let intids: Vec<u32> = text
        .lines()
        .filter(|line| line.starts_with("       "))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
        .collect();
    let expected: Vec<u32> = (0..32).chain(0..32).chain(32..96).collect();
    assert_eq!(intids, expected);
    let heads: Vec<&str> = text.lines().filter(|line| line.contains(" TYP ")).collect();
    assert_eq!(
        heads,
        [
            "VCPU 0 TYP   ID TGT_ID PLAEHCG     HWID   TARGET SRC PRI VCPU_ID LR",
            "VCPU 1 TYP   ID TGT_ID PLAEHCG     HWID   TARGET SRC PRI VCPU_ID LR",
            "SPI  0 TYP   ID TGT_ID PLAEHCG     HWID   TARGET SRC PRI VCPU_ID LR",
        ]
    );
}

#[test]
fn the_largest_ends_before_the_special_intids() {
    let text = text(&vgic(1024, 8, 4));
    assert!(text.contains("nr_spis:\t988\n"));
    assert_eq!(lines(&text, 1019).len(), 1);
    assert_eq!(lines(&text, 1020).len(), 0);
    assert_eq!(lines(&text, 31).len(), 8);
}

#[test]
fn room_for_none_is_no_fault() {
    let gic = vgic(96, 2, 4);
    let text = gic.snapshot(Vec::new().into_boxed_slice()).to_string();
    assert!(text.contains("nr_spis:\t64\n"));
}

/// An interrupt on its way: its line is low, high, in a list register, active.
#[test]
fn follows_an_interrupt() {
    let mut gic = vgic(64, 2, 4);
    gic.dist_write(0, 0x000, 4, 1);
    gic.dist_write(0, 0x104, 4, 1 << 8);
    gic.dist_write(0, 0x428, 4, 0xa0);
    gic.dist_write(0, 0x828, 4, 0x2);
    assert!(text(&gic).contains("enabled:\t1\n"));
    assert_eq!(
        lines(&text(&gic), 40),
        ["       SPI   40      1 0001010        0        2   0 160      -1  -"]
    );
    gic.set_level(0, 40, true);
    assert_eq!(
        lines(&text(&gic), 40),
        ["       SPI   40      1 0101010        0        2   0 160       1  -"]
    );
    let mut interface = CpuInterface {
        vmcr: Vmcr(0xf800_0001).0,
        ..CpuInterface::default()
    };
    gic.flush_with(1, &mut interface, || Vmcr(0xf800_0001));
    assert_eq!(
        lines(&text(&gic), 40),
        ["       SPI   40      1 0101010        0        2   0 160       1  P"]
    );
}

/// A software interrupt, with its source, and a linked timer.
#[test]
fn tells_sources_and_physical_interrupts() {
    let mut gic = vgic(64, 2, 4);
    gic.map_hw(1, 27, 27);
    gic.dist_write(1, 0x000, 4, 1);
    // To CPU 0, from CPU 1.
    gic.dist_write(1, 0xf00, 4, 1 << 16 | 5);
    let text = text(&gic);
    assert_eq!(
        lines(&text, 5),
        [
            "       SGI    5      0 1001000        0        1   2   0       0  -",
            "       SGI    5      1 0001000        0        2   0   0      -1  -",
        ]
    );
    assert_eq!(
        lines(&text, 27),
        [
            "       PPI   27      0 0000010        0        1   0   0      -1  -",
            "       PPI   27      1 0000110       27        2   0   0      -1  -",
        ]
    );
}
