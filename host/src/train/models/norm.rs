//! Batch normalisation as a Burn module: PyTorch's running variance, where Burn's own layer takes the biased one.
//!
//! Where in the flow: part of a shipped model's Burn module. [`plan::norm`](crate::train::plan) computes the same, and says
//! what. What it never does: learn a running statistic by gradient.

use crate::train::{NORM_EPSILON, NORM_MOMENTUM};
use burn::module::{Module, Param, RunningState};
use burn::nn::Initializer;
use burn::tensor::module::{batch_norm, batch_norm_train};
use burn::tensor::{Device, Tensor};

/// `y = γ·(x − μ)/√(σ² + ε) + β` for each channel of `[rows, channels, …]`.
#[derive(Module, Debug)]
pub struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
}

impl BatchNorm {
    pub fn new(channels: usize, device: &Device) -> Self {
        BatchNorm {
            gamma: Initializer::Ones.init([channels], device),
            beta: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
        }
    }

    /// By the statistics of the batch where gradients are recorded, else by the running ones. Shapes: as `x`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if !x.device().is_autodiff() {
            let variance = self.running_var.value().clamp_min(0.0);
            return batch_norm(x, gamma, beta, self.running_mean.value(), variance, NORM_EPSILON);
        }
        let count = x.shape().num_elements() / gamma.dims()[0];
        let batch = batch_norm_train(x, gamma, beta, NORM_EPSILON);
        step(&self.running_mean, batch.mean);
        // One value has no unbiased variance.
        if count > 1 {
            step(&self.running_var, batch.variance * (count as f64 / (count - 1) as f64));
        }
        batch.output
    }
}

/// Moves a running statistic towards the batch's.
fn step(running: &RunningState<Tensor<1>>, of_batch: Tensor<1>) {
    let before = running.value_sync() * (1.0 - NORM_MOMENTUM);
    running.update((before + of_batch.detach() * NORM_MOMENTUM).detach());
}
