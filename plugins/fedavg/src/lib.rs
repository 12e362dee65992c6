//! FedAvg, Algorithm 1 of McMahan et al. (arXiv:1602.05629): Δ = Σ nₖ·Δₖ / Σ nₖ. The host forms the sum exactly.

use colla_plugin_sdk::{Aggregate, Cohort, Parameters, Plugin, Result, Sums, colla_plugin};

struct FedAvg {
    uniform: bool,
    denominator: f64,
}

impl Plugin for FedAvg {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedAvg { uniform: parameters.choice("weights")? == "uniform", denominator: parameters.f64("denominator")? })
    }
}

impl Aggregate for FedAvg {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, client) in weights.iter_mut().zip(cohort.members()) {
            *weight = if self.uniform { 1.0 } else { client.num_examples };
        }
        Ok(())
    }

    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        Ok(if self.denominator > 0.0 { self.denominator } else { sums.weight_sum })
    }
}

colla_plugin!(FedAvg: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    const COHORT: [[f64; 4]; 2] = [[30.0, 15.0, 1.5, 0.0], [10.0, 5.0, 0.5, 0.0]];

    #[test]
    fn clients_count_by_their_examples_and_the_sum_is_divided_by_all_of_them() {
        let mut plugin = Testbed::<FedAvg>::new(&[]);
        assert_eq!(plugin.weigh(&COHORT).unwrap(), [30.0, 10.0]);
        assert_eq!(plugin.denominator(&COHORT, &[30.0, 10.0]), Ok(40.0));
    }

    #[test]
    fn uniform_weights_and_a_fixed_denominator_are_as_given() {
        let mut plugin = Testbed::<FedAvg>::new(&[("weights", "uniform".into()), ("denominator", 5.0.into())]);
        assert_eq!(plugin.weigh(&COHORT).unwrap(), [1.0, 1.0]);
        assert_eq!(plugin.denominator(&COHORT, &[1.0, 1.0]), Ok(5.0));
    }

    #[test]
    fn an_empty_cohort_has_no_weights() {
        assert_eq!(Testbed::<FedAvg>::new(&[]).weigh::<4>(&[]), Ok(vec![]));
    }
}
