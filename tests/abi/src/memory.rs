// SPDX-License-Identifier: GPL-2.0

//! Memory slots.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::Vm;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{
    code, new_vm, run_passes, slot, Aligned, Guest, Memory, BASE, HOLE, HUGE, PAGE, SIZE,
};
use crate::stats::Stats;
use crate::tlb::stay_on;

pub(crate) const TESTS: &[Test] = &[
    ("slot: made, moved, deleted", life),
    ("slot: unaligned", unaligned),
    ("slot: overlapping", overlapping),
    ("slot: out of range", out_of_range),
    ("slot: resized", resized),
    ("slot: unknown flags", unknown_flags),
    ("slot: deleted twice", deleted_twice),
    ("slot: many", many),
    ("slot: one memory in two", twice),
    ("slot: moved and deleted under a running vCPU", under_a_vcpu),
    (
        "slot: memory replaced while it is deleted",
        replaced_while_deleted,
    ),
    ("slot: memory replaced while it moves", replaced_while_moved),
    ("slot: KVM_SET_USER_MEMORY_REGION2", region2),
    ("slot: a part of a huge page", part_of_huge),
    ("slot: a huge page with neighbours", huge_neighbours),
    ("memory: written by the guest", written),
    ("memory: a deleted slot is a hole", deleted_is_hole),
    ("memory: a read-only slot", read_only),
    ("memory: not there in the monitor", unmapped),
    ("memory: unmapped under the guest", unmapped_later),
    ("memory: protected under the guest", protected_later),
    ("memory: a file in memory, and holes in it", memory_file),
    (
        "memory: a file that is truncated under the guest",
        truncated,
    ),
    (
        "memory: a file on a file system that is full",
        full_file_system,
    ),
    (
        "memory: a file's mapping is split under the guest",
        split_under_guest,
    ),
    ("memory: KVM_EXIT_MEMORY_FAULT", memory_fault),
    ("memory: huge pages of hugetlbfs", hugetlbfs),
    ("memory: a device, through /dev/mem", device),
    (
        "memory: a device that may only be read, or not at all",
        device_read_only,
    ),
    ("memory: a device is not executed", device_executed),
];

fn life() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let mut region = slot(0, BASE.into(), &memory, SIZE);
    vm.set_user_memory_region(&region).works("make")?;
    region.guest_phys_addr += 0x10_0000;
    vm.set_user_memory_region(&region).works("move")?;
    region.memory_size = 0;
    vm.set_user_memory_region(&region).works("delete")?;
    region.memory_size = SIZE as u64;
    vm.set_user_memory_region(&region).works("make again")
}

fn unaligned() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let good = slot(0, BASE.into(), &memory, SIZE / 2);
    let (gpa, size, address) = (good.guest_phys_addr, good.memory_size, good.userspace_addr);
    for (what, gpa, size, address) in [
        ("guest address", gpa + 0x800, size, address),
        ("size", gpa, size + 1, address),
        ("address", gpa, size, address + 4),
    ] {
        let region = UserspaceMemoryRegion {
            guest_phys_addr: gpa,
            memory_size: size,
            userspace_addr: address,
            ..good
        };
        fails(what, vm.set_user_memory_region(&region), &[libc::EINVAL])?;
    }
    vm.set_user_memory_region(&good).works("an aligned one")
}

fn overlapping() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let base = u64::from(BASE);
    vm.set_user_memory_region(&slot(0, base, &memory, SIZE))
        .works("the first")?;
    for gpa in [
        base,
        base + PAGE as u64,
        base + (SIZE - PAGE) as u64,
        base - PAGE as u64,
    ] {
        let region = slot(1, gpa, &memory, 2 * PAGE);
        let result = vm.set_user_memory_region(&region);
        fails(format!("a slot at {gpa:#x}"), result, &[libc::EEXIST])?;
    }
    let region = slot(1, base + SIZE as u64, &memory, PAGE);
    vm.set_user_memory_region(&region).works("the one behind")?;
    // Also where it would go beyond what guests can have.
    let end = 1 << 40;
    let last = slot(2, end - PAGE as u64, &memory, PAGE);
    vm.set_user_memory_region(&last).works("the last page")?;
    let beyond = vm.set_user_memory_region(&slot(3, last.guest_phys_addr, &memory, 2 * PAGE));
    fails("beyond the last page", beyond, &[libc::EEXIST])
}

fn out_of_range() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let slots = kvm
        .check_extension(uapi::CAP_NR_MEMSLOTS)
        .works("KVM_CAP_NR_MEMSLOTS")?;
    let good = slot(0, BASE.into(), &memory, SIZE);
    let mut region = good;
    region.slot = slots as u32;
    fails(
        "slot number",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )?;
    region = good;
    region.slot = 1 << 16;
    fails(
        "address space",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )?;
    region = good;
    region.guest_phys_addr = 0u64.wrapping_sub(PAGE as u64);
    fails(
        "wrap-around",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )?;
    // Guests have 40 bits of physical address.
    region = good;
    region.guest_phys_addr = 1 << 40;
    fails(
        "beyond 40 bits",
        vm.set_user_memory_region(&region),
        &[libc::EFAULT],
    )?;
    region.guest_phys_addr -= SIZE as u64;
    vm.set_user_memory_region(&region).works("up to 40 bits")?;
    region.memory_size = 0;
    vm.set_user_memory_region(&region).works("its deletion")?;
    // The kernel's half of the address space is not the monitor's to give.
    region = good;
    region.userspace_addr = 0xc000_0000;
    fails(
        "the kernel's memory",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )?;
    region = good;
    region.userspace_addr = 1 << 32;
    fails(
        "64-bit address",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )?;
    vm.set_user_memory_region(&good).works("a good one")?;
    // The same low bits of its frame numbers as the memory that is there.
    for bit in [40, 44, 52, 63] {
        for flags in [0, uapi::MEM_LOG_DIRTY_PAGES] {
            region = good;
            region.flags = flags;
            region.guest_phys_addr |= 1 << bit;
            fails(
                format!("bit {bit} of a slot's address"),
                vm.set_user_memory_region(&region),
                &[libc::EFAULT],
            )?;
            region.memory_size -= PAGE as u64;
            fails(
                format!("bit {bit}, and smaller"),
                vm.set_user_memory_region(&region),
                &[libc::EINVAL],
            )?;
        }
    }
    Ok(())
}

