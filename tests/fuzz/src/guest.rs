// SPDX-License-Identifier: GPL-2.0

//! A VM of which each vCPU executes random instructions in a random state: every mode, random translation
//! tables, calls of the firmware, coprocessors, the vGIC and other devices. All vCPUs share the memory, so
//! each changes the code and the tables of the others.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread;

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::{Device, Kvm, Vcpu, Vm};

use crate::calls::CALLS;
use crate::host;
use crate::instructions::{self, ADDRESSES};
use crate::layout::{self, map_anonymous, GUEST, PAGE, THREADS};
use crate::random::Random;
use crate::shared::Shared;
use crate::waker::{be_urgent, catch_signals, wake_all};
use crate::worker::Round;

/// Its memory. Half of it is at 0, too, where the vectors are after a reset.
const SIZE: usize = 4 << 20;
const BASE: u32 = 0x8000_0000;
/// Pages with code; translation tables follow.
const CODE_PAGES: usize = 8;
const TABLES: usize = 0x8000;

struct Machine {
    vcpus: Vec<Vcpu>,
    _gic: Device,
    vm: Vm,
    _kvm: Kvm,
    init: uapi::VcpuInit,
}

impl Machine {
    fn new(cpus: usize) -> io::Result<Self> {
        let kvm = Kvm::open()?;
        let vm = kvm.create_vm()?;
        map_anonymous(GUEST, SIZE, libc::PROT_READ | libc::PROT_WRITE)?;
        for (slot, gpa, flags) in [
            (0, BASE, 0),
            (1, 0, 0),
            (2, 0x9000_0000, uapi::MEM_READONLY),
        ] {
            vm.set_user_memory_region(&UserspaceMemoryRegion {
                slot,
                flags,
                guest_phys_addr: gpa.into(),
                memory_size: if slot == 0 { SIZE } else { SIZE / 2 } as u64,
                userspace_addr: GUEST as u64,
            })?;
        }
        let gic = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)?;
        for (attr, value) in [(0, 0x3fff_0000u64), (1, 0x3ffd_0000)] {
            gic.set_attr(uapi::VGIC_GRP_ADDR, attr, &value)?;
        }
        let size = kvm.vcpu_mmap_size()?;
        let ids = 0..cpus as u32;
        let vcpus: io::Result<Vec<Vcpu>> = ids.map(|id| vm.create_vcpu(id, size)).collect();
        gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u64)?;
        let mut init = vm.preferred_target()?;
        init.features[0] |= 1 << uapi::VCPU_PSCI_0_2;
        let machine = Self {
            vcpus: vcpus?,
            _gic: gic,
            vm,
            _kvm: kvm,
            init,
        };
        for vcpu in &machine.vcpus {
            vcpu.init(&machine.init)?;
        }
        Ok(machine)
    }

    /// Writes code, and sometimes vectors or tables. The first page has the vectors, of which most let the guest
    /// go on.
    fn write_memory(&self, random: &mut Random) {
        let page = (1 + random.below(CODE_PAGES - 1)) * PAGE;
        let size = random.one(&[256, 1024, 2048]);
        let start = page + random.below((PAGE - size) / 4) * 4;
        layout::poke(GUEST + start, &instructions::stream(size, random));
        if random.per_mille(500) {
            layout::poke(GUEST, &instructions::vectors(BASE + start as u32));
        } else if random.per_mille(100) {
            layout::poke(GUEST, &instructions::stream(64, random));
        }
        if random.per_mille(300) {
            for (place, entry) in instructions::sections() {
                layout::poke(GUEST + TABLES + 4 * place, &entry.to_le_bytes());
            }
        }
        if random.per_mille(50) {
            let words = 1 + random.below(1024);
            let tables: Vec<u8> = (0..words)
                .flat_map(|_| instructions::descriptor(random).to_le_bytes())
                .collect();
            layout::poke(GUEST + TABLES + random.below(4) * PAGE, &tables);
        }
    }

    /// Gives a vCPU a random state. Values that the kernel refuses are tried, too.
    fn write_registers(&self, vcpu: &Vcpu, random: &mut Random) -> io::Result<()> {
        if random.per_mille(250) {
            vcpu.init(&self.init)?;
        }
        // Else one that the guest has switched off stays so.
        vcpu.set_mp_state(uapi::MP_STATE_RUNNABLE)?;
        let mode = random.one(&[0x10, 0x11, 0x12, 0x13, 0x13, 0x17, 0x1b, 0x1f]);
        let state = random.one(&[0, 0, 0, 0, 0, 0, 0x20, 0x200, 0xc0, 0x1c0, 0x0100_0020]);
        let flags = random.word() & 0xf800_0000;
        let page = (1 + random.below(CODE_PAGES - 1)) as u32 * PAGE as u32;
        let base = random.one(&[0, BASE, BASE]);
        vcpu.set_reg(uapi::core_reg(uapi::CORE_CPSR), mode | state | flags)?;
        vcpu.set_reg(
            uapi::core_reg(uapi::CORE_PC),
            base + page + random.below(PAGE / 4) as u32 * 4,
        )?;
        for n in (0..15).chain(18..38) {
            let value = random
                .one(&ADDRESSES)
                .wrapping_add(random.below(64) as u32 * 4);
            let value = if random.per_mille(200) {
                random.word()
            } else {
                value
            };
            // A word that is a PSR refuses some values.
            let _ = vcpu.set_reg(uapi::core_reg(n), value);
        }
        // The guest's translation and its exceptions depend on these.
        let tables = BASE + TABLES as u32;
        let sctlr = random.one(&[
            0x00c5_0078,
            0x00c5_0078,
            0x00c5_0078,
            0x00c5_1878,
            0x00c5_0079,
            0x00c5_187d,
            0x20c5_187f,
            0x40c5_0078,
        ]);
        let random_bits = if random.per_mille(200) {
            1 << random.below(32)
        } else {
            0
        };
        for (id, value) in [
            (uapi::cp15_reg(0, 1, 0, 0), sctlr ^ random_bits),
            (
                uapi::cp15_reg(0, 1, 0, 2),
                random.one(&[0, 0x00f0_0000, 0xc0f0_0000]),
            ),
            (
                uapi::cp15_reg(0, 2, 0, 0),
                tables | random.below(128) as u32,
            ),
            (
                uapi::cp15_reg(0, 2, 0, 1),
                tables | random.below(128) as u32,
            ),
            (
                uapi::cp15_reg(0, 2, 0, 2),
                random.one(&[0, 0, 0, 0, 1, 0x8000_0000, 0xb500_3500]),
            ),
            (
                uapi::cp15_reg(0, 3, 0, 0),
                random.one(&[u32::MAX, 0x5555_5555, 0]),
            ),
            (
                uapi::cp15_reg(0, 12, 0, 0),
                random.one(&[0, 0, 0, BASE, BASE, 0x1000_0000]),
            ),
            (uapi::cp15_reg(0, 10, 2, 0), random.word()),
            (uapi::TIMER_CTL, random.below(4) as u32),
        ] {
            vcpu.set_reg(id, value)?;
        }
        Ok(())
    }

    /// Does something from outside while the guest runs.
    fn disturb(&self, random: &mut Random) {
        match random.below(8) {
            0..3 => {
                let _ = self
                    .vm
                    .spi_line(32 + random.below(64) as u32, random.per_mille(500));
            }
            3 => {
                let start = GUEST + random.below(SIZE / PAGE) * PAGE;
                // SAFETY: The guest's memory is nobody's but its own.
                unsafe { libc::madvise(start as *mut _, PAGE, libc::MADV_DONTNEED) };
            }
            _ => (),
        }
    }
}

