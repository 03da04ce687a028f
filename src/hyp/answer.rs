// SPDX-License-Identifier: GPL-2.0

//! Traps that are answered in HYP mode, without a world switch.
//!
//! [`kvm_arm_hyp_call`] and [`kvm_arm_hyp_register`] run in HYP mode with the guest's world loaded.
//! The module's code and constants are mapped there (of a kernel with KVM built in, the part of its
//! code that takes no probes, and its constants): they may reach nothing else. They must not panic
//! or take a lock, and all their state is in the context. `tools/check-hyp-calls` follows their
//! calls in the built module and refuses any that leave it.
//!
//! They decline a trap that has side effects, or needs anything that is not at hand: they change
//! nothing then, and the host answers.

use core::cell::Cell;

use armv7::{
    cond,
    cp15::Cp15Reg,
    hsr::{
        Cp32Access,
        Hsr, //
    },
    psr::{
        Mode,
        Psr, //
    },
    trap, //
};
use kvm_bindings as layout;
use machine::{
    core::Core,
    cp15::{
        self,
        Cp15Outcome,
        Cp15State, //
    },
    psci::{
        self,
        Power,
        Topology,
        Version, //
    },
    smccc::{
        self,
        Firmware,
        Services, //
    },
};

use super::context::VcpuContext;

/// The facts about a vCPU by which HYP mode answers for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Answers {
    /// [`Version::bits`], or zero if nothing is to be answered.
    psci: u32,
    /// [`Services::bits`].
    services: u32,
    /// The id of the vCPU.
    vcpu: u32,
    /// The number of the [`Core`].
    core: u32,
}

impl Answers {
    /// The facts about vCPU number `vcpu`, whose firmware is `firmware`.
    pub(crate) fn new(vcpu: usize, firmware: &Firmware) -> Self {
        Self {
            psci: firmware.psci.bits(),
            services: firmware.services.bits(),
            vcpu: vcpu as u32,
            core: firmware.core as u32,
        }
    }

    /// The id of the vCPU.
    #[inline(always)]
    pub(super) fn vcpu(&self) -> u32 {
        self.vcpu
    }

    fn firmware(&self) -> Option<Firmware> {
        Some(Firmware {
            psci: Version::from_bits(self.psci)?,
            services: Services::from_bits_truncate(self.services),
            core: Core::from_number(self.core),
        })
    }
}

/// How many traps were answered here. The highvisor takes these counts now and then.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Answered {
    /// Hypercalls.
    pub(crate) hvc: u32,
    /// Registers of CP15.
    pub(crate) cp15: u32,
    /// Accesses to the distributor.
    pub(crate) mmio: u32,
}

impl Answered {
    /// Whether there are any.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.hvc | self.cp15 | self.mmio != 0
    }
}

/// The end of a trap in HYP mode.
enum Answer {
    /// The trap is answered, and the guest goes on.
    Done,
    /// The host has to see to it.
    Declined,
}

/// Answers a hypercall, if that is simple. Returns `ANSWER_DECLINED` if the host has to answer it,
/// else `ANSWER_DONE`.
///
/// # Safety
///
/// The CPU is in HYP mode. `context` is that of the vCPU whose world is loaded. R0 to R12 are saved
/// in it, and nobody else uses it.
#[no_mangle]
// Where the kernel puts no probes.
#[link_section = ".kprobes.text"]
unsafe extern "C" fn kvm_arm_hyp_call(context: *mut VcpuContext) -> u32 {
    // SAFETY: The caller promises that the context is valid and that nobody else uses it.
    let context = unsafe { &mut *context };
    let answer = call(context);
    answer.counted(&mut context.answered.hvc)
}

/// Answers the access to a register of CP15 that `context.fault.hsr` describes, in the same way.
///
/// # Safety
///
/// As for [`kvm_arm_hyp_call`]. PC, CPSR and HSR are saved in the context, too.
#[no_mangle]
#[link_section = ".kprobes.text"]
unsafe extern "C" fn kvm_arm_hyp_register(context: *mut VcpuContext) -> u32 {
    // SAFETY: The caller promises that the context is valid and that nobody else uses it.
    let context = unsafe { &mut *context };
    let answer = match trap::cp15(Hsr(context.fault.hsr), context.core.cpsr) {
        Some(access) => cp15_register(context, access),
        None => Answer::Declined,
    };
    answer.counted(&mut context.answered.cp15)
}

