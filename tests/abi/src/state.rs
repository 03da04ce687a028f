// SPDX-License-Identifier: GPL-2.0

//! The state of a vCPU beyond its core registers: CP15, caches, VFP, timers, power, events, and
//! the signals that end KVM_RUN.

use std::ptr;

use kvm::{ioctl, ioctl_ref, uapi};
use vmm_sys_util::signal::{register_signal_handler, SIGRTMIN};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, core_of, init, new_vcpu, new_vm, Guest, BASE, HOLE};

pub(crate) const TESTS: &[Test] = &[
    ("state: which registers there are", list),
    ("state: CP15 registers there and back", cp15_round_trip),
    ("state: identification cannot be changed", invariants),
    ("state: caches by CSSELR", caches),
    ("state: VFP registers there and back", vfp_round_trip),
    (
        "state: a guest reads the CP15 registers that were set",
        cp15_seen,
    ),
    (
        "state: a guest's CP15 and VFP registers are read",
        cp15_read,
    ),
    ("state: the MPIDR that was set is the guest's", mpidr),
    ("state: the virtual counter is set for all vCPUs", counter),
    ("state: timers there and back", timers),
    ("state: MP_STATE", mp_state),
    ("state: MP_STATE starts a vCPU", mp_state_starts),
    ("state: a vCPU that was started and has not run", started),
    ("state: an asynchronous abort", asynchronous_abort),
    ("state: an external abort instead of MMIO", external_abort),
    (
        "state: an external abort as QEMU checks it",
        external_abort_of_store,
    ),
    ("state: events with unknown fields", unknown_events),
    ("state: the PC of an MMIO exit", mmio_pc),
    ("state: a signal mask", signal_mask),
    ("state: signal masks that are wrong", bad_signal_mask),
    ("state: INIT again", init_again),
];

/// Registers that a guest can write, of 32 bits: name, opc1, CRn, CRm, opc2.
const CP15: &[(&str, u64, u64, u64, u64)] = &[
    ("CSSELR", 2, 0, 0, 0),
    ("CPACR", 0, 1, 0, 2),
    ("TTBR0", 0, 2, 0, 0),
    ("TTBR1", 0, 2, 0, 1),
    ("TTBCR", 0, 2, 0, 2),
    ("DACR", 0, 3, 0, 0),
    ("DFSR", 0, 5, 0, 0),
    ("IFSR", 0, 5, 0, 1),
    ("ADFSR", 0, 5, 1, 0),
    ("AIFSR", 0, 5, 1, 1),
    ("DFAR", 0, 6, 0, 0),
    ("IFAR", 0, 6, 0, 2),
    ("PRRR", 0, 10, 2, 0),
    ("NMRR", 0, 10, 2, 1),
    ("AMAIR0", 0, 10, 3, 0),
    ("AMAIR1", 0, 10, 3, 1),
    ("VBAR", 0, 12, 0, 0),
    ("CONTEXTIDR", 0, 13, 0, 1),
    ("TPIDRURW", 0, 13, 0, 2),
    ("TPIDRURO", 0, 13, 0, 3),
    ("TPIDRPRW", 0, 13, 0, 4),
    ("CNTKCTL", 0, 14, 1, 0),
];

/// And of 64 bits: name, opc1, CRm.
const CP15_64: &[(&str, u64, u64)] = &[("TTBR0", 0, 2), ("TTBR1", 1, 2), ("PAR", 0, 7)];

/// The registers that identify the core.
const ID: &[(&str, u64, u64, u64, u64)] = &[
    ("MIDR", 0, 0, 0, 0),
    ("CTR", 0, 0, 0, 1),
    ("TCMTR", 0, 0, 0, 2),
    ("TLBTR", 0, 0, 0, 3),
    ("ID_PFR0", 0, 0, 1, 0),
    ("ID_PFR1", 0, 0, 1, 1),
    ("ID_DFR0", 0, 0, 1, 2),
    ("ID_AFR0", 0, 0, 1, 3),
    ("ID_MMFR0", 0, 0, 1, 4),
    ("ID_MMFR1", 0, 0, 1, 5),
    ("ID_MMFR2", 0, 0, 1, 6),
    ("ID_MMFR3", 0, 0, 1, 7),
    ("ID_ISAR0", 0, 0, 2, 0),
    ("ID_ISAR1", 0, 0, 2, 1),
    ("ID_ISAR2", 0, 0, 2, 2),
    ("ID_ISAR3", 0, 0, 2, 3),
    ("ID_ISAR4", 0, 0, 2, 4),
    ("ID_ISAR5", 0, 0, 2, 5),
    ("CLIDR", 1, 0, 0, 1),
    ("AIDR", 1, 0, 0, 7),
];

