// SPDX-License-Identifier: GPL-2.0

use super::*;
use inputs::prelude::*;

const CORES: [Core; 4] = Core::ALL;

/// An access from PL1.
fn access32(core: Core, access: Cp32Access, value: u32, state: &mut impl Cp15State) -> Cp15Outcome {
    super::access32(core, access, true, value, state)
}

/// An access of 64 bits from PL1.
fn access64(core: Core, access: Cp64Access, value: u64, state: &mut impl Cp15State) -> Cp15Outcome {
    super::access64(core, access, true, value, state)
}

struct State([u32; Cp15Reg::COUNT]);

impl Cp15State for State {
    fn get(&self, reg: Cp15Reg) -> u32 {
        self.0[reg as usize]
    }

    fn set(&mut self, reg: Cp15Reg, value: u32) {
        self.0[reg as usize] = value;
    }
}

fn reset() -> State {
    let mut state = State([0; Cp15Reg::COUNT]);
    for &reg in Cp15Reg::ALL {
        state.set(reg, reset_value(reg, 5));
    }
    state
}

fn access(crn: u8, opc1: u8, crm: u8, opc2: u8, is_read: bool) -> Cp32Access {
    Cp32Access {
        crn,
        opc1,
        crm,
        opc2,
        rt: 0,
        is_read,
    }
}

#[test]
fn tables_are_sorted_without_duplicates() {
    for core in CORES {
        for pair in table_of(core).rows.windows(2) {
            assert!(pair[0].key < pair[1].key, "{core:?}: {:?}", pair[1].key);
        }
    }
}

#[test]
fn every_word_of_a_vcpu_is_saved_and_restored() {
    use std::collections::BTreeSet;
    for core in CORES {
        let words: BTreeSet<Cp15Reg> = saved_registers(core)
            .flat_map(|(_, saved)| match saved {
                Saved::Word(word) => std::vec![word],
                Saved::Pair(low, high) => std::vec![low, high],
                Saved::Invariant(_) | Saved::Pmu(_) => std::vec![],
            })
            .collect();
        // MIDR is the hardware's.
        let all = Cp15Reg::ALL.iter().filter(|reg| **reg != Cp15Reg::Midr);
        assert_eq!(words, all.copied().collect());
    }
}

#[test]
fn what_is_saved_is_found_by_its_encoding() {
    for core in CORES {
        for (encoding, saved) in saved_registers(core) {
            assert_eq!(saved_register(core, encoding), Some(saved));
        }
        let counter = Encoding::Double { opc1: 0, crm: 14 };
        assert_eq!(saved_register(core, counter), None);
    }
}

#[test]
fn vcpu_five_is_the_second_of_the_second_cluster() {
    assert_eq!(mpidr(5), 0x8000_0101);
}

#[test]
fn actlr_reads_as_smp_and_keeps_that() {
    for core in CORES {
        let mut state = reset();
        assert_eq!(
            access32(core, access(1, 0, 0, 1, false), 0, &mut state),
            Cp15Outcome::Written
        );
        assert_eq!(
            access32(core, access(1, 0, 0, 1, true), 0, &mut state),
            Cp15Outcome::Read(0x40)
        );
    }
}

#[test]
fn caches_are_turned_only_by_both_bits() {
    let mut state = reset();
    let write = access(1, 0, 0, 0, false);
    let mut set = |value| access32(Core::CortexA15, write, value, &mut state);
    assert_eq!(set(0x00c5_0079), Cp15Outcome::Written);
    assert_eq!(set(0x00c5_007d), Cp15Outcome::CachesTurned { on: true });
    assert_eq!(set(0x00c5_187d), Cp15Outcome::Written);
    assert_eq!(set(0x00c5_1878), Cp15Outcome::CachesTurned { on: false });
}

#[test]
fn set_way_is_reported_for_writes_only() {
    for crm in [6, 10, 14] {
        for core in CORES {
            let mut state = reset();
            let outcome = access32(core, access(7, 0, crm, 2, false), 0, &mut state);
            assert_eq!(outcome, Cp15Outcome::SetWay);
            let outcome = access32(core, access(7, 0, crm, 2, true), 0, &mut state);
            assert_eq!(outcome, Cp15Outcome::Undefined);
        }
    }
}

