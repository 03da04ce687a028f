// SPDX-License-Identifier: GPL-2.0

//! Software-generated interrupts: none is lost, none comes twice, and who sent it is known.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::check::{ensure, ensure_eq, Outcome};
use crate::cpu;
use crate::gic::{self, GICD_CPENDSGIR, GICD_SPENDSGIR, SPURIOUS};
use crate::smp::{self, Barrier};
use crate::timer::{self, Deadline, MILLISECOND};

pub(crate) fn to_self() -> Outcome {
    for intid in 1..16 {
        let before = gic::sgi_taken(0, intid, 0);
        if intid % 2 == 0 {
            gic::send_sgi_to_self(intid);
        } else {
            gic::send_sgi(1, intid);
        }
        let taken = timer::wait_until(|| gic::sgi_taken(0, intid, 0) == before + 1);
        ensure(taken, "it did not come", [intid, gic::sgi_taken(0, intid, 0), before])?;
    }
    Ok(())
}

/// On one CPU, an SGI to all others goes to nobody, and so does one with an empty list.
pub(crate) fn to_nobody() -> Outcome {
    let count = || (1..16).map(|intid| gic::taken(0, intid)).sum::<u32>();
    let before = count();
    gic::write(gic::GICD_SGIR, 7);
    // CPUs that do not exist; the reserved kind of target list.
    gic::send_sgi(0xff & !((1 << crate::doorbell::cpus()) - 1), 7);
    if crate::board::is_guest() {
        gic::write(gic::GICD_SGIR, 3 << 24 | 0xff << 16 | 7);
    }
    if crate::doorbell::cpus() == 1 {
        gic::send_sgi_to_others(7);
    }
    Deadline::after(MILLISECOND).wait();
    ensure_eq(count(), before, "an SGI to nobody came", 0)
}

static START: Barrier = Barrier::new();
static MIDDLE: Barrier = Barrier::new();
static END: Barrier = Barrier::new();
const MIN_ROUNDS: u32 = 5;
const MAX_ROUNDS: u32 = 200;

/// The SGIs that all CPUs sent and took.
static SENT: AtomicU32 = AtomicU32::new(0);

/// All CPUs send all SGIs to all CPUs, themselves too, at the same time.
pub(crate) fn in_bulk() -> Outcome {
    let taken = || -> u32 {
        (0..smp::team())
            .flat_map(|cpu| (1..16).map(move |intid| gic::taken(cpu, intid)))
            .sum()
    };
    let before = taken();
    SENT.store(0, Ordering::SeqCst);
    smp::on_all(|me| {
        let team = smp::team();
        let all = (1u32 << team) - 1;
        let mut sent = [[0u32; 16]; 8];
        for (target, sent) in sent.iter_mut().enumerate().take(team) {
            for (intid, sent) in sent.iter_mut().enumerate() {
                *sent = gic::sgi_taken(target, intid as u32, me);
            }
        }
        START.wait()?;
        let end = Deadline::after(300 * MILLISECOND);
        let mut count = 0;
        for round in 0..MAX_ROUNDS {
            if round >= MIN_ROUNDS && end.is_over() {
                break;
            }
            for intid in 1..16 {
                match (round + intid) % 3 {
                    0 => gic::send_sgi(all, intid),
                    1 => {
                        gic::send_sgi_to_others(intid);
                        gic::send_sgi_to_self(intid);
                    }
                    _ => (0..team).for_each(|target| gic::send_sgi(1 << target, intid)),
                }
                count += team as u32;
            }
            for (target, sent) in sent.iter_mut().enumerate().take(team) {
                for (intid, sent) in (0..16).zip(sent.iter_mut()).skip(1) {
                    *sent += 1;
                    let arrived =
                        timer::wait_until(|| gic::sgi_taken(target, intid, me) >= *sent);
                    let where_from = (me as u32) << 16 | (target as u32) << 8 | intid;
                    ensure(arrived, "an SGI was lost (round, sender, target, INTID)", [
                        round,
                        where_from,
                        gic::sgi_taken(target, intid, me),
                    ])?;
                }
            }
        }
        SENT.fetch_add(count, Ordering::SeqCst);
        MIDDLE.wait()?;
        // Late SGIs come now.
        Deadline::after(MILLISECOND).wait();
        END.wait()?;
        for (target, sent) in sent.iter().enumerate().take(team) {
            for (intid, sent) in (0..16).zip(sent).skip(1) {
                let found = gic::sgi_taken(target, intid, me);
                let where_from = (me as u32) << 16 | (target as u32) << 8 | intid;
                ensure_eq(found, *sent, "an SGI came twice (sender, target, INTID)", where_from)?;
            }
        }
        Ok(())
    })?;
    ensure_eq(taken() - before, SENT.load(Ordering::SeqCst), "all that was taken", 0)
}

