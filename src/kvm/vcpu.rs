// SPDX-License-Identifier: GPL-2.0

//! A virtual CPU: its state, and the requests that other threads make while it runs.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

use armv7::regs;
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
        RelativeHardMode,
        RelativePinnedHardMode, //
    },
    time::{
        Delta,
        Monotonic, //
    },
};
use kvm_bindings as uapi;
use machine::{
    cp15,
    doorbell::Runner,
    psci, //
};

pub(crate) use crate::hyp::doorbell::request;

use super::{
    host::Host,
    loaded::Home,
    run_page::RunPage,
    stats::VcpuStats,
    vcpu_state::VcpuState, //
};
use crate::{
    glue::{
        mutex::lock_killable,
        wait::Wait, //
    },
    hyp::{
        call::Exit,
        context::VcpuContext,
        doorbell::{
            Doorbell,
            VcpuPage, //
        },
        shared::HypShared, //
    },
    trace::{
        self,
        trace, //
    },
};

/// The power state of a vCPU, and the start that CPU_ON asked for (PSCI).
#[derive(Clone, Copy, Default)]
pub(crate) struct MpState {
    pub(crate) off: bool,
    /// The vCPU is on, and waits until the monitor sets it going (KVM_MP_STATE_SUSPENDED).
    pub(crate) suspended: bool,
    /// CPU_ON sets it, and the holder of the vCPU's mutex takes it.
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

/// Wakes a vCPU that waits: for a request, or when a timer expires.
#[pin_data]
pub(crate) struct Waker {
    #[pin]
    wait: Wait,
    #[pin]
    timer: HrTimer<Self>,
    /// Whether the timer has expired since it was started.
    expired: AtomicU32,
}

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Waker {
        mode: RelativePinnedHardMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Waker {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: kernel::sync::ArcBorrow<'_, Self>,
        _ctx: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.expired.store(1, Ordering::Release);
        this.wait.wake_up();
        HrTimerRestart::NoRestart
    }
}

/// A virtual CPU.
#[pin_data]
pub(crate) struct Vcpu {
    pub(crate) id: usize,
    pub(crate) run_page: RunPage,
    pub(crate) stats: HypShared<VcpuStats>,
    #[pin]
    pub(crate) state: Mutex<VcpuState>,
    #[pin]
    pub(crate) power: SpinLock<MpState>,
    /// Requests to it, and whether it is in the guest.
    pub(super) doorbell: Doorbell,
    /// Where the registers of its CPU interface are that outlast an exit.
    pub(super) home: Arc<Home>,
    /// MPIDR. PSCI finds a vCPU by its MPIDR.
    mpidr: AtomicU32,
    /// The thread that is in KVM_RUN.
    runner: Runner<bindings::task_struct>,
    /// HCR.VI and HCR.VF as a monitor's own interrupt controller sets them.
    irq_lines: AtomicU32,
    /// The interrupt of the performance monitors that user space chose, or [`NO_INTID`]. Writers
    /// hold the lock of the VM's `config`.
    pmu_intid: AtomicU32,
    waker: Arc<Waker>,
    /// Makes the vCPU leave the guest and look at its lines, while it is in KVM_RUN.
    #[pin]
    alarm: HrTimer<Self>,
}

/// No interrupt is chosen.
const NO_INTID: u32 = u32::MAX;

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Vcpu {
        mode: RelativeHardMode<Monotonic>, field: self.alarm
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

/// A running timer of a [`Waker`]. To drop this cancels the timer.
pub(crate) type WakerHandle = ArcHrTimerHandle<Waker>;

/// A running alarm. To drop this cancels the alarm.
pub(crate) type Alarm = ArcHrTimerHandle<Vcpu>;

impl Vcpu {
    /// Makes a vCPU that waits for KVM_ARM_VCPU_INIT.
    pub(crate) fn new(id: usize, host: &Host) -> Result<Arc<Self>> {
        let page = VcpuPage::new(&host.lowvisor)?;
        let state = VcpuState::new(host, page.context)?;
        let waker = Arc::pin_init(
            pin_init!(Waker {
                wait <- Wait::new(),
                timer <- HrTimer::new(),
                expired: AtomicU32::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        Arc::pin_init(
            try_pin_init!(Self {
                id,
                run_page: RunPage::new()?,
                stats: page.more,
                state <- new_mutex!(state, "kvm_arm_vcpu"),
                power <- new_spinlock!(MpState::default(), "kvm_arm_vcpu_power"),
                doorbell: page.doorbell,
                home: Home::new()?,
                mpidr: AtomicU32::new(cp15::mpidr(*id as u32)),
                runner: Runner::default(),
                irq_lines: AtomicU32::new(0),
                pmu_intid: AtomicU32::new(NO_INTID),
                waker,
                alarm <- HrTimer::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes the vCPU's mutex for an ioctl. Another thread may hold it in KVM_RUN for ever: `EINTR`
    /// if the calling thread is killed meanwhile.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, VcpuState>> {
        lock_killable(&self.state)
    }

    /// Asks something of the vCPU and makes sure that it notices soon. Any context.
    pub(crate) fn request(&self, what: u32) {
        let is_in_guest = self.doorbell.ring(what).is_some();
        self.waker.wait.wake_up();
        if is_in_guest {
            let _rcu = rcu::read_lock();
            let task = self.runner.task();
            if !task.is_null() {
                // SAFETY: A task that was published here is freed a grace period after its thread
                // has left KVM_RUN. The thread clears `runner` before it leaves.
                unsafe { bindings::kick_process(task) };
            }
        }
    }

    /// Whether a request is pending.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.doorbell.has_requests()
    }

    /// Publishes the thread that runs the vCPU for the time of `f`.
    pub(crate) fn with_task<R>(&self, f: impl FnOnce() -> R) -> R {
        self.runner.with(kernel::current!().as_ptr(), f)
    }

    /// Counts and traces an exit of the guest.
    #[inline]
    pub(crate) fn note_exit(&self, exit: Exit, state: &mut VcpuState) {
        let hsr = state.context.fault.hsr;
        trace!(kvm_exit(
            trace::why(exit),
            hsr,
            state.context.core.pc,
            self.id as u32
        ));
        self.stats.count_exit(exit, hsr);
        // Only interrupts take the counts of HYP mode, so traps stay fast. The host's tick
        // interrupts often enough.
        if exit == Exit::Interrupt {
            self.stats.take_answered(&mut state.context.answered);
        }
    }

    /// Counts and traces a return of KVM_RUN to user space.
    #[inline]
    pub(crate) fn note_user_exit(&self, context: &mut VcpuContext, result: &Result<isize>) {
        if context.answered.any() {
            self.stats.take_answered(&mut context.answered);
        }
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
        let task = self.runner.task();
        // SAFETY: A task that was published here is freed a grace period after its thread has left
        // KVM_RUN. The thread clears `runner` before it leaves.
        let task = unsafe { task.cast::<Task>().as_ref() }?;
        Some(task.into())
    }

    /// PSCI CPU_ON for this vCPU: starts it. The result is PSCI's status.
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

    /// Follows a change of MPIDR by user space or by a reset.
    pub(crate) fn set_mpidr(&self, value: u32) {
        self.mpidr.store(value, Ordering::Relaxed);
    }

    /// The interrupt of the performance monitors, if user space has chosen one.
    pub(crate) fn pmu_intid(&self) -> Option<u32> {
        Some(self.pmu_intid.load(Ordering::Relaxed)).filter(|&intid| intid != NO_INTID)
    }

    /// Chooses the interrupt of the performance monitors.
    pub(crate) fn set_pmu_intid(&self, intid: u32) {
        self.pmu_intid.store(intid, Ordering::Relaxed);
    }

    /// Makes the vCPU look at its interrupts in `ns` nanoseconds, in the guest or in the host. Only
    /// one such alarm may run.
    pub(crate) fn set_alarm(this: &Arc<Self>, ns: u64) -> Alarm {
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        this.clone().start(Delta::from_nanos(ns))
    }

    /// The lines that KVM_IRQ_LINE drives, as bits of HCR.
    #[inline]
    pub(crate) fn irq_lines(&self) -> u32 {
        // A line that changes afterwards comes with a request, which `try_enter` has a barrier for.
        self.irq_lines.load(Ordering::Relaxed)
    }

    /// Drives one of the lines of KVM_IRQ_LINE.
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

    /// Lowers all lines of KVM_IRQ_LINE.
    pub(super) fn lower_irq_lines(&self) {
        self.irq_lines.store(0, Ordering::Release);
    }

    /// Wakes the vCPU in `ns` nanoseconds, if it waits then. If it is in the guest on the CPU of
    /// the caller, the timer's interrupt ends the guest's run. Only one such timer may run.
    pub(crate) fn wake_in(&self, ns: u64) -> WakerHandle {
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        self.waker.clone().start(Delta::from_nanos(ns))
    }

    /// Sleeps until `ready`, a request, a signal, or the end of `timeout` nanoseconds. The caller
    /// holds the vCPU's mutex, so nobody else waits.
    pub(crate) fn wait(&self, timeout: Option<u64>, ready: impl Fn() -> bool) -> Result {
        let waker = &self.waker;
        waker.expired.store(0, Ordering::Relaxed);
        // The handle cancels the timer when it is dropped.
        let _timer = timeout.map(|ns| self.wake_in(ns));
        waker
            .wait
            .until(|| self.has_requests() || waker.expired.load(Ordering::Acquire) != 0 || ready())
    }
}
