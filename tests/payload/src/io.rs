// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of devices, by instructions with a syndrome: the compiler might turn a volatile
//! access into an instruction with write-back, which has none.

use core::arch::asm;

/// Declares a load and a store of one width.
macro_rules! widths {
    ($($read:ident $write:ident $type:ty: $load:literal $store:literal;)*) => {
        $(
            /// Loads from a device, or from memory that is for checks.
            #[inline(always)]
            pub(crate) fn $read(address: usize) -> $type {
                let value: u32;
                // SAFETY: The callers give addresses of devices, or of memory that nothing else
                // is in.
                unsafe {
                    asm!(concat!($load, " {}, [{}]"), out(reg) value, in(reg) address,
                         options(nostack, preserves_flags));
                }
                value as $type
            }

            /// Stores to a device, or to memory that is for checks.
            #[inline(always)]
            pub(crate) fn $write(address: usize, value: $type) {
                // SAFETY: As above.
                unsafe {
                    asm!(concat!($store, " {}, [{}]"), in(reg) value as u32, in(reg) address,
                         options(nostack, preserves_flags));
                }
            }
        )*
    };
}

widths! {
    read write u32: "ldr" "str";
    read_half write_half u16: "ldrh" "strh";
    read_byte write_byte u8: "ldrb" "strb";
    read_signed_half write_signed_half i32: "ldrsh" "strh";
    read_signed_byte write_signed_byte i32: "ldrsb" "strb";
}
