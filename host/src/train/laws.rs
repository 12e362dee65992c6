//! Laws of local training, on examples small enough for paper.

use super::*;
use crate::config;
use crate::data::Features;
use crate::error::exit_code;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Int, Tensor};

fn examples(features: Features, labels: Vec<u32>) -> Examples {
    Examples { features, labels, clients: None }
}

fn dataset(features: Features, labels: Vec<u32>, width: usize, num_classes: usize) -> Arc<Dataset> {
    let rows = examples(features, labels);
    Arc::new(Dataset {
        name: "made up".into(),
        train: rows.clone(),
        test: rows,
        sample_shape: vec![width],
        num_classes,
        client_names: Vec::new(),
        fingerprint: [0; 32],
    })
}

/// Two features, two classes: a logistic regression with three weights (w₁, w₂, b).
fn four_rows() -> Arc<Dataset> {
    dataset(Features::F32(vec![2.0, 0.0, 0.0, 4.0, 2.0, -4.0, -2.0, 0.0]), vec![1, 0, 1, 1], 2, 2)
}

/// Sixteen pixels, three classes, 97 rows: nothing about the numbers matters.
fn pixels() -> Arc<Dataset> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let features = Features::U8 { values: (0..97 * 16).map(value).collect(), scale: 1.0 / 255.0, shift: 0.0 };
    dataset(features, (0..97).map(|i| u32::from(value(i + 5000)) % 3).collect(), 16, 3)
}

/// A shipped model, trained by its plan and by its Burn module.
fn shipped(name: config::ModelName, data: &Dataset) -> [Arc<dyn Model>; 2] {
    let config = config::Model { name, hidden: Some(vec![8, 5]), init: None };
    [model_from_config, model_through_burn].map(|make| make(&config, data).unwrap())
}

fn task<'a>(start: &'a [f32], rows: &'a [u32]) -> LocalTask<'a> {
    LocalTask {
        start,
        rows,
        steps: 1,
        batch_size: rows.len(),
        learning_rate: 0.5,
        momentum: 0.0,
        weight_decay: 0.0,
        terms: &[],
        relabel: None,
        order: BatchOrder { seed: 42, round: 1, client: 3, phase: 0, steps_before: None, shuffle: true },
    }
}

fn train(trainer: &mut dyn Trainer, task: &LocalTask<'_>) -> (Vec<f32>, LocalReport) {
    let mut out = vec![f32::NAN; task.start.len()];
    let report = trainer.train(task, &mut out).unwrap();
    (out, report)
}

#[track_caller]
fn near(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {i}: {a} and {b}");
    }
}

#[test]
fn one_full_batch_is_one_step_of_gradient_descent_by_hand() {
    // Weights 0: every probability is 1/2, p − y = (−1/2, 1/2, −1/2, −1/2), the loss ln 2.
    // ∂w₁ = (−1/2·2 + 1/2·0 − 1/2·2 + 1/2·2)/4 = −1/4, ∂w₂ = (1/2·4 + 1/2·4)/4 = 1, ∂b = −1/4; learning rate 1/2.
    let data = four_rows();
    for model in shipped(config::ModelName::Logistic, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (weights, report) = train(&mut *trainer, &task(&[0.0; 3], &[0, 1, 2, 3]));
        assert_eq!(weights, [0.125, -0.5, 0.125]);
        assert!((report.loss - 2f64.ln()).abs() < 1e-12);
        assert_eq!((report.steps, report.examples, report.lr_sum), (1, 4, 0.5));
    }
}

