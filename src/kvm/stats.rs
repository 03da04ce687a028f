// SPDX-License-Identifier: GPL-2.0

//! The statistics of VMs and vCPUs.
//!
//! The thread that holds a vCPU's mutex writes the counters of the vCPU; [`Counter`] defines the
//! value that readers see meanwhile. Any CPU adds to the counters of a VM's memory, by atomic
//! operations (`mem::stats`). Statistics that arm64 has, too, have arm64's names.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use armv7::hsr::{
    ExceptionClass,
    Wfx, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
    uaccess::UserSliceWriter, //
};
use kvm_bindings as uapi;
use machine::stats::{
    Counter,
    Descriptor,
    Histogram,
    Kind,
    StatsFile,
    NAME_SIZE, //
};
use static_assertions::const_assert_eq;

use crate::{
    hyp::{
        answer::Answered,
        call::Exit,
        shared::FromZeroes, //
    },
    mem::stats::MemoryStats, //
};

const_assert_eq!(
    Kind::Flag.flags(),
    uapi::KVM_STATS_TYPE_INSTANT | uapi::KVM_STATS_UNIT_BOOLEAN | uapi::KVM_STATS_BASE_POW10
);
const_assert_eq!(
    Kind::NanosecondsHistogram.flags(),
    uapi::KVM_STATS_TYPE_LOG_HIST | uapi::KVM_STATS_UNIT_SECONDS
);
const_assert_eq!(
    Kind::Nanoseconds.flags(),
    uapi::KVM_STATS_TYPE_CUMULATIVE | uapi::KVM_STATS_UNIT_SECONDS
);
const_assert_eq!(Kind::Count.flags(), uapi::KVM_STATS_UNIT_NONE);

/// The number of exception classes that HSR.EC can tell apart.
pub(crate) const EXIT_CLASSES: usize = 64;

/// The counters of a vCPU. They begin as zeroes.
pub(crate) struct VcpuStats {
    /// Traps, by the exception class of their syndrome. The way out of the guest counts each exit
    /// once: here, in `interrupts` or in `others`.
    traps: [Counter; EXIT_CLASSES],
    /// Exits for an interrupt of the host.
    interrupts: Counter,
    /// Exits for an address that no longer translated, or after a fault inside HYP mode.
    others: Counter,
    wfi: Counter,
    wfe: Counter,
    /// Traps that HYP mode answered, which are no exits.
    answered_hvc: Counter,
    answered_cp15: Counter,
    answered_mmio: Counter,
    /// Interrupts of the virtual timer that HYP mode gave to the guest, which are no exits either.
    pub(crate) relayed: Counter,
    /// Polls for an interrupt before a sleep in WFI, and the time that they took.
    poll_successes: Counter,
    poll_failures: Counter,
    poll_success_ns: Counter,
    poll_fail_ns: Counter,
    poll_success_histogram: Histogram,
    poll_fail_histogram: Histogram,
    /// Accesses that a device in the kernel answered.
    pub(crate) mmio_kernel: Counter,
    /// Returns of KVM_RUN for an access that the monitor has to carry out.
    pub(crate) mmio_user: Counter,
    /// Returns of KVM_RUN with EINTR.
    pub(crate) signals: Counter,
    /// Sleeps in WFI that have ended, and their time.
    wakeups: Counter,
    wait_ns: Counter,
    wait_histogram: Histogram,
    /// Whether the vCPU sleeps in WFI.
    blocking: AtomicBool,
}

// SAFETY: Counters are atomics, for which zero is valid, as is a flag of zero.
unsafe impl FromZeroes for VcpuStats {}

impl VcpuStats {
    /// Counts an exit from the guest.
    #[inline]
    pub(crate) fn count_exit(&self, exit: Exit, hsr: u32) {
        match exit {
            Exit::Trap => {
                // HSR.EC (B3.13.6).
                if let Some(counter) = self.traps.get((hsr >> 26) as usize) {
                    counter.count();
                }
            }
            Exit::Interrupt => self.interrupts.count(),
            Exit::Retry | Exit::HypFault(_) => self.others.count(),
        }
    }

    /// Counts a WFI or WFE.
    pub(crate) fn count_wfx(&self, wfx: Wfx) {
        match wfx {
            Wfx::Wfi => self.wfi.count(),
            Wfx::Wfe => self.wfe.count(),
        }
    }