fn resized() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let mut region = slot(3, BASE.into(), &memory, SIZE);
    vm.set_user_memory_region(&region).works("make")?;
    region.memory_size -= PAGE as u64;
    fails(
        "shrink",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )
}

fn unknown_flags() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let mut region = slot(0, BASE.into(), &memory, SIZE);
    region.flags = 1 << 31;
    fails(
        "bit 31",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )
}

fn deleted_twice() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let region = slot(0, BASE.into(), &memory, 0);
    fails(
        "never made",
        vm.set_user_memory_region(&region),
        &[libc::EINVAL],
    )
}

/// As many slots as there can be, made in no order, each reached by the guest.
fn many() -> Outcome {
    /// The distance of slots, and of the pages that the guest writes to.
    const STEP: u32 = 0x20_0000;
    let slots = new_vm()?
        .1
        .check_extension(uapi::CAP_NR_MEMSLOTS)
        .works("KVM_CAP_NR_MEMSLOTS")? as u32;
    ensure(slots >= 32, "fewer slots than there always were")?;
    let others = slots - 1;
    let guest = Guest::new(&code::store_to_each())?;
    let memory = Memory::new(others as usize * PAGE)?;
    let base = BASE + 0x100_0000;
    let region = |n: u32, pages: usize| {
        let mut region = slot(n + 1, u64::from(base + n * STEP), &memory, pages * PAGE);
        region.userspace_addr += u64::from(n) * PAGE as u64;
        region
    };
    // Neither 263 nor 1000 has a factor in common with 511.
    for n in 0..others {
        let n = (n * 263) % others;
        guest
            .vm
            .set_user_memory_region(&region(n, 1))
            .works(format!("slot {n}"))?;
    }
    guest.set(0, base)?;
    guest.set(1, others)?;
    guest.set(2, STEP)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
    for n in 0..others {
        let word = memory.word(n as usize * PAGE);
        equal(format!("the word of slot {n}"), word, base + n * STEP)?;
    }
    for n in 0..others {
        let n = (n * 1000) % others;
        guest
            .vm
            .set_user_memory_region(&region(n, 0))
            .works(format!("delete slot {n}"))?;
    }
    Ok(())
}

/// One memory at two places of the guest, which both lose it when the monitor takes it away.
fn twice() -> Outcome {
    let (first, second) = (BASE + 0x100_0000, BASE + 0x200_0000);
    let mut program = Vec::new();
    program.extend(code::load(0, second));
    program.push(code::ldr(3, 0));
    program.extend(store_program(first, 0x1234));
    let guest = Guest::new(&program)?;
    let extra = Memory::new(2 * PAGE)?;
    extra.write_words(0, &[0xabcd]);
    for (id, gpa) in [(1, first), (2, second)] {
        guest
            .vm
            .set_user_memory_region(&slot(id, gpa.into(), &extra, 2 * PAGE))
            .works(format!("slot {id}"))?;
    }
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the word read", guest.get(3)?, 0xabcd)?;
    equal("the word written", extra.word(0), 0x1234)?;
    extra.discard()?;
    equal("the word after MADV_DONTNEED", extra.word(0), 0)?;
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the word read again", guest.get(3)?, 0)?;
    equal("the word written again", extra.word(0), 0x1234)
}

