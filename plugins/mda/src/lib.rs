//! Minimum-diameter averaging (MDA) of El Mhamdi et al. (PODC 2020, arXiv:1905.03853; from Rousseeuw, 1985): of n updates, f
//! of which may be hostile, the mean of the n − f whose largest distance from one another is smallest. Of several such sets
//! it is the first in lexicographic order of the indices, as an enumeration would meet it.
//!
//! The set is exact, not a heuristic's. The search does not go through all subsets: a set has a diameter of at most d if the
//! f updates left out cover all pairs that are farther apart than d, so it asks for which d so few can cover them. That is
//! quick where f is small or hostile updates lie apart from the others, and hard only for pathological distances: cohorts of
//! more than 256 updates and searches of more than 100,000 steps are refused.
//!
//! In `f64`: dᵢⱼ² = max(0, (Gᵢᵢ + Gⱼⱼ) − 2·Gᵢⱼ). The selected updates are averaged with 1/(n − f), or by their shares of
//! the selected ones' examples, which are added to 0 in the order of the indices. Memory: all updates of the cohort.

mod search;

use colla_plugin_sdk::{Aggregate, Decision, Error, Gram, Parameters, Plugin, Result, colla_plugin, robust};

struct Mda {
    f: usize,
    by_examples: bool,
}

impl Plugin for Mda {
    fn create(parameters: &Parameters) -> Result<Self> {
        let by_examples = parameters.choice("weights")? == "num-examples";
        Ok(Mda { f: robust::count(parameters, "f")?, by_examples })
    }
}

impl Aggregate for Mda {
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let n = gram.rows();
        robust::require_minority(n, self.f)?;
        if n > search::MAX_ROWS {
            return Err(Error::argument(format!(
                "{n} updates, and the exact search takes at most {}; use smaller cohorts, or `multi-krum`",
                search::MAX_ROWS
            )));
        }
        let selected = search::smallest_diameter(n, self.f, |i, j| gram.dist2(i, j))?;
        robust::mean_of(&selected, gram.examples(), self.by_examples, decision.row(0))
    }
}

colla_plugin!(Mda: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::testing::Testbed;

    fn coefficients(parameters: &[(&str, Value)], points: &[f32]) -> Result<Vec<f64>> {
        let rows: Vec<Vec<f32>> = points.iter().map(|&x| vec![x]).collect();
        let examples: Vec<f64> = (1..=rows.len()).map(|k| 10.0 * k as f64).collect();
        Ok(Testbed::<Mda>::new(parameters).decide(&rows, &examples)?.remove(0))
    }

    #[test]
    fn the_updates_that_lie_closest_together_are_averaged() {
        // Three of five: 7, 8 and 9 span 2; 0, 1 and 3 span 3.
        let third = 1.0 / 3.0;
        let f = ("f", Value::from(2i64));
        assert_eq!(
            coefficients(std::slice::from_ref(&f), &[7.0, 0.0, 8.0, 3.0, 9.0]).unwrap(),
            [third, 0.0, third, 0.0, third]
        );
        // 10, 30 and 50 examples.
        let weighted = coefficients(&[f, ("weights", "num-examples".into())], &[7.0, 0.0, 8.0, 3.0, 9.0]).unwrap();
        assert_eq!(weighted, [10.0 / 90.0, 0.0, 30.0 / 90.0, 0.0, 50.0 / 90.0]);
    }

    #[test]
    fn without_hostile_clients_it_is_the_mean() {
        assert_eq!(coefficients(&[("f", 0i64.into())], &[1.0, 5.0, 1e30, 2.0]).unwrap(), [0.25; 4]);
    }

    #[test]
    fn cohorts_that_the_search_cannot_take_are_refused_with_the_numbers() {
        let large = coefficients(&[], &vec![1.0; 257]).unwrap_err();
        let expected = "257 updates, and the exact search takes at most 256; use smaller cohorts, or `multi-krum`";
        assert_eq!(large.message, expected);
        let half = coefficients(&[("f", 2i64.into())], &[1.0; 4]).unwrap_err();
        assert_eq!(half.message, "4 updates, and `f = 2` is not less than half of them; use `f` of at most 1");
    }
}
