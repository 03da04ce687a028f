// SPDX-License-Identifier: GPL-2.0

//! The distributor's registers (IHI 0048B section 4.3).
//!
//! | offset | register | access |
//! |---|---|---|
//! | `000` | GICD_CTLR, GICD_TYPER, GICD_IIDR | word |
//! | `080` | GICD_IGROUPRn | word |
//! | `100` `180` | GICD_ISENABLERn, GICD_ICENABLERn | word |
//! | `200` `280` | GICD_ISPENDRn, GICD_ICPENDRn | word |
//! | `300` `380` | GICD_ISACTIVERn, GICD_ICACTIVERn | word |
//! | `400` | GICD_IPRIORITYRn | byte, word |
//! | `800` | GICD_ITARGETSRn | byte, word |
//! | `c00` | GICD_ICFGRn | word |
//! | `f00` | GICD_SGIR | word |
//! | `f10` `f20` | GICD_CPENDSGIRn, GICD_SPENDSGIRn | byte, word |
//! | `fd0` | identification | word |
//!
//! Any part of any register may be read. A write narrower than the table allows
//! is ignored, and so is one that is not aligned. All the rest is RAZ/WI.

use super::bit;
use super::irq::State;
use super::irq::FIRST_SPECIAL;
use super::irq::NR_PRIVATE;
use super::irq::NR_SGIS;
use super::irq::PRIORITY_MASK;
use super::Cpu;
use super::CpuMask;
use super::Error;
use super::Irq;
use super::VcpuIdx;
use super::Vgic;
use crate::nospec;
use core::ops::DerefMut;

/// The distributor has a page.
const SIZE: u32 = 0x1000;

/// GICD_IIDR: product K, variant 0, revision 2, implementer Arm.
const IIDR: u32 = 0x4b00_243b;
/// Both enables of GICD_CTLR.
pub(super) const CTLR_MASK: u32 = 0b11;

/// Who reads or writes: what SGIs' pending bits do depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accessor {
    Guest,
    User,
}

/// A register, with the first INTID that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DistRegister {
    Ctlr,
    Typer,
    Iidr,
    Group(u32),
    SetEnable(u32),
    ClearEnable(u32),
    SetPending(u32),
    ClearPending(u32),
    SetActive(u32),
    ClearActive(u32),
    Priority(u32),
    Targets(u32),
    Config(u32),
    Sgir,
    ClearSgiPending(u32),
    SetSgiPending(u32),
    Id(u32),
    Reserved,
}

impl DistRegister {
    /// The register whose word is at `offset`.
    // Always, as all that is said to be: HYP mode calls it, and the kernel puts no probes where it
    // is inlined.
    #[inline(always)]
    pub(super) const fn at(offset: u32) -> Self {
        let offset = offset & !3;
        // INTIDs at one bit and at eight bits each.
        let bits = (offset & 0x7f) << 3;
        let bytes = offset & 0x3ff;
        match offset {
            0x000 => Self::Ctlr,
            0x004 => Self::Typer,
            0x008 => Self::Iidr,
            0x080..=0x0ff => Self::Group(bits),
            0x100..=0x17f => Self::SetEnable(bits),
            0x180..=0x1ff => Self::ClearEnable(bits),
            0x200..=0x27f => Self::SetPending(bits),
            0x280..=0x2ff => Self::ClearPending(bits),
            0x300..=0x37f => Self::SetActive(bits),
            0x380..=0x3ff => Self::ClearActive(bits),
            0x400..=0x7ff => Self::Priority(bytes),
            0x800..=0xbff => Self::Targets(bytes),
            0xc00..=0xcff => Self::Config((offset & 0xff) << 2),
            0xf00 => Self::Sgir,
            0xf10..=0xf1f => Self::ClearSgiPending(offset & 0xf),
            0xf20..=0xf2f => Self::SetSgiPending(offset & 0xf),
            0xfd0..=0xfff => Self::Id(offset),
            _ => Self::Reserved,
        }
    }

