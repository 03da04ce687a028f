// SPDX-License-Identifier: GPL-2.0

//! The files of KVM: `/dev/kvm`, virtual machines, vCPUs, devices.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr::{self, NonNull};

use libc::c_ulong;

use crate::uapi;

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An ioctl whose argument is a number.
pub fn ioctl(file: &impl AsRawFd, request: c_ulong, argument: c_ulong) -> io::Result<i32> {
    // SAFETY: The argument of the ioctls used here is a number. If KVM takes it for an address,
    // because it knows the ioctl by another meaning, it fails with EFAULT unless that address is
    // the caller's.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, argument) })
}

/// An ioctl that reads a structure.
pub fn ioctl_ref<T>(file: &impl AsRawFd, request: c_ulong, argument: &T) -> io::Result<i32> {
    // SAFETY: The request's number holds the size of the structure, and it is only read.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, ptr::from_ref(argument)) })
}

/// An ioctl that reads and writes a structure.
pub fn ioctl_mut<T>(file: &impl AsRawFd, request: c_ulong, argument: &mut T) -> io::Result<i32> {
    // SAFETY: The request's number holds the size of the structure, which is ours alone.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, ptr::from_mut(argument)) })
}

/// Takes a new file descriptor that an ioctl gave.
fn own(fd: RawFd) -> File {
    // SAFETY: The kernel has just made the descriptor for us, so nobody else closes it.
    unsafe { File::from_raw_fd(fd) }
}

/// An open `/dev/kvm`.
pub struct Kvm {
    file: File,
}

impl AsRawFd for Kvm {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Kvm {
    /// Opens the device.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/kvm")?;
        Ok(Self { file })
    }

    /// KVM_GET_API_VERSION.
    pub fn api_version(&self) -> io::Result<i32> {
        ioctl(self, uapi::GET_API_VERSION(), 0)
    }

    /// KVM_CHECK_EXTENSION.
    pub fn check_extension(&self, capability: u32) -> io::Result<i32> {
        ioctl(self, uapi::CHECK_EXTENSION(), capability as c_ulong)
    }

    /// KVM_GET_VCPU_MMAP_SIZE.
    pub fn vcpu_mmap_size(&self) -> io::Result<usize> {
        ioctl(self, uapi::GET_VCPU_MMAP_SIZE(), 0).map(|size| size as usize)
    }

    /// KVM_CREATE_VM.
    pub fn create_vm(&self) -> io::Result<Vm> {
        ioctl(self, uapi::CREATE_VM(), 0).map(|fd| Vm { file: own(fd) })
    }
}

/// A virtual machine.
pub struct Vm {
    file: File,
}

impl AsRawFd for Vm {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Vm {
    /// KVM_SET_USER_MEMORY_REGION.
    pub fn set_user_memory_region(&self, region: &uapi::UserspaceMemoryRegion) -> io::Result<()> {
        ioctl_ref(self, uapi::SET_USER_MEMORY_REGION(), region).map(|_| ())
    }

    /// KVM_SET_USER_MEMORY_REGION2.
    pub fn set_user_memory_region2(&self, region: &uapi::UserspaceMemoryRegion2) -> io::Result<()> {
        ioctl_ref(self, uapi::SET_USER_MEMORY_REGION2(), region).map(|_| ())
    }

    /// KVM_GET_DIRTY_LOG. The bitmap needs room for all pages of the slot, else the kernel writes
    /// over the memory behind it.
    pub fn get_dirty_log(&self, slot: u32, bitmap: &mut [u32]) -> io::Result<()> {
        let log = uapi::DirtyLog {
            slot,
            padding: 0,
            bitmap: bitmap.as_mut_ptr() as usize as u64,
        };
        ioctl_ref(self, uapi::GET_DIRTY_LOG(), &log).map(|_| ())
    }

    /// KVM_CLEAR_DIRTY_LOG.
    pub fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: u64,
        num_pages: u32,
        bitmap: &[u32],
    ) -> io::Result<()> {
        let mut log = uapi::ClearDirtyLog {
            slot,
            num_pages,
            first_page,
            bitmap: bitmap.as_ptr() as usize as u64,
        };
        ioctl_mut(self, uapi::CLEAR_DIRTY_LOG(), &mut log).map(|_| ())
    }