/// The registers whose writes HCR.TVM traps (Arm ARM B1.14.13).
const TVM_GROUP: [(u8, u8, u8, u8, Cp15Reg); 17] = [
    (1, 0, 0, 0, Cp15Reg::Sctlr),
    (2, 0, 0, 0, Cp15Reg::Ttbr0Lo),
    (2, 0, 0, 1, Cp15Reg::Ttbr1Lo),
    (2, 0, 0, 2, Cp15Reg::Ttbcr),
    (3, 0, 0, 0, Cp15Reg::Dacr),
    (5, 0, 0, 0, Cp15Reg::Dfsr),
    (5, 0, 0, 1, Cp15Reg::Ifsr),
    (5, 0, 1, 0, Cp15Reg::Adfsr),
    (5, 0, 1, 1, Cp15Reg::Aifsr),
    (6, 0, 0, 0, Cp15Reg::Dfar),
    (6, 0, 0, 2, Cp15Reg::Ifar),
    (10, 0, 2, 0, Cp15Reg::Prrr),
    (10, 0, 2, 1, Cp15Reg::Nmrr),
    (10, 0, 3, 0, Cp15Reg::Amair0),
    (10, 0, 3, 1, Cp15Reg::Amair1),
    (13, 0, 0, 1, Cp15Reg::Contextidr),
    // ACTLR is no member, but must not be written through.
    (1, 0, 0, 1, Cp15Reg::Actlr),
];

#[test]
fn stage_1_control_is_written_through() {
    for core in CORES {
        for (crn, opc1, crm, opc2, reg) in TVM_GROUP {
            let mut state = reset();
            let before = state.0;
            let value = 0x1234_5678 & !5;
            let outcome = access32(core, access(crn, opc1, crm, opc2, false), value, &mut state);
            assert_eq!(outcome, Cp15Outcome::Written, "{reg:?}");
            for &other in Cp15Reg::ALL {
                let expected = if other == reg && reg != Cp15Reg::Actlr {
                    value
                } else {
                    before[other as usize]
                };
                assert_eq!(state.get(other), expected, "{reg:?} changed {other:?}");
            }
            let outcome = access32(core, access(crn, opc1, crm, opc2, true), 0, &mut state);
            assert_eq!(outcome, Cp15Outcome::Read(state.get(reg).into()));
        }
    }
}

#[test]
fn a_half_write_leaves_the_other_half() {
    let mut state = reset();
    state.set(Cp15Reg::Ttbr0Hi, 7);
    access32(
        Core::CortexA15,
        access(2, 0, 0, 0, false),
        0x4000,
        &mut state,
    );
    let read = Cp64Access {
        opc1: 0,
        crm: 2,
        rt: 0,
        rt2: 1,
        is_read: true,
    };
    assert_eq!(
        access64(Core::CortexA15, read, 0, &mut state),
        Cp15Outcome::Read(7 << 32 | 0x4000)
    );
}

#[test]
fn the_performance_monitors_go_to_their_model() {
    use crate::pmu::PmuReg;
    for core in CORES {
        for is_read in [false, true] {
            let mut state = reset();
            let before = state.0;
            let mut regs = std::collections::BTreeSet::new();
            for (crm, opc2s) in [(12, 0..8), (13, 0..3), (14, 0..4)] {
                for opc2 in opc2s {
                    match access32(core, access(9, 0, crm, opc2, is_read), 1, &mut state) {
                        Cp15Outcome::Pmu(reg) => assert!(regs.insert(reg), "{reg:?} twice"),
                        other => panic!("c9 c{crm} {opc2}: {other:?}"),
                    }
                }
            }
            assert_eq!(state.0, before);
            assert_eq!(regs.len(), 15);
            let select = access32(core, access(9, 0, 12, 5, is_read), 1, &mut state);
            assert_eq!(select, Cp15Outcome::Pmu(PmuReg::Pmselr));
        }
    }
}

