// SPDX-License-Identifier: GPL-2.0

//! The relay of the virtual timer's interrupt, in all states that it can come to: the guest, its timer,
//! the GIC, the vector in HYP mode, and the host, which is entered and left. `machine::relay`,
//! `machine::vgic` and `asm/interrupts.S` are those of the module.
//!
//! Nothing here runs at the same time: while HYP mode has an interrupt of the guest, no one else reaches
//! the CPU's registers. So the order of whole steps is all there is, and no atomics are needed.

use std::{
    collections::HashSet,
    hash::{
        DefaultHasher,
        Hash,
        Hasher, //
    },
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
};

use armv7::regs::TimerCtl;
use machine::{
    relay::TimerIrq,
    timer::Timer,
    vgic::{
        Config,
        Cpu,
        CpuInterface,
        GichHcr,
        Irq,
        ListRegister,
        Vgic,
        Vmcr, //
    },
};

use crate::{
    checked::message_of,
    vectors::{
        Bus,
        End,
        Vector,
        CONTEXT,
        CTX_RELAY,
        CTX_RELAYED, //
    },
};

/// The INTID of the timer, and its physical one.
const TIMER: u32 = 27;
/// An interrupt that another thread raises, edge-triggered.
const OTHER: u32 = 40;
const LR: u32 = 0x8000;
const ISACTIVER0: u32 = 0x9300;

const LOST: &str = "the timer fires, and its interrupt is lost";
const TWICE: &str = "the guest gets an interrupt that its timer has not raised";
const UNKNOWN: &str = "the host does not know whether the physical interrupt is active";
const FOR_EVER: &str = "the physical interrupt comes over and over";
const SWALLOWED: &str = "an interrupt of the host ends no stay";

/// The steps that can come in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The timer's time comes.
    Fire,
    /// The guest sets the timer to another time.
    Rearm,
    /// The guest masks the timer's output, or not.
    Mask,
    /// The guest acknowledges an interrupt.
    Acknowledge,
    /// The guest ends it.
    End,
    /// The guest disables the timer's interrupt in the distributor, or enables it.
    Enable,
    /// Another thread raises another interrupt.
    Raise,
    /// Another vCPU turns the distributor off, or on.
    Control,
    /// The vCPU is kicked, if somebody wants it.
    Kick,
    /// The host gets an interrupt of its own.
    HostIrq,
    /// The guest traps, and the timer's time comes before it is entered again.
    TrapAndFire,
}

const STEPS: [Step; 11] = [
    Step::Fire,
    Step::Rearm,
    Step::Mask,
    Step::Acknowledge,
    Step::End,
    Step::Enable,
    Step::Raise,
    Step::Control,
    Step::Kick,
    Step::HostIrq,
    Step::TrapAndFire,
];

/// A piece that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The vector has no instruction on this line of the source.
    Vector(&'static str),
    /// The host does not look whether there was a relay.
    IgnoresRelay,
    /// The host knows that there was one, but not that the physical interrupt is active.
    ForgetsActive,
    /// The host knows that there was one, but not that the line is high for the distributor.
    ForgetsLine,
    /// A line that was high once stays so for the distributor.
    KeepsLine,
    /// The host does not look whether the guest has deactivated the physical interrupt.
    ForgetsInactive,
}

/// A host with one CPU, and a guest on it.
#[derive(Clone, Debug)]
struct Machine {
    broken: Broken,
    // The host's state of the vCPU.
    gic: Vgic<Vec<Irq>, Vec<Cpu>>,
    interface: CpuInterface,
    irq: TimerIrq,
    look_at_interrupts: bool,
    told: bool,
    timer: Timer,
    kicked: bool,
    /// The words from CTX_RELAY to CTX_RELAYED.
    relay: [u32; 5],
    /// Whether the physical interrupt is active, as the host knows it.
    known: bool,
    // The hardware.
    active: bool,
    lr: Vec<u32>,
    hcr: u32,
    ctl: TimerCtl,
    /// The timer's time has come.
    met: bool,
    // The guest.
    handled: Option<u32>,
    enabled: bool,
    on: bool,
    /// The line was high since the guest took the interrupt last.
    owed: bool,
}