/// `mrc p15, opc1, rt, CRn, CRm, opc2`.
fn mrc(rt: u32, (opc1, crn, crm, opc2): (u32, u32, u32, u32)) -> u32 {
    0xee10_0f10 | (opc1 << 21) | (crn << 16) | (rt << 12) | (opc2 << 5) | crm
}

/// `mcr p15, opc1, rt, CRn, CRm, opc2`.
fn mcr(rt: u32, register: (u32, u32, u32, u32)) -> u32 {
    mrc(rt, register) & !(1 << 20)
}

const TPIDRURW: (u32, u32, u32, u32) = (0, 13, 0, 2);
const TPIDRPRW: (u32, u32, u32, u32) = (0, 13, 0, 4);
const VBAR: (u32, u32, u32, u32) = (0, 12, 0, 0);
const CONTEXTIDR: (u32, u32, u32, u32) = (0, 13, 0, 1);
const MPIDR: (u32, u32, u32, u32) = (0, 0, 0, 5);
const CPACR: (u32, u32, u32, u32) = (0, 1, 0, 2);

fn reg(&(_, opc1, crn, crm, opc2): &(&str, u64, u64, u64, u64)) -> u64 {
    uapi::cp15_reg(opc1, crn, crm, opc2)
}

fn list() -> Outcome {
    let guest = Guest::new(&[])?;
    let list = guest.vcpu.reg_list().works("KVM_GET_REG_LIST")?;
    let mut expected: Vec<(String, u64)> = Vec::new();
    for entry in CP15.iter().chain(ID) {
        expected.push((entry.0.into(), reg(entry)));
    }
    for (name, opc1, crm) in CP15_64 {
        expected.push((format!("64-bit {name}"), uapi::cp15_reg64(*opc1, *crm)));
    }
    for (name, id) in [
        ("MPIDR", uapi::cp15_reg(0, 0, 0, 5)),
        ("SCTLR", uapi::cp15_reg(0, 1, 0, 0)),
        ("ACTLR", uapi::cp15_reg(0, 1, 0, 1)),
        ("L2CTLR", uapi::cp15_reg(1, 9, 0, 2)),
        ("TIMER_CTL", uapi::TIMER_CTL),
        ("TIMER_CNT", uapi::TIMER_CNT),
        ("TIMER_CVAL", uapi::TIMER_CVAL),
        ("CCSIDR of the data cache", uapi::ccsidr_reg(0)),
        ("CCSIDR of the instruction cache", uapi::ccsidr_reg(1)),
        ("CCSIDR of the level 2 cache", uapi::ccsidr_reg(2)),
        ("FPEXC", uapi::vfp_system(uapi::VFP_FPEXC)),
        ("FPSCR", uapi::vfp_system(uapi::VFP_FPSCR)),
        ("FPINST", uapi::vfp_system(uapi::VFP_FPINST)),
        ("FPINST2", uapi::vfp_system(uapi::VFP_FPINST2)),
        ("MVFR0", uapi::vfp_system(uapi::VFP_MVFR0)),
        ("MVFR1", uapi::vfp_system(uapi::VFP_MVFR1)),
        ("FPSID", uapi::vfp_system(uapi::VFP_FPSID)),
    ] {
        expected.push((name.into(), id));
    }
    for n in 0..32 {
        expected.push((format!("d{n}"), uapi::vfp_double(n)));
    }
    for (name, id) in &expected {
        ensure(list.contains(id), format!("{name} ({id:#x}) is missing"))?;
    }
    let mut sorted = list.clone();
    sorted.sort_unstable();
    sorted.dedup();
    equal("different ids", sorted.len(), list.len())?;
    // Old programs know no other sizes.
    for id in list {
        let size = id & 0x00f0_0000_0000_0000;
        ensure(
            size == uapi::REG_SIZE_U32 || size == uapi::REG_SIZE_U64,
            format!("size of {id:#x}"),
        )?;
    }
    Ok(())
}

