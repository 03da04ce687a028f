// SPDX-License-Identifier: GPL-2.0

//! What the host's kernel tells about itself: its memory, its VMs, and where threads are.

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
        let kernel = ["SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:", "VmallocUsed:"];
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

/// How many VMs there are that have run.
pub(crate) fn vms() -> usize {
    fs::read_dir("/sys/kernel/debug/kvm_arm").map_or(0, |entries| {
        entries.flatten().filter(|entry| entry.path().is_dir()).count()
    })
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
