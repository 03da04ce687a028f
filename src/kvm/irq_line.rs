// SPDX-License-Identifier: GPL-2.0

//! `KVM_IRQ_LINE`: driving the lines of a CPU or of the vGIC.

use armv7::regs::Hcr;
use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::vgic::{
    is_ppi,
    NR_PRIVATE, //
};

use super::{
    gic::Line,
    vm::Vm, //
};
use crate::trace::trace;

/// The fields of `kvm_irq_level.irq`.
struct Fields {
    kind: u32,
    vcpu: usize,
    number: u32,
}

impl Fields {
    fn decode(irq: u32) -> Self {
        let field = |shift: u32, mask: u32| (irq >> shift) & mask;
        let low = field(uapi::KVM_ARM_IRQ_VCPU_SHIFT, uapi::KVM_ARM_IRQ_VCPU_MASK);
        let high = field(uapi::KVM_ARM_IRQ_VCPU2_SHIFT, uapi::KVM_ARM_IRQ_VCPU2_MASK);
        Self {
            kind: field(uapi::KVM_ARM_IRQ_TYPE_SHIFT, uapi::KVM_ARM_IRQ_TYPE_MASK),
            vcpu: (low + high * (uapi::KVM_ARM_IRQ_VCPU_MASK + 1)) as usize,
            number: field(uapi::KVM_ARM_IRQ_NUM_SHIFT, uapi::KVM_ARM_IRQ_NUM_MASK),
        }
    }
}

/// Sets a line to a level (api.rst 4.25).
pub(crate) fn set(vm: &Vm, irq: u32, level: bool) -> Result {
    let fields = Fields::decode(irq);
    trace!(kvm_irq_line(
        fields.kind,
        fields.vcpu as u32,
        fields.number,
        level
    ));
    match fields.kind {
        uapi::KVM_ARM_IRQ_TYPE_CPU => {
            if vm.gic.exists() {
                return Err(ENXIO);
            }
            let vcpu = vm.vcpu(fields.vcpu).ok_or(EINVAL)?;
            let line = match fields.number {
                uapi::KVM_ARM_IRQ_CPU_IRQ => Hcr::VI,
                uapi::KVM_ARM_IRQ_CPU_FIQ => Hcr::VF,
                _ => return Err(EINVAL),
            };
            vcpu.set_irq_line(line, level);
            Ok(())
        }
        uapi::KVM_ARM_IRQ_TYPE_PPI => {
            if !vm.gic.exists() {
                return Err(ENXIO);
            }
            vm.vcpu(fields.vcpu).ok_or(EINVAL)?;
            if !is_ppi(fields.number) {
                return Err(EINVAL);
            }
            vm.gic
                .set_line(vm.vcpus(), Line::Ppi(fields.vcpu, fields.number), level)
        }
        uapi::KVM_ARM_IRQ_TYPE_SPI => {
            if !vm.gic.exists() {
                return Err(ENXIO);
            }
            if fields.number < NR_PRIVATE {
                return Err(EINVAL);
            }
            vm.gic.set_line(vm.vcpus(), Line::Spi(fields.number), level)
        }
        _ => Err(EINVAL),
    }
}