#[test]
fn prox_leaves_the_first_step_alone_and_pulls_from_the_second_on() {
    // After step 1 (above) w − w₀ = (1/8, −1/2, 1/8). The gradient of step 2 is the same with and without the term,
    // so the results differ by lr·mu·(w − w₀) = 1/2·1/4·(1/8, −1/2, 1/8).
    let data = four_rows();
    for model in shipped(config::ModelName::Logistic, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let rows = [0, 1, 2, 3];
        let prox = [Term::Prox { mu: 0.25 }];
        let once = task(&[0.0; 3], &rows);
        assert_eq!(train(&mut *trainer, &once).0, train(&mut *trainer, &LocalTask { terms: &prox, ..once.clone() }).0);
        let twice = LocalTask { steps: 2, ..once };
        let free = train(&mut *trainer, &twice).0;
        let pulled = train(&mut *trainer, &LocalTask { terms: &prox, ..twice }).0;
        near(&pulled, &[free[0] - 1.0 / 64.0, free[1] + 1.0 / 16.0, free[2] - 1.0 / 64.0], 1e-7);
    }
}

#[test]
fn terms_with_slots_follow_the_formula_by_hand() {
    // The gradient at 0 is (−1/4, 1, −1/4) (above), the learning rate 1/2.
    // linear, scale 2, s = (1, 0, −1): g = (7/4, 1, −9/4). prox with mu 4 towards s: g = (−1/4 − 4, 1, −1/4 + 4).
    let data = four_rows();
    for model in shipped(config::ModelName::Logistic, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (slot, rows) = ([1.0, 0.0, -1.0], [0, 1, 2, 3]);
        let once = task(&[0.0; 3], &rows);
        let linear = [Term::Linear { scale: 2.0, slot: &slot[..] }];
        assert_eq!(train(&mut *trainer, &LocalTask { terms: &linear, ..once.clone() }).0, [-0.875, -0.5, 1.125]);
        let prox = [Term::ProxToward { mu: 4.0, toward: &slot[..] }];
        assert_eq!(train(&mut *trainer, &LocalTask { terms: &prox, ..once }).0, [2.125, -0.5, -1.875]);
    }
}

#[test]
fn prox_toward_the_received_weights_is_prox_bit_for_bit() {
    let data = pixels();
    let [plan, burn] = shipped(config::ModelName::Mlp, &data);
    for model in [plan, burn, Arc::new(normed())] {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (start, rows) = (model.initial_weights(1).unwrap(), [3, 1, 4, 15, 9, 2, 6]);
        let base = LocalTask { steps: 9, batch_size: 3, momentum: 0.9, ..task(&start, &rows) };
        let toward = [Term::ProxToward { mu: 0.3, toward: &start[..] }];
        let slot = train(&mut *trainer, &LocalTask { terms: &toward, ..base.clone() });
        assert_eq!(slot, train(&mut *trainer, &LocalTask { terms: &[Term::Prox { mu: 0.3 }], ..base.clone() }));
        assert_ne!(slot.0, train(&mut *trainer, &base).0);
    }
}

#[test]
fn zero_coefficients_are_no_terms_bit_for_bit() {
    let data = pixels();
    for model in shipped(config::ModelName::Mlp, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (start, rows) = (model.initial_weights(1).unwrap(), [3, 1, 4, 15, 9, 2, 6]);
        let plain = LocalTask { steps: 9, batch_size: 3, momentum: 0.9, weight_decay: 0.01, ..task(&start, &rows) };
        let slot = model.initial_weights(2).unwrap();
        let terms = [
            Term::Prox { mu: 0.0 },
            Term::ProxToward { mu: 0.0, toward: &slot[..] },
            Term::Linear { scale: 0.0, slot: &slot },
            Term::L2 { lambda: 0.0 },
            Term::LearningRateScale { factor: 1.0 },
        ];
        assert_eq!(train(&mut *trainer, &plain), train(&mut *trainer, &LocalTask { terms: &terms, ..plain }));
    }
}

/// Normalisation between two layers, one bias frozen.
#[derive(Module, Debug)]
struct Normed {
    first: Linear,
    norm: BatchNorm,
    last: Linear,
}

impl LocalModel for Normed {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.last.forward(self.norm.forward(self.first.forward(features)))
    }
}

