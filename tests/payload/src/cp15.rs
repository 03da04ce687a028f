// SPDX-License-Identifier: GPL-2.0

//! CP15: results of reads, effects of writes, and the modes that are permitted to access it (B3.17,
//! B4.1).

use machine::core::Core;

use crate::board;
use crate::check::{ensure, ensure_eq, Outcome};
use crate::code::{self, BX_LR, SVC_0};
use crate::cpu;
use crate::doorbell;
use crate::exceptions::{self, SVC, UNDEFINED};
use crate::mmu;
use crate::smp;
use crate::vfp::exit_often;

/// opc1, CRn, CRm, opc2.
type Register = [u32; 4];

const fn place([opc1, crn, crm, opc2]: Register) -> u32 {
    crn << 12 | opc1 << 8 | crm << 4 | opc2
}

/// Reads a register; nothing if that is undefined.
fn read(register: Register) -> Result<Option<u32>, crate::check::Failure> {
    let code = code::arm([code::mrc(register), BX_LR]);
    match exceptions::catch(code, 0x5555_aaaa, 0) {
        Ok(value) => Ok(Some(value)),
        Err(found) => {
            ensure_eq(found.vector, UNDEFINED, "the vector", place(register))?;
            Ok(None)
        }
    }
}

/// Writes a register; false if that is undefined.
fn write(register: Register, value: u32) -> Result<bool, crate::check::Failure> {
    let code = code::arm([code::mcr(register), BX_LR]);
    match exceptions::catch(code, value, 0) {
        Ok(_) => Ok(true),
        Err(found) => {
            ensure_eq(found.vector, UNDEFINED, "the vector", place(register))?;
            Ok(false)
        }
    }
}

/// From p15 to p14.
const TO_CP14: u32 = 0x100;

pub(crate) fn identity() -> Outcome {
    ensure(Core::from_midr(cpu::midr()).is_some(), "MIDR", [cpu::midr(), 0, 0])?;
    // Multiprocessing extensions, CPU 0 of cluster 0.
    ensure_eq(cpu::mpidr() & 0xc0ff_ffff, 0x8000_0000, "MPIDR", 0)
}

pub(crate) fn identity_of_host() -> Outcome {
    ensure_eq(cpu::midr(), doorbell::host_midr(), "MIDR", 0)
}

pub(crate) fn identity_of_all() -> Outcome {
    smp::on_all(|cpu| {
        for round in 0..5 {
            let expected = 0x8000_0000 | crate::psci::affinity(cpu);
            ensure_eq(cpu::mpidr(), expected, "MPIDR", round)?;
            exit_often(2);
        }
        // Clusters of four; the last may have less. QEMU's are larger.
        let found = (cpu::l2ctlr() >> 24 & 3) + 1;
        let others = doorbell::cpus() - (cpu as u32 & !3);
        ensure_eq(found, others.min(4), "the CPUs of a cluster in L2CTLR", cpu as u32)
    })
}

/// The ID registers, as the manuals have them (DDI 0438 4.2, DDI 0464 4.2), Cortex-A15 first. A
/// mask leaves out the bits that depend on the presence of a hypervisor.
const ID_REGISTERS: [(Register, [u32; 2], u32); 17] = [
    // ID_PFR0, ID_PFR1 without the security and virtualization extensions, ID_DFR0 without
    // debug, AFR0.
    ([0, 0, 1, 0], [0x0000_1131, 0x0000_1131], u32::MAX),
    ([0, 0, 1, 1], [0x0001_1011, 0x0001_1011], 0xffff_0f0f),
    ([0, 0, 1, 3], [0, 0], u32::MAX),
    // ID_MMFR0 to 3.
    ([0, 0, 1, 4], [0x1020_1105, 0x1010_1105], u32::MAX),
    ([0, 0, 1, 5], [0x2000_0000, 0x4000_0000], u32::MAX),
    ([0, 0, 1, 6], [0x0124_0000, 0x0124_0000], u32::MAX),
    ([0, 0, 1, 7], [0x0210_2211, 0x0210_2211], u32::MAX),
    // ID_ISAR0 to 5. Whether ISAR0 tells of the divide instructions, and ISAR4 of SMC, differs.
    ([0, 0, 2, 0], [0x0210_1110, 0x0210_1110], u32::MAX),
    ([0, 0, 2, 1], [0x1311_2111, 0x1311_2111], u32::MAX),
    ([0, 0, 2, 2], [0x2123_2041, 0x2123_2041], u32::MAX),
    ([0, 0, 2, 3], [0x1111_2131, 0x1111_2131], u32::MAX),
    ([0, 0, 2, 4], [0x1001_1142, 0x1001_1142], 0xffff_0fff),
    ([0, 0, 2, 5], [0, 0], u32::MAX),
    // TCMTR, TLBTR, AIDR.
    ([0, 0, 0, 2], [0, 0], u32::MAX),
    ([0, 0, 0, 3], [0, 0], u32::MAX),
    ([1, 0, 0, 7], [0, 0], u32::MAX),
    // CTR: format, and lines of 64 bytes in data caches.
    ([0, 0, 0, 1], [0x8444_c004, 0x8444_8003], 0xffff_fff0),
];