    /// KVM_ENABLE_CAP.
    pub fn enable_cap(&self, cap: u32, flags: u32, args: [u64; 4]) -> io::Result<()> {
        let request = uapi::EnableCap {
            cap,
            flags,
            args,
            padding: [0; 64],
        };
        ioctl_ref(self, uapi::ENABLE_CAP(), &request).map(|_| ())
    }

    /// KVM_CHECK_EXTENSION.
    pub fn check_extension(&self, capability: u32) -> io::Result<i32> {
        ioctl(self, uapi::CHECK_EXTENSION(), capability as c_ulong)
    }

    /// KVM_ARM_PREFERRED_TARGET.
    pub fn preferred_target(&self) -> io::Result<uapi::VcpuInit> {
        let mut init = uapi::VcpuInit::default();
        ioctl_mut(self, uapi::ARM_PREFERRED_TARGET(), &mut init)?;
        Ok(init)
    }

    /// KVM_CREATE_IRQCHIP.
    pub fn create_irqchip(&self) -> io::Result<()> {
        ioctl(self, uapi::CREATE_IRQCHIP(), 0).map(|_| ())
    }

    /// KVM_ARM_SET_DEVICE_ADDR.
    pub fn set_device_addr(&self, id: u64, addr: u64) -> io::Result<()> {
        let addr = uapi::ArmDeviceAddr { id, addr };
        ioctl_ref(self, uapi::ARM_SET_DEVICE_ADDR(), &addr).map(|_| ())
    }

    /// KVM_CREATE_DEVICE.
    pub fn create_device(&self, device_type: u32) -> io::Result<Device> {
        let mut create = uapi::CreateDevice {
            device_type,
            ..Default::default()
        };
        ioctl_mut(self, uapi::CREATE_DEVICE(), &mut create)?;
        Ok(Device {
            file: own(create.fd as RawFd),
        })
    }

    /// Sets the level of an interrupt line of the in-kernel interrupt controller, or of a CPU.
    pub fn irq_line(&self, irq: u32, level: bool) -> io::Result<()> {
        let line = uapi::IrqLevel {
            irq,
            level: level.into(),
        };
        ioctl_ref(self, uapi::IRQ_LINE(), &line).map(|_| ())
    }

    /// Sets the level of a shared peripheral interrupt, by its number at the distributor.
    pub fn spi_line(&self, intid: u32, level: bool) -> io::Result<()> {
        self.irq_line((uapi::IRQ_TYPE_SPI << uapi::IRQ_TYPE_SHIFT) | intid, level)
    }

    /// KVM_GET_STATS_FD.
    pub fn stats_fd(&self) -> io::Result<File> {
        ioctl(self, uapi::GET_STATS_FD(), 0).map(own)
    }

    /// KVM_CREATE_VCPU, and the mapping of the vCPU's page.
    pub fn create_vcpu(&self, id: u32, mmap_size: usize) -> io::Result<Vcpu> {
        let file = own(ioctl(self, uapi::CREATE_VCPU(), id as c_ulong)?);
        let run = RunPage::map(&file, mmap_size)?;
        Ok(Vcpu { file, run })
    }
}

/// The attributes of a file: KVM_SET_DEVICE_ATTR and the like.
macro_rules! attributes {
    () => {
        /// Sets an attribute. Its value is an integer of the size that belongs to its group.
        pub fn set_attr<T>(&self, group: u32, attr: u64, value: &T) -> io::Result<()> {
            let attr = uapi::DeviceAttr {
                flags: 0,
                group,
                attr,
                addr: ptr::from_ref(value) as usize as u64,
            };
            ioctl_ref(self, uapi::SET_DEVICE_ATTR(), &attr).map(|_| ())
        }

        /// Reads an attribute.
        pub fn get_attr<T: Default>(&self, group: u32, attr: u64) -> io::Result<T> {
            let mut value = T::default();
            let attr = uapi::DeviceAttr {
                flags: 0,
                group,
                attr,
                addr: ptr::from_mut(&mut value) as usize as u64,
            };
            ioctl_ref(self, uapi::GET_DEVICE_ATTR(), &attr)?;
            Ok(value)
        }

        /// Asks whether there is an attribute.
        pub fn has_attr(&self, group: u32, attr: u64) -> io::Result<()> {
            let attr = uapi::DeviceAttr {
                flags: 0,
                group,
                attr,
                addr: 0,
            };
            ioctl_ref(self, uapi::HAS_DEVICE_ATTR(), &attr).map(|_| ())
        }
    };
}

