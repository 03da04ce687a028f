// SPDX-License-Identifier: GPL-2.0

//! A generic timer (chapter B8), and the counter's frequency.
//!
//! The virtual timer is in hardware while its vCPU runs. While the vCPU does not,
//! and for user space, which saves and restores it, the timer is this state machine.
//! The hardware's physical timer belongs to the host, so a guest's physical timer is
//! this state machine alone.

use armv7::regs::TimerCtl;

/// One timer of one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// CNTx_CTL. ISTATUS is not kept: it follows from the rest.
    pub ctl: TimerCtl,
    /// CNTx_CVAL: when the timer's condition becomes true.
    pub cval: u64,
    /// How far the timer's counter is behind the physical one: CNTVOFF, or zero for a physical
    /// timer.
    pub offset: u64,
}

/// The registers of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerReg {
    /// CNTx_CTL.
    Ctl,
    /// CNTx_CVAL, 64-bit.
    Cval,
    /// CNTx_TVAL: the compare value as a distance from now, 32-bit and signed.
    Tval,
    /// CNTPCT or CNTVCT, the counter itself, 64-bit.
    Count,
}

impl Timer {
    /// A timer as after reset: off.
    pub const fn new(offset: u64) -> Self {
        Self {
            ctl: TimerCtl::empty(),
            cval: 0,
            offset,
        }
    }

    /// The timer's counter when the physical one is `now`.
    #[inline]
    pub const fn count(&self, now: u64) -> u64 {
        now.wrapping_sub(self.offset)
    }

    /// ISTATUS: the timer is on and its condition is met (B8.1.5).
    #[inline]
    pub const fn status(&self, now: u64) -> bool {
        self.ctl.contains(TimerCtl::ENABLE) && self.count(now) >= self.cval
    }

    /// The level of the timer's interrupt when the physical counter is `now`.
    #[inline]
    pub const fn level(&self, now: u64) -> bool {
        self.status(now) && !self.ctl.contains(TimerCtl::IMASK)
    }

    /// Whether the interrupt can come by itself.
    #[inline]
    pub const fn is_armed(&self) -> bool {
        self.ctl.contains(TimerCtl::ENABLE) && !self.ctl.contains(TimerCtl::IMASK)
    }

    /// In how many ticks of the counter the interrupt is raised: zero if it is raised now, `None`
    /// if it will not be.
    #[inline]
    pub const fn deadline(&self, now: u64) -> Option<u64> {
        if self.is_armed() {
            Some(self.cval.saturating_sub(self.count(now)))
        } else {
            None
        }
    }

    /// Reads a register.
    pub const fn read(&self, reg: TimerReg, now: u64) -> u64 {
        match reg {
            TimerReg::Ctl => {
                let status = if self.status(now) {
                    TimerCtl::ISTATUS.bits()
                } else {
                    0
                };
                (self.ctl.bits() & !TimerCtl::ISTATUS.bits() | status) as u64
            }
            TimerReg::Cval => self.cval,
            TimerReg::Tval => self.cval.wrapping_sub(self.count(now)) & 0xffff_ffff,
            TimerReg::Count => self.count(now),
        }
    }

    /// Writes a register. The counter is read-only.
    pub fn write(&mut self, reg: TimerReg, value: u64, now: u64) {
        match reg {
            TimerReg::Ctl => {
                self.ctl = TimerCtl::from_bits_truncate(value as u32)
                    .intersection(TimerCtl::ENABLE.union(TimerCtl::IMASK));
            }
            TimerReg::Cval => self.cval = value,
            TimerReg::Tval => {
                let distance = i64::from(value as u32 as i32);
                self.cval = self.count(now).wrapping_add_signed(distance);
            }
            TimerReg::Count => (),
        }
    }
}

/// A positive number, as `mult / 2^shift` with 32 significant bits.
#[derive(Clone, Copy, Debug)]
struct Scale {
    mult: u32,
    shift: u32,
}

impl Scale {
    /// `num / den`, rounded up or down in the last of the 32 bits. Neither is zero.
    ///
    /// Long division, a bit at a time: a kernel module has no division of 64-bit numbers.
    const fn new(num: u32, den: u32, up: bool) -> Self {
        let den = den as u64;
        let mut quotient = 0u64;
        let mut rest = 0u64;
        let mut shift = 0;
        let mut bit = 32;
        while bit > 0 {
            bit -= 1;
            rest = rest << 1 | (num >> bit & 1) as u64;
            quotient <<= 1;
            if rest >= den {
                rest -= den;
                quotient |= 1;
            }
        }
        // The quotient is at least 2^-32, so 63 more bits are always enough.
        while quotient < 1 << 31 && shift < 63 {
            rest <<= 1;
            quotient <<= 1;
            if rest >= den {
                rest -= den;
                quotient |= 1;
            }
            shift += 1;
        }
        if up && rest != 0 {
            quotient = quotient.wrapping_add(1);
            if quotient == 1 << 32 && shift > 0 {
                quotient >>= 1;
                shift -= 1;
            }
        }
        Self {
            mult: quotient as u32,
            shift,
        }
    }

