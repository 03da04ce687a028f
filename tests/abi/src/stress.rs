// SPDX-License-Identifier: GPL-2.0

//! A guest that checks its memory while the host does to it all that it can.
//!
//! Each vCPU goes through its pages again and again. In each it finds the content of its last
//! write, or reports the page. Meanwhile this process swaps its memory out, ages it, merges it,
//! makes and breaks huge pages, write-protects it, moves it away and back, forks, logs dirty pages,
//! and throws pages away whose loss the guest expects. The test counts these events, and fails if
//! one of them never happened. A [`Variant`] does more of one of these things.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::{patience, Vcpu, Vm};

use crate::check::{ensure, equal, Works};
use crate::guest::{init, new_vcpu, new_vm, BASE, HOLE, HUGE, MADV_COLLAPSE, PAGE, THP};

/// The argument that makes this program run the test, for some seconds, in a variant of that name.
pub(crate) const STRESS: &str = "--stress";

const RAM: usize = 8 << 20;
/// vCPUs that go through the pages: an odd number, so that each has pages of both kinds. There is
/// one more, for the zone of pages that are thrown away.
const VCPUS: u32 = 3;
/// Where things are in the guest's memory.
const TABLE: usize = 0x4000;
const PARAMETERS: usize = 0x1_0000;
const COUNTER: usize = 0x2_0000;
const ZONE: usize = 0x4_0000;
const ZONE_PAGES: usize = 16;
const DATA: usize = HUGE;
/// In [`Variant::Slots`] the data is there, or so much higher.
const WINDOW: u32 = 0x1000_0000;
/// A vCPU that does not make progress in that time never will.
const PATIENCE: u64 = 40;
/// The additional time for events that have to happen and have not happened yet.
const EXTRA: u64 = 240;
/// How many seconds the guest gets to use its first huge page.
const CALM: u64 = 5;
/// Offsets from the hole at which the guest makes its reports.
const REPORT: u64 = 8;

/// Additional work of the host, or work that it leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// All of it, with the host's own settings.
    All,
    /// Transparent huge pages at all places that fit, without a question.
    HugeAlways,
    /// Transparent huge pages where they are asked for.
    HugeMadvise,
    /// No transparent huge pages.
    HugeNever,
    /// The data is in hugetlbfs.
    Hugetlb,
    /// The dirty log goes on and off all the time. A copy of the memory made by it has to be like
    /// the memory.
    Log,
    /// The data's slot moves all the time between two addresses; the guest uses it at either of
    /// them. This program carries out the accesses of the guest to the address where the slot is
    /// not.
    Slots,
}

impl Variant {
    const NAMES: [(&'static str, Self); 7] = [
        ("all", Self::All),
        ("thp-always", Self::HugeAlways),
        ("thp-madvise", Self::HugeMadvise),
        ("thp-never", Self::HugeNever),
        ("hugetlb", Self::Hugetlb),
        ("log", Self::Log),
        ("slots", Self::Slots),
    ];

    fn named(name: &str) -> Result<Self, String> {
        Self::NAMES
            .into_iter()
            .find_map(|(known, variant)| (known == name).then_some(variant))
            .ok_or_else(|| format!("{STRESS}: no variant {name}"))
    }

    /// Makes the host's settings.
    fn prepare(self) -> Result<(), String> {
        let transparent = match self {
            Self::HugeAlways => "always",
            Self::HugeMadvise => "madvise",
            Self::HugeNever => "never",
            _ => return Ok(()),
        };
        fs::write(format!("{THP}/enabled"), transparent).works(THP)?;
        // The daemon that makes pages huge waits for ten seconds otherwise.
        for name in ["scan_sleep_millisecs", "alloc_sleep_millisecs"] {
            fs::write(format!("{THP}/khugepaged/{name}"), "50").works(name)?;
        }
        Ok(())
    }

    /// The events that have to have happened, by their names in `/proc/vmstat`.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::HugeNever | Self::Hugetlb => &["pswpin", "pswpout"],
            _ => &["pswpin", "pswpout", "thp_collapse_alloc", "thp_split_pmd"],
        }
    }
}

