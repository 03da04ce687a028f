// SPDX-License-Identifier: GPL-2.0

//! The next step of KVM_RUN.

/// The next step of KVM_RUN when it has dealt with an exit from the guest, or with a part of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Back into the guest.
    Resume,
    /// To the monitor, for the reason that is in the run page.
    ToUser,
}
