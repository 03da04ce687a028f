// SPDX-License-Identifier: GPL-2.0

//! The virtual generic interrupt controller, GICv2 (IHI 0048B).
//!
//! The guest's distributor is this state machine. Its CPU interfaces are the
//! hardware's virtual ones (GICV), which know only the interrupts that are in
//! list registers (GICH_LRn). [`Vgic::flush_with`] chooses these before a virtual
//! CPU is entered, and [`Vgic::fold`] takes them back after the exit.
//!
//! ```text
//!    user space,          guest's MMIO
//!    timer: set_level     dist_read, dist_write
//!          │                │
//!          ▼                ▼
//!   ┌────────────────────────────────┐   refresh    ┌──────────────────────┐
//!   │ Irq: private to a CPU, or SPI  ├─────────────►│ Cpu: pending, active │
//!   └────────────────────────────────┘              └──┬────────────▲──────┘
//!                                                flush │            │ fold
//!                                                   ┌──▼────────────┴──────┐
//!                                                   │ CpuInterface: LRs    │
//!                                                   └──┬────────────▲──────┘
//!                                                enter │            │ exit
//!                                                   ┌──▼────────────┴──────┐
//!                                                   │ guest: GICV          │
//!                                                   └──────────────────────┘
//! ```
//!
//! An interrupt is in at most one of the sets and list registers at a time, so
//! nothing has to be searched. Each change of an interrupt's state ends in
//! `refresh`, which puts the interrupt where it belongs. Two words are zero if
//! nothing is pending or active for a CPU.
//!
//! # Order of calls
//!
//! 1. `set_level` with the outputs of the timers, whatever they are: the
//!    distributor remembers them, and a call that changes nothing is cheap.
//! 2. `flush_with`. The timer's physical interrupt becomes active if
//!    `hw_needs_phys_active` says so. Then the hardware gets GICH_VMCR and
//!    GICH_APR, unless it has them still, the list registers and, last, GICH_HCR.
//! 3. The guest runs. The maintenance interrupt needs no handling but the exit
//!    that it makes.
//! 4. GICH_HCR is saved and asks for no maintenance interrupt any more, the list
//!    registers are saved and zeroed. GICH_VMCR and GICH_APR can stay in the
//!    hardware as long as no other virtual CPU needs the place. Then `fold`, and
//!    only then the exit is handled, with `dist_write` if it was a store to the
//!    distributor.
//!
//! The caller kicks each CPU in a returned mask: if it is in the guest, it goes
//! through step 4 and step 2, and if it sleeps, it wakes up.
//!
//! # Locking
//!
//! There is none here. The caller holds one lock for the virtual machine around
//! every call. [`CpuInterface`] belongs to the thread that runs the virtual CPU.
//!
//! # Size
//!
//! [`Vgic`] is a few words. The caller gives the rest: 8 bytes for each SPI and
//! about 530 for each CPU, exactly as many as the machine has.

mod cpu;
mod cpu_interface;
mod distributor;
mod in_place;
mod irq;
mod irq_set;
mod list_register;
mod snapshot;
#[cfg(test)]
mod tests;

pub use cpu::Cpu;
pub use cpu_interface::CpuInterface;
pub use cpu_interface::GichHcr;
pub use cpu_interface::Vmcr;
pub use cpu_interface::MAX_LRS;
pub use distributor::has_uaccess_register;
pub use in_place::InPlace;
pub use irq::is_ppi;
pub use irq::Irq;
pub use irq::FIRST_SPECIAL;
pub use irq::MAX_IRQS;
pub use irq::NR_PRIVATE;
pub use irq::NR_SGIS;
pub use list_register::ListRegister;
pub use snapshot::Snapshot;
pub use snapshot::MOST_IRQS;

use crate::nospec;
use core::ops::DerefMut;
use distributor::bits_of;
use irq::State;

/// Index of a virtual CPU, which is also its number in the GIC.
pub type VcpuIdx = usize;

