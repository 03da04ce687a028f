// SPDX-License-Identifier: GPL-2.0

//! A load or store that waits in the vCPU until the monitor has carried it out.

use armv7::insn::Transfer;

use crate::hyp::context::VcpuContext;

/// An access that the monitor is to carry out.
#[derive(Clone, Copy)]
pub(crate) enum PendingMmio {
    /// All of an instruction that came with a syndrome. A load has an end.
    Single(Option<Load>),
    /// One of an instruction that was decoded.
    Part(Transfer),
}

/// How a load ends.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(super) rt: usize,
    pub(super) size: usize,
    pub(super) sign_extend: bool,
    pub(super) big_endian: bool,
}

/// The low `size` bytes of a register in the order of memory, or the other way round, as a number
/// whose least significant byte comes first.
#[inline]
pub(super) fn in_memory_order(value: u32, size: usize, big_endian: bool) -> u32 {
    match size {
        1 => value & 0xff,
        2 if big_endian => u32::from((value as u16).swap_bytes()),
        2 => value & 0xffff,
        _ if big_endian => value.swap_bytes(),
        _ => value,
    }
}

impl Load {
    /// Writes what was read to the register.
    #[inline]
    pub(super) fn finish(self, context: &mut VcpuContext, data: u64) {
        let value = in_memory_order(data as u32, self.size, self.big_endian);
        let value = match (self.sign_extend, self.size) {
            (true, 1) => value as i8 as u32,
            (true, 2) => value as i16 as u32,
            _ => value,
        };
        context.set_reg(self.rt, value);
    }
}
