// SPDX-License-Identifier: GPL-2.0

use super::*;
use inputs::prelude::*;
use std::vec::Vec;

const CORES: [Core; 4] = Core::ALL;

/// The events of the tests: so many of each event, at PL1 and in user mode.
#[derive(Clone)]
struct World {
    kernel: [u64; 256],
    user: [u64; 256],
    counting: [Option<Event>; COUNTERS],
}

impl Default for World {
    fn default() -> Self {
        Self {
            kernel: [0; 256],
            user: [0; 256],
            counting: [None; COUNTERS],
        }
    }
}

impl World {
    fn happen(&mut self, number: u8, kernel: u64, user: u64) {
        let n = usize::from(number);
        self.kernel[n] = self.kernel[n].wrapping_add(kernel);
        self.user[n] = self.user[n].wrapping_add(user);
    }
}

impl Backing for World {
    fn events(&self) -> [u32; 2] {
        [0x0002_0300, 0x4]
    }

    fn start(&mut self, counter: usize, event: Event) {
        assert!(event.user || event.kernel, "counts nothing");
        let old = self.counting[counter].replace(event);
        assert_eq!(old, None, "counter {counter} started twice");
    }

    fn stop(&mut self, counter: usize) {
        let old = self.counting[counter].take();
        assert!(old.is_some(), "counter {counter} stopped twice");
    }

    fn read(&self, counter: usize) -> u64 {
        let event = self.counting[counter].expect("a counter that counts");
        let n = usize::from(event.number);
        let mut count = 0u64;
        if event.kernel {
            count = count.wrapping_add(self.kernel[n]);
        }
        if event.user {
            count = count.wrapping_add(self.user[n]);
        }
        count
    }
}

struct Machine {
    pmu: Pmu,
    world: World,
}

impl Machine {
    fn new(core: Core) -> Self {
        Self {
            pmu: Pmu::new(core),
            world: World::default(),
        }
    }

    fn write(&mut self, reg: PmuReg, value: u32) {
        let outcome = self.pmu.access(reg, Some(value), true, &mut self.world);
        assert_eq!(outcome, PmuOutcome::Written, "{reg:?}");
    }

    fn read(&mut self, reg: PmuReg) -> u32 {
        match self.pmu.access(reg, None, true, &mut self.world) {
            PmuOutcome::Read(value) => value,
            other => panic!("{reg:?}: {other:?}"),
        }
    }

    fn level(&self) -> bool {
        self.pmu.level(&self.world)
    }
}

/// Those that instructions can name.
const TRAPPED: [PmuReg; 15] = [
    PmuReg::Pmcr,
    PmuReg::Pmcntenset,
    PmuReg::Pmcntenclr,
    PmuReg::Pmovsr,
    PmuReg::Pmswinc,
    PmuReg::Pmselr,
    PmuReg::Pmceid0,
    PmuReg::Pmceid1,
    PmuReg::Pmccntr,
    PmuReg::Pmxevtyper,
    PmuReg::Pmxevcntr,
    PmuReg::Pmuserenr,
    PmuReg::Pmintenset,
    PmuReg::Pmintenclr,
    PmuReg::Pmovsset,
];

#[test]
fn cores_are_told_apart() {
    assert_eq!(
        Machine::new(Core::CortexA15).read(PmuReg::Pmcr),
        0x410f_3000
    );
    assert_eq!(Machine::new(Core::CortexA7).read(PmuReg::Pmcr), 0x4107_2000);
    assert_eq!(
        Machine::new(Core::CortexA12).read(PmuReg::Pmcr),
        0x410d_3000
    );
    assert_eq!(
        Machine::new(Core::CortexA17).read(PmuReg::Pmcr),
        0x410e_3000
    );
}

#[test]
fn all_is_zero_after_reset() {
    for core in CORES {
        let mut machine = Machine::new(core);
        let fresh = machine.pmu.clone();
        for reg in TRAPPED {
            let value = machine.read(reg);
            match reg {
                PmuReg::Pmcr => assert_eq!(value & 0x7ff, 0),
                PmuReg::Pmceid0 => assert_eq!(value, 0x0002_0301),
                PmuReg::Pmceid1 => assert_eq!(value, 4),
                _ => assert_eq!(value, 0, "{reg:?}"),
            }
        }
        machine.write(PmuReg::Pmcr, 1);
        machine.write(PmuReg::Pmcntenset, u32::MAX);
        machine.write(PmuReg::Pmuserenr, 1);
        machine.pmu.reset(&mut machine.world);
        assert_eq!(machine.pmu, fresh);
        assert_eq!(machine.world.counting, [None; COUNTERS]);
    }
}

