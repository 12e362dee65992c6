//! One run of one program, as a line of JSON. The names are those that the peers' `run.py` prints.

use super::{machine::Machine, tasks::Task};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// CollA's own name among the programs.
pub const COLLA: &str = "colla";

/// Share of the machine's processor time that other processes may use during a run that counts as undisturbed.
pub const DISTURBED: f64 = 0.05;

/// What was measured; what is not known is null. Seconds and MiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    pub peer: String,
    pub task: Option<Task>,
    /// Of a run for accuracy; runs for time have none.
    pub seed: Option<u64>,
    /// Whether nothing was cached: one round, for the start alone.
    pub cold: bool,
    pub rounds: u64,
    /// Median, least and most over rounds 2 to N, each from the end of the evaluation before to the end of its own.
    pub s_per_round: Option<f64>,
    pub s_per_round_min: Option<f64>,
    pub s_per_round_max: Option<f64>,
    /// CollA: median over rounds 2 to N of training with aggregation, and of evaluation.
    pub train_s: Option<f64>,
    pub evaluate_s: Option<f64>,
    /// From the start of the process to the start of round 1.
    pub startup_s: Option<f64>,
    pub first_round_s: Option<f64>,
    pub total_s: f64,
    pub cpu_s: Option<f64>,
    pub peak_rss_mb: Option<f64>,
    /// Of several processes: pages that they share are counted once.
    pub peak_pss_mb: Option<f64>,
    pub final_acc: Option<f64>,
    pub acc: Vec<f64>,
    pub other_cpu_s: Option<f64>,
    pub load_before: Option<f64>,
    pub rc: i32,
    pub timed_out: bool,
    /// Whether other processes kept quiet. Unknown counts as disturbed.
    pub clean: bool,
    pub threads: Option<u64>,
    pub version: Option<String>,
    pub kernel: Option<String>,
    pub machine: Machine,
}

impl Run {
    pub fn failed(&self) -> bool {
        self.rc != 0 || self.timed_out
    }

    pub fn is_colla(&self) -> bool {
        self.peer == COLLA
    }

    /// Peak memory of all its processes, MiB.
    pub fn memory(&self) -> Option<f64> {
        self.peak_pss_mb.or(self.peak_rss_mb)
    }

    /// Decides [`Run::clean`] from the processor time of others.
    pub fn judged(mut self) -> Self {
        let machine = self.total_s * super::machine::cores() as f64;
        self.clean = !self.failed() && self.other_cpu_s.is_some_and(|others| others <= DISTURBED * machine);
        self
    }

    /// What the terminal shows of it.
    pub fn line(&self) -> String {
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
        let task = self.task.map_or(String::new(), |task| task.to_string());
        let state = match (self.failed(), self.clean, self.seed) {
            (true, ..) => format!("FAILED with code {}", self.rc),
            (false, _, Some(seed)) => format!("seed {seed}"),
            (false, true, None) => "undisturbed".into(),
            (false, false, None) => format!("disturbed: others used {} s", number(self.other_cpu_s)),
        };
        let cold = if self.cold { " cold start" } else { "" };
        format!(
            "{task} {}{cold}: {} s a round, start {} s, whole {:.2} s, accuracy {}, {state}",
            self.peer,
            number(self.s_per_round),
            number(self.startup_s),
            self.total_s,
            number(self.final_acc),
        )
    }
}

/// The runs of a file.
pub fn read(path: &Path) -> Result<Vec<Run>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let run = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("`{}`, line {}: no run", path.display(), number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(run).collect()
}

/// The middle of the values, or the mean of the two in the middle. `None` of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().wrapping_sub(1) / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}
