// SPDX-License-Identifier: GPL-2.0

//! The doorbell of a vCPU, in memory that is mapped in HYP mode; [`machine::doorbell`] has the
//! protocol.

use core::ops::Deref;

use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(crate) use machine::doorbell::request;
pub(super) use machine::doorbell::Bell;

use super::{
    context::VcpuContext,
    shared::{
        FromZeroes,
        HypBox,
        HypPages,
        HypShared,
        LINE, //
    },
    takeover::Lowvisor,
};
use crate::glue::page::PAGE_SIZE;

// SAFETY: A bell is atomics alone, for which zero is valid.
unsafe impl FromZeroes for Bell {}

/// The doorbell of a vCPU.
pub(crate) struct Doorbell(HypShared<Bell>);

/// The parts of a vCPU that are in one page, which is mapped in HYP mode.
pub(crate) struct VcpuPage<S: Sync> {
    pub(crate) context: HypBox<VcpuContext>,
    pub(crate) doorbell: Doorbell,
    /// A value of the highvisor alone: the rest of the page has room for it, and is zeroed anyway.
    pub(crate) more: HypShared<S>,
}

impl<S: FromZeroes + Sync> VcpuPage<S> {
    /// Where the bell is: behind the context.
    const BELL: usize = size_of::<VcpuContext>().next_multiple_of(LINE);
    const MORE: usize = (Self::BELL + size_of::<Bell>()).next_multiple_of(LINE);

    /// Makes the page, all of it zeroes.
    pub(crate) fn new(lowvisor: &Arc<Lowvisor>) -> Result<Self> {
        const { assert!(Self::MORE + size_of::<S>() <= PAGE_SIZE) };
        let pages = Arc::new(HypPages::zeroed(lowvisor, PAGE_SIZE)?, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The page is new, and each value has a part of its own.
        unsafe {
            Ok(Self {
                doorbell: Doorbell(HypShared::at(&pages, Self::BELL)),
                more: HypShared::at(&pages, Self::MORE),
                context: HypBox::first_in(pages),
            })
        }
    }
}

impl Doorbell {
    /// The address in HYP mode.
    pub(super) fn address(&self) -> u32 {
        core::ptr::from_ref::<Bell>(self) as u32
    }
}

impl Deref for Doorbell {
    type Target = Bell;

    #[inline]
    fn deref(&self) -> &Bell {
        &self.0
    }
}