/// A set of virtual CPUs.
pub type CpuMask = u32;

/// GICv2 has CPU numbers of three bits.
pub const MAX_CPUS: usize = 8;

/// Why user space's access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such register: ENXIO.
    NoRegister,
    /// The value, or the CPU, is not possible: EINVAL.
    Invalid,
}

/// The facts that are fixed when the interrupt controller is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of INTIDs, with those private to a CPU: 64 to 1024, a multiple
    /// of 32.
    pub nr_irqs: usize,
    /// Number of virtual CPUs, at most [`MAX_CPUS`].
    pub nr_cpus: usize,
    /// Number of list registers of the host's CPU interfaces (GICH_VTR).
    pub nr_lrs: usize,
}

impl Config {
    /// Number of SPIs. The caller gives storage for so many.
    pub const fn nr_spis(&self) -> usize {
        self.nr_irqs.saturating_sub(NR_PRIVATE as usize)
    }
}

/// The distributor of a virtual machine.
///
/// `S` holds the SPIs, `C` the CPUs.
///
/// # Invariants
///
/// An interrupt with `State::IN_LR` is in no set. The invariants of [`Cpu`] say
/// which interrupts are in its sets. The `owner` of an SPI in a set or in a list
/// register is the CPU that has it.
#[derive(Clone, Debug)]
pub struct Vgic<S, C> {
    spis: S,
    cpus: C,
    nr_irqs: u32,
    nr_cpus: u32,
    nr_lrs: u32,
    ctlr: u32,
    /// User space has confirmed GICD_IIDR, so it knows that groups are its own
    /// to restore.
    iidr_confirmed: bool,
}

/// The bit of a CPU.
#[inline(always)]
const fn bit(cpu: VcpuIdx) -> CpuMask {
    1 << (cpu & (MAX_CPUS - 1))
}

/// Whether a GICD_CTLR of `ctlr` lets the group of `irq` through.
///
/// Bit 0 enables group 0. It enables group 1, too, as in KVM's GICv2, since
/// some guests know of one group only. Bit 1 enables group 1.
#[inline(always)]
fn is_forwarded(irq: &Irq, ctlr: u32) -> bool {
    let enables = if irq.is(State::GROUP1) { 0b11 } else { 0b01 };
    ctlr & enables != 0
}

/// Whether `irq` would be sent to a CPU as pending then.
#[inline]
fn is_deliverable(irq: &Irq, ctlr: u32) -> bool {
    irq.is(State::ENABLED) && irq.is_pending() && is_forwarded(irq, ctlr)
}

/// Which of the first 32 of `irqs` can be listed: a bit for each.
#[inline]
fn can_be_listed(irqs: &[Irq]) -> u32 {
    let first = irqs.iter().take(u32::BITS as usize);
    first.enumerate().fold(0, |mask, (n, irq)| {
        mask | u32::from(irq.can_be_listed()) << n
    })
}

