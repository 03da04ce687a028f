// SPDX-License-Identifier: GPL-2.0

//! A guest of a few instructions, put together by hand.

use std::fs;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use kvm::uapi::{self, UserspaceMemoryRegion};
use kvm::{Device, Kvm, Vcpu, Vm};
use machine::core::Core;

use crate::check::{equal, fails, Outcome, Works};

/// The start of a guest's memory, with its first instruction.
pub(crate) const BASE: u32 = 0x8000_0000;
/// How much memory it has.
pub(crate) const SIZE: usize = 64 << 10;
/// An address that has no memory and no device.
pub(crate) const HOLE: u32 = 0x1000_0000;

pub(crate) const PAGE: usize = 4096;
/// The size of a huge page.
pub(crate) const HUGE: usize = 2 << 20;
/// `MADV_COLLAPSE`, which libc does not have for this architecture.
pub(crate) const MADV_COLLAPSE: i32 = 25;

/// The error of a test that wants huge pages, on a host whose kernel has none.
pub(crate) const NO_HUGE_PAGES: &str = "this host has no transparent huge pages";

/// Whether the host's kernel has transparent huge pages. One with `PREEMPT_RT` has none.
pub(crate) fn has_huge_pages() -> bool {
    std::path::Path::new(THP).exists()
}

/// The folder in which the kernel tells of its transparent huge pages.
pub(crate) const THP: &str = "/sys/kernel/mm/transparent_hugepage";

/// Instructions in the Arm encoding.
pub(crate) mod code {
    /// `movw rd, #low; movt rd, #high`.
    pub(crate) fn load(rd: u32, value: u32) -> [u32; 2] {
        let half = |half: u32| ((half & 0xf000) << 4) | (rd << 12) | (half & 0xfff);
        [
            0xe300_0000 | half(value & 0xffff),
            0xe340_0000 | half(value >> 16),
        ]
    }

    /// `ldr rt, [rn]`.
    pub(crate) fn ldr(rt: u32, rn: u32) -> u32 {
        0xe590_0000 | (rn << 16) | (rt << 12)
    }

    /// `ldrh rt, [rn]`.
    pub(crate) fn ldrh(rt: u32, rn: u32) -> u32 {
        0xe1d0_00b0 | (rn << 16) | (rt << 12)
    }

    /// `ldrsb rt, [rn]`.
    pub(crate) fn ldrsb(rt: u32, rn: u32) -> u32 {
        0xe1d0_00d0 | (rn << 16) | (rt << 12)
    }

    /// `ldrsh rt, [rn]`.
    pub(crate) fn ldrsh(rt: u32, rn: u32) -> u32 {
        0xe1d0_00f0 | (rn << 16) | (rt << 12)
    }

    /// `str rt, [rn]`.
    pub(crate) fn str(rt: u32, rn: u32) -> u32 {
        0xe580_0000 | (rn << 16) | (rt << 12)
    }

    /// `strh rt, [rn]`.
    pub(crate) fn strh(rt: u32, rn: u32) -> u32 {
        0xe1c0_00b0 | (rn << 16) | (rt << 12)
    }

    /// `strb rt, [rn]`.
    pub(crate) fn strb(rt: u32, rn: u32) -> u32 {
        0xe5c0_0000 | (rn << 16) | (rt << 12)
    }

    /// `mrc p15, opc1, rt, crn, crm, opc2`.
    pub(crate) fn mrc(rt: u32, opc1: u32, crn: u32, crm: u32, opc2: u32) -> u32 {
        mcr(rt, opc1, crn, crm, opc2) | (1 << 20)
    }

    /// `mcr p15, opc1, rt, crn, crm, opc2`.
    pub(crate) const fn mcr(rt: u32, opc1: u32, crn: u32, crm: u32, opc2: u32) -> u32 {
        0xee00_0f10 | (opc1 << 21) | (crn << 16) | (rt << 12) | (opc2 << 5) | crm
    }

