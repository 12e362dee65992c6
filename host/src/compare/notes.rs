//! What a reader must know before the numbers: whether the series had the same cohorts, which rounds were left out,
//! which runs do not say as much as they seem to.
//!
//! Where in the flow: beside the numbers. What it never does: refuse; comparing what differs may be what is wanted.

use super::{
    metric::Metric,
    run::Run,
    series::Series,
    settings::{Seeds, Settings, differing_keys},
};
use std::collections::{BTreeMap, BTreeSet};

/// Beside seeds, data, partition and model, what the cohorts depend on.
const COHORT: [&str; 2] = ["federation.fraction-train", "federation.sampling"];
/// And what the batches depend on.
const BATCHES: [&str; 7] = [
    "train.local-epochs",
    "train.local-steps",
    "train.batch-size",
    "train.shuffle",
    "train.persist-iterator",
    // Late clients train on fewer batches, or theirs do not count.
    "stragglers.share",
    "stragglers.work",
];

type Seed = fn(&Seeds) -> Option<i64>;
const SEEDS: [(&str, Seed); 3] =
    [("seed", |seeds| seeds.run), ("partition.seed", |seeds| seeds.partition), ("data.seed", |seeds| seeds.data)];

pub(super) fn all(series: &[Series], metric: &Metric, last: u64) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(cohorts(series));
    notes.extend(measured_otherwise(series, metric, last));
    notes.extend(cut(series, last));
    notes.extend(unfinished(series));
    notes.extend(series.iter().filter_map(repeated));
    notes
}

/// Whether the series trained the same clients on the same rows from the same weights.
fn cohorts(series: &[Series]) -> Option<String> {
    if series.len() < 2 {
        return None;
    }
    let mut differ = differing_seeds(series);
    let settings: Vec<&Settings> = series.iter().map(Series::settings).collect();
    let keys = differing_keys(&settings);
    let of_cohort = |key: &&String| {
        let sections = ["data.", "partition.", "model."];
        sections.iter().any(|section| key.starts_with(section)) || COHORT.contains(&key.as_str())
    };
    let values = |key: &String| settings.iter().map(|one| one.value(key)).collect::<Vec<_>>().join(" | ");
    differ.extend(keys.iter().filter(of_cohort).map(|key| format!("{key} ({})", values(key))));
    for series in series {
        differ
            .extend(series.runs[0].selects.iter().map(|plugin| format!("`{}`: `{plugin}` chooses them", series.name)));
    }
    if !differ.is_empty() {
        return Some(format!("not on the same cohorts: {}", differ.join("; ")));
    }
    let batches = keys.iter().any(|key| BATCHES.contains(&key.as_str()));
    let what = if batches { "data, partition, initial weights and cohorts, other batches" } else { SAME };
    Some(format!("the same {what}; seeds {}", seeds_of(&series[0], |seeds| seeds.run)))
}

const SAME: &str = "data, partition, initial weights, cohorts and batches";

/// Each kind of seed of which the series have not the same ones.
fn differing_seeds(series: &[Series]) -> Vec<String> {
    let differ = |(name, seed): &(&str, Seed)| {
        let of_series: Vec<String> = series.iter().map(|series| seeds_of(series, *seed)).collect();
        let differ = of_series.iter().any(|seeds| *seeds != of_series[0]);
        differ.then(|| format!("{name} ({})", of_series.join(" | ")))
    };
    let mut kinds: Vec<String> = SEEDS.iter().filter_map(differ).collect();
    let together = |series: &Series| series.runs.iter().map(|run| run.settings.seeds).collect::<BTreeSet<_>>();
    if kinds.is_empty() && series.iter().any(|other| together(other) != together(&series[0])) {
        kinds.push("the same seeds, combined otherwise".into());
    }
    kinds
}

/// The seeds of one kind, each once.
fn seeds_of(series: &Series, seed: Seed) -> String {
    let seeds: BTreeSet<Option<i64>> = series.runs.iter().map(|run| seed(&run.settings.seeds)).collect();
    seeds.into_iter().map(|seed| seed.map_or("none".into(), |seed| seed.to_string())).collect::<Vec<_>>().join(", ")
}

/// Averages at the end, best values and targets of series that were measured in other rounds (`evaluate.every`) differ
/// although the training may be the same.
fn measured_otherwise(series: &[Series], metric: &Metric, last: u64) -> Option<String> {
    let measured = |series: &Series| -> BTreeSet<u64> {
        let values = series.runs.iter().flat_map(|run| run.measured(metric.name(), last));
        values.map(|(round, _)| round).collect()
    };
    let rounds: Vec<BTreeSet<u64>> = series.iter().map(measured).collect();
    if rounds.iter().all(|other| *other == rounds[0]) {
        return None;
    }
    let told = |(series, rounds): (&Series, &BTreeSet<u64>)| format!("`{}` in {}", series.name, rounds.len());
    let told: Vec<String> = series.iter().zip(&rounds).map(told).collect();
    Some(format!(
        "{} was not measured in the same rounds ({}), which averages over the last ones, best values and targets depend on",
        metric.title(),
        told.join(", ")
    ))
}

fn cut(series: &[Series], last: u64) -> Option<String> {
    let mut longer = series.iter().flat_map(|series| &series.runs).filter(|run| run.last_round() > last);
    let (first, more) = (longer.next()?, longer.count());
    let others = match more {
        0 => String::new(),
        1 => " and of 1 other run".into(),
        more => format!(" and of {more} other runs"),
    };
    Some(format!(
        "up to round {last}, the last that all runs have; later rounds of `{}`{others} are left out",
        first.path
    ))
}

fn unfinished(series: &[Series]) -> Option<String> {
    let runs = series.iter().flat_map(|series| &series.runs).filter(|run| !run.complete);
    let told: Vec<String> = runs.map(|run| format!("`{}` (round {})", run.path, run.last_round())).collect();
    (!told.is_empty()).then(|| format!("not finished: {}", told.join(", ")))
}

/// The same seeds twice say nothing about the spread over seeds.
fn repeated(series: &Series) -> Option<String> {
    let mut by_seeds: BTreeMap<Seeds, Vec<&Run>> = BTreeMap::new();
    for run in &series.runs {
        by_seeds.entry(run.settings.seeds).or_default().push(run);
    }
    let runs = by_seeds.into_values().find(|runs| runs.len() > 1)?;
    let paths = runs.iter().map(|run| format!("`{}`", run.path)).collect::<Vec<_>>().join(" and ");
    Some(format!("`{}`: {paths} have the same seeds, so the deviation over runs is too small", series.name))
}