#[cfg(target_arch = "arm")]
mod code {
    // r0 points to the parameters: the table, the first page, the distance of pages, the end, the
    // counter of all pages, the hole, and the zone, for the vCPU that writes to nothing else, or 0;
    // last, the distance of the two addresses of the data. Passes use these two in turn.
    core::arch::global_asm!(
        ".pushsection .rodata.stress, \"a\"",
        ".arm",
        ".balign 4",
        ".globl stress_guest",
        ".globl stress_guest_end",
        "stress_guest:",
        "ldr r1, [r0]",
        "orr r1, r1, #0x4a",         // shareable, write-back
        "mcr p15, 0, r1, c2, c0, 0", // TTBR0
        "mov r1, #0",
        "mcr p15, 0, r1, c2, c0, 2", // TTBCR
        "mov r1, #1",
        "mcr p15, 0, r1, c3, c0, 0", // DACR: client of domain 0
        "mcr p15, 0, r1, c8, c7, 0", // TLBIALL
        "dsb",
        "isb",
        "mrc p15, 0, r1, c1, c0, 0", // SCTLR
        "movw r2, #0x1805",          // I, Z, C, M
        "orr r1, r1, r2",
        "mcr p15, 0, r1, c1, c0, 0",
        "isb",
        "ldr r4, [r0, #4]",
        "ldr r5, [r0, #8]",
        "ldr r6, [r0, #12]",
        "mov r7, #0", // the pass
        "ldr r8, [r0, #16]",
        "ldr r9, [r0, #20]",
        "movw r12, #0x79b1",
        "movt r12, #0x9e37",
        "mov lr, #0", // the distance now
        "ldr sp, [r0, #28]",
        "ldr r11, [r0, #24]",
        "cmp r11, #0",
        "bne 8f",
        "1:",
        "add r7, r7, #1",
        "eor lr, lr, sp",
        "mov r10, r4",
        "2:",
        // The old content of the page, r1, and the new content, r2.
        "sub r11, r7, #1",
        "tst r10, #0x1000",
        "bne 3f",
        // Every other page changes with each pass and is like no other.
        "mul r1, r11, r12",
        "cmp r11, #0",
        "addne r1, r1, r10",
        "mul r2, r7, r12",
        "add r2, r2, r10",
        "b 4f",
        "3:",
        // The rest are all alike, and change every eighth pass.
        "lsr r11, r11, #3",
        "mul r1, r11, r12",
        "lsr r11, r7, #3",
        "mul r2, r11, r12",
        "4:",
        "add r0, r10, lr",
        "ldr r3, [r0]",
        "cmp r3, r1",
        "ldreq r3, [r0, #1020]",
        "cmpeq r3, r1",
        "ldreq r3, [r0, #2044]",
        "cmpeq r3, r1",
        "ldreq r3, [r0, #4092]",
        "cmpeq r3, r1",
        "bne 9f",
        "cmp r1, r2",
        "strne r2, [r0]",
        "strne r2, [r0, #1020]",
        "strne r2, [r0, #2044]",
        "strne r2, [r0, #4092]",
        "5:",
        "ldrex r3, [r8]",
        "add r3, r3, #1",
        "strex r11, r3, [r8]",
        "cmp r11, #0",
        "bne 5b",
        "add r10, r10, r5",
        "cmp r10, r6",
        "blo 2b",
        "ldr r3, [r9]",
        "b 1b",
        // Pages that may be lost: each holds one more than it did.
        "8:",
        "mov r5, #4096",
        "6:",
        "mov r2, r11",
        "mov r3, #16",
        "7:",
        "ldr r1, [r2]",
        "add r1, r1, #1",
        "str r1, [r2]",
        "add r2, r2, #4096",
        "subs r3, r3, #1",
        "bne 7b",
        "subs r5, r5, #1",
        "bne 6b",
        "ldr r3, [r9]",
        "b 8b",
        "9:",
        "str r10, [r9, #8]",
        "str r3, [r9, #12]",
        "str r1, [r9, #16]",
        "b .",
        "stress_guest_end:",
        ".popsection",
    );

    extern "C" {
        static stress_guest: u8;
        static stress_guest_end: u8;
    }

    /// The guest's program.
    pub(super) fn program() -> &'static [u8] {
        let (start, end) = (&raw const stress_guest, &raw const stress_guest_end);
        // SAFETY: The bytes between the labels, which nothing writes to.
        unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
    }
}

#[cfg(not(target_arch = "arm"))]
mod code {
    pub(super) fn program() -> &'static [u8] {
        &[]
    }
}

/// The guest's memory, and as many addresses again to move parts of it to.
///
/// Nothing else may be mapped meanwhile, or it could take the place to which a part comes back. So
/// this program has to run with `MALLOC_ARENA_MAX=1`, and no thread has a heap of its own.
struct Ram {
    start: usize,
    away: usize,
}

