// SPDX-License-Identifier: GPL-2.0

//! Registers behind a selector: CCSIDR. There is one for each value of CSSELR that selects a cache.

use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::cp15::{
    has_cache,
    IdReg,
    CSSELR_VALUES, //
};

use super::{
    keep,
    Id, //
};
use crate::{
    hyp::identity::Identity,
    kvm::running::Running, //
};

fn id(csselr: u32) -> Id {
    Id::word(
        uapi::KVM_REG_ARM_DEMUX,
        uapi::KVM_REG_ARM_DEMUX_ID_CCSIDR | csselr,
    )
}

pub(super) fn ids(identity: &Identity) -> impl Iterator<Item = Id> {
    let clidr = identity.id(IdReg::Clidr);
    (0..CSSELR_VALUES)
        .filter(move |&csselr| has_cache(clidr, csselr))
        .map(id)
}

fn ccsidr(identity: &Identity, reg: Id) -> Result<u32> {
    let csselr = reg.number() & uapi::KVM_REG_ARM_DEMUX_VAL_MASK;
    if reg != id(csselr) || !has_cache(identity.id(IdReg::Clidr), csselr) {
        return Err(ENOENT);
    }
    Ok(identity.ccsidr(csselr))
}

pub(super) fn get(running: &Running<'_>, reg: Id) -> Result<u64> {
    Ok(ccsidr(&running.state.identity, reg)?.into())
}

pub(super) fn set(running: &Running<'_>, reg: Id, value: u64) -> Result {
    keep(ccsidr(&running.state.identity, reg)?, value)
}
