// SPDX-License-Identifier: GPL-2.0

//! Calls to firmware: the SMC calling convention (DEN 0028), 32-bit.
//!
//! A guest calls by HVC, or by SMC, with a function identifier in R0 and arguments
//! in R1 to R3; results are in the same registers. An identifier names its service:
//! the architecture's (workarounds), the standard one (PSCI and TRNG), or the
//! hypervisor vendor's (KVM). Identifiers with bit 30 set are of the 64-bit
//! convention. A 32-bit guest cannot use it, so none of them exists here. Stolen
//! time (DEN 0057) has no others, so it does not exist, either.

use crate::{
    core::{
        Core,
        PredictorFlush, //
    },
    psci::{
        self,
        Topology,
        Version, //
    },
    trng, //
};

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// R0: the function identifier.
    pub function: u32,
    /// R1 to R3.
    pub args: [u32; 3],
}

/// The firmware that a vCPU finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The version of PSCI.
    pub psci: Version,
    /// The services that can be switched off, or on.
    pub services: Services,
    /// The core, which decides on the workarounds.
    pub core: Core,
}

bitflags::bitflags! {
    /// Services that a monitor chooses for its VM.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Services: u32 {
        /// TRNG 1.0 (DEN 0098).
        const TRNG = 1 << 0;
        /// KVM's own range: its owner, and a bitmap of its functions.
        const KVM_FEATURES = 1 << 1;
        /// KVM's clock for `ptp_kvm`.
        const KVM_PTP = 1 << 2;
        /// PSCI SYSTEM_SUSPEND, which the monitor carries out.
        const SYSTEM_SUSPEND = 1 << 3;
    }
}

impl Services {
    /// The services of a VM whose monitor chose none.
    pub const DEFAULT: Self = Self::TRNG.union(Self::KVM_FEATURES).union(Self::KVM_PTP);
}

/// The effect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmcccOutcome {
    /// R0 to R3 are these.
    Return([u32; 4]),
    /// A call of PSCI, or of a function that does not exist. It changes R0 alone.
    Power(psci::PsciOutcome),
    /// The results are random numbers, see [`trng::result`].
    Random(trng::Bits),
    /// The results are the wall clock and a counter, both read at one moment: [`clock_result`].
    Clock(PtpCounter),
    /// The branch predictor is invalidated, then R0 is zero.
    HardenPredictor,
}

/// A counter of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtpCounter {
    /// CNTVCT.
    Virtual,
    /// CNTPCT.
    Physical,
}

/// The result of a function that does not exist.
pub const NOT_SUPPORTED: u32 = -1i32 as u32;
/// The result of ARCH_FEATURES for a workaround that this core does not need, if the convention has
/// no way to call it then.
const NOT_REQUIRED: u32 = -2i32 as u32;
/// The result of ARCH_FEATURES for a workaround that may be called, but has no effect, as the core
/// is not affected.
const UNAFFECTED: u32 = 1;

/// SMCCC_VERSION.
pub const FN_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const FN_ARCH_FEATURES: u32 = 0x8000_0001;
/// SMCCC_ARCH_WORKAROUND_1: branch target injection (CVE-2017-5715, Spectre v2).
pub const FN_ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// SMCCC_ARCH_WORKAROUND_2: speculative store bypass (CVE-2018-3639, Spectre v4).
pub const FN_ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// SMCCC_ARCH_WORKAROUND_3: branch history injection (CVE-2022-23960, Spectre-BHB).
pub const FN_ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// A bitmap of the vendor's functions that exist.
pub const FN_KVM_FEATURES: u32 = 0x8600_0000;
/// The wall clock and a counter, for `ptp_kvm` (ptp_kvm.rst).
pub const FN_KVM_PTP: u32 = 0x8600_0001;
/// The vendor's identity.
pub const FN_KVM_UID: u32 = 0x8600_ff01;

/// 28b46fb6-2ec5-11e9-a9ca-4b564d003a74, KVM's, as registers hold it.
pub const KVM_UID: [u32; 4] = [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d];

/// The version of the convention: 1.1.
pub const VERSION_1_1: u32 = 0x0001_0001;

/// Whether a core needs a workaround.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workaround {
    /// The core needs it, and the call exists.
    Needed,
    /// The core is not affected.
    NotAffected,
}

/// WORKAROUND_1: the core predicts indirect branches for one context from those of another.
#[inline(always)]
pub const fn workaround_1(core: Core) -> Workaround {
    match core.description().predictor {
        PredictorFlush::NotNeeded => Workaround::NotAffected,
        PredictorFlush::Iciallu | PredictorFlush::Bpiall => Workaround::Needed,
    }
}

