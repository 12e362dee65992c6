//! Local training and evaluation, plan beside Burn module: `cargo bench --bench train`.
//!
//! Made-up pixels in the shape of MNIST. A training call is 20 steps with batches of 10, an evaluation call 500 rows,
//! as the host cuts them; the counter is samples. One thread, so a second of the clock is a CPU second on an idle core.

use colla::config::{self, ModelName};
use colla::data::{Dataset, Examples, Features};
use colla::train::{BatchOrder, LocalTask, Model, Part, model_from_config, model_through_burn};
use divan::{Bencher, counter::ItemsCount};
use std::sync::Arc;

const ROWS: u32 = 2_000;
const BATCH: usize = 10;
const STEPS: u64 = 20;
const EVALUATED: u32 = 500;

const MODELS: [&str; 3] = ["logistic 784-10", "2NN 784-200-200-10", "CNN 1,663,370"];

fn main() {
    divan::main();
}

fn data() -> Arc<Dataset> {
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let features = Features::U8 { values: (0..ROWS * 784).map(pixel).collect(), scale: 1.0 / 255.0, shift: 0.0 };
    let rows = Examples { features, labels: (0..ROWS).map(|row| row % 10).collect(), clients: None };
    Arc::new(Dataset {
        name: "made up".into(),
        train: rows.clone(),
        test: rows,
        sample_shape: vec![1, 28, 28],
        num_classes: 10,
        client_names: Vec::new(),
        fingerprint: [0; 32],
    })
}

type Make = fn(&config::Model, &Dataset) -> anyhow::Result<Arc<dyn Model>>;

fn model(name: &str, data: &Dataset, make: Make) -> Arc<dyn Model> {
    let name = match name.split(' ').next() {
        Some("logistic") => ModelName::Logistic,
        Some("2NN") => ModelName::Mlp,
        _ => ModelName::Cnn,
    };
    make(&config::Model { name, hidden: Some(vec![200, 200]), init: None }, data).expect("a shipped model")
}

fn train(bencher: Bencher, name: &str, make: Make) {
    let data = data();
    let model = model(name, &data, make);
    let (start, rows) = (model.initial_weights(1).expect("weights"), (0..ROWS).collect::<Vec<_>>());
    let mut trainer = model.trainer(data).expect("a trainer");
    let mut out = start.clone();
    let task = LocalTask {
        start: &start,
        rows: &rows,
        steps: STEPS,
        batch_size: BATCH,
        learning_rate: 0.01,
        momentum: 0.0,
        weight_decay: 0.0,
        terms: &[],
        order: BatchOrder { seed: 1, round: 1, client: 1, phase: 0, steps_before: None, shuffle: true },
    };
    let samples = ItemsCount::new(STEPS * BATCH as u64);
    bencher.counter(samples).bench_local(|| trainer.train(&task, &mut out).expect("local training"));
}

fn evaluate(bencher: Bencher, name: &str, make: Make) {
    let data = data();
    let model = model(name, &data, make);
    let (weights, rows) = (model.initial_weights(1).expect("weights"), (0..EVALUATED).collect::<Vec<_>>());
    let mut trainer = model.trainer(data).expect("a trainer");
    let samples = ItemsCount::new(EVALUATED);
    bencher.counter(samples).bench_local(|| trainer.evaluate(&weights, Part::Test, &rows).expect("a score"));
}

#[divan::bench(args = MODELS)]
fn train_plan(bencher: Bencher, name: &str) {
    train(bencher, name, model_from_config);
}

#[divan::bench(args = MODELS)]
fn train_burn(bencher: Bencher, name: &str) {
    train(bencher, name, model_through_burn);
}

#[divan::bench(args = MODELS)]
fn evaluate_plan(bencher: Bencher, name: &str) {
    evaluate(bencher, name, model_from_config);
}

#[divan::bench(args = MODELS)]
fn evaluate_burn(bencher: Bencher, name: &str) {
    evaluate(bencher, name, model_through_burn);
}
