// SPDX-License-Identifier: GPL-2.0

//! The performance monitors of a vCPU: the counters behind the model in `machine::pmu`.
//!
//! If the host has a driver for its own monitors, each counter of the guest that counts is an event
//! of the perf core. The event belongs to the vCPU's thread, and counts from just before the world
//! switch until just after, HYP mode excluded: the guest's own instructions, and some hundred of
//! the host's for each exit. It counts neither emulation nor the time while the vCPU is preempted.
//! Where others want the host's counters, too, the perf core lets them take turns, and the guest's
//! counter stands still meanwhile.
//!
//! Otherwise, and if the perf core refuses, cycles are nanoseconds of the architected counter: a
//! core of 1 GHz that stops neither in WFI nor when its vCPU is preempted. So the difference of two
//! readings agrees with the guest's clocks. A clock cannot tell modes apart: it counts unless both
//! are filtered out. Other events do not happen then, and PMCEID0 says so; software increments
//! always do.
//!
//! All of the guest's accesses trap (HDCR.TPM), unless they are undefined. PMUSERENR of the
//! hardware decides that for user mode. A guest that uses none of this costs a look at one flag for
//! each entry and exit.

use kernel::{
    prelude::*,
    sync::SetOnce, //
};
use machine::{
    core::Core,
    pmu::{
        Backing,
        Event,
        Pmu,
        PmuOutcome,
        PmuReg,
        COUNTERS,
        CPU_CYCLES,
        CYCLE_COUNTER, //
    },
    timer::Frequency, //
};

use crate::{
    glue::{
        cpu::IrqsOff,
        perf::{
            Monitors,
            PerfEvent, //
        }, //
    },
    hyp::{
        register,
        takeover::Lowvisor, //
    },
};

/// The host's monitors on the CPUs of one core.
#[derive(Clone, Copy)]
pub(crate) enum HostPmu {
    /// There is a driver for them.
    Perf {
        /// Its monitors, which count on these CPUs alone.
        monitors: Monitors,
        /// They interrupt at an overflow. Without, a guest's overflow is noticed at the next exit.
        interrupts: bool,
    },
    /// There is none.
    None,
}

impl HostPmu {
    /// Finds those of a core by making an event on one of its CPUs.
    fn find(core: Core, lowvisor: &Lowvisor) -> Self {
        for cpu in lowvisor.cpus_of(core) {
            for interrupts in [true, false] {
                if let Ok(monitors) = Monitors::of_cpu(cpu, DRIVER_CYCLES, interrupts) {
                    return Self::Perf {
                        monitors,
                        interrupts,
                    };
                }
            }
        }
        Self::None
    }
}

/// The host's monitors on the CPUs of each core. They are found when the first vCPU of that core is
/// initialised: the core's CPUs are online then.
pub(crate) struct HostPmus([SetOnce<HostPmu>; Core::ALL.len()]);

impl HostPmus {
    /// None is found yet.
    pub(crate) const fn new() -> Self {
        Self([const { SetOnce::new() }; Core::ALL.len()])
    }

    /// Gives those of a core. May sleep.
    pub(crate) fn of(&self, core: Core, lowvisor: &Lowvisor) -> HostPmu {
        let Some(known) = self.0.get(core as usize) else {
            return HostPmu::None;
        };
        known.copy().unwrap_or_else(|| {
            let found = HostPmu::find(core, lowvisor);
            // Another thread may be faster: it has found the same.
            known.populate(found);
            found
        })
    }
}

/// The number by which the driver knows the cycle counter. The event of cycles, 0x11, is for its
/// event counters.
const DRIVER_CYCLES: u64 = 0xff;

/// The driver's number for the event that a counter is to count, if it has one.
fn driver_number(counter: usize, event: Event) -> Option<u64> {
    match u64::from(event.number) {
        _ if counter == CYCLE_COUNTER => Some(DRIVER_CYCLES),
        DRIVER_CYCLES => None,
        number => Some(number),
    }
}

