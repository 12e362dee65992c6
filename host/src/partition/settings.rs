//! The partition's settings, checked against kind and data.
//!
//! Where in the flow: first step of partitioning; after it nobody checks again. What it never does: draw.

use super::{METHODS, Method};
use crate::config;
use crate::data::Dataset;
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::ops::RangeInclusive;

/// A key of `[partition]` that only some kinds use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Alpha,
    SamplesPerClient,
    ShardsPerClient,
    ClassesPerClient,
    Sigma,
}

/// Beyond these a Dirichlet draw is one client or exact equality, and its logarithms leave `f64`.
const ALPHA: RangeInclusive<f64> = 1e-6..=1e6;
/// Row numbers of 8 GiB.
const MOST_DEALT: usize = 1 << 31;
/// exp(10·z) spans 26 decades already.
const SIGMA: RangeInclusive<f64> = 0.0..=10.0;

/// Every number that a kind may read, in range. Its bytes are part of the cache's key.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Settings {
    #[serde(serialize_with = "name")]
    method: usize,
    pub num_clients: usize,
    pub alpha: f64,
    /// `None`: every row has one owner. Left out of the key then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_per_client: Option<usize>,
    pub shards_per_client: usize,
    pub classes_per_client: usize,
    pub sigma: f64,
    pub min_partition_size: usize,
    pub test_fraction: f64,
    pub seed: u64,
}

fn name<S: serde::Serializer>(method: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(METHODS[*method].name)
}

impl Settings {
    pub(super) fn method(&self) -> &'static Method {
        &METHODS[self.method]
    }

    /// Fills defaults in and checks all values. Errors: `Kind::Config`, with the possible values.
    pub fn resolve(config: &config::Partition, data: &Dataset) -> Result<Settings> {
        let method = METHODS.iter().position(|method| method.kind == config.kind);
        let Some(method) = method else {
            return Err(fault(format!("config `partition.kind`: {:?} cannot be drawn", config.kind)));
        };
        refuse_unused_keys(config, &METHODS[method])?;
        let mut resolved = config.clone();
        resolved.resolve();
        let settings = Settings {
            method,
            num_clients: super::num_clients(config, data)?,
            // What a kind does not use stands for nothing; 1 passes the checks of every key.
            alpha: resolved.alpha.unwrap_or(1.0),
            samples_per_client: resolved.samples_per_client,
            shards_per_client: resolved.shards_per_client.unwrap_or(1),
            classes_per_client: resolved.classes_per_client.unwrap_or(1),
            sigma: resolved.sigma.unwrap_or(1.0),
            min_partition_size: config.min_partition_size,
            test_fraction: config.test_fraction,
            seed: config.seed,
        };
        settings.check(data)?;
        Ok(settings)
    }

    /// Rows of all clients together where they are dealt by `samples-per-client`.
    pub fn dealt_rows(&self) -> Option<usize> {
        self.samples_per_client.map(|samples| samples.saturating_mul(self.num_clients))
    }

    fn check(&self, data: &Dataset) -> Result<()> {
        check_range("alpha", self.alpha, ALPHA)?;
        check_range("sigma", self.sigma, SIGMA)?;
        if !(0.0..1.0).contains(&self.test_fraction) {
            let given = self.test_fraction;
            return Err(fault(format!("config `partition.test-fraction = {given}`: use a value from 0 to below 1")));
        }
        if let Some(samples) = self.samples_per_client {
            return self.check_dealt(samples, data);
        }
        let (rows, clients, name) = (data.train.len(), self.num_clients, &data.name);
        if !(1..=rows).contains(&clients) {
            return Err(fault(format!(
                "config `partition.num-clients = {clients}`: `{name}` has {rows} training rows and every client needs \
                 one; use a value from 1 to {rows}"
            )));
        }
        let (minimum, largest) = (self.min_partition_size, rows / clients);
        if !(1..=largest).contains(&minimum) {
            return Err(fault(format!(
                "config `partition.min-partition-size = {minimum}`: {clients} clients share the {rows} training rows of \
                 `{name}` and every client needs a row; use a value from 1 to {largest}"
            )));
        }
        let largest = rows / clients;
        if !(1..=largest).contains(&self.shards_per_client) && self.method().keys.contains(&Key::ShardsPerClient) {
            let given = self.shards_per_client;
            return Err(fault(format!(
                "config `partition.shards-per-client = {given}`: {clients} clients share the {rows} training rows of \
                 `{name}`; use a value from 1 to {largest}"
            )));
        }
        let classes = data.num_classes;
        if !(1..=classes).contains(&self.classes_per_client) {
            let given = self.classes_per_client;
            return Err(fault(format!(
                "config `partition.classes-per-client = {given}`: `{name}` has {classes} classes; \
                 use a value from 1 to {classes}"
            )));
        }
        Ok(())
    }
}

