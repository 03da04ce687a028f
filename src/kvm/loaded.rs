// SPDX-License-Identifier: GPL-2.0

//! The registers of the virtual CPU interface that stay in the hardware while no guest runs.
//!
//! An access to them takes as long as a hundred instructions. So GICH_VMCR and GICH_APR, which the
//! guest can change at any time, stay where its vCPU ran last, the vCPU's [`Home`], until another
//! vCPU needs that place, or somebody asks for them. Each CPU can read no interface but its own.

use core::sync::atomic::{
    AtomicPtr,
    AtomicU32,
    AtomicUsize,
    Ordering, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

/// GICH_VMCR and GICH_APR.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) vmcr: u32,
    pub(super) apr: u32,
}

/// Where a vCPU's GICH_VMCR and GICH_APR are: in the hardware of a CPU, or here.
///
/// They go to a CPU, and come from it, on that CPU alone and with interrupts off. Only the holder
/// of the vCPU's mutex sends them there, or changes them here. Anybody may fetch them.
pub(crate) struct Home {
    /// The number of the CPU, or [`Self::HERE`].
    cpu: AtomicUsize,
    vmcr: AtomicU32,
    apr: AtomicU32,
}

impl Home {
    const HERE: usize = usize::MAX;

    /// The home of a new vCPU, whose registers are zero.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                cpu: AtomicUsize::new(Self::HERE),
                vmcr: AtomicU32::new(0),
                apr: AtomicU32::new(0),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// The CPU that has them.
    pub(super) fn cpu(&self) -> Option<usize> {
        // Whoever sees that they are here sees their values, too.
        let cpu = self.cpu.load(Ordering::Acquire);
        (cpu != Self::HERE).then_some(cpu)
    }

    /// The values, if they are here.
    pub(super) fn get(&self) -> Kept {
        Kept {
            vmcr: self.vmcr.load(Ordering::Relaxed),
            apr: self.apr.load(Ordering::Relaxed),
        }
    }

    /// Changes the values, which are here.
    pub(super) fn set(&self, kept: Kept) {
        self.vmcr.store(kept.vmcr, Ordering::Relaxed);
        self.apr.store(kept.apr, Ordering::Relaxed);
    }

    /// They are in the hardware of this CPU from now on.
    pub(super) fn moves_to(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// They are here from now on.
    pub(super) fn comes_back(&self, kept: Kept) {
        self.set(kept);
        // Pairs with the load in `cpu`.
        self.cpu.store(Self::HERE, Ordering::Release);
    }
}

/// The values of a CPU's GICH registers. A VM takes its vCPUs' back before it goes, so the
/// reference of `guest` is never the last one where it is given up: with interrupts off, in an
/// interrupt even.
///
/// Other CPUs leave the values alone, so nothing here has to be ordered.
///
/// # Invariants
///
/// `guest` is null, or comes from `Arc::into_raw` with a reference that belongs to it.
pub(super) struct Loaded {
    pub(super) hcr: AtomicU32,
    /// The values of the other two, as long as there is no `guest`.
    pub(super) vmcr: AtomicU32,
    pub(super) apr: AtomicU32,
    /// Whose GICH_VMCR and GICH_APR are in the hardware.
    guest: AtomicPtr<Home>,
}

impl Loaded {
    /// The values after `HostGic::reset`.
    pub(super) const fn new() -> Self {
        // INVARIANT: There is no guest.
        Self {
            hcr: AtomicU32::new(0),
            vmcr: AtomicU32::new(0),
            apr: AtomicU32::new(0),
            guest: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Whether the registers of the vCPU with this home are in the hardware. The home may be gone
    /// once the vCPU is, but its address has no other use as long as it is the guest's.
    #[inline]
    pub(super) fn has(&self, home: &Home) -> bool {
        core::ptr::eq(self.guest.load(Ordering::Relaxed), home)
    }

    /// Makes another one the guest. Gives the old one.
    pub(super) fn replace(&self, new: Option<Arc<Home>>) -> Option<Arc<Home>> {
        let new = new.map_or(core::ptr::null(), Arc::into_raw);
        // INVARIANT: The reference of `new` is the field's now.
        let old = self.guest.swap(new.cast_mut(), Ordering::Relaxed);
        // SAFETY: By the type's invariant, and the swap has taken the field's reference for us.
        (!old.is_null()).then(|| unsafe { Arc::from_raw(old) })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.replace(None);
    }
}
