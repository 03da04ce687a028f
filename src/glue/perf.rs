// SPDX-License-Identifier: GPL-2.0

//! Events that the host's performance monitors count for a thread, during parts of its time.
//!
//! An event of the perf core belongs to a thread and counts whenever the thread is on a CPU. A
//! [`PerfEvent`] counts only between [`PerfEvent::resume`] and [`PerfEvent::pause`]. Outside of
//! them the driver of the monitors has stopped it. The scheduler starts it again when it brings the
//! thread back to a CPU; [`PerfEvent`] subtracts the count from then to the next stop.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    ffi,
    prelude::*, //
};
use kvm_bindings as glue;

use super::{
    any_thread::AnyThread,
    cpu::IrqsOff,
    safe, //
};

/// The performance monitors of some CPUs, as the perf core knows them: machines with CPUs of
/// different cores have several. An event that is for those of other CPUs never counts.
#[derive(Clone, Copy)]
pub(crate) struct Monitors(u32);

impl Monitors {
    /// Gives those of a CPU, if it is online and they count an event with this number, with an
    /// interrupt at an overflow if that is asked for. May sleep.
    pub(crate) fn of_cpu(cpu: usize, number: u64, interrupts: bool) -> Result<Self> {
        let found = safe::kvm_arm_perf_monitors(cpu as ffi::c_int, number, interrupts);
        // Numbers of the perf core are small, and errors are negative.
        u32::try_from(found).map(Self).map_err(|_| ENODEV)
    }
}

/// A kernel counter of the perf core for the thread that made it.
///
/// # Invariants
///
/// Only this value uses `event`, from its creation to its release on drop.
pub(crate) struct PerfEvent {
    event: AnyThread<NonNull<bindings::perf_event>>,
    /// The address of the task, which is only compared. The event keeps the task from being freed,
    /// so no other task has this address.
    task: usize,
    /// The event's count when it was resumed.
    before: u64,
    total: u64,
}

impl PerfEvent {
    /// Makes the event with a number of the host's monitors, for the current thread, ready to be
    /// resumed. May sleep.
    ///
    /// With `interrupts` the monitors interrupt the CPU at an overflow. Not all monitors can.
    pub(crate) fn new(
        monitors: Monitors,
        number: u64,
        user: bool,
        kernel: bool,
        interrupts: bool,
    ) -> Result<Self> {
        // SAFETY: In process context. The event holds a reference to the current thread. The
        // functions of the perf core may be called by any thread.
        let event = unsafe {
            let event =
                glue::kvm_arm_perf_event_create(monitors.0, number, user, kernel, interrupts);
            AnyThread::new(NonNull::new(from_err_ptr(event)?).ok_or(ENODEV)?)
        };
        // INVARIANT: The event is new, so nobody else uses it.
        Ok(Self {
            event,
            task: kernel::current!().as_ptr() as usize,
            before: 0,
            total: 0,
        })
    }

    /// Whether the event counts for the current thread.
    pub(crate) fn is_for_current(&self) -> bool {
        self.task == kernel::current!().as_ptr() as usize
    }

    /// Gives the event to the monitors again after [`disable`](Self::disable). May sleep.
    pub(crate) fn enable(&mut self) {
        // SAFETY: Only this value uses the event, by the type's invariant.
        unsafe { glue::kvm_arm_perf_event_enable(self.event.as_ptr()) };
    }

    /// Takes the event from the monitors, so that another event can have its counter. May sleep.
    pub(crate) fn disable(&mut self) {
        // SAFETY: Only this value uses the event, by the type's invariant.
        unsafe { glue::kvm_arm_perf_event_disable(self.event.as_ptr()) };
    }

    /// Counts from now on, with an interrupt after `period` if that is not zero. Interrupts should
    /// stay off until [`pause`](Self::pause); else the count includes what runs meanwhile.
    ///
    /// Nothing counts if there are more events than counters, or if this is another thread.
    pub(crate) fn resume(&mut self, _irqs: &IrqsOff, period: u64) {
        // SAFETY: Only this value uses the event, by the type's invariant. Interrupts are off, so
        // the event stays on its CPU. The callee leaves an event of another CPU alone.
        self.before = unsafe { glue::kvm_arm_perf_event_resume(self.event.as_ptr(), period) };
    }

    /// Stops to count.
    pub(crate) fn pause(&mut self, _irqs: &IrqsOff) {
        // SAFETY: Only this value uses the event, by the type's invariant. Interrupts are off, so
        // the event stays on its CPU. The callee leaves an event of another CPU alone.
        let now = unsafe { glue::kvm_arm_perf_event_pause(self.event.as_ptr()) };
        self.total = self.total.wrapping_add(now.wrapping_sub(self.before));
    }

    /// The number of events from each `resume` to its `pause`.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

impl Drop for PerfEvent {
    fn drop(&mut self) {
        // SAFETY: Only this value uses the event, by the type's invariant, and this is its end.
        unsafe { glue::kvm_arm_perf_event_release(self.event.as_ptr()) };
    }
}
