// SPDX-License-Identifier: GPL-2.0

//! The mapping of the guest's memory, and the work for it, by the statistics: the guest itself sees
//! no difference.

use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use kvm::uapi::{self, UserspaceMemoryRegion};

use crate::check::{ensure, equal, Outcome, Test, Works};
use crate::guest::{code, run_passes, Aligned, Guest, Quiet, BASE, HOLE, HUGE, PAGE, SIZE};
use crate::stats::Stats;

pub(crate) const TESTS: &[Test] = &[
    ("neighbours: mapped with the page that is used", neighbours),
    ("neighbours: not those that are missing", missing),
    ("neighbours: none while writes are logged", logged),
    (
        "neighbours: missing ones ahead, no more than the guest has used",
        ahead,
    ),
    ("caches: all is cleaned when they are turned, once", turned),
    ("caches: a page is cleaned before it is executed", executed),
    (
        "caches: a page that was written to is cleaned when it goes",
        taken,
    ),
    (
        "one memory in a hundred slots: what the host takes is taken from each",
        taken_from_each,
    ),
    ("ageing: the host sees what the guest uses", ageing),
];

/// The number of pages that a fault maps when the host has them already.
const WINDOW: usize = 16;
/// Where the memory is that these tests are about.
const DATA: u32 = 0x9000_0000;
const SLOT: u32 = 1;

/// A guest that stores to pages of a slot, one after the other.
struct Storing {
    guest: Guest,
    data: Aligned,
    vm: Stats,
    vcpu: Stats,
    _quiet: Quiet,
}

impl Storing {
    fn new(pages: usize, flags: u32) -> Result<Self, String> {
        let data = Aligned::new(pages * PAGE)?;
        data.advise(libc::MADV_NOHUGEPAGE)?;
        let mut region = data.slot(SLOT, DATA, 0, pages * PAGE);
        region.flags = flags;
        Self::with_slots(data, [region])
    }

    fn with_slots(
        data: Aligned,
        slots: impl IntoIterator<Item = UserspaceMemoryRegion>,
    ) -> Result<Self, String> {
        let guest = Guest::new(&code::store_to_each())?;
        for region in slots {
            guest.vm.set_user_memory_region(&region).works("a slot")?;
        }
        let storing = Self {
            _quiet: Quiet::new(&guest)?,
            vm: Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?,
            vcpu: Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?,
            guest,
            data,
        };
        // The program itself.
        storing.run(BASE + 0x8000, 1)?;
        Ok(storing)
    }

    /// The host has these pages, and none of the guest's is mapped.
    fn populate(&self, pages: impl IntoIterator<Item = usize>) -> Outcome {
        self.data.advise(libc::MADV_DONTNEED)?;
        for page in pages {
            self.data.write_words(page * PAGE, &[0]);
        }
        Ok(())
    }

    fn run(&self, address: u32, pages: usize) -> Outcome {
        self.run_each(address, pages as u32, PAGE as u32)
    }

    /// The guest stores so many times, each `step` bytes further on.
    fn run_each(&self, address: u32, times: u32, step: u32) -> Outcome {
        self.guest.complete()?;
        for (register, value) in [(0, address), (1, times), (2, step)] {
            self.guest.set(register, value)?;
        }
        self.guest.set(uapi::CORE_PC, BASE)?;
        self.guest.run_to(uapi::EXIT_MMIO)?;
        let at = self.guest.vcpu.run.mmio().phys_addr;
        equal("exit for", at, HOLE.into())
    }

    /// Fails unless the guest's stores to so many pages make so many faults, and map so many pages.
    fn expect(&self, first: usize, pages: usize, faults: u64, mapped: u64) -> Outcome {
        let address = DATA + (first * PAGE) as u32;
        let mut found = 0;
        let [aborts] = self.vcpu.growth(["data_aborts"], || {
            let run = || self.run(address, pages);
            [found] = self.vm.growth(["pages_mapped"], run)?;
            Ok(())
        })?;
        // One of them is for the hole.
        equal(
            format!("faults and pages mapped, from page {first} on"),
            (aborts - 1, found),
            (faults, mapped),
        )
    }
}

fn neighbours() -> Outcome {
    let storing = Storing::new(2 * WINDOW, 0)?;
    storing.populate(0..2 * WINDOW)?;
    storing.expect(0, WINDOW, 1, 16)?;
    storing.expect(0, WINDOW, 0, 0)?;
    storing.expect(WINDOW, 1, 1, 16)?;
    storing.expect(0, 2 * WINDOW, 0, 0)?;
    // The pages before it are left alone.
    storing.populate(0..2 * WINDOW)?;
    storing.expect(9, 7, 1, 7)?;
    storing.expect(0, WINDOW, 1, 9)
}

