// SPDX-License-Identifier: GPL-2.0

//! KVM_GET_STATS_FD (api.rst 4.133), as a program sees it that knows nothing of this KVM.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use kvm::{ioctl, uapi, Kvm};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{
    code, init, new_vcpu, new_vm, slot, Guest, Memory, BASE, HOLE, PSCI_SYSTEM_OFF, SIZE,
};

pub(crate) const TESTS: &[Test] = &[
    ("stats: the capability, on both files", capability),
    ("stats: header, id and descriptors of a VM", vm_layout),
    ("stats: header, id and descriptors of a vCPU", vcpu_layout),
    ("stats: short reads, pread and lseek", pieces),
    ("stats: what cannot be done with the file", refused),
    ("stats: out of descriptors", no_descriptors),
    ("stats: each exit is counted once", exits),
    ("stats: sleep in WFI", sleep),
    ("stats: signals", signals),
    ("stats: pages of the guest, and their loss", pages),
    ("stats: the file outlives the VM's", outlives),
    ("stats: another process reads", another_process),
    ("stats: read while the guest runs", concurrently),
    (
        "debugfs: a directory for each VM, and sums over all",
        directories,
    ),
    ("tracepoints: perf counts what the statistics count", perf),
];

const HEADER_SIZE: usize = 24;
const DESCRIPTOR_HEAD: usize = 16;

/// KVM_STATS_TYPE_*.
const TYPE_CUMULATIVE: u32 = 0;
const TYPE_INSTANT: u32 = 1;
const TYPE_LINEAR_HIST: u32 = 3;
const TYPE_LOG_HIST: u32 = 4;
/// KVM_STATS_UNIT_*.
const UNIT_NONE: u32 = 0;
const UNIT_SECONDS: u32 = 2;
const UNIT_BOOLEAN: u32 = 4;

/// A descriptor, as it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Descriptor {
    kind: u32,
    unit: u32,
    base: u32,
    exponent: i16,
    size: usize,
    offset: usize,
}

/// The immutable part of a file of statistics.
pub(crate) struct Stats {
    file: File,
    id: String,
    descriptors: HashMap<String, Descriptor>,
    data_offset: usize,
    /// Bytes of data.
    data_size: usize,
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_ne_bytes(word)
}

/// A string of a block of fixed size, which has to end in zeros.
fn text(block: &[u8]) -> Result<String, String> {
    let end = block
        .iter()
        .position(|byte| *byte == 0)
        .ok_or("a name does not end")?;
    ensure(
        block[end..].iter().all(|byte| *byte == 0),
        "there is something behind the end of a name",
    )?;
    String::from_utf8(block[..end].to_vec()).map_err(|e| e.to_string())
}

