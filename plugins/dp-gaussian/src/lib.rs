//! The noise of DP-FedAvg, Algorithm 1 of McMahan et al. (arXiv:1710.06963): Δ ← Δ + N(0, I·σ²), σ = z·𝕊, with 𝕊 how far
//! one client can move the aggregate. The host works 𝕊 out, as Lemma 1 does: norm bound · largest weight / denominator when
//! a client comes or goes, twice that when one is replaced in a cohort of fixed size. So it rests on a bound on each
//! update (`clip`), uniform weights, and a denominator that does not depend on who took part; all three are required.
//! The aggregate of an empty cohort gets the same noise: that nobody took part is no less private.
//!
//! This simulates differential privacy, it does not give it: the noise comes from the run's seed, and who reads the seed
//! can take the noise off again.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Error, Parameters, Piece, Plugin, Post, PostBegin, Result, colla_plugin};

struct DpGaussian {
    /// z.
    multiplier: f64,
    /// σ of this round, known from its begin on.
    deviation: Option<f64>,
}

/// The plugin's only random stream.
const NOISE: u16 = 0;

impl Plugin for DpGaussian {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(DpGaussian { multiplier: parameters.f64("noise-multiplier")?, deviation: None })
    }
}

impl Post for DpGaussian {
    fn begin(&mut self, begin: &PostBegin) -> Result<()> {
        let sensitivity = begin.sensitivity.ok_or_else(|| {
            Error::state(
                "how far one client can move the aggregate is not known: it takes a bound on the norm of each update \
                 (plugin `clip`) and an aggregation that is a sum (plugin `fedavg`)",
            )
        })?;
        let deviation = self.multiplier * sensitivity;
        if !(deviation >= 0.0 && deviation.is_finite()) {
            return Err(Error::numeric("the noise's standard deviation is negative or not finite"));
        }
        self.deviation = Some(deviation);
        Ok(())
    }

    fn apply(&mut self, piece: Piece<'_>) -> Result<()> {
        let deviation =
            self.deviation.ok_or_else(|| Error::state("the round has not begun: APPLY came before POST_BEGIN"))?;
        if deviation == 0.0 {
            return Ok(());
        }
        random::each_normal(Scope::Round, NOISE, piece.offset, piece.values.iter_mut(), |value, noise| {
            *value = (f64::from(*value) + deviation * f64::from(noise)) as f32;
        })
    }
}

colla_plugin!(DpGaussian: post);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, abi::op, abi::status};

    fn begun(multiplier: f64, sensitivity: f64, round: u64) -> Testbed<DpGaussian> {
        let mut plugin = Testbed::<DpGaussian>::new(&[("noise-multiplier", multiplier.into())]);
        plugin.circumstances(round, 0);
        plugin.post_begin(round, Some(sensitivity)).unwrap();
        plugin
    }

    #[test]
    fn the_noise_has_mean_zero_and_the_multiplier_times_the_sensitivity_as_its_deviation() {
        let n = 200_000;
        for (multiplier, sensitivity) in [(1.0, 0.25), (4.0, 0.5)] {
            let noised = begun(multiplier, sensitivity, 1).apply(&vec![0.0; n], 65_536).unwrap();
            let sigma = multiplier * sensitivity;
            let mean = noised.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let deviation = (noised.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64).sqrt();
            // Five standard errors each: σ/√n and σ/√(2n).
            assert!(mean.abs() < 5.0 * sigma / (n as f64).sqrt(), "{mean}");
            assert!((deviation / sigma - 1.0).abs() < 5.0 / (2.0 * n as f64).sqrt(), "{deviation} for {sigma}");
        }
    }

    #[test]
    fn noise_is_added_to_the_aggregate_in_proportion_to_the_sensitivity() {
        let aggregate: Vec<f32> = (0..3_000).map(|i| (i % 17) as f32).collect();
        let noise = begun(1.0, 1.0, 1).apply(&vec![0.0; 3_000], 3_000).unwrap();
        let noised = begun(1.0, 0.5, 1).apply(&aggregate, 3_000).unwrap();
        for ((noised, value), noise) in noised.iter().zip(&aggregate).zip(&noise) {
            assert!((noised - (value + 0.5 * noise)).abs() < 1e-5);
        }
    }

    #[test]
    fn each_round_has_its_own_noise_and_cutting_elsewhere_draws_the_same() {
        let noised = |round, piece| begun(1.0, 1.0, round).apply(&[0.0; 3_000], piece).unwrap();
        assert_eq!(noised(1, 3_000), noised(1, 77));
        assert_eq!(noised(1, 3_000), noised(1, 1_500));
        assert_ne!(noised(1, 3_000), noised(2, 3_000));
    }

    #[test]
    fn a_multiplier_of_zero_leaves_every_bit() {
        let aggregate = [1.5, -0.0, f32::MIN_POSITIVE, 3e38];
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&begun(0.0, 1.0, 1).apply(&aggregate, 2).unwrap()), bits(&aggregate));
    }

    #[test]
    fn an_unknown_sensitivity_is_refused_with_what_to_do() {
        let error = Testbed::<DpGaussian>::new(&[]).post_begin(1, None).unwrap_err();
        assert_eq!(error.code, status::E_STATE);
        assert!(error.message.contains("plugin `clip`") && error.message.contains("plugin `fedavg`"), "{error}");
        let early = Testbed::<DpGaussian>::new(&[]).apply(&[1.0], 1).unwrap_err();
        assert_eq!(early.message, "the round has not begun: APPLY came before POST_BEGIN");
    }

    #[test]
    fn a_data_plane_instance_learns_the_deviation_through_sync() {
        let mut control = Testbed::<DpGaussian>::new(&[]);
        let mut data = Testbed::<DpGaussian>::new(&[]);
        let reply = control.post_begin(3, Some(0.5)).unwrap();
        assert_eq!(data.call(op::SYNC, &reply), Ok(Map::new()));
        assert_eq!(control.apply(&[1.0; 9], 9), data.apply(&[1.0; 9], 9));
    }
}
