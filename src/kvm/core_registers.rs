// SPDX-License-Identifier: GPL-2.0

//! KVM_GET_ONE_REG and KVM_SET_ONE_REG: the core registers of a vCPU.

use armv7::psr::{
    Mode,
    Psr, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    system,
    vcpu::VcpuState, //
};
use crate::hyp::context::CORE_WORDS;

/// The place of ORIG_r0, which has no meaning for a guest but counts.
const CPSR_INDEX: usize = 16;

const PREFIX: u64 = uapi::KVM_REG_ARM | uapi::KVM_REG_SIZE_U32 | uapi::KVM_REG_ARM_CORE as u64;

/// How many registers there are.
pub(crate) fn count() -> u64 {
    CORE_WORDS as u64
}

/// Their ids.
pub(crate) fn ids() -> impl Iterator<Item = u64> {
    (0..count()).map(|index| PREFIX | index)
}

/// Reads or writes a register, from or to user memory.
pub(crate) fn access(state: &mut VcpuState, id: u64, address: u64, set: bool) -> Result {
    if id & uapi::KVM_REG_ARCH_MASK as u64 != uapi::KVM_REG_ARM {
        return Err(EINVAL);
    }
    if id & u64::from(uapi::KVM_REG_ARM_COPROC_MASK) != u64::from(uapi::KVM_REG_ARM_CORE) {
        return Err(ENOENT);
    }
    if id & uapi::KVM_REG_SIZE_MASK != uapi::KVM_REG_SIZE_U32 {
        return Err(ENOENT);
    }
    let index = (id & 0xffff) as usize;
    if id & !(PREFIX | 0xffff) != 0 {
        return Err(ENOENT);
    }
    let address = usize::try_from(address).map_err(|_| EFAULT)?;
    let slot = state
        .context
        .core
        .words_mut()
        .get_mut(index)
        .ok_or(ENOENT)?;
    if !set {
        return system::write_user(address, slot);
    }
    let value: u32 = system::read_user(address)?;
    if index == CPSR_INDEX && !Psr(value).mode().is_some_and(Mode::is_guest_mode) {
        return Err(EINVAL);
    }
    *slot = value;
    Ok(())
}
