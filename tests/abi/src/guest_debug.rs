// SPDX-License-Identifier: GPL-2.0

//! KVM_SET_GUEST_DEBUG: breakpoints, watchpoints and steps, and the debug registers of the guest.

use std::fs::File;
use std::io::Read;
use std::ptr;

use kvm::uapi::{self, GuestDebug};
use kvm::{ioctl_ref, Vcpu};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, Guest, BASE, HOLE, PAGE, SIZE};
use crate::stats::{open_event, PerfEventAttr};

pub(crate) const TESTS: &[Test] = &[
    ("SET_GUEST_DEBUG: arguments", arguments),
    ("SET_GUEST_DEBUG: BKPT", bkpt),
    (
        "SET_GUEST_DEBUG: BKPT of a guest that nobody debugs",
        bkpt_of_the_guest,
    ),
    ("SET_GUEST_DEBUG: breakpoints", breakpoints),
    ("SET_GUEST_DEBUG: watchpoints", watchpoints),
    ("SET_GUEST_DEBUG: steps, Arm", step_arm),
    ("SET_GUEST_DEBUG: steps, Thumb", step_thumb),
    ("SET_GUEST_DEBUG: steps over exits", step_over_exits),
    (
        "SET_GUEST_DEBUG: a step into an exception",
        step_into_exception,
    ),
    ("SET_GUEST_DEBUG: steps at the vectors", step_at_vectors),
    (
        "SET_GUEST_DEBUG: the guest's own points rest",
        own_points_rest,
    ),
    ("debug registers: saved and restored", saved),
    ("debug registers: each vCPU has its own", of_each_vcpu),
    ("debug registers: the host's points", points_of_the_host),
];

/// Classes of `KVM_EXIT_DEBUG`.
const BREAKPOINT: u32 = 0x30;
const STEP: u32 = 0x32;
const WATCHPOINT: u32 = 0x34;
const BKPT: u32 = 0x38;

const NOP: u32 = 0xe320_f000;
const BKPT_0: u32 = 0xe120_0070;
/// A breakpoint in all modes and at all bytes of a word.
const CONTROL: u64 = 0x1e7;

fn debug(vcpu: &Vcpu, request: &GuestDebug) -> Outcome {
    ioctl_ref(vcpu, uapi::SET_GUEST_DEBUG(), request)
        .map(drop)
        .works("KVM_SET_GUEST_DEBUG")
}

fn enable(vcpu: &Vcpu, flags: u32) -> Outcome {
    let control = uapi::GUESTDBG_ENABLE | flags;
    let request = GuestDebug {
        control,
        ..GuestDebug::default()
    };
    debug(vcpu, &request)
}

/// Runs, and expects a debug exception of a class at an address.
fn expect(guest: &Guest, class: u32, pc: u32) -> Result<uapi::DebugExit, String> {
    guest.run_to(uapi::EXIT_DEBUG)?;
    let exit = guest.vcpu.run.debug();
    equal("pc", guest.get(uapi::CORE_PC)?, pc)?;
    equal(format!("class at {pc:#x}"), exit.hsr >> 26, class)?;
    equal("hsr_high", exit.hsr_high, 0)?;
    Ok(exit)
}

