// SPDX-License-Identifier: GPL-2.0

//! A thread that calls KVM at random. What it tries follows from the seed, its number and the step; how
//! that ends depends on the other threads, too.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use kvm::uapi;

use crate::argument::Places;
use crate::calls::{Argument, Maker, System, Value, CALLS};
use crate::files::{Files, Kind, EACH, VMS};
use crate::instructions;
use crate::layout::{
    self, bytes_of, map_anonymous, GUEST, GUEST_SIZE, PAGE, RUN_PAGES, RUN_SIZE, THREADS,
};
use crate::random::Random;
use crate::shared::Shared;
use crate::waker::wake;

/// The things that all threads of a process share.
pub(crate) struct Scene {
    pub(crate) shared: &'static Shared,
    pub(crate) files: Files,
    pub(crate) registers: Vec<u64>,
    /// The threads' numbers in the kernel, 0 for those that have ended.
    pub(crate) threads: [AtomicI32; THREADS],
    /// A file whose pages are in the second half of the guests' memory.
    pub(crate) memory_file: i32,
    /// The ids of all calls, each as often as its weight says.
    pub(crate) chances: Vec<usize>,
}

/// A guest's memory: one part for each VM.
const PART: usize = GUEST_SIZE / VMS;

/// Tasks that are no call, for a report about a thread that hangs.
pub(crate) const TASKS: [&str; 9] = [
    "setup", "memory", "code", "close", "dup", "eventfd", "page", "fork", "other",
];
pub(crate) const FIRST_TASK: u32 = 1000;

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The errno of the result of a system call.
fn errno_of(result: i64) -> i32 {
    if result < 0 {
        last_errno()
    } else {
        0
    }
}

