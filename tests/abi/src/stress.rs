// SPDX-License-Identifier: GPL-2.0

//! A guest that checks its memory while the host does to it all that it can.
//!
//! Each vCPU goes through its pages again and again, and finds in each what it wrote there the
//! time before, or reports it. Meanwhile this process swaps its memory out, ages it, merges it,
//! makes and breaks huge pages, write-protects it, moves it away and back, forks, logs what is
//! dirty, and throws pages away whose loss the guest expects. What happened is counted, and not
//! to have happened is a failure, too.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::Vcpu;

use crate::check::{ensure, equal, Works};
use crate::guest::{init, new_vcpu, new_vm, BASE, HOLE, PAGE};

/// The argument by which this program runs the test, for some seconds.
pub(crate) const STRESS: &str = "--stress";

const HUGE: usize = 2 << 20;
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
/// What a vCPU does not get in that time it never will.
const PATIENCE: Duration = Duration::from_secs(40);
/// Offsets from the hole at which the guest reports what it found.
const REPORT: u64 = 8;

#[cfg(target_arch = "arm")]
mod code {
    // r0 points to the parameters: the table, the first page, the distance of pages, the end, the
    // counter of all pages, the hole, and the zone, for the vCPU that writes to nothing else, or 0.
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
        "ldr r11, [r0, #24]",
        "cmp r11, #0",
        "bne 8f",
        "1:",
        "add r7, r7, #1",
        "mov r10, r4",
        "2:",
        // What the page holds, r1, and what it is to hold, r2.
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
        "ldr r3, [r10]",
        "cmp r3, r1",
        "ldreq r3, [r10, #1020]",
        "cmpeq r3, r1",
        "ldreq r3, [r10, #2044]",
        "cmpeq r3, r1",
        "ldreq r3, [r10, #4092]",
        "cmpeq r3, r1",
        "bne 9f",
        "cmp r1, r2",
        "strne r2, [r10]",
        "strne r2, [r10, #1020]",
        "strne r2, [r10, #2044]",
        "strne r2, [r10, #4092]",
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
/// Nothing else may be mapped meanwhile, or it could be where a part is to come back to: this
/// program has to run with `MALLOC_ARENA_MAX=1`, so that no thread has a heap of its own.
struct Ram {
    start: usize,
    away: usize,
}

impl Ram {
    fn new() -> Result<Self, String> {
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
        Ok(Self {
            start,
            away: start + RAM,
        })
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
            // SAFETY: Both are inside the mapping, and nothing of what is replaced is in use.
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

/// Counts of what was done.
#[derive(Default)]
struct Counts {
    forks: u32,
    moves: u32,
    protections: u32,
    logs: u32,
    dirty: u32,
}

struct Random(u32);

impl Random {
    fn next(&mut self) -> usize {
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

fn ksm(name: &str) -> Result<u64, String> {
    number(&format!("{KSM}/{name}"), "")
}

/// What the threads share.
struct Shared {
    ram: Ram,
    stop: AtomicBool,
    passes: [AtomicU32; VCPUS as usize + 1],
    faults: AtomicU32,
    /// The most pages that KSM shared at a time.
    shares: AtomicU32,
}

/// Runs a vCPU until it is told to stop, at the end of a pass.
fn run_vcpu(shared: &Shared, vcpu: &Vcpu, id: usize) -> Result<(), String> {
    let mut since = Instant::now();
    let mut report = [0u32; 3];
    loop {
        if let Err(e) = vcpu.run() {
            // The memory was away, or could not be written to: for a moment.
            if e.raw_os_error() == Some(libc::EFAULT) && since.elapsed() < PATIENCE {
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
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
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

/// A child of this process keeps what it had when it was forked, whatever the guest writes.
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

/// Throws a page of the zone away, and sees the guest's next writes to it in the new one. Then
/// nobody else's page gets them: `scratch` is one that is likely to be where the old one was.
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
            start.elapsed() < PATIENCE,
            "the guest writes to a page that was taken away",
        )?;
        thread::yield_now();
    }
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

fn torment(
    shared: &Shared,
    vm: &kvm::Vm,
    region: &UserspaceMemoryRegion,
    end: Instant,
    random: &mut Random,
) -> Result<Counts, String> {
    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    /// `MADV_COLLAPSE`, which libc does not have.
    const MADV_COLLAPSE: i32 = 25;
    let ram = &shared.ram;
    let mut counts = Counts::default();
    let mut logging = false;
    let mut bitmap = vec![0u32; RAM / PAGE / 32];
    while Instant::now() < end && !shared.stop.load(Ordering::Relaxed) {
        let pages = 1 + random.next() % 512;
        let size = pages * PAGE;
        let offset = random.next() % (RAM / PAGE - pages) * PAGE;
        let huge = random.next() % (RAM / HUGE) * HUGE;
        match random.next() % 16 {
            0..=3 => drop(ram.advise(offset, size, libc::MADV_PAGEOUT)),
            4 => drop(ram.advise(offset, size, libc::MADV_COLD)),
            5 => drop(ram.advise(huge, HUGE, libc::MADV_HUGEPAGE)),
            6 => drop(ram.advise(huge, HUGE, libc::MADV_NOHUGEPAGE)),
            7 | 8 => {
                ram.advise(huge, HUGE, libc::MADV_HUGEPAGE);
                ram.advise(huge, HUGE, MADV_COLLAPSE);
            }
            9 => {
                ram.protect(offset, size, libc::PROT_READ)?;
                thread::yield_now();
                ram.protect(offset, size, READ_WRITE)?;
                counts.protections += 1;
            }
            10 => {
                // All that holds the guest's own program and table would stop it.
                let offset = offset.max(DATA).min(RAM - size);
                ram.move_about(offset, size)?;
                counts.moves += 1;
            }
            11 => {
                fork(ram, offset, size)?;
                counts.forks += 1;
            }
            12 => {
                logging = !logging;
                let mut region = *region;
                region.flags = if logging {
                    uapi::MEM_LOG_DIRTY_PAGES
                } else {
                    0
                };
                vm.set_user_memory_region(&region).works("the log")?;
                counts.logs += 1;
            }
            13 | 14 if logging => {
                vm.get_dirty_log(region.slot, &mut bitmap)
                    .works("KVM_GET_DIRTY_LOG")?;
                counts.dirty += bitmap.iter().map(|word| word.count_ones()).sum::<u32>();
            }
            _ => drop(ram.advise(offset, size, libc::MADV_MERGEABLE)),
        }
    }
    Ok(counts)
}

fn stress(seconds: u64) -> Result<(), String> {
    let arenas = std::env::var("MALLOC_ARENA_MAX");
    ensure(arenas.is_ok_and(|n| n == "1"), "wants MALLOC_ARENA_MAX=1")?;
    ignore_children()?;
    let (kvm, vm) = new_vm()?;
    let ram = Ram::new()?;
    for (index, byte) in code::program().chunks_exact(4).enumerate() {
        ram.set_word(
            index * 4,
            u32::from_le_bytes([byte[0], byte[1], byte[2], byte[3]]),
        );
    }
    // Sections of the guest's memory, shareable and write-back; all else is strongly ordered.
    for section in 0..4096u32 {
        let address = section << 20;
        let is_ram = (BASE..BASE + RAM as u32).contains(&address);
        let attributes = if is_ram { 0x1_1c0e } else { 0x0c02 };
        ram.set_word(TABLE + section as usize * 4, address | attributes);
    }
    let region = UserspaceMemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: BASE.into(),
        memory_size: RAM as u64,
        userspace_addr: ram.start as u64,
    };
    vm.set_user_memory_region(&region).works("the slot")?;
    let shared = Shared {
        ram,
        stop: AtomicBool::new(false),
        passes: Default::default(),
        faults: AtomicU32::new(0),
        shares: AtomicU32::new(0),
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

    let names = ["pswpin", "pswpout", "thp_collapse_alloc", "thp_split_pmd"];
    let before = names.map(vmstat);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut discards = 0;
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
            let mut discards = 0;
            while !shared.stop.load(Ordering::Relaxed) {
                let shares = ksm("pages_sharing")? as u32;
                shared.shares.fetch_max(shares, Ordering::Relaxed);
                discard(shared, &scratch, random.next() % ZONE_PAGES)
                    .inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
                discards += 1;
            }
            Ok::<_, String>(discards)
        });
        let tormented = torment(shared, &vm, &region, end, &mut Random(0x2545_f491));
        // KSM wants pages to stay the same for a while.
        let start = Instant::now();
        while shared.shares.load(Ordering::Relaxed) == 0
            && !shared.stop.load(Ordering::Relaxed)
            && start.elapsed() < PATIENCE
        {
            thread::sleep(Duration::from_millis(20));
        }
        shared.stop.store(true, Ordering::Relaxed);
        for runner in runners {
            runner.join().map_err(|_| "a vCPU's thread panicked")??;
        }
        discards = watcher.join().map_err(|_| "a thread panicked")??;
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
        forks,
        moves,
        protections,
        logs,
        dirty,
    } = counts;
    println!("forks: {forks}\nmoves: {moves}\nprotections: {protections}");
    println!("discards: {discards}\nlogs: {logs}\ndirty pages: {dirty}");
    let shares = shared.shares.load(Ordering::Relaxed);
    println!("KSM shares: {shares}");
    ensure(shares > 0, "KSM shared nothing")?;
    for (name, before) in names.into_iter().zip(before) {
        let happened = vmstat(name)? - before?;
        println!("{name}: {happened}");
        ensure(happened > 0, format!("there was no {name}"))?;
    }
    for (what, count) in [
        ("forks", forks),
        ("moves", moves),
        ("protections", protections),
        ("discards", discards),
        ("dirty pages", dirty),
    ] {
        ensure(count > 0, format!("there were no {what}"))?;
    }
    // What all vCPUs counted together, each page once.
    let counted: u32 = (0..VCPUS)
        .zip(&passes)
        .map(|(id, passes)| passes * (pages - id).div_ceil(VCPUS))
        .sum();
    equal("pages counted", shared.ram.word(COUNTER), counted)
}

/// Runs the test.
pub(crate) fn main(seconds: &str) -> ExitCode {
    let result = seconds
        .parse()
        .map_err(|e| format!("{STRESS} {seconds}: {e}"))
        .and_then(stress);
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
