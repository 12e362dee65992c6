//! Local training held against PyTorch: the same weights, rows and batch order, the same results within 1e-5.
//!
//! `tests/vectors/pytorch/NAME.in.json` is written by this test where `COLLA_WRITE_VECTORS` is set (after a change
//! of the batch order or a case), `NAME.out.json` by `make.py` beside it with PyTorch. The convolutional networks' weights
//! and pixels come from one integer formula on both sides, so that its files stay small.

use super::*;
use crate::config;
use crate::data::Features;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Input {
    /// `logistic`, `mlp`, `cnn` or `cnn-bn`.
    model: String,
    hidden: Vec<usize>,
    sample_shape: Vec<usize>,
    num_classes: usize,
    /// Feature = pixel · scale + shift.
    scale: f32,
    shift: f32,
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    prox_mu: f32,
    labels: Vec<u32>,
    batches: Vec<Vec<u32>>,
    /// Name and shape of each tensor in flat order; matrices are [inputs, outputs].
    tensors: Vec<(String, Vec<usize>)>,
    /// Empty where the formula gives them.
    pixels: Vec<u8>,
    initial_weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Output {
    /// Mean loss of each batch before its step.
    losses: Vec<f64>,
    tensors: Vec<OutputTensor>,
}

/// The values with index 0, `every`, 2·`every`, … of one tensor, and the sums over all of them.
#[derive(Deserialize)]
struct OutputTensor {
    name: String,
    every: usize,
    values: Vec<f32>,
    sum: f64,
    sum_of_squares: f64,
}

struct Case {
    name: &'static str,
    model: config::ModelName,
    hidden: &'static [usize],
    sample_shape: &'static [usize],
    num_classes: usize,
    rows: u32,
    batch_size: usize,
    epochs: u64,
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    prox_mu: f32,
    by_formula: bool,
}

const SMALL: Case = Case {
    name: "logistic",
    model: config::ModelName::Logistic,
    hidden: &[],
    sample_shape: &[1, 8, 8],
    num_classes: 10,
    rows: 25,
    batch_size: 7,
    epochs: 1,
    learning_rate: 0.1,
    momentum: 0.0,
    weight_decay: 0.0,
    prox_mu: 0.0,
    by_formula: false,
};

const CASES: [Case; 7] = [
    SMALL,
    Case { name: "binary", sample_shape: &[13], num_classes: 2, batch_size: 4, ..SMALL },
    Case { name: "mlp", model: config::ModelName::Mlp, hidden: &[20, 10], ..SMALL },
    Case {
        name: "momentum",
        model: config::ModelName::Mlp,
        hidden: &[16],
        epochs: 3,
        momentum: 0.9,
        weight_decay: 0.01,
        ..SMALL
    },
    Case { name: "prox", model: config::ModelName::Mlp, hidden: &[16], epochs: 3, prox_mu: 0.5, ..SMALL },
    Case {
        name: "cnn",
        model: config::ModelName::Cnn,
        sample_shape: &[1, 28, 28],
        rows: 40,
        batch_size: 12,
        by_formula: true,
        ..SMALL
    },
    Case {
        name: "cnn-bn",
        model: config::ModelName::CnnBn,
        sample_shape: &[1, 28, 28],
        rows: 40,
        batch_size: 12,
        by_formula: true,
        ..SMALL
    },
];

/// Where the two sides' formula starts for pixels and labels; weights start at 0.
const PIXELS: u32 = 1 << 28;
const LABELS: u32 = 1 << 29;

/// A 32-bit mixing function with little bias (Wellons, "hash prospector").
fn mix(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// Uniform within ±1/√fan_in of the tensor's layer: weight i of the flat vector from `mix(i)`.
fn weights_by_formula(layout: &Layout) -> Vec<f32> {
    let mut fan_in = 1;
    let mut weights = Vec::with_capacity(layout.len());
    for tensor in &layout.tensors {
        fan_in = match tensor.shape.as_slice() {
            [inputs, _] => *inputs,
            [_, kernel @ ..] if !kernel.is_empty() => kernel.iter().product(),
            _ => fan_in,
        };
        let bound = 1.0 / (fan_in as f64).sqrt();
        weights.extend((0..tensor.len()).map(|i| {
            let u = f64::from(mix((tensor.offset + i) as u32) >> 8) / f64::from(1u32 << 24);
            ((2.0 * u - 1.0) * bound) as f32
        }));
    }
    weights
}

type Make = fn(&config::Model, &Dataset) -> Result<Arc<dyn Model>>;

/// The plan and the Burn module.
const TRAINED_BY: [(&str, Make); 2] = [("plan", model_from_config), ("burn", model_through_burn)];

impl Case {
    /// The client holds every second row of twice as many.
    fn client_rows(&self) -> Vec<u32> {
        (0..self.rows).map(|row| 2 * row + 1).collect()
    }

    fn data(&self) -> Arc<Dataset> {
        let width = self.sample_shape.iter().product::<usize>() as u32;
        // Sixteen grey levels as in optdigits; all 256 for the large images.
        let levels = if self.by_formula { 256 } else { 17 };
        let values = (0..2 * self.rows * width).map(|i| (mix(PIXELS + i) % levels) as u8).collect();
        let features = Features::U8 { values, scale: 1.0 / (levels - 1) as f32, shift: -0.25 };
        let labels = (0..2 * self.rows).map(|row| mix(LABELS + row) % self.num_classes as u32).collect();
        let train = Examples { features, labels, clients: None };
        Arc::new(Dataset {
            name: self.name.into(),
            test: train.clone(),
            train,
            sample_shape: self.sample_shape.to_vec(),
            num_classes: self.num_classes,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        })
    }

    fn model(&self) -> Arc<dyn Model> {
        self.made_by(model_from_config)
    }

    fn made_by(&self, make: Make) -> Arc<dyn Model> {
        let config = config::Model { name: self.model, hidden: Some(self.hidden.to_vec()), init: None };
        make(&config, &self.data()).unwrap()
    }

    fn start(&self, model: &dyn Model) -> Vec<f32> {
        if self.by_formula { weights_by_formula(model.layout()) } else { model.initial_weights(7).unwrap() }
    }

    fn order(&self) -> BatchOrder {
        BatchOrder { seed: 7, round: 3, client: 11, phase: 0, steps_before: None, shuffle: true }
    }

    fn steps(&self) -> u64 {
        self.epochs * steps_per_epoch(self.rows as usize, self.batch_size)
    }

    fn input(&self) -> Input {
        let (data, model) = (self.data(), self.model());
        let Features::U8 { values, scale, shift } = data.train.features.clone() else { unreachable!() };
        Input {
            model: serde_json::to_value(self.model).unwrap().as_str().unwrap().into(),
            hidden: self.hidden.to_vec(),
            sample_shape: self.sample_shape.to_vec(),
            num_classes: self.num_classes,
            scale,
            shift,
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            prox_mu: self.prox_mu,
            labels: data.train.labels.clone(),
            batches: batch_list(self.order(), &self.client_rows(), self.batch_size, self.steps()),
            tensors: model.layout().tensors.iter().map(|t| (t.name.clone(), t.shape.clone())).collect(),
            pixels: if self.by_formula { Vec::new() } else { values },
            initial_weights: if self.by_formula { Vec::new() } else { self.start(&*model) },
        }
    }

    /// The weights after all steps, and the mean loss of each step's batch.
    fn train(&self, make: Make) -> (Arc<dyn Model>, Vec<f32>, Vec<f64>) {
        let model = self.made_by(make);
        let mut trainer = model.trainer(self.data()).unwrap();
        let (start, rows) = (self.start(&*model), self.client_rows());
        let prox = [Term::Prox { mu: self.prox_mu }];
        let mut weights = start.clone();
        // Losses come as a mean over all steps: training 1, 2, … steps from the start gives each one.
        let (mut losses, mut sum_before) = (Vec::new(), 0.0);
        for steps in 1..=self.steps() {
            let task = LocalTask {
                start: &start,
                rows: &rows,
                steps,
                batch_size: self.batch_size,
                learning_rate: self.learning_rate,
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                terms: &prox,
                order: self.order(),
            };
            let report = trainer.train(&task, &mut weights).unwrap();
            let sum = report.loss * report.examples as f64;
            let batch = batch_list(task.order, &rows, task.batch_size, steps).pop().unwrap().len();
            losses.push((sum - sum_before) / batch as f64);
            sum_before = sum;
        }
        (model, weights, losses)
    }
}

fn file(name: &str, end: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", "pytorch", &format!("{name}.{end}.json")].iter().collect()
}

fn read<T: serde::de::DeserializeOwned>(path: PathBuf) -> T {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn local_training_equals_pytorch_within_1e_5() {
    for case in &CASES {
        let name = case.name;
        if std::env::var_os("COLLA_WRITE_VECTORS").is_some() {
            std::fs::write(file(name, "in"), serde_json::to_string(&case.input()).unwrap() + "\n").unwrap();
        }
        let input: Input = read(file(name, "in"));
        assert_eq!(input, case.input(), "{name}: inputs are stale; see the head of this file");
        let expected: Output = read(file(name, "out"));
        for (by, make) in TRAINED_BY {
            let (model, weights, losses) = case.train(make);
            let largest = compare(&format!("{name} by {by}"), model.layout(), &weights, &losses, &expected);
            println!("{name} by {by}: largest difference to PyTorch {largest:e}");
        }
    }
}

/// The largest difference of the weights that are compared one by one.
#[track_caller]
fn compare(what: &str, layout: &Layout, weights: &[f32], losses: &[f64], expected: &Output) -> f32 {
    assert_eq!(losses.len(), expected.losses.len());
    for (step, (a, b)) in losses.iter().zip(&expected.losses).enumerate() {
        assert!((a - b).abs() < 1e-5, "{what}, loss of step {step}: {a}, PyTorch {b}");
    }
    let mut largest = 0f32;
    assert_eq!(layout.tensors.len(), expected.tensors.len());
    for (tensor, expected) in layout.tensors.iter().zip(&expected.tensors) {
        assert_eq!(tensor.name, expected.name);
        let values = &weights[tensor.offset..tensor.offset + tensor.len()];
        assert_eq!(values.iter().step_by(expected.every).count(), expected.values.len());
        for (a, b) in values.iter().step_by(expected.every).zip(&expected.values) {
            largest = largest.max((a - b).abs());
            assert!((a - b).abs() < 1e-5, "{what}, `{}`: {a}, PyTorch {b}", tensor.name);
        }
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        let sum_of_squares: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        // Independent errors below 1e-5 each add up like a random walk.
        let tolerance = 1e-5 * (values.len() as f64).sqrt();
        assert!((sum - expected.sum).abs() < tolerance, "{what}, `{}`: sum {sum}", tensor.name);
        assert!((sum_of_squares - expected.sum_of_squares).abs() < tolerance, "{what}, `{}`", tensor.name);
    }
    largest
}