/// The source of one counter's value.
struct Source {
    /// The event that is, or was last, counted by `perf`.
    event: Option<Event>,
    /// Kept when the counter stops, as guests stop and start their counters all the time.
    perf: Option<PerfEvent>,
    /// It counts now, by `perf` if that is there, else by the clock or not at all.
    counts: bool,
}

impl Source {
    /// Nothing counts yet.
    const fn new() -> Self {
        Self {
            event: None,
            perf: None,
            counts: false,
        }
    }

    /// Whether the clock counts for it.
    fn is_clock(&self) -> bool {
        self.counts
            && self.perf.is_none()
            && self.event.is_some_and(|event| event.number == CPU_CYCLES)
    }
}

/// The sources of all counters.
struct Sources {
    core: Core,
    host: HostPmu,
    frequency: Frequency,
    sources: [Source; COUNTERS],
}

impl Sources {
    /// The event of a counter that `perf` counts now.
    fn running(&mut self) -> impl Iterator<Item = (usize, &mut PerfEvent)> {
        self.sources
            .iter_mut()
            .enumerate()
            .filter(|(_, source)| source.counts)
            .filter_map(|(n, source)| Some((n, source.perf.as_mut()?)))
    }
}

impl Backing for Sources {
    fn events(&self) -> [u32; 2] {
        match self.host {
            HostPmu::Perf { .. } => self.core.description().events,
            HostPmu::None => [1 << CPU_CYCLES, 0],
        }
    }

    fn start(&mut self, counter: usize, event: Event) {
        let HostPmu::Perf {
            monitors,
            interrupts,
        } = self.host
        else {
            if let Some(source) = self.sources.get_mut(counter) {
                source.event = Some(event);
                source.counts = true;
            }
            return;
        };
        let Some(source) = self.sources.get_mut(counter) else {
            return;
        };
        source.counts = true;
        match &mut source.perf {
            Some(perf) if source.event == Some(event) && perf.is_for_current() => perf.enable(),
            _ => {
                // The old one goes first, so that its place is free.
                source.perf = None;
                source.perf = driver_number(counter, event).and_then(|number| {
                    PerfEvent::new(monitors, number, event.user, event.kernel, interrupts).ok()
                });
                source.event = Some(event);
            }
        }
    }

    fn stop(&mut self, counter: usize) {
        if let Some(source) = self.sources.get_mut(counter) {
            source.counts = false;
            if let Some(perf) = &mut source.perf {
                perf.disable();
            }
        }
    }

    fn read(&self, counter: usize) -> u64 {
        match self.sources.get(counter) {
            Some(Source {
                perf: Some(perf), ..
            }) => perf.total(),
            Some(source) if source.is_clock() => self.frequency.ticks_to_ns(register::cntpct()),
            _ => 0,
        }
    }
}

/// The performance monitors of a vCPU.
pub(crate) struct VcpuPmu {
    model: Pmu,
    sources: Sources,
    /// Something counts, the line may be high, or user mode may have access: an entry has to look.
    watched: bool,
    /// User space has set it up, so that its line leads somewhere.
    pub(crate) initialized: bool,
    /// When the line rises next may have changed.
    alarm_due: bool,
    /// PMUSERENR of the host, while the guest runs.
    host_user: u32,
}

impl VcpuPmu {
    /// Monitors after reset.
    #[inline(always)]
    pub(crate) fn new(core: Core, frequency: Frequency) -> impl Init<Self> {
        init!(Self {
            model: Pmu::new(core),
            sources: Sources {
                core,
                host: HostPmu::None,
                frequency,
                sources: [const { Source::new() }; COUNTERS],
            },
            watched: false,
            initialized: false,
            alarm_due: false,
            host_user: 0,
        })
    }

