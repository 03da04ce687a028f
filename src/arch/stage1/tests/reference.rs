// SPDX-License-Identifier: GPL-2.0

//! The walk of a guest's tables once more, field by field as the figures of the manual have them
//! (B3.5.1, B3.6.1), with memory attributes by name. It is as slow as it likes.

use super::*;

/// `value<high:low>` of the manual.
fn bits(value: u64, high: u32, low: u32) -> u64 {
    (value >> low) % (1 << (high - low + 1))
}

/// A read of a descriptor: where, how many bytes, whether through the caches.
pub(super) type Read = (u64, usize, bool);

/// The answer of memory to a read: bytes, nothing, or that the host cannot read it.
type Memory<'a> = &'a mut dyn FnMut(Read) -> Result<Option<[u8; 8]>, ()>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cacheability {
    Non,
    WriteBackAllocate,
    WriteThrough,
    WriteBack,
}

/// The encoding of IRGN, ORGN, NMRR and the like (table B3-11).
fn region(field: u64) -> Cacheability {
    [
        Cacheability::Non,
        Cacheability::WriteBackAllocate,
        Cacheability::WriteThrough,
        Cacheability::WriteBack,
    ][field as usize]
}

fn is_write_back(inner: Cacheability, outer: Cacheability) -> bool {
    [inner, outer].iter().all(|one| {
        matches!(
            one,
            Cacheability::WriteBack | Cacheability::WriteBackAllocate
        )
    })
}

fn fault(kind: FaultKind, level: u32, domain: u64) -> WalkError<()> {
    WalkError::Fault(DataFault {
        kind,
        level,
        domain: domain as u32,
    })
}

/// A descriptor, or the fault if there is none.
fn descriptor(
    stage1: &Stage1,
    at: Read,
    none: WalkError<()>,
    memory: Memory<'_>,
) -> Result<u64, WalkError<()>> {
    let bytes = memory(at).map_err(WalkError::Read)?.ok_or(none)?;
    let mut bytes = bytes[..at.1].to_vec();
    // SCTLR.EE.
    if stage1.sctlr.bits() & 1 << 25 == 0 {
        bytes.reverse();
    }
    Ok(bytes
        .into_iter()
        .fold(0, |value, byte| value * 256 + u64::from(byte)))
}

pub(super) fn translate(
    stage1: &Stage1,
    va: u32,
    access: CheckedAccess,
    memory: Memory<'_>,
) -> Result<Translation, WalkError<()>> {
    if stage1.sctlr.bits() & 1 == 0 {
        return Ok(Translation {
            ipa: Ipa(va.into()),
            cached: false,
        });
    }
    if stage1.ttbcr >> 31 == 1 {
        long(stage1, va.into(), access, memory)
    } else {
        short(stage1, va.into(), access, memory)
    }
}

