// SPDX-License-Identifier: GPL-2.0

//! Numbers that are the same in each run with the same seed.

/// A sequence of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence that belongs to some numbers, such as a seed, a thread and a step.
    pub(crate) fn of(numbers: &[u64]) -> Self {
        let mut random = Self(0);
        for number in numbers {
            random.0 = random.long() ^ number;
        }
        random.long();
        random
    }

    /// The next 64 bits.
    pub(crate) fn long(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next 32 bits.
    pub(crate) fn word(&mut self) -> u32 {
        (self.long() >> 32) as u32
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.word()) * end as u64) >> 32) as usize
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn per_mille(&mut self, times: usize) -> bool {
        self.below(1000) < times
    }

    /// One of some values.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number that is near a limit, or any.
    pub(crate) fn number(&mut self) -> u64 {
        const LIMITS: [u64; 24] = [
            0,
            1,
            2,
            3,
            4,
            7,
            8,
            15,
            31,
            32,
            63,
            64,
            255,
            511,
            512,
            1019,
            1023,
            4095,
            4096,
            0xffff,
            0x7fff_ffff,
            0xffff_ffff,
            1 << 40,
            u64::MAX,
        ];
        match self.below(8) {
            0..4 => self.one(&LIMITS),
            4 => self.one(&LIMITS).wrapping_add(1),
            5 => 1 << self.below(64),
            6 => u64::from(self.word()),
            _ => self.long(),
        }
    }
}
