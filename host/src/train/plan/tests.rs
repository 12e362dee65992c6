//! The plan held to the Burn module: same weights, same batches, the same numbers within rounding.

use crate::config::{self, ModelName};
use crate::data::{Dataset, Examples, Features};
use crate::train::{
    BatchOrder, EVALUATION_BATCH, LocalReport, LocalTask, Model, Part, Term, Trainer, model_from_config,
    model_through_burn,
};
use std::sync::Arc;

/// A model and the shape of its samples.
struct Case {
    name: &'static str,
    model: ModelName,
    hidden: &'static [usize],
    sample: &'static [usize],
    classes: usize,
}

const CASES: [Case; 7] = [
    Case { name: "logistic", model: ModelName::Logistic, hidden: &[], sample: &[13], classes: 5 },
    Case { name: "binary logistic", model: ModelName::Logistic, hidden: &[], sample: &[7], classes: 2 },
    Case { name: "mlp", model: ModelName::Mlp, hidden: &[33, 17], sample: &[3, 5], classes: 10 },
    // Wide enough for several bands of weights.
    Case { name: "binary mlp", model: ModelName::Mlp, hidden: &[300, 1], sample: &[150], classes: 2 },
    Case { name: "odd cnn", model: ModelName::Cnn, hidden: &[], sample: &[1, 9, 9], classes: 10 },
    Case { name: "oblong binary cnn", model: ModelName::Cnn, hidden: &[], sample: &[2, 4, 11], classes: 2 },
    Case { name: "colour cnn", model: ModelName::Cnn, hidden: &[], sample: &[3, 8, 6], classes: 3 },
];

/// Changes a task from plain steps with batches of 10.
type Change = fn(&mut LocalTask<'_>);

const CHANGES: [(&str, Change); 6] = [
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
    fn data(&self) -> Arc<Dataset> {
        let width = self.sample.iter().product::<usize>() as u32;
        let mix = |i: u32| (i ^ 0x5bd1).wrapping_mul(2_654_435_761) >> 16;
        let values = (0..100 * width).map(|i| (mix(i) ^ mix(i / 7)) as u8).collect();
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

    fn models(&self) -> [Arc<dyn Model>; 2] {
        let config = config::Model { name: self.model, hidden: self.hidden.to_vec(), init: None };
        [model_from_config, model_through_burn].map(|make| make(&config, &self.data()).unwrap())
    }

    fn trainers(&self) -> (Vec<f32>, [Box<dyn Trainer>; 2]) {
        let models = self.models();
        assert_eq!(models[0].layout(), models[1].layout());
        let start = models[0].initial_weights(5).unwrap();
        (start, models.map(|model| model.trainer(self.data()).unwrap()))
    }
}

fn rows() -> Vec<u32> {
    (0..41).map(|i| i * 37 % 100).collect()
}

fn task<'a>(start: &'a [f32], rows: &'a [u32], steps: u64, change: Change) -> LocalTask<'a> {
    let mut task = LocalTask {
        start,
        rows,
        steps,
        batch_size: 10,
        learning_rate: 0.05,
        momentum: 0.0,
        weight_decay: 0.0,
        terms: &[],
        order: BatchOrder { seed: 1, round: 2, client: 3, steps_before: None, shuffle: true },
    };
    change(&mut task);
    task
}

fn train(trainer: &mut dyn Trainer, task: &LocalTask<'_>) -> (Vec<f32>, LocalReport) {
    let mut out = vec![f32::NAN; task.start.len()];
    let report = trainer.train(task, &mut out).unwrap();
    (out, report)
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// ‖ours − theirs‖ against `tolerance` times the norm of the update, for each tensor by itself.
#[track_caller]
fn near(what: &str, model: &dyn Model, start: &[f32], [ours, theirs]: [&[f32]; 2], tolerance: f64) {
    for tensor in &model.layout().tensors {
        let range = tensor.offset..tensor.offset + tensor.len();
        let difference = norm(range.clone().map(|i| ours[i] - theirs[i]));
        let update = norm(range.clone().map(|i| theirs[i] - start[i]));
        // What f32 weights can express: a few units in the last place of each.
        let floor = 3e-7 * norm(range.map(|i| theirs[i]));
        let name = &tensor.name;
        assert!(difference <= tolerance * update + floor, "{what}, `{name}`: off by {difference} in an update of {update}");
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

#[test]
fn a_result_has_the_same_bits_after_another_client_on_another_thread_and_in_another_trainer() {
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
        assert!(case.model == ModelName::Logistic || diverged.iter().any(|w| !w.is_finite()), "{}", case.name);
        plan.evaluate(&diverged, Part::Test, &other_rows).unwrap();
        assert_eq!(first, train(&mut *plan, &this), "{}: after another client", case.name);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| train(&mut *plan, &this)).join().unwrap());
        assert_eq!(first, elsewhere, "{}: on another thread", case.name);
        let (_, [mut fresh, _]) = case.trainers();
        assert_eq!(first, train(&mut *fresh, &this), "{}: in another trainer", case.name);
    }
}

#[test]
fn a_plan_for_other_data_is_refused_with_both_values() {
    let [mlp, cnn] = [&CASES[2], &CASES[4]];
    let error = mlp.models()[0].trainer(cnn.data()).err().expect("refused");
    assert_eq!(crate::error::exit_code(&error), 3);
    assert!(["15 values", "`odd cnn` has 81"].iter().all(|word| error.to_string().contains(word)), "{error}");
}
