// SPDX-License-Identifier: GPL-2.0

//! A vCPU in the hands of one thread.

use super::{
    vcpu::Vcpu,
    vcpu_state::VcpuState,
    vm::Vm, //
};

/// A vCPU whose mutex this thread holds, and its VM: for the length of a KVM_RUN, or of another
/// ioctl that looks at the vCPU's state or changes it.
pub(crate) struct Running<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) vcpu: &'a Vcpu,
    pub(crate) state: &'a mut VcpuState,
}