fn arguments() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    for (capability, expected) in [
        (uapi::CAP_SET_GUEST_DEBUG, 1),
        (uapi::CAP_GUEST_DEBUG_HW_BPS, 6),
        (uapi::CAP_GUEST_DEBUG_HW_WPS, 4),
    ] {
        let found = guest
            .kvm
            .check_extension(capability)
            .works("a capability")?;
        equal(format!("capability {capability}"), found, expected)?;
    }
    let set = |request: &GuestDebug| ioctl_ref(&guest.vcpu, uapi::SET_GUEST_DEBUG(), request);
    for flag in (2..32).filter(|flag| ![16, 17].contains(flag)) {
        let control = uapi::GUESTDBG_ENABLE | (1 << flag);
        let result = set(&GuestDebug {
            control,
            ..GuestDebug::default()
        });
        fails(format!("flag {flag}"), result, &[libc::EINVAL])?;
    }
    // A breakpoint that there is not, and registers of more than 32 bits.
    let mut bad = [GuestDebug {
        control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
        ..GuestDebug::default()
    }; 4];
    bad[0].bcr[6] = CONTROL;
    bad[1].wcr[4] = CONTROL;
    bad[2].bcr[0] = CONTROL | (1 << 32);
    (bad[3].bcr[0], bad[3].bvr[0]) = (CONTROL, 1 << 32);
    for (n, request) in bad.iter().enumerate() {
        fails(format!("request {n}"), set(request), &[libc::EINVAL])?;
    }
    // One that is not enabled is no mistake.
    let mut disabled = bad[0];
    disabled.bcr[6] = CONTROL & !1;
    debug(&guest.vcpu, &disabled)?;
    // Without the structure there is no place for breakpoints.
    let short = |control: u32| {
        let request = u64::from(control | uapi::GUESTDBG_ENABLE);
        ioctl_ref(&guest.vcpu, uapi::SET_GUEST_DEBUG_WITHOUT_ARCH(), &request)
    };
    let result = short(uapi::GUESTDBG_USE_HW);
    fails("USE_HW without a place", result, &[libc::EINVAL])?;
    short(uapi::GUESTDBG_USE_SW_BP).works("USE_SW_BP without a place")?;
    // A bad address changes nothing.
    let result = kvm::ioctl(&guest.vcpu, uapi::SET_GUEST_DEBUG(), 1);
    fails("a bad address", result, &[libc::EFAULT])
}

/// Each BKPT stops the guest before it, with its immediate, until the monitor debugs no more.
fn bkpt() -> Outcome {
    // nop; bkpt 0x1234; bkpt 0; and in Thumb state nop; bkpt 0xab
    let guest = Guest::new(&[NOP, 0xe121_2374, BKPT_0, 0xbeab_bf00])?;
    enable(&guest.vcpu, uapi::GUESTDBG_USE_SW_BP)?;
    for _ in 0..2 {
        let exit = expect(&guest, BKPT, BASE + 4)?;
        equal("the immediate", exit.hsr & 0xffff, 0x1234)?;
        equal("IL", (exit.hsr >> 25) & 1, 1)?;
    }
    guest.set(uapi::CORE_PC, BASE + 8)?;
    expect(&guest, BKPT, BASE + 8)?;
    guest.set(uapi::CORE_CPSR, 0x1f3)?;
    guest.set(uapi::CORE_PC, BASE + 12)?;
    let exit = expect(&guest, BKPT, BASE + 14)?;
    equal("the immediate", exit.hsr & 0xffff, 0xab)?;
    equal("IL", (exit.hsr >> 25) & 1, 0)
}

/// A guest whose vectors are at its start; the one of prefetch aborts reports IFSR, DBGDSCR and the
/// address of the instruction by stores to the hole.
fn reporting(program: &[u32]) -> Result<Guest, String> {
    const TO_PREFETCH: usize = 3;
    const START: usize = 16;
    let mut all = vec![code::LOOP; START];
    // b START + 16
    all[TO_PREFETCH] = 0xea00_0000 | (2 * START - TO_PREFETCH - 2) as u32;
    all.extend(program);
    ensure(all.len() <= 2 * START, "the program is too long")?;
    all.resize(2 * START, code::LOOP);
    all.extend(code::load(1, HOLE));
    all.extend([
        code::mrc(0, 0, 5, 0, 1),
        code::str(0, 1),
        // DBGDSCRint.
        code::mrc(0, 0, 0, 1, 0) & !0x100,
        code::str(0, 1),
        // sub lr, lr, #4
        0xe24e_e004,
        code::str(14, 1),
        code::LOOP,
    ]);
    let guest = Guest::new(&all)?;
    let vbar = uapi::cp15_reg(0, 12, 0, 0);
    guest.vcpu.set_reg(vbar, BASE).works("VBAR")?;
    guest.set(uapi::CORE_PC, BASE + 4 * START as u32)?;
    Ok(guest)
}

/// The stores of such a guest.
fn reported(guest: &Guest) -> Result<[u32; 3], String> {
    let mut values = [0; 3];
    for value in &mut values {
        guest.run_to(uapi::EXIT_MMIO)?;
        let mmio = guest.vcpu.run.mmio();
        equal("the store", mmio.phys_addr, HOLE.into())?;
        *value = u64::from_le_bytes(mmio.data) as u32;
    }
    guest.complete()?;
    Ok(values)
}

