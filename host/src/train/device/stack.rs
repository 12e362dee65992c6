//! Trains a stack of clients of a model that is a list of layers.
//!
//! ```text
//! start ──▶ repeated G times ──▶ [ window of batches ▶ steps ] ──▶ members that are done leave ──▶ flat weights
//! ```
//! Members stand longest first. A member that is done is masked until half of the stack is; then they leave, and the rest
//! goes on in smaller tensors. What it never does: read anything back between the first step and a leaving.

use super::descent::first;
use super::loss::losses;
use super::network::{Network, Parameters};
use super::replay::{FEWEST_TO_RECORD, repeat};
use super::rows::Rows;
use super::window::{Member, Step, Window};
use super::{Accelerator, COPIES, Correction, Descent, StackTrainer, guarded};
use crate::data::Dataset;
use crate::train::batch_order::Batches;
use crate::train::classification::{is_hit, on_grid, row_loss};
use crate::train::plan::{self, Layer, Layers};
use crate::train::{LocalReport, LocalTask, Part, Score};
use anyhow::Result;
use burn::tensor::{Int, Tensor};
use std::sync::Arc;

/// Steps of a window: with clients of many lengths, how long a stack waits before it shrinks.
const STEPS: usize = 64;
/// Rows of one forward pass in evaluation, where they fit.
const EVALUATION_ROWS: usize = 2048;

/// A list of layers on a device.
pub struct LayerStack {
    network: Network,
    rows: Rows,
    accelerator: Accelerator,
    /// P.
    length: usize,
    /// What nobody was told of yet.
    warnings: Vec<String>,
}

/// A stack on its way.
struct Stack<'a> {
    members: Vec<Member<'a>>,
    /// Position of each member among the tasks.
    places: Vec<usize>,
    state: State,
    batch: usize,
}

/// What a step changes. A clone keeps what it was.
#[derive(Clone)]
struct State {
    weights: Parameters,
    descent: Descent,
    /// Sum of the losses so far by row of the batch, [G, B, 1].
    losses: Tensor<3>,
}

impl LayerStack {
    /// Whether these layers train in stacks: not batch normalisation, whose statistics a masked row would enter. Such a
    /// model trains as its Burn module does, one client after another.
    pub fn takes(layers: &Layers) -> bool {
        !layers.list.contains(&Layer::BatchNorm)
    }

    /// Panics on layers that it does not take.
    ///
    /// Errors: `Kind::Config` if the data's samples or classes are not those that the model was made for.
    pub fn new(layers: &Layers, length: usize, data: Arc<Dataset>, accelerator: &Accelerator) -> Result<Self> {
        let network = Network::new(layers, &accelerator.device);
        plan::check_data([network.inputs, network.outputs], &data)?;
        Ok(LayerStack {
            rows: Rows::new(data, accelerator.clone(), network.row),
            network,
            accelerator: accelerator.clone(),
            length,
            warnings: Vec::new(),
        })
    }

