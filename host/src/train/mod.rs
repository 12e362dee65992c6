//! Local training: Burn lives here and nowhere else, and so do the plans that train the shipped models in its place.
//!
//! Where in the flow: an agent builds one [`Trainer`] and keeps it; clients pass through it one after another, only
//! weights move. What it never does: know about rounds, plugins or other clients.

mod batch_order;
mod burn_trainer;
mod classification;
mod device;
mod initial_weights;
mod kernel;
mod layout;
mod local_model;
mod models;
mod plan;
mod relabel;
mod sgd;
mod tensor_set;
pub mod weights_file;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod pytorch;

/// The tensor library, for modules of one's own: `use colla::train::burn;` makes its derive macros work too.
pub use burn;

pub use batch_order::{Batches, batch_list, steps_per_epoch};
pub use burn_trainer::{BurnTrainer, EVALUATION_BATCH};
pub use device::{Accelerator, StackTrainer};
pub use local_model::{BurnModel, LocalModel};
pub use models::{model_from_config, model_through_burn};
pub use relabel::Relabel;
pub use tensor_set::TensorSet;

use crate::data::{Dataset, Examples};
use anyhow::Result;
use std::sync::Arc;

/// One tensor of the flat weight vector.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TensorInfo {
    /// Path in the module, e.g. `layers.0.weight`.
    pub name: String,
    pub shape: Vec<usize>,
    pub role: TensorRole,
    /// Index of its first element in the flat vector.
    pub offset: usize,
}

impl TensorInfo {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorRole {
    Weight,
    Bias,
    /// Scale and shift of a normalisation layer.
    Norm,
    /// Running mean and variance of a normalisation layer: part of the weights that travel, but measured in training rather
    /// than learnt. No gradient, term or weight decay reaches them.
    NormStat,
}

impl TensorRole {
    /// The word that plugins and files use.
    pub fn name(self) -> &'static str {
        match self {
            TensorRole::Weight => "weight",
            TensorRole::Bias => "bias",
            TensorRole::Norm => "norm",
            TensorRole::NormStat => "norm-stat",
        }
    }
}

/// What batch normalisation adds to a variance before its root, and how far a step moves the running statistics towards
/// the batch's: PyTorch's defaults, and Burn's.
const NORM_EPSILON: f64 = 1e-5;
const NORM_MOMENTUM: f64 = 0.1;

/// The tensors of a model in flat order. P is [`Layout::len`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Layout {
    pub tensors: Vec<TensorInfo>,
}

impl Layout {
    /// P, the number of weights.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |last| last.offset + last.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A term that a client plugin adds to the local objective, fused into the optimizer step.
///
/// `S` stands for a vector of P values: a name for it in a plan, the values themselves (`&[f32]`) in a [`LocalTask`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term<S> {
    /// (mu/2)·‖w − w_received‖²: adds mu·(w − w_received) to the gradient (FedProx, arXiv:1812.06127, eq. 2).
    Prox { mu: f32 },
    /// (mu/2)·‖w − s‖² with s = `toward`: adds mu·(w − s) to the gradient (Ditto, arXiv:2012.04221, Algorithm 1).
    ProxToward { mu: f32, toward: S },
    /// scale·⟨s, w⟩ with s = `slot`: adds scale·s to the gradient (SCAFFOLD, arXiv:1910.06378, eq. 3; FedDyn).
    Linear { scale: f32, slot: S },
    /// (lambda/2)·‖w‖².
    L2 { lambda: f32 },
    /// Scales the whole gradient so that its norm is at most `max_norm`, before the other terms.
    ClipGrad { max_norm: f32 },
    /// Multiplies the learning rate.
    LearningRateScale { factor: f32 },
}

impl<S> Term<S> {
    /// By what the term multiplies the learning rate.
    pub fn learning_rate_factor(&self) -> f64 {
        match self {
            Term::LearningRateScale { factor } => f64::from(*factor),
            _ => 1.0,
        }
    }

