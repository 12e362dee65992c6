//! What a run leaves behind and shows: metrics, summary, model, report.
//!
//! Where in the flow: last. What it never does: change a number.

mod console;
mod directory;
mod failure;
mod files;
mod metrics;
pub mod report;
mod summary;
mod units;

#[cfg(test)]
mod tests;

pub use console::{JsonLines, Progress, Tee, results_table};
pub use directory::RunDirectory;
pub use failure::{Bug, Failure};
pub use files::write_file;
pub use summary::{BestRound, FinalRound, LastRounds, Summary};
pub use units::{bytes, count, percent, seconds};

use crate::{config::Config, train::Layout};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// One line of `metrics.jsonl`. Round 0 is the evaluation before training.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RoundRecord {
    pub round: u64,
    pub unix_time: f64,
    /// The whole round.
    pub seconds: f64,
    pub train_seconds: f64,
    pub evaluate_seconds: f64,
    pub test_loss: Option<f64>,
    /// Share of the test rows that are classified rightly, in [0, 1].
    pub test_accuracy: Option<f64>,
    /// Mean over the cohort's examples of the loss before the step that used them.
    pub train_loss: Option<f64>,
    /// Clients whose updates were aggregated.
    pub clients: u64,
    pub failures: u64,
    /// ε of the rounds so far; only in runs whose noise is accounted for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::privacy::serialize_known_epsilon")]
    pub epsilon: Option<f64>,
    /// How many of the clients were hostile; only in runs with an attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attackers: Option<u64>,
    /// How many clients of the cohort were late; only in runs with `[stragglers]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stragglers: Option<u64>,
    pub upload_bytes: u64,
    pub download_bytes: u64,
    /// Accuracy over the clients' own rows, where it was measured this round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_accuracy: Option<Spread>,
    /// The same rows by each client's personal model, where a plugin keeps any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal_accuracy: Option<Spread>,
    /// `plugin.<name>.<metric>`.
    #[serde(flatten)]
    pub plugin: BTreeMap<String, f64>,
}

/// Spread of a value over clients, every client counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub sd: f64,
    pub min: f64,
    pub p10: f64,
    pub median: f64,
    pub p90: f64,
    pub max: f64,
}

/// Known before round 0.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// Resolved: every plugin by its hash and with all its parameters.
    pub config: Config,
    pub data: String,
    pub model: String,
    pub num_weights: usize,
    pub num_clients: usize,
    pub rounds: u64,
    pub threads: usize,
    /// Which accelerator trains, in its own words; `None` for the CPU.
    pub device: Option<String>,
    pub plugins: Vec<PluginRecord>,
    /// What is said of its differential privacy; `None` without noise.
    pub privacy: Option<PrivacyTerms>,
    /// What to know before the run is believed, a line each.
    pub notes: Vec<String>,
    /// Rows of each class at each client, `num_clients × num_classes`; empty where there are too many clients to show.
    pub class_counts: Vec<Vec<u32>>,
}

/// A plugin of the run as it is written into the summary.
#[derive(Clone, Debug, Serialize)]
pub struct PluginRecord {
    pub name: String,
    pub version: String,
    /// Where the file came from: `shipped`, `shipped, for want of a file of that name`, or its path.
    pub source: String,
    /// `wasm` or `native`.
    pub form: String,
    pub blake3: String,
    pub kinds: Vec<crate::plugin::Role>,
    pub parameters: BTreeMap<String, serde_json::Value>,
}

/// What an ε of this run means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrivacyTerms {
    /// `gaussian`, `tree` or `local-gaussian`.
    pub mechanism: &'static str,
    /// Noise in the mechanism's unit.
    pub noise: f64,
    /// `rdp` or `pld`.
    pub accountant: &'static str,
    pub delta: f64,
    /// Largest ε that may be spent.
    pub budget: Option<f64>,
    /// `poisson` or `fixed`.
    pub sampling: &'static str,
    pub adjacency: &'static str,
    /// What is private, for whom, and what is not.
    pub statement: String,
    /// Why ε is not tracked, if it is not.
    pub untracked: Option<String>,
}

/// What the round loop hands over at the end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all rounds were done; a spent privacy budget ends a run before.
    pub complete: bool,
    pub weights: Vec<f32>,
    pub layout: Layout,
    /// Last evaluation of each client on its own rows: (client, accuracy), empty where it was not asked for.
    pub client_accuracy: Vec<(u64, f64)>,
    /// The same by their personal models, empty where no plugin keeps any.
    pub personal_accuracy: Vec<(u64, f64)>,
    /// On which rows: `test rows`, `held-out rows` or `training rows`.
    pub client_rows: &'static str,
    /// Clients trained in all rounds together, and the seconds spent training them.
    pub clients_trained: u64,
    pub train_seconds: f64,
    /// Which numeric kernels ran.
    pub kernel: String,
}

/// Whoever follows a run: the console, the run directory, a test.
pub trait Observer {
    fn start(&mut self, _info: &RunInfo) -> Result<()> {
        Ok(())
    }

    /// Called often from the round loop's thread: `done` of `cohort` clients of this round are trained.
    fn clients(&mut self, _round: u64, _done: usize, _cohort: usize) {}

    /// What happened during a round that the user should know of and that changes no result: shown, not recorded.
    fn warning(&mut self, _line: &str) {}

    fn round(&mut self, _record: &RoundRecord) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _outcome: &Outcome) -> Result<()> {
        Ok(())
    }
}
