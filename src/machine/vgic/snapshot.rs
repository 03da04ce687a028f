// SPDX-License-Identifier: GPL-2.0

//! The state of a distributor as text, in the manner of the file `vgic-state` that arm64's KVM has
//! in debugfs.
//!
//! To write a thousand lines takes long, so the lock that the caller holds around
//! [`Vgic::snapshot`] is not held for that: the interrupts are copied first. All lines are of one
//! moment.

use core::fmt;
use core::ops::Deref;
use core::ops::DerefMut;

use super::irq::State;
use super::irq::FIRST_SPECIAL;
use super::irq::MAX_IRQS;
use super::irq::NR_PRIVATE;
use super::irq::NR_SGIS;
use super::is_deliverable;
use super::Cpu;
use super::Irq;
use super::Vgic;
use super::MAX_CPUS;

/// The most interrupts of a distributor, each CPU's private ones counted.
pub const MOST_IRQS: usize = MAX_CPUS * NR_PRIVATE as usize + (MAX_IRQS - NR_PRIVATE) as usize;

/// A copy of a distributor. `I` holds the interrupts: those of each CPU, then the SPIs.
#[derive(Clone, Debug)]
pub struct Snapshot<I> {
    irqs: I,
    nr_irqs: u32,
    nr_cpus: u32,
    ctlr: u32,
}

impl<S, C> Vgic<S, C>
where
    S: DerefMut<Target = [Irq]>,
    C: DerefMut<Target = [Cpu]>,
{
    /// Copies the distributor. `room` has place for [`MOST_IRQS`] interrupts; if it has less, the
    /// last ones are as after reset.
    pub fn snapshot<I: DerefMut<Target = [Irq]>>(&self, mut room: I) -> Snapshot<I> {
        let private = self.cpus.iter().flat_map(|cpu| cpu.private.iter());
        let all = private.chain(self.spis.iter());
        for (to, from) in room.iter_mut().zip(all) {
            *to = *from;
        }
        Snapshot {
            irqs: room,
            nr_irqs: self.nr_irqs.min(FIRST_SPECIAL),
            nr_cpus: self.nr_cpus,
            ctlr: self.ctlr,
        }
    }
}

impl<I: Deref<Target = [Irq]>> Snapshot<I> {
    /// The line of an interrupt, which is private to `cpu` if that is there.
    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        cpu: Option<u32>,
        intid: u32,
        irq: &Irq,
    ) -> fmt::Result {
        let kind = match intid {
            0..NR_SGIS => "SGI",
            NR_SGIS..NR_PRIVATE => "PPI",
            _ => "SPI",
        };
        let all = 1_u32.wrapping_shl(self.nr_cpus).wrapping_sub(1);
        let target = cpu.unwrap_or(irq.first_target(all) as u32);
        let targets = cpu.map_or(irq.targets.into(), |cpu| 1_u32.wrapping_shl(cpu));
        // By the invariants of the distributor, these are in a list register or in a set of a CPU.
        let is_held =
            irq.is(State::IN_LR) || irq.is(State::ACTIVE) || is_deliverable(irq, self.ctlr);
        let holder = if is_held {
            cpu.unwrap_or(irq.owner.into()) as i32
        } else {
            -1
        };
        let bit = |state: State| u8::from(irq.is(state));
        write!(
            f,
            "       {kind} {intid:4}     {target:2} {}{}{}{}{}{}{} {:8} {targets:8x}  {:2x} {:3}      \
             {holder:2} ",
            u8::from(irq.sources != 0 || irq.is(State::LATCH)),
            bit(State::LINE),
            bit(State::ACTIVE),
            bit(State::ENABLED),
            bit(State::HW),
            1 - bit(State::EDGE),
            bit(State::GROUP1),
            irq.phys,
            irq.sources,
            irq.priority,
        )?;
        f.write_str(match (irq.is(State::IN_LR), irq.is(State::LR_PENDING)) {
            (false, _) => " -\n",
            (true, false) => " A\n",
            (true, true) if irq.is(State::ACTIVE) => "PA\n",
            (true, true) => " P\n",
        })
    }

    /// The lines of the interrupts of a CPU, or of the SPIs, from number `first` on.
    fn table(
        &self,
        f: &mut fmt::Formatter<'_>,
        cpu: Option<u32>,
        first: u32,
        irqs: &[Irq],
    ) -> fmt::Result {
        let (what, id) = cpu.map_or(("SPI ", 0), |cpu| ("VCPU", cpu));
        writeln!(
            f,
            "\n{what}{id:2} TYP   ID TGT_ID PLAEHCG     HWID   TARGET SRC PRI VCPU_ID LR\n\
             -------------------------------------------------------------------"
        )?;
        for (intid, irq) in (first..).zip(irqs) {
            self.line(f, cpu, intid, irq)?;
        }
        Ok(())
    }
}

impl<I: Deref<Target = [Irq]>> fmt::Display for Snapshot<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Distributor\n\
             ===========\n\
             vgic_model:\tGICv2\n\
             nr_spis:\t{}\n\
             enabled:\t{}\n\
             \n\
             P=pending_latch, L=line_level, A=active\n\
             E=enabled, H=hw, C=config (level=1, edge=0)\n\
             G=group, LR=in a list register since the last entry, as pending or active\n",
            self.nr_irqs.saturating_sub(NR_PRIVATE),
            u8::from(self.ctlr != 0),
        )?;
        let mut tables = self.irqs.chunks(NR_PRIVATE as usize);
        for (cpu, irqs) in (0..self.nr_cpus).zip(&mut tables) {
            self.table(f, Some(cpu), 0, irqs)?;
        }
        let first = self.nr_cpus.saturating_mul(NR_PRIVATE) as usize;
        let nr_spis = self.nr_irqs.saturating_sub(NR_PRIVATE) as usize;
        let spis = self.irqs.get(first..).unwrap_or(&[]);
        let spis = spis.get(..nr_spis).unwrap_or(spis);
        self.table(f, None, NR_PRIVATE, spis)
    }
}
