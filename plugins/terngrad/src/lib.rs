//! TernGrad (Wen et al., arXiv:1705.07878): xᵢ becomes s·sgn(xᵢ)·bᵢ with s the largest magnitude of its tensor and bᵢ = 1 with
//! probability |xᵢ|/s, else 0. The expectation is the update, and the variance Σ |xᵢ|·(s − |xᵢ|) (equation 3 and section 4.2:
//! one s for each layer, here each tensor). Before it, values can be cut to `clip` standard deviations of the tensor
//! (the paper's gradient clipping, c = 2.5; σ = √(mean x² − (mean x)²)), which trades a bias for a smaller s.
//!
//! A piece (a tensor): s as `f32`, then five values a byte: Σ dᵢ·3ⁱ for i = 0..4, with d = 0 for zero, 1 for s, 2 for −s, and
//! zeros behind the last value. That is 1.6 bits a value, where log₂ 3 = 1.585. A tensor of zeros is s alone.
//!
//! bᵢ is `u < |xᵢ|/s`, the quotient in f32, with u the number of the client's uniform stream 0 at the value's index in the
//! update. Since u is a multiple of 2⁻²⁴, the bias of a value is at most s·2⁻²³, towards larger magnitudes. Moments are
//! sums in f64 in index order.
//!
//! Departure: the paper's workers share one s, the largest of all (section 4.2), to sum without decoding. Clients here upload
//! once and do not know each other's.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};

struct TernGrad {
    /// c; 0 means no clipping.
    clip: f64,
}

/// The plugin's only random stream.
const ROUNDING: u16 = 0;
/// Digits in a byte: 3⁵ = 243.
const DIGITS: usize = 5;
const CODES: u32 = 243;
const POWERS: [u8; DIGITS] = [1, 3, 9, 27, 81];

impl Plugin for TernGrad {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(TernGrad { clip: parameters.f64("clip")? })
    }
}

impl TernGrad {
    /// s: the largest magnitude of the tensor after clipping. Values above it count as it.
    fn scale(&self, values: &[f32]) -> Result<f32> {
        let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::numeric("the update is not finite"));
        }
        match self.clip * deviation(values) {
            // A constant tensor has no deviation to be cut to.
            bound if bound > 0.0 => Ok(largest.min(bound as f32)),
            _ => Ok(largest),
        }
    }
}

impl Compress for TernGrad {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let scale = self.scale(source.values)?;
        output.put_f32(scale)?;
        if scale == 0.0 {
            return Ok(());
        }
        let bytes = output.reserve(source.values.len().div_ceil(DIGITS))?;
        bytes.fill(0);
        let values = source.values.iter().enumerate();
        random::each_uniform(Scope::Client, ROUNDING, source.offset, values, |(index, value), uniform| {
            if uniform < value.abs() / scale {
                let digit = if *value < 0.0 { 2 } else { 1 };
                bytes[index / DIGITS] += digit * POWERS[index % DIGITS];
            }
        })
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let scale = input.take_f32()?;
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::argument("the piece's scale is negative or not finite"));
        }
        if scale == 0.0 {
            target.values.fill(0.0);
            return input.finish();
        }
        let bytes = input.take(target.values.len().div_ceil(DIGITS))?;
        input.finish()?;
        for (values, &byte) in target.values.chunks_mut(DIGITS).zip(bytes) {
            if u32::from(byte) >= CODES.min(3u32.pow(values.len() as u32)) {
                return Err(Error::argument(format!("a byte of {} values is {byte}", values.len())));
            }
            let mut rest = byte;
            for value in values {
                *value = [0.0, scale, -scale][usize::from(rest % 3)];
                rest /= 3;
            }
        }
        Ok(())
    }
}

/// The standard deviation of a tensor, that of the population.
fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let moments = values.iter().fold((0.0, 0.0), |(sum, squares), &value| {
        let value = f64::from(value);
        (sum + value, squares + value * value)
    });
    let (mean, mean_square) = (moments.0 / n, moments.1 / n);
    (mean_square - mean * mean).max(0.0).sqrt()
}

