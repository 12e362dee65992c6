//! Nearest-neighbour mixing (NNM) of Allouah et al. (AISTATS 2023, arXiv:2302.01772), Algorithm 2: each of n updates becomes
//! the mean of the n − f updates nearest to it, itself among them; then any robust rule follows. Mixing brings the honest
//! updates of unlike clients together, without which robust rules lose them.
//!
//! Neighbours are taken by (squared distance, index) in ascending order; each has the coefficient 1/(n − f).

use colla_plugin_sdk::{Decision, Gram, Mix, Parameters, Plugin, Result, colla_plugin, robust};

struct Nnm {
    f: usize,
}

impl Plugin for Nnm {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Nnm { f: robust::count(parameters, "f")? })
    }
}

impl Mix for Nnm {
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let (n, f) = (gram.rows(), self.f);
        robust::require_minority(n, f)?;
        for i in 0..n {
            let coefficients = decision.row(i);
            nearest(gram, i, n - f).into_iter().for_each(|j| coefficients[j] = 1.0 / (n - f) as f64);
        }
        Ok(())
    }
}

/// The `count` rows nearest to row `i`, itself the first.
fn nearest(gram: &Gram<'_>, i: usize, count: usize) -> Vec<usize> {
    let distances: Vec<f64> = (0..gram.rows()).map(|j| gram.dist2(i, j)).collect();
    let mut order: Vec<usize> = (0..gram.rows()).collect();
    // Stable, so equal distances stay in the order of their indices; a row comes before its duplicates.
    order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then((a != i).cmp(&(b != i))));
    order.truncate(count);
    order
}

colla_plugin!(Nnm: mix);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn mixed(f: i64, rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
        Testbed::<Nnm>::new(&[("f", f.into())]).decide(rows, &vec![1.0; rows.len()]).unwrap()
    }

    fn line(points: &[f32]) -> Vec<Vec<f32>> {
        points.iter().map(|&x| vec![x]).collect()
    }

    #[test]
    fn each_row_is_the_mean_of_its_nearest_ones_by_hand() {
        // Three nearest of 0, 1, 3, 100: 0, 1, 3 for the first three; 100, 3, 1 for the last.
        let third = 1.0 / 3.0;
        let near = vec![third, third, third, 0.0];
        assert_eq!(
            mixed(1, &line(&[0.0, 1.0, 3.0, 100.0])),
            [near.clone(), near.clone(), near, vec![0.0, third, third, third]]
        );
    }

    #[test]
    fn equal_distances_go_to_the_lower_index_and_a_row_is_always_its_own_neighbour() {
        let half = |a: usize, b: usize| (0..3).map(|j| if j == a || j == b { 0.5 } else { 0.0 }).collect::<Vec<_>>();
        // 1 is as far from 0 as from 2.
        assert_eq!(mixed(1, &line(&[0.0, 1.0, 2.0])), [half(0, 1), half(0, 1), half(1, 2)]);
        // Three equal rows: itself and the first other.
        assert_eq!(mixed(1, &line(&[4.0, 4.0, 4.0])), [half(0, 1), half(0, 1), half(0, 2)]);
    }

    #[test]
    fn without_hostile_clients_every_row_becomes_the_mean() {
        assert_eq!(mixed(0, &line(&[0.0, 1.0, 2.0, 9.0])), vec![vec![0.25; 4]; 4]);
    }

    #[test]
    fn mixing_follows_the_order_of_the_rows() {
        let points = [0.0, 0.7, 3.0, 3.1, 8.0, -20.0];
        let order = [3, 0, 5, 1, 4, 2];
        let plain = mixed(2, &line(&points));
        let permuted = mixed(2, &line(&order.map(|k| points[k])));
        for (row, &k) in permuted.iter().zip(&order) {
            assert_eq!(*row, order.map(|j| plain[k][j]));
        }
    }

    #[test]
    fn half_of_the_cohort_or_more_cannot_be_hostile() {
        let refused = Testbed::<Nnm>::new(&[("f", 2i64.into())]).decide(&line(&[0.0; 4]), &[1.0; 4]).unwrap_err();
        assert_eq!(refused.message, "4 updates, and `f = 2` is not less than half of them; use `f` of at most 1");
    }
}
