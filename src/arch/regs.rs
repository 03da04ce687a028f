// SPDX-License-Identifier: GPL-2.0

//! The registers of HYP mode and of the guest whose bits the module knows (B4.1), and
//! the geometry of address translation that follows from VTCR.
//!
//! [`crate::policy`] has the bits that are set for a guest, with the reasons.

use bitflags::bitflags;
use static_assertions::const_assert;
use static_assertions::const_assert_eq;

use crate::addr::{
    Pa,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

bitflags! {
    /// Hyp Configuration Register (B4.1.63).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hcr: u32 {
        /// Stage-2 translation.
        const VM = 1 << 0;
        /// Invalidation by set and way also cleans.
        const SWIO = 1 << 1;
        /// A stage-1 walk that stage 2 sends to Device memory faults.
        const PTW = 1 << 2;
        /// FIQs go to HYP mode.
        const FMO = 1 << 3;
        /// IRQs go to HYP mode.
        const IMO = 1 << 4;
        /// Asynchronous aborts go to HYP mode.
        const AMO = 1 << 5;
        /// A virtual FIQ is pending.
        const VF = 1 << 6;
        /// A virtual IRQ is pending.
        const VI = 1 << 7;
        /// A virtual asynchronous abort is pending.
        const VA = 1 << 8;
        /// TLB, branch predictor and instruction cache maintenance is broadcast.
        const FB = 1 << 9;
        /// Barriers reach at least the Inner Shareable domain.
        const BSU_INNER = 1 << 10;
        /// Barriers reach at least the Outer Shareable domain; with the bit above, the full
        /// system.
        const BSU_OUTER = 1 << 11;
        /// With stage 1 off, memory is Normal Write-Back.
        const DC = 1 << 12;
        /// WFI traps.
        const TWI = 1 << 13;
        /// WFE traps.
        const TWE = 1 << 14;
        /// ID group 0 traps.
        const TID0 = 1 << 15;
        /// ID group 1 traps.
        const TID1 = 1 << 16;
        /// ID group 2 traps.
        const TID2 = 1 << 17;
        /// ID group 3 traps.
        const TID3 = 1 << 18;
        /// SMC traps.
        const TSC = 1 << 19;
        /// CP15's encodings for implementation defined functions trap.
        const TIDCP = 1 << 20;
        /// ACTLR traps.
        const TAC = 1 << 21;
        /// Data cache maintenance by set and way traps.
        const TSW = 1 << 22;
        /// Cache maintenance by address to the point of coherency traps.
        const TPC = 1 << 23;
        /// Cache maintenance to the point of unification traps.
        const TPU = 1 << 24;
        /// TLB maintenance traps.
        const TTLB = 1 << 25;
        /// Writes to the registers that control stage 1 trap.
        const TVM = 1 << 26;
        /// All general exceptions go to HYP mode.
        const TGE = 1 << 27;
        const _ = !0;
    }
}

bitflags! {
    /// Hyp Coprocessor Trap Register (B4.1.62).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hcptr: u32 {
        /// Accesses to CP10 trap: VFP.
        const TCP10 = 1 << 10;
        /// Accesses to CP11 trap: VFP.
        const TCP11 = 1 << 11;
        /// Advanced SIMD instructions trap.
        const TASE = 1 << 15;
        /// Trace registers trap.
        const TTA = 1 << 20;
        /// CPACR traps.
        const TCPAC = 1 << 31;
        const _ = !0;
    }
}

bitflags! {
    /// Hyp System Trap Register (B4.1.70): traps CP15 by its primary register.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hstr: u32 {
        /// CRn, or CRm of a 64-bit access, is c15.
        const T15 = 1 << 15;
        /// ThumbEE's registers trap.
        const TTEE = 1 << 16;
        /// Jazelle traps.
        const TJDBX = 1 << 17;
        const _ = !0;
    }
}

bitflags! {
    /// Hyp Debug Configuration Register (B4.1.64, C11.11.23).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hdcr: u32 {
        /// HPMN: how many event counters are not HYP mode's own. Five bits.
        const HPMN = 0x1f;
        /// PMCR traps.
        const TPMCR = 1 << 5;
        /// All performance monitors trap.
        const TPM = 1 << 6;
        /// HYP mode's own counters count.
        const HPME = 1 << 7;
        /// Debug exceptions go to HYP mode.
        const TDE = 1 << 8;
        /// CP14 debug registers trap, but for those below.
        const TDA = 1 << 9;
        /// Registers for debug and power-down of the operating system trap.
        const TDOSA = 1 << 10;
        /// DBGDRAR and DBGDSAR trap.
        const TDRA = 1 << 11;
        const _ = !0;
    }
}

