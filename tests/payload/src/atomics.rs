// SPDX-License-Identifier: GPL-2.0

//! Algorithms without locks, and locks, of all CPUs at once on shared memory: exclusive loads and
//! stores and barriers keep their promises on all host CPUs.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::check::{ensure, ensure_eq, Outcome};
use crate::smp::{self, Barrier};
use crate::timer::{self, Deadline, MILLISECOND};
use crate::vfp::exit_often;

/// How long each is done.
const TIME: u64 = 150 * MILLISECOND;

static GO: Barrier = Barrier::new();
static NARROW: AtomicU32 = AtomicU32::new(0);
static WIDE: AtomicU64 = AtomicU64::new(0);
/// The work of the CPUs, for the sum at the end.
static EXPECTED: AtomicU32 = AtomicU32::new(0);

/// Counting together, in 32 and 64 bits (LDREX, LDREXD).
pub(crate) fn counters() -> Outcome {
    NARROW.store(0, Ordering::SeqCst);
    WIDE.store(0, Ordering::SeqCst);
    EXPECTED.store(0, Ordering::SeqCst);
    smp::on_all(|_| {
        GO.wait()?;
        let end = Deadline::after(TIME);
        let mut count = 0;
        while !end.is_over() {
            for _ in 0..100 {
                NARROW.fetch_add(1, Ordering::Relaxed);
                WIDE.fetch_add(0x1_0000_0001, Ordering::Relaxed);
            }
            count += 100;
            if count % 10_000 == 0 {
                exit_often(1);
            }
        }
        EXPECTED.fetch_add(count, Ordering::SeqCst);
        Ok(())
    })?;
    let expected = EXPECTED.load(Ordering::SeqCst);
    ensure_eq(NARROW.load(Ordering::SeqCst), expected, "32 bits", 0)?;
    let wide = WIDE.load(Ordering::SeqCst);
    ensure_eq(wide as u32, expected, "64 bits, the lower half", 0)?;
    ensure_eq((wide >> 32) as u32, expected, "64 bits, the upper half", 0)
}

/// A lock that is given in the order of the requests, and the value that it protects.
struct TicketLock {
    next: AtomicU32,
    serving: AtomicU32,
    data: UnsafeCell<[u32; 16]>,
}

// SAFETY: The data is used by who is served.
unsafe impl Sync for TicketLock {}

static LOCK: TicketLock = TicketLock {
    next: AtomicU32::new(0),
    serving: AtomicU32::new(0),
    data: UnsafeCell::new([0; 16]),
};

impl TicketLock {
    fn with<T>(&self, f: impl FnOnce(&mut [u32; 16]) -> T) -> Result<T, crate::check::Failure> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let served = timer::wait_long(|| self.serving.load(Ordering::Acquire) == ticket);
        ensure(served, "the lock is never given", [
            ticket,
            self.serving.load(Ordering::Relaxed),
            self.next.load(Ordering::Relaxed),
        ])?;
        // SAFETY: We are served, and nobody else until the store below.
        let result = f(unsafe { &mut *self.data.get() });
        self.serving.store(ticket.wrapping_add(1), Ordering::Release);
        Ok(result)
    }
}

/// Words that change together under a ticket lock.
pub(crate) fn ticket_lock() -> Outcome {
    LOCK.with(|data| *data = [0; 16])?;
    EXPECTED.store(0, Ordering::SeqCst);
    smp::on_all(|cpu| {
        GO.wait()?;
        let end = Deadline::after(TIME);
        let mut count = 0;
        while !end.is_over() {
            LOCK.with(|data| {
                let first = data[0];
                for (place, word) in (0..).zip(data.iter_mut()) {
                    ensure_eq(*word, first, "words under the lock differ", place)?;
                    *word += 1;
                    if place == 7 && count % 64 == cpu as u32 {
                        exit_often(1);
                    }
                }
                Ok(())
            })??;
            count += 1;
        }
        EXPECTED.fetch_add(count, Ordering::SeqCst);
        Ok(())
    })?;
    let total = LOCK.with(|data| data[15])?;
    ensure_eq(total, EXPECTED.load(Ordering::SeqCst), "how often the lock was given", 0)
}

const NODES: usize = 64;
const NONE: u32 = 0xffff;

/// A stack of nodes, by their numbers; the upper half of the top counts changes.
struct Stack {
    top: AtomicU32,
    next: [AtomicU32; NODES],
    /// The contents of a node, and their sum.
    data: [[AtomicU32; 2]; NODES],
}

static STACK: Stack = Stack {
    top: AtomicU32::new(NONE),
    next: [const { AtomicU32::new(NONE) }; NODES],
    data: [const { [const { AtomicU32::new(0) }; 2] }; NODES],
};