/// A device in the kernel, such as the interrupt controller.
pub struct Device {
    file: File,
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Device {
    attributes!();
}

/// The page through which KVM_RUN and a program talk.
///
/// The kernel writes it while KVM_RUN is under way, and another thread may set `immediate_exit`:
/// all accesses are volatile, through the functions below.
pub struct RunPage {
    run: NonNull<uapi::Run>,
    size: usize,
}

// SAFETY: The mapping belongs to the process, and it is only accessed by volatile reads and writes.
unsafe impl Send for RunPage {}
// SAFETY: As above.
unsafe impl Sync for RunPage {}

impl RunPage {
    /// Maps the page of a vCPU.
    pub fn map(vcpu: &impl AsRawFd, size: usize) -> io::Result<Self> {
        if size < size_of::<uapi::Run>() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: A new mapping at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let run = NonNull::new(address.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { run, size })
    }

    /// Reads a word of the mapping. Its second page is the ring of coalesced MMIO.
    pub fn word(&self, offset: usize) -> u32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.size);
        // SAFETY: Within the mapping, which lives as long as `self`.
        unsafe {
            self.run
                .as_ptr()
                .cast::<u8>()
                .add(offset)
                .cast::<u32>()
                .read_volatile()
        }
    }

    /// Writes a word of it.
    pub fn set_word(&self, offset: usize, value: u32) {
        assert!(offset % 4 == 0 && offset + 4 <= self.size);
        // SAFETY: As above.
        unsafe {
            self.run
                .as_ptr()
                .cast::<u8>()
                .add(offset)
                .cast::<u32>()
                .write_volatile(value)
        };
    }

    /// Why KVM_RUN returned.
    pub fn exit_reason(&self) -> u32 {
        // SAFETY: The page is mapped as long as `self` lives.
        unsafe { (&raw const (*self.run.as_ptr()).exit_reason).read_volatile() }
    }

    /// Makes KVM_RUN return at once.
    pub fn set_immediate_exit(&self, on: bool) {
        // SAFETY: The page is mapped as long as `self` lives.
        unsafe { (&raw mut (*self.run.as_ptr()).immediate_exit).write_volatile(on.into()) }
    }

    /// Reads one of the parts that belong to an exit. Which one is valid says the exit reason; all
    /// consist of integers, so that reading another gives a meaningless value and no harm.
    fn part<T: Copy>(&self) -> T {
        // SAFETY: The page is mapped as long as `self` lives, and any bytes are a valid `T`.
        unsafe {
            (&raw const (*self.run.as_ptr()).exit)
                .cast::<T>()
                .read_volatile()
        }
    }

    /// The part for KVM_EXIT_MMIO.
    pub fn mmio(&self) -> uapi::Mmio {
        self.part()
    }

    /// The part for KVM_EXIT_DEBUG.
    pub fn debug(&self) -> uapi::DebugExit {
        self.part()
    }

    /// The part for KVM_EXIT_FAIL_ENTRY.
    pub fn fail_entry(&self) -> uapi::FailEntry {
        self.part()
    }

    /// The part for KVM_EXIT_INTERNAL_ERROR.
    pub fn internal(&self) -> uapi::Internal {
        self.part()
    }

    /// The part for KVM_EXIT_SYSTEM_EVENT.
    pub fn system_event(&self) -> uapi::SystemEvent {
        self.part()
    }

    /// The part for KVM_EXIT_ARM_NISV.
    pub fn arm_nisv(&self) -> uapi::ArmNisv {
        self.part()
    }

    /// The part for KVM_EXIT_MEMORY_FAULT.
    pub fn memory_fault(&self) -> uapi::MemoryFault {
        self.part()
    }

    /// The lines of the vCPU's own devices, for a program with its own interrupt controller.
    pub fn device_irq_level(&self) -> u64 {
        // SAFETY: The page is mapped as long as `self` lives; the level comes first.
        unsafe {
            (&raw const (*self.run.as_ptr()).sync_regs)
                .cast::<u64>()
                .read_volatile()
        }
    }

    /// Answers an MMIO read: the guest gets these bytes at the next KVM_RUN.
    pub fn set_mmio_data(&self, data: [u8; 8]) {
        // SAFETY: The page is mapped as long as `self` lives.
        unsafe { (&raw mut (*self.run.as_ptr()).exit.mmio.data).write_volatile(data) }
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: We made the mapping, and nothing refers to it any more.
        unsafe { libc::munmap(self.run.as_ptr().cast(), self.size) };
    }
}