bitflags! {
    /// System Control Register of PL1 and PL0 (B4.1.130).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Sctlr: u32 {
        /// The MMU, stage 1.
        const M = 1 << 0;
        /// Alignment checks.
        const A = 1 << 1;
        /// Data and unified caches.
        const C = 1 << 2;
        /// CP15 barriers.
        const CP15BEN = 1 << 5;
        /// SWP and SWPB.
        const SW = 1 << 10;
        /// Branch prediction.
        const Z = 1 << 11;
        /// The instruction cache.
        const I = 1 << 12;
        /// High vectors.
        const V = 1 << 13;
        /// The hardware manages the access flag.
        const HA = 1 << 17;
        /// Writable memory is not executed.
        const WXN = 1 << 19;
        /// Memory that user mode can write is not executed with privileges.
        const UWXN = 1 << 20;
        /// Fast interrupts.
        const FI = 1 << 21;
        /// Exceptions are entered big-endian.
        const EE = 1 << 25;
        /// FIQs cannot be masked.
        const NMFI = 1 << 27;
        /// TEX remap.
        const TRE = 1 << 28;
        /// The access flag is used.
        const AFE = 1 << 29;
        /// Exceptions are entered in Thumb state.
        const TE = 1 << 30;
        const _ = !0;
    }
}

impl Sctlr {
    /// Whether the guest's data accesses go through the caches.
    #[inline]
    pub const fn caches_on(self) -> bool {
        self.contains(Self::M) && self.contains(Self::C)
    }
}

bitflags! {
    /// CNTP_CTL and CNTV_CTL (B4.1.32).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TimerCtl: u32 {
        /// The timer is on.
        const ENABLE = 1 << 0;
        /// Its output is masked.
        const IMASK = 1 << 1;
        /// Its condition is met. Read-only.
        const ISTATUS = 1 << 2;
    }
}

/// ISR.A (B4.1.99): an asynchronous abort is pending.
pub const ISR_A: u32 = 1 << 8;

/// CNTKCTL.PL0PTEN (B4.1.26): user mode may use the physical timer.
pub const CNTKCTL_PL0PTEN: u32 = 1 << 9;

/// TTBCR.EAE (B4.1.153): the guest uses the long-descriptor format.
pub const TTBCR_EAE: u32 = 1 << 31;

/// MPIDR (B4.1.106): the affinity fields.
pub const MPIDR_AFFINITY_MASK: u32 = 0x00ff_ffff;

// --- Translation ---------------------------------------------------------------

/// The bits of an IPA, and of a physical address, that the architecture has.
pub const IPA_BITS: u32 = 40;

/// The address bits that an entry of the first level leaves: 1 GiB.
const ROOT_SHIFT: u32 = 30;

/// Entries of the first level of stage 2.
///
/// A table has 512. A walk may start one level lower, in several tables one behind the other
/// (B3.6.5). Here these are two, in place of a level 0 with two entries, so every TLB miss of a
/// guest reads one descriptor less.
pub const STAGE2_ROOT_ENTRIES: usize = 1 << (IPA_BITS - ROOT_SHIFT);

/// The size of the first level in bytes. It has to be aligned to that.
pub const STAGE2_ROOT_SIZE: usize = STAGE2_ROOT_ENTRIES * 8;

/// The first level is two to this power pages.
pub const STAGE2_ROOT_ORDER: u32 = STAGE2_ROOT_SIZE.trailing_zeros() - PAGE_SHIFT;

const_assert_eq!(STAGE2_ROOT_SIZE, 2 * PAGE_SIZE as usize);
const_assert_eq!(STAGE2_ROOT_ORDER, 1);

/// The attributes of table walks: fields that TTBCR, HTCR and VTCR have at the same place. They
/// have to be those of the kernel's own mapping of the tables, Write-Back Write-Allocate and Inner
/// Shareable. Then walks snoop the caches, and no table needs cleaning.
pub mod walk {
    /// IRGN0: inner Write-Back Write-Allocate.
    pub const IRGN0_WBWA: u32 = 0b01 << 8;
    /// ORGN0: outer Write-Back Write-Allocate.
    pub const ORGN0_WBWA: u32 = 0b01 << 10;
    /// SH0: Inner Shareable.
    pub const SH0_INNER: u32 = 0b11 << 12;
    /// All three.
    pub const CACHED: u32 = IRGN0_WBWA | ORGN0_WBWA | SH0_INNER;
}

/// Bit 31 of HTCR and VTCR, which should be one.
const TCR_SBO31: u32 = 1 << 31;
/// Bit 23 of HTCR, which should be one.
const HTCR_SBO23: u32 = 1 << 23;

/// HTCR (B4.1.71): T0SZ is 0, so HYP mode has 32-bit virtual addresses and its walks start at
/// level 1, with four entries.
pub const HTCR: u32 = TCR_SBO31 | HTCR_SBO23 | walk::CACHED;

