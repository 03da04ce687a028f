// SPDX-License-Identifier: GPL-2.0

//! All of a machine's state that KVM has: read out while it stands still, and written into
//! another.

use std::io;

use crate::uapi;
use crate::{Device, Vcpu};

/// The state of a vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuSnapshot {
    /// The registers of KVM_GET_REG_LIST and their values.
    pub registers: Vec<(u64, u64)>,
    /// KVM_GET_MP_STATE.
    pub mp_state: u32,
    /// KVM_GET_VCPU_EVENTS: whether an asynchronous abort is pending.
    pub serror_pending: u8,
}

impl VcpuSnapshot {
    /// Reads the state of a vCPU that does not run.
    pub fn save(vcpu: &Vcpu) -> io::Result<Self> {
        let mut registers = Vec::new();
        for id in vcpu.reg_list()? {
            let value = if id & uapi::REG_SIZE_MASK == uapi::REG_SIZE_U64 {
                vcpu.reg64(id)?
            } else {
                vcpu.reg(id)?.into()
            };
            registers.push((id, value));
        }
        Ok(Self {
            registers,
            mp_state: vcpu.mp_state()?,
            serror_pending: vcpu.events()?.serror_pending,
        })
    }

    /// Gives the state to a vCPU that was initialised with the same features.
    pub fn restore(&self, vcpu: &Vcpu) -> io::Result<()> {
        for &(id, value) in &self.registers {
            if id & uapi::REG_SIZE_MASK == uapi::REG_SIZE_U64 {
                vcpu.set_reg64(id, value)?;
            } else {
                vcpu.set_reg(id, value as u32)?;
            }
        }
        vcpu.set_mp_state(self.mp_state)?;
        vcpu.set_events(&uapi::VcpuEvents {
            serror_pending: self.serror_pending,
            ..Default::default()
        })
    }
}

/// Registers of the distributor that hold state (IHI 0048B table 4-1): offset, and how many bits
/// each interrupt has.
const DISTRIBUTOR: [(u64, u64); 7] = [
    (GICD_IGROUPR, 1),
    (GICD_ICFGR, 2),
    (GICD_IPRIORITYR, 8),
    (GICD_ITARGETSR, 8),
    (GICD_ISENABLER, 1),
    (GICD_ISACTIVER, 1),
    (GICD_ISPENDR, 1),
];

const GICD_CTLR: u64 = 0x000;
const GICD_IIDR: u64 = 0x008;
const GICD_IGROUPR: u64 = 0x080;
const GICD_ISENABLER: u64 = 0x100;
const GICD_ISPENDR: u64 = 0x200;
const GICD_ISACTIVER: u64 = 0x300;
const GICD_IPRIORITYR: u64 = 0x400;
const GICD_ITARGETSR: u64 = 0x800;
const GICD_ICFGR: u64 = 0xc00;
const GICD_SPENDSGIR: u64 = 0xf20;
/// From a register that sets bits to the one that clears them.
const CLEAR: u64 = 0x80;

/// GICC_CTLR, GICC_PMR, GICC_BPR, GICC_ABPR, GICC_APR0.
const CPU_INTERFACE: [u64; 5] = [0x00, 0x04, 0x08, 0x1c, 0xd0];

/// SGIs and PPIs: each CPU has its own.
const PRIVATE_INTERRUPTS: u64 = 32;

/// A register and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    group: u32,
    attr: u64,
    value: u32,
}

/// The state of a vGIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicSnapshot {
    words: Vec<Word>,
}

/// The attribute for a register as a CPU has it.
fn attribute(cpu: u64, offset: u64) -> u64 {
    (cpu << uapi::VGIC_CPUID_SHIFT) | offset
}

impl GicSnapshot {
    /// Reads the state of a vGIC whose CPUs do not run.
    pub fn save(gic: &Device, cpus: u64) -> io::Result<Self> {
        let interrupts: u32 = gic.get_attr(uapi::VGIC_GRP_NR_IRQS, 0)?;
        let mut words = Vec::new();
        let mut save = |group, attr| -> io::Result<()> {
            let value = gic.get_attr(group, attr)?;
            words.push(Word { group, attr, value });
            Ok(())
        };
        let dist = uapi::VGIC_GRP_DIST_REGS;
        save(dist, GICD_IIDR)?;
        for (base, bits) in DISTRIBUTOR {
            for word in 0..u64::from(interrupts) * bits / 32 {
                // The targets of private interrupts are read-only.
                let private = word * 32 / bits < PRIVATE_INTERRUPTS;
                if private && base == GICD_ITARGETSR {
                    continue;
                }
                for cpu in 0..if private { cpus } else { 1 } {
                    save(dist, attribute(cpu, base + 4 * word))?;
                }
            }
        }
        for cpu in 0..cpus {
            for word in 0..4 {
                save(dist, attribute(cpu, GICD_SPENDSGIR + 4 * word))?;
            }
            for offset in CPU_INTERFACE {
                save(uapi::VGIC_GRP_CPU_REGS, attribute(cpu, offset))?;
            }
        }
        save(dist, GICD_CTLR)?;
        Ok(Self { words })
    }

    /// Gives the state to a vGIC with as many CPUs and interrupts, in place of its own state.
    pub fn restore(&self, gic: &Device) -> io::Result<()> {
        for Word { group, attr, value } in self.words.iter().copied() {
            let offset = attr & 0xffff_ffff;
            let sets_bits = group == uapi::VGIC_GRP_DIST_REGS
                && (GICD_ISENABLER..GICD_IPRIORITYR).contains(&offset);
            if sets_bits {
                gic.set_attr(group, attr + CLEAR, &u32::MAX)?;
            }
            gic.set_attr(group, attr, &value)?;
        }
        Ok(())
    }
}
