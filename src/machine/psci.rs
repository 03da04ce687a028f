// SPDX-License-Identifier: GPL-2.0

//! PSCI (DEN 0022) and the SMC calling convention (DEN 0028): what the guest's
//! firmware answers. The policy only; who carries an [`Outcome`] out is the
//! caller's business.

/// PSCI 1.0, in the encoding of PSCI_VERSION.
pub const VERSION_1_0: u32 = 1 << 16;
/// PSCI 0.2.
pub const VERSION_0_2: u32 = 2;

/// Results (DEN 0022 5.2.2).
pub mod result {
    /// SUCCESS.
    pub const SUCCESS: u32 = 0;
    /// NOT_SUPPORTED.
    pub const NOT_SUPPORTED: u32 = -1i32 as u32;
    /// INVALID_PARAMETERS.
    pub const INVALID_PARAMETERS: u32 = -2i32 as u32;
    /// DENIED.
    pub const DENIED: u32 = -3i32 as u32;
    /// ALREADY_ON.
    pub const ALREADY_ON: u32 = -4i32 as u32;
    /// ON_PENDING.
    pub const ON_PENDING: u32 = -5i32 as u32;
    /// INTERNAL_FAILURE.
    pub const INTERNAL_FAILURE: u32 = -6i32 as u32;
}

/// Function ids of the 32-bit calling convention.
mod function {
    pub(super) const SMCCC_VERSION: u32 = 0x8000_0000;
    pub(super) const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    pub(super) const PSCI_VERSION: u32 = 0x8400_0000;
    pub(super) const CPU_SUSPEND: u32 = 0x8400_0001;
    pub(super) const CPU_OFF: u32 = 0x8400_0002;
    pub(super) const CPU_ON: u32 = 0x8400_0003;
    pub(super) const AFFINITY_INFO: u32 = 0x8400_0004;
    pub(super) const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub(super) const SYSTEM_OFF: u32 = 0x8400_0008;
    pub(super) const SYSTEM_RESET: u32 = 0x8400_0009;
    pub(super) const PSCI_FEATURES: u32 = 0x8400_000a;

    /// KVM's numbers for PSCI 0.1, which has none.
    pub(super) const V0_1_CPU_SUSPEND: u32 = 0x95c1_ba5e;
    pub(super) const V0_1_CPU_OFF: u32 = 0x95c1_ba5f;
    pub(super) const V0_1_CPU_ON: u32 = 0x95c1_ba60;
    pub(super) const V0_1_MIGRATE: u32 = 0x95c1_ba61;
}

/// SMCCC 1.1.
const SMCCC_VERSION_1_1: u32 = 0x1_0001;
/// MIGRATE_INFO_TYPE: a trusted OS that does not migrate is not there.
const MIGRATION_NOT_REQUIRED: u32 = 2;
/// What AFFINITY_INFO says of a CPU.
const AFFINITY_ON: u32 = 0;
const AFFINITY_OFF: u32 = 1;
const AFFINITY_ON_PENDING: u32 = 2;

/// Affinity levels 0 to 2 of an MPIDR.
pub const AFFINITY_MASK: u32 = 0x00ff_ffff;

/// The power state of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// It runs.
    On,
    /// It waits for CPU_ON.
    Off,
    /// CPU_ON was called and it is about to run.
    OnPending,
}

/// The CPUs of the machine.
pub trait Topology {
    /// The index of the CPU with the affinity of `mpidr`.
    fn find(&self, mpidr: u32) -> Option<usize>;
    /// The MPIDR of a CPU by its index; `None` behind the last.
    fn mpidr(&self, cpu: usize) -> Option<u32>;
    /// Its power state.
    fn power(&self, cpu: usize) -> PowerState;
}

/// Which PSCI a CPU speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// KVM's PSCI 0.1.
    V0_1,
    /// PSCI 0.2.
    V0_2,
    /// PSCI 1.0.
    V1_0,
}

/// What follows from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// R0 gets a value.
    Return(u32),
    /// The CPU sleeps until an interrupt; then R0 gets SUCCESS.
    Suspend,
    /// The CPU is off.
    CpuOff,
    /// Another CPU starts; R0 gets SUCCESS, or what became of it meanwhile.
    CpuOn {
        /// The index of the CPU.
        cpu: usize,
        /// Where it starts, with bit 0 set for Thumb.
        entry: u32,
        /// What it finds in R0.
        context_id: u32,
    },
    /// The machine is off.
    SystemOff,
    /// The machine starts anew.
    SystemReset,
}

