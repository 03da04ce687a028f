// SPDX-License-Identifier: GPL-2.0

//! A guest's own address translation, walked in software (B3.3 to B3.7).
//!
//! The hardware has an instruction for it, ATS1CPR. But the hardware cannot read a table whose page
//! the host has taken, or whose access flag it has cleared, and does not tell which table that is.
//! A walk through the host's mapping of guest memory brings the page back instead.

use crate::{
    addr::{
        Ipa,
        PAGE_SHIFT, //
    },
    cp15::Cp15Reg,
    exception::{
        CoreRegs,
        DataFault,
        FaultKind, //
    },
    regs::{
        Sctlr,
        IPA_BITS,
        TTBCR_EAE, //
    },
};

/// An access of the guest that is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAccess {
    /// A store.
    pub write: bool,
    /// Made with the rights of PL1.
    pub privileged: bool,
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The intermediate physical address.
    pub ipa: Ipa,
    /// Whether the guest's data accesses there go through caches that are Write-Back, inner and
    /// outer: whoever else accesses the memory finds what the guest wrote in the caches, too, and
    /// the guest finds in them what others write.
    ///
    /// Of all other memory the guest may have data that is in no cache, while a line of the caches
    /// is from before. Write-Through is among it: some cores treat it as Non-cacheable.
    pub cached: bool,
}

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError<E> {
    /// The guest gets this abort.
    Fault(DataFault),
    /// A table could not be read for a reason of the host's.
    Read(E),
}

/// The registers that decide about the translation of PL1 and PL0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stage1 {
    sctlr: Sctlr,
    ttbcr: u32,
    dacr: u32,
    ttbr0: u64,
    ttbr1: u64,
    /// PRRR and NMRR, or MAIR0 and MAIR1: they are the same registers.
    attributes: [u32; 2],
}

/// The entry of the tables for an address.
struct Leaf {
    ipa: u64,
    level: u32,
    /// `AP[2:0]` of the short-descriptor format (table B3-8), `AP[0]` being set where it is the
    /// access flag.
    ap: u32,
    /// The domain, and the rights that it gives.
    domain_number: u32,
    domain: Domain,
    /// It is Write-Back memory.
    write_back: bool,
}

/// A domain's field of DACR (B3.12.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    NoAccess,
    Client,
    Manager,
}

impl Stage1 {
    /// As the registers of a vCPU have it.
    pub fn of(regs: &impl CoreRegs) -> Self {
        let long = |low, high| u64::from(regs.cp15(high)) << 32 | u64::from(regs.cp15(low));
        Self {
            sctlr: Sctlr::from_bits_retain(regs.cp15(Cp15Reg::Sctlr)),
            ttbcr: regs.cp15(Cp15Reg::Ttbcr),
            dacr: regs.cp15(Cp15Reg::Dacr),
            ttbr0: long(Cp15Reg::Ttbr0Lo, Cp15Reg::Ttbr0Hi),
            ttbr1: long(Cp15Reg::Ttbr1Lo, Cp15Reg::Ttbr1Hi),
            attributes: [regs.cp15(Cp15Reg::Prrr), regs.cp15(Cp15Reg::Nmrr)],
        }
    }

    /// Translates a virtual address. Permissions are checked if there is an `access`.
    ///
    /// `read` reads bytes of the guest's memory, which do not cross pages, and says whether there
    /// are any. They are of a table; it is told whether the walk goes through the caches, as
    /// [`Translation::cached`] has it.
    pub fn translate<E>(
        &self,
        address: u32,
        access: Option<CheckedAccess>,
        mut read: impl FnMut(Ipa, &mut [u8], bool) -> Result<bool, E>,
    ) -> Result<Translation, WalkError<E>> {
        if !self.sctlr.contains(Sctlr::M) {
            // Strongly-ordered.
            return Ok(Translation {
                ipa: Ipa(address.into()),
                cached: false,
            });
        }
        let leaf = if self.ttbcr & TTBCR_EAE != 0 {
            self.walk_long(address, |ipa, walk| {
                self.descriptor::<8, E>(ipa, walk, &mut read)
            })?
        } else {
            self.walk_short(address, |ipa, walk| {
                self.descriptor::<4, E>(ipa, walk, &mut read)
            })?
        };
        if let Some(access) = access {
            self.check(&leaf, access).map_err(WalkError::Fault)?;
        }
        Ok(Translation {
            ipa: Ipa(leaf.ipa),
            cached: self.is_cached(leaf.write_back),
        })
    }

    /// Whether accesses with these attributes are made in the caches: not while SCTLR.C is clear
    /// (B3.8.2).
    fn is_cached(&self, write_back: bool) -> bool {
        write_back && self.sctlr.contains(Sctlr::C)
    }

