// SPDX-License-Identifier: GPL-2.0

//! The vGIC v2 as a KVM device (Documentation/virt/kvm/devices/arm-vgic.rst).

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use kvm_bindings as uapi;
use machine::vgic::{
    has_uaccess_register,
    CpuInterface,
    Error as VgicError,
    MAX_IRQS,
    NR_PRIVATE, //
};

use super::{
    abi::{
        self,
        ioctl, //
    },
    loaded::Kept,
    vcpu::request,
    vcpu_attributes::Use,
    vcpus::MAX_VCPUS,
    vm::Vm, //
};
use crate::glue::file::FileObject;

/// An open vGIC device.
pub(crate) struct VgicDevice {
    vm: Arc<Vm>,
}

impl VgicDevice {
    /// Makes the object for the device of `vm`.
    pub(crate) fn new(vm: Arc<Vm>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { vm }, GFP_KERNEL_ACCOUNT)?)
    }

    fn attribute(&self, arg: usize, how: Use) -> Result {
        let attr: uapi::kvm_device_attr = abi::read_user(arg)?;
        if attr.flags != 0 && how != Use::Has {
            return Err(EINVAL);
        }
        let address = usize::try_from(attr.addr).map_err(|_| EFAULT);
        match (attr.group, how) {
            (uapi::KVM_DEV_ARM_VGIC_GRP_ADDR, Use::Has) => self
                .vm
                .gic
                .with_config(|config| config.address(attr.attr).map(|_| ())),
            (uapi::KVM_DEV_ARM_VGIC_GRP_ADDR, Use::Get) => {
                let value = self
                    .vm
                    .gic
                    .with_config(|config| config.address(attr.attr))?;
                abi::write_user(address?, &value)
            }
            (uapi::KVM_DEV_ARM_VGIC_GRP_ADDR, Use::Set) => {
                let value: u64 = abi::read_user(address?)?;
                self.vm
                    .gic
                    .with_config(|config| config.set_address(attr.attr, value))
            }
            (uapi::KVM_DEV_ARM_VGIC_GRP_NR_IRQS, Use::Has) => Ok(()),
            (uapi::KVM_DEV_ARM_VGIC_GRP_NR_IRQS, Use::Get) => {
                let value = self.vm.gic.with_config(|config| Ok(config.nr_irqs()))?;
                abi::write_user(address?, &value)
            }
            (uapi::KVM_DEV_ARM_VGIC_GRP_NR_IRQS, Use::Set) => {
                let value: u32 = abi::read_user(address?)?;
                // A register has a bit for each of 32 interrupts. A CPU has 32 private ones.
                let has_spis = (2 * NR_PRIVATE..=MAX_IRQS).contains(&value);
                if !has_spis || value % NR_PRIVATE != 0 {
                    return Err(EINVAL);
                }
                self.vm.gic.with_config(|config| {
                    if config.nr_irqs.is_some() {
                        return Err(EBUSY);
                    }
                    config.nr_irqs = Some(value);
                    Ok(())
                })
            }
            (uapi::KVM_DEV_ARM_VGIC_GRP_CTRL, how) => {
                if attr.attr != u64::from(uapi::KVM_DEV_ARM_VGIC_CTRL_INIT) {
                    return Err(ENXIO);
                }
                match how {
                    Use::Has => Ok(()),
                    Use::Get => Err(ENXIO),
                    // Without a vCPU now, the VM could never get one (arm-vgic.rst).
                    Use::Set if self.vm.vcpus().iter().next().is_none() => Err(ENODEV),
                    Use::Set => self.vm.gic.init(self.vm.vcpus()),
                }
            }
            (uapi::KVM_DEV_ARM_VGIC_GRP_DIST_REGS | uapi::KVM_DEV_ARM_VGIC_GRP_CPU_REGS, how) => {
                self.register(&attr, how)
            }
            _ => Err(ENXIO),
        }
    }

    /// Accesses a register of the distributor or of a CPU interface while no vCPU runs.
    fn register(&self, attr: &uapi::kvm_device_attr, how: Use) -> Result {
        let cpu = ((attr.attr & uapi::KVM_DEV_ARM_VGIC_CPUID_MASK)
            >> uapi::KVM_DEV_ARM_VGIC_CPUID_SHIFT) as usize;
        let offset = attr.attr as u32;
        let vcpu = self.vm.vcpu(cpu).ok_or(EINVAL)?;
        let is_dist = attr.group == uapi::KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
        let exists = if is_dist {
            has_uaccess_register(offset)
        } else {
            CpuInterface::default().uaccess_read(offset).is_ok()
        };
        if !exists {
            return Err(ENXIO);
        }
        if how == Use::Has {
            return Ok(());
        }
        // The thread of a running vCPU holds its mutex: take all mutexes, or refuse.
        let mut guards = KVec::with_capacity(MAX_VCPUS, GFP_KERNEL)?;
        for other in self.vm.vcpus().iter().filter(|other| other.id != cpu) {
            guards.push(other.state.try_lock().ok_or(EBUSY)?, GFP_KERNEL)?;
        }
        let mut state = vcpu.state.try_lock().ok_or(EBUSY)?;
        let address = usize::try_from(attr.addr).map_err(|_| EFAULT);
        let value: u32 = match how {
            Use::Set => abi::read_user(address?)?,
            _ => 0,
        };
        if is_dist {
            // The lines that the vGIC knows may be older than the guest's last write to its timer.
            self.vm
                .gic
                .signals(self.vm.vcpus(), vcpu, &state, state.lines());
        }
        let gic = self.vm.gic.hardware().ok_or(ENXIO)?;
        let interface = &mut state.context.interface;
        if !is_dist {
            let kept = gic.fetch(&vcpu.home);
            (interface.vmcr, interface.apr) = (kept.vmcr, kept.apr);
        }
        let mut kick = 0;
        let result = self
            .vm
            .gic
            .with_distributor(self.vm.vcpus(), |gic| match (is_dist, how) {
                (true, Use::Set) => gic.uaccess_write(cpu, offset, value).map(|mask| {
                    kick = mask;
                    0
                }),
                (true, _) => gic.uaccess_read(cpu, offset),
                (false, Use::Set) => interface.uaccess_write(offset, value).map(|()| 0),
                (false, _) => interface.uaccess_read(offset),
            })?;
        if !is_dist {
            vcpu.home.set(Kept {
                vmcr: interface.vmcr,
                apr: interface.apr,
            });
        }
        let value = result.map_err(|e| match e {
            VgicError::NoRegister => ENXIO,
            VgicError::Invalid => EINVAL,
        })?;
        state.look_at_interrupts = true;
        self.vm.vcpus().request(kick, request::INTERRUPT);
        if how == Use::Get {
            abi::write_user(address?, &value)?;
        }
        Ok(())
    }
}

impl FileObject for VgicDevice {
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        if !this.vm.is_current_process() {
            return Err(EIO);
        }
        match cmd {
            ioctl::SET_DEVICE_ATTR => this.attribute(arg, Use::Set),
            ioctl::GET_DEVICE_ATTR => this.attribute(arg, Use::Get),
            ioctl::HAS_DEVICE_ATTR => this.attribute(arg, Use::Has),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }
}