fn missing() -> Outcome {
    let storing = Storing::new(2 * WINDOW, 0)?;
    // Backwards, no page follows the one before.
    storing.populate([])?;
    let back = (PAGE as u32).wrapping_neg();
    for page in (0..2 * WINDOW).rev() {
        storing.expect(page, 1, 1, 1)?;
    }
    let last = DATA + (2 * WINDOW - 1) as u32 * PAGE as u32;
    storing.run_each(last, 2 * WINDOW as u32, back)?;
    // The pages up to the missing one, that one, and those behind it.
    storing.populate((0..WINDOW).filter(|page| *page != 4))?;
    storing.expect(0, WINDOW, 3, 16)
}

fn ahead() -> Outcome {
    let storing = Storing::new(4 * WINDOW, 0)?;
    storing.populate([])?;
    storing.expect(0, 1, 1, 1)?;
    storing.expect(1, 1, 1, 2)?;
    storing.expect(2, 1, 0, 0)?;
    storing.expect(3, 1, 1, 4)?;
    // The guest goes elsewhere, where no streak is yet.
    storing.expect(33, 1, 1, 1)?;
    storing.expect(50, 1, 1, 1)?;
    storing.expect(7, 1, 1, 1)?;
    // One by one, then 2, 4 and 8 at once, and not beyond a multiple of 16.
    storing.populate([])?;
    storing.expect(0, 2 * WINDOW, 7, 32)?;
    // A page that is there ends a streak.
    storing.populate([5])?;
    storing.expect(0, 3, 2, 3)?;
    storing.expect(3, 1, 1, 2)?;
    // A log reports pages that the guest has written to, and no others.
    let logged = Storing::new(WINDOW, uapi::MEM_LOG_DIRTY_PAGES)?;
    logged.populate([])?;
    logged.expect(0, WINDOW, 16, 16)
}

fn logged() -> Outcome {
    let storing = Storing::new(WINDOW, uapi::MEM_LOG_DIRTY_PAGES)?;
    storing.populate(0..WINDOW)?;
    let dirty = || {
        let mut bitmap = [0];
        let log = storing.guest.vm.get_dirty_log(SLOT, &mut bitmap);
        log.works("KVM_GET_DIRTY_LOG").map(|()| bitmap[0])
    };
    storing.expect(3, 1, 1, 1)?;
    equal("dirty pages", dirty()?, 1 << 3)?;
    storing.expect(0, WINDOW, 16, 16)?;
    equal("dirty pages after all stores", dirty()?, 0xffff)
}

/// SCTLR.
fn mrc_sctlr(rt: u32) -> u32 {
    code::mcr(rt, 0, 1, 0, 0) | (1 << 20)
}

