// SPDX-License-Identifier: GPL-2.0

//! The machine that guests run on: HYP mode, the GIC's virtual CPU interface, the virtual timer.
//! One such value exists from load to unload.

use core::sync::atomic::{
    AtomicBool,
    AtomicPtr,
    AtomicU32,
    Ordering, //
};

use armv7::addr::Pa;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
};
use machine::timer::Frequency;

use super::{
    kick_sgi,
    loaded::Loaded,
    pmu::HostPmus,
    stats::Numbers, //
};
use crate::{
    glue::{
        cpu::{
            on_each_cpu,
            with_fixed_cpus,
            CpuCallbacks,
            IrqsOff,
            ThisCpu,
            MAX_CPUS, //
        },
        debugfs::Group,
        device_tree::Node,
        irq::{
            PercpuHandler,
            PercpuIrq, //
        },
        mutex::lock_killable,
        parameter::enable_virt_at_load,
        power::PowerCallbacks, //
    },
    hyp::{
        register,
        shared::HypRegisters,
        takeover::{
            Lowvisor,
            NoTakeOver, //
        }, //
    },
    mem::vmid::VmidAllocator, //
};

/// The virtual interface of the host's GIC (IHI 0048B chapter 5).
pub(crate) struct HostGic {
    /// GICH: the hypervisor's side.
    pub(crate) control: HypRegisters,
    /// The distributor. The host's driver owns it.
    pub(crate) distributor: HypRegisters,
    /// GICV: a guest sees it as its CPU interface.
    pub(crate) virtual_interface: Pa,
    /// The number of list registers.
    pub(crate) list_registers: usize,
    /// The bit of each CPU's interface in the distributor, once the CPU was ours. Zero is not
    /// known.
    interfaces: [AtomicU32; MAX_CPUS],
    /// The values that each CPU's interface has now.
    pub(super) loaded: [Loaded; MAX_CPUS],
    /// The SGI that makes another CPU look up, if it is known.
    pub(crate) kick_sgi: Option<u32>,
    maintenance: PercpuIrq,
}

/// The virtual timer of the host. A host that was booted in HYP mode does not use it itself.
pub(crate) struct HostTimer {
    irq: PercpuIrq,
    /// The INTID of the interrupt.
    pub(crate) intid: u32,
    pub(crate) frequency: Frequency,
    quieting: Quieting,
    /// Whether the interrupt of a CPU is quiet.
    quiet: [AtomicBool; MAX_CPUS],
}

/// The way in which the interrupt of the virtual timer is kept from interrupting the guest again
/// and again, while its level is high and the guest knows of it. The guest sees neither: a mask in
/// CNTV_CTL it would see, and might leave it there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quieting {
    /// It is active in the interrupt controller. A GIC can do that.
    Active,
    /// It is masked in the interrupt controller. All of them can do that.
    Masked,
}

/// Those who need HYP mode to be ours: each VM, and perhaps the module itself.
struct Users {
    count: usize,
    /// The machine goes down: HYP mode was given back for good.
    goes_down: bool,
    /// The log has told why HYP mode cannot be taken over, and nothing was better since then.
    /// Programs that try again and again do not fill the log.
    is_failure_told: bool,
}

/// The machine.
#[pin_data]
pub(crate) struct Host {
    #[pin]
    users: Mutex<Users>,
    /// There are users: a CPU that comes online is taken over. Written while no CPU comes or goes.
    in_use: AtomicBool,
    /// The CPUs that are set up for guests. Each CPU writes its own.
    started: [AtomicBool; MAX_CPUS],
    pub(crate) lowvisor: Arc<Lowvisor>,
    /// Without it, the VMs' interrupts come from user space.
    pub(crate) gic: Option<HostGic>,
    pub(crate) timer: HostTimer,
    pub(crate) pmus: HostPmus,
    #[pin]
    pub(crate) vmids: VmidAllocator,
    /// The VMs that have files in debugfs.
    pub(crate) debugfs: Arc<Group<dyn Numbers>>,
    /// The largest number of vCPUs that a VM may have: `max_vcpus=`.
    pub(crate) max_vcpus: usize,
}

/// The names that device trees give to a GIC with a virtual interface.
const GICS: [&CStr; 4] = [
    c"arm,cortex-a15-gic",
    c"arm,cortex-a7-gic",
    c"arm,gic-400",
    c"qcom,msm-qgic2",
];

