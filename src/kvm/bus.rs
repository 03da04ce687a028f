// SPDX-License-Identifier: GPL-2.0

//! Stores that end in the kernel without a device there: KVM_IOEVENTFD, which signals an eventfd,
//! and coalesced MMIO, which keeps them in a ring for the monitor to look at later.
//!
//! Locking: `entries`, then that of an eventfd.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        SetOnce,
        SpinLock, //
    },
};
use kvm_bindings as uapi;

use super::{
    abi,
    coalesced::Ring, //
};
use crate::glue::eventfd::EventFd;

/// How many entries of each kind a VM can have.
const MAX_ENTRIES: usize = 1000;

/// Other architectures have ports beside memory. There are none here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Memory,
    Ports,
}

/// The stores that signal an eventfd. Their order is first that of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stores {
    address: u64,
    space: Space,
    /// 1, 2, 4 or 8 bytes, or 0 for a store of any length.
    len: u32,
    /// The value of the store, or `None` for any value.
    data: Option<u64>,
}

impl Stores {
    /// All stores to an address.
    fn to(address: u64) -> Self {
        Self {
            space: Space::Memory,
            address,
            len: 0,
            data: None,
        }
    }

    /// Whether one store could be of both.
    fn collide(&self, other: &Self) -> bool {
        self.space == other.space
            && self.address == other.address
            && (self.len == 0
                || other.len == 0
                || self.len == other.len
                    && (self.data.is_none() || other.data.is_none() || self.data == other.data))
    }
}

/// An eventfd that stores to an address signal.
struct IoEventFd {
    stores: Stores,
    event: EventFd,
}

/// Addresses whose stores are kept for later.
#[derive(Clone, Copy)]
struct Zone {
    space: Space,
    address: u64,
    size: u32,
}

impl Zone {
    fn has(&self, address: u64, len: u64) -> bool {
        let end = self.address.checked_add(self.size.into());
        address >= self.address
            && address
                .checked_add(len)
                .zip(end)
                .is_some_and(|(last, end)| last <= end)
    }
}

/// The entries of a VM.
///
/// # Invariants
///
/// `events` is sorted by their stores, and no two of them collide.
#[derive(Default)]
struct Entries {
    events: KVec<IoEventFd>,
    zones: KVec<Zone>,
}

impl Entries {
    /// The place of the first eventfd whose stores are not before those.
    fn place_of(&self, stores: &Stores) -> usize {
        self.events.partition_point(|event| event.stores < *stores)
    }

    fn event_of(&self, stores: &Stores) -> Option<&IoEventFd> {
        let event = self.events.get(self.place_of(stores))?;
        (event.stores == *stores).then_some(event)
    }

    /// The eventfd that a store signals. At most one can be it.
    fn event_for(&self, address: u64, len: usize, value: u64) -> Option<&IoEventFd> {
        // Few addresses have two eventfds, so the search is by the address alone. Memory comes
        // first.
        let place = self
            .events
            .partition_point(|event| event.stores.address < address);
        let first = self.events.get(place)?;
        if first.stores.address != address {
            return None;
        }
        let any = Stores::to(address);
        let this_length = Stores {
            len: len as u32,
            ..any
        };
        let this_value = Stores {
            data: Some(value),
            ..this_length
        };
        if [any, this_length, this_value].contains(&first.stores) {
            return Some(first);
        }
        self.event_of(&this_length)
            .or_else(|| self.event_of(&this_value))
    }
}

/// The entries of a VM.
#[pin_data]
pub(crate) struct Bus {
    #[pin]
    entries: SpinLock<Entries>,
    /// Whether there was ever an entry.
    is_used: AtomicBool,
    /// The ring, once a zone is there or a monitor maps it. Written with the lock of `entries`
    /// held.
    ring: SetOnce<Ring>,
}

