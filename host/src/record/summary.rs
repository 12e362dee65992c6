//! The run in a few numbers: `summary.json`, the table at the end and the head of the report.

use super::{Outcome, PluginRecord, PrivacyTerms, RoundRecord, RunInfo, Spread};
use serde::Serialize;

/// Rounds over which the end of a run is averaged: the last round alone says more about chance than about the method.
const LAST: usize = 10;

/// What `summary.json` holds. Fields that are not known (yet) are null.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether all rounds were done and every file of the run directory was written.
    pub complete: bool,
    /// Rounds done; round 0, the evaluation before training, does not count.
    pub rounds: u64,
    pub r#final: Option<FinalRound>,
    /// The round with the highest test accuracy, the first of them.
    pub best: Option<BestRound>,
    pub last10: Option<LastRounds>,
    /// Since the run directory was made: loading, partitioning and all rounds.
    pub seconds: f64,
    /// Largest resident memory of the process so far. Linux only.
    pub peak_rss_bytes: Option<u64>,
    pub upload_bytes: u64,
    pub download_bytes: u64,
    /// Only of runs with noise for differential privacy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// Clients whose training failed, over all rounds.
    pub failures: u64,
    /// Clients trained per second of training.
    pub clients_per_second: Option<f64>,
    /// BLAKE3 of the final weights as little-endian `f32` in flat order: equal runs have equal hashes.
    pub weights_blake3: Option<String>,
    pub plugins: Vec<PluginRecord>,
    /// Of the host.
    pub version: &'static str,
    /// Which numeric kernels ran.
    pub kernel: Option<String>,
}

/// What was spent, and what that means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Privacy {
    /// ε of all rounds done; null if it is not tracked.
    #[serde(serialize_with = "crate::privacy::serialize_known_epsilon")]
    pub epsilon: Option<f64>,
    #[serde(flatten)]
    pub terms: PrivacyTerms,
}

/// The last round in which the model was evaluated on the test set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinalRound {
    pub round: u64,
    pub test_accuracy: f64,
    pub test_loss: Option<f64>,
    pub train_loss: Option<f64>,
    /// Over the clients' own rows, where it was measured in that round, and which rows these were.
    pub client_accuracy: Option<Spread>,
    /// The same rows by each client's personal model, where a plugin keeps any.
    pub personal_accuracy: Option<Spread>,
    pub client_rows: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestRound {
    pub round: u64,
    pub test_accuracy: f64,
}

/// Test accuracy over the last rounds after round 0 that were evaluated, at most ten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastRounds {
    pub rounds: usize,
    pub mean: f64,
    /// Sample standard deviation (n − 1), 0 for one round.
    pub sd: f64,
}

impl Summary {
    /// Of the rounds so far; `outcome` once they are all done.
    pub fn new(info: Option<&RunInfo>, rounds: &[RoundRecord], outcome: Option<&Outcome>, seconds: f64) -> Self {
        Summary {
            complete: outcome.is_some_and(|outcome| outcome.complete),
            rounds: rounds.last().map_or(0, |record| record.round),
            r#final: final_round(rounds, outcome),
            best: best_round(rounds),
            last10: last_rounds(rounds),
            seconds,
            peak_rss_bytes: peak_rss_bytes(),
            upload_bytes: rounds.iter().map(|record| record.upload_bytes).sum(),
            download_bytes: rounds.iter().map(|record| record.download_bytes).sum(),
            privacy: info
                .and_then(|info| info.privacy.clone())
                .map(|terms| Privacy { epsilon: rounds.last().and_then(|record| record.epsilon), terms }),
            failures: rounds.iter().map(|record| record.failures).sum(),
            clients_per_second: outcome.and_then(clients_per_second),
            weights_blake3: outcome.map(|outcome| weights_blake3(&outcome.weights)),
            plugins: info.map_or_else(Vec::new, |info| info.plugins.clone()),
            version: env!("CARGO_PKG_VERSION"),
            kernel: outcome.map(|outcome| outcome.kernel.clone()),
        }
    }
}

fn final_round(rounds: &[RoundRecord], outcome: Option<&Outcome>) -> Option<FinalRound> {
    let record = rounds.iter().rev().find(|record| record.test_accuracy.is_some())?;
    Some(FinalRound {
        round: record.round,
        test_accuracy: record.test_accuracy?,
        test_loss: record.test_loss,
        train_loss: record.train_loss,
        client_accuracy: record.client_accuracy,
        personal_accuracy: record.personal_accuracy,
        client_rows: outcome.filter(|_| record.client_accuracy.is_some()).map(|outcome| outcome.client_rows),
    })
}