    /// Moves the counts of HYP mode here.
    pub(crate) fn take_answered(&self, answered: &mut Answered) {
        if answered.hvc != 0 {
            self.answered_hvc.add(answered.hvc.into());
            answered.hvc = 0;
        }
        if answered.cp15 != 0 {
            self.answered_cp15.add(answered.cp15.into());
            answered.cp15 = 0;
        }
        if answered.mmio != 0 {
            self.answered_mmio.add(answered.mmio.into());
            self.mmio_kernel.add(answered.mmio.into());
            answered.mmio = 0;
        }
    }

    /// Counts a poll of `ns` nanoseconds for an interrupt before a sleep in WFI.
    pub(crate) fn count_poll(&self, success: bool, ns: u64) {
        let (polls, sum, histogram) = if success {
            (
                &self.poll_successes,
                &self.poll_success_ns,
                &self.poll_success_histogram,
            )
        } else {
            (
                &self.poll_failures,
                &self.poll_fail_ns,
                &self.poll_fail_histogram,
            )
        };
        polls.count();
        sum.add(ns);
        histogram.count(ns);
    }

    /// Counts the time from now until the result is dropped as sleep in WFI.
    pub(crate) fn sleep(&self) -> Sleep<'_> {
        self.blocking.store(true, Ordering::Relaxed);
        Sleep {
            stats: self,
            start: Instant::now(),
        }
    }

    /// The exits for traps of a class.
    pub(crate) fn traps(&self, class: usize) -> u64 {
        self.traps.get(class).map_or(0, Counter::get)
    }

    fn traps_of(&self, classes: &[ExceptionClass]) -> u64 {
        classes
            .iter()
            .map(|class| self.traps(class.bits() as usize))
            .fold(0, u64::wrapping_add)
    }

    fn exits(&self) -> u64 {
        let traps = self.traps.iter().map(Counter::get);
        let rest = self.interrupts.get().wrapping_add(self.others.get());
        traps.fold(rest, u64::wrapping_add)
    }
}

/// A vCPU's sleep, which ends when this is dropped.
pub(crate) struct Sleep<'a> {
    stats: &'a VcpuStats,
    start: Instant<Monotonic>,
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        let ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(0);
        self.stats.blocking.store(false, Ordering::Relaxed);
        self.stats.wakeups.count();
        self.stats.wait_ns.add(ns);
        self.stats.wait_histogram.count(ns);
    }
}

/// Statistics, and the functions that give their values, in the same order.
pub(crate) struct Statistics<T: 'static> {
    file: StatsFile,
    values: &'static [fn(&T, usize) -> u64],
}

impl<T> Statistics<T> {
    /// The places and names of the statistics of one number each.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.file
            .descriptors()
            .iter()
            .enumerate()
            .filter(|(_, descriptor)| descriptor.kind.size() == 1)
            .map(|(index, descriptor)| (index, descriptor.name))
    }

    /// The number of the statistic in a place.
    pub(crate) fn number(&self, index: usize, of: &T) -> u64 {
        self.values.get(index).map_or(0, |value| value(of, 0))
    }

    /// The size of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.file.size() as u64
    }

    /// Copies a part of the file to user space.
    pub(super) fn read(
        &self,
        id: &str,
        of: &T,
        position: u64,
        to: &mut UserSliceWriter,
    ) -> Result<usize> {
        let mut buffer = [0; 256];
        let mut done = 0;
        while !to.is_empty() {
            let room = to.len().min(buffer.len());
            let piece = buffer.get_mut(..room).ok_or(EINVAL)?;
            let position = position.saturating_add(done as u64);
            let read = self.file.read(id, position, piece, |statistic, index| {
                self.values
                    .get(statistic)
                    .map_or(0, |value| value(of, index))
            });
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            to.write_slice(bytes)?;
            done += read;
        }
        Ok(done)
    }
}

