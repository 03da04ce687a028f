// SPDX-License-Identifier: GPL-2.0

//! The firmware that a guest calls: PSCI, SMCCC, TRNG, KVM's own, and its registers.

use std::time::{Duration, SystemTime};

use kvm::uapi::{self, OneReg};
use kvm::{ioctl_ref, Vcpu, Vm};
use machine::core::Core;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, core_of, init, new_vcpu, Guest, BASE, HOLE};

pub(crate) const TESTS: &[Test] = &[
    ("firmware: capabilities", capabilities),
    (
        "firmware: registers, saved and restored",
        saved_and_restored,
    ),
    ("firmware: the version of PSCI", psci_version),
    ("firmware: bad versions of PSCI", bad_psci_versions),
    ("firmware: what versions of PSCI have", psci_functions),
    ("firmware: PSCI 0.1", psci_0_1),
    ("firmware: AFFINITY_INFO and CPU_ON", affinity),
    (
        "firmware: CPU_ON of a vCPU with another MPIDR",
        another_mpidr,
    ),
    ("firmware: CPU_SUSPEND", cpu_suspend),
    ("firmware: SMCCC", smccc),
    ("firmware: workarounds", workarounds),
    (
        "firmware: registers of the workarounds",
        workaround_registers,
    ),
    ("firmware: TRNG", trng),
    ("firmware: KVM's own functions", vendor),
    ("firmware: the clock for ptp_kvm", ptp),
    ("firmware: services switched off", switched_off),
    ("firmware: services of a VM that runs", fixed_services),
    ("firmware: registers that are not there", no_register),
    ("firmware: no functions of 64 bits", no_64_bits),
    ("firmware: any function", any_function),
    ("firmware: by SMC", by_smc),
    ("firmware: other immediates of HVC and SMC", immediates),
    ("firmware: flags of system events", event_flags),
    ("firmware: SYSTEM_RESET2", system_reset2),
    ("firmware: SYSTEM_SUSPEND", system_suspend),
    ("firmware: KVM_ENABLE_CAP", enable_cap),
];

const SMC: u32 = 0xe160_0070;

const NOT_SUPPORTED: u32 = -1i32 as u32;
const INVALID_PARAMETERS: u32 = -2i32 as u32;
const ALREADY_ON: u32 = -4i32 as u32;
const INTERNAL_FAILURE: u32 = -6i32 as u32;

const PSCI_VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND: u32 = 0x8400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const MIGRATE: u32 = 0x8400_0005;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const PSCI_FEATURES: u32 = 0x8400_000a;
const SYSTEM_SUSPEND: u32 = 0x8400_000e;
const SYSTEM_RESET2: u32 = 0x8400_0012;
const MEM_PROTECT: u32 = 0x8400_0013;

const SMCCC_VERSION: u32 = 0x8000_0000;
const ARCH_FEATURES: u32 = 0x8000_0001;
const WORKAROUND_1: u32 = 0x8000_8000;
const WORKAROUND_2: u32 = 0x8000_7fff;
const WORKAROUND_3: u32 = 0x8000_3fff;

const TRNG_VERSION: u32 = 0x8400_0050;
const TRNG_FEATURES: u32 = 0x8400_0051;
const TRNG_GET_UUID: u32 = 0x8400_0052;
const TRNG_RND32: u32 = 0x8400_0053;

const KVM_FEATURES: u32 = 0x8600_0000;
const KVM_PTP: u32 = 0x8600_0001;
const KVM_UID: u32 = 0x8600_ff01;

/// Registers of the firmware.
const FW: u64 = 0x4030_0000_0014_0000;
const BITMAPS: u64 = 0x4030_0000_0016_0000;
const REG_PSCI_VERSION: u64 = FW;
const REG_WORKAROUND_1: u64 = FW + 1;
const REG_WORKAROUND_2: u64 = FW + 2;
const REG_WORKAROUND_3: u64 = FW + 3;
const REG_STD: u64 = BITMAPS;
const REG_STD_HYP: u64 = BITMAPS + 1;
const REG_VENDOR_HYP: u64 = BITMAPS + 2;
const REGISTERS: [u64; 7] = [
    REG_PSCI_VERSION,
    REG_WORKAROUND_1,
    REG_WORKAROUND_2,
    REG_WORKAROUND_3,
    REG_STD,
    REG_STD_HYP,
    REG_VENDOR_HYP,
];

const PSCI_0_1: u64 = 1;
const PSCI_0_2: u64 = 2;
const PSCI_1_0: u64 = 0x1_0000;
const PSCI_1_1: u64 = 0x1_0001;

