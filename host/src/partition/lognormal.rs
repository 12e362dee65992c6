//! Sample counts differ, classes are alike.
//!
//! Where in the flow: a kind of partition. What it never does: look at a label.

use super::{redraw, shares, task::Draw, task::Task};
use anyhow::Result;

/// Shuffled rows in blocks whose sizes are in the proportions of lognormal draws. Every row is used; sigma 0 is equal
/// sizes.
///
/// Source: FedLab's unbalanced IID. Departure: there the rows that rounding leaves over all go to the first client,
/// on small data more than a client's mean; here the cuts are rounded, so that each size is within one of its share.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    Ok(task.hand_out(&task.shuffled_rows(), &sizes(task)?))
}

/// Sizes n_k ~ lognormal(ln(N/K), sigma), scaled so that they sum to N, redrawn until the smallest is large enough.
pub fn sizes(task: &Task<'_>) -> Result<Vec<u32>> {
    let (rows, clients) = (task.num_rows() as u32, task.num_clients());
    redraw::until_minimum(task, clients, |attempt| {
        let mut stream = task.stream(Draw::Shares(attempt), 0);
        let sizes: Vec<u32> =
            shares::cut(&shares::lognormal(&mut stream, clients, task.settings.sigma), rows).collect();
        Ok((sizes.clone(), sizes))
    })
}
