// SPDX-License-Identifier: GPL-2.0

//! A vCPU in the hands of one thread.

use super::{
    lines::Lines,
    vcpu::Vcpu,
    vcpu_state::VcpuState,
    vm::Vm, //
};
use crate::glue::cpu::IrqsOff;

/// A vCPU whose mutex this thread holds, and its VM: for the length of a KVM_RUN, or of another
/// ioctl that looks at the vCPU's state or changes it.
pub(crate) struct Running<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) vcpu: &'a Vcpu,
    pub(crate) state: &'a mut VcpuState,
}

impl Running<'_> {
    /// Fills the list registers before an entry. Says whether the virtual timer's physical
    /// interrupt has to be quiet while the guest runs.
    #[inline(always)]
    pub(super) fn flush(&mut self, irqs: &IrqsOff, lines: Lines) -> bool {
        let vm = self.vm;
        // Most entries are of this kind.
        let is_told = lines == self.state.told_lines.get() && !lines.virt();
        if is_told && !self.state.look_at_interrupts && vm.gic.exists() {
            return self.state.timer_irq.is_active();
        }
        vm.gic.flush(irqs, vm.vcpus(), self.vcpu, self.state, lines)
    }

    /// Takes the list registers, of which some are in use, back after an exit. Says whether the
    /// virtual timer's physical interrupt is as it was: the guest has not deactivated it.
    pub(super) fn fold(&mut self, irqs: &IrqsOff) -> bool {
        let vm = self.vm;
        let resamples = vm.irqfds.has_resampler();
        let listener = resamples.then_some(|intid| vm.irqfds.ended(vm, intid));
        vm.gic
            .fold(irqs, vm.vcpus(), self.vcpu, self.state, listener)
    }

    /// Whether there is an interrupt for the vCPU, given its own devices' lines.
    pub(super) fn has_interrupt(&self, lines: Lines) -> bool {
        let vm = self.vm;
        vm.gic.signals(vm.vcpus(), self.vcpu, self.state, lines)
    }
}
