//! Role aggregate: how the cohort's updates become one.
//!
//! Over sums (manifest `reduce` = `sum-before` or `sum-after`) the plugin only weighs: the host forms Σ aₖ·uₖ exactly
//! and divides by the denominator. Over the Gram matrix (`gram`) it answers with the coefficients of the result. Over rows
//! (`rows`) it reduces ranges of all updates itself; with `gram`, then `rows` it first chooses or mixes the rows.

use super::mix::{self, Decision, DecisionPlan, Gram};
use super::{Plugin, require, required_f64, required_u64};
use crate::abi::op;
use crate::{Block, Cohort, Error, Map, Result};

/// What DENOMINATOR tells after the last client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums<'a> {
    /// Σ aₖ over the accepted clients.
    pub weight_sum: f64,
    /// Clients whose updates are in the sum.
    pub accepted: u64,
    /// Clients that were asked to train.
    pub cohort: u64,
    /// Clients in the federation, N.
    pub num_clients: u64,
    /// Clients in a cohort on average: qN for Poisson cohorts.
    pub expected_cohort: f64,
    /// The accepted clients.
    pub clients: Cohort<'a>,
    /// Their weights aₖ.
    pub weights: &'a [f64],
}

pub trait Aggregate: Plugin {
    /// WEIGH: fills one weight aₖ ≥ 0 per client. Default: the number of examples.
    /// With `sum-after` it is asked after training, and [`crate::Member::trained`] is known.
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        weights.iter_mut().zip(cohort.members()).for_each(|(weight, member)| *weight = member.num_examples);
        Ok(())
    }

    /// DENOMINATOR: what the weighted sum is divided by. Default: Σ aₖ.
    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        Ok(sums.weight_sum)
    }

    /// DECIDE_PLAN: how many rows come out of DECIDE for `clients` rows, and which extra rows it wants to see.
    /// Default: one row, the aggregate, and no extra rows.
    fn decision(&mut self, _clients: u64) -> Result<DecisionPlan> {
        Ok(DecisionPlan::rows(1))
    }

    /// DECIDE: from distances between the updates to the coefficients of the result, or of the rows for
    /// [`Aggregate::reduce`].
    fn decide(&mut self, _gram: &Gram<'_>, _decision: Decision<'_>) -> Result<()> {
        Err(Error::unsupported("this plugin does not aggregate by distances"))
    }

    /// REDUCE: one range of all updates to all of `out`, the same range of the aggregate; `rows` has at least one row, as long.
    /// `weights`, one per row, are the host's (numbers of examples); an unweighted rule ignores them.
    /// A coordinate-wise rule must give the same values however the vector is cut into ranges.
    fn reduce(&mut self, _rows: &[&[f32]], _weights: Option<&[f64]>, _out: &mut [f32]) -> Result<()> {
        Err(Error::unsupported("this plugin does not aggregate over rows"))
    }
}

/// The word of manifests.
pub const KIND: &str = "aggregate";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = true;

pub fn call<T: Aggregate>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    match operation {
        op::DENOMINATOR => Some(denominator(plugin, message)),
        op::DECIDE_PLAN => Some(mix::plan(message, |clients| plugin.decision(clients))),
        _ => None,
    }
}

fn denominator<T: Aggregate>(plugin: &mut T, message: &Map) -> Result<Map> {
    let cohort = required_u64(message, "cohort")?;
    let sums = Sums {
        weight_sum: required_f64(message, "weight_sum")?,
        accepted: required_u64(message, "accepted")?,
        cohort,
        num_clients: required_u64(message, "num_clients")?,
        expected_cohort: required_f64(message, "expected_cohort")?,
        clients: Cohort::of_message(message)?,
        weights: message.f64s("weights").unwrap_or_default(),
    };
    Ok(Map::new().with("denominator", plugin.denominator(&sums)?))
}

pub fn block<T: Aggregate>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::WEIGH => Some(weigh(plugin, block)),
        op::DECIDE => Some(mix::decide(block, |gram, decision| plugin.decide(gram, decision))),
        op::REDUCE => Some(reduce(plugin, block)),
        _ => None,
    }
}

fn weigh<T: Aggregate>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(block.mix_out.len() == block.k, "WEIGH", "k places in `mix_out`")?;
    plugin.weigh(Cohort::of_block(block)?, block.mix_out)
}

fn reduce<T: Aggregate>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(!block.rows.is_empty(), "REDUCE", "at least one row")?;
    let out = block.out.take();
    require(out.is_some(), "REDUCE", "`out`")?;
    plugin.reduce(&block.rows, block.weights, out.unwrap_or_default())
}
