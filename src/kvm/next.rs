// SPDX-License-Identifier: GPL-2.0

//! What KVM_RUN does next.

/// What follows when an exit from the guest, or a part of it, is dealt with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Back into the guest.
    Resume,
    /// To the monitor, for the reason that is in the run page.
    ToUser,
}
