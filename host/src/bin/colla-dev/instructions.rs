//! `cargo dev instructions`: how many instructions the hot paths take, held against a committed file.
//!
//! Counts do not depend on what else the machine does, so they guard against regressions where timings cannot. Callgrind
//! counts them in a process of its own for each piece of work, on the AVX2 path: it shows programs no AVX-512.
//! What it never does: measure speed; instructions that wait for memory count like others.

use anyhow::{Context, Result, bail, ensure};
use colla::{
    config::{self, ModelName},
    data::{Dataset, PixelScale},
    plugin::{self, Block, Span},
    stages,
    strategy::grid::{Grid, GridSum},
    train::{BatchOrder, Layout, LocalTask, Model, Part, TensorInfo, TensorRole, model_from_config},
};
use colla_plugin_sdk::abi::{op, table};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Below the root.
const FILE: &str = "host/benches/instructions.tsv";
/// Counts may differ by so much: caches of another size cut products elsewhere.
const TOLERANCE: f64 = 0.05;
const ROWS: u32 = 200;

type Work = Box<dyn FnMut() -> Result<()>>;

/// A piece of work, made ready so that only the work itself is counted.
struct Piece {
    name: &'static str,
    prepare: fn() -> Result<Work>,
}

const PIECES: [Piece; 8] = [
    Piece { name: "train-2nn", prepare: || train(ModelName::Mlp, 4, 10) },
    // Callgrind takes a minute for what the processor does in twenty milliseconds.
    Piece { name: "train-cnn", prepare: || train(ModelName::Cnn, 1, 4) },
    Piece { name: "train-logistic", prepare: || train(ModelName::Logistic, 4, 10) },
    Piece { name: "evaluate-2nn", prepare: || evaluate(ModelName::Mlp, 60) },
    Piece { name: "evaluate-logistic", prepare: || evaluate(ModelName::Logistic, 64) },
    Piece { name: "evaluate-cnn", prepare: || evaluate(ModelName::Cnn, 6) },
    Piece { name: "grid-sum", prepare: grid_sum },
    Piece { name: "plugin-weigh", prepare: weigh },
];

/// What is done with the counts.
pub enum Mode {
    Print,
    /// Writes the file.
    Bless,
    /// Fails where a count differs from the file's.
    Check,
}

/// Counts every piece of work.
pub fn run(root: &Path, mode: &Mode) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the committed counts are those of x86-64 with AVX2; this is another processor"
    );
    // Side by side, since counts do not depend on it.
    let counts = PIECES.par_iter().map(|piece| Ok((piece.name, count(piece.name)?))).collect::<Result<Vec<_>>>()?;
    let path = root.join(FILE);
    if let Mode::Bless = mode {
        let text: String = counts.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
        return std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()));
    }
    let before = committed(&path)?;
    let mut beyond = Vec::new();
    for (name, count) in counts {
        let Some(&old) = before.get(name) else {
            bail!("{FILE} has no `{name}`; run `cargo dev instructions --bless`")
        };
        let change = count as f64 / old as f64 - 1.0;
        println!("{name:<16} {count:>14} {:+7.2} %", 100.0 * change);
        if change.abs() > TOLERANCE {
            beyond.push(name);
        }
    }
    match (mode, &beyond[..]) {
        (Mode::Check, [_, ..]) => bail!(
            "more than {} % away from {FILE}: {}; if that is meant, run `cargo dev instructions --bless`",
            100.0 * TOLERANCE,
            beyond.join(", ")
        ),
        _ => Ok(()),
    }
}

fn committed(path: &Path) -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = |line: &str| {
        let (name, count) = line.split_once('\t').with_context(|| format!("{}: `{line}`", path.display()))?;
        Ok((name.to_owned(), count.parse()?))
    };
    text.lines().map(line).collect()
}

/// Instructions of one piece of work, by this program under Callgrind.
fn count(name: &str) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*instructions::measured*")
        .arg(std::env::current_exe()?)
        .args(["instructions", "--work", name])
        .output()
        .context("starting valgrind, which counts; install it, for example by `apt-get install valgrind`")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} under valgrind: {told}");
    let collected = told.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected = collected.and_then(|count| count.trim().parse().ok()).filter(|&count: &u64| count > 0);
    collected.with_context(|| format!("{name}: valgrind told no count: {told}"))
}

