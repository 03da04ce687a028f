// SPDX-License-Identifier: GPL-2.0

//! KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS: exceptions that wait for the guest to take them.

use armv7::{
    exception::{
        self,
        DataFault,
        Direction, //
    },
    regs::Hcr, //
};
use kernel::prelude::*;
use kvm_bindings as uapi;

use super::vcpu_state::VcpuState;

/// The pending exceptions. An external data abort is never pending: the guest takes it at once.
pub(crate) fn get(state: &VcpuState) -> uapi::kvm_vcpu_events {
    let mut events = uapi::kvm_vcpu_events::default();
    let pending = state.context.control.hcr & Hcr::VA.bits() != 0;
    events.exception.serror_pending = pending.into();
    events
}

/// Makes an asynchronous abort pending (arm64 calls it SError), or makes the guest take an external
/// abort for the access of the last exit (api.rst 4.32).
pub(crate) fn set(state: &mut VcpuState, events: &uapi::kvm_vcpu_events) -> Result {
    let exception = &events.exception;
    if events.reserved != [0; 12] || exception.pad != [0; 5] {
        return Err(EINVAL);
    }
    // Only Armv8 has a syndrome for an asynchronous abort.
    if exception.serror_has_esr != 0 {
        return Err(EINVAL);
    }
    // User space cannot take a pending abort back (api.rst 4.32).
    if exception.serror_pending != 0 {
        state.context.control.hcr |= Hcr::VA.bits();
    }
    if exception.ext_dabt_pending != 0 {
        // The access is not carried out.
        state.mmio = None;
        // DFSR does not tell a store from a load. Linux 5.6 gave the status of an external abort
        // alone; QEMU reads DFSR back, and aborts if it holds more than this status.
        let address = state.context.fault.hdfar;
        exception::inject_data_abort(
            &mut *state.context,
            DataFault::DECODE_ERROR,
            address,
            Direction::Read,
        );
    }
    Ok(())
}
