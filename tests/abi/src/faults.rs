// SPDX-License-Identifier: GPL-2.0

//! Calls in which something fails: the kernel's fault injection has the first allocation or copy from user space
//! of a call fail, then the second, and so on, until the call meets no more of them. Such a call fails for want of
//! memory or with a bad address, or does without. Then the same call works, and all of it can be closed.
//!
//! That needs a kernel with fault injection (`tools/debug-kernel`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use kvm::uapi::{self, CoalescedZone, GuestDebug, IoEventFd, Irqfd, SignalMask};
use kvm::{ioctl, ioctl_ref, Device, Kvm, Vcpu, Vm};
use vmm_sys_util::eventfd::EventFd;

use crate::check::{ensure, Outcome, Test, Works};
use crate::guest::{
    code, init, new_vcpu, new_vm, slot, Gic, Guest, Memory, BASE, HOLE, HUGE, PAGE,
};

/// The argument that makes this program run these tests.
pub(crate) const FAULTS: &str = "--faults";

pub(crate) const TESTS: &[Test] = &[
    ("faults: KVM_CREATE_VM", create_vm),
    ("faults: KVM_CREATE_VCPU", create_vcpu),
    ("faults: KVM_ARM_VCPU_INIT", vcpu_init),
    ("faults: performance monitors", pmu),
    ("faults: KVM_CREATE_DEVICE", create_device),
    (
        "faults: a vGIC's addresses and KVM_DEV_ARM_VGIC_CTRL_INIT",
        init_vgic,
    ),
    ("faults: KVM_CREATE_IRQCHIP", create_irqchip),
    ("faults: a vGIC's registers", vgic_registers),
    ("faults: a slot is made", make_slot),
    ("faults: a slot is made with a log", make_slot_with_log),
    ("faults: a slot's log goes on", log_goes_on),
    ("faults: a slot moves", move_slot),
    ("faults: a slot is deleted", delete_slot),
    ("faults: KVM_GET_DIRTY_LOG", dirty_log),
    ("faults: KVM_RUN, the first", first_run),
    ("faults: KVM_RUN, new memory", touch),
    ("faults: KVM_IRQFD", irqfd),
    ("faults: KVM_IRQFD with a resamplefd", irqfd_resample),
    ("faults: KVM_IOEVENTFD", ioeventfd),
    ("faults: KVM_REGISTER_COALESCED_MMIO", coalesced),
    ("faults: KVM_SET_GSI_ROUTING", routing),
    ("faults: KVM_SET_SIGNAL_MASK", signal_mask),
    ("faults: KVM_SET_GUEST_DEBUG", guest_debug),
    ("faults: KVM_GET_STATS_FD", stats),
    ("faults: registers and events", registers),
];

/// The kernel counts the places of this thread where something can fail, and has one of them fail.
struct Injector(File);

impl Injector {
    fn new() -> Result<Self, String> {
        let path = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(path);
        file.works(path).map(Self)
    }

    /// The place after so many others fails from now on.
    fn arm(&self, nth: u32) -> Outcome {
        self.0
            .write_at(nth.to_string().as_bytes(), 0)
            .works("fail-nth")
            .map(drop)
    }

    /// Ends that. Whether a place has failed since.
    fn disarm(&self) -> Result<bool, String> {
        let mut text = [0; 16];
        // To read is to copy to user space, which can be the place.
        let has_failed = match self.0.read_at(&mut text, 0) {
            Ok(_) => text.starts_with(b"0"),
            Err(e) if e.raw_os_error() == Some(libc::EFAULT) => false,
            Err(e) => return Err(format!("fail-nth: {e}")),
        };
        // So is to write.
        while self.0.write_at(b"0", 0).is_err() {}
        Ok(has_failed)
    }
}

