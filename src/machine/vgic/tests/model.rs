// SPDX-License-Identifier: GPL-2.0

//! The interrupt controller with simulated CPU interfaces against the
//! reference, in lockstep: every acknowledge gives what a GIC would give, be
//! the list registers ever so few.
//!
//! Before a distributor register is accessed or a line changes, all CPUs exit,
//! and enter again afterwards. Every other access is tried in place first, with all
//! CPUs in the guest, of which a random set can be kicked. Between that the guests acknowledge and
//! end interrupts and use their CPU interfaces with no exits but the ones that the
//! hardware makes (maintenance interrupts, the timer's physical interrupt) and
//! the ones that a fold asks for.

use super::hardware::Hardware;
use super::hardware::Taken;
use super::reference::Field;
use super::reference::Reference;
use super::vgic;
use super::Random;
use super::TestVgic;
use crate::vgic::irq::State;
use crate::vgic::CpuMask;
use crate::vgic::InPlace;
use crate::vgic::ListRegister;
use crate::vgic::Vmcr;
use crate::vgic::MAX_LRS;
use inputs::prelude::*;
use std::vec;
use std::vec::Vec;

const TIMER: u32 = 27;
const TIMER_PHYS: u32 = 30;

/// Interrupts that the tests use, few enough that they meet.
const INTIDS: [u32; 16] = [
    0, 1, 2, 15, 16, TIMER, 31, 32, 33, 34, 40, 63, 64, 65, 66, 95,
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) nr_cpus: usize,
    pub(super) nr_lrs: usize,
    pub(super) eoi_mode: bool,
    pub(super) bpr: u32,
}

struct System {
    setup: Setup,
    dut: TestVgic,
    reference: Reference,
    hardware: Vec<Hardware>,
    /// By CPU: acknowledged, priority not yet dropped; the last is the top.
    stack: Vec<Vec<(u32, u32)>>,
    /// By CPU: priority dropped, not yet deactivated.
    dropped: Vec<Vec<(u32, u32)>>,
    /// By CPU: which list register gets what if the timer's line rises.
    reserved: Vec<Option<(usize, u32)>>,
    /// By CPU: it got that.
    risen: Vec<bool>,
    rises: u64,
    /// Accesses that were carried out in place, and SGIs among them that went into a list register.
    in_place: u64,
    given_sgis: u64,
    /// Interrupts that were deactivated in a list register.
    ends: u64,
    taken: u64,
}

/// A CPU in the guest, and those of the others that can be kicked.
pub(super) struct Here<'a> {
    pub(super) lr: &'a mut [u32; MAX_LRS],
    pub(super) writes: &'a mut u64,
    pub(super) running: CpuMask,
    pub(super) vmcr: Vmcr,
    pub(super) deactivated: Option<u32>,
}

impl InPlace for Here<'_> {
    fn read(&self, n: usize) -> ListRegister {
        ListRegister(self.lr[n])
    }

    fn write(&mut self, n: usize, value: ListRegister) {
        *self.writes += 1;
        self.lr[n] = value.0;
    }

    fn can_kick(&self, cpu: usize) -> bool {
        self.running >> cpu & 1 != 0
    }

    fn vmcr(&self) -> Vmcr {
        self.vmcr
    }

    fn deactivate_physical(&mut self, intid: u32) {
        assert_eq!(self.deactivated.replace(intid), None);
    }
}

/// Checks the invariants of `Cpu` and `Vgic` that hold while no list register
/// is in use, and the state of each interrupt against the reference.
fn check_state(dut: &TestVgic, reference: &mut Reference) {
    let nr_cpus = reference.nr_cpus;
    for cpu in 0..nr_cpus {
        for intid in 0..reference.nr_irqs.min(1020) {
            let deliverable = reference.deliverable(cpu, intid);
            let expected = reference.irq(cpu, intid);
            let irq = dut.irq(cpu, intid).unwrap();
            assert!(
                !irq.state.intersects(
                    State::IN_LR
                        | State::LR_PENDING
                        | State::LR_SOFT
                        | State::CLEAR_PENDING
                        | State::CLEAR_ACTIVE
                        | State::SET_ACTIVE
                ),
                "{intid} {irq:?}"
            );
            assert_eq!(
                irq.is_pending(),
                expected.pending(),
                "{cpu} {intid} {irq:?}"
            );
            assert_eq!(
                irq.is(State::ACTIVE),
                expected.active.is_some(),
                "{intid} {irq:?}"
            );
            let sets = &dut.cpus[cpu];
            assert_eq!(
                sets.pending.contains(intid),
                deliverable,
                "{cpu} {intid} {irq:?}"
            );
            let active_here = expected.active.is_some_and(|(on, _)| on == cpu);
            assert_eq!(
                sets.active.contains(intid),
                active_here,
                "{cpu} {intid} {irq:?}"
            );
        }
    }
}

