//! Which value of the rounds is compared, which way it is better, and how people read it.
//!
//! Where in the flow: chosen when the runs are read; everything behind it asks here. What it never does: guess. A value
//! that a plugin reports has no better end, so neither a best round nor a target.

use super::run::Run;
use crate::{
    error::{Fault, Kind, did_you_mean},
    record::{bytes, percent, seconds},
};
use anyhow::Result;
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// Keys that place a round in time, and are no values of it.
const PLACES: [&str; 2] = ["round", "unix_time"];

/// A key of `metrics.jsonl`, nested ones with a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    name: String,
}

/// Which end of the values is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

impl Metric {
    /// The metric that the user means, which every run must have measured in a round up to `last`.
    /// Errors: `Kind::Usage` with the names that all runs have; also for what says when a round was, and nothing of it.
    pub(super) fn find<'a>(given: &str, runs: impl Iterator<Item = &'a Run>, last: u64) -> Result<Self> {
        let name = match given {
            "accuracy" => "test_accuracy",
            "loss" => "test_loss",
            other => other,
        };
        let mut common: Option<BTreeSet<&str>> = None;
        let mut without = None;
        for run in runs {
            let mut measured = run.metrics(last);
            measured.retain(|name| !PLACES.contains(name));
            if !measured.contains(name) {
                without.get_or_insert(&run.path);
            }
            common = Some(common.map_or(measured.clone(), |common| &common & &measured));
        }
        let Some(run) = without else { return Ok(Metric { name: name.into() }) };
        let common = common.unwrap_or_default();
        let why = match PLACES.contains(&name) {
            true => "it says when a round was, not what it came to".to_owned(),
            false => format!("run `{run}` never measured it"),
        };
        let near = did_you_mean(name, common.iter().copied());
        let separator = if near.is_empty() { ";" } else { "" };
        let available = common.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("`--metric {given}`: {why}{near}{separator} in all runs: {available}");
        Err(Fault::new(Kind::Usage, message))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `test_accuracy` as `test accuracy`.
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "test_accuracy" | "test_loss" | "train_loss" | "upload_bytes" | "download_bytes" => {
                self.name.replace('_', " ")
            }
            other => other.into(),
        }
    }

    /// Whether its values are shares, read in percent.
    pub fn is_share(&self) -> bool {
        self.name.contains("accuracy") && !self.name.starts_with("plugin.")
    }

    pub fn better(&self) -> Option<Better> {
        match &self.name {
            name if name.starts_with("plugin.") => None,
            name if name.contains("accuracy") && !name.ends_with(".sd") => Some(Better::Higher),
            name if name.ends_with("loss") => Some(Better::Lower),
            _ => None,
        }
    }

    /// Errors: `Kind::Usage` for a target that this metric cannot have.
    pub(super) fn check_target(&self, target: Option<f64>) -> Result<()> {
        let Some(target) = target else { return Ok(()) };
        let refuse = |why: &str| Err(Fault::new(Kind::Usage, format!("`--target {target}`: {why}")));
        match self.better() {
            None => refuse(&format!("`{}` has no better end; targets are for accuracies and losses", self.name)),
            Some(_) if !target.is_finite() => refuse("must be a finite number"),
            Some(_) if self.is_share() && !(0.0..=1.0).contains(&target) => {
                refuse("accuracy is a share from 0 to 1; 90 % is 0.9")
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether `value` is at the target or on its better side.
    pub(super) fn reaches(&self, value: f64, target: f64) -> bool {
        match self.better() {
            Some(Better::Higher) => value >= target,
            Some(Better::Lower) => value <= target,
            None => false,
        }
    }

    /// `91.40 %`, `0.3501`, `1.23 MB`, `4.1 ms`.
    pub fn text(&self, value: f64) -> String {
        match &self.name {
            _ if !value.is_finite() => "not finite".into(),
            _ if self.is_share() => percent(value),
            name if name.ends_with("bytes") && value >= 0.0 => bytes(value.round() as u64),
            name if name.ends_with("seconds") => seconds(value),
            _ => number(value),
        }
    }

    /// The same for a deviation, which of shares is told in points.
    pub fn deviation(&self, value: f64) -> String {
        if self.is_share() && value.is_finite() { format!("{:.2}", value * 100.0) } else { self.text(value) }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// Four decimals where these say something.
fn number(value: f64) -> String {
    let plain = value == 0.0 || (1e-2..1e6).contains(&value.abs());
    if plain { format!("{value:.4}") } else { format!("{value:.3e}") }
}
