// SPDX-License-Identifier: GPL-2.0

//! A guest that writes all ones to whatever coprocessors 14 and 15 may have.
//!
//! Each encoding of MCR, MCRR and LDC is tried at PL1, and once more in user mode. A VM goes through
//! those that are undefined, and calls the host after each; with the first that is not its life ends.
//! Then this process looks at itself and at its kernel, and a second guest on the same CPU looks at
//! all the registers that it can read: nobody may find anything changed.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvm::{uapi, Kvm, Vcpu, Vm};

use crate::check::{ensure, equal, Outcome, Works};
use crate::guest::code::{load, str, LOOP};
use crate::guest::{init, new_vcpu, new_vm, slot, Memory, HOLE};

/// The argument by which this program does all that.
pub(crate) const COPROCESSORS: &str = "--coprocessors";

/// How long a guest may take for a few instructions. A write that it does not survive makes it run for
/// ever.
const SHORT: Duration = Duration::from_millis(20);
/// The same if it has to survive.
const LONG: Duration = Duration::from_secs(20);

/// An instruction that moves between a coprocessor and registers, or memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// MCR or MRC.
    Single {
        coprocessor: u32,
        opc1: u32,
        crn: u32,
        crm: u32,
        opc2: u32,
    },
    /// MCRR or MRRC.
    Double {
        coprocessor: u32,
        opc1: u32,
        crm: u32,
    },
    /// LDC.
    Memory { coprocessor: u32, crd: u32 },
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Single {
                coprocessor,
                opc1,
                crn,
                crm,
                opc2,
            } => write!(f, "p{coprocessor}, {opc1}, c{crn}, c{crm}, {opc2}"),
            Self::Double {
                coprocessor,
                opc1,
                crm,
            } => write!(f, "p{coprocessor}, {opc1}, c{crm}"),
            Self::Memory { coprocessor, crd } => write!(f, "p{coprocessor}, c{crd} by LDC"),
        }
    }
}

impl Encoding {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for coprocessor in [14, 15] {
            // All of MCR: opc1, CRn, CRm, opc2.
            for n in 0..8 * 16 * 16 * 8 {
                all.push(Self::Single {
                    coprocessor,
                    crn: n >> 10,
                    opc1: (n >> 7) & 7,
                    crm: (n >> 3) & 15,
                    opc2: n & 7,
                });
            }
            for n in 0..16 * 16 {
                let (opc1, crm) = (n >> 4, n & 15);
                all.push(Self::Double {
                    coprocessor,
                    opc1,
                    crm,
                });
            }
            all.extend((0..16).map(|crd| Self::Memory { coprocessor, crd }));
        }
        all
    }

    /// The instruction that writes R1, or R1 and R2, or the word that R3 points to.
    fn store(self) -> u32 {
        match self {
            Self::Single {
                coprocessor,
                opc1,
                crn,
                crm,
                opc2,
            } => 0xee00_1010 | (opc1 << 21) | (crn << 16) | (coprocessor << 8) | (opc2 << 5) | crm,
            Self::Double {
                coprocessor,
                opc1,
                crm,
            } => 0xec42_1000 | (coprocessor << 8) | (opc1 << 4) | crm,
            Self::Memory { coprocessor, crd } => 0xed93_0000 | (crd << 12) | (coprocessor << 8),
        }
    }

    /// The instruction that reads into R1, or R1 and R2. There is none that reads into memory here.
    fn fetch(self) -> Option<u32> {
        match self {
            Self::Single { .. } | Self::Double { .. } => Some(self.store() | (1 << 20)),
            Self::Memory { .. } => None,
        }
    }

    /// Whether a read gives something else each time: counters, and how far timers are.
    fn changes(self) -> bool {
        matches!(
            self,
            Self::Single {
                coprocessor: 15,
                opc1: 0,
                crn: 14,
                crm: 2 | 3,
                opc2: 0,
            } | Self::Double {
                coprocessor: 15,
                opc1: 0 | 1,
                crm: 14,
            }
        )
    }
}

/// How an instruction ended that was not undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was carried out.
    Done = 1,
    /// It ended in another exception.
    Exception = 2,
    /// The guest went astray.
    Never = 3,
}

/// The value that a guest reports behind the last instruction of its list.
const END_OF_LIST: u32 = 4;

/// Where things are in a guest's memory, which begins at 0 with its vectors.
mod place {
    pub(super) const UNDEFINED: u32 = 0x20;
    pub(super) const EXCEPTION: u32 = 0x40;
    pub(super) const REPORT: u32 = 0x48;
    pub(super) const START: u32 = 0x60;
    pub(super) const START_IN_USER_MODE: u32 = START - 4;
    pub(super) const DONE: u32 = 0x80;
    pub(super) const ONES: u32 = 0xf00;
    pub(super) const LIST: u32 = 0x1000;
}

