// SPDX-License-Identifier: GPL-2.0

//! The distributor's registers, one by one.

use super::vgic;
use crate::vgic::Error;

#[test]
fn identification() {
    for (nr_irqs, nr_cpus, typer) in [(64, 1, 0x01), (256, 4, 0x67), (1024, 8, 0xff)] {
        let mut gic = vgic(nr_irqs, nr_cpus, 4);
        assert_eq!(gic.dist_read(0, 0x004, 4), typer);
        gic.dist_write(0, 0x004, 4, 0);
        assert_eq!(gic.dist_read(0, 0x004, 4), typer);
        assert_eq!(gic.dist_read(0, 0x008, 4), 0x4b00_243b);
        assert_eq!(gic.dist_read(0, 0xfe8, 4), 0x2b);
        let component: u32 = (0..4)
            .map(|n| gic.dist_read(0, 0xff0 + n * 4, 4) << (8 * n))
            .sum();
        assert_eq!(component, 0xb105_f00d);
    }
}

#[test]
fn control_has_two_enables() {
    let mut gic = vgic(64, 1, 4);
    assert_eq!(gic.dist_read(0, 0, 4), 0);
    gic.dist_write(0, 0, 4, !0);
    assert_eq!(gic.dist_read(0, 0, 4), 3);
    // No byte accesses to this one.
    gic.dist_write(0, 0, 1, 0);
    assert_eq!(gic.dist_read(0, 0, 4), 3);
    gic.dist_write(0, 0, 4, 1);
    assert_eq!(gic.dist_read(0, 0, 4), 1);
}

#[test]
fn enables_are_set_and_cleared() {
    let mut gic = vgic(96, 2, 4);
    assert_eq!(gic.dist_read(0, 0x100, 4), 0xffff);
    gic.dist_write(0, 0x100, 4, 1 << 27);
    assert_eq!(gic.dist_read(0, 0x100, 4), 0x0800_ffff);
    assert_eq!(gic.dist_read(0, 0x180, 4), 0x0800_ffff);
    // Banked.
    assert_eq!(gic.dist_read(1, 0x100, 4), 0xffff);
    gic.dist_write(1, 0x104, 4, 0x8000_0001);
    assert_eq!(gic.dist_read(0, 0x104, 4), 0x8000_0001);
    gic.dist_write(0, 0x184, 4, 1);
    assert_eq!(gic.dist_read(0, 0x104, 4), 0x8000_0000);
    // Narrow reads see their part, narrow writes do nothing.
    assert_eq!(gic.dist_read(0, 0x107, 1), 0x80);
    assert_eq!(gic.dist_read(0, 0x106, 2), 0x8000);
    gic.dist_write(0, 0x104, 1, 0xff);
    assert_eq!(gic.dist_read(0, 0x104, 4), 0x8000_0000);
    // Beyond what there is.
    gic.dist_write(0, 0x10c, 4, !0);
    assert_eq!(gic.dist_read(0, 0x10c, 4), 0);
}

#[test]
fn special_intids_do_not_exist() {
    let mut gic = vgic(1024, 1, 4);
    for offset in [0x0fc, 0x17c, 0x27c, 0x37c] {
        gic.dist_write(0, offset, 4, !0);
        assert_eq!(gic.dist_read(0, offset, 4), 0x0fff_ffff, "{offset:#x}");
    }
    gic.dist_write(0, 0x7fc, 4, !0);
    assert_eq!(gic.dist_read(0, 0x7fc, 4), 0);
    gic.dist_write(0, 0x7f8, 4, !0);
    assert_eq!(gic.dist_read(0, 0x7f8, 4), 0xf8f8_f8f8);
    assert_eq!(gic.set_level(0, 1020, true), 0);
}

#[test]
fn priorities_have_five_bits_and_bytes() {
    let mut gic = vgic(64, 2, 4);
    gic.dist_write(0, 0x420, 4, 0xff_a5_07_10);
    assert_eq!(gic.dist_read(1, 0x420, 4), 0xf8_a0_00_10);
    gic.dist_write(0, 0x421, 1, 0x38);
    assert_eq!(gic.dist_read(0, 0x420, 4), 0xf8_a0_38_10);
    assert_eq!(gic.dist_read(0, 0x422, 1), 0xa0);
    // Banked.
    gic.dist_write(1, 0x400, 1, 0x80);
    assert_eq!(gic.dist_read(0, 0x400, 4), 0);
    assert_eq!(gic.dist_read(1, 0x400, 4), 0x80);
}

