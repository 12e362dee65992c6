//! A user's own Burn module on a device: one client after another, its weights there from its first step to its last.
//!
//! Where in the flow: in the place of a [`LayerStack`](super::LayerStack) where a model is no list of layers, since a
//! module's operations have no axis for clients. Forward and loss are those of the [`BurnTrainer`]; the logits of each
//! step come to the host for the loss, weights do not. What it never does: carry anything from one client to the next.

use super::network::Parameters;
use super::{Accelerator, COPIES, Correction, Descent, StackTrainer, guarded};
use crate::data::Dataset;
use crate::train::batch_order::Batches;
use crate::train::local_model::{Build, LocalModel, build_module};
use crate::train::{BurnTrainer, Layout, LocalReport, LocalTask, Part, Score};
use anyhow::Result;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::ops::Range;
use std::sync::Arc;

/// Rows of one forward pass in evaluation.
const EVALUATION_ROWS: usize = 1000;

pub struct ModuleStack<M> {
    trainer: BurnTrainer<M>,
    build: Build<M>,
    layout: Arc<Layout>,
    accelerator: Accelerator,
    /// Built at the first use; absent during a task, and after one that failed half-way.
    training: Option<M>,
    evaluation: Option<M>,
}

impl<M: LocalModel> ModuleStack<M> {
    pub fn new(build: Build<M>, layout: Arc<Layout>, data: Arc<Dataset>, accelerator: &Accelerator) -> Self {
        let trainer = BurnTrainer::new(build.clone(), layout.clone(), data);
        ModuleStack { trainer, build, layout, accelerator: accelerator.clone(), training: None, evaluation: None }
    }

    fn train_one(&mut self, task: &LocalTask<'_>, out: &mut [f32]) -> Result<LocalReport> {
        let device = self.accelerator.device.clone().autodiff();
        let module = self.training.take().unwrap_or_else(|| build_module(&self.build, &device, None));
        let mut module = self.trainer.load(module, &device, task.start)?;
        let ranges = trainable(&module, &self.layout);
        let correction = Correction::new(task);
        let upload = |flats: &[&[f32]]| upload(flats[0], &ranges, &self.accelerator.device);
        let start = upload(&[task.start]);
        let mut descent =
            Descent::new(std::slice::from_ref(&correction), task.momentum, &start, self.layout.len(), upload);
        let mut batches = Batches::new(task.order, task.rows, task.batch_size);
        let mut report = LocalReport::default();
        for _ in 0..task.steps {
            let rows = batches.next_batch();
            let (loss_sum, gradients) =
                self.trainer.gradients(&module, rows, task.relabel, &device, correction.learning_rate)?;
            module = step(module, gradients, &mut descent);
            report.steps += 1;
            report.examples += rows.len() as u64;
            report.loss += loss_sum;
            report.lr_sum += correction.learning_rate;
        }
        report.loss /= report.examples.max(1) as f64;
        self.training = Some(self.trainer.store(module, &device, out)?);
        Ok(report)
    }

    fn score(&mut self, weights: &[f32], lists: &[(Part, &[u32])]) -> Result<Vec<Score>> {
        let device = self.accelerator.device.clone();
        let module = match self.evaluation.take() {
            Some(module) => module,
            None => build_module(&self.build, &device.clone().autodiff(), None).valid(),
        };
        let module = self.trainer.load(module, &device, weights)?;
        let mut scores = vec![Score::default(); lists.len()];
        for ((part, rows), score) in lists.iter().zip(&mut scores) {
            for rows in rows.chunks(EVALUATION_ROWS) {
                self.trainer.score_batch(&module, *part, (rows, None), &device, score)?;
            }
        }
        self.evaluation = Some(module);
        Ok(scores)
    }
}

impl<M: LocalModel> StackTrainer for ModuleStack<M> {
    /// One, if its weights fit. What a user's operations keep of a batch is not known.
    fn capacity(&self, batch_size: usize, terms: bool) -> Result<usize> {
        let bytes = self.layout.len().saturating_mul(COPIES + usize::from(terms)).saturating_mul(size_of::<f32>());
        let largest = self.layout.tensors.iter().map(|tensor| tensor.len()).max().unwrap_or(0);
        let fit = self.accelerator.clients(batch_size, bytes, largest.saturating_mul(size_of::<f32>()))?;
        Ok(fit.min(1))
    }

    fn train(&mut self, _start: &[f32], tasks: &[LocalTask<'_>], out: &mut [Vec<f32>]) -> Result<Vec<LocalReport>> {
        assert_eq!(tasks.len(), out.len(), "tasks and places belong together");
        let accelerator = self.accelerator.clone();
        let each = tasks.iter().zip(out);
        each.map(|(task, out)| guarded(&accelerator, || self.train_one(task, out))).collect()
    }

    fn evaluate(&mut self, weights: &[f32], lists: &[(Part, &[u32])]) -> Result<Vec<Score>> {
        let accelerator = self.accelerator.clone();
        guarded(&accelerator, || self.score(weights, lists))
    }

    fn kernel(&self) -> String {
        format!("module, {}", self.accelerator.name())
    }
}

/// Where the parameters that a gradient changes lie in the flat vector, in its order.
fn trainable<M: Module>(module: &M, layout: &Layout) -> Vec<Range<usize>> {
    struct Visit<'a> {
        layout: &'a Layout,
        index: usize,
        found: Vec<Range<usize>>,
    }
    impl ModuleVisitor for Visit<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = &self.layout.tensors[self.index];
            self.index += 1;
            if param.base().is_require_grad() {
                self.found.push(tensor.offset..tensor.offset + tensor.len());
            }
        }
    }
    let mut visit = Visit { layout, index: 0, found: Vec::new() };
    module.visit(&mut visit);
    visit.found
}

/// The trainable parts of a flat vector, [1, 1, length] each.
fn upload(flat: &[f32], ranges: &[Range<usize>], device: &Device) -> Parameters {
    let part = |range: &Range<usize>| {
        let values = flat[range.clone()].to_vec();
        Tensor::from_data(TensorData::new(values, [1, 1, range.len()]), device)
    };
    ranges.iter().map(part).collect()
}

fn step<M: Module>(module: M, gradients: Gradients, descent: &mut Descent) -> M {
    let mut take = Take { gradients, weights: Vec::new(), slopes: Vec::new() };
    module.visit(&mut take);
    let Take { mut weights, slopes, .. } = take;
    descent.step(&mut weights, slopes, None);
    module.map(&mut Give { weights: weights.into_iter() })
}

/// Takes weights and gradients out of a module, zeros where the loss does not reach a parameter.
struct Take {
    gradients: Gradients,
    weights: Parameters,
    slopes: Parameters,
}

impl ModuleVisitor for Take {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        if !tensor.is_require_grad() {
            return;
        }
        let slope = tensor.grad_remove(&mut self.gradients);
        let weights = tensor.clone().without_autodiff();
        let shape = [1, 1, weights.dims().iter().product()];
        let weights = weights.reshape(shape);
        self.slopes.push(slope.map_or_else(|| weights.zeros_like(), |slope| slope.reshape(shape)));
        self.weights.push(weights);
    }
}

/// Puts weights into a module.
struct Give {
    weights: std::vec::IntoIter<Tensor<3>>,
}

impl ModuleMapper for Give {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            if !tensor.is_require_grad() {
                return tensor;
            }
            let weights = self.weights.next().expect("one for each trainable parameter");
            weights.reshape(tensor.dims()).autodiff().require_grad()
        })
    }
}