fn turned() -> Outcome {
    const PAGES: usize = 2 * WINDOW;
    const TABLE: usize = 0x8000;
    const STRONGLY_ORDERED: u32 = 0x0c02;
    const NORMAL: u32 = 0x1c02;
    const ISB: u32 = 0xf57f_f06f;
    const SET_WAY: &str = "by set and way";
    const STILL_ON: &str = "caches on still";
    let storing = Storing::new(PAGES, 0)?;
    let guest = &storing.guest;
    // Sections where the program runs and for the hole.
    for (address, attributes) in [(BASE, NORMAL), (HOLE, STRONGLY_ORDERED)] {
        let entry = TABLE + (address >> 20) as usize * 4;
        guest.memory.write_words(entry, &[address | attributes]);
    }
    const ON: &[u32] = &[code::mcr(7, 0, 1, 0, 0), ISB];
    const OFF: &[u32] = &[code::mcr(8, 0, 1, 0, 0), ISB];
    // The steps: the action, whether it cleans all, and whether that depends on a trap of a step
    // before.
    let steps: [(&str, &[u32], bool, bool); 9] = [
        (
            "a table",
            &[
                code::mcr(0, 0, 2, 0, 0), // TTBR0
                code::mcr(1, 0, 3, 0, 0), // DACR, client of domain 0
                code::mcr(2, 0, 2, 0, 2), // TTBCR
                code::mcr(2, 0, 8, 7, 0), // TLBIALL
            ],
            false,
            false,
        ),
        ("caches on", ON, true, false),
        (STILL_ON, ON, false, false),
        // DCCISW, DCCSW, DCISW: the guest can be about to turn the caches off.
        (SET_WAY, &[code::mcr(2, 0, 7, 14, 2)], true, true),
        (
            "by set and way again",
            &[code::mcr(2, 0, 7, 10, 2), code::mcr(2, 0, 7, 6, 2)],
            false,
            true,
        ),
        ("caches off", OFF, true, true),
        (
            "by set and way without caches",
            &[code::mcr(2, 0, 7, 14, 2)],
            false,
            true,
        ),
        ("caches on again", ON, true, true),
        ("caches on for good", ON, false, true),
    ];
    // Every step begins a little further on.
    const STEP: usize = 0x40;
    const STEPS: usize = 0x1000;
    let mut read: Vec<u32> = code::load(5, HOLE).to_vec();
    read.extend([mrc_sctlr(6), code::ldr(4, 5), code::LOOP]);
    guest.memory.write_words(STEPS, &read);
    for (n, (_, program, ..)) in steps.iter().enumerate() {
        let mut program = program.to_vec();
        program.extend(&read);
        guest.memory.write_words(STEPS + (n + 1) * STEP, &program);
    }
    // Nothing is mapped, and the host has all of it: each page is mapped once then.
    storing.populate(0..PAGES)?;
    let program = |offset: usize| {
        guest.complete()?;
        guest.set(uapi::CORE_PC, BASE + (STEPS + offset) as u32)?;
        guest.run_to(uapi::EXIT_MMIO)
    };
    for page in 0..SIZE / PAGE {
        let word = guest.memory.word(page * PAGE);
        guest.memory.write_words(page * PAGE, &[word]);
    }
    let region = |size| crate::guest::slot(0, BASE.into(), &guest.memory, size);
    for size in [0, SIZE] {
        let result = guest.vm.set_user_memory_region(&region(size));
        result.works("the program's slot")?;
    }
    let [mapped] = storing.vm.growth(["pages_mapped"], || {
        program(0)?;
        // Executable pages are mapped one by one.
        storing.run(DATA, PAGES)
    })?;
    let sctlr = guest.get(6)?;
    for (register, value) in [(0, BASE + TABLE as u32), (1, 1), (2, 0)] {
        guest.set(register, value)?;
    }
    // M and C, and M alone.
    guest.set(7, sctlr | 5)?;
    guest.set(8, sctlr & !4 | 1)?;
    let all = (SIZE / PAGE + PAGES) as u64;
    equal("pages mapped", mapped, all)?;
    let names = ["pages_cleaned", "pages_mapped"];
    let mut traps = true;
    for (n, (what, _, cleans, needs_trap)) in steps.iter().enumerate() {
        if *needs_trap && !traps {
            continue;
        }
        let mut found = [0; 2];
        let [trapped] = storing.vcpu.growth(["cp15_exits"], || {
            found = storing.vm.growth(names, || program((n + 1) * STEP))?;
            Ok(())
        })?;
        // The emulator permits this for cores of ARMv7, for each value of HCR.TSW.
        if *what == SET_WAY && trapped == 0 {
            traps = false;
            continue;
        }
        if *what == STILL_ON {
            equal("traps while the caches are on", trapped, 0)?;
        }
        let expected = [if *cleans { all } else { 0 }, 0];
        equal(format!("pages cleaned and mapped: {what}"), found, expected)?;
    }
    // Off by user space, and so watched once more.
    let [off, on] = [sctlr & !4 | 1, sctlr | 5];
    let id = uapi::cp15_reg(0, 1, 0, 0);
    guest.vcpu.set_reg(id, off).works("SCTLR")?;
    for (what, value, cleans) in [("on", on, all), ("on still", on, 0)] {
        guest.set(7, value)?;
        let found = storing.vm.growth(names, || program(2 * STEP))?;
        let what = format!("pages cleaned and mapped: caches {what}, which user space turned off");
        equal(what, found, [cleans, 0])?;
    }
    Ok(())
}

