//! Multi-layer perceptron: linear layers with ReLU between them.

use super::linear;
use crate::error::{Fault, Kind};
use crate::train::LocalModel;
use crate::train::plan::{Layer, Layers};
use anyhow::Result;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Linear layers with ReLU between them, none after the last. McMahan et al.'s 2NN is 784-200-200-10.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// `widths`: inputs, hidden layers, outputs.
    pub fn new(widths: &[usize], device: &Device) -> Self {
        Mlp { layers: widths.windows(2).map(|pair| linear(pair[0], pair[1], device)).collect() }
    }

    pub(super) fn layers(widths: &[usize]) -> Layers {
        let (inputs, outputs) = (widths[0], &widths[1..]);
        let first = Layers::features(inputs).then(Layer::Linear { outputs: outputs[0] });
        outputs[1..].iter().fold(first, |layers, &outputs| layers.then(Layer::Relu).then(Layer::Linear { outputs }))
    }
}

impl LocalModel for Mlp {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let mut x = features;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(if i == 0 { x } else { relu(x) });
        }
        x
    }
}

/// Inputs, hidden widths, outputs. Errors: `Kind::Config` if a hidden layer is missing or has no units.
pub(super) fn widths(inputs: usize, hidden: &[usize], outputs: usize) -> Result<Vec<usize>> {
    if hidden.is_empty() {
        let message = "config `model.hidden = []`: an mlp has a hidden layer; give widths, or use `logistic`";
        return Err(Fault::new(Kind::Config, message));
    }
    if hidden.contains(&0) {
        let message = format!("config `model.hidden = {hidden:?}`: a layer has at least one unit; leave the 0 out");
        return Err(Fault::new(Kind::Config, message));
    }
    Ok([&[inputs], hidden, &[outputs]].concat())
}