/// GICH_VTR (IHI 0048B 5.3.2).
const GICH_VTR: usize = 0x4;
/// GICD_ISACTIVER0, GICD_ICACTIVER0, which have the PPIs, and GICD_ITARGETSR0 (IHI 0048B table
/// 4-1).
const GICD_ISACTIVER: usize = 0x300;
const GICD_ICACTIVER: usize = 0x380;
const GICD_ITARGETSR: usize = 0x800;

struct MaintenanceIrq;

impl PercpuHandler for MaintenanceIrq {
    /// The interrupt has done its work: it made the guest exit. The exit path empties the list
    /// registers and no longer asks for the interrupt, which goes away by that.
    fn handle() {}
}

struct VirtualTimer;

impl PercpuHandler for VirtualTimer {
    /// The interrupt has done its work: it made the guest exit. The exit path has disabled the
    /// timer and looks at its state.
    fn handle() {}
}

/// The parts of a GIC with a virtual interface.
struct GicParts {
    /// The distributor.
    gicd: Pa,
    /// GICH, and its size.
    gich: (Pa, u64),
    /// GICV.
    gicv: Pa,
    /// The maintenance interrupt.
    irq: u32,
}

impl GicParts {
    /// Finds them in the device tree, or says in one line of the log what is missing.
    fn find() -> Option<Self> {
        // Linux 5.6 served such machines, too, and user space is told by KVM_CAP_IRQCHIP.
        const MEANS: &str = "a VM's interrupt controller has to be that of its monitor \
            (KVM_CAP_IRQCHIP is 0; QEMU: kernel-irqchip=off)";
        let Some(node) = GICS.iter().find_map(|name| Node::find(name)) else {
            pr_warn!("the device tree has no GICv2 with virtualization extensions: {MEANS}\n");
            return None;
        };
        let (Some((gicd, _)), Some(gich), Some((gicv, gicv_size))) =
            (node.registers(0), node.registers(2), node.registers(3))
        else {
            pr_warn!(
                "the device tree names no virtual interface of the GIC (GICH and GICV, the third \
                 and fourth entry of its reg): {MEANS}\n"
            );
            return None;
        };
        if gicv.0 & 0xfff != 0 || gicv_size < 0x2000 || gicv_size & 0xfff != 0 {
            pr_warn!(
                "the GIC's virtual CPU interface ({:#x}, {:#x} bytes) is not made of pages, so a \
                 guest cannot get it alone: {MEANS}\n",
                gicv.0,
                gicv_size
            );
            return None;
        }
        let Some(interrupt) = node.interrupt(0) else {
            pr_warn!(
                "the device tree gives the GIC no maintenance interrupt (interrupts): {MEANS}\n"
            );
            return None;
        };
        Some(Self {
            gicd,
            gich,
            gicv,
            irq: interrupt.irq,
        })
    }
}

impl HostGic {
    fn find(lowvisor: &Arc<Lowvisor>) -> Result<Option<Self>> {
        let Some(parts) = GicParts::find() else {
            return Ok(None);
        };
        let (gich, size) = parts.gich;
        let control = HypRegisters::map(lowvisor, gich, (size as usize).clamp(0x200, 0x1000))?;
        let list_registers = (control.read(GICH_VTR) & 0x3f) as usize + 1;
        let distributor = HypRegisters::map(lowvisor, parts.gicd, 0x1000)?;
        Ok(Some(Self {
            control,
            interfaces: [const { AtomicU32::new(0) }; MAX_CPUS],
            loaded: [const { Loaded::new() }; MAX_CPUS],
            kick_sgi: kick_sgi::find(&distributor),
            distributor,
            virtual_interface: parts.gicv,
            list_registers,
            maintenance: PercpuIrq::request::<MaintenanceIrq>(parts.irq, c"kvm_arm vgic")?,
        }))
    }
}

impl HostGic {
    /// The bit of this CPU's interface in the distributor; zero, if it is not known.
    #[inline]
    pub(crate) fn interface_of(&self, cpu: ThisCpu<'_>) -> u32 {
        let interface = self.interfaces.get(cpu.number());
        interface.map_or(0, |interface| interface.load(Ordering::Relaxed))
    }