fn executed() -> Outcome {
    /// `cmp r1, #0; bxne r0`.
    const EXECUTE: [u32; 2] = [0xe351_0000, 0x112f_ff10];
    // Reads a word there, and executes it if asked to.
    let mut program = vec![code::ldr(3, 0)];
    program.extend(EXECUTE);
    program.extend(code::load(5, HOLE));
    program.extend([code::ldr(4, 5), code::LOOP]);
    let mut there: Vec<u32> = code::load(5, HOLE).to_vec();
    there.extend([code::ldr(4, 5), code::LOOP]);
    let guest = Guest::new(&program)?;
    let _quiet = Quiet::new(&guest)?;
    let stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let run = |address: u32, execute: u32| {
        guest.complete()?;
        guest.set(0, address)?;
        guest.set(1, execute)?;
        guest.set(uapi::CORE_PC, BASE)?;
        guest.run_to(uapi::EXIT_MMIO)
    };
    let small = Aligned::new(WINDOW * PAGE)?;
    small.advise(libc::MADV_NOHUGEPAGE)?;
    let large = Aligned::new(HUGE)?;
    large.advise(libc::MADV_HUGEPAGE)?;
    run(BASE + 0x8000, 0)?;
    // How many pages are cleaned and how often something is mapped when it is read first; how many
    // are cleaned when it is executed first.
    for (slot, memory, kind, [cleaned, mapped], of_one) in [
        (1, &small, "pages_mapped", [16, 16], 1),
        (2, &large, "blocks_mapped", [512, 1], 512),
    ] {
        for page in 0..memory.size() / PAGE {
            memory.write_words(page * PAGE, &there);
        }
        let at = DATA + slot * HUGE as u32;
        let region = memory.slot(slot, at, 0, memory.size());
        guest.vm.set_user_memory_region(&region).works("a slot")?;
        let names = ["pages_cleaned", "icache_invalidations", kind];
        let other = at + 5 * PAGE as u32;
        for (what, address, execute, expected) in [
            ("read first", at, 0, [cleaned, 0, mapped]),
            ("read", other, 0, [0, 0, 0]),
            ("executed first", other, 1, [of_one, 1, 1]),
            ("executed", other, 1, [0, 0, 0]),
            ("read at last", other, 0, [0, 0, 0]),
        ] {
            let found = stats.growth(names, || run(address, execute))?;
            equal(
                format!("pages cleaned, caches invalidated, {kind}: {what}"),
                found,
                expected,
            )?;
        }
    }
    Ok(())
}

fn taken() -> Outcome {
    // Reads a word of the only page.
    let mut reads = code::load(0, DATA).to_vec();
    reads.push(code::ldr(3, 0));
    reads.extend(code::load(5, HOLE));
    reads.extend([code::ldr(4, 5), code::LOOP]);
    for flags in [0, uapi::MEM_LOG_DIRTY_PAGES] {
        let storing = Storing::new(WINDOW, flags)?;
        let cleaned = |what: &str, pages: u64, by: &dyn Fn() -> Outcome| {
            let [cleaned] = storing.vm.growth(["pages_cleaned"], by)?;
            equal(
                format!("pages cleaned: {what} (flags {flags})"),
                cleaned,
                pages,
            )
        };
        let take = || storing.data.advise(libc::MADV_DONTNEED);
        storing.populate(0..WINDOW)?;
        storing.run(DATA, WINDOW)?;
        cleaned("taken by the host", WINDOW as u64, &take)?;
        cleaned("taken when nothing is there", 0, &take)?;
        // The log cleans them when it takes the right to write, and nothing is left to clean when
        // they go.
        storing.populate(0..WINDOW)?;
        storing.run(DATA, WINDOW)?;
        let mut left = WINDOW as u64;
        if flags != 0 {
            let log = || {
                let log = storing.guest.vm.get_dirty_log(SLOT, &mut [0]);
                log.works("KVM_GET_DIRTY_LOG").map(drop)
            };
            cleaned("reported by the log", left, &log)?;
            left = 0;
        }
        cleaned("taken, with the log read before", left, &take)?;
        // Or the slot goes.
        storing.populate(0..WINDOW)?;
        storing.run(DATA, WINDOW)?;
        let vm = &storing.guest.vm;
        let delete = || {
            let gone = storing.data.slot(SLOT, DATA, 0, 0);
            vm.set_user_memory_region(&gone).works("delete")
        };
        cleaned("the slot is deleted", WINDOW as u64, &delete)?;
        // The page of zeroes, which the guest can only read.
        let again = storing.data.slot(SLOT, DATA, 0, PAGE);
        vm.set_user_memory_region(&again).works("make again")?;
        take()?;
        let offset = 0x1000;
        storing.guest.memory.write_words(offset, &reads);
        storing.guest.complete()?;
        storing.guest.set(uapi::CORE_PC, BASE + offset as u32)?;
        storing.guest.run_to(uapi::EXIT_MMIO)?;
        equal("the word", storing.guest.get(3)?, 0)?;
        cleaned("read, and taken", 0, &take)?;
    }
    Ok(())
}

