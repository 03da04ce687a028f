// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of the guest that no memory answers.

use armv7::{
    addr::Ipa,
    hsr::Hsr,
    psr::Psr, //
};
use kernel::prelude::*;

use super::{
    exit::skip_instruction,
    run::Outcome,
    vcpu::{
        Vcpu,
        VcpuState, //
    },
    vm::Vm, //
};

/// A load whose value is to come.
#[derive(Clone, Copy)]
pub(crate) struct PendingMmio {
    /// The syndrome of the instruction, which is skipped when the access is complete.
    hsr: Hsr,
    /// The destination of a load.
    load: Option<Load>,
}

/// How a load ends.
#[derive(Clone, Copy)]
struct Load {
    rt: usize,
    size: usize,
    sign_extend: bool,
    big_endian: bool,
}

impl Load {
    /// Writes what was read to the register.
    fn finish(self, state: &mut VcpuState, data: [u8; 8]) {
        let mut bytes = [0; 4];
        bytes[..self.size].copy_from_slice(&data[..self.size]);
        if self.big_endian {
            bytes[..self.size].reverse();
        }
        let value = u32::from_le_bytes(bytes);
        let unused = 32 - 8 * self.size as u32;
        let value = if self.sign_extend {
            ((value << unused) as i32 >> unused) as u32
        } else {
            value
        };
        state.context.set_reg(self.rt, value);
    }
}

impl PendingMmio {
    /// Completes the access with what the monitor answered.
    pub(crate) fn finish(self, vcpu: &Vcpu, state: &mut VcpuState) {
        if let Some(load) = self.load {
            load.finish(state, vcpu.run_page.mmio_data());
        }
        skip_instruction(state, self.hsr);
    }
}

/// Emulates the load or store that trapped at `ipa`, or asks the monitor to.
pub(crate) fn emulate(
    vm: &Vm,
    vcpu: &Vcpu,
    state: &mut VcpuState,
    hsr: Hsr,
    ipa: Ipa,
) -> Result<Outcome> {
    let abort = hsr.abort();
    let (true, Some(size)) = (abort.isv, abort.sas.bytes()) else {
        // An instruction for which the hardware gives no syndrome (B3.13.6).
        pr_warn_ratelimited_mmio(state.context.core.pc, ipa);
        return Err(Error::from_errno(-(kernel::bindings::ENOSYS as i32)));
    };
    let rt = abort.srt;
    let big_endian = Psr(state.context.core.cpsr).is_big_endian();
    let load = Load {
        rt,
        size,
        sign_extend: abort.sign_extend,
        big_endian,
    };
    if abort.write {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&state.context.reg(rt).to_le_bytes());
        if big_endian {
            data[..size].reverse();
        }
        if vm.device_write(vcpu, &state.interface, ipa.0, size, &data) {
            skip_instruction(state, hsr);
            return Ok(Outcome::Resume);
        }
        // KVM_EXIT_MMIO gives just the bytes that are stored.
        data[size..].fill(0);
        vcpu.run_page.set_mmio(ipa.0, size, Some(data));
        state.mmio = Some(PendingMmio { hsr, load: None });
    } else {
        if let Some(data) = vm.device_read(vcpu, ipa.0, size) {
            load.finish(state, data);
            skip_instruction(state, hsr);
            return Ok(Outcome::Resume);
        }
        vcpu.run_page.set_mmio(ipa.0, size, None);
        state.mmio = Some(PendingMmio {
            hsr,
            load: Some(load),
        });
    }
    Ok(Outcome::ToUser)
}

/// Says once in a while that a guest does what is not emulated.
fn pr_warn_ratelimited_mmio(pc: u32, ipa: Ipa) {
    crate::glue::log::ratelimited(|| {
        pr_warn!(
            "a guest accessed device memory at {:#x} with an instruction that gives no syndrome \
             (pc {pc:#x}): not emulated\n",
            ipa.0
        );
    });
}