#[test]
fn the_performance_monitors_are_saved_once_each() {
    use crate::pmu::PmuReg;
    for (core, counters) in CORES.into_iter().zip([6, 4, 6, 6]) {
        let saved: std::vec::Vec<PmuReg> = saved_registers(core)
            .filter_map(|(_, saved)| match saved {
                Saved::Pmu(reg) => Some(reg),
                _ => None,
            })
            .collect();
        let set: std::collections::BTreeSet<PmuReg> = saved.iter().copied().collect();
        assert_eq!(saved.len(), set.len());
        assert!(saved.iter().all(|reg| reg.is_state()));
        // PMCR, PMCNTENSET, PMSELR, PMCCNTR, PMUSERENR, PMINTENSET, PMOVSSET, PMCCFILTR.
        assert_eq!(set.len(), 8 + 2 * counters);
        for n in 0..counters as u8 {
            assert!(set.contains(&PmuReg::Pmevcntr(n)) && set.contains(&PmuReg::Pmevtyper(n)));
        }
        // Their names are no instructions.
        let named = access32(core, access(14, 0, 8, 0, true), 0, &mut reset());
        assert_eq!(named, Cp15Outcome::Undefined);
    }
}

#[test]
fn number_of_cpus() {
    for hardware in [0, 3 << 24, 0x1234_5678, u32::MAX] {
        for (cpus, field) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 3),
            (5, 3),
            (u32::MAX, 3),
        ] {
            let expected = hardware & 0xfcff_ffff | field << 24;
            assert_eq!(l2ctlr(hardware, cpus), expected);
        }
    }
}

#[test]
fn registers_against_errata_can_be_written() {
    // ACTLR2; the diagnostic and the internal feature register, which Linux writes as it starts.
    for (core, opc1, opc2) in [
        (Core::CortexA15, 1, 4),
        (Core::CortexA12, 0, 1),
        (Core::CortexA12, 0, 2),
        (Core::CortexA17, 0, 1),
    ] {
        let access = |is_read| {
            let register = access(15, opc1, 0, opc2, is_read);
            access32(core, register, u32::MAX, &mut reset())
        };
        assert_eq!(access(false), Cp15Outcome::Written);
        assert_eq!(access(true), Cp15Outcome::Read(0));
    }
    let actlr2 = access(15, 1, 0, 4, true);
    assert_eq!(
        access32(Core::CortexA7, actlr2, 0, &mut reset()),
        Cp15Outcome::Undefined
    );
}

#[test]
fn what_one_core_has_the_other_need_not() {
    let l2actlr = access(15, 1, 0, 0, true);
    assert_eq!(
        access32(Core::CortexA15, l2actlr, 0, &mut reset()),
        Cp15Outcome::Read(0)
    );
    assert_eq!(
        access32(Core::CortexA7, l2actlr, 0, &mut reset()),
        Cp15Outcome::Undefined
    );
    // CPUMERRSR and L2MERRSR.
    for opc1 in 0..2 {
        for (is_read, outcome) in [(true, Cp15Outcome::Read(0)), (false, Cp15Outcome::Written)] {
            let errors = Cp64Access {
                opc1,
                crm: 15,
                rt: 0,
                rt2: 1,
                is_read,
            };
            let access = |core| access64(core, errors, u64::MAX, &mut reset());
            assert_eq!(access(Core::CortexA15), outcome);
            for core in [Core::CortexA7, Core::CortexA12, Core::CortexA17] {
                assert_eq!(access(core), Cp15Outcome::Undefined);
            }
        }
    }
    for core in CORES {
        // CBAR, and one that no core has.
        let mut state = reset();
        let cbar = access(15, 4, 0, 0, true);
        assert_eq!(access32(core, cbar, 0, &mut state), Cp15Outcome::Read(0));
        let write = access(15, 4, 0, 0, false);
        assert_eq!(access32(core, write, 0, &mut state), Cp15Outcome::Undefined);
        assert_eq!(
            access32(core, access(11, 0, 0, 0, true), 0, &mut state),
            Cp15Outcome::Undefined
        );
        state.set(Cp15Reg::L2ctlr, 3 << 24);
        let l2ctlr = access(9, 1, 0, 2, true);
        assert_eq!(
            access32(core, l2ctlr, 0, &mut state),
            Cp15Outcome::Read(3 << 24)
        );
    }
}

