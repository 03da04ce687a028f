// SPDX-License-Identifier: GPL-2.0

//! The kernel's own reads and writes of guest memory: for an instruction, a table of the guest's,
//! or a store that is partly to a device.

use armv7::{
    addr::{
        Ipa,
        PAGE_SIZE, //
    },
    descriptor::MemAttr, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use machine::invalidations::Protocol;

use super::address_space::{
    AddressSpace,
    Region,
    UserAddress, //
};
use crate::glue::{
    cpu::cond_resched,
    task::is_killed,
    user_page::{
        make_writable,
        write_resident,
        Expected,
        HostMapping, //
    },
};

/// Lets other tasks have their turns before an access is tried again, because the host or the
/// monitor has changed something meanwhile. Fails if the process is killed.
fn pause() -> Result {
    cond_resched();
    if is_killed() {
        return Err(EINTR);
    }
    Ok(())
}

impl AddressSpace {
    /// Reads memory of the guest, within a page. False if there is none. Unless the guest's caches
    /// are on, this reads the data that the guest has written past the host's caches.
    pub(crate) fn read(&self, ipa: Ipa, data: &mut [u8], caches_on: bool) -> Result<bool> {
        loop {
            let Some(UserAddress { hva, sequence, .. }) = self.user_address(ipa) else {
                return Ok(false);
            };
            if !caches_on {
                self.flush_user_page(hva, false);
            }
            let read = UserSlice::new(UserPtr::from_addr(hva), data.len())
                .reader()
                .read_slice(data);
            // The data is the guest's if the slot was there until now.
            if self
                .invalidations
                .is_current(&(hva..hva + data.len()), sequence)
            {
                return read.map(|()| true);
            }
            pause()?;
        }
    }

    /// Writes to memory of the guest, within a page. False if there is none that can be written to.
    /// Unless the guest's caches are on, the data goes to memory, since the guest reads it there.
    pub(crate) fn write(&self, ipa: Ipa, data: &[u8], caches_on: bool) -> Result<bool> {
        loop {
            let Some(at) = self.user_address(ipa) else {
                return Ok(false);
            };
            let (slot, hva, sequence) = (at.slot, at.hva, at.sequence);
            if slot.read_only {
                return Ok(false);
            }
            if !caches_on {
                // The cache line may hold data from before the guest wrote there, which would go to
                // memory along with the new data.
                self.flush_user_page(hva, true);
            }
            let range = hva..hva + data.len();
            // As when a mapping is made: with the region's lock held, the page is the guest's, and
            // a task that deletes the slot or starts a log waits.
            let write = |_: &mut Region<'_>| {
                let written = write_resident(hva, data);
                if let (true, Some(log)) = (written, &slot.log) {
                    log.mark(ipa.gfn() - slot.gfn);
                }
                written
            };
            let written = self.with_region(ipa, |region| {
                self.invalidations
                    .if_current(region, &range, sequence, write)
            });
            if written.flatten() == Some(true) {
                if !caches_on {
                    self.flush_user_page(hva, false);
                }
                return Ok(true);
            }
            let made = make_writable(hva, data.len());
            if made.is_err() && self.invalidations.is_current(&range, sequence) {
                return Err(EFAULT);
            }
            pause()?;
        }
    }

    /// Cleans and invalidates the page at a user address to the point of coherency. Faults the page
    /// in, for writing if `write`. May sleep.
    ///
    /// If there is no page, nothing happens: an access by the process fails likewise.
    fn flush_user_page(&self, address: usize, write: bool) {
        let page = HostMapping::get(address, write, Expected::Anything).ok();
        if let Some(page) = page.filter(|page| page.memory() == MemAttr::NormalWb) {
            // SAFETY: The page is referenced; RAM that a driver has mapped without a page stays
            // RAM.
            unsafe { self.flush_ram_to_poc(page.pa(), PAGE_SIZE) };
        }
    }
}
