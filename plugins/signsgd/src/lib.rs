//! Scaled signs, Karimireddy et al. (arXiv:1901.09847): Δ becomes (‖Δ‖₁/n)·sign(Δ), over the whole update of n values. With
//! error feedback (Algorithm 1, which the host offers) it converges where plain signs need not. ‖C(x) − x‖² =
//! (1 − ‖x‖₁²/(n·‖x‖₂²))·‖x‖₂²: deterministic and biased, but a contraction.
//!
//! With `scale=unit` a sign stands for ±1: signSGD of Bernstein et al. (arXiv:1802.04434), whose step size is then the
//! server's learning rate. A majority vote of the signs is another method: that of the server, on ±1.
//!
//! A frame: the scale as `f32`, rounded towards zero, then a bit for each value, packed from the lowest bit of each byte up,
//! 1 for values below zero, unused bits zero. So zero, of either sign, counts as positive. An update of zeros is the scale
//! alone, with `scale=unit` too. ‖Δ‖₁ is summed in f64 in index order.
//!
//! Where others differ: the paper's experiments and some libraries take ‖·‖₁/n of each layer; `torch.sign` and `numpy.sign`
//! give 0 for 0, which one bit cannot.

use colla_plugin_sdk::bits::{Packer, Unpacker, packed_len};
use colla_plugin_sdk::{
    Compress, Error, Input, Output, Parameters, Plugin, Result, ScanFrame, ScanPlan, Source, Target, colla_plugin, math,
};

struct SignSgd {
    unit: bool,
}

impl Plugin for SignSgd {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(SignSgd { unit: parameters.choice("scale")? == "unit" })
    }
}

impl Compress for SignSgd {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        // ‖Δ‖₁ and n.
        Ok(ScanPlan::none().own(2))
    }

    fn scan_frame(&mut self, frame: ScanFrame<'_>) -> Result<()> {
        let ([sum_before, n_before], [sum, n]) = (frame.before, frame.after) else {
            return Err(Error::argument("the scan has 2 values"));
        };
        *sum = frame.values.iter().fold(*sum_before, |sum, value| sum + f64::from(value.abs()));
        *n = n_before + frame.values.len() as f64;
        Ok(())
    }

    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let (sum, n) = (source.measures.value(0)?, source.measures.value(1)?);
        let scale = if self.unit && sum > 0.0 { 1.0 } else { math::toward_zero(sum / n) };
        output.put_f32(scale)?;
        if scale == 0.0 {
            return Ok(());
        }
        let mut packer = Packer::new(1, output.reserve(packed_len(source.values.len(), 1))?);
        source.values.iter().for_each(|value| packer.put(u32::from(*value < 0.0)));
        packer.finish();
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let scale = input.take_f32()?;
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::argument("the frame's scale is negative or not finite"));
        }
        if scale == 0.0 {
            target.values.fill(0.0);
            return input.finish();
        }
        let mut unpacker = Unpacker::new(1, input.take(packed_len(target.values.len(), 1))?);
        input.finish()?;
        for value in target.values {
            *value = if unpacker.take() == 0 { scale } else { -scale };
        }
        unpacker.finish()
    }
}

