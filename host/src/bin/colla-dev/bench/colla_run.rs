//! One run of CollA as a whole process, measured from outside and by the files that it leaves.

use super::{
    quiet,
    run::{COLLA, Run, median},
    tasks::Task,
};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// How often the memory of a running process is read.
const SAMPLING: Duration = Duration::from_millis(20);

pub struct Colla {
    binary: PathBuf,
    tasks: PathBuf,
    mnist: PathBuf,
    threads: usize,
    /// Of this bench alone, so that what a user cached before counts neither way.
    cache: TempDir,
}

/// What is read of a line of `metrics.jsonl`.
#[derive(Deserialize)]
struct Round {
    unix_time: f64,
    seconds: f64,
    train_seconds: f64,
    evaluate_seconds: f64,
    test_accuracy: Option<f64>,
}

impl Round {
    /// When its evaluation was done: `unix_time` is noted before it.
    fn end(&self) -> f64 {
        self.unix_time + self.evaluate_seconds
    }
}

#[derive(Deserialize)]
struct Summary {
    peak_rss_bytes: Option<u64>,
    version: String,
    kernel: Option<String>,
}

impl Colla {
    /// Uses `binary`, or builds the checkout's.
    pub fn new(root: &Path, binary: Option<&Path>, mnist: &Path, threads: usize) -> Result<Self> {
        let binary = match binary {
            Some(path) => std::path::absolute(path)?,
            None => built(root)?,
        };
        let cache = tempfile::Builder::new().prefix("colla-bench-").tempdir()?;
        Ok(Colla { binary, tasks: root.join("examples/tasks"), mnist: mnist.into(), threads, cache })
    }

    /// One round with nothing cached.
    pub fn cold(&self, task: Task) -> Result<Run> {
        let empty = tempfile::tempdir_in(self.cache.path())?;
        let run = self.measured(task, None, &["--rounds", "1"], empty.path())?;
        // The same files, for the runs that follow.
        let warm = self.measured(task, None, &["--rounds", "1"], self.cache.path())?;
        ensure!(!run.failed() && !warm.failed(), "{task}: CollA's first run failed; its error stands above");
        Ok(Run { cold: true, ..run })
    }

    /// The whole task. With a seed, everything that is drawn is drawn by it.
    pub fn run(&self, task: Task, seed: Option<u64>) -> Result<Run> {
        let text = seed.unwrap_or_default().to_string();
        let partition = format!("partition.seed={text}");
        let drawn = ["--seed", &text, "--set", &partition];
        let more: &[&str] = if seed.is_some() { &drawn } else { &[] };
        let run = self.measured(task, seed, more, self.cache.path())?;
        ensure!(!run.failed(), "{task}: CollA failed; its error stands above");
        Ok(run)
    }

    fn measured(&self, task: Task, seed: Option<u64>, more: &[&str], cache: &Path) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let (out, errors) = (folder.path().join("run"), folder.path().join("errors"));
        let mut command = Command::new(&self.binary);
        command.arg(self.tasks.join(format!("{task}.toml"))).arg("--quiet").arg("--out").arg(&out).args(more);
        command.arg("--data").arg(&self.mnist).args(["--threads", &self.threads.to_string()]);
        command.env("XDG_CACHE_HOME", cache).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);

        let (load, busy, own) = (quiet::load(), quiet::busy(), quiet::own());
        let (started, clock) = (unix_time(), Instant::now());
        let child = command.spawn().with_context(|| format!("starting `{}`", self.binary.display()))?;
        let (status, memory) = waited(child)?;
        let total_s = clock.elapsed().as_secs_f64();
        let (busy, own) = (difference(busy, quiet::busy()), own.zip(quiet::own()));
        let used = own.map(|((before, _), (after, _))| after - before);

        let run = Run {
            peer: COLLA.into(),
            task: Some(task),
            seed,
            total_s,
            cpu_s: own.map(|((_, before), (_, after))| after - before),
            other_cpu_s: busy.zip(used).map(|(busy, used)| (busy - used).max(0.0)),
            load_before: load,
            rc: status.code().unwrap_or(-1),
            ..Run::default()
        };
        if !status.success() {
            eprint!("{}", fs::read_to_string(&errors).unwrap_or_default());
            return Ok(run);
        }
        with_results(run, &out, started, memory, self.threads).map(Run::judged)
    }
}

/// Waits for the end, and for the largest memory until then, MiB.
fn waited(mut child: Child) -> Result<(ExitStatus, Option<f64>)> {
    let process = child.id();
    let (ended, end) = channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut most = None;
        loop {
            most = quiet::peak_memory(process).or(most);
            if end.recv_timeout(SAMPLING) != Err(RecvTimeoutError::Timeout) {
                return most;
            }
        }
    });
    let status = child.wait()?;
    drop(ended);
    Ok((status, watcher.join().ok().flatten()))
}

fn with_results(run: Run, out: &Path, started: f64, memory: Option<f64>, threads: usize) -> Result<Run> {
    let text = read(&out.join("metrics.jsonl"))?;
    let rounds: Vec<Round> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let summary: Summary = serde_json::from_str(&read(&out.join("summary.json"))?)?;
    let [before, trained @ ..] = &rounds[..] else { return Ok(run) };
    // Round 0 evaluates the initial weights; for the comparison that belongs to the start.
    let ready = before.unix_time + before.seconds;
    let lasted: Vec<f64> = trained.windows(2).map(|pair| pair[1].end() - pair[0].end()).collect();
    let later = trained.get(1..).unwrap_or_default();
    let told = summary.peak_rss_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
    Ok(Run {
        rounds: trained.len() as u64,
        s_per_round: median(lasted.iter().copied()),
        s_per_round_min: lasted.iter().copied().reduce(f64::min),
        s_per_round_max: lasted.iter().copied().reduce(f64::max),
        train_s: median(later.iter().map(|round| round.train_seconds)),
        evaluate_s: median(later.iter().map(|round| round.evaluate_seconds)),
        startup_s: Some(ready - started),
        first_round_s: trained.first().map(|round| round.end() - ready),
        peak_rss_mb: [memory, told].into_iter().flatten().reduce(f64::max),
        final_acc: trained.last().and_then(|round| round.test_accuracy),
        acc: trained.iter().filter_map(|round| round.test_accuracy).collect(),
        threads: Some(if threads == 0 { super::machine::cores() } else { threads } as u64),
        version: Some(summary.version),
        kernel: summary.kernel,
        ..run
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))
}

fn difference(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    before.zip(after).map(|(before, after)| after - before)
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Builds the release binary and tells where it is: beside this one.
fn built(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).current_dir(root).args(["build", "--release", "--bin", "colla-host"]).status();
    ensure!(status.context("starting cargo")?.success(), "`colla-host` does not build; what cargo says stands above");
    let name = format!("colla-host{}", std::env::consts::EXE_SUFFIX);
    Ok(std::env::current_exe()?.with_file_name(name))
}