fn cp15_round_trip() -> Outcome {
    let guest = Guest::new(&[])?;
    // A value that all of them can hold.
    let value = |index: usize| (index as u32 & 7) << 1;
    let wide = |index: usize| 0x0f_0000_0000 | ((index as u64 + 1) << 12);
    for (index, entry) in CP15.iter().enumerate() {
        guest
            .vcpu
            .set_reg(reg(entry), value(index))
            .works(entry.0)?;
    }
    for (index, entry) in CP15.iter().enumerate() {
        let found = guest.vcpu.reg(reg(entry)).works(entry.0)?;
        equal(entry.0, found, value(index))?;
    }
    for (index, (name, opc1, crm)) in CP15_64.iter().enumerate() {
        let id = uapi::cp15_reg64(*opc1, *crm);
        guest.vcpu.set_reg64(id, wide(index)).works(name)?;
        equal(name, guest.vcpu.reg64(id).works(name)?, wide(index))?;
    }
    // The 32-bit name of a 64-bit register is its low half.
    let low = guest.vcpu.reg(uapi::cp15_reg(0, 2, 0, 0)).works("TTBR0")?;
    equal("low half of TTBR0", u64::from(low), wide(0) & 0xffff_ffff)
}

fn invariants() -> Outcome {
    let guest = Guest::new(&[])?;
    let mut ids: Vec<(&str, u64)> = ID.iter().map(|entry| (entry.0, reg(entry))).collect();
    ids.extend([
        ("MVFR0", uapi::vfp_system(uapi::VFP_MVFR0)),
        ("MVFR1", uapi::vfp_system(uapi::VFP_MVFR1)),
        ("FPSID", uapi::vfp_system(uapi::VFP_FPSID)),
        ("CCSIDR", uapi::ccsidr_reg(0)),
    ]);
    for (name, id) in ids {
        let value = guest.vcpu.reg(id).works(name)?;
        guest.vcpu.set_reg(id, value).works(name)?;
        for other in [value ^ 1, value ^ 0x8000_0000, !value] {
            fails(name, guest.vcpu.set_reg(id, other), &[libc::EINVAL])?;
        }
        equal(name, guest.vcpu.reg(id).works(name)?, value)?;
    }
    core_of(&guest.vcpu).map(drop)
}

fn caches() -> Outcome {
    let guest = Guest::new(&[])?;
    let clidr = guest.vcpu.reg(uapi::cp15_reg(1, 0, 0, 1)).works("CLIDR")?;
    for csselr in 0..16u64 {
        // B4.1.20: 1 is for instructions, 2 for data, 3 both, 4 unified.
        let kind = clidr.checked_shr(3 * (csselr as u32 >> 1)).unwrap_or(0) & 7;
        let exists = csselr < 14
            && if csselr & 1 == 1 {
                kind == 1 || kind == 3
            } else {
                (2..=4).contains(&kind)
            };
        let result = guest.vcpu.reg(uapi::ccsidr_reg(csselr));
        if exists {
            let ccsidr = result.works(format!("CCSIDR {csselr}"))?;
            // Lines of 32 or 64 bytes.
            ensure(
                matches!(ccsidr & 7, 1 | 2),
                format!("CCSIDR {csselr}: {ccsidr:#x}"),
            )?;
        } else {
            fails(format!("CCSIDR {csselr}"), result, &[libc::ENOENT])?;
        }
    }
    // The other selectors of the group are not defined.
    let other = guest.vcpu.reg(uapi::ccsidr_reg(0x100));
    fails("another selector", other, &[libc::ENOENT])?;
    let wide = uapi::ccsidr_reg(0) ^ uapi::REG_SIZE_U32 ^ uapi::REG_SIZE_U64;
    fails("CCSIDR of 64 bits", guest.vcpu.reg64(wide), &[libc::ENOENT])
}

