// SPDX-License-Identifier: GPL-2.0

//! The interrupt controller while everything goes on at once: lines change and
//! registers are written while CPUs are in the guest, and a CPU exits only
//! some time after it was kicked or after the hardware wanted it to.
//!
//! What comes when is then not determined, so interrupts are counted. Each one
//! that was requested is delivered after that, none more often than it was
//! requested; and all that by the kicks that were given and maintenance
//! interrupts alone, or the end would never be reached.

use super::hardware::Hardware;
use super::model::check_list_registers;
use super::model::Here;
use super::vgic;
use super::Random;
use super::TestVgic;
use crate::vgic::irq::State;
use crate::vgic::CpuInterface;
use crate::vgic::CpuMask;
use crate::vgic::Vmcr;
use inputs::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const NR_SPIS: u32 = 64;

/// Requests and deliveries of one interrupt.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: u32,
    deliveries: u32,
    /// A request was made after the last delivery and not taken back.
    waits: bool,
}

struct System {
    dut: TestVgic,
    hardware: Vec<Hardware>,
    in_guest: Vec<bool>,
    /// Out of the guest, and only a kick gets it back.
    asleep: Vec<bool>,
    kicked: CpuMask,
    stack: Vec<Vec<(u32, u32)>>,
    dropped: Vec<Vec<(u32, u32)>>,
    /// By CPU (0 for SPIs), INTID and source.
    counts: BTreeMap<(usize, u32, u32), Count>,
    lines: Vec<bool>,
    eoi_mode: bool,
    tries_in_place: bool,
    done_in_place: u64,
    /// Writes to list registers in place.
    given: u64,
}

/// SPIs with an odd INTID are edge-triggered.
const fn is_edge(intid: u32) -> bool {
    intid >= 32 && intid & 1 != 0
}

impl System {
    fn new(nr_cpus: usize, nr_lrs: usize, eoi_mode: bool) -> Self {
        let mut dut = vgic(32 + NR_SPIS as usize, nr_cpus, nr_lrs);
        dut.dist_write(0, 0, 4, 1);
        for word in 1..3 {
            dut.dist_write(0, 0x100 + word * 4, 4, !0);
            dut.dist_write(0, 0xc00 + word * 8, 4, 0x8888_8888);
            dut.dist_write(0, 0xc04 + word * 8, 4, 0x8888_8888);
        }
        for intid in 32..32 + NR_SPIS {
            dut.dist_write(0, 0x400 + intid, 1, (intid & 3) * 8);
        }
        let mut hardware = vec![Hardware::default(); nr_cpus];
        for hw in &mut hardware {
            hw.ci.vmcr = (1 << 4) | (2 << 21) | (0x1f << 27) | 0b11 | (u32::from(eoi_mode) << 9);
        }
        Self {
            dut,
            hardware,
            in_guest: vec![false; nr_cpus],
            asleep: vec![false; nr_cpus],
            kicked: 0,
            stack: vec![vec![]; nr_cpus],
            dropped: vec![vec![]; nr_cpus],
            counts: BTreeMap::new(),
            lines: vec![false; (32 + NR_SPIS) as usize],
            eoi_mode,
            tries_in_place: false,
            done_in_place: 0,
            given: 0,
        }
    }

    fn nr_cpus(&self) -> usize {
        self.hardware.len()
    }

    fn count(&mut self, cpu: usize, intid: u32, source: u32) -> &mut Count {
        let cpu = if intid < 32 { cpu } else { 0 };
        self.counts.entry((cpu, intid, source)).or_default()
    }

    fn request(&mut self, cpu: usize, intid: u32, source: u32) {
        let count = self.count(cpu, intid, source);
        count.requests += 1;
        count.waits = true;
    }

    fn exit(&mut self, cpu: usize) {
        if self.in_guest[cpu] {
            self.kicked |= self.dut.fold(cpu, &mut self.hardware[cpu].ci);
            self.in_guest[cpu] = false;
        }
    }

    fn enter(&mut self, cpu: usize) {
        if !self.in_guest[cpu] {
            self.kicked |= self.dut.flush(cpu, &mut self.hardware[cpu].ci);
            self.in_guest[cpu] = true;
            self.asleep[cpu] = false;
            self.kicked &= !(1 << cpu);
            assert!(!self.hardware[cpu].maintenance());
            check_list_registers(self.hardware.iter());
        }
    }

    /// Answers a kick or a maintenance interrupt; a CPU that sleeps goes on
    /// sleeping if there is nothing to take.
    fn attend(&mut self, cpu: usize) -> bool {
        if self.in_guest[cpu] {
            if self.kicked & (1 << cpu) == 0 && !self.hardware[cpu].maintenance() {
                return false;
            }
            self.exit(cpu);
            self.enter(cpu);
            return true;
        }
        if self.asleep[cpu] && self.kicked & (1 << cpu) == 0 {
            return false;
        }
        self.kicked &= !(1 << cpu);
        if !self.asleep[cpu] || self.dut.has_deliverable(cpu, self.hardware[cpu].ci.vmcr()) {
            self.enter(cpu);
        }
        true
    }

