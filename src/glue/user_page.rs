// SPDX-License-Identifier: GPL-2.0

//! The memory at the addresses of the current process: pages, looked up without pinning them, and
//! memory of devices.

use core::ptr::NonNull;

use armv7::{
    addr::Pa,
    descriptor::MemAttr, //
};
use kernel::{
    bindings,
    mm::virt::flags,
    prelude::*, //
};
use kvm_bindings as glue;

use super::{
    page::{
        flush_dcache_to_poc,
        PAGE_SIZE, //
    },
    safe, //
};

/// The memory behind a user address.
pub(crate) struct HostMapping {
    /// The page, unless the host counts no references for it.
    page: Option<UserPage>,
    pa: Pa,
    writable: bool,
    memory: MemAttr,
}

impl HostMapping {
    /// Looks the address up, and faults a missing page in, for writing if `write`. May sleep.
    ///
    /// Memory that a device driver or `/dev/mem` mapped has the memory type that it has in the
    /// process.
    pub(crate) fn get(address: usize, write: bool, expected: Expected) -> Result<Self> {
        match UserPage::get(address, write, expected) {
            Ok(page) => Ok(Self {
                pa: page.pa(),
                writable: page.writable,
                page: Some(page),
                memory: MemAttr::NormalWb,
            }),
            Err(e) if e == EFAULT => Self::get_frame(address, write),
            Err(e) => Err(e),
        }
    }

    /// Looks up a frame that is mapped without a page (`VM_PFNMAP`, `VM_IO`).
    fn get_frame(address: usize, write: bool) -> Result<Self> {
        let task = kernel::current!();
        let mm = task.mm().ok_or(EFAULT)?;
        let lock = mm.mmap_read_lock();
        let vma = lock.vma_lookup(address).ok_or(EFAULT)?;
        // The look-up also finds entries that the process may not use at all.
        let needed = if write { flags::WRITE } else { flags::READ };
        if vma.flags() & needed == 0 {
            return Err(EFAULT);
        }
        let mut faulted = false;
        loop {
            let mut args = bindings::follow_pfnmap_args {
                vma: vma.as_ptr(),
                address,
                ..Default::default()
            };
            // SAFETY: The vma is the one at the address, and the mmap lock is held.
            if unsafe { bindings::follow_pfnmap_start(&mut args) } == 0 {
                let (pfn, writable) = (args.pfn, args.writable);
                // The driver chose this type for the whole mapping. `args` does not have the type
                // of the entry, and this architecture has no function for it.
                // SAFETY: The vma is valid, and the lock held; `args` was filled in by the call
                // above; the helpers only look at values.
                let memory = unsafe {
                    let memory = glue::kvm_arm_pgprot_memory((*vma.as_ptr()).vm_page_prot);
                    let is_ram = glue::kvm_arm_pfn_valid(pfn);
                    bindings::follow_pfnmap_end(&mut args);
                    match memory {
                        glue::KVM_ARM_MEMORY_WRITEBACK if is_ram => MemAttr::NormalWb,
                        glue::KVM_ARM_MEMORY_UNCACHED => MemAttr::NormalNc,
                        _ => MemAttr::Device,
                    }
                };
                if writable || !write {
                    return Ok(Self {
                        page: None,
                        pa: Pa((pfn as u64) << 12),
                        writable,
                        memory,
                    });
                }
            }
            if faulted {
                return Err(EFAULT);
            }
            faulted = true;
            let flags = if write {
                bindings::fault_flag_FAULT_FLAG_WRITE
            } else {
                0
            };
            // SAFETY: The mmap lock is held. The callee keeps it, since it gets no pointer by which
            // to report that it let go; so the vma stays.
            kernel::error::to_result(unsafe {
                bindings::fixup_user_fault(mm.as_raw(), address, flags, core::ptr::null_mut())
            })?;
        }
    }

    /// The physical address of the page.
    pub(crate) fn pa(&self) -> Pa {
        self.pa
    }

    /// Whether the process may write to it.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether it is a page of the host's memory.
    pub(crate) fn is_ram(&self) -> bool {
        self.page.is_some()
    }