fn taken_from_each() -> Outcome {
    const SLOTS: u32 = 100;
    const STRIDE: u32 = 2 * HUGE as u32;
    let data = Aligned::new(HUGE)?;
    data.advise(libc::MADV_HUGEPAGE)?;
    // Every other one is aligned as a huge page is, and mapped by a block.
    let place = |n: u32| DATA + n * STRIDE + n % 2 * PAGE as u32;
    let slot = |n: u32| data.slot(SLOT + n, place(n), 0, HUGE);
    let slots: Vec<_> = (0..SLOTS).map(slot).collect();
    let storing = Storing::with_slots(data, slots)?;
    let (data, vm) = (&storing.data, &storing.vm);
    let store = || {
        for n in [0, 1] {
            storing.run_each(place(n), SLOTS / 2, 2 * STRIDE)?;
            equal("the word", data.word(0), place(SLOTS - 2 + n))?;
        }
        Ok(())
    };
    for what in ["first", "again"] {
        data.write_words(0, &[0]);
        let (mut pages, mut blocks) = (0, 0);
        let [aborts] = storing.vcpu.growth(["data_aborts"], || {
            [pages, blocks] = vm.growth(["pages_mapped", "blocks_mapped"], store)?;
            Ok(())
        })?;
        // Two are for the hole.
        let found = (aborts - 2, blocks);
        let expected = (SLOTS.into(), (SLOTS / 2).into());
        equal(format!("faults and blocks, {what}"), found, expected)?;
        let take = || data.advise(libc::MADV_DONTNEED);
        let [cleaned] = vm.growth(["pages_cleaned"], take)?;
        let all = pages + blocks * (HUGE / PAGE) as u64;
        equal(format!("pages cleaned, {what}"), cleaned, all)?;
    }
    Ok(())
}

/// DAMON, the kernel's monitor of accesses, for parts of this process's memory. It makes a page of
/// each old, and soon after looks whether that was used.
struct Damon;

impl Damon {
    const ALL: &'static str = "/sys/kernel/mm/damon/admin/kdamonds";

    fn set(name: &str, value: impl ToString) -> Outcome {
        let path = format!("{}/{name}", Self::ALL);
        fs::write(&path, value.to_string()).works(path)
    }

    fn number(path: &str) -> Result<u64, String> {
        let text = fs::read_to_string(path).works(path)?;
        text.trim().parse().map_err(|e| format!("{path}: {e}"))
    }

    fn start(parts: &[Range<usize>]) -> Result<Self, String> {
        Self::set("nr_kdamonds", 1)?;
        let damon = Self;
        Self::set("0/contexts/nr_contexts", 1)?;
        let set = |name: &str, value: usize| Self::set(&format!("0/contexts/0/{name}"), value);
        Self::set("0/contexts/0/operations", "fvaddr")?;
        for (name, micros) in [("sample", 5_000), ("aggr", 50_000), ("update", 1_000_000)] {
            set(&format!("monitoring_attrs/intervals/{name}_us"), micros)?;
        }
        set("monitoring_attrs/nr_regions/min", 3)?;
        set("monitoring_attrs/nr_regions/max", 100)?;
        set("targets/nr_targets", 1)?;
        set("targets/0/pid_target", std::process::id() as usize)?;
        set("targets/0/regions/nr_regions", parts.len())?;
        let mut sorted = parts.to_vec();
        sorted.sort_by_key(|part| part.start);
        for (n, part) in sorted.iter().enumerate() {
            set(&format!("targets/0/regions/{n}/start"), part.start)?;
            set(&format!("targets/0/regions/{n}/end"), part.end)?;
        }
        set("schemes/nr_schemes", 1)?;
        Self::set("0/contexts/0/schemes/0/action", "stat")?;
        for what in ["sz", "nr_accesses", "age"] {
            let most = i32::MAX as usize;
            set(&format!("schemes/0/access_pattern/{what}/max"), most)?;
        }
        Self::set("0/state", "on")?;
        Ok(damon)
    }