impl Bus for Machine {
    fn load(&mut self, address: u32) -> u32 {
        let relay = CONTEXT + CTX_RELAY;
        match address {
            LR..0x8010 => self.lr[(address - LR) as usize / 4],
            ISACTIVER0 => u32::from(self.active) << TIMER,
            _ => self.relay[(address - relay) as usize / 4],
        }
    }

    fn store(&mut self, address: u32, value: u32) {
        const RELAYED: u32 = CONTEXT + CTX_RELAYED;
        match address {
            LR..0x8010 => self.lr[(address - LR) as usize / 4] = value,
            ISACTIVER0 => self.active |= (value >> TIMER) & 1 != 0,
            // The host looks at no more than that.
            RELAYED => self.relay[4] = value.min(1),
            _ => panic!("the vector writes to {address:#x}"),
        }
    }

    fn cntv_ctl(&self) -> u32 {
        let met = self.met && self.ctl.contains(TimerCtl::ENABLE);
        let status = if met {
            TimerCtl::ISTATUS
        } else {
            TimerCtl::empty()
        };
        (self.ctl | status).bits()
    }
}

impl Machine {
    fn new(nr_lrs: usize, broken: Broken) -> Self {
        let config = Config {
            nr_irqs: 64,
            nr_cpus: 1,
            nr_lrs,
        };
        let spis = vec![Irq::default(); config.nr_spis()];
        let mut gic = Vgic::new(config, spis, vec![Cpu::new()]);
        gic.map_hw(0, TIMER, TIMER);
        for (register, value) in [
            (0x000, 1),
            (0x100, 1 << TIMER),
            (0x104, 1 << (OTHER - 32)),
            (0xc08, 2 << (2 * (OTHER - 32))),
        ] {
            gic.dist_write(0, register, 4, value);
        }
        let mut irq = TimerIrq::default();
        irq.set_intid(TIMER);
        let mut timer = Timer::new(0);
        timer.ctl = TimerCtl::ENABLE;
        let mut machine = Self {
            broken,
            gic,
            interface: CpuInterface::default(),
            irq,
            look_at_interrupts: true,
            told: false,
            timer,
            kicked: false,
            relay: [0; 5],
            known: false,
            active: false,
            lr: vec![0; nr_lrs],
            hcr: 0,
            ctl: TimerCtl::empty(),
            met: false,
            handled: None,
            enabled: true,
            on: true,
            owed: false,
        };
        machine.enter();
        machine
    }

    fn line(&self) -> bool {
        self.cntv_ctl() == (TimerCtl::ENABLE | TimerCtl::ISTATUS).bits()
    }

    /// An entry, as `enter_with_irqs_off` in `src/kvm/run.rs` makes it.
    fn enter(&mut self) {
        self.timer.cval = if self.met { 0 } else { u64::MAX };
        let keeps = self.broken == Broken::KeepsLine && self.told;
        let level = self.timer.level(1) || keeps;
        // `Running::flush` and `VmGic::flush`.
        let told = core::mem::replace(&mut self.told, level);
        let tell = level != told || level;
        if self.look_at_interrupts || tell {
            if tell {
                assert_eq!(self.gic.set_level(0, TIMER, level) & !1, 0);
            }
            let vmcr = Vmcr((0x1f << 27) | 1);
            self.gic.flush_with(0, &mut self.interface, || vmcr);
            self.look_at_interrupts = false;
            let (n, value) = self.irq.flushed(&mut self.gic, 0, &self.interface);
            if self.irq.takes(n, || self.relay[0] == value.0) {
                let lr_address = LR + 4 * n as u32;
                self.relay[..4].copy_from_slice(&[value.0, lr_address, ISACTIVER0, 1 << TIMER]);
            }
        }
        // `HostTimer::set_quiet`.
        if self.known != self.irq.is_active() {
            self.known = self.irq.is_active();
            self.active = self.known;
        }
        assert_eq!(self.known, self.active, "{UNKNOWN}");
        self.ctl = self.timer.ctl;
        for n in 0..self.lr.len() {
            if (self.interface.used >> n) & 1 != 0 {
                self.lr[n] = self.interface.lr[n];
            }
        }
        self.hcr = self.interface.hcr;
    }