#[test]
fn user_mode_needs_permission() {
    for allowed in [false, true] {
        for reg in TRAPPED {
            for value in [None, Some(1)] {
                let mut machine = Machine::new(Core::CortexA7);
                machine.write(PmuReg::Pmuserenr, allowed.into());
                let outcome = machine.pmu.access(reg, value, false, &mut machine.world);
                let expected = match reg {
                    PmuReg::Pmintenset | PmuReg::Pmintenclr => false,
                    PmuReg::Pmuserenr => value.is_none(),
                    PmuReg::Pmceid0 | PmuReg::Pmceid1 => allowed && value.is_none(),
                    _ => allowed,
                };
                let undefined = outcome == PmuOutcome::Undefined;
                assert_eq!(undefined, !expected, "{reg:?} {value:?} {allowed}");
            }
        }
    }
}

#[test]
fn what_armv7_has_no_name_for_is_undefined() {
    for reg in [PmuReg::Pmccfiltr, PmuReg::Pmevcntr(0), PmuReg::Pmevtyper(5)] {
        for value in [None, Some(0)] {
            let mut machine = Machine::new(Core::CortexA15);
            let outcome = machine.pmu.access(reg, value, true, &mut machine.world);
            assert_eq!(outcome, PmuOutcome::Undefined);
        }
    }
}

#[test]
fn all_cores_count_cycles_and_instructions() {
    for core in CORES {
        let [first, _] = core.description().events;
        for number in [SW_INCR, CPU_CYCLES, 8] {
            assert_eq!(first >> number & 1, 1);
        }
    }
}

#[test]
fn the_identification_of_events_cannot_be_written() {
    for reg in [PmuReg::Pmceid0, PmuReg::Pmceid1] {
        let mut machine = Machine::new(Core::CortexA15);
        let outcome = machine.pmu.access(reg, Some(0), true, &mut machine.world);
        assert_eq!(outcome, PmuOutcome::Undefined);
    }
}

#[test]
fn cycles_are_counted_while_enabled() {
    for core in CORES {
        let mut machine = Machine::new(core);
        machine.write(PmuReg::Pmcntenset, 1 << 31);
        machine.world.happen(CPU_CYCLES, 100, 0);
        assert_eq!(machine.read(PmuReg::Pmccntr), 0);
        machine.write(PmuReg::Pmcr, 1);
        machine.world.happen(CPU_CYCLES, 70, 30);
        assert_eq!(machine.read(PmuReg::Pmccntr), 100);
        machine.write(PmuReg::Pmccntr, 5);
        machine.world.happen(CPU_CYCLES, 1, 0);
        assert_eq!(machine.read(PmuReg::Pmccntr), 6);
        machine.write(PmuReg::Pmcntenclr, 1 << 31);
        machine.world.happen(CPU_CYCLES, 1000, 0);
        assert_eq!(machine.read(PmuReg::Pmccntr), 6);
        // PMCR.C resets it, PMCR.P does not.
        machine.write(PmuReg::Pmcr, 0b011);
        assert_eq!(machine.read(PmuReg::Pmccntr), 6);
        machine.write(PmuReg::Pmcr, 0b101);
        assert_eq!(machine.read(PmuReg::Pmccntr), 0);
        assert_eq!(machine.read(PmuReg::Pmcr) & 0x7ff, 1);
    }
}

