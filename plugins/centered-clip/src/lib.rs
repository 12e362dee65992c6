//! Centered clipping of Karimireddy et al. (ICML 2021, arXiv:2012.10333), section 5: from a centre v,
//!
//! v ← v + Σₖ pₖ·(xₖ − v)·min(1, τ/‖xₖ − v‖), `iterations` times.
//!
//! The first centre is the aggregate of the round before, zero in the first round, so that what hostile clients move in one
//! round is bounded and honest updates, which change slowly, are hardly clipped. pₖ is 1/n; by examples it is nₖ / Σ nⱼ.
//! The paper lets clients send momentum; here they send updates, as in its federated variant.
//!
//! It works on the coefficients of v, in `f64`: cⱼ over all rows, the last of which is the first centre, with Σ cⱼ = 1, so
//! that distances do not depend on the origin of the Gram matrix G. In each iteration, with sums in the order of the rows,
//! 1. uⱼ = Σᵢ Gⱼᵢ·cᵢ and s = Σⱼ cⱼ·uⱼ;
//! 2. ‖xₖ − v‖² = max(0, (s − 2·uₖ) + Gₖₖ), aₖ = pₖ·min(1, τ/‖xₖ − v‖), and aₖ = pₖ where the distance is 0;
//! 3. cⱼ ← cⱼ·(1 − Σₖ aₖ) for all rows, then cₖ ← cₖ + aₖ for the clients' rows.
//!
//! Memory: all updates of the cohort and the last aggregate.

use colla_plugin_sdk::{
    Aggregate, Decision, DecisionPlan, Error, ExtraRow, Gram, Parameters, Plugin, Result, colla_plugin, robust,
};

struct CenteredClip {
    tau: f64,
    iterations: usize,
    by_examples: bool,
}

impl Plugin for CenteredClip {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(CenteredClip {
            tau: parameters.f64("tau")?,
            iterations: robust::count(parameters, "iterations")?,
            by_examples: parameters.choice("weights")? == "num-examples",
        })
    }
}

impl Aggregate for CenteredClip {
    fn decision(&mut self, _clients: u64) -> Result<DecisionPlan> {
        Ok(DecisionPlan::rows(1).with(ExtraRow::Previous))
    }

    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let clients = gram.rows() - 1;
        if clients == 0 {
            return Err(Error::argument("there is no update besides the last aggregate; clipping needs at least one"));
        }
        let all: Vec<usize> = (0..clients).collect();
        let mut shares = vec![0.0; clients];
        robust::mean_of(&all, &gram.examples()[..clients], self.by_examples, &mut shares)?;
        let centre = decision.row(0);
        centre[clients] = 1.0;
        for _ in 0..self.iterations {
            let pulls = self.pulls(gram, centre, &shares);
            let rest = 1.0 - pulls.iter().fold(0.0, |sum, pull| sum + pull);
            centre.iter_mut().for_each(|coefficient| *coefficient *= rest);
            centre.iter_mut().zip(pulls).for_each(|(coefficient, pull)| *coefficient += pull);
        }
        Ok(())
    }
}

impl CenteredClip {
    /// aₖ of each client for the centre with these coefficients.
    fn pulls(&self, gram: &Gram<'_>, centre: &[f64], shares: &[f64]) -> Vec<f64> {
        let rows = gram.rows();
        let product = |j: usize| (0..rows).fold(0.0, |sum, i| sum + gram.product(j, i) * centre[i]);
        let products: Vec<f64> = (0..rows).map(product).collect();
        let norm2 = products.iter().zip(centre).fold(0.0, |sum, (product, coefficient)| sum + coefficient * product);
        let pull = |(k, share): (usize, &f64)| {
            let distance = (norm2 - 2.0 * products[k] + gram.product(k, k)).max(0.0).sqrt();
            if distance > self.tau { share * (self.tau / distance) } else { *share }
        };
        shares.iter().enumerate().map(pull).collect()
    }
}

