// SPDX-License-Identifier: GPL-2.0

//! KVM_IRQFD, KVM_IOEVENTFD, KVM_SET_GSI_ROUTING, and coalesced MMIO.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use kvm::uapi::{self, CoalescedZone, IoEventFd, IrqRouting, IrqRoutingEntry, Irqfd};
use kvm::{ioctl, ioctl_ref, patience, Vm};
use vmm_sys_util::eventfd::EventFd;

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::{code, Gic, Guest, BASE, HOLE, PAGE};

pub(crate) const TESTS: &[Test] = &[
    ("eventfd: capabilities", capabilities),
    ("ioeventfd: stores of a guest", stores),
    ("ioeventfd: data that matches", data_match),
    (
        "ioeventfd: a thousand, assigned and taken away in no order",
        a_thousand,
    ),
    ("ioeventfd: wrong ones", bad_ioeventfds),
    ("ioeventfd: taken away", taken_away),
    ("irqfd: wrong ones", bad_irqfds),
    ("irqfd: an edge", edge),
    ("irqfd: signalled before", signalled_before),
    ("irqfd: signalled in a hard interrupt", hard_interrupt),
    ("irqfd: a level until the guest has dealt with it", resample),
    ("irqfd: its eventfd is closed", closed),
    ("irqfd: the VM goes while it is signalled", vm_goes),
    ("irqfd: a level goes down with its eventfd", lowered),
    ("irqfd: of eventfds that are closed", many_closed),
    ("irqfd: DEASSIGN beside ASSIGN", deassigned_beside),
    ("routing: to another pin", rerouted),
    ("routing: wrong ones", bad_routing),
    ("coalesced MMIO: the ring", ring),
    ("coalesced MMIO: a full ring", full_ring),
    ("coalesced MMIO: indices that cannot be", hostile_ring),
    ("coalesced MMIO: zones", zones),
    ("coalesced MMIO: mappings", mappings),
];

/// A store here says that the guest is done.
const DONE: u32 = 0x1800_0000;
/// Where stores are looked for.
const PORT: u32 = HOLE + 0x10;

fn new_event() -> Result<EventFd, String> {
    EventFd::new(libc::EFD_NONBLOCK).works("eventfd")
}

/// How often an eventfd was signalled since the last look.
fn count(event: &EventFd) -> u64 {
    event.read().unwrap_or(0)
}

fn capabilities() -> Outcome {
    let guest = Guest::new(&[])?;
    for (name, capability, expected) in [
        ("COALESCED_MMIO", uapi::CAP_COALESCED_MMIO, 1),
        ("IRQ_ROUTING", uapi::CAP_IRQ_ROUTING, 4096),
        ("IRQFD", uapi::CAP_IRQFD, 1),
        ("IRQFD_RESAMPLE", uapi::CAP_IRQFD_RESAMPLE, 1),
        ("IOEVENTFD", uapi::CAP_IOEVENTFD, 1),
        ("IOEVENTFD_ANY_LENGTH", uapi::CAP_IOEVENTFD_ANY_LENGTH, 1),
    ] {
        let found = guest.kvm.check_extension(capability).works(name)?;
        equal(name, found, expected)?;
        equal(
            name,
            guest.vm.check_extension(capability).works(name)?,
            expected,
        )?;
    }
    Ok(())
}

/// A program of stores of R1, and a last store that reports the end.
fn storing(stores: &[(u32, u32, u32)]) -> Vec<u32> {
    let mut program = Vec::new();
    for &(address, value, bytes) in stores {
        program.extend(code::load(0, address));
        program.extend(code::load(1, value));
        program.push(match bytes {
            1 => code::strb(1, 0),
            2 => code::strh(1, 0),
            _ => code::str(1, 0),
        });
    }
    program.extend(code::load(0, DONE));
    program.extend([code::str(0, 0), code::LOOP]);
    program
}

/// Runs to the end of such a program. Gives the stores that came out.
fn stores_outside(guest: &Guest) -> Result<Vec<(u64, u32)>, String> {
    let mut stores = Vec::new();
    loop {
        guest.run_to(uapi::EXIT_MMIO)?;
        let mmio = guest.vcpu.run.mmio();
        if mmio.phys_addr == DONE.into() {
            return Ok(stores);
        }
        let [a, b, c, d, ..] = mmio.data;
        stores.push((mmio.phys_addr, u32::from_le_bytes([a, b, c, d])));
    }
}

fn ioeventfd(
    vm: &Vm,
    event: &EventFd,
    addr: u32,
    len: u32,
    data: Option<u64>,
) -> std::io::Result<()> {
    ioctl_ref(vm, uapi::IOEVENTFD(), &request(event, addr, len, data, 0)).map(drop)
}

