// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: what its vCPUs share.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    Ordering, //
};

use armv7::addr::{
    Ipa,
    PAGE_SIZE, //
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
};
use kvm_bindings as uapi;
use machine::vgic::is_ppi;

use super::{
    bus::Bus,
    debugfs::{
        self,
        Members, //
    },
    gic::{
        Distributor,
        GicConfig,
        Line,
        CPU_SIZE,
        DIST_SIZE, //
    },
    host::Host,
    irqfd::Irqfds,
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
    vcpus::MAX_VCPUS,
    vm_firmware::VmFirmware,
    vm_halt::VmHalt, //
};
use crate::{
    glue::{
        cpu::{
            cond_resched,
            new_irq_spinlock,
            IrqSpinLock,
            IrqsOff,
            MAX_CPUS, //
        },
        debugfs::WithFiles,
        mmu_notifier::MmuNotifier, //
    },
    hyp::register,
    mem::address_space::AddressSpace,
    trace::{
        mmio,
        trace, //
    },
};

/// A virtual machine.
///
/// The file of the VM and those of its vCPUs and devices each hold a reference.
///
/// The locking order stands at the head of the module, in `kvm_arm.rs`.
#[pin_data]
pub(crate) struct Vm {
    // Dropped first: after it no notifier comes any more.
    #[pin]
    notifier: MmuNotifier<Arc<AddressSpace>>,
    pub(crate) memory: Arc<AddressSpace>,
    pub(crate) host: Arc<Host>,
    /// The thread that made the VM.
    pub(crate) pid: i32,
    #[pin]
    config: Mutex<GicConfig>,
    /// There is a VFIO device.
    pub(super) has_vfio: AtomicBool,
    /// `config.created`, for those who must not take the mutex.
    has_gic: AtomicBool,
    /// `config.mapped`, likewise.
    gic_mapped: AtomicBool,
    /// The page of the distributor, once it is fixed.
    dist_page: AtomicU32,
    /// The page of GICC_DIR, likewise.
    dir_page: AtomicU32,
    #[pin]
    gic: IrqSpinLock<Option<Distributor>>,
    /// The vCPU that was the last to run on each CPU of the host.
    last_ran: [AtomicU8; MAX_CPUS],
    #[pin]
    pub(crate) irqfds: Irqfds,
    #[pin]
    pub(crate) bus: Bus,
    /// Accesses that are not emulated go to user space (KVM_CAP_ARM_NISV_TO_USER).
    nisv_to_user: AtomicBool,
    #[pin]
    members: WithFiles<Members>,
    pub(crate) firmware: VmFirmware,
    pub(crate) halt: VmHalt,
    /// CNTVOFF: the guest's counter starts at zero, unless user space sets it.
    #[pin]
    counter_offset: SpinLock<u64>,
}

/// A register of the vGIC that the guest's accesses trap for.
enum GicRegister {
    /// Of the distributor, by its offset.
    Distributor(u32),
    /// In the page of GICC_DIR, by its offset.
    Deactivate(u32),
}

/// No vCPU.
const NOBODY: u8 = u8::MAX;

/// No address is fixed.
const NO_PAGE: u32 = u32::MAX;

