//! Batch normalisation held to Burn's own layer, where no shipped model has it.

use super::{CASES, CHANGES, Case, Change, near_where, rows, task, train};
use crate::train::plan::{Layer, Layers, PlanTrainer};
use crate::train::{BurnModel, Layout, LocalModel, LocalTask, Model, Part, TensorInfo, TensorRole, Term};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

pub const CASE: Case = Case { name: "normed stack", sample: &[2, 7, 11], classes: 3, ..CASES[5] };

/// Normalisation between two convolutions, behind ReLU and before a pool, over a single channel, behind a linear layer.
#[derive(Module, Debug)]
pub struct NormedStack {
    conv0: Conv2d,
    norm0: BatchNorm,
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    linear0: Linear,
    norm3: BatchNorm,
    linear1: Linear,
    pool: MaxPool2d,
}

impl NormedStack {
    fn new(device: &Device) -> Self {
        let conv = |inputs, outputs, kernel, padding| {
            Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(device)
        };
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        NormedStack {
            conv0: conv(2, 5, 3, 0),
            norm0: norm(5),
            conv1: conv(5, 4, 2, 1),
            norm1: norm(4),
            conv2: conv(4, 1, 3, 1),
            norm2: norm(1),
            linear0: LinearConfig::new(15, 6).init(device),
            norm3: norm(6),
            linear1: LinearConfig::new(6, 3).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    pub fn layers() -> Layers {
        let conv = |layers: Layers, outputs, kernel, padding| layers.then(Layer::Conv { outputs, kernel, padding });
        // 7 × 11 → 5 × 9 → 6 × 10, pooled 3 × 5 → 3 × 5.
        let layers = conv(Layers::image([2, 7, 11]), 5, 3, 0).then(Layer::BatchNorm);
        let layers = conv(layers, 4, 2, 1).then(Layer::Relu).then(Layer::BatchNorm).then(Layer::MaxPool);
        let layers = conv(layers, 1, 3, 1).then(Layer::BatchNorm).then(Layer::Relu).then(Layer::Flatten);
        let layers = layers.then(Layer::Linear { outputs: 6 }).then(Layer::BatchNorm).then(Layer::Relu);
        layers.then(Layer::Linear { outputs: 3 })
    }

    /// The model through its plan and through Burn, and weights whose scales differ, one of them below zero.
    fn models() -> ([BurnModel<NormedStack>; 2], Vec<f32>) {
        let burn = BurnModel::new(NormedStack::new).unwrap();
        let plan = BurnModel::new(NormedStack::new).unwrap().with_layers(NormedStack::layers());
        let mut start = burn.initial_weights(1).unwrap();
        let normal = |tensor: &&TensorInfo| matches!(tensor.role, TensorRole::Norm | TensorRole::NormStat);
        for tensor in burn.layout().tensors.iter().filter(normal) {
            for (i, value) in start[tensor.offset..][..tensor.len()].iter_mut().enumerate() {
                *value += if tensor.name.ends_with("gamma") && i == 1 { -1.75 } else { 0.25 - 0.125 * i as f32 };
            }
        }
        ([plan, burn], start)
    }
}

impl LocalModel for NormedStack {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [batch, _] = features.dims();
        let x = features.reshape([batch, 2, 7, 11]);
        let x = self.norm0.forward(self.conv0.forward(x));
        let x = self.pool.forward(self.norm1.forward(relu(self.conv1.forward(x))));
        let x = relu(self.norm2.forward(self.conv2.forward(x)));
        let x = relu(self.norm3.forward(self.linear0.forward(x.flatten(1, 3))));
        self.linear1.forward(x)
    }
}

#[test]
fn normalisation_in_all_places_equals_burns_own_but_for_the_running_variance() {
    let ([plan, burn], start) = NormedStack::models();
    let rows = rows();
    let [mut ours, mut theirs] = [&plan, &burn].map(|model| model.trainer(CASE.data()).unwrap());
    // The fifth batch has one row, so that each feature behind the linear layer is a single value.
    for (steps, tolerance) in [(1, 1e-5), (20, 1e-4)] {
        for (name, change) in CHANGES.into_iter().filter(|(name, _)| *name != "batches of 1") {
            let mut task = task(&start, &rows, steps, change);
            task.learning_rate *= 0.2;
            let [ours, theirs] = [&mut ours, &mut theirs].map(|trainer| train(&mut **trainer, &task).0);
            let compared = |tensor: &TensorInfo| !tensor.name.ends_with("running_var");
            let what = format!("{name}, {steps} steps");
            near_where(&what, &burn, &start, [&ours, &theirs], tolerance, compared);
        }
    }
    let trained = train(&mut *ours, &task(&start, &rows, 20, |task| task.learning_rate *= 0.2)).0;
    let [ours, theirs] = [ours, theirs].map(|mut trainer| trainer.evaluate(&trained, Part::Test, &rows).unwrap());
    assert_eq!(ours.correct, theirs.correct);
    assert!((ours.loss_sum - theirs.loss_sum).abs() <= 1e-5 * theirs.loss_sum);
}

/// Burn feeds the biased variance of a batch to the running one, PyTorch the unbiased: n/(n − 1) times as much.
#[test]
fn running_variances_are_burns_with_each_batchs_variance_unbiased() {
    let ([plan, burn], mut start) = NormedStack::models();
    // From zero, what is added is not rounded beside what was there.
    for tensor in burn.layout().tensors.iter().filter(|tensor| tensor.name.ends_with("running_var")) {
        start[tensor.offset..tensor.offset + tensor.len()].fill(0.0);
    }
    let rows = rows();
    let full: Change = |task| (task.batch_size, task.learning_rate) = (41, 0.01);
    for steps in [1, 5] {
        let task = task(&start, &rows, steps, full);
        let [ours, theirs] = [&plan, &burn].map(|model| train(&mut *model.trainer(CASE.data()).unwrap(), &task).0);
        for (name, pixels) in [("norm0", 45.0), ("norm1", 60.0), ("norm2", 15.0), ("norm3", 1.0)] {
            let name = format!("{name}.running_var");
            let tensor = burn.layout().tensors.iter().find(|tensor| tensor.name == name).unwrap();
            let count = 41.0 * pixels;
            for i in tensor.offset..tensor.offset + tensor.len() {
                let [ours, theirs] = [&ours, &theirs].map(|weights| f64::from(weights[i]));
                let expected = theirs * count / (count - 1.0);
                assert!((ours - expected).abs() < 1e-5 * expected.abs(), "{name}: {ours}, not {expected}");
                // Precise enough to tell the two apart.
                assert!((ours - theirs).abs() > 1e-4 * theirs.abs(), "{name}: {ours} and {theirs}");
            }
        }
    }
}

#[test]
fn running_statistics_of_a_step_are_the_batchs_whatever_is_added_to_the_gradient() {
    let ([plan, burn], start) = NormedStack::models();
    let slot: Vec<f32> = (0..start.len()).map(|i| 1.0 + (i % 7) as f32).collect();
    let terms = [
        Term::Prox { mu: 3.0 },
        Term::ProxToward { mu: 0.5, toward: &slot[..] },
        Term::Linear { scale: -2.0, slot: &slot },
        Term::L2 { lambda: 0.5 },
    ];
    let clipped = [&terms[..], &[Term::ClipGrad { max_norm: 0.01 }]].concat();
    let rows = rows();
    let of = |role: TensorRole, weights: &[f32]| -> Vec<u32> {
        let tensors = burn.layout().tensors.iter().filter(|tensor| tensor.role == role);
        tensors.flat_map(|t| weights[t.offset..t.offset + t.len()].iter().map(|w| w.to_bits())).collect()
    };
    for model in [&plan, &burn] {
        let mut trainer = model.trainer(CASE.data()).unwrap();
        let mut step = |terms, momentum, weight_decay| {
            let task = LocalTask { terms, momentum, weight_decay, ..task(&start, &rows, 1, |_| ()) };
            train(&mut *trainer, &task).0
        };
        let plain = step(&[], 0.0, 0.0);
        for added in [step(&terms, 0.9, 0.1), step(&clipped, 0.9, 0.1), step(&clipped, 0.0, 0.1)] {
            assert_eq!(of(TensorRole::NormStat, &plain), of(TensorRole::NormStat, &added));
            assert_ne!(of(TensorRole::Norm, &plain), of(TensorRole::Norm, &added));
        }
    }
}

#[test]
#[should_panic(expected = "each normalisation follows a convolution or a linear layer")]
fn a_normalisation_of_the_data_itself_is_refused() {
    let layers = Layers::features(13).then(Layer::BatchNorm).then(Layer::Linear { outputs: 5 });
    let _refused = PlanTrainer::new(&layers, &Layout::default(), CASES[0].data());
}
