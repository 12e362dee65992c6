//! Geometric median, the aggregate of RFA (Pillutla et al., arXiv:1912.13445, Definition 1): the point v that minimises
//! g(v) = Σₖ αₖ·‖v − xₖ‖. Weights αₖ are uniform by default; in the paper they are numbers of examples.
//!
//! Weiszfeld's algorithm (the paper's Algorithm 2 without its smoothing), v⁺ = Σ (αₖ/‖v − xₖ‖)·xₖ / Σ αₖ/‖v − xₖ‖, in the
//! coefficients of v: from the Gram matrix G of the rows, ‖v − xₖ‖² = c'Gc − 2·(Gc)ₖ + Gₖₖ. The paper smooths the
//! distances to keep away from the rows, where the step is undefined. Here instead the search starts at the best row: it
//! is the median by the test of Vardi and Zhang (PNAS 2000), or one step of theirs goes below it, and then no later point
//! can be a row, since g never rises. So the minimum is exact, and an update that is the median comes out bit for bit.

mod weiszfeld;

use colla_plugin_sdk::{Aggregate, Decision, Error, Gram, Parameters, Plugin, Result, colla_plugin};
use weiszfeld::Search;

struct GeometricMedian {
    by_examples: bool,
    max_iterations: usize,
    tolerance: f64,
}

impl Plugin for GeometricMedian {
    fn create(parameters: &Parameters) -> Result<Self> {
        let max_iterations = parameters.i64("max-iterations")?;
        Ok(GeometricMedian {
            by_examples: parameters.choice("weights")? == "num-examples",
            max_iterations: usize::try_from(max_iterations)
                .map_err(|_| Error::config(format!("`max-iterations` is {max_iterations}; use 1 or more")))?,
            tolerance: parameters.f64("tolerance")?,
        })
    }
}

impl Aggregate for GeometricMedian {
    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let n = gram.rows();
        let alpha = if self.by_examples { shares(gram.examples())? } else { vec![1.0 / n as f64; n] };
        let median = Search { gram, alpha: &alpha }.median(self.max_iterations, self.tolerance);
        decision.row(0).copy_from_slice(&median);
        Ok(())
    }
}

fn shares(examples: &[f64]) -> Result<Vec<f64>> {
    let total = examples.iter().fold(0.0, |sum, count| sum + count);
    if total <= 0.0 {
        let problem = "the updates stand for no examples (behind a mix none do); use `weights = \"uniform\"`";
        return Err(Error::numeric(problem));
    }
    Ok(examples.iter().map(|count| count / total).collect())
}

colla_plugin!(GeometricMedian: aggregate);

#[cfg(test)]
mod tests;
