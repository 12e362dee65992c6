//! FedNova of Wang et al. (NeurIPS 2020, arXiv:2007.07481), equation 8, for plain SGD: client k takes τₖ local steps, all at
//! one learning rate, so its normalised update is Δₖ/τₖ (the paper's aₖ is all ones, ‖aₖ‖₁ = τₖ). With pₖ = nₖ / Σ nⱼ,
//!
//! w ← w + τ_eff·Σₖ pₖ·Δₖ/τₖ,  τ_eff = Σₖ pₖ·τₖ.
//!
//! So clients that take more steps no longer count more than pₖ. Where all take the same number of steps it is FedAvg, up to
//! roundings. Weights aₖ = nₖ/τₖ are known before training, and the denominator is (Σ nₖ)²/Σ nₖ·τₖ, both sums added to 0 in
//! the order of the clients, in `f64`; the host forms Σ aₖ·Δₖ exactly. With `weights = uniform` nₖ is 1.
//!
//! Momentum has another aₖ and is refused. Weight decay and the terms of other plugins count as part of the gradient, so
//! beside a proximal term this is not the paper's proximal aₖ, which discounts early steps. A client without a step has no
//! update; it counts in Σ nₖ, as in FedAvg. Costs: none. Behind a mix, where the host
//! weighs all rows alike and asks no weights, it is refused.

use colla_plugin_sdk::{Aggregate, Cohort, Error, Member, Parameters, Plugin, Result, Sums, colla_plugin};

struct FedNova {
    uniform: bool,
}

impl Plugin for FedNova {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedNova { uniform: parameters.choice("weights")? == "uniform" })
    }
}

impl FedNova {
    /// nₖ, or 1.
    fn count(&self, member: &Member) -> f64 {
        if self.uniform { 1.0 } else { member.num_examples }
    }
}

impl Aggregate for FedNova {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, member) in weights.iter_mut().zip(cohort.members()) {
            *weight = if member.steps > 0.0 { self.count(&member) / member.steps } else { 0.0 };
        }
        Ok(())
    }

    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        let add = |(counts, steps): (f64, f64), member: Member| {
            let count = self.count(&member);
            (counts + count, steps + count * member.steps)
        };
        let (counts, steps) = sums.clients.members().fold((0.0, 0.0), add);
        if steps > 0.0 && steps.is_finite() {
            return Ok(counts * counts / steps);
        }
        // Not with the sums: formatting floats would add 20 KB to the plugin.
        Err(Error::numeric("the clients of this round took no step that counts, and FedNova divides by their number"))
    }
}

colla_plugin!(FedNova: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::status;
    use colla_plugin_sdk::testing::Testbed;

    fn weighed(parameters: &[(&str, Value)], cohort: &[[f64; 4]]) -> Result<(Vec<f64>, f64)> {
        let mut plugin = Testbed::<FedNova>::new(parameters);
        let weights = plugin.weigh(cohort)?;
        let denominator = plugin.denominator(cohort, &weights)?;
        Ok((weights, denominator))
    }

    #[test]
    fn the_mean_of_normalised_updates_is_scaled_by_the_mean_number_of_steps() {
        // n = 30 and 10, τ = 6 and 2: p = 3/4 and 1/4, τ_eff = 5; updates 12 and 8 give 5·(3/4·2 + 1/4·4) = 12.5.
        let cohort = [[30.0, 6.0, 0.6, 0.0], [10.0, 2.0, 0.2, 0.0]];
        let (weights, denominator) = weighed(&[], &cohort).unwrap();
        assert_eq!((&weights[..], denominator), (&[5.0, 5.0][..], 8.0));
        assert_eq!((weights[0] * 12.0 + weights[1] * 8.0) / denominator, 12.5);
        // Uniform: p = 1/2, τ_eff = 4: 4·(1/2·2 + 1/2·4) = 12.
        let (weights, denominator) = weighed(&[("weights", "uniform".into())], &cohort).unwrap();
        assert!(((weights[0] * 12.0 + weights[1] * 8.0) / denominator - 12.0).abs() < 1e-12);
    }

    #[test]
    fn with_equal_numbers_of_steps_it_is_fedavg() {
        let cohort = [[30.0, 7.0, 0.7, 0.0], [10.0, 7.0, 0.7, 0.0], [5.0, 7.0, 0.7, 0.0]];
        let (weights, denominator) = weighed(&[], &cohort).unwrap();
        for (weight, row) in weights.iter().zip(cohort) {
            assert!((weight / denominator - row[0] / 45.0).abs() < 1e-15);
        }
    }

    /// Two clients with Lₖ(w) = (bₖ/2)·(w − cₖ)² and τₖ steps: Δₖ = −qₖ·(w − cₖ) with qₖ = 1 − (1 − η·bₖ)^τₖ, so a sum
    /// with weights aₖ rests at Σ a·q·c / Σ a·q. The minimum is at Σ n·b·c / Σ n·b.
    #[test]
    fn on_unlike_quadratics_its_bias_vanishes_with_the_learning_rate_and_fedavgs_does_not() {
        let (n, b, c, tau) = ([30.0, 10.0], [1.0, 2.0], [-1.0, 4.0], [2.0, 9.0]);
        let cohort = [[n[0], tau[0], 0.0, 0.0], [n[1], tau[1], 0.0, 0.0]];
        let weights = Testbed::<FedNova>::new(&[]).weigh(&cohort).unwrap();
        let rest = |a: [f64; 2]| (a[0] * c[0] + a[1] * c[1]) / (a[0] + a[1]);
        let minimum = rest([n[0] * b[0], n[1] * b[1]]);
        let bias = |a: &[f64], rate: f64| {
            let moved = |k: usize| a[k] * (1.0 - (1.0 - rate * b[k]).powi(tau[k] as i32));
            (rest([moved(0), moved(1)]) - minimum).abs()
        };
        let (coarse, fine) = (bias(&weights, 1e-2), bias(&weights, 1e-3));
        assert!((coarse / fine - 10.0).abs() < 0.5 && fine < 0.01, "{coarse} {fine}");
        assert!(bias(&n, 1e-3) > 1.0, "{}", bias(&n, 1e-3));
    }

    #[test]
    fn a_client_without_a_step_counts_in_the_denominator_only_and_a_round_without_one_is_refused() {
        let cohort = [[30.0, 3.0, 0.3, 0.0], [10.0, 0.0, 0.0, 0.0]];
        // 40²/90
        assert_eq!(weighed(&[], &cohort), Ok((vec![10.0, 0.0], 1600.0 / 90.0)));
        assert_eq!(weighed(&[], &[[10.0, 0.0, 0.0, 0.0]]).unwrap_err().code, status::E_NUMERIC);
    }
}