    /// Stores r0 to where it points to, r1 times, each r2 bytes further on; then reads from the hole.
    pub(crate) fn store_to_each() -> Vec<u32> {
        const ADD_R0_R2: u32 = 0xe080_0002;
        const SUBS_R1_1: u32 = 0xe251_1001;
        const BNE_TO_STORE: u32 = 0x1aff_fffb;
        let [low, high] = load(0, super::HOLE);
        vec![
            str(0, 0),
            ADD_R0_R2,
            SUBS_R1_1,
            BNE_TO_STORE,
            low,
            high,
            ldr(2, 0),
            LOOP,
        ]
    }

    pub(crate) const HVC: u32 = 0xe140_0070;
    pub(crate) const WFE: u32 = 0xe320_f002;
    pub(crate) const WFI: u32 = 0xe320_f003;
    /// `b .`.
    pub(crate) const LOOP: u32 = 0xeaff_fffe;

    /// Calls PSCI.
    pub(crate) fn psci(function: u32) -> Vec<u32> {
        let [low, high] = load(0, function);
        vec![low, high, HVC, LOOP]
    }
}

pub(crate) const PSCI_SYSTEM_OFF: u32 = 0x8400_0008;
pub(crate) const PSCI_SYSTEM_RESET: u32 = 0x8400_0009;

/// Anonymous memory of this process.
pub(crate) struct Memory {
    start: *mut u8,
    size: usize,
}