    /// Makes a PPI of this CPU active or inactive. The host's driver does no more for that, but
    /// looks for the interrupt's description first, which takes hundreds of instructions.
    #[inline]
    fn set_active(&self, _irqs: &IrqsOff, intid: u32, active: bool) {
        let register = if active {
            GICD_ISACTIVER
        } else {
            GICD_ICACTIVER
        };
        self.distributor.write(register, 1 << (intid & 31));
    }

    /// Finds out the bit of this CPU's interface: GICD_ITARGETSR0 to 7 have it in each byte, but
    /// for those of interrupts that there are not (IHI 0048B 4.3.12). With one CPU they may read as
    /// zero.
    fn find_interface(&self, irqs: &IrqsOff) {
        let words = (0..8).map(|n| self.distributor.read(GICD_ITARGETSR + 4 * n));
        let [a, b, c, d] = words.fold(0, |all, word| all | word).to_le_bytes();
        if let Some(interface) = self.interfaces.get(irqs.cpu()) {
            interface.store((a | b | c | d).into(), Ordering::Relaxed);
        }
    }
}

impl HostTimer {
    fn find() -> Result<Self> {
        let Some(node) = Node::find(c"arm,armv7-timer") else {
            pr_err!("no arm,armv7-timer in the device tree: the guest's timer needs one\n");
            return Err(ENODEV);
        };
        // Secure physical, non-secure physical, virtual, hypervisor.
        let Some(interrupt) = node.interrupt(2) else {
            pr_err!(
                "the device tree gives the timer no virtual interrupt (the third of its \
                 interrupts): use a device tree that has it\n"
            );
            return Err(ENODEV);
        };
        let tree = node.cell(c"clock-frequency");
        let Some(frequency) = Frequency::of_machine(tree, register::cntfrq()) else {
            pr_err!(
                "nothing tells the timer's frequency: CNTFRQ, which the boot loader sets, or \
                 clock-frequency of the timer in the device tree\n"
            );
            return Err(ENODEV);
        };
        let irq = PercpuIrq::request::<VirtualTimer>(interrupt.irq, c"kvm_arm timer")?;
        // Only the driver of the interrupt controller knows whether it can.
        let quieting = match IrqsOff::with(|irqs| irq.set_active(&irqs, false)) {
            Ok(()) => Quieting::Active,
            Err(_) => Quieting::Masked,
        };
        Ok(Self {
            irq,
            intid: interrupt.hwirq,
            frequency,
            quieting,
            quiet: [const { AtomicBool::new(false) }; MAX_CPUS],
        })
    }

    /// Makes the physical interrupt of this CPU quiet or not, unless it is so already.
    #[inline]
    pub(crate) fn set_quiet(&self, cpu: ThisCpu<'_>, gic: Option<&HostGic>, quiet: bool) {
        let Some(known) = self.quiet.get(cpu.number()) else {
            return;
        };
        if known.load(Ordering::Relaxed) != quiet {
            known.store(quiet, Ordering::Relaxed);
            self.change(&cpu, gic, quiet);
        }
    }

    fn change(&self, irqs: &IrqsOff, gic: Option<&HostGic>, quiet: bool) {
        match (self.quieting, gic) {
            (Quieting::Active, Some(gic)) => gic.set_active(irqs, self.intid, quiet),
            (Quieting::Active, None) => {
                // This does not fail, as it did not when the timer was found.
                let _ = self.irq.set_active(irqs, quiet);
            }
            (Quieting::Masked, _) if quiet => self.irq.disable(irqs),
            (Quieting::Masked, _) => self.irq.enable(irqs),
        }
    }

    /// Switches the timer of this CPU off, and makes its interrupt inactive. A loss of power, or
    /// the software that ran before this kernel, may have left anything there. Which interrupts are
    /// masked, the kernel sees to.
    fn reset(&self, irqs: &IrqsOff, gic: Option<&HostGic>) {
        register::set_cntv_ctl(irqs, 0);
        if self.quieting == Quieting::Active {
            self.note_active(irqs.this_cpu(), false);
            self.change(irqs, gic, false);
        } else {
            self.set_quiet(irqs.this_cpu(), gic, false);
        }
    }

    /// Makes the timer of this CPU ready for guests.
    fn start(&self, irqs: &IrqsOff, gic: Option<&HostGic>) {
        self.reset(irqs, gic);
        self.irq.enable(irqs);
    }

    /// Ends that. No guest runs here afterwards.
    fn stop(&self, irqs: &IrqsOff) {
        self.irq.disable(irqs);
        if self.quieting == Quieting::Masked {
            self.note_active(irqs.this_cpu(), false);
        }
    }

