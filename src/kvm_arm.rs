// SPDX-License-Identifier: GPL-2.0

//! KVM for 32-bit Arm: `/dev/kvm` for kernels that no longer have it.
//!
//! From the hardware up: [`hyp`] takes HYP mode over and switches worlds, [`mem`]
//! gives guests their memory, [`kvm`] is what user space sees. What can be known
//! without a kernel is in the crates `armv7` (the architecture) and `machine` (the
//! models of devices and firmware); what the kernel offers, and the kernel crate
//! does not wrap, is in [`glue`].
//!
//! # Locking order
//!
//! Outermost first; any may be left out, and no two of one line are held at once, unless it says
//! so. It is kept under a kernel with lockdep (`make test-debug`).
//!
//! Mutexes:
//!
//! 1. `VfioDevice::files`
//! 2. `Vcpu::state`: by KVM_RUN, and by ioctls of the vCPU. What is about all vCPUs of a VM only
//!    tries to get them, under `VmGic::config`, too, and fails if one runs
//! 3. `Vm::places`: a slot, or the vGIC, takes or leaves its place among the guest's addresses. It
//!    can be held for seconds, as long as a large slot takes to go
//! 4. `VmGic::config`: what is configured of the vGIC and of timers. It is held for short times
//!    alone, and interrupts do not need it once the vGIC is initialised. `Irqfds::changes`: the
//!    list of irqfds, and routes
//! 5. `AddressSpace::changes`: changes of slots, and what is done with dirty logs
//! 6. `AddressSpace::root_right` and `Lowvisor::table`: entries of the first level of a VM's table,
//!    and the table of HYP mode; nothing is taken under them
//! 7. the process's mmap lock, which is the kernel's; MMU notifiers come with it held
//!
//! With none of these held, and nothing of ours inside: `Host::users`, and in it the kernel's lock
//! of CPU hotplug.
//!
//! Spinlocks of memory, under which nothing is allocated, as notifiers can come from reclaim:
//!
//! 8. `AddressSpace::slots`: the slots
//! 9. `AddressSpace::stripes`: regions of 2 MiB of the stage-2 table, dealt out to 16 locks
//! 10. `Invalidations::changes`: changes of memory by the host, under way and ended
//!
//! Spinlocks of interrupts, the last two with interrupts off, as an eventfd can be signalled in
//! one:
//!
//! 8. `Bus::entries`: ioeventfds and zones of coalesced MMIO
//! 9. an eventfd's own, which is the kernel's
//! 10. `Irqfds::table`: routes and irqfds
//! 11. `VmGic::distributor`: the state machine of the interrupt controller, and inside of it that
//!     state machine's `HypLock`, which HYP mode takes alone
//!
//! Inside of any mutex, and with nothing of ours inside: the two locks of `glue::debugfs::Group`.
//! With its `names` held, files of debugfs are made; those who read its files hold `first`.
//!
//! Inside of any mutex, with interrupts on, and with no spinlock of ours: `VmidAllocator::numbers`,
//! which waits for all CPUs when numbers run out. Inside of anything, and with nothing inside:
//! `Vcpu::power`, `Vm::counter_offset`.

use glue::{
    cpu::CpuHotplug,
    file::MiscDevice,
    power::PowerNotifier, //
};
use kernel::prelude::*;
use kvm::{
    host::{
        Follow,
        HostGuard,
        HypUser, //
    },
    system::System,
    vcpus::MAX_VCPUS, //
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
    // Whoever opens `/dev/kvm` loads the module: the first makes kmod and systemd put the node
    // there at boot, the second is what the kernel asks for when that node is opened.
    alias: ["devname:kvm", "char-major-10-232"],
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
    // While it is kept, all CPUs that are online are taken over.
    at_load: Option<HypUser>,
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
            at_load: HypUser::at_load()?,
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
