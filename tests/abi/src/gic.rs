// SPDX-License-Identifier: GPL-2.0

//! The vGIC: KVM_CREATE_IRQCHIP, KVM_ARM_SET_DEVICE_ADDR, KVM_CREATE_DEVICE and its attributes
//! (Documentation/virt/kvm/devices/arm-vgic.rst).

use std::thread;
use std::time::Instant;

use kvm::uapi::{self, CreateDevice};
use kvm::{ioctl_mut, ioctl_ref, Device, Vm};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, new_vm, Gic, Guest, BASE, HOLE, PSCI_SYSTEM_OFF};
use crate::stats::Stats;
use crate::tlb::stay_on;

pub(crate) const TESTS: &[Test] = &[
    ("CREATE_IRQCHIP: twice", irqchip_twice),
    ("CREATE_IRQCHIP: before and after vCPUs", irqchip_order),
    ("CREATE_IRQCHIP: after a vCPU has run", irqchip_late),
    ("ARM_SET_DEVICE_ADDR: right and wrong", device_addr),
    ("CREATE_DEVICE: right and wrong", create_device),
    ("vGIC: attributes that there are", has_attributes),
    ("vGIC: addresses", addresses),
    ("vGIC: number of interrupts", nr_irqs),
    (
        "vGIC: attributes that are asked for, not used",
        has_changes_nothing,
    ),
    ("vGIC: addresses that are none", unknown_addresses),
    ("vGIC: initialised", initialised),
    ("vGIC: initialised without a vCPU", initialised_without),
    ("vGIC: distributor registers", distributor),
    (
        "vGIC: a timer that the guest is done with is not pending",
        timer_that_is_done_with,
    ),
    (
        "vGIC: the CPU interface is set before ARM_VCPU_INIT",
        interface_before_init,
    ),
    (
        "vGIC: a guest that is reset within an interrupt takes the next",
        reset_within_an_interrupt,
    ),
    (
        "vGIC: accesses to the distributor without an exit",
        accesses_without_exit,
    ),
    (
        "vGIC: SGIs to a vCPU that runs, without an exit",
        sgis_without_exit,
    ),
    (
        "vGIC: another guest's active priorities on the same CPU",
        priorities_of_another,
    ),
    (
        "vGIC: each guest has its own CPU interface, wherever it runs",
        interfaces_that_move,
    ),
    (
        "vGIC: the CPU interface outlives the CPU that it was left on",
        interface_of_a_cpu_that_goes,
    ),
    ("vGIC: RUN without addresses", run_without_addresses),
    ("vGIC: RUN with addresses", run_with_addresses),
    ("vGIC: RUN with addresses that overlap", run_with_overlap),
];

const DIST: u64 = 0x3fff_0000;
const CPU: u64 = 0x3ffd_0000;
const TYPE_DIST: u64 = uapi::VGIC_V2_ADDR_TYPE_DIST;
const TYPE_CPU: u64 = uapi::VGIC_V2_ADDR_TYPE_CPU;

fn create(vm: &Vm) -> Result<Device, String> {
    vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
        .works("KVM_CREATE_DEVICE")
}

fn irqchip_twice() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    vm.create_irqchip().works("the first KVM_CREATE_IRQCHIP")?;
    fails("the second", vm.create_irqchip(), &[libc::EEXIST])?;
    let device = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2);
    fails("a device beside it", device, &[libc::EEXIST])
}

fn irqchip_order() -> Outcome {
    let (kvm, vm) = new_vm()?;
    vm.create_irqchip()
        .works("KVM_CREATE_IRQCHIP before a vCPU")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    init(&vm, &vcpu)?;
    let (kvm, vm) = new_vm()?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP after a vCPU")
}

fn irqchip_late() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    fails(
        "KVM_CREATE_IRQCHIP",
        guest.vm.create_irqchip(),
        &[libc::EBUSY],
    )
}