/// The opposite.
fn taken(vm: &Vm, event: &EventFd, addr: u32, len: u32, data: Option<u64>) -> std::io::Result<()> {
    let request = request(event, addr, len, data, uapi::IOEVENTFD_DEASSIGN);
    ioctl_ref(vm, uapi::IOEVENTFD(), &request).map(drop)
}

fn request(event: &EventFd, addr: u32, len: u32, data: Option<u64>, flags: u32) -> IoEventFd {
    let match_flag = data.map_or(0, |_| uapi::IOEVENTFD_DATAMATCH);
    IoEventFd {
        datamatch: data.unwrap_or(0),
        addr: addr.into(),
        len,
        fd: event.as_raw_fd(),
        flags: flags | match_flag,
        ..Default::default()
    }
}

fn stores() -> Outcome {
    let guest = Guest::new(&storing(&[
        (PORT, 1, 4),
        (PORT, 2, 2),
        (PORT, 3, 1),
        (PORT + 4, 4, 4),
        (PORT + 8, 5, 4),
        (PORT + 8, 6, 2),
        (PORT + 9, 7, 1),
    ]))?;
    let (word, half, any) = (new_event()?, new_event()?, new_event()?);
    ioeventfd(&guest.vm, &word, PORT, 4, None).works("a word")?;
    ioeventfd(&guest.vm, &half, PORT, 2, None).works("a halfword")?;
    ioeventfd(&guest.vm, &any, PORT + 8, 0, None).works("any length")?;
    let outside = stores_outside(&guest)?;
    let expected = [(PORT, 3), (PORT + 4, 4), (PORT + 9, 7)];
    let expected: Vec<(u64, u32)> = expected.map(|(at, value)| (at.into(), value)).into();
    equal("stores that came out", outside, expected)?;
    equal("words", count(&word), 1)?;
    equal("halfwords", count(&half), 1)?;
    equal("of any length", count(&any), 2)
}

fn data_match() -> Outcome {
    let guest = Guest::new(&storing(&[
        (PORT, 5, 4),
        (PORT, 6, 4),
        (PORT, 7, 4),
        (PORT, 6, 4),
        // Only the stored bytes count, not the rest of the register.
        (PORT + 4, 0x1234_5678, 1),
    ]))?;
    let events: Vec<EventFd> = (0..3).map(|_| new_event()).collect::<Result<_, _>>()?;
    ioeventfd(&guest.vm, &events[0], PORT, 4, Some(5)).works("5")?;
    ioeventfd(&guest.vm, &events[1], PORT, 4, Some(6)).works("6")?;
    ioeventfd(&guest.vm, &events[2], PORT + 4, 1, Some(0x78)).works("a byte")?;
    equal(
        "stores that came out",
        stores_outside(&guest)?,
        vec![(PORT.into(), 7)],
    )?;
    let counts: Vec<u64> = events.iter().map(count).collect();
    equal("counts", counts, vec![1, 2, 1])
}

/// The right one of many is signalled, whatever came and went before it. At each address there are
/// one for bytes, one for halfwords of any value, and some for words of one value.
fn a_thousand() -> Outcome {
    const N: u32 = 990;
    let address = |n: u32| PORT + 4 * (n / 5);
    let kind = |n: u32| match n % 5 {
        0 => (1, Some(7)),
        1 => (2, None),
        k => (4, Some(u64::from(k))),
    };
    let guest = Guest::new(&storing(&[
        (address(0), 7, 1),
        (address(0), 8, 1),
        (address(500), 9, 2),
        (address(500), 3, 4),
        (address(500), 5, 4),
        (address(N - 1), 4, 4),
        (address(N - 1), 7, 1),
    ]))?;
    let event = new_event()?;
    let others = new_event()?;
    // 617 and 990 have no common divisor.
    let shuffled = || (0..N).map(|n| n * 617 % N);
    for n in shuffled() {
        let (len, data) = kind(n);
        ioeventfd(&guest.vm, &others, address(n), len, data).works("assigned")?;
    }
    // Every third one is assigned anew, with the event that counts.
    for n in shuffled().filter(|n| n % 3 == 0) {
        let (len, data) = kind(n);
        taken(&guest.vm, &others, address(n), len, data).works("taken away")?;
        ioeventfd(&guest.vm, &event, address(n), len, data).works("assigned again")?;
    }
    let stores = [
        (0u32, 1u32, 7u64),
        (500, 2, 9),
        (500, 4, 3),
        (N - 1, 4, 4),
        (N - 1, 1, 7),
    ];
    let hits = |ours: bool| {
        stores
            .iter()
            .filter(|(at, len, value)| {
                (0..N).any(|n| {
                    let (this, data) = kind(n);
                    address(n) == address(*at)
                        && this == *len
                        && data.is_none_or(|data| data == *value)
                        && (n % 3 == 0) == ours
                })
            })
            .count() as u64
    };
    equal(
        "stores that came out",
        stores_outside(&guest)?,
        vec![(address(0).into(), 8), (address(500).into(), 5)],
    )?;
    equal("every third", count(&event), hits(true))?;
    equal("the others", count(&others), hits(false))?;
    equal("all", hits(true) + hits(false), stores.len() as u64)
}

