// SPDX-License-Identifier: GPL-2.0

//! The performance monitors of a vCPU: PMUv2, as all cores here have it (Arm ARM chapter C12).
//!
//! The model holds the guest's settings. A [`Backing`] does the counting, and knows one thing: how
//! often an event has happened. A counter's value and its overflow flag are worked out from that
//! whenever somebody looks. So nothing has to happen while a counter runs, unless it is to raise an
//! interrupt: [`Pmu::until_interrupt`] is the distance to that.

#[cfg(test)]
mod tests;

use crate::{
    core::Core,
    nospec, //
};

/// The most event counters that a core has.
pub const MAX_EVENT_COUNTERS: usize = 6;
/// The place of the cycle counter among the counters, behind those of events.
pub const CYCLE_COUNTER: usize = MAX_EVENT_COUNTERS;
/// The counters, with that of cycles.
pub const COUNTERS: usize = MAX_EVENT_COUNTERS + 1;

/// The event of software increments, which only PMSWINC causes.
pub const SW_INCR: u8 = 0x00;
/// The event of cycles.
pub const CPU_CYCLES: u8 = 0x11;

/// PMCR.E: all counters may count.
const PMCR_E: u32 = 1 << 0;
/// PMCR.P: resets the event counters; reads as zero.
const PMCR_P: u32 = 1 << 1;
/// PMCR.C: resets the cycle counter; reads as zero.
const PMCR_C: u32 = 1 << 2;
/// PMCR.D: the cycle counter counts every 64th cycle.
const PMCR_D: u32 = 1 << 3;
/// PMCR.X: exports events to the trace unit, which a guest does not have.
const PMCR_X: u32 = 1 << 4;
/// PMCR.DP: cycles are not counted while counting of events is prohibited. A guest never is in such
/// a state.
const PMCR_DP: u32 = 1 << 5;
/// The bits of PMCR that keep their value.
const PMCR_KEPT: u32 = PMCR_E | PMCR_D | PMCR_X | PMCR_DP;

/// The cycle counter in PMCNTENSET, PMOVSR and PMINTENSET.
const CYCLE_BIT: u32 = 1 << 31;
/// The value of PMSELR.SEL for which PMXEVTYPER is PMCCFILTR.
const SELECT_CYCLES: u32 = 31;

/// PMXEVTYPER.P: not in modes of PL1.
const TYPE_P: u32 = 1 << 31;
/// PMXEVTYPER.U: not in User mode.
const TYPE_U: u32 = 1 << 30;
/// PMXEVTYPER.NSK: turns P round for Non-secure state.
const TYPE_NSK: u32 = 1 << 29;
/// PMXEVTYPER.NSU: turns U round for Non-secure state.
const TYPE_NSU: u32 = 1 << 28;
/// PMXEVTYPER.NSH: in Hyp mode, too. A guest never is in Hyp mode.
const TYPE_NSH: u32 = 1 << 27;
/// The bits of PMCCFILTR.
const FILTER: u32 = TYPE_P | TYPE_U | TYPE_NSK | TYPE_NSU | TYPE_NSH;
/// PMXEVTYPER.evtCount.
const TYPE_EVENT: u32 = 0xff;

/// A register of the performance monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PmuReg {
    /// Control.
    Pmcr,
    /// Enables counters.
    Pmcntenset,
    /// Disables counters.
    Pmcntenclr,
    /// Overflow flags, cleared by ones.
    Pmovsr,
    /// Software increment.
    Pmswinc,
    /// Event counter selection.
    Pmselr,
    /// Common events, 0 to 31.
    Pmceid0,
    /// Common events, 32 to 63.
    Pmceid1,
    /// Cycle count.
    Pmccntr,
    /// The selected counter's event and filter.
    Pmxevtyper,
    /// The selected counter.
    Pmxevcntr,
    /// User enable.
    Pmuserenr,
    /// Enables interrupts.
    Pmintenset,
    /// Disables interrupts.
    Pmintenclr,
    /// Overflow flags, set by ones.
    Pmovsset,
    /// The cycle counter's filter. ARMv7 has it behind PMSELR alone.
    Pmccfiltr,
    /// An event counter by its number, likewise.
    Pmevcntr(u8),
    /// An event counter's event and filter by its number, likewise.
    Pmevtyper(u8),
}

