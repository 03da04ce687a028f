// SPDX-License-Identifier: GPL-2.0

//! A VM beside the fuzzer that checks itself: memory, VFP, CP15, banked registers, the timer, the
//! distributor. It has a process of its own.

use std::io;
use std::sync::atomic::Ordering;

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::Kvm;

use crate::layout::{map_anonymous, poke, GUEST};
use crate::shared::Shared;

const SIZE: usize = 0x10_0000;
const BASE: u32 = 0x8000_0000;
const HOLE: u64 = 0x1000_0000;

#[cfg(target_arch = "arm")]
mod code {
    core::arch::global_asm!(include_str!("neighbour.S"));

    extern "C" {
        static neighbour_guest: [u8; 0];
        static neighbour_guest_end: [u8; 0];
    }

    pub(super) fn bytes() -> &'static [u8] {
        let (start, end) = (&raw const neighbour_guest, &raw const neighbour_guest_end);
        // SAFETY: The program lies between its two symbols, and nobody writes to it.
        unsafe { std::slice::from_raw_parts(start.cast(), end as usize - start as usize) }
    }
}

/// Elsewhere this program only has to compile.
#[cfg(not(target_arch = "arm"))]
mod code {
    pub(super) fn bytes() -> &'static [u8] {
        &[]
    }
}

/// Runs the VM for ever, or until it has found something.
pub(crate) fn run(shared: &Shared) -> Result<(), String> {
    let attempt = || -> io::Result<_> {
        let kvm = Kvm::open()?;
        let vm = kvm.create_vm()?;
        map_anonymous(GUEST, SIZE, libc::PROT_READ | libc::PROT_WRITE)?;
        if !poke(GUEST, code::bytes()) {
            return Err(io::Error::last_os_error());
        }
        vm.set_user_memory_region(&UserspaceMemoryRegion {
            guest_phys_addr: BASE.into(),
            memory_size: SIZE as u64,
            userspace_addr: GUEST as u64,
            ..Default::default()
        })?;
        let gic = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)?;
        let vcpu = vm.create_vcpu(0, kvm.vcpu_mmap_size()?)?;
        let (dist, cpu) = (0x3fff_0000u64, 0x3ffd_0000u64);
        gic.set_attr(uapi::VGIC_GRP_ADDR, uapi::VGIC_V2_ADDR_TYPE_DIST, &dist)?;
        gic.set_attr(uapi::VGIC_GRP_ADDR, uapi::VGIC_V2_ADDR_TYPE_CPU, &cpu)?;
        gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u64)?;
        let mut init = vm.preferred_target()?;
        init.features[0] |= 1 << uapi::VCPU_PSCI_0_2;
        vcpu.init(&init)?;
        vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)?;
        Ok((kvm, vm, gic, vcpu))
    };
    // It is there to look, not to take the time of the others.
    // SAFETY: It has no memory argument.
    unsafe { libc::nice(15) };
    let (_kvm, _vm, _gic, vcpu) = attempt().map_err(|e| format!("the neighbour: {e}"))?;
    loop {
        vcpu.run()
            .map_err(|e| format!("the neighbour's KVM_RUN: {e}"))?;
        let (reason, mmio) = (vcpu.run.exit_reason(), vcpu.run.mmio());
        if reason != uapi::EXIT_MMIO || mmio.phys_addr != HOLE {
            let pc = vcpu.reg(uapi::core_reg(uapi::CORE_PC)).unwrap_or_default();
            return Err(format!(
                "the neighbour left for reason {reason}, {:#x}, pc {pc:#x}",
                mmio.phys_addr
            ));
        }
        if mmio.data[0] != 0 {
            let registers: Vec<String> = (0..16)
                .map(|n| format!("{:#x}", vcpu.reg(uapi::core_reg(n)).unwrap_or_default()))
                .collect();
            return Err(format!(
                "the neighbour's check {} failed: {}",
                mmio.data[0],
                registers.join(" ")
            ));
        }
        shared.passes.fetch_add(1, Ordering::Relaxed);
    }
}
