// SPDX-License-Identifier: GPL-2.0

//! The vCPUs of a VM.

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
};

use super::vcpu::Vcpu;

/// GICv2 has eight CPUs.
pub(crate) const MAX_VCPUS: usize = machine::vgic::MAX_CPUS;

/// The vCPUs of a VM, each in the place of its id. None ever goes.
pub(crate) struct Vcpus([SetOnce<Arc<Vcpu>>; MAX_VCPUS]);

impl Vcpus {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self([const { SetOnce::new() }; MAX_VCPUS])
    }

    /// The vCPU with an id.
    pub(super) fn get(&self, id: usize) -> Option<&Arc<Vcpu>> {
        if id >= self.0.len() {
            return None;
        }
        self.0
            .get(machine::nospec::index(id, self.0.len()))?
            .as_ref()
    }

    /// All of them, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Vcpu>> {
        self.0.iter().filter_map(SetOnce::as_ref)
    }

    /// Adds one. It is made by `make` if its place is free; nobody else may add one meanwhile.
    pub(super) fn add<R>(
        &self,
        id: usize,
        make: impl FnOnce() -> Result<(Arc<Vcpu>, R)>,
    ) -> Result<R> {
        let place = self.0.get(id).ok_or(EINVAL)?;
        if place.as_ref().is_some() {
            return Err(EEXIST);
        }
        let (vcpu, result) = make()?;
        place.populate(vcpu);
        Ok(result)
    }

    /// Asks something of those in a set.
    #[inline]
    pub(super) fn request(&self, mask: u32, what: u32) {
        if mask != 0 {
            self.request_each(mask, what);
        }
    }

    fn request_each(&self, mut mask: u32, what: u32) {
        while mask != 0 {
            let id = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            if let Some(vcpu) = self.get(id) {
                vcpu.request(what);
            }
        }
    }
}