    /// Reads a descriptor of `N` bytes, by a walk that is Write-Back or not.
    fn descriptor<const N: usize, E>(
        &self,
        ipa: u64,
        write_back: bool,
        read: &mut impl FnMut(Ipa, &mut [u8], bool) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        let mut bytes = [0; N];
        if !read(Ipa(ipa), &mut bytes, self.is_cached(write_back))? {
            return Ok(None);
        }
        // Tables have the endianness of exceptions (B3.10.3).
        let shift = |value, byte: &u8| value << 8 | u64::from(*byte);
        Ok(Some(if self.sctlr.contains(Sctlr::EE) {
            bytes.iter().fold(0, shift)
        } else {
            bytes.iter().rev().fold(0, shift)
        }))
    }

    fn domain(&self, number: u32) -> Domain {
        match self.dacr >> (2 * (number & 0xf)) & 3 {
            1 => Domain::Client,
            3 => Domain::Manager,
            _ => Domain::NoAccess,
        }
    }

    /// The short-descriptor format (B3.5).
    fn walk_short<E>(
        &self,
        va: u32,
        mut descriptor: impl FnMut(u64, bool) -> Result<Option<u64>, E>,
    ) -> Result<Leaf, WalkError<E>> {
        /// TTBCR (B4.1.153).
        const PD0: u32 = 1 << 4;
        const PD1: u32 = 1 << 5;
        let fault = |kind, level, domain| {
            WalkError::Fault(DataFault {
                kind,
                level,
                domain,
            })
        };

        let n = self.ttbcr & 7;
        // A shift by 32 is no shift at all to the hardware, and an overflow here.
        let high = n != 0 && va >> (32 - n) != 0;
        let (ttbr, n, disabled) = if high {
            (self.ttbr1, 0, self.ttbcr & PD1 != 0)
        } else {
            (self.ttbr0, n, self.ttbcr & PD0 != 0)
        };
        if disabled {
            return Err(fault(FaultKind::Translation, 1, 0));
        }
        // TTBR.IRGN[0] and RGN[0] (B4.1.154): Write-Back, with or without Write-Allocate.
        let walk = ttbr & 1 << 6 != 0 && ttbr & 1 << 3 != 0;
        let base = u64::from(ttbr as u32) & !((1 << (14 - n)) - 1);
        let index = u64::from(va) >> 20 & ((1 << (12 - n)) - 1);
        let first = descriptor(base | index << 2, walk)
            .map_err(WalkError::Read)?
            .ok_or_else(|| fault(FaultKind::ExternalOnWalk, 1, 0))? as u32;
        let mut domain = first >> 5 & 0xf;
        let (ipa, level, ap, tex) = match first & 3 {
            0 => return Err(fault(FaultKind::Translation, 1, 0)),
            1 => {
                let index = u64::from(va >> 12 & 0xff);
                let table = u64::from(first & !0x3ff);
                let second = descriptor(table | index << 2, walk)
                    .map_err(WalkError::Read)?
                    .ok_or_else(|| fault(FaultKind::ExternalOnWalk, 2, domain))?
                    as u32;
                // The size of the page, and where TEX is.
                let (mask, tex) = match second & 3 {
                    0 => return Err(fault(FaultKind::Translation, 2, domain)),
                    1 => (0xffff, 12),
                    _ => (0xfff, 6),
                };
                let ap = second >> 7 & 4 | second >> 4 & 3;
                let attributes = second >> tex & 7;
                let ipa = u64::from(second & !mask | va & mask);
                (ipa, 2, ap, attributes << 2 | second >> 2 & 3)
            }
            _ => {
                let ap = first >> 13 & 4 | first >> 10 & 3;
                let ipa = if first & 1 << 18 != 0 {
                    // A supersection: 16 MiB anywhere in 40 bits, in domain 0.
                    let top =
                        u64::from(first >> 5 & 0xf) << 36 | u64::from(first >> 20 & 0xf) << 32;
                    domain = 0;
                    top | u64::from(first & 0xff00_0000 | va & 0x00ff_ffff)
                } else {
                    u64::from(first & 0xfff0_0000 | va & 0x000f_ffff)
                };
                (ipa, 1, ap, (first >> 12 & 7) << 2 | first >> 2 & 3)
            }
        };
        if self.sctlr.contains(Sctlr::AFE) && ap & 1 == 0 {
            return Err(fault(FaultKind::AccessFlag, level, domain));
        }
        let rights = self.domain(domain);
        if rights == Domain::NoAccess {
            return Err(fault(FaultKind::Domain, level, domain));
        }
        Ok(Leaf {
            ipa,
            level,
            ap,
            domain_number: domain,
            domain: rights,
            write_back: self.is_short_write_back(tex),
        })
    }

    /// Whether TEX, C and B, five bits, mean Write-Back memory, inner and outer (B3.8.2, B3.8.3).
    fn is_short_write_back(&self, tex_c_b: u32) -> bool {
        let bit = |value: u32, n: u32| value >> n & 1 != 0;
        let (c, b) = (bit(tex_c_b, 1), bit(tex_c_b, 0));
        if self.sctlr.contains(Sctlr::TRE) {
            let [prrr, nmrr] = self.attributes;
            // TEX[0], C and B choose. The sixth is up to the core.
            let n = tex_c_b & 7;
            let is_normal = prrr >> (2 * n) & 3 == 0b10;
            // The low bit of an IR and an OR field is set for both kinds of Write-Back.
            return n != 6 && is_normal && bit(nmrr, 2 * n) && bit(nmrr, 16 + 2 * n);
        }
        match tex_c_b >> 2 {
            // 0b000: Write-Back without Write-Allocate. 0b001: with it.
            0b000 | 0b001 => c && b,
            // C and B are the inner attributes, the rest of TEX the outer ones.
            tex @ 0b100..=0b111 => b && bit(tex, 0),
            _ => false,
        }
    }