impl Ram {
    fn new(variant: Variant) -> Result<Self, String> {
        // SAFETY: A new mapping at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * RAM + HUGE + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(format!("mmap: {}", io::Error::last_os_error()));
        }
        let start = (start as usize).next_multiple_of(HUGE);
        if variant == Variant::Hugetlb {
            // As much again for children, and one more.
            let pages = (2 * (RAM - DATA) / HUGE + 1).to_string();
            fs::write(HUGETLB, &pages).works(HUGETLB)?;
            let got = fs::read_to_string(HUGETLB).works(HUGETLB)?;
            equal("huge pages that the host found", got.trim(), &pages)?;
            // SAFETY: In the mapping above, at an address that has nothing yet.
            let data = unsafe {
                libc::mmap(
                    (start + DATA) as *mut _,
                    RAM - DATA,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_FIXED,
                    -1,
                    0,
                )
            };
            if data == libc::MAP_FAILED {
                return Err(format!("MAP_HUGETLB: {}", io::Error::last_os_error()));
            }
        }
        let ram = Self {
            start,
            away: start + RAM,
        };
        if variant == Variant::Hugetlb {
            // So that all blocks that are mapped are of hugetlbfs.
            let pages = ram.advise(0, DATA, libc::MADV_NOHUGEPAGE);
            ensure(pages, "MADV_NOHUGEPAGE")?;
        }
        Ok(ram)
    }

    fn word(&self, offset: usize) -> u32 {
        assert!(offset % 4 == 0 && offset < RAM);
        // SAFETY: Inside the mapping, and not while it is moved away.
        unsafe { ((self.start + offset) as *const u32).read_volatile() }
    }

    fn set_word(&self, offset: usize, value: u32) {
        assert!(offset % 4 == 0 && offset < RAM);
        // SAFETY: As above.
        unsafe { ((self.start + offset) as *mut u32).write_volatile(value) }
    }

    fn advise(&self, offset: usize, size: usize, advice: i32) -> bool {
        // SAFETY: Inside the mapping; contents that are lost are those of the zone alone.
        unsafe { libc::madvise((self.start + offset) as *mut _, size, advice) == 0 }
    }

    fn protect(&self, offset: usize, size: usize, protection: i32) -> Result<(), String> {
        // SAFETY: As above.
        let result = unsafe { libc::mprotect((self.start + offset) as *mut _, size, protection) };
        match result {
            0 => Ok(()),
            _ => Err(format!("mprotect: {}", io::Error::last_os_error())),
        }
    }

    /// Moves a part away, and back.
    fn move_about(&self, offset: usize, size: usize) -> Result<(), String> {
        let moved = |from: usize, to: usize| {
            // SAFETY: Both are inside the mapping, and nobody uses the memory that is replaced.
            let result = unsafe {
                libc::mremap(
                    from as *mut _,
                    size,
                    size,
                    libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                    to as *mut libc::c_void,
                )
            };
            match result {
                libc::MAP_FAILED => Err(format!("mremap: {}", io::Error::last_os_error())),
                _ => Ok(()),
            }
        };
        moved(self.start + offset, self.away + offset)?;
        thread::yield_now();
        moved(self.away + offset, self.start + offset)
    }
}

/// Counts of events.
#[derive(Default)]
struct Counts {
    copies: u32,
    relocations: u32,
    forks: u32,
    moves: u32,
    protections: u32,
    logs: u32,
    dirty: u32,
}

/// Numbers that follow from a seed, which is not zero.
pub(crate) struct Random(pub(crate) u32);

impl Random {
    pub(crate) fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize
    }
}

/// A number from a line `name number` of a file.
fn number(file: &str, name: &str) -> Result<u64, String> {
    let text = fs::read_to_string(file).works(file)?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .ok_or_else(|| format!("{file} says nothing of {name}"))
}

fn vmstat(name: &str) -> Result<u64, String> {
    number("/proc/vmstat", &format!("{name} "))
}

const KSM: &str = "/sys/kernel/mm/ksm";
const HUGETLB: &str = "/proc/sys/vm/nr_hugepages";

fn ksm(name: &str) -> Result<u64, String> {
    number(&format!("{KSM}/{name}"), "")
}

/// A statistic of the VM of this process (Documentation/debugging.md).
fn vm_statistic(name: &str) -> Result<u64, String> {
    const ALL: &str = "/sys/kernel/debug/kvm";
    let prefix = format!("{}-", std::process::id());
    let directory = fs::read_dir(ALL)
        .works(ALL)?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .ok_or_else(|| format!("{ALL} has no VM of this process"))?;
    let file = directory.path().join("stats");
    number(&file.to_string_lossy(), &format!("{name} "))
}

