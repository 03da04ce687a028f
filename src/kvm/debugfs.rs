// SPDX-License-Identifier: GPL-2.0

//! The files of KVM in debugfs: `kvm/PID-FD/` for each VM of which a vCPU has run. (Monitors make
//! VMs just to see what they can have. Files would cost more than such a VM.)
//!
//! As in the KVM of other architectures, there is a file for each statistic that is one number: in
//! the directory of a VM the VM's own, or the sum over its vCPUs, and in `kvm` the sum over all
//! VMs. Beside those of a VM there are `vgic-state`, as on arm64, and two of our own: `stats` has
//! all numbers of the VM, and `vcpus` a column for each vCPU.
//!
//! The directory is part of the VM. It is removed before the objects that its files show, and
//! its removal waits for readers.

use core::sync::atomic::{
    AtomicI32,
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
        Numbers,
        VcpuStats,
        EXIT_CLASSES,
        VCPU_NUMBERS,
        VCPU_STATISTICS,
        VM_NUMBERS,
        VM_STATISTICS, //
    },
    vcpus::Vcpus,
    vm_gic::VmGic, //
};
use crate::{
    glue::debugfs::{
        Group,
        Member,
        Shown,
        TextFile, //
    },
    mem::address_space::AddressSpace, //
};

/// The parts of a VM that its files show.
#[pin_data]
pub(crate) struct Members {
    pub(crate) vcpus: Vcpus,
    memory: Arc<AddressSpace>,
    #[pin]
    pub(crate) gic: VmGic,
}

impl Members {
    /// The parts of a new VM.
    pub(crate) fn new(memory: Arc<AddressSpace>, gic: impl PinInit<VmGic>) -> impl PinInit<Self> {
        pin_init!(Self {
            vcpus: Vcpus::new(),
            memory,
            gic <- gic,
        })
    }

    fn show_vm_number(&self, index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Decimal(self.vm_number(index)))
    }

    fn show_vcpu_number(&self, index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Decimal(self.vcpu_number(index)))
    }

    fn show_stats(&self, _: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in VM_STATISTICS.numbers() {
            writeln!(f, "{name} {}", Decimal(self.vm_number(index)))?;
        }
        for (index, name) in VCPU_STATISTICS.numbers() {
            writeln!(f, "{name} {}", Decimal(self.vcpu_number(index)))?;
        }
        Ok(())
    }

    fn show_vcpus(&self, _: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistic")?;
        for vcpu in self.vcpus.iter() {
            write!(f, " vcpu{}", vcpu.id)?;
        }
        f.write_str("\n")?;
        for (index, name) in VCPU_STATISTICS.numbers() {
            f.write_str(name)?;
            self.show_row(f, |stats| VCPU_STATISTICS.number(index, stats))?;
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

    fn show_vgic(&self, _: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gic.show(f)
    }
}

impl Numbers for Members {
    fn vm_number(&self, index: usize) -> u64 {
        VM_STATISTICS.number(index, &self.memory.stats)
    }

    fn vcpu_number(&self, index: usize) -> u64 {
        self.vcpus
            .iter()
            .map(|vcpu| VCPU_STATISTICS.number(index, &vcpu.stats))
            .fold(0, u64::wrapping_add)
    }
}

impl Member for Members {
    type Side = dyn Numbers;

    fn side(&self) -> &(dyn Numbers + 'static) {
        self
    }
}

/// The files of some numbers.
const fn files<T, const N: usize>(
    numbers: [(usize, &'static CStr); N],
    write: fn(&T, usize, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> [TextFile<T>; N] {
    let mut files = [TextFile {
        name: c"",
        write,
        number: 0,
    }; N];
    let mut n = 0;
    while n < N {
        (files[n].number, files[n].name) = numbers[n];
        n += 1;
    }
    files
}

impl Shown for Members {
    const FILES: &'static [&'static [TextFile<Self>]] = &[
        &[
            TextFile {
                name: c"stats",
                write: Self::show_stats,
                number: 0,
            },
            TextFile {
                name: c"vcpus",
                write: Self::show_vcpus,
                number: 0,
            },
            TextFile {
                name: c"vgic-state",
                write: Self::show_vgic,
                number: 0,
            },
        ],
        &files(VM_NUMBERS, Self::show_vm_number),
        &files(VCPU_NUMBERS, Self::show_vcpu_number),
    ];
}

fn show_vm_total(
    vms: &Group<dyn Numbers>,
    index: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    writeln!(f, "{}", Decimal(vms.sum(|vm| vm.vm_number(index))))
}

fn show_vcpu_total(
    vms: &Group<dyn Numbers>,
    index: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    writeln!(f, "{}", Decimal(vms.sum(|vm| vm.vcpu_number(index))))
}

impl Shown for Group<dyn Numbers> {
    const FILES: &'static [&'static [TextFile<Self>]] = &[
        &files(VM_NUMBERS, show_vm_total),
        &files(VCPU_NUMBERS, show_vcpu_total),
    ];
}

/// The name of a VM's directory: the thread that made the VM, and the VM's descriptor there.
pub(crate) struct Name {
    pid: i32,
    descriptor: AtomicI32,
}

impl Name {
    /// The name of the directory of a new VM of a thread.
    pub(crate) const fn new(pid: i32) -> Self {
        Self {
            pid,
            descriptor: AtomicI32::new(-1),
        }
    }

    /// The VM gets a descriptor.
    pub(crate) fn set_descriptor(&self, descriptor: i32) {
        self.descriptor.store(descriptor, Ordering::Relaxed);
    }

    /// As text. A descriptor can be passed on, closed, and given again to the thread's next VM. If
    /// another VM has the name, a number tells this one from it.
    pub(crate) fn text(&self, is_taken: bool) -> Result<CString> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let descriptor = self.descriptor.load(Ordering::Relaxed);
        Ok(if is_taken {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            CString::try_from_fmt(fmt!("{}-{descriptor}-{number}", self.pid))?
        } else {
            CString::try_from_fmt(fmt!("{}-{descriptor}", self.pid))?
        })
    }
}
