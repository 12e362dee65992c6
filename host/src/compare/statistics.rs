//! The numbers of a run and of a series.
//!
//! Where in the flow: behind series, before the table and the plot. Means over the runs of a series are sums in the
//! order of their seeds, deviations are sample standard deviations (n − 1), and both are told only where every run has
//! a value.
//! What it never does: smooth.

use super::{
    Band, Options,
    metric::{Better, Metric},
    run::Run,
    series::Series,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// One run up to the last common round.
#[derive(Clone, Debug, Serialize)]
pub struct RunNumbers {
    pub path: String,
    pub seed: Option<i64>,
    pub partition_seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<i64>,
    pub complete: bool,
    /// Last value that was measured.
    pub r#final: Option<f64>,
    /// Mean over the last measured rounds behind round 0, at most as many as asked for.
    pub last_mean: Option<f64>,
    /// Over how many of them it is.
    pub last_rounds: usize,
    /// First round whose value is the best.
    pub best: Option<Best>,
    /// First round at the target or beyond it; null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_round: Option<Option<u64>>,
    pub upload_bytes: f64,
    pub download_bytes: f64,
    /// Of the rounds, evaluation included, without loading data.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Best {
    pub round: u64,
    pub value: f64,
}

/// Runs of one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesNumbers {
    pub name: String,
    pub r#final: Estimate,
    pub last_mean: Estimate,
    /// Of the mean curve.
    pub best: Option<Best>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Means over the runs.
    pub upload_bytes: f64,
    pub download_bytes: f64,
    pub seconds: f64,
    pub runs: Vec<RunNumbers>,
    pub curve: Vec<Point>,
}

/// Over the runs of a series; both null where a run has no value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: Option<f64>,
    /// Null for a single run.
    pub sd: Option<f64>,
}

/// Rounds to the target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    /// How many of the runs reach it.
    pub reached: usize,
    /// Over all runs; null unless all reach it, since the mean of those that do would flatter.
    pub mean: Option<f64>,
    /// Over the runs that reach it.
    pub min: Option<u64>,
    pub max: Option<u64>,
}

/// A round of the mean curve. A value is NaN, null in JSON, where not every run has a finite one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub round: u64,
    pub mean: f64,
    /// 0 for a single run.
    pub sd: f64,
    pub min: f64,
    pub max: f64,
}

impl Point {
    /// Lower and upper edge.
    pub fn band(&self, band: Band) -> (f64, f64) {
        match band {
            Band::Range => (self.min, self.max),
            Band::Sd => (self.mean - self.sd, self.mean + self.sd),
        }
    }
}

impl RunNumbers {
    fn of(run: &Run, metric: &Metric, last: u64, options: &Options) -> Self {
        let measured = run.measured(metric.name(), last);
        let trained: Vec<f64> = measured.iter().filter(|(round, _)| *round > 0).map(|(_, value)| *value).collect();
        let last_rounds = trained.len().min(options.last);
        let seeds = run.settings.seeds;
        RunNumbers {
            path: run.path.clone(),
            seed: seeds.run,
            partition_seed: seeds.partition,
            data_seed: seeds.data,
            complete: run.complete,
            r#final: measured.last().map(|(_, value)| *value),
            last_mean: mean(&trained[trained.len() - last_rounds..]),
            last_rounds,
            best: best(measured.iter().copied(), metric),
            target_round: options.target.map(|target| {
                measured.iter().find(|(_, value)| metric.reaches(*value, target)).map(|(round, _)| *round)
            }),
            upload_bytes: run.total("upload_bytes", last),
            download_bytes: run.total("download_bytes", last),
            seconds: run.total("seconds", last),
        }
    }
}

impl SeriesNumbers {
    /// Over how many rounds the end is averaged, of the run with the most.
    pub fn last_rounds(&self) -> usize {
        self.runs.iter().map(|run| run.last_rounds).max().unwrap_or(0)
    }

    pub(super) fn of(series: &Series, metric: &Metric, last: u64, options: &Options) -> Self {
        let runs: Vec<RunNumbers> = series.runs.iter().map(|run| RunNumbers::of(run, metric, last, options)).collect();
        let curve = curve(&series.runs, metric, last);
        let over_runs = |pick: fn(&RunNumbers) -> f64| mean(&runs.iter().map(pick).collect::<Vec<_>>()).unwrap_or(0.0);
        SeriesNumbers {
            name: series.name.clone(),
            r#final: Estimate::of(runs.iter().map(|run| run.r#final)),
            last_mean: Estimate::of(runs.iter().map(|run| run.last_mean)),
            best: best(curve.iter().map(|point| (point.round, point.mean)), metric),
            target: options.target.map(|_| Target::of(runs.iter().map(|run| run.target_round.flatten()))),
            upload_bytes: over_runs(|run| run.upload_bytes),
            download_bytes: over_runs(|run| run.download_bytes),
            seconds: over_runs(|run| run.seconds),
            runs,
            curve,
        }
    }
}

impl Estimate {
    fn of(values: impl Iterator<Item = Option<f64>>) -> Self {
        let Some(values) = values.collect::<Option<Vec<f64>>>() else { return Estimate { mean: None, sd: None } };
        Estimate { mean: mean(&values), sd: (values.len() > 1).then(|| sd(&values)) }
    }
}

impl Target {
    fn of(rounds: impl Iterator<Item = Option<u64>>) -> Self {
        let rounds: Vec<Option<u64>> = rounds.collect();
        let reached: Vec<u64> = rounds.iter().flatten().copied().collect();
        let all = reached.len() == rounds.len();
        let values: Vec<f64> = reached.iter().map(|&round| round as f64).collect();
        Target {
            reached: reached.len(),
            mean: mean(&values).filter(|_| all),
            min: reached.iter().min().copied(),
            max: reached.iter().max().copied(),
        }
    }
}

/// The mean of the runs in each round that one of them measured.
fn curve(runs: &[Run], metric: &Metric, last: u64) -> Vec<Point> {
    let mut rounds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (round, value) in runs.iter().flat_map(|run| run.measured(metric.name(), last)) {
        rounds.entry(round).or_default().push(value);
    }
    let point = |(round, values): (u64, Vec<f64>)| {
        let whole = values.len() == runs.len() && values.iter().all(|value| value.is_finite());
        let Some(mean) = mean(&values).filter(|_| whole) else {
            return Point { round, mean: f64::NAN, sd: f64::NAN, min: f64::NAN, max: f64::NAN };
        };
        let (min, max) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        Point { round, mean, sd: sd(&values), min, max }
    };
    rounds.into_iter().map(point).collect()
}

/// The first of the best values that are finite.
fn best(values: impl Iterator<Item = (u64, f64)>, metric: &Metric) -> Option<Best> {
    let better = metric.better()?;
    let values = values.filter(|(_, value)| value.is_finite()).map(|(round, value)| Best { round, value });
    values.reduce(|best, next| match better {
        Better::Higher if next.value > best.value => next,
        Better::Lower if next.value < best.value => next,
        _ => best,
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// With n − 1; 0 for one value.
fn sd(values: &[f64]) -> f64 {
    let Some(mean) = mean(values).filter(|_| values.len() > 1) else { return 0.0 };
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}