/// The state that the threads share.
struct Shared {
    variant: Variant,
    ram: Ram,
    stop: AtomicBool,
    /// vCPUs wait at the end of a pass, and are counted.
    pause: AtomicBool,
    paused: AtomicU32,
    /// Accesses to where the data's slot was not.
    answered: AtomicU32,
    passes: [AtomicU32; VCPUS as usize + 1],
    faults: AtomicU32,
    /// The most pages that KSM shared at a time.
    shares: AtomicU32,
    discards: AtomicU32,
    /// How often the host was made to age its memory.
    generations: AtomicU32,
    /// The host is not made to age its memory.
    calm: AtomicBool,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The name of an event that should have happened and has not, if there is one; `before` has
    /// the first counts of the variant's events.
    fn missing(&self, counts: &Counts, before: &[u64]) -> Result<Option<&'static str>, String> {
        let (log, slots) = (self.variant == Variant::Log, self.variant == Variant::Slots);
        let blocks = self.variant != Variant::HugeNever;
        let of_program = [
            ("discards", true, self.discards.load(Ordering::Relaxed)),
            ("forks", true, counts.forks),
            ("moves", !slots, counts.moves),
            ("protections", !slots, counts.protections),
            ("dirty pages", true, counts.dirty),
            ("copies by the log", log, counts.copies),
            ("moves of slots", slots, counts.relocations),
            (
                "accesses where the slot was not",
                slots,
                self.answered.load(Ordering::Relaxed),
            ),
            ("blocks", blocks, vm_statistic("blocks_mapped")? as u32),
            (
                "generations",
                true,
                self.generations.load(Ordering::Relaxed),
            ),
            ("pages aged", true, vm_statistic("pages_aged")? as u32),
            (
                "pages used that were aged",
                true,
                vm_statistic("access_flag_faults")? as u32,
            ),
        ];
        for (what, wanted, count) in of_program {
            if wanted && count == 0 {
                return Ok(Some(what));
            }
        }
        for (&event, &before) in self.variant.events().iter().zip(before) {
            if vmstat(event)? == before {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Waits at the end of a vCPU's pass as long as it is told to.
    fn rest(&self) {
        if !self.pause.load(Ordering::SeqCst) {
            return;
        }
        self.paused.fetch_add(1, Ordering::SeqCst);
        while self.pause.load(Ordering::SeqCst) && !self.stopped() {
            thread::sleep(Duration::from_millis(1));
        }
        self.paused.fetch_sub(1, Ordering::SeqCst);
    }

    /// Does something while no vCPU runs; nothing if the test is at its end.
    fn at_rest(&self, what: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let start = Instant::now();
        self.pause.store(true, Ordering::SeqCst);
        let result = loop {
            if self.paused.load(Ordering::SeqCst) == VCPUS + 1 {
                break what();
            }
            if self.stopped() {
                break Ok(());
            }
            if start.elapsed() > patience(PATIENCE) {
                break Err("a vCPU does not come to the end of its pass".into());
            }
            thread::sleep(Duration::from_millis(1));
        };
        self.pause.store(false, Ordering::SeqCst);
        // Whoever still rests would be counted the next time.
        while self.paused.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        result
    }

    /// Carries out an access of the guest to the address where the data's slot is not at the
    /// moment.
    fn answer(&self, vcpu: &Vcpu, mmio: &uapi::Mmio) -> bool {
        let address = mmio.phys_addr.wrapping_sub(BASE.into());
        let offset = (address & !u64::from(WINDOW)) as usize;
        if self.variant != Variant::Slots
            || address > u64::from(WINDOW) + RAM as u64
            || !(DATA..RAM).contains(&offset)
            || offset % 4 != 0
            || mmio.len != 4
        {
            return false;
        }
        if mmio.is_write == 0 {
            let [a, b, c, d] = self.ram.word(offset).to_le_bytes();
            vcpu.run.set_mmio_data([a, b, c, d, 0, 0, 0, 0]);
        } else {
            let [a, b, c, d, ..] = mmio.data;
            self.ram.set_word(offset, u32::from_le_bytes([a, b, c, d]));
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Runs a vCPU until it is told to stop, at the end of a pass.
fn run_vcpu(shared: &Shared, vcpu: &Vcpu, id: usize) -> Result<(), String> {
    let mut since = Instant::now();
    let mut report = [0u32; 3];
    loop {
        if let Err(e) = vcpu.run() {
            // The memory was away, or could not be written to: for a moment.
            if e.raw_os_error() == Some(libc::EFAULT) && since.elapsed() < patience(PATIENCE) {
                let fault = vcpu.run.memory_fault().gpa.wrapping_sub(BASE.into());
                equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MEMORY_FAULT)?;
                ensure(fault < RAM as u64, format!("a fault at {fault:#x}"))?;
                shared.faults.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
                continue;
            }
            return Err(format!("KVM_RUN of vCPU {id}: {e}"));
        }
        since = Instant::now();
        equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
        let mmio = vcpu.run.mmio();
        let at = mmio.phys_addr.wrapping_sub(HOLE.into());
        if at == 0 && mmio.is_write == 0 {
            shared.passes[id].fetch_add(1, Ordering::Relaxed);
            shared.rest();
            if shared.stopped() {
                return Ok(());
            }
        } else if shared.answer(vcpu, &mmio) {
            continue;
        } else if (REPORT..REPORT + 12).contains(&at) {
            let [a, b, c, d, ..] = mmio.data;
            let index = (at - REPORT) as usize / 4;
            report[index] = u32::from_le_bytes([a, b, c, d]);
            if index == 2 {
                let [page, found, expected] = report;
                return Err(format!(
                    "vCPU {id} found {found:#x} instead of {expected:#x} in the page at {page:#x}"
                ));
            }
        } else {
            return Err(format!("vCPU {id} accessed {:#x}", mmio.phys_addr));
        }
    }
}

/// Has this thread and its later ones not be told of children's ends.
///
/// A signal that nobody handles is dropped, except while the thread that it would go to blocks it,
/// as `fork` does at its end: then a thread that does not block it, that of a vCPU, is interrupted.
fn ignore_children() -> Result<(), String> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: A set of our own, which is made before it is used.
    let result = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut())
    };
    equal("pthread_sigmask", result, 0)
}

/// A child of this process keeps its memory as it was at the fork, for all writes of the guest.
fn fork(ram: &Ram, offset: usize, size: usize) -> Result<(), String> {
    // SAFETY: The child looks at memory, sleeps, and ends, all without locks or allocations.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let sum = || {
            (offset..offset + size)
                .step_by(PAGE)
                .fold(0u32, |sum, at| sum.rotate_left(1) ^ ram.word(at))
        };
        let before = sum();
        let mut same = true;
        for _ in 0..5 {
            // SAFETY: Sleeps.
            unsafe { libc::usleep(2000) };
            same &= sum() == before;
        }
        // SAFETY: Ends the child.
        unsafe { libc::_exit(i32::from(!same)) };
    }
    ensure(child > 0, "fork failed")?;
    let mut status = 0;
    // SAFETY: Waits for our child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    equal("status of a child that looked at its memory", status, 0)
}

