// SPDX-License-Identifier: GPL-2.0

//! The interrupt controller of a VM, the vGIC.
//!
//! User space makes it in steps ([`Stage`]) and configures it meanwhile, under the mutex `config`,
//! which nobody holds for long. The state machine of the distributor is made with the third step.
//! From then on an interrupt takes nothing but the distributor's spinlock, with interrupts off: an
//! eventfd can be signalled in one.
//!
//! Each change of the distributor gives the vCPUs that have to look at their interrupts again, and
//! they are asked here. A vCPU that runs has its CPU interface to itself. The interface goes to the
//! hardware and comes back by `flush` and `fold`, once for each entry.

use core::sync::atomic::{
    AtomicU32,
    AtomicU8,
    Ordering, //
};

use armv7::addr::{
    Ipa,
    PAGE_SIZE, //
};
use kernel::{
    fmt, new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard, //
    },
};
use machine::vgic::{
    is_ppi,
    Irq,
    Vmcr,
    MOST_IRQS, //
};

use super::{
    gic::{
        GicConfig,
        Line,
        CPU_SIZE,
        DIST_SIZE, //
    },
    host::{
        Host,
        HostGic, //
    },
    lines::{
        Intids,
        Lines, //
    },
    timer::TimerIntids,
    vcpu::{
        request,
        Vcpu, //
    },
    vcpu_state::VcpuState,
    vcpus::{
        Vcpus,
        MAX_VCPUS, //
    },
    vm_halt::wfe_trap, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            need_resched,
            new_irq_spinlock,
            IrqSpinLock,
            IrqsOff, //
        },
        log,
        mutex::lock_killable,
        parameter, //
    },
    hyp::distributor::{
        Distributor,
        GicAccess,
        SharedDistributor, //
    },
    mem::address_space::AddressSpace,
    trace::{
        kvm_timer_update_irq,
        trace,
        vgic_update_irq_pending, //
    },
};

/// How far the vGIC is made. Each step includes those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// There is none.
    Absent,
    /// It was asked for.
    Created,
    /// The numbers of vCPUs and of interrupts are fixed, so there is a distributor.
    Initialized,
    /// The addresses are fixed, and the guest reaches it.
    Mapped,
}

/// The interrupt controller of a VM.
#[pin_data]
pub(crate) struct VmGic {
    host: Arc<Host>,
    /// The choices of user space.
    #[pin]
    config: Mutex<GicConfig>,
    /// A [`Stage`]. It changes under `config`.
    stage: AtomicU8,
    /// The page of the distributor, once it is fixed.
    dist_page: AtomicU32,
    /// The page of GICC_DIR, likewise: the second of the CPU interface.
    dir_page: AtomicU32,
    #[pin]
    distributor: IrqSpinLock<Option<SharedDistributor>>,
}

/// A register of the vGIC that the guest's accesses trap for.
#[derive(Clone, Copy)]
pub(super) enum GicRegister {
    /// Of the distributor, by its offset.
    Distributor(u32),
    /// In the page of GICC_DIR, by its offset.
    Deactivate(u32),
}

/// No address is fixed.
const NO_PAGE: u32 = u32::MAX;

impl VmGic {
    /// There is none yet.
    pub(super) fn new(host: Arc<Host>) -> impl PinInit<Self> {
        pin_init!(Self {
            host,
            config <- new_mutex!(GicConfig::default(), "kvm_arm_vgic_config"),
            stage: AtomicU8::new(Stage::Absent as u8),
            dist_page: AtomicU32::new(NO_PAGE),
            dir_page: AtomicU32::new(NO_PAGE),
            distributor <- new_irq_spinlock!(None, "kvm_arm_vgic"),
        })
    }