impl Bus {
    /// An empty one.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_spinlock!(Entries::default(), "kvm_arm_bus"),
            is_used: AtomicBool::new(false),
            ring: SetOnce::new(),
        })
    }

    /// The ring, which vCPUs map beside their page. Makes it if it is not there yet.
    pub(crate) fn ring(&self) -> Result<&Ring> {
        if let Some(ring) = self.ring.as_ref() {
            return Ok(ring);
        }
        let ring = Ring::new()?;
        let entries = self.entries.lock();
        // Another thread may have been faster, and be done: it had the lock.
        let left = match self.ring.as_ref() {
            None => {
                self.ring.populate(ring);
                None
            }
            Some(_) => Some(ring),
        };
        drop(entries);
        drop(left);
        self.ring.as_ref().ok_or(ENOMEM)
    }

    /// Takes a store; false if nobody here wants it.
    #[inline]
    pub(crate) fn write(&self, address: u64, len: usize, data: &[u8; 8]) -> bool {
        self.is_used.load(Ordering::Relaxed) && self.write_slow(address, len, data)
    }

    #[inline(never)]
    fn write_slow(&self, address: u64, len: usize, data: &[u8; 8]) -> bool {
        let unused = 64 - 8 * (len.clamp(1, 8) as u32);
        let value = u64::from_le_bytes(*data) << unused >> unused;
        let entries = self.entries.lock();
        if let Some(found) = entries.event_for(address, len, value) {
            found.event.signal();
            return true;
        }
        let mut zones = entries.zones.iter();
        zones.any(|zone| zone.space == Space::Memory && zone.has(address, len as u64))
            && self
                .ring
                .as_ref()
                .is_some_and(|ring| ring.push(address, len as u32, value.to_le_bytes()))
    }

    /// Carries out KVM_IOEVENTFD.
    pub(crate) fn ioeventfd(&self, arg: usize) -> Result {
        let request: uapi::kvm_ioeventfd = abi::read_user(arg)?;
        const PIO: u32 = 1 << uapi::kvm_ioeventfd_flag_nr_pio;
        const DATAMATCH: u32 = 1 << uapi::kvm_ioeventfd_flag_nr_datamatch;
        const DEASSIGN: u32 = 1 << uapi::kvm_ioeventfd_flag_nr_deassign;
        let has = |flag| request.flags & flag != 0;
        if request.flags & !(PIO | DATAMATCH | DEASSIGN) != 0
            || !matches!(request.len, 0 | 1 | 2 | 4 | 8)
            || request.addr.checked_add(request.len.into()).is_none()
            || request.len == 0 && has(DATAMATCH)
        {
            return Err(EINVAL);
        }
        let unused = 64 - 8 * request.len.clamp(1, 8);
        let stores = Stores {
            space: if has(PIO) {
                Space::Ports
            } else {
                Space::Memory
            },
            address: request.addr,
            len: request.len,
            data: has(DATAMATCH).then_some(request.datamatch << unused >> unused),
        };
        let entry = IoEventFd {
            stores,
            event: EventFd::get(request.fd as u32)?,
        };
        if has(DEASSIGN) {
            let mut entries = self.entries.lock();
            let place = entries.place_of(&stores);
            let known = entries.events.get(place).ok_or(ENOENT)?;
            if known.stores != stores || !known.event.is(&entry.event) {
                return Err(ENOENT);
            }
            let removed = entries.events.remove(place);
            drop(entries);
            drop(removed);
            return Ok(());
        }
        self.add(
            |entries| &mut entries.events,
            entry,
            |known, entry| known.stores.collide(&entry.stores),
            |known, entry| known.stores < entry.stores,
        )
    }

    /// Carries out KVM_REGISTER_COALESCED_MMIO.
    pub(crate) fn register_zone(&self, arg: usize) -> Result {
        let zone = read_zone(arg)?;
        self.ring()?;
        self.add(
            |entries| &mut entries.zones,
            zone,
            |_, _| false,
            |_, _| true,
        )
    }

    /// Carries out KVM_UNREGISTER_COALESCED_MMIO: for all zones that have the given one in them.
    pub(crate) fn unregister_zone(&self, arg: usize) -> Result {
        let gone = read_zone(arg)?;
        let mut entries = self.entries.lock();
        entries
            .zones
            .retain(|zone| zone.space != gone.space || !zone.has(gone.address, gone.size.into()));
        Ok(())
    }

    /// Adds an entry that clashes with no other, behind all that are before it.
    fn add<T>(
        &self,
        list: impl Fn(&mut Entries) -> &mut KVec<T>,
        entry: T,
        clashes: impl Fn(&T, &T) -> bool,
        is_before: impl Fn(&T, &T) -> bool,
    ) -> Result {
        loop {
            let len = list(&mut self.entries.lock()).len();
            if len >= MAX_ENTRIES {
                return Err(ENOSPC);
            }
            let mut bigger = KVec::with_capacity(len + 1, GFP_KERNEL_ACCOUNT)?;
            let mut entries = self.entries.lock();
            let known = list(&mut entries);
            if known.iter().any(|known| clashes(known, &entry)) {
                return Err(EEXIST);
            }
            if known.len() > len {
                // Another thread was faster.
                continue;
            }
            // Only moves: nothing is allocated or freed with the lock held.
            let place = known.partition_point(|known| is_before(known, &entry));
            let mut old = core::mem::take(known);
            let mut entry = Some(entry);
            for (at, moved) in old.drain_all().enumerate() {
                if at == place {
                    let _ = entry.take().map(|entry| bigger.push_within_capacity(entry));
                }
                let _ = bigger.push_within_capacity(moved);
            }
            let _ = entry.map(|entry| bigger.push_within_capacity(entry));
            *known = bigger;
            self.is_used.store(true, Ordering::Relaxed);
            drop(entries);
            return Ok(());
        }
    }
}

fn read_zone(arg: usize) -> Result<Zone> {
    let zone: uapi::kvm_coalesced_mmio_zone = abi::read_user(arg)?;
    let space = match abi::member!(zone.__bindgen_anon_1, pio) {
        0 => Space::Memory,
        1 => Space::Ports,
        _ => return Err(EINVAL),
    };
    Ok(Zone {
        space,
        address: zone.addr,
        size: zone.size,
    })
}
