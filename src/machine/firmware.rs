// SPDX-License-Identifier: GPL-2.0

//! The registers by which a monitor saves and restores the firmware, and chooses the
//! services of its guest (fw-pseudo-registers.rst in the kernel's documentation).

use crate::{
    core::Core,
    psci::Version,
    smccc::{
        self,
        Firmware,
        Services,
        Workaround, //
    },
};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The version of PSCI.
    PsciVersion,
    /// SMCCC_ARCH_WORKAROUND_1.
    Workaround1,
    /// SMCCC_ARCH_WORKAROUND_2.
    Workaround2,
    /// SMCCC_ARCH_WORKAROUND_3.
    Workaround3,
    /// The standard secure services: TRNG.
    Standard,
    /// The standard hypervisor services: none.
    StandardHypervisor,
    /// KVM's services.
    VendorHypervisor,
}

impl Register {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PsciVersion,
        Self::Workaround1,
        Self::Workaround2,
        Self::Workaround3,
        Self::Standard,
        Self::StandardHypervisor,
        Self::VendorHypervisor,
    ];
}

/// The effect of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the value was only checked.
    Nothing,
    /// The version of PSCI.
    Psci(Version),
    /// The services in `mask` become `on`. That is not allowed once a vCPU has run.
    Services {
        /// The services that the register has bits for.
        mask: Services,
        /// Those that exist from now on.
        on: Services,
    },
}

/// The value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Levels of WORKAROUND_1 and _3: the higher, the better protected.
mod level {
    pub(super) const AVAILABLE: u64 = 1;
    pub(super) const NOT_REQUIRED: u64 = 2;
}

/// Levels of WORKAROUND_2. AVAILABLE stands for cores that can switch it on and off, and only those
/// have the bit ENABLED.
mod level_2 {
    pub(super) const AVAILABLE: u64 = 2;
    pub(super) const NOT_REQUIRED: u64 = 3;
    pub(super) const ENABLED: u64 = 1 << 4;
}

/// The services that a register's bits stand for, from bit 0 on.
fn bitmap(register: Register) -> &'static [Services] {
    match register {
        Register::Standard => &[Services::TRNG],
        Register::VendorHypervisor => &[Services::KVM_FEATURES, Services::KVM_PTP],
        _ => &[],
    }
}

fn workaround_level(workaround: Workaround) -> u64 {
    match workaround {
        Workaround::Needed => level::AVAILABLE,
        Workaround::NotAffected => level::NOT_REQUIRED,
    }
}

fn level_of(register: Register, core: Core) -> u64 {
    workaround_level(match register {
        Register::Workaround1 => smccc::workaround_1(core),
        _ => smccc::workaround_3(core),
    })
}

/// The value of a register.
pub fn get(register: Register, firmware: &Firmware) -> u64 {
    match register {
        Register::PsciVersion => firmware.psci.bits().into(),
        Register::Workaround1 | Register::Workaround3 => level_of(register, firmware.core),
        Register::Workaround2 => level_2::NOT_REQUIRED,
        Register::Standard | Register::StandardHypervisor | Register::VendorHypervisor => {
            let mut value = 0;
            for (bit, service) in bitmap(register).iter().enumerate() {
                value |= u64::from(firmware.services.contains(*service)) << bit;
            }
            value
        }
    }
}

