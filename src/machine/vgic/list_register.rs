// SPDX-License-Identifier: GPL-2.0

//! List registers: their format (IHI 0048B section 5.3.10), how they are filled
//! before a virtual CPU is entered, and how they are read afterwards.
//!
//! # Which interrupts
//!
//! In this order, as many as there are registers:
//!
//! 1. pending ones of a group that the guest has enabled, by priority;
//! 2. active ones, by priority: the guest can do without them (see below);
//! 3. pending ones of a disabled group.
//!
//! If some of 1 stay outside, NPIE makes the CPU exit as soon as all pending
//! ones inside were acknowledged, and no sooner: they were all more urgent than
//! those outside. (UIE would come earlier, when all but one are finished, and
//! cost an exit for fewer interrupts.) If some of 2 stay outside, their EOI
//! increments EOICount, and LRENPIE makes the CPU exit. EOIs come in the opposite
//! order of the acknowledges, so the ended one is the most urgent of those
//! outside. Only with EOImode 1 the guest may deactivate in any order. Therefore
//! GICC_DIR, which has a page of its own, should not be mapped into the guest,
//! but trap and be given to [`Vgic::deactivate`]. If some of 3 stay outside, VGrpnEIE makes the CPU
//! exit when the guest enables the group.
//!
//! # Which state
//!
//! ```text
//!                      pending     active            pending and active
//!   level, HW = 0      P + EOI     A + EOI           A + EOI, line looked at again
//!   level, HW = 1      P           A                 A: the physical side is pending;
//!                                                    HW = 0 if it is not, but software
//!   edge               P           A                 P A, or A + EOI if it is
//!                                                    pending for another CPU
//!   SGI, one source    P           A                 P A if of the same source, or A + EOI
//!   SGI, more sources  P + EOI     A + EOI           A + EOI
//! ```
//!
//! EOI is the maintenance interrupt upon deactivation. Section 5.3.10 demands
//! that an INTID is never in two list registers, so the guest gets an SGI with
//! several sources from one source after the other, with an exit in between.

use super::bit;
use super::irq::State;
use super::irq::NR_PRIVATE;
use super::irq::NR_SGIS;
use super::is_forwarded;
use super::Cpu;
use super::CpuInterface;
use super::CpuMask;
use super::GichHcr;
use super::Irq;
use super::VcpuIdx;
use super::Vgic;
use super::Vmcr;
use super::MAX_LRS;
use core::ops::DerefMut;

/// A list register, GICH_LRn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRegister(pub u32);

impl ListRegister {
    /// State bit: pending.
    pub const PENDING: u32 = 1 << 28;
    /// State bit: active.
    pub const ACTIVE: u32 = 1 << 29;
    /// Group 1.
    pub const GROUP1: u32 = 1 << 30;
    /// Linked to a physical interrupt.
    pub const HW: u32 = 1 << 31;
    /// If not `HW`: maintenance interrupt upon deactivation.
    pub const EOI: u32 = 1 << 19;
    const VIRTUAL_ID: u32 = 0x3ff;
    const PHYSICAL_ID_SHIFT: u32 = 10;
    const PRIORITY_SHIFT: u32 = 23;

    /// INTID.
    #[inline(always)]
    pub const fn intid(self) -> u32 {
        self.0 & Self::VIRTUAL_ID
    }

    /// PhysicalID: the physical interrupt if `HW`, else for an SGI the CPU that
    /// requested it.
    #[cfg(test)]
    pub(super) const fn physical_id(self) -> u32 {
        (self.0 >> Self::PHYSICAL_ID_SHIFT) & 0x3ff
    }

    /// The five bits of priority, where they are in GICD_IPRIORITYR.
    #[inline]
    pub const fn priority(self) -> u8 {
        (((self.0 >> Self::PRIORITY_SHIFT) & 0x1f) << 3) as u8
    }

    /// The physical interrupt that it is linked to.
    #[inline(always)]
    pub(super) const fn linked(self) -> Option<u32> {
        if self.0 & Self::HW != 0 {
            Some((self.0 >> Self::PHYSICAL_ID_SHIFT) & 0x3ff)
        } else {
            None
        }
    }

    /// Whether it is pending or active.
    #[inline(always)]
    pub const fn valid(self) -> bool {
        self.0 & (Self::PENDING | Self::ACTIVE) != 0
    }

    /// Whether it held a level that the guest has taken and ended.
    #[inline]
    pub(crate) const fn is_ended(self) -> bool {
        !self.valid() && self.0 & Self::EOI != 0 && self.0 & Self::HW == 0
    }

