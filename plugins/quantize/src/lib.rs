//! Uniform quantisation, the integer schemes of Jacob et al. (arXiv:1712.05877), deterministic: a tensor's values become the
//! nearest of evenly spaced levels, ties to the even code.
//!
//! | `range` | levels | step |
//! |---|---|---|
//! | `min-max` | min + q·step, q = 0 .. 2^bits − 1 | (max − min)/(2^bits − 1) |
//! | `symmetric` | (q − L)·step, q = 0 .. 2L, L = 2^(bits−1) − 1 | max\|x\|/L |
//!
//! A piece (a tensor): with `min-max` the smallest value as `f32`; the step as `f32`; then the codes q of `bits` bits, packed
//! from the lowest bit of each byte up, unused bits zero. A tensor with step 0 (all values equal, or all zero with
//! `symmetric`) has no codes: it comes back exactly.
//!
//! Order of operations: step = the quotient in f64, rounded to f32 towards zero, so that no level lies beyond the tensor's
//! range; q = the quotient (x − min)/step or x/step in f64, rounded to an integer, ties to even, cut to the levels;
//! decoded = min + q·step or (q − L)·step in f64, rounded once to f32. |error| ≤ step/2 up to these roundings: 2^bits · 2⁻²⁴ of
//! a step at the end of the range. Biased; `qsgd` is unbiased at the same size, and `error-feedback=true` carries over
//! what is lost.
//!
//! Where others differ: PyTorch and TensorFlow Lite move min so that zero is a level (an integer zero point); here only
//! `symmetric` keeps zeros.

use colla_plugin_sdk::bits::{Packer, Unpacker, packed_len};
use colla_plugin_sdk::{
    Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin, math::toward_zero,
};

struct Quantize {
    bits: u32,
    symmetric: bool,
}

/// Where a tensor's levels lie: `base + (q − zero)·step`.
struct Levels {
    base: f64,
    step: f64,
    zero: f64,
    /// The largest q.
    last: u32,
}

impl Plugin for Quantize {
    fn create(parameters: &Parameters) -> Result<Self> {
        let bits = parameters.i64("bits")?;
        match bits {
            2..=16 => Ok(Quantize { bits: bits as u32, symmetric: parameters.choice("range")? == "symmetric" }),
            _ => Err(Error::config(format!("`bits` is {bits}; use 2 to 16"))),
        }
    }
}

impl Quantize {
    /// L.
    fn half_range(&self) -> u32 {
        (1 << (self.bits - 1)) - 1
    }

    fn levels(&self, base: f32, step: f32) -> Levels {
        let (zero, last) = match self.symmetric {
            true => (self.half_range(), 2 * self.half_range()),
            false => (0, (1 << self.bits) - 1),
        };
        Levels { base: base.into(), step: step.into(), zero: zero.into(), last }
    }

    /// Base and step of a tensor, as they travel.
    fn measured(&self, values: &[f32]) -> Result<(f32, f32)> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::numeric("the update is not finite"));
        }
        let Some(&first) = values.first() else { return Ok((0.0, 0.0)) };
        let (min, max) = values.iter().fold((first, first), |(min, max), &value| (min.min(value), max.max(value)));
        let (min, max) = (f64::from(min), f64::from(max));
        Ok(match self.symmetric {
            true => (0.0, toward_zero(max.max(-min) / f64::from(self.half_range()))),
            false => (min as f32, toward_zero((max - min) / f64::from((1u32 << self.bits) - 1))),
        })
    }
}

impl Levels {
    fn code(&self, value: f32) -> u32 {
        let code = ((f64::from(value) - self.base) / self.step).round_ties_even() + self.zero;
        code.clamp(0.0, f64::from(self.last)) as u32
    }

    fn value(&self, code: u32) -> f32 {
        (self.base + (f64::from(code) - self.zero) * self.step) as f32
    }
}

