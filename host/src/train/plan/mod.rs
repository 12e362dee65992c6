//! The plan: a model that is a list of known layers, trained on the CPU by code of our own.
//!
//! ```text
//! start ──▶ plan's order ──▶ [ gather ▶ forward ▶ loss ▶ backward, updating layer by layer ] × steps ──▶ flat order ──▶ out
//! ```
//! Where in the flow: one per agent, in the place of a [`BurnTrainer`](super::BurnTrainer); the Burn module stays the
//! definition, and tests hold the plan to it. All buffers live as long as the agent. What it never does: use more than
//! the calling thread, draw at random, or carry anything from one task to the next.

mod active;
mod conv;
mod layers;
mod learner;
mod linear;
mod marked;
mod network;
mod norm;
mod operands;
mod order;
mod patches;
mod pool;
mod pooled;
mod scratch;
mod side_by_side;
mod squares;
#[cfg(test)]
pub(super) mod tests;
mod tile;

pub use layers::{Layer, Layers, Shape};
pub use order::Order;

use super::batch_order::Batches;
use super::classification::{AT_A_TIME, is_hit, losses_side_by_side, on_grid, row_loss};
use super::relabel::taken_for;
use super::sgd::Update;
use super::{Layout, LocalReport, LocalTask, Part, Relabel, Score, Term, Trainer};
use crate::data::Dataset;
use crate::error::{Fault, Kind};
use anyhow::Result;
use learner::Learner;
use network::{Network, Reading};
use norm::Statistics;
use std::sync::Arc;
use tile::WIDTH;

/// A compiled list of layers with its buffers on one core.
pub struct PlanTrainer {
    network: Network,
    data: Arc<Dataset>,
    /// P in the plan's order, and room for a panel's width behind them.
    weights: Vec<f32>,
    /// P in the plan's order where a proximal term pulls back to them, else empty.
    received: Vec<f32>,
    /// For each term of a task the slot that it needs, P values in the plan's order, or what an earlier task left.
    slots: Vec<Vec<f32>>,
    /// P with momentum, else empty or not read.
    velocity: Vec<f32>,
    /// P where gradients are clipped, else empty or not read.
    gradient: Vec<f32>,
    labels: Vec<u32>,
    /// Whether enough inputs are blank in whole batches of this data, and the first layer gains from leaving them out.
    sparse: bool,
    /// Whether a part of this data is shifted.
    shifted: bool,
    /// Whether the weights are those received last, and nothing was trained since.
    measured: bool,
}

/// Samples that are evaluated together, on which no sample's logits depend if weights are finite: a multiple of every
/// tile's height, and so few that what goes into a linear layer mostly stays in the second-level cache.
const EVALUATED_TOGETHER: usize = 60;
/// Fewer where blank inputs are left out: more are blank in a small batch.
const EVALUATED_WITHOUT_BLANKS: usize = 10;
const _: () = assert!(WIDTH == AT_A_TIME, "the logits of a panel's samples are a group of rows side by side");

/// That a model made for samples and outputs of these sizes suits the data.
pub(super) fn check_data(made_for: [usize; 2], data: &Dataset) -> Result<()> {
    let found = [data.width(), data.num_outputs()];
    if made_for == found {
        return Ok(());
    }
    let message = format!(
        "model: it was made for samples of {} values and {} outputs, `{}` has {} and needs {}; make it for this data",
        made_for[0], made_for[1], data.name, found[0], found[1]
    );
    Err(Fault::new(Kind::Config, message))
}

impl PlanTrainer {
    /// Errors: `Kind::Config` if the data's samples or classes are not those that the model was made for.
    pub fn new(layers: &Layers, layout: &Layout, data: Arc<Dataset>) -> Result<Self> {
        let network = Network::new(layers);
        check_data([network.inputs(), network.outputs()], &data)?;
        let sparse = network.gains_from_blanks() && active::pays(&data.train.features, data.train.len(), data.width());
        let shifted = [&data.train, &data.test].iter().any(|examples| examples.features.shift() != 0.0);
        Ok(PlanTrainer {
            network,
            sparse,
            shifted,
            measured: false,
            data,
            weights: vec![0.0; layout.len() + WIDTH],
            received: Vec::with_capacity(layout.len()),
            slots: Vec::new(),
            velocity: Vec::new(),
            gradient: Vec::new(),
            labels: Vec::new(),
        })
    }

    /// P.
    fn len(&self) -> usize {
        self.weights.len() - WIDTH
    }

