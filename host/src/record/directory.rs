//! The run directory: everything that a run leaves behind, so that the folder alone tells and repeats it.
//!
//! ```text
//! config.toml         resolved, with the plugins' hashes        at the start
//! metrics.jsonl/.csv  one line a round                          after each round
//! summary.json        the run in a few numbers                  after a round, but ten times a second at most; at the end
//! model.safetensors   the final weights                         at the end
//! report.html         curves, spread, partition, plugins        at the end
//! error.json          why the run stopped, or crash.json        only then
//! plugins.log         what plugins said in a quiet run           only then
//! ```
//! So while rounds are short, and where the process was killed, `metrics.jsonl` may be some rounds ahead of `summary.json`.
//!
//! Where in the flow: made before any data are read, so that a folder that cannot be written stops the run early.
//! What it never does: write into a folder that somebody else's files are in.

use super::{
    Bug, Failure, Observer, Outcome, RoundRecord, RunInfo, Summary, files, metrics, metrics::MetricsFiles, report,
};
use crate::{
    config::Config,
    error::{Fault, Kind},
    train::weights_file,
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Follows a run and writes its files.
pub struct RunDirectory {
    path: PathBuf,
    /// What `config.toml` says.
    stored_config: String,
    /// The folder was named by us, not by the user.
    numbered: bool,
    made: Instant,
    metrics: MetricsFiles,
    info: Option<RunInfo>,
    rounds: Vec<RoundRecord>,
    summary: Option<Summary>,
    /// When `summary.json` was last written, or the folder made.
    last_summary: Instant,
    /// How long after that no round writes it again: it takes as long as a short round of a small model.
    pub(super) min_summary_interval: Duration,
}

impl RunDirectory {
    /// Makes `host.out`, or the next free of `runs/0001`, `runs/0002`, … and puts the configuration there.
    ///
    /// Two processes never get the same folder: a numbered one is made by a call that fails if it exists, a named
    /// one belongs to whoever creates its `config.toml`.
    /// Errors: `Kind::Io` if the folder cannot be made or written, or holds files already.
    pub fn create(config: &Config) -> Result<Self> {
        match &config.host.out {
            Some(out) => Self::claim(config, named(out)?, false),
            None => Self::numbered(config, Path::new("runs")),
        }
    }

    /// Makes the next free number below `parent`, whatever the configuration says.
    pub fn numbered(config: &Config, parent: &Path) -> Result<Self> {
        Self::claim(config, next_numbered(parent)?, true)
    }

    fn claim(config: &Config, path: PathBuf, numbered: bool) -> Result<Self> {
        let stored_config = repeatable(config)?;
        create_new(&path, CONFIG, &stored_config)?;
        Ok(RunDirectory {
            metrics: MetricsFiles::create(&path)?,
            path,
            stored_config,
            numbered,
            made: Instant::now(),
            info: None,
            rounds: Vec::new(),
            summary: None,
            last_summary: Instant::now(),
            min_summary_interval: Duration::from_millis(100),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line to `plugins.log`, which is made for the first one.
    pub fn plugins_log(&self) -> impl FnMut(&str) + Send + 'static {
        let path = self.path.join(PLUGINS_LOG);
        move |line| {
            let file = File::options().create(true).append(true).open(&path);
            // What a plugin says must not stop the run.
            let _ = file.and_then(|mut file| writeln!(file, "{line}"));
        }
    }

    /// Known once the run has finished.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Writes down why the run stopped: `error.json`, or `crash.json` for a bug of ours, and the rounds done.
    ///
    /// Where nothing had begun, our files are removed instead, and the folder too if we numbered it: a misspelt plugin
    /// leaves no litter, and the corrected command finds its folder free. Then this returns `None`, else the file that
    /// tells the story.
    pub fn fail(&mut self, error: &anyhow::Error) -> Result<Option<PathBuf>> {
        let bug = error.downcast_ref::<Bug>();
        if self.info.is_none() && bug.is_none() {
            self.remove_what_we_made().map_err(|error| files::failed(&self.path, error))?;
            return Ok(None);
        }
        // A run that a spent budget ended has its summary already, and a fuller one.
        if self.summary.as_ref().is_none_or(|summary| summary.complete) {
            self.write_summary_so_far()?;
        }
        let (name, content) = match bug {
            Some(bug) => ("crash.json", json(bug)?),
            None => ("error.json", json(&Failure::of(error))?),
        };
        files::write_durably(&self.path, name, &content)?;
        Ok(Some(self.path.join(name)))
    }

    fn remove_what_we_made(&self) -> std::io::Result<()> {
        for name in [CONFIG, metrics::JSONL, metrics::CSV] {
            fs::remove_file(self.path.join(name))?;
        }
        match fs::remove_file(self.path.join(PLUGINS_LOG)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.numbered {
            fs::remove_dir(&self.path)?;
            // Its parent too, if this was the first run; that fails if there are others, and that is meant.
            let _ = self.path.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    fn write_summary_so_far(&mut self) -> Result<()> {
        self.last_summary = Instant::now();
        files::write(&self.path, SUMMARY, &json(&self.summarise(None))?)
    }

    fn summarise(&self, outcome: Option<&Outcome>) -> Summary {
        Summary::new(self.info.as_ref(), &self.rounds, outcome, self.made.elapsed().as_secs_f64())
    }
}

impl Observer for RunDirectory {
    fn start(&mut self, info: &RunInfo) -> Result<()> {
        self.stored_config = repeatable(&info.config)?;
        files::write(&self.path, CONFIG, self.stored_config.as_bytes())?;
        self.info = Some(info.clone());
        self.write_summary_so_far()
    }

    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        self.rounds.push(record.clone());
        self.metrics.append(&self.rounds)?;
        if self.last_summary.elapsed() < self.min_summary_interval {
            return Ok(());
        }
        self.write_summary_so_far()
    }

    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        let summary = self.summarise(Some(outcome));
        let hash = summary.weights_blake3.clone().unwrap_or_default();
        let about =
            [("colla", summary.version.into()), ("round", summary.rounds.to_string()), ("weights-blake3", hash)];
        let about: BTreeMap<String, String> = about.into_iter().map(|(key, value)| (key.into(), value)).collect();
        weights_file::save(&self.path.join("model.safetensors"), &outcome.layout, &outcome.weights, &about)?;

        let info = self.info.as_ref().context("a run finished that had not started")?;
        let run = report::Run { info, rounds: &self.rounds, outcome, summary: &summary, config: &self.stored_config };
        files::write_durably(&self.path, "report.html", report::html(&run)?.as_bytes())?;
        // Last, because it says that everything else is there.
        files::write_durably(&self.path, SUMMARY, &json(&summary)?)?;
        self.summary = Some(summary);
        Ok(())
    }
}

const CONFIG: &str = "config.toml";
const SUMMARY: &str = "summary.json";
const PLUGINS_LOG: &str = "plugins.log";

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// The configuration that repeats the run: without a run directory, because the repetition needs one of its own.
fn repeatable(config: &Config) -> Result<String> {
    let mut config = config.clone();
    config.host.out = None;
    config.to_toml()
}

/// Writes a file that was not there, which only one process can do: whoever does it has the folder.
fn create_new(folder: &Path, name: &str, content: &str) -> Result<()> {
    match File::create_new(folder.join(name)).and_then(|mut file| file.write_all(content.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(not_empty(folder)),
        Err(error) => Err(cannot_make(folder, &error)),
    }
}

fn named(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path).map_err(|error| cannot_make(path, &error))?;
    let mut entries = fs::read_dir(path).map_err(|error| cannot_make(path, &error))?;
    if entries.next().is_some() { Err(not_empty(path)) } else { Ok(path.into()) }
}

fn next_numbered(parent: &Path) -> Result<PathBuf> {
    fs::create_dir_all(parent).map_err(|error| cannot_make(parent, &error))?;
    let taken = fs::read_dir(parent).map_err(|error| cannot_make(parent, &error))?;
    let numbers = taken.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut number = u64::from(numbers.max().unwrap_or(0));
    loop {
        number += 1;
        let path = parent.join(format!("{number:04}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another run took this number since we looked.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_make(&path, &error)),
        }
    }
}

fn cannot_make(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let path = path.display();
    Fault::new(Kind::Io, format!("run directory `{path}`: {error}; choose another place with `--out DIR`"))
}

fn not_empty(path: &Path) -> anyhow::Error {
    let path = path.display();
    let message =
        format!("run directory `{path}`: it holds files already; choose another with `--out DIR` or empty it");
    Fault::new(Kind::Io, message)
}
