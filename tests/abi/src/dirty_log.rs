// SPDX-License-Identifier: GPL-2.0

//! The dirty log: pages that the guest writes to, and no others.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use kvm::snapshot::VcpuSnapshot;
use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::{ioctl, ioctl_ref};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{
    code, complete, init, new_vcpu, new_vm, run_passes, slot, Aligned, Guest, Memory, Quiet, BASE,
    HOLE, HUGE, MADV_COLLAPSE, PAGE, SIZE,
};
use crate::stats::Stats;

pub(crate) const TESTS: &[Test] = &[
    ("dirty log: capabilities", capabilities),
    ("dirty log: enabled wrongly", enabled_wrongly),
    ("dirty log: not there", not_there),
    ("dirty log: pages written to, once", once),
    ("dirty log: a bitmap that cannot be written", bad_bitmap),
    (
        "dirty log: a page is cleaned when the guest gets it, and not again",
        cleaned,
    ),
    (
        "dirty log: a page that was written to is cleaned when the right to write goes",
        cleaned_for_the_monitor,
    ),
    ("dirty log: turned off and on", off_and_on),
    ("dirty log: with the slot as it moves", moved),
    ("dirty log: manual", manual),
    ("dirty log: initially set", initially_set),
    ("dirty log: cleared wrongly", cleared_wrongly),
    ("dirty log: huge pages split and rebuilt", huge),
    (
        "memory: a huge page that the host splits and collapses",
        split_by_the_host,
    ),
    ("dirty log: huge pages, initially set", huge_initially_set),
    ("dirty log: by the guest's own translation", translated),
    ("dirty log: the last write to a page", last_write),
    ("dirty log: two vCPUs migrate to another VM", migrate),
    (
        "dirty log: two vCPUs migrate to another VM, manually",
        migrate_manually,
    ),
];

/// The slot with the log, and its address.
const SLOT: u32 = 1;
const DATA: u32 = 0x9000_0000;

/// Adds one to the first word of pages: r7 is the address of the first of them, r8 how many there
/// are, r2 the distance in bytes, r9 how often this is done to a page before the next one's turn.
/// Then reads from the hole, and begins again.
fn program() -> Vec<u32> {
    const MOV_R0_R7: u32 = 0xe1a0_0007;
    const MOV_R1_R8: u32 = 0xe1a0_1008;
    const MOV_R3_R9: u32 = 0xe1a0_3009;
    const ADD_R4_1: u32 = 0xe284_4001;
    const SUBS_R3_1: u32 = 0xe253_3001;
    const BNE_TO_LOAD: u32 = 0x1aff_fffa;
    const ADD_R0_R2: u32 = 0xe080_0002;
    const SUBS_R1_1: u32 = 0xe251_1001;
    const BNE_TO_PAGE: u32 = 0x1aff_fff6;
    const B_TO_START: u32 = 0xeaff_fff0;
    let [low, high] = code::load(5, HOLE);
    vec![
        MOV_R0_R7,
        MOV_R1_R8,
        MOV_R3_R9,
        code::ldr(4, 0),
        ADD_R4_1,
        code::str(4, 0),
        SUBS_R3_1,
        BNE_TO_LOAD,
        ADD_R0_R2,
        SUBS_R1_1,
        BNE_TO_PAGE,
        low,
        high,
        code::ldr(6, 5),
        B_TO_START,
    ]
}

/// A guest that writes to pages of a slot with a log.
struct Writer {
    guest: Guest,
    data: Aligned,
}

fn region(data: &Aligned, flags: u32) -> UserspaceMemoryRegion {
    UserspaceMemoryRegion {
        slot: SLOT,
        flags,
        guest_phys_addr: DATA.into(),
        memory_size: data.size() as u64,
        userspace_addr: data.address() as u64,
    }
}

impl Writer {
    fn new(size: usize, flags: u32) -> Result<Self, String> {
        let guest = Guest::new(&program())?;
        let data = Aligned::new(size)?;
        guest
            .vm
            .set_user_memory_region(&region(&data, flags))
            .works("the slot")?;
        Ok(Self { guest, data })
    }

    fn region(&self, flags: u32) -> UserspaceMemoryRegion {
        region(&self.data, flags)
    }

    fn flags(&self, flags: u32) -> Outcome {
        self.guest
            .vm
            .set_user_memory_region(&self.region(flags))
            .works(format!("flags {flags}"))
    }

