// SPDX-License-Identifier: GPL-2.0

//! Accesses to the distributor that are carried out in place: the list registers
//! of the CPU that makes them stay in the hardware.
//!
//! HYP mode does this with the guest's world loaded. The functions here carry out
//! what the general ones ([`Vgic::dist_read`], [`Vgic::dist_write`]) would, in the
//! cases that are frequent and need no look at more than a few interrupts. They
//! decline all others, with nothing changed.
//!
//! | access | is carried out if |
//! |---|---|
//! | a read | the register does not tell of pending or active interrupts |
//! | GICC_DIR | the interrupt is in a list register, or not active at all |
//! | GICD_SGIR | each CPU that has to be kicked runs, and its own SGI finds a list register |
//! | GICD_CTLR | it changes nothing |
//! | enables, groups, priorities, targets, configuration | each interrupt that changes is at rest |
//!
//! An interrupt is *at rest* if it is neither pending nor active, in no list register, and without
//! a physical interrupt. It is in no set, and the change leaves it so.

use super::bit;
use super::distributor::bits_of;
use super::distributor::Access;
use super::distributor::DistRegister;
use super::distributor::CTLR_MASK;
use super::irq::State;
use super::irq::NR_PRIVATE;
use super::irq::NR_SGIS;
use super::irq::PRIORITY_MASK;
use super::Cpu;
use super::CpuInterface;
use super::CpuMask;
use super::GichHcr;
use super::Irq;
use super::ListRegister;
use super::VcpuIdx;
use super::Vgic;
use super::Vmcr;
use core::ops::DerefMut;

/// The surroundings of the distributor when the access is made.
pub trait InPlace {
    /// Reads list register `n` of the CPU that makes the access, in the hardware.
    fn read(&self, n: usize) -> ListRegister;
    /// Writes it.
    fn write(&mut self, n: usize, value: ListRegister);
    /// GICH_VMCR of that CPU.
    fn vmcr(&self) -> Vmcr;
    /// Makes a physical interrupt inactive.
    fn deactivate_physical(&mut self, intid: u32);
    /// Whether another CPU runs, and can be kicked.
    fn can_kick(&self, cpu: VcpuIdx) -> bool;
}

/// The effect of an SGI to the CPU itself.
enum OwnSgi {
    /// It is pending already.
    None,
    /// It becomes pending, and there is nothing to be done for it now.
    Latch,
    /// It goes into this list register.
    Load(usize),
}

/// Whether a change of the interrupt leaves it where it is, which is nowhere.
#[inline(always)]
fn is_at_rest(irq: &Irq) -> bool {
    let moved = State::ACTIVE.union(State::IN_LR).union(State::HW);
    !irq.state.intersects(moved) && !irq.is_pending()
}

/// Whether a write to a register of the configuration has made a difference.
#[inline(always)]
fn differ(a: &Irq, b: &Irq) -> bool {
    let fields = |irq: &Irq| (irq.state.bits(), irq.priority, irq.targets);
    let ((a, b, c), (d, e, f)) = (fields(a), fields(b));
    a != d || b != e || c != f
}