    /// Whether it is a page that did not have to be faulted in.
    pub(crate) fn was_resident(&self) -> bool {
        self.page.as_ref().is_some_and(UserPage::was_resident)
    }

    /// The page that is missing next, counted from this one, if all up to there had to be faulted
    /// in.
    pub(crate) fn next_missing(&self) -> Option<usize> {
        match self.page.as_ref()?.origin {
            Origin::Faulted { next_missing } => next_missing,
            Origin::Resident => None,
        }
    }

    /// The pages that were faulted in behind this one.
    pub(crate) fn following(&self) -> &[Option<PageRef>] {
        self.page.as_ref().map_or(&[], |page| &page.following)
    }

    /// The memory type that it is mapped with. [`MemAttr::NormalWb`] is RAM, always.
    pub(crate) fn memory(&self) -> MemAttr {
        self.memory
    }

    /// Tells the host that the page is in use. If it was faulted in just now, the process's table
    /// tells that.
    pub(crate) fn mark_used(&self) {
        if let Some(page) = self.page.as_ref().filter(|page| page.was_resident()) {
            page.page.mark_used();
        }
    }

    /// Tells the host that the page may be written to from now on, see [`PageRef::mark_dirty`].
    pub(crate) fn mark_dirty(&self) {
        if let Some(page) = &self.page {
            page.page.mark_dirty();
        }
    }
}

/// The caller's expectation of a page that is looked up.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// Nothing.
    Anything,
    /// It is missing: this saves the look-up before the fault. It is to be written to, and up to so
    /// many pages behind it that the process has never touched are wanted, too.
    Missing(usize),
}

/// The most pages that are faulted in behind the one that is wanted.
pub(crate) const MOST_AHEAD: usize = 7;

/// Does the same as a touch of a user address by the current process, for writing if `write`, and
/// then as touches of up to `ahead` pages behind it. May sleep.
///
/// The result is the number of pages that may be there now. This only settles the simple case of a
/// missing page, and leaves all others, errors among them, to the slow look-up: zero.
///
/// Pages ahead are faulted in if a fault there makes a page of nothing, as for the first one:
/// nobody is told (`userfaultfd`), nothing is read from swap or from a file.
fn fault_in(address: usize, write: bool, ahead: usize) -> usize {
    let task = kernel::current!();
    let Some(vma) = task.mm().and_then(|mm| mm.lock_vma_under_rcu(address)) else {
        return 0;
    };
    let (needed, write_flag) = if write {
        (flags::WRITE, bindings::fault_flag_FAULT_FLAG_WRITE)
    } else {
        (flags::READ, 0)
    };
    if vma.flags() & (needed | flags::IO | flags::PFNMAP) != needed {
        return 0;
    }
    let fault_flags = bindings::fault_flag_FAULT_FLAG_VMA_LOCK
        | bindings::fault_flag_FAULT_FLAG_ALLOW_RETRY
        | bindings::fault_flag_FAULT_FLAG_KILLABLE
        | write_flag;
    let unlocked =
        bindings::vm_fault_reason_VM_FAULT_RETRY | bindings::vm_fault_reason_VM_FAULT_COMPLETED;
    let error = bindings::vm_fault_reason_VM_FAULT_OOM
        | bindings::vm_fault_reason_VM_FAULT_SIGBUS
        | bindings::vm_fault_reason_VM_FAULT_SIGSEGV
        | bindings::vm_fault_reason_VM_FAULT_HWPOISON;
    let mut wanted = 1;
    let mut faulted = 0;
    while faulted < wanted {
        let address = address + faulted * PAGE_SIZE;
        // SAFETY: The lock of the vma, which the flags tell of, is held; the address is in it, and
        // the access is one that it allows.
        let fault = unsafe {
            bindings::handle_mm_fault(vma.as_ptr(), address, fault_flags, core::ptr::null_mut())
        };
        if fault & unlocked != 0 {
            // The callee has let go of the lock.
            core::mem::forget(vma);
            let is_done = fault & bindings::vm_fault_reason_VM_FAULT_RETRY == 0;
            return faulted + usize::from(is_done);
        }
        // After any error, the next look-up finds nothing.
        faulted += 1;
        if fault & error != 0 {
            break;
        }
        // SAFETY: The lock of the vma is held.
        if faulted == 1 && ahead != 0 && unsafe { glue::kvm_arm_is_private_memory(vma.as_ptr()) } {
            let next = address + PAGE_SIZE;
            let most = ahead.min(vma.end().saturating_sub(next) / PAGE_SIZE);
            wanted += safe::kvm_arm_count_empty(next, most as u32) as usize;
        }
    }
    faulted
}

