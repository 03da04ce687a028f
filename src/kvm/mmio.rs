// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of the guest that no memory answers.
//!
//! Most come with a syndrome, and are one access. For the others the instruction is fetched and
//! decoded (`armv7::insn`), and carried out access by access. Each access can be to another device,
//! or to memory. The monitor is asked for one access at a time: the rest waits in the vCPU until
//! KVM_RUN is called again.

use armv7::{
    exception::{
        self,
        DataFault,
        Direction, //
    },
    hsr::FaultStatus,
    insn::{
        self,
        Transfer, //
    },
    psr::Psr,
    stage1::{
        self,
        Translation,
        WalkError, //
    },
    trap::Abort, //
};
use kernel::prelude::*;

use crate::trace::trace;

use super::{
    devices,
    guest_memory::{
        fetch,
        read,
        translate,
        write, //
    },
    next::Next,
    pending_mmio::{
        in_memory_order,
        Load,
        PendingMmio, //
    },
    running::Running,
    vm_gic::{
        is_settled,
        GicRegister, //
    }, //
};

/// Completes the access that is pending with the monitor's answer, if there is one. The instruction
/// can have more accesses for the monitor.
#[inline]
pub(super) fn finish(running: &mut Running<'_>) -> Result<Next> {
    match running.state.mmio {
        None => Ok(Next::Resume),
        Some(PendingMmio::Single(load)) => {
            running.state.mmio = None;
            if let Some(load) = load {
                load.finish(
                    &mut running.state.context,
                    running.vcpu.run_page.mmio_data(),
                );
            }
            running.state.skip_instruction();
            Ok(Next::Resume)
        }
        Some(PendingMmio::Part(_)) => finish_part(running),
    }
}

#[inline(never)]
fn finish_part(running: &mut Running<'_>) -> Result<Next> {
    let Some(PendingMmio::Part(mut transfer)) = running.state.mmio.take() else {
        return Ok(Next::Resume);
    };
    transfer.complete(running.vcpu.run_page.mmio_data().to_le_bytes());
    carry_out(running, transfer)
}

/// Whether an access to the distributor can be emulated while the rest of the guest stays in the
/// hardware: nothing but the distributor's lock is needed.
#[inline]
pub(super) fn is_plain(abort: &Abort) -> bool {
    abort.iss.size().is_some()
        && !abort.may_cross_pages()
        && matches!(abort.iss.status(), FaultStatus::Translation(_))
        && (abort.iss.is_write() || !is_settled(abort.offset()))
}

/// Emulates an access that [`is_plain`]. Interrupts are off. Says whether it did.
#[inline]
pub(super) fn emulate_plain(running: &mut Running<'_>, abort: &Abort) -> bool {
    trace!(kvm_guest_fault(
        running.state.context.core.pc,
        running.state.context.fault.hsr,
        abort.address,
        abort.ipa().0
    ));
    matches!(emulate(running, abort), Ok(Next::Resume))
}

/// Emulates the load or store that trapped, or asks the monitor to.
#[inline(never)]
pub(crate) fn emulate(running: &mut Running<'_>, abort: &Abort) -> Result<Next> {
    let register = running.vm.gic.register(abort.ipa().0);
    emulate_at(running, abort, register)
}

/// The same, for those who know which register of the vGIC is there.
#[inline(always)]
pub(super) fn emulate_at(
    running: &mut Running<'_>,
    abort: &Abort,
    register: Option<GicRegister>,
) -> Result<Next> {
    let (iss, ipa) = (abort.iss, abort.ipa());
    let Some(size) = iss.size() else {
        return emulate_decoded(running, abort);
    };
    // The syndrome does not tell where the access begins: one page can be memory, or another
    // device.
    if abort.may_cross_pages() && !abort.seems_to_begin_page(&running.state.context.core.r) {
        if let Some(transfer) = fetch_crossing(running, abort, size)? {
            return carry_out(running, transfer);
        }
    }
    let rt = iss.register();
    let big_endian = Psr(running.state.context.core.cpsr).is_big_endian();
    let load = if iss.is_write() {
        // KVM_EXIT_MMIO gives just the bytes that are stored.
        let data = in_memory_order(running.state.context.reg(rt), size, big_endian).into();
        if devices::write_to(running, register, ipa.0, size, data) {
            running.state.skip_instruction();
            return Ok(Next::Resume);
        }
        running.vcpu.run_page.set_mmio(ipa.0, size, Some(data));
        None
    } else {
        let load = Load {
            rt,
            size,
            sign_extend: iss.sign_extend(),
            big_endian,
        };
        let read = |register| devices::read_from(running, register, ipa.0, size);
        if let Some(data) = register.and_then(read) {
            load.finish(&mut running.state.context, data);
            running.state.skip_instruction();
            return Ok(Next::Resume);
        }
        running.vcpu.run_page.set_mmio(ipa.0, size, None);
        Some(load)
    };
    running.state.mmio = Some(PendingMmio::Single(load));
    Ok(Next::ToUser)
}

/// The instruction of an access that a syndrome describes, if the access has bytes in two pages.
#[inline(never)]
fn fetch_crossing(running: &Running<'_>, abort: &Abort, size: usize) -> Result<Option<Transfer>> {
    Ok(match fetch_transfer(running, abort)? {
        Fetched::Same(transfer) => Some(transfer).filter(|transfer| {
            transfer.is_single(size, abort.iss.is_write()) && transfer.crosses_pages()
        }),
        _ => None,
    })
}

