//! The plan held to the Burn module: same weights, same batches, the same numbers within rounding.

mod active;
mod norms;

use super::{Layer, Layers, PlanTrainer};
use crate::config::{self, ModelName};
use crate::data::{Dataset, Examples, Features};
use crate::registers::Registers;
use crate::train::{
    BatchOrder, BurnModel, EVALUATION_BATCH, Layout, LocalModel, LocalReport, LocalTask, Model, Part, TensorInfo,
    TensorRole, Term, Trainer, model_from_config, model_through_burn,
};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// A model and the shape of its samples.
pub struct Case {
    pub name: &'static str,
    pub model: ModelName,
    pub hidden: &'static [usize],
    pub sample: &'static [usize],
    pub classes: usize,
    /// Most pixels are zero in most batches.
    pub sparse: bool,
}

pub const CASES: [Case; 10] = [
    Case { name: "logistic", model: ModelName::Logistic, hidden: &[], sample: &[13], classes: 5, sparse: false },
    Case { name: "binary logistic", model: ModelName::Logistic, hidden: &[], sample: &[7], classes: 2, sparse: false },
    Case { name: "mlp", model: ModelName::Mlp, hidden: &[33, 17], sample: &[3, 5], classes: 10, sparse: false },
    // Wide enough for several bands of weights.
    Case { name: "binary mlp", model: ModelName::Mlp, hidden: &[300, 1], sample: &[150], classes: 2, sparse: false },
    Case { name: "sparse mlp", model: ModelName::Mlp, hidden: &[70, 9], sample: &[6, 50], classes: 10, sparse: true },
    Case { name: "odd cnn", model: ModelName::Cnn, hidden: &[], sample: &[1, 9, 9], classes: 10, sparse: false },
    Case {
        name: "oblong binary cnn",
        model: ModelName::Cnn,
        hidden: &[],
        sample: &[2, 4, 11],
        classes: 2,
        sparse: false,
    },
    Case { name: "colour cnn", model: ModelName::Cnn, hidden: &[], sample: &[3, 8, 6], classes: 3, sparse: false },
    Case { name: "odd cnn-bn", model: ModelName::CnnBn, hidden: &[], sample: &[1, 9, 9], classes: 10, sparse: false },
    Case {
        name: "oblong binary cnn-bn",
        model: ModelName::CnnBn,
        hidden: &[],
        sample: &[2, 4, 11],
        classes: 2,
        sparse: false,
    },
];

