//! The table of a comparison: a row for each series, as people read it and as CSV.
//!
//! Where in the flow: last, behind the numbers. What it never does: compute one.

use super::{Comparison, Estimate, Metric, SeriesNumbers, Target};
use crate::record::{bytes, seconds};
use anyhow::Result;

pub(super) fn text(comparison: &Comparison) -> (Vec<String>, Vec<Vec<String>>) {
    let metric = &comparison.metric;
    let mut head = vec!["series".to_string(), "runs".into(), "final".into(), last_title(comparison)];
    head.extend(metric.better().map(|_| "best of the mean".into()));
    head.extend(comparison.target.map(|target| format!("rounds to {}", metric.text(target))));
    head.extend(["upload", "download", "time"].map(String::from));
    let row = |series: &SeriesNumbers| {
        let mut row = vec![series.name.clone(), series.runs.len().to_string(), estimate(metric, &series.r#final)];
        row.push(last(comparison, series));
        if metric.better().is_some() {
            let best = |best: super::statistics::Best| format!("{} (round {})", metric.text(best.value), best.round);
            row.push(series.best.map_or("–".into(), best));
        }
        row.extend(series.target.as_ref().map(|target| rounds_to(target, series.runs.len())));
        row.push(bytes(series.upload_bytes.round() as u64));
        row.push(bytes(series.download_bytes.round() as u64));
        row.push(seconds(series.seconds));
        row
    };
    (head, comparison.series.iter().map(row).collect())
}

/// `last 10 rounds`, or as many as there are.
pub(super) fn last_title(comparison: &Comparison) -> String {
    match comparison.series.iter().map(SeriesNumbers::last_rounds).max().unwrap_or(0) {
        0 => format!("last {} rounds", comparison.last),
        1 => "last round".into(),
        rounds => format!("last {rounds} rounds"),
    }
}

/// The end of a series: `91.40 % ± 0.60`.
pub(super) fn last(comparison: &Comparison, series: &SeriesNumbers) -> String {
    estimate(&comparison.metric, &series.last_mean)
}

fn estimate(metric: &Metric, estimate: &Estimate) -> String {
    match (estimate.mean, estimate.sd) {
        (Some(mean), Some(sd)) => format!("{} ± {}", metric.text(mean), metric.deviation(sd)),
        (Some(mean), None) => metric.text(mean),
        (None, _) => "–".into(),
    }
}

/// `17`, `17.3 (12 to 23)`, `2 of 3 runs (12 to 23)` or `never`.
fn rounds_to(target: &Target, runs: usize) -> String {
    let spread = match (target.min, target.max) {
        (Some(min), Some(max)) if min < max => format!(" ({min} to {max})"),
        (Some(min), _) if target.mean.is_none() => format!(" ({min})"),
        _ => String::new(),
    };
    match target.mean {
        Some(mean) if mean.fract() == 0.0 => format!("{mean}{spread}"),
        Some(mean) => format!("{mean:.1}{spread}"),
        None if target.reached == 0 => "never".into(),
        None => format!("{} of {runs} runs{spread}", target.reached),
    }
}

const COLUMNS: [&str; 19] = [
    "series",
    "runs",
    "seeds",
    "metric",
    "first_round",
    "last_round",
    "final_mean",
    "final_sd",
    "last_rounds",
    "last_mean",
    "last_sd",
    "best_round",
    "best_value",
    "target",
    "target_rounds_mean",
    "target_runs_reached",
    "upload_bytes",
    "download_bytes",
    "seconds",
];

pub(super) fn csv(comparison: &Comparison) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for series in &comparison.series {
        let seeds = series.runs.iter().map(|run| optional(run.seed)).collect::<Vec<_>>().join(" ");
        writer.write_record([
            series.name.clone(),
            series.runs.len().to_string(),
            seeds,
            comparison.metric.name().into(),
            comparison.rounds[0].to_string(),
            comparison.rounds[1].to_string(),
            optional(series.r#final.mean),
            optional(series.r#final.sd),
            series.last_rounds().to_string(),
            optional(series.last_mean.mean),
            optional(series.last_mean.sd),
            optional(series.best.map(|best| best.round)),
            optional(series.best.map(|best| best.value)),
            optional(comparison.target),
            optional(series.target.and_then(|target| target.mean)),
            optional(series.target.map(|target| target.reached)),
            series.upload_bytes.to_string(),
            series.download_bytes.to_string(),
            series.seconds.to_string(),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
