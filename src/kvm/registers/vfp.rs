// SPDX-License-Identifier: GPL-2.0

//! VFP and NEON: the 64-bit registers and the system registers.

// Not the prelude: its `Init::chain` hides `Iterator::chain`.
use kernel::error::{
    code::*,
    Result, //
};
use kvm_bindings as uapi;

use super::{
    keep,
    Id, //
};
use crate::{
    glue::cpu,
    kvm::running::Running, //
};

/// How many 64-bit registers the CPU has: none, 16 or 32.
fn double_registers() -> u32 {
    match (cpu::has_vfp(), cpu::has_vfp_d32()) {
        (false, _) => 0,
        (true, false) => 16,
        (true, true) => 32,
    }
}

/// The registers of 32 bits. FPINST and FPINST2 have a meaning on older cores only; they are kept
/// here because the ABI has them.
const SYSTEM: [u32; 7] = [
    uapi::KVM_REG_ARM_VFP_FPEXC,
    uapi::KVM_REG_ARM_VFP_FPSCR,
    uapi::KVM_REG_ARM_VFP_FPINST,
    uapi::KVM_REG_ARM_VFP_FPINST2,
    uapi::KVM_REG_ARM_VFP_MVFR0,
    uapi::KVM_REG_ARM_VFP_MVFR1,
    uapi::KVM_REG_ARM_VFP_FPSID,
];

pub(super) fn ids() -> impl Iterator<Item = Id> {
    let doubles = double_registers();
    let system = if doubles == 0 { &[][..] } else { &SYSTEM[..] };
    (0..doubles)
        .map(|n| Id::double(uapi::KVM_REG_ARM_VFP, n))
        .chain(
            system
                .iter()
                .map(|number| Id::word(uapi::KVM_REG_ARM_VFP, *number)),
        )
}

/// One of the registers.
enum VfpRegister {
    /// D0 to D31.
    Double(usize),
    /// One of [`SYSTEM`].
    System(u32),
}

fn find(id: Id) -> Result<VfpRegister> {
    let doubles = double_registers();
    match id.number() {
        n if id.is_double() && n < doubles => Ok(VfpRegister::Double(n as usize)),
        n if id.is_word() && doubles != 0 && SYSTEM.contains(&n) => Ok(VfpRegister::System(n)),
        _ => Err(ENOENT),
    }
}

pub(super) fn get(running: &Running<'_>, id: Id) -> Result<u64> {
    let state = &*running.state;
    let vfp = &state.context.vfp;
    let word = match find(id)? {
        VfpRegister::Double(n) => return vfp.d.get(n).copied().ok_or(ENOENT),
        VfpRegister::System(number) => match number {
            uapi::KVM_REG_ARM_VFP_FPEXC => vfp.fpexc,
            uapi::KVM_REG_ARM_VFP_FPSCR => vfp.fpscr,
            uapi::KVM_REG_ARM_VFP_FPINST => state.fpinst[0],
            uapi::KVM_REG_ARM_VFP_FPINST2 => state.fpinst[1],
            uapi::KVM_REG_ARM_VFP_MVFR0 => state.identity.mvfr[0],
            uapi::KVM_REG_ARM_VFP_MVFR1 => state.identity.mvfr[1],
            uapi::KVM_REG_ARM_VFP_FPSID => state.identity.fpsid,
            _ => return Err(ENOENT),
        },
    };
    Ok(word.into())
}

pub(super) fn set(running: &mut Running<'_>, id: Id, value: u64) -> Result {
    let state = &mut *running.state;
    let vfp = &mut state.context.vfp;
    let slot = match find(id)? {
        VfpRegister::Double(n) => {
            *vfp.d.get_mut(n).ok_or(ENOENT)? = value;
            return Ok(());
        }
        VfpRegister::System(number) => match number {
            uapi::KVM_REG_ARM_VFP_FPEXC => &mut vfp.fpexc,
            uapi::KVM_REG_ARM_VFP_FPSCR => &mut vfp.fpscr,
            uapi::KVM_REG_ARM_VFP_FPINST => &mut state.fpinst[0],
            uapi::KVM_REG_ARM_VFP_FPINST2 => &mut state.fpinst[1],
            uapi::KVM_REG_ARM_VFP_MVFR0 => return keep(state.identity.mvfr[0], value),
            uapi::KVM_REG_ARM_VFP_MVFR1 => return keep(state.identity.mvfr[1], value),
            uapi::KVM_REG_ARM_VFP_FPSID => return keep(state.identity.fpsid, value),
            _ => return Err(ENOENT),
        },
    };
    *slot = value as u32;
    Ok(())
}
