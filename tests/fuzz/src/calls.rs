// SPDX-License-Identifier: GPL-2.0

//! All calls of the interface: on which file each belongs, and arguments that fit, nearly fit, or do not.

use std::fmt;
use std::ops::Range;

use kvm::uapi;

use crate::argument::{Placed, Places};
use crate::files::{Files, Kind, EACH};
use crate::layout::{bytes_of, GUEST, GUEST_END, GUEST_SIZE, KERNEL, PAGE, UNMAPPED};
use crate::random::Random;

/// A call.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// The file to which it belongs.
    pub(crate) kind: Kind,
    pub(crate) number: u32,
    /// How often it comes, beside others.
    pub(crate) weight: usize,
    /// Whether it can succeed on such a host.
    pub(crate) succeeds: bool,
    /// Whether it can fail.
    pub(crate) fails: bool,
    pub(crate) make: fn(&mut Maker<'_>) -> Argument,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:?} {}", self.kind, self.name))
    }
}

/// An argument.
pub(crate) enum Argument {
    /// A number, or no argument.
    Number(u32),
    /// A structure, of which the kernel may write so many bytes.
    Memory { placed: Placed, written: usize },
    /// No ioctl but another system call on the file.
    System(System),
}

/// Calls that are no ioctls.
#[derive(Clone, Copy)]
pub(crate) enum System {
    Read { size: usize },
    ReadAt { size: usize, offset: i64 },
    Seek { offset: i64, whence: i32 },
    Map { size: usize, offset: i64 },
}

/// Where the value is to which an argument points.
pub(crate) enum Value {
    None,
    /// The kernel may write so many bytes.
    Some {
        placed: Placed,
        written: usize,
    },
    Bitmap(Placed),
}

/// The means by which arguments are made.
pub(crate) struct Maker<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) places: &'a Places,
    pub(crate) files: &'a Files,
    pub(crate) registers: &'a [u64],
    /// The place of the file among those of its kind.
    pub(crate) place: usize,
    /// The value to which the argument points.
    pub(crate) value: Value,
}

impl Maker<'_> {
    /// Most often one of these numbers, else any.
    fn number(&mut self, of: &[u64]) -> u64 {
        if self.random.per_mille(900) {
            self.random.one(of)
        } else {
            self.random.number()
        }
    }

    fn word(&mut self, of: &[u64]) -> u32 {
        self.number(of) as u32
    }

    /// Most often zero.
    fn zero(&mut self) -> Argument {
        Argument::Number(if self.random.per_mille(960) {
            0
        } else {
            self.random.number() as u32
        })
    }

    /// Changes some bytes, but none of those in `kept`: others would be addresses of this program.
    fn mutate(&mut self, bytes: &mut [u8], kept: Range<usize>) {
        if bytes.is_empty() || !self.random.per_mille(80) {
            return;
        }
        for _ in 0..=self.random.below(3) {
            let at = self.random.below(bytes.len());
            if kept.contains(&at) {
                continue;
            }
            bytes[at] = match self.random.below(4) {
                0 => bytes[at] ^ (1 << self.random.below(8)),
                1 => 0xff,
                2 => 0,
                _ => self.random.word() as u8,
            };
        }
    }

    /// A structure that the kernel only reads.
    fn input<T: Copy>(&mut self, value: &T, kept: Range<usize>) -> Argument {
        let mut bytes = bytes_of(value);
        self.mutate(&mut bytes, kept);
        self.place(bytes, 0, true)
    }

    /// A structure of that size that the kernel writes.
    fn output(&mut self, size: usize) -> Argument {
        let bytes = (0..size).map(|_| self.random.word() as u8).collect();
        self.place(bytes, size, true)
    }

    fn place(&mut self, bytes: Vec<u8>, written: usize, shared: bool) -> Argument {
        let placed = self.places.argument.anywhere(bytes, shared, self.random);
        Argument::Memory { placed, written }
    }

    /// Puts a value somewhere, and gives its address.
    fn point_to(&mut self, bytes: Vec<u8>, written: usize) -> u64 {
        let placed = self.places.value.anywhere(bytes, true, self.random);
        let address = placed.address as u64;
        self.value = Value::Some { placed, written };
        if self.random.per_mille(5) {
            return address | (1 << 32);
        }
        address
    }

    fn bitmap(&mut self) -> u64 {
        let placed = if self.random.per_mille(850) {
            self.places.bitmap.good_bitmap()
        } else {
            let bytes = self.random.long().to_le_bytes().repeat(32);
            self.places.bitmap.bad(bytes, true, self.random)
        };
        let address = placed.address as u64;
        self.value = Value::Bitmap(placed);
        address
    }

    fn event(&mut self) -> i32 {
        self.files.any(Kind::Event, self.random).2
    }

    fn slot(&mut self) -> u32 {
        self.word(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 511])
    }

    fn gpa(&mut self) -> u64 {
        const PLACES: [u64; 12] = [
            0,
            0,
            0x1000,
            0x8000_0000,
            0x8000_0000,
            0x8020_0000,
            0x9000_0000,
            0x3fff_0000,
            0x3ffd_0000,
            0x1000_0000,
            0xff_ffff_f000,
            0xffff_f000,
        ];
        let place = self.number(&PLACES);
        place.wrapping_add(0x1000 * self.number(&[0, 0, 0, 1, 255, 511, 512]))
    }

    fn intid(&mut self) -> u32 {
        self.word(&[
            0, 1, 16, 23, 26, 27, 27, 30, 31, 32, 33, 63, 255, 1019, 1020,
        ])
    }
}

