// SPDX-License-Identifier: GPL-2.0

//! The cores that guests can have: all that sets one apart from the others, in one place.
//!
//! A vCPU's core is one of the host's, and it runs only on CPUs of that core. A new core is a
//! variant of [`Core`], a description here, and a table of registers in [`crate::cp15`].

use crate::cp15;

/// A core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Core {
    /// Cortex-A15 (DDI 0438).
    CortexA15,
    /// Cortex-A7 (DDI 0464).
    CortexA7,
    /// Cortex-A12, which became the first revisions of Cortex-A17.
    CortexA12,
    /// Cortex-A17 (DDI 0535).
    CortexA17,
}

/// How many CPUs a cluster has at most, on all of these cores.
pub const CLUSTER: usize = 4;

/// The value of `struct kvm_vcpu_init` that asks for a core (`include/uapi/asm/kvm.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// KVM_ARM_TARGET_CORTEX_A15.
    CortexA15,
    /// KVM_ARM_TARGET_CORTEX_A7.
    CortexA7,
    /// KVM_ARM_TARGET_GENERIC_V7: any other.
    GenericV7,
}

/// Whether, and how, a branch predictor that one context has trained is emptied for another
/// (Spectre variant 2, CVE-2017-5715).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictorFlush {
    /// The core is not affected.
    NotNeeded,
    /// By ICIALLU, if the secure firmware has set ACTLR.IBE (bit 0). A guest can read that bit as
    /// on the bare machine.
    Iciallu,
    /// By BPIALL.
    Bpiall,
}

impl PredictorFlush {
    /// Whether the operation empties the predictor of a CPU, whose ACTLR is `actlr`.
    pub const fn works(self, actlr: u32) -> bool {
        const IBE: u32 = 1 << 0;
        !matches!(self, Self::Iciallu) || actlr & IBE != 0
    }
}

/// The facts that set a core apart.
#[derive(Debug)]
pub struct Description {
    /// Its usual name.
    pub name: &'static str,
    /// Implementer and primary part number of MIDR (B4.1.105). Revisions differ in the other
    /// fields.
    midr: u32,
    /// How user space asks for it.
    pub target: Target,
    /// CP15 as a guest has it.
    pub(crate) table: cp15::Table,
    /// PMCR's constant fields: IMP, IDCODE and N, the number of event counters.
    pub(crate) pmcr: u32,
    /// The common events that its performance monitors count, as PMCEID0 and PMCEID1 have them.
    /// They are not read from the hardware, as an emulated core may have the monitors without
    /// these two registers.
    pub events: [u32; 2],
    /// How its branch predictor is emptied.
    pub predictor: PredictorFlush,
    /// A history of taken branches steers its predictor (Spectre-BHB, CVE-2022-23960). Eight other
    /// branches push out those that a guest has left there.
    pub(crate) has_branch_history: bool,
}

/// The fields of MIDR that do not depend on the revision.
const MIDR_PART: u32 = 0xff00_fff0;

/// The descriptions, by the numbers of the cores. Not a static item: it would have a symbol, which
/// `tools/check-hyp-calls` cannot tell from one of the kernel.
const DESCRIPTIONS: &[Description; Core::ALL.len()] = &[
    Description {
        name: "Cortex-A15",
        midr: 0x4100_c0f0,
        target: Target::CortexA15,
        table: cp15::a15::TABLE,
        pmcr: 0x410f_3000,
        // DDI 0438, table 11-7.
        events: [0x3fff_0f3f, 0],
        predictor: PredictorFlush::Iciallu,
        has_branch_history: true,
    },
    Description {
        name: "Cortex-A7",
        midr: 0x4100_c070,
        target: Target::CortexA7,
        table: cp15::a7::TABLE,
        pmcr: 0x4107_2000,
        // DDI 0464, table 11-5.
        events: [0x23ff_ffff, 0],
        predictor: PredictorFlush::NotNeeded,
        has_branch_history: false,
    },
    Description {
        name: "Cortex-A12",
        midr: 0x4100_c0d0,
        pmcr: 0x410d_3000,
        ..LIKE_CORTEX_A17
    },
    Description {
        name: "Cortex-A17",
        midr: 0x4100_c0e0,
        pmcr: 0x410e_3000,
        ..LIKE_CORTEX_A17
    },
];

/// The facts that Cortex-A12 and Cortex-A17 share.
const LIKE_CORTEX_A17: Description = Description {
    name: "",
    midr: 0,
    target: Target::GenericV7,
    table: cp15::a17::TABLE,
    pmcr: 0,
    // The events of Cortex-A15.
    events: [0x3fff_0f3f, 0],
    predictor: PredictorFlush::Bpiall,
    has_branch_history: false,
};