fn bad_ioeventfds() -> Outcome {
    let guest = Guest::new(&[])?;
    let event = new_event()?;
    let good = IoEventFd {
        addr: PORT.into(),
        len: 4,
        fd: event.as_raw_fd(),
        ..Default::default()
    };
    let try_it = |request: &IoEventFd| ioctl_ref(&guest.vm, uapi::IOEVENTFD(), request).map(drop);
    for (what, request, errno) in [
        ("three bytes", IoEventFd { len: 3, ..good }, libc::EINVAL),
        ("sixteen bytes", IoEventFd { len: 16, ..good }, libc::EINVAL),
        (
            "a flag",
            IoEventFd {
                flags: 1 << 7,
                ..good
            },
            libc::EINVAL,
        ),
        (
            "data of no length",
            IoEventFd {
                len: 0,
                flags: uapi::IOEVENTFD_DATAMATCH,
                ..good
            },
            libc::EINVAL,
        ),
        (
            "the end of all addresses",
            IoEventFd {
                addr: u64::MAX - 1,
                ..good
            },
            libc::EINVAL,
        ),
        ("no descriptor", IoEventFd { fd: -1, ..good }, libc::EBADF),
        (
            "no eventfd",
            IoEventFd {
                fd: guest.vm.as_raw_fd(),
                ..good
            },
            libc::EINVAL,
        ),
        (
            "none there to be taken away",
            IoEventFd {
                flags: uapi::IOEVENTFD_DEASSIGN,
                ..good
            },
            libc::ENOENT,
        ),
    ] {
        fails(what, try_it(&request), &[errno])?;
    }
    let result = ioctl(&guest.vm, uapi::IOEVENTFD(), 0);
    fails("address 0", result, &[libc::EFAULT])?;
    try_it(&good).works("the first")?;
    let datamatch = IoEventFd {
        flags: uapi::IOEVENTFD_DATAMATCH,
        ..good
    };
    for (what, request) in [
        ("the same again", good),
        ("any length there", IoEventFd { len: 0, ..good }),
        ("data of it", datamatch),
    ] {
        fails(what, try_it(&request), &[libc::EEXIST])?;
    }
    try_it(&IoEventFd { len: 2, ..good }).works("another length")?;
    // Ports are another space, which this architecture does not have.
    try_it(&IoEventFd {
        flags: uapi::IOEVENTFD_PIO,
        ..good
    })
    .works("a port")
}

fn taken_away() -> Outcome {
    let guest = Guest::new(&storing(&[(PORT, 1, 4)]))?;
    let (event, other) = (new_event()?, new_event()?);
    ioeventfd(&guest.vm, &event, PORT, 4, None).works("ioeventfd")?;
    let gone = |event: &EventFd, len| taken(&guest.vm, event, PORT, len, None);
    fails("another eventfd", gone(&other, 4), &[libc::ENOENT])?;
    fails("another length", gone(&event, 2), &[libc::ENOENT])?;
    gone(&event, 4).works("deassign")?;
    fails("again", gone(&event, 4), &[libc::ENOENT])?;
    equal(
        "stores that came out",
        stores_outside(&guest)?,
        vec![(PORT.into(), 1)],
    )?;
    equal("count", count(&event), 0)
}

/// A guest with an initialised vGIC.
struct WithGic {
    guest: Guest,
    gic: Gic,
}

impl WithGic {
    fn new(program: &[u32]) -> Result<Self, String> {
        let guest = Guest::new(program)?;
        let gic = Gic::new(&guest)?;
        gic.init()?;
        Ok(Self { guest, gic })
    }

    /// Whether SPI 32 + `pin` is pending; it is made not to be.
    fn take_pending(&self, pin: u32) -> Result<bool, String> {
        let bit = 1 << (pin % 32);
        let word = u64::from(pin / 32) * 4;
        let pending = self.gic.distributor(0x204 + word)? & bit != 0;
        self.gic.set_distributor(0x284 + word, bit)?;
        Ok(pending)
    }

    fn irqfd(&self, event: &EventFd, gsi: u32, flags: u32) -> std::io::Result<()> {
        let request = Irqfd {
            fd: event.as_raw_fd() as u32,
            gsi,
            flags,
            ..Default::default()
        };
        ioctl_ref(&self.guest.vm, uapi::IRQFD(), &request).map(drop)
    }

