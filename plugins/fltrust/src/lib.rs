//! FLTrust of Cao et al. (NDSS 2021, arXiv:2012.13995), Algorithm 2. The server trains on a little data of its own and gets
//! the update g₀. The trust in update gₖ is TSₖ = max(0, cos(gₖ, g₀)); each update is brought to the length of g₀, then
//!
//! g = Σₖ TSₖ·(‖g₀‖/‖gₖ‖)·gₖ / Σₖ TSₖ.
//!
//! Numbers of examples play no part, since clients may lie about them. Updates that point away from g₀ count nothing, and so
//! do those shorter than 2⁻⁴⁰·‖g₀‖, zeros among them: lengthened that much, they would carry roundings. If all count nothing,
//! the aggregate is zero and the round changes nothing. The paper leaves these cases open.
//!
//! In `f64`, with row z of zeros and p the inner products of the Gram matrix: ‖gₖ‖ = √(max(0, (pₖₖ + p_zz) − 2·pₖ_z)),
//! cos = ⟨gₖ, g₀⟩/(‖gₖ‖·‖g₀‖), ΣTS is added to 0 in the order of the clients, and the coefficient of update k is
//! (TSₖ·(‖g₀‖/‖gₖ‖))/ΣTS. Memory: all updates of the cohort and the server's own. The paper's global learning rate is the
//! server's.

use colla_plugin_sdk::{
    Aggregate, Decision, DecisionPlan, Error, ExtraRow, Gram, Parameters, Plugin, Result, colla_plugin,
};

struct FlTrust;

/// Share of the root update's length below which an update counts nothing.
const SHORTEST: f64 = 1.0 / (1u64 << 40) as f64;

impl Plugin for FlTrust {
    fn create(_parameters: &Parameters) -> Result<Self> {
        Ok(FlTrust)
    }
}

impl Aggregate for FlTrust {
    fn decision(&mut self, _clients: u64) -> Result<DecisionPlan> {
        Ok(DecisionPlan::rows(1).with(ExtraRow::Root).with(ExtraRow::Zero))
    }

    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let Some(root) = gram.rows().checked_sub(2) else {
            let problem = format!("FLTrust needs the rows `root` and `zero`, the host gave {} rows", gram.rows());
            return Err(Error::argument(problem));
        };
        let zero = root + 1;
        let length = |row: usize| gram.norm2(row, zero).sqrt();
        let of_root = length(root);
        let trust = |k: usize| {
            let own = length(k);
            let long_enough = own > 0.0 && own >= of_root * SHORTEST;
            if long_enough && of_root > 0.0 { (gram.dot(k, root, zero) / (own * of_root)).max(0.0) } else { 0.0 }
        };
        let trusts: Vec<f64> = (0..root).map(trust).collect();
        let total = trusts.iter().fold(0.0, |sum, trust| sum + trust);
        for (k, (coefficient, trust)) in decision.row(0).iter_mut().zip(&trusts).enumerate() {
            // Nothing is divided by the length or the total of updates that count nothing.
            *coefficient = if *trust > 0.0 { trust * (of_root / length(k)) / total } else { 0.0 };
        }
        Ok(())
    }
}

colla_plugin!(FlTrust: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::op;
    use colla_plugin_sdk::testing::{Fields, Testbed};

    /// Coefficients of the clients' rows, for points of the plane and the root's.
    fn coefficients(clients: &[[f64; 2]], root: [f64; 2]) -> Vec<f64> {
        let rows: Vec<[f64; 2]> = clients.iter().copied().chain([root, [0.0, 0.0]]).collect();
        // With an origin other than zero, as the host may choose it.
        let at = |i: usize| [rows[i][0] - 0.5, rows[i][1] - 0.25];
        let (k, mut table) = (rows.len(), Vec::new());
        for i in 0..k {
            table.extend((0..k).map(|j| at(i)[0] * at(j)[0] + at(i)[1] * at(j)[1]));
        }
        let fields = Fields { k, table, weights: vec![7.0; k], mix_out: vec![f64::NAN; k], ..Fields::default() };
        let mut given = Testbed::<FlTrust>::new(&[]).block(op::DECIDE, fields).unwrap().mix_out;
        assert_eq!(given.split_off(clients.len()), [0.0, 0.0]);
        given
    }

    #[test]
    fn trust_is_the_cosine_and_each_update_gets_the_length_of_the_servers() {
        // Root (2, 0). (3, 4): cosine 0.6, length 5; (0.5, 0): cosine 1. ΣTS = 1.6.
        let given = coefficients(&[[3.0, 4.0], [0.5, 0.0]], [2.0, 0.0]);
        let expected = [0.6 * 2.0 / 5.0 / 1.6, 2.0 / 0.5 / 1.6];
        assert!(given.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{given:?} instead of {expected:?}");
    }

    #[test]
    fn updates_that_point_away_or_nowhere_count_nothing() {
        let given = coefficients(&[[-1.0, 0.1], [0.0, 0.0], [4.0, 0.0]], [1.0, 0.0]);
        assert_eq!(given[..2], [0.0, 0.0]);
        assert!((given[2] - 0.25).abs() < 1e-12, "{given:?}");
    }

    #[test]
    fn without_trust_in_anyone_or_without_a_root_update_nothing_moves() {
        assert_eq!(coefficients(&[[-1.0, 0.0], [-2.0, 1.0]], [1.0, 0.0]), [0.0, 0.0]);
        assert_eq!(coefficients(&[[1.0, 0.0]], [0.0, 0.0]), [0.0]);
    }

    #[test]
    fn a_hostile_update_of_almost_no_length_is_not_lengthened() {
        assert_eq!(coefficients(&[[1e-30, 0.0]], [1.0, 0.0]), [0.0]);
    }

    #[test]
    fn the_length_of_an_update_does_not_matter() {
        let with = |length: f64| coefficients(&[[length, length], [1.0, 0.0]], [1.0, 0.0]);
        let (short, long) = (with(1.0), with(64.0));
        assert!((short[0] - 64.0 * long[0]).abs() < 1e-12 && (short[1] - long[1]).abs() < 1e-12, "{short:?} {long:?}");
    }

    #[test]
    fn a_decision_without_the_extra_rows_is_refused() {
        let fields = Fields { k: 1, table: vec![1.0], weights: vec![1.0], mix_out: vec![0.0], ..Fields::default() };
        let refused = Testbed::<FlTrust>::new(&[]).block(op::DECIDE, fields).unwrap_err();
        assert_eq!(refused.message, "FLTrust needs the rows `root` and `zero`, the host gave 1 rows");
    }
}