impl Compress for Quantize {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let (base, step) = self.measured(source.values)?;
        if !self.symmetric {
            output.put_f32(base)?;
        }
        output.put_f32(step)?;
        if step == 0.0 {
            return Ok(());
        }
        let levels = self.levels(base, step);
        let mut packer = Packer::new(self.bits, output.reserve(packed_len(source.values.len(), self.bits))?);
        source.values.iter().for_each(|value| packer.put(levels.code(*value)));
        packer.finish();
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let base = if self.symmetric { 0.0 } else { input.take_f32()? };
        let step = input.take_f32()?;
        if !(base.is_finite() && step >= 0.0 && step.is_finite()) {
            return Err(Error::argument(
                "the piece's smallest value is not finite, or its step negative or not finite",
            ));
        }
        if step == 0.0 {
            target.values.fill(base);
            return input.finish();
        }
        let levels = self.levels(base, step);
        if !levels.value(levels.last).is_finite() {
            return Err(Error::argument("the piece's step takes its levels beyond f32"));
        }
        let mut unpacker = Unpacker::new(self.bits, input.take(packed_len(target.values.len(), self.bits))?);
        input.finish()?;
        for value in target.values {
            let code = unpacker.take();
            if code > levels.last {
                return Err(Error::argument(format!("a code is {code}, the largest is {}", levels.last)));
            }
            *value = levels.value(code);
        }
        unpacker.finish()
    }
}