impl<S, C> Vgic<S, C>
where
    S: DerefMut<Target = [Irq]>,
    C: DerefMut<Target = [Cpu]>,
{
    /// A distributor after reset.
    ///
    /// `spis` has [`Config::nr_spis`] elements and `cpus` has
    /// [`Config::nr_cpus`], of any content; if they have fewer, then so has the
    /// machine.
    pub fn new(config: Config, mut spis: S, mut cpus: C) -> Self {
        let nr_spis = config
            .nr_spis()
            .min(spis.len())
            .min((MAX_IRQS - NR_PRIVATE) as usize);
        let nr_cpus = config.nr_cpus.min(cpus.len()).min(MAX_CPUS);
        for (intid, irq) in (NR_PRIVATE..).zip(spis.iter_mut()) {
            *irq = irq::after_reset(intid);
        }
        for cpu in cpus.iter_mut() {
            *cpu = Cpu::new();
        }
        Self {
            spis,
            cpus,
            nr_irqs: nr_spis as u32 + NR_PRIVATE,
            nr_cpus: nr_cpus as u32,
            nr_lrs: config.nr_lrs.clamp(1, MAX_LRS) as u32,
            ctlr: 0,
            iidr_confirmed: false,
        }
    }

    /// Whether there is an interrupt with this INTID. The last four that a distributor could have
    /// are reserved (IHI 0048B section 2.2.1).
    #[inline(always)]
    pub const fn has(&self, intid: u32) -> bool {
        intid < self.nr_irqs && intid < FIRST_SPECIAL
    }

    /// All CPUs.
    #[inline(always)]
    const fn all_cpus(&self) -> CpuMask {
        1u32.wrapping_shl(self.nr_cpus).wrapping_sub(1)
    }

    /// The interrupt `intid` as `cpu` sees it.
    #[inline(always)]
    fn irq(&self, cpu: VcpuIdx, intid: u32) -> Option<&Irq> {
        if intid < NR_PRIVATE {
            let index = nospec::index(intid as usize, NR_PRIVATE as usize);
            self.cpus.get(cpu)?.private.get(index)
        } else if self.has(intid) {
            let index = nospec::index((intid - NR_PRIVATE) as usize, self.spis.len());
            self.spis.get(index)
        } else {
            None
        }
    }

    /// The interrupt `intid` as `cpu` sees it, to be changed.
    #[inline(always)]
    fn irq_mut(&mut self, cpu: VcpuIdx, intid: u32) -> Option<&mut Irq> {
        if intid < NR_PRIVATE {
            let index = nospec::index(intid as usize, NR_PRIVATE as usize);
            self.cpus.get_mut(cpu)?.private.get_mut(index)
        } else if self.has(intid) {
            let index = nospec::index((intid - NR_PRIVATE) as usize, self.spis.len());
            self.spis.get_mut(index)
        } else {
            None
        }
    }

    /// The CPU that has `irq` in a set or a list register, if any has.
    #[inline(always)]
    const fn holder(cpu: VcpuIdx, intid: u32, irq: &Irq) -> VcpuIdx {
        if intid < NR_PRIVATE {
            cpu
        } else {
            irq.owner as VcpuIdx
        }
    }

    /// The CPU to which a pending interrupt goes (IHI 0048B section 4.3.12). An
    /// SPI goes to the first of its targets, and to CPU 0 if it has none. By the
    /// manual an SPI without targets goes nowhere. KVM has always sent it to
    /// CPU 0, and some monitors reset all targets to zero and rely on that.
    fn target(&self, cpu: VcpuIdx, intid: u32, irq: &Irq) -> VcpuIdx {
        if intid < NR_PRIVATE {
            return cpu;
        }
        irq.first_target(self.all_cpus())
    }

    /// Whether the distributor would send `irq` to a CPU as pending.
    fn deliverable(&self, irq: &Irq) -> bool {
        is_deliverable(irq, self.ctlr)
    }

    /// Puts an interrupt into the set where it belongs after any change of its
    /// state. Gives the CPU that got something to put into a list register.
    #[inline]
    fn refresh(&mut self, cpu: VcpuIdx, intid: u32) -> CpuMask {
        if intid < NR_PRIVATE {
            self.refresh_private(cpu, intid)
        } else {
            self.refresh_spi(intid)
        }
    }

    /// [`refresh`](Self::refresh) of an interrupt that is private to `cpu`.
    fn refresh_private(&mut self, cpu: VcpuIdx, intid: u32) -> CpuMask {
        let ctlr = self.ctlr;
        let Some(c) = self.cpus.get_mut(cpu) else {
            return 0;
        };
        let index = nospec::index(intid as usize, NR_PRIVATE as usize);
        let Some(irq) = c.private.get(index) else {
            return 0;
        };
        if irq.is(State::IN_LR) {
            // The fold will see to it.
            return 0;
        }
        let is_active = irq.is(State::ACTIVE);
        let is_pending = !is_active && is_deliverable(irq, ctlr);
        let is_new = c.active.put(intid, is_active) | c.pending.put(intid, is_pending);
        if is_new {
            bit(cpu)
        } else {
            0
        }
    }

    /// [`refresh`](Self::refresh) of an SPI, which any CPU can have.
    fn refresh_spi(&mut self, intid: u32) -> CpuMask {
        let cpu = 0;
        let Some(&irq) = self.irq(cpu, intid) else {
            return 0;
        };
        if irq.is(State::IN_LR) {
            return 0;
        }
        let holder = Self::holder(cpu, intid, &irq);
        let (active, pending) = if irq.is(State::ACTIVE) {
            // It stays with the CPU that has to deactivate it.
            (Some(holder), None)
        } else if self.deliverable(&irq) {
            (None, Some(self.target(cpu, intid, &irq)))
        } else {
            (None, None)
        };

        if let Some(old) = self.cpus.get_mut(holder) {
            if active.is_none() {
                old.active.remove(intid);
            }
            if pending != Some(holder) {
                old.pending.remove(intid);
            }
        }
        let Some(home) = active.or(pending) else {
            return 0;
        };
        if let Some(irq) = self.irq_mut(cpu, intid) {
            irq.owner = home as u8;
        }
        let new = self.cpus.get_mut(home).is_some_and(|c| {
            if active.is_some() {
                c.active.insert(intid)
            } else {
                c.pending.insert(intid)
            }
        });
        if new {
            bit(home)
        } else {
            0
        }
    }

    /// Changes the state of an interrupt and puts it where it belongs then. If
    /// it is in a list register, its CPU has to come out before the change takes
    /// effect. The CPU has to come out, too, if the interrupt may get into a list
    /// register in the guest: [`reserve`](Self::reserve) gave its state from
    /// before the change.
    fn change(&mut self, cpu: VcpuIdx, intid: u32, f: impl FnOnce(&mut Irq)) -> CpuMask {
        let Some(irq) = self.irq_mut(cpu, intid) else {
            return 0;
        };
        f(irq);
        if irq.is(State::IN_LR) {
            bit(Self::holder(cpu, intid, irq))
        } else if irq.is(State::HW) {
            self.refresh(cpu, intid) | bit(cpu)
        } else {
            self.refresh(cpu, intid)
        }
    }

    /// Puts every interrupt where it belongs, after a change of GICD_CTLR.
    ///
    /// The caller has a lock with interrupts off, and a guest can have a thousand interrupts. So
    /// those that no enable can list are passed in a few instructions each.
    fn refresh_all(&mut self) -> CpuMask {
        let mut kick = 0;
        for cpu in 0..self.nr_cpus as VcpuIdx {
            let private = self.cpus.get(cpu).map_or(0, |c| can_be_listed(&c.private));
            for intid in bits_of(private) {
                kick |= self.refresh(cpu, intid);
            }
            // Its list registers may have interrupts, or get one, that are off now.
            if self.cpus.get(cpu).is_some_and(|c| c.loaded || c.reserved) {
                kick |= bit(cpu);
            }
        }
        for first in (NR_PRIVATE..self.nr_irqs).step_by(NR_PRIVATE as usize) {
            let irqs = self.spis.get((first - NR_PRIVATE) as usize..);
            for n in bits_of(irqs.map_or(0, can_be_listed)) {
                kick |= self.refresh(0, first + n);
            }
        }
        kick
    }

    /// Sets the input line of a PPI of `cpu`, or of an SPI. Gives the CPUs that
    /// have to be kicked.
    ///
    /// If the interrupt is edge-triggered, every call with a high level is an
    /// edge, as for KVM_IRQ_LINE.
    pub fn set_level(&mut self, cpu: VcpuIdx, intid: u32, level: bool) -> CpuMask {
        if intid < NR_SGIS {
            return 0;
        }
        let Some(irq) = self.irq_mut(cpu, intid) else {
            return 0;
        };
        let old = irq.state;
        irq.state.set(State::LINE, level);
        if irq.is(State::EDGE) {
            if level {
                irq.state |= State::LATCH;
            }
            // If the guest has acknowledged it already, nothing but a kick brings
            // the CPU here for this edge.
            if level && irq.is(State::IN_LR) {
                return bit(Self::holder(cpu, intid, irq));
            }
        }
        // A level-triggered interrupt in a list register makes the CPU exit
        // when it is deactivated. The fold looks at the line then.
        if irq.state == old || irq.is(State::IN_LR) {
            return 0;
        }
        self.refresh(cpu, intid)
    }

    /// Gives the input line of a PPI of `cpu`, or of an SPI, to a device in the
    /// kernel, for good. It is low until that device raises it.
    pub fn own(&mut self, cpu: VcpuIdx, intid: u32) -> CpuMask {
        if let Some(irq) = self.irq_mut(cpu, intid) {
            irq.state |= State::OWNED;
        }
        self.set_level(cpu, intid, false)
    }

    /// [`set_level`](Self::set_level) for user space. It does nothing to the line
    /// of a device in the kernel: nobody would lower it.
    pub fn set_user_level(&mut self, cpu: VcpuIdx, intid: u32, level: bool) -> CpuMask {
        match self.irq(cpu, intid) {
            Some(irq) if !irq.is(State::OWNED) => self.set_level(cpu, intid, level),
            _ => 0,
        }
    }

    /// Links a PPI of `cpu`, or an SPI, to the physical interrupt
    /// `phys_intid`: the guest's deactivation deactivates that too.
    pub fn map_hw(&mut self, cpu: VcpuIdx, intid: u32, phys_intid: u32) {
        if intid < NR_SGIS || phys_intid >= FIRST_SPECIAL {
            return;
        }
        if let Some(irq) = self.irq_mut(cpu, intid) {
            irq.state |= State::HW;
            irq.phys = phys_intid as u16;
        }
    }

    /// Undoes [`map_hw`](Self::map_hw).
    pub fn unmap_hw(&mut self, cpu: VcpuIdx, intid: u32) {
        if let Some(irq) = self.irq_mut(cpu, intid) {
            irq.state -= State::HW;
        }
    }

    /// Whether the physical interrupt behind `intid` has to be active while
    /// `cpu` runs: the guest handles it, or its line is high and would interrupt
    /// the host for nothing.
    pub fn hw_needs_phys_active(&self, cpu: VcpuIdx, intid: u32) -> bool {
        self.irq(cpu, intid).is_some_and(|irq| {
            irq.is(State::HW)
                && irq.state.intersects(
                    State::LINE
                        .union(State::LATCH)
                        .union(State::ACTIVE)
                        .union(State::LR_SOFT),
                )
        })
    }

    /// Whether `cpu`'s guest has deactivated the physical interrupt behind
    /// `intid` since the last time this was asked.
    pub fn take_hw_deactivated(&mut self, cpu: VcpuIdx, intid: u32) -> bool {
        self.irq_mut(cpu, intid).is_some_and(|irq| {
            let had = irq.is(State::HW_DEACTIVATED);
            irq.state -= State::HW_DEACTIVATED;
            had
        })
    }

    /// Whether the distributor has an interrupt for `cpu`, be it masked in its
    /// CPU interface or not.
    pub fn has_pending(&self, cpu: VcpuIdx) -> bool {
        self.cpus.get(cpu).is_some_and(|c| !c.pending.is_empty())
    }

    /// Whether `cpu`, which is not in the guest, has an interrupt that its CPU
    /// interface would signal. Such an interrupt ends a WFI.
    pub fn has_deliverable(&self, cpu: VcpuIdx, vmcr: Vmcr) -> bool {
        let Some(c) = self.cpus.get(cpu) else {
            return false;
        };
        c.pending.iter().any(|intid| {
            self.irq(cpu, intid).is_some_and(|irq| {
                irq.priority < vmcr.priority_mask() && vmcr.group_enabled(irq.is(State::GROUP1))
            })
        })
    }
}