/// Answers a call with the values of R0 to R3.
pub fn call(version: Version, topology: &impl Topology, regs: [u32; 4]) -> Outcome {
    let [id, a1, a2, a3] = regs;
    match id {
        function::SMCCC_VERSION if version == Version::V1_0 => Outcome::Return(SMCCC_VERSION_1_1),
        function::SMCCC_ARCH_FEATURES if version == Version::V1_0 => {
            Outcome::Return(arch_features(a1))
        }
        _ => match version {
            Version::V0_1 => call_0_1(topology, id, a1, a2),
            _ => call_0_2(version, topology, [id, a1, a2, a3]),
        },
    }
}

fn arch_features(function: u32) -> u32 {
    match function {
        function::SMCCC_VERSION | function::SMCCC_ARCH_FEATURES => result::SUCCESS,
        _ => result::NOT_SUPPORTED,
    }
}

fn call_0_1(topology: &impl Topology, id: u32, a1: u32, a2: u32) -> Outcome {
    match id {
        function::V0_1_CPU_SUSPEND | function::V0_1_MIGRATE => {
            Outcome::Return(result::NOT_SUPPORTED)
        }
        function::V0_1_CPU_OFF => Outcome::CpuOff,
        // There is no context id in this version.
        function::V0_1_CPU_ON => match cpu_on(topology, a1, a2, 0) {
            // The errors that it knows are fewer.
            Outcome::Return(_) => Outcome::Return(result::INVALID_PARAMETERS),
            outcome => outcome,
        },
        _ => Outcome::Return(result::NOT_SUPPORTED),
    }
}

fn call_0_2(version: Version, topology: &impl Topology, regs: [u32; 4]) -> Outcome {
    let [id, a1, a2, a3] = regs;
    Outcome::Return(match id {
        function::PSCI_VERSION => match version {
            Version::V1_0 => VERSION_1_0,
            _ => VERSION_0_2,
        },
        // All power states are entered as a wait for an interrupt, which loses nothing (5.4.4:
        // a standby state is a valid downgrade).
        function::CPU_SUSPEND => return Outcome::Suspend,
        function::CPU_OFF => return Outcome::CpuOff,
        function::CPU_ON => return cpu_on(topology, a1, a2, a3),
        function::AFFINITY_INFO => affinity_info(topology, a1, a2),
        function::MIGRATE_INFO_TYPE => MIGRATION_NOT_REQUIRED,
        function::SYSTEM_OFF => return Outcome::SystemOff,
        function::SYSTEM_RESET => return Outcome::SystemReset,
        function::PSCI_FEATURES if version == Version::V1_0 => features(a1),
        _ => result::NOT_SUPPORTED,
    })
}

fn features(function: u32) -> u32 {
    match function {
        function::PSCI_VERSION
        | function::CPU_SUSPEND
        | function::CPU_OFF
        | function::CPU_ON
        | function::AFFINITY_INFO
        | function::MIGRATE_INFO_TYPE
        | function::SYSTEM_OFF
        | function::SYSTEM_RESET
        | function::PSCI_FEATURES
        | function::SMCCC_VERSION => result::SUCCESS,
        _ => result::NOT_SUPPORTED,
    }
}

fn cpu_on(topology: &impl Topology, mpidr: u32, entry: u32, context_id: u32) -> Outcome {
    if mpidr & !AFFINITY_MASK != 0 {
        return Outcome::Return(result::INVALID_PARAMETERS);
    }
    let Some(cpu) = topology.find(mpidr) else {
        return Outcome::Return(result::INVALID_PARAMETERS);
    };
    match topology.power(cpu) {
        PowerState::On => Outcome::Return(result::ALREADY_ON),
        PowerState::OnPending => Outcome::Return(result::ON_PENDING),
        PowerState::Off => Outcome::CpuOn {
            cpu,
            entry,
            context_id,
        },
    }
}

/// On if any CPU below the affinity level is on (5.7.1).
fn affinity_info(topology: &impl Topology, target: u32, level: u32) -> u32 {
    if level > 2 || target & !AFFINITY_MASK != 0 {
        return result::INVALID_PARAMETERS;
    }
    let mask = AFFINITY_MASK & !((1 << (8 * level)) - 1);
    let mut found = None;
    let mut cpu = 0;
    while let Some(mpidr) = topology.mpidr(cpu) {
        if mpidr & mask == target & mask {
            let state = match topology.power(cpu) {
                PowerState::On => return AFFINITY_ON,
                PowerState::OnPending => AFFINITY_ON_PENDING,
                PowerState::Off => AFFINITY_OFF,
            };
            found = match found {
                Some(AFFINITY_ON_PENDING) => Some(AFFINITY_ON_PENDING),
                _ => Some(state),
            };
        }
        cpu += 1;
    }
    found.unwrap_or(result::INVALID_PARAMETERS)
}
