//! q-FedAvg, Algorithm 2 of Li et al. (ICLR 2020, arXiv:1905.10497). With Fₖ the loss of the received weights wᵗ on the
//! data of client k and Δwₖ = L·(wᵗ − w̄ₖ), where L = 1/η is the inverse of the clients' learning rate, the paper has
//!
//! Δₖ = Fₖ^q·Δwₖ,  hₖ = q·Fₖ^(q−1)·‖Δwₖ‖² + L·Fₖ^q,  wᵗ⁺¹ = wᵗ − Σ Δₖ / Σ hₖ.
//!
//! Updates here are uₖ = w̄ₖ − wᵗ, so Δwₖ = −L·uₖ. Numerator and denominator divided by L:
//!
//! wᵗ⁺¹ − wᵗ = Σ Fₖ^q·uₖ / Σ (q·Fₖ^(q−1)·L·‖uₖ‖² + Fₖ^q).
//!
//! WEIGH gives Fₖ^q, DENOMINATOR the sum below; the host sums exactly. With q = 0 the weights are exactly 1 and the
//! denominator the number of clients: the uniform mean, bit for bit. As in the authors' code, 10⁻¹⁰ is added to each
//! loss, so that a client with loss 0 has a finite hₖ for q < 1.

use colla_plugin_sdk::math::libm::pow;
use colla_plugin_sdk::{Aggregate, Cohort, Error, Member, Parameters, Plugin, Result, Sums, Trained, colla_plugin};

/// The authors' addend to each loss.
const LOSS_FLOOR: f64 = 1e-10;

struct QFedAvg {
    q: f64,
    /// 0: as the table says.
    client_learning_rate: f64,
}

impl Plugin for QFedAvg {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(QFedAvg { q: parameters.f64("q")?, client_learning_rate: parameters.f64("client-learning-rate")? })
    }
}

impl Aggregate for QFedAvg {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, member) in weights.iter_mut().zip(cohort.members()) {
            *weight = finite(pow(loss(&trained(&member)?)?, self.q), self.q)?;
        }
        Ok(())
    }

    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        // With q = 0 neither the losses' powers nor the learning rate play a part.
        if self.q == 0.0 {
            return Ok(sums.weight_sum);
        }
        let lipschitz = 1.0 / self.learning_rate(sums.clients)?;
        let mut denominator = 0.0;
        for (member, weight) in sums.clients.members().zip(sums.weights) {
            let trained = trained(&member)?;
            let slope = self.q * pow(loss(&trained)?, self.q - 1.0);
            denominator += slope * lipschitz * trained.update_norm2 + weight;
        }
        finite(denominator, self.q)
    }
}

impl QFedAvg {
    /// η: the parameter, or the mean over all local steps of the cohort.
    fn learning_rate(&self, cohort: Cohort<'_>) -> Result<f64> {
        if self.client_learning_rate > 0.0 {
            return Ok(self.client_learning_rate);
        }
        let (steps, sum) = cohort.members().fold((0.0, 0.0), |(steps, sum), m| (steps + m.steps, sum + m.lr_sum));
        let mean = sum / steps;
        if mean > 0.0 && mean.is_finite() {
            return Ok(mean);
        }
        Err(Error::numeric(format!(
            "the learning rates of {steps} local steps sum to {sum}, which gives no L; set `client-learning-rate`"
        )))
    }
}

fn trained(member: &Member) -> Result<Trained> {
    member.trained.ok_or_else(|| Error::argument("q-FedAvg weighs after training; the table has no losses"))
}

/// Fₖ.
fn loss(trained: &Trained) -> Result<f64> {
    match trained.loss_before {
        loss if loss >= 0.0 && loss.is_finite() => Ok(loss + LOSS_FLOOR),
        loss => Err(Error::numeric(format!("a client's loss is {loss}; q-FedAvg needs finite losses of at least 0"))),
    }
}

fn finite(value: f64, q: f64) -> Result<f64> {
    let problem =
        || Error::numeric(format!("losses to the power of `q = {q}` are beyond all numbers; use a smaller `q`"));
    if value.is_finite() { Ok(value) } else { Err(problem()) }
}