#[test]
fn the_divider_keeps_the_rest() {
    let mut machine = Machine::new(Core::CortexA15);
    machine.write(PmuReg::Pmcntenset, 1 << 31);
    machine.write(PmuReg::Pmcr, 0b1001);
    for _ in 0..64 {
        machine.world.happen(CPU_CYCLES, 63, 0);
        // Looking at it on the way loses nothing.
        machine.write(PmuReg::Pmselr, 0);
    }
    assert_eq!(machine.read(PmuReg::Pmccntr), 63);
    // Event 0x11 knows no divider.
    machine.write(PmuReg::Pmxevtyper, 0x11);
    machine.write(PmuReg::Pmcntenset, 1);
    machine.world.happen(CPU_CYCLES, 64, 0);
    assert_eq!(machine.read(PmuReg::Pmxevcntr), 64);
    assert_eq!(machine.read(PmuReg::Pmccntr), 64);
}

#[test]
fn modes_are_filtered() {
    // P, U, NSK, NSU: a guest is in Non-secure state.
    for (bits, kernel, user) in [
        (0b0000, true, true),
        (0b1000, false, true),
        (0b0100, true, false),
        (0b1100, false, false),
        (0b0010, false, true),
        (0b1010, true, true),
        (0b0001, true, false),
        (0b0101, true, true),
    ] {
        let mut machine = Machine::new(Core::CortexA7);
        machine.write(PmuReg::Pmcr, 1);
        machine.write(PmuReg::Pmcntenset, u32::MAX);
        machine.write(PmuReg::Pmselr, 3);
        machine.write(PmuReg::Pmxevtyper, bits << 28 | 8);
        machine.write(PmuReg::Pmselr, 31);
        machine.write(PmuReg::Pmxevtyper, bits << 28 | 0xff);
        assert_eq!(machine.read(PmuReg::Pmxevtyper), bits << 28);
        machine.world.happen(8, 1, 10);
        machine.world.happen(CPU_CYCLES, 100, 1000);
        let expected = u32::from(kernel) + 10 * u32::from(user);
        assert_eq!(machine.read(PmuReg::Pmccntr), 100 * expected);
        machine.write(PmuReg::Pmselr, 3);
        assert_eq!(machine.read(PmuReg::Pmxevcntr), expected);
    }
}

#[test]
fn counters_that_are_not_there_read_as_zero() {
    for (core, first) in CORES.into_iter().zip([6, 4, 6, 6]) {
        let mut machine = Machine::new(core);
        for n in first..31 {
            machine.write(PmuReg::Pmselr, n);
            machine.write(PmuReg::Pmxevtyper, u32::MAX);
            machine.write(PmuReg::Pmxevcntr, u32::MAX);
            assert_eq!(machine.read(PmuReg::Pmxevtyper), 0);
            assert_eq!(machine.read(PmuReg::Pmxevcntr), 0);
        }
        // PMCCFILTR's counter has another name.
        machine.write(PmuReg::Pmselr, 31);
        machine.write(PmuReg::Pmxevcntr, 7);
        assert_eq!(machine.read(PmuReg::Pmxevcntr), 0);
        assert_eq!(machine.read(PmuReg::Pmccntr), 0);
        for set in [PmuReg::Pmcntenset, PmuReg::Pmintenset, PmuReg::Pmovsset] {
            machine.write(set, u32::MAX);
            assert_eq!(machine.read(set), 1 << 31 | ((1 << first) - 1));
        }
    }
}

#[test]
fn software_increments() {
    let mut machine = Machine::new(Core::CortexA15);
    // Counter 1 counts another event, 2 is not enabled, 3 not in PL1.
    for (n, event) in [(0, 0), (1, 8), (2, 0), (3, 1 << 31), (4, 0)] {
        machine.write(PmuReg::Pmselr, n);
        machine.write(PmuReg::Pmxevtyper, event);
        machine.write(PmuReg::Pmxevcntr, u32::MAX);
    }
    machine.write(PmuReg::Pmcntenset, 0b11011);
    machine.write(PmuReg::Pmswinc, 0b11111);
    assert_eq!(machine.read(PmuReg::Pmovsr), 0, "PMCR.E is clear");
    machine.write(PmuReg::Pmcr, 1);
    machine.write(PmuReg::Pmswinc, 0b01111);
    assert_eq!(machine.read(PmuReg::Pmovsr), 0b00001);
    let values: Vec<u32> = (0..5)
        .map(|n| {
            machine.write(PmuReg::Pmselr, n);
            machine.read(PmuReg::Pmxevcntr)
        })
        .collect();
    assert_eq!(values, [0, u32::MAX, u32::MAX, u32::MAX, u32::MAX]);
    // From user mode it is another matter.
    machine.write(PmuReg::Pmuserenr, 1);
    machine
        .pmu
        .access(PmuReg::Pmswinc, Some(0b01000), false, &mut machine.world);
    assert_eq!(machine.read(PmuReg::Pmovsr), 0b01001);
    assert_eq!(machine.read(PmuReg::Pmswinc), 0);
    assert_eq!(machine.world.counting[0], None);
}

