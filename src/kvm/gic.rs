// SPDX-License-Identifier: GPL-2.0

//! A VM's interrupt controller: its configuration by user space, and a vCPU's
//! registers on their way into the host's virtual CPU interface and back.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};
use kvm_bindings as uapi;
use machine::vgic::{
    Config,
    CpuInterface,
    GichHcr,
    ListRegister,
    Vmcr,
    NR_PRIVATE, //
};

use super::{
    host::HostGic,
    loaded::{
        Home,
        Kept,
        Loaded, //
    },
    timer::TimerIntids, //
};
use crate::{
    glue::cpu::{
        on_cpu,
        IrqsOff,
        ThisCpu, //
    },
    hyp::{
        distributor::{
            SharedDistributor,
            GICH_LR,
            GICH_VMCR, //
        },
        relay::Relay,
        takeover::Lowvisor, //
    },
};

// More offsets of IHI 0048B table 5-1.
const GICH_HCR: usize = 0x0;
const GICH_APR: usize = 0xf0;

/// The values of a virtual interface that has nothing to do.
const IDLE: u32 = GichHcr::EN.bits();

impl HostGic {
    /// Makes the interface of this CPU signal nothing. A loss of power, or the software that ran
    /// before this kernel, may have left anything there. No vCPU has registers here any more: see
    /// [`evict`](Self::evict).
    pub(crate) fn reset(&self, irqs: &IrqsOff) {
        for register in [GICH_HCR, GICH_VMCR, GICH_APR] {
            self.control.write(register, 0);
        }
        for n in 0..self.list_registers {
            self.control.write(GICH_LR + 4 * n, 0);
        }
        if let Some(loaded) = self.loaded.get(irqs.cpu()) {
            for register in [&loaded.hcr, &loaded.vmcr, &loaded.apr] {
                register.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Writes a register, unless it has the value already.
    #[inline]
    fn write(&self, offset: usize, known: &AtomicU32, value: u32) {
        if known.load(Ordering::Relaxed) != value {
            known.store(value, Ordering::Relaxed);
            self.control.write(offset, value);
        }
    }

    /// Reads GICH_VMCR and GICH_APR of this CPU.
    fn kept(&self, _irqs: &IrqsOff) -> Kept {
        Kept {
            vmcr: self.control.read(GICH_VMCR),
            apr: self.control.read(GICH_APR),
        }
    }

    /// Sends GICH_VMCR and GICH_APR of the vCPU that ran on this CPU last home, if they are still
    /// here.
    pub(crate) fn evict(&self, irqs: &IrqsOff) {
        let Some(loaded) = self.loaded.get(irqs.cpu()) else {
            return;
        };
        if let Some(home) = loaded.replace(None) {
            self.send_home(irqs, loaded, &home);
        }
    }

    /// Reads GICH_VMCR and GICH_APR of the vCPU with this home, which is the guest of this CPU no
    /// more.
    fn send_home(&self, irqs: &IrqsOff, loaded: &Loaded, home: &Home) {
        let kept = self.kept(irqs);
        loaded.vmcr.store(kept.vmcr, Ordering::Relaxed);
        loaded.apr.store(kept.apr, Ordering::Relaxed);
        home.comes_back(kept);
    }

    /// Has GICH_VMCR and GICH_APR of the vCPU that is about to run on this CPU in the hardware.
    /// False if they are in that of another CPU, from where [`fetch`](Self::fetch) brings them.
    #[inline]
    pub(crate) fn settle(&self, cpu: ThisCpu<'_>, home: &Arc<Home>) -> bool {
        let loaded = self.loaded.get(cpu.number());
        loaded.is_some_and(|loaded| loaded.has(home) || self.move_in(cpu, loaded, home))
    }

    #[cold]
    fn move_in(&self, cpu: ThisCpu<'_>, loaded: &Loaded, home: &Arc<Home>) -> bool {
        if home.cpu().is_some() {
            return false;
        }
        if let Some(old) = loaded.replace(Some(home.clone())) {
            self.send_home(&cpu, loaded, &old);
        }
        // Nothing of the guest before is left: the values of both are known here, and become this
        // one's.
        let Kept { vmcr, apr } = home.get();
        self.write(GICH_VMCR, &loaded.vmcr, vmcr);
        self.write(GICH_APR, &loaded.apr, apr);
        home.moves_to(cpu.number());
        true
    }

    /// GICH_VMCR of a vCPU whose mutex is held. It stays where it is, if that is this CPU or none;
    /// else it comes home. Interrupts must be on.
    pub(super) fn look_at(&self, home: &Home) -> Vmcr {
        let here = IrqsOff::with(|irqs| self.vmcr_of(&irqs, home));
        here.unwrap_or_else(|| Vmcr(self.fetch(home).vmcr))
    }

    /// Brings GICH_VMCR and GICH_APR of a vCPU whose mutex is held home. Interrupts must be on.
    pub(super) fn fetch(&self, home: &Home) -> Kept {
        // An interface is reached by its own CPU only. If that is about to go offline, it sends
        // them home by itself.
        while let Some(cpu) = home.cpu() {
            on_cpu(cpu, |irqs| {
                let loaded = self.loaded.get(irqs.cpu());
                if loaded.is_some_and(|loaded| loaded.has(home)) {
                    self.evict(irqs);
                }
            });
        }
        home.get()
    }

    /// Sends GICH_VMCR and GICH_APR of a vCPU whose thread is about to sleep home: it may wake up
    /// on another CPU, which would have to interrupt this one for them.
    pub(super) fn leave(&self, home: &Home) {
        IrqsOff::with(|irqs| {
            let loaded = self.loaded.get(irqs.cpu());
            if loaded.is_some_and(|loaded| loaded.has(home)) {
                self.evict(&irqs);
            }
        });
    }

    /// The orders for HYP mode for the case that the virtual timer, whose physical interrupt is
    /// `intid`, fires while the guest runs: to put `value` into list register `n`.
    #[inline]
    pub(crate) fn relay(&self, n: usize, value: ListRegister, intid: u32) -> Relay {
        Relay::new(
            value,
            &self.control,
            GICH_LR + 4 * n,
            &self.distributor,
            intid,
        )
    }

    /// GICH_VMCR of a vCPU whose mutex is held, unless another CPU has it.
    pub(super) fn vmcr_of(&self, irqs: &IrqsOff, home: &Home) -> Option<Vmcr> {
        let loaded = self.loaded.get(irqs.cpu());
        if loaded.is_some_and(|loaded| loaded.has(home)) {
            return Some(self.vmcr(irqs));
        }
        home.cpu().is_none().then(|| Vmcr(home.get().vmcr))
    }

    /// GICH_VMCR of the vCPU that has its registers in the hardware of this CPU.
    pub(super) fn vmcr(&self, _irqs: &IrqsOff) -> Vmcr {
        Vmcr(self.control.read(GICH_VMCR))
    }

    /// Loads the rest of the interface of the vCPU that is about to run on this CPU.
    #[inline]
    pub(crate) fn load(&self, cpu: ThisCpu<'_>, state: &CpuInterface) {
        let Some(loaded) = self.loaded.get(cpu.number()) else {
            return;
        };
        let mut used = state.used;
        while used != 0 {
            let n = used.trailing_zeros() as usize;
            used &= used - 1;
            if let Some(lr) = state.lr.get(n) {
                self.control.write(GICH_LR + 4 * n, *lr);
            }
        }
        self.write(GICH_HCR, &loaded.hcr, state.hcr | IDLE);
    }

    /// Saves it, and leaves an interface that signals nothing: no list register is in use, and no
    /// maintenance interrupt is asked for.
    #[inline]
    pub(crate) fn save(&self, cpu: ThisCpu<'_>, state: &mut CpuInterface) {
        let mut used = state.used;
        if used == 0 {
            return;
        }
        let Some(loaded) = self.loaded.get(cpu.number()) else {
            return;
        };
        if loaded.hcr.load(Ordering::Relaxed) != IDLE {
            // EOICount is in there.
            state.hcr = self.control.read(GICH_HCR) & !GichHcr::EN.bits();
            self.write(GICH_HCR, &loaded.hcr, IDLE);
        }
        while used != 0 {
            let n = used.trailing_zeros() as usize;
            used &= used - 1;
            if let Some(lr) = state.lr.get_mut(n) {
                *lr = self.control.read(GICH_LR + 4 * n);
                self.control.write(GICH_LR + 4 * n, 0);
            }
        }
    }
}

/// An input of the vGIC.
#[derive(Clone, Copy)]
pub(crate) enum Line {
    /// A PPI of a vCPU, by its INTID.
    Ppi(usize, u32),
    /// An SPI, by its INTID.
    Spi(u32),
}

/// The size that the guest's distributor takes.
pub(crate) const DIST_SIZE: u64 = uapi::KVM_VGIC_V2_DIST_SIZE as u64;
/// The size that its CPU interface takes.
pub(crate) const CPU_SIZE: u64 = uapi::KVM_VGIC_V2_CPU_SIZE as u64;

/// How many INTIDs a vGIC has if user space has not set their number.
const DEFAULT_NR_IRQS: u32 = 256;

/// The configuration of the vGIC by user space so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct GicConfig {
    pub(crate) dist: Option<u64>,
    pub(crate) cpu: Option<u64>,
    /// How many INTIDs there are, once that is fixed.
    pub(crate) nr_irqs: Option<u32>,
    /// The interrupts of the timers.
    pub(crate) timers: TimerIntids,
    /// A vCPU has run: the interrupts of its own devices are fixed.
    pub(crate) intids_fixed: bool,
}

impl GicConfig {
    const DIST: u64 = uapi::KVM_VGIC_V2_ADDR_TYPE_DIST as u64;
    const CPU: u64 = uapi::KVM_VGIC_V2_ADDR_TYPE_CPU as u64;

    /// Sets where the distributor, or the CPU interface, is (KVM_DEV_ARM_VGIC_GRP_ADDR). Whether
    /// the two overlap is looked at when a vCPU runs for the first time.
    pub(crate) fn set_address(&mut self, kind: u64, address: u64) -> Result {
        let (slot, size) = match kind {
            Self::DIST => (&mut self.dist, DIST_SIZE),
            Self::CPU => (&mut self.cpu, CPU_SIZE),
            _ => return Err(ENXIO),
        };
        if address & 0xfff != 0 {
            return Err(EINVAL);
        }
        let end = address.checked_add(size).ok_or(E2BIG)?;
        if end > 1 << armv7::regs::IPA_BITS {
            return Err(E2BIG);
        }
        if slot.is_some() {
            return Err(EEXIST);
        }
        *slot = Some(address);
        Ok(())
    }

    /// Where the distributor, or the CPU interface, is.
    pub(crate) fn address(&self, kind: u64) -> Result<u64> {
        match kind {
            Self::DIST => Ok(self.dist.unwrap_or(u64::MAX)),
            Self::CPU => Ok(self.cpu.unwrap_or(u64::MAX)),
            _ => Err(ENXIO),
        }
    }

    /// How many INTIDs there are (KVM_DEV_ARM_VGIC_GRP_NR_IRQS). Until user space has set the
    /// number, or initialisation takes the default, there are only those private to a CPU.
    pub(crate) fn nr_irqs(&self) -> u32 {
        self.nr_irqs.unwrap_or(NR_PRIVATE)
    }

    /// Makes the distributor.
    pub(crate) fn build(
        &mut self,
        lowvisor: &Arc<Lowvisor>,
        nr_cpus: usize,
        nr_lrs: usize,
        timer_intid: u32,
    ) -> Result<SharedDistributor> {
        let config = Config {
            nr_irqs: *self.nr_irqs.get_or_insert(DEFAULT_NR_IRQS) as usize,
            nr_cpus,
            nr_lrs,
        };
        SharedDistributor::new(lowvisor, config, |gic| {
            for cpu in 0..nr_cpus {
                gic.map_hw(cpu, self.timers.virt, timer_intid);
            }
        })
    }
}
