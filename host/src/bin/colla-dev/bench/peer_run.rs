//! One run of another program, measured by the peers' own `run.py`, which prints a line of JSON.

use super::{
    run::{COLLA, Run},
    tasks::Task,
};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// A program, and how often it is run at most.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub runs: Option<u64>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, runs) = match text.split_once(':') {
            None => (text, None),
            Some((name, runs)) => {
                let runs = runs.parse().map_err(|_| format!("`{runs}` is no number of runs; write NAME or NAME:1"))?;
                (name, Some(runs))
            }
        };
        match name {
            "" | COLLA => Err(format!("`{name}` names no other program")),
            name => Ok(Peer { name: name.into(), runs }),
        }
    }
}

pub struct Peers {
    script: PathBuf,
    mnist: PathBuf,
}

impl Peers {
    /// `folder` holds `run.py`.
    pub fn new(folder: &Path, mnist: &Path) -> Result<Self> {
        let script = std::path::absolute(folder)?.join("run.py");
        ensure!(script.is_file(), "`{}` is not there; --peers names the folder of `run.py`", script.display());
        Ok(Peers { script, mnist: mnist.into() })
    }

    /// A program that fails leaves a run with its exit code; the others go on.
    pub fn run(&self, peer: &str, task: Task, seed: Option<u64>) -> Result<Run> {
        let mut command = Command::new("python3");
        command.arg(&self.script).arg(peer).arg(task.to_string());
        command.env("PEERS_MNIST", &self.mnist).env("PEERS_SEED", seed.unwrap_or_default().to_string());
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting python3")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let code = output.status.code().unwrap_or(-1);
        let failed = || Run { peer: peer.into(), task: Some(task), seed, rc: code, ..Run::default() };
        let Some(line) = text.lines().last().filter(|_| output.status.success()) else { return Ok(failed()) };
        let run: Run = serde_json::from_str(line).with_context(|| format!("what run.py says of {peer}: {line}"))?;
        Ok(Run { seed, ..run }.judged())
    }
}
