// SPDX-License-Identifier: GPL-2.0

//! Power State Coordination Interface (DEN 0022), versions 0.2, 1.0 and 1.1, and
//! KVM's own interface before the standard, called 0.1.
//!
//! This is the policy: it works out the result of a call. The caller starts and
//! stops vCPUs and waits. It also serialises calls that change the power state of
//! the machine's vCPUs.

use armv7::regs::MPIDR_AFFINITY_MASK;

use crate::smccc::{
    Call,
    Firmware,
    Services, //
};

/// The interface's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// KVM's own, of Linux 3.9, with other function identifiers: for a vCPU that was not given
    /// the feature `KVM_ARM_VCPU_PSCI_0_2`.
    V0_1,
    /// 0.2.
    V0_2,
    /// 1.0: PSCI_FEATURES.
    V1_0,
    /// 1.1: SYSTEM_RESET2.
    V1_1,
}

impl Version {
    /// The newest.
    pub const LATEST: Self = Self::V1_1;

    /// As PSCI_VERSION returns it: the major version from bit 16 on.
    pub const fn bits(self) -> u32 {
        match self {
            Self::V0_1 => 0x0000_0001,
            Self::V0_2 => 0x0000_0002,
            Self::V1_0 => 0x0001_0000,
            Self::V1_1 => 0x0001_0001,
        }
    }

    /// The version that a number stands for.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits {
            0x0000_0001 => Self::V0_1,
            0x0000_0002 => Self::V0_2,
            0x0001_0000 => Self::V1_0,
            0x0001_0001 => Self::V1_1,
            _ => return None,
        })
    }
}

/// The power state of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs, is suspended, or was told to start. As in KVM on other architectures, no caller
    /// finds a vCPU that is still on its way.
    On,
    /// It was not started yet, or turned itself off.
    Off,
}

/// The vCPUs of the machine.
pub trait Topology {
    /// How many there are; they are numbered from zero.
    fn cpus(&self) -> usize;

    /// The MPIDR of a vCPU; `u32::MAX` for a number that no vCPU has.
    fn mpidr(&self, cpu: usize) -> u32;

    /// The power state of a vCPU.
    fn power(&self, cpu: usize) -> Power;

    /// The vCPU with these affinity fields.
    fn find(&self, affinity: u32) -> Option<usize> {
        (0..self.cpus()).find(|&cpu| in_cluster(self.mpidr(cpu), MPIDR_AFFINITY_MASK, affinity))
    }
}

/// Whether a vCPU has the affinity fields of `target` under `mask`. Bits of `target` outside of all
/// affinity fields should be zero (DEN 0022 5.6.2), and Linux 5.6 did not look at them.
fn in_cluster(mpidr: u32, mask: u32, target: u32) -> bool {
    mpidr != u32::MAX && mpidr & mask == target & mask
}

/// The effect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciOutcome {
    /// R0 is this.
    Return(u32),
    /// The caller waits for an interrupt as by WFI. Then R0 is [`SUCCESS`].
    Suspend,
    /// The caller is turned off and does not return.
    CpuOff,
    /// Another vCPU is started: it is reset, and begins at `entry`. R0 is [`SUCCESS`] for the
    /// caller. The vCPU's data accesses have the caller's endianness.
    CpuOn {
        /// Its number.
        cpu: usize,
        /// Its PC, without bit 0.
        entry: u32,
        /// Whether it begins in Thumb state: bit 0 of the entry point.
        thumb: bool,
        /// Its R0.
        context_id: u32,
    },
    /// The machine is turned off.
    SystemOff,
    /// The machine is reset.
    SystemReset,
    /// The machine is reset in another way.
    SystemReset2 {
        /// Zero for the architecture's warm reset; with bit 31 set, the vendor's meaning.
        kind: u32,
        /// The reason that the guest gives.
        cookie: u32,
    },
    /// The machine is suspended to memory. The monitor does that, and finds the arguments in the
    /// registers: R1 is the address at which the caller resumes, R2 its R0 then.
    SystemSuspend,
}

