// SPDX-License-Identifier: GPL-2.0

//! The machine around the CPUs: that of `tests/monitor`, or QEMU's virt board without any
//! hypervisor, which shows what hardware does.

use crate::mmu;

/// The value that the monitor puts into R0 of the first CPU.
const MONITOR: u32 = 0x6d6f_6e69;

/// Where the GIC is for us, which is where the monitor's machine has it.
pub(crate) const GIC_DISTRIBUTOR: usize = 0x3fff_0000;
pub(crate) const GIC_CPU: usize = 0x3ffd_0000;
/// The section around both.
const GIC_SECTION: u32 = 0x3ff0_0000;
/// Where QEMU's board has it.
const VIRT_GIC_DISTRIBUTOR: u32 = 0x0800_0000;
const VIRT_GIC_CPU: u32 = 0x0801_0000;
/// The data register of the PL011 of QEMU's board.
pub(crate) const PL011: usize = 0x0900_0000;

static GIC_TABLE: mmu::PageTable = mmu::PageTable::new();

extern "C" {
    static board_id: u32;
}

/// Whether the monitor and its doorbell are there.
#[inline(always)]
pub(crate) fn is_guest() -> bool {
    // SAFETY: `start.S` wrote it before anything else ran.
    unsafe { (&raw const board_id).read_volatile() == MONITOR }
}

/// Puts QEMU's devices where the monitor has them.
pub(crate) fn init() {
    if is_guest() {
        return;
    }
    let attributes = mmu::DEVICE_PAGE;
    for (address, physical) in [
        (GIC_DISTRIBUTOR, VIRT_GIC_DISTRIBUTOR),
        (GIC_CPU, VIRT_GIC_CPU),
        (GIC_CPU + 0x1000, VIRT_GIC_CPU + 0x1000),
    ] {
        GIC_TABLE.set(address as u32, physical | attributes);
    }
    GIC_TABLE.insert(GIC_SECTION);
}
