// SPDX-License-Identifier: GPL-2.0

//! Counters under the eyes of another thread; the file read in pieces.

use super::*;
use inputs::prelude::*;
use std::{
    string::String,
    sync::atomic::AtomicBool,
    thread,
    vec,
    vec::Vec, //
};

const DESCRIPTORS: [Descriptor; 4] = [
    Descriptor {
        name: "count",
        kind: Kind::Count,
    },
    Descriptor {
        name: "histogram",
        kind: Kind::NanosecondsHistogram,
    },
    // As long as a name can be.
    Descriptor {
        name: "a_name_that_has_just_forty_seven_characters_x_y",
        kind: Kind::Flag,
    },
    Descriptor {
        name: "time",
        kind: Kind::Nanoseconds,
    },
];
const FILE: StatsFile = StatsFile::new(&DESCRIPTORS);
const ID: &str = "kvm-1234/vcpu-5";

fn value(statistic: usize, index: usize) -> u64 {
    (statistic as u64) << 40 | index as u64
}

fn counter(value: u64) -> Counter {
    let counter = Counter::new();
    counter.add(value);
    counter
}

#[test]
fn counters_carry() {
    let counter = counter(u64::from(u32::MAX) - 1);
    counter.count();
    assert_eq!(counter.get(), u64::from(u32::MAX));
    counter.count();
    assert_eq!(counter.get(), 1 << 32);
    counter.add((5 << 32) + u64::from(u32::MAX));
    assert_eq!(counter.get(), (6 << 32) + u64::from(u32::MAX));
    counter.add(1);
    assert_eq!(counter.get(), 7 << 32);
}

/// A reader who looks all the time sees a count that only grows, and never a half of it.
#[test]
fn counters_are_never_torn() {
    let counter = Counter::new();
    let done = AtomicBool::new(false);
    /// Nearly each step carries into the high half, and the low half tells which step it was.
    const STEP: u64 = (1 << 31) - 1;
    let steps = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut steps = 0u64;
            while !done.load(Ordering::Relaxed) {
                counter.add(STEP);
                steps += 1;
            }
            steps
        });
        let mut last = 0;
        let mut seen = 0;
        // For as long as it takes: the writer may not have a CPU yet.
        while seen < 100_000 {
            let now = counter.get();
            if now % STEP != 0 || now < last {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(now % STEP, 0, "{now:#x} is no count that there was");
            assert!(now >= last, "{now:#x} after {last:#x}");
            seen += u32::from(now != last);
            last = now;
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert_eq!(counter.get(), steps * STEP);
}

/// A writer that is preempted in the middle leaves the count that was.
#[test]
fn counters_are_whole_while_a_writer_is_preempted() {
    for start in [0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 62) + 5] {
        let counter = counter(start);
        let low = counter.low.load(Ordering::Relaxed);
        counter.prepare(low, 7);
        assert_eq!(counter.get(), start);
        counter.carry(low, 9, 7);
        assert_eq!(counter.get(), ((start >> 31) + 7 << 31) + 9);
    }
}

inputs! {
    /// Any numbers: the count is their sum.
    fn counters_add(numbers in prop::collection::vec((any::<u64>(), 2u32..64), 0..50)) {
        let counter = Counter::new();
        let mut sum = 0u64;
        for (number, shift) in numbers {
            let number = number >> shift;
            counter.add(number);
            counter.count();
            sum = sum.wrapping_add(number).wrapping_add(1) & u64::MAX >> 1;
            prop_assert_eq!(counter.get(), sum);
        }
    }
}

#[test]
fn histogram_classes() {
    let histogram = Histogram::new();
    for value in [0, 1, 2, 3, 4, 1 << 29, (1 << 30) - 1, 1 << 30, u64::MAX] {
        histogram.count(value);
    }
    let counts: Vec<u64> = (0..CLASSES).map(|class| histogram.get(class)).collect();
    let mut expected = vec![0; CLASSES];
    (expected[0], expected[1], expected[2], expected[3]) = (1, 1, 2, 1);
    (expected[30], expected[31]) = (2, 2);
    assert_eq!(counts, expected);
    assert_eq!(histogram.get(CLASSES), 0);
}

