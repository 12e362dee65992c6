//! Pairing: each update moves towards the one nearest to it, u ← (1 − share)·u + share·nearest(u),
//! so that the rule behind it sees updates that differ less.

use colla_plugin_sdk::{Decision, Gram, Mix, Parameters, Plugin, Result, colla_plugin};

struct Pairing {
    share: f64,
}

impl Plugin for Pairing {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Pairing {
            share: parameters.f64("share")?,
        })
    }
}

impl Mix for Pairing {
    /// The host knows all distances; the answer is a row of coefficients for each new update.
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        for i in 0..gram.rows() {
            let others = (0..gram.rows()).filter(|&j| j != i);
            // `min_by` takes the first of equals.
            let nearest = others.min_by(|&a, &b| gram.dist2(i, a).total_cmp(&gram.dist2(i, b)));
            let coefficients = decision.row(i);
            coefficients[i] = 1.0;
            if let Some(nearest) = nearest {
                coefficients[i] = 1.0 - self.share;
                coefficients[nearest] = self.share;
            }
        }
        Ok(())
    }
}

colla_plugin!(Pairing: mix);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn each_update_meets_its_nearest_one() {
        let mut plugin = Testbed::<Pairing>::new(&[("share", 0.25.into())]);
        let rows = [vec![0.0], vec![1.0], vec![3.0]];
        assert_eq!(
            plugin.decide(&rows, &[1.0; 3]).unwrap(),
            [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.25, 0.75]]
        );
    }

    #[test]
    fn one_update_alone_stays() {
        let mut plugin = Testbed::<Pairing>::new(&[]);
        assert_eq!(plugin.decide(&[vec![2.0]], &[1.0]).unwrap(), [[1.0]]);
    }
}