    /// An exit, as `run_guest` makes it.
    fn leave(&mut self) {
        self.timer.ctl = core::mem::replace(&mut self.ctl, TimerCtl::empty());
        // `note_relayed`.
        if core::mem::take(&mut self.relay[4]) != 0 && self.broken != Broken::IgnoresRelay {
            self.known |= self.broken != Broken::ForgetsActive;
            self.irq.relayed(&mut self.interface);
            self.told |= self.broken != Broken::ForgetsLine;
        }
        let mut deactivated = false;
        if self.interface.used != 0 {
            // `HostGic::save`.
            self.interface.hcr = self.hcr & !GichHcr::EN.bits();
            for n in 0..self.lr.len() {
                if (self.interface.used >> n) & 1 != 0 {
                    self.interface.lr[n] = core::mem::take(&mut self.lr[n]);
                }
            }
            (_, deactivated) = self.irq.fold(&mut self.gic, 0, &mut self.interface);
            self.look_at_interrupts = true;
        }
        // `VcpuTimers::save`.
        if deactivated && self.broken != Broken::ForgetsInactive {
            self.known = false;
        }
        assert_eq!(self.known, self.active, "{UNKNOWN}");
    }

    fn again(&mut self) {
        self.leave();
        self.kicked = false;
        self.enter();
    }

    /// Whether the CPU interface asks for an exit (IHI 0048B 5.2.4).
    fn maintenance(&self) -> bool {
        let hcr = GichHcr::from_bits_retain(self.hcr);
        let no_pending = self.lr.iter().all(|lr| lr & ListRegister::PENDING == 0);
        let ended = self.lr.iter().any(|&lr| {
            let lr = ListRegister(lr);
            !lr.valid() && lr.has(ListRegister::EOI) && !lr.has(ListRegister::HW)
        });
        let outside_ended = self.hcr & GichHcr::EOI_COUNT.bits() != 0;
        ended
            || hcr.contains(GichHcr::NPIE) && no_pending
            || hcr.contains(GichHcr::LRENPIE) && outside_ended
    }

    /// Lets the hardware come to rest.
    fn settle(&mut self, vector: &Vector) {
        for _ in 0..8 {
            if self.line() && !self.active {
                if vector.run(self) == End::Exit {
                    self.again();
                }
            } else if self.maintenance() {
                self.again();
            } else {
                return;
            }
        }
        panic!("{FOR_EVER}");
    }

    fn step(&mut self, step: Step, vector: &Vector) {
        match step {
            Step::Fire => self.met = true,
            Step::Rearm => self.met = false,
            Step::Mask => self.ctl.toggle(TimerCtl::IMASK),
            Step::Acknowledge => self.acknowledge(),
            Step::End => self.end(),
            Step::Enable => {
                self.leave();
                self.enabled = !self.enabled;
                let register = if self.enabled { 0x100 } else { 0x180 };
                let mask = self.gic.dist_write(0, register, 4, 1 << TIMER);
                self.look_at_interrupts |= mask & 1 != 0;
                self.enter();
            }
            Step::Raise => self.kicked |= self.gic.set_level(0, OTHER, true) & 1 != 0,
            Step::Control => {
                self.on = !self.on;
                self.kicked |= self.gic.dist_write(0, 0, 4, u32::from(self.on)) & 1 != 0;
            }
            Step::Kick => {
                if self.kicked {
                    self.look_at_interrupts = true;
                    self.again();
                }
            }
            Step::HostIrq => {
                // It stays pending, so it interrupts a second time if the timer comes first.
                let mut ends = [(); 2].map(|()| vector.run(self));
                ends.sort_by_key(|end| *end == End::Exit);
                assert_eq!(ends[1], End::Exit, "{SWALLOWED}");
                self.again();
            }
            Step::TrapAndFire => {
                self.leave();
                self.met = true;
                self.enter();
            }
        }
        self.note_line();
        self.settle(vector);
        self.check();
    }

    fn note_line(&mut self) {
        self.owed |= self.line() && self.handled != Some(TIMER);
    }