fn device_addr() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let none = &[libc::ENODEV];
    fails("without a vGIC", vm.set_device_addr(TYPE_DIST, DIST), none)?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    let device_1 = 1 << uapi::ARM_DEVICE_ID_SHIFT;
    fails(
        "device 1",
        vm.set_device_addr(device_1, DIST),
        &[libc::ENODEV],
    )?;
    fails("address 77", vm.set_device_addr(77, DIST), none)?;
    fails(
        "unaligned",
        vm.set_device_addr(TYPE_DIST, DIST + 4),
        &[libc::EINVAL],
    )?;
    fails(
        "beyond 40 bits",
        vm.set_device_addr(TYPE_DIST, 1 << 40),
        &[libc::E2BIG],
    )?;
    vm.set_device_addr(TYPE_DIST, DIST).works("distributor")?;
    fails(
        "twice",
        vm.set_device_addr(TYPE_DIST, DIST),
        &[libc::EEXIST],
    )?;
    vm.set_device_addr(TYPE_CPU, CPU).works("CPU interface")
}

fn create_device() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let mut request = CreateDevice {
        device_type: uapi::DEV_TYPE_ARM_VGIC_V2,
        fd: u32::MAX,
        flags: uapi::CREATE_DEVICE_TEST,
    };
    ioctl_mut(&vm, uapi::CREATE_DEVICE(), &mut request)
        .works("KVM_CREATE_DEVICE as a test of the vGIC")?;
    for unknown in [0, 3, 7, 99] {
        request.device_type = unknown;
        let result = ioctl_mut(&vm, uapi::CREATE_DEVICE(), &mut request);
        fails(format!("a test of type {unknown}"), result, &[libc::ENODEV])?;
        let result = vm.create_device(unknown);
        fails(format!("type {unknown}"), result, &[libc::ENODEV])?;
    }
    let _gic = create(&vm)?;
    let again = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2);
    fails("twice", again, &[libc::EEXIST])?;
    fails(
        "KVM_CREATE_IRQCHIP beside it",
        vm.create_irqchip(),
        &[libc::EEXIST],
    )
}

fn has_attributes() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    let gic = create(&vm)?;
    for (group, attr) in [
        (uapi::VGIC_GRP_ADDR, TYPE_DIST),
        (uapi::VGIC_GRP_ADDR, TYPE_CPU),
        (uapi::VGIC_GRP_NR_IRQS, 0),
        (uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT),
    ] {
        gic.has_attr(group, attr).works(format!("{group}/{attr}"))?;
    }
    for (group, attr) in [
        (uapi::VGIC_GRP_ADDR, 2),
        (uapi::VGIC_GRP_CTRL, 1),
        (5, 0),
        (99, 0),
    ] {
        fails(
            format!("{group}/{attr}"),
            gic.has_attr(group, attr),
            &[libc::ENXIO],
        )?;
    }
    Ok(())
}

fn addresses() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    let group = uapi::VGIC_GRP_ADDR;
    fails(
        "unaligned",
        gic.set_attr(group, TYPE_DIST, &(DIST + 8)),
        &[libc::EINVAL],
    )?;
    fails(
        "beyond 40 bits",
        gic.set_attr(group, TYPE_DIST, &(1u64 << 40)),
        &[libc::E2BIG],
    )?;
    let unknown = &[libc::ENXIO, libc::ENODEV];
    fails("address 2", gic.set_attr(group, 2, &DIST), unknown)?;
    let nowhere = uapi::DeviceAttr {
        flags: 0,
        group,
        attr: TYPE_DIST,
        addr: 0,
    };
    let result = ioctl_ref(&gic, uapi::SET_DEVICE_ATTR(), &nowhere);
    fails("null pointer", result, &[libc::EFAULT])?;
    gic.set_attr(group, TYPE_DIST, &DIST).works("distributor")?;
    fails(
        "twice",
        gic.set_attr(group, TYPE_DIST, &DIST),
        &[libc::EEXIST],
    )?;
    gic.set_attr(group, TYPE_CPU, &CPU).works("CPU interface")?;
    for (kind, address) in [(TYPE_DIST, DIST), (TYPE_CPU, CPU)] {
        let found: u64 = gic.get_attr(group, kind).works("KVM_GET_DEVICE_ATTR")?;
        equal("address", found, address)?;
    }
    Ok(())
}