    /// Whether an attribute of MAIR means Write-Back memory, inner and outer (table B4-11).
    fn is_long_write_back(&self, index: u32) -> bool {
        let [low, high] = self.attributes;
        let mair = if index & 4 == 0 { low } else { high };
        let attribute = mair >> (8 * (index & 3)) & 0xff;
        attribute & 0xcc == 0xcc
    }

    /// The long-descriptor format (B3.6).
    fn walk_long<E>(
        &self,
        va: u32,
        mut descriptor: impl FnMut(u64, bool) -> Result<Option<u64>, E>,
    ) -> Result<Leaf, WalkError<E>> {
        /// TTBCR (B4.1.153).
        const EPD0: u32 = 1 << 7;
        const EPD1: u32 = 1 << 23;
        let fault = |kind, level| {
            WalkError::Fault(DataFault {
                kind,
                level,
                domain: 0,
            })
        };
        let ipa_mask: u64 = (1 << IPA_BITS) - 1;

        let (t0, t1) = (self.ttbcr & 7, self.ttbcr >> 16 & 7);
        let low = va.leading_zeros() >= t0;
        let high = if t1 == 0 {
            !low
        } else {
            va.leading_ones() >= t1
        };
        // IRGN and ORGN follow at the same distance from EPD0 and EPD1.
        let (ttbr, n, disabled, regions) = match (low, high) {
            // With T1SZ other than 0 and T0SZ 0, both can hold: TTBR1 has it (B3.6.4).
            (_, true) => (self.ttbr1, t1, self.ttbcr & EPD1 != 0, self.ttbcr >> 24),
            (true, false) => (self.ttbr0, t0, self.ttbcr & EPD0 != 0, self.ttbcr >> 8),
            (false, false) => return Err(fault(FaultKind::Translation, 1)),
        };
        if disabled {
            return Err(fault(FaultKind::Translation, 1));
        }
        // The low bits of IRGN and ORGN: Write-Back, with or without Write-Allocate.
        let walk = regions & 0b101 == 0b101;
        let mut level = if n < 2 { 1 } else { 2 };
        // The first table can be smaller than a page.
        let shift_of = |level: u32| PAGE_SHIFT + 9 * (3 - level);
        let mut bits = 32 - n - shift_of(level);
        let mut table = ttbr & ipa_mask & !((1 << (bits + 3)) - 1);
        // APTable: what the tables allow at most.
        let (mut user, mut writable) = (true, true);
        loop {
            let shift = shift_of(level);
            let index = u64::from(va >> shift) & ((1 << bits) - 1);
            let desc = descriptor(table | index << 3, walk)
                .map_err(WalkError::Read)?
                .ok_or_else(|| fault(FaultKind::ExternalOnWalk, level))?;
            match (desc & 3, level) {
                (3, 1 | 2) => {
                    table = desc & ipa_mask & !0xfff;
                    user &= desc & 1 << 61 == 0;
                    writable &= desc & 1 << 62 == 0;
                    level += 1;
                    bits = 9;
                }
                (3, _) | (1, 1 | 2) => {
                    if desc & 1 << 10 == 0 {
                        return Err(fault(FaultKind::AccessFlag, level));
                    }
                    user &= desc & 1 << 6 != 0;
                    writable &= desc & 1 << 7 == 0;
                    let mask = (1 << shift) - 1;
                    return Ok(Leaf {
                        ipa: desc & ipa_mask & !mask | u64::from(va) & mask,
                        level,
                        ap: u32::from(!writable) << 2 | u32::from(user) << 1 | 1,
                        domain_number: 0,
                        domain: Domain::Client,
                        write_back: self.is_long_write_back((desc >> 2 & 7) as u32),
                    });
                }
                _ => return Err(fault(FaultKind::Translation, level)),
            }
        }
    }

    /// CheckPermission() (B3.7.1).
    fn check(&self, leaf: &Leaf, access: CheckedAccess) -> Result<(), DataFault> {
        let ap = if self.sctlr.contains(Sctlr::AFE) {
            leaf.ap | 1
        } else {
            leaf.ap
        };
        let allowed = match ap {
            0b001 => access.privileged,
            0b010 => access.privileged || !access.write,
            0b011 => true,
            0b101 => access.privileged && !access.write,
            0b110 | 0b111 => !access.write,
            _ => false,
        };
        if allowed || leaf.domain == Domain::Manager {
            return Ok(());
        }
        Err(DataFault {
            kind: FaultKind::Permission,
            level: leaf.level,
            domain: leaf.domain_number,
        })
    }
}

#[cfg(test)]
mod tests;
