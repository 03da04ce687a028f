// SPDX-License-Identifier: GPL-2.0

//! The values of HYP mode's control registers while a guest runs, with the reason
//! for each bit.
//!
//! A bit that is set without need costs an exit for each access that it traps. A
//! missing bit lets the guest see or change the host's state.

use crate::regs::{
    Hcptr,
    Hcr,
    Hdcr,
    Hstr, //
};

/// HCR while a guest runs.
///
/// - VM: the guest's physical addresses are translated by stage 2.
/// - SWIO: an invalidation by set and way must not drop lines of other guests or the host, should
///   it ever not trap.
/// - FMO, IMO, AMO: interrupts and aborts that arrive while a guest runs are the host's, and the
///   guest's masks do not hold them back. The bits also turn the virtual ones on.
/// - FB, BSU inner: a vCPU moves between physical CPUs. TLB maintenance and barriers that a
///   uniprocessor guest means for itself have to reach the CPUs where the vCPU has been.
/// - TWI: a guest that waits gives its CPU away.
/// - TSC: a guest has no secure monitor. The highvisor answers the call.
/// - TIDCP: L2CTLR, and other registers of the core's own in c9 to c11.
/// - TAC: ACTLR changes the whole physical CPU.
/// - TSW: set and way mean nothing to a vCPU, see TVM.
///
/// Left out: TWE, as trapping every WFE costs more than it gives (it is added while other tasks
/// want the CPU); TID0 to TID3, as the guest's core is the host's; PTW, as guests may keep tables
/// where they like; DC, as guests that start with the caches off do maintenance for that;
/// TPC, TPU, TTLB, as these operations are harmless.
pub const HCR_GUEST: Hcr = Hcr::VM
    .union(Hcr::SWIO)
    .union(Hcr::FMO)
    .union(Hcr::IMO)
    .union(Hcr::AMO)
    .union(Hcr::FB)
    .union(Hcr::BSU_INNER)
    .union(Hcr::TWI)
    .union(Hcr::TSC)
    .union(Hcr::TIDCP)
    .union(Hcr::TAC)
    .union(Hcr::TSW);

/// To be added to [`HCR_GUEST`] while the guest's caches are off, and from a set/way operation
/// until they are next toggled.
///
/// TVM: a guest turns its caches on by a write to SCTLR, which has to be seen. Before it, the data
/// that the host wrote for the guest through its own caches must be in memory; after it, no stale
/// line may hide data that the guest wrote around the caches. Then the bit goes, because a guest
/// writes the trapped registers at every context switch.
pub const HCR_CACHES_OFF: Hcr = Hcr::TVM;

/// HSTR while a guest runs.
///
/// - T15: c15 has the core's own registers, and some of them change the whole physical CPU.
///
/// Nothing else: guests use registers of the other primary registers all the time. So a guest can
/// write FCSEIDR, in c13, which a core must ignore; the world switch clears it for the emulated
/// ones that do not.
pub const HSTR_GUEST: Hstr = Hstr::T15;

/// HCPTR while a guest runs, until it uses the VFP for the first time since it was entered.
///
/// - TCP10, TCP11: the first use traps, and the registers are switched then. Mostly the guest exits
///   without a use.
/// - TTA: trace registers are the host's.
///
/// Left out: TCPAC, as CPACR is the guest's own and switched; TASE, as the two TCP bits include
/// Advanced SIMD.
pub const HCPTR_GUEST: Hcptr = Hcptr::TCP10.union(Hcptr::TCP11).union(Hcptr::TTA);

/// [`HCPTR_GUEST`] once the guest's VFP registers are loaded.
pub const HCPTR_GUEST_VFP: Hcptr = Hcptr::TTA;

/// The bits of HDCR that are set while a guest runs. HPMN is kept: it divides the counters between
/// HYP mode and the others, and its reset value is the number of counters.
///
/// - TDRA, TDOSA, TDA: the registers of a guest are in `machine::cp14`, and in the hardware only
///   while they have an effect. TDE requires the three, and TDA the other two.
/// - TPM, TPMCR: so are the performance counters.
/// - TDE: the host's breakpoints can match while a guest runs, and are none of its business. So all
///   debug exceptions come to HYP mode, until the guest's own breakpoints are in the hardware in
///   place of the host's. BKPT of a guest costs an exit.
///
/// Left out: HPME, as HYP mode counts nothing.
pub const HDCR_GUEST: Hdcr = HDCR_GUEST_DEBUGS.union(Hdcr::TDE);

/// [`HDCR_GUEST`] while the guest's own breakpoints and watchpoints are in the hardware: debug
/// exceptions are the guest's.
pub const HDCR_GUEST_DEBUGS: Hdcr = Hdcr::TDRA
    .union(Hdcr::TDOSA)
    .union(Hdcr::TDA)
    .union(Hdcr::TPM)
    .union(Hdcr::TPMCR);

/// CNTHCTL (B4.1.29) while a guest runs.
///
/// PL1PCTEN: reading the physical counter harms nobody, and Linux guests without a virtual one read
/// it often. PL1PCEN is left out: a HYP-booted host uses the physical timer itself.
pub const CNTHCTL_GUEST: u32 = 1 << 0;

/// CNTHCTL while the host runs: the physical counter and timer are its own.
pub const CNTHCTL_HOST: u32 = 1 << 0 | 1 << 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(HCR_GUEST.bits(), 0x0078_263b);
        assert_eq!(HSTR_GUEST.bits(), 0x8000);
        assert_eq!(HCPTR_GUEST.bits(), 0x0010_0c00);
        assert_eq!(HDCR_GUEST.bits(), 0x0f60);
        assert_eq!(HDCR_GUEST_DEBUGS.bits(), 0x0e60);
        assert!(!HDCR_GUEST.intersects(Hdcr::HPMN));
        assert!(!HCR_GUEST.intersects(HCR_CACHES_OFF));
        // C11.11.23: TDE set requires TDA, TDOSA and TDRA; TDA set requires TDOSA and TDRA.
        assert!(HDCR_GUEST.contains(Hdcr::TDA | Hdcr::TDOSA | Hdcr::TDRA));
        assert!(HDCR_GUEST_DEBUGS.contains(Hdcr::TDOSA | Hdcr::TDRA));
    }
}
