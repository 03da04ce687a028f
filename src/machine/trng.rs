// SPDX-License-Identifier: GPL-2.0

//! True Random Number Generator firmware interface (DEN 0098), 1.0.
//!
//! The function for 192 bits at a time, RND64, is one of the 64-bit convention and
//! does not exist for a 32-bit guest.

use crate::smccc::{
    Call,
    SmcccOutcome, //
};

/// TRNG_VERSION.
pub const FN_VERSION: u32 = 0x8400_0050;
/// TRNG_FEATURES.
pub const FN_FEATURES: u32 = 0x8400_0051;
/// TRNG_GET_UUID.
pub const FN_GET_UUID: u32 = 0x8400_0052;
/// TRNG_RND32.
pub const FN_RND32: u32 = 0x8400_0053;

/// The values that calls return in R0.
pub const SUCCESS: u32 = 0;
/// The function does not exist.
pub const NOT_SUPPORTED: u32 = -1i32 as u32;
/// An argument is wrong.
pub const INVALID_PARAMETERS: u32 = -2i32 as u32;
/// There is not enough entropy yet; the guest may try again.
pub const NO_ENTROPY: u32 = -3i32 as u32;

/// 1.0.
const VERSION_1_0: u32 = 0x0001_0000;

/// The UUID of KVM's generator, 0d21e000-4384-11eb-8070-5244554e5a4c, as registers hold it.
pub const UUID: [u32; 4] = [0x00e0_210d, 0xeb11_8443, 0x4452_7080, 0x4c5a_4e55];

/// The most bits that a call can have: they fit into R1 to R3.
const MAX_BITS: u32 = 96;

/// How many random bits a call asked for: 1 to [`MAX_BITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(u32);

impl Bits {
    /// Checks a number from a guest (DEN 0098 2.5).
    const fn new(bits: u32) -> Option<Self> {
        if bits == 0 || bits > MAX_BITS {
            None
        } else {
            Some(Self(bits))
        }
    }
}

/// Whether a function identifier is of this interface.
pub const fn is_function(id: u32) -> bool {
    matches!(id, FN_VERSION | FN_FEATURES | FN_GET_UUID | FN_RND32)
}

/// Works out the result of a call of such a function.
pub(crate) fn call(call: &Call) -> SmcccOutcome {
    let r0 = match call.function {
        FN_VERSION => VERSION_1_0,
        FN_FEATURES if is_function(call.args[0]) => SUCCESS,
        FN_GET_UUID => return SmcccOutcome::Return(UUID),
        FN_RND32 => match Bits::new(call.args[0]) {
            Some(bits) => return SmcccOutcome::Random(bits),
            None => INVALID_PARAMETERS,
        },
        _ => NOT_SUPPORTED,
    };
    SmcccOutcome::Return([r0, 0, 0, 0])
}

/// The result of TRNG_RND32, given random words: the low bits in R3, zeros above those that were
/// asked for.
pub fn result(bits: Bits, random: [u32; 3]) -> [u32; 4] {
    let word = |index: u32, value: u32| {
        // How many bits of the word that has bits 32 * index and up were asked for.
        let wanted = bits.0.saturating_sub(index.saturating_mul(32)).min(32);
        value
            & u32::MAX
                .checked_shr(32u32.wrapping_sub(wanted))
                .unwrap_or(0)
    };
    let [low, middle, high] = random;
    [SUCCESS, word(2, high), word(1, middle), word(0, low)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    fn ask(function: u32, arg: u32) -> SmcccOutcome {
        let args = [arg, 0, 0];
        call(&Call { function, args })
    }

    fn value(r0: u32) -> SmcccOutcome {
        SmcccOutcome::Return([r0, 0, 0, 0])
    }

    #[test]
    fn what_exists() {
        assert_eq!(ask(FN_VERSION, 0), value(0x1_0000));
        for function in FN_VERSION..=FN_RND32 {
            assert_eq!(ask(FN_FEATURES, function), value(SUCCESS));
        }
        // RND64, PSCI, the next one.
        for function in [0xc400_0053, 0x8400_0000, FN_RND32 + 1, 0] {
            assert_eq!(ask(FN_FEATURES, function), value(NOT_SUPPORTED));
            assert!(!is_function(function));
        }
        let SmcccOutcome::Return(uuid) = ask(FN_GET_UUID, 0) else {
            panic!("no UUID")
        };
        let bytes: std::vec::Vec<u8> = uuid.iter().flat_map(|r| r.to_le_bytes()).collect();
        let expected = 0x0d21_e000_4384_11eb_8070_5244_554e_5a4cu128;
        assert_eq!(bytes, expected.to_be_bytes());
        // R0 of the UUID must not look like an error.
        assert!(uuid[0] as i32 >= 0);
    }

    #[test]
    fn numbers_of_bits() {
        for bits in [0, 97, 192, 1 << 31, u32::MAX] {
            assert_eq!(ask(FN_RND32, bits), value(INVALID_PARAMETERS));
        }
        for bits in [1, 32, 33, 96] {
            assert_eq!(ask(FN_RND32, bits), SmcccOutcome::Random(Bits(bits)));
        }
        let all = [u32::MAX; 3];
        assert_eq!(result(Bits(1), all), [0, 0, 0, 1]);
        assert_eq!(result(Bits(32), all), [0, 0, 0, u32::MAX]);
        assert_eq!(result(Bits(33), all), [0, 0, 1, u32::MAX]);
        assert_eq!(result(Bits(64), all), [0, 0, u32::MAX, u32::MAX]);
        assert_eq!(
            result(Bits(95), all),
            [0, u32::MAX >> 1, u32::MAX, u32::MAX]
        );
        assert_eq!(result(Bits(96), all), [0, u32::MAX, u32::MAX, u32::MAX]);
    }

    inputs! {
        fn as_many_bits_as_asked_for(bits in 1u32..=96, random: [u32; 3]) {
            let all = |[low, middle, high]: [u32; 3]| {
                u128::from(high) << 64 | u128::from(middle) << 32 | u128::from(low)
            };
            let [status, high, middle, low] = result(Bits(bits), random);
            prop_assert_eq!(status, SUCCESS);
            prop_assert_eq!(all([low, middle, high]), all(random) & ((1 << bits) - 1));
        }
    }
}
