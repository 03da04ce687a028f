// SPDX-License-Identifier: GPL-2.0

//! The memory of a process that calls KVM. All of it is at fixed addresses, so that a seed means the
//! same calls each time, and so that no random slot reaches the program's own memory.

use std::io;
use std::ptr;

pub(crate) const PAGE: usize = 4096;

/// The most threads that call at once.
pub(crate) const THREADS: usize = 8;

/// The memory of guests.
pub(crate) const GUEST: usize = 0x5000_0000;
pub(crate) const GUEST_SIZE: usize = 16 << 20;
/// Slots may reach up to here: nothing else is mapped between [`ARGUMENTS`] and this.
pub(crate) const GUEST_END: usize = 0x8000_0000;

/// The arguments of each thread.
pub(crate) const ARGUMENTS: usize = 0x4800_0000;
pub(crate) const ARGUMENTS_EACH: usize = 0x8_0000;

/// The pages that vCPUs share with this process, two for each place of a vCPU.
pub(crate) const RUN_PAGES: usize = 0x4900_0000;
pub(crate) const RUN_SIZE: usize = 2 * PAGE;

/// No process has memory here.
pub(crate) const KERNEL: usize = 0xc000_0000;
/// Nothing is mapped here.
pub(crate) const UNMAPPED: usize = 0x4780_0000;

/// Maps memory at a fixed address, in the place of what is there.
pub(crate) fn map(
    address: usize,
    size: usize,
    protection: i32,
    flags: i32,
    fd: i32,
) -> io::Result<()> {
    assert!((UNMAPPED..GUEST_END).contains(&address) && size <= GUEST_END - address);
    // SAFETY: These addresses are nobody else's, by the layout above. Whoever reads or writes there
    // does it by volatile accesses or by system calls.
    let result = unsafe {
        let flags = flags | libc::MAP_FIXED;
        libc::mmap(address as *mut _, size, protection, flags, fd, 0)
    };
    if result == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Maps anonymous memory at a fixed address.
pub(crate) fn map_anonymous(address: usize, size: usize, protection: i32) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    map(address, size, protection, flags, -1)
}

/// Writes to memory of this process that may not be there. Says whether all bytes are.
pub(crate) fn poke(address: usize, bytes: &[u8]) -> bool {
    let from = libc::iovec {
        iov_base: bytes.as_ptr() as *mut _,
        iov_len: bytes.len(),
    };
    let to = libc::iovec {
        iov_base: address as *mut _,
        iov_len: bytes.len(),
    };
    assert!(address >= UNMAPPED && address + bytes.len() <= GUEST_END);
    // SAFETY: The kernel checks the addresses, and those of the target are nobody's but ours.
    let written = unsafe { libc::process_vm_writev(libc::getpid(), &from, 1, &to, 1, 0) };
    usize::try_from(written) == Ok(bytes.len())
}

/// The bytes of a structure of the ABI.
pub(crate) fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<T>()];
    // SAFETY: The structures of the ABI consist of integers and have no gaps.
    unsafe {
        ptr::copy_nonoverlapping(
            ptr::from_ref(value).cast::<u8>(),
            bytes.as_mut_ptr(),
            bytes.len(),
        )
    };
    bytes
}