/// The distributor and the CPU interface can be put anywhere; that they overlap is found by the first
/// KVM_RUN.
fn run_with_overlap() -> Outcome {
    for (cpu, overlaps) in [
        (DIST, true),
        (DIST - 0x1000, true),
        (DIST - 0x2000, false),
        (DIST + 0x1000, false),
    ] {
        let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
        let gic = create(&guest.vm)?;
        for (kind, address) in [(TYPE_DIST, DIST), (TYPE_CPU, cpu)] {
            gic.set_attr(uapi::VGIC_GRP_ADDR, kind, &address)
                .works(format!("address {address:#x}"))?;
        }
        if !overlaps {
            guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
            continue;
        }
        for _ in 0..2 {
            let what = format!("KVM_RUN with the CPU interface at {cpu:#x}");
            fails(what, guest.vcpu.run(), &[libc::EINVAL])?;
        }
    }
    Ok(())
}

/// To ask for a register fixes nothing: vCPUs can still be made.
fn has_changes_nothing() -> Outcome {
    let guest = Guest::new(&[])?;
    let gic = create(&guest.vm)?;
    for group in [uapi::VGIC_GRP_DIST_REGS, uapi::VGIC_GRP_CPU_REGS] {
        gic.has_attr(group, 0).works("KVM_HAS_DEVICE_ATTR")?;
        let nothing = gic.has_attr(group, 0xe00);
        fails("no register", nothing, &[libc::ENXIO])?;
    }
    new_vcpu(&guest.kvm, &guest.vm, 1).map(drop)
}

fn unknown_addresses() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    for kind in [7, 1 << 32] {
        let group = uapi::VGIC_GRP_ADDR;
        let none = &[libc::ENXIO];
        fails(
            format!("GET of {kind}"),
            gic.get_attr::<u64>(group, kind),
            none,
        )?;
        fails(
            format!("SET of {kind}"),
            gic.set_attr(group, kind, &DIST),
            none,
        )?;
        fails(format!("HAS of {kind}"), gic.has_attr(group, kind), none)?;
    }
    Ok(())
}

/// An initialisation without vCPUs would last for ever, so it is refused.
fn initialised_without() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    let result = gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u32);
    fails("KVM_DEV_ARM_VGIC_CTRL_INIT", result, &[libc::ENODEV])
}

fn nr_irqs() -> Outcome {
    let group = uapi::VGIC_GRP_NR_IRQS;
    let (kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    let found: u32 = gic.get_attr(group, 0).works("before all")?;
    equal("those of a CPU", found, 32)?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u32)
        .works("KVM_DEV_ARM_VGIC_CTRL_INIT")?;
    let found: u32 = gic.get_attr(group, 0).works("after INIT")?;
    equal("the default", found, 256)?;

    let (_kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    for number in [0u32, 32, 63, 65, 1025, 1056, u32::MAX] {
        let result = gic.set_attr(group, 0, &number);
        fails(format!("{number}"), result, &[libc::EINVAL])?;
    }
    gic.set_attr(group, 0, &128u32).works("128")?;
    let found: u32 = gic.get_attr(group, 0).works("KVM_GET_DEVICE_ATTR")?;
    equal("number", found, 128)?;
    fails("again", gic.set_attr(group, 0, &128u32), &[libc::EBUSY])
}

fn initialised() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    for _ in 0..2 {
        gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u32)
            .works("KVM_DEV_ARM_VGIC_CTRL_INIT")?;
    }
    let late = gic.set_attr(uapi::VGIC_GRP_NR_IRQS, 0, &128u32);
    fails("number of interrupts", late, &[libc::EBUSY])?;
    let size = kvm.vcpu_mmap_size().works("KVM_GET_VCPU_MMAP_SIZE")?;
    fails(
        "a vCPU that comes late",
        vm.create_vcpu(1, size),
        &[libc::EBUSY],
    )
}