#[test]
fn targets() {
    let mut gic = vgic(64, 3, 4);
    assert_eq!(gic.dist_read(2, 0x800, 4), 0x0404_0404);
    assert_eq!(gic.dist_read(2, 0x81f, 1), 0x04);
    gic.dist_write(2, 0x800, 4, 0);
    assert_eq!(gic.dist_read(2, 0x800, 4), 0x0404_0404);
    // After reset an SPI goes to CPU 0.
    assert_eq!(gic.dist_read(1, 0x820, 4), 0x0101_0101);
    gic.dist_write(1, 0x820, 4, 0xff_04_00_02);
    assert_eq!(gic.dist_read(0, 0x820, 4), 0x07_04_00_02);
    gic.dist_write(1, 0x821, 1, 3);
    assert_eq!(gic.dist_read(0, 0x820, 4), 0x07_04_03_02);

    let mut uniprocessor = vgic(64, 1, 4);
    uniprocessor.dist_write(0, 0x820, 4, 0x0103_020f);
    assert_eq!(uniprocessor.dist_read(0, 0x800, 4), 0x0101_0101);
    assert_eq!(uniprocessor.dist_read(0, 0x820, 4), 0x0101_0001);
}

#[test]
fn configuration() {
    let mut gic = vgic(64, 1, 4);
    for (offset, reset, written) in [
        (0xc00, 0xaaaa_aaaa, 0xaaaa_aaaa),
        (0xc04, 0, 0),
        (0xc08, 0, 0x8888_8888),
        (0xc0c, 0, 0x8888_8888),
        (0xc10, 0, 0),
    ] {
        assert_eq!(gic.dist_read(0, offset, 4), reset, "{offset:#x}");
        gic.dist_write(0, offset, 4, 0xdddd_dddd);
        assert_eq!(gic.dist_read(0, offset, 4), written, "{offset:#x}");
    }
}

#[test]
fn groups() {
    let mut gic = vgic(64, 2, 4);
    gic.dist_write(0, 0x080, 4, 0x1234_5678);
    gic.dist_write(0, 0x084, 4, 0x8000_0001);
    assert_eq!(gic.dist_read(0, 0x080, 4), 0x1234_5678);
    assert_eq!(gic.dist_read(1, 0x080, 4), 0);
    assert_eq!(gic.dist_read(1, 0x084, 4), 0x8000_0001);
}

#[test]
fn pending_by_software_and_by_line() {
    let mut gic = vgic(64, 1, 4);
    // The SGIs' bits are read-only.
    gic.dist_write(0, 0x200, 4, !0);
    assert_eq!(gic.dist_read(0, 0x200, 4), 0xffff_0000);
    gic.dist_write(0, 0x280, 4, !0);
    assert_eq!(gic.dist_read(0, 0x200, 4), 0);
    // A line that is high keeps it pending.
    gic.set_level(0, 40, true);
    gic.dist_write(0, 0x204, 4, 0x180);
    assert_eq!(gic.dist_read(0, 0x284, 4), 0x180);
    gic.dist_write(0, 0x284, 4, !0);
    assert_eq!(gic.dist_read(0, 0x204, 4), 0x100);
    gic.set_level(0, 40, false);
    assert_eq!(gic.dist_read(0, 0x204, 4), 0);
    // An edge stays.
    gic.dist_write(0, 0xc08, 4, 0x8000_0000);
    gic.set_level(0, 47, true);
    gic.set_level(0, 47, false);
    assert_eq!(gic.dist_read(0, 0x204, 4), 0x8000);
    gic.dist_write(0, 0x284, 4, 0x8000);
    assert_eq!(gic.dist_read(0, 0x204, 4), 0);
    // SGIs have no line.
    assert_eq!(gic.set_level(0, 3, true), 0);
    assert_eq!(gic.dist_read(0, 0x200, 4), 0);
}

#[test]
fn active_bits() {
    let mut gic = vgic(64, 2, 4);
    gic.dist_write(0, 0x300, 4, 0x0800_0001);
    assert_eq!(gic.dist_read(0, 0x300, 4), 0x0800_0001);
    assert_eq!(gic.dist_read(1, 0x300, 4), 0);
    gic.dist_write(1, 0x304, 4, 2);
    assert_eq!(gic.dist_read(0, 0x384, 4), 2);
    gic.dist_write(0, 0x384, 4, 2);
    gic.dist_write(0, 0x380, 4, 1);
    assert_eq!(gic.dist_read(0, 0x300, 4), 0x0800_0000);
    assert_eq!(gic.dist_read(0, 0x304, 4), 0);
}