impl Settings {
    fn check_dealt(&self, samples: usize, data: &Dataset) -> Result<()> {
        let (rows, clients, minimum) = (data.train.len(), self.num_clients, self.min_partition_size);
        if !(1..=rows).contains(&samples) {
            return Err(fault(format!(
                "config `partition.samples-per-client = {samples}`: `{}` has {rows} training rows and no client holds one \
                 twice; use a value from 1 to {rows}",
                data.name
            )));
        }
        if !(1..=MOST_DEALT / samples).contains(&clients) {
            let most = MOST_DEALT / samples;
            return Err(fault(format!(
                "config `partition.num-clients = {clients}`: with `samples-per-client = {samples}` there can be at most \
                 {MOST_DEALT} rows in all; use a value from 1 to {most}"
            )));
        }
        if !(1..=samples).contains(&minimum) {
            return Err(fault(format!(
                "config `partition.min-partition-size = {minimum}`: every client holds `samples-per-client = {samples}` \
                 rows; use a value from 1 to {samples}, or leave it out"
            )));
        }
        Ok(())
    }
}

fn check_range(key: &str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(fault(format!("config `partition.{key} = {value}`: use a value from {low} to {high}")))
}

fn refuse_unused_keys(config: &config::Partition, method: &Method) -> Result<()> {
    let given = [
        (Key::Alpha, config.alpha.is_some()),
        (Key::SamplesPerClient, config.samples_per_client.is_some()),
        (Key::ShardsPerClient, config.shards_per_client.is_some()),
        (Key::ClassesPerClient, config.classes_per_client.is_some()),
        (Key::Sigma, config.sigma.is_some()),
    ];
    let Some((key, _)) = given.iter().find(|(key, given)| *given && !method.keys.contains(key)) else { return Ok(()) };
    let common = ["num-clients", "min-partition-size", "test-fraction", "seed"];
    let own: Vec<String> =
        method.keys.iter().map(|key| key.name()).chain(common).map(|key| format!("`{key}`")).collect();
    let (key, name, own) = (key.name(), method.name, own.join(", "));
    Err(fault(format!("config `partition.{key}`: kind `{name}` does not use it; leave it out; `{name}` uses {own}")))
}

impl Key {
    pub fn name(self) -> &'static str {
        match self {
            Key::Alpha => "alpha",
            Key::SamplesPerClient => "samples-per-client",
            Key::ShardsPerClient => "shards-per-client",
            Key::ClassesPerClient => "classes-per-client",
            Key::Sigma => "sigma",
        }
    }

    /// What a user may change about this key so that the smallest client grows.
    pub fn remedy(self) -> &'static str {
        match self {
            Key::Alpha => "a larger `alpha`",
            Key::SamplesPerClient => "more samples per client",
            Key::ShardsPerClient => "fewer shards per client",
            Key::ClassesPerClient => "more classes per client",
            Key::Sigma => "a smaller `sigma`",
        }
    }
}

pub(super) fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Config, message)
}