/// The thread.
pub(crate) struct Caller<'a> {
    scene: &'a Scene,
    places: Places,
    /// Its number.
    thread: usize,
    random: Random,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(scene: &'a Scene, thread: usize) -> io::Result<Self> {
        Ok(Self {
            scene,
            places: Places::map(thread)?,
            thread,
            random: Random::of(&[]),
        })
    }

    /// Makes so many steps.
    pub(crate) fn run(&mut self, seed: u64, steps: u32) -> Result<(), String> {
        // SAFETY: It has no arguments.
        let id = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        self.scene.threads[self.thread].store(id, Ordering::Relaxed);
        let result = self.steps(seed, steps);
        self.scene.threads[self.thread].store(0, Ordering::Relaxed);
        result
    }

    fn steps(&mut self, seed: u64, steps: u32) -> Result<(), String> {
        for step in 1..=steps {
            if self.scene.shared.stop.load(Ordering::Relaxed) != 0 {
                break;
            }
            self.random = Random::of(&[seed, self.thread as u64, step.into()]);
            let now = &self.scene.shared.now[self.thread];
            now.step.store(step, Ordering::Relaxed);
            let done = match step {
                // All begin with a VM.
                1..3 => self.set_up(),
                _ => self.step(),
            };
            let done = done.and_then(|()| match step % 256 {
                0 => self.places.check_all(),
                _ => Ok(()),
            });
            done.map_err(|why| format!("thread {} step {step}: {why}", self.thread))?;
        }
        Ok(())
    }

    fn task(&self, task: u32) {
        let now = &self.scene.shared.now[self.thread];
        now.call.store(FIRST_TASK + task, Ordering::Relaxed);
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(1000) {
            0..800 => {
                let n = self.random.below(self.scene.chances.len());
                self.any_call(self.scene.chances[n])
            }
            800..860 => self.run_vcpu(),
            860..872 => self.set_up(),
            872..912 => self.change_memory(),
            912..932 => self.write_code(),
            932..946 => {
                self.task(3);
                let (kind, place, _) = self.scene.files.any_kind(&mut self.random);
                self.scene.files.put(kind, place, -1);
                Ok(())
            }
            946..956 => self.duplicate(),
            956..976 => self.use_event(),
            976..990 => self.change_page(),
            990..992 => self.fork(),
            _ => self.other(),
        }
    }

    /// The place of the call in the table.
    fn find(name: &str, kind: Kind) -> usize {
        let is = |call: &crate::calls::Call| call.name == name && call.kind == kind;
        CALLS.iter().position(is).unwrap_or(0)
    }

    /// A call with a random argument on a random file, most often of the right kind.
    fn any_call(&mut self, n: usize) -> Result<(), String> {
        let (kind, place, fd) = self.scene.files.any(CALLS[n].kind, &mut self.random);
        self.call_on(n, kind, place, fd)
    }

    fn call_on(&mut self, n: usize, kind: Kind, place: usize, fd: i32) -> Result<(), String> {
        let mut maker = Maker {
            random: &mut self.random,
            places: &self.places,
            files: &self.scene.files,
            registers: &self.scene.registers,
            place,
            value: Value::None,
        };
        let argument = (CALLS[n].make)(&mut maker);
        let value = maker.value;
        self.carry_out(n, kind, place, fd, argument, value)
    }

    /// A call with a structure that is right.
    fn call_with<T: Copy>(
        &mut self,
        name: &str,
        kind: Kind,
        place: usize,
        argument: &T,
    ) -> Result<(), String> {
        let bytes = bytes_of(argument);
        let written = if name == "CREATE_DEVICE" {
            bytes.len()
        } else {
            0
        };
        let placed = self.places.argument.good(bytes, &mut self.random);
        let argument = Argument::Memory { placed, written };
        let fd = self.scene.files.get(kind, place);
        self.carry_out(
            Self::find(name, kind),
            kind,
            place,
            fd,
            argument,
            Value::None,
        )
    }

    fn call_with_number(
        &mut self,
        name: &str,
        kind: Kind,
        place: usize,
        number: u32,
    ) -> Result<(), String> {
        let fd = self.scene.files.get(kind, place);
        let argument = Argument::Number(number);
        self.carry_out(
            Self::find(name, kind),
            kind,
            place,
            fd,
            argument,
            Value::None,
        )
    }

    /// An attribute or a register that is set to a good value.
    fn call_with_value(
        &mut self,
        name: &str,
        kind: Kind,
        place: usize,
        value: &[u8],
        argument: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<(), String> {
        let value = self.places.value.good(value.to_vec(), &mut self.random);
        let bytes = argument(value.address as u64);
        let placed = self.places.argument.good(bytes, &mut self.random);
        let argument = Argument::Memory { placed, written: 0 };
        let value = Value::Some {
            placed: value,
            written: 0,
        };
        let fd = self.scene.files.get(kind, place);
        self.carry_out(Self::find(name, kind), kind, place, fd, argument, value)
    }

    /// Makes the call, counts how it ended, looks for damage, and keeps the file that it gave.
    fn carry_out(
        &mut self,
        n: usize,
        kind: Kind,
        place: usize,
        fd: i32,
        argument: Argument,
        value: Value,
    ) -> Result<(), String> {
        let call = &CALLS[n];
        let shared = self.scene.shared;
        shared.now[self.thread]
            .call
            .store(n as u32, Ordering::Relaxed);
        let target = match &value {
            Value::Some { placed, .. } | Value::Bitmap(placed) => placed.address,
            Value::None => 0,
        };
        let ioctl = |argument: usize| {
            // SAFETY: Whatever the kernel writes is in the memory of `layout`, which is there for that.
            i64::from(unsafe { libc::ioctl(fd, call.number as _, argument) })
        };
        let result = match &argument {
            Argument::Number(number) => ioctl(*number as usize),
            Argument::Memory { placed, .. } => ioctl(placed.address),
            Argument::System(system) => self.system(fd, *system, target),
        };
        let errno = errno_of(result);
        shared.calls.fetch_add(1, Ordering::Relaxed);
        // Another thread may have closed the file, and its number may be another file's now.
        let is_ours = kind == call.kind && self.scene.files.get(kind, place) == fd;
        if is_ours {
            shared.coverage.count(n, errno);
        }
        if errno == 0 && kind == call.kind {
            self.keep(call.name, kind, place, result as i32, &argument);
        }
        if call.name == "RUN" && kind == Kind::Vcpu {
            match errno {
                0 => shared.exits.fetch_add(1, Ordering::Relaxed),
                libc::EINTR => shared.interrupted.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
        }
        let what = |why| format!("{call}, errno {errno}: {why}");
        // On a file of another kind the number may mean another call.
        if !is_ours {
            if let Argument::Memory { placed, .. } = &argument {
                self.places.argument.clear(placed);
            }
            return match &value {
                Value::Some { placed, .. } => {
                    self.places.value.clear(placed);
                    Ok(())
                }
                Value::Bitmap(placed) => self.places.bitmap.check_bitmap(placed).map_err(what),
                Value::None => Ok(()),
            };
        }
        if let Argument::Memory { placed, written } = &argument {
            self.places.argument.check(placed, *written).map_err(what)?;
        }
        match &value {
            Value::None => Ok(()),
            Value::Some { placed, written } => {
                let written = match argument {
                    // A copy that fails may have begun.
                    Argument::System(_) if errno == 0 => result as usize,
                    _ => *written,
                };
                self.places.value.check(placed, written)
            }
            Value::Bitmap(placed) => self.places.bitmap.check_bitmap(placed),
        }
        .map_err(|why| format!("the value of {}", what(why)))
    }

    fn system(&self, fd: i32, system: System, target: usize) -> i64 {
        // SAFETY: What is written or mapped is in the memory of `layout`.
        unsafe {
            match system {
                System::Read { size } => libc::read(fd, target as *mut _, size) as i64,
                System::ReadAt { size, offset } => {
                    libc::pread64(fd, target as *mut _, size, offset) as i64
                }
                System::Seek { offset, whence } => libc::lseek64(fd, offset, whence),
                System::Map { size, offset } => {
                    let protection = libc::PROT_READ | libc::PROT_WRITE;
                    let address = libc::mmap64(
                        ptr::null_mut(),
                        size,
                        protection,
                        libc::MAP_SHARED,
                        fd,
                        offset,
                    );
                    if address == libc::MAP_FAILED {
                        return -1;
                    }
                    libc::munmap(address, size);
                    0
                }
            }
        }
    }

    /// Puts the file that a call has made into the table.
    fn keep(&self, name: &str, kind: Kind, place: usize, result: i32, argument: &Argument) {
        let (kind, place, fd) = match (name, kind, argument) {
            ("CREATE_VM", _, _) => (Kind::Vm, result as usize % VMS, result),
            // The vCPUs of a VM are beside each other.
            ("CREATE_VCPU", _, _) => (Kind::Vcpu, 2 * place + result as usize % 2, result),
            ("GET_STATS_FD", Kind::Vm, _) => (Kind::VmStats, result as usize, result),
            ("GET_STATS_FD", _, _) => (Kind::VcpuStats, result as usize, result),
            ("CREATE_DEVICE", _, Argument::Memory { placed, .. }) => {
                // An argument that others write meanwhile tells nothing, nor one that only asked.
                let [Some(kind), Some(fd), Some(0)] =
                    [0, 4, 8].map(|at| self.places.argument.word(placed, at))
                else {
                    return;
                };
                let kind = match kind {
                    uapi::DEV_TYPE_VFIO => Kind::Vfio,
                    _ => Kind::Vgic,
                };
                (kind, place, fd as i32)
            }
            _ => return,
        };
        self.scene.files.put(kind, place % Files::places(kind), fd);
    }

    /// Makes a VM that can run, with one or two vCPUs.
    fn set_up(&mut self) -> Result<(), String> {
        self.task(0);
        let vm = self.random.below(VMS);
        let part = GUEST + vm * PART;
        // SAFETY: A new file.
        let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        self.scene.files.put(Kind::Kvm, 0, kvm);
        // SAFETY: It has no memory argument.
        let fd = unsafe { libc::ioctl(kvm, uapi::CREATE_VM() as _, 0) };
        if fd < 0 {
            return Ok(());
        }
        self.scene.files.put(Kind::Vm, vm, fd);
        for (slot, gpa, offset, flags) in [
            (0, 0x8000_0000, 0, 0),
            (1, 0, 0, 0),
            (2, 0x8020_0000, PART / 2, 1),
            (3, 0x9000_0000, PART / 4, 2),
        ] {
            if slot > 0 && self.random.per_mille(300) {
                continue;
            }
            let region = uapi::UserspaceMemoryRegion {
                slot,
                flags,
                guest_phys_addr: gpa,
                memory_size: (PART / 4) as u64,
                userspace_addr: (part + offset) as u64,
            };
            self.call_with("SET_USER_MEMORY_REGION", Kind::Vm, vm, &region)?;
        }
        let has_gic = self.random.per_mille(700);
        if has_gic {
            let device = uapi::CreateDevice {
                device_type: uapi::DEV_TYPE_ARM_VGIC_V2,
                ..Default::default()
            };
            self.call_with("CREATE_DEVICE", Kind::Vm, vm, &device)?;
            for (attr, value) in [(0, 0x3fff_0000u64), (1, 0x3ffd_0000)] {
                let attribute = |addr| {
                    bytes_of(&uapi::DeviceAttr {
                        flags: 0,
                        group: uapi::VGIC_GRP_ADDR,
                        attr,
                        addr,
                    })
                };
                let value = value.to_le_bytes();
                self.call_with_value("SET_DEVICE_ATTR", Kind::Vgic, vm, &value, attribute)?;
            }
        } else if self.random.per_mille(300) {
            let device = uapi::CreateDevice {
                device_type: uapi::DEV_TYPE_VFIO,
                ..Default::default()
            };
            self.call_with("CREATE_DEVICE", Kind::Vm, vm, &device)?;
        }
        let pmu = if self.random.per_mille(100) { 8 } else { 0 };
        let preferred = self.preferred_target(fd);
        for vcpu in 0..2u32 {
            let place = 2 * vm + vcpu as usize;
            // SAFETY: It has no memory argument.
            let file = unsafe { libc::ioctl(fd, uapi::CREATE_VCPU() as _, vcpu) };
            if file < 0 {
                continue;
            }
            self.map_page(place, file);
            self.scene.files.put(Kind::Vcpu, place, file);
            let init = uapi::VcpuInit {
                target: preferred,
                features: [2 | pmu, 0, 0, 0, 0, 0, 0],
            };
            self.call_with("ARM_VCPU_INIT", Kind::Vcpu, place, &init)?;
        }
        if has_gic && self.random.per_mille(800) {
            let attribute = |addr| {
                bytes_of(&uapi::DeviceAttr {
                    flags: 0,
                    group: uapi::VGIC_GRP_CTRL,
                    attr: uapi::VGIC_CTRL_INIT,
                    addr,
                })
            };
            self.call_with_value("SET_DEVICE_ATTR", Kind::Vgic, vm, &[0; 4], attribute)?;
        }
        if self.random.per_mille(200) {
            self.call_with_number("GET_STATS_FD", Kind::Vm, vm, 0)?;
            self.call_with_number("GET_STATS_FD", Kind::Vcpu, 2 * vm, 0)?;
        }
        self.fill(part)?;
        for place in [2 * vm, 2 * vm + 1] {
            self.start_at(place, 0x8000_0000)?;
        }
        Ok(())
    }

    fn preferred_target(&self, vm: i32) -> u32 {
        let mut init = uapi::VcpuInit::default();
        // SAFETY: The kernel writes one structure.
        unsafe { libc::ioctl(vm, uapi::ARM_PREFERRED_TARGET() as _, &raw mut init) };
        init.target
    }

    /// Gives a vCPU new registers, and lets it begin somewhere in the code.
    fn start_at(&mut self, place: usize, base: u32) -> Result<(), String> {
        let mut values = vec![(
            uapi::core_reg(uapi::CORE_PC),
            base + (self.random.below(32) * 0x80) as u32,
        )];
        let mode = self
            .random
            .one(&[0x10, 0x11, 0x12, 0x13, 0x13, 0x13, 0x17, 0x1b, 0x1f]);
        let state = self.random.one(&[0, 0, 0, 0x20, 0x200, 0xc0]);
        values.push((uapi::core_reg(uapi::CORE_CPSR), mode | state));
        for n in 0..13 {
            if self.random.per_mille(500) {
                let value = self.random.one(&instructions::ADDRESSES);
                values.push((uapi::core_reg(n), value));
            }
        }
        for (id, value) in values {
            let register = |addr| bytes_of(&uapi::OneReg { id, addr });
            let value = value.to_le_bytes();
            self.call_with_value("SET_ONE_REG", Kind::Vcpu, place, &value, register)?;
        }
        Ok(())
    }

    /// Writes random code to a guest's memory, and translation tables behind it.
    fn fill(&mut self, part: usize) -> Result<(), String> {
        layout::poke(part, &instructions::stream(PAGE, &mut self.random));
        if self.random.per_mille(700) {
            layout::poke(part, &instructions::vectors(0x8000_0080));
        }
        let tables: Vec<u8> = (0..256)
            .flat_map(|_| instructions::descriptor(&mut self.random).to_le_bytes())
            .collect();
        layout::poke(part + 4 * PAGE, &tables);
        Ok(())
    }

    fn write_code(&mut self) -> Result<(), String> {
        self.task(2);
        let vm = self.random.below(VMS);
        let page = self.random.below(4) * PAGE;
        let size = self.random.one(&[16, 64, 1024]);
        let code = instructions::stream(size, &mut self.random);
        layout::poke(GUEST + vm * PART + page, &code);
        if self.random.per_mille(300) {
            let place = self.random.below(2 * VMS);
            return self.start_at(place, 0x8000_0000 + page as u32);
        }
        Ok(())
    }

    /// Lets a vCPU run a few times, perhaps with an answer to what it wanted.
    fn run_vcpu(&mut self) -> Result<(), String> {
        let place = self.random.below(EACH);
        for _ in 0..=self.random.below(4) {
            let fd = self.scene.files.get(Kind::Vcpu, place);
            if self.random.per_mille(50) {
                self.write_page(place, 1, 1);
            }
            let argument = Argument::Number(0);
            let n = Self::find("RUN", Kind::Vcpu);
            self.carry_out(n, Kind::Vcpu, place, fd, argument, Value::None)?;
            self.write_page(place, 1, 0);
        }
        Ok(())
    }

    /// Maps a vCPU's pages where this process looks for them. There is always memory at that place.
    fn map_page(&self, place: usize, file: i32) {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let address = RUN_PAGES + place % EACH * RUN_SIZE;
        let _ = layout::map(address, RUN_SIZE, protection, libc::MAP_SHARED, file);
    }

    fn write_page(&self, place: usize, offset: usize, byte: u8) {
        assert!(offset < RUN_SIZE);
        let address = RUN_PAGES + place % EACH * RUN_SIZE + offset;
        // SAFETY: There is always memory at that place, and all bytes of it are anybody's.
        unsafe { (address as *mut u8).write_volatile(byte) };
    }

    /// Writes anything to the pages that a vCPU shares, or maps them anew, or maps something else there.
    fn change_page(&mut self) -> Result<(), String> {
        self.task(6);
        let place = self.random.below(EACH);
        match self.random.below(8) {
            0 => self.map_page(place, self.scene.files.get(Kind::Vcpu, place)),
            1 => {
                let address = RUN_PAGES + place * RUN_SIZE;
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                let _ = map_anonymous(address, RUN_SIZE, protection);
            }
            // The ring of coalesced stores.
            2..4 => {
                for offset in 0..8 {
                    let byte = self.random.word() as u8;
                    self.write_page(place, PAGE + offset, byte);
                }
            }
            // The answer to a load.
            4..6 => {
                for offset in 40..48 {
                    let byte = self.random.word() as u8;
                    self.write_page(place, offset, byte);
                }
            }
            _ => {
                for _ in 0..8 {
                    let offset = self.random.below(RUN_SIZE);
                    let byte = self.random.word() as u8;
                    self.write_page(place, offset, byte);
                }
                self.write_page(place, 1, 0);
            }
        }
        Ok(())
    }

    /// Changes the guests' memory below them.
    fn change_memory(&mut self) -> Result<(), String> {
        self.task(1);
        let pages = self.random.one(&[1, 1, 4, 16, 64, 512, 1024]);
        let start = GUEST + self.random.below(GUEST_SIZE / PAGE - pages) * PAGE;
        let start = if pages >= 512 {
            start & !0x1f_ffff
        } else {
            start
        };
        let size = pages * PAGE;
        // A small range covers no huge page: the stock kernel warns about a huge page that nobody may access
        // (`mm/huge_memory.c`).
        let is_small = pages <= 64;
        let advice = [
            libc::MADV_DONTNEED,
            libc::MADV_DONTNEED,
            libc::MADV_HUGEPAGE,
            libc::MADV_NOHUGEPAGE,
            libc::MADV_MERGEABLE,
            libc::MADV_UNMERGEABLE,
            libc::MADV_COLD,
            libc::MADV_PAGEOUT,
            libc::MADV_FREE,
            libc::MADV_REMOVE,
            libc::MADV_DOFORK,
            libc::MADV_DONTFORK,
            libc::MADV_WILLNEED,
            // MADV_POPULATE_WRITE and MADV_COLLAPSE.
            23,
            25,
        ];
        let all = libc::PROT_READ | libc::PROT_WRITE;
        let address = start as *mut libc::c_void;
        match self.random.below(10) {
            0..4 => {
                let advice = self.random.one(&advice);
                // SAFETY: The guests' memory is nobody's but theirs.
                unsafe { libc::madvise(address, size, advice) };
            }
            4 => {
                let protection = if is_small {
                    libc::PROT_NONE
                } else {
                    libc::PROT_READ
                };
                // SAFETY: As above.
                unsafe { libc::mprotect(address, size, protection) };
            }
            5 => {
                // SAFETY: As above.
                unsafe { libc::mprotect(address, size, libc::PROT_READ) };
            }
            6 | 7 => {
                // SAFETY: As above.
                unsafe { libc::mprotect(address, size, all | libc::PROT_EXEC) };
            }
            8 => {
                let _ = map_anonymous(start, size, all);
                if self.random.per_mille(200) {
                    // SAFETY: As above.
                    unsafe { libc::munmap(address, size) };
                }
            }
            _ => {
                let file = self.scene.memory_file;
                let flags = self.random.one(&[libc::MAP_SHARED, libc::MAP_PRIVATE]);
                let _ = layout::map(start, size, all, flags, file);
            }
        }
        Ok(())
    }

    fn duplicate(&mut self) -> Result<(), String> {
        self.task(4);
        let (kind, _, fd) = self.scene.files.any_kind(&mut self.random);
        // SAFETY: A new file, or an error.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        if copy >= 0 {
            let place = self.random.below(Files::places(kind));
            self.scene.files.put(kind, place, copy);
        }
        Ok(())
    }

    /// Makes, signals or reads an eventfd.
    fn use_event(&mut self) -> Result<(), String> {
        self.task(5);
        let place = self.random.below(EACH);
        let fd = self.scene.files.get(Kind::Event, place);
        let value = self.random.one(&[1u64, 2, u64::MAX - 1]);
        // SAFETY: The kernel reads or writes one number.
        unsafe {
            match self.random.below(10) {
                0..3 => {
                    let flags = self.random.one(&[libc::EFD_SEMAPHORE, 0]);
                    let new = libc::eventfd(0, flags | libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
                    self.scene.files.put(Kind::Event, place, new);
                }
                3..8 => {
                    libc::write(fd, (&raw const value).cast(), 8);
                }
                _ => {
                    let mut read = 0u64;
                    libc::read(fd, (&raw mut read).cast(), 8);
                }
            }
        }
        Ok(())
    }

    /// A child has all files and a copy of the memory. It may use none of the files.
    fn fork(&mut self) -> Result<(), String> {
        self.task(7);
        // SAFETY: The child only makes system calls, and ends.
        let child = unsafe { libc::fork() };
        if child != 0 {
            return Ok(());
        }
        let mut wrong = 0;
        for (kind, fd) in self.scene.files.all() {
            let number = match kind {
                Kind::Vm => uapi::CHECK_EXTENSION(),
                Kind::Vcpu => uapi::RUN(),
                Kind::Vgic => uapi::HAS_DEVICE_ATTR(),
                _ => continue,
            };
            // SAFETY: Nothing is written.
            let result = unsafe { libc::ioctl(fd, number as _, 0) };
            // A file that another thread has closed just before may be another one now.
            if result == 0 && kind == Kind::Vcpu {
                wrong += 1;
            }
        }
        for _ in 0..4 {
            let start = GUEST + self.random.below(GUEST_SIZE / PAGE) * PAGE;
            // SAFETY: The child's own copy of it.
            unsafe { libc::munmap(start as *mut _, 16 * PAGE) };
        }
        if self.random.per_mille(500) {
            // SAFETY: It has no memory argument. The files live on a little longer.
            unsafe { libc::usleep(self.random.below(3000) as u32) };
        }
        // SAFETY: Nothing of the parent's is undone.
        unsafe { libc::_exit(wrong.min(1)) }
    }

    /// Other uses of such files, and numbers that no file knows.
    fn other(&mut self) -> Result<(), String> {
        self.task(8);
        let (_, _, fd) = self.scene.files.any_kind(&mut self.random);
        match self.random.below(6) {
            0 => {
                let thread = self.random.below(THREADS);
                wake(&self.scene.threads[thread]);
            }
            1 => {
                let mut poll = libc::pollfd {
                    fd,
                    events: -1,
                    revents: 0,
                };
                // SAFETY: The kernel writes one structure.
                unsafe { libc::poll(&raw mut poll, 1, 0) };
            }
            2 => {
                // SAFETY: All bits of it may be set.
                let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
                for cpu in 0..8 {
                    if self.random.per_mille(600) {
                        // SAFETY: A set of this program.
                        unsafe { libc::CPU_SET(cpu, &mut cpus) };
                    }
                }
                // SAFETY: The kernel reads a set.
                unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) };
            }
            _ => {
                // A number near those of KVM, with an address that the kernel may write to.
                let number = (self.random.word() & 0xc0ff_00ff) | (uapi::KVMIO << 8);
                if CALLS.iter().any(|call| call.number & 0xff == number & 0xff) {
                    return Ok(());
                }
                let placed = self.places.argument.good(vec![0; 256], &mut self.random);
                // SAFETY: Whatever the kernel writes is in the memory of `layout`.
                unsafe { libc::ioctl(fd, number as _, placed.address) };
                self.scene.shared.calls.fetch_add(1, Ordering::Relaxed);
                self.places.argument.check(&placed, 0)?;
            }
        }
        Ok(())
    }
}

/// The name of what a thread does.
pub(crate) fn task_name(call: &AtomicU32) -> String {
    let n = call.load(Ordering::Relaxed);
    match CALLS.get(n as usize) {
        Some(call) => call.to_string(),
        None => TASKS
            .get((n.wrapping_sub(FIRST_TASK)) as usize)
            .map_or("nothing", |name| *name)
            .to_owned(),
    }
}
