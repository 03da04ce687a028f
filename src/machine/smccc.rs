// SPDX-License-Identifier: GPL-2.0

//! Calls to firmware: the SMC calling convention (DEN 0028), 32-bit.
//!
//! A guest calls by HVC, or by SMC, with a function identifier in R0 and arguments
//! in R1 to R3. What it calls is power control, for the most part.

use crate::psci::{
    self,
    Outcome,
    Topology,
    Version, //
};

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// R0: the function identifier.
    pub function: u32,
    /// R1 to R3.
    pub args: [u32; 3],
}

/// What a function that does not exist returns.
pub const NOT_SUPPORTED: u32 = -1i32 as u32;

/// SMCCC_VERSION.
pub const FN_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const FN_ARCH_FEATURES: u32 = 0x8000_0001;

/// The version of the convention: 1.1.
pub const VERSION_1_1: u32 = 0x0001_0001;

/// Works out what a call of vCPU number `caller` comes to.
///
/// `psci` is the version of PSCI that the vCPU was given.
pub fn call(call: &Call, caller: usize, psci: Version, topology: &impl Topology) -> Outcome {
    match call.function {
        // Both came with PSCI 1.0, whose PSCI_FEATURES is how a guest finds them.
        FN_VERSION if psci >= Version::V1_0 => Outcome::Return(VERSION_1_1),
        FN_ARCH_FEATURES if psci >= Version::V1_0 => Outcome::Return(arch_features(call.args[0])),
        _ => psci::call(call, caller, psci, topology),
    }
}

/// Whether a function of the architecture range exists.
///
/// The workarounds against speculation do not: a guest on Cortex-A15 invalidates its branch
/// predictor itself (ICIALLU with ACTLR.IBE, which it can read), and Cortex-A7 has nothing to
/// work around.
fn arch_features(function: u32) -> u32 {
    match function {
        FN_VERSION | FN_ARCH_FEATURES => 0,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psci::Power;

    struct Alone;

    impl Topology for Alone {
        fn cpus(&self) -> usize {
            1
        }
        fn mpidr(&self, _cpu: usize) -> u32 {
            1 << 31
        }
        fn power(&self, _cpu: usize) -> Power {
            Power::On
        }
    }

    fn ask(function: u32, arg: u32, psci: Version) -> Outcome {
        let args = [arg, 0, 0];
        call(&Call { function, args }, 0, psci, &Alone)
    }

    #[test]
    fn version_and_features() {
        for psci in [Version::V1_0, Version::V1_1] {
            assert_eq!(ask(FN_VERSION, 0, psci), Outcome::Return(0x10001));
            assert_eq!(ask(FN_ARCH_FEATURES, FN_VERSION, psci), Outcome::Return(0));
            assert_eq!(
                ask(FN_ARCH_FEATURES, 0x8000_8000, psci),
                Outcome::Return(NOT_SUPPORTED)
            );
        }
        for psci in [Version::V0_1, Version::V0_2] {
            assert_eq!(ask(FN_VERSION, 0, psci), Outcome::Return(NOT_SUPPORTED));
            assert_eq!(
                ask(FN_ARCH_FEATURES, FN_VERSION, psci),
                Outcome::Return(NOT_SUPPORTED)
            );
        }
    }

    #[test]
    fn the_hypervisor_range_is_empty() {
        for function in [0x8600_ff01, 0x8600_ff03, 0xc600_0000, 0, 1, 0x1000] {
            assert_eq!(
                ask(function, 0, Version::V1_1),
                Outcome::Return(NOT_SUPPORTED)
            );
        }
    }
}