    /// WFI: the CPU leaves the guest if there is nothing to take.
    fn sleep(&mut self, cpu: usize) {
        self.exit(cpu);
        self.asleep[cpu] = self.stack[cpu].is_empty();
        self.kicked &= !(1 << cpu);
        if self.dut.has_deliverable(cpu, self.hardware[cpu].ci.vmcr()) {
            self.enter(cpu);
        }
    }

    fn set_line(&mut self, intid: u32, level: bool) {
        let was = core::mem::replace(&mut self.lines[intid as usize], level);
        if level && (is_edge(intid) || !was) {
            self.request(0, intid, 0);
        }
        if !level && !is_edge(intid) {
            self.count(0, intid, 0).waits = false;
        }
        self.kicked |= self.dut.set_level(0, intid, level);
    }

    fn acknowledge(&mut self, cpu: usize) -> bool {
        if !self.in_guest[cpu] {
            return false;
        }
        let Some(taken) = self.hardware[cpu].acknowledge() else {
            return false;
        };
        self.stack[cpu].push((taken.intid, taken.source));
        let count = self.count(cpu, taken.intid, taken.source);
        count.deliveries += 1;
        count.waits = false;
        assert!(
            count.deliveries <= count.requests,
            "invented: {taken:?} {count:?}"
        );
        if taken.intid >= 32 && !is_edge(taken.intid) {
            // The handler satisfies the device.
            self.lines[taken.intid as usize] = false;
            self.kicked |= self.dut.set_level(cpu, taken.intid, false);
        }
        true
    }

    fn end(&mut self, cpu: usize) -> bool {
        if !self.in_guest[cpu] {
            return false;
        }
        let Some(top) = self.stack[cpu].pop() else {
            return false;
        };
        self.hardware[cpu].end(top.0);
        if self.eoi_mode {
            self.dropped[cpu].push(top);
        }
        true
    }

    /// A trapped access: this CPU, and no other, is out of the guest.
    fn trapped(&mut self, cpu: usize, f: impl FnOnce(&mut Self) -> CpuMask) {
        let was = self.in_guest[cpu];
        self.exit(cpu);
        self.kicked |= f(self);
        if was {
            self.enter(cpu);
        }
    }

    /// GICC_DIR on `cpu` for what was acknowledged on `from`; that may be
    /// another CPU if it is an SPI.
    fn deactivate(&mut self, cpu: usize, from: usize) -> bool {
        let Some(&(intid, source)) = self.dropped[from].last() else {
            return false;
        };
        let cpu = if intid < 32 { from } else { cpu };
        self.dropped[from].pop();
        let value = intid | (source << 10);
        let is_done = |dut: &mut TestVgic, ci: &mut _, here: &mut Here| {
            dut.deactivate_in_place(cpu, ci, None, value, here)
                .then_some(0)
        };
        if !self.in_place(cpu, is_done) {
            self.trapped(cpu, |s| {
                let ci = s.hardware[cpu].ci;
                s.dut.deactivate(cpu, &ci, value)
            });
        }
        true
    }

    fn send_sgi(&mut self, cpu: usize, intid: u32, targets: u32) {
        let targets = targets & ((1 << self.nr_cpus()) - 1);
        for target in (0..self.nr_cpus()).filter(|n| targets & (1 << n) != 0) {
            self.request(target, intid, cpu as u32);
        }
        self.write(cpu, 0xf00, 4, (targets << 16) | intid);
    }

    fn write(&mut self, cpu: usize, offset: u32, size: u32, value: u32) {
        let is_done = |dut: &mut TestVgic, ci: &mut _, here: &mut Here| {
            dut.write_in_place(cpu, ci, offset, size, value, here)
        };
        if !self.in_place(cpu, is_done) {
            self.trapped(cpu, |s| s.dut.dist_write(cpu, offset, size, value));
        }
    }

