// SPDX-License-Identifier: GPL-2.0

//! Taking HYP mode over from the kernel's stub, CPU by CPU, and giving it back.
//!
//! A running kernel's stub offers one way in: a soft restart, which jumps in HYP
//! mode, with MMU and data cache off, to a physical address of our choice
//! (`Documentation/virt/kvm/arm/hyp-abi.rst` in the kernel tree). A copy of
//! `__hyp_init` lies there, cleaned to the point of coherency, in a page that the
//! HYP table maps at its physical address.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    AtomicUsize,
    Ordering, //
};

use armv7::{
    addr::Pa,
    descriptor::{
        HypAccess,
        HypMemory, //
    },
    regs, //
};
use kernel::{
    fmt, new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
};
use kvm_bindings as layout;
use machine::{
    core::{
        Core,
        CoreSet,
        PredictorFlush, //
    },
    errata::TlbRepair, //
};

use super::{
    call::HypCpuRef,
    context::assert_layout,
    cpu::HypCpu,
    identity::{
        core_of_this_cpu,
        midr,
        Identity, //
    },
    page_table::HypPageTable,
    register,
    tlb::TlbRepairs, //
};
use crate::glue::{
    cpu::{
        on_each_cpu,
        possible_cpus,
        IrqsOff,
        ThisCpu,
        MAX_CPUS, //
    },
    image::Part,
    mmio::Registers,
    page::{
        flush_dcache_to_poc,
        LowmemPages,
        PAGE_SIZE, //
    },
    user_page::user_limit,
};

/// The words that `__hyp_install` loads into registers, and the two that it stores.
#[repr(C)]
struct HypInstall {
    init_pa: u32,
    httbr: [u32; 2],
    hmair: [u32; 2],
    htcr: u32,
    hsctlr: u32,
    hvbar: u32,
    htpidr: *mut HypCpu,
    vtcr: u32,
    stub_hvbar: u32,
    stub_hsctlr: u32,
}

// `__hyp_install` loads ten words, and stores two behind them.
assert_layout!(HypInstall at 0, ends at 48;
    init_pa: 0,
    httbr: 4,
    hmair: 12,
    htcr: 20,
    hsctlr: 24,
    hvbar: 28,
    htpidr: 32,
    vtcr: 36,
    stub_hvbar: 40,
    stub_hsctlr: 44,
);

extern "C" {
    // asm/init.S
    static __hyp_init_begin: [u8; 0];
    static __hyp_reset: [u8; 0];
    static __hyp_init_end: [u8; 0];
    fn __hyp_install(p: *mut HypInstall) -> u32;
    fn __hyp_probe(function: u32) -> u32;
    // asm/interrupts.S
    static __hyp_host_vectors: [u8; 0];
    static __hyp_guest_vectors: [u8; 0];
    static __hyp_guest_vectors_iciallu: [u8; 0];
    static __hyp_guest_vectors_bpiall: [u8; 0];
}

/// The owner of HYP mode on this CPU: whoever an `hvc` leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HypOwner {
    /// Nobody: the instruction is undefined.
    None,
    /// The kernel's stub.
    Stub,
    /// This module.
    Us,
    /// Somebody whom we do not know.
    Unknown,
}

impl HypOwner {
    fn find(_irqs: &IrqsOff) -> Self {
        // SAFETY: Interrupts are off. `__hyp_probe` survives an undefined `hvc`, and every
        // documented owner of HYP mode refuses a function that it does not know.
        match unsafe { __hyp_probe(layout::HVC_IDENTIFY) } {
            u32::MAX => Self::None,
            layout::HVC_STUB_ERROR => Self::Stub,
            layout::HVC_IDENTITY => Self::Us,
            _ => Self::Unknown,
        }
    }
}