fn distributor() -> Outcome {
    const GICD_CTLR: u64 = 0x000;
    const GICD_TYPER: u64 = 0x004;
    const GICD_ISENABLER1: u64 = 0x104;
    const GICD_ICENABLER1: u64 = 0x184;
    const GICD_IPRIORITYR8: u64 = 0x420;
    let (kvm, vm) = new_vm()?;
    let gic = create(&vm)?;
    let vcpus = [new_vcpu(&kvm, &vm, 0)?, new_vcpu(&kvm, &vm, 1)?];
    for vcpu in &vcpus {
        init(&vm, vcpu)?;
    }
    gic.set_attr(uapi::VGIC_GRP_NR_IRQS, 0, &128u32)
        .works("number of interrupts")?;
    gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u32)
        .works("KVM_DEV_ARM_VGIC_CTRL_INIT")?;
    let group = uapi::VGIC_GRP_DIST_REGS;
    let read = |offset: u64| -> Result<u32, String> {
        gic.get_attr(group, offset)
            .works(format!("read of {offset:#x}"))
    };
    let write = |offset: u64, value: u32| {
        gic.set_attr(group, offset, &value)
            .works(format!("write of {offset:#x}"))
    };
    // ITLinesNumber and CPUNumber, each less one.
    equal("GICD_TYPER", read(GICD_TYPER)? & 0xff, (1 << 5) | 3)?;
    write(GICD_CTLR, 1)?;
    equal("GICD_CTLR", read(GICD_CTLR)? & 1, 1)?;
    write(GICD_ISENABLER1, 0x8000_0001)?;
    equal("GICD_ISENABLER1", read(GICD_ISENABLER1)?, 0x8000_0001)?;
    equal("GICD_ICENABLER1", read(GICD_ICENABLER1)?, 0x8000_0001)?;
    write(GICD_ICENABLER1, 1)?;
    equal("GICD_ISENABLER1 after", read(GICD_ISENABLER1)?, 0x8000_0000)?;
    write(GICD_IPRIORITYR8, 0xf8a0_5008)?;
    equal("GICD_IPRIORITYR8", read(GICD_IPRIORITYR8)?, 0xf8a0_5008)?;
    let wrong_cpu: std::io::Result<u32> = gic.get_attr(group, (7 << 32) | GICD_CTLR);
    fails("vCPU 7", wrong_cpu, &[libc::EINVAL])?;
    let unaligned: std::io::Result<u32> = gic.get_attr(group, GICD_CTLR + 2);
    fails("unaligned", unaligned, &[libc::ENXIO, libc::EINVAL])?;
    let pmr: u32 = gic
        .get_attr(uapi::VGIC_GRP_CPU_REGS, (1 << 32) | 4)
        .works("GICC_PMR of vCPU 1")?;
    ensure(pmr <= 0xff, format!("GICC_PMR is {pmr:#x}"))
}

/// A monitor that saved it would restore a timer interrupt without a reason.
fn timer_that_is_done_with() -> Outcome {
    const GICD_ISPENDR0: u64 = 0x200;
    const GICD_ISACTIVER0: u64 = 0x300;
    let mut program = Gic::enable_all();
    program.extend(Gic::take_timer());
    program.extend(code::load(1, HOLE));
    program.push(code::str(3, 1));
    let guest = Guest::new(&program)?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the interrupt", guest.get(3)?, 27)?;
    equal("GICD_ISPENDR0", gic.distributor(GICD_ISPENDR0)?, 0)?;
    equal("GICD_ISACTIVER0", gic.distributor(GICD_ISACTIVER0)?, 0)
}

const GICC_CTLR: u64 = 0;
const GICC_PMR: u64 = 4;
const GICC_BPR: u64 = 8;
const GICC_APR0: u64 = 0xd0;

/// The vGIC is a device of its own: the reset of a vCPU does not reach it, so a monitor can restore
/// the two in any order.
fn interface_before_init() -> Outcome {
    const SAVED: [(u64, u32); 4] = [
        (GICC_CTLR, 0x201),
        (GICC_PMR, 0x1e),
        (GICC_BPR, 3),
        (GICC_APR0, 0x0000_0400),
    ];
    let (kvm, vm) = new_vm()?;
    let gic = Gic::of_vm(&vm)?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    gic.init()?;
    // For a new vCPU, and for one that is initialised again.
    for time in ["first", "second"] {
        for (register, value) in SAVED {
            gic.set_interface(register, value)?;
        }
        init(&vm, &vcpu)?;
        for (register, value) in SAVED {
            let what = format!("{register:#x} after the {time} KVM_ARM_VCPU_INIT");
            equal(what, gic.interface(register)?, value)?;
        }
    }
    Ok(())
}