/// Lets a vCPU run from state to state.
fn run_vcpu(
    machine: &Machine,
    shared: &Shared,
    key: u64,
    n: usize,
    steps: u32,
) -> Result<(), String> {
    let vcpu = &machine.vcpus[n];
    let run = CALLS
        .iter()
        .position(|call| call.name == "RUN")
        .unwrap_or(0);
    let now = &shared.now[n];
    now.call.store(run as u32, Ordering::Relaxed);
    for step in 1..=steps {
        let mut random = Random::of(&[key, n as u64, step.into()]);
        now.step.store(step, Ordering::Relaxed);
        machine.write_memory(&mut random);
        machine
            .write_registers(vcpu, &mut random)
            .map_err(|e| format!("vCPU {n} step {step}: its registers: {e}"))?;
        machine.disturb(&mut random);
        for _ in 0..1 + random.below(12) {
            shared.calls.fetch_add(1, Ordering::Relaxed);
            match vcpu.run() {
                Ok(()) => {
                    shared.exits.fetch_add(1, Ordering::Relaxed);
                    let reason = vcpu.run.exit_reason();
                    if reason == uapi::EXIT_INTERNAL_ERROR {
                        let error = vcpu.run.internal();
                        return Err(format!("vCPU {n} step {step}: internal error {error:x?}"));
                    }
                    vcpu.run.set_mmio_data(random.long().to_le_bytes());
                }
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {
                    shared.interrupted.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(e) => return Err(format!("vCPU {n} step {step}: KVM_RUN: {e}")),
            }
        }
    }
    Ok(())
}

/// Adds up the traps of the VMs of this process, by their class.
fn count_traps(shared: &Shared) {
    for line in host::vm_file("vcpus").lines() {
        let mut words = line.split_whitespace();
        let class = words
            .next()
            .and_then(|name| name.strip_prefix("traps_ec_0x"))
            .and_then(|class| usize::from_str_radix(class, 16).ok());
        let Some(counter) = class.and_then(|class| shared.traps.get(class)) else {
            continue;
        };
        let count: u32 = words.filter_map(|word| word.parse::<u32>().ok()).sum();
        counter.fetch_add(count, Ordering::Relaxed);
    }
    for line in host::vm_file("stats").lines() {
        let Some((name, count)) = line.split_once(' ') else {
            continue;
        };
        let place = ANSWERED.iter().position(|answered| *answered == name);
        if let (Some(place), Ok(count)) = (place, count.trim().parse::<u32>()) {
            shared.answered[place].fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Traps that HYP mode answers, by the names of their statistics.
pub(crate) const ANSWERED: [&str; 4] = [
    "hyp_answered_hvc",
    "hyp_answered_cp15",
    "hyp_answered_mmio",
    "mmio_exit_kernel",
];

/// The classes of traps that random guests have to come to (B3.13.6), and their names. LDC and STC of CP14
/// were never seen to trap on the emulator, and traps of coprocessors are not counted: HYP mode answers
/// those of VFP.
pub(crate) const CLASSES: [(usize, &str); 8] = [
    (0x01, "WFI, WFE"),
    (0x03, "MCR, MRC p15"),
    (0x04, "MCRR, MRRC p15"),
    (0x05, "MCR, MRC p14"),
    (0x12, "HVC"),
    (0x13, "SMC"),
    (0x20, "instruction aborts"),
    (0x24, "data aborts"),
];

/// Plays a round. The process ends with it.
pub(crate) fn play(shared: &'static Shared, round: Round) -> Result<(), String> {
    catch_signals();
    let machine = Machine::new(round.threads).map_err(|e| format!("the VM of a round: {e}"))?;
    let running = AtomicI32::new(round.threads as i32);
    let threads = [const { AtomicI32::new(0) }; THREADS];
    let key = round.key();
    let result = thread::scope(|scope| {
        let start = |n: usize| {
            let (machine, running, threads) = (&machine, &running, &threads);
            scope.spawn(move || {
                // SAFETY: It has no arguments.
                let id = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
                threads[n].store(id, Ordering::Relaxed);
                let result = run_vcpu(machine, shared, key, n, round.steps);
                threads[n].store(0, Ordering::Relaxed);
                running.fetch_sub(1, Ordering::Relaxed);
                result
            })
        };
        let vcpus: Vec<_> = (0..round.threads).map(start).collect();
        be_urgent();
        let mut random = Random::of(&[3]);
        while running.load(Ordering::Relaxed) > 0 {
            wake_all(shared, &threads, &mut random);
        }
        let results = vcpus.into_iter().map(|vcpu| vcpu.join());
        let failed = results.filter_map(|result| match result {
            Ok(result) => result.err(),
            Err(_) => Some("a thread has panicked".into()),
        });
        let failed: Vec<String> = failed.collect();
        failed
    });
    count_traps(shared);
    if result.is_empty() {
        Ok(())
    } else {
        Err(result.join("; "))
    }
}

/// The counts of traps as text, and those that nobody has come to.
pub(crate) fn table(traps: &[AtomicU32], answered: &[AtomicU32]) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut missing = Vec::new();
    let mut add = |name: String, count: u32, is_needed: bool| {
        text.push_str(&format!("{name}: {count}\n"));
        if count == 0 && is_needed {
            missing.push(format!("no guest came to: {name}"));
        }
    };
    for (class, count) in traps.iter().enumerate() {
        let count = count.load(Ordering::Relaxed);
        let known = CLASSES.iter().find(|(known, _)| *known == class);
        if known.is_some() || count > 0 {
            let name = known.map_or("", |(_, name)| *name);
            add(format!("traps {class:#04x} {name}"), count, known.is_some());
        }
    }
    for (name, count) in ANSWERED.iter().zip(answered) {
        add((*name).to_owned(), count.load(Ordering::Relaxed), true);
    }
    (text, missing)
}