impl Stats {
    /// Parses the file as api.rst says, and checks all that it promises.
    pub(crate) fn new(file: File) -> Result<Self, String> {
        let mut header = [0; HEADER_SIZE];
        file.read_exact_at(&mut header, 0).works("the header")?;
        let [flags, name_size, count, id_offset, descriptors, data] =
            [0, 4, 8, 12, 16, 20].map(|offset| u32_at(&header, offset) as usize);
        equal("flags of the header", flags, 0)?;
        ensure(name_size > 1 && count > 0, "there is nothing")?;
        let descriptor_size = DESCRIPTOR_HEAD + name_size;
        // The blocks do not overlap.
        let mut blocks = [
            (0, HEADER_SIZE),
            (id_offset, id_offset + name_size),
            (descriptors, descriptors + count * descriptor_size),
            (data, usize::MAX),
        ];
        for (start, _) in blocks {
            equal(format!("alignment of {start}"), start % 8, 0)?;
        }
        blocks.sort_unstable();
        ensure(
            blocks.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            format!("blocks overlap: {blocks:x?}"),
        )?;

        let mut id = vec![0; name_size];
        file.read_exact_at(&mut id, id_offset as u64)
            .works("the id")?;
        let mut found = HashMap::new();
        let mut spans = Vec::new();
        for number in 0..count {
            let mut bytes = vec![0; descriptor_size];
            let at = descriptors + number * descriptor_size;
            file.read_exact_at(&mut bytes, at as u64)
                .works("a descriptor")?;
            let name = text(&bytes[DESCRIPTOR_HEAD..])?;
            let flags = u32_at(&bytes, 0);
            let [a, b, c, d] = [bytes[4], bytes[5], bytes[6], bytes[7]];
            let descriptor = Descriptor {
                kind: flags & 0xf,
                unit: (flags >> 4) & 0xf,
                base: (flags >> 8) & 0xf,
                exponent: i16::from_ne_bytes([a, b]),
                size: u16::from_ne_bytes([c, d]).into(),
                offset: u32_at(&bytes, 8) as usize,
            };
            equal(format!("unknown flags of {name}"), flags >> 12, 0)?;
            ensure(
                descriptor.kind <= TYPE_LOG_HIST
                    && descriptor.unit <= UNIT_BOOLEAN
                    && descriptor.base <= 1,
                format!("{name}: {descriptor:?}"),
            )?;
            let is_histogram = [TYPE_LINEAR_HIST, TYPE_LOG_HIST].contains(&descriptor.kind);
            ensure(
                if is_histogram {
                    descriptor.size > 1
                } else {
                    descriptor.size == 1
                },
                format!("{name} has {} values", descriptor.size),
            )?;
            if descriptor.kind != TYPE_LINEAR_HIST {
                equal(format!("bucket size of {name}"), u32_at(&bytes, 12), 0)?;
            }
            spans.push((descriptor.offset, descriptor.offset + 8 * descriptor.size));
            ensure(!name.is_empty(), "a statistic without a name")?;
            ensure(
                found.insert(name.clone(), descriptor).is_none(),
                format!("{name} is there twice"),
            )?;
        }
        spans.sort_unstable();
        ensure(
            spans.windows(2).all(|pair| pair[0].1 <= pair[1].0)
                && spans.iter().all(|span| span.0 % 8 == 0),
            format!("values overlap: {spans:x?}"),
        )?;
        let data_size = spans.last().map_or(0, |span| span.1);
        // All of the data is there, and nothing is behind it.
        let mut bytes = vec![0; data_size + 8];
        let read = file
            .read_at(&mut bytes, data as u64)
            .works("pread of the data")?;
        equal("size of the data", read, data_size)?;
        Ok(Self {
            file,
            id: text(&id)?,
            descriptors: found,
            data_offset: data,
            data_size,
        })
    }

    fn values(&self, name: &str) -> Result<Vec<u64>, String> {
        let descriptor = self
            .descriptors
            .get(name)
            .ok_or_else(|| format!("there is no {name}"))?;
        let mut bytes = vec![0; 8 * descriptor.size];
        let at = self.data_offset + descriptor.offset;
        self.file
            .read_exact_at(&mut bytes, at as u64)
            .works(format!("pread of {name}"))?;
        let words = bytes.chunks_exact(8);
        Ok(words
            .map(|word| {
                let mut value = [0; 8];
                value.copy_from_slice(word);
                u64::from_ne_bytes(value)
            })
            .collect())
    }

    pub(crate) fn value(&self, name: &str) -> Result<u64, String> {
        self.values(name).map(|values| values[0])
    }

    /// By how much statistics grow while something is done.
    pub(crate) fn growth<const N: usize>(
        &self,
        names: [&str; N],
        what: impl FnOnce() -> Outcome,
    ) -> Result<[u64; N], String> {
        let values = || {
            let mut values = [0; N];
            for (value, name) in values.iter_mut().zip(names) {
                *value = self.value(name)?;
            }
            Ok::<_, String>(values)
        };
        let before = values()?;
        what()?;
        let mut after = values()?;
        for (after, before) in after.iter_mut().zip(before) {
            *after -= before;
        }
        Ok(after)
    }

