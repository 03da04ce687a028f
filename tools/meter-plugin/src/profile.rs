// SPDX-License-Identifier: GPL-2.0

//! How often each instruction was executed between two questions, for `tools/profile`.
//!
//! The plugin's argument `profile=FILE` asks for it. For each question FILE gets a line "=", and behind it a line with
//! address and number for each instruction that was executed since the question before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Mutex;

use crate::qemu::{self, Entry, Scoreboard};

/// More addresses than this are not counted: a host's kernel executes some ten thousand.
const PLACES: usize = 1 << 17;

struct Profile {
    file: BufWriter<File>,
    board: *mut Scoreboard,
    /// The place of each address in the scoreboard.
    places: HashMap<u64, usize>,
    /// Address and number at the last question, by place.
    last: Vec<(u64, u64)>,
}

// SAFETY: The scoreboard is used by way of the emulator's functions alone, which any thread may call.
unsafe impl Send for Profile {}

static PROFILE: Mutex<Option<Profile>> = Mutex::new(None);

/// Counts from now on, into this file.
pub(crate) fn begin(path: &str) -> std::io::Result<()> {
    let profile = Profile {
        file: BufWriter::new(File::create(path)?),
        // SAFETY: The emulator has loaded the plugin.
        board: unsafe { qemu::qemu_plugin_scoreboard_new(PLACES * size_of::<u64>()) },
        places: HashMap::new(),
        last: Vec::new(),
    };
    *PROFILE.lock().unwrap_or_else(|e| e.into_inner()) = Some(profile);
    Ok(())
}

/// The entry to which the instruction at an address adds, if it is counted.
pub(crate) fn entry(address: u64) -> Option<Entry> {
    let mut profile = PROFILE.lock().unwrap_or_else(|e| e.into_inner());
    let profile = profile.as_mut()?;
    let next = profile.places.len();
    let place = match profile.places.get(&address) {
        Some(place) => *place,
        None if next < PLACES => {
            profile.places.insert(address, next);
            profile.last.push((address, 0));
            next
        }
        None => return None,
    };
    Some(Entry {
        board: profile.board,
        offset: place * size_of::<u64>(),
    })
}

/// A program asks: writes what was executed since the last question.
pub(crate) fn question() {
    let mut profile = PROFILE.lock().unwrap_or_else(|e| e.into_inner());
    let Some(profile) = profile.as_mut() else {
        return;
    };
    let mut text = String::from("=\n");
    for (place, (address, last)) in profile.last.iter_mut().enumerate() {
        let entry = Entry {
            board: profile.board,
            offset: place * size_of::<u64>(),
        };
        // SAFETY: An entry of our scoreboard.
        let now = unsafe { qemu::qemu_plugin_u64_sum(entry) };
        if now != *last {
            text += &format!("{address:x} {}\n", now - *last);
            *last = now;
        }
    }
    if profile
        .file
        .write_all(text.as_bytes())
        .and_then(|()| profile.file.flush())
        .is_err()
    {
        crate::say(c"meter: the profile cannot be written\n");
    }
}
