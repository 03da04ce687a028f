// SPDX-License-Identifier: GPL-2.0

//! The kernel's random numbers.

use kernel::bindings;

use super::safe;

/// Random words, fit for keys; `None` as long as the kernel has not yet gathered enough entropy.
pub(crate) fn words<const N: usize>() -> Option<[u32; N]> {
    if !safe::rng_is_initialized() {
        return None;
    }
    let mut words = [0u32; N];
    // SAFETY: The callee writes as many bytes as the array has; all values of them are valid.
    unsafe { bindings::get_random_bytes((&raw mut words).cast(), size_of::<[u32; N]>()) };
    Some(words)
}