    /// Fails unless there is such a statistic.
    fn expect(&self, name: &str, kind: u32, unit: u32, exponent: i16) -> Outcome {
        let descriptor = self
            .descriptors
            .get(name)
            .ok_or_else(|| format!("there is no {name}"))?;
        equal(
            format!("type, unit, base and exponent of {name}"),
            (
                descriptor.kind,
                descriptor.unit,
                descriptor.base,
                descriptor.exponent,
            ),
            (kind, unit, 0, exponent),
        )
    }
}

fn capability() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let cap = uapi::CAP_BINARY_STATS_FD;
    equal(
        "KVM_CAP_BINARY_STATS_FD of /dev/kvm",
        kvm.check_extension(cap).works("KVM_CHECK_EXTENSION")?,
        1,
    )?;
    equal(
        "KVM_CAP_BINARY_STATS_FD of a VM",
        ioctl(&vm, uapi::CHECK_EXTENSION(), cap as _).works("KVM_CHECK_EXTENSION")?,
        1,
    )?;
    // Only VMs and vCPUs have the call.
    fails(
        "KVM_GET_STATS_FD of /dev/kvm",
        ioctl(&kvm, uapi::GET_STATS_FD(), 0),
        &[libc::EINVAL],
    )
}

fn vm_layout() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let stats = Stats::new(vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    equal(
        "id",
        stats.id.as_str(),
        format!("kvm-{}", std::process::id()).as_str(),
    )?;
    for name in ["remote_tlb_flush", "remote_tlb_flush_requests"] {
        stats.expect(name, TYPE_CUMULATIVE, UNIT_NONE, 0)?;
    }
    Ok(())
}

fn vcpu_layout() -> Outcome {
    let (kvm, vm) = new_vm()?;
    // Before KVM_ARM_VCPU_INIT, too.
    let vcpu = new_vcpu(&kvm, &vm, 2)?;
    let stats = Stats::new(vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    equal(
        "id",
        stats.id.as_str(),
        format!("kvm-{}/vcpu-2", std::process::id()).as_str(),
    )?;
    for name in [
        "halt_successful_poll",
        "halt_attempted_poll",
        "halt_poll_invalid",
        "halt_wakeup",
        "hvc_exit_stat",
        "wfe_exit_stat",
        "wfi_exit_stat",
        "mmio_exit_user",
        "mmio_exit_kernel",
        "signal_exits",
        "exits",
    ] {
        stats.expect(name, TYPE_CUMULATIVE, UNIT_NONE, 0)?;
        equal(name, stats.value(name)?, 0)?;
    }
    for name in ["halt_poll_success_ns", "halt_poll_fail_ns", "halt_wait_ns"] {
        stats.expect(name, TYPE_CUMULATIVE, UNIT_SECONDS, -9)?;
    }
    for name in [
        "halt_poll_success_hist",
        "halt_poll_fail_hist",
        "halt_wait_hist",
    ] {
        stats.expect(name, TYPE_LOG_HIST, UNIT_SECONDS, -9)?;
        equal(name, stats.values(name)?, vec![0; 32])?;
    }
    stats.expect("blocking", TYPE_INSTANT, UNIT_BOOLEAN, 0)
}

fn pieces() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    let mut stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let size = stats.data_offset + stats.data_size;
    let mut whole = Vec::new();
    // From the beginning: the preads of `new` have not moved the position.
    stats.file.read_to_end(&mut whole).works("read")?;
    equal("size of the file", whole.len(), size)?;
    equal(
        "read at the end",
        stats.file.read(&mut [0; 8]).works("read")?,
        0,
    )?;
    // In pieces whose ends are in the middle of everything.
    stats.file.rewind().works("lseek to the start")?;
    for step in [1usize, 7, 300] {
        stats.file.seek(SeekFrom::Start(0)).works("lseek")?;
        let mut found = Vec::new();
        let mut piece = vec![0; step];
        loop {
            let read = stats.file.read(&mut piece).works("read")?;
            if read == 0 {
                break;
            }
            found.extend_from_slice(&piece[..read]);
        }
        ensure(
            found == whole,
            format!("pieces of {step} are not the whole"),
        )?;
    }
    let end = stats.file.seek(SeekFrom::End(-5)).works("lseek")?;
    equal("lseek to the end", end, size as u64 - 5)?;
    let mut piece = [0xee; 16];
    equal(
        "read at the end",
        stats.file.read(&mut piece).works("read")?,
        5,
    )?;
    ensure(
        piece[..5] == whole[size - 5..] && piece[5..] == [0xee; 11],
        "other bytes at the end",
    )?;
    for offset in [size as u64, size as u64 + 1, 1 << 32, i64::MAX as u64 - 16] {
        let read = stats.file.read_at(&mut piece, offset);
        equal(format!("pread at {offset:#x}"), read.works("pread")?, 0)?;
    }
    equal(
        "read of nothing",
        stats.file.read(&mut []).works("read")?,
        0,
    )
}