#[test]
fn the_physical_timer_goes_to_its_model() {
    use crate::timer::TimerReg;
    for core in CORES {
        for is_read in [false, true] {
            let timer = |opc2| access32(core, access(14, 0, 2, opc2, is_read), 1, &mut reset());
            assert_eq!(timer(0), Cp15Outcome::PhysTimer(TimerReg::Tval));
            assert_eq!(timer(1), Cp15Outcome::PhysTimer(TimerReg::Ctl));
            let cval = Cp64Access {
                opc1: 2,
                crm: 14,
                rt: 0,
                rt2: 1,
                is_read,
            };
            assert_eq!(
                access64(core, cval, 1, &mut reset()),
                Cp15Outcome::PhysTimer(TimerReg::Cval)
            );
        }
    }
}

#[test]
fn user_mode_has_the_monitors_and_at_most_the_physical_timer() {
    for core in CORES {
        for (entry, is_read) in table_of(core)
            .rows
            .iter()
            .flat_map(|e| [(e, true), (e, false)])
        {
            for cntkctl in [0, !CNTKCTL_PL0PTEN, CNTKCTL_PL0PTEN] {
                let mut state = reset();
                state.set(Cp15Reg::Cntkctl, cntkctl);
                let before = state.0;
                let outcome = match entry.key.encoding() {
                    Encoding::Single {
                        crn,
                        opc1,
                        crm,
                        opc2,
                    } => {
                        let access = access(crn, opc1, crm, opc2, is_read);
                        super::access32(core, access, false, 1, &mut state)
                    }
                    Encoding::Double { opc1, crm } => {
                        let (rt, rt2) = (0, 1);
                        let access = Cp64Access {
                            opc1,
                            crm,
                            rt,
                            rt2,
                            is_read,
                        };
                        super::access64(core, access, false, 1, &mut state)
                    }
                };
                let expected = match entry.action {
                    Action::Pmu(reg) => Cp15Outcome::Pmu(reg),
                    Action::PhysTimer(reg) if cntkctl == CNTKCTL_PL0PTEN => {
                        Cp15Outcome::PhysTimer(reg)
                    }
                    _ => Cp15Outcome::Undefined,
                };
                assert_eq!(outcome, expected, "{:?}", entry.key);
                assert_eq!(state.0, before);
            }
        }
    }
}

#[test]
fn reset_values() {
    for id in 0..8 {
        assert_eq!(reset_value(Cp15Reg::Mpidr, id), mpidr(id));
        assert_eq!(reset_value(Cp15Reg::Sctlr, id), 0x00c5_0078);
        assert_eq!(reset_value(Cp15Reg::Actlr, id), 0x40);
        // MMU and caches are off, low vectors at zero, no coprocessor, short descriptors.
        for reg in [
            Cp15Reg::Vbar,
            Cp15Reg::Cpacr,
            Cp15Reg::Ttbcr,
            Cp15Reg::Cntkctl,
        ] {
            assert_eq!(reset_value(reg, id), 0);
        }
    }
    let affinities: std::collections::BTreeSet<u32> = (0..8).map(mpidr).collect();
    assert_eq!(affinities.len(), 8);
}