    fn train_stack(
        &mut self,
        start: &[f32],
        tasks: &[LocalTask<'_>],
        out: &mut [Vec<f32>],
    ) -> Result<Vec<LocalReport>> {
        let mut reports = vec![LocalReport::default(); tasks.len()];
        if tasks.is_empty() {
            return Ok(reports);
        }
        let mut stack = self.stack(start, tasks);
        let mut done = 0;
        while let Some(longest) = stack.members.first().map(|member| member.steps) {
            let active = stack.members.partition_point(|member| member.steps > done);
            if 2 * active <= stack.members.len() {
                self.leave(&mut stack, active, &mut reports, out)?;
                continue;
            }
            let steps = self.window_steps(&stack).min((longest - done) as usize);
            let (shape, drifts) = ([stack.batch, self.network.outputs], stack.state.descent.drifts());
            let window = Window::new(&mut stack.members, steps, shape, drifts, &mut self.rows, &self.accelerator);
            stack.state = self.steps(stack.state, &window);
            done += steps as u64;
        }
        Ok(reports)
    }

    fn stack<'a>(&self, start: &[f32], tasks: &[LocalTask<'a>]) -> Stack<'a> {
        let mut places: Vec<usize> = (0..tasks.len()).collect();
        places.sort_by_key(|&place| std::cmp::Reverse(tasks[place].steps));
        let corrections: Vec<Correction<'_>> = places.iter().map(|&place| Correction::new(&tasks[place])).collect();
        let member = |(&place, correction): (&usize, &Correction<'_>)| {
            let task = &tasks[place];
            Member {
                batches: Batches::new(task.order, task.rows, task.batch_size),
                relabel: task.relabel,
                steps: task.steps,
                learning_rate: correction.learning_rate,
                report: LocalReport::default(),
            }
        };
        let batch = tasks.iter().map(|task| task.batch_size.min(task.rows.len())).max().unwrap_or(0);
        let one = self.network.upload(&[start]);
        let momentum = tasks.first().map_or(0.0, |task| task.momentum);
        Stack {
            members: places.iter().zip(&corrections).map(member).collect(),
            state: State {
                descent: Descent::new(&corrections, momentum, &one, self.length, |flats| self.network.upload(flats)),
                weights: one.into_iter().map(|parameter| parameter.repeat_dim(0, tasks.len())).collect(),
                losses: Tensor::zeros([tasks.len(), batch, 1], &self.accelerator.device),
            },
            places,
            batch,
        }
    }

    fn window_steps(&self, stack: &Stack<'_>) -> usize {
        let step = stack.members.len() * stack.batch * self.network.row * size_of::<f32>();
        (self.accelerator.for_window() / step.max(1)).clamp(1, STEPS)
    }

    /// All steps of a window: recorded and replayed where the device does so and there are enough, else launched one by one.
    fn steps(&mut self, mut state: State, window: &Window) -> State {
        if !self.accelerator.replays || window.steps < FEWEST_TO_RECORD {
            (0..window.steps).for_each(|at| self.step(&mut state, window.step(at)));
            return state;
        }
        let device = &self.accelerator.device;
        let mut counted = (state, Tensor::<1, Int>::zeros([1], device));
        // SAFETY: the window outlives the call, and all that comes from the host lies in it. But for the clone that `repeat`
        // itself holds, weights, momentum, losses and position are held here alone, so each step changes them where they lie.
        let recorded = unsafe {
            repeat(device, window.steps, &mut counted, |(state, at)| {
                self.step(state, window.step_at(at));
                at.inplace(|at| at.add_scalar(1));
            })
        };
        if !recorded {
            self.accelerator.replays = false;
            self.warnings.push(format!(
                "{} did not record a step; from here on steps are launched one by one, which is slower",
                self.accelerator.name()
            ));
        }
        counted.0
    }

    /// One step. Launches the same operations each time, and writes weights and losses where they lie.
    fn step(&self, state: &mut State, step: Step) {
        let mut traces = Vec::new();
        let logits = self.network.forward(&state.weights, step.x, Some(&mut traces));
        let (losses, slopes) = losses(logits, step.targets);
        state.losses.inplace(|sum| sum + losses * step.counted);
        let gradients = self.network.backward(&state.weights, traces, slopes * step.scale);
        state.descent.step(&mut state.weights, gradients, step.moves.as_ref());
    }

    /// Writes down all but the first `active` members, and goes on with those.
    fn leave(
        &self,
        stack: &mut Stack<'_>,
        active: usize,
        reports: &mut [LocalReport],
        out: &mut [Vec<f32>],
    ) -> Result<()> {
        let count = stack.members.len() - active;
        let gone = |tensor: &Tensor<3>| tensor.clone().narrow(0, active, count);
        let losses = gone(&stack.state.losses).try_into_data()?;
        let rows = losses.as_slice::<f32>()?.chunks_exact(stack.batch.max(1));
        for ((member, &place), rows) in stack.members[active..].iter().zip(&stack.places[active..]).zip(rows) {
            let sum: f64 = rows.iter().map(|&loss| f64::from(loss)).sum();
            reports[place] = LocalReport { loss: sum / member.report.examples.max(1) as f64, ..member.report };
        }
        let mut places: Vec<Option<&mut Vec<f32>>> = out.iter_mut().map(Some).collect();
        let flats = stack.places[active..].iter().filter_map(|&place| places[place].take());
        self.network.download(stack.state.weights.iter().map(gone).collect(), flats.collect::<Vec<_>>())?;
        stack.members.truncate(active);
        stack.places.truncate(active);
        if active > 0 {
            stack.state.keep(active);
        }
        Ok(())
    }

    fn score(&mut self, weights: &[f32], lists: &[(Part, &[u32])]) -> Result<Vec<Score>> {
        let parameters = self.network.upload(&[weights]);
        let outputs = self.network.outputs;
        let mut scores = vec![Score::default(); lists.len()];
        for part in [Part::Train, Part::Test] {
            let of_part = || lists.iter().enumerate().filter(move |(_, list)| list.0 == part);
            let rows: Vec<u32> = of_part().flat_map(|(_, list)| list.1).copied().collect();
            // Everything is launched before anything is read.
            let mut passes = Vec::new();
            for rows in rows.chunks(self.evaluation_rows()) {
                let x = self.rows.gather(part, rows);
                let shape = [1, rows.len(), self.network.row];
                passes.push(self.network.forward(&parameters, x.reshape(shape), None));
            }
            let mut logits = Vec::with_capacity(rows.len() * outputs);
            for pass in passes {
                logits.extend_from_slice(pass.try_into_data()?.as_slice::<f32>()?);
            }
            let mut logits = logits.chunks_exact(outputs);
            for (at, (_, rows)) in of_part() {
                for (label, logits) in self.rows.labels(part, rows).into_iter().zip(logits.by_ref()) {
                    scores[at].loss_sum += on_grid(row_loss(logits, label, None));
                    scores[at].correct += u64::from(is_hit(logits, label));
                    scores[at].rows += 1;
                }
            }
        }
        Ok(scores)
    }

    fn evaluation_rows(&self) -> usize {
        let [all, largest] = self.network.elements();
        let fit = |bytes: usize, elements: usize| bytes / (elements * size_of::<f32>());
        let fits = fit(self.accelerator.largest_tensor, largest).min(fit(self.accelerator.for_clients(), all));
        fits.clamp(1, EVALUATION_ROWS)
    }
}