/// A guest that makes the calls that it is given, reads a counter before and after each, and exits.
struct Caller(Guest);

/// `mrrc p15, opc1, rt, rt2, c14`: CNTPCT is 0, CNTVCT is 1.
fn counter(opc1: u32, rt: u32, rt2: u32) -> u32 {
    0xec50_0f0e | (rt2 << 16) | (rt << 12) | (opc1 << 4)
}

impl Caller {
    fn with(instruction: u32, opc1: u32) -> Result<Self, String> {
        let guest = Guest::new(&[
            counter(opc1, 6, 7),
            instruction,
            counter(opc1, 8, 9),
            code::str(0, 4),
            // Back to the start.
            0xeaff_fffa,
        ])?;
        guest.set(4, HOLE)?;
        Ok(Self(guest))
    }

    fn new() -> Result<Self, String> {
        Self::with(code::HVC, 1)
    }

    /// One whose vCPU has no PSCI but that of before the standard.
    fn old() -> Result<Self, String> {
        let mut caller = Self::new()?;
        let guest = &mut caller.0;
        guest.vcpu = new_vcpu(&guest.kvm, &guest.vm, 1)?;
        let init = guest.vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
        guest.vcpu.init(&init).works("ARM_VCPU_INIT")?;
        guest.set(4, HOLE)?;
        guest.set(uapi::CORE_PC, BASE)?;
        Ok(caller)
    }

    fn prepare(&self, function: u32, args: [u32; 3]) -> Outcome {
        let [r1, r2, r3] = args;
        for (word, value) in (0..).zip([function, r1, r2, r3]) {
            self.0.set(word, value)?;
        }
        Ok(())
    }

    fn results(&self) -> Result<[u32; 4], String> {
        let mut results = [0; 4];
        for (word, result) in (0..).zip(&mut results) {
            *result = self.0.get(word)?;
        }
        Ok(results)
    }

    fn call(&self, function: u32, args: [u32; 3]) -> Result<[u32; 4], String> {
        self.prepare(function, args)?;
        self.0.run_to(uapi::EXIT_MMIO)?;
        self.results()
    }

    /// Fails unless R0 is this.
    fn expect(&self, function: u32, arg: u32, r0: u32) -> Outcome {
        let results = self.call(function, [arg, 0x1234_5678, 0x9abc_def0])?;
        equal(format!("{function:#x}({arg:#x})"), results[0], r0)
    }

    /// Fails unless R0 is this and the other results are zero.
    fn expect_zeros(&self, function: u32, arg: u32, r0: u32) -> Outcome {
        let results = self.call(function, [arg, 0x1234_5678, 0x9abc_def0])?;
        equal(format!("{function:#x}({arg:#x})"), results, [r0, 0, 0, 0])
    }

    fn get(&self, id: u64) -> std::io::Result<u64> {
        let mut value = 0u64;
        let reg = OneReg {
            id,
            addr: (&raw mut value) as usize as u64,
        };
        ioctl_ref(&self.0.vcpu, uapi::GET_ONE_REG(), &reg)?;
        Ok(value)
    }

    fn set(&self, id: u64, value: u64) -> std::io::Result<()> {
        let reg = OneReg {
            id,
            addr: (&raw const value) as usize as u64,
        };
        ioctl_ref(&self.0.vcpu, uapi::SET_ONE_REG(), &reg).map(drop)
    }

    fn has(&self, id: u64, value: u64) -> Outcome {
        let found = self.get(id).works(format!("read of {id:#x}"))?;
        equal(format!("register {id:#x}"), found, value)
    }

    fn takes(&self, id: u64, value: u64) -> Outcome {
        self.set(id, value)
            .works(format!("write of {value:#x} to {id:#x}"))
    }

    fn refuses(&self, id: u64, value: u64, errno: i32) -> Outcome {
        let result = self.set(id, value);
        fails(format!("write of {value:#x} to {id:#x}"), result, &[errno])
    }

    /// Whether the guest's core needs WORKAROUND_1, and WORKAROUND_3. Those that it needs, it can
    /// call.
    fn needs(&self) -> Result<[bool; 2], String> {
        Ok(match core_of(&self.0.vcpu)? {
            Core::CortexA15 => [true, true],
            Core::CortexA7 => [false, false],
            Core::CortexA12 | Core::CortexA17 => [true, false],
        })
    }
}

