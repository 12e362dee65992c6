//! Stacks held to the plan, and modules on a device to the Burn trainer: on the processor, and on a GPU in a build that
//! reaches one.

#[cfg(feature = "gpu")]
use super::replay::{FEWEST_TO_RECORD, records, repeat};
use super::{Accelerator, StackTrainer, guarded};
#[cfg(feature = "gpu")]
use crate::config::DeviceChoice;
use crate::config::ModelName;
use crate::error::{Fault, Kind};
use crate::train::plan::tests::{CASES, CHANGES, Case, Stack, near, rows, task, train};
use crate::train::{BatchOrder, BurnModel, LocalModel, LocalReport, LocalTask, Model, Part, Term};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
#[cfg(feature = "gpu")]
use burn::tensor::{Device, TensorData};
use burn::tensor::{Int, Tensor};

/// Enough for all clients of a test at once.
fn accelerators() -> Vec<Accelerator> {
    Accelerator::all_for_tests(256)
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

/// Takes 20 steps of batch normalisation with momentum at a lower rate, at which losses fall from the first epoch on.
///
/// At 0.05 with momentum 0.9 they rise at first, and in the eighth step of the oblong model a unit of the hidden layer
/// lies within rounding of where ReLU bends. The weights of lavapipe and of the processor, until then 7e-7 of the
/// update apart, have gradients 5e-2 apart there, also if the processor computes both; at the same weights the two
/// devices' gradients are 7e-7 apart. On the processor alone, 1 in 60 random moves of its weights by 1e-6 crosses the
/// bend as well. After 20 steps losses were 8e-5 and updates 4e-3 apart; at 0.01 they are 4e-8 and 6e-7.
fn calm(case: &Case, task: &mut LocalTask<'_>) {
    if case.model == ModelName::CnnBn && task.steps > 1 && task.momentum > 0.0 {
        task.learning_rate = 0.01;
    }
}

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
                    let mut task = task(&start, &rows, steps, change);
                    calm(case, &mut task);
                    let theirs = train(&mut *plan, &task);
                    let ours = train_stack(&mut *stack, std::slice::from_ref(&task)).remove(0);
                    agree(&what, &*model, &start, [&ours, &theirs], tolerance);
                }
            }
        }
    }
}

#[test]
fn each_term_of_a_local_plan_alone_equals_the_plan() {
    for accelerator in accelerators() {
        for case in &CASES {
            let [model, _] = case.models();
            let (start, rows, data) = (model.initial_weights(5).unwrap(), rows(), case.data());
            let [toward, slot] = [6, 7].map(|seed| model.initial_weights(seed).unwrap());
            let terms: [Term<&[f32]>; 6] = [
                Term::Prox { mu: 0.5 },
                Term::ProxToward { mu: 0.5, toward: &toward },
                Term::Linear { scale: -0.25, slot: &slot },
                Term::L2 { lambda: 0.1 },
                Term::ClipGrad { max_norm: 0.1 },
                Term::LearningRateScale { factor: 0.25 },
            ];
            let mut plan = model.trainer(data.clone()).unwrap();
            let mut stack = model.stack_trainer(data, &accelerator).unwrap();
            let free = train_stack(&mut *stack, &[task(&start, &rows, 20, |_| ())]).remove(0).0;
            for term in &terms {
                let what = format!("{}, {} on {}", case.name, name(term), accelerator.name());
                for (steps, tolerance) in TOLERANCES {
                    let task = LocalTask { terms: std::slice::from_ref(term), ..task(&start, &rows, steps, |_| ()) };
                    let ours = train_stack(&mut *stack, std::slice::from_ref(&task)).remove(0);
                    agree(&what, &*model, &start, [&ours, &train(&mut *plan, &task)], tolerance);
                    assert!(steps == 1 || ours.0 != free, "{what}: the term changes nothing");
                }
            }
        }
    }
}

fn name(term: &Term<&[f32]>) -> &'static str {
    match term {
        Term::Prox { .. } => "prox",
        Term::ProxToward { .. } => "prox toward a slot",
        Term::Linear { .. } => "linear",
        Term::L2 { .. } => "L2",
        Term::ClipGrad { .. } => "clipping",
        Term::LearningRateScale { .. } => "learning-rate scale",
    }
}

