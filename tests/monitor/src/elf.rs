// SPDX-License-Identifier: GPL-2.0

//! Programs for the bare machine: ELF files that say where they want to be.
//!
//! The rust-vmm crate for this, linux-loader, knows 64-bit machines alone.

use crate::error::{Error, Result};

const IDENT: &[u8] = b"\x7fELF\x01\x01\x01";
const EXECUTABLE: u16 = 2;
const ARM: u16 = 40;
const LOAD: u32 = 1;

/// A piece of a program and its address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub address: u32,
    pub data: &'a [u8],
}

/// A program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program<'a> {
    pub entry: u32,
    pub segments: Vec<Segment<'a>>,
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn parse_parts(data: &[u8]) -> Option<Program<'_>> {
    if !data.starts_with(IDENT) || half(data, 16)? != EXECUTABLE || half(data, 18)? != ARM {
        return None;
    }
    let headers = word(data, 28)? as usize;
    let size = half(data, 42)? as usize;
    let mut segments = Vec::new();
    for index in 0..half(data, 44)? as usize {
        let header = data.get(headers.checked_add(index * size)?..)?;
        if word(header, 0)? != LOAD {
            continue;
        }
        let offset = word(header, 4)? as usize;
        let end = offset.checked_add(word(header, 16)? as usize)?;
        segments.push(Segment {
            address: word(header, 12)?,
            data: data.get(offset..end)?,
        });
    }
    Some(Program {
        entry: word(data, 24)?,
        segments,
    })
}

/// Understands a program.
pub(crate) fn parse(data: &[u8]) -> Result<Program<'_>> {
    parse_parts(data).ok_or_else(|| Error::new("not a program for 32-bit Arm (a static ELF file)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = vec![0; 52 + 32];
        file[..7].copy_from_slice(IDENT);
        let mut put = |at: usize, value: u32| {
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(16, (40 << 16) | 2);
        put(24, 0x8000_0004);
        put(28, 52);
        put(42, (1 << 16) | 32);
        put(52, LOAD);
        put(56, 84);
        put(64, 0x8000_0000);
        put(68, 3);
        file.extend(b"abc");
        file
    }

    #[test]
    fn a_program() {
        let file = file();
        let program = parse(&file).unwrap();
        assert_eq!(program.entry, 0x8000_0004);
        let segment = Segment {
            address: 0x8000_0000,
            data: b"abc",
        };
        assert_eq!(program.segments, [segment]);
    }

    #[test]
    fn any_cut_is_refused() {
        let file = file();
        for len in 0..file.len() {
            assert!(parse(&file[..len]).is_err(), "{len}");
        }
    }
}