    /// Takes note that the interrupt of this CPU is active or not, without a change of it: while
    /// the guest ran, HYP mode has made it active, or the guest has deactivated it.
    #[inline]
    pub(crate) fn note_active(&self, cpu: ThisCpu<'_>, active: bool) {
        if let Some(known) = self.quiet.get(cpu.number()) {
            known.store(active, Ordering::Relaxed);
        }
    }
}

/// The one machine. Callbacks and `open` reach it only through this pointer.
static CURRENT: AtomicPtr<Host> = AtomicPtr::new(core::ptr::null_mut());

/// Keeps the machine reachable by [`Host::current`].
///
/// # Invariants
///
/// `CURRENT` points to `_host` while the value lives.
pub(crate) struct HostGuard {
    _host: Arc<Host>,
}

impl HostGuard {
    /// Prepares this machine to run guests, or says why it cannot.
    pub(crate) fn new(max_vcpus: usize) -> Result<Self> {
        // The CPUs are checked first, then the rest of the machine.
        let lowvisor = Lowvisor::new()?;
        let gic = HostGic::find(&lowvisor)?;
        let timer = HostTimer::find()?;
        let host = Arc::pin_init(
            try_pin_init!(Host {
                users <- new_mutex!(
                    Users {
                        count: 0,
                        goes_down: false,
                        is_failure_told: false,
                    },
                    "kvm_arm_users"
                ),
                in_use: AtomicBool::new(false),
                started: [const { AtomicBool::new(false) }; MAX_CPUS],
                lowvisor,
                gic,
                timer,
                pmus: HostPmus::new(),
                vmids <- VmidAllocator::new(),
                debugfs: Group::at_top(c"kvm")?,
                max_vcpus,
            }),
            GFP_KERNEL,
        )?;
        CURRENT.store(Arc::as_ptr(&host).cast_mut(), Ordering::Release);
        // INVARIANT: Set just above.
        Ok(Self { _host: host })
    }
}

impl Drop for HostGuard {
    fn drop(&mut self) {
        CURRENT.store(core::ptr::null_mut(), Ordering::Release);
    }
}

impl Host {
    /// The machine, while the module is loaded.
    pub(crate) fn current() -> Option<Arc<Host>> {
        let host = CURRENT.load(Ordering::Acquire);
        if host.is_null() {
            return None;
        }
        // SAFETY: The guard that set the pointer has a reference, and clears the pointer before it
        // drops that reference. The callers, callbacks and the device, are registered for less time
        // than the guard lives. `ManuallyDrop` keeps the guard's reference from being dropped here.
        let borrowed = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(host) });
        Some(Arc::clone(&borrowed))
    }

    fn with_current(f: impl FnOnce(&Host) -> Result) -> Result {
        // SAFETY: The guard that set the pointer has a reference as long as it lives. `f` is called
        // by callbacks, whose registrations end before the guard is dropped.
        let host = unsafe { CURRENT.load(Ordering::Acquire).as_ref() };
        f(host.ok_or(ENODEV)?)
    }
}

