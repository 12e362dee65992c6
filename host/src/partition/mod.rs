//! Which rows of the training set belong to which client.
//!
//! Where in the flow: after the data, before the clients. What it never does: touch features.
//!
//! Every kind answers one question, who owns each row (only `iid` may give a row to several); the rest (order of a
//! client's rows, hold-out, cache) is common. A new kind is one file and one entry in `METHODS`. All draws come from
//! counter-based streams keyed by the partition seed, so a partition depends on nothing but data and settings.

mod cache;
mod dirichlet;
mod iid;
mod label_sets;
mod lognormal;
mod mixture;
mod natural;
mod pathological;
mod power_law;
mod redraw;
mod rows;
mod settings;
mod shards;
mod shares;
mod summary;
mod task;

pub use rows::ClientRows;
pub use summary::{Spread, Summary};

use crate::config::{self, PartitionKind};
use crate::data::Dataset;
use anyhow::Result;
use settings::{Key, Settings};
use task::{Draw, Task};

/// A finished partition.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// Rows of the training set that each client trains on, at least one for each client, in random order.
    pub train: ClientRows,
    /// Rows of the *test* set (natural clients) or of the *training* set (held out by `test-fraction`)
    /// on which each client's own accuracy is measured; `None`: its training rows serve.
    pub own_test: Option<OwnTest>,
}

/// Rows for a client's own accuracy. A client may have none.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum OwnTest {
    OfTestSet(ClientRows),
    HeldOut(ClientRows),
}

/// One kind of partition.
struct Method {
    kind: PartitionKind,
    /// Name in the configuration.
    name: &'static str,
    /// The keys that it uses besides `num-clients`, `min-partition-size`, `test-fraction` and `seed`.
    keys: &'static [Key],
    /// Owner of each training row, or [`task::NOBODY`], where no row has two.
    owners: fn(&Task<'_>) -> Result<Vec<u32>>,
}

/// The one list of kinds.
#[rustfmt::skip]
const METHODS: &[Method] = &[
    Method { kind: PartitionKind::Iid, name: "iid", keys: &[Key::SamplesPerClient], owners: iid::owners },
    Method { kind: PartitionKind::Dirichlet, name: "dirichlet", keys: &[Key::Alpha], owners: dirichlet::owners },
    Method {
        kind: PartitionKind::DirichletHsu, name: "dirichlet-hsu",
        keys: &[Key::Alpha], owners: mixture::equal_sizes,
    },
    Method { kind: PartitionKind::Shards, name: "shards", keys: &[Key::ShardsPerClient], owners: shards::owners },
    Method {
        kind: PartitionKind::Pathological, name: "pathological",
        keys: &[Key::ClassesPerClient], owners: pathological::equal_parts,
    },
    Method { kind: PartitionKind::Lognormal, name: "lognormal", keys: &[Key::Sigma], owners: lognormal::owners },
    Method {
        kind: PartitionKind::PathologicalLognormal, name: "pathological-lognormal",
        keys: &[Key::ClassesPerClient, Key::Sigma], owners: pathological::lognormal_parts,
    },
    Method {
        kind: PartitionKind::DirichletLognormal, name: "dirichlet-lognormal",
        keys: &[Key::Alpha, Key::Sigma], owners: mixture::lognormal_sizes,
    },
    Method { kind: PartitionKind::PowerLaw, name: "power-law", keys: &[Key::Sigma], owners: power_law::owners },
    Method { kind: PartitionKind::Natural, name: "natural", keys: &[], owners: natural::owners },
];

/// Draws the partition, or takes it from the cache.
///
/// The cache is keyed by the data's fingerprint and the resolved settings. A file that is broken, or a folder that
/// cannot be written, costs the time of a new draw and nothing else.
/// Errors: those of [`create`].
pub fn load_or_create(config: &config::Partition, data: &Dataset) -> Result<Partition> {
    let settings = Settings::resolve(config, data)?;
    let Some(file) = cache::file(&config.cache, &settings, data) else { return draw(&settings, data) };
    if let Some(partition) = cache::read(&file, &settings, data) {
        return Ok(partition);
    }
    let partition = draw(&settings, data)?;
    cache::write(&file, &partition);
    Ok(partition)
}

/// K, the number of clients. Errors: `Kind::Config` where the data should name them and do not.
pub fn num_clients(config: &config::Partition, data: &Dataset) -> Result<usize> {
    match config.kind {
        PartitionKind::Natural => natural::num_clients(data),
        _ => Ok(config.num_clients),
    }
}

/// Draws the partition and leaves the disk alone.
///
/// Errors: `Kind::Config` for keys that the kind does not use and for impossible values, each with what is possible.
pub fn create(config: &config::Partition, data: &Dataset) -> Result<Partition> {
    draw(&Settings::resolve(config, data)?, data)
}

fn draw(settings: &Settings, data: &Dataset) -> Result<Partition> {
    let task = Task { settings, data };
    let all = match settings.samples_per_client {
        Some(samples) => iid::dealt(&task, samples),
        None => owned(&task)?,
    };
    if settings.test_fraction > 0.0 {
        let (train, held_out) = all.hold_out(settings.test_fraction);
        return Ok(Partition { train, own_test: Some(OwnTest::HeldOut(held_out)) });
    }
    let own_test = natural::own_test(&task).map(OwnTest::OfTestSet);
    Ok(Partition { train: all, own_test })
}

/// The rows of each owner, in random order.
fn owned(task: &Task<'_>) -> Result<ClientRows> {
    let owners = (task.settings.method().owners)(task)?;
    let mut all = ClientRows::grouped(0..owners.len() as u32, &owners, task.num_clients());
    // Rows of one class must not stand together in a client that does not shuffle its batches.
    all.for_each_mut(|client, rows| task.stream(Draw::Order, client as u64).shuffle(rows));
    Ok(all)
}

#[cfg(test)]
mod tests;