    fn start_log(&self) -> Outcome {
        self.flags(uapi::MEM_LOG_DIRTY_PAGES)
    }

    /// Makes the guest add one to each of so many pages.
    fn write(&self, first: usize, pages: usize) -> Outcome {
        self.write_at(DATA + (first * PAGE) as u32, pages)
    }

    fn write_at(&self, address: u32, pages: usize) -> Outcome {
        let guest = &self.guest;
        guest.complete()?;
        guest.set(7, address)?;
        guest.set(8, pages as u32)?;
        guest.set(9, 1)?;
        guest.set(2, PAGE as u32)?;
        guest.set(uapi::CORE_PC, BASE)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("exit for", guest.vcpu.run.mmio().phys_addr, HOLE.into())
    }

    fn log(&self) -> Result<Vec<u32>, String> {
        let mut bitmap = vec![0xa5a5_a5a5; (self.data.size() / PAGE).div_ceil(32)];
        self.guest
            .vm
            .get_dirty_log(SLOT, &mut bitmap)
            .works("KVM_GET_DIRTY_LOG")?;
        Ok(bitmap)
    }

    /// Fails unless just these pages are dirty.
    fn expect(&self, what: &str, pages: &[usize]) -> Outcome {
        equal(what, set_bits(&self.log()?), pages.to_vec())
    }

    fn manual(&self, options: u64) -> Outcome {
        self.guest
            .vm
            .enable_cap(uapi::CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, [options, 0, 0, 0])
            .works("KVM_ENABLE_CAP")
    }

    fn clear(&self, first: u64, pages: u32, bitmap: &[u32]) -> io::Result<()> {
        self.guest.vm.clear_dirty_log(SLOT, first, pages, bitmap)
    }
}

fn set_bits(bitmap: &[u32]) -> Vec<usize> {
    (0..bitmap.len() * 32)
        .filter(|page| bitmap[page / 32] & (1 << (page % 32)) != 0)
        .collect()
}

fn capabilities() -> Outcome {
    let (kvm, vm) = new_vm()?;
    for (name, capability, expected) in [
        ("KVM_CAP_ENABLE_CAP_VM", uapi::CAP_ENABLE_CAP_VM, 1),
        (
            "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
            uapi::CAP_MANUAL_DIRTY_LOG_PROTECT2,
            3,
        ),
    ] {
        equal(name, kvm.check_extension(capability).works(name)?, expected)?;
        equal(name, vm.check_extension(capability).works(name)?, expected)?;
    }
    Ok(())
}

fn enabled_wrongly() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let cap = uapi::CAP_MANUAL_DIRTY_LOG_PROTECT2;
    for (what, cap, flags, option) in [
        ("a flag", cap, 1, 1),
        ("an unknown option", cap, 0, 4),
        ("an unknown option of 64 bits", cap, 0, 1 | (1 << 40)),
        ("just the option that needs the other", cap, 0, 2),
        ("an unknown capability", 0xffff, 0, 1),
        ("one that is not to be enabled", uapi::CAP_USER_MEMORY, 0, 1),
    ] {
        let result = vm.enable_cap(cap, flags, [option, 0, 0, 0]);
        fails(what, result, &[libc::EINVAL])?;
    }
    fails(
        "a bad address",
        ioctl(&vm, uapi::ENABLE_CAP(), 1),
        &[libc::EFAULT],
    )?;
    for option in [1, 3, 0] {
        vm.enable_cap(cap, 0, [option, 0, 0, 0])
            .works(format!("option {option}"))?;
    }
    Ok(())
}

fn not_there() -> Outcome {
    let writer = Writer::new(4 * PAGE, 0)?;
    let vm = &writer.guest.vm;
    let mut bitmap = [0];
    fails(
        "GET without a log",
        vm.get_dirty_log(SLOT, &mut bitmap),
        &[libc::ENOENT],
    )?;
    fails(
        "CLEAR without a log",
        vm.clear_dirty_log(SLOT, 0, 4, &bitmap),
        &[libc::ENOENT],
    )?;
    fails(
        "GET without a slot",
        vm.get_dirty_log(7, &mut bitmap),
        &[libc::ENOENT],
    )?;
    let slots = writer
        .guest
        .kvm
        .check_extension(uapi::CAP_NR_MEMSLOTS)
        .works("KVM_CAP_NR_MEMSLOTS")? as u32;
    for slot in [slots, (1 << 16) | SLOT] {
        fails(
            format!("GET of slot {slot}"),
            vm.get_dirty_log(slot, &mut bitmap),
            &[libc::EINVAL],
        )?;
        fails(
            format!("CLEAR of slot {slot}"),
            vm.clear_dirty_log(slot, 0, 4, &bitmap),
            &[libc::EINVAL],
        )?;
    }
    Ok(())
}

