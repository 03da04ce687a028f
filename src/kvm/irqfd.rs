// SPDX-License-Identifier: GPL-2.0

//! Interrupts by eventfd: KVM_IRQFD, and KVM_SET_GSI_ROUTING, which says where they go.
//!
//! A global system interrupt (GSI) is a number of the monitor's choice. Until the monitor sets a
//! routing, GSI n is pin n of the interrupt controller, which is SPI n + 32.
//!
//! Locking: `changes`; then an eventfd's own lock, then `table`, then that of the vGIC. No eventfd
//! is signalled with `table` locked.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use kvm_bindings as uapi;
use machine::vgic::{
    FIRST_SPECIAL,
    NR_PRIVATE, //
};

use super::{
    abi,
    vm::Vm, //
};
use crate::{
    glue::{
        cpu::{
            new_irq_spinlock,
            IrqSpinLock, //
        },
        eventfd::{
            EventFd,
            Listener,
            Listening, //
        },
    },
    trace::trace, //
};

/// How many pins the interrupt controller has: its SPIs.
const PINS: u32 = FIRST_SPECIAL - NR_PRIVATE;
/// How many routes a VM can have (KVM_CAP_IRQ_ROUTING).
pub(crate) const MAX_ROUTES: u32 = 4096;

/// How many irqfds a VM can have. There is a limit because searches in the list run with interrupts
/// off.
const MAX_IRQFDS: usize = 4096;

/// An eventfd that stands for a GSI.
struct Irqfd {
    vm: Arc<Vm>,
    /// Later ones have higher numbers.
    number: u64,
    gsi: u32,
    /// For a level, which stays high until the guest has ended the interrupt: the eventfd that is
    /// signalled then.
    resample: Option<Arc<EventFd>>,
}

impl Listener for Irqfd {
    fn signalled(&self) {
        let Some(intid) = self.vm.irqfds.intid_of(self.gsi) else {
            return;
        };
        let source = if self.resample.is_none() {
            source::EDGE
        } else {
            source::LEVEL
        };
        drive(&self.vm, self.gsi, intid, true, source);
        if self.resample.is_none() {
            drive(&self.vm, self.gsi, intid, false, source);
        }
    }
}

/// The numbers by which KVM tells the sources of a level from each other (`<linux/kvm_host.h>`).
mod source {
    /// KVM_USERSPACE_IRQ_SOURCE_ID.
    pub(super) const EDGE: u32 = 0;
    /// KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID.
    pub(super) const LEVEL: u32 = 1;
}

/// Drives the SPI that a GSI is.
fn drive(vm: &Vm, gsi: u32, intid: u32, level: bool, source: u32) {
    trace!(kvm_set_irq(gsi, level, source));
    vm.set_spi(intid, level);
}

/// Where a GSI goes: to a pin, or nowhere (a message, which nothing here takes).
#[derive(Clone, Copy)]
struct Route {
    gsi: u32,
    pin: Option<u32>,
}

/// # Invariants
///
/// `routes` is sorted by GSI, and has no GSI twice. `irqfds` are in the order of their numbers, and
/// these are all below `next_number`, which 64 bits keep from wrapping around.
#[derive(Default)]
struct RoutingTable {
    irqfds: KVec<Arc<Listening<Irqfd>>>,
    next_number: u64,
    /// `None` until the monitor sets them: GSI n is pin n.
    routes: Option<KVec<Route>>,
}

impl RoutingTable {
    /// The SPI that a GSI is.
    fn intid_of(&self, gsi: u32) -> Option<u32> {
        let pin = match &self.routes {
            None => (gsi < PINS).then_some(gsi)?,
            Some(routes) => {
                let index = routes.binary_search_by_key(&gsi, |route| route.gsi).ok()?;
                routes.get(index)?.pin?
            }
        };
        Some(pin + NR_PRIVATE)
    }
}

/// The irqfds of a VM.
#[pin_data]
pub(crate) struct Irqfds {
    /// Held by the thread that changes the table: from its first look at it until what is removed
    /// has stopped listening, and its line is low.
    #[pin]
    changes: Mutex<()>,
    #[pin]
    table: IrqSpinLock<RoutingTable>,
    /// There has been an irqfd with a level, which has to hear of the end of its interrupt.
    has_resampler: AtomicBool,
}