/// Works out the effect of a write.
///
/// A write cannot change a property of the hardware. It may declare a workaround less available
/// than it is, as on the machine that the guest came from; that has no effect.
pub fn set(register: Register, value: u64, firmware: &Firmware) -> Result<Change, Invalid> {
    match register {
        Register::PsciVersion => {
            let version = u32::try_from(value)
                .ok()
                .and_then(Version::from_bits)
                .ok_or(Invalid)?;
            // A feature of the vCPU decides on KVM's own version.
            if (version == Version::V0_1) != (firmware.psci == Version::V0_1) {
                return Err(Invalid);
            }
            Ok(Change::Psci(version))
        }
        Register::Workaround1 | Register::Workaround3 => {
            if value > level_of(register, firmware.core) {
                return Err(Invalid);
            }
            Ok(Change::Nothing)
        }
        Register::Workaround2 => match value & !level_2::ENABLED {
            level_2::AVAILABLE => Ok(Change::Nothing),
            0..=level_2::NOT_REQUIRED if value & level_2::ENABLED == 0 => Ok(Change::Nothing),
            _ => Err(Invalid),
        },
        Register::Standard | Register::StandardHypervisor | Register::VendorHypervisor => {
            let mut rest = value;
            let mut mask = Services::empty();
            let mut on = Services::empty();
            for (bit, service) in bitmap(register).iter().enumerate() {
                mask |= *service;
                if value & 1 << bit != 0 {
                    rest &= !(1 << bit);
                    on |= *service;
                }
            }
            if rest != 0 {
                return Err(Invalid);
            }
            Ok(Change::Services { mask, on })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    fn firmware(core: Core) -> Firmware {
        Firmware {
            psci: Version::LATEST,
            services: Services::DEFAULT,
            core,
        }
    }

    const CORES: [Core; 4] = Core::ALL;

    /// A value that was read can be written back, and changes nothing.
    #[test]
    fn saved_and_restored() {
        for core in CORES {
            for psci in [Version::V0_1, Version::V0_2, Version::V1_0, Version::V1_1] {
                let mut firmware = firmware(core);
                firmware.psci = psci;
                for register in Register::ALL {
                    match set(register, get(register, &firmware), &firmware) {
                        Ok(Change::Nothing) => (),
                        Ok(Change::Psci(version)) => assert_eq!(version, psci),
                        Ok(Change::Services { mask, on }) => {
                            assert_eq!(firmware.services & mask, on);
                        }
                        Err(Invalid) => panic!("{register:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn versions_of_psci() {
        let now = firmware(Core::CortexA15);
        let set = |value, now| set(Register::PsciVersion, value, now);
        assert_eq!(get(Register::PsciVersion, &now), 0x1_0001);
        for version in [Version::V0_2, Version::V1_0, Version::V1_1] {
            assert_eq!(set(version.bits().into(), &now), Ok(Change::Psci(version)));
        }
        for value in [
            0,
            1,
            3,
            0x1_0002,
            0x1_0003,
            0x2_0000,
            0x1_0001_0001,
            u64::MAX,
        ] {
            assert_eq!(set(value, &now), Err(Invalid));
        }
        let mut old = now;
        old.psci = Version::V0_1;
        assert_eq!(set(1, &old), Ok(Change::Psci(Version::V0_1)));
        for value in [0, 2, 0x1_0000, 0x1_0001, u64::MAX] {
            assert_eq!(set(value, &old), Err(Invalid));
        }
    }

    #[test]
    fn levels_of_workarounds() {
        for (core, mosts) in Core::ALL.into_iter().zip([[1, 1], [2, 2], [1, 2], [1, 2]]) {
            let firmware = firmware(core);
            let registers = [Register::Workaround1, Register::Workaround3];
            for (register, most) in registers.into_iter().zip(mosts) {
                assert_eq!(get(register, &firmware), most);
                for value in [0, 1, 2, 3, 0xf, 0x10, 0x11, 1 << 32, u64::MAX] {
                    let expected = if value <= most {
                        Ok(Change::Nothing)
                    } else {
                        Err(Invalid)
                    };
                    assert_eq!(set(register, value, &firmware), expected);
                }
            }
            assert_eq!(get(Register::Workaround2, &firmware), 3);
            for value in [0, 1, 2, 3, 0x12] {
                assert_eq!(
                    set(Register::Workaround2, value, &firmware),
                    Ok(Change::Nothing)
                );
            }
            for value in [4, 5, 0xf, 0x10, 0x11, 0x13, 0x22, 0x32, 1 << 32, u64::MAX] {
                assert_eq!(set(Register::Workaround2, value, &firmware), Err(Invalid));
            }
        }
    }

    #[test]
    fn bitmaps() {
        let mut now = firmware(Core::CortexA7);
        for (register, most) in [
            (Register::Standard, 1),
            (Register::StandardHypervisor, 0),
            (Register::VendorHypervisor, 3),
        ] {
            assert_eq!(get(register, &now), most);
            for value in 0..=most {
                assert!(set(register, value, &now).is_ok());
            }
            for value in [most + 1, most | 1 << 63, u64::MAX] {
                assert_eq!(set(register, value, &now), Err(Invalid));
            }
        }
        now.services = Services::KVM_PTP | Services::SYSTEM_SUSPEND;
        assert_eq!(get(Register::Standard, &now), 0);
        assert_eq!(get(Register::VendorHypervisor, &now), 2);
        assert_eq!(
            set(Register::VendorHypervisor, 1, &now),
            Ok(Change::Services {
                mask: Services::KVM_FEATURES | Services::KVM_PTP,
                on: Services::KVM_FEATURES
            })
        );
    }

    inputs! {
        /// A value that is accepted for the version or a bitmap is read back.
        fn read_as_written(index in 0usize..7, value in one_of![0u64..0x20, any::<u64>()]) {
            let register = Register::ALL[index];
            let mut firmware = firmware(Core::CortexA15);
            match set(register, value, &firmware) {
                Ok(Change::Psci(version)) => firmware.psci = version,
                Ok(Change::Services { mask, on }) => {
                    firmware.services = firmware.services & !mask | on;
                }
                _ => return Ok(()),
            }
            prop_assert_eq!(get(register, &firmware), value);
        }
    }
}
