// SPDX-License-Identifier: GPL-2.0

//! VMs whose interrupt controller is the monitor's. On hosts without a virtual GIC there are no
//! others.

use std::os::fd::AsRawFd;
use std::thread;

use kvm::uapi::{self, Irqfd};
use kvm::{ioctl_mut, ioctl_ref};
use vmm_sys_util::eventfd::EventFd;

use crate::check::{equal, fails, Outcome, Test, Works};
use crate::guest::{code, new_vcpu, new_vm, slot, Guest, Memory, HOLE, PAGE, PSCI_SYSTEM_OFF};
use crate::has_vgic;
use crate::tlb::stay_on;

pub(crate) const TESTS: &[Test] = &[
    (
        "user irqchip: a vGIC is there as KVM_CAP_IRQCHIP says",
        vgic_or_none,
    ),
    ("user irqchip: ticks of the timer in WFI", ticks_in_wfi),
    (
        "user irqchip: ticks of the timer in a loop",
        ticks_in_a_loop,
    ),
    (
        "user irqchip: ticks of the timer on changing CPUs",
        ticks_on_changing_cpus,
    ),
    ("user irqchip: ticks of two guests on one CPU", ticks_of_two),
    (
        "user irqchip: a timer that nobody handles interrupts once",
        unhandled,
    ),
];

/// `device_irq_level` when the virtual timer's line is high.
const VTIMER: u64 = 1;
/// CNTV_TVAL between two ticks.
const INTERVAL: u32 = 2000;
/// CNTV_CTL.ENABLE.
const ENABLE: u32 = 1;

fn vgic_or_none() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let capability = kvm.check_extension(uapi::CAP_IRQCHIP);
    equal(
        "KVM_CAP_IRQCHIP",
        capability.works("KVM_CAP_IRQCHIP")?,
        has_vgic().into(),
    )?;
    let mut request = uapi::CreateDevice {
        device_type: uapi::DEV_TYPE_ARM_VGIC_V2,
        fd: 0,
        flags: uapi::CREATE_DEVICE_TEST,
    };
    let test = ioctl_mut(&vm, uapi::CREATE_DEVICE(), &mut request);
    let device = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2).map(drop);
    let (_kvm, second) = new_vm()?;
    let legacy = second.create_irqchip();
    if has_vgic() {
        test.works("a test of the vGIC")?;
        device.works("KVM_CREATE_DEVICE")?;
        return legacy.works("KVM_CREATE_IRQCHIP");
    }
    fails("a test of the vGIC", test, &[libc::ENODEV])?;
    fails("KVM_CREATE_DEVICE", device, &[libc::ENODEV])?;
    fails("KVM_CREATE_IRQCHIP", legacy, &[libc::ENODEV])?;
    let address = second.set_device_addr(uapi::VGIC_V2_ADDR_TYPE_DIST, 0);
    fails("KVM_ARM_SET_DEVICE_ADDR", address, &[libc::ENODEV])?;
    let event = EventFd::new(libc::EFD_NONBLOCK).works("eventfd")?;
    let request = Irqfd {
        fd: event.as_raw_fd() as u32,
        ..Default::default()
    };
    let irqfd = ioctl_ref(&second, uapi::IRQFD(), &request);
    fails("KVM_IRQFD", irqfd, &[libc::EAGAIN])?;
    let spi = second.spi_line(32, true);
    fails("KVM_IRQ_LINE of an SPI", spi, &[libc::ENXIO])?;
    // Nothing of that has left a mark on the VM.
    new_vcpu(&kvm, &second, 0).map(drop)
}

/// A guest that takes an interrupt of its timer again and again, and switches itself off after
/// `count` of them. Its handler stores to the hole when the timer is off.
fn ticking(wait: u32, count: u32) -> Result<(Guest, Memory), String> {
    const ENABLE_IRQS: u32 = 0xf108_0080;
    const SUBS_R4_1: u32 = 0xe254_4001;
    const BEQ_3_ON: u32 = 0x0a00_0002;
    const RETURN_FROM_IRQ: u32 = 0xe25e_f004;
    const B_TO_WAIT: u32 = 0xeaff_fffd;
    let (tval, ctl) = (code::mcr(2, 0, 14, 3, 0), code::mcr(5, 0, 14, 3, 1));
    let guest = Guest::new(&[tval, ctl, ENABLE_IRQS, wait, B_TO_WAIT])?;
    let mut handler = vec![
        code::mcr(3, 0, 14, 3, 1),
        code::str(1, 0),
        SUBS_R4_1,
        BEQ_3_ON,
        tval,
        ctl,
        RETURN_FROM_IRQ,
    ];
    handler.extend(code::psci(PSCI_SYSTEM_OFF));
    let vectors = Memory::new(PAGE)?;
    vectors.write_words(0, &[code::LOOP; 6]);
    vectors.write_words(0x18, &handler);
    let slot = slot(1, 0, &vectors, PAGE);
    guest.vm.set_user_memory_region(&slot).works("vectors")?;
    for (register, value) in [(0, HOLE), (2, INTERVAL), (3, 0), (4, count), (5, ENABLE)] {
        guest.set(register, value)?;
    }
    Ok((guest, vectors))
}