/// Instructions that every guest here has.
mod code {
    use super::End;

    pub(super) const DSB: u32 = 0xf57f_f04f;
    pub(super) const ISB: u32 = 0xf57f_f06f;
    pub(super) const SMC: u32 = 0xe160_0070;
    /// `cps #USR`.
    pub(super) const USER_MODE: u32 = 0xf102_0010;
    /// `mvn r1, #0` and `mvn r2, #0`.
    pub(super) const ALL_ONES: [u32; 2] = [0xe3e0_1000, 0xe3e0_2000];
    /// `bx r0`.
    pub(super) const GO: u32 = 0xe12f_ff10;
    /// `add r4, r4, #1`.
    pub(super) const COUNT: u32 = 0xe284_4001;
    /// `add lr, lr, #4; movs pc, lr`: back from an undefined instruction, behind the one after it.
    pub(super) const SKIP: [u32; 2] = [0xe28e_e004, 0xe1b0_f00e];

    /// `b`, from one address to another.
    pub(super) fn branch(from: u32, to: u32) -> u32 {
        0xea00_0000 | ((to.wrapping_sub(from + 8) >> 2) & 0xff_ffff)
    }

    /// `mov r5, #value`.
    pub(super) fn report(value: u32) -> u32 {
        0xe3a0_5000 | value
    }

    pub(super) fn end(end: End) -> u32 {
        report(end as u32)
    }
}

/// A guest's memory with a program that goes through a list of instructions. It counts them in R4.
/// After one that is undefined it calls the host, by SMC, and tries the next; any other it reports.
struct List {
    memory: Memory,
    size: usize,
    len: usize,
}

impl List {
    /// For each instruction: it is counted, tried, and done.
    const BYTES_EACH: u32 = 12;

    fn new(instructions: &[u32]) -> Result<Self, String> {
        let len = instructions.len();
        let list = place::LIST + Self::BYTES_EACH * len as u32;
        let size = (list as usize + 8).next_multiple_of(0x1000);
        let memory = Memory::new(size)?;
        let write = |address: u32, words: &[u32]| memory.write_words(address as usize, words);
        for vector in (0..0x20).step_by(4) {
            let handler = match vector {
                4 => place::UNDEFINED,
                _ => place::EXCEPTION,
            };
            write(vector, &[code::branch(vector, handler)]);
        }
        let [hole_low, hole_high] = load(6, HOLE);
        let [ones_low, ones_high] = load(3, place::ONES);
        let [version_low, version_high] = load(0, PSCI_VERSION);
        let [one, other] = code::ALL_ONES;
        let [skip, back] = code::SKIP;
        // The call changes R0 to R3.
        let undefined = [version_low, version_high, code::SMC, one, other, skip, back];
        write(place::UNDEFINED, &undefined);
        let report = code::branch(place::EXCEPTION + 4, place::REPORT);
        write(place::EXCEPTION, &[code::end(End::Exception), report]);
        write(place::REPORT, &[str(5, 6), LOOP]);
        write(place::START_IN_USER_MODE, &[code::USER_MODE]);
        let start = [
            one,
            other,
            hole_low,
            hole_high,
            ones_low,
            ones_high,
            code::end(End::Done),
            code::GO,
        ];
        write(place::START, &start);
        let report = code::branch(place::DONE + 8, place::REPORT);
        write(place::DONE, &[code::DSB, code::ISB, report]);
        write(place::ONES, &[u32::MAX; 4]);
        for (at, instruction) in (place::LIST..).step_by(12).zip(instructions) {
            let done = code::branch(at + 8, place::DONE);
            write(at, &[code::COUNT, *instruction, done]);
        }
        let report = code::branch(list + 4, place::REPORT);
        write(list, &[code::report(END_OF_LIST), report]);
        Ok(Self { memory, size, len })
    }
}

const PSCI_VERSION: u32 = 0x8400_0000;

/// A VM of its own for one vCPU.
struct Subject {
    vcpu: Vcpu,
    vm: Vm,
    _kvm: Kvm,
}

impl Subject {
    fn new(memory: &Memory, size: usize) -> Result<Self, String> {
        let (kvm, vm) = new_vm()?;
        vm.set_user_memory_region(&slot(0, 0, memory, size))
            .works("KVM_SET_USER_MEMORY_REGION")?;
        let vcpu = new_vcpu(&kvm, &vm, 0)?;
        init(&vm, &vcpu)?;
        let _kvm = kvm;
        Ok(Self { vcpu, vm, _kvm })
    }

