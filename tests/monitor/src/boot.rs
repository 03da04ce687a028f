// SPDX-License-Identifier: GPL-2.0

//! The boot protocol of 32-bit Arm Linux: the places of kernel, RAM disk and device tree, and the
//! registers of the first CPU (Documentation/arch/arm/booting.rst).

use std::path::Path;

use crate::error::{Error, Result};
use crate::layout;
use crate::memory::{read_file, Memory};

/// Where a zImage says that it is one, and the number that says so.
const ZIMAGE_MAGIC_OFFSET: usize = 0x24;
const ZIMAGE_MAGIC: u32 = 0x016f_2818;

/// Where things were put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub kernel: u64,
    pub fdt: u64,
    pub initrd: Option<std::ops::Range<u64>>,
}

fn check_zimage(data: &[u8], path: &Path) -> Result<()> {
    let word = data.get(ZIMAGE_MAGIC_OFFSET..ZIMAGE_MAGIC_OFFSET + 4);
    if word == Some(&ZIMAGE_MAGIC.to_le_bytes()[..]) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} is not a zImage for 32-bit Arm (Debian's is /boot/vmlinuz-*-armmp-lpae)",
        path.display()
    )))
}

/// Says where things go: the device tree at the end of the part of memory that every kernel has in
/// its linear map, the RAM disk below it.
fn place(ram_size: u64, kernel_size: u64, initrd_size: Option<u64>) -> Result<Placement> {
    let end = layout::RAM_BASE + ram_size.min(layout::BOOT_DATA_LIMIT);
    let kernel = layout::RAM_BASE + layout::KERNEL_OFFSET;
    let fdt = (end - layout::FDT_MAX_SIZE) & !((2 << 20) - 1);
    let too_small = || {
        Error::new(format!(
            "kernel and initial RAM disk do not fit into {} MiB of memory (try a larger --mem)",
            ram_size >> 20
        ))
    };
    let initrd = match initrd_size {
        Some(size) => {
            let start = fdt.checked_sub(size).ok_or_else(too_small)? & !0xfff;
            Some(start..start + size)
        }
        None => None,
    };
    // A zImage unpacks to about three times its size, below the RAM disk and the device tree.
    let lowest = initrd.as_ref().map_or(fdt, |range| range.start);
    if kernel + kernel_size * 4 > lowest {
        return Err(too_small());
    }
    Ok(Placement {
        kernel,
        fdt,
        initrd,
    })
}

/// Puts kernel and initial RAM disk into the guest's memory. The device tree is the caller's.
pub(crate) fn load(memory: &Memory, kernel: &Path, initrd: Option<&Path>) -> Result<Placement> {
    let image = read_file(kernel)?;
    check_zimage(&image, kernel)?;
    let initrd = initrd.map(read_file).transpose()?;
    let placement = place(
        memory.size(),
        image.len() as u64,
        initrd.as_ref().map(|data| data.len() as u64),
    )?;
    memory.write(placement.kernel, &image)?;
    if let (Some(data), Some(range)) = (initrd, &placement.initrd) {
        memory.write(range.start, &data)?;
    }
    Ok(placement)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn nothing_overlaps() {
        for ram in [64, 128, 200, 256, 1024] {
            let p = place(ram * MIB, 5 * MIB, Some(8 * MIB + 5)).unwrap();
            let initrd = p.initrd.unwrap();
            assert!(initrd.end <= p.fdt);
            assert!(p.fdt + layout::FDT_MAX_SIZE <= layout::RAM_BASE + ram * MIB);
            assert!(p.kernel + 20 * MIB <= initrd.start);
            assert_eq!(initrd.start % 4096, 0);
        }
    }

    #[test]
    fn too_much_is_refused() {
        assert!(place(16 * MIB, 5 * MIB, Some(8 * MIB)).is_err());
        assert!(place(64 * MIB, 5 * MIB, Some(u64::MAX / 2)).is_err());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(check_zimage(b"\x7fELF", Path::new("x")).is_err());
        let mut image = vec![0; 64];
        image[0x24..0x28].copy_from_slice(&ZIMAGE_MAGIC.to_le_bytes());
        assert!(check_zimage(&image, Path::new("x")).is_ok());
    }
}