/// QEMU resets the vGIC by its registers, and vCPUs by KVM_ARM_VCPU_INIT. Which comes first depends
/// on the machine.
fn reset_within_an_interrupt() -> Outcome {
    const GICD_ICENABLER0: u64 = 0x180;
    const GICD_ICPENDR0: u64 = 0x280;
    const GICD_ICACTIVER0: u64 = 0x380;
    const PPI: u32 = 31;
    let mut program = Gic::enable_all();
    program.extend(Gic::wait_and_store(HOLE));
    let guest = Guest::new(&program)?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    let irq = (uapi::IRQ_TYPE_PPI << uapi::IRQ_TYPE_SHIFT) | PPI;
    guest.vm.irq_line(irq, true).works("the PPI")?;
    let reset_gic = || {
        for register in [GICD_ICENABLER0, GICD_ICPENDR0, GICD_ICACTIVER0] {
            gic.set_distributor(register, u32::MAX)?;
        }
        for register in [GICC_CTLR, GICC_PMR, GICC_BPR, GICC_APR0] {
            gic.set_interface(register, 0)?;
        }
        Ok::<(), String>(())
    };
    let take = || {
        guest.set(uapi::CORE_PC, BASE)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        let data = guest.vcpu.run.mmio().data;
        equal("the interrupt", u64::from_le_bytes(data), PPI.into())
    };
    // Each time the guest has acknowledged it, and does not get to its end.
    take()?;
    ensure(gic.interface(GICC_APR0)? != 0, "no priority is active")?;
    reset_gic()?;
    init(&guest.vm, &guest.vcpu)?;
    take()?;
    init(&guest.vm, &guest.vcpu)?;
    reset_gic()?;
    take()
}

/// `subs r5, r5, #1`
const SUBS_R5_1: u32 = 0xe255_5001;

/// `bne` or `beq` that goes back by so many instructions.
const fn back(branch: u32, instructions: u32) -> u32 {
    branch | (0xff_fffe_u32.wrapping_sub(instructions) & 0xff_ffff)
}
const BNE: u32 = 0x1a00_0000;
const BEQ: u32 = 0x0a00_0000;

/// Whether HYP mode answers accesses to the distributor: the module's parameter.
fn hyp_answers() -> bool {
    let parameter = std::fs::read_to_string("/sys/module/kvm_arm/parameters/hyp_vgic");
    parameter.is_ok_and(|value| value.trim() == "Y")
}

/// Reads, writes that change nothing elsewhere, SGIs of a vCPU to itself, and their ends in both ways.
fn accesses_without_exit() -> Outcome {
    without_exit(false)?;
    without_exit(true)
}

