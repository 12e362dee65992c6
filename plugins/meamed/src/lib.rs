//! Mean around the median (MeaMed) of Xie, Koyejo and Gupta (2018, arXiv:1802.10116): each coordinate is the mean of the
//! n − f values nearest to their median, with n updates of which f may be hostile. Unweighted, as in the paper and in ByzFL.
//!
//! In `f32`: the median of an even number of values is (low + high)/2; the nearest values, of two equally near the lower,
//! are added to 0 in ascending order and divided by n − f ([`robust::mean_around_median`]). With f = 0 it is the plain mean,
//! summed in the order of the clients. Memory: all updates of the cohort.
//!
//! Where f is half of the cohort or more, as in a small Poisson cohort, no rule can do what is asked; then the nearest
//! ⌊n/2⌋ + 1 values count, as for the largest f that can be borne.

use colla_plugin_sdk::{Aggregate, Parameters, Plugin, Result, colla_plugin, math, robust};

struct MeaMed {
    f: usize,
}

impl Plugin for MeaMed {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(MeaMed { f: robust::count(parameters, "f")? })
    }
}

impl Aggregate for MeaMed {
    fn reduce(&mut self, rows: &[&[f32]], _weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        let count = rows.len().saturating_sub(self.f).max(rows.len() / 2 + 1);
        match self.f {
            0 => math::mean(rows, out),
            _ => math::reduce_sorted(rows, out, |sorted| robust::mean_around_median(sorted, count)),
        }
        Ok(())
    }
}

colla_plugin!(MeaMed: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn meamed(f: i64, rows: &[Vec<f32>]) -> Result<Vec<f32>> {
        Testbed::<MeaMed>::new(&[("f", f.into())]).reduce(rows)
    }

    #[test]
    fn the_values_nearest_to_the_median_are_averaged_in_each_coordinate() {
        // Medians 3 and 0. Nearest four: 3, 4, 1, 0 and 0, 0.5, -1, 2; what is far away is left out on either side.
        let rows = [vec![0.0, -1.0], vec![1.0, 2.0], vec![3.0, 0.0], vec![4.0, 0.5], vec![1e30, -1e30]];
        assert_eq!(meamed(1, &rows).unwrap(), [2.0, 0.375]);
    }

    #[test]
    fn an_even_number_of_values_has_its_median_between_the_two_in_the_middle() {
        // Median (2 + 6)/2 = 4: 2 and 6 are nearest, then 7 at 3, before 0 at 4.
        assert_eq!(meamed(1, &[vec![7.0], vec![0.0], vec![6.0], vec![2.0]]).unwrap(), [5.0]);
    }

    #[test]
    fn without_hostile_clients_it_is_the_mean() {
        let rows = [vec![1.0, 5.0], vec![2.0, 7.0], vec![6.0, 0.0]];
        assert_eq!(meamed(0, &rows).unwrap(), [3.0, 4.0]);
    }

    #[test]
    fn neither_the_order_of_the_clients_nor_the_cut_of_the_range_matters() {
        let rows: Vec<Vec<f32>> =
            (0..9).map(|k| (0..203).map(|i| ((i * 31 + k * 17) % 23) as f32 * 0.37 - 4.0).collect()).collect();
        let whole = meamed(3, &rows).unwrap();
        let reversed: Vec<Vec<f32>> = rows.iter().rev().cloned().collect();
        assert_eq!(meamed(3, &reversed).unwrap(), whole);
        let part = |from: usize, to: usize| {
            meamed(3, &rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!([part(0, 45), part(45, 203)].concat(), whole);
    }

    #[test]
    fn a_cohort_too_small_for_f_is_taken_as_for_the_largest_f_that_it_bears() {
        let rows = [vec![1.0], vec![5.0], vec![2.0], vec![9.0]];
        assert_eq!(meamed(3, &rows).unwrap(), meamed(1, &rows).unwrap());
        assert_eq!(meamed(1, &[vec![7.0]]).unwrap(), [7.0]);
        assert_eq!(meamed(1, &[vec![7.0], vec![8.0]]).unwrap(), [7.5]);
    }
}