fn bkpt_of_the_guest() -> Outcome {
    let guest = reporting(&[NOP, BKPT_0, code::LOOP])?;
    let [ifsr, dscr, address] = reported(&guest)?;
    equal("IFSR", ifsr & 0x40f, 2)?;
    equal("DBGDSCR.MOE", (dscr >> 2) & 15, 3)?;
    equal("the address", address, BASE + 4 * 17)?;
    // The same again, after the monitor has debugged and gone.
    guest.set(uapi::CORE_PC, BASE + 4 * 17)?;
    enable(&guest.vcpu, uapi::GUESTDBG_USE_SW_BP)?;
    expect(&guest, BKPT, BASE + 4 * 17)?;
    debug(&guest.vcpu, &GuestDebug::default())?;
    equal("afterwards", reported(&guest)?, [ifsr, dscr, address])
}

fn breakpoints() -> Outcome {
    let guest = Guest::new(&[NOP; 8])?;
    guest.memory.write_words(32, &[code::LOOP]);
    for n in 0..6 {
        let mut request = GuestDebug {
            control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
            ..GuestDebug::default()
        };
        let address = BASE + 4 + 4 * n as u32;
        (request.bcr[n], request.bvr[n]) = (CONTROL, address.into());
        debug(&guest.vcpu, &request)?;
        guest.set(uapi::CORE_PC, BASE)?;
        // The guest stays there until the breakpoint goes.
        expect(&guest, BREAKPOINT, address)?;
        expect(&guest, BREAKPOINT, address)?;
    }
    // All six at once.
    let mut request = GuestDebug {
        control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
        ..GuestDebug::default()
    };
    for n in 0..6 {
        (request.bcr[n], request.bvr[n]) = (CONTROL, u64::from(BASE) + 4 + 4 * n as u64);
    }
    guest.set(uapi::CORE_PC, BASE)?;
    for n in 0..6 {
        debug(&guest.vcpu, &request)?;
        expect(&guest, BREAKPOINT, BASE + 4 + 4 * n as u32)?;
        request.bcr[n] = 0;
    }
    // An address in the host's kernel stops nothing there.
    request.bcr = [CONTROL; 16];
    request.bcr[6..].fill(0);
    request.bvr = [0xc010_0000; 16];
    debug(&guest.vcpu, &request)?;
    guest.vcpu.run.set_immediate_exit(true);
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EINTR])
}

