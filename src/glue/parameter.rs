// SPDX-License-Identifier: GPL-2.0

//! Parameters of the module that can be written while it is loaded. The kernel crate has only such
//! as are fixed, so these are defined in `src/helpers.c`.

use kvm_bindings as glue;

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident = $helper:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name() -> u32 {
                // SAFETY: Reads a variable.
                unsafe { glue::$helper() }
            }
        )*
    };
}

parameters! {
    /// The longest time to look out for an interrupt before sleeping.
    halt_poll_ns = kvm_arm_halt_poll_ns;
    /// The factor by which that time grows up to there.
    halt_poll_ns_grow = kvm_arm_halt_poll_ns_grow;
    /// Where it starts to grow.
    halt_poll_ns_grow_start = kvm_arm_halt_poll_ns_grow_start;
    /// The divisor by which it shrinks.
    halt_poll_ns_shrink = kvm_arm_halt_poll_ns_shrink;
}
