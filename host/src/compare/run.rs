//! Reading a run directory: what was run, and what came of it round by round.
//!
//! Where in the flow: first of a comparison. What it never does: hold a stored configuration to this version's keys;
//! runs of other versions can be compared as well.

use super::settings::Settings;
use crate::error::{Fault, Kind};
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
};

/// A run as its directory tells it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// As the command names it.
    pub path: String,
    pub settings: Settings,
    /// Whether all its rounds were done.
    pub complete: bool,
    /// The plugin that chooses its cohorts, if they are not drawn by the host.
    pub selects: Option<String>,
    /// In their order, at least one.
    rounds: Vec<Round>,
}

/// A line of `metrics.jsonl`: every number, nested ones with a point in their name.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    values: BTreeMap<String, f64>,
}

/// What is read of `summary.json`.
#[derive(Deserialize)]
struct Summary {
    complete: bool,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    name: String,
    #[serde(default)]
    kinds: Vec<String>,
}

impl Run {
    /// Reads a run directory.
    ///
    /// A run is finished if its `summary.json` says `complete`, which it does last of all. With `unfinished` others are
    /// read as well, as far as they came.
    /// Errors: `Kind::Data` naming folder and file.
    pub fn read(folder: &Path, unfinished: bool) -> Result<Self> {
        let path = folder.display().to_string();
        let summary: Summary = serde_json::from_str(&content(folder, "summary.json")?)
            .map_err(|error| broken(&path, "summary.json", &error))?;
        let rounds = rounds(&content(folder, "metrics.jsonl")?, summary.complete)
            .map_err(|error| broken(&path, "metrics.jsonl", &error))?;
        let settings = content(folder, "config.toml")?;
        let settings = Settings::parse(&settings).map_err(|error| broken(&path, "config.toml", &error))?;
        if !summary.complete && !unfinished {
            return Err(not_finished(folder, rounds.last().map_or(0, |round| round.number)));
        }
        if rounds.is_empty() {
            return Err(fault(&path, "it has no rounds; leave it out"));
        }
        let mut plugins = summary.plugins.into_iter();
        let selects = plugins.find(|plugin| plugin.kinds.iter().any(|kind| kind == "select"));
        let selects = selects.map(|plugin| plugin.name);
        Ok(Run { path, settings, complete: summary.complete, selects, rounds })
    }

    pub fn first_round(&self) -> u64 {
        self.rounds.first().map_or(0, |round| round.number)
    }

    pub fn last_round(&self) -> u64 {
        self.rounds.last().map_or(0, |round| round.number)
    }

    /// The rounds up to `last` in which `metric` was measured, with its value, which need not be finite.
    pub fn measured(&self, metric: &str, last: u64) -> Vec<(u64, f64)> {
        self.until(last).filter_map(|round| Some((round.number, *round.values.get(metric)?))).collect()
    }

    /// Sum of `metric` over the rounds up to `last`.
    pub fn total(&self, metric: &str, last: u64) -> f64 {
        self.until(last).filter_map(|round| round.values.get(metric)).sum()
    }

    /// Names of what was measured up to `last`.
    pub fn metrics(&self, last: u64) -> BTreeSet<&str> {
        self.until(last).flat_map(|round| round.values.keys().map(String::as_str)).collect()
    }

    fn until(&self, last: u64) -> impl Iterator<Item = &Round> {
        self.rounds.iter().take_while(move |round| round.number <= last)
    }
}

fn content(folder: &Path, name: &str) -> Result<String> {
    let path = folder.display().to_string();
    fs::read_to_string(folder.join(name)).map_err(|error| match error.kind() {
        ErrorKind::NotFound if !folder.exists() => fault(&path, "there is no such folder"),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            fault(&path, &format!("this is no run directory, it has no `{name}`; give a folder that a run wrote"))
        }
        _ => fault(&path, &format!("reading `{name}`: {error}")),
    })
}

fn not_finished(folder: &Path, rounds: u64) -> anyhow::Error {
    let failure = fs::read_to_string(folder.join("error.json")).ok();
    let failure = failure.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let why = failure.as_ref().and_then(|failure| failure["error"].as_str());
    let why = why.map_or(String::new(), |why| format!(" and ended with `{why}`"));
    let message = format!(
        "the run is not finished: it did {rounds} rounds{why}; leave it out, or compare up to its last round with \
         `--unfinished`"
    );
    fault(&folder.display().to_string(), &message)
}

fn broken(path: &str, name: &str, error: &dyn std::fmt::Display) -> anyhow::Error {
    fault(path, &format!("`{name}` is broken: {error}"))
}

fn fault(path: &str, message: &str) -> anyhow::Error {
    Fault::new(Kind::Data, format!("run directory `{path}`: {message}"))
}

/// The lines of `metrics.jsonl`. A killed run may leave the last one cut off.
fn rounds(text: &str, complete: bool) -> Result<Vec<Round>, String> {
    let whole = match text.rfind('\n') {
        _ if complete => text,
        Some(end) => &text[..end],
        None => "",
    };
    let mut rounds: Vec<Round> = Vec::new();
    for (at, line) in whole.lines().enumerate() {
        let value: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))?;
        let number = value.get("round").and_then(Value::as_u64);
        let number = number.ok_or_else(|| format!("line {}: it has no whole number `round`", at + 1))?;
        if let Some(before) = rounds.last().filter(|before| before.number >= number) {
            return Err(format!("line {}: round {number} follows round {}", at + 1, before.number));
        }
        let mut values = BTreeMap::new();
        flatten("", &value, &mut values);
        mark_not_finite(&value, &mut values);
        rounds.push(Round { number, values });
    }
    Ok(rounds)
}

fn flatten(prefix: &str, object: &Map<String, Value>, values: &mut BTreeMap<String, f64>) {
    for (key, value) in object {
        let name = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(&format!("{name}."), inner, values),
            _ => drop(value.as_f64().map(|number| values.insert(name, number))),
        }
    }
}

/// JSON has null both for what was not measured and for what is not finite. A loss without a value is not finite where
/// the same round's accuracy was measured, or clients were trained.
fn mark_not_finite(line: &Map<String, Value>, values: &mut BTreeMap<String, f64>) {
    let is_null = |name: &str| line.get(name).is_some_and(Value::is_null);
    if is_null("test_loss") && values.contains_key("test_accuracy") {
        values.insert("test_loss".into(), f64::NAN);
    }
    if is_null("train_loss") && values.get("clients").is_some_and(|&clients| clients > 0.0) {
        values.insert("train_loss".into(), f64::NAN);
    }
}