impl Vm {
    /// Makes a VM for the current process.
    pub(crate) fn new(host: &Arc<Host>) -> Result<Arc<Self>> {
        let memory = AddressSpace::new(&host.lowvisor)?;
        let task = kernel::current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let pid = task.pid();
        let name = debugfs::name(pid)?;
        let members = Members::new(memory.clone());
        Arc::pin_init(
            try_pin_init!(Self {
                notifier <- MmuNotifier::register(memory.clone(), mm),
                memory,
                host: host.clone(),
                pid,
                config <- new_mutex!(GicConfig::default(), "kvm_arm_vm"),
                has_vfio: AtomicBool::new(false),
                has_gic: AtomicBool::new(false),
                gic_mapped: AtomicBool::new(false),
                dist_page: AtomicU32::new(NO_PAGE),
                dir_page: AtomicU32::new(NO_PAGE),
                gic <- new_irq_spinlock!(None, "kvm_arm_vgic"),
                last_ran: [const { AtomicU8::new(NOBODY) }; MAX_CPUS],
                irqfds <- Irqfds::new(),
                bus <- Bus::new(),
                nisv_to_user: AtomicBool::new(false),
                members <- WithFiles::new(&host.debugfs, &name, members),
                firmware: VmFirmware::new(),
                halt: VmHalt::new(),
                counter_offset <- new_spinlock!(register::cntpct(), "kvm_arm_counter"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Whether the current process is the one whose memory the guest has.
    pub(crate) fn is_current_process(&self) -> bool {
        kernel::current!()
            .mm()
            .is_some_and(|mm| self.notifier.is_for(mm))
    }

    /// Sends accesses that are not emulated to user space from now on.
    pub(crate) fn set_nisv_to_user(&self) {
        self.nisv_to_user.store(true, Ordering::Relaxed);
    }

    /// Whether they are.
    pub(crate) fn nisv_to_user(&self) -> bool {
        self.nisv_to_user.load(Ordering::Relaxed)
    }

    /// The vCPU with an id.
    pub(crate) fn vcpu(&self, id: usize) -> Option<&Arc<Vcpu>> {
        self.members.vcpus.get(id)
    }

    /// All vCPUs, in the order of their ids.
    pub(crate) fn vcpus(&self) -> impl Iterator<Item = &Arc<Vcpu>> {
        self.members.vcpus.iter()
    }

    /// The difference between the physical and the guest's counter.
    pub(crate) fn counter_offset(&self) -> u64 {
        *self.counter_offset.lock()
    }

    /// Sets it for all vCPUs, which take it before they run on.
    pub(crate) fn set_counter_offset(&self, offset: u64) {
        *self.counter_offset.lock() = offset;
        self.request_all(u32::MAX, request::COUNTER);
    }

    /// Whether the vCPU that is about to run on this CPU is another one than the last of this VM
    /// that did: then the TLBs hold what is not its own.
    #[inline]
    pub(crate) fn comes_after_another(&self, irqs: &IrqsOff, id: usize) -> bool {
        let Some(last) = self.last_ran.get(irqs.cpu()) else {
            return true;
        };
        let other = last.load(Ordering::Relaxed) != id as u8;
        if other {
            last.store(id as u8, Ordering::Relaxed);
        }
        other
    }

    // --- vCPUs ------------------------------------------------------------------

    /// Makes a vCPU, and of it what `make` makes, unless the ids are fixed already.
    pub(super) fn add_vcpu<R>(
        &self,
        id: usize,
        make: impl FnOnce(Arc<Vcpu>) -> Result<R>,
    ) -> Result<R> {
        let config = self.config.lock();
        if id >= self.host.max_vcpus {
            return Err(EINVAL);
        }
        if config.initialized {
            return Err(EBUSY);
        }
        self.members.vcpus.add(id, || {
            let vcpu = Vcpu::new(id, &self.host)?;
            Ok((vcpu.clone(), make(vcpu)?))
        })
    }

    /// Makes everything ready for the first entry of a vCPU.
    pub(crate) fn prepare_to_run(&self, vcpu: &Vcpu, state: &mut VcpuState) -> Result {
        if state.has_run {
            return Ok(());
        }
        if self.has_gic() {
            self.map_gic()?;
        }
        self.fix_intids(vcpu, state)?;
        state.set_counter_offset(self.counter_offset());
        self.firmware.fix();
        state.look_at_interrupts = true;
        state.has_run = true;
        Ok(())
    }

    /// Asks something of the vCPUs in a set.
    #[inline]
    pub(crate) fn request_all(&self, mask: u32, what: u32) {
        self.members.vcpus.request(mask, what);
    }

    /// Changes a slot of the guest's memory.
    pub(super) fn set_memory_region(&self, region: &uapi::kvm_userspace_memory_region) -> Result {
        // A device of the kernel cannot be covered once its address is fixed.
        let config = self.config.lock();
        if config.mapped && region.memory_size != 0 {
            let end = region
                .guest_phys_addr
                .checked_add(region.memory_size)
                .ok_or(EINVAL)?;
            for (base, size) in [(config.dist, DIST_SIZE), (config.cpu, CPU_SIZE)] {
                if base.is_some_and(|base| region.guest_phys_addr < base + size && base < end) {
                    return Err(EINVAL);
                }
            }
        }
        self.memory.set_region(region)
    }

    // --- The interrupt controller -------------------------------------------------

    /// Whether the interrupt controller is in the kernel.
    #[inline]
    pub(crate) fn has_gic(&self) -> bool {
        self.has_gic.load(Ordering::Acquire)
    }

    /// KVM_CREATE_IRQCHIP, and the creation of a vGIC device.
    pub(crate) fn create_gic(&self) -> Result {
        let mut config = self.config.lock();
        if config.created {
            return Err(EEXIST);
        }
        // Each vCPU that runs holds its state's mutex. None may begin to before the vGIC is there.
        let mut guards = KVec::with_capacity(MAX_VCPUS, GFP_KERNEL)?;
        for vcpu in self.vcpus() {
            match vcpu.state.try_lock() {
                Some(state) if !state.has_run => guards.push(state, GFP_KERNEL)?,
                _ => return Err(EBUSY),
            }
        }
        config.created = true;
        self.has_gic.store(true, Ordering::Release);
        Ok(())
    }

    /// Changes or reads what is configured of the vGIC.
    pub(crate) fn with_gic_config<R>(
        &self,
        f: impl FnOnce(&mut GicConfig) -> Result<R>,
    ) -> Result<R> {
        let mut config = self.config.lock();
        if !config.created {
            return Err(ENXIO);
        }
        f(&mut config)
    }

    /// Runs `f` on the distributor, made if it is not yet there.
    pub(crate) fn with_distributor<R>(&self, f: impl FnOnce(&mut Distributor) -> R) -> Result<R> {
        self.init_gic()?;
        self.with_gic(|gic| gic.as_mut().map(f)).ok_or(ENXIO)
    }

    /// Runs `f` on the distributor, if there is one, with interrupts off: an eventfd can be
    /// signalled in one.
    #[inline]
    fn with_gic<R>(&self, f: impl FnOnce(&mut Option<Distributor>) -> R) -> R {
        self.gic.with(f)
    }

    /// Whether the number of vCPUs and interrupts is fixed.
    pub(crate) fn is_gic_initialized(&self) -> bool {
        self.config.lock().initialized
    }

    /// Drives an SPI, if it exists and no device in the kernel has it. Any context.
    pub(crate) fn set_spi(&self, intid: u32, level: bool) {
        trace!(kvm_vgic_set_level(0, intid, level));
        let mask = self.with_gic(|gic| match gic {
            Some(gic) if intid < gic.nr_irqs() => gic.set_user_level(0, intid, level),
            _ => 0,
        });
        self.request_all(mask, request::INTERRUPT);
    }

    /// Fixes the number of vCPUs and interrupts.
    pub(crate) fn init_gic(&self) -> Result {
        let mut config = self.config.lock();
        self.init_gic_locked(&mut config)
    }

    fn init_gic_locked(&self, config: &mut GicConfig) -> Result {
        if !config.created {
            return Err(ENXIO);
        }
        if config.initialized {
            return Ok(());
        }
        // Ids need not be consecutive; the distributor has a place for each up to the last.
        let nr_cpus = self.vcpus().map(|vcpu| vcpu.id + 1).max().unwrap_or(0);
        let distributor =
            config.build(nr_cpus, self.host.gic.list_registers, self.host.timer.intid)?;
        self.with_gic(|gic| *gic = Some(distributor));
        config.initialized = true;
        Ok(())
    }

    /// Fixes the addresses and maps the virtual CPU interface into the guest.
    fn map_gic(&self) -> Result {
        if self.gic_mapped.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut config = self.config.lock();
        if config.mapped {
            return Ok(());
        }
        let (Some(dist), Some(cpu)) = (config.dist, config.cpu) else {
            crate::glue::log::ratelimited(|| {
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
        let slots = self.memory.slots();
        if slots.overlap(dist, DIST_SIZE) || slots.overlap(cpu, CPU_SIZE) {
            return Err(EINVAL);
        }
        self.init_gic_locked(&mut config)?;
        // The second page has but one register, GICC_DIR, and traps: with it in hardware, a
        // deactivation of what is in no list register would be counted, but not named.
        self.memory
            .map_device(Ipa(cpu), self.host.gic.virtual_interface, PAGE_SIZE)?;
        config.mapped = true;
        self.dist_page.store(Ipa(dist).gfn(), Ordering::Relaxed);
        self.dir_page.store(Ipa(cpu).gfn() + 1, Ordering::Relaxed);
        self.gic_mapped.store(true, Ordering::Release);
        Ok(())
    }

    /// The interrupts of the timers.
    pub(crate) fn timer_intids(&self) -> TimerIntids {
        self.config.lock().timers
    }

    /// Changes them, before any vCPU runs.
    pub(crate) fn set_timer_intids(
        &self,
        change: impl FnOnce(TimerIntids) -> Result<TimerIntids>,
    ) -> Result {
        let mut config = self.config.lock();
        if config.intids_fixed {
            return Err(EBUSY);
        }
        let old = config.timers;
        config.timers = change(old)?;
        let new = config.timers.virt;
        // Until the distributor is made, there is nothing to be told.
        self.with_gic(|gic| {
            let Some(gic) = gic else {
                return;
            };
            for vcpu in self.vcpus() {
                gic.unmap_hw(vcpu.id, old.virt);
                gic.map_hw(vcpu.id, new, self.host.timer.intid);
            }
        });
        Ok(())
    }

    /// Chooses the interrupt of a vCPU's performance monitors (vcpu.rst 1.1).
    pub(crate) fn set_pmu_intid(&self, vcpu: &Vcpu, intid: u32) -> Result {
        let _config = self.config.lock();
        // A PPI is the same for all, an SPI another for each.
        let fits = |other: &Arc<Vcpu>| match other.pmu_intid() {
            Some(taken) => is_ppi(taken) == is_ppi(intid) && (taken == intid) == is_ppi(intid),
            None => true,
        };
        if !self.vcpus().all(fits) {
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
        let config = self.config.lock();
        if !config.created {
            return Ok(());
        }
        if !config.initialized {
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
    fn fix_intids(&self, vcpu: &Vcpu, state: &mut VcpuState) -> Result {
        let mut config = self.config.lock();
        let timers = config.timers;
        let pmu = vcpu.pmu_intid();
        if state.has_pmu() && !state.pmu.initialized {
            return Err(EINVAL);
        }
        if config.created {
            let nr_irqs = self.with_gic(|gic| gic.as_ref().map_or(0, |gic| gic.nr_irqs()));
            let taken = |intid| intid == timers.virt || intid == timers.phys;
            if timers.virt == timers.phys
                || state.has_pmu() && !pmu.is_some_and(|pmu| pmu < nr_irqs && !taken(pmu))
            {
                return Err(EINVAL);
            }
        }
        config.intids_fixed = true;
        state.intids = Intids {
            virt: timers.virt,
            phys: timers.phys,
            pmu: pmu.filter(|_| state.has_pmu()),
        };
        let Intids { virt, phys, pmu } = state.intids;
        self.with_gic(|gic| {
            let Some(gic) = gic else {
                return;
            };
            for intid in [Some(virt), Some(phys), pmu].into_iter().flatten() {
                // It can be nothing but lowered, for which nobody has to come.
                gic.own(vcpu.id, intid);
            }
        });
        Ok(())
    }

    /// Drives an input of the vGIC, unless it is that of a device in the kernel.
    pub(crate) fn set_gic_line(&self, line: Line, level: bool) -> Result {
        let (Line::Ppi(_, intid) | Line::Spi(intid)) = line;
        let cpu = if let Line::Ppi(cpu, _) = line { cpu } else { 0 };
        trace!(kvm_vgic_set_level(cpu as u32, intid, level));
        let mask = self.with_distributor(|gic| match line {
            Line::Ppi(cpu, intid) => Ok(gic.set_user_level(cpu, intid, level)),
            Line::Spi(intid) if intid < gic.nr_irqs() => Ok(gic.set_user_level(0, intid, level)),
            Line::Spi(_) => Err(EINVAL),
        })??;
        self.request_all(mask, request::INTERRUPT);
        Ok(())
    }

    /// Fills the list registers before an entry. Says whether the virtual timer's physical
    /// interrupt has to be active while the guest runs.
    #[inline]
    pub(crate) fn flush_gic(
        &self,
        irqs: &IrqsOff,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        lines: Lines,
    ) -> bool {
        if !self.has_gic() {
            return lines.virt;
        }
        let told = state.told_lines.replace(lines);
        // That of the virtual timer is looked at again after each deactivation.
        let tell = lines != told || lines.virt;
        if !state.look_at_interrupts && !tell {
            return state.timer_active;
        }
        let mut guard = self.gic.lock(irqs);
        let Some(gic) = (*guard).as_mut() else {
            return lines.virt;
        };
        if lines != told {
            trace!(kvm_timer_lines(vcpu.id as u32, lines.virt, lines.phys));
        }
        let mut kick = if tell {
            set_lines(gic, vcpu, state, lines)
        } else {
            0
        };
        kick |= gic.flush(vcpu.id, &mut state.interface);
        trace!(kvm_vgic_flush(vcpu.id as u32, state.interface.used));
        state.look_at_interrupts = false;
        state.timer_active = gic.hw_needs_phys_active(vcpu.id, state.intids.virt);
        let reserved = gic.reserve(vcpu.id, &state.interface, state.intids.virt);
        drop(guard);
        let (n, value) = reserved.unwrap_or_default();
        if state.timer_register != n || !state.context.relay.gives(value) {
            state.timer_register = n;
            state.context.relay = self.host.gic.relay(n, value, self.host.timer.intid);
        }
        self.request_all(kick & !(1 << vcpu.id), request::INTERRUPT);
        state.timer_active
    }

    /// Takes the list registers back after an exit. Says whether the virtual timer's physical
    /// interrupt is as it was: the guest has not deactivated it.
    #[inline]
    pub(crate) fn fold_gic(&self, irqs: &IrqsOff, vcpu: &Vcpu, state: &mut VcpuState) -> bool {
        if !self.has_gic() || state.interface.used == 0 {
            return true;
        }
        let mut guard = self.gic.lock(irqs);
        let Some(gic) = (*guard).as_mut() else {
            return true;
        };
        trace!(kvm_vgic_fold(vcpu.id as u32, state.interface.used));
        let ended = if self.irqfds.has_resampler() {
            Some(gic.ended(vcpu.id, &state.interface))
        } else {
            None
        };
        if core::mem::take(&mut state.timer_rose) {
            gic.rose(vcpu.id, state.intids.virt);
        }
        let kick = gic.fold(vcpu.id, &mut state.interface);
        let deactivated = gic.take_hw_deactivated(vcpu.id, state.intids.virt);
        drop(guard);
        state.look_at_interrupts = true;
        self.request_all(kick & !(1 << vcpu.id), request::INTERRUPT);
        if let Some(ended) = ended {
            self.resample(ended);
        }
        !deactivated
    }

    /// Has those look at their lines again whose interrupts the guest has ended.
    #[cold]
    fn resample(&self, ended: impl Iterator<Item = u32>) {
        ended.for_each(|intid| self.irqfds.ended(self, intid));
    }

    /// Whether the vGIC would signal an interrupt to the vCPU, given its own devices' lines.
    pub(crate) fn interrupt_for(&self, vcpu: &Vcpu, state: &VcpuState, lines: Lines) -> bool {
        if !self.has_gic() {
            return lines.any();
        }
        let found = self.with_gic(|gic| {
            let gic = gic.as_mut()?;
            state.told_lines.set(lines);
            let kick = set_lines(gic, vcpu, state, lines);
            Some((kick, gic.has_deliverable(vcpu.id, &state.interface)))
        });
        let Some((kick, ready)) = found else {
            return false;
        };
        // An SPI may be for another one.
        self.request_all(kick & !(1 << vcpu.id), request::INTERRUPT);
        ready
    }

    /// Before a register of the distributor is read that tells of pending or active interrupts:
    /// has the vCPUs come out of the guest that have some of them in list registers, so that the
    /// answer is not from before the question.
    fn settle(&self, vcpu: &Vcpu, offset: u32) {
        if !is_settled(offset) {
            return;
        }
        let (mut waiting, folds) = self.with_gic(|gic| {
            let gic = gic.as_ref();
            let stale = gic.map_or(0, |gic| gic.stale(vcpu.id, offset));
            let folds: [_; MAX_VCPUS] = core::array::from_fn(|id| gic?.folds(id));
            (stale & !(1 << vcpu.id), folds)
        });
        // They have interrupts disabled from the flush to the fold, so this takes no longer than
        // it takes them to leave the guest.
        self.request_all(waiting, request::INTERRUPT);
        while waiting != 0 {
            self.with_gic(|gic| {
                for (id, before) in folds.iter().enumerate() {
                    let now = gic.as_ref().and_then(|gic| gic.folds(id));
                    if now.is_none() || now != *before {
                        waiting &= !(1 << id);
                    }
                }
            });
            cond_resched();
        }
    }

    /// A load from a device in the kernel.
    pub(crate) fn device_read(&self, vcpu: &Vcpu, address: u64, size: usize) -> Option<[u8; 8]> {
        if size == 8 {
            // A distributor has registers of 32 bits: two of them.
            let [a, b, c, d, ..] = self.device_read(vcpu, address, 4)?;
            let [e, f, g, h, ..] = self.device_read(vcpu, address.wrapping_add(4), 4)?;
            return Some([a, b, c, d, e, f, g, h]);
        }
        let value = match self.register(address)? {
            GicRegister::Distributor(offset) => {
                self.settle(vcpu, offset);
                self.with_gic(|gic| Some(gic.as_ref()?.dist_read(vcpu.id, offset, size as u32)))?
            }
            // GICC_DIR is write-only.
            GicRegister::Deactivate(_) => 0,
        };
        let mut data = [0; 8];
        data[..4].copy_from_slice(&value.to_le_bytes());
        vcpu.stats.mmio_kernel.count();
        trace!(kvm_mmio(mmio::READ, size as u32, address, value.into()));
        Some(data)
    }

    /// A store to a device in the kernel; false if there is none.
    pub(crate) fn device_write(
        &self,
        vcpu: &Vcpu,
        state: &mut VcpuState,
        address: u64,
        size: usize,
        data: &[u8; 8],
    ) -> bool {
        let Some(register) = self.register(address) else {
            if !self.bus.write(address, size, data) {
                return false;
            }
            vcpu.stats.mmio_kernel.count();
            let value = u64::from_le_bytes(*data);
            trace!(kvm_mmio(mmio::WRITE, size as u32, address, value));
            return true;
        };
        if size == 8 {
            let [_, _, _, _, e, f, g, h] = *data;
            let high = [e, f, g, h, 0, 0, 0, 0];
            return self.device_write(vcpu, state, address, 4, data)
                && self.device_write(vcpu, state, address.wrapping_add(4), 4, &high);
        }
        let value = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
        let mask = self.with_gic(|gic| {
            let gic = gic.as_mut()?;
            Some(match register {
                GicRegister::Distributor(offset) => {
                    gic.dist_write(vcpu.id, offset, size as u32, value)
                }
                GicRegister::Deactivate(0) => gic.deactivate(vcpu.id, &state.interface, value),
                GicRegister::Deactivate(_) => 0,
            })
        });
        let Some(mask) = mask else {
            return false;
        };
        vcpu.stats.mmio_kernel.count();
        trace!(kvm_mmio(mmio::WRITE, size as u32, address, value.into()));
        if let GicRegister::Deactivate(0) = register {
            // The end of an interrupt with EOImode 1, which no list register tells.
            if self.irqfds.has_resampler() {
                self.resample([value & 0x3ff].into_iter());
            }
        }
        // This one is not in the guest, and looks at its interrupts before it is.
        let own = 1 << vcpu.id;
        state.look_at_interrupts |= mask & own != 0;
        self.request_all(mask & !own, request::INTERRUPT);
        true
    }

    /// Whether a page is the distributor's.
    #[inline]
    pub(crate) fn is_distributor(&self, gfn: u32) -> bool {
        gfn == self.dist_page.load(Ordering::Relaxed)
    }

    /// Whether a device in the kernel is at an address.
    #[inline]
    pub(crate) fn has_device(&self, address: u64) -> bool {
        self.register(address).is_some()
    }

    #[inline]
    fn register(&self, address: u64) -> Option<GicRegister> {
        let (page, offset) = (Ipa(address).gfn(), Ipa(address).page_offset());
        if page == self.dist_page.load(Ordering::Relaxed) {
            Some(GicRegister::Distributor(offset))
        } else if page == self.dir_page.load(Ordering::Relaxed) {
            Some(GicRegister::Deactivate(offset))
        } else {
            None
        }
    }
}

/// Whether it is a register that tells what is pending or active: GICD_ISPENDR to GICD_ICACTIVER
/// (IHI 0048B table 4-1).
#[inline]
pub(super) const fn is_settled(offset: u32) -> bool {
    offset >= 0x200 && offset < 0x400
}

/// Tells the distributor of the levels of a vCPU's own devices. Gives the vCPUs to be kicked.
#[inline]
fn set_lines(gic: &mut Distributor, vcpu: &Vcpu, state: &VcpuState, lines: Lines) -> u32 {
    let mut kick = gic.set_level(vcpu.id, state.intids.virt, lines.virt);
    kick |= gic.set_level(vcpu.id, state.intids.phys, lines.phys);
    if let Some(intid) = state.intids.pmu {
        kick |= gic.set_level(vcpu.id, intid, lines.pmu);
    }
    kick
}
