// SPDX-License-Identifier: GPL-2.0

//! The interrupts that a guest has ended, for irqfds that hear of it later.

use machine::vgic::FIRST_SPECIAL;

/// Whether the irqfds hear of it when interrupts are on again. With PREEMPT_RT the lock of an
/// eventfd is a mutex, which nobody may take with interrupts off.
pub(super) const SIGNALS_LATER: bool = cfg!(CONFIG_PREEMPT_RT);

/// The SPIs whose handling the guest of a vCPU has ended, a bit for each. Without
/// [`SIGNALS_LATER`] the set is always empty, and takes no memory.
pub(crate) struct Ended([u32; Self::WORDS]);

impl Ended {
    const WORDS: usize = if SIGNALS_LATER {
        FIRST_SPECIAL.div_ceil(u32::BITS) as usize
    } else {
        0
    };
    /// There is none.
    pub(crate) const NONE: Self = Self([0; Self::WORDS]);

    /// Adds one.
    pub(super) fn add(&mut self, intid: u32) {
        if let Some(word) = self.0.get_mut((intid / u32::BITS) as usize) {
            *word |= 1 << (intid % u32::BITS);
        }
    }

    /// Whether there is one.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|&word| word != 0)
    }

    /// Takes one.
    pub(super) fn take(&mut self) -> Option<u32> {
        let (n, word) = (0..).zip(&mut self.0).find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(n * u32::BITS + bit)
    }
}