/// Changes a task from plain steps with batches of 10.
pub type Change = fn(&mut LocalTask<'_>);

pub const CHANGES: [(&str, Change); 6] = [
    // 41 rows: the last batch of an epoch has one.
    ("batches of 10", |_| ()),
    ("batches of 1", |task| task.batch_size = 1),
    ("one full batch", |task| task.batch_size = 41),
    ("momentum and decay", |task| (task.momentum, task.weight_decay) = (0.9, 0.01)),
    ("prox", |task| task.terms = &[Term::Prox { mu: 0.5 }]),
    ("clip, L2 and momentum", |task| {
        task.terms = &[Term::L2 { lambda: 0.1 }, Term::ClipGrad { max_norm: 0.5 }];
        task.momentum = 0.5;
    }),
];

impl Case {
    pub fn data(&self) -> Arc<Dataset> {
        let width = self.sample.iter().product::<usize>() as u32;
        let mix = |i: u32| (i ^ 0x5bd1).wrapping_mul(2_654_435_761) >> 16;
        // One pixel in three is never blank, one in three is in seven rows of eight.
        let blank = |row: u32, pixel: u32| self.sparse && [false, !row.is_multiple_of(8), true][pixel as usize % 3];
        let value = |i: u32| if blank(i / width, i % width) { 0 } else { (mix(i) ^ mix(i / 7)) as u8 };
        let values = (0..100 * width).map(value).collect();
        let features = Features::U8 { values, scale: 1.0 / 255.0, shift: -0.1 };
        let labels = (0..100).map(|row| mix(row + 77) % self.classes as u32).collect();
        let rows = Examples { features, labels, clients: None };
        Arc::new(Dataset {
            name: self.name.into(),
            train: rows.clone(),
            test: rows,
            sample_shape: self.sample.to_vec(),
            num_classes: self.classes,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        })
    }

    pub fn models(&self) -> [Arc<dyn Model>; 2] {
        let config = config::Model { name: self.model, hidden: Some(self.hidden.to_vec()), init: None };
        [model_from_config, model_through_burn].map(|make| make(&config, &self.data()).unwrap())
    }

    fn trainers(&self) -> (Vec<f32>, [Box<dyn Trainer>; 2]) {
        let models = self.models();
        assert_eq!(models[0].layout(), models[1].layout());
        let start = models[0].initial_weights(5).unwrap();
        (start, models.map(|model| model.trainer(self.data()).unwrap()))
    }
}

/// What no shipped model has: kernels of even and odd sides with all kinds of padding, a convolution whose output goes
/// on as it is, one rectified without a pool, one pooled without ReLU.
#[derive(Module, Debug)]
pub struct Stack {
    convs: Vec<Conv2d>,
    pool: MaxPool2d,
    linear: Linear,
}

const STACK: [(usize, usize, usize); 4] = [(5, 3, 0), (4, 2, 1), (6, 3, 2), (7, 4, 1)];

impl Stack {
    pub fn new(device: &Device) -> Self {
        let inputs = [2].into_iter().chain(STACK.iter().map(|layer| layer.0));
        let conv = |(inputs, (outputs, kernel, padding))| {
            Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(device)
        };
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Stack {
            convs: inputs.zip(STACK).map(conv).collect(),
            pool,
            linear: LinearConfig::new(7 * 3 * 5, 3).init(device),
        }
    }

    pub fn layers() -> Layers {
        let conv = |layers: Layers, i: usize| {
            let (outputs, kernel, padding) = STACK[i];
            layers.then(Layer::Conv { outputs, kernel, padding })
        };
        // 7 × 11 → 5 × 9 → 6 × 10 → 8 × 12, pooled 4 × 6 → 3 × 5.
        let layers = conv(conv(Layers::image([2, 7, 11]), 0), 1).then(Layer::Relu);
        let layers = conv(conv(layers, 2).then(Layer::MaxPool), 3).then(Layer::Relu).then(Layer::Flatten);
        layers.then(Layer::Linear { outputs: 3 })
    }
}

impl LocalModel for Stack {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [batch, _] = features.dims();
        let x = features.reshape([batch, 2, 7, 11]);
        let x = relu(self.convs[1].forward(self.convs[0].forward(x)));
        let x = self.pool.forward(self.convs[2].forward(x));
        let x = relu(self.convs[3].forward(x));
        self.linear.forward(x.flatten(1, 3))
    }
}

pub fn rows() -> Vec<u32> {
    (0..41).map(|i| i * 37 % 100).collect()
}

pub fn task<'a>(start: &'a [f32], rows: &'a [u32], steps: u64, change: Change) -> LocalTask<'a> {
    let mut task = LocalTask {
        start,
        rows,
        steps,
        batch_size: 10,
        // One large step, whose update stands far above the rounding of the weights; small ones, which add up calmly.
        learning_rate: if steps == 1 { 1.0 } else { 0.05 },
        momentum: 0.0,
        weight_decay: 0.0,
        terms: &[],
        relabel: None,
        order: BatchOrder { seed: 1, round: 2, client: 3, phase: 0, steps_before: None, shuffle: true },
    };
    change(&mut task);
    task
}

