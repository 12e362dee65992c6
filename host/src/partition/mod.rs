//! Which rows of the training set belong to which client.
//!
//! Where in the flow: after the data, before the clients. What it never does: touch features.

use crate::{config, data::Dataset};
use anyhow::Result;

/// Rows of each client, compressed: client `k` owns `rows[offsets[k]..offsets[k + 1]]`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClientRows {
    offsets: Vec<u64>,
    rows: Vec<u32>,
}

impl ClientRows {
    pub fn new(lists: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let mut all = ClientRows { offsets: vec![0], rows: Vec::new() };
        for list in lists {
            all.rows.extend(list);
            all.offsets.push(all.rows.len() as u64);
        }
        all
    }

    pub fn num_clients(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn client(&self, index: usize) -> &[u32] {
        &self.rows[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }
}

/// A finished partition.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// Rows of the training set that each client trains on.
    pub train: ClientRows,
    /// Rows of the *test* set (natural clients) or of the *training* set (held out by `test-fraction`)
    /// on which each client's own accuracy is measured; `None`: its training rows serve.
    pub own_test: Option<OwnTest>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum OwnTest {
    OfTestSet(ClientRows),
    HeldOut(ClientRows),
}

/// Draws the partition, or takes it from the cache.
pub fn load_or_create(_config: &config::Partition, _data: &Dataset) -> Result<Partition> {
    anyhow::bail!("written by the partition work")
}

impl Partition {
    pub fn class_counts(&self, _data: &Dataset) -> Vec<Vec<u32>> {
        Vec::new()
    }
}
