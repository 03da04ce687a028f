// SPDX-License-Identifier: GPL-2.0

//! The kernel's clocks.

use core::mem::MaybeUninit;

use kernel::bindings;

/// The values of two clocks at one moment.
pub(crate) struct Moment {
    /// CLOCK_REALTIME, in nanoseconds.
    pub(crate) time: i64,
    /// The architected counter, as the kernel reads it.
    pub(crate) counter: u64,
}

/// Reads the wall clock and the architected counter at one moment. `None` if the kernel's clock
/// source is not that counter.
pub(crate) fn real_time_and_counter() -> Option<Moment> {
    let mut snapshot = MaybeUninit::<bindings::system_time_snapshot>::zeroed();
    // SAFETY: The function fills the structure in, or marks it as not valid. All its fields are
    // integers, so the zeroes from before are values, too.
    let snapshot = unsafe {
        bindings::ktime_get_snapshot_id(bindings::CLOCK_REALTIME as i32, snapshot.as_mut_ptr());
        snapshot.assume_init()
    };
    let is_counter = snapshot.cs_id == bindings::clocksource_ids_CSID_ARM_ARCH_COUNTER;
    (snapshot.valid != 0 && is_counter).then_some(Moment {
        time: snapshot.systime,
        counter: snapshot.cycles,
    })
}