/// Checks that the list registers are as the architecture wants them.
pub(super) fn check_list_registers<'a>(hardware: impl Iterator<Item = &'a Hardware>) {
    let mut spis = 0_u128;
    for hw in hardware {
        let mut seen = 0_u128;
        for n in (0..16).filter(|n| hw.ci.used & (1 << n) != 0) {
            let lr = ListRegister(hw.ci.lr[n]);
            let state = lr.0 & (ListRegister::PENDING | ListRegister::ACTIVE);
            assert!(lr.intid() < 128);
            if state == 0 {
                continue;
            }
            assert_eq!(seen & (1 << lr.intid()), 0, "an INTID twice");
            seen |= 1 << lr.intid();
            assert!(
                !lr.has(ListRegister::HW | ListRegister::PENDING | ListRegister::ACTIVE),
                "a hardware interrupt pending and active"
            );
        }
        seen &= !0 << 32;
        assert_eq!(spis & seen, 0, "an SPI on two CPUs");
        spis |= seen;
    }
}

impl System {
    fn new(setup: Setup) -> Self {
        let Setup {
            nr_cpus, nr_lrs, ..
        } = setup;
        let mut dut = vgic(96, nr_cpus, nr_lrs);
        let mut hardware = vec![Hardware::default(); nr_cpus];
        for (cpu, hw) in hardware.iter_mut().enumerate() {
            dut.map_hw(cpu, TIMER, TIMER_PHYS);
            // CBPR, so that both groups have one binary point.
            hw.ci.vmcr = (1 << 4)
                | (u32::from(setup.eoi_mode) << 9)
                | (setup.bpr << 21)
                | (0x1f << 27)
                | 0b11;
        }
        let mut system = Self {
            setup,
            dut,
            reference: Reference::new(96, nr_cpus),
            hardware,
            stack: vec![vec![]; nr_cpus],
            dropped: vec![vec![]; nr_cpus],
            reserved: vec![None; nr_cpus],
            risen: vec![false; nr_cpus],
            rises: 0,
            in_place: 0,
            given_sgis: 0,
            ends: 0,
            taken: 0,
        };
        system.enter_all();
        system
    }

    fn exit_all(&mut self) {
        for cpu in 0..self.setup.nr_cpus {
            self.fold(cpu);
            let hw = &self.hardware[cpu];
            assert_eq!(hw.ci.used, 0);
            assert_eq!(hw.ci.lr, [0; 16]);
        }
        check_state(&self.dut, &mut self.reference);
        for (cpu, hw) in self.hardware.iter().enumerate() {
            assert_eq!(
                self.dut.has_deliverable(cpu, hw.ci.vmcr()),
                self.reference.best(cpu, hw.ci.vmcr, 0).is_some()
            );
        }
    }

    fn fold(&mut self, cpu: usize) -> CpuMask {
        if core::mem::take(&mut self.risen[cpu]) {
            let (n, _) = self.reserved[cpu].unwrap();
            self.hardware[cpu].ci.use_register(n);
            self.dut.rose(cpu, TIMER);
        }
        self.reserved[cpu] = None;
        self.dut.fold(cpu, &mut self.hardware[cpu].ci)
    }

