// SPDX-License-Identifier: GPL-2.0

//! The timers and their counters.
//!
//! The VM has one counter: a vCPU that sets its counter sets it for all vCPUs.

use kernel::prelude::*;
use kvm_bindings as uapi;
use machine::timer::{
    Timer,
    TimerReg, //
};

use super::{
    coprocessor,
    Id, //
};
use crate::{
    hyp::register::cntpct,
    kvm::running::Running, //
};

/// A register of this group.
#[derive(Clone, Copy)]
enum TimerRegister {
    Virtual(TimerReg),
    Physical(TimerReg),
}

/// Names by opc1, CRm and opc2 of c14.
const fn word(crm: u32, opc2: u32) -> Id {
    Id::word(
        coprocessor(15),
        14 << uapi::KVM_REG_ARM_32_CRN_SHIFT | crm << uapi::KVM_REG_ARM_CRM_SHIFT | opc2,
    )
}

const fn double(opc1: u32) -> Id {
    Id::double(
        coprocessor(15),
        opc1 << uapi::KVM_REG_ARM_OPC1_SHIFT | 14 << uapi::KVM_REG_ARM_CRM_SHIFT,
    )
}

const REGISTERS: [(Id, TimerRegister); 6] = [
    (word(3, 1), TimerRegister::Virtual(TimerReg::Ctl)),
    (double(1), TimerRegister::Virtual(TimerReg::Count)),
    (double(3), TimerRegister::Virtual(TimerReg::Cval)),
    (word(2, 1), TimerRegister::Physical(TimerReg::Ctl)),
    (double(0), TimerRegister::Physical(TimerReg::Count)),
    (double(2), TimerRegister::Physical(TimerReg::Cval)),
];

fn find(id: Id) -> Option<TimerRegister> {
    let (_, register) = REGISTERS.iter().find(|(known, _)| *known == id)?;
    Some(*register)
}

pub(super) fn is_timer(id: Id) -> bool {
    find(id).is_some()
}

/// All ids but that of the physical counter: the host owns it, and it cannot be restored.
pub(super) fn ids() -> impl Iterator<Item = Id> {
    REGISTERS
        .iter()
        .filter(|(_, register)| !matches!(register, TimerRegister::Physical(TimerReg::Count)))
        .map(|(id, _)| *id)
}

pub(super) fn get(running: &Running<'_>, id: Id) -> Result<u64> {
    let timers = &running.state.timers;
    let (timer, reg) = match find(id).ok_or(ENOENT)? {
        TimerRegister::Virtual(reg) => (
            // Another vCPU may have set the counter since this one ran.
            Timer {
                offset: running.vm.counter_offset(),
                ..timers.virt
            },
            reg,
        ),
        TimerRegister::Physical(reg) => (timers.phys, reg),
    };
    Ok(timer.read(reg, cntpct()))
}

pub(super) fn set(running: &mut Running<'_>, id: Id, value: u64) -> Result {
    let timers = &mut running.state.timers;
    let now = cntpct();
    match find(id).ok_or(ENOENT)? {
        TimerRegister::Virtual(TimerReg::Count) => {
            running.vm.set_counter_offset(now.wrapping_sub(value));
        }
        // The host owns the physical counter.
        TimerRegister::Physical(TimerReg::Count) => return Err(EPERM),
        TimerRegister::Virtual(reg) => timers.virt.write(reg, value, now),
        TimerRegister::Physical(reg) => timers.phys.write(reg, value, now),
    }
    Ok(())
}