pub fn train(trainer: &mut dyn Trainer, task: &LocalTask<'_>) -> (Vec<f32>, LocalReport) {
    let mut out = vec![f32::NAN; task.start.len()];
    let report = trainer.train(task, &mut out).unwrap();
    (out, report)
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// ‖ours − theirs‖ against `tolerance` times the norm of the update, for each tensor by itself.
#[track_caller]
pub fn near(what: &str, model: &dyn Model, start: &[f32], [ours, theirs]: [&[f32]; 2], tolerance: f64) {
    near_where(what, model, start, [ours, theirs], tolerance, |_| true);
}

/// The same for some tensors.
#[track_caller]
fn near_where(
    what: &str,
    model: &dyn Model,
    start: &[f32],
    [ours, theirs]: [&[f32]; 2],
    tolerance: f64,
    compared: fn(&TensorInfo) -> bool,
) {
    let tensors = &model.layout().tensors;
    for (index, tensor) in tensors.iter().enumerate().filter(|(_, tensor)| compared(tensor)) {
        let range = tensor.offset..tensor.offset + tensor.len();
        let difference = norm(range.clone().map(|i| ours[i] - theirs[i]));
        let update = norm(range.clone().map(|i| theirs[i] - start[i]));
        // What f32 weights can express: one unit in the last place of each. A bias whose mean is subtracted behind it has
        // no slope; what is left of the sum over all pixels is rounding alone.
        let cancels =
            tensor.role == TensorRole::Bias && tensors.get(index + 1).is_some_and(|next| next.role.is_of_norm());
        let units = if cancels { 32.0 } else { 1.0 };
        let floor = units * f64::from(f32::EPSILON) * norm(range.map(|i| theirs[i]));
        let name = &tensor.name;
        assert!(
            difference <= tolerance * update + floor,
            "{what}, `{name}`: off by {difference} in an update of {update}"
        );
    }
}

#[test]
fn steps_equal_the_burn_modules() {
    for case in &CASES {
        let (start, [mut plan, mut burn]) = case.trainers();
        let (rows, [model, _]) = (rows(), case.models());
        for (change_name, change) in CHANGES {
            for (steps, tolerance) in [(1, 1e-5), (20, 1e-4)] {
                let what = format!("{}, {change_name}, {steps} steps", case.name);
                let task = task(&start, &rows, steps, change);
                let (ours, our_report) = train(&mut *plan, &task);
                let (theirs, their_report) = train(&mut *burn, &task);
                near(&what, &*model, &start, [&ours, &theirs], tolerance);
                assert!((our_report.loss - their_report.loss).abs() <= 1e-5 * their_report.loss, "{what}");
                assert_eq!(LocalReport { loss: 0.0, ..our_report }, LocalReport { loss: 0.0, ..their_report });
            }
        }
    }
}

#[test]
fn terms_that_read_slots_equal_the_burn_modules() {
    for case in &CASES {
        let (start, [mut plan, mut burn]) = case.trainers();
        let (rows, [model, _]) = (rows(), case.models());
        let [toward, slope] = [6, 7].map(|seed| model.initial_weights(seed).unwrap());
        let terms = [Term::ProxToward { mu: 0.5, toward: &toward[..] }, Term::Linear { scale: -0.25, slot: &slope }];
        for (steps, tolerance) in [(1, 1e-5), (20, 1e-4)] {
            let what = format!("{}, {steps} steps", case.name);
            let task = LocalTask { terms: &terms, ..task(&start, &rows, steps, |task| task.momentum = 0.5) };
            let (ours, theirs) = (train(&mut *plan, &task).0, train(&mut *burn, &task).0);
            near(&what, &*model, &start, [&ours, &theirs], tolerance);
            let free = train(&mut *plan, &LocalTask { terms: &[], ..task }).0;
            // Scales and shifts of normalisation start where the slots have them.
            let moved = |tensor: &&TensorInfo| matches!(tensor.role, TensorRole::Weight | TensorRole::Bias);
            for tensor in model.layout().tensors.iter().filter(moved) {
                let mut range = tensor.offset..tensor.offset + tensor.len();
                assert!(range.all(|i| ours[i] != free[i]), "{what}: the terms change all of `{}`", tensor.name);
            }
        }
    }
}

#[test]
fn convolutions_of_all_kinds_equal_burns() {
    let case = Case { name: "stack", sample: &[2, 7, 11], classes: 3, ..CASES[5] };
    let burn = BurnModel::new(Stack::new).unwrap();
    let plan = BurnModel::new(Stack::new).unwrap().with_layers(Stack::layers());
    let (start, rows) = (burn.initial_weights(1).unwrap(), rows());
    let [mut ours, mut theirs] = [&plan, &burn].map(|model| model.trainer(case.data()).unwrap());
    for (steps, tolerance) in [(1, 1e-5), (20, 1e-4)] {
        let task = task(&start, &rows, steps, |task| task.learning_rate *= 0.2);
        let [ours, theirs] = [&mut ours, &mut theirs].map(|trainer| train(&mut **trainer, &task).0);
        near(&format!("stack, {steps} steps"), &burn, &start, [&ours, &theirs], tolerance);
    }
    let [ours, theirs] = [ours, theirs].map(|mut trainer| trainer.evaluate(&start, Part::Test, &rows).unwrap());
    assert_eq!(ours.correct, theirs.correct);
    assert!((ours.loss_sum - theirs.loss_sum).abs() <= 1e-5 * theirs.loss_sum);
}

#[test]
fn evaluation_equals_the_burn_modules() {
    for case in &CASES {
        let (weights, [mut plan, mut burn]) = case.trainers();
        let rows: Vec<u32> = (0..2 * EVALUATION_BATCH as u32 + 1).map(|i| i % 100).collect();
        for rows in [&rows[..], &rows[..1]] {
            let ours = plan.evaluate(&weights, Part::Test, rows).unwrap();
            let theirs = burn.evaluate(&weights, Part::Test, rows).unwrap();
            assert_eq!((ours.correct, ours.rows), (theirs.correct, theirs.rows), "{}", case.name);
            let tolerance = 1e-5 * theirs.loss_sum;
            assert!((ours.loss_sum - theirs.loss_sum).abs() <= tolerance, "{}: {ours:?}, {theirs:?}", case.name);
        }
    }
}

/// A large batch is cut into higher tiles than a small one, and has fewer blank inputs.
#[test]
fn what_a_sample_scores_does_not_depend_on_its_batch() {
    for case in &CASES {
        let (weights, [mut plan, _]) = case.trainers();
        let rows: Vec<u32> = (0..100).collect();
        let together = plan.evaluate(&weights, Part::Test, &rows).unwrap();
        let each = rows.chunks(1).map(|row| plan.evaluate(&weights, Part::Test, row).unwrap());
        let (loss, correct) = each.fold((0.0, 0), |sum, one| (sum.0 + one.loss_sum, sum.1 + one.correct));
        assert_eq!((together.loss_sum, together.correct), (loss, correct), "{}", case.name);
    }
}

#[test]
fn a_result_has_the_same_bits_after_another_client_on_another_thread_and_in_another_trainer() {
    let mut beyond_numbers = 0;
    for case in &CASES {
        let (start, [mut plan, _]) = case.trainers();
        let (rows, other_rows) = (rows(), (0..100).rev().collect::<Vec<_>>());
        let this = task(&start, &rows, 7, |task| task.momentum = 0.9);
        let first = train(&mut *plan, &this);
        // Larger batches, clipped, diverging until its weights are not finite: none of it may stay.
        let that = LocalTask {
            batch_size: 100,
            learning_rate: 1e30,
            terms: &[Term::ClipGrad { max_norm: 1e30 }],
            ..task(&start, &other_rows, 9, |_| ())
        };
        let diverged = train(&mut *plan, &that).0;
        beyond_numbers += usize::from(diverged.iter().any(|w| !w.is_finite()));
        plan.evaluate(&diverged, Part::Test, &other_rows).unwrap();
        assert_eq!(first, train(&mut *plan, &this), "{}: after another client", case.name);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| train(&mut *plan, &this)).join().unwrap());
        assert_eq!(first, elsewhere, "{}: on another thread", case.name);
        let (_, [mut fresh, _]) = case.trainers();
        assert_eq!(first, train(&mut *fresh, &this), "{}: in another trainer", case.name);
    }
    // Not each does: a logistic regression, or a network whose last unit died on the way.
    assert!(beyond_numbers > 0, "no model diverged");
}

