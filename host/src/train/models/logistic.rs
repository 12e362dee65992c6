//! Logistic regression: one linear layer from the features to the classes.

use super::linear;
use crate::train::LocalModel;
use crate::train::plan::{Layer, Layers};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

/// `logits = x·W + b`; binary for one output, multinomial for more.
#[derive(Module, Debug)]
pub struct Logistic {
    linear: Linear,
}

impl Logistic {
    pub fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        Logistic { linear: linear(inputs, outputs, device) }
    }

    pub(super) fn layers(inputs: usize, outputs: usize) -> Layers {
        Layers::features(inputs).then(Layer::Linear { outputs })
    }
}

impl LocalModel for Logistic {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.linear.forward(features)
    }
}