colla_plugin!(CenteredClip: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::{op, status};
    use colla_plugin_sdk::testing::{Fields, Testbed};

    /// Coefficients of DECIDE for clients and the last aggregate, all points of the plane.
    fn coefficients(parameters: &[(&str, Value)], clients: &[[f64; 2]], previous: [f64; 2]) -> Result<Vec<f64>> {
        let rows: Vec<[f64; 2]> = clients.iter().copied().chain([previous]).collect();
        let table = rows.iter().flat_map(|a| rows.iter().map(|b| a[0] * b[0] + a[1] * b[1]).collect::<Vec<_>>());
        let k = rows.len();
        let weights = (0..k).map(|i| if i + 1 < k { 10.0 * (i + 1) as f64 } else { 0.0 }).collect();
        let fields = Fields { k, table: table.collect(), weights, mix_out: vec![f64::NAN; k], ..Fields::default() };
        Ok(Testbed::<CenteredClip>::new(parameters).block(op::DECIDE, fields)?.mix_out)
    }

    #[track_caller]
    fn near(given: &[f64], expected: &[f64]) {
        let apart = given.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(given.len() == expected.len() && apart < 1e-12, "{given:?} instead of {expected:?}");
    }

    #[test]
    fn updates_beyond_the_radius_count_with_its_length() {
        // From the origin: (3, 4) at 5 is clipped to 1, (0.5, 0) is not; a = 1/2·1/5 and 1/2.
        let given = coefficients(&[("tau", 1.0.into())], &[[3.0, 4.0], [0.5, 0.0]], [0.0, 0.0]).unwrap();
        near(&given, &[0.1, 0.5, 0.4]);
    }

    #[test]
    fn the_first_centre_is_the_last_aggregate() {
        // From (3, 0): (3, 4) at 4 is clipped to 2, (1, 0) at 2 is just not.
        let given = coefficients(&[("tau", 2.0.into())], &[[3.0, 4.0], [1.0, 0.0]], [3.0, 0.0]).unwrap();
        near(&given, &[0.25, 0.5, 0.25]);
    }

    #[test]
    fn a_second_iteration_starts_from_the_first_ones_centre() {
        // One client at 4, radius 1: centre 1, then 2, then 3, then 4.
        for iterations in 1..=5u32 {
            let parameters = [("tau", 1.0.into()), ("iterations", i64::from(iterations).into())];
            let given = coefficients(&parameters, &[[4.0, 0.0]], [0.0, 0.0]).unwrap();
            near(&[4.0 * given[0]], &[f64::from(iterations.min(4))]);
        }
    }

    #[test]
    fn a_radius_around_all_updates_gives_their_mean_whatever_the_centre() {
        let clients = [[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]];
        near(
            &coefficients(&[("tau", 1e9.into())], &clients, [7.0, 7.0]).unwrap(),
            &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
        );
        let weighted = [("tau", 1e9.into()), ("weights", "num-examples".into())];
        near(&coefficients(&weighted, &clients, [7.0, 7.0]).unwrap(), &[1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0, 0.0]);
    }

    #[test]
    fn a_huge_hostile_update_moves_the_centre_by_no_more_than_its_share_of_the_radius() {
        let given = coefficients(&[("tau", 1.0.into())], &[[0.0, 0.0], [0.0, 0.0], [1e30, 0.0]], [0.0, 0.0]).unwrap();
        assert!((given[2] * 1e30 - 1.0 / 3.0).abs() < 1e-12, "{given:?}");
    }

    #[test]
    fn equal_rows_and_no_rows_have_an_answer() {
        near(&coefficients(&[], &[[2.0, 1.0]], [2.0, 1.0]).unwrap(), &[1.0, 0.0]);
        assert_eq!(coefficients(&[], &[], [0.0, 0.0]).unwrap_err().code, status::E_ARG);
        let mixed = Testbed::<CenteredClip>::new(&[("weights", "num-examples".into())]).decide(&[vec![1.0]], &[0.0]);
        assert_eq!(mixed.unwrap_err().code, status::E_NUMERIC);
    }
}
