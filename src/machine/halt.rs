// SPDX-License-Identifier: GPL-2.0

//! How long a vCPU that waits for an interrupt looks out for one before it sleeps
//! (halt-polling.rst in the kernel's documentation).
//!
//! A thread that sleeps gives its CPU to others, and comes back late. So it first
//! stays awake for a while, its window. The window grows after a wait that was longer
//! than it, and that a larger window would have covered. It shrinks after a wait that
//! was longer than any window may be.

/// The settings, in nanoseconds and factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest window; zero for never.
    pub max: u32,
    /// The window grows by this factor; zero for never.
    pub grow: u32,
    /// The smallest window that is not zero.
    pub grow_start: u32,
    /// The window shrinks by this divisor; zero to shrink to nothing at once.
    pub shrink: u32,
}

/// The window of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollWindow(u32);

impl PollWindow {
    /// No window.
    pub const fn new() -> Self {
        Self(0)
    }

    /// How long to stay awake now, in nanoseconds.
    pub fn duration(&self, max: u32) -> u32 {
        self.0.min(max)
    }

    /// Learns from a wait of so many nanoseconds, asleep or not.
    pub fn learn(&mut self, waited: u64, limits: &Limits) {
        let window = self.duration(limits.max);
        self.0 = if waited <= window.into() {
            window
        } else if waited > limits.max.into() {
            Self::shrunk(window, limits)
        } else if window < limits.max {
            Self::grown(window, limits)
        } else {
            window
        };
    }

    fn grown(window: u32, limits: &Limits) -> u32 {
        if limits.grow == 0 {
            return window;
        }
        window
            .saturating_mul(limits.grow)
            .max(limits.grow_start)
            .min(limits.max)
    }

    fn shrunk(window: u32, limits: &Limits) -> u32 {
        match window.checked_div(limits.shrink) {
            Some(smaller) if smaller >= limits.grow_start => smaller,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    const LIMITS: Limits = Limits {
        max: 200_000,
        grow: 2,
        grow_start: 10_000,
        shrink: 2,
    };

    /// The windows after each of some waits.
    fn after<const N: usize>(waits: [u64; N], limits: &Limits) -> [u32; N] {
        let mut window = PollWindow::new();
        waits.map(|waited| {
            window.learn(waited, limits);
            window.duration(limits.max)
        })
    }

    #[test]
    fn grows_to_what_is_needed() {
        assert_eq!(
            after([50_000; 6], &LIMITS),
            [10_000, 20_000, 40_000, 80_000, 80_000, 80_000]
        );
        assert_eq!(
            after([150_000; 7], &LIMITS),
            [10_000, 20_000, 40_000, 80_000, 160_000, 160_000, 160_000]
        );
    }

    #[test]
    fn no_longer_than_allowed() {
        assert_eq!(
            after([199_999; 7], &LIMITS),
            [10_000, 20_000, 40_000, 80_000, 160_000, 200_000, 200_000]
        );
        assert_eq!(after([300_000; 3], &LIMITS), [0; 3]);
    }

    #[test]
    fn shrinks_when_waits_are_long() {
        let waits = [
            150_000,
            150_000,
            150_000,
            1 << 40,
            1 << 40,
            1 << 40,
            1 << 40,
        ];
        assert_eq!(
            after(waits, &LIMITS),
            [10_000, 20_000, 40_000, 20_000, 10_000, 0, 0]
        );
        let at_once = Limits {
            shrink: 0,
            ..LIMITS
        };
        assert_eq!(
            after([150_000, 150_000, u64::MAX], &at_once),
            [10_000, 20_000, 0]
        );
    }

    #[test]
    fn switched_off() {
        let off = Limits { max: 0, ..LIMITS };
        assert_eq!(after([0, 1, 50_000, u64::MAX], &off), [0; 4]);
        let fixed = Limits { grow: 0, ..LIMITS };
        assert_eq!(after([50_000; 3], &fixed), [0; 3]);
        let mut window = PollWindow::new();
        window.learn(50_000, &LIMITS);
        assert_eq!(window.duration(4_000), 4_000);
        window.learn(50_000, &off);
        assert_eq!(window, PollWindow::new());
    }

    inputs! {
        fn within_limits(
            waits: [u64; 16],
            max: u32,
            grow: u32,
            grow_start: u32,
            shrink: u32,
        ) {
            let limits = Limits { max, grow, grow_start, shrink };
            for window in after(waits, &limits) {
                prop_assert!(window <= max);
            }
        }
    }
}