    /// Every other access of a CPU in the guest is tried in place. The CPUs in the guest can be
    /// kicked, and leave it some time after that.
    fn in_place(
        &mut self,
        cpu: usize,
        access: impl FnOnce(&mut TestVgic, &mut CpuInterface, &mut Here<'_>) -> Option<CpuMask>,
    ) -> bool {
        self.tries_in_place = !self.tries_in_place;
        if !self.tries_in_place || !self.in_guest[cpu] {
            return false;
        }
        let running = (0..self.nr_cpus())
            .filter(|n| self.in_guest[*n])
            .fold(0, |running, n| running | 1 << n);
        let hw = &mut self.hardware[cpu];
        // The vCPU's copy is of before the entry, but for the INTIDs.
        let mut ci = hw.ci;
        for lr in &mut ci.lr {
            *lr &= 0x3ff;
        }
        let mut here = Here {
            vmcr: Vmcr(hw.ci.vmcr),
            lr: &mut hw.ci.lr,
            writes: &mut self.given,
            running,
            deactivated: None,
        };
        let kick = access(&mut self.dut, &mut ci, &mut here);
        let Some(kick) = kick else {
            return false;
        };
        hw.ci.used = ci.used;
        self.kicked |= kick;
        self.done_in_place += 1;
        check_list_registers(self.hardware.iter());
        true
    }

    fn step(&mut self, random: u64) {
        let value = (random >> 32) as u32;
        let cpu = (random >> 8) as usize % self.nr_cpus();
        // Few interrupts, so that they meet.
        let spi = 32 + (random >> 16) as u32 % 12;
        let (word, bit) = (spi / 32 * 4, 1 << (spi % 32));
        match random & 0x3f {
            0x00..=0x0b => {
                self.acknowledge(cpu);
            }
            0x0c..=0x15 => {
                self.end(cpu);
            }
            0x16..=0x18 => {
                self.deactivate(value as usize % self.nr_cpus(), cpu);
            }
            0x19..=0x1e => self.set_line(spi, value & 3 != 0),
            0x1f..=0x22 => self.send_sgi(cpu, value & 1, value >> 8),
            0x23..=0x28 => {
                self.attend(cpu);
            }
            0x29 => self.exit(cpu),
            0x2a..=0x2c if !self.asleep[cpu] => self.enter(cpu),
            0x2d..=0x2f => self.sleep(cpu),
            0x30..=0x32 => {
                let target = 1 << (value as usize % self.nr_cpus());
                self.write(cpu, 0x800 + spi, 1, target);
            }
            0x33 => self.write(cpu, 0x180 + word, 4, bit),
            0x34..=0x35 => self.write(cpu, 0x100 + word, 4, bit),
            0x36 => {
                self.request(0, spi, 0);
                self.write(cpu, 0x200 + word, 4, bit);
            }
            0x37 => {
                self.write(cpu, 0x280 + word, 4, bit);
                let waits = self.lines[spi as usize] && !is_edge(spi);
                let count = self.count(0, spi, 0);
                count.waits &= waits;
            }
            0x38 => self.write(cpu, 0, 4, u32::from(value & 3 != 0)),
            0x39 => self.write(cpu, 0x080, 4, value),
            _ => {
                self.attend(cpu);
            }
        }
    }

    /// Guests take what there is, until nothing happens any more.
    fn drain(&mut self) {
        let all = (1 << self.nr_cpus()) - 1;
        for word in 1..3 {
            self.write(0, 0x100 + word * 4, 4, !0);
        }
        for intid in 32..32 + NR_SPIS {
            assert!(self.nr_cpus() == 1 || self.dut.dist_read(0, 0x800 + intid, 1) & all != 0);
        }
        self.write(0, 0, 4, 1);
        for round in 0.. {
            let mut busy = false;
            for cpu in 0..self.nr_cpus() {
                busy |= self.attend(cpu);
                busy |= self.acknowledge(cpu);
                busy |= self.end(cpu);
                busy |= self.deactivate(cpu, cpu);
            }
            if !busy {
                break;
            }
            assert!(round < 10_000, "never at rest");
        }
        for cpu in 0..self.nr_cpus() {
            self.exit(cpu);
        }
        for cpu in 0..self.nr_cpus() {
            assert!(self.dut.cpus[cpu].pending.is_empty());
            assert!(self.dut.cpus[cpu].active.is_empty());
            for intid in 0..32 + NR_SPIS {
                let irq = self.dut.irq(cpu, intid).unwrap();
                assert!(!irq.is(State::IN_LR) && !irq.is(State::ACTIVE));
            }
        }
        assert_eq!(self.kicked, 0);
        for (id, count) in &self.counts {
            assert!(!count.waits, "lost: {id:?} {count:?}");
        }
    }
}

inputs! {
    #![cases = 300]

    fn none_lost_none_invented(
        nr_cpus in 1..=8_usize,
        nr_lrs in 1..=5_usize,
        eoi_mode in any::<bool>(),
        steps in prop::collection::vec(any::<u64>(), 0..400),
    ) {
        let mut system = System::new(nr_cpus, nr_lrs, eoi_mode);
        for step in steps {
            system.step(step);
        }
        system.drain();
    }
}

/// The same for long, without the cost of proptest. `VGIC_STEPS` says how long.
#[test]
fn none_lost_none_invented_for_long() {
    let steps = std::env::var("VGIC_STEPS").map_or(100_000, |n| n.parse().unwrap());
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let (mut done, mut in_place, mut given) = (0, 0, 0);
    while done < steps {
        let nr_cpus = 1 + random.below(4) as usize;
        let nr_lrs = 1 + random.below(5) as usize;
        let mut system = System::new(nr_cpus, nr_lrs, random.below(2) == 0);
        // The end is what is checked, so let there be many.
        for _ in 0..100 {
            system.step((u64::from(random.next()) << 32) | u64::from(random.next()));
        }
        system.drain();
        done += 100;
        in_place += system.done_in_place;
        given += system.given;
    }
    assert!(
        in_place > steps / 50 && given > steps / 500,
        "{in_place} accesses in place, {given} of them with a list register"
    );
}
