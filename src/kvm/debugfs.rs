// SPDX-License-Identifier: GPL-2.0

//! The statistics as text: `kvm_arm/<pid>-<n>/` in debugfs for each VM of which a vCPU has run. (Monitors make
//! VMs just to see what they can have. Files would be a quarter of the cost of such a VM.)
//!
//! `stats` has the counters of the VM, and the sums over its vCPUs; `vcpus` has a column for each
//! vCPU. The directory is part of the VM. It is removed before the objects that its files show, and
//! its removal waits for readers.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

use kernel::{
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use machine::stats::Decimal;

use super::{
    stats::{
        VcpuStats,
        EXIT_CLASSES,
        VCPU_STATISTICS,
        VM_STATISTICS, //
    },
    vcpus::Vcpus, //
};
use crate::{
    glue::debugfs::{
        Shown,
        TextFile, //
    },
    mem::address_space::AddressSpace, //
};

/// The parts of a VM that its files show.
pub(crate) struct Members {
    pub(crate) vcpus: Vcpus,
    memory: Arc<AddressSpace>,
}

impl Members {
    /// The parts of a new VM.
    pub(crate) fn new(memory: Arc<AddressSpace>) -> Self {
        Self {
            vcpus: Vcpus::new(),
            memory,
        }
    }

    fn show_stats(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in VM_STATISTICS.numbers() {
            writeln!(f, "{name} {}", Decimal(value(&self.memory.stats, 0)))?;
        }
        for (name, value) in VCPU_STATISTICS.numbers() {
            let sum = self
                .vcpus
                .iter()
                .map(|vcpu| value(&vcpu.stats, 0))
                .fold(0, u64::wrapping_add);
            writeln!(f, "{name} {}", Decimal(sum))?;
        }
        Ok(())
    }

    fn show_vcpus(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistic")?;
        for vcpu in self.vcpus.iter() {
            write!(f, " vcpu{}", vcpu.id)?;
        }
        f.write_str("\n")?;
        for (name, value) in VCPU_STATISTICS.numbers() {
            f.write_str(name)?;
            self.show_row(f, |stats| value(stats, 0))?;
        }
        // Traps by the class in HSR. Classes without a trap are left out.
        for class in 0..EXIT_CLASSES {
            if self.vcpus.iter().any(|vcpu| vcpu.stats.traps(class) != 0) {
                write!(f, "traps_ec_{class:#04x}")?;
                self.show_row(f, |stats| stats.traps(class))?;
            }
        }
        Ok(())
    }

    fn show_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        value: impl Fn(&VcpuStats) -> u64,
    ) -> fmt::Result {
        for vcpu in self.vcpus.iter() {
            write!(f, " {}", Decimal(value(&vcpu.stats)))?;
        }
        f.write_str("\n")
    }
}

impl Shown for Members {
    const FILES: &'static [TextFile<Self>] = &[
        TextFile {
            name: c"stats",
            write: Self::show_stats,
        },
        TextFile {
            name: c"vcpus",
            write: Self::show_vcpus,
        },
    ];
}

/// The name of a VM's directory.
pub(crate) struct Name {
    pid: i32,
    number: u32,
}

impl Name {
    /// The name of the directory of a new VM of a thread.
    pub(crate) fn new(pid: i32) -> Self {
        /// A process can have many VMs.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { pid, number }
    }

    /// As text.
    pub(crate) fn text(&self) -> Result<CString> {
        CString::try_from_fmt(fmt!("{}-{}", self.pid, self.number))
    }
}