/// Lists whose layers are wide and narrow, with panels that are whole, half and less than half full.
fn lists() -> [(Case, Layers); 6] {
    let linear = |layers: Layers, outputs| layers.then(Layer::Linear { outputs });
    let hidden = |layers, outputs| linear(layers, outputs).then(Layer::Relu);
    let conv = |layers: Layers, outputs| {
        layers.then(Layer::Conv { outputs, kernel: 5, padding: 2 }).then(Layer::Relu).then(Layer::MaxPool)
    };
    let cnn = conv(conv(Layers::image([1, 9, 9]), 18), 33).then(Layer::Flatten);
    let panels = conv(conv(Layers::image([1, 9, 9]), 16), 33).then(Layer::Flatten);
    [
        (Case { name: "stack", sample: &[2, 7, 11], classes: 3, ..CASES[5] }, Stack::layers()),
        (Case { name: "cnn", ..CASES[5] }, linear(hidden(cnn, 40), 10)),
        (Case { name: "cnn of whole panels", ..CASES[5] }, linear(panels, 10)),
        (
            Case { name: "mlp", sample: &[150], classes: 2, ..CASES[5] },
            linear(hidden(hidden(Layers::features(150), 100), 21), 1),
        ),
        (norms::CASE, norms::NormedStack::layers()),
        (Case { name: "logistic", sample: &[37], ..CASES[5] }, linear(Layers::features(37), 10)),
    ]
}

