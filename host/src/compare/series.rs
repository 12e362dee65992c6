//! Series: runs of one configuration with different seeds.
//!
//! Where in the flow: between reading and computing. What it never does: put two configurations into one mean.

use super::{
    label,
    run::Run,
    settings::{Settings, differing_keys},
};
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A run directory, and the series that it is put into; without a name it finds the one of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub name: Option<String>,
    pub path: PathBuf,
}

impl Request {
    /// Reads `RUN` or `NAME=RUN`. A folder whose own name has a `=` is a folder.
    /// Errors: `Kind::Usage` for an empty name.
    pub fn parse(argument: &str) -> Result<Self> {
        let unnamed = Request { name: None, path: argument.into() };
        match argument.split_once('=') {
            Some(_) if unnamed.path.exists() => Ok(unnamed),
            Some((name, path)) if !name.trim().is_empty() && !path.is_empty() => {
                Ok(Request { name: Some(name.trim().into()), path: path.into() })
            }
            Some(_) => {
                let message = format!("`{argument}`: write NAME=RUN, such as fedprox=runs/0001");
                Err(Fault::new(Kind::Usage, message))
            }
            None => Ok(unnamed),
        }
    }
}

/// Runs that differ in nothing but their seeds, in the order of these.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub name: String,
    /// At least one.
    pub runs: Vec<Run>,
}

impl Series {
    pub fn settings(&self) -> &Settings {
        &self.runs[0].settings
    }
}

/// Reads the runs and puts them into series, which keep the order of the requests.
pub(super) fn gather(requests: &[Request], unfinished: bool) -> Result<Vec<Series>> {
    refuse_repetition(requests)?;
    let read = |request: &Request| Ok((request.name.clone(), Run::read(&request.path, unfinished)?));
    let runs = requests.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut series: Vec<(Option<String>, Vec<Run>)> = Vec::new();
    // Named ones first, so that an unnamed run finds them wherever they stand.
    let mut places: Vec<usize> = (0..runs.len()).collect();
    places.sort_by_key(|&place| runs[place].0.is_none());
    let mut first_places = Vec::new();
    for place in places {
        let (name, run) = &runs[place];
        let at = match name {
            Some(name) => series.iter().position(|(own, _)| own.as_ref() == Some(name)),
            None => of_configuration(&series, run)?,
        };
        match at {
            Some(at) => {
                refuse_mixture(name.as_deref(), &series[at].1[0], run)?;
                series[at].1.push(run.clone());
                first_places[at] = place.min(first_places[at]);
            }
            None => {
                series.push((name.clone(), vec![run.clone()]));
                first_places.push(place);
            }
        }
    }
    let mut ordered: Vec<_> = first_places.into_iter().zip(series).collect();
    ordered.sort_by_key(|(place, _)| *place);
    name(ordered.into_iter().map(|(_, series)| series).collect())
}

/// The series that a run without a name belongs to.
fn of_configuration(series: &[(Option<String>, Vec<Run>)], run: &Run) -> Result<Option<usize>> {
    let same = |&at: &usize| series[at].1[0].settings.same_but_seeds(&run.settings);
    let mut found = (0..series.len()).filter(same);
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => {
            let called = |at: usize| series[at].0.as_deref().unwrap_or_default();
            let message = format!(
                "`{}` could belong to `{}` or to `{}`, which have one configuration; name it as NAME={0}",
                run.path,
                called(one),
                called(other)
            );
            Err(Fault::new(Kind::Usage, message))
        }
        (found, _) => Ok(found),
    }
}

/// A directory that counts twice would only make a spread look smaller.
fn refuse_repetition(requests: &[Request]) -> Result<()> {
    let mut seen: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for request in requests {
        // A folder that is not there is told of when it is read.
        let Ok(place) = fs::canonicalize(&request.path) else { continue };
        if let Some(before) = seen.insert(place, &request.path) {
            let (before, path) = (before.display(), request.path.display());
            return Err(Fault::new(Kind::Usage, format!("`{path}`: this run is given twice, before as `{before}`")));
        }
    }
    Ok(())
}

fn refuse_mixture(name: Option<&str>, first: &Run, run: &Run) -> Result<()> {
    let Some(name) = name.filter(|_| !first.settings.same_but_seeds(&run.settings)) else { return Ok(()) };
    let (one, other) = (&first.settings, &run.settings);
    let keys = differing_keys(&[one, other]);
    let differ = |key: &String| format!("{key} ({} and {})", one.value(key), other.value(key));
    let mut differences: Vec<String> = keys.iter().map(differ).collect();
    if one.plugins != other.plugins {
        let labels = label::plugins(&[one, other]);
        differences.push(format!("plugins ({} and {})", labels[0], labels[1]));
    }
    let message = format!(
        "series `{name}`: `{}` and `{}` differ in more than their seeds: {}; give them different names",
        first.path,
        run.path,
        differences.join(", ")
    );
    Err(Fault::new(Kind::Usage, message))
}

/// Gives the series without a name a label, and puts each one's runs into the order of their seeds.
fn name(series: Vec<(Option<String>, Vec<Run>)>) -> Result<Vec<Series>> {
    let settings: Vec<&Settings> = series.iter().map(|(_, runs)| &runs[0].settings).collect();
    let labels = label::labels(&settings);
    let mut named: Vec<Series> = Vec::new();
    for ((name, mut runs), label) in series.into_iter().zip(labels) {
        runs.sort_by(|a, b| (a.settings.seeds, &a.path).cmp(&(b.settings.seeds, &b.path)));
        let name = name.unwrap_or(label);
        if named.iter().any(|other| other.name == name) {
            let message = format!("two series are called `{name}`; name the runs of one of them with NAME=RUN");
            return Err(Fault::new(Kind::Usage, message));
        }
        named.push(Series { name, runs });
    }
    Ok(named)
}
