// SPDX-License-Identifier: GPL-2.0

//! The open files that all threads share. Any thread may close one, or put another in its place, while
//! others use it.

use std::sync::atomic::{AtomicI32, Ordering};

use crate::random::Random;

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kvm,
    Vm,
    Vcpu,
    Vgic,
    Vfio,
    VmStats,
    VcpuStats,
    Event,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Kvm,
        Self::Vm,
        Self::Vcpu,
        Self::Vgic,
        Self::Vfio,
        Self::VmStats,
        Self::VcpuStats,
        Self::Event,
    ];
}

/// Places for files of each kind.
pub(crate) const EACH: usize = 8;
/// Places of VMs. Each has a part of the guests' memory.
pub(crate) const VMS: usize = 4;

/// The table of open files. An empty place is -1.
pub(crate) struct Files([[AtomicI32; EACH]; Kind::ALL.len()]);

impl Files {
    pub(crate) const fn new() -> Self {
        Self([const { [const { AtomicI32::new(-1) }; EACH] }; Kind::ALL.len()])
    }

    /// How many places a kind has.
    pub(crate) fn places(kind: Kind) -> usize {
        match kind {
            Kind::Kvm => 1,
            Kind::Vm | Kind::Vgic => VMS,
            Kind::Vfio => 2,
            _ => EACH,
        }
    }

    fn place(&self, kind: Kind, place: usize) -> &AtomicI32 {
        &self.0[kind as usize][place % EACH]
    }

    /// The file at a place, or -1.
    pub(crate) fn get(&self, kind: Kind, place: usize) -> i32 {
        self.place(kind, place).load(Ordering::Relaxed)
    }

    /// Puts a file at a place, and closes the one that was there.
    pub(crate) fn put(&self, kind: Kind, place: usize, fd: i32) {
        let old = self.place(kind, place).swap(fd, Ordering::Relaxed);
        if old >= 0 {
            // SAFETY: It was this table's, and is no more. A thread may still use its number.
            unsafe { libc::close(old) };
        }
    }

    /// A random place, most often of the given kind.
    pub(crate) fn any(&self, kind: Kind, random: &mut Random) -> (Kind, usize, i32) {
        let kind = if random.per_mille(15) {
            random.one(&Kind::ALL)
        } else {
            kind
        };
        let place = random.below(Self::places(kind));
        (kind, place, self.get(kind, place))
    }

    /// A random file of any kind.
    pub(crate) fn any_kind(&self, random: &mut Random) -> (Kind, usize, i32) {
        let kind = random.one(&Kind::ALL);
        self.any(kind, random)
    }

    /// All open files.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Kind, i32)> + '_ {
        Kind::ALL.into_iter().flat_map(move |kind| {
            (0..EACH)
                .map(move |place| (kind, self.get(kind, place)))
                .filter(|(_, fd)| *fd >= 0)
        })
    }
}
