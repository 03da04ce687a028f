// SPDX-License-Identifier: GPL-2.0

//! The kernel's random numbers.

use kernel::bindings;

/// Random words, fit for keys; `None` as long as the kernel has not yet gathered enough entropy.
pub(crate) fn words<const N: usize>() -> Option<[u32; N]> {
    // SAFETY: May be called in any context.
    if !unsafe { bindings::rng_is_initialized() } {
        return None;
    }
    let mut words = [0u32; N];
    // SAFETY: The buffer is as large as is said, and any bytes are valid.
    unsafe { bindings::get_random_bytes((&raw mut words).cast(), size_of::<[u32; N]>()) };
    Some(words)
}
