// SPDX-License-Identifier: GPL-2.0

//! Hosts whose CPUs are of different cores (big.LITTLE): CPU 0 is a Cortex-A15, CPU 1 a Cortex-A7, as
//! `big-little.sh` makes the module believe.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use kvm::uapi;
use machine::core::Core;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, new_vcpu, new_vm, slot, Guest, Memory, BASE, HOLE, SIZE};
use crate::tlb::stay_on;

pub(crate) const TESTS: &[Test] = &[
    ("cores: PREFERRED_TARGET is that of the CPU", preferred),
    ("cores: INIT takes each core of the host, once", init_takes),
    ("cores: RUN on a CPU of another core", refused),
    ("cores: an access that was answered meanwhile", answered),
    (
        "cores: a vCPU that moves while it runs",
        moves_while_running,
    ),
    (
        "cores: a vCPU that wakes on a CPU of another core",
        wakes_elsewhere,
    ),
    (
        "cores: a start by PSCI, seen on a CPU of another core",
        started_elsewhere,
    ),
    ("cores: both in one VM at once", both_at_once),
    (
        "cores: registers do not depend on the CPU that asks",
        registers,
    ),
];

/// The CPU of each core.
const BIG: usize = 0;
const LITTLE: usize = 1;
/// What KVM_ARM_VCPU_INIT calls them.
const TARGETS: [u32; 2] = [0, 1];
const GENERIC_V7: u32 = 2;

fn preferred() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    for cpu in [BIG, LITTLE, BIG] {
        stay_on(cpu)?;
        let target = vm.preferred_target().works("KVM_ARM_PREFERRED_TARGET")?;
        equal(format!("on CPU {cpu}"), target.target, TARGETS[cpu])?;
    }
    Ok(())
}

/// A guest whose vCPU is of the core of a CPU. This thread is there afterwards.
fn guest_of(cpu: usize, program: &[u32]) -> Result<Guest, String> {
    stay_on(cpu)?;
    Guest::new(program)
}

fn init_takes() -> Outcome {
    for cpu in [BIG, LITTLE] {
        stay_on(cpu)?;
        for target in TARGETS {
            let (kvm, vm) = new_vm()?;
            let vcpu = new_vcpu(&kvm, &vm, 0)?;
            let mut init = vm.preferred_target().works("KVM_ARM_PREFERRED_TARGET")?;
            init.target = GENERIC_V7;
            fails(
                "a core that is not there",
                vcpu.init(&init),
                &[libc::EINVAL],
            )?;
            init.target = target;
            vcpu.init(&init)
                .works(format!("target {target} on CPU {cpu}"))?;
            vcpu.init(&init).works("the same again")?;
            init.target = 1 - target;
            fails("another one", vcpu.init(&init), &[libc::EINVAL])?;
        }
    }
    Ok(())
}

/// Runs, and expects that this CPU is refused.
fn is_refused(guest: &Guest, cpu: usize) -> Outcome {
    guest.run_to(uapi::EXIT_FAIL_ENTRY)?;
    let entry = guest.vcpu.run.fail_entry();
    equal("reason", entry.reason, uapi::FAIL_ENTRY_CPU_UNSUPPORTED)?;
    equal("CPU", entry.cpu, cpu as u32)
}

/// Adds one to r4 and stores it to the hole, for ever.
fn counting() -> Vec<u32> {
    const ADD_R4_1: u32 = 0xe284_4001;
    const BACK_2: u32 = 0xeaff_fffc;
    let mut program = code::load(0, HOLE).to_vec();
    program.extend([ADD_R4_1, code::str(4, 0), BACK_2]);
    program
}

/// Runs a counting guest to its next store.
fn counts(guest: &Guest, expected: u32) -> Outcome {
    guest.run_to(uapi::EXIT_MMIO)?;
    let data = guest.vcpu.run.mmio().data;
    equal("count", u64::from_le_bytes(data), expected.into())
}

fn refused() -> Outcome {
    for (own, other) in [(BIG, LITTLE), (LITTLE, BIG)] {
        let guest = guest_of(own, &counting())?;
        let mut count = 0;
        // Before the first run, too.
        for rounds in 0..20 {
            stay_on(other)?;
            for _ in 0..3 {
                is_refused(&guest, other)?;
            }
            stay_on(own)?;
            for _ in 0..rounds {
                count += 1;
                counts(&guest, count)?;
            }
        }
    }
    Ok(())
}

