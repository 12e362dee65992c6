//! Blank inputs left out: the same results as with all inputs read.

use super::{Case, all_registers, rows, task, train};
use crate::data::{Dataset, Features};
use crate::registers::Registers;
use crate::train::plan::{Layer, Layers, PlanTrainer, active};
use crate::train::{Layout, LocalTask, Part, TensorInfo, TensorRole, Trainer};
use std::sync::Arc;

/// 300 inputs into panels that are whole and one that is narrow.
const OUTPUTS: usize = 2 * 16 + 5;
const CASE: &Case = &super::CASES[4];

fn data(shift: f32) -> Arc<Dataset> {
    let mut data = Arc::unwrap_or_clone(CASE.data());
    for examples in [&mut data.train, &mut data.test] {
        let Features::U8 { shift: of_pixels, .. } = &mut examples.features else { unreachable!("pixels are bytes") };
        *of_pixels = shift;
    }
    Arc::new(data)
}

fn layers() -> Layers {
    let hidden = Layers::features(300).then(Layer::Linear { outputs: OUTPUTS }).then(Layer::Relu);
    hidden.then(Layer::Linear { outputs: 10 })
}

/// A trainer that leaves blanks out and one that reads them.
fn trainers(shift: f32) -> (Vec<f32>, [PlanTrainer; 2]) {
    let shape = vec![300 * OUTPUTS + OUTPUTS + OUTPUTS * 10 + 10];
    let start: Vec<f32> = (0..shape[0]).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-4).collect();
    let layout =
        Layout { tensors: vec![TensorInfo { name: "all".into(), shape, role: TensorRole::Weight, offset: 0 }] };
    let trainers = [true, false].map(|sparse| {
        let mut plan = PlanTrainer::new(&layers(), &layout, data(shift)).unwrap();
        assert!(plan.sparse, "two thirds of the pixels are blank in most batches");
        plan.sparse = sparse;
        plan
    });
    (start, trainers)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn without_a_shift_no_bit_changes() {
    let (start, mut plans) = trainers(0.0);
    let rows = rows();
    for change in [(|_| ()) as super::Change, |task| task.batch_size = 1, |task| task.batch_size = 41] {
        let task = task(&start, &rows, 20, change);
        let [(ours, report), (theirs, expected)] = plans.each_mut().map(|plan| train(plan, &task));
        assert_eq!(bits(&ours), bits(&theirs));
        assert_eq!(report, expected);
        assert!(ours != start);
        let [ours, theirs] = plans.each_mut().map(|plan| plan.evaluate(&start, Part::Test, &rows).unwrap());
        assert_eq!(ours, theirs);
    }
}

#[test]
fn data_kept_as_floats_gives_the_bits_of_bytes() {
    let (start, [mut ours, mut theirs]) = (trainers(0.0).0, [trainers(0.0).1, trainers(0.0).1].map(|[plan, _]| plan));
    let rows = rows();
    let task = task(&start, &rows, 20, |_| ());
    let expected = train(&mut theirs, &task);
    for (in_training, in_test) in [(true, false), (false, true), (true, true)] {
        let mut mixed = Arc::unwrap_or_clone(data(0.0));
        for (examples, as_floats) in [(&mut mixed.train, in_training), (&mut mixed.test, in_test)] {
            if as_floats {
                let mut values = vec![0.0; examples.len() * 300];
                let all: Vec<u32> = (0..examples.len() as u32).collect();
                examples.features.gather(&all, 300, &mut values);
                examples.features = Features::F32(values);
            }
        }
        assert!(active::pays(&mixed.train.features, mixed.train.len(), 300));
        ours.data = Arc::new(mixed);
        assert_eq!(train(&mut ours, &task), expected);
        let [ours, theirs] = [&mut ours, &mut theirs].map(|plan| plan.evaluate(&start, Part::Test, &rows).unwrap());
        assert_eq!(ours, theirs);
    }
}

#[test]
fn logistic_regression_scores_the_same_whatever_is_left_out() {
    let layers = Layers::features(300).then(Layer::Linear { outputs: 10 });
    let start: Vec<f32> = (0..3010).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-4).collect();
    let tensor = TensorInfo { name: "all".into(), shape: vec![3010], role: TensorRole::Weight, offset: 0 };
    let layout = Layout { tensors: vec![tensor] };
    for shift in [0.0, -0.42] {
        let bytes = data(shift);
        let mut floats = Arc::unwrap_or_clone(bytes.clone());
        let mut values = vec![0.0; floats.test.len() * 300];
        let all: Vec<u32> = (0..floats.test.len() as u32).collect();
        floats.test.features.gather(&all, 300, &mut values);
        floats.test.features = Features::F32(values);
        let score = |data: Arc<Dataset>, rows: &[u32]| {
            PlanTrainer::new(&layers, &layout, data).unwrap().evaluate(&start, Part::Test, rows).unwrap()
        };
        let (ours, theirs) = (score(bytes.clone(), &all), score(Arc::new(floats), &all));
        assert_eq!(ours.correct, theirs.correct);
        let difference = (ours.loss_sum - theirs.loss_sum).abs();
        assert!(difference <= if shift == 0.0 { 0.0 } else { 1e-6 * theirs.loss_sum }, "shift {shift}: {difference}");
        // No sample's score depends on those beside it.
        let alone: f64 = all.iter().map(|&row| score(bytes.clone(), &[row]).loss_sum).sum();
        assert_eq!(alone, ours.loss_sum);
    }
}

