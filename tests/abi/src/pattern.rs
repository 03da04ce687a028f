// SPDX-License-Identifier: GPL-2.0

//! A program for Linux guests: fills memory with a pattern from a seed, keeps rewriting parts of
//! it, and finds all of it again.
//!
//! The content of every page follows from the seed, its index and the number of its rewrites; that
//! number is kept elsewhere. So a page that is stale, another's or nobody's is recognised. One
//! mebibyte in eight is the same in all guests, for all seeds, so that the host can merge it. Most
//! pages hold only one word, so that the rest can be compressed: else a host that swaps to zram
//! would gain nothing.

use std::fmt::Write;
use std::io;
use std::process::ExitCode;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The argument that makes this program do that, as lines on its standard input tell it: seed and
/// mebibytes follow.
pub(crate) const PATTERN: &str = "--pattern";

const WORDS: usize = 1024;
/// Words of a page that are like no others. The page repeats them, except the first.
const PERIOD: usize = 128;
/// Pages in a mebibyte.
const MEBIBYTE: usize = 256;

/// The orders for the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    /// Leave the memory alone: `rest`.
    Rest,
    /// Find all of it once more, and end: any other line, or none.
    Finish,
}

struct Orders {
    last: Mutex<Order>,
    changed: Condvar,
}

impl Orders {
    const fn new(first: Order) -> Self {
        Self {
            last: Mutex::new(first),
            changed: Condvar::new(),
        }
    }

    fn give(&self, order: Order) {
        *self.last.lock().unwrap() = order;
        self.changed.notify_all();
    }

    /// The last one that is not to rest.
    fn now(&self) -> Order {
        let last = self.last.lock().unwrap();
        let is_rest = |order: &mut Order| *order == Order::Rest;
        *self.changed.wait_while(last, is_rest).unwrap()
    }
}

#[repr(align(4096))]
struct Page([u32; WORDS]);

/// The pages of one CPU.
struct Part {
    /// The index of the first.
    start: usize,
    pages: Vec<Page>,
    /// How often each was rewritten.
    generations: Vec<u32>,
}

/// Mixes the bits of a word such that each depends on all.
fn mix(word: u32) -> u32 {
    let word = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    let word = (word ^ (word >> 15)).wrapping_mul(0x846c_a68b);
    word ^ (word >> 16)
}

fn mix_all(words: [u32; 3]) -> u32 {
    words
        .into_iter()
        .fold(0x9e37_79b9, |sum, word| mix(sum.rotate_left(5) ^ word))
}

/// The content of the pages of a guest.
#[derive(Clone, Copy)]
struct Plan {
    seed: u32,
}

impl Plan {
    /// The seed and the index that decide on a page: those of the same mebibyte in eight are the
    /// same for all guests, and there are not many different ones.
    fn origin(self, index: usize) -> (u32, u32) {
        if index / MEBIBYTE % 8 == 7 {
            (0, index as u32 % 64)
        } else {
            (self.seed, index as u32)
        }
    }

    fn key(self, index: usize, generation: u32) -> u32 {
        let (seed, index) = self.origin(index);
        mix_all([seed, index, generation])
    }

    /// Whether a page is rewritten in a round: one in four is, of those for KSM one in sixteen.
    fn changes(self, index: usize, round: u32) -> bool {
        let (seed, index) = self.origin(index);
        let one_in = if seed == 0 { 16 } else { 4 };
        mix_all([!seed, index, round]) % one_in == 0
    }
}

/// The words of a page with that key. Of most keys all are the same.
fn contents(key: u32) -> impl Iterator<Item = u32> {
    let is_flat = key % 8 != 0;
    let mut word = key;
    let period: [u32; PERIOD] = std::array::from_fn(|_| {
        if !is_flat {
            word = word.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        }
        word
    });
    (0..WORDS).map(move |at| {
        let word = period[at % PERIOD];
        if !is_flat && at % PERIOD == 0 {
            word.wrapping_add(at as u32)
        } else {
            word
        }
    })
}

fn fill(page: &mut Page, key: u32) {
    for (word, expected) in page.0.iter_mut().zip(contents(key)) {
        *word = expected;
    }
}

fn holds(page: &Page, key: u32) -> bool {
    page.0.iter().copied().eq(contents(key))
}

/// Reports a page with a wrong content, with all facts that may help to find the reason.
fn mismatch(plan: Plan, page: &Page, index: usize, generation: u32, round: u32) -> String {
    let expected: Vec<u32> = contents(plan.key(index, generation)).collect();
    let found = page.0;
    let wrong: Vec<usize> = (0..WORDS)
        .filter(|at| found[*at] != expected[*at])
        .collect();
    let mut text = format!(
        "MISMATCH in page {index} at {page:p}, round {round}, generation {generation}: {} words",
        wrong.len(),
        page = &raw const *page,
    );
    if let (Some(first), Some(last)) = (wrong.first(), wrong.last()) {
        let _ = write!(
            text,
            ", from word {first} ({:#010x} instead of {:#010x}) to word {last} ({:#010x} instead of {:#010x})",
            found[*first], expected[*first], found[*last], expected[*last]
        );
    }
    if found == [0; WORDS] {
        text += "; it is zero";
    }
    if let Some(old) = (0..generation)
        .rev()
        .find(|old| found.iter().copied().eq(contents(plan.key(index, *old))))
    {
        let _ = write!(text, "; it is as of generation {old}");
    }
    text += if holds(std::hint::black_box(page), plan.key(index, generation)) {
        "; now it is right"
    } else {
        "; it stays wrong"
    };
    text
}