#[test]
fn an_overflow_interrupts_until_it_is_cleared() {
    let mut machine = Machine::new(Core::CortexA15);
    machine.write(PmuReg::Pmcr, 1);
    machine.write(PmuReg::Pmcntenset, 1 << 31);
    machine.write(PmuReg::Pmccntr, 0xffff_ff00);
    let until = |machine: &Machine| machine.pmu.until_interrupt(CYCLE_COUNTER, &machine.world);
    assert_eq!(until(&machine), None);
    machine.write(PmuReg::Pmintenset, 1 << 31);
    assert_eq!(until(&machine), Some(0x100));
    machine.world.happen(CPU_CYCLES, 0xff, 0);
    assert_eq!(until(&machine), Some(1));
    assert!(!machine.level());
    machine.world.happen(CPU_CYCLES, 1, 0);
    assert!(machine.level());
    assert_eq!(until(&machine), None);
    assert!(machine.pmu.is_active());
    assert_eq!(machine.read(PmuReg::Pmovsr), 1 << 31);
    // PMCR.E and PMINTEN gate it; the flag stays.
    machine.write(PmuReg::Pmcr, 0);
    assert!(!machine.level());
    machine.write(PmuReg::Pmcr, 1);
    machine.write(PmuReg::Pmintenclr, 1 << 31);
    assert!(!machine.level());
    machine.write(PmuReg::Pmintenset, 1 << 31);
    assert!(machine.level());
    machine.write(PmuReg::Pmovsr, 0x7fff_ffff);
    assert!(machine.level());
    machine.write(PmuReg::Pmovsr, 1 << 31);
    assert!(!machine.level());
    assert_eq!(until(&machine), Some(1 << 32));
    // Software can set it.
    machine.write(PmuReg::Pmovsset, 1 << 31);
    assert!(machine.level());
}

#[test]
fn the_state_is_set_without_effects() {
    let mut machine = Machine::new(Core::CortexA15);
    let mut set = |reg, value| machine.pmu.set(reg, value, &mut machine.world);
    set(PmuReg::Pmccntr, 77);
    set(PmuReg::Pmevcntr(2), 99);
    set(PmuReg::Pmevcntr(6), 99);
    set(PmuReg::Pmevtyper(2), 0x8000_0108);
    set(PmuReg::Pmccfiltr, 0x4000_00ff);
    set(PmuReg::Pmovsset, 0b101);
    set(PmuReg::Pmovsset, 0b100);
    set(PmuReg::Pmcntenset, 0b111);
    set(PmuReg::Pmcntenset, 0b110);
    // P and C are no state; identification is the core's.
    set(PmuReg::Pmcr, 0xffff_ffff);
    assert_eq!(machine.read(PmuReg::Pmcr), 0x410f_3039);
    assert_eq!(machine.read(PmuReg::Pmccntr), 77);
    assert_eq!(machine.read(PmuReg::Pmovsr), 0b100);
    assert_eq!(machine.read(PmuReg::Pmcntenclr), 0b110);
    let read = |reg| machine.pmu.read(reg, &machine.world);
    assert_eq!(read(PmuReg::Pmevcntr(2)), 99);
    assert_eq!(read(PmuReg::Pmevcntr(6)), 0);
    assert_eq!(read(PmuReg::Pmevtyper(2)), 0x8000_0008);
    assert_eq!(read(PmuReg::Pmccfiltr), 0x4000_0000);
    let counted = machine.world.counting[2];
    assert_eq!(
        counted,
        Some(Event {
            number: 8,
            user: true,
            kernel: false
        })
    );
}

