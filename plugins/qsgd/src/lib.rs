//! QSGD, section 3.1 of Alistarh et al. (arXiv:1610.02132): xᵢ becomes ‖x‖ · sgn(xᵢ) · ξᵢ/s, where ξᵢ is s·|xᵢ|/‖x‖
//! rounded up or down at random, so that the expectation is xᵢ. ‖x‖ is the norm of the whole update. Where the paper
//! codes ξ with Elias codes, it takes a fixed number of bits here; the host can compress the result losslessly.
//!
//! Where others differ: GRACE takes one norm for every 128 values of a tensor, as the paper's experiments have buckets;
//! FedLab takes the largest magnitude of a tensor for ‖x‖ and 2^bits levels besides the sign. Both have smaller errors
//! than one norm for the whole update, and send more.
//!
//! A frame: `f32` norm, then a sign bit above `bits − 1` bits of ξ for each value, packed from the lowest bit of each
//! byte up, unused bits zero. The update of norm zero is the norm alone.

use colla_plugin_sdk::bits::{Packer, Unpacker, packed_len};
use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{
    Compress, Error, Input, Output, Parameters, Plugin, Result, ScanPlan, Source, Target, colla_plugin,
};

struct Qsgd {
    bits: u32,
}

/// The plugin's only random stream.
const ROUNDING: u16 = 0;

impl Plugin for Qsgd {
    fn create(parameters: &Parameters) -> Result<Self> {
        let bits = parameters.i64("bits")?;
        match bits {
            2..=16 => Ok(Qsgd { bits: bits as u32 }),
            _ => Err(Error::config(format!("`bits` is {bits}; use 2 to 16"))),
        }
    }
}

impl Qsgd {
    fn sign(&self) -> u32 {
        1 << (self.bits - 1)
    }

    /// s, the number of levels above zero.
    fn levels(&self) -> f32 {
        (self.sign() - 1) as f32
    }
}

impl Compress for Qsgd {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let norm = rounded_up(source.measures.value(0)?)?;
        output.put_f32(norm)?;
        if norm == 0.0 {
            return Ok(());
        }
        let mut packer = Packer::new(self.bits, output.reserve(packed_len(source.values.len(), self.bits))?);
        random::each_uniform(Scope::Client, ROUNDING, source.offset, source.values.iter(), |value, uniform| {
            let exact = value.abs() / norm * self.levels();
            let below = exact.floor();
            // Up with probability exact − below: a comparison, since exact + uniform would round.
            let level = below as u32 + u32::from(uniform < exact - below);
            packer.put(if *value < 0.0 { self.sign() | level } else { level });
        })?;
        packer.finish();
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let norm = input.take_f32()?;
        if !(norm >= 0.0 && norm.is_finite()) {
            return Err(Error::argument("the frame's norm is negative or not finite"));
        }
        if norm == 0.0 {
            target.values.fill(0.0);
            return input.finish();
        }
        let mut unpacker = Unpacker::new(self.bits, input.take(packed_len(target.values.len(), self.bits))?);
        input.finish()?;
        for value in target.values {
            let code = unpacker.take();
            let magnitude = (code & (self.sign() - 1)) as f32 / self.levels() * norm;
            *value = if code & self.sign() == 0 { magnitude } else { -magnitude };
        }
        unpacker.finish()
    }
}

/// The norm as the frame carries it: not below the exact one, so that no value exceeds it.
fn rounded_up(norm: f64) -> Result<f32> {
    let nearest = norm as f32;
    let rounded = if f64::from(nearest) < norm { nearest.next_up() } else { nearest };
    if rounded.is_finite() { Ok(rounded) } else { Err(Error::numeric("the update's norm is beyond f32")) }
}

