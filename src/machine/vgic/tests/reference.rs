// SPDX-License-Identifier: GPL-2.0

//! A GICv2 without virtualization: it knows for each interrupt what IHI 0048B
//! section 3.2.4 knows, and looks through all of them for everything.
//!
//! In two things it is as limited as list registers make a virtual one: an SGI
//! that is active from one source waits, whatever other source it has, and an
//! SPI goes to the first of its targets. As in KVM, that is CPU 0 if it has none.

use super::hardware::signalled;
use super::hardware::Taken;
use crate::vgic::Vmcr;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug, Default)]
pub(super) struct RefIrq {
    pub(super) enabled: bool,
    pub(super) group1: bool,
    pub(super) edge: bool,
    pub(super) line: bool,
    pub(super) latch: bool,
    pub(super) sources: u32,
    pub(super) active: Option<(usize, u32)>,
    pub(super) priority: u8,
    pub(super) targets: u32,
}

impl RefIrq {
    pub(super) fn pending(&self) -> bool {
        self.sources != 0 || self.latch || (self.line && !self.edge)
    }

    /// Where an SPI goes.
    pub(super) fn first_target(&self) -> usize {
        match self.targets {
            0 => 0,
            targets => targets.trailing_zeros() as usize,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) ctlr: u32,
    pub(super) nr_cpus: usize,
    pub(super) nr_irqs: u32,
    /// By CPU for the first 32; the SPIs are those of CPU 0.
    irqs: Vec<Vec<RefIrq>>,
}

impl Reference {
    pub(super) fn new(nr_irqs: u32, nr_cpus: usize) -> Self {
        let mut irqs = vec![vec![RefIrq::default(); nr_irqs as usize]; nr_cpus];
        for (cpu, irqs) in irqs.iter_mut().enumerate() {
            for (intid, irq) in irqs.iter_mut().enumerate() {
                irq.edge = intid < 16;
                irq.enabled = intid < 16;
                irq.targets = if intid < 32 { 1 << cpu } else { 1 };
            }
        }
        Self {
            ctlr: 0,
            nr_cpus,
            nr_irqs,
            irqs,
        }
    }

    pub(super) fn irq(&mut self, cpu: usize, intid: u32) -> &mut RefIrq {
        let cpu = if intid < 32 { cpu } else { 0 };
        &mut self.irqs[cpu][intid as usize]
    }

    pub(super) fn exists(&self, intid: u32) -> bool {
        intid < self.nr_irqs && intid < 1020
    }

    fn forwards(&self, irq: &RefIrq) -> bool {
        self.ctlr & 1 != 0 || (irq.group1 && self.ctlr & 2 != 0)
    }

    /// Whether an interrupt could be given to `cpu` now.
    pub(super) fn deliverable(&mut self, cpu: usize, intid: u32) -> bool {
        let irq = self.irq(cpu, intid).clone();
        let here = intid < 32 || irq.first_target() == cpu;
        irq.enabled && irq.pending() && irq.active.is_none() && here && self.forwards(&irq)
    }

    /// What `cpu` would get by an acknowledge.
    pub(super) fn best(&mut self, cpu: usize, vmcr: u32, apr: u32) -> Option<Taken> {
        let mut best: Option<Taken> = None;
        for intid in 0..self.nr_irqs.min(1020) {
            if !self.deliverable(cpu, intid) {
                continue;
            }
            let irq = self.irq(cpu, intid);
            if !Vmcr(vmcr).group_enabled(irq.group1) {
                continue;
            }
            if best.is_none_or(|best| irq.priority < best.priority) {
                best = Some(Taken {
                    intid,
                    source: if intid < 16 {
                        irq.sources.trailing_zeros()
                    } else {
                        0
                    },
                    group1: irq.group1,
                    priority: irq.priority,
                });
            }
        }
        best.filter(|best| signalled(vmcr, apr, best.group1, best.priority))
    }

    pub(super) fn acknowledge(&mut self, cpu: usize, taken: Taken) {
        let irq = self.irq(cpu, taken.intid);
        irq.latch = false;
        irq.sources &= !(1 << taken.source);
        irq.active = Some((cpu, taken.source));
    }

    pub(super) fn deactivate(&mut self, cpu: usize, intid: u32) {
        self.irq(cpu, intid).active = None;
    }

    pub(super) fn set_level(&mut self, cpu: usize, intid: u32, level: bool) {
        let irq = self.irq(cpu, intid);
        irq.line = level;
        irq.latch |= irq.edge && level;
    }

    /// A write of one bit, one byte or one field for one interrupt.
    pub(super) fn write(&mut self, cpu: usize, what: Field, intid: u32, value: u32) {
        let nr_cpus = self.nr_cpus;
        let all = (1 << nr_cpus) - 1;
        if what == Field::Sgir {
            let targets = match (value >> 24) & 3 {
                0 => (value >> 16) & all,
                1 => all & !(1 << cpu),
                2 => 1 << cpu,
                _ => 0,
            };
            for target in (0..nr_cpus).filter(|n| targets & (1 << n) != 0) {
                self.irq(target, value & 15).sources |= 1 << cpu;
            }
            return;
        }
        if what == Field::Ctlr {
            self.ctlr = value & 3;
            return;
        }
        if !self.exists(intid) {
            return;
        }
        let sgi = intid < 16;
        let private = intid < 32;
        let irq = self.irq(cpu, intid);
        match what {
            Field::Group => irq.group1 = value != 0,
            Field::SetEnable => irq.enabled = true,
            Field::ClearEnable => irq.enabled = false,
            Field::SetPending if !sgi => irq.latch = true,
            Field::ClearPending if !sgi => irq.latch = false,
            Field::Priority => irq.priority = value as u8 & 0xf8,
            Field::Targets if !private => irq.targets = value & all,
            Field::Config if !private => irq.edge = value & 2 != 0,
            Field::SetSgi if sgi => irq.sources |= value & all,
            Field::ClearSgi if sgi => irq.sources &= !value,
            _ => {}
        }
    }
}

/// The bits of a register for an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Ctlr,
    Sgir,
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    Priority,
    Targets,
    Config,
    SetSgi,
    ClearSgi,
}