colla_plugin!(Quantize: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(bits: i64, range: &str) -> Testbed<Quantize> {
        Testbed::new(&[("bits", bits.into()), ("range", range.into())])
    }

    fn piece(numbers: &[f32], codes: &[u8]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).chain(codes.iter().copied()).collect()
    }

    #[test]
    fn levels_are_the_hand_computed_ones_and_ties_go_to_the_even_code() {
        // min −1, max 2, step (2 + 1)/3 = 1: levels −1, 0, 1, 2. −0.5 is between 0 and 1, 0.5 between 1 and 2.
        let values = [-1.0, 2.0, -0.5, 0.5, 0.9];
        let encoded = plugin(2, "min-max").encode(&values, 5).unwrap();
        assert_eq!(encoded, [piece(&[-1.0, 1.0], &[0b10_00_11_00, 0b10])]);
        assert_eq!(plugin(2, "min-max").decode(&encoded, &[5]).unwrap(), [-1.0, 2.0, -1.0, 1.0, 1.0]);
        // L = 3, step 6/3 = 2: levels −6 .. 6, codes 0 .. 6.
        let encoded = plugin(3, "symmetric").encode(&[-6.0, 0.0, 3.0, 5.5, 1.0], 5).unwrap();
        // 0, 3, 3 + 2 (1.5 is a tie between 1 and 2), 3 + 3, 3 + 0 (0.5 is one between 0 and 1).
        assert_eq!(encoded, [piece(&[2.0], &[0b0101_1000, 0b0011_1101])]);
        assert_eq!(plugin(3, "symmetric").decode(&encoded, &[5]).unwrap(), [-6.0, 0.0, 4.0, 6.0, 0.0]);
    }

    #[test]
    fn every_error_is_at_most_half_a_step_and_the_ends_are_kept() {
        let update: Vec<f32> = (0..999).map(|i| ((i * 7_919) % 1_013) as f32 * 1e-3 - 0.3).collect();
        let (min, max) = update.iter().fold((0.0f32, 0.0f32), |(min, max), &x| (min.min(x), max.max(x)));
        for bits in 2..=16 {
            for (range, width) in [("min-max", max - min), ("symmetric", 2.0 * max)] {
                let levels = (1u32 << bits) - 1 - u32::from(range == "symmetric");
                let step = f64::from(width) / f64::from(levels);
                let encoded = plugin(bits, range).encode(&update, 999).unwrap();
                let header = if range == "symmetric" { 4 } else { 8 };
                assert_eq!(encoded[0].len(), header + (999 * bits as usize).div_ceil(8));
                let decoded = plugin(bits, range).decode(&encoded, &[999]).unwrap();
                for (got, sent) in decoded.iter().zip(&update) {
                    let off = f64::from((got - sent).abs());
                    assert!(off <= 0.51 * step + 1e-7, "{bits} bits, {range}: {got} for {sent}");
                }
                let largest = decoded.iter().fold(0.0f32, |largest, x| largest.max(*x));
                assert!(largest <= max && largest > max - 2e-6, "{bits} bits, {range}: {largest}");
            }
        }
    }

    #[test]
    fn what_lies_on_levels_is_lossless_and_sent_twice_stays_the_same() {
        let update: Vec<f32> = (0..=255).map(|i| i as f32 - 100.0).collect();
        let encoded = plugin(8, "min-max").encode(&update, 256).unwrap();
        assert_eq!(plugin(8, "min-max").decode(&encoded, &[256]).unwrap(), update);
        let symmetric: Vec<f32> = (-127..=127).map(|i| i as f32 * 0.25).collect();
        let encoded = plugin(8, "symmetric").encode(&symmetric, 255).unwrap();
        assert_eq!(plugin(8, "symmetric").decode(&encoded, &[255]).unwrap(), symmetric);
    }

    #[test]
    fn a_constant_tensor_is_its_numbers_alone() {
        for value in [0.0, 0.1, -3e38, 1e-45] {
            let encoded = plugin(4, "min-max").encode(&[value; 50], 50).unwrap();
            assert_eq!(encoded, [piece(&[value, 0.0], &[])]);
            assert_eq!(plugin(4, "min-max").decode(&encoded, &[50]).unwrap(), [value; 50]);
        }
        assert_eq!(plugin(4, "symmetric").encode(&[0.0; 50], 50).unwrap(), [piece(&[0.0], &[])]);
    }

    #[test]
    fn the_whole_range_of_f32_stays_finite() {
        for range in ["min-max", "symmetric"] {
            for bits in [2, 8, 16] {
                let encoded = plugin(bits, range).encode(&[f32::MAX, -f32::MAX, 0.0], 3).unwrap();
                let decoded = plugin(bits, range).decode(&encoded, &[3]).unwrap();
                assert!(decoded.iter().all(|value| value.is_finite()), "{bits} bits, {range}: {decoded:?}");
            }
        }
    }

    #[test]
    fn hostile_pieces_are_refused_with_their_reason() {
        let check = |range: &str, bytes: Vec<u8>, expected: &str| {
            assert_eq!(plugin(2, range).decode(&[bytes], &[3]).unwrap_err().message, expected);
        };
        let numbers = "the piece's smallest value is not finite, or its step negative or not finite";
        check("min-max", vec![0; 7], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check("min-max", piece(&[f32::NAN, 1.0], &[0]), numbers);
        check("min-max", piece(&[0.0, -1.0], &[0]), numbers);
        check("symmetric", piece(&[f32::INFINITY], &[0]), numbers);
        check("min-max", piece(&[0.0, f32::MAX], &[0]), "the piece's step takes its levels beyond f32");
        check("symmetric", piece(&[1.0], &[]), "the encoded piece ends early: 1 bytes wanted, 0 left");
        check("symmetric", piece(&[1.0], &[0, 0]), "the encoded piece has 1 bytes too many");
        check("symmetric", piece(&[0.0], &[0]), "the encoded piece has 1 bytes too many");
        check("symmetric", piece(&[1.0], &[0b00_11_00]), "a code is 3, the largest is 2");
        check("min-max", piece(&[0.0, 1.0], &[0b0100_0000]), "the frame's unused bits are not zero");
        let error = plugin(8, "min-max").encode(&[f32::NAN], 1).unwrap_err();
        assert_eq!(error.message, "the update is not finite");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
    #[test]
    fn what_is_decoded_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        let values = file.floats("values");
        for case in file.cases("quantize") {
            let mut plugin = plugin(case.i64("bits"), case.str("range"));
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
