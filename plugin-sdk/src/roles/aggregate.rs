//! Role aggregate: how the cohort's updates become one.
//!
//! Over sums (manifest `reduce` = `sum-before` or `sum-after`) the plugin only weighs: the host forms Σ aₖ·uₖ exactly
//! and divides by the denominator. Over rows (`rows`) the plugin reduces ranges of all updates itself.

use super::{Plugin, require, required_f64, required_u64};
use crate::abi::{op, table};
use crate::{Block, Error, Map, Result};

/// The clients of a round, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct Cohort<'a> {
    table: &'a [f64],
    columns: usize,
}

/// One row of the cohort table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    pub num_examples: f64,
    /// Local steps that the client's plan holds.
    pub steps: f64,
    /// Sum of the learning rates of these steps.
    pub lr_sum: f64,
    /// Rounds since the weights that the client trained from; 0 in synchronous rounds.
    pub staleness: f64,
}

impl<'a> Cohort<'a> {
    pub fn members(self) -> impl ExactSizeIterator<Item = Member> + 'a {
        self.table.chunks_exact(self.columns).map(|row| Member {
            num_examples: row[table::NUM_EXAMPLES],
            steps: row[table::STEPS],
            lr_sum: row[table::LR_SUM],
            staleness: row[table::STALENESS],
        })
    }

    /// Later minor versions append columns, so the width comes from the table.
    fn of(block: &Block<'a>) -> Result<Self> {
        let columns = block.table.len().checked_div(block.k).unwrap_or(table::COLUMNS);
        let whole = columns * block.k == block.table.len() && columns >= table::COLUMNS;
        require(whole, "WEIGH", "a `table` of k rows with at least 4 columns")?;
        Ok(Cohort { table: block.table, columns })
    }
}

/// What DENOMINATOR tells after the last client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Σ aₖ over the accepted clients.
    pub weight_sum: f64,
    /// Clients whose updates are in the sum.
    pub accepted: u64,
    /// Clients that were asked to train.
    pub cohort: u64,
}

pub trait Aggregate: Plugin {
    /// WEIGH: fills one weight aₖ ≥ 0 per client. Default: the number of examples.
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        weights.iter_mut().zip(cohort.members()).for_each(|(weight, member)| *weight = member.num_examples);
        Ok(())
    }

    /// DENOMINATOR: what the weighted sum is divided by. Default: Σ aₖ.
    fn denominator(&mut self, sums: &Sums) -> Result<f64> {
        Ok(sums.weight_sum)
    }

    /// REDUCE: one range of all updates to one range of the aggregate; `rows` has at least one row, each as long as `out`.
    /// `weights`, one per row, are the host's (numbers of examples); an unweighted rule ignores them.
    /// A coordinate-wise rule must give the same values however the vector is cut into ranges.
    fn reduce(&mut self, _rows: &[&[f32]], _weights: Option<&[f64]>, _out: &mut [f32]) -> Result<()> {
        Err(Error::unsupported("this plugin aggregates over sums, not over rows"))
    }
}

pub const IS_STAGE: bool = false;

pub fn call<T: Aggregate>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    let denominator = |plugin: &mut T| {
        let sums = Sums {
            weight_sum: required_f64(message, "weight_sum")?,
            accepted: required_u64(message, "accepted")?,
            cohort: required_u64(message, "cohort")?,
        };
        Ok(Map::new().with("denominator", plugin.denominator(&sums)?))
    };
    (operation == op::DENOMINATOR).then(|| denominator(plugin))
}

pub fn block<T: Aggregate>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::WEIGH => Some(weigh(plugin, block)),
        op::REDUCE => Some(reduce(plugin, block)),
        _ => None,
    }
}

fn weigh<T: Aggregate>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(block.mix_out.len() == block.k, "WEIGH", "k places in `mix_out`")?;
    plugin.weigh(Cohort::of(block)?, block.mix_out)
}

fn reduce<T: Aggregate>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(!block.rows.is_empty(), "REDUCE", "at least one row")?;
    let out = block.out.take();
    require(out.is_some(), "REDUCE", "`out`")?;
    plugin.reduce(&block.rows, block.weights, out.unwrap_or_default())
}
