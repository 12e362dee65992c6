//! The optimizer step of a stack: every term of [`sgd`](crate::train::sgd), as operations on whole tensors.
//!
//! ```text
//! g ← g · max_norm / max(‖g‖, max_norm)                 a factor a client
//! g ← g + a·w + c,   a = decay + Σ mu + Σ lambda,   c = Σ scale·s − Σ mu·point
//! v ← momentum · v + g,   w ← w − lr · v
//! ```
//! All terms but clipping are linear in the weights: their constant part `c` is formed once a client, so that a step
//! costs the same for one term as for five. Gradients arrive multiplied by the learning rate, and so does everything here.
//! What it never does: look at more than a factor a client to tell clients apart.

use super::network::Parameters;
use crate::train::{LocalTask, Term};
use burn::tensor::{Device, Tensor, TensorData};

/// The limit where nothing is clipped: beyond any norm, and a GPU that divides by the reciprocal does not round that to 0.
const UNCLIPPED: f32 = 1e30;

/// One client's optimizer with all coefficients resolved and multiplied by the learning rate.
#[derive(Clone, Debug)]
pub struct Correction<'a> {
    /// Of each step, before it is rounded to `f32`.
    pub learning_rate: f64,
    /// `lr·a`.
    decay: f32,
    /// The part of `lr·c` along the weights that training starts from.
    start: f32,
    /// The rest of it.
    slots: Vec<(f32, &'a [f32])>,
    /// `lr·max_norm`, or [`UNCLIPPED`].
    limit: f32,
}

impl<'a> Correction<'a> {
    pub fn new(task: &LocalTask<'a>) -> Self {
        let factors: f64 = task.terms.iter().map(Term::learning_rate_factor).product();
        let learning_rate = task.learning_rate * factors;
        let rate = learning_rate as f32;
        let mut correction = Correction {
            learning_rate,
            decay: rate * task.weight_decay as f32,
            start: 0.0,
            slots: Vec::new(),
            limit: UNCLIPPED,
        };
        for term in task.terms {
            match *term {
                Term::Prox { mu } => {
                    correction.decay += rate * mu;
                    correction.start -= rate * mu;
                }
                Term::ProxToward { mu: 0.0, .. } | Term::Linear { scale: 0.0, .. } => {}
                Term::ProxToward { mu, toward } => {
                    correction.decay += rate * mu;
                    correction.slots.push((-rate * mu, toward));
                }
                Term::Linear { scale, slot } => correction.slots.push((rate * scale, slot)),
                Term::L2 { lambda } => correction.decay += rate * lambda,
                Term::ClipGrad { max_norm } => {
                    // Above zero, so that there is a factor even where gradient and learning rate are zero.
                    correction.limit = correction.limit.min((rate * max_norm).max(f32::MIN_POSITIVE));
                }
                Term::LearningRateScale { .. } => {}
            }
        }
        correction
    }

    /// `lr·c` without its part along the start, P values.
    fn constant(&self, length: usize) -> Vec<f32> {
        let mut sum = vec![0.0; length];
        for (factor, slot) in &self.slots {
            sum.iter_mut().zip(*slot).for_each(|(sum, value)| *sum += factor * value);
        }
        sum
    }
}

/// The optimizer of a stack with its state. Parts that no client needs are absent and cost nothing.
#[derive(Clone)]
pub struct Descent {
    /// [G, 1, 1].
    decay: Option<Tensor<3>>,
    /// [G, 1, 1].
    limit: Option<Tensor<3>>,
    /// As the parameters.
    shift: Option<Parameters>,
    momentum: f32,
    velocity: Option<Parameters>,
}

