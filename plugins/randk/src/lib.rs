//! Random-k sparsification: k values of a frame of n, every set of k equally likely; the rest is zero. The receiver
//! multiplies what it gets by n/k, so that the expectation is the update (uniform probabilities of Wangni et al.,
//! arXiv:1710.09854): E‖C(x) − x‖² = (n/k − 1)·‖x‖², for each frame. Without the factor (`unbiased=false`) it is the rand-k of
//! Stich et al. (arXiv:1809.07599): E‖C(x) − x‖² = (1 − k/n)·‖x‖², a contraction, which error feedback needs.
//!
//! Both sides draw the positions from the client's stream of the round, so only values travel. A frame: k `f32` values, in
//! the order of their indices.
//!
//! Positions, so that another implementation finds the same: with r values left to choose among the m from index i to the
//! end of the frame, index i is chosen if ⌊u·m/2³²⌋ < r, with u the u32 word `offset + i` of stream 0 in client scope
//! (selection sampling, Knuth's Algorithm S). Each such probability is within 2⁻³² of r/m.
//!
//! Departure: the papers choose k of the whole vector. Here each frame of 65,536 chooses its own share, which cannot raise the
//! variance; a model of one frame is the papers' case.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};

struct RandK {
    ratio: f64,
    unbiased: bool,
}

/// The plugin's only random stream.
const POSITIONS: u16 = 0;

impl Plugin for RandK {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(RandK { ratio: parameters.f64("ratio")?, unbiased: parameters.bool("unbiased")? })
    }
}

impl RandK {
    /// k: how many of n values are sent. The small addend undoes the binary rounding of ratios like 0.29.
    fn kept(&self, n: usize) -> usize {
        ((self.ratio * n as f64 + 1e-9) as usize).clamp(1, n.max(1)).min(n)
    }
}

impl Compress for RandK {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let positions = positions(self.kept(source.values.len()), source.values.len(), source.offset)?;
        positions.into_iter().try_for_each(|position| output.put_f32(source.values[position]))
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let n = target.values.len();
        let kept = self.kept(n);
        let mut sent = Input::new(input.take(4 * kept)?);
        input.finish()?;
        let factor = if self.unbiased { n as f64 / kept as f64 } else { 1.0 };
        target.values.fill(0.0);
        for position in positions(kept, n, target.offset)? {
            let value = (factor * f64::from(sent.take_f32()?)) as f32;
            if !value.is_finite() {
                return Err(Error::argument(format!(
                    "value {position} of the frame is not finite, or n/k takes it beyond f32"
                )));
            }
            target.values[position] = value;
        }
        Ok(())
    }
}

/// The `kept` of `n` positions in a frame that begins at `offset`, ascending.
fn positions(kept: usize, n: usize, offset: u64) -> Result<Vec<usize>> {
    let mut chosen = vec![false; n];
    let (mut left, mut behind) = (kept as u64, n as u64);
    random::each_u32(Scope::Client, POSITIONS, offset, chosen.iter_mut(), |chosen, word| {
        *chosen = (u64::from(word) * behind) >> 32 < left;
        left -= u64::from(*chosen);
        behind -= 1;
    })?;
    Ok(chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(position, _)| position).collect())
}

colla_plugin!(RandK: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(ratio: f64, unbiased: bool) -> Testbed<RandK> {
        Testbed::new(&[("ratio", ratio.into()), ("unbiased", unbiased.into())])
    }

    fn update(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7_919) % 1_013) as f32 / 506.0 - 1.001).collect()
    }

    #[test]
    fn exactly_k_values_travel_and_come_back_times_n_over_k() {
        let values = update(1_000);
        for (unbiased, factor) in [(true, 4.0), (false, 1.0)] {
            let encoded = plugin(0.25, unbiased).encode(&values, 1_000).unwrap();
            assert_eq!(encoded[0].len(), 250 * 4);
            let decoded = plugin(0.25, unbiased).decode(&encoded, &[1_000]).unwrap();
            let sent: Vec<usize> = (0..1_000).filter(|&i| decoded[i] != 0.0).collect();
            assert_eq!(sent.len(), 250);
            assert!(sent.iter().all(|&i| decoded[i] == factor * values[i]));
        }
    }

    #[test]
    fn everything_sent_is_lossless() {
        for unbiased in [true, false] {
            let encoded = plugin(1.0, unbiased).encode(&update(900), 400).unwrap();
            assert_eq!(plugin(1.0, unbiased).decode(&encoded, &[400, 400, 100]).unwrap(), update(900));
        }
    }

    #[test]
    fn a_short_last_frame_still_sends_a_value() {
        let encoded = plugin(0.01, true).encode(&update(210), 200).unwrap();
        assert_eq!(encoded.iter().map(Vec::len).collect::<Vec<_>>(), [2 * 4, 4]);
    }

    #[test]
    fn the_mean_of_many_draws_is_the_update_and_the_error_has_the_papers_variance() {
        let (n, draws, values) = (200, 20_000, update(200));
        let norm2: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let (mut sums, mut errors) = (vec![0.0f64; n], 0.0);
        for round in 0..draws {
            let mut plugin = plugin(0.1, true);
            plugin.circumstances(round, 7);
            let encoded = plugin.encode(&values, n).unwrap();
            for ((sum, got), sent) in sums.iter_mut().zip(plugin.decode(&encoded, &[n]).unwrap()).zip(&values) {
                *sum += f64::from(got);
                errors += f64::from(got - sent).powi(2);
            }
        }
        // One draw of a value has the variance (n/k − 1)·x² = 9x²; five standard errors of the mean.
        for (sum, sent) in sums.iter().zip(&values) {
            let tolerance = 5.0 * 3.0 * f64::from(sent.abs()) / (draws as f64).sqrt() + 1e-9;
            assert!((sum / draws as f64 - f64::from(*sent)).abs() < tolerance, "{sum} for {sent}");
        }
        let variance = errors / draws as f64 / norm2;
        assert!((variance / 9.0 - 1.0).abs() < 0.01, "{variance} for 9");
    }

    #[test]
    fn each_client_and_round_has_its_own_positions() {
        let through = |round, client| {
            let mut plugin = plugin(0.1, true);
            plugin.circumstances(round, client);
            let encoded = plugin.encode(&update(500), 500).unwrap();
            plugin.decode(&encoded, &[500]).unwrap()
        };
        assert_eq!(through(1, 1), through(1, 1));
        assert_ne!(through(1, 1), through(1, 2));
        assert_ne!(through(1, 1), through(2, 1));
    }

    #[test]
    fn hostile_frames_are_refused_with_their_reason() {
        let check = |bytes: Vec<u8>, expected: &str| {
            let error = plugin(0.5, true).decode(&[bytes], &[4]).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        };
        check(vec![0; 7], "the encoded piece ends early: 8 bytes wanted, 7 left");
        check(vec![0; 9], "the encoded piece has 1 bytes too many");
        check([f32::NAN.to_le_bytes(), [0; 4]].concat(), "is not finite");
        check([f32::MAX.to_le_bytes(), [0; 4]].concat(), "n/k takes it beyond f32");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
    #[test]
    fn what_is_decoded_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        let values = file.floats("values");
        for case in file.cases("randk") {
            let mut plugin = plugin(case.f64("ratio"), true);
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