fn refused() -> Outcome {
    let (_kvm, vm) = new_vm()?;
    let mut file = vm.stats_fd().works("KVM_GET_STATS_FD")?;
    fails("write", file.write(&[0; 8]), &[libc::EBADF])?;
    fails(
        "pwrite",
        file.write_at(&[0; 8], 0),
        &[libc::EBADF, libc::ESPIPE],
    )?;
    fails(
        "lseek before the start",
        file.seek(SeekFrom::Current(-1)),
        &[libc::EINVAL],
    )?;
    fails(
        "an ioctl of a VM",
        ioctl(&file, uapi::CREATE_IRQCHIP(), 0),
        &[libc::ENOTTY],
    )?;
    // SAFETY: The address is nobody's, which the kernel finds out.
    let read = unsafe { libc::pread(file.as_raw_fd(), 8 as *mut libc::c_void, 600, 0) };
    let error = std::io::Error::last_os_error();
    equal("pread to a bad address", read, -1)?;
    equal("its errno", error.raw_os_error(), Some(libc::EFAULT))?;
    // SAFETY: The kernel is asked about one of our descriptors.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
    equal("close-on-exec", flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC)?;
    // A VM cannot be read.
    // SAFETY: The buffer is ours.
    let read = unsafe { libc::read(vm.as_raw_fd(), [0u8; 8].as_mut_ptr().cast(), 8) };
    equal("read of a VM", read, -1)
}

fn no_descriptors() -> Outcome {
    let (kvm, vm) = new_vm()?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    let mut files = Vec::new();
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: The structure is ours.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    equal("setrlimit", result, 0)?;
    while let Ok(file) = Kvm::open() {
        files.push(file);
        ensure(files.len() < 64, "there is no limit")?;
    }
    fails("of a VM", vm.stats_fd(), &[libc::EMFILE])?;
    fails("of a vCPU", vcpu.stats_fd(), &[libc::EMFILE])?;
    files.pop();
    vm.stats_fd().works("KVM_GET_STATS_FD").map(|_| ())
}

/// Firmware calls: one that does not depend on the VM, and one that does.
const PSCI_VERSION: u32 = 0x8400_0000;
const AFFINITY_INFO: u32 = 0x8400_0004;