impl Core {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::CortexA15,
        Self::CortexA7,
        Self::CortexA12,
        Self::CortexA17,
    ];

    /// The facts that set it apart.
    #[inline(always)]
    pub const fn description(self) -> &'static Description {
        &DESCRIPTIONS[self as usize]
    }

    /// The core with an MIDR, whatever its revision.
    pub fn from_midr(midr: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|core| core.description().midr == midr & MIDR_PART)
    }

    /// The core for a vCPU whose monitor asks for `target`, on a host that has the cores of
    /// `present`. A target may stand for several. The core of the CPU that asks, `here`, comes
    /// first: it is the one that the monitor got the target from.
    pub fn for_target(target: Target, here: Option<Self>, present: CoreSet) -> Option<Self> {
        here.into_iter()
            .chain(Self::ALL)
            .find(|&core| present.has(core) && core.description().target == target)
    }

    /// The core with a number that `self as u32` gave. There are no others, so none is refused: HYP
    /// mode, which asks, need not look at a core that it does not use.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::CortexA15,
            1 => Self::CortexA7,
            2 => Self::CortexA12,
            _ => Self::CortexA17,
        }
    }
}

/// A set of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSet(u8);

impl CoreSet {
    /// The set with one core more.
    #[must_use]
    pub const fn with(self, core: Core) -> Self {
        Self(self.0 | 1 << core as u32)
    }

    /// Whether it has a core.
    pub const fn has(self, core: Core) -> bool {
        self.0 & 1 << core as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iciallu_empties_the_predictor_if_ibe_is_set() {
        assert!(PredictorFlush::Iciallu.works(1));
        assert!(!PredictorFlush::Iciallu.works(!1));
        assert!(PredictorFlush::Bpiall.works(0));
        assert!(PredictorFlush::NotNeeded.works(0));
    }

    #[test]
    fn cores_are_known_by_part_number_whatever_the_revision() {
        assert_eq!(Core::from_midr(0x412f_c0f1), Some(Core::CortexA15));
        assert_eq!(Core::from_midr(0x410f_c075), Some(Core::CortexA7));
        assert_eq!(Core::from_midr(0x410f_c0d0), Some(Core::CortexA12));
        assert_eq!(Core::from_midr(0x411f_c0e2), Some(Core::CortexA17));
        // Cortex-A5 and A9, Brahma-B15, Krait, and Cortex-A15's part number of another implementer.
        for midr in [
            0x410f_c051,
            0x411f_c092,
            0x420f_00f0,
            0x510f_06f0,
            0x510f_c0f0,
        ] {
            assert_eq!(Core::from_midr(midr), None);
        }
    }

    #[test]
    fn numbers_and_descriptions_are_of_one_core_each() {
        for (number, core) in (0..).zip(Core::ALL) {
            assert_eq!(core as u32, number);
            assert_eq!(Core::from_number(number), core);
            let description = core.description();
            assert_eq!(description.midr & !MIDR_PART, 0);
            assert_eq!(Core::from_midr(description.midr), Some(core));
            // PMCR's IDCODE is the low byte of the part number (DDI 0438 11.4.1).
            assert_eq!(description.pmcr >> 16 & 0xff, description.midr >> 4 & 0xff);
        }
    }

    #[test]
    fn targets_are_those_of_linux_5_6_where_it_had_one() {
        let targets = Core::ALL.map(|core| core.description().target);
        let generic = Target::GenericV7;
        assert_eq!(
            targets,
            [Target::CortexA15, Target::CortexA7, generic, generic]
        );
    }

    fn set(cores: &[Core]) -> CoreSet {
        cores
            .iter()
            .fold(CoreSet::default(), |set, &core| set.with(core))
    }

    #[test]
    fn sets_of_cores() {
        for core in Core::ALL {
            assert!(!CoreSet::default().has(core));
            assert!(Core::ALL
                .into_iter()
                .all(|other| set(&[core]).has(other) == (other == core)));
            assert!(set(&Core::ALL).has(core));
        }
    }

    /// On hosts with one kind of cores, which nearly all are, it is that kind or none.
    #[test]
    fn a_target_is_the_hosts_core() {
        for core in Core::ALL {
            for target in [Target::CortexA15, Target::CortexA7, Target::GenericV7] {
                let expected = Some(core).filter(|core| core.description().target == target);
                let found = Core::for_target(target, Some(core), set(&[core]));
                assert_eq!(found, expected);
            }
        }
    }

    /// On big.LITTLE, the CPU on which the monitor happens to ask does not matter if the target
    /// names one core.
    #[test]
    fn a_target_is_one_of_the_hosts_cores() {
        let present = set(&[Core::CortexA15, Core::CortexA7]);
        for here in [None, Some(Core::CortexA15), Some(Core::CortexA7)] {
            let find = |target| Core::for_target(target, here, present);
            assert_eq!(find(Target::CortexA15), Some(Core::CortexA15));
            assert_eq!(find(Target::CortexA7), Some(Core::CortexA7));
            assert_eq!(find(Target::GenericV7), None);
        }
    }

    #[test]
    fn a_target_of_two_cores_is_that_of_the_cpu_that_asks() {
        let present = set(&[Core::CortexA12, Core::CortexA17, Core::CortexA7]);
        for (here, expected) in [
            (Core::CortexA12, Core::CortexA12),
            (Core::CortexA17, Core::CortexA17),
            (Core::CortexA7, Core::CortexA12),
        ] {
            let found = Core::for_target(Target::GenericV7, Some(here), present);
            assert_eq!(found, Some(expected));
        }
        // A CPU that is going offline has a core that is no longer there.
        let present = set(&[Core::CortexA12]);
        let found = Core::for_target(Target::GenericV7, Some(Core::CortexA17), present);
        assert_eq!(found, Some(Core::CortexA12));
    }
}
