//! Classification losses of a stack with their slopes, on the device: what [`classification`](crate::train::classification)
//! is for plain rows.
//!
//! Shapes: logits and targets [G, B, outputs], a target row one-hot, or the label itself for one output; losses [G, B, 1].

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

/// Losses, and their derivatives by the logits.
pub fn losses(logits: Tensor<3>, targets: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    match logits.dims()[2] {
        1 => binary(logits, targets),
        _ => softmax(logits, targets),
    }
}

/// `max(z, 0) − z·y + ln(1 + e^−|z|)`; slope `σ(z) − y`.
fn binary(z: Tensor<3>, y: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let slope = sigmoid(z.clone()) - y.clone();
    let tail = z.clone().abs().neg().exp().log1p();
    (z.clone().clamp_min(0.0) - z * y + tail, slope)
}

/// `ln Σ e^(z_c − z_max) − (z_y − z_max)`; slope `softmax(z) − onehot(y)`.
fn softmax(z: Tensor<3>, y: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let z = z.clone() - z.max_dim(2);
    let powers = z.clone().exp();
    let sum = powers.clone().sum_dim(2);
    let loss = sum.clone().log() - (z * y.clone()).sum_dim(2);
    (loss, powers / sum - y)
}