fn capabilities() -> Outcome {
    let caller = Caller::new()?;
    for (name, capability) in [
        ("ENABLE_CAP_VM", uapi::CAP_ENABLE_CAP_VM),
        ("PTP_KVM", uapi::CAP_PTP_KVM),
        ("SYSTEM_EVENT_DATA", uapi::CAP_SYSTEM_EVENT_DATA),
        ("ARM_SYSTEM_SUSPEND", uapi::CAP_ARM_SYSTEM_SUSPEND),
    ] {
        let found = caller.0.kvm.check_extension(capability).works(name)?;
        equal(name, found, 1)?;
    }
    Ok(())
}

fn saved_and_restored() -> Outcome {
    let from = Caller::new()?;
    from.takes(REG_PSCI_VERSION, PSCI_1_0)?;
    from.takes(REG_VENDOR_HYP, 1)?;
    let to = Caller::new()?;
    for id in REGISTERS {
        let value = from.get(id).works(format!("read of {id:#x}"))?;
        to.takes(id, value)?;
        to.has(id, value)?;
    }
    to.expect(PSCI_VERSION, 0, PSCI_1_0 as u32)?;
    to.expect(KVM_FEATURES, 0, 1)
}

fn psci_version() -> Outcome {
    let caller = Caller::new()?;
    caller.has(REG_PSCI_VERSION, PSCI_1_1)?;
    caller.expect(PSCI_VERSION, 0, PSCI_1_1 as u32)?;
    // Also while the VM runs.
    for version in [PSCI_0_2, PSCI_1_0, PSCI_1_1] {
        caller.takes(REG_PSCI_VERSION, version)?;
        caller.has(REG_PSCI_VERSION, version)?;
        caller.expect(PSCI_VERSION, 0, version as u32)?;
    }
    // The register belongs to the VM.
    caller.takes(REG_PSCI_VERSION, PSCI_0_2)?;
    let guest = &caller.0;
    let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    init(&guest.vm, &second)?;
    let mut value = 0u64;
    let reg = OneReg {
        id: REG_PSCI_VERSION,
        addr: (&raw mut value) as usize as u64,
    };
    ioctl_ref(&second, uapi::GET_ONE_REG(), &reg).works("GET_ONE_REG")?;
    equal("the version of another vCPU", value, PSCI_0_2)?;
    // And a reset leaves it.
    init(&guest.vm, &guest.vcpu)?;
    caller.has(REG_PSCI_VERSION, PSCI_0_2)
}

fn bad_psci_versions() -> Outcome {
    let caller = Caller::new()?;
    for version in [
        0,
        PSCI_0_1,
        3,
        0x1_0002,
        0x1_0003,
        0x2_0000,
        (1 << 32) | PSCI_1_1,
        u64::MAX,
    ] {
        caller.refuses(REG_PSCI_VERSION, version, libc::EINVAL)?;
    }
    caller.has(REG_PSCI_VERSION, PSCI_1_1)?;
    let old = Caller::old()?;
    old.has(REG_PSCI_VERSION, PSCI_0_1)?;
    old.takes(REG_PSCI_VERSION, PSCI_0_1)?;
    for version in [0, PSCI_0_2, PSCI_1_0, PSCI_1_1, u64::MAX] {
        old.refuses(REG_PSCI_VERSION, version, libc::EINVAL)?;
    }
    old.has(REG_PSCI_VERSION, PSCI_0_1)
}

fn psci_functions() -> Outcome {
    let caller = Caller::new()?;
    caller.takes(REG_PSCI_VERSION, PSCI_0_2)?;
    caller.expect(MIGRATE_INFO_TYPE, 0, 2)?;
    for function in [PSCI_FEATURES, SYSTEM_RESET2, MIGRATE, SYSTEM_SUSPEND] {
        caller.expect(function, PSCI_VERSION, NOT_SUPPORTED)?;
    }
    for (version, reset2) in [(PSCI_1_0, NOT_SUPPORTED), (PSCI_1_1, 0)] {
        caller.takes(REG_PSCI_VERSION, version)?;
        for function in [
            PSCI_VERSION,
            CPU_SUSPEND,
            CPU_OFF,
            CPU_ON,
            AFFINITY_INFO,
            MIGRATE_INFO_TYPE,
            SYSTEM_OFF,
            SYSTEM_RESET,
            PSCI_FEATURES,
            SMCCC_VERSION,
        ] {
            caller.expect(PSCI_FEATURES, function, 0)?;
        }
        caller.expect(PSCI_FEATURES, SYSTEM_RESET2, reset2)?;
        for function in [
            MIGRATE,
            MEM_PROTECT,
            SYSTEM_SUSPEND,
            0xc400_0001,
            0xc400_0003,
            0xc400_0012,
            0x95c1_ba5f,
            u32::MAX,
        ] {
            caller.expect(PSCI_FEATURES, function, NOT_SUPPORTED)?;
        }
        for function in [MIGRATE, MEM_PROTECT, 0x95c1_ba60, 0x95c1_ba61] {
            caller.expect(function, 0, NOT_SUPPORTED)?;
        }
    }
    caller.takes(REG_PSCI_VERSION, PSCI_1_0)?;
    caller.expect(SYSTEM_RESET2, 0, NOT_SUPPORTED)
}