/// A slot must not reach the memory of this program: its guest could write there.
pub(crate) fn keep_off(region: &mut uapi::UserspaceMemoryRegion) {
    let start = region.userspace_addr;
    let end = start.saturating_add(region.memory_size);
    let ours = UNMAPPED as u64..=GUEST_END as u64;
    let is_free = ours.contains(&start) && ours.contains(&end) && start >= GUEST as u64;
    // The kernel refuses these.
    let is_refused = start >= KERNEL as u64 || end > KERNEL as u64;
    if !is_free && !is_refused {
        region.userspace_addr = GUEST as u64 + (start & (GUEST_SIZE as u64 - 1));
        region.memory_size &= (GUEST_SIZE as u64) - 1;
    }
}

/// The emulator has an assertion that fails when a guest executes an instruction that goes on behind the
/// last of the 32-bit addresses (`translator_ld`). So there is no memory in the last page.
fn spare_emulator(region: &mut uapi::UserspaceMemoryRegion) {
    let start = region.guest_phys_addr;
    if (start..start.saturating_add(region.memory_size)).contains(&0xffff_f000) {
        region.guest_phys_addr &= 0x7fff_ffff;
    }
}

fn region(m: &mut Maker<'_>) -> uapi::UserspaceMemoryRegion {
    let size = m.number(&[
        0,
        0,
        0x1000,
        0x2000,
        0x4_0000,
        0x20_0000,
        0x40_0000,
        0x1000_0000,
    ]);
    let offset = m.random.below(GUEST_SIZE) as u64;
    let mask = m.number(&[!0xfff, !0xfff, !0x1f_ffff, !0]);
    let mut region = uapi::UserspaceMemoryRegion {
        slot: m.slot(),
        flags: m.word(&[0, 0, 1, 1, 2, 3, 4]),
        guest_phys_addr: m.gpa(),
        memory_size: size,
        userspace_addr: if m.random.per_mille(970) {
            (GUEST as u64 + offset) & mask
        } else {
            m.random.number()
        },
    };
    keep_off(&mut region);
    spare_emulator(&mut region);
    region
}

fn set_region(m: &mut Maker<'_>) -> Argument {
    let region = region(m);
    let mut bytes = bytes_of(&region);
    // Its addresses and its size stay.
    m.mutate(&mut bytes, 8..32);
    m.place(bytes, 0, false)
}

fn set_region2(m: &mut Maker<'_>) -> Argument {
    let region = uapi::UserspaceMemoryRegion2 {
        region: region(m),
        guest_memfd_offset: m.number(&[0]),
        guest_memfd: m.word(&[0]),
        padding1: m.word(&[0]),
        padding2: [m.number(&[0]); 14],
    };
    let mut bytes = bytes_of(&region);
    m.mutate(&mut bytes, 8..32);
    m.place(bytes, 0, false)
}

/// The slots of which most VMs here log one, number 2.
const LOGGED: [u64; 6] = [0, 1, 2, 2, 2, 3];

fn get_dirty_log(m: &mut Maker<'_>) -> Argument {
    let bitmap = m.bitmap();
    let log = uapi::DirtyLog {
        slot: m.word(&LOGGED),
        padding: m.word(&[0]),
        bitmap,
    };
    m.input(&log, 8..16)
}

