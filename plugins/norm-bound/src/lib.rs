//! Norm bounding of Sun et al. (2019, arXiv:1911.07963), section 4: the server scales each update Δₖ to a norm of at most M,
//! then averages:
//!
//! Σₖ nₖ·Δₖ·min(1, M/‖Δₖ‖) / Σₖ nₖ.
//!
//! A boosted update then counts no more than an honest one can. The scaling is part of the weight, aₖ = nₖ·(M/‖Δₖ‖) in
//! `f64` where ‖Δₖ‖ = √(‖Δₖ‖²) is above M, so the host still sums exactly, and nothing is copied. The denominator is Σ
//! nₖ, added to 0 in the order of the clients. The paper's other defence, noise on the server, is `dp-gaussian`'s part.
//! The authors' code counts all clients alike (`weights = uniform`).
//!
//! Other than `clip`, which acts on clients and so trusts them, it binds those that attack. The updates are kept until their
//! norms are known. Behind a mix the host weighs all rows alike and asks no weights, so nothing would be scaled: it is refused.

use colla_plugin_sdk::{Aggregate, Cohort, Error, Member, Parameters, Plugin, Result, Sums, colla_plugin};

struct NormBound {
    norm: f64,
    uniform: bool,
}

impl Plugin for NormBound {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(NormBound { norm: parameters.f64("norm")?, uniform: parameters.choice("weights")? == "uniform" })
    }
}

impl NormBound {
    /// nₖ, or 1.
    fn count(&self, member: &Member) -> f64 {
        if self.uniform { 1.0 } else { member.num_examples }
    }
}

impl Aggregate for NormBound {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, member) in weights.iter_mut().zip(cohort.members()) {
            let trained = member.trained;
            let trained =
                trained.ok_or_else(|| Error::argument("norms are bounded after training; the table has none"))?;
            let norm = trained.update_norm2.sqrt();
            if !norm.is_finite() {
                // Not with the value: formatting floats would add 20 KB to the plugin.
                return Err(Error::numeric("the norm of an update is not finite, so it cannot be bounded"));
            }
            let count = self.count(&member);
            *weight = if norm > self.norm { count * (self.norm / norm) } else { count };
        }
        Ok(())
    }

    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        Ok(sums.clients.members().fold(0.0, |sum, member| sum + self.count(&member)))
    }
}

colla_plugin!(NormBound: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::{status, table};
    use colla_plugin_sdk::testing::Testbed;

    /// Norms 4, 2 and 0.
    const COHORT: [[f64; table::COLUMNS_AFTER]; 3] = [
        [30.0, 10.0, 1.0, 0.0, 0.9, 0.0, 16.0],
        [10.0, 5.0, 0.5, 0.0, 0.8, 0.0, 4.0],
        [20.0, 5.0, 0.5, 0.0, 0.7, 0.0, 0.0],
    ];

    fn weighed(parameters: &[(&str, Value)]) -> (Vec<f64>, f64) {
        let mut plugin = Testbed::<NormBound>::new(parameters);
        let weights = plugin.weigh(&COHORT).unwrap();
        let denominator = plugin.denominator(&COHORT, &weights).unwrap();
        (weights, denominator)
    }

    #[test]
    fn longer_updates_count_less_and_the_denominator_does_not_know() {
        assert_eq!(weighed(&[("norm", 2.0.into())]), (vec![15.0, 10.0, 20.0], 60.0));
        assert_eq!(weighed(&[("norm", 1.0.into()), ("weights", "uniform".into())]), (vec![0.25, 0.5, 1.0], 3.0));
    }

    #[test]
    fn a_bound_above_all_norms_is_fedavg() {
        assert_eq!(weighed(&[("norm", 4.0.into())]), (vec![30.0, 10.0, 20.0], 60.0));
    }

    #[test]
    fn norms_that_are_missing_or_not_numbers_are_refused() {
        let before = COHORT.map(|row| [row[0], row[1], row[2], row[3]]);
        assert_eq!(Testbed::<NormBound>::new(&[]).weigh(&before).unwrap_err().code, status::E_ARG);
        let mut cohort = COHORT;
        cohort[1][table::UPDATE_NORM2] = f64::INFINITY;
        assert_eq!(Testbed::<NormBound>::new(&[]).weigh(&cohort).unwrap_err().code, status::E_NUMERIC);
    }
}
