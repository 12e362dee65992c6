//! Krum of Blanchard et al. (NeurIPS 2017, arXiv:1703.02757). Among n updates of which f may be hostile, the score of update
//! i is the sum of its squared distances to the n − f − 2 others nearest to it (section 4); the update with the lowest score
//! is the aggregate, ties to the lower index. It is Multi-Krum with m = 1.
//!
//! In `f64`: dᵢⱼ = max(0, (Gᵢᵢ + Gⱼⱼ) − 2·Gᵢⱼ), a score adds the smallest ones to 0 in ascending order
//! ([`robust::Krum`]). The selected update has the coefficient 1 and comes out bit for bit.

use colla_plugin_sdk::robust::{self, Krum};
use colla_plugin_sdk::{Aggregate, Decision, Gram, Parameters, Plugin, Result, colla_plugin};

struct OneKrum(Krum);

impl Plugin for OneKrum {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(OneKrum(Krum::create(parameters)?))
    }
}

impl Aggregate for OneKrum {
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        self.0.require(gram.rows(), 2)?;
        let rows: Vec<usize> = (0..gram.rows()).collect();
        let selected = robust::lowest(&self.0.scores(gram, &rows), 1);
        robust::mean_of(&selected, gram.examples(), false, decision.row(0))
    }
}

colla_plugin!(OneKrum: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::testing::Testbed;

    fn coefficients(parameters: &[(&str, Value)], points: &[f32]) -> Result<Vec<f64>> {
        let rows: Vec<Vec<f32>> = points.iter().map(|&x| vec![x]).collect();
        Ok(Testbed::<OneKrum>::new(parameters).decide(&rows, &vec![1.0; rows.len()])?.remove(0))
    }

    /// With f = 1 the two nearest others count: 0: 1 + 9 = 10; 1: 1 + 4 = 5; 3: 4 + 9 = 13; 7: 16 + 36; 100: 93² + 97².
    const LINE: [f32; 5] = [0.0, 1.0, 3.0, 7.0, 100.0];

    #[test]
    fn the_hand_computed_lowest_score_is_selected_with_a_coefficient_of_exactly_one() {
        assert_eq!(coefficients(&[], &LINE).unwrap(), [0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn one_more_neighbour_as_in_byzfl_changes_who_is_best() {
        // Three others: 0: 1 + 9 + 49 = 59; 1: 1 + 4 + 36 = 41; 3: 4 + 9 + 16 = 29; 7: 16 + 36 + 49 = 101.
        let byzfl = coefficients(&[("neighbours", "n-f-1".into())], &LINE).unwrap();
        assert_eq!(byzfl, [0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn equal_scores_go_to_the_lower_index() {
        assert_eq!(coefficients(&[], &[5.0; 5]).unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn too_few_updates_are_refused_with_the_numbers() {
        let few = coefficients(&[("f", 2i64.into())], &[1.0; 6]).unwrap_err();
        assert_eq!(few.message, "6 updates, and `f = 2` needs at least 2f + 3 = 7; use `f` of at most 1");
    }
}