fn whole() -> Vec<u8> {
    let mut bytes = vec![0xa5; FILE.size() + 100];
    let read = FILE.read(ID, 0, &mut bytes, value);
    assert_eq!(read, FILE.size());
    assert!(bytes[read..].iter().all(|byte| *byte == 0xa5));
    bytes.truncate(read);
    bytes
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn name_at(bytes: &[u8], offset: usize) -> String {
    let name = &bytes[offset..offset + NAME_SIZE];
    let end = name.iter().position(|byte| *byte == 0).unwrap();
    assert!(name[end..].iter().all(|byte| *byte == 0));
    String::from_utf8(name[..end].to_vec()).unwrap()
}

#[test]
fn file_as_a_program_reads_it() {
    let bytes = whole();
    let header: Vec<u32> = (0..6).map(|n| u32_at(&bytes, n * 4)).collect();
    assert_eq!(header[..4], [0, 48, 4, 24]);
    let (id, descriptors, data) = (header[3], header[4] as usize, header[5] as usize);
    assert_eq!(name_at(&bytes, id as usize), ID);
    assert_eq!(data - descriptors, 4 * 64);
    let mut offset = 0;
    for (n, expected) in DESCRIPTORS.iter().enumerate() {
        let at = descriptors + n * 64;
        assert_eq!(name_at(&bytes, at + 16), expected.name);
        assert_eq!(u32_at(&bytes, at), expected.kind.flags());
        let exponent = i16::from_ne_bytes([bytes[at + 4], bytes[at + 5]]);
        assert_eq!(exponent, [0, -9, 0, -9][n]);
        let size = u16::from_ne_bytes([bytes[at + 6], bytes[at + 7]]);
        assert_eq!(usize::from(size), expected.kind.size());
        assert_eq!(u32_at(&bytes, at + 8), offset);
        assert_eq!(u32_at(&bytes, at + 12), 0);
        for index in 0..usize::from(size) {
            let at = data + offset as usize + index * 8;
            let number = u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
            assert_eq!(number, value(n, index));
        }
        offset += u32::from(size) * 8;
    }
    assert_eq!(data + offset as usize, bytes.len());
}

#[test]
fn decimal_extremes() {
    for value in [0, 9, 10, u64::MAX, 10_000_000_000_000_000_000] {
        assert_eq!(std::format!("{}", Decimal(value)), std::format!("{value}"));
    }
}

#[test]
fn nothing_behind_the_end() {
    let end = FILE.size() as u64;
    for position in [
        end,
        end + 1,
        1 << 32,
        (1 << 32) + 8,
        i64::MAX as u64,
        u64::MAX,
    ] {
        assert_eq!(FILE.read(ID, position, &mut [0; 16], value), 0);
    }
    assert_eq!(FILE.read(ID, end - 3, &mut [0; 16], value), 3);
}

#[test]
fn an_id_that_is_too_long_is_cut() {
    let long = "x".repeat(100);
    let mut bytes = vec![0; FILE.size()];
    FILE.read(&long, 0, &mut bytes, value);
    assert_eq!(name_at(&bytes, ID_OFFSET), long[..NAME_SIZE - 1]);
}

inputs! {
    fn decimal(value: u64, shift in 0u32..64) {
        let value = value >> shift;
        prop_assert_eq!(std::format!("{}", Decimal(value)), std::format!("{value}"));
        prop_assert_eq!(std::format!("{:>25}", Decimal(value)), std::format!("{value:>25}"));
    }

    /// Any piece is a piece of the whole.
    fn pieces(position in 0..FILE.size() + 20, len in 0usize..200) {
        let bytes = whole();
        let mut buffer = vec![0x5a; len];
        let read = FILE.read(ID, position as u64, &mut buffer, value);
        let start = position.min(bytes.len());
        let end = (position + len).min(bytes.len()).max(start);
        prop_assert_eq!(&buffer[..read], &bytes[start..end]);
        prop_assert!(buffer[read..].iter().all(|byte| *byte == 0x5a));
    }
}
