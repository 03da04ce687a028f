// SPDX-License-Identifier: GPL-2.0

//! A fault of the guest, against the host that takes pages away, and against the monitor that moves a
//! slot: `machine::invalidations`.
//!
//! In the model the guest has one page, in one region of its table. The process has two. Each step of
//! the kernel is a turn with the lock that the kernel takes for it.

use std::{
    ops::{
        DerefMut,
        Range, //
    },
    sync::atomic::Ordering,
};

use loom::sync::{
    atomic::AtomicU32,
    Arc,
    Mutex, //
};
use machine::invalidations::{
    Changes,
    Counts,
    Protocol, //
};

use crate::checked::{
    breaks,
    holds,
    AsWritten,
    Care,
    Loom,
    Unordered, //
};

/// The message if the guest has a page that the host has taken.
const LOST: &str = "the guest has a page that the host has taken";
/// The message if the guest has a page of another slot.
const MOVED: &str = "the guest has a page of a slot that is gone";

/// The message if a mapping is replaced by one of other memory, which was not cleaned for the host.
const REPLACED: &str = "a page of the slot before is still mapped";

/// A page of the host, by a number of its own.
type Page = u32;

/// Where the guest's page is in the process.
#[derive(Default)]
struct Slots {
    hva: Option<usize>,
    /// A slot that is gone is being unmapped.
    going: Option<usize>,
}

/// A VM, and the process that it belongs to.
struct Memory<C: Care> {
    counts: Counts<Loom<C>>,
    changes: Mutex<Changes>,
    slots: Mutex<Slots>,
    /// The region: the page that the guest has.
    region: Mutex<Option<Page>>,
    /// The process's mappings, by user address. The host may look a page up without a lock.
    host: [AtomicU32; 2],
}

/// The order of a fault's steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Right,
    /// The page is looked up, and only then the count.
    CountsLate,
    /// Whether something has changed is asked without the region's lock.
    AsksEarly,
    /// A slot that is being unmapped is none of the fault's business.
    IgnoresGoing,
}

/// The order of the host's steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Right,
    /// The invalidation begins when the guest's memory is unmapped.
    StartsLate,
    /// The invalidation ends before the host has changed the page.
    EndsEarly,
    /// A slot that is being unmapped is none of the host's business.
    IgnoresGoing,
}

fn page_at(hva: usize) -> Range<usize> {
    hva..hva + 1
}

impl<C: Care> Protocol for Memory<C> {
    type A = Loom<C>;

    fn counts(&self) -> &Counts<Loom<C>> {
        &self.counts
    }

    fn lock(&self) -> impl DerefMut<Target = Changes> {
        self.changes.lock().unwrap()
    }
}

impl<C: Care> Memory<C> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: Counts::default(),
            changes: Mutex::new(Changes::default()),
            slots: Mutex::new(Slots {
                hva: Some(0),
                going: None,
            }),
            region: Mutex::new(None),
            host: [AtomicU32::new(10), AtomicU32::new(20)],
        })
    }

    fn host_page(&self, hva: usize) -> Page {
        self.host[hva].load(Ordering::Relaxed)
    }

    /// A fault, as in `src/mem/fault.rs`, tried once. Says whether the page was mapped.
    fn fault(&self, order: Fault) -> bool {
        let mut early = None;
        let (count, found) = self.look(|| {
            let slots = self.slots.lock().unwrap();
            (slots.hva, slots.going.is_some())
        });
        let (Some(hva), is_going) = found else {
            return false;
        };
        if is_going && order != Fault::IgnoresGoing {
            return false;
        }
        let page = self.host_page(hva);
        let (count, _) = match order {
            Fault::CountsLate => self.look(|| ()),
            _ => (count, ()),
        };
        if order == Fault::AsksEarly {
            early = Some(self.is_current(&page_at(hva), count));
        }
        let region = &mut *self.region.lock().unwrap();
        let map = |region: &mut Option<Page>| {
            // With the region's lock held, the answer stays true.
            assert_eq!(page, self.host_page(hva), "{LOST}");
            assert!(region.is_none_or(|old| old == page), "{REPLACED}");
            *region = Some(page);
        };
        match early {
            Some(is_current) => is_current.then(|| map(region)),
            None => self.if_current(region, &page_at(hva), count, map),
        }
        .is_some()
    }

    /// The host gives the process another page in place of one, as in `src/mem/notifier.rs`.
    fn replace(&self, hva: usize, new: Page, order: Host) {
        let old = self.host_page(hva);
        let hvas = page_at(hva);
        // `Slots::ipas_of`.
        let is_guest = |slots: &Slots| {
            let going = slots.going.filter(|_| order != Host::IgnoresGoing);
            [slots.hva, going].contains(&Some(hva))
        };
        let unmap = || {
            let slots = self.slots.lock().unwrap();
            if is_guest(&slots) {
                *self.region.lock().unwrap() = None;
            }
        };
        let change = || self.host[hva].store(new, Ordering::Relaxed);
        match order {
            Host::Right | Host::IgnoresGoing => {
                self.start(&hvas, unmap);
                change();
            }
            Host::StartsLate => {
                unmap();
                self.start(&hvas, || ());
                change();
            }
            Host::EndsEarly => self.start(&hvas, unmap),
        }
        self.end(&hvas, || is_guest(&self.slots.lock().unwrap()));
        if order == Host::EndsEarly {
            change();
        }
        // Now somebody else may have the page.
        assert_ne!(*self.region.lock().unwrap(), Some(old), "{LOST}");
    }

    /// The monitor moves the slot, so that other memory of it is where the guest's page is, as in
    /// `AddressSpace::set_region`.
    fn move_slot(&self, to: usize) {
        self.change_slots(|| {
            let slots = &mut *self.slots.lock().unwrap();
            slots.going = slots.hva.replace(to);
        });
        *self.region.lock().unwrap() = None;
        self.slots.lock().unwrap().going = None;
    }

    /// All have ended: what the guest has is what the host has at that place.
    fn check(&self) {
        let (hva, mapped) = (self.slots.lock().unwrap().hva, *self.region.lock().unwrap());
        if let Some(page) = mapped {
            assert_eq!(Some(page), hva.map(|hva| self.host_page(hva)), "{MOVED}");
        }
    }
}