    /// Whether all bits of `mask` are set.
    #[inline(always)]
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    #[inline(always)]
    pub(super) fn new(intid: u32, irq: &Irq) -> Self {
        let mut lr =
            (intid & Self::VIRTUAL_ID) | (u32::from(irq.priority >> 3) << Self::PRIORITY_SHIFT);
        if irq.is(State::GROUP1) {
            lr |= Self::GROUP1;
        }
        // If software makes it pending while it is active, the physical side knows nothing of that:
        // linked to it, the interrupt would not come again.
        if irq.is(State::HW) && !irq.is(State::ACTIVE | State::LATCH) {
            lr |= Self::HW | (u32::from(irq.phys) << Self::PHYSICAL_ID_SHIFT);
        }
        Self(lr)
    }

    /// The value for an SGI that `cpu` has requested, pending.
    #[inline(always)]
    pub(super) const fn pending_from(self, cpu: VcpuIdx) -> Self {
        Self(self.0 | (cpu as u32 & 7) << Self::PHYSICAL_ID_SHIFT | Self::PENDING)
    }
}

/// The best candidates for list registers, best first. A candidate is a class,
/// a priority and an INTID in one number; less is better.
struct Candidates {
    best: [u32; MAX_LRS],
    len: usize,
    limit: usize,
}

/// Pending, of an enabled group.
const CLASS_PENDING: u32 = 0;
/// Active.
const CLASS_ACTIVE: u32 = 1;
/// Pending, of a disabled group.
const CLASS_MASKED: u32 = 2;

#[inline]
const fn candidate(class: u32, priority: u8, intid: u32) -> u32 {
    (class << 24) | ((priority as u32) << 16) | intid
}

impl Candidates {
    #[inline]
    fn push(&mut self, new: u32) {
        let mut at = if self.len < self.limit {
            self.len += 1;
            self.len - 1
        } else {
            let last = self.limit.wrapping_sub(1);
            if self.best.get(last).is_none_or(|&worst| worst <= new) {
                return;
            }
            last
        };
        while at > 0 {
            let Some(&before) = self.best.get(at - 1) else {
                return;
            };
            if before <= new {
                break;
            }
            if let Some(slot) = self.best.get_mut(at) {
                *slot = before;
            }
            at -= 1;
        }
        if let Some(slot) = self.best.get_mut(at) {
            *slot = new;
        }
    }
}