impl Part {
    fn fill(&mut self, plan: Plan, orders: &Orders) {
        let end = self.start + self.generations.len();
        self.pages.extend((self.start..end).map(|index| {
            orders.now();
            let mut page = Page([0; WORDS]);
            fill(&mut page, plan.key(index, 0));
            page
        }));
    }

    /// Verifies all pages and rewrites some.
    fn go_through(&mut self, plan: Plan, round: u32, orders: &Orders) -> Result<(), String> {
        let count = self.pages.len();
        for step in 0..count {
            orders.now();
            // Forwards and backwards in turn: each pass begins with the part that was used last.
            let at = if round % 2 == 0 {
                step
            } else {
                count - 1 - step
            };
            let index = self.start + at;
            let (page, generation) = (&mut self.pages[at], &mut self.generations[at]);
            if !holds(page, plan.key(index, *generation)) {
                return Err(mismatch(plan, page, index, *generation, round));
            }
            if plan.changes(index, round) {
                *generation += 1;
                fill(page, plan.key(index, *generation));
            }
        }
        Ok(())
    }
}

/// Lets threads do something with all parts.
fn on_all(
    parts: &mut [Part],
    work: impl Fn(&mut Part) -> Result<(), String> + Sync,
) -> Result<(), String> {
    thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter_mut()
            .map(|part| scope.spawn(|| work(part)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
            .fold(Ok(()), Result::and)
    })
}

/// Goes on until it is told to finish, and then to the end of the round, and of another one.
fn run(seed: u32, mib: usize, orders: &Orders) -> Result<(u32, Duration), String> {
    let plan = Plan { seed };
    let start = Instant::now();
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let count = mib * MEBIBYTE / cpus;
    let mut parts: Vec<Part> = (0..cpus)
        .map(|cpu| Part {
            start: cpu * count,
            pages: Vec::with_capacity(count),
            generations: vec![0; count],
        })
        .collect();
    on_all(&mut parts, |part| {
        part.fill(plan, orders);
        Ok(())
    })?;
    println!(
        "guest: {mib} MiB filled from seed {seed} in {} s",
        start.elapsed().as_secs()
    );
    let mut round = 0;
    loop {
        let is_last = orders.now() == Order::Finish;
        on_all(&mut parts, |part| part.go_through(plan, round, orders))?;
        round += 1;
        println!("guest: round {round} verified");
        if is_last {
            return Ok((round, start.elapsed()));
        }
    }
}

/// Runs the program.
pub(crate) fn main(seed: &str, mib: &str) -> ExitCode {
    let (Ok(seed @ 1..), Ok(mib)) = (seed.parse(), mib.parse()) else {
        eprintln!("{PATTERN} wants a seed that is not 0, and a number of MiB");
        return ExitCode::FAILURE;
    };
    static ORDERS: Orders = Orders::new(Order::GoOn);
    thread::spawn(|| {
        let lines = io::stdin().lines().map_while(Result::ok);
        for _ in lines.take_while(|line| line == "rest") {
            println!("guest: at rest");
            ORDERS.give(Order::Rest);
        }
        ORDERS.give(Order::Finish);
    });
    match run(seed, mib, &ORDERS) {
        Ok((rounds, time)) => {
            println!("guest: {rounds} rounds verified in {} s", time.as_secs());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("guest: {why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_word_is_found_and_told() {
        let plan = Plan { seed: 7 };
        let mut page = Box::new(Page([0; WORDS]));
        for word in [0, 1, 127, 128, 1023] {
            fill(&mut page, plan.key(3, 5));
            assert!(holds(&page, plan.key(3, 5)));
            page.0[word] ^= 0x100;
            assert!(!holds(&page, plan.key(3, 5)));
            let text = mismatch(plan, &page, 3, 5, 9);
            assert!(text.contains(&format!("from word {word} ")), "{text}");
            assert!(text.contains(": 1 words"), "{text}");
        }
        fill(&mut page, plan.key(3, 4));
        assert!(mismatch(plan, &page, 3, 5, 9).contains("as of generation 4"));
        page.0.fill(0);
        assert!(mismatch(plan, &page, 3, 5, 9).contains("it is zero"));
    }

    #[test]
    fn guests_share_an_eighth() {
        let (one, other) = (Plan { seed: 1 }, Plan { seed: 2 });
        let count = 64 * MEBIBYTE;
        let shared = (0..count).filter(|index| one.key(*index, 0) == other.key(*index, 0));
        assert_eq!(shared.count(), count / 8);
    }

    #[test]
    fn rounds_go_through() {
        let orders = Orders::new(Order::Finish);
        assert!(matches!(run(3, 9, &orders), Ok((1, _))));
        let orders = Orders::new(Order::Rest);
        thread::scope(|scope| {
            let result = scope.spawn(|| run(3, 9, &orders));
            orders.give(Order::GoOn);
            orders.give(Order::Rest);
            orders.give(Order::Finish);
            assert!(matches!(result.join().unwrap(), Ok((1.., _))));
        });
    }
}
