// SPDX-License-Identifier: GPL-2.0

//! The registers that identify a core, as a CPU of that core has them.
//!
//! A thread that asks for them need not run on such a CPU (big.LITTLE). So each CPU that is the
//! first of its core leaves a copy, and each vCPU gets one when it is initialised.

use machine::{
    core::Core,
    cp14::DebugUnit,
    cp15::{
        IdReg,
        CSSELR_VALUES, //
    },
};

use super::{
    debug_registers,
    id_register,
    register, //
};
use crate::glue::cpu::{
    has_vfp,
    IrqsOff, //
};

/// The registers of one core.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) core: Core,
    ids: [u32; IdReg::ALL.len()],
    /// CCSIDR for each value of CSSELR.
    ccsidr: [u32; CSSELR_VALUES as usize],
    /// ACTLR, with the host's settings, such as workarounds of errata.
    pub(crate) actlr: u32,
    pub(crate) l2ctlr: u32,
    /// FPSID, MVFR0 and MVFR1, or zeroes if there is no VFP.
    pub(crate) fpsid: u32,
    pub(crate) mvfr: [u32; 2],
    /// The debug registers that guests have.
    pub(crate) debug: DebugUnit,
}

impl Identity {
    /// Reads those of this CPU, which is of that core. `can_debug` says whether its debug registers
    /// can be used.
    pub(super) fn read(irqs: &IrqsOff, core: Core, can_debug: bool) -> Self {
        let (fpsid, mvfr) = if has_vfp() {
            let mvfr = [id_register::mvfr0(), id_register::mvfr1()];
            (id_register::fpsid(), mvfr)
        } else {
            (0, [0; 2])
        };
        let ids = IdReg::ALL.map(id_register::id);
        let clidr = ids.get(IdReg::Clidr as usize).copied().unwrap_or(0);
        Self {
            core,
            ids,
            ccsidr: core::array::from_fn(|csselr| {
                let csselr = csselr as u32;
                // Others select no cache, and CCSIDR is unknown then (B4.1.19).
                if machine::cp15::has_cache(clidr, csselr) {
                    id_register::ccsidr(irqs, csselr)
                } else {
                    0
                }
            }),
            actlr: register::actlr(),
            l2ctlr: register::l2ctlr(),
            fpsid,
            mvfr,
            debug: if can_debug {
                DebugUnit::of_host(debug_registers::didr())
            } else {
                DebugUnit::DISABLED
            },
        }
    }

    /// An identification register of CP15.
    pub(crate) fn id(&self, reg: IdReg) -> u32 {
        self.ids.get(reg as usize).copied().unwrap_or(0)
    }

    /// CCSIDR for a value of CSSELR that selects a cache.
    pub(crate) fn ccsidr(&self, csselr: u32) -> u32 {
        self.ccsidr.get(csselr as usize).copied().unwrap_or(0)
    }
}

/// The core of this CPU, if it is one that guests can have.
pub(crate) fn core_of_this_cpu(irqs: &IrqsOff) -> Option<Core> {
    Core::from_midr(midr(irqs))
}

/// The MIDR by which this CPU is taken for a core.
#[cfg(not(CONFIG_KVM_ARM_PRETEND))]
pub(super) fn midr(_irqs: &IrqsOff) -> u32 {
    register::midr()
}

/// Likewise, or another one that the tester has given (`pretend_midr=`).
#[cfg(CONFIG_KVM_ARM_PRETEND)]
pub(super) fn midr(irqs: &IrqsOff) -> u32 {
    match crate::glue::parameter::pretended_midr(irqs) {
        0 => register::midr(),
        pretended => pretended,
    }
}
