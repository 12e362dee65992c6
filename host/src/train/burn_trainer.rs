//! The trainer that runs a Burn module: flat weights in, local steps through autodiff, flat weights out.
//!
//! ```text
//! start ──▶ module ──▶ [ batch ▶ forward ▶ loss ▶ backward ▶ update in place ] × steps ──▶ out
//! ```
//! Where in the flow: one per agent, built once; clients pass through it one after another. Burn computes outputs and
//! gradients; losses and updates are ours. What it never does: use more than the calling thread, draw at random, or
//! carry anything from one task to the next (weights, statistics and momentum are set anew).

use super::batch_order::Batches;
use super::classification::{is_hit, on_grid, row_loss};
use super::layout::each_slice;
use super::local_model::{Build, LocalModel, build_module};
use super::relabel::taken_for;
use super::sgd::Update;
use super::{Layout, LocalReport, LocalTask, Part, Relabel, Score, TensorRole, Trainer};
use crate::data::Dataset;
use crate::error::{Fault, Kind};
use anyhow::Result;
use burn::module::{ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use std::sync::Arc;

/// Rows of one forward pass in evaluation: larger batches are no faster and only fill memory (measured from 100 to 1000).
///
/// Rows are taken in this number from the first on, and each loss is rounded to a multiple of 2⁻³⁰. So parts of an
/// evaluation, in any order, add up exactly to the whole if each part but the last is a multiple of this number long
/// (a product of matrices may round differently in a batch of another size).
pub const EVALUATION_BATCH: usize = 250;

/// A Burn module with its buffers on one core.
pub struct BurnTrainer<M> {
    build: Build<M>,
    layout: Arc<Layout>,
    data: Arc<Dataset>,
    /// Built at the first use; absent during a task, and after one that failed half-way.
    training: Option<M>,
    evaluation: Option<M>,
    velocity: Vec<f32>,
}

impl<M: LocalModel> Trainer for BurnTrainer<M> {
    fn train(&mut self, task: &LocalTask<'_>, out: &mut [f32]) -> Result<LocalReport> {
        let device = Device::flex().autodiff();
        let update = Update::new(task);
        self.reset_velocity(&update);
        let module = match self.training.take() {
            Some(module) => module,
            None => build_module(&self.build, &device, None),
        };
        let mut module = self.load(module, &device, task.start)?;
        let mut batches = Batches::new(task.order, task.rows, task.batch_size);
        let mut report = LocalReport::default();
        for _ in 0..task.steps {
            let rows = batches.next_batch();
            let (loss_sum, gradients) = self.gradients(&module, rows, task.relabel, &device, 1.0)?;
            module = self.step(module, &device, gradients, &update)?;
            report.steps += 1;
            report.examples += rows.len() as u64;
            report.loss += loss_sum;
            report.lr_sum += update.learning_rate;
        }
        report.loss /= report.examples.max(1) as f64;
        self.training = Some(self.store(module, &device, out)?);
        Ok(report)
    }

    fn receive(&mut self, weights: &[f32]) -> Result<()> {
        let device = Device::flex();
        let module = match self.evaluation.take() {
            Some(module) => module,
            None => build_module(&self.build, &device.clone().autodiff(), None).valid(),
        };
        self.evaluation = Some(self.load(module, &device, weights)?);
        Ok(())
    }

    fn score_as(&mut self, part: Part, rows: &[u32], relabel: Relabel<'_>) -> Result<Score> {
        let module = self.evaluation.as_ref().expect("weights are received before they are measured");
        let mut score = Score::default();
        for rows in rows.chunks(EVALUATION_BATCH) {
            self.score_batch(module, part, (rows, relabel), &Device::flex(), &mut score)?;
        }
        Ok(score)
    }
}

impl<M: LocalModel> BurnTrainer<M> {
    pub(super) fn new(build: Build<M>, layout: Arc<Layout>, data: Arc<Dataset>) -> Self {
        BurnTrainer { build, layout, data, training: None, evaluation: None, velocity: Vec::new() }
    }

    fn reset_velocity(&mut self, update: &Update<'_>) {
        if update.has_momentum() {
            self.velocity.clear();
            self.velocity.resize(self.layout.len(), 0.0);
        }
    }

    pub(super) fn load(&self, module: M, device: &Device, weights: &[f32]) -> Result<M> {
        assert_eq!(weights.len(), self.layout.len(), "weights and model belong together");
        self.settle_statistics(&module);
        each_slice(module, device, |slice| {
            slice.values.copy_from_slice(&weights[slice.offset..slice.offset + slice.values.len()]);
        })
    }

    pub(super) fn store(&self, module: M, device: &Device, out: &mut [f32]) -> Result<M> {
        self.settle_statistics(&module);
        each_slice(module, device, |slice| {
            out[slice.offset..slice.offset + slice.values.len()].copy_from_slice(slice.values);
        })
    }

    /// Burn's running statistics hold the last update back until they are next read: reading them through `valid`
    /// settles it, so that it neither gets lost nor reaches the next client.
    fn settle_statistics(&self, module: &M) {
        if self.layout.tensors.iter().any(|tensor| tensor.role == TensorRole::NormStat) {
            let _settled_by_reading = module.valid();
        }
    }

    /// Sum of the losses of a batch, and `factor` times the gradient of their mean.
    pub(super) fn gradients(
        &self,
        module: &M,
        rows: &[u32],
        relabel: Relabel<'_>,
        device: &Device,
        factor: f64,
    ) -> Result<(f64, Gradients)> {
        let labels = self.labels(Part::Train, rows, relabel);
        let logits = module.forward(self.features(Part::Train, rows, device));
        self.check_logits(&logits, rows.len())?;
        if !logits.is_tracked() {
            return Err(Fault::new(
                Kind::Config,
                "model: the output depends on no trainable parameter; use the parameters in `forward`, or unfreeze them",
            ));
        }
        if let Some(losses) = module.loss(logits.clone(), label_tensor(&labels, device)) {
            let values = row_losses(&losses, rows.len())?;
            return Ok((values.iter().map(|&loss| f64::from(loss)).sum(), (losses.mean() * factor).backward()));
        }
        let values = logits.clone().without_autodiff().try_into_data()?;
        let values = values.as_slice::<f32>()?;
        let mut slope = vec![0.0; values.len()];
        let (outputs, scale) = (self.data.num_outputs(), factor / rows.len() as f64);
        let rows_of = values.chunks_exact(outputs).zip(slope.chunks_exact_mut(outputs)).zip(&labels);
        let loss_sum = rows_of.map(|((logits, slope), &label)| row_loss(logits, label, Some((slope, scale)))).sum();
        // The derivative of Σ logits·slope by the logits is the slope: this starts the backward pass with our own
        // derivative of the loss.
        let slope = Tensor::<2>::from_data(TensorData::new(slope, logits.dims()), device);
        Ok((loss_sum, (logits * slope).sum().backward()))
    }

    fn step(&mut self, module: M, device: &Device, gradients: Gradients, update: &Update<'_>) -> Result<M> {
        let mut collect = Collect { gradients, tensors: Vec::new(), failure: None };
        module.visit(&mut collect);
        let Collect { gradients, mut tensors, failure } = collect;
        // Drops what the graph still holds, so that the weights below are nobody else's and change in place.
        drop(gradients);
        if let Some(failure) = failure {
            return Err(failure);
        }
        let factor = if update.clips() { update.clip_factor(squared_norm(&tensors)) } else { 1.0 };
        let velocity = &mut self.velocity;
        each_slice(module, device, |slice| {
            if !slice.trains {
                return;
            }
            let range = slice.offset..slice.offset + slice.values.len();
            let velocity = if update.has_momentum() { &mut velocity[range] } else { &mut [] };
            update.apply(slice.offset, slice.values, gradient(&mut tensors[slice.index]), velocity, factor);
        })
    }

    /// `rows`: with what the client takes them for.
    pub(super) fn score_batch(
        &self,
        module: &M,
        part: Part,
        (rows, relabel): (&[u32], Relabel<'_>),
        device: &Device,
        score: &mut Score,
    ) -> Result<()> {
        let labels = self.labels(part, rows, relabel);
        let logits = module.forward(self.features(part, rows, device));
        self.check_logits(&logits, rows.len())?;
        let own_losses = match module.loss(logits.clone(), label_tensor(&labels, device)) {
            Some(losses) => Some(row_losses(&losses, rows.len())?),
            None => None,
        };
        let logits = logits.try_into_data()?;
        let logits = logits.as_slice::<f32>()?.chunks_exact(self.data.num_outputs());
        for (i, (logits, &label)) in logits.zip(&labels).enumerate() {
            score.loss_sum += on_grid(match &own_losses {
                Some(losses) => f64::from(losses[i]),
                None => row_loss(logits, label, None),
            });
            score.correct += u64::from(is_hit(logits, label));
        }
        score.rows += rows.len() as u64;
        Ok(())
    }

    fn features(&self, part: Part, rows: &[u32], device: &Device) -> Tensor<2> {
        let width = self.data.width();
        let mut values = vec![0.0; rows.len() * width];
        self.data.part(part).features.gather(rows, width, &mut values);
        Tensor::from_data(TensorData::new(values, [rows.len(), width]), device)
    }

    fn labels(&self, part: Part, rows: &[u32], relabel: Relabel<'_>) -> Vec<u32> {
        let labels = &self.data.part(part).labels;
        rows.iter().map(|&row| taken_for(labels[row as usize], relabel)).collect()
    }

    fn check_logits(&self, logits: &Tensor<2>, rows: usize) -> Result<()> {
        let (got, expected) = (logits.dims(), [rows, self.data.num_outputs()]);
        if got == expected {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Config,
            format!(
                "model: its output has shape {got:?}, `{}` with {} classes needs {expected:?}; change the last layer",
                self.data.name, self.data.num_classes
            ),
        ))
    }
}

/// Takes the gradients out of Burn's container in flat order; zeros where the loss does not reach a parameter.
struct Collect {
    gradients: Gradients,
    tensors: Vec<TensorData>,
    failure: Option<anyhow::Error>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        let data = match tensor.grad_remove(&mut self.gradients) {
            Some(gradient) => gradient.try_into_data().unwrap_or_else(|error| {
                self.failure.get_or_insert(error.into());
                TensorData::zeros::<f32, _>(tensor.dims())
            }),
            None if tensor.is_require_grad() => TensorData::zeros::<f32, _>(tensor.dims()),
            // Frozen: never read.
            None => TensorData::zeros::<f32, _>([0]),
        };
        self.tensors.push(data);
    }
}

/// Gradients of `f32` parameters, which are all that a layout admits, are `f32`.
fn gradient(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice::<f32>().expect("the gradient of an f32 parameter is f32")
}

/// Sum of squares over all gradients, in flat order, in `f64`.
fn squared_norm(tensors: &[TensorData]) -> f64 {
    let values = tensors.iter().flat_map(|data| data.as_slice::<f32>().expect("gradients are f32"));
    values.map(|&g| f64::from(g) * f64::from(g)).sum()
}

fn label_tensor(labels: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    Tensor::from_data(TensorData::new(values, [labels.len()]), device)
}

fn row_losses(losses: &Tensor<1>, rows: usize) -> Result<Vec<f32>> {
    let [got] = losses.dims();
    if got != rows {
        return Err(Fault::new(
            Kind::Config,
            format!("model: `loss` returned {got} values for a batch of {rows} rows; return one loss per row"),
        ));
    }
    Ok(losses.clone().without_autodiff().try_into_data()?.try_into_vec_as::<f32>()?)
}