fn vfp_round_trip() -> Outcome {
    let guest = Guest::new(&[])?;
    let value = |n: u64| 0x0123_4567_89ab_cdef_u64.rotate_left(n as u32);
    for n in 0..32 {
        let id = uapi::vfp_double(n);
        guest.vcpu.set_reg64(id, value(n)).works(format!("d{n}"))?;
    }
    for n in 0..32 {
        let found = guest
            .vcpu
            .reg64(uapi::vfp_double(n))
            .works(format!("d{n}"))?;
        equal(format!("d{n}"), found, value(n))?;
    }
    for (number, value) in [
        (uapi::VFP_FPSCR, 0x0340_0000),
        (uapi::VFP_FPEXC, 0x4000_0000),
        (uapi::VFP_FPINST, 0x1234_5678),
        (uapi::VFP_FPINST2, 0x8765_4321),
    ] {
        let id = uapi::vfp_system(number);
        guest
            .vcpu
            .set_reg(id, value)
            .works(format!("{number:#x}"))?;
        let found = guest.vcpu.reg(id).works(format!("{number:#x}"))?;
        equal(format!("VFP {number:#x}"), found, value)?;
    }
    let behind = guest.vcpu.reg64(uapi::vfp_double(32));
    fails("d32", behind, &[libc::ENOENT])?;
    let word = uapi::vfp_double(0) ^ uapi::REG_SIZE_U32 ^ uapi::REG_SIZE_U64;
    fails("d0 of 32 bits", guest.vcpu.reg(word), &[libc::ENOENT])
}

fn cp15_seen() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    let registers = [TPIDRURW, TPIDRPRW, VBAR, CONTEXTIDR];
    for register in registers {
        program.extend([mrc(1, register), code::str(1, 0)]);
    }
    program.push(code::LOOP);
    let guest = Guest::new(&program)?;
    for (index, (opc1, crn, crm, opc2)) in registers.into_iter().enumerate() {
        let id = uapi::cp15_reg(opc1.into(), crn.into(), crm.into(), opc2.into());
        let value = (index as u32 + 0x11) << 8;
        guest.vcpu.set_reg(id, value).works("KVM_SET_ONE_REG")?;
    }
    for index in 0..registers.len() {
        guest.run_to(uapi::EXIT_MMIO)?;
        let data = u64::from_le_bytes(guest.vcpu.run.mmio().data);
        equal(
            format!("register {index}"),
            data,
            (index as u64 + 0x11) << 8,
        )?;
    }
    Ok(())
}

fn cp15_read() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend(code::load(1, 0x00ab_cd00));
    program.extend([mcr(1, TPIDRURW), mcr(1, VBAR)]);
    // CP10 and CP11 for PL1 and PL0, then FPEXC.EN.
    program.extend(code::load(2, 0x00f0_0000));
    program.extend([mcr(2, CPACR), 0xf57f_f06f]);
    program.extend(code::load(2, 0x4000_0000));
    program.extend([
        // vmsr fpexc, r2; vmov d0, r1, r2; vmov d31, r2, r1.
        0xeee8_2a10,
        0xec42_1b10,
        0xec41_2b3f,
        code::str(1, 0),
        code::LOOP,
    ]);
    let guest = Guest::new(&program)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let get = |(opc1, crn, crm, opc2): (u32, u32, u32, u32)| {
        guest
            .vcpu
            .reg(uapi::cp15_reg(
                opc1.into(),
                crn.into(),
                crm.into(),
                opc2.into(),
            ))
            .works("KVM_GET_ONE_REG")
    };
    equal("TPIDRURW", get(TPIDRURW)?, 0x00ab_cd00)?;
    equal("VBAR", get(VBAR)?, 0x00ab_cd00)?;
    equal("CPACR", get(CPACR)? & 0x00f0_0000, 0x00f0_0000)?;
    let d0 = guest.vcpu.reg64(uapi::vfp_double(0)).works("d0")?;
    equal("d0", d0, 0x4000_0000_00ab_cd00)?;
    let d31 = guest.vcpu.reg64(uapi::vfp_double(31)).works("d31")?;
    equal("d31", d31, 0x00ab_cd00_4000_0000)?;
    let fpexc = guest
        .vcpu
        .reg(uapi::vfp_system(uapi::VFP_FPEXC))
        .works("FPEXC")?;
    equal("FPEXC.EN", fpexc & 0x4000_0000, 0x4000_0000)
}

