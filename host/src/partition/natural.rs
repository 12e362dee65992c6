//! One client per client of the data: hospitals, speakers, writers.
//!
//! Where in the flow: a kind of partition. What it never does: draw an owner.

use super::settings::fault;
use super::{ClientRows, task::Task};
use crate::config::PartitionKind;
use crate::data::Dataset;
use anyhow::Result;

/// The client that the data names for each row. Client k is `client_names[k]`.
///
/// Source: Flower's `NaturalIdPartitioner`.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let owners = task.data.train.clients.clone().unwrap_or_default();
    let mut sizes = vec![0usize; task.num_clients()];
    owners.iter().for_each(|&owner| sizes[owner as usize] += 1);
    task.require_minimum(sizes.into_iter().min().unwrap_or(0))?;
    if task.settings.test_fraction > 0.0 && test_rows(task).is_some() {
        let (fraction, name) = (task.settings.test_fraction, &task.data.name);
        return Err(fault(format!(
            "config `partition.test-fraction = {fraction}`: the clients of `{name}` have test rows of their own; \
             leave it out"
        )));
    }
    Ok(owners)
}

/// K: the clients that have training rows; they stand first in the data's list of names.
pub fn num_clients(data: &Dataset) -> Result<usize> {
    let clients = data.train.clients.as_ref().and_then(|clients| clients.iter().max());
    clients.map(|&last| last as usize + 1).ok_or_else(|| {
        fault(format!(
            "config `partition.kind = \"natural\"`: `{}` names no clients; give the column of a CSV file that does by \
             `data.client`, or choose another kind",
            data.name
        ))
    })
}

/// Each natural client's rows of the test set, where it has any.
pub fn own_test(task: &Task<'_>) -> Option<ClientRows> {
    (task.settings.method().kind == PartitionKind::Natural).then(|| test_rows(task)).flatten()
}

fn test_rows(task: &Task<'_>) -> Option<ClientRows> {
    let clients = task.data.test.clients.as_ref()?;
    let rows = ClientRows::grouped(0..clients.len() as u32, clients, task.num_clients());
    (!rows.rows().is_empty()).then_some(rows)
}