/// A vCPU reads from an address the content of one of the slots that were there, or the address is
/// a hole.
fn under_a_vcpu() -> Outcome {
    const ROUNDS: u32 = 300;
    let patience = kvm::patience(20);
    let address = BASE + 0x100_0000;
    let mut program = Vec::new();
    program.extend(code::load(0, address));
    program.extend(code::load(1, HOLE));
    // ldr r2, [r0]; str r2, [r1]; b back to the first.
    program.extend([code::ldr(2, 0), code::str(2, 1), 0xeaff_fffc]);
    let guest = Guest::new(&program)?;
    let memories = [Memory::new(PAGE)?, Memory::new(PAGE)?];
    memories[0].write_words(0, &[0x1111]);
    memories[1].write_words(0, &[0x2222]);
    let stop = AtomicBool::new(false);
    let (vcpu, vm) = (&guest.vcpu, &guest.vm);
    // The numbers of reads that found the content of the first memory, of the second, and nothing.
    let seen: [AtomicU32; 3] = Default::default();
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                vcpu.run().works("KVM_RUN")?;
                equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
                let mmio = vcpu.run.mmio();
                if mmio.is_write == 0 {
                    equal("the hole", mmio.phys_addr, address.into())?;
                    vcpu.run.set_mmio_data([0x33, 0x33, 0, 0, 0, 0, 0, 0]);
                    continue;
                }
                equal("the report", mmio.phys_addr, HOLE.into())?;
                let which = match mmio.data[..4] {
                    [0x11, 0x11, 0, 0] => 0,
                    [0x22, 0x22, 0, 0] => 1,
                    [0x33, 0x33, 0, 0] => 2,
                    _ => return Err(format!("the guest read {:x?}", mmio.data)),
                };
                seen[which].fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        let away = u64::from(address) + 0x100_0000;
        let change = |index: usize, gpa: u64, size: usize| {
            let region = slot(index as u32 + 1, gpa, &memories[index], size);
            vm.set_user_memory_region(&region)
                .works(format!("slot {index} at {gpa:#x}, {size} bytes"))
        };
        // Every now and then a slot stays until the vCPU has read from it.
        let is_read = |round: u32, which: usize| -> Outcome {
            let count = || seen[which].load(Ordering::SeqCst);
            let (start, before) = (Instant::now(), count());
            // The read before may have been under way.
            while round % 10 == 0 && count() < before + 2 {
                ensure(!runner.is_finished(), "the vCPU came to its end")?;
                let what = ["the first memory", "the second", "nothing"][which];
                ensure(start.elapsed() < patience, format!("never read: {what}"))?;
                thread::yield_now();
            }
            thread::yield_now();
            Ok(())
        };
        let changes = || -> Outcome {
            change(1, away, PAGE)?;
            for round in 0..ROUNDS {
                change(0, address.into(), PAGE)?;
                is_read(round, 0)?;
                change(0, address.into(), 0)?;
                is_read(round, 2)?;
                change(1, address.into(), PAGE)?;
                is_read(round, 1)?;
                change(1, away, PAGE)?;
                is_read(round, 2)?;
            }
            Ok(())
        };
        let changed = changes();
        stop.store(true, Ordering::Relaxed);
        let run = runner.join().map_err(|_| "the vCPU's thread panicked")?;
        run.and(changed)
    })
}

