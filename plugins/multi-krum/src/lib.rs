//! Krum and Multi-Krum of Blanchard et al. (NeurIPS 2017, arXiv:1703.02757). Among n updates of which f may be hostile, the
//! score of update i is the sum of its squared distances to the n − f − 2 others nearest to it (the Krum function of the
//! paper's section 4). Multi-Krum averages the m updates with the lowest scores; m = 1 is Krum. The paper leaves m open; the
//! default n − f is ByzFL's, the library of the paper's group takes n − f − 2.
//!
//! For whoever writes it in another language, bit for bit, in `f64`:
//! 1. dᵢⱼ = max(0, (Gᵢᵢ + Gⱼⱼ) − 2·Gᵢⱼ) for every j ≠ i.
//! 2. The score adds the smallest dᵢⱼ to 0 in ascending order.
//! 3. Updates are selected by (score, index) in ascending order, so ties go to the lower index.
//! 4. Coefficients: 1/m, or nᵢ / Σ nⱼ with the examples of the selected added to 0 in the order of their indices. What is
//!    not selected has 0. So a single update has exactly 1 and comes out bit for bit.

use colla_plugin_sdk::robust::{self, Krum};
use colla_plugin_sdk::{Aggregate, Decision, Error, Gram, Parameters, Plugin, Result, colla_plugin};

struct MultiKrum {
    krum: Krum,
    /// `None`: n − f.
    m: Option<usize>,
    by_examples: bool,
}

impl Plugin for MultiKrum {
    fn create(parameters: &Parameters) -> Result<Self> {
        let m = robust::count(parameters, "m")?;
        Ok(MultiKrum {
            krum: Krum::create(parameters)?,
            m: (m > 0).then_some(m),
            by_examples: parameters.choice("weights")? == "num-examples",
        })
    }
}

impl Aggregate for MultiKrum {
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let n = gram.rows();
        self.krum.require(n, 2)?;
        let m = self.m.unwrap_or(n - self.krum.f);
        if m > n {
            return Err(Error::argument(format!("`m = {m}`, and there are {n} updates; use at most as many, or 0")));
        }
        let rows: Vec<usize> = (0..n).collect();
        let selected = robust::lowest(&self.krum.scores(gram, &rows), m);
        robust::mean_of(&selected, gram.examples(), self.by_examples, decision.row(0))
    }
}

colla_plugin!(MultiKrum: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::status;
    use colla_plugin_sdk::testing::Testbed;

    fn coefficients(parameters: &[(&str, Value)], rows: &[Vec<f32>]) -> Vec<f64> {
        let examples: Vec<f64> = (1..=rows.len()).map(|k| 10.0 * k as f64).collect();
        Testbed::<MultiKrum>::new(parameters).decide(rows, &examples).unwrap().remove(0)
    }

    /// 0, 1, 3, 7 and an outlier on a line. With f = 1 the two nearest others count:
    /// 0: 1 + 9 = 10; 1: 1 + 4 = 5; 3: 4 + 9 = 13; 7: 16 + 36 = 52; 100: 93² + 97².
    fn line() -> Vec<Vec<f32>> {
        [0.0, 1.0, 3.0, 7.0, 100.0].map(|x| vec![x]).to_vec()
    }

    #[test]
    fn krum_selects_the_hand_computed_lowest_score_with_a_coefficient_of_exactly_one() {
        assert_eq!(coefficients(&[("m", 1i64.into())], &line()), [0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            coefficients(&[("m", 1i64.into()), ("weights", "num-examples".into())], &line()),
            [0.0, 1.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn multi_krum_averages_the_best_and_by_default_all_but_f() {
        assert_eq!(coefficients(&[("m", 2i64.into())], &line()), [0.5, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!(coefficients(&[], &line()), [0.25, 0.25, 0.25, 0.25, 0.0]);
        // 10 and 20 examples.
        let weighted = coefficients(&[("m", 2i64.into()), ("weights", "num-examples".into())], &line());
        assert_eq!(weighted, [10.0 / 30.0, 20.0 / 30.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn one_more_neighbour_changes_who_is_best() {
        // Three others: 0: 1 + 9 + 49 = 59; 1: 1 + 4 + 36 = 41; 3: 4 + 9 + 16 = 29; 7: 16 + 36 + 49 = 101.
        let byzfl = coefficients(&[("m", 1i64.into()), ("neighbours", "n-f-1".into())], &line());
        assert_eq!(byzfl, [0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn equal_scores_go_to_the_lower_index() {
        let rows = [5.0, 5.0, 5.0, 5.0, 5.0].map(|x| vec![x]).to_vec();
        assert_eq!(coefficients(&[("m", 2i64.into())], &rows), [0.5, 0.5, 0.0, 0.0, 0.0]);
        // Mirror images: -1 and 1 score 1 + 4 each (f = 1), 0 scores 1 + 1.
        let rows = [-1.0, 1.0, 0.0, 50.0, -50.0].map(|x| vec![x]).to_vec();
        assert_eq!(coefficients(&[("m", 2i64.into())], &rows), [0.5, 0.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn with_all_selected_it_is_the_uniform_mean() {
        assert_eq!(coefficients(&[("m", 5i64.into())], &line()), [0.2; 5]);
        assert_eq!(coefficients(&[("f", 0i64.into())], &line()), [0.2; 5]);
    }

    #[test]
    fn the_selection_does_not_depend_on_the_order_of_the_updates() {
        let rows = |order: [usize; 5]| order.map(|k| line()[k].clone()).to_vec();
        for order in [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 2, 3, 4, 0]] {
            let plain = coefficients(&[("m", 2i64.into())], &line());
            let permuted = coefficients(&[("m", 2i64.into())], &rows(order));
            assert_eq!(permuted, order.map(|k| plain[k]));
        }
    }

    #[test]
    fn huge_hostile_updates_are_never_selected() {
        let mut rows: Vec<Vec<f32>> = (0..9).map(|k| vec![k as f32 * 0.1, 1.0]).collect();
        rows[2] = vec![3e38, -3e38];
        rows[5] = vec![3e38, -3e38];
        let given = coefficients(&[("f", 2i64.into())], &rows);
        assert_eq!((given[2], given[5]), (0.0, 0.0));
        assert_eq!(given.iter().filter(|&&c| c == 1.0 / 7.0).count(), 7);
    }

    #[test]
    fn too_few_updates_and_too_many_to_select_are_refused_with_the_numbers() {
        let refused = |parameters: &[(&str, Value)], rows: usize| {
            let rows = vec![vec![1.0]; rows];
            Testbed::<MultiKrum>::new(parameters).decide(&rows, &vec![1.0; rows.len()]).unwrap_err()
        };
        let few = refused(&[("f", 2i64.into())], 6);
        assert_eq!(few.code, status::E_ARG);
        assert_eq!(few.message, "6 updates, and `f = 2` needs at least 2f + 3 = 7; use `f` of at most 1");
        assert!(refused(&[("f", 0i64.into())], 2).message.ends_with("use larger cohorts"));
        let many = refused(&[("m", 6i64.into())], 5);
        assert_eq!(many.message, "`m = 6`, and there are 5 updates; use at most as many, or 0");
    }

    #[test]
    fn updates_without_examples_cannot_be_weighed_by_them() {
        let mut plugin = Testbed::<MultiKrum>::new(&[("weights", "num-examples".into())]);
        assert_eq!(plugin.decide(&line(), &[0.0; 5]).unwrap_err().code, status::E_NUMERIC);
    }
}