/// The counts of a vCPU for one program.
fn exits() -> Outcome {
    /// `mrc p15, 0, r0, c1, c0, 1`: ACTLR.
    const READ_ACTLR: u32 = 0xee11_0f30;
    /// `mcr p15, 0, r0, c3, c0, 0`: DACR, which traps while the caches are off (HCR.TVM).
    const WRITE_DACR: u32 = 0xee03_0f10;
    /// `mrc p14, 0, r0, c0, c0, 0`: DBGDIDR.
    const READ_DBGDIDR: u32 = 0xee10_0e10;
    let [hole_low, hole_high] = code::load(4, HOLE);
    let mut program = vec![READ_ACTLR; 4];
    program.extend([WRITE_DACR; 5]);
    program.push(READ_DBGDIDR);
    for function in [AFFINITY_INFO, AFFINITY_INFO, PSCI_VERSION] {
        let [low, high] = code::load(0, function);
        program.extend([low, high, code::HVC]);
    }
    program.extend([hole_low, hole_high, code::ldr(5, 4), code::str(5, 4)]);
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    let guest = Guest::new(&program)?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;

    guest.run_to(uapi::EXIT_MMIO)?;
    let halfway = stats.value("exits")?;
    guest.answer(1);
    guest.run_to(uapi::EXIT_MMIO)?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    for (name, expected) in [
        ("cp15_exits", 5),
        ("cp14_exits", 1),
        ("hvc_exit_stat", 3),
        ("smc_exits", 0),
        // Ours answers these where they trap.
        ("hyp_answered_hvc", 1),
        ("hyp_answered_cp15", 4),
        ("mmio_exit_user", 2),
        ("mmio_exit_kernel", 0),
        ("wfi_exit_stat", 0),
        ("wfe_exit_stat", 0),
        ("signal_exits", 0),
        ("halt_wakeup", 0),
        ("blocking", 0),
    ] {
        equal(name, stats.value(name)?, expected)?;
    }
    // The accesses to the hole, and possibly faults of the first use of memory.
    let data_aborts = stats.value("data_aborts")?;
    ensure(data_aborts >= 2, format!("{data_aborts} data aborts"))?;
    let fetches = stats.value("instruction_aborts")?;
    ensure(fetches >= 1, "no abort for the first instruction")?;
    let exits = stats.value("exits")?;
    let interrupts = stats.value("interrupt_exits")?;
    let known = 5 + 1 + 3 + data_aborts + fetches + interrupts;
    ensure(
        exits >= known && exits > halfway,
        format!("{exits} exits, of which {known} are known"),
    )
}

fn sleep() -> Outcome {
    const MS: u64 = 1_000_000;
    let mut program = vec![code::WFI];
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    let guest = Guest::new(&program)?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    thread::scope(|scope| {
        let runner = scope.spawn(|| guest.run_to(uapi::EXIT_SYSTEM_EVENT));
        let wake = || {
            // Whatever is wrong, the other thread has to come to an end.
            let _ = guest
                .vm
                .irq_line(uapi::IRQ_TYPE_CPU << uapi::IRQ_TYPE_SHIFT, true);
        };
        let slept = (|| -> Outcome {
            while stats.value("blocking")? == 0 {
                ensure(!runner.is_finished(), "the guest has not slept")?;
                thread::yield_now();
            }
            equal("halt_wakeup in the sleep", stats.value("halt_wakeup")?, 0)?;
            // This is measured, so it is a length of time and not a condition.
            thread::sleep(Duration::from_millis(20));
            Ok(())
        })();
        wake();
        runner.join().map_err(|_| "a panic")??;
        slept
    })?;
    equal("blocking", stats.value("blocking")?, 0)?;
    equal("wfi_exit_stat", stats.value("wfi_exit_stat")?, 1)?;
    let wakeups = stats.value("halt_wakeup")?;
    ensure(wakeups >= 1, "no wake-up")?;
    let ns = stats.value("halt_wait_ns")?;
    ensure(
        (20 * MS..10_000 * MS).contains(&ns),
        format!("a sleep of {ns} ns"),
    )?;
    let classes = stats.values("halt_wait_hist")?;
    equal("sleeps in the histogram", classes.iter().sum(), wakeups)?;
    // The last class that is not empty holds values up to twice the start of it.
    let longest = classes.iter().rposition(|count| *count != 0).unwrap_or(0);
    ensure(
        (1u64 << (longest - 1)) <= ns,
        format!("class {longest} of the histogram for {ns} ns"),
    )
}