/// Tries an operation with each place failing once. `prepare` makes all that it needs.
fn each_fault<S>(
    prepare: impl Fn() -> Result<S, String>,
    operation: impl Fn(&mut S) -> io::Result<()>,
) -> Outcome {
    let injector = Injector::new()?;
    let mut places = 0;
    for nth in 1..10_000 {
        let mut state = prepare()?;
        injector.arm(nth)?;
        let result = operation(&mut state);
        let has_failed = injector.disarm()?;
        places += u32::from(has_failed);
        match result {
            Ok(()) if has_failed => (),
            Ok(()) => return ensure(places > 0, "nothing could be made to fail"),
            Err(e) if !has_failed => return Err(format!("nothing failed in it, but: {e}")),
            Err(e) => {
                ensure(
                    matches!(e.raw_os_error(), Some(libc::ENOMEM | libc::EFAULT)),
                    format!("place {nth} failed: {e}"),
                )?;
                operation(&mut state).works(format!("again, after place {nth} failed"))?;
            }
        }
    }
    Err("there is no end of places".into())
}

/// A file that the kernel has given.
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: The kernel has just given us this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn create_vm() -> Outcome {
    each_fault(
        || Ok((Kvm::open().works("/dev/kvm")?, Vec::new())),
        |(kvm, vms)| kvm.create_vm().map(|vm| vms.push(vm)),
    )
}

fn create_vcpu() -> Outcome {
    each_fault(
        || Ok((new_vm()?, Vec::new())),
        |((_, vm), vcpus)| ioctl(vm, uapi::CREATE_VCPU(), 0).map(|fd| vcpus.push(owned(fd))),
    )
}

fn with_vcpu() -> Result<(Kvm, Vm, Vcpu), String> {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    Ok((kvm, vm, vcpu))
}

fn vcpu_init() -> Outcome {
    each_fault(with_vcpu, |(_, vm, vcpu)| {
        let mut init = vm.preferred_target()?;
        init.features[0] |= 1 << uapi::VCPU_PSCI_0_2;
        vcpu.init(&init)
    })
}

fn pmu() -> Outcome {
    each_fault(
        || {
            let (kvm, vm, vcpu) = with_vcpu()?;
            let gic = Gic::of_vm(&vm)?;
            Ok((kvm, vm, vcpu, gic))
        },
        |(_, vm, vcpu, _)| {
            let mut init = vm.preferred_target()?;
            init.features[0] |= (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_PMU_V3);
            vcpu.init(&init)?;
            match vcpu.set_attr(uapi::VCPU_PMU_V3_CTRL, uapi::VCPU_PMU_V3_IRQ, &23i32) {
                // The first try got as far.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(()),
                result => result,
            }
        },
    )
}

fn create_device() -> Outcome {
    each_fault(
        || Ok((new_vm()?, Vec::<Device>::new())),
        |((_, vm), devices)| {
            let device = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)?;
            devices.push(device);
            Ok(())
        },
    )
}

fn init_vgic() -> Outcome {
    each_fault(
        || {
            let (kvm, vm, vcpu) = with_vcpu()?;
            let gic = vm
                .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
                .works("KVM_CREATE_DEVICE")?;
            Ok((kvm, vm, vcpu, gic))
        },
        |(_, _, _, gic)| {
            for (kind, address) in [
                (uapi::VGIC_V2_ADDR_TYPE_DIST, Gic::DIST),
                (uapi::VGIC_V2_ADDR_TYPE_CPU, Gic::CPU),
            ] {
                match gic.set_attr(uapi::VGIC_GRP_ADDR, kind, &u64::from(address)) {
                    // The first try got as far.
                    Err(e) if e.raw_os_error() == Some(libc::EEXIST) => (),
                    result => result?,
                }
            }
            gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u64)
        },
    )
}

fn create_irqchip() -> Outcome {
    each_fault(new_vm, |(_, vm)| vm.create_irqchip())
}

fn vgic_registers() -> Outcome {
    each_fault(
        || {
            let (kvm, vm, vcpu) = with_vcpu()?;
            init(&vm, &vcpu)?;
            let gic = Gic::of_vm(&vm)?;
            gic.init()?;
            Ok((kvm, vm, vcpu, gic))
        },
        |(_, _, _, gic)| {
            // GICD_ISENABLER1
            gic.0.get_attr::<u32>(uapi::VGIC_GRP_DIST_REGS, 0x104)?;
            gic.0.set_attr(uapi::VGIC_GRP_DIST_REGS, 0x104, &1u32)
        },
    )
}

