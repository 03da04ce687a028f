// SPDX-License-Identifier: GPL-2.0

//! The host's kernel, as it tells about itself: its memory, its VMs, and where threads are.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// The memory of the kernel, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Slabs that cannot be reclaimed, stacks, page tables, per-CPU memory and vmalloc.
    pub(crate) kernel: i64,
}

impl Memory {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let kernel = [
            "SUnreclaim:",
            "KernelStack:",
            "PageTables:",
            "Percpu:",
            "VmallocUsed:",
        ];
        Self {
            kernel: kernel.into_iter().map(field).sum(),
        }
    }

    /// The memory when no process uses more than now. What is freed a little later, by RCU or a worker of
    /// the kernel, is waited for: until it is no more than `limit`, or a while has passed.
    pub(crate) fn settled(limit: Option<Self>) -> Self {
        let start = Instant::now();
        loop {
            // Caches are no leak.
            let _ = fs::write("/proc/sys/vm/drop_caches", "3");
            let now = Self::read();
            let is_fine = limit.is_some_and(|limit| now.kernel <= limit.kernel);
            if is_fine || start.elapsed() > kvm::patience(5) {
                return now;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Whether kmemleak is there, whose records grow.
pub(crate) fn looks_for_leaks() -> bool {
    fs::exists("/sys/kernel/debug/kmemleak").unwrap_or(false)
}

const VMS: &str = "/sys/kernel/debug/kvm";

/// A file of the statistics of the VM of this process that has run.
pub(crate) fn vm_file(name: &str) -> String {
    let mine = format!("{}-", std::process::id());
    let mut entries = fs::read_dir(VMS).into_iter().flatten().flatten();
    let is_mine = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&mine);
    let found = entries.find(is_mine);
    found.map_or(String::new(), |entry| {
        fs::read_to_string(entry.path().join(name)).unwrap_or_default()
    })
}

/// How many VMs there are that have run.
pub(crate) fn vms() -> usize {
    fs::read_dir(VMS).map_or(0, |entries| {
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    })
}

/// The registers with which the kernel runs, of each CPU, as a module shows them. Nothing without it.
pub(crate) fn registers() -> Vec<String> {
    let mut all = Vec::new();
    for cpu in 0..8 {
        // SAFETY: An empty set is zero, and the kernel reads it.
        let result = unsafe {
            let mut cpus: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut cpus);
            libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus)
        };
        if result == 0 {
            all.extend(fs::read_to_string("/proc/host_registers").ok());
        }
    }
    // SAFETY: A set of all CPUs, which the kernel reads.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        (0..8).for_each(|cpu| libc::CPU_SET(cpu, &mut cpus));
        libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus);
    }
    all
}

/// Where the threads of a process are in the kernel, and the stacks of all CPUs and tasks in the kernel's
/// log.
pub(crate) fn explain(process: i32) {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        println!(
            "task {}: state {}, call {}",
            task.file_name().to_string_lossy(),
            read("stat").split(' ').nth(2).unwrap_or("?"),
            read("syscall").trim()
        );
        print!("{}", read("stack"));
    }
    for key in ["l", "w", "t"] {
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
}