    /// The monitors are those of a core from now on, before they are first used. A reset follows.
    pub(crate) fn become_core(&mut self, core: Core, host: HostPmu) {
        self.model = Pmu::new(core);
        self.sources.core = core;
        self.sources.host = host;
    }

    /// Resets the registers.
    pub(crate) fn reset(&mut self) {
        self.model.reset(&mut self.sources);
        self.sources.sources = [const { Source::new() }; COUNTERS];
        self.changed();
    }

    /// An access of the guest: a store if there is a value.
    pub(crate) fn access(
        &mut self,
        reg: PmuReg,
        value: Option<u32>,
        is_kernel: bool,
    ) -> PmuOutcome {
        let outcome = self.model.access(reg, value, is_kernel, &mut self.sources);
        if value.is_some() {
            self.changed();
        }
        outcome
    }

    /// A register, for user space.
    pub(crate) fn get(&self, reg: PmuReg) -> u32 {
        self.model.read(reg, &self.sources)
    }

    /// Sets a register of the state, for user space.
    pub(crate) fn set(&mut self, reg: PmuReg, value: u32) {
        self.model.set(reg, value, &mut self.sources);
        self.changed();
    }

    fn changed(&mut self) {
        self.watched = self.model.is_active() || self.model.is_open_to_user();
        self.alarm_due = true;
    }

    /// The current thread is about to run the vCPU. Another thread may have run it before.
    pub(crate) fn attach(&mut self) {
        if !self.watched {
            return;
        }
        self.alarm_due = true;
        if self
            .sources
            .running()
            .any(|(_, perf)| !perf.is_for_current())
        {
            self.model.restart(&mut self.sources);
        }
    }

    /// The level of the interrupt's line now.
    #[inline]
    pub(crate) fn level(&self) -> bool {
        self.watched && self.initialized && self.model.level(&self.sources)
    }

    /// Whether the guest uses its performance monitors, or might.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// The alarm has woken the vCPU, or might have.
    pub(crate) fn alarm_rang(&mut self) {
        self.alarm_due = self.watched;
    }

    /// Whether the alarm has to be set again.
    #[inline]
    pub(crate) fn is_alarm_due(&self) -> bool {
        self.alarm_due
    }

    /// The alarm is set.
    pub(crate) fn alarm_is_set(&mut self) {
        self.alarm_due = false;
    }

    /// In how many nanoseconds the line rises by itself, whatever the guest does meanwhile.
    pub(crate) fn ns_to_level(&self) -> Option<u64> {
        if !self.initialized || self.level() {
            return None;
        }
        // The host's monitors make the guest exit themselves.
        self.sources
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| source.is_clock())
            .filter_map(|(n, _)| self.model.until_interrupt(n, &self.sources))
            .min()
    }

    /// The guest runs from now on.
    #[inline]
    pub(crate) fn enter(&mut self, irqs: &IrqsOff) {
        if self.watched {
            self.resume(irqs);
        }
    }

    /// The guest has left.
    #[inline]
    pub(crate) fn leave(&mut self, irqs: &IrqsOff) {
        if self.watched {
            self.pause(irqs);
        }
    }

    #[inline(never)]
    fn resume(&mut self, irqs: &IrqsOff) {
        if self.model.is_open_to_user() {
            self.host_user = register::pmuserenr();
            register::set_pmuserenr(irqs, 1);
        }
        let mut periods = [0; COUNTERS];
        for (n, period) in periods.iter_mut().enumerate() {
            *period = self.model.until_interrupt(n, &self.sources).unwrap_or(0);
        }
        for (n, perf) in self.sources.running() {
            perf.resume(irqs, periods.get(n).copied().unwrap_or(0));
        }
    }

    #[inline(never)]
    fn pause(&mut self, irqs: &IrqsOff) {
        for (_, perf) in self.sources.running() {
            perf.pause(irqs);
        }
        if self.model.is_open_to_user() {
            register::set_pmuserenr(irqs, self.host_user);
        }
    }
}
