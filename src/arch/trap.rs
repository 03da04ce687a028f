// SPDX-License-Identifier: GPL-2.0

//! The reason for a trap of the guest, taken apart once for all who deal with it.

use crate::{
    addr::{
        Ipa,
        PAGE_SIZE, //
    },
    cond::condition_holds,
    hsr::{
        AbortIss,
        Cp32Access,
        Cp64Access,
        ExceptionClass,
        FaultStatus,
        Hsr,
        Wfx, //
    },
};

/// The addresses that HYP mode keeps of an abort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultAddresses {
    /// HDFAR: the virtual address of an access.
    pub data: u32,
    /// HIFAR: the virtual address of a fetch.
    pub fetch: u32,
    /// `IPA[39:12]`, by HPFAR or by another translation of the virtual address.
    pub ipa_page: u32,
}

/// A reason for which the guest was left by a trap (B3.13.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// An access or a fetch was aborted.
    Abort(Abort),
    /// A debug exception, which HDCR.TDE routes to HYP mode.
    Debug(DebugException),
    /// WFI or WFE.
    Wfx(Wfx),
    /// MCR or MRC of CP15.
    Cp15(Cp32Access),
    /// MCRR or MRRC of CP15.
    Cp15Double(Cp64Access),
    /// MCR or MRC of CP14.
    Cp14(Cp32Access),
    /// MRRC of CP14.
    Cp14Double(Cp64Access),
    /// HVC, with its immediate. PC is behind the instruction.
    Hvc(u16),
    /// SMC. The syndrome does not have its immediate.
    Smc,
    /// An instruction that is undefined for guests: LDC and STC of CP14, BXJ, VMRS and accesses to
    /// coprocessors that are trapped for good.
    Undefined,
    /// An instruction whose condition fails. Some cores trap it all the same (B1.14.1); it does
    /// nothing.
    NotExecuted,
    /// Nothing that a guest can cause.
    Unexpected,
}

/// A debug exception (C3.1). PC is the address of its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugException {
    /// At the instruction: it is BKPT, or a breakpoint or a vector catch matches it. Armv7's
    /// syndrome does not tell which.
    Instruction,
    /// A watchpoint matches an access of the instruction.
    Watchpoint {
        /// The virtual address.
        address: u32,
        /// The access is a store.
        is_write: bool,
    },
}

/// An abort that came to HYP mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The syndrome.
    pub iss: AbortIss,
    /// A fetch was aborted, else a load or store.
    pub is_fetch: bool,
    /// The virtual address.
    pub address: u32,
    /// `IPA[39:12]`.
    page: u32,
}

impl Abort {
    /// The intermediate physical address of the page.
    #[inline]
    pub const fn page(&self) -> Ipa {
        Ipa::from_gfn(self.page)
    }

    /// The number of the page.
    #[inline]
    pub const fn gfn(&self) -> u32 {
        self.page
    }

    /// The offset in the page.
    #[inline]
    pub const fn offset(&self) -> u32 {
        self.address & (PAGE_SIZE as u32 - 1)
    }

    /// The intermediate physical address.
    #[inline]
    pub const fn ipa(&self) -> Ipa {
        Ipa(self.page().0 | self.offset() as u64)
    }

    /// Whether an access with a syndrome can be of bytes in two pages: an unaligned one. The
    /// address may be that of its first byte, or that of the second page.
    #[inline]
    pub const fn may_cross_pages(&self) -> bool {
        let offset = self.offset();
        match self.iss.size() {
            Some(size) if size > 1 => offset == 0 || offset + size as u32 > PAGE_SIZE as u32,
            _ => false,
        }
    }

    /// Whether an access that was aborted at the first byte of a page seems to begin there, and not
    /// in the page before, by the registers R0 to R12 of the guest.
    ///
    /// The instruction would tell for certain, but costs a walk of the guest's tables, and devices
    /// have much used registers at the beginning of a page. One register has their address then,
    /// and none is so near before it that an access by an immediate offset could begin one to three
    /// bytes before.
    ///
    /// It fails for an unaligned access that crosses from memory into a device, if its base is far
    /// away, an index register leads to it, and a register without any part in it has the address
    /// of the page. Such an access is UNPREDICTABLE unless the guest has mapped the device as
    /// memory (A3.5.7).
    #[inline]
    pub fn seems_to_begin_page(&self, registers: &[u32]) -> bool {
        self.offset() == 0 && seems_to_begin_here(self.address, registers)
    }
}

