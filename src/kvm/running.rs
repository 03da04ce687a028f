// SPDX-License-Identifier: GPL-2.0

//! A vCPU in the hands of one thread.

use core::mem;

use super::{
    ended::{
        self,
        Ended, //
    },
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
        if ended::SIGNALS_LATER {
            return self.fold_and_note(irqs, resamples);
        }
        let listener = resamples.then_some(|intid| vm.irqfds.ended(vm, intid));
        vm.gic
            .fold(irqs, vm.vcpus(), self.vcpu, self.state, listener)
    }

    /// The same, and notes what the guest has ended for [`tell_ended`](Self::tell_ended).
    fn fold_and_note(&mut self, irqs: &IrqsOff, resamples: bool) -> bool {
        let mut ended = mem::replace(&mut self.state.ended, Ended::NONE);
        let listener = resamples.then_some(|intid| ended.add(intid));
        let vm = self.vm;
        let is_as_it_was = vm
            .gic
            .fold(irqs, vm.vcpus(), self.vcpu, self.state, listener);
        self.state.ended = ended;
        is_as_it_was
    }

    /// Whether there is something for [`tell_ended`](Self::tell_ended).
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        ended::SIGNALS_LATER && self.vm.irqfds.has_resampler() && self.state.ended.any()
    }

    /// Tells the irqfds of the interrupts that the guest has ended. Interrupts are on.
    pub(super) fn tell_ended(&mut self) {
        while let Some(intid) = self.state.ended.take() {
            self.vm.irqfds.ended(self.vm, intid);
        }
    }

    /// Whether there is an interrupt for the vCPU, given its own devices' lines.
    pub(super) fn has_interrupt(&self, lines: Lines) -> bool {
        let vm = self.vm;
        vm.gic.signals(vm.vcpus(), self.vcpu, self.state, lines)
    }
}
