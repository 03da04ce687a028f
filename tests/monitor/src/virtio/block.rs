// SPDX-License-Identifier: GPL-2.0

//! A disk whose contents are a file (virtio 1.2, section 5.2).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{ByteValued, GuestMemoryMmap};

use super::VirtioDevice;
use crate::error::{Context, Result};

const SECTOR: u64 = 512;
/// The size of a transfer between file and guest.
const CHUNK: usize = 64 << 10;
/// The serial number of the disk, as the driver shows it.
const SERIAL: &[u8; 20] = b"kvm_arm-monitor\0\0\0\0\0";

/// The head of a request.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

// SAFETY: Integers without padding.
unsafe impl ByteValued for Header {}

/// A disk.
pub(crate) struct Disk {
    file: File,
    sectors: u64,
    read_only: bool,
}

impl Disk {
    /// Opens the file behind a disk, for reading alone if it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let writable = OpenOptions::new().read(true).write(true).open(path);
        let (file, read_only) = match writable {
            Ok(file) => (file, false),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                let file = File::open(path);
                (
                    file.context(format!("cannot open {}", path.display()))?,
                    true,
                )
            }
            Err(e) => Err(e).context(format!("cannot open {}", path.display()))?,
        };
        Self::new(file, read_only).context(format!("cannot use {}", path.display()))
    }

    fn new(mut file: File, read_only: bool) -> io::Result<Self> {
        let sectors = file.seek(SeekFrom::End(0))? / SECTOR;
        Ok(Self {
            file,
            sectors,
            read_only,
        })
    }

    /// Moves the file to where a request of `len` bytes at `sector` begins.
    fn seek(&mut self, sector: u64, len: usize) -> io::Result<()> {
        let start = sector.checked_mul(SECTOR);
        let end = start.and_then(|start| start.checked_add(len as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.sectors * SECTOR => {
                self.file.seek(SeekFrom::Start(start)).map(|_| ())
            }
            _ => Err(io::Error::from(ErrorKind::InvalidInput)),
        }
    }

    /// Serves one request, and gives the number of bytes written for the driver.
    fn serve(
        &mut self,
        chain: DescriptorChain<&GuestMemoryMmap>,
        memory: &GuestMemoryMmap,
    ) -> io::Result<u32> {
        let invalid = |_| io::Error::from(ErrorKind::InvalidData);
        let mut reader = chain.clone().reader(memory).map_err(invalid)?;
        let mut writer = chain.writer(memory).map_err(invalid)?;
        let header: Header = reader.read_obj()?;
        // The last byte that the device writes is the status.
        let data_len = writer
            .available_bytes()
            .checked_sub(1)
            .ok_or(ErrorKind::InvalidData)?;
        let mut status = writer.split_at(data_len).map_err(invalid)?;
        let mut chunk = vec![0; CHUNK];
        let result = match header.kind {
            VIRTIO_BLK_T_IN => self.seek(header.sector, data_len).and_then(|()| {
                let mut left = data_len;
                while left > 0 {
                    let part = &mut chunk[..left.min(CHUNK)];
                    self.file.read_exact(part)?;
                    writer.write_all(part)?;
                    left -= part.len();
                }
                Ok(VIRTIO_BLK_S_OK)
            }),
            VIRTIO_BLK_T_OUT if self.read_only => Ok(VIRTIO_BLK_S_IOERR),
            VIRTIO_BLK_T_OUT => {
                let mut left = reader.available_bytes();
                self.seek(header.sector, left).and_then(|()| {
                    while left > 0 {
                        let part = &mut chunk[..left.min(CHUNK)];
                        reader.read_exact(part)?;
                        self.file.write_all(part)?;
                        left -= part.len();
                    }
                    Ok(VIRTIO_BLK_S_OK)
                })
            }
            VIRTIO_BLK_T_FLUSH => self.file.sync_data().map(|()| VIRTIO_BLK_S_OK),
            VIRTIO_BLK_T_GET_ID => writer
                .write_all(&SERIAL[..data_len.min(SERIAL.len())])
                .map(|()| VIRTIO_BLK_S_OK),
            _ => Ok(VIRTIO_BLK_S_UNSUPP),
        };
        status.write_all(&[result.unwrap_or(VIRTIO_BLK_S_IOERR) as u8])?;
        Ok((writer.bytes_written() + status.bytes_written()) as u32)
    }
}

impl VirtioDevice for Disk {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        (1 << VIRTIO_BLK_F_FLUSH) | (u64::from(self.read_only) << VIRTIO_BLK_F_RO)
    }

    fn queues(&self) -> &'static [u16] {
        &[256]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // The capacity in sectors; none of the other fields is offered.
        let config = self.sectors.to_le_bytes();
        for (index, byte) in data.iter_mut().enumerate() {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            *byte = config.get(at.saturating_add(index)).copied().unwrap_or(0);
        }
    }

    fn process(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> bool {
        let mut tell = false;
        while let Some(chain) = queue.pop_descriptor_chain(memory) {
            let head = chain.head_index();
            // A chain that is no request is returned with nothing written.
            let written = self.serve(chain, memory).unwrap_or(0);
            if queue.add_used(memory, head, written).is_err() {
                break;
            }
            tell |= queue.needs_notification(memory).unwrap_or(true);
        }
        tell
    }
}
