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

use crate::{
    glue::{
        page::PAGE_SIZE,
        shared_page::{
            read,
            read_words,
            write,
            write_words,
            SharedPage, //
        },
    },
    trace::{
        kvm_mmio,
        mmio,
        trace, //
    }, //
};

/// The page.
pub(crate) struct RunPage(SharedPage<kvm_run>);

impl RunPage {
    /// Allocates a zeroed page.
    pub(crate) fn new() -> Result<Self> {
        SharedPage::new().map(Self)
    }

    /// Maps this page, or the ring behind it, or both into a process.
    pub(crate) fn mmap(&self, vma: &VmaNew, ring: &Page) -> Result {
        // SAFETY: The vma is being set up by its owner.
        let first = unsafe { (*vma.as_ptr()).vm_pgoff };
        let pages = [self.0.page(), ring];
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
        read!(self.0, immediate_exit__unsafe) != 0
    }

    /// Says why KVM_RUN returns.
    pub(crate) fn set_exit_reason(&self, reason: u32) {
        write!(self.0, exit_reason = reason);
    }

    /// Why KVM_RUN returned, as the page says now.
    pub(crate) fn exit_reason(&self) -> u32 {
        read!(self.0, exit_reason)
    }

    /// The lines of the vCPU's own devices, for a monitor with its own interrupt controller.
    pub(crate) fn device_irq_level(&self) -> u64 {
        read!(self.0, s.regs.device_irq_level)
    }

    /// Sets them.
    pub(crate) fn set_device_irq_level(&self, level: u64) {
        write!(self.0, s.regs.device_irq_level = level);
    }

    /// Describes an access for the monitor to carry out.
    pub(crate) fn set_mmio(&self, address: u64, len: usize, write: Option<u64>) {
        write!(self.0, __bindgen_anon_1.mmio.phys_addr = address);
        write_words!(self.0, __bindgen_anon_1.mmio.data = write.unwrap_or(0));
        write!(self.0, __bindgen_anon_1.mmio.len = len as u32);
        write!(
            self.0,
            __bindgen_anon_1.mmio.is_write = write.is_some().into()
        );
        self.set_exit_reason(uapi::KVM_EXIT_MMIO);
        trace!(kvm_mmio(
            write.map_or(mmio::ASKED, |_| mmio::WRITE),
            len as u32,
            address,
            write.unwrap_or(0)
        ));
    }

    /// Reports a debug exception: its class and syndrome as on arm64, and a watchpoint's address.
    pub(crate) fn set_debug(&self, hsr: u32, far: u64) {
        write!(self.0, __bindgen_anon_1.debug.arch.hsr = hsr);
        write!(self.0, __bindgen_anon_1.debug.arch.hsr_high = 0);
        write!(self.0, __bindgen_anon_1.debug.arch.far = far);
        self.set_exit_reason(uapi::KVM_EXIT_DEBUG);
    }

    /// Describes an access that is not emulated.
    pub(crate) fn set_arm_nisv(&self, syndrome: u32, ipa: u64) {
        write!(self.0, __bindgen_anon_1.arm_nisv.esr_iss = syndrome.into());
        write!(self.0, __bindgen_anon_1.arm_nisv.fault_ipa = ipa);
        self.set_exit_reason(uapi::KVM_EXIT_ARM_NISV);
    }

    /// The data that the monitor read, the first byte as the least significant one.
    #[inline]
    pub(crate) fn mmio_data(&self) -> u64 {
        let data = read_words!(self.0, __bindgen_anon_1.mmio.data);
        if kvm_mmio::is_on() {
            let address = read!(self.0, __bindgen_anon_1.mmio.phys_addr);
            let len = read!(self.0, __bindgen_anon_1.mmio.len);
            kvm_mmio::hit(mmio::READ, len, address, data);
        }
        data
    }

    /// Reports a system event, with its flags if it has such.
    pub(crate) fn set_system_event(&self, kind: u32, flags: Option<u64>) {
        write!(self.0, __bindgen_anon_1.system_event.type_ = kind);
        write!(
            self.0,
            __bindgen_anon_1.system_event.ndata = flags.is_some().into()
        );
        // The first element is where Linux 5.6 had the flags, without a count.
        write!(
            self.0,
            __bindgen_anon_1.system_event.__bindgen_anon_1.data[0] = flags.unwrap_or(0)
        );
        self.set_exit_reason(uapi::KVM_EXIT_SYSTEM_EVENT);
    }

    /// Says where the memory is that the host does not have; KVM_RUN fails.
    pub(crate) fn set_memory_fault(&self, gpa: u64, size: u64) {
        write!(self.0, __bindgen_anon_1.memory_fault.flags = 0);
        write!(self.0, __bindgen_anon_1.memory_fault.gpa = gpa);
        write!(self.0, __bindgen_anon_1.memory_fault.size = size);
        self.set_exit_reason(uapi::KVM_EXIT_MEMORY_FAULT);
    }

    /// Reports that the guest was not entered on a CPU.
    pub(crate) fn set_fail_entry(&self, reason: u64, cpu: u32) {
        write!(
            self.0,
            __bindgen_anon_1.fail_entry.hardware_entry_failure_reason = reason
        );
        write!(self.0, __bindgen_anon_1.fail_entry.cpu = cpu);
        self.set_exit_reason(uapi::KVM_EXIT_FAIL_ENTRY);
    }

    /// Reports that the guest cannot go on, with registers that may tell why.
    pub(crate) fn set_internal_error(&self, suberror: u32, data: &[u64]) {
        let data = data.get(..16).unwrap_or(data);
        write!(self.0, __bindgen_anon_1.internal.suberror = suberror);
        write!(self.0, __bindgen_anon_1.internal.ndata = data.len() as u32);
        for (n, value) in data.iter().enumerate() {
            write!(self.0, __bindgen_anon_1.internal.data[n] = *value);
        }
        self.set_exit_reason(uapi::KVM_EXIT_INTERNAL_ERROR);
    }
}
