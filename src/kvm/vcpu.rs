// SPDX-License-Identifier: GPL-2.0

//! A virtual CPU: its state, and what others may do to it while it runs.

use core::{
    cell::Cell,
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        Ordering, //
    },
};

use armv7::{
    cp15::Cp15Reg,
    policy,
    regs, //
};
use kernel::{
    bindings, new_mutex, new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Arc,
        Mutex,
        MutexGuard,
        SpinLock, //
    },
    task::Task,
    time::hrtimer::{
        ArcHrTimerHandle,
        HrTimer,
        HrTimerCallback,
        HrTimerCallbackContext,
        HrTimerPointer,
        HrTimerRestart,
        RelativeMode, //
    },
    time::{
        Delta,
        Monotonic, //
    },
};
use kvm_bindings as uapi;
use machine::{
    cp15,
    halt,
    psci,
    vgic::CpuInterface, //
};

use super::{
    host::Host,
    lines::{
        Intids,
        Lines, //
    },
    mmio::PendingMmio,
    pmu::VcpuPmu,
    run_page::RunPage,
    stats::VcpuStats,
    timer::VcpuTimers, //
};
use crate::{
    glue::{
        mutex::lock_killable,
        wait::WaitQueue, //
    },
    hyp::{
        call::Exit,
        context::VcpuContext,
        shared::HypBox, //
    },
    mem::address_space::Faults,
    trace::{
        self,
        trace, //
    },
};

/// Where a vCPU's thread is, for those who want its attention.
mod mode {
    /// In the host; it looks at requests before it enters the guest.
    pub(super) const HOST: u32 = 0;
    /// In the guest, or past the last look at requests.
    pub(super) const GUEST: u32 = 1;
}

/// What others ask of a vCPU.
pub(crate) mod request {
    /// Look at interrupts again.
    pub(crate) const INTERRUPT: u32 = 1 << 0;
    /// Take the power state that is in [`super::Power`].
    pub(crate) const POWER: u32 = 1 << 1;
    /// Take the VM's counter offset again.
    pub(crate) const COUNTER: u32 = 1 << 2;
}

/// Whether the vCPU runs at all, and how it starts when it does (PSCI).
#[derive(Clone, Copy, Default)]
pub(crate) struct Power {
    pub(crate) off: bool,
    /// It is on, and waits until the monitor sets it going (KVM_MP_STATE_SUSPENDED).
    pub(crate) suspended: bool,
    /// Set by CPU_ON.
    pub(crate) start: Option<Start>,
}

/// How a vCPU starts after CPU_ON.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) entry: u32,
    pub(crate) thumb: bool,
    pub(crate) context_id: u32,
    /// The caller's endianness is inherited (DEN 0022 5.6).
    pub(crate) big_endian: bool,
}

/// Wakes a vCPU that waits: from an interrupt, or when a timer expires.
#[pin_data]
pub(crate) struct Waker {
    #[pin]
    queue: WaitQueue,
    #[pin]
    timer: HrTimer<Self>,
    /// The timer has expired since it was started.
    expired: AtomicU32,
}

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Waker {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Waker {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: kernel::sync::ArcBorrow<'_, Self>,
        _ctx: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.expired.store(1, Ordering::Release);
        this.queue.wake_up();
        HrTimerRestart::NoRestart
    }
}