    /// Makes the SPIs from 32 to 47 edge-triggered.
    fn edges(&self) -> Outcome {
        self.gic.set_distributor(0xc08, 0xaaaa_aaaa)
    }
}

fn bad_irqfds() -> Outcome {
    let guest = Guest::new(&[])?;
    let event = new_event()?;
    let request = Irqfd {
        fd: event.as_raw_fd() as u32,
        ..Default::default()
    };
    let early = ioctl_ref(&guest.vm, uapi::IRQFD(), &request);
    fails("before the vGIC", early, &[libc::EAGAIN])?;

    let with_gic = WithGic::new(&[])?;
    let vm = &with_gic.guest.vm;
    let try_it = |request: &Irqfd| ioctl_ref(vm, uapi::IRQFD(), request).map(drop);
    let not_eventfd = vm.as_raw_fd() as u32;
    for (what, request, errno) in [
        (
            "a flag",
            Irqfd {
                flags: 1 << 5,
                ..request
            },
            libc::EINVAL,
        ),
        ("no descriptor", Irqfd { fd: 999, ..request }, libc::EBADF),
        (
            "no eventfd",
            Irqfd {
                fd: not_eventfd,
                ..request
            },
            libc::EINVAL,
        ),
        (
            "nothing to resample by",
            Irqfd {
                flags: uapi::IRQFD_RESAMPLE,
                resamplefd: not_eventfd,
                ..request
            },
            libc::EINVAL,
        ),
        (
            "no descriptor to resample by",
            Irqfd {
                flags: uapi::IRQFD_RESAMPLE,
                resamplefd: 999,
                ..request
            },
            libc::EBADF,
        ),
    ] {
        fails(what, try_it(&request), &[errno])?;
    }
    fails("address 0", ioctl(vm, uapi::IRQFD(), 0), &[libc::EFAULT])?;
    try_it(&request).works("the first")?;
    fails("again", try_it(&request), &[libc::EBUSY])?;
    fails(
        "for another interrupt",
        try_it(&Irqfd { gsi: 3, ..request }),
        &[libc::EBUSY],
    )?;
    let deassign = Irqfd {
        flags: uapi::IRQFD_DEASSIGN,
        ..request
    };
    try_it(&deassign).works("deassign")?;
    try_it(&deassign).works("deassign what is not there")?;
    try_it(&request).works("after it was taken away")
}

fn edge() -> Outcome {
    let machine = WithGic::new(&[])?;
    machine.edges()?;
    let events: Vec<EventFd> = (0..3).map(|_| new_event()).collect::<Result<_, _>>()?;
    for (gsi, event) in events.iter().enumerate() {
        machine.irqfd(event, gsi as u32, 0).works("KVM_IRQFD")?;
    }
    for (pin, event) in events.iter().enumerate() {
        ensure(!machine.take_pending(pin as u32)?, "pending at first")?;
        event.write(1).works("write")?;
        for other in 0..3 {
            equal(
                format!("SPI {other} pending after eventfd {pin}"),
                machine.take_pending(other)?,
                other as usize == pin,
            )?;
        }
        // KVM has taken the count.
        equal("count", count(event), 0)?;
    }
    machine
        .irqfd(&events[1], 1, uapi::IRQFD_DEASSIGN)
        .works("deassign")?;
    events[1].write(1).works("write")?;
    ensure(!machine.take_pending(1)?, "an interrupt after deassign")?;
    equal("count", count(&events[1]), 1)?;
    // There is no such pin: nothing happens.
    let event = new_event()?;
    machine.irqfd(&event, 5000, 0).works("a far pin")?;
    event.write(1).works("write")
}

/// A timer whose expiry signals an eventfd in the interrupt itself: through a poll by asynchronous
/// I/O, as devices do it, too.
struct HardSignal {
    timer: OwnedFd,
    context: libc::c_ulong,
}

/// `struct iocb` of the kernel (include/uapi/linux/aio_abi.h), little-endian.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buf: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}

impl HardSignal {
    fn new() -> Result<Self, String> {
        // SAFETY: A new descriptor, if there is no error.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) };
        ensure(timer >= 0, "timerfd_create")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: The descriptor is ours alone; io_setup writes to `context`.
        let (timer, result) = unsafe {
            (
                OwnedFd::from_raw_fd(timer),
                libc::syscall(libc::SYS_io_setup, 4, &mut context),
            )
        };
        ensure(result == 0, "io_setup")?;
        Ok(Self { timer, context })
    }