/// WORKAROUND_3: the core predicts from a history of taken branches.
#[inline(always)]
pub const fn workaround_3(core: Core) -> Workaround {
    if core.description().has_branch_history {
        Workaround::Needed
    } else {
        Workaround::NotAffected
    }
}

/// Results with a meaning in R0 alone.
const fn value(r0: u32) -> SmcccOutcome {
    SmcccOutcome::Return([r0, 0, 0, 0])
}

/// Works out the effect of a call of vCPU number `caller`.
#[inline]
pub fn call(
    call: &Call,
    caller: usize,
    firmware: &Firmware,
    topology: &impl Topology,
) -> SmcccOutcome {
    let has = |service| firmware.services.contains(service);
    match call.function {
        FN_VERSION => value(VERSION_1_1),
        FN_ARCH_FEATURES => value(arch_features(call.args[0], firmware.core)),
        // A guest may call it on all cores of a system if one of them needs it.
        FN_ARCH_WORKAROUND_1 => match workaround_1(firmware.core) {
            Workaround::Needed => SmcccOutcome::HardenPredictor,
            Workaround::NotAffected => value(0),
        },
        // The way here takes many more than eight branches.
        FN_ARCH_WORKAROUND_3 => value(0),
        FN_KVM_UID if has(Services::KVM_FEATURES) => SmcccOutcome::Return(KVM_UID),
        FN_KVM_FEATURES if has(Services::KVM_FEATURES) => {
            value(1 | u32::from(has(Services::KVM_PTP)) << 1)
        }
        FN_KVM_PTP if has(Services::KVM_PTP) => match call.args[0] {
            0 => SmcccOutcome::Clock(PtpCounter::Virtual),
            1 => SmcccOutcome::Clock(PtpCounter::Physical),
            _ => value(NOT_SUPPORTED),
        },
        _ if has(Services::TRNG) && trng::is_function(call.function) => trng::call(call),
        _ => SmcccOutcome::Power(psci::call(call, caller, firmware, topology)),
    }
}

/// Whether a function of the architecture range exists.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
fn arch_features(function: u32, core: Core) -> u32 {
    let workaround = match function {
        FN_VERSION | FN_ARCH_FEATURES => return 0,
        FN_ARCH_WORKAROUND_1 => workaround_1(core),
        FN_ARCH_WORKAROUND_3 => workaround_3(core),
        // None of the cores lets a load pass an older store to the same address.
        FN_ARCH_WORKAROUND_2 => return NOT_REQUIRED,
        _ => return NOT_SUPPORTED,
    };
    match workaround {
        Workaround::Needed => 0,
        Workaround::NotAffected => UNAFFECTED,
    }
}

