//! Sample counts differ, classes are alike.
//!
//! Where in the flow: a kind of partition. What it never does: look at a label.

use super::{shares, task::Draw, task::Task};
use anyhow::Result;

/// Shuffled rows in blocks of lognormal [`sizes`]. Every row is used; sigma 0 is equal sizes.
///
/// Source: FedLab's unbalanced IID. Departures: there the rows that rounding leaves over all go to the first client,
/// on small data more than a client's mean, while here the cuts are rounded; and there a client may stay empty.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    Ok(task.hand_out(&task.shuffled_rows(0), &sizes(task)))
}

/// Sizes n_k in the proportions of lognormal(0, sigma) draws, none below `min-partition-size`, with sum N.
///
/// A client whose share is below the minimum gets the minimum, at the cost of all larger ones alike. Drawing again
/// instead would need no such rule, but the smallest of very many lognormal sizes is always a fraction of a row.
pub fn sizes(task: &Task<'_>) -> Vec<u32> {
    let weights = shares::lognormal(&mut task.stream(Draw::Shares(0), 0), task.num_clients(), task.settings.sigma);
    shares::at_least(&weights, task.num_rows() as u32, task.settings.min_partition_size as u32)
}