    /// Whether it is about what is pending or active, of which list registers know more.
    #[inline(always)]
    pub(super) const fn tells_state(self) -> bool {
        matches!(
            self,
            Self::SetPending(_)
                | Self::ClearPending(_)
                | Self::SetActive(_)
                | Self::ClearActive(_)
                | Self::SetSgiPending(_)
                | Self::ClearSgiPending(_)
        )
    }

    /// Whether bytes of it can be written.
    #[inline(always)]
    const fn byte_accessible(self) -> bool {
        matches!(
            self,
            Self::Priority(_)
                | Self::Targets(_)
                | Self::ClearSgiPending(_)
                | Self::SetSgiPending(_)
        )
    }
}

/// A write of the guest, in the place of a register's word.
pub(super) struct Access {
    pub(super) register: DistRegister,
    /// The bits outside of `lanes` are zero.
    pub(super) value: u32,
    /// Ones for the bytes that are written.
    pub(super) lanes: u32,
}

impl Access {
    /// A write of `size` bytes at `offset`, unless it is ignored.
    #[inline(always)]
    pub(super) fn of(offset: u32, size: u32, value: u32) -> Option<Self> {
        if offset >= SIZE || !matches!(size, 1 | 2 | 4) || offset & (size - 1) != 0 {
            return None;
        }
        let register = DistRegister::at(offset);
        if size != 4 && !register.byte_accessible() {
            return None;
        }
        let shift = 8 * (offset & 3);
        let lanes = low_bytes(size) << shift;
        Some(Self {
            register,
            value: (value << shift) & lanes,
            lanes,
        })
    }
}

/// The register of the group KVM_DEV_ARM_VGIC_GRP_DIST_REGS at an offset.
fn uaccess_register(offset: u32) -> Option<DistRegister> {
    if offset & 3 != 0 || offset >= SIZE {
        return None;
    }
    match DistRegister::at(offset) {
        // 0x00c is within the block that KVM has always had there.
        DistRegister::Reserved if offset != 0x00c => None,
        register => Some(register),
    }
}

/// Whether the group KVM_DEV_ARM_VGIC_GRP_DIST_REGS has a register at an offset.
pub fn has_uaccess_register(offset: u32) -> bool {
    uaccess_register(offset).is_some()
}

/// Peripheral and component identification (IHI 0048B section 4.3.18); offset
/// 0xfd0 is ICPIDR4. ICPIDR2 says GICv2; the part is a GIC-400.
#[inline(always)]
const fn identification(offset: u32) -> u32 {
    match offset {
        0xfd0 => 0x04,
        0xfe0 => 0x90,
        0xfe4 => 0xb4,
        0xfe8 => 0x2b,
        0xff0 => 0x0d,
        0xff4 => 0xf0,
        0xff8 => 0x05,
        0xffc => 0xb1,
        _ => 0,
    }
}

/// The numbers of the bits that are set.
#[inline(always)]
pub(super) fn bits_of(mut value: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = (value != 0).then(|| value.trailing_zeros())?;
        value &= value.wrapping_sub(1);
        Some(bit)
    })
}

/// Mask of the low `size` bytes.
#[inline(always)]
const fn low_bytes(size: u32) -> u32 {
    match size {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        3 => 0xff_ffff,
        _ => u32::MAX,
    }
}