/// The results of a call for the clock: nanoseconds since 1970, and the counter at that moment.
///
/// The guest takes a time whose top bit is set for an error. It would be set after the year 2262
/// and before 1970.
pub fn clock_result(time: i64, count: u64) -> [u32; 4] {
    let time = time.max(0) as u64;
    [
        (time >> 32) as u32,
        time as u32,
        (count >> 32) as u32,
        count as u32,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psci::Power;
    use inputs::prelude::*;

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

    fn firmware(core: Core) -> Firmware {
        Firmware {
            psci: Version::LATEST,
            services: Services::DEFAULT,
            core,
        }
    }

    fn ask_of(firmware: &Firmware, function: u32, arg: u32) -> SmcccOutcome {
        let args = [arg, 0, 0];
        call(&Call { function, args }, 0, firmware, &Alone)
    }

    /// The result of a function that does not exist.
    fn unknown() -> SmcccOutcome {
        SmcccOutcome::Power(psci::PsciOutcome::Return(NOT_SUPPORTED))
    }

    fn ask(function: u32, arg: u32) -> SmcccOutcome {
        ask_of(&firmware(Core::CortexA15), function, arg)
    }

    /// As Linux 5.6, whatever the version of PSCI.
    #[test]
    fn version_and_features() {
        for psci in [Version::V0_1, Version::V0_2, Version::V1_0, Version::V1_1] {
            let mut firmware = firmware(Core::CortexA7);
            firmware.psci = psci;
            assert_eq!(ask_of(&firmware, FN_VERSION, 0), value(0x10001));
            for function in [FN_VERSION, FN_ARCH_FEATURES] {
                assert_eq!(ask_of(&firmware, FN_ARCH_FEATURES, function), value(0));
            }
            // SOC_ID, stolen time, any.
            for function in [0x8000_0002, 0xc500_0020, 0x8000_0003, 0, u32::MAX] {
                assert_eq!(
                    ask_of(&firmware, FN_ARCH_FEATURES, function),
                    value(NOT_SUPPORTED)
                );
            }
        }
    }

    /// A workaround that ARCH_FEATURES offers can be called.
    #[test]
    fn workarounds() {
        let told = |core, function| ask_of(&firmware(core), FN_ARCH_FEATURES, function);
        for (function, expected) in [
            (FN_ARCH_WORKAROUND_1, [0, 1, 0, 0]),
            (FN_ARCH_WORKAROUND_2, [NOT_REQUIRED; 4]),
            (FN_ARCH_WORKAROUND_3, [0, 1, 1, 1]),
        ] {
            assert_eq!(
                Core::ALL.map(|core| told(core, function)),
                expected.map(value)
            );
        }
        let done = |core, function| ask_of(&firmware(core), function, 0);
        let harden = SmcccOutcome::HardenPredictor;
        assert_eq!(
            Core::ALL.map(|core| done(core, FN_ARCH_WORKAROUND_1)),
            [harden, value(0), harden, harden]
        );
        for core in Core::ALL {
            assert_eq!(done(core, FN_ARCH_WORKAROUND_3), value(0));
            assert_eq!(done(core, FN_ARCH_WORKAROUND_2), unknown());
        }
    }

    #[test]
    fn the_vendor() {
        assert_eq!(ask(FN_KVM_UID, 0), SmcccOutcome::Return(KVM_UID));
        assert_eq!(ask(FN_KVM_FEATURES, 0), value(0b11));
        assert_eq!(ask(FN_KVM_PTP, 0), SmcccOutcome::Clock(PtpCounter::Virtual));
        assert_eq!(
            ask(FN_KVM_PTP, 1),
            SmcccOutcome::Clock(PtpCounter::Physical)
        );
        for arg in [2, 1 << 31, u32::MAX] {
            assert_eq!(ask(FN_KVM_PTP, arg), value(NOT_SUPPORTED));
        }
        // Revision, features 2, protected guests' memory.
        for function in [0x8600_ff03, 0x8600_007f, 0xc600_0002] {
            assert_eq!(ask(function, 0), unknown());
        }
    }

    /// The bytes of the UUID, in order, are those of the registers from the low one up.
    #[test]
    fn uid_bytes() {
        let bytes: std::vec::Vec<u8> = KVM_UID.iter().flat_map(|r| r.to_le_bytes()).collect();
        let uuid = 0x28b4_6fb6_2ec5_11e9_a9ca_4b56_4d00_3a74u128;
        assert_eq!(bytes, uuid.to_be_bytes());
    }

    #[test]
    fn services_that_are_off() {
        let mut firmware = firmware(Core::CortexA15);
        firmware.services = Services::empty();
        for function in [
            FN_KVM_UID,
            FN_KVM_FEATURES,
            FN_KVM_PTP,
            trng::FN_VERSION,
            trng::FN_FEATURES,
            trng::FN_GET_UUID,
            trng::FN_RND32,
        ] {
            assert_eq!(ask_of(&firmware, function, 1), unknown());
        }
        firmware.services = Services::KVM_FEATURES;
        assert_eq!(ask_of(&firmware, FN_KVM_FEATURES, 0), value(1));
        firmware.services = Services::KVM_PTP;
        assert_eq!(
            ask_of(&firmware, FN_KVM_PTP, 0),
            SmcccOutcome::Clock(PtpCounter::Virtual)
        );
    }

    #[test]
    fn clocks() {
        assert_eq!(
            clock_result(0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210),
            [0x1234_5678, 0x9abc_def0, 0xfedc_ba98, 0x7654_3210]
        );
        assert_eq!(clock_result(-5, 7), [0, 0, 0, 7]);
    }

    inputs! {
        /// Nothing of the 64-bit convention exists, whoever owns it.
        fn no_64_bit_functions(function: u32, args: [u32; 3]) {
            let function = function | 1 << 30;
            let firmware = firmware(Core::CortexA15);
            prop_assert_eq!(
                call(&Call { function, args }, 0, &firmware, &Alone),
                unknown()
            );
        }

        /// Calls have no effect on the power state but those of PSCI.
        fn only_psci_has_power(function: u32, args: [u32; 3]) {
            let firmware = firmware(Core::CortexA15);
            let outcome = call(&Call { function, args }, 0, &firmware, &Alone);
            if outcome != unknown() && matches!(outcome, SmcccOutcome::Power(_)) {
                prop_assert_eq!(function & 0xffff_ffe0, 0x8400_0000);
            }
        }
    }
}