    fn load(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.len(), "weights and model belong together");
        let len = self.len();
        self.network.take_in(weights, &mut self.weights[..len]);
    }

    /// The terms with their slots in the plan's order, which `slots` holds: a buffer a term, kept for the next client.
    fn load_terms<'s>(&self, terms: &[Term<&[f32]>], slots: &'s mut Vec<Vec<f32>>) -> Vec<Term<&'s [f32]>> {
        slots.resize_with(slots.len().max(terms.len()), Vec::new);
        let load = |(term, slot): (&Term<&[f32]>, &'s mut Vec<f32>)| {
            term.map(|flat| {
                assert_eq!(flat.len(), self.len(), "slots and model belong together");
                slot.resize(flat.len(), 0.0);
                self.network.take_in(flat, slot);
                slot.as_slice()
            })
        };
        terms.iter().zip(slots).map(load).collect()
    }

    /// Fills in features and labels of a batch and computes its logits. `next`: rows that will follow.
    fn forward(&mut self, part: Part, [rows, next]: [&[u32]; 2], relabel: Relabel<'_>, statistics: Statistics) {
        let examples = self.data.part(part);
        self.labels.clear();
        self.labels.extend(rows.iter().map(|&row| taken_for(examples.labels[row as usize], relabel)));
        let (registers, width) = (self.network.registers, self.data.width());
        let (features, reading) = (&examples.features, self.network.reading());
        match (reading, features.bytes(width)) {
            (Reading::SideBySide, bytes) => {
                let bytes = bytes.expect("only bytes are transposed");
                return self.network.forward_side_by_side(&self.weights, bytes, rows);
            }
            (Reading::WithoutBlanks, Some(bytes)) => self.network.pick_bytes(bytes, [rows, next]),
            (Reading::WithoutBlanks | Reading::Plain, _) => {
                let place = self.network.features(rows.len());
                registers.run(
                    #[inline(always)]
                    || features.gather_ahead(rows, next, width, place),
                );
                if reading == Reading::WithoutBlanks {
                    self.network.pick(rows.len());
                }
            }
        }
        self.network.forward(&self.weights, rows.len(), statistics);
    }

    /// One step; the sum of the losses of its batch. `next`: rows of the step that may follow.
    fn step(&mut self, [rows, next]: [&[u32]; 2], relabel: Relabel<'_>, update: &Update<'_>) -> f64 {
        self.forward(Part::Train, [rows, next], relabel, Statistics::OfBatch);
        let (registers, outputs) = (self.network.registers, self.network.outputs());
        let (logits, slopes) = self.network.logits_and_slopes(rows.len());
        let scale = 1.0 / rows.len() as f64;
        let mut loss_sum = 0.0;
        registers.run(
            #[inline(always)]
            || {
                let each = logits.chunks_exact(outputs).zip(slopes.chunks_exact_mut(outputs)).zip(&self.labels);
                // A loop, since what `map` calls is a function of its own and would not run in these registers.
                for ((logits, slope), &label) in each {
                    loss_sum += row_loss(logits, label, Some((slope, scale)));
                }
            },
        );
        let PlanTrainer { network, weights, velocity, gradient, .. } = self;
        let mut learner = Learner { registers: network.registers, update, weights, velocity, gradient };
        network.backward(rows.len(), &mut learner);
        learner.finish(network.trained());
        loss_sum
    }
}

impl Trainer for PlanTrainer {
    fn train(&mut self, task: &LocalTask<'_>, out: &mut [f32]) -> Result<LocalReport> {
        self.measured = false;
        self.load(task.start);
        let mut received = std::mem::take(&mut self.received);
        received.clear();
        // Nothing else asks for them.
        if task.terms.iter().any(|term| matches!(term, Term::Prox { .. })) {
            received.extend_from_slice(&self.weights[..self.len()]);
        }
        let mut slots = std::mem::take(&mut self.slots);
        let terms = self.load_terms(task.terms, &mut slots);
        let update = Update::new(&LocalTask { start: &received, terms: &terms, ..task.clone() });
        if update.has_momentum() {
            self.velocity.clear();
            self.velocity.resize(self.len(), 0.0);
        }
        if update.clips() {
            self.gradient.resize(self.len(), 0.0);
        }
        if self.sparse && update.plain_rate().is_some() {
            let shift = self.data.train.features.shift();
            self.network.sum_weight(shift != 0.0, &self.weights);
            self.network.leave_out_blanks(shift);
        }
        let mut batches = Batches::new(task.order, task.rows, task.batch_size);
        let mut report = LocalReport::default();
        for _ in 0..task.steps {
            let (rows, next) = batches.next_two();
            report.loss += self.step([rows, next], task.relabel, &update);
            report.steps += 1;
            report.examples += rows.len() as u64;
            report.lr_sum += update.learning_rate;
        }
        report.loss /= report.examples.max(1) as f64;
        self.network.read_plainly(&mut self.weights);
        (self.received, self.slots) = (received, slots);
        self.network.give_back(&self.weights[..self.len()], out);
        Ok(report)
    }

    fn receive(&mut self, weights: &[f32]) -> Result<()> {
        self.load(weights);
        if self.sparse || self.network.gains_side_by_side() {
            self.network.sum_weight(self.shifted, &self.weights);
        }
        self.measured = true;
        Ok(())
    }

    fn score_as(&mut self, part: Part, list: &[u32], relabel: Relabel<'_>) -> Result<Score> {
        assert!(self.measured, "weights are received before they are scored");
        let (registers, outputs) = (self.network.registers, self.network.outputs());
        let mut score = Score::default();
        let features = &self.data.part(part).features;
        let size = if self.sparse {
            self.network.leave_out_blanks(features.shift());
            EVALUATED_WITHOUT_BLANKS
        } else if self.network.gains_side_by_side() && features.bytes(self.data.width()).is_some() {
            // To transpose floats would cost more than it gains.
            self.network.read_side_by_side(features.shift(), &self.weights);
            WIDTH
        } else {
            EVALUATED_TOGETHER
        };
        for (batch, rows) in list.chunks(size).enumerate() {
            let next = &list[batch * size + rows.len()..];
            self.forward(part, [rows, next], relabel, Statistics::Running);
            let logits = self.network.logits(rows.len());
            let side_by_side = self.network.reading() == Reading::SideBySide;
            let mut count = |loss: f64, is_hit: bool| {
                score.loss_sum += on_grid(loss);
                score.correct += u64::from(is_hit);
            };
            registers.run(
                #[inline(always)]
                || {
                    if side_by_side {
                        losses_side_by_side(logits.as_chunks::<WIDTH>().0, &self.labels, &mut count);
                    } else {
                        for (logits, &label) in logits.chunks_exact(outputs).zip(&self.labels) {
                            count(row_loss(logits, label, None), is_hit(logits, label));
                        }
                    }
                },
            );
            score.rows += rows.len() as u64;
        }
        self.network.read_plainly(&mut self.weights);
        Ok(score)
    }
}
