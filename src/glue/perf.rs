// SPDX-License-Identifier: GPL-2.0

//! Events that the host's performance monitors count for a thread, a part of its time at a time.
//!
//! An event of the perf core belongs to a thread and counts whenever the thread is on a CPU. Here
//! it counts only between [`PerfEvent::resume`] and [`PerfEvent::pause`]: outside of them it is
//! stopped as the driver of the monitors stops it, and what it counts before its first stop, after
//! the scheduler has brought the thread back, is taken off.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};
use kvm_bindings as glue;

use super::cpu::IrqsOff;

/// A kernel counter of the perf core for the thread that made it.
///
/// # Invariants
///
/// `event` is ours alone, from its creation until it is released on drop.
pub(crate) struct PerfEvent {
    event: NonNull<bindings::perf_event>,
    /// Only to be compared. The event keeps the task from being freed, so no other has the address.
    task: *mut bindings::task_struct,
    /// The event's count when it was resumed.
    before: u64,
    total: u64,
}

// SAFETY: The functions of the perf core may be called by any thread; the pointer to the task is
// never followed.
unsafe impl Send for PerfEvent {}
// SAFETY: There are no methods that change anything by a shared reference.
unsafe impl Sync for PerfEvent {}

impl PerfEvent {
    /// Makes the event with a number of the host's monitors, for the current thread; it can be
    /// resumed from now on. May sleep.
    ///
    /// With `interrupts` the monitors interrupt the CPU at an overflow; not all can.
    pub(crate) fn new(number: u64, user: bool, kernel: bool, interrupts: bool) -> Result<Self> {
        // SAFETY: In process context. The callee holds what it needs of the current thread.
        let event = from_err_ptr(unsafe {
            glue::kvm_arm_perf_event_create(number, user, kernel, interrupts)
        })?;
        // INVARIANT: Just made for us.
        Ok(Self {
            event: NonNull::new(event).ok_or(ENODEV)?,
            task: kernel::current!().as_ptr(),
            before: 0,
            total: 0,
        })
    }

    /// Whether it counts for the current thread.
    pub(crate) fn is_for_current(&self) -> bool {
        self.task == kernel::current!().as_ptr()
    }

    /// Takes it to the monitors again after [`disable`](Self::disable). May sleep.
    pub(crate) fn enable(&mut self) {
        // SAFETY: Ours, by the type's invariant.
        unsafe { glue::kvm_arm_perf_event_enable(self.event.as_ptr()) };
    }

    /// Takes it from the monitors, so that others can have the place. May sleep.
    pub(crate) fn disable(&mut self) {
        // SAFETY: Ours, by the type's invariant.
        unsafe { glue::kvm_arm_perf_event_disable(self.event.as_ptr()) };
    }

    /// Counts from now on, with an interrupt after `period` if it is not zero. Interrupts stay off
    /// until [`pause`](Self::pause).
    ///
    /// It does not count now if there are more events than counters, or if this is not its thread.
    pub(crate) fn resume(&mut self, _irqs: &IrqsOff, period: u64) {
        // SAFETY: Ours, by the type's invariant. Interrupts are off, so the event stays where it
        // is.
        self.before = unsafe { glue::kvm_arm_perf_event_resume(self.event.as_ptr(), period) };
    }

    /// Counts no longer.
    pub(crate) fn pause(&mut self, _irqs: &IrqsOff) {
        // SAFETY: As in `resume`.
        let now = unsafe { glue::kvm_arm_perf_event_pause(self.event.as_ptr()) };
        self.total = self.total.wrapping_add(now.wrapping_sub(self.before));
    }

    /// How many there were, while it counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

impl Drop for PerfEvent {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type's invariant, and not used after this.
        unsafe { glue::kvm_arm_perf_event_release(self.event.as_ptr()) };
    }
}