/// A virtual CPU.
pub struct Vcpu {
    file: File,
    /// The page that it shares with us.
    pub run: RunPage,
}

impl AsRawFd for Vcpu {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Vcpu {
    attributes!();

    /// KVM_ARM_VCPU_INIT.
    pub fn init(&self, init: &uapi::VcpuInit) -> io::Result<()> {
        ioctl_ref(self, uapi::ARM_VCPU_INIT(), init).map(|_| ())
    }

    /// KVM_RUN.
    pub fn run(&self) -> io::Result<()> {
        ioctl(self, uapi::RUN(), 0).map(|_| ())
    }

    /// Reads a 32-bit register.
    pub fn reg(&self, id: u64) -> io::Result<u32> {
        self.get_one_reg(id)
    }

    /// Writes a 32-bit register.
    pub fn set_reg(&self, id: u64, value: u32) -> io::Result<()> {
        self.set_one_reg(id, &value)
    }

    /// Reads a 64-bit register.
    pub fn reg64(&self, id: u64) -> io::Result<u64> {
        self.get_one_reg(id)
    }

    /// Writes a 64-bit register.
    pub fn set_reg64(&self, id: u64, value: u64) -> io::Result<()> {
        self.set_one_reg(id, &value)
    }

    /// KVM_GET_ONE_REG. A `T` has the size that is in the id.
    fn get_one_reg<T: Default>(&self, id: u64) -> io::Result<T> {
        let mut value = T::default();
        let reg = uapi::OneReg {
            id,
            addr: ptr::from_mut(&mut value) as usize as u64,
        };
        ioctl_ref(self, uapi::GET_ONE_REG(), &reg)?;
        Ok(value)
    }

    /// KVM_SET_ONE_REG. A `T` has the size that is in the id.
    fn set_one_reg<T>(&self, id: u64, value: &T) -> io::Result<()> {
        let reg = uapi::OneReg {
            id,
            addr: ptr::from_ref(value) as usize as u64,
        };
        ioctl_ref(self, uapi::SET_ONE_REG(), &reg).map(|_| ())
    }

    /// KVM_GET_REG_LIST: the ids of all registers.
    pub fn reg_list(&self) -> io::Result<Vec<u64>> {
        let mut list = vec![0u64];
        // The first call returns the number of ids.
        if let Err(e) = ioctl_mut(self, uapi::GET_REG_LIST(), &mut list[0]) {
            if e.raw_os_error() != Some(libc::E2BIG) {
                return Err(e);
            }
        }
        list.resize(1 + list[0] as usize, 0);
        // SAFETY: The list has room for as many ids as its head says.
        check(unsafe { libc::ioctl(self.as_raw_fd(), uapi::GET_REG_LIST(), list.as_mut_ptr()) })?;
        Ok(list.split_off(1))
    }

    /// KVM_GET_STATS_FD.
    pub fn stats_fd(&self) -> io::Result<File> {
        ioctl(self, uapi::GET_STATS_FD(), 0).map(own)
    }

    /// KVM_GET_MP_STATE.
    pub fn mp_state(&self) -> io::Result<u32> {
        let mut state = 0;
        ioctl_mut(self, uapi::GET_MP_STATE(), &mut state)?;
        Ok(state)
    }

    /// KVM_SET_MP_STATE.
    pub fn set_mp_state(&self, state: u32) -> io::Result<()> {
        ioctl_ref(self, uapi::SET_MP_STATE(), &state).map(|_| ())
    }

    /// KVM_GET_VCPU_EVENTS.
    pub fn events(&self) -> io::Result<uapi::VcpuEvents> {
        let mut events = uapi::VcpuEvents::default();
        ioctl_mut(self, uapi::GET_VCPU_EVENTS(), &mut events)?;
        Ok(events)
    }

    /// KVM_SET_VCPU_EVENTS.
    pub fn set_events(&self, events: &uapi::VcpuEvents) -> io::Result<()> {
        ioctl_ref(self, uapi::SET_VCPU_EVENTS(), events).map(|_| ())
    }

    /// Takes the file and the page apart, for those who want to close one of them first.
    pub fn into_parts(self) -> (File, RunPage) {
        (self.file, self.run)
    }
}