fn without_exit(eoi_mode: bool) -> Outcome {
    const ROUNDS: u32 = 200;
    let mut program = Gic::enable_all();
    if eoi_mode {
        program.extend(code::load(0, (1 << 9) | 1));
        program.push(code::str(0, 1));
    }
    for (register, value) in [
        (0, Gic::DIST + 4),
        (1, Gic::DIST + 0x100),
        (2, Gic::DIST + 0xf00),
        // SGI 3 to oneself
        (3, (2 << 24) | 3),
        (4, 1 << 3),
        (5, ROUNDS),
        (6, Gic::CPU + 0xc),
        (7, Gic::CPU + 0x10),
        (9, Gic::CPU + 0x1000),
    ] {
        program.extend(code::load(register, value));
    }
    program.extend([
        code::ldr(8, 0),
        code::str(4, 1),
        code::str(3, 2),
        // GICC_IAR, GICC_EOIR
        code::ldr(8, 6),
        code::str(8, 7),
    ]);
    if eoi_mode {
        // GICC_DIR
        program.push(code::str(8, 9));
    }
    program.extend([SUBS_R5_1, back(BNE, 6 + u32::from(eoi_mode))]);
    program.extend(code::load(0, HOLE));
    program.extend([code::str(8, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the SGI of the last round", guest.get(8)?, 3)?;
    let (all, answered) = (
        stats.value("mmio_exit_kernel")?,
        stats.value("hyp_answered_mmio")?,
    );
    // Two more are of the beginning.
    let in_rounds = u64::from(ROUNDS) * (3 + u64::from(eoi_mode));
    equal("accesses", all, in_rounds + 2)?;
    if !hyp_answers() {
        return equal("accesses without an exit", answered, 0);
    }
    let exits = stats.value("data_aborts")?;
    ensure(
        answered >= in_rounds - 2 && exits < 20,
        format!("{answered} of {all} accesses without an exit, {exits} data aborts"),
    )
}

/// The SGIs that a vCPU sends in [`sgis_to_one_that_runs`].
const SGIS: u32 = 100;

/// Three of four SGIs get to the other vCPU without an exit of the sender. Now and then the other one is in the host, as after a
/// tick. Where ticks take most of the time of a slow host, it nearly always is, so there are more rounds than one.
fn sgis_without_exit() -> Outcome {
    const ENOUGH: u64 = SGIS as u64 * 3 / 4;
    let (start, patience) = (Instant::now(), kvm::patience(20));
    let has_two_cpus = thread::available_parallelism().map_or(1, usize::from) >= 2;
    loop {
        let (answered, kicks) = sgis_to_one_that_runs(has_two_cpus)?;
        if !hyp_answers() || !has_two_cpus || (answered >= ENOUGH && kicks >= ENOUGH) {
            return Ok(());
        }
        ensure(
            start.elapsed() < patience,
            format!("{answered} of {SGIS} SGIs without an exit, for which the other vCPU left {kicks} times"),
        )?;
    }
}

/// The number of SGIs that HYP mode has answered, and of the exits of the other vCPU by an interrupt: each SGI goes into a list register
/// anew. The other vCPU counts in memory, so that the sender knows when it runs.
fn sgis_to_one_that_runs(has_two_cpus: bool) -> Result<(u64, u64), String> {
    const COUNT: u32 = BASE + 0x1000;
    const END: u32 = BASE + 0x1004;
    const RECEIVER: u32 = 0x800;
    const GICD_SPENDSGIR0: u64 = 0xf20;
    let mut sender = Gic::enable_all();
    for (register, value) in [
        (1, COUNT),
        (2, Gic::DIST + 0xf00),
        // SGI 1 to vCPU 1
        (3, (2 << 16) | 1),
        (5, SGIS),
        (6, END),
    ] {
        sender.extend(code::load(register, value));
    }
    sender.extend([
        code::ldr(4, 1),
        code::ldr(7, 1),
        // cmp r7, r4
        0xe157_0004,
        back(BEQ, 2),
        code::str(3, 2),
        SUBS_R5_1,
        back(BNE, 6),
        code::str(3, 6),
    ]);
    let [low, high] = code::load(0, HOLE);
    let end = [low, high, code::str(0, 0), code::LOOP];
    sender.extend(end);
    let mut receiver = Vec::new();
    for (register, value) in [(1, COUNT), (2, 0), (6, END)] {
        receiver.extend(code::load(register, value));
    }
    receiver.extend([
        // add r2, r2, #1
        0xe282_2001,
        code::str(2, 1),
        code::ldr(3, 6),
        // cmp r3, #0
        0xe353_0000,
        back(BEQ, 4),
    ]);
    receiver.extend(end);

    let guest = Guest::new(&sender)?;
    let other = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &other)?;
    guest.memory.write_words(RECEIVER as usize, &receiver);
    other
        .set_reg(uapi::core_reg(uapi::CORE_PC), BASE + RECEIVER)
        .works("PC of vCPU 1")?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let receiver_stats = Stats::new(other.stats_fd().works("KVM_GET_STATS_FD")?)?;
    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Outcome {
            // On one CPU of the host, the two would never run at the same time.
            if has_two_cpus {
                stay_on(1)?;
            }
            other.run().works("KVM_RUN of vCPU 1").map(drop)
        });
        let result = stay_on(0).and_then(|()| guest.run_to(uapi::EXIT_MMIO));
        receiver.join().map_err(|_| "the thread of vCPU 1")??;
        result
    })?;
    let pending = gic.distributor((1 << 32) | GICD_SPENDSGIR0)?;
    equal("GICD_SPENDSGIR0 of vCPU 1", pending, 1 << 8)?;
    Ok((
        stats.value("hyp_answered_mmio")?,
        receiver_stats.value("interrupt_exits")?,
    ))
}

