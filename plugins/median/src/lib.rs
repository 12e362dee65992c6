//! Coordinate-wise median, Definition 1 of Yin et al. (arXiv:1803.01498), unweighted.
//! Of an even number of values it is the mean of the two in the middle, in `f32`, or in `f64` where their sum is beyond `f32`
//! ([`robust::median`]); so of one or two clients it is the mean.

use colla_plugin_sdk::{Aggregate, Parameters, Plugin, Result, colla_plugin, math, robust};

struct Median;

impl Plugin for Median {
    fn create(_parameters: &Parameters) -> Result<Self> {
        Ok(Median)
    }
}

impl Aggregate for Median {
    fn reduce(&mut self, rows: &[&[f32]], _weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        math::reduce_sorted(rows, out, robust::median);
        Ok(())
    }
}

colla_plugin!(Median: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn odd_and_even_cohorts_give_the_hand_computed_medians() {
        let mut plugin = Testbed::<Median>::new(&[]);
        assert_eq!(plugin.reduce(&[vec![1.0, 5.0], vec![9.0, 4.0], vec![2.0, 1e30]]).unwrap(), [2.0, 5.0]);
        assert_eq!(plugin.reduce(&[vec![1.0], vec![9.0], vec![2.0], vec![-1e30]]).unwrap(), [1.5]);
    }

    #[test]
    fn the_median_of_one_or_two_clients_is_the_uniform_mean() {
        let mut plugin = Testbed::<Median>::new(&[]);
        assert_eq!(plugin.reduce(&[vec![3.0, -1.0]]).unwrap(), [3.0, -1.0]);
        assert_eq!(plugin.reduce(&[vec![3.0, -1.0], vec![4.0, 0.0]]).unwrap(), [3.5, -0.5]);
        assert_eq!(plugin.reduce(&[vec![3e38], vec![3e38]]).unwrap(), [3e38]);
    }

    #[test]
    fn a_minority_of_nans_does_not_reach_the_result() {
        let mut rows: Vec<Vec<f32>> = (0..9).map(|k| vec![k as f32; 50]).collect();
        rows.extend([vec![f32::NAN; 50], vec![-f32::NAN; 50], vec![f32::INFINITY; 50]]);
        // -NaN, 0, 1, .., 8, inf, NaN: the 6th and 7th of 12 are 4 and 5.
        assert_eq!(Testbed::<Median>::new(&[]).reduce(&rows).unwrap(), vec![4.5; 50]);
    }
}
