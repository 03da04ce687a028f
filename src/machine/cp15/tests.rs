// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

const CORES: [Core; 2] = [Core::CortexA15, Core::CortexA7];

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
        for pair in core.table().windows(2) {
            assert!(pair[0].key < pair[1].key, "{core:?}: {:?}", pair[1].key);
        }
    }
}

#[test]
fn registers_are_listed_in_their_own_order() {
    for (index, reg) in Cp15Reg::ALL.iter().enumerate() {
        assert_eq!(*reg as usize, index);
    }
}

#[test]
fn cores_are_known_by_part_number_whatever_the_revision() {
    assert_eq!(Core::from_midr(0x412f_c0f1), Some(Core::CortexA15));
    assert_eq!(Core::from_midr(0x410f_c075), Some(Core::CortexA7));
    assert_eq!(Core::from_midr(0x411f_c0d0), None);
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

proptest! {
    #[test]
    fn search_finds_what_a_walk_finds(
        crn in 0u8..16, opc1 in 0u8..8, crm in 0u8..16, opc2 in 0u8..8, is_read: bool, value: u32
    ) {
        for core in CORES {
            let key = Key::new32(crn, opc1, crm, opc2);
            let walked = core.table().iter().find(|entry| entry.key == key).map(|e| e.action);
            prop_assert_eq!(find(core.table(), key), walked);
            let outcome = access32(core, access(crn, opc1, crm, opc2, is_read), value, &mut reset());
            prop_assert_eq!(walked.is_none(), outcome == Cp15Outcome::Undefined
                && !matches!(walked, Some(Action::SetWay | Action::ZeroReadOnly)));
        }
    }

    #[test]
    fn wide_registers_keep_both_halves(opc1 in 0u8..2, value: u64) {
        let mut state = reset();
        let write = Cp64Access { opc1, crm: 2, rt: 0, rt2: 1, is_read: false };
        prop_assert_eq!(access64(Core::CortexA7, write, value, &mut state), Cp15Outcome::Written);
        let read = Cp64Access { is_read: true, ..write };
        prop_assert_eq!(access64(Core::CortexA7, read, 0, &mut state), Cp15Outcome::Read(value));
    }
}