/// [`Abort::seems_to_begin_page`] of an access that was aborted at `address`, where a page begins.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
pub fn seems_to_begin_here(address: u32, registers: &[u32]) -> bool {
    let mut is_here = false;
    for base in registers.iter().take(13) {
        match address.wrapping_sub(*base) {
            0 => is_here = true,
            1..=0x1002 => return false,
            _ => (),
        }
    }
    is_here
}

impl Trap {
    /// Takes a trap apart. `cpsr` is the guest's.
    // Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
    #[inline(always)]
    pub fn of(hsr: Hsr, cpsr: u32, addresses: &FaultAddresses) -> Self {
        match hsr.ec() {
            ExceptionClass::DataAbort if hsr.is_debug_event() => Self::watchpoint(hsr, addresses),
            ExceptionClass::PrefetchAbort if hsr.is_debug_event() => {
                Self::Debug(DebugException::Instruction)
            }
            ExceptionClass::Watchpoint => Self::watchpoint(hsr, addresses),
            ExceptionClass::Breakpoint | ExceptionClass::Bkpt => {
                Self::Debug(DebugException::Instruction)
            }
            ExceptionClass::DataAbort => Self::Abort(Abort {
                iss: hsr.abort(),
                is_fetch: false,
                address: addresses.data,
                page: addresses.ipa_page,
            }),
            ExceptionClass::PrefetchAbort => Self::Abort(Abort {
                iss: hsr.abort(),
                is_fetch: true,
                address: addresses.fetch,
                page: addresses.ipa_page,
            }),
            ExceptionClass::Hvc => Self::Hvc(hsr.immediate()),
            ExceptionClass::Smc => Self::Smc,
            ExceptionClass::UnknownReason
            | ExceptionClass::Svc
            | ExceptionClass::HypPrefetchAbort
            | ExceptionClass::HypDataAbort
            | ExceptionClass::Unknown(_) => Self::Unexpected,
            // All others are instructions that can be trapped with a condition that fails.
            _ if !condition_holds(hsr, cpsr) => Self::NotExecuted,
            ExceptionClass::Wfx => Self::Wfx(hsr.wfx()),
            ExceptionClass::Cp15 => Self::Cp15(hsr.cp_access()),
            ExceptionClass::Cp15Double => Self::Cp15Double(hsr.cp64_access()),
            ExceptionClass::Cp14 => Self::Cp14(hsr.cp_access()),
            ExceptionClass::Cp14Double => Self::Cp14Double(hsr.cp64_access()),
            ExceptionClass::Cp14LoadStore
            | ExceptionClass::Coprocessor
            | ExceptionClass::VfpId
            | ExceptionClass::Bxj => Self::Undefined,
        }
    }

    #[inline(always)]
    fn watchpoint(hsr: Hsr, addresses: &FaultAddresses) -> Self {
        Self::Debug(DebugException::Watchpoint {
            address: addresses.data,
            is_write: hsr.abort().is_write(),
        })
    }
}

/// The abort of a load or store where nothing is mapped, if its syndrome describes the access: the
/// most frequent of what [`Trap::of`] finds.
#[inline]
pub fn unmapped_access(hsr: Hsr, addresses: &FaultAddresses) -> Option<Abort> {
    let iss = hsr.abort();
    let is_one = hsr.ec() == ExceptionClass::DataAbort
        && iss.size().is_some()
        && matches!(iss.status(), FaultStatus::Translation(_));
    is_one.then_some(Abort {
        iss,
        is_fetch: false,
        address: addresses.data,
        page: addresses.ipa_page,
    })
}

