//! signSGD with majority vote of Bernstein et al. (ICML 2018, arXiv:1802.04434), Algorithm 3, on updates: every coordinate
//! moves by `scale` in the direction that most clients' updates have there,
//!
//! Δ = scale·sign(Σₖ nₖ·sign(Δₖ)),
//!
//! with nₖ = 1 by default. The paper's clients send signs of gradients; here the server takes the signs of updates, which is
//! the same for one local step. A hostile client has one vote, whatever it sends.
//!
//! The sign of a zero is 0, and of a tie too. Votes are counted in `f64`, in which numbers of examples add exactly, so the
//! order does not matter. Memory: all updates of the cohort. Nothing on the wire; that is a compressor's part.

use colla_plugin_sdk::{Aggregate, Error, Parameters, Plugin, Result, colla_plugin};

struct SignMajority {
    scale: f32,
    by_examples: bool,
}

/// Coordinates at once, so that each row is read in whole cache lines.
const BLOCK: usize = 64;

impl Plugin for SignMajority {
    fn create(parameters: &Parameters) -> Result<Self> {
        let by_examples = parameters.choice("weights")? == "num-examples";
        Ok(SignMajority { scale: parameters.f32("scale")?, by_examples })
    }
}

impl Aggregate for SignMajority {
    fn reduce(&mut self, rows: &[&[f32]], weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        let votes: Vec<f64> = match (self.by_examples, weights) {
            (false, _) => vec![1.0; rows.len()],
            (true, Some(weights)) => weights.to_vec(),
            (true, None) => {
                let problem = "the votes have no numbers of examples; use `weights = \"uniform\"`";
                return Err(Error::argument(problem));
            }
        };
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0.0; BLOCK];
            for (row, vote) in rows.iter().zip(&votes) {
                let row = &row[block * BLOCK..][..out.len()];
                sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += vote * sign(f64::from(x)));
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = self.scale * sign(sum) as f32);
        }
        Ok(())
    }
}

/// −1, 0 or 1.
fn sign(x: f64) -> f64 {
    f64::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}

colla_plugin!(SignMajority: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::{op, status};
    use colla_plugin_sdk::testing::{Fields, Testbed};

    fn moved(parameters: &[(&str, Value)], rows: &[Vec<f32>], weights: Vec<f64>) -> Result<Vec<f32>> {
        let n = rows[0].len();
        let fields = Fields { n, rows: rows.to_vec(), weights, out: vec![f32::NAN; n], ..Fields::default() };
        Ok(Testbed::<SignMajority>::new(parameters).block(op::REDUCE, fields)?.out)
    }

    #[test]
    fn each_coordinate_follows_the_majority_by_one_length_and_ties_rest() {
        let rows = [vec![1e30, -2.0, 0.0, 5.0], vec![-0.1, -1e-30, 3.0, -5.0], vec![-7.0, 9.0, 0.0, 0.0]];
        assert_eq!(moved(&[("scale", 0.5.into())], &rows, vec![]).unwrap(), [-0.5, -0.5, 0.5, 0.0]);
    }

    #[test]
    fn votes_may_count_by_examples() {
        let rows = [vec![1.0], vec![-1.0], vec![-1.0]];
        let parameters = [("scale", 2.0.into()), ("weights", "num-examples".into())];
        assert_eq!(moved(&parameters, &rows, vec![30.0, 10.0, 15.0]).unwrap(), [2.0]);
        assert_eq!(moved(&parameters, &rows, vec![25.0, 10.0, 15.0]).unwrap(), [0.0]);
        assert_eq!(moved(&parameters, &rows, vec![]).unwrap_err().code, status::E_ARG);
    }

    #[test]
    fn neither_the_order_of_the_clients_nor_the_cut_of_the_range_matters() {
        let rows: Vec<Vec<f32>> =
            (0..7).map(|k| (0..203).map(|i| ((i * 31 + k * 17) % 23) as f32 - 11.0).collect()).collect();
        let whole = moved(&[], &rows, vec![]).unwrap();
        let reversed: Vec<Vec<f32>> = rows.iter().rev().cloned().collect();
        assert_eq!(moved(&[], &reversed, vec![]).unwrap(), whole);
        let part = |from: usize, to: usize| {
            moved(&[], &rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>(), vec![]).unwrap()
        };
        assert_eq!([part(0, 45), part(45, 203)].concat(), whole);
    }
}
