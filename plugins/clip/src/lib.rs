//! Flat clipping of updates, McMahan et al. (arXiv:1710.06963): Δ ← Δ · min(1, S/‖Δ‖), over all parameters.
//! The factor is rounded down, so that the clipped norm never exceeds S; a bound on one client's influence needs that.

use colla_plugin_sdk::{Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, colla_plugin, math};

struct Clip {
    norm: f64,
}

impl Plugin for Clip {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Clip { norm: parameters.f64("norm")? })
    }
}

impl Normalize for Clip {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let norm = piece.measures.value(0)?;
        if norm > self.norm {
            math::scale(piece.values, math::clip_factor(norm, self.norm));
        }
        Ok(())
    }
}

colla_plugin!(Clip: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn a_long_update_is_scaled_and_a_short_one_untouched() {
        let mut plugin = Testbed::<Clip>::new(&[("norm", 2.5.into())]);
        // ‖(3, 4)‖ = 5: halved.
        let clipped = plugin.apply(&[3.0, 4.0], 1).unwrap();
        assert!((clipped[0] - 1.5).abs() < 1e-6 && (clipped[1] - 2.0).abs() < 1e-6, "{clipped:?}");
        assert!(clipped.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() <= 2.5 * 2.5);
        assert_eq!(plugin.apply(&[1.5, 2.0], 2).unwrap(), [1.5, 2.0]);
        assert_eq!(plugin.apply(&[0.0, 0.0], 2).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn the_piece_size_does_not_change_the_result() {
        let update: Vec<f32> = (0..1_000).map(|i| (i as f32 * 0.77).rem_euclid(3.0) - 1.5).collect();
        let mut plugin = Testbed::<Clip>::new(&[]);
        let whole = plugin.apply(&update, 1_000).unwrap();
        assert_eq!(plugin.apply(&update, 7).unwrap(), whole);
        assert_eq!(plugin.apply(&update, 64).unwrap(), whole);
    }

    #[test]
    fn an_infinite_norm_is_an_error() {
        let error = Testbed::<Clip>::new(&[]).apply(&[f32::INFINITY], 1).unwrap_err();
        assert_eq!(error.message, "measure 0 of the vector is infinite");
    }
}
