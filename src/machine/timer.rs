// SPDX-License-Identifier: GPL-2.0

//! A generic timer (Arm ARM B8.1): a compare value, a control register, and the
//! output that follows from a counter.

use armv7::regs::TimerCtl;

/// One timer's registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// CTL, without ISTATUS, which follows from the counter.
    pub ctl: u32,
    /// The compare value.
    pub cval: u64,
}

impl Timer {
    const WRITABLE: u32 = TimerCtl::ENABLE.bits() | TimerCtl::IMASK.bits();

    /// Whether the output can be high, now or later.
    #[inline]
    pub const fn may_fire(&self) -> bool {
        self.ctl & Self::WRITABLE == TimerCtl::ENABLE.bits()
    }

    /// Whether the condition is met, whatever the mask (ISTATUS of an enabled timer).
    const fn met(&self, now: u64) -> bool {
        self.ctl & TimerCtl::ENABLE.bits() != 0 && now >= self.cval
    }

    /// The output.
    #[inline]
    pub const fn level(&self, now: u64) -> bool {
        self.may_fire() && self.met(now)
    }

    /// Ticks until the output goes high; `None` if it never does by itself, or is high.
    pub const fn ticks_left(&self, now: u64) -> Option<u64> {
        if self.may_fire() && now < self.cval {
            Some(self.cval - now)
        } else {
            None
        }
    }

    /// CTL as it reads.
    pub const fn read_ctl(&self, now: u64) -> u32 {
        let status = if self.met(now) {
            TimerCtl::ISTATUS.bits()
        } else {
            0
        };
        self.ctl & Self::WRITABLE | status
    }

    /// A write of CTL.
    pub fn write_ctl(&mut self, value: u32) {
        self.ctl = value & Self::WRITABLE;
    }

    /// TVAL as it reads: the low half of what is left.
    pub const fn read_tval(&self, now: u64) -> u32 {
        self.cval.wrapping_sub(now) as u32
    }

    /// A write of TVAL: that many ticks from now, signed.
    pub fn write_tval(&mut self, now: u64, value: u32) {
        self.cval = now.wrapping_add(value as i32 as i64 as u64);
    }
}

/// The frequency of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    /// Nanoseconds in a tick, times 2^24.
    ns_per_tick: u64,
}

impl Frequency {
    const SHIFT: u32 = 24;
    const NS_PER_SECOND: u64 = 1_000_000_000;

    /// Takes the value of CNTFRQ, which must not be zero.
    ///
    /// Divides by subtraction: a kernel for a 32-bit machine has no other way in Rust.
    pub const fn new(hz: u32) -> Self {
        let divisor = hz as u64;
        let mut rest = Self::NS_PER_SECOND << Self::SHIFT;
        let mut quotient = 0;
        if divisor != 0 {
            let mut bit = rest.leading_zeros().abs_diff(divisor.leading_zeros());
            loop {
                if rest >= divisor << bit {
                    rest -= divisor << bit;
                    quotient |= 1 << bit;
                }
                if bit == 0 {
                    break;
                }
                bit -= 1;
            }
        }
        Self {
            ns_per_tick: quotient,
        }
    }

    /// The time that a number of ticks takes, at most what a signed 64-bit number of nanoseconds
    /// holds.
    pub const fn ticks_to_ns(&self, ticks: u64) -> u64 {
        const MOST: u64 = i64::MAX as u64;
        // (high * 2^32 + low) * factor / 2^24, without a product that overflows unnoticed.
        let (high, low) = (ticks >> 32, ticks & 0xffff_ffff);
        let Some(low) = low.checked_mul(self.ns_per_tick) else {
            return MOST;
        };
        let Some(high) = high.checked_mul(self.ns_per_tick) else {
            return MOST;
        };
        if high >> (63 - (32 - Self::SHIFT)) != 0 {
            return MOST;
        }
        let sum = (high << (32 - Self::SHIFT)).saturating_add(low >> Self::SHIFT);
        if sum > MOST {
            MOST
        } else {
            sum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frequency_of_a_million_gives_a_thousand_ns_a_tick() {
        let f = Frequency::new(1_000_000);
        assert_eq!(f.ticks_to_ns(1), 1000);
        assert_eq!(f.ticks_to_ns(1 << 40), 1000 << 40);
    }

    proptest! {
        #[test]
        fn ticks_to_ns_is_right_to_one_part_in_a_million(
            hz in 100_000u32..1_000_000_000, ticks: u64
        ) {
            let exact = u128::from(ticks) * 1_000_000_000 / u128::from(hz);
            let got = u128::from(Frequency::new(hz).ticks_to_ns(ticks));
            if exact < i64::MAX as u128 / 300 {
                prop_assert!(got <= exact);
                prop_assert!(exact - got <= 1 + exact / 1_000_000);
            }
        }

        #[test]
        fn output_goes_high_exactly_when_nothing_is_left(now: u64, cval: u64) {
            let timer = Timer { ctl: 1, cval };
            match timer.ticks_left(now) {
                Some(ticks) => {
                    prop_assert!(!timer.level(now));
                    prop_assert!(!timer.level(now + (ticks - 1)));
                    prop_assert!(timer.level(now + ticks));
                }
                None => prop_assert!(timer.level(now)),
            }
        }

        #[test]
        fn tval_reads_back_as_written(now: u64, value: u32) {
            let mut timer = Timer::default();
            timer.write_tval(now, value);
            prop_assert_eq!(timer.read_tval(now), value);
        }

        #[test]
        fn masked_or_disabled_output_is_low(now: u64, cval: u64, ctl in 0u32..4) {
            let timer = Timer { ctl, cval };
            if ctl != 1 {
                prop_assert!(!timer.level(now));
                prop_assert_eq!(timer.ticks_left(now), None);
            }
        }
    }
}