impl PmuReg {
    /// Whether the register is part of the state. The other registers are views of these.
    pub const fn is_state(self) -> bool {
        matches!(
            self,
            Self::Pmcr
                | Self::Pmcntenset
                | Self::Pmselr
                | Self::Pmccntr
                | Self::Pmuserenr
                | Self::Pmintenset
                | Self::Pmovsset
                | Self::Pmccfiltr
                | Self::Pmevcntr(_)
                | Self::Pmevtyper(_)
        )
    }
}

/// The event that a counter counts, and the modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's number (C12.8); [`CPU_CYCLES`] for the cycle counter.
    pub number: u8,
    /// It counts in User mode.
    pub user: bool,
    /// It counts in the modes of PL1.
    pub kernel: bool,
}

/// The counting of events, one for each counter.
pub trait Backing {
    /// PMCEID0 and PMCEID1: the common events that can be counted, [`SW_INCR`] aside.
    fn events(&self) -> [u32; 2];
    /// Begins to count an event for a counter that counts nothing now.
    fn start(&mut self, counter: usize, event: Event);
    /// Ends the counting for a counter.
    fn stop(&mut self, counter: usize);
    /// The number of events, from some moment before the start on.
    fn read(&self, counter: usize) -> u64;
}

/// The effect of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmuOutcome {
    /// A load: the value.
    Read(u32),
    /// A store: it is done.
    Written,
    /// The instruction is undefined.
    Undefined,
}

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PmuCounter {
    value: u32,
    /// PMXEVTYPER or PMCCFILTR.
    event_type: u32,
    /// Cycles that are not yet 64 (PMCR.D).
    cycles: u8,
    /// The event that the backing counts.
    counts: Option<Event>,
    /// The backing's number when `value` and `cycles` were right.
    seen: u64,
}

/// The performance monitors of a vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmu {
    core: Core,
    pmcr: u32,
    enabled: u32,
    overflowed: u32,
    interrupts: u32,
    selected: u32,
    user: u32,
    counters: [PmuCounter; COUNTERS],
}

/// The bit of a counter in the sets.
const fn bit(counter: usize) -> u32 {
    if counter == CYCLE_COUNTER {
        CYCLE_BIT
    } else {
        1 << (counter & 31)
    }
}

impl PmuCounter {
    /// After reset.
    const fn new() -> Self {
        Self {
            value: 0,
            event_type: 0,
            cycles: 0,
            counts: None,
            seen: 0,
        }
    }

    /// The counter as it is now, and whether it overflowed on the way.
    fn now(&self, counted: u64, divided: bool) -> (Self, bool) {
        let delta = counted.wrapping_sub(self.seen);
        let mut new = *self;
        new.seen = counted;
        let steps = if divided {
            let rest = (delta & 63) + u64::from(self.cycles);
            new.cycles = (rest & 63) as u8;
            (delta >> 6) + (rest >> 6)
        } else {
            delta
        };
        new.value = self.value.wrapping_add(steps as u32);
        (new, steps > u64::from(u32::MAX - self.value))
    }

    /// How many more events make it overflow.
    const fn room(&self, divided: bool) -> u64 {
        let steps = (1 << 32) - self.value as u64;
        if divided {
            (steps << 6) - (self.cycles & 63) as u64
        } else {
            steps
        }
    }

    /// The modes in which it counts: of PL1, and User. A guest is in Non-secure state (C12.6.4).
    const fn modes(&self) -> (bool, bool) {
        let kernel = (self.event_type & TYPE_P == 0) == (self.event_type & TYPE_NSK == 0);
        let user = (self.event_type & TYPE_U == 0) == (self.event_type & TYPE_NSU == 0);
        (kernel, user)
    }

    const fn number(&self) -> u8 {
        (self.event_type & TYPE_EVENT) as u8
    }
}

impl Pmu {
    /// The monitors of a core after reset.
    pub fn new(core: Core) -> Self {
        Self {
            core,
            pmcr: 0,
            enabled: 0,
            overflowed: 0,
            interrupts: 0,
            selected: 0,
            user: 0,
            counters: [const { PmuCounter::new() }; COUNTERS],
        }
    }