/// A fault, while the host takes the page.
fn page_is_taken<C: Care + 'static>(fault: Fault, host: Host) {
    let memory = Memory::<C>::new();
    let other = memory.clone();
    let taker = loom::thread::spawn(move || other.replace(0, 11, host));
    memory.fault(fault);
    taker.join().unwrap();
    memory.check();
    // Nothing changes any more, so nothing holds a fault up.
    assert!(memory.fault(Fault::Right));
    memory.check();
}

/// A fault, while the host takes a page that is not the guest's.
fn other_page_is_taken() {
    let memory = Memory::<AsWritten>::new();
    let other = memory.clone();
    let taker = loom::thread::spawn(move || other.replace(1, 21, Host::Right));
    assert!(memory.fault(Fault::Right), "held up for another page");
    taker.join().unwrap();
    memory.check();
}

/// A fault, while the slot moves.
fn slot_moves<C: Care + 'static>(fault: Fault) {
    let memory = Memory::<C>::new();
    assert!(memory.fault(Fault::Right));
    let other = memory.clone();
    let mover = loom::thread::spawn(move || other.move_slot(1));
    memory.fault(fault);
    mover.join().unwrap();
    memory.check();
}

/// A fault, while the slot moves, and while the host takes the page of the old place or the new one.
fn slot_moves_and_page_is_taken(hva: usize, host: Host) {
    let memory = Memory::<AsWritten>::new();
    let (taker, mover) = (memory.clone(), memory.clone());
    let taker = loom::thread::spawn(move || taker.replace(hva, 11, host));
    let mover = loom::thread::spawn(move || mover.move_slot(1));
    memory.fault(Fault::Right);
    taker.join().unwrap();
    mover.join().unwrap();
    memory.check();
}

#[test]
fn no_page_that_was_taken_is_mapped() {
    holds(None, || {
        page_is_taken::<AsWritten>(Fault::Right, Host::Right)
    });
}

#[test]
fn a_fault_is_not_held_up_for_another_page() {
    holds(None, other_page_is_taken);
}

#[test]
fn no_page_of_a_slot_that_is_gone_is_mapped() {
    holds(None, || slot_moves::<AsWritten>(Fault::Right));
}

#[test]
fn slots_may_move_while_pages_are_taken() {
    for hva in [0, 1] {
        holds(Some(3), move || {
            slot_moves_and_page_is_taken(hva, Host::Right);
        });
    }
}

#[test]
fn pages_are_lost_if_a_fault_does_not_keep_to_the_order() {
    for fault in [Fault::CountsLate, Fault::AsksEarly] {
        breaks(LOST, None, move || {
            page_is_taken::<AsWritten>(fault, Host::Right);
        });
    }
    breaks(MOVED, None, || {
        slot_moves::<AsWritten>(Fault::CountsLate);
    });
    breaks(REPLACED, None, || {
        slot_moves::<AsWritten>(Fault::IgnoresGoing);
    });
}

#[test]
fn pages_are_lost_if_the_host_does_not_keep_to_the_order() {
    for host in [Host::StartsLate, Host::EndsEarly] {
        breaks(LOST, None, move || {
            page_is_taken::<AsWritten>(Fault::Right, host);
        });
    }
    breaks(LOST, Some(3), || {
        slot_moves_and_page_is_taken(0, Host::IgnoresGoing);
    });
}

#[test]
fn pages_are_lost_if_the_counts_order_nothing() {
    breaks(LOST, None, || {
        page_is_taken::<Unordered>(Fault::Right, Host::Right);
    });
}