/// What makes results equal across machines: whichever registers a processor has, no bit of a result changes.
#[test]
fn every_width_of_registers_trains_to_the_same_bits() {
    for (case, layers) in lists() {
        let count: usize = layers.parameter_shapes().iter().map(|shape| shape.iter().product::<usize>()).sum();
        let start: Vec<f32> = (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-4).collect();
        let shape = vec![count];
        let whole = TensorInfo { name: "all".into(), shape, role: TensorRole::Weight, offset: 0 };
        let layout = Layout { tensors: vec![whole] };
        let rows = rows();
        let results: Vec<_> = all_registers()
            .into_iter()
            .map(|registers| {
                let mut plan = PlanTrainer::new(&layers, &layout, case.data()).unwrap();
                plan.network.registers = registers;
                let change: Change = |task| (task.momentum, task.terms) = (0.5, &[Term::Prox { mu: 0.1 }]);
                let (weights, report) = train(&mut plan, &task(&start, &rows, 6, change));
                let score = plan.evaluate(&weights, Part::Test, &rows).unwrap();
                assert!(weights.iter().all(|w| w.is_finite()) && weights != start, "{}", case.name);
                let bits: Vec<u32> = weights.iter().map(|w| w.to_bits()).collect();
                (bits, report.loss.to_bits(), score.loss_sum.to_bits(), score.correct)
            })
            .collect();
        for (registers, result) in all_registers().into_iter().zip(&results) {
            assert!(*result == results[0], "{}: {registers:?} differs from the machine's own registers", case.name);
        }
    }
}

/// The machine's own registers, plain scalar code, and what lies between.
pub fn all_registers() -> Vec<Registers> {
    let mut found = vec![Registers::widest(), Registers::Found(pulp::Arch::Scalar)];
    #[cfg(target_arch = "x86_64")]
    found.extend(pulp::x86::V3::try_new().map(Registers::Avx2));
    found
}

#[test]
fn a_plan_for_other_data_is_refused_with_both_values() {
    let [mlp, cnn] = [&CASES[2], &CASES[5]];
    let error = mlp.models()[0].trainer(cnn.data()).err().expect("refused");
    assert_eq!(crate::error::exit_code(&error), 3);
    assert!(["15 values", "`odd cnn` has 81"].iter().all(|word| error.to_string().contains(word)), "{error}");
}