fn psci_0_1() -> Outcome {
    let caller = Caller::old()?;
    // CPU_SUSPEND and MIGRATE never were there.
    for function in [PSCI_VERSION, SYSTEM_OFF, CPU_ON, 0x95c1_ba5e, 0x95c1_ba61] {
        caller.expect(function, 0, NOT_SUPPORTED)?;
    }
    // CPU_ON of itself, of nobody.
    for target in [1, 7] {
        caller.expect(0x95c1_ba60, target, INVALID_PARAMETERS)?;
    }
    caller.expect(SMCCC_VERSION, 0, 0x1_0001)
}

/// A second vCPU, which is off, and the arguments of its initialisation.
fn second_vcpu(guest: &Guest) -> Result<(Vcpu, uapi::VcpuInit), String> {
    let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
    let mut init = guest.vm.preferred_target().works("ARM_PREFERRED_TARGET")?;
    init.features[0] |= (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_POWER_OFF);
    second.init(&init).works("ARM_VCPU_INIT")?;
    Ok((second, init))
}

fn affinity() -> Outcome {
    let caller = Caller::new()?;
    let guest = &caller.0;
    let (second, _) = second_vcpu(guest)?;
    let info = |target, level, r0| {
        let results = caller.call(AFFINITY_INFO, [target, level, 0])?;
        let what = format!("AFFINITY_INFO of {target:#x} at {level}");
        equal(what, results[0], r0)
    };
    info(0, 0, 0)?;
    info(1, 0, 1)?;
    // Bits that are in no affinity field are ignored.
    info(0x8000_0000, 0, 0)?;
    info(0xff00_0001, 0, 1)?;
    for (target, level) in [
        (2, 0),
        (0x100, 0),
        (u32::MAX, 0),
        (0, 3),
        (0, 4),
        (0, u32::MAX),
    ] {
        info(target, level, INVALID_PARAMETERS)?;
    }
    caller.expect(CPU_ON, 0, ALREADY_ON)?;
    caller.expect(CPU_ON, 0x8000_0000, ALREADY_ON)?;
    for target in [2, 0x101, 0x8000_0002, u32::MAX] {
        caller.expect(CPU_ON, target, INVALID_PARAMETERS)?;
    }
    // The second vCPU calls SYSTEM_OFF, with its context as the argument.
    guest.memory.write_words(0x100, &[code::HVC, code::LOOP]);
    let results = caller.call(CPU_ON, [0x8000_0001, BASE + 0x100, SYSTEM_OFF])?;
    equal("CPU_ON", results[0], 0)?;
    // The vCPU is on from that moment, although its thread has never run.
    info(1, 0, 0)?;
    caller.expect(CPU_ON, 1, ALREADY_ON)?;
    second.run().works("KVM_RUN")?;
    equal(
        "exit reason",
        second.run.exit_reason(),
        uapi::EXIT_SYSTEM_EVENT,
    )
}