impl Host {
    /// Sets up HYP mode and the guests' interrupts on this CPU.
    fn start(&self, irqs: &IrqsOff) -> Result<(), NoTakeOver> {
        self.lowvisor.take_over(irqs)?;
        if let Some(gic) = &self.gic {
            gic.reset(irqs);
            gic.find_interface(irqs);
            gic.maintenance.enable(irqs);
        }
        self.timer.start(irqs, self.gic.as_ref());
        self.started[irqs.cpu()].store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Undoes that, if it was done.
    fn stop(&self, irqs: &IrqsOff) {
        if !self.is_started(irqs) {
            return;
        }
        self.started[irqs.cpu()].store(false, Ordering::Relaxed);
        self.timer.stop(irqs);
        if let Some(gic) = &self.gic {
            gic.evict(irqs);
            gic.reset(irqs);
            gic.maintenance.disable(irqs);
        }
        self.lowvisor.leave(irqs);
    }

    fn is_started(&self, irqs: &IrqsOff) -> bool {
        self.started[irqs.cpu()].load(Ordering::Relaxed)
    }

    /// Sets up all CPUs that are online, or none of them. Gives the first reason that was found.
    fn start_all(&self) -> Result<(), NoTakeOver> {
        let failure = SetOnce::new();
        with_fixed_cpus(|| {
            on_each_cpu(|irqs| {
                if let Err(reason) = self.start(irqs) {
                    failure.populate(reason);
                }
            });
            if failure.as_ref().is_some() {
                on_each_cpu(|irqs| self.stop(irqs));
            } else {
                self.in_use.store(true, Ordering::Relaxed);
            }
        });
        failure.as_ref().map_or(Ok(()), |&reason| Err(reason))
    }

    fn stop_all(&self) {
        with_fixed_cpus(|| {
            self.in_use.store(false, Ordering::Relaxed);
            on_each_cpu(|irqs| self.stop(irqs));
        });
    }
}

/// A user of HYP mode. While there is one, all CPUs that are online are set up for guests.
///
/// # Invariants
///
/// It is counted in the host's `users`.
pub(crate) struct HypUser(Arc<Host>);

impl HypUser {
    /// Takes HYP mode over, if this is the first user. The log tells why that failed.
    pub(crate) fn new(host: &Arc<Host>) -> Result<Self> {
        let mut users = lock_killable(&host.users)?;
        if users.goes_down {
            return Err(EBUSY);
        }
        if users.count == 0 {
            if let Err(reason) = host.start_all() {
                if !users.is_failure_told {
                    users.is_failure_told = true;
                    pr_err!("{reason}\n");
                }
                return Err(reason.into());
            }
            users.is_failure_told = false;
        }
        // VMs take memory, so they are fewer than this can count.
        users.count += 1;
        drop(users);
        // INVARIANT: Counted just now.
        Ok(Self(host.clone()))
    }

    /// Takes HYP mode over when the module is loaded: to keep it, or (`None`) just to see that it
    /// works, so that the first VM does not find out.
    pub(crate) fn at_load() -> Result<Option<Self>> {
        let host = Host::current().ok_or(ENODEV)?;
        let user = Self::new(&host)?;
        Ok(enable_virt_at_load().then_some(user))
    }
}

impl Drop for HypUser {
    fn drop(&mut self) {
        let mut users = self.0.users.lock();
        users.count -= 1;
        if users.count == 0 {
            self.0.stop_all();
        }
    }
}

/// Sets up HYP mode and the guests' interrupts on CPUs that come, and undoes both on CPUs that go.
pub(crate) struct Follow;

impl CpuCallbacks for Follow {
    fn online(irqs: &IrqsOff) -> Result {
        Host::with_current(|host| {
            if !host.in_use.load(Ordering::Relaxed) {
                return Ok(());
            }
            host.start(irqs).map_err(|reason| {
                pr_err!("{reason}\n");
                reason.into()
            })
        })
    }

    fn offline(irqs: &IrqsOff) {
        let _ = Host::with_current(|host| {
            host.stop(irqs);
            Ok(())
        });
    }
}

impl PowerCallbacks for Follow {
    fn down(irqs: &IrqsOff) {
        let _ = Host::with_current(|host| {
            // The interface may lose its power, too.
            if let Some(gic) = &host.gic {
                gic.evict(irqs);
            }
            host.lowvisor.give_back(irqs);
            Ok(())
        });
    }

    fn up(irqs: &IrqsOff) {
        let _ = Host::with_current(|host| {
            if !host.is_started(irqs) {
                return Ok(());
            }
            if let Some(gic) = &host.gic {
                gic.reset(irqs);
                // Where clusters take turns, a CPU can have come up with another interface.
                gic.find_interface(irqs);
            }
            host.timer.reset(irqs, host.gic.as_ref());
            if let Err(reason) = host.lowvisor.take_back(irqs) {
                pr_err!(
                    "CPU {}: HYP mode is lost ({reason}), no guest runs any more: reboot\n",
                    irqs.cpu()
                );
            }
            Ok(())
        });
    }

    fn reboot() {
        let _ = Host::with_current(|host| {
            let mut users = host.users.lock();
            users.goes_down = true;
            with_fixed_cpus(|| {
                host.in_use.store(false, Ordering::Relaxed);
                on_each_cpu(|irqs| {
                    if let Some(gic) = host.gic.as_ref().filter(|_| host.is_started(irqs)) {
                        gic.evict(irqs);
                        gic.reset(irqs);
                    }
                    host.lowvisor.leave(irqs);
                });
            });
            Ok(())
        });
    }
}