fn answered() -> Outcome {
    let mut program = code::load(0, HOLE).to_vec();
    program.extend([code::ldr(2, 0), code::str(2, 0), code::LOOP]);
    for (own, other) in [(BIG, LITTLE), (LITTLE, BIG)] {
        let guest = guest_of(own, &program)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        guest.answer(0x1234_5678);
        stay_on(other)?;
        is_refused(&guest, other)?;
        // The page holds the failure now, not the answer, and the load is complete.
        guest.answer(0);
        is_refused(&guest, other)?;
        equal("r2", guest.get(2)?, 0x1234_5678)?;
        stay_on(own)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        let data = guest.vcpu.run.mmio().data;
        equal("the store", u64::from_le_bytes(data), 0x1234_5678)?;
    }
    Ok(())
}

/// Puts another thread on a CPU.
fn move_to(thread: &AtomicI32, cpu: usize) -> Outcome {
    let set = 1u32 << cpu;
    let thread = thread.load(Ordering::SeqCst);
    // SAFETY: A set of 32 CPUs.
    let result =
        unsafe { libc::sched_setaffinity(thread, size_of_val(&set), (&raw const set).cast()) };
    equal("sched_setaffinity", result, 0)
}

/// Runs `run` in a thread that begins on the CPU `own`; `meanwhile` gets the thread.
fn beside(
    own: usize,
    run: impl FnOnce() -> Outcome + Send,
    meanwhile: impl FnOnce(&AtomicI32) -> Outcome,
) -> Outcome {
    let id = AtomicI32::new(0);
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            stay_on(own)?;
            // SAFETY: Reads the number of this thread.
            id.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            run()
        });
        while id.load(Ordering::SeqCst) == 0 && !thread.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let outcome = meanwhile(&id);
        thread.join().map_err(|_| "panic")??;
        outcome
    })
}

fn moves_while_running() -> Outcome {
    const FLAG: usize = 0x1000;
    const ADD_R4_1: u32 = 0xe284_4001;
    const STR_R4_FLAG_4: u32 = 0xe586_4004;
    const CMP_R1_0: u32 = 0xe351_0000;
    const BEQ_BACK_4: u32 = 0x0aff_fffa;
    let program = [
        ADD_R4_1,
        STR_R4_FLAG_4,
        code::ldr(1, 6),
        CMP_R1_0,
        BEQ_BACK_4,
        code::str(1, 0),
        code::LOOP,
    ];
    for (own, other) in [(BIG, LITTLE), (LITTLE, BIG)] {
        let guest = guest_of(own, &program)?;
        guest.set(0, HOLE)?;
        guest.set(6, BASE + FLAG as u32)?;
        let rounds = || guest.memory.word(FLAG + 4);
        for _ in 0..5 {
            let before = rounds();
            let run = || is_refused(&guest, other);
            beside(own, run, |thread| {
                // It is in the guest.
                while rounds() == before {
                    thread::sleep(Duration::from_millis(1));
                }
                move_to(thread, other)
            })?;
            // Nothing that it did is lost, or done by itself.
            let found = rounds();
            let r4 = guest.get(4)?;
            ensure(
                r4 == found || r4 == found + 1,
                format!("{r4} rounds, {found} stored"),
            )?;
        }
        guest.memory.write_words(FLAG, &[1]);
        stay_on(own)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("rounds", guest.get(4)?, rounds())?;
    }
    Ok(())
}

fn wakes_elsewhere() -> Outcome {
    let mut program = vec![code::WFI];
    program.extend(code::load(0, HOLE));
    program.extend([code::str(0, 0), code::LOOP]);
    let irq = uapi::IRQ_TYPE_CPU << uapi::IRQ_TYPE_SHIFT;
    for (own, other) in [(BIG, LITTLE), (LITTLE, BIG)] {
        let guest = guest_of(own, &program)?;
        let sleeps = |thread: &AtomicI32| {
            let path = format!("/proc/self/task/{}/stat", thread.load(Ordering::SeqCst));
            let stat = std::fs::read_to_string(path).works("the state of a thread")?;
            Ok::<bool, String>(
                stat.rsplit(')')
                    .next()
                    .is_some_and(|rest| rest.starts_with(" S")),
            )
        };
        let run = || is_refused(&guest, other);
        beside(own, run, |thread| {
            while !sleeps(thread)? {
                thread::sleep(Duration::from_millis(1));
            }
            move_to(thread, other)?;
            guest.vm.irq_line(irq, true).works("KVM_IRQ_LINE")
        })?;
        // It is awake, and stays so.
        stay_on(own)?;
        guest.run_to(uapi::EXIT_MMIO)?;
    }
    Ok(())
}

