// SPDX-License-Identifier: GPL-2.0

//! The distributor of a VM in memory that both halves reach, and the guest's accesses to it that
//! are answered in HYP mode.
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
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
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
use kvm_bindings as layout;
use machine::vgic::{
    Config,
    Cpu,
    InPlace,
    Irq,
    ListRegister,
    Vgic,
    Vmcr,
    MAX_CPUS,
    MAX_LRS, //
};

use super::{
    answer::is_at_hand,
    context::VcpuContext,
    doorbell::{
        request,
        Bell,
        Doorbell, //
    },
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
/// `pages` begin with a valid [`Shared`]. The parts of its distributor lie behind it.
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
        let cpus = align_up::<Cpu>(size_of::<Shared>());
        let spis = align_up::<Irq>(cpus + config.nr_cpus * size_of::<Cpu>());
        let pages = HypPages::zeroed(lowvisor, spis + config.nr_spis() * size_of::<Irq>())?;
        let base = pages.as_ptr();
        // SAFETY: The pages are aligned, and have room for all three. Zeroes are valid elements of
        // both slices, as these have integers and `bool`s only. Nobody else has the pages.
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
            base.cast::<Shared>().write(Shared {
                gic: HypLock::new(gic),
                bells: [const { AtomicU32::new(0) }; MAX_CPUS],
            });
        }
        // INVARIANT: The lock was written just now.
        Ok(Self { pages })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: Valid, by the type's invariant.
        unsafe { &*self.pages.as_ptr().cast() }
    }

    /// Takes the distributor for the host. `alone` is the spinlock that keeps the rest of the host
    /// away.
    #[inline]
    pub(crate) fn lock<'a, G>(&'a self, alone: &'a G) -> HypLockGuard<'a, Distributor> {
        self.shared().gic.lock(alone)
    }

    /// How vCPUs reach the distributor in HYP mode, at the guest's page `page`, and GICC_DIR at
    /// `dir_page`.
    ///
    /// `kick_sgi` is the physical SGI that makes another CPU look up, and `gicd` the distributor
    /// that sends it.
    pub(crate) fn access(
        &self,
        (page, dir_page): (u32, u32),
        gich: &HypRegisters,
        (gicd, kick_sgi): (&HypRegisters, Option<u32>),
    ) -> GicAccess {
        // HYP mode reaches all list registers that there can be.
        let last = gich.address(GICH_LR + 4 * (MAX_LRS - 1));
        match (
            gich.address(0),
            last,
            gicd.address(0),
            gicd.address(GICD_SGIR),
        ) {
            (Some(gich), Some(_), Some(gicd), Some(_)) => GicAccess {
                page,
                dir_page,
                shared: self.pages.as_ptr() as u32,
                gich,
                gicd,
                kick_sgi: kick_sgi.unwrap_or(GicAccess::NO_SGI),
            },
            _ => GicAccess::NONE,
        }
    }

    /// Lets the other vCPUs ring the doorbell of vCPU number `vcpu` in HYP mode. The doorbell lives
    /// as long as the VM.
    pub(crate) fn install(&self, vcpu: usize, doorbell: &Doorbell) {
        if let Some(bell) = self.shared().bells.get(vcpu) {
            bell.store(doorbell.address(), Ordering::Release);
        }
    }
}

/// The part of it that vCPUs reach in HYP mode.
struct Shared {
    gic: HypLock<Distributor>,
    /// The addresses of the vCPUs' doorbells, or zero.
    ///
    /// # Invariants
    ///
    /// A doorbell lives as long as some vCPU of the VM can run.
    bells: [AtomicU32; MAX_CPUS],
}

impl Shared {
    /// The doorbell of vCPU number `vcpu`, unless it has never run.
    #[inline(always)]
    fn bell(&self, vcpu: usize) -> Option<&Bell> {
        let bell = self.bells.get(vcpu)?.load(Ordering::Relaxed);
        // SAFETY: Zero or valid, by the field's invariant, and a vCPU runs that has got us. A bell
        // is never taken back, and was valid before its address was stored.
        unsafe { (bell as *const Bell).as_ref() }
    }
}

/// GICD_ICACTIVER0 and GICD_SGIR, of the physical distributor.
const GICD_ICACTIVER: usize = 0x380;
const GICD_SGIR: usize = 0xf00;
/// GICH_VMCR and GICH_LR0 (IHI 0048B table 5-1).
pub(crate) const GICH_VMCR: usize = 0x8;
pub(crate) const GICH_LR: usize = 0x100;