    /// Has `event` signalled in so many nanoseconds.
    fn signal_in(&self, nanos: u32, event: &EventFd) -> Outcome {
        const IOCB_CMD_POLL: u16 = 5;
        const IOCB_FLAG_RESFD: u32 = 1;
        let mut request = Iocb {
            opcode: IOCB_CMD_POLL,
            fd: self.timer.as_raw_fd() as u32,
            buf: libc::POLLIN as u64,
            flags: IOCB_FLAG_RESFD,
            event: event.as_raw_fd() as u32,
            ..Default::default()
        };
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = libc::itimerspec {
            it_interval: zero,
            it_value: libc::timespec {
                tv_sec: 0,
                tv_nsec: nanos as libc::c_long,
            },
        };
        let requests = [&mut request as *mut Iocb];
        // SAFETY: All are ours and live through the calls.
        let (set, submitted) = unsafe {
            (
                libc::timerfd_settime(self.timer.as_raw_fd(), 0, &time, std::ptr::null_mut()),
                libc::syscall(libc::SYS_io_submit, self.context, 1, requests.as_ptr()),
            )
        };
        ensure(set == 0 && submitted == 1, "timerfd_settime and io_submit")
    }

    /// Whether it was signalled.
    fn take(&self) -> bool {
        let mut events = [0u64; 4];
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: One event of 32 bytes, and a time.
        let n = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0,
                1,
                events.as_mut_ptr(),
                &mut now,
            )
        };
        n == 1
    }
}

impl Drop for HardSignal {
    fn drop(&mut self) {
        // SAFETY: The context is ours.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

/// Whatever this CPU does with the vGIC meanwhile.
fn hard_interrupt() -> Outcome {
    const ROUNDS: u32 = 3000;
    let machine = WithGic::new(&[])?;
    machine.edges()?;
    let event = new_event()?;
    machine.irqfd(&event, 0, 0).works("KVM_IRQFD")?;
    let signal = HardSignal::new()?;
    for round in 0..ROUNDS {
        signal.signal_in(20_000 + round * 137 % 100_000, &event)?;
        let start = Instant::now();
        while !signal.take() {
            for level in [true, false, true, false] {
                machine.guest.vm.spi_line(33, level).works("KVM_IRQ_LINE")?;
            }
            ensure(start.elapsed() < patience(10), "the timer does not expire")?;
        }
        ensure(machine.take_pending(0)?, format!("lost in round {round}"))?;
    }
    Ok(())
}

fn signalled_before() -> Outcome {
    let machine = WithGic::new(&[])?;
    machine.edges()?;
    let event = new_event()?;
    event.write(1).works("write")?;
    machine.irqfd(&event, 2, 0).works("KVM_IRQFD")?;
    ensure(machine.take_pending(2)?, "the interrupt was lost")
}

/// The pin of [`resample`].
const PIN: u32 = 8;

fn resample() -> Outcome {
    let mut program = Vec::new();
    program.extend(code::load(2, Gic::CPU));
    program.extend(code::load(12, DONE));
    // cpsie i, and wait.
    program.extend([0xf108_0080, code::LOOP]);
    let machine = WithGic::new(&program)?;
    let guest = &machine.guest;
    // The IRQ vector: acknowledge, end, tell, and go on with it.
    let vectors = 0x1000;
    guest.memory.write_words(
        vectors + 0x18,
        &[
            // ldr r3, [r2, #12]; str r3, [r2, #16]; str r3, [r12]; subs pc, lr, #4.
            0xe592_300c,
            0xe582_3010,
            0xe58c_3000,
            0xe25e_f004,
        ],
    );
    guest
        .vcpu
        .set_reg(uapi::cp15_reg(0, 12, 0, 0), BASE + vectors as u32)
        .works("VBAR")?;
    machine.gic.set_distributor(0x000, 1)?;
    machine.gic.set_distributor(0x104, 1 << PIN)?;
    machine.gic.set_distributor(0x820 + u64::from(PIN), 1)?;
    for (offset, value) in [(0x00, 1), (0x04, 0xf0)] {
        machine.gic.set_interface(offset, value)?;
    }
    let (event, again) = (new_event()?, new_event()?);
    let request = Irqfd {
        fd: event.as_raw_fd() as u32,
        gsi: PIN,
        flags: uapi::IRQFD_RESAMPLE,
        resamplefd: again.as_raw_fd() as u32,
        ..Default::default()
    };
    ioctl_ref(&guest.vm, uapi::IRQFD(), &request).works("KVM_IRQFD")?;
    for round in 0..3 {
        event.write(1).works("write")?;
        equal("resampled too early", count(&again), 0)?;
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("where", guest.vcpu.run.mmio().phys_addr, DONE.into())?;
        let [intid, ..] = guest.vcpu.run.mmio().data;
        equal("interrupt", u32::from(intid), 32 + PIN)?;
        guest.complete()?;
        equal(format!("resampled, round {round}"), count(&again), 1)?;
        // The line is low again.
        let pending = machine.gic.distributor(0x204)? & (1 << PIN);
        equal("pending", pending, 0)?;
    }
    Ok(())
}

fn closed() -> Outcome {
    let machine = WithGic::new(&[])?;
    machine.edges()?;
    for _ in 0..20 {
        let event = new_event()?;
        machine.irqfd(&event, 4, 0).works("KVM_IRQFD")?;
        event.write(1).works("write")?;
        ensure(machine.take_pending(4)?, "no interrupt")?;
    }
    Ok(())
}

fn vm_goes() -> Outcome {
    let stop = AtomicBool::new(false);
    let event = new_event()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = event.write(1);
            }
        });
        let rounds = || -> Outcome {
            for _ in 0..50 {
                let machine = WithGic::new(&[])?;
                machine.irqfd(&event, 1, 0).works("KVM_IRQFD")?;
                // All of its files are closed here.
            }
            Ok(())
        };
        let result = rounds();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn set_routing(vm: &Vm, entries: &[IrqRoutingEntry]) -> std::io::Result<()> {
    let mut routing = IrqRouting {
        nr: entries.len() as u32,
        ..Default::default()
    };
    routing.entries[..entries.len()].copy_from_slice(entries);
    ioctl_ref(vm, uapi::SET_GSI_ROUTING(), &routing).map(drop)
}