/// VTCR (B4.1.171): a field's place.
const VTCR_SL0_SHIFT: u32 = 6;
const VTCR_S: u32 = 1 << 4;
/// T0SZ is signed, four bits: the input address has 32 - T0SZ bits.
const VTCR_T0SZ: u32 = 32u32.wrapping_sub(IPA_BITS) & 0xf;

/// VTCR: a 40-bit input address (T0SZ is -8, and S is its sign), walks start at level 1 (SL0 is
/// 1).
pub const VTCR: u32 = TCR_SBO31 | walk::CACHED | 1 << VTCR_SL0_SHIFT | VTCR_S | VTCR_T0SZ;

const_assert_eq!(VTCR, 0x8000_3558);
const_assert_eq!(HTCR, 0x8080_3500);

/// The alignment of the first level is 5 - T0SZ bits for walks from level 1 (table B3-3).
const VTTBR_BADDR_BITS: u32 = 5 + (IPA_BITS - 32);
const_assert_eq!(1 << VTTBR_BADDR_BITS, STAGE2_ROOT_SIZE);

/// HSCTLR (B4.1.68): MMU, caches and CP15 barriers on; exceptions are taken in Arm state, little-
/// endian. No alignment checks, as in the kernel that the code is compiled for. The other bits
/// that are set should be one.
pub const HSCTLR: u32 =
    HSCTLR_SBO | Sctlr::M.bits() | Sctlr::C.bits() | Sctlr::I.bits() | Sctlr::CP15BEN.bits();
const HSCTLR_SBO: u32 =
    1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 18 | 1 << 16 | 1 << 11 | 1 << 4 | 1 << 3;

/// VTTBR (B4.1.172): where a guest's first level is, and its VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vttbr(pub u64);

impl Vttbr {
    /// VMID, eight bits.
    const VMID_SHIFT: u32 = 48;
    const BADDR_MASK: u64 = ((1 << IPA_BITS) - 1) & !((1 << VTTBR_BADDR_BITS) - 1);

    /// The value for a guest. `root` is aligned to [`STAGE2_ROOT_SIZE`].
    #[inline]
    pub const fn new(vmid: u8, root: Pa) -> Self {
        Self((vmid as u64) << Self::VMID_SHIFT | root.0 & Self::BADDR_MASK)
    }

    /// The VMID.
    #[inline]
    pub const fn vmid(self) -> u8 {
        (self.0 >> Self::VMID_SHIFT) as u8
    }

    /// The first level.
    #[inline]
    pub const fn root(self) -> Pa {
        Pa(self.0 & Self::BADDR_MASK)
    }
}

// --- Memory attributes of HYP mode -----------------------------------------------

/// Indices into HMAIR0 and HMAIR1, as descriptors have them.
pub mod hmair {
    /// Normal memory, Write-Back, Read- and Write-Allocate.
    pub const NORMAL: u32 = 0;
    /// Device memory.
    pub const DEVICE: u32 = 1;
    /// Normal memory, not cached.
    pub const UNCACHED: u32 = 2;

    /// The encodings (table B4-8 to B4-10).
    pub(super) const ATTR_NORMAL: u32 = 0xff;
    pub(super) const ATTR_DEVICE: u32 = 0x04;
    pub(super) const ATTR_UNCACHED: u32 = 0x44;
}

/// HMAIR0 (B4.1.67).
pub const HMAIR0: u32 = hmair::ATTR_NORMAL << (8 * hmair::NORMAL)
    | hmair::ATTR_DEVICE << (8 * hmair::DEVICE)
    | hmair::ATTR_UNCACHED << (8 * hmair::UNCACHED);

/// HMAIR1: its indices are not used.
pub const HMAIR1: u32 = 0;

const_assert!(HMAIR0 == 0x0044_04ff);

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    #[test]
    fn values() {
        assert_eq!(HSCTLR, 0x30c5_183d);
        assert!(Sctlr::from_bits_retain(0x00c5_187d).caches_on());
        assert!(!Sctlr::from_bits_retain(0x00c5_1879).caches_on());
        // T0SZ is a signed number of four bits.
        assert_eq!(32 - (((VTCR & 0xf) << 28) as i32 >> 28), IPA_BITS as i32);
        assert_eq!(VTCR >> 4 & 1, VTCR >> 3 & 1);
    }

    inputs! {
        fn vttbr_round_trip(vmid: u8, page in 0u64..1 << 27) {
            let root = Pa(page << 13);
            let vttbr = Vttbr::new(vmid, root);
            prop_assert_eq!((vttbr.vmid(), vttbr.root()), (vmid, root));
            prop_assert_eq!(vttbr.0 >> 56, 0);
        }
    }
}