/// The access of a trap that is one of an MCR or MRC of CP15, if it is executed: what
/// [`Trap::Cp15`] has, for HYP mode, which answers no others and has looked at the class already.
// Always: HYP mode calls it, and the kernel puts no probes where it is inlined.
#[inline(always)]
pub fn cp15(hsr: Hsr, cpsr: u32) -> Option<Cp32Access> {
    condition_holds(hsr, cpsr).then(|| hsr.cp_access())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cond::Cond,
        psr::Psr, //
    };
    use inputs::prelude::*;

    const ADDRESSES: FaultAddresses = FaultAddresses {
        data: 0x8123_4567,
        fetch: 0x9abc_def0,
        ipa_page: 0x00fe_dcba,
    };

    /// The kinds of traps by table B3-25, with no more of them than that.
    #[derive(Debug, PartialEq, Eq)]
    enum Expected {
        Data,
        Fetch,
        Watchpoint,
        Breakpoint,
        Wfx,
        Word(u32),
        Double(u32),
        Hvc,
        Smc,
        Undefined,
        NotExecuted,
        Unexpected,
    }

    /// The kind that a syndrome has to be of, from its bits alone.
    fn expected(hsr: u32, cpsr: u32) -> Expected {
        let class = hsr >> 26;
        let it = Psr(cpsr).it_state();
        let cond = match hsr >> 24 & 1 {
            1 => hsr >> 20 & 0xf,
            _ if it != 0 => u32::from(it >> 4),
            _ => 14,
        };
        let is_conditional = [1, 3, 4, 5, 6, 7, 8, 10, 12].contains(&class);
        if is_conditional && !Cond::new(cond).holds(Psr(cpsr)) {
            return Expected::NotExecuted;
        }
        match class {
            0x01 => Expected::Wfx,
            0x03 => Expected::Word(15),
            0x04 => Expected::Double(15),
            0x05 => Expected::Word(14),
            0x0c => Expected::Double(14),
            0x06 | 0x07 | 0x08 | 0x0a => Expected::Undefined,
            0x12 => Expected::Hvc,
            0x13 => Expected::Smc,
            0x20 if hsr & 0x3f == 0x22 => Expected::Breakpoint,
            0x24 if hsr & 0x3f == 0x22 => Expected::Watchpoint,
            0x30 | 0x38 => Expected::Breakpoint,
            0x34 => Expected::Watchpoint,
            0x20 => Expected::Fetch,
            0x24 => Expected::Data,
            _ => Expected::Unexpected,
        }
    }

    /// Checks the fields of a trap; gives its kind.
    fn kind(trap: Trap, hsr: u32) -> Expected {
        let word = |access: Cp32Access| {
            let bits = u32::from(access.opc2) << 17
                | u32::from(access.opc1) << 14
                | u32::from(access.crn) << 10
                | (access.rt as u32) << 5
                | u32::from(access.crm) << 1
                | u32::from(access.is_read);
            assert_eq!(bits, hsr & 0x000f_fdff, "{hsr:#x}");
        };
        let double = |access: Cp64Access| {
            let bits = u32::from(access.opc1) << 16
                | (access.rt2 as u32) << 10
                | (access.rt as u32) << 5
                | u32::from(access.crm) << 1
                | u32::from(access.is_read);
            assert_eq!(bits, hsr & 0x000f_3dff, "{hsr:#x}");
        };
        match trap {
            Trap::Abort(abort) => {
                let address = if abort.is_fetch {
                    ADDRESSES.fetch
                } else {
                    ADDRESSES.data
                };
                assert_eq!(abort.address, address);
                assert_eq!(abort.page(), Ipa(0xf_edcb_a000));
                assert_eq!(abort.ipa(), Ipa(0xf_edcb_a000 | u64::from(address & 0xfff)));
                assert_eq!(abort.gfn(), ADDRESSES.ipa_page);
                assert_eq!(abort.iss, Hsr(hsr).abort());
                if abort.is_fetch {
                    Expected::Fetch
                } else {
                    Expected::Data
                }
            }
            Trap::Debug(DebugException::Instruction) => Expected::Breakpoint,
            Trap::Debug(DebugException::Watchpoint { address, is_write }) => {
                assert_eq!(address, ADDRESSES.data);
                assert_eq!(is_write, hsr & 1 << 6 != 0);
                Expected::Watchpoint
            }
            Trap::Wfx(wfx) => {
                assert_eq!(wfx == Wfx::Wfe, hsr & 1 != 0);
                Expected::Wfx
            }
            Trap::Cp15(access) => {
                word(access);
                Expected::Word(15)
            }
            Trap::Cp14(access) => {
                word(access);
                Expected::Word(14)
            }
            Trap::Cp15Double(access) => {
                double(access);
                Expected::Double(15)
            }
            Trap::Cp14Double(access) => {
                double(access);
                Expected::Double(14)
            }
            Trap::Hvc(immediate) => {
                assert_eq!(u32::from(immediate), hsr & 0xffff);
                Expected::Hvc
            }
            Trap::Smc => Expected::Smc,
            Trap::Undefined => Expected::Undefined,
            Trap::NotExecuted => Expected::NotExecuted,
            Trap::Unexpected => Expected::Unexpected,
        }
    }

    fn check(hsr: u32, cpsr: u32) {
        let trap = Trap::of(Hsr(hsr), cpsr, &ADDRESSES);
        assert_eq!(kind(trap, hsr), expected(hsr, cpsr), "{hsr:#x} {cpsr:#x}");
        let cp15 = match trap {
            Trap::Cp15(access) => Some(access),
            _ => None,
        };
        if Hsr(hsr).ec() == ExceptionClass::Cp15 {
            assert_eq!(super::cp15(Hsr(hsr), cpsr), cp15);
        }
        let unmapped = match trap {
            Trap::Abort(abort)
                if hsr >> 26 == 0x24 && abort.iss.size().is_some() && hsr & 0x3c == 4 =>
            {
                Some(abort)
            }
            _ => None,
        };
        assert_eq!(unmapped_access(Hsr(hsr), &ADDRESSES), unmapped);
        assert!(Hsr(hsr) != Hsr::CALL || trap == Trap::Hvc(0));
    }

    /// All of the upper half of HSR, which has the class and the condition, in Arm state and in an
    /// IT block; the lower half, whose fields are plain, by a walking pattern.
    #[test]
    fn every_class_and_condition() {
        for upper in 0..=u16::MAX {
            let lower = upper.wrapping_mul(0x9e37) ^ upper >> 3;
            let hsr = u32::from(upper) << 16 | u32::from(lower);
            check(hsr, 0x4000_0013);
            check(hsr, Psr(0xa000_0033).with_it_state(0x18).0);
        }
    }

    #[test]
    fn hypercalls() {
        assert_eq!(Hsr::CALL.0, 0x4a00_0000);
        for (hsr, immediate) in [(0x4a00_0000, 0), (0x4a00_0001, 1), (0x4a00_ffff, 0xffff)] {
            check(hsr, 0x13);
            assert_eq!(Trap::of(Hsr(hsr), 0x13, &ADDRESSES), Trap::Hvc(immediate));
        }
    }

    #[test]
    fn accesses_of_two_pages() {
        let abort = |isv: u32, sas: u32, data: u32| {
            let hsr = Hsr(0x24 << 26 | isv << 24 | sas << 22);
            let addresses = FaultAddresses { data, ..ADDRESSES };
            match Trap::of(hsr, 0, &addresses) {
                Trap::Abort(abort) => abort.may_cross_pages(),
                other => panic!("{other:?}"),
            }
        };
        for (sas, size) in [(0, 1), (1, 2), (2, 4)] {
            for address in 0x2000..0x3000 {
                let crosses = size > 1 && (address == 0x2000 || address + size > 0x3000);
                assert_eq!(abort(1, sas, address), crosses);
                assert!(!abort(0, sas, address) && !abort(1, 3, address));
            }
        }
    }

    #[test]
    fn accesses_that_seem_to_begin_a_page() {
        let seems = |address: u32, registers: &[(usize, u32)]| {
            let addresses = FaultAddresses {
                data: address,
                ..ADDRESSES
            };
            let mut all = [0x8000_0000; 13];
            for (n, value) in registers {
                all[*n] = *value;
            }
            match Trap::of(Hsr(0x24 << 26 | 1 << 24 | 2 << 22 | 0b0111), 0, &addresses) {
                Trap::Abort(abort) => abort.seems_to_begin_page(&all),
                other => panic!("{other:?}"),
            }
        };
        assert!(seems(0x4000, &[(3, 0x4000)]));
        assert!(!seems(0x4000, &[]) && !seems(0x4004, &[(3, 0x4004)]));
        // ldr r0, [r2, #imm] can begin up to three bytes before, for all bases so near.
        for near in 1..=0xfff + 3 {
            assert!(!seems(0x4000, &[(2, 0x4000 - near), (3, 0x4000)]));
        }
        // The case in which it is wrong: ldr r0, [r2, r4] begins at 0x3ffe, and R3 has nothing to
        // do with it.
        assert!(seems(0x4000, &[(2, 0x100e), (3, 0x4000), (4, 0x2ff0)]));
    }

    inputs! {
        fn any_syndrome(hsr: u32, cpsr: u32) {
            check(hsr, cpsr);
        }
    }
}
