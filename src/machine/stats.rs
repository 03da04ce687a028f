// SPDX-License-Identifier: GPL-2.0

//! Statistics: counters that one thread writes and any thread reads, and the file from which user
//! space reads them (KVM's api.rst 4.133).
//!
//! A vCPU counts on its way out of the guest, so a counter must cost next to nothing there: no
//! read-modify-write of an atomic, no lock. On a 32-bit machine a count of 64 bits then needs care,
//! since a reader may come between its halves.

use core::{
    fmt, hint, str,
    sync::atomic::{
        fence,
        AtomicU32,
        Ordering, //
    },
};

/// A count of 63 bits.
///
/// One thread at a time may write; if two do, counts are lost, and nothing else happens. Readers
/// never see halves of different counts, and never wait for a writer that was preempted.
///
/// # Invariants
///
/// The low word's topmost bit tells which of the two high words goes with its other 31 bits. A
/// writer that carries fills the high word that does not count, and makes it count by the same
/// store that changes the low word.
#[derive(Debug, Default)]
pub struct Counter {
    low: AtomicU32,
    high: [AtomicU32; 2],
}

/// The bit of a low word that tells which high word goes with it.
const SELECT: u32 = 1 << LOW_BITS;
/// How many bits of a count are in the low word.
const LOW_BITS: u32 = 31;

impl Counter {
    /// A count of zero.
    pub const fn new() -> Self {
        Self {
            low: AtomicU32::new(0),
            high: [AtomicU32::new(0), AtomicU32::new(0)],
        }
    }

    /// Counts one.
    #[inline]
    pub fn count(&self) {
        let low = self.low.load(Ordering::Relaxed);
        let next = low.wrapping_add(1);
        if next & !SELECT == 0 {
            self.carry(low, 0, 1);
        } else {
            self.low.store(next, Ordering::Relaxed);
        }
    }

    /// Adds a number. Bits of the sum above the 63rd are lost.
    #[inline]
    pub fn add(&self, number: u64) {
        let low = self.low.load(Ordering::Relaxed);
        // Both numbers are below 2^31, so their sum does not overflow.
        let sum = (low & !SELECT) + (number as u32 & !SELECT);
        let high = ((number >> LOW_BITS) as u32).wrapping_add(sum >> LOW_BITS);
        if high != 0 {
            self.carry(low, sum & !SELECT, high);
        } else {
            self.low.store(low & SELECT | sum, Ordering::Relaxed);
        }
    }

    /// The high word that goes with a low word.
    fn high(&self, low: u32) -> &AtomicU32 {
        let [first, second] = &self.high;
        if low & SELECT == 0 {
            first
        } else {
            second
        }
    }

    /// Takes the count from a low word to another whose high word is larger.
    #[cold]
    fn carry(&self, low: u32, bits: u32, more: u32) {
        self.prepare(low, more);
        // This store makes the high word count, so it comes after the store of that word.
        self.low.store(!low & SELECT | bits, Ordering::Release);
    }

    /// Fills the high word that does not go with a low word.
    fn prepare(&self, low: u32, more: u32) {
        let high = self.high(low).load(Ordering::Relaxed).wrapping_add(more);
        // A reader that sees the store below also sees the earlier store to the low word, the one
        // that took this high word out of use.
        fence(Ordering::Release);
        self.high(!low).store(high, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        /// The number of tries. A count is torn only if a writer wrote during each of these tries,
        /// and carried twice during the last.
        const TRIES: u32 = 1000;
        let mut count = 0;
        for _ in 0..TRIES {
            let low = self.low.load(Ordering::Acquire);
            let high = self.high(low).load(Ordering::Relaxed);
            count = u64::from(high) << LOW_BITS | u64::from(low & !SELECT);
            fence(Ordering::Acquire);
            if self.low.load(Ordering::Relaxed) == low {
                break;
            }
            hint::spin_loop();
        }
        count
    }
}

/// How many classes a [`Histogram`] has.
pub const CLASSES: usize = 32;

/// The number of values of each power of two. Class 0 counts zeros, class n counts values from
/// 2^(n - 1) to 2^n - 1, and the last class counts all larger values, too.
#[derive(Debug, Default)]
pub struct Histogram([Counter; CLASSES]);

impl Histogram {
    /// A histogram without values.
    pub const fn new() -> Self {
        Self([const { Counter::new() }; CLASSES])
    }