fn clear_dirty_log(m: &mut Maker<'_>) -> Argument {
    let bitmap = m.bitmap();
    let log = uapi::ClearDirtyLog {
        slot: m.word(&LOGGED),
        num_pages: m.word(&[0, 1, 64, 128, 512, 1024]),
        first_page: m.number(&[0, 0, 64, 128, 512]),
        bitmap,
    };
    m.input(&log, 16..24)
}

fn enable_cap(m: &mut Maker<'_>) -> Argument {
    let cap = m.word(&[
        uapi::CAP_ARM_NISV_TO_USER.into(),
        uapi::CAP_ARM_SYSTEM_SUSPEND.into(),
        uapi::CAP_HALT_POLL.into(),
        uapi::CAP_MANUAL_DIRTY_LOG_PROTECT2.into(),
    ]);
    let value = uapi::EnableCap {
        cap,
        flags: m.word(&[0]),
        args: [m.number(&[0, 1, 2, 3, 100_000]), 0, 0, m.number(&[0])],
        padding: [0; 64],
    };
    m.input(&value, 0..0)
}

fn irq_level(m: &mut Maker<'_>) -> uapi::IrqLevel {
    let kind = m.word(&[0, 1, 1, 2]);
    let vcpu = m.word(&[0, 0, 1, 2, 3, 4]);
    let number = match kind {
        0 => m.word(&[0, 1, 2]),
        _ => m.intid(),
    };
    uapi::IrqLevel {
        irq: (kind << uapi::IRQ_TYPE_SHIFT) | (vcpu << uapi::IRQ_VCPU_SHIFT) | number,
        level: m.word(&[0, 1]),
    }
}

fn irq_line(m: &mut Maker<'_>) -> Argument {
    let level = irq_level(m);
    m.input(&level, 0..0)
}

fn irq_line_status(m: &mut Maker<'_>) -> Argument {
    // The kernel writes back what it has read.
    let level = irq_level(m);
    m.input(&level, 0..0)
}

fn irqfd(m: &mut Maker<'_>) -> Argument {
    let fd = m.event() as u32;
    let value = uapi::Irqfd {
        fd,
        gsi: m.word(&[0, 1, 2, 3, 31, 987, 988, 4095, 4096]),
        flags: m.word(&[0, 0, 0, 1, 1, 2, 3]),
        resamplefd: m.event() as u32,
        pad: [0; 16],
    };
    m.input(&value, 0..0)
}

fn ioeventfd(m: &mut Maker<'_>) -> Argument {
    let value = uapi::IoEventFd {
        datamatch: m.number(&[0, 1]),
        addr: m.number(&[0x1000_0000, 0x1000_0004, 0x1000_0100]),
        len: m.word(&[0, 1, 2, 4, 4, 8]),
        fd: m.event(),
        flags: m.word(&[0, 0, 1, 2, 4, 4, 5, 6]),
        pad: [0; 9],
    };
    m.input(&value, 0..0)
}

fn routing(m: &mut Maker<'_>) -> Argument {
    let entries = m.random.below(12);
    let value = uapi::IrqRouting {
        nr: m.word(&[entries as u64]),
        flags: m.word(&[0]),
        ..Default::default()
    };
    let mut bytes = bytes_of(&value)[..8].to_vec();
    for n in 0..entries {
        let entry = uapi::IrqRoutingEntry {
            gsi: m.word(&[n as u64, n as u64, 4095]),
            kind: m.word(&[1, 1, 1, 2]),
            flags: m.word(&[0]),
            pad: 0,
            irqchip: m.word(&[0]),
            pin: m.word(&[0, 1, 2, 987, 988]),
            rest: [0; 6],
        };
        bytes.extend(bytes_of(&entry));
    }
    m.mutate(&mut bytes, 0..0);
    m.place(bytes, 0, true)
}

fn zone(m: &mut Maker<'_>) -> Argument {
    let value = uapi::CoalescedZone {
        addr: m.number(&[0x1000_0000, 0x1000_0800, 0x3fff_0000]),
        size: m.word(&[0, 1, 4, 0x100, 0x1000]),
        pio: m.word(&[0, 0, 1]),
    };
    m.input(&value, 0..0)
}

fn create_device(m: &mut Maker<'_>) -> Argument {
    let value = uapi::CreateDevice {
        device_type: m.word(&[4, 5, 5, 7]),
        fd: m.word(&[0]),
        flags: m.word(&[0, 0, 0, 1]),
    };
    let mut bytes = bytes_of(&value);
    m.mutate(&mut bytes, 0..0);
    // The kernel writes the whole structure back.
    m.place(bytes, 12, true)
}

