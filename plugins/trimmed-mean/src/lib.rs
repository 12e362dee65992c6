//! Coordinate-wise trimmed mean, Definition 2 of Yin et al. (arXiv:1803.01498): for each coordinate, drop the ⌊βK⌋
//! smallest and the ⌊βK⌋ largest of K values and average the rest, unweighted, in ascending order, in `f32`; where the sum is
//! beyond `f32`, in `f64` ([`robust::mean`]).

use colla_plugin_sdk::{Aggregate, Parameters, Plugin, Result, colla_plugin, math, robust};

struct TrimmedMean {
    beta: f64,
}

impl Plugin for TrimmedMean {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(TrimmedMean { beta: parameters.f64("beta")? })
    }
}

impl Aggregate for TrimmedMean {
    fn reduce(&mut self, rows: &[&[f32]], _weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        let cut = cut(self.beta, rows.len());
        if cut == 0 {
            math::mean(rows, out);
        } else {
            math::reduce_sorted(rows, out, |sorted| robust::mean(&sorted[cut..sorted.len() - cut]));
        }
        Ok(())
    }
}

/// ⌊βK⌋, as by decimal arithmetic (0.29·100 is 28.999… in binary), and never so much that nothing is left.
fn cut(beta: f64, k: usize) -> usize {
    ((beta * k as f64 + 1e-9) as usize).min((k - 1) / 2)
}

colla_plugin!(TrimmedMean: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn rows(k: usize, n: usize) -> Vec<Vec<f32>> {
        (0..k).map(|k| (0..n).map(|i| ((i * 31 + k * 17) % 23) as f32 - 11.0).collect()).collect()
    }

    #[test]
    fn the_ends_of_each_coordinate_are_cut_and_the_rest_averaged() {
        let mut plugin = Testbed::<TrimmedMean>::new(&[("beta", 0.25.into())]);
        // K = 4, one cut at each end: (2 + 3)/2 and (-1 + 0)/2
        let rows = [vec![1.0, -1.0], vec![1e30, 0.0], vec![2.0, -1e30], vec![3.0, 7.0]];
        assert_eq!(plugin.reduce(&rows).unwrap(), [2.5, -0.5]);
    }

    #[test]
    fn with_nothing_to_cut_it_is_the_mean_of_the_rows() {
        let rows = rows(9, 100);
        let slices: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let mut expected = vec![0.0; 100];
        math::mean(&slices, &mut expected);
        for beta in [0.0, 0.1] {
            assert_eq!(Testbed::<TrimmedMean>::new(&[("beta", beta.into())]).reduce(&rows).unwrap(), expected);
        }
    }

    #[test]
    fn the_result_is_that_of_sorting_each_column_and_does_not_depend_on_the_range() {
        let rows = rows(20, 203);
        let mut plugin = Testbed::<TrimmedMean>::new(&[("beta", 0.3.into())]);
        let whole = plugin.reduce(&rows).unwrap();
        for (i, value) in whole.iter().enumerate() {
            let mut column: Vec<f32> = rows.iter().map(|row| row[i]).collect();
            column.sort_by(f32::total_cmp);
            assert_eq!(*value, column[6..14].iter().sum::<f32>() / 8.0);
        }
        let cut = |from: usize, to: usize| -> Vec<Vec<f32>> { rows.iter().map(|row| row[from..to].to_vec()).collect() };
        let pieces = [plugin.reduce(&cut(0, 45)).unwrap(), plugin.reduce(&cut(45, 203)).unwrap()].concat();
        assert_eq!(pieces, whole);
    }

    #[test]
    fn hostile_nans_are_cut_like_other_extremes() {
        let mut rows = rows(10, 40);
        rows[3] = vec![f32::NAN; 40];
        rows[7] = vec![-f32::NAN; 40];
        let mut plugin = Testbed::<TrimmedMean>::new(&[("beta", 0.2.into())]);
        assert!(plugin.reduce(&rows).unwrap().iter().all(|value| value.is_finite()));
    }

    #[test]
    fn the_number_cut_follows_decimal_arithmetic_and_leaves_something() {
        assert_eq!(cut(0.29, 100), 29);
        assert_eq!(cut(0.1, 9), 0);
        assert_eq!(cut(0.3, 20), 6);
        assert_eq!(cut(0.499_999_999_9, 2), 0);
        assert_eq!(cut(0.1, 1), 0);
    }
}
