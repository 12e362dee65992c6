//! `cargo dev batches`: who trains in a round on which rows in which order, for programs that are to do the same work.
//!
//! Where in the flow: outside; the cohort, the partition and the order come from the library's own functions. What it never
//! does: train, or guess what a plugin would decide.

use anyhow::{Result, ensure};
use clap::Args;
use colla::config::{BatchSize, Config, Train};
use colla::train::{BatchOrder, batch_list, steps_per_epoch};
use colla::{client, data, partition};
use std::io::{Write, stdout};
use std::path::PathBuf;

#[derive(Args)]
pub struct Arguments {
    /// The experiment as TOML
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// The round, from 1 on
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    round: u64,
    /// Override any setting, as `colla-host` does; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as train.learning-rate=0.05")?;
    Ok((key.into(), value.into()))
}

/// One line of JSON for each client of the cohort, in its order: `{"client": id, "batches": [[row, …], …]}`; rows count
/// from 0 in the training set.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut config = Config::load(Some(&arguments.config), &arguments.set)?;
    config.resolve();
    config.check()?;
    ensure!(config.plugins.is_empty(), "plugins may choose the cohort or the number of steps; leave them out");
    ensure!(!config.train.persist_iterator, "the order depends on all rounds before; set train.persist-iterator=false");
    let data = data::load(&config.data)?;
    let rows = partition::load_or_create(&config.partition, &data)?.train;
    let mut out = stdout().lock();
    for id in client::sample(&config.federation, config.seed, arguments.round, rows.num_clients()) {
        let rows = rows.client(id.index());
        if rows.is_empty() {
            continue;
        }
        let order = BatchOrder {
            seed: config.seed,
            round: arguments.round,
            client: id.0.into(),
            phase: 0,
            steps_before: None,
            shuffle: config.train.shuffle,
        };
        let (batch_size, steps) = steps(&config.train, rows.len());
        let batches = batch_list(order, rows, batch_size, steps);
        writeln!(out, "{}", serde_json::json!({ "client": id.0, "batches": batches }))?;
    }
    Ok(())
}

fn steps(train: &Train, rows: usize) -> (usize, u64) {
    let batch_size = match train.batch_size {
        BatchSize::Rows(size) => size.min(rows),
        BatchSize::Full => rows,
    };
    let of_epochs = train.local_epochs as u64 * steps_per_epoch(rows, batch_size);
    (batch_size, train.local_steps.map_or(of_epochs, |steps| steps as u64))
}