    fn set(&self, word: u64, value: u32) -> Outcome {
        self.vcpu
            .set_reg(uapi::core_reg(word), value)
            .works("KVM_SET_ONE_REG")
    }

    /// How many instructions of its list the guest has counted.
    fn count(&self) -> Result<usize, String> {
        let count = self.vcpu.reg(uapi::core_reg(4)).works("KVM_GET_ONE_REG")?;
        Ok(count as usize)
    }

    /// Runs until the guest stores something in the hole. Nothing if it does not, nor comes further
    /// in its list.
    fn run(&self, patience: Duration) -> Result<Option<u32>, String> {
        let mut last = None;
        loop {
            set_timer(patience)?;
            let result = self.vcpu.run();
            set_timer(Duration::ZERO)?;
            match result {
                Ok(()) => {
                    equal("exit", self.vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
                    let mmio = self.vcpu.run.mmio();
                    equal("exit for", mmio.phys_addr, HOLE.into())?;
                    let [a, b, c, d, ..] = mmio.data;
                    return Ok(Some(u32::from_le_bytes([a, b, c, d])));
                }
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {
                    let count = Some(self.count()?);
                    if last == count {
                        return Ok(None);
                    }
                    last = count;
                }
                Err(e) => return Err(format!("KVM_RUN: {e}")),
            }
        }
    }

    /// Goes through a list from place `n` on after a reset. Gives the place of the first instruction
    /// that is not undefined, and how it ended.
    fn attempt(
        &self,
        list: &List,
        n: usize,
        start: u32,
        patience: Duration,
    ) -> Result<Option<(usize, End)>, String> {
        init(&self.vm, &self.vcpu)?;
        self.set(4, n as u32)?;
        self.set(0, place::LIST + List::BYTES_EACH * n as u32)?;
        self.set(uapi::CORE_PC, start)?;
        let end = match self.run(patience)? {
            Some(END_OF_LIST) => {
                equal("instructions", self.count()?, list.len)?;
                return Ok(None);
            }
            Some(1) => End::Done,
            Some(2) => End::Exception,
            Some(other) => return Err(format!("the guest stored {other:#x}")),
            None => End::Never,
        };
        let place = self.count()?.checked_sub(1).filter(|place| *place >= n);
        Ok(Some((place.ok_or("the guest has not counted")?, end)))
    }
}

/// SIGALRM ends a system call, and nothing more.
fn catch_alarm() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: The handler does nothing; without SA_RESTART the call that it interrupts fails.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, ptr::null_mut());
    }
}