/// What only the vCPU's own thread touches, under the vCPU's mutex.
pub(crate) struct VcpuState {
    pub(crate) context: HypBox<VcpuContext>,
    /// The features of KVM_ARM_VCPU_INIT, once that was called.
    pub(crate) features: Option<u32>,
    pub(crate) has_run: bool,
    pub(crate) faults: Faults,
    pub(crate) timers: VcpuTimers,
    pub(crate) interface: CpuInterface,
    /// The signals that are masked during KVM_RUN, if that is not what the thread masks anyway.
    pub(crate) signal_mask: Option<u64>,
    /// FPINST and FPINST2, which these cores do not have: for user space to find what it wrote.
    pub(crate) fpinst: [u32; 2],
    /// The PC of an abort that was not that of the instruction that was found there.
    pub(crate) refetched_at: Option<u32>,
    /// An access that the monitor is to complete.
    pub(crate) mmio: Option<PendingMmio>,
    /// The vCPU is powered off.
    pub(crate) off: bool,
    /// The monitor has suspended it.
    pub(crate) suspended: bool,
    /// How long it looks out for an interrupt before it sleeps.
    pub(crate) halt_window: halt::Window,
    /// The vGIC may have something for the list registers.
    pub(crate) look_at_interrupts: bool,
    pub(crate) pmu: VcpuPmu,
    /// The interrupts of the vCPU's own devices.
    pub(crate) intids: Intids,
    /// Their levels as the vGIC knows them.
    pub(crate) lines: Cell<Lines>,
    /// The virtual timer's physical interrupt is to be active while the guest runs.
    pub(crate) timer_active: bool,
    /// The list register that HYP mode puts the virtual timer's interrupt into, if it may.
    pub(crate) timer_register: usize,
    /// It has done so, of which the vGIC has yet to know.
    pub(crate) timer_rose: bool,
}

/// A virtual CPU.
#[pin_data]
pub(crate) struct Vcpu {
    pub(crate) id: usize,
    pub(crate) run_page: RunPage,
    pub(crate) stats: VcpuStats,
    #[pin]
    pub(crate) state: Mutex<VcpuState>,
    #[pin]
    pub(crate) power: SpinLock<Power>,
    requests: AtomicU32,
    mode: AtomicU32,
    /// MPIDR, by which other vCPUs find this one (PSCI).
    mpidr: AtomicU32,
    /// The thread that is in KVM_RUN.
    task: AtomicPtr<bindings::task_struct>,
    /// HCR.VI and HCR.VF as a monitor's own interrupt controller sets them.
    irq_lines: AtomicU32,
    /// The interrupt of the performance monitors that user space chose, or [`NO_INTID`]. It is
    /// changed under the VM's `config`.
    pmu_intid: AtomicU32,
    waker: Arc<Waker>,
    /// Makes the vCPU come out and look at its lines, while it is in KVM_RUN.
    #[pin]
    alarm: HrTimer<Self>,
}

/// No interrupt is chosen.
const NO_INTID: u32 = u32::MAX;

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Vcpu {
        mode: RelativeMode<Monotonic>, field: self.alarm
    }
}

impl HrTimerCallback for Vcpu {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: kernel::sync::ArcBorrow<'_, Self>,
        _ctx: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.request(request::INTERRUPT);
        HrTimerRestart::NoRestart
    }
}

/// An alarm that is set; it is no longer when this is dropped.
pub(crate) type Alarm = ArcHrTimerHandle<Vcpu>;