colla_plugin!(SignSgd: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(scale: &str) -> Testbed<SignSgd> {
        Testbed::new(&[("scale", scale.into())])
    }

    fn frame(scale: f32, bits: &[u8]) -> Vec<u8> {
        [&scale.to_le_bytes()[..], bits].concat()
    }

    #[test]
    fn signs_travel_as_bits_and_stand_for_the_mean_magnitude_of_the_whole_update() {
        // ‖x‖₁/n = (1 + 2 + 3 + 0 + 4)/5 = 2, in both frames.
        let encoded = plugin("mean").encode(&[1.0, -2.0, 3.0, -0.0, -4.0], 3).unwrap();
        assert_eq!(encoded, [frame(2.0, &[0b010]), frame(2.0, &[0b10])]);
        assert_eq!(plugin("mean").decode(&encoded, &[3, 2]).unwrap(), [2.0, -2.0, 2.0, 2.0, -2.0]);
        let plain = plugin("unit").encode(&[1.0, -2.0, 3.0, -0.0, -4.0], 3).unwrap();
        assert_eq!(plain, [frame(1.0, &[0b010]), frame(1.0, &[0b10])]);
        assert_eq!(plugin("unit").decode(&plain, &[3, 2]).unwrap(), [1.0, -1.0, 1.0, 1.0, -1.0]);
    }

    #[test]
    fn an_update_of_equal_magnitudes_is_lossless() {
        let update: Vec<f32> = (0..1_000).map(|i| if i % 3 == 0 { -0.3 } else { 0.3 }).collect();
        let encoded = plugin("mean").encode(&update, 300).unwrap();
        let decoded = plugin("mean").decode(&encoded, &[300, 300, 300, 100]).unwrap();
        // The scale is rounded towards zero: the sum in f64 is not exactly 1000·0.3.
        assert!(decoded.iter().zip(&update).all(|(got, sent)| (got - sent).abs() <= 3e-8));
    }

    #[test]
    fn the_error_is_that_of_the_papers_contraction_and_nothing_gets_longer() {
        let update: Vec<f32> = (0..5_000).map(|i| ((i * 7_919) % 1_013) as f32 / 506.0 - 1.001).collect();
        let (l1, l2) =
            update.iter().fold((0.0, 0.0), |(l1, l2), &x| (l1 + f64::from(x.abs()), l2 + f64::from(x).powi(2)));
        let encoded = plugin("mean").encode(&update, 5_000).unwrap();
        assert_eq!(encoded[0].len(), 4 + 5_000 / 8);
        let decoded = plugin("mean").decode(&encoded, &[5_000]).unwrap();
        let error: f64 = decoded.iter().zip(&update).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let expected = (1.0 - l1 * l1 / (5_000.0 * l2)) * l2;
        assert!((error / expected - 1.0).abs() < 1e-5, "{error} for {expected}");
        assert!(decoded.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() <= l2);
    }

    #[test]
    fn a_zero_update_is_four_bytes() {
        for scale in ["mean", "unit"] {
            let encoded = plugin(scale).encode(&[0.0; 100], 100).unwrap();
            assert_eq!(encoded, [[0; 4]]);
            assert_eq!(plugin(scale).decode(&encoded, &[100]).unwrap(), [0.0; 100]);
        }
    }

    #[test]
    fn hostile_frames_are_refused_with_their_reason() {
        let check = |bytes: Vec<u8>, expected: &str| {
            assert_eq!(plugin("mean").decode(&[bytes], &[3]).unwrap_err().message, expected);
        };
        check(vec![0; 3], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check(frame(f32::NAN, &[0]), "the frame's scale is negative or not finite");
        check(frame(-1.0, &[0]), "the frame's scale is negative or not finite");
        check(frame(f32::INFINITY, &[0]), "the frame's scale is negative or not finite");
        check(frame(1.0, &[]), "the encoded piece ends early: 1 bytes wanted, 0 left");
        check(frame(1.0, &[0, 0]), "the encoded piece has 1 bytes too many");
        check(frame(1.0, &[0b1000]), "the frame's unused bits are not zero");
        check(frame(0.0, &[0]), "the encoded piece has 1 bytes too many");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
    #[test]
    fn what_is_decoded_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        let values = file.floats("values");
        for case in file.cases("signsgd") {
            let mut plugin = plugin("mean");
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }

    /// `tests/vectors/methods/public.json`: what GRACE's scaled signs are.
    #[test]
    fn what_is_decoded_is_that_of_a_public_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/public.json"));
        let values = file.floats("values");
        for case in file.cases("signsgd") {
            let mut plugin = plugin("mean");
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
