//! Several runs beside each other, on the same rounds: `colla-host compare`.
//!
//! Where in the flow: behind everything; it reads finished run directories (`run.rs`), makes series of the runs that
//! differ only in their seeds (`series.rs`, named by `label.rs`), computes (`statistics.rs`), and says what keeps the
//! series from being comparable (`notes.rs`). The command line prints it; [`crate::record::report`] draws it.
//! What it never does: train, or change a run directory.

mod label;
mod metric;
mod notes;
mod run;
mod series;
mod settings;
mod statistics;
mod table;

#[cfg(test)]
mod tests;

pub use metric::{Better, Metric};
pub use series::Request;
pub use statistics::{Estimate, Point, RunNumbers, SeriesNumbers, Target};

use crate::{
    error::{Fault, Kind},
    record::report::{Curve, CurvePoint, Curves},
};
use anyhow::Result;
use run::Run;
use serde::Serialize;
use series::Series;

/// What is asked of the runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of a value in `metrics.jsonl`, nested ones with a point (`client_accuracy.mean`); `accuracy` and `loss` are
    /// the test set's.
    pub metric: String,
    /// Over how many measured rounds the end of a run is averaged, at least 1.
    pub last: usize,
    /// The value whose first round is asked for.
    pub target: Option<f64>,
    pub band: Band,
    /// Whether unfinished runs count with the rounds that they have.
    pub unfinished: bool,
}

/// What the area around a series' mean shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Band {
    /// From the smallest to the largest run.
    Range,
    /// One sample standard deviation (n − 1) to each side.
    Sd,
}

/// The runs in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub metric: Metric,
    /// First and last round that every run has.
    pub rounds: [u64; 2],
    /// As asked for; a run may have fewer measured rounds.
    pub last: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    pub band: Band,
    /// In the order in which the command names them.
    pub series: Vec<SeriesNumbers>,
    /// What to know before the numbers are believed, a line each.
    pub notes: Vec<String>,
}

/// Reads and compares run directories.
///
/// Order: that of the series follows the requests; the numbers of a series do not depend on it, since its runs are
/// taken by seed.
/// Errors: `Kind::Data` for what is no finished run directory or cannot be read; `Kind::Usage` for a metric or a target
/// that does not fit, a run given twice, or names that mix or confuse series.
pub fn compare(requests: &[Request], options: &Options) -> Result<Comparison> {
    let series = series::gather(requests, options.unfinished)?;
    let runs = || series.iter().flat_map(|series| &series.runs);
    let [first, last] = common_rounds(&series)?;
    let metric = Metric::find(&options.metric, runs(), last)?;
    metric.check_target(options.target)?;
    let numbers = |series: &Series| SeriesNumbers::of(series, &metric, last, options);
    Ok(Comparison {
        rounds: [first, last],
        last: options.last,
        target: options.target,
        band: options.band,
        series: series.iter().map(numbers).collect(),
        notes: notes::all(&series, &metric, last),
        metric,
    })
}

/// The rounds that every run has.
fn common_rounds(series: &[Series]) -> Result<[u64; 2]> {
    let runs = || series.iter().flat_map(|series| &series.runs);
    let (first, last) = (runs().map(Run::first_round).max(), runs().map(Run::last_round).min());
    match first.zip(last) {
        Some((first, last)) if first <= last => Ok([first, last]),
        Some((first, last)) => Err(Fault::new(
            Kind::Data,
            format!("the runs have no round in common: one begins with round {first}, another ends with {last}"),
        )),
        None => Err(Fault::new(Kind::Usage, "there is nothing to compare; give run directories")),
    }
}

impl Comparison {
    /// What the plot shows from round `from` on: the mean line of each series, and its band where it has several runs.
    /// Errors: `Kind::Usage` if the runs end before.
    pub fn curves(&self, from: u64) -> Result<Curves> {
        if from > self.rounds[1] {
            let message = format!("`--from {from}`: the last round that all runs have is {}", self.rounds[1]);
            return Err(Fault::new(Kind::Usage, message));
        }
        let several = self.series.iter().any(|series| series.runs.len() > 1);
        let band = match self.band {
            Band::Range => "smallest to largest run",
            Band::Sd => "one standard deviation over the runs to each side",
        };
        let name = self.metric.title();
        Ok(Curves {
            title: if several { format!("{name}; lines: mean over runs, bands: {band}") } else { name },
            share: self.metric.is_share(),
            curves: self.series.iter().map(|series| self.curve(series, from)).collect(),
        })
    }

    fn curve(&self, series: &SeriesNumbers, from: u64) -> Curve {
        let end = table::last(self, series);
        let runs = match series.runs.len() {
            1 => "1 run".into(),
            several => format!("{several} runs"),
        };
        let point = |point: &Point| {
            let (low, high) = point.band(self.band);
            CurvePoint { round: point.round, value: point.mean, low, high }
        };
        Curve {
            label: format!("{} ({runs}; {} {end})", series.name, table::last_title(self)),
            banded: series.runs.len() > 1,
            points: series.curve.iter().filter(|point| point.round >= from).map(point).collect(),
        }
    }

    /// Head and rows of the table, as people read it.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        table::text(self)
    }

    /// Series, path and seeds of each run.
    pub fn runs(&self) -> Vec<[String; 3]> {
        let seed = |seed: Option<i64>| seed.map_or("–".into(), |seed| seed.to_string());
        let told = |name: &str, run: &RunNumbers| {
            let seeds = format!("{}, partition {}", seed(run.seed), seed(run.partition_seed));
            [name.into(), run.path.clone(), seeds]
        };
        let runs = self.series.iter().flat_map(|series| series.runs.iter().map(|run| told(&series.name, run)));
        runs.collect()
    }

    /// The table as CSV, a line for each series, numbers in full.
    pub fn csv(&self) -> Result<String> {
        table::csv(self)
    }
}
