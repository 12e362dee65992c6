//! Aggregating 10 updates of 1.66 million weights, and the stages on one frame: `cargo bench --bench reduce`.
//!
//! Each plugin runs as WASM from Rust, as WASM from AssemblyScript, and natively; the mean of rows through the host's row
//! store. Beside them stand their bounds: reading all rows and writing one for the mean of rows, a plain f32 sum for the
//! host's exact grid sum, which FedAvg uses. The counter is bytes of updates consumed. A plugin's fixed cost for a client has
//! its own line.
//!
//! First a table of the two bounds and what they bound, all four in turns, and the ratio of each pair turn by turn. A core
//! that shares its caches with somebody else's work slows one kind of work down more than another; so the ratios of quiet
//! turns, in which both bounds come near their fastest, stand beside those of all.

use colla::config;
use colla::executor::Executor;
use colla::plugin::{self, Block, Instance, Plugin, Span};
use colla::random::{Purpose, Stream};
use colla::stages;
use colla::strategy::combine::Combinations;
use colla::strategy::grid::{Grid, GridSum};
use colla::strategy::kept::Kept;
use colla::strategy::row_set::RowSet;
use colla::strategy::rows::RowStore;
use colla::strategy::shard::ShardSpec;
use colla::train::{Layout, TensorInfo, TensorRole};
use colla_plugin_sdk::{
    Map,
    abi::{FRAME, op},
};
use divan::{Bencher, counter::BytesCount};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// As in the host, whose memory this is about.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 10;
const WEIGHTS: usize = 1_663_370;
/// Turns of the table.
const TURNS: usize = 400;
/// What the bounds take at most in a quiet turn, in times of their fastest.
const QUIET: f64 = 1.2;

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        table();
    }
    divan::main();
}

/// Milliseconds of one call.
fn milliseconds<T>(f: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(f());
    1e3 * start.elapsed().as_secs_f64()
}

fn table() {
    let updates = updates();
    let executor = Executor::new(1).expect("a thread");
    let (mut rows, weights) = row_store(&updates, Form::Wasm);
    let names = [
        "reading the updates, writing one",
        "a mean of rows in the WASM sandbox",
        "a plain f32 sum",
        "the exact sum on the grid",
    ];
    let mut turn = |_| {
        // What the host does with the memory when a round is over belongs to it.
        let mean = || {
            let mean = rows.reduce(&executor, &weights).expect("a mean");
            rows.reuse(mean);
        };
        [
            milliseconds(|| read_and_write(&updates)),
            milliseconds(mean),
            milliseconds(|| plain_sum(&updates)),
            milliseconds(|| exact_sum(&updates)),
        ]
    };
    let turns: Vec<[f64; 4]> = (0..TURNS).map(&mut turn).collect();
    let fastest = |i: usize| turns.iter().map(|turn| turn[i]).fold(f64::INFINITY, f64::min);
    let is_quiet = |turn: &&[f64; 4]| [0, 2].into_iter().all(|bound| turn[bound] <= QUIET * fastest(bound));
    let quiet: Vec<[f64; 4]> = turns.iter().filter(is_quiet).copied().collect();
    println!("milliseconds{:26} fastest  median   of its bound in {TURNS} turns, in {} quiet ones", "", quiet.len());
    for (i, name) in names.into_iter().enumerate() {
        let bound = i / 2 * 2;
        let ratio = |turns: &[[f64; 4]]| median(turns.iter().map(|turn| turn[i] / turn[bound]).collect());
        let ratios = format!("{:6.2} {:6.2}", ratio(&turns), ratio(&quiet));
        let median = median(turns.iter().map(|turn| turn[i]).collect());
        println!("{name:36} {:8.2} {median:8.2}   {}", fastest(i), if i == bound { String::new() } else { ratios });
    }
    println!();
}

/// NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn updates() -> Vec<Vec<f32>> {
    let update = |client| {
        let mut stream = Stream::new(1, Purpose::InitialWeights, 0, client);
        (0..WEIGHTS).map(|_| stream.uniform() as f32 - 0.5).collect()
    };
    (0..CLIENTS as u64).map(update).collect()
}

fn bytes() -> BytesCount {
    BytesCount::new(CLIENTS * WEIGHTS * 4)
}

