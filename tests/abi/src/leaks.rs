// SPDX-License-Identifier: GPL-2.0

//! Nothing of the host is visible to a new guest, nor in what the kernel gives a monitor: no register of the thread
//! that runs a vCPU, and no bytes that nobody has set. (`tests/fuzz` looks for bytes that the kernel writes beside
//! an argument.)

use kvm::uapi;

use crate::check::{ensure, equal, Outcome, Test, Works};
use crate::guest::{code, Guest, BASE, HOLE, PAGE};

pub(crate) const TESTS: &[Test] = &[
    ("leaks: the core registers of a new vCPU", core_registers),
    ("leaks: the CP15 registers of a new vCPU", cp15_registers),
    ("leaks: the VFP registers of a new vCPU", vfp_registers),
    ("leaks: the page of kvm_run", run_page),
    ("leaks: KVM_GET_VCPU_EVENTS", events),
];

/// Where the programs store, from the begin of the memory.
const STORED: usize = 0x400;
/// A value that the host's registers have while it enters the guest.
const CANARY: u32 = 0x5ec2_e7a9;

/// An instruction that stores a register as the `n`th word of [`STORED`], as the `at`th one of the program.
fn store(register: u32, n: usize, at: usize) -> u32 {
    // STR Rt, [PC, #offset]; PC is two instructions ahead (A8.8.204).
    let offset = STORED + 4 * n - (4 * at + 8);
    0xe58f_0000 | (register << 12) | offset as u32
}

/// Adds the end of a program: a store to the hole.
fn finish(program: &mut Vec<u32>) {
    program.extend(code::load(0, HOLE));
    program.extend([code::str(0, 0), code::LOOP]);
}

/// Runs a guest with as many registers of the host as can be having a known value, and gives the words that it
/// has stored.
fn run_beside_canaries(guest: &Guest, words: usize) -> Result<Vec<u32>, String> {
    fill_vfp();
    guest.run_to(uapi::EXIT_MMIO)?;
    Ok((0..words)
        .map(|n| guest.memory.word(STORED + 4 * n))
        .collect())
}

/// Fills the VFP registers of this thread. The compiler does not use the upper ones.
fn fill_vfp() {
    #[cfg(target_arch = "arm")]
    // SAFETY: The registers are named as changed, or the compiler does not know them.
    unsafe {
        core::arch::asm!(
            ".fpu neon",
            "vdup.32 q0, {canary}",
            "vdup.32 q1, {canary}",
            "vdup.32 q2, {canary}",
            "vdup.32 q3, {canary}",
            "vdup.32 q8, {canary}",
            "vdup.32 q9, {canary}",
            "vdup.32 q10, {canary}",
            "vdup.32 q11, {canary}",
            "vdup.32 q12, {canary}",
            "vdup.32 q13, {canary}",
            "vdup.32 q14, {canary}",
            "vdup.32 q15, {canary}",
            ".fpu vfpv3-d16",
            canary = in(reg) CANARY,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            options(nomem, nostack)
        );
    }
}

/// The register of user space's threads, which each can read.
fn thread_pointer() -> u32 {
    #[cfg(target_arch = "arm")]
    {
        let pointer: u32;
        // SAFETY: Reads TPIDRURO.
        unsafe {
            core::arch::asm!("mrc p15, 0, {}, c13, c0, 3", out(reg) pointer, options(nomem, nostack));
        }
        pointer
    }
    #[cfg(not(target_arch = "arm"))]
    CANARY
}

fn core_registers() -> Outcome {
    let mut program: Vec<u32> = (0..15).map(|n| store(n, n as usize, n as usize)).collect();
    // The registers of the other modes: CPS to FIQ, and R8 to R14; then R13 and R14 of IRQ, ABT, UND and SYS.
    let mut n = 15;
    for (mode, registers) in [
        (0x11, 8..15),
        (0x12, 13..15),
        (0x17, 13..15),
        (0x1b, 13..15),
        (0x1f, 13..15),
    ] {
        program.push(0xf102_0000 | mode);
        for register in registers {
            program.push(store(register, n, program.len()));
            n += 1;
        }
    }
    finish(&mut program);
    let guest = Guest::new(&program)?;
    let stored = run_beside_canaries(&guest, n)?;
    equal("registers", stored, vec![0; n])
}

