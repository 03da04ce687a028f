// SPDX-License-Identifier: GPL-2.0

//! The distributor of a VM in memory that both halves reach, and the guest's accesses to it that are
//! answered in HYP mode.
//!
//! The state machine is `machine::vgic`; its `in_place` says which accesses these are. The list
//! registers stay in the hardware, and nothing of the vCPU's world is switched. A declined access
//! becomes an exit, with nothing changed.

use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
};

use armv7::{
    cond,
    hsr::{
        FaultStatus,
        Hsr, //
    },
    psr::Psr,
    trap, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use machine::vgic::{
    Config,
    Cpu,
    Irq,
    ListRegister,
    LoadedRegisters,
    Vgic,
    MAX_LRS, //
};

use super::{
    answer::is_at_hand,
    context::VcpuContext,
    cpu::HypFault,
    lock::{
        HypLock,
        HypLockGuard, //
    },
    shared::{
        HypPages,
        HypRegisters, //
    },
    takeover::Lowvisor,
};

/// A VM's distributor, which is made when the number of its vCPUs and interrupts is fixed.
pub(crate) type Distributor = Vgic<Part<Irq>, Part<Cpu>>;

/// A slice in the pages of a [`SharedDistributor`].
///
/// # Invariants
///
/// `first` points to `len` valid elements, which nobody else reaches, for as long as the value is
/// used.
pub(crate) struct Part<T> {
    first: NonNull<T>,
    len: usize,
    _owns: PhantomData<T>,
}

// SAFETY: It owns the elements.
unsafe impl<T: Send> Send for Part<T> {}

impl<T> Deref for Part<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: Valid and ours, by the type's invariant.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Part<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: Valid and ours, by the type's invariant.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

/// The distributor of a VM, in pages that are mapped in HYP mode.
///
/// # Invariants
///
/// `pages` begin with a valid `HypLock<Distributor>`, whose parts lie behind it.
pub(crate) struct SharedDistributor {
    pages: HypPages,
}

/// The first address from `address` on where a `T` can be.
fn align_up<T>(address: usize) -> usize {
    address.next_multiple_of(align_of::<T>())
}

impl SharedDistributor {
    /// Makes a distributor after reset, which `set_up` finishes.
    pub(crate) fn new(
        lowvisor: &Arc<Lowvisor>,
        config: Config,
        set_up: impl FnOnce(&mut Distributor),
    ) -> Result<Self> {
        let cpus = align_up::<Cpu>(size_of::<HypLock<Distributor>>());
        let spis = align_up::<Irq>(cpus + config.nr_cpus * size_of::<Cpu>());
        let pages = HypPages::zeroed(lowvisor, spis + config.nr_spis() * size_of::<Irq>())?;
        let base = pages.as_ptr();
        // SAFETY: The pages are aligned, and have room for all three. Zeroes are valid elements of both
        // slices, as these have integers and `bool`s only. Nobody else has the pages.
        // INVARIANT: The slices do not overlap, and live as long as the pages, in which the only
        // user of the parts lies, too.
        unsafe {
            let mut gic = Vgic::new(
                config,
                Part::<Irq> {
                    first: NonNull::new_unchecked(base.add(spis).cast()),
                    len: config.nr_spis(),
                    _owns: PhantomData,
                },
                Part::<Cpu> {
                    first: NonNull::new_unchecked(base.add(cpus).cast()),
                    len: config.nr_cpus,
                    _owns: PhantomData,
                },
            );
            set_up(&mut gic);
            base.cast::<HypLock<Distributor>>()
                .write(HypLock::new(gic));
        }
        // INVARIANT: The lock was written just now.
        Ok(Self { pages })
    }

    fn shared(&self) -> &HypLock<Distributor> {
        // SAFETY: Valid, by the type's invariant.
        unsafe { &*self.pages.as_ptr().cast() }
    }

    /// Takes the distributor for the host. `alone` is the spinlock that keeps the rest of the host
    /// away.
    #[inline]
    pub(crate) fn lock<'a, G>(&'a self, alone: &'a G) -> HypLockGuard<'a, Distributor> {
        self.shared().lock(alone)
    }

    /// How vCPUs reach the distributor in HYP mode, at the guest's page `page`. `lists` is where
    /// GICH_LR0 is.
    pub(crate) fn access(&self, page: u32, gich: &HypRegisters, lists: usize) -> GicAccess {
        // HYP mode reaches all list registers that there can be.
        let last = gich.address(lists + 4 * (MAX_LRS - 1));
        match gich.address(lists).filter(|_| last.is_some()) {
            Some(lists) => GicAccess {
                page,
                shared: self.pages.as_ptr() as u32,
                lists,
            },
            None => GicAccess::NONE,
        }
    }
}

/// How a vCPU reaches its distributor in HYP mode.
///
/// # Invariants
///
/// `shared` is zero, or the address of a `HypLock<Distributor>` that is mapped in HYP mode whenever
/// the vCPU runs. In the second case `lists` is the address of [`MAX_LRS`] list registers, which are
/// mapped there, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct GicAccess {
    /// The guest's page of the distributor. The assembly compares it.
    page: u32,
    shared: u32,
    lists: u32,
}