    /// What HYP mode does when the timer's line rises, or is still high after its interrupt was
    /// deactivated. Says whether that was possible.
    fn rise(&mut self, cpu: usize) -> bool {
        let Some((n, value)) = self.reserved[cpu] else {
            return false;
        };
        let hw = &mut self.hardware[cpu];
        if ListRegister(hw.ci.lr[n]).valid() {
            return false;
        }
        hw.ci.lr[n] = value;
        hw.given = Some(n);
        self.risen[cpu] = true;
        self.rises += 1;
        true
    }

    fn enter(&mut self, cpu: usize) {
        let hw = &mut self.hardware[cpu];
        hw.given = None;
        assert_eq!(self.dut.flush(cpu, &mut hw.ci), 0);
        assert!(hw.ci.used.trailing_ones() == hw.ci.used.count_ones());
        assert!(hw.ci.used.count_ones() as usize <= self.setup.nr_lrs);
        for n in (0..16).filter(|n| hw.ci.used & (1 << n) != 0) {
            let lr = ListRegister(hw.ci.lr[n]);
            assert_ne!(lr.0 & (ListRegister::PENDING | ListRegister::ACTIVE), 0);
        }
        assert!(!hw.maintenance(), "exits at once: {:x?}", hw.ci);
        let timer = self.reference.irq(cpu, TIMER);
        assert_eq!(
            self.dut.hw_needs_phys_active(cpu, TIMER),
            timer.active.is_some() || timer.line || timer.latch
        );
        let reserved = self.dut.reserve(cpu, &hw.ci, TIMER);
        if let Some((n, lr)) = reserved {
            assert!(n < self.setup.nr_lrs);
            assert!(hw.ci.used >> n & 1 == 0 || ListRegister(hw.ci.lr[n]).intid() == TIMER);
            assert!(timer.enabled && !timer.latch);
            assert_eq!((lr.intid(), lr.physical_id()), (TIMER, TIMER_PHYS));
        }
        self.reserved[cpu] = reserved.map(|(n, lr)| (n, lr.0));
    }

    fn enter_all(&mut self) {
        for cpu in 0..self.setup.nr_cpus {
            self.enter(cpu);
        }
        check_list_registers(self.hardware.iter());
    }

    /// Lets those CPUs exit and enter again that have to.
    fn settle(&mut self, mut kick: CpuMask) {
        for _ in 0..1000 {
            let mut exits = kick;
            for cpu in 0..self.setup.nr_cpus {
                let timer = self.hardware[cpu].deactivated.take();
                assert!(timer.is_none_or(|phys| phys == TIMER_PHYS));
                // The physical interrupt fires again.
                let refires = timer.is_some() && self.reference.irq(cpu, TIMER).line;
                if self.hardware[cpu].maintenance() || refires && !self.rise(cpu) {
                    exits |= 1 << cpu;
                }
            }
            if exits == 0 {
                check_list_registers(self.hardware.iter());
                return;
            }
            kick = 0;
            for cpu in (0..self.setup.nr_cpus).filter(|n| exits & (1 << n) != 0) {
                kick |= self.fold(cpu);
                self.enter(cpu);
            }
        }
        panic!("exits for ever");
    }

    fn acknowledge(&mut self, cpu: usize) {
        let hw = &mut self.hardware[cpu];
        let expected = self.reference.best(cpu, hw.ci.vmcr, hw.ci.apr);
        let taken = hw.acknowledge();
        // Which of several requests of an SGI comes first is free: a CPU that has one in a list
        // register does not exit for another.
        if let Some(taken) = taken.filter(|taken| taken.intid < 16) {
            let requested = self.reference.irq(cpu, taken.intid).sources;
            assert_ne!(requested >> taken.source & 1, 0, "nobody sent {taken:?}");
        }
        let but_source = |taken: Option<Taken>| taken.map(|taken| Taken { source: 0, ..taken });
        assert_eq!(but_source(taken), but_source(expected));
        if let Some(taken) = taken {
            self.taken += 1;
            self.reference.acknowledge(cpu, taken);
            self.stack[cpu].push((taken.intid, taken.source));
        }
        self.settle(0);
    }

    fn end(&mut self, cpu: usize) {
        let Some((intid, source)) = self.stack[cpu].pop() else {
            return;
        };
        self.hardware[cpu].end(intid);
        if self.setup.eoi_mode {
            self.dropped[cpu].push((intid, source));
        } else {
            self.reference.deactivate(cpu, intid);
        }
        self.settle(0);
    }