#[test]
fn sgi_goes_where_the_filter_says() {
    for (value, targets) in [
        (0x0005_0003, 0b0101),
        (0x00ff_0003, 0b1111),
        (0x0100_0003, 0b1101),
        (0x01ff_0003, 0b1101),
        (0x0200_0003, 0b0010),
        (0x03ff_0003, 0),
        (0x00f0_0003, 0),
    ] {
        let mut gic = vgic(64, 4, 4);
        gic.dist_write(0, 0, 4, 1);
        assert_eq!(gic.dist_write(1, 0xf00, 4, value), targets, "{value:#x}");
        for cpu in 0..4 {
            let pending = (targets >> cpu) & 1;
            assert_eq!(gic.dist_read(cpu, 0x200, 4), pending << 3);
            assert_eq!(gic.dist_read(cpu, 0xf20, 4), (pending << 1) << 24);
            assert_eq!(gic.has_pending(cpu), pending != 0);
        }
        assert_eq!(gic.dist_read(1, 0xf00, 4), 0);
        // Who knows already is not told again.
        assert_eq!(gic.dist_write(2, 0xf00, 4, (targets << 16) | 3), 0);
    }
}

#[test]
fn sgi_sources_are_set_and_cleared_by_bytes() {
    let mut gic = vgic(64, 4, 4);
    gic.dist_write(2, 0xf25, 1, 0xff);
    assert_eq!(gic.dist_read(2, 0xf24, 4), 0x0f00);
    assert_eq!(gic.dist_read(2, 0xf15, 1), 0x0f);
    gic.dist_write(2, 0xf14, 4, 0x0000_0500);
    assert_eq!(gic.dist_read(2, 0xf25, 1), 0x0a);
    assert_eq!(gic.dist_read(2, 0x200, 4), 1 << 5);
    gic.dist_write(2, 0xf15, 1, 0x0a);
    assert_eq!(gic.dist_read(2, 0x200, 4), 0);
    assert_eq!(gic.dist_read(0, 0xf24, 4), 0);
}

#[test]
fn reserved_registers_read_as_zero() {
    let mut gic = vgic(64, 1, 4);
    for offset in [
        0x00c, 0x010, 0x07c, 0xd00, 0xe00, 0xf04, 0xf30, 0xfcc, 0x1000, 0x2000,
    ] {
        gic.dist_write(0, offset, 4, !0);
        assert_eq!(gic.dist_read(0, offset, 4), 0, "{offset:#x}");
    }
}

#[test]
fn user_space_sees_registers_as_the_guest_does() {
    let mut gic = vgic(64, 2, 4);
    gic.uaccess_write(1, 0x000, 1).unwrap();
    assert_eq!(gic.uaccess_read(0, 0x000), Ok(1));
    assert_eq!(gic.uaccess_read(0, 0x004), Ok(0x21));
    // Groups only after GICD_IIDR was confirmed.
    gic.uaccess_write(0, 0x084, !0).unwrap();
    assert_eq!(gic.uaccess_read(0, 0x084), Ok(0));
    assert_eq!(gic.uaccess_write(0, 0x008, 0), Err(Error::Invalid));
    let iidr = gic.uaccess_read(0, 0x008).unwrap();
    gic.uaccess_write(0, 0x008, iidr).unwrap();
    gic.uaccess_write(0, 0x084, !0).unwrap();
    assert_eq!(gic.uaccess_read(0, 0x084), Ok(!0));
    // SGIs can be restored as pending, from the CPU itself.
    assert_eq!(gic.uaccess_write(1, 0x200, 1 << 4), Ok(0b10));
    assert_eq!(gic.uaccess_read(1, 0xf24), Ok(0b10));
    gic.uaccess_write(1, 0x280, 1 << 4).unwrap();
    assert_eq!(gic.uaccess_read(1, 0x200), Ok(0));

    assert_eq!(gic.uaccess_read(2, 0x000), Err(Error::Invalid));
    for offset in [0x001, 0x102, 0xe00, 0x1000, !3] {
        assert_eq!(gic.uaccess_read(0, offset), Err(Error::NoRegister));
        assert_eq!(gic.uaccess_write(0, offset, 0), Err(Error::NoRegister));
    }
}