impl Descent {
    /// `start`: the weights that all clients begin with, [1, rows, columns] each; `length`: P; `upload`: brings flat
    /// vectors to the device in the parameters' form.
    pub fn new(
        corrections: &[Correction<'_>],
        momentum: f64,
        start: &[Tensor<3>],
        length: usize,
        upload: impl FnOnce(&[&[f32]]) -> Parameters,
    ) -> Self {
        let Some(device) = start.first().map(Tensor::device) else {
            return Descent { decay: None, limit: None, shift: None, momentum: 0.0, velocity: None };
        };
        let factors = |of: fn(&Correction<'_>) -> f32, none: f32| {
            let values: Vec<f32> = corrections.iter().map(of).collect();
            values.iter().any(|value| *value != none).then(|| per_client(values, &device))
        };
        let along_start = factors(|correction| correction.start, 0.0);
        let along_start = along_start.map(|factor| start.iter().map(|w| w.clone() * factor.clone()).collect());
        let slots = corrections.iter().any(|correction| !correction.slots.is_empty()).then(|| {
            let constants: Vec<Vec<f32>> = corrections.iter().map(|correction| correction.constant(length)).collect();
            upload(&constants.iter().map(Vec::as_slice).collect::<Vec<_>>())
        });
        Descent {
            decay: factors(|correction| correction.decay, 0.0),
            limit: factors(|correction| correction.limit, UNCLIPPED),
            shift: match (along_start, slots) {
                (Some(a), Some(b)) => Some(sum(a, b)),
                (a, b) => a.or(b),
            },
            momentum: momentum as f32,
            velocity: None,
        }
    }

    /// Whether weights move without a gradient: then clients that are done must be held.
    pub fn drifts(&self) -> bool {
        self.decay.is_some() || self.shift.is_some() || self.momentum != 0.0
    }

    /// One step. `gradients`: multiplied by each client's learning rate; `active`: 0 for clients to be held, 1 for the
    /// others, [G, 1, 1], or `None` if all move.
    pub fn step(&mut self, weights: &mut Parameters, mut gradients: Parameters, active: Option<&Tensor<3>>) {
        if let Some(limit) = &self.limit {
            let factor = limit.clone() / norm(&gradients).max_pair(limit.clone());
            gradients = gradients.into_iter().map(|g| g * factor.clone()).collect();
        }
        if let Some(decay) = &self.decay {
            gradients = gradients.into_iter().zip(weights.iter()).map(|(g, w)| g + w.clone() * decay.clone()).collect();
        }
        if let Some(shift) = &self.shift {
            gradients = sum(gradients, shift.clone());
        }
        if self.momentum != 0.0 {
            let velocity = match self.velocity.take() {
                Some(velocity) => sum(velocity.into_iter().map(|v| v.mul_scalar(self.momentum)).collect(), gradients),
                None => gradients,
            };
            self.velocity = Some(velocity.clone());
            gradients = velocity;
        }
        if let Some(active) = active {
            gradients = gradients.into_iter().map(|g| g * active.clone()).collect();
        }
        let old = std::mem::take(weights);
        *weights = old.into_iter().zip(gradients).map(|(w, g)| w - g).collect();
    }

    /// Goes on with the first `clients` of the stack alone.
    pub fn keep(&mut self, clients: usize) {
        for factor in [&mut self.decay, &mut self.limit].into_iter().flatten() {
            *factor = factor.clone().narrow(0, 0, clients);
        }
        for parameters in [&mut self.shift, &mut self.velocity].into_iter().flatten() {
            *parameters = first(std::mem::take(parameters), clients);
        }
    }
}

/// The parameters of the first `clients` of a stack.
pub fn first(parameters: Parameters, clients: usize) -> Parameters {
    parameters.into_iter().map(|parameter| parameter.narrow(0, 0, clients)).collect()
}

/// A number for each client of a stack, [G, 1, 1].
fn per_client(values: Vec<f32>, device: &Device) -> Tensor<3> {
    let clients = values.len();
    Tensor::from_data(TensorData::new(values, [clients, 1, 1]), device)
}

/// ‖g‖ of each client over all parameters, [G, 1, 1].
fn norm(gradients: &[Tensor<3>]) -> Tensor<3> {
    let squares = gradients.iter().map(|g| g.clone().square().sum_dim(2).sum_dim(1));
    squares.reduce(|a, b| a + b).expect("a model has parameters").sqrt()
}

fn sum(a: Parameters, b: Parameters) -> Parameters {
    a.into_iter().zip(b).map(|(a, b)| a + b).collect()
}