    /// A trapped write of GICC_DIR.
    fn deactivate(&mut self, cpu: usize, random: u32) {
        if self.dropped[cpu].is_empty() {
            return;
        }
        let which = (random >> 1) as usize % self.dropped[cpu].len();
        let (intid, source) = self.dropped[cpu].swap_remove(which);
        let value = intid | (source << 10);
        let is_done = random & 1 != 0 && self.deactivate_in_place(cpu, value);
        if !is_done {
            self.exit_all();
            self.dut.deactivate(cpu, &self.hardware[cpu].ci, value);
        }
        let irq = self.reference.irq(cpu, intid);
        if intid >= 16 || irq.active.is_some_and(|(_, by)| by == source) {
            irq.active = None;
        }
        if is_done {
            self.settle(0);
        } else {
            self.enter_all();
        }
    }

    /// The same with the CPU in the guest, if that can be.
    fn deactivate_in_place(&mut self, cpu: usize, value: u32) -> bool {
        let hw = &mut self.hardware[cpu];
        let mut ci = hw.ci;
        for lr in &mut ci.lr {
            *lr &= 0x3ff;
        }
        let mut here = Here {
            lr: &mut hw.ci.lr,
            writes: &mut self.ends,
            running: 0,
            vmcr: Vmcr(ci.vmcr),
            deactivated: None,
        };
        let is_done = {
            let given = hw.given.filter(|_| self.risen[cpu]);
            self.dut
                .deactivate_in_place(cpu, &ci, given, value, &mut here)
        };
        if let Some(physical) = here.deactivated {
            assert_eq!(hw.deactivated.replace(physical), None);
        }
        is_done
    }

    /// The guest changes what its CPU interface lets through.
    fn control(&mut self, cpu: usize, value: u32) {
        let vmcr = &mut self.hardware[cpu].ci.vmcr;
        let pmr = [0x1f, 0x1f, 0x10, 0x08, 0][(value >> 8) as usize % 5];
        let enables = [0b11, 0b11, 0b01, 0b10, 0][(value >> 16) as usize % 5];
        *vmcr = (*vmcr & 0x07ff_fffc) | (pmr << 27) | enables;
        self.settle(0);
    }

    fn set_level(&mut self, cpu: usize, intid: u32, level: bool) {
        if intid < 16 {
            return;
        }
        if intid == TIMER && level && !self.reference.irq(cpu, intid).line && self.rise(cpu) {
            self.reference.set_level(cpu, intid, level);
            return self.settle(0);
        }
        self.exit_all();
        self.dut.set_level(cpu, intid, level);
        self.reference.set_level(cpu, intid, level);
        self.enter_all();
    }

