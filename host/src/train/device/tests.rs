//! Stacks held to the plan, and modules on a device to the Burn trainer: on the processor, and on a GPU in a build that
//! reaches one.

use super::{Accelerator, StackTrainer};
use crate::config::DeviceChoice;
use crate::train::plan::tests::{CASES, CHANGES, Case, Stack, near, rows, task, train};
use crate::train::{BatchOrder, BurnModel, LocalModel, LocalReport, LocalTask, Model, Part, Term};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Int, Tensor};

/// The processor, and the first adapter that there is, software or not.
///
/// Where a GPU must be there, `COLLA_REQUIRE_GPU` says so and its absence fails.
fn accelerators() -> Vec<Accelerator> {
    std::iter::once(Accelerator::processor(256)).chain(adapter()).collect()
}

fn adapter() -> Option<Accelerator> {
    if !cfg!(feature = "gpu") {
        return None;
    }
    match Accelerator::open(DeviceChoice::Gpu(Some(0)), 256) {
        Ok(adapter) => adapter,
        Err(error) if std::env::var_os("COLLA_REQUIRE_GPU").is_none() => {
            eprintln!("no test on a GPU: {error}");
            None
        }
        Err(error) => panic!("COLLA_REQUIRE_GPU is set, but {error}"),
    }
}

