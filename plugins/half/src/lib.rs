//! IEEE 754 binary16: 11 significant bits, magnitudes from 2⁻²⁴ to 65,504. Each value is rounded to the nearest, ties to the
//! even one: a relative error of at most 2⁻¹¹ from 2⁻¹⁴ up, an absolute one of at most 2⁻²⁵ below, where the format has its
//! subnormal numbers. Deterministic, hence biased; what is lost can be kept with `error-feedback=true`.
//!
//! Values beyond 65,504 become ±65,504, the nearest finite number, and not infinities: the server must get finite
//! updates, and with error feedback the rest follows in later rounds. (NumPy and PyTorch give infinities from 65,520 on.)
//!
//! A frame: two bytes a value, little-endian. The receiver refuses codes of infinities and of NaN.

use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};

struct Half;

impl Plugin for Half {
    fn create(_: &Parameters) -> Result<Self> {
        Ok(Half)
    }
}

/// The largest finite binary16, 65,504.
const LARGEST: u16 = 0x7bff;
/// Exponents of infinities and NaN have all five bits.
const EXPONENT: u16 = 0x7c00;
const SIGN: u16 = 0x8000;

impl Compress for Half {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let places = output.reserve(2 * source.values.len())?.as_chunks_mut().0;
        for (index, (place, &value)) in places.iter_mut().zip(source.values).enumerate() {
            if !value.is_finite() {
                return Err(Error::numeric(format!("value {index} of the frame is not finite")));
            }
            *place = to_half(value).to_le_bytes();
        }
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let codes = input.take(2 * target.values.len())?.as_chunks().0;
        input.finish()?;
        for (index, (value, code)) in target.values.iter_mut().zip(codes).enumerate() {
            let code = u16::from_le_bytes(*code);
            if code & EXPONENT == EXPONENT {
                return Err(Error::argument(format!("value {index} of the frame is not finite")));
            }
            *value = from_half(code);
        }
        Ok(())
    }
}

/// The nearest finite binary16 of a finite value, ties to even.
fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & SIGN;
    let magnitude = bits & 0x7fff_ffff;
    // Below 2⁻¹⁴ all numbers are multiples of 2⁻²⁴; above, of 2¹³ units in the last place of f32.
    let rounded = if magnitude < 0x3880_0000 {
        (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even() as u32
    } else {
        // 112 is the difference of the exponents' biases. A carry out of the fraction goes into the exponent, as it should.
        let rebased = magnitude - (112 << 23);
        (rebased + 0xfff + (rebased >> 13 & 1)) >> 13
    };
    sign | rounded.min(u32::from(LARGEST)) as u16
}

/// Exact: every finite binary16 is an f32.
fn from_half(code: u16) -> f32 {
    let magnitude = u32::from(code & !SIGN);
    let value = if magnitude < 0x0400 {
        magnitude as f32 * (1.0 / 16_777_216.0)
    } else {
        f32::from_bits((magnitude << 13) + (112 << 23))
    };
    if code & SIGN == 0 { value } else { -value }
}

colla_plugin!(Half: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors};

    fn through(values: &[f32]) -> Vec<f32> {
        let mut plugin = Testbed::<Half>::new(&[]);
        let encoded = plugin.encode(values, values.len()).unwrap();
        assert_eq!(encoded[0].len(), 2 * values.len());
        plugin.decode(&encoded, &[values.len()]).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        for (value, code) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (6.103_515_6e-5, 0x0400), // 2⁻¹⁴, the smallest normal number
            (5.960_464_5e-8, 0x0001), // 2⁻²⁴, the smallest number
            (0.333_251_95, 0x3555),
        ] {
            assert_eq!((to_half(value), from_half(code)), (code, value), "{value}");
        }
    }

    #[test]
    fn every_half_comes_back_to_the_bit_and_halfway_goes_to_the_even_one() {
        for code in 0..LARGEST {
            let (here, next) = (from_half(code), from_half(code + 1));
            assert_eq!(to_half(here), code);
            assert_eq!(to_half(-here), code | SIGN);
            // Exact in f32, which has 13 bits more.
            let middle = (here + next) / 2.0;
            assert!(here < middle && middle < next);
            assert_eq!(to_half(middle), code + (code & 1), "{middle}");
            assert_eq!((to_half(middle.next_down()), to_half(middle.next_up())), (code, code + 1), "{middle}");
        }
        assert_eq!(to_half(from_half(LARGEST)), LARGEST);
    }

    #[test]
    fn what_is_too_large_becomes_the_largest_and_what_is_too_small_becomes_zero() {
        assert_eq!(through(&[65_519.9, 65_520.0, 1e30, -f32::MAX]), [65_504.0, 65_504.0, 65_504.0, -65_504.0]);
        // Half of the smallest number is a tie, and zero is even.
        assert_eq!(through(&[2.980_232_2e-8, 2.980_233e-8, -1e-45]), [0.0, 5.960_464_5e-8, 0.0]);
    }

    #[test]
    fn errors_stay_within_half_a_unit_in_the_last_place() {
        let values: Vec<f32> = (1..50_000).map(|i| (i as f32 * 0.37).rem_euclid(7.0) * 1e-3 - 3e-3).collect();
        for (value, got) in values.iter().zip(through(&values)) {
            let bound = (value.abs() / 2_048.0).max(2.980_232_2e-8);
            assert!((value - got).abs() <= bound, "{got} for {value}");
        }
    }

    #[test]
    fn hostile_frames_and_updates_that_are_not_finite_are_refused() {
        let refusal = |bytes: &[u8]| Testbed::<Half>::new(&[]).decode(&[bytes.to_vec()], &[2]).unwrap_err().message;
        assert_eq!(refusal(&[0; 3]), "the encoded piece ends early: 4 bytes wanted, 3 left");
        assert_eq!(refusal(&[0; 5]), "the encoded piece has 1 bytes too many");
        for code in [0x7c00u16, 0xfc00, 0x7e01] {
            assert_eq!(refusal(&[&[0, 0], &code.to_le_bytes()[..]].concat()), "value 1 of the frame is not finite");
        }
        let error = Testbed::<Half>::new(&[]).encode(&[0.0, f32::NAN], 2).unwrap_err();
        assert_eq!(error.message, "value 1 of the frame is not finite");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy's `float16` makes of them.
    #[test]
    fn codes_are_those_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        for case in file.cases("half") {
            for (value, code) in case.floats("given").into_iter().zip(case.integers("codes")) {
                assert_eq!(u64::from(to_half(value)), code, "{value}");
            }
        }
    }
}