fn irq(guest: &Guest, level: bool) -> Outcome {
    let irq = uapi::IRQ_TYPE_CPU << uapi::IRQ_TYPE_SHIFT;
    guest.vm.irq_line(irq, level).works("KVM_IRQ_LINE")
}

/// Runs a ticking guest until it exits, and is its interrupt controller meanwhile: an interrupt of the
/// host can come anywhere in the guest's handler, so KVM tells of each change of the line.
fn run_with_line(guest: &Guest) -> Result<u32, String> {
    loop {
        match guest.vcpu.run() {
            Ok(()) => return Ok(guest.vcpu.run.exit_reason()),
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {
                irq(guest, guest.vcpu.run.device_irq_level() == VTIMER)?;
            }
            Err(e) => return Err(format!("KVM_RUN: {e}")),
        }
    }
}

/// Runs a ticking guest until its line is high, and does not tell the guest.
fn run_until_line(guest: &Guest) -> Outcome {
    loop {
        fails("KVM_RUN", guest.vcpu.run(), &[libc::EINTR])?;
        if guest.vcpu.run.device_irq_level() == VTIMER {
            return Ok(());
        }
    }
}

/// Is the interrupt controller of a ticking guest until it switches itself off. `each` is called at
/// each tick.
fn serve(guest: &Guest, count: u32, mut each: impl FnMut(u32) -> Outcome) -> Outcome {
    let mut ticks = 0;
    while run_with_line(guest)? == uapi::EXIT_MMIO {
        equal(
            "the line in the handler",
            guest.vcpu.run.device_irq_level(),
            0,
        )?;
        irq(guest, false)?;
        ticks += 1;
        each(ticks)?;
    }
    equal(
        "exit",
        guest.vcpu.run.exit_reason(),
        uapi::EXIT_SYSTEM_EVENT,
    )?;
    equal("ticks", ticks, count)
}

fn ticks_in_wfi() -> Outcome {
    const COUNT: u32 = 500;
    let (guest, _vectors) = ticking(code::WFI, COUNT)?;
    serve(&guest, COUNT, |_| Ok(()))
}

fn ticks_in_a_loop() -> Outcome {
    const COUNT: u32 = 500;
    const NOP: u32 = 0xe320_f000;
    let (guest, _vectors) = ticking(NOP, COUNT)?;
    serve(&guest, COUNT, |_| Ok(()))
}

fn cpus() -> Result<usize, String> {
    let cpus = thread::available_parallelism().works("the number of CPUs")?;
    Ok(cpus.get())
}

/// A CPU on which the interrupt was quiet has it again for the next guest, and for this one when it
/// comes back.
fn ticks_on_changing_cpus() -> Outcome {
    const COUNT: u32 = 300;
    let cpus = cpus()?;
    let (guest, _vectors) = ticking(code::WFI, COUNT)?;
    let mut moves = 0;
    serve(&guest, COUNT, |tick| {
        // The move comes while the line is low. The one below comes while it is high.
        if tick % 3 == 0 {
            moves += 1;
            stay_on(moves % cpus)?;
        }
        Ok(())
    })?;
    let (guest, _vectors) = ticking(code::LOOP, COUNT)?;
    for tick in 1..=COUNT {
        stay_on(tick as usize % cpus)?;
        run_until_line(&guest)?;
        irq(&guest, true)?;
        // The guest takes the interrupt on another CPU than that on which the timer fired.
        stay_on((tick as usize + 1) % cpus)?;
        equal("exit", run_with_line(&guest)?, uapi::EXIT_MMIO)?;
        equal(
            "the line in the handler",
            guest.vcpu.run.device_irq_level(),
            0,
        )?;
        irq(&guest, false)?;
    }
    equal("exit", run_with_line(&guest)?, uapi::EXIT_SYSTEM_EVENT)
}

/// Two guests take turns on a CPU, and each leaves its timer's interrupt in another state there.
fn ticks_of_two() -> Outcome {
    const COUNT: u32 = 200;
    let (first, _first_vectors) = ticking(code::LOOP, COUNT)?;
    let (second, _second_vectors) = ticking(code::LOOP, COUNT)?;
    stay_on(0)?;
    for guest in [&first, &second] {
        run_until_line(guest)?;
    }
    for _ in 1..COUNT {
        for guest in [&first, &second] {
            irq(guest, true)?;
            equal("exit", run_with_line(guest)?, uapi::EXIT_MMIO)?;
            irq(guest, false)?;
            run_until_line(guest)?;
        }
    }
    Ok(())
}

/// The line stays high, and the guest goes on.
fn unhandled() -> Outcome {
    const ROUNDS: u32 = 3_000_000;
    // Arms the timer, which fires at once; counts r4 down; stores to the hole.
    const SUBS_R4_1: u32 = 0xe254_4001;
    const BNE_BACK: u32 = 0x1aff_fffd;
    let program = [
        code::mcr(5, 0, 14, 3, 1),
        SUBS_R4_1,
        BNE_BACK,
        code::str(1, 0),
        code::LOOP,
    ];
    let guest = Guest::new(&program)?;
    for (register, value) in [(0, HOLE), (4, ROUNDS), (5, ENABLE)] {
        guest.set(register, value)?;
    }
    run_until_line(&guest)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the line later", guest.vcpu.run.device_irq_level(), VTIMER)
}
