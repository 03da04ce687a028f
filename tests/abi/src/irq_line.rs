// SPDX-License-Identifier: GPL-2.0

//! KVM_IRQ_LINE.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm::{ioctl_mut, uapi};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, new_vm, slot, Gic, Guest, Memory, BASE, HOLE, PAGE};
use crate::pmu;

pub(crate) const TESTS: &[Test] = &[
    ("IRQ_LINE: bad fields, CPU lines", bad_cpu_fields),
    ("IRQ_LINE: bad fields, vGIC", bad_gic_fields),
    ("IRQ_LINE: wakes a CPU from WFI", wakes),
    ("IRQ_LINE: IRQ exception in the guest", exception),
    ("lines of a vCPU's devices at each exit", device_lines),
    ("IRQ_LINE_STATUS: gives the structure back", status),
    ("IRQ_LINE: lines of a vCPU's own devices", owned_lines),
    ("IRQ_LINE: CPU lines after ARM_VCPU_INIT", lines_after_init),
    ("IRQ_LINE: the reserved INTIDs of a vGIC", reserved_intids),
    ("IRQ_LINE: while a large slot goes", while_a_slot_goes),
];

fn line(kind: u32, vcpu: u32, number: u32) -> u32 {
    (kind << uapi::IRQ_TYPE_SHIFT) | (vcpu << uapi::IRQ_VCPU_SHIFT) | number
}

fn bad_cpu_fields() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    let cpu = uapi::IRQ_TYPE_CPU;
    for number in [0, 1] {
        for level in [true, false] {
            vm.irq_line(line(cpu, 0, number), level)
                .works("a CPU line")?;
        }
    }
    fails(
        "line 2",
        vm.irq_line(line(cpu, 0, 2), true),
        &[libc::EINVAL],
    )?;
    fails(
        "vCPU 1",
        vm.irq_line(line(cpu, 1, 0), true),
        &[libc::EINVAL],
    )?;
    fails(
        "vCPU 255",
        vm.irq_line(line(cpu, 255, 0), true),
        &[libc::EINVAL],
    )?;
    fails("vCPU 256", vm.irq_line(1 << 28, true), &[libc::EINVAL])?;
    for kind in [3, 15] {
        let result = vm.irq_line(line(kind, 0, 0), true);
        fails(format!("type {kind}"), result, &[libc::EINVAL])?;
    }
    let no_gic = &[libc::ENXIO];
    fails(
        "SPI",
        vm.irq_line(line(uapi::IRQ_TYPE_SPI, 0, 32), true),
        no_gic,
    )?;
    fails(
        "PPI",
        vm.irq_line(line(uapi::IRQ_TYPE_PPI, 0, 20), true),
        no_gic,
    )
}

fn bad_gic_fields() -> Outcome {
    let (kvm, vm) = new_vm()?;
    vm.create_irqchip().works("KVM_CREATE_IRQCHIP")?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    let (spi, ppi) = (uapi::IRQ_TYPE_SPI, uapi::IRQ_TYPE_PPI);
    vm.irq_line(line(spi, 0, 32), true).works("SPI 32")?;
    vm.irq_line(line(ppi, 0, 20), true).works("PPI 20")?;
    for number in [0, 31, 1020, 0xffff] {
        let result = vm.irq_line(line(spi, 0, number), true);
        fails(format!("SPI {number}"), result, &[libc::EINVAL])?;
    }
    for number in [0, 15, 32, 0xffff] {
        let result = vm.irq_line(line(ppi, 0, number), true);
        fails(format!("PPI {number}"), result, &[libc::EINVAL])?;
    }
    fails(
        "PPI of vCPU 1",
        vm.irq_line(line(ppi, 1, 20), true),
        &[libc::EINVAL],
    )?;
    let result = vm.irq_line(line(uapi::IRQ_TYPE_CPU, 0, 0), true);
    fails("a CPU line", result, &[libc::ENXIO])
}

fn wakes() -> Outcome {
    let mut program = vec![code::WFI];
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| guest.run_to(uapi::EXIT_MMIO));
        thread::sleep(Duration::from_millis(100));
        if thread.is_finished() {
            return Err("the guest did not wait".into());
        }
        // Interrupts are masked: they wake, and are not taken.
        guest
            .vm
            .irq_line(line(uapi::IRQ_TYPE_CPU, 0, 0), true)
            .works("IRQ")?;
        thread.join().map_err(|_| "panic")?
    })?;
    equal("address", guest.vcpu.run.mmio().phys_addr, HOLE.into())
}