/// A vCPU's identity, as user space has set it, is still there after the guest has started the
/// vCPU.
fn another_mpidr() -> Outcome {
    const MPIDR: u32 = 0x8000_0305;
    const AFFINITY: u32 = 0x305;
    let caller = Caller::new()?;
    let guest = &caller.0;
    let (second, init) = second_vcpu(guest)?;
    let [mpidr, actlr] = [uapi::cp15_reg(0, 0, 0, 5), uapi::cp15_reg(0, 1, 0, 1)];
    second.set_reg(mpidr, MPIDR).works("MPIDR")?;
    let host_actlr = second.reg(actlr).works("ACTLR")?;
    let other_actlr = host_actlr ^ (1 << 10);
    second.set_reg(actlr, other_actlr).works("ACTLR")?;
    let program = [
        code::mrc(1, 0, 0, 0, 5),
        code::str(1, 0),
        code::mrc(1, 0, 1, 0, 1),
        code::str(1, 0),
        code::LOOP,
    ];
    guest.memory.write_words(0x100, &program);
    caller.expect(CPU_ON, 1, INVALID_PARAMETERS)?;
    let results = caller.call(CPU_ON, [AFFINITY, BASE + 0x100, HOLE])?;
    equal("CPU_ON", results[0], 0)?;
    for (name, expected) in [("MPIDR", MPIDR), ("ACTLR", other_actlr)] {
        second.run().works("KVM_RUN")?;
        equal("exit", second.run.exit_reason(), uapi::EXIT_MMIO)?;
        let found = u64::from_le_bytes(second.run.mmio().data);
        equal(format!("the guest's {name}"), found, expected.into())?;
    }
    let results = caller.call(AFFINITY_INFO, [AFFINITY, 0, 0])?;
    equal("AFFINITY_INFO", results[0], 0)?;
    let results = caller.call(AFFINITY_INFO, [1, 0, 0])?;
    equal("AFFINITY_INFO of 1", results[0], INVALID_PARAMETERS)?;
    // KVM_ARM_VCPU_INIT is another thing.
    second.init(&init).works("ARM_VCPU_INIT")?;
    for (id, expected) in [(mpidr, 0x8000_0001), (actlr, host_actlr)] {
        let found = second.reg(id).works("KVM_GET_ONE_REG")?;
        equal("after KVM_ARM_VCPU_INIT", found, expected)?;
    }
    Ok(())
}

/// An interrupt that is there already ends it at once, although the guest masks it.
fn cpu_suspend() -> Outcome {
    let caller = Caller::new()?;
    let irq = uapi::IRQ_TYPE_CPU << uapi::IRQ_TYPE_SHIFT;
    caller.0.vm.irq_line(irq, true).works("KVM_IRQ_LINE")?;
    for state in [0, 1 << 16, u32::MAX] {
        caller.expect(CPU_SUSPEND, state, 0)?;
    }
    Ok(())
}

fn smccc() -> Outcome {
    let caller = Caller::new()?;
    caller.expect(SMCCC_VERSION, 0, 0x1_0001)?;
    caller.expect(ARCH_FEATURES, SMCCC_VERSION, 0)?;
    caller.expect(ARCH_FEATURES, ARCH_FEATURES, 0)?;
    // SOC_ID; stolen time.
    for function in [0x8000_0002, 0xc500_0020, 0xc500_0021, 0, u32::MAX] {
        caller.expect(ARCH_FEATURES, function, NOT_SUPPORTED)?;
        caller.expect(function, 0, NOT_SUPPORTED)?;
    }
    Ok(())
}

fn workarounds() -> Outcome {
    let caller = Caller::new()?;
    let workarounds = [WORKAROUND_1, WORKAROUND_3];
    for (workaround, is_needed) in workarounds.into_iter().zip(caller.needs()?) {
        caller.expect(ARCH_FEATURES, workaround, (!is_needed).into())?;
        caller.expect(workaround, 0, 0)?;
    }
    caller.expect(ARCH_FEATURES, WORKAROUND_2, -2i32 as u32)?;
    caller.expect(WORKAROUND_2, 1, NOT_SUPPORTED)
}

fn workaround_registers() -> Outcome {
    let caller = Caller::new()?;
    let ids = [REG_WORKAROUND_1, REG_WORKAROUND_3];
    for (id, is_needed) in ids.into_iter().zip(caller.needs()?) {
        let most = if is_needed { 1 } else { 2 };
        caller.has(id, most)?;
        // Where a guest comes from it may have had less protection, but not more.
        for value in 0..=most {
            caller.takes(id, value)?;
        }
        for value in [most + 1, 3, 0x10, (1 << 32) | most, u64::MAX] {
            caller.refuses(id, value, libc::EINVAL)?;
        }
        caller.has(id, most)?;
    }
    caller.has(REG_WORKAROUND_2, 3)?;
    // Enabled (bit 4) goes with "available" (2) alone.
    for value in [0, 1, 2, 3, 0x12] {
        caller.takes(REG_WORKAROUND_2, value)?;
    }
    for value in [4, 0x10, 0x11, 0x13, 0x20, u64::MAX] {
        caller.refuses(REG_WORKAROUND_2, value, libc::EINVAL)?;
    }
    caller.has(REG_WORKAROUND_2, 3)
}

