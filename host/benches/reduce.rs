//! Aggregating 10 updates of 1.66 million weights: `cargo bench --bench reduce`.
//!
//! The rows mean runs in the sandbox and natively through the same row store; beside it stand the host's exact grid sum,
//! which FedAvg uses, and a plain f32 sum as the bound. The counter is bytes of updates consumed.

use colla::config;
use colla::executor::Executor;
use colla::plugin::{self, Plugin};
use colla::random::{Purpose, Stream};
use colla::strategy::grid::{Grid, GridSum};
use colla::strategy::rows::RowStore;
use colla::strategy::shard::ShardSpec;
use colla::train::{Layout, TensorInfo, TensorRole};
use divan::{Bencher, counter::BytesCount};
use std::path::PathBuf;
use std::process::Command;

const CLIENTS: usize = 10;
const WEIGHTS: usize = 1_663_370;

fn main() {
    divan::main();
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

fn rows_mean(bencher: Bencher, plugin: Plugin) {
    let tensor = TensorInfo { name: "w".into(), shape: vec![WEIGHTS], role: TensorRole::Weight, offset: 0 };
    let executor = Executor::new(1).expect("a thread");
    let layout = Layout { tensors: vec![tensor] };
    let mut rows = RowStore::new(ShardSpec { plugin, position: 0, run_seed: 1, layout });
    rows.prepare(CLIENTS).expect("room for the rows");
    updates().iter().enumerate().for_each(|(slot, update)| rows.put(slot, update));
    let weights = vec![1.0; CLIENTS];
    bencher.counter(bytes()).bench_local(|| rows.reduce(&executor, &weights).expect("a mean"));
}

/// The rows mean with nothing to trim.
fn mean(mut spec: config::Plugin, allow: &[String]) -> Plugin {
    spec.parameters.insert("beta".into(), 0.0.into());
    plugin::load(&spec, allow).expect("the plugin")
}

#[divan::bench]
fn rows_mean_wasm(bencher: Bencher) {
    rows_mean(bencher, mean(config::Plugin::shipped("trimmed-mean"), &[]));
}

#[divan::bench]
fn rows_mean_native(bencher: Bencher) {
    let built = Command::new(env!("CARGO_BIN_EXE_colla-dev"))
        .args(["plugins", "--native"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("colla-dev");
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("trimmed-mean\t")).expect("the native trimmed mean");
    let [_, hash, path] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
    let spec = config::Plugin { path: Some(PathBuf::from(path)), ..config::Plugin::default() };
    rows_mean(bencher, mean(spec, &[hash.to_owned()]));
}

#[divan::bench]
fn grid_sum(bencher: Bencher) {
    let updates = updates();
    let mut sum = GridSum::new(Grid::new(CLIENTS as f64, 64.0).expect("a grid"), WEIGHTS);
    bencher.counter(bytes()).bench_local(|| {
        sum.reset(Grid::new(CLIENTS as f64, 64.0).expect("a grid"));
        updates.iter().for_each(|update| sum.fold(1.0, update));
        sum.mean(CLIENTS as f64)
    });
}

#[divan::bench]
fn plain_f32_sum(bencher: Bencher) {
    let updates = updates();
    bencher.counter(bytes()).bench_local(|| {
        let mut sum = vec![0.0f32; WEIGHTS];
        for update in &updates {
            sum.iter_mut().zip(update).for_each(|(s, x)| *s += x);
        }
        sum
    });
}