    /// Counts a value.
    pub fn count(&self, value: u64) {
        let class = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(counter) = self.0.get(class.min(CLASSES - 1)) {
            counter.count();
        }
    }

    /// The number of values of a class.
    pub fn get(&self, class: usize) -> u64 {
        self.0.get(class).map_or(0, Counter::get)
    }
}

/// A number to be shown in decimal.
///
/// The kernel of a 32-bit machine has no division of 64-bit numbers for Rust: `core`'s own way to
/// show a `u64` in decimal ends in an undefined instruction.
#[derive(Clone, Copy, Debug)]
pub struct Decimal(pub u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The limbs have 16 bits each, the most significant first.
        let mut limbs = [48, 32, 16, 0].map(|shift| (self.0 >> shift) as u32 & 0xffff);
        let mut text = [b'0'; 20];
        let mut digits = 0;
        for place in text.iter_mut().rev() {
            let mut rest = 0;
            for limb in &mut limbs {
                let value = rest << 16 | *limb;
                *limb = value / 10;
                rest = value % 10;
            }
            *place = b'0' + rest as u8;
            digits += 1;
            if limbs == [0; 4] {
                break;
            }
        }
        let shown = text.get(text.len() - digits..).unwrap_or(&text);
        f.pad_integral(true, "", str::from_utf8(shown).map_err(|_| fmt::Error)?)
    }
}

/// The meaning of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How often something happened.
    Count,
    /// The nanoseconds that something lasted, in all.
    Nanoseconds,
    /// A [`Histogram`] of nanoseconds.
    NanosecondsHistogram,
    /// Whether something is so now.
    Flag,
}

impl Kind {
    /// `KVM_STATS_TYPE_*`, `KVM_STATS_UNIT_*` and `KVM_STATS_BASE_POW10`, which is 0.
    pub const fn flags(self) -> u32 {
        /// KVM_STATS_TYPE_INSTANT; KVM_STATS_TYPE_CUMULATIVE is 0.
        const INSTANT: u32 = 1;
        const LOG_HIST: u32 = 4;
        const SECONDS: u32 = 2 << 4;
        const BOOLEAN: u32 = 4 << 4;
        match self {
            Self::Count => 0,
            Self::Nanoseconds => SECONDS,
            Self::NanosecondsHistogram => LOG_HIST | SECONDS,
            Self::Flag => INSTANT | BOOLEAN,
        }
    }

    /// The power of ten of the unit.
    const fn exponent(self) -> i16 {
        match self {
            Self::Nanoseconds | Self::NanosecondsHistogram => -9,
            Self::Count | Self::Flag => 0,
        }
    }

    /// The number of numbers in a value.
    pub const fn size(self) -> usize {
        match self {
            Self::NanosecondsHistogram => CLASSES,
            _ => 1,
        }
    }
}

/// A statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name, shorter than [`NAME_SIZE`].
    pub name: &'static str,
    /// The meaning of its value.
    pub kind: Kind,
}

/// Bytes of a name, with the zero at its end.
pub const NAME_SIZE: usize = 48;

const WORD: usize = size_of::<u64>();
/// `struct kvm_stats_header`.
const HEADER_WORDS: usize = 3;
const NAME_WORDS: usize = NAME_SIZE / WORD;
/// `struct kvm_stats_desc` without the name.
const DESCRIPTOR_HEAD_WORDS: usize = 2;
const DESCRIPTOR_WORDS: usize = DESCRIPTOR_HEAD_WORDS + NAME_WORDS;
const ID_OFFSET: usize = HEADER_WORDS * WORD;
const DESCRIPTORS_OFFSET: usize = ID_OFFSET + NAME_SIZE;

