// SPDX-License-Identifier: GPL-2.0

//! The roll-over of VMIDs, while guests run and while their memory is unmapped: `machine::vmid`.
//!
//! In the model a CPU is a lock. The CPU's vCPU holds it from the moment when interrupts are off until
//! it has left the guest, so an interrupt for all CPUs, which the roll-over waits for, is a turn of
//! each lock. TLBs are filled by a guest at any time in its stay.

use std::{
    ops::DerefMut,
    sync::atomic::Ordering, //
};

use loom::sync::{
    atomic::{
        fence,
        AtomicU32, //
    },
    Arc,
    Mutex, //
};
use machine::vmid::{
    GenerationCell,
    Numbers,
    Protocol,
    VmidCell, //
};

use crate::checked::{
    breaks,
    holds,
    Loom, //
};

/// The message if two VMs have entries with the same number.
const MIXED: &str = "TLBs have entries of two VMs with one number";
/// The message if vCPUs of one VM have different numbers.
const SPLIT: &str = "two vCPUs of one VM run with different numbers";
/// The message if a guest can still use a page that was unmapped.
const STALE: &str = "a TLB has an entry for a page that was unmapped";

/// An entry of a TLB.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u8,
    vm: usize,
}

/// A VM with one page.
#[derive(Default)]
struct Vm {
    vmid: VmidCell<Loom>,
    /// The entry of its stage-2 table: whether the page is mapped.
    page: AtomicU32,
}

/// A host with two CPUs and two VMs.
struct Host {
    generation: GenerationCell<Loom>,
    numbers: Mutex<Numbers>,
    vms: [Vm; 2],
    cpus: [Mutex<()>; 2],
    /// By CPU: the VM and the number with which the guest runs.
    running: Mutex<[Option<Entry>; 2]>,
    /// The TLBs of all CPUs.
    tlbs: Mutex<Vec<Entry>>,
}

impl Protocol for Host {
    type A = Loom;

    fn generation(&self) -> &GenerationCell<Loom> {
        &self.generation
    }

    fn lock(&self) -> impl DerefMut<Target = Numbers> {
        self.numbers.lock().unwrap()
    }
}

/// How a number is given, and a guest entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    /// The roll-over waits for no guest.
    StopsNobody,
    /// The roll-over empties the TLBs before the guests have stopped.
    FlushesEarly,
    /// The generation is looked at with interrupts on.
    LooksEarly,
    /// Memory is unmapped for the number from before that.
    ReadsNumberEarly,
    /// An entry gets no barrier.
    EntersWithoutBarrier,
}

impl Host {
    /// A host on which `left` numbers are left, and VM 0 has the first one.
    fn new(left: usize) -> Arc<Self> {
        let numbers = Numbers::new();
        let host = Self {
            generation: GenerationCell::of(&numbers),
            numbers: Mutex::new(numbers),
            vms: Default::default(),
            cpus: Default::default(),
            running: Mutex::new([None; 2]),
            tlbs: Mutex::new(Vec::new()),
        };
        host.give(0, Order::Right);
        assert_eq!(host.vms[0].vmid.number(), 1);
        for _ in 1 + left..255 {
            host.lock().give(|_| panic!("too few numbers"));
        }
        for vm in &host.vms {
            vm.page.store(1, Ordering::Relaxed);
        }
        Arc::new(host)
    }

    /// What `VmidAllocator::ensure` does.
    fn give(&self, vm: usize, order: Order) {
        let stop = || {
            if order == Order::FlushesEarly {
                self.tlbs.lock().unwrap().clear();
            }
            if order != Order::StopsNobody {
                for cpu in &self.cpus {
                    drop(cpu.lock().unwrap());
                }
            }
        };
        let flush = || {
            if order != Order::FlushesEarly {
                self.tlbs.lock().unwrap().clear();
            }
        };
        self.ensure(&self.vms[vm].vmid, stop, flush);
    }

    /// The guest uses its page, by a TLB or by a walk of its table. Invalidations wait for walks.
    fn use_page(&self, vm: usize, number: u8) {
        let tlbs = &mut *self.tlbs.lock().unwrap();
        if self.vms[vm].page.load(Ordering::Relaxed) == 0 {
            return;
        }
        let entry = Entry { number, vm };
        let mut same_number = tlbs.iter().filter(|other| other.number == number);
        assert!(same_number.all(|other| other.vm == vm), "{MIXED}");
        tlbs.push(entry);
    }