fn mpidr() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend([mrc(1, MPIDR), code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    let id = uapi::cp15_reg(0, 0, 0, 5);
    equal("MPIDR", guest.vcpu.reg(id).works("MPIDR")?, 0x8000_0000)?;
    guest.vcpu.set_reg(id, 0x8000_0302).works("MPIDR")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let data = u64::from_le_bytes(guest.vcpu.run.mmio().data);
    equal("the guest's MPIDR", data, 0x8000_0302)
}

/// A program that stores the low word of the virtual counter outside, and again.
fn read_counter() -> Vec<u32> {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    // mrrc p15, 1, r1, r2, c14: CNTVCT.
    program.extend([0xec52_1f1e, code::str(2, 0), code::str(1, 0), code::LOOP]);
    program
}

/// Ticks that may pass during a test.
const A_WHILE: u64 = 1 << 34;

fn counter() -> Outcome {
    let guest = Guest::new(&read_counter())?;
    let other = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &other)?;
    other
        .set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
        .works("pc")?;
    let start = 0x0012_3456_0000_0000;
    let near = |what: &str, value: u64| {
        ensure(
            (start..start + A_WHILE).contains(&value),
            format!("{what}: {value:#x}"),
        )
    };
    guest
        .vcpu
        .set_reg64(uapi::TIMER_CNT, start)
        .works("TIMER_CNT")?;
    near(
        "counter",
        guest.vcpu.reg64(uapi::TIMER_CNT).works("TIMER_CNT")?,
    )?;
    near(
        "the other",
        other.reg64(uapi::TIMER_CNT).works("TIMER_CNT")?,
    )?;
    for vcpu in [&guest.vcpu, &other] {
        let mut value = 0;
        for _ in 0..2 {
            vcpu.run().works("KVM_RUN")?;
            equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
            let data = vcpu.run.mmio().data;
            let word = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
            value = (value << 32) | u64::from(word);
        }
        near("a guest's counter", value)?;
    }
    // The counter can go back, too.
    other.set_reg64(uapi::TIMER_CNT, 0).works("TIMER_CNT")?;
    let now = guest.vcpu.reg64(uapi::TIMER_CNT).works("TIMER_CNT")?;
    ensure(now < A_WHILE, format!("back at {now:#x}"))
}

fn timers() -> Outcome {
    let guest = Guest::new(&[])?;
    for (ctl, cval, cnt) in [
        (uapi::TIMER_CTL, uapi::TIMER_CVAL, uapi::TIMER_CNT),
        (uapi::PTIMER_CTL, uapi::PTIMER_CVAL, uapi::PTIMER_CNT),
    ] {
        equal("CTL", guest.vcpu.reg(ctl).works("CTL")?, 0)?;
        let far = 0x00ff_ffff_ffff_0123;
        guest.vcpu.set_reg64(cval, far).works("CVAL")?;
        equal("CVAL", guest.vcpu.reg64(cval).works("CVAL")?, far)?;
        // Enabled and masked; ISTATUS (bit 2) is not to be set.
        guest.vcpu.set_reg(ctl, 7).works("CTL")?;
        equal("CTL", guest.vcpu.reg(ctl).works("CTL")?, 3)?;
        guest.vcpu.set_reg64(cval, 0).works("CVAL")?;
        equal("CTL after it expired", guest.vcpu.reg(ctl).works("CTL")?, 7)?;
        let before = guest.vcpu.reg64(cnt).works("CNT")?;
        let after = guest.vcpu.reg64(cnt).works("CNT")?;
        ensure(before <= after, format!("{before:#x}, then {after:#x}"))?;
        // The names with the wrong size.
        let wide = ctl ^ uapi::REG_SIZE_U32 ^ uapi::REG_SIZE_U64;
        fails("CTL of 64 bits", guest.vcpu.reg64(wide), &[libc::ENOENT])?;
    }
    // The physical counter is the host's.
    let set = guest.vcpu.set_reg64(uapi::PTIMER_CNT, 0);
    fails("PTIMER_CNT", set, &[libc::EPERM, libc::EINVAL])
}

