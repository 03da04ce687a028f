// SPDX-License-Identifier: GPL-2.0

//! CP15 as a guest sees it, where its accesses trap.
//!
//! HCR, HSTR, HDCR and CNTHCTL decide which accesses trap (`armv7::policy`). All
//! others go to the hardware, whose registers the world switch changes. Each core
//! has one sorted table of the registers that it implements, with the action for a
//! guest. An access to any other register is undefined, as on the core. The same
//! table has the registers that user space saves and restores.

pub(crate) mod a15;
pub(crate) mod a17;
pub(crate) mod a7;
mod id;
mod table;
#[cfg(test)]
mod tests;

use armv7::{
    cp15::Cp15Reg,
    hsr::{
        Cp32Access,
        Cp64Access, //
    },
    regs::{
        Sctlr,
        CNTKCTL_PL0PTEN, //
    },
};

use crate::{
    core::Core,
    pmu::PmuReg,
    timer::TimerReg, //
};

pub use id::{
    has_cache,
    IdReg,
    CSSELR_VALUES, //
};
pub use table::Encoding;
pub(crate) use table::Table;
use table::{
    find,
    Action,
    Key, //
};

/// The table of a core.
#[inline(always)]
const fn table_of(core: Core) -> &'static Table {
    &core.description().table
}

/// The registers of a virtual CPU.
pub trait Cp15State {
    /// Reads a register.
    fn get(&self, reg: Cp15Reg) -> u32;
    /// Writes a register.
    fn set(&mut self, reg: Cp15Reg, value: u32);
}

/// The effect of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cp15Outcome {
    /// A load: the value for the register, or registers, low half first.
    Read(u64),
    /// A store: it is done.
    Written,
    /// A store to SCTLR that turned the guest's data caches, with its MMU, on or off.
    CachesTurned {
        /// They are on now.
        on: bool,
    },
    /// Cache maintenance by set and way.
    SetWay,
    /// The access is for the emulated physical timer.
    PhysTimer(TimerReg),
    /// The access is for the performance monitors.
    Pmu(PmuReg),
    /// The instruction is undefined.
    Undefined,
}

/// Carries out a trapped MRC, or MCR of `value`. `privileged` says that it comes from PL1.
pub fn access32(
    core: Core,
    access: Cp32Access,
    privileged: bool,
    value: u32,
    state: &mut impl Cp15State,
) -> Cp15Outcome {
    let key = Key::new32(access.crn, access.opc1, access.crm, access.opc2);
    match find(table_of(core), key) {
        Some(action) if privileged || is_for_user(action, state) => {
            act(action, access.is_read, value.into(), state)
        }
        _ => Cp15Outcome::Undefined,
    }
}

/// Carries out a trapped MRRC, or MCRR of `value`. `privileged` says that it comes from PL1.
pub fn access64(
    core: Core,
    access: Cp64Access,
    privileged: bool,
    value: u64,
    state: &mut impl Cp15State,
) -> Cp15Outcome {
    match find(table_of(core), Key::new64(access.opc1, access.crm)) {
        Some(action) if privileged || is_for_user(action, state) => {
            act(action, access.is_read, value, state)
        }
        _ => Cp15Outcome::Undefined,
    }
}

/// Whether user mode may make the access. The hardware does not decide that: an access that is
/// undefined in user mode may still trap by HCR.TIDCP and HSTR, as each core likes (B1.14).
fn is_for_user(action: Action, state: &impl Cp15State) -> bool {
    match action {
        // PMUSERENR decides, which the model of the monitors has.
        Action::Pmu(_) => true,
        Action::PhysTimer(_) => state.get(Cp15Reg::Cntkctl) & CNTKCTL_PL0PTEN != 0,
        _ => false,
    }
}