fn to_pin(gsi: u32, pin: u32) -> IrqRoutingEntry {
    IrqRoutingEntry {
        gsi,
        kind: uapi::IRQ_ROUTING_IRQCHIP,
        pin,
        ..Default::default()
    }
}

fn rerouted() -> Outcome {
    let machine = WithGic::new(&[])?;
    machine.edges()?;
    let (event, other) = (new_event()?, new_event()?);
    machine.irqfd(&event, 700, 0).works("KVM_IRQFD")?;
    machine.irqfd(&other, 3, 0).works("KVM_IRQFD")?;
    let vm = &machine.guest.vm;
    set_routing(vm, &[to_pin(700, 9)]).works("KVM_SET_GSI_ROUTING")?;
    event.write(1).works("write")?;
    ensure(machine.take_pending(9)?, "not where it was sent")?;
    // A GSI that is not in the table goes nowhere.
    other.write(1).works("write")?;
    ensure(!machine.take_pending(3)?, "what has no route arrived")?;
    set_routing(vm, &[to_pin(3, 3), to_pin(700, 10)]).works("KVM_SET_GSI_ROUTING")?;
    event.write(1).works("write")?;
    other.write(1).works("write")?;
    ensure(machine.take_pending(10)?, "not where it was sent then")?;
    ensure(!machine.take_pending(9)?, "still where it was sent first")?;
    ensure(machine.take_pending(3)?, "the other")
}

fn bad_routing() -> Outcome {
    let machine = WithGic::new(&[])?;
    let vm = &machine.guest.vm;
    for (what, entries) in [
        ("a pin too far", vec![to_pin(0, 988)]),
        ("a GSI too far", vec![to_pin(4096, 0)]),
        ("two pins", vec![to_pin(5, 0), to_pin(4, 0), to_pin(5, 1)]),
        (
            "a message and a pin",
            vec![
                IrqRoutingEntry {
                    kind: uapi::IRQ_ROUTING_MSI,
                    ..to_pin(5, 0)
                },
                to_pin(5, 1),
            ],
        ),
        (
            "another interrupt controller",
            vec![IrqRoutingEntry {
                irqchip: 1,
                ..to_pin(0, 0)
            }],
        ),
        (
            "an unknown kind",
            vec![IrqRoutingEntry {
                kind: 77,
                ..to_pin(0, 0)
            }],
        ),
        (
            "a flag",
            vec![IrqRoutingEntry {
                flags: 1,
                ..to_pin(0, 0)
            }],
        ),
        ("two pins for one", vec![to_pin(5, 1), to_pin(5, 2)]),
    ] {
        fails(what, set_routing(vm, &entries), &[libc::EINVAL])?;
    }
    for (what, nr, flags) in [("too many", 4097, 0), ("flags", 0, 1)] {
        let routing = IrqRouting {
            nr,
            flags,
            ..Default::default()
        };
        let result = ioctl_ref(vm, uapi::SET_GSI_ROUTING(), &routing);
        fails(what, result, &[libc::EINVAL])?;
    }
    let result = ioctl(vm, uapi::SET_GSI_ROUTING(), 0);
    fails("address 0", result, &[libc::EFAULT])?;
    set_routing(vm, &[]).works("an empty table")
}

/// The ring is the second page of a vCPU's mapping: first, last, then entries of 24 bytes.
const FIRST: usize = PAGE;
const LAST: usize = PAGE + 4;
const ENTRY: usize = 24;
const ENTRIES: u32 = ((PAGE - 8) / ENTRY) as u32;

