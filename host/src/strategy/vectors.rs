//! Role client: what each client's own vectors count in their sums.
//!
//! A plugin that is client and server step may upload vectors besides the update (`vectors` in its manifest). Each has
//! weights of its own, asked before training, and an exact grid of its own, on which agents fold it.
//! Where in the flow: beside the aggregate's WEIGH; the raw sums go to the server step.
//! What it never does: divide. What a sum means is the server step's to say.

use super::{
    Roster,
    facts::ClientRow,
    grid::{Grid, GridSum},
    weigh::Weigher,
};
use crate::{finite::first_not_finite, stages::failure};
use anyhow::Result;
use colla_plugin_sdk::abi::op;

/// The weights of one vector in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorWeights {
    /// In cohort order.
    pub weights: Vec<f64>,
    pub grid: Grid,
}

/// The raw sum Σ aₖ·vₖ of one vector, P values, and Σ aₖ.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSum {
    pub weight_sum: f64,
    pub sum: Vec<f32>,
}

/// The plugin that has own vectors; only one of a run can, since only one takes the server step.
pub struct VectorRule {
    /// Position in the roster.
    index: usize,
    plugin: String,
    names: Vec<String>,
    weigher: Weigher,
}

impl VectorRule {
    /// `None` where no plugin has vectors of its own.
    pub fn new(roster: &Roster) -> Option<Self> {
        let index = roster.members.iter().position(|member| !member.plugin.manifest().vectors.is_empty())?;
        let manifest = roster.members[index].plugin.manifest();
        let names = manifest.vectors.iter().map(|vector| vector.name.clone()).collect();
        Some(VectorRule { index, plugin: manifest.name.clone(), names, weigher: Weigher::default() })
    }

    /// The weights of each vector, in the manifest's order. `bound`: largest magnitude of an element.
    /// Errors: a plugin failure, also for weights that are negative, not finite, or too large to sum with.
    pub fn weigh(
        &mut self,
        roster: &mut Roster,
        round: u64,
        cohort: &[ClientRow],
        bound: f64,
    ) -> Result<Vec<VectorWeights>> {
        let member = &mut roster.members[self.index];
        member.key_control(round);
        let mut weigh = |(index, name): (usize, &String)| {
            let weights = self.weigher.weigh(member, cohort, index as u32 + 1)?;
            let total = weights.iter().sum();
            let grid = Grid::new(total, bound).map_err(|_| {
                let text = format!(
                    "the weights of the vector `{name}` sum to {total:e}, too much to add it up; use smaller ones"
                );
                failure(member.name(), op::WEIGH, text)
            })?;
            Ok(VectorWeights { weights, grid })
        };
        self.names.iter().enumerate().map(&mut weigh).collect()
    }

    /// The raw sums, P values each; zeros where nobody took part.
    /// Errors: a plugin failure for a sum that leaves single precision.
    pub fn sums(&self, weights: &[VectorWeights], sums: &[Option<GridSum>], len: usize) -> Result<Vec<VectorSum>> {
        let sum = |(index, weighed): (usize, &VectorWeights)| {
            let sum = match sums.get(index) {
                Some(Some(sum)) => sum.mean(1.0),
                _ => vec![0.0; len],
            };
            let weight_sum = weighed.weights.iter().sum();
            match first_not_finite(&sum) {
                None => Ok(VectorSum { weight_sum, sum }),
                Some(element) => {
                    let name = &self.names[index];
                    let text = format!(
                        "with these weights, {weight_sum:e} in all, element {element} of the sum of the vector `{name}` is {}; it must be finite in single precision",
                        sum[element]
                    );
                    Err(failure(&self.plugin, op::WEIGH, text).into())
                }
            }
        };
        weights.iter().enumerate().map(sum).collect()
    }
}