colla_plugin!(QFedAvg: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::{status, table};
    use colla_plugin_sdk::testing::Testbed;

    /// Losses 4 and 1, squared norms 0.5 and 2, learning rate 0.1.
    const COHORT: [[f64; table::COLUMNS_AFTER]; 2] =
        [[30.0, 10.0, 1.0, 0.0, 0.9, 4.0, 0.5], [10.0, 5.0, 0.5, 0.0, 0.8, 1.0, 2.0]];

    fn weights_and_denominator<const COLUMNS: usize>(
        parameters: &[(&str, Value)],
        cohort: &[[f64; COLUMNS]],
    ) -> Result<(Vec<f64>, f64)> {
        let mut plugin = Testbed::<QFedAvg>::new(parameters);
        let weights = plugin.weigh(cohort)?;
        let denominator = plugin.denominator(cohort, &weights)?;
        Ok((weights, denominator))
    }

    #[track_caller]
    fn near(given: f64, expected: f64) {
        assert!((given - expected).abs() <= 1e-8 * expected.abs(), "{given} instead of {expected}");
    }

    #[test]
    fn weights_and_denominator_are_the_hand_computed_ones() {
        // q = 1/2: weights 2, 1; L = 10; ½·4^(−½)·10·0.5 + 2 + ½·1·10·2 + 1 = 1.25 + 2 + 10 + 1.
        let (weights, denominator) = weights_and_denominator(&[("q", 0.5.into())], &COHORT).unwrap();
        near(weights[0], 2.0);
        near(weights[1], 1.0);
        near(denominator, 14.25);
        // q = 2: weights 16, 1; 2·4·10·0.5 + 16 + 2·1·10·2 + 1 = 97.
        near(weights_and_denominator(&[("q", 2.0.into())], &COHORT).unwrap().1, 97.0);
    }

    #[test]
    fn a_given_learning_rate_takes_the_place_of_the_clients_own() {
        let given = |rate: f64| weights_and_denominator(&[("client-learning-rate", rate.into())], &COHORT).unwrap().1;
        // q = 1: L·(0.5 + 2) + 4 + 1.
        near(given(0.0), 30.0);
        near(given(0.1), 30.0);
        near(given(0.5), 10.0);
    }

    #[test]
    fn with_q_zero_it_is_the_uniform_mean() {
        assert_eq!(weights_and_denominator(&[("q", 0.0.into())], &COHORT), Ok((vec![1.0, 1.0], 2.0)));
        let mut cohort = COHORT;
        cohort[0][table::LOSS_BEFORE] = 0.0;
        cohort.iter_mut().for_each(|row| row[table::LR_SUM] = 0.0);
        assert_eq!(weights_and_denominator(&[("q", 0.0.into())], &cohort), Ok((vec![1.0, 1.0], 2.0)));
    }

    #[test]
    fn a_loss_of_zero_gives_finite_numbers_for_every_q() {
        let mut cohort = COHORT;
        cohort[1][table::LOSS_BEFORE] = 0.0;
        for q in [1e-3, 0.5, 1.0, 5.0, 100.0] {
            let (weights, denominator) = weights_and_denominator(&[("q", q.into())], &cohort).unwrap();
            assert!(weights.iter().all(|w| w.is_finite() && *w >= 0.0) && denominator.is_finite(), "{q}");
        }
    }

    #[test]
    fn numbers_that_the_method_cannot_use_are_refused() {
        let code = |parameters: &[(&str, Value)], column: usize, value: f64| {
            let mut cohort = COHORT;
            cohort.iter_mut().for_each(|row| row[column] = value);
            weights_and_denominator(parameters, &cohort).unwrap_err().code
        };
        assert_eq!(code(&[], table::LOSS_BEFORE, -0.5), status::E_NUMERIC);
        assert_eq!(code(&[], table::LOSS_BEFORE, f64::NAN), status::E_NUMERIC);
        assert_eq!(code(&[("q", 100.0.into())], table::LOSS_BEFORE, 1e6), status::E_NUMERIC);
        assert_eq!(code(&[], table::LR_SUM, 0.0), status::E_NUMERIC);
        let before = COHORT.map(|row| [row[0], row[1], row[2], row[3]]);
        assert_eq!(weights_and_denominator(&[], &before).unwrap_err().code, status::E_ARG);
    }
}