fn zone(vm: &Vm, addr: u32, size: u32) -> std::io::Result<()> {
    let zone = CoalescedZone {
        addr: addr.into(),
        size,
        pio: 0,
    };
    ioctl_ref(vm, uapi::REGISTER_COALESCED_MMIO(), &zone).map(drop)
}

fn ring() -> Outcome {
    let guest = Guest::new(&storing(&[
        (PORT, 0x1122_3344, 4),
        (PORT + 4, 0x5566_7788, 2),
        (PORT + 15, 0x99, 1),
        (PORT + 16, 0xaa, 1),
    ]))?;
    zone(&guest.vm, PORT, 16).works("KVM_REGISTER_COALESCED_MMIO")?;
    equal(
        "stores that came out",
        stores_outside(&guest)?,
        vec![(u64::from(PORT) + 16, 0xaa)],
    )?;
    let run = &guest.vcpu.run;
    equal("first", run.word(FIRST), 0)?;
    equal("last", run.word(LAST), 3)?;
    for (n, (address, len, data)) in [
        (PORT, 4, 0x1122_3344),
        (PORT + 4, 2, 0x7788),
        (PORT + 15, 1, 0x99),
    ]
    .into_iter()
    .enumerate()
    {
        let at = PAGE + 8 + n * ENTRY;
        equal(format!("address {n}"), run.word(at), address)?;
        equal(format!("upper address {n}"), run.word(at + 4), 0)?;
        equal(format!("length {n}"), run.word(at + 8), len)?;
        equal(format!("data {n}"), run.word(at + 16), data)?;
    }
    Ok(())
}

/// A guest that stores to the zone for ever.
fn endless() -> Result<Guest, String> {
    let mut program: Vec<u32> = code::load(0, PORT).into();
    // str r0, [r0]; b back to it.
    program.extend([code::str(0, 0), 0xeaff_fffd]);
    let guest = Guest::new(&program)?;
    zone(&guest.vm, PORT, 4).works("KVM_REGISTER_COALESCED_MMIO")?;
    Ok(guest)
}

fn full_ring() -> Outcome {
    let guest = endless()?;
    let run = &guest.vcpu.run;
    guest.run_to(uapi::EXIT_MMIO)?;
    // One place is always free.
    equal("last", run.word(LAST), ENTRIES - 1)?;
    for taken in [1, 10, ENTRIES - 1] {
        run.set_word(FIRST, (run.word(FIRST) + taken) % ENTRIES);
        guest.run_to(uapi::EXIT_MMIO)?;
        equal(
            "last",
            run.word(LAST),
            (run.word(FIRST) + ENTRIES - 1) % ENTRIES,
        )?;
    }
    Ok(())
}

fn hostile_ring() -> Outcome {
    let guest = endless()?;
    let run = &guest.vcpu.run;
    for last in [ENTRIES, ENTRIES + 1, 0x8000_0000, u32::MAX] {
        run.set_word(LAST, last);
        guest.run_to(uapi::EXIT_MMIO)?;
        equal("last", run.word(LAST), last)?;
    }
    run.set_word(LAST, 0);
    run.set_word(FIRST, 1);
    guest.run_to(uapi::EXIT_MMIO)?;
    equal("last", run.word(LAST), 0)
}

fn zones() -> Outcome {
    let guest = Guest::new(&storing(&[(PORT, 1, 4), (PORT + 0x100, 2, 4)]))?;
    let vm = &guest.vm;
    zone(vm, PORT, 4).works("the first")?;
    zone(vm, PORT + 0x100, 0x100).works("the second")?;
    let change = |request, addr: u32, size, pio| {
        let zone = CoalescedZone {
            addr: addr.into(),
            size,
            pio,
        };
        ioctl_ref(vm, request, &zone).map(drop)
    };
    let (add, remove) = (
        uapi::REGISTER_COALESCED_MMIO(),
        uapi::UNREGISTER_COALESCED_MMIO(),
    );
    fails("no such space", change(add, PORT, 4, 2), &[libc::EINVAL])?;
    fails(
        "nor to be taken away",
        change(remove, PORT, 4, 2),
        &[libc::EINVAL],
    )?;
    change(remove, 0x1234, 4, 0).works("what is not there")?;
    // A part names the whole.
    change(remove, PORT + 0x140, 4, 0).works("the second")?;
    equal(
        "stores that came out",
        stores_outside(&guest)?,
        vec![(u64::from(PORT) + 0x100, 2)],
    )?;
    equal("last", guest.vcpu.run.word(LAST), 1)?;
    for request in [add, remove] {
        fails("address 0", ioctl(vm, request, 0), &[libc::EFAULT])?;
    }
    Ok(())
}