fn watchpoints() -> Outcome {
    let mut program = code::load(0, BASE + 0x800).to_vec();
    program.extend([code::ldr(1, 0), code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let load_at = BASE + 4 * 2;
    // Loads, stores, and the stores of one byte.
    for (control, expected) in [
        (0x1ef, Some((load_at, 0))),
        (0x1f7, Some((load_at + 4, 1))),
        (0x037, Some((load_at + 4, 1))),
        (0x1ee, None),
    ] {
        for n in 0..4 {
            let mut request = GuestDebug {
                control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
                ..GuestDebug::default()
            };
            (request.wcr[n], request.wvr[n]) = (control, u64::from(BASE) + 0x800);
            // Where the program ends.
            (request.bcr[0], request.bvr[0]) = (CONTROL, u64::from(BASE) + 16);
            debug(&guest.vcpu, &request)?;
            guest.set(uapi::CORE_PC, BASE)?;
            let Some((pc, write)) = expected else {
                expect(&guest, BREAKPOINT, BASE + 16)?;
                continue;
            };
            let exit = expect(&guest, WATCHPOINT, pc)?;
            equal("far", exit.far, u64::from(BASE) + 0x800)?;
            equal("WnR", (exit.hsr >> 6) & 1, write)?;
        }
    }
    Ok(())
}

/// Steps through a program that is at these words of the guest's memory, in this order.
fn expect_steps(guest: &Guest, addresses: &[u32]) -> Outcome {
    enable(&guest.vcpu, uapi::GUESTDBG_SINGLESTEP)?;
    for address in addresses {
        expect(guest, STEP, *address)?;
    }
    Ok(())
}

fn step_arm() -> Outcome {
    let table = BASE + 0x400;
    let mut program = code::load(5, table).to_vec();
    program.extend([
        0xe3b0_0001, // 8: movs r0, #1
        0x0a00_0005, // c: beq, not taken
        0x1a00_0000, // 10: bne 0x18
        code::LOOP,
        0xeb00_0001, // 18: bl 0x24
        0xe8b5_8000, // 1c: ldm r5!, {pc}, to 0x2c
        code::LOOP,
        0xe12f_ff1e, // 24: bx lr
        code::LOOP,
        0xe250_0001, // 2c: subs r0, r0, #1
        0x1aff_fffd, // 30: bne 0x2c
        0xe28f_f000, // 34: add pc, pc, #0, to 0x3c
        code::LOOP,
        0xe1a0_000f, // 3c: mov r0, pc
        code::LOOP,  // 40
    ]);
    let guest = Guest::new(&program)?;
    guest.memory.write_words(0x400, &[BASE + 0x2c]);
    let offsets = [
        0x04, 0x08, 0x0c, 0x10, 0x18, 0x24, 0x1c, 0x2c, 0x30, 0x34, 0x3c, 0x40, 0x40, 0x40,
    ];
    expect_steps(&guest, &offsets.map(|offset| BASE + offset))?;
    equal("r0", guest.get(0)?, BASE + 0x44)?;
    equal("r5", guest.get(5)?, table + 4)?;
    // The monitor goes on somewhere else.
    guest.set(uapi::CORE_PC, BASE + 8)?;
    expect(&guest, STEP, BASE + 0xc)?;
    // It debugs no more, and then again.
    debug(&guest.vcpu, &GuestDebug::default())?;
    guest.set(uapi::CORE_PC, BASE + 0x3c)?;
    expect_steps(&guest, &[BASE + 0x40])
}

fn step_thumb() -> Outcome {
    // 0: movs r0, #0; it eq; moveq r1, #1; cbz r0, 0xc; b .; 0xa: b .; 0xc: nop.w; 0x10: bl 0x18;
    // 0x14: b 0x14; 0x18: ldr.w pc, [pc, #4]; the word for it: 0x2d
    let halves: [u16; 20] = [
        0x2000, 0xbf08, 0x2101, 0xb108, 0xe7fe, 0xe7fe, 0xf3af, 0x8000, 0xf000, 0xf802, 0xe7fe,
        0xe7fe, 0xf8df, 0xf004, 0xe7fe, 0xe7fe, 0, 0, 0xe7fe, 0xe7fe,
    ];
    let mut words: Vec<u32> = halves
        .chunks(2)
        .map(|pair| u32::from(pair[0]) | (u32::from(pair[1]) << 16))
        .collect();
    // ldr.w is at 0x18, so its word is at Align(0x1c, 4) + 4.
    words[8] = BASE + 0x2d;
    words.resize(0x2c / 4, 0xe7fe_e7fe);
    words.push(0xe7fe_bf00);
    let guest = Guest::new(&words)?;
    guest.set(uapi::CORE_CPSR, 0x1f3)?;
    let offsets = [0x02, 0x04, 0x06, 0x0c, 0x10, 0x18, 0x2c, 0x2e, 0x2e];
    // cbz of 0xb108 leads to 0x6 + 4 + 2.
    expect_steps(&guest, &offsets.map(|offset| BASE + offset))?;
    equal("r1", guest.get(1)?, 1)
}

/// A step is one instruction also if the host carries it out, or the monitor.
fn step_over_exits() -> Outcome {
    let mut program = code::load(0, 0x8400_0000).to_vec();
    program.extend([code::HVC, code::mrc(2, 0, 1, 0, 1)]);
    program.extend(code::load(1, HOLE));
    program.extend([code::ldr(3, 1), code::str(3, 1), code::LOOP]);
    let guest = Guest::new(&program)?;
    let at = |n: u32| BASE + 4 * n;
    expect_steps(&guest, &[at(1), at(2), at(3), at(4), at(5), at(6)])?;
    equal("PSCI_VERSION", guest.get(0)? >> 16, 1)?;
    for n in [6, 7] {
        guest.run_to(uapi::EXIT_MMIO)?;
        guest.answer(0x1234_5678);
        expect(&guest, STEP, at(n + 1))?;
    }
    equal("r3", guest.get(3)?, 0x1234_5678)
}

/// A step of an instruction that ends in an exception ends at the vector.
fn step_into_exception() -> Outcome {
    let mut program = vec![code::LOOP; 8];
    // udf; svc; ldr from an address that is not aligned, with alignment checks.
    program.extend([0xe7f0_00f0, 0xef00_0000, code::ldr(0, 1), BKPT_0]);
    let guest = Guest::new(&program)?;
    let vbar = uapi::cp15_reg(0, 12, 0, 0);
    guest.vcpu.set_reg(vbar, BASE).works("VBAR")?;
    let sctlr = uapi::cp15_reg(0, 1, 0, 0);
    let old = guest.vcpu.reg(sctlr).works("SCTLR")?;
    guest.vcpu.set_reg(sctlr, old | 2).works("SCTLR")?;
    guest.set(1, BASE + 1)?;
    for (n, vector) in [(8, 0x04), (9, 0x08), (10, 0x10)] {
        guest.set(uapi::CORE_CPSR, 0x1d3)?;
        guest.set(uapi::CORE_PC, BASE + 4 * n)?;
        expect_steps(&guest, &[BASE + vector])?;
    }
    // BKPT stops where it is.
    guest.set(uapi::CORE_PC, BASE + 4 * 11)?;
    expect(&guest, BKPT, BASE + 4 * 11).map(drop)
}

/// The first instruction of a handler: an exception, which would lead there, too, ends steps.
fn step_at_vectors() -> Outcome {
    let mut program = vec![NOP; 8];
    program.push(code::LOOP);
    let guest = Guest::new(&program)?;
    let vbar = uapi::cp15_reg(0, 12, 0, 0);
    guest.vcpu.set_reg(vbar, BASE).works("VBAR")?;
    let offsets = [0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x20];
    expect_steps(&guest, &offsets.map(|offset| BASE + offset))
}

const DSCR: u64 = uapi::cp14_reg(0, 2, 2);
const BVR0: u64 = uapi::cp14_reg(0, 0, 4);
const BCR0: u64 = uapi::cp14_reg(0, 0, 5);

/// Gives a vCPU a breakpoint of its own.
fn set_own(vcpu: &Vcpu, address: u32) -> Outcome {
    for (id, value) in [(BVR0, address), (BCR0, CONTROL as u32), (DSCR, 1 << 15)] {
        vcpu.set_reg(id, value).works("a debug register")?;
    }
    Ok(())
}

fn own_points_rest() -> Outcome {
    let guest = reporting(&[NOP, NOP, NOP, code::LOOP])?;
    let (start, own) = (BASE + 4 * 16, BASE + 4 * 17);
    set_own(&guest.vcpu, own)?;
    let [ifsr, dscr, address] = reported(&guest)?;
    equal("IFSR", ifsr & 0x40f, 2)?;
    equal("MOE, and MDBGen", dscr, (1 << 15) | (1 << 2))?;
    equal("the address", address, own)?;
    // While the monitor debugs, its own points stop the guest, and the guest's do not.
    let mut request = GuestDebug {
        control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
        ..GuestDebug::default()
    };
    (request.bcr[0], request.bvr[0]) = (CONTROL, u64::from(own) + 4);
    debug(&guest.vcpu, &request)?;
    guest.set(uapi::CORE_PC, start)?;
    expect(&guest, BREAKPOINT, own + 4)?;
    equal("DBGBVR0", guest.vcpu.reg(BVR0).works("DBGBVR0")?, own)?;
    debug(&guest.vcpu, &GuestDebug::default())?;
    guest.set(uapi::CORE_PC, start)?;
    equal("afterwards", reported(&guest)?, [ifsr, dscr, address])
}

fn saved() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    let ids: Vec<u64> = guest
        .vcpu
        .reg_list()
        .works("KVM_GET_REG_LIST")?
        .into_iter()
        .filter(|id| (id >> 16) & 0xfff == 14)
        .collect();
    equal("number of debug registers", ids.len(), 24)?;
    for id in &ids {
        equal(format!("{id:#x}"), guest.vcpu.reg(*id).works("it")? & !8, 0)?;
        guest.vcpu.set_reg(*id, u32::MAX).works("it")?;
    }
    let control = guest.vcpu.reg(BCR0).works("DBGBCR0")?;
    equal("DBGBCR0", control, 0x00ff_e1e7)?;
    // A reset of the vCPU is one of its debug registers.
    init(&guest.vm, &guest.vcpu)?;
    for id in &ids {
        equal(format!("{id:#x}"), guest.vcpu.reg(*id).works("it")? & !8, 0)?;
    }
    let unknown = uapi::cp14_reg(0, 6, 4);
    fails("DBGBVR6", guest.vcpu.reg(unknown), &[libc::ENOENT])?;
    fails(
        "a write of it",
        guest.vcpu.set_reg(unknown, 0),
        &[libc::ENOENT],
    )?;
    let other = uapi::cp14_reg(0, 0, 4) | (1 << 3);
    fails("with opc1", guest.vcpu.reg(other), &[libc::ENOENT])
}

/// Two vCPUs in turn on one CPU, with a breakpoint each.
fn of_each_vcpu() -> Outcome {
    let guest = Guest::new(&[NOP, NOP, NOP, code::LOOP])?;
    let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &second)?;
    let set = |vcpu: &Vcpu, address: u32| {
        let mut request = GuestDebug {
            control: uapi::GUESTDBG_ENABLE | uapi::GUESTDBG_USE_HW,
            ..GuestDebug::default()
        };
        (request.bcr[0], request.bvr[0]) = (CONTROL, address.into());
        debug(vcpu, &request)
    };
    set(&guest.vcpu, BASE + 4)?;
    set(&second, BASE + 8)?;
    for _ in 0..3 {
        for (vcpu, address) in [(&guest.vcpu, BASE + 4), (&second, BASE + 8)] {
            let pc = uapi::core_reg(uapi::CORE_PC);
            vcpu.set_reg(pc, BASE).works("pc")?;
            vcpu.run().works("KVM_RUN")?;
            equal("exit", vcpu.run.exit_reason(), uapi::EXIT_DEBUG)?;
            equal("pc", vcpu.reg(pc).works("pc")?, address)?;
        }
    }
    Ok(())
}

