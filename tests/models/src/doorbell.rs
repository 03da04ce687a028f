// SPDX-License-Identifier: GPL-2.0

//! A vCPU that enters the guest, against those who want something of it: `machine::doorbell`.
//!
//! In the model a guest stays until its CPU is interrupted. So a request that neither the vCPU sees
//! before it enters nor its maker follows with an interrupt leaves all threads waiting, and `loom`
//! reports that.

use std::{
    ptr,
    sync::atomic::Ordering, //
};

use loom::sync::{
    atomic::AtomicU32,
    Arc,
    Mutex,
    Notify, //
};
use machine::doorbell::{
    request,
    Bell,
    Runner, //
};

use crate::checked::{
    breaks,
    holds,
    AsWritten,
    Care,
    Loom,
    NoFences,
    Unordered, //
};

/// The message of `loom` if no thread can go on.
const STUCK: &str = "deadlock";

/// A vCPU, and two CPUs, in one of which its guest is.
struct System<C: Care> {
    bell: Bell<Loom<C>>,
    /// An interrupt is pending until the CPU takes it.
    cpus: [Notify; 2],
    /// Written before a request is made.
    news: [AtomicU32; 2],
}

impl<C: Care> System<C> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bell: Bell::default(),
            cpus: [Notify::new(), Notify::new()],
            news: [AtomicU32::new(0), AtomicU32::new(0)],
        })
    }

    /// Makes a request and interrupts the vCPU, as HYP mode does.
    fn request(&self, what: u32) {
        self.news[what as usize - 1].store(1, Ordering::Relaxed);
        self.interrupt(self.bell.ring(what));
    }

    fn interrupt(&self, interface: Option<u32>) {
        match interface {
            None => (),
            Some(1) => self.cpus[0].notify(),
            Some(2) => self.cpus[1].notify(),
            Some(other) => panic!("no CPU has the bit {other:#x}"),
        }
    }

    /// Takes requests between two stays. Who sees a request sees what was written before.
    fn take(&self) -> u32 {
        let taken = self.bell.take_requests();
        for (n, news) in self.news.iter().enumerate() {
            if (taken >> n) & 1 != 0 {
                assert_eq!(news.load(Ordering::Relaxed), 1, "no news with the request");
            }
        }
        taken
    }

    /// KVM_RUN until all of `wanted` was requested. Each stay is on the next CPU.
    fn run(&self, wanted: u32) {
        let mut seen = self.take();
        let mut cpu = 0;
        while seen != wanted {
            if self.bell.try_enter(1 << cpu) {
                self.cpus[cpu].wait();
                self.bell.leave();
                cpu ^= 1;
            }
            seen |= self.take();
        }
    }
}

/// One request.
fn one_request<C: Care + 'static>(request: impl Fn(&System<C>) + Send + Sync + 'static) {
    let system = System::<C>::new();
    let other = system.clone();
    let requester = loom::thread::spawn(move || request(&other));
    system.run(request::INTERRUPT);
    requester.join().unwrap();
}

/// Two threads make a request each. The vCPU may be on another CPU when the second one comes.
fn two_requests<C: Care + 'static>() {
    let system = System::<C>::new();
    let makers = [request::INTERRUPT, request::POWER].map(|what| {
        let other = system.clone();
        loom::thread::spawn(move || other.request(what))
    });
    system.run(request::INTERRUPT | request::POWER);
    for maker in makers {
        maker.join().unwrap();
    }
}

/// As `Vcpu::request` and HYP mode make it.
fn in_order<C: Care>(system: &System<C>) {
    system.request(request::INTERRUPT);
}

#[test]
fn no_request_is_missed() {
    holds(None, || one_request::<AsWritten>(in_order));
    holds(Some(3), two_requests::<AsWritten>);
}

/// Without the two barriers both can miss each other.
#[test]
fn requests_are_missed_without_barriers() {
    breaks(STUCK, None, || one_request::<NoFences>(in_order));
    breaks(STUCK, Some(3), two_requests::<NoFences>);
}

/// A request that orders nothing comes before the writes that it is about.
#[test]
fn requests_come_too_early_without_order() {
    breaks("no news", None, || one_request::<Unordered>(in_order));
}

/// Whoever looks where the vCPU is before the request is made misses an entry between the two.
#[test]
fn requests_are_missed_if_the_place_is_looked_at_first() {
    breaks(STUCK, None, || {
        one_request::<AsWritten>(|system| {
            let interface = system.bell.interface();
            system.news[0].store(1, Ordering::Relaxed);
            system.bell.ring(request::INTERRUPT);
            system.interrupt(interface);
        });
    });
}

/// Two threads that run one vCPU, one after the other.
struct Threads<C: Care> {
    bell: Bell<Loom<C>>,
    runner: Runner<Notify, Loom<C>>,
    /// The mutex of the vCPU.
    turn: Mutex<()>,
    /// By thread: an interrupt of the CPU that it is on.
    kicks: [Notify; 2],
}

impl<C: Care> Threads<C> {
    /// KVM_RUN by a thread.
    fn run(&self, thread: usize, stays: impl Fn(&Self)) {
        let _turn = self.turn.lock().unwrap();
        let task = ptr::from_ref(&self.kicks[thread]).cast_mut();
        self.runner.with(task, || stays(self));
    }

    /// A request, and the kick for the thread that runs the vCPU.
    fn request(&self) {
        if self.bell.ring(request::INTERRUPT).is_none() {
            return;
        }
        let task = self.runner.task();
        if let Some(kick) = self.kicks.iter().find(|kick| ptr::eq(*kick, task)) {
            kick.notify();
        }
    }
}

/// One thread leaves the guest by itself, the other one stays there until it is kicked.
fn two_threads<C: Care + 'static>() {
    let threads = Arc::new(Threads::<C> {
        bell: Bell::default(),
        runner: Runner::default(),
        turn: Mutex::new(()),
        kicks: [Notify::new(), Notify::new()],
    });
    let (first, requester) = (threads.clone(), threads.clone());
    let first = loom::thread::spawn(move || {
        first.run(0, |threads| {
            if threads.bell.try_enter(0) {
                threads.bell.leave();
            }
        });
    });
    let requester = loom::thread::spawn(move || requester.request());
    threads.run(1, |threads| {
        while threads.bell.take_requests() == 0 {
            if threads.bell.try_enter(0) {
                threads.kicks[1].wait();
                threads.bell.leave();
            }
        }
    });
    first.join().unwrap();
    requester.join().unwrap();
}

#[test]
fn the_thread_in_the_guest_is_kicked() {
    holds(Some(3), two_threads::<AsWritten>);
}

/// The thread from before is kicked, or none.
#[test]
fn the_wrong_thread_is_kicked_without_barriers() {
    breaks(STUCK, Some(3), two_threads::<NoFences>);
}