    fn acknowledge(&mut self) {
        if self.handled.is_some() {
            // All have the same priority.
            return;
        }
        let mut pending = self.lr.iter_mut().filter(|lr| {
            let state = ListRegister::PENDING | ListRegister::ACTIVE;
            **lr & state == ListRegister::PENDING
        });
        if let Some(lr) = pending.next() {
            *lr ^= ListRegister::PENDING | ListRegister::ACTIVE;
            let intid = ListRegister(*lr).intid();
            self.handled = Some(intid);
            if intid == TIMER {
                assert!(core::mem::take(&mut self.owed), "{TWICE}");
            }
        }
    }

    fn end(&mut self) {
        let Some(intid) = self.handled.take() else {
            return;
        };
        let mut lrs = self.lr.iter_mut();
        let its = lrs.find(|lr| {
            ListRegister(**lr).intid() == intid && ListRegister(**lr).has(ListRegister::ACTIVE)
        });
        match its {
            Some(lr) => {
                *lr &= !ListRegister::ACTIVE;
                if ListRegister(*lr).has(ListRegister::HW) {
                    self.active = false;
                }
            }
            None => self.hcr += 1 << GichHcr::EOI_COUNT.bits().trailing_zeros(),
        }
    }

    /// A high line reaches the guest: its interrupt is in a list register, or waits for one.
    fn check(&self) {
        if self.kicked || !self.line() || !self.enabled || !self.on {
            return;
        }
        let of_timer = |&&lr: &&u32| ListRegister(lr).intid() == TIMER && ListRegister(lr).valid();
        let is_there = self.lr.iter().any(|lr| of_timer(&lr));
        // If there is but one list register, the other interrupt may have it.
        let waits = [0x200, 0x300]
            .iter()
            .any(|&register| (self.gic.dist_read(0, register, 4) >> TIMER) & 1 != 0);
        let others = self.lr.iter().filter(|lr| ListRegister(**lr).valid());
        let is_full = others.count() == self.lr.len();
        assert!(is_there || is_full && waits, "{LOST}");
    }

    /// A number for the state, without what only counts.
    fn key(&self) -> u64 {
        let text = format!("{self:?}");
        let (before, after) = text.split_once("folds: ").expect("a count of folds");
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let mut hasher = DefaultHasher::new();
        (before, after).hash(&mut hasher);
        hasher.finish()
    }
}

/// Goes through all states. Gives their number.
fn explore(nr_lrs: usize, broken: Broken) -> usize {
    let vector = Vector::new(match broken {
        Broken::Vector(line) => Some(line),
        _ => None,
    });
    let first = Machine::new(nr_lrs, broken);
    let mut known = HashSet::from([first.key()]);
    let mut to_do = vec![first];
    while let Some(machine) = to_do.pop() {
        for step in STEPS {
            let mut next = machine.clone();
            next.step(step, &vector);
            if known.insert(next.key()) {
                to_do.push(next);
            }
        }
    }
    known.len()
}

/// Fails unless some state breaks the model with `why` in the message.
fn breaks(why: &str, broken: Broken) {
    match catch_unwind(AssertUnwindSafe(|| explore(2, broken))) {
        Ok(states) => panic!("none of {states} states breaks this model: {broken:?}"),
        Err(panic) => {
            let message = message_of(&*panic);
            assert!(message.contains(why), "{broken:?} broke with {message:?}");
        }
    }
}

#[test]
fn no_interrupt_of_the_timer_is_lost_or_doubled() {
    for nr_lrs in [1, 2] {
        let states = explore(nr_lrs, Broken::Nothing);
        assert!(states > 1000, "{nr_lrs}: there are only {states} states");
        println!("{nr_lrs} list registers: {states} states");
    }
}

#[test]
fn interrupts_are_lost_without_a_step_of_the_vector() {
    breaks(UNKNOWN, Broken::Vector("GICD_ISACTIVER0"));
    breaks(LOST, Broken::Vector("str\tr2, [r5]"));
    breaks(SWALLOWED, Broken::Vector("bne\tguest_irq_exit"));
    breaks(SWALLOWED, Broken::Vector("it has one still"));
}

#[test]
fn interrupts_are_lost_if_the_host_forgets_one() {
    breaks(UNKNOWN, Broken::IgnoresRelay);
    breaks(UNKNOWN, Broken::ForgetsActive);
    breaks(UNKNOWN, Broken::ForgetsInactive);
    breaks(LOST, Broken::ForgetsLine);
    breaks(TWICE, Broken::KeepsLine);
}