fn best_round(rounds: &[RoundRecord]) -> Option<BestRound> {
    let measured = rounds.iter().filter_map(|record| Some((record.round, record.test_accuracy?)));
    measured
        .filter(|(_, accuracy)| accuracy.is_finite())
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(round, test_accuracy)| BestRound { round, test_accuracy })
}

fn last_rounds(rounds: &[RoundRecord]) -> Option<LastRounds> {
    let trained = rounds.iter().rev().filter(|record| record.round > 0);
    let last: Vec<f64> = trained.filter_map(|record| record.test_accuracy).take(LAST).collect();
    if last.is_empty() {
        return None;
    }
    let n = last.len() as f64;
    let mean = last.iter().sum::<f64>() / n;
    let squares: f64 = last.iter().map(|value| (value - mean) * (value - mean)).sum();
    let sd = if last.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    Some(LastRounds { rounds: last.len(), mean, sd })
}

fn clients_per_second(outcome: &Outcome) -> Option<f64> {
    let rate = outcome.clients_trained as f64 / outcome.train_seconds;
    rate.is_finite().then_some(rate)
}

fn weights_blake3(weights: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    if cfg!(target_endian = "little") {
        hasher.update(bytemuck::cast_slice(weights));
    } else {
        for weight in weights {
            hasher.update(&weight.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// `VmHWM` of `/proc/self/status`, which other systems do not have.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(accuracies: &[f64]) -> Vec<RoundRecord> {
        let numbered = accuracies.iter().enumerate();
        numbered
            .map(|(i, &accuracy)| RoundRecord { round: i as u64, test_accuracy: Some(accuracy), ..Default::default() })
            .collect()
    }

    #[test]
    fn the_last_ten_leave_out_round_zero_and_all_but_ten() {
        // 0.2 and 0.4 by turns, ten of them: mean 0.3, every deviation 0.1, sd sqrt(10 · 0.01 / 9).
        let mut accuracies = vec![0.9; 5];
        accuracies.extend([0.2, 0.4].repeat(5));
        let last = last_rounds(&rounds(&accuracies)).unwrap();
        assert_eq!(last.rounds, 10);
        assert!((last.mean - 0.3).abs() < 1e-12);
        assert!((last.sd - 0.105_409_255_338_945_98).abs() < 1e-12);

        // Three rounds beside round 0: 0.5, 0.6, 0.7, so mean 0.6 and sd sqrt(0.02 / 2).
        let last = last_rounds(&rounds(&[0.1, 0.5, 0.6, 0.7])).unwrap();
        assert_eq!(last.rounds, 3);
        assert!((last.mean - 0.6).abs() < 1e-12 && (last.sd - 0.1).abs() < 1e-12);

        assert_eq!(last_rounds(&rounds(&[0.1, 0.5])).unwrap(), LastRounds { rounds: 1, mean: 0.5, sd: 0.0 });
        assert_eq!(last_rounds(&rounds(&[0.1])), None);
    }

    #[test]
    fn rounds_without_evaluation_count_for_nothing_but_their_bytes() {
        let mut records = rounds(&[0.1, 0.5, 0.5]);
        records.push(RoundRecord { round: 3, upload_bytes: 7, failures: 1, ..Default::default() });
        let summary = Summary::new(None, &records, None, 1.0);
        assert!(!summary.complete);
        assert_eq!((summary.rounds, summary.upload_bytes, summary.failures), (3, 7, 1));
        assert_eq!(summary.r#final.unwrap().round, 2);
        assert_eq!(summary.best.unwrap(), BestRound { round: 1, test_accuracy: 0.5 });
    }

    #[test]
    fn a_run_without_rounds_has_a_summary_without_results() {
        let summary = Summary::new(None, &[], None, 0.0);
        assert!(summary.r#final.is_none() && summary.best.is_none() && summary.last10.is_none());
    }

    #[test]
    fn the_hash_of_the_weights_is_that_of_their_little_endian_bytes() {
        assert_eq!(weights_blake3(&[1.0]), blake3::hash(&[0, 0, 0x80, 0x3f]).to_hex().to_string());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_of_memory_is_known_on_linux() {
        assert!(peak_rss_bytes().unwrap() > 1 << 20);
    }
}