    /// A stay of a guest, if it may be entered.
    fn stay(&self, vm: usize, cpu: usize, order: Order) -> bool {
        let vmid = &self.vms[vm].vmid;
        let early = (order == Order::LooksEarly).then(|| self.is_current(vmid));
        let _irqs_off = self.cpus[cpu].lock().unwrap();
        if !early.unwrap_or_else(|| self.is_current(vmid)) {
            return false;
        }
        if order != Order::EntersWithoutBarrier {
            // That of `Bell::try_enter`.
            fence(Ordering::SeqCst);
        }
        let number = vmid.number();
        {
            let running = &mut *self.running.lock().unwrap();
            running[cpu] = Some(Entry { number, vm });
            let mut same_vm = running.iter().flatten().filter(|other| other.vm == vm);
            assert!(same_vm.all(|other| other.number == number), "{SPLIT}");
        }
        self.use_page(vm, number);
        self.running.lock().unwrap()[cpu] = None;
        true
    }

    /// A vCPU runs once.
    fn run(&self, vm: usize, cpu: usize, order: Order) {
        while !self.stay(vm, cpu, order) {
            self.give(vm, order);
        }
    }

    /// Takes the page away from the guest, as `Region::unmap` and `AddressSpace::flush_tlb` do.
    fn unmap(&self, vm: usize, order: Order) {
        let early = (order == Order::ReadsNumberEarly).then(|| self.vms[vm].vmid.number());
        self.vms[vm].page.store(0, Ordering::Relaxed);
        // `TableMemory::publish`.
        fence(Ordering::SeqCst);
        let number = early.unwrap_or_else(|| self.vms[vm].vmid.number());
        let tlbs = &mut *self.tlbs.lock().unwrap();
        tlbs.retain(|entry| entry.number != number);
    }
}

/// Runs vCPUs at the same time, each given by its VM and its CPU.
fn run_all(left: usize, vcpus: &'static [(usize, usize)], order: Order) {
    let host = Host::new(left);
    let threads: Vec<_> = vcpus[1..]
        .iter()
        .map(|&(vm, cpu)| {
            let host = host.clone();
            loom::thread::spawn(move || host.run(vm, cpu, order))
        })
        .collect();
    let (vm, cpu) = vcpus[0];
    host.run(vm, cpu, order);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// VM 0 runs with its number, while VM 1 needs one and finds none.
fn roll_over(order: Order) {
    run_all(0, &[(0, 0), (1, 1)], order);
}

/// VM 0 loses its page and runs, while VM 1 needs a number and finds none.
fn roll_over_and_unmap(order: Order) {
    let host = Host::new(0);
    let (unmaps, other) = (host.clone(), host.clone());
    let unmaps = loom::thread::spawn(move || unmaps.unmap(0, order));
    let other = loom::thread::spawn(move || other.give(1, order));
    host.run(0, 0, order);
    other.join().unwrap();
    unmaps.join().unwrap();
    let tlbs = &*host.tlbs.lock().unwrap();
    assert!(tlbs.iter().all(|entry| entry.vm != 0), "{STALE}");
}

#[test]
fn a_number_is_of_one_vm() {
    holds(None, || roll_over(Order::Right));
    // The same CPU for both, one after the other.
    holds(None, || run_all(0, &[(0, 0), (1, 0)], Order::Right));
}

#[test]
fn vcpus_of_a_vm_get_the_same_number() {
    for left in [0, 1, 2] {
        holds(None, move || run_all(left, &[(1, 0), (1, 1)], Order::Right));
    }
    holds(Some(2), || {
        run_all(0, &[(0, 0), (0, 1), (1, 1)], Order::Right);
    });
}

#[test]
fn a_roll_over_hides_no_unmapping() {
    holds(Some(3), || roll_over_and_unmap(Order::Right));
}

#[test]
fn numbers_are_mixed_if_guests_are_not_stopped_first() {
    for order in [
        Order::StopsNobody,
        Order::FlushesEarly,
        Order::LooksEarly, //
    ] {
        breaks(MIXED, None, move || roll_over(order));
    }
}

#[test]
fn a_roll_over_hides_an_unmapping_without_order() {
    for order in [Order::ReadsNumberEarly, Order::EntersWithoutBarrier] {
        breaks(STALE, Some(3), move || roll_over_and_unmap(order));
    }
}