/// How a vCPU reaches its distributor in HYP mode.
///
/// # Invariants
///
/// `shared` is zero, or the address of a [`Shared`] that is mapped in HYP mode whenever
/// the vCPU runs. In the second case `gich` is the address of GICH, with [`MAX_LRS`] list
/// registers, and `gicd` that of the physical distributor, which are mapped there, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct GicAccess {
    /// The guest's page of the distributor, and that of GICC_DIR. The assembly compares both.
    page: u32,
    dir_page: u32,
    shared: u32,
    gich: u32,
    gicd: u32,
    /// The physical SGI that makes another CPU look up, or [`Self::NO_SGI`].
    kick_sgi: u32,
}

impl GicAccess {
    /// No page is the distributor's: all accesses are the host's.
    pub(crate) const NONE: Self = Self {
        page: u32::MAX,
        dir_page: u32::MAX,
        shared: 0,
        gich: 0,
        gicd: 0,
        kick_sgi: Self::NO_SGI,
    };

    const NO_SGI: u32 = u32::MAX;

    /// The distributor.
    ///
    /// # Safety
    ///
    /// The vCPU has to run, or to have run just now.
    #[inline(always)]
    unsafe fn shared<'a>(self) -> Option<&'a Shared> {
        // SAFETY: Zero or valid, by the type's invariant.
        unsafe { (self.shared as *const Shared).as_ref() }
    }
}

impl VcpuContext {
    /// Frees the distributor if the vCPU had it when HYP mode met a fault. Others may wait for it
    /// with a spinlock held, so no spinlock is taken here.
    #[cold]
    pub(crate) fn free_distributor(&self) {
        // SAFETY: The vCPU has just run: there was a fault.
        if let Some(shared) = unsafe { self.gic.shared() } {
            shared.gic.break_of(self.answers.vcpu());
        }
    }
}

/// The registers of GICH that HYP mode uses.
enum Gich {
    Vmcr,
    ListRegister(usize),
}

/// The registers of the physical distributor that HYP mode uses.
enum Gicd {
    Icactiver(usize),
    Sgir,
}

/// A register of a device.
///
/// # Invariants
///
/// It is mapped in HYP mode, where we are.
struct Device(*mut u32);

impl Device {
    #[inline(always)]
    fn read(self) -> u32 {
        // SAFETY: Mapped, by the type's invariant.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    fn write(self, value: u32) {
        // SAFETY: Mapped, by the type's invariant.
        unsafe { self.0.write_volatile(value) };
    }
}

/// Where the vCPU is: its list registers, and the others.
///
/// # Invariants
///
/// This is HYP mode. `access` is the vCPU's, which has `shared`.
struct Here<'a> {
    access: GicAccess,
    shared: &'a Shared,
}

impl Here<'_> {
    /// A register of GICH.
    #[inline(always)]
    fn interface(&self, register: Gich) -> Device {
        let offset = match register {
            Gich::Vmcr => GICH_VMCR,
            Gich::ListRegister(n) => GICH_LR + 4 * (n & (MAX_LRS - 1)),
        };
        // INVARIANT: All of these are mapped, by that of `GicAccess`.
        Device((self.access.gich as usize).wrapping_add(offset) as *mut u32)
    }

    /// A register of the physical distributor.
    #[inline(always)]
    fn distributor(&self, register: Gicd) -> Device {
        let offset = match register {
            Gicd::Icactiver(n) => GICD_ICACTIVER + 4 * (n & 0x1f),
            Gicd::Sgir => GICD_SGIR,
        };
        // INVARIANT: The distributor is mapped, by that of `GicAccess`.
        Device((self.access.gicd as usize).wrapping_add(offset) as *mut u32)
    }

    /// Makes the vCPUs in `kick` look at their interrupts. Gives those of them that have left the
    /// guest meanwhile, which the host has to wake.
    #[inline(always)]
    fn kick(&self, mut kick: u32) -> u32 {
        let (mut missed, mut interfaces) = (0, 0);
        while kick != 0 {
            let vcpu = kick.trailing_zeros();
            kick &= kick.wrapping_sub(1);
            match self
                .shared
                .bell(vcpu as usize)
                .map(|bell| bell.ring(request::INTERRUPT))
            {
                Some(Some(interface)) if interface != 0 => interfaces |= interface,
                _ => missed |= 1u32.wrapping_shl(vcpu),
            }
        }
        if interfaces != 0 {
            // The requests are visible before: `ring` ends with a barrier.
            let value = interfaces.wrapping_shl(16) | self.access.kick_sgi;
            // The CPUs get an interrupt that the kernel has always to reckon with.
            self.distributor(Gicd::Sgir).write(value);
        }
        missed
    }
}

