//! Coordinate-wise winsorised mean: of K values, the ⌊βK⌋ smallest become the next larger one and
//! the ⌊βK⌋ largest the next smaller one, then all are averaged, unweighted. A few hostile clients
//! cannot move it far, and honest outliers still count.

use colla_plugin_sdk::math::{self, LANES};
use colla_plugin_sdk::{Aggregate, Parameters, Plugin, Result, colla_plugin};

struct WinsorisedMean {
    beta: f64,
}

impl Plugin for WinsorisedMean {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(WinsorisedMean {
            beta: parameters.f64("beta")?,
        })
    }
}

impl Aggregate for WinsorisedMean {
    fn reduce(&mut self, rows: &[&[f32]], _weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        let k = rows.len();
        // The small addend undoes the binary rounding of products like 0.29·100.
        let cut = ((self.beta * k as f64 + 1e-9) as usize).min((k - 1) / 2);
        math::reduce_sorted(rows, out, |sorted| mean(sorted, cut));
        Ok(())
    }
}

/// `LANES` coordinates at once; `sorted[i]` holds the i-th smallest value of each.
fn mean(sorted: &[[f32; LANES]], cut: usize) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for i in 0..sorted.len() {
        let kept = sorted[i.clamp(cut, sorted.len() - 1 - cut)];
        sums.iter_mut()
            .zip(kept)
            .for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum / sorted.len() as f32)
}

colla_plugin!(WinsorisedMean: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn the_ends_are_pulled_in_to_their_neighbours() {
        let mut plugin = Testbed::<WinsorisedMean>::new(&[("beta", 0.25.into())]);
        // One of four at each end: (2 + 2 + 4 + 4)/4, and (-1 - 1 + 1 + 1)/4.
        let rows = [
            vec![1e30, 1.0],
            vec![2.0, -1e30],
            vec![4.0, -1.0],
            vec![1.0, 5.0],
        ];
        assert_eq!(plugin.reduce(&rows).unwrap(), [3.0, 0.0]);
    }

    #[test]
    fn one_client_alone_is_the_aggregate() {
        let mut plugin = Testbed::<WinsorisedMean>::new(&[]);
        assert_eq!(plugin.reduce(&[vec![1.5, -2.0]]).unwrap(), [1.5, -2.0]);
    }
}