    fn write(&mut self, cpu: usize, kind: u32, intid: u32, value: u32) {
        let (word, bit, byte) = (intid / 32 * 4, 1 << (intid % 32), intid);
        // Neighbours are written too.
        let mask = bit | (value & 0x8100_8001);
        let one_bit = |base: u32, field: Field| (base + word, 4, mask, field);
        let (offset, size, data, field) = match kind {
            0 => (0, 4, [1, 1, 3, 2, 0][value as usize % 5], Field::Ctlr),
            1 | 2 => {
                let filter = [0, 0, 1, 2, 3][(value >> 8) as usize % 5] << 24;
                let data = filter | (value & 0x00ff_0003);
                (0xf00, 4, data, Field::Sgir)
            }
            3 => one_bit(0x100, Field::SetEnable),
            4 => one_bit(0x180, Field::ClearEnable),
            5 => one_bit(0x200, Field::SetPending),
            6 => one_bit(0x280, Field::ClearPending),
            7 => (0x400 + byte, 1, value & 0x78, Field::Priority),
            8 => (0x800 + byte, 1, value & 0xff, Field::Targets),
            9 => (0xf20 + (byte & 15), 1, value & 0xff, Field::SetSgi),
            10 => (0xf10 + (byte & 15), 1, value & 0xff, Field::ClearSgi),
            11 => one_bit(0x080, Field::Group),
            12 => (0xc00 + intid / 16 * 4, 4, value, Field::Config),
            _ => return,
        };
        if field == Field::Priority && self.reference.irq(cpu, intid).active.is_some() {
            // The order in which active ones outside the list registers are
            // ended is known by their priorities.
            return;
        }
        let kick = if value & 1 << 20 != 0 {
            self.write_in_place(cpu, offset, size, data, value >> 8)
        } else {
            None
        };
        if kick.is_none() {
            self.exit_all();
            self.dut.dist_write(cpu, offset, size, data);
        }
        let reference = &mut self.reference;
        match field {
            Field::Ctlr | Field::Sgir => reference.write(cpu, field, 0, data),
            Field::Priority | Field::Targets => reference.write(cpu, field, intid, data),
            Field::SetSgi | Field::ClearSgi => reference.write(cpu, field, intid & 15, data),
            Field::Config => {
                for n in 0..16 {
                    let id = intid / 16 * 16 + n;
                    reference.write(cpu, field, id, data >> (2 * n));
                }
            }
            Field::Group => {
                for n in 0..32 {
                    reference.write(cpu, field, intid / 32 * 32 + n, data & (1 << n));
                }
            }
            _ => {
                for n in (0..32).filter(|n| data & (1 << n) != 0) {
                    reference.write(cpu, field, intid / 32 * 32 + n, 1);
                }
            }
        }
        match kick {
            Some(kick) => self.settle(kick),
            None => self.enter_all(),
        }
    }

    /// A write that leaves all CPUs in the guest, if it can be one.
    fn write_in_place(
        &mut self,
        cpu: usize,
        offset: u32,
        size: u32,
        data: u32,
        running: CpuMask,
    ) -> Option<CpuMask> {
        let before = std::format!("{:?}", self.dut);
        let hw = &mut self.hardware[cpu];
        // The copy that the vCPU has is of before the guest was entered, but for its INTIDs.
        let mut ci = hw.ci;
        for lr in &mut ci.lr {
            *lr &= 0x3ff;
        }
        let old = hw.ci;
        let mut here = Here {
            lr: &mut hw.ci.lr,
            writes: &mut self.given_sgis,
            running,
            vmcr: Vmcr(hw.ci.vmcr),
            deactivated: None,
        };
        let kick = self
            .dut
            .write_in_place(cpu, &mut ci, offset, size, data, &mut here);
        match kick {
            Some(kick) => {
                assert_eq!(kick & !(running & !(1 << cpu)), 0);
                assert_eq!((ci.used & old.used, ci.hcr), (old.used, old.hcr));
                hw.ci.used = ci.used;
                self.in_place += 1;
            }
            None => {
                assert_eq!(before, std::format!("{:?}", self.dut));
                assert_eq!(hw.ci, old);
            }
        }
        kick
    }

    /// A timer that is set up as guests do, and fires.
    fn fire_timer(&mut self, cpu: usize) {
        self.set_level(cpu, TIMER, false);
        for kind in [0, 3, 6] {
            // GICD_CTLR gets 1; the others have no neighbours.
            self.write(cpu, kind, TIMER, 0);
        }
        self.set_level(cpu, TIMER, true);
    }

    /// GICD_ISACTIVER or GICD_ICACTIVER, with EOImode 1: else what the guest
    /// would do afterwards is UNPREDICTABLE.
    fn write_active(&mut self, cpu: usize, intid: u32, active: bool) {
        if !self.setup.eoi_mode {
            return;
        }
        self.exit_all();
        let offset = if active { 0x300 } else { 0x380 };
        let (word, bit) = (intid / 32 * 4, 1 << (intid % 32));
        self.dut.dist_write(cpu, offset + word, 4, bit);
        let irq = self.reference.irq(cpu, intid);
        if !active {
            irq.active = None;
        } else if irq.active.is_none() {
            let home = if intid < 32 { cpu } else { irq.first_target() };
            irq.active = Some((home, cpu as u32));
            self.dropped[cpu].push((intid, if intid < 16 { cpu as u32 } else { 0 }));
        }
        self.enter_all();
    }