fn exception() -> Outcome {
    // cpsie i; b .
    let guest = Guest::new(&[0xf108_0080, code::LOOP])?;
    let vectors = Memory::new(PAGE)?;
    let mut program = vec![code::LOOP; 6];
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(1, 0), code::LOOP]);
    vectors.write_words(0, &program);
    let slot = slot(1, 0, &vectors, PAGE);
    guest.vm.set_user_memory_region(&slot).works("vectors")?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| guest.run_to(uapi::EXIT_MMIO));
        thread::sleep(Duration::from_millis(50));
        guest
            .vm
            .irq_line(line(uapi::IRQ_TYPE_CPU, 0, 0), true)
            .works("IRQ")?;
        thread.join().map_err(|_| "panic")?
    })?;
    equal("mode", guest.get(uapi::CORE_CPSR)? & 0x1f, 0x12)
}

/// For a monitor with its own interrupt controller: the levels are right after each return, also
/// one that is about something else (api.rst 8.9).
fn device_lines() -> Outcome {
    const ENABLE: u32 = 1;
    const ENABLE_AND_MASK: u32 = 3;
    const VTIMER: u64 = 1;
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    // The compare value is zero after reset, so the line rises at once.
    for ctl in [ENABLE, ENABLE_AND_MASK] {
        program.extend(code::load(1, ctl));
        program.push(code::mcr(1, 0, 14, 3, 1));
        program.push(if ctl == ENABLE {
            code::WFI
        } else {
            code::str(1, 0)
        });
    }
    program.push(code::LOOP);
    let guest = Guest::new(&program)?;
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EINTR])?;
    equal("the line", guest.vcpu.run.device_irq_level(), VTIMER)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the masked line", guest.vcpu.run.device_irq_level(), 0)
}

fn status() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let _vcpu = new_vcpu(&kvm, &vm, 0)?;
    let irq = line(uapi::IRQ_TYPE_CPU, 0, 0);
    let mut level = uapi::IrqLevel { irq, level: 1 };
    ioctl_mut(&vm, uapi::IRQ_LINE_STATUS(), &mut level).works("KVM_IRQ_LINE_STATUS")?;
    equal("irq, or status", level.irq, irq)?;
    equal("level", level.level, 1)?;
    level.irq = line(uapi::IRQ_TYPE_CPU, 0, 2);
    let wrong = ioctl_mut(&vm, uapi::IRQ_LINE_STATUS(), &mut level);
    fails("line 2", wrong, &[libc::EINVAL])
}

/// Lines that the timers and the PMU drive are left alone, and that is no error.
fn owned_lines() -> Outcome {
    const PMU: u32 = 23;
    const OWNED: [u32; 3] = [PMU, 27, 30];
    const FREE: u32 = 31;
    let mut program = code::load(1, HOLE).to_vec();
    program.push(code::str(1, 1));
    program.extend(Gic::enable_all());
    program.extend(Gic::wait_and_store(HOLE));
    let guest = pmu::guest_with_irq(&program, PMU as i32)?;
    let raise = |number: u32| {
        let irq = line(uapi::IRQ_TYPE_PPI, 0, number);
        guest.vm.irq_line(irq, true).works(format!("PPI {number}"))
    };
    // Before the first KVM_RUN their numbers may still change; after it they are fixed.
    OWNED.into_iter().try_for_each(raise)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    OWNED.into_iter().try_for_each(raise)?;
    raise(FREE)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let data = guest.vcpu.run.mmio().data;
    equal("the interrupt", u64::from_le_bytes(data), FREE.into())
}