fn mp_state() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    let state = || guest.vcpu.mp_state().works("KVM_GET_MP_STATE");
    equal("at first", state()?, uapi::MP_STATE_RUNNABLE)?;
    for wanted in [uapi::MP_STATE_STOPPED, uapi::MP_STATE_RUNNABLE] {
        guest.vcpu.set_mp_state(wanted).works("KVM_SET_MP_STATE")?;
        equal("what was set", state()?, wanted)?;
    }
    for wrong in [1, 2, 3, 4, 6, 9, 11, 0x100, u32::MAX] {
        let result = guest.vcpu.set_mp_state(wrong);
        fails(format!("state {wrong}"), result, &[libc::EINVAL])?;
    }
    for request in [uapi::GET_MP_STATE(), uapi::SET_MP_STATE()] {
        let result = ioctl(&guest.vcpu, request, 0);
        fails("address 0", result, &[libc::EFAULT])?;
    }
    Ok(())
}

fn mp_state_starts() -> Outcome {
    let guest = Guest::new(&code::psci(crate::guest::PSCI_SYSTEM_OFF))?;
    let vcpu = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    let mut init = guest.vm.preferred_target().works("preferred target")?;
    init.features[0] = (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_POWER_OFF);
    vcpu.init(&init).works("KVM_ARM_VCPU_INIT")?;
    let state = vcpu.mp_state().works("KVM_GET_MP_STATE")?;
    equal("after POWER_OFF", state, uapi::MP_STATE_STOPPED)?;
    vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
        .works("pc")?;
    vcpu.set_mp_state(uapi::MP_STATE_RUNNABLE)
        .works("KVM_SET_MP_STATE")?;
    vcpu.run().works("KVM_RUN")?;
    equal("exit", vcpu.run.exit_reason(), uapi::EXIT_SYSTEM_EVENT)
}

/// Where a guest's vectors are, behind its program.
const VECTORS: u32 = BASE + 0x1000;
/// The entry of data aborts.
const ABORT_VECTOR: usize = 0x1010;

/// Vectors. Those of aborts store DFSR, DFAR and LR_abt to `r0` each.
fn abort_vectors(guest: &Guest) -> Outcome {
    let handler = [
        mrc(1, (0, 5, 0, 0)),
        code::str(1, 0),
        mrc(1, (0, 6, 0, 0)),
        code::str(1, 0),
        code::str(14, 0),
        code::LOOP,
    ];
    guest.memory.write_words(0x1000, &[code::LOOP; 4]);
    guest.memory.write_words(ABORT_VECTOR, &handler);
    guest
        .vcpu
        .set_reg(uapi::cp15_reg(0, 12, 0, 0), VECTORS)
        .works("VBAR")
}

fn stored(guest: &Guest) -> Result<u32, String> {
    guest.run_to(uapi::EXIT_MMIO)?;
    let [a, b, c, d, ..] = guest.vcpu.run.mmio().data;
    Ok(u32::from_le_bytes([a, b, c, d]))
}

fn asynchronous_abort() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    // cpsie a, and wait for it.
    program.extend([0xf108_0100, code::LOOP]);
    let guest = Guest::new(&program)?;
    abort_vectors(&guest)?;
    let mut events = uapi::VcpuEvents {
        serror_pending: 1,
        ..Default::default()
    };
    guest.vcpu.set_events(&events).works("SET_VCPU_EVENTS")?;
    // SET_VCPU_EVENTS without an SError does not take the pending one back.
    let none = uapi::VcpuEvents::default();
    guest.vcpu.set_events(&none).works("SET_VCPU_EVENTS")?;
    events = guest.vcpu.events().works("GET_VCPU_EVENTS")?;
    equal("pending", events.serror_pending, 1)?;
    // B3.13.3: an asynchronous external abort has 0b10110.
    let dfsr = stored(&guest)?;
    equal("DFSR", dfsr & 0x40f, 0x406)?;
    events = guest.vcpu.events().works("GET_VCPU_EVENTS")?;
    equal("pending after it was taken", events.serror_pending, 0)
}