/// One SGI is pending from several CPUs: each is acknowledged by itself.
pub(crate) fn sources() -> Outcome {
    const SGI: u32 = 9;
    static GO: Barrier = Barrier::new();
    static SENT: Barrier = Barrier::new();
    for _ in 0..10 {
        smp::on_all(|me| {
            if me != 0 {
                GO.wait()?;
                gic::send_sgi(1, SGI);
                // The SGI is pending already, so a second one changes nothing.
                gic::send_sgi(1, SGI);
                return SENT.wait();
            }
            cpu::masked(|| {
                GO.wait()?;
                SENT.wait()?;
                // Read the distributor first: the writes of other CPUs to it need not have reached
                // this CPU's interface when those CPUs go on. They might arrive after the first
                // acknowledgement.
                let is_pending = gic::bit(gic::GICD_ISPENDR, SGI);
                ensure(is_pending == (smp::team() > 1), "GICD_ISPENDR", [0; 3])?;
                let mut sources = 0;
                for count in 1..smp::team() {
                    let iar = gic::acknowledge();
                    ensure_eq(iar & 0x3ff, SGI, "GICC_IAR", count as u32)?;
                    let source = 1 << (iar >> 10 & 7);
                    ensure(sources & source == 0, "a source comes twice", [iar, sources, 0])?;
                    sources |= source;
                    gic::end(iar);
                }
                ensure_eq(sources, (1 << smp::team()) - 2, "the sources", 0)?;
                ensure_eq(gic::acknowledge(), SPURIOUS, "GICC_IAR after the last", 0)
            })
        })?;
    }
    Ok(())
}

/// SGIs made pending and not pending by the distributor's registers, with their sources.
pub(crate) fn pending_registers() -> Outcome {
    const SGI: u32 = 11;
    let (set, clear) = (GICD_SPENDSGIR + SGI as usize, GICD_CPENDSGIR + SGI as usize);
    cpu::masked(|| {
        for round in 0..3 {
            gic::write_byte(set, 1);
            ensure_eq(gic::read_byte(set).into(), 1, "GICD_SPENDSGIR", round)?;
            ensure_eq(gic::read_byte(clear).into(), 1, "GICD_CPENDSGIR", round)?;
            ensure_eq(gic::read(set & !3), 1 << 24, "the word around it", round)?;
            gic::write_byte(clear, 1);
            ensure_eq(gic::read_byte(set).into(), 0, "GICD_SPENDSGIR when cleared", round)?;
            ensure_eq(gic::acknowledge(), SPURIOUS, "GICC_IAR when cleared", round)?;
            gic::write(set & !3, 1 << 24);
            ensure_eq(gic::acknowledge(), SGI, "GICC_IAR", round)?;
            ensure_eq(gic::read_byte(set).into(), 0, "GICD_SPENDSGIR when active", round)?;
            // Pending again while it is active: it comes after the end.
            gic::write_byte(set, 1);
            ensure_eq(gic::acknowledge(), SPURIOUS, "GICC_IAR when active", round)?;
            gic::end(SGI);
            ensure_eq(gic::acknowledge(), SGI, "GICC_IAR for the second", round)?;
            gic::end(SGI);
            ensure_eq(gic::acknowledge(), SPURIOUS, "GICC_IAR at the end", round)?;
            // The bits in GICD_ISPENDR and GICD_ICPENDR are read-only.
            gic::write(gic::GICD_ISPENDR, 1 << SGI);
            ensure_eq(gic::acknowledge(), SPURIOUS, "GICC_IAR after GICD_ISPENDR", round)?;
        }
        Ok(())
    })
}