/// Throws a page of the zone away, and finds the guest's next writes in the new page. So no page of
/// another owner gets them: `scratch` is likely to be at the old page's place.
fn discard(shared: &Shared, scratch: &Scratch, page: usize) -> Result<(), String> {
    const MARK: u32 = 0x5afe_0000;
    let offset = ZONE + page * PAGE;
    scratch.discard()?;
    ensure(
        shared.ram.advise(offset, PAGE, libc::MADV_DONTNEED),
        "MADV_DONTNEED",
    )?;
    scratch.set(MARK);
    let at_first = shared.ram.word(offset);
    let start = Instant::now();
    loop {
        equal("a page that is not the guest's", scratch.get(), MARK)?;
        if shared.ram.word(offset) != at_first || shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        ensure(
            start.elapsed() < patience(PATIENCE),
            "the guest writes to a page that was taken away",
        )?;
        thread::yield_now();
    }
}

/// The generations of the host's memory (Documentation/admin-guide/mm/multigen_lru.rst).
const GENERATIONS: &str = "/sys/kernel/debug/lru_gen";

/// Makes the host reclaim some of the oldest memory of each memory cgroup. It ages the memory that
/// it meets, and leaves memory alone that was used since the last time.
///
/// MADV_COLD and MADV_PAGEOUT do neither: they call no notifier for a page's age, and ask nobody.
fn age() -> Result<(), String> {
    /// As many are left to the memory that is in use (`MIN_NR_GENS`).
    const LEFT: u64 = 2;
    /// How much is taken at a time, so that the guest gets on.
    const PAGES: u32 = 32;
    let text = fs::read_to_string(GENERATIONS).works(GENERATIONS)?;
    let (mut group, mut node) = ("", "");
    let mut newest = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("memcg"), Some(id)) => group = id,
            (Some("node"), Some(id)) => node = id,
            (Some(number), _) => {
                let number: u64 = number.parse().map_err(|e| format!("{line}: {e}"))?;
                newest.insert((group, node), number);
            }
            _ => {}
        }
    }
    for ((group, node), newest) in newest {
        // Somebody else can have made one meanwhile, or the group be gone.
        let _ = fs::write(GENERATIONS, format!("+ {group} {node} {newest} 200 1"));
        let oldest = (newest + 1).saturating_sub(LEFT);
        let _ = fs::write(
            GENERATIONS,
            format!("- {group} {node} {oldest} 200 {PAGES}"),
        );
    }
    Ok(())
}

/// A page of memory.
struct Scratch(*mut u32);

// SAFETY: It is accessed volatilely, and by one thread.
unsafe impl Send for Scratch {}

impl Scratch {
    fn new(ram: &Ram) -> Self {
        // Behind where parts of the memory are moved to.
        Self((ram.away + RAM) as *mut u32)
    }

    fn discard(&self) -> Result<(), String> {
        // SAFETY: Our own page.
        let result = unsafe { libc::madvise(self.0.cast(), PAGE, libc::MADV_DONTNEED) };
        ensure(result == 0, "MADV_DONTNEED")
    }

    fn set(&self, value: u32) {
        // SAFETY: Our own page.
        unsafe { self.0.write_volatile(value) }
    }

    fn get(&self) -> u32 {
        // SAFETY: Our own page.
        unsafe { self.0.read_volatile() }
    }
}

