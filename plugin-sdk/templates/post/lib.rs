//! A bounded round: the aggregate Δ ← Δ·min(1, S/‖Δ‖), over all parameters, before the server step.
//! Whatever the cohort sent, no round moves the weights further than S.

use colla_plugin_sdk::{Parameters, Piece, Plugin, Post, Result, ScanPlan, colla_plugin, math};

struct BoundedRound {
    norm: f64,
}

impl Plugin for BoundedRound {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(BoundedRound {
            norm: parameters.f64("norm")?,
        })
    }
}

impl Post for BoundedRound {
    /// The host measures the whole aggregate before the first piece of it comes.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>) -> Result<()> {
        let factor = math::clip_factor(piece.measures.value(0)?, self.norm);
        math::scale(piece.values, factor);
        Ok(())
    }
}

colla_plugin!(BoundedRound: post);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn a_long_aggregate_is_shortened_and_a_short_one_left_alone() {
        let mut plugin = Testbed::<BoundedRound>::new(&[("norm", 2.5.into())]);
        // ‖(3, 4)‖ = 5: halved, whatever the pieces.
        let bounded = plugin.apply(&[3.0, 4.0], 1).unwrap();
        assert!((bounded[0] - 1.5).abs() < 1e-6 && (bounded[1] - 2.0).abs() < 1e-6);
        assert_eq!(plugin.apply(&[1.5, -2.0], 2).unwrap(), [1.5, -2.0]);
    }
}