    /// How often each part was found used, of the last ten times.
    fn accesses(&self, parts: &[Range<usize>]) -> Result<Vec<u64>, String> {
        Self::set("0/state", "update_schemes_tried_regions")?;
        let found = format!("{}/0/contexts/0/schemes/0/tried_regions", Self::ALL);
        let mut accesses = vec![0; parts.len()];
        let mut seen = 0;
        for entry in fs::read_dir(&found).works(&found)? {
            let path = entry.works(&found)?.path();
            let file = |name| Self::number(&path.join(name).to_string_lossy());
            if !path.is_dir() {
                continue;
            }
            let start = file("start")? as usize;
            let part = parts.iter().position(|part| part.start == start);
            accesses[part.ok_or("a part that nobody asked for")?] = file("nr_accesses")?;
            seen += 1;
        }
        equal("parts that were looked at", seen, parts.len())?;
        Ok(accesses)
    }
}

impl Drop for Damon {
    fn drop(&mut self) {
        let _ = Self::set("0/state", "off");
        let _ = Self::set("nr_kdamonds", 0);
    }
}

fn ageing() -> Outcome {
    let patience = kvm::patience(20);
    // Each pass does TLBIALL, since the host leaves old entries in TLBs after it has aged pages;
    // then a load from a page and one from a block.
    let mut program = code::load(5, HOLE).to_vec();
    program.extend([
        code::mcr(0, 0, 8, 7, 0),
        0xf57f_f04f, // dsb
        code::ldr(1, 7),
        code::ldr(2, 8),
        code::ldr(4, 5),
        0xeaff_fff9, // b back to TLBIALL
    ]);
    let guest = Guest::new(&program)?;
    // Else DAMON is not to be had.
    let _quiet = Quiet::new(&guest)?;
    let small = Aligned::new(WINDOW * PAGE)?;
    small.advise(libc::MADV_NOHUGEPAGE)?;
    let large = Aligned::new(3 * HUGE)?;
    large.advise(libc::MADV_HUGEPAGE)?;
    let mut places = Vec::new();
    for (slot, memory, pages) in [(1, &small, [2, 9]), (2, &large, [7, (2 * HUGE / PAGE) + 7])] {
        for page in 0..memory.size() / PAGE {
            memory.write_words(page * PAGE, &[1]);
        }
        let at = DATA + slot * HUGE as u32;
        let region = memory.slot(slot, at, 0, memory.size());
        guest.vm.set_user_memory_region(&region).works("a slot")?;
        places
            .extend(pages.map(|page| (memory.address() + page * PAGE, at + (page * PAGE) as u32)));
    }
    let parts: Vec<_> = places.iter().map(|at| at.0..at.0 + PAGE).collect();
    let stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    // The first page and the first block are used, or the others.
    let begin = |used: usize| {
        guest.complete()?;
        guest.set(7, places[used].1)?;
        guest.set(8, places[2 + used].1)?;
        guest.set(uapi::CORE_PC, BASE)
    };
    let names = ["blocks_mapped", "pages_aged", "access_flag_faults"];
    let found = stats.growth(names, || {
        for used in [0, 1] {
            begin(used)?;
            guest.run_to(uapi::EXIT_MMIO)?;
        }
        Ok(())
    })?;
    // All four have been used, and are young.
    equal("blocks mapped, aged, and used then", found, [2, 0, 0])?;
    let damon = Damon::start(&parts)?;
    // The host finds each of them old while the guest does not use it, and young while it does.
    for used in [0, 1, 0] {
        let mut last = Vec::new();
        let result = stats.growth(["pages_aged", "access_flag_faults"], || {
            begin(used)?;
            let stop = AtomicBool::new(false);
            let start = Instant::now();
            thread::scope(|scope| {
                let runner = scope.spawn(|| run_passes(&guest.vcpu, &stop));
                let mut seen = || -> Outcome {
                    while start.elapsed() < patience {
                        last = damon.accesses(&parts)?;
                        if (0..4).all(|part| (last[part] > 0) == (part % 2 == used)) {
                            return Ok(());
                        }
                    }
                    Err("not in time".into())
                };
                let result = seen();
                stop.store(true, Ordering::Relaxed);
                let run = runner.join().map_err(|_| "the vCPU's thread panicked")?;
                result.and(run.map(drop))
            })
        });
        let what = format!(
            "{used} and {} are used, {last:?} is what was seen",
            2 + used
        );
        let [aged, faults] = result.map_err(|why| format!("{why}: {what}"))?;
        ensure(
            aged > 0 && faults > 0,
            format!("{aged} aged, {faults} used then: {what}"),
        )?;
    }
    Ok(())
}