impl<S, C> Vgic<S, C>
where
    S: DerefMut<Target = [Irq]>,
    C: DerefMut<Target = [Cpu]>,
{
    /// Fills the list registers of `cpu`, which is about to be entered.
    ///
    /// If list registers are still in use, they are folded first, and the result
    /// is that of the fold.
    /// `vmcr` gives GICH_VMCR. It is only asked if there is more than one interrupt.
    #[inline]
    pub fn flush_with(
        &mut self,
        cpu: VcpuIdx,
        ci: &mut CpuInterface,
        vmcr: impl FnOnce() -> Vmcr,
    ) -> CpuMask {
        let kick = self.fold(cpu, ci);
        ci.hcr = GichHcr::EN.bits();
        let Some(c) = self.cpus.get(cpu) else {
            return kick;
        };
        match (c.pending.is_empty(), c.active.is_empty()) {
            (true, true) => (),
            (false, true) => self.fill_from(cpu, ci, c.pending.only(), vmcr),
            (true, false) => self.fill_from(cpu, ci, c.active.only(), vmcr),
            (false, false) => self.fill(cpu, ci, vmcr()),
        }
        kick
    }

    /// The same with the GICH_VMCR that is in `ci`.
    #[cfg(test)]
    pub(crate) fn flush(&mut self, cpu: VcpuIdx, ci: &mut CpuInterface) -> CpuMask {
        let vmcr = ci.vmcr();
        self.flush_with(cpu, ci, || vmcr)
    }

    /// Fills the list registers. `only` is the interrupt, if there is but one.
    #[inline]
    fn fill_from(
        &mut self,
        cpu: VcpuIdx,
        ci: &mut CpuInterface,
        only: Option<u32>,
        vmcr: impl FnOnce() -> Vmcr,
    ) {
        match (only, ci.lr.first_mut()) {
            (Some(intid), Some(first)) => {
                *first = self.load(cpu, intid).0;
                ci.used = 1;
            }
            _ => self.fill(cpu, ci, vmcr()),
        }
    }

    /// After a flush: a list register and its value for `intid`, a PPI that is
    /// linked to a physical interrupt. They are for the moment when its line
    /// rises while `cpu` is in the guest, if the list register is neither pending
    /// nor active then. `None` if there is no list register, or if the interrupt
    /// would not be delivered.
    ///
    /// Whoever puts the value there says so before the fold: to the interface
    /// with [`CpuInterface::use_register`], and here with [`rose`](Self::rose).
    #[inline]
    pub fn reserve(
        &mut self,
        cpu: VcpuIdx,
        ci: &CpuInterface,
        intid: u32,
    ) -> Option<(usize, ListRegister)> {
        let ctlr = self.ctlr;
        let c = self.cpus.get_mut(cpu)?;
        c.reserved = false;
        let irq = c.private.get(intid as usize)?;
        let needed = State::HW | State::ENABLED;
        let refused = State::EDGE | State::LATCH | State::LR_SOFT;
        if (irq.state & (needed | refused)) != needed || !is_forwarded(irq, ctlr) {
            return None;
        }
        let index = if irq.is(State::IN_LR) {
            // It has one. The guest may have ended the interrupt there when the line rises again.
            let is_its = |lr: &u32| ListRegister(*lr).intid() == intid;
            ci.lr.iter().take(ci.in_use()).position(is_its)?
        } else {
            // The last is used last.
            let is_free = ci.in_use() < self.nr_lrs as usize;
            if !is_free || irq.state.intersects(State::ACTIVE | State::LINE) {
                return None;
            }
            self.nr_lrs as usize - 1
        };
        let lr = ListRegister::new(intid, irq);
        c.reserved = true;
        Some((index, ListRegister(lr.0 | ListRegister::PENDING)))
    }

    /// The line of `intid` has risen while `cpu` was in the guest, and the value
    /// that [`reserve`](Self::reserve) gave is in its list register.
    pub fn rose(&mut self, cpu: VcpuIdx, intid: u32) {
        let Some(irq) = self.irq_mut(cpu, intid) else {
            return;
        };
        irq.state |= State::LINE | State::IN_LR | State::LR_PENDING;
        if let Some(c) = self.cpus.get_mut(cpu) {
            c.pending.remove(intid);
            c.active.remove(intid);
            c.loaded = true;
        }
    }

    /// Takes the interrupts back from the list registers of `cpu`, which has left
    /// the guest. Gives the other CPUs that have to be kicked.
    #[inline]
    pub fn fold(&mut self, cpu: VcpuIdx, ci: &mut CpuInterface) -> CpuMask {
        if ci.used != 0 {
            self.drain(cpu, ci)
        } else {
            0
        }
    }

    /// Fills the list registers, for which there is at least one interrupt.
    #[inline(never)]
    fn fill(&mut self, cpu: VcpuIdx, ci: &mut CpuInterface, vmcr: Vmcr) {
        let mut candidates = Candidates {
            best: [0; MAX_LRS],
            len: 0,
            limit: self.nr_lrs as usize,
        };
        // Pending interrupts by group, and active ones, that are not in a list
        // register.
        let (mut outside0, mut outside1) = (0u32, 0u32);
        let mut active_outside = 0u32;

        let Some(c) = self.cpus.get(cpu) else {
            return;
        };
        for intid in c.pending.iter() {
            let Some(irq) = self.irq(cpu, intid) else {
                continue;
            };
            let group1 = irq.is(State::GROUP1);
            let class = if vmcr.group_enabled(group1) {
                CLASS_PENDING
            } else {
                CLASS_MASKED
            };
            if group1 {
                outside1 = outside1.wrapping_add(1);
            } else {
                outside0 = outside0.wrapping_add(1);
            }
            candidates.push(candidate(class, irq.priority, intid));
        }
        for intid in c.active.iter() {
            let Some(irq) = self.irq(cpu, intid) else {
                continue;
            };
            active_outside = active_outside.wrapping_add(1);
            candidates.push(candidate(CLASS_ACTIVE, irq.priority, intid));
        }

        let (mut inside0, mut inside1) = (false, false);
        let mut slots = ci.lr.iter_mut();
        let mut used = 0u32;
        for &c in candidates.best.iter().take(candidates.len) {
            let (class, intid) = (c >> 24, c & 0x3ff);
            let Some(slot) = slots.next() else {
                break;
            };
            let lr = self.load(cpu, intid);
            if class == CLASS_ACTIVE {
                active_outside = active_outside.wrapping_sub(1);
            } else if lr.has(ListRegister::GROUP1) {
                outside1 = outside1.wrapping_sub(1);
                inside1 = true;
            } else {
                outside0 = outside0.wrapping_sub(1);
                inside0 = true;
            }
            *slot = lr.0;
            used = (used << 1) | 1;
        }
        ci.used = used;

        let (enabled0, enabled1) = (vmcr.group_enabled(false), vmcr.group_enabled(true));
        let (some0, some1) = (outside0 > 0, outside1 > 0);
        let mut hcr = GichHcr::EN;
        hcr.set(GichHcr::LRENPIE, active_outside > 0);
        hcr.set(GichHcr::NPIE, (enabled0 && some0) || (enabled1 && some1));
        // When the guest enables a group, the group's interrupts outside need list
        // registers. When it disables one, list registers become free.
        hcr.set(GichHcr::VGRP0EIE, !enabled0 && some0);
        hcr.set(GichHcr::VGRP1EIE, !enabled1 && some1);
        hcr.set(GichHcr::VGRP0DIE, enabled0 && some1 && inside0);
        hcr.set(GichHcr::VGRP1DIE, enabled1 && some0 && inside1);
        ci.hcr = hcr.bits();
    }

    /// Moves an interrupt of a set of `cpu` into a list register.
    fn load(&mut self, cpu: VcpuIdx, intid: u32) -> ListRegister {
        let deliverable = self
            .irq(cpu, intid)
            .is_some_and(|irq| self.deliverable(irq));
        let all_cpus = self.all_cpus();
        let Some(irq) = self.irq_mut(cpu, intid) else {
            return ListRegister::default();
        };
        let mut lr = ListRegister::new(intid, irq);
        let mut pending = deliverable;
        if irq.is(State::ACTIVE) {
            lr.0 |= ListRegister::ACTIVE;
            // Neither a level-triggered nor a hardware interrupt is ever
            // pending and active in a list register; see the table above.
            pending &= irq.is(State::EDGE) && !lr.has(ListRegister::HW);
            // A new target gets it once it is no longer active (section 4.3.12).
            if pending && intid >= NR_PRIVATE && irq.first_target(all_cpus) != cpu {
                pending = false;
                lr.0 |= ListRegister::EOI;
            }
        }
        if intid < NR_SGIS {
            if irq.is(State::ACTIVE) {
                let same = bit(irq.owner.into()) as u8;
                pending &= irq.sources == same;
                if irq.sources & !same != 0 {
                    lr.0 |= ListRegister::EOI;
                }
            } else if pending {
                irq.owner = irq.sources.trailing_zeros() as u8;
            }
            lr.0 |= u32::from(irq.owner & 7) << ListRegister::PHYSICAL_ID_SHIFT;
            if pending {
                irq.sources &= !(bit(irq.owner.into()) as u8);
                if irq.sources != 0 {
                    lr.0 |= ListRegister::EOI;
                }
            }
        } else if !irq.is(State::EDGE) && !lr.has(ListRegister::HW) {
            lr.0 |= ListRegister::EOI;
        }
        if pending {
            lr.0 |= ListRegister::PENDING;
            irq.state |= State::LR_PENDING;
            if irq.is(State::LATCH) {
                irq.state -= State::LATCH;
                irq.state |= State::LR_SOFT;
            }
        }
        irq.state |= State::IN_LR;
        if let Some(c) = self.cpus.get_mut(cpu) {
            c.pending.remove(intid);
            c.active.remove(intid);
            c.loaded = true;
        }
        lr
    }

    /// Empties the list registers. Interrupts that are active and outside of
    /// them imply that there are some inside.
    #[inline(never)]
    fn drain(&mut self, cpu: VcpuIdx, ci: &mut CpuInterface) -> CpuMask {
        let hcr = GichHcr::from_bits_retain(ci.hcr);
        let mut kick = 0;
        // First, while the active interrupts that were outside are the only
        // ones in the set.
        if hcr.contains(GichHcr::LRENPIE) {
            for _ in 0..hcr.outside_ended() {
                kick |= self.deactivate_most_urgent(cpu);
            }
            ci.hcr = (hcr - GichHcr::EOI_COUNT).bits();
        }
        let mut used = ci.used;
        while used != 0 {
            let index = used.trailing_zeros();
            used &= used.wrapping_sub(1);
            if let Some(lr) = ci.lr.get_mut(index as usize) {
                kick |= self.unload(cpu, ListRegister(core::mem::take(lr)));
            }
        }
        ci.used = 0;
        if let Some(c) = self.cpus.get_mut(cpu) {
            c.loaded = false;
            c.folds = c.folds.wrapping_add(1);
        }
        kick & !bit(cpu)
    }

    /// Takes an interrupt back from a list register of `cpu`.
    fn unload(&mut self, cpu: VcpuIdx, lr: ListRegister) -> CpuMask {
        let intid = lr.intid();
        let Some(irq) = self.irq_mut(cpu, intid) else {
            return 0;
        };
        if !irq.is(State::IN_LR) || Self::holder(cpu, intid, irq) != cpu {
            return 0;
        }
        let was = irq.state;
        irq.state -= State::IN_LR
            | State::LR_PENDING
            | State::LR_SOFT
            | State::CLEAR_PENDING
            | State::CLEAR_ACTIVE
            | State::SET_ACTIVE;

        let active = (lr.has(ListRegister::ACTIVE) && !was.contains(State::CLEAR_ACTIVE))
            || was.contains(State::SET_ACTIVE);
        irq.state.set(State::ACTIVE, active);
        if lr.has(ListRegister::HW) && !lr.valid() {
            irq.state |= State::HW_DEACTIVATED;
        }
        // Still pending: not acknowledged. A level-triggered interrupt remains
        // pending by its line, if at all.
        if lr.has(ListRegister::PENDING) && !was.contains(State::CLEAR_PENDING) {
            if intid < NR_SGIS {
                irq.sources |= bit(irq.owner.into()) as u8;
            } else if irq.is(State::EDGE) || was.contains(State::LR_SOFT) {
                irq.state |= State::LATCH;
            }
        }
        self.refresh(cpu, intid)
    }

    /// Deactivates the most urgent active interrupt of `cpu` that is not in a
    /// list register.
    fn deactivate_most_urgent(&mut self, cpu: VcpuIdx) -> CpuMask {
        match self.most_urgent_active(cpu, None) {
            Some((_, intid)) => self.change(cpu, intid, |irq| irq.state -= State::ACTIVE),
            None => 0,
        }
    }

    /// The most urgent active interrupt of `cpu` that is not in a list register,
    /// with its priority; if `after` is one of them, the next one in this order.
    fn most_urgent_active(&self, cpu: VcpuIdx, after: Option<(u8, u32)>) -> Option<(u8, u32)> {
        self.cpus
            .get(cpu)?
            .active
            .iter()
            .filter_map(|intid| Some((self.irq(cpu, intid)?.priority, intid)))
            .filter(|&found| after.is_none_or(|after| after < found))
            .min()
    }

    /// Before a fold: the SPIs of `cpu` that are levels and whose handling the
    /// guest has ended since the list registers were filled. Some were in a list
    /// register that asked for a maintenance interrupt then. EOICount tells of
    /// the others, which [`fold`](Self::fold) finds in the same way.
    pub fn ended(&self, cpu: VcpuIdx, ci: &CpuInterface) -> impl Iterator<Item = u32> + use<S, C> {
        let mut ended = [0; MAX_LRS + GichHcr::MAX_EOI_COUNT];
        let mut places = ended.iter_mut();
        let mut note = |intid| {
            let is_level = self.irq(cpu, intid).is_some_and(|irq| !irq.is(State::EDGE));
            if intid >= NR_PRIVATE && is_level {
                if let Some(place) = places.next() {
                    *place = intid;
                }
            }
        };
        for (n, lr) in ci.lr.iter().enumerate() {
            let lr = ListRegister(*lr);
            if ci.used >> n & 1 != 0 && lr.is_ended() {
                note(lr.intid());
            }
        }
        let mut last = None;
        for _ in 0..GichHcr::from_bits_retain(ci.hcr).outside_ended() {
            last = self.most_urgent_active(cpu, last);
            match last {
                Some((_, intid)) => note(intid),
                None => break,
            }
        }
        ended.into_iter().take_while(|&intid| intid != 0)
    }

    /// A trapped write of `value` to GICC_DIR (IHI 0048B section 4.4.15) by
    /// `cpu`, which has been folded. Gives the CPUs that have to be kicked.
    pub fn deactivate(&mut self, cpu: VcpuIdx, ci: &CpuInterface, value: u32) -> CpuMask {
        // With EOImode 0 the write is UNPREDICTABLE; here it does nothing.
        if !ci.vmcr().eoi_mode() {
            return 0;
        }
        let (intid, source) = (value & 0x3ff, (value >> 10) & 7);
        match self.irq(cpu, intid) {
            Some(irq) if intid < NR_SGIS && u32::from(irq.owner) != source => 0,
            Some(_) => self.write_active(cpu, intid, false),
            None => 0,
        }
    }
}
