// SPDX-License-Identifier: GPL-2.0

//! Operations that are repeated in batches. The median batch counts: now and then the host does something
//! for itself, such as a tick, which hits some batches and not others.

use core::hint::black_box;

use crate::{Counts, Event};

/// The counter's tick of 16 ns is 16 instructions under QEMU's `-icount shift=0`.
pub const INSTRUCTIONS_PER_TICK: u64 = 16;
/// The usual number of batches, and of an operation's rounds in each.
pub const BATCHES: usize = 17;
/// See [`BATCHES`].
pub const ROUNDS: u32 = 32;
/// Batches of a sleep. A sleep is a batch by itself: while the CPU is idle, the host finds much to do for
/// itself.
pub const SLEEPS: usize = 65;

/// The virtual counter, which kernels let programs read.
#[cfg(target_arch = "arm")]
#[inline(always)]
pub fn counter() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads CNTVCT.
    unsafe {
        core::arch::asm!(
            "isb",
            "mrrc p15, 1, {}, {}, c14",
            out(reg) low,
            out(reg) high,
            options(nostack)
        )
    };
    (u64::from(high) << 32) | u64::from(low)
}

/// On a developer's machine there is nothing to measure.
#[cfg(not(target_arch = "arm"))]
pub fn counter() -> u64 {
    0
}

/// The cost of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Ticks of the virtual counter.
    pub ticks: u64,
    /// Events of each kind.
    pub events: Counts,
}

impl Batch {
    /// No cost.
    pub const NONE: Self = Self {
        ticks: 0,
        events: Counts::NONE,
    };

    /// The cost of some work.
    #[inline(always)]
    pub fn of<E>(work: impl FnOnce() -> Result<(), E>) -> Result<Self, E> {
        // The events around the counter, so that the ticks are those of the work alone.
        let before = Counts::now();
        let start = counter();
        work()?;
        let ticks = counter().wrapping_sub(start);
        let events = Counts::now().since(&before);
        Ok(Self { ticks, events })
    }
}

/// The middle one of some values.
fn median<const N: usize>(mut values: [u64; N]) -> u64 {
    values.sort_unstable();
    values.get(N / 2).copied().unwrap_or(0)
}

/// The median batch: in ticks, and of each kind of events the number in the batch that is the median by
/// that number.
pub fn medians<const N: usize>(batches: &[Batch; N]) -> Batch {
    let mut all = Batch {
        ticks: median(batches.each_ref().map(|batch| batch.ticks)),
        events: Counts::NONE,
    };
    for event in Event::ALL {
        let of_event = batches.each_ref().map(|batch| batch.events.of(event));
        all.events.0[event as usize] = median(of_event);
    }
    all
}

/// The cost of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Instructions of one round, by the counter of time. Where CPUs sleep, their sleep is in it.
    pub instructions: u64,
    /// The events of all rounds of a batch.
    pub events: Counts,
    /// The number of rounds of a batch.
    pub rounds: u32,
}

impl Total {
    /// The cost by batches of so many rounds, and by batches of what is around the operation.
    pub fn new<const N: usize>(batches: &[Batch; N], around: &[Batch; N], rounds: u32) -> Self {
        let (all, around) = (medians(batches), medians(around));
        let mut events = all.events;
        for (count, around) in events.0.iter_mut().zip(around.events.0) {
            *count = count.saturating_sub(around);
        }
        let ticks = all.ticks.saturating_sub(around.ticks);
        let half = u64::from(rounds) / 2;
        Self {
            instructions: (ticks * INSTRUCTIONS_PER_TICK + half) / u64::from(rounds.max(1)),
            events,
            rounds,
        }
    }
}

/// The cost of an operation in `N` batches of so many rounds, without the loop around it. `settle` is done
/// before each batch, `prepare` before each batch of the operation.
#[inline(always)]
pub fn measure<const N: usize, E>(
    rounds: u32,
    settle: impl Fn(),
    mut prepare: impl FnMut(),
    mut operation: impl FnMut(u32) -> Result<(), E>,
) -> Result<Total, E> {
    let (mut batches, mut around) = ([Batch::NONE; N], [Batch::NONE; N]);
    for (n, (batch, around)) in batches.iter_mut().zip(&mut around).enumerate() {
        // The loop around is measured as often, since an interrupt may hit it as well.
        settle();
        *around = Batch::of(|| {
            for round in 0..rounds {
                black_box(round);
            }
            Ok(())
        })?;
        settle();
        prepare();
        *batch = Batch::of(|| {
            for round in 0..rounds {
                operation(black_box(n as u32 * rounds + round))?;
            }
            Ok(())
        })?;
    }
    Ok(Total::new(&batches, &around, rounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ticks: u64, barriers: u64) -> Batch {
        let mut batch = Batch {
            ticks,
            ..Batch::NONE
        };
        batch.events.0[Event::Dmb as usize] = barriers;
        batch
    }

    #[test]
    fn each_figure_has_its_own_median() {
        let all = medians(&[batch(5, 100), batch(900, 3), batch(6, 4)]);
        assert_eq!(all, batch(6, 4));
        assert_eq!(medians::<0>(&[]), Batch::NONE);
    }

    #[test]
    fn what_is_around_does_not_count() {
        let total = Total::new(&[batch(101, 64)], &[batch(1, 70)], 32);
        assert_eq!(total.instructions, 50);
        assert_eq!(total.events.of(Event::Dmb), 0);
    }

    #[test]
    fn rounds_have_different_numbers() {
        let mut seen = [0; 6];
        let settled = core::cell::Cell::new(0);
        let mut prepared = 0;
        let total = measure::<3, ()>(
            2,
            || settled.set(settled.get() + 1),
            || prepared += 1,
            |round| {
                seen[round as usize] += 1;
                Ok(())
            },
        );
        assert_eq!(total.map(|total| total.rounds), Ok(2));
        assert_eq!((seen, settled.get(), prepared), ([1; 6], 6, 3));
    }

    #[test]
    fn a_failure_ends_it() {
        assert_eq!(measure::<3, _>(2, || {}, || {}, |_| Err("no")), Err("no"));
    }
}