colla_plugin!(TernGrad: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(clip: f64) -> Testbed<TernGrad> {
        Testbed::new(&[("clip", clip.into())])
    }

    fn piece(scale: f32, bytes: &[u8]) -> Vec<u8> {
        [&scale.to_le_bytes()[..], bytes].concat()
    }

    #[test]
    fn the_largest_value_and_zero_are_kept_whatever_is_drawn() {
        let values = [2.0, 0.0, -2.0, 2.0, 0.0, -2.0];
        let encoded = plugin(0.0).encode(&values, 6).unwrap();
        // Digits 1, 0, 2, 1, 0 from the lowest power up: 1 + 2·9 + 27 = 46; then a 2.
        assert_eq!(encoded, [piece(2.0, &[46, 2])]);
        assert_eq!(plugin(0.0).decode(&encoded, &[6]).unwrap(), values);
    }

    #[test]
    fn the_mean_of_many_draws_is_the_update_and_the_error_has_the_papers_variance() {
        let (n, draws) = (64, 20_000);
        let update: Vec<f32> = (0..n).map(|i| (i as f32 * 0.61).rem_euclid(2.0) - 1.0).collect();
        let scale = update.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let variance = |x: f32| f64::from(x.abs()) * f64::from(scale - x.abs());
        let (mut sums, mut errors) = (vec![0.0f64; n], 0.0);
        for round in 0..draws {
            let mut plugin = plugin(0.0);
            plugin.circumstances(round, 3);
            let encoded = plugin.encode(&update, n).unwrap();
            for ((sum, got), sent) in sums.iter_mut().zip(plugin.decode(&encoded, &[n]).unwrap()).zip(&update) {
                *sum += f64::from(got);
                errors += f64::from(got - sent).powi(2);
            }
        }
        for (sum, &sent) in sums.iter().zip(&update) {
            let tolerance = 5.0 * (variance(sent) / draws as f64).sqrt() + 1e-6;
            assert!((sum / draws as f64 - f64::from(sent)).abs() < tolerance, "{sum} for {sent}, ±{tolerance}");
        }
        let expected: f64 = update.iter().map(|&x| variance(x)).sum();
        assert!((errors / draws as f64 / expected - 1.0).abs() < 0.01);
    }

    #[test]
    fn clipping_cuts_the_scale_to_the_deviations_asked_for() {
        let values = [3.0, -3.0, 3.0, -3.0, 9.0, -9.0, 0.0, 0.0, 0.0, 0.0];
        // Mean 0, Σx² = 4·9 + 2·81 = 198 over ten values: σ = √19.8.
        let scale =
            |clip: f64| f32::from_le_bytes(*plugin(clip).encode(&values, 10).unwrap()[0].first_chunk().unwrap());
        assert_eq!(scale(0.0), 9.0);
        assert_eq!(scale(1.0), 19.8f64.sqrt() as f32);
        assert_eq!(scale(2.5), 9.0);
        // A constant has no deviation; it stays.
        let encoded = plugin(2.5).encode(&[0.5; 7], 7).unwrap();
        assert_eq!(plugin(2.5).decode(&encoded, &[7]).unwrap(), [0.5; 7]);
    }

    #[test]
    fn five_values_take_a_byte_and_a_zero_tensor_four_in_all() {
        let update: Vec<f32> = (0..1_001).map(|i| (i % 17) as f32 - 8.0).collect();
        assert_eq!(plugin(0.0).encode(&update, 1_001).unwrap()[0].len(), 4 + 201);
        let encoded = plugin(2.5).encode(&[0.0; 100], 100).unwrap();
        assert_eq!(encoded, [[0; 4]]);
        assert_eq!(plugin(0.0).decode(&encoded, &[100]).unwrap(), [0.0; 100]);
    }

    #[test]
    fn hostile_pieces_are_refused_with_their_reason() {
        let check = |bytes: Vec<u8>, expected: &str| {
            assert_eq!(plugin(0.0).decode(&[bytes], &[7]).unwrap_err().message, expected);
        };
        check(vec![0; 3], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check(piece(f32::NAN, &[0, 0]), "the piece's scale is negative or not finite");
        check(piece(-1.0, &[0, 0]), "the piece's scale is negative or not finite");
        check(piece(1.0, &[0]), "the encoded piece ends early: 2 bytes wanted, 1 left");
        check(piece(1.0, &[0, 0, 0]), "the encoded piece has 1 bytes too many");
        check(piece(1.0, &[243, 0]), "a byte of 5 values is 243");
        check(piece(1.0, &[242, 9]), "a byte of 2 values is 9");
        let error = plugin(0.0).encode(&[f32::INFINITY; 7], 7).unwrap_err();
        assert_eq!(error.message, "the update is not finite");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
    #[test]
    fn what_is_decoded_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        let values = file.floats("values");
        for case in file.cases("terngrad") {
            let mut plugin = plugin(case.f64("clip"));
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }

    /// `tests/vectors/methods/public.json`: what GRACE's TernGrad makes of the same draws.
    #[test]
    fn what_is_decoded_is_that_of_a_public_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/public.json"));
        let values = file.floats("values");
        for case in file.cases("terngrad") {
            let mut plugin = plugin(case.f64("clip"));
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
