// SPDX-License-Identifier: GPL-2.0

//! The virtual CPU interface of one CPU as the hypervisor sees it: the GICH
//! registers (IHI 0048B section 5.3), saved and loaded by the world switch, and
//! the GICC view of them that user space gets.

use super::Error;
use bitflags::bitflags;

bitflags! {
    /// GICH_HCR (IHI 0048B section 5.3.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GichHcr: u32 {
        /// The virtual CPU interface works.
        const EN = 1 << 0;
        /// Maintenance interrupt while at most one list register is valid.
        const UIE = 1 << 1;
        /// Maintenance interrupt while EOICount is not zero.
        const LRENPIE = 1 << 2;
        /// Maintenance interrupt while no list register is pending.
        const NPIE = 1 << 3;
        /// Maintenance interrupt while the guest has group 0 enabled.
        const VGRP0EIE = 1 << 4;
        /// Maintenance interrupt while the guest has group 0 disabled.
        const VGRP0DIE = 1 << 5;
        /// Maintenance interrupt while the guest has group 1 enabled.
        const VGRP1EIE = 1 << 6;
        /// Maintenance interrupt while the guest has group 1 disabled.
        const VGRP1DIE = 1 << 7;
        /// EOIs of interrupts that were in no list register, in bits 31 to 27.
        const EOI_COUNT = 0x1f << 27;
    }
}

impl GichHcr {
    /// The largest EOICount.
    pub(crate) const MAX_EOI_COUNT: usize = 0x1f;

    /// EOICount: how many interrupts that were in no list register the guest has
    /// ended. It means nothing without `LRENPIE`.
    ///
    /// The field wraps around after 31, but `LRENPIE` makes the virtual CPU exit
    /// at the first of them. A guest that ended 32 before that would find one of
    /// its interrupts still active, and nobody else would notice.
    #[inline]
    pub(crate) const fn outside_ended(self) -> u32 {
        if self.contains(Self::LRENPIE) {
            self.bits() >> 27
        } else {
            0
        }
    }
}

/// GICH_VMCR (IHI 0048B section 5.3.4): the guest's GICC_CTLR, GICC_PMR,
/// GICC_BPR and GICC_ABPR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vmcr(pub u32);

impl Vmcr {
    const ENABLES: u32 = 0b11;
    /// VMGrp0En, VMGrp1En, VMAckCtl, VMFIQEn, VMCBPR: bits 0 to 4 of GICC_CTLR.
    const CTLR_LOW: u32 = 0x1f;
    /// VEM, here and in GICC_CTLR.
    const EOI_MODE: u32 = 1 << 9;
    const ABPR_SHIFT: u32 = 18;
    const BPR_SHIFT: u32 = 21;
    const BPR_MASK: u32 = 7;
    const PMR_SHIFT: u32 = 27;
    const PMR_MASK: u32 = 0x1f;

    /// Whether the guest takes interrupts of group 1, or of group 0.
    #[inline]
    pub const fn group_enabled(self, group1: bool) -> bool {
        self.0 & Self::ENABLES & (1 << group1 as u32) != 0
    }

    /// EOImode: whether GICC_EOIR only drops the priority and GICC_DIR
    /// deactivates.
    #[inline(always)]
    pub const fn eoi_mode(self) -> bool {
        self.0 & Self::EOI_MODE != 0
    }

    /// The priority mask as an eight-bit priority: interrupts with a lower
    /// value are signalled.
    #[inline]
    pub const fn priority_mask(self) -> u8 {
        ((self.0 >> Self::PMR_SHIFT) << 3) as u8
    }

    #[inline]
    const fn field(self, shift: u32, mask: u32) -> u32 {
        (self.0 >> shift) & mask
    }

    #[inline]
    fn set_field(&mut self, shift: u32, mask: u32, value: u32) {
        self.0 = (self.0 & !(mask << shift)) | ((value & mask) << shift);
    }
}

/// List registers that a CPU interface can have here; GICH_VTR may say fewer.
pub const MAX_LRS: usize = 16;

/// The saved virtual CPU interface of a virtual CPU.
///
/// After an exit, before [`fold`](super::Vgic::fold), the world switch has put
/// the hardware's values here:
///
/// - `lr[i]` for every `i` in `used` (then it zeroes the hardware's registers,
///   which would show an old end-of-interrupt maintenance status again);
/// - `hcr` if `LRENPIE` was set in it, for EOICount.
///
/// After [`flush_with`](super::Vgic::flush_with) the hardware has to get `hcr`, and
/// `lr[i]` for every `i` in `used`. `used` is always a run of ones from bit 0.
///
/// `vmcr` and `apr` may stay in the hardware meanwhile. [`deactivate`](super::Vgic::deactivate)
/// needs `vmcr` here, and user space's accesses need both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CpuInterface {
    /// GICH_HCR.
    pub hcr: u32,
    /// GICH_VMCR.
    pub vmcr: u32,
    /// GICH_APR.
    pub apr: u32,
    /// Bitmap of the list registers in use.
    pub used: u32,
    /// GICH_LR0 to GICH_LR15.
    pub lr: [u32; MAX_LRS],
}

