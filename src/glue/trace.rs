// SPDX-License-Identifier: GPL-2.0

//! Tracepoints that a C file of the module defines (`CREATE_RUST_TRACE_POINTS`).
//!
//! `kernel::declare_trace!` does the same for tracepoints in the kernel crate's own bindings; those
//! of a module are not there.

/// Declares tracepoints, each with the types of its arguments.
///
/// For each there is a module of its name with `is_on`, which is a static branch, so that it costs
/// one `nop` while it is not, and `hit`. [`trace!`] uses them.
macro_rules! tracepoints {
    ($($(#[$attribute:meta])* $name:ident($($argument:ident: $type:ty),* $(,)?);)*) => {$(
        $(#[$attribute])*
        pub(crate) mod $name {
            /// Whether somebody wants to know.
            #[inline(always)]
            pub(crate) fn is_on() -> bool {
                #[cfg(CONFIG_TRACEPOINTS)]
                kernel::macros::paste! {
                    // SAFETY: The key is that of a tracepoint, which C defined.
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

            /// Tells them.
            #[cold]
            #[inline(never)]
            pub(crate) fn hit($($argument: $type),*) {
                #[cfg(CONFIG_TRACEPOINTS)]
                kernel::macros::paste! {
                    // SAFETY: All arguments are passed by value, and the callee looks for itself
                    // who listens.
                    unsafe { kvm_bindings::[<rust_do_trace_ $name>]($($argument),*) };
                }
                #[cfg(not(CONFIG_TRACEPOINTS))]
                let _ = ($($argument,)*);
            }
        }
    )*};
}

pub(crate) use tracepoints;