fn device_addr(m: &mut Maker<'_>) -> Argument {
    let kind = m.word(&[0, 1, 2]);
    let value = uapi::ArmDeviceAddr {
        id: m.number(&[kind.into(), kind.into(), (1 << 16) | u64::from(kind)]),
        addr: m.number(&[0x3fff_0000, 0x3ffd_0000, 0x3fff_0000, 0x8000_0000]),
    };
    m.input(&value, 0..0)
}

/// The attributes of a file: groups with their attributes, the sizes of values, and values.
fn attribute(
    m: &mut Maker<'_>,
    of: &[(u32, u64, usize)],
    values: &[u64],
    how: Direction,
) -> Argument {
    let (group, attr, size) = m.random.one(of);
    let chosen = group;
    let group = m.word(&[chosen.into()]);
    // Other groups have values of other sizes.
    let size = if group == chosen { size } else { 8 };
    let offset = if attr == OFFSET {
        let cpu = m.number(&[0, 0, 1, 4]) << uapi::VGIC_CPUID_SHIFT;
        let aligned = m.random.per_mille(950);
        let offset = m.random.below(0x1000) as u64;
        cpu | if aligned { offset & !3 } else { offset }
    } else {
        attr
    };
    let attr = m.number(&[offset]);
    let value = m.number(values).to_le_bytes()[..size].to_vec();
    let addr = m.point_to(value, if how == Direction::Get { 8 } else { 0 });
    let value = uapi::DeviceAttr {
        flags: m.word(&[0, 0, 0, 0, 0, 0, 0, 1]),
        group,
        attr,
        addr,
    };
    // The group stays, with the size of its values.
    let mut bytes = bytes_of(&value);
    m.mutate(&mut bytes, 4..24);
    m.place(bytes, 0, true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Has,
    Get,
    Set,
}

/// Stands for the offset of a register.
const OFFSET: u64 = u64::MAX - 1;

const VGIC: [(u32, u64, usize); 8] = [
    (uapi::VGIC_GRP_ADDR, 0, 8),
    (uapi::VGIC_GRP_ADDR, 1, 8),
    (uapi::VGIC_GRP_DIST_REGS, OFFSET, 4),
    (uapi::VGIC_GRP_DIST_REGS, OFFSET, 4),
    (uapi::VGIC_GRP_DIST_REGS, OFFSET, 4),
    (uapi::VGIC_GRP_CPU_REGS, OFFSET, 4),
    (uapi::VGIC_GRP_NR_IRQS, 0, 4),
    (uapi::VGIC_GRP_CTRL, 0, 4),
];
const VGIC_VALUES: [u64; 8] = [
    0,
    1,
    64,
    256,
    0xffff_ffff,
    0x0101_0101,
    0x3fff_0000,
    0x3ffd_0000,
];

fn vgic_set(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VGIC, &VGIC_VALUES, Direction::Set)
}
fn vgic_get(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VGIC, &VGIC_VALUES, Direction::Get)
}
fn vgic_has(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VGIC, &VGIC_VALUES, Direction::Has)
}

const VFIO: [(u32, u64, usize); 2] = [(1, 1, 4), (1, 2, 4)];

fn vfio_set(m: &mut Maker<'_>) -> Argument {
    let fd = m.files.any_kind(m.random).2 as u32;
    attribute(m, &VFIO, &[fd.into()], Direction::Set)
}
fn vfio_get(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VFIO, &[0], Direction::Get)
}
fn vfio_has(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VFIO, &[0], Direction::Has)
}

const VCPU: [(u32, u64, usize); 4] = [
    (uapi::VCPU_PMU_V3_CTRL, uapi::VCPU_PMU_V3_IRQ, 4),
    (uapi::VCPU_PMU_V3_CTRL, uapi::VCPU_PMU_V3_INIT, 4),
    (uapi::VCPU_TIMER_CTRL, uapi::VCPU_TIMER_IRQ_VTIMER, 4),
    (uapi::VCPU_TIMER_CTRL, uapi::VCPU_TIMER_IRQ_PTIMER, 4),
];
const VCPU_VALUES: [u64; 5] = [23, 27, 30, 31, 40];

fn vcpu_set(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VCPU, &VCPU_VALUES, Direction::Set)
}
fn vcpu_get(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VCPU, &VCPU_VALUES, Direction::Get)
}
fn vcpu_has(m: &mut Maker<'_>) -> Argument {
    attribute(m, &VCPU, &VCPU_VALUES, Direction::Has)
}