/// Offsets of the GICC registers (IHI 0048B section 4.1.3).
mod offset {
    pub(super) const CTLR: u32 = 0x00;
    pub(super) const PMR: u32 = 0x04;
    pub(super) const BPR: u32 = 0x08;
    pub(super) const ABPR: u32 = 0x1c;
    pub(super) const APR: u32 = 0xd0;
    pub(super) const APR_LAST: u32 = 0xdc;
    pub(super) const IIDR: u32 = 0xfc;
}

impl CpuInterface {
    /// How many list registers are in use.
    #[inline(always)]
    pub(crate) const fn in_use(&self) -> usize {
        self.used.count_ones() as usize
    }

    /// One has been put to use since they were filled.
    #[inline(always)]
    pub const fn use_register(&mut self, index: usize) {
        self.used |= 1u32.wrapping_shl(index as u32);
    }

    /// The guest's control register.
    #[inline]
    pub const fn vmcr(&self) -> Vmcr {
        Vmcr(self.vmcr)
    }

    /// Reads a register of the group KVM_DEV_ARM_VGIC_GRP_CPU_REGS.
    ///
    /// GICC_PMR has the format of GICH_VMCR.VMPriMask, five bits at the bottom:
    /// so says the ABI, for historical reasons.
    pub fn uaccess_read(&self, register: u32) -> Result<u32, Error> {
        let vmcr = self.vmcr();
        Ok(match register {
            offset::CTLR => self.vmcr & (Vmcr::CTLR_LOW | Vmcr::EOI_MODE),
            offset::PMR => vmcr.field(Vmcr::PMR_SHIFT, Vmcr::PMR_MASK),
            offset::BPR => vmcr.field(Vmcr::BPR_SHIFT, Vmcr::BPR_MASK),
            offset::ABPR => vmcr.field(Vmcr::ABPR_SHIFT, Vmcr::BPR_MASK),
            offset::APR => self.apr,
            // A CPU interface with 32 preemption levels has one of them.
            _ if is_upper_apr(register) => 0,
            // Product K, GICv2, implementer Arm.
            offset::IIDR => 0x04b2_043b,
            _ => return Err(Error::NoRegister),
        })
    }

    /// Writes a register of the group KVM_DEV_ARM_VGIC_GRP_CPU_REGS, while the
    /// virtual CPU does not run.
    pub fn uaccess_write(&mut self, register: u32, value: u32) -> Result<(), Error> {
        let mut vmcr = self.vmcr();
        match register {
            offset::CTLR => {
                let mask = Vmcr::CTLR_LOW | Vmcr::EOI_MODE;
                vmcr.0 = (vmcr.0 & !mask) | (value & mask);
            }
            offset::PMR => vmcr.set_field(Vmcr::PMR_SHIFT, Vmcr::PMR_MASK, value),
            offset::BPR => vmcr.set_field(Vmcr::BPR_SHIFT, Vmcr::BPR_MASK, value),
            offset::ABPR => vmcr.set_field(Vmcr::ABPR_SHIFT, Vmcr::BPR_MASK, value),
            offset::APR => self.apr = value,
            _ if is_upper_apr(register) => {}
            offset::IIDR => {}
            _ => return Err(Error::NoRegister),
        }
        self.vmcr = vmcr.0;
        Ok(())
    }
}

/// GICC_APR1 to GICC_APR3.
const fn is_upper_apr(register: u32) -> bool {
    register > offset::APR && register <= offset::APR_LAST && register & 3 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gicc_view_round_trips() {
        let mut ci = CpuInterface::default();
        for (register, written, read) in [
            (0x00, 0xffff_ffff, 0x21f),
            (0x04, 0xffff_ffff, 0x1f),
            (0x08, 0xffff_fffa, 2),
            (0x1c, 5, 5),
            (0xd0, 0x8000_0001, 0x8000_0001),
            (0xd4, 1, 0),
            (0xdc, 1, 0),
            (0xfc, 1, 0x04b2_043b),
        ] {
            ci.uaccess_write(register, written).unwrap();
            assert_eq!(ci.uaccess_read(register), Ok(read), "{register:#x}");
        }
        assert_eq!(ci.vmcr, 0xf854_021f);
        assert_eq!(ci.vmcr().priority_mask(), 0xf8);
        for register in [0x0c, 0x10, 0x01, 0xd1, 0xe0, 0x1000] {
            assert_eq!(ci.uaccess_read(register), Err(Error::NoRegister));
            assert_eq!(ci.uaccess_write(register, 0), Err(Error::NoRegister));
        }
    }
}