impl Stack {
    fn push(&self, node: usize) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            self.next[node].store(top & 0xffff, Ordering::Relaxed);
            let new = (top & 0xffff_0000).wrapping_add(0x1_0000) | node as u32;
            match self
                .top
                .compare_exchange_weak(top, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    fn pop(&self) -> Option<usize> {
        let mut top = self.top.load(Ordering::Acquire);
        loop {
            let node = (top & 0xffff) as usize;
            let next = self.next.get(node)?.load(Ordering::Relaxed);
            let new = (top & 0xffff_0000).wrapping_add(0x1_0000) | next;
            match self
                .top
                .compare_exchange_weak(top, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(node),
                Err(now) => top = now,
            }
        }
    }
}

fn checksum(value: u32) -> u32 {
    value.rotate_left(7).wrapping_mul(0x9e37_79b9) ^ 0x5a5a_5a5a
}

/// Nodes with a checksum go round through a Treiber stack; none is lost or in two hands.
pub(crate) fn stack() -> Outcome {
    STACK.top.store(NONE, Ordering::SeqCst);
    for (node, data) in STACK.data.iter().enumerate() {
        data[0].store(0, Ordering::Relaxed);
        data[1].store(checksum(0), Ordering::Relaxed);
        STACK.push(node);
    }
    EXPECTED.store(0, Ordering::SeqCst);
    smp::on_all(|_| {
        GO.wait()?;
        let end = Deadline::after(TIME);
        let mut count = 0;
        while !end.is_over() {
            let nodes = [STACK.pop(), STACK.pop(), STACK.pop()];
            for node in nodes.into_iter().flatten() {
                let [value, sum] = &STACK.data[node];
                let old = value.load(Ordering::Relaxed);
                let found = sum.load(Ordering::Relaxed);
                ensure_eq(found, checksum(old), "a node's checksum", node as u32)?;
                value.store(old + 1, Ordering::Relaxed);
                sum.store(checksum(old + 1), Ordering::Relaxed);
                count += 1;
            }
            for node in nodes.into_iter().flatten() {
                STACK.push(node);
            }
        }
        EXPECTED.fetch_add(count, Ordering::SeqCst);
        Ok(())
    })?;
    let mut found = 0;
    let mut total = 0u32;
    while let Some(node) = STACK.pop() {
        found += 1;
        total += STACK.data[node][0].load(Ordering::Relaxed);
        ensure(found <= NODES as u32, "the stack has a loop", [found, 0, 0])?;
    }
    ensure_eq(found, NODES as u32, "nodes at the end", 0)?;
    ensure_eq(total, EXPECTED.load(Ordering::SeqCst), "how often they were taken", 0)
}

/// A queue of many producers and one consumer: a producer swaps itself in as the last, and then
/// links itself to the one before.
struct Queue {
    last: AtomicUsize,
    /// The successor of a cell, and its content. Cell 0 is the stub.
    next: [AtomicUsize; CELLS],
    value: [AtomicU32; CELLS],
}

/// Cells for each CPU, which it uses in turn.
const SHARE: usize = 32;
const CELLS: usize = 8 * SHARE + 1;

static QUEUE: Queue = Queue {
    last: AtomicUsize::new(0),
    next: [const { AtomicUsize::new(0) }; CELLS],
    value: [const { AtomicU32::new(0) }; CELLS],
};
/// How many values of each producer the consumer has taken.
static TAKEN: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
static ENDED: AtomicU32 = AtomicU32::new(0);

impl Queue {
    fn push(&self, cell: usize, value: u32) {
        self.value[cell].store(value, Ordering::Relaxed);
        self.next[cell].store(0, Ordering::Relaxed);
        let before = self.last.swap(cell, Ordering::AcqRel);
        self.next[before].store(cell, Ordering::Release);
    }
}

fn produce(cpu: usize) -> Outcome {
    let end = Deadline::after(TIME);
    let mut count = 0;
    while !end.is_over() {
        // A cell is free when the consumer has gone past the one behind it.
        let cell = 1 + cpu * SHARE + count as usize % SHARE;
        let free = timer::wait_long(|| {
            count < TAKEN[cpu].load(Ordering::Acquire) + SHARE as u32 - 2
        });
        ensure(free, "the consumer does not go on", [cpu as u32, count, 0])?;
        count += 1;
        QUEUE.push(cell, (cpu as u32) << 24 | count & 0xff_ffff);
    }
    EXPECTED.fetch_add(count, Ordering::SeqCst);
    ENDED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn consume() -> Outcome {
    let mut at = 0;
    let mut total = 0;
    loop {
        let ended = ENDED.load(Ordering::SeqCst) as usize == smp::team() - 1;
        let next = QUEUE.next[at].load(Ordering::Acquire);
        if next == 0 {
            if ended {
                break;
            }
            continue;
        }
        at = next;
        let value = QUEUE.value[at].load(Ordering::Relaxed);
        let taken = &TAKEN[(value >> 24) as usize & 7];
        let before = taken.load(Ordering::Relaxed);
        ensure_eq(value & 0xff_ffff, before + 1, "values come out of order", value)?;
        taken.store(before + 1, Ordering::Release);
        total += 1;
    }
    ensure_eq(total, EXPECTED.load(Ordering::SeqCst), "how many came", 0)
}

pub(crate) fn queue() -> Outcome {
    QUEUE.last.store(0, Ordering::SeqCst);
    QUEUE.next[0].store(0, Ordering::SeqCst);
    for taken in &TAKEN {
        taken.store(0, Ordering::SeqCst);
    }
    EXPECTED.store(0, Ordering::SeqCst);
    ENDED.store(0, Ordering::SeqCst);
    smp::on_all(|cpu| {
        GO.wait()?;
        if cpu == 0 {
            consume()
        } else {
            produce(cpu)
        }
    })
}

static WANTS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static TURN: AtomicU32 = AtomicU32::new(0);
static INSIDE: AtomicU32 = AtomicU32::new(0);

/// Peterson's algorithm, of loads, stores and barriers alone, for two CPUs.
pub(crate) fn peterson() -> Outcome {
    NARROW.store(0, Ordering::SeqCst);
    EXPECTED.store(0, Ordering::SeqCst);
    smp::on_all(|cpu| {
        GO.wait()?;
        if cpu > 1 {
            return Ok(());
        }
        let (me, other) = (cpu, 1 - cpu);
        let end = Deadline::after(TIME);
        let mut count = 0;
        while !end.is_over() {
            WANTS[me].store(1, Ordering::Relaxed);
            TURN.store(other as u32, Ordering::Relaxed);
            crate::cpu::dmb();
            let came_in = timer::wait_long(|| {
                WANTS[other].load(Ordering::Relaxed) == 0
                    || TURN.load(Ordering::Relaxed) != other as u32
            });
            ensure(came_in, "it is never its turn", [me as u32, count, 0])?;
            crate::cpu::dmb();
            let alone = INSIDE.load(Ordering::Relaxed) == 0;
            INSIDE.store(1, Ordering::Relaxed);
            // Neither atomic nor locked by anything else.
            NARROW.store(NARROW.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            INSIDE.store(0, Ordering::Relaxed);
            crate::cpu::dmb();
            WANTS[me].store(0, Ordering::Relaxed);
            ensure(alone, "two CPUs are inside", [me as u32, count, 0])?;
            count += 1;
        }
        EXPECTED.fetch_add(count, Ordering::SeqCst);
        Ok(())
    })?;
    let found = NARROW.load(Ordering::SeqCst);
    ensure_eq(found, EXPECTED.load(Ordering::SeqCst), "how often they were inside", 0)
}

static FLAGS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static SEEN: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static ROUND: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// Dekker's litmus test: of two CPUs that each store and then load, one at least sees the other.
pub(crate) fn dekker() -> Outcome {
    for round in &ROUND {
        round.store(0, Ordering::SeqCst);
    }
    smp::on_all(|cpu| {
        if cpu > 1 {
            return Ok(());
        }
        let (me, other) = (cpu, 1 - cpu);
        let meet = |round| {
            ROUND[me].store(round, Ordering::SeqCst);
            timer::wait_long(|| ROUND[other].load(Ordering::SeqCst) >= round)
        };
        let end = Deadline::after(TIME);
        let mut round = 0;
        loop {
            FLAGS[me].store(0, Ordering::Relaxed);
            round += 1;
            ensure(meet(round), "the other CPU does not come", [round, 0, 0])?;
            FLAGS[me].store(1, Ordering::Relaxed);
            crate::cpu::dmb();
            let seen = FLAGS[other].load(Ordering::Relaxed);
            SEEN[me].store(seen, Ordering::Relaxed);
            round += 1;
            ensure(meet(round), "the other CPU does not come", [round, 1, 0])?;
            let seen = SEEN[0].load(Ordering::Relaxed) + SEEN[1].load(Ordering::Relaxed);
            ensure(seen != 0, "neither saw the other", [round, 0, 0])?;
            // The first says when it is over; the other hears of it when they meet.
            if me == 0 && end.is_over() {
                NARROW.store(round, Ordering::SeqCst);
            } else if me == 0 {
                NARROW.store(0, Ordering::SeqCst);
            }
            round += 1;
            ensure(meet(round), "the other CPU does not come", [round, 2, 0])?;
            if NARROW.load(Ordering::SeqCst) == round - 1 {
                return Ok(());
            }
        }
    })
}