/// They are low, as Linux 5.6 had them.
fn lines_after_init() -> Outcome {
    // ISR: the lines that are high, whether or not they are masked (Arm ARM B4.1.100).
    const IRQ: u64 = 1 << 7;
    const FIQ: u64 = 1 << 6;
    let mut program = code::load(0, HOLE).to_vec();
    program.extend([code::mrc(1, 0, 12, 1, 0), code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let lines_that_are_high = || {
        guest.set(uapi::CORE_PC, BASE)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        let data = guest.vcpu.run.mmio().data;
        guest.complete()?;
        Ok::<u64, String>(u64::from_le_bytes(data))
    };
    for number in [0, 1] {
        let irq = line(uapi::IRQ_TYPE_CPU, 0, number);
        guest.vm.irq_line(irq, true).works("a line")?;
    }
    equal("ISR", lines_that_are_high()?, IRQ | FIQ)?;
    init(&guest.vm, &guest.vcpu)?;
    equal("ISR after KVM_ARM_VCPU_INIT", lines_that_are_high()?, 0)?;
    // The monitor may raise them again.
    let irq = line(uapi::IRQ_TYPE_CPU, 0, 0);
    guest.vm.irq_line(irq, true).works("IRQ")?;
    equal("ISR with IRQ", lines_that_are_high()?, IRQ)
}

/// There are at most 1020 interrupts: the last four INTIDs mean something else (IHI 0048B 2.2.1).
fn reserved_intids() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    let gic = Gic::new(&guest)?;
    gic.set_nr_irqs(1024)?;
    gic.init()?;
    guest.vm.spi_line(1019, true).works("SPI 1019")?;
    for intid in 1020..1024 {
        for level in [true, false] {
            let result = guest.vm.spi_line(intid, level);
            fails(format!("SPI {intid}"), result, &[libc::EINVAL])?;
        }
    }
    Ok(())
}

/// An interrupt does not wait until the host has unmapped and cleaned the pages of a slot, nor does
/// the configuration of the vGIC.
fn while_a_slot_goes() -> Outcome {
    const SIZE: usize = 256 << 20;
    const GPA: u32 = 0xa000_0000;
    /// So many calls have to come to their end before the slot is gone. If they wait for it, there is
    /// the one that was under way when it began to go, and one after.
    const CALLS: u32 = 20;
    let guest = Guest::new(&code::store_to_each())?;
    let gic = Gic::new(&guest)?;
    gic.init()?;
    let memory = Memory::new(SIZE)?;
    // Page by page it takes longer to go. Pages that are there already are mapped faster.
    memory.advise_part(0, SIZE, libc::MADV_NOHUGEPAGE)?;
    memory.advise_part(0, SIZE, libc::MADV_POPULATE_WRITE)?;
    let mut region = slot(1, GPA.into(), &memory, SIZE);
    guest.vm.set_user_memory_region(&region).works("the slot")?;
    for (register, value) in [(0, GPA), (1, (SIZE / PAGE) as u32), (2, PAGE as u32)] {
        guest.set(register, value)?;
    }
    guest.run_to(uapi::EXIT_MMIO)?;

    region.memory_size = 0;
    let (is_going, is_gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let calls = [const { AtomicU32::new(0) }; 2];
    let [line_calls, attribute_calls] = &calls;
    let time = thread::scope(|scope| {
        let caller = scope.spawn(|| {
            for level in [true, false].into_iter().cycle() {
                guest.vm.spi_line(40, level).works("KVM_IRQ_LINE")?;
                let in_time = is_going.load(Ordering::SeqCst) && !is_gone.load(Ordering::SeqCst);
                line_calls.fetch_add(in_time.into(), Ordering::SeqCst);
                gic.nr_irqs()?;
                let in_time = is_going.load(Ordering::SeqCst) && !is_gone.load(Ordering::SeqCst);
                attribute_calls.fetch_add(in_time.into(), Ordering::SeqCst);
                if is_gone.load(Ordering::SeqCst) {
                    break;
                }
            }
            Ok::<(), String>(())
        });
        let start = Instant::now();
        is_going.store(true, Ordering::SeqCst);
        let result = guest.vm.set_user_memory_region(&region);
        is_gone.store(true, Ordering::SeqCst);
        let time = start.elapsed();
        caller.join().map_err(|_| "panic")??;
        result.works("the slot goes")?;
        Ok::<Duration, String>(time)
    })?;
    for (what, calls) in [("KVM_IRQ_LINE", line_calls), ("attribute", attribute_calls)] {
        let calls = calls.load(Ordering::SeqCst);
        ensure(
            calls >= CALLS,
            format!("{what}: {calls} calls in the {time:?} in which the slot went"),
        )?;
    }
    Ok(())
}
