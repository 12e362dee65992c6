//! `metrics.jsonl` and `metrics.csv`: one line a round, on disk before the next round begins.
//!
//! The CSV file has fixed columns first, then one column for each metric of a plugin. When a plugin reports a metric
//! for the first time, the file is written anew with the wider head, so that every line has all columns.

use super::{RoundRecord, Spread, files};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

pub(super) struct MetricsFiles {
    folder: PathBuf,
    jsonl: File,
    plugin_columns: BTreeSet<String>,
}

impl MetricsFiles {
    /// Creates both files. Errors: `Kind::Io`.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(JSONL);
        let jsonl = File::create_new(&path).map_err(|error| files::failed(&path, error))?;
        let metrics = MetricsFiles { folder: folder.into(), jsonl, plugin_columns: BTreeSet::new() };
        metrics.rewrite_csv(&[])?;
        Ok(metrics)
    }

    /// Appends the last of `rounds` to both files.
    pub(super) fn append(&mut self, rounds: &[RoundRecord]) -> Result<()> {
        let Some(record) = rounds.last() else { return Ok(()) };
        let path = self.folder.join(JSONL);
        let line = json_line(record).map_err(|error| files::failed(&path, error))?;
        self.jsonl.write_all(line.as_bytes()).map_err(|error| files::failed(&path, error))?;

        let known = self.plugin_columns.len();
        self.plugin_columns.extend(record.plugin.keys().cloned());
        if self.plugin_columns.len() > known {
            return self.rewrite_csv(rounds);
        }
        let path = self.folder.join(CSV);
        let appended = csv_lines(std::iter::once(self.cells(record)))
            .and_then(|line| OpenOptions::new().append(true).open(&path)?.write_all(&line));
        appended.map_err(|error| files::failed(&path, error))
    }

    fn rewrite_csv(&self, rounds: &[RoundRecord]) -> Result<()> {
        let names = COLUMNS.iter().map(|(name, _)| name.to_string());
        let head: Vec<String> = names.chain(self.plugin_columns.iter().cloned()).collect();
        let table = csv_lines(std::iter::once(head).chain(rounds.iter().map(|record| self.cells(record))));
        let table = table.map_err(|error| files::failed(&self.folder.join(CSV), error))?;
        files::write(&self.folder, CSV, &table)
    }

    fn cells(&self, record: &RoundRecord) -> Vec<String> {
        let fixed = COLUMNS.iter().map(|(_, cell)| cell(record));
        let plugin = self.plugin_columns.iter().map(|name| optional(record.plugin.get(name).copied()));
        fixed.chain(plugin).collect()
    }
}

/// One line of `metrics.jsonl`, with its line feed. Numbers that are not finite become null.
pub(super) fn json_line(record: &RoundRecord) -> std::io::Result<String> {
    Ok(serde_json::to_string(record)? + "\n")
}

pub(super) const JSONL: &str = "metrics.jsonl";
pub(super) const CSV: &str = "metrics.csv";

type Column = (&'static str, fn(&RoundRecord) -> String);

const COLUMNS: [Column; 29] = [
    ("round", |r| r.round.to_string()),
    ("unix_time", |r| r.unix_time.to_string()),
    ("seconds", |r| r.seconds.to_string()),
    ("train_seconds", |r| r.train_seconds.to_string()),
    ("evaluate_seconds", |r| r.evaluate_seconds.to_string()),
    ("test_loss", |r| optional(r.test_loss)),
    ("test_accuracy", |r| optional(r.test_accuracy)),
    ("train_loss", |r| optional(r.train_loss)),
    ("clients", |r| r.clients.to_string()),
    ("failures", |r| r.failures.to_string()),
    ("epsilon", |r| optional(r.epsilon)),
    ("attackers", |r| r.attackers.map_or(String::new(), |count| count.to_string())),
    ("stragglers", |r| r.stragglers.map_or(String::new(), |count| count.to_string())),
    ("upload_bytes", |r| r.upload_bytes.to_string()),
    ("download_bytes", |r| r.download_bytes.to_string()),
    ("client_accuracy.mean", |r| spread(r.client_accuracy, |s| s.mean)),
    ("client_accuracy.sd", |r| spread(r.client_accuracy, |s| s.sd)),
    ("client_accuracy.min", |r| spread(r.client_accuracy, |s| s.min)),
    ("client_accuracy.p10", |r| spread(r.client_accuracy, |s| s.p10)),
    ("client_accuracy.median", |r| spread(r.client_accuracy, |s| s.median)),
    ("client_accuracy.p90", |r| spread(r.client_accuracy, |s| s.p90)),
    ("client_accuracy.max", |r| spread(r.client_accuracy, |s| s.max)),
    ("personal_accuracy.mean", |r| spread(r.personal_accuracy, |s| s.mean)),
    ("personal_accuracy.sd", |r| spread(r.personal_accuracy, |s| s.sd)),
    ("personal_accuracy.min", |r| spread(r.personal_accuracy, |s| s.min)),
    ("personal_accuracy.p10", |r| spread(r.personal_accuracy, |s| s.p10)),
    ("personal_accuracy.median", |r| spread(r.personal_accuracy, |s| s.median)),
    ("personal_accuracy.p90", |r| spread(r.personal_accuracy, |s| s.p90)),
    ("personal_accuracy.max", |r| spread(r.personal_accuracy, |s| s.max)),
];

fn optional(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn spread(spread: Option<Spread>, pick: fn(&Spread) -> f64) -> String {
    optional(spread.as_ref().map(pick))
}

fn csv_lines(lines: impl Iterator<Item = Vec<String>>) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}