// All are inlined: HYP mode calls them, and the kernel puts no probes where they are inlined.
impl<S, C> Vgic<S, C>
where
    S: DerefMut<Target = [Irq]>,
    C: DerefMut<Target = [Cpu]>,
{
    /// The guest reads `size` bytes at `offset` of the distributor on `cpu`.
    #[inline(always)]
    pub fn read_in_place(&self, cpu: VcpuIdx, offset: u32, size: u32) -> Option<u32> {
        let tells_state = DistRegister::at(offset).tells_state();
        (!tells_state).then(|| self.dist_read(cpu, offset, size))
    }

    /// The guest writes `size` bytes at `offset` of the distributor on `cpu`, whose
    /// interface is `ci`. Gives the CPUs that have to be kicked: others than `cpu`,
    /// and such that can be.
    #[inline(always)]
    pub fn write_in_place(
        &mut self,
        cpu: VcpuIdx,
        ci: &mut CpuInterface,
        offset: u32,
        size: u32,
        value: u32,
        here: &mut impl InPlace,
    ) -> Option<CpuMask> {
        let Some(Access {
            register,
            value,
            lanes,
        }) = Access::of(offset, size, value)
        else {
            return Some(0);
        };
        if let DistRegister::Sgir = register {
            return self.send_sgi_in_place(cpu, ci, value, here);
        }
        let is_done = match register {
            DistRegister::Ctlr => value & CTLR_MASK == self.ctlr,
            DistRegister::SetEnable(first) => {
                self.change_at_rest(cpu, first, value, |_, irq| irq.state |= State::ENABLED)
            }
            DistRegister::ClearEnable(first) => {
                self.change_at_rest(cpu, first, value, |_, irq| irq.state -= State::ENABLED)
            }
            DistRegister::Group(first) => self.change_at_rest(cpu, first, u32::MAX, |n, irq| {
                irq.state.set(State::GROUP1, value.wrapping_shr(n) & 1 != 0);
            }),
            DistRegister::Priority(first) => {
                self.change_at_rest(cpu, first, written_bytes(lanes), |n, irq| {
                    irq.priority = byte(value, n) & PRIORITY_MASK;
                })
            }
            DistRegister::Targets(first) if first >= NR_PRIVATE => {
                let all = self.all_cpus() as u8;
                self.change_at_rest(cpu, first, written_bytes(lanes), |n, irq| {
                    irq.targets = byte(value, n) & all;
                })
            }
            DistRegister::Config(first) if first >= NR_PRIVATE => {
                self.change_at_rest(cpu, first, 0xffff, |n, irq| {
                    irq.state
                        .set(State::EDGE, value.wrapping_shr(2 * (n & 0xf)) & 0b10 != 0);
                })
            }
            // All others are read-only.
            register => !register.tells_state(),
        };
        is_done.then_some(0)
    }

    /// Changes the interrupts `first | n` for each `n` of `which`, if all that differ
    /// afterwards are at rest before and after. Says whether it did.
    #[inline(always)]
    fn change_at_rest(
        &mut self,
        cpu: VcpuIdx,
        first: u32,
        which: u32,
        change: impl Fn(u32, &mut Irq),
    ) -> bool {
        for n in bits_of(which) {
            let Some(irq) = self.irq(cpu, first | n) else {
                continue;
            };
            let mut changed = *irq;
            change(n, &mut changed);
            if differ(&changed, irq) && !(is_at_rest(irq) && is_at_rest(&changed)) {
                return false;
            }
        }
        for n in bits_of(which) {
            if let Some(irq) = self.irq_mut(cpu, first | n) {
                change(n, irq);
            }
        }
        true
    }

    /// GICD_SGIR.
    #[inline(always)]
    fn send_sgi_in_place(
        &mut self,
        cpu: VcpuIdx,
        ci: &mut CpuInterface,
        value: u32,
        here: &mut impl InPlace,
    ) -> Option<CpuMask> {
        let (intid, targets) = self.sgi(cpu, value);
        let source = bit(cpu) as u8;
        let others = targets & !bit(cpu);
        let mut kick = 0;
        for target in bits_of(others) {
            let irq = self.irq(target as VcpuIdx, intid)?;
            let comes = irq.is(State::IN_LR) || self.would_deliver(irq);
            if comes && irq.needs_exit_for(source) {
                if !here.can_kick(target as VcpuIdx) {
                    return None;
                }
                kick |= bit(target as VcpuIdx);
            }
        }
        let own = if targets & bit(cpu) != 0 {
            self.own_sgi(cpu, ci, intid, here)?
        } else {
            OwnSgi::None
        };
        // From here on nothing is declined.
        for target in bits_of(others) {
            let target = target as VcpuIdx;
            let Some(irq) = self.irq_mut(target, intid) else {
                continue;
            };
            irq.sources |= source;
            let irq = *irq;
            if !irq.is(State::IN_LR) && self.would_deliver(&irq) {
                if let Some(c) = self.cpus.get_mut(target) {
                    c.pending.insert(intid);
                }
            }
        }
        let irq = self.irq_mut(cpu, intid)?;
        match own {
            OwnSgi::None => (),
            OwnSgi::Latch => irq.sources |= source,
            OwnSgi::Load(n) => {
                irq.state -= State::ACTIVE;
                irq.state |= State::IN_LR | State::LR_PENDING;
                irq.owner = cpu as u8;
                let lr = ListRegister::new(intid, irq).pending_from(cpu);
                here.write(n, lr);
                if let Some(place) = ci.lr.get_mut(n) {
                    *place = lr.0;
                }
                ci.use_register(n);
                if let Some(c) = self.cpus.get_mut(cpu) {
                    c.loaded = true;
                }
            }
        }
        Some(kick)
    }

    /// The effect of an SGI of `cpu` to itself, unless more is to be done for it than
    /// to fill one list register.
    #[inline(always)]
    fn own_sgi(
        &self,
        cpu: VcpuIdx,
        ci: &CpuInterface,
        intid: u32,
        here: &impl InPlace,
    ) -> Option<OwnSgi> {
        let irq = self.irq(cpu, intid)?;
        if irq.sources & bit(cpu) as u8 != 0 {
            return Some(OwnSgi::None);
        }
        if !irq.needs_exit_for(bit(cpu) as u8) {
            return Some(OwnSgi::Latch);
        }
        if irq.is(State::IN_LR) {
            let n = place_of(irq, ci, intid)?;
            let lr = here.read(n);
            if irq.sources != 0 && !lr.has(ListRegister::PENDING) {
                return Some(OwnSgi::Latch);
            }
            if lr.has(ListRegister::PENDING) {
                // The same request again, which is not acknowledged yet.
                let is_same = usize::from(irq.owner) == cpu && !lr.has(ListRegister::ACTIVE);
                return is_same.then_some(OwnSgi::None);
            }
            let is_free = !lr.valid() && irq.is(State::ENABLED) && self.is_forwarded(irq);
            return is_free.then_some(OwnSgi::Load(n));
        }
        if !self.would_deliver(irq) {
            return Some(OwnSgi::Latch);
        }
        // The last one is for an interrupt that HYP mode gives. If some interrupts have found no
        // list register, HCR has more than EN.
        let n = ci.in_use();
        let is_run = ci.used.wrapping_add(1).is_power_of_two();
        let is_free = is_run && (n as u32).wrapping_add(1) < self.nr_lrs;
        (is_free && ci.hcr == GichHcr::EN.bits()).then_some(OwnSgi::Load(n))
    }

    /// The guest writes `value` to GICC_DIR on `cpu`, whose interface is `ci`. `given` is the list
    /// register of the interrupt that [`reserve`](Self::reserve) was for, if it has risen and the
    /// distributor does not know yet. Says whether the write was carried out. The effect is that of
    /// hardware (IHI 0048B section 5.2.3): a list register may ask for a maintenance interrupt
    /// then.
    #[inline(always)]
    pub fn deactivate_in_place(
        &mut self,
        cpu: VcpuIdx,
        ci: &CpuInterface,
        given: Option<usize>,
        value: u32,
        here: &mut impl InPlace,
    ) -> bool {
        // With EOImode 0 the write is UNPREDICTABLE; here it does nothing.
        if !here.vmcr().eoi_mode() {
            return true;
        }
        let (intid, source) = (value & 0x3ff, (value >> 10) & 7);
        let Some(irq) = self.irq(cpu, intid) else {
            return true;
        };
        if intid < NR_SGIS && u32::from(irq.owner) != source {
            return true;
        }
        let place = if irq.is(State::IN_LR) {
            place_of(irq, ci, intid).filter(|_| Self::holder(cpu, intid, irq) == cpu)
        } else if irq.is(State::HW) {
            given
        } else if !irq.is(State::ACTIVE) {
            return true;
        } else {
            None
        };
        let Some(n) = place else {
            return false;
        };
        let lr = here.read(n);
        if lr.intid() == intid && lr.has(ListRegister::ACTIVE) {
            if let Some(physical) = lr.linked() {
                here.deactivate_physical(physical);
            }
            here.write(n, ListRegister(lr.0 & !ListRegister::ACTIVE));
        }
        true
    }

    /// Whether the interrupt would be sent to a CPU if it were pending, which is not in a list
    /// register.
    #[inline(always)]
    fn would_deliver(&self, irq: &Irq) -> bool {
        irq.is(State::ENABLED) && !irq.is(State::ACTIVE) && self.is_forwarded(irq)
    }

    #[inline(always)]
    fn is_forwarded(&self, irq: &Irq) -> bool {
        super::is_forwarded(irq, self.ctlr)
    }
}

/// The list register of an interrupt that is in one, unless something was noted for it since.
#[inline(always)]
fn place_of(irq: &Irq, ci: &CpuInterface, intid: u32) -> Option<usize> {
    let noted = State::CLEAR_PENDING
        .union(State::CLEAR_ACTIVE)
        .union(State::SET_ACTIVE);
    if irq.state.intersects(noted) {
        return None;
    }
    let has = |n: &u32| {
        let lr = ci.lr.get(*n as usize).copied().unwrap_or(0);
        ListRegister(lr).intid() == intid
    };
    bits_of(ci.used).find(has).map(|n| n as usize)
}

/// Byte `n` of a word.
#[inline(always)]
const fn byte(value: u32, n: u32) -> u8 {
    value.wrapping_shr(8 * (n & 3)) as u8
}

/// The numbers of the bytes that a write has, as a mask.
#[inline(always)]
const fn written_bytes(lanes: u32) -> u32 {
    // One bit of each byte, moved together.
    let ones = lanes & 0x0101_0101;
    (ones | ones >> 7 | ones >> 14 | ones >> 21) & 0xf
}
