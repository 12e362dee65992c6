//! FedProx's MNIST split: two classes a client, sizes after a power law.
//!
//! Where in the flow: a kind of partition. What it never does: use every row; see below.

use super::label_sets::LabelSets;
use super::task::{Draw, Task};
use super::{redraw, shares};
use anyhow::Result;

const CLASSES_PER_CLIENT: usize = 2;
/// Rows of each of its classes that a client has at least.
const LEAST: u32 = 5;

/// Client u holds the classes u mod C and (u + 1) mod C: five rows of each, and of the rest of a class with n rows and
/// h holders floor(share·(n − 5·h)), the shares in the proportions of lognormal(0, sigma) draws.
///
/// What the floors leave over, less than a row for each holder, is not used; so it is in the original. Its split of
/// each client into 90 % training and 10 % test rows is `test-fraction = 0.1`.
/// Source: Li et al., arXiv:1812.06127, and its `data/mnist/generate_niid.py` (1,000 clients, sigma 2).
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let sets = LabelSets::successive(task, CLASSES_PER_CLIENT)?;
    let variates = task.num_clients() * CLASSES_PER_CLIENT;
    let parts = redraw::until_minimum(task, variates, |attempt| {
        let parts = sets.parts(task, LEAST as usize, |class, rows, holders| {
            let mut stream = task.stream(Draw::Shares(attempt), class as u64);
            let shares = shares::lognormal(&mut stream, holders, task.settings.sigma);
            let rest = f64::from(rows - LEAST * holders as u32);
            shares.into_iter().map(|share| LEAST + (share * rest) as u32).collect()
        })?;
        Ok((sets.sizes(&parts), parts))
    })?;
    Ok(sets.owners(task, &parts))
}
