//! `cargo dev curves`: what a round costs as clients, cohorts and rounds grow, measured with the built program.
//!
//! Synthetic data, logistic regression, ten rows a client. Each point is a process of its own, so that its peak of memory
//! is its own. What it never does: judge; it prints tables, of which the columns that should be flat or straight say so.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const CLIENTS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const COHORTS: [usize; 4] = [10, 100, 1_000, 10_000];
const ROUNDS: [usize; 3] = [20, 200, 2_000];
const SAMPLES: usize = 10;

/// One process.
struct Point {
    clients: usize,
    cohort: usize,
    rounds: usize,
}

struct Measured {
    /// From the start of the process to the end of round 0.
    setup_seconds: f64,
    /// Of the rounds after the first, median.
    round_ms: f64,
    /// The same over the last tenth of the rounds.
    last_ms: f64,
    peak_bytes: f64,
}

pub fn run() -> Result<()> {
    let host = host()?;
    println!("clients     setup s   ms a round   peak MB   bytes a client");
    let mut smallest = None;
    for clients in CLIENTS {
        let point = Point { clients, cohort: 100, rounds: 50 };
        let Measured { setup_seconds, round_ms, peak_bytes, .. } = point.measure(&host)?;
        let (few, base) = *smallest.get_or_insert((clients, peak_bytes));
        let each =
            if clients > few { format!("{:.0}", (peak_bytes - base) / (clients - few) as f64) } else { "-".into() };
        println!("{clients:<9} {setup_seconds:9.2} {round_ms:12.3} {:9.0} {each:>16}", peak_bytes / 1e6);
    }
    println!("\ncohort      samples   ms a round   samples a second");
    for cohort in COHORTS {
        let Measured { round_ms, .. } = Point { clients: 100_000, cohort, rounds: 20 }.measure(&host)?;
        let samples = cohort * SAMPLES;
        println!("{cohort:<9} {samples:9} {round_ms:12.3} {:18.0}", samples as f64 / round_ms * 1e3);
    }
    println!("\nrounds      ms a round   ms in the last tenth   peak MB");
    for rounds in ROUNDS {
        let measured = Point { clients: 1_000, cohort: 100, rounds }.measure(&host)?;
        println!("{rounds:<9} {:12.3} {:22.3} {:9.0}", measured.round_ms, measured.last_ms, measured.peak_bytes / 1e6);
    }
    Ok(())
}

/// The program beside this one.
fn host() -> Result<PathBuf> {
    let name = format!("colla-host{}", std::env::consts::EXE_SUFFIX);
    let host = std::env::current_exe()?.with_file_name(name);
    ensure!(host.exists(), "{} is not built; run `cargo build --release` first", host.display());
    Ok(host)
}

impl Point {
    fn measure(&self, host: &Path) -> Result<Measured> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("run");
        let settings: [String; 12] = [
            "data.name=synthetic".into(),
            "data.num-rows=1000000".into(),
            "partition.kind=iid".into(),
            "partition.cache=false".into(),
            format!("partition.num-clients={}", self.clients),
            format!("partition.samples-per-client={SAMPLES}"),
            "model.name=logistic".into(),
            "train.local-epochs=1".into(),
            format!("federation.fraction-train={}", self.cohort as f64 / self.clients as f64),
            format!("federation.num-server-rounds={}", self.rounds),
            format!("evaluate.every={}", self.rounds),
            "evaluate.clients=never".into(),
        ];
        let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let mut command = Command::new(host);
        command.arg("--quiet").arg("--out").arg(&out);
        for setting in &settings {
            command.arg("--set").arg(setting);
        }
        let ended = command.output()?;
        ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let lines = std::fs::read_to_string(out.join("metrics.jsonl"))?;
        let rounds: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let number = |line: &Value, key: &str| line[key].as_f64().with_context(|| format!("no {key} in metrics.jsonl"));
        let summary: Value = serde_json::from_str(&std::fs::read_to_string(out.join("summary.json"))?)?;
        let first = rounds.first().context("no round in metrics.jsonl")?;
        // Training alone: the last round ends with an evaluation.
        let seconds: Vec<f64> =
            rounds.iter().skip(2).map(|line| number(line, "train_seconds")).collect::<Result<_>>()?;
        let last = &seconds[seconds.len() - seconds.len().div_ceil(10)..];
        Ok(Measured {
            setup_seconds: number(first, "unix_time")? + number(first, "seconds")? - begun,
            round_ms: median(&seconds) * 1e3,
            last_ms: median(last) * 1e3,
            peak_bytes: number(&summary, "peak_rss_bytes")?,
        })
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