pub(crate) fn id_registers() -> Outcome {
    let column = match Core::from_midr(cpu::midr()) {
        Some(Core::CortexA15) => 0,
        Some(Core::CortexA7) => 1,
        // The emulator lends its Cortex-A15 the name of others alone.
        _ => return Ok(()),
    };
    for (register, values, mask) in ID_REGISTERS {
        let found = read(register)?;
        let expected = values[column] & mask;
        ensure_eq(found.unwrap_or(!expected) & mask, expected, "the value", place(register))?;
        // The ID registers are read-only: undefined for writes.
        let written = write(register, 0)?;
        ensure(!written, "a read-only register was written", [place(register), 0, 0])?;
        // User mode does not see them.
        let user = exceptions::in_user_mode(code::arm([code::mrc(register), SVC_0]), 0);
        ensure_eq(user.vector, UNDEFINED, "a read in user mode", place(register))?;
    }
    Ok(())
}

/// The caches, one after the other: level and kind as CSSELR has them.
fn caches() -> impl Iterator<Item = u32> {
    let clidr = cpu::clidr();
    (0..7).flat_map(move |level| {
        let kind = clidr >> (3 * level) & 7;
        // Separate instruction and data caches, or one.
        let data = (kind >= 2).then_some(level << 1);
        let instructions = (kind == 1 || kind == 3).then_some(level << 1 | 1);
        data.into_iter().chain(instructions)
    })
}

/// Sizes of a cache: line in bytes, ways, sets.
fn geometry(ccsidr: u32) -> [u32; 3] {
    let line = 1 << ((ccsidr & 7) + 4);
    [line, (ccsidr >> 3 & 0x3ff) + 1, (ccsidr >> 13 & 0x7fff) + 1]
}

pub(crate) fn cache_geometry() -> Outcome {
    let old = cpu::csselr();
    let mut sizes = [0; 3];
    for (slot, selector) in sizes.iter_mut().zip(caches()) {
        cpu::set_csselr(selector);
        let ccsidr = cpu::ccsidr();
        let [line, ways, sets] = geometry(ccsidr);
        *slot = line * ways * sets;
        ensure(
            *slot >= 16 << 10 && *slot <= 8 << 20 && matches!(line, 32 | 64),
            "CCSIDR: line, ways, sets",
            [line, ways, sets],
        )?;
    }
    cpu::set_csselr(old);
    ensure(
        sizes.iter().all(|&size| size != 0),
        "CLIDR: two caches and a second level",
        [cpu::clidr(), sizes[0], sizes[1]],
    )
}

/// CSSELR is each CPU's own.
pub(crate) fn cache_selection() -> Outcome {
    smp::on_all(|cpu| {
        let selectors = [0, 1, 2];
        let mut first = [0; 3];
        for round in 0..60 {
            let index = (round + cpu) % 3;
            cpu::set_csselr(selectors[index]);
            exit_often(2);
            ensure_eq(cpu::csselr(), selectors[index], "CSSELR", round as u32)?;
            let found = cpu::ccsidr();
            let known = &mut first[index];
            if *known == 0 {
                *known = found;
            }
            ensure_eq(found, *known, "CCSIDR", round as u32)?;
        }
        Ok(())
    })
}

