// SPDX-License-Identifier: GPL-2.0

//! Capabilities that have to be turned on: `KVM_ENABLE_CAP` of a VM.

use kernel::prelude::*;
use kvm_bindings as uapi;

use super::{
    system,
    vm::Vm, //
};

/// Carries out `KVM_ENABLE_CAP` on a VM.
///
/// What a capability does not know, in `flags` or in its arguments, is `EINVAL`, and so is a
/// capability that is not here.
pub(crate) fn enable(vm: &Vm, arg: usize) -> Result {
    let request: uapi::kvm_enable_cap = system::read_user(arg)?;
    if request.flags != 0 {
        return Err(EINVAL);
    }
    let [options, ..] = request.args;
    match request.cap {
        uapi::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 => vm.memory.set_manual_protect(options),
        uapi::KVM_CAP_ARM_SYSTEM_SUSPEND => {
            vm.firmware.allow_suspend();
            Ok(())
        }
        uapi::KVM_CAP_ARM_NISV_TO_USER => {
            vm.set_nisv_to_user();
            Ok(())
        }
        uapi::KVM_CAP_HALT_POLL => {
            vm.halt.set_max(u32::try_from(options).map_err(|_| EINVAL)?);
            Ok(())
        }
        _ => Err(EINVAL),
    }
}