/// A hardware breakpoint of this thread, by perf.
fn host_point(kind: u32, address: u32) -> Result<File, String> {
    open_event(&PerfEventAttr {
        // PERF_TYPE_BREAKPOINT.
        kind: 5,
        bp_type: kind,
        config1: address.into(),
        // HW_BREAKPOINT_LEN_4.
        config2: 4,
        ..PerfEventAttr::default()
    })
}

fn count(mut event: &File) -> Result<u64, String> {
    let mut value = [0; 8];
    event.read_exact(&mut value).works("read of the event")?;
    Ok(u64::from_ne_bytes(value))
}

/// Breakpoints and watchpoints of the host match in no guest, whatever the guest does at their
/// addresses in user mode, and go on in the host.
fn points_of_the_host() -> Outcome {
    const STORED: u32 = BASE + 0x800;
    let mut program = code::load(0, STORED).to_vec();
    program.extend(code::load(1, HOLE));
    program.extend([
        0xe3a0_2005, // 10: mov r2, #5
        0xf102_0010, // 14: cps #16
        code::str(2, 0),
        NOP, // 1c: here is the breakpoint
        code::ldr(3, 0),
        0xe252_2001, // subs r2, r2, #1
        0x1aff_fffa, // bne 0x18
        code::str(3, 1),
        code::LOOP,
    ]);
    let guest = Guest::new(&program)?;
    // The same addresses in this process.
    // SAFETY: MAP_FIXED_NOREPLACE replaces nothing.
    let page = unsafe {
        libc::mmap(
            BASE as usize as *mut _,
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    ensure(page as usize == BASE as usize, "the address is in use")?;
    let store = |value: u32| {
        // SAFETY: The page is ours.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(STORED as usize).write_volatile(value) }
    };
    // The guest first has no points of its own, and then one that does not match.
    for own in [None, Some(BASE + SIZE as u32)] {
        if let Some(own) = own {
            set_own(&guest.vcpu, own)?;
        }
        // HW_BREAKPOINT_RW, HW_BREAKPOINT_X. A watchpoint is new each time: the kernel takes one that
        // has matched away for an instruction, which it steps by an address mismatch, and the emulator
        // does not have that.
        let watchpoint = host_point(3, STORED)?;
        let breakpoint = host_point(4, BASE + 0x1c)?;
        for _ in 0..3 {
            guest.set(uapi::CORE_CPSR, 0x1d3)?;
            guest.set(uapi::CORE_PC, BASE)?;
            guest.run_to(uapi::EXIT_MMIO)?;
            equal("the store", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
            equal("rounds", guest.get(2)?, 0)?;
            guest.complete()?;
        }
        equal("the guest's accesses", count(&watchpoint)?, 0)?;
        equal("the guest's instructions", count(&breakpoint)?, 0)?;
        store(1);
        equal("the host's stores", count(&watchpoint)?, 1)?;
    }
    Ok(())
}