impl GicAccess {
    /// No page is the distributor's: all accesses are the host's.
    pub(crate) const NONE: Self = Self {
        page: u32::MAX,
        shared: 0,
        lists: 0,
    };

    /// The distributor.
    ///
    /// # Safety
    ///
    /// The vCPU has to run, or to have run just now.
    #[inline(always)]
    unsafe fn shared<'a>(self) -> Option<&'a HypLock<Distributor>> {
        // SAFETY: Zero or valid, by the type's invariant.
        unsafe { (self.shared as *const HypLock<Distributor>).as_ref() }
    }
}

impl VcpuContext {
    /// Frees the distributor if the vCPU had it when HYP mode met a fault. Others may wait for it with
    /// a spinlock held, so no spinlock is taken here.
    #[cold]
    pub(crate) fn free_distributor(&self, _fault: &HypFault) {
        // SAFETY: The vCPU has just run: there was a fault.
        if let Some(shared) = unsafe { self.gic.shared() } {
            shared.break_of(self.answers.vcpu());
        }
    }
}

/// The list registers of this CPU.
///
/// # Invariants
///
/// The value is the address of [`MAX_LRS`] list registers, mapped in HYP mode, where we are.
struct Lists(u32);

impl Lists {
    #[inline(always)]
    fn register(&self, n: usize) -> *mut u32 {
        (self.0 as usize).wrapping_add(4 * (n & (MAX_LRS - 1))) as *mut u32
    }
}

impl LoadedRegisters for Lists {
    #[inline(always)]
    fn read(&self, n: usize) -> ListRegister {
        // SAFETY: A register of the device, by the type's invariant.
        ListRegister(unsafe { self.register(n).read_volatile() })
    }

    #[inline(always)]
    fn write(&mut self, n: usize, value: ListRegister) {
        // SAFETY: A register of the device, by the type's invariant.
        unsafe { self.register(n).write_volatile(value.0) };
    }
}

/// Carries out the access of `context.fault` to the distributor, if that can be done in place. Returns
/// zero if the host has to do it.
///
/// # Safety
///
/// The CPU is in HYP mode. `context` is that of the vCPU whose world is loaded. The general-purpose
/// registers, PC, CPSR, HSR and HDFAR are saved in it, and nobody else uses it. The abort was taken at
/// the page `context.gic.page`.
#[no_mangle]
// Where the kernel puts no probes.
#[link_section = ".kprobes.text"]
unsafe extern "C" fn kvm_arm_hyp_distributor(context: *mut VcpuContext) -> u32 {
    // SAFETY: The caller promises that the context is valid and that nobody else uses it.
    let context = unsafe { &mut *context };
    // SAFETY: We are in HYP mode, says the caller.
    let Some(shared) = (unsafe { context.gic.shared() }) else {
        return 0;
    };
    // INVARIANT: By that of `GicAccess`.
    let lists = Lists(context.gic.lists);
    u32::from(access(context, shared, lists).is_some())
}

#[inline(always)]
fn access(
    context: &mut VcpuContext,
    shared: &HypLock<Distributor>,
    mut lists: Lists,
) -> Option<()> {
    let iss = Hsr(context.fault.hsr).abort();
    let size = iss.size()?;
    let address = context.fault.hdfar;
    let offset = address & 0xfff;
    let rt = iss.register();
    // The host knows how to deal with all the rest.
    if !matches!(iss.status(), FaultStatus::Translation(_))
        || iss.is_maintenance()
        || iss.is_of_walk()
        || iss.sign_extend()
        || offset & (size as u32 - 1) != 0
        || Psr(context.core.cpsr).is_big_endian()
        || !is_at_hand(context, rt)
    {
        return None;
    }
    // HDFAR may be that of the second page of an unaligned access.
    if offset == 0 && size > 1 && !trap::seems_to_begin_here(address, &context.core.r) {
        return None;
    }
    let vcpu = context.answers.vcpu();
    let mut gic = shared.try_lock(vcpu)?;
    let (vcpu, size) = (vcpu as usize, size as u32);
    if iss.is_write() {
        let value = context.core.r.get(rt).copied()?;
        let ci = &mut context.interface;
        gic.write_in_place(vcpu, ci, offset, size, value, &mut lists, 0)?;
    } else {
        let value = gic.read_in_place(vcpu, offset, size)?;
        *context.core.r.get_mut(rt)? = value;
    }
    drop(gic);
    (context.core.pc, context.core.cpsr) = cond::next_pc(
        context.core.pc,
        context.core.cpsr,
        Hsr(context.fault.hsr).il(),
    );
    context.answered.mmio = context.answered.mmio.wrapping_add(1);
    Some(())
}