colla_plugin!(Qsgd: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(bits: i64) -> Testbed<Qsgd> {
        Testbed::new(&[("bits", bits.into())])
    }

    fn norm(values: &[f32]) -> f64 {
        values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
    }

    #[test]
    fn values_on_a_level_are_kept_whatever_is_drawn() {
        // Norm 1 and s = 1: only -1, 0 and 1 exist, and the vector lies on them.
        let encoded = plugin(2).encode(&[0.0, -1.0, 0.0], 3).unwrap();
        // Codes of two bits from the lowest up: 00, 11 (sign above level 1), 00.
        assert_eq!(encoded, [[&1f32.to_le_bytes()[..], &[0b00_11_00]].concat()]);
        assert_eq!(plugin(2).decode(&encoded, &[3]).unwrap(), [0.0, -1.0, 0.0]);
    }

    #[test]
    fn the_mean_of_many_draws_is_the_vector_and_each_error_is_below_a_level() {
        let update: Vec<f32> = (0..64).map(|i| (i as f32 * 0.61).rem_euclid(2.0) - 1.0).collect();
        for bits in [2, 3, 4, 8] {
            let (draws, level) = (4_000, norm(&update) / f64::from((1 << (bits - 1)) - 1));
            let mut sums = vec![0.0f64; update.len()];
            for round in 0..draws {
                let mut plugin = plugin(bits);
                plugin.circumstances(round, 3);
                let encoded = plugin.encode(&update, 64).unwrap();
                for ((sum, got), sent) in sums.iter_mut().zip(plugin.decode(&encoded, &[64]).unwrap()).zip(&update) {
                    assert!(f64::from((got - sent).abs()) <= level * (1.0 + 1e-6), "{got} for {sent}, level {level}");
                    *sum += f64::from(got);
                }
            }
            // A draw's standard deviation is at most half a level; five of the mean's.
            let tolerance = 5.0 * 0.5 * level / (draws as f64).sqrt();
            for (sum, sent) in sums.iter().zip(&update) {
                let mean = sum / draws as f64;
                assert!((mean - f64::from(*sent)).abs() < tolerance, "{bits} bits: {mean} for {sent}, ±{tolerance}");
            }
        }
    }

    #[test]
    fn cutting_the_vector_elsewhere_draws_the_same_roundings() {
        let update: Vec<f32> = (0..3_000).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let through = |piece: usize| {
            let encoded = plugin(5).encode(&update, piece).unwrap();
            let sizes: Vec<usize> = update.chunks(piece).map(<[f32]>::len).collect();
            plugin(5).decode(&encoded, &sizes).unwrap()
        };
        assert_eq!(through(3_000), through(1_000));
        assert_eq!(through(3_000), through(77));
    }

    #[test]
    fn every_width_survives_packing_and_eight_bits_send_a_quarter() {
        for bits in 2..=16 {
            let update: Vec<f32> = (0..999).map(|i| if i % 3 == 0 { 1.0 } else { -0.5 }).collect();
            let encoded = plugin(bits).encode(&update, 999).unwrap();
            assert_eq!(encoded[0].len(), 4 + (999 * bits as usize).div_ceil(8));
            let level = norm(&update) / f64::from((1u32 << (bits - 1)) - 1);
            let decoded = plugin(bits).decode(&encoded, &[999]).unwrap();
            for (got, sent) in decoded.iter().zip(&update) {
                assert!(f64::from((got - sent).abs()) <= level * (1.0 + 1e-6), "{bits} bits: {got} for {sent}");
            }
        }
    }

    #[test]
    fn a_zero_update_is_four_bytes() {
        let encoded = plugin(8).encode(&[0.0; 100], 100).unwrap();
        assert_eq!(encoded, [[0; 4]]);
        assert_eq!(plugin(8).decode(&encoded, &[100]).unwrap(), [0.0; 100]);
    }

    #[test]
    fn hostile_frames_are_refused_with_their_reason() {
        let check = |bytes: &[u8], expected: &str| {
            let error = plugin(2).decode(&[bytes.to_vec()], &[3]).unwrap_err();
            assert_eq!(error.message, expected);
        };
        check(&[0, 0, 0], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check(&f32::NAN.to_le_bytes(), "the frame's norm is negative or not finite");
        check(&(-1f32).to_le_bytes(), "the frame's norm is negative or not finite");
        check(&1f32.to_le_bytes(), "the encoded piece ends early: 1 bytes wanted, 0 left");
        check(&[0, 0, 128, 63, 0, 0], "the encoded piece has 1 bytes too many");
        check(&[0, 0, 128, 63, 0b0100_0000], "the frame's unused bits are not zero");
        check(&[0, 0, 0, 0, 0], "the encoded piece has 1 bytes too many");
    }

    /// `tests/vectors/methods/public.json`: what GRACE's QSGD makes of the same draws.
    #[test]
    fn what_is_decoded_is_that_of_a_public_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/public.json"));
        let values = file.floats("values");
        for case in file.cases("qsgd") {
            let mut plugin = plugin(case.i64("bits"));
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
