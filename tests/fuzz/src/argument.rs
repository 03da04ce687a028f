// SPDX-License-Identifier: GPL-2.0

//! Where the arguments of a call are: in good memory with known bytes around them, or in memory that
//! the kernel cannot read or write.

use std::io;

use crate::layout::{self, map_anonymous, ARGUMENTS, ARGUMENTS_EACH, GUEST, GUEST_SIZE, PAGE};
use crate::random::Random;

/// The byte around arguments.
const CANARY: u8 = 0xa5;
/// So many of them on each side are looked at after each call.
const NEAR: usize = 64;

/// The most bytes of a dirty log: one bit for each page of 32-bit addresses.
const BITMAP: usize = 128 << 10;

/// Memory that can be written, and a page behind it that is not there.
struct Room {
    start: usize,
    size: usize,
}

impl Room {
    fn map(start: usize, size: usize) -> io::Result<Self> {
        map_anonymous(start, size, libc::PROT_READ | libc::PROT_WRITE)?;
        map_anonymous(start + size, PAGE, libc::PROT_NONE)?;
        let room = Self { start, size };
        for offset in 0..size {
            room.set(offset, CANARY);
        }
        Ok(room)
    }

    fn byte(&self, offset: usize) -> u8 {
        assert!(offset < self.size);
        // SAFETY: Within the room, which is mapped for ever.
        unsafe { ((self.start + offset) as *const u8).read_volatile() }
    }

    fn set(&self, offset: usize, byte: u8) {
        assert!(offset < self.size);
        // SAFETY: As above. It is this thread's.
        unsafe { ((self.start + offset) as *mut u8).write_volatile(byte) };
    }
}

/// An argument in memory.
pub(crate) struct Placed {
    /// The address that the kernel gets.
    pub(crate) address: usize,
    /// Where it is in its room, if it is in good memory, all of it or its first bytes.
    offset: Option<usize>,
    input: Vec<u8>,
}

/// A room for one kind of arguments, with its page that can only be read.
pub(crate) struct Place {
    room: Room,
    read_only: usize,
}

impl Place {
    fn map(start: usize, size: usize) -> io::Result<Self> {
        let room = Room::map(start, size)?;
        let read_only = start + size + PAGE;
        map_anonymous(read_only, PAGE, libc::PROT_READ)?;
        map_anonymous(read_only + PAGE, PAGE, libc::PROT_NONE)?;
        Ok(Self { room, read_only })
    }

    /// Puts an argument in good memory.
    pub(crate) fn good(&self, input: Vec<u8>, random: &mut Random) -> Placed {
        let most = self.room.size.saturating_sub(input.len() + 2 * NEAR);
        let unaligned = if random.per_mille(50) { 1 } else { 8 };
        let offset = (NEAR + random.below(most.clamp(1, 1024))) / unaligned * unaligned;
        self.put(offset, input)
    }

    fn put(&self, offset: usize, input: Vec<u8>) -> Placed {
        for (place, byte) in (offset..self.room.size).zip(&input) {
            self.room.set(place, *byte);
        }
        Placed {
            address: self.room.start + offset,
            offset: Some(offset),
            input,
        }
    }

    /// Puts it anywhere. `shared`: also in memory that others write meanwhile.
    pub(crate) fn anywhere(&self, input: Vec<u8>, shared: bool, random: &mut Random) -> Placed {
        match random.below(100) {
            0..12 => self.bad(input, shared, random),
            _ => self.good(input, random),
        }
    }

    /// Puts it where the kernel can read or write it in part, or not at all, or while others do; or just
    /// where it fits.
    pub(crate) fn bad(&self, input: Vec<u8>, shared: bool, random: &mut Random) -> Placed {
        let size = self.room.size;
        let nowhere = |address: usize, input| Placed {
            address,
            offset: None,
            input,
        };
        match random.below(if shared { 12 } else { 10 }) {
            0..2 => {
                let offset = size.saturating_sub(input.len());
                self.put(offset, input)
            }
            2..4 => {
                let missing = 1 + random.below(input.len().max(1));
                let offset = size - input.len().saturating_sub(missing).min(size);
                self.put(offset, input)
            }
            4..6 => {
                self.write_read_only(&input);
                nowhere(self.read_only, input)
            }
            6 => nowhere(0, input),
            7..9 => {
                let last = 0usize.wrapping_sub(1 + random.below(8));
                let all = [layout::KERNEL, 0xffff_0000, 0xbfff_fffc, last];
                nowhere(random.one(&all), input)
            }
            9 => nowhere(layout::UNMAPPED, input),
            _ => {
                let address = GUEST + (random.below(GUEST_SIZE - PAGE) & !7);
                layout::poke(address, &input);
                nowhere(address, input)
            }
        }
    }