/// The call succeeded: the first of the values that calls return in R0.
pub const SUCCESS: u32 = 0;
/// The function does not exist, or not for these arguments.
pub const NOT_SUPPORTED: u32 = -1i32 as u32;
/// An argument is wrong.
pub const INVALID_PARAMETERS: u32 = -2i32 as u32;
/// The call is not allowed.
pub const DENIED: u32 = -3i32 as u32;
/// The vCPU is on already.
pub const ALREADY_ON: u32 = -4i32 as u32;
/// Something went wrong.
pub const INTERNAL_FAILURE: u32 = -6i32 as u32;

/// Function identifiers of the 32-bit convention.
pub mod function {
    /// PSCI_VERSION.
    pub const VERSION: u32 = 0x8400_0000;
    /// CPU_SUSPEND.
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    /// CPU_OFF.
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// CPU_ON.
    pub const CPU_ON: u32 = 0x8400_0003;
    /// AFFINITY_INFO.
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    /// MIGRATE, of a trusted operating system. There is none.
    pub const MIGRATE: u32 = 0x8400_0005;
    /// MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// SYSTEM_OFF.
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// SYSTEM_RESET.
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI_FEATURES, since 1.0.
    pub const FEATURES: u32 = 0x8400_000a;
    /// SYSTEM_SUSPEND, since 1.0.
    pub const SYSTEM_SUSPEND: u32 = 0x8400_000e;
    /// SYSTEM_RESET2, since 1.1.
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;

    /// KVM's own identifiers, before the standard: CPU_SUSPEND, and the base of the others.
    pub const V0_1_CPU_SUSPEND: u32 = 0x95c1_ba5e;
    /// CPU_OFF.
    pub const V0_1_CPU_OFF: u32 = V0_1_CPU_SUSPEND + 1;
    /// CPU_ON.
    pub const V0_1_CPU_ON: u32 = V0_1_CPU_SUSPEND + 2;
    /// MIGRATE.
    pub const V0_1_MIGRATE: u32 = V0_1_CPU_SUSPEND + 3;
}

/// AFFINITY_INFO returns: the CPU, or one of the cluster, is on.
const AFFINITY_ON: u32 = 0;
const AFFINITY_OFF: u32 = 1;

/// MIGRATE_INFO_TYPE returns: there is no trusted operating system, or it needs no migration.
const MIGRATION_NOT_REQUIRED: u32 = 2;

/// SYSTEM_RESET2: the architecture's kind of reset, and the bit that all other kinds have.
const SYSTEM_WARM_RESET: u32 = 0;
const VENDOR_RESET: u32 = 1 << 31;

/// Works out the effect of a call of vCPU number `caller`.
#[inline]
pub fn call(
    call: &Call,
    caller: usize,
    firmware: &Firmware,
    topology: &impl Topology,
) -> PsciOutcome {
    let version = firmware.psci;
    if version == Version::V0_1 {
        return call_v0_1(call, caller, topology);
    }
    if !exists(call.function, firmware) {
        return PsciOutcome::Return(NOT_SUPPORTED);
    }
    match call.function {
        function::VERSION => PsciOutcome::Return(version.bits()),
        // All suspended states are the shallow one, which loses nothing and returns. The
        // specification lets an implementation demote any request to it (5.4.5).
        function::CPU_SUSPEND => PsciOutcome::Suspend,
        function::CPU_OFF => PsciOutcome::CpuOff,
        function::CPU_ON => cpu_on(call, caller, topology),
        function::AFFINITY_INFO => PsciOutcome::Return(affinity_info(call, caller, topology)),
        function::MIGRATE_INFO_TYPE => PsciOutcome::Return(MIGRATION_NOT_REQUIRED),
        function::SYSTEM_OFF => PsciOutcome::SystemOff,
        function::SYSTEM_RESET => PsciOutcome::SystemReset,
        function::SYSTEM_SUSPEND => PsciOutcome::SystemSuspend,
        function::SYSTEM_RESET2 => match call.args {
            [kind, cookie, _] if kind == SYSTEM_WARM_RESET || kind & VENDOR_RESET != 0 => {
                PsciOutcome::SystemReset2 { kind, cookie }
            }
            _ => PsciOutcome::Return(INVALID_PARAMETERS),
        },
        function::FEATURES => PsciOutcome::Return(features(call.args[0], firmware)),
        _ => PsciOutcome::Return(NOT_SUPPORTED),
    }
}

