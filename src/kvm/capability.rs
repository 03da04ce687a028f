// SPDX-License-Identifier: GPL-2.0

//! KVM_ENABLE_CAP on a VM: what a monitor has to ask for.

use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    system,
    vm::Vm, //
};

/// Carries out KVM_ENABLE_CAP.
pub(super) fn enable(vm: &Vm, arg: usize) -> Result {
    let request: uapi::kvm_enable_cap = system::read_user(arg)?;
    if request.flags != 0 {
        return Err(EINVAL);
    }
    match request.cap {
        uapi::KVM_CAP_ARM_SYSTEM_SUSPEND => vm.firmware.allow_suspend(),
        _ => return Err(EINVAL),
    }
    Ok(())
}