impl Answer {
    /// Counts the trap, if it is answered. Gives the answer as the assembly knows it.
    #[inline(always)]
    fn counted(self, count: &mut u32) -> u32 {
        match self {
            Self::Done => {
                *count = count.wrapping_add(1);
                layout::ANSWER_DONE
            }
            Self::Declined => layout::ANSWER_DECLINED,
        }
    }
}

/// A hypercall whose result is known beforehand. The preferred return address is behind it.
#[inline(always)]
fn call(context: &mut VcpuContext) -> Answer {
    let Some(firmware) = context.answers.firmware() else {
        return Answer::Declined;
    };
    let [r0, r1, r2, r3, ..] = context.core.r;
    let call = smccc::Call {
        function: r0,
        args: [r1, r2, r3],
    };
    let topology = NotAtHand(Cell::new(false));
    let outcome = smccc::call(&call, context.answers.vcpu as usize, &firmware, &topology);
    if topology.0.get() {
        return Answer::Declined;
    }
    match outcome {
        smccc::SmcccOutcome::Return([a, b, c, d]) => {
            [
                context.core.r[0],
                context.core.r[1],
                context.core.r[2],
                context.core.r[3],
            ] = [a, b, c, d];
            Answer::Done
        }
        smccc::SmcccOutcome::Power(psci::PsciOutcome::Return(value)) => {
            context.core.r[0] = value;
            Answer::Done
        }
        _ => Answer::Declined,
    }
}

/// The other vCPUs. Nothing is known of them here: this notes that somebody asked.
struct NotAtHand(Cell<bool>);

impl Topology for NotAtHand {
    fn cpus(&self) -> usize {
        self.0.set(true);
        0
    }

    fn mpidr(&self, _: usize) -> u32 {
        self.0.set(true);
        u32::MAX
    }

    fn power(&self, _: usize) -> Power {
        self.0.set(true);
        Power::Off
    }
}

/// Whether the context has register `n` of the guest: those that its mode has banked are in the
/// hardware.
#[inline(always)]
pub(super) fn is_at_hand(context: &VcpuContext, n: usize) -> bool {
    // R8 to R12 are banked in FIQ mode alone.
    n < 8 || n < 13 && context.core.cpsr & Psr::MODE_MASK != Mode::Fiq.bits()
}

/// A register of CP15 that is emulated: its value is not in the hardware now.
#[inline(always)]
fn cp15_register(context: &mut VcpuContext, trapped: Cp32Access) -> Answer {
    let mode = Psr(context.core.cpsr).mode();
    if !is_at_hand(context, trapped.rt) || context.answers.psci == 0 {
        return Answer::Declined;
    }
    let core = Core::from_number(context.answers.core);
    let value = context.core.r.get(trapped.rt).copied().unwrap_or(0);
    let mut emulated = Emulated {
        actlr: context.cp15[Cp15Reg::Actlr as usize],
        l2ctlr: context.cp15[Cp15Reg::L2ctlr as usize],
        not_at_hand: Cell::new(false),
    };
    let privileged = mode != Some(Mode::Usr);
    let outcome = cp15::access32(core, trapped, privileged, value, &mut emulated);
    if emulated.not_at_hand.get() {
        return Answer::Declined;
    }
    match outcome {
        Cp15Outcome::Read(value) => {
            if let Some(rt) = context.core.r.get_mut(trapped.rt) {
                *rt = value as u32;
            }
        }
        Cp15Outcome::Written => (),
        _ => return Answer::Declined,
    }
    (context.core.pc, context.core.cpsr) = cond::next_pc(
        context.core.pc,
        context.core.cpsr,
        Hsr(context.fault.hsr).il(),
    );
    Answer::Done
}

/// The emulated registers that a guest reads often. The others are declined.
struct Emulated {
    actlr: u32,
    l2ctlr: u32,
    not_at_hand: Cell<bool>,
}

impl Cp15State for Emulated {
    #[inline(always)]
    fn get(&self, reg: Cp15Reg) -> u32 {
        match reg {
            Cp15Reg::Actlr => self.actlr,
            Cp15Reg::L2ctlr => self.l2ctlr,
            _ => {
                self.not_at_hand.set(true);
                0
            }
        }
    }

    #[inline(always)]
    fn set(&mut self, _: Cp15Reg, _: u32) {
        self.not_at_hand.set(true);
    }
}
