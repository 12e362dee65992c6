//! The rule of the random kinds: draw again until the smallest client is large enough.
//!
//! Where in the flow: around the sizes of a kind. What it never does: move a row from one client to another. An
//! accepted draw therefore has the kind's own law, given that every client has `min-partition-size` rows.
//!
//! Flower draws at most 11 times. That is few for small data: with 100 clients on optdigits at alpha 0.1 one draw in
//! five leaves nobody empty (0.2017 of 10,000 seeds), so that 11 draws fail for one seed in twelve; with 200 clients it
//! is one draw in 700. Only sizes are drawn until one draw is accepted, 0.2 ms each for 100 clients and ten classes,
//! so up to [`MOST_DRAWS`] are made.

use super::settings::fault;
use super::task::Task;
use crate::config::PartitionKind;
use anyhow::Result;

/// As many as Flower's, where a draw is expensive.
const FEWEST_DRAWS: u64 = 11;
const MOST_DRAWS: u64 = 1_000;
/// Bounds the time before the error: 10⁸ random variates are some twenty seconds.
const MOST_VARIATES: u64 = 100_000_000;

/// The first of the draws 0, 1, … whose smallest size is at least `min-partition-size`.
///
/// `draw(attempt)` returns the size of each client and what is to be kept; it must be a function of the attempt alone.
/// `variates` is the number of random variates in a draw. Attempts do not depend on the minimum, so the largest one
/// that the error names is certain to succeed with the same seed.
pub fn until_minimum<T>(
    task: &Task<'_>,
    variates: usize,
    mut draw: impl FnMut(u16) -> Result<(Vec<u32>, T)>,
) -> Result<T> {
    let minimum = task.settings.min_partition_size as u64;
    let draws = (MOST_VARIATES / (variates as u64).max(1)).clamp(FEWEST_DRAWS, MOST_DRAWS);
    let mut best = 0;
    for attempt in 0..draws as u16 {
        let (sizes, kept) = draw(attempt)?;
        let smallest = u64::from(sizes.into_iter().min().unwrap_or(0));
        if smallest >= minimum {
            return Ok(kept);
        }
        best = best.max(smallest);
    }
    Err(give_up(task, draws, best))
}

fn give_up(task: &Task<'_>, draws: u64, best: u64) -> anyhow::Error {
    let keys = task.settings.method().keys;
    let mut remedies: Vec<&str> = keys.iter().map(|key| key.remedy()).collect();
    remedies.push("fewer clients");
    if task.settings.method().kind == PartitionKind::Dirichlet {
        remedies.push("`kind = \"dirichlet-lognormal\"`, which leaves no client empty");
    }
    if !task.data.client_names.is_empty() {
        remedies.push("`kind = \"natural\"`, as this data has its own clients");
    }
    let remedies = remedies.join(", or ");
    let (minimum, what) = (task.settings.min_partition_size, task.describe());
    let advice = match best {
        0 => format!("some client stayed empty in each; use {remedies}"),
        _ => format!("the smallest client had {best} at best; use a value up to {best}, or {remedies}"),
    };
    fault(format!("config `partition.min-partition-size = {minimum}`: {draws} draws of {what} failed: {advice}"))
}