fn vcpu_init(m: &mut Maker<'_>) -> Argument {
    let mut features = [0; 7];
    features[0] = m.word(&[0, 2, 2, 2, 3, 10]);
    // Only one of the two cores is there, and most hosts of tests have the first.
    let value = uapi::VcpuInit {
        target: m.word(&[0, 0, 0, 0, 1, 2]),
        features,
    };
    m.input(&value, 0..0)
}

/// An id of a register: one that there is, or nearly one.
fn register(m: &mut Maker<'_>) -> u64 {
    let Some(last) = m.registers.len().checked_sub(1) else {
        return m.random.long();
    };
    let id = m.registers[m.random.below(last + 1)];
    match m.random.below(20) {
        0 => id ^ (1 << m.random.below(64)),
        1 => uapi::core_reg(m.random.below(40) as u64),
        2 => uapi::REG_ARM | uapi::REG_SIZE_U32 | u64::from(m.random.word()),
        _ => id,
    }
}

fn size_of_register(id: u64) -> usize {
    // The field of the size counts doublings.
    1 << ((id & uapi::REG_SIZE_MASK) >> 52)
}

fn get_one_reg(m: &mut Maker<'_>) -> Argument {
    let id = register(m);
    let size = size_of_register(id).min(2048);
    let addr = m.point_to(vec![0; size], size);
    m.input(&uapi::OneReg { id, addr }, 8..16)
}

fn set_one_reg(m: &mut Maker<'_>) -> Argument {
    let id = register(m);
    let size = size_of_register(id).min(2048);
    let mut value = vec![0; size];
    let word = m.number(&[0, 1, 0x8000_0000, 0xffff_ffff, 0x1d3, 0x10]);
    for (to, from) in value.iter_mut().zip(word.to_le_bytes()) {
        *to = from;
    }
    let addr = m.point_to(value, 0);
    m.input(&uapi::OneReg { id, addr }, 8..16)
}

fn reg_list(m: &mut Maker<'_>) -> Argument {
    let len = m.registers.len() as u64;
    let room = m.number(&[0, 1, len - 1, len, len, len + 1, 500]);
    let claimed = room.min(500) as usize;
    let mut bytes = room.to_le_bytes().to_vec();
    bytes.resize(8 + 8 * claimed, 0xa5);
    let written = if room < len { 8 } else { 8 + 8 * len as usize };
    m.place(bytes, written, true)
}

fn signal_mask(m: &mut Maker<'_>) -> Argument {
    if m.random.per_mille(200) {
        return Argument::Number(0);
    }
    // A vCPU that nobody can wake would run for ever, if its guest does.
    let wakes = 1 << (libc::SIGUSR1 - 1);
    let value = uapi::SignalMask {
        len: m.word(&[8, 8, 8, 0, 4, 12]),
        set: [m.random.word() & !wakes, m.random.word()],
    };
    let mut bytes = bytes_of(&value);
    m.mutate(&mut bytes, 4..12);
    m.place(bytes, 0, false)
}

/// `struct kvm_guest_debug`: control, padding, and four arrays of 16 registers, if the caller knows of them.
fn guest_debug(m: &mut Maker<'_>, points: usize) -> Argument {
    const HARDWARE: u64 = 1 << 17;
    let control = m.word(&[
        0,
        1,
        3,
        1 | (1 << 16),
        1 | HARDWARE,
        1 | HARDWARE,
        3 | (1 << 16) | HARDWARE,
    ]);
    let mut bytes = control.to_le_bytes().to_vec();
    bytes.extend(m.word(&[0]).to_le_bytes());
    for n in 0..points {
        // Control registers of points that are on, for all accesses or some, and addresses.
        let value = match n / 16 % 2 {
            0 => m.number(&[0, 0, 0x1e5, 0x1e7, 0x1f5, 0x1ff]),
            _ => m.number(&[0, 0x8000_0000, 0x8000_0010, 0x1000, 0x1000_0000]),
        };
        bytes.extend(value.to_le_bytes());
    }
    m.mutate(&mut bytes, 0..0);
    m.place(bytes, 0, true)
}

fn debug(m: &mut Maker<'_>) -> Argument {
    guest_debug(m, 64)
}
fn debug_without_arch(m: &mut Maker<'_>) -> Argument {
    guest_debug(m, 0)
}

fn set_mp_state(m: &mut Maker<'_>) -> Argument {
    let state = m.word(&[0, 0, 0, 5, 10]);
    m.input(&state, 0..0)
}