fn trng() -> Outcome {
    let caller = Caller::new()?;
    caller.expect_zeros(TRNG_VERSION, 0, 0x1_0000)?;
    for function in [TRNG_VERSION, TRNG_FEATURES, TRNG_GET_UUID, TRNG_RND32] {
        caller.expect_zeros(TRNG_FEATURES, function, 0)?;
    }
    for function in [0xc400_0053, 0x8400_0054, PSCI_VERSION, u32::MAX] {
        caller.expect_zeros(TRNG_FEATURES, function, NOT_SUPPORTED)?;
    }
    let uuid = caller.call(TRNG_GET_UUID, [0; 3])?;
    ensure(uuid[0] as i32 != -1 && uuid != [0; 4], "no UUID")?;
    for bits in [0, 97, 192, 1 << 31, u32::MAX] {
        caller.expect_zeros(TRNG_RND32, bits, INVALID_PARAMETERS)?;
    }
    // Bits that were not asked for are zero, the others are sometimes set.
    let mut all = 0u128;
    for bits in [1, 31, 32, 33, 64, 65, 95, 96] {
        for _ in 0..16 {
            let [status, high, middle, low] = caller.call(TRNG_RND32, [bits, 0, 0])?;
            equal(format!("{bits} bits"), status, 0)?;
            let value = (u128::from(high) << 64) | (u128::from(middle) << 32) | u128::from(low);
            equal(format!("above {bits} bits"), value >> bits, 0)?;
            if bits == 96 {
                all |= value;
            }
        }
    }
    let set = all.count_ones();
    ensure(set >= 90, format!("{set} bits of 96 were ever set"))?;
    let first = caller.call(TRNG_RND32, [96, 0, 0])?;
    let second = caller.call(TRNG_RND32, [96, 0, 0])?;
    ensure(first != second, "the same numbers twice")
}

fn vendor() -> Outcome {
    let caller = Caller::new()?;
    let uid = caller.call(KVM_UID, [7; 3])?;
    let kvm = [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d];
    equal("UID", uid, kvm)?;
    caller.expect_zeros(KVM_FEATURES, 7, 0b11)?;
    for function in [0x8600_ff00, 0x8600_ff03, 0x8600_007f, 0x8600_0002] {
        caller.expect(function, 0, NOT_SUPPORTED)?;
    }
    Ok(())
}

fn now() -> Result<Duration, String> {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|e| e.to_string())
}

/// The time lies between two readings of the host's clock, and the count between two readings of
/// the guest's counter.
fn ptp() -> Outcome {
    for (opc1, argument, name) in [(1, 0, "virtual"), (0, 1, "physical")] {
        let caller = Caller::with(code::HVC, opc1)?;
        for round in 0..100 {
            let before = now()?.as_nanos() as u64;
            let [high, low, count_high, count_low] = caller.call(KVM_PTP, [argument, 0, 0])?;
            let after = now()?.as_nanos() as u64;
            let time = (u64::from(high) << 32) | u64::from(low);
            ensure(
                (before..=after).contains(&time),
                format!("{name}: time {time} is not in {before} to {after}"),
            )?;
            let guest = |low, high| -> Result<u64, String> {
                Ok((u64::from(caller.0.get(high)?) << 32) | u64::from(caller.0.get(low)?))
            };
            let (start, end) = (guest(6, 7)?, guest(8, 9)?);
            let count = (u64::from(count_high) << 32) | u64::from(count_low);
            ensure(
                (start..=end).contains(&count),
                format!("{name}, round {round}: count {count:#x} is not in {start:#x} to {end:#x}"),
            )?;
        }
        for argument in [2, 1 << 31, u32::MAX] {
            caller.expect(KVM_PTP, argument, NOT_SUPPORTED)?;
        }
    }
    Ok(())
}

fn switched_off() -> Outcome {
    let caller = Caller::new()?;
    caller.has(REG_STD, 1)?;
    caller.has(REG_STD_HYP, 0)?;
    caller.has(REG_VENDOR_HYP, 3)?;
    for (id, bad) in [(REG_STD, 2), (REG_STD_HYP, 1), (REG_VENDOR_HYP, 4)] {
        caller.refuses(id, bad, libc::EINVAL)?;
        caller.refuses(id, u64::MAX, libc::EINVAL)?;
        caller.refuses(id, 1 << 63, libc::EINVAL)?;
    }
    for id in [REG_STD, REG_STD_HYP, REG_VENDOR_HYP] {
        caller.takes(id, 0)?;
        caller.has(id, 0)?;
    }
    for function in [
        TRNG_VERSION,
        TRNG_FEATURES,
        TRNG_GET_UUID,
        TRNG_RND32,
        KVM_UID,
        KVM_FEATURES,
        KVM_PTP,
    ] {
        caller.expect(function, 1, NOT_SUPPORTED)?;
    }
    // Each for itself, and on again.
    let caller = Caller::new()?;
    caller.takes(REG_VENDOR_HYP, 0)?;
    caller.takes(REG_VENDOR_HYP, 2)?;
    caller.expect(KVM_UID, 0, NOT_SUPPORTED)?;
    let [high, ..] = caller.call(KVM_PTP, [0; 3])?;
    ensure(high as i32 > 0, "no time")?;
    caller.expect(TRNG_VERSION, 0, 0x1_0000)
}