fn normed() -> BurnModel<Normed> {
    BurnModel::new(|device| {
        let mut first = LinearConfig::new(16, 6).init(device);
        first.bias = first.bias.map(|bias| bias.set_require_grad(false));
        Normed { first, norm: BatchNormConfig::new(6).init(device), last: LinearConfig::new(6, 3).init(device) }
    })
    .unwrap()
}

#[test]
fn a_result_depends_on_the_task_alone() {
    let data = pixels();
    let [plan, burn] = shipped(config::ModelName::Mlp, &data);
    for model in [plan, burn, Arc::new(normed())] {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (start, other) = (model.initial_weights(1).unwrap(), model.initial_weights(2).unwrap());
        let (rows, other_rows) = ([3, 1, 4, 15, 9, 2, 6, 53], (20..90).collect::<Vec<_>>());
        let this = LocalTask { steps: 9, batch_size: 4, momentum: 0.9, ..task(&start, &rows) };
        let that =
            LocalTask { steps: 5, batch_size: 10, terms: &[Term::Prox { mu: 1.0 }], ..task(&other, &other_rows) };
        let first = train(&mut *trainer, &this);
        train(&mut *trainer, &that);
        trainer.evaluate(&other, Part::Test, &rows).unwrap();
        assert_eq!(first, train(&mut *trainer, &this), "after another client");
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| train(&mut *trainer, &this)).join().unwrap());
        assert_eq!(first, elsewhere, "on another thread");
        assert_eq!(first, train(&mut *model.trainer(data.clone()).unwrap(), &this), "in another trainer");
    }
}

#[test]
fn two_trainers_at_the_same_time_do_not_disturb_each_other() {
    let data = pixels();
    let model = normed();
    let (start, rows) = (model.initial_weights(1).unwrap(), (0..97).collect::<Vec<_>>());
    let this = LocalTask { steps: 60, batch_size: 10, ..task(&start, &rows) };
    let alone = train(&mut *model.trainer(data.clone()).unwrap(), &this);
    std::thread::scope(|scope| {
        let runs = [(); 4].map(|_| scope.spawn(|| train(&mut *model.trainer(data.clone()).unwrap(), &this)));
        runs.into_iter().for_each(|run| assert_eq!(alone, run.join().unwrap()));
    });
}

#[test]
fn frozen_parameters_stay_and_running_statistics_are_measured_not_trained() {
    let data = pixels();
    let model = normed();
    let (start, rows) = (model.initial_weights(1).unwrap(), (0..40).collect::<Vec<_>>());
    let decayed = LocalTask { steps: 3, batch_size: 10, weight_decay: 0.1, ..task(&start, &rows) };
    let end = train(&mut *model.trainer(data).unwrap(), &decayed).0;
    let changed = |name: &str| {
        let tensor = model.layout().tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let range = tensor.offset..tensor.offset + tensor.len();
        start[range.clone()].iter().zip(&end[range]).all(|(a, b)| a != b)
    };
    assert!(!changed("first.bias"));
    for name in ["first.weight", "norm.gamma", "norm.running_mean", "norm.running_var", "last.bias"] {
        assert!(changed(name), "{name}");
    }
}

/// The shipped logistic regression with the loss of the tensor library.
#[derive(Module, Debug)]
struct BurnLoss {
    linear: Linear,
}

impl LocalModel for BurnLoss {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.linear.forward(features)
    }

    fn loss(&self, logits: Tensor<2>, labels: Tensor<1, Int>) -> Option<Tensor<1>> {
        let rows = (0..logits.dims()[0]).map(|row| {
            let row = row..row + 1;
            let criterion = CrossEntropyLossConfig::new().init(&logits.device());
            criterion.forward(logits.clone().slice([row.clone(), 0..3]), labels.clone().slice([row]))
        });
        Some(Tensor::cat(rows.collect(), 0))
    }
}