    /// Runs `f` on the distributor, if it is made, with nobody else at it.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(Option<&mut Distributor>) -> R) -> R {
        self.distributor.with(|shared| match shared.as_ref() {
            Some(shared) => f(Some(&mut *shared.lock(&shared))),
            None => f(None),
        })
    }

    /// How a vCPU reaches the distributor in HYP mode, once it is mapped. The others can ring its
    /// doorbell from then on.
    pub(super) fn access(&self, vcpu: &Vcpu) -> GicAccess {
        let (Some(hardware), true) = (self.hardware(), parameter::hyp_vgic()) else {
            return GicAccess::NONE;
        };
        let page = self.dist_page.load(Ordering::Relaxed);
        let pages = (page, self.dir_page.load(Ordering::Relaxed));
        self.distributor.with(|shared| match shared {
            Some(shared) if page != NO_PAGE => {
                shared.install(vcpu.id, &vcpu.doorbell);
                let distributor = (&hardware.distributor, hardware.kick_sgi);
                shared.access(pages, &hardware.control, distributor)
            }
            _ => GicAccess::NONE,
        })
    }

    #[inline]
    fn has_reached(&self, stage: Stage) -> bool {
        // A caller that depends on the changes of a stage takes a lock afterwards, and the changes
        // were made under the same lock: the configuration's, the distributor's, or the vCPU's.
        self.stage.load(Ordering::Relaxed) >= stage as u8
    }

    fn reach(&self, _config: &mut GicConfig, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Whether the interrupt controller is in the kernel.
    #[inline]
    pub(crate) fn exists(&self) -> bool {
        self.has_reached(Stage::Created)
    }

    /// The virtual interface of the host's GIC, which the vCPUs use if the interrupt controller is
    /// in the kernel.
    #[inline]
    pub(crate) fn hardware(&self) -> Option<&HostGic> {
        self.host.gic.as_ref().filter(|_| self.exists())
    }

    /// Whether the numbers of vCPUs and of interrupts are fixed.
    pub(crate) fn is_initialized(&self) -> bool {
        self.has_reached(Stage::Initialized)
    }

    /// Whether the guest reaches it.
    pub(crate) fn is_mapped(&self) -> bool {
        self.has_reached(Stage::Mapped)
    }

    // --- Configuration --------------------------------------------------------------

    /// Keeps the configuration from being changed. `EINTR` if this task is killed meanwhile.
    pub(crate) fn lock_config(&self) -> Result<MutexGuard<'_, GicConfig>> {
        lock_killable(&self.config)
    }

    /// KVM_CREATE_IRQCHIP, and the creation of a vGIC device. `ENODEV` if the host has no virtual
    /// interface for it.
    pub(crate) fn create(&self, vcpus: &Vcpus) -> Result {
        if self.host.gic.is_none() {
            return Err(ENODEV);
        }
        let mut config = self.lock_config()?;
        if self.exists() {
            return Err(EEXIST);
        }
        // Each vCPU that runs holds its state's mutex. None may begin to before the vGIC is there.
        let mut guards = KVec::with_capacity(MAX_VCPUS, GFP_KERNEL)?;
        for vcpu in vcpus.iter() {
            match vcpu.state.try_lock() {
                Some(state) if !state.has_run => guards.push(state, GFP_KERNEL)?,
                _ => return Err(EBUSY),
            }
        }
        self.reach(&mut config, Stage::Created);
        Ok(())
    }

    /// Changes or reads the configuration.
    pub(crate) fn with_config<R>(&self, f: impl FnOnce(&mut GicConfig) -> Result<R>) -> Result<R> {
        let mut config = self.lock_config()?;
        if !self.exists() {
            return Err(ENXIO);
        }
        f(&mut config)
    }

    /// Fixes the number of vCPUs and interrupts.
    pub(crate) fn init(&self, vcpus: &Vcpus) -> Result {
        let mut config = self.lock_config()?;
        self.init_locked(vcpus, &mut config)
    }

    fn init_locked(&self, vcpus: &Vcpus, config: &mut GicConfig) -> Result {
        let hardware = self.hardware().ok_or(ENXIO)?;
        if self.is_initialized() {
            return Ok(());
        }
        // Ids need not be consecutive; the distributor has a place for each up to the last.
        let nr_cpus = vcpus.iter().map(|vcpu| vcpu.id + 1).max().unwrap_or(0);
        let distributor = config.build(
            &self.host.lowvisor,
            nr_cpus,
            hardware.list_registers,
            self.host.timer.intid,
        )?;
        self.distributor.with(|gic| *gic = Some(distributor));
        self.reach(config, Stage::Initialized);
        Ok(())
    }

    /// Fixes the addresses and maps the virtual CPU interface into the guest. No slot changes
    /// meanwhile.
    pub(super) fn map(&self, vcpus: &Vcpus, memory: &AddressSpace) -> Result {
        let mut config = self.lock_config()?;
        if self.is_mapped() {
            return Ok(());
        }
        let (Some(dist), Some(cpu)) = (config.dist, config.cpu) else {
            log::ratelimited(|| {
                pr_err!(
                    "KVM_RUN: the monitor has to set the vGIC's distributor and CPU interface \
                     addresses first\n"
                );
            });
            return Err(ENXIO);
        };
        // Both ends are within 40 bits.
        if dist < cpu + CPU_SIZE && cpu < dist + DIST_SIZE {
            return Err(EINVAL);
        }
        let slots = memory.slots();
        if slots.overlap(dist, DIST_SIZE) || slots.overlap(cpu, CPU_SIZE) {
            return Err(EINVAL);
        }
        drop(slots);
        self.init_locked(vcpus, &mut config)?;
        // The second page has but one register, GICC_DIR, and its accesses trap. In hardware, the
        // deactivation of an interrupt that is in no list register would be counted, but not named.
        let hardware = self.hardware().ok_or(ENXIO)?;
        memory.map_device(Ipa(cpu), hardware.virtual_interface, PAGE_SIZE)?;
        self.dist_page.store(Ipa(dist).gfn(), Ordering::Relaxed);
        self.dir_page.store(Ipa(cpu).gfn() + 1, Ordering::Relaxed);
        self.reach(&mut config, Stage::Mapped);
        Ok(())
    }

    /// Whether some of its places, once they are fixed, are in a range of guest addresses.
    pub(super) fn is_within(&self, start: u64, end: u64) -> Result<bool> {
        if !self.is_mapped() {
            return Ok(false);
        }
        let config = self.lock_config()?;
        Ok([(config.dist, DIST_SIZE), (config.cpu, CPU_SIZE)]
            .into_iter()
            .any(|(base, size)| base.is_some_and(|base| start < base + size && base < end)))
    }

    // --- The interrupts of the vCPUs' own devices -------------------------------------

    /// The interrupts of the timers.
    pub(crate) fn timer_intids(&self) -> Result<TimerIntids> {
        Ok(self.lock_config()?.timers)
    }

    /// Changes the interrupts of the timers, before any vCPU runs.
    pub(crate) fn set_timer_intids(
        &self,
        vcpus: &Vcpus,
        change: impl FnOnce(TimerIntids) -> Result<TimerIntids>,
    ) -> Result {
        let mut config = self.lock_config()?;
        if config.intids_fixed {
            return Err(EBUSY);
        }
        let old = config.timers;
        config.timers = change(old)?;
        let new = config.timers.virt;
        // A distributor that is made later takes them from the configuration.
        self.with(|gic| {
            let Some(gic) = gic else {
                return;
            };
            for vcpu in vcpus.iter() {
                gic.unmap_hw(vcpu.id, old.virt);
                gic.map_hw(vcpu.id, new, self.host.timer.intid);
            }
        });
        Ok(())
    }

    /// Chooses the interrupt of a vCPU's performance monitors (vcpu.rst 1.1).
    pub(crate) fn set_pmu_intid(&self, vcpus: &Vcpus, vcpu: &Vcpu, intid: u32) -> Result {
        let _config = self.lock_config()?;
        // A PPI is the same for all, an SPI another for each.
        let fits = |other: &Arc<Vcpu>| match other.pmu_intid() {
            Some(taken) => is_ppi(taken) == is_ppi(intid) && (taken == intid) == is_ppi(intid),
            None => true,
        };
        if !vcpus.iter().all(fits) {
            return Err(EINVAL);
        }
        if vcpu.pmu_intid().is_some() {
            return Err(EBUSY);
        }
        vcpu.set_pmu_intid(intid);
        Ok(())
    }

    /// Whether a vCPU's performance monitors can be initialised (vcpu.rst 1.2).
    pub(crate) fn check_pmu(&self, vcpu: &Vcpu) -> Result {
        let config = self.lock_config()?;
        if !self.exists() {
            return Ok(());
        }
        if !self.is_initialized() {
            return Err(ENODEV);
        }
        let intid = vcpu.pmu_intid().ok_or(ENXIO)?;
        if intid == config.timers.virt || intid == config.timers.phys {
            return Err(EEXIST);
        }
        Ok(())
    }

    /// Fixes the interrupts of the vCPUs' own devices, and gives this one its copy of them. Only
    /// now is it known that no other choice comes (vcpu.rst 2.1).
    pub(super) fn fix_intids(&self, vcpu: &Vcpu, state: &mut VcpuState) -> Result {
        let mut config = self.lock_config()?;
        let timers = config.timers;
        let pmu = vcpu.pmu_intid().filter(|_| state.has_pmu());
        if state.has_pmu() && !state.pmu.initialized {
            return Err(EINVAL);
        }
        if self.exists() {
            let is_there = |intid| self.with(|gic| gic.is_some_and(|gic| gic.has(intid)));
            let taken = |intid| intid == timers.virt || intid == timers.phys;
            if timers.virt == timers.phys
                || state.has_pmu() && !pmu.is_some_and(|pmu| is_there(pmu) && !taken(pmu))
            {
                return Err(EINVAL);
            }
        }
        config.intids_fixed = true;
        // Whoever asked for registers of the distributor before has told it of other lines.
        state.told_lines.set(Lines::LOW);
        state.timer_irq.set_intid(timers.virt);
        state.intids = Intids {
            phys: timers.phys,
            pmu,
        };
        self.with(|gic| {
            let Some(gic) = gic else {
                return;
            };
            for intid in [Some(timers.virt), Some(timers.phys), pmu]
                .into_iter()
                .flatten()
            {
                // This can only lower the line, so no vCPU has to come out of the guest.
                gic.own(vcpu.id, intid);
            }
        });
        Ok(())
    }

    // --- Interrupts from outside ------------------------------------------------------

    /// Runs `f` on the distributor, made if it is not yet there.
    pub(super) fn with_distributor<R>(
        &self,
        vcpus: &Vcpus,
        f: impl FnOnce(&mut Distributor) -> R,
    ) -> Result<R> {
        if !self.is_initialized() {
            self.init(vcpus)?;
        }
        self.with(|gic| gic.map(f)).ok_or(ENXIO)
    }

    /// Drives an input of the vGIC, unless it is that of a device in the kernel.
    pub(super) fn set_line(&self, vcpus: &Vcpus, line: Line, level: bool) -> Result {
        let (cpu, intid) = match line {
            Line::Ppi(cpu, intid) => (cpu, intid),
            Line::Spi(intid) => (0, intid),
        };
        trace!(vgic_update_irq_pending(cpu as u32, intid, level));
        let mask = self.with_distributor(vcpus, |gic| {
            gic.has(intid)
                .then(|| gic.set_user_level(cpu, intid, level))
        })?;
        vcpus.request(mask.ok_or(EINVAL)?, request::INTERRUPT);
        Ok(())
    }

    /// Drives an SPI, if it exists and no device in the kernel has it. Any context.
    pub(super) fn set_spi(&self, vcpus: &Vcpus, intid: u32, level: bool) {
        trace!(vgic_update_irq_pending(0, intid, level));
        let mask = self.with(|gic| match gic {
            Some(gic) if gic.has(intid) => gic.set_user_level(0, intid, level),
            _ => 0,
        });
        vcpus.request(mask, request::INTERRUPT);
    }

    /// Writes the state as text.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_initialized() {
            return f.write_str("vgic_model:\tnone yet\n");
        }
        let room = KVec::from_elem(Irq::default(), MOST_IRQS, GFP_KERNEL);
        let room = room.map_err(|_| fmt::Error)?;
        match self.with(|gic| gic.map(|gic| gic.snapshot(room))) {
            Some(snapshot) => write!(f, "{snapshot}"),
            None => Ok(()),
        }
    }

    // --- A vCPU's entry and exit ------------------------------------------------------

    /// Fills the list registers before an entry. Says whether the virtual timer's physical
    /// interrupt has to be quiet while the guest runs.
    #[inline]
    pub(super) fn flush(
        &self,
        irqs: &IrqsOff,
        vcpus: &Vcpus,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        lines: Lines,
    ) -> bool {
        let Some(hardware) = self.hardware() else {
            return lines.virt();
        };
        let told = state.told_lines.replace(lines);
        let tell = must_tell(told, lines);
        if !state.look_at_interrupts && !tell {
            return state.timer_irq.is_active();
        }
        let guard = self.distributor.lock(irqs);
        let Some(shared) = (*guard).as_ref() else {
            return lines.virt();
        };
        let mut held = shared.lock(&guard);
        let gic = &mut *held;
        let mut kick = set_lines(gic, vcpu, state, told, lines);
        kick |= gic.flush_with(vcpu.id, &mut state.context.interface, || {
            hardware.vmcr(irqs)
        });
        trace!(kvm_vgic_flush(vcpu.id as u32, state.context.interface.used));
        state.look_at_interrupts = false;
        let (n, value) = state
            .timer_irq
            .flushed(gic, vcpu.id, &state.context.interface);
        drop(held);
        drop(guard);
        if state
            .timer_irq
            .takes(n, || state.context.relay.gives(value))
        {
            state.context.relay = hardware.relay(n, value, self.host.timer.intid);
        }
        vcpus.request(kick & !(1 << vcpu.id), request::INTERRUPT);
        state.timer_irq.is_active()
    }

    /// Takes the list registers back after an exit. Says whether the virtual timer's physical
    /// interrupt is as it was: the guest has not deactivated it. A listener hears of each SPI whose
    /// handling the guest has ended.
    #[inline]
    pub(super) fn fold(
        &self,
        irqs: &IrqsOff,
        vcpus: &Vcpus,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        listener: Option<impl FnMut(u32)>,
    ) -> bool {
        let guard = self.distributor.lock(irqs);
        let Some(shared) = (*guard).as_ref() else {
            return true;
        };
        let mut held = shared.lock(&guard);
        let gic = &mut *held;
        trace!(kvm_vgic_fold(vcpu.id as u32, state.context.interface.used));
        let ended = if listener.is_some() {
            Some(gic.ended(vcpu.id, &state.context.interface))
        } else {
            None
        };
        let (kick, deactivated) = state
            .timer_irq
            .fold(gic, vcpu.id, &mut state.context.interface);
        drop(held);
        drop(guard);
        state.look_at_interrupts = true;
        vcpus.request(kick & !(1 << vcpu.id), request::INTERRUPT);
        if let (Some(ended), Some(listener)) = (ended, listener) {
            ended.for_each(listener);
        }
        !deactivated
    }

    /// Whether the vGIC would signal an interrupt to the vCPU, given its own devices' lines.
    pub(super) fn signals(
        &self,
        vcpus: &Vcpus,
        vcpu: &Vcpu,
        state: &VcpuState,
        lines: Lines,
    ) -> bool {
        if !self.exists() {
            return lines.any();
        }
        let Some(hardware) = self.hardware() else {
            return false;
        };
        let found = IrqsOff::with(|irqs| {
            let guard = self.distributor.lock(&irqs);
            let shared = (*guard).as_ref()?;
            let mut held = shared.lock(&guard);
            let gic = &mut *held;
            let told = state.told_lines.replace(lines);
            let kick = set_lines(gic, vcpu, state, told, lines);
            // Only now it matters which of them the guest has masked in its CPU interface.
            let signals = if gic.has_pending(vcpu.id) {
                let vmcr = hardware.vmcr_of(&irqs, &vcpu.home);
                vmcr.map(|vmcr| gic.has_deliverable(vcpu.id, vmcr))
            } else {
                Some(false)
            };
            Some((kick, signals))
        });
        let Some((kick, signals)) = found else {
            return false;
        };
        // The PMU's interrupt can be an SPI, which may go to another vCPU.
        vcpus.request(kick & !(1 << vcpu.id), request::INTERRUPT);
        signals.unwrap_or_else(|| {
            // The CPU that has the interface can be asked with interrupts on only.
            let vmcr = Vmcr(hardware.fetch(&vcpu.home).vmcr);
            self.with(|gic| gic.is_some_and(|gic| gic.has_deliverable(vcpu.id, vmcr)))
        })
    }

    // --- The guest's accesses -----------------------------------------------------------

    /// Whether a page is the distributor's.
    #[inline]
    pub(super) fn is_distributor(&self, gfn: u32) -> bool {
        gfn == self.dist_page.load(Ordering::Relaxed)
    }

    /// The register at a guest address.
    #[inline]
    pub(super) fn register(&self, address: u64) -> Option<GicRegister> {
        let (page, offset) = (Ipa(address).gfn(), Ipa(address).page_offset());
        if page == self.dist_page.load(Ordering::Relaxed) {
            Some(GicRegister::Distributor(offset))
        } else if page == self.dir_page.load(Ordering::Relaxed) {
            Some(GicRegister::Deactivate(offset))
        } else {
            None
        }
    }

    /// A load.
    #[inline]
    pub(super) fn read(
        &self,
        vcpus: &Vcpus,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        register: GicRegister,
        size: u32,
    ) -> Option<u32> {
        match register {
            GicRegister::Distributor(offset) => {
                if is_settled(offset) {
                    self.settle(vcpus, vcpu, state, offset);
                }
                self.with(|gic| Some(gic?.dist_read(vcpu.id, offset, size)))
            }
            // GICC_DIR is write-only.
            GicRegister::Deactivate(_) => Some(0),
        }
    }

    /// A store; false if there is nothing yet that takes it. The vCPU is not in the guest.
    #[inline]
    pub(super) fn write(
        &self,
        vcpus: &Vcpus,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        register: GicRegister,
        size: u32,
        value: u32,
    ) -> bool {
        let deactivates = matches!(register, GicRegister::Deactivate(0));
        if let Some(hardware) = self.hardware().filter(|_| deactivates) {
            state.context.interface.vmcr = hardware.look_at(&vcpu.home).0;
        }
        let mask = self.with(|gic| {
            let gic = gic?;
            Some(match register {
                GicRegister::Distributor(offset) => gic.dist_write(vcpu.id, offset, size, value),
                GicRegister::Deactivate(0) => {
                    gic.deactivate(vcpu.id, &state.context.interface, value)
                }
                GicRegister::Deactivate(_) => 0,
            })
        });
        let Some(mask) = mask else {
            return false;
        };
        // This one looks at its interrupts before it enters the guest.
        let own = 1 << vcpu.id;
        state.look_at_interrupts |= mask & own != 0;
        let others = mask & !own;
        if others != 0 {
            state.has_woken = !need_resched();
            vcpus.request(others, request::INTERRUPT);
            // One of them may want this CPU now, and the guest may spin for it.
            state.context.control.hcr |= wfe_trap();
        }
        true
    }

    /// Makes the answer true when a vCPU reads a register of the distributor that tells of pending
    /// or active interrupts. The distributor gets to know the levels of the vCPU's own devices, and
    /// vCPUs that have some of these interrupts in list registers come out of the guest.
    #[inline(never)]
    fn settle(&self, vcpus: &Vcpus, vcpu: &Vcpu, state: &mut VcpuState, offset: u32) {
        // The guest may have turned a timer off since the last entry.
        self.signals(vcpus, vcpu, state, state.lines());
        state.look_at_interrupts = true;
        let (mut waiting, folds) = self.with(|gic| {
            let gic = gic.as_deref();
            let stale = gic.map_or(0, |gic| gic.stale(vcpu.id, offset));
            let folds: [_; MAX_VCPUS] = core::array::from_fn(|id| gic?.folds(id));
            (stale & !(1 << vcpu.id), folds)
        });
        // They have interrupts disabled from the flush to the fold, so this takes no longer than
        // they take to leave the guest. The counts may wrap around: a vCPU that seems not to have
        // left leaves once more, at the host's next tick at the latest.
        vcpus.request(waiting, request::INTERRUPT);
        while waiting != 0 {
            self.with(|gic| {
                for (id, before) in folds.iter().enumerate() {
                    let now = gic.as_deref().and_then(|gic| gic.folds(id));
                    if now.is_none() || now != *before {
                        waiting &= !(1 << id);
                    }
                }
            });
            // After a fault in HYP mode, a vCPU's list registers are taken back no more.
            if kernel::current!().signal_pending() {
                return;
            }
            cond_resched();
        }
    }
}