    /// PMCR's constant fields: IMP, IDCODE and N.
    const fn identity(&self) -> u32 {
        self.core.description().pmcr
    }

    /// How many event counters there are.
    const fn event_counters(&self) -> usize {
        (self.identity() >> 11 & 0x1f) as usize
    }

    /// The bits of the event counters.
    const fn event_bits(&self) -> u32 {
        1u32.wrapping_shl(self.event_counters() as u32)
            .wrapping_sub(1)
    }

    /// The bits of all counters.
    const fn all_bits(&self) -> u32 {
        self.event_bits() | CYCLE_BIT
    }

    /// Whether a counter counts every 64th event only.
    const fn is_divided(&self, counter: usize) -> bool {
        counter == CYCLE_COUNTER && self.pmcr & PMCR_D != 0
    }

    /// Resets all registers. Fields without a defined reset value become zero (C12.7).
    pub fn reset(&mut self, backing: &mut impl Backing) {
        self.pmcr = 0;
        self.update(backing);
        *self = Self::new(self.core);
    }

    /// An access of the guest, a store if there is a value. `is_kernel` says that it comes from
    /// PL1.
    pub fn access(
        &mut self,
        reg: PmuReg,
        value: Option<u32>,
        is_kernel: bool,
        backing: &mut impl Backing,
    ) -> PmuOutcome {
        let allowed = match (reg, value) {
            (PmuReg::Pmintenset | PmuReg::Pmintenclr, _) => is_kernel,
            (PmuReg::Pmuserenr, Some(_)) => is_kernel,
            (PmuReg::Pmuserenr, None) => true,
            (PmuReg::Pmceid0 | PmuReg::Pmceid1, Some(_)) => false,
            (PmuReg::Pmccfiltr | PmuReg::Pmevcntr(_) | PmuReg::Pmevtyper(_), _) => false,
            _ => is_kernel || self.user != 0,
        };
        if !allowed {
            return PmuOutcome::Undefined;
        }
        match value {
            Some(value) => {
                self.write(reg, value, is_kernel, backing);
                PmuOutcome::Written
            }
            None => PmuOutcome::Read(self.read(reg, backing)),
        }
    }

    /// The register that PMXEVTYPER stands for. A counter that is not there is unpredictable
    /// (C12.8.21): it reads as zero and ignores writes.
    fn selected_type(&self) -> Option<PmuReg> {
        if self.selected == SELECT_CYCLES {
            return Some(PmuReg::Pmccfiltr);
        }
        self.selected_event().map(PmuReg::Pmevtyper)
    }

    /// The register that PMXEVCNTR stands for, likewise.
    fn selected_counter(&self) -> Option<PmuReg> {
        self.selected_event().map(PmuReg::Pmevcntr)
    }

    /// The event counter that PMSELR selects.
    fn selected_event(&self) -> Option<u8> {
        let counters = self.event_counters();
        let selected = self.selected as usize;
        (selected < counters).then(|| nospec::index(selected, counters) as u8)
    }

    /// Reads a register, as PL1 does. It changes nothing.
    pub fn read(&self, reg: PmuReg, backing: &impl Backing) -> u32 {
        match reg {
            PmuReg::Pmcr => self.identity() | self.pmcr,
            PmuReg::Pmcntenset | PmuReg::Pmcntenclr => self.enabled,
            PmuReg::Pmovsr | PmuReg::Pmovsset => self.overflows(backing),
            // Write-only.
            PmuReg::Pmswinc => 0,
            PmuReg::Pmselr => self.selected,
            PmuReg::Pmceid0 => backing.events()[0] | 1 << SW_INCR,
            PmuReg::Pmceid1 => backing.events()[1],
            PmuReg::Pmxevtyper => self
                .selected_type()
                .map_or(0, |reg| self.read_banked(reg, backing)),
            PmuReg::Pmxevcntr => self
                .selected_counter()
                .map_or(0, |reg| self.read_banked(reg, backing)),
            PmuReg::Pmuserenr => self.user,
            PmuReg::Pmintenset | PmuReg::Pmintenclr => self.interrupts,
            PmuReg::Pmccntr | PmuReg::Pmccfiltr | PmuReg::Pmevcntr(_) | PmuReg::Pmevtyper(_) => {
                self.read_banked(reg, backing)
            }
        }
    }