    /// `value` times the number, rounded up or down; `u64::MAX` if it does not fit.
    const fn apply(self, value: u64, up: bool) -> u64 {
        let mult = self.mult as u64;
        // The 96-bit product, as its upper 64 and lower 32 bits.
        let low = (value & 0xffff_ffff) * mult;
        let high = (value >> 32) * mult + (low >> 32);
        let low = low & 0xffff_ffff;
        let (result, lost) = if self.shift >= 32 {
            // At most 63 - 32; the mask shows the compiler.
            let shift = self.shift.wrapping_sub(32) & 31;
            let lost = high & ((1 << shift) - 1) | low;
            (high >> shift, lost)
        } else {
            // The result has the bits of `high` above those of `low`: they have to fit.
            let up_by = 32 - self.shift;
            if high >> (64 - up_by) != 0 {
                return u64::MAX;
            }
            let lost = low & ((1 << self.shift) - 1);
            (high << up_by | low >> self.shift, lost)
        };
        if up && lost != 0 {
            result.saturating_add(1)
        } else {
            result
        }
    }
}

/// The frequency of the counter, ready for conversions.
///
/// Making one takes some hundred steps, using it two multiplications.
#[derive(Clone, Copy, Debug)]
pub struct Frequency {
    hz: u32,
    to_ns: Scale,
    to_ticks: Scale,
}

impl Frequency {
    const NS_PER_S: u32 = 1_000_000_000;

    /// The frequency of a machine whose device tree says `tree` (`clock-frequency` of the timer's
    /// node, if that is there) and whose CNTFRQ is `register`: the tree's, as the kernel has it.
    /// Some boot loaders leave CNTFRQ zero, which tells nothing. `None` if neither tells.
    pub fn of_machine(tree: Option<u32>, register: u32) -> Option<Self> {
        let hz = tree.unwrap_or(register);
        (hz != 0).then(|| Self::new(hz))
    }

    /// A counter of `hz` ticks a second. Zero is taken for one.
    pub const fn new(hz: u32) -> Self {
        let hz = if hz == 0 { 1 } else { hz };
        Self {
            hz,
            to_ns: Scale::new(Self::NS_PER_S, hz, true),
            to_ticks: Scale::new(hz, Self::NS_PER_S, false),
        }
    }

    /// Ticks a second.
    pub const fn hz(&self) -> u32 {
        self.hz
    }

    /// How long `ticks` are, never less: a sleep of that length does not end too early. At most
    /// one part in 2^31 and one nanosecond too much. `u64::MAX` if it does not fit.
    #[inline]
    pub const fn ticks_to_ns(&self, ticks: u64) -> u64 {
        self.to_ns.apply(ticks, true)
    }

