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

    fn denominator(&mut self, sums: &Sums) -> Result<f64> {
        Ok(if self.denominator > 0.0 { self.denominator } else { sums.weight_sum })
    }
}

colla_plugin!(FedAvg: aggregate);