/// The places and names of those statistics that are one number each. There are `N` of them.
const fn numbers<const N: usize>(all: &[(Kind, &'static CStr)]) -> [(usize, &'static CStr); N] {
    let mut numbers = [(0, c""); N];
    let (mut n, mut index) = (0, 0);
    while index < all.len() {
        let (kind, name) = all[index];
        if kind.size() == 1 {
            numbers[n] = (index, name);
            n += 1;
        }
        index += 1;
    }
    numbers
}

/// A VM's numbers.
pub(crate) trait Numbers: Sync {
    /// A number of the VM, by its place among [`VM_STATISTICS`].
    fn vm_number(&self, index: usize) -> u64;

    /// The sum of a number over the vCPUs, by its place among [`VCPU_STATISTICS`].
    fn vcpu_number(&self, index: usize) -> u64;
}

macro_rules! statistics {
    (
        $(#[$attribute:meta])*
        $table:ident, $numbers:ident: $type:ty;
        $($name:ident: $kind:ident = $value:expr,)*
    ) => {
        /// The places and names of those that are one number each.
        pub(crate) const $numbers: [
            (usize, &CStr);
            0 $(+ (Kind::$kind.size() == 1) as usize)*
        ] = numbers(&[$((
            Kind::$kind,
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!(),
            },
        )),*]);

        $(#[$attribute])*
        pub(crate) static $table: Statistics<$type> = Statistics {
            file: StatsFile::new(&[$(Descriptor {
                name: {
                    const _: () = assert!(stringify!($name).len() < NAME_SIZE);
                    stringify!($name)
                },
                kind: Kind::$kind,
            }),*]),
            values: &[$($value),*],
        };
    };
}

statistics! {
    /// The statistics of a VM. All architectures have the first two.
    VM_STATISTICS, VM_NUMBERS: MemoryStats;
    remote_tlb_flush: Count = |s, _| s.tlb_flushes.get(),
    // Each request is one broadcast of the hardware.
    remote_tlb_flush_requests: Count = |s, _| s.tlb_flushes.get(),
    tlb_flush_interrupts: Count = |s, _| s.tlb_flush_interrupts.get(),
    pages_mapped: Count = |s, _| s.pages.get(),
    blocks_mapped: Count = |s, _| s.blocks.get(),
    pages_cleaned: Count = |s, _| s.cleaned.get(),
    mmu_invalidations: Count = |s, _| s.invalidations.get(),
    pages_aged: Count = |s, _| s.aged.get(),
    access_flag_faults: Count = |s, _| s.access_flag_faults.get(),
    icache_invalidations: Count = |s, _| s.icache_invalidations.get(),
}

statistics! {
    /// The statistics of a vCPU: first those of all architectures, then those of arm64, then ours.
    VCPU_STATISTICS, VCPU_NUMBERS: VcpuStats;
    halt_successful_poll: Count = |s, _| s.poll_successes.get(),
    halt_attempted_poll: Count =
        |s, _| s.poll_successes.get().wrapping_add(s.poll_failures.get()),
    // No poll ends for an event that turns out to be none.
    halt_poll_invalid: Count = |_, _| 0,
    halt_wakeup: Count = |s, _| s.wakeups.get(),
    halt_poll_success_ns: Nanoseconds = |s, _| s.poll_success_ns.get(),
    halt_poll_fail_ns: Nanoseconds = |s, _| s.poll_fail_ns.get(),
    halt_wait_ns: Nanoseconds = |s, _| s.wait_ns.get(),
    halt_poll_success_hist: NanosecondsHistogram =
        |s, class| s.poll_success_histogram.get(class),
    halt_poll_fail_hist: NanosecondsHistogram = |s, class| s.poll_fail_histogram.get(class),
    halt_wait_hist: NanosecondsHistogram = |s, class| s.wait_histogram.get(class),
    blocking: Flag = |s, _| s.blocking.load(Ordering::Relaxed).into(),
    hvc_exit_stat: Count = |s, _| s.traps_of(&[ExceptionClass::Hvc]),
    wfe_exit_stat: Count = |s, _| s.wfe.get(),
    wfi_exit_stat: Count = |s, _| s.wfi.get(),
    mmio_exit_user: Count = |s, _| s.mmio_user.get(),
    mmio_exit_kernel: Count = |s, _| s.mmio_kernel.get(),
    signal_exits: Count = |s, _| s.signals.get(),
    exits: Count = |s, _| s.exits(),
    smc_exits: Count = |s, _| s.traps_of(&[ExceptionClass::Smc]),
    cp15_exits: Count = |s, _| s.traps_of(&[ExceptionClass::Cp15, ExceptionClass::Cp15Double]),
    cp14_exits: Count = |s, _| s.traps_of(&[
        ExceptionClass::Cp14,
        ExceptionClass::Cp14LoadStore,
        ExceptionClass::Cp14Double,
    ]),
    instruction_aborts: Count = |s, _| s.traps_of(&[ExceptionClass::PrefetchAbort]),
    data_aborts: Count = |s, _| s.traps_of(&[ExceptionClass::DataAbort]),
    interrupt_exits: Count = |s, _| s.interrupts.get(),
    hyp_answered_hvc: Count = |s, _| s.answered_hvc.get(),
    hyp_answered_cp15: Count = |s, _| s.answered_cp15.get(),
    hyp_answered_mmio: Count = |s, _| s.answered_mmio.get(),
    hyp_relayed_timer: Count = |s, _| s.relayed.get(),
}