/// Sends SIGALRM once after that time, and again and again until it is called with zero, as the first
/// may come before the call that it is to end.
fn set_timer(time: Duration) -> Outcome {
    let time = libc::timeval {
        tv_sec: time.as_secs() as libc::time_t,
        tv_usec: time.subsec_micros() as libc::suseconds_t,
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: It points to a timer.
    let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
    ensure(result == 0, "setitimer")
}

/// The values that a guest finds in its registers.
struct Witness {
    subject: Subject,
    readable: Vec<Encoding>,
    /// Which of them each word of the table is of, and where the code is that compares them.
    words: Vec<Encoding>,
    compare: u32,
    _memory: Memory,
}

/// Where the witness has its table and its code.
const TABLE: u32 = 0x1_0000;
const CODE: u32 = 0x2_0000;
const WITNESS_SIZE: usize = 0x4_0000;

impl Witness {
    /// Finds out what can be read.
    fn readable() -> Result<Vec<Encoding>, String> {
        let candidates: Vec<(Encoding, u32)> = Encoding::all()
            .into_iter()
            .filter_map(|encoding| Some((encoding, encoding.fetch()?)))
            .collect();
        let instructions: Vec<u32> = candidates.iter().map(|(_, code)| *code).collect();
        let list = List::new(&instructions)?;
        let subject = Subject::new(&list.memory, list.size)?;
        let (mut readable, mut next) = (Vec::new(), 0);
        while let Some((n, end)) = subject.attempt(&list, next, place::START, LONG)? {
            let (encoding, _) = candidates[n];
            equal(format!("a read of {encoding}"), end, End::Done)?;
            readable.push(encoding);
            next = n + 1;
        }
        Ok(readable)
    }

    fn new() -> Result<Self, String> {
        let readable = Self::readable()?;
        let memory = Memory::new(WITNESS_SIZE)?;
        let [hole_low, hole_high] = load(6, HOLE);
        let [table_low, table_high] = load(9, TABLE);
        let start = [hole_low, hole_high, table_low, table_high];
        let mut words = Vec::new();
        // The values are stored once, then compared again and again, all in the guest: its memory
        // is not cached.
        let (mut record, mut compare) = (start.to_vec(), start.to_vec());
        // ldr rN, [r9], #4 and str rN, [r9], #4.
        let (next, keep) = (0xe499_0004, 0xe489_0004);
        let (differs, bne) = (3, 0x1a00_0000);
        for encoding in readable.iter().filter(|encoding| !encoding.changes()) {
            let Some(instruction) = encoding.fetch() else {
                continue;
            };
            let registers = match encoding {
                Encoding::Double { .. } => 1..=2,
                _ => 1..=1,
            };
            record.push(instruction);
            compare.push(instruction);
            for register in registers {
                words.push(*encoding);
                record.push(keep | (register << 12));
                // ldr r3, [r9], #4; cmp rN, r3; bne to the report, behind the end.
                compare.push(next | (differs << 12));
                compare.push(0xe150_0000 | (register << 16) | differs);
                compare.push(bne);
            }
        }
        // The report: str r9, [r6].
        record.extend([str(9, 6), LOOP]);
        // mov r9, #0 before it if all is as it was.
        compare.push(0xe3a0_9000);
        let report = compare.len();
        compare.extend([str(9, 6), LOOP]);
        for (n, word) in compare.iter_mut().enumerate() {
            if *word == bne {
                *word |= (report - n - 2) as u32;
            }
        }
        let at = CODE + 4 * record.len() as u32;
        memory.write_words(CODE as usize, &record);
        memory.write_words(at as usize, &compare);
        let subject = Subject::new(&memory, WITNESS_SIZE)?;
        init(&subject.vm, &subject.vcpu)?;
        let witness = Self {
            subject,
            readable,
            words,
            compare: at,
            _memory: memory,
        };
        witness.subject.set(uapi::CORE_PC, CODE)?;
        let end = witness.subject.run(LONG)?;
        let expected = TABLE + 4 * witness.words.len() as u32;
        equal("the end of the table", end, Some(expected))?;
        witness.look().map(|()| witness)
    }

    /// Reads everything again.
    fn look(&self) -> Outcome {
        self.subject.set(uapi::CORE_PC, self.compare)?;
        match self.subject.run(LONG)? {
            Some(0) => Ok(()),
            Some(place) => {
                let word = (place.wrapping_sub(TABLE) / 4).wrapping_sub(1) as usize;
                match self.words.get(word) {
                    Some(encoding) => Err(format!("another guest finds {encoding} changed")),
                    None => Err(format!("another guest stored {place:#x}")),
                }
            }
            None => Err("another guest went astray".into()),
        }
    }
}

/// The state that this process and its kernel find of themselves.
struct Host {
    memory: Vec<u32>,
    thread: u32,
    registers: Option<String>,
    last: Instant,
}

/// At a low address: a static program begins at 64 KiB.
static LOW: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// The registers of its own that a process may write: TPIDRURW and the rounding mode of FPSCR.
const TPIDRURW: u32 = 0x5a5a_1234;
const ROUND_UP: u32 = 1 << 22;

#[cfg(target_arch = "arm")]
mod cpu {
    use std::arch::asm;

    /// TPIDRURO: the thread pointer.
    pub(super) fn thread_pointer() -> u32 {
        let value;
        // SAFETY: Reads a register that a process may read.
        unsafe { asm!("mrc p15, 0, {}, c13, c0, 3", out(reg) value, options(nostack)) };
        value
    }

    pub(super) fn tpidrurw() -> u32 {
        let value;
        // SAFETY: Reads a register that a process may read.
        unsafe { asm!("mrc p15, 0, {}, c13, c0, 2", out(reg) value, options(nostack)) };
        value
    }

    pub(super) fn set_tpidrurw(value: u32) {
        // SAFETY: Nobody uses this register in a program of Linux.
        unsafe { asm!("mcr p15, 0, {}, c13, c0, 2", in(reg) value, options(nostack)) };
    }

    pub(super) fn fpscr() -> u32 {
        let value;
        // SAFETY: Reads a register that a process may read.
        unsafe { asm!("vmrs {}, fpscr", out(reg) value, options(nostack)) };
        value
    }

    pub(super) fn set_fpscr(value: u32) {
        // SAFETY: This program calculates nothing that depends on the rounding mode.
        unsafe { asm!("vmsr fpscr, {}", in(reg) value, options(nostack)) };
    }
}

/// Elsewhere the program only has to compile.
#[cfg(not(target_arch = "arm"))]
mod cpu {
    pub(super) fn thread_pointer() -> u32 {
        0
    }
    pub(super) fn tpidrurw() -> u32 {
        super::TPIDRURW
    }
    pub(super) fn set_tpidrurw(_: u32) {}
    pub(super) fn fpscr() -> u32 {
        super::ROUND_UP
    }
    pub(super) fn set_fpscr(_: u32) {}
}

/// CP14 and CP15 of the kernel, as a module of the test's shows them.
const REGISTERS: &str = "/proc/host_registers";

impl Host {
    fn new() -> Result<Self, String> {
        for (n, word) in (0..).zip(&LOW) {
            word.store(n * 0x0101_0101, Ordering::Relaxed);
        }
        ensure(
            (LOW.as_ptr() as usize) < 32 << 20,
            "this program is not at a low address",
        )?;
        cpu::set_tpidrurw(TPIDRURW);
        cpu::set_fpscr(cpu::fpscr() | ROUND_UP);
        Ok(Self {
            memory: (0..1 << 14).collect(),
            thread: cpu::thread_pointer(),
            registers: fs::read_to_string(REGISTERS).ok(),
            last: Instant::now(),
        })
    }

    fn look(&mut self) -> Outcome {
        equal("the thread pointer", cpu::thread_pointer(), self.thread)?;
        equal("TPIDRURW", cpu::tpidrurw(), TPIDRURW)?;
        equal("FPSCR's rounding", cpu::fpscr() & (3 << 22), ROUND_UP)?;
        for (n, word) in (0..).zip(&LOW) {
            equal("low memory", word.load(Ordering::Relaxed), n * 0x0101_0101)?;
        }
        for (n, word) in (0..).zip(black_box(&self.memory)) {
            equal("memory", *word, n)?;
        }
        let now = Instant::now();
        let passed = now.checked_duration_since(self.last);
        ensure(
            passed.is_some_and(|time| time < kvm::patience(20)),
            format!("time went on by {passed:?}"),
        )?;
        self.last = now;
        if let Some(registers) = &self.registers {
            let now = fs::read_to_string(REGISTERS).works(REGISTERS)?;
            for (old, new) in registers.lines().zip(now.lines()) {
                equal("a register of the host", new, old)?;
            }
        }
        Ok(())
    }
}

/// Says on the way which registers come now: if the host does not survive one, this is all there is.
fn tell(what: &str) -> Outcome {
    println!("{what}");
    io::stdout().flush().works("standard output")
}

fn run() -> Result<String, String> {
    catch_alarm();
    let mut host = Host::new()?;
    let witness = Witness::new()?;
    tell(&format!(
        "registers that a guest can read: {}",
        witness.readable.len()
    ))?;
    ensure(witness.readable.len() > 60, "so few")?;
    tell(match host.registers {
        Some(_) => "the host's registers are looked at",
        None => "the host's registers cannot be looked at",
    })?;
    let encodings = Encoding::all();
    let instructions: Vec<u32> = encodings.iter().map(|encoding| encoding.store()).collect();
    let list = List::new(&instructions)?;
    let mut counts = Vec::new();
    for (mode, start) in [("PL1", place::START), ("PL0", place::START_IN_USER_MODE)] {
        let mut next = 0;
        loop {
            tell(&format!("at {mode} from {} on", encodings[next]))?;
            let subject = Subject::new(&list.memory, list.size)?;
            let attempt = subject.attempt(&list, next, start, SHORT)?;
            let what = match attempt {
                Some((n, end)) => {
                    counts.push(end);
                    format!("{} at {mode}, {end:?}", encodings[n])
                }
                None => format!("what is undefined at {mode}"),
            };
            host.look()
                .and_then(|()| witness.look())
                .map_err(|why| format!("{what}: {why}"))?;
            next = match attempt {
                Some((n, _)) if n + 1 < encodings.len() => n + 1,
                _ => break,
            };
        }
    }
    let count = |end| counts.iter().filter(|found| **found == end).count();
    let [done, exception, never] = [End::Done, End::Exception, End::Never].map(count);
    let undefined = 2 * encodings.len() - counts.len();
    // Table B3-42 and what the cores have beside it.
    ensure(done > 100, format!("{done} were done"))?;
    Ok(format!(
        "{done} writes were done, {undefined} undefined, {exception} ended in an exception, \
         {never} never"
    ))
}

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(counts) => {
            println!("{counts}: the host and the other guest are as they were");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("not ok: {why}");
            ExitCode::FAILURE
        }
    }
}