fn set_events(m: &mut Maker<'_>) -> Argument {
    let value = uapi::VcpuEvents {
        serror_pending: m.word(&[0, 1]) as u8,
        serror_has_esr: m.word(&[0]) as u8,
        ext_dabt_pending: m.word(&[0, 1]) as u8,
        ..Default::default()
    };
    m.input(&value, 0..0)
}

fn zero(m: &mut Maker<'_>) -> Argument {
    m.zero()
}
fn extension(m: &mut Maker<'_>) -> Argument {
    Argument::Number(m.random.below(260) as u32)
}
fn vcpu_id(m: &mut Maker<'_>) -> Argument {
    let all = [0, 1, 2, 3, 4, 8, (m.place % EACH) as u64];
    Argument::Number(m.word(&all))
}
fn mp_state(m: &mut Maker<'_>) -> Argument {
    m.output(4)
}
fn events(m: &mut Maker<'_>) -> Argument {
    m.output(64)
}
fn preferred_target(m: &mut Maker<'_>) -> Argument {
    m.output(32)
}

fn read_size(m: &mut Maker<'_>) -> usize {
    let size = m.random.one(&[0, 1, 24, 100, 1000, 4000]);
    m.point_to(vec![0xa5; size], size);
    size
}
fn read(m: &mut Maker<'_>) -> Argument {
    let size = read_size(m);
    Argument::System(System::Read { size })
}
fn read_at(m: &mut Maker<'_>) -> Argument {
    let size = read_size(m);
    let offset = m.number(&[0, 1, 24, 48, 1000, 4000]) as i64;
    Argument::System(System::ReadAt { size, offset })
}
fn seek(m: &mut Maker<'_>) -> Argument {
    let whence = m.random.one(&[0, 0, 1, 2, 3]);
    let offset = m.number(&[0, 0, 24, 100]) as i64;
    Argument::System(System::Seek { offset, whence })
}
fn map(m: &mut Maker<'_>) -> Argument {
    let size = m.random.one(&[PAGE, 2 * PAGE, 2 * PAGE, 3 * PAGE]);
    let offset = m.random.one(&[0, 0, 0, PAGE as i64, 2 * PAGE as i64]);
    Argument::System(System::Map { size, offset })
}