#[test]
#[should_panic(expected = "weights are received before they are scored")]
fn weights_that_were_trained_are_not_scored_unless_they_are_received() {
    let (start, [mut plan, _]) = trainers(-0.42);
    let rows = rows();
    plan.evaluate(&start, Part::Test, &rows).unwrap();
    train(&mut plan, &task(&start, &rows, 1, |_| ()));
    let _ = plan.score(Part::Test, &rows);
}

#[test]
fn with_a_shift_many_steps_end_within_rounding() {
    let (start, mut plans) = trainers(-0.42);
    let rows = rows();
    // So many steps that what all rows share is summed anew on the way.
    let task = task(&start, &rows, 700, |task| task.learning_rate = 0.01);
    let [(ours, report), (theirs, expected)] = plans.each_mut().map(|plan| train(plan, &task));
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let update = start.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 0.0 && difference < 1e-4 * update, "off by {difference} in an update of {update}");
    assert!((report.loss - expected.loss).abs() < 1e-6 * expected.loss, "{} and {}", report.loss, expected.loss);
}

#[test]
fn a_batch_without_a_single_mark_trains_the_biases_and_what_all_rows_share() {
    for shift in [0.0, -0.42] {
        let mut blank = Arc::unwrap_or_clone(data(shift));
        let Features::U8 { values, .. } = &mut blank.train.features else { unreachable!("pixels are bytes") };
        // The rows that are looked at to tell whether data is sparse are the first ones; all of them are blank now.
        values.fill(0);
        let blank = Arc::new(blank);
        let (start, mut plans) = trainers(shift);
        plans.iter_mut().for_each(|plan| plan.data = blank.clone());
        let rows = rows();
        let task = task(&start, &rows, 5, |_| ());
        let [(ours, report), (theirs, expected)] = plans.each_mut().map(|plan| train(plan, &task));
        let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference <= if shift == 0.0 { 0.0 } else { 1e-6 }, "shift {shift}: off by {difference}");
        assert!((report.loss - expected.loss).abs() < 1e-6 * expected.loss);
    }
}

#[test]
fn every_width_of_registers_gives_the_same_bits() {
    let rows = rows();
    let results: Vec<_> = all_registers().into_iter().map(|registers| on(registers, &rows)).collect();
    for (registers, result) in all_registers().into_iter().zip(&results) {
        assert!(*result == results[0], "{registers:?} differs from the machine's own registers");
    }
}

fn on(registers: Registers, rows: &[u32]) -> (Vec<u32>, u64, u64) {
    let (start, [mut plan, _]) = trainers(-0.42);
    plan.network.registers = registers;
    let (weights, report) = train(&mut plan, &task(&start, rows, 6, |_| ()));
    let score = plan.evaluate(&weights, Part::Test, rows).unwrap();
    (bits(&weights), report.loss.to_bits(), score.loss_sum.to_bits())
}

#[test]
fn a_client_is_the_same_after_one_whose_steps_read_all_inputs() {
    let (start, [mut plan, _]) = trainers(-0.42);
    let rows = rows();
    let plain = task(&start, &rows, 7, |_| ());
    let first = train(&mut plan, &plain);
    train(&mut plan, &LocalTask { momentum: 0.9, ..plain.clone() });
    assert_eq!(first, train(&mut plan, &plain));
}

#[test]
fn bytes_are_picked_where_they_lie_as_floats_are_from_a_batch() {
    let data = data(0.0);
    let (features, width, last) = (&data.train.features, data.width(), data.train.len() as u32 - 1);
    let bytes = features.bytes(width).unwrap();
    // Behind the last sample there is nothing that could be read with it.
    for rows in [&[3, last, 0][..], &[last], &[1, 2, 3, 4, 5, 6, 7]] {
        let [mut ours, mut theirs] = [active::Active::default(), active::Active::default()];
        let mut values = vec![0.0; rows.len() * width + active::ROOM];
        features.gather(rows, width, &mut values[..rows.len() * width]);
        theirs.pick(&values, rows.len(), width);
        ours.pick_bytes(bytes, [rows, &[last]]);
        let [ours, theirs] = [&ours, &theirs].map(|active| {
            let columns = active.columns(0..active.len());
            (columns.meets.to_vec(), bits(&columns.values[..rows.len() * active.len()]))
        });
        assert!(!ours.0.is_empty() && ours.0.len() < width);
        assert_eq!(ours, theirs);
    }
}

#[test]
fn data_without_blanks_is_read_whole() {
    let dense = super::CASES[2].data();
    assert!(!active::pays(&dense.train.features, dense.train.len(), dense.width()));
    let sparse = CASE.data();
    assert!(active::pays(&sparse.train.features, sparse.train.len(), sparse.width()));
    assert!(!active::pays(&sparse.train.features, 9, sparse.width()), "fewer rows than a batch tell nothing");
}
