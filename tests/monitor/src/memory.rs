// SPDX-License-Identifier: GPL-2.0

//! The guest's memory: anonymous memory of this process, given to KVM as one slot.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::ptr;

use kvm::uapi::UserspaceMemoryRegion;
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::error::{Context, Error, Result};
use crate::layout;

/// The size of a stage-2 block, and of a transparent huge page.
const BLOCK: usize = 2 << 20;

/// Memory of this process that is aligned such that huge pages of the host can become huge pages
/// of the guest.
pub(crate) struct AlignedMapping {
    start: *mut u8,
    size: usize,
    mapping: *mut libc::c_void,
    mapped: usize,
}

// SAFETY: The pointers are addresses of a mapping that the process has; nothing is reached by them.
unsafe impl Send for AlignedMapping {}
// SAFETY: As above.
unsafe impl Sync for AlignedMapping {}

impl AlignedMapping {
    pub(crate) fn new(size: usize) -> Result<Self> {
        let mapped = size
            .checked_add(BLOCK)
            .ok_or_else(|| Error::new("the guest's memory is larger than an address space"))?;
        // SAFETY: A new mapping at an address that the kernel chooses.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context(format!(
                "no room for {} MiB of guest memory (try a smaller --mem)",
                size >> 20
            ));
        }
        let skip = (mapping as usize).wrapping_neg() % BLOCK;
        Ok(Self {
            // SAFETY: The mapping is larger than `size` by `BLOCK`, and `skip` is less than that.
            start: unsafe { mapping.cast::<u8>().add(skip) },
            size,
            mapping,
            mapped,
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// Has hugetlbfs behind a part of this memory, which is new and empty then. The host has to
    /// have set its pages aside (`/proc/sys/vm/nr_hugepages`).
    pub(crate) fn use_hugetlb(&self, part: Range<usize>) -> Result<()> {
        if part.start > part.end || part.end > self.size || (part.start | part.end) % BLOCK != 0 {
            return Err(Error::new(format!(
                "huge pages are of {} MiB, and are the end of the guest's memory",
                BLOCK >> 20
            )));
        }
        // SAFETY: The range is ours, and nothing refers to it yet.
        let mapping = unsafe {
            libc::mmap(
                self.start.add(part.start).cast(),
                part.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context(format!(
                "no {} MiB of huge pages (is /proc/sys/vm/nr_hugepages large enough?)",
                part.len() >> 20
            ));
        }
        Ok(())
    }

    /// Says how the host should fill a part of this memory (`MADV_HUGEPAGE`, …).
    pub(crate) fn advise(&self, part: Range<usize>, advice: i32) -> std::io::Result<()> {
        if part.start > part.end || part.end > self.size {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: The range is ours; the kinds of advice that are used here change no contents.
        let result = unsafe {
            let start = self.start.add(part.start).cast();
            libc::madvise(start, part.len(), advice)
        };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for AlignedMapping {
    fn drop(&mut self) {
        // SAFETY: We made the mapping; the owner of `self` keeps it as long as it is in use.
        unsafe { libc::munmap(self.mapping, self.mapped) };
    }
}

/// The memory of a guest, from [`layout::RAM_BASE`] on.
pub(crate) struct Memory {
    pub guest: GuestMemoryMmap,
    pub mapping: AlignedMapping,
    size: u64,
}

impl Memory {
    pub(crate) fn new(mib: u64) -> Result<Self> {
        if !(16..=layout::RAM_MAX_MIB).contains(&mib) {
            return Err(Error::new(format!(
                "--mem {mib}: a guest can have 16 to {} MiB",
                layout::RAM_MAX_MIB
            )));
        }
        let size = mib << 20;
        let mapping = AlignedMapping::new(size as usize)?;
        // SAFETY: The range is mapped with these very flags, and `mapping` lives beside it.
        let region = unsafe {
            MmapRegion::build_raw(
                mapping.as_ptr(),
                size as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            )
        }
        .context("guest memory")?;
        let region =
            GuestRegionMmap::new(region, GuestAddress(layout::RAM_BASE)).context("guest memory")?;
        let guest = GuestMemoryMmap::from_regions(vec![region]).context("guest memory")?;
        Ok(Self {
            guest,
            mapping,
            size,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The memory as slot 0 of a VM.
    pub(crate) fn slot(&self) -> UserspaceMemoryRegion {
        UserspaceMemoryRegion {
            slot: 0,
            flags: 0,
            guest_phys_addr: layout::RAM_BASE,
            memory_size: self.size,
            userspace_addr: self.mapping.as_ptr() as usize as u64,
        }
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        self.guest
            .write_slice(data, GuestAddress(address))
            .context(format!(
                "{} bytes do not fit into the guest's memory at {address:#x} (try a larger --mem)",
                data.len()
            ))
    }
}

/// Reads a whole file that the user named.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut data))
        .context(format!("cannot read {}", path.display()))?;
    Ok(data)
}
