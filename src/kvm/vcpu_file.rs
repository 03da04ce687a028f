// SPDX-License-Identifier: GPL-2.0

//! The file descriptor of a vCPU and its ioctls.

use core::ops::DerefMut;

use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use kvm_bindings as uapi;

use super::{
    abi::{
        self,
        ioctl, //
    },
    capabilities,
    guest_debug,
    registers,
    reset::{
        count_cpus,
        reset, //
    },
    run,
    running::Running,
    stats_file::VcpuStatsFile,
    vcpu::{
        request,
        MpState,
        Vcpu, //
    },
    vcpu_attributes::{
        self,
        Use, //
    },
    vcpu_events,
    vcpu_state::VcpuState,
    vm::Vm, //
};
use crate::glue::file::FileObject;

/// An open vCPU.
pub(crate) struct VcpuFile {
    vm: Arc<Vm>,
    vcpu: Arc<Vcpu>,
}

/// The features that KVM_ARM_VCPU_INIT may ask for.
const FEATURES: u32 = 1 << uapi::KVM_ARM_VCPU_POWER_OFF
    | 1 << uapi::KVM_ARM_VCPU_PSCI_0_2
    | 1 << uapi::KVM_ARM_VCPU_PMU_V3;

impl VcpuFile {
    /// Makes the object for the file of `vcpu`.
    pub(crate) fn new(vm: Arc<Vm>, vcpu: Arc<Vcpu>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { vm, vcpu }, GFP_KERNEL_ACCOUNT)?)
    }

    fn init(&self, arg: usize) -> Result {
        let init: uapi::kvm_vcpu_init = abi::read_user(arg)?;
        let identity = capabilities::identity_for(&self.vm.host, init.target)?;
        let [features, rest @ ..] = init.features;
        if features & !FEATURES != 0 || rest != [0; 6] {
            return Err(ENOENT);
        }
        let mut state = self.vcpu.lock()?;
        // A second call resets the vCPU, with the same target and features (api.rst 4.82).
        match state.features {
            Some(old)
                if old != features || !capabilities::is_of(state.identity.core, init.target) =>
            {
                return Err(EINVAL)
            }
            Some(_) => (),
            None => state.become_core(&self.vm.host, identity),
        }
        if state.has_run {
            // The guest starts again with its caches off, and the monitor may write to the guest's
            // memory until then. So each page has to fault again, and the fault cleans it.
            self.vm.memory.refault();
        }
        state.features = Some(features);
        reset(&mut self.running(&mut state));
        let off = features & 1 << uapi::KVM_ARM_VCPU_POWER_OFF != 0;
        *self.vcpu.power.lock() = MpState {
            off,
            ..MpState::default()
        };
        drop(state);
        self.vcpu.request(request::POWER);
        Ok(())
    }

    /// The settled state of an initialised vCPU; `ENOEXEC` if the vCPU is not initialised.
    fn initialized(&self) -> Result<impl DerefMut<Target = VcpuState> + use<'_>> {
        let state = self.settled()?;
        if state.features.is_none() {
            return Err(ENOEXEC);
        }
        Ok(state)
    }

    /// The state for the monitor to read or to change. Another vCPU may have started this vCPU, and
    /// the start is carried out first.
    fn settled(&self) -> Result<impl DerefMut<Target = VcpuState> + use<'_>> {
        let mut state = self.vcpu.lock()?;
        run::settle_power(&mut self.running(&mut state));
        Ok(state)
    }

    /// The vCPU with its state. This thread holds the mutex of the state.
    fn running<'a>(&'a self, state: &'a mut VcpuState) -> Running<'a> {
        Running {
            vm: &self.vm,
            vcpu: &self.vcpu,
            state,
        }
    }

    fn one_reg(&self, arg: usize, set: bool) -> Result {
        let reg: uapi::kvm_one_reg = abi::read_user(arg)?;
        let mut state = self.initialized()?;
        let mut running = self.running(&mut state);
        if set {
            registers::set_one(&mut running, &reg)?;
            if running.state.mmio.is_none() {
                running.state.debug.forget_step();
            }
            Ok(())
        } else {
            if !running.state.has_run {
                count_cpus(&mut running);
            }
            registers::get_one(&running, &reg)
        }
    }

    /// KVM_SET_SIGNAL_MASK.
    fn set_signal_mask(&self, arg: usize) -> Result {
        let mask = if arg == 0 {
            None
        } else {
            // `struct kvm_signal_mask`: the size of a set of signals, then the set.
            let len: u32 = abi::read_user(arg)?;
            if len as usize != size_of::<u64>() {
                return Err(EINVAL);
            }
            Some(abi::read_user(arg.wrapping_add(size_of::<u32>()))?)
        };
        self.vcpu.lock()?.signal_mask = mask;
        Ok(())
    }

    /// KVM_GET_MP_STATE.
    fn mp_state(&self, arg: usize) -> Result {
        let _state = self.settled()?;
        let power = *self.vcpu.power.lock();
        let mp_state = if power.off {
            uapi::KVM_MP_STATE_STOPPED
        } else if power.suspended {
            uapi::KVM_MP_STATE_SUSPENDED
        } else {
            uapi::KVM_MP_STATE_RUNNABLE
        };
        abi::write_user(arg, &mp_state)
    }

    /// KVM_SET_MP_STATE.
    fn set_mp_state(&self, arg: usize) -> Result {
        let mp_state: u32 = abi::read_user(arg)?;
        let (off, suspended) = match mp_state {
            uapi::KVM_MP_STATE_RUNNABLE => (false, false),
            uapi::KVM_MP_STATE_STOPPED => (true, false),
            uapi::KVM_MP_STATE_SUSPENDED => (false, true),
            _ => return Err(EINVAL),
        };
        let _state = self.settled()?;
        {
            let mut power = self.vcpu.power.lock();
            power.off = off;
            power.suspended = suspended;
        }
        self.vcpu.request(request::POWER);
        Ok(())
    }

    /// KVM_GET_VCPU_EVENTS.
    fn events(&self, arg: usize) -> Result {
        let state = self.initialized()?;
        abi::write_user(arg, &vcpu_events::get(&state))
    }

    /// KVM_SET_VCPU_EVENTS.
    fn set_events(&self, arg: usize) -> Result {
        let events: uapi::kvm_vcpu_events = abi::read_user(arg)?;
        vcpu_events::set(&mut *self.initialized()?, &events)
    }

    /// KVM_SET_GUEST_DEBUG.
    fn set_guest_debug(&self, arg: usize) -> Result {
        let request: uapi::kvm_guest_debug = abi::read_user(arg)?;
        let mut state = self.vcpu.lock()?;
        guest_debug::set(&mut state, request.control, Some(&request.arch))
    }

    /// KVM_SET_GUEST_DEBUG of a monitor that was built against Linux 5.6.
    fn set_guest_debug_without_arch(&self, arg: usize) -> Result {
        let control: u32 = abi::read_user(arg)?;
        guest_debug::set(&mut *self.vcpu.lock()?, control, None)
    }

    /// KVM_HAS_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_SET_DEVICE_ATTR.
    fn attribute(&self, arg: usize, how: Use) -> Result {
        vcpu_attributes::access(&self.vm, &self.vcpu, arg, how)
    }

    /// All but KVM_RUN, which is called far more often than these.
    #[inline(never)]
    fn other_ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            ioctl::ARM_VCPU_INIT => self.init(arg).map(|()| 0),
            ioctl::GET_ONE_REG => self.one_reg(arg, false).map(|()| 0),
            ioctl::SET_ONE_REG => self.one_reg(arg, true).map(|()| 0),
            ioctl::SET_SIGNAL_MASK => self.set_signal_mask(arg).map(|()| 0),
            ioctl::GET_MP_STATE => self.mp_state(arg).map(|()| 0),
            ioctl::SET_MP_STATE => self.set_mp_state(arg).map(|()| 0),
            ioctl::GET_VCPU_EVENTS => self.events(arg).map(|()| 0),
            ioctl::SET_VCPU_EVENTS => self.set_events(arg).map(|()| 0),
            ioctl::SET_GUEST_DEBUG => self.set_guest_debug(arg).map(|()| 0),
            ioctl::SET_GUEST_DEBUG_WITHOUT_ARCH => {
                self.set_guest_debug_without_arch(arg).map(|()| 0)
            }
            ioctl::SET_DEVICE_ATTR => self.attribute(arg, Use::Set).map(|()| 0),
            ioctl::GET_DEVICE_ATTR => self.attribute(arg, Use::Get).map(|()| 0),
            ioctl::HAS_DEVICE_ATTR => self.attribute(arg, Use::Has).map(|()| 0),
            ioctl::GET_STATS_FD => VcpuStatsFile::open(self.vm.clone(), self.vcpu.clone()),
            ioctl::GET_REG_LIST => self.reg_list(arg).map(|()| 0),
            _ => Err(EINVAL),
        }
    }

    fn reg_list(&self, arg: usize) -> Result {
        let state = self.initialized()?;
        registers::list(&state.identity, arg)
    }
}

impl FileObject for VcpuFile {
    #[inline]
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        if !this.vm.is_current_process() {
            return Err(EIO);
        }
        if cmd == ioctl::RUN && arg == 0 {
            return run::run(&this.vm, &this.vcpu);
        }
        this.other_ioctl(cmd, arg)
    }

    fn mmap(this: ArcBorrow<'_, Self>, vma: &VmaNew) -> Result {
        this.vcpu.run_page.mmap(vma, this.vm.bus.ring()?.page())
    }
}