    /// Reads a register that each counter has.
    fn read_banked(&self, reg: PmuReg, backing: &impl Backing) -> u32 {
        let (n, is_value) = Self::place(reg);
        match self.counters.get(n) {
            Some(_) if is_value => self.now(n, backing).map_or(0, |(now, _)| now.value),
            Some(counter) => counter.event_type,
            None => 0,
        }
    }

    /// The counter that a register belongs to, and whether it is its value.
    const fn place(reg: PmuReg) -> (usize, bool) {
        match reg {
            PmuReg::Pmccntr => (CYCLE_COUNTER, true),
            PmuReg::Pmccfiltr => (CYCLE_COUNTER, false),
            PmuReg::Pmevcntr(n) if (n as usize) < MAX_EVENT_COUNTERS => (n as usize, true),
            PmuReg::Pmevtyper(n) if (n as usize) < MAX_EVENT_COUNTERS => (n as usize, false),
            _ => (usize::MAX, false),
        }
    }

    fn write(&mut self, reg: PmuReg, value: u32, is_kernel: bool, backing: &mut impl Backing) {
        self.sync(backing);
        let all = self.all_bits();
        match reg {
            PmuReg::Pmcr => {
                self.pmcr = value & PMCR_KEPT;
                for (n, counter) in self.counters.iter_mut().enumerate() {
                    let reset = if n == CYCLE_COUNTER { PMCR_C } else { PMCR_P };
                    if value & reset != 0 {
                        counter.value = 0;
                        counter.cycles = 0;
                    }
                }
            }
            PmuReg::Pmcntenset => self.enabled |= value & all,
            PmuReg::Pmcntenclr => self.enabled &= !value,
            PmuReg::Pmovsr => self.overflowed &= !value,
            PmuReg::Pmovsset => self.overflowed |= value & all,
            PmuReg::Pmswinc => self.increment(value, is_kernel),
            PmuReg::Pmselr => self.selected = value & 0x1f,
            PmuReg::Pmxevtyper => {
                if let Some(reg) = self.selected_type() {
                    self.set_banked(reg, value);
                }
            }
            PmuReg::Pmxevcntr => {
                if let Some(reg) = self.selected_counter() {
                    self.set_banked(reg, value);
                }
            }
            PmuReg::Pmuserenr => self.user = value & 1,
            PmuReg::Pmintenset => self.interrupts |= value & all,
            PmuReg::Pmintenclr => self.interrupts &= !value,
            PmuReg::Pmccntr | PmuReg::Pmccfiltr | PmuReg::Pmevcntr(_) | PmuReg::Pmevtyper(_) => {
                self.set_banked(reg, value);
            }
            PmuReg::Pmceid0 | PmuReg::Pmceid1 => (),
        }
        self.update(backing);
    }

    /// Gives a register of the state its value when a vCPU is restored. The value replaces all
    /// bits, also of registers in which the guest's ones set or clear bits.
    pub fn set(&mut self, reg: PmuReg, value: u32, backing: &mut impl Backing) {
        self.sync(backing);
        let all = self.all_bits();
        match reg {
            PmuReg::Pmcr => self.pmcr = value & PMCR_KEPT,
            PmuReg::Pmcntenset => self.enabled = value & all,
            PmuReg::Pmovsset => self.overflowed = value & all,
            PmuReg::Pmselr => self.selected = value & 0x1f,
            PmuReg::Pmuserenr => self.user = value & 1,
            PmuReg::Pmintenset => self.interrupts = value & all,
            _ => self.set_banked(reg, value),
        }
        self.update(backing);
    }

    /// Sets a register that each counter has.
    fn set_banked(&mut self, reg: PmuReg, value: u32) {
        let (n, is_value) = Self::place(reg);
        let mask = match n {
            CYCLE_COUNTER => FILTER,
            n if n < self.event_counters() => FILTER | TYPE_EVENT,
            _ => return,
        };
        if let Some(counter) = self.counters.get_mut(n) {
            if is_value {
                counter.value = value;
                counter.cycles = 0;
            } else {
                counter.event_type = value & mask;
            }
        }
    }

