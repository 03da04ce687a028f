// SPDX-License-Identifier: GPL-2.0

//! The core registers: the words of `struct kvm_regs`.

use armv7::psr::{
    Mode,
    Psr, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::Id;
use crate::{
    hyp::context::CORE_WORDS,
    kvm::running::Running, //
};

/// The place of the CPSR.
const CPSR: usize = 16;

pub(super) fn ids() -> impl Iterator<Item = Id> {
    (0..CORE_WORDS as u32).map(|word| Id::word(uapi::KVM_REG_ARM_CORE, word))
}

/// The word that an id names.
fn word(id: Id) -> Result<usize> {
    let word = id.number() as usize;
    if id.is_word() && word < CORE_WORDS {
        Ok(word)
    } else {
        Err(ENOENT)
    }
}

pub(super) fn get(running: &Running<'_>, id: Id) -> Result<u64> {
    let words = running.state.context.core.words();
    words
        .get(word(id)?)
        .map(|word| u64::from(*word))
        .ok_or(ENOENT)
}

pub(super) fn set(running: &mut Running<'_>, id: Id, value: u64) -> Result {
    let word = word(id)?;
    let value = value as u32;
    if word == CPSR && !Psr(value).mode().is_some_and(Mode::is_guest_mode) {
        return Err(EINVAL);
    }
    let words = running.state.context.core.words_mut();
    *words.get_mut(word).ok_or(ENOENT)? = value;
    Ok(())
}
