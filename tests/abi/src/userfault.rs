// SPDX-License-Identifier: GPL-2.0

//! Guest memory that arrives when its process wants it to (userfaultfd), and events until then.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::thread;

use kvm::uapi;

use crate::check::{ensure, equal, Outcome, Test, Works};
use crate::guest::{code, init, new_vcpu, slot, Guest, Memory, BASE, HOLE, PAGE};

pub(crate) const TESTS: &[Test] = &[
    ("userfault: a page comes while the guest waits", comes),
    ("userfault: the slot goes while the guest waits", goes),
    (
        "userfault: slots change thousands of times while the guest waits",
        changes_for_long,
    ),
    (
        "userfault: the faults of another vCPU do not wait for it",
        passes_by,
    ),
];

/// Where the guest stores to.
const DATA: u32 = BASE + 0x100_0000;
const SLOT: u32 = 1;

/// `_IOWR(0xaa, number, size)` (linux/userfaultfd.h).
const fn uffdio(number: u32, size: usize) -> u32 {
    (3 << 30) | ((size as u32) << 16) | (0xaa << 8) | number
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Copy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

/// Faults of this process that wait for it.
struct Userfaults(File);

impl Userfaults {
    /// The missing pages of some memory.
    fn missing(memory: &Memory) -> Result<Self, String> {
        // SAFETY: A new descriptor, or an error.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        ensure(fd >= 0, "userfaultfd")?;
        // SAFETY: It is open, and nobody else's.
        let faults = Self(unsafe { File::from_raw_fd(fd as i32) });
        faults.ioctl(
            uffdio(0x3f, size_of::<Api>()),
            &mut Api {
                api: 0xaa,
                features: 0,
                ioctls: 0,
            },
        )?;
        faults.ioctl(
            uffdio(0, size_of::<Register>()),
            &mut Register {
                start: memory.address(),
                len: PAGE as u64,
                mode: 1,
                ioctls: 0,
            },
        )?;
        Ok(faults)
    }

    fn ioctl<T>(&self, request: u32, argument: &mut T) -> Outcome {
        // SAFETY: The argument has the type that the request requires.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, argument) };
        ensure(
            result == 0,
            format!("{request:#x}: {}", std::io::Error::last_os_error()),
        )
    }

    /// Gives a page of some memory to who waits for it, with a word in it.
    fn give(&self, memory: &Memory) -> Outcome {
        let from = Memory::new(PAGE)?;
        from.write_words(4, &[GIVEN]);
        self.ioctl(
            uffdio(3, size_of::<Copy>()),
            &mut Copy {
                dst: memory.address(),
                src: from.address(),
                len: PAGE as u64,
                mode: 0,
                copied: 0,
            },
        )
    }

    /// Waits for one, and gives its address.
    fn wait(&mut self) -> Result<u64, String> {
        let mut message = [0; 32];
        self.0.read_exact(&mut message).works("a fault")?;
        // The kind, then at 8 the flags, at 16 the address.
        equal("the event", message[0], 0x12)?;
        let (_, address) = message.split_at(16);
        Ok(u64::from_le_bytes(
            address[..8].try_into().unwrap_or_default(),
        ))
    }
}

/// A guest that stores r1 to the page, on a thread of its own until it exits for the hole.
fn with_waiting_guest(what: impl FnOnce(&Guest, Memory, Userfaults) -> Outcome) -> Outcome {
    let mut program = code::load(0, DATA).to_vec();
    program.extend(code::load(1, VALUE));
    program.push(code::str(1, 0));
    program.extend(code::load(5, HOLE));
    program.extend([code::ldr(4, 5), code::LOOP]);
    let guest = Guest::new(&program)?;
    let memory = Memory::new(PAGE)?;
    let region = slot(SLOT, DATA.into(), &memory, PAGE);
    guest.vm.set_user_memory_region(&region).works("the slot")?;
    let mut faults = Userfaults::missing(&memory)?;
    let address = memory.address();
    thread::scope(|scope| {
        let vcpu = scope.spawn(|| guest.run_to(uapi::EXIT_MMIO));
        let done = faults.wait().and_then(|at| {
            equal("the fault's address", at & !(PAGE as u64 - 1), address)?;
            ensure(!vcpu.is_finished(), "the guest did not wait")?;
            what(&guest, memory, faults)
        });
        let ran = vcpu.join().map_err(|_| "panic")?;
        done.and(ran)
    })
}

/// The word that the guest stores.
const VALUE: u32 = 0x1234_5678;
/// The content of the page that arrives, behind that word.
const GIVEN: u32 = 7;

fn comes() -> Outcome {
    with_waiting_guest(|guest, memory, faults| {
        faults.give(&memory)?;
        wait_for(&memory, 0, VALUE)?;
        equal("what was copied", memory.word(4), GIVEN)?;
        delete(guest)
    })
}

/// Pages of the same 2 MiB, in a new slot and with a new vCPU.
fn passes_by() -> Outcome {
    const PAGES: usize = 16;
    const PROGRAM: usize = 0x1000;
    let other = Memory::new(PAGES * PAGE)?;
    with_waiting_guest(|guest, memory, faults| {
        let at = DATA + PAGE as u32;
        let region = slot(SLOT + 1, at.into(), &other, PAGES * PAGE);
        guest.vm.set_user_memory_region(&region).works("a slot")?;
        guest.memory.write_words(PROGRAM, &code::store_to_each());
        let vcpu = new_vcpu(&guest.kvm, &guest.vm, 1)?;
        init(&guest.vm, &vcpu)?;
        for (register, value) in [
            (0, at),
            (1, PAGES as u32),
            (2, PAGE as u32),
            (uapi::CORE_PC, BASE + PROGRAM as u32),
        ] {
            let set = vcpu.set_reg(uapi::core_reg(register), value);
            set.works("KVM_SET_ONE_REG")?;
        }
        vcpu.run().works("KVM_RUN")?;
        equal("exit", vcpu.run.exit_reason(), uapi::EXIT_MMIO)?;
        for page in 0..PAGES {
            let stored = at + (page * PAGE) as u32;
            equal("stored", other.word(page * PAGE), stored)?;
        }
        faults.give(&memory)?;
        wait_for(&memory, 0, VALUE)?;
        delete(guest)
    })
}

/// The guest must not see memory that is not its own any more: it finds the memory that is there by
/// then.
fn goes() -> Outcome {
    let other = Memory::new(PAGE)?;
    with_waiting_guest(|guest, memory, faults| {
        delete(guest)?;
        let region = slot(SLOT, DATA.into(), &other, PAGE);
        guest.vm.set_user_memory_region(&region).works("another")?;
        drop(memory);
        // All that wait look again.
        drop(faults);
        wait_for(&other, 0, VALUE)
    })
}

/// However many changes the guest has slept through, it gets no page of a slot that is gone. This
/// many are no change at all to a count of twelve bits.
fn changes_for_long() -> Outcome {
    const CHANGES: usize = 1 << 12;
    let other = Memory::new(PAGE)?;
    with_waiting_guest(|guest, memory, faults| {
        let region = slot(SLOT, DATA.into(), &other, PAGE);
        for _ in 0..CHANGES / 2 {
            delete(guest)?;
            guest.vm.set_user_memory_region(&region).works("another")?;
        }
        // The page that the guest has waited for is there, in a slot that is not.
        faults.give(&memory)?;
        wait_for(&other, 0, VALUE)?;
        equal("stored to what is gone", memory.word(0), 0)
    })
}

fn delete(guest: &Guest) -> Outcome {
    let region = uapi::UserspaceMemoryRegion {
        slot: SLOT,
        ..Default::default()
    };
    guest.vm.set_user_memory_region(&region).works("delete")
}

fn wait_for(memory: &Memory, offset: usize, value: u32) -> Outcome {
    let since = std::time::Instant::now();
    while memory.word(offset) != value {
        ensure(
            since.elapsed() < kvm::patience(20),
            "the guest's store did not come",
        )?;
        thread::yield_now();
    }
    Ok(())
}
