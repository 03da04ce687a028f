// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: memory, interrupt controller and vCPUs, put together in the order that KVM
//! wants.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use kvm::snapshot::{GicSnapshot, VcpuSnapshot};
use kvm::{uapi, Device, Kvm, Vcpu, Vm};

use crate::error::{Context, Error, Result};
use crate::layout;
use crate::memory::Memory;
use crate::vcpu::kvm_error;

/// The calls that make the interrupt controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Irqchip {
    /// KVM_CREATE_DEVICE and its attributes.
    #[default]
    Device,
    /// KVM_CREATE_IRQCHIP and KVM_ARM_SET_DEVICE_ADDR.
    Legacy,
}

/// Opens `/dev/kvm` and checks that its version is known.
pub(crate) fn open_kvm() -> Result<Kvm> {
    let kvm = Kvm::open().map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::NotFound => ": `insmod kvm_arm.ko` first; if that fails, dmesg says why",
            io::ErrorKind::PermissionDenied => ": be root, or in the group that owns it",
            _ => "",
        };
        Error::new(format!("cannot open /dev/kvm: {e}{hint}"))
    })?;
    match kvm
        .api_version()
        .map_err(|e| kvm_error("KVM_GET_API_VERSION", &e))?
    {
        uapi::API_VERSION => Ok(kvm),
        version => Err(Error::new(format!(
            "/dev/kvm speaks version {version} of the API, not {}",
            uapi::API_VERSION
        ))),
    }
}

/// The inputs of the interrupt controller as devices drive them. They outlive the VM behind them,
/// when its state moves to another.
pub(crate) struct Lines(Mutex<LineState>);

struct LineState {
    vm: Option<Arc<Vm>>,
    high: BTreeSet<u32>,
}

impl Lines {
    pub(crate) fn new(vm: &Arc<Vm>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(LineState {
            vm: Some(Arc::clone(vm)),
            high: BTreeSet::new(),
        })))
    }

    /// Drives the line of an SPI.
    pub(crate) fn set(&self, intid: u32, level: bool) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if level {
            state.high.insert(intid);
        } else {
            state.high.remove(&intid);
        }
        match &state.vm {
            Some(vm) => vm.spi_line(intid, level),
            None => Ok(()),
        }
    }

    /// Takes the devices from their VM; they go on driving lines.
    pub(crate) fn detach(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).vm = None;
    }

    /// Connects the devices to another VM.
    pub(crate) fn move_to(&self, vm: &Arc<Vm>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.vm = Some(Arc::clone(vm));
        state
            .high
            .iter()
            .try_for_each(|intid| vm.spi_line(*intid, true))
    }
}

/// The state of a machine whose vCPUs stand still, without its memory.
pub(crate) struct Snapshot {
    vcpus: Vec<VcpuSnapshot>,
    gic: GicSnapshot,
}

/// A virtual machine, ready to run.
pub(crate) struct Machine {
    pub vm: Arc<Vm>,
    /// The core that the vCPUs are, as device trees name it.
    pub core: &'static str,
    pub vcpus: Vec<Vcpu>,
    /// The vCPUs have performance monitors with an interrupt.
    pub has_pmu: bool,
    /// The interrupt controller goes when its last file is closed and the VM too.
    irqchip: Option<Device>,
}

impl Machine {
    pub(crate) fn new(kvm: &Kvm, memory: &Memory, cpus: u32, irqchip: Irqchip) -> Result<Self> {
        let vm = kvm
            .create_vm()
            .map_err(|e| kvm_error("KVM_CREATE_VM", &e))?;
        vm.set_user_memory_region(&memory.slot())
            .map_err(|e| kvm_error("KVM_SET_USER_MEMORY_REGION", &e))?;
        let device = match irqchip {
            Irqchip::Device => Some(create_gic(&vm).context("KVM_CREATE_DEVICE of a vGIC")?),
            Irqchip::Legacy => {
                create_irqchip(&vm).context("KVM_CREATE_IRQCHIP")?;
                None
            }
        };
        let target = vm
            .preferred_target()
            .map_err(|e| kvm_error("KVM_ARM_PREFERRED_TARGET", &e))?;
        // Its interrupt needs a vGIC that is initialised, which only the device can be told.
        let has_pmu =
            device.is_some() && kvm.check_extension(uapi::CAP_ARM_PMU_V3).unwrap_or(0) > 0;
        let vcpus = create_vcpus(kvm, &vm, cpus, &target, has_pmu)?;
        if let Some(gic) = &device {
            gic.set_attr(uapi::VGIC_GRP_NR_IRQS, 0, &layout::GIC_INTIDS)
                .and_then(|()| gic.set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u32))
                .context("cannot initialise the vGIC")?;
        }
        if has_pmu {
            for vcpu in &vcpus {
                let group = uapi::VCPU_PMU_V3_CTRL;
                vcpu.set_attr(group, uapi::VCPU_PMU_V3_IRQ, &layout::PMU_INTID)
                    .and_then(|()| vcpu.set_attr(group, uapi::VCPU_PMU_V3_INIT, &0u32))
                    .context("cannot initialise the performance monitors")?;
            }
        }
        Ok(Self {
            vm: Arc::new(vm),
            core: core_name(&vcpus)?,
            vcpus,
            has_pmu,
            irqchip: device,
        })
    }

    /// Reads all state out of this machine. `vcpus` are its vCPUs, which do not run.
    pub(crate) fn save(&self, vcpus: &[Vcpu]) -> Result<Snapshot> {
        let gic = self.irqchip.as_ref().ok_or_else(|| {
            Error::new("only an interrupt controller made with `--irqchip device` can be saved")
        })?;
        Ok(Snapshot {
            vcpus: vcpus
                .iter()
                .map(VcpuSnapshot::save)
                .collect::<io::Result<_>>()
                .context("cannot save a vCPU")?,
            gic: GicSnapshot::save(gic, vcpus.len() as u64).context("cannot save the vGIC")?,
        })
    }

    /// Gives this machine, which has not run, the state of another with as many vCPUs.
    pub(crate) fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        for (state, vcpu) in snapshot.vcpus.iter().zip(&self.vcpus) {
            state.restore(vcpu).context("cannot restore a vCPU")?;
        }
        if let Some(gic) = &self.irqchip {
            snapshot
                .gic
                .restore(gic)
                .context("cannot restore the vGIC")?;
        }
        Ok(())
    }
}