/// A page of the current process, held by a reference for as long as the value lives.
///
/// The reference only keeps the page from being reused; the process's mapping of it may change
/// at any time, which an MMU notifier tells.
struct UserPage {
    page: PageRef,
    writable: bool,
    origin: Origin,
    /// The pages that were faulted in behind it.
    following: [Option<PageRef>; MOST_AHEAD],
}

/// Where a page came from.
enum Origin {
    /// The page was there.
    Resident,
    /// The page had to be faulted in.
    Faulted {
        /// The first page behind it that would have to be faulted in, too, if the look-up found it.
        next_missing: Option<usize>,
    },
}

impl UserPage {
    /// Faults the page at user address `address` in, for writing if `write`. May sleep.
    ///
    /// A page that is only wanted for reading is looked up for writing too if it is mapped so
    /// already, which spares a later fault.
    fn get(address: usize, write: bool, expected: Expected) -> Result<Self> {
        let (ways, ahead): (&[bool], _) = match (expected, write) {
            (Expected::Missing(ahead), true) => (&[], ahead.min(MOST_AHEAD)),
            (Expected::Missing(_), false) => (&[], 0),
            (Expected::Anything, true) => (&[true], 0),
            (Expected::Anything, false) => (&[true, false], 0),
        };
        const NONE: [Option<PageRef>; MOST_AHEAD] = [const { None }; MOST_AHEAD];
        for &writable in ways {
            let [page] = PageRef::get_resident(address, 1, writable);
            if let Some(page) = page {
                return Ok(Self {
                    page,
                    writable,
                    origin: Origin::Resident,
                    following: NONE,
                });
            }
        }
        // Now the fast look-up costs less than the slow one around a fault. To look for the next
        // page, too, takes only a look at the next entry.
        let faulted = fault_in(address, write, ahead);
        if faulted != 0 {
            let [page, mut following @ ..]: [_; 2 + MOST_AHEAD] =
                PageRef::get_resident(address, 1 + faulted, write);
            let found = following.iter().take_while(|page| page.is_some()).count();
            if let Some(page) = page {
                let [mapped @ .., _] = following.each_mut();
                let mut following = NONE;
                // The one behind those that were faulted in was there before.
                for (to, from) in following.iter_mut().zip(mapped).take(faulted - 1) {
                    *to = from.take();
                }
                return Ok(Self {
                    page,
                    writable: write,
                    origin: Origin::Faulted {
                        next_missing: (found < faulted).then_some(1 + found),
                    },
                    following,
                });
            }
        }
        let mut page = core::ptr::null_mut();
        let flags = if write { bindings::FOLL_WRITE } else { 0 };
        // SAFETY: One pointer is written to `page`. The callee checks the address.
        let n = unsafe { bindings::get_user_pages_unlocked(address, 1, &mut page, flags) };
        match n {
            1 => Ok(Self {
                // INVARIANT: The callee took a reference.
                page: NonNull::new(page).map(PageRef).ok_or(EFAULT)?,
                writable: write,
                origin: Origin::Faulted { next_missing: None },
                following: NONE,
            }),
            n if n < 0 => Err(Error::from_errno(n as i32)),
            _ => Err(EFAULT),
        }
    }

    /// The physical address.
    fn pa(&self) -> Pa {
        self.page.pa()
    }

    fn was_resident(&self) -> bool {
        matches!(self.origin, Origin::Resident)
    }
}