    /// PMSWINC: one more event for the counters that count software increments.
    fn increment(&mut self, mask: u32, is_kernel: bool) {
        let mask = mask & self.enabled & self.event_bits();
        if self.pmcr & PMCR_E == 0 {
            return;
        }
        for (n, counter) in self.counters.iter_mut().enumerate() {
            let (kernel, user) = counter.modes();
            let counts = if is_kernel { kernel } else { user };
            if n == CYCLE_COUNTER || mask & bit(n) == 0 || counter.number() != SW_INCR || !counts {
                continue;
            }
            counter.value = counter.value.wrapping_add(1);
            if counter.value == 0 {
                self.overflowed |= bit(n);
            }
        }
    }

    /// A counter as it is now, and whether it has overflowed since it was last looked at.
    fn now(&self, n: usize, backing: &impl Backing) -> Option<(PmuCounter, bool)> {
        let counter = self.counters.get(n)?;
        if counter.counts.is_none() {
            return Some((*counter, false));
        }
        Some(counter.now(backing.read(n), self.is_divided(n)))
    }

    /// PMOVSR as it is now.
    fn overflows(&self, backing: &impl Backing) -> u32 {
        (0..COUNTERS).fold(self.overflowed, |flags, n| match self.now(n, backing) {
            Some((_, true)) => flags | bit(n),
            _ => flags,
        })
    }

    /// Brings the counters and the flags up to date. Settings that they depend on may change then.
    fn sync(&mut self, backing: &impl Backing) {
        self.overflowed = self.overflows(backing);
        for n in 0..COUNTERS {
            if let (Some((now, _)), Some(counter)) =
                (self.now(n, backing), self.counters.get_mut(n))
            {
                *counter = now;
            }
        }
    }

    /// The event that the backing should count for a counter.
    fn wanted(&self, n: usize) -> Option<Event> {
        let counter = self.counters.get(n)?;
        if self.pmcr & PMCR_E == 0 || self.enabled & bit(n) == 0 {
            return None;
        }
        let number = if n == CYCLE_COUNTER {
            CPU_CYCLES
        } else {
            counter.number()
        };
        let (kernel, user) = counter.modes();
        let counts = n == CYCLE_COUNTER || number != SW_INCR;
        (counts && (kernel || user)).then_some(Event {
            number,
            user,
            kernel,
        })
    }

    /// Has the backing count the events that are wanted now. The counters must be up to date.
    fn update(&mut self, backing: &mut impl Backing) {
        for n in 0..COUNTERS {
            let wanted = self.wanted(n);
            let Some(counter) = self.counters.get_mut(n) else {
                continue;
            };
            if counter.counts == wanted {
                continue;
            }
            if counter.counts.is_some() {
                backing.stop(n);
            }
            counter.counts = wanted;
            if let Some(event) = wanted {
                backing.start(n, event);
                counter.seen = backing.read(n);
            }
        }
    }

    /// Makes the backing begin anew, for instance because another thread runs the vCPU now.
    pub fn restart(&mut self, backing: &mut impl Backing) {
        self.sync(backing);
        for (n, counter) in self.counters.iter_mut().enumerate() {
            if counter.counts.take().is_some() {
                backing.stop(n);
            }
        }
        self.update(backing);
    }

    /// The level of the interrupt: an overflow that is enabled (C12.4).
    pub fn level(&self, backing: &impl Backing) -> bool {
        self.pmcr & PMCR_E != 0
            && self.interrupts != 0
            && self.overflows(backing) & self.interrupts != 0
    }

    /// The number of further events of a counter that raise the interrupt, if it can be raised.
    pub fn until_interrupt(&self, counter: usize, backing: &impl Backing) -> Option<u64> {
        if self.interrupts & bit(counter) == 0 || self.overflowed & bit(counter) != 0 {
            return None;
        }
        let (now, overflowed) = self.now(counter, backing)?;
        now.counts?;
        (!overflowed).then(|| now.room(self.is_divided(counter)))
    }

    /// Whether user mode may use the monitors.
    pub const fn is_open_to_user(&self) -> bool {
        self.user != 0
    }

    /// Whether anything counts, or may raise the interrupt.
    pub fn is_active(&self) -> bool {
        self.pmcr & PMCR_E != 0
            && (self.overflowed & self.interrupts != 0
                || self.counters.iter().any(|counter| counter.counts.is_some()))
    }
}