fn fixed_services() -> Outcome {
    let caller = Caller::new()?;
    caller.expect(KVM_FEATURES, 0, 3)?;
    for (id, value, other) in [(REG_STD, 1, 0), (REG_VENDOR_HYP, 3, 1)] {
        caller.takes(id, value)?;
        caller.refuses(id, other, libc::EBUSY)?;
        caller.refuses(id, u64::MAX, libc::EINVAL)?;
        caller.has(id, value)?;
    }
    caller.takes(REG_STD_HYP, 0)?;
    caller.expect(KVM_FEATURES, 0, 3)
}

fn no_register() -> Outcome {
    let caller = Caller::new()?;
    let word = uapi::REG_SIZE_U32 ^ uapi::REG_SIZE_U64;
    for id in [
        FW + 4,
        FW + 0xffff,
        BITMAPS + 3,
        BITMAPS + 0xffff,
        REG_PSCI_VERSION ^ word,
        REG_STD ^ word,
    ] {
        let errnos = [libc::ENOENT];
        fails(format!("read of {id:#x}"), caller.get(id), &errnos)?;
        fails(format!("write of {id:#x}"), caller.set(id, 0), &errnos)?;
    }
    let reg = OneReg {
        id: REG_PSCI_VERSION,
        addr: 0,
    };
    let set = ioctl_ref(&caller.0.vcpu, uapi::SET_ONE_REG(), &reg);
    fails("write from nowhere", set, &[libc::EFAULT])
}

fn no_64_bits() -> Outcome {
    let caller = Caller::new()?;
    for function in [
        PSCI_VERSION,
        CPU_SUSPEND,
        CPU_OFF,
        CPU_ON,
        AFFINITY_INFO,
        SYSTEM_OFF,
        SYSTEM_RESET,
        SYSTEM_SUSPEND,
        SYSTEM_RESET2,
        TRNG_RND32,
        KVM_FEATURES,
        KVM_PTP,
        SMCCC_VERSION,
        // Stolen time.
        0x8500_0020,
        0x8500_0021,
    ] {
        caller.expect(function | (1 << 30), 0, NOT_SUPPORTED)?;
    }
    Ok(())
}

/// The guest goes on after every call, with all kinds of arguments.
fn any_function() -> Outcome {
    let caller = Caller::new()?;
    // These end the run, or wait.
    let special = [
        CPU_SUSPEND,
        CPU_OFF,
        SYSTEM_OFF,
        SYSTEM_RESET,
        SYSTEM_RESET2,
    ];
    let mut random = 0x2545_f491_u32;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random
    };
    let services = [0x8000_0000, 0x8400_0000, 0x8500_0000, 0x8600_0000, 0];
    for round in 0..2000 {
        let function = if round % 2 == 0 {
            services[round / 2 % services.len()] | next() & 0xff
        } else {
            next()
        };
        if special.contains(&function) {
            continue;
        }
        let argument = |value: u32| match value % 4 {
            0 => value >> 24,
            1 => u32::MAX,
            _ => value,
        };
        let args = [argument(next()), argument(next()), argument(next())];
        caller.call(function, args)?;
        equal("r4", caller.0.get(4)?, HOLE)?;
    }
    caller.expect(PSCI_VERSION, 0, PSCI_1_1 as u32)
}

fn by_smc() -> Outcome {
    let caller = Caller::with(SMC, 1)?;
    caller.expect(PSCI_VERSION, 0, PSCI_1_1 as u32)?;
    caller.expect(SMCCC_VERSION, 0, 0x1_0001)?;
    caller.expect(TRNG_VERSION, 0, 0x1_0000)?;
    caller.expect(u32::MAX, 0, NOT_SUPPORTED)
}

