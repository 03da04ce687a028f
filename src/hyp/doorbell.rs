// SPDX-License-Identifier: GPL-2.0

//! How others get a vCPU's attention: its requests, and whether it is in the guest.
//!
//! Either the vCPU sees a request before it enters the guest, or whoever makes the request sees that
//! the vCPU is in the guest, and on which CPU. The vCPU says first that it enters, and looks at its
//! requests then; the other one makes the request first, and looks where the vCPU is then.

use core::sync::atomic::{
    fence,
    AtomicU32,
    Ordering, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

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

/// Requests to a vCPU.
pub(crate) mod request {
    /// Look at interrupts again.
    pub(crate) const INTERRUPT: u32 = 1 << 0;
    /// Take the power state that is in `MpState`.
    pub(crate) const POWER: u32 = 1 << 1;
    /// Take the VM's counter offset again.
    pub(crate) const COUNTER: u32 = 1 << 2;
}

/// The place of a vCPU's thread.
mod place {
    /// In the host. The thread looks at requests before it enters the guest.
    pub(super) const HOST: u32 = 0;
    /// In the guest, or past its last look at requests. Above is the CPU's bit in the interrupt
    /// controller.
    pub(super) const GUEST: u32 = 1 << 0;
    pub(super) const INTERFACE_SHIFT: u32 = 8;
}

/// The doorbell of a vCPU, in memory that is mapped in HYP mode. Zeroes are valid.
#[repr(C)]
pub(super) struct Bell {
    requests: AtomicU32,
    place: AtomicU32,
}

impl Bell {
    /// Makes a request. Gives the bit of the CPU on which the vCPU is in the guest, or `None` if it is
    /// not. All that was written before is visible to whoever sees the request, and before anything
    /// that is written afterwards.
    #[inline(always)]
    pub(super) fn ring(&self, what: u32) -> Option<u32> {
        // These two pair with the barrier of `try_enter`.
        self.requests.fetch_or(what, Ordering::SeqCst);
        self.interface()
    }

    /// The bit in the interrupt controller of the CPU on which the vCPU is in the guest; zero, if it
    /// is not known.
    #[inline(always)]
    pub(super) fn interface(&self) -> Option<u32> {
        let place = self.place.load(Ordering::SeqCst);
        (place != place::HOST).then_some(place >> place::INTERFACE_SHIFT)
    }
}

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
    #[inline]
    fn bell(&self) -> &Bell {
        &self.0
    }

    /// The address in HYP mode.
    pub(super) fn address(&self) -> u32 {
        core::ptr::from_ref(self.bell()) as u32
    }

    /// Makes a request. Says whether the vCPU is in the guest, and has to be kicked.
    #[inline]
    pub(crate) fn ring(&self, what: u32) -> bool {
        self.bell().ring(what).is_some()
    }

    /// Whether the vCPU is in the guest.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.bell().interface().is_some()
    }

    /// Whether a request is pending.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.bell().requests.load(Ordering::SeqCst) != 0
    }

    /// Whether a request is pending, as far as this thread sees already. It is certain only at
    /// [`try_enter`](Self::try_enter).
    #[inline]
    pub(crate) fn is_rung(&self) -> bool {
        self.bell().requests.load(Ordering::Relaxed) != 0
    }

    /// Takes all pending requests.
    #[inline]
    pub(crate) fn take_requests(&self) -> u32 {
        if !self.is_rung() {
            return 0;
        }
        self.bell().requests.swap(0, Ordering::SeqCst)
    }

    /// Declares that the guest is entered on the CPU with this bit in the interrupt controller, unless
    /// a request is pending.
    #[inline]
    pub(crate) fn try_enter(&self, interface: u32) -> bool {
        let place = place::GUEST | interface << place::INTERFACE_SHIFT;
        self.bell().place.store(place, Ordering::Relaxed);
        // Pairs with `ring`.
        fence(Ordering::SeqCst);
        if self.bell().requests.load(Ordering::Relaxed) != 0 {
            self.leave();
            return false;
        }
        true
    }

    /// Declares that the guest was left.
    #[inline]
    pub(crate) fn leave(&self) {
        self.bell().place.store(place::HOST, Ordering::Relaxed);
    }
}