/// Copies the running guest's memory by its log, as a migration does. The copy has to equal the
/// memory, except for pages of the zone that are lost without a note in the log.
fn copy_by_log(shared: &Shared, vm: &Vm, region: &UserspaceMemoryRegion) -> Result<u32, String> {
    let ram = &shared.ram;
    let log = |flags| {
        vm.set_user_memory_region(&UserspaceMemoryRegion { flags, ..*region })
            .works("the log")
    };
    let page = |page: usize| (0..PAGE / 4).map(move |word| ram.word(page * PAGE + word * 4));
    let mut dirty = 0;
    let mut bitmap = vec![0u32; RAM / PAGE / 32];
    log(uapi::MEM_LOG_DIRTY_PAGES)?;
    let mut copy: Vec<Vec<u32>> = (0..RAM / PAGE).map(|n| page(n).collect()).collect();
    let mut copy_dirty = |copy: &mut Vec<Vec<u32>>| {
        vm.get_dirty_log(region.slot, &mut bitmap)
            .works("KVM_GET_DIRTY_LOG")?;
        for (n, copied) in copy.iter_mut().enumerate() {
            if (bitmap[n / 32] >> (n % 32)) & 1 == 1 {
                dirty += 1;
                copied.clear();
                copied.extend(page(n));
            }
        }
        Ok::<_, String>(())
    };
    for _ in 0..2 {
        copy_dirty(&mut copy)?;
    }
    shared.at_rest(|| {
        copy_dirty(&mut copy)?;
        for (n, copied) in copy.iter().enumerate() {
            if !(ZONE / PAGE..ZONE / PAGE + ZONE_PAGES).contains(&n)
                && !page(n).eq(copied.iter().copied())
            {
                return Err(format!("page {n} changed and the log did not say so"));
            }
        }
        Ok(())
    })?;
    log(0)?;
    // Short logs, too.
    for flags in [uapi::MEM_LOG_DIRTY_PAGES, 0, uapi::MEM_LOG_DIRTY_PAGES, 0] {
        log(flags)?;
        thread::yield_now();
    }
    Ok(dirty)
}

/// Moves the data's slot to its other address: at once, or by making it anew there.
fn relocate(vm: &Vm, region: &mut UserspaceMemoryRegion, at_once: bool) -> Result<(), String> {
    if !at_once {
        vm.set_user_memory_region(&UserspaceMemoryRegion {
            memory_size: 0,
            ..*region
        })
        .works("the slot's end")?;
        thread::yield_now();
    }
    region.guest_phys_addr ^= u64::from(WINDOW);
    vm.set_user_memory_region(region)
        .works("the slot elsewhere")
}

/// Has the host make the 2 MiB at `offset` a huge page. If the guest has not had one yet, all else
/// leaves it alone until the guest has used it, or for a while: a busy host comes to no huge page,
/// or takes it apart before the guest comes there.
fn collapse(shared: &Shared, region: &UserspaceMemoryRegion, offset: usize) -> Result<(), String> {
    let start = Instant::now();
    let is_first = || -> Result<bool, String> {
        // While writes are logged, there are no blocks.
        Ok(region.flags == 0 && vm_statistic("blocks_mapped")? == 0)
    };
    let first = is_first()?;
    shared.calm.store(first, Ordering::Relaxed);
    loop {
        // Quick if it is one already.
        shared.ram.advise(offset, HUGE, MADV_COLLAPSE);
        if !first || !is_first()? || shared.stopped() || start.elapsed() > patience(CALM) {
            break;
        }
        thread::yield_now();
    }
    shared.calm.store(false, Ordering::Relaxed);
    Ok(())
}