/// A guest that writes to its GICC_APR0 has that for itself: another one, on the same CPU of the host,
/// takes its interrupt. With the first one's priorities it would not.
fn priorities_of_another() -> Outcome {
    stay_on(0)?;
    let mut program = code::load(0, u32::MAX).to_vec();
    program.extend(code::load(1, Gic::CPU + 0xd0));
    program.push(code::str(0, 1));
    program.extend(code::load(1, HOLE));
    program.extend([code::str(0, 1), code::LOOP]);
    let first = Guest::new(&program)?;
    let gic = Gic::new(&first)?;
    gic.init()?;

    let mut program = Gic::enable_all();
    program.extend(Gic::wait_and_store(HOLE));
    let second = Guest::new(&program)?;
    Gic::new(&second)?.init()?;
    let irq = (uapi::IRQ_TYPE_PPI << uapi::IRQ_TYPE_SHIFT) | 31;
    second.vm.irq_line(irq, true).works("the PPI")?;

    first.run_to(uapi::EXIT_MMIO)?;
    second.run_to(uapi::EXIT_MMIO)?;
    let data = second.vcpu.run.mmio().data;
    equal("the interrupt", u64::from_le_bytes(data), 31)?;
    equal(
        "GICC_APR0 of the first",
        gic.interface(GICC_APR0)?,
        u32::MAX,
    )
}

/// A guest that is asked for its GICC_PMR and GICC_APR0, and given other values, again and again.
struct Asked {
    guest: Guest,
    gic: Gic,
    /// The values that the guest has to see.
    pmr: u32,
    apr: u32,
}

impl Asked {
    fn new() -> Result<Self, String> {
        let mut program = code::load(1, HOLE).to_vec();
        program.extend(code::load(4, Gic::CPU + GICC_PMR as u32));
        program.extend(code::load(5, Gic::CPU + GICC_APR0 as u32));
        program.extend([
            code::ldr(0, 4),
            code::ldr(2, 5),
            code::str(0, 1),
            code::str(2, 1),
            code::ldr(0, 1),
            code::ldr(2, 1),
            code::str(0, 4),
            code::str(2, 5),
            code::str(0, 1),
            back(0xea00_0000, 9),
        ]);
        let guest = Guest::new(&program)?;
        let gic = Gic::new(&guest)?;
        gic.init()?;
        Ok(Self {
            guest,
            gic,
            pmr: 0,
            apr: 0,
        })
    }

    /// Has the guest say what it finds, and take `pmr` and `apr` in their place.
    fn exchange(&mut self, pmr: u32, apr: u32) -> Outcome {
        for (what, expected) in [("GICC_PMR", self.pmr), ("GICC_APR0", self.apr)] {
            self.guest.run_to(uapi::EXIT_MMIO)?;
            let found = u64::from_le_bytes(self.guest.vcpu.run.mmio().data);
            equal(format!("{what} in the guest"), found, expected.into())?;
        }
        for value in [pmr, apr] {
            self.guest.run_to(uapi::EXIT_MMIO)?;
            self.guest.answer(value);
        }
        // It stores both.
        self.guest.run_to(uapi::EXIT_MMIO)?;
        (self.pmr, self.apr) = (pmr, apr);
        Ok(())
    }

    /// Has user space change both.
    fn set(&mut self, pmr: u32, apr: u32) -> Outcome {
        self.gic.set_interface(GICC_PMR, pmr >> 3)?;
        self.gic.set_interface(GICC_APR0, apr)?;
        (self.pmr, self.apr) = (pmr, apr);
        Ok(())
    }