const fn call(
    name: &'static str,
    kind: Kind,
    number: u32,
    weight: usize,
    make: fn(&mut Maker<'_>) -> Argument,
) -> Call {
    Call {
        name,
        kind,
        number,
        weight,
        succeeds: true,
        fails: true,
        make,
    }
}

/// The number of an ioctl, by direction, structure's size and number, as `<asm-generic/ioctl.h>` has it.
const fn number(direction: u32, size: usize, number: u32) -> u32 {
    (direction << 30) | ((size as u32) << 16) | (uapi::KVMIO << 8) | number
}
const fn io(n: u32) -> u32 {
    number(0, 0, n)
}
const fn iow<T>(n: u32) -> u32 {
    number(1, size_of::<T>(), n)
}
const fn ior<T>(n: u32) -> u32 {
    number(2, size_of::<T>(), n)
}
const fn iowr<T>(n: u32) -> u32 {
    number(3, size_of::<T>(), n)
}

/// All calls.
pub(crate) const CALLS: &[Call] = &[
    call("GET_API_VERSION", Kind::Kvm, io(0x00), 2, zero),
    call("CREATE_VM", Kind::Kvm, io(0x01), 3, zero),
    Call {
        fails: false,
        ..call("CHECK_EXTENSION", Kind::Kvm, io(0x03), 2, extension)
    },
    call("GET_VCPU_MMAP_SIZE", Kind::Kvm, io(0x04), 2, zero),
    call("CREATE_VCPU", Kind::Vm, io(0x41), 8, vcpu_id),
    call(
        "GET_DIRTY_LOG",
        Kind::Vm,
        iow::<uapi::DirtyLog>(0x42),
        16,
        get_dirty_log,
    ),
    call(
        "CLEAR_DIRTY_LOG",
        Kind::Vm,
        iowr::<uapi::ClearDirtyLog>(0xc0),
        16,
        clear_dirty_log,
    ),
    call(
        "SET_USER_MEMORY_REGION",
        Kind::Vm,
        iow::<uapi::UserspaceMemoryRegion>(0x46),
        16,
        set_region,
    ),
    call(
        "SET_USER_MEMORY_REGION2",
        Kind::Vm,
        iow::<uapi::UserspaceMemoryRegion2>(0x49),
        8,
        set_region2,
    ),
    call("CREATE_IRQCHIP", Kind::Vm, io(0x60), 3, zero),
    call(
        "IRQ_LINE",
        Kind::Vm,
        iow::<uapi::IrqLevel>(0x61),
        20,
        irq_line,
    ),
    call(
        "IRQ_LINE_STATUS",
        Kind::Vm,
        iowr::<uapi::IrqLevel>(0x67),
        8,
        irq_line_status,
    ),
    call(
        "REGISTER_COALESCED_MMIO",
        Kind::Vm,
        iow::<uapi::CoalescedZone>(0x67),
        6,
        zone,
    ),
    call(
        "UNREGISTER_COALESCED_MMIO",
        Kind::Vm,
        iow::<uapi::CoalescedZone>(0x68),
        6,
        zone,
    ),
    call("SET_GSI_ROUTING", Kind::Vm, iow::<u64>(0x6a), 6, routing),
    call("IRQFD", Kind::Vm, iow::<uapi::Irqfd>(0x76), 12, irqfd),
    call(
        "IOEVENTFD",
        Kind::Vm,
        iow::<uapi::IoEventFd>(0x79),
        12,
        ioeventfd,
    ),
    call(
        "ENABLE_CAP",
        Kind::Vm,
        iow::<uapi::EnableCap>(0xa3),
        6,
        enable_cap,
    ),
    call(
        "ARM_SET_DEVICE_ADDR",
        Kind::Vm,
        iow::<uapi::ArmDeviceAddr>(0xab),
        4,
        device_addr,
    ),
    call(
        "ARM_PREFERRED_TARGET",
        Kind::Vm,
        ior::<uapi::VcpuInit>(0xaf),
        4,
        preferred_target,
    ),
    call("GET_STATS_FD", Kind::Vm, io(0xce), 2, zero),
    call(
        "CREATE_DEVICE",
        Kind::Vm,
        iowr::<uapi::CreateDevice>(0xe0),
        6,
        create_device,
    ),
    Call {
        fails: false,
        ..call("CHECK_EXTENSION", Kind::Vm, io(0x03), 3, extension)
    },
    call("RUN", Kind::Vcpu, io(0x80), 24, zero),
    call(
        "SET_SIGNAL_MASK",
        Kind::Vcpu,
        iow::<u32>(0x8b),
        6,
        signal_mask,
    ),
    call("GET_MP_STATE", Kind::Vcpu, ior::<u32>(0x98), 6, mp_state),
    call(
        "SET_MP_STATE",
        Kind::Vcpu,
        iow::<u32>(0x99),
        8,
        set_mp_state,
    ),
    call(
        "SET_GUEST_DEBUG",
        Kind::Vcpu,
        iow::<[u64; 65]>(0x9b),
        8,
        debug,
    ),
    call(
        "SET_GUEST_DEBUG_WITHOUT_ARCH",
        Kind::Vcpu,
        iow::<u64>(0x9b),
        4,
        debug_without_arch,
    ),
    call(
        "GET_VCPU_EVENTS",
        Kind::Vcpu,
        ior::<uapi::VcpuEvents>(0x9f),
        6,
        events,
    ),
    call(
        "SET_VCPU_EVENTS",
        Kind::Vcpu,
        iow::<uapi::VcpuEvents>(0xa0),
        8,
        set_events,
    ),
    call(
        "GET_ONE_REG",
        Kind::Vcpu,
        iow::<uapi::OneReg>(0xab),
        24,
        get_one_reg,
    ),
    call(
        "SET_ONE_REG",
        Kind::Vcpu,
        iow::<uapi::OneReg>(0xac),
        24,
        set_one_reg,
    ),
    call(
        "ARM_VCPU_INIT",
        Kind::Vcpu,
        iow::<uapi::VcpuInit>(0xae),
        10,
        vcpu_init,
    ),
    call("GET_REG_LIST", Kind::Vcpu, iowr::<u64>(0xb0), 6, reg_list),
    call("GET_STATS_FD", Kind::Vcpu, io(0xce), 2, zero),
    call(
        "SET_DEVICE_ATTR",
        Kind::Vcpu,
        iow::<uapi::DeviceAttr>(0xe1),
        8,
        vcpu_set,
    ),
    call(
        "GET_DEVICE_ATTR",
        Kind::Vcpu,
        iow::<uapi::DeviceAttr>(0xe2),
        8,
        vcpu_get,
    ),
    call(
        "HAS_DEVICE_ATTR",
        Kind::Vcpu,
        iow::<uapi::DeviceAttr>(0xe3),
        4,
        vcpu_has,
    ),
    call("mmap", Kind::Vcpu, 0, 4, map),
    call(
        "SET_DEVICE_ATTR",
        Kind::Vgic,
        iow::<uapi::DeviceAttr>(0xe1),
        16,
        vgic_set,
    ),
    call(
        "GET_DEVICE_ATTR",
        Kind::Vgic,
        iow::<uapi::DeviceAttr>(0xe2),
        16,
        vgic_get,
    ),
    call(
        "HAS_DEVICE_ATTR",
        Kind::Vgic,
        iow::<uapi::DeviceAttr>(0xe3),
        4,
        vgic_has,
    ),
    // It takes a file of VFIO, for which the host needs an IOMMU.
    Call {
        succeeds: false,
        ..call(
            "SET_DEVICE_ATTR",
            Kind::Vfio,
            iow::<uapi::DeviceAttr>(0xe1),
            4,
            vfio_set,
        )
    },
    // There is no attribute to read.
    Call {
        succeeds: false,
        ..call(
            "GET_DEVICE_ATTR",
            Kind::Vfio,
            iow::<uapi::DeviceAttr>(0xe2),
            2,
            vfio_get,
        )
    },
    call(
        "HAS_DEVICE_ATTR",
        Kind::Vfio,
        iow::<uapi::DeviceAttr>(0xe3),
        2,
        vfio_has,
    ),
    call("read", Kind::VmStats, 0, 3, read),
    call("pread", Kind::VmStats, 0, 3, read_at),
    call("lseek", Kind::VmStats, 0, 2, seek),
    call("read", Kind::VcpuStats, 0, 3, read),
    call("pread", Kind::VcpuStats, 0, 3, read_at),
    call("lseek", Kind::VcpuStats, 0, 2, seek),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, kind: Kind) -> u32 {
        let is = |call: &&Call| call.name == name && call.kind == kind;
        CALLS.iter().find(is).map_or(0, |call| call.number)
    }

    /// The table has the numbers of the ABI.
    #[test]
    fn numbers() {
        assert_eq!(
            found("SET_USER_MEMORY_REGION", Kind::Vm),
            uapi::SET_USER_MEMORY_REGION() as u32
        );
        assert_eq!(
            found("GET_REG_LIST", Kind::Vcpu),
            uapi::GET_REG_LIST() as u32
        );
        assert_eq!(
            found("CREATE_DEVICE", Kind::Vm),
            uapi::CREATE_DEVICE() as u32
        );
        assert_eq!(
            found("SET_DEVICE_ATTR", Kind::Vgic),
            uapi::SET_DEVICE_ATTR() as u32
        );
        assert_eq!(
            found("ARM_PREFERRED_TARGET", Kind::Vm),
            uapi::ARM_PREFERRED_TARGET() as u32
        );
        assert_eq!(found("RUN", Kind::Vcpu), uapi::RUN() as u32);
    }

    /// The table has all ioctls of the module.
    #[test]
    fn all_of_the_module() {
        let source = include_str!("../../../src/kvm/abi.rs");
        let names = source.lines().filter_map(|line| {
            let (name, _) = line
                .trim()
                .strip_prefix("pub(crate) const ")?
                .split_once(": u32 =")?;
            Some(name)
        });
        let names: Vec<&str> = names.collect();
        assert!(names.len() >= 35, "{names:?}");
        for name in names {
            assert!(
                CALLS.iter().any(|call| call.name == name),
                "{name} is missing"
            );
        }
    }

    /// No slot reaches the program's memory.
    #[test]
    fn slots_keep_off() {
        for start in [
            0,
            0x1_0000,
            0x4800_0000,
            GUEST as u64,
            0x7fff_f000,
            0x9000_0000,
            0xb6f0_0000,
        ] {
            for size in [0u64, 0x1000, 0x1000_0000, 0x4000_0000] {
                let mut region = uapi::UserspaceMemoryRegion {
                    memory_size: size,
                    userspace_addr: start,
                    ..Default::default()
                };
                keep_off(&mut region);
                let end = region.userspace_addr + region.memory_size;
                let inside = region.userspace_addr >= GUEST as u64 && end <= GUEST_END as u64;
                assert!(inside || end > KERNEL as u64, "{start:#x} {size:#x}");
            }
        }
    }
}
