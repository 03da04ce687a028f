// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: everything that its vCPUs share.

use core::{
    ops::Deref,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
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

use super::{
    bus::Bus,
    debugfs::{
        Members,
        Name, //
    },
    host::{
        Host,
        HypUser, //
    },
    irqfd::Irqfds,
    vcpu::{
        request,
        Vcpu, //
    },
    vcpu_state::VcpuState,
    vcpus::Vcpus,
    vm_firmware::VmFirmware,
    vm_gic::VmGic,
    vm_halt::VmHalt, //
};
use crate::{
    glue::{
        debugfs::WithFiles,
        mmu_notifier::MmuNotifier,
        mutex::lock_killable, //
    },
    hyp::register,
    mem::address_space::AddressSpace, //
};

/// A virtual machine. Those of its parts that files of debugfs show are its [`Members`], to which
/// it dereferences.
///
/// The file of the VM and those of its vCPUs and devices each hold a reference.
///
/// The locking order stands at the head of the module, in `kvm_arm.rs`.
#[pin_data(PinnedDrop)]
pub(crate) struct Vm {
    // Dropped first: after it no notifier comes any more.
    #[pin]
    notifier: MmuNotifier<Arc<AddressSpace>>,
    pub(crate) memory: Arc<AddressSpace>,
    pub(crate) host: Arc<Host>,
    /// The thread that made the VM.
    pub(crate) pid: i32,
    /// There is a VFIO device.
    pub(super) has_vfio: AtomicBool,
    /// Held while something takes or leaves its place among the guest's addresses: a slot, which
    /// can take seconds if it is large and goes, or the vGIC.
    #[pin]
    places: Mutex<()>,
    #[pin]
    pub(crate) irqfds: Irqfds,
    #[pin]
    pub(crate) bus: Bus,
    /// Accesses that are not emulated go to user space (KVM_CAP_ARM_NISV_TO_USER).
    nisv_to_user: AtomicBool,
    #[pin]
    members: WithFiles<Members>,
    /// The name of the directory of its files.
    pub(super) name: Name,
    pub(crate) firmware: VmFirmware,
    pub(crate) halt: VmHalt,
    /// CNTVOFF: the guest's counter starts at zero, unless user space sets it.
    #[pin]
    counter_offset: SpinLock<u64>,
    // Dropped last: guest memory goes with the help of HYP mode.
    _hyp: HypUser,
}

#[pinned_drop]
impl PinnedDrop for Vm {
    fn drop(self: Pin<&mut Self>) {
        // A CPU may still have registers of a vCPU. It would give them up in an interrupt, and with
        // them the last reference to their home: memory must not be freed there.
        if let Some(gic) = &self.host.gic {
            for vcpu in self.vcpus().iter() {
                gic.fetch(&vcpu.home);
            }
        }
    }
}

impl Deref for Vm {
    type Target = Members;

    #[inline]
    fn deref(&self) -> &Members {
        &self.members
    }
}

impl Vm {
    /// Makes a VM for the current process.
    pub(crate) fn new(host: &Arc<Host>) -> Result<Arc<Self>> {
        let hyp = HypUser::new(host)?;
        let memory = AddressSpace::new(&host.lowvisor)?;
        let task = kernel::current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let pid = task.pid();
        let members = Members::new(memory.clone(), VmGic::new(host.clone()));
        Arc::pin_init(
            try_pin_init!(Self {
                notifier <- MmuNotifier::register(memory.clone(), mm),
                memory,
                host: host.clone(),
                pid,
                has_vfio: AtomicBool::new(false),
                places <- new_mutex!((), "kvm_arm_places"),
                irqfds <- Irqfds::new(),
                bus <- Bus::new(),
                nisv_to_user: AtomicBool::new(false),
                name: Name::new(*pid),
                members <- WithFiles::new(members),
                firmware: VmFirmware::new(),
                halt: VmHalt::new(),
                counter_offset <- new_spinlock!(register::cntpct(), "kvm_arm_counter"),
                _hyp: hyp,
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

    /// Whether accesses that are not emulated go to user space.
    pub(crate) fn nisv_to_user(&self) -> bool {
        self.nisv_to_user.load(Ordering::Relaxed)
    }

    /// The vCPU with an id.
    pub(crate) fn vcpu(&self, id: usize) -> Option<&Arc<Vcpu>> {
        self.members.vcpus.get(id)
    }

    /// All vCPUs.
    #[inline]
    pub(crate) fn vcpus(&self) -> &Vcpus {
        &self.members.vcpus
    }

    /// The difference between the physical and the guest's counter.
    pub(crate) fn counter_offset(&self) -> u64 {
        *self.counter_offset.lock()
    }

    /// Sets the offset for all vCPUs. Each takes it before it runs on.
    pub(crate) fn set_counter_offset(&self, offset: u64) {
        *self.counter_offset.lock() = offset;
        self.vcpus().request(u32::MAX, request::COUNTER);
    }

    // --- vCPUs ------------------------------------------------------------------

    /// Makes a vCPU, and something of it by `make`, unless the ids are fixed already.
    pub(super) fn add_vcpu<R>(
        &self,
        id: usize,
        make: impl FnOnce(Arc<Vcpu>) -> Result<R>,
    ) -> Result<R> {
        let _config = self.gic.lock_config()?;
        if id >= self.host.max_vcpus {
            return Err(EINVAL);
        }
        if self.gic.is_initialized() {
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
        if self.gic.exists() && !self.gic.is_mapped() {
            let _places = lock_killable(&self.places)?;
            self.gic.map(self.vcpus(), &self.memory)?;
        }
        self.gic.fix_intids(vcpu, state)?;
        state.context.gic = self.gic.access(vcpu);
        state.set_counter_offset(self.counter_offset());
        self.firmware.fix();
        self.members
            .show(&self.host.debugfs, |is_taken| self.name.text(is_taken));
        state.look_at_interrupts = true;
        state.has_run = true;
        Ok(())
    }

    /// Changes a slot of the guest's memory.
    pub(super) fn set_memory_region(&self, region: &uapi::kvm_userspace_memory_region) -> Result {
        let _places = lock_killable(&self.places)?;
        // A device of the kernel cannot be covered once its address is fixed.
        if region.memory_size != 0 {
            let start = region.guest_phys_addr;
            let end = start.checked_add(region.memory_size).ok_or(EINVAL)?;
            if self.gic.is_within(start, end)? {
                return Err(EINVAL);
            }
        }
        self.memory.set_region(region)
    }

    /// Drives an SPI, if it exists and no device in the kernel has it. Any context.
    pub(crate) fn set_spi(&self, intid: u32, level: bool) {
        self.gic.set_spi(self.vcpus(), intid, level);
    }
}
