// SPDX-License-Identifier: GPL-2.0

//! KVM_RUN: its results, and its interruptions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use kvm::{ioctl, uapi};
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use crate::check::{equal, fails, Outcome, Test, Works};
use crate::guest::{code, Guest, BASE, HOLE, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET};

pub(crate) const TESTS: &[Test] = &[
    ("RUN: an argument", argument),
    ("RUN: MMIO writes", mmio_writes),
    ("RUN: MMIO reads", mmio_reads),
    ("RUN: MMIO of a Thumb guest", mmio_thumb),
    ("RUN: MMIO with a false condition", mmio_condition),
    ("RUN: SYSTEM_OFF", || {
        system_event(PSCI_SYSTEM_OFF, uapi::SYSTEM_EVENT_SHUTDOWN)
    }),
    ("RUN: SYSTEM_RESET", || {
        system_event(PSCI_SYSTEM_RESET, uapi::SYSTEM_EVENT_RESET)
    }),
    ("RUN: immediate_exit", immediate_exit),
    (
        "RUN: immediate_exit completes MMIO",
        immediate_exit_completes,
    ),
    ("RUN: a signal", signal),
    ("RUN: a signal while in WFI", signal_in_wfi),
    ("RUN: a vCPU that is off waits", off_waits),
    ("RUN: undefined instruction stays in the guest", undefined),
];

fn argument() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    let result = ioctl(&guest.vcpu, uapi::RUN(), 1);
    fails("KVM_RUN", result, &[libc::EINVAL])
}

/// The expected next exit.
fn expect_mmio(guest: &Guest, what: &str, is_write: bool, len: u32) -> Result<u64, String> {
    guest.run_to(uapi::EXIT_MMIO)?;
    let mmio = guest.vcpu.run.mmio();
    equal(format!("{what}: address"), mmio.phys_addr, HOLE.into())?;
    equal(format!("{what}: is_write"), mmio.is_write, is_write.into())?;
    equal(format!("{what}: len"), mmio.len, len)?;
    Ok(u64::from_le_bytes(mmio.data))
}

fn mmio_writes() -> Outcome {
    let mut program = Vec::new();
    program.extend(code::load(0, HOLE));
    program.extend(code::load(1, 0x1234_5678));
    program.extend([
        code::str(1, 0),
        code::strh(1, 0),
        code::strb(1, 0),
        code::LOOP,
    ]);
    let guest = Guest::new(&program)?;
    for (what, len) in [("str", 4), ("strh", 2), ("strb", 1)] {
        let data = expect_mmio(&guest, what, true, len)?;
        let mask = (1u64 << (len * 8)) - 1;
        equal(format!("{what}: data"), data & mask, 0x1234_5678 & mask)?;
    }
    Ok(())
}

fn mmio_reads() -> Outcome {
    let mut program = Vec::new();
    program.extend(code::load(0, HOLE));
    program.extend([
        code::ldr(1, 0),
        code::ldrh(2, 0),
        code::ldrsh(3, 0),
        code::ldrsb(4, 0),
        code::str(1, 0),
        code::LOOP,
    ]);
    let guest = Guest::new(&program)?;
    for (what, len) in [("ldr", 4), ("ldrh", 2), ("ldrsh", 2), ("ldrsb", 1)] {
        expect_mmio(&guest, what, false, len)?;
        guest.answer(0xf1f2_83f4);
    }
    expect_mmio(&guest, "str", true, 4)?;
    for (word, value) in [
        (1, 0xf1f2_83f4),
        (2, 0x83f4),
        (3, 0xffff_83f4),
        (4, 0xffff_fff4),
    ] {
        equal(format!("r{word}"), guest.get(word)?, value)?;
    }
    Ok(())
}

fn mmio_thumb() -> Outcome {
    // ldr r1, [r0]; ldr.w r2, [r0]; str r1, [r0]; b .
    let guest = Guest::new(&[0xf8d0_6801, 0x6001_2000, 0xe7fe_e7fe])?;
    guest.set(0, HOLE)?;
    guest.set(uapi::CORE_CPSR, 0x1f3)?;
    expect_mmio(&guest, "ldr", false, 4)?;
    guest.answer(0x1111_2222);
    expect_mmio(&guest, "ldr.w", false, 4)?;
    guest.answer(0x3333_4444);
    let data = expect_mmio(&guest, "str", true, 4)?;
    equal("what was read and written", data & 0xffff_ffff, 0x1111_2222)?;
    equal("r2", guest.get(2)?, 0x3333_4444)?;
    guest.complete()?;
    equal("pc", guest.get(uapi::CORE_PC)?, BASE + 8)
}