/// The lowvisor: HYP mode's mappings, and its state on each CPU.
#[pin_data]
pub(crate) struct Lowvisor {
    #[pin]
    table: Mutex<HypPageTable>,
    /// The page with the copy of `__hyp_init_begin` to `__hyp_init_end`.
    identity: LowmemPages,
    cpus: [Option<LowmemPages>; MAX_CPUS],
    pub(super) tlb_repairs: TlbRepairs,
    /// The number of the core of each CPU on which HYP mode is ours, and [`NOT_OURS`] for the
    /// others.
    owned: [AtomicU8; MAX_CPUS],
    /// The cores of which a CPU was ours.
    identities: [SetOnce<Identity>; Core::ALL.len()],
    /// The CPUs whose debug registers can be used.
    can_debug: [AtomicBool; MAX_CPUS],
    /// The CPUs on which it is to be ours again after a loss of power.
    wanted: [AtomicBool; MAX_CPUS],
    /// A CPU did not get HYP mode back. TLB maintenance from there cannot reach other CPUs' TLBs,
    /// so no guest is entered any more.
    is_lost: AtomicBool,
    /// The CPUs' windows for cleaning RAM cannot be used.
    pub(super) no_windows: AtomicBool,
    httbr: u64,
    /// The log says that the branch predictor cannot be emptied.
    is_predictor_told: AtomicBool,
}

/// HYP mode of a CPU is not ours.
const NOT_OURS: u8 = u8::MAX;

/// The reason for which a vCPU cannot run on this CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// The CPU is of another core than the vCPU.
    OtherCore,
    /// HYP mode is not ours, or guests may run nowhere.
    NotOurs,
    /// HYP mode was given back for good: the machine goes down.
    GoesDown,
}

/// The reason for which HYP mode of a CPU was not taken over, and the way out.
#[derive(Clone, Copy)]
pub(crate) enum NoTakeOver {
    /// The core is unknown: its MIDR.
    Core(usize, u32),
    /// The CPU was booted in SVC mode.
    Svc(usize),
    /// HYP mode is neither the stub's nor ours.
    OtherSoftware(usize),
    /// The soft restart did not lead to our code.
    NotUp(usize),
    /// The CPU has a number that the kernel did not foresee at load.
    NotPossible,
}

impl From<NoTakeOver> for Error {
    fn from(reason: NoTakeOver) -> Error {
        match reason {
            NoTakeOver::NotUp(_) => EIO,
            _ => ENODEV,
        }
    }
}

impl fmt::Display for NoTakeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(cpu, midr) => write!(
                f,
                "unsupported core (MIDR {midr:#010x}) of CPU {cpu}: for KVM the CPU has to stay offline"
            ),
            Self::Svc(cpu) => write!(
                f,
                "CPU {cpu} was not booted in HYP mode: for KVM the CPU has to stay offline"
            ),
            Self::OtherSoftware(cpu) => write!(
                f,
                "CPU {cpu}: HYP mode belongs to other software: KVM needs the kernel's own stub there"
            ),
            Self::NotUp(cpu) => write!(
                f,
                "CPU {cpu}: HYP mode did not come up after the soft restart: reboot, and please report \
                 this with the board's name"
            ),
            Self::NotPossible => f.write_str("a CPU came that was not possible at load: load again"),
        }
    }
}

