// SPDX-License-Identifier: GPL-2.0

//! The registers of CP15 that the core's table names.

use armv7::cp15::Cp15Reg;
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::{
    core::Core,
    cp15::{
        self,
        Encoding,
        Saved, //
    }, //
};

use super::{
    coprocessor,
    keep,
    Id, //
};
use crate::kvm::running::Running;

/// The group of these ids.
pub(super) const GROUP: u32 = coprocessor(15);

/// The values that CSSELR can hold.
const CSSELR_MASK: u32 = 0xf;

const CRN_SHIFT: u32 = uapi::KVM_REG_ARM_32_CRN_SHIFT;
const OPC1_SHIFT: u32 = uapi::KVM_REG_ARM_OPC1_SHIFT;
const CRM_SHIFT: u32 = uapi::KVM_REG_ARM_CRM_SHIFT;

/// The name of the register with an encoding.
fn id(encoding: Encoding) -> Id {
    match encoding {
        Encoding::Single {
            crn,
            opc1,
            crm,
            opc2,
        } => Id::word(
            GROUP,
            u32::from(crn) << CRN_SHIFT
                | u32::from(opc1) << OPC1_SHIFT
                | u32::from(crm) << CRM_SHIFT
                | u32::from(opc2),
        ),
        Encoding::Double { opc1, crm } => Id::double(
            GROUP,
            u32::from(opc1) << OPC1_SHIFT | u32::from(crm) << CRM_SHIFT,
        ),
    }
}

/// The register that a name stands for.
fn find(core: Core, reg: Id) -> Result<Saved> {
    let field = |mask: u32, shift: u32| ((reg.number() & mask) >> shift) as u8;
    let opc1 = field(uapi::KVM_REG_ARM_OPC1_MASK, OPC1_SHIFT);
    let crm = field(uapi::KVM_REG_ARM_CRM_MASK, CRM_SHIFT);
    let encoding = if reg.is_double() {
        Encoding::Double { opc1, crm }
    } else {
        Encoding::Single {
            crn: field(uapi::KVM_REG_ARM_32_CRN_MASK, CRN_SHIFT),
            opc1,
            crm,
            opc2: field(uapi::KVM_REG_ARM_32_OPC2_MASK, 0),
        }
    };
    // A name with bits in other places names no register.
    if id(encoding) != reg {
        return Err(ENOENT);
    }
    cp15::saved_register(core, encoding).ok_or(ENOENT)
}

pub(super) fn ids(core: Core) -> impl Iterator<Item = Id> {
    cp15::saved_registers(core).map(|(encoding, _)| id(encoding))
}

pub(super) fn get(running: &Running<'_>, reg: Id) -> Result<u64> {
    let words = &running.state.context.cp15;
    Ok(match find(running.state.identity.core, reg)? {
        Saved::Word(word) => words[word as usize].into(),
        Saved::Pair(low, high) => {
            u64::from(words[high as usize]) << 32 | u64::from(words[low as usize])
        }
        Saved::Invariant(reg) => running.state.identity.id(reg).into(),
        Saved::Pmu(reg) => running.state.pmu.get(reg).into(),
    })
}

pub(super) fn set(running: &mut Running<'_>, reg: Id, value: u64) -> Result {
    let saved = find(running.state.identity.core, reg)?;
    let words = &mut running.state.context.cp15;
    match saved {
        Saved::Invariant(reg) => return keep(running.state.identity.id(reg), value),
        Saved::Pair(low, high) => {
            words[low as usize] = value as u32;
            words[high as usize] = (value >> 32) as u32;
        }
        Saved::Word(Cp15Reg::Csselr) => {
            words[Cp15Reg::Csselr as usize] = value as u32 & CSSELR_MASK;
        }
        Saved::Word(word) => words[word as usize] = value as u32,
        Saved::Pmu(reg) => running.state.pmu.set(reg, value as u32),
    }
    match saved {
        Saved::Word(Cp15Reg::Sctlr) => running.state.watch_caches(),
        Saved::Word(Cp15Reg::Mpidr) => running.vcpu.set_mpidr(value as u32),
        Saved::Word(Cp15Reg::L2ctlr) => running.state.l2ctlr_is_set = true,
        _ => (),
    }
    Ok(())
}