/// Emulates an instruction for which the hardware gives no syndrome (B3.13.6).
#[inline(never)]
fn emulate_decoded(running: &mut Running<'_>, abort: &Abort) -> Result<Next> {
    let transfer = match fetch_transfer(running, abort)? {
        Fetched::Same(transfer) => transfer,
        Fetched::Other => {
            let pc = running.state.context.core.pc;
            // Once is a coincidence. A guest whose caches disagree about the instruction would
            // never get any further.
            if running.state.refetched_at.replace(pc) == Some(pc) {
                running.state.refetched_at = None;
                return not_emulated(running, abort);
            }
            return Ok(Next::Resume);
        }
        Fetched::Unknown => return not_emulated(running, abort),
    };
    running.state.refetched_at = None;
    carry_out(running, transfer)
}

/// The instruction that is found where one trapped.
enum Fetched {
    /// It can have trapped.
    Same(Transfer),
    /// It is another one, or there is none: another vCPU has changed the code since, or taken it
    /// away, or its translation.
    Other,
    /// It is no load or store that is known here.
    Unknown,
}

/// Fetches and decodes the instruction of an abort again.
fn fetch_transfer(running: &Running<'_>, abort: &Abort) -> Result<Fetched> {
    let cpsr = running.state.context.core.cpsr;
    if cpsr & Psr::J != 0 {
        // ThumbEE has other instructions.
        return Ok(Fetched::Unknown);
    }
    let Some(instruction) = fetch(running)? else {
        return Ok(Fetched::Other);
    };
    trace!(kvm_mmio_emulate(
        running.state.context.core.pc,
        instruction.bits(),
        cpsr
    ));
    let Ok(decoded) = insn::decode(instruction) else {
        return Ok(Fetched::Unknown);
    };
    // An access that must be aligned, and is not, would have had an alignment fault instead: those
    // of stage 1 come first (B3.12).
    let Ok(transfer) = Transfer::new(instruction, &decoded, &*running.state.context) else {
        return Ok(Fetched::Other);
    };
    let is_same = insn::is_executed(&decoded, cpsr)
        && transfer.covers(abort.address)
        && (decoded.kind.stores() || !abort.iss.is_write());
    Ok(if is_same {
        Fetched::Same(transfer)
    } else {
        Fetched::Other
    })
}

/// Makes the accesses of an instruction, as far as the kernel can.
fn carry_out(running: &mut Running<'_>, mut transfer: Transfer) -> Result<Next> {
    loop {
        let Some(access) = transfer.next() else {
            if transfer.turn(&*running.state.context) {
                continue;
            }
            transfer.finish(&mut *running.state.context);
            return Ok(Next::Resume);
        };
        let rights = stage1::CheckedAccess {
            write: access.store.is_some(),
            privileged: transfer.is_privileged(running.state.context.core.cpsr),
        };
        let Translation { ipa, cached } = match translate(running, access.address, Some(rights)) {
            Ok(found) => found,
            Err(WalkError::Read(e)) => return Err(e),
            Err(WalkError::Fault(fault)) => {
                let regs = &mut *running.state.context;
                let direction = Direction::of(rights.write);
                exception::inject_data_abort(regs, fault, access.address, direction);
                return Ok(Next::Resume);
            }
        };
        let size = access.bytes;
        let done = match access.store {
            Some(data) => {
                write(running, ipa, data.get(..size).unwrap_or(&data), cached)?
                    || devices::write(running, ipa.0, size, u64::from_le_bytes(data))
            }
            None => {
                let mut data = [0; 8];
                let bytes = data.get_mut(..size).ok_or(EINVAL)?;
                let found = if read(running, ipa, bytes, cached)? {
                    Some(data)
                } else {
                    devices::read(running, ipa.0, size).map(u64::to_le_bytes)
                };
                if let Some(data) = found {
                    transfer.complete(data);
                    continue;
                }
                false
            }
        };
        if !done {
            let store = access.store.map(u64::from_le_bytes);
            running.vcpu.run_page.set_mmio(ipa.0, size, store);
            running.state.mmio = Some(PendingMmio::Part(transfer));
            return Ok(Next::ToUser);
        }
        transfer.complete([0; 8]);
    }
}

/// An access that cannot be emulated: user space hears of it if it wants to, or else the guest gets
/// the abort by which a bus answers an access that it does not support.
fn not_emulated(running: &mut Running<'_>, abort: &Abort) -> Result<Next> {
    let ipa = abort.ipa().0;
    if running.vm.nisv_to_user() {
        let run_page = &running.vcpu.run_page;
        run_page.set_arm_nisv(abort.iss.without_access(), ipa);
        return Ok(Next::ToUser);
    }
    let pc = running.state.context.core.pc;
    crate::glue::log::ratelimited(|| {
        pr_warn!(
            "a guest accessed device memory at {ipa:#x} by an instruction that is not emulated \
             (pc {pc:#x}): it gets an external abort\n"
        );
    });
    running.state.inject_abort(abort, DataFault::DECODE_ERROR);
    Ok(Next::Resume)
}