/// The convention's immediate is zero, and all others are reserved (DEN 0028): by HVC they call
/// nothing. The hardware does not tell that of SMC.
fn immediates() -> Outcome {
    for immediate in [1, 0xff, 0x8000, 0xffff] {
        let hvc = code::HVC | ((immediate & 0xfff0) << 4) | (immediate & 0xf);
        let caller = Caller::with(hvc, 1)?;
        for function in [PSCI_VERSION, SMCCC_VERSION, KVM_UID, SYSTEM_OFF, u32::MAX] {
            let found = caller.call(function, [1, 2, 3])?;
            let what = format!("hvc #{immediate:#x}, {function:#x}");
            equal(what, found, [NOT_SUPPORTED, 1, 2, 3])?;
        }
    }
    let caller = Caller::with(SMC | 1, 1)?;
    caller.expect(PSCI_VERSION, 0, PSCI_1_1 as u32)
}

/// Calls what ends the run, and looks at the event.
fn event(caller: &Caller, function: u32, args: [u32; 3]) -> Result<(u32, u32, u64), String> {
    caller.prepare(function, args)?;
    caller.0.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let event = caller.0.vcpu.run.system_event();
    Ok((event.event, event.ndata, event.data[0]))
}

fn event_flags() -> Outcome {
    for (function, kind) in [
        (SYSTEM_OFF, uapi::SYSTEM_EVENT_SHUTDOWN),
        (SYSTEM_RESET, uapi::SYSTEM_EVENT_RESET),
    ] {
        let caller = Caller::new()?;
        let found = event(&caller, function, [u32::MAX; 3])?;
        equal("event, ndata, flags", found, (kind, 1, 0))?;
        // The state in which the guest would go on (DEN 0022 5.10).
        equal("r0", caller.0.get(0)?, INTERNAL_FAILURE)?;
    }
    Ok(())
}

fn system_reset2() -> Outcome {
    for kind in [0, 1 << 31, u32::MAX] {
        let caller = Caller::new()?;
        let found = event(&caller, SYSTEM_RESET2, [kind, 0xc00c1e, 0])?;
        equal(
            "event, ndata, flags",
            found,
            (uapi::SYSTEM_EVENT_RESET, 1, 1),
        )?;
        equal("r0", caller.0.get(0)?, INTERNAL_FAILURE)?;
    }
    let caller = Caller::new()?;
    for kind in [1, 0x7fff_ffff] {
        caller.expect(SYSTEM_RESET2, kind, INVALID_PARAMETERS)?;
    }
    Ok(())
}

fn enable(vm: &Vm, cap: u32, flags: u32) -> std::io::Result<()> {
    vm.enable_cap(cap, flags, [0; 4])
}

fn system_suspend() -> Outcome {
    let caller = Caller::new()?;
    caller.expect(SYSTEM_SUSPEND, BASE, NOT_SUPPORTED)?;
    enable(&caller.0.vm, uapi::CAP_ARM_SYSTEM_SUSPEND, 0).works("KVM_ENABLE_CAP")?;
    caller.expect(PSCI_FEATURES, SYSTEM_SUSPEND, 0)?;
    let args = [BASE + 8, 0x1234, 77];
    let (kind, ..) = event(&caller, SYSTEM_SUSPEND, args)?;
    equal("event", kind, uapi::SYSTEM_EVENT_SUSPEND)?;
    // The call is as it was made, behind the instruction.
    let [r1, r2, r3] = args;
    equal("registers", caller.results()?, [SYSTEM_SUSPEND, r1, r2, r3])?;
    equal("pc", caller.0.get(uapi::CORE_PC)?, BASE + 8)?;
    // The monitor denies it: the guest goes on.
    caller.0.set(0, -3i32 as u32)?;
    caller.0.run_to(uapi::EXIT_MMIO)?;
    equal("r0", caller.0.get(0)?, -3i32 as u32)?;
    // Nothing of this is in PSCI 0.2.
    caller.takes(REG_PSCI_VERSION, PSCI_0_2)?;
    caller.expect(SYSTEM_SUSPEND, BASE, NOT_SUPPORTED)
}

fn enable_cap() -> Outcome {
    let caller = Caller::new()?;
    let vm = &caller.0.vm;
    let errnos = [libc::EINVAL];
    for cap in [0, uapi::CAP_USER_MEMORY, uapi::CAP_IRQCHIP, u32::MAX] {
        fails(format!("capability {cap}"), enable(vm, cap, 0), &errnos)?;
    }
    let flags = enable(vm, uapi::CAP_ARM_SYSTEM_SUSPEND, 1);
    fails("flags", flags, &errnos)?;
    caller.expect(SYSTEM_SUSPEND, BASE, NOT_SUPPORTED)?;
    for address in [0, 0xc000_0000] {
        let bad = kvm::ioctl(vm, uapi::ENABLE_CAP(), address);
        fails("a bad address", bad, &[libc::EFAULT])?;
    }
    Ok(())
}