fn mappings() -> Outcome {
    let guest = Guest::new(&[])?;
    equal(
        "KVM_GET_VCPU_MMAP_SIZE",
        guest.kvm.vcpu_mmap_size().works("KVM_GET_VCPU_MMAP_SIZE")?,
        2 * PAGE,
    )?;
    let map = |pages: usize, offset: usize| {
        // SAFETY: A new mapping at an address that the kernel chooses, taken away below.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                pages * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                guest.vcpu.as_raw_fd(),
                (offset * PAGE) as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: Mapped above.
        unsafe { libc::munmap(at, pages * PAGE) };
        Ok(())
    };
    for (pages, offset) in [(1, 0), (2, 0), (1, 1)] {
        map(pages, offset).works(format!("{pages} pages at page {offset}"))?;
    }
    for (pages, offset) in [(3, 0), (2, 1), (1, 2), (1, 0x8_0000)] {
        let what = format!("{pages} pages at page {offset}");
        fails(what, map(pages, offset), &[libc::EINVAL])?;
    }
    Ok(())
}

/// DEASSIGN lowers the line that the irqfd had raised, since nobody could lower it any more.
fn lowered() -> Outcome {
    const GICD_ISPENDR1: u64 = 0x204;
    const GSI: u32 = 4;
    let machine = WithGic::new(&[])?;
    let vm = &machine.guest.vm;
    let (event, again) = (new_event()?, new_event()?);
    let mut request = Irqfd {
        fd: event.as_raw_fd() as u32,
        gsi: GSI,
        flags: uapi::IRQFD_RESAMPLE,
        resamplefd: again.as_raw_fd() as u32,
        ..Default::default()
    };
    ioctl_ref(vm, uapi::IRQFD(), &request).works("KVM_IRQFD")?;
    event.write(1).works("write")?;
    let pending = || Ok::<_, String>((machine.gic.distributor(GICD_ISPENDR1)? >> GSI) & 1);
    equal("pending", pending()?, 1)?;
    request.flags = uapi::IRQFD_DEASSIGN;
    ioctl_ref(vm, uapi::IRQFD(), &request).works("DEASSIGN")?;
    equal("pending after DEASSIGN", pending()?, 0)
}

/// The irqfds of eventfds that are closed are gone: many more than a VM can have come and go.
fn many_closed() -> Outcome {
    let machine = WithGic::new(&[])?;
    let vm = &machine.guest.vm;
    for n in 0..5000 {
        let event = new_event()?;
        let request = Irqfd {
            fd: event.as_raw_fd() as u32,
            gsi: n % 32,
            ..Default::default()
        };
        ioctl_ref(vm, uapi::IRQFD(), &request).works(format!("irqfd {n}"))?;
    }
    Ok(())
}

/// After DEASSIGN nobody listens at the eventfd any more, even if another thread binds others at
/// that moment: the eventfd counts its writes, and no line rises.
fn deassigned_beside() -> Outcome {
    /// The list of irqfds is long, so that it takes long to make a longer one.
    const OTHERS: u32 = 900;
    const ROUNDS: u32 = 3000;
    const GSI: u32 = 9;
    let machine = WithGic::new(&[])?;
    let others: Vec<_> = (0..OTHERS).map(|_| new_event()).collect::<Result<_, _>>()?;
    for event in &others {
        machine.irqfd(event, 40, 0).works("an irqfd of many")?;
    }
    let (event, other, again) = (new_event()?, new_event()?, new_event()?);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| -> Outcome {
            while !stop.load(Ordering::Relaxed) {
                machine.irqfd(&other, 41, 0).works("ASSIGN beside")?;
                let gone = machine.irqfd(&other, 41, uapi::IRQFD_DEASSIGN);
                gone.works("DEASSIGN beside")?;
            }
            Ok(())
        });
        let rounds = || -> Outcome {
            for round in 0..ROUNDS {
                let request = Irqfd {
                    fd: event.as_raw_fd() as u32,
                    gsi: GSI,
                    flags: uapi::IRQFD_RESAMPLE,
                    resamplefd: again.as_raw_fd() as u32,
                    ..Default::default()
                };
                ioctl_ref(&machine.guest.vm, uapi::IRQFD(), &request).works("ASSIGN")?;
                let gone = machine.irqfd(&event, GSI, uapi::IRQFD_DEASSIGN);
                gone.works("DEASSIGN")?;
                event.write(1).works("write")?;
                equal(format!("count in round {round}"), count(&event), 1)?;
                let raised = machine.take_pending(GSI)?;
                ensure(!raised, format!("the line is high in round {round}"))?;
            }
            Ok(())
        };
        let result = rounds();
        stop.store(true, Ordering::Relaxed);
        let beside = beside.join().map_err(|_| "the thread beside panicked")?;
        result.and(beside)
    })
}