/// A file that is truncated under a guest that uses it is no memory any more, and not a reason to try
/// for ever; and memory again when it is long enough.
fn truncated() -> Outcome {
    const PAGES: usize = 4;
    let patience = kvm::patience(20);
    let address = BASE + HUGE as u32;
    // str r1, [r0]; add r1, r1, #1, for ever
    let mut program = code::load(0, address + (3 * PAGE) as u32).to_vec();
    program.extend([code::str(1, 0), 0xe281_1001, 0xeaff_fffc]);
    let guest = Guest::new(&program)?;
    let file = memfd(PAGES * PAGE)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_raw_fd();
    let memory = Memory::map(PAGES * PAGE, libc::MAP_SHARED, fd, protection, 0)?;
    let region = slot(1, address.into(), &memory, PAGES * PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    for round in 0..3u32 {
        thread::scope(|scope| {
            let start = Instant::now();
            let runner = scope.spawn(|| expect_memory_fault(&guest, address + (3 * PAGE) as u32));
            let wait = |what: &str, holds: &dyn Fn() -> bool| -> Outcome {
                while !holds() {
                    ensure(start.elapsed() < patience, format!("never came: {what}"))?;
                    thread::yield_now();
                }
                Ok(())
            };
            // By way of the file, as the mapping may not be there any more.
            let word = || {
                let mut word = [0; 4];
                let read = file.read_at(&mut word, (3 * PAGE) as u64);
                read.map_or(0, |_| u32::from_le_bytes(word))
            };
            let first = word();
            let used = wait("the guest's stores", &|| word() > first + 1);
            file.set_len((3 * PAGE) as u64).works("ftruncate")?;
            // If that does not end KVM_RUN, this test does not end.
            used?;
            runner.join().map_err(|_| "the vCPU's thread panicked")?
        })?;
        // Again, from where it was: there is nothing still.
        expect_memory_fault(&guest, address + (3 * PAGE) as u32)?;
        equal(
            "length",
            file.metadata().works("fstat")?.len(),
            3 * PAGE as u64,
        )?;
        file.set_len((PAGES * PAGE) as u64)
            .works(format!("ftruncate, round {round}"))?;
    }
    Ok(())
}

/// A mapping of a file is split, and joined again, in the middle of a huge page, while a guest uses
/// that on another CPU. The host's kernel then tells KVM of a change with interrupts off
/// (`vma_prepare` takes `flush_dcache_mmap_lock`). So KVM must not wait for another CPU there: two
/// CPUs, each with such a split, would wait for each other for ever.
fn split_under_guest() -> Outcome {
    // One process has one change of its mappings at a time.
    // SAFETY: This process has one thread.
    let child = unsafe { libc::fork() };
    ensure(child >= 0, "fork")?;
    if child == 0 {
        let result = split_on(0, 1);
        if let Err(why) = &result {
            println!("{why}");
        }
        exit(result.is_err().into());
    }
    let result = split_on(1, 0);
    let mut status = -1;
    // SAFETY: The child is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    result?;
    equal("status of the other process", status, 0)
}

/// Splits on one CPU, with the guest on another one.
fn split_on(cpu: usize, guests_cpu: usize) -> Outcome {
    const LENGTH: usize = 4 * HUGE;
    const SPLITS: usize = 1000;
    const SLOTS: usize = 64;
    const DATA: u32 = 0x9000_0000;
    const ADD_R1_1: u32 = 0xe281_1001;
    const B_TO_ADD: u32 = 0xeaff_fffb;
    let file = memfd(LENGTH)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let memory = Memory::map(LENGTH, libc::MAP_SHARED, file.as_raw_fd(), protection, 0)?;
    // The first huge page that is in the mapping as a whole, if not the last.
    let huge = (memory.address() as usize).next_multiple_of(HUGE) - memory.address() as usize;
    let used = DATA as usize + SLOTS / 2 * LENGTH + huge;
    let mut program = code::load(0, used as u32).to_vec();
    program.extend(code::load(1, 0));
    program.extend(code::load(5, HOLE));
    program.extend([ADD_R1_1, code::str(1, 0), code::str(1, 5), B_TO_ADD]);
    let guest = Guest::new(&program)?;
    // KVM looks at all slots of that memory, which takes time. The guest uses one of them.
    for n in 0..SLOTS {
        let gpa = DATA as usize + n * LENGTH;
        let region = slot(n as u32 + 1, gpa as u64, &memory, LENGTH);
        guest.vm.set_user_memory_region(&region).works("a slot")?;
    }
    let middle = memory.address() as usize + huge + PAGE;

    let (stop, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let vcpu = &guest.vcpu;
    let passes = thread::scope(|scope| {
        let runner = scope.spawn(|| {
            // A host with one CPU has no other.
            let _ = stay_on(guests_cpu);
            let passes = run_passes(vcpu, &stop);
            has_ended.store(true, Ordering::Relaxed);
            passes
        });
        let splits = scope.spawn(|| -> Outcome {
            let _ = stay_on(cpu);
            for protection in [libc::PROT_READ, protection]
                .into_iter()
                .cycle()
                .take(SPLITS)
            {
                // The guest has its page again.
                let before = memory.word(huge);
                while memory.word(huge) == before && !has_ended.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                // SAFETY: One page of our own mapping, which nobody accesses.
                let result = unsafe { libc::mprotect(middle as *mut _, PAGE, protection) };
                equal("mprotect", result, 0)?;
            }
            Ok(())
        });
        let split = splits.join().map_err(|_| "the thread that splits panicked");
        stop.store(true, Ordering::Relaxed);
        let passes = runner.join().map_err(|_| "the vCPU's thread panicked");
        split??;
        passes?
    })?;
    ensure(passes > 10, format!("the guest made only {passes} passes"))?;
    equal("the guest's last store", memory.word(huge), passes as u32)
}

/// A file in memory.
pub(crate) fn memfd(size: usize) -> Result<File, String> {
    // SAFETY: Makes a descriptor.
    let fd = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
    ensure(fd >= 0, "memfd_create")?;
    // SAFETY: It is nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(size as u64).works("ftruncate")?;
    Ok(file)
}

/// Has this thread go before every other one.
fn be_first() -> Outcome {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: Changes how this thread is scheduled.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    equal("sched_setscheduler", result, 0)
}

/// The host takes a page from a slot while the slot is going away, which takes time for a large
/// slot. The guest loses the page, too: no store of the guest arrives in memory that is not in the
/// slot any more.
fn replaced_while(change: impl Fn(&Vm, &UserspaceMemoryRegion) -> Outcome + Sync) -> Outcome {
    const LARGE: usize = 256 << 20;
    const REGIONS: u32 = (LARGE / HUGE) as u32;
    const LAST: usize = LARGE - PAGE;
    const MOV_R2_R4: u32 = 0xe1a0_2004;
    const MOV_R3_R5: u32 = 0xe1a0_3005;
    const ADD_R1_1: u32 = 0xe281_1001;
    const ADD_R2_HUGE: u32 = 0xe282_2602;
    const SUBS_R3_1: u32 = 0xe253_3001;
    const BNE_TO_LOAD: u32 = 0x1aff_fff9;
    const B_TO_MOV: u32 = 0xeaff_fff6;
    /// How often the page has to be taken away while the slot is not there or moves.
    const ENOUGH: u32 = 1000;
    let patience = kvm::patience(20);
    let at = BASE + HUGE as u32;
    let mut program = Vec::new();
    // A store to the last page after a load from each 2 MiB, for there to be much to unmap.
    program.extend(code::load(0, at + LAST as u32));
    program.extend(code::load(4, at));
    program.extend(code::load(5, REGIONS));
    program.extend([MOV_R2_R4, MOV_R3_R5]);
    program.extend([code::ldr(6, 2), ADD_R1_1, code::str(1, 0)]);
    program.extend([ADD_R2_HUGE, SUBS_R3_1, BNE_TO_LOAD, B_TO_MOV]);
    let guest = Guest::new(&program)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let large = Memory::map(LARGE, flags, -1, protection, 0)?;
    // There, one page after the other of a file.
    let file = memfd(2 * PAGE)?;
    let shared = Memory::map(2 * PAGE, libc::MAP_SHARED, file.as_raw_fd(), protection, 0)?;
    large.map_over(LAST, PAGE, file.as_raw_fd(), 0)?;
    let region = slot(1, at.into(), &large, LARGE);
    let (vcpu, vm) = (&guest.vcpu, &guest.vm);
    vm.set_user_memory_region(&region).works("make")?;
    let stop = AtomicBool::new(false);
    let changing = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            // A host with one CPU has no CPU 1.
            let _ = stay_on(1);
            while !stop.load(Ordering::Relaxed) {
                // Where the slot is not, its last page is a device for a while.
                vcpu.run().works("KVM_RUN")?;
                equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
            }
            Ok::<_, String>(())
        });
        let changer = scope.spawn(|| {
            let changes = || -> Outcome {
                stay_on(0)?;
                let mut next = 0;
                while !stop.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    while large.word(LAST) < next && since.elapsed() < Duration::from_millis(100) {
                        thread::sleep(Duration::from_micros(200));
                    }
                    next = large.word(LAST) + REGIONS;
                    changing.store(true, Ordering::SeqCst);
                    change(vm, &region)?;
                    changing.store(false, Ordering::SeqCst);
                }
                Ok(())
            };
            let result = changes();
            let gone = UserspaceMemoryRegion {
                memory_size: 0,
                ..region
            };
            stop.store(true, Ordering::Relaxed);
            result.and(vm.set_user_memory_region(&gone).works("delete"))
        });
        let replacements = || -> Result<u32, String> {
            // As it wakes up, it comes first on this CPU, in the middle of a change.
            stay_on(0)?;
            be_first()?;
            let (mut meanwhile, mut current) = (0, 0);
            while meanwhile < ENOUGH && start.elapsed() < patience {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let before = changing.load(Ordering::SeqCst);
                let (old, new) = (current, PAGE - current);
                large.map_over(LAST, PAGE, file.as_raw_fd(), new as libc::off_t)?;
                current = new;
                meanwhile += u32::from(before && changing.load(Ordering::SeqCst));
                let (word, since) = (shared.word(old), Instant::now());
                while since.elapsed() < Duration::from_micros(200) {
                    equal("a page that was taken away", shared.word(old), word)?;
                }
                thread::sleep(Duration::from_micros(300));
            }
            Ok(meanwhile)
        };
        let replaced = replacements();
        stop.store(true, Ordering::Relaxed);
        let changed = changer.join().map_err(|_| "a thread panicked")?;
        runner.join().map_err(|_| "the vCPU's thread panicked")??;
        changed?;
        ensure(
            replaced? >= 10,
            "the page was hardly ever replaced meanwhile",
        )
    })
}