// SAFETY: The memory is reached by volatile accesses alone.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(size: usize) -> Result<Self, String> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Self::map(size, flags, -1, libc::PROT_READ | libc::PROT_WRITE, 0)
    }

    /// Memory from elsewhere.
    pub(crate) fn map(
        size: usize,
        flags: i32,
        fd: i32,
        protection: i32,
        offset: libc::off_t,
    ) -> Result<Self, String> {
        // The stock kernel gives an address that is not aligned for huge pages (7.2 on this
        // architecture), and has a BUG when they are unmapped there.
        let (hint, flags) = match flags & libc::MAP_HUGETLB {
            0 => (ptr::null_mut(), flags),
            _ => (0x6000_0000 as *mut _, flags | libc::MAP_FIXED_NOREPLACE),
        };
        // SAFETY: A new mapping. MAP_FIXED_NOREPLACE replaces none.
        let start = unsafe { libc::mmap(hint, size, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        Ok(Self {
            start: start.cast(),
            size,
        })
    }

    /// Changes what may be done with it.
    pub(crate) fn protect(&self, protection: i32) -> Result<(), String> {
        self.protect_part(0, self.size, protection)
    }

    fn protect_part(&self, offset: usize, size: usize, protection: i32) -> Result<(), String> {
        assert!(offset + size <= self.size);
        // SAFETY: Our own mapping.
        let result = unsafe { libc::mprotect(self.start.add(offset).cast(), size, protection) };
        match result {
            0 => Ok(()),
            _ => Err(format!("mprotect: {}", std::io::Error::last_os_error())),
        }
    }

    /// Throws the contents away: they are zero then.
    pub(crate) fn discard(&self) -> Result<(), String> {
        self.advise_part(0, self.size, libc::MADV_DONTNEED)
    }

    /// Puts a part of a file in the place of a part of it.
    pub(crate) fn map_over(
        &self,
        offset: usize,
        size: usize,
        fd: i32,
        file_offset: libc::off_t,
    ) -> Result<(), String> {
        assert!(offset + size <= self.size);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED,
        );
        // SAFETY: Within our own mapping. All accesses to its words are volatile.
        let start = unsafe {
            let start = self.start.add(offset).cast();
            libc::mmap(start, size, protection, flags, fd, file_offset)
        };
        match start {
            libc::MAP_FAILED => Err(format!("mmap: {}", std::io::Error::last_os_error())),
            _ => Ok(()),
        }
    }

    pub(crate) fn advise_part(
        &self,
        offset: usize,
        size: usize,
        advice: i32,
    ) -> Result<(), String> {
        assert!(offset + size <= self.size);
        let is_about_huge_pages = matches!(
            advice,
            libc::MADV_NOHUGEPAGE | libc::MADV_HUGEPAGE | MADV_COLLAPSE
        );
        if is_about_huge_pages && !has_huge_pages() {
            // The kernel refuses to be told what holds anyway.
            return match advice {
                libc::MADV_NOHUGEPAGE => Ok(()),
                _ => Err(NO_HUGE_PAGES.into()),
            };
        }
        // SAFETY: Our own mapping. All accesses to its words are volatile.
        let result = unsafe { libc::madvise(self.start.add(offset).cast(), size, advice) };
        match result {
            0 => Ok(()),
            _ => Err(format!(
                "madvise {advice}: {}",
                std::io::Error::last_os_error()
            )),
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.start as usize as u64
    }

    pub(crate) fn write_words(&self, offset: usize, words: &[u32]) {
        assert!(offset % 4 == 0 && offset + words.len() * 4 <= self.size);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: Inside the mapping; the guest may look at it at the same time.
            unsafe {
                self.start
                    .add(offset + index * 4)
                    .cast::<u32>()
                    .write_volatile(*word)
            };
        }
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.size);
        // SAFETY: Inside the mapping; the guest may write it at the same time.
        unsafe { self.start.add(offset).cast::<u32>().read_volatile() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: We made the mapping.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

/// Memory that starts at a multiple of 2 MiB in this process.
pub(crate) struct Aligned {
    memory: Memory,
    offset: usize,
    size: usize,
}

impl Aligned {
    pub(crate) fn new(size: usize) -> Result<Self, String> {
        let memory = Memory::new(size + HUGE)?;
        let start = memory.address() as usize;
        Ok(Self {
            offset: start.next_multiple_of(HUGE) - start,
            memory,
            size,
        })
    }

    pub(crate) fn address(&self) -> usize {
        self.memory.address() as usize + self.offset
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn advise(&self, advice: i32) -> Outcome {
        self.advise_part(0, self.size, advice)
    }

    pub(crate) fn advise_part(&self, offset: usize, size: usize, advice: i32) -> Outcome {
        self.memory.advise_part(self.offset + offset, size, advice)
    }

    /// Changes what may be done with a part of it.
    pub(crate) fn protect_part(&self, offset: usize, size: usize, protection: i32) -> Outcome {
        self.memory
            .protect_part(self.offset + offset, size, protection)
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        self.memory.word(self.offset + offset)
    }

    pub(crate) fn write_words(&self, offset: usize, words: &[u32]) {
        self.memory.write_words(self.offset + offset, words);
    }

    /// Copies a page that a guest may write to meanwhile to the same place here.
    pub(crate) fn copy_page(&self, from: &Self, offset: usize) {
        assert!(offset + PAGE <= self.size && offset + PAGE <= from.size);
        let (to, from) = (self.address() + offset, from.address() + offset);
        // SAFETY: Both are our own memory, and nobody has references to it.
        unsafe { libc::memcpy(to as *mut _, from as *const _, PAGE) };
    }

    /// The slot for a part of it.
    pub(crate) fn slot(
        &self,
        slot: u32,
        gpa: u32,
        offset: usize,
        size: usize,
    ) -> UserspaceMemoryRegion {
        assert!(offset + size <= self.size);
        UserspaceMemoryRegion {
            slot,
            flags: 0,
            guest_phys_addr: gpa.into(),
            memory_size: size as u64,
            userspace_addr: (self.address() + offset) as u64,
        }
    }
}

/// The slot that a guest's memory is in.
pub(crate) fn slot(slot: u32, gpa: u64, memory: &Memory, size: usize) -> UserspaceMemoryRegion {
    UserspaceMemoryRegion {
        slot,
        flags: 0,
        guest_phys_addr: gpa,
        memory_size: size as u64,
        userspace_addr: memory.address(),
    }
}

/// Opens `/dev/kvm` and makes a VM.
pub(crate) fn new_vm() -> Result<(Kvm, Vm), String> {
    let kvm = Kvm::open().works("/dev/kvm")?;
    let vm = kvm.create_vm().works("KVM_CREATE_VM")?;
    Ok((kvm, vm))
}

/// Makes a vCPU, without KVM_ARM_VCPU_INIT.
pub(crate) fn new_vcpu(kvm: &Kvm, vm: &Vm, id: u32) -> Result<Vcpu, String> {
    let size = kvm.vcpu_mmap_size().works("KVM_GET_VCPU_MMAP_SIZE")?;
    vm.create_vcpu(id, size).works("KVM_CREATE_VCPU")
}

/// Initialises a vCPU as this machine's core with PSCI 0.2.
pub(crate) fn init(vm: &Vm, vcpu: &Vcpu) -> Result<(), String> {
    let mut init = vm.preferred_target().works("KVM_ARM_PREFERRED_TARGET")?;
    init.features[0] |= 1 << uapi::VCPU_PSCI_0_2;
    vcpu.init(&init).works("KVM_ARM_VCPU_INIT")
}

/// The core that a vCPU is, by its MIDR.
pub(crate) fn core_of(vcpu: &Vcpu) -> Result<Core, String> {
    let midr = vcpu.reg(uapi::cp15_reg(0, 0, 0, 0)).works("MIDR")?;
    Core::from_midr(midr).ok_or(format!("MIDR {midr:#010x}"))
}

/// Completes the MMIO access that a vCPU's last exit was for, and runs no instruction.
pub(crate) fn complete(vcpu: &Vcpu) -> Outcome {
    vcpu.run.set_immediate_exit(true);
    let result = vcpu.run();
    vcpu.run.set_immediate_exit(false);
    fails("KVM_RUN with immediate_exit", result, &[libc::EINTR])
}

/// Runs a vCPU whose program accesses the hole after each pass, until `stop`. Returns the number of
/// passes.
pub(crate) fn run_passes(vcpu: &Vcpu, stop: &AtomicBool) -> Result<usize, String> {
    let mut passes = 0;
    while !stop.load(Ordering::Relaxed) {
        vcpu.run().works("KVM_RUN")?;
        equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
        equal("exit for", vcpu.run.mmio().phys_addr, HOLE.into())?;
        passes += 1;
    }
    Ok(passes)
}

/// A VM with one vCPU and memory with a program in it.
pub(crate) struct Guest {
    pub(crate) vcpu: Vcpu,
    pub(crate) vm: Vm,
    pub(crate) kvm: Kvm,
    pub(crate) memory: Memory,
}

impl Guest {
    pub(crate) fn new(program: &[u32]) -> Result<Self, String> {
        Self::with_init(program, init)
    }

    /// Makes a guest with another way to initialise the vCPU.
    pub(crate) fn with_init(
        program: &[u32],
        init: impl FnOnce(&Vm, &Vcpu) -> Result<(), String>,
    ) -> Result<Self, String> {
        let (kvm, vm) = new_vm()?;
        let memory = Memory::new(SIZE)?;
        memory.write_words(0, program);
        vm.set_user_memory_region(&slot(0, BASE.into(), &memory, SIZE))
            .works("KVM_SET_USER_MEMORY_REGION")?;
        let vcpu = new_vcpu(&kvm, &vm, 0)?;
        init(&vm, &vcpu)?;
        let guest = Self {
            vcpu,
            vm,
            kvm,
            memory,
        };
        guest.set(uapi::CORE_PC, BASE)?;
        Ok(guest)
    }

    /// Sets a core register.
    pub(crate) fn set(&self, word: u64, value: u32) -> Result<(), String> {
        self.vcpu
            .set_reg(uapi::core_reg(word), value)
            .works(format!("KVM_SET_ONE_REG of core register {word}"))
    }

    /// Reads a core register.
    pub(crate) fn get(&self, word: u64) -> Result<u32, String> {
        self.vcpu
            .reg(uapi::core_reg(word))
            .works(format!("KVM_GET_ONE_REG of core register {word}"))
    }

    /// Runs, and expects to come back for this reason.
    pub(crate) fn run_to(&self, reason: u32) -> Result<(), String> {
        self.vcpu.run().works("KVM_RUN")?;
        let found = self.vcpu.run.exit_reason();
        if found == reason {
            return Ok(());
        }
        Err(format!(
            "KVM_RUN came back for reason {found} instead of {reason}, pc {:#x}",
            self.get(uapi::CORE_PC)?
        ))
    }

    /// Completes the MMIO access that the last exit was for, and runs no instruction.
    pub(crate) fn complete(&self) -> Result<(), String> {
        complete(&self.vcpu)
    }

    /// Answers the read that the last exit was for.
    pub(crate) fn answer(&self, value: u32) {
        let [a, b, c, d] = value.to_le_bytes();
        self.vcpu.run.set_mmio_data([a, b, c, d, 0, 0, 0, 0]);
    }
}

/// While it lives, the host does nothing to a guest's memory by itself: tests that count faults would
/// count those.
pub(crate) struct Quiet {
    ageing: bool,
}

impl Quiet {
    /// The stock kernel ages all memory a little all the time, to tell how much is idle.
    const AGEING: &'static str = "/sys/module/damon_stat/parameters/enabled";

    pub(crate) fn new(guest: &Guest) -> Result<Self, String> {
        // Else the daemon that makes pages huge could come along.
        guest.memory.advise_part(0, SIZE, libc::MADV_NOHUGEPAGE)?;
        let ageing = fs::read_to_string(Self::AGEING).is_ok_and(|now| now.trim() == "Y");
        if ageing {
            fs::write(Self::AGEING, "N").works(Self::AGEING)?;
        }
        Ok(Self { ageing })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ageing {
            let _ = fs::write(Self::AGEING, "Y");
        }
    }
}

/// A guest's vGIC, and programs that use it.
pub(crate) struct Gic(pub(crate) Device);

impl Gic {
    pub(crate) const DIST: u32 = 0x3fff_0000;
    pub(crate) const CPU: u32 = 0x3ffd_0000;

    /// Makes the vGIC of a guest.
    pub(crate) fn new(guest: &Guest) -> Result<Self, String> {
        Self::of_vm(&guest.vm)
    }

    /// Makes that of a VM.
    pub(crate) fn of_vm(vm: &Vm) -> Result<Self, String> {
        let device = vm
            .create_device(uapi::DEV_TYPE_ARM_VGIC_V2)
            .works("KVM_CREATE_DEVICE")?;
        for (kind, address) in [
            (uapi::VGIC_V2_ADDR_TYPE_DIST, Self::DIST),
            (uapi::VGIC_V2_ADDR_TYPE_CPU, Self::CPU),
        ] {
            device
                .set_attr(uapi::VGIC_GRP_ADDR, kind, &u64::from(address))
                .works("an address of the vGIC")?;
        }
        Ok(Self(device))
    }

    /// KVM_DEV_ARM_VGIC_CTRL_INIT.
    pub(crate) fn init(&self) -> Result<(), String> {
        self.0
            .set_attr(uapi::VGIC_GRP_CTRL, uapi::VGIC_CTRL_INIT, &0u64)
            .works("KVM_DEV_ARM_VGIC_CTRL_INIT")
    }

    /// Instructions that enable all private interrupts, of every priority. They use r0 and r1.
    pub(crate) fn enable_all() -> Vec<u32> {
        let mut program = Vec::new();
        // GICD_CTLR, GICD_ISENABLER0, GICC_PMR, GICC_CTLR.
        for (register, value) in [
            (Self::DIST, 1),
            (Self::DIST + 0x100, u32::MAX),
            (Self::CPU + 4, 0xff),
            (Self::CPU, 1),
        ] {
            program.extend(code::load(0, value));
            program.extend(code::load(1, register));
            program.push(code::str(0, 1));
        }
        program
    }

    /// Reads a register of the distributor, as vCPU 0 has it.
    pub(crate) fn distributor(&self, offset: u64) -> Result<u32, String> {
        self.0
            .get_attr(uapi::VGIC_GRP_DIST_REGS, offset)
            .works(format!("the distributor's register at {offset:#x}"))
    }

    /// Writes a register of the distributor, as vCPU 0 would.
    pub(crate) fn set_distributor(&self, offset: u64, value: u32) -> Outcome {
        self.0
            .set_attr(uapi::VGIC_GRP_DIST_REGS, offset, &value)
            .works(format!("the distributor's register at {offset:#x}"))
    }

    /// Reads a register of vCPU 0's CPU interface.
    pub(crate) fn interface(&self, offset: u64) -> Result<u32, String> {
        self.0
            .get_attr(uapi::VGIC_GRP_CPU_REGS, offset)
            .works(format!("the CPU interface's register at {offset:#x}"))
    }

    /// Asks for an attribute that is configuration: how many interrupts there are.
    pub(crate) fn nr_irqs(&self) -> Result<u32, String> {
        self.0
            .get_attr(uapi::VGIC_GRP_NR_IRQS, 0)
            .works("KVM_DEV_ARM_VGIC_GRP_NR_IRQS")
    }

    /// Chooses how many interrupts there are.
    pub(crate) fn set_nr_irqs(&self, value: u32) -> Outcome {
        self.0
            .set_attr(uapi::VGIC_GRP_NR_IRQS, 0, &value)
            .works("KVM_DEV_ARM_VGIC_GRP_NR_IRQS")
    }

    /// Writes a register of vCPU 0's CPU interface.
    pub(crate) fn set_interface(&self, offset: u64, value: u32) -> Outcome {
        self.0
            .set_attr(uapi::VGIC_GRP_CPU_REGS, offset, &value)
            .works(format!("the CPU interface's register at {offset:#x}"))
    }

    /// Instructions that have the virtual timer fire, look out for its interrupt, switch the timer
    /// off and end the interrupt. They use r0 to r3.
    pub(crate) fn take_timer() -> Vec<u32> {
        let mut program = code::load(1, Self::CPU + 0xc).to_vec();
        program.extend(code::load(2, 1023));
        program.extend(code::load(0, 0));
        program.extend(code::load(3, 1));
        program.extend([
            // CNTV_TVAL, CNTV_CTL
            code::mcr(0, 0, 14, 3, 0),
            code::mcr(3, 0, 14, 3, 1),
            // GICC_IAR
            code::ldr(3, 1),
            // cmp r3, r2; beq to the load
            0xe153_0002,
            0x0aff_fffc,
            code::mcr(0, 0, 14, 3, 1),
        ]);
        // GICC_EOIR
        program.extend(code::load(1, Self::CPU + 0x10));
        program.push(code::str(3, 1));
        program
    }

    /// Instructions that wait for an interrupt, without taking it, and store its number. They use
    /// r0 to r2.
    pub(crate) fn wait_and_store(address: u32) -> Vec<u32> {
        let mut program = code::load(1, Self::CPU + 0xc).to_vec();
        program.extend(code::load(2, 1023));
        program.extend([
            code::WFI,
            // GICC_IAR
            code::ldr(0, 1),
            // cmp r0, r2; beq to the WFI
            0xe150_0002,
            0x0aff_fffb,
        ]);
        program.extend(code::load(1, address));
        program.push(code::str(0, 1));
        program
    }
}