/// The monitors as the manual tells it: one event after the other would be told apart, had we the
/// time; so many at once, with numbers that are large enough.
struct Manual {
    id: u32,
    n: usize,
    e: bool,
    d: bool,
    other: u32,
    enabled: Vec<bool>,
    interrupts: Vec<bool>,
    flags: Vec<bool>,
    select: usize,
    user: bool,
    /// By 64ths, so that a divided cycle is one of them.
    values: Vec<u128>,
    types: Vec<u32>,
}

const CYCLES: usize = 31;
const ONE: u128 = 64;

impl Manual {
    fn new(core: Core) -> Self {
        Self {
            n: if core == Core::CortexA7 { 4 } else { 6 },
            id: match core {
                Core::CortexA15 => 0x410f_3000,
                Core::CortexA7 => 0x4107_2000,
                Core::CortexA12 => 0x410d_3000,
                Core::CortexA17 => 0x410e_3000,
            },
            e: false,
            d: false,
            other: 0,
            enabled: std::vec![false; 32],
            interrupts: std::vec![false; 32],
            flags: std::vec![false; 32],
            select: 0,
            user: false,
            values: std::vec![0; 32],
            types: std::vec![0; 32],
        }
    }

    fn has(&self, counter: usize) -> bool {
        counter == CYCLES || counter < self.n
    }

    fn counts_in(&self, counter: usize, kernel: bool) -> bool {
        let (bit, ns) = if kernel { (31, 29) } else { (30, 28) };
        self.types[counter] >> bit & 1 == self.types[counter] >> ns & 1
    }

    fn add(&mut self, counter: usize, amount: u128) {
        let sum = self.values[counter] + amount;
        let limit = ONE << 32;
        if sum >= limit {
            self.flags[counter] = true;
        }
        self.values[counter] = sum % limit;
    }

    fn happen(&mut self, number: u8, kernel: u64, user: u64) {
        for counter in (0..32)
            .filter(|&counter| self.has(counter))
            .collect::<Vec<_>>()
        {
            let counted = if counter == CYCLES {
                CPU_CYCLES
            } else {
                self.types[counter] as u8
            };
            if !self.e || !self.enabled[counter] || counted != number || number == SW_INCR {
                continue;
            }
            let mut amount = 0;
            if self.counts_in(counter, true) {
                amount += u128::from(kernel);
            }
            if self.counts_in(counter, false) {
                amount += u128::from(user);
            }
            let weight = if counter == CYCLES && self.d { 1 } else { ONE };
            self.add(counter, amount * weight);
        }
    }

    fn set_bits(bits: &mut [bool], value: u32, has: impl Fn(usize) -> bool, to: bool) {
        for (n, bit) in bits.iter_mut().enumerate() {
            if has(n) && value >> n & 1 != 0 {
                *bit = to;
            }
        }
    }

    fn word(bits: &[bool]) -> u32 {
        (0..32).map(|n| u32::from(bits[n]) << n).sum()
    }

    fn write(&mut self, reg: PmuReg, value: u32, kernel: bool) {
        let n = self.n;
        let has = move |counter| counter == CYCLES || counter < n;
        match reg {
            PmuReg::Pmcr => {
                self.e = value & 1 != 0;
                self.d = value & 8 != 0;
                self.other = value & 0x30;
                for counter in 0..32 {
                    let reset = if counter == CYCLES { 4 } else { 2 };
                    if value & reset != 0 {
                        self.values[counter] = 0;
                    }
                }
            }
            PmuReg::Pmcntenset => Self::set_bits(&mut self.enabled, value, has, true),
            PmuReg::Pmcntenclr => Self::set_bits(&mut self.enabled, value, has, false),
            PmuReg::Pmintenset => Self::set_bits(&mut self.interrupts, value, has, true),
            PmuReg::Pmintenclr => Self::set_bits(&mut self.interrupts, value, has, false),
            PmuReg::Pmovsset => Self::set_bits(&mut self.flags, value, has, true),
            PmuReg::Pmovsr => Self::set_bits(&mut self.flags, value, has, false),
            PmuReg::Pmswinc => {
                for counter in 0..self.n {
                    if value >> counter & 1 != 0
                        && self.e
                        && self.enabled[counter]
                        && self.types[counter] & 0xff == 0
                        && self.counts_in(counter, kernel)
                    {
                        self.add(counter, ONE);
                    }
                }
            }
            PmuReg::Pmselr => self.select = (value & 31) as usize,
            PmuReg::Pmuserenr => self.user = value & 1 != 0,
            PmuReg::Pmccntr => self.values[CYCLES] = u128::from(value) * ONE,
            PmuReg::Pmxevcntr if self.select < self.n => {
                self.values[self.select] = u128::from(value) * ONE;
            }
            PmuReg::Pmxevtyper if self.has(self.select) => {
                let mask = if self.select == CYCLES { 0 } else { 0xff };
                self.types[self.select] = value & (0xf800_0000 | mask);
            }
            _ => (),
        }
    }

