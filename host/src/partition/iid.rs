//! Blocks of equal size: the reference that every skew is compared with.
//!
//! Where in the flow: a kind of partition. What it never does: look at a label.

use super::{shares, task::Task};
use anyhow::Result;

/// Shuffled rows in K blocks; the first `N mod K` blocks have one row more. Every row is used.
///
/// Source: McMahan et al., AISTATS 2017 (arXiv:1602.05629); Flower's `IidPartitioner`.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let sizes: Vec<u32> = shares::equal(task.num_rows(), task.num_clients()).collect();
    Ok(task.hand_out(&task.shuffled_rows(), &sizes))
}