const DATA: u64 = (BASE + HUGE as u32) as u64;
const PAGES: usize = 64;

fn with_memory() -> Result<(Kvm, Vm, Memory), String> {
    let (kvm, vm) = new_vm()?;
    Ok((kvm, vm, Memory::new(PAGES * PAGE)?))
}

fn with_slot() -> Result<(Kvm, Vm, Memory), String> {
    let (kvm, vm, memory) = with_memory()?;
    vm.set_user_memory_region(&slot(0, DATA, &memory, PAGES * PAGE))
        .works("a slot")?;
    Ok((kvm, vm, memory))
}

fn make_slot() -> Outcome {
    each_fault(with_memory, |(_, vm, memory)| {
        vm.set_user_memory_region(&slot(0, DATA, memory, PAGES * PAGE))
    })
}

fn make_slot_with_log() -> Outcome {
    each_fault(with_memory, |(_, vm, memory)| {
        let mut region = slot(0, DATA, memory, PAGES * PAGE);
        region.flags = uapi::MEM_LOG_DIRTY_PAGES;
        vm.set_user_memory_region(&region)
    })
}

fn log_goes_on() -> Outcome {
    each_fault(with_slot, |(_, vm, memory)| {
        let mut region = slot(0, DATA, memory, PAGES * PAGE);
        region.flags = uapi::MEM_LOG_DIRTY_PAGES;
        vm.set_user_memory_region(&region)
    })
}

fn move_slot() -> Outcome {
    each_fault(with_slot, |(_, vm, memory)| {
        vm.set_user_memory_region(&slot(0, DATA + (PAGES * PAGE) as u64, memory, PAGES * PAGE))
    })
}

fn delete_slot() -> Outcome {
    each_fault(with_slot, |(_, vm, memory)| {
        vm.set_user_memory_region(&slot(0, DATA, memory, 0))
    })
}