/// The core that the vCPUs are, as device trees name it. The target does not tell: one of them stands
/// for all cores that have none of their own.
fn core_name(vcpus: &[Vcpu]) -> Result<&'static str> {
    let Some(vcpu) = vcpus.first() else {
        return Ok(GENERIC_CORE);
    };
    let midr = vcpu
        .reg(uapi::cp15_reg(0, 0, 0, 0))
        .context("cannot read MIDR")?;
    // The primary part number (Arm ARM B4.1.105).
    Ok(match (midr >> 4) & 0xfff {
        0xc07 => "arm,cortex-a7",
        0xc0d => "arm,cortex-a12",
        0xc0e => "arm,cortex-a17",
        0xc0f => "arm,cortex-a15",
        _ => GENERIC_CORE,
    })
}

/// A core that nobody knows.
const GENERIC_CORE: &str = "arm,armv7";

fn create_gic(vm: &Vm) -> io::Result<Device> {
    let gic = vm.create_device(uapi::DEV_TYPE_ARM_VGIC_V2)?;
    let group = uapi::VGIC_GRP_ADDR;
    gic.set_attr(group, uapi::VGIC_V2_ADDR_TYPE_DIST, &layout::GIC_DIST_BASE)?;
    gic.set_attr(group, uapi::VGIC_V2_ADDR_TYPE_CPU, &layout::GIC_CPU_BASE)?;
    Ok(gic)
}

fn create_irqchip(vm: &Vm) -> io::Result<()> {
    // The id names the device, which is number 0, and which of its addresses.
    vm.create_irqchip()?;
    vm.set_device_addr(uapi::VGIC_V2_ADDR_TYPE_DIST, layout::GIC_DIST_BASE)?;
    vm.set_device_addr(uapi::VGIC_V2_ADDR_TYPE_CPU, layout::GIC_CPU_BASE)
}

fn create_vcpus(
    kvm: &Kvm,
    vm: &Vm,
    cpus: u32,
    target: &uapi::VcpuInit,
    has_pmu: bool,
) -> Result<Vec<Vcpu>> {
    let most = kvm.check_extension(uapi::CAP_MAX_VCPUS).unwrap_or(1);
    if i64::from(cpus) > i64::from(most) {
        return Err(Error::new(format!(
            "--cpus {cpus}: this KVM gives a guest at most {most}"
        )));
    }
    let mmap_size = kvm
        .vcpu_mmap_size()
        .map_err(|e| kvm_error("KVM_GET_VCPU_MMAP_SIZE", &e))?;
    let mut vcpus = Vec::new();
    for id in 0..cpus {
        let vcpu = vm
            .create_vcpu(id, mmap_size)
            .map_err(|e| kvm_error(&format!("KVM_CREATE_VCPU {id}"), &e))?;
        vcpus.push(vcpu);
    }
    for (id, vcpu) in vcpus.iter().enumerate() {
        let mut init = *target;
        init.features[0] |= 1 << uapi::VCPU_PSCI_0_2;
        if has_pmu {
            init.features[0] |= 1 << uapi::VCPU_PMU_V3;
        }
        if id > 0 {
            init.features[0] |= 1 << uapi::VCPU_POWER_OFF;
        }
        vcpu.init(&init)
            .map_err(|e| kvm_error(&format!("KVM_ARM_VCPU_INIT {id}"), &e))?;
    }
    Ok(vcpus)
}
