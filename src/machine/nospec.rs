// SPDX-License-Identifier: GPL-2.0

//! Indexes that a guest chooses, where the CPU speculates (Spectre variant 1).
//!
//! A bounds check is a branch. The CPU may go on behind it with an index that does not pass the
//! check, and leave traces of the data there in its caches. So the index is worked out anew behind
//! the check, in a way that the CPU cannot predict.

use core::hint::black_box;

/// The index, if it is below `len`, else zero. Neither is above `isize::MAX`.
#[inline(always)]
pub fn index(index: usize, len: usize) -> usize {
    // Without this, the compiler would conclude from the check that there is nothing to be done.
    let index = black_box(index);
    // The sign of the difference, in all bits.
    let below = index.wrapping_sub(len) as isize >> (isize::BITS - 1);
    index & below as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    #[test]
    fn ends() {
        assert_eq!(index(0, 0), 0);
        assert_eq!(index(6, 7), 6);
        assert_eq!(index(7, 7), 0);
        assert_eq!(index(isize::MAX as usize, 7), 0);
        assert_eq!(index(7, isize::MAX as usize), 7);
    }

    inputs! {
        fn what_is_inside_stays(i in 0usize..2000, len in 0usize..2000) {
            prop_assert_eq!(index(i, len), if i < len { i } else { 0 });
        }
    }
}