#[test]
fn the_usual_loss_equals_the_tensor_librarys_and_a_models_own_loss_is_used() {
    let data = pixels();
    let [shipped, _] = shipped(config::ModelName::Logistic, &data);
    let own = BurnModel::new(|device| BurnLoss { linear: LinearConfig::new(16, 3).init(device) }).unwrap();
    assert_eq!(shipped.layout(), own.layout());
    let (start, rows) = (shipped.initial_weights(1).unwrap(), (0..40).collect::<Vec<_>>());
    let task = LocalTask { steps: 12, batch_size: 10, ..task(&start, &rows) };
    let mut trainers = [shipped.trainer(data.clone()).unwrap(), own.trainer(data).unwrap()];
    let [(ours, our_report), (theirs, their_report)] = trainers.each_mut().map(|t| train(&mut **t, &task));
    near(&ours, &theirs, 1e-6);
    assert!((our_report.loss - their_report.loss).abs() < 1e-6);
    let [ours, theirs] = trainers.each_mut().map(|t| t.evaluate(&start, Part::Train, &rows).unwrap());
    assert!((ours.loss_sum - theirs.loss_sum).abs() < 1e-4 && ours.correct == theirs.correct);
}

#[test]
fn parts_of_an_evaluation_add_up_exactly_to_the_whole() {
    let data = pixels();
    for model in shipped(config::ModelName::Mlp, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let weights = model.initial_weights(1).unwrap();
        // Longer than three batches, the rows over and over.
        let rows: Vec<u32> = (0..1700).map(|i| i * 31 % 97).collect();
        let whole = trainer.evaluate(&weights, Part::Test, &rows).unwrap();
        let mut sum = Score::default();
        for part in rows.chunks(EVALUATION_BATCH).rev() {
            let score = trainer.evaluate(&weights, Part::Test, part).unwrap();
            sum.loss_sum += score.loss_sum;
            sum.correct += score.correct;
            sum.rows += score.rows;
        }
        assert_eq!(whole, sum);
        assert_eq!(whole.rows, 1700);
        assert!(whole.correct > 0 && whole.correct < 1700);
    }
}

#[test]
fn evaluation_counts_hits_and_sums_losses_by_hand() {
    // w = (ln 3 / 2, 0), b = 0: logits (ln 3, 0, ln 3, −ln 3) for labels (1, 0, 1, 1).
    // Losses −ln(3/4), ln 2, −ln(3/4), −ln(1/4); the logit 0 means class 0: three hits.
    let data = four_rows();
    for model in shipped(config::ModelName::Logistic, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let score = trainer.evaluate(&[3f32.ln() / 2.0, 0.0, 0.0], Part::Train, &[0, 1, 2, 3]).unwrap();
        let expected = 2.0 * (4.0 / 3.0f64).ln() + 2f64.ln() + 4f64.ln();
        assert!((score.loss_sum - expected).abs() < 1e-6, "{} and {expected}", score.loss_sum);
        assert_eq!((score.correct, score.rows), (3, 4));
    }
}

#[test]
fn divergence_is_reported_in_numbers_and_does_not_spoil_the_trainer() {
    let data = pixels();
    for model in shipped(config::ModelName::Mlp, &data) {
        let mut trainer = model.trainer(data.clone()).unwrap();
        let (start, rows) = (model.initial_weights(1).unwrap(), (0..40).collect::<Vec<_>>());
        let calm = LocalTask { steps: 4, batch_size: 10, momentum: 0.5, ..task(&start, &rows) };
        let before = train(&mut *trainer, &calm);
        let wild =
            LocalTask { steps: 20, learning_rate: 1e30, terms: &[Term::ClipGrad { max_norm: 1e30 }], ..calm.clone() };
        let (weights, report) = train(&mut *trainer, &wild);
        assert!(weights.iter().any(|w| !w.is_finite()) && !report.loss.is_finite());
        assert!(!trainer.evaluate(&weights, Part::Test, &rows).unwrap().loss_sum.is_finite());
        assert_eq!(before, train(&mut *trainer, &calm));
    }
}