fn signals() -> Outcome {
    extern "C" fn nothing(_: i32) {}
    let guest = Guest::new(&[code::LOOP])?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    // SAFETY: The handler does nothing, and system calls are not restarted behind it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    // SAFETY: It has no preconditions.
    let thread = unsafe { libc::pthread_self() };
    for round in 1..=3 {
        thread::scope(|scope| {
            let before = stats.value("exits")?;
            let stats = &stats;
            let waker = scope.spawn(move || -> Outcome {
                // Until the guest runs: the host's tick makes it exit.
                while stats.value("exits")? == before {
                    thread::yield_now();
                }
                // SAFETY: The thread waits for this one.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                Ok(())
            });
            fails("KVM_RUN", guest.vcpu.run(), &[libc::EINTR])?;
            waker.join().map_err(|_| "a panic")?
        })?;
        equal("signal_exits", stats.value("signal_exits")?, round)?;
    }
    equal("mmio_exit_user", stats.value("mmio_exit_user")?, 0)
}

/// Touches memory page by page, loses it, and touches it again.
fn pages() -> Outcome {
    const PAGES: u32 = 8;
    // Page 1 to 8: str r5, [r4]; r4 += 4096; then a store to the hole.
    let mut program = Vec::new();
    program.extend(code::load(4, BASE + 0x1000));
    for _ in 0..PAGES {
        // add r4, r4, #0x1000.
        program.extend([code::str(5, 4), 0xe284_4a01]);
    }
    program.extend(code::load(4, HOLE));
    program.push(code::str(5, 4));
    let guest = Guest::new(&program)?;
    let stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    equal("pages_mapped", stats.value("pages_mapped")?, 0)?;
    guest.run_to(uapi::EXIT_MMIO)?;
    let mapped = stats.value("pages_mapped")?;
    ensure(mapped > u64::from(PAGES), format!("{mapped} pages mapped"))?;
    let flushes = stats.value("remote_tlb_flush")?;
    // The slot goes away, and with it the entries of the TLBs.
    guest
        .vm
        .set_user_memory_region(&slot(0, BASE.into(), &guest.memory, 0))
        .works("deleting the slot")?;
    ensure(
        stats.value("remote_tlb_flush")? > flushes,
        "memory was taken away without a flush",
    )?;
    equal("blocks_mapped", stats.value("blocks_mapped")?, 0)
}

fn outlives() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    let vm_stats = Stats::new(guest.vm.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let vcpu_stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let exits = vcpu_stats.value("exits")?;
    ensure(exits > 0, "no exits")?;
    let mapped = vm_stats.value("pages_mapped")?;
    drop(guest);
    equal(
        "exits of a vCPU that is closed",
        vcpu_stats.value("exits")?,
        exits,
    )?;
    equal(
        "pages of a VM that is closed",
        vm_stats.value("pages_mapped")?,
        mapped,
    )
}

fn another_process() -> Outcome {
    let guest = Guest::new(&code::psci(PSCI_SYSTEM_OFF))?;
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let file = guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?;
    let stats = Stats::new(file)?;
    // SAFETY: The child calls nothing but pread and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut value = [0u8; 8];
        let at = stats.data_offset + stats.descriptors["exits"].offset;
        let read = stats.file.read_at(&mut value, at as u64);
        let good = matches!(read, Ok(8)) && u64::from_ne_bytes(value) > 0;
        // SAFETY: The child ends here.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    ensure(child > 0, "fork")?;
    let mut status = 0;
    // SAFETY: The status is ours.
    unsafe { libc::waitpid(child, &mut status, 0) };
    equal("status of the child", status, 0)
}