    fn check_registers(&mut self, cpu: usize) {
        let in_place = |system: &Self| {
            [
                0x80, 0x100, 0x84, 0x184, 0x820, 0xc08, 0xf00, 0xfe8, 0x204, 0x384,
            ]
            .map(|offset| system.dut.read_in_place(cpu, offset, 4))
        };
        let before = in_place(self);
        self.exit_all();
        assert_eq!(before, in_place(self));
        assert_eq!(before[8..], [None, None]);
        for word in 0..3 {
            let (mut pending, mut active, mut enabled, mut group) = (0, 0, 0, 0);
            for n in 0..32 {
                let irq = self.reference.irq(cpu, word * 32 + n);
                pending |= u32::from(irq.pending()) << n;
                active |= u32::from(irq.active.is_some()) << n;
                enabled |= u32::from(irq.enabled) << n;
                group |= u32::from(irq.group1) << n;
            }
            for (offset, expected) in [
                (0x080, group),
                (0x100, enabled),
                (0x180, enabled),
                (0x200, pending),
                (0x280, pending),
                (0x300, active),
                (0x380, active),
            ] {
                let offset = offset + word * 4;
                assert_eq!(self.dut.dist_read(cpu, offset, 4), expected, "{offset:#x}");
                assert_eq!(self.dut.stale(cpu, offset), 0);
            }
        }
        self.enter_all();
    }

    fn step(&mut self, random: u64) {
        let cpu = (random >> 8) as usize % self.setup.nr_cpus;
        let intid = INTIDS[(random >> 16) as usize % INTIDS.len()];
        let value = (random >> 32) as u32;
        match random & 0xff {
            0x00..=0x4f => self.acknowledge(cpu),
            0x50..=0x8f => self.end(cpu),
            0x90..=0x9f => self.deactivate(cpu, value),
            0xa0..=0xa7 => self.control(cpu, value),
            0xa8..=0xc7 => self.set_level(cpu, intid, value & 1 != 0),
            0xc8..=0xcb => self.write_active(cpu, intid, value & 1 != 0),
            0xcc..=0xcd => self.settle(1 << cpu),
            0xce..=0xcf => self.check_registers(cpu),
            0xd0..=0xd3 => self.fire_timer(cpu),
            _ => self.write(cpu, (value >> 24) % 13, intid, value),
        }
    }

    /// Lets through everything that is pending, without any exits but the ones
    /// that have to be, and checks that nothing remains.
    fn drain(&mut self) {
        self.exit_all();
        self.dut.dist_write(0, 0, 4, 1);
        self.reference.write(0, Field::Ctlr, 0, 1);
        for cpu in 0..self.setup.nr_cpus {
            let vmcr = &mut self.hardware[cpu].ci.vmcr;
            *vmcr = (*vmcr & 0x07ff_fffc) | (0x1f << 27) | 0b11;
            for intid in INTIDS {
                if intid >= 16 {
                    self.dut.set_level(cpu, intid, false);
                    self.reference.set_level(cpu, intid, false);
                }
            }
        }
        self.enter_all();
        for _ in 0..1000 {
            let before = self.taken;
            let busy = self
                .stack
                .iter()
                .chain(&self.dropped)
                .any(|s| !s.is_empty());
            for cpu in 0..self.setup.nr_cpus {
                self.acknowledge(cpu);
                self.end(cpu);
                self.deactivate(cpu, 0);
            }
            if self.taken == before && !busy {
                break;
            }
        }
        self.exit_all();
        for cpu in 0..self.setup.nr_cpus {
            assert!(self.dut.cpus[cpu].active.is_empty());
            for intid in 0..96 {
                let idle = self.reference.irq(cpu, intid).priority >= 0xf8;
                let lost = !idle && self.reference.deliverable(cpu, intid);
                assert!(!lost, "{intid} was not delivered to {cpu}");
            }
        }
    }
}

fn setup() -> impl Strategy<Value = Setup> {
    (1..=8_usize, 1..=5_usize, any::<bool>(), 2..=5_u32).prop_map(
        |(nr_cpus, nr_lrs, eoi_mode, bpr)| Setup {
            nr_cpus,
            nr_lrs,
            eoi_mode,
            bpr,
        },
    )
}