fn replaced_while_deleted() -> Outcome {
    replaced_while(|vm, region| {
        let gone = UserspaceMemoryRegion {
            memory_size: 0,
            ..*region
        };
        vm.set_user_memory_region(&gone).works("delete")?;
        vm.set_user_memory_region(region).works("make again")
    })
}

fn replaced_while_moved() -> Outcome {
    replaced_while(|vm, region| {
        // Where its last page was is nothing then.
        let mut moved = *region;
        moved.guest_phys_addr -= PAGE as u64;
        vm.set_user_memory_region(&moved).works("move")?;
        vm.set_user_memory_region(region).works("move back")
    })
}

fn region2() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    equal(
        "KVM_CAP_USER_MEMORY2",
        guest
            .vm
            .check_extension(uapi::CAP_USER_MEMORY2)
            .works("KVM_CHECK_EXTENSION")?,
        1,
    )?;
    let extra = Memory::new(PAGE)?;
    let mut region = uapi::UserspaceMemoryRegion2 {
        region: slot(1, address.into(), &extra, PAGE),
        ..Default::default()
    };
    region.region.flags = uapi::MEM_GUEST_MEMFD;
    fails(
        "KVM_MEM_GUEST_MEMFD",
        guest.vm.set_user_memory_region2(&region),
        &[libc::EINVAL],
    )?;
    region.region.flags = 0;
    guest
        .vm
        .set_user_memory_region2(&region)
        .works("KVM_SET_USER_MEMORY_REGION2")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("word", extra.word(0), 0x1234)
}

/// A program that writes a word to an address and asks for a read of the hole.
fn store_program(address: u32, value: u32) -> Vec<u32> {
    let mut program = Vec::new();
    program.extend(code::load(0, address));
    program.extend(code::load(1, value));
    program.push(code::str(1, 0));
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(2, 0), code::LOOP]);
    program
}

/// The distance between the slots of a test of huge pages, and their first address.
const HUGE_AT: u32 = BASE + 0x100_0000;

/// Memory of one huge page with a number in each page.
fn huge_page() -> Result<Aligned, String> {
    let huge = Aligned::new(HUGE)?;
    huge.advise(libc::MADV_HUGEPAGE)?;
    for offset in (0..HUGE).step_by(PAGE) {
        huge.write_words(offset, &[offset as u32]);
    }
    Ok(huge)
}

/// Fails unless the numbers are still there, except those that the guest wrote over.
fn expect_numbers(huge: &Aligned, written: usize, value: u32) -> Outcome {
    for offset in (0..HUGE).step_by(PAGE) {
        let expected = if offset == written {
            value
        } else {
            offset as u32
        };
        equal(
            format!("the word at {offset:#x}"),
            huge.word(offset),
            expected,
        )?;
    }
    Ok(())
}

/// Makes a guest store to an address, after one to the beginning of the huge page's slot. Says
/// where it wants to access what.
fn store_behind(guest: &Guest, address: u32) -> Result<(u64, bool), String> {
    let mut program = Vec::new();
    for (address, value) in [(HUGE_AT, 0x1234), (address, 0x5678)] {
        program.extend(code::load(0, address));
        program.extend(code::load(1, value));
        program.push(code::str(1, 0));
    }
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(2, 0), code::LOOP]);
    guest.memory.write_words(0, &program);
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let mmio = guest.vcpu.run.mmio();
    Ok((mmio.phys_addr, mmio.is_write == 1))
}