/// Whether it is a register that tells what is pending or active: GICD_ISPENDR to GICD_ICACTIVER
/// (IHI 0048B table 4-1).
#[inline]
pub(super) const fn is_settled(offset: u32) -> bool {
    offset >= 0x200 && offset < 0x400
}

/// Whether the distributor has to be told of the levels of a vCPU's own devices. It knows `told`,
/// but looks at the virtual timer's level again after each deactivation.
#[inline]
fn must_tell(told: Lines, lines: Lines) -> bool {
    lines != told || lines.virt()
}

/// Tells it, if it has to be told. Gives the vCPUs to be kicked.
#[inline]
fn set_lines(
    gic: &mut Distributor,
    vcpu: &Vcpu,
    state: &VcpuState,
    told: Lines,
    lines: Lines,
) -> u32 {
    if !must_tell(told, lines) {
        return 0;
    }
    if kvm_timer_update_irq::is_on() || vgic_update_irq_pending::is_on() {
        trace_lines(vcpu, state, told, lines);
    }
    let mut kick = gic.set_level(vcpu.id, state.timer_irq.intid(), lines.virt());
    if lines.phys() != told.phys() {
        kick |= gic.set_level(vcpu.id, state.intids.phys, lines.phys());
    }
    if lines.pmu() != told.pmu() {
        if let Some(intid) = state.intids.pmu {
            kick |= gic.set_level(vcpu.id, intid, lines.pmu());
        }
    }
    kick
}

/// Traces those lines of a vCPU's own devices that change.
#[cold]
fn trace_lines(vcpu: &Vcpu, state: &VcpuState, told: Lines, lines: Lines) {
    let Intids { phys, pmu } = state.intids;
    let id = vcpu.id as u32;
    for (intid, was, level) in [
        (state.timer_irq.intid(), told.virt(), lines.virt()),
        (phys, told.phys(), lines.phys()),
    ] {
        if level != was {
            trace!(kvm_timer_update_irq(id, intid, level));
            trace!(vgic_update_irq_pending(id, intid, level));
        }
    }
    if let Some(intid) = pmu.filter(|_| lines.pmu() != told.pmu()) {
        trace!(vgic_update_irq_pending(id, intid, lines.pmu()));
    }
}