fn short(
    stage1: &Stage1,
    va: u64,
    access: CheckedAccess,
    memory: Memory<'_>,
) -> Result<Translation, WalkError<()>> {
    let caches_on = stage1.sctlr.bits() & 1 << 2 != 0;
    let afe = stage1.sctlr.bits() & 1 << 29 != 0;
    let ttbcr = u64::from(stage1.ttbcr);
    let n = bits(ttbcr, 2, 0) as u32;
    let uses_ttbr0 = n == 0 || bits(va, 31, 32 - n) == 0;
    let (ttbr, n, pd) = if uses_ttbr0 {
        (stage1.ttbr0, n, bits(ttbcr, 4, 4))
    } else {
        (stage1.ttbr1, 0, bits(ttbcr, 5, 5))
    };
    if pd == 1 {
        return Err(fault(FaultKind::Translation, 1, 0));
    }
    let inner = region(bits(ttbr, 0, 0) * 2 + bits(ttbr, 6, 6));
    let outer = region(bits(ttbr, 4, 3));
    let walk = caches_on && is_write_back(inner, outer);
    let first_at = (bits(ttbr, 31, 14 - n) << (14 - n)) + bits(va, 31 - n, 20) * 4;
    let none = fault(FaultKind::ExternalOnWalk, 1, 0);
    let first = descriptor(stage1, (first_at, 4, walk), none, memory)?;
    // The base of the memory, the size's bits, AP[2:0], TEX and C and B, the domain, the level.
    let (base, size, ap, tex_c_b, domain, level) = match bits(first, 1, 0) {
        0 => return Err(fault(FaultKind::Translation, 1, 0)),
        1 => {
            let domain = bits(first, 8, 5);
            let second_at = (bits(first, 31, 10) << 10) + bits(va, 19, 12) * 4;
            let none = fault(FaultKind::ExternalOnWalk, 2, domain);
            let second = descriptor(stage1, (second_at, 4, walk), none, memory)?;
            let ap = bits(second, 9, 9) * 4 + bits(second, 5, 4);
            let c_b = bits(second, 3, 2);
            match bits(second, 1, 0) {
                0 => return Err(fault(FaultKind::Translation, 2, domain)),
                1 => (
                    bits(second, 31, 16) << 16,
                    16,
                    ap,
                    bits(second, 14, 12) * 4 + c_b,
                    domain,
                    2,
                ),
                _ => (
                    bits(second, 31, 12) << 12,
                    12,
                    ap,
                    bits(second, 8, 6) * 4 + c_b,
                    domain,
                    2,
                ),
            }
        }
        _ => {
            let ap = bits(first, 15, 15) * 4 + bits(first, 11, 10);
            let tex_c_b = bits(first, 14, 12) * 4 + bits(first, 3, 2);
            if bits(first, 18, 18) == 1 {
                let base = (bits(first, 8, 5) << 36)
                    + (bits(first, 23, 20) << 32)
                    + (bits(first, 31, 24) << 24);
                (base, 24, ap, tex_c_b, 0, 1)
            } else {
                (
                    bits(first, 31, 20) << 20,
                    20,
                    ap,
                    tex_c_b,
                    bits(first, 8, 5),
                    1,
                )
            }
        }
    };
    if afe && ap % 2 == 0 {
        return Err(fault(FaultKind::AccessFlag, level, domain));
    }
    let rights = bits(stage1.dacr.into(), 2 * domain as u32 + 1, 2 * domain as u32);
    if rights == 0 || rights == 2 {
        return Err(fault(FaultKind::Domain, level, domain));
    }
    // Table B3-8. With SCTLR.AFE, AP[0] is the access flag, and counts as one.
    // By the access: a load or a store, of PL1 or of PL0.
    let may = match (access.privileged, access.write) {
        (true, true) => [0b001, 0b010, 0b011].contains(&ap),
        (true, false) => ap != 0b000 && ap != 0b100,
        (false, true) => ap == 0b011,
        (false, false) => [0b010, 0b011, 0b110, 0b111].contains(&ap),
    };
    if !may && rights == 1 {
        return Err(fault(FaultKind::Permission, level, domain));
    }
    let (tex, c, b) = (
        bits(tex_c_b, 4, 2),
        bits(tex_c_b, 1, 1),
        bits(tex_c_b, 0, 0),
    );
    let write_back = if stage1.sctlr.bits() & 1 << 28 != 0 {
        // TEX remap: PRRR.TRn and NMRR.IRn and ORn; the sixth is the core's.
        let n = (bits(tex, 0, 0) * 4 + c * 2 + b) as u32;
        let [prrr, nmrr] = stage1.attributes.map(u64::from);
        let is_normal = bits(prrr, 2 * n + 1, 2 * n) == 2;
        let inner = region(bits(nmrr, 2 * n + 1, 2 * n));
        let outer = region(bits(nmrr, 2 * n + 17, 2 * n + 16));
        n != 6 && is_normal && is_write_back(inner, outer)
    } else {
        // Table B3-10.
        match (tex, c, b) {
            (0b000 | 0b001, 1, 1) => true,
            (0b100.., _, _) => is_write_back(region(c * 2 + b), region(bits(tex, 1, 0))),
            _ => false,
        }
    };
    Ok(Translation {
        ipa: Ipa(base + bits(va, size - 1, 0)),
        cached: caches_on && write_back,
    })
}