/// All counters only grow, beside all that runs; and their readers stop nobody.
fn concurrently() -> Outcome {
    const ROUNDS: u32 = 300;
    let (kvm, vm) = new_vm()?;
    let memory = Memory::new(SIZE)?;
    let mut program: Vec<u32> = code::load(4, HOLE).to_vec();
    // 0: hvc; str r5, [r4]; b 0b.
    program.extend([code::HVC, code::str(5, 4), 0xeaff_fffc]);
    memory.write_words(0, &program);
    vm.set_user_memory_region(&slot(0, BASE.into(), &memory, SIZE))
        .works("KVM_SET_USER_MEMORY_REGION")?;
    let vcpu = new_vcpu(&kvm, &vm, 0)?;
    init(&vm, &vcpu)?;
    vcpu.set_reg(uapi::core_reg(uapi::CORE_PC), BASE)
        .works("KVM_SET_ONE_REG")?;
    let stats = Stats::new(vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let cumulative: Vec<&String> = stats
        .descriptors
        .iter()
        .filter(|(_, descriptor)| descriptor.kind != TYPE_INSTANT)
        .map(|(name, _)| name)
        .collect();
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            for _ in 0..ROUNDS {
                vcpu.run().works("KVM_RUN")?;
            }
            Ok::<(), String>(())
        });
        let mut last: HashMap<&String, Vec<u64>> = HashMap::new();
        while !runner.is_finished() {
            for name in &cumulative {
                let now = stats.values(name)?;
                if let Some(before) = last.get(*name) {
                    ensure(
                        before.iter().zip(&now).all(|(before, now)| before <= now),
                        format!("{name} went from {before:?} to {now:?}"),
                    )?;
                }
                last.insert(*name, now);
            }
        }
        runner.join().map_err(|_| "a panic")?
    })?;
    equal(
        "mmio_exit_user",
        stats.value("mmio_exit_user")?,
        ROUNDS.into(),
    )?;
    let calls = stats.value("hvc_exit_stat")? + stats.value("hyp_answered_hvc")?;
    equal("hypercalls", calls, ROUNDS.into())?;
    // Nothing of it is in /proc as an open file that could be written.
    let link = fs::read_link(format!("/proc/self/fd/{}", stats.file.as_raw_fd()))
        .works("the name of the file")?;
    equal(
        "name of the file",
        link.to_string_lossy().as_ref(),
        "anon_inode:kvm-vcpu-stats:0",
    )
}

/// `struct perf_event_attr`, in the length of its second version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PerfEventAttr {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    pub(crate) wakeup_events: u32,
    pub(crate) bp_type: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
}