/// A slot that has but a part of a huge page gives the guest that part, and nothing else of it.
fn part_of_huge() -> Outcome {
    const PART: usize = 64 << 10;
    for (offset, size) in [(0, PART), (0, PAGE), (0, HUGE - PAGE), (PART, HUGE - PART)] {
        let guest = Guest::new(&[])?;
        let huge = huge_page()?;
        let at = HUGE_AT + offset as u32;
        let region = huge.slot(1, at, offset, size);
        guest.vm.set_user_memory_region(&region).works("make")?;
        let behind = match offset + size {
            HUGE => HUGE_AT + (offset - PAGE) as u32,
            PART => HUGE_AT + 0x10_0000,
            end => HUGE_AT + end as u32,
        };
        let what = format!("{size:#x} bytes from {offset:#x} on: ");
        let found = if offset == 0 {
            store_behind(&guest, behind)?
        } else {
            // The first store goes to an address without memory.
            guest.memory.write_words(0, &store_program(at, 0x1234));
            guest.run_to(uapi::EXIT_MMIO)?;
            store_behind(&guest, behind)?
        };
        let hole = if offset == 0 { behind } else { HUGE_AT };
        equal(format!("{what}the exit"), found, (hole.into(), true))?;
        expect_numbers(&huge, offset, 0x1234)?;
    }
    Ok(())
}

/// Memory of another slot in the same 2 MiB of the guest as a huge page belongs to that other slot.
fn huge_neighbours() -> Outcome {
    const PART: usize = 64 << 10;
    const BEHIND: u32 = HUGE_AT + 0x10_0000;
    for flags in [0, uapi::MEM_READONLY] {
        let guest = Guest::new(&[])?;
        let huge = huge_page()?;
        let other = Memory::new(PART)?;
        let region = huge.slot(1, HUGE_AT, 0, PART);
        guest.vm.set_user_memory_region(&region).works("make")?;
        let mut region = slot(2, BEHIND.into(), &other, PART);
        region.flags = flags;
        guest
            .vm
            .set_user_memory_region(&region)
            .works("make another")?;
        let (at, written) = match flags {
            0 => (HOLE, 0x5678),
            _ => (BEHIND, 0),
        };
        let found = store_behind(&guest, BEHIND)?;
        equal("the exit", found, (at.into(), flags != 0))?;
        equal("the other slot's word", other.word(0), written)?;
        expect_numbers(&huge, 0, 0x1234)?;
    }
    // Two slots of one huge page, the other way around.
    let guest = Guest::new(&[])?;
    let huge = huge_page()?;
    for (id, offset) in [(1, 0), (2, HUGE / 2)] {
        let region = huge.slot(id, HUGE_AT + offset as u32, HUGE / 2 - offset, HUGE / 2);
        guest.vm.set_user_memory_region(&region).works("make")?;
    }
    let found = store_behind(&guest, BEHIND)?;
    equal("the exit", found, (HOLE.into(), false))?;
    equal("the word of the first", huge.word(HUGE / 2), 0x1234)?;
    equal("the word of the second", huge.word(0), 0x5678)
}

fn written() -> Outcome {
    let offset = 0x8004;
    let guest = Guest::new(&store_program(BASE + offset, 0xfeed_5afe))?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("word", guest.memory.word(offset as usize), 0xfeed_5afe)
}

fn deleted_is_hole() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    let extra = Memory::new(PAGE)?;
    let mut region = slot(1, address.into(), &extra, PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
    equal("word", extra.word(0), 0x1234)?;
    // Now the same without the slot.
    region.memory_size = 0;
    guest.vm.set_user_memory_region(&region).works("delete")?;
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let mmio = guest.vcpu.run.mmio();
    if mmio.phys_addr == u64::from(HOLE) {
        return Err("the deleted slot's memory was still there".into());
    }
    equal("exit for", mmio.phys_addr, address.into())?;
    equal("a write", mmio.is_write, 1)
}

fn read_only() -> Outcome {
    let address = BASE + 0x100_0000;
    let mut program = Vec::new();
    program.extend(code::load(0, address));
    program.push(code::ldr(3, 0));
    program.extend(store_program(address, 0x1234));
    let guest = Guest::new(&program)?;
    let extra = Memory::new(PAGE)?;
    extra.write_words(0, &[0xabcd]);
    let mut region = slot(1, address.into(), &extra, PAGE);
    region.flags = uapi::MEM_READONLY;
    guest.vm.set_user_memory_region(&region).works("make")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let mmio = guest.vcpu.run.mmio();
    equal("exit for", mmio.phys_addr, address.into())?;
    equal("a write", mmio.is_write, 1)?;
    equal("the word read", guest.get(3)?, 0xabcd)?;
    equal("the word kept", extra.word(0), 0xabcd)
}

fn unmapped() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    let extra = Memory::new(PAGE)?;
    let region = slot(1, address.into(), &extra, PAGE);
    drop(extra);
    guest.vm.set_user_memory_region(&region).works("make")?;
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EFAULT])
}

/// Memory that the monitor unmaps is gone for the guest, too: MMU notifiers.
fn unmapped_later() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    let extra = Memory::new(PAGE)?;
    let region = slot(1, address.into(), &extra, PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("word", extra.word(0), 0x1234)?;
    drop(extra);
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EFAULT])
}