impl Irqfds {
    /// An empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changes <- new_mutex!((), "kvm_arm_irqfd_changes"),
            table <- new_irq_spinlock!(RoutingTable::default(), "kvm_arm_irqfds"),
            has_resampler: AtomicBool::new(false),
        })
    }

    /// Runs `f` on the table, which the callbacks use in hard interrupt context, too.
    fn with<R>(&self, f: impl FnOnce(&mut RoutingTable) -> R) -> R {
        self.table.with(f)
    }

    /// The SPI that a GSI is.
    fn intid_of(&self, gsi: u32) -> Option<u32> {
        self.with(|table| table.intid_of(gsi))
    }

    /// Carries out KVM_IRQFD.
    pub(crate) fn ioctl(vm: &Arc<Vm>, arg: usize) -> Result {
        let request: uapi::kvm_irqfd = abi::read_user(arg)?;
        const KNOWN: u32 = uapi::KVM_IRQFD_FLAG_DEASSIGN | uapi::KVM_IRQFD_FLAG_RESAMPLE;
        if request.flags & !KNOWN != 0 {
            return Err(EINVAL);
        }
        if request.flags & uapi::KVM_IRQFD_FLAG_DEASSIGN != 0 {
            vm.irqfds
                .remove(vm, &EventFd::get(request.fd)?, request.gsi);
            return Ok(());
        }
        if !vm.gic.is_initialized() {
            return Err(EAGAIN);
        }
        let resample = if request.flags & uapi::KVM_IRQFD_FLAG_RESAMPLE != 0 {
            Some(Arc::new(
                EventFd::get(request.resamplefd)?,
                GFP_KERNEL_ACCOUNT,
            )?)
        } else {
            None
        };
        vm.irqfds.add(vm, &request, resample)
    }

    fn add(
        &self,
        vm: &Arc<Vm>,
        request: &uapi::kvm_irqfd,
        resample: Option<Arc<EventFd>>,
    ) -> Result {
        let _changes = self.changes.lock();
        let event = EventFd::get(request.fd)?;
        self.forget_closed(vm);
        let is_known = self.with(|table| {
            let mut all = table.irqfds.iter();
            all.any(|irqfd| irqfd.event().is(&event))
        });
        if is_known {
            return Err(EBUSY);
        }
        let (room, number) = self.with(|table| {
            table.next_number += 1;
            (table.irqfds.len() + 1, table.next_number - 1)
        });
        if room > MAX_IRQFDS {
            return Err(ENOSPC);
        }
        let mut bigger = KVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?;
        if resample.is_some() {
            self.has_resampler.store(true, Ordering::SeqCst);
        }
        let irqfd = Listening::new(
            request.fd,
            Irqfd {
                vm: vm.clone(),
                number,
                gsi: request.gsi,
                resample,
            },
        )?;
        // The old vector is empty, and freed after the lock is released.
        let old = self.with(|table| {
            let mut old = core::mem::take(&mut table.irqfds);
            for known in old.drain_all() {
                let _ = bigger.push_within_capacity(known);
            }
            let _ = bigger.push_within_capacity(irqfd);
            table.irqfds = bigger;
            old
        });
        drop(old);
        Ok(())
    }

    /// Takes away the irqfds of an eventfd and a GSI. Their callback runs no more when this
    /// returns.
    fn remove(&self, vm: &Vm, event: &EventFd, gsi: u32) {
        let _changes = self.changes.lock();
        self.remove_all(vm, |irqfd| {
            irqfd.event().is(event) && irqfd.listener().gsi == gsi
        });
    }

    /// Takes away the irqfds whose eventfd is closed: nobody can signal it any more. As this comes
    /// before one is added, there are never many more irqfds than open eventfds. `changes` is held.
    fn forget_closed(&self, vm: &Vm) {
        self.remove_all(vm, Listening::is_closed);
    }

    /// Takes away those that `which` names. `changes` is held, so the table has the only reference
    /// to each, and one that is dropped here stops listening.
    fn remove_all(&self, vm: &Vm, which: impl Fn(&Listening<Irqfd>) -> bool) {
        // Each is dropped here, without the lock.
        while let Some(removed) = self.with(|table| {
            let index = table.irqfds.iter().position(|irqfd| which(irqfd))?;
            table.irqfds.remove(index).ok()
        }) {
            let gsi = removed.listener().gsi;
            let was_level = removed.listener().resample.is_some();
            drop(removed);
            // Its line may be high, and without a resampler nothing would lower it.
            let lowers = was_level
                && self.with(|table| {
                    !table.irqfds.iter().any(|irqfd| {
                        let other = irqfd.listener();
                        other.gsi == gsi && other.resample.is_some()
                    })
                });
            if let (true, Some(intid)) = (lowers, self.intid_of(gsi)) {
                drive(vm, gsi, intid, false, source::LEVEL);
            }
        }
    }

    /// Takes all irqfds away, as the VM's file is closed.
    pub(crate) fn clear(&self) {
        drop(self.with(core::mem::take));
    }

    /// Whether [`ended`](Self::ended) has to hear of the end of interrupts.
    #[inline]
    pub(crate) fn has_resampler(&self) -> bool {
        self.has_resampler.load(Ordering::Relaxed)
    }

    /// The guest has ended an interrupt: its line goes down, and the users of its irqfds, who are
    /// signalled, raise it again if it is still due. Any context; but with
    /// [`super::ended::SIGNALS_LATER`], interrupts must be on.
    pub(crate) fn ended(&self, vm: &Vm, intid: u32) {
        let mut is_lowered = false;
        // Irqfds may go while the lock is not held, so the search goes by numbers, not by places.
        let mut next = 0;
        loop {
            let resample = self.with(|table| {
                let irqfds = &table.irqfds;
                let first = irqfds.partition_point(|irqfd| irqfd.listener().number < next);
                let rest = irqfds.iter().skip(first).map(|irqfd| irqfd.listener());
                for irqfd in rest {
                    let Some(resample) = &irqfd.resample else {
                        continue;
                    };
                    if table.intid_of(irqfd.gsi) == Some(intid) {
                        next = irqfd.number + 1;
                        return Some((irqfd.gsi, resample.clone()));
                    }
                }
                None
            });
            let Some((gsi, resample)) = resample else {
                break;
            };
            if !is_lowered {
                drive(vm, gsi, intid, false, source::LEVEL);
                is_lowered = true;
            }
            resample.signal();
        }
    }

    /// Carries out KVM_SET_GSI_ROUTING.
    pub(crate) fn set_routing(&self, arg: usize) -> Result {
        /// `struct kvm_irq_routing` without its entries: their number and flags.
        const HEADER: usize = 8;
        const ENTRY: usize = size_of::<uapi::kvm_irq_routing_entry>();
        let nr: u32 = abi::read_user(arg)?;
        let flags: u32 = abi::read_user(arg.wrapping_add(4))?;
        if nr > MAX_ROUTES || flags != 0 {
            return Err(EINVAL);
        }
        let mut routes = KVec::<Route>::with_capacity(nr as usize, GFP_KERNEL_ACCOUNT)?;
        for index in 0..nr as usize {
            let address = arg.wrapping_add(HEADER + index * ENTRY);
            let route = route(&abi::read_user(address)?)?;
            routes.push(route, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: Sorted here, and checked below: a GSI has one entry, as there is but one
        // interrupt controller.
        routes.sort_unstable_by_key(|route| route.gsi);
        let twice = |pair: &[Route]| matches!(pair, [a, b] if a.gsi == b.gsi);
        if routes.windows(2).any(twice) {
            return Err(EINVAL);
        }
        let _changes = self.changes.lock();
        let old = self.with(|table| table.routes.replace(routes));
        drop(old);
        Ok(())
    }
}

/// The route that an entry describes.
fn route(entry: &uapi::kvm_irq_routing_entry) -> Result<Route> {
    if entry.gsi >= MAX_ROUTES {
        return Err(EINVAL);
    }
    let pin = match entry.type_ {
        uapi::KVM_IRQ_ROUTING_IRQCHIP if entry.flags == 0 => {
            let irqchip = abi::member!(entry.u, irqchip);
            if irqchip.irqchip >= uapi::KVM_NR_IRQCHIPS || irqchip.pin >= PINS {
                return Err(EINVAL);
            }
            Some(irqchip.pin)
        }
        // There is nothing that takes messages, but a monitor may prepare them.
        uapi::KVM_IRQ_ROUTING_MSI if entry.flags & !uapi::KVM_MSI_VALID_DEVID == 0 => None,
        _ => return Err(EINVAL),
    };
    Ok(Route {
        gsi: entry.gsi,
        pin,
    })
}