fn train_stack(trainer: &mut dyn StackTrainer, tasks: &[LocalTask<'_>]) -> Vec<(Vec<f32>, LocalReport)> {
    let start = tasks[0].start;
    let mut out = vec![vec![f32::NAN; start.len()]; tasks.len()];
    let reports = trainer.train(start, tasks, &mut out).unwrap();
    out.into_iter().zip(reports).collect()
}

/// Weights within `tolerance` of the update, losses within 1e-4, everything else equal.
#[track_caller]
fn agree(what: &str, model: &dyn Model, start: &[f32], [ours, theirs]: [&(Vec<f32>, LocalReport); 2], tolerance: f64) {
    near(what, model, start, [&ours.0, &theirs.0], tolerance);
    let [our_loss, their_loss] = [ours.1.loss, theirs.1.loss];
    assert!((our_loss - their_loss).abs() <= 1e-4 * their_loss.max(1.0), "{what}: losses {our_loss}, {their_loss}");
    assert_eq!(LocalReport { loss: 0.0, ..ours.1 }, LocalReport { loss: 0.0, ..theirs.1 }, "{what}");
}

/// A step's rounding, and that of 20 steps.
const TOLERANCES: [(u64, f64); 2] = [(1, 2e-5), (20, 2e-4)];

#[test]
fn a_stack_of_one_equals_the_plan() {
    for accelerator in accelerators() {
        for case in &CASES {
            let [model, _] = case.models();
            let (start, rows, data) = (model.initial_weights(5).unwrap(), rows(), case.data());
            let mut plan = model.trainer(data.clone()).unwrap();
            let mut stack = model.stack_trainer(data, &accelerator).unwrap();
            for (change_name, change) in CHANGES {
                for (steps, tolerance) in TOLERANCES {
                    let what = format!("{}, {change_name}, {steps} steps on {}", case.name, accelerator.name());
                    let task = task(&start, &rows, steps, change);
                    let theirs = train(&mut *plan, &task);
                    let ours = train_stack(&mut *stack, std::slice::from_ref(&task)).remove(0);
                    agree(&what, &*model, &start, [&ours, &theirs], tolerance);
                }
            }
        }
    }
}

#[test]
fn convolutions_of_all_kinds_equal_the_plan() {
    for accelerator in accelerators() {
        let case = Case { name: "stack", sample: &[2, 7, 11], classes: 3, ..CASES[4] };
        let model = BurnModel::new(Stack::new).unwrap().with_layers(Stack::layers());
        let (start, rows, data) = (model.initial_weights(1).unwrap(), rows(), case.data());
        let mut plan = model.trainer(data.clone()).unwrap();
        let mut stack = model.stack_trainer(data, &accelerator).unwrap();
        for (steps, tolerance) in TOLERANCES {
            let task = task(&start, &rows, steps, |task| task.learning_rate *= 0.2);
            let ours = train_stack(&mut *stack, std::slice::from_ref(&task)).remove(0);
            agree(accelerator.name(), &model, &start, [&ours, &train(&mut *plan, &task)], tolerance);
        }
    }
}

#[test]
fn clients_of_a_stack_train_as_if_alone() {
    for accelerator in accelerators() {
        // The logistic regression, the MLP and the odd CNN.
        for case in [&CASES[0], &CASES[1], &CASES[2], &CASES[4]] {
            let [model, _] = case.models();
            let start = model.initial_weights(5).unwrap();
            let [toward, slope] = [6, 7].map(|seed| model.initial_weights(seed).unwrap());
            let shares: Vec<Vec<u32>> =
                [9u32, 23, 4, 41, 10].iter().map(|n| (0..*n).map(|i| i * 7 % 100).collect()).collect();
            let terms: [&[Term<&[f32]>]; 5] = [
                &[],
                &[Term::Prox { mu: 0.5 }, Term::LearningRateScale { factor: 0.5 }],
                &[Term::ProxToward { mu: 0.5, toward: &toward }],
                &[Term::Linear { scale: -0.25, slot: &slope }, Term::L2 { lambda: 0.1 }],
                &[Term::ClipGrad { max_norm: 0.3 }],
            ];
            let tasks: Vec<LocalTask<'_>> = (0..5)
                .map(|i| LocalTask {
                    rows: &shares[i],
                    // 20, 1, 3, 12 and 7 steps: two leave the stack early, one ends within it.
                    steps: [20, 1, 3, 12, 7][i],
                    batch_size: shares[i].len().min(10),
                    terms: terms[i],
                    order: BatchOrder { client: i as u64, ..task(&start, &shares[i], 1, |_| ()).order },
                    ..task(&start, &shares[i], 20, |task| (task.momentum, task.weight_decay) = (0.5, 0.01))
                })
                .collect();
            let data = case.data();
            let mut plan = model.trainer(data.clone()).unwrap();
            let mut stack = model.stack_trainer(data, &accelerator).unwrap();
            for (i, (ours, task)) in train_stack(&mut *stack, &tasks).iter().zip(&tasks).enumerate() {
                let what = format!("{}, client {i} on {}", case.name, accelerator.name());
                agree(&what, &*model, &start, [ours, &train(&mut *plan, task)], 2e-4);
            }
        }
    }
}

#[test]
fn evaluation_equals_the_plans() {
    for accelerator in accelerators() {
        for case in &CASES {
            let [model, _] = case.models();
            let weights = model.initial_weights(5).unwrap();
            let (mut plan, mut stack) =
                (model.trainer(case.data()).unwrap(), model.stack_trainer(case.data(), &accelerator).unwrap());
            let rows: Vec<u32> = (0..2100).map(|i| i % 100).collect();
            let lists: [(Part, &[u32]); 3] =
                [(Part::Test, &rows), (Part::Train, &rows[3..20]), (Part::Test, &rows[..1])];
            for ((part, rows), ours) in lists.iter().zip(stack.evaluate(&weights, &lists).unwrap()) {
                let theirs = plan.evaluate(&weights, *part, rows).unwrap();
                assert_eq!((ours.correct, ours.rows), (theirs.correct, theirs.rows), "{}", case.name);
                assert!((ours.loss_sum - theirs.loss_sum).abs() <= 1e-5 * theirs.loss_sum, "{}", case.name);
            }
        }
    }
}

/// A module with a loss of its own, a frozen parameter and running statistics.
#[derive(Module, Debug)]
struct Own {
    first: Linear,
    norm: BatchNorm,
    last: Linear,
}

impl LocalModel for Own {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.last.forward(self.norm.forward(self.first.forward(features)))
    }

    fn loss(&self, logits: Tensor<2>, labels: Tensor<1, Int>) -> Option<Tensor<1>> {
        let smoothed = CrossEntropyLossConfig::new().with_smoothing(Some(0.1)).init(&logits.device());
        let [rows, _] = logits.dims();
        let each = (0..rows).map(|row| {
            let at = row..row + 1;
            smoothed.forward(logits.clone().slice([at.clone()]), labels.clone().slice([at]))
        });
        Some(Tensor::cat(each.collect(), 0))
    }
}

