// SPDX-License-Identifier: GPL-2.0

//! CP14: the debug registers. The ids are composed as those of CP15 are.

// Not the prelude: its `Init::chain` hides `Iterator::chain`.
use kernel::error::{
    code::*,
    Result, //
};
use kvm_bindings as uapi;
use machine::cp14::{
    DebugRegs,
    DebugUnit, //
};

use super::{
    coprocessor,
    Id, //
};
use crate::kvm::{
    guest_debug,
    running::Running, //
};

pub(super) const GROUP: u32 = coprocessor(14);

pub(super) fn ids(unit: DebugUnit) -> impl Iterator<Item = Id> {
    DebugRegs::saved(unit).map(|(crn, crm, opc2)| {
        let number = u32::from(crn) << uapi::KVM_REG_ARM_32_CRN_SHIFT
            | u32::from(crm) << uapi::KVM_REG_ARM_CRM_SHIFT
            | u32::from(opc2) << uapi::KVM_REG_ARM_32_OPC2_SHIFT;
        Id::word(GROUP, number)
    })
}

/// CRn, CRm and opc2. No debug register has another opc1 than 0.
fn find(id: Id) -> Result<(u8, u8, u8)> {
    let field = |mask: u32, shift: u32| (id.number() & mask) >> shift;
    let crn = field(
        uapi::KVM_REG_ARM_32_CRN_MASK,
        uapi::KVM_REG_ARM_32_CRN_SHIFT,
    );
    let crm = field(uapi::KVM_REG_ARM_CRM_MASK, uapi::KVM_REG_ARM_CRM_SHIFT);
    let opc2 = field(
        uapi::KVM_REG_ARM_32_OPC2_MASK,
        uapi::KVM_REG_ARM_32_OPC2_SHIFT,
    );
    let known =
        uapi::KVM_REG_ARM_32_CRN_MASK | uapi::KVM_REG_ARM_CRM_MASK | uapi::KVM_REG_ARM_32_OPC2_MASK;
    if !id.is_word() || id.number() & !known != 0 {
        return Err(ENOENT);
    }
    Ok((crn as u8, crm as u8, opc2 as u8))
}

pub(super) fn get(running: &Running<'_>, id: Id) -> Result<u64> {
    let state = &*running.state;
    let value = state.debug.regs.get(state.identity.debug, find(id)?);
    value.map(u64::from).ok_or(ENOENT)
}

pub(super) fn set(running: &mut Running<'_>, id: Id, value: u64) -> Result {
    let register = find(id)?;
    let state = &mut *running.state;
    if !(state.debug.regs).set(state.identity.debug, register, value as u32) {
        return Err(ENOENT);
    }
    guest_debug::settle(state);
    Ok(())
}