fn call_v0_1(call: &Call, caller: usize, topology: &impl Topology) -> PsciOutcome {
    match call.function {
        function::V0_1_CPU_OFF => PsciOutcome::CpuOff,
        function::V0_1_CPU_ON => {
            // The old interface had this error alone.
            let [target, entry, context_id] = call.args;
            match topology.find(target) {
                Some(cpu) if power(cpu, caller, topology) == Power::Off => {
                    start(cpu, entry, context_id)
                }
                _ => PsciOutcome::Return(INVALID_PARAMETERS),
            }
        }
        // CPU_SUSPEND and MIGRATE among them.
        _ => PsciOutcome::Return(NOT_SUPPORTED),
    }
}

/// Whether the firmware has a function.
const fn exists(id: u32, firmware: &Firmware) -> bool {
    let version = firmware.psci;
    match id {
        function::VERSION
        | function::CPU_SUSPEND
        | function::CPU_OFF
        | function::CPU_ON
        | function::AFFINITY_INFO
        | function::MIGRATE_INFO_TYPE
        | function::SYSTEM_OFF
        | function::SYSTEM_RESET => true,
        function::FEATURES => version as u8 >= Version::V1_0 as u8,
        function::SYSTEM_SUSPEND => {
            version as u8 >= Version::V1_0 as u8
                && firmware.services.contains(Services::SYSTEM_SUSPEND)
        }
        function::SYSTEM_RESET2 => version as u8 >= Version::V1_1 as u8,
        _ => false,
    }
}

/// PSCI_FEATURES: zero says that a function exists. For CPU_SUSPEND it also says that power states
/// have the original format, and that the platform chooses them.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
fn features(id: u32, firmware: &Firmware) -> u32 {
    if exists(id, firmware) || id == crate::smccc::FN_VERSION {
        SUCCESS
    } else {
        NOT_SUPPORTED
    }
}

/// The power state of a vCPU. The caller is on, so the topology is not asked about it.
fn power(cpu: usize, caller: usize, topology: &impl Topology) -> Power {
    if cpu == caller {
        Power::On
    } else {
        topology.power(cpu)
    }
}

fn cpu_on(call: &Call, caller: usize, topology: &impl Topology) -> PsciOutcome {
    let [target, entry, context_id] = call.args;
    let Some(cpu) = topology.find(target) else {
        return PsciOutcome::Return(INVALID_PARAMETERS);
    };
    match power(cpu, caller, topology) {
        Power::On => PsciOutcome::Return(ALREADY_ON),
        Power::Off => start(cpu, entry, context_id),
    }
}

const fn start(cpu: usize, entry: u32, context_id: u32) -> PsciOutcome {
    PsciOutcome::CpuOn {
        cpu,
        entry: entry & !1,
        thumb: entry & 1 != 0,
        context_id,
    }
}

