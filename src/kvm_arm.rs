// SPDX-License-Identifier: GPL-2.0

//! KVM for 32-bit Arm: `/dev/kvm` for kernels that no longer have it.
//!
//! From the hardware up: [`hyp`] takes HYP mode over and switches worlds, [`mem`]
//! gives guests their memory, [`kvm`] is what user space sees. What can be known
//! without a kernel is in the crates `armv7` (the architecture) and `machine` (the
//! models of devices and firmware); what the kernel offers, and the kernel crate
//! does not wrap, is in [`glue`].

use glue::{
    cpu::CpuHotplug,
    file::MiscDevice,
    power::PowerNotifier, //
};
use kernel::prelude::*;
use kvm::{
    host::{
        Follow,
        HostGuard, //
    },
    system::System,
    vm::MAX_VCPUS, //
};

mod glue;
mod hyp;
mod kvm;
mod mem;
mod trace;

module! {
    type: KvmArm,
    name: "kvm_arm",
    authors: ["The kvm_arm developers"],
    description: "KVM for 32-bit Arm",
    license: "GPL",
    params: {
        max_vcpus: u32 {
            default: 0,
            description: "The most vCPUs that a VM can have (1 to 8; 0: as configured, 4 unless changed)",
        },
    },
}

/// The loaded module. Its parts go in this order: first what makes new work, last what all rest
/// on.
#[pin_data]
struct KvmArm {
    #[pin]
    device: MiscDevice<System>,
    hotplug: CpuHotplug<Follow>,
    // A CPU that is taken over must not lose its power unnoticed.
    #[pin]
    power: PowerNotifier<Follow>,
    host: HostGuard,
}

impl kernel::InPlaceModule for KvmArm {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            host: HostGuard::new(max_vcpus()?)?,
            power <- PowerNotifier::register(),
            hotplug: CpuHotplug::register(c"virt/kvm_arm:online")?,
            device <- MiscDevice::register(c"kvm", kernel::bindings::KVM_MINOR),
        })
    }
}

fn max_vcpus() -> Result<usize> {
    let value = match *module_parameters::max_vcpus.value() {
        0 => kvm_bindings::KVM_ARM_DEFAULT_MAX_VCPUS,
        value => value,
    } as usize;
    if !(1..=MAX_VCPUS).contains(&value) {
        pr_err!("max_vcpus={value}: must be 1 to {MAX_VCPUS}, or 0\n");
        return Err(EINVAL);
    }
    Ok(value)
}