/// A guest whose memory is a file that others map, too: each sees the writes of the other. After a
/// hole is made under a running vCPU, the guest's memory is the file's new page.
fn memory_file() -> Outcome {
    const ROUNDS: u32 = 300;
    const PAGES: usize = 4;
    let patience = kvm::patience(20);
    let address = BASE + HUGE as u32;
    let mut program = Vec::new();
    program.extend(code::load(0, address));
    program.extend(code::load(5, HOLE));
    // add r1, r1, #1; str r1, [r0]; ldr r2, [r0, #4096]; str r2, [r0, #8192]; str r1, [r5]; b back
    program.extend([0xe281_1001, code::str(1, 0)]);
    program.extend([0xe280_3a01, code::ldr(2, 3), 0xe280_3a02, code::str(2, 3)]);
    program.extend([code::str(1, 5), 0xeaff_fff7]);
    let guest = Guest::new(&program)?;
    let file = memfd(PAGES * PAGE)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let map = || {
        Memory::map(
            PAGES * PAGE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            protection,
            0,
        )
    };
    let (memory, other) = (map()?, map()?);
    let region = slot(1, address.into(), &memory, PAGES * PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    let stop = AtomicBool::new(false);
    let vcpu = &guest.vcpu;
    thread::scope(|scope| {
        let runner = scope.spawn(|| run_passes(vcpu, &stop));
        let wait = |what: &str, holds: &dyn Fn() -> bool| -> Outcome {
            let start = Instant::now();
            while !holds() {
                ensure(start.elapsed() < patience, format!("never came: {what}"))?;
                thread::yield_now();
            }
            Ok(())
        };
        let rounds = || -> Outcome {
            for round in 1..=ROUNDS {
                other.write_words(PAGE, &[round]);
                wait("what another writes", &|| other.word(2 * PAGE) == round)?;
                match round % 2 {
                    // By way of the mapping, and by way of the file.
                    0 => memory.advise_part(0, PAGES * PAGE, libc::MADV_REMOVE)?,
                    _ => {
                        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                        let size = (PAGES * PAGE) as libc::off_t;
                        // SAFETY: Our own file.
                        let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, size) };
                        equal("fallocate", result, 0)?;
                    }
                }
                wait("the hole", &|| other.word(2 * PAGE) == 0)?;
                wait("the next store", &|| other.word(0) != 0)?;
                let before = other.word(0);
                wait("one more", &|| other.word(0) != before)?;
            }
            Ok(())
        };
        let result = rounds();
        stop.store(true, Ordering::Relaxed);
        let run = runner.join().map_err(|_| "the vCPU's thread panicked")?;
        result.and(run.map(drop))
    })
}

