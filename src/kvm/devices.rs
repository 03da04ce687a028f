// SPDX-License-Identifier: GPL-2.0

//! The devices in the kernel, as the guest's loads and stores find them: the vGIC, and the bus of
//! stores for eventfds and for later.

use super::running::Running;
use crate::trace::{
    mmio,
    trace, //
};

use super::vm_gic::GicRegister;

/// A load from a device in the kernel.
pub(super) fn read(running: &mut Running<'_>, address: u64, size: usize) -> Option<[u8; 8]> {
    if size == 8 {
        // A distributor has registers of 32 bits: two of them.
        let [a, b, c, d, ..] = read(running, address, 4)?;
        let [e, f, g, h, ..] = read(running, address.wrapping_add(4), 4)?;
        return Some([a, b, c, d, e, f, g, h]);
    }
    let Running { vm, vcpu, .. } = *running;
    let register = vm.gic.register(address)?;
    let state = &mut *running.state;
    let value = vm
        .gic
        .read(vm.vcpus(), vcpu, state, register, size as u32)?;
    let mut data = [0; 8];
    data[..4].copy_from_slice(&value.to_le_bytes());
    vcpu.stats.mmio_kernel.count();
    trace!(kvm_mmio(mmio::READ, size as u32, address, value.into()));
    Some(data)
}

/// A store to a device in the kernel; false if there is none.
pub(super) fn write(running: &mut Running<'_>, address: u64, size: usize, data: &[u8; 8]) -> bool {
    let Running { vm, vcpu, .. } = *running;
    let Some(register) = vm.gic.register(address) else {
        if !vm.bus.write(address, size, data) {
            return false;
        }
        vcpu.stats.mmio_kernel.count();
        let value = u64::from_le_bytes(*data);
        trace!(kvm_mmio(mmio::WRITE, size as u32, address, value));
        return true;
    };
    if size == 8 {
        let [_, _, _, _, e, f, g, h] = *data;
        let high = [e, f, g, h, 0, 0, 0, 0];
        return write(running, address, 4, data)
            && write(running, address.wrapping_add(4), 4, &high);
    }
    let value = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
    let (vcpus, state) = (vm.vcpus(), &mut *running.state);
    if !vm
        .gic
        .write(vcpus, vcpu, state, register, size as u32, value)
    {
        return false;
    }
    vcpu.stats.mmio_kernel.count();
    trace!(kvm_mmio(mmio::WRITE, size as u32, address, value.into()));
    // The end of an interrupt with EOImode 1, which no list register tells.
    if matches!(register, GicRegister::Deactivate(0)) && vm.irqfds.has_resampler() {
        vm.irqfds.ended(vm, value & 0x3ff);
    }
    true
}
