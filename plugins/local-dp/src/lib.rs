//! Noise before the upload, as in NbAFL of Wei et al. (arXiv:1911.00222): Δ ← Δ · min(1, C/‖Δ‖) + N(0, I·σ²), σ = z·C, on each
//! client, so that its update is protected from the server, too. The paper clips and perturbs the local weights; here it
//! is the update, which says the same with the weights of the round known.
//!
//! In the local model any update may stand in the place of any other, so the sensitivity is 2C and the Gaussian mechanism's
//! noise multiplier z/2. A mean over K clients has the noise z·C/√K, against z·2C/K of a trusted server (`dp-gaussian`).
//!
//! Order of operations: the update is multiplied in f32 by the factor of `clip`, which is rounded down; then value + σ·noise in
//! f64, rounded once, with the client's normal stream 0 at the value's index.
//!
//! This simulates differential privacy, it does not give it: the noise comes from the run's seed, and who reads the seed
//! can take the noise off again.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Error, Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, colla_plugin, math};

struct LocalDp {
    /// C.
    norm: f64,
    /// σ.
    deviation: f64,
}

/// The plugin's only random stream.
const NOISE: u16 = 0;

impl Plugin for LocalDp {
    fn create(parameters: &Parameters) -> Result<Self> {
        let norm = parameters.f64("norm")?;
        let deviation = norm * parameters.f64("noise-multiplier")?;
        if !deviation.is_finite() {
            return Err(Error::config(
                "the noise's standard deviation, `norm` times `noise-multiplier`, is not finite",
            ));
        }
        Ok(LocalDp { norm, deviation })
    }
}

impl Normalize for LocalDp {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let norm = piece.measures.value(0)?;
        if norm > self.norm {
            math::scale(piece.values, math::clip_factor(norm, self.norm));
        }
        if self.deviation == 0.0 {
            return Ok(());
        }
        random::each_normal(Scope::Client, NOISE, piece.offset, piece.values.iter_mut(), |value, noise| {
            *value = (f64::from(*value) + self.deviation * f64::from(noise)) as f32;
        })
    }
}

colla_plugin!(LocalDp: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn plugin(norm: f64, multiplier: f64) -> Testbed<LocalDp> {
        Testbed::new(&[("norm", norm.into()), ("noise-multiplier", multiplier.into())])
    }

    #[test]
    fn without_noise_it_clips() {
        // ‖(3, 4)‖ = 5: halved.
        let clipped = plugin(2.5, 0.0).apply(&[3.0, 4.0], 1).unwrap();
        assert!((clipped[0] - 1.5).abs() < 1e-6 && (clipped[1] - 2.0).abs() < 1e-6, "{clipped:?}");
        assert_eq!(plugin(5.0, 0.0).apply(&[3.0, 4.0], 2).unwrap(), [3.0, 4.0]);
    }

    #[test]
    fn the_noise_has_mean_zero_and_the_multiplier_times_the_norm_as_its_deviation() {
        let n = 200_000;
        for (norm, multiplier) in [(1.0, 0.25), (4.0, 0.5)] {
            let noised = plugin(norm, multiplier).apply(&vec![0.0; n], 65_536).unwrap();
            let sigma = norm * multiplier;
            let mean = noised.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let deviation = (noised.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64).sqrt();
            // Five standard errors each: σ/√n and σ/√(2n).
            assert!(mean.abs() < 5.0 * sigma / (n as f64).sqrt(), "{mean}");
            assert!((deviation / sigma - 1.0).abs() < 5.0 / (2.0 * n as f64).sqrt(), "{deviation} for {sigma}");
        }
    }

    #[test]
    fn noise_is_added_to_the_clipped_update() {
        let update: Vec<f32> = (0..3_000).map(|i| (i % 17) as f32 - 8.0).collect();
        let clipped = plugin(2.0, 0.0).apply(&update, 3_000).unwrap();
        let noise = plugin(2.0, 0.5).apply(&[0.0; 3_000], 3_000).unwrap();
        for ((noised, clipped), noise) in
            plugin(2.0, 0.5).apply(&update, 3_000).unwrap().iter().zip(&clipped).zip(&noise)
        {
            assert!((noised - (clipped + noise)).abs() < 1e-6);
        }
    }

    #[test]
    fn each_client_and_round_has_its_own_noise_and_cutting_elsewhere_draws_the_same() {
        let noised = |round, client, piece| {
            let mut plugin = plugin(1.0, 1.0);
            plugin.circumstances(round, client);
            plugin.apply(&[0.5; 3_000], piece).unwrap()
        };
        assert_eq!(noised(1, 1, 3_000), noised(1, 1, 77));
        assert_eq!(noised(1, 1, 3_000), noised(1, 1, 1_500));
        assert_ne!(noised(1, 1, 3_000), noised(1, 2, 3_000));
        assert_ne!(noised(1, 1, 3_000), noised(2, 1, 3_000));
    }

    #[test]
    fn an_infinite_norm_and_an_infinite_deviation_are_errors() {
        let error = plugin(1.0, 1.0).apply(&[f32::INFINITY], 1).unwrap_err();
        assert_eq!(error.message, "measure 0 of the vector is infinite");
        let given = [("norm", 1e300.into()), ("noise-multiplier", 1e300.into())];
        assert!(Testbed::<LocalDp>::try_new(&given).err().unwrap().message.contains("is not finite"));
    }
}