fn torment(
    shared: &Shared,
    vm: &Vm,
    mut region: UserspaceMemoryRegion,
    end: Instant,
    before: &[u64],
    random: &mut Random,
) -> Result<Counts, String> {
    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    let variant = shared.variant;
    let ram = &shared.ram;
    let mut counts = Counts::default();
    let mut bitmap = vec![0u32; RAM / PAGE / 32];
    // A slow host gets more time for events that have not happened yet.
    while Instant::now() < end
        || (Instant::now() < end + patience(EXTRA) && shared.missing(&counts, before)?.is_some())
    {
        if shared.stopped() {
            break;
        }
        let pages = 1 + random.next() % 512;
        let mut size = pages * PAGE;
        let mut offset = random.next() % (RAM / PAGE - pages) * PAGE;
        let huge = random.next() % (RAM / HUGE) * HUGE;
        if variant == Variant::Hugetlb && offset + size > DATA {
            // Of its mapping one cannot treat but whole pages.
            (offset, size) = (DATA + offset % (RAM - DATA) / HUGE * HUGE, HUGE);
        }
        // The work of the variant, as often as all other work permits.
        match (variant, random.next() % 16) {
            (Variant::Log, 0) => {
                counts.dirty += copy_by_log(shared, vm, &region)?;
                counts.copies += 1;
                counts.logs += 3;
                region.flags = 0;
            }
            (Variant::Slots, way @ 0..8) => {
                relocate(vm, &mut region, way < 4)?;
                counts.relocations += 1;
            }
            _ => {}
        }
        match random.next() % 16 {
            0..=3 => drop(ram.advise(offset, size, libc::MADV_PAGEOUT)),
            // The first to be taken then.
            4 => drop(ram.advise(offset, size, libc::MADV_COLD)),
            // Otherwise the host's setting says where there are huge pages.
            5..=8 if variant == Variant::HugeAlways => {}
            // Memory that is not of hugetlbfs stays pages.
            5..=8 if variant == Variant::Hugetlb => {}
            5 => drop(ram.advise(huge, HUGE, libc::MADV_HUGEPAGE)),
            6 => drop(ram.advise(huge, HUGE, libc::MADV_NOHUGEPAGE)),
            7 | 8 => {
                ram.advise(huge, HUGE, libc::MADV_HUGEPAGE);
                // This happens for each value of the setting.
                if variant != Variant::HugeNever {
                    collapse(shared, &region, huge)?;
                }
            }
            // Accesses that this program carries out for the guest need the data at its place.
            9 | 10 if variant == Variant::Slots => {}
            9 => {
                ram.protect(offset, size, libc::PROT_READ)?;
                thread::yield_now();
                ram.protect(offset, size, READ_WRITE)?;
                counts.protections += 1;
            }
            10 => {
                // All that holds the guest's own program and table would stop it.
                let offset = offset.max(DATA).min(RAM - size);
                if variant == Variant::Hugetlb && size != HUGE {
                    continue;
                }
                ram.move_about(offset, size)?;
                counts.moves += 1;
            }
            11 => {
                fork(ram, offset, size)?;
                counts.forks += 1;
            }
            12 => {
                region.flags ^= uapi::MEM_LOG_DIRTY_PAGES;
                vm.set_user_memory_region(&region).works("the log")?;
                counts.logs += 1;
            }
            13 | 14 if region.flags != 0 => {
                vm.get_dirty_log(region.slot, &mut bitmap)
                    .works("KVM_GET_DIRTY_LOG")?;
                counts.dirty += bitmap.iter().map(|word| word.count_ones()).sum::<u32>();
            }
            _ => drop(ram.advise(offset, size, libc::MADV_MERGEABLE)),
        }
    }
    Ok(counts)
}

