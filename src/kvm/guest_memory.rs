// SPDX-License-Identifier: GPL-2.0

//! The guest's memory as the guest sees it: through its own translation, by a walk in software.

use armv7::{
    addr::{
        Ipa,
        PAGE_SIZE, //
    },
    exception::DataFault,
    insn::Instruction,
    psr::Psr,
    stage1::{
        self,
        Stage1,
        Translation,
        WalkError, //
    }, //
};
use kernel::prelude::*;

use super::running::Running;

/// Reads the instruction at the PC through the guest's own translation. `None` if the PC has no
/// translation, or leads to no memory.
pub(super) fn fetch(running: &Running<'_>) -> Result<Option<Instruction>> {
    let pc = running.state.context.core.pc;
    if !Psr(running.state.context.core.cpsr).is_thumb() {
        let mut bytes = [0; 4];
        let is_there = fetch_bytes(running, pc, &mut bytes)?;
        return Ok(is_there.then_some(Instruction::Arm(u32::from_le_bytes(bytes))));
    }
    let mut bytes = [0; 2];
    if !fetch_bytes(running, pc, &mut bytes)? {
        return Ok(None);
    }
    let first = u16::from_le_bytes(bytes);
    if !Instruction::is_wide(first) {
        return Ok(Some(Instruction::Thumb16(first)));
    }
    // The second half can be in another page.
    let is_there = fetch_bytes(running, pc.wrapping_add(2), &mut bytes)?;
    let word = u32::from(first) << 16 | u32::from(u16::from_le_bytes(bytes));
    Ok(is_there.then_some(Instruction::Thumb32(word)))
}

/// Reads bytes of one page.
fn fetch_bytes(running: &Running<'_>, address: u32, bytes: &mut [u8]) -> Result<bool> {
    match translate(running, address, None) {
        Ok(found) => read(running, found.ipa, bytes, found.cached),
        Err(WalkError::Fault(_)) => Ok(false),
        Err(WalkError::Read(e)) => Err(e),
    }
}

/// Translates an address by the guest's tables.
pub(super) fn translate(
    running: &Running<'_>,
    address: u32,
    access: Option<stage1::CheckedAccess>,
) -> Result<Translation, WalkError<Error>> {
    Stage1::of(&*running.state.context).translate(address, access, |ipa, bytes, cached| {
        read(running, ipa, bytes, cached)
    })
}

/// The abort of an access, or a fetch, whose walk by the hardware met a table of the guest in a
/// place without memory.
pub(super) fn walk_fault(running: &Running<'_>, address: u32) -> Result<DataFault> {
    match translate(running, address, None) {
        Err(WalkError::Fault(fault)) => Ok(fault),
        Err(WalkError::Read(e)) => Err(e),
        // Another vCPU has changed the tables since. The abort was true when it was taken, most
        // likely for a table of the second level.
        Ok(_) => Ok(DataFault::on_walk(2)),
    }
}

/// Reads memory of the guest, in its caches or not. If the host has none there, although it should,
/// user space is told where.
pub(super) fn read(
    running: &Running<'_>,
    ipa: Ipa,
    bytes: &mut [u8],
    cached: bool,
) -> Result<bool> {
    let result = running.vm.memory.read(ipa, bytes, cached);
    result.inspect_err(|_| tell_of_missing(running, ipa))
}

/// Writes to memory of the guest, as [`read`] reads.
pub(super) fn write(running: &Running<'_>, ipa: Ipa, bytes: &[u8], cached: bool) -> Result<bool> {
    let result = running.vm.memory.write(ipa, bytes, cached);
    result.inspect_err(|_| tell_of_missing(running, ipa))
}

/// Tells user space where the host has no memory although it should.
fn tell_of_missing(running: &Running<'_>, ipa: Ipa) {
    let run_page = &running.vcpu.run_page;
    run_page.set_memory_fault(ipa.page_align_down().0, PAGE_SIZE);
}

/// Loads bytes of a virtual address, without regard to rights, for a debugger. Says whether there
/// is memory.
pub(super) fn load(running: &Running<'_>, address: u32, bytes: &mut [u8]) -> Result<bool> {
    fetch_bytes(running, address, bytes)
}