/// Memory for [`set_way`] that is written and looked at.
static DATA: [core::sync::atomic::AtomicU32; 4096] =
    [const { core::sync::atomic::AtomicU32::new(0) }; 4096];

/// Cleans and invalidates all data caches by set and way.
pub(crate) fn clean_by_set_way() {
    for selector in caches().filter(|selector| selector & 1 == 0) {
        cpu::set_csselr(selector);
        let [line, ways, sets] = geometry(cpu::ccsidr());
        let way_shift = if ways > 1 { (ways - 1).leading_zeros() } else { 0 };
        let line_shift = line.trailing_zeros();
        // Only a few sets, as each is a trap. The content of the cache does not matter to anyone.
        for set in (0..sets).step_by((sets / 16).max(1) as usize) {
            for way in 0..ways {
                let operand = way << way_shift | set << line_shift | selector;
                cpu::clean_set_way(operand);
                cpu::clean_and_invalidate_set_way(operand);
            }
        }
    }
}

/// Maintenance by set and way on all CPUs while they write memory, with the caches on, off, and on
/// again.
pub(crate) fn set_way() -> Outcome {
    const CACHES: u32 = 1 << 2 | 1 << 12;
    smp::on_all(|cpu| {
        let share = DATA.len() / 8;
        let data = DATA.iter().skip(cpu * share).take(share);
        for round in 0..6 {
            let value = |index: usize| (round << 24 | cpu << 20 | index) as u32;
            for (index, word) in data.clone().enumerate() {
                word.store(value(index), core::sync::atomic::Ordering::Relaxed);
            }
            cpu::masked(|| {
                clean_by_set_way();
                if round % 2 == 1 {
                    exceptions::with_sctlr(0, CACHES, || {
                        clean_by_set_way();
                        exit_often(1);
                    });
                }
            });
            for (index, word) in data.clone().enumerate() {
                let found = word.load(core::sync::atomic::Ordering::Relaxed);
                ensure_eq(found, value(index), "memory behind the caches", index as u32)?;
            }
        }
        Ok(())
    })
}

