// SPDX-License-Identifier: GPL-2.0

//! KVM_GET_ONE_REG, KVM_SET_ONE_REG and KVM_GET_REG_LIST: all of a vCPU's state that has a name.
//!
//! An id (api.rst 4.68) is architecture, size, group and number. Each group has a file here with
//! the same three functions: `ids` lists the ids, `get` reads a register, `set` writes it.

mod core;
mod cp14;
mod cp15;
mod demux;
mod timer;
mod vfp;

// Not the prelude: its `Init::chain` hides `Iterator::chain`.
use kernel::error::{
    code::*,
    Result, //
};
use kvm_bindings as uapi;

use super::{
    abi,
    firmware,
    running::Running, //
};
use crate::hyp::identity::Identity;

/// The name of a register.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Id(u64);

impl Id {
    const GROUP_SHIFT: u32 = uapi::KVM_REG_ARM_COPROC_SHIFT;

    /// Names a register of 32 bits.
    const fn word(group: u32, number: u32) -> Self {
        Self(uapi::KVM_REG_ARM | uapi::KVM_REG_SIZE_U32 | group as u64 | number as u64)
    }

    /// Names a register of 64 bits.
    const fn double(group: u32, number: u32) -> Self {
        Self(uapi::KVM_REG_ARM | uapi::KVM_REG_SIZE_U64 | group as u64 | number as u64)
    }

    /// Checks what all ids have in common: the architecture and the reserved bits.
    fn new(id: u64) -> Result<Self> {
        if (id & !uapi::KVM_REG_SIZE_MASK) >> 32 != uapi::KVM_REG_ARM >> 32 {
            return Err(EINVAL);
        }
        Ok(Self(id))
    }

    /// The kind of register.
    fn group(self) -> u32 {
        self.0 as u32 & uapi::KVM_REG_ARM_COPROC_MASK
    }

    /// The register's number in its group. The number includes the bits above the group, so an id
    /// with one of these bits set names no register.
    fn number(self) -> u32 {
        self.0 as u32 & !uapi::KVM_REG_ARM_COPROC_MASK
    }

    fn is_word(self) -> bool {
        self.0 & uapi::KVM_REG_SIZE_MASK == uapi::KVM_REG_SIZE_U32
    }

    fn is_double(self) -> bool {
        self.0 & uapi::KVM_REG_SIZE_MASK == uapi::KVM_REG_SIZE_U64
    }
}

/// The group of the coprocessor with a number.
const fn coprocessor(number: u32) -> u32 {
    number << Id::GROUP_SHIFT
}

fn get(running: &Running<'_>, id: Id) -> Result<u64> {
    match id.group() {
        uapi::KVM_REG_ARM_CORE => core::get(running, id),
        uapi::KVM_REG_ARM_DEMUX => demux::get(running, id),
        uapi::KVM_REG_ARM_VFP => vfp::get(running, id),
        cp14::GROUP => cp14::get(running, id),
        cp15::GROUP if timer::is_timer(id) => timer::get(running, id),
        cp15::GROUP => cp15::get(running, id),
        uapi::KVM_REG_ARM_FW | uapi::KVM_REG_ARM_FW_FEAT_BMAP => firmware::get(running, id.0),
        _ => Err(ENOENT),
    }
}

fn set(running: &mut Running<'_>, id: Id, value: u64) -> Result {
    match id.group() {
        uapi::KVM_REG_ARM_CORE => core::set(running, id, value),
        uapi::KVM_REG_ARM_DEMUX => demux::set(running, id, value),
        uapi::KVM_REG_ARM_VFP => vfp::set(running, id, value),
        cp14::GROUP => cp14::set(running, id, value),
        cp15::GROUP if timer::is_timer(id) => timer::set(running, id, value),
        cp15::GROUP => cp15::set(running, id, value),
        uapi::KVM_REG_ARM_FW | uapi::KVM_REG_ARM_FW_FEAT_BMAP => {
            firmware::set(running, id.0, value)
        }
        _ => Err(ENOENT),
    }
}

fn ids(identity: &Identity) -> impl Iterator<Item = Id> {
    core::ids()
        .chain(timer::ids())
        .chain(cp15::ids(identity.core))
        .chain(cp14::ids(identity.debug))
        .chain(demux::ids(identity))
        .chain(vfp::ids())
        .chain(firmware::ids().map(Id))
}

/// KVM_GET_ONE_REG.
pub(crate) fn get_one(running: &Running<'_>, reg: &uapi::kvm_one_reg) -> Result {
    let id = Id::new(reg.id)?;
    let value = get(running, id)?;
    let address = usize::try_from(reg.addr).map_err(|_| EFAULT)?;
    if id.is_double() {
        abi::write_user(address, &value)
    } else {
        abi::write_user(address, &(value as u32))
    }
}

/// KVM_SET_ONE_REG.
pub(crate) fn set_one(running: &mut Running<'_>, reg: &uapi::kvm_one_reg) -> Result {
    let id = Id::new(reg.id)?;
    // An unknown id is reported before a bad address is.
    get(running, id)?;
    let address = usize::try_from(reg.addr).map_err(|_| EFAULT)?;
    let value = if id.is_double() {
        abi::read_user::<u64>(address)?
    } else {
        abi::read_user::<u32>(address)?.into()
    };
    set(running, id, value)
}

/// KVM_GET_REG_LIST.
pub(crate) fn list(identity: &Identity, arg: usize) -> Result {
    let room: u64 = abi::read_user(arg)?;
    let n = ids(identity).count() as u64;
    abi::write_user(arg, &n)?;
    if room < n {
        return Err(E2BIG);
    }
    for (index, id) in ids(identity).enumerate() {
        abi::write_user(arg.wrapping_add(8 * (index + 1)), &id.0)?;
    }
    Ok(())
}

/// Accepts only the current value of a register that cannot change.
fn keep(current: u32, value: u64) -> Result {
    if value == u64::from(current) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}
