// SPDX-License-Identifier: GPL-2.0

//! Tracepoints that a C file of the module defines (`CREATE_RUST_TRACE_POINTS`).
//!
//! `kernel::declare_trace!` does the same for tracepoints in the bindings of the kernel crate. The
//! tracepoints of a module are not in those bindings.

/// Declares tracepoints, each with the types of its arguments.
///
/// Each has a module of its name with two functions for [`trace!`](crate::trace::trace). `is_on` is
/// a static branch, which costs one `nop` while it is off; in a Thumb kernel, a look at the count
/// of those who listen. `hit` tells those who listen.
macro_rules! tracepoints {
    ($($(#[$attribute:meta])* $name:ident($($argument:ident: $type:ty),* $(,)?);)*) => {$(
        $(#[$attribute])*
        pub(crate) mod $name {
            /// Whether somebody listens.
            #[inline(always)]
            pub(crate) fn is_on() -> bool {
                // A Thumb kernel would patch a Thumb instruction into our Arm code.
                #[cfg(all(CONFIG_TRACEPOINTS, CONFIG_THUMB2_KERNEL))]
                kernel::macros::paste! {
                    let point = &raw const kvm_bindings::[<__tracepoint_ $name>];
                    // SAFETY: The key belongs to a tracepoint, which C has defined. The type of
                    // the key is a structure with a `static_key` alone.
                    return unsafe {
                        kernel::bindings::static_key_count(
                            (&raw const (*point).key).cast_mut().cast()
                        ) > 0
                    };
                }
                #[cfg(all(CONFIG_TRACEPOINTS, not(CONFIG_THUMB2_KERNEL)))]
                kernel::macros::paste! {
                    // SAFETY: The key belongs to a tracepoint, which C has defined.
                    return unsafe {
                        kernel::jump_label::static_branch_unlikely!(
                            kvm_bindings::[<__tracepoint_ $name>],
                            kernel::bindings::tracepoint,
                            key
                        )
                    };
                }
                #[cfg(not(CONFIG_TRACEPOINTS))]
                false
            }

            /// Tells those who listen.
            #[cold]
            #[inline(never)]
            pub(crate) fn hit($($argument: $type),*) {
                #[cfg(CONFIG_TRACEPOINTS)]
                kernel::macros::paste! {
                    // SAFETY: All arguments are values. The callee itself finds out who listens.
                    unsafe { kvm_bindings::[<rust_do_trace_ $name>]($($argument),*) };
                }
                #[cfg(not(CONFIG_TRACEPOINTS))]
                let _ = ($($argument,)*);
            }
        }
    )*};
}

pub(crate) use tracepoints;