inputs! {
    #![cases = 300]

    fn delivers_what_a_gic_delivers(
        setup in setup(),
        steps in prop::collection::vec(any::<u64>(), 0..300),
    ) {
        let mut system = System::new(setup);
        for step in steps {
            system.step(step);
        }
        system.drain();
    }
}

/// A CPU sends an SGI anew while its last one is in the target's list register. That is one request
/// until the target takes it, also if another CPU has sent the same SGI to that target.
#[test]
fn a_request_that_is_in_a_list_register_is_not_made_twice() {
    const SGI: u32 = 2;
    const SETSGI: u32 = 9;
    const SGIR: u32 = 1;
    const IN_PLACE: u32 = 1 << 20;
    for (sender, target, nr_lrs) in [(0, 1, 1), (0, 1, 4), (0, 0, 4)] {
        let mut system = System::new(Setup {
            nr_cpus: 2,
            nr_lrs,
            eoi_mode: false,
            bpr: 2,
        });
        system.write(0, 0, 0, 0);
        system.write(target, SETSGI, SGI, 0b11);
        // The list of targets counts, and the target can be kicked.
        let value = (0..=0xff_u32)
            .map(|low| IN_PLACE | 1 << (16 + target) | low << 8 | SGI)
            .find(|value| (value >> 8) % 5 == 0 && value >> (8 + target) & 1 != 0)
            .unwrap();
        system.write(sender, SGIR, SGI, value);
        assert!(system.in_place > 0, "{sender} to {target}");
        for _ in 0..3 {
            system.acknowledge(target);
            system.end(target);
        }
        assert_eq!(system.taken, 2, "{sender} to {target}");
        system.drain();
    }
}

/// An SPI that is active on one CPU, gets another target and becomes pending again: it goes to its
/// new target once it is no longer active (IHI 0048B 4.3.12).
#[test]
fn a_new_target_gets_what_comes_while_the_old_one_is_at_it() {
    const SPI: u32 = 40;
    const SET_ENABLE: u32 = 3;
    const TARGETS: u32 = 8;
    const CONFIG: u32 = 12;
    for eoi_mode in [false, true] {
        let mut system = System::new(Setup {
            nr_cpus: 2,
            nr_lrs: 4,
            eoi_mode,
            bpr: 2,
        });
        system.write(0, 0, 0, 0);
        system.write(0, CONFIG, SPI, 0xaaaa_aaaa);
        system.write(0, SET_ENABLE, SPI, 0);
        system.write(0, TARGETS, SPI, 0b10);
        system.set_level(0, SPI, true);
        system.acknowledge(1);
        system.write(0, TARGETS, SPI, 0b01);
        system.set_level(0, SPI, true);
        system.end(1);
        // In place, if it can be.
        system.deactivate(1, 1);
        system.acknowledge(0);
        assert_eq!(system.taken, 2);
        system.drain();
    }
}

/// The lockstep for long, without the cost of proptest. `VGIC_STEPS` says how long.
#[test]
fn delivers_what_a_gic_delivers_for_long() {
    let steps = std::env::var("VGIC_STEPS").map_or(100_000, |n| n.parse().unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut done, mut rises, mut in_place, mut given, mut ends) = (0, 0, 0, 0, 0);
    while done < steps {
        let mut system = System::new(Setup {
            nr_cpus: 1 + random.below(4) as usize,
            nr_lrs: 1 + random.below(5) as usize,
            eoi_mode: random.below(3) == 0,
            bpr: 2 + random.below(3),
        });
        for _ in 0..1000 {
            system.step((u64::from(random.next()) << 32) | u64::from(random.next()));
        }
        system.drain();
        done += 1000;
        rises += system.rises;
        in_place += system.in_place;
        given += system.given_sgis;
        ends += system.ends;
    }
    assert!(
        in_place > steps / 50 && given > steps / 2000 && ends > steps / 2000,
        "{in_place} accesses in place, {given} SGIs into list registers, {ends} out of one"
    );
    assert!(
        rises > steps / 1000,
        "{rises} rises of the timer in the guest"
    );
}