inputs! {
    fn search_finds_what_a_walk_finds(
        crn in 0u8..16, opc1 in 0u8..8, crm in 0u8..16, opc2 in 0u8..8, is_read: bool, value: u32
    ) {
        for core in CORES {
            let key = Key::new32(crn, opc1, crm, opc2);
            let walked = table_of(core).rows.iter().find(|entry| entry.key == key).map(|e| e.action);
            prop_assert_eq!(find(table_of(core), key), walked);
            let outcome = access32(core, access(crn, opc1, crm, opc2, is_read), value, &mut reset());
            prop_assert_eq!(walked.is_none(), outcome == Cp15Outcome::Undefined
                && !matches!(walked, Some(
                    Action::SetWay
                        | Action::ZeroReadOnly
                        | Action::Id(_)
                        | Action::Hardware
                        | Action::Absent
                        | Action::PmuState(_)
                )));
        }
    }

    fn wide_registers_keep_both_halves(opc1 in 0u8..2, value: u64) {
        let mut state = reset();
        let write = Cp64Access { opc1, crm: 2, rt: 0, rt2: 1, is_read: false };
        prop_assert_eq!(access64(Core::CortexA7, write, value, &mut state), Cp15Outcome::Written);
        let read = Cp64Access { is_read: true, ..write };
        prop_assert_eq!(access64(Core::CortexA7, read, 0, &mut state), Cp15Outcome::Read(value));
    }

    /// Loads change nothing, user mode changes nothing, and a store changes one register, which
    /// then is what was stored, or what it was. The words that are saved are all there is: another
    /// vCPU with them gives the same answers from then on.
    fn any_accesses(
        core in prop::sample::select(CORES.to_vec()),
        accesses in prop::collection::vec((any::<u16>(), any::<u32>(), any::<u32>()), 0..64),
        moved_at in 0..64usize,
    ) {
        let mut state = reset();
        let mut moved = None;
        for (n, (encoding, low, high)) in accesses.into_iter().enumerate() {
            if n == moved_at {
                let mut other = reset();
                for (_, saved) in saved_registers(core) {
                    match saved {
                        Saved::Word(reg) => other.set(reg, state.get(reg)),
                        Saved::Pair(low, high) => {
                            other.set(low, state.get(low));
                            other.set(high, state.get(high));
                        }
                        Saved::Invariant(_) | Saved::Pmu(_) => (),
                    }
                }
                moved = Some(other);
            }
            let is_read = encoding & 1 != 0;
            let privileged = encoding & 2 == 0;
            let value = u64::from(high) << 32 | u64::from(low);
            // Encodings of the table more often than all others.
            let rows = table_of(core).rows;
            let mut key = rows[(high & 0xffff) as usize % rows.len()].key.encoding();
            if high >> 30 == 0 {
                key = Encoding::Single {
                    crn: (encoding >> 5 & 15) as u8,
                    opc1: (encoding >> 9 & 7) as u8,
                    crm: (encoding >> 12) as u8,
                    opc2: (high >> 16 & 7) as u8,
                };
            }
            let make = |state: &mut State, is_read, value: u64| match key {
                Encoding::Single { crn, opc1, crm, opc2 } => {
                    let access = access(crn, opc1, crm, opc2, is_read);
                    super::access32(core, access, privileged, value as u32, state)
                }
                Encoding::Double { opc1, crm } => {
                    let access = Cp64Access { opc1, crm, rt: 0, rt2: 1, is_read };
                    super::access64(core, access, privileged, value, state)
                }
            };
            let before = state.0;
            let old = make(&mut state, true, 0);
            prop_assert_eq!(state.0, before, "a load changed something");
            let outcome = make(&mut state, is_read, value);
            if let Some(moved) = &mut moved {
                prop_assert_eq!(make(moved, is_read, value), outcome);
                prop_assert_eq!(state.0, moved.0);
            }
            let changed = before.iter().zip(&state.0).filter(|(a, b)| a != b).count();
            let stored = matches!(outcome, Cp15Outcome::Written | Cp15Outcome::CachesTurned { .. });
            let most = if stored { 2 } else { 0 };
            prop_assert!(changed <= most, "{} registers changed", changed);
            prop_assert!(privileged || changed == 0, "user mode changed something");
            prop_assert!(!is_read || changed == 0);
            if stored {
                let value = match key {
                    Encoding::Single { .. } => value & 0xffff_ffff,
                    Encoding::Double { .. } => value,
                };
                let now = make(&mut state, true, 0);
                prop_assert!(now == Cp15Outcome::Read(value) || now == old, "{:?}", now);
            }
        }
    }
}