/// The forms of one plugin: two languages in the sandbox, and the native library.
#[derive(Clone, Copy, Debug)]
enum Form {
    Wasm,
    AssemblyScript,
    Native,
}

const FORMS: [Form; 3] = [Form::Wasm, Form::AssemblyScript, Form::Native];

fn load(name: &str, form: Form) -> Plugin {
    let (spec, allow) = match form {
        Form::Wasm => (config::Plugin::shipped(name), Vec::new()),
        Form::AssemblyScript => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let path = root.join(format!("plugins/shipped/assemblyscript/{name}.wasm"));
            (config::Plugin { path: Some(path), ..config::Plugin::default() }, Vec::new())
        }
        Form::Native => {
            let (path, hash) = native(name);
            (config::Plugin { path: Some(path), ..config::Plugin::default() }, vec![hash])
        }
    };
    plugin::load(&spec, &allow).expect("the plugin")
}

fn native(name: &str) -> (PathBuf, String) {
    let built = Command::new(env!("CARGO_BIN_EXE_colla-dev"))
        .args(["plugins", "--native"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("colla-dev");
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}\t"))).expect("the native library");
    let [_, hash, path] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
    (PathBuf::from(path), hash.to_owned())
}

fn layout(weights: usize) -> Layout {
    let tensor = TensorInfo { name: "w".into(), shape: vec![weights], role: TensorRole::Weight, offset: 0 };
    Layout { tensors: vec![tensor] }
}

/// The updates in the host's row store, with the plugin that takes their weighted mean, and their weights.
fn row_store(updates: &[Vec<f32>], form: Form) -> (RowStore, Vec<f64>) {
    let mut rows = RowStore::new(ShardSpec {
        plugin: load("fedavg-rows", form),
        position: 0,
        run_seed: 1,
        layout: layout(WEIGHTS),
    });
    rows.prepare(CLIENTS).expect("room for the rows");
    updates.iter().enumerate().for_each(|(slot, update)| rows.put(slot, update));
    (rows, (1..=CLIENTS).map(|examples| examples as f64).collect())
}

/// The weighted mean of rows.
#[divan::bench(args = FORMS)]
fn rows_mean(bencher: Bencher, form: Form) {
    let executor = Executor::new(1).expect("a thread");
    let (mut rows, weights) = row_store(&updates(), form);
    bencher.counter(bytes()).bench_local(|| {
        let mean = rows.reduce(&executor, &weights).expect("a mean");
        rows.reuse(mean);
    });
}

/// Top-k at 1 %: one frame of an update to bytes.
#[divan::bench(args = FORMS)]
fn topk_encode(bencher: Bencher, form: Form) {
    let mut instance = stages::open(&load("topk", form), 0, 1, FRAME, &layout(FRAME)).expect("an instance");
    let update = &updates()[0][..FRAME];
    let mut magnitudes: Vec<f32> = update.iter().map(|x| x.abs()).collect();
    magnitudes.sort_by(|a, b| b.total_cmp(a));
    let threshold = magnitudes[FRAME / 100];
    let [ties, more] = [|x: f32, t: f32| x == t, |x: f32, t: f32| x > t]
        .map(|keep: fn(f32, f32) -> bool| magnitudes.iter().filter(|&&x| keep(x, threshold)).count());
    let rows = [span(&mut *instance, FRAME, 4)];
    let (table, output) = (span(&mut *instance, 3, 8), span(&mut *instance, FRAME * 6 + 4, 1));
    instance.floats_mut(rows[0]).copy_from_slice(update);
    instance.doubles_mut(table).copy_from_slice(&[threshold.into(), ties as f64, (ties + more) as f64]);
    let block = Block { n: FRAME, k: 1, rows: &rows, table: Some(table), output: Some(output), ..Block::default() };
    bencher.counter(BytesCount::new(FRAME * 4)).bench_local(|| instance.block(op::ENCODE, &block).expect("a frame"));
}

/// Clipping one frame of an update in place.
#[divan::bench(args = FORMS)]
fn clip_apply(bencher: Bencher, form: Form) {
    let mut instance = stages::open(&load("clip", form), 0, 1, FRAME, &layout(FRAME)).expect("an instance");
    let (out, table) = (span(&mut *instance, FRAME, 4), span(&mut *instance, 1, 8));
    instance.floats_mut(out).copy_from_slice(&updates()[0][..FRAME]);
    // Just above the default bound of 1, so that many calls do not shrink the values to nothing.
    instance.doubles_mut(table)[0] = 1.0 + 1e-9;
    let block = Block { n: FRAME, out: Some(out), table: Some(table), ..Block::default() };
    bencher.counter(BytesCount::new(FRAME * 4)).bench_local(|| instance.block(op::APPLY, &block).expect("a frame"));
}

fn span(instance: &mut dyn Instance, len: usize, size: usize) -> Span {
    Span { buffer: instance.alloc(len * size).expect("memory"), start: 0, len }
}

#[divan::bench]
fn grid_sum(bencher: Bencher) {
    let updates = updates();
    bencher.counter(bytes()).bench_local(|| exact_sum(&updates));
}

fn exact_sum(updates: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = GridSum::new(Grid::new(CLIENTS as f64, 64.0).expect("a grid"), WEIGHTS);
    updates.iter().for_each(|update| sum.fold(1.0, update));
    sum.mean(CLIENTS as f64)
}

#[divan::bench]
fn memory(bencher: Bencher) {
    let updates = updates();
    bencher.counter(bytes()).bench_local(|| read_and_write(&updates));
}

/// What any rule over rows is bound by: every value is read once, in as many streams as there are rows, as memory gives
/// most, and one for each weight is written.
fn read_and_write(updates: &[Vec<f32>]) -> Vec<u32> {
    const COLUMNS: usize = 32;
    let mut out = Vec::with_capacity(WEIGHTS);
    for start in (0..WEIGHTS).step_by(COLUMNS) {
        let mut bits = [0; COLUMNS];
        let len = COLUMNS.min(WEIGHTS - start);
        for update in updates {
            bits.iter_mut().zip(&update[start..start + len]).for_each(|(bits, x)| *bits ^= x.to_bits());
        }
        out.extend_from_slice(&bits[..len]);
    }
    out
}

/// A hundred rows mixed into a hundred, a hundred thousand weights, as NNM does it: two passes over 10⁹ products.
#[divan::bench(sample_count = 10)]
fn mix_hundred_rows(bencher: Bencher) {
    const ROWS: usize = 100;
    const LEN: usize = 100_000;
    let kept = Kept::in_memory(ROWS, LEN);
    let update = &updates()[0];
    (0..ROWS).for_each(|row| kept.put(row, &update[row * 1_000..][..LEN]).expect("a row"));
    let (rows, made) = (RowSet::new(&kept, ROWS, Vec::new()), Kept::in_memory(ROWS, LEN));
    let coefficients: Vec<f64> = (0..ROWS * ROWS).map(|i| ((i % 7) as f64 + 1.0) / 400.0).collect();
    let executor = Executor::new(1).expect("a thread");
    bencher.bench_local(|| {
        let combinations = Combinations { rows: &rows, coefficients: &coefficients, divisor: 1.0 };
        combinations.form(&executor, |result, start, values| made.write(result, start, values)).expect("rows");
    });
}

/// What a plugin costs for each client before any value is touched: a message into the sandbox, and the plan out of it.
#[divan::bench(args = [Form::Wasm, Form::Native])]
fn plan_of_a_client(bencher: Bencher, form: Form) {
    let mut instance = stages::open(&load("fedprox", form), 0, 1, FRAME, &layout(FRAME)).expect("an instance");
    let message =
        Map::new().with("round", 1i64).with("client", 7i64).with("num_examples", 600i64).with("broadcast", Map::new());
    bencher.bench_local(|| instance.call(op::CLIENT_BEGIN, &message).expect("a plan"));
}

#[divan::bench]
fn plain_f32_sum(bencher: Bencher) {
    let updates = updates();
    bencher.counter(bytes()).bench_local(|| plain_sum(&updates));
}

fn plain_sum(updates: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f32; WEIGHTS];
    for update in updates {
        sum.iter_mut().zip(update).for_each(|(s, x)| *s += x);
    }
    sum
}