fn once() -> Outcome {
    let writer = Writer::new(70 * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    writer.expect("at first", &[])?;
    writer.write(3, 1)?;
    writer.write(31, 3)?;
    writer.write(69, 1)?;
    writer.expect("after writes", &[3, 31, 32, 33, 69])?;
    writer.expect("without writes", &[])?;
    writer.write(32, 1)?;
    writer.expect("after a second write", &[32])?;
    equal("the word", writer.data.word(32 * PAGE), 2)?;
    // Writes of the monitor are not the guest's.
    writer.data.write_words(0, &[1]);
    writer.expect("after a write by the monitor", &[])
}

fn cleaned() -> Outcome {
    const PAGES: usize = 16;
    let writer = Writer::new(PAGES * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    let stats = Stats::new(writer.guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    for page in 0..PAGES {
        writer.data.write_words(page * PAGE, &[0]);
    }
    // The guest gets the program itself, and the first page.
    writer.write(0, 1)?;
    let cleaned = |what, pages, by: &dyn Fn() -> Outcome| {
        let before = stats.value("pages_cleaned")?;
        by()?;
        equal(what, stats.value("pages_cleaned")? - before, pages)
    };
    let all = || writer.write(0, PAGES);
    // Each is read before it is written to, and mapped read-only until then.
    cleaned("the first time", PAGES as u64 - 1, &all)?;
    cleaned("again", 0, &all)?;
    writer.log()?;
    cleaned("write-protected", 0, &all)?;
    // Nothing is there: the page of zeroes, and then another one.
    writer.data.advise(libc::MADV_DONTNEED)?;
    cleaned("taken away", 2 * PAGES as u64, &all)
}

/// The guest may write past the caches, and the monitor reads what is reported, or all when a log
/// begins.
fn cleaned_for_the_monitor() -> Outcome {
    const PAGES: usize = 64;
    let writer = Writer::new(PAGES * PAGE, 0)?;
    let stats = Stats::new(writer.guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let cleaned = |what, pages, by: &dyn Fn() -> Outcome| {
        let [cleaned] = stats.growth(["pages_cleaned"], by)?;
        equal(what, cleaned, pages)
    };
    let report = || writer.log().map(|_| ());
    writer.write(0, PAGES)?;
    cleaned("a log begins", PAGES as u64, &|| writer.start_log())?;
    cleaned("nothing is reported", 0, &report)?;
    writer.write(3, 5)?;
    cleaned("some are reported", 5, &report)?;
    cleaned("they are not reported again", 0, &report)?;
    writer.write(3, 1)?;
    cleaned("one is reported", 1, &report)?;
    // It was cleaned, and not written to since.
    writer.write(40, 2)?;
    writer.manual(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE)?;
    cleaned("reported, and writable still", 0, &report)?;
    let mut bitmap = vec![0; PAGES / 32];
    bitmap[40 / 32] = 1 << (40 % 32);
    cleaned("the log of one is cleared", 1, &|| {
        let result = writer.clear(0, PAGES as u32, &bitmap);
        result.works("KVM_CLEAR_DIRTY_LOG")
    })?;
    // The other one is writable still.
    cleaned("taken away", 1, &|| writer.data.advise(libc::MADV_DONTNEED))
}

fn bad_bitmap() -> Outcome {
    let writer = Writer::new(4 * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    writer.write(2, 1)?;
    let log = uapi::DirtyLog {
        slot: SLOT,
        padding: 0,
        bitmap: 8,
    };
    fails(
        "GET to a bad address",
        ioctl_ref(&writer.guest.vm, uapi::GET_DIRTY_LOG(), &log),
        &[libc::EFAULT],
    )?;
    writer.expect("the next time", &[2])
}

fn off_and_on() -> Outcome {
    let writer = Writer::new(8 * PAGE, 0)?;
    writer.write(0, 8)?;
    writer.start_log()?;
    writer.expect("just on", &[])?;
    writer.write(5, 1)?;
    writer.flags(0)?;
    writer.write(4, 1)?;
    writer.start_log()?;
    writer.expect("on again", &[])?;
    writer.write(5, 1)?;
    writer.expect("after a write", &[5])?;
    equal("the word", writer.data.word(5 * PAGE), 3)?;
    let mut other = writer.region(uapi::MEM_LOG_DIRTY_PAGES | uapi::MEM_READONLY);
    fails(
        "read-only from now on",
        writer.guest.vm.set_user_memory_region(&other),
        &[libc::EINVAL],
    )?;
    other.flags = uapi::MEM_LOG_DIRTY_PAGES;
    other.memory_size -= PAGE as u64;
    fails(
        "smaller from now on",
        writer.guest.vm.set_user_memory_region(&other),
        &[libc::EINVAL],
    )
}

fn moved() -> Outcome {
    let writer = Writer::new(4 * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    writer.write(1, 1)?;
    let mut region = writer.region(uapi::MEM_LOG_DIRTY_PAGES);
    region.guest_phys_addr += 0x100_0000;
    writer
        .guest
        .vm
        .set_user_memory_region(&region)
        .works("move")?;
    writer.write_at(DATA + 0x100_0000 + 3 * PAGE as u32, 1)?;
    writer.expect("before and after the move", &[1, 3])
}

fn manual() -> Outcome {
    let writer = Writer::new(130 * PAGE, 0)?;
    writer.manual(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE)?;
    writer.write(0, 130)?;
    writer.start_log()?;
    writer.expect("at first", &[])?;
    writer.write(60, 6)?;
    writer.write(128, 2)?;
    let all = [60, 61, 62, 63, 64, 65, 128, 129];
    writer.expect("after writes", &all)?;
    writer.expect("looked at again", &all)?;
    // Clears 64 and 65; a bit of a page that is clean changes nothing.
    writer.clear(64, 64, &[0x7, 0]).works("CLEAR")?;
    writer.expect("after CLEAR", &[60, 61, 62, 63, 128, 129])?;
    writer.write(65, 1)?;
    writer.write(61, 1)?;
    writer.expect("written to again", &[60, 61, 62, 63, 65, 128, 129])?;
    // The rest of the slot is no multiple of 64; bits behind its end are ignored.
    writer
        .clear(128, 2, &[u32::MAX])
        .works("CLEAR of the end")?;
    writer
        .clear(0, 128, &[u32::MAX; 4])
        .works("CLEAR of the rest")?;
    writer.expect("all clear", &[])?;
    writer.write(129, 1)?;
    writer.expect("written to at last", &[129])
}

fn initially_set() -> Outcome {
    let writer = Writer::new(70 * PAGE, 0)?;
    writer.manual(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE | uapi::DIRTY_LOG_INITIALLY_SET)?;
    writer.write(0, 70)?;
    writer.start_log()?;
    let all: Vec<usize> = (0..70).collect();
    writer.expect("at first", &all)?;
    writer.clear(0, 70, &[u32::MAX; 3]).works("CLEAR")?;
    writer.expect("clear", &[])?;
    writer.write(69, 1)?;
    writer.expect("after a write", &[69])
}

fn cleared_wrongly() -> Outcome {
    let writer = Writer::new(200 * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    writer.manual(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE)?;
    writer.write(0, 200)?;
    let ones = [u32::MAX; 8];
    for (first, pages) in [
        (1, 64),
        (32, 64),
        (0, 63),
        (0, 100),
        (64, 137),
        (192, 9),
        (192, 64),
        (256, 0),
        (256, 64),
        (1 << 32, 64),
        (u64::MAX - 63, 64),
        (0, 256),
        (0, u32::MAX),
    ] {
        fails(
            format!("first page {first}, {pages} pages"),
            writer.clear(first, pages, &ones),
            &[libc::EINVAL],
        )?;
    }
    let clear = uapi::ClearDirtyLog {
        slot: SLOT,
        num_pages: 64,
        first_page: 0,
        bitmap: 8,
    };
    fails(
        "a bad bitmap",
        ioctl_ref(&writer.guest.vm, uapi::CLEAR_DIRTY_LOG(), &clear),
        &[libc::EFAULT],
    )?;
    let all: Vec<usize> = (0..200).collect();
    writer.expect("nothing was cleared", &all)?;
    writer.clear(64, 0, &ones).works("no pages")?;
    writer.clear(64, 136, &ones).works("up to the end")?;
    writer.clear(0, 64, &ones).works("the begin")?;
    writer.expect("all clear", &[])
}

/// The size of huge pages that a mapping of this process has, in KiB.
fn huge_kib(address: usize) -> Result<usize, String> {
    let maps = std::fs::read_to_string("/proc/self/smaps").works("smaps")?;
    let mut inside = false;
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let number = |text| usize::from_str_radix(text, 16).unwrap_or(0);
            inside = (number(start)..number(end)).contains(&address);
        } else if let Some(rest) = line.strip_prefix("AnonHugePages:") {
            if inside {
                let kib = rest.trim().trim_end_matches(" kB");
                return kib.parse().map_err(|e| format!("{line}: {e}"));
            }
        }
    }
    Err("no AnonHugePages in smaps".into())
}

/// A writer to memory that is all of huge pages, and its counters. It has written to none of it.
/// Its program and the pages that the program needs are mapped.
fn huge_writer(blocks: usize) -> Result<(Writer, Quiet, Stats), String> {
    let writer = Writer::new(blocks * HUGE, 0)?;
    let quiet = Quiet::new(&writer.guest)?;
    writer.data.advise(libc::MADV_HUGEPAGE)?;
    for page in 0..blocks * HUGE / PAGE {
        writer.data.write_words(page * PAGE, &[0]);
    }
    expect_huge(&writer)?;
    writer.write_at(BASE + 0x8000, 1)?;
    let stats = Stats::new(writer.guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    Ok((writer, quiet, stats))
}

fn expect_huge(writer: &Writer) -> Outcome {
    let kib = huge_kib(writer.data.address())?;
    equal("KiB of huge pages", kib, writer.data.size() / 1024)
}

/// How many blocks and how many pages are mapped while something is done.
fn mapped(stats: &Stats, by: impl FnOnce() -> Outcome) -> Result<[u64; 2], String> {
    stats.growth(["blocks_mapped", "pages_mapped"], by)
}

fn huge() -> Outcome {
    let all = 2 * HUGE / PAGE;
    let (writer, _quiet, stats) = huge_writer(2)?;
    let of_vcpu = Stats::new(writer.guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let found = mapped(&stats, || writer.write(0, all))?;
    equal("blocks and pages mapped at first", found, [2, 0])?;
    writer.start_log()?;
    writer.expect("at first", &[])?;
    // A store to a block makes a page of that, and leaves the rest as it is: no load faults, and of
    // the stores each to another page.
    for (first, pages) in [(0, 1), (700, 2), (511, 2), (700, 2)] {
        let mut found = [0; 2];
        let [faults] = of_vcpu.growth(["data_aborts"], || {
            found = mapped(&stats, || writer.write(first, pages))?;
            Ok(())
        })?;
        equal("blocks and pages with a log", found, [0, pages as u64])?;
        // And the access to the hole.
        equal("faults with a log", faults, pages as u64 + 1)?;
        let dirty: Vec<usize> = (first..first + pages).collect();
        writer.expect("after writes", &dirty)?;
    }
    // The guest may write to all of the second one, and would not have to fault any more.
    let found = mapped(&stats, || writer.write(512, 512))?;
    equal("blocks and pages of the second half", found, [0, 512])?;
    writer.flags(0)?;
    let found = mapped(&stats, || writer.write(0, all))?;
    equal("blocks and pages after the log", found, [2, 0])?;
    writer.start_log()?;
    writer.write(1023, 1)?;
    writer.expect("after a second start", &[1023])?;
    for page in 0..all {
        let extra = match page {
            0 | 511 | 512 | 1023 => 1,
            700 | 701 => 2,
            _ => 0,
        } + u32::from(page >= 512);
        equal(
            format!("page {page}"),
            writer.data.word(page * PAGE),
            2 + extra,
        )?;
    }
    expect_huge(&writer)
}

/// The guest has the same sizes as the host: pages, after the host has taken one page out of a huge
/// page, and a block again after they are collapsed.
fn split_by_the_host() -> Outcome {
    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const PAGES: usize = HUGE / PAGE;
    const CHANGED: usize = 100;
    let (writer, _quiet, stats) = huge_writer(1)?;
    let data = &writer.data;
    let protect = || {
        data.protect_part(CHANGED * PAGE, PAGE, libc::PROT_READ)?;
        data.protect_part(CHANGED * PAGE, PAGE, READ_WRITE)
    };
    let discard = || {
        data.advise_part(CHANGED * PAGE, PAGE, libc::MADV_DONTNEED)?;
        // Not the page of zeroes.
        data.write_words(CHANGED * PAGE, &[100]);
        Ok(())
    };
    let ways: [(&str, &dyn Fn() -> Outcome); 2] =
        [("protected", &protect), ("thrown away", &discard)];
    for (way, change) in ways {
        let found = mapped(&stats, || writer.write(0, PAGES))?;
        equal("blocks and pages at first", found, [1, 0])?;
        let found = mapped(&stats, || writer.write(0, PAGES))?;
        equal("blocks and pages when it is there", found, [0, 0])?;
        // Only this test makes the memory huge again.
        data.advise(libc::MADV_NOHUGEPAGE)?;
        change()?;
        equal("KiB of huge pages", huge_kib(data.address())?, 0)?;
        let found = mapped(&stats, || writer.write(0, PAGES))?;
        let what = format!("blocks and pages after one was {way}");
        equal(what, found, [0, PAGES as u64])?;
        data.advise(libc::MADV_HUGEPAGE)?;
        data.advise(MADV_COLLAPSE)?;
        expect_huge(&writer)?;
    }
    let found = mapped(&stats, || writer.write(0, PAGES))?;
    equal("blocks and pages at the end", found, [1, 0])?;
    for page in 0..PAGES {
        // All pages except those that were thrown away.
        let expected = if page == CHANGED { 102 } else { 7 };
        equal(format!("page {page}"), data.word(page * PAGE), expected)?;
    }
    Ok(())
}

fn huge_initially_set() -> Outcome {
    let writer = Writer::new(HUGE, 0)?;
    writer.manual(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE | uapi::DIRTY_LOG_INITIALLY_SET)?;
    writer.data.advise(libc::MADV_HUGEPAGE)?;
    writer.write(0, 512)?;
    writer.start_log()?;
    writer.clear(64, 64, &[u32::MAX; 2]).works("CLEAR")?;
    // The block of all of them is protected now, but the others count as dirty anyway.
    let clean = |page: &usize| !(64..128).contains(page);
    let mut expected: Vec<usize> = (0..512).filter(clean).collect();
    writer.expect("after CLEAR", &expected)?;
    writer.write(100, 1)?;
    writer.write(200, 1)?;
    expected.insert(64, 100);
    writer.expect("after writes", &expected)
}

/// The guest's MMU is on, and its addresses are not its physical ones: a write to a protected page
/// faults without an address in HPFAR (Arm ARM B3.13.5), which then is found by translating again.
fn translated() -> Outcome {
    const TABLE: usize = 0x8000;
    const VIRTUAL: u32 = 0x4560_0000;
    const STRONGLY_ORDERED: u32 = 0x0c02;
    const NORMAL: u32 = 0x1c02;
    let writer = Writer::new(1 << 20, 0)?;
    let memory = Memory::new(SIZE)?;
    // Sections, for PL1: where the program runs, the hole, and the data at another address.
    let section = |virt: u32, phys: u32, attributes: u32| {
        let entry = TABLE + (virt >> 20) as usize * 4;
        memory.write_words(entry, &[phys | attributes]);
    };
    let table = BASE + 0x10_0000;
    section(BASE, BASE, NORMAL);
    section(HOLE, HOLE, STRONGLY_ORDERED);
    section(VIRTUAL, DATA, NORMAL);
    let vm = &writer.guest.vm;
    let region = slot(2, u64::from(table) - TABLE as u64, &memory, SIZE);
    vm.set_user_memory_region(&region)
        .works("the table's slot")?;
    let mut start = Vec::new();
    start.extend(code::load(0, table));
    start.extend([
        0xee02_0f10, // mcr p15, 0, r0, c2, c0, 0: TTBR0
        0xe3a0_0001, // mov r0, #1
        0xee03_0f10, // mcr p15, 0, r0, c3, c0, 0: DACR, client of domain 0
        0xe3a0_0000, // mov r0, #0
        0xee02_0f50, // mcr p15, 0, r0, c2, c0, 2: TTBCR
        0xee08_0f17, // mcr p15, 0, r0, c8, c7, 0: TLBIALL
        0xf57f_f04f, // dsb
        0xee11_0f10, // mrc p15, 0, r0, c1, c0, 0: SCTLR
        0xe380_0001, // orr r0, r0, #1
        0xee01_0f10, // mcr p15, 0, r0, c1, c0, 0
        0xf57f_f06f, // isb
    ]);
    start.extend(code::load(5, HOLE));
    start.extend([code::ldr(6, 5), code::LOOP]);
    writer.guest.memory.write_words(0x1000, &start);
    writer.guest.set(uapi::CORE_PC, BASE + 0x1000)?;
    writer.guest.run_to(uapi::EXIT_MMIO)?;
    let pages = (1 << 20) / PAGE;
    writer.write_at(VIRTUAL, pages)?;
    writer.start_log()?;
    writer.expect("at first", &[])?;
    for page in [7, 255, 0] {
        writer.write_at(VIRTUAL + (page * PAGE) as u32, 1)?;
        writer.expect("after a write", &[page])?;
        equal("the word", writer.data.word(page * PAGE), 2)?;
    }
    Ok(())
}

/// A guest that writes to a page for a while and then never again, and a monitor that copies dirty
/// pages: one that a TLB let through although the page counted as clean would be missing.
fn last_write() -> Outcome {
    const PAGES: usize = 100;
    // A page that was found dirty twice was written to after it had been made clean. The host's
    // scheduler decides how often that happens.
    let mut again = 0;
    let since = Instant::now();
    while since.elapsed() < kvm::patience(30) {
        again += write_and_copy(PAGES)?.saturating_sub(PAGES);
        if again > PAGES {
            return Ok(());
        }
    }
    Err("no page was written to after it had been made clean: nothing was concurrent".into())
}

/// Has a guest write to that many pages, and a monitor copy them meanwhile. Says how many it has
/// copied; the copy has to be the same as the original in the end.
fn write_and_copy(pages: usize) -> Result<usize, String> {
    const REPEATS: u32 = 100_000;
    let writer = Writer::new(pages * PAGE, uapi::MEM_LOG_DIRTY_PAGES)?;
    let guest = &writer.guest;
    for (word, value) in [(2, PAGE as u32), (7, DATA), (8, pages as u32), (9, REPEATS)] {
        guest.set(word, value)?;
    }
    let mut shadow = vec![0; pages];
    let mut copy = || -> Result<usize, String> {
        let dirty = set_bits(&writer.log()?);
        for page in &dirty {
            shadow[*page] = writer.data.word(*page * PAGE);
        }
        Ok(dirty.len())
    };
    let found = thread::scope(|scope| {
        let vcpu = scope.spawn(|| guest.run_to(uapi::EXIT_MMIO));
        let mut found = 0;
        while !vcpu.is_finished() {
            found += copy()?;
        }
        vcpu.join().map_err(|_| "the vCPU's thread panicked")??;
        Ok::<_, String>(found + copy()?)
    })?;
    for (page, copied) in shadow.iter().enumerate() {
        equal(format!("page {page} of the copy"), *copied, REPEATS)?;
    }
    Ok(found)
}

/// Copies a running guest's memory into that of another VM by its log, as a migration does, checks
/// that it is the same in the end, and has the other VM go on.
///
/// The guest has written to all of its memory, and goes on with a part of it. The pages that have
/// to be copied from then on, and at last while nothing runs, are of that part.
fn migrate_with(options: u64) -> Outcome {
    const PAGES: usize = 600;
    const ROUNDS: usize = 50;
    const FIRST: usize = 480;
    /// Some are in a huge page of the host, others are not.
    const WORKING: usize = 70;
    const WORKING_SET: Range<usize> = FIRST..FIRST + WORKING;
    // For the vCPUs to write to that many pages, which takes far less.
    let patience = kvm::patience(30);
    let writer = Writer::new(PAGES * PAGE, 0)?;
    if options != 0 {
        writer.manual(options)?;
    }
    let Guest { vcpu, vm, kvm, .. } = &writer.guest;
    let second = new_vcpu(kvm, vm, 1)?;
    init(vm, &second)?;
    writer.write(0, PAGES)?;
    writer.guest.complete()?;
    // Both go through the same pages, at different distances.
    for (vcpu, distance) in [(vcpu, 1u32), (&second, 7)] {
        for (word, value) in [
            (uapi::CORE_PC, BASE),
            (2, distance * PAGE as u32),
            (7, DATA + (FIRST * PAGE) as u32),
            (8, WORKING as u32 / distance),
            (9, 1),
        ] {
            vcpu.set_reg(uapi::core_reg(word), value)
                .works("KVM_SET_ONE_REG")?;
        }
    }
    let stop = AtomicBool::new(false);
    let other = Writer::new(PAGES * PAGE, 0)?;
    let copy = |page: usize| other.data.copy_page(&writer.data, page * PAGE);
    let round = || -> Result<Vec<usize>, String> {
        let bitmap = writer.log()?;
        if options != 0 {
            // First clean, then copy: a page with a later write is dirty again.
            writer.clear(0, PAGES as u32, &bitmap).works("CLEAR")?;
        }
        let dirty = set_bits(&bitmap);
        dirty.iter().copied().for_each(copy);
        Ok(dirty)
    };
    let later_round = || -> Result<usize, String> {
        let dirty = round()?;
        let other = dirty.iter().find(|page| !WORKING_SET.contains(page));
        match other {
            None => Ok(dirty.len()),
            Some(page) => Err(format!(
                "page {page} is dirty, which nobody writes to any more"
            )),
        }
    };
    // The memory that the guest never writes to.
    for (page, word) in (0..PAGES).zip((0x1000..).step_by(3)) {
        writer.data.write_words(page * PAGE + PAGE - 4, &[word]);
    }
    let passes = thread::scope(|scope| {
        let first = scope.spawn(|| run_passes(vcpu, &stop));
        let last = scope.spawn(|| run_passes(&second, &stop));
        let migration = (|| {
            writer.start_log()?;
            if options & uapi::DIRTY_LOG_INITIALLY_SET == 0 {
                (0..PAGES).for_each(copy);
            } else {
                equal("pages of the first round", round()?.len(), PAGES)?;
            }
            let start = Instant::now();
            let (mut dirty, mut rounds) = (0, 0);
            while (dirty < 10 * WORKING || rounds < ROUNDS) && start.elapsed() < patience {
                dirty += later_round()?;
                rounds += 1;
            }
            let enough = dirty >= 10 * WORKING && rounds >= ROUNDS;
            ensure(enough, format!("just {dirty} pages in {rounds} rounds"))
        })();
        stop.store(true, Ordering::Relaxed);
        let joined = |thread: thread::ScopedJoinHandle<'_, Result<usize, String>>| {
            thread
                .join()
                .map_err(|_| "a vCPU's thread panicked".to_string())?
        };
        let passes = joined(first)?.min(joined(last)?);
        migration.map(|()| passes)
    })?;
    ensure(passes > 0, "a vCPU came to nothing")?;
    // The state of the machine besides memory, when its last accesses are complete.
    let mut states = Vec::new();
    for vcpu in [vcpu, &second] {
        complete(vcpu)?;
        states.push(VcpuSnapshot::save(vcpu).works("the state of a vCPU")?);
    }
    later_round()?;
    for at in (0..PAGES * PAGE).step_by(4) {
        let (copied, original) = (other.data.word(at), writer.data.word(at));
        equal(format!("the word at {at:#x}"), copied, original)?;
    }
    writer.expect("nobody runs", &[])?;

    let Guest { vcpu, vm, kvm, .. } = &other.guest;
    let second = new_vcpu(kvm, vm, 1)?;
    init(vm, &second)?;
    for (vcpu, state) in [vcpu, &second].into_iter().zip(&states) {
        state.restore(vcpu).works("the state of a vCPU")?;
    }
    for vcpu in [vcpu, &second] {
        vcpu.run().works("KVM_RUN of the other VM")?;
        equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
        equal("exit for", vcpu.run.mmio().phys_addr, HOLE.into())?;
    }
    for page in 0..PAGES {
        let more = match page.checked_sub(FIRST) {
            Some(page) if page < WORKING => 1 + u32::from(page % 7 == 0),
            _ => 0,
        };
        let (found, before) = (other.data.word(page * PAGE), writer.data.word(page * PAGE));
        equal(format!("page {page} of the other VM"), found, before + more)?;
    }
    Ok(())
}

fn migrate() -> Outcome {
    migrate_with(0)
}

fn migrate_manually() -> Outcome {
    migrate_with(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE)?;
    migrate_with(uapi::DIRTY_LOG_MANUAL_PROTECT_ENABLE | uapi::DIRTY_LOG_INITIALLY_SET)
}
