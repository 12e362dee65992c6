//! `cargo dev bench`: the tasks of `examples/tasks/`, as whole processes, beside other simulators where they are there.
//!
//! Where in the flow: outside; it starts the release binary as a user would and reads what the run left behind. What it
//! never does: judge. No test fails because a machine is slow, and a run that others disturbed is marked, not dropped.

mod accuracy;
mod colla_run;
mod efficiency;
mod machine;
mod peer_run;
mod quiet;
mod run;
mod summary;
mod table;
mod tasks;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use colla_run::Colla;
use machine::Machine;
use peer_run::{Peer, Peers};
use run::Run;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tasks::Task;

#[derive(Args)]
pub struct Arguments {
    /// Folder of MNIST's four IDX files, gzipped or not
    #[arg(long, value_name = "DIR", required_unless_present = "table")]
    mnist: Option<PathBuf>,
    /// Which tasks, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "t1,t2,t3,t4,t5")]
    tasks: Vec<Task>,
    /// Undisturbed runs of each task and program
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Most runs of each task and program, disturbed ones included [default: twice --repeat]
    #[arg(long, value_name = "N")]
    tries: Option<u64>,
    /// Final accuracies over this many seeds instead of times
    #[arg(long, value_name = "N", conflicts_with_all = ["repeat", "tries"])]
    seeds: Option<u64>,
    /// Folder of the other programs' `run.py`; their environments are in the folder $PEERS_VENVS
    #[arg(long, value_name = "DIR", requires = "against")]
    peers: Option<PathBuf>,
    /// The other programs, separated by commas; NAME:N is run N times at most
    #[arg(long, value_name = "NAME[:N]", value_delimiter = ',', requires = "peers")]
    against: Vec<Peer>,
    /// Agents of CollA; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How long to wait before a run until other processes are quiet
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// A built `colla-host` [default: this checkout's, built now]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// New file for the runs, one JSON object a line [default: a name by the time below target/bench]
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    out: Option<PathBuf>,
    /// Run nothing: print the tables of such files again
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["mnist", "peers", "seeds"])]
    table: Vec<PathBuf>,
}

/// One program on one task, and how many runs of it are still wanted.
struct Cell<'a> {
    task: Task,
    peer: Option<&'a Peer>,
    wanted: u64,
    tries: u64,
}

pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if !arguments.table.is_empty() {
        let files = arguments.table.iter().map(|path| run::read(path)).collect::<Result<Vec<_>>>()?;
        print!("{}", summary::of(&files.concat()));
        return Ok(());
    }
    let mnist = arguments.mnist.as_deref().context("--mnist names the folder of MNIST's files")?;
    ensure!(mnist.is_dir(), "`{}` is no folder; --mnist names that of MNIST's four IDX files", mnist.display());
    let mnist = std::path::absolute(mnist)?;
    let colla = Colla::new(root, arguments.binary.as_deref(), &mnist, arguments.threads)?;
    let peers = arguments.peers.as_deref().map(|folder| Peers::new(folder, &mnist)).transpose()?;
    let (path, file) = created(root, arguments.out.as_deref())?;
    let machine = Machine::of(root)?;
    let mut bench = Bench { arguments, colla, peers, machine, file, runs: Vec::new() };
    match arguments.seeds {
        Some(seeds) => bench.accuracies(seeds)?,
        None => bench.times()?,
    }
    print!("{}", summary::of(&bench.runs));
    eprintln!("the runs: {}", path.display());
    Ok(())
}

struct Bench<'a> {
    arguments: &'a Arguments,
    colla: Colla,
    peers: Option<Peers>,
    machine: Machine,
    file: File,
    runs: Vec<Run>,
}

impl<'a> Bench<'a> {
    /// All programs in turn, task by task, until each has its undisturbed runs or no tries left.
    fn times(&mut self) -> Result<()> {
        let tries = self.arguments.tries.unwrap_or(2 * self.arguments.repeat);
        for &task in &self.arguments.tasks {
            // What the first run of a user meets: nothing is cached yet. It also leaves the cache as it is for the rest.
            let cold = self.colla.cold(task)?;
            self.keep(cold)?;
            let mut cells: Vec<Cell<'a>> = self.programs(self.arguments.repeat, tries, task);
            while cells.iter().any(|cell| cell.wanted > 0 && cell.tries > 0) {
                for cell in cells.iter_mut().filter(|cell| cell.wanted > 0 && cell.tries > 0) {
                    cell.tries -= 1;
                    quiet::wait(Duration::from_secs(self.arguments.wait));
                    let run = self.one(cell, None)?;
                    match (run.failed(), run.clean) {
                        (true, _) => cell.tries = 0,
                        (false, true) => cell.wanted -= 1,
                        (false, false) => {}
                    }
                    self.keep(run)?;
                }
            }
        }
        Ok(())
    }

    /// Every program once with each seed. Accuracy does not depend on what else the machine does.
    fn accuracies(&mut self, seeds: u64) -> Result<()> {
        ensure!(seeds >= 2, "--seeds {seeds}: a standard deviation needs at least 2");
        for &task in &self.arguments.tasks {
            for seed in 0..seeds {
                for cell in self.programs(1, 1, task) {
                    let run = self.one(&cell, Some(seed))?;
                    self.keep(run)?;
                }
            }
        }
        Ok(())
    }

    fn programs(&self, repeat: u64, tries: u64, task: Task) -> Vec<Cell<'a>> {
        let peers = self.arguments.against.iter().map(|peer| {
            let most = peer.runs.unwrap_or(u64::MAX);
            Cell { task, peer: Some(peer), wanted: repeat.min(most), tries: tries.min(most) }
        });
        std::iter::once(Cell { task, peer: None, wanted: repeat, tries }).chain(peers).collect()
    }

    fn one(&self, cell: &Cell<'_>, seed: Option<u64>) -> Result<Run> {
        match (cell.peer, &self.peers) {
            (None, _) => self.colla.run(cell.task, seed),
            (Some(peer), Some(peers)) => peers.run(&peer.name, cell.task, seed),
            (Some(peer), None) => bail!("--against {} needs --peers", peer.name),
        }
    }

    /// Writes the run down before the next one begins.
    fn keep(&mut self, mut run: Run) -> Result<()> {
        run.machine = self.machine.clone();
        eprintln!("{}", run.line());
        let mut line = serde_json::to_string(&run)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("writing down a run")?;
        self.runs.push(run);
        Ok(())
    }
}

fn created(root: &Path, out: Option<&Path>) -> Result<(PathBuf, File)> {
    let path = match out {
        Some(path) => path.to_path_buf(),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            root.join(format!("target/bench/{now}.jsonl"))
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder `{}`", folder.display()))?;
    }
    let file = File::create_new(&path)
        .with_context(|| format!("creating `{}`; --out names a new file, --table prints an old one", path.display()))?;
    Ok((path, file))
}