    /// Compares with what user space reads.
    fn check(&self) -> Outcome {
        equal("GICC_PMR", self.gic.interface(GICC_PMR)?, self.pmr >> 3)?;
        equal("GICC_APR0", self.gic.interface(GICC_APR0)?, self.apr)
    }
}

/// Numbers that look random, and are the same each time.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    /// A GICC_PMR, which has five bits, and a GICC_APR0.
    fn values(&mut self) -> (u32, u32) {
        (self.next() & 0xf8, (self.next() << 16) ^ self.next())
    }
}

/// Three guests take turns on the CPUs of the host. Each finds what it has written itself, or what user
/// space has. New guests find a new interface.
fn interfaces_that_move() -> Outcome {
    let cpus = thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut numbers = Numbers(1);
    let mut guests = [Asked::new()?, Asked::new()?, Asked::new()?];
    for step in 0..2000 {
        stay_on((numbers.next() % cpus) as usize)?;
        let asked = &mut guests[numbers.next() as usize % 3];
        let (pmr, apr) = numbers.values();
        // Most often nobody asks between two runs, on the same CPU or on another one.
        let result = match numbers.next() % 16 {
            0 => Asked::new().map(|new| *asked = new),
            1 => asked.check(),
            2 => asked.set(pmr, apr),
            _ => asked.exchange(pmr, apr),
        };
        result.map_err(|e| format!("step {step}: {e}"))?;
    }
    guests.iter().try_for_each(Asked::check)
}

/// The last CPU goes offline after a guest has run there.
fn interface_of_a_cpu_that_goes() -> Outcome {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        return Ok(());
    }
    let online = format!("/sys/devices/system/cpu/cpu{}/online", cpus - 1);
    let mut numbers = Numbers(2);
    let (mut seen, mut unseen) = (Asked::new()?, Asked::new()?);
    for _ in 0..3 {
        for asked in [&mut seen, &mut unseen] {
            stay_on(cpus - 1)?;
            let (pmr, apr) = numbers.values();
            asked.exchange(pmr, apr)?;
        }
        stay_on(0)?;
        std::fs::write(&online, "0").works(&online)?;
        let result = seen.check();
        std::fs::write(&online, "1").works(&online)?;
        result?;
        for asked in [&mut seen, &mut unseen] {
            let (pmr, apr) = numbers.values();
            asked.exchange(pmr, apr)?;
        }
    }
    Ok(())
}

fn run_without_addresses() -> Outcome {
    let (kvm, vm) = new_vm()?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    init(&vm, &vcpu)?;
    fails(
        "KVM_RUN",
        vcpu.run(),
        &[libc::ENXIO, libc::ENODEV, libc::EINVAL],
    )?;
    // The VM is still good.
    vm.set_device_addr(TYPE_DIST, DIST).works("distributor")?;
    vm.set_device_addr(TYPE_CPU, CPU).works("CPU interface")?;
    vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
        .works("KVM_SET_ONE_REG")
}

fn run_with_addresses() -> Outcome {
    // ldr r1, [r0] of GICD_TYPER, in the kernel; then the end.
    let mut program = Vec::new();
    program.extend(code::load(0, DIST as u32 + 4));
    program.push(code::ldr(1, 0));
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    let (kvm, vm) = new_vm()?;
    let memory = crate::guest::Memory::new(crate::guest::SIZE)?;
    memory.write_words(0, &program);
    let slot = crate::guest::slot(0, BASE.into(), &memory, crate::guest::SIZE);
    vm.set_user_memory_region(&slot).works("memory")?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    vm.set_device_addr(TYPE_DIST, DIST).works("distributor")?;
    vm.set_device_addr(TYPE_CPU, CPU).works("CPU interface")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    init(&vm, &vcpu)?;
    vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
        .works("pc")?;
    vcpu.run().works("KVM_RUN")?;
    equal(
        "exit reason",
        vcpu.run.exit_reason(),
        uapi::EXIT_SYSTEM_EVENT,
    )?;
    let typer = vcpu.reg(uapi::core_reg(1)).works("r1")?;
    equal("CPUs less one", (typer >> 5) & 7, 0)?;
    ensure(typer & 0x1f > 0, format!("GICD_TYPER is {typer:#x}"))
}
