// SPDX-License-Identifier: GPL-2.0

//! Invalidating the entries of guests in the TLBs of all CPUs.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    Ordering, //
};

use machine::errata::TlbRepair;

use super::{
    call::HypCpuRef,
    register,
    takeover::Lowvisor, //
};
use crate::glue::cpu::{
    on_each_cpu,
    on_other_cpus_if,
    IrqsOff,
    ThisCpu,
    MAX_CPUS, //
};

/// The vCPU of a VM that ran last on each CPU: the CPU's TLBs hold entries of no other.
///
/// # Invariants
///
/// Only the CPU itself writes its element, with interrupts off. While it runs one of the VM's
/// vCPUs, the element is that vCPU. Ids of vCPUs are below `FINISHED - 1`.
pub(crate) struct LastRan([AtomicU8; MAX_CPUS]);

/// No vCPU ran. This includes [`FINISHED`].
const NOBODY: u8 = u8::MAX;

/// Beside the id of a vCPU: the CPU has finished all accesses of that vCPU.
const FINISHED: u8 = 1 << 7;

impl LastRan {
    /// Nobody ran.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU8::new(NOBODY) }; MAX_CPUS])
    }

    /// Notes that a vCPU is about to run on this CPU. Says whether it may be another one than the
    /// last: then the TLBs hold entries that are not its own.
    #[inline]
    pub(crate) fn comes_after_another(&self, cpu: ThisCpu<'_>, id: usize) -> bool {
        let Some(last) = self.0.get(cpu.number()) else {
            return true;
        };
        let before = last.load(Ordering::Relaxed);
        if before != id as u8 {
            last.store(id as u8, Ordering::Relaxed);
            // Before the guest uses a translation: who invalidates that later sees this CPU here.
            register::dsb();
        }
        before & !FINISHED != id as u8
    }

    /// Whether a CPU may have accesses by the VM's translations under way.
    fn may_use(&self, cpu: usize) -> bool {
        self.0
            .get(cpu)
            .is_some_and(|last| last.load(Ordering::Relaxed) & FINISHED == 0)
    }

    /// Finishes this CPU's accesses for the VM, none of whose vCPUs runs here.
    fn finish(&self, irqs: &IrqsOff) {
        register::dmb();
        // INVARIANT: This CPU's element, with interrupts off. The next vCPU enters itself.
        if let Some(last) = self.0.get(irqs.cpu()) {
            let id = last.load(Ordering::Relaxed);
            last.store(id | FINISHED, Ordering::Relaxed);
        }
    }
}

/// The work that errata of the host's CPUs ask for after TLB maintenance: the most that one of them
/// asks for. The CPU that does the maintenance does that work, too, and it may be of another core.
///
/// A CPU's own wish is there before the CPU runs a guest: a DSB is between, in
/// [`LastRan::comes_after_another`]. So who invalidates a translation that such a guest uses, and
/// then looks here, finds the wish.
pub(super) struct TlbRepairs {
    repeat: AtomicBool,
    interrupt: AtomicBool,
}

impl TlbRepairs {
    /// No CPU is known yet.
    pub(super) const fn new() -> Self {
        Self {
            repeat: AtomicBool::new(false),
            interrupt: AtomicBool::new(false),
        }
    }

    /// Adds the wish of a CPU.
    pub(super) fn add(&self, repair: TlbRepair) {
        if repair != TlbRepair::None {
            self.repeat.store(true, Ordering::Relaxed);
        }
        if repair == TlbRepair::RepeatAndInterrupt {
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }
}

impl Lowvisor {
    /// Invalidates the entries of the VMID in `vttbr` in the TLBs of all CPUs, and waits until no
    /// CPU uses them. Interrupts must be on. Says how many CPUs had to be interrupted for that.
    pub(crate) fn flush_tlb_vmid(&self, vttbr: u64, last_ran: &LastRan) -> u32 {
        self.invalidate(|hyp| hyp.flush_tlb_vmid(vttbr));
        if !IrqsOff::with(|irqs| self.must_interrupt(&irqs, last_ran)) {
            return 0;
        }
        let interrupted = AtomicU32::new(0);
        // This CPU has finished its own by the DSB, or when it was given to this task.
        on_other_cpus_if(
            |cpu| last_ran.may_use(cpu),
            |irqs| {
                last_ran.finish(irqs);
                interrupted.fetch_add(1, Ordering::Relaxed);
            },
        );
        interrupted.into_inner()
    }

    /// The same with interrupts off, when this CPU must not wait for others. Says whether no other
    /// CPU uses the entries: if not, [`Self::flush_tlb_vmid`] has to follow.
    pub(crate) fn flush_tlb_vmid_from_here(&self, vttbr: u64, last_ran: &LastRan) -> bool {
        IrqsOff::with(|irqs| {
            let Some(hyp) = self.this_cpu(&irqs) else {
                return false;
            };
            hyp.flush_tlb_vmid(vttbr);
            self.repeat();
            !self.must_interrupt(&irqs, last_ran)
        })
    }

    /// Whether another CPU has to be interrupted, as it may have accesses of the VM under way.
    fn must_interrupt(&self, irqs: &IrqsOff, last_ran: &LastRan) -> bool {
        self.tlb_repairs.interrupt.load(Ordering::Relaxed)
            && (0..MAX_CPUS).any(|cpu| cpu != irqs.cpu() && last_ran.may_use(cpu))
    }

    fn repeat(&self) {
        if self.tlb_repairs.repeat.load(Ordering::Relaxed) {
            register::invalidate_tlb_of_nothing();
        }
    }

    /// Invalidates the entries of all VMIDs in the TLBs of all CPUs, and instruction caches.
    /// Interrupts must be on. No guest runs that uses one of them.
    pub(crate) fn flush_tlb_all_vmids(&self) {
        self.invalidate(|hyp| hyp.flush_tlb_all_vmids());
        if self.tlb_repairs.interrupt.load(Ordering::Relaxed) {
            on_each_cpu(|_| register::dmb());
        }
    }

    /// Calls what invalidates TLB entries on all CPUs.
    fn invalidate(&self, call: impl Fn(&HypCpuRef<'_>) + Sync) {
        let on_this_cpu = |irqs: &IrqsOff| {
            let hyp = self.this_cpu(irqs);
            hyp.map(|hyp| call(&hyp)).is_some()
        };
        if !IrqsOff::with(|irqs| on_this_cpu(&irqs)) {
            // HYP mode is not ours on this CPU: it is going offline, or the machine down, or the
            // firmware did not give it back. Other CPUs have it still; or the guests there have
            // just exited to answer this, and are not entered again.
            on_each_cpu(|irqs| {
                on_this_cpu(irqs);
            });
        }
        self.repeat();
    }
}