#[test]
fn a_users_module_on_a_device_equals_itself_on_the_processor() {
    let own = BurnModel::new(|device| {
        let mut first = LinearConfig::new(15, 6).init(device);
        first.bias = first.bias.map(|bias| bias.set_require_grad(false));
        Own { first, norm: BatchNormConfig::new(6).init(device), last: LinearConfig::new(6, 10).init(device) }
    })
    .unwrap();
    let plain = CASES[2].models().into_iter().nth(1).expect("the model through Burn");
    for accelerator in accelerators() {
        for (name, model) in [("own", &own as &dyn Model), ("plain", &*plain)] {
            let (start, rows, data) = (model.initial_weights(5).unwrap(), rows(), CASES[2].data());
            let slope = model.initial_weights(6).unwrap();
            let slots = [Term::Linear { scale: -0.25, slot: &slope[..] }, Term::ProxToward { mu: 0.1, toward: &slope }];
            let mut alone = model.trainer(data.clone()).unwrap();
            let mut stack = model.stack_trainer(data, &accelerator).unwrap();
            assert_eq!(stack.capacity(10, true), 1);
            let changed = CHANGES.map(|(name, change)| (name, task(&start, &rows, 8, change)));
            let slots = ("slots", LocalTask { terms: &slots, ..task(&start, &rows, 8, |_| ()) });
            for (change, task) in changed.into_iter().chain([slots]) {
                // Statistics of one row are none.
                let task = LocalTask { batch_size: task.batch_size.max(4), rows: &rows[..40], ..task };
                let what = format!("{name}, {change} on {}", accelerator.name());
                let ours = train_stack(&mut *stack, std::slice::from_ref(&task)).remove(0);
                agree(&what, model, &start, [&ours, &train(&mut *alone, &task)], 2e-4);
                let lists = [(Part::Test, &rows[..]), (Part::Train, &rows[..7])];
                for ((part, rows), score) in lists.iter().zip(stack.evaluate(&ours.0, &lists).unwrap()) {
                    let theirs = alone.evaluate(&ours.0, *part, rows).unwrap();
                    assert_eq!((score.correct, score.rows), (theirs.correct, theirs.rows), "{what}");
                    assert!((score.loss_sum - theirs.loss_sum).abs() <= 1e-4 * theirs.loss_sum, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_stack_is_as_large_as_the_memory_allows_and_never_empty() {
    let capacity = |case: &Case, memory_mib, batch_size, terms| {
        let [model, _] = case.models();
        let accelerator = Accelerator::processor(memory_mib);
        model.stack_trainer(case.data(), &accelerator).unwrap().capacity(batch_size, terms)
    };
    let mlp = &CASES[2];
    // 1,286 weights and 2·15 + 4·(33 + 17 + 10) elements a row: 6·1,286 + 10·270 values of 4 bytes in 32 MiB.
    assert_eq!(mlp.models()[0].layout().len(), 15 * 33 + 33 + 33 * 17 + 17 + 17 * 10 + 10);
    assert_eq!(capacity(mlp, 64, 10, false), (32 << 20) / (4 * (6 * 1286 + 2700)));
    assert!(capacity(mlp, 64, 10, true) < capacity(mlp, 64, 10, false));
    assert!(capacity(mlp, 64, 100, false) < capacity(mlp, 64, 10, false));
    assert_eq!(capacity(mlp, 64, usize::MAX, true), 1);
}

#[test]
fn a_model_for_other_data_is_refused_with_both_values() {
    let [mlp, cnn] = [&CASES[2], &CASES[4]];
    let accelerator = Accelerator::processor(64);
    let error = mlp.models()[0].stack_trainer(cnn.data(), &accelerator).err().expect("refused");
    assert!(["15 values", "`odd cnn` has 81"].iter().all(|word| error.to_string().contains(word)), "{error}");
}

#[cfg(feature = "gpu")]
#[test]
fn a_software_rasterizer_is_used_by_its_index_alone_and_an_absent_adapter_is_refused() {
    let open = |index| Accelerator::open(DeviceChoice::Gpu(index), 64);
    let absent = open(Some(60_000)).err().expect("nobody has so many").to_string();
    assert!(absent.contains("gpu:60000") || absent.contains("no GPU was found"), "{absent}");
    match open(None) {
        Ok(found) => {
            let name = found.expect("not the CPU").name().to_lowercase();
            assert!(!["llvmpipe", "swiftshader", "basic render"].iter().any(|soft| name.contains(soft)), "{name}");
        }
        Err(error) => assert!(error.to_string().contains("no GPU was found"), "{error}"),
    }
}