impl State {
    /// Goes on with the first `clients` of the stack alone.
    fn keep(&mut self, clients: usize) {
        self.weights = first(std::mem::take(&mut self.weights), clients);
        self.losses = self.losses.clone().narrow(0, 0, clients);
        self.descent.keep(clients);
    }
}

impl StackTrainer for LayerStack {
    /// Counts weights with gradients, temporary copies, momentum and vectors of terms, and what the passes keep of a
    /// batch.
    fn capacity(&self, batch_size: usize, terms: bool) -> Result<usize> {
        let [all, largest] = self.network.elements();
        let vectors = COPIES + usize::from(terms);
        let client = self.length.saturating_mul(vectors).saturating_add(batch_size.saturating_mul(all));
        let largest = self.network.largest_parameter().max(batch_size.saturating_mul(largest));
        let bytes = |elements: usize| elements.saturating_mul(size_of::<f32>());
        self.accelerator.clients(batch_size, bytes(client), bytes(largest))
    }

    fn train(&mut self, start: &[f32], tasks: &[LocalTask<'_>], out: &mut [Vec<f32>]) -> Result<Vec<LocalReport>> {
        assert_eq!((start.len(), tasks.len()), (self.length, out.len()), "weights, tasks and places belong together");
        let accelerator = self.accelerator.clone();
        guarded(&accelerator, || self.train_stack(start, tasks, out))
    }

    fn evaluate(&mut self, weights: &[f32], lists: &[(Part, &[u32])]) -> Result<Vec<Score>> {
        assert_eq!(weights.len(), self.length, "weights and model belong together");
        let accelerator = self.accelerator.clone();
        guarded(&accelerator, || self.score(weights, lists))
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn kernel(&self) -> String {
        format!("stacks, {}", self.accelerator.name())
    }
}