impl<S, C> Vgic<S, C>
where
    S: DerefMut<Target = [Irq]>,
    C: DerefMut<Target = [Cpu]>,
{
    /// The guest reads `size` bytes at `offset` of the distributor on `cpu`.
    #[inline(always)]
    pub fn dist_read(&self, cpu: VcpuIdx, offset: u32, size: u32) -> u32 {
        if offset >= SIZE {
            return 0;
        }
        let word = self.read_word(cpu, DistRegister::at(offset));
        (word >> (8 * (offset & 3))) & low_bytes(size)
    }

    /// The guest writes `size` bytes at `offset` of the distributor on `cpu`.
    /// Gives the CPUs that have to be kicked: they have something to take, or
    /// something in a list register that changed.
    pub fn dist_write(&mut self, cpu: VcpuIdx, offset: u32, size: u32, value: u32) -> CpuMask {
        Access::of(offset, size, value).map_or(0, |access| {
            let Access {
                register,
                value,
                lanes,
            } = access;
            self.write_word(cpu, register, value, lanes, Accessor::Guest)
        })
    }

    /// User space reads a register of the group KVM_DEV_ARM_VGIC_GRP_DIST_REGS
    /// as `cpu`.
    pub fn uaccess_read(&self, cpu: VcpuIdx, offset: u32) -> Result<u32, Error> {
        let register = self.uaccess_register(cpu, offset)?;
        Ok(self.read_word(cpu, register))
    }

    /// User space writes a register of the group
    /// KVM_DEV_ARM_VGIC_GRP_DIST_REGS as `cpu`, while no virtual CPU runs.
    pub fn uaccess_write(
        &mut self,
        cpu: VcpuIdx,
        offset: u32,
        value: u32,
    ) -> Result<CpuMask, Error> {
        let register = self.uaccess_register(cpu, offset)?;
        match register {
            DistRegister::Iidr if value != IIDR => return Err(Error::Invalid),
            DistRegister::Iidr => self.iidr_confirmed = true,
            DistRegister::Group(_) if !self.iidr_confirmed => return Ok(0),
            _ => {}
        }
        Ok(self.write_word(cpu, register, value, u32::MAX, Accessor::User))
    }

    /// The register that user space means.
    fn uaccess_register(&self, cpu: VcpuIdx, offset: u32) -> Result<DistRegister, Error> {
        if cpu >= self.nr_cpus as VcpuIdx {
            return Err(Error::Invalid);
        }
        uaccess_register(offset).ok_or(Error::NoRegister)
    }

    /// The CPUs that have an interrupt of this register in a list register. A read
    /// of the register gives the state from when they were entered, until they
    /// exit and are folded.
    ///
    /// It is none but for GICD_ISPENDR, GICD_ICPENDR, GICD_ISACTIVER and
    /// GICD_ICACTIVER.
    ///
    /// For the state of now, the caller kicks these CPUs and waits until
    /// [`folds`](Self::folds) gives something else for each.
    pub fn stale(&self, cpu: VcpuIdx, offset: u32) -> CpuMask {
        let first = match DistRegister::at(offset) {
            DistRegister::SetPending(first)
            | DistRegister::ClearPending(first)
            | DistRegister::SetActive(first)
            | DistRegister::ClearActive(first) => first,
            _ => return 0,
        };
        (0..32)
            .filter_map(|n| {
                let intid = first | n;
                let irq = self.irq(cpu, intid)?;
                irq.is(State::IN_LR)
                    .then(|| bit(Self::holder(cpu, intid, irq)))
            })
            .fold(0, |cpus, cpu| cpus | cpu)
    }

    /// How often the list registers of a CPU have been taken back, if it has any
    /// interrupts there now. As long as this stays the same, the distributor's
    /// knowledge of these interrupts is old. The count wraps around, so it can
    /// seem to be the same once in 2^32 folds; the CPU's next fold changes it.
    pub fn folds(&self, cpu: VcpuIdx) -> Option<u32> {
        let cpu = self.cpus.get(cpu)?;
        cpu.loaded.then_some(cpu.folds)
    }

    /// The interrupts from `first` on, at most `count` of them.
    #[inline(always)]
    fn block(&self, cpu: VcpuIdx, first: u32, count: u32) -> &[Irq] {
        let (irqs, first, end) = if first < NR_PRIVATE {
            let Some(c) = self.cpus.get(cpu) else {
                return &[];
            };
            (&c.private[..], first, NR_PRIVATE)
        } else {
            let end = self.nr_irqs.min(FIRST_SPECIAL);
            (
                &self.spis[..],
                first - NR_PRIVATE,
                end.saturating_sub(NR_PRIVATE),
            )
        };
        let end = end.min(first.saturating_add(count)) as usize;
        if first as usize >= end {
            return &[];
        }
        let first = nospec::index(first as usize, irqs.len());
        irqs.get(first..end).unwrap_or(&[])
    }

    /// A word in which each of the interrupts from `first` on has a field of `width` bits.
    #[inline(always)]
    fn gather(&self, cpu: VcpuIdx, first: u32, width: u32, field: impl Fn(&Irq) -> u32) -> u32 {
        let (mut word, mut shift) = (0, 0_u32);
        for irq in self.block(cpu, first, 32 / width) {
            word |= field(irq).wrapping_shl(shift);
            shift = shift.wrapping_add(width);
        }
        word
    }

    #[inline(always)]
    fn read_word(&self, cpu: VcpuIdx, register: DistRegister) -> u32 {
        match register {
            DistRegister::Ctlr => self.ctlr,
            DistRegister::Typer => {
                let lines = (self.nr_irqs >> 5).saturating_sub(1) & 0x1f;
                let cpus = self.nr_cpus.saturating_sub(1) & 7;
                lines | (cpus << 5)
            }
            DistRegister::Iidr => IIDR,
            DistRegister::Group(first) => {
                self.gather(cpu, first, 1, |irq| irq.is(State::GROUP1).into())
            }
            DistRegister::SetEnable(first) | DistRegister::ClearEnable(first) => {
                self.gather(cpu, first, 1, |irq| irq.is(State::ENABLED).into())
            }
            DistRegister::SetPending(first) | DistRegister::ClearPending(first) => {
                self.gather(cpu, first, 1, |irq| irq.shows_pending().into())
            }
            DistRegister::SetActive(first) | DistRegister::ClearActive(first) => {
                self.gather(cpu, first, 1, |irq| irq.is(State::ACTIVE).into())
            }
            DistRegister::Priority(first) => self.gather(cpu, first, 8, |irq| irq.priority.into()),
            // A uniprocessor need not have these (IHI 0048B section 4.3.12), but
            // in KVM it always had.
            DistRegister::Targets(first) if first < NR_PRIVATE => {
                bit(cpu).wrapping_mul(0x0101_0101)
            }
            DistRegister::Targets(first) => self.gather(cpu, first, 8, |irq| irq.targets.into()),
            DistRegister::Config(first) => {
                self.gather(cpu, first, 2, |irq| u32::from(irq.is(State::EDGE)) << 1)
            }
            DistRegister::Sgir => 0,
            DistRegister::ClearSgiPending(first) | DistRegister::SetSgiPending(first) => self
                .gather(cpu, first, 8, |irq| {
                    let in_lr = if irq.is(State::LR_PENDING) {
                        bit(irq.owner.into()) as u8
                    } else {
                        0
                    };
                    (irq.sources | in_lr).into()
                }),
            DistRegister::Id(offset) => identification(offset),
            DistRegister::Reserved => 0,
        }
    }

    /// Writes those bytes of a register for which `lanes` has ones.
    fn write_word(
        &mut self,
        cpu: VcpuIdx,
        register: DistRegister,
        value: u32,
        lanes: u32,
        by: Accessor,
    ) -> CpuMask {
        let mut kick = 0;
        // For the registers of one bit each, the interrupts with a one; for
        // those of one byte each, the interrupts written and their bytes.
        let ones = |first: u32| bits_of(value).map(move |n| first | n);
        let bytes = |first: u32| {
            (0..4)
                .zip(lanes.to_le_bytes())
                .zip(value.to_le_bytes())
                .filter(|&((_, lane), _)| lane != 0)
                .map(move |((n, _), byte)| (first | n, byte))
        };
        match register {
            DistRegister::Ctlr => {
                let new = value & CTLR_MASK;
                if new != self.ctlr {
                    self.ctlr = new;
                    kick = self.refresh_all();
                }
            }
            DistRegister::Group(first) => {
                for n in 0..32 {
                    kick |= self.write_group(cpu, first | n, (value >> n) & 1 != 0);
                }
            }
            DistRegister::SetEnable(first) => {
                for intid in ones(first) {
                    kick |= self.write_enable(cpu, intid, true);
                }
            }
            DistRegister::ClearEnable(first) => {
                for intid in ones(first) {
                    kick |= self.write_enable(cpu, intid, false);
                }
            }
            DistRegister::SetPending(first) => {
                for intid in ones(first) {
                    kick |= self.set_pending(cpu, intid, by);
                }
            }
            DistRegister::ClearPending(first) => {
                for intid in ones(first) {
                    kick |= self.clear_pending(cpu, intid, by);
                }
            }
            DistRegister::SetActive(first) => {
                for intid in ones(first) {
                    kick |= self.write_active(cpu, intid, true);
                }
            }
            DistRegister::ClearActive(first) => {
                for intid in ones(first) {
                    kick |= self.write_active(cpu, intid, false);
                }
            }
            DistRegister::Priority(first) => {
                for (intid, byte) in bytes(first) {
                    kick |= self.write_priority(cpu, intid, byte & PRIORITY_MASK);
                }
            }
            DistRegister::Targets(first) if first >= NR_PRIVATE => {
                for (intid, byte) in bytes(first) {
                    kick |= self.write_targets(cpu, intid, byte);
                }
            }
            // The configuration of SGIs is fixed, that of PPIs is given by the
            // devices, which are ours.
            DistRegister::Config(first) if first >= NR_PRIVATE => {
                for n in 0..16 {
                    let edge = (value >> (2 * n)) & 0b10 != 0;
                    kick |= self.write_config(cpu, first | n, edge);
                }
            }
            DistRegister::Sgir => kick = self.send_sgi(cpu, value),
            DistRegister::ClearSgiPending(first) => {
                for (intid, sources) in bytes(first) {
                    kick |= self.clear_sgi(cpu, intid, sources);
                }
            }
            DistRegister::SetSgiPending(first) => {
                for (intid, sources) in bytes(first) {
                    kick |= self.set_sgi(cpu, intid, sources);
                }
            }
            DistRegister::Typer
            | DistRegister::Iidr
            | DistRegister::Targets(_)
            | DistRegister::Config(_)
            | DistRegister::Id(_)
            | DistRegister::Reserved => {}
        }
        kick
    }

    fn write_group(&mut self, cpu: VcpuIdx, intid: u32, group1: bool) -> CpuMask {
        match self.irq(cpu, intid) {
            Some(irq) if irq.is(State::GROUP1) != group1 => {
                self.change(cpu, intid, |irq| irq.state.set(State::GROUP1, group1))
            }
            _ => 0,
        }
    }

    fn write_enable(&mut self, cpu: VcpuIdx, intid: u32, enable: bool) -> CpuMask {
        match self.irq(cpu, intid) {
            Some(irq) if irq.is(State::ENABLED) != enable => {
                self.change(cpu, intid, |irq| irq.state.set(State::ENABLED, enable))
            }
            _ => 0,
        }
    }

    /// GICD_ISPENDR. The bits of SGIs are read-only to the guest. User space
    /// restores them, but cannot say here which CPU requested the SGI, so it is
    /// the CPU itself.
    fn set_pending(&mut self, cpu: VcpuIdx, intid: u32, by: Accessor) -> CpuMask {
        if intid < NR_SGIS {
            return match by {
                Accessor::Guest => 0,
                Accessor::User => self.set_sgi(cpu, intid, bit(cpu) as u8),
            };
        }
        self.change(cpu, intid, |irq| irq.state |= State::LATCH)
    }

    /// GICD_ICPENDR, see [`set_pending`](Self::set_pending). A line that is
    /// high keeps a level-triggered interrupt pending.
    fn clear_pending(&mut self, cpu: VcpuIdx, intid: u32, by: Accessor) -> CpuMask {
        if intid < NR_SGIS {
            return match by {
                Accessor::Guest => 0,
                Accessor::User => self.clear_sgi(cpu, intid, u8::MAX),
            };
        }
        match self.irq(cpu, intid) {
            Some(irq) if irq.state.intersects(State::LATCH | State::LR_PENDING) => {
                self.change(cpu, intid, |irq| {
                    irq.state -= State::LATCH;
                    if irq.is(State::LR_PENDING) {
                        irq.state |= State::CLEAR_PENDING;
                    }
                })
            }
            _ => 0,
        }
    }

    /// GICD_ISACTIVER, GICD_ICACTIVER, GICC_DIR.
    pub(crate) fn write_active(&mut self, cpu: VcpuIdx, intid: u32, active: bool) -> CpuMask {
        let Some(&irq) = self.irq(cpu, intid) else {
            return 0;
        };
        if irq.is(State::IN_LR) {
            return self.change(cpu, intid, |irq| {
                irq.state.set(State::SET_ACTIVE, active);
                irq.state.set(State::CLEAR_ACTIVE, !active);
            });
        }
        if irq.is(State::ACTIVE) == active {
            return 0;
        }
        if active && intid >= NR_PRIVATE {
            // It becomes active on the CPU that would have acknowledged it.
            let home = self.target(cpu, intid, &irq);
            if let Some(c) = self.cpus.get_mut(usize::from(irq.owner)) {
                c.pending.remove(intid);
            }
            if let Some(irq) = self.irq_mut(cpu, intid) {
                irq.owner = home as u8;
            }
        } else if active && intid < NR_SGIS {
            if let Some(irq) = self.irq_mut(cpu, intid) {
                irq.owner = cpu as u8;
            }
        }
        self.change(cpu, intid, |irq| irq.state.set(State::ACTIVE, active))
    }

    fn write_priority(&mut self, cpu: VcpuIdx, intid: u32, priority: u8) -> CpuMask {
        match self.irq(cpu, intid) {
            Some(irq) if irq.priority != priority => {
                let holder = Self::holder(cpu, intid, irq);
                let listed = self
                    .cpus
                    .get(holder)
                    .is_some_and(|c| c.pending.contains(intid));
                let kick = self.change(cpu, intid, |irq| irq.priority = priority);
                // The interrupts in the list registers were chosen by priority.
                if listed {
                    kick | bit(holder)
                } else {
                    kick
                }
            }
            _ => 0,
        }
    }

    fn write_targets(&mut self, cpu: VcpuIdx, intid: u32, targets: u8) -> CpuMask {
        let targets = targets & self.all_cpus() as u8;
        match self.irq(cpu, intid) {
            Some(irq) if irq.targets != targets => {
                self.change(cpu, intid, |irq| irq.targets = targets)
            }
            _ => 0,
        }
    }

    fn write_config(&mut self, cpu: VcpuIdx, intid: u32, edge: bool) -> CpuMask {
        match self.irq(cpu, intid) {
            Some(irq) if irq.is(State::EDGE) != edge => {
                self.change(cpu, intid, |irq| irq.state.set(State::EDGE, edge))
            }
            _ => 0,
        }
    }

    /// The INTID and the targets in a value that `cpu` writes to GICD_SGIR (IHI 0048B section
    /// 4.3.15).
    #[inline(always)]
    pub(super) fn sgi(&self, cpu: VcpuIdx, value: u32) -> (u32, CpuMask) {
        let targets = match (value >> 24) & 3 {
            0b00 => (value >> 16) & self.all_cpus(),
            0b01 => self.all_cpus() & !bit(cpu),
            0b10 => bit(cpu),
            _ => 0,
        };
        (value & 0xf, targets)
    }

    /// GICD_SGIR.
    fn send_sgi(&mut self, cpu: VcpuIdx, value: u32) -> CpuMask {
        let (intid, targets) = self.sgi(cpu, value);
        let mut kick = 0;
        for target in bits_of(targets) {
            kick |= self.set_sgi(target as VcpuIdx, intid, bit(cpu) as u8);
        }
        kick
    }

    /// Makes an SGI of `cpu` pending from `sources`.
    fn set_sgi(&mut self, cpu: VcpuIdx, intid: u32, sources: u8) -> CpuMask {
        let sources = sources & self.all_cpus() as u8;
        match self.irq(cpu, intid) {
            Some(irq) if irq.sources | sources != irq.sources => {
                let needs_exit = irq.needs_exit_for(sources);
                let kick = self.change(cpu, intid, |irq| irq.sources |= sources);
                if needs_exit {
                    kick
                } else {
                    0
                }
            }
            _ => 0,
        }
    }

    /// Makes an SGI of `cpu` no longer pending from `sources`.
    fn clear_sgi(&mut self, cpu: VcpuIdx, intid: u32, sources: u8) -> CpuMask {
        if sources == 0 {
            return 0;
        }
        self.change(cpu, intid, |irq| {
            irq.sources &= !sources;
            if irq.is(State::LR_PENDING) && sources & bit(irq.owner.into()) as u8 != 0 {
                irq.state |= State::CLEAR_PENDING;
            }
        })
    }
}
