// SPDX-License-Identifier: GPL-2.0

//! The attributes of a vCPU that are about its timers
//! (Documentation/virt/kvm/devices/vcpu.rst, section 2).

use kvm::uapi::{self, DeviceAttr, VCPU_TIMER_CTRL as TIMER};
use kvm::{ioctl_ref, Vcpu};

use crate::check::{equal, fails, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, new_vm, Gic, Guest, BASE, PSCI_SYSTEM_OFF};

pub(crate) const TESTS: &[Test] = &[
    ("vCPU attributes: unknown ones", unknown),
    ("vCPU attributes: no vGIC", no_gic),
    ("vCPU attributes: timer interrupts", timers),
    ("vCPU attributes: once a vCPU has run", after_run),
    ("vCPU attributes: one interrupt for two timers", same),
    (
        "vCPU attributes: the virtual timer's own choice",
        virtual_timer,
    ),
    (
        "vCPU attributes: the physical timer's own choice",
        physical_timer,
    ),
];

const VTIMER: u64 = uapi::VCPU_TIMER_IRQ_VTIMER;
const PTIMER: u64 = uapi::VCPU_TIMER_IRQ_PTIMER;

/// Reads an attribute that is an int.
fn get(vcpu: &Vcpu, attr: u64) -> Result<i32, String> {
    vcpu.get_attr::<i32>(TIMER, attr)
        .works(format!("KVM_GET_DEVICE_ATTR {attr}"))
}

fn unknown() -> Outcome {
    let (kvm, vm) = new_vm()?;
    equal(
        "KVM_CAP_VCPU_ATTRIBUTES",
        kvm.check_extension(uapi::CAP_VCPU_ATTRIBUTES)
            .works("KVM_CHECK_EXTENSION")?,
        1,
    )?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    for (group, attr) in [(2, 0), (77, 0), (u32::MAX, 1), (TIMER, 4), (TIMER, 1 << 32)] {
        let what = format!("attribute {attr} of group {group}");
        let errnos = [libc::ENXIO];
        fails(&what, vcpu.has_attr(group, attr), &errnos)?;
        fails(&what, vcpu.get_attr::<i32>(group, attr), &errnos)?;
        fails(&what, vcpu.set_attr(group, attr, &20), &errnos)?;
    }
    for attr in [VTIMER, PTIMER] {
        vcpu.has_attr(TIMER, attr).works("the timers'")?;
    }
    let nowhere = DeviceAttr {
        group: TIMER,
        attr: VTIMER,
        ..DeviceAttr::default()
    };
    for (what, ioctl) in [
        ("KVM_GET_DEVICE_ATTR", uapi::GET_DEVICE_ATTR()),
        ("KVM_SET_DEVICE_ATTR", uapi::SET_DEVICE_ATTR()),
    ] {
        fails(what, ioctl_ref(&vcpu, ioctl, &nowhere), &[libc::EFAULT])?;
    }
    Ok(())
}

fn no_gic() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let result = vcpu.set_attr(TIMER, VTIMER, &20);
    fails("KVM_SET_DEVICE_ATTR", result, &[libc::EINVAL])
}

fn timers() -> Outcome {
    let (kvm, vm) = new_vm()?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    let first = new_vcpu(&kvm, &vm, 0)?;
    let second = new_vcpu(&kvm, &vm, 1)?;
    equal("the virtual timer's", get(&first, VTIMER)?, 27)?;
    equal("the physical timer's", get(&first, PTIMER)?, 30)?;
    for bad in [-1, 0, 15, 32, 1023, i32::MAX] {
        let result = first.set_attr(TIMER, VTIMER, &bad);
        fails(format!("interrupt {bad}"), result, &[libc::EINVAL])?;
    }
    equal("after bad ones", get(&first, VTIMER)?, 27)?;
    first.set_attr(TIMER, VTIMER, &16).works("interrupt 16")?;
    second.set_attr(TIMER, PTIMER, &31).works("interrupt 31")?;
    for vcpu in [&first, &second] {
        equal("the virtual timer's", get(vcpu, VTIMER)?, 16)?;
        equal("the physical timer's", get(vcpu, PTIMER)?, 31)?;
    }
    Ok(())
}

fn after_run() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    Gic::new(&guest)?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let result = guest.vcpu.set_attr(TIMER, VTIMER, &20);
    fails("KVM_SET_DEVICE_ATTR", result, &[libc::EBUSY])?;
    equal("the virtual timer's", get(&guest.vcpu, VTIMER)?, 27)
}

fn same() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    Gic::new(&guest)?;
    let set = |attr| guest.vcpu.set_attr(TIMER, attr, &25).works("interrupt 25");
    set(VTIMER)?;
    set(PTIMER)?;
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EINVAL])?;
    // The call does not come too late.
    let result = guest.vcpu.set_attr(TIMER, PTIMER, &26);
    result.works("interrupt 26")?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)
}

/// A guest that makes a timer fire at once, by its registers `c14, crm`, and stores the number of the
/// first interrupt at the offset `0x800`.
fn timer_guest(crm: u32) -> Vec<u32> {
    let mut program = Gic::enable_all();
    // CVAL is 0 after reset, so the timer's condition holds.
    program.extend(code::load(0, 1));
    program.push(code::mcr(0, 0, 14, crm, 1));
    program.extend(Gic::wait_and_store(BASE + 0x800));
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    program
}

/// Runs a timer with an interrupt of its own choice, set before or after the vGIC's initialisation.
fn chosen(crm: u32, attr: u64, intid: i32) -> Outcome {
    for late in [false, true] {
        let guest = Guest::new(&timer_guest(crm))?;
        let gic = Gic::new(&guest)?;
        if late {
            gic.init()?;
        }
        let result = guest.vcpu.set_attr(TIMER, attr, &intid);
        result.works("KVM_SET_DEVICE_ATTR")?;
        guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
        equal("the interrupt", guest.memory.word(0x800) as i32, intid)?;
    }
    // A second vCPU's is the same.
    let guest = Guest::new(&timer_guest(crm))?;
    let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &second)?;
    Gic::new(&guest)?;
    let result = guest.vcpu.set_attr(TIMER, attr, &intid);
    result.works("KVM_SET_DEVICE_ATTR")?;
    let pc = uapi::core_reg(uapi::CORE_PC);
    second.set_reg(pc, BASE).works("the second's pc")?;
    second.run().works("KVM_RUN of the second")?;
    equal("the second's", guest.memory.word(0x800) as i32, intid)
}

fn virtual_timer() -> Outcome {
    chosen(3, VTIMER, 22)
}

fn physical_timer() -> Outcome {
    chosen(2, PTIMER, 18)
}
