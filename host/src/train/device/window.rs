//! Batches of several steps of a stack, uploaded together: one transfer and one gathering kernel for all of them.
//!
//! Where in the flow: between the clients' orders of rows and the first layer of each step.
//! What it never does: let a missing row count. Clients with a smaller batch, or none any more, have rows of weight 0.

use super::Accelerator;
use super::rows::Rows;
use crate::train::batch_order::Batches;
use crate::train::relabel::taken_for;
use crate::train::{LocalReport, Part, Relabel};
use burn::tensor::{Int, Tensor, TensorData};

/// A client of a stack on its way through its batches.
pub struct Member<'a> {
    pub batches: Batches<'a>,
    pub relabel: Relabel<'a>,
    pub steps: u64,
    pub learning_rate: f64,
    pub report: LocalReport,
}

/// One step's batches.
pub struct Step {
    /// Features, [G, B, row].
    pub x: Tensor<3>,
    /// One-hot labels [G, B, outputs], or labels [G, B, 1] for one output.
    pub targets: Tensor<3>,
    /// Each row's share in its client's step: learning rate / rows of the batch, 0 for a row that is not there. [G, B, 1]
    pub scale: Tensor<3>,
    /// 1 for rows that are there, else 0. [G, B, 1]
    pub counted: Tensor<3>,
    /// 0 for clients to be held, 1 for the others, [G, 1, 1], or `None` if all move.
    pub moves: Option<Tensor<3>>,
}

/// Some steps of a stack.
pub struct Window {
    /// How many.
    pub steps: usize,
    /// [steps, G, B, …] each.
    x: Tensor<4>,
    targets: Tensor<4>,
    scale: Tensor<4>,
    counted: Tensor<4>,
    moves: Option<Tensor<4>>,
}

impl Window {
    /// The next `steps` steps of `members`, whose batches have at most `batch` rows; their reports count them.
    ///
    /// `drifts`: whether weights move without a gradient, so that members that are done must be held.
    pub fn new(
        members: &mut [Member<'_>],
        steps: usize,
        [batch, outputs]: [usize; 2],
        drifts: bool,
        rows: &mut Rows,
        accelerator: &Accelerator,
    ) -> Self {
        let places = steps * members.len() * batch;
        let (mut numbers, mut labels) = (Vec::with_capacity(places), Vec::with_capacity(places));
        let (mut scale, mut counted) = (Vec::with_capacity(places), Vec::with_capacity(places));
        let mut moves = Vec::with_capacity(steps * members.len());
        for _ in 0..steps {
            for member in members.iter_mut() {
                let goes_on = member.report.steps < member.steps;
                let there = if goes_on { member.batches.next_batch() } else { &[] };
                moves.push(if goes_on { 1.0 } else { 0.0 });
                if !there.is_empty() {
                    member.report.steps += 1;
                    member.report.examples += there.len() as u64;
                    member.report.lr_sum += member.learning_rate;
                }
                let share = (member.learning_rate / there.len().max(1) as f64) as f32;
                numbers.extend_from_slice(there);
                let true_labels = rows.labels(Part::Train, there).into_iter();
                labels.extend(true_labels.map(|label| taken_for(label, member.relabel)));
                scale.resize(scale.len() + there.len(), share);
                counted.resize(counted.len() + there.len(), 1.0f32);
                let missing = batch - there.len();
                numbers.resize(numbers.len() + missing, 0);
                labels.resize(labels.len() + missing, 0);
                scale.resize(scale.len() + missing, 0.0);
                counted.resize(counted.len() + missing, 0.0);
            }
        }
        let targets = targets(&labels, outputs);
        let held = drifts && moves.contains(&0.0);
        let clients = members.len();
        let upload = |values, shape: [usize; 4]| Tensor::from_data(TensorData::new(values, shape), &accelerator.device);
        let x = rows.gather(Part::Train, &numbers);
        let row = x.dims()[1];
        Window {
            steps,
            x: x.reshape([steps, clients, batch, row]),
            targets: upload(targets, [steps, clients, batch, outputs]),
            scale: upload(scale, [steps, clients, batch, 1]),
            counted: upload(counted, [steps, clients, batch, 1]),
            moves: held.then(|| upload(moves, [steps, clients, 1, 1])),
        }
    }

    /// The step at position `at`.
    pub fn step(&self, at: usize) -> Step {
        self.cut(|all| all.narrow(0, at, 1))
    }

    /// The step at the position that `at` [1] holds on the device.
    pub fn step_at(&self, at: &Tensor<1, Int>) -> Step {
        self.cut(|all| all.select(0, at.clone()))
    }

    fn cut(&self, one: impl Fn(Tensor<4>) -> Tensor<4>) -> Step {
        let of = |all: &Tensor<4>| {
            let [_, clients, rows, width] = all.dims();
            one(all.clone()).reshape([clients, rows, width])
        };
        Step {
            x: of(&self.x),
            targets: of(&self.targets),
            scale: of(&self.scale),
            counted: of(&self.counted),
            moves: self.moves.as_ref().map(of),
        }
    }
}

fn targets(labels: &[u32], outputs: usize) -> Vec<f32> {
    if outputs == 1 {
        return labels.iter().map(|&label| label as f32).collect();
    }
    let mut targets = vec![0.0; labels.len() * outputs];
    for (&label, target) in labels.iter().zip(targets.chunks_exact_mut(outputs)) {
        target[label as usize] = 1.0;
    }
    targets
}