fn external_abort() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend([code::ldr(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    abort_vectors(&guest)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let events = uapi::VcpuEvents {
        ext_dabt_pending: 1,
        ..Default::default()
    };
    guest.vcpu.set_events(&events).works("SET_VCPU_EVENTS")?;
    let dfsr = stored(&guest)?;
    equal("DFSR: a synchronous external abort on a read", dfsr, 8)?;
    equal("DFAR", stored(&guest)?, HOLE)?;
    equal("LR", stored(&guest)?, BASE + 8 + 8)
}

fn unknown_events() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = kvm.vcpu_mmap_size().works("KVM_GET_VCPU_MMAP_SIZE")?;
    let vcpu = vm.create_vcpu(0, vcpu).works("KVM_CREATE_VCPU")?;
    fails("before INIT", vcpu.events(), &[libc::ENOEXEC])?;
    let guest = Guest::new(&[])?;
    let none = uapi::VcpuEvents::default();
    guest.vcpu.set_events(&none).works("nothing")?;
    for (what, events) in [
        (
            "a reserved word",
            uapi::VcpuEvents {
                reserved: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                ..none
            },
        ),
        (
            "padding",
            uapi::VcpuEvents {
                pad: [0, 0, 0, 0, 1],
                ..none
            },
        ),
        (
            "a syndrome",
            uapi::VcpuEvents {
                serror_pending: 1,
                serror_has_esr: 1,
                ..none
            },
        ),
    ] {
        fails(what, guest.vcpu.set_events(&events), &[libc::EINVAL])?;
    }
    let events = guest.vcpu.events().works("GET_VCPU_EVENTS")?;
    equal("pending", events.serror_pending, 0)
}

fn mmio_pc() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend([code::ldr(1, 0), code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    for index in 2..4 {
        guest.run_to(uapi::EXIT_MMIO)?;
        // The instruction is not complete before the monitor has answered.
        equal("pc", guest.get(uapi::CORE_PC)?, BASE + 4 * index)?;
        guest.answer(0x77);
        guest.complete()?;
        equal("pc", guest.get(uapi::CORE_PC)?, BASE + 4 * index + 4)?;
    }
    equal("r1", guest.get(1)?, 0x77)
}

extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// A set of signals as the kernel has it: bit n - 1 is signal n.
fn set_of(signal: i32) -> [u32; 2] {
    let mask = 1u64 << (signal - 1);
    [mask as u32, (mask >> 32) as u32]
}

fn signal_mask() -> Outcome {
    let guest = Guest::new(&[code::LOOP])?;
    let signal = SIGRTMIN();
    register_signal_handler(signal, ignore).map_err(|e| e.to_string())?;
    // The thread blocks the signal, KVM_RUN does not.
    let mut blocked = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: A set of our own, and signals to this thread.
    unsafe {
        libc::sigemptyset(blocked.as_mut_ptr());
        libc::sigaddset(blocked.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), ptr::null_mut());
        libc::pthread_kill(libc::pthread_self(), signal);
    }
    let mut mask = uapi::SignalMask {
        len: 8,
        set: [0, 0],
    };
    ioctl_ref(&guest.vcpu, uapi::SET_SIGNAL_MASK(), &mask).works("KVM_SET_SIGNAL_MASK")?;
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EINTR])?;
    equal("exit", guest.vcpu.run.exit_reason(), uapi::EXIT_INTR)?;
    // Outside of KVM_RUN the thread's own mask is valid: the signal waits until the thread takes
    // it.
    let waiting = |signal| {
        let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: The set is written by the call before it is read.
        unsafe {
            libc::sigpending(pending.as_mut_ptr());
            libc::sigismember(pending.as_ptr(), signal) == 1
        }
    };
    ensure(waiting(signal), "the signal was lost")?;
    // With the signal masked in KVM_RUN, too, the guest runs until something else comes.
    mask.set = set_of(signal);
    ioctl_ref(&guest.vcpu, uapi::SET_SIGNAL_MASK(), &mask).works("KVM_SET_SIGNAL_MASK")?;
    register_signal_handler(libc::SIGALRM, ignore).map_err(|e| e.to_string())?;
    // SAFETY: No more than a timer of this process.
    unsafe { libc::alarm(1) };
    let start = std::time::Instant::now();
    fails("KVM_RUN until the alarm", guest.vcpu.run(), &[libc::EINTR])?;
    ensure(
        start.elapsed().as_millis() > 500,
        "the masked signal ended KVM_RUN",
    )?;
    ensure(waiting(signal), "the signal was lost")
}