impl Vcpu {
    /// Makes a vCPU that waits for KVM_ARM_VCPU_INIT.
    pub(crate) fn new(id: usize, host: &Host) -> Result<Arc<Self>> {
        let state = VcpuState {
            context: HypBox::zeroed(&host.lowvisor)?,
            features: None,
            has_run: false,
            faults: Faults::new()?,
            timers: VcpuTimers::new(),
            interface: CpuInterface::default(),
            signal_mask: None,
            fpinst: [0; 2],
            refetched_at: None,
            mmio: None,
            off: false,
            suspended: false,
            halt_window: halt::Window::new(),
            look_at_interrupts: false,
            pmu: VcpuPmu::new(host.lowvisor.core(), host.pmu, host.timer.frequency),
            intids: Intids::default(),
            lines: Cell::new(Lines::default()),
            timer_active: false,
            timer_register: 0,
            timer_rose: false,
        };
        let waker = Arc::pin_init(
            pin_init!(Waker {
                queue <- WaitQueue::new(),
                timer <- HrTimer::new(),
                expired: AtomicU32::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        Arc::pin_init(
            try_pin_init!(Self {
                id,
                run_page: RunPage::new()?,
                stats: VcpuStats::new(),
                state <- new_mutex!(state, "kvm_arm_vcpu"),
                power <- new_spinlock!(Power::default(), "kvm_arm_vcpu_power"),
                requests: AtomicU32::new(0),
                mode: AtomicU32::new(mode::HOST),
                mpidr: AtomicU32::new(cp15::mpidr(*id as u32)),
                task: AtomicPtr::new(core::ptr::null_mut()),
                irq_lines: AtomicU32::new(0),
                pmu_intid: AtomicU32::new(NO_INTID),
                waker,
                alarm <- HrTimer::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes the vCPU's mutex for an ioctl. The thread that has it may be in KVM_RUN for ever: `EINTR`
    /// if this one is killed meanwhile.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, VcpuState>> {
        lock_killable(&self.state)
    }

    /// Asks something of the vCPU and makes sure that it notices soon. Any context.
    pub(crate) fn request(&self, what: u32) {
        // Pairs with `try_enter`: either the vCPU sees the request before it enters the guest, or
        // we see that it is there.
        self.requests.fetch_or(what, Ordering::SeqCst);
        self.kick();
    }

    /// Wakes the vCPU if it waits, and makes it exit if it is in the guest.
    fn kick(&self) {
        self.waker.queue.wake_up();
        if self.mode.load(Ordering::SeqCst) == mode::GUEST {
            let _rcu = rcu::read_lock();
            let task = self.task.load(Ordering::SeqCst);
            if !task.is_null() {
                // SAFETY: A task that was published here is freed a grace period after its thread
                // has left KVM_RUN, which takes it away here first.
                unsafe { bindings::kick_process(task) };
            }
        }
    }

    /// Whether something was asked for.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::SeqCst) != 0
    }

    /// Takes what was asked for.
    #[inline]
    pub(crate) fn take_requests(&self) -> u32 {
        if self.requests.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// Declares that the guest is entered, unless something was asked for meanwhile. Interrupts
    /// are off, so that a kick's interrupt waits until the guest runs, and ends it at once.
    #[inline]
    pub(crate) fn try_enter(&self) -> bool {
        self.mode.store(mode::GUEST, Ordering::SeqCst);
        if self.has_requests() {
            self.leave();
            return false;
        }
        true
    }

    /// Declares that the guest was left.
    #[inline]
    pub(crate) fn leave(&self) {
        self.mode.store(mode::HOST, Ordering::Relaxed);
    }

    /// Publishes the thread that runs the vCPU for the time of `f`.
    pub(crate) fn with_task<R>(&self, f: impl FnOnce() -> R) -> R {
        self.task
            .store(kernel::current!().as_ptr(), Ordering::SeqCst);
        let result = f();
        self.task.store(core::ptr::null_mut(), Ordering::SeqCst);
        result
    }

    /// The guest was left: counts and traces why.
    #[inline]
    pub(crate) fn note_exit(&self, exit: Exit, state: &mut VcpuState) {
        let hsr = state.context.fault.hsr;
        trace!(kvm_exit(
            self.id as u32,
            trace::why(exit),
            hsr,
            state.context.core.pc
        ));
        self.stats.count_exit(exit, hsr);
        // Traps do not pay for what HYP mode counts. The host's tick interrupts often enough.
        if exit == Exit::Interrupt {
            self.stats.take_answered(&mut state.context.answered);
        }
    }

    /// KVM_RUN goes back to user space: counts and traces why.
    #[inline]
    pub(crate) fn note_user_exit(&self, context: &mut VcpuContext, result: &Result<isize>) {
        self.stats.take_answered(&mut context.answered);
        let reason = self.run_page.exit_reason();
        match result {
            Ok(_) if reason == uapi::KVM_EXIT_MMIO => self.stats.mmio_user.count(),
            Err(e) if *e == EINTR => self.stats.signals.count(),
            _ => (),
        }
        trace!(kvm_userspace_exit(
            reason,
            result.map_or_else(Error::to_errno, |_| 0)
        ));
    }

    /// The thread that is in KVM_RUN.
    pub(crate) fn task(&self) -> Option<ARef<Task>> {
        let _rcu = rcu::read_lock();
        let task = self.task.load(Ordering::SeqCst);
        // SAFETY: A task that was published here is freed a grace period after its thread has left
        // KVM_RUN, which takes it away here first.
        let task = unsafe { task.cast::<Task>().as_ref() }?;
        Some(task.into())
    }

    /// PSCI CPU_ON for this vCPU: starts it, or says why not.
    pub(crate) fn turn_on(&self, start: Start) -> u32 {
        {
            let mut power = self.power.lock();
            if !power.off {
                return psci::ALREADY_ON;
            }
            power.off = false;
            power.start = Some(start);
        }
        self.request(request::POWER);
        psci::SUCCESS
    }

    /// The MPIDR that the guest reads on this vCPU.
    pub(crate) fn mpidr(&self) -> u32 {
        self.mpidr.load(Ordering::Relaxed)
    }

    /// Follows a change of that register by user space, or its reset.
    pub(crate) fn set_mpidr(&self, value: u32) {
        self.mpidr.store(value, Ordering::Relaxed);
    }

    /// The interrupt of the performance monitors, if user space has chosen one.
    pub(crate) fn pmu_intid(&self) -> Option<u32> {
        Some(self.pmu_intid.load(Ordering::Relaxed)).filter(|&intid| intid != NO_INTID)
    }

    /// Chooses it.
    pub(crate) fn set_pmu_intid(&self, intid: u32) {
        self.pmu_intid.store(intid, Ordering::Relaxed);
    }

    /// Has the vCPU look at its interrupts in `ns` nanoseconds, wherever it is then. There may be
    /// but one such alarm.
    pub(crate) fn set_alarm(this: &Arc<Self>, ns: u64) -> Alarm {
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        this.clone().start(Delta::from_nanos(ns))
    }

    /// The lines that KVM_IRQ_LINE drives, as bits of HCR.
    #[inline]
    pub(crate) fn irq_lines(&self) -> u32 {
        self.irq_lines.load(Ordering::Acquire)
    }

    /// Drives such a line.
    pub(crate) fn set_irq_line(&self, line: regs::Hcr, level: bool) {
        let old = if level {
            self.irq_lines.fetch_or(line.bits(), Ordering::AcqRel)
        } else {
            self.irq_lines.fetch_and(!line.bits(), Ordering::AcqRel)
        };
        if (old & line.bits() != 0) != level {
            self.request(request::INTERRUPT);
        }
    }

    /// Sleeps until `ready`, a request, a signal, or the end of `timeout` nanoseconds.
    pub(crate) fn wait(&self, timeout: Option<u64>, ready: impl Fn() -> bool) -> Result {
        let waker = &self.waker;
        waker.expired.store(0, Ordering::Relaxed);
        // The handle cancels the timer when it is dropped.
        let _timer: Option<ArcHrTimerHandle<Waker>> = timeout.map(|ns| {
            let ns = i64::try_from(ns).unwrap_or(i64::MAX);
            waker.clone().start(Delta::from_nanos(ns))
        });
        waker.queue.wait_interruptible(|| {
            self.has_requests() || waker.expired.load(Ordering::Acquire) != 0 || ready()
        })
    }
}

impl VcpuState {
    /// Whether user space asked for performance monitors with an interrupt.
    pub(crate) fn has_pmu(&self) -> bool {
        self.features
            .is_some_and(|features| features & 1 << uapi::KVM_ARM_VCPU_PMU_V3 != 0)
    }

    /// Sets how far the guest's counter is behind the physical one.
    pub(crate) fn set_counter_offset(&mut self, offset: u64) {
        self.timers.set_offset(offset);
        self.context.control.cntvoff = [offset as u32, (offset >> 32) as u32];
    }

    /// Has the guest's writes to SCTLR trapped if its caches are off, and not if they are on.
    pub(crate) fn watch_caches(&mut self) {
        let watch = policy::HCR_CACHES_OFF.bits();
        if self.caches_on() {
            self.context.control.hcr &= !watch;
        } else {
            self.context.control.hcr |= watch;
        }
    }

    /// Whether the guest's data accesses go through the caches.
    pub(crate) fn caches_on(&self) -> bool {
        regs::Sctlr::from_bits_retain(self.context.cp15[Cp15Reg::Sctlr as usize]).caches_on()
    }
}