fn long(
    stage1: &Stage1,
    va: u64,
    access: CheckedAccess,
    memory: Memory<'_>,
) -> Result<Translation, WalkError<()>> {
    let caches_on = stage1.sctlr.bits() & 1 << 2 != 0;
    let ttbcr = u64::from(stage1.ttbcr);
    let (t0, t1) = (bits(ttbcr, 2, 0) as u32, bits(ttbcr, 18, 16) as u32);
    // Which addresses are those of TTBR0 and of TTBR1 (table B3-19).
    let is_low = t0 == 0 || bits(va, 31, 32 - t0) == 0;
    let is_high = if t1 == 0 {
        !is_low
    } else {
        bits(va, 31, 32 - t1) == (1 << t1) - 1
    };
    let (ttbr, t, epd, irgn, orgn) = if is_high {
        (
            stage1.ttbr1,
            t1,
            bits(ttbcr, 23, 23),
            bits(ttbcr, 25, 24),
            bits(ttbcr, 27, 26),
        )
    } else if is_low {
        (
            stage1.ttbr0,
            t0,
            bits(ttbcr, 7, 7),
            bits(ttbcr, 9, 8),
            bits(ttbcr, 11, 10),
        )
    } else {
        return Err(fault(FaultKind::Translation, 1, 0));
    };
    if epd == 1 {
        return Err(fault(FaultKind::Translation, 1, 0));
    }
    let walk = caches_on && is_write_back(region(irgn), region(orgn));
    // The first table: of GiB with up to 4 entries, or of 2 MiB.
    let (mut level, mut at) = if t < 2 {
        (
            1,
            (bits(ttbr, 39, 5 - t) << (5 - t)) + bits(va, 31 - t, 30) * 8,
        )
    } else {
        (
            2,
            (bits(ttbr, 39, 14 - t) << (14 - t)) + bits(va, 31 - t, 21) * 8,
        )
    };
    let (mut ap_table_user, mut ap_table_write) = (true, true);
    loop {
        let none = fault(FaultKind::ExternalOnWalk, level, 0);
        let desc = descriptor(stage1, (at, 8, walk), none, memory)?;
        let is_table = level < 3 && bits(desc, 1, 0) == 3;
        let is_memory = bits(desc, 1, 0) == if level == 3 { 3 } else { 1 };
        if is_table {
            let table = bits(desc, 39, 12) << 12;
            ap_table_user &= bits(desc, 61, 61) == 0;
            ap_table_write &= bits(desc, 62, 62) == 0;
            level += 1;
            at = table
                + 8 * if level == 2 {
                    bits(va, 29, 21)
                } else {
                    bits(va, 20, 12)
                };
            continue;
        }
        if !is_memory {
            return Err(fault(FaultKind::Translation, level, 0));
        }
        if bits(desc, 10, 10) == 0 {
            return Err(fault(FaultKind::AccessFlag, level, 0));
        }
        let user = bits(desc, 6, 6) == 1 && ap_table_user;
        let write = bits(desc, 7, 7) == 0 && ap_table_write;
        if !access.privileged && !user || access.write && !write {
            return Err(fault(FaultKind::Permission, level, 0));
        }
        let size = [30, 21, 12][level as usize - 1];
        let mair = u64::from(stage1.attributes[1]) << 32 | u64::from(stage1.attributes[0]);
        let index = bits(desc, 4, 2) as u32;
        // Table B4-11: 0b11RW is Write-Back that is not transient.
        let attribute = bits(mair, 8 * index + 7, 8 * index);
        return Ok(Translation {
            ipa: Ipa((bits(desc, 39, size) << size) + bits(va, size - 1, 0)),
            cached: caches_on && bits(attribute, 7, 6) == 3 && bits(attribute, 3, 2) == 3,
        });
    }
}