fn act(action: Action, is_read: bool, value: u64, state: &mut impl Cp15State) -> Cp15Outcome {
    match (action, is_read) {
        (Action::Register(reg) | Action::WriteIgnored(reg) | Action::Switched(reg), true) => {
            Cp15Outcome::Read(state.get(reg).into())
        }
        (Action::Register(reg) | Action::Switched(reg), false) => {
            state.set(reg, value as u32);
            Cp15Outcome::Written
        }
        (Action::Register64(low, high) | Action::Switched64(low, high), true) => {
            Cp15Outcome::Read(u64::from(state.get(high)) << 32 | u64::from(state.get(low)))
        }
        (Action::Register64(low, high) | Action::Switched64(low, high), false) => {
            state.set(low, value as u32);
            state.set(high, (value >> 32) as u32);
            Cp15Outcome::Written
        }
        (Action::Sctlr, true) => Cp15Outcome::Read(state.get(Cp15Reg::Sctlr).into()),
        (Action::Sctlr, false) => {
            let caches = |value| Sctlr::from_bits_retain(value).caches_on();
            let was_on = caches(state.get(Cp15Reg::Sctlr));
            state.set(Cp15Reg::Sctlr, value as u32);
            let on = caches(value as u32);
            if on == was_on {
                Cp15Outcome::Written
            } else {
                Cp15Outcome::CachesTurned { on }
            }
        }
        (Action::WriteIgnored(_), false) => Cp15Outcome::Written,
        (Action::ZeroReadOnly, false) => Cp15Outcome::Undefined,
        (Action::Zero | Action::ZeroReadOnly, true) => Cp15Outcome::Read(0),
        (Action::Zero, false) => Cp15Outcome::Written,
        (Action::SetWay, false) => Cp15Outcome::SetWay,
        (Action::SetWay, true) => Cp15Outcome::Undefined,
        (Action::PhysTimer(reg), _) => Cp15Outcome::PhysTimer(reg),
        (Action::Pmu(reg), _) => Cp15Outcome::Pmu(reg),
        // The hardware carries out all that is allowed. The rest is of user mode, or reads a
        // register that can only be written.
        (Action::Id(_) | Action::Hardware | Action::Absent | Action::PmuState(_), _) => {
            Cp15Outcome::Undefined
        }
    }
}

/// The place of a register that user space saves and restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// A word of the vCPU.
    Word(Cp15Reg),
    /// Two words of the vCPU: low and high.
    Pair(Cp15Reg, Cp15Reg),
    /// An identification register, which cannot be changed.
    Invariant(IdReg),
    /// A register of the performance monitors.
    Pmu(PmuReg),
}

impl Action {
    const fn saved(self) -> Option<Saved> {
        match self {
            Self::Register(reg) | Self::Switched(reg) | Self::WriteIgnored(reg) => {
                Some(Saved::Word(reg))
            }
            Self::Sctlr => Some(Saved::Word(Cp15Reg::Sctlr)),
            Self::Register64(low, high) | Self::Switched64(low, high) => {
                Some(Saved::Pair(low, high))
            }
            Self::Id(reg) => Some(Saved::Invariant(reg)),
            Self::Pmu(reg) | Self::PmuState(reg) if reg.is_state() => Some(Saved::Pmu(reg)),
            Self::Hardware
            | Self::Absent
            | Self::Zero
            | Self::ZeroReadOnly
            | Self::SetWay
            | Self::PhysTimer(_)
            | Self::Pmu(_)
            | Self::PmuState(_) => None,
        }
    }
}

/// The registers of a vCPU's state, by their encodings.
pub fn saved_registers(core: Core) -> impl Iterator<Item = (Encoding, Saved)> {
    table_of(core)
        .rows
        .iter()
        .filter_map(|entry| Some((entry.key.encoding(), entry.action.saved()?)))
}

/// The register of a vCPU's state with an encoding.
pub fn saved_register(core: Core, encoding: Encoding) -> Option<Saved> {
    find(table_of(core), encoding.key())?.saved()
}

/// The MPIDR of a virtual CPU: clusters of four, as on these cores.
pub const fn mpidr(vcpu_id: u32) -> u32 {
    1 << 31 | (vcpu_id >> 2) << 8 | vcpu_id & 3
}

/// The place of the number of CPUs in L2CTLR, less one: two bits on all of these cores (DDI 0438
/// 4.3.36).
const L2CTLR_CPUS_SHIFT: u32 = 24;

/// The L2CTLR of a virtual CPU whose cluster has so many CPUs, given the hardware's.
pub const fn l2ctlr(hardware: u32, cpus: u32) -> u32 {
    let field = match cpus {
        0 | 1 => 0,
        2 | 3 => cpus - 1,
        _ => 3,
    };
    hardware & !(3 << L2CTLR_CPUS_SHIFT) | field << L2CTLR_CPUS_SHIFT
}

/// Bit 6 of ACTLR on all of these cores: the CPU takes part in coherency.
const ACTLR_SMP: u32 = 1 << 6;
/// SCTLR after reset (DDI 0438 4.3.27): the bits that should be one, and CP15BEN. On Cortex-A7, Z
/// always reads as one, too (DDI 0464 4.3.27).
const SCTLR_RESET: u32 = 0x00c5_0078;

/// The value of a register after reset. Fields that the architecture leaves unknown are zero.
pub const fn reset_value(reg: Cp15Reg, vcpu_id: u32) -> u32 {
    match reg {
        Cp15Reg::Mpidr => mpidr(vcpu_id),
        Cp15Reg::Sctlr => SCTLR_RESET,
        Cp15Reg::Actlr => ACTLR_SMP,
        _ => 0,
    }
}