#[test]
fn own_modules_start_from_their_initialisers_seeded_by_the_run() {
    let model = normed();
    assert_eq!(model.initial_weights(5).unwrap(), model.initial_weights(5).unwrap());
    assert_ne!(model.initial_weights(5).unwrap(), model.initial_weights(6).unwrap());
    let weights = model.initial_weights(5).unwrap();
    assert_eq!(weights[102..114], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn initial_weights_come_from_the_named_file() {
    let data = pixels();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.safetensors");
    let [plain, _] = shipped(config::ModelName::Logistic, &data);
    let weights: Vec<f32> = (0..plain.layout().len()).map(|i| i as f32).collect();
    weights_file::save(&path, plain.layout(), &weights, &Default::default()).unwrap();
    let config = config::Model { name: config::ModelName::Logistic, hidden: None, init: Some(path) };
    assert_eq!(model_from_config(&config, &data).unwrap().initial_weights(42).unwrap(), weights);
}

#[test]
fn a_model_with_the_wrong_number_of_outputs_is_refused_with_both_shapes() {
    let model = BurnModel::new(|device| BurnLoss { linear: LinearConfig::new(16, 4).init(device) }).unwrap();
    let (start, rows) = (model.initial_weights(1).unwrap(), [0, 1]);
    let mut trainer = model.trainer(pixels()).unwrap();
    let error = trainer.train(&task(&start, &rows), &mut start.clone()).unwrap_err();
    assert_eq!(exit_code(&error), 3);
    assert!(["[2, 4]", "[2, 3]", "`made up`"].iter().all(|word| error.to_string().contains(word)), "{error}");
    assert!(trainer.evaluate(&start, Part::Test, &rows).is_err());
}

/// The same rows with other labels.
fn labelled(data: &Dataset, label: impl Fn(u32) -> u32) -> Arc<Dataset> {
    let mut data = data.clone();
    data.train.labels.iter_mut().for_each(|l| *l = label(*l));
    Arc::new(data)
}

#[test]
fn training_on_flipped_labels_is_training_on_data_that_is_so_labelled() {
    let (three, two) = (pixels(), four_rows());
    let cases = [(three, config::ModelName::Mlp, &[2, 0, 0][..]), (two, config::ModelName::Logistic, &[1, 0])];
    for (data, name, flipped) in cases {
        for (index, model) in shipped(name, &data).into_iter().enumerate() {
            let (start, rows) = (model.initial_weights(1).unwrap(), (0..data.train.len() as u32).collect::<Vec<_>>());
            let honest = LocalTask { steps: 9, batch_size: 3, ..task(&start, &rows) };
            let misled = LocalTask { relabel: Some(flipped), ..honest.clone() };
            let mut trainer = model.trainer(data.clone()).unwrap();
            let (end, report) = train(&mut *trainer, &misled);
            trainer.receive(&start).unwrap();
            let score = trainer.score_as(Part::Train, &rows, Some(flipped)).unwrap();
            let by_hand = labelled(&data, |label| flipped[label as usize]);
            let mut theirs = model.trainer(by_hand).unwrap();
            assert_eq!((end, report), train(&mut *theirs, &honest), "{name:?} {index}");
            assert_eq!(score, theirs.evaluate(&start, Part::Train, &rows).unwrap(), "{name:?} {index}");
            // Nothing of it stays.
            let honestly = train(&mut *model.trainer(data.clone()).unwrap(), &honest);
            assert_eq!(train(&mut *trainer, &honest), honestly, "{name:?} {index}");
            assert_ne!(honestly.0, train(&mut *trainer, &misled).0, "{name:?} {index}");
        }
    }
}