    fn read(&self, reg: PmuReg) -> Option<u32> {
        Some(match reg {
            PmuReg::Pmcr => self.id | u32::from(self.e) | u32::from(self.d) << 3 | self.other,
            PmuReg::Pmcntenset | PmuReg::Pmcntenclr => Self::word(&self.enabled),
            PmuReg::Pmintenset | PmuReg::Pmintenclr => Self::word(&self.interrupts),
            PmuReg::Pmovsset | PmuReg::Pmovsr => Self::word(&self.flags),
            PmuReg::Pmselr => self.select as u32,
            PmuReg::Pmuserenr => self.user.into(),
            PmuReg::Pmccntr => (self.values[CYCLES] / ONE) as u32,
            PmuReg::Pmxevcntr if self.select < self.n => (self.values[self.select] / ONE) as u32,
            PmuReg::Pmxevtyper if self.has(self.select) => self.types[self.select],
            PmuReg::Pmxevcntr | PmuReg::Pmxevtyper | PmuReg::Pmswinc => 0,
            _ => return None,
        })
    }

    fn level(&self) -> bool {
        self.e && (0..32).any(|n| self.flags[n] && self.interrupts[n])
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(PmuReg, u32, bool),
    Happen(u8, u64, u64),
    Restart,
}

/// Values that matter: few bits, many bits, close to overflow.
fn value() -> impl Strategy<Value = u32> {
    one_of![
        any::<u32>(),
        0u32..32,
        (0u32..200).prop_map(|n| u32::MAX - n),
        (0u32..32).prop_map(|n| 1 << n),
        // Types and filters of the events that happen.
        (0u32..32, 0usize..4).prop_map(|(bits, n)| bits << 27 | u32::from(EVENTS[n])),
        Just(0x8000_003f),
        Just(0b1001),
        Just(1),
    ]
}

const EVENTS: [u8; 4] = [SW_INCR, CPU_CYCLES, 8, 0xff];

fn amount() -> impl Strategy<Value = u64> {
    one_of![
        0u64..300,
        0u64..1 << 32,
        (0u64..300).prop_map(|n| (1 << 32) - n),
        0u64..1 << 40,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    one_of![
        4 => (prop::sample::select(TRAPPED.to_vec()), value(), any::<bool>())
            .prop_map(|(reg, value, kernel)| Step::Write(reg, value, kernel)),
        4 => (prop::sample::select(EVENTS.to_vec()), amount(), amount())
            .prop_map(|(number, kernel, user)| Step::Happen(number, kernel, user)),
        1 => Just(Step::Restart),
    ]
}

fn core() -> impl Strategy<Value = Core> {
    prop::sample::select(CORES.to_vec())
}

impl Machine {
    /// Takes a step, as the manual does.
    fn step(&mut self, manual: &mut Manual, step: &Step) {
        match *step {
            Step::Write(reg, value, kernel) => {
                let outcome = self.pmu.access(reg, Some(value), kernel, &mut self.world);
                let only_kernel = matches!(
                    reg,
                    PmuReg::Pmintenset | PmuReg::Pmintenclr | PmuReg::Pmuserenr
                );
                let may = (kernel || manual.user && !only_kernel)
                    && !matches!(reg, PmuReg::Pmceid0 | PmuReg::Pmceid1);
                if may {
                    assert_eq!(outcome, PmuOutcome::Written);
                    manual.write(reg, value, kernel);
                } else {
                    assert_eq!(outcome, PmuOutcome::Undefined);
                }
            }
            Step::Happen(number, kernel, user) => {
                self.world.happen(number, kernel, user);
                manual.happen(number, kernel, user);
            }
            Step::Restart => self.pmu.restart(&mut self.world),
        }
    }
}

inputs! {
    fn does_what_the_manual_says(core in core(), steps in prop::collection::vec(step(), 1..60)) {
        let mut machine = Machine::new(core);
        let mut manual = Manual::new(core);
        for step in &steps {
            machine.step(&mut manual, step);
            for reg in TRAPPED {
                if let Some(expected) = manual.read(reg) {
                    let found = machine.pmu.read(reg, &machine.world);
                    prop_assert_eq!(found, expected, "{:?} after {:?}", reg, step);
                }
            }
            prop_assert_eq!(machine.level(), manual.level());
            prop_assert!(machine.pmu.is_active() || !machine.level());
            // No event is counted for nothing.
            for (n, event) in machine.world.counting.iter().enumerate() {
                let counter = if n == CYCLE_COUNTER { CYCLES } else { n };
                if let Some(event) = event {
                    prop_assert!(manual.e && manual.enabled[counter]);
                    prop_assert_eq!(event.kernel, manual.counts_in(counter, true));
                }
            }
        }
    }

    fn the_interrupt_comes_when_it_was_announced(
        core in core(), steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut machine = Machine::new(core);
        let mut manual = Manual::new(core);
        for step in &steps {
            machine.step(&mut manual, step);
            let level = machine.level();
            let announced: Vec<(u8, u64)> = (0..COUNTERS)
                .filter_map(|n| {
                    let event = machine.world.counting[n]?;
                    let until = machine.pmu.until_interrupt(n, &machine.world)?;
                    Some((event.number, until))
                })
                .collect();
            if level {
                continue;
            }
            for number in [CPU_CYCLES, 8, 0xff] {
                let first = announced.iter().filter(|a| a.0 == number).map(|a| a.1).min();
                // One mode, so that it is so many for all that count it.
                for kernel in [true, false] {
                    let counts = (0..COUNTERS).all(|n| machine.world.counting[n]
                        .is_none_or(|event| if kernel { event.kernel } else { event.user }));
                    if !counts {
                        continue;
                    }
                    let happened = |count: u64| {
                        let mut world = machine.world.clone();
                        let (k, u) = if kernel { (count, 0) } else { (0, count) };
                        world.happen(number, k, u);
                        machine.pmu.level(&world)
                    };
                    match first {
                        None => prop_assert!(!happened(1 << 39)),
                        Some(until) => {
                            prop_assert!(until > 0);
                            prop_assert!(!happened(until - 1));
                            prop_assert!(happened(until));
                        }
                    }
                }
            }
        }
    }

    fn the_state_moves_to_another_vcpu(
        core in core(),
        steps in prop::collection::vec(step(), 1..40),
        more in prop::collection::vec(step(), 1..20),
    ) {
        let mut machine = Machine::new(core);
        let mut manual = Manual::new(core);
        for step in &steps {
            machine.step(&mut manual, step);
        }
        let mut other = Machine::new(core);
        other.world = World { counting: Default::default(), ..machine.world.clone() };
        let mut regs = std::vec![
            PmuReg::Pmcr, PmuReg::Pmcntenset, PmuReg::Pmselr, PmuReg::Pmccntr,
            PmuReg::Pmuserenr, PmuReg::Pmintenset, PmuReg::Pmovsset, PmuReg::Pmccfiltr,
        ];
        for n in 0..MAX_EVENT_COUNTERS as u8 {
            regs.extend([PmuReg::Pmevcntr(n), PmuReg::Pmevtyper(n)]);
        }
        for &reg in &regs {
            prop_assert!(reg.is_state());
            let value = machine.pmu.read(reg, &machine.world);
            other.pmu.set(reg, value, &mut other.world);
        }
        // But for the fraction of a divided cycle, which has no register.
        manual.values[CYCLES] -= manual.values[CYCLES] % ONE;
        for step in &more {
            other.step(&mut manual, step);
            for reg in TRAPPED {
                if let Some(expected) = manual.read(reg) {
                    prop_assert_eq!(other.pmu.read(reg, &other.world), expected, "{:?}", reg);
                }
            }
        }
    }
}