fn cp15_registers() -> Outcome {
    // CONTEXTIDR, TPIDRURW, TPIDRURO, TPIDRPRW, DFAR, IFAR, DFSR, IFSR, ADFSR, AIFSR, PAR, VBAR, TTBR0, TTBR1.
    const REGISTERS: [(u32, u32, u32); 14] = [
        (13, 0, 1),
        (13, 0, 2),
        (13, 0, 3),
        (13, 0, 4),
        (6, 0, 0),
        (6, 0, 2),
        (5, 0, 0),
        (5, 0, 1),
        (5, 1, 0),
        (5, 1, 1),
        (7, 4, 0),
        (12, 0, 0),
        (2, 0, 0),
        (2, 0, 1),
    ];
    let mut program = Vec::new();
    for (n, (crn, crm, opc2)) in REGISTERS.into_iter().enumerate() {
        program.push(code::mrc(1, 0, crn, crm, opc2));
        program.push(store(1, n, program.len()));
    }
    finish(&mut program);
    let guest = Guest::new(&program)?;
    ensure(
        thread_pointer() != 0,
        "this thread has no pointer to look for",
    )?;
    let stored = run_beside_canaries(&guest, REGISTERS.len())?;
    for (word, register) in stored.into_iter().zip(REGISTERS) {
        ensure(
            word != thread_pointer() && word != CANARY,
            format!("{register:?} is the host's: {word:#010x}"),
        )?;
        equal(format!("{register:?}"), word, 0)?;
    }
    Ok(())
}

fn vfp_registers() -> Outcome {
    let mut program = code::load(0, 0x00f0_0000).to_vec();
    // CPACR, ISB, FPEXC.EN
    program.extend([0xee01_0f50, 0xf57f_f06f]);
    program.extend(code::load(0, 0x4000_0000));
    program.push(0xeee8_0a10);
    program.extend(code::load(1, BASE + STORED as u32));
    // VSTMIA R1!, {D0-D15}, and D16 to D31; VMRS R2, FPSCR; STR R2, [R1]
    program.extend([0xeca1_0b20, 0xece1_0b20, 0xeef1_2a10, code::str(2, 1)]);
    finish(&mut program);
    let guest = Guest::new(&program)?;
    let stored = run_beside_canaries(&guest, 65)?;
    equal("D0 to D31 and FPSCR", stored, vec![0; 65])
}

fn run_page() -> Outcome {
    let mut program = code::load(0, HOLE).to_vec();
    program.extend(code::load(1, 0x1234_56ab));
    program.extend([code::strb(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let words = |guest: &Guest| -> Vec<(usize, u32)> {
        let page = (0..PAGE)
            .step_by(4)
            .map(|offset| (offset, guest.vcpu.run.word(offset)));
        page.filter(|(_, word)| *word != 0).collect()
    };
    equal("before the first run", words(&guest), Vec::new())?;
    guest.run_to(uapi::EXIT_MMIO)?;
    // exit_reason, and struct { u64 phys_addr; u8 data[8]; u32 len; u8 is_write; } at 32.
    let known = [
        (8, uapi::EXIT_MMIO),
        (32, HOLE),
        (40, 0xab),
        (48, 1),
        (52, 1),
    ];
    let beside: Vec<_> = words(&guest)
        .into_iter()
        .filter(|word| !known.contains(word))
        // if_flag, ready_for_interrupt_injection and flags are not of this architecture, but may be set.
        .filter(|(offset, _)| *offset != 12)
        .collect();
    equal("beside the exit", beside, Vec::new())
}

fn events() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    // struct kvm_vcpu_events has 64 bytes, of which a new vCPU has none set.
    let mut room = [0xffu8; 64];
    kvm::ioctl_mut(&guest.vcpu, uapi::GET_VCPU_EVENTS(), &mut room).works("KVM_GET_VCPU_EVENTS")?;
    equal("the structure", room, [0; 64])
}