/// A vCPU is off, and CPU_ON comes while its thread is on a CPU of another core.
fn started_elsewhere() -> Outcome {
    const CPU_ON: u32 = 0x8400_0003;
    const ENTRY: usize = 0x1000;
    let mut program = Vec::new();
    for (register, value) in [(0, CPU_ON), (1, 1), (2, BASE + ENTRY as u32), (3, 77)] {
        program.extend(code::load(register, value));
    }
    program.push(code::HVC);
    program.extend(code::load(1, HOLE));
    program.extend([code::str(0, 1), code::LOOP]);
    for (own, other) in [(BIG, LITTLE), (LITTLE, BIG)] {
        let guest = guest_of(own, &program)?;
        let mut second_program = code::load(1, HOLE).to_vec();
        second_program.extend([code::str(0, 1), code::LOOP]);
        guest.memory.write_words(ENTRY, &second_program);
        let second = new_vcpu(&guest.kvm, &guest.vm, 1)?;
        let mut init = guest
            .vm
            .preferred_target()
            .works("KVM_ARM_PREFERRED_TARGET")?;
        init.features[0] |= (1 << uapi::VCPU_PSCI_0_2) | (1 << uapi::VCPU_POWER_OFF);
        second.init(&init).works("KVM_ARM_VCPU_INIT")?;
        guest.run_to(uapi::EXIT_MMIO)?;
        let data = guest.vcpu.run.mmio().data;
        equal("CPU_ON", u64::from_le_bytes(data), 0)?;
        stay_on(other)?;
        second.run().works("KVM_RUN")?;
        equal("exit", second.run.exit_reason(), uapi::EXIT_FAIL_ENTRY)?;
        equal("CPU", second.run.fail_entry().cpu, other as u32)?;
        stay_on(own)?;
        second.run().works("KVM_RUN")?;
        equal("exit", second.run.exit_reason(), uapi::EXIT_MMIO)?;
        let data = second.run.mmio().data;
        equal("context", u64::from_le_bytes(data), 77)?;
    }
    Ok(())
}

fn both_at_once() -> Outcome {
    const COUNT: u32 = 2000;
    let (kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    memory.write_words(0, &counting());
    vm.set_user_memory_region(&slot(0, BASE.into(), &memory, SIZE))
        .works("KVM_SET_USER_MEMORY_REGION")?;
    let vcpus = [BIG, LITTLE].map(|id| new_vcpu(&kvm, &vm, id as u32));
    thread::scope(|scope| {
        let threads = vcpus.into_iter().enumerate().map(|(cpu, vcpu)| {
            let vm = &vm;
            scope.spawn(move || {
                let vcpu = vcpu?;
                stay_on(cpu)?;
                crate::guest::init(vm, &vcpu)?;
                vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
                    .works("pc")?;
                for count in 1..=COUNT {
                    vcpu.run().works("KVM_RUN")?;
                    equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
                    let data = vcpu.run.mmio().data;
                    equal("count", u64::from_le_bytes(data), count.into())?;
                }
                Ok::<(), String>(())
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "panic")?)
    })
}

fn registers() -> Outcome {
    let mut lists = Vec::new();
    for (cpu, core) in [(BIG, Core::CortexA15), (LITTLE, Core::CortexA7)] {
        let guest = guest_of(cpu, &[])?;
        let list = guest.vcpu.reg_list().works("KVM_GET_REG_LIST")?;
        let read = || {
            let value = |id: &u64| match id & uapi::REG_SIZE_MASK {
                uapi::REG_SIZE_U32 => guest.vcpu.reg(*id).map(u64::from),
                _ => guest.vcpu.reg64(*id),
            };
            let values: std::io::Result<Vec<u64>> = list.iter().map(value).collect();
            values.works("KVM_GET_ONE_REG")
        };
        let mut seen = Vec::new();
        for asks in [BIG, LITTLE] {
            stay_on(asks)?;
            seen.push(read()?);
            let again = guest.vcpu.reg_list().works("KVM_GET_REG_LIST")?;
            equal("the list", &again, &list)?;
        }
        for ((id, one), other) in list.iter().zip(&seen[0]).zip(&seen[1]) {
            let is_counter = [uapi::TIMER_CNT, uapi::PTIMER_CNT].contains(id);
            ensure(
                one == other || is_counter,
                format!("{id:#x}: {one:#x}, {other:#x}"),
            )?;
        }
        // PMCR tells the core that the vCPU has become.
        let pmcr = guest.vcpu.reg(uapi::cp15_reg(0, 9, 12, 0)).works("PMCR")?;
        let idcode = match core {
            Core::CortexA7 => 0x07,
            _ => 0x0f,
        };
        equal("PMCR.IDCODE", (pmcr >> 16) & 0xff, idcode)?;
        lists.push(list);
    }
    // Cortex-A15 has two counters of events more, with two registers each.
    equal("registers more", lists[0].len() - lists[1].len(), 4)
}
