// SPDX-License-Identifier: GPL-2.0

//! The page that a vCPU shares with its monitor: `struct kvm_run`.

use kernel::{
    mm::virt::VmaNew,
    page::Page,
    prelude::*, //
};
use kvm_bindings::{
    self as uapi,
    kvm_run, //
};
use static_assertions::const_assert;

use crate::{
    glue::page::PAGE_SIZE,
    trace::{
        kvm_mmio,
        mmio,
        trace, //
    }, //
};

const_assert!(core::mem::size_of::<kvm_run>() <= PAGE_SIZE);

/// The page.
///
/// User space can write to it at any moment. So every access here is a single volatile read or
/// write of one field, and what is read is checked before it is used.
///
/// # Invariants
///
/// `run` is the kernel address of `page`, which is in lowmem.
pub(crate) struct RunPage {
    page: Page,
    run: *mut kvm_run,
}

// SAFETY: All accesses are volatile accesses of single fields.
unsafe impl Send for RunPage {}
// SAFETY: The same.
unsafe impl Sync for RunPage {}

macro_rules! write_field {
    ($this:expr, $($field:tt)+) => {
        (&raw mut (*$this.run).$($field)+)
    };
}

impl RunPage {
    /// Allocates a zeroed page.
    pub(crate) fn new() -> Result<Self> {
        let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        // SAFETY: The flags give lowmem, which always has an address.
        let run = unsafe { uapi::kvm_arm_page_address(page.as_ptr()) }.cast();
        Ok(Self { page, run })
    }

    /// Maps this page, or the ring behind it, or both into a process.
    pub(crate) fn mmap(&self, vma: &VmaNew, ring: &Page) -> Result {
        // SAFETY: The vma is being set up by its owner.
        let first = unsafe { (*vma.as_ptr()).vm_pgoff };
        let pages = [&self.page, ring];
        let count = (vma.end() - vma.start()) / PAGE_SIZE;
        let last = first.checked_add(count).ok_or(EINVAL)?;
        let pages = pages.get(first..last).ok_or(EINVAL)?;
        let vma_mixed = vma.set_mixedmap();
        for (index, page) in pages.iter().enumerate() {
            vma_mixed.vm_insert_page(vma.start() + index * PAGE_SIZE, page)?;
        }
        Ok(())
    }

    /// Whether the monitor wants KVM_RUN to return at once.
    #[inline]
    pub(crate) fn immediate_exit(&self) -> bool {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe { (&raw const (*self.run).immediate_exit__unsafe).read_volatile() != 0 }
    }

    /// Says why KVM_RUN returns.
    pub(crate) fn set_exit_reason(&self, reason: u32) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe { write_field!(self, exit_reason).write_volatile(reason) };
    }

    /// Why KVM_RUN returned, as the page says now.
    pub(crate) fn exit_reason(&self) -> u32 {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe { (&raw const (*self.run).exit_reason).read_volatile() }
    }

    /// The lines of the vCPU's own devices, for a monitor with its own interrupt controller.
    pub(crate) fn device_irq_level(&self) -> u64 {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe { (&raw const (*self.run).s.regs.device_irq_level).read_volatile() }
    }

    /// Sets them.
    pub(crate) fn set_device_irq_level(&self, level: u64) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe { write_field!(self, s.regs.device_irq_level).write_volatile(level) };
    }

    /// Describes an access for the monitor to carry out.
    pub(crate) fn set_mmio(&self, address: u64, len: usize, write: Option<[u8; 8]>) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe {
            let mmio = write_field!(self, __bindgen_anon_1.mmio);
            (&raw mut (*mmio).phys_addr).write_volatile(address);
            (&raw mut (*mmio).data).write_volatile(write.unwrap_or([0; 8]));
            (&raw mut (*mmio).len).write_volatile(len as u32);
            (&raw mut (*mmio).is_write).write_volatile(write.is_some().into());
        }
        self.set_exit_reason(uapi::KVM_EXIT_MMIO);
        trace!(kvm_mmio(
            write.map_or(mmio::ASKED, |_| mmio::WRITE),
            len as u32,
            address,
            write.map_or(0, u64::from_le_bytes)
        ));
    }

    /// Describes an access that is not emulated.
    pub(crate) fn set_arm_nisv(&self, syndrome: u32, ipa: u64) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe {
            let nisv = write_field!(self, __bindgen_anon_1.arm_nisv);
            (&raw mut (*nisv).esr_iss).write_volatile(syndrome.into());
            (&raw mut (*nisv).fault_ipa).write_volatile(ipa);
        }
        self.set_exit_reason(uapi::KVM_EXIT_ARM_NISV);
    }

    /// What the monitor read.
    pub(crate) fn mmio_data(&self) -> [u8; 8] {
        // SAFETY: Mapped and large enough, by the type's invariant.
        let data = unsafe { (&raw const (*self.run).__bindgen_anon_1.mmio.data).read_volatile() };
        if kvm_mmio::is_on() {
            // SAFETY: The same.
            let (address, len) = unsafe {
                let mmio = &raw const (*self.run).__bindgen_anon_1.mmio;
                (
                    (&raw const (*mmio).phys_addr).read_volatile(),
                    (&raw const (*mmio).len).read_volatile(),
                )
            };
            kvm_mmio::hit(mmio::READ, len, address, u64::from_le_bytes(data));
        }
        data
    }

    /// Reports a system event, with its flags if it has such.
    pub(crate) fn set_system_event(&self, kind: u32, flags: Option<u64>) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe {
            let event = write_field!(self, __bindgen_anon_1.system_event);
            (&raw mut (*event).type_).write_volatile(kind);
            (&raw mut (*event).ndata).write_volatile(flags.is_some().into());
            // Linux 5.6 had the flags here, and no count.
            let data = (&raw mut (*event).__bindgen_anon_1.data).cast::<u64>();
            data.write_volatile(flags.unwrap_or(0));
        }
        self.set_exit_reason(uapi::KVM_EXIT_SYSTEM_EVENT);
    }

    /// Says where the memory is that the host does not have; KVM_RUN fails.
    pub(crate) fn set_memory_fault(&self, gpa: u64, size: u64) {
        // SAFETY: Mapped and large enough, by the type's invariant.
        unsafe {
            let fault = write_field!(self, __bindgen_anon_1.memory_fault);
            (&raw mut (*fault).flags).write_volatile(0);
            (&raw mut (*fault).gpa).write_volatile(gpa);
            (&raw mut (*fault).size).write_volatile(size);
        }
        self.set_exit_reason(uapi::KVM_EXIT_MEMORY_FAULT);
    }

    /// Reports that the guest cannot go on, with registers that may tell why.
    pub(crate) fn set_internal_error(&self, suberror: u32, data: &[u64]) {
        let data = data.get(..16).unwrap_or(data);
        // SAFETY: Mapped and large enough, by the type's invariant; `data` has 16 elements there, and no more are written.
        unsafe {
            let internal = write_field!(self, __bindgen_anon_1.internal);
            (&raw mut (*internal).suberror).write_volatile(suberror);
            (&raw mut (*internal).ndata).write_volatile(data.len() as u32);
            let to = (&raw mut (*internal).data).cast::<u64>();
            for (n, value) in data.iter().enumerate() {
                to.add(n).write_volatile(*value);
            }
        }
        self.set_exit_reason(uapi::KVM_EXIT_INTERNAL_ERROR);
    }
}