/// Data cached, seen with the data cache off, and the other way round, on one CPU.
pub(crate) fn caches_off() -> Outcome {
    const CACHE: u32 = 1 << 2;
    for round in 0..4u32 {
        for (index, word) in (0..).zip(&DATA) {
            word.store(round << 16 | index, core::sync::atomic::Ordering::Relaxed);
        }
        let addresses = DATA.iter().step_by(16).map(|word| word as *const _ as usize as u32);
        addresses.for_each(cpu::clean_and_invalidate);
        cpu::masked(|| {
            exceptions::with_sctlr(0, CACHE, || {
                for (index, word) in (0..).zip(&DATA) {
                    let found = word.load(core::sync::atomic::Ordering::Relaxed);
                    ensure_eq(found, round << 16 | index, "memory without the cache", index)?;
                    word.store(!found, core::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            })
        })?;
        for (index, word) in (0..).zip(&DATA) {
            let found = word.load(core::sync::atomic::Ordering::Relaxed);
            ensure_eq(found, !(round << 16 | index), "memory with the cache again", index)?;
        }
    }
    Ok(())
}

fn all_registers() -> impl Iterator<Item = Register> {
    (0..16u32).flat_map(|crn| {
        (0..8u32).flat_map(move |opc1| {
            (0..16u32).flat_map(move |crm| (0..8u32).map(move |opc2| [opc1, crn, crm, opc2]))
        })
    })
}

/// Every encoding of MRC p15 gives a value or is undefined, and is the same the next time.
pub(crate) fn all_reads() -> Outcome {
    let mut defined = 0;
    for register in all_registers() {
        // The counts of performance monitors and timers differ from one read to the next.
        let changes = matches!(register, [0, 9 | 14, _, _]);
        let first = read(register)?;
        if let Some(value) = first {
            defined += 1;
            let second = read(register)?;
            ensure(
                changes && second.is_some() || second == first,
                "a second read gives something else",
                [place(register), value, second.unwrap_or(0)],
            )?;
        }
        // There is nothing in c4 and c11, and nothing to be read in c8.
        let nothing = matches!(register[1], 4 | 8 | 11);
        ensure(!(nothing && first.is_some()), "there is no such register", [place(register), 0, 0])?;
    }
    ensure(defined > 50, "so few registers can be read", [defined, 0, 0])
}

/// In user mode only these can be read (table B3-42 and on): TPIDRURW, TPIDRURO, PMUSERENR. The
/// timers' and other performance registers are closed by CNTKCTL and PMUSERENR.
pub(crate) fn user_reads() -> Outcome {
    let old = cpu::cntkctl();
    cpu::set_cntkctl(0);
    let mut result = Ok(());
    for register in all_registers() {
        let found = exceptions::in_user_mode(code::arm([code::mrc(register), SVC_0]), 0);
        let allowed = matches!(register, [0, 13, 0, 2 | 3] | [0, 9, 14, 0]);
        let expected = if allowed { SVC } else { UNDEFINED };
        result = ensure_eq(found.vector, expected, "a read in user mode", place(register));
        if result.is_err() {
            break;
        }
    }
    cpu::set_cntkctl(old);
    result
}

/// Stores from user mode to registers that trap to a hypervisor, with all except the barriers of c7
/// and TPIDRURW.
pub(crate) fn user_writes() -> Outcome {
    for register in all_registers() {
        let allowed = matches!(register, [0, 13, 0, 2] | [0, 7, 5, 4] | [0, 7, 10, 4 | 5]);
        if allowed {
            continue;
        }
        let found = exceptions::in_user_mode(code::arm([code::mcr(register), SVC_0]), 0);
        ensure_eq(found.vector, UNDEFINED, "a write in user mode", place(register))?;
    }
    Ok(())
}

/// Writes to all that is a core's own, c15 and L2CTLR's neighbours: each is undefined or done, and
/// nothing comes of it.
pub(crate) fn implementation_defined_writes() -> Outcome {
    for register in all_registers() {
        let [opc1, crn, crm, _] = register;
        // c9 with other opc1, or CRm, than the performance monitors; c10 and c11 of HCR.TIDCP.
        let is_own = crn == 15 || crn == 9 && crm < 12 || crn == 11 || crn == 10 && opc1 == 0 && crm < 2;
        if !is_own {
            continue;
        }
        for value in [0, u32::MAX] {
            let before = read(register)?;
            write(register, value)?;
            // L2CTLR's number of CPUs, and CBAR, are not for us to write.
            if matches!(register, [1, 9, 0, 2] | [4, 15, 0, 0]) {
                ensure(read(register)? == before, "a write took effect", [place(register), 0, 0])?;
            }
        }
    }
    ensure_eq(cpu::mpidr() & 0xff, 0, "MPIDR afterwards", 0)
}

pub(crate) fn all_double_reads() -> Outcome {
    for opc1 in 0..16 {
        for crm in 0..16 {
            let user = code::arm([code::mrrc([opc1, crm]), SVC_0]);
            let found = exceptions::in_user_mode(user, 0);
            ensure_eq(found.vector, UNDEFINED, "MRRC in user mode", opc1 << 4 | crm)?;
            let code = code::arm([code::mrrc([opc1, crm]), BX_LR]);
            // CPUMERRSR and L2MERRSR, which QEMU's Cortex-A15 has not.
            let is_own = Core::from_midr(cpu::midr()) == Some(Core::CortexA15)
                && matches!((opc1, crm), (0 | 1, 15));
            if is_own && !board::is_guest() {
                continue;
            }
            // TTBR0, TTBR1, PAR, CNTPCT, CNTVCT, CNTP_CVAL, CNTV_CVAL. HYP mode's own are not
            // for us.
            let exists = is_own || matches!((opc1, crm), (0 | 1, 2) | (0, 7) | (0..=3, 14));
            match exceptions::catch(code, 0, 0) {
                Ok(_) => ensure(exists, "there is no such register", [opc1, crm, 0])?,
                Err(found) => {
                    ensure_eq(found.vector, UNDEFINED, "the vector", opc1 << 4 | crm)?;
                    ensure(!exists, "MRRC is undefined", [opc1, crm, 0])?;
                }
            }
        }
    }
    Ok(())
}

/// ACTLR: after any write the CPU goes on as before, in coherency with others.
pub(crate) fn auxiliary_control() -> Outcome {
    let before = cpu::actlr();
    ensure(before & 1 << 6 != 0, "ACTLR.SMP is clear", [before, 0, 0])?;
    for value in [0, u32::MAX, before] {
        cpu::set_actlr(value);
        ensure_eq(cpu::actlr(), before, "ACTLR was written", value)?;
    }
    Ok(())
}

/// L2CTLR has the number of CPUs.
pub(crate) fn number_of_cpus() -> Outcome {
    let found = read([1, 9, 0, 2])?.unwrap_or(0) >> 24 & 3;
    ensure_eq(found + 1, doorbell::cpus().min(4), "L2CTLR", 0)
}

/// Thread registers: user mode writes one and reads two.
pub(crate) fn thread_registers() -> Outcome {
    let (read_write, read_only) = ([0, 13, 0, 2], [0, 13, 0, 3]);
    for value in [0x1357_9bdf, 0xeca8_6420] {
        write(read_only, value)?;
        let code = code::arm([code::mcr(read_write), SVC_0]);
        let found = exceptions::in_user_mode(code, !value);
        ensure_eq(found.vector, SVC, "a write in user mode", place(read_write))?;
        exit_often(1);
        ensure_eq(read(read_write)?.unwrap_or(0), !value, "TPIDRURW", 0)?;
        let code = code::arm([code::mrc(read_only), SVC_0]);
        let found = exceptions::in_user_mode(code, 0);
        ensure_eq(found.regs[0], value, "TPIDRURO in user mode", 0)?;
    }
    Ok(())
}

/// ID_DFR0 and DBGDIDR tell of the same version of debug (C11.11.15, B4.1.83). v7.1 has at least two
/// breakpoints and a watchpoint, and an OS Lock.
pub(crate) fn debug_identity() -> Outcome {
    let announced = read([0, 0, 1, 2])?.unwrap_or(0) & 0xf;
    let dbgdidr = cpu::dbgdidr();
    ensure_eq(dbgdidr >> 16 & 0xf, announced, "the version of debug", dbgdidr)?;
    ensure_eq(announced, 5, "v7.1 Debug", dbgdidr)?;
    ensure(dbgdidr >> 24 & 0xf >= 1, "so few breakpoints", [dbgdidr, 0, 0])?;
    let oslsr = code::arm([code::mrc([0, 1, 1, 4]) & !TO_CP14, BX_LR]);
    match exceptions::catch(oslsr, 0, 0) {
        Ok(value) => ensure_eq(value & 0b1001, 0b1000, "DBGOSLSR.OSLM", value),
        Err(found) => ensure(false, "DBGOSLSR is undefined", [found.vector, 0, 0]),
    }
}

/// User mode reaches these alone, for loads and for stores (C6.4): DBGDIDR, DBGDSCRint, DBGDTRRXint,
/// DBGDTRTXint, DBGDRAR, DBGDSAR. The emulator does not leave all of them to it.
pub(crate) fn debug_registers_in_user_mode() -> Outcome {
    for crn in 0..16 {
        for crm in 0..16 {
            for opc2 in 0..8 {
                let register = [0, crn, crm, opc2];
                let may_read = matches!((crn, crm, opc2), (0, 0 | 1 | 5, 0) | (1 | 2, 0, 0));
                let may_write = matches!((crn, crm, opc2), (0, 5, 0));
                for (instruction, may) in [
                    (code::mrc(register) & !TO_CP14, may_read),
                    (code::mcr(register) & !TO_CP14, may_write),
                ] {
                    if may {
                        continue;
                    }
                    let found = exceptions::in_user_mode(code::arm([instruction, SVC_0]), 0);
                    ensure_eq(found.vector, UNDEFINED, "CP14 in user mode", instruction)?;
                }
            }
        }
    }
    let dbgdidr = code::arm([code::mrc([0, 0, 0, 0]) & !TO_CP14, SVC_0]);
    let found = exceptions::in_user_mode(dbgdidr, 0);
    ensure_eq(found.vector, SVC, "DBGDIDR in user mode", found.lr)?;
    ensure_eq(found.regs[0], cpu::dbgdidr(), "DBGDIDR", 0)
}

/// The debug registers of CP14: a value or undefined, and never more. In a guest all that nobody has
/// written reads as zero, but for what identifies the unit, its OS Lock and its claim tags.
pub(crate) fn debug_registers() -> Outcome {
    for crn in 0..16 {
        for crm in 0..16 {
            for opc2 in 0..8 {
                let register = [0, crn, crm, opc2];
                let code = code::arm([code::mrc(register) & !TO_CP14, BX_LR]);
                match exceptions::catch(code, 0x5555_aaaa, 0) {
                    Ok(value) if board::is_guest() => {
                        // DBGDIDR, DBGOSLSR, DBGAUTHSTATUS, DBGCLAIMSET.
                        let expected = match (crn, crm, opc2) {
                            (0, 0, 0) => 0x3515_d000,
                            (1, 1, 4) => 8,
                            (7, 14, 6) => 0xaf,
                            (7, 8, 6) => 0xff,
                            _ => 0,
                        };
                        ensure_eq(value, expected, "a debug register", place(register))?;
                    }
                    Ok(_) => (),
                    Err(found) => {
                        ensure_eq(found.vector, UNDEFINED, "the vector", place(register))?;
                        ensure(place(register) != 0, "DBGDIDR is undefined", [0; 3])?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// MRC to APSR_nzcv, which the encoding calls R15, changes the flags.
pub(crate) fn flags() -> Outcome {
    const MSR_ALL_FLAGS: u32 = 0xe328_f20f;
    const MRS: u32 = 0xe10f_0000;
    const RT_15: u32 = 15 << 12;
    // DBGDSCR, PMUSERENR, ACTLR, PMCR, and MPIDR and ID_ISAR1, which no hypervisor traps.
    for (instruction, expected) in [
        (code::mrc([0, 0, 1, 0]) & !TO_CP14, 0),
        (code::mrc([0, 9, 14, 0]), 0),
        (code::mrc([0, 1, 0, 1]), 0),
        (code::mrc([0, 9, 12, 0]), 4),
        (code::mrc([0, 0, 0, 5]), 8),
        (code::mrc([0, 0, 2, 1]), 1),
    ] {
        let code = code::arm([MSR_ALL_FLAGS, instruction | RT_15, MRS, BX_LR]);
        match exceptions::catch(code, 0, 0) {
            Ok(value) => ensure_eq(value >> 28, expected, "the flags", instruction)?,
            Err(found) => ensure(false, "an exception", [found.vector, found.lr, instruction])?,
        }
    }
    Ok(())
}

/// TLB and cache maintenance by address, which a guest does all the time.
pub(crate) fn maintenance() -> Outcome {
    let address = &raw const DATA as usize as u32;
    // BPIALL, BPIMVA, ICIALLU(IS), ICIMVAU, DCCMVAC, DCCMVAU, DCCIMVAC, TLBIALL(IS), TLBIMVA(IS),
    // TLBIASID(IS), TLBIMVAA(IS), barriers.
    let operations: [Register; 21] = [
        [0, 7, 5, 6],
        [0, 7, 5, 7],
        [0, 7, 5, 0],
        [0, 7, 1, 0],
        [0, 7, 1, 6],
        [0, 7, 5, 1],
        [0, 7, 10, 1],
        [0, 7, 11, 1],
        [0, 7, 14, 1],
        [0, 7, 5, 4],
        [0, 7, 10, 4],
        [0, 7, 10, 5],
        [0, 8, 7, 0],
        [0, 8, 7, 1],
        [0, 8, 7, 2],
        [0, 8, 7, 3],
        [0, 8, 3, 0],
        [0, 8, 3, 1],
        [0, 8, 3, 2],
        [0, 8, 3, 3],
        [0, 8, 5, 0],
    ];
    DATA[0].store(0x1234_5678, core::sync::atomic::Ordering::Relaxed);
    for operation in operations {
        ensure(write(operation, address)?, "an operation is undefined", [place(operation), 0, 0])?;
        ensure(read(operation)?.is_none(), "an operation can be read", [place(operation), 0, 0])?;
    }
    mmu::invalidate_all();
    ensure_eq(DATA[0].load(core::sync::atomic::Ordering::Relaxed), 0x1234_5678, "memory", 0)
}