/// A tmpfs of so many pages, until the value is dropped.
struct Tmpfs(&'static CStr);

impl Tmpfs {
    fn new(path: &'static CStr, pages: usize) -> Result<Self, String> {
        fs::create_dir_all(path.to_string_lossy().as_ref()).works("mkdir")?;
        let options = CString::new(format!("size={}", pages * PAGE)).map_err(|e| e.to_string())?;
        // SAFETY: Strings that end with a zero.
        let result = unsafe {
            libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        };
        ensure(result == 0, "there is no tmpfs to mount")?;
        Ok(Self(path))
    }

    /// A new file there of so many pages, none of which is there.
    fn file(&self, name: &str, pages: usize) -> Result<File, String> {
        let path = format!("{}/{name}", self.0.to_string_lossy());
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true);
        let file = file.open(&path).works(path)?;
        file.set_len((pages * PAGE) as u64).works("ftruncate")?;
        Ok(file)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // SAFETY: A string that ends with a zero.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A page of the guest's memory for which there is no room, as in a /dev/shm that is full. The monitor is
/// told, and the guest goes on once there is room.
fn full_file_system() -> Outcome {
    const PAGES: usize = 4;
    let address = BASE + HUGE as u32;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    let tmpfs = Tmpfs::new(c"/tmp/full", PAGES)?;
    let other = tmpfs.file("other", PAGES)?;
    other.write_all_at(&[1; PAGES * PAGE], 0).works("write")?;
    let file = tmpfs.file("memory", PAGES)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_raw_fd();
    let memory = Memory::map(PAGES * PAGE, libc::MAP_SHARED, fd, protection, 0)?;
    let region = slot(1, address.into(), &memory, PAGES * PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    for _ in 0..3 {
        expect_memory_fault(&guest, address)?;
    }
    other.set_len(0).works("ftruncate")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("word", memory.word(0), 0x1234)
}

/// Fails unless KVM_RUN fails with the given `KVM_EXIT_MEMORY_FAULT`.
fn expect_memory_fault(guest: &Guest, address: u32) -> Outcome {
    fails("KVM_RUN", guest.vcpu.run(), &[libc::EFAULT])?;
    let reason = guest.vcpu.run.exit_reason();
    equal("exit reason", reason, uapi::EXIT_MEMORY_FAULT)?;
    let fault = guest.vcpu.run.memory_fault();
    equal("address", fault.gpa, u64::from(address) & !0xfff)?;
    equal("size", fault.size, PAGE as u64)?;
    equal("flags", fault.flags, 0)
}

fn memory_fault() -> Outcome {
    let address = BASE + 0x100_2008;
    let guest = Guest::new(&store_program(address, 0x1234))?;
    equal(
        "KVM_CAP_MEMORY_FAULT_INFO",
        guest
            .vm
            .check_extension(uapi::CAP_MEMORY_FAULT_INFO)
            .works("KVM_CHECK_EXTENSION")?,
        1,
    )?;
    let extra = Memory::new(4 * PAGE)?;
    let region = slot(1, u64::from(BASE) + 0x100_0000, &extra, 4 * PAGE);
    drop(extra);
    guest.vm.set_user_memory_region(&region).works("make")?;
    for _ in 0..2 {
        expect_memory_fault(&guest, address)?;
    }
    Ok(())
}

/// Memory that the monitor write-protects can be read by the guest, and written to when it may be
/// again.
fn protected_later() -> Outcome {
    let address = BASE + 0x100_0000;
    let mut program = store_program(address, 0x1234);
    program.pop();
    // Once more, after a read.
    program.extend(code::load(0, address));
    program.push(code::ldr(3, 0));
    program.extend(store_program(address, 0x5678));
    let guest = Guest::new(&program)?;
    let extra = Memory::new(PAGE)?;
    let region = slot(1, address.into(), &extra, PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    extra.protect(libc::PROT_READ)?;
    for _ in 0..2 {
        expect_memory_fault(&guest, address)?;
        equal("the word read", guest.get(3)?, 0x1234)?;
        equal("the word", extra.word(0), 0x1234)?;
    }
    extra.protect(libc::PROT_READ | libc::PROT_WRITE)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("the word at the end", extra.word(0), 0x5678)
}

fn hugetlbfs() -> Outcome {
    const NUMBER: &str = "/proc/sys/vm/nr_hugepages";
    std::fs::write(NUMBER, "2").works(NUMBER)?;
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&store_program(address + HUGE as u32 - 8, 0x1234))?;
    let extra = Memory::map(
        2 * HUGE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB,
        -1,
        libc::PROT_READ | libc::PROT_WRITE,
        0,
    )?;
    equal("the alignment", extra.address() % HUGE as u64, 0)?;
    extra.write_words(HUGE, &[0x4321]);
    let region = slot(1, address.into(), &extra, 2 * HUGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    let stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    // The other slot is too small for a huge page.
    let [blocks] = stats.growth(["blocks_mapped"], || guest.run_to(uapi::EXIT_MMIO))?;
    equal("blocks mapped", blocks, 1)?;
    equal("the word", extra.word(HUGE - 8), 0x1234)?;
    equal("the monitor's word", extra.word(HUGE), 0x4321)?;
    drop(extra);
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    expect_memory_fault(&guest, address + HUGE as u32 - 8)?;
    std::fs::write(NUMBER, "0").works(NUMBER)
}

/// The firmware configuration device of the emulated boards, which no driver of theirs has. Its
/// item 0 reads as "QEMU", a byte at a time.
const DEVICE: libc::off_t = 0x0902_0000;

/// A program that selects item 0 of that device and reads a byte.
fn device_program(address: u32) -> Vec<u32> {
    let mut program = Vec::new();
    program.extend(code::load(0, address));
    program.extend(code::load(4, address + 8));
    program.extend(code::load(1, 0));
    program.push(code::strh(1, 4));
    // ldrb r5, [r0]; ldrb r6, [r0]
    program.extend([0xe5d0_5000, 0xe5d0_6000]);
    program.extend(code::load(0, HOLE));
    program.extend([code::ldr(2, 0), code::LOOP]);
    program
}

fn device_memory(protection: i32) -> Result<Memory, String> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/mem")
        .works("/dev/mem")?;
    Memory::map(PAGE, libc::MAP_SHARED, file.as_raw_fd(), protection, DEVICE)
}

fn device() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&device_program(address))?;
    let registers = device_memory(libc::PROT_READ | libc::PROT_WRITE)?;
    let region = slot(1, address.into(), &registers, PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
    equal("the first byte", guest.get(5)?, u32::from(b'Q'))?;
    equal("the second byte", guest.get(6)?, u32::from(b'E'))?;
    drop(registers);
    guest.complete()?;
    guest.set(uapi::CORE_PC, BASE)?;
    expect_memory_fault(&guest, address)
}

fn device_read_only() -> Outcome {
    let address = BASE + 0x100_0000;
    let guest = Guest::new(&device_program(address))?;
    let registers = device_memory(libc::PROT_READ)?;
    let region = slot(1, address.into(), &registers, PAGE);
    guest.vm.set_user_memory_region(&region).works("make")?;
    expect_memory_fault(&guest, address)?;
    // Behind the store: the reads.
    let read = || {
        guest.set(0, address)?;
        guest.set(uapi::CORE_PC, BASE + 7 * 4)
    };
    read()?;
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
    guest.complete()?;
    // Not even that.
    registers.protect(libc::PROT_NONE)?;
    read()?;
    expect_memory_fault(&guest, address)
}

/// Code in a device is a prefetch abort, whether its memory is a slot or not.
fn device_executed() -> Outcome {
    let address = BASE + 0x100_0000;
    let vectors = 0x1000;
    // bx r0.
    let program: Vec<u32> = code::load(0, address)
        .into_iter()
        .chain([0xe12f_ff10])
        .collect();
    let guest = Guest::new(&program)?;
    // The handler of prefetch aborts: stores the address, the kind, and that it came.
    let mut handler = code::load(1, HOLE).to_vec();
    handler.extend([
        code::mrc(2, 0, 6, 0, 2), // IFAR
        code::mrc(3, 0, 5, 0, 1), // IFSR
        code::ldr(4, 1),
    ]);
    guest.memory.write_words(vectors + 0xc, &handler);
    guest
        .vcpu
        .set_reg(uapi::cp15_reg(0, 12, 0, 0), BASE + vectors as u32)
        .works("VBAR")?;
    let registers = device_memory(libc::PROT_READ | libc::PROT_WRITE)?;
    for what in ["no slot", "a slot"] {
        guest.set(uapi::CORE_PC, BASE)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())?;
        equal(format!("IFAR: {what}"), guest.get(2)?, address)?;
        // A synchronous external abort.
        equal(format!("IFSR: {what}"), guest.get(3)? & 0x40f, 8)?;
        guest.complete()?;
        let region = slot(1, address.into(), &registers, PAGE);
        guest.vm.set_user_memory_region(&region).works("make")?;
    }
    Ok(())
}