    /// The same term with its vector, if it has one, told otherwise.
    pub fn map<'s, T>(&'s self, slot: impl FnOnce(&'s S) -> T) -> Term<T> {
        match self {
            Term::Prox { mu } => Term::Prox { mu: *mu },
            Term::ProxToward { mu, toward } => Term::ProxToward { mu: *mu, toward: slot(toward) },
            Term::Linear { scale, slot: direction } => Term::Linear { scale: *scale, slot: slot(direction) },
            Term::L2 { lambda } => Term::L2 { lambda: *lambda },
            Term::ClipGrad { max_norm } => Term::ClipGrad { max_norm: *max_norm },
            Term::LearningRateScale { factor } => Term::LearningRateScale { factor: *factor },
        }
    }
}

/// The order in which one client sees its rows in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOrder {
    pub seed: u64,
    pub round: u64,
    pub client: u64,
    /// 0 for the phase that is uploaded; personal phases have a number of their own.
    pub phase: u32,
    /// Steps that the client took in earlier rounds, when its iterator persists; else `None`.
    pub steps_before: Option<u64>,
    pub shuffle: bool,
}

/// Everything that one client's local training depends on.
#[derive(Clone, Debug)]
pub struct LocalTask<'a> {
    /// The weights that training starts from and that `prox` pulls to, P.
    pub start: &'a [f32],
    /// The client's rows of the training set, not empty.
    pub rows: &'a [u32],
    pub steps: u64,
    /// At most `rows.len()`.
    pub batch_size: usize,
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    /// Vectors of terms have P values in flat order.
    pub terms: &'a [Term<&'a [f32]>],
    pub relabel: Relabel<'a>,
    pub order: BatchOrder,
}

/// What came out besides the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LocalReport {
    pub steps: u64,
    pub examples: u64,
    /// Mean over the examples seen of the loss before the step that used them.
    pub loss: f64,
    /// Sum of the learning rates of the steps.
    pub lr_sum: f64,
}

/// Sums over evaluated rows, so that parts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub loss_sum: f64,
    pub correct: u64,
    pub rows: u64,
}

/// A built model on one core. Results depend on the arguments alone, never on what was trained before.
pub trait Trainer: Send {
    /// Trains and writes the local weights (P) into `out`.
    fn train(&mut self, task: &LocalTask<'_>, out: &mut [f32]) -> Result<LocalReport>;

    /// Takes the weights (P) that [`score`](Self::score) measures, until it trains or receives others.
    fn receive(&mut self, weights: &[f32]) -> Result<()>;

    /// Loss and hits of the weights received last on the given rows of one part of the data.
    fn score(&mut self, part: Part, rows: &[u32]) -> Result<Score> {
        self.score_as(part, rows, None)
    }

    /// The same with the labels that a client takes the rows for.
    fn score_as(&mut self, part: Part, rows: &[u32], relabel: Relabel<'_>) -> Result<Score>;

    /// Loss and hits of `weights`.
    fn evaluate(&mut self, weights: &[f32], part: Part, rows: &[u32]) -> Result<Score> {
        self.receive(weights)?;
        self.score(part, rows)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Test,
}

/// Builds one [`Trainer`] per agent, or one [`StackTrainer`] for an accelerator.
pub trait Model: Send + Sync {
    /// For records and reports, e.g. `mlp [200, 200]`.
    fn name(&self) -> String;

    fn layout(&self) -> &Layout;

    /// What its trainers compute with, e.g. `plan, ordered fma 3`: across machines, results agree where this does.
    fn kernel(&self) -> String;

    /// The weights before round 1, P.
    fn initial_weights(&self, seed: u64) -> Result<Vec<f32>>;

    fn trainer(&self, data: Arc<Dataset>) -> Result<Box<dyn Trainer>>;

    /// A trainer of stacks of clients on an accelerator.
    fn stack_trainer(&self, data: Arc<Dataset>, accelerator: &Accelerator) -> Result<Box<dyn StackTrainer>>;
}

impl Dataset {
    pub fn part(&self, part: Part) -> &Examples {
        match part {
            Part::Train => &self.train,
            Part::Test => &self.test,
        }
    }
}