/// Counts an event of this thread.
pub(crate) fn open_event(attr: &PerfEventAttr) -> Result<File, String> {
    let attr = PerfEventAttr {
        size: size_of::<PerfEventAttr>() as u32,
        ..*attr
    };
    // This thread, on any CPU.
    // SAFETY: The structure is as long as it says.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, 0, -1, -1, 0) };
    if fd < 0 {
        return Err(format!(
            "perf_event_open: {}",
            std::io::Error::last_os_error()
        ));
    }
    // SAFETY: The kernel has just made the descriptor for us.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

/// Counts how often this thread passes a tracepoint.
fn open_tracepoint(name: &str) -> Result<File, String> {
    const DIRECTORY: &CStr = c"/sys/kernel/tracing";
    let path = format!("{}/events/kvm/{name}/id", DIRECTORY.to_string_lossy());
    if fs::metadata(&path).is_err() {
        // SAFETY: The strings end in zero.
        let result = unsafe {
            let (kind, data) = (c"tracefs".as_ptr(), std::ptr::null());
            libc::mount(kind, DIRECTORY.as_ptr(), kind, 0, data)
        };
        equal("mount of tracefs", result, 0)?;
    }
    let id = fs::read_to_string(&path).works(&path)?;
    open_event(&PerfEventAttr {
        // PERF_TYPE_TRACEPOINT.
        kind: 2,
        config: id.trim().parse().map_err(|_| "no number")?,
        ..Default::default()
    })
}

fn perf() -> Outcome {
    let [low, high] = code::load(0, AFFINITY_INFO);
    let mut program = vec![low, high, code::HVC];
    program.extend(code::psci(PSCI_SYSTEM_OFF));
    let guest = Guest::new(&program)?;
    let stats = Stats::new(guest.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let count = |mut event: &File| {
        let mut value = [0; 8];
        event.read_exact(&mut value).works("read of the event")?;
        Ok::<u64, String>(u64::from_ne_bytes(value))
    };
    let names = ["kvm_entry", "kvm_exit", "kvm_hvc", "kvm_userspace_exit"];
    let mut events = Vec::new();
    for name in names {
        events.push(open_tracepoint(name)?);
    }
    guest.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let exits = stats.value("exits")?;
    ensure(exits > 2, "no exits")?;
    for ((name, event), expected) in names.iter().zip(&events).zip([exits, exits, 2, 1]) {
        equal(name, count(event)?, expected)?;
    }
    Ok(())
}

/// A VM's directory in debugfs has its descriptor in its name. Here a vCPU keeps a VM whose descriptor is
/// closed, and the next VM gets a descriptor of the same number.
fn directories() -> Outcome {
    const ALL: &str = "/sys/kernel/debug/kvm";
    let program = code::psci(PSCI_SYSTEM_OFF);
    let first = Guest::new(&program)?;
    let number = first.vm.as_raw_fd();
    // SAFETY: It has no arguments, and cannot fail.
    let name = format!("{}-{number}", unsafe { libc::gettid() });
    let found = || -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(ALL).works(ALL)? {
            let entry = entry.works(ALL)?;
            if entry.file_type().works(ALL)?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    };
    let value = |path: &str| -> Result<u64, String> {
        let path = format!("{ALL}/{path}");
        let text = std::fs::read_to_string(&path).works(&path)?;
        text.trim_end().parse().map_err(|e| format!("{path}: {e}"))
    };
    equal("before the first run", found()?, vec![])?;
    equal("exits of no VM", value("exits")?, 0)?;
    first.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    equal("of one VM", found()?, vec![name.clone()])?;
    let of_first = Stats::new(first.vcpu.stats_fd().works("KVM_GET_STATS_FD")?)?;
    let exits = of_first.value("exits")?;
    ensure(exits > 0, "no exits")?;
    equal("exits of one VM", value(&format!("{name}/exits"))?, exits)?;
    equal("exits of all", value("exits")?, exits)?;
    drop(of_first);

    let Guest {
        vcpu,
        vm,
        kvm,
        memory,
    } = first;
    drop((vm, kvm));
    let second = Guest::new(&program)?;
    equal("the descriptor", second.vm.as_raw_fd(), number)?;
    second.run_to(uapi::EXIT_SYSTEM_EVENT)?;
    let names = found()?;
    equal("VMs", names.len(), 2)?;
    equal("the first", &names[0], &name)?;
    ensure(
        names[1].starts_with(&format!("{name}-")),
        format!("the second is {}", names[1]),
    )?;
    let others = value(&format!("{}/exits", names[1]))?;
    ensure(others > 0, "no exits of the second VM")?;
    equal("exits of both", value("exits")?, exits + others)?;
    let mapped = value(&format!("{name}/pages_mapped"))?
        + value(&format!("{}/pages_mapped", names[1]))?
        + value(&format!("{name}/blocks_mapped"))?
        + value(&format!("{}/blocks_mapped", names[1]))?;
    let all = value("pages_mapped")? + value("blocks_mapped")?;
    ensure(mapped > 0, "nothing is mapped")?;
    equal("pages of both", all, mapped)?;

    // The first goes before the second; then none is left.
    drop((vcpu, memory));
    equal("without the first", found()?, vec![names[1].clone()])?;
    equal("exits of the second", value("exits")?, others)?;
    drop(second);
    equal("in the end", found()?, vec![])?;
    equal("exits in the end", value("exits")?, 0)
}