/// AFFINITY_INFO: the state of a CPU, or of a cluster. A cluster is on if one of its CPUs is.
fn affinity_info(call: &Call, caller: usize, topology: &impl Topology) -> u32 {
    let [target, level, _] = call.args;
    let mask = match level {
        0 => 0x00ff_ffff,
        1 => 0x00ff_ff00,
        2 => 0x00ff_0000,
        // There is no fourth level in 32-bit state.
        _ => return INVALID_PARAMETERS,
    };
    let mut state = INVALID_PARAMETERS;
    for cpu in 0..topology.cpus() {
        if !in_cluster(topology.mpidr(cpu), mask, target) {
            continue;
        }
        match power(cpu, caller, topology) {
            Power::On => return AFFINITY_ON,
            Power::Off => state = AFFINITY_OFF,
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;
    use std::vec::Vec;

    struct Machine(Vec<Power>);

    impl Topology for Machine {
        fn cpus(&self) -> usize {
            self.0.len()
        }
        fn mpidr(&self, cpu: usize) -> u32 {
            crate::cp15::mpidr(cpu as u32)
        }
        fn power(&self, cpu: usize) -> Power {
            self.0[cpu]
        }
    }

    /// Six vCPUs in two clusters: 0, 2 and 5 are on.
    fn machine() -> Machine {
        use Power::*;
        Machine(std::vec![On, Off, On, Off, Off, On])
    }

    fn firmware(psci: Version) -> Firmware {
        Firmware {
            psci,
            services: Services::DEFAULT,
            core: crate::core::Core::CortexA15,
        }
    }

    fn ask(function: u32, args: [u32; 3], version: Version) -> PsciOutcome {
        call(&Call { function, args }, 0, &firmware(version), &machine())
    }

    fn new(function: u32, args: [u32; 3]) -> PsciOutcome {
        ask(function, args, Version::LATEST)
    }

    #[test]
    fn versions() {
        for version in [Version::V0_2, Version::V1_0, Version::V1_1] {
            assert_eq!(
                ask(function::VERSION, [0; 3], version),
                PsciOutcome::Return(version.bits())
            );
            assert_eq!(Version::from_bits(version.bits()), Some(version));
        }
        assert_eq!(Version::from_bits(0x0001_0002), None);
        assert_eq!(
            ask(function::VERSION, [0; 3], Version::V0_1),
            PsciOutcome::Return(NOT_SUPPORTED)
        );
        assert_eq!(
            ask(function::FEATURES, [function::VERSION, 0, 0], Version::V0_2),
            PsciOutcome::Return(NOT_SUPPORTED)
        );
        assert_eq!(
            ask(function::SYSTEM_RESET2, [0; 3], Version::V1_0),
            PsciOutcome::Return(NOT_SUPPORTED)
        );
    }

    #[test]
    fn starting_cpus() {
        assert_eq!(
            new(function::CPU_ON, [1, 0x8000, 7]),
            PsciOutcome::CpuOn {
                cpu: 1,
                entry: 0x8000,
                thumb: false,
                context_id: 7
            }
        );
        assert_eq!(
            new(function::CPU_ON, [0x100, 0x8001, 0]),
            PsciOutcome::CpuOn {
                cpu: 4,
                entry: 0x8000,
                thumb: true,
                context_id: 0
            }
        );
        let error = |target| new(function::CPU_ON, [target, 0, 0]);
        assert_eq!(error(0), PsciOutcome::Return(ALREADY_ON));
        assert_eq!(error(2), PsciOutcome::Return(ALREADY_ON));
        assert_eq!(error(4), PsciOutcome::Return(INVALID_PARAMETERS));
        // Bits that are in no affinity field.
        assert_eq!(error(0x8000_0002), PsciOutcome::Return(ALREADY_ON));
        assert_eq!(error(0xff00_0004), PsciOutcome::Return(INVALID_PARAMETERS));
    }

    #[test]
    fn states() {
        let state = |target, level| new(function::AFFINITY_INFO, [target, level, 0]);
        assert_eq!(state(0, 0), PsciOutcome::Return(AFFINITY_ON));
        assert_eq!(state(1, 0), PsciOutcome::Return(AFFINITY_OFF));
        assert_eq!(state(2, 0), PsciOutcome::Return(AFFINITY_ON));
        assert_eq!(state(0x100, 0), PsciOutcome::Return(AFFINITY_OFF));
        assert_eq!(state(0x100, 1), PsciOutcome::Return(AFFINITY_ON));
        assert_eq!(state(0, 2), PsciOutcome::Return(AFFINITY_ON));
        assert_eq!(state(0x200, 1), PsciOutcome::Return(INVALID_PARAMETERS));
        assert_eq!(state(7, 0), PsciOutcome::Return(INVALID_PARAMETERS));
        assert_eq!(state(0, 3), PsciOutcome::Return(INVALID_PARAMETERS));
        assert_eq!(state(1 << 31, 0), PsciOutcome::Return(AFFINITY_ON));
        assert_eq!(state(0xff00_0001, 0), PsciOutcome::Return(AFFINITY_OFF));
    }

    #[test]
    fn a_cluster_with_one_that_is_on() {
        use Power::*;
        let ask = |powers: &[Power]| {
            affinity_info(
                &Call {
                    function: function::AFFINITY_INFO,
                    args: [0, 1, 0],
                },
                usize::MAX,
                &Machine(powers.to_vec()),
            )
        };
        assert_eq!(ask(&[Off, On, Off]), AFFINITY_ON);
        assert_eq!(ask(&[Off, Off]), AFFINITY_OFF);
    }

    #[test]
    fn the_caller_is_on() {
        let machine = Machine(std::vec![Power::Off; 2]);
        let call = |function, caller| {
            let args = [0, 0, 0];
            let firmware = firmware(Version::LATEST);
            super::call(&Call { function, args }, caller, &firmware, &machine)
        };
        assert_eq!(call(function::CPU_ON, 0), PsciOutcome::Return(ALREADY_ON));
        assert!(matches!(
            call(function::CPU_ON, 1),
            PsciOutcome::CpuOn { cpu: 0, .. }
        ));
        assert_eq!(
            call(function::AFFINITY_INFO, 0),
            PsciOutcome::Return(AFFINITY_ON)
        );
        assert_eq!(
            call(function::AFFINITY_INFO, 1),
            PsciOutcome::Return(AFFINITY_OFF)
        );
    }

    /// vCPUs 0 and 2; there is no 1.
    struct Holes;

    impl Topology for Holes {
        fn cpus(&self) -> usize {
            3
        }
        fn mpidr(&self, cpu: usize) -> u32 {
            if cpu == 1 {
                u32::MAX
            } else {
                crate::cp15::mpidr(cpu as u32)
            }
        }
        fn power(&self, _cpu: usize) -> Power {
            Power::Off
        }
    }

    #[test]
    fn holes_are_not_found() {
        for target in [1, 0x00ff_ffff, u32::MAX] {
            for function in [function::CPU_ON, function::AFFINITY_INFO] {
                let args = [target, 0, 0];
                assert_eq!(
                    call(
                        &Call { function, args },
                        0,
                        &firmware(Version::LATEST),
                        &Holes
                    ),
                    PsciOutcome::Return(INVALID_PARAMETERS)
                );
            }
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(new(function::CPU_OFF, [0; 3]), PsciOutcome::CpuOff);
        assert_eq!(new(function::CPU_SUSPEND, [0; 3]), PsciOutcome::Suspend);
        assert_eq!(new(function::SYSTEM_OFF, [0; 3]), PsciOutcome::SystemOff);
        assert_eq!(
            new(function::SYSTEM_RESET, [0; 3]),
            PsciOutcome::SystemReset
        );
        assert_eq!(
            new(function::MIGRATE_INFO_TYPE, [0; 3]),
            PsciOutcome::Return(2)
        );
        assert_eq!(
            new(function::MIGRATE, [0; 3]),
            PsciOutcome::Return(NOT_SUPPORTED)
        );
        assert_eq!(
            new(function::SYSTEM_RESET2, [0, 9, 0]),
            PsciOutcome::SystemReset2 { kind: 0, cookie: 9 }
        );
        assert_eq!(
            new(function::SYSTEM_RESET2, [1 << 31, 9, 0]),
            PsciOutcome::SystemReset2 {
                kind: 1 << 31,
                cookie: 9
            }
        );
        assert_eq!(
            new(function::SYSTEM_RESET2, [1, 0, 0]),
            PsciOutcome::Return(INVALID_PARAMETERS)
        );
    }

    #[test]
    fn suspending_the_system() {
        let ask = |function, arg, psci, services| {
            let mut firmware = firmware(psci);
            firmware.services = services;
            let args = [arg, 0, 0];
            call(&Call { function, args }, 0, &firmware, &machine())
        };
        let suspend = |psci, services| ask(function::SYSTEM_SUSPEND, 0, psci, services);
        let told =
            |psci, services| ask(function::FEATURES, function::SYSTEM_SUSPEND, psci, services);
        let on = Services::SYSTEM_SUSPEND;
        let off = Services::DEFAULT;
        for psci in [Version::V1_0, Version::V1_1] {
            assert_eq!(suspend(psci, on), PsciOutcome::SystemSuspend);
            assert_eq!(told(psci, on), PsciOutcome::Return(SUCCESS));
            assert_eq!(suspend(psci, off), PsciOutcome::Return(NOT_SUPPORTED));
            assert_eq!(told(psci, off), PsciOutcome::Return(NOT_SUPPORTED));
        }
        for psci in [Version::V0_1, Version::V0_2] {
            assert_eq!(suspend(psci, on), PsciOutcome::Return(NOT_SUPPORTED));
        }
    }

    /// MEM_PROTECT and its kind, CPU_FREEZE, CPU_DEFAULT_SUSPEND, statistics, SYSTEM_OFF2.
    #[test]
    fn what_there_is_not() {
        for id in [0xb, 0xc, 0xd, 0xf, 0x10, 0x11, 0x13, 0x14, 0x15, 0x16] {
            let id = function::VERSION | id;
            assert_eq!(new(id, [0; 3]), PsciOutcome::Return(NOT_SUPPORTED));
            assert_eq!(
                new(function::FEATURES, [id, 0, 0]),
                PsciOutcome::Return(NOT_SUPPORTED)
            );
        }
    }

    #[test]
    fn before_the_standard() {
        let old = |function, args| ask(function, args, Version::V0_1);
        assert_eq!(old(function::V0_1_CPU_OFF, [0; 3]), PsciOutcome::CpuOff);
        assert_eq!(
            old(function::V0_1_CPU_ON, [0x8000_0001, 0x8001, 5]),
            PsciOutcome::CpuOn {
                cpu: 1,
                entry: 0x8000,
                thumb: true,
                context_id: 5
            }
        );
        for target in [0, 2, 9] {
            assert_eq!(
                old(function::V0_1_CPU_ON, [target, 0, 0]),
                PsciOutcome::Return(INVALID_PARAMETERS)
            );
        }
        for id in [function::V0_1_CPU_SUSPEND, function::V0_1_MIGRATE] {
            assert_eq!(old(id, [0; 3]), PsciOutcome::Return(NOT_SUPPORTED));
            assert_eq!(new(id, [0; 3]), PsciOutcome::Return(NOT_SUPPORTED));
        }
    }

    inputs! {
        /// What PSCI_FEATURES says exists is exactly what does not return "not supported".
        fn features_tell_the_truth(
            id in one_of![0x8400_0000u32..0x8400_0020, any::<u32>()],
            new in any::<bool>(),
        ) {
            let version = if new { Version::V1_1 } else { Version::V1_0 };
            let told = ask(function::FEATURES, [id, 0, 0], version);
            let done = ask(id, [0; 3], version);
            if id != crate::smccc::FN_VERSION && id != function::FEATURES {
                prop_assert_eq!(
                    told == PsciOutcome::Return(SUCCESS),
                    done != PsciOutcome::Return(NOT_SUPPORTED)
                );
            }
        }

        fn only_what_is_off_is_started(target: u32, entry: u32, old: bool) {
            let (id, version) = if old {
                (function::V0_1_CPU_ON, Version::V0_1)
            } else {
                (function::CPU_ON, Version::LATEST)
            };
            let target = target & 0x8000_0307;
            if let PsciOutcome::CpuOn { cpu, entry: pc, thumb, .. } = ask(id, [target, entry, 0], version) {
                prop_assert_eq!(machine().power(cpu), Power::Off);
                prop_assert_eq!(pc | u32::from(thumb), entry);
                prop_assert_eq!(machine().mpidr(cpu) & 0xff_ffff, target & 0xff_ffff);
            }
        }
    }
}
