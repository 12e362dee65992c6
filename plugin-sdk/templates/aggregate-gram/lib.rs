//! Medoid: of all updates the one whose distances to the others have the smallest sum. It is one
//! of the updates, bit for bit, and a few hostile clients cannot choose it.

use colla_plugin_sdk::{Aggregate, Decision, Gram, Parameters, Plugin, Result, colla_plugin};

struct Medoid;

impl Plugin for Medoid {
    fn create(_parameters: &Parameters) -> Result<Self> {
        Ok(Medoid)
    }
}

impl Aggregate for Medoid {
    /// The host knows all distances; the answer is one coefficient for each update.
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let sum = |i: usize| (0..gram.rows()).map(|j| gram.dist2(i, j).sqrt()).sum::<f64>();
        let sums: Vec<f64> = (0..gram.rows()).map(sum).collect();
        // The first of equals.
        let best = (0..sums.len()).fold(0, |best, i| if sums[i] < sums[best] { i } else { best });
        decision.row(0)[best] = 1.0;
        Ok(())
    }
}

colla_plugin!(Medoid: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn the_update_in_the_middle_is_chosen_alone() {
        let mut plugin = Testbed::<Medoid>::new(&[]);
        // On a line at 0, 1, 3, 1000: the sums are 1004, 1002, 1002, 2996.
        let rows = [vec![0.0], vec![1.0], vec![3.0], vec![1000.0]];
        assert_eq!(
            plugin.decide(&rows, &[1.0; 4]).unwrap(),
            [[0.0, 1.0, 0.0, 0.0]]
        );
    }
}