/// Does one piece of work: what runs under Callgrind.
pub fn work(name: &str) -> Result<()> {
    let piece =
        PIECES.iter().find(|piece| piece.name == name).with_context(|| format!("no work is called `{name}`"))?;
    let mut work = (piece.prepare)()?;
    // Buffers grow in the first call, and the processor is asked what it can do.
    work()?;
    measured(&mut work)
}

/// Callgrind counts what happens in here; it finds the function by its name.
#[inline(never)]
fn measured(work: &mut Work) -> Result<()> {
    work()
}

fn data() -> Result<Arc<Dataset>> {
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let part = || ((0..ROWS * 784).map(pixel).collect(), (0..ROWS).map(|row| row % 10).collect());
    let pixels = PixelScale { scale: 1.0 / 255.0, shift: 0.0 };
    Ok(Arc::new(Dataset::from_bytes("made up", vec![1, 28, 28], 10, pixels, part(), part())?))
}

fn model(name: ModelName, data: &Dataset) -> Result<Arc<dyn Model>> {
    let hidden = (name == ModelName::Mlp).then(|| vec![200, 200]);
    model_from_config(&config::Model { name, hidden, init: None }, data)
}

fn train(name: ModelName, steps: u64, batch_size: usize) -> Result<Work> {
    let data = data()?;
    let model = model(name, &data)?;
    let (start, rows): (Vec<f32>, Vec<u32>) = (model.initial_weights(1)?, (0..ROWS).collect());
    let (mut trainer, mut out) = (model.trainer(data)?, start.clone());
    let order = BatchOrder { seed: 1, round: 1, client: 1, phase: 0, steps_before: None, shuffle: true };
    Ok(Box::new(move || {
        let task = LocalTask {
            start: &start,
            rows: &rows,
            steps,
            batch_size,
            learning_rate: 0.01,
            momentum: 0.0,
            weight_decay: 0.0,
            terms: &[],
            relabel: None,
            order,
        };
        trainer.train(&task, &mut out).map(|_| ())
    }))
}

fn evaluate(name: ModelName, rows: u32) -> Result<Work> {
    let data = data()?;
    let model = model(name, &data)?;
    let (weights, rows): (Vec<f32>, Vec<u32>) = (model.initial_weights(1)?, (0..rows).collect());
    let mut trainer = model.trainer(data)?;
    Ok(Box::new(move || trainer.evaluate(&weights, Part::Test, &rows).map(|_| ())))
}

/// Three updates of a hundred thousand weights, and their mean.
fn grid_sum() -> Result<Work> {
    let update: Vec<f32> = (0..100_000u32).map(|i| (i % 1_000) as f32 * 1e-3).collect();
    let grid = Grid::new(3.0, 64.0)?;
    Ok(Box::new(move || {
        let mut sum = GridSum::new(grid, update.len());
        (0..3).for_each(|_| sum.fold(1.0, &update));
        ensure!(sum.mean(3.0)[1] > 0.0);
        Ok(())
    }))
}

/// FedAvg weighs a cohort of a hundred clients in the sandbox: what a call costs, and a client more.
fn weigh() -> Result<Work> {
    const CLIENTS: usize = 100;
    let tensor = TensorInfo { name: "w".into(), shape: vec![10], role: TensorRole::Weight, offset: 0 };
    let plugin = plugin::load(&config::Plugin::shipped("fedavg"), &[])?;
    let mut instance = stages::open(&plugin, 0, 1, 10, &Layout { tensors: vec![tensor] })?;
    let mut span = |len: usize| -> Result<Span> { Ok(Span { buffer: instance.alloc(8 * len)?, start: 0, len }) };
    let (rows, out) = (span(CLIENTS * table::COLUMNS)?, span(CLIENTS)?);
    instance.doubles_mut(rows).fill(7.0);
    Ok(Box::new(move || {
        let block = Block { k: CLIENTS, table: Some(rows), mix_out: Some(out), ..Block::default() };
        Ok(instance.block(op::WEIGH, &block).map(|_| ())?)
    }))
}