/// The contents of the file: a header, a string that names the VM or vCPU, descriptors, and data,
/// one behind the other. All consist of words of eight bytes.
#[derive(Clone, Copy, Debug)]
pub struct StatsFile {
    descriptors: &'static [Descriptor],
}

impl StatsFile {
    /// The file of some statistics. The values have the order of the descriptors.
    pub const fn new(descriptors: &'static [Descriptor]) -> Self {
        Self { descriptors }
    }

    /// The statistics.
    pub const fn descriptors(&self) -> &'static [Descriptor] {
        self.descriptors
    }

    const fn data_offset(&self) -> usize {
        DESCRIPTORS_OFFSET + self.descriptors.len() * DESCRIPTOR_WORDS * WORD
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> usize {
        let values: usize = self.descriptors.iter().map(|d| d.kind.size()).sum();
        self.data_offset() + values * WORD
    }

    /// Reads from `position` on. The result is the number of bytes read.
    ///
    /// `value` gives a number, by the index of its statistic and the index of the number in that.
    pub fn read(
        &self,
        id: &str,
        position: u64,
        buffer: &mut [u8],
        value: impl Fn(usize, usize) -> u64,
    ) -> usize {
        let Ok(position) = usize::try_from(position) else {
            return 0;
        };
        let left = self.size().saturating_sub(position);
        let mut rest = buffer.iter_mut().take(left);
        let mut done = 0;
        let mut index = position / WORD;
        let mut skip = position % WORD;
        while rest.len() != 0 {
            let word = self.word(id, index, &value);
            for (to, from) in rest.by_ref().take(WORD - skip).zip(word.iter().skip(skip)) {
                *to = *from;
                done += 1;
            }
            index += 1;
            skip = 0;
        }
        done
    }

    /// A word of the file. Words behind the end are zero.
    fn word(&self, id: &str, index: usize, value: impl Fn(usize, usize) -> u64) -> [u8; WORD] {
        if let Some(index) = index.checked_sub(self.data_offset() / WORD) {
            return self.data(index, value).to_ne_bytes();
        }
        if let Some(index) = index.checked_sub(DESCRIPTORS_OFFSET / WORD) {
            return self.descriptor(index / DESCRIPTOR_WORDS, index % DESCRIPTOR_WORDS);
        }
        match index {
            // Flags, the size of names.
            0 => pair(0, NAME_SIZE as u32),
            1 => pair(self.descriptors.len() as u32, ID_OFFSET as u32),
            2 => pair(DESCRIPTORS_OFFSET as u32, self.data_offset() as u32),
            index => text(id, index - HEADER_WORDS),
        }
    }

    fn descriptor(&self, number: usize, index: usize) -> [u8; WORD] {
        let Some(descriptor) = self.descriptors.get(number) else {
            return [0; WORD];
        };
        let kind = descriptor.kind;
        match index {
            0 => {
                let [a, b] = kind.exponent().to_ne_bytes();
                let [c, d] = (kind.size() as u16).to_ne_bytes();
                pair(kind.flags(), u32::from_ne_bytes([a, b, c, d]))
            }
            1 => {
                // The offset into the data. The second number is for linear histograms only.
                let before = self.descriptors.iter().take(number);
                let offset: usize = before.map(|d| d.kind.size() * WORD).sum();
                pair(offset as u32, 0)
            }
            index => text(descriptor.name, index - DESCRIPTOR_HEAD_WORDS),
        }
    }

    fn data(&self, index: usize, value: impl Fn(usize, usize) -> u64) -> u64 {
        let mut index = index;
        for (number, descriptor) in self.descriptors.iter().enumerate() {
            match index.checked_sub(descriptor.kind.size()) {
                Some(behind) => index = behind,
                None => return value(number, index),
            }
        }
        0
    }
}

/// Two numbers in a word, in the order of memory.
fn pair(first: u32, second: u32) -> [u8; WORD] {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

/// A word of a name. At least one zero follows the name.
fn text(name: &str, index: usize) -> [u8; WORD] {
    let mut word = [0; WORD];
    let bytes = name.bytes().take(NAME_SIZE - 1).skip(index * WORD);
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = from;
    }
    word
}

#[cfg(test)]
mod tests;
