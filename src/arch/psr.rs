// SPDX-License-Identifier: GPL-2.0

//! Program status registers: CPSR and the SPSRs (B1.3.3).

/// The processor modes (B1.3.1), with the value of the M field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// User.
    Usr = 0x10,
    /// FIQ.
    Fiq = 0x11,
    /// IRQ.
    Irq = 0x12,
    /// Supervisor.
    Svc = 0x13,
    /// Monitor, in the Secure state only.
    Mon = 0x16,
    /// Abort.
    Abt = 0x17,
    /// Hyp.
    Hyp = 0x1a,
    /// Undefined.
    Und = 0x1b,
    /// System.
    Sys = 0x1f,
}

impl Mode {
    /// The mode that an M field names.
    #[inline]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & Psr::MODE_MASK {
            0x10 => Self::Usr,
            0x11 => Self::Fiq,
            0x12 => Self::Irq,
            0x13 => Self::Svc,
            0x16 => Self::Mon,
            0x17 => Self::Abt,
            0x1a => Self::Hyp,
            0x1b => Self::Und,
            0x1f => Self::Sys,
            _ => return None,
        })
    }

    /// The M field.
    #[inline]
    pub const fn bits(self) -> u32 {
        self as u32
    }

    /// Whether a guest can be in it: the other modes belong to other worlds.
    #[inline]
    pub const fn is_guest_mode(self) -> bool {
        !matches!(self, Self::Mon | Self::Hyp)
    }
}

/// A program status register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Psr(pub u32);

impl Psr {
    /// M: the mode.
    pub const MODE_MASK: u32 = 0x1f;
    /// T: Thumb, or ThumbEE with J.
    pub const T: u32 = 1 << 5;
    /// F: FIQs are masked.
    pub const F: u32 = 1 << 6;
    /// I: IRQs are masked.
    pub const I: u32 = 1 << 7;
    /// A: asynchronous aborts are masked.
    pub const A: u32 = 1 << 8;
    /// E: data accesses are big-endian.
    pub const E: u32 = 1 << 9;
    /// J: Jazelle, or ThumbEE with T.
    pub const J: u32 = 1 << 24;
    /// Q: saturation or overflow happened.
    pub const Q: u32 = 1 << 27;
    /// V: overflow.
    pub const V: u32 = 1 << 28;
    /// C: carry.
    pub const C: u32 = 1 << 29;
    /// Z: zero.
    pub const Z: u32 = 1 << 30;
    /// N: negative.
    pub const N: u32 = 1 << 31;
    /// `IT[7:2]` and `IT[1:0]`.
    pub const IT_MASK: u32 = 0x3f << 10 | 3 << 25;

    /// The value after reset: Supervisor mode, everything masked (B1.9.1, TakeReset).
    pub const RESET: Self = Self(Mode::Svc as u32 | Self::A | Self::I | Self::F);

    /// The mode, unless the field is reserved.
    #[inline]
    pub const fn mode(self) -> Option<Mode> {
        Mode::from_bits(self.0)
    }

    /// The register with another mode.
    #[inline]
    #[must_use]
    pub const fn with_mode(self, mode: Mode) -> Self {
        Self(self.0 & !Self::MODE_MASK | mode.bits())
    }

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Whether instructions are Thumb ones.
    #[inline]
    pub const fn is_thumb(self) -> bool {
        self.has(Self::T)
    }

    /// Whether data accesses are big-endian.
    #[inline(always)]
    pub const fn is_big_endian(self) -> bool {
        self.has(Self::E)
    }

    /// The register with N, Z, C and V of a word, as MRC to APSR_nzcv has it (A8.8.107).
    #[inline]
    #[must_use]
    pub const fn with_flags(self, value: u32) -> Self {
        let flags = Self::N | Self::Z | Self::C | Self::V;
        Self(self.0 & !flags | value & flags)
    }

    /// ITSTATE (A2.5.2): `IT[7:0]` in one piece.
    #[inline]
    pub const fn it_state(self) -> u8 {
        (self.0 >> 8 & 0xfc | self.0 >> 25 & 3) as u8
    }

    /// The register with another ITSTATE.
    #[inline]
    #[must_use]
    pub const fn with_it_state(self, it: u8) -> Self {
        let it = it as u32;
        Self(self.0 & !Self::IT_MASK | (it & 0xfc) << 8 | (it & 3) << 25)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    #[test]
    fn modes_name_themselves() {
        let known = (0..32).filter_map(Mode::from_bits).count();
        assert_eq!(known, 9);
        for bits in 0..32 {
            if let Some(mode) = Mode::from_bits(bits) {
                assert_eq!(mode.bits(), bits);
            }
        }
        assert!(Psr(0x1d3).mode() == Some(Mode::Svc) && Psr::RESET.0 == 0x1d3);
        assert!(!Mode::Hyp.is_guest_mode() && Mode::Usr.is_guest_mode());
    }

    inputs! {
        fn it_state_round_trip(psr: u32, it: u8) {
            let new = Psr(psr).with_it_state(it);
            prop_assert_eq!(new.it_state(), it);
            prop_assert_eq!(new.0 & !Psr::IT_MASK, psr & !Psr::IT_MASK);
            prop_assert_eq!(Psr(psr).with_it_state(Psr(psr).it_state()), Psr(psr));
        }

        fn flags_leave_the_rest_alone(psr: u32, value: u32) {
            let new = Psr(psr).with_flags(value);
            prop_assert_eq!(new.0 >> 28, value >> 28);
            prop_assert_eq!(new.0 & 0x0fff_ffff, psr & 0x0fff_ffff);
        }

        fn mode_leaves_the_rest_alone(psr: u32) {
            let new = Psr(psr).with_mode(Mode::Und);
            prop_assert_eq!(new.mode(), Some(Mode::Und));
            prop_assert_eq!(new.0 >> 5, psr >> 5);
        }
    }
}