/// A reference to a page of the host.
///
/// # Invariants
///
/// The page is valid and the reference is held.
pub(crate) struct PageRef(NonNull<bindings::page>);

impl PageRef {
    /// Up to `most` pages at an address of the current process and behind it, to the first that is
    /// not there, or may not be written to if `write`. Faults nothing in, and does not sleep.
    pub(crate) fn get_resident<const N: usize>(
        address: usize,
        most: usize,
        write: bool,
    ) -> [Option<Self>; N] {
        let mut pages = [core::ptr::null_mut(); N];
        let flags = if write { bindings::FOLL_WRITE } else { 0 };
        let most = most.min(N) as i32;
        // SAFETY: No more than `N` pointers are written to `pages`. The callee checks the
        // addresses.
        let n = unsafe {
            glue::kvm_arm_get_user_pages_fast_only(address, most, flags, pages.as_mut_ptr())
        };
        let mut left = usize::try_from(n).unwrap_or(0);
        pages.map(|page| {
            left = left.checked_sub(1)?;
            // INVARIANT: The callee took references to that many pages.
            NonNull::new(page).map(Self)
        })
    }

    /// The physical address.
    pub(crate) fn pa(&self) -> Pa {
        // SAFETY: The page is valid, by the type's invariant.
        Pa((unsafe { glue::kvm_arm_page_to_pfn(self.0.as_ptr()) } as u64) << 12)
    }

    /// Tells the host that the page is in use.
    fn mark_used(&self) {
        // SAFETY: The page is valid and this value holds a reference, by the type's invariant.
        unsafe { glue::kvm_arm_mark_page_accessed(self.0.as_ptr()) };
    }

    /// Tells the host that the page may be written to from now on.
    ///
    /// Only for a page that the guest can reach, while something keeps an invalidation from taking
    /// it away. A file system invalidates a page before it writes the page back. It would not learn
    /// of writes after that.
    pub(crate) fn mark_dirty(&self) {
        // SAFETY: The page is valid and this value holds a reference, by the type's invariant.
        unsafe { glue::kvm_arm_mark_page_dirty(self.0.as_ptr()) };
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: A reference is held, by the type's invariant.
        unsafe { glue::kvm_arm_put_page(self.0.as_ptr()) };
    }
}

/// Cleans and invalidates RAM, which need not be mapped in the kernel, to the point of coherency.
///
/// # Safety
///
/// `size` bytes at `pa`, whole pages, must be RAM of the host that stays in use during the call.
#[cold]
pub(crate) unsafe fn flush_ram_by_kmap(pa: Pa, size: u64) {
    let first = (pa.0 >> 12) as usize;
    for pfn in first..first + (size >> 12) as usize {
        // SAFETY: RAM has a `struct page`; the mapping is local to this function.
        unsafe {
            let page = glue::kvm_arm_pfn_to_page(pfn);
            let va = glue::kvm_arm_kmap_local_page(page);
            flush_dcache_to_poc(va.cast(), PAGE_SIZE);
            glue::kvm_arm_kunmap_local(va);
        }
    }
}

/// Writes to the current process's memory, if that can be done without a fault; says whether it
/// wrote. Does not sleep.
pub(crate) fn write_resident(address: usize, data: &[u8]) -> bool {
    // SAFETY: `data` can be read. The callee checks the address.
    unsafe { glue::kvm_arm_write_resident(address, data.as_ptr().cast(), data.len()) }
}

/// Does the same as a write by the process, except for the writing. May sleep.
pub(crate) fn make_writable(address: usize, size: usize) -> Result {
    if safe::kvm_arm_make_writable(address, size) {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Whether the current process maps the 2 MiB around a user address as one huge page.
///
/// The answer can change at once, unless the caller keeps the mapping from being invalidated.
pub(crate) fn is_huge_mapping(address: usize) -> bool {
    safe::kvm_arm_is_huge_mapping(address)
}

/// The first address that a process cannot map.
pub(crate) fn user_limit() -> u32 {
    safe::kvm_arm_user_limit()
}