    /// Puts the bitmap of a dirty log in good memory. It has room for any log.
    pub(crate) fn good_bitmap(&self) -> Placed {
        self.put(NEAR, Vec::new())
    }

    /// Looks around a bitmap, and empties it.
    pub(crate) fn check_bitmap(&self, placed: &Placed) -> Result<(), String> {
        if placed.offset != Some(NEAR) || !placed.input.is_empty() {
            return self.check(placed, placed.input.len());
        }
        let around = (0..NEAR).chain(NEAR + BITMAP..self.room.size);
        for place in around {
            if self.room.byte(place) != CANARY {
                return Err(format!("the kernel wrote at {place:#x}, past any bitmap"));
            }
        }
        // A log is shorter than a page but for the longest slots.
        for start in (NEAR..NEAR + BITMAP).step_by(PAGE) {
            let mut written = false;
            for place in start..start + PAGE {
                written |= self.room.byte(place) != CANARY;
                self.room.set(place, CANARY);
            }
            if !written {
                break;
            }
        }
        Ok(())
    }

    fn write_read_only(&self, input: &[u8]) {
        let start = self.read_only as *mut libc::c_void;
        // SAFETY: Our own page, which only this thread uses.
        unsafe { libc::mprotect(start, PAGE, libc::PROT_READ | libc::PROT_WRITE) };
        layout::poke(self.read_only, &input[..input.len().min(PAGE)]);
        // SAFETY: As above.
        unsafe { libc::mprotect(start, PAGE, libc::PROT_READ) };
    }

    /// The value at the start of an argument in good memory.
    pub(crate) fn word(&self, placed: &Placed, at: usize) -> Option<u32> {
        let start = placed.offset? + at;
        let mut bytes = [0; 4];
        for (n, byte) in bytes.iter_mut().enumerate() {
            if start + n >= self.room.size {
                return None;
            }
            *byte = self.room.byte(start + n);
        }
        Some(u32::from_le_bytes(bytes))
    }

    /// Looks for bytes that the kernel should not have written: all but the first `written` ones of the
    /// argument. Then all is as it was.
    pub(crate) fn check(&self, placed: &Placed, written: usize) -> Result<(), String> {
        let Some(offset) = placed.offset else {
            return Ok(());
        };
        let end = (offset + placed.input.len()).min(self.room.size);
        let near = offset.saturating_sub(NEAR)..(end + NEAR).min(self.room.size);
        for place in near {
            let input = place
                .checked_sub(offset)
                .and_then(|n| placed.input.get(n).map(|byte| (n, *byte)));
            let found = self.room.byte(place);
            match input {
                Some((n, _)) if n < written => (),
                Some((n, byte)) if found != byte => {
                    return Err(format!(
                        "byte {n} of the argument: {found:#x} instead of {byte:#x}"
                    ))
                }
                None if found != CANARY => {
                    let distance = place as isize - offset as isize;
                    return Err(format!("the kernel wrote {found:#x} at {distance}"));
                }
                _ => (),
            }
            self.room.set(place, CANARY);
        }
        Ok(())
    }

    /// Makes all as it was, without a look. The kernel may have written what belongs to another call.
    pub(crate) fn clear(&self, placed: &Placed) {
        let Some(offset) = placed.offset else { return };
        let end = (offset + placed.input.len() + 4 * NEAR).min(self.room.size);
        for place in offset.saturating_sub(NEAR)..end {
            self.room.set(place, CANARY);
        }
    }

    /// Looks at all of the room, between two calls.
    pub(crate) fn check_all(&self) -> Result<(), String> {
        match (0..self.room.size).find(|place| self.room.byte(*place) != CANARY) {
            Some(place) => Err(format!("the kernel wrote at {place:#x} of the room")),
            None => Ok(()),
        }
    }
}

/// The rooms of one thread.
pub(crate) struct Places {
    pub(crate) argument: Place,
    /// The place of the value to which an argument points.
    pub(crate) value: Place,
    /// The same for a dirty log.
    pub(crate) bitmap: Place,
}

impl Places {
    /// The places of a thread.
    pub(crate) fn map(thread: usize) -> io::Result<Self> {
        let start = ARGUMENTS + thread * ARGUMENTS_EACH;
        Ok(Self {
            argument: Place::map(start, 2 * PAGE)?,
            value: Place::map(start + 0x8000, 2 * PAGE)?,
            bitmap: Place::map(start + 0x1_0000, BITMAP + PAGE)?,
        })
    }

    /// Looks at all of them.
    pub(crate) fn check_all(&self) -> Result<(), String> {
        self.argument.check_all()?;
        self.value.check_all()?;
        self.bitmap.check_all()
    }
}