    /// How many whole ticks are in `ns`, never too many; at most one part in 2^31 and one tick
    /// less. `u64::MAX` if it does not fit.
    #[inline]
    pub const fn ns_to_ticks(&self, ns: u64) -> u64 {
        self.to_ticks.apply(ns, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    fn timer() -> impl Strategy<Value = Timer> {
        (0u32..4, any::<u64>(), any::<u64>()).prop_map(|(ctl, cval, offset)| Timer {
            ctl: TimerCtl::from_bits_truncate(ctl),
            cval,
            offset,
        })
    }

    #[test]
    fn fires_at_its_compare_value() {
        let mut timer = Timer::new(1000);
        assert_eq!(timer.deadline(5000), None);
        timer.write(TimerReg::Tval, 24, 1100);
        assert_eq!(timer.cval, 124);
        timer.write(TimerReg::Ctl, 0xffff_fff9, 1100);
        assert_eq!(timer.ctl, TimerCtl::ENABLE);
        assert_eq!(timer.deadline(1100), Some(24));
        assert!(!timer.level(1123) && timer.level(1124));
        assert_eq!(timer.read(TimerReg::Ctl, 1124), 5);
        assert_eq!(timer.read(TimerReg::Tval, 1125), 0xffff_ffff);
        assert_eq!(timer.deadline(1200), Some(0));
        timer.write(TimerReg::Ctl, 3, 1200);
        assert_eq!(timer.read(TimerReg::Ctl, 1200), 7);
        assert!(!timer.level(1200) && timer.deadline(1200).is_none());
        // A negative distance is in the past.
        timer.write(TimerReg::Tval, 0xffff_ffff, 1200);
        assert_eq!(timer.cval, 199);
    }

    #[test]
    fn the_tree_knows_the_frequency_better() {
        let hz = |tree, register| Frequency::of_machine(tree, register).map(|known| known.hz());
        assert_eq!(hz(None, 62_500_000), Some(62_500_000));
        assert_eq!(hz(Some(24_000_000), 0), Some(24_000_000));
        assert_eq!(hz(Some(24_000_000), 62_500_000), Some(24_000_000));
        assert_eq!(hz(None, 0), None);
        // The kernel's driver has no frequency then, whatever CNTFRQ is.
        assert_eq!(hz(Some(0), 62_500_000), None);
    }

    #[test]
    fn exact_frequencies() {
        let board = Frequency::new(62_500_000);
        assert_eq!(board.ticks_to_ns(1), 16);
        assert_eq!(board.ticks_to_ns(62_500_000), 1_000_000_000);
        assert_eq!(board.ns_to_ticks(16), 1);
        assert_eq!(board.ns_to_ticks(15), 0);
        assert_eq!(board.ticks_to_ns(u64::MAX), u64::MAX);
        assert_eq!(Frequency::new(1).ticks_to_ns(3), 3_000_000_000);
        assert_eq!(Frequency::new(0).hz(), 1);
        let fast = Frequency::new(1_000_000_000);
        assert_eq!(fast.ticks_to_ns(u64::MAX), u64::MAX);
        assert_eq!(fast.ns_to_ticks(12345), 12345);
    }

    inputs! {
        fn deadline_says_when_the_level_rises(timer in timer(), now: u64) {
            match timer.deadline(now) {
                None => prop_assert!(!timer.level(now)),
                Some(0) => prop_assert!(timer.level(now)),
                Some(ticks) => {
                    prop_assert!(!timer.level(now));
                    // The counter itself does not wrap on the way.
                    prop_assert!(timer.count(now).checked_add(ticks).is_some());
                    prop_assert!(!timer.level(now.wrapping_add(ticks - 1)));
                    prop_assert!(timer.level(now.wrapping_add(ticks)));
                }
            }
        }

        fn deadlines_come_closer(timer in timer(), now: u64, step in 0u64..1 << 40) {
            if let (Some(later_count), Some(first)) =
                (timer.count(now).checked_add(step), timer.deadline(now))
            {
                let later = timer.deadline(later_count.wrapping_add(timer.offset)).unwrap();
                prop_assert_eq!(later, first.saturating_sub(step));
            }
        }

        fn tval_round_trip(timer in timer(), now: u64, tval: u32) {
            let mut timer = timer;
            timer.write(TimerReg::Tval, tval.into(), now);
            prop_assert_eq!(timer.read(TimerReg::Tval, now), u64::from(tval));
            let distance = timer.cval.wrapping_sub(timer.count(now)) as i64;
            prop_assert_eq!(distance, i64::from(tval as i32));
        }

        fn ctl_keeps_two_bits(timer in timer(), now: u64, value: u32) {
            let mut timer = timer;
            timer.write(TimerReg::Ctl, value.into(), now);
            let read = timer.read(TimerReg::Ctl, now);
            prop_assert_eq!(read & 3, u64::from(value & 3));
            prop_assert_eq!(read & 4 != 0, timer.status(now));
            prop_assert_eq!(read >> 3, 0);
        }

        fn conversion_errors_are_bounded(hz in 1u32.., value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let frequency = Frequency::new(hz);
            let (value, hz) = (u128::from(value), u128::from(hz));
            let second = 1_000_000_000u128;

            let exact = (value * second).div_ceil(hz);
            let got = u128::from(frequency.ticks_to_ns(value as u64));
            let most = exact + (exact >> 31) + 1;
            prop_assert!(got >= exact.min(u64::MAX.into()), "{got} < {exact}");
            prop_assert!(got <= most.min(u64::MAX.into()), "{got} > {most}");

            let exact = value * hz / second;
            let got = u128::from(frequency.ns_to_ticks(value as u64));
            let least = exact - (exact >> 31) - exact.min(1);
            prop_assert!(got <= exact);
            prop_assert!(got >= least.min(u64::MAX.into()), "{got} < {least}");
        }

        fn conversions_are_monotonic(hz in 1u32.., a: u64, b: u64) {
            let frequency = Frequency::new(hz);
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(frequency.ticks_to_ns(a) <= frequency.ticks_to_ns(b));
            prop_assert!(frequency.ns_to_ticks(a) <= frequency.ns_to_ticks(b));
        }
    }
}