#[test]
fn weights_stay_where_the_learning_rate_is_zero_clipped_or_not() {
    for accelerator in accelerators() {
        let [model, _] = CASES[0].models();
        let (start, rows) = (model.initial_weights(5).unwrap(), rows());
        let mut stack = model.stack_trainer(CASES[0].data(), &accelerator).unwrap();
        let still = |terms| LocalTask { learning_rate: 0.0, terms, ..task(&start, &rows, 3, |_| ()) };
        let tasks = [still(&[Term::ClipGrad { max_norm: 0.1 }]), still(&[])];
        assert!(
            train_stack(&mut *stack, &tasks).iter().all(|(weights, _)| *weights == start),
            "{}",
            accelerator.name()
        );
    }
}

#[test]
fn convolutions_of_all_kinds_equal_the_plan() {
    for accelerator in accelerators() {
        let case = Case { name: "stack", sample: &[2, 7, 11], classes: 3, ..CASES[5] };
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
        for case in [&CASES[0], &CASES[1], &CASES[2], &CASES[5]] {
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
            // Hostile clients stand beside honest ones.
            let classes = case.data().num_classes as u32;
            let flipped: Vec<u32> = (0..classes).rev().collect();
            let tasks: Vec<LocalTask<'_>> = (0..5)
                .map(|i| LocalTask {
                    rows: &shares[i],
                    relabel: [None, Some(&flipped[..]), None, None, Some(&flipped)][i],
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
#[cfg(feature = "gpu")]
fn a_repeated_step_is_recorded_and_taken_as_often_as_asked() {
    let Some(accelerator) = Accelerator::gpu_for_tests(256) else { return };
    assert!(accelerator.replays, "{}", accelerator.name());
    let (mut sum, mut calls) = (Tensor::<1>::zeros([3], &accelerator.device), 0);
    // SAFETY: the sum is held here alone and changes in place; nothing else is read.
    let recorded = unsafe {
        repeat(&accelerator.device, FEWEST_TO_RECORD, &mut sum, |sum| {
            calls += 1;
            sum.inplace(|sum| sum.add_scalar(1.0));
        })
    };
    assert!(recorded, "{}", accelerator.name());
    let sum = sum.try_into_data().unwrap();
    assert_eq!(sum.as_slice::<f32>().unwrap(), [FEWEST_TO_RECORD as f32; 3], "{}", accelerator.name());
    assert!(calls < FEWEST_TO_RECORD, "{}: {calls} calls", accelerator.name());
}

#[test]
#[cfg(feature = "gpu")]
fn recorded_steps_give_the_bits_of_launched_ones_after_a_leaving_too() {
    let Some(accelerator) = Accelerator::gpu_for_tests(256) else { return };
    let case = &CASES[2];
    let [model, _] = case.models();
    let (start, rows) = (model.initial_weights(5).unwrap(), rows());
    // Windows of 64 steps at most: the last begins when one member has left.
    let tasks = [100, 70, 3].map(|steps| task(&start, &rows, steps, |task| task.momentum = 0.9));
    let trained = |replays| {
        let mut accelerator = accelerator.clone();
        accelerator.replays = replays;
        train_stack(&mut *model.stack_trainer(case.data(), &accelerator).unwrap(), &tasks)
    };
    assert!(trained(true) == trained(false), "{}, {}", case.name, accelerator.name());
}

/// What descent with momentum changes.
#[derive(Clone)]
#[cfg(feature = "gpu")]
struct Moving {
    weight: Tensor<1>,
    /// Absent before the first step.
    velocity: Option<Tensor<1>>,
    sum: Tensor<1>,
}

#[cfg(feature = "gpu")]
impl Moving {
    fn new(device: &Device) -> Self {
        let start = Tensor::from_data([0.3, -1.7, 1e-3], device);
        Moving { sum: start.zeros_like(), weight: start, velocity: None }
    }

    /// Takes a factor from the host, which a recording through wgpu refuses.
    fn step(&mut self) {
        let factor = Tensor::from_data([0.1, 0.2, 0.3], &self.weight.device());
        let slope = self.weight.clone() * factor;
        let velocity = match self.velocity.take() {
            Some(velocity) => velocity.mul_scalar(0.9) + slope,
            None => slope,
        };
        self.velocity = Some(velocity.clone());
        self.weight.inplace(|weight| weight - velocity);
        self.sum.inplace(|sum| sum + self.weight.clone());
    }

    fn read(self) -> [TensorData; 3] {
        [Some(self.weight), self.velocity, Some(self.sum)]
            .map(|tensor| tensor.expect("after a step").try_into_data().expect("nothing of it is unreadable"))
    }
}

#[test]
#[cfg(feature = "gpu")]
fn steps_that_the_device_refuses_to_record_give_the_bits_of_launched_ones() {
    // The processor records nothing, a GPU not this step.
    for accelerator in [Accelerator::processor(256)].into_iter().chain(Accelerator::gpu_for_tests(256)) {
        let device = &accelerator.device;
        let (mut launched, mut refused) = (Moving::new(device), Moving::new(device));
        (0..FEWEST_TO_RECORD).for_each(|_| launched.step());
        // SAFETY: nothing is replayed that was not recorded; what a step takes from the host keeps it from that.
        let recorded = unsafe { repeat(device, FEWEST_TO_RECORD, &mut refused, Moving::step) };
        assert!(!recorded, "{}", accelerator.name());
        assert!(launched.read() == refused.read(), "{}", accelerator.name());
        // The device records on.
        assert_eq!(records(device), accelerator.replays, "{}", accelerator.name());
    }
}

#[test]
fn a_stack_whose_steps_cannot_be_recorded_trains_on_and_says_so_once() {
    let case = &CASES[2];
    let [model, _] = case.models();
    let (start, rows) = (model.initial_weights(5).unwrap(), rows());
    let tasks = [100, 70, 3].map(|steps| task(&start, &rows, steps, |task| task.momentum = 0.9));
    // The processor records nothing.
    let stack = |replays| {
        let mut accelerator = Accelerator::processor(256);
        accelerator.replays = replays;
        model.stack_trainer(case.data(), &accelerator).unwrap()
    };
    let [mut refused, mut launched] = [true, false].map(stack);
    let expected = train_stack(&mut *launched, &tasks);
    assert!(launched.warnings().is_empty());
    for said in [1, 0] {
        assert!(train_stack(&mut *refused, &tasks) == expected);
        let warnings = refused.warnings();
        assert_eq!(warnings.len(), said, "{warnings:?}");
        assert!(warnings.iter().all(|line| line.contains("the processor") && line.contains("slower")));
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
            assert_eq!(stack.capacity(10, true).unwrap(), 1);
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
fn a_stack_is_as_large_as_the_memory_allows() {
    let capacity = |case: &Case, memory_mib, batch_size, terms| {
        let [model, _] = case.models();
        let accelerator = Accelerator::processor(memory_mib);
        model.stack_trainer(case.data(), &accelerator).unwrap().capacity(batch_size, terms)
    };
    let fits = |batch_size, terms| capacity(&CASES[2], 64, batch_size, terms).unwrap();
    // 1,286 weights and 2·15 + 4·(33 + 17 + 10) elements a row: 6·1,286 + 10·270 values of 4 bytes in 24 MiB.
    assert_eq!(CASES[2].models()[0].layout().len(), 15 * 33 + 33 + 33 * 17 + 17 + 17 * 10 + 10);
    assert_eq!(fits(10, false), (24 << 20) / (4 * (6 * 1286 + 2700)));
    assert!(fits(10, true) < fits(10, false) && fits(100, false) < fits(10, false));
    assert_eq!(capacity(&CASES[0], 1 << 20, 1, false).unwrap(), 4096, "a launch enumerates no more");
    // 20,000 rows: 4·(6·1,286 + 20,000·270) bytes are 20.6 MiB, 25,000 are 25.8 MiB of 24, which needs 68.8.
    assert_eq!(fits(20_000, false), 1);
    let refused = capacity(&CASES[2], 64, 25_000, false).unwrap_err().to_string();
    let words = ["`host.device-memory = 64`", "batches of 25000", "about 26 MiB", "at least 69", "train.batch-size"];
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    assert!(capacity(&CASES[2], 69, 25_000, false).is_ok());
    // A buffer of the processor holds 128 MiB, which is 1,016,800 rows of 33 values.
    let refused = capacity(&CASES[2], 1 << 20, 1_016_801, false).unwrap_err().to_string();
    let words = ["the processor", "batches of 1016801", "buffer of 129 MiB", "hold 128", "--device cpu"];
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    assert!(capacity(&CASES[2], 1 << 20, 1_016_800, false).is_ok());
}

/// Buffers that nobody uses any more count as well: the device holds them for the next ones.
#[cfg(feature = "gpu")]
#[test]
#[ignore = "counts all buffers of the process: run it alone"]
fn training_and_evaluation_keep_to_the_memory_that_they_are_given() {
    // Each evaluation takes more than one pass.
    let cases: [(&str, usize, ModelName, &[usize], u32); 2] =
        [("mlp", 64, ModelName::Mlp, &[200, 200], 2100), ("cnn", 256, ModelName::Cnn, &[], 40)];
    for (name, memory_mib, model, hidden, evaluated) in cases {
        let case = Case { name, model, hidden, sample: &[1, 28, 28], classes: 10, sparse: false };
        let (model, data, rows) = (case.models()[0].clone(), case.data(), rows());
        let start = model.initial_weights(5).unwrap();
        let Some(accelerator) = Accelerator::gpu_for_tests(memory_mib) else { continue };
        let mut stack = model.stack_trainer(data.clone(), &accelerator).unwrap();
        let clients = stack.capacity(10, true).unwrap();
        let terms = [Term::ProxToward { mu: 0.5, toward: &start[..] }, Term::ClipGrad { max_norm: 1.0 }];
        let steps = FEWEST_TO_RECORD as u64;
        let task = LocalTask { terms: &terms, momentum: 0.9, ..task(&start, &rows, steps, |_| ()) };
        train_stack(&mut *stack, &vec![task; clients]);
        let all: Vec<u32> = (0..evaluated).map(|i| i % 100).collect();
        stack.evaluate(&start, &[(Part::Test, &all)]).unwrap();
        let usage = accelerator.device.memory_pool_usage().expect("the device counts its buffers");
        let reserved = usage.bytes_reserved >> 20;
        println!("{} {clients} clients of {} weights: {reserved} of {memory_mib} MiB", case.name, start.len());
        assert!(reserved <= memory_mib as u64, "{usage:?}");
    }
}

#[test]
fn a_device_that_gives_up_is_an_error_with_the_innermost_cause() {
    let accelerator = Accelerator::processor(64);
    let nested = "An error happened\nCaused by:\n  A launch error\nCaused by:\n  no libdevice\nBacktrace:\n  none\n";
    let ways: [fn(&str) -> anyhow::Result<()>; 2] = [|text| Err(anyhow::anyhow!("{text}")), |text| panic!("{text}")];
    for gives_up in ways {
        let error = guarded(&accelerator, || gives_up(nested)).unwrap_err();
        assert_eq!(error.downcast_ref::<Fault>().map(|fault| fault.kind), Some(Kind::Data));
        assert!(error.to_string().starts_with("computing on the processor — no libdevice; if"), "{error}");
    }
}

#[test]
fn a_model_for_other_data_is_refused_with_both_values() {
    let [mlp, cnn] = [&CASES[2], &CASES[5]];
    let accelerator = Accelerator::processor(64);
    let error = mlp.models()[0].stack_trainer(cnn.data(), &accelerator).err().expect("refused");
    assert!(["15 values", "`odd cnn` has 81"].iter().all(|word| error.to_string().contains(word)), "{error}");
}

#[cfg(feature = "gpu")]
#[test]
fn a_software_rasterizer_is_used_by_its_index_alone_and_an_absent_adapter_is_refused() {
    let open = |index| Accelerator::open(DeviceChoice::Gpu(index), 64);
    let absent = open(Some(60_000)).expect_err("nobody has so many").to_string();
    assert!(absent.contains("gpu:60000") || absent.contains("no GPU was found"), "{absent}");
    match open(None) {
        Ok(found) => {
            let name = found.expect("not the CPU").name().to_lowercase();
            assert!(!["llvmpipe", "swiftshader", "basic render"].iter().any(|soft| name.contains(soft)), "{name}");
        }
        Err(error) => assert!(error.to_string().contains("no GPU was found"), "{error}"),
    }
}