impl Lowvisor {
    /// Finds out whether the machine can be a host, and prepares the takeover of HYP mode.
    pub(crate) fn new() -> Result<Arc<Self>> {
        check_cpus()?;
        let mut table = HypPageTable::new()?;
        map_image(&mut table)?;

        let identity = LowmemPages::of_host(0)?;
        // SAFETY: The symbols delimit code of ours. It fits into the page, as is checked, and the
        // page is ours. The code is cleaned to the point of coherency before it runs.
        unsafe {
            let begin = (&raw const __hyp_init_begin).cast::<u8>();
            let len = (&raw const __hyp_init_end).cast::<u8>().offset_from(begin) as usize;
            if len > PAGE_SIZE {
                return Err(E2BIG);
            }
            core::ptr::copy_nonoverlapping(begin, identity.as_ptr(), len);
            flush_dcache_to_poc(identity.as_ptr(), PAGE_SIZE);
        }
        register::invalidate_icache();
        if let Err(e) = table.map_identity_block(identity.pa()) {
            pr_err!(
                "the page at {:#x} cannot be mapped at its own address in HYP mode: this board's \
                 RAM lies above 4 GiB, or where the kernel's virtual addresses are\n",
                identity.pa().0
            );
            return Err(e);
        }

        let windows = table.make_windows(user_limit())?;
        let mut cpus = [const { None }; MAX_CPUS];
        for cpu in possible_cpus() {
            let slot = cpus.get_mut(cpu).ok_or_else(|| {
                pr_err!("CPU {cpu}: at most {MAX_CPUS} CPUs are supported\n");
                ENODEV
            })?;
            let pages = LowmemPages::of_host(0)?;
            table.map_lowmem(pages.as_ptr(), pages.pa(), pages.size())?;
            let host: *mut HypCpu = pages.as_ptr().cast();
            // SAFETY: The page is a `HypCpu`, and HYP mode does not use it yet.
            unsafe { ((*host).page_window, (*host).block_window) = windows.of_cpu(cpu) };
            *slot = Some(pages);
        }
        let httbr = table.httbr();
        Arc::pin_init(
            pin_init!(Self {
                table <- new_mutex!(table, "kvm_arm_hyp_table"),
                identity,
                cpus,
                tlb_repairs: TlbRepairs::new(),
                owned: [const { AtomicU8::new(NOT_OURS) }; MAX_CPUS],
                identities: [const { SetOnce::new() }; Core::ALL.len()],
                can_debug: [const { AtomicBool::new(false) }; MAX_CPUS],
                wanted: [const { AtomicBool::new(false) }; MAX_CPUS],
                is_lost: AtomicBool::new(false),
                no_windows: AtomicBool::new(false),
                httbr,
                is_predictor_told: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// The cores of which a CPU is ours, or was.
    pub(crate) fn cores(&self) -> CoreSet {
        let known = Core::ALL.into_iter();
        known
            .filter(|&core| self.identity(core).is_some())
            .fold(CoreSet::default(), CoreSet::with)
    }

    /// One of the cores of which a CPU was ours.
    pub(crate) fn any_core(&self) -> Option<&Identity> {
        self.identities.iter().find_map(SetOnce::as_ref)
    }

    /// The registers that identify a core, once a CPU of it was ours.
    pub(crate) fn identity(&self, core: Core) -> Option<&Identity> {
        self.identities.get(core as usize)?.as_ref()
    }

    /// The CPUs of a core on which HYP mode is ours now.
    pub(crate) fn cpus_of(&self, core: Core) -> impl Iterator<Item = usize> + '_ {
        let owned = self.owned.iter().enumerate();
        owned
            .filter(move |(_, owned)| owned.load(Ordering::Relaxed) == core as u8)
            .map(|(cpu, _)| cpu)
    }

    /// Whether the debug registers of this CPU can be used.
    pub(super) fn can_debug(&self, irqs: &IrqsOff) -> bool {
        let Some(known) = self.can_debug.get(irqs.cpu()) else {
            return false;
        };
        if known.load(Ordering::Relaxed) {
            return true;
        }
        // HYP mode of a CPU that comes online is taken over before the kernel takes the OS lock off
        // these registers (DBGOSLSR.OSLK), so that could not be seen then.
        let can_debug = self.this_cpu(irqs).is_some_and(|hyp| hyp.can_debug());
        known.store(can_debug, Ordering::Relaxed);
        can_debug
    }

    /// HYP mode on this CPU, if it is ours.
    #[inline]
    pub(crate) fn this_cpu<'a>(&self, irqs: &'a IrqsOff) -> Option<HypCpuRef<'a>> {
        let owned = self.owned.get(irqs.cpu())?;
        // INVARIANT: HYP mode is ours here. The CPU itself gives it back, with interrupts off, so
        // not while `irqs` lives.
        (owned.load(Ordering::Relaxed) != NOT_OURS).then_some(HypCpuRef { _irqs: irqs })
    }

    /// HYP mode on this CPU, if a vCPU of `core` may run here.
    #[inline]
    pub(crate) fn for_guest<'a>(&self, cpu: ThisCpu<'a>, core: Core) -> Option<HypCpuRef<'a>> {
        if self.is_lost.load(Ordering::Relaxed) {
            return None;
        }
        let owned = self.owned.get(cpu.number())?;
        // INVARIANT: As in `this_cpu`: no core has the number `NOT_OURS`.
        (owned.load(Ordering::Relaxed) == core as u8).then_some(HypCpuRef { _irqs: cpu.irqs() })
    }

    /// Why [`for_guest`](Self::for_guest) gave nothing.
    #[cold]
    pub(crate) fn why_not(&self, irqs: &IrqsOff) -> NoEntry {
        if self.is_lost.load(Ordering::Relaxed) {
            return NoEntry::NotOurs;
        }
        if self.this_cpu(irqs).is_some() {
            return NoEntry::OtherCore;
        }
        match self.wanted.get(irqs.cpu()) {
            Some(wanted) if wanted.load(Ordering::Relaxed) => NoEntry::NotOurs,
            _ => NoEntry::GoesDown,
        }
    }

    /// The state of this CPU in HYP mode.
    pub(super) fn hyp_cpu<'a>(&'a self, irqs: &'a IrqsOff) -> Option<&'a HypCpu> {
        let page = self.cpus.get(irqs.cpu())?.as_ref()?;
        // SAFETY: The page is a `HypCpu`. HYP mode of this CPU alone writes to it, and nobody on
        // this CPU calls HYP mode as long as this is borrowed.
        Some(unsafe { &*page.as_ptr().cast::<HypCpu>() })
    }

    /// Maps pages of the host in HYP mode, read-write.
    pub(super) fn map_pages(&self, pages: &LowmemPages) -> Result {
        self.table
            .lock()
            .map_lowmem(pages.as_ptr(), pages.pa(), pages.size())
    }

    /// Takes the mapping of such pages away.
    pub(super) fn unmap_pages(&self, pages: &LowmemPages) {
        let start = pages.as_ptr() as usize;
        self.unmap((start..start + pages.size()).step_by(PAGE_SIZE));
    }

    /// Maps the registers of a device at `pa` in HYP mode.
    pub(super) fn map_registers(&self, registers: &Registers, pa: Pa) -> Result {
        let mut table = self.table.lock();
        let first = pa.0 & !(PAGE_SIZE as u64 - 1);
        for (va, pa) in registers.pages().zip((first..).step_by(PAGE_SIZE)) {
            table.map_page(va, Pa(pa), HypMemory::Device, HypAccess::ReadWrite)?;
        }
        Ok(())
    }

    /// Takes the mapping of such registers away.
    pub(super) fn unmap_registers(&self, registers: &Registers) {
        self.unmap(registers.pages());
    }

    fn unmap(&self, pages: impl Iterator<Item = usize>) {
        {
            let mut table = self.table.lock();
            for va in pages {
                table.unmap_page(va);
            }
        }
        IrqsOff::with(|irqs| {
            if let Some(hyp) = self.this_cpu(&irqs) {
                hyp.flush_tlb_hyp();
            }
        });
    }

    /// Takes HYP mode over on this CPU, to keep it until [`Self::leave`].
    pub(crate) fn take_over(&self, irqs: &IrqsOff) -> Result<(), NoTakeOver> {
        self.install(irqs)?;
        self.wanted[irqs.cpu()].store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes HYP mode over again after [`Self::give_back`], unless [`Self::leave`] was called.
    pub(crate) fn take_back(&self, irqs: &IrqsOff) -> Result<(), NoTakeOver> {
        if !self.wanted[irqs.cpu()].load(Ordering::Relaxed) {
            return Ok(());
        }
        self.install(irqs)
            .inspect_err(|_| self.is_lost.store(true, Ordering::Relaxed))
    }

    /// Gives HYP mode back for good.
    pub(crate) fn leave(&self, irqs: &IrqsOff) {
        self.wanted[irqs.cpu()].store(false, Ordering::Relaxed);
        self.give_back(irqs);
    }

    fn install(&self, irqs: &IrqsOff) -> Result<(), NoTakeOver> {
        let cpu = irqs.cpu();
        // `check_cpus` has looked only at those CPUs that were online.
        let Some(core) = core_of_this_cpu(irqs) else {
            return Err(NoTakeOver::Core(cpu, midr(irqs)));
        };
        match HypOwner::find(irqs) {
            HypOwner::Us => return Ok(()),
            HypOwner::Stub => (),
            HypOwner::None => return Err(NoTakeOver::Svc(cpu)),
            HypOwner::Unknown => return Err(NoTakeOver::OtherSoftware(cpu)),
        }
        let page = self.cpus.get(cpu).and_then(Option::as_ref);
        let page = page.ok_or(NoTakeOver::NotPossible)?;
        let host: *mut HypCpu = page.as_ptr().cast();
        let reset = (&raw const __hyp_reset as usize) - (&raw const __hyp_init_begin as usize);
        let mut install = HypInstall {
            init_pa: self.identity.pa().0 as u32,
            httbr: [self.httbr as u32, (self.httbr >> 32) as u32],
            hmair: [regs::HMAIR0, regs::HMAIR1],
            htcr: regs::HTCR,
            hsctlr: regs::HSCTLR,
            hvbar: &raw const __hyp_host_vectors as u32,
            htpidr: host,
            vtcr: regs::VTCR,
            stub_hvbar: 0,
            stub_hsctlr: 0,
        };
        // SAFETY: The page is this CPU's, and HYP mode does not use it yet. `HypOwner::find` has
        // just found the stub. The identity page, the tables and the vectors are in place, and stay
        // until HYP mode is given back.
        unsafe {
            let (vfp, d32) = (layout::kvm_arm_has_vfp(), layout::kvm_arm_has_vfp_d32());
            (*host).reset_pa = (self.identity.pa().0 as usize + reset) as u32;
            (*host).mpidr = register::mpidr();
            (*host).guest_vectors = match self.predictor_flush(core) {
                PredictorFlush::NotNeeded => &raw const __hyp_guest_vectors,
                PredictorFlush::Iciallu => &raw const __hyp_guest_vectors_iciallu,
                PredictorFlush::Bpiall => &raw const __hyp_guest_vectors_bpiall,
            } as u32;
            (*host).flags = if vfp { layout::HOST_HAS_VFP } else { 0 }
                | if d32 { layout::HOST_HAS_D32 } else { 0 };
            __hyp_install(&mut install);
            (*host).stub_hvbar = install.stub_hvbar;
            (*host).stub_hsctlr = install.stub_hsctlr;
        }
        if HypOwner::find(irqs) != HypOwner::Us {
            return Err(NoTakeOver::NotUp(cpu));
        }
        self.tlb_repairs
            .add(TlbRepair::of(register::midr(), register::revidr()));
        // INVARIANT: HYP mode is ours, as was just seen.
        let can_debug = HypCpuRef { _irqs: irqs }.can_debug();
        self.can_debug[cpu].store(can_debug, Ordering::Relaxed);
        if let Some(identity) = self.identities.get(core as usize) {
            if identity.as_ref().is_none() {
                // Another CPU of this core may be faster: it has the same.
                identity.populate(Identity::read(irqs, core, can_debug));
            }
        }
        self.owned[cpu].store(core as u8, Ordering::Relaxed);
        Ok(())
    }

    /// How the branch predictor of this CPU is emptied at each exit.
    fn predictor_flush(&self, core: Core) -> PredictorFlush {
        let flush = core.description().predictor;
        if flush.works(register::actlr()) {
            return flush;
        }
        // The operation would only cost time: it empties the instruction cache.
        if !self.is_predictor_told.swap(true, Ordering::Relaxed) {
            pr_info!(
                "the firmware has not set ACTLR.IBE, so nothing can empty the branch predictor: guests \
                 can train it for the host (Spectre variant 2), as programs can\n"
            );
        }
        PredictorFlush::NotNeeded
    }

    /// Gives HYP mode back on this CPU, if it is ours, so that the CPU can lose its power.
    pub(crate) fn give_back(&self, irqs: &IrqsOff) {
        if let Some(hyp) = self.this_cpu(irqs) {
            self.owned[irqs.cpu()].store(NOT_OURS, Ordering::Relaxed);
            // SAFETY: `this_cpu` makes no more of them for this CPU. Nobody else has one: they live
            // with interrupts off, and here interrupts were on before.
            unsafe { hyp.give_back() };
        }
    }
}

