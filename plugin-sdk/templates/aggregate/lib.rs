//! Weighted mean with capped weights, aₖ = min(nₖ/cap, 1) (McMahan et al., arXiv:1710.06963): a
//! client with very many examples cannot dominate. The host forms Σ aₖ·Δₖ / Σ aₖ exactly.

use colla_plugin_sdk::{Aggregate, Cohort, Parameters, Plugin, Result, colla_plugin};

struct CappedMean {
    cap: f64,
}

impl Plugin for CappedMean {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(CappedMean {
            cap: parameters.f64("cap")?,
        })
    }
}

impl Aggregate for CappedMean {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, client) in weights.iter_mut().zip(cohort.members()) {
            *weight = (client.num_examples / self.cap).min(1.0);
        }
        Ok(())
    }
}

colla_plugin!(CappedMean: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn weights_grow_with_the_examples_up_to_the_cap() {
        let mut plugin = Testbed::<CappedMean>::new(&[("cap", 40.0.into())]);
        // (examples, local steps, sum of their learning rates, staleness)
        let cohort = [
            [10.0, 5.0, 0.5, 0.0],
            [40.0, 20.0, 2.0, 0.0],
            [400.0, 200.0, 20.0, 0.0],
        ];
        assert_eq!(plugin.weigh(&cohort).unwrap(), [0.25, 1.0, 1.0]);
    }
}