/// An access that is not made because its condition is false is no exit.
fn mmio_condition() -> Outcome {
    const NEVER_HERE: u32 = 0x0fff_ffff;
    let mut program = Vec::new();
    program.extend(code::load(0, HOLE));
    // cmp r0, r0; strne r1, [r0]; streq r0, [r0]
    program.extend([
        0xe150_0000,
        0x1000_0000 | code::str(1, 0) & NEVER_HERE,
        code::str(0, 0) & NEVER_HERE,
        code::LOOP,
    ]);
    let guest = Guest::new(&program)?;
    let data = expect_mmio(&guest, "streq", true, 4)?;
    equal("data", data & 0xffff_ffff, HOLE.into())
}

fn system_event(function: u32, event: u32) -> Outcome {
    let guest = Guest::new(&code::psci(function))?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    equal("event", guest.vcpu.run.system_event().event, event)
}

fn immediate_exit() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    for _ in 0..3 {
        guest.complete()?;
        equal("pc", guest.get(uapi::CORE_PC)?, BASE)?;
    }
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)
}

fn immediate_exit_completes() -> Outcome {
    let mut program = Vec::new();
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(1, 0), code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    expect_mmio(&guest, "ldr", false, 4)?;
    guest.answer(0x5566_7788);
    guest.complete()?;
    equal("r1", guest.get(1)?, 0x5566_7788)?;
    equal("pc", guest.get(uapi::CORE_PC)?, BASE + 12)
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Runs a program that does not end in a thread, and sends that a signal.
fn interrupt(program: &[u32]) -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let guest = Guest::new(program)?;
    let (sender, receiver) = channel();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .spawn_scoped(scope, || {
                // Tells the thread's name to those who want to send it signals.
                // SAFETY: Asks for the caller's thread.
                let _ = sender.send(unsafe { libc::pthread_self() });
                let result = guest.vcpu.run();
                done.store(true, Ordering::SeqCst);
                result
            })
            .works("thread")?;
        let id = receiver.recv().map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(100));
        while !done.load(Ordering::SeqCst) {
            // SAFETY: The thread has not been joined, so that its name is good.
            unsafe { libc::pthread_kill(id, SIGRTMIN()) };
            thread::sleep(Duration::from_millis(20));
        }
        let result = thread.join().map_err(|_| "panic")?;
        fails("KVM_RUN", result, &[libc::EINTR])
    })?;
    equal("exit reason", guest.vcpu.run.exit_reason(), uapi::EXIT_INTR)
}

fn signal() -> Outcome {
    interrupt(&[code::LOOP])
}

fn signal_in_wfi() -> Outcome {
    // wfi; b to it
    interrupt(&[code::WFI, 0xeaff_fffd])
}

fn off_waits() -> Outcome {
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|e| e.to_string())?;
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    let second = crate::guest::new_vcpu(&guest.kvm, &guest.vm, 1)?;
    let mut init = guest.vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    init.features[0] |= (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_POWER_OFF);
    second.init(&init).works("ARM_VCPU_INIT")?;
    let thread = thread::spawn(move || {
        let result = second.run();
        (result, second.run.exit_reason())
    });
    thread::sleep(Duration::from_millis(200));
    if thread.is_finished() {
        return Err("KVM_RUN came back by itself".into());
    }
    while !thread.is_finished() {
        thread.kill(SIGRTMIN()).map_err(|e| e.to_string())?;
        thread::sleep(Duration::from_millis(20));
    }
    let (result, reason) = thread.join().map_err(|_| "panic")?;
    fails("KVM_RUN", result, &[libc::EINTR])?;
    equal("exit reason", reason, uapi::EXIT_INTR)?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)
}

/// The guest's vectors are at 0 after reset, where nothing is: put there what tells us.
fn undefined() -> Outcome {
    // udf #0
    let guest = Guest::new(&[0xe7f0_00f0])?;
    let vectors = crate::guest::Memory::new(crate::guest::PAGE)?;
    let mut program = vec![code::LOOP];
    // From the vector for undefined instructions on, a read of the hole.
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(1, 0), code::LOOP]);
    vectors.write_words(0, &program);
    let slot = crate::guest::slot(1, 0, &vectors, crate::guest::PAGE);
    guest.vm.set_user_memory_region(&slot).works("vectors")?;
    expect_mmio(&guest, "ldr", false, 4)?;
    equal("mode", guest.get(uapi::CORE_CPSR)? & 0x1f, 0x1b)?;
    // Words: 18 of the user mode, 3 for SVC, 3 for ABT, then UND: SP, LR, SPSR.
    equal("LR_und", guest.get(25)?, BASE + 4)?;
    equal("SPSR_und", guest.get(26)? & 0x1f, 0x13)
}