impl InPlace for Here<'_> {
    #[inline(always)]
    fn read(&self, n: usize) -> ListRegister {
        ListRegister(self.interface(Gich::ListRegister(n)).read())
    }

    #[inline(always)]
    fn write(&mut self, n: usize, value: ListRegister) {
        self.interface(Gich::ListRegister(n)).write(value.0);
    }

    #[inline(always)]
    fn vmcr(&self) -> Vmcr {
        Vmcr(self.interface(Gich::Vmcr).read())
    }

    #[inline(always)]
    fn deactivate_physical(&mut self, intid: u32) {
        // It is that of the guest's timer, which the guest has ended.
        self.distributor(Gicd::Icactiver(intid as usize >> 5))
            .write(1u32.wrapping_shl(intid));
    }

    #[inline(always)]
    fn can_kick(&self, vcpu: usize) -> bool {
        let interface = self.shared.bell(vcpu).and_then(Bell::interface);
        self.access.kick_sgi != GicAccess::NO_SGI && interface.is_some_and(|bit| bit != 0)
    }
}

/// Carries out the access of `context.fault` to the distributor or to GICC_DIR, if that can be done
/// in place. Returns `ANSWER_DONE`, `ANSWER_LEAVE` if the host has to wake other vCPUs, or
/// `ANSWER_DECLINED`.
///
/// # Safety
///
/// The CPU is in HYP mode. `context` is that of the vCPU whose world is loaded. The general-purpose
/// registers, PC, CPSR, HSR and HDFAR are saved in it, and nobody else uses it. The
/// number of the page is, too, and is one of the two in `context.gic`.
#[no_mangle]
// Where the kernel puts no probes.
#[link_section = ".kprobes.text"]
unsafe extern "C" fn kvm_arm_hyp_distributor(context: *mut VcpuContext) -> u32 {
    // SAFETY: The caller promises that the context is valid and that nobody else uses it.
    let context = unsafe { &mut *context };
    let access = context.gic;
    // SAFETY: We are in HYP mode, says the caller.
    let Some(shared) = (unsafe { access.shared() }) else {
        return layout::ANSWER_DECLINED;
    };
    // INVARIANT: The access is the vCPU's.
    match carry_out(context, Here { access, shared }) {
        None => layout::ANSWER_DECLINED,
        Some(0) => layout::ANSWER_DONE,
        Some(missed) => {
            context.missed |= missed;
            layout::ANSWER_LEAVE
        }
    }
}

/// Gives the vCPUs that the host has to wake.
#[inline(always)]
fn carry_out(context: &mut VcpuContext, mut here: Here<'_>) -> Option<u32> {
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
    let is_dir = context.fault.ipa_page != here.access.page;
    // HDFAR may be that of the second page of an unaligned access. One that ends at GICC_DIR begins
    // in another page of devices, or in memory of another type: both are UNPREDICTABLE (A3.2.1,
    // A3.5.7).
    let may_begin_before = offset == 0 && size > 1 && !is_dir;
    if may_begin_before && !trap::seems_to_begin_here(address, &context.core.r) {
        return None;
    }
    let vcpu = context.answers.vcpu();
    let mut gic = here.shared.gic.try_lock(vcpu)?;
    let (vcpu, size) = (vcpu as usize, size as u32);
    let mut kick = 0;
    if is_dir {
        // GICC_DIR is alone in its page, and write-only.
        if !iss.is_write() || offset != 0 || size != 4 {
            return None;
        }
        let value = context.core.r.get(rt).copied()?;
        let given = (context.relayed != 0).then(|| {
            context
                .relay
                .register(here.access.gich.wrapping_add(GICH_LR as u32))
        });
        if !gic.deactivate_in_place(vcpu, &context.interface, given, value, &mut here) {
            return None;
        }
    } else if iss.is_write() {
        let value = context.core.r.get(rt).copied()?;
        let ci = &mut context.interface;
        kick = gic.write_in_place(vcpu, ci, offset, size, value, &mut here)?;
    } else {
        let value = gic.read_in_place(vcpu, offset, size)?;
        *context.core.r.get_mut(rt)? = value;
    }
    drop(gic);
    let missed = if kick == 0 { 0 } else { here.kick(kick) };
    (context.core.pc, context.core.cpsr) = cond::next_pc(
        context.core.pc,
        context.core.cpsr,
        Hsr(context.fault.hsr).il(),
    );
    context.answered.mmio = context.answered.mmio.wrapping_add(1);
    Some(missed)
}