/// Maps this code, and the constants that it uses, at their kernel addresses.
fn map_image(table: &mut HypPageTable) -> Result {
    for part in Part::ALL {
        let access = match part {
            Part::Text => HypAccess::ReadExecute,
            Part::RoData | Part::RoAfterInit => HypAccess::ReadOnly,
        };
        for (va, pa) in part.pages() {
            table.map_page(va, pa, HypMemory::Normal, access)?;
        }
    }
    Ok(())
}

/// The cores that can be hosts, for messages.
struct SupportedCores;

impl fmt::Display for SupportedCores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, core) in Core::ALL.into_iter().enumerate() {
            f.write_str(match n {
                0 => "",
                n if n + 1 == Core::ALL.len() => " or ",
                _ => ", ",
            })?;
            f.write_str(core.description().name)?;
        }
        Ok(())
    }
}

/// The CPUs of one core, for messages: a bit for each.
struct Cpus(u32);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = (0..u32::BITS).filter(|cpu| self.0 & 1 << cpu != 0);
        for (n, cpu) in cpus.enumerate() {
            write!(f, "{}{cpu}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Refuses machines that cannot be hosts, saying why and what to do.
fn check_cpus() -> Result {
    if (register::id_pfr1() >> 12) & 0xf != 1 {
        pr_err!(
            "this CPU (MIDR {:#010x}) has no virtualization extensions: KVM needs {SupportedCores}\n",
            register::midr()
        );
        return Err(ENODEV);
    }
    let counts: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
    let cpus_of: [AtomicU32; Core::ALL.len()] = [const { AtomicU32::new(0) }; Core::ALL.len()];
    let unsupported = AtomicU32::new(0);
    on_each_cpu(|irqs| {
        match core_of_this_cpu(irqs).and_then(|core| cpus_of.get(core as usize)) {
            Some(cpus) => {
                let this = 1u32.checked_shl(irqs.cpu() as u32).unwrap_or(0);
                cpus.fetch_or(this, Ordering::Relaxed);
            }
            None => unsupported.store(midr(irqs), Ordering::Relaxed),
        }
        let owner = HypOwner::find(irqs);
        counts[owner as usize].fetch_add(1, Ordering::Relaxed);
    });
    let unsupported = unsupported.into_inner();
    if unsupported != 0 {
        pr_err!("unsupported core (MIDR {unsupported:#010x}): KVM needs {SupportedCores}\n");
        return Err(ENODEV);
    }
    let count = |owner: HypOwner| counts[owner as usize].load(Ordering::Relaxed);
    if count(HypOwner::None) != 0 && count(HypOwner::Stub) != 0 {
        pr_err!(
            "the CPUs were booted in different modes ({} in HYP, {} in SVC): the boot loader has \
             to start all of them in HYP mode\n",
            count(HypOwner::Stub),
            count(HypOwner::None)
        );
        return Err(ENODEV);
    }
    if count(HypOwner::None) != 0 {
        pr_err!(
            "the CPUs were booted in SVC mode: KVM needs a boot loader that starts the kernel in \
             HYP mode (U-Boot: CONFIG_ARMV7_NONSEC and CONFIG_ARMV7_VIRT; QEMU: -M \
             virt,virtualization=on or vexpress-a15,secure=off)\n"
        );
        return Err(ENODEV);
    }
    if count(HypOwner::Unknown) + count(HypOwner::Us) != 0 {
        pr_err!("HYP mode belongs to other software: KVM needs the kernel's own stub there\n");
        return Err(ENODEV);
    }
    say_cores(cpus_of.map(AtomicU32::into_inner));
    Ok(())
}

/// Tells how to use a machine whose CPUs are of different cores (big.LITTLE).
fn say_cores(cpus_of: [u32; Core::ALL.len()]) {
    let mut kinds = Core::ALL
        .into_iter()
        .zip(cpus_of)
        .filter(|(_, cpus)| *cpus != 0);
    let (Some((first, its)), Some((second, others))) = (kinds.next(), kinds.next()) else {
        return;
    };
    let more = if kinds.next().is_some() {
        ", and others"
    } else {
        ""
    };
    pr_info!(
        "CPUs {} are {}, CPUs {} are {}{more}: a vCPU runs only on CPUs of the core that it was \
         initialised for, so keep each VM on those of one core (taskset)\n",
        Cpus(its),
        first.description().name,
        Cpus(others),
        second.description().name
    );
}
