// SPDX-License-Identifier: GPL-2.0

//! The memory in which this code itself lies: that of the module, or, if the code is built into the
//! kernel, parts of the kernel's image.

use armv7::addr::Pa;
use kvm_bindings as glue;

use super::{
    page::PAGE_SIZE,
    safe, //
};

/// A part of the memory that code of HYP mode needs.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// The code. If it is built in, only that part in which the kernel puts no probes.
    Text = glue::KVM_ARM_IMAGE_TEXT as isize,
    /// Constants.
    RoData = glue::KVM_ARM_IMAGE_RODATA as isize,
    /// Data that nobody writes after initialisation. If they are built in, they are among the
    /// constants.
    RoAfterInit = glue::KVM_ARM_IMAGE_RO_AFTER_INIT as isize,
}

impl Part {
    /// All parts.
    pub(crate) const ALL: [Self; glue::KVM_ARM_IMAGE_PARTS as usize] =
        [Self::Text, Self::RoData, Self::RoAfterInit];

    /// Its pages: the kernel's address of each, and where it lies.
    pub(crate) fn pages(self) -> impl Iterator<Item = (usize, Pa)> {
        let range = safe::kvm_arm_image(self as kernel::ffi::c_uint);
        let first = range.start & !(PAGE_SIZE - 1);
        (first..range.end)
            .step_by(PAGE_SIZE)
            .map(|va| (va, Pa(safe::kvm_arm_image_pa(va))))
    }
}

/// Whether an address is in the code of this module, or, if that is built in, in the part of the
/// kernel's code that HYP mode runs.
pub(crate) fn is_own_text(address: u32) -> bool {
    safe::kvm_arm_is_own_text(address as usize)
}
