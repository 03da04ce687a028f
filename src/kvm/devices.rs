// SPDX-License-Identifier: GPL-2.0

//! The devices in the kernel, as the guest's loads and stores find them: the vGIC, and the bus of
//! stores for eventfds and for later. The least significant byte of the data comes first in memory.

use super::running::Running;
use crate::trace::{
    mmio,
    trace, //
};

use super::vm_gic::GicRegister;

/// A load from a device in the kernel.
pub(super) fn read(running: &mut Running<'_>, address: u64, size: usize) -> Option<u64> {
    let register = running.vm.gic.register(address)?;
    read_from(running, register, address, size)
}

/// A load from a register of the vGIC, which is at that address.
pub(super) fn read_from(
    running: &mut Running<'_>,
    register: GicRegister,
    address: u64,
    size: usize,
) -> Option<u64> {
    if size == 8 {
        // A distributor has registers of 32 bits: two of them.
        let low = read_register(running, register, address, 4)?;
        let address = address.wrapping_add(4);
        let register = running.vm.gic.register(address)?;
        let high = read_register(running, register, address, 4)?;
        return Some(u64::from(high) << 32 | u64::from(low));
    }
    read_register(running, register, address, size).map(u64::from)
}

fn read_register(
    running: &mut Running<'_>,
    register: GicRegister,
    address: u64,
    size: usize,
) -> Option<u32> {
    let Running { vm, vcpu, .. } = *running;
    let state = &mut *running.state;
    let value = vm
        .gic
        .read(vm.vcpus(), vcpu, state, register, size as u32)?;
    vcpu.stats.mmio_kernel.count();
    trace!(kvm_mmio(mmio::READ, size as u32, address, value.into()));
    Some(value)
}

/// A store to a device in the kernel; false if there is none.
pub(super) fn write(running: &mut Running<'_>, address: u64, size: usize, data: u64) -> bool {
    let register = running.vm.gic.register(address);
    write_to(running, register, address, size, data)
}

/// A store to a register of the vGIC, which is at that address, or to another device.
pub(super) fn write_to(
    running: &mut Running<'_>,
    register: Option<GicRegister>,
    address: u64,
    size: usize,
    data: u64,
) -> bool {
    let Running { vm, vcpu, .. } = *running;
    let Some(register) = register else {
        if !vm.bus.write(address, size, &data.to_le_bytes()) {
            return false;
        }
        vcpu.stats.mmio_kernel.count();
        trace!(kvm_mmio(mmio::WRITE, size as u32, address, data));
        return true;
    };
    if size == 8 {
        return write(running, address, 4, data)
            && write(running, address.wrapping_add(4), 4, data >> 32);
    }
    let value = data as u32;
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
