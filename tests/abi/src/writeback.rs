// SPDX-License-Identifier: GPL-2.0

//! A guest's memory that is a file on a disk: the guest writes while the host writes the file back,
//! again and again. All writes of the guest are on the disk in the end.
//!
//! Each page that is written back is taken from the guest first. One that the host did not hear of
//! as written to again, though it was, would stay in the page cache alone.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{ensure, equal, Works};
use crate::guest::{code, run_passes, slot, Guest, Memory, BASE, HOLE, HUGE, PAGE};

/// The argument that makes this program do that: a path on the disk and seconds follow.
pub(crate) const WRITEBACK: &str = "--writeback";

const PAGES: usize = 256;
const SIZE: usize = PAGES * PAGE;
const DATA: u32 = BASE + HUGE as u32;

/// Writes a number to each page, one higher each time, and tells the monitor of each pass.
fn program() -> Vec<u32> {
    const ADD_R6_1: u32 = 0xe286_6001;
    const ADD_R0_PAGE: u32 = 0xe280_0a01;
    const CMP_R0_R1: u32 = 0xe150_0001;
    const BNE_TO_STORE: u32 = 0x1aff_fffb;
    const B_TO_ADD: u32 = 0xeaff_fff4;
    let mut program = code::load(6, 0).to_vec();
    program.extend(code::load(5, HOLE));
    program.push(ADD_R6_1);
    program.extend(code::load(0, DATA));
    program.extend(code::load(1, DATA + SIZE as u32));
    program.extend([code::str(6, 0), ADD_R0_PAGE, CMP_R0_R1, BNE_TO_STORE]);
    program.extend([code::str(6, 5), B_TO_ADD]);
    program
}

fn run(path: &str, seconds: u64) -> Result<String, String> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .works(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), SIZE as u64), &mut &file).works("write")?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let memory = Memory::map(SIZE, libc::MAP_SHARED, file.as_raw_fd(), protection, 0)?;
    let guest = Guest::new(&program())?;
    guest
        .vm
        .set_user_memory_region(&slot(1, DATA.into(), &memory, SIZE))
        .works("KVM_SET_USER_MEMORY_REGION")?;

    let stop = AtomicBool::new(false);
    let vcpu = &guest.vcpu;
    let (mut synced, passes) = thread::scope(|scope| {
        let runner = scope.spawn(|| run_passes(vcpu, &stop));
        let start = Instant::now();
        let mut synced = Ok(0);
        while start.elapsed() < Duration::from_secs(seconds) && !runner.is_finished() {
            synced = synced.and_then(|n: u32| file.sync_data().works("fdatasync").map(|()| n + 1));
        }
        stop.store(true, Ordering::Relaxed);
        let passes = runner.join().map_err(|_| "the vCPU's thread panicked");
        (synced, passes)
    });
    let passes = passes??;
    synced = synced.and_then(|n| file.sync_all().works("fsync").map(|()| n));
    let synced = synced?;

    // Past the page cache.
    let disk = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .works("open for direct reads")?;
    let read = Memory::new(SIZE)?;
    // SAFETY: The kernel writes to our own mapping. All our accesses to its words are volatile.
    let n = unsafe { libc::pread(disk.as_raw_fd(), read.address() as *mut _, SIZE, 0) };
    equal("bytes read", n, SIZE as isize)?;
    let stale: Vec<_> = (0..PAGES)
        .filter(|page| read.word(page * PAGE) != memory.word(page * PAGE))
        .map(|page| (page, read.word(page * PAGE), memory.word(page * PAGE)))
        .collect();
    ensure(
        stale.is_empty(),
        format!(
            "{} pages are not on the disk as the guest left them (page, disk, memory): {:?}",
            stale.len(),
            &stale[..stale.len().min(10)]
        ),
    )?;
    Ok(format!("{passes} passes, written back {synced} times"))
}

pub(crate) fn main(path: &str, seconds: &str) -> ExitCode {
    let Ok(seconds) = seconds.parse() else {
        eprintln!("abi {WRITEBACK} FILE SECONDS: the memory of a guest is FILE, on a disk");
        return ExitCode::FAILURE;
    };
    match run(path, seconds) {
        Ok(counts) => {
            println!("{counts}: the disk has it all");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("not ok: {why}");
            ExitCode::FAILURE
        }
    }
}