/// A guest that stores to a page of a second slot with a log, and then to the hole.
fn storing(flags: u32) -> Result<(Guest, Memory), String> {
    let mut program = code::load(0, DATA as u32).to_vec();
    program.push(code::str(1, 0));
    program.extend(code::load(0, HOLE));
    program.extend([code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let memory = Memory::new(PAGES * PAGE)?;
    let mut region = slot(1, DATA, &memory, PAGES * PAGE);
    region.flags = flags;
    guest.vm.set_user_memory_region(&region).works("a slot")?;
    Ok((guest, memory))
}

/// Runs the guest to its store to the hole.
fn run(guest: &Guest) -> io::Result<()> {
    guest.vcpu.run()?;
    match guest.vcpu.run.exit_reason() {
        uapi::EXIT_MMIO => Ok(()),
        reason => Err(io::Error::other(format!("exit for reason {reason}"))),
    }
}

fn dirty_log() -> Outcome {
    each_fault(
        || {
            let (guest, memory) = storing(uapi::MEM_LOG_DIRTY_PAGES)?;
            run(&guest).works("KVM_RUN")?;
            Ok((guest, memory))
        },
        |(guest, _)| {
            let mut bitmap = [0; PAGES / 32];
            guest.vm.get_dirty_log(1, &mut bitmap)
        },
    )
}

fn first_run() -> Outcome {
    each_fault(|| storing(0), |(guest, _)| run(guest))
}

fn touch() -> Outcome {
    each_fault(
        || {
            let (guest, memory) = storing(0)?;
            run(&guest).works("KVM_RUN")?;
            guest.complete()?;
            memory.discard()?;
            guest.set(uapi::CORE_PC, BASE)?;
            Ok((guest, memory))
        },
        |(guest, _)| run(guest),
    )
}

fn with_vgic() -> Result<(Guest, Gic, EventFd), String> {
    let guest = Guest::new(&[code::LOOP])?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    Ok((
        guest,
        gic,
        EventFd::new(libc::EFD_NONBLOCK).works("eventfd")?,
    ))
}

fn irqfd() -> Outcome {
    each_fault(with_vgic, |(guest, _, event)| {
        let request = Irqfd {
            fd: event.as_raw_fd() as u32,
            gsi: 1,
            ..Default::default()
        };
        ioctl_ref(&guest.vm, uapi::IRQFD(), &request).map(drop)
    })
}

fn irqfd_resample() -> Outcome {
    each_fault(
        || {
            Ok((
                with_vgic()?,
                EventFd::new(libc::EFD_NONBLOCK).works("eventfd")?,
            ))
        },
        |((guest, _, event), resample)| {
            let request = Irqfd {
                fd: event.as_raw_fd() as u32,
                gsi: 1,
                flags: uapi::IRQFD_RESAMPLE,
                resamplefd: resample.as_raw_fd() as u32,
                ..Default::default()
            };
            ioctl_ref(&guest.vm, uapi::IRQFD(), &request).map(drop)
        },
    )
}

fn ioeventfd() -> Outcome {
    each_fault(with_vgic, |(guest, _, event)| {
        let request = IoEventFd {
            addr: HOLE.into(),
            len: 4,
            fd: event.as_raw_fd(),
            ..Default::default()
        };
        ioctl_ref(&guest.vm, uapi::IOEVENTFD(), &request).map(drop)
    })
}

fn coalesced() -> Outcome {
    each_fault(new_vm, |(_, vm)| {
        let zone = CoalescedZone {
            addr: HOLE.into(),
            size: 16,
            pio: 0,
        };
        ioctl_ref(vm, uapi::REGISTER_COALESCED_MMIO(), &zone).map(drop)
    })
}

fn routing() -> Outcome {
    each_fault(with_vgic, |(guest, _, _)| {
        let mut routing = uapi::IrqRouting {
            nr: 1,
            ..Default::default()
        };
        routing.entries[0] = uapi::IrqRoutingEntry {
            gsi: 700,
            kind: uapi::IRQ_ROUTING_IRQCHIP,
            pin: 9,
            ..Default::default()
        };
        ioctl_ref(&guest.vm, uapi::SET_GSI_ROUTING(), &routing).map(drop)
    })
}

fn signal_mask() -> Outcome {
    each_fault(with_vcpu, |(_, _, vcpu)| {
        let mask = SignalMask {
            len: 8,
            set: [1, 0],
        };
        ioctl_ref(vcpu, uapi::SET_SIGNAL_MASK(), &mask).map(drop)
    })
}

fn guest_debug() -> Outcome {
    each_fault(
        || {
            let (kvm, vm, vcpu) = with_vcpu()?;
            init(&vm, &vcpu)?;
            Ok((kvm, vm, vcpu))
        },
        |(_, _, vcpu)| {
            let request = GuestDebug {
                control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_SW_BP,
                ..Default::default()
            };
            ioctl_ref(vcpu, uapi::SET_GUEST_DEBUG(), &request).map(drop)
        },
    )
}

fn stats() -> Outcome {
    each_fault(
        || Ok((with_vcpu()?, Vec::new())),
        |((_, vm, vcpu), files)| {
            files.push(vm.stats_fd()?);
            files.push(vcpu.stats_fd()?);
            Ok(())
        },
    )
}

fn registers() -> Outcome {
    each_fault(
        || Guest::new(&[code::LOOP]),
        |guest| {
            let events = guest.vcpu.events()?;
            guest.vcpu.set_events(&events)?;
            for id in guest.vcpu.reg_list()? {
                if (id >> 52) & 0xf == 2 {
                    let value = guest.vcpu.reg(id)?;
                    guest.vcpu.set_reg(id, value)?;
                }
            }
            let state = guest.vcpu.mp_state()?;
            guest.vcpu.set_mp_state(state)
        },
    )
}