fn bad_signal_mask() -> Outcome {
    let guest = Guest::new(&[])?;
    for len in [0, 4, 16, 128, u32::MAX] {
        let mask = uapi::SignalMask { len, set: [0; 2] };
        let result = ioctl_ref(&guest.vcpu, uapi::SET_SIGNAL_MASK(), &mask);
        fails(format!("len {len}"), result, &[libc::EINVAL])?;
    }
    let result = ioctl(&guest.vcpu, uapi::SET_SIGNAL_MASK(), 0xc000_0000);
    fails("an address of the kernel", result, &[libc::EFAULT])?;
    // No mask at all: that of the thread.
    ioctl(&guest.vcpu, uapi::SET_SIGNAL_MASK(), 0)
        .works("no mask")
        .map(|_| ())
}

fn init_again() -> Outcome {
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend([mcr(0, TPIDRURW), code::str(0, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    init(&guest.vm, &guest.vcpu)?;
    let tpidrurw = uapi::cp15_reg(0, 13, 0, 2);
    equal("TPIDRURW", guest.vcpu.reg(tpidrurw).works("TPIDRURW")?, 0)?;
    equal("pc", guest.get(uapi::CORE_PC)?, 0)?;
    // The access that was not complete is forgotten, and the code that is in memory now runs.
    let [low, high] = code::load(1, 0x55);
    guest
        .memory
        .write_words(8, &[low, high, code::str(1, 0), code::LOOP]);
    guest.set(uapi::CORE_PC, BASE)?;
    equal("the new program's store", stored(&guest)?, 0x55)?;
    // Other features are refused, and so are other cores.
    let mut other = guest.vm.preferred_target().works("preferred target")?;
    other.features[0] = 0;
    fails("other features", guest.vcpu.init(&other), &[libc::EINVAL])?;
    other.target ^= 1;
    fails("another core", guest.vcpu.init(&other), &[libc::EINVAL])
}

/// QEMU reads the status back after it has asked for an abort, and gives up if it finds anything
/// else, also of a store.
fn external_abort_of_store() -> Outcome {
    const EXTERNAL: u32 = 0b0_1000;
    let mut program: Vec<u32> = code::load(0, HOLE).into();
    program.extend([code::str(1, 0), code::LOOP]);
    let guest = Guest::new(&program)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let events = uapi::VcpuEvents {
        ext_dabt_pending: 1,
        ..Default::default()
    };
    guest
        .vcpu
        .set_events(&events)
        .works("KVM_SET_VCPU_EVENTS")?;
    let dfsr = guest.vcpu.reg(uapi::cp15_reg(0, 5, 0, 0)).works("DFSR")?;
    equal("DFSR", dfsr, EXTERNAL)
}

/// CPU_ON is not lost when the monitor reads the vCPU's state, or writes the same state back,
/// before the vCPU runs.
fn started() -> Outcome {
    const CPU_ON: u32 = 0x8400_0003;
    const ENTRY: u32 = BASE + 0x100;
    let mut program: Vec<u32> = code::load(0, CPU_ON).into();
    program.extend(code::load(1, 1));
    program.extend(code::load(2, ENTRY));
    program.push(code::HVC);
    program.extend(code::load(3, HOLE));
    program.extend([code::str(0, 3), code::LOOP]);
    let guest = Guest::new(&program)?;
    let mut second: Vec<u32> = code::load(3, HOLE + 0x40).into();
    second.extend([code::str(3, 3), code::LOOP]);
    guest.memory.write_words(0x100, &second);
    let other = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    let mut init = guest.vm.preferred_target().works("PREFERRED_TARGET")?;
    init.features[0] = (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_POWER_OFF);
    other.init(&init).works("KVM_ARM_VCPU_INIT")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let state = other.mp_state().works("KVM_GET_MP_STATE")?;
    equal("the state", state, uapi::MP_STATE_RUNNABLE)?;
    let pc = other.reg(uapi::core_reg(uapi::CORE_PC)).works("PC")?;
    equal("the PC", pc, ENTRY)?;
    other.set_mp_state(state).works("KVM_SET_MP_STATE")?;
    other.run().works("KVM_RUN of the other")?;
    equal("the reason", other.run.exit_reason(), uapi::EXIT_MMIO)?;
    equal(
        "the address",
        other.run.mmio().phys_addr,
        (HOLE + 0x40).into(),
    )
}
