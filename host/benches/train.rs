//! Local training and evaluation: `cargo bench --bench train`.
//!
//! First a table of what the plan reaches: GFLOP/s of training and evaluation, beside the peak of one core, which a loop
//! of independent multiply-adds in registers measures in turns with them. Each figure is the fastest of many samples.
//! A multiply-add counts as two operations. Forward these are inputs × outputs of a linear layer and pixels × taps ×
//! outputs of a convolution; training adds as many for the gradient of each weight, and as many again for the slopes of
//! each layer's inputs but the first's. Everything else (pools, ReLU, losses, the update) takes time and counts nothing.
//!
//! Then the plan beside the Burn module, in samples a second. Made-up pixels in the shape of MNIST, none of which is blank in a
//! whole batch, so that every product is formed. A training call is 20 steps with batches of 10, an evaluation call 500 rows,
//! as the host cuts them; the table's evaluation has received its weights before, as a thread of the host receives them once
//! for all its rows. One thread, so a second of the clock is a CPU second on an idle core.
//!
//! With the folder of MNIST's four IDX files in the environment's `MNIST`, a second table stands below the first: the same on
//! real images, standardised, of whose products those of blank inputs are left out but counted.

use colla::config::{self, FeatureScaling, ModelName};
use colla::data::{self, Dataset, Examples, Features};
use colla::registers::Registers;
use colla::train::{BatchOrder, LocalTask, Model, Part, model_from_config, model_through_burn};
use divan::{Bencher, counter::ItemsCount};
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: u32 = 2_000;
const BATCH: usize = 10;
const STEPS: u64 = 20;
const EVALUATED: u32 = 500;
/// How long the table samples each model.
const SAMPLED: Duration = Duration::from_secs(10);

const MODELS: [&str; 3] = ["logistic 784-10", "2NN 784-200-200-10", "CNN 1,663,370"];
/// Multiply-adds of a sample: forward, and in the first layer of it.
const MULTIPLY_ADDS: [(u64, u64); 3] =
    [(7_840, 7_840), (198_800, 156_800), (784 * 25 * 32 + 196 * 800 * 64 + 3_136 * 512 + 5_120, 784 * 25 * 32)];

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        table("every product formed", &data());
        if let Some(folder) = std::env::var_os("MNIST") {
            let source = config::Data {
                path: Some(folder.into()),
                features: FeatureScaling::Standardize,
                ..config::Data::default()
            };
            table("MNIST", &Arc::new(data::load(&source).expect("the IDX files of MNIST")));
        }
    }
    divan::main();
}

/// Seconds of one call.
fn seconds<T>(f: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(f());
    start.elapsed().as_secs_f64()
}

fn table(title: &str, data: &Arc<Dataset>) {
    println!("{title:24}  training       evaluation     peak of a core, GFLOP/s");
    for (name, (forward, first)) in MODELS.into_iter().zip(MULTIPLY_ADDS) {
        let model = model(name, data, model_from_config);
        let start = model.initial_weights(1).expect("weights");
        let rows: Vec<u32> = (0..EVALUATED).collect();
        let mut trainer = model.trainer(data.clone()).expect("a trainer");
        let mut out = start.clone();
        let (mut training, mut evaluation, mut peak) = (0f64, 0f64, 0f64);
        let (trained, evaluated) = (STEPS * BATCH as u64, u64::from(EVALUATED));
        let begin = Instant::now();
        while begin.elapsed() < SAMPLED {
            let rate = |multiply_adds: u64, seconds: f64| 2e-9 * multiply_adds as f64 / seconds;
            let task = task(&start, &rows);
            let train = seconds(|| trainer.train(&task, &mut out).expect("local training"));
            training = training.max(rate(trained * (3 * forward - first), train));
            trainer.receive(&start).expect("weights");
            let evaluate = seconds(|| trainer.score(Part::Test, &rows).expect("a score"));
            evaluation = evaluation.max(rate(evaluated * forward, evaluate));
            let mut multiply_adds = 0;
            let elapsed = seconds(|| multiply_adds = Registers::widest().dispatch(Peak));
            peak = peak.max(rate(multiply_adds, elapsed));
        }
        let share = |rate: f64| format!("{rate:6.1} ({:3.0} %)", 100.0 * rate / peak);
        println!("{name:24} {:>14} {:>14} {peak:6.1}", share(training), share(evaluation));
    }
    println!();
}

/// Independent chains of multiply-adds in registers, for about half a millisecond; how many there were.
struct Peak;

impl WithSimd for Peak {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        const CHAINS: usize = 12;
        const LINKS: usize = 200_000;
        let (factor, term) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut chains: [S::f32s; CHAINS] = from_fn(|chain| simd.splat_f32s(black_box(chain as f32)));
        for _ in 0..LINKS {
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, factor, term);
            }
        }
        black_box(chains.map(|chain| simd.reduce_sum_f32s(chain)));
        (CHAINS * LINKS * S::F32_LANES) as u64
    }
}

fn task<'a>(start: &'a [f32], rows: &'a [u32]) -> LocalTask<'a> {
    LocalTask {
        start,
        rows,
        steps: STEPS,
        batch_size: BATCH,
        learning_rate: 0.01,
        momentum: 0.0,
        weight_decay: 0.0,
        terms: &[],
        relabel: None,
        order: BatchOrder { seed: 1, round: 1, client: 1, phase: 0, steps_before: None, shuffle: true },
    }
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
    let task = task(&start, &rows);
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
