// SPDX-License-Identifier: GPL-2.0

//! Memory slots.

use kvm::uapi::{self, UserspaceMemoryRegion};

use crate::check::{equal, fails, Outcome, Test, Works};
use crate::guest::{code, new_vm, slot, Guest, Memory, BASE, HOLE, PAGE, SIZE};

pub(crate) const TESTS: &[Test] = &[
    ("slot: made, moved, deleted", life),
    ("slot: unaligned", unaligned),
    ("slot: overlapping", overlapping),
    ("slot: out of range", out_of_range),
    ("slot: resized", resized),
    ("slot: unknown flags", unknown_flags),
    ("slot: deleted twice", deleted_twice),
    ("slot: many", many),
    ("memory: written by the guest", written),
    ("memory: a deleted slot is a hole", deleted_is_hole),
    ("memory: a read-only slot", read_only),
    ("memory: not there in the monitor", unmapped),
    ("memory: unmapped under the guest", unmapped_later),
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
    vm.set_user_memory_region(&region).works("the one behind")
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
    let errnos = [libc::EFAULT, libc::EINVAL];
    fails(
        "beyond 40 bits",
        vm.set_user_memory_region(&region),
        &errnos,
    )?;
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
    vm.set_user_memory_region(&good).works("a good one")
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

fn many() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let memory = Memory::new(32 * PAGE)?;
    for index in 0..32 {
        let gpa = u64::from(BASE) + u64::from(index) * 0x10_0000;
        vm.set_user_memory_region(&slot(index, gpa, &memory, PAGE))
            .works(format!("slot {index}"))?;
    }
    Ok(())
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