fn stress(seconds: u64, variant: Variant) -> Result<(), String> {
    let arenas = std::env::var("MALLOC_ARENA_MAX");
    ensure(arenas.is_ok_and(|n| n == "1"), "wants MALLOC_ARENA_MAX=1")?;
    ignore_children()?;
    variant.prepare()?;
    let (kvm, vm) = new_vm()?;
    let ram = Ram::new(variant)?;
    for (index, byte) in code::program().chunks_exact(4).enumerate() {
        ram.set_word(
            index * 4,
            u32::from_le_bytes([byte[0], byte[1], byte[2], byte[3]]),
        );
    }
    // Sections of the guest's memory, shareable and write-back; all else is strongly ordered.
    for section in 0..4096u32 {
        let address = section << 20;
        let is_ram = (BASE..BASE + RAM as u32).contains(&(address & !WINDOW));
        let attributes = if is_ram { 0x1_1c0e } else { 0x0c02 };
        ram.set_word(TABLE + section as usize * 4, address | attributes);
    }
    let slot = |slot, part: Range<usize>| {
        let region = UserspaceMemoryRegion {
            slot,
            flags: 0,
            guest_phys_addr: u64::from(BASE) + part.start as u64,
            memory_size: part.len() as u64,
            userspace_addr: (ram.start + part.start) as u64,
        };
        vm.set_user_memory_region(&region).works("a slot")?;
        Ok::<_, String>(region)
    };
    let (region, window) = if variant == Variant::Slots {
        slot(0, 0..DATA)?;
        (slot(1, DATA..RAM)?, WINDOW)
    } else {
        (slot(0, 0..RAM)?, 0)
    };
    let shared = Shared {
        variant,
        ram,
        pause: AtomicBool::new(false),
        paused: AtomicU32::new(0),
        answered: AtomicU32::new(0),
        stop: AtomicBool::new(false),
        passes: Default::default(),
        faults: AtomicU32::new(0),
        shares: AtomicU32::new(0),
        discards: AtomicU32::new(0),
        generations: AtomicU32::new(0),
        calm: AtomicBool::new(false),
    };
    let mut vcpus = Vec::new();
    for id in 0..=VCPUS {
        let vcpu = new_vcpu(&kvm, &vm, id)?;
        init(&vm, &vcpu)?;
        let parameters = PARAMETERS + id as usize * PAGE;
        let zone = if id == VCPUS { BASE + ZONE as u32 } else { 0 };
        for (index, value) in [
            BASE + TABLE as u32,
            BASE + (DATA + id as usize * PAGE) as u32,
            VCPUS * PAGE as u32,
            BASE + RAM as u32,
            BASE + COUNTER as u32,
            HOLE,
            zone,
            window,
        ]
        .into_iter()
        .enumerate()
        {
            shared.ram.set_word(parameters + index * 4, value);
        }
        for (word, value) in [(uapi::CORE_PC, BASE), (0, BASE + parameters as u32)] {
            vcpu.set_reg(uapi::core_reg(word), value)
                .works("KVM_SET_ONE_REG")?;
        }
        vcpus.push(vcpu);
    }
    fs::write(format!("{KSM}/pages_to_scan"), "1500").works(KSM)?;
    fs::write(format!("{KSM}/sleep_millisecs"), "20").works(KSM)?;
    fs::write(format!("{KSM}/run"), "1").works(KSM)?;
    shared.ram.advise(0, RAM, libc::MADV_MERGEABLE);

    let events = variant.events().iter();
    let before = events
        .map(|event| vmstat(event))
        .collect::<Result<Vec<u64>, _>>()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let counts = thread::scope(|scope| {
        let shared = &shared;
        let runners: Vec<_> = vcpus
            .iter()
            .enumerate()
            .map(|(id, vcpu)| {
                scope.spawn(move || {
                    let result = run_vcpu(shared, vcpu, id);
                    if result.is_err() {
                        shared.stop.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        let scratch = Scratch::new(&shared.ram);
        let watcher = scope.spawn(move || {
            let mut random = Random(0x9e37_79b9);
            while !shared.stopped() {
                let shares = ksm("pages_sharing")? as u32;
                shared.shares.fetch_max(shares, Ordering::Relaxed);
                discard(shared, &scratch, random.next() % ZONE_PAGES)
                    .inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
                shared.discards.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        });
        let ager = scope.spawn(move || {
            while !shared.stopped() {
                if shared.calm.load(Ordering::Relaxed) {
                    thread::yield_now();
                    continue;
                }
                age().inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
                shared.generations.fetch_add(1, Ordering::Relaxed);
                // The guest has to make progress, too.
                thread::sleep(Duration::from_millis(50));
            }
            Ok::<_, String>(())
        });
        let tormented = torment(shared, &vm, region, end, &before, &mut Random(0x2545_f491));
        // KSM wants pages to stay the same for a while.
        let start = Instant::now();
        while shared.shares.load(Ordering::Relaxed) == 0
            && !shared.stopped()
            && start.elapsed() < patience(PATIENCE)
        {
            thread::sleep(Duration::from_millis(20));
        }
        shared.stop.store(true, Ordering::Relaxed);
        for runner in runners {
            runner.join().map_err(|_| "a vCPU's thread panicked")??;
        }
        watcher.join().map_err(|_| "a thread panicked")??;
        ager.join().map_err(|_| "a thread panicked")??;
        tormented
    })?;
    fs::write(format!("{KSM}/run"), "2").works(KSM)?;

    let pages = ((RAM - DATA) / PAGE) as u32;
    let passes: Vec<u32> = shared
        .passes
        .iter()
        .map(|passes| passes.load(Ordering::Relaxed))
        .collect();
    println!("passes of the vCPUs: {passes:?}");
    println!(
        "faults on what was away: {}",
        shared.faults.load(Ordering::Relaxed)
    );
    let Counts {
        copies,
        relocations,
        forks,
        moves,
        protections,
        logs,
        dirty,
    } = counts;
    println!("forks: {forks}\nmoves: {moves}\nprotections: {protections}");
    println!("logs: {logs}\ndirty pages: {dirty}\ncopies: {copies}");
    for (name, count) in [
        ("discards", &shared.discards),
        ("KSM shares", &shared.shares),
        ("generations", &shared.generations),
        ("accesses where the slot was not", &shared.answered),
    ] {
        println!("{name}: {}", count.load(Ordering::Relaxed));
    }
    println!("slots moved: {relocations}");
    for (event, before) in variant.events().iter().zip(&before) {
        println!("{event}: {}", vmstat(event)? - before);
    }
    let blocks = vm_statistic("blocks_mapped")?;
    println!("blocks: {blocks}");
    println!("pages aged: {}", vm_statistic("pages_aged")?);
    let used = vm_statistic("access_flag_faults")?;
    println!("pages used that were aged: {used}");
    if let Some(what) = shared.missing(&counts, &before)? {
        return Err(format!("there were no {what}"));
    }
    ensure(
        shared.shares.load(Ordering::Relaxed) > 0,
        "KSM shared nothing",
    )?;
    ensure(
        blocks == 0 || variant != Variant::HugeNever,
        "blocks were mapped of memory that is not huge",
    )?;
    // The pages of all vCPUs together, each counted once.
    let counted: u32 = (0..VCPUS)
        .zip(&passes)
        .map(|(id, passes)| passes * (pages - id).div_ceil(VCPUS))
        .sum();
    equal("pages counted", shared.ram.word(COUNTER), counted)
}

/// Runs the test.
pub(crate) fn main(seconds: &str, variant: Option<&str>) -> ExitCode {
    let result = seconds
        .parse()
        .map_err(|e| format!("{STRESS} {seconds}: {e}"))
        .and_then(|seconds| stress(seconds, Variant::named(variant.unwrap_or("all"))?));
    match result {
        Ok(()) => {
            println!("memory as it should be");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}
